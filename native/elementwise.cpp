// Element-wise passes, norms and sums of one instruction set.
#include "elementwise.h"
#include "kernels.h"
#include "moments.h"

#define ATROUS_JOIN_(a, b) a##b
#define ATROUS_JOIN(a, b) ATROUS_JOIN_(a, b)

namespace {

int run(const atrous_elementwise *run, const float *const *inputs, float *out) { return run_elementwise(*run, inputs, out); }

int lines(const atrous_elementwise *run, const float *const *inputs, int64_t first, int64_t count, float *out, int64_t step) {
    return elementwise_lines(*run, inputs, first, count, out, step);
}

int factors(const atrous_norm *norm, const float *x, const float *weight, const float *bias, float *made, double *parts) {
    return norm_factors(*norm, x, weight, bias, made, parts);
}

int64_t parts(const atrous_norm *norm) {
    return 2 * norm->images * norm->groups * moment_chunks(*norm);
}

int sum(const atrous_sums *sums, const float *x, float *out, double *parts) { return summed_up(*sums, x, out, parts); }

int64_t room(const atrous_sums *sums) { return sum_parts(*sums); }

}  // namespace

namespace atrous {
extern const MapKernels ATROUS_JOIN(map_kernels_, ATROUS_NAME);
const MapKernels ATROUS_JOIN(map_kernels_, ATROUS_NAME) = {run, lines, factors, parts, sum, room};
}  // namespace atrous
