// Maximum and average pools, both layouts: along the depth and height first, then along the width.
//
// Layout: (batch, channels, depth, height, width) or (batch, depth, height, width, channels), dense. The rows that a
// row of outputs reads are combined into one row of scratch memory, with room beside it for what lies in the padding,
// and that row along the width: of K x K taps 2 K are left. Vectors run along the row in both.
// Maxima are PyTorch's: a NaN that is read wins, and minus infinity where nothing is read. Averages are sums in the type
// of the tensors, rows first, and one division; error at most (taps + 1) units in the last place of the sum of |x|.
// Threads: one row of outputs at a time, so no result depends on them.
#ifndef ATROUS_POOL_H
#define ATROUS_POOL_H

#include <math.h>

#include "abi.h"
#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kPoolBytes = 32 << 10;  // of scratch memory for one row: most of a first-level cache

template <class T> struct Largest {
    static constexpr T nothing = -HUGE_VALF;
    static ATROUS_INLINE T of(T most, T value) { return value > most || value != value ? value : most; }
    static ATROUS_INLINE Vec<T> of(Vec<T> most, Vec<T> value) {
        return ((value > most) | (value != value)) ? value : most;
    }
};

template <class T> struct Total {
    static constexpr T nothing = 0;
    static ATROUS_INLINE T of(T sum, T value) { return sum + value; }
    static ATROUS_INLINE Vec<T> of(Vec<T> sum, Vec<T> value) { return sum + value; }
};

template <class T> struct Pool {
    const atrous_pool_layer *layer;
    const T *x;
    T *out;
    int64_t lines;            // elements of one position of the row in scratch memory
    int64_t chunk, chunks;    // of channels, where these lie closest
    int64_t margin, reach;    // positions before and behind the row
    T *divisors;              // of each column, for averages
    int failed;
};

// The taps of output `o` that lie inside: [lo, hi). Without a dilation they are a run of inputs.
ATROUS_INLINE void pool_taps(const atrous_pool_layer &layer, int axis, int64_t o, int64_t *lo, int64_t *hi) {
    const int64_t start = o * layer.stride[axis] - layer.pad[axis], rate = layer.dilation[axis];
    *lo = larger<int64_t>(0, ceil_div(-start, rate));
    *hi = smaller(layer.kernel[axis], ceil_div(layer.in[axis] - start, rate));
    if (*hi < *lo) *hi = *lo;
}

// By how much a sum along one axis is divided: the taps, those in the padding too where `include_pad`. At least 1:
// what has no taps is zero.
ATROUS_INLINE int64_t pool_divisor(const atrous_pool_layer &layer, int axis, int64_t o) {
    const int64_t start = o * layer.stride[axis] - layer.pad[axis], stop = start + layer.kernel[axis];
    if (layer.include_pad) return larger<int64_t>(1, smaller(stop, layer.in[axis] + layer.pad[axis]) - start);
    return larger<int64_t>(1, smaller(stop, layer.in[axis]) - larger<int64_t>(start, 0));
}

// What becomes of a fold: a division takes longer than all of a small window, and by a power of two is none.
enum Finish { kPlain, kDivided, kMultiplied };

template <class T, Finish F> ATROUS_INLINE Vec<T> finished(Vec<T> value, T by) {
    return F == kDivided ? value / by : F == kMultiplied ? value * by : value;
}

// to[i] = the fold of from[i + offset] over the offsets, finished with `by`, for i < count.
template <class T, class Fold, Finish F, int V>
ATROUS_INLINE void fold_vectors(const T *from, const int64_t *offset, int64_t rows, T by, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    Vec<T> value[V];
    ATROUS_UNROLL(4)
    for (int v = 0; v < V; ++v) value[v] = load(from + offset[0] + v * L);
    for (int64_t r = 1; r < rows; ++r) {
        ATROUS_UNROLL(4)
        for (int v = 0; v < V; ++v) value[v] = Fold::of(value[v], load(from + offset[r] + v * L));
    }
    ATROUS_UNROLL(4)
    for (int v = 0; v < V; ++v) store<T>(to + v * L, finished<T, F>(value[v], by));
}

