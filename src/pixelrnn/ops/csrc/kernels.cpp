// The interface of the library: pointers to contiguous arrays, and their sizes, which Python has checked. The library
// does not depend on PyTorch. Functions return a Status.
#include <new>

#include "conv.h"
#include "network.h"
#include "parallel.h"

#if defined(_WIN32)
#define EXPORT extern "C" __declspec(dllexport)
#else
#define EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Type { FLOAT32, FLOAT64, BFLOAT16 };  // of the factors of products; with BFLOAT16 the arrays are float32
enum Status { OK, NOT_FINITE, NO_MEMORY, FAILED };

template <class Run>
int guarded(const Run& run) {
    try {
        return run();
    } catch (const std::bad_alloc&) {
        return NO_MEMORY;
    } catch (...) {
        return FAILED;
    }
}

template <class Run>
int with_factors(int64_t type, const Run& run) {
    return guarded([&] {
        if (type == FLOAT32) run.template operator()<float>();
        if (type == FLOAT64) run.template operator()<double>();
        if (type == BFLOAT16) run.template operator()<Bfloat16>();
        return OK;
    });
}

template <class T>
const T* in(const void* p) {
    return static_cast<const T*>(p);
}
template <class T>
T* out(void* p) {
    return static_cast<T*>(p);
}

// The number of saved values for some images: o, f, i, g, c and h.
long saved_size(const Shape& s, long images) {
    return s.layer.directions * s.height * s.width * images * 6 * s.padded();
}

// The part of the saved values that belongs to the slice from image `first` on.
template <class P>
Saved<P> slice(const Shape& s, P* all, long first) {
    if (all) all += saved_size(s, first);
    return {all, s.width, std::min(s.images, s.batch - first), s.padded(), s.layer.directions};
}

template <class P, class T = Wide<P>>
std::vector<Weights<P>> weights_of(const Shape& s, const void* input, const void* bias, const void* state,
                                   const void* initial) {
    std::vector<Weights<P>> weights;
    for (long d = 0; d < s.layer.directions; ++d)
        weights.push_back(pack<P>(s, d, in<T>(input), in<T>(bias), in<T>(state), in<T>(initial)));
    return weights;
}

template <class P, class T = Wide<P>>
void recurrence_backward(const Shape& s, long threads, const T* x, const T* input,
                         const std::vector<Weights<P>>& weights, P* saved, const T* d_output, T* d_x, T* d_input,
                         T* d_bias, T* d_state, T* d_initial) {
    const long h = s.hidden, padded = s.padded(), gates = 4 * padded, D = s.layer.directions;
    const long S = s.layer.inputs.size(), n_taps = s.layer.taps[0].size(), slices = (s.batch + s.images - 1) / s.images;
    Matrix<T> to_x{round_up(s.in, WIDTH<T>), {}};
    for (long k = 0; k < D * S; ++k)
        to_x.append(pad_gates(input + k * s.in * 4 * h, s.in, h, padded).transposed(to_x.columns));
    const Packed<P> to_input(to_x);
    const std::vector<T> z(gates), zp(padded);
    std::vector<std::vector<Gradients<T>>> parts(
        slices, std::vector<Gradients<T>>(
                    D, {std::vector<T>(S * s.in * gates), std::vector<T>(n_taps * h * gates), z, zp, zp}));
    parallel(slices, threads, [&](long n) {
        backward(s, weights, to_input, x, slice(s, saved, n * s.images), d_output, d_x, parts[n], n * s.images);
    });
    std::fill_n(d_input, D * S * s.in * 4 * h, T(0)), std::fill_n(d_state, D * n_taps * h * 4 * h, T(0));
    std::fill_n(d_bias, D * 4 * h, T(0)), std::fill_n(d_initial, D * 2 * h, T(0));
    // Add slice by slice, so that sums do not depend on the order of the threads.
    const auto add = [&](T* to, const std::vector<T>& from, long rows) {
        for (long r = 0; r < rows; ++r)
            for (long q = 0; q < 4; ++q)
                for (long a = 0; a < h; ++a) to[(r * 4 + q) * h + a] += from[(r * 4 + q) * padded + a];
    };
    for (const auto& part : parts)
        for (long d = 0; d < D; ++d) {
            add(d_input + d * S * s.in * 4 * h, part[d].input, S * s.in);
            add(d_state + d * n_taps * h * 4 * h, part[d].state, n_taps * h);
            add(d_bias + d * 4 * h, part[d].bias, 1);
            T* initial_of = d_initial + d * 2 * h;
            for (long a = 0; a < h; ++a) initial_of[a] += part[d].h0[a], initial_of[h + a] += part[d].c0[a];
        }
}

