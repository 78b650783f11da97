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

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t Bits __attribute__((vector_size(BYTES)));
};
template <>
struct Lanes<double> {
    typedef double V __attribute__((vector_size(BYTES)));
};
template <class T>
using Vec = typename Lanes<T>::V;
template <class T>
constexpr int WIDTH = BYTES / sizeof(T);

constexpr long round_up(long n, long to) { return (n + to - 1) / to * to; }

template <class T>
inline Vec<T> load(const T* p) {
    Vec<T> v;
    std::memcpy(&v, p, BYTES);
    return v;
}
template <class T>
inline void store(T* p, Vec<T> v) {
    std::memcpy(p, &v, BYTES);
}

// To memory, past the caches: for what is read much later. p is aligned to the vector.
template <class T>
inline void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#else
    store(p, v);
#endif
}

// Within ±limit.
template <class V>
inline V clamp(V x, V limit) {
    x = x < -limit ? -limit : x;
    return x > limit ? limit : x;
}
#if defined(__AVX512F__)
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm512_min_ps(limit, _mm512_max_ps(-limit, x)); }
#elif defined(__AVX2__)
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm256_min_ps(limit, _mm256_max_ps(-limit, x)); }
#endif

// eˣ for |x| ≤ 40, beyond which σ and tanh are constant to rounding; the product of two such values does not overflow.
// With x·log₂e = n + r, |r| ≤ ½: 2ʳ by the polynomial of Cephes' exp2f, 2ⁿ by the bits of n.
inline Vec<float> exp_(Vec<float> x) {
    using Bits = Lanes<float>::Bits;
    const float magic = 12582912.0f;  // 1.5·2²³: the sum's last bits are the integer n
    const Vec<float> y = clamp(x, Vec<float>{} + 40.0f) * 1.44269504f, shifted = y + magic;
    const Vec<float> r = y - (shifted - magic), r2 = r * r;
    const Vec<float> low =
        (2.402264791363012e-1f + 5.550332471162809e-2f * r) * r2 + (1.0f + 6.931472028550421e-1f * r);
    const Vec<float> high = (9.618437357674640e-3f + 1.339887440266574e-3f * r) + 1.535336188319500e-4f * r2;
    const Vec<float> power = high * (r2 * r2) + low;
    Bits bits, n;
    std::memcpy(&bits, &power, BYTES);
    std::memcpy(&n, &shifted, BYTES);
    bits += n << 23;
    Vec<float> result;
    std::memcpy(&result, &bits, BYTES);
    return x == x ? result : x;  // what is no number stays so
}

// All that `stream` wrote is there for other threads.
inline void finish_streams() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

// Double precision is for comparisons: exact rather than fast.
inline Vec<double> exp_(Vec<double> x) {
    x = clamp(x, Vec<double>{} + 300.0);
    for (int k = 0; k < WIDTH<double>; ++k) x[k] = std::exp(x[k]);
    return x;
}

template <class V>
inline V tanh_(V x) {
    return 1 - 2 / (1 + exp_(x + x));
}
