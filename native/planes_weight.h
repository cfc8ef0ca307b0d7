// Depthwise, planes, weight gradient: each tap is a dot product of a plane with a shifted plane.
//
// Layout: (batch, channels, depth, height, width), dense. Vectors run along the width.
// Accumulator: vectors of the tensors' type over one band of at most some thousand outputs, summed up in
// float64 over bands and batch; error about the square root of the outputs per lane of one band.
// Threads: one channel at a time, so no result depends on them.
#ifndef ATROUS_PLANES_WEIGHT_H
#define ATROUS_PLANES_WEIGHT_H

#include "planes_gather.h"

namespace {

template <class T> struct WeightGradient {
    Staged<T> staged;
    const T *grad;
    T *out;
};

// K neighbouring taps of one kernel row over `rows` rows of outputs, U vectors at a time.
template <class T, int K, int U>
ATROUS_INLINE void dot_rows(const T *x, int64_t x_row, const int64_t *offset, const T *grad, int64_t grad_row,
                            int64_t rows, int64_t length, const Mask<T> tail, double *sums) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    V sum[K][U];
    ATROUS_UNROLL(8)
    for (int k = 0; k < K; ++k) {
        ATROUS_UNROLL(8)
        for (int u = 0; u < U; ++u) sum[k][u] = V{};
    }
    for (int64_t row = 0; row < rows; ++row) {
        const T *g = grad + row * grad_row, *from = x + row * x_row;
        int64_t i = 0;
        for (; i + U * L <= length; i += U * L) {
            ATROUS_UNROLL(8)
            for (int u = 0; u < U; ++u) {
                const V value = load(g + i + u * L);
                ATROUS_UNROLL(8)
                for (int k = 0; k < K; ++k) sum[k][u] += value * load(from + offset[k] + i + u * L);
            }
        }
        for (; i + L <= length; i += L) {
            const V value = load(g + i);
            ATROUS_UNROLL(8)
            for (int k = 0; k < K; ++k) sum[k][0] += value * load(from + offset[k] + i);
        }
        if (i < length) {
            alignas(ATROUS_VECTOR_BYTES) T rest[L] = {};
            for (int64_t lane = 0; lane < length - i; ++lane) rest[lane] = g[i + lane];
            const V value = load(rest);
            ATROUS_UNROLL(8)
            for (int k = 0; k < K; ++k) sum[k][0] += value * only<T>(load(from + offset[k] + i), tail);
        }
    }
    ATROUS_UNROLL(8)
    for (int k = 0; k < K; ++k) {
        double total = 0;
        for (int u = 0; u < U; ++u) {
            for (int64_t lane = 0; lane < L; ++lane) total += static_cast<double>(sum[k][u][lane]);
        }
        sums[k] += total;
    }
}

