// Computes a network position by position (pixelrnn/sampling), for a slice of the batch. Rows run from top to bottom.
// Within a row, neighbouring columns may be computed at once if their inputs are known.
//
// Stage c of a position begins when its channels before c are known, and computes the features that had to wait for
// channel c − 1. So each feature is computed once. Stage C computes all features of positions whose channels are known.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>

#include "scan.h"

// The features of a map by stage: neighbours belong to the same stage or the next.
struct Stages {
    std::vector<long> known;  // the number of features that are known at stages 0 … C; the last is that of all
    long whole() const { return static_cast<long>(known.size()) - 1; }
    long features() const { return known.back(); }
    Block block(long stage) const {  // the features that a stage computes
        const long first = stage == 0 || stage == whole() ? 0 : known[stage - 1];
        return {first, known[stage] - first};
    }
    std::vector<Block> blocks() const {  // of the stages before the last
        std::vector<Block> blocks;
        for (long stage = 0; stage < whole(); ++stage) blocks.push_back(block(stage));
        return blocks;
    }
    // The features that a row needs room for. Products write whole vectors, so beyond a block.
    template <class T>
    long room() const {
        long most = round_up(features(), WIDTH<T>);
        for (const Block& b : blocks()) most = std::max(most, b.first + round_up(b.features, WIDTH<T>));
        return most;
    }
};

// The part of a map that later positions read: its current row, and rows above. A stage may leave anything in features
// of later stages, which nothing reads before they are computed.
template <class T>
struct Map {
    const Stages stages;
    std::vector<Row<T>> rows;
    Map(long width, long images, const Stages& stages, long above, long beside)
        : stages(stages), rows(above + 1, Row<T>(width, images, stages.room<T>(), beside)) {}
    Row<T>& row() { return rows[0]; }
    void next_row() { std::rotate(rows.begin(), rows.end() - 1, rows.end()); }
};

// A step of the network.
template <class T>
struct Step {
    Map<T>& y;
    const bool remembered;  // later positions depend on its map
    Step(Map<T>& y, bool remembered) : y(y), remembered(remembered) {}
    virtual ~Step() = default;
    virtual void next_row() {}  // called when the row above is complete in all maps
    virtual void columns(long from, long to, long stage) = 0;
};

template <class T>
struct Relu : Step<T> {
    Map<T>& x;
    Relu(Map<T>& x, Map<T>& y, bool remembered) : Step<T>(y, remembered), x(x) {}
    void columns(long from, long to, long stage) override {
        const Block b = this->y.stages.block(stage);
        const long row = this->y.row().features;  // that of x too
        const T* a = x.row().at(from) + b.first;
        T* y = this->y.row().at(from) + b.first;
        for (long r = 0; r < (to - from) * x.row().images; ++r, a += row, y += row)
            for (long k = 0; k < b.features; k += WIDTH<T>) {
                const Vec<T> v = load(a + k);
                store(y + k, v <= 0 ? Vec<T>{} : v);  // NaN stays NaN
            }
    }
};

// The features of a stage are those of a, then those of b.
template <class T>
struct Concatenate : Step<T> {
    Map<T>&a, &b;
    Concatenate(Map<T>& a, Map<T>& b, Map<T>& y, bool remembered) : Step<T>(y, remembered), a(a), b(b) {}
    void columns(long from, long to, long stage) override {
        const long whole = this->y.stages.whole();
        if (stage == whole) {
            for (long s = 0; s < whole; ++s) columns(from, to, s);
            return;
        }
        const Block first = a.stages.block(stage), second = b.stages.block(stage);
        Row<T>& y = this->y.row();
        T* both = y.at(from) + this->y.stages.block(stage).first;
        for (long r = 0; r < (to - from) * y.images; ++r, both += y.features)
            std::copy_n(b.row().at(from) + r * b.row().features + second.first, second.features,
                        std::copy_n(a.row().at(from) + r * a.row().features + first.first, first.features, both));
    }
};

// Weights for each stage, and for the whole pixel if a step needs them: with one channel they are those of stage 0.
template <class Part>
const Part& at_stage(const std::vector<Part>& parts, long stage) {
    return parts[std::min<size_t>(stage, parts.size() - 1)];
}

