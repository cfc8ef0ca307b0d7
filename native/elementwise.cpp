// Element-wise passes, norms and means of one instruction set.
#include "elementwise.h"
#include "kernels.h"
#include "moments.h"

#define ATROUS_JOIN_(a, b) a##b
#define ATROUS_JOIN(a, b) ATROUS_JOIN_(a, b)

namespace {

int run(const atrous_elementwise *run, const float *const *inputs, float *out) { return run_elementwise(*run, inputs, out); }

int factors(const atrous_norm *norm, const float *x, const float *weight, const float *bias, float *made, double *parts) {
    return norm_factors(*norm, x, weight, bias, made, parts);
}

int64_t parts(const atrous_norm *norm) {
    return 2 * norm->images * norm->groups * moment_chunks(*norm);
}

int means(const atrous_channels *map, const float *x, float *out, double *parts) {
    return channel_means(*map, x, out, parts);
}

int64_t sums(const atrous_channels *map) {
    const int64_t planes = map->images * map->channels;
    return planes + (map->channels_last ? ceil_div(planes * ceil_div(map->positions, kMomentPositions), int64_t(2)) : 0);
}

}  // namespace

namespace atrous {
extern const MapKernels ATROUS_JOIN(map_kernels_, ATROUS_NAME);
const MapKernels ATROUS_JOIN(map_kernels_, ATROUS_NAME) = {run, factors, parts, means, sums};
}  // namespace atrous
