// The dispatch table: one entry per instruction set.
#ifndef ATROUS_KERNELS_H
#define ATROUS_KERNELS_H

#include "abi.h"

namespace atrous {

struct Kernels {
    int (*gather)(const atrous_depthwise_layer *layer, int backwards, const void *x, const void *weight,
                  const void *bias, void *out);
    int (*weight_gradient)(const atrous_depthwise_layer *layer, const void *x, const void *grad, void *out);
    int64_t lanes;  // float32 in a vector
    int (*winograd_pack)(const atrous_winograd_layer *layer, const float *weight, float *packed);
    int (*winograd_forward)(const atrous_winograd_layer *layer, const float *x, const float *packed, const float *bias,
                            const float *other, float *out);
    int (*winograd_weight_gradient)(const atrous_winograd_layer *layer, const float *x, const float *grad, float *out);
    int (*pool)(const atrous_pool_layer *layer, const void *x, void *out);
    int (*resize)(const atrous_resize_layer *layer, const float *x, float *out);
    int (*transpose)(const atrous_matrices *matrices, const float *x, float *out);
    int (*pointwise_forward)(const atrous_pointwise_layer *layer, const float *x, const float *weight, const float *bias,
                             const float *other, float *out);
    int (*bottleneck_pack)(const atrous_bottleneck_layer *layer, const float *const *weights, const float *const *biases,
                           float *packed);
    int (*bottleneck_forward)(const atrous_bottleneck_layer *layer, const float *x, const float *packed,
                              const float *other, float *out);
    int64_t panel;  // columns of a full panel of weights
    int (*stream_run)(const atrous_stream_program *program, const atrous_stream_turn *turns, const int64_t *grown,
                      const atrous_stream_port *ports);
};

// Lines [first, first + count) of a pass, on this thread; those of the result lie `step` apart.
typedef int (*LinesOf)(const atrous_elementwise *run, const float *const *inputs, int64_t first, int64_t count, float *out,
                       int64_t step);

// Those of strassen.cpp, which is compiled by itself. `x` are the inputs of the pass `before` whose lines `lines` makes,
// where that is not null, and the rows alone otherwise.
struct RowKernels {
    int (*pack)(const atrous_strassen_layer *layer, const float *weight, float *packed);
    int (*forward)(const atrous_strassen_layer *layer, const atrous_elementwise *before, LinesOf lines,
                   const float *const *x, const float *packed, const float *bias, const float *other, float *out);
};

// Those of elementwise.cpp.
struct MapKernels {
    int (*run)(const atrous_elementwise *run, const float *const *inputs, float *out);
    LinesOf lines;
    int (*norm_factors)(const atrous_norm *norm, const float *x, const float *weight, const float *bias, float *factors,
                        double *parts);
    int64_t (*norm_parts)(const atrous_norm *norm);
    int (*sum)(const atrous_sums *sums, const float *x, float *out, double *parts);
    int64_t (*sum_parts)(const atrous_sums *sums);
};

}  // namespace atrous
#endif
