// The widest vectors of this processor, and the LSTM's two functions on them.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int BYTES = 64;
constexpr int REGISTERS = 32;
#else
constexpr int BYTES = 32;  // AVX2; elsewhere the compiler makes two narrower ones of each
constexpr int REGISTERS = 16;
#endif

template <class T> struct Lanes;
template <> struct Lanes<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t Bits __attribute__((vector_size(BYTES)));
};
template <> struct Lanes<double> {
    typedef double V __attribute__((vector_size(BYTES)));
};
template <class T> using Vec = typename Lanes<T>::V;
template <class T> constexpr int WIDTH = BYTES / sizeof(T);

constexpr long round_up(long n, long to) { return (n + to - 1) / to * to; }

template <class T> inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, BYTES);
    return v;
}
template <class T> inline void store(T* p, Vec<T> v) { std::memcpy(p, &v, BYTES); }

// Within ±limit; not a number stays so.
template <class V> inline V clamp(V x, V limit) {
    x = x < -limit ? -limit : x;
    return x > limit ? limit : x;
}
#if defined(__AVX512F__)
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm512_min_ps(limit, _mm512_max_ps(-limit, x)); }
#elif defined(__AVX2__)
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm256_min_ps(limit, _mm256_max_ps(-limit, x)); }
#endif

// eˣ for |x| ≤ 40, beyond which σ and tanh are constant to rounding: x = n·ln 2 + r, eʳ by the polynomial of Cephes'
// expf, 2ⁿ by its bits. The product of two such values does not overflow.
inline Vec<float> exp_(Vec<float> x) {
    using Bits = Lanes<float>::Bits;
    x = clamp(x, Vec<float>{} + 40.0f);
    const float magic = 12582912.0f;  // 1.5·2²³: the sum's last bits are the integer n
    const Vec<float> shifted = x * 1.44269504f + magic, n = shifted - magic;
    const Vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Vec<float> p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + (r + 1.0f);
    Bits bits, power;
    std::memcpy(&bits, &p, BYTES);
    std::memcpy(&power, &shifted, BYTES);
    bits += power << 23;
    std::memcpy(&p, &bits, BYTES);
    return p;
}

// Double precision is for comparisons: exact rather than fast.
inline Vec<double> exp_(Vec<double> x) {
    x = clamp(x, Vec<double>{} + 300.0);
    for (int k = 0; k < WIDTH<double>; ++k) x[k] = std::exp(x[k]);
    return x;
}

template <class V> inline V tanh_(V x) { return 1 - 2 / (1 + exp_(x + x)); }
