// Products of rows by constant weights with seven products for eight, once or more: out = activation(bias + x * weight
// + other), for x (rows x channels) and out (rows x filters), rows one behind another. Channels-last layers of one tap
// and linear maps are that.
//
// The form of Winograd (of Strassen, 1969) on halves of the rows (A), channels and filters (B):
//   S1 = A21 + A22, S2 = S1 - A11, S3 = A11 - A21, S4 = A12 - S2;  T1 = B12 - B11, T2 = B22 - T1, T3 = B22 - B12,
//   U2 = A11 B11 + S2 T2, U3 = U2 + S3 T3, U4 = U2 + S1 T1;
//   C11 = A11 B11 + A12 B21, C12 = U4 + S4 B22, C21 = U3 + A22 (B21 - T2), C22 = U4 + S3 T3,
// and each of the seven again so, `levels` deep. The sums of weights are packed in advance, in float64 rounded once.
// Those of rows are made between the terms of the first two products of their level, which need none and leave loads,
// stores and additions free. Products are added from registers to all the sums that they are part of (Huang et al.,
// 2016), the last of which are finished there: bias, other map, activation.
//
// Six rows are a tile, and the halves of rows are tiles that follow one another: 2^levels tiles are a unit, on whose
// rows alone its outputs depend. So no result depends on blocks or threads. Rows beyond whole units are those of one
// more that ends with the last row; it comes after those that it shares rows with, in the same thread.
// float32; a register sums up the terms of a part of the channels.
#ifndef ATROUS_STRASSEN_H
#define ATROUS_STRASSEN_H

#include <atomic>

#include "activation.h"
#include "kernels.h"
#include "product.h"
#include "threads.h"