// A masked convolution: `upper` holds its taps above the centre; each part those in the row, up to the centre, then the
// bias.
template <class T>
struct Kernel {
    struct Part {
        long known;  // the features that it reads at the centre
        Packed<T> weights;
    };
    long in, above, beside;
    Packed<T> upper;
    std::vector<Part> parts;
    std::vector<long> added;  // the place of each feature in the map to add
    bool alike;               // that map has the same stages and order
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
    void next_row() override {
        if (!kernel->above) return;
        const long f = upper.features, columns = round_up(this->y.stages.features(), WIDTH<T>);
        Sum<T> sum{kernel->upper, nullptr, 0, upper.at(0), f, width * upper.images, columns};
        for (long k = kernel->above; k > 0; --k)
            for (long dj = -kernel->beside; dj <= kernel->beside; ++dj)
                sum.add({x.rows[k].at(dj), x.row().features, 1, kernel->in});
        sum.finish();
    }
    void columns(long from, long to, long stage) override {
        const Block b = this->y.stages.block(stage);
        if (!b.features) return;
        const typename Kernel<T>::Part& part = at_stage(kernel->parts, stage);
        const long rows = (to - from) * x.row().images, f = this->y.row().features;
        T* y = this->y.row().at(from) + b.first;
        const T one = 1, *added = plus ? plus->row().at(from) : nullptr;
        const long added_row = plus ? plus->row().features : 0;
        const bool after = added && (kernel->above || !kernel->alike);  // `product` cannot add it
        Sum<T> sum{part.weights, nullptr, 0, y, f, rows, round_up(b.features, WIDTH<T>)};
        if (kernel->above)
            sum.from = upper.at(from) + b.first, sum.from_row = f;
        else if (added && !after)
            sum.from = added + b.first, sum.from_row = added_row;
        for (long dj = -kernel->beside; dj < 0; ++dj) sum.add({x.row().at(from + dj), x.row().features, 1, kernel->in});
        sum.add({x.row().at(from), x.row().features, 1, part.known});
        sum.add({&one, 0, 0, 1});
        sum.finish();
        if (after)
            for (long r = 0; r < rows; ++r, added += added_row, y += f)
                for (long k = b.first; k < b.first + b.features; ++k) y[k - b.first] += added[kernel->added[k]];
    }
};

// The weights of one direction of an LSTM. The gates of each block lie side by side.
template <class T>
struct Direction {
    struct Part {
        std::vector<Block> blocks;
        long known;                // the features of the map that it reads at the position itself
        Packed<T> inputs, beside;  // the map, and the tap within the row
    };
    bool late;  // the output moves down one row, so each row is scanned once it is complete, one row late
    std::vector<T> h0, c0, bias;
    Packed<T> above;
    std::vector<Part> parts;
};

template <class T>
struct Recurrence {
    Shape shape;
    std::vector<Direction<T>> directions;
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
          upper(l->directions.size(), Row<T>(width, y.row().images, static_cast<long>(l->directions[0].bias.size()))),
          a(upper[0]) {
        for (const Direction<T>& w : l->directions) scans.emplace_back(w.h0, w.c0, width, y.row().images);
    }
    void next_row() override {
        const Shape& s = layer->shape;
        ++i;
        for (size_t d = 0; d < scans.size(); ++d) {
            const Direction<T>& w = layer->directions[d];
            if (w.late && i == 0) continue;
            scans[d].next_row();
            Terms<T> terms;
            add_above(terms, s, d, scans[d].h_above, 0);
            product(terms, w.above.right(), s.width * a.images, round_up(4 * s.hidden, WIDTH<T>), w.bias.data(), 0,
                    upper[d].at(0), a.features);
            if (w.late) scan(d, x.rows[1], 0, s.width, x.stages.whole());
        }
    }
    void columns(long from, long to, long stage) override {
        const Block b = this->y.stages.block(stage);
        if (!b.features) return;
        Row<T>& y = this->y.row();
        const T* states[2];
        int n = 0;
        for (size_t d = 0; d < scans.size(); ++d) {
            const bool late = layer->directions[d].late;
            if (!late) scan(d, x.row(), from, to, stage);
            if (!late || i > 0) states[n++] = scans[d].h.at(from) + b.first;
        }
        T* sums = y.at(from) + b.first;
        for (long r = 0; r < (to - from) * y.images; ++r)
            for (long k = r * y.features; k < r * y.features + b.features; k += WIDTH<T>) {
                Vec<T> sum{};
                for (int q = 0; q < n; ++q) sum += load(states[q] + k);
                store(sums + k, sum);
            }
    }
    void scan(long d, Row<T>& in, long from, long to, long stage) {
        const Shape& s = layer->shape;
        const typename Direction<T>::Part& part = at_stage(layer->directions[d].parts, stage);
        const long first = part.blocks.front().first, end = part.blocks.back().first + part.blocks.back().features;
        Terms<T> terms;
        for (const Tap& tap : s.layer.inputs)
            terms.add({in.at(from + tap.dj), in.features, tap.dj == 0 ? part.known : s.in});
        product(terms, part.inputs.right(), (to - from) * a.images, round_up(4 * (end - first), WIDTH<T>),
                upper[d].at(from) + 4 * first, a.features, a.at(from) + 4 * first, a.features);
        scan_columns(s, d, part.beside, std::span<const Block>(part.blocks), scans[d], a, from, to, Saved<T>{}, 0);
    }
};

