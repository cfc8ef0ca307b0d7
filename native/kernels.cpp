// All kernels of one instruction set. Compiled once for each, with ATROUS_NAME naming it.
#include "kernels.h"

#include "bottleneck.h"
#include "channels_gather.h"
#include "channels_weight.h"
#include "planes_small.h"
#include "planes_weight.h"
#include "pool.h"
#include "resize.h"
#include "pointwise.h"
#include "small_floats.h"
#include "transposed.h"
#include "winograd.h"
#include "winograd_pack.h"
#include "winograd_weight.h"

#define ATROUS_JOIN_(a, b) a##b
#define ATROUS_JOIN(a, b) ATROUS_JOIN_(a, b)

namespace {

int gather(const atrous_depthwise_layer *layer, int backwards, const void *x, const void *weight, const void *bias,
           void *out) {
    const bool wide = layer->dtype == ATROUS_FLOAT64, last = layer->layout == ATROUS_CHANNELS_LAST;
    if (layer->dtype == ATROUS_FLOAT16 || layer->dtype == ATROUS_BFLOAT16) {
        return small_floats_gather(*layer, x, weight, bias, out);
    }
    if (last) {
        return wide ? channels_gather<double>(*layer, backwards != 0, x, weight, bias, out)
                    : channels_gather<float>(*layer, backwards != 0, x, weight, bias, out);
    }
    return wide ? planes_gather<double>(*layer, backwards != 0, x, weight, bias, out)
                : planes_gather<float>(*layer, backwards != 0, x, weight, bias, out);
}

int weight_gradient(const atrous_depthwise_layer *layer, const void *x, const void *grad, void *out) {
    const bool wide = layer->dtype == ATROUS_FLOAT64, last = layer->layout == ATROUS_CHANNELS_LAST;
    if (last) {
        return wide ? channels_weight<double>(*layer, x, grad, out) : channels_weight<float>(*layer, x, grad, out);
    }
    return wide ? planes_weight<double>(*layer, x, grad, out) : planes_weight<float>(*layer, x, grad, out);
}

int winograd_pack(const atrous_winograd_layer *layer, const float *weight, float *packed) {
    return pack_winograd<float>(*layer, weight, packed);
}

int winograd_forward(const atrous_winograd_layer *layer, const float *x, const float *packed, const float *bias,
                     const float *other, float *out) {
    return forward_winograd<float>(*layer, x, packed, bias, other, out);
}

int winograd_weight_gradient(const atrous_winograd_layer *layer, const float *x, const float *grad, float *out) {
    return weight_winograd<float>(*layer, x, grad, out);
}

int pool(const atrous_pool_layer *layer, const void *x, void *out) {
    return layer->dtype == ATROUS_FLOAT64 ? pooled<double>(*layer, x, out) : pooled<float>(*layer, x, out);
}

int resize(const atrous_resize_layer *layer, const float *x, float *out) { return resized<float>(*layer, x, out); }

int transpose_all(const atrous_matrices *matrices, const float *x, float *out) { return transposed(*matrices, x, out); }

int pointwise_forward(const atrous_pointwise_layer *layer, const float *x, const float *weight, const float *bias,
                      const float *other, float *out) {
    return forward_pointwise<float>(*layer, x, weight, bias, other, out);
}

int bottleneck_pack(const atrous_bottleneck_layer *layer, const float *const *weights, const float *const *biases,
                    float *packed) {
    return pack_bottleneck(*layer, weights, biases, packed);
}

int bottleneck_forward(const atrous_bottleneck_layer *layer, const float *x, const float *packed, const float *other,
                       float *out) {
    return forward_bottleneck(*layer, x, packed, other, out);
}

}  // namespace

namespace atrous {
int ATROUS_JOIN(stream_run_, ATROUS_NAME)(const atrous_stream_program *, const atrous_stream_turn *, const int64_t *,
                                          const atrous_stream_port *);
extern const Kernels ATROUS_JOIN(kernels_, ATROUS_NAME);
const Kernels ATROUS_JOIN(kernels_, ATROUS_NAME) = {gather, weight_gradient, Types<float>::lanes,
                                                          winograd_pack, winograd_forward,
                                                          winograd_weight_gradient, pool, resize, transpose_all,
                                                          pointwise_forward,
                                                          bottleneck_pack, bottleneck_forward,
                                                          kPanel * Types<float>::lanes,
                                                          ATROUS_JOIN(stream_run_, ATROUS_NAME)};
}  // namespace atrous