namespace {

constexpr int kMostLevels = 2;
constexpr int64_t kBlockTiles = 32;         // of a block of rows, at most
constexpr int64_t kBlockBytes = int64_t(ATROUS_VECTOR_BYTES == 64 ? 512 : 256) << 10;  // and of its rows: half of a second-level cache
constexpr int64_t kLeastTiles = 8;
constexpr int64_t kWidePart = 768;          // filters whose products are made at a time, at most
constexpr int64_t kPartBytes = 12 << 20;    // and of their weights
constexpr int64_t kPaddedRow = 128;         // channels from which on rows that a pass makes lie `made_step` apart
constexpr int64_t kStrassenTerms = 256;     // that one register sums up, at most

// Tiles of six rows `row` apart, the tiles `tile` apart.
template <class T> struct Tiles {
    T *at;
    int64_t row, tile;
};

template <class T> ATROUS_INLINE Tiles<const T> shifted(const Tiles<const T> &one, int64_t tile, int64_t column) {
    return {one.at + tile * one.tile + column, one.row, one.tile};
}

// What a product is added to: to = product + the sums `add`. Where `last`, that is the result; the first `given` of
// what is added are then the bias (the same for all rows) and the other map.
template <class T> struct Sink {
    Tiles<T> to;
    Tiles<const T> add[kMostLevels + 2];
    int adds, given;
    bool last;
    int64_t column;  // of the result
};

template <class T> struct Sinks {
    Sink<T> one[kMostLevels + 1];
    int count;
};

// The four sums of quarters of rows, a vector of each at a step, made between the terms of products that do not need
// them: these wait for multiplications, and leave loads, stores and additions free.
template <class T> struct RowSums {
    static constexpr int64_t L = Types<T>::lanes;
    const T *from;  // of the first quarter: the next row of it
    T *to;
    int64_t right, below, row, tile;         // to the quarters beside and below it, to the next row, and on to the next tile
    int64_t step, plane, depth, k, in_tile;  // of what is made
    int64_t rows;                            // that are left

    ATROUS_INLINE void one() {
        const int64_t at = smaller(k, depth - L);
        const T *const a = from + at;
        T *const made = to + at;
        Vec<T> sum = load(a + below) + load(a + below + right);
        store<T>(made, sum);
        Vec<T> first = load(a);
        sum -= first;
        store<T>(made + plane, sum);
        first -= load(a + below);
        store<T>(made + 2 * plane, first);
        store<T>(made + 3 * plane, load(a + right) - sum);
        k += L;
        if (k >= depth) next();
    }
    ATROUS_INLINE void next() {
        k = 0, from += row, to += step, --rows;
        if (++in_tile == kRows) in_tile = 0, from += tile;
    }
    void all() {
        if (depth >= L) {
            while (rows > 0) one();
        }
        for (; rows > 0; next()) {
            for (int64_t i = 0; i < depth; ++i) {
                const T sum = from[below + i] + from[below + right + i];
                to[i] = sum;
                to[plane + i] = sum - from[i];
                to[2 * plane + i] = from[i] - from[below + i];
                to[3 * plane + i] = from[right + i] - (sum - from[i]);
            }
        }
    }
};

// The rows: `x[0]`, or what an element-wise pass makes of `x`, a block at a time.
template <class T> struct Entering {
    const atrous_elementwise *before;
    const T *const *x;
    atrous::LinesOf lines;
};

template <class T> struct Strassen {
    const atrous_strassen_layer *layer;
    Entering<T> entering;
    const T *packed, *bias, *other;
    T *out;
    int64_t units, blocks;
    int64_t unit;  // rows
    std::atomic<int> *code;
};

inline int64_t products_of(int levels) { return levels == 0 ? 1 : 7 * products_of(levels - 1); }

// The parts of the filters, each of whole vectors in each of its 2^levels pieces.
struct WideParts {
    int64_t vectors, pieces, split;  // of one piece of all parts together
    WideParts(const atrous_strassen_layer &l, int64_t lanes) {
        split = int64_t(1) << l.levels;
        vectors = ceil_div(l.filters, lanes * split);
        const int64_t weights = products_of(l.levels) * (l.channels >> l.levels) * vectors * lanes * 4;
        pieces = larger(ceil_div(vectors * split * lanes, kWidePart), ceil_div(weights, kPartBytes));
        if (pieces > vectors) pieces = vectors;
    }
    int64_t begin(int64_t i) const { return vectors / pieces * i + smaller(i, vectors % pieces); }
};

// How far apart rows lie that a pass made: not at a multiple of a page, as of many channels they would.
template <class T> int64_t made_step(const atrous_strassen_layer &l) {
    constexpr int64_t L = Types<T>::lanes;
    return l.channels < kPaddedRow ? l.channels : ceil_div(l.channels, L) * L + L;
}

ATROUS_INLINE int64_t panels_in(int64_t vectors) { return ceil_div(vectors, kPanel); }
ATROUS_INLINE int64_t panel_begin(int64_t vectors, int64_t i) {
    const int64_t all = panels_in(vectors);
    return vectors / all * i + smaller(i, vectors % all);
}

template <class T, int N, int A>
ATROUS_INLINE void give_sums(const Sums<T, kRows, N> &sum, const Sink<T> &sink, int64_t tile, int64_t column, bool relu) {
    constexpr int64_t L = Types<T>::lanes;
    const T *more[A + 1];
    ATROUS_UNROLL(8)
    for (int i = 0; i < A; ++i) more[i] = sink.add[i].at + tile * sink.add[i].tile + column;
    T *to = sink.to.at + tile * sink.to.tile + column;
    ATROUS_UNROLL(8)
    for (int r = 0; r < kRows; ++r) {
        ATROUS_UNROLL(8)
        for (int n = 0; n < N; ++n) {
            Vec<T> value = sum[r][n];
            ATROUS_UNROLL(8)
            for (int i = 0; i < A; ++i) value += load(more[i] + r * sink.add[i].row + n * L);
            store<T>(to + r * sink.to.row + n * L, relu ? choose<T>(value < T(0), Vec<T>{}, value) : value);
        }
    }
}

template <class T, int N>
ATROUS_INLINE void give(const Sums<T, kRows, N> &sum, const Sink<T> &sink, int64_t tile, int64_t column, bool relu) {
    switch (sink.adds) {
        case 0: return give_sums<T, N, 0>(sum, sink, tile, column, relu);
        case 1: return give_sums<T, N, 1>(sum, sink, tile, column, relu);
        case 2: return give_sums<T, N, 2>(sum, sink, tile, column, relu);
        case 3: return give_sums<T, N, 3>(sum, sink, tile, column, relu);
        default: return give_sums<T, N, 4>(sum, sink, tile, column, relu);
    }
}

// Six rows from `first` on, whose last columns the result does not have.
template <class T>
__attribute__((noinline)) void finish_some(const Strassen<T> &s, const T *from, int64_t step, int64_t first, int64_t column) {
    const atrous_strassen_layer &l = *s.layer;
    const int64_t count = l.filters - column;
    for (int64_t line = first; line < first + kRows && count > 0; ++line, from += step) {
        T row[kPanel * Types<T>::lanes];
        for (int64_t n = 0; n < count; ++n) {
            T value = from[n];
            if (s.bias != nullptr) value += s.bias[column + n];
            if (s.other != nullptr) value += s.other[line * l.filters + column + n];
            row[n] = l.activation == ATROUS_RELU && value < T(0) ? T(0) : value;
        }
        if (l.activation > ATROUS_RELU) activate<T>(row, count, activation_of(l));
        memcpy(s.out + line * l.step + column, row, sizeof(T) * static_cast<size_t>(count));
    }
}

// What the sums of a tile will be added to comes nearer while they are made.
template <class T, int N> ATROUS_INLINE void fetch_sinks(const Sinks<T> &sinks, int64_t tile, int64_t column) {
    constexpr int64_t L = Types<T>::lanes;
    for (int i = 0; i < sinks.count; ++i) {
        const Sink<T> &sink = sinks.one[i];
        for (int r = 0; r < kRows; ++r) {
            const T *to = sink.to.at + tile * sink.to.tile + r * sink.to.row + column;
            ATROUS_UNROLL(8)
            for (int n = 0; n < N; ++n) __builtin_prefetch(to + n * L, 1);
        }
        for (int j = 0; j < sink.adds; ++j) {
            for (int r = 0; r < kRows; ++r) {
                const T *more = sink.add[j].at + tile * sink.add[j].tile + r * sink.add[j].row + column;
                ATROUS_UNROLL(8)
                for (int n = 0; n < N; ++n) __builtin_prefetch(more + n * L);
            }
        }
    }
}

// What a thread works in.
template <class T> struct StrassenMemory {
    T *partial;
    RowSums<T> sums[kMostLevels];
    T *rows[kMostLevels], *first[kMostLevels], *second[kMostLevels];
    int64_t row_step[kMostLevels], step[kMostLevels], plane[kMostLevels];

    // Sums that can be made meanwhile; null where there are none.
    RowSums<T> *pending() {
        for (RowSums<T> &one : sums) {
            if (one.rows > 0 && one.depth >= Types<T>::lanes) return &one;
        }
        return nullptr;
    }
};

// A panel of weights that is fetched while another is multiplied, one line a term: where it is, and where it ends. Of more
// than that, rows would be driven out of the second-level cache.
struct Ahead {
    const char *at, *end;
    // The lines to fetch with so many terms of the panel at `own`: behind the end what is at hand anyway.
    template <class T> ATROUS_INLINE const char *next(int64_t terms, const T *own) {
        const char *const now = at < end ? at : reinterpret_cast<const char *>(own);
        at += terms * 64;
        return now;
    }
};

constexpr int64_t kTermsBetween = 4;  // two steps of sums of rows

// Adds `terms` products to the sums, and makes sums of rows meanwhile.
template <class T, int N>
ATROUS_INLINE void add_terms_and(Sums<T, kRows, N> &sum, const T *a, int64_t a_row, const T *b, int64_t terms,
                                 const char *ahead, RowSums<T> *meanwhile) {
    constexpr int64_t W = N * Types<T>::lanes;
    RowSums<T> rows = *meanwhile;
    int64_t k = 0;
    for (; k + kTermsBetween <= terms && rows.rows > 0; k += kTermsBetween) {
        add_terms<T, kRows, N>(sum, a + k, a_row, 1, b + k * W, W, kTermsBetween, ahead + k * 64);
        rows.one();
    }
    *meanwhile = rows;
    add_terms<T, kRows, N>(sum, a + k, a_row, 1, b + k * W, W, terms - k, ahead + k * 64);
}

// One panel of weights by all tiles.
template <class T, int N>
__attribute__((noinline)) void strassen_panel(const Strassen<T> &s, StrassenMemory<T> &memory, const Tiles<const T> &a,
                                              int64_t tiles, const T *b, int64_t depth, const Sinks<T> &sinks,
                                              int64_t column) {
    constexpr int64_t L = Types<T>::lanes, W = N * L;
    const int64_t parts = ceil_div(depth, kStrassenTerms);
    Ahead panel{reinterpret_cast<const char *>(b + depth * W), reinterpret_cast<const char *>(b + 2 * depth * W)};
    for (int64_t part = 0, k = 0; part < parts; ++part) {
        const int64_t terms = depth / parts + (part < depth % parts);
        for (int64_t tile = 0; tile < tiles; ++tile) {
            Sums<T, kRows, N> sum;
            begin_sums<T, kRows, N>(sum, nullptr);
            if (part + 1 == parts) fetch_sinks<T, N>(sinks, tile, column);
            const T *from = a.at + tile * a.tile + k;
            const char *const ahead = panel.next(terms, b + k * W);
            if (RowSums<T> *meanwhile = memory.pending()) {
                add_terms_and<T, N>(sum, from, a.row, b + k * W, terms, ahead, meanwhile);
            } else {
                add_terms<T, kRows, N>(sum, from, a.row, 1, b + k * W, W, terms, ahead);
            }
            T *kept = memory.partial + tile * kRows * W;
            if (part > 0) {
                ATROUS_UNROLL(8)
                for (int r = 0; r < kRows; ++r) {
                    ATROUS_UNROLL(8)
                    for (int n = 0; n < N; ++n) sum[r][n] += load(kept + r * W + n * L);
                }
            }
            if (part + 1 < parts) {
                store_sums<T, kRows, N>(sum, kept, W, nullptr, 0);
                continue;
            }
            for (int i = 0; i < sinks.count; ++i) {
                const Sink<T> &sink = sinks.one[i];
                const int64_t first = sink.column + column;
                if (!sink.last) {
                    give<T, N>(sum, sink, tile, column, false);
                } else if (first + W <= s.layer->filters) {
                    give<T, N>(sum, sink, tile, column, s.layer->activation == ATROUS_RELU);
                    if (s.layer->activation <= ATROUS_RELU) continue;
                    T *row = sink.to.at + tile * sink.to.tile + column;
                    for (int r = 0; r < kRows; ++r, row += sink.to.row) activate<T>(row, W, activation_of(*s.layer));
                } else {
                    Sink<T> some = sink;
                    some.to = {kept, W, 0};
                    some.adds -= some.given;
                    for (int j = 0; j < some.adds; ++j) some.add[j] = shifted(sink.add[j + some.given], tile, column);
                    give<T, N>(sum, some, 0, 0, false);
                    finish_some<T>(s, kept, W, (sink.to.at + tile * sink.to.tile + column - s.out) / s.layer->step, first);
                }
            }
        }
        k += terms;
    }
}

template <class T>
void multiply_leaf(const Strassen<T> &s, StrassenMemory<T> &memory, const Tiles<const T> &a, int64_t tiles,
                   const T *b, int64_t depth, int64_t vectors, const Sinks<T> &sinks) {
    constexpr int64_t L = Types<T>::lanes;
    const int64_t panels = panels_in(vectors);
    for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t begin = panel_begin(vectors, panel), count = panel_begin(vectors, panel + 1) - begin;
        const T *from = b + begin * L * depth;
        switch (count) {
            case 1: strassen_panel<T, 1>(s, memory, a, tiles, from, depth, sinks, begin * L); break;
            case 2: strassen_panel<T, 2>(s, memory, a, tiles, from, depth, sinks, begin * L); break;
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
            case 3: strassen_panel<T, 3>(s, memory, a, tiles, from, depth, sinks, begin * L); break;
            default: strassen_panel<T, 4>(s, memory, a, tiles, from, depth, sinks, begin * L); break;
#endif
        }
    }
}

