// Which instruction set runs; every call passes the checks first.
#include <atomic>
#include <cstdio>
#include <cstring>

#include "checks.h"
#include "kernels.h"
#include "stream_checks.h"
#include "threads.h"

namespace atrous {

extern const Kernels kernels_baseline;
extern const RowKernels row_kernels_baseline;
extern const MapKernels map_kernels_baseline;
#if defined(ATROUS_X86)
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
extern const RowKernels row_kernels_avx2;
extern const RowKernels row_kernels_avx512;
extern const MapKernels map_kernels_avx2;
extern const MapKernels map_kernels_avx512;
#endif

namespace {

struct Entry {
    const char *name;
    const Kernels *kernels;
    const RowKernels *rows;
    const MapKernels *maps;
    bool (*runs)();
};

#if defined(ATROUS_X86)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#if defined(ATROUS_PAIRED)
bool has_avx512() { return has_avx2(); }
#else
bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif
#endif
bool always() { return true; }

// Best last. On 64-bit Arm the baseline has NEON.
const Entry entries[] = {
#if defined(__aarch64__)
    {"neon", &kernels_baseline, &row_kernels_baseline, &map_kernels_baseline, always},
#else
    {"baseline", &kernels_baseline, &row_kernels_baseline, &map_kernels_baseline, always},
#endif
#if defined(ATROUS_PAIRED)  // slower than AVX2 by itself: for who asks for it
    {"avx512", &kernels_avx512, &row_kernels_avx512, &map_kernels_avx512, has_avx512},
    {"avx2", &kernels_avx2, &row_kernels_avx2, &map_kernels_avx2, has_avx2},
#elif defined(ATROUS_X86)
    {"avx2", &kernels_avx2, &row_kernels_avx2, &map_kernels_avx2, has_avx2},
    {"avx512", &kernels_avx512, &row_kernels_avx512, &map_kernels_avx512, has_avx512},
#endif
};

std::atomic<const Entry *> chosen{nullptr};

const Entry &entry() {
    const Entry *current = chosen.load(std::memory_order_acquire);
    if (current == nullptr) {
        for (const Entry &one : entries) {
            if (one.runs()) current = &one;
        }
        chosen.store(current, std::memory_order_release);
    }
    return *current;
}

bool holds_nothing(const atrous_depthwise_layer *layer, const int64_t *sizes) {
    return layer->batch == 0 || layer->channels == 0 || sizes[0] == 0 || sizes[1] == 0 || sizes[2] == 0;
}

// A single output has no stride; scratch memory grows with strides.
atrous_depthwise_layer plain_strides(atrous_depthwise_layer layer) {
    for (int a = 0; a < 3; ++a) {
        if (layer.out[a] == 1) layer.stride[a] = 1;
    }
    return layer;
}

int run_gather(const atrous_depthwise_layer *layer, int backwards, const void *x, const void *weight, const void *bias,
               void *out) {
    if (!sound(layer, !backwards) || (backwards && layer->activation != ATROUS_NONE)) return ATROUS_BAD_ARGUMENT;
    if (holds_nothing(layer, backwards ? layer->in : layer->out)) return ATROUS_OK;
    const atrous_depthwise_layer plain = plain_strides(*layer);
    return entry().kernels->gather(&plain, backwards, x, weight, bias, out);
}

}  // namespace
}  // namespace atrous

extern "C" {

int32_t atrous_abi_version(void) { return ATROUS_ABI_VERSION; }

const char *atrous_instruction_sets(void) {
    static char names[64];
    char text[64] = "";
    for (const auto &one : atrous::entries) {
        if (!one.runs()) continue;
        if (text[0] != 0) std::strcat(text, " ");
        std::strcat(text, one.name);
    }
    std::memcpy(names, text, sizeof names);
    return names;
}

const char *atrous_instruction_set(void) { return atrous::entry().name; }

int atrous_use_instruction_set(const char *name) {
    for (const auto &one : atrous::entries) {
        if (name != nullptr && std::strcmp(name, one.name) == 0 && one.runs()) {
            atrous::chosen.store(&one, std::memory_order_release);
            return ATROUS_OK;
        }
    }
    return ATROUS_BAD_ARGUMENT;
}

void atrous_use_team(void *parallel_function) { atrous::use_team(parallel_function); }

int atrous_depthwise_forward(const atrous_depthwise_layer *layer, const void *x, const void *weight, const void *bias,
                             void *out) {
    return atrous::run_gather(layer, 0, x, weight, bias, out);
}

int atrous_depthwise_data_gradient(const atrous_depthwise_layer *layer, const void *grad_out, const void *weight,
                                   const void *bias, void *grad_x) {
    return atrous::run_gather(layer, 1, grad_out, weight, bias, grad_x);
}

int atrous_depthwise_weight_gradient(const atrous_depthwise_layer *layer, const void *x, const void *grad_out,
                                     void *grad_weight) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->channels == 0) return ATROUS_OK;
    if (atrous::holds_nothing(layer, layer->out) || atrous::holds_nothing(layer, layer->in)) {
        const size_t size = layer->dtype == ATROUS_FLOAT64 ? 8 : 4;
        const size_t cells = static_cast<size_t>(layer->channels * layer->kernel[0] * layer->kernel[1] *
                                                 layer->kernel[2]);
        std::memset(grad_weight, 0, cells * size);
        return ATROUS_OK;
    }
    const atrous_depthwise_layer plain = atrous::plain_strides(*layer);
    return atrous::entry().kernels->weight_gradient(&plain, x, grad_out, grad_weight);
}

