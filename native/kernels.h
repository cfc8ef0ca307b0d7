// The dispatch table: one entry per instruction set.
#ifndef ATROUS_KERNELS_H
#define ATROUS_KERNELS_H

#include "abi.h"

namespace atrous {

struct Kernels {
    int (*gather)(const atrous_depthwise_layer *layer, int backwards, const void *x, const void *weight,
                  const void *bias, void *out);
    int (*weight_gradient)(const atrous_depthwise_layer *layer, const void *x, const void *grad, void *out);
};

}  // namespace atrous
#endif
