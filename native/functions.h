// Functions of one and two rows: out = h(f(left) o g(right)), in pieces that stay in the first-level cache.
//
// float32. Activations as in activation.h; sine and cosine within 2 units in the last place for |x| < 8192 (range reduction by pi
// in three parts, odd polynomial of degree 11), by the C library beyond.
#ifndef ATROUS_FUNCTIONS_H
#define ATROUS_FUNCTIONS_H

#include <math.h>

#include "abi.h"
#include "activation.h"

namespace {

ATROUS_INLINE bool is_each(int32_t function) { return function >= ATROUS_LEAKY_EACH; }

// sin(x), or cos(x) where `ahead` is 1/2, for |x| < 8192.
ATROUS_INLINE Vec<float> wave_near(Vec<float> x, float ahead) {
    typedef Vec<float> V;
    typedef Mask<float> M;
    // The nearest n with x = (n - ahead) pi + r, for the sine n itself is whole, for the cosine n - 1/2.
    const V shifted = x * 0.318309886f + ahead + 12582912.0f;
    const V n = shifted - 12582912.0f - ahead;
    V r = x - n * 3.140625f;
    r = r - n * 9.67502593994140625e-4f;
    r = r - n * 1.509957990978376432e-7f;
    const M odd = (reinterpret_cast<M>(shifted) & 1) << 31;
    const V z = r * r;
    V p = splat(-2.3889859e-8f);
    p = p * z + 2.7525562e-6f;
    p = p * z - 1.9840874e-4f;
    p = p * z + 8.3333310e-3f;
    p = p * z - 1.6666667e-1f;
    const V value = r + r * z * p;
    return reinterpret_cast<V>(reinterpret_cast<M>(value) ^ odd);
}

ATROUS_INLINE bool any(Mask<float> which) {
    int32_t found = 0;
    for (int64_t lane = 0; lane < Types<float>::lanes; ++lane) found |= which[lane];
    return found != 0;
}

ATROUS_INLINE Vec<float> wave(Vec<float> x, float ahead) {
    Vec<float> value = wave_near(x, ahead);
    const Mask<float> near = (x < 8192.0f) & (x > -8192.0f);
    if (__builtin_expect(any(~near), 0)) {
        for (int64_t lane = 0; lane < Types<float>::lanes; ++lane) {
            if (!near[lane]) value[lane] = ahead == 0.0f ? sinf(x[lane]) : cosf(x[lane]);
        }
    }
    return value;
}

ATROUS_INLINE Vec<float> root(Vec<float> x) {
    for (int64_t lane = 0; lane < Types<float>::lanes; ++lane) x[lane] = sqrtf(x[lane]);
    return x;
}

ATROUS_INLINE Vec<float> logarithm(Vec<float> x) {
    for (int64_t lane = 0; lane < Types<float>::lanes; ++lane) x[lane] = logf(x[lane]);
    return x;
}

// exp(x) - 1 for x < 0: near 0 by a Taylor polynomial.
ATROUS_INLINE Vec<float> less_one(Vec<float> x) {
    typedef Vec<float> V;
    V p = splat(1.0f / 5040.0f);
    p = p * x + 1.0f / 720.0f;
    p = p * x + 1.0f / 120.0f;
    p = p * x + 1.0f / 24.0f;
    p = p * x + 1.0f / 6.0f;
    p = p * x + 0.5f;
    p = p * x + 1.0f;
    return choose<float>(x > -0.35f, x * p, exponential(x) - 1.0f);
}

// f on vectors of `count` floats; f(x, i) may read constants at i.
template <class F> ATROUS_INLINE void mapped(const float *from, float *to, int64_t count, F f) {
    constexpr int64_t L = Types<float>::lanes;
    int64_t i = 0;
    for (; i + L <= count; i += L) store<float>(to + i, f(load(from + i), i));
    if (i < count) store_some<float>(to + i, f(load(from + i), i), count - i);
}

__attribute__((noinline)) void apply(int32_t function, const float *from, float *to, int64_t count, float alpha,
                                            float beta, const float *a, const float *b) {
    typedef Vec<float> V;
#define ATROUS_MAPPED(value) return mapped(from, to, count, [=](V x, int64_t i) { (void)i; return value; })
    switch (function) {
        case ATROUS_NONE: ATROUS_MAPPED(x);
        case ATROUS_RELU: ATROUS_MAPPED(activated<float>(x, ATROUS_RELU));
        case ATROUS_RELU6: ATROUS_MAPPED(activated<float>(x, ATROUS_RELU6));
        case ATROUS_SILU: ATROUS_MAPPED(activated<float>(x, ATROUS_SILU));
        case ATROUS_HARDSWISH: ATROUS_MAPPED(activated<float>(x, ATROUS_HARDSWISH));
        case ATROUS_GELU: ATROUS_MAPPED(activated<float>(x, ATROUS_GELU));
        case ATROUS_TANH: ATROUS_MAPPED(activated<float>(x, ATROUS_TANH));
        case ATROUS_SIGMOID: ATROUS_MAPPED(activated<float>(x, ATROUS_SIGMOID));
        case ATROUS_LEAKY: ATROUS_MAPPED(choose<float>(x < 0.0f, x * alpha, x));
        case ATROUS_ELU: ATROUS_MAPPED(choose<float>(x < 0.0f, less_one(x) * alpha, x));
        case ATROUS_SCALED: ATROUS_MAPPED(x * alpha + beta);
        case ATROUS_EXP: ATROUS_MAPPED(exponential(x));
        case ATROUS_SQUARE: ATROUS_MAPPED(x * x);
        case ATROUS_SINE: ATROUS_MAPPED(wave(x, 0.0f));
        case ATROUS_COSINE: ATROUS_MAPPED(wave(x, 0.5f));
        case ATROUS_LOGARITHM: ATROUS_MAPPED(logarithm(x));
        case ATROUS_ROOT: ATROUS_MAPPED(root(x));
        case ATROUS_RECIPROCAL: ATROUS_MAPPED(1.0f / x);
        case ATROUS_ROOT_BELOW: ATROUS_MAPPED(1.0f / root(x));
        case ATROUS_ABSOLUTE: ATROUS_MAPPED(reinterpret_cast<V>(reinterpret_cast<Mask<float>>(x) & 0x7FFFFFFF));
        case ATROUS_CLAMPED: {
            ATROUS_MAPPED(choose<float>((x < alpha), splat(alpha), choose<float>(x > beta, splat(beta), x)));
        }
        case ATROUS_LEAKY_EACH: ATROUS_MAPPED(choose<float>(x < 0.0f, x * load(a + i), x));
        case ATROUS_SCALED_EACH: {
            if (a == nullptr) ATROUS_MAPPED(x + load(b + i));
            if (b == nullptr) ATROUS_MAPPED(x * load(a + i));
            ATROUS_MAPPED(x * load(a + i) + load(b + i));
        }
        case ATROUS_SNAKE_EACH: {
            return mapped(from, to, count, [=](V x, int64_t i) {
                const V height = wave(x * load(a + i), 0.0f);
                return x + load(b + i) * (height * height);
            });
        }
    }
#undef ATROUS_MAPPED
}

template <class F>
ATROUS_INLINE void paired(const float *left, const float *right, bool one, float *to, int64_t count, F f) {
    constexpr int64_t L = Types<float>::lanes;
    int64_t i = 0;
    if (one) {
        const Vec<float> same = splat(*right);
        for (; i + L <= count; i += L) store<float>(to + i, f(load(left + i), same));
        if (i < count) store_some<float>(to + i, f(load(left + i), same), count - i);
        return;
    }
    for (; i + L <= count; i += L) store<float>(to + i, f(load(left + i), load(right + i)));
    if (i < count) store_some<float>(to + i, f(load(left + i), load(right + i)), count - i);
}

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
        switch (s.combine) {
            case ATROUS_PLUS: paired(x, y, s.one, out, n, [](V p, V q) { return p + q; }); break;
            case ATROUS_MINUS: paired(x, y, s.one, out, n, [](V p, V q) { return p - q; }); break;
            case ATROUS_TIMES: paired(x, y, s.one, out, n, [](V p, V q) { return p * q; }); break;
            case ATROUS_OVER: paired(x, y, s.one, out, n, [](V p, V q) { return p / q; }); break;
            case ATROUS_MORE:
                paired(x, y, s.one, out, n, [](V p, V q) { return choose<float>((q > p) | (q != q), q, p); });
                break;
            default:
                paired(x, y, s.one, out, n, [](V p, V q) { return choose<float>((q < p) | (q != q), q, p); });
                break;
        }
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