int atrous_pool(const atrous_pool_layer *layer, const void *x, void *out) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    const int64_t *sizes = layer->out;
    if (layer->batch == 0 || layer->channels == 0 || sizes[0] == 0 || sizes[1] == 0 || sizes[2] == 0) return ATROUS_OK;
    atrous_pool_layer plain = *layer;
    for (int a = 0; a < 3; ++a) {
        // A single output has no stride.
        if (plain.out[a] == 1) plain.stride[a] = 1;
    }
    return atrous::entry().kernels->pool(&plain, x, out);
}

int atrous_resize(const atrous_resize_layer *layer, const float *x, float *out) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->planes == 0) return ATROUS_OK;
    return atrous::entry().kernels->resize(layer, x, out);
}

int atrous_transpose(const atrous_matrices *matrices, const float *x, float *out) {
    if (!atrous::sound(matrices)) return ATROUS_BAD_ARGUMENT;
    if (matrices->images == 0 || matrices->rows == 0 || matrices->columns == 0) return ATROUS_OK;
    return atrous::entry().kernels->transpose(matrices, x, out);
}

int64_t atrous_vector_lanes(void) { return atrous::entry().kernels->lanes; }

int atrous_pointwise_forward(const atrous_pointwise_layer *layer, const float *x, const float *weight, const float *bias,
                             const float *other, float *out) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->batch == 0 || layer->positions == 0) return ATROUS_OK;
    return atrous::entry().kernels->pointwise_forward(layer, x, weight, bias, other, out);
}

int32_t atrous_bottleneck_version(void) { return ATROUS_BOTTLENECK_VERSION; }

int64_t atrous_bottleneck_weights(const atrous_bottleneck_layer *layer) {
    if (!atrous::sound(layer)) return 0;
    const int64_t lanes = atrous::entry().kernels->lanes;
    const int64_t hidden = (layer->hidden + lanes - 1) / lanes * lanes, filters = (layer->filters + lanes - 1) / lanes * lanes;
    const int64_t taps = layer->depthwise ? layer->kernel[0] * layer->kernel[1] : 0;
    return hidden * (layer->channels + taps + 2) + filters * (layer->hidden + 1);
}

int atrous_bottleneck_pack(const atrous_bottleneck_layer *layer, const float *const *weights, const float *const *biases,
                           float *packed) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().kernels->bottleneck_pack(layer, weights, biases, packed);
}

int atrous_bottleneck_forward(const atrous_bottleneck_layer *layer, const float *x, const float *packed,
                              const float *other, float *out) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->batch == 0 || layer->out[0] == 0 || layer->out[1] == 0) return ATROUS_OK;
    return atrous::entry().kernels->bottleneck_forward(layer, x, packed, other, out);
}

int32_t atrous_strassen_version(void) { return ATROUS_STRASSEN_VERSION; }

int64_t atrous_strassen_weights(const atrous_strassen_layer *layer) {
    if (!atrous::sound(layer)) return 0;
    const int64_t unit = atrous::entry().kernels->lanes << layer->levels;
    int64_t floats = (layer->filters + unit - 1) / unit * atrous::entry().kernels->lanes * (layer->channels >> layer->levels);
    for (int level = 0; level < layer->levels; ++level) floats *= 7;
    return floats;
}

int atrous_strassen_pack(const atrous_strassen_layer *layer, const float *weight, float *packed) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().rows->pack(layer, weight, packed);
}

