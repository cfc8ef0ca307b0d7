// Depthwise, channels last, forward and data gradient: each output gathers its taps.
//
// Layout: (batch, depth, height, width, channels), dense; weights packed to (taps, channels). Vectors run
// along the channels, so neither stride nor dilation costs a shuffle: both only change pointer steps.
// Accumulator: the type of the tensors, one fused multiply-add per tap in ascending tap order; error at
// most (taps + 1) units in the last place of the sum of |x w|, and no result depends on the threads.
// Threads: one chunk of channels of one output row at a time, rows in the order of the dilation's phases,
// so that the rows it reads stay in the second-level cache at every rate.
#ifndef ATROUS_CHANNELS_GATHER_H
#define ATROUS_CHANNELS_GATHER_H

#include "planes_gather.h"

namespace {

constexpr int64_t kWeightBytes = 16 << 10;  // of one chunk's weights: half a first-level cache

// Columns [m0, m1) of a phase of the width all read its taps [j0, j1).
struct Segment {
    int64_t phase, m0, m1, j0, j1;
};

template <class T> struct Rows {
    Gather<T> *all;
    const T *packed;
    const Segment *segments;
    int64_t n_segments;
    int64_t chunk, chunks;
    RowOrder deep, high;
};

// Splits each phase of the width where the set of its valid taps changes. Returns how many segments.
inline int64_t split(const Axis &wide, Segment *segments) {
    int64_t found = 0;
    for (int64_t phase = 0; phase < wide.phases; ++phase) {
        const Tap *taps = wide.of(phase);
        const int64_t count = wide.count(phase), length = wide.length(phase);
        for (int64_t m = 0; m < length;) {
            Segment segment{phase, m, length, count, 0};
            for (int64_t j = 0; j < count; ++j) {
                int64_t lo, hi;
                wide.valid(phase, taps[j].offset, &lo, &hi);
                if (m < lo) {
                    segment.m1 = smaller(segment.m1, lo);
                } else if (m < hi) {
                    segment.m1 = smaller(segment.m1, hi);
                    segment.j0 = smaller(segment.j0, j);
                    segment.j1 = j + 1;
                }
            }
            if (segment.j0 >= segment.j1) segment.j0 = segment.j1 = 0;
            segments[found++] = segment;
            m = segment.m1;
        }
    }
    return found;
}

inline int64_t most_segments(const Axis &wide) {
    int64_t most = 0;
    for (int64_t phase = 0; phase < wide.phases; ++phase) {
        most += smaller(wide.length(phase), 2 * wide.count(phase) + 1);
    }
    return most;
}

template <class T, int C, int N>
ATROUS_INLINE void channels_block(const T *x, int64_t x_step, const int64_t *offset, const T *weight,
                                  const int64_t *weight_offset, int64_t taps, const T *bias, int32_t activation,
                                  T *out, int64_t out_step) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    V sum[C][N];
    ATROUS_UNROLL(4)
    for (int n = 0; n < N; ++n) {
        const V start = bias != nullptr ? load(bias + n * L) : V{};
        ATROUS_UNROLL(8)
        for (int c = 0; c < C; ++c) sum[c][n] = start;
    }
    for (int64_t t = 0; t < taps; ++t) {
        const T *w = weight + weight_offset[t];
        const T *from = x + offset[t];
        ATROUS_UNROLL(4)
        for (int n = 0; n < N; ++n) {
            const V one = load(w + n * L);
            ATROUS_UNROLL(8)
            for (int c = 0; c < C; ++c) sum[c][n] += one * load(from + c * x_step + n * L);
        }
    }
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) {
        ATROUS_UNROLL(4)
        for (int n = 0; n < N; ++n) store<T>(out + c * out_step + n * L, activated<T>(sum[c][n], activation));
    }
}

