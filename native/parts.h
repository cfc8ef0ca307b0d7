// How the taps of one axis are cut into parts of so many, each an undilated kernel of stride 1 on a phase of the input.
//
// Of stride s and dilation d with g = gcd(d, s), outputs d / g apart and taps s / g apart both move the input by
// d s / g. So for each of the s / g phases of the taps, every so many of them in a row are a part of their own, which
// reads from `dilation * first` on.
#ifndef ATROUS_PARTS_H
#define ATROUS_PARTS_H

#include <stdint.h>

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

}  // namespace
#endif
