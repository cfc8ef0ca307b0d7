// Depthwise, maps and weights in float16 or bfloat16, both layouts, forward: computed in float32 and rounded once.
//
// Blocks of channels, and of rows where channels lie closest, are widened into scratch memory that stays in a
// second-level cache, computed there by the kernels for float32, and narrowed: ties to even, overflow to infinity, NaN
// to a quiet NaN. Nothing but integer and float32 operations is needed.
// Accumulator: float32; error half a unit in the last place of the stored type, and what float32 sums round off.
// Threads: one block at a time, so no result depends on them.
#ifndef ATROUS_SMALL_FLOATS_H
#define ATROUS_SMALL_FLOATS_H

#include "channels_gather.h"
#include "planes_small.h"

namespace {

constexpr int64_t kBlockBytes = 512 << 10;  // of both maps of one block, widened

typedef uint16_t Halves __attribute__((vector_size(ATROUS_VECTOR_BYTES / 2), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(ATROUS_VECTOR_BYTES)));

template <bool Brain> ATROUS_INLINE Vec<float> widened(Words bits) {
    typedef Mask<float> M;
    if (Brain) return reinterpret_cast<Vec<float>>(bits << 16);
    const M sign = reinterpret_cast<M>((bits & 0x8000u) << 16), rest = reinterpret_cast<M>((bits & 0x7fffu) << 13);
    // The exponents' bias differs by 112; a product with that power of two is right for subnormal values too.
    const M scaled = reinterpret_cast<M>(reinterpret_cast<Vec<float>>(rest) * 0x1p112f);
    const M infinite = rest >= 0x0f800000;
    return reinterpret_cast<Vec<float>>((infinite & (rest | 0x7f800000)) | (~infinite & scaled) | sign);
}

template <bool Brain> ATROUS_INLINE Words narrowed(Vec<float> value) {
    typedef Mask<float> M;
    const Words bits = reinterpret_cast<Words>(value);
    const M all = reinterpret_cast<M>(bits & 0x7fffffffu);
    const M nan = all > 0x7f800000;
    if (Brain) {
        const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return (reinterpret_cast<Words>(nan) & ((bits >> 16) | 0x40u)) | (~reinterpret_cast<Words>(nan) & rounded);
    }
    const Words size = reinterpret_cast<Words>(all);
    const Words normal = (size + (0xc8000fffu + ((size >> 13) & 1u))) >> 13;
    // Adding one half leaves a subnormal value, rounded, in the low bits.
    const Words tiny = reinterpret_cast<Words>(reinterpret_cast<Vec<float>>(all) + 0.5f) - 0x3f000000u;
    const Words is_tiny = reinterpret_cast<Words>(all < 0x38800000), is_large = reinterpret_cast<Words>(all >= 0x47800000);
    const Words large = 0x7c00u | (reinterpret_cast<Words>(nan) & 0x200u);
    const Words found = (is_large & large) | (is_tiny & tiny) | (~is_large & ~is_tiny & normal);
    return found | ((bits >> 16) & 0x8000u);
}

template <bool Brain> void widen(const uint16_t *from, int64_t count, float *to) {
    constexpr int64_t L = Types<float>::lanes;
    int64_t i = 0;
    for (; i + L <= count; i += L) {
        const Halves some = *reinterpret_cast<const Halves *>(from + i);
        store<float>(to + i, widened<Brain>(__builtin_convertvector(some, Words)));
    }
    for (; i < count; ++i) to[i] = widened<Brain>(Words{from[i]})[0];
}

template <bool Brain> void narrow(const float *from, int64_t count, uint16_t *to) {
    constexpr int64_t L = Types<float>::lanes;
    int64_t i = 0;
    for (; i + L <= count; i += L) {
        *reinterpret_cast<Halves *>(to + i) = __builtin_convertvector(narrowed<Brain>(load(from + i)), Halves);
    }
    for (; i < count; ++i) to[i] = static_cast<uint16_t>(narrowed<Brain>(Vec<float>{from[i]})[0]);
}

struct SmallFloats {
    const atrous_depthwise_layer *layer;
    const uint16_t *x, *weight, *bias;
    uint16_t *out;
    int64_t group, groups;  // of channels
    int axis;               // along which bands are cut
    int64_t band, bands;    // of outputs along it
    int failed;
};

// `count` runs of `length` values that lie `apart` from one another, side by side in `to`; and back.
template <bool Brain> void widen_runs(const uint16_t *from, int64_t count, int64_t length, int64_t apart, float *to) {
    constexpr int64_t L = Types<float>::lanes;
    if (length == apart) return widen<Brain>(from, count * length, to);
    for (int64_t i = 0; i < count; ++i, from += apart, to += length) {
        if (length % L != 0) {
            widen<Brain>(from, length, to);
            continue;
        }
        for (int64_t j = 0; j < length; j += L) {
            const Halves some = *reinterpret_cast<const Halves *>(from + j);
            store<float>(to + j, widened<Brain>(__builtin_convertvector(some, Words)));
        }
    }
}

template <bool Brain> void narrow_runs(const float *from, int64_t count, int64_t length, int64_t apart, uint16_t *to) {
    constexpr int64_t L = Types<float>::lanes;
    if (length == apart) return narrow<Brain>(from, count * length, to);
    for (int64_t i = 0; i < count; ++i, from += length, to += apart) {
        if (length % L != 0) {
            narrow<Brain>(from, length, to);
            continue;
        }
        for (int64_t j = 0; j < length; j += L) {
            *reinterpret_cast<Halves *>(to + j) = __builtin_convertvector(narrowed<Brain>(load(from + j)), Halves);
        }
    }
}

template <bool Brain> void small_floats_body(void *context, int64_t begin, int64_t end) {
    SmallFloats &all = *static_cast<SmallFloats *>(context);
    const atrous_depthwise_layer &layer = *all.layer;
    const bool last = layer.layout == ATROUS_CHANNELS_LAST;
    const int64_t channels = layer.channels, taps = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
    const int64_t in = layer.in[0] * layer.in[1] * layer.in[2], out = layer.out[0] * layer.out[1] * layer.out[2];
    for (int64_t item = begin; item < end; ++item) {
        int64_t rest = item;
        const int64_t band = rest % all.bands, c0 = rest / all.bands % all.groups * all.group;
        const int64_t batch = rest / all.bands / all.groups;
        const bool is_last = rest / all.bands % all.groups + 1 == all.groups;
        const int64_t width = is_last ? channels - c0 : all.group;
        atrous_depthwise_layer block = layer;
        block.dtype = ATROUS_FLOAT32;
        block.batch = 1;
        block.channels = width;
        block.threads = 1;
        // The outputs of this band and the inputs that they read; at least one, whose taps then do not count.
        const int a = all.axis;
        const int64_t o0 = band * all.band, o1 = smaller(o0 + all.band, layer.out[a]);
        int64_t first = o0 * layer.stride[a] - layer.pad[a];
        int64_t stop = (o1 - 1) * layer.stride[a] - layer.pad[a] + (layer.kernel[a] - 1) * layer.dilation[a] + 1;
        first = larger<int64_t>(0, smaller(first, layer.in[a] - 1));
        stop = smaller(larger(stop, first + 1), layer.in[a]);
        if (!last) {
            first = 0;  // planes are whole: their rows lie apart
            stop = layer.in[a];
        }
        // Axes before it have one position.
        int64_t in_below = 1, out_below = 1;
        for (int b = a + 1; b < 3; ++b) {
            in_below *= layer.in[b];
            out_below *= layer.out[b];
        }
        block.in[a] = stop - first;
        block.out[a] = o1 - o0;
        block.pad[a] = layer.pad[a] + first - o0 * layer.stride[a];
        const int64_t block_in = block.in[a] * in_below, block_out = block.out[a] * out_below;
        const int64_t sizes[4] = {block_in * width, taps * width, width, block_out * width};
        int64_t total = 0;
        for (int64_t size : sizes) total += (size + 15) / 16 * 16;
        float *x = static_cast<float *>(atrous::scratch(4, static_cast<size_t>(total) * sizeof(float)));
        if (x == nullptr) {
            all.failed = ATROUS_NO_MEMORY;
            return;
        }
        float *weight = x + (sizes[0] + 15) / 16 * 16, *bias = weight + (sizes[1] + 15) / 16 * 16;
        float *made = bias + (sizes[2] + 15) / 16 * 16;
        if (layer.packed_weight) {
            widen_runs<Brain>(all.weight + c0, taps, width, channels, weight);
        } else {
            widen<Brain>(all.weight + c0 * taps, width * taps, weight);
        }
        if (all.bias != nullptr) widen<Brain>(all.bias + c0, width, bias);
        const float *shift = all.bias != nullptr ? bias : nullptr;
        int code;
        if (last) {
            widen_runs<Brain>(all.x + (batch * in + first * in_below) * channels + c0, block_in, width, channels, x);
            code = channels_gather<float>(block, false, x, weight, shift, made);
            if (code == ATROUS_OK) {
                narrow_runs<Brain>(made, block_out, width, channels,
                                   all.out + (batch * out + o0 * out_below) * channels + c0);
            }
        } else {
            widen<Brain>(all.x + (batch * channels + c0) * in, block_in * width, x);
            code = planes_gather<float>(block, false, x, weight, shift, made);
            if (code == ATROUS_OK) narrow<Brain>(made, block_out * width, all.out + (batch * channels + c0) * out);
        }
        if (code != ATROUS_OK) {
            all.failed = code;
            return;
        }
    }
}

inline int small_floats_gather(const atrous_depthwise_layer &layer, const void *x, const void *weight, const void *bias,
                               void *out) {
    constexpr int64_t L = Types<float>::lanes;
    const bool last = layer.layout == ATROUS_CHANNELS_LAST;
    SmallFloats all{&layer, static_cast<const uint16_t *>(x), static_cast<const uint16_t *>(weight),
                    static_cast<const uint16_t *>(bias), static_cast<uint16_t *>(out), 1, 1, 0, 1, 1, 0};
    const int64_t in = layer.in[0] * layer.in[1] * layer.in[2], outs = layer.out[0] * layer.out[1] * layer.out[2];
    const int64_t fitting = kBlockBytes / static_cast<int64_t>(sizeof(float)) / larger<int64_t>(1, in + outs);
    // Of whole maps as many as fit, in whole vectors; the last group takes the rest.
    // Channels that lie closest are read by whole lines of a cache.
    const int64_t whole = fitting > L ? fitting / L * L : larger<int64_t>(1, fitting);
    all.group = smaller(layer.channels, last ? larger<int64_t>(64, whole) : whole);
    // Few groups are made more, so that every thread has work.
    while (layer.batch * (layer.channels / all.group) < 2 * layer.threads && all.group >= 2 * L) all.group /= 2;
    all.groups = layer.channels / all.group;
    while (all.axis < 2 && layer.in[all.axis] == 1 && layer.out[all.axis] == 1) ++all.axis;
    all.band = layer.out[all.axis];
    if (last && all.axis < 2 && fitting < all.group) {
        // Not below what a band reads beside its own rows, which would be widened more than twice.
        const int64_t extent = (layer.kernel[all.axis] - 1) * layer.dilation[all.axis] + 1;
        const int64_t each = larger<int64_t>(1, (in + outs) / larger(layer.in[all.axis], layer.out[all.axis]));
        const int64_t most = kBlockBytes / static_cast<int64_t>(sizeof(float)) / all.group / each;
        all.band = smaller(all.band, larger(most, extent));
    }
    all.bands = (layer.out[all.axis] + all.band - 1) / all.band;
    atrous::parallel(layer.batch * all.groups * all.bands, layer.threads,
                     layer.dtype == ATROUS_BFLOAT16 ? small_floats_body<true> : small_floats_body<false>, &all);
    return all.failed;
}

}  // namespace
#endif
