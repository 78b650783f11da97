// The widest vectors of this processor, the LSTM's two functions on them, and bfloat16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
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

// The upper half of a float's bits, rounded to nearest. It is a factor of products, or what is kept for later.
struct Bfloat16 {
    uint16_t bits;
    Bfloat16() = default;
    Bfloat16(float x) {
        uint32_t all;
        std::memcpy(&all, &x, 4);
        const uint32_t rounded = all + 0x7fff + (all >> 16 & 1);
        bits = (x == x ? rounded : all | 0x400000) >> 16;  // what is no number stays so
    }
    operator float() const {
        const uint32_t all = static_cast<uint32_t>(bits) << 16;
        float x;
        std::memcpy(&x, &all, 4);
        return x;
    }
};
typedef uint16_t HalfBits __attribute__((vector_size(BYTES / 2)));

inline Vec<float> load(const Bfloat16* p) {
    HalfBits half;
    std::memcpy(&half, p, sizeof half);
    const Lanes<float>::Bits bits = __builtin_convertvector(half, Lanes<float>::Bits) << 16;
    Vec<float> v;
    std::memcpy(&v, &bits, BYTES);
    return v;
}
inline HalfBits rounded(Vec<float> v) {
#if defined(__AVX512BF16__)
    return (HalfBits)_mm512_cvtneps_pbh(v);
#else
    using Bits = Lanes<float>::Bits;
    Bits all;
    std::memcpy(&all, &v, BYTES);
    const Bits up = all + 0x7fff + (all >> 16 & 1);
    return __builtin_convertvector((v == v ? up : all | 0x400000) >> 16, HalfBits);
#endif
}
inline void store(Bfloat16* p, Vec<float> v) {
    const HalfBits half = rounded(v);
    std::memcpy(p, &half, sizeof half);
}
inline void stream(Bfloat16* p, Vec<float> v) {
#if defined(__AVX512F__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)rounded(v));
#elif defined(__AVX2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)rounded(v));
#else
    store(p, v);
#endif
}

// Numbers of one type as those of another.
template <class A, class B>
void convert(const A* from, long n, B* to) {
    long k = 0;
    if constexpr (std::is_same_v<A, B>)
        std::copy_n(from, n, to);
    else {
        for (; k + WIDTH<float> <= n; k += WIDTH<float>) store(to + k, load(from + k));
        for (; k < n; ++k) to[k] = from[k];
    }
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
