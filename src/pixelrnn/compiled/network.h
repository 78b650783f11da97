// The object behind `pixelrnn.incremental`: built step by step, then asked for row after row.
#pragma once

#include <torch/custom_class.h>

#include "incremental.h"
#include "tensors.h"

// The network of `pixelrnn.incremental` for a whole batch, each slice of which one thread computes.
struct Network {
    virtual ~Network() = default;
    virtual void relu(int64_t x, at::IntArrayRef kept, bool remembered) = 0;
    virtual void convolution(int64_t x, const Tensor& weight, const Tensor& bias, int64_t plus, at::IntArrayRef kept,
                             bool remembered) = 0;
    virtual void line_lstm(int64_t x, const Shape& shape, const Tensor& input, const Tensor& bias, const Tensor& state,
                           const Tensor& initial, at::IntArrayRef kept, bool remembered) = 0;
    virtual void row(const Tensor& levels, const Tensor& known, const Tensor& wanted, const Tensor& uniform,
                     double temperature, const Tensor& logits) = 0;
};

template <class T>
struct NetworkOf : Network {
    const long width, batch;
    std::deque<Slice<T>> slices;

    NetworkOf(long width, long batch, long channels, double scale, long images, at::IntArrayRef kept)
        : width(width), batch(batch) {
        for (long first = 0; first < batch; first += images) {
            slices.emplace_back(first, std::min(images, batch - first), static_cast<T>(scale));
            add_map(slices.back(), channels, kept);
        }
    }
    // kept: the rows above and the columns beside that later steps read.
    Map<T>& add_map(Slice<T>& slice, long features, at::IntArrayRef kept) {
        return slice.maps.emplace_back(width, slice.images, features, kept[0], kept[1]);
    }
    long features(int64_t map) const { return slices[0].maps.at(map).features; }

    void relu(int64_t x, at::IntArrayRef kept, bool remembered) override {
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, features(x), kept);
            s.steps.push_back(std::make_unique<Relu<T>>(s.maps.at(x), y, remembered));
        }
    }
    void convolution(int64_t x, const Tensor& weight, const Tensor& bias, int64_t plus, at::IntArrayRef kept,
                     bool remembered) override {
        const long out = weight.size(0), in = weight.size(1), above = weight.size(2) - 1, beside = weight.size(3) / 2;
        check(weight, {{weight, {out, features(x), above + 1, 2 * beside + 1}}, {bias, {out}}});
        TORCH_CHECK(plus < 0 || features(plus) == out, "convolution: the features of what is added");
        const long padded = round_up(out, WIDTH<T>);
        const auto add = [&](Matrix<T>& to, const T* from, long rows) {
            for (long r = 0; r < rows; ++r) {
                to.data.insert(to.data.end(), from + r * out, from + (r + 1) * out);
                to.data.resize(to.data.size() + padded - out);
            }
        };
        const Tensor taps = weight.permute({2, 3, 1, 0}).contiguous();  // (above + 1, 2·beside + 1, in, out)
        const T* from = taps.const_data_ptr<T>();
        Matrix<T> upper{padded, {}}, lower{padded, {}};
        const long in_row = (2 * beside + 1) * in;
        add(upper, from, above * in_row);
        add(lower, from + above * in_row * out, (beside + 1) * in);
        add(lower, bias.const_data_ptr<T>(), 1);
        const auto kernel =
            std::make_shared<const Kernel<T>>(Kernel<T>{in, above, beside, Packed<T>(upper), Packed<T>(lower)});
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, out, kept);
            Map<T>* added = plus < 0 ? nullptr : &s.maps.at(plus);
            s.steps.push_back(std::make_unique<Convolution<T>>(s.maps.at(x), y, added, kernel, remembered, width));
        }
    }
    void line_lstm(int64_t x, const Shape& shape, const Tensor& input, const Tensor& bias, const Tensor& state,
                   const Tensor& initial, at::IntArrayRef kept, bool remembered) override {
        check(input, {{input, {shape.directions, input.size(1), features(x), 4 * shape.hidden}}});
        Layer<T> packed{shape, weights_of<T>(shape, input, bias, state, initial)};
        packed.shape.width = width;
        const auto layer = std::make_shared<const Layer<T>>(std::move(packed));
        for (Slice<T>& s : slices) {
            Map<T>& y = add_map(s, shape.hidden, kept);
            s.steps.push_back(std::make_unique<LineLSTM<T>>(s.maps.at(x), y, layer, remembered, width));
        }
    }
    void row(const Tensor& levels, const Tensor& known, const Tensor& wanted, const Tensor& uniform, double temperature,
             const Tensor& logits) override {
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
        TORCH_CHECK(per_channel <= 256 && features(slices[0].maps.size() - 1) == channels * per_channel, "row: logits");
        const RowOfImages<T> r{levels.data_ptr<uint8_t>(),
                               known.const_data_ptr<bool>(),
                               wanted.const_data_ptr<bool>(),
                               uniform.const_data_ptr<double>(),
                               logits.data_ptr<T>(),
                               width,
                               channels,
                               batch,
                               per_channel,
                               temperature};
#pragma omp parallel for schedule(dynamic, 1)
        for (size_t n = 0; n < slices.size(); ++n) slices[n].row(r);
    }
};

struct Incremental : torch::CustomClassHolder {
    std::unique_ptr<Network> network;
    Incremental(int64_t width, int64_t batch, int64_t channels, double scale, int64_t images, bool float64,
                std::vector<int64_t> kept) {
        if (float64)
            network = std::make_unique<NetworkOf<double>>(width, batch, channels, scale, images, kept);
        else
            network = std::make_unique<NetworkOf<float>>(width, batch, channels, scale, images, kept);
    }
    void relu(int64_t x, std::vector<int64_t> kept, bool remembered) { network->relu(x, kept, remembered); }
    void convolution(int64_t x, const Tensor& weight, const Tensor& bias, int64_t plus, std::vector<int64_t> kept,
                     bool remembered) {
        network->convolution(x, weight, bias, plus, kept, remembered);
    }
    void line_lstm(int64_t x, const Tensor& input, const Tensor& bias, const Tensor& state, const Tensor& initial,
                   std::vector<int64_t> input_taps, std::vector<int64_t> taps, std::vector<int64_t> outputs,
                   int64_t cell, std::vector<int64_t> kept, bool remembered) {
        const Shape shape = layer_of(input, bias, state, initial, input_taps, taps, outputs, cell);
        network->line_lstm(x, shape, input, bias, state, initial, kept, remembered);
    }
    void row(const Tensor& levels, const Tensor& known, const Tensor& wanted, const Tensor& uniform, double temperature,
             const Tensor& logits) {
        network->row(levels, known, wanted, uniform, temperature, logits);
    }
};
