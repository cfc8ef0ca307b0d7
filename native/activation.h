// Activations, applied to results while they are still in the first-level cache. A function of their own:
// inlined into the kernels they would cost these their registers.
//
// float32: exp within 2 units in the last place (range reduction by log 2, Taylor polynomial of degree
// 7 on |r| <= log(2)/2); GELU by the normal distribution's integral, 1/2 + x P(x^2) / Q(x^2), within 2e-7 of it, as
// the erf of common libraries, so below zero it is x times that which is right, not the digits of the result. P and Q
// were fitted for |x| <= 5.5 by least squares with Lawson's weights; beyond it is 0 or 1 to less than 2e-8.
// float64: the C library's functions, lane by lane.
#ifndef ATROUS_ACTIVATION_H
#define ATROUS_ACTIVATION_H

#include <math.h>

#include "abi.h"
#include "vector.h"

namespace {

ATROUS_INLINE Vec<float> exponential(Vec<float> x) {
    typedef Vec<float> V;
    typedef Mask<float> M;
    const V low = splat(-87.33654f), high = splat(88.72283f);
    const M under = x < low, over = x > high;
    x = choose<float>(under, low, x);
    x = choose<float>(over, high, x);
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
    const V shifted = x * 1.44269504f + 12582912.0f;
    const V n = shifted - 12582912.0f;
    const V r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // log 2 in two parts
    V p = splat(1.0f / 5040.0f);
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    // Two factors, since 2^128 is no float.
    const M k = reinterpret_cast<M>(shifted) - 0x4B400000;
    const M half = k >> 1;
    const V first = reinterpret_cast<V>((half + 127) << 23);
    const V second = reinterpret_cast<V>((k - half + 127) << 23);
    const V value = only<float>(p * first * second, ~under);
    return choose<float>(over, splat(HUGE_VALF), value);
}

ATROUS_INLINE Vec<double> exponential(Vec<double> x) {
    for (int64_t lane = 0; lane < Types<double>::lanes; ++lane) x[lane] = exp(x[lane]);
    return x;
}

ATROUS_INLINE Vec<float> gelu(Vec<float> x) {
    typedef Vec<float> V;
    constexpr float far = 5.5f;
    static const float P[] = {0.398942232f, 0.0338527597f, 4.67726262e-3f, 1.68826096e-4f, 6.35205834e-6f, 2.27488944e-8f};
    static const float Q[] = {1.0f, 0.251522213f, 0.0286459234f, 1.88444776e-3f, 7.36473012e-5f, 1.19748711e-6f};
    const V u = x * x;
    V p = splat(P[5]), q = splat(Q[5]);
    ATROUS_UNROLL(8)
    for (int term = 4; term >= 0; --term) {
        p = p * u + P[term];
        q = q * u + Q[term];
    }
    const V value = x * (p / q * x + 0.5f);
    return choose<float>(x < -far, splat(-0.0f), choose<float>(x > far, x, value));
}

ATROUS_INLINE Vec<double> gelu(Vec<double> x) {
    for (int64_t lane = 0; lane < Types<double>::lanes; ++lane) {
        const double value = x[lane];
        x[lane] = value < -38.0 ? -0.0 : 0.5 * value * erfc(-value * 0.70710678118654752440);
    }
    return x;
}

// tanh for |x| < 0.625, by an odd polynomial (S. Moshier's Cephes).
ATROUS_INLINE Vec<float> tangent_near(Vec<float> x) {
    const Vec<float> z = x * x;
    Vec<float> p = splat(-5.70498872745e-3f);
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    return x + x * z * p;
}

// Near 0 by the polynomial, beyond that by the exponential.
ATROUS_INLINE Vec<float> tangent(Vec<float> x) {
    typedef Vec<float> V;
    const V size = choose<float>(x < 0.0f, -x, x);
    const V far = 1.0f - 2.0f / (exponential(size + size) + 1.0f);
    return choose<float>(size > 0.625f, choose<float>(x < 0.0f, -far, far), tangent_near(x));
}

ATROUS_INLINE Vec<double> tangent(Vec<double> x) {
    for (int64_t lane = 0; lane < Types<double>::lanes; ++lane) x[lane] = tanh(x[lane]);
    return x;
}

// An activation, and the slope below zero of a leaky one.
struct Activation {
    int32_t code;
    double slope;
};

template <class L> ATROUS_INLINE Activation activation_of(const L &layer) { return {layer.activation, layer.slope}; }

template <class T> ATROUS_INLINE Vec<T> activated(Vec<T> x, int32_t activation, double slope = 0) {
    const T zero = 0, one = 1, three = 3, six = 6;
    // Comparisons are written so that NaN passes through.
    switch (activation) {
        case ATROUS_RELU:
            return choose<T>(x < zero, splat(zero), x);
        case ATROUS_RELU6:
            x = choose<T>(x < zero, splat(zero), x);
            return choose<T>(x > six, splat(six), x);
        case ATROUS_SILU:
            return x / (one + exponential(-x));
        case ATROUS_HARDSWISH: {
            Vec<T> gate = x + three;
            gate = choose<T>(gate < zero, splat(zero), gate);
            gate = choose<T>(gate > six, splat(six), gate);
            return x * gate * (one / six);
        }
        case ATROUS_GELU:
            return gelu(x);
        case ATROUS_TANH:
            return tangent(x);
        case ATROUS_SIGMOID:
            return one / (one + exponential(-x));
        case ATROUS_LEAKY:
            return choose<T>(x < zero, x * static_cast<T>(slope), x);
        default:
            return x;
    }
}

// values[i] = activation(values[i]) for i < count.
template <class T> __attribute__((noinline)) void activate(T *values, int64_t count, Activation activation) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t i = 0;
    for (; i + L <= count; i += L) store<T>(values + i, activated<T>(load(values + i), activation.code, activation.slope));
    if (i < count) {
        alignas(ATROUS_VECTOR_BYTES) T rest[L] = {};
        for (int64_t lane = 0; lane < count - i; ++lane) rest[lane] = values[i + lane];
        store<T>(rest, activated<T>(load(rest), activation.code, activation.slope));
        for (int64_t lane = 0; lane < count - i; ++lane) values[i + lane] = rest[lane];
    }
}

}  // namespace
#endif
