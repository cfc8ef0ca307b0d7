// Streams: one push of a model through all of its steps, on rows of channels that lie in one arena.
//
// Layout: rows follow time, columns are channels, so a tap is a pointer some rows on and a convolution of any rate and
// stride is a sum of products of packed panels (product.h). float32; at most 64 terms are summed up in a register, which
// begins with the bias; runs are added in memory. Depthwise sums and norms are plain sums in float32.
// Threads share the panels and rows of a product, and the rows of what else is large; no result depends on them.
#ifndef ATROUS_STREAM_H
#define ATROUS_STREAM_H

#include <math.h>

#include <atomic>

#include "abi.h"
#include "product.h"
#include "stream_functions.h"
#include "stream_grid.h"
#include "stream_recurrent.h"
#include "stream_run.h"
#include "stream_values.h"
#include "threads.h"

namespace {

constexpr int64_t kStreamRows = 48;             // rows of one piece of a product: their sums stay in the first-level cache
constexpr int64_t kRun = 64;                    // terms that one register sums up


// Sums of R rows by N vectors in registers, over all taps, and where they go when they have kRun terms.
template <int R, int N>
ATROUS_INLINE void stream_tile(const atrous_stream_step &s, const float *a, int64_t a_step, int64_t tap_step, const float *w,
                               float *c, int64_t c_step, const float *begin, const float *more, int64_t more_step, bool add) {
    constexpr int64_t L = Types<float>::lanes;
    Sums<float, R, N> sum;
    begin_sums<float, R, N>(sum, begin);
    int64_t room = kRun, left = s.taps * s.channels;
    for (int64_t tap = 0; tap < s.taps; ++tap, a += tap_step) {
        for (int64_t k = 0; k < s.channels;) {
            const int64_t terms = smaller(room, s.channels - k);
            add_terms<float, R, N>(sum, a + k, a_step, 1, w, N * L, terms, nullptr);
            w += terms * N * L;
            k += terms, room -= terms, left -= terms;
            if (room > 0 && left > 0) continue;
            store_sums<float, R, N>(sum, c, c_step, add ? c : more, add ? c_step : more_step);
            begin_sums<float, R, N>(sum, nullptr);
            add = true, room = kRun;
        }
    }
}

// `rows` of any number: six at a time, then what is left.
template <int N>
ATROUS_INLINE void stream_rows(const atrous_stream_step &s, const float *a, int64_t a_step, int64_t tap_step, int64_t rows,
                               const float *w, float *c, int64_t c_step, const float *begin, const float *more,
                               int64_t more_step, bool add) {
    for (; rows >= kRows; rows -= kRows, a += kRows * a_step, c += kRows * c_step) {
        stream_tile<kRows, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
        if (more != nullptr) more += kRows * more_step;
    }
    switch (rows) {
        case 5: return stream_tile<5, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
        case 4: return stream_tile<4, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
        case 3: return stream_tile<3, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
        case 2: return stream_tile<2, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
        case 1: return stream_tile<1, N>(s, a, a_step, tap_step, w, c, c_step, begin, more, more_step, add);
    }
}

// c (rows x N vectors): the sum over taps of a * weight, which begins with a row, and `more` rows; or is added.
template <int N>
__attribute__((noinline)) void stream_product(const atrous_stream_step &s, const float *a, int64_t a_step, int64_t tap_step,
                                              int64_t rows, const float *w, float *c, int64_t c_step, const float *begin,
                                              const float *more, int64_t more_step, bool add) {
    constexpr int64_t L = Types<float>::lanes;
    if (s.taps * s.channels * N * L <= 8192 || rows <= kRows) {
        // The panel stays in the first-level cache, or is read once.
        return stream_rows<N>(s, a, a_step, tap_step, rows, w, c, c_step, begin, more, more_step, add);
    }
    // A part of the panel meets all rows while it is there.
    atrous_stream_step part = s;
    part.taps = 1;
    for (int64_t tap = 0; tap < s.taps; ++tap, a += tap_step) {
        for (int64_t k = 0; k < s.channels; k += kDeep, w += part.channels * N * L) {
            part.channels = smaller(kDeep, s.channels - k);
            stream_rows<N>(part, a + k, a_step, 0, rows, w, c, c_step, begin, more, more_step, add);
            begin = more = nullptr, add = true;
        }
    }
}

inline void stream_product_of(int64_t vectors, const atrous_stream_step &s, const float *a, int64_t a_step,
                              int64_t tap_step, int64_t rows, const float *w, float *c, int64_t c_step,
                              const float *begin, const float *more, int64_t more_step, bool add) {
    switch (vectors) {
        case 1: return stream_product<1>(s, a, a_step, tap_step, rows, w, c, c_step, begin, more, more_step, add);
        case 2: return stream_product<2>(s, a, a_step, tap_step, rows, w, c, c_step, begin, more, more_step, add);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return stream_product<3>(s, a, a_step, tap_step, rows, w, c, c_step, begin, more, more_step, add);
        default: return stream_product<4>(s, a, a_step, tap_step, rows, w, c, c_step, begin, more, more_step, add);
#endif
    }
}

// Bias, sums and function of `rows` rows of one panel, which begins at column `first`.
inline bool multiply_piece(const StreamRun &run, const atrous_stream_step &s, const StreamRows &left, const StreamRows &right, const StreamRows &out,
                           int64_t out_step, int64_t first, int64_t row, int64_t rows) {
    constexpr int64_t L = Types<float>::lanes;
    const float *constants = run.program->constants;
    const int64_t count = smaller<int64_t>(kPanel * L, s.filters - first), width = ceil_div(count, L) * L;
    float *to = out.at + row * out_step + first;
    float *c = to;
    int64_t c_step = out_step;
    if (width != count) {
        c = static_cast<float *>(atrous::scratch(0, sizeof(float) * kStreamRows * kPanel * L));
        if (c == nullptr) return false;
        c_step = width;
    }
    if (s.add && c != to) {
        for (int64_t r = 0; r < rows; ++r) {
            memcpy(c + r * c_step, to + r * out_step, sizeof(float) * static_cast<size_t>(count));
        }
    }
    const float *panel = constants + s.weight + first * s.taps * s.channels;
    const float *more = right.at == nullptr ? nullptr : right.at + row * right.step + first;
    stream_product_of(width / L, s, left.at + row * s.stride * left.step, s.stride * left.step, s.dilation * left.step, rows,
                      panel, c, c_step, s.bias < 0 ? nullptr : constants + s.bias + first, more, right.step,
                      s.add != 0);
    for (int64_t r = 0; r < rows; ++r) {
        if (s.function != ATROUS_NONE) {
            apply(s.function, c + r * c_step, c + r * c_step, count, s.alpha, s.beta, nullptr, nullptr);
        }
        if (c != to) memcpy(to + r * out_step, c + r * c_step, sizeof(float) * static_cast<size_t>(count));
    }
    return true;
}

inline bool step_product(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                         const StreamRows &right, const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    const int64_t panels = ceil_div(s.filters, kPanel * L), terms = s.taps * s.channels * s.filters;
    const int64_t out_step = out.step * s.spread;
    // StreamRows are shared out where there are not panels enough for all threads, and in pieces whose sums stay near.
    int64_t piece = smaller(kStreamRows, rows);
    const bool is_large = rows * terms > kAloneTerms;
    if (is_large && run.threads > 1 && panels * ceil_div(rows, piece) < 2 * run.threads) {
        piece = smaller(piece, larger<int64_t>(kRows, ceil_div(ceil_div(rows * panels, 2 * run.threads), kRows) * kRows));
    }
    const int64_t pieces = ceil_div(rows, piece);
    std::atomic<bool> fine{true};
    in_pieces(run, panels * pieces, is_large, [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
            const int64_t row = item % pieces * piece;
            if (!multiply_piece(run, s, left, right, out, out_step, item / pieces * kPanel * L, row, smaller(piece, rows - row))) {
                fine.store(false, std::memory_order_relaxed);
            }
        }
    });
    return fine.load(std::memory_order_relaxed);
}