// The sum of GRAIN neighbours, in the same order on every vector width.
template <long N = GRAIN, class T>
T sum_of_grain(const T* w) {
    if constexpr (N == 1) {
        return w[0];
    } else {
        T halves[N / 2];
        for (long n = 0; n < N / 2; ++n) halves[n] = w[n] + w[n + N / 2];
        return sum_of_grain<N / 2>(halves);
    }
}

// Draws a level by inverting the distribution function at one uniform number. A single logit is that of a Bernoulli
// variable. `weights` is scratch space for the levels, rounded up to GRAIN.
template <class T>
long draw(const T* logits, long levels, double temperature, double uniform, std::vector<T>& weights) {
    if (levels == 1) return uniform >= 1 / (1 + std::exp(logits[0] / temperature));
    const long padded = round_up(levels, GRAIN), whole = levels / WIDTH<T> * WIDTH<T>;
    T *w = weights.data(), rest[GRAIN];
    std::fill_n(std::copy(logits + whole, logits + levels, rest), GRAIN - (levels - whole), -INFINITY);
    const auto at = [&](long k) { return load(k < whole ? logits + k : rest + (k - whole)); };
    Vec<T> most = at(0);
    for (long k = WIDTH<T>; k < padded; k += WIDTH<T>) {
        const Vec<T> x = at(k);
        most = x > most ? x : most;
    }
    T largest = most[0];
    for (long k = 1; k < WIDTH<T>; ++k) largest = std::max(largest, most[k]);
    const T least = sizeof(T) == 4 ? -40 : -300;  // the range of `exp_`
    const double end = std::numeric_limits<T>::max(), begin = std::numeric_limits<T>::min();
    const T divisor = static_cast<T>(std::clamp(temperature, begin, end));
    for (long k = 0; k < padded; k += WIDTH<T>) {
        Vec<T> x = at(k) - largest;
        if (temperature != 1) x /= divisor;
        store(w + k, x < least ? Vec<T>{} : exp_(x));
    }
    // Sum the levels by GRAIN, to find the one drawn in few steps.
    double total = 0, sums[256 / GRAIN];
    for (long k = 0; k < padded; k += GRAIN) total += sums[k / GRAIN] = sum_of_grain(w + k);
    const double wanted = uniform * total;
    double below = 0;
    long first = 0;
    for (; first + GRAIN < padded && wanted >= below + sums[first / GRAIN]; first += GRAIN)
        below += sums[first / GRAIN];
    long last = std::min(first + GRAIN, levels) - 1;
    for (long n = first; n <= last; ++n)
        if (wanted < (below += w[n])) return n;
    while (w[last] == 0) --last;  // rounding may lead beyond the last level that has a weight
    return last;
}

// Finds the likeliest level. Returns its probability, or any smaller number than `least`.
template <class T>
double likeliest(const T* logits, long count, double least, uint8_t& level) {
    if (count == 1) {
        level = logits[0] > 0;
        return 1 / (1 + std::exp(-std::abs(static_cast<double>(logits[0]))));
    }
    const T* best = std::max_element(logits, logits + count);
    level = static_cast<uint8_t>(best - logits);
    double sum = 0;
    for (long k = 0; k < count; ++k)
        if ((sum += std::exp(static_cast<double>(logits[k] - *best))) * least > 1) return 0;
    return 1 / sum;
}

