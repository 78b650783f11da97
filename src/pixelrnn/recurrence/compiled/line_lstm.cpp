// Bindings: two operators on contiguous tensors, parallel over slices of the batch.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <omp.h>
#include <torch/library.h>

#include <tuple>

#include "scan.h"

namespace {

using at::Tensor;

// taps: (di, dj) pairs of all directions in turn.
Shape shape_of(const Tensor& x, const Tensor& input, const Tensor& state, int64_t height, at::IntArrayRef input_taps, at::IntArrayRef taps, int64_t cell) {
    const auto offsets = [&](at::IntArrayRef flat, int64_t directions) {
        std::vector<std::vector<Tap>> all(directions);
        const size_t each = flat.size() / 2 / directions;
        for (size_t k = 0; k < flat.size() / 2; ++k) all[k / each].push_back({flat[2 * k], flat[2 * k + 1]});
        return all;
    };
    const int64_t D = state.size(0);
    return {D, height, x.size(0) / height, x.size(1), x.size(2), state.size(2), offsets(input_taps, D), offsets(taps, D), cell};
}

template <class T> std::vector<Weights<T>> weights_of(const Shape& s, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial) {
    std::vector<Weights<T>> weights;
    for (long d = 0; d < s.directions; ++d)
        weights.push_back(pack(s, d, input.const_data_ptr<T>(), bias.const_data_ptr<T>(), state.const_data_ptr<T>(), initial.const_data_ptr<T>()));
    return weights;
}

// The part of the saved states that belongs to the slice from image `first` on.
template <class T> Saved<T> slice(const Shape& s, T* all, long first) {
    const long padded = round_up(s.hidden, WIDTH<T>);
    return {all + s.directions * s.height * s.width * first * 5 * padded, s.width, std::min(SLICE, s.batch - first), padded, s.directions, true};
}

template <class T>
std::tuple<Tensor, Tensor> run_forward(const Shape& s, const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial, bool keep) {
    const long padded = round_up(s.hidden, WIDTH<T>), row = s.directions * s.width * 5 * padded, threads = omp_get_max_threads();
    Tensor hidden = at::empty({s.directions, s.height * s.width, s.batch, s.hidden}, x.options());
    Tensor saved = at::empty({keep ? s.height * row * s.batch : threads * row * SLICE}, x.options());
    const std::vector<Weights<T>> weights = weights_of<T>(s, input, bias, state, initial);
    T *all = saved.data_ptr<T>(), *out = hidden.data_ptr<T>();
    const T* in = x.const_data_ptr<T>();
#pragma omp parallel for schedule(dynamic, 1)
    for (long first = 0; first < s.batch; first += SLICE) {
        Saved<T> own = slice(s, all, first);
        if (!keep) own.data = all + omp_get_thread_num() * row * SLICE, own.kept = false;
        forward(s, weights, in, out, own, first);
    }
    return {hidden, keep ? saved : at::empty({0}, x.options())};
}

template <class T>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> run_backward(const Shape& s, const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state,
                                                                const Tensor& initial, const Tensor& hidden, const Tensor& saved, const Tensor& d_hidden) {
    const long h = s.hidden, padded = round_up(h, WIDTH<T>), gates = 4 * padded, D = s.directions;
    const long S = s.inputs[0].size(), n_taps = s.taps[0].size(), slices = (s.batch + SLICE - 1) / SLICE;
    const std::vector<Weights<T>> weights = weights_of<T>(s, input, bias, state, initial);
    const T* in = input.const_data_ptr<T>();
    const Packed<T> to_input(D * S * gates, round_up(s.in, WIDTH<T>), [&](long k, long n) {
        const long gate = k % gates;
        return n < s.in && gate % padded < h ? in[(k / gates * s.in + n) * 4 * h + gate / padded * h + gate % padded] : T(0);
    });
    Tensor d_x = at::empty(x.sizes(), x.options());
    const std::vector<T> z(gates), zp(padded);
    std::vector<std::vector<Gradients<T>>> parts(
        slices, std::vector<Gradients<T>>(D, {std::vector<T>(S * s.in * gates), std::vector<T>(n_taps * h * gates), z, zp, zp}));
    T* all = const_cast<T*>(saved.const_data_ptr<T>());
#pragma omp parallel for schedule(dynamic, 1)
    for (long n = 0; n < slices; ++n)
        backward(s, weights, to_input, x.const_data_ptr<T>(), hidden.const_data_ptr<T>(), slice(s, all, n * SLICE), d_hidden.const_data_ptr<T>(),
                 d_x.data_ptr<T>(), parts[n], n * SLICE);

    Tensor d_input = at::zeros(input.sizes(), x.options()), d_bias = at::zeros(bias.sizes(), x.options());
    Tensor d_state = at::zeros(state.sizes(), x.options()), d_initial = at::zeros(initial.sizes(), x.options());
    // Slice after slice, so that the sums do not depend on which thread was first.
    const auto add = [&](T* to, const std::vector<T>& from, long rows) {
        for (long r = 0; r < rows; ++r)
            for (long q = 0; q < 4; ++q)
                for (long a = 0; a < h; ++a) to[(r * 4 + q) * h + a] += from[(r * 4 + q) * padded + a];
    };
    for (const auto& part : parts)
        for (long d = 0; d < D; ++d) {
            add(d_input.data_ptr<T>() + d * S * s.in * 4 * h, part[d].input, S * s.in);
            add(d_state.data_ptr<T>() + d * n_taps * h * 4 * h, part[d].state, n_taps * h);
            add(d_bias.data_ptr<T>() + d * 4 * h, part[d].bias, 1);
            T* initial_of = d_initial.data_ptr<T>() + d * 2 * h;
            for (long a = 0; a < h; ++a) initial_of[a] += part[d].h0[a], initial_of[h + a] += part[d].c0[a];
        }
    return {d_x, d_input, d_bias, d_state, d_initial};
}

std::tuple<Tensor, Tensor> line_lstm(const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial, int64_t height,
                                     at::IntArrayRef input_taps, at::IntArrayRef taps, int64_t cell, bool keep) {
    const Shape s = shape_of(x, input, state, height, input_taps, taps, cell);
    return x.scalar_type() == at::kDouble ? run_forward<double>(s, x, input, bias, state, initial, keep) : run_forward<float>(s, x, input, bias, state, initial, keep);
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> line_lstm_backward(const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state,
                                                                      const Tensor& initial, const Tensor& hidden, const Tensor& saved, const Tensor& d_hidden,
                                                                      int64_t height, at::IntArrayRef input_taps, at::IntArrayRef taps, int64_t cell) {
    const Shape s = shape_of(x, input, state, height, input_taps, taps, cell);
    return x.scalar_type() == at::kDouble ? run_backward<double>(s, x, input, bias, state, initial, hidden, saved, d_hidden)
                                          : run_backward<float>(s, x, input, bias, state, initial, hidden, saved, d_hidden);
}

}  // namespace

TORCH_LIBRARY(pixelrnn, m) {
    m.def("line_lstm(Tensor x, Tensor input, Tensor bias, Tensor state, Tensor initial, int height, int[] input_taps, int[] taps, int cell, bool keep) -> (Tensor, Tensor)", &line_lstm);
    m.def("line_lstm_backward(Tensor x, Tensor input, Tensor bias, Tensor state, Tensor initial, Tensor hidden, Tensor saved, Tensor d_hidden, int height, int[] input_taps, int[] taps, int cell) -> (Tensor, Tensor, Tensor, Tensor, Tensor)", &line_lstm_backward);
}