template <class T> void planes_weight_body(void *context, int64_t first, int64_t last) {
    constexpr int64_t L = Types<T>::lanes;
    typedef typename Types<T>::I I;
    WeightGradient<T> &work = *static_cast<WeightGradient<T> *>(context);
    const Staged<T> &staged = work.staged;
    Gather<T> &all = *staged.all;
    const atrous_depthwise_layer &layer = *all.layer;
    const Axis *axis = all.axis;
    const int64_t in_plane = axis[0].in * axis[1].in * axis[2].in;
    const int64_t out_plane = axis[0].out * axis[1].out * axis[2].out;
    const int64_t length = staged.row_length(), bands = staged.count();
    const size_t data = (static_cast<size_t>(staged.elements()) * sizeof(T) + 63) / 64 * 64;
    char *memory = static_cast<char *>(atrous::scratch(0, data + static_cast<size_t>(all.taps) * sizeof(double)));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    T *scratch = reinterpret_cast<T *>(memory);
    double *sums = reinterpret_cast<double *>(memory + data);
    memset(memory, 0, data);
    for (int64_t channel = first; channel < last; ++channel) {
        for (int64_t t = 0; t < all.taps; ++t) sums[t] = 0;
        for (int64_t piece = 0; piece < layer.batch * bands; ++piece) {
            const int64_t plane = piece / bands * layer.channels + channel;
            int64_t begin[3], stop[3];
            staged.begin(piece % bands, begin);
            for (int a = 0; a < 3; ++a) stop[a] = smaller(begin[a] + staged.band[a], axis[a].out);
            stage(staged, all.x + plane * in_plane, begin, bands > 1, scratch);
            const T *grad = work.grad + plane * out_plane + begin[2];
            const int64_t width = stop[2] - begin[2];
            Mask<T> tail;
            for (int64_t lane = 0; lane < L; ++lane) tail[lane] = lane < width % L ? I(-1) : I(0);
            for (int64_t a = 0; a < axis[0].count(0); ++a) {
                const Tap deep = axis[0].taps[a];
                int64_t d0, d1;
                axis[0].valid(0, deep.offset, &d0, &d1);
                d0 = larger(d0, begin[0]);
                d1 = smaller(d1, stop[0]);
                for (int64_t b = 0; b < axis[1].count(0); ++b) {
                    const Tap high = axis[1].taps[b];
                    int64_t h0, h1;
                    axis[1].valid(0, high.offset, &h0, &h1);
                    h0 = larger(h0, begin[1]);
                    h1 = smaller(h1, stop[1]);
                    if (h0 >= h1) continue;
                    for (int64_t d = d0; d < d1; ++d) {
                        const int64_t deep_row = (d - begin[0]) * axis[0].in_step + deep.offset - axis[0].offset_min;
                        const int64_t high_row = (h0 - begin[1]) * axis[1].in_step + high.offset - axis[1].offset_min;
                        const T *x = scratch + (deep_row * staged.rows[1] + high_row) * length;
                        const T *g = grad + (d * axis[1].out + h0) * axis[2].out;
                        const int64_t x_row = axis[1].in_step * length, count = axis[2].count(0);
                        for (int64_t j = 0; j < count;) {
                            int64_t offset[8];
                            const int64_t k = smaller<int64_t>(count - j, 8);
                            for (int64_t n = 0; n < k; ++n) {
                                offset[n] = staged.along_width(axis[2].taps[j + n]);
                            }
                            double found[8] = {};
                            switch (k) {
#define ATROUS_CASE(K, U)                                                                                         \
    case K:                                                                                                       \
        dot_rows<T, K, U>(x, x_row, offset, g, axis[2].out, h1 - h0, width, tail, found);                         \
        break;
                                ATROUS_CASE(1, 8)
                                ATROUS_CASE(2, 4)
                                ATROUS_CASE(3, 3)
                                ATROUS_CASE(4, 2)
                                ATROUS_CASE(5, 2)
                                ATROUS_CASE(6, 1)
                                ATROUS_CASE(7, 1)
                                ATROUS_CASE(8, 1)
#undef ATROUS_CASE
                            }
                            for (int64_t n = 0; n < k; ++n) {
                                sums[(deep.weight * layer.kernel[1] + high.weight) * layer.kernel[2] +
                                     axis[2].taps[j + n].weight] += found[n];
                            }
                            j += k;
                        }
                    }
                }
            }
        }
        for (int64_t t = 0; t < all.taps; ++t) work.out[channel * all.taps + t] = static_cast<T>(sums[t]);
    }
}

template <class T>
int planes_weight(const atrous_depthwise_layer &layer, const void *x, const void *grad, void *out) {
    Gather<T> all;
    all.layer = &layer;
    all.backwards = false;
    all.x = static_cast<const T *>(x);
    all.weight = all.bias = nullptr;
    all.out = nullptr;
    all.taps = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
    for (int a = 0; a < 3; ++a) {
        if (!all.axis[a].build(layer, a, false)) return ATROUS_NO_MEMORY;
    }
    WeightGradient<T> work{plan_bands(&all), static_cast<const T *>(grad), static_cast<T *>(out)};
    atrous::parallel(layer.channels, layer.threads, planes_weight_body<T>, &work);
    return all.failed;
}

}  // namespace
#endif