template <class T> Sinks<T> quarter(const Sinks<T> &all, int down, int right, int64_t width, const Tiles<T> &add) {
    Sinks<T> made = all;
    for (int i = 0; i < made.count; ++i) {
        Sink<T> &one = made.one[i];
        one.to = {one.to.at + down * one.to.tile + right * width, one.to.row, 2 * one.to.tile};
        for (int j = 0; j < one.adds; ++j) {
            Tiles<const T> &other = one.add[j];
            other = {other.at + down * other.tile + right * width, other.row, 2 * other.tile};
        }
        one.column += right * width;
        one.add[one.adds++] = {add.at, add.row, add.tile};
    }
    return made;
}

template <class T> Sinks<T> sink_of(const Tiles<T> &to, const Tiles<T> *add) {
    Sinks<T> made{};
    made.count = 1;
    made.one[0].to = to;
    if (add != nullptr) {
        made.one[0].adds = 1;
        made.one[0].add[0] = {add->at, add->row, add->tile};
    }
    return made;
}

// Products of `tiles` by weights from `b` on, of `vectors` for each of 2^levels pieces, to the sinks. Weights lie by
// product, panel, term.
template <class T>
void multiply_level(const Strassen<T> &s, StrassenMemory<T> &memory, int level, const Tiles<const T> &a,
                    int64_t tiles, const T *b, int64_t depth, int64_t vectors, const Sinks<T> &sinks) {
    constexpr int64_t L = Types<T>::lanes;
    if (level == 0) return multiply_leaf(s, memory, a, tiles, b, depth, vectors, sinks);
    const int inner = level - 1;
    int64_t leaf = depth * vectors * L >> level;  // floats of one product of the innermost level
    for (int i = 0; i < inner; ++i) leaf = leaf * 7;
    const int64_t half = depth / 2, width = (vectors << inner) * L;
    const Tiles<const T> part[4] = {{a.at, a.row, 2 * a.tile},
                                    {a.at + half, a.row, 2 * a.tile},
                                    {a.at + a.tile, a.row, 2 * a.tile},
                                    {a.at + a.tile + half, a.row, 2 * a.tile}};
    tiles /= 2;
    const int64_t step = memory.row_step[inner], plane = memory.plane[inner];
    RowSums<T> &sums = memory.sums[inner];
    sums = {a.at, memory.rows[inner], half, a.tile, a.row, 2 * a.tile - kRows * a.row, step, plane, half, 0, 0, tiles * kRows};
    const auto made = [&](int i) { return Tiles<const T>{memory.rows[inner] + i * plane, step, kRows * step}; };
    const Tiles<T> u{memory.first[inner], memory.step[inner], kRows * memory.step[inner]};
    const Tiles<T> v{memory.second[inner], memory.step[inner], kRows * memory.step[inner]};
    const Sinks<T> begin_u = sink_of<T>(u, nullptr), more_u = sink_of<T>(u, &u), to_v = sink_of<T>(v, &u);
    // A11 B11
    multiply_level(s, memory, inner, part[0], tiles, b, half, vectors, begin_u);
    // A12 B21
    b += leaf;
    multiply_level(s, memory, inner, part[1], tiles, b, half, vectors, quarter(sinks, 0, 0, width, u));
    sums.all();
    // S2 T2
    b += leaf;
    multiply_level(s, memory, inner, made(1), tiles, b, half, vectors, more_u);
    // S1 T1
    b += leaf;
    multiply_level(s, memory, inner, made(0), tiles, b, half, vectors, to_v);
    // S4 B22
    b += leaf;
    multiply_level(s, memory, inner, made(3), tiles, b, half, vectors, quarter(sinks, 0, 1, width, v));
    // S3 T3
    b += leaf;
    Sinks<T> both = quarter(sinks, 1, 1, width, v);
    both.one[both.count++] = more_u.one[0];
    multiply_level(s, memory, inner, made(2), tiles, b, half, vectors, both);
    // A22 (B21 - T2)
    b += leaf;
    multiply_level(s, memory, inner, part[3], tiles, b, half, vectors, quarter(sinks, 1, 0, width, u));
}

