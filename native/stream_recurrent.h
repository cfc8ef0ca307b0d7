// Recurrent layers of streams: LSTM, GRU, and a function of a sum.
//
// What comes in is multiplied for many rows at once (product.h), what is carried row by row: sums of its products lie in
// as many registers as hide their latency. float32; functions as in activation.h. Gates are whole vectors: what is
// carried beyond `units` is zeros times zeros. Threads share the panels of what comes in; no result depends on them.
#ifndef ATROUS_STREAM_RECURRENT_H
#define ATROUS_STREAM_RECURRENT_H

#include <string.h>

#include "activation.h"
#include "product.h"
#include "stream_run.h"
#include "stream_values.h"

namespace {

constexpr int64_t kRecurrentRows = 48;  // rows whose gates are made at once: they stay in the second-level cache

inline bool is_recurrent(int32_t op) {
    return op == ATROUS_STEP_LSTM || op == ATROUS_STEP_GRU || op == ATROUS_STEP_RECURRENT;
}

inline int64_t gates_of(int32_t op) { return op == ATROUS_STEP_LSTM ? 4 : op == ATROUS_STEP_GRU ? 3 : 1; }

// One row times a panel of N vectors.
template <int N>
ATROUS_INLINE void one_row(const float *a, const float *w, int64_t depth, float *c) {
    typedef Vec<float> V;
    constexpr int64_t L = Types<float>::lanes;
    constexpr int U = N > 2 ? 2 : N == 2 ? 4 : 8;
    V sum[U][N] = {};
    int64_t k = 0;
    for (; k + U <= depth; k += U, w += U * N * L) {
        ATROUS_UNROLL(8)
        for (int u = 0; u < U; ++u) {
            const V one = splat(a[k + u]);
            ATROUS_UNROLL(8)
            for (int n = 0; n < N; ++n) sum[u][n] += one * load(w + (u * N + n) * L);
        }
    }
    for (; k < depth; ++k, w += N * L) {
        const V one = splat(a[k]);
        ATROUS_UNROLL(8)
        for (int n = 0; n < N; ++n) sum[0][n] += one * load(w + n * L);
    }
    ATROUS_UNROLL(8)
    for (int n = 0; n < N; ++n) {
        V all = sum[0][n];
        ATROUS_UNROLL(8)
        for (int u = 1; u < U; ++u) all += sum[u][n];
        store<float>(c + n * L, all);
    }
}

__attribute__((noinline)) void one_row_of(int64_t vectors, const float *a, const float *w, int64_t depth, float *c) {
    switch (vectors) {
        case 1: return one_row<1>(a, w, depth, c);
        case 2: return one_row<2>(a, w, depth, c);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return one_row<3>(a, w, depth, c);
        default: return one_row<4>(a, w, depth, c);
#endif
    }
}

// c (rows x filters) = a, whose rows are `a_step` apart, times all panels.
inline void all_panels(const StreamRun &run, const float *a, int64_t a_step, int64_t rows, const float *weight, int64_t depth,
                       int64_t filters, float *c) {
    constexpr int64_t L = Types<float>::lanes;
    const double terms = static_cast<double>(rows) * static_cast<double>(depth) * static_cast<double>(filters);
    in_pieces(run, ceil_div(filters, kPanel * L), terms > static_cast<double>(kAloneTerms), [&](int64_t begin, int64_t end) {
        for (int64_t panel = begin; panel < end; ++panel) {
            const int64_t first = panel * kPanel * L, vectors = smaller<int64_t>(kPanel, (filters - first) / L);
            const float *w = weight + first * depth;
            if (rows == 1) {
                one_row_of(vectors, a, w, depth, c + first);
            } else {
                product_of<float>(vectors, a, a_step, rows, w, depth, c + first, filters, w);
            }
        }
    });
}

// The new state of one sequence, by the products of what comes in and of what is carried.
struct Gates {
    const float *in, *carried, *bias, *last;
    int64_t hidden;