// Splits rows or images into parts and sums a gradient per part. The parts are fixed, so sums do not depend on threads.
struct Parts {
    long n, part;
    Parts(long n, long least) : n(n), part(std::max(least, (n + 15) / 16)) {}
    long count() const { return (n + part - 1) / part; }
    // Runs work(p, first, end) for each part, in parallel.
    template <class Work>
    void run(long threads, const Work& work) const {
        parallel(count(), threads, [&](long p) { work(p, p * part, std::min(n, (p + 1) * part)); });
    }
};

// A 1×1 kernel divides the positions of all images, a larger one divides the images.
Parts parts_of(const Window& s) { return s.taps() == 1 ? Parts(s.height * s.width * s.batch, 256) : Parts(s.batch, 1); }

template <class P, class T = Wide<P>>
void convolve(const Window& s, long threads, const T* x, const T* weight, const T* bias, const T* plus, bool relu,
              T* y) {
    const long padded = round_up(s.out, WIDTH<T>);
    Matrix<T> rows = tap_rows(s, weight, round_up(s.in, GROUP<P>), padded, false);
    rows.append(bias_rows<P>(bias, s.out, padded));
    const Packed<P> packed(rows);
    if (s.taps() == 1)
        parts_of(s).run(threads, [&](long, long first, long end) {
            linear_forward(x + first * s.in, end - first, s.in, relu, packed, plus ? plus + first * s.out : nullptr,
                           y + first * s.out, s.out);
        });
    else
        parts_of(s).run(threads,
                        [&](long, long first, long end) { conv_forward(s, x, relu, packed, plus, y, first, end); });
}

template <class P, class T = Wide<P>>
void convolve_backward(const Window& s, long threads, const T* x, const T* weight, const T* dy, bool relu, T* dx,
                       T* d_weight, T* d_bias) {
    const long padded = round_up(s.out, WIDTH<T>), padded_in = round_up(s.in, WIDTH<T>);
    const bool single = s.taps() == 1;
    const long features = single ? s.in : round_up(s.in, GROUP<P>);  // per tap, in the sums
    const Packed<P> transposed(tap_rows(s, weight, padded, padded_in, true));
    const Parts parts = parts_of(s);
    std::vector<std::vector<T>> d_weights(parts.count()), d_biases(parts.count());
    const auto clear = [&](long p) { d_weights[p].resize(s.taps() * features * padded), d_biases[p].resize(padded); };
    if (single)
        parts.run(threads, [&](long p, long first, long end) {
            clear(p);
            linear_backward(x + first * s.in, dy + first * s.out, end - first, s.in, s.out, relu, transposed,
                            dx ? dx + first * s.in : nullptr, d_weights[p].data(), d_biases[p].data());
        });
    else
        parts.run(threads, [&](long p, long first, long end) {
            clear(p);
            conv_backward(s, x, dy, relu, transposed, dx, d_weights[p].data(), d_biases[p].data(), first, end);
        });
    const long kernel = (2 * s.above + 1) * (2 * s.beside + 1);
    std::fill_n(d_weight, s.out * s.in * kernel, T(0));
    std::vector<T>&weights = d_weights[0], &biases = d_biases[0];
    for (long p = 1; p < parts.count(); ++p) {
        for (size_t k = 0; k < weights.size(); ++k) weights[k] += d_weights[p][k];
        for (size_t k = 0; k < biases.size(); ++k) biases[k] += d_biases[p][k];
    }
    const T* from = weights.data();
    for (long u = 0; u <= s.above; ++u)
        for (long v = 0; v < s.columns(u); ++v, from += features * padded)
            for (long g = 0; g < s.out; ++g)
                for (long f = 0; f < s.in; ++f)
                    d_weight[(g * s.in + f) * kernel + u * (2 * s.beside + 1) + v] = from[f * padded + g];
    std::copy_n(biases.data(), s.out, d_bias);
}

}  // namespace

// The hash of the sources that this library was compiled from (`pixelrnn.ops.build`).
EXPORT const char* pixelrnn_sources() { return PIXELRNN_SOURCES; }

// Makes `parallel` use this GOMP_parallel; null returns to its own threads.
EXPORT void pixelrnn_lend_threads(Parallel parallel) { lent = parallel; }