// The probabilities (n, K) of the levels up to a factor for each row, from logits (n, L): exp(l − max l). A single
// logit is that of a Bernoulli variable.
inline void weights(long n, long count, const float* logits, double* to) {
    const long levels = count == 1 ? 2 : count, all = n * levels;
    for (long r = 0; r < n; ++r) {
        const float* l = logits + r * count;
        double *w = to + r * levels, most = count == 1 ? 0 : l[0];
        for (long k = 0; k < count; ++k) most = std::max<double>(most, l[k]);
        if (count == 1)
            w[0] = -most, w[1] = l[0] - most;
        else
            for (long k = 0; k < count; ++k) w[k] = l[k] - most;
    }
    double rest[WIDTH<double>] = {};
    const long whole = all / WIDTH<double> * WIDTH<double>;
    for (long k = 0; k < whole; k += WIDTH<double>) store(to + k, exp_(load(to + k)));
    std::copy(to + whole, to + all, rest);
    store(rest, exp_(load(rest)));
    std::copy_n(rest, all - whole, to + whole);
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
// the logits.
template <class T>
struct Slice {
    long first, images, j = -1, c = 0;
    T scale;
    std::deque<Map<T>> maps;
    std::vector<std::unique_ptr<Step<T>>> steps;
    std::vector<T> weights;  // scratch space of `draw`

    Slice(long first, long images, T scale) : first(first), images(images), scale(scale), weights(256) {}

    // Begins the next row.
    void begin(const RowOfImages<T>& r) {
        const bool any = std::any_of(r.wanted, r.wanted + r.width, [](bool wanted) { return wanted; });
        for (Map<T>& map : maps) map.next_row();
        for (auto& step : steps)
            if (step->remembered || any) step->next_row();
        if (r.condition) take_condition(r);
        j = -1, c = r.channels - 1;
    }
    // Computes the logits of the next wanted sub-pixel, (j, c), once the one before has its level. Returns false at the
    // end of the row.
    bool next(const RowOfImages<T>& r) {
        if (j >= 0) show(r, j, c);
        if (++c == r.channels) {
            c = 0;
            const long from = ++j;
            for (; j < r.width && !r.wanted[j]; ++j)
                for (long known = 0; known < r.channels; ++known) show(r, j, known);
            if (j > from)  // known columns at once: only what later positions read
                for (auto& step : steps)
                    if (step->remembered) step->columns(from, j, r.channels);
        }
        if (j == r.width) return false;
        for (auto& step : steps) step->columns(j, j + 1, c);
        return true;
    }
    // Copies the logits of the sub-pixel (j, c) to (B, L). Returns false if one is NaN or infinite.
    bool give(T* to, long count) {
        Row<T>& y = maps.back().row();
        int odd = 0;  // the difference is zero unless the logit is NaN or infinite; the compiler makes vectors of this
        for (long b = 0; b < images; ++b) {
            const T* logits = y.at(j) + b * y.features + c * count;
            std::copy_n(logits, count, to + (first + b) * count);
            for (long l = 0; l < count; ++l) odd |= logits[l] - logits[l] != 0;
        }
        return !odd;
    }
    // Sets the sub-pixel (j, c) to the likeliest levels. Returns the probability that all are right, or any smaller
    // number than `least`; then some keep their level.
    double guess(const RowOfImages<T>& r, const T* logits, long count, double least) {
        uint8_t* levels = r.levels + (j * r.channels + c) * r.batch;
        double right = 1;
        for (long b = first; b < first + images && right >= least; ++b)
            right *= likeliest(logits + b * count, count, least / right, levels[b]);
        return right;
    }
    // Draws the row. Returns false if a wanted logit is NaN or infinite.
    bool row(const RowOfImages<T>& r) {
        const long count = r.logits_per_channel;
        bool finite = true;
        for (begin(r); next(r);) {
            const long at = (j * r.channels + c) * r.batch;
            finite &= give(r.logits + at * count, count);
            for (long b = first; b < first + images; ++b)
                if (!r.known[j * r.batch + b])
                    r.levels[at + b] = static_cast<uint8_t>(
                        draw(r.logits + (at + b) * count, count, r.temperature, r.uniform[at + b], weights));
        }
        for (long k = 0; k < r.width * r.channels; ++k)
            if (!r.wanted[k / r.channels])
                std::fill_n(r.logits + (k * r.batch + first) * count, images * count,
                            std::numeric_limits<T>::quiet_NaN());
        return finite;
    }
    void take_condition(const RowOfImages<T>& r) {
        Row<T>& row = maps[1].row();
        const long f = maps[1].stages.features();
        for (long j = 0; j < r.width; ++j)
            for (long b = 0; b < images; ++b)
                std::copy_n(r.condition + (j * r.batch + first + b) * f, f, row.at(j) + b * row.features);
    }
    void show(const RowOfImages<T>& r, long j, long c) {  // writes the levels of a sub-pixel into the image map
        Row<T>& image = maps[0].row();
        const uint8_t* from = r.levels + (j * r.channels + c) * r.batch + first;
        for (long b = 0; b < images; ++b) image.at(j)[b * image.features + c] = from[b] * scale - 1;
    }
};