    ATROUS_INLINE Vec<float> entered(int64_t at) const {
        const Vec<float> x = load(in + at);
        return bias == nullptr ? x : x + load(bias + at);
    }
    ATROUS_INLINE Vec<float> both(int64_t at) const { return entered(at) + load(carried + at); }
};

__attribute__((noinline)) void lstm_cell(const Gates &g, float *h, float *c) {
    typedef Vec<float> V;
    for (int64_t j = 0; j < g.hidden; j += Types<float>::lanes) {
        const V taken = activated<float>(g.both(j), ATROUS_SIGMOID);
        const V kept = activated<float>(g.both(g.hidden + j), ATROUS_SIGMOID);
        const V fresh = tangent(g.both(2 * g.hidden + j));
        const V shown = activated<float>(g.both(3 * g.hidden + j), ATROUS_SIGMOID);
        const V cell = kept * load(c + j) + taken * fresh;
        store<float>(c + j, cell);
        store<float>(h + j, shown * tangent(cell));
    }
}

__attribute__((noinline)) void gru_cell(const Gates &g, float *h) {
    typedef Vec<float> V;
    for (int64_t j = 0; j < g.hidden; j += Types<float>::lanes) {
        const V reset = activated<float>(g.both(j), ATROUS_SIGMOID);
        const V kept = activated<float>(g.both(g.hidden + j), ATROUS_SIGMOID);
        V inner = load(g.carried + 2 * g.hidden + j);
        if (g.last != nullptr) inner += load(g.last + j);
        const V fresh = tangent(g.entered(2 * g.hidden + j) + reset * inner);
        store<float>(h + j, fresh + kept * (load(h + j) - fresh));
    }
}

__attribute__((noinline)) void plain_cell(const Gates &g, float *h, int32_t function) {
    for (int64_t j = 0; j < g.hidden; j += Types<float>::lanes) {
        const Vec<float> sum = g.both(j);
        store<float>(h + j, function == ATROUS_TANH ? tangent(sum) : activated<float>(sum, ATROUS_RELU));
    }
}

inline bool step_recurrent(const StreamRun &run, const atrous_stream_step &s, int64_t rows, const StreamRows &left,
                           const StreamRows &right, const StreamRows &out) {
    const float *constants = run.program->constants;
    const int64_t hidden = s.filters / gates_of(s.op), many = s.out_places;
    const int64_t piece = smaller(rows, larger<int64_t>(1, kRecurrentRows / many));
    const size_t size = static_cast<size_t>((piece + 1) * many * s.filters);
    float *entered = static_cast<float *>(atrous::scratch(1, sizeof(float) * size));
    if (entered == nullptr) return false;
    float *carried = entered + piece * many * s.filters;
    float *state = right.at, *cells = right.at + many * hidden;
    for (int64_t row = 0; row < rows; row += piece) {
        const int64_t count = smaller(piece, rows - row);
        const float *from = left.at + row * left.step;
        if (many == 1) {
            all_panels(run, from, left.step, count, constants + s.weight, s.channels, s.filters, entered);
        }
        for (int64_t r = 0; r < count && many > 1; ++r) {
            all_panels(run, from + r * left.step, s.left_jump, many, constants + s.weight, s.channels, s.filters,
                       entered + r * many * s.filters);
        }
        for (int64_t r = 0; r < count; ++r) {
            all_panels(run, state, hidden, many, constants + s.carry_weight, s.units, s.filters, carried);
            float *to = out.at + (row + r) * out.step;
            for (int64_t one = 0; one < many; ++one) {
                Gates gates{};
                gates.in = entered + (r * many + one) * s.filters, gates.carried = carried + one * s.filters;
                gates.bias = s.bias < 0 ? nullptr : constants + s.bias;
                gates.last = s.carry_bias < 0 ? nullptr : constants + s.carry_bias;
                gates.hidden = hidden;
                float *h = state + one * hidden;
                if (s.op == ATROUS_STEP_LSTM) {
                    lstm_cell(gates, h, cells + one * hidden);
                } else if (s.op == ATROUS_STEP_GRU) {
                    gru_cell(gates, h);
                } else {
                    plain_cell(gates, h, s.function);
                }
                memmove(to + one * s.out_jump, h, sizeof(float) * static_cast<size_t>(s.units));
            }
        }
    }
    return true;
}

}  // namespace
#endif
