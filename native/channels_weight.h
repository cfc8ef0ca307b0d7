// Depthwise, channels last, weight gradient: each tap is a sum over positions, all channels at once.
//
// Layout: (batch, depth, height, width, channels), dense. Vectors run along the channels.
// Accumulator: the tensors' type over at least 256 outputs (whole rows), then float64.
// Threads: one chunk of channels at a time, so no result depends on them.
#ifndef ATROUS_CHANNELS_WEIGHT_H
#define ATROUS_CHANNELS_WEIGHT_H

#include "channels_gather.h"

namespace {

constexpr int64_t kFlush = 256;  // outputs between two additions to the float64 sums

template <class T> struct ChannelsWeight {
    Gather<T> *all;
    const T *grad;
    T *out;
    const Segment *segments;
    int64_t n_segments, chunk, chunks;
    RowOrder deep, high;
};

// K taps and N vectors of channels over `columns` neighbouring outputs, added to sums[tap][channel].
template <class T, int K, int N>
ATROUS_INLINE void dot_columns(const T *x, int64_t x_step, const int64_t *offset, const T *grad, int64_t grad_step,
                               int64_t columns, T *sums, int64_t sums_step) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    V sum[K][N];
    ATROUS_UNROLL(8)
    for (int k = 0; k < K; ++k) {
        ATROUS_UNROLL(4)
        for (int n = 0; n < N; ++n) sum[k][n] = load(sums + k * sums_step + n * L);
    }
    for (int64_t column = 0; column < columns; ++column) {
        V value[N];
        ATROUS_UNROLL(4)
        for (int n = 0; n < N; ++n) value[n] = load(grad + column * grad_step + n * L);
        ATROUS_UNROLL(8)
        for (int k = 0; k < K; ++k) {
            const T *from = x + offset[k] + column * x_step;
            ATROUS_UNROLL(4)
            for (int n = 0; n < N; ++n) sum[k][n] += value[n] * load(from + n * L);
        }
    }
    ATROUS_UNROLL(8)
    for (int k = 0; k < K; ++k) {
        ATROUS_UNROLL(4)
        for (int n = 0; n < N; ++n) store<T>(sums + k * sums_step + n * L, sum[k][n]);
    }
}

// K taps over all channels of a chunk, whose width is padded to vectors in `sums`.
template <class T, int K, int N>
ATROUS_INLINE void dot_chunk(int64_t width, const T *x, int64_t x_step, const int64_t *offset, const T *grad,
                             int64_t grad_step, int64_t columns, T *sums, int64_t sums_step) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t c = 0;
    for (; c + N * L <= width; c += N * L) {
        dot_columns<T, K, N>(x + c, x_step, offset, grad + c, grad_step, columns, sums + c, sums_step);
    }
    for (; c + L <= width; c += L) {
        dot_columns<T, K, 1>(x + c, x_step, offset, grad + c, grad_step, columns, sums + c, sums_step);
    }
    for (; c < width; ++c) {
        for (int k = 0; k < K; ++k) {
            T sum = sums[k * sums_step + c];
            for (int64_t column = 0; column < columns; ++column) {
                sum += grad[column * grad_step + c] * x[offset[k] + column * x_step + c];
            }
            sums[k * sums_step + c] = sum;
        }
    }
}

