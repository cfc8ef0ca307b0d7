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
#define ATROUS_ABI_VERSION 13

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
    ATROUS_LEAKY = 8,  // x < 0: x times the slope that stands beside it
};

// One depthwise layer, always described as the forward convolution: output o reads the inputs
// o * stride - pad + dilation * j. `pad` may be negative; the high padding follows from `out`.
typedef struct {
    int64_t batch, channels;
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad[3];
    int32_t dtype, layout, activation, threads;
    // 0: weights are (channels, taps). 1: (taps, channels), for channels last only.
    int32_t packed_weight, reserved;
    double slope;
} atrous_depthwise_layer;

// A dense convolution by minimal filtering, float32, channels last. Along each of its two axes the taps are cut into
// parts of `taps` (the last one is filled up with zeros): those that a stride leaves on one phase of the input, in
// order. `tile` outputs of one phase of the dilation are made at a time, from tile + taps - 1 products of each part, 4
// to 8: parts of 2 to 5 taps take tiles from 2 up, 1 tap takes tiles of 1.
// `turned`: weights are those of the layer whose data gradient this is, (channels, filters, taps); for stride 1.
// Where `mixed`, `rests` tiles of `rest` outputs (0: none) end each phase along an axis: the first number those of the
// longest phases, the second those of others, which have one output less. Bits 0 and 1 of `closed` say of the tiles and
// of these ones that each makes a whole phase that reads nothing beyond the map, of 1 to 3 outputs by a kernel of 3 taps
// (stride 1, pad and dilation alike, as many outputs as inputs), from one product more than outputs, and 1 from 1.
// A library that does not know `mixed` makes tiles of `tile`, which are complete as well.
// `spread`: filters are spread[0] spread[1] phases of as many each, which are written side by side: output o of phase p
// to place o * spread + p - cut of a map of `whole`, where that is a place of it. Such phases are whole vectors.
typedef struct {
    int64_t batch, channels, filters;
    int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pad[2], tile[2], taps[2];
    int64_t spread[2], cut[2], whole[2];
    int32_t activation, threads, turned, mixed;
    int64_t rest[2], rests[2][2], closed[2];
    float slope;
    int32_t reserved;
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

// Bilinear resizing of `planes` of in[0] x in[1] positions of `channels` numbers, float32. Row o of the outputs lies
// between rows row_inputs[o] and the next, or where there is none that one, with row_weights[o] and
// row_weights[out[0] + o]. Along the width outputs run_starts[n] to run_starts[n + 1] lie between inputs run_inputs[n]
// and the next; column_weights holds those of the first input, `lanes` zeros, those of the second, and `lanes` zeros
// (atrous_vector_lanes). Positions of the result lie `step` numbers apart, at least `channels`.
typedef struct {
    int64_t planes, in[2], out[2], runs;
    const int64_t *row_inputs, *run_inputs, *run_starts;
    const float *row_weights, *column_weights;
    int64_t channels, step;
    int32_t threads, reserved;
} atrous_resize_layer;

// `images` matrices of rows x columns, 4 bytes a number, of which the transposed ones are written.
typedef struct {
    int64_t images, rows, columns;
    int32_t threads, reserved;
} atrous_matrices;

// A dense convolution of one tap and stride 1 on planes, float32: x is (batch, channels, positions), the weights
// (filters, channels).
typedef struct {
    int64_t batch, channels, filters, positions;
    int32_t activation, threads;
    float slope;
    int32_t reserved;
} atrous_pointwise_layer;

// An inverted bottleneck, float32, channels last: one tap from `channels` to `hidden`, where `depthwise` a depthwise
// layer on these, whose sizes all below are and whose padding is zeros behind the first activation, and one tap to
// `filters`. Without a depthwise layer kernel, stride and dilation are 1, nothing is padded, and `in` is `out`. One
// activation for each layer. It has a version of its own: a library without it serves.
#define ATROUS_BOTTLENECK_VERSION 2
typedef struct {
    int64_t batch, channels, hidden, filters;
    int64_t in[2], out[2], kernel[2], stride[2], dilation[2], pad[2];
    int32_t activation[3], depthwise, threads;
    float slope[3];
} atrous_bottleneck_layer;

// A product of rows by constant weights, float32, with seven products for eight `levels` times, 0 to 2: x is (rows,
// channels), out (rows, filters), the weights are (filters, channels). Rows of `out` lie `step` numbers apart, at least
// `filters`. Channels are a multiple of 2^levels, and rows at least 6 times as many. It has a version of its own: a
// library without it serves.
#define ATROUS_STRASSEN_VERSION 4
typedef struct {
    int64_t rows, channels, filters, step;
    int32_t levels, activation, threads;
    float slope;
} atrous_strassen_layer;

// Element-wise operations in a row as one pass, float32, on `images` of `lines` of `columns`. The values are the inputs,
// and then `scratch` ones that steps write, each before it is read. Number (i, l, c) of an input lies at i * image +
// l * line + c * column, `column` being 0 or 1; of the result it lies where that is dense. A step is out = h(left o
// right), or out = h(left) where `right` is -1, by the functions and combinations of streams but those of each channel;
// the last one writes the result. It has a version of its own: a library without it serves.
#define ATROUS_ELEMENTWISE_VERSION 1
enum { ATROUS_ELEMENTWISE_VALUES = 24 };
typedef struct {
    int64_t image, line, column;
} atrous_elementwise_input;

typedef struct {
    int32_t left, right, combine, function, out, reserved;
    float alpha, beta;
} atrous_elementwise_step;

typedef struct {
    int64_t images, lines, columns;
    const atrous_elementwise_input *inputs;
    const atrous_elementwise_step *steps;
    int32_t input_count, scratch, step_count, threads;
} atrous_elementwise;

// The norm of `groups` of as many channels each of every image, float32, dense: (images, channels, positions), or where
// `channels_last` (images, positions, channels).
typedef struct {
    int64_t images, channels, groups, positions;
    double epsilon;
    int32_t threads, channels_last;
} atrous_norm;

// Sums of (images, lines, columns), float32, dense, times `scale`: of all columns of each line, or where `along_lines` of
// all lines; where `squared` of the squares.
typedef struct {
    int64_t images, lines, columns;
    double scale;
    int32_t along_lines, squared, threads, reserved;
} atrous_sums;

// A program for streams, float32: steps on rows of channels, one row for each position of time. All memory is the
// caller's: `batch` arenas of `arena_floats` one behind the other, `constant_floats` of weights, both with
// ATROUS_STREAM_SLACK floats behind what is used. Programs have a version of their own: a library without them serves.
//
// A value is rows of `step` floats from `offset` on, `rows` of them, and the next new one is `head`. Of a ring there are
// twice as many, each row is written to both halves, and so any `rows` in a row lie behind one another; what else has
// no room behind `head` moves its last `kept` rows to the front, and what keeps nothing begins there.
#define ATROUS_STREAM_VERSION 3
enum { ATROUS_STREAM_SLACK = 64 };

typedef struct {
    int64_t offset, step, rows, kept, head;
    int32_t ring, reserved;
} atrous_stream_value;

enum {
    ATROUS_STEP_TAKE = 0,       // out = rows of a port
    ATROUS_STEP_GIVE = 1,       // rows of a port = left
    ATROUS_STEP_PRODUCT = 2,    // out = h(bias + the sum over taps of left * weight)
    ATROUS_STEP_DEPTHWISE = 3,  // the same with one filter for each channel
    ATROUS_STEP_UNARY = 4,      // out = h(left)
    ATROUS_STEP_BINARY = 5,     // out = h(f(left) o g(right))
    ATROUS_STEP_NORM = 6,       // left to mean 0 (not where `one`) and variance 1, each of `filters` parts, times weight, plus bias
    ATROUS_STEP_COPY = 7,       // out row i = left row i / spread
    ATROUS_STEP_LARGEST = 8,    // the largest of taps
    ATROUS_STEP_MEAN = 9,       // the sum of taps times beta
    ATROUS_STEP_SUM = 10,       // one column: the sum of f(left) over the channels, times beta
    ATROUS_STEP_SO_FAR = 11,    // the sum of left so far along time; right is one row of doubles, what came before
    ATROUS_STEP_COUNT = 12,     // alpha times the position plus beta
    ATROUS_STEP_SHUFFLE = 13,   // out row i spread + j, column c = left row i, column c spread + j
    ATROUS_STEP_GRID = 14,            // a product, across places too
    ATROUS_STEP_GRID_DEPTHWISE = 15,  // the same with one filter for each channel
    ATROUS_STEP_GRID_LARGEST = 16,    // the largest of taps, across places too
    ATROUS_STEP_GRID_MEAN = 17,       // the sum of taps times beta
    ATROUS_STEP_ARRANGE = 18,         // out column i out_jump + j = left column i left_jump + j side_stride, i < out_places
    ATROUS_STEP_LSTM = 19,            // recurrent layers; right is one row, what is carried
    ATROUS_STEP_GRU = 20,
    ATROUS_STEP_RECURRENT = 21,       // h = function(...)
    ATROUS_STEP_SOFTMAX = 22,         // shares of exponentials over the channels, their logarithms where `one`
};
// Functions beyond the activations above, of x, a and b (the slope of ATROUS_LEAKY is a); those that say `each` take a, b of each channel.
enum {
    ATROUS_ELU = 9,          // x < 0: a (exp(x) - 1)
    ATROUS_SCALED = 10,      // a x + b
    ATROUS_EXP = 11,
    ATROUS_SQUARE = 12,
    ATROUS_SINE = 13,
    ATROUS_ROOT = 14,
    ATROUS_RECIPROCAL = 15,
    ATROUS_ABSOLUTE = 16,
    ATROUS_CLAMPED = 17,     // between a and b
    ATROUS_ROOT_BELOW = 18,  // 1 / sqrt(x)
    ATROUS_COSINE = 19,
    ATROUS_LOGARITHM = 20,
    ATROUS_LEAKY_EACH = 21,
    ATROUS_SCALED_EACH = 22,
    ATROUS_SNAKE_EACH = 23,  // x + b sin(a x)^2
    ATROUS_FUNCTIONS = 24,
};
enum { ATROUS_PLUS = 0, ATROUS_MINUS = 1, ATROUS_TIMES = 2, ATROUS_OVER = 3, ATROUS_MORE = 4, ATROUS_LESS = 5 };

// `left`, `right`, `out` are values, from a column on; `right` -1 is none, and one column of it meets all of `channels`
// where `one`. A product reads `channels` columns of rows `stride` apart, its taps `dilation` rows apart, and makes
// `filters` columns, which are those of `spread` rows that follow one another; where `add`, they are added to what is there. `weight` and
// `bias` are places in the constants, -1 for none: panels of columns of all taps one behind another, padded to vectors.
//
// On a grid a row is `left_places` places of `channels` columns, `left_jump` apart, and what is made `out_places` places of
// `filters` (of other ops `channels`) columns, `out_jump` apart. Place o reads places o side_stride - side_pad +
// side_dilation j, 0 <= j < side_taps, those that there are; taps across follow one another within each tap along time.
// A recurrent layer runs on `out_places` sequences side by side, each with `units` of a state. Its gates, in the order of
// PyTorch, have filters / gates columns each, as many as a vector or some; `weight` and `bias` are those of what comes in,
// `carry_weight` those of the state, `carry_bias` of the last gate of a GRU. Carried are h, then c, padded as gates are.
typedef struct {
    int32_t op, function, left_function, right_function, left, right, out, combine, one, add, port, reserved;
    int64_t left_column, right_column, out_column, channels, filters, taps, dilation, stride, spread, weight, bias;
    int64_t left_places, out_places, left_jump, out_jump, side_taps, side_dilation, side_stride, side_pad;
    int64_t units, carry_weight, carry_bias;
    float alpha, beta, left_alpha, right_alpha;
} atrous_stream_step;

// How many rows a step makes at one turn, and where they begin: in front of or behind the heads of the values. Of a
// count `left` is the first position, which each of the program's `periods` moves on by the step's `stride`.
typedef struct {
    int64_t rows, left, right, out;
} atrous_stream_turn;

// Rows outside: element (b, r, c) at b * batch_step + r * row_step + c * column_step.
typedef struct {
    float *data;
    int64_t rows, columns, batch_step, row_step, column_step;
} atrous_stream_port;

typedef struct {
    const atrous_stream_step *steps;
    atrous_stream_value *values;
    float *arena;
    const float *constants;
    int64_t step_count, value_count, arena_floats, constant_floats, batch, panel, periods;
    int32_t threads, port_count;
} atrous_stream_program;

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

// x is (planes, in[0], in[1]), out (planes, out[0], out[1]).
ATROUS_EXPORT int atrous_resize(const atrous_resize_layer *layer, const float *x, float *out);

ATROUS_EXPORT int atrous_transpose(const atrous_matrices *matrices, const float *x, float *out);

// Numbers of float32 in a vector of the instruction set that is used.
ATROUS_EXPORT int64_t atrous_vector_lanes(void);

// out = activation(bias + weight * x + other); bias and other, which has the shape of `out`, may be null.
ATROUS_EXPORT int atrous_pointwise_forward(const atrous_pointwise_layer *layer, const float *x, const float *weight,
                                           const float *bias, const float *other, float *out);

ATROUS_EXPORT int32_t atrous_bottleneck_version(void);
// How many floats the packed weights of a layer are, 0 where it has none; they depend on the instruction set.
ATROUS_EXPORT int64_t atrous_bottleneck_weights(const atrous_bottleneck_layer *layer);
// Of the three layers in order: (hidden, channels), (hidden, taps) or null, (filters, hidden); any bias may be null.
ATROUS_EXPORT int atrous_bottleneck_pack(const atrous_bottleneck_layer *layer, const float *const *weights,
                                         const float *const *biases, float *packed);
// The last activation stands behind the sum with `other`, which has the shape of the result and may be null.
ATROUS_EXPORT int atrous_bottleneck_forward(const atrous_bottleneck_layer *layer, const float *x, const float *packed,
                                            const float *other, float *out);

ATROUS_EXPORT int32_t atrous_strassen_version(void);
// How many floats the packed weights are, 0 where it has none; they depend on the instruction set.
ATROUS_EXPORT int64_t atrous_strassen_weights(const atrous_strassen_layer *layer);
ATROUS_EXPORT int atrous_strassen_pack(const atrous_strassen_layer *layer, const float *weight, float *packed);
// out = activation(bias + x * weight + other); bias and other, which is (rows, filters), dense, may be null.
ATROUS_EXPORT int atrous_strassen_forward(const atrous_strassen_layer *layer, const float *x, const float *packed,
                                          const float *bias, const float *other, float *out);
// The same of the rows that the pass `before` makes of its inputs, a line each, without storing all of them.
ATROUS_EXPORT int atrous_strassen_forward_behind(const atrous_strassen_layer *layer, const atrous_elementwise *before,
                                                 const float *const *inputs, const float *packed, const float *bias,
                                                 const float *other, float *out);

ATROUS_EXPORT int32_t atrous_elementwise_version(void);
// `out` may be an input that lies as it does.
ATROUS_EXPORT int atrous_elementwise_run(const atrous_elementwise *run, const float *const *inputs, float *out);
// How many numbers of scratch memory `atrous_norm_factors` needs, 0 for a norm that it does not take.
ATROUS_EXPORT int64_t atrous_norm_parts(const atrous_norm *norm);
// factors (2, images, channels): what each channel of an image is multiplied by, and what is added then; weight and bias,
// of each channel, may be null.
ATROUS_EXPORT int atrous_norm_factors(const atrous_norm *norm, const float *x, const float *weight, const float *bias,
                                      float *factors, double *parts);

// How many numbers of scratch memory `atrous_sum` needs, 0 for what it does not take.
ATROUS_EXPORT int64_t atrous_sum_parts(const atrous_sums *sums);
// out (images, lines), or along lines (images, columns).
ATROUS_EXPORT int atrous_sum(const atrous_sums *sums, const float *x, float *out, double *parts);

ATROUS_EXPORT int32_t atrous_stream_version(void);
// Columns of a full panel of weights, which depends on the instruction set, and floats of a vector.
ATROUS_EXPORT int64_t atrous_stream_panel(void);
ATROUS_EXPORT int64_t atrous_stream_lanes(void);
// Makes `turns[s]` of every step in order, then moves every head on by `grown[v]`.
ATROUS_EXPORT int atrous_stream_run(const atrous_stream_program *program, const atrous_stream_turn *turns,
                                    const int64_t *grown, const atrous_stream_port *ports);

#ifdef __cplusplus
}
#endif
#endif
