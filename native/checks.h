// Whether the layers of all calls but streams are such that the kernels stay within memory: sizes that are none, or
// whose products leave 62 bits, are refused. The caller has validated with names.
#ifndef ATROUS_CHECKS_H
#define ATROUS_CHECKS_H

#include "abi.h"
#include "parts.h"

namespace atrous {
namespace {

constexpr int64_t kMost = int64_t(1) << 62;

// Whether a * b stays below 2^62; the product goes to *a.
inline bool multiply(int64_t *a, int64_t b) {
    if (*a < 0 || b < 0 || (b != 0 && *a > kMost / b)) return false;
    *a *= b;
    return true;
}

// What the kernels rely on. The caller has validated with names; this only keeps memory safe.
inline bool sound(const atrous_depthwise_layer *layer, bool forward = false) {
    if (layer == nullptr || layer->batch < 0 || layer->channels < 0) return false;
    int64_t in = 8, out = 8, taps = 16;
    if (!multiply(&in, layer->batch) || !multiply(&in, layer->channels)) return false;
    if (!multiply(&out, layer->batch) || !multiply(&out, layer->channels)) return false;
    if (!multiply(&taps, layer->channels)) return false;
    for (int a = 0; a < 3; ++a) {
        if (layer->in[a] < 0 || layer->out[a] < 0) return false;
        if (layer->kernel[a] < 1 || layer->stride[a] < 1 || layer->dilation[a] < 1) return false;
        if (!multiply(&in, layer->in[a]) || !multiply(&out, layer->out[a])) return false;
        if (!multiply(&taps, layer->kernel[a])) return false;
        if (layer->pad[a] > kMost / 4 || layer->pad[a] < -kMost / 4) return false;
        int64_t reach = layer->dilation[a], walked = layer->stride[a];
        if (!multiply(&reach, layer->kernel[a]) || reach > kMost / 4) return false;
        if (!multiply(&walked, layer->out[a] + 1) || walked > kMost / 4) return false;
    }
    const bool is_small = layer->dtype == ATROUS_FLOAT16 || layer->dtype == ATROUS_BFLOAT16;
    if (layer->dtype != ATROUS_FLOAT32 && layer->dtype != ATROUS_FLOAT64 && !(forward && is_small)) return false;
    if (layer->layout != ATROUS_PLANES && layer->layout != ATROUS_CHANNELS_LAST) return false;
    if (layer->packed_weight && layer->layout != ATROUS_CHANNELS_LAST) return false;
    return layer->activation >= ATROUS_NONE && layer->activation <= ATROUS_LEAKY;
}

inline bool sound(const atrous_pool_layer *layer) {
    if (layer == nullptr || layer->batch < 0 || layer->channels < 0 || layer->divisor < 0) return false;
    // Rows of scratch memory have up to the largest vectors' lanes more for each channel.
    int64_t in = 8, out = 8, taps = 8;
    if (!multiply(&in, layer->batch) || !multiply(&in, layer->channels + 64)) return false;
    if (!multiply(&out, layer->batch) || !multiply(&out, layer->channels + 64)) return false;
    for (int a = 0; a < 3; ++a) {
        if (layer->in[a] < 0 || layer->out[a] < 0) return false;
        if (layer->kernel[a] < 1 || layer->stride[a] < 1 || layer->dilation[a] < 1) return false;
        if (!multiply(&in, layer->in[a]) || !multiply(&out, layer->out[a]) || !multiply(&taps, layer->kernel[a])) return false;
        if (layer->pad[a] > kMost >> 20 || layer->pad[a] < -(kMost >> 20)) return false;
        int64_t reach = layer->dilation[a], walked = layer->stride[a];
        if (!multiply(&reach, layer->kernel[a]) || reach > kMost >> 20) return false;
        if (!multiply(&walked, layer->out[a] + 1) || walked > kMost >> 20) return false;
        if (layer->average && layer->dilation[a] != 1) return false;
    }
    if (layer->dtype != ATROUS_FLOAT32 && layer->dtype != ATROUS_FLOAT64) return false;
    return layer->layout == ATROUS_PLANES || layer->layout == ATROUS_CHANNELS_LAST;
}

// The tiles that there are transforms for.
inline bool has_tile(int64_t taps, int64_t tile) {
    if (taps == 1) return tile == 1;
    return taps >= 2 && taps <= 5 && tile >= 2 && tile <= 7 && taps + tile >= 5 && taps + tile <= 9;
}

inline bool is_spread(const atrous_winograd_layer *layer) { return layer->spread[0] > 1 || layer->spread[1] > 1; }

// Of filters in phases, those of each.
inline bool is_whole_vectors(const atrous_winograd_layer *layer, int64_t lanes) {
    if (!is_spread(layer)) {
        return layer->cut[0] == 0 && layer->cut[1] == 0 && layer->whole[0] == layer->out[0] &&
               layer->whole[1] == layer->out[1];
    }
    int64_t unit = lanes;
    return multiply(&unit, layer->spread[0]) && multiply(&unit, layer->spread[1]) && layer->filters % unit == 0;
}

inline bool is_one_part(const atrous_winograd_layer *layer) {
    for (int a = 0; a < 2; ++a) {
        if (layer->stride[a] != 1 || layer->taps[a] != layer->kernel[a] || layer->spread[a] != 1) return false;
    }
    return true;
}

// Closed tiles make a whole phase each, all others are of sizes that there are points for.
inline bool has_kinds(const atrous_winograd_layer &layer, int a) {
    if (layer.mixed == 0) return true;
    if (layer.rest[a] < 0 || layer.rest[a] > 7 || layer.closed[a] < 0 || layer.closed[a] > 3) return false;
    const int kinds = kinds_along(layer, a);
    if (kinds == 1 && layer.closed[a] > 1) return false;
    for (int length = 0; length < 2; ++length) {
        if (layer.rests[a][length] < 0 || layer.rests[a][length] > kMost / 64) return false;
    }
    if (kinds == 2 && !kind_of(layer, a, 1).closed && !has_tile(layer.taps[a], layer.rest[a])) return false;
    const bool same = layer.kernel[a] == 3 && layer.taps[a] == 3 && layer.stride[a] == 1 &&
                      layer.pad[a] == layer.dilation[a] && layer.in[a] == layer.out[a];
    const int64_t phases = phases_of(layer, a), longest = (layer.out[a] + phases - 1) / phases;
    for (int kind = 0; kind < kinds; ++kind) {
        const Kind one = kind_of(layer, a, kind);
        if (!one.closed) continue;
        if (!same || one.tile > 3) return false;
        // The longest phases, and where there are shorter ones these.
        for (int64_t length = longest; length > 0 && length >= layer.out[a] / phases; --length) {
            const int64_t main = main_outputs(layer, a, length), made = kind == 0 ? main : length - main;
            if (made != 0 && (made != length || made > one.tile)) return false;
        }
    }
    return true;
}

inline int64_t products_along(const atrous_winograd_layer &layer, int a) {
    int64_t all = 0;
    for (int kind = 0; kind < kinds_along(layer, a); ++kind) {
        const Kind one = kind_of(layer, a, kind);
        all += one.closed ? one.tile + (one.tile > 1) : one.tile + layer.taps[a] - 1;
    }
    return all;
}

inline bool sound(const atrous_winograd_layer *layer, int64_t lanes) {
    if (layer == nullptr || layer->batch < 0 || layer->channels < 1 || layer->filters < 1) return false;
    // Whole panels of filters and lines of channels: at most 63 more of each. Products are at most 8 x 8 for each
    // part, of up to two kinds of tiles along each axis.
    int64_t in = 4, out = 4, whole = 4, weights = 4 * 64 * 4;
    if (!multiply(&in, layer->batch) || !multiply(&in, layer->channels + 64)) return false;
    if (!multiply(&out, layer->batch) || !multiply(&out, layer->filters + 64)) return false;
    if (!multiply(&whole, layer->batch) || !multiply(&whole, layer->filters)) return false;
    if (!multiply(&weights, layer->channels + 64) || !multiply(&weights, layer->filters + 64)) return false;
    for (int a = 0; a < 2; ++a) {
        if (layer->in[a] < 0 || layer->out[a] < 0 || layer->dilation[a] < 1 || layer->stride[a] < 1) return false;
        if (!multiply(&in, layer->in[a]) || !multiply(&out, layer->out[a])) return false;
        if (!has_tile(layer->taps[a], layer->tile[a])) return false;
        if (layer->kernel[a] < 1 || layer->kernel[a] > kMostTaps || layer->dilation[a] > kMost / kMostTaps) return false;
        int64_t step = layer->dilation[a], walked = layer->out[a];
        if (!multiply(&step, layer->stride[a]) || !multiply(&walked, layer->stride[a])) return false;
        if (step > kMost / 64 || walked > kMost / 64) return false;
        if (layer->turned && layer->stride[a] != 1) return false;
        if (!multiply(&weights, count_parts(layer->kernel[a], layer->stride[a], layer->dilation[a], layer->taps[a]))) {
            return false;
        }
        if (layer->pad[a] > kMost / 4 || layer->pad[a] < -kMost / 4) return false;
        int64_t reach = layer->out[a];
        if (layer->spread[a] < 1 || !multiply(&reach, layer->spread[a]) || reach > kMost / 64) return false;
        if (!has_kinds(*layer, a)) return false;
        if (layer->cut[a] < 0 || layer->cut[a] > kMost / 64 || layer->whole[a] < 0) return false;
        if (!multiply(&whole, layer->whole[a])) return false;
    }
    return is_whole_vectors(layer, lanes) && layer->activation >= ATROUS_NONE && layer->activation <= ATROUS_LEAKY;
}

// Tables are of whoever asks: what they point at is looked at as well.
inline bool sound(const atrous_resize_layer *layer) {
    if (layer == nullptr || layer->planes < 0 || layer->runs < 1) return false;
    if (layer->channels < 1 || layer->step < layer->channels) return false;
    int64_t in = 4, out = 4;
    if (!multiply(&in, layer->planes) || !multiply(&out, layer->planes)) return false;
    if (!multiply(&in, layer->channels) || !multiply(&out, layer->step)) return false;
    for (int a = 0; a < 2; ++a) {
        if (layer->in[a] < 1 || layer->out[a] < 1 || layer->out[a] > kMost / 64) return false;
        if (!multiply(&in, layer->in[a]) || !multiply(&out, layer->out[a])) return false;
    }
    for (int64_t o = 0; o < layer->out[0]; ++o) {
        if (layer->row_inputs[o] < 0 || layer->row_inputs[o] >= layer->in[0]) return false;
    }
    if (layer->runs > layer->out[1] || layer->run_starts[0] != 0) return false;
    for (int64_t n = 0; n < layer->runs; ++n) {
        if (layer->run_inputs[n] < 0 || layer->run_inputs[n] >= layer->in[1]) return false;
        if (layer->run_starts[n + 1] <= layer->run_starts[n]) return false;
    }
    return layer->run_starts[layer->runs] == layer->out[1];
}

inline bool sound(const atrous_matrices *all) {
    int64_t bytes = 4;
    return all != nullptr && all->images >= 0 && all->rows >= 0 && all->columns >= 0 && multiply(&bytes, all->images) &&
           multiply(&bytes, all->rows) && multiply(&bytes, all->columns);
}

inline bool sound(const atrous_pointwise_layer *layer) {
    if (layer == nullptr || layer->batch < 0 || layer->channels < 1 || layer->filters < 1 || layer->positions < 0) {
        return false;
    }
    int64_t in = 4, out = 4, weights = 4, packed = 4 * 64;
    return multiply(&in, layer->batch) && multiply(&in, layer->channels) && multiply(&in, layer->positions) &&
           multiply(&out, layer->batch) && multiply(&out, layer->filters) && multiply(&out, layer->positions) &&
           multiply(&weights, layer->channels) && multiply(&weights, layer->filters) &&
           multiply(&packed, layer->channels) && layer->activation >= ATROUS_NONE && layer->activation <= ATROUS_LEAKY;
}

// Scratch memory holds rows of hidden channels, at most those of a map whose channels are padded.
inline bool sound(const atrous_bottleneck_layer *layer) {
    if (layer == nullptr || layer->batch < 0 || layer->channels < 1 || layer->hidden < 1 || layer->filters < 1) return false;
    // Whole vectors, and a group that is one vector longer than it is: at most four times as many, and 256 more.
    int64_t in = 4, out = 4, wide = 4 * 4, made = 4 * 4, first = 4, middle = 4, last = 4;
    const int64_t hidden = layer->hidden + 256, filters = layer->filters + 256;
    if (!multiply(&in, layer->batch) || !multiply(&in, layer->channels) || !multiply(&wide, hidden)) return false;
    if (!multiply(&out, layer->batch) || !multiply(&out, filters) || !multiply(&made, hidden)) return false;
    if (!multiply(&first, layer->channels) || !multiply(&first, hidden)) return false;
    if (!multiply(&last, hidden) || !multiply(&last, filters) || !multiply(&middle, hidden)) return false;
    for (int a = 0; a < 2; ++a) {
        if (layer->in[a] < 1 || layer->out[a] < 0) return false;
        if (layer->kernel[a] < 1 || layer->stride[a] < 1 || layer->dilation[a] < 1) return false;
        if (!multiply(&in, layer->in[a]) || !multiply(&wide, layer->in[a]) || !multiply(&middle, layer->kernel[a])) return false;
        if (!multiply(&out, layer->out[a]) || !multiply(&made, layer->out[a])) return false;
        if (layer->pad[a] > kMost / 64 || layer->pad[a] < -kMost / 64) return false;
        int64_t reach = layer->dilation[a], walked = layer->stride[a];
        if (!multiply(&reach, layer->kernel[a]) || reach > kMost / 64) return false;
        if (!multiply(&walked, layer->out[a] + 1) || walked > kMost / 64) return false;
        const bool plain = layer->kernel[a] == 1 && layer->stride[a] == 1 && layer->dilation[a] == 1 &&
                           layer->pad[a] == 0 && layer->in[a] == layer->out[a];
        if (!layer->depthwise && !plain) return false;
        if (layer->activation[a] < ATROUS_NONE || layer->activation[a] > ATROUS_LEAKY) return false;
    }
    return first + middle + last < kMost / 4 && layer->activation[2] >= ATROUS_NONE &&
           layer->activation[2] <= ATROUS_LEAKY;
}

inline bool sound(const atrous_strassen_layer *layer) {
    if (layer == nullptr || layer->rows < 0 || layer->channels < 1 || layer->filters < 1) return false;
    if (layer->step < layer->filters) return false;
    if (layer->levels < 0 || layer->levels > 2 || layer->channels % (int64_t(1) << layer->levels) != 0) return false;
    if (layer->rows != 0 && layer->rows < int64_t(6) << layer->levels) return false;
    // Filters fill up whole vectors in each of four pieces; scratch memory holds parts of a few hundred rows.
    int64_t in = 4, out = 4, packed = 4 * 49, scratch = 4 * 256;
    return multiply(&in, layer->rows) && multiply(&in, layer->channels) && multiply(&out, layer->rows) &&
           multiply(&out, layer->step) && multiply(&packed, layer->channels) && multiply(&packed, layer->filters + 64) &&
           multiply(&scratch, layer->channels + 64) && layer->activation >= ATROUS_NONE &&
           layer->activation <= ATROUS_LEAKY;
}

// Steps read inputs and what steps before them wrote.
inline bool sound(const atrous_elementwise *run) {
    if (run == nullptr || run->images < 1 || run->lines < 1 || run->columns < 1) return false;
    int64_t floats = 4;
    if (!multiply(&floats, run->images) || !multiply(&floats, run->lines) || !multiply(&floats, run->columns)) return false;
    if (run->input_count < 1 || run->input_count > ATROUS_ELEMENTWISE_VALUES || run->scratch < 0) return false;
    if (run->scratch > ATROUS_ELEMENTWISE_VALUES - run->input_count || run->step_count < 1) return false;
    const int32_t values = run->input_count + run->scratch;
    for (int i = 0; i < run->input_count; ++i) {
        const atrous_elementwise_input &from = run->inputs[i];
        if (from.column < 0 || from.column > 1 || from.image < 0 || from.line < 0) return false;
        int64_t images = from.image, lines = from.line;
        if (!multiply(&images, run->images) || !multiply(&lines, run->lines)) return false;
        if (images > kMost / 64 || lines > kMost / 64) return false;
    }
    bool written[ATROUS_ELEMENTWISE_VALUES] = {};
    for (int i = 0; i < run->input_count; ++i) written[i] = true;
    for (int s = 0; s < run->step_count; ++s) {
        const atrous_elementwise_step &step = run->steps[s];
        if (step.left < 0 || step.left >= values || !written[step.left]) return false;
        if (step.right < -1 || step.right >= values || (step.right >= 0 && !written[step.right])) return false;
        if (step.combine < ATROUS_PLUS || step.combine > ATROUS_LESS) return false;
        if (step.function < ATROUS_NONE || step.function >= ATROUS_LEAKY_EACH) return false;
        if (s + 1 == run->step_count) continue;
        if (step.out < run->input_count || step.out >= values) return false;
        written[step.out] = true;
    }
    return true;
}

inline bool sound(const atrous_norm *norm) {
    if (norm == nullptr || norm->images < 1 || norm->channels < 1 || norm->positions < 1) return false;
    int64_t floats = 8;
    return norm->groups >= 1 && norm->channels % norm->groups == 0 && multiply(&floats, norm->images) &&
           multiply(&floats, norm->channels) && multiply(&floats, norm->positions);
}

inline bool sound(const atrous_sums *sums) {
    if (sums == nullptr || sums->images < 1 || sums->lines < 1 || sums->columns < 1) return false;
    int64_t floats = 8;
    return multiply(&floats, sums->images) && multiply(&floats, sums->lines) && multiply(&floats, sums->columns);
}

}  // namespace
}  // namespace atrous
#endif
