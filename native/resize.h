// Bilinear resizing, float32: along the height first, then along the width.
//
// Layout: (planes, height, width), dense, or with channels last, where positions of the result may lie apart, as those
// of a part of the channels of a larger map do. Which two inputs an output lies between, and with which weights, comes in
// tables, so that they are those of whoever asks. A row of outputs is a blend of two rows in scratch memory, which is
// then read run by run: outputs between the same two inputs lie side by side, and blend two numbers that are held in
// registers. A vector is written for each run, its rest by the next one; no number is gathered. With channels last a
// vector is of one position's channels.
// Accumulator: float32; error at most 3 units in the last place of the largest of the four.
// Threads: one row of outputs at a time, so no result depends on them.
#ifndef ATROUS_RESIZE_H
#define ATROUS_RESIZE_H

#include <atomic>

#include "abi.h"
#include "threads.h"
#include "vector.h"

namespace {

template <class T> struct Resize {
    const atrous_resize_layer *layer;
    const T *x;
    T *out;
    std::atomic<int> *code;
};

// One row between two of the inputs, and the last position once more behind it.
template <class T>
void blend_rows(const T *one, const T *two, T first, T second, int64_t count, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    const Vec<T> a = splat(first), b = splat(second);
    int64_t at = 0;
    for (; at + L <= count; at += L) store<T>(to + at, a * load(one + at) + b * load(two + at));
    for (; at < count; ++at) to[at] = first * one[at] + second * two[at];
    to[count] = to[count - 1];
}

// The outputs of a row, and less than `W` behind them: vectors of about a run, since each meets cache lines of its own.
template <class T, int W>
void blend_columns(const atrous_resize_layer &layer, const T *row, T *to) {
    typedef T V __attribute__((vector_size(W * sizeof(T))));
    typedef T Loose __attribute__((vector_size(W * sizeof(T)), aligned(sizeof(T)), may_alias));
    const T *first = layer.column_weights, *second = first + layer.out[1] + Types<T>::lanes;
    int64_t n = 0;
    for (int64_t run = 0; run < layer.runs; ++run) {
        const int64_t at = layer.run_inputs[run], end = layer.run_starts[run + 1];
        const V one = row[at] - V{}, two = row[at + 1] - V{};
        for (; n < end; n += W) {
            *reinterpret_cast<Loose *>(to + n) = one * *reinterpret_cast<const Loose *>(first + n) +
                                                 two * *reinterpret_cast<const Loose *>(second + n);
        }
        n = end;
    }
}

template <class T> using Columns = void (*)(const atrous_resize_layer &, const T *, T *);

template <class T> void resize_rows(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const Resize<T> &r = *static_cast<const Resize<T> *>(context);
    const atrous_resize_layer &layer = *r.layer;
    const int64_t high = layer.out[0], wide = layer.out[1], width = layer.in[1];
    T *row = static_cast<T *>(atrous::scratch(0, sizeof(T) * (width + 1)));
    T *made = static_cast<T *>(atrous::scratch(1, sizeof(T) * (wide + L)));
    if (row == nullptr || made == nullptr) return r.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    constexpr int kHalf = L > 4 ? L / 2 : 4;
    const int64_t run = wide / layer.runs;
    const Columns<T> columns = run <= 4 ? blend_columns<T, 4> : run <= kHalf ? blend_columns<T, kHalf> : blend_columns<T, L>;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t plane = item / high, line = item % high;
        const T *from = r.x + plane * layer.in[0] * width;
        const int64_t at = layer.row_inputs[line], next = smaller(at + 1, layer.in[0] - 1);
        blend_rows<T>(from + at * width, from + next * width, layer.row_weights[line], layer.row_weights[high + line],
                      width, row);
        columns(layer, row, made);
        memcpy(r.out + item * wide, made, sizeof(T) * wide);
    }
}

// The outputs of a row of positions of `channels` numbers, from a row whose last position lies there twice.
template <class T> void blend_positions(const atrous_resize_layer &layer, const T *row, T *to) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    const int64_t channels = layer.channels, step = layer.step, last = layer.out[1] - 1;
    const T *first = layer.column_weights, *second = first + layer.out[1] + L;
    for (int64_t run = 0; run < layer.runs; ++run) {
        const int64_t start = layer.run_starts[run], end = layer.run_starts[run + 1];
        const T *one = row + layer.run_inputs[run] * channels, *two = one + channels;
        if (channels >= L) {
            for (int64_t c = 0; c < channels; c += L) {
                const int64_t from = smaller(c, channels - L);
                const V a = load(one + from), b = load(two + from);
                for (int64_t n = start; n < end; ++n) store<T>(to + n * step + from, first[n] * a + second[n] * b);
            }
            continue;
        }
        const V a = load(one), b = load(two);
        // What is written too far belongs to the positions behind, where there is no gap, which are written later.
        const int64_t covered = step > channels ? start : smaller(end, last - L / channels);
        int64_t n = start;
        for (; n < covered; ++n) store<T>(to + n * step, first[n] * a + second[n] * b);
        for (; n < end; ++n) store_some<T>(to + n * step, first[n] * a + second[n] * b, channels);
    }
}

template <class T> void resize_positions(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const Resize<T> &r = *static_cast<const Resize<T> *>(context);
    const atrous_resize_layer &layer = *r.layer;
    const int64_t high = layer.out[0], channels = layer.channels, width = layer.in[1] * channels;
    // Vectors are read whole.
    T *row = static_cast<T *>(atrous::scratch(0, sizeof(T) * static_cast<size_t>(width + channels + L)));
    if (row == nullptr) return r.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    memset(row + width + channels, 0, sizeof(T) * L);
    for (int64_t item = begin; item < end; ++item) {
        const int64_t plane = item / high, line = item % high;
        const T *from = r.x + plane * layer.in[0] * width;
        const int64_t at = layer.row_inputs[line], next = smaller(at + 1, layer.in[0] - 1);
        blend_rows<T>(from + at * width, from + next * width, layer.row_weights[line], layer.row_weights[high + line],
                      width, row);
        memcpy(row + width, row + width - channels, sizeof(T) * static_cast<size_t>(channels));
        blend_positions(layer, row, r.out + item * layer.out[1] * layer.step);
    }
}

template <class T> int resized(const atrous_resize_layer &layer, const T *x, T *out) {
    std::atomic<int> code{ATROUS_OK};
    Resize<T> r{&layer, x, out, &code};
    const auto rows = layer.step > 1 ? resize_positions<T> : resize_rows<T>;
    atrous::parallel(layer.planes * layer.out[0], layer.threads, rows, &r);
    return code.load(std::memory_order_relaxed);
}

}  // namespace
#endif
