// Computes a network position by position (pixelrnn/sampling), for a slice of the batch. Rows run from top to bottom.
// Within a row, neighbouring columns may be computed at once if their inputs are known.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>

#include "scan.h"

// The part of a map that later positions read: its current row, and rows above.
template <class T>
struct Map {
    long features;
    std::vector<Row<T>> rows;  // features padded to whole grains
    Map(long width, long images, long features, long above, long beside)
        : features(features), rows(above + 1, Row<T>(width, images, round_up(features, GRAIN), beside)) {}
    Row<T>& row() { return rows[0]; }
    void next_row() { std::rotate(rows.begin(), rows.end() - 1, rows.end()); }
};

// A step of the network. Recomputing columns replaces their values.
template <class T>
struct Step {
    Map<T>& y;
    const bool remembered;  // later positions depend on its map
    Step(Map<T>& y, bool remembered) : y(y), remembered(remembered) {}
    virtual ~Step() = default;
    virtual long channel() const { return -1; }  // the channel whose logits it computes, or −1
    virtual void next_row() {}                   // called when the row above is complete in all maps
    virtual void columns(long from, long to) = 0;
};

template <class T>
struct Relu : Step<T> {
    Map<T>& x;
    Relu(Map<T>& x, Map<T>& y, bool remembered) : Step<T>(y, remembered), x(x) {}
    void columns(long from, long to) override {
        const T *a = x.row().at(from), *end = x.row().at(to);
        for (T* b = this->y.row().at(from); a < end; ++a, ++b) *b = *a <= 0 ? T(0) : *a;  // NaN stays NaN
    }
};

template <class T>
struct Concatenate : Step<T> {
    Map<T>&a, &b;
    Concatenate(Map<T>& a, Map<T>& b, Map<T>& y, bool remembered) : Step<T>(y, remembered), a(a), b(b) {}
    void columns(long from, long to) override {
        Row<T>&first = a.row(), &second = b.row(), &y = this->y.row();
        for (long r = 0; r < (to - from) * y.images; ++r) {
            T* both = y.at(from) + r * y.features;
            std::copy_n(second.at(from) + r * second.features, b.features,
                        std::copy_n(first.at(from) + r * first.features, a.features, both));
        }
    }
};

// A masked convolution: `upper` holds its taps above the centre; `lower` those in the row, up to the centre, then the
// bias. The logits are split into one convolution per channel; `channel` is −1 for all others.
template <class T>
struct Kernel {
    long in, above, beside, out, channels, channel;
    Packed<T> upper, lower;
};

template <class T>
struct Convolution : Step<T> {
    Map<T>&x, *plus;
    std::shared_ptr<const Kernel<T>> kernel;
    long width;
    Row<T> upper;  // the sum of the taps in the rows above
    Convolution(Map<T>& x, Map<T>& y, Map<T>* plus, std::shared_ptr<const Kernel<T>> k, bool remembered, long width)
        : Step<T>(y, remembered),
          x(x),
          plus(plus),
          kernel(k),
          width(width),
          upper(k->above ? width : 0, y.row().images, y.row().features) {}
    long channel() const override { return kernel->channel; }
    void next_row() override {
        if (!kernel->above) return;
        const long f = upper.features;
        Sum<T> sum{kernel->upper, nullptr, 0, upper.at(0), f, width * upper.images, f};
        for (long k = kernel->above; k > 0; --k)
            for (long dj = -kernel->beside; dj <= kernel->beside; ++dj)
                sum.add({x.rows[k].at(dj), x.row().features, 1, kernel->in});
        sum.finish();
    }
    void columns(long from, long to) override {
        Row<T>& y = this->y.row();
        const long rows = (to - from) * y.images, f = y.features;
        const T one = 1, *added = plus ? plus->row().at(from) : nullptr;
        const bool after = added && (kernel->above || kernel->channel >= 0);  // `product` cannot add it
        Sum<T> sum{kernel->lower, kernel->above ? upper.at(from) : after ? nullptr : added, f, y.at(from), f, rows, f};
        for (long dj = -kernel->beside; dj <= 0; ++dj)
            sum.add({x.row().at(from + dj), x.row().features, 1, kernel->in});
        sum.add({&one, 0, 0, 1});
        sum.finish();
        if (after) {
            const long every = kernel->channel < 0 ? 1 : kernel->channels, first = std::max(0L, kernel->channel);
            for (long r = 0; r < rows; ++r, added += plus->row().features)
                for (long k = 0; k < kernel->out; ++k) y.at(from)[r * f + k] += added[k * every + first];
        }
    }
};

