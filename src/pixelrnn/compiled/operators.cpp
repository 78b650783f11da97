// The operators: contiguous tensors in and out, parallel over slices of the batch, or over parts of the rows.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

#include "linear.h"
#include "network.h"
#include "tensors.h"

namespace {

// Runs on the type of what products multiply: that of x, or of float32 bfloat16.
template <class Run>
auto with_factors(const Tensor& x, bool bfloat16, Run&& run) {
    if (x.scalar_type() == at::kDouble) return run.template operator()<double>();
    return bfloat16 ? run.template operator()<Bfloat16>() : run.template operator()<float>();
}
template <class P>
constexpr at::ScalarType TYPE = c10::CppTypeToScalarType<P>::value;
template <>
constexpr at::ScalarType TYPE<Bfloat16> = at::kBFloat16;
template <class P>
P* data_of(const Tensor& x) {  // whose type is known, to be written or not
    return static_cast<P*>(x.data_ptr());
}

// How many numbers are saved of some images: o, f, i, g, c and h.
template <class P>
long saved_size(const Shape& s, long images) {
    return s.directions * s.height * s.width * images * 6 * round_up(s.hidden, WIDTH<Wide<P>>);
}

// The part of the saved states that belongs to the slice from image `first` on.
template <class P>
Saved<P> slice(const Shape& s, P* all, long first) {
    if (all) all += saved_size<P>(s, first);
    return {all, s.width, std::min(s.images, s.batch - first), round_up(s.hidden, WIDTH<Wide<P>>), s.directions};
}

template <class P, class T = Wide<P>>
std::tuple<Tensor, Tensor> run_forward(const Shape& s, const Tensor& x, const Tensor& input, const Tensor& bias,
                                       const Tensor& state, const Tensor& initial, bool keep) {
    Tensor output = at::empty({s.height * s.width, s.batch, s.hidden}, x.options());
    Tensor saved = at::empty({keep ? saved_size<P>(s, s.batch) : 0}, x.options().dtype(TYPE<P>));
    const std::vector<Weights<P>> weights = weights_of<P>(s, input, bias, state, initial);
    P* all = keep ? data_of<P>(saved) : nullptr;
    const T* in = x.const_data_ptr<T>();
    T* out = output.data_ptr<T>();
#pragma omp parallel for schedule(dynamic, 1)
    for (long first = 0; first < s.batch; first += s.images) forward(s, weights, in, out, slice(s, all, first), first);
    return {output, saved};
}

template <class P, class T = Wide<P>>
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> run_backward(const Shape& s, const Tensor& x, const Tensor& input,
                                                                const Tensor& bias, const Tensor& state,
                                                                const Tensor& initial, const Tensor& saved,
                                                                const Tensor& d_output) {
    const long h = s.hidden, padded = round_up(h, WIDTH<T>), gates = 4 * padded, D = s.directions;
    const long S = s.inputs[0].size(), n_taps = s.taps[0].size(), slices = (s.batch + s.images - 1) / s.images;
    const std::vector<Weights<P>> weights = weights_of<P>(s, input, bias, state, initial);
    Matrix<T> to_x{round_up(s.in, WIDTH<T>), {}};
    for (long k = 0; k < D * S; ++k)
        to_x.append(pad_gates(input.const_data_ptr<T>() + k * s.in * 4 * h, s.in, h, padded).transposed(to_x.columns));
    const Packed<P> to_input(to_x);
    Tensor d_x = at::empty(x.sizes(), x.options());
    const std::vector<T> z(gates), zp(padded);
    std::vector<std::vector<Gradients<T>>> parts(
        slices, std::vector<Gradients<T>>(
                    D, {std::vector<T>(S * s.in * gates), std::vector<T>(n_taps * h * gates), z, zp, zp}));
    P* all = data_of<P>(saved);
#pragma omp parallel for schedule(dynamic, 1)
    for (long n = 0; n < slices; ++n)
        backward(s, weights, to_input, x.const_data_ptr<T>(), slice(s, all, n * s.images), d_output.const_data_ptr<T>(),
                 d_x.data_ptr<T>(), parts[n], n * s.images);

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

std::tuple<Tensor, Tensor> line_lstm(const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state,
                                     const Tensor& initial, int64_t height, at::IntArrayRef input_taps,
                                     at::IntArrayRef taps, at::IntArrayRef outputs, int64_t cell, int64_t images,
                                     bool bfloat16, bool keep) {
    const Shape s = shape_of(x, input, bias, state, initial, height, input_taps, taps, outputs, cell, images);
    return with_factors(x, bfloat16,
                        [&]<class P>() { return run_forward<P>(s, x, input, bias, state, initial, keep); });
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> line_lstm_backward(
    const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial,
    const Tensor& saved, const Tensor& d_output, int64_t height, at::IntArrayRef input_taps, at::IntArrayRef taps,
    at::IntArrayRef outputs, int64_t cell, int64_t images, bool bfloat16) {
    const Shape s = shape_of(x, input, bias, state, initial, height, input_taps, taps, outputs, cell, images);
    check(x, {{d_output, {s.height * s.width, s.batch, s.hidden}}});
    return with_factors(x, bfloat16, [&]<class P>() {
        TORCH_CHECK(saved.scalar_type() == TYPE<P> && saved.device().is_cpu() && saved.is_contiguous() &&
                        saved.sizes() == at::IntArrayRef{saved_size<P>(s, s.batch)},
                    "line_lstm: what was saved has changed");
        return run_backward<P>(s, x, input, bias, state, initial, saved, d_output);
    });
}

constexpr long PARTS = 16;  // of the rows, in which a gradient is summed: fixed, so that sums do not depend on threads

template <class P, class T = Wide<P>>
Tensor linear_of(const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu,
                 const std::optional<Tensor>& plus) {
    const long in = x.size(2), out = weight.size(0), rows = x.size(0) * x.size(1);
    Tensor y = at::empty({x.size(0), x.size(1), out}, x.options());
    const T* added = plus ? plus->const_data_ptr<T>() : nullptr;
    const T *w = weight.const_data_ptr<T>(), *b = bias.const_data_ptr<T>(), *from = x.const_data_ptr<T>();
    T* to = y.data_ptr<T>();
    const long padded = round_up(out, WIDTH<T>);
    Matrix<T> with_bias = Matrix<T>{in, {w, w + out * in}}.transposed(padded);
    with_bias.pad_rows(GROUP<P>);
    with_bias.append(bias_rows<P>(b, out, padded));
    const Packed<P> packed(with_bias);
    const long part = std::max(1L, (rows + PARTS - 1) / PARTS);
#pragma omp parallel for schedule(dynamic, 1)
    for (long first = 0; first < rows; first += part)
        linear_forward(from + first * in, std::min(part, rows - first), in, relu, packed,
                       added ? added + first * out : nullptr, to + first * out, out);
    return y;
}

template <class P, class T = Wide<P>>
std::tuple<Tensor, Tensor, Tensor> linear_gradients(const Tensor& x, const Tensor& weight, const Tensor& dy, bool relu,
                                                    bool wants_dx) {
    const long in = x.size(2), out = weight.size(0), rows = x.size(0) * x.size(1), padded = round_up(out, WIDTH<T>);
    Tensor dx = at::empty(wants_dx ? x.sizes() : at::IntArrayRef{0}, x.options());
    const T *w = weight.const_data_ptr<T>(), *from = x.const_data_ptr<T>(), *g = dy.const_data_ptr<T>();
    T* to = dx.data_ptr<T>();
    Matrix<T> padded_in{round_up(in, WIDTH<T>), std::vector<T>(padded * round_up(in, WIDTH<T>))};
    for (long k = 0; k < out; ++k) std::copy_n(w + k * in, in, &padded_in.data[k * padded_in.columns]);
    const Packed<P> packed(padded_in);
    const long part = std::max(1L, (rows + PARTS - 1) / PARTS);
    std::vector<std::vector<T>> d_weights(PARTS), d_biases(PARTS);
#pragma omp parallel for schedule(dynamic, 1)
    for (long p = 0; p < PARTS; ++p) {
        const long first = p * part;
        d_weights[p].resize(in * padded), d_biases[p].resize(padded);
        if (first < rows)
            linear_backward(from + first * in, g + first * out, std::min(part, rows - first), in, out, relu, packed,
                            wants_dx ? to + first * in : nullptr, d_weights[p].data(), d_biases[p].data());
    }
    Tensor d_weight = at::zeros(weight.sizes(), x.options()), d_bias = at::zeros({out}, x.options());
    T *dw = d_weight.data_ptr<T>(), *db = d_bias.data_ptr<T>();
    for (long p = 0; p < PARTS; ++p)
        for (long n = 0; n < out; ++n) {
            for (long k = 0; k < in; ++k) dw[n * in + k] += d_weights[p][k * padded + n];
            db[n] += d_biases[p][n];
        }
    return {dx, d_weight, d_bias};
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, bool relu, const std::optional<Tensor>& plus,
              bool bfloat16) {
    check(x, {{x, {x.size(0), x.size(1), weight.size(1)}}, {weight, weight.sizes()}, {bias, {weight.size(0)}}});
    if (plus) check(x, {{*plus, {x.size(0), x.size(1), weight.size(0)}}});
    return with_factors(x, bfloat16, [&]<class P>() { return linear_of<P>(x, weight, bias, relu, plus); });
}
std::tuple<Tensor, Tensor, Tensor> linear_backward_of(const Tensor& x, const Tensor& weight, const Tensor& dy,
                                                      bool relu, bool wants_dx, bool bfloat16) {
    check(x, {{x, {x.size(0), x.size(1), weight.size(1)}},
              {dy, {x.size(0), x.size(1), weight.size(0)}},
              {weight, weight.sizes()}});
    return with_factors(x, bfloat16, [&]<class P>() { return linear_gradients<P>(x, weight, dy, relu, wants_dx); });
}

}  // namespace

TORCH_LIBRARY(pixelrnn, m) {
    m.def(
        "line_lstm(Tensor x, Tensor input, Tensor bias, Tensor state, Tensor initial, int height, int[] input_taps, "
        "int[] taps, int[] outputs, int cell, int images, bool bfloat16, bool keep) -> (Tensor, Tensor)",
        &line_lstm);
    m.def(
        "line_lstm_backward(Tensor x, Tensor input, Tensor bias, Tensor state, Tensor initial, Tensor saved, Tensor "
        "d_output, int height, int[] input_taps, int[] taps, int[] outputs, int cell, int images, bool bfloat16) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor)",
        &line_lstm_backward);
    m.def("linear(Tensor x, Tensor weight, Tensor bias, bool relu, Tensor? plus, bool bfloat16) -> Tensor", &linear);
    m.def(
        "linear_backward(Tensor x, Tensor weight, Tensor dy, bool relu, bool wants_dx, bool bfloat16) -> (Tensor, "
        "Tensor, Tensor)",
        &linear_backward_of);
    register_network<float>(m, "Float32Network");
    register_network<double>(m, "Float64Network");
}
