// The recurrence (docs/operators.md) over a slice of the batch: one thread, row after row. Every tap lies in the row
// above or in the row itself, which makes the scan of the row sequential. P is the type of saved values and of the
// factors of products: x, h, the weights and the gradient of the gates.
#pragma once

#include <algorithm>
#include <span>

#include "product.h"

struct Tap {
    long di, dj;  // (−1, −1..1) or (0, ±1); an input tap (0, −1..1)
};

// The properties that distinguish the two layers (paper §3.1, §3.2), as in `pixelrnn.ops.lines`.
struct Layer {
    long directions;
    std::span<const Tap> inputs;   // where the input-to-state term reads the map, in all directions
    std::span<const Tap> taps[2];  // where the state-to-state term reads the states, per direction
    long cell;                     // the tap whose cell state is c₋
    long down[2];                  // rows by which each direction's output moves down before all are added

    // The index of the tap within the row, or −1 if all taps lie above.
    int beside(long d) const {
        for (size_t k = 0; k < taps[d].size(); ++k)
            if (taps[d][k].di == 0) return static_cast<int>(k);
        return -1;
    }
};

constexpr Tap BESIDE_AND_SELF[] = {{0, -1}, {0, 0}}, SELF[] = {{0, 0}};
constexpr Tap ROW_ABOVE[] = {{-1, -1}, {-1, 0}, {-1, 1}};
constexpr Tap ABOVE_AND_LEFT[] = {{-1, 0}, {0, -1}}, ABOVE_AND_RIGHT[] = {{-1, 0}, {0, 1}};
constexpr Layer LAYERS[] = {
    {1, BESIDE_AND_SELF, {ROW_ABOVE, {}}, 1, {0, 0}},         // Row LSTM
    {2, SELF, {ABOVE_AND_LEFT, ABOVE_AND_RIGHT}, 1, {0, 1}},  // Diagonal BiLSTM
};

// States are padded to a multiple of this, on every vector width, so saved tensors have the same shape everywhere.
constexpr long GRAIN = 16;

// Maximum number of images per slice: one or two product tiles, few enough that their rows stay in the cache.
constexpr long MOST_IMAGES = 12;

// The slice size that keeps all threads busy to the end.
inline long images_per_slice(long batch, long threads) {
    const long rounds = std::max(1L, (batch + threads * MOST_IMAGES - 1) / (threads * MOST_IMAGES));
    return std::max(1L, (batch + threads * rounds - 1) / (threads * rounds));
}

// The layer and the image.
struct Shape {
    const Layer& layer;
    long height, width, batch, in, hidden;
    long images;  // per slice of the batch
    long padded() const { return round_up(hidden, GRAIN); }
};

// A row of positions, `images` × `features` each, with margins on both sides for positions outside the image.
template <class T>
struct Row {
    long images, features, margin;
    std::vector<T> data;
    Row(long width, long images, long features, long margin = 1)
        : images(images), features(features), margin(margin), data((width + 2 * margin) * images * features) {}
    T* at(long j) { return data.data() + (j + margin) * images * features; }
    long size() const { return static_cast<long>(data.size()); }
    void fill(const T* value) {  // sets all positions, margins included
        for (T* p = data.data(); p < data.data() + size(); p += features) std::copy(value, value + features, p);
    }
    long inside() const { return size() - 2 * margin * images * features; }
    void take(const T* row) { std::copy_n(row, inside(), at(0)); }
    template <class P>
    void add(const P* row) {  // adds at every position, whole vectors at a time
        for (T *p = at(0), *end = p + inside(); p < end; p += WIDTH<T>, row += WIDTH<T>) store(p, load(p) + load(row));
    }
    void clear() { std::fill(data.begin(), data.end(), T(0)); }
};

// Copies row i of a map (N, B, f), for the images of a slice, to a row; `write_row` copies it back.
template <class T, class P>
void read_row(Row<P>& row, const T* map, long f, long batch, long width, long i, long first) {
    for (long j = 0; j < width; ++j) {
        const T* from = map + ((i * width + j) * batch + first) * f;
        if (f == row.features)
            convert(from, row.images * f, row.at(j));
        else
            for (long b = 0; b < row.images; ++b) convert(from + b * f, f, row.at(j) + b * row.features);
    }
}
template <class T>
void write_row(Row<T>& row, T* map, long f, long batch, long width, long i, long first) {
    for (long j = 0; j < width; ++j) {
        T* to = map + ((i * width + j) * batch + first) * f;
        if (f == row.features)
            std::memcpy(to, row.at(j), row.images * f * sizeof(T));
        else
            for (long b = 0; b < row.images; ++b) std::copy_n(row.at(j) + b * row.features, f, to + b * f);
    }
}

