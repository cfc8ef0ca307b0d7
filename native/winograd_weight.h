// The gradient by the weights of a convolution that runs by minimal filtering: its adjoint, with as few products.
//
// The products of a layer are values (of the input) times transformed weights, for each point. So the gradient by the
// transformed weights is, for each point, the transpose of the values times the gradients by the products, which are
// the outputs' gradients under the transpose of the last transform; the transpose of G then leads to the taps.
// Rounds of tiles are summed in order, and within one every 32 tiles: no result depends on the threads. Kinds of tiles
// add to the taps one after the other.
#ifndef ATROUS_WINOGRAD_WEIGHT_H
#define ATROUS_WINOGRAD_WEIGHT_H

#include "winograd.h"

namespace {

constexpr int64_t kRound = int64_t(6) << 20;  // of values and gradients of a round of tiles, or four times that

// From M values that lie `a` apart to the products of form A, which lie `b` apart, `count` times.
template <class T, int A, int M>
__attribute__((noinline)) void forth(const T *from, int64_t a, int64_t from_next, T *to, int64_t b, int64_t to_next,
                                     int count) {
    constexpr int P = products_of(A);
    for (int one = 0; one < count; ++one) {
        Vec<T> y[M], e[P];
        ATROUS_UNROLL(8)
        for (int i = 0; i < M; ++i) y[i] = load(from + one * from_next + i * a);
        to_products<T, A, M>(y, e);
        ATROUS_UNROLL(8)
        for (int i = 0; i < P; ++i) store<T>(to + one * to_next + i * b, e[i]);
    }
}

template <class T> Backs<T> forths(int form, int outputs) {
    switch (form * 10 + outputs) {
        case 11: return forth<T, 1, 1>;
        case 22: return forth<T, 2, 2>;
        case 33: return forth<T, 3, 3>;
        case 42: return forth<T, 4, 2>;
        case 43: return forth<T, 4, 3>;
        case 52: return forth<T, 5, 2>;
        case 53: return forth<T, 5, 3>;
        case 54: return forth<T, 5, 4>;
        case 62: return forth<T, 6, 2>;
        case 63: return forth<T, 6, 3>;
        case 64: return forth<T, 6, 4>;
        case 65: return forth<T, 6, 5>;
        case 73: return forth<T, 7, 3>;
        case 74: return forth<T, 7, 4>;
        case 75: return forth<T, 7, 5>;
        case 76: return forth<T, 7, 6>;
        case 84: return forth<T, 8, 4>;
        case 85: return forth<T, 8, 5>;
        case 86: return forth<T, 8, 6>;
        case 87: return forth<T, 8, 7>;
        default: return nullptr;
    }
}

template <class T> struct TapsGradient {
    Winograd<T> w;
    const atrous_winograd_layer *layer;
    const T *grad;
    T *gradients;                 // of the products: (points, tiles of this round, filters)
    T *made;                      // by the transformed weights: (points, channels, filters)
    T *out;
    int64_t filters, plane, row;  // `filters` rounded up to whole vectors; rows and planes of `gradients`
    Backs<T> forth_high, forth_wide;
    double rows[2][kMostPoints][kMostPoints];
    bool adds;  // to what an earlier kind of tiles left in `out`
};

template <class T> void fill_gradients(const TapsGradient<T> &g, int64_t tile) {
    constexpr int64_t L = Types<T>::lanes;
    constexpr int kMost = kMostPoints * kMostPoints;
    const Winograd<T> &w = g.w;
    const Where<T> where(w, tile);
    const int high = w.high.outputs, wide = w.wide.outputs, across = w.wide.points;
    const int rows = w.high.count[where.line], columns = w.wide.count[where.column];
    const int64_t down = w.high.apart * w.wide.out * w.filters, right = w.wide.apart * w.filters;
    const T *from = g.grad + where.output(w, 0, 0);
    T *to = g.gradients + tile * g.row;
    // Outputs beyond the map have no gradient.
    alignas(ATROUS_VECTOR_BYTES) T given[kMost * L] = {};
    alignas(ATROUS_VECTOR_BYTES) T half[kMost * L];
    for (int64_t c = 0; c < g.filters; c += L) {
        const int64_t left = smaller(L, w.filters - c);
        for (int i = 0; i < rows; ++i) {
            for (int j = 0; j < columns; ++j) {
                const T *at = from + i * down + j * right + c;
                T *put = given + (i * wide + j) * L;
                if (left == L) {
                    store<T>(put, load(at));
                } else {
                    for (int64_t lane = 0; lane < L; ++lane) put[lane] = lane < left ? at[lane] : T(0);
                }
            }
        }
        g.forth_wide(given, L, wide * L, half, L, across * L, high);
        g.forth_high(half, across * L, L, to + c, across * g.plane, g.plane, across);
    }
}

template <class T> void fill_both(void *context, int64_t begin, int64_t end) {
    TapsGradient<T> &g = *static_cast<TapsGradient<T> *>(context);
    fill<T>(&g.w, begin, end);
    for (int64_t tile = begin; tile < end; ++tile) fill_gradients(g, tile);
}

// One point by one panel of filters.
template <class T> void outer_items(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const TapsGradient<T> &g = *static_cast<const TapsGradient<T> *>(context);
    for (int64_t item = begin; item < end; ++item) {
        const int64_t point = item / g.w.panels, filter = item % g.w.panels * g.w.panel;
        const int64_t width = smaller(g.w.panel, g.filters - filter);
        outer_of<T>(width / L, g.w.values + point * g.w.plane, g.w.row, g.w.channels,
                    g.gradients + point * g.plane + filter, g.row, g.w.tiles,
                    g.made + point * g.w.channels * g.filters + filter, g.filters);
    }
}

// `taps` vectors of W doubles that lie `step` apart from `count` of them: the transpose of G, row by row.
template <int W>
ATROUS_INLINE void gathered(const double (*rows)[kMostPoints], int tap, int count, const double *from, int64_t step,
                            double *to) {
    typedef Vec<double> V;
    constexpr int64_t L = Types<double>::lanes;
    V sum[W];
    ATROUS_UNROLL(16)
    for (int n = 0; n < W; ++n) sum[n] = rows[0][tap] * load(from + n * L);
    for (int i = 1; i < count; ++i) {
        ATROUS_UNROLL(16)
        for (int n = 0; n < W; ++n) sum[n] += rows[i][tap] * load(from + i * step + n * L);
    }
    ATROUS_UNROLL(16)
    for (int n = 0; n < W; ++n) store<double>(to + n * L, sum[n]);
}

// Back to the taps, in float64: out is (filters, channels, taps).
template <class T> void unpack_channels(void *context, int64_t begin, int64_t end) {
    constexpr int64_t P = kPanel * Types<T>::lanes;
    constexpr int W = static_cast<int>(P / Types<double>::lanes);
    const TapsGradient<T> &g = *static_cast<const TapsGradient<T> *>(context);
    const int high = static_cast<int>(g.layer->kernel[0]), wide = static_cast<int>(g.layer->kernel[1]);
    const int points = g.w.high.points, across = g.w.wide.points;
    alignas(ATROUS_VECTOR_BYTES) double line[kMostPoints * P] = {}, half[kMostPoints * kMostPoints * P];
    alignas(ATROUS_VECTOR_BYTES) double tap[P];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t panel = item / g.w.channels, channel = item % g.w.channels, filter = panel * g.w.panel;
        const int64_t width = smaller(g.w.panel, g.w.filters - filter);
        for (int i = 0; i < points; ++i) {
            for (int j = 0; j < across; ++j) {
                const T *from = g.made + ((i * across + j) * g.w.channels + channel) * g.filters + filter;
                for (int64_t k = 0; k < width; ++k) line[j * P + k] = from[k];
            }
            for (int t = 0; t < wide; ++t) gathered<W>(g.rows[1], t, across, line, P, half + (i * wide + t) * P);
        }
        for (int s = 0; s < high; ++s) {
            for (int t = 0; t < wide; ++t) {
                gathered<W>(g.rows[0], s, points, half + t * P, wide * P, tap);
                T *to = g.out + (filter * g.w.channels + channel) * high * wide + s * wide + t;
                for (int64_t k = 0; k < width; ++k, to += g.w.channels * high * wide) {
                    *to = static_cast<T>(g.adds ? *to + tap[k] : tap[k]);
                }
            }
        }
    }
}

