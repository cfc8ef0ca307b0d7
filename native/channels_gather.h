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

#include <atomic>

#include "channels_pairs.h"

namespace {

constexpr int64_t kWeightBytes = 16 << 10;  // of one chunk's weights: half a first-level cache
constexpr int64_t kLongLine = 512 << 10;   // bytes of a line that is cut
constexpr int64_t kLinePiece = 256 << 10;  // and of a piece of it

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
    int64_t channels;  // in a line of the maps and weights
    Width wide;
    bool columns;  // whether `channels_columns.h` serves it
    PairOrder pairs;
    bool by_pairs;  // whether `channels_pairs.h` serves it

    // Rows of outputs at one depth, or pairs of them.
    int64_t lines() const { return by_pairs ? pairs.count() : all->axis[1].out; }
    // By segments a place for each tap of each, by columns one for each row of the kernel.
    int64_t entries() const {
        return columns ? all->layer->kernel[0] * all->layer->kernel[1] : all->taps * n_segments;
    }
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
    const int64_t channels = rows.channels, width = piece->width;
    const int64_t x_step = wide.in_step * channels, out_step = wide.out_step * channels;
    const Activation activation = activation_of(*rows.all->layer);
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
        if (activation.code != ATROUS_NONE) {
            for (int64_t column = 0; column < done; ++column) activate<T>(to + column * out_step, width, activation);
        }
        m += done;
    }
}

// By blocks of columns, where kernel, stride and dilation allow it. Says whether it did.
template <class T> bool sliding_segment(const Rows<T> &rows, const Segment &segment, Piece<T> *piece) {
    const Axis &wide = rows.all->axis[2];
    const int64_t count = segment.j1 - segment.j0, columns = segment.m1 - segment.m0, channels = rows.channels;
    const bool fixed = count == 2 || count == 3 || count == 5 || count == 7;
    if (!fixed || piece->rows == 0 || piece->width < Types<T>::lanes) return false;
    const Tap *taps = wide.of(segment.phase) + segment.j0;
    const int64_t distance = taps[1].offset - taps[0].offset;
    const int64_t gap = larger(distance, -distance), apart = gap / wide.in_step;
    // Fewer than three outputs a phase would share too little; and jumping between columns costs more cache
    // lines than three taps save loads.
    if (gap % wide.in_step != 0 || columns < 3 * apart || (apart > 1 && count < 5)) return false;
    const int64_t lowest = distance > 0 ? 0 : count - 1;
    const int64_t x_step = wide.in_step * channels, out_step = wide.out_step * channels;
    const Activation activation = activation_of(*rows.all->layer);
    const int64_t most = ColumnBlocks<T>::most(count);
    const ColumnRow<T> row{piece->x, piece->weight, piece->bias, piece->out, piece->rows, piece->offset + lowest,
                           piece->weight_offset + lowest, count, channels, piece->width, piece->newest};
    ColumnBlock<T> block;
    block.weight = piece->weight;
    block.bias = piece->bias;
    block.step = gap * channels;
    block.weight_step = (taps[1].weight - taps[0].weight) * (distance > 0 ? channels : -channels);
    block.out_step = apart * out_step;
    block.taps = count;
    block.lo = 0;
    for (int64_t phase = 0; phase < apart; ++phase) {
        int64_t left = (columns - phase + apart - 1) / apart, m = segment.m0 + phase;
        for (int64_t blocks = (left + most - 1) / most; blocks > 0; --blocks) {
            const int64_t at_once = (left + blocks - 1) / blocks;
            block.x = piece->x + m * x_step;
            block.out = piece->out + segment.phase * channels + m * out_step;
            block.hi = at_once + count - 1;
            ColumnBlocks<T>::of(count)[at_once - 1](row, block);
            if (activation.code != ATROUS_NONE) {
                for (int64_t c = 0; c < at_once; ++c) activate<T>(block.out + c * block.out_step, piece->width, activation);
            }
            m += at_once * apart;
            left -= at_once;
        }
    }
    return true;
}

