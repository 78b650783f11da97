// The 1×1 convolutions: y = W·ρ(x) + b, plus a map, for all rows of x; ρ is ReLU or nothing. The caller splits the rows
// into a fixed number of parts, so sums do not depend on the threads.
#pragma once

#include <algorithm>

#include "product.h"

constexpr long CHUNK = 96;  // rows at a time, so that they stay in the inner caches

// Prepares rows for a product: applies ReLU if asked, and pads them to `padded` features.
template <class P, class T>
void take_rows(const T* from, long rows, long features, bool relu, P* to, long padded) {
    for (long r = 0; r < rows; ++r, from += features, to += padded) {
        long a = 0;
        for (; a + WIDTH<T> <= features; a += WIDTH<T>) {
            const Vec<T> v = load(from + a);
            store(to + a, relu ? (v <= 0 ? Vec<T>{} : v) : v);
        }
        for (; a < features; ++a) to[a] = relu && from[a] <= 0 ? T(0) : from[a];
    }
}

// Copies rows of a product without their padding. With `activated`, sets values to zero where the ReLU was closed.
template <class T>
void give_rows(const T* from, long rows, long features, long padded, const T* activated, T* to) {
    for (long r = 0; r < rows; ++r, from += padded, to += features) {
        const T* x = activated ? activated + r * features : nullptr;
        long a = 0;
        for (; a + WIDTH<T> <= features; a += WIDTH<T>) {
            const Vec<T> v = load(from + a);
            store(to + a, x ? (load(x + a) <= 0 ? Vec<T>{} : v) : v);
        }
        for (; a < features; ++a) to[a] = x && x[a] <= 0 ? T(0) : from[a];
    }
}

// A bias as the last group of rows of a weight; their factors in A are ones. Each row holds the rounding error of the
// rows before.
template <class P, class T = Wide<P>>
Matrix<T> bias_rows(const T* bias, long out, long padded) {
    Matrix<T> rows{padded, std::vector<T>(GROUP<P> * padded)};
    for (long n = 0; n < out; ++n) {
        T left = bias[n];
        for (long k = 0; k < GROUP<P>; ++k) {
            const T rounded = rows.data[k * padded + n] = P(left);
            left = std::isfinite(rounded) ? left - rounded : T(0);
        }
    }
    return rows;
}

// weight: (in + one group, out); the bias is in its last rows.
template <class P, class T = Wide<P>>
void linear_forward(const T* x, long rows, long in, bool relu, const Packed<P>& weight, const T* plus, T* y, long out) {
    const long padded = round_up(out, WIDTH<T>), wide = round_up(in, GROUP<P>);
    P ones[GROUP<P>];
    std::fill_n(ones, GROUP<P>, P(1));
    constexpr bool narrower = !std::is_same_v<P, T>;
    const bool take = relu || narrower;
    std::vector<P> taken(take ? CHUNK * wide : 0);
    std::vector<T> given(padded == out ? 0 : CHUNK * padded);
    for (long r = 0; r < rows; r += CHUNK) {
        const long n = std::min(CHUNK, rows - r);
        const P* a = taken.data();
        if (take) take_rows(x + r * in, n, in, relu, taken.data(), wide);
        if constexpr (!narrower)
            if (!take) a = x + r * in;
        Terms<P> terms({a, wide, in});
        terms.add({ones, 0, GROUP<P>});
        T* to = padded == out ? y + r * out : given.data();
        product(terms, weight.right(), n, padded, padded == out && plus ? plus + r * out : nullptr, padded, to, padded);
        if (padded != out)
            for (long k = 0; k < n; ++k)
                for (long f = 0; f < out; ++f)
                    y[(r + k) * out + f] = to[k * padded + f] + (plus ? plus[(r + k) * out + f] : T(0));
    }
}

// Computes dx from dy unless dx is null. Adds the share of these rows to the gradients of the weight, (in, padded out),
// and of the bias.
template <class P, class T = Wide<P>>
void linear_backward(const T* x, const T* dy, long rows, long in, long out, bool relu, const Packed<P>& transposed,
                     T* dx, T* d_weight, T* d_bias) {
    const long padded_in = round_up(in, WIDTH<T>), padded = round_up(out, WIDTH<T>);
    constexpr bool narrower = !std::is_same_v<P, T>;
    const bool take = relu || narrower, take_gradient = padded != out || narrower;
    std::vector<P> taken(take ? CHUNK * in : 0), gradient(take_gradient ? CHUNK * padded : 0);
    std::vector<T> given(padded_in == in ? 0 : CHUNK * padded_in);
    for (long r = 0; r < rows; r += CHUNK) {
        const long n = std::min(CHUNK, rows - r);
        const P *a = taken.data(), *g = gradient.data();
        if (take) take_rows(x + r * in, n, in, relu, taken.data(), in);
        if (take_gradient) take_rows(dy + r * out, n, out, false, gradient.data(), padded);
        if constexpr (!narrower) {
            if (!take) a = x + r * in;
            if (!take_gradient) g = dy + r * out;
        }
        if (dx) {
            T* to = padded_in == in ? dx + r * in : given.data();
            product(Terms<P>({g, padded, padded}), transposed.right(), n, padded_in, nullptr, 0, to, padded_in);
            if (relu || to == given.data()) give_rows(to, n, in, padded_in, relu ? x + r * in : nullptr, dx + r * in);
        }
        weight_gradient(a, in, in, g, padded, n, d_weight);
        add_rows(dy + r * out, n, out, d_bias);
    }
}
