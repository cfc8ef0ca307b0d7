// Depthwise, channels last, layers without strides: two rows of outputs at a time, several columns of each.
//
// Rows that lie one rate apart read all but one of the same input rows, and columns that lie one rate apart all but
// one of the same inputs of a row. So each input is loaded once for two rows of up to seven taps, and meets up to 14
// weights in registers: twice the arithmetic of `channels_columns.h` for each line of a cache. Longer rows of taps
// pass by in parts. Needs 32 registers. Inputs in the padding are passed over; each output's terms are summed in
// ascending order of what they read. Layout, accumulator, error and threads are those of `channels_gather.h`.
#ifndef ATROUS_CHANNELS_PAIRS_H
#define ATROUS_CHANNELS_PAIRS_H

#include "channels_columns.h"

namespace {

// 32 registers; float64 is left to fewer of them, and the library that much smaller.
template <class T> constexpr bool kHasPairs = ATROUS_VECTOR_BYTES == 64 && sizeof(T) == 4;
constexpr int64_t kFewTaps = 3;

// Two rows of outputs and the rows of inputs that they read, for some of the channels.
template <class T> struct PairRows {
    const T *x, *weight, *bias;  // at the lowest row that the first one reads, its weights; bias may be null
    T *out;
    int64_t below;                     // from the first row of outputs to the second
    int64_t depths;                    // taps of the depth that read something
    const int64_t *depth_x, *depth_w;  // what each adds to `x` and `weight`
    int64_t row_step, weight_row;      // from one of the rows to the next
    int64_t high, lo, hi;              // taps of the height; of the high + 1 rows, those inside
    int64_t channels, width;           // in a line of each map; here
};

// Row `x` meets rows R0 to R1 of the outputs by K taps; `weight` are those by which it meets row R0.
// Of the inputs, those from `lo` to `hi` lie inside.
template <class T, int C, int K, int R0, int R1>
ATROUS_INLINE void pair_taps(const PairRows<T> &rows, const ColumnBlock<T> &block, const T *x, const T *weight, int64_t lo,
                             int64_t hi, Vec<T> (&sum)[2][C]) {
    typedef Vec<T> V;
    if (lo >= C + K - 1 || hi <= 0) return;
    V factor[2][K];
    ATROUS_UNROLL(2)
    for (int r = R0; r <= R1; ++r) {
        ATROUS_UNROLL(8)
        for (int k = 0; k < K; ++k) factor[r][k] = load(weight + k * block.weight_step - (r - R0) * rows.weight_row);
    }
    ATROUS_UNROLL(16)
    for (int i = 0; i < C + K - 1; ++i) {
        if (i < lo || i >= hi) continue;
        const V value = load(x + i * block.step);
        ATROUS_UNROLL(2)
        for (int r = R0; r <= R1; ++r) {
            ATROUS_UNROLL(8)
            for (int k = 0; k < K; ++k) {
                if (i - k >= 0 && i - k < C) sum[r][i - k] += factor[r][k] * value;
            }
        }
    }
}

// All taps of the width, in parts.
template <class T, int C, int R0, int R1>
ATROUS_INLINE void pair_row(const PairRows<T> &rows, const ColumnBlock<T> &block, const T *x, const T *weight,
                            Vec<T> (&sum)[2][C]) {
    int64_t k = 0;
#define ATROUS_PART(K)                                                                                            \
    pair_taps<T, C, K, R0, R1>(rows, block, x + k * block.step, weight + k * block.weight_step, block.lo - k, \
                               block.hi - k, sum);
    for (; k + 7 <= block.taps; k += 7) ATROUS_PART(7)
    if (k + 5 <= block.taps) {
        ATROUS_PART(5)
        k += 5;
    } else if (k + 3 <= block.taps) {
        ATROUS_PART(3)
        k += 3;
    }
    for (; k < block.taps; ++k) ATROUS_PART(1)
#undef ATROUS_PART
}

template <class T, int C> void pair_block(const PairRows<T> &rows, ColumnBlock<T> block) {
    constexpr int64_t L = Types<T>::lanes;
    const ColumnBlock<T> first = block;
    const int64_t newest = rows.depths > 0 ? rows.depth_x[rows.depths - 1] + (rows.hi - 1) * rows.row_step : 0;
    for (int64_t c = 0; c < rows.width; c += L) {
        if (c + L > rows.width) c = rows.width - L;  // the last vector steps back rather than stop short
        block.x = first.x + c;
        block.weight = first.weight + c;
        block.out = first.out + c;
        // One block ahead: strided pieces of rows are beyond what hardware foresees. Many taps leave inputs the time.
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            T *out = block.out + (C + column) * block.out_step;
            __builtin_prefetch(out, 1);
            __builtin_prefetch(out + rows.below, 1);
        }
        if (block.taps <= kFewTaps) {
            ATROUS_UNROLL(8)
            for (int column = 0; column < C; ++column) {
                const T *next = block.x + newest + (C + column) * block.step;
                __builtin_prefetch(next - rows.row_step);
                __builtin_prefetch(next);
            }
        }
        Vec<T> sum[2][C];
        const Vec<T> start = first.bias != nullptr ? load(first.bias + c) : Vec<T>{};
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) sum[0][column] = sum[1][column] = start;
        for (int64_t depth = 0; depth < rows.depths; ++depth) {
            const T *x = block.x + rows.depth_x[depth], *weight = block.weight + rows.depth_w[depth];
            if (rows.lo <= 0 && rows.hi > 0) pair_row<T, C, 0, 0>(rows, block, x, weight, sum);
            const int64_t stop = smaller(rows.high, rows.hi);
            for (int64_t i = larger<int64_t>(1, rows.lo); i < stop; ++i) {
                pair_row<T, C, 0, 1>(rows, block, x + i * rows.row_step, weight + i * rows.weight_row, sum);
            }
            if (rows.lo <= rows.high && rows.hi > rows.high) {
                pair_row<T, C, 1, 1>(rows, block, x + rows.high * rows.row_step, weight + (rows.high - 1) * rows.weight_row,
                                     sum);
            }
        }
        ATROUS_UNROLL(8)
        for (int column = 0; column < C; ++column) {
            store<T>(block.out + column * block.out_step, sum[0][column]);
            store<T>(block.out + column * block.out_step + rows.below, sum[1][column]);
        }
    }
}

