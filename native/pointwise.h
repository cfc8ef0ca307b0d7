// Convolutions of one tap on planes: out (filters x positions) = weights (filters x channels) times x (channels x
// positions), for each image. A panel of positions is packed once and meets all filters; what it gives is finished
// (bias, another map, activation) while it is in the cache.
#ifndef ATROUS_POINTWISE_H
#define ATROUS_POINTWISE_H

#include <atomic>

#include "activation.h"
#include "product.h"
#include "threads.h"

namespace {

constexpr int64_t kFilterRows = 96;  // filters whose products are made before they are finished

template <class T> struct Pointwise {
    const atrous_pointwise_layer *layer;
    const T *x, *weight, *bias, *other;
    T *out;
    int64_t panel, panels;  // positions of a panel, and panels of an image
    std::atomic<int> *code;
};

template <class T> void pack_positions(const T *from, int64_t step, int64_t channels, int64_t count, int64_t width, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t c = 0; c < channels; ++c, from += step, to += width) {
        int64_t at = 0;
        for (; at + L <= count; at += L) store<T>(to + at, load(from + at));
        for (; at < width; ++at) to[at] = at < count ? from[at] : T(0);
    }
}

// Rows of `sums` plus the bias of each and another map, then the activation, to rows that lie `positions` apart.
template <class T>
void finish_positions(const Pointwise<T> &p, int64_t filter, int64_t rows, int64_t count, int64_t width, T *sums,
                      int64_t at) {
    constexpr int64_t L = Types<T>::lanes;
    const atrous_pointwise_layer &layer = *p.layer;
    for (int64_t row = 0; row < rows; ++row, sums += width, at += layer.positions) {
        const Vec<T> bias = splat(p.bias == nullptr ? T(0) : p.bias[filter + row]);
        int64_t n = 0;
        for (; n + L <= count; n += L) {
            Vec<T> value = load(sums + n) + bias;
            if (p.other != nullptr) value += load(p.other + at + n);
            store<T>(sums + n, layer.activation == ATROUS_RELU ? choose<T>(value < T(0), Vec<T>{}, value) : value);
        }
        if (n < count) {
            Vec<T> value = load(sums + n) + bias;
            for (int64_t lane = 0; p.other != nullptr && lane < count - n; ++lane) value[lane] += p.other[at + n + lane];
            store<T>(sums + n, layer.activation == ATROUS_RELU ? choose<T>(value < T(0), Vec<T>{}, value) : value);
        }
        if (layer.activation > ATROUS_RELU) activate<T>(sums, count, activation_of(layer));
        for (n = 0; n + L <= count; n += L) store<T>(p.out + at + n, load(sums + n));
        if (n < count) store_some<T>(p.out + at + n, load(sums + n), count - n);
    }
}

template <class T> void multiply_positions(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const Pointwise<T> &p = *static_cast<const Pointwise<T> *>(context);
    const atrous_pointwise_layer &layer = *p.layer;
    T *packed = static_cast<T *>(atrous::scratch(0, sizeof(T) * layer.channels * p.panel));
    T *sums = static_cast<T *>(atrous::scratch(1, sizeof(T) * kFilterRows * p.panel));
    if (packed == nullptr || sums == nullptr) return p.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    const bool plain = p.bias == nullptr && p.other == nullptr && layer.activation == ATROUS_NONE;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t image = item / p.panels, first = item % p.panels * p.panel;
        const int64_t count = smaller(p.panel, layer.positions - first), width = ceil_div(count, L) * L;
        const T *from = p.x + image * layer.channels * layer.positions + first;
        pack_positions(from, layer.positions, layer.channels, count, width, packed);
        for (int64_t filter = 0; filter < layer.filters; filter += kFilterRows) {
            const int64_t rows = smaller(kFilterRows, layer.filters - filter);
            const int64_t at = (image * layer.filters + filter) * layer.positions + first;
            const bool direct = plain && count == width;
            product_of<T>(width / L, p.weight + filter * layer.channels, layer.channels, rows, packed, layer.channels,
                          direct ? p.out + at : sums, direct ? layer.positions : width, packed);
            if (!direct) finish_positions(p, filter, rows, count, width, sums, at);
        }
    }
}

template <class T>
int forward_pointwise(const atrous_pointwise_layer &layer, const T *x, const T *weight, const T *bias, const T *other,
                      T *out) {
    constexpr int64_t L = Types<T>::lanes;
    std::atomic<int> code{ATROUS_OK};
    Pointwise<T> p{&layer, x, weight, bias, other, out, 0, 0, &code};
    p.panel = smaller<int64_t>(kPanel * L, ceil_div(layer.positions, L) * L);
    p.panels = ceil_div(layer.positions, p.panel);
    atrous::parallel(layer.batch * p.panels, layer.threads, multiply_positions<T>, &p);
    return code.load(std::memory_order_relaxed);
}

}  // namespace
#endif
