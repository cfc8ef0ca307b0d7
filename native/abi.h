// The C interface of the native kernels: plain pointers, memory owned by the caller, no Python.
//
// Every function returns 0, or one of the codes below; nothing is written after a refusal.
// Tensors are dense. Spatial sizes come as (depth, height, width); missing leading axes are 1.
#ifndef ATROUS_ABI_H
#define ATROUS_ABI_H

#include <stdint.h>

#if defined(_WIN32)
#define ATROUS_EXPORT __declspec(dllexport)
#else
#define ATROUS_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Grows with every change of this file; the loader refuses a library with another number.
#define ATROUS_ABI_VERSION 10

enum { ATROUS_OK = 0, ATROUS_BAD_ARGUMENT = 1, ATROUS_NO_MEMORY = 2 };
// Types of 16 bits are for `atrous_depthwise_forward` alone: maps, weights and bias have them, sums are float32.
enum { ATROUS_FLOAT32 = 0, ATROUS_FLOAT64 = 1, ATROUS_FLOAT16 = 2, ATROUS_BFLOAT16 = 3 };
// PLANES: (batch, channels, depth, height, width). CHANNELS_LAST: (batch, depth, height, width, channels).
enum { ATROUS_PLANES = 0, ATROUS_CHANNELS_LAST = 1 };
enum {
    ATROUS_NONE = 0,
    ATROUS_RELU = 1,
    ATROUS_RELU6 = 2,
    ATROUS_SILU = 3,
    ATROUS_HARDSWISH = 4,
    ATROUS_GELU = 5,
    ATROUS_TANH = 6,
    ATROUS_SIGMOID = 7,
};

// One depthwise layer, always described as the forward convolution: output o reads the inputs
// o * stride - pad + dilation * j. `pad` may be negative; the high padding follows from `out`.
typedef struct {
    int64_t batch, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    int32_t dtype, layout, activation, threads;
    // 0: weights are (channels, taps). 1: (taps, channels), for channels last only.
    int32_t packed_weight, reserved;
} atrous_depthwise_layer;

// A dense convolution by minimal filtering, float32, channels last. Along each of its two axes the taps are cut into
// parts of `taps` (the last one is filled up with zeros): those that a stride leaves on one phase of the input, in
// order. `tile` outputs of one phase of the dilation are made at a time, from tile + taps - 1 products of each part, 4
// to 8: parts of 2 to 5 taps take tiles from 2 up, 1 tap takes tiles of 1.
// `turned`: weights are those of the layer whose data gradient this is, (channels, filters, taps); for stride 1.
// `spread`: filters are spread[0] spread[1] phases of as many each, which are written side by side: output o of phase p
// to place o * spread + p - cut of a map of `whole`, where that is a place of it. Such phases are whole vectors.
typedef struct {
    int64_t batch, channels, filters;
    int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pad[2], tile[2], taps[2];
    int64_t spread[2], cut[2], whole[2];
    int32_t activation, threads, turned, reserved;
} atrous_winograd_layer;

// A pool: the largest, or the average, of the inputs o * stride - pad + dilation * j that lie inside. Averages know no
// dilation; they are divided by `divisor`, or where it is 0 by the number of inputs, those in the padding on either
// side counted where `include_pad`.
typedef struct {
    int64_t batch, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    int64_t divisor;
    int32_t dtype, layout, threads, average, include_pad, reserved;
} atrous_pool_layer;

// A dense convolution of one tap and stride 1 on planes, float32: x is (batch, channels, positions), the weights
// (filters, channels).
typedef struct {
    int64_t batch, channels, filters, positions;
    int32_t activation, threads;
} atrous_pointwise_layer;

ATROUS_EXPORT int32_t atrous_abi_version(void);
// The instruction sets that this library has and this machine runs, best last, separated by blanks.
ATROUS_EXPORT const char *atrous_instruction_sets(void);
ATROUS_EXPORT const char *atrous_instruction_set(void);
// 0 where `name` is one of `atrous_instruction_sets()`.
ATROUS_EXPORT int atrous_use_instruction_set(const char *name);

// The address of the `GOMP_parallel` of an OpenMP runtime that this process has, whose threads are then
// shared; null for threads of our own.
ATROUS_EXPORT void atrous_use_team(void *parallel_function);

// out = activation(bias + x * weight); bias may be null.
ATROUS_EXPORT int atrous_depthwise_forward(const atrous_depthwise_layer *layer, const void *x,
                                           const void *weight, const void *bias, void *out);
// The gradient of the sum of out * grad_out by x, plus a bias (which makes it the transposed layer).
ATROUS_EXPORT int atrous_depthwise_data_gradient(const atrous_depthwise_layer *layer, const void *grad_out,
                                                 const void *weight, const void *bias, void *grad_x);
// The gradient by the weights, (channels, taps) whatever `packed_weight` says.
ATROUS_EXPORT int atrous_depthwise_weight_gradient(const atrous_depthwise_layer *layer, const void *x,
                                                   const void *grad_out, void *grad_weight);

// How many floats the packed weights of a layer are, 0 where it has none; they depend on the instruction set.
ATROUS_EXPORT int64_t atrous_winograd_weights(const atrous_winograd_layer *layer);
ATROUS_EXPORT int atrous_winograd_pack(const atrous_winograd_layer *layer, const float *weight, float *packed);
// out = activation(bias + x * weight + other); bias and other, which has the shape of the result, may be null.
ATROUS_EXPORT int atrous_winograd_forward(const atrous_winograd_layer *layer, const float *x, const float *packed,
                                          const float *bias, const float *other, float *out);
// The gradient of the sum of out * grad_out by the weights, (filters, channels, taps), of a layer of stride 1 in one
// part; `turned` is not looked at.
ATROUS_EXPORT int atrous_winograd_weight_gradient(const atrous_winograd_layer *layer, const float *x,
                                                  const float *grad_out, float *grad_weight);

ATROUS_EXPORT int atrous_pool(const atrous_pool_layer *layer, const void *x, void *out);

// out = activation(bias + weight * x + other); bias and other, which has the shape of `out`, may be null.
ATROUS_EXPORT int atrous_pointwise_forward(const atrous_pointwise_layer *layer, const float *x, const float *weight,
                                           const float *bias, const float *other, float *out);

#ifdef __cplusplus
}
#endif
#endif
