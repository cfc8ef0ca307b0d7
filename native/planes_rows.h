// Depthwise, planes, forward and data gradient of layers without strides: several rows of outputs at a time.
//
// Rows that lie one rate apart read all but one of the same input rows. So a block of R rows by V vectors stays
// in registers while the input rows pass by: each vector of them is loaded once for each tap of the width, and
// meets the taps of the height that reach it from one of the R rows. Input rows in the padding are passed over.
// Layout, accumulator, error, threads and scratch memory are those of `planes_gather.h`; each output's terms are
// summed in ascending order of what they read.
#ifndef ATROUS_PLANES_ROWS_H
#define ATROUS_PLANES_ROWS_H

#include "planes_gather.h"

namespace {

// One block: what it reads and writes, relative to its first row and first vector.
template <class T> struct RowBlock {
    const T *x, *weight;
    T *out;
    T bias;
    int64_t depths;                    // taps of the depth that read something
    const int64_t *depth_x, *depth_w;  // what each adds to `x` and `weight`
    int64_t row_step, column_step;     // between neighbouring taps
    int64_t high, wide;                // taps of the height and the width
    int64_t lo, hi;                    // of the high + R - 1 input rows, those inside
    int64_t last, out_step;            // the last vector; the next row of outputs
    int64_t lanes;                     // to store of each vector
};

// Input row `x` meets rows R0 to R1 of the outputs; `weight` are the taps by which it meets row R0.
template <class T, int R, int V, int R0, int R1>
ATROUS_INLINE void row_taps(const RowBlock<T> &block, const T *x, const T *weight, Vec<T> (&sum)[R][V]) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t j = 0; j < block.wide; ++j, x += block.column_step, ++weight) {
        Vec<T> value[V];
        ATROUS_UNROLL(4)
        for (int v = 0; v < V - 1; ++v) value[v] = load(x + v * L);
        value[V - 1] = load(x + block.last);
        ATROUS_UNROLL(8)
        for (int r = R0; r <= R1; ++r) {
            const Vec<T> w = splat(weight[(R0 - r) * block.wide]);
            ATROUS_UNROLL(4)
            for (int v = 0; v < V; ++v) sum[r][v] += w * value[v];
        }
    }
}

// The first rows meet the block's first outputs only: I is the last of them.
template <class T, int R, int V, int I>
ATROUS_INLINE void first_rows(const RowBlock<T> &block, const T *x, const T *weight, Vec<T> (&sum)[R][V]) {
    if constexpr (I < R - 1) {
        if (I >= block.lo && I < block.hi) {
            row_taps<T, R, V, 0, I>(block, x + I * block.row_step, weight + I * block.wide, sum);
        }
        first_rows<T, R, V, I + 1>(block, x, weight, sum);
    }
}

// And the last rows its last ones: R0 is the first of them.
template <class T, int R, int V, int R0>
ATROUS_INLINE void last_rows(const RowBlock<T> &block, const T *x, const T *weight, Vec<T> (&sum)[R][V]) {
    if constexpr (R0 < R) {
        const int64_t i = block.high - 1 + R0;
        if (i >= block.lo && i < block.hi) {
            row_taps<T, R, V, R0, R - 1>(block, x + i * block.row_step, weight + (block.high - 1) * block.wide, sum);
        }
        last_rows<T, R, V, R0 + 1>(block, x, weight, sum);
    }
}

// R is at most the taps of the height.
template <class T, int R, int V> void row_block(const RowBlock<T> &block) {
    constexpr int64_t L = Types<T>::lanes;
    Vec<T> sum[R][V];
    ATROUS_UNROLL(8)
    for (int r = 0; r < R; ++r) {
        ATROUS_UNROLL(4)
        for (int v = 0; v < V; ++v) sum[r][v] = splat(block.bias);
    }
    for (int64_t depth = 0; depth < block.depths; ++depth) {
        const T *x = block.x + block.depth_x[depth], *weight = block.weight + block.depth_w[depth];
        first_rows<T, R, V, 0>(block, x, weight, sum);
        const int64_t stop = smaller(block.high, block.hi);
        for (int64_t i = larger<int64_t>(R - 1, block.lo); i < stop; ++i) {
            row_taps<T, R, V, 0, R - 1>(block, x + i * block.row_step, weight + i * block.wide, sum);
        }
        last_rows<T, R, V, 1>(block, x, weight, sum);
    }
    ATROUS_UNROLL(8)
    for (int r = 0; r < R; ++r) {
        T *to = block.out + r * block.out_step;
        if (V == 1 && block.lanes < L) {
            store_some<T>(to, sum[r][0], block.lanes);
            continue;
        }
        ATROUS_UNROLL(4)
        for (int v = 0; v < V - 1; ++v) store<T>(to + v * L, sum[r][v]);
        store<T>(to + block.last, sum[r][V - 1]);
    }
}

