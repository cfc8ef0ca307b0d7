// Depthwise, channels last, layers without a stride along the width: several columns of outputs at a time.
//
// C outputs that lie one rate apart read inputs one rate apart: output c reads inputs c to c + K - 1 of those at
// x, x + step, x + 2 step, ... So each input is loaded once and meets up to K of the weights. Inputs in the padding
// are passed over: what an output sums are the taps that it has inside, in ascending order of what they read.
// Layout, accumulator, error and threads are those of `channels_gather.h`.
#ifndef ATROUS_CHANNELS_COLUMNS_H
#define ATROUS_CHANNELS_COLUMNS_H

#include "planes_gather.h"

namespace {

// A row of outputs and the rows of inputs that it reads, for some of the channels.
template <class T> struct ColumnRow {
    const T *x, *weight, *bias;  // at the first of the channels; bias may be null
    T *out;
    int64_t rows;                        // of the kernel, those that read something
    const int64_t *row_x, *row_w;        // at every `apart`: what it adds to `x` and `weight`, at the lowest offset
    int64_t apart;
    int64_t channels, width;             // in a line of each map; here
    int64_t newest;                      // the row that came into reach last, and is in no cache yet
};

// The width: `taps` of them read inputs m + offset + gap * j, whose weights are `weight_step` apart.
struct Width {
    int64_t in, out, taps, offset, gap, weight_step;

    Width(const Axis &axis, int64_t channels) : in(axis.in), out(axis.out), taps(axis.count(0)), offset(axis.offset_min) {
        const int64_t distance = taps > 1 ? axis.of(0)[1].offset - axis.of(0)[0].offset : 1;
        gap = larger(distance, -distance);
        weight_step = distance > 0 ? channels : -channels;
        first_weight = taps > 0 ? axis.of(0)[distance > 0 ? 0 : taps - 1].weight : 0;
    }

    int64_t first_weight;  // of the tap with the lowest offset
};

// Of the inputs of a block, those from `lo` to `hi` lie inside.
template <class T> struct ColumnBlock {
    const T *x, *weight, *bias;
    T *out;
    int64_t step, weight_step, out_step, taps, lo, hi;
};

// K weights in registers.
template <class T, int C, int K, bool Clipped>
ATROUS_INLINE void fixed_columns(const ColumnRow<T> &row, const ColumnBlock<T> &block) {
    typedef Vec<T> V;
    V sum[C];
    const V start = block.bias != nullptr ? load(block.bias) : V{};
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) sum[c] = start;
    for (int64_t n = 0; n < row.rows; ++n) {
        const T *from = block.x + row.row_x[n * row.apart], *w = block.weight + row.row_w[n * row.apart];
        V factor[K];
        ATROUS_UNROLL(8)
        for (int k = 0; k < K; ++k) factor[k] = load(w + k * block.weight_step);
        ATROUS_UNROLL(16)
        for (int i = 0; i < C + K - 1; ++i) {
            if (Clipped && (i < block.lo || i >= block.hi)) continue;
            const V value = load(from + i * block.step);
            ATROUS_UNROLL(8)
            for (int k = 0; k < K; ++k) {
                if (i - k >= 0 && i - k < C) sum[i - k] += factor[k] * value;
            }
        }
    }
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) store<T>(block.out + c * block.out_step, sum[c]);
}

// Input `x` meets outputs C0 to C1; `weight` is the tap by which it meets the first of them.
template <class T, int C, int C0, int C1>
ATROUS_INLINE void column_taps(const T *x, const T *weight, int64_t weight_step, Vec<T> (&sum)[C]) {
    const Vec<T> value = load(x);
    ATROUS_UNROLL(8)
    for (int c = C0; c <= C1; ++c) sum[c] += load(weight - (c - C0) * weight_step) * value;
}

template <class T, int C, int I>
ATROUS_INLINE void first_columns(const ColumnBlock<T> &block, const T *x, const T *weight, Vec<T> (&sum)[C]) {
    if constexpr (I < C - 1) {
        if (I >= block.lo && I < block.hi) {
            column_taps<T, C, 0, I>(x + I * block.step, weight + I * block.weight_step, block.weight_step, sum);
        }
        first_columns<T, C, I + 1>(block, x, weight, sum);
    }
}

template <class T, int C, int C0>
ATROUS_INLINE void last_columns(const ColumnBlock<T> &block, const T *x, const T *weight, Vec<T> (&sum)[C]) {
    if constexpr (C0 < C) {
        const int64_t i = block.taps - 1 + C0;
        if (i >= block.lo && i < block.hi) {
            column_taps<T, C, C0, C - 1>(x + i * block.step, weight + (block.taps - 1) * block.weight_step,
                                         block.weight_step, sum);
        }
        last_columns<T, C, C0 + 1>(block, x, weight, sum);
    }
}