// The offsets of every row of the kernel that lies inside, for columns.
template <class T>
void kernel_rows_of(const Rows<T> &rows, const Run &deep, const Run &high, int64_t *row_x, int64_t *row_w) {
    const Axis *axis = rows.all->axis;
    const int64_t *kernel = rows.all->layer->kernel, channels = rows.channels;
    int64_t n = 0;
    for (int64_t a = 0; a < deep.count; ++a) {
        for (int64_t b = 0; b < high.count; ++b, ++n) {
            const int64_t row = deep.taps[a].offset * axis[1].in + high.taps[b].offset;
            const int64_t first = (deep.taps[a].weight * kernel[1] + high.taps[b].weight) * kernel[2];
            row_x[n] = row * axis[2].in * channels;
            row_w[n] = (first + rows.wide.first_weight) * channels;
        }
    }
}

// What the rows of the last kind read: those of the same taps share it.
struct Lists {
    int64_t *offset = nullptr, *weight_offset = nullptr;
    int64_t *depth_x = nullptr, *depth_w = nullptr;  // for pairs: of the taps of the depth
    int64_t key[4] = {-1, -1, -1, -1};

    // False where there is no memory.
    bool place(int64_t entries, int64_t depths) {
        const size_t bytes = static_cast<size_t>(entries + depths) * 2 * sizeof(int64_t) + 64;
        offset = static_cast<int64_t *>(atrous::scratch(0, bytes));
        if (offset == nullptr) return false;
        weight_offset = offset + entries;
        depth_x = weight_offset + entries;
        depth_w = depth_x + depths;
        return true;
    }
};

