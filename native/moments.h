// Sums along one axis, and means and variances of groups of channels in planes and channels last, float32.
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

struct AxisSums {
    const atrous_sums *map;
    const float *x;
    double *sums;    // one for each number of the result
    float *parts;    // along lines: by image, chunk of lines and column
    int64_t chunks;  // of an image's lines
};

template <bool Squared> ATROUS_INLINE Vec<float> summed(const float *x) {
    const Vec<float> one = load(x);
    return Squared ? one * one : one;
}
template <bool Squared> ATROUS_INLINE double summed_one(float x) {
    return Squared ? static_cast<double>(x) * static_cast<double>(x) : static_cast<double>(x);
}

// Lines, each on its own.
template <bool Squared> void sum_columns(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<float>::lanes;
    const AxisSums &s = *static_cast<const AxisSums *>(context);
    const int64_t columns = s.map->columns;
    for (int64_t line = begin; line < end; ++line) {
        const float *x = s.x + line * columns;
        double all = 0;
        for (int64_t at = 0; at < columns; at += kMomentChunk) {
            const int64_t stop = smaller(at + kMomentChunk, columns);
            Vec<float> sum[4] = {};
            int64_t i = at;
            for (; i + 4 * L <= stop; i += 4 * L) {
                ATROUS_UNROLL(4)
                for (int j = 0; j < 4; ++j) sum[j] += summed<Squared>(x + i + j * L);
            }
            for (; i + L <= stop; i += L) sum[0] += summed<Squared>(x + i);
            const Vec<float> both = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            all += sum_of(&both, 1);
            for (; i < stop; ++i) all += summed_one<Squared>(x[i]);
        }
        s.sums[line] = all;
    }
}

// Chunks of lines, all columns at once.
template <bool Squared> void sum_lines(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<float>::lanes;
    const AxisSums &s = *static_cast<const AxisSums *>(context);
    const int64_t columns = s.map->columns;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t first = item % s.chunks * kMomentPositions;
        const int64_t count = smaller(kMomentPositions, s.map->lines - first);
        const float *x = s.x + (item / s.chunks * s.map->lines + first) * columns;
        float *to = s.parts + item * columns;
        int64_t c = 0;
        for (; c + 4 * L <= columns; c += 4 * L) {
            Vec<float> sum[4] = {};
            for (int64_t p = 0; p < count; ++p) {
                ATROUS_UNROLL(4)
                for (int j = 0; j < 4; ++j) sum[j] += summed<Squared>(x + p * columns + c + j * L);
            }
            ATROUS_UNROLL(4)
            for (int j = 0; j < 4; ++j) store<float>(to + c + j * L, sum[j]);
        }
        for (; c < columns; ++c) {
            double sum = 0;
            for (int64_t p = 0; p < count; ++p) sum += summed_one<Squared>(x[p * columns + c]);
            to[c] = static_cast<float>(sum);
        }
    }
}

// Numbers of `parts`: sums, and along lines those of chunks in float32.
inline int64_t sum_parts(const atrous_sums &map) {
    const int64_t made = map.images * (map.along_lines ? map.columns : map.lines);
    const int64_t chunks = map.along_lines ? ceil_div(map.lines, kMomentPositions) : 0;
    return made + ceil_div(map.images * chunks * map.columns, int64_t(2));
}

inline int summed_up(const atrous_sums &map, const float *x, float *out, double *parts) {
    const int64_t made = map.images * (map.along_lines ? map.columns : map.lines);
    AxisSums s{&map, x, parts, reinterpret_cast<float *>(parts + made), ceil_div(map.lines, kMomentPositions)};
    const int32_t threads = map.images * map.lines * map.columns < kAloneNumbers ? 1 : map.threads;
    if (!map.along_lines) {
        atrous::parallel(map.images * map.lines, threads, map.squared ? sum_columns<true> : sum_columns<false>, &s);
    } else {
        atrous::parallel(map.images * s.chunks, threads, map.squared ? sum_lines<true> : sum_lines<false>, &s);
        for (int64_t image = 0; image < map.images; ++image) {
            double *sums = parts + image * map.columns;
            for (int64_t c = 0; c < map.columns; ++c) sums[c] = 0;
            for (int64_t chunk = 0; chunk < s.chunks; ++chunk) {
                const float *part = s.parts + (image * s.chunks + chunk) * map.columns;
                for (int64_t c = 0; c < map.columns; ++c) sums[c] += static_cast<double>(part[c]);
            }
        }
    }
    for (int64_t i = 0; i < made; ++i) out[i] = static_cast<float>(parts[i] * map.scale);
    return ATROUS_OK;
}

}  // namespace
#endif
