// Depthwise, planes, forward and data gradient of small maps: as many channels as a vector has lanes at a time.
//
// Rows of few outputs leave lanes of a vector empty, and most of them are near a border; and pairs of rows read less
// in channels last. So a block of channels is turned to channels last in scratch memory, with its weights, computed
// there by `channels_gather.h`, and turned back.
// Layout and threads are those of `planes_gather.h`, accumulator and error those of `channels_gather.h`.
#ifndef ATROUS_PLANES_SMALL_H
#define ATROUS_PLANES_SMALL_H

#include "channels_gather.h"
#include "planes_rows.h"
#include "transposed.h"

namespace {

constexpr int64_t kSmallBytes = 96 << 10;    // of scratch memory for one block of channels
constexpr int64_t kTurnedBytes = 640 << 10;  // the same where many taps pay for turning
constexpr int64_t kTurnedPlaces = 96;        // positions for which one tap pays

// `to` (places, lanes) from `count` planes of `places`; lanes beyond them are zero.
template <class T> void to_lanes(const T *from, int64_t places, int64_t count, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t p = 0; p < places; p += L) {
        if (p + L > places) {
            if (places < L) {
                memset(to, 0, static_cast<size_t>(places * L) * sizeof(T));
                for (int64_t r = 0; r < count; ++r) {
                    for (int64_t i = 0; i < places; ++i) to[i * L + r] = from[r * places + i];
                }
                return;
            }
            p = places - L;  // the last vector steps back rather than stop short
        }
        Vec<T> rows[L];
        if (count == L) {
            ATROUS_UNROLL(16)
            for (int64_t r = 0; r < L; ++r) rows[r] = load(from + r * places + p);
        } else {
            for (int64_t r = 0; r < L; ++r) rows[r] = r < count ? load(from + r * places + p) : Vec<T>{};
        }
        transpose<T>(rows);
        ATROUS_UNROLL(16)
        for (int64_t r = 0; r < L; ++r) store<T>(to + (p + r) * L, rows[r]);
    }
}

// And back.
template <class T> void from_lanes(const T *from, int64_t places, int64_t count, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t p = 0; p < places; p += L) {
        if (p + L > places) {
            if (places < L) {
                for (int64_t r = 0; r < count; ++r) {
                    for (int64_t i = 0; i < places; ++i) to[r * places + i] = from[i * L + r];
                }
                return;
            }
            p = places - L;
        }
        Vec<T> rows[L];
        ATROUS_UNROLL(16)
        for (int64_t r = 0; r < L; ++r) rows[r] = load(from + (p + r) * L);
        transpose<T>(rows);
        if (count == L) {
            ATROUS_UNROLL(16)
            for (int64_t r = 0; r < L; ++r) store<T>(to + r * places + p, rows[r]);
        } else {
            for (int64_t r = 0; r < count; ++r) store<T>(to + r * places + p, rows[r]);
        }
    }
}

template <class T> struct Small {
    Rows<T> rows;
    int64_t in, out, blocks;  // positions of the maps; blocks of channels of one image
};

template <class T> void small_body(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<T>::lanes;
    const Small<T> &small = *static_cast<Small<T> *>(context);
    Gather<T> &all = *small.rows.all;
    const Axis *axis = all.axis;
    const int64_t channels = all.layer->channels;
    Lists lists;
    T *x = static_cast<T *>(atrous::scratch(1, static_cast<size_t>((small.in + small.out + all.taps + 1) * L) * sizeof(T)));
    if (x == nullptr || !lists.place(small.rows.entries(), all.layer->kernel[0])) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    T *out = x + small.in * L, *weight = out + small.out * L, *bias = weight + all.taps * L;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t batch = item / small.blocks, c0 = item % small.blocks * L;
        const int64_t count = smaller(L, channels - c0), plane = batch * channels + c0;
        to_lanes<T>(all.x + plane * small.in, small.in, count, x);
        to_lanes<T>(all.weight + c0 * all.taps, all.taps, count, weight);
        for (int64_t r = 0; r < L; ++r) bias[r] = all.bias != nullptr && r < count ? all.bias[c0 + r] : T(0);
        for (int64_t d = 0; d < axis[0].out; ++d) {
            for (int64_t place = 0; place < small.rows.lines(); ++place) {
                channels_line<T>(small.rows, lists, d, place, x, weight, bias, L, out);
            }
        }
        from_lanes<T>(out, small.out, count, all.out + plane * small.out);
    }
}

// Whether it serves a layer.
template <class T> bool is_small(const Gather<T> &all) {
    constexpr int64_t L = Types<T>::lanes;
    const Axis *axis = all.axis;
    const int64_t in = axis[0].in * axis[1].in * axis[2].in, out = axis[0].out * axis[1].out * axis[2].out;
    const bool is_narrow = axis[2].out < L;
    const int64_t most = (is_narrow ? kSmallBytes : kTurnedBytes) / static_cast<int64_t>(sizeof(T)) / L;
    if (all.layer->channels < L || in > most || out > most || all.taps > most || in + out + all.taps > most) return false;
    // Rows that fill a vector are as well computed where they lie, unless many taps pay for turning them.
    return is_narrow || (has_pairs<T>(axis[1], axis[2], L) && in + out <= kTurnedPlaces * all.taps);
}

template <class T> int by_lanes(Gather<T> *all) {
    constexpr int64_t L = Types<T>::lanes;
    const Axis *axis = all->axis;
    Small<T> small{rows_of<T>(all, nullptr, L), axis[0].in * axis[1].in * axis[2].in,
                   axis[0].out * axis[1].out * axis[2].out, (all->layer->channels + L - 1) / L};
    if (small.rows.segments == nullptr) return ATROUS_NO_MEMORY;
    atrous::parallel(all->layer->batch * small.blocks, all->layer->threads, small_body<T>, &small);
    return all->failed;
}

template <class T>
int planes_gather(const atrous_depthwise_layer &layer, bool backwards, const void *x, const void *weight,
                  const void *bias, void *out) {
    Gather<T> all;
    if (!all.set(layer, backwards, x, weight, bias, out)) return ATROUS_NO_MEMORY;
    if (is_small(all)) return by_lanes(&all);
    if (has_rows(all)) return by_bands(&all, rows_body<T>);
    const Axis &wide = all.axis[2];
    const bool plain = wide.in_step == 1 && wide.out_step == 1;
    // Rows of few vectors leave too little to overlap: then the rows of a plane are better pooled.
    return plain && wide.out >= kDirectVectors * Types<T>::lanes ? direct(&all) : by_bands(&all, staged_body<T>);
}

}  // namespace
#endif