template <class T>
struct Recurrence {
    Shape shape;
    std::vector<Weights<T>> weights;
};

template <class T>
struct LineLSTM : Step<T> {
    Map<T>& x;
    std::shared_ptr<const Recurrence<T>> layer;
    std::vector<Scan<T>> scans;
    std::vector<Row<T>> upper;  // per direction: bias and upper taps, for the whole row
    Row<T> a;
    long i = -1;  // the current row
    LineLSTM(Map<T>& x, Map<T>& y, std::shared_ptr<const Recurrence<T>> l, bool remembered, long width)
        : Step<T>(y, remembered),
          x(x),
          layer(l),
          upper(l->shape.layer.directions, Row<T>(width, y.row().images, 4 * y.row().features)),
          a(upper[0]) {
        for (const Weights<T>& w : l->weights) scans.emplace_back(w, width, y.row().images);
    }
    // A direction whose output moves down one row scans each row once it is complete, so one row late.
    bool late(long d) const { return layer->shape.layer.down[d] > 0; }
    void next_row() override {
        const Shape& s = layer->shape;
        const long width = s.width, images = a.images, gates = a.features;
        ++i;
        for (long d = 0; d < s.layer.directions; ++d) {
            if (late(d) && i == 0) continue;
            const Weights<T>& w = layer->weights[d];
            scans[d].next_row();
            Terms<T> terms;
            add_above(terms, s, d, scans[d].h_above, 0);
            product(terms, w.batched.right(s.layer.inputs.size() * s.in), width * images, gates, w.bias.data(), 0,
                    upper[d].at(0), gates);
            if (late(d)) scan(d, x.rows[1], 0, width);
        }
    }
    void columns(long from, long to) override {
        Row<T>& y = this->y.row();
        const long n = (to - from) * y.images * y.features;
        std::fill_n(y.at(from), n, T(0));
        for (long d = 0; d < layer->shape.layer.directions; ++d) {
            if (!late(d)) scan(d, x.row(), from, to);
            if (late(d) && i == 0) continue;
            const T* h = scans[d].h.at(from);
            for (T *to = y.at(from), *end = to + n; to < end; ++to, ++h) *to += *h;
        }
    }
    void scan(long d, Row<T>& in, long from, long to) {
        const Weights<T>& w = layer->weights[d];
        Terms<T> terms;
        add_inputs(terms, layer->shape, in, from);
        product(terms, w.batched.right(), (to - from) * a.images, a.features, upper[d].at(from), a.features, a.at(from),
                a.features);
        scan_columns(layer->shape, d, w, scans[d], a, from, to, Saved<T>{}, 0);
    }
};

// Draws a level by inverting the distribution function at one uniform number. A single logit is that of a Bernoulli
// variable. `weights` is scratch space for the levels.
template <class T>
int64_t draw(const T* logits, long count, double temperature, double uniform, std::vector<double>& weights) {
    const bool bernoulli = count == 1;
    const long levels = bernoulli ? 2 : count;
    const auto logit = [&](long k) -> double { return bernoulli ? (k ? logits[0] : T(0)) : logits[k]; };
    double largest = logit(0), sum = 0;
    for (long k = 1; k < levels; ++k) largest = std::max(largest, logit(k));
    for (long k = 0; k < levels; ++k) sum += weights[k] = std::exp((logit(k) - largest) / temperature);
    double below = 0;
    for (long k = 0; k < levels - 1; ++k)
        if (uniform < (below += weights[k] / sum)) return k;
    return levels - 1;  // the last level takes the rest, so rounding cannot exceed it
}