template <class T> bool place_strassen(const Strassen<T> &s, int64_t tiles, StrassenMemory<T> &memory) {
    constexpr int64_t L = Types<T>::lanes;
    const atrous_strassen_layer &l = *s.layer;
    const WideParts parts(l, L);
    const int64_t widest = ceil_div(parts.vectors, parts.pieces) * L;
    int64_t floats = tiles * kRows * kPanel * L;
    int64_t at[3 * kMostLevels] = {};
    for (int i = 0; i < l.levels; ++i) {
        // Level i: tiles / 2^(levels - i) of so many columns and terms.
        const int64_t rows = (tiles >> (l.levels - i)) * kRows;
        memory.step[i] = (widest << i) + L;
        memory.row_step[i] = ceil_div(l.channels >> (l.levels - i), L) * L + L;
        memory.plane[i] = rows * memory.row_step[i] + L;
        at[3 * i] = floats, floats += 4 * memory.plane[i];
        at[3 * i + 1] = floats, floats += rows * memory.step[i];
        at[3 * i + 2] = floats, floats += rows * memory.step[i];
    }
    T *const begin = static_cast<T *>(atrous::scratch(0, sizeof(T) * static_cast<size_t>(floats)));
    if (begin == nullptr) return false;
    memory.partial = begin;
    for (int i = 0; i < l.levels; ++i) {
        memory.rows[i] = begin + at[3 * i];
        memory.first[i] = begin + at[3 * i + 1];
        memory.second[i] = begin + at[3 * i + 2];
    }
    return true;
}

