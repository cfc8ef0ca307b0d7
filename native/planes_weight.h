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
                            int64_t rows, int64_t length, int64_t tail_at, const Mask<T> tail, double *sums) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    V sum[K][U];
    ATROUS_UNROLL(9)
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
                ATROUS_UNROLL(9)
                for (int k = 0; k < K; ++k) sum[k][u] += value * load(from + offset[k] + i + u * L);
            }
        }
        for (; i + L <= length; i += L) {
            const V value = load(g + i);
            ATROUS_UNROLL(9)
            for (int k = 0; k < K; ++k) sum[k][0] += value * load(from + offset[k] + i);
        }
        if (i < length) {
            // What is left of the row, as the lanes of a vector that `tail` keeps.
            const V value = only<T>(load(g + tail_at), tail);
            ATROUS_UNROLL(9)
            for (int k = 0; k < K; ++k) sum[k][0] += value * only<T>(load(from + offset[k] + tail_at), tail);
        }
    }
    ATROUS_UNROLL(9)
    for (int k = 0; k < K; ++k) {
        double total = 0;
        for (int u = 0; u < U; ++u) {
            for (int64_t lane = 0; lane < L; ++lane) total += static_cast<double>(sum[k][u][lane]);
        }
        sums[k] += total;
    }
}

