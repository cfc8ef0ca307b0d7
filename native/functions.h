// Functions of one and two rows of numbers, as streams and element-wise passes have them.
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

// left o right; `right` is one number where `one`.
ATROUS_INLINE void combined(int32_t combine, const float *left, const float *right, bool one, float *to, int64_t count) {
    typedef Vec<float> V;
    switch (combine) {
        case ATROUS_PLUS: return paired(left, right, one, to, count, [](V p, V q) { return p + q; });
        case ATROUS_MINUS: return paired(left, right, one, to, count, [](V p, V q) { return p - q; });
        case ATROUS_TIMES: return paired(left, right, one, to, count, [](V p, V q) { return p * q; });
        case ATROUS_OVER: return paired(left, right, one, to, count, [](V p, V q) { return p / q; });
        case ATROUS_MORE:
            return paired(left, right, one, to, count, [](V p, V q) { return choose<float>((q > p) | (q != q), q, p); });
        default:
            return paired(left, right, one, to, count, [](V p, V q) { return choose<float>((q < p) | (q != q), q, p); });
    }
}

}  // namespace
#endif