// The buffer of a slice for o, f, i, g, c and h of every row and direction. Without it, `data` is null.
template <class P>
struct Saved {
    P* data;
    long width, images, padded, directions;
    P* gates(long d, long i, long j) const {
        return data ? data + ((i * directions + d) * width * 6 + j * 4) * images * padded : nullptr;
    }
    P* cells(long d, long i, long j) const {
        return data ? gates(d, i, 0) + (width * 4 + j) * images * padded : nullptr;
    }
    P* states(long d, long i, long j) const {
        return data ? gates(d, i, 0) + (width * 5 + j) * images * padded : nullptr;
    }
};

// The saved form of a gate or g. Gradients need 1 − |x|, which bfloat16 cannot resolve near ±1. So beyond ±½ we save
// this distance instead, scaled by 2²⁵ to at least 1, where no gate can be.
template <class P, class T = Wide<P>>
inline Vec<T> to_keep(Vec<T> x) {
    if constexpr (std::is_same_v<P, T>)
        return x;
    else {
        const Vec<T> size = x < 0 ? -x : x, distance = size > 1 ? Vec<T>{} : 1 - size;  // rounding may exceed ±1
        const Vec<T> far = (distance + 0x1p-25f) * 0x1p25f;                             // at least 1
        return size > 0.5f ? (x < 0 ? -far : far) : x;
    }
}
template <class T>
struct Kept {
    Vec<T> x, distance;  // 1 − |x|
};
template <class P, class T = Wide<P>>
inline Kept<T> kept(const P* p) {
    const Vec<T> v = load(p), size = v < 0 ? -v : v;
    if constexpr (std::is_same_v<P, T>)
        return {v, 1 - size};
    else {
        const Vec<T> distance = size * 0x1p-25f, x = 1 - distance;
        return {size > 0.5f ? (v < 0 ? -x : x) : v, size > 0.5f ? distance : 1 - size};
    }
}

// Neighbouring features of an LSTM. Their four gates lie side by side, from the number 4·first of the gates on.
struct Block {
    long first, features;
};

// Equation 3 for one block at some positions: o, f, i = σ(·), g = tanh(·), c = f ⊙ c₋ + i ⊙ g, h = o ⊙ tanh(c). `gates`
// and `row` are the numbers from one position to the next, of the gates and of c and h. Computes whole vectors, so c
// and h need room for more features than the block has.
template <class P, class T = Wide<P>>
void cell_forward(const T* a, long gates, const T* c_before, T* c, P* h, long row, P* saved_gates, P* saved_c,
                  P* saved_h, long rows, long features) {
    for (long r = 0; r < rows; ++r, a += gates)
        for (long k = 0; k < features; k += WIDTH<T>) {
            const long at = r * row + k;
            // σ(x) = 1 / (1 + e⁻ˣ), tanh(x) = 1 − 2 / (1 + e²ˣ); each division serves two of them.
            const Vec<T> eo = 1 + exp_(-load(a + k)), ef = 1 + exp_(-load(a + features + k));
            const Vec<T> ei = 1 + exp_(-load(a + 2 * features + k)), eg = 1 + exp_(2 * load(a + 3 * features + k));
            const Vec<T> of = 1 / (eo * ef), ig = 1 / (ei * eg);
            const Vec<T> o = of * ef, f = of * eo, i = ig * eg, g = 1 - 2 * ig * ei;
            const Vec<T> now = fma(f, load(c_before + at), i * g);
            store(c + at, now);
            const Vec<T> state = o * tanh_(now);
            store(h + at, state);
            if (saved_gates) {
                P* to = saved_gates + r * gates + k;
                stream(to, to_keep<P>(o)), stream(to + features, to_keep<P>(f));
                stream(to + 2 * features, to_keep<P>(i)), stream(to + 3 * features, to_keep<P>(g));
                stream(saved_c + at, now), stream(saved_h + at, state);
            }
        }
}