// Up to 9 taps at given offsets over `rows` rows.
template <class T>
void dot_taps(int64_t taps, bool wide, const T *x, int64_t x_row, const int64_t *offset, const T *grad, int64_t grad_row,
              int64_t rows, int64_t length, int64_t tail_at, const Mask<T> tail, double *sums) {
    switch (taps) {
#define ATROUS_CASE(K, U)                                                                    \
    case K:                                                                                  \
        if (wide) {                                                                          \
            dot_rows<T, K, U>(x, x_row, offset, grad, grad_row, rows, length, tail_at, tail, sums);   \
        } else {                                                                             \
            dot_rows<T, K, 1>(x, x_row, offset, grad, grad_row, rows, length, tail_at, tail, sums);   \
        }                                                                                    \
        break;
        ATROUS_CASE(1, 8)
        ATROUS_CASE(2, 4)
        ATROUS_CASE(3, 3)
        ATROUS_CASE(4, 2)
        ATROUS_CASE(5, 2)
        ATROUS_CASE(6, 2)
        ATROUS_CASE(7, 1)
        ATROUS_CASE(8, 1)
        ATROUS_CASE(9, 1)
#undef ATROUS_CASE
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
    // Rows narrower than a vector are copied to where a vector may be read.
    const bool copied = staged.band[2] < L;
    const int64_t grads = copied ? staged.band[0] * staged.band[1] * L : 0;
    const size_t data = (static_cast<size_t>(staged.elements() + grads + L) * sizeof(T) + 63) / 64 * 64;
    char *memory = static_cast<char *>(
        atrous::scratch(0, data + static_cast<size_t>(all.taps) * (sizeof(double) + 2 * sizeof(int64_t))));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    T *scratch = reinterpret_cast<T *>(memory) + L, *copy = scratch + staged.elements();
    double *sums = reinterpret_cast<double *>(memory + data);
    int64_t *offset = reinterpret_cast<int64_t *>(sums + all.taps), *index = offset + all.taps;
    int64_t taps = 0;
    for (int64_t a = 0; a < axis[0].count(0); ++a) {
        for (int64_t b = 0; b < axis[1].count(0); ++b) {
            const Tap deep = axis[0].taps[a], high = axis[1].taps[b];
            const int64_t row = (deep.offset - axis[0].offset_min) * staged.rows[1] + high.offset - axis[1].offset_min;
            for (int64_t j = 0; j < axis[2].count(0); ++j, ++taps) {
                offset[taps] = row * length + staged.along_width(axis[2].taps[j]);
                index[taps] = (deep.weight * layer.kernel[1] + high.weight) * layer.kernel[2] + axis[2].taps[j].weight;
            }
        }
    }
    memset(memory, 0, data);
    for (int64_t channel = first; channel < last; ++channel) {
        for (int64_t t = 0; t < all.taps; ++t) sums[t] = 0;
        for (int64_t piece = 0; piece < layer.batch * bands; ++piece) {
            const int64_t plane = piece / bands * layer.channels + channel;
            int64_t begin[3], size[3];
            staged.begin(piece % bands, begin);
            for (int a = 0; a < 3; ++a) size[a] = smaller(staged.band[a], axis[a].out - begin[a]);
            stage(staged, all.x + plane * in_plane, begin, bands > 1, scratch);
            const T *given = work.grad + plane * out_plane + begin[2];
            for (int64_t d = 0; d < size[0] && copied; ++d) {
                for (int64_t h = 0; h < size[1]; ++h) {
                    const int64_t row = (begin[0] + d) * axis[1].out + begin[1] + h;
                    copy_run(copy + (d * staged.band[1] + h) * L, given + row * axis[2].out, size[2]);
                }
            }
            const T *grad = copied ? copy : given + (begin[0] * axis[1].out + begin[1]) * axis[2].out;
            const int64_t grad_row = copied ? L : axis[2].out;
            const int64_t grad_plane = copied ? staged.band[1] * L : axis[1].out * axis[2].out;
            // A short last band looks back into the one before.
            const int64_t rest = size[2] % L, tail_at = copied ? 0 : size[2] - L;
            Mask<T> tail;
            for (int64_t lane = 0; lane < L; ++lane) tail[lane] = (copied ? lane < rest : lane >= L - rest) ? I(-1) : I(0);
            // Wide rows: the taps of one kernel row, several vectors at once. Narrow ones: as many taps as fit.
            const int64_t columns = axis[2].count(0);
            const bool wide = size[2] >= 4 * L;
            for (int64_t t = 0; t < taps;) {
                const int64_t k = smaller(wide ? smaller<int64_t>(8, columns - t % columns) : 9, taps - t);
                double found[9] = {};
                int64_t low[2] = {0, 0}, high[2] = {size[0], size[1]};
                for (int a = 0; a < 2 && wide; ++a) {
                    // Outputs whose tap lies in the padding have nothing to add.
                    const int64_t row = t / columns, tap = a == 0 ? row / axis[1].count(0) : row % axis[1].count(0);
                    int64_t lo, hi;
                    axis[a].valid(0, axis[a].taps[tap].offset, &lo, &hi);
                    low[a] = larger(low[a], lo - begin[a]);
                    high[a] = smaller(high[a], hi - begin[a]);
                }
                for (int64_t d = low[0]; d < high[0] && low[1] < high[1]; ++d) {
                    const int64_t row = d * axis[0].in_step * staged.rows[1] + low[1] * axis[1].in_step;
                    dot_taps<T>(k, wide, scratch + row * length, axis[1].in_step * length, offset + t,
                                grad + d * grad_plane + low[1] * grad_row, grad_row, high[1] - low[1], size[2], tail_at,
                                tail, found);
                }
                for (int64_t n = 0; n < k; ++n) sums[t + n] += found[n];
                t += k;
            }
        }
        T *out = work.out + channel * all.taps;
        memset(out, 0, static_cast<size_t>(all.taps) * sizeof(T));
        for (int64_t t = 0; t < taps; ++t) out[index[t]] = static_cast<T>(sums[t]);
    }
}

template <class T>
int planes_weight(const atrous_depthwise_layer &layer, const void *x, const void *grad, void *out) {
    Gather<T> all;
    if (!all.set(layer, false, x)) return ATROUS_NO_MEMORY;
    WeightGradient<T> work{plan_bands(&all), static_cast<const T *>(grad), static_cast<T *>(out)};
    atrous::parallel(layer.channels, layer.threads, planes_weight_body<T>, &work);
    return all.failed;
}

}  // namespace
#endif
