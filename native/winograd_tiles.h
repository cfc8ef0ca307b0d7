// Where the tiles of a layer by minimal filtering lie along its axes, kind by kind (parts.h).
#ifndef ATROUS_WINOGRAD_TILES_H
#define ATROUS_WINOGRAD_TILES_H

#include "axis.h"
#include "parts.h"
#include "points.h"

namespace {

// One axis: its tiles in order, each the first output and the number of outputs that exist.
struct TileAxis {
    int64_t in, out, stride, pad;
    int64_t apart, step;  // of the outputs of a tile, and of its inputs
    int outputs, form, points;  // of a tile; its inputs are as many as `form` (points.h)
    int64_t spread, cut, whole;  // where outputs of several phases lie (abi.h)
    int parts;
    int64_t reads[kMostTaps];  // how far behind the first input of a tile those of each part begin
    int64_t tiles;
    const int64_t *first;
    const int32_t *count;
};

// The outputs of a phase of `length` that tiles of one kind make: from `begin` to `end`.
struct Stretch {
    int64_t begin, end;
};

inline Stretch stretch_of(const atrous_winograd_layer &layer, int axis, int kind, int64_t length) {
    const int64_t main = main_outputs(layer, axis, length);
    return kind == 0 ? Stretch{0, main} : Stretch{main, length};
}

inline int64_t count_tiles(const atrous_winograd_layer &layer, int axis, int kind, const TileAxis &of) {
    int64_t tiles = 0;
    for (int64_t phase = 0; phase < smaller(of.apart, of.out); ++phase) {
        const Stretch some = stretch_of(layer, axis, kind, ceil_div(of.out - phase, of.apart));
        tiles += ceil_div(some.end - some.begin, of.outputs);
    }
    return tiles;
}

inline void list_tiles(const atrous_winograd_layer &layer, int axis, int kind, TileAxis *of, int64_t *first,
                       int32_t *count) {
    int64_t at = 0;
    for (int64_t phase = 0; phase < smaller(of->apart, of->out); ++phase) {
        const Stretch some = stretch_of(layer, axis, kind, ceil_div(of->out - phase, of->apart));
        for (int64_t done = some.begin; done < some.end; done += of->outputs, ++at) {
            first[at] = phase + done * of->apart;
            count[at] = static_cast<int32_t>(smaller<int64_t>(of->outputs, some.end - done));
        }
    }
    of->tiles = at;
    of->first = first;
    of->count = count;
}

inline int form_of(const atrous_winograd_layer &layer, int axis, int kind) {
    const Kind one = kind_of(layer, axis, kind);
    return static_cast<int>(one.closed ? one.tile : one.tile + layer.taps[axis] - 1);
}

// One kind of tiles along an axis; its lists are made later.
inline TileAxis axis_of(const atrous_winograd_layer &layer, int a, int kind) {
    TileAxis axis{};
    axis.in = layer.in[a], axis.out = layer.out[a], axis.stride = layer.stride[a], axis.pad = layer.pad[a];
    axis.apart = phases_of(layer, a);
    axis.step = axis.apart * layer.stride[a];
    axis.spread = layer.spread[a], axis.cut = layer.cut[a], axis.whole = layer.whole[a];
    const Kind one = kind_of(layer, a, kind);
    axis.outputs = static_cast<int>(one.tile);
    axis.form = form_of(layer, a, kind);
    axis.points = products_of(axis.form);
    for_each_part(layer.kernel[a], layer.stride[a], layer.dilation[a], layer.taps[a],
                  [&](int64_t first) { axis.reads[axis.parts++] = first * layer.dilation[a]; });
    // What the first tap of a closed tile's first output reads is left out.
    if (one.closed) axis.reads[0] = layer.dilation[a];
    return axis;
}

}  // namespace
#endif
