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
    const long width, batch, threads;
    std::deque<Slice<T>> slices;

    // scale: the intensity of a level is level·scale − 1.
    Network(long width, long batch, double scale, long threads) : width(width), batch(batch), threads(threads) {
        const long images = images_per_slice(batch, threads);
        for (long first = 0; first < batch; first += images)
            slices.emplace_back(first, std::min(images, batch - first), static_cast<T>(scale));
    }
    void input(long features, Reach kept) {
        for (Slice<T>& s : slices) add_map(s, features, kept);
    }
    void relu(long x, Reach kept, bool remembered) {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, features(x), kept);
            s.steps.push_back(std::make_unique<Relu<T>>(s.maps[x], y, remembered));
        }
    }
    void concatenate(long a, long b, Reach kept, bool remembered) {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, features(a) + features(b), kept);
            s.steps.push_back(std::make_unique<Concatenate<T>>(s.maps[a], s.maps[b], y, remembered));
        }
    }
    // weight: (above + 1, 2·beside + 1, in, out). plus: the map to add, or −1. channel: the channel whose logits this
    // computes, or −1.
    void convolution(long x, const T* weight, const T* bias, long out, Reach reach, long plus, long channel, Reach kept,
                     bool remembered) {
        const long in = features(x), padded = round_up(out, GRAIN);
        const long rows_above = reach.above * (2 * reach.beside + 1) * in, rows = (reach.beside + 1) * in;
        const auto append = [&](Matrix<T>& to, const T* from, long rows) {
            for (long r = 0; r < rows; ++r) {
                to.data.insert(to.data.end(), from + r * out, from + (r + 1) * out);
                to.data.resize(to.data.size() + padded - out);
            }
        };
        Matrix<T> upper{padded, {}}, lower{padded, {}};
        append(upper, weight, rows_above);
        append(lower, weight + rows_above * out, rows);
        append(lower, bias, 1);
        const auto kernel = std::make_shared<const Kernel<T>>(
            Kernel<T>{in, reach.above, reach.beside, out, features(0), channel, Packed<T>(upper), Packed<T>(lower)});
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, out, kept);
            Map<T>* added = plus < 0 ? nullptr : &s.maps[plus];
            s.steps.push_back(std::make_unique<Convolution<T>>(s.maps[x], y, added, kernel, remembered, width));
        }
    }
    void line_lstm(long x, const Layer& layer, const T* input, const T* bias, const T* state, const T* initial,
                   long hidden, Reach kept, bool remembered) {
        const auto recurrence =
            std::make_shared<Recurrence<T>>(Recurrence<T>{Shape{layer, 0, width, batch, features(x), hidden, 0}, {}});
        for (long d = 0; d < layer.directions; ++d)
            recurrence->weights.push_back(pack<T>(recurrence->shape, d, input, bias, state, initial));
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, hidden, kept);
            s.steps.push_back(std::make_unique<LineLSTM<T>>(s.maps[x], y, recurrence, remembered, width));
        }
    }
    // Returns false if a wanted logit is NaN or infinite.
    bool row(const RowOfImages<T>& r) {
        std::atomic<bool> finite{true};
        parallel(slices.size(), threads, [&](long n) {
            if (!slices[n].row(r)) finite = false;
        });
        return finite;
    }

private:
    long features(long map) const { return slices[0].maps[map].features; }
    Map<T>& add_map(Slice<T>& slice, long features, Reach kept) {
        return slice.maps.emplace_back(width, slice.images, features, kept.above, kept.beside);
    }
};
