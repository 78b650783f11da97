// A network that computes position by position: built step by step, then called row by row. Each thread computes the
// whole row for a slice of the batch.
#pragma once

#include "parallel.h"
#include "positions.h"

// The part of a map that later steps read: rows above the current one, and columns on each side.
struct Reach {
    long above, beside;
};

struct AnyNetwork {
    virtual ~AnyNetwork() = default;
};

template <class T>
struct Network : AnyNetwork {
    const long width, batch, channels, threads;
    std::deque<Slice<T>> slices;
    RowOfImages<T> current{};

    // scale: the intensity of a level is level·scale − 1.
    Network(long width, long batch, long channels, double scale, long threads)
        : width(width), batch(batch), channels(channels), threads(threads) {
        const long images = images_per_slice(batch, threads);
        for (long first = 0; first < batch; first += images)
            slices.emplace_back(first, std::min(images, batch - first), static_cast<T>(scale));
    }
    long logits_per_channel() const { return slices[0].maps.back().stages.features() / channels; }

    // known: the C + 1 numbers of `Stages`.
    void input(const int64_t* known, Reach kept) {
        for (Slice<T>& s : slices) add_map(s, stages(known), kept);
    }
    void relu(long x, Reach kept, bool remembered) {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, s.maps[x].stages, kept);
            s.steps.push_back(std::make_unique<Relu<T>>(s.maps[x], y, remembered));
        }
    }
    void concatenate(long a, long b, Reach kept, bool remembered) {
        Stages both = slices[0].maps[a].stages;
        for (long c = 0; c <= channels; ++c) both.known[c] += slices[0].maps[b].stages.known[c];
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, both, kept);
            s.steps.push_back(std::make_unique<Concatenate<T>>(s.maps[a], s.maps[b], y, remembered));
        }
    }
    // weight: (above + 1, 2·beside + 1, in, out). plus: the map to add, or −1; added: the place of each feature there.
    void convolution(long x, const T* weight, const T* bias, const int64_t* known, Reach reach, long plus,
                     const int64_t* added, Reach kept, bool remembered) {
        const Stages from = slices[0].maps[x].stages, to = stages(known);
        const long in = from.features(), out = to.features(), above = reach.above * (2 * reach.beside + 1) * in;
        const auto take = [&](const T* rows, long n, Block b) {  // rows of the weight, for a block
            Matrix<T> taken{round_up(b.features, WIDTH<T>), {}};
            for (; n > 0; --n, rows += out) append(taken, rows + b.first, b.features);
            return taken;
        };
        Kernel<T> kernel{in, reach.above, reach.beside, Packed<T>(take(weight, above, {0, out})), {}, {}, false};
        for (const long stage : computed(remembered)) {
            const Block b = to.block(stage);
            Matrix<T> rows = take(weight + above * out, reach.beside * in + from.known[stage], b);
            rows.append(take(bias, 1, b));
            kernel.parts.push_back({from.known[stage], Packed<T>(rows)});
        }
        if (plus >= 0) kernel.added.assign(added, added + out);
        kernel.alike = plus >= 0 && slices[0].maps[plus].stages.known == to.known &&
                       std::is_sorted(kernel.added.begin(), kernel.added.end());
        const auto shared = std::make_shared<const Kernel<T>>(std::move(kernel));
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, to, kept);
            Map<T>* other = plus < 0 ? nullptr : &s.maps[plus];
            s.steps.push_back(std::make_unique<Convolution<T>>(s.maps[x], y, other, shared, remembered, width));
        }
    }
    // input (D, S, in, 4h), bias (D, 4h), state (D, T, h, 4h), initial (D, 2, h).
    void line_lstm(long x, const Layer& layer, const T* input, const T* bias, const T* state, const T* initial,
                   const int64_t* known, Reach kept, bool remembered) {
        const Stages from = slices[0].maps[x].stages, to = stages(known);
        const long in = from.features(), h = to.features(), inputs = layer.inputs.size(), room = to.room<T>();
        const auto recurrence = std::make_shared<Recurrence<T>>(Recurrence<T>{{layer, 0, width, batch, in, h, 0}, {}});
        for (long d = 0; d < layer.directions; ++d) {
            const bool late = layer.down[d] > 0;
            const std::vector<Block> whole = late ? std::vector<Block>{{0, h}} : to.blocks();
            const auto take = [&](const T* rows, long n, const std::vector<Block>& blocks) {
                long features = 0;
                for (const Block& b : blocks) features += b.features;
                Matrix<T> taken{round_up(4 * features, WIDTH<T>), {}};
                std::vector<T> gates;
                for (; n > 0; --n, rows += 4 * h) {
                    gates.clear();
                    for (const Block& b : blocks)
                        for (const T* gate = rows + b.first; gate < rows + 4 * h; gate += h)
                            gates.insert(gates.end(), gate, gate + b.features);
                    append(taken, gates.data(), 4 * features);
                }
                return taken;
            };
            const auto states = [&](bool is_above, const std::vector<Block>& blocks) {
                Matrix<T> taken = take(nullptr, 0, blocks);
                const std::span<const Tap> taps = layer.taps[d];
                for (size_t k = 0; k < taps.size(); ++k)
                    if ((taps[k].di < 0) == is_above)
                        taken.append(take(state + (d * taps.size() + k) * h * 4 * h, h, blocks));
                return Packed<T>(taken);
            };
            Direction<T> w{late,
                           std::vector<T>(room),
                           std::vector<T>(room),
                           take(bias + d * 4 * h, 1, whole).data,
                           states(true, whole),
                           {}};
            std::copy_n(initial + d * 2 * h, h, w.h0.begin());
            std::copy_n(initial + d * 2 * h + h, h, w.c0.begin());
            w.bias.resize(4 * room);
            const T* of_map = input + d * inputs * in * 4 * h;
            const auto add = [&](const std::vector<Block>& blocks, long known) {
                const Packed<T> weights(take(of_map, (inputs - 1) * in + known, blocks));
                w.parts.push_back({blocks, known, weights, states(false, blocks)});
            };
            if (late)
                add(whole, in);
            else
                for (const long stage : computed(remembered)) {
                    const bool all = stage == channels;
                    add(all ? whole : std::vector<Block>{to.block(stage)}, from.known[stage]);
                }
            recurrence->directions.push_back(std::move(w));
        }
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, to, kept);
            s.steps.push_back(std::make_unique<LineLSTM<T>>(s.maps[x], y, recurrence, remembered, width));
        }
    }
    // Begins the next row, to compute it sub-pixel by sub-pixel.
    void begin(const RowOfImages<T>& r) {
        current = r;
        parallel(slices.size(), threads, [&](long n) { slices[n].begin(current); });
    }
    // Gives the logits (n, B, L) of the next n wanted sub-pixels of that row, once those before have their levels; at
    // the end of the row, none. It guesses all levels but those of the last: it takes the likeliest ones and goes on
    // while the probability that all guesses are right is at least `sure`. Returns n ≤ most, or −1 if a logit is NaN or
    // infinite.
    long next(T* logits, long most, double sure) {
        const long count = logits_per_channel();
        const double least = std::pow(sure, 1.0 / static_cast<double>(slices.size()));
        std::atomic<long> end{most};  // where a slice stops guessing, the others stop too
        std::atomic<long> first{0};   // the number of the first sub-pixel in the row
        std::atomic<bool> any{false}, finite{true};
        parallel(slices.size(), threads, [&](long k) {
            Slice<T>& slice = slices[k];
            double right = 1;
            for (long n = 0; n < end; ++n) {
                if (!slice.next(current)) return;
                if (n == 0) any = true, first = slice.j * channels + slice.c;
                T* to = logits + n * batch * count;
                if (!slice.give(to, count)) {  // behind a guess, that may be wrong: stop before it
                    if (n == 0) finite = false;
                    return lower(end, n);
                }
                if (n + 1 < most && (right *= slice.guess(current, to, count, least / right)) < least)
                    lower(end, n + 1);
            }
        });
        if (!finite) return -1;
        if (!any) return 0;
        const long last = first + end - 1;
        back(last / channels, last % channels);
        return end;
    }
    // Goes back to the sub-pixel (j, c), whose level differs from the guess.
    void back(long j, long c) {
        for (Slice<T>& s : slices) s.j = j, s.c = c;
    }
    // Draws the next row. Returns false if a wanted logit is NaN or infinite.
    bool row(const RowOfImages<T>& r) {
        std::atomic<bool> finite{true};
        parallel(slices.size(), threads, [&](long n) {
            if (!slices[n].row(r)) finite = false;
        });
        return finite;
    }

private:
    static void lower(std::atomic<long>& least, long n) {
        for (long seen = least; n < seen && !least.compare_exchange_weak(seen, n);) {
        }
    }
    Stages stages(const int64_t* known) const { return {std::vector<long>(known, known + channels + 1)}; }
    // The stages that a step computes: known pixels need the last one, and with one channel it equals the first.
    std::vector<long> computed(bool remembered) const {
        std::vector<long> stages;
        for (long stage = 0; stage < channels + (remembered && channels > 1); ++stage) stages.push_back(stage);
        return stages;
    }
    static void append(Matrix<T>& to, const T* row, long features) {  // padded with zeros
        to.data.insert(to.data.end(), row, row + features);
        to.data.resize(to.data.size() + to.columns - features);
    }
    Map<T>& add_map(Slice<T>& slice, const Stages& stages, Reach kept) {
        return slice.maps.emplace_back(width, slice.images, stages, kept.above, kept.beside);
    }
};
