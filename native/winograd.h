// Dense convolutions by minimal filtering on the phases of their dilation, channels last.
//
// Along an axis of dilation d, outputs p, p + d, p + 2 d, ... read inputs that lie d apart: an undilated convolution.
// Tiles of m outputs of one phase take A = m + r - 1 products for each pair of channels (points.h). Kernels of more
// taps, and strides, are sums of parts of r taps (parts.h): each part has input channels of its own, which are the
// same ones read from elsewhere, so that the products of one point sum over all parts. Steps:
//   1. every tile's A x A inputs, transformed, go to `values`: for each point one matrix (tiles x channels);
//   2. for each point, values times the transformed weights: one plain product (product.h);
//   3. the products are transformed back, plus bias and another map, then the activation.
// A kernel of one tap has one point and nothing to transform: its rows are multiplied where they lie.
// Phases that do not divide end with tiles of another size, and short ones that read nothing beyond the map take closed
// tiles (points.h): each pair of kinds, one along each axis, is a layer of its own with weights of its own.
// Weights come packed (winograd_pack): panel of output channels, point, input channel, channel of the panel.
//
// Memory: a block of a few dozen tiles at a time, so that its values and products stay in the caches; the weights are
// streamed anew for each block, which costs nothing as long as so many tiles meet each of them. Each thread takes whole
// blocks. No result depends on the threads.
#ifndef ATROUS_WINOGRAD_H
#define ATROUS_WINOGRAD_H

#include <atomic>

#include "activation.h"
#include "points.h"
#include "product.h"
#include "threads.h"
#include "winograd_tiles.h"

