// Means of channels, and means and variances of groups of channels, float32, planes and channels last.
//
// Accumulator: float32 in a chunk of at most 2048 numbers (128 positions of channels last), in which 128 at most meet in
// one register; float64 of all chunks. Squares are those of distances from about the mean of the chunk.
// Threads: a chunk at a time; what chunks give is summed up in their order, so no result depends on them.
#ifndef ATROUS_MOMENTS_H
#define ATROUS_MOMENTS_H

#include <math.h>

#include <atomic>

#include "abi.h"
#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kAloneNumbers = int64_t(1) << 14;  // that are not worth a second thread

// Mean and sum of squared distances from it, of `count` numbers.
struct Moments {
    double count, mean, distance;

    // Those of both together (Chan, Golub and LeVeque, 1983).
    void add(const Moments &other) {
        if (other.count == 0) return;
        const double all = count + other.count, apart = other.mean - mean;
        mean += apart * (other.count / all);
        distance += other.distance + apart * apart * (count * (other.count / all));
        count = all;
    }
};

constexpr int64_t kMomentChunk = 2048;    // numbers of a group
constexpr int64_t kMomentPositions = 128;  // of channels last, all groups at once

// Whether groups lie beside one another at each position; one group is a block of memory in both layouts.
ATROUS_INLINE bool is_beside(const atrous_norm &norm) { return norm.channels_last && norm.groups > 1; }

struct Norm {
    const atrous_norm *norm;
    const float *x;
    double *parts;   // mean and distance of each chunk
    int64_t chunks;  // of a group
    int64_t floats;  // of a group
    std::atomic<int> *code;

    int64_t each() const { return norm->channels / norm->groups; }
    // Of a group of an image, or of the groups of an image beside one another.
    int64_t part(int64_t group, int64_t chunk) const {
        if (!is_beside(*norm)) return 2 * (group * chunks + chunk);
        return 2 * ((group / norm->groups * chunks + chunk) * norm->groups + group % norm->groups);
    }
    double count(int64_t chunk) const {
        if (!is_beside(*norm)) return static_cast<double>(smaller(kMomentChunk, floats - chunk * kMomentChunk));
        return static_cast<double>(smaller(kMomentPositions, norm->positions - chunk * kMomentPositions) * each());
    }
};

ATROUS_INLINE int64_t moment_chunks(const atrous_norm &norm) {
    return is_beside(norm) ? ceil_div(norm.positions, kMomentPositions)
                           : ceil_div(norm.channels / norm.groups * norm.positions, kMomentChunk);
}

inline double sum_of(const Vec<float> *sums, int count) {
    double found = 0;
    for (int i = 0; i < count; ++i) {
        for (int64_t lane = 0; lane < Types<float>::lanes; ++lane) found += static_cast<double>(sums[i][lane]);
    }
    return found;
}

// Sums of what is away from `mean`, and of its squares.
inline void sums_away(const float *x, int64_t count, float mean, double *away, double *squares) {
    typedef Vec<float> V;
    constexpr int64_t L = Types<float>::lanes;
    V first[4] = {}, second[4] = {};
    int64_t i = 0;
    for (; i + 4 * L <= count; i += 4 * L) {
        ATROUS_UNROLL(4)
        for (int j = 0; j < 4; ++j) {
            const V one = load(x + i + j * L) - mean;
            first[j] += one;
            second[j] += one * one;
        }
    }
    *away = sum_of(first, 4);
    *squares = sum_of(second, 4);
    for (; i < count; ++i) {
        const double one = static_cast<double>(x[i]) - static_cast<double>(mean);
        *away += one;
        *squares += one * one;
    }
}

