// y = W·ρ(x) + b, and a map added, for all rows of x, where ρ is ReLU or nothing: the 1×1 convolutions between the
// recurrences.
#pragma once

#include <algorithm>

#include "product.h"

constexpr long CHUNK = 96;  // rows at a time, which stay in the inner caches

// Rows as they enter the product: activated, and a whole number of vectors wide.
template <class T>
void take_rows(const T* from, long rows, long features, bool relu, T* to, long padded) {
    for (long r = 0; r < rows; ++r)
        for (long a = 0; a < features; ++a) {
            const T v = from[r * features + a];
            to[r * padded + a] = relu && v <= 0 ? T(0) : v;
        }
}

// weight: (in + 1, out), the bias in its last row.
template <class T>
void linear_forward(const T* x, long rows, long in, bool relu, const Packed<T>& weight, const T* plus, T* y, long out) {
    const long padded = round_up(out, WIDTH<T>);
    const T one = 1;
    std::vector<T> taken(relu ? CHUNK * in : 0), given(padded == out ? 0 : CHUNK * padded);
    for (long r = 0; r < rows; r += CHUNK) {
        const long n = std::min(CHUNK, rows - r);
        if (relu) take_rows(x + r * in, n, in, true, taken.data(), in);
        Terms<T> terms({relu ? taken.data() : x + r * in, in, 1, in});
        terms.add({&one, 0, 0, 1});
        T* to = padded == out ? y + r * out : given.data();
        product<T>(terms, weight.right(), n, padded, padded == out && plus ? plus + r * out : nullptr, padded, to,
                   padded);
        if (padded != out)
            for (long k = 0; k < n; ++k)
                for (long f = 0; f < out; ++f)
                    y[(r + k) * out + f] = to[k * padded + f] + (plus ? plus[(r + k) * out + f] : T(0));
    }
}

// From dy to dx, unless that is null, and what these rows add to the gradient of the weight, (in, padded out), and of
// the bias.
template <class T>
void linear_backward(const T* x, const T* dy, long rows, long in, long out, bool relu, const Packed<T>& transposed,
                     T* dx, T* d_weight, T* d_bias) {
    const long padded_in = round_up(in, WIDTH<T>), padded = round_up(out, WIDTH<T>);
    std::vector<T> taken(relu ? CHUNK * in : 0), gradient(padded == out ? 0 : CHUNK * padded),
        given(padded_in == in ? 0 : CHUNK * padded_in);
    for (long r = 0; r < rows; r += CHUNK) {
        const long n = std::min(CHUNK, rows - r);
        const T *a = x + r * in, *g = dy + r * out;
        if (relu) take_rows(a, n, in, true, taken.data(), in), a = taken.data();
        if (padded != out) take_rows(g, n, out, false, gradient.data(), padded), g = gradient.data();
        if (dx) {
            T* to = padded_in == in ? dx + r * in : given.data();
            product<T>(Terms<T>({g, padded, 1, padded}), transposed.right(), n, padded_in, nullptr, 0, to, padded_in);
            for (long k = 0; k < n && (relu || to == given.data()); ++k)
                for (long f = 0; f < in; ++f)
                    dx[(r + k) * in + f] = relu && a[k * in + f] == 0 ? T(0) : to[k * padded_in + f];
        }
        product<T>(Terms<T>({a, 1, in, n}), {g, PANEL<T>, padded}, in, padded, d_weight, padded, d_weight, padded);
        for (long k = 0; k < n; ++k)
            for (long f = 0; f < padded; ++f) d_bias[f] += g[k * padded + f];
    }
}