inline void step_depthwise(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left, const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    const float *weight = run.program->constants + s.weight, *bias = s.bias < 0 ? nullptr : run.program->constants + s.bias;
    const int64_t width = ceil_div(s.channels, L) * L;
    in_pieces(run, rows, rows * s.channels * s.taps > 2 * kAloneFloats, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            const float *from = left.at + row * s.stride * left.step;
            float *to = out.at + row * out.step * s.spread;
            for (int64_t c = 0; c < s.channels; c += L) {
                Vec<float> sum = bias == nullptr ? Vec<float>{} : load(bias + c);
                for (int64_t tap = 0; tap < s.taps; ++tap) {
                    sum += load(from + tap * s.dilation * left.step + c) * load(weight + tap * width + c);
                }
                if (s.channels - c >= L) {
                    store<float>(to + c, sum);
                } else {
                    store_some<float>(to + c, sum, s.channels - c);
                }
            }
            if (s.function != ATROUS_NONE) apply(s.function, to, to, s.channels, s.alpha, s.beta, nullptr, nullptr);
        }
    });
}

// The largest of each column's taps, or their mean. A NaN wins.
inline void step_pool(const atrous_stream_step &s, int64_t rows, const StreamRows &left, const StreamRows &out) {
    constexpr int64_t L = Types<float>::lanes;
    for (int64_t row = 0; row < rows; ++row) {
        const float *from = left.at + row * s.stride * left.step;
        for (int64_t c = 0; c < s.channels; c += L) {
            Vec<float> found = load(from + c);
            for (int64_t tap = 1; tap < s.taps; ++tap) {
                const Vec<float> next = load(from + tap * s.dilation * left.step + c);
                found = s.op == ATROUS_STEP_MEAN ? found + next
                                                 : choose<float>((next > found) | (next != next), next, found);
            }
            if (s.op == ATROUS_STEP_MEAN) found = found * s.beta;
            if (s.channels - c >= L) {
                store<float>(out.at + row * out.step + c, found);
            } else {
                store_some<float>(out.at + row * out.step + c, found, s.channels - c);
            }
        }
    }
}