namespace {

constexpr int64_t kOwn = int64_t(640) << 10;     // of products of a block by a panel: most of a second-level cache
constexpr int64_t kBoth = int64_t(960) << 10;    // of these and of the block's values, where that leaves enough tiles
constexpr int64_t kLeast = 24;                   // tiles that meet each weight
constexpr int64_t kMostBlock = 96;               // tiles of a block
constexpr int64_t kShared = int64_t(256) << 20;  // of the values of a block, at most, however many channels
constexpr int64_t kAhead = 4;                    // vectors of an input that are fetched in advance

// Meanwhile fetches what is read soon, from `soon` on: no hardware follows 64 pixels at once.
template <class T, int A>
__attribute__((noinline)) void gather_points(const T *const *from, int64_t channel, T *to, int rows,
                                             const T *const *soon, int64_t soon_channel) {
    constexpr int64_t L = Types<T>::lanes;
    constexpr int P = products_of(A);
    for (int row = 0; row < rows; ++row) {
        Vec<T> d[A], e[P];
        ATROUS_UNROLL(8)
        for (int i = 0; i < A; ++i) {
            __builtin_prefetch(soon[row * A + i] + soon_channel);
            d[i] = load(from[row * A + i] + channel);
        }
        to_points<T, A>(d, e);
        ATROUS_UNROLL(8)
        for (int i = 0; i < P; ++i) store<T>(to + (row * P + i) * L, e[i]);
    }
}

template <class T, int A>
__attribute__((noinline)) void spread_points(const T *from, T *to, int64_t plane, int columns) {
    constexpr int64_t L = Types<T>::lanes;
    constexpr int P = products_of(A);
    for (int column = 0; column < columns; ++column) {
        Vec<T> d[A], e[P];
        ATROUS_UNROLL(8)
        for (int i = 0; i < A; ++i) d[i] = load(from + (i * columns + column) * L);
        to_points<T, A>(d, e);
        ATROUS_UNROLL(8)
        for (int i = 0; i < P; ++i) store<T>(to + (i * columns + column) * plane, e[i]);
    }
}

// From the products of form A, which lie `a` apart, to M values that lie `b` apart, `count` times.
template <class T, int A, int M>
__attribute__((noinline)) void back(const T *from, int64_t a, int64_t from_next, T *to, int64_t b, int64_t to_next,
                                    int count) {
    constexpr int P = products_of(A);
    for (int one = 0; one < count; ++one) {
        Vec<T> e[P], y[M];
        ATROUS_UNROLL(8)
        for (int i = 0; i < P; ++i) e[i] = load(from + one * from_next + i * a);
        from_points<T, A, M>(e, y);
        ATROUS_UNROLL(8)
        for (int i = 0; i < M; ++i) store<T>(to + one * to_next + i * b, y[i]);
    }
}

template <class T> using Gathers = void (*)(const T *const *, int64_t, T *, int, const T *const *, int64_t);
template <class T> using Spreads = void (*)(const T *, T *, int64_t, int);
template <class T> using Backs = void (*)(const T *, int64_t, int64_t, T *, int64_t, int64_t, int);

#define ATROUS_BY_FORM(form, name)          \
    switch (form) {                         \
        case 1: return name<T, 1>;          \
        case 2: return name<T, 2>;          \
        case 3: return name<T, 3>;          \
        case 4: return name<T, 4>;          \
        case 5: return name<T, 5>;          \
        case 6: return name<T, 6>;          \
        case 7: return name<T, 7>;          \
        case 8: return name<T, 8>;          \
        default: return nullptr;            \
    }

template <class T> Gathers<T> gathers(int form) { ATROUS_BY_FORM(form, gather_points) }
template <class T> Spreads<T> spreads(int form) { ATROUS_BY_FORM(form, spread_points) }
#undef ATROUS_BY_FORM

template <class T> Backs<T> backs(int form, int outputs) {
    switch (form * 10 + outputs) {
        case 11: return back<T, 1, 1>;
        case 22: return back<T, 2, 2>;
        case 33: return back<T, 3, 3>;
        case 42: return back<T, 4, 2>;
        case 43: return back<T, 4, 3>;
        case 52: return back<T, 5, 2>;
        case 53: return back<T, 5, 3>;
        case 54: return back<T, 5, 4>;
        case 62: return back<T, 6, 2>;
        case 63: return back<T, 6, 3>;
        case 64: return back<T, 6, 4>;
        case 65: return back<T, 6, 5>;
        case 73: return back<T, 7, 3>;
        case 74: return back<T, 7, 4>;
        case 75: return back<T, 7, 5>;
        case 76: return back<T, 7, 6>;
        case 84: return back<T, 8, 4>;
        case 85: return back<T, 8, 5>;
        case 86: return back<T, 8, 6>;
        case 87: return back<T, 8, 7>;
        default: return nullptr;
    }
}

template <class T> struct Winograd {
    TileAxis high, wide;
    int64_t batch, channels, filters;  // `channels` in, `filters` out
    int64_t lined;                     // channels, rounded up to whole vectors
    int64_t depth;                     // of all parts: terms of each product
    Activation activation;
    const T *x, *weight, *bias, *other;
    int64_t weights;  // of the kinds before this one
    T *out;
    const T *zeros;     // `lined` of them
    T *values;          // (points, tiles of a block, depth): planes `plane` apart, rows `row` apart
    int64_t plane, row;
    int64_t tile0, tiles;   // of this block
    int64_t block;          // tiles of a block
    int64_t panel, panels;  // output channels of one product, and how many such panels
    int64_t each;           // output channels of a phase: all where there is one
    bool in_place;          // of one point: rows are multiplied where they lie
    Gathers<T> gather;
    Spreads<T> spread;
    Backs<T> back_high, back_wide;

    int points() const { return high.points * wide.points; }
    int parts() const { return high.parts * wide.parts; }
    int64_t all_tiles() const { return batch * high.tiles * wide.tiles; }
    // Products of a block by a panel: planes lie a cache line apart more than they need, so that they do not share sets.
    int64_t sums_plane() const { return block * panel + 16; }
};

// Where a tile lies: its image, and its number along each axis.
template <class T> struct Where {
    int64_t image, line, column;
    Where(const Winograd<T> &w, int64_t tile) {
        const int64_t index = w.tile0 + tile;
        column = index % w.wide.tiles;
        line = index / w.wide.tiles % w.high.tiles;
        image = index / w.wide.tiles / w.high.tiles;
    }
    // The first channel of output (i, j) of the tile in a map like `out`.
    int64_t output(const Winograd<T> &w, int64_t i, int64_t j) const {
        const int64_t h = w.high.first[line] + i * w.high.apart, v = w.wide.first[column] + j * w.wide.apart;
        return ((image * w.high.out + h) * w.wide.out + v) * w.filters;
    }
};

// Where the inputs of one part of a tile lie; those in the padding are zeros.
template <class T> void find_inputs(const Winograd<T> &w, int64_t item, const T **from) {
    const int part = static_cast<int>(item % w.parts());
    const Where<T> place(w, item / w.parts());
    const int64_t top = w.high.first[place.line] * w.high.stride - w.high.pad + w.high.reads[part / w.wide.parts];
    const int64_t left = w.wide.first[place.column] * w.wide.stride - w.wide.pad + w.wide.reads[part % w.wide.parts];
    for (int i = 0; i < w.high.form; ++i) {
        const int64_t h = top + i * w.high.step;
        const bool in_h = h >= 0 && h < w.high.in;
        for (int j = 0; j < w.wide.form; ++j) {
            const int64_t v = left + j * w.wide.step;
            const bool inside = in_h && v >= 0 && v < w.wide.in;
            const int64_t at = ((place.image * w.high.in + h) * w.wide.in + v) * w.channels;
            *from++ = inside ? w.x + at : w.zeros;
        }
    }
}

template <class T> void fill_tile(const Winograd<T> &w, const T **from, const T *const *next, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    constexpr int kMost = kMostPoints * kMostPoints;
    alignas(ATROUS_VECTOR_BYTES) T half[kMost * L];
    const int64_t whole = w.channels / L * L, ahead = smaller(kAhead * L, w.channels);
    for (int64_t c = 0; c < whole; c += L) {
        const bool here = c + ahead < w.channels;
        w.gather(from, c, half, w.high.form, here ? from : next, here ? c + ahead : c + ahead - w.channels);
        w.spread(half, to + c, w.plane, w.wide.points);
    }
    if (whole < w.channels) {
        // The channels left over, filled up with zeros.
        alignas(ATROUS_VECTOR_BYTES) T rest[kMost * L] = {};
        const int64_t left = w.channels - whole;
        for (int p = 0; p < w.high.form * w.wide.form; ++p) {
            for (int64_t c = 0; c < left; ++c) rest[p * L + c] = from[p][whole + c];
            from[p] = rest + p * L;
        }
        w.gather(from, 0, half, w.high.form, next, 0);
        w.spread(half, to + whole, w.plane, w.wide.points);
    }
}

template <class T> void fill(void *context, int64_t begin, int64_t end) {
    const Winograd<T> &w = *static_cast<const Winograd<T> *>(context);
    const T *from[2][kMostPoints * kMostPoints];
    const int64_t parts = w.parts(), last = end * parts - 1;
    find_inputs(w, begin * parts, from[begin * parts % 2]);
    for (int64_t item = begin * parts; item <= last; ++item) {
        find_inputs(w, smaller(item + 1, last), from[(item + 1) % 2]);
        T *to = w.values + item / parts * w.row + item % parts * w.lined;
        fill_tile(w, from[item % 2], from[(item + 1) % 2], to);
    }
}

// The vector of one output, from channel `filter` on: plus bias and the other map, then the activation.
template <class T>
ATROUS_INLINE Vec<T> finished(const Winograd<T> &w, Vec<T> value, Vec<T> bias, const T *other, int64_t left) {
    constexpr int64_t L = Types<T>::lanes;
    value += bias;
    if (other != nullptr) {
        if (left == L) {
            value += load(other);
        } else {
            for (int64_t lane = 0; lane < left; ++lane) value[lane] += other[lane];
        }
    }
    return w.activation.code == ATROUS_RELU ? choose<T>(value < T(0), Vec<T>{}, value) : value;
}

// Where a vector of output channels goes: its phase along each axis, and its first channel within that.
struct Chunk {
    int64_t high, wide, filter;
};

template <class T> void list_chunks(const Winograd<T> &w, int64_t filter, int64_t width, Chunk *chunks) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t c = 0; c < width; c += L) {
        const int64_t phase = (filter + c) / w.each;
        chunks[c / L] = {phase / w.wide.spread, phase % w.wide.spread, (filter + c) % w.each};
    }
}

