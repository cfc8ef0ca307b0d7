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
    int64_t chunk, chunks;  // of channels: what one thread takes at a time
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
                                  const int64_t *weight_offset, int64_t taps, const T *bias, T *out,
                                  int64_t out_step) {
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
        for (int n = 0; n < N; ++n) store<T>(out + c * out_step + n * L, sum[c][n]);
    }
}

// All channels [0, channels) of C neighbouring columns.
template <class T, int C, int N>
ATROUS_INLINE void channels_columns(int64_t channels, const T *x, int64_t x_step, const int64_t *offset, const T *weight,
                                    const int64_t *weight_offset, int64_t taps, const T *bias, T *out,
                                    int64_t out_step, int64_t newest) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t c = 0;
    for (; c + N * L <= channels; c += N * L) {
        // One block ahead: strided pieces of rows are beyond what hardware foresees.
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            __builtin_prefetch(x + c + newest + (C + column) * x_step);
            __builtin_prefetch(out + c + (C + column) * out_step, 1);
        }
        channels_block<T, C, N>(x + c, x_step, offset, weight + c, weight_offset, taps,
                                bias != nullptr ? bias + c : nullptr, out + c, out_step);
    }
    while (c < channels) {
        // The last vector steps back rather than stop short; a chunk has at least one.
        if (c + L > channels) c = channels - L;
        channels_block<T, C, 1>(x + c, x_step, offset, weight + c, weight_offset, taps,
                                bias != nullptr ? bias + c : nullptr, out + c, out_step);
        c += L;
    }
}

// C outputs that lie one rate apart read inputs one tap apart: output c reads c to c + K - 1 of the inputs at
// x, x + step, x + 2 step, ... So each input is loaded once and meets up to K weights, which stay in registers
// for a row of the kernel. `weight_step` is negative where offsets fall as taps rise.
template <class T, int C, int K>
ATROUS_INLINE void sliding_block(const T *x, int64_t step, const int64_t *offset, const T *weight,
                                 const int64_t *weight_offset, int64_t rows, int64_t weight_step, const T *bias, T *out,
                                 int64_t out_step) {
    typedef Vec<T> V;
    V sum[C];
    const V start = bias != nullptr ? load(bias) : V{};
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) sum[c] = start;
    for (int64_t row = 0; row < rows; ++row) {
        const T *from = x + offset[row * K], *w = weight + weight_offset[row * K];
        V factor[K];
        ATROUS_UNROLL(8)
        for (int k = 0; k < K; ++k) factor[k] = load(w + k * weight_step);
        ATROUS_UNROLL(16)
        for (int i = 0; i < C + K - 1; ++i) {
            const V value = load(from + i * step);
            ATROUS_UNROLL(8)
            for (int k = 0; k < K; ++k) {
                if (i - k >= 0 && i - k < C) sum[i - k] += factor[k] * value;
            }
        }
    }
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) store<T>(out + c * out_step, sum[c]);
}

template <class T, int C, int K>
void sliding_columns(int64_t width, const T *x, int64_t step, const int64_t *offset, const T *weight,
                     const int64_t *weight_offset, int64_t rows, int64_t weight_step, const T *bias, T *out,
                     int64_t out_step, int64_t newest) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t c = 0; c < width; c += L) {
        if (c + L > width) c = width - L;  // the last vector steps back rather than stop short
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            __builtin_prefetch(x + c + newest + (C + column) * step);
            __builtin_prefetch(out + c + (C + column) * out_step, 1);
        }
        sliding_block<T, C, K>(x + c, step, offset, weight + c, weight_offset, rows, weight_step,
                               bias != nullptr ? bias + c : nullptr, out + c, out_step);
    }
}