// The derivative of `cell_forward`: computes the gradient of the gates from dh and dc, and adds to that of c₋.
template <class P, class T = Wide<P>>
void cell_backward(const P* gates, const P* c, const P* c_before, const T* dh, const T* dc, P* d_gates, T* dc_before,
                   long rows, long padded) {
    for (long r = 0; r < rows; ++r, gates += 4 * padded, d_gates += 4 * padded)
        for (long a = 0; a < padded; a += WIDTH<T>) {
            const long at = r * padded + a;
            const Kept<T> o = kept(gates + a), f = kept(gates + padded + a);
            const Kept<T> i = kept(gates + 2 * padded + a), g = kept(gates + 3 * padded + a);
            const Vec<T> t = tanh_(load(c + at)), d = load(dh + at);
            const Vec<T> through =
                fma(d * o.x, fma(-t, t, Vec<T>{} + 1), load(dc + at));  // dc: from later positions, and from h
            store(d_gates + a, d * t * o.x * o.distance);
            store(d_gates + padded + a, through * load(c_before + at) * f.x * f.distance);
            store(d_gates + 2 * padded + a, through * g.x * i.x * i.distance);
            store(d_gates + 3 * padded + a, through * i.x * g.distance * (2 - g.distance));
            store(dc_before + at, fma(through, f.x, load(dc_before + at)));
        }
}

// The weights of one direction, packed for the products of both passes.
template <class P>
struct Weights {
    Packed<P> batched, beside;      // forward: input and upper taps for whole rows; the tap within the row
    Packed<P> to_above, to_beside;  // backward: from the gradient of the gates to that of the states
    std::vector<Wide<P>> bias, c0;
    std::vector<P> h0;
};

// Pads rows of 4·h values to 4·padded.
template <class T>
Matrix<T> pad_gates(const T* from, long rows, long h, long padded) {
    Matrix<T> to{4 * padded, std::vector<T>(rows * 4 * padded)};
    for (long gate = 0; gate < 4 * rows; ++gate) std::copy_n(from + gate * h, h, &to.data[gate * padded]);
    return to;
}

template <class P, class T = Wide<P>>
Weights<P> pack(const Shape& s, long d, const T* input, const T* bias, const T* state, const T* initial) {
    const long h = s.hidden, padded = s.padded(), inputs = s.layer.inputs.size(), n_taps = s.layer.taps[d].size();
    Matrix<T> batched{4 * padded, {}}, beside = batched, to_above{padded, {}}, to_beside = to_above;
    for (long k = 0; k < inputs; ++k) {
        batched.append(pad_gates(input + (d * inputs + k) * s.in * 4 * h, s.in, h, padded));
        batched.pad_rows(GROUP<P>);
    }
    for (long k = 0; k < n_taps; ++k) {
        const Matrix<T> tap = pad_gates(state + (d * n_taps + k) * h * 4 * h, h, h, padded);
        const bool above = s.layer.taps[d][k].di < 0;
        (above ? batched : beside).append(tap);
        (above ? batched : beside).pad_rows(GROUP<P>);
        (above ? to_above : to_beside).append(tap.transposed(padded));
    }
    Weights<P> w{Packed<P>(batched),
                 Packed<P>(beside),
                 Packed<P>(to_above),
                 Packed<P>(to_beside),
                 pad_gates(bias + d * 4 * h, 1, h, padded).data,
                 std::vector<T>(padded),
                 std::vector<P>(padded)};
    convert(initial + d * 2 * h, h, w.h0.data());
    std::copy_n(initial + d * 2 * h + h, h, w.c0.begin());
    return w;
}

// The scan of one direction: the states and cells of the current row and of the row above.
template <class P>
struct Scan {
    Row<P> h, h_above;
    Row<Wide<P>> c, c_above;
    Scan(const std::vector<P>& h0, const std::vector<Wide<P>>& c0, long width, long images)
        : h(width, images, h0.size()), h_above(h), c(width, images, c0.size()), c_above(c) {
        h.fill(h0.data()), c.fill(c0.data());
        h_above = h, c_above = c;
    }
    void next_row() { std::swap(h, h_above), std::swap(c, c_above); }
};

// The terms that several columns of a row, from j on, can compute at once: Kis ⊛ x and the upper taps of Kss ⊛ h₋, in
// the order of `batched`.
template <class P>
void add_inputs(Terms<P>& terms, const Shape& s, Row<P>& x, long j) {
    for (const Tap& tap : s.layer.inputs) terms.add({x.at(j + tap.dj), x.features, s.in});
}
template <class P>
void add_above(Terms<P>& terms, const Shape& s, long d, Row<P>& h_above, long j) {
    for (const Tap& tap : s.layer.taps[d])
        if (tap.di < 0) terms.add({h_above.at(j + tap.dj), h_above.features, s.hidden});
}