// x (N, B, F), input (D, S, F, 4h), bias (D, 4h), state (D, T, h, 4h), initial (D, 2, h) → output (N, B, h). `saved` is
// null, or has room for D·N·B·6·⌈h⌉ + GRAIN numbers of the type of the factors, where ⌈h⌉ is h rounded up to GRAIN.
EXPORT int pixelrnn_line_lstm(int64_t type, int64_t threads, int64_t height, int64_t width, int64_t batch, int64_t in_,
                              int64_t layer, int64_t hidden, const void* x, const void* input, const void* bias,
                              const void* state, const void* initial, void* output, void* saved) {
    return with_factors(type, [&]<class P>() {
        using T = Wide<P>;
        const Shape s{LAYERS[layer], height, width, batch, in_, hidden, images_per_slice(batch, threads)};
        const std::vector<Weights<P>> weights = weights_of<P>(s, input, bias, state, initial);
        parallel((s.batch + s.images - 1) / s.images, threads, [&](long n) {
            const long first = n * s.images;
            forward(s, weights, in<T>(x), out<T>(output), slice(s, out<P>(saved), first), first);
        });
        if (saved) {
            P* last = out<P>(saved) + saved_size(s, batch);
            std::fill_n(last, GRAIN, P(0));
            *last = P(s.images);
        }
    });
}

EXPORT int pixelrnn_line_lstm_backward(int64_t type, int64_t threads, int64_t height, int64_t width, int64_t batch,
                                       int64_t in_, int64_t layer, int64_t hidden, const void* x, const void* input,
                                       const void* bias, const void* state, const void* initial, void* saved,
                                       const void* d_output, void* d_x, void* d_input, void* d_bias, void* d_state,
                                       void* d_initial) {
    return with_factors(type, [&]<class P>() {
        using T = Wide<P>;
        Shape s{LAYERS[layer], height, width, batch, in_, hidden, 1};
        // Use the slices of the forward pass; the number of threads may have changed since.
        s.images = std::clamp(static_cast<long>(T(out<P>(saved)[saved_size(s, batch)])), 1L, static_cast<long>(batch));
        recurrence_backward<P>(s, threads, in<T>(x), in<T>(input), weights_of<P>(s, input, bias, state, initial),
                               out<P>(saved), in<T>(d_output), out<T>(d_x), out<T>(d_input), out<T>(d_bias),
                               out<T>(d_state), out<T>(d_initial));
    });
}

// x (N, B, F), weight (G, F, 2·above + 1, 2·beside + 1), bias (G), plus (N, B, G) or null → y (N, B, G).
EXPORT int pixelrnn_conv(int64_t type, int64_t threads, int64_t height, int64_t width, int64_t batch, int64_t in_,
                         int64_t out_, int64_t above, int64_t beside, int64_t relu, const void* x, const void* weight,
                         const void* bias, const void* plus, void* y) {
    return with_factors(type, [&]<class P>() {
        using T = Wide<P>;
        const Window s{height, width, batch, in_, out_, above, beside};
        convolve<P>(s, threads, in<T>(x), in<T>(weight), in<T>(bias), in<T>(plus), relu, out<T>(y));
    });
}

// dx may be null.
EXPORT int pixelrnn_conv_backward(int64_t type, int64_t threads, int64_t height, int64_t width, int64_t batch,
                                  int64_t in_, int64_t out_, int64_t above, int64_t beside, int64_t relu, const void* x,
                                  const void* weight, const void* dy, void* dx, void* d_weight, void* d_bias) {
    return with_factors(type, [&]<class P>() {
        using T = Wide<P>;
        const Window s{height, width, batch, in_, out_, above, beside};
        convolve_backward<P>(s, threads, in<T>(x), in<T>(weight), in<T>(dy), relu, out<T>(dx), out<T>(d_weight),
                             out<T>(d_bias));
    });
}

// Makes a network that computes position by position, or returns null if out of memory. Maps are numbered in the order
// in which the functions below add them. known: for each of the stages 0 … channels, the number of features of the map
// that are known then. The features of each map are sorted by stage.
EXPORT AnyNetwork* pixelrnn_network(int64_t type, int64_t width, int64_t batch, int64_t channels, double scale,
                                    int64_t threads) {
    AnyNetwork* network = nullptr;
    guarded([&] {
        if (type == FLOAT64)
            network = new Network<double>(width, batch, channels, scale, threads);
        else
            network = new Network<float>(width, batch, channels, scale, threads);
        return OK;
    });
    return network;
}
EXPORT void pixelrnn_network_free(AnyNetwork* network) { delete network; }

