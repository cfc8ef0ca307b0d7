// The weights of a layer by minimal filtering as its products read them, kind by kind of tiles.
#ifndef ATROUS_WINOGRAD_PACK_H
#define ATROUS_WINOGRAD_PACK_H

#include "product.h"
#include "threads.h"
#include "winograd_tiles.h"

namespace {

// Weights (filters, channels, taps), or (channels, filters, taps) turned around where `turned`, for one input channel.
template <class T> struct Packing {
    const atrous_winograd_layer *layer;
    const T *weight;
    T *packed;
    int forms[2], points[2];
    int64_t lined, depth, panel;
    int64_t first[2][kMostTaps], apart[2];  // the first tap of each part, and how far apart its taps are
    int parts[2];
    double rows[2][kMostPoints][kMostPoints];
};

// Rows of G times `taps` vectors of `W` doubles that lie `step` apart.
template <int W> ATROUS_INLINE void weigh(const double *row, int taps, const double *from, int64_t step, double *to) {
    typedef Vec<double> V;
    constexpr int64_t L = Types<double>::lanes;
    V sum[W];
    ATROUS_UNROLL(16)
    for (int n = 0; n < W; ++n) sum[n] = row[0] * load(from + n * L);
    for (int t = 1; t < taps; ++t) {
        ATROUS_UNROLL(16)
        for (int n = 0; n < W; ++n) sum[n] += row[t] * load(from + t * step + n * L);
    }
    ATROUS_UNROLL(16)
    for (int n = 0; n < W; ++n) store<double>(to + n * L, sum[n]);
}

// In float64: what is packed once is rounded once.
template <class T> void pack_channels(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes, P = kPanel * L;
    constexpr int W = static_cast<int>(P / Types<double>::lanes);
    const Packing<T> &p = *static_cast<const Packing<T> *>(context);
    const atrous_winograd_layer &layer = *p.layer;
    const int high = static_cast<int>(layer.taps[0]), wide = static_cast<int>(layer.taps[1]), taps = high * wide;
    const int64_t all = layer.kernel[0] * layer.kernel[1];
    const int64_t points = p.points[0] * p.points[1];
    alignas(ATROUS_VECTOR_BYTES) double tap[kMostPoints * kMostPoints * P], half[kMostPoints * kMostPoints * P];
    alignas(ATROUS_VECTOR_BYTES) double made[P];
    for (int64_t item = begin; item < end; ++item) {
        const int64_t filter = item / p.depth * p.panel, term = item % p.depth;
        const int64_t part = term / p.lined, channel = term % p.lined;
        const int64_t left = channel < layer.channels ? smaller(p.panel, layer.filters - filter) : 0;
        const int64_t width = smaller(p.panel, ceil_div(layer.filters - filter, L) * L);
        T *to = p.packed + filter * points * p.depth + term * width;
        int64_t at[kMostPoints * kMostPoints];  // where each tap of the part lies, -1 for those that fill it up
        for (int t = 0; t < taps; ++t) {
            const int64_t h = p.first[0][part / p.parts[1]] + t / wide * p.apart[0];
            const int64_t v = p.first[1][part % p.parts[1]] + t % wide * p.apart[1];
            at[t] = h < layer.kernel[0] && v < layer.kernel[1] ? h * layer.kernel[1] + v : -1;
        }
        for (int64_t k = 0; k < left; ++k) {
            const int64_t pair = layer.turned ? channel * layer.filters + filter + k
                                              : (filter + k) * layer.channels + channel;
            const T *from = p.weight + pair * all;
            for (int t = 0; t < taps; ++t) {
                tap[t * P + k] = at[t] < 0 ? T(0) : from[layer.turned ? all - 1 - at[t] : at[t]];
            }
        }
        for (int t = 0; t < taps; ++t) {
            for (int64_t k = left; k < P; ++k) tap[t * P + k] = 0;
        }
        for (int i = 0; i < p.points[0]; ++i) {
            for (int j = 0; j < wide; ++j) {
                weigh<W>(p.rows[0][i], high, tap + j * P, wide * P, half + (i * wide + j) * P);
            }
        }
        for (int i = 0; i < p.points[0]; ++i) {
            for (int j = 0; j < p.points[1]; ++j, to += p.depth * width) {
                weigh<W>(p.rows[1][j], wide, half + i * wide * P, P, made);
                for (int64_t k = 0; k < width; ++k) to[k] = static_cast<T>(made[k]);
            }
        }
    }
}

template <class T> int pack_winograd(const atrous_winograd_layer &layer, const T *weight, T *packed) {
    constexpr int64_t L = Types<T>::lanes;
    Packing<T> p{};
    p.layer = &layer, p.weight = weight;
    p.lined = ceil_div(layer.channels, L) * L;
    p.depth = p.lined;
    p.panel = kPanel * L;
    for (int axis = 0; axis < 2; ++axis) {
        p.apart[axis] = layer.stride[axis] / gcd(layer.dilation[axis], layer.stride[axis]);
        for_each_part(layer.kernel[axis], layer.stride[axis], layer.dilation[axis], layer.taps[axis],
                      [&](int64_t first) { p.first[axis][p.parts[axis]++] = first; });
        p.depth *= p.parts[axis];
    }
    p.packed = packed;
    for (int high = 0; high < kinds_along(layer, 0); ++high) {
        for (int wide = 0; wide < kinds_along(layer, 1); ++wide) {
            const int kinds[2] = {high, wide};
            for (int axis = 0; axis < 2; ++axis) {
                p.forms[axis] = form_of(layer, axis, kinds[axis]);
                p.points[axis] = products_of(p.forms[axis]);
                kernel_rows(p.forms[axis], static_cast<int>(layer.taps[axis]), p.rows[axis]);
            }
            atrous::parallel(ceil_div(layer.filters, p.panel) * p.depth, layer.threads, pack_channels<T>, &p);
            p.packed += p.points[0] * p.points[1] * p.depth * (ceil_div(layer.filters, L) * L);
        }
    }
    return ATROUS_OK;
}

}  // namespace
#endif
