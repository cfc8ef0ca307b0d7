// How the taps of one axis are cut into parts of so many, each an undilated kernel of stride 1 on a phase of the input,
// and its outputs into tiles of one or two kinds.
//
// Of stride s and dilation d with g = gcd(d, s), outputs d / g apart and taps s / g apart both move the input by
// d s / g. So for each of the s / g phases of the taps, every so many of them in a row are a part of their own, which
// reads from `dilation * first` on.
#ifndef ATROUS_PARTS_H
#define ATROUS_PARTS_H

#include <stdint.h>

#include "abi.h"

namespace {

constexpr int64_t kMostTaps = 64;  // of a kernel along an axis, where it is cut into parts

inline int64_t gcd(int64_t a, int64_t b) {
    while (b != 0) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// Calls `found(first)` with the first tap of each part.
template <class F> inline void for_each_part(int64_t kernel, int64_t stride, int64_t dilation, int64_t taps, F found) {
    const int64_t apart = stride / gcd(dilation, stride);
    for (int64_t phase = 0; phase < apart && phase < kernel; ++phase) {
        for (int64_t first = phase; first < kernel; first += apart * taps) found(first);
    }
}

inline int64_t count_parts(int64_t kernel, int64_t stride, int64_t dilation, int64_t taps) {
    int64_t parts = 0;
    for_each_part(kernel, stride, dilation, taps, [&](int64_t) { ++parts; });
    return parts;
}

// One kind of tiles along an axis: 0 are those of `tile`, 1 those of `rest`.
struct Kind {
    int64_t tile;
    bool closed;
};

inline int kinds_along(const atrous_winograd_layer &layer, int axis) {
    return layer.mixed != 0 && layer.rest[axis] > 0 ? 2 : 1;
}

inline Kind kind_of(const atrous_winograd_layer &layer, int axis, int kind) {
    if (layer.mixed == 0) return {layer.tile[axis], false};
    return {kind == 0 ? layer.tile[axis] : layer.rest[axis], (layer.closed[axis] >> kind & 1) != 0};
}

// How far apart the outputs of one phase lie.
inline int64_t phases_of(const atrous_winograd_layer &layer, int axis) {
    const int64_t dilation = layer.kernel[axis] == 1 ? 1 : layer.dilation[axis];  // of one tap it is none
    return dilation / gcd(dilation, layer.stride[axis]);
}

// Of a phase of `length` outputs, how many its first kind of tiles makes.
inline int64_t main_outputs(const atrous_winograd_layer &layer, int axis, int64_t length) {
    if (kinds_along(layer, axis) == 1) return length;
    const int64_t phases = phases_of(layer, axis), longest = (layer.out[axis] + phases - 1) / phases;
    const int64_t rests = layer.rest[axis] * layer.rests[axis][length < longest ? 1 : 0];
    return length > rests ? length - rests : 0;
}

}  // namespace
#endif
