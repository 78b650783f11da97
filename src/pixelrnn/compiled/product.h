// C += Σ A·B for the thin products of a recurrence, one thread, operands in cache.
#pragma once

#include <algorithm>
#include <vector>

#include "vector.h"

constexpr int MOST_TAPS = 8;  // that one product sums

// One of the products that are summed: A(r, k) = a[r·row + k·column], k < depth.
template <class T>
struct Term {
    const T* a;
    long row, column, depth;
};

template <class T>
struct Terms {
    Term<T> all[MOST_TAPS];
    int n = 0;
    Terms() = default;
    explicit Terms(Term<T> one) : n(1) { all[0] = one; }
    void clear() { n = 0; }
    void add(Term<T> term) { all[n++] = term; }
    void one(Term<T> term) { all[0] = term, n = 1; }
};

// The right-hand factor of all terms, one above the other: panel p of B starts at b + p·panel, its rows are `row`
// apart.
template <class T>
struct Right {
    const T* b;
    long panel, row;
};

template <class T>
constexpr int PANEL = 2 * WIDTH<T>;             // columns of B that a tile covers
constexpr int TALL = REGISTERS == 32 ? 12 : 6;  // rows of a tile: TALL × 2 registers hold it, 2 more hold B

// One tile of C, R rows by N vectors, held in registers while all terms, from row r on, are added to `from`.
template <class T, int R, int N>
inline void tile(const Terms<T>& terms, long r, const T* b, long b_row, const T* from, long from_row, T* c,
                 long c_row) {
    Vec<T> sum[R][N];
#pragma GCC unroll 16
    for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v) sum[q][v] = Vec<T>{};
    for (int t = 0; t < terms.n; ++t) {
        const long row = terms.all[t].row, column = terms.all[t].column;
        const T* a = terms.all[t].a + r * row;
        for (long k = terms.all[t].depth; k > 0; --k, a += column, b += b_row) {
            Vec<T> right[N];
#pragma GCC unroll 2
            for (int v = 0; v < N; ++v) right[v] = load(b + v * WIDTH<T>);
#pragma GCC unroll 16
            for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
                for (int v = 0; v < N; ++v) sum[q][v] += a[q * row] * right[v];
        }
    }
#pragma GCC unroll 16
    for (int q = 0; q < R; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < N; ++v)
            store(c + q * c_row + v * WIDTH<T>, load(from + q * from_row + v * WIDTH<T>) + sum[q][v]);
}

// C (rows × columns) = from + Σ A·B. Columns are a multiple of the vector width; `from` null is zero, with `from_row` 0
// it is a bias.
template <class T>
void product(const Terms<T>& terms, Right<T> right, long rows, long columns, const T* from, long from_row, T* c,
             long c_row) {
    static const T zeros[PANEL<T>] = {};
    if (!from) from_row = 0;
    for (long n = 0; n < columns; n += PANEL<T>, right.b += right.panel)
        for (long r = 0; r < rows;) {
            // As few tiles as possible, and of even height: a low one waits for its sums.
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
            switch (height) {
                case 1:
                    run.template operator()<1>();
                    break;
                case 2:
                    run.template operator()<2>();
                    break;
                case 3:
                    run.template operator()<3>();
                    break;
                case 4:
                    run.template operator()<4>();
                    break;
                case 5:
                    run.template operator()<5>();
                    break;
                case 6:
                    run.template operator()<6>();
                    break;
#if defined(__AVX512F__)
                case 7:
                    run.template operator()<7>();
                    break;
                case 8:
                    run.template operator()<8>();
                    break;
                case 9:
                    run.template operator()<9>();
                    break;
                case 10:
                    run.template operator()<10>();
                    break;
                case 11:
                    run.template operator()<11>();
                    break;
                case 12:
                    run.template operator()<12>();
                    break;
#endif
            }
            r += height;
        }
}

// A matrix, row after row.
template <class T>
struct Matrix {
    long columns;
    std::vector<T> data;
    long rows() const { return columns ? static_cast<long>(data.size()) / columns : 0; }
    void append(const Matrix& below) { data.insert(data.end(), below.data.begin(), below.data.end()); }
    Matrix transposed(long padded) const {  // with zero columns up to `padded`
        Matrix to{padded, std::vector<T>(columns * padded)};
        for (long r = 0; r < rows(); ++r)
            for (long c = 0; c < columns; ++c) to.data[c * padded + r] = data[r * columns + c];
        return to;
    }
};

// B in the panels that `product` walks through, whole vectors wide.
template <class T>
struct Packed {
    std::vector<T> data;
    long depth;
    explicit Packed(const Matrix<T>& b) : data(b.rows() * round_up(b.columns, PANEL<T>)), depth(b.rows()) {
        for (long n = 0; n < b.columns; n += PANEL<T>)
            for (long k = 0; k < depth; ++k)
                std::copy_n(&b.data[k * b.columns + n], std::min<long>(PANEL<T>, b.columns - n),
                            &data[(n / PANEL<T> * depth + k) * PANEL<T>]);
    }
    Right<T> right(long from = 0) const {  // without the first rows
        return {data.data() + from * PANEL<T>, depth * PANEL<T>, PANEL<T>};
    }
};
