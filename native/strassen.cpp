// Products of rows by constant weights, of one instruction set.
#include "kernels.h"

#include "strassen.h"

#define ATROUS_JOIN_(a, b) a##b
#define ATROUS_JOIN(a, b) ATROUS_JOIN_(a, b)

namespace {

int pack(const atrous_strassen_layer *layer, const float *weight, float *packed) {
    return pack_strassen<float>(*layer, weight, packed);
}

int forward(const atrous_strassen_layer *layer, const atrous_elementwise *before, atrous::LinesOf lines,
            const float *const *x, const float *packed, const float *bias, const float *other, float *out) {
    return forward_strassen<float>(*layer, {before, x, lines}, packed, bias, other, out);
}

}  // namespace

namespace atrous {
extern const RowKernels ATROUS_JOIN(row_kernels_, ATROUS_NAME);
const RowKernels ATROUS_JOIN(row_kernels_, ATROUS_NAME) = {pack, forward};
}  // namespace atrous