template <class T> void channels_weight_body(void *context, int64_t begin, int64_t end) {
    ChannelsWeight<T> &work = *static_cast<ChannelsWeight<T> *>(context);
    Gather<T> &all = *work.all;
    const atrous_depthwise_layer &layer = *all.layer;
    const Axis *axis = all.axis;
    const int64_t channels = layer.channels, x_step = axis[2].in_step * channels;
    const int64_t most = work.chunk + channels % work.chunk;
    const int64_t cells = all.taps * most;
    char *memory = static_cast<char *>(atrous::scratch(0, static_cast<size_t>(cells) * (sizeof(double) + sizeof(T))));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    double *totals = reinterpret_cast<double *>(memory);
    T *sums = reinterpret_cast<T *>(totals + cells);
    for (int64_t chunk = begin; chunk < end; ++chunk) {
        const int64_t c0 = chunk * work.chunk;
        const int64_t width = chunk + 1 < work.chunks ? work.chunk : channels - c0;
        for (int64_t i = 0; i < cells; ++i) {
            totals[i] = 0;
            sums[i] = 0;
        }
        int64_t unsaved = 0;
        const int64_t rows = layer.batch * axis[0].out * axis[1].out;
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t h = work.high.row(row % axis[1].out), above = row / axis[1].out;
            const int64_t d = work.deep.row(above % axis[0].out), batch = above / axis[0].out;
            const Run deep = run_at(axis[0], d), high = run_at(axis[1], h);
            const T *image = all.x + batch * axis[0].in * axis[1].in * axis[2].in * channels + c0;
            const T *grad = work.grad + ((batch * axis[0].out + d) * axis[1].out + h) * axis[2].out * channels + c0;
            for (int64_t a = 0; a < deep.count; ++a) {
                for (int64_t b = 0; b < high.count; ++b) {
                    const int64_t y = (deep.at + deep.taps[a].offset) * axis[1].in + high.at + high.taps[b].offset;
                    const int64_t first = (deep.taps[a].weight * layer.kernel[1] + high.taps[b].weight) * layer.kernel[2];
                    const T *x = image + y * axis[2].in * channels;
                    for (int64_t s = 0; s < work.n_segments; ++s) {
                        const Segment &segment = work.segments[s];
                        // Neighbouring taps of one row are neighbouring rows of the sums.
                        for (int64_t j = segment.j0; j < segment.j1;) {
                            const int64_t k = smaller<int64_t>(segment.j1 - j, 8);
                            int64_t offset[8];
                            for (int64_t n = 0; n < k; ++n) offset[n] = axis[2].taps[j + n].offset * channels;
                            T *to = sums + (first + axis[2].taps[j].weight) * most;
                            switch (k) {
#define ATROUS_CASE(K, N)                                                                                      \
    case K:                                                                                                    \
        dot_chunk<T, K, N>(width, x + segment.m0 * x_step, x_step, offset, grad + segment.m0 * channels,       \
                           channels, segment.m1 - segment.m0, to, most);                                       \
        break;
                                ATROUS_CASE(1, 4)
                                ATROUS_CASE(2, 4)
                                ATROUS_CASE(3, 4)
                                ATROUS_CASE(4, 2)
                                ATROUS_CASE(5, 2)
                                ATROUS_CASE(6, 2)
                                ATROUS_CASE(7, 1)
                                ATROUS_CASE(8, 1)
#undef ATROUS_CASE
                            }
                            j += k;
                        }
                    }
                }
            }
            unsaved += axis[2].out;
            if (unsaved >= kFlush || row + 1 == rows) {
                for (int64_t i = 0; i < cells; ++i) {
                    totals[i] += static_cast<double>(sums[i]);
                    sums[i] = 0;
                }
                unsaved = 0;
            }
        }
        for (int64_t c = 0; c < width; ++c) {
            for (int64_t t = 0; t < all.taps; ++t) {
                work.out[(c0 + c) * all.taps + t] = static_cast<T>(totals[t * most + c]);
            }
        }
    }
}

template <class T>
int channels_weight(const atrous_depthwise_layer &layer, const void *x, const void *grad, void *out) {
    Gather<T> all;
    if (!all.set(layer, false, x)) return ATROUS_NO_MEMORY;
    const size_t room = static_cast<size_t>(most_segments(all.axis[2]) + 1) * sizeof(Segment);
    Segment *segments = static_cast<Segment *>(atrous::scratch(2, room));
    if (segments == nullptr) return ATROUS_NO_MEMORY;
    ChannelsWeight<T> work{&all, static_cast<const T *>(grad), static_cast<T *>(out), segments,
                           split(all.axis[2], segments), 0, 0, RowOrder(all.axis[0].out, period_of(layer, 0, false)),
                           RowOrder(all.axis[1].out, period_of(layer, 1, false))};
    constexpr int64_t step = 4 * Types<T>::lanes;
    const int64_t share = layer.channels / larger<int64_t>(1, layer.threads);
    work.chunk = smaller(layer.channels, larger(step, share / step * step));
    work.chunks = larger<int64_t>(1, layer.channels / work.chunk);
    atrous::parallel(work.chunks, layer.threads, channels_weight_body<T>, &work);
    return all.failed;
}

}  // namespace
#endif