// One row of all images, positions outermost: its known pixels, the noise for the others, and the results.
template <class T>
struct RowOfImages {
    uint8_t* levels;        // (W, C, B), in and out
    const bool* known;      // (W, B)
    const bool* wanted;     // (W): columns to compute logits for
    const double* uniform;  // (W, C, B)
    T* logits;              // (W, C, B, L); NaN in columns that are not wanted
    const T* condition;     // (W, B, c), or null
    long width, channels, batch, logits_per_channel;
    double temperature;
};

// The network for a slice of the batch. The first map is the image, the second the condition if there is one, the last
// ones are the logits of each channel.
template <class T>
struct Slice {
    long first, images;
    T scale;
    std::deque<Map<T>> maps;
    std::vector<std::unique_ptr<Step<T>>> steps;
    std::vector<double> weights;  // scratch space of `draw`

    Slice(long first, long images, T scale) : first(first), images(images), scale(scale), weights(256) {}

    // Draws the row. Returns false if a wanted logit is NaN or infinite.
    bool row(const RowOfImages<T>& r) {
        const bool any = std::any_of(r.wanted, r.wanted + r.width, [](bool wanted) { return wanted; });
        for (Map<T>& map : maps) map.next_row();
        for (auto& step : steps)
            if (step->remembered || any) step->next_row();
        if (r.condition) take_condition(r);
        bool finite = true;
        for (long j = 0; j < r.width;) {
            long to = j;
            for (; to < r.width && !r.wanted[to]; ++to)
                for (long c = 0; c < r.channels; ++c) show(r, to, c);
            if (to > j) {  // known columns at once: only what later positions read
                for (auto& step : steps)
                    if (step->remembered) step->columns(j, to);
                for (long k = j * r.channels; k < to * r.channels; ++k)
                    std::fill_n(r.logits + (k * r.batch + first) * r.logits_per_channel, images * r.logits_per_channel,
                                std::numeric_limits<T>::quiet_NaN());
            }
            if ((j = to) == r.width) break;
            for (long c = 0; c < r.channels; ++c) {
                for (auto& step : steps)
                    if (step->channel() < 0 || step->channel() == c) step->columns(j, j + 1);
                finite &= give(r, j, c);
                show(r, j, c);
            }
            ++j;
        }
        return finite;
    }
    void take_condition(const RowOfImages<T>& r) {
        Row<T>& row = maps[1].row();
        const long f = maps[1].features;
        for (long j = 0; j < r.width; ++j)
            for (long b = 0; b < images; ++b)
                std::copy_n(r.condition + (j * r.batch + first + b) * f, f, row.at(j) + b * row.features);
    }
    void show(const RowOfImages<T>& r, long j, long c) {  // writes the levels of a sub-pixel into the image map
        Row<T>& image = maps[0].row();
        const uint8_t* from = r.levels + (j * r.channels + c) * r.batch + first;
        for (long b = 0; b < images; ++b) image.at(j)[b * image.features + c] = from[b] * scale - 1;
    }
    bool give(const RowOfImages<T>& r, long j, long c) {  // stores the logits and draws unknown levels
        Row<T>& y = maps[maps.size() - r.channels + c].row();
        const long at = (j * r.channels + c) * r.batch + first, count = r.logits_per_channel;
        bool finite = true;
        for (long b = 0; b < images; ++b) {
            const T* logits = y.at(j) + b * y.features;
            for (long l = 0; l < count; ++l) finite &= std::isfinite(r.logits[(at + b) * count + l] = logits[l]);
            if (!r.known[j * r.batch + first + b])
                r.levels[at + b] = static_cast<uint8_t>(draw(logits, count, r.temperature, r.uniform[at + b], weights));
        }
        return finite;
    }
};