// The sums of rows, and sums so far of every column, in double precision from row to row.
inline void step_sums(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                      const StreamRows &right, const StreamRows &out) {
    if (s.op == ATROUS_STEP_SUM) {
        return in_pieces(run, rows, rows * s.channels > 2 * kAloneFloats, [&](int64_t begin, int64_t end) {
            for (int64_t row = begin; row < end; ++row) {
                const float *from = left.at + row * left.step;
                out.at[row * out.step] = total(from, s.channels, 0.0f, s.left_function == ATROUS_SQUARE) * s.beta;
            }
        });
    }
    for (int64_t c = 0; c < s.channels; ++c) {
        double sum;
        memcpy(&sum, right.at + 2 * c, sizeof sum);
        for (int64_t row = 0; row < rows; ++row) {
            sum += left.at[row * left.step + c];
            out.at[row * out.step + c] = static_cast<float>(sum);
        }
        memcpy(right.at + 2 * c, &sum, sizeof sum);
    }
}

inline void step_elementwise(const StreamRun &run, const atrous_stream_step &given, int64_t rows, const StreamRows &left,
                             const StreamRows &right, const StreamRows &out) {
    atrous_stream_step s = given;
    if (s.channels == 1) s.one = 0;  // one number beside one
    const float *constants = run.program->constants;
    const float *a = s.weight < 0 ? nullptr : constants + s.weight, *b = s.bias < 0 ? nullptr : constants + s.bias;
    const bool is_binary = s.op == ATROUS_STEP_BINARY, each = is_each(s.function);
    int64_t count = s.channels;
    // StreamRows without gaps are one long row.
    if (!each && left.step == count && out.step == count && (!is_binary || (right.step == count && !s.one))) {
        const int64_t length = rows * count, line = 4096;
        in_pieces(run, ceil_div(length, line), length > kAloneFloats, [&](int64_t begin, int64_t end) {
            const int64_t from = begin * line, n = smaller(end * line, length) - from;
            if (is_binary) {
                combine_row(s, left.at + from, right.at + from, out.at + from, n, a, b);
            } else {
                apply(s.function, left.at + from, out.at + from, n, s.alpha, s.beta, a, b);
            }
        });
        return;
    }
    in_pieces(run, rows, rows * count > kAloneFloats, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
            float *to = out.at + row * out.step;
            if (is_binary) {
                combine_row(s, left.at + row * left.step, right.at + row * right.step, to, count, a, b);
            } else {
                apply(s.function, left.at + row * left.step, to, count, s.alpha, s.beta, a, b);
            }
        }
    });
}

