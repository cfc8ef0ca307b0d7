// Rows that are grids, for streams: places of channels side by side, and windows across them as along time.
//
// Layout: the channels of a place lie side by side, so a tap across is a pointer some places on, and a convolution is a
// sum of products of packed panels, all taps across within each tap along. Where a window stands over the first or last
// place it meets the taps that are there alone. float32, plain sums in registers that begin with the bias.
// Threads share the panels, and the rows or places; no result depends on them.
#ifndef ATROUS_STREAM_GRID_H
#define ATROUS_STREAM_GRID_H

#include <math.h>

#include "product.h"
#include "stream_functions.h"
#include "stream_run.h"
#include "stream_values.h"

namespace {

// The taps across of one place: place `begin` + dilation j for `first` <= j < `stop`.
struct SideTaps {
    int64_t begin, first, stop;
};

ATROUS_INLINE SideTaps side_taps(const atrous_stream_step &s, int64_t place) {
    const int64_t begin = place * s.side_stride - s.side_pad, rate = s.side_dilation;
    const int64_t stop = begin >= s.left_places ? 0 : smaller(s.side_taps, (s.left_places - begin + rate - 1) / rate);
    const int64_t first = begin >= 0 ? 0 : (rate - begin - 1) / rate;
    return {begin, smaller(first, stop), stop};
}

ATROUS_INLINE bool alike_taps(const SideTaps &a, const SideTaps &b) { return a.first == b.first && a.stop == b.stop; }

// What a tile of sums reads and writes: outputs `from_step` and `to_step` apart.
struct GridTile {
    const float *from, *weight, *bias;
    float *to;
    int64_t from_step, tap_step, to_step, count;
};

// R outputs by N vectors of filters.
template <int R, int N>
ATROUS_INLINE void grid_tile(const atrous_stream_step &s, const GridTile &t, const SideTaps &side, int64_t at) {
    typedef Vec<float> V;
    constexpr int64_t L = Types<float>::lanes;
    V sum[R][N];
    ATROUS_UNROLL(8)
    for (int n = 0; n < N; ++n) {
        const V first = t.bias == nullptr ? V{} : load(t.bias + n * L);
        ATROUS_UNROLL(8)
        for (int r = 0; r < R; ++r) sum[r][n] = first;
    }
    const float *row = t.from + at * t.from_step;
    for (int64_t tap = 0; tap < s.taps; ++tap, row += t.tap_step) {
        for (int64_t j = side.first; j < side.stop; ++j) {
            const float *from = row + (side.begin + j * s.side_dilation) * s.left_jump;
            const float *w = t.weight + (tap * s.side_taps + j) * s.channels * N * L;
            for (int64_t k = 0; k < s.channels; ++k, w += N * L) {
                V right[N];
                ATROUS_UNROLL(8)
                for (int n = 0; n < N; ++n) right[n] = load(w + n * L);
                ATROUS_UNROLL(8)
                for (int r = 0; r < R; ++r) {
                    const V one = splat(from[r * t.from_step + k]);
                    ATROUS_UNROLL(8)
                    for (int n = 0; n < N; ++n) sum[r][n] += one * right[n];
                }
            }
        }
    }
    ATROUS_UNROLL(8)
    for (int r = 0; r < R; ++r) {
        float *to = t.to + (at + r) * t.to_step;
        ATROUS_UNROLL(8)
        for (int n = 0; n < N; ++n) {
            const int64_t left = t.count - n * L;
            if (left >= L) {
                store<float>(to + n * L, sum[r][n]);
            } else {
                store_some<float>(to + n * L, sum[r][n], left);
            }
        }
    }
}

template <int N>
__attribute__((noinline)) void grid_outputs(const atrous_stream_step &s, const GridTile &t, const SideTaps &side,
                                            int64_t outputs) {
    int64_t at = 0;
    for (; at + kRows <= outputs; at += kRows) grid_tile<kRows, N>(s, t, side, at);
    for (; at + 3 <= outputs; at += 3) grid_tile<3, N>(s, t, side, at);
    for (; at < outputs; ++at) grid_tile<1, N>(s, t, side, at);
}

inline void grid_outputs_of(int64_t vectors, const atrous_stream_step &s, const GridTile &t, const SideTaps &side,
                            int64_t outputs) {
    switch (vectors) {
        case 1: return grid_outputs<1>(s, t, side, outputs);
        case 2: return grid_outputs<2>(s, t, side, outputs);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return grid_outputs<3>(s, t, side, outputs);
        default: return grid_outputs<4>(s, t, side, outputs);
#endif
    }
}

// The function of all that some rows made.
inline void grid_function(const StreamRun &run, const atrous_stream_step &s, int64_t rows, int64_t columns,
                          const StreamRows &out) {
    if (s.function == ATROUS_NONE) return;
    const bool whole = s.out_jump == columns;
    const int64_t pieces = whole ? 1 : s.out_places, each = whole ? s.out_places * columns : columns;
    in_pieces(run, rows, rows * pieces * each > kAloneFloats, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t piece = 0; piece < pieces; ++piece) {
                float *to = out.at + row * out.step * s.spread + piece * s.out_jump;
                apply(s.function, to, to, each, s.alpha, s.beta, nullptr, nullptr);
            }
        }
    });
}