// Two rows of outputs, whose channels are at least a vector, all columns of them.
template <class T> void pair_of_rows(const Width &wide, const PairRows<T> &rows, Activation activation) {
    typedef void (*Function)(const PairRows<T> &rows, ColumnBlock<T> block);
    static const Function functions[] = {pair_block<T, 1>, pair_block<T, 2>, pair_block<T, 3>, pair_block<T, 4>,
                                         pair_block<T, 5>, pair_block<T, 6>, pair_block<T, 7>, pair_block<T, 8>};
        const int64_t most = wide.taps >= 7 ? 7 : 8;
    ColumnBlock<T> block;
    block.weight = rows.weight;
    block.bias = rows.bias;
    block.step = block.out_step = wide.gap * rows.channels;
    block.weight_step = wide.weight_step;
    block.taps = wide.taps;
    for (int64_t phase = 0; phase < smaller(wide.gap, wide.out); ++phase) {
        int64_t left = (wide.out - phase + wide.gap - 1) / wide.gap, m = phase;
        for (int64_t blocks = (left + most - 1) / most; blocks > 0; --blocks) {
            const int64_t count = (left + blocks - 1) / blocks, first = m + wide.offset;
            block.lo = larger<int64_t>(0, ceil_div(-first, wide.gap));
            block.hi = smaller(wide.taps + count - 1, ceil_div(wide.in - first, wide.gap));
            block.x = rows.x + first * rows.channels;
            block.out = rows.out + m * rows.channels;
            functions[count - 1](rows, block);
            if (activation.code != ATROUS_NONE) {
                for (int64_t c = 0; c < count; ++c) {
                    activate<T>(block.out + c * block.out_step, rows.width, activation);
                    activate<T>(block.out + c * block.out_step + rows.below, rows.width, activation);
                }
            }
            m += count * wide.gap;
            left -= count;
        }
    }
}

// The rows of outputs in pairs that lie one rate apart, phase by phase; of an odd phase the last one is alone.
struct PairOrder {
    int64_t rows, period, long_phases, in_long, in_short;

    PairOrder(int64_t rows_, int64_t period_) : rows(rows_), period(larger<int64_t>(1, smaller(period_, rows_))) {
        const int64_t shorter = rows / period;
        long_phases = rows % period;
        in_long = (shorter + 2) / 2;
        in_short = (shorter + 1) / 2;
    }
    int64_t count() const { return long_phases * in_long + (period - long_phases) * in_short; }
    int64_t row(int64_t place) const {
        const int64_t in_longs = long_phases * in_long;
        if (place < in_longs) return place / in_long + place % in_long * 2 * period;
        place -= in_longs;
        return long_phases + place / in_short + place % in_short * 2 * period;
    }
    bool is_pair(int64_t row) const { return row + period < rows; }
};

// Whether it serves a layer of so many channels in a line.
template <class T> bool has_pairs(const Axis &high, const Axis &wide, int64_t channels) {
    if (!kHasPairs<T> || channels < Types<T>::lanes || high.in_step != 1 || high.out_step != 1) return false;
    if (wide.in_step != 1 || wide.out_step != 1 || high.count(0) < 2 || wide.count(0) < 2) return false;
    const int64_t distance = high.of(0)[1].offset - high.of(0)[0].offset, step = wide.of(0)[1].offset - wide.of(0)[0].offset;
    // Rows that lie whole pages apart meet in the same places of the first-level cache: then one at a time is faster.
    const bool meet = wide.in * channels * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
    if (meet && (step == 1 || step == -1) && wide.count(0) <= 7) return false;
    return high.out > larger(distance, -distance);
}

}  // namespace
#endif