// Units [first, first + count) of rows, the first of them at `row`, by one part of the filters. `made` is where rows come
// to that a pass makes.
template <class T>
int multiply_units(const Strassen<T> &s, StrassenMemory<T> &memory, const WideParts &parts, int64_t part, int64_t row,
                   int64_t count, T *made) {
    constexpr int64_t L = Types<T>::lanes;
    const atrous_strassen_layer &l = *s.layer;
    const int64_t step = s.entering.before != nullptr ? made_step<T>(l) : l.channels;
    const T *rows = made;
    if (s.entering.before != nullptr) {
        const int code = s.entering.lines(s.entering.before, s.entering.x, row, count * s.unit, made, step);
        if (code != ATROUS_OK) return code;
    } else {
        rows = s.entering.x[0] + row * l.channels;
    }
    const Tiles<const T> a{rows, step, kRows * step};
    const int64_t begin = parts.begin(part), vectors = parts.begin(part + 1) - begin;
    const int64_t column = begin * parts.split * L;
    Sinks<T> sinks = sink_of<T>({s.out + row * l.step + column, l.step, kRows * l.step}, nullptr);
    Sink<T> &result = sinks.one[0];
    result.last = true;
    result.column = column;
    if (s.bias != nullptr) result.add[result.given++] = {s.bias + column, 0, 0};
    if (s.other != nullptr) result.add[result.given++] = {s.other + row * l.filters + column, l.filters, kRows * l.filters};
    result.adds = result.given;
    const T *b = s.packed + products_of(l.levels) * (l.channels >> l.levels) * begin * L;
    multiply_level(s, memory, l.levels, a, count << l.levels, b, l.channels, vectors, sinks);
    return ATROUS_OK;
}