int atrous_strassen_forward(const atrous_strassen_layer *layer, const float *x, const float *packed, const float *bias,
                            const float *other, float *out) {
    if (!atrous::sound(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->rows == 0) return ATROUS_OK;
    return atrous::entry().rows->forward(layer, nullptr, nullptr, &x, packed, bias, other, out);
}

int atrous_strassen_forward_behind(const atrous_strassen_layer *layer, const atrous_elementwise *before,
                                   const float *const *inputs, const float *packed, const float *bias, const float *other,
                                   float *out) {
    if (!atrous::sound(layer) || !atrous::sound(before)) return ATROUS_BAD_ARGUMENT;
    if (before->columns != layer->channels || before->images * before->lines != layer->rows) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().rows->forward(layer, before, atrous::entry().maps->lines, inputs, packed, bias, other, out);
}

int32_t atrous_elementwise_version(void) { return ATROUS_ELEMENTWISE_VERSION; }

int atrous_elementwise_run(const atrous_elementwise *run, const float *const *inputs, float *out) {
    if (!atrous::sound(run)) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().maps->run(run, inputs, out);
}

int64_t atrous_norm_parts(const atrous_norm *norm) {
    return atrous::sound(norm) ? atrous::entry().maps->norm_parts(norm) : 0;
}

int atrous_norm_factors(const atrous_norm *norm, const float *x, const float *weight, const float *bias, float *factors,
                        double *parts) {
    if (!atrous::sound(norm)) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().maps->norm_factors(norm, x, weight, bias, factors, parts);
}

int64_t atrous_sum_parts(const atrous_sums *sums) {
    return atrous::sound(sums) ? atrous::entry().maps->sum_parts(sums) : 0;
}

int atrous_sum(const atrous_sums *sums, const float *x, float *out, double *parts) {
    if (!atrous::sound(sums)) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().maps->sum(sums, x, out, parts);
}

int32_t atrous_stream_version(void) { return ATROUS_STREAM_VERSION; }

int64_t atrous_stream_panel(void) { return atrous::entry().kernels->panel; }

int64_t atrous_stream_lanes(void) { return atrous::entry().kernels->lanes; }

int atrous_stream_run(const atrous_stream_program *program, const atrous_stream_turn *turns, const int64_t *grown,
                      const atrous_stream_port *ports) {
    const atrous::Kernels &kernels = *atrous::entry().kernels;
    // Weights are packed for one width of vectors.
    if (program == nullptr || program->panel != kernels.panel) return ATROUS_BAD_ARGUMENT;
    if (!StreamChecks{*program, turns, grown, ports, kernels.lanes}.all()) return ATROUS_BAD_ARGUMENT;
    return kernels.stream_run(program, turns, grown, ports);
}

int64_t atrous_winograd_weights(const atrous_winograd_layer *layer) {
    if (!atrous::sound(layer, atrous_vector_lanes())) return 0;
    const int64_t lanes = atrous::entry().kernels->lanes;
    const int64_t points = atrous::products_along(*layer, 0) * atrous::products_along(*layer, 1);
    int64_t depth = (layer->channels + lanes - 1) / lanes * lanes;
    for (int a = 0; a < 2; ++a) {
        depth *= count_parts(layer->kernel[a], layer->stride[a], layer->dilation[a], layer->taps[a]);
    }
    return points * depth * ((layer->filters + lanes - 1) / lanes * lanes);
}

int atrous_winograd_pack(const atrous_winograd_layer *layer, const float *weight, float *packed) {
    if (!atrous::sound(layer, atrous_vector_lanes())) return ATROUS_BAD_ARGUMENT;
    return atrous::entry().kernels->winograd_pack(layer, weight, packed);
}

int atrous_winograd_forward(const atrous_winograd_layer *layer, const float *x, const float *packed, const float *bias,
                            const float *other, float *out) {
    if (!atrous::sound(layer, atrous_vector_lanes())) return ATROUS_BAD_ARGUMENT;
    if (layer->batch == 0 || layer->out[0] == 0 || layer->out[1] == 0) return ATROUS_OK;
    return atrous::entry().kernels->winograd_forward(layer, x, packed, bias, other, out);
}

int atrous_winograd_weight_gradient(const atrous_winograd_layer *layer, const float *x, const float *grad_out,
                                    float *grad_weight) {
    if (!atrous::sound(layer, atrous_vector_lanes()) || !atrous::is_one_part(layer)) return ATROUS_BAD_ARGUMENT;
    if (layer->batch == 0 || layer->out[0] == 0 || layer->out[1] == 0) {
        const int64_t taps = layer->kernel[0] * layer->kernel[1];
        std::memset(grad_weight, 0, static_cast<size_t>(layer->filters * layer->channels * taps) * sizeof(float));
        return ATROUS_OK;
    }
    return atrous::entry().kernels->winograd_weight_gradient(layer, x, grad_out, grad_weight);
}
}