// The row of outputs at depth d and height h, for `width` channels; maps, weights and bias begin at the first of them.
template <class T>
void channels_row(const Rows<T> &rows, Lists &lists, int64_t d, int64_t h, const T *x, const T *weight, const T *bias,
                  int64_t width, T *out) {
    const Gather<T> &all = *rows.all;
    const Axis *axis = all.axis;
    const int64_t channels = rows.channels, line = axis[2].in * channels;
    const int64_t *kernel = all.layer->kernel;
    int64_t *offset = lists.offset, *weight_offset = lists.weight_offset;
    const Run deep = run_at(axis[0], d), high = run_at(axis[1], h);
    x += (deep.at * axis[1].in + high.at) * line;
    out += (d * axis[1].out + h) * axis[2].out * channels;
    const int64_t found[4] = {deep.taps - axis[0].taps, deep.count, high.taps - axis[1].taps, high.count};
    const int64_t kernel_rows = deep.count * high.count;
    const bool other = memcmp(found, lists.key, sizeof found) != 0;
    if (other) memcpy(lists.key, found, sizeof found);
    if (rows.columns) {
        if (other) kernel_rows_of(rows, deep, high, offset, weight_offset);
        const int64_t newest = kernel_rows > 0 ? larger(offset[0], offset[kernel_rows - 1]) : 0;
        const ColumnRow<T> row{x, weight, bias, out, kernel_rows, offset, weight_offset, 1, channels, width, newest};
        column_row(rows.wide, row, activation_of(*all.layer));
        return;
    }
    if (other) {
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
    piece.weight = weight;
    piece.bias = bias;
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

// Likewise for two rows, the upper one at height h.
template <class T>
void channels_pair(const Rows<T> &rows, Lists &lists, int64_t d, int64_t h, const T *x, const T *weight, const T *bias,
                   int64_t width, T *out) {
    const Gather<T> &all = *rows.all;
    const Axis *axis = all.axis;
    const int64_t channels = rows.channels, line = axis[2].in * channels, *kernel = all.layer->kernel;
    const Run deep = run_at(axis[0], d);
    const Tap *high = axis[1].of(0);
    const int64_t taps = axis[1].count(0), distance = high[1].offset - high[0].offset;
    const int64_t gap = larger(distance, -distance), lowest = distance > 0 ? 0 : taps - 1, first = h + high[lowest].offset;
    for (int64_t a = 0; a < deep.count; ++a) {
        lists.depth_x[a] = (deep.at + deep.taps[a].offset) * axis[1].in * line;
        lists.depth_w[a] = deep.taps[a].weight * kernel[1] * kernel[2] * channels;
    }
    PairRows<T> pair;
    pair.x = x + first * line;
    pair.weight = weight + (high[lowest].weight * kernel[2] + rows.wide.first_weight) * channels;
    pair.bias = bias;
    pair.out = out + (d * axis[1].out + h) * axis[2].out * channels;
    pair.below = gap * axis[2].out * channels;
    pair.depths = deep.count;
    pair.depth_x = lists.depth_x;
    pair.depth_w = lists.depth_w;
    pair.row_step = gap * line;
    pair.weight_row = (distance > 0 ? kernel[2] : -kernel[2]) * channels;
    pair.high = taps;
    pair.lo = larger<int64_t>(0, ceil_div(-first, gap));
    pair.hi = smaller(taps + 1, ceil_div(axis[1].in - first, gap));
    pair.channels = channels;
    pair.width = width;
    pair_of_rows(rows.wide, pair, activation_of(*all.layer));
}

// The rows of outputs at depth d and place h of all that `lines` counts; maps and weights as above.
template <class T>
void channels_line(const Rows<T> &rows, Lists &lists, int64_t d, int64_t place, const T *x, const T *weight, const T *bias,
                   int64_t width, T *out) {
    const int64_t h = rows.by_pairs ? rows.pairs.row(place) : rows.high.row(place);
    if constexpr (kHasPairs<T>) {
        if (rows.by_pairs && rows.pairs.is_pair(h)) return channels_pair(rows, lists, d, h, x, weight, bias, width, out);
    }
    channels_row(rows, lists, d, h, x, weight, bias, width, out);
}

template <class T> void channels_body(void *context, int64_t begin, int64_t end) {
    Rows<T> &rows = *static_cast<Rows<T> *>(context);
    Gather<T> &all = *rows.all;
    const Axis *axis = all.axis;
    const int64_t in = axis[0].in * axis[1].in * axis[2].in, out = axis[0].out * axis[1].out * axis[2].out;
    Lists lists;
    if (!lists.place(rows.entries(), all.layer->kernel[0])) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    for (int64_t item = begin; item < end; ++item) {
        int64_t rest = item;
        const int64_t place = rest % rows.lines();
        rest /= rows.lines();
        const int64_t d = rows.deep.row(rest % axis[0].out);
        rest /= axis[0].out;
        const int64_t chunk = rest % rows.chunks, batch = rest / rows.chunks;
        const int64_t c0 = chunk * rows.chunk;
        const int64_t width = chunk + 1 < rows.chunks ? rows.chunk : rows.channels - c0;
        channels_line(rows, lists, d, place, all.x + batch * in * rows.channels + c0, rows.packed + c0,
                      all.bias != nullptr ? all.bias + c0 : nullptr, width, all.out + batch * out * rows.channels + c0);
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

// Maps of `channels` channels; segments are null where there is no memory for them.
template <class T> Rows<T> rows_of(Gather<T> *all, const T *packed, int64_t channels) {
    const atrous_depthwise_layer &layer = *all->layer;
    const size_t room = static_cast<size_t>(most_segments(all->axis[2]) + 1) * sizeof(Segment);
    Segment *segments = static_cast<Segment *>(atrous::scratch(2, room));
    return Rows<T>{all, packed, segments, segments != nullptr ? split(all->axis[2], segments) : 0, channels, 1,
                   RowOrder(all->axis[0].out, period_of(layer, 0, all->backwards)),
                   RowOrder(all->axis[1].out, period_of(layer, 1, all->backwards)), channels,
                   Width(all->axis[2], channels), channels >= Types<T>::lanes && has_columns(all->axis[2]),
                   PairOrder(all->axis[1].out, period_of(layer, 1, all->backwards)),
                   has_pairs<T>(all->axis[1], all->axis[2], channels)};
}

template <class T>
int gather_lines(const atrous_depthwise_layer &layer, bool backwards, const void *x, const void *weight,
                    const void *bias, void *out) {
    Gather<T> all;
    if (!all.set(layer, backwards, x, weight, bias, out)) return ATROUS_NO_MEMORY;
    const T *packed = packed_weight<T>(layer, all.weight, all.taps);
    Rows<T> rows = rows_of<T>(&all, packed, layer.channels);
    if (rows.segments == nullptr || packed == nullptr) return ATROUS_NO_MEMORY;
    constexpr int64_t step = 4 * Types<T>::lanes;
    const int64_t fitting = kWeightBytes / static_cast<int64_t>(sizeof(T)) / larger<int64_t>(1, all.taps);
    rows.chunk = smaller(layer.channels, larger(step, fitting / step * step));
    const int64_t lines = layer.batch * all.axis[0].out * rows.lines();
    // A map of few rows is split by its channels as well.
    while (lines * (layer.channels / rows.chunk) < 4 * layer.threads && rows.chunk >= 2 * step) {
        rows.chunk = (rows.chunk / 2 + step - 1) / step * step;
    }
    rows.chunks = larger<int64_t>(1, layer.channels / rows.chunk);
    atrous::parallel(lines * rows.chunks, layer.threads, channels_body<T>, &rows);
    return all.failed;
}

// One long line, in pieces whose positions stay in the second-level cache while its channels are worked through.
template <class T> struct LongLine {
    const atrous_depthwise_layer *layer;
    const T *x;
    const void *weight, *bias;
    T *out;
    int64_t piece, pieces;  // outputs of one; of one image
    std::atomic<int> *code;
};

template <class T> void line_pieces(void *context, int64_t begin, int64_t end) {
    const LongLine<T> &line = *static_cast<const LongLine<T> *>(context);
    const atrous_depthwise_layer &all = *line.layer;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t image = item / line.pieces, first = item % line.pieces * line.piece;
        atrous_depthwise_layer layer = all;
        layer.batch = layer.threads = 1;
        layer.out[2] = smaller(line.piece, all.out[2] - first);
        // What the piece reads: at least one position, also where all of it is padding.
        const int64_t start = first * all.stride[2] - all.pad[2];
        const int64_t stop = start + (layer.out[2] - 1) * all.stride[2] + (all.kernel[2] - 1) * all.dilation[2] + 1;
        const int64_t lo = larger<int64_t>(0, smaller(start, all.in[2] - 1)), hi = larger(lo + 1, smaller(stop, all.in[2]));
        layer.in[2] = hi - lo;
        layer.pad[2] = lo - start;
        const T *x = line.x + (image * all.in[2] + lo) * all.channels;
        T *out = line.out + (image * all.out[2] + first) * all.channels;
        const int code = gather_lines<T>(layer, false, x, line.weight, line.bias, out);
        if (code != ATROUS_OK) line.code->store(code, std::memory_order_relaxed);
    }
}

template <class T>
int channels_gather(const atrous_depthwise_layer &layer, bool backwards, const void *x, const void *weight,
                    const void *bias, void *out) {
    const bool is_line = layer.in[0] * layer.in[1] == 1 && layer.out[0] * layer.out[1] == 1 && layer.pad[0] == 0 &&
                         layer.pad[1] == 0 && layer.in[2] > 0;
    const int64_t position = layer.channels * static_cast<int64_t>(sizeof(T));
    if (backwards || !is_line || layer.out[2] * position <= kLongLine) {
        return gather_lines<T>(layer, backwards, x, weight, bias, out);
    }
    // Neighbours read some positions twice: no more of these than of those of the piece.
    const int64_t twice = ceil_div((layer.kernel[2] - 1) * layer.dilation[2], layer.stride[2]);
    const int64_t piece = larger<int64_t>(larger<int64_t>(1, kLinePiece / position), twice);
    std::atomic<int> code{ATROUS_OK};
    LongLine<T> line{&layer, static_cast<const T *>(x), weight, bias, static_cast<T *>(out), piece,
                     ceil_div(layer.out[2], piece), &code};
    atrous::parallel(layer.batch * line.pieces, layer.threads, line_pieces<T>, &line);
    return code.load(std::memory_order_relaxed);
}

}  // namespace
#endif
