// Rows of streams: out = h(f(left) o g(right)), in pieces that stay in the first-level cache, norms and shares.
#ifndef ATROUS_STREAM_FUNCTIONS_H
#define ATROUS_STREAM_FUNCTIONS_H

#include <math.h>

#include "functions.h"

namespace {

// tanh(x) / (1 + exp(-y)) by one division; tanh near 0 by the odd polynomial of `tangent`.
ATROUS_INLINE Vec<float> gated(Vec<float> x, Vec<float> y) {
    typedef Vec<float> V;
    const V size = choose<float>(x < 0.0f, -x, x);
    const V u = exponential(-(size + size)), whole = 1.0f + u;
    const V far = choose<float>(x < 0.0f, u - 1.0f, 1.0f - u);
    const V height = choose<float>(size > 0.625f, far, tangent_near(x) * whole);
    return height / (whole * (1.0f + exponential(-y)));
}

// out = h(f(left) o g(right)) for one row; `right` is one number where the step says so.
__attribute__((noinline)) void combine_row(const atrous_stream_step &s, const float *left, const float *right, float *to,
                                           int64_t count, const float *a, const float *b) {
    typedef Vec<float> V;
    constexpr int64_t kPiece = 512;
    alignas(64) float first[kPiece + 16], second[kPiece + 16];
    const bool is_gate = s.left_function == ATROUS_TANH && s.right_function == ATROUS_SIGMOID && s.combine == ATROUS_TIMES &&
                         !s.one && s.function == ATROUS_NONE;
    for (int64_t at = 0; at < count; at += kPiece) {
        const int64_t n = smaller(kPiece, count - at);
        const float *x = left + at, *y = s.one ? right : right + at;
        if (is_gate) {
            paired(x, y, false, to + at, n, [](V p, V q) { return gated(p, q); });
            continue;
        }
        if (s.left_function != ATROUS_NONE) {
            apply(s.left_function, x, first, n, s.left_alpha, 0.0f, nullptr, nullptr);
            x = first;
        }
        if (s.right_function != ATROUS_NONE) {
            apply(s.right_function, y, second, s.one ? 1 : n, s.right_alpha, 0.0f, nullptr, nullptr);
            y = second;
        }
        float *out = to + at;
        combined(s.combine, x, y, s.one, out, n);
        if (s.function != ATROUS_NONE) {
            apply(s.function, out, out, n, s.alpha, s.beta, a == nullptr ? a : a + at, b == nullptr ? b : b + at);
        }
    }
}

inline float total(const float *x, int64_t count, float mean, bool squared) {
    constexpr int64_t L = Types<float>::lanes;
    Vec<float> sum = {};
    int64_t i = 0;
    for (; i + L <= count; i += L) {
        const Vec<float> away = load(x + i) - mean;
        sum += squared ? away * away : away;
    }
    double found = 0;
    for (int64_t lane = 0; lane < L; ++lane) found += sum[lane];
    for (; i < count; ++i) found += squared ? (x[i] - mean) * (x[i] - mean) : x[i] - mean;
    return static_cast<float>(found);
}

// (x - mean) / sqrt(variance + epsilon) * a + b over one row; with a mean of 0 where it is not `centred`.
inline void normalize(const float *x, float *to, int64_t count, bool centred, float epsilon, const float *a, const float *b) {
    const float share = 1.0f / static_cast<float>(count);
    const float mean = centred ? total(x, count, 0.0f, false) * share : 0.0f;
    const float scale = 1.0f / sqrtf(total(x, count, mean, true) * share + epsilon);
    mapped(x, to, count, [=](Vec<float> value, int64_t i) {
        value = (value - mean) * scale;
        if (a != nullptr) value = value * load(a + i);
        return b != nullptr ? value + load(b + i) : value;
    });
}

// exp(x) over the sum of all exp(x) of one row, or the logarithm of it. A NaN is everywhere.
inline void shares(const float *x, float *to, int64_t count, bool logarithms) {
    float most = x[0];
    for (int64_t i = 1; i < count; ++i) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    double sum = 0;
    if (logarithms) {
        for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(expf(x[i] - most));
        const float less = static_cast<float>(log(sum));
        mapped(x, to, count, [=](Vec<float> value, int64_t) { return value - most - less; });
        return;
    }
    mapped(x, to, count, [=](Vec<float> value, int64_t) { return exponential(value - most); });
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(to[i]);
    const float share = static_cast<float>(1.0 / sum);
    mapped(to, to, count, [=](Vec<float> value, int64_t) { return value * share; });
}

}  // namespace
#endif
