// The widest vectors of this instruction set, σ and tanh on them, and bfloat16.
//
// The code writes every sum as a chain of multiply-adds (`fma`), and the compiler may not fuse others
// (-ffp-contract=off). So a result has the same bits for every vector width, tile and compiler.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(PIXELRNN_BYTES)  // a test compiles narrower vectors
#if defined(__AVX512F__)
#define PIXELRNN_BYTES 64
#elif defined(__AVX2__)
#define PIXELRNN_BYTES 32
#else
#define PIXELRNN_BYTES 16
#endif
#endif
constexpr int BYTES = PIXELRNN_BYTES;

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
    typedef int64_t Bits __attribute__((vector_size(BYTES)));
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

// a·b + c, rounded once.
#if PIXELRNN_BYTES == 64
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm512_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)_mm512_fmadd_pd(a, b, c); }
#elif PIXELRNN_BYTES == 32 && defined(__FMA__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm256_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)_mm256_fmadd_pd(a, b, c); }
#elif PIXELRNN_BYTES == 16 && defined(__FMA__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm_fmadd_ps(a, b, c); }
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return (Vec<double>)_mm_fmadd_pd(a, b, c); }
#elif PIXELRNN_BYTES == 16 && defined(__aarch64__)
inline Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
inline Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
    return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
template <class V>
inline V fma(V a, V b, V c) {
    for (unsigned k = 0; k < sizeof(V) / sizeof(a[0]); ++k) c[k] = std::fma(a[k], b[k], c[k]);
    return c;
}
#endif

// Writes past the caches, for values that are read much later. p is aligned to the vector.
template <class T>
inline void stream(T* p, Vec<T> v) {
#if PIXELRNN_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)v);
#elif PIXELRNN_BYTES == 32 && defined(__AVX2__)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)v);
#else
    store(p, v);
#endif
}

// The upper half of a float's bits, rounded to nearest. Used for the factors of products and for saved values.
struct Bfloat16 {
    uint16_t bits;
    Bfloat16() = default;
    Bfloat16(float x) {
        uint32_t all;
        std::memcpy(&all, &x, 4);
        const uint32_t rounded = all + 0x7fff + (all >> 16 & 1);
        bits = (x == x ? rounded : all | 0x400000) >> 16;  // NaN stays NaN
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
#if PIXELRNN_BYTES == 64 && defined(__AVX512BF16__)
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
#if PIXELRNN_BYTES == 64
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)rounded(v));
#elif PIXELRNN_BYTES == 32 && defined(__AVX2__)
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)rounded(v));
#else
    store(p, v);
#endif
}

// Converts numbers from one type to another.
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

// Clamps x to ±limit.
template <class V>
inline V clamp(V x, V limit) {
    x = x < -limit ? -limit : x;
    return x > limit ? limit : x;
}
#if PIXELRNN_BYTES == 64
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm512_min_ps(limit, _mm512_max_ps(-limit, x)); }
#elif PIXELRNN_BYTES == 32 && defined(__AVX2__)
inline Vec<float> clamp(Vec<float> x, Vec<float> limit) { return _mm256_min_ps(limit, _mm256_max_ps(-limit, x)); }
#endif

// eˣ for x clamped to ±40: beyond, σ and tanh are constant to rounding. The product of two results does not overflow.
// With x·log₂e = n + r, |r| ≤ ½: 2ʳ by the polynomial of Cephes' exp2f, 2ⁿ by the bits of n.
inline Vec<float> exp_(Vec<float> x) {
    using Bits = Lanes<float>::Bits;
    const Vec<float> zero{};
    const float magic = 12582912.0f;  // 1.5·2²³: the last bits of the sum are the integer n
    const Vec<float> y = clamp(x, zero + 40.0f) * 1.44269504f, shifted = y + magic;
    const Vec<float> r = y - (shifted - magic), r2 = r * r;
    const Vec<float> low = fma(fma(r, zero + 5.550332471162809e-2f, zero + 2.402264791363012e-1f), r2,
                               fma(r, zero + 6.931472028550421e-1f, zero + 1.0f));
    const Vec<float> high =
        fma(zero + 1.535336188319500e-4f, r2, fma(r, zero + 1.339887440266574e-3f, zero + 9.618437357674640e-3f));
    const Vec<float> power = fma(high, r2 * r2, low);
    Bits bits, n;
    std::memcpy(&bits, &power, BYTES);
    std::memcpy(&n, &shifted, BYTES);
    bits += n << 23;
    Vec<float> result;
    std::memcpy(&result, &bits, BYTES);
    return x == x ? result : x;  // NaN stays NaN
}

// Makes everything that `stream` wrote visible to other threads.
inline void finish_streams() {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

// The same for ±300 in double precision, to about one unit in the last place: the Taylor polynomial of eʳ, with
// x = n·ln 2 + r. The sampler of float64 networks and the coder use it.
inline Vec<double> exp_(Vec<double> x) {
    using Bits = Lanes<double>::Bits;
    const Vec<double> zero{}, within = clamp(x, zero + 300.0);
    const double magic = 0x1.8p52;  // the last bits of the sum are the integer n
    const Vec<double> shifted = fma(within, zero + 0x1.71547652b82fep0, zero + magic), whole = shifted - magic;
    const Vec<double> r = fma(-whole, zero + 0x1.abc9e3b39803fp-56, fma(-whole, zero + 0x1.62e42fefa39efp-1, within));
    Vec<double> power = zero + 1.0 / 6227020800;  // 1/13!
    for (const double factor : {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
                                1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1.0, 1.0})
        power = fma(power, r, zero + factor);
    Bits bits, n;
    std::memcpy(&bits, &power, BYTES);
    std::memcpy(&n, &shifted, BYTES);
    bits += n << 52;
    Vec<double> result;
    std::memcpy(&result, &bits, BYTES);
    return x == x ? result : x;  // NaN stays NaN
}

template <class V>
inline V tanh_(V x) {
    return 1 - 2 / (1 + exp_(x + x));
}