// Blocks of rows, by one part of the filters after the other: so its weights stay in a cache that threads share.
template <class T> void strassen_blocks(void *context, int64_t begin, int64_t end) {
    const Strassen<T> &s = *static_cast<const Strassen<T> *>(context);
    const atrous_strassen_layer &l = *s.layer;
    const WideParts parts(l, Types<T>::lanes);
    const int64_t most = ceil_div(s.units, s.blocks);
    StrassenMemory<T> memory{};
    T *made = nullptr;
    if (s.entering.before != nullptr) {
        const int64_t floats = most * s.unit * made_step<T>(l);
        made = static_cast<T *>(atrous::scratch(2, sizeof(T) * static_cast<size_t>(floats)));
    }
    if ((s.entering.before != nullptr && made == nullptr) || !place_strassen(s, most << l.levels, memory)) {
        return s.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    }
    for (int64_t item = begin; item < end; ++item) {
        const int64_t part = item / s.blocks, block = item % s.blocks;
        const auto from = [&](int64_t i) { return s.units / s.blocks * i + smaller(i, s.units % s.blocks); };
        const int64_t first = from(block), count = from(block + 1) - first;
        int code = multiply_units(s, memory, parts, part, first * s.unit, count, made);
        if (block + 1 == s.blocks && s.units * s.unit < l.rows && code == ATROUS_OK) {
            code = multiply_units(s, memory, parts, part, l.rows - s.unit, 1, made);
        }
        if (code != ATROUS_OK) return s.code->store(code, std::memory_order_relaxed);
    }
}