// All channels [0, channels) of C neighbouring columns.
template <class T, int C, int N>
ATROUS_INLINE void channels_columns(int64_t channels, const T *x, int64_t x_step, const int64_t *offset, const T *weight,
                                    const int64_t *weight_offset, int64_t taps, const T *bias, int32_t activation,
                                    T *out, int64_t out_step, int64_t ahead) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t c = 0;
    for (; c + N * L <= channels; c += N * L) {
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            __builtin_prefetch(x + c + ahead + column * x_step);
            __builtin_prefetch(out + c + (C + column) * out_step, 1);
        }
        channels_block<T, C, N>(x + c, x_step, offset, weight + c, weight_offset, taps,
                                bias != nullptr ? bias + c : nullptr, activation, out + c, out_step);
    }
    while (c < channels) {
        // The last vector steps back rather than stop short; a chunk has at least one.
        if (c + L > channels) c = channels - L;
        channels_block<T, C, 1>(x + c, x_step, offset, weight + c, weight_offset, taps,
                                bias != nullptr ? bias + c : nullptr, activation, out + c, out_step);
        c += L;
    }
}

// Fewer channels than a vector has lanes.
template <class T>
void channels_scalar(int64_t channels, const T *x, const int64_t *offset, const T *weight, const int64_t *weight_offset,
                     int64_t taps, const T *bias, int32_t activation, T *out) {
    constexpr int64_t L = Types<T>::lanes;
    Vec<T> sum{};
    for (int64_t c = 0; c < channels; ++c) {
        T one = bias != nullptr ? bias[c] : T(0);
        for (int64_t t = 0; t < taps; ++t) one += weight[weight_offset[t] + c] * x[offset[t] + c];
        sum[c % L] = one;
    }
    sum = activated<T>(sum, activation);
    for (int64_t c = 0; c < channels; ++c) out[c] = sum[c % L];
}

template <class T> void channels_body(void *context, int64_t begin, int64_t end) {
    Rows<T> &rows = *static_cast<Rows<T> *>(context);
    Gather<T> &all = *rows.all;
    const Axis *axis = all.axis;
    const int64_t channels = all.layer->channels;
    const int64_t *kernel = all.layer->kernel;
    const int64_t x_step = axis[2].in_step * channels, out_step = axis[2].out_step * channels;
    char *memory = static_cast<char *>(atrous::scratch(0, static_cast<size_t>(all.taps) * 2 * sizeof(int64_t) + 64));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    int64_t *offset = reinterpret_cast<int64_t *>(memory), *weight_offset = offset + all.taps;
    const int32_t activation = all.layer->activation;
    for (int64_t item = begin; item < end; ++item) {
        int64_t rest = item;
        const int64_t h = rows.high.row(rest % axis[1].out);
        rest /= axis[1].out;
        const int64_t d = rows.deep.row(rest % axis[0].out);
        rest /= axis[0].out;
        const int64_t chunk = rest % rows.chunks, batch = rest / rows.chunks;
        const int64_t c0 = chunk * rows.chunk;
        const int64_t width = chunk + 1 < rows.chunks ? rows.chunk : channels - c0;
        const Run deep = run_at(axis[0], d), high = run_at(axis[1], h);
        const T *image = all.x + batch * axis[0].in * axis[1].in * axis[2].in * channels + c0;
        const T *x = image + (deep.at * axis[1].in + high.at) * axis[2].in * channels;
        T *out = all.out + ((batch * axis[0].out + d) * axis[1].out + h) * axis[2].out * channels + c0;
        const T *weight = rows.packed + c0;
        const T *bias = all.bias != nullptr ? all.bias + c0 : nullptr;
        for (int64_t s = 0; s < rows.n_segments; ++s) {
            const Segment &segment = rows.segments[s];
            const Tap *wide = axis[2].of(segment.phase);
            int64_t taps = 0;
            for (int64_t a = 0; a < deep.count; ++a) {
                for (int64_t b = 0; b < high.count; ++b) {
                    const int64_t row = (deep.taps[a].offset * axis[1].in + high.taps[b].offset) * axis[2].in;
                    const int64_t first = (deep.taps[a].weight * kernel[1] + high.taps[b].weight) * kernel[2];
                    for (int64_t j = segment.j0; j < segment.j1; ++j, ++taps) {
                        offset[taps] = (row + wide[j].offset) * channels;
                        weight_offset[taps] = (first + wide[j].weight) * channels;
                    }
                }
            }
            const int64_t ahead = taps > 0 ? offset[taps - 1] : 0;
            for (int64_t m = segment.m0; m < segment.m1;) {
                const T *from = x + m * x_step;
                T *to = out + segment.phase * channels + m * out_step;
                const int64_t left = segment.m1 - m;
                if (width < Types<T>::lanes) {
                    channels_scalar<T>(width, from, offset, weight, weight_offset, taps, bias, activation, to);
                    ++m;
                    continue;
                }
#define ATROUS_COLUMNS(C, N)                                                                                   \
    {                                                                                                          \
        channels_columns<T, C, N>(width, from, x_step, offset, weight, weight_offset, taps, bias, activation, to, \
                                  out_step, ahead + C * x_step);                                                                   \
        m += C;                                                                                                \
    }
                if (left >= 6 && left != 7 && left != 8 && left != 9) {
                    ATROUS_COLUMNS(6, 2)
                } else if (left >= 4 && left != 5) {
                    ATROUS_COLUMNS(4, 2)
                } else if (left >= 3) {
                    ATROUS_COLUMNS(3, 4)
                } else if (left == 2) {
                    ATROUS_COLUMNS(2, 4)
                } else {
                    ATROUS_COLUMNS(1, 4)
                }
#undef ATROUS_COLUMNS
            }
        }
    }
}