inline bool is_large_grid(const atrous_stream_step &s, int64_t rows, int64_t columns) {
    const double terms = static_cast<double>(s.taps * s.side_taps * s.channels) * static_cast<double>(columns);
    return terms * static_cast<double>(rows) * static_cast<double>(s.out_places) > static_cast<double>(kAloneTerms);
}

inline void step_grid(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                      const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    const float *constants = run.program->constants;
    const int64_t panels = ceil_div(s.filters, kPanel * L), row_step = s.stride * left.step;
    // A tile goes along whichever there is more of: then fewer outputs are left over.
    const bool along = rows >= s.out_places;
    const int64_t lines = along ? s.out_places : rows;
    in_pieces(run, panels * lines, is_large_grid(s, rows, s.filters), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t first = item / lines * kPanel * L, line = item % lines;
            const int64_t count = smaller<int64_t>(kPanel * L, s.filters - first), vectors = ceil_div(count, L);
            GridTile t{};
            t.weight = constants + s.weight + first * s.taps * s.side_taps * s.channels;
            t.bias = s.bias < 0 ? nullptr : constants + s.bias + first;
            t.tap_step = s.dilation * left.step, t.count = count;
            if (along) {
                t.from = left.at, t.from_step = row_step;
                t.to = out.at + line * s.out_jump + first, t.to_step = out.step * s.spread;
                grid_outputs_of(vectors, s, t, side_taps(s, line), rows);
                continue;
            }
            t.from_step = s.side_stride * s.left_jump, t.to_step = s.out_jump;
            for (int64_t place = 0, stop; place < s.out_places; place = stop) {
                const SideTaps side = side_taps(s, place);
                for (stop = place + 1; stop < s.out_places && alike_taps(side, side_taps(s, stop)); ++stop) {}
                t.from = left.at + line * row_step;
                t.to = out.at + line * out.step * s.spread + place * s.out_jump + first;
                grid_outputs_of(vectors, s, t, side, stop - place);
            }
        }
    });
    grid_function(run, s, rows, s.filters, out);
}

inline void step_grid_depthwise(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                                const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    const float *weight = run.program->constants + s.weight, *bias = s.bias < 0 ? nullptr : run.program->constants + s.bias;
    const int64_t width = ceil_div(s.channels, L) * L, tap_step = s.dilation * left.step;
    in_pieces(run, rows, is_large_grid(s, rows, 1), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin * s.out_places; item < end * s.out_places; ++item) {
            const int64_t row = item / s.out_places, place = item % s.out_places;
            const SideTaps side = side_taps(s, place);
            const float *from = left.at + row * s.stride * left.step;
            float *to = out.at + row * out.step * s.spread + place * s.out_jump;
            for (int64_t c = 0; c < s.channels; c += L) {
                Vec<float> sum = bias == nullptr ? Vec<float>{} : load(bias + c);
                for (int64_t tap = 0; tap < s.taps; ++tap) {
                    for (int64_t j = side.first; j < side.stop; ++j) {
                        const float *x = from + tap * tap_step + (side.begin + j * s.side_dilation) * s.left_jump + c;
                        sum += load(x) * load(weight + (tap * s.side_taps + j) * width + c);
                    }
                }
                if (s.channels - c >= L) {
                    store<float>(to + c, sum);
                } else {
                    store_some<float>(to + c, sum, s.channels - c);
                }
            }
        }
    });
    grid_function(run, s, rows, s.channels, out);
}

// The largest of each channel's taps, or their sum times beta. A NaN wins.
inline void step_grid_pool(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                           const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    const bool mean = s.op == ATROUS_STEP_GRID_MEAN;
    in_pieces(run, rows, is_large_grid(s, rows, 1), [&](int64_t begin, int64_t end) {
        for (int64_t item = begin * s.out_places; item < end * s.out_places; ++item) {
            const int64_t row = item / s.out_places, place = item % s.out_places;
            const SideTaps side = side_taps(s, place);
            const float *from = left.at + row * s.stride * left.step;
            float *to = out.at + row * out.step + place * s.out_jump;
            for (int64_t c = 0; c < s.channels; c += L) {
                Vec<float> found = mean ? Vec<float>{} : splat(-HUGE_VALF);
                for (int64_t tap = 0; tap < s.taps; ++tap) {
                    for (int64_t j = side.first; j < side.stop; ++j) {
                        const int64_t at = (side.begin + j * s.side_dilation) * s.left_jump + c;
                        const Vec<float> next = load(from + tap * s.dilation * left.step + at);
                        found = mean ? found + next : choose<float>((next > found) | (next != next), next, found);
                    }
                }
                if (mean) found = found * s.beta;
                if (s.channels - c >= L) {
                    store<float>(to + c, found);
                } else {
                    store_some<float>(to + c, found, s.channels - c);
                }
            }
        }
    });
}

inline void step_arrange(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                         const StreamRows &out) {
    in_pieces(run, rows, rows * s.out_places * s.channels > kAloneFloats, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            for (int64_t i = 0; i < s.out_places; ++i) {
                const float *from = left.at + row * left.step + i * s.left_jump;
                float *to = out.at + row * out.step + i * s.out_jump;
                if (s.side_stride == 1) {
                    memmove(to, from, sizeof(float) * static_cast<size_t>(s.channels));
                } else {
                    for (int64_t j = 0; j < s.channels; ++j) to[j] = from[j * s.side_stride];
                }
            }
        }
    });
}

}  // namespace
#endif