template <class T>
int forward_strassen(const atrous_strassen_layer &l, const Entering<T> &entering, const T *packed, const T *bias,
                     const T *other, T *out) {
    std::atomic<int> code{ATROUS_OK};
    Strassen<T> s{&l, entering, packed, bias, other, out, 0, 1, int64_t(kRows) << l.levels, &code};
    s.units = l.rows / s.unit;
    const int64_t row = l.channels * static_cast<int64_t>(sizeof(T));
    const int64_t tiles = smaller(kBlockTiles, larger<int64_t>(kLeastTiles, kBlockBytes / (kRows * row)));
    s.blocks = ceil_div(s.units, larger<int64_t>(1, tiles >> l.levels));
    if (l.threads > 1) s.blocks = smaller(s.units, ceil_div(s.blocks, l.threads) * l.threads);
    const int64_t parts = WideParts(l, Types<T>::lanes).pieces;
    atrous::parallel(s.blocks * parts, l.threads, strassen_blocks<T>, &s);
    return code.load(std::memory_order_relaxed);
}

// The weight of block (k, n) of the halves in each of the seven products, in the order in which they are taken.
constexpr int kShare[7][2][2] = {{{1, 0}, {0, 0}},  {{0, 0}, {1, 0}},  {{1, -1}, {0, 1}}, {{-1, 1}, {0, 0}},
                                 {{0, 0}, {0, 1}}, {{0, -1}, {0, 1}}, {{-1, 1}, {1, -1}}};

template <class T> struct StrassenPacking {
    const atrous_strassen_layer *layer;
    const T *weight;
    T *packed;           // of this part
    int64_t column, vectors, depth;
};

// Products [begin, end) of a part.
template <class T> void pack_products(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const StrassenPacking<T> &p = *static_cast<const StrassenPacking<T> *>(context);
    const atrous_strassen_layer &l = *p.layer;
    const int split = 1 << l.levels;
    for (int64_t product = begin; product < end; ++product) {
        T *to = p.packed + product * p.depth * p.vectors * L;
        // Pieces of channels and filters; of the innermost level is the lowest bit.
        int64_t from[1 << 2 * kMostLevels], filter[1 << 2 * kMostLevels];
        double share[1 << 2 * kMostLevels];
        int shares = 0;
        for (int i = 0; i < split; ++i) {
            for (int j = 0; j < split; ++j) {
                int64_t left = product;
                int one = 1;
                for (int level = 0; level < l.levels; ++level, left /= 7) one *= kShare[left % 7][i >> level & 1][j >> level & 1];
                if (one == 0) continue;
                filter[shares] = p.column + j * p.vectors * L;
                from[shares] = i * p.depth;
                share[shares++] = one;
            }
        }
        for (int64_t panel = 0; panel < panels_in(p.vectors); ++panel) {
            const int64_t first = panel_begin(p.vectors, panel) * L, width = panel_begin(p.vectors, panel + 1) * L - first;
            for (int64_t n = 0; n < width; ++n) {
                for (int64_t k = 0; k < p.depth; ++k) {
                    double sum = 0;
                    for (int i = 0; i < shares; ++i) {
                        const int64_t row = filter[i] + first + n;
                        if (row < l.filters) sum += share[i] * static_cast<double>(p.weight[row * l.channels + from[i] + k]);
                    }
                    to[k * width + n] = static_cast<T>(sum);
                }
            }
            to += p.depth * width;
        }
    }
}

template <class T> int pack_strassen(const atrous_strassen_layer &l, const T *weight, T *packed) {
    constexpr int64_t L = Types<T>::lanes;
    const WideParts parts(l, L);
    const int64_t products = products_of(l.levels), depth = l.channels >> l.levels;
    for (int64_t part = 0; part < parts.pieces; ++part) {
        const int64_t begin = parts.begin(part), vectors = parts.begin(part + 1) - begin;
        StrassenPacking<T> p{&l, weight, packed, begin * parts.split * L, vectors, depth};
        atrous::parallel(products, l.threads, pack_products<T>, &p);
        packed += products * depth * vectors * L;
    }
    return ATROUS_OK;
}

}  // namespace
#endif