// The weights as (taps, channels): `given` itself, or a copy in scratch memory. Null without memory.
template <class T> const T *packed_weight(const atrous_depthwise_layer &layer, const T *given, int64_t taps) {
    if (layer.packed_weight) return given;
    T *packed = static_cast<T *>(atrous::scratch(3, static_cast<size_t>(taps * layer.channels) * sizeof(T)));
    if (packed == nullptr) return nullptr;
    for (int64_t c = 0; c < layer.channels; ++c) {
        for (int64_t t = 0; t < taps; ++t) packed[t * layer.channels + c] = given[c * taps + t];
    }
    return packed;
}

template <class T>
int channels_gather(const atrous_depthwise_layer &layer, bool backwards, const void *x, const void *weight,
                    const void *bias, void *out) {
    Gather<T> all;
    all.layer = &layer;
    all.backwards = backwards;
    all.x = static_cast<const T *>(x);
    all.weight = static_cast<const T *>(weight);
    all.bias = static_cast<const T *>(bias);
    all.out = static_cast<T *>(out);
    all.taps = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
    for (int a = 0; a < 3; ++a) {
        if (!all.axis[a].build(layer, a, backwards)) return ATROUS_NO_MEMORY;
    }
    const size_t room = static_cast<size_t>(most_segments(all.axis[2]) + 1) * sizeof(Segment);
    Segment *segments = static_cast<Segment *>(atrous::scratch(2, room));
    const T *packed = packed_weight<T>(layer, all.weight, all.taps);
    if (segments == nullptr || packed == nullptr) return ATROUS_NO_MEMORY;
    Rows<T> rows{&all, packed, segments, split(all.axis[2], segments), 0, 0,
                 RowOrder(all.axis[0].out, period_of(layer, 0, backwards)),
                 RowOrder(all.axis[1].out, period_of(layer, 1, backwards))};
    constexpr int64_t step = 4 * Types<T>::lanes;
    const int64_t fitting = kWeightBytes / static_cast<int64_t>(sizeof(T)) / larger<int64_t>(1, all.taps);
    rows.chunk = smaller(layer.channels, larger(step, fitting / step * step));
    const int64_t lines = layer.batch * all.axis[0].out * all.axis[1].out;
    // A map of few rows is split by its channels as well.
    while (lines * (layer.channels / rows.chunk) < 4 * layer.threads && rows.chunk >= 2 * step) {
        rows.chunk = (rows.chunk / 2 + step - 1) / step * step;
    }
    rows.chunks = larger<int64_t>(1, layer.channels / rows.chunk);
    atrous::parallel(lines * rows.chunks, layer.threads, channels_body<T>, &rows);
    return all.failed;
}

}  // namespace
#endif