// Any number of taps, at least C: weights are read from the first-level cache.
template <class T, int C> ATROUS_INLINE void many_columns(const ColumnRow<T> &row, const ColumnBlock<T> &block) {
    Vec<T> sum[C];
    const Vec<T> start = block.bias != nullptr ? load(block.bias) : Vec<T>{};
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) sum[c] = start;
    const int64_t stop = smaller(block.taps, block.hi), step = block.step, weight_step = block.weight_step;
    for (int64_t n = 0; n < row.rows; ++n) {
        const T *x = block.x + row.row_x[n * row.apart], *w = block.weight + row.row_w[n * row.apart];
        first_columns<T, C, 0>(block, x, w, sum);
        for (int64_t i = larger<int64_t>(C - 1, block.lo); i < stop; ++i) {
            column_taps<T, C, 0, C - 1>(x + i * step, w + i * weight_step, weight_step, sum);
        }
        last_columns<T, C, 1>(block, x, w, sum);
    }
    ATROUS_UNROLL(8)
    for (int c = 0; c < C; ++c) store<T>(block.out + c * block.out_step, sum[c]);
}

// All channels of C columns; K is 0 for any number of taps.
template <class T, int C, int K> void column_block(const ColumnRow<T> &row, ColumnBlock<T> block) {
    constexpr int64_t L = Types<T>::lanes;
    const bool clipped = block.lo > 0 || block.hi < C + block.taps - 1;
    const ColumnBlock<T> first = block;
    for (int64_t c = 0; c < row.width; c += L) {
        if (c + L > row.width) c = row.width - L;  // the last vector steps back rather than stop short
        block.x = first.x + c;
        block.weight = first.weight + c;
        block.bias = first.bias != nullptr ? first.bias + c : nullptr;
        block.out = first.out + c;
        // One block ahead: strided pieces of rows are beyond what hardware foresees.
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            __builtin_prefetch(block.x + row.newest + (C + column) * block.step);
            __builtin_prefetch(block.out + (C + column) * block.out_step, 1);
        }
        if constexpr (K == 0) {
            many_columns<T, C>(row, block);
        } else if (clipped) {
            fixed_columns<T, C, K, true>(row, block);
        } else {
            fixed_columns<T, C, K, false>(row, block);
        }
    }
}

template <class T> struct ColumnBlocks {
    typedef void (*Function)(const ColumnRow<T> &row, ColumnBlock<T> block);

    // The functions for 1 to 8 columns of outputs; null where taps are too few to share anything.
    static const Function *of(int64_t taps) {
#define ATROUS_TABLE(K)                                                                               \
    {                                                                                                 \
        static const Function table[] = {column_block<T, 1, K>, column_block<T, 2, K>, column_block<T, 3, K>, \
                                         column_block<T, 4, K>, column_block<T, 5, K>, column_block<T, 6, K>, \
                                         column_block<T, 7, K>, column_block<T, 8, K>};                       \
        return table;                                                                                 \
    }
        switch (taps) {
            case 0:
            case 1:
                return nullptr;
            case 2:
                ATROUS_TABLE(2)
            case 3:
                ATROUS_TABLE(3)
            case 5:
                ATROUS_TABLE(5)
            case 7:
                ATROUS_TABLE(7)
            default:
                ATROUS_TABLE(0)
        }
#undef ATROUS_TABLE
    }

    // How many columns there are registers for.
    static int64_t most(int64_t taps) {
        if (taps == 7 && ATROUS_VECTOR_BYTES < 64) return 6;
        return taps == 4 || taps == 6 ? taps : 8;
    }
};

// A row of outputs, whose channels are at least a vector, all columns of it.
template <class T> void column_row(const Width &wide, const ColumnRow<T> &row, Activation activation) {
    const auto *functions = ColumnBlocks<T>::of(wide.taps);
    const int64_t most = ColumnBlocks<T>::most(wide.taps);
    ColumnBlock<T> block;
    block.weight = row.weight;
    block.bias = row.bias;
    block.step = wide.gap * row.channels;
    block.weight_step = wide.weight_step;
    block.out_step = wide.gap * row.channels;
    block.taps = wide.taps;
    for (int64_t phase = 0; phase < smaller(wide.gap, wide.out); ++phase) {
        int64_t left = (wide.out - phase + wide.gap - 1) / wide.gap, m = phase;
        for (int64_t blocks = (left + most - 1) / most; blocks > 0; --blocks) {
            const int64_t count = (left + blocks - 1) / blocks, first = m + wide.offset;
            block.lo = larger<int64_t>(0, ceil_div(-first, wide.gap));
            block.hi = smaller(wide.taps + count - 1, ceil_div(wide.in - first, wide.gap));
            block.x = row.x + first * row.channels;
            block.out = row.out + m * row.channels;
            functions[count - 1](row, block);
            if (activation.code != ATROUS_NONE) {
                for (int64_t c = 0; c < count; ++c) activate<T>(block.out + c * block.out_step, row.width, activation);
            }
            m += count * wide.gap;
            left -= count;
        }
    }
}

// Whether it serves a layer.
inline bool has_columns(const Axis &wide) {
    const int64_t taps = wide.count(0);
    if (wide.in_step != 1 || wide.out_step != 1 || taps < 2) return false;
    const int64_t distance = wide.of(0)[1].offset - wide.of(0)[0].offset;
    // Jumping between columns costs more cache lines than three taps save loads.
    return taps > 3 || distance == 1 || distance == -1;
}

}  // namespace
#endif
