// From tensors to what the loops work on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdlib>

#include "scan.h"

using at::Tensor;

// Tensors that are read by their addresses: of this shape, on the CPU, contiguous and of one type.
inline void check(const Tensor& like, std::initializer_list<std::pair<const Tensor&, at::IntArrayRef>> expected) {
    for (const auto& [tensor, sizes] : expected) {
        TORCH_CHECK(tensor.sizes() == sizes, "expected a tensor of ", sizes, ", got ", tensor.sizes());
        TORCH_CHECK(tensor.device().is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == like.scalar_type(),
                    "expected contiguous tensors of one type on the CPU");
    }
    TORCH_CHECK(like.scalar_type() == at::kFloat || like.scalar_type() == at::kDouble, "expected float32 or float64");
}

// What an LSTM layer reads, whatever the image. Taps: (di, dj) pairs of all directions in turn.
inline Shape layer_of(const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial,
                      at::IntArrayRef input_taps, at::IntArrayRef taps, at::IntArrayRef outputs, int64_t cell) {
    const auto offsets = [&](at::IntArrayRef flat, int64_t directions) {
        std::vector<std::vector<Tap>> all(directions);
        const size_t each = flat.size() / 2 / directions;
        for (size_t k = 0; k < flat.size() / 2; ++k) all[k / each].push_back({flat[2 * k], flat[2 * k + 1]});
        return all;
    };
    const int64_t D = state.size(0), in = input.size(2), hidden = state.size(2), gates = 4 * hidden;
    Shape s{};
    s.directions = D, s.in = in, s.hidden = hidden, s.cell = cell;
    s.inputs = offsets(input_taps, D), s.taps = offsets(taps, D), s.outputs = offsets(outputs, D);
    // What the scan relies on, so that nothing is read that is not there.
    const int64_t S = input_taps.size() / 2 / D, T = taps.size() / 2 / D;
    TORCH_CHECK(in > 0 && hidden > 0 && D * S <= MOST_TAPS && S + T <= MOST_TAPS, "line_lstm: sizes");
    for (long d = 0; d < D; ++d) {
        for (const Tap& tap : s.inputs[d]) TORCH_CHECK(tap.di == 0 && std::abs(tap.dj) <= 1, "line_lstm: input taps");
        long beside = 0;
        for (const Tap& tap : s.taps[d]) {
            beside += tap.di == 0;
            TORCH_CHECK(tap.di == -1 ? std::abs(tap.dj) <= 1 : tap.di == 0 && std::abs(tap.dj) == 1, "line_lstm: taps");
        }
        const Tap out = s.outputs[d][0];
        TORCH_CHECK(beside <= 1 && (out.di == 0 || out.di == 1) && out.dj == 0, "line_lstm: taps or outputs");
    }
    check(input,
          {{input, {D, S, in, gates}}, {bias, {D, gates}}, {state, {D, T, hidden, gates}}, {initial, {D, 2, hidden}}});
    return s;
}

inline Shape shape_of(const Tensor& x, const Tensor& input, const Tensor& bias, const Tensor& state,
                      const Tensor& initial, int64_t height, at::IntArrayRef input_taps, at::IntArrayRef taps,
                      at::IntArrayRef outputs, int64_t cell, int64_t images) {
    Shape s = layer_of(input, bias, state, initial, input_taps, taps, outputs, cell);
    s.height = height, s.width = x.size(0) / height, s.batch = x.size(1), s.images = images;
    TORCH_CHECK(images > 0, "line_lstm: images");
    check(x, {{x, {s.height * s.width, s.batch, s.in}}, {input, input.sizes()}});
    return s;
}

template <class P, class T = Wide<P>>
std::vector<Weights<P>> weights_of(const Shape& s, const Tensor& input, const Tensor& bias, const Tensor& state,
                                   const Tensor& initial) {
    std::vector<Weights<P>> weights;
    for (long d = 0; d < s.directions; ++d)
        weights.push_back(pack<P>(s, d, input.const_data_ptr<T>(), bias.const_data_ptr<T>(), state.const_data_ptr<T>(),
                                  initial.const_data_ptr<T>()));
    return weights;
}
