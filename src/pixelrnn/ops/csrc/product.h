// C += Σ A·B for the thin products of a recurrence, on one thread, with operands in cache. The factors have type P: the
// type of C, or bfloat16, whose products are summed in float.
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "vector.h"

constexpr int MOST_TAPS = 8;  // terms that one product sums

// The type for sums of products of P.
template <class P>
using Wide = std::conditional_t<std::is_same_v<P, Bfloat16>, float, P>;

// Neighbours in depth that one instruction multiplies and sums. They lie side by side in both factors. If the depth of
// a term is not a multiple of GROUP, zeros follow in B.
template <class P>
constexpr int GROUP = sizeof(Wide<P>) / sizeof(P);

// One product of the sum: A(r, k) = a[r·row + g·column + e] for k = g·GROUP + e < depth. By default column = GROUP, so
// A(r, k) = a[r·row + k].
template <class P>
struct Term {
    const P* a;
    long row, column, depth;
    Term() = default;
    Term(const P* a, long row, long depth) : a(a), row(row), column(GROUP<P>), depth(depth) {}
    Term(const P* a, long row, long column, long depth) : a(a), row(row), column(column), depth(depth) {}
};

template <class P>
struct Terms {
    Term<P> all[MOST_TAPS];
    int n = 0;
    Terms() = default;
    explicit Terms(Term<P> one) : n(1) { all[0] = one; }
    void clear() { n = 0; }
    void add(Term<P> term) { all[n++] = term; }
    void one(Term<P> term) { all[0] = term, n = 1; }
};

// The right-hand factors B of all terms, stacked. Panel p starts at b + p·panel; its groups of rows are `row` apart.
// The numbers of one column in a group are neighbours.
template <class P>
struct Right {
    const P* b;
    long panel, row;
};

// Loads a group of B as a vector of columns, and adds its products with a group of one row of A.
template <class T>
inline Vec<T> load_group(const T* b) {
    return load(b);
}
template <class T>
inline Vec<T> add_product(Vec<T> sum, const T* a, Vec<T> b) {
    return fma(*a - Vec<T>{}, b, sum);  // *a in every lane: subtracting zero keeps the sign and compiles to nothing
}
typedef uint16_t Pairs __attribute__((vector_size(BYTES)));
inline Pairs load_group(const Bfloat16* b) {
    Pairs pairs;
    std::memcpy(&pairs, b, BYTES);
    return pairs;
}
static_assert(std::endian::native == std::endian::little);  // the first number of a pair is its lower half
inline Vec<float> add_product(Vec<float> sum, const Bfloat16* a, Pairs b) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
#if PIXELRNN_BYTES == 64 && defined(__AVX512BF16__)
    return (Vec<float>)_mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)b);
#else
    using Bits = Lanes<float>::Bits;
    const Bits of_a = Bits{} + pair, of_b = (Bits)b, upper = Bits{} + ~0xffff;
    sum = fma((Vec<float>)(of_a << 16), (Vec<float>)(of_b << 16), sum);
    return fma((Vec<float>)(of_a & upper), (Vec<float>)(of_b & upper), sum);
#endif
}

template <class T>
constexpr int PANEL = 2 * WIDTH<T>;  // columns of B per tile
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TALL = 12;  // rows per tile: it fills 24 of 32 registers, B two more
#else
constexpr int TALL = 6;  // fills 12 of 16 registers
#endif

// One tile of C, R rows by N vectors: sums all terms from row r on in registers, then adds `from`.
template <class T, int R, int N, class P>
inline void tile(const Terms<P>& terms, long r, const P* b, long b_row, const T* from, long from_row, T* c,
                 long c_row) {
    Vec<T> sum[R][N];
#pragma GCC unroll 16
    for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v) sum[q][v] = Vec<T>{};
    for (int t = 0; t < terms.n; ++t) {
        const long row = terms.all[t].row, column = terms.all[t].column;
        const P* a = terms.all[t].a + r * row;
        for (long k = terms.all[t].depth; k > 0; k -= GROUP<P>, a += column, b += b_row) {
            decltype(load_group(b)) right[N];
#pragma GCC unroll 2
            for (int v = 0; v < N; ++v) right[v] = load_group(b + v * WIDTH<T> * GROUP<P>);
#pragma GCC unroll 16
            for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
                for (int v = 0; v < N; ++v) sum[q][v] = add_product(sum[q][v], a + q * row, right[v]);
        }
    }
#pragma GCC unroll 16
    for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v)
            store(c + q * c_row + v * WIDTH<T>, load(from + q * from_row + v * WIDTH<T>) + sum[q][v]);
}

// Calls `run` with the height (1 to R) as a template argument.
template <int R, class Run>
void with_height(long height, const Run& run) {
    if constexpr (R > 1)
        if (height < R) return with_height<R - 1>(height, run);
    run.template operator()<R>();
}

// C (rows × columns) = from + Σ A·B. `columns` is a multiple of the vector width. `from` may be null for zero; with
// `from_row` 0 it is a bias.
template <class P>
void product(const Terms<P>& terms, Right<P> right, long rows, long columns, const Wide<P>* from, long from_row,
             Wide<P>* c, long c_row) {
    using T = Wide<P>;
    static const T zeros[PANEL<T>] = {};
    if (!from) from_row = 0;
    for (long n = 0; n < columns; n += PANEL<T>, right.b += right.panel)
        for (long r = 0; r < rows;) {
            // As few tiles as possible, of similar heights: a low tile waits for the latency of its sums.
            const long left = rows - r, tiles = (left + TALL - 1) / TALL, even = (left + tiles - 1) / tiles;
            const long height = even == 4 && left > 4 ? 5 : even;
            const T* in = from ? from + r * from_row + n : zeros;
            T* out = c + r * c_row + n;
            const auto run = [&]<int R>() {
                if (columns - n >= PANEL<T>)
                    tile<T, R, 2>(terms, r, right.b, right.row, in, from_row, out, c_row);
                else
                    tile<T, R, 1>(terms, r, right.b, right.row, in, from_row, out, c_row);
            };
            with_height<TALL>(height, run);
            r += height;
        }
}