template <class T> struct Sliding {
    typedef void (*Columns)(int64_t width, const T *x, int64_t step, const int64_t *offset, const T *weight,
                            const int64_t *weight_offset, int64_t rows, int64_t weight_step, const T *bias, T *out,
                            int64_t out_step, int64_t newest);

    // For kernels of K columns, the function for 1 to 8 outputs at a time; null for other kernels.
    static const Columns *of(int64_t kernel) {
#define ATROUS_TABLE(K)                                                                                       \
    static const Columns table##K[] = {                                                                       \
        sliding_columns<T, 1, K>, sliding_columns<T, 2, K>, sliding_columns<T, 3, K>, sliding_columns<T, 4, K>, \
        sliding_columns<T, 5, K>, sliding_columns<T, 6, K>, sliding_columns<T, 7, K>, sliding_columns<T, 8, K>};
        ATROUS_TABLE(2)
        ATROUS_TABLE(3)
        ATROUS_TABLE(5)
        ATROUS_TABLE(7)
#undef ATROUS_TABLE
        switch (kernel) {
            case 2:
                return table2;
            case 3:
                return table3;
            case 5:
                return table5;
            case 7:
                return table7;
            default:
                return nullptr;
        }
    }
};

// Fewer channels than a vector has lanes.
template <class T>
void channels_scalar(int64_t channels, const T *x, const int64_t *offset, const T *weight, const int64_t *weight_offset,
                     int64_t taps, const T *bias, T *out) {
    for (int64_t c = 0; c < channels; ++c) {
        T one = bias != nullptr ? bias[c] : T(0);
        for (int64_t t = 0; t < taps; ++t) one += weight[weight_offset[t] + c] * x[offset[t] + c];
        out[c] = one;
    }
}

// One segment of one row, for some of the channels.
template <class T> struct Piece {
    const T *x, *weight, *bias;
    T *out;
    const int64_t *offset, *weight_offset;  // of the segment's taps, row of the kernel by row
    int64_t width, taps, rows;
    int64_t newest;  // the offset of the input row that came into reach last, and is in no cache yet
};