inline void norm_chunks(void *context, int64_t begin, int64_t end) {
    const Norm &n = *static_cast<const Norm *>(context);
    for (int64_t item = begin; item < end; ++item) {
        const int64_t group = item / n.chunks, first = item % n.chunks * kMomentChunk;
        const int64_t count = smaller(kMomentChunk, n.floats - first);
        const float *x = n.x + group * n.floats + first;
        double away, squares;
        sums_away(x, smaller<int64_t>(count, 64), 0.0f, &away, &squares);
        // Near the mean nothing cancels that matters.
        const float near = static_cast<float>(away / static_cast<double>(smaller<int64_t>(count, 64)));
        sums_away(x, count, near, &away, &squares);
        away /= static_cast<double>(count);
        n.parts[2 * item] = static_cast<double>(near) + away;
        n.parts[2 * item + 1] = larger(0.0, squares - static_cast<double>(count) * away * away);
    }
}

// The same for positions of all groups beside one another.
inline void norm_positions(void *context, int64_t begin, int64_t end) {
    typedef Vec<float> V;
    constexpr int64_t L = Types<float>::lanes;
    const Norm &n = *static_cast<const Norm *>(context);
    const atrous_norm &norm = *n.norm;
    const int64_t channels = norm.channels, each = n.each();
    float *const near = static_cast<float *>(atrous::scratch(0, sizeof(float) * static_cast<size_t>(3 * channels)));
    if (near == nullptr) return n.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    float *const away = near + channels, *const squares = away + channels;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item % n.chunks * kMomentPositions, count = smaller(kMomentPositions, norm.positions - first);
        const float *x = n.x + (item / n.chunks * norm.positions + first) * channels;
        for (int64_t c = 0; c < channels; c += each) {
            double sum = 0;
            for (int64_t i = 0; i < each; ++i) sum += static_cast<double>(x[c + i]);
            for (int64_t i = 0; i < each; ++i) near[c + i] = static_cast<float>(sum / static_cast<double>(each));
        }
        int64_t c = 0;
        for (; c + L <= channels; c += L) {
            V one = {}, two = {};
            const V mean = load(near + c);
            for (int64_t p = 0; p < count; ++p) {
                const V value = load(x + p * channels + c) - mean;
                one += value;
                two += value * value;
            }
            store<float>(away + c, one);
            store<float>(squares + c, two);
        }
        for (; c < channels; ++c) {
            away[c] = squares[c] = 0.0f;
            for (int64_t p = 0; p < count; ++p) {
                const float value = x[p * channels + c] - near[c];
                away[c] += value;
                squares[c] += value * value;
            }
        }
        for (int64_t group = 0; group < norm.groups; ++group) {
            double sum = 0, all = 0;
            for (int64_t i = group * each; i < (group + 1) * each; ++i) {
                sum += static_cast<double>(away[i]);
                all += static_cast<double>(squares[i]);
            }
            const double numbers = static_cast<double>(count * each), mean = sum / numbers;
            double *part = n.parts + 2 * (item * norm.groups + group);
            part[0] = static_cast<double>(near[group * each]) + mean;
            part[1] = larger(0.0, all - numbers * mean * mean);
        }
    }
}

// factors: of each channel of each image what it is multiplied by, then what is added.
inline int norm_factors(const atrous_norm &norm, const float *x, const float *weight, const float *bias, float *factors,
                        double *parts) {
    std::atomic<int> code{ATROUS_OK};
    const int64_t each = norm.channels / norm.groups, floats = each * norm.positions;
    const Norm n{&norm, x, parts, moment_chunks(norm), floats, &code};
    const int64_t groups = norm.images * norm.groups;
    const int32_t threads = groups * floats < kAloneNumbers ? 1 : norm.threads;
    const bool beside = is_beside(norm);
    atrous::parallel((beside ? norm.images : groups) * n.chunks, threads, beside ? norm_positions : norm_chunks,
                     const_cast<Norm *>(&n));
    if (code.load(std::memory_order_relaxed) != ATROUS_OK) return ATROUS_NO_MEMORY;
    float *const scales = factors, *const shifts = factors + norm.images * norm.channels;
    for (int64_t group = 0; group < groups; ++group) {
        Moments all{0, 0, 0};
        for (int64_t i = 0; i < n.chunks; ++i) {
            const double *part = parts + n.part(group, i);
            all.add({n.count(i), part[0], part[1]});
        }
        const double scale = 1 / sqrt(all.distance / all.count + norm.epsilon);
        for (int64_t c = 0; c < each; ++c) {
            const int64_t channel = group % norm.groups * each + c, at = group / norm.groups * norm.channels + channel;
            const double own = weight == nullptr ? scale : scale * weight[channel];
            scales[at] = static_cast<float>(own);
            shifts[at] = static_cast<float>((bias == nullptr ? 0.0 : bias[channel]) - all.mean * own);
        }
    }
    return ATROUS_OK;
}