// The outputs of a tile along one axis that a map has: `begin` to `end`, the first at `at`, `step` apart.
struct Span {
    int64_t at, step;
    int begin, end;
};

inline Span span_of(const TileAxis &axis, int64_t tile, int64_t phase) {
    Span span{axis.first[tile] * axis.spread + phase - axis.cut, axis.apart * axis.spread, 0, axis.count[tile]};
    while (span.begin < span.end && span.at + span.begin * span.step < 0) ++span.begin;
    while (span.begin < span.end && span.at + (span.end - 1) * span.step >= axis.whole) --span.end;
    return span;
}

template <class T> ATROUS_INLINE Vec<T> some_of(const T *from, int64_t filter, int64_t left) {
    Vec<T> made{};
    for (int64_t lane = 0; from != nullptr && lane < left; ++lane) made[lane] = from[filter + lane];
    return made;
}

template <class T> ATROUS_INLINE void put(T *to, Vec<T> value, int64_t left) {
    if (left == Types<T>::lanes) {
        store<T>(to, value);
    } else {
        store_some<T>(to, value, left);
    }
}

// The outputs of one tile for `width` channels from `filter` on; their products lie `plane` apart at `from`.
template <class T>
void empty_tile(const Winograd<T> &w, int64_t tile, int64_t next, int64_t filter, int64_t width, const Chunk *chunks,
                const T *from, int64_t plane) {
    constexpr int64_t L = Types<T>::lanes;
    constexpr int kMost = kMostPoints * kMostPoints;
    const Where<T> place(w, tile), following(w, next);
    const int wide = w.wide.outputs, across = w.wide.points;
    const bool plain = w.bias == nullptr && w.other == nullptr && w.activation.code == ATROUS_NONE;
    alignas(ATROUS_VECTOR_BYTES) T half[kMost * L];
    alignas(ATROUS_VECTOR_BYTES) T made[kMost * L];
    for (int64_t c = 0; c < width; c += L) {
        const int64_t left = smaller(L, w.filters - filter - c);
        const Chunk &chunk = chunks[c / L];
        const Span high = span_of(w.high, place.line, chunk.high), span = span_of(w.wide, place.column, chunk.wide);
        const int64_t down = high.step * w.wide.whole * w.each, right = span.step * w.each;
        const int64_t start = ((place.image * w.high.whole + high.at) * w.wide.whole + span.at) * w.each + chunk.filter;
        const Span low = span_of(w.high, following.line, chunk.high), side = span_of(w.wide, following.column, chunk.wide);
        const int64_t then = ((following.image * w.high.whole + low.at) * w.wide.whole + side.at) * w.each + chunk.filter;
        for (int i = low.begin; i < low.end; ++i) {
            for (int j = side.begin; j < side.end; ++j) __builtin_prefetch(w.out + then + i * down + j * right, 1);
        }
        w.back_high(from + c, across * plane, plane, half, across * L, L, across);
        w.back_wide(half, L, across * L, made, L, wide * L, high.end);
        if (!plain) {
            const Vec<T> bias = some_of(w.bias, filter + c, left);
            for (int i = high.begin; i < high.end; ++i) {
                for (int j = span.begin; j < span.end; ++j) {
                    const T *other = w.other == nullptr ? nullptr : w.other + start + i * down + j * right;
                    T *at = made + (i * wide + j) * L;
                    store<T>(at, finished(w, load(at), bias, other, left));
                }
            }
            if (w.activation.code > ATROUS_RELU) activate<T>(made, high.end * wide * L, w.activation);
        }
        for (int i = high.begin; i < high.end; ++i) {
            for (int j = span.begin; j < span.end; ++j) {
                put(w.out + start + i * down + j * right, load(made + (i * wide + j) * L), left);
            }
        }
    }
}