template <class T> void plain_segment(const Rows<T> &rows, const Segment &segment, Piece<T> *piece) {
    const Axis &wide = rows.all->axis[2];
    const int64_t channels = rows.all->layer->channels, width = piece->width;
    const int64_t x_step = wide.in_step * channels, out_step = wide.out_step * channels;
    const int32_t activation = rows.all->layer->activation;
    for (int64_t m = segment.m0; m < segment.m1;) {
        const T *from = piece->x + m * x_step;
        T *to = piece->out + segment.phase * channels + m * out_step;
        const int64_t left = segment.m1 - m;
        int64_t done = 1;
        if (width < Types<T>::lanes) {
            channels_scalar<T>(width, from, piece->offset, piece->weight, piece->weight_offset, piece->taps, piece->bias, to);
        } else {
#define ATROUS_COLUMNS(C, N)                                                                                    \
    channels_columns<T, C, N>(width, from, x_step, piece->offset, piece->weight, piece->weight_offset, piece->taps, \
                              piece->bias, to, out_step, piece->newest);                                        \
    done = C;
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
        if (activation != ATROUS_NONE) {
            for (int64_t column = 0; column < done; ++column) activate<T>(to + column * out_step, width, activation);
        }
        m += done;
    }
}

// By `sliding_columns`, where kernel, stride and dilation allow it. Says whether it did.
template <class T> bool sliding_segment(const Rows<T> &rows, const Segment &segment, Piece<T> *piece) {
    const Axis &wide = rows.all->axis[2];
    const int64_t count = segment.j1 - segment.j0, columns = segment.m1 - segment.m0, channels = rows.all->layer->channels;
    const auto *slide = Sliding<T>::of(count);
    if (slide == nullptr || piece->rows == 0 || piece->width < Types<T>::lanes) return false;
    const Tap *taps = wide.of(segment.phase) + segment.j0;
    const int64_t distance = taps[1].offset - taps[0].offset;
    const int64_t gap = larger(distance, -distance), apart = gap / wide.in_step;
    // Fewer than three outputs a phase would share too little; and jumping between columns costs more cache
    // lines than three taps save loads.
    if (gap % wide.in_step != 0 || columns < 3 * apart || (apart > 1 && count < 5)) return false;
    const int64_t lowest = distance > 0 ? 0 : count - 1;
    const int64_t weight_step = (taps[1].weight - taps[0].weight) * (distance > 0 ? channels : -channels);
    const int64_t x_step = wide.in_step * channels, out_step = wide.out_step * channels;
    const int32_t activation = rows.all->layer->activation;
    const int64_t most = count > 5 ? 6 : 8;
    for (int64_t phase = 0; phase < apart; ++phase) {
        int64_t left = (columns - phase + apart - 1) / apart, m = segment.m0 + phase;
        for (int64_t blocks = (left + most - 1) / most; blocks > 0; --blocks) {
            const int64_t at_once = (left + blocks - 1) / blocks;
            T *to = piece->out + segment.phase * channels + m * out_step;
                slide[at_once - 1](piece->width, piece->x + m * x_step, gap * channels, piece->offset + lowest, piece->weight,
                               piece->weight_offset + lowest, piece->rows, weight_step, piece->bias, to, apart * out_step,
                               piece->newest);
            if (activation != ATROUS_NONE) {
                for (int64_t c = 0; c < at_once; ++c) activate<T>(to + c * apart * out_step, piece->width, activation);
            }
            m += at_once * apart;
            left -= at_once;
        }
    }
    return true;
}

template <class T> void channels_body(void *context, int64_t begin, int64_t end) {
    Rows<T> &rows = *static_cast<Rows<T> *>(context);
    Gather<T> &all = *rows.all;
    const Axis *axis = all.axis;
    const int64_t channels = all.layer->channels, line = axis[2].in * channels;
    const int64_t *kernel = all.layer->kernel;
    const int64_t entries = all.taps * rows.n_segments;
    int64_t *offset = static_cast<int64_t *>(atrous::scratch(0, static_cast<size_t>(entries) * 2 * sizeof(int64_t) + 64));
    if (offset == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    int64_t *weight_offset = offset + entries;
    int64_t key[4] = {-1, -1, -1, -1};
    for (int64_t item = begin; item < end; ++item) {
        int64_t rest = item;
        const int64_t place = rest % axis[1].out, h = rows.high.row(place);
        rest /= axis[1].out;
        const int64_t d = rows.deep.row(rest % axis[0].out);
        rest /= axis[0].out;
        const int64_t chunk = rest % rows.chunks, batch = rest / rows.chunks;
        const int64_t c0 = chunk * rows.chunk;
        const int64_t width = chunk + 1 < rows.chunks ? rows.chunk : channels - c0;
        const Run deep = run_at(axis[0], d), high = run_at(axis[1], h);
        const T *x = all.x + ((batch * axis[0].in + deep.at) * axis[1].in + high.at) * line + c0;
        T *out = all.out + ((batch * axis[0].out + d) * axis[1].out + h) * axis[2].out * channels + c0;
        const int64_t found[4] = {deep.taps - axis[0].taps, deep.count, high.taps - axis[1].taps, high.count};
        const int64_t kernel_rows = deep.count * high.count;
        if (memcmp(found, key, sizeof key) != 0) {
            memcpy(key, found, sizeof key);
            int64_t taps = 0;
            for (int64_t s = 0; s < rows.n_segments; ++s) {
                const Segment &segment = rows.segments[s];
                const Tap *wide = axis[2].of(segment.phase);
                for (int64_t a = 0; a < deep.count; ++a) {
                    for (int64_t b = 0; b < high.count; ++b) {
                        const int64_t row = deep.taps[a].offset * axis[1].in + high.taps[b].offset;
                        const int64_t first = (deep.taps[a].weight * kernel[1] + high.taps[b].weight) * kernel[2];
                        for (int64_t j = segment.j0; j < segment.j1; ++j, ++taps) {
                            offset[taps] = row * line + wide[j].offset * channels;
                            weight_offset[taps] = (first + wide[j].weight) * channels;
                        }
                    }
                }
            }
        }
        Piece<T> piece;
        piece.rows = kernel_rows;
        piece.width = width;
        piece.x = x;
        piece.out = out;
        piece.weight = rows.packed + c0;
        piece.bias = all.bias != nullptr ? all.bias + c0 : nullptr;
        int64_t taps = 0;
        for (int64_t s = 0; s < rows.n_segments; ++s) {
            const Segment &segment = rows.segments[s];
            piece.offset = offset + taps;
            piece.weight_offset = weight_offset + taps;
            piece.taps = kernel_rows * (segment.j1 - segment.j0);
            piece.newest = piece.taps > 0 ? larger(piece.offset[0], piece.offset[piece.taps - 1]) : 0;
            if (!sliding_segment(rows, segment, &piece)) plain_segment(rows, segment, &piece);
            taps += piece.taps;
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
    if (!all.set(layer, backwards, x, weight, bias, out)) return ATROUS_NO_MEMORY;
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
