// A masked convolution of ρ(x) with more than one tap, plus a map, for some images, row by row. It reads the kernel's
// rows above the centre, and the row of the centre up to it; later taps count as closed.
#pragma once

#include "linear.h"

struct Window {
    long height, width, batch, in, out;  // the maps
    long above, beside;                  // the kernel: rows above the centre, columns on each side

    long columns(long u) const { return u < above ? 2 * beside + 1 : beside + 1; }  // columns that kernel row u reads
    long taps() const { return above * (2 * beside + 1) + beside + 1; }
};

// One row of some images, side by side, with zeros on both sides of each image, as the factor A of a product. Each
// column is a row of A, and so is each zero between two images.
template <class P>
struct Line {
    long images, width, features, beside;  // width includes the zeros
    std::vector<P> data;
    Line(const Window& s, long images, long features)
        : images(images),
          width(s.width + 2 * s.beside),
          features(features),
          beside(s.beside),
          data((images * width + 2 * beside) * features) {}
    P* at(long j, long image = 0) { return &data[(image * width + j + beside) * features]; }
};

// Reads row i of a map (N, B, f) for the images from b on, with ReLU if asked; zeros outside the image.
template <class P, class T>
void read_line(Line<P>& line, const Window& s, const T* map, long f, long i, long b, bool relu) {
    if (i < 0 || i >= s.height) return std::fill(line.data.begin(), line.data.end(), P(0));
    for (long k = 0; k < line.images; ++k) {
        const T* from = map + (i * s.width * s.batch + b + k) * f;
        for (long j = 0; j < s.width; ++j) take_rows(from + j * s.batch * f, 1, f, relu, line.at(j, k), line.features);
    }
}

// One line per row of the kernel.
template <class P>
std::vector<Line<P>> lines(const Window& s, long images, long features) {
    return std::vector<Line<P>>(s.above + 1, Line<P>(s, images, features));
}

// Rearranges weight (G, F, rows, columns) into a block of rows per tap: F × G, padded to `to` rows. With `transposed`,
// blocks are G × F and the taps of a row run from right to left, as the gradient of x reads them.
template <class T>
Matrix<T> tap_rows(const Window& s, const T* weight, long to, long columns, bool transposed) {
    const long kernel = (2 * s.above + 1) * (2 * s.beside + 1);
    Matrix<T> rows{columns, std::vector<T>(s.taps() * to * columns)};
    T* row = rows.data.data();
    const auto tap = [&](long u, long v) {
        const T* from = weight + u * (2 * s.beside + 1) + v;
        for (long g = 0; g < s.out; ++g)
            for (long f = 0; f < s.in; ++f)
                (transposed ? row[g * columns + f] : row[f * columns + g]) = from[(g * s.in + f) * kernel];
        row += to * columns;
    };
    if (transposed)
        for (long u = s.above; u >= 0; --u)
            for (long v = s.columns(u) - 1; v >= 0; --v) tap(u, v);
    else
        for (long u = 0; u <= s.above; ++u)
            for (long v = 0; v < s.columns(u); ++v) tap(u, v);
    return rows;
}

// weight: the blocks of `tap_rows`, then the bias. Computes the images first to end − 1.
template <class P, class T = Wide<P>>
void conv_forward(const Window& s, const T* x, bool relu, const Packed<P>& weight, const T* plus, T* y, long first,
                  long end) {
    const long padded = round_up(s.out, WIDTH<T>), next = s.batch * s.out;
    P ones[GROUP<P>];
    std::fill_n(ones, GROUP<P>, P(1));
    std::vector<Line<P>> seen = lines<P>(s, 1, round_up(s.in, GROUP<P>));
    std::vector<T> given(padded == s.out ? 0 : s.width * padded);
    for (long b = first; b < end; ++b) {
        for (long k = 0; k <= s.above; ++k) read_line(seen[k], s, x, s.in, k - s.above - 1, b, relu);
        for (long i = 0; i < s.height; ++i) {
            std::rotate(seen.begin(), seen.begin() + 1, seen.end());
            read_line(seen[s.above], s, x, s.in, i, b, relu);
            const long at = (i * s.width * s.batch + b) * s.out;
            T* to = padded == s.out ? y + at : given.data();
            Sum<P> sum{weight,
                       padded == s.out && plus ? plus + at : nullptr,
                       next,
                       to,
                       padded == s.out ? next : padded,
                       s.width,
                       padded};
            for (long u = 0; u <= s.above; ++u)
                sum.add({seen[u].at(-s.beside), seen[u].features, s.columns(u) * seen[u].features});
            sum.add({ones, 0, GROUP<P>});
            sum.finish();
            if (padded != s.out)
                for (long j = 0; j < s.width; ++j)
                    for (long g = 0; g < s.out; ++g)
                        y[at + j * next + g] = to[j * padded + g] + (plus ? plus[at + j * next + g] : T(0));
        }
    }
}

// Computes dx from dy unless dx is null. Adds the share of these images to the gradients of the blocks of `tap_rows`,
// (…, padded out), and of the bias. `transposed`: the weight as `tap_rows` transposes it.
template <class P, class T = Wide<P>>
void conv_backward(const Window& s, const T* x, const T* dy, bool relu, const Packed<P>& transposed, T* dx, T* d_weight,
                   T* d_bias, long first, long end) {
    const long padded = round_up(s.out, WIDTH<T>), padded_in = round_up(s.in, WIDTH<T>);
    const long wide = s.width + 2 * s.beside, most = std::max(1L, 64 / wide);  // images per product
    for (long b = first; b < end; b += most) {
        const long images = std::min(most, end - b), rows = images * wide;
        std::vector<Line<P>> seen = lines<P>(s, images, round_up(s.in, GROUP<P>));
        std::vector<Line<P>> gradient = lines<P>(s, images, padded);
        std::vector<T> given(rows * padded_in);
        // Rows i − above to i of x, and i to i + above of dy.
        for (long k = 0; k <= s.above; ++k) read_line(seen[k], s, x, s.in, s.height - s.above + k, b, relu);
        for (long i = s.height - 1; i >= 0; --i) {
            std::rotate(seen.begin(), seen.end() - 1, seen.end());
            read_line(seen[0], s, x, s.in, i - s.above, b, relu);
            std::rotate(gradient.begin(), gradient.end() - 1, gradient.end());
            read_line(gradient[0], s, dy, s.out, i, b, false);
            if (dx) {
                Sum<P> sum{transposed, nullptr, 0, given.data(), padded_in, rows, padded_in};
                for (long k = 0; k <= s.above; ++k)
                    sum.add({gradient[k].at(k ? -s.beside : 0), padded, s.columns(s.above - k) * padded});
                sum.finish();
                for (long k = 0; k < images; ++k)
                    for (long j = 0; j < s.width; ++j) {
                        const long at = ((i * s.width + j) * s.batch + b + k) * s.in;
                        give_rows(&given[(k * wide + j) * padded_in], 1, s.in, padded_in, relu ? x + at : nullptr,
                                  dx + at);
                    }
            }
            T* to = d_weight;
            for (long u = 0; u <= s.above; ++u) {
                const long features = s.columns(u) * seen[u].features;
                weight_gradient(seen[u].at(-s.beside), seen[u].features, features, gradient[0].at(0), padded, rows, to);
                to += features * padded;
            }
            for (long j = 0; j < s.width; ++j)
                add_rows(dy + ((i * s.width + j) * s.batch + b) * s.out, images, s.out, d_bias);
        }
    }
}