// The functions for 1 to 4 vectors by 1 to as many rows as there are registers for.
template <class T> struct RowBlocks {
    typedef void (*Function)(const RowBlock<T> &block);
    static constexpr bool many = ATROUS_VECTOR_BYTES == 64;  // 32 registers rather than 16
    static constexpr int64_t most_vectors = many ? 4 : 3;

    static int64_t most_rows(int64_t vectors) {
        return vectors == 1 ? 8 : vectors == 2 ? (many ? 7 : 5) : vectors == 3 ? (many ? 5 : 3) : 4;
    }

    static Function of(int64_t rows, int64_t vectors) {
        switch (10 * vectors + rows) {
#define ATROUS_CASE(V, R) \
    case 10 * V + R:      \
        return row_block<T, R, V>;
            ATROUS_CASE(1, 1)
            ATROUS_CASE(1, 2)
            ATROUS_CASE(1, 3)
            ATROUS_CASE(1, 4)
            ATROUS_CASE(1, 5)
            ATROUS_CASE(1, 6)
            ATROUS_CASE(1, 7)
            ATROUS_CASE(1, 8)
            ATROUS_CASE(2, 1)
            ATROUS_CASE(2, 2)
            ATROUS_CASE(2, 3)
            ATROUS_CASE(2, 4)
            ATROUS_CASE(2, 5)
            ATROUS_CASE(3, 1)
            ATROUS_CASE(3, 2)
            ATROUS_CASE(3, 3)
#if ATROUS_VECTOR_BYTES == 64
            ATROUS_CASE(2, 6)
            ATROUS_CASE(2, 7)
            ATROUS_CASE(3, 4)
            ATROUS_CASE(3, 5)
            ATROUS_CASE(4, 1)
            ATROUS_CASE(4, 2)
            ATROUS_CASE(4, 3)
            ATROUS_CASE(4, 4)
#endif
#undef ATROUS_CASE
            default:
                return nullptr;
        }
    }
};

// Some rows, one rate apart, over the whole width of a band.
template <class T>
void row_group(int64_t width, int64_t rows, RowBlock<T> block, bool runs_on) {
    constexpr int64_t L = Types<T>::lanes;
    const int64_t vectors = (width + L - 1) / L;
    constexpr int64_t most = RowBlocks<T>::most_vectors;
    int64_t left = vectors, v = 0;
    const T *x = block.x;
    T *out = block.out;
    for (int64_t blocks = (vectors + most - 1) / most; blocks > 0; --blocks) {
        const int64_t count = (left + blocks - 1) / blocks;
        // The last vector of a row steps back rather than stop short.
        const int64_t end = smaller((v + count) * L, larger(width, L));
        const int64_t at = smaller(v * L, end - L);
        block.x = x + at;
        block.out = out + at;
        block.last = end - L - at;
        block.lanes = runs_on ? L : smaller(L, width);
        RowBlocks<T>::of(rows, count)(block);
        v += count;
        left -= count;
    }
}