// What the tiles of one kind sum to.
template <class T> int weight_of_kind(TapsGradient<T> &g) {
    constexpr int64_t L = Types<T>::lanes;
    const atrous_winograd_layer &layer = *g.layer;
    Winograd<T> &w = g.w;
    g.filters = ceil_div(layer.filters, L) * L;
    g.forth_high = forths<T>(w.high.form, w.high.outputs);
    g.forth_wide = forths<T>(w.wide.form, w.wide.outputs);
    kernel_rows(w.high.form, static_cast<int>(layer.kernel[0]), g.rows[0]);
    kernel_rows(w.wide.form, static_cast<int>(layer.kernel[1]), g.rows[1]);
    w.panel = smaller<int64_t>(kPanel * L, g.filters);
    w.panels = ceil_div(g.filters, w.panel);
    const int64_t points = w.points(), all = w.all_tiles();
    w.row = w.lined + 16;
    g.row = g.filters + 16;
    // Each round adds to all gradients, so that the more there are of them the fewer rounds there should be.
    const int64_t made = points * w.channels * g.filters * int64_t(sizeof(T));
    const int64_t bytes = larger(kRound, smaller(4 * kRound, made));
    const int64_t fitting = larger(kLeast, bytes / int64_t(sizeof(T)) / (points * (w.row + g.row)));
    const int64_t round = ceil_div(all, ceil_div(all, fitting));
    w.plane = round * w.row + 16;
    g.plane = round * g.row + 16;
    T *memory = static_cast<T *>(atrous::scratch(0, sizeof(T) * (points * (w.plane + g.plane) + w.lined)));
    g.made = static_cast<T *>(atrous::scratch(3, sizeof(T) * points * w.channels * g.filters));
    if (memory == nullptr || g.made == nullptr) return ATROUS_NO_MEMORY;
    w.zeros = memory;
    w.values = memory + w.lined;
    g.gradients = w.values + points * w.plane;
    memset(memory, 0, sizeof(T) * w.lined);
    memset(g.made, 0, sizeof(T) * points * w.channels * g.filters);
    for (w.tile0 = 0; w.tile0 < all; w.tile0 += round) {
        w.tiles = smaller(round, all - w.tile0);
        atrous::parallel(w.tiles, layer.threads, fill_both<T>, &g);
        atrous::parallel(points * w.panels, layer.threads, outer_items<T>, &g);
    }
    atrous::parallel(w.channels * w.panels, layer.threads, unpack_channels<T>, &g);
    return ATROUS_OK;
}

template <class T>
int weight_winograd(const atrous_winograd_layer &layer, const T *x, const T *grad, T *out) {
    Kinds<T> kinds;
    int code = lay_out(layer, kinds);
    for (int k = 0; k < kinds.number && code == ATROUS_OK; ++k) {
        TapsGradient<T> g{};
        g.w = kinds.of[k];
        g.layer = &layer, g.grad = grad, g.out = out, g.w.x = x;
        g.adds = k > 0;
        code = weight_of_kind(g);
    }
    return code;
}

}  // namespace
#endif