// The same of tiles of one output and one point: rows of `sums`, which are finished in place.
template <class T>
void empty_rows(const Winograd<T> &w, int64_t filter, int64_t width, const Chunk *chunks, T *sums) {
    constexpr int64_t L = Types<T>::lanes;
    Vec<T> bias[kPanel];
    for (int64_t c = 0; c < width; c += L) {
        bias[c / L] = some_of(w.bias, filter + c, smaller(L, w.filters - filter - c));
    }
    const bool plain = w.bias == nullptr && w.other == nullptr && w.activation.code == ATROUS_NONE;
    const Where<T> place(w, 0);
    int64_t image = place.image, line = place.line, column = place.column;
    const int64_t ahead = kAhead * w.wide.spread * w.each;
    for (int64_t tile = 0; tile < w.tiles; ++tile) {
        T *row = sums + tile * width;
        int64_t to[kPanel];  // where each vector goes, -1 for those beyond the map
        for (int64_t c = 0; c < width; c += L) {
            const Chunk &chunk = chunks[c / L];
            const int64_t h = w.high.first[line] * w.high.spread + chunk.high - w.high.cut;
            const int64_t v = w.wide.first[column] * w.wide.spread + chunk.wide - w.wide.cut;
            const bool inside = h >= 0 && h < w.high.whole && v >= 0 && v < w.wide.whole;
            const int64_t at = ((image * w.high.whole + h) * w.wide.whole + v) * w.each + chunk.filter;
            to[c / L] = inside ? at : -1;
            __builtin_prefetch(w.out + at + ahead, 1);
            if (w.other != nullptr) __builtin_prefetch(w.other + at + ahead);
        }
        for (int64_t c = 0; c < width && !plain; c += L) {
            const T *other = w.other == nullptr || to[c / L] < 0 ? nullptr : w.other + to[c / L];
            const Vec<T> value = load(row + c);
            store<T>(row + c, finished(w, value, bias[c / L], other, smaller(L, w.filters - filter - c)));
        }
        if (w.activation.code > ATROUS_RELU) activate<T>(row, width, w.activation);
        for (int64_t c = 0; c < width; c += L) {
            if (to[c / L] >= 0) put(w.out + to[c / L], load(row + c), smaller(L, w.filters - filter - c));
        }
        if (++column == w.wide.tiles) {
            column = 0;
            if (++line == w.high.tiles) line = 0, ++image;
        }
    }
}