struct ChannelSums {
    const atrous_channels *map;
    const float *x;
    double *sums;     // of planes, by image and channel
    float *parts;     // of channels last, by image, chunk and channel
    int64_t chunks;   // of an image, of channels last
};

inline void sum_planes(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<float>::lanes;
    const ChannelSums &s = *static_cast<const ChannelSums *>(context);
    for (int64_t plane = begin; plane < end; ++plane) {
        const float *x = s.x + plane * s.map->positions;
        double all = 0;
        for (int64_t at = 0; at < s.map->positions; at += kMomentChunk) {
            const int64_t stop = smaller(at + kMomentChunk, s.map->positions);
            Vec<float> sum[4] = {};
            int64_t i = at;
            for (; i + 4 * L <= stop; i += 4 * L) {
                ATROUS_UNROLL(4)
                for (int j = 0; j < 4; ++j) sum[j] += load(x + i + j * L);
            }
            all += sum_of(sum, 4);
            for (; i < stop; ++i) all += static_cast<double>(x[i]);
        }
        s.sums[plane] = all;
    }
}

inline void sum_positions(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<float>::lanes;
    const ChannelSums &s = *static_cast<const ChannelSums *>(context);
    const int64_t channels = s.map->channels;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item % s.chunks * kMomentPositions;
        const int64_t count = smaller(kMomentPositions, s.map->positions - first);
        const float *x = s.x + (item / s.chunks * s.map->positions + first) * channels;
        float *to = s.parts + item * channels;
        int64_t c = 0;
        for (; c + 4 * L <= channels; c += 4 * L) {
            Vec<float> sum[4] = {};
            for (int64_t p = 0; p < count; ++p) {
                ATROUS_UNROLL(4)
                for (int j = 0; j < 4; ++j) sum[j] += load(x + p * channels + c + j * L);
            }
            ATROUS_UNROLL(4)
            for (int j = 0; j < 4; ++j) store<float>(to + c + j * L, sum[j]);
        }
        for (; c < channels; ++c) {
            float sum = 0;
            for (int64_t p = 0; p < count; ++p) sum += x[p * channels + c];
            to[c] = sum;
        }
    }
}

// out (images, channels): the mean of each channel of an image. `parts`: numbers of atrous_channel_parts.
inline int channel_means(const atrous_channels &map, const float *x, float *out, double *parts) {
    const int64_t planes = map.images * map.channels;
    ChannelSums s{&map, x, parts, reinterpret_cast<float *>(parts + planes), ceil_div(map.positions, kMomentPositions)};
    const int32_t threads = planes * map.positions < kAloneNumbers ? 1 : map.threads;
    if (!map.channels_last) {
        atrous::parallel(planes, threads, sum_planes, &s);
    } else {
        atrous::parallel(map.images * s.chunks, threads, sum_positions, &s);
        for (int64_t image = 0; image < map.images; ++image) {
            double *sums = parts + image * map.channels;
            for (int64_t c = 0; c < map.channels; ++c) sums[c] = 0;
            for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
                const float *part = s.parts + (image * s.chunks + chunk) * map.channels;
                for (int64_t c = 0; c < map.channels; ++c) sums[c] += static_cast<double>(part[c]);
            }
        }
    }
    for (int64_t i = 0; i < planes; ++i) out[i] = static_cast<float>(parts[i] / static_cast<double>(map.positions));
    return ATROUS_OK;
}

}  // namespace
#endif