// A matrix in row-major order.
template <class T>
struct Matrix {
    long columns;
    std::vector<T> data;
    long rows() const { return columns ? static_cast<long>(data.size()) / columns : 0; }
    void append(const Matrix& below) { data.insert(data.end(), below.data.begin(), below.data.end()); }
    void pad_rows(long to) { data.resize(round_up(rows(), to) * columns); }
    Matrix transposed(long padded) const {  // padded with zero columns
        Matrix to{padded, std::vector<T>(columns * padded)};
        for (long r = 0; r < rows(); ++r)
            for (long c = 0; c < columns; ++c) to.data[c * padded + r] = data[r * columns + c];
        return to;
    }
};

// B in the panels that `product` walks through, padded to whole vectors of columns and, with zeros, to whole groups of
// rows.
template <class P>
struct Packed {
    using T = Wide<P>;
    std::vector<P> data;
    long depth;
    explicit Packed(const Matrix<T>& b)
        : data(round_up(b.rows(), GROUP<P>) * round_up(b.columns, PANEL<T>)), depth(round_up(b.rows(), GROUP<P>)) {
        for (long n = 0; n < b.columns; n += PANEL<T>)
            for (long k = 0; k < b.rows(); ++k) {
                const T* from = &b.data[k * b.columns + n];
                const long group = n / PANEL<T> * (depth / GROUP<P>)+k / GROUP<P>;
                P* to = &data[group * PANEL<T> * GROUP<P> + k % GROUP<P>];
                for (long c = 0, wide = std::min<long>(PANEL<T>, b.columns - n); c < wide; ++c)
                    to[c * GROUP<P>] = from[c];
            }
    }
    Right<P> right(long from = 0) const {  // skips the first rows, a whole number of groups
        return {data.data() + from * PANEL<T>, depth * PANEL<T>, PANEL<T> * GROUP<P>};
    }
};

// Adds up products with successive rows of one matrix, at most MOST_TAPS terms per call of `product`.
template <class P, class T = Wide<P>>
struct Sum {
    const Packed<P>& weights;
    const T* from;  // as in `product`
    long from_row;
    T* to;
    long to_row, rows, columns, done = 0, depth = 0;
    Terms<P> terms = {};
    void add(Term<P> term) {
        if (terms.n == MOST_TAPS) finish();
        terms.add(term), depth += round_up(term.depth, GROUP<P>);
    }
    void finish() {
        product(terms, weights.right(done), rows, columns, from, from_row, to, to_row);
        from = to, from_row = to_row, done += depth, depth = 0;
        terms.clear();
    }
};

// A factor of Aᵀ·B, a product over rows: the rows of a group are interleaved element by element.
template <class P>
struct Depthwise {
    const P* data;
    long step, next;  // from one element to the next, and from one group to the next
};
template <class P>
Depthwise<P> depthwise(const P* rows, long row, long features, long n, std::vector<uint32_t>& room) {
    if constexpr (GROUP<P> == 1)
        return {rows, 1, row};
    else {
        static_assert(GROUP<P> == 2);
        room.resize((n + 1) / 2 * features);
        for (long r = 0; r < n; r += 2) {
            const P *first = rows + r * row, *second = first + row;
            uint32_t* to = &room[r / 2 * features];
            if (r + 1 < n)
                for (long k = 0; k < features; ++k) to[k] = first[k].bits | static_cast<uint32_t>(second[k].bits) << 16;
            else
                for (long k = 0; k < features; ++k) to[k] = first[k].bits;
        }
        return {reinterpret_cast<const P*>(room.data()), 2, 2 * features};
    }
}

// dW += Aᵀ·G, summed over `rows`; A has `features` per row, G has `columns`.
template <class P, class T = Wide<P>>
void weight_gradient(const P* a, long a_row, long features, const P* g, long columns, long rows, T* d_weight) {
    constexpr long BLOCK = 64;  // rows at a time, so that they stay in the innermost cache
    thread_local std::vector<uint32_t> room_a, room_g;
    for (long r = 0; r < rows; r += BLOCK) {
        const long n = std::min(BLOCK, rows - r);
        const Depthwise<P> left = depthwise(a + r * a_row, a_row, features, n, room_a);
        const Depthwise<P> right = depthwise(g + r * columns, columns, columns, n, room_g);
        product(Terms<P>({left.data, left.step, left.next, n}), {right.data, PANEL<T> * GROUP<P>, right.next}, features,
                columns, d_weight, columns, d_weight, columns);
    }
}

// Adds all rows to `sum`.
template <class P, class T>
void add_rows(const P* from, long rows, long features, T* sum) {
    for (long r = 0; r < rows; ++r, from += features) {
        long a = 0;
        for (; a + WIDTH<T> <= features; a += WIDTH<T>) store(sum + a, load(sum + a) + load(from + a));
        for (; a < features; ++a) sum[a] += from[a];
    }
}