// The tiles at hand by one panel of output channels.
template <class T> int multiply_panel(const Winograd<T> &w, int64_t panel) {
    constexpr int64_t L = Types<T>::lanes;
    const int64_t filter = panel * w.panel, width = smaller(w.panel, ceil_div(w.filters - filter, L) * L);
    const int64_t plane = w.sums_plane();
    T *sums = static_cast<T *>(atrous::scratch(1, sizeof(T) * w.points() * plane));
    if (sums == nullptr) return ATROUS_NO_MEMORY;
    Chunk chunks[kPanel];
    list_chunks(w, filter, width, chunks);
    const T *weight = w.weight + filter * w.points() * w.depth;
    for (int p = 0; p < w.points(); ++p) {
        const T *b = weight + p * w.depth * width;
        const T *a = w.in_place ? w.x + w.tile0 * w.channels : w.values + p * w.plane;
        product_of<T>(width / L, a, w.in_place ? w.channels : w.row, w.tiles, b, w.in_place ? w.channels : w.depth,
                      sums + p * plane, width, b + w.depth * width);
    }
    if (w.points() == 1) {
        empty_rows(w, filter, width, chunks, sums);
        return ATROUS_OK;
    }
    for (int64_t tile = 0; tile < w.tiles; ++tile) {
        empty_tile(w, tile, smaller(tile + 1, w.tiles - 1), filter, width, chunks, sums + tile * width, plane);
    }
    return ATROUS_OK;
}

// At most so many pairs of kinds of tiles, two along each axis.
constexpr int kMostKinds = 4;

template <class T> struct Kinds {
    Winograd<T> of[kMostKinds];
    int number;
};

template <class T> struct Work {
    const Winograd<T> *winograd;
    int64_t ends[kMostKinds] = {};  // of the blocks of each kind, all counted through
    std::atomic<int> code{ATROUS_OK};
    void said(int one) {
        if (one != ATROUS_OK) code.store(one, std::memory_order_relaxed);
    }
};