template <class T> void rows_body(void *context, int64_t begin_item, int64_t end_item) {
    constexpr int64_t L = Types<T>::lanes;
    Staged<T> &staged = *static_cast<Staged<T> *>(context);
    Gather<T> &all = *staged.all;
    const Axis *axis = all.axis;
    const int64_t in_plane = axis[0].in * axis[1].in * axis[2].in;
    const int64_t out_plane = axis[0].out * axis[1].out * axis[2].out;
    const int64_t planes = all.layer->batch * all.layer->channels;
    const int64_t deep = axis[0].count(0), high = axis[1].count(0), wide = axis[2].count(0);
    const size_t data = (static_cast<size_t>(staged.elements()) * sizeof(T) + 63) / 64 * 64;
    const size_t tables = static_cast<size_t>(2 * deep) * sizeof(int64_t);
    const size_t factors = static_cast<size_t>(deep * high * wide) * sizeof(T);
    char *memory = static_cast<char *>(atrous::scratch(0, data + tables + factors));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    T *scratch = reinterpret_cast<T *>(memory);
    int64_t *depth_x = reinterpret_cast<int64_t *>(memory + data), *depth_w = depth_x + deep;
    T *factor = reinterpret_cast<T *>(memory + data + tables);
    const int64_t length = staged.row_length();
    const Tap *deep_taps = axis[0].of(0), *high_taps = axis[1].of(0), *wide_taps = axis[2].of(0);
    const int64_t high_gap = high > 1 ? high_taps[1].offset - high_taps[0].offset : 1;
    const int64_t wide_gap = wide > 1 ? wide_taps[1].offset - wide_taps[0].offset : 1;
    const int64_t gap = larger(high_gap, -high_gap);
    const int64_t vectors = (smaller(staged.band[2], axis[2].out) + L - 1) / L;
    const int64_t most = smaller(high, RowBlocks<T>::most_rows(smaller(vectors, RowBlocks<T>::most_vectors)));
    int64_t last_band = -1;
    for (int64_t item = begin_item; item < end_item; ++item) {
        const int64_t band = item / planes, plane = item % planes, channel = plane % all.layer->channels;
        int64_t begin[3], stop[3];
        staged.begin(band, begin);
        for (int a = 0; a < 3; ++a) stop[a] = smaller(begin[a] + staged.band[a], axis[a].out);
        stage(staged, all.x + plane * in_plane, begin, band != last_band, scratch);
        last_band = band;
        // In ascending order of what they read, whichever way the layer is read.
        const T *weight = all.weight + channel * all.taps;
        const int64_t *kernel = all.layer->kernel;
        T *to = factor;
        for (int64_t a = 0; a < deep; ++a) {
            for (int64_t b = 0; b < high; ++b) {
                const int64_t above = deep_taps[a].weight * kernel[1] + high_taps[high_gap > 0 ? b : high - 1 - b].weight;
                for (int64_t j = 0; j < wide; ++j) {
                    *to++ = weight[above * kernel[2] + wide_taps[wide_gap > 0 ? j : wide - 1 - j].weight];
                }
            }
        }
        RowBlock<T> block;
        block.weight = factor;
        block.bias = all.bias != nullptr ? all.bias[channel] : T(0);
        block.depth_x = depth_x;
        block.depth_w = depth_w;
        block.row_step = gap * length;
        block.column_step = larger(wide_gap, -wide_gap);
        block.high = high;
        block.wide = wide;
        block.out_step = gap * axis[2].out;
        T *out = all.out + plane * out_plane;
        for (int64_t d = begin[0]; d < stop[0]; ++d) {
            const Run run = run_at(axis[0], d);
            block.depths = run.count;
            for (int64_t a = 0; a < run.count; ++a) {
                const int64_t from = run.at + run.taps[a].offset - (axis[0].in_step * begin[0] + axis[0].offset_min);
                depth_x[a] = from * staged.rows[1] * length;
                depth_w[a] = (run.taps + a - deep_taps) * high * wide;
            }
            for (int64_t phase = 0; phase < smaller(gap, stop[1] - begin[1]); ++phase) {
                int64_t left = (stop[1] - begin[1] - phase + gap - 1) / gap, h = begin[1] + phase;
                for (int64_t blocks = (left + most - 1) / most; blocks > 0; --blocks) {
                    const int64_t rows = (left + blocks - 1) / blocks, first = h + axis[1].offset_min;
                    block.lo = larger<int64_t>(0, ceil_div(-first, gap));
                    block.hi = smaller(high + rows - 1, ceil_div(axis[1].in - first, gap));
                    block.x = scratch + (h - begin[1]) * length;
                    const int64_t at = (d * axis[1].out + h) * axis[2].out + begin[2];
                    block.out = out + at;
                    // A short row of the only band may write on into the next one, which comes later.
                    const bool runs_on = gap == 1 && staged.count() == 1 &&
                                         at + (rows - 1) * axis[2].out + L <= out_plane;
                    row_group(stop[2] - begin[2], rows, block, runs_on);
                    h += rows * gap;
                    left -= rows;
                }
            }
        }
        if (all.layer->activation != ATROUS_NONE) activate_band<T>(staged, begin, out);
    }
}

// Whether it serves a layer, and has enough to share.
template <class T> bool has_rows(const Gather<T> &all) {
    const Axis &high = all.axis[1], &wide = all.axis[2];
    if (all.axis[0].out_step != 1 || high.in_step != 1 || high.out_step != 1) return false;
    if (wide.in_step != 1 || wide.out_step != 1 || high.count(0) < 5) return false;
    // Vectors of four meet so few loads beyond a line that only larger kernels, volumes and short rows gain.
    if (ATROUS_VECTOR_BYTES < 32 && high.count(0) <= 7 && all.axis[0].count(0) == 1 && wide.out >= 64) return false;
    const int64_t distance = high.of(0)[1].offset - high.of(0)[0].offset;
    return high.count(0) > 5 || high.out >= 16 * larger(distance, -distance);
}

}  // namespace
#endif