namespace {

template <class Run>
int of_network(AnyNetwork* network, const Run& run) {
    return guarded([&]() -> int {
        if (auto* of_floats = dynamic_cast<Network<float>*>(network)) return run(*of_floats, float());
        return run(*dynamic_cast<Network<double>*>(network), double());
    });
}

}  // namespace

EXPORT int pixelrnn_network_input(AnyNetwork* network, const int64_t* known, int64_t above, int64_t beside) {
    return of_network(network, [&](auto& n, auto) { return n.input(known, {above, beside}), OK; });
}
EXPORT int pixelrnn_network_relu(AnyNetwork* network, int64_t x, int64_t above, int64_t beside, int64_t remembered) {
    return of_network(network, [&](auto& n, auto) { return n.relu(x, {above, beside}, remembered), OK; });
}
EXPORT int pixelrnn_network_concatenate(AnyNetwork* network, int64_t a, int64_t b, int64_t above, int64_t beside,
                                        int64_t remembered) {
    return of_network(network, [&](auto& n, auto) { return n.concatenate(a, b, {above, beside}, remembered), OK; });
}
// weight: (rows, columns, in, out); the last row is that of the centre. plus: the map to add, or −1; added: the place
// of each feature in that map.
EXPORT int pixelrnn_network_conv(AnyNetwork* network, int64_t x, const void* weight, const void* bias,
                                 const int64_t* known, int64_t rows, int64_t columns, int64_t plus,
                                 const int64_t* added, int64_t above, int64_t beside, int64_t remembered) {
    return of_network(network, [&](auto& n, auto zero) {
        using T = decltype(zero);
        n.convolution(x, in<T>(weight), in<T>(bias), known, {rows - 1, columns / 2}, plus, added, {above, beside},
                      remembered);
        return OK;
    });
}
EXPORT int pixelrnn_network_line_lstm(AnyNetwork* network, int64_t x, int64_t layer, const void* input,
                                      const void* bias, const void* state, const void* initial, const int64_t* known,
                                      int64_t above, int64_t beside, int64_t remembered) {
    return of_network(network, [&](auto& n, auto zero) {
        using T = decltype(zero);
        n.line_lstm(x, LAYERS[layer], in<T>(input), in<T>(bias), in<T>(state), in<T>(initial), known, {above, beside},
                    remembered);
        return OK;
    });
}
// See RowOfImages. condition may be null. The arrays must live until the end of the row.
EXPORT int pixelrnn_network_begin(AnyNetwork* network, uint8_t* levels, const bool* wanted, const void* condition) {
    return of_network(network, [&](auto& n, auto zero) {
        using T = decltype(zero);
        n.begin({levels, nullptr, wanted, nullptr, nullptr, in<T>(condition), n.width, n.channels, n.batch,
                 n.logits_per_channel(), 1});
        return OK;
    });
}
// logits: (n, B, L); n: the number of sub-pixels. See Network::next.
EXPORT int pixelrnn_network_next(AnyNetwork* network, void* logits, int64_t most, double sure, int64_t* n) {
    return of_network(network, [&](auto& net, auto zero) {
        *n = net.next(out<decltype(zero)>(logits), most, sure);
        return *n < 0 ? NOT_FINITE : OK;
    });
}
EXPORT int pixelrnn_network_back(AnyNetwork* network, int64_t j, int64_t c) {
    return of_network(network, [&](auto& n, auto) { return n.back(j, c), OK; });
}
// The probabilities (n, K) that a coder needs, up to a factor for each row, from logits (n, L): exp(l − max l), or of
// one logit those of 0 and 1. Every machine computes the same bits.
EXPORT int pixelrnn_weights(int64_t n, int64_t count, const float* logits, double* weights) {
    return guarded([&] { return ::weights(n, count, logits, weights), OK; });
}
// See RowOfImages. condition may be null.
EXPORT int pixelrnn_network_row(AnyNetwork* network, uint8_t* levels, const bool* known, const bool* wanted,
                                const double* uniform, void* logits, const void* condition, double temperature) {
    return of_network(network, [&](auto& n, auto zero) {
        using T = decltype(zero);
        const RowOfImages<T> row{levels,           known,   wanted,     uniform, out<T>(logits),
                                 in<T>(condition), n.width, n.channels, n.batch, n.logits_per_channel(),
                                 temperature};
        return n.row(row) ? OK : NOT_FINITE;
    });
}