template <class T> void multiply_panels(void *context, int64_t begin, int64_t end) {
    auto &work = *static_cast<Work<T> *>(context);
    for (int64_t item = begin; item < end; ++item) work.said(multiply_panel(*work.winograd, item));
}

template <class T> size_t values_bytes(const Winograd<T> &w) {
    return sizeof(T) * ((w.in_place ? 0 : w.points() * w.plane) + w.lined);
}

// Memory for the values of one block, in front of which lie the zeros of the padding.
template <class T> bool give_memory(Winograd<T> &w) {
    T *memory = static_cast<T *>(atrous::scratch(0, values_bytes(w)));
    if (memory == nullptr) return false;
    memset(memory, 0, sizeof(T) * w.lined);
    w.zeros = memory;
    w.values = memory + w.lined;
    return true;
}

// All three steps of some blocks, in memory of this thread: what one core wrote, others read slowly.
template <class T> void whole_blocks(void *context, int64_t begin, int64_t end) {
    auto &work = *static_cast<Work<T> *>(context);
    int kind = -1;
    Winograd<T> w;
    for (int64_t block = begin; block < end; ++block) {
        if (kind < 0 || block >= work.ends[kind]) {
            while (kind < 0 || block >= work.ends[kind]) ++kind;
            w = work.winograd[kind];
            if (!give_memory(w)) return work.said(ATROUS_NO_MEMORY);
        }
        w.tile0 = (block - (kind > 0 ? work.ends[kind - 1] : 0)) * w.block;
        w.tiles = smaller(w.block, w.all_tiles() - w.tile0);
        if (!w.in_place) fill<T>(&w, 0, w.tiles);
        for (int64_t panel = 0; panel < w.panels; ++panel) work.said(multiply_panel(w, panel));
    }
}

// Few tiles of many filters: the threads share the values of a block, and each takes other filters.
template <class T> int shared_blocks(Winograd<T> &w, int32_t threads) {
    if (!give_memory(w)) return ATROUS_NO_MEMORY;
    for (w.tile0 = 0; w.tile0 < w.all_tiles(); w.tile0 += w.block) {
        w.tiles = smaller(w.block, w.all_tiles() - w.tile0);
        Work<T> work;
        work.winograd = &w;
        if (!w.in_place) atrous::parallel(w.tiles, threads, fill<T>, &w);
        atrous::parallel(w.panels, threads, multiply_panels<T>, &work);
        if (work.code.load(std::memory_order_relaxed) != ATROUS_OK) return ATROUS_NO_MEMORY;
    }
    return ATROUS_OK;
}

// How many tiles a block has: of as many threads as take blocks of their own, or all share one.
template <class T> void cut_blocks(Winograd<T> &w, bool shares, int64_t even) {
    const int64_t each = w.points() * int64_t(sizeof(T)), sums = kOwn / (each * w.panel), all = w.all_tiles();
    const int64_t both = shares ? kMostBlock : kBoth / (each * (w.panel + w.row));
    int64_t most = larger(kLeast, smaller(kMostBlock, smaller(sums, both)));
    most = larger<int64_t>(1, smaller(most, kShared / (each * w.row)));
    // As many blocks as make even shares, each of whole rows of a product where it has so many.
    const int64_t blocks = ceil_div(ceil_div(all, most), even) * even;
    w.block = ceil_div(all, blocks);
    if (w.block > kRows) w.block = ceil_div(w.block, kRows) * kRows;
    w.plane = w.block * w.row + 16;
}