// Completes equation 3 for neighbouring blocks in the columns from … to − 1 of row i: the tap within the row, whose
// weights are `beside`, and the cells.
template <class P, class T = Wide<P>>
void scan_columns(const Shape& s, long d, const Packed<P>& beside, std::span<const Block> blocks, Scan<P>& scan,
                  Row<T>& a, long from, long to, Saved<P> saved, long i) {
    const long images = a.images, gates = a.features, row = scan.h.features;
    const Tap cell = s.layer.taps[d][s.layer.cell];
    Row<T>& c_before = cell.di < 0 ? scan.c_above : scan.c;
    const auto cells = [&](long j, long n) {
        for (const Block& b : blocks)
            cell_forward(a.at(j) + 4 * b.first, gates, c_before.at(j + cell.dj) + b.first, scan.c.at(j) + b.first,
                         scan.h.at(j) + b.first, row, saved.gates(d, i, j), saved.cells(d, i, j), saved.states(d, i, j),
                         n * images, b.features);
    };
    const int tap = s.layer.beside(d);
    if (tap < 0) return cells(from, to - from);
    const long dj = s.layer.taps[d][tap].dj, first = 4 * blocks.front().first;
    const long columns = round_up(4 * (blocks.back().first + blocks.back().features) - first, WIDTH<T>);
    for (long n = 0; n < to - from; ++n) {
        const long j = dj < 0 ? from + n : to - 1 - n;
        product(Terms<P>({scan.h.at(j + dj), row, s.hidden}), beside.right(), images, columns, a.at(j) + first, gates,
                a.at(j) + first, gates);
        cells(j, 1);
    }
}

// Computes the output of the images from `first` on.
template <class P, class T = Wide<P>>
void forward(const Shape& s, const std::vector<Weights<P>>& weights, const T* x, T* output, Saved<P> saved,
             long first) {
    const long images = saved.images, padded = saved.padded, W = s.width, gates = 4 * padded;
    Row<P> in(W, images, round_up(s.in, GROUP<P>));
    Row<T> a(W, images, gates), out(W, images, padded);
    const Block all[] = {{0, padded}};
    std::vector<Scan<P>> scans;
    for (long d = 0; d < s.layer.directions; ++d) scans.emplace_back(weights[d].h0, weights[d].c0, W, images);
    for (long i = 0; i < s.height; ++i) {
        read_row(in, x, s.in, s.batch, W, i, first);
        for (long d = 0; d < s.layer.directions; ++d) {
            scans[d].next_row();
            Terms<P> terms;
            add_inputs(terms, s, in, 0), add_above(terms, s, d, scans[d].h_above, 0);
            product(terms, weights[d].batched.right(), W * images, gates, weights[d].bias.data(), 0, a.at(0), gates);
            scan_columns(s, d, weights[d].beside, all, scans[d], a, 0, W, saved, i);
        }
        // Add the directions; the mirror contributes the row above.
        out.clear();
        for (long d = 0; d < s.layer.directions; ++d)
            if (s.layer.down[d] == 0)
                out.add(scans[d].h.at(0));
            else if (i > 0)
                out.add(scans[d].h_above.at(0));
        write_row(out, output, s.hidden, s.batch, W, i, first);
    }
    finish_streams();
}

// The gradients of the weights of one direction, summed over one slice.
template <class T>
struct Gradients {
    std::vector<T> input, state, bias, h0, c0;  // (S·F, 4·padded), (T·h, 4·padded), (4·padded), (padded), (padded)
};

