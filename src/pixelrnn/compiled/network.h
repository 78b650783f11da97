// The object behind `pixelrnn.incremental`: built step by step, then asked for row after row. Each thread computes a
// slice of the batch through the whole row.
#pragma once

#include <torch/custom_class.h>

#include "incremental.h"
#include "tensors.h"

template <class T>
struct Network : torch::CustomClassHolder {
    using Ints = std::vector<int64_t>;
    const long width, batch;
    const bool conditional;
    std::deque<Slice<T>> slices;

    // inputs: features and what is kept of the image, and of the condition if there is one. scale: of a level, where
    // the image's intensities are level·scale − 1. images: of a slice.
    // kept, here and below: the rows above, and the columns beside, that later steps read of the new map.
    Network(int64_t width, int64_t batch, std::vector<Ints> inputs, double scale, int64_t images)
        : width(width), batch(batch), conditional(inputs.size() == 2) {
        TORCH_CHECK(width > 0 && batch > 0 && images > 0, "a network is for some images of some width");
        for (int64_t first = 0; first < batch; first += images) {
            slices.emplace_back(first, std::min(images, batch - first), static_cast<T>(scale));
            for (const Ints& map : inputs) add_map(slices.back(), map[0], {map[1], map[2]});
        }
    }
    Map<T>& add_map(Slice<T>& slice, long features, const Ints& kept) {
        return slice.maps.emplace_back(width, slice.images, features, kept[0], kept[1]);
    }
    long features(int64_t map) const { return slices[0].maps.at(map).features; }
    void check_kept(int64_t map, long above, long beside) const {
        const std::vector<Row<T>>& rows = slices[0].maps.at(map).rows;
        TORCH_CHECK(static_cast<long>(rows.size()) > above && rows[0].margin >= beside, "too little is kept of a map");
    }