template <class T, class Fold, Finish F>
ATROUS_INLINE void fold_rows(const T *from, const int64_t *offset, int64_t rows, int64_t count, T by, T *to) {
    constexpr int64_t L = Types<T>::lanes;
    int64_t i = 0;
    for (; i + 4 * L <= count; i += 4 * L) fold_vectors<T, Fold, F, 4>(from + i, offset, rows, by, to + i);
    for (; i + L <= count; i += L) fold_vectors<T, Fold, F, 1>(from + i, offset, rows, by, to + i);
    if (i == count) return;
    if (count >= L) {
        // The last vector steps back rather than stop short.
        i = count - L;
        fold_vectors<T, Fold, F, 1>(from + i, offset, rows, by, to + i);
        return;
    }
    alignas(ATROUS_VECTOR_BYTES) T some[L] = {};
    copy_some<T>(some, from + offset[0], count);
    Vec<T> value = load(some);
    for (int64_t r = 1; r < rows; ++r) {
        copy_some<T>(some, from + offset[r], count);
        value = Fold::of(value, load(some));
    }
    store_some<T>(to, finished<T, F>(value, by), count);
}

// Channels last, maxima, where windows along the width share no inputs: every tap from where it lies.
template <class T, class Fold>
void fold_windows(const Pool<T> &pool, const T *x, int64_t rows, const int64_t *row, int64_t *offset, T *out) {
    const atrous_pool_layer &layer = *pool.layer;
    const int64_t channels = layer.channels;
    for (int64_t o = 0; o < layer.out[2]; ++o, out += channels) {
        int64_t lo, hi, n = 0;
        pool_taps(layer, 2, o, &lo, &hi);
        const int64_t start = o * layer.stride[2] - layer.pad[2];
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t j = lo; j < hi; ++j) offset[n++] = row[r] + (start + j * layer.dilation[2]) * channels;
        }
        if (n == 0) {
            for (int64_t c = 0; c < channels; ++c) out[c] = Fold::nothing;
        } else {
            fold_rows<T, Fold, kPlain>(x, offset, n, channels, T(1), out);
        }
    }
}

template <class T> ATROUS_INLINE bool is_power_of_two(T by) {
    int exponent;
    return frexp(static_cast<double>(by), &exponent) == 0.5;
}