// Computes the gradient of the map, and adds the share of these images to the gradients of the weights.
template <class P, class T = Wide<P>>
void backward(const Shape& s, const std::vector<Weights<P>>& weights, const Packed<P>& to_input, const T* x,
              Saved<P> saved, const T* d_output, T* d_x, std::vector<Gradients<T>>& out, long first) {
    const long images = saved.images, padded = saved.padded, W = s.width, gates = 4 * padded;
    const long padded_in = round_up(s.in, WIDTH<T>), D = s.layer.directions;
    Row<P> in(W, images, s.in);
    Row<T> d_in(W, images, padded_in), d_out(W, images, padded);
    std::vector<Row<P>> h(2 * D, Row<P>(W, images, padded)), c0(D, Row<P>(W, images, padded));
    std::vector<Row<T>> dh(2 * D, Row<T>(W, images, padded)), dc = dh;
    std::vector<Row<P>> d_gates(D, Row<P>(W, images, gates, 2));  // zero outside the image
    for (long d = 0; d < D; ++d) {
        std::vector<P> outside(padded);
        convert(weights[d].c0.data(), padded, outside.data());
        c0[d].fill(outside.data());
        for (long k = 0; k < 2; ++k) h[2 * d + k].fill(weights[d].h0.data());
        h[2 * d + (s.height - 1) % 2].take(saved.states(d, s.height - 1, 0));
    }
    // Gradients that flow outside the image belong to the initial state.
    const auto collect = [&](std::vector<T>& sum, Row<T>& row, long from, long to) {
        add_rows(row.at(from), (to - from) * images, padded, sum.data());
    };
    Terms<P> terms;
    for (long i = s.height - 1; i >= 0; --i) {
        read_row(in, x, s.in, s.batch, W, i, first);
        for (long d = 0; d < D; ++d) {
            const Weights<P>& w = weights[d];
            const long now = 2 * d + i % 2, above = 2 * d + 1 - i % 2;
            // The states of the row above, and the gradients of this row's states: dh and dc hold those from below; add
            // that of the output.
            if (i > 0)
                h[above].take(saved.states(d, i - 1, 0));
            else
                h[above].fill(w.h0.data());
            if (const long to = i + s.layer.down[d]; to < s.height) {
                read_row(d_out, d_output, s.hidden, s.batch, W, to, first);
                dh[now].add(d_out.at(0));
            }
            dc[above].clear();
            const Tap cell = s.layer.taps[d][s.layer.cell];
            const int beside = s.layer.beside(d);
            const auto cells_before = [&](long j) -> const P* {
                if (i + cell.di < 0 || j + cell.dj < 0 || j + cell.dj >= W) return c0[d].at(0);
                return saved.cells(d, i + cell.di, j + cell.dj);
            };
            Row<T>& dc_before = cell.di < 0 ? dc[above] : dc[now];
            for (long n = 0; n < W; ++n) {
                const long j = beside >= 0 && s.layer.taps[d][beside].dj > 0 ? n : W - 1 - n;
                P* dg = d_gates[d].at(j);
                cell_backward(saved.gates(d, i, j), saved.cells(d, i, j), cells_before(j), dh[now].at(j), dc[now].at(j),
                              dg, dc_before.at(j + cell.dj), images, padded);
                if (beside >= 0) {
                    T* to = dh[now].at(j + s.layer.taps[d][beside].dj);
                    terms.one({dg, gates, gates});
                    product(terms, w.to_beside.right(), images, padded, to, padded, to, padded);
                }
            }
            // Gradients for the row above. The gradient of a tap at offset dj reads at −dj, outside the image too.
            terms.clear();
            for (const Tap& tap : s.layer.taps[d])
                if (tap.di < 0) terms.add({d_gates[d].at(-1 - tap.dj), gates, gates});
            product(terms, w.to_above.right(), (W + 2) * images, padded, nullptr, 0, dh[above].at(-1), padded);

            // Gradients of the weights, from the inputs and states that the row has read.
            for (size_t k = 0; k < s.layer.inputs.size(); ++k)
                weight_gradient(in.at(s.layer.inputs[k].dj), s.in, s.in, d_gates[d].at(0), gates, W * images,
                                out[d].input.data() + k * s.in * gates);
            for (size_t k = 0; k < s.layer.taps[d].size(); ++k) {
                const Tap tap = s.layer.taps[d][k];
                weight_gradient(h[tap.di < 0 ? above : now].at(tap.dj), padded, s.hidden, d_gates[d].at(0), gates,
                                W * images, out[d].state.data() + k * s.hidden * gates);
            }
            add_rows(d_gates[d].at(0), W * images, gates, out[d].bias.data());
            collect(out[d].h0, dh[now], -1, 0), collect(out[d].h0, dh[now], W, W + 1);
            collect(out[d].c0, dc[now], -1, 0), collect(out[d].c0, dc[now], W, W + 1);
            if (i == 0) collect(out[d].h0, dh[above], -1, W + 1), collect(out[d].c0, dc[above], -1, W + 1);
        }
        terms.clear();
        for (long d = 0; d < D; ++d)
            for (const Tap& tap : s.layer.inputs) terms.add({d_gates[d].at(-tap.dj), gates, gates});
        product(terms, to_input.right(), W * images, padded_in, nullptr, 0, d_in.at(0), padded_in);
        write_row(d_in, d_x, s.in, s.batch, W, i, first);
    }
}