    void relu(int64_t x, Ints kept, bool remembered) {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, features(x), kept);
            s.steps.push_back(std::make_unique<Relu<T>>(s.maps.at(x), y, remembered));
        }
    }

    void concatenate(int64_t a, int64_t b, Ints kept, bool remembered) {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, features(a) + features(b), kept);
            s.steps.push_back(std::make_unique<Concatenate<T>>(s.maps.at(a), s.maps.at(b), y, remembered));
        }
    }

    // weight: (out, in, above + 1, 2·beside + 1). plus: a map that is added, or −1. channel: whose logits it gives, or
    // −1.
    void convolution(int64_t x, const Tensor& weight, const Tensor& bias, int64_t plus, int64_t channel, Ints kept,
                     bool remembered) {
        const long channels = features(0);
        const long out = weight.size(0), in = weight.size(1), above = weight.size(2) - 1, beside = weight.size(3) / 2;
        check(weight, {{weight, {out, features(x), above + 1, 2 * beside + 1}}, {bias, {out}}});
        TORCH_CHECK(plus < 0 || features(plus) == out * (channel < 0 ? 1 : channels), "convolution: what is added");
        TORCH_CHECK(channel < channels, "convolution: the channel");
        check_kept(x, above, beside);
        const long padded = round_up(out, WIDTH<T>);
        const auto append = [&](Matrix<T>& to, const T* from, long rows) {
            for (long r = 0; r < rows; ++r) {
                to.data.insert(to.data.end(), from + r * out, from + (r + 1) * out);
                to.data.resize(to.data.size() + padded - out);
            }
        };
        const Tensor taps = weight.permute({2, 3, 1, 0}).contiguous();
        const T* from = taps.const_data_ptr<T>();
        const long rows_above = above * (2 * beside + 1) * in;
        Matrix<T> upper{padded, {}}, lower{padded, {}};
        append(upper, from, rows_above);
        append(lower, from + rows_above * out, (beside + 1) * in);
        append(lower, bias.const_data_ptr<T>(), 1);
        const auto kernel = std::make_shared<const Kernel<T>>(
            Kernel<T>{in, above, beside, out, channels, channel, Packed<T>(upper), Packed<T>(lower)});
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, out, kept);
            Map<T>* added = plus < 0 ? nullptr : &s.maps.at(plus);
            s.steps.push_back(std::make_unique<Convolution<T>>(s.maps.at(x), y, added, kernel, remembered, width));
        }
    }

    void line_lstm(int64_t x, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial,
                   Ints input_taps, Ints taps, Ints outputs, int64_t cell, Ints kept, bool remembered) {
        Shape shape = layer_of(input, bias, state, initial, input_taps, taps, outputs, cell);
        TORCH_CHECK(shape.in == features(x) && input.scalar_type() == c10::CppTypeToScalarType<T>::value, "line_lstm");
        shape.width = width;
        for (long d = 0; d < shape.directions; ++d)
            for (const Tap& tap : shape.inputs[d]) check_kept(x, shape.outputs[d][0].di, std::abs(tap.dj));
        const auto layer =
            std::make_shared<const Layer<T>>(Layer<T>{shape, weights_of<T>(shape, input, bias, state, initial)});
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, shape.hidden, kept);
            s.steps.push_back(std::make_unique<LineLSTM<T>>(s.maps.at(x), y, layer, remembered, width));
        }
    }

    // See `pixelrnn.incremental.Network.row`. False where a wanted logit is no finite number.
    bool row(const Tensor& levels, const Tensor& known, const Tensor& uniform, double temperature, const Tensor& wanted,
             const Tensor& logits, const std::optional<Tensor>& condition) {
        const long channels = features(0), per_channel = logits.size(3);
        const auto typed = [](const Tensor& x, at::ScalarType type, at::IntArrayRef sizes) {
            TORCH_CHECK(x.is_contiguous() && x.device().is_cpu() && x.scalar_type() == type && x.sizes() == sizes,
                        "row: expected ", type, " ", sizes, ", got ", x.scalar_type(), " ", x.sizes());
        };
        typed(levels, at::kByte, {width, channels, batch});
        typed(known, at::kBool, {width, batch});
        typed(wanted, at::kBool, {width});
        typed(uniform, at::kDouble, {width, channels, batch});
        typed(logits, c10::CppTypeToScalarType<T>::value, {width, channels, batch, per_channel});
        const auto& steps = slices[0].steps;
        TORCH_CHECK(per_channel <= 256 && static_cast<long>(steps.size()) >= channels, "row: logits");
        for (long c = 0; c < channels; ++c) {
            const Step<T>& last = *steps[steps.size() - channels + c];
            TORCH_CHECK(last.channel() == c && last.y.features == per_channel, "row: logits of a channel");
        }
        TORCH_CHECK(condition.has_value() == conditional, "row: a condition, or none");
        if (condition) typed(*condition, c10::CppTypeToScalarType<T>::value, {width, batch, features(1)});
        const RowOfImages<T> r{levels.data_ptr<uint8_t>(),
                               known.const_data_ptr<bool>(),
                               wanted.const_data_ptr<bool>(),
                               uniform.const_data_ptr<double>(),
                               logits.data_ptr<T>(),
                               condition ? condition->const_data_ptr<T>() : nullptr,
                               width,
                               channels,
                               batch,
                               per_channel,
                               temperature};
        bool finite = true;
#pragma omp parallel for schedule(dynamic, 1) reduction(&& : finite)
        for (size_t n = 0; n < slices.size(); ++n) finite = slices[n].row(r) && finite;
        return finite;
    }
};

template <class T>
void register_network(torch::Library& m, const char* name) {
    using Ints = std::vector<int64_t>;
    m.class_<Network<T>>(name)
        .def(torch::init<int64_t, int64_t, std::vector<Ints>, double, int64_t>())
        .def("relu", &Network<T>::relu)
        .def("concatenate", &Network<T>::concatenate)
        .def("convolution", &Network<T>::convolution)
        .def("line_lstm", &Network<T>::line_lstm)
        .def("row", &Network<T>::row);
}