inline int run_step(const StreamRun &run, const atrous_stream_step &s, const atrous_stream_turn &turn, int64_t batch,
                    const atrous_stream_port *ports) {
    const atrous_stream_program &p = *run.program;
    float *arena = p.arena + batch * p.arena_floats;
    StreamRows left{}, right{}, out{};
    // Only of the sides that the op has, which were checked: the others may hold any number.
    const bool has_left = s.op != ATROUS_STEP_TAKE && s.op != ATROUS_STEP_COUNT, has_out = s.op != ATROUS_STEP_GIVE;
    const bool has_right = s.op == ATROUS_STEP_BINARY || s.op == ATROUS_STEP_SO_FAR || is_recurrent(s.op) ||
                           (s.op == ATROUS_STEP_PRODUCT && s.right >= 0);
    if (has_left) left = rows_at(arena, p.values[s.left], turn.left, s.left_column);
    if (has_right) right = rows_at(arena, p.values[s.right], turn.right, s.right_column);
    if (has_out) out = rows_at(arena, p.values[s.out], turn.out, s.out_column);
    switch (s.op) {
        case ATROUS_STEP_TAKE: take_rows(ports[s.port], batch, turn, s.channels, out); break;
        case ATROUS_STEP_GIVE: give_rows(ports[s.port], batch, turn, s.channels, left); break;
        case ATROUS_STEP_PRODUCT:
            if (!step_product(run, s, turn.rows, left, right, out)) return ATROUS_NO_MEMORY;
            break;
        case ATROUS_STEP_DEPTHWISE: step_depthwise(run, s, turn.rows, left, out); break;
        case ATROUS_STEP_UNARY:
        case ATROUS_STEP_BINARY: step_elementwise(run, s, turn.rows, left, right, out); break;
        case ATROUS_STEP_NORM: {
            const float *a = s.weight < 0 ? nullptr : p.constants + s.weight;
            const float *b = s.bias < 0 ? nullptr : p.constants + s.bias;
            const int64_t count = s.channels / s.filters;
            in_pieces(run, turn.rows, turn.rows * s.channels > kAloneFloats, [&](int64_t begin, int64_t end) {
                for (int64_t item = begin * s.filters; item < end * s.filters; ++item) {
                    const int64_t r = item / s.filters, c = item % s.filters * count;
                    normalize(left.at + r * left.step + c, out.at + r * out.step + c, count, s.one == 0, s.alpha,
                              a == nullptr ? a : a + c, b == nullptr ? b : b + c);
                }
            });
            break;
        }
        case ATROUS_STEP_SOFTMAX:
            in_pieces(run, turn.rows, turn.rows * s.channels > kAloneFloats, [&](int64_t begin, int64_t end) {
                for (int64_t r = begin; r < end; ++r) {
                    shares(left.at + r * left.step, out.at + r * out.step, s.channels, s.one != 0);
                }
            });
            break;
        case ATROUS_STEP_GRID: step_grid(run, s, turn.rows, left, out); break;
        case ATROUS_STEP_GRID_DEPTHWISE: step_grid_depthwise(run, s, turn.rows, left, out); break;
        case ATROUS_STEP_GRID_LARGEST:
        case ATROUS_STEP_GRID_MEAN: step_grid_pool(run, s, turn.rows, left, out); break;
        case ATROUS_STEP_ARRANGE: step_arrange(run, s, turn.rows, left, out); break;
        case ATROUS_STEP_LSTM:
        case ATROUS_STEP_GRU:
        case ATROUS_STEP_RECURRENT:
            if (!step_recurrent(run, s, turn.rows, left, right, out)) return ATROUS_NO_MEMORY;
            break;
        case ATROUS_STEP_SUM:
        case ATROUS_STEP_SO_FAR: step_sums(run, s, turn.rows, left, right, out); break;
        case ATROUS_STEP_COUNT:
            for (int64_t r = 0; r < turn.rows; ++r) {
                const int64_t position = turn.left + p.periods * s.stride + r;
                for (int64_t c = 0; c < s.channels; ++c) {
                    out.at[r * out.step + c] = static_cast<float>(static_cast<double>(s.alpha) * static_cast<double>(position) + static_cast<double>(s.beta));
                }
            }
            break;
        case ATROUS_STEP_SHUFFLE:
            for (int64_t r = 0; r < turn.rows; ++r) {
                for (int64_t c = 0; c < s.channels; ++c) {
                    out.at[(r * s.spread + c % s.spread) * out.step + c / s.spread] = left.at[r * left.step + c];
                }
            }
            break;
        case ATROUS_STEP_COPY:
            for (int64_t r = 0; r < turn.rows; ++r) {
                memmove(out.at + r * out.step, left.at + r / s.spread * left.step,
                        sizeof(float) * static_cast<size_t>(s.channels));
            }
            break;
        default: step_pool(s, turn.rows, left, out); break;
    }
    if (has_out && p.values[s.out].ring) {
        const atrous_stream_value &value = p.values[s.out];
        if ((s.spread > 1 && s.op != ATROUS_STEP_COPY) || s.op >= ATROUS_STEP_GRID) {
            mirror_rows(arena, value, turn.out, turn.rows * s.spread, 0, value.step);
        } else {
            mirror_rows(arena, value, turn.out, turn.rows, s.out_column, s.op == ATROUS_STEP_PRODUCT ? s.filters : s.op == ATROUS_STEP_SUM ? 1 : s.channels);
        }
    }
    return ATROUS_OK;
}

inline int run_stream(const atrous_stream_program *program, const atrous_stream_turn *turns, const int64_t *grown,
                      const atrous_stream_port *ports) {
    const StreamRun run{program, program->threads};
    for (int64_t v = 0; v < program->value_count; ++v) make_room(*program, program->values[v], grown[v]);
    for (int64_t batch = 0; batch < program->batch; ++batch) {
        for (int64_t s = 0; s < program->step_count; ++s) {
            if (turns[s].rows == 0) continue;
            const int code = run_step(run, program->steps[s], turns[s], batch, ports);
            if (code != ATROUS_OK) return code;
        }
    }
    for (int64_t v = 0; v < program->value_count; ++v) {
        atrous_stream_value &value = program->values[v];
        value.head += grown[v];
        if (value.ring && value.head >= value.rows) value.head -= value.rows;
    }
    return ATROUS_OK;
}

}  // namespace
#endif
