// C += Σ A·B for the thin products of a recurrence, one thread, operands in cache.
#pragma once

#include <utility>
#include <vector>

#include "vector.h"

constexpr int MOST_TAPS = 8;

// One of the products that are summed: A(r, k) = a[r·row + k·column], k < depth.
template <class T> struct Term {
    const T* a;
    long row, column, depth;
};

template <class T> struct Terms {
    Term<T> all[MOST_TAPS];
    int n = 0;
    Terms() = default;
    explicit Terms(Term<T> one) : n(1) { all[0] = one; }
    void clear() { n = 0; }
    void add(Term<T> term) { all[n++] = term; }
    void one(Term<T> term) { all[0] = term, n = 1; }
};

// The right-hand factor of all terms, one above the other: panel p of B starts at b + p·panel, its rows are `row` apart.
template <class T> struct Right {
    const T* b;
    long panel, row;
};

template <class T> constexpr int PANEL = 2 * WIDTH<T>;  // columns of B that a tile covers
constexpr int TALL = REGISTERS == 32 ? 12 : 6;          // rows of a tile: TALL × 2 registers hold it, 2 more hold B

// One tile of C, R rows by N vectors, held in registers while all terms are added to `from`.
template <class T, int R, int N>
inline void tile(const Terms<T>& terms, const T* b, long b_row, const T* from, long from_row, T* c, long c_row) {
    Vec<T> sum[R][N];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v) sum[r][v] = from ? load(from + r * from_row + v * WIDTH<T>) : Vec<T>{};
    for (int t = 0; t < terms.n; ++t) {
        const T* a = terms.all[t].a;
        const long row = terms.all[t].row, column = terms.all[t].column;
        for (long k = terms.all[t].depth; k > 0; --k, a += column, b += b_row) {
            Vec<T> right[N];
#pragma GCC unroll 2
            for (int v = 0; v < N; ++v) right[v] = load(b + v * WIDTH<T>);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
                for (int v = 0; v < N; ++v) sum[r][v] += a[r * row] * right[v];
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v) store(c + r * c_row + v * WIDTH<T>, sum[r][v]);
}

// C (rows × columns) = from + Σ A·B. Columns are a multiple of the vector width; `from` null is zero, `from_row` 0 a bias.
template <class T>
void product(const Terms<T>& terms, Right<T> right, long rows, long columns, const T* from, long from_row, T* c, long c_row) {
    for (long n = 0; n < columns; n += PANEL<T>) {
        const T* b = right.b + n / PANEL<T> * right.panel;
        const bool wide = columns - n >= PANEL<T>;
        const T* in = from ? from + n : nullptr;
        T* out = c + n;
        Terms<T> here = terms;
        for (long left = rows; left > 0;) {
            const auto add = [&]<int R>() {
                if (wide) tile<T, R, 2>(here, b, right.row, in, from_row, out, c_row);
                else tile<T, R, 1>(here, b, right.row, in, from_row, out, c_row);
                for (int t = 0; t < here.n; ++t) here.all[t].a += R * here.all[t].row;
                if (in) in += R * from_row;
                out += R * c_row, left -= R;
            };
            // As few tiles as possible, and of even height: a low one waits for its sums.
            const long tiles = (left + TALL - 1) / TALL, height = (left + tiles - 1) / tiles;
            [&]<int... R>(std::integer_sequence<int, R...>) {
                (void)((height == R + 1 && (add.template operator()<R + 1>(), true)) || ...);
            }(std::make_integer_sequence<int, TALL>());
        }
    }
}

// B (depth × columns), given by its elements, in the panels that `product` walks through.
template <class T> struct Packed {
    std::vector<T> data;
    long depth;
    template <class Element> Packed(long depth, long columns, Element element) : data(depth * round_up(columns, PANEL<T>)), depth(depth) {
        for (long n = 0; n < columns; ++n)
            for (long k = 0; k < depth; ++k)
                data[(n / PANEL<T> * depth + k) * PANEL<T> + n % PANEL<T>] = element(k, n);
    }
    Right<T> right() const { return {data.data(), depth * PANEL<T>, PANEL<T>}; }
};