template <class T> int run_winograd(Kinds<T> &kinds, int32_t threads) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t all = 0;
    for (int k = 0; k < kinds.number; ++k) {
        Winograd<T> &w = kinds.of[k];
        w.panel = smaller<int64_t>(kPanel * L, ceil_div(w.filters, L) * L);
        w.panels = ceil_div(w.filters, w.panel);
        w.row = w.depth + 16;
        all += w.all_tiles();
    }
    const bool shares = threads > 1 && all < kLeast * threads && kinds.of[0].panels >= threads;
    Work<T> work;
    work.winograd = kinds.of;
    int64_t blocks = 0;
    for (int k = 0; k < kinds.number; ++k) {
        Winograd<T> &w = kinds.of[k];
        // Of several kinds one thread may take all tiles of a small one.
        const bool small = kinds.number > 1 && w.all_tiles() < kLeast * threads;
        cut_blocks(w, shares, shares || small ? 1 : larger<int64_t>(threads, 1));
        if (shares) {
            const int code = shared_blocks(w, threads);
            if (code != ATROUS_OK) return code;
        }
        blocks += ceil_div(w.all_tiles(), w.block);
        work.ends[k] = blocks;
    }
    if (!shares) atrous::parallel(blocks, threads, whole_blocks<T>, &work);
    return work.code.load(std::memory_order_relaxed);
}

// The sizes of a layer and the lists of its tiles, which stay valid until this thread's next call: one `Winograd` for
// each pair of kinds of tiles that has any.
template <class T> int lay_out(const atrous_winograd_layer &layer, Kinds<T> &kinds) {
    constexpr int64_t L = Types<T>::lanes;
    TileAxis axes[2][2];
    int64_t tiles[2][2], all = 0;
    for (int a = 0; a < 2; ++a) {
        for (int kind = 0; kind < kinds_along(layer, a); ++kind) {
            axes[a][kind] = axis_of(layer, a, kind);
            all += tiles[a][kind] = count_tiles(layer, a, kind, axes[a][kind]);
        }
    }
    char *lists = static_cast<char *>(atrous::scratch(2, all * (sizeof(int64_t) + sizeof(int32_t))));
    if (lists == nullptr) return ATROUS_NO_MEMORY;
    int64_t *first = reinterpret_cast<int64_t *>(lists);
    int32_t *count = reinterpret_cast<int32_t *>(first + all);
    for (int a = 0; a < 2; ++a) {
        for (int kind = 0; kind < kinds_along(layer, a); ++kind) {
            list_tiles(layer, a, kind, &axes[a][kind], first, count);
            first += tiles[a][kind];
            count += tiles[a][kind];
        }
    }
    int64_t weights = 0;
    kinds.number = 0;
    for (int high = 0; high < kinds_along(layer, 0); ++high) {
        for (int wide = 0; wide < kinds_along(layer, 1); ++wide) {
            Winograd<T> &w = kinds.of[kinds.number];
            w = Winograd<T>{};
            w.high = axes[0][high], w.wide = axes[1][wide];
            w.batch = layer.batch;
            w.channels = layer.channels;
            w.filters = layer.filters;
            w.lined = ceil_div(layer.channels, L) * L;
            w.depth = w.lined * w.parts();
            w.each = w.filters / (w.high.spread * w.wide.spread);
            w.in_place = w.points() == 1 && w.parts() == 1;
            for (const TileAxis *axis : {&w.high, &w.wide}) {
                // All positions in their order: not where some are tiles of another kind.
                w.in_place &= axis->stride == 1 && axis->pad == 0 && axis->in == axis->out && axis->tiles == axis->out;
            }
            w.activation = activation_of(layer);
            w.gather = gathers<T>(w.wide.form);
            w.spread = spreads<T>(w.high.form);
            w.back_high = backs<T>(w.high.form, w.high.outputs);
            w.back_wide = backs<T>(w.wide.form, w.wide.outputs);
            w.weights = weights;
            weights += w.points() * w.depth * (ceil_div(w.filters, L) * L);
            if (w.high.tiles * w.wide.tiles > 0) ++kinds.number;
        }
    }
    return ATROUS_OK;
}

template <class T>
int forward_winograd(const atrous_winograd_layer &layer, const T *x, const T *packed, const T *bias, const T *other,
                     T *out) {
    Kinds<T> kinds;
    const int code = lay_out(layer, kinds);
    if (code != ATROUS_OK) return code;
    for (int k = 0; k < kinds.number; ++k) {
        Winograd<T> &w = kinds.of[k];
        w.x = x, w.weight = packed + w.weights, w.bias = bias, w.other = other, w.out = out;
    }
    return run_winograd(kinds, layer.threads);
}

}  // namespace
#endif