template <class T, class Fold, bool Average> void pool_body(void *context, int64_t begin, int64_t end) {
    Pool<T> &pool = *static_cast<Pool<T> *>(context);
    const atrous_pool_layer &layer = *pool.layer;
    const bool last = layer.layout == ATROUS_CHANNELS_LAST;
    const int64_t width = layer.in[2], stride = layer.stride[2], kernel = layer.kernel[2];
    const int64_t positions = pool.margin + width + pool.reach;
    // Along the width without a stride, outputs lie as their inputs do; with one, all positions are made and some kept.
    const int64_t made = last ? 0 : (layer.out[2] - 1) * stride + 1;
    const int64_t rows = layer.kernel[0] * layer.kernel[1];
    const size_t data = static_cast<size_t>(positions * pool.lines + made + 2 * Types<T>::lanes) * sizeof(T);
    const bool apart = last && !Average && stride >= (kernel - 1) * layer.dilation[2] + 1;
    const size_t head = static_cast<size_t>(rows + kernel + (apart ? rows * kernel : 0)) * sizeof(int64_t);
    char *memory = static_cast<char *>(atrous::scratch(0, head + data));
    if (memory == nullptr) {
        pool.failed = ATROUS_NO_MEMORY;
        return;
    }
    int64_t *offset = reinterpret_cast<int64_t *>(memory), *column = offset + rows;
    T *row = reinterpret_cast<T *>(memory + head), *line = row + positions * pool.lines;
    for (int64_t j = 0; j < kernel; ++j) column[j] = j * layer.dilation[2] * pool.lines;
    for (int64_t i = 0; i < positions * pool.lines; ++i) row[i] = Fold::nothing;
    T *inside = row + pool.margin * pool.lines;
    const int64_t each = last ? layer.channels : 1;  // elements between positions of the maps
    for (int64_t item = begin; item < end; ++item) {
        int64_t rest = item;
        const int64_t h = rest % layer.out[1];
        rest /= layer.out[1];
        const int64_t d = rest % layer.out[0], image = rest / layer.out[0];
        int64_t d0, d1, h0, h1;
        pool_taps(layer, 0, d, &d0, &d1);
        pool_taps(layer, 1, h, &h0, &h1);
        int64_t n = 0;
        for (int64_t a = d0; a < d1; ++a) {
            for (int64_t b = h0; b < h1; ++b, ++n) {
                const int64_t deep = d * layer.stride[0] - layer.pad[0] + a * layer.dilation[0];
                const int64_t high = h * layer.stride[1] - layer.pad[1] + b * layer.dilation[1];
                offset[n] = (deep * layer.in[1] + high) * width * each;
            }
        }
        const T *x = pool.x + image * layer.in[0] * layer.in[1] * width * each;
        T *out = pool.out + ((image * layer.out[0] + d) * layer.out[1] + h) * layer.out[2] * each;
        T above = 1;  // what depth and height divide by
        if (Average) {
            const int64_t by = layer.divisor != 0 ? layer.divisor : pool_divisor(layer, 0, d) * pool_divisor(layer, 1, h);
            above = static_cast<T>(by);
        }
        if (apart) {
            fold_windows<T, Fold>(pool, x, n, offset, column + kernel, out);
            continue;
        }
        for (int64_t chunk = 0; chunk < pool.chunks; ++chunk) {
            const int64_t c0 = chunk * pool.chunk, count = last ? smaller(pool.chunk, layer.channels - c0) : 1;
            if (n == 0) {
                for (int64_t i = 0; i < width * pool.lines; ++i) inside[i] = Fold::nothing;
            } else if (!last || pool.chunks == 1) {
                fold_rows<T, Fold, kPlain>(x, offset, n, width * each, T(1), inside);
            } else {
                for (int64_t w = 0; w < width; ++w) {
                    fold_rows<T, Fold, kPlain>(x + w * each + c0, offset, n, count, T(1), inside + w * pool.lines);
                }
            }
            if (last) {
                for (int64_t o = 0; o < layer.out[2]; ++o) {
                    const T *from = inside + (o * stride - layer.pad[2]) * pool.lines;
                    const T by = Average ? above * pool.divisors[o] : T(1);
                    T *to = out + o * each + c0;
                    if (!Average) {
                        fold_rows<T, Fold, kPlain>(from, column, kernel, count, by, to);
                    } else if (is_power_of_two(by)) {
                        fold_rows<T, Fold, kMultiplied>(from, column, kernel, count, 1 / by, to);
                    } else {
                        fold_rows<T, Fold, kDivided>(from, column, kernel, count, by, to);
                    }
                }
                continue;
            }
            // What lies behind the row is ours too: short rows are whole vectors.
            T *to = stride == 1 && made >= Types<T>::lanes ? out : line;
            fold_rows<T, Fold, kPlain>(inside - layer.pad[2], column, kernel, larger(made, Types<T>::lanes), T(1), to);
            if (stride == 2) {
                for (int64_t o = 0; o < layer.out[2]; ++o) out[o] = line[2 * o];
            } else if (to == line) {
                for (int64_t o = 0; o < layer.out[2]; ++o) out[o] = line[stride * o];
            }
            if (Average) {
                for (int64_t o = 0; o < layer.out[2]; ++o) out[o] /= above * pool.divisors[o];
            }
        }
    }
}

template <class T> int pooled(const atrous_pool_layer &layer, const void *x, void *out) {
    const bool last = layer.layout == ATROUS_CHANNELS_LAST;
    Pool<T> pool{&layer, static_cast<const T *>(x), static_cast<T *>(out), 1, 1, 1, 0, 0, nullptr, 0};
    pool.margin = larger<int64_t>(0, layer.pad[2]);
    const int64_t stop = (layer.out[2] - 1) * layer.stride[2] - layer.pad[2] + (layer.kernel[2] - 1) * layer.dilation[2] + 1;
    pool.reach = larger<int64_t>(0, stop - layer.in[2]);
    if (last) {
        const int64_t each = (pool.margin + layer.in[2] + pool.reach) * static_cast<int64_t>(sizeof(T));
        const int64_t step = 4 * Types<T>::lanes, fitting = larger(step, kPoolBytes / each / step * step);
        pool.chunks = (layer.channels + fitting - 1) / fitting;
        pool.chunk = pool.lines = smaller(fitting, layer.channels);
    }
    if (layer.average) {
        pool.divisors = static_cast<T *>(atrous::scratch(2, static_cast<size_t>(layer.out[2]) * sizeof(T)));
        if (pool.divisors == nullptr) return ATROUS_NO_MEMORY;
        for (int64_t o = 0; o < layer.out[2]; ++o) {
            pool.divisors[o] = layer.divisor != 0 ? T(1) : static_cast<T>(pool_divisor(layer, 2, o));
        }
    }
    const int64_t images = last ? layer.batch : layer.batch * layer.channels;
    atrous::parallel(images * layer.out[0] * layer.out[1], layer.threads,
                     layer.average ? pool_body<T, Total<T>, true> : pool_body<T, Largest<T>, false>, &pool);
    return pool.failed;
}

}  // namespace
#endif
