// A matrix product on packed panels: c (rows x width) = a (rows x depth) * b (depth x width).
//
// `a` is row-major, `b` a panel of `width` = N vectors whose rows follow one another. Six rows by N vectors of sums
// stay in registers. Sums are cut every 16 or 32 terms and added to memory: a long sum in one register rounds with the
// root of its length, so cutting 256 terms into runs of 32 takes the error to about 0.4 of that.
#ifndef ATROUS_PRODUCT_H
#define ATROUS_PRODUCT_H

#include "vector.h"

namespace {

constexpr int kRows = 6;
constexpr int64_t kDeep = 4 * 32;  // terms of a panel that stay in the first-level cache

// About the root of the number of terms: then the sums of runs round as little as the runs.
ATROUS_INLINE int64_t run_of(int64_t depth) { return depth <= 128 ? 16 : 32; }

// Vectors of a full panel: with six rows their sums fill the registers.
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int kPanel = 4;
#else
constexpr int kPanel = 2;
#endif

// R rows by N vectors of sums: they stay in registers, as all that takes them is inlined.
template <class T, int R, int N> using Sums = Vec<T>[R][N];

// Each row of sums begins with `first`, or with zeros.
template <class T, int R, int N> ATROUS_INLINE void begin_sums(Sums<T, R, N> &sum, const T *first) {
    ATROUS_UNROLL(8)
    for (int n = 0; n < N; ++n) {
        const Vec<T> one = first == nullptr ? Vec<T>{} : load(first + n * Types<T>::lanes);
        ATROUS_UNROLL(8)
        for (int r = 0; r < R; ++r) sum[r][n] = one;
    }
}

// Adds products of a(r, k) at a[r * a_row + k * a_term] and the row b[k * b_step], for `terms` of k.
// `ahead`, where it is not null, is fetched meanwhile, one line a term.
template <class T, int R, int N>
ATROUS_INLINE void add_terms(Sums<T, R, N> &sum, const T *a, int64_t a_row, int64_t a_term, const T *b, int64_t b_step,
                             int64_t terms, const char *ahead) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    ATROUS_UNROLL_BY(4)
    for (int64_t k = 0; k < terms; ++k) {
        if (ahead != nullptr) __builtin_prefetch(ahead + k * 64, 0, 2);
        V right[N];
        ATROUS_UNROLL(8)
        for (int n = 0; n < N; ++n) right[n] = load(b + k * b_step + n * L);
        ATROUS_UNROLL(8)
        for (int r = 0; r < R; ++r) {
            const V left = splat(a[r * a_row + k * a_term]);
            ATROUS_UNROLL(8)
            for (int n = 0; n < N; ++n) sum[r][n] += left * right[n];
        }
    }
}

// Stores sums, on top of what `beside` has where it is not null.
template <class T, int R, int N>
ATROUS_INLINE void store_sums(const Sums<T, R, N> &sum, T *c, int64_t c_step, const T *beside, int64_t beside_step) {
    constexpr int64_t L = Types<T>::lanes;
    ATROUS_UNROLL(8)
    for (int r = 0; r < R; ++r) {
        ATROUS_UNROLL(8)
        for (int n = 0; n < N; ++n) {
            const Vec<T> more = beside == nullptr ? sum[r][n] : load(beside + r * beside_step + n * L) + sum[r][n];
            store<T>(c + r * c_step + n * L, more);
        }
    }
}

// Sums of `terms` products, of a(r, k) at a[r * a_row + k * a_term] and the row b[k * b_step]: stored, or added.
// `ahead`, where it is not null, is fetched meanwhile, one line a term.
template <class T, int R, int N>
ATROUS_INLINE void product_tile(const T *a, int64_t a_row, int64_t a_term, const T *b, int64_t b_step, int64_t terms,
                                T *c, int64_t c_step, bool add, const char *ahead) {
    Sums<T, R, N> sum;
    begin_sums<T, R, N>(sum, nullptr);
    add_terms<T, R, N>(sum, a, a_row, a_term, b, b_step, terms, ahead);
    store_sums<T, R, N>(sum, c, c_step, add ? c : nullptr, c_step);
}

template <class T, int R, int N>
ATROUS_INLINE void product_rows(const T *a, int64_t a_step, const T *b, int64_t depth, T *c, int64_t c_step, bool add,
                                const char *ahead, int64_t run) {
    constexpr int64_t L = Types<T>::lanes;
    for (int64_t k = 0; k < depth; k += run) {
        product_tile<T, R, N>(a + k, a_step, 1, b + k * N * L, N * L, smaller(run, depth - k), c, c_step, add || k > 0,
                              ahead + k * 64);
    }
}

// `rows` of any number; those beyond a multiple of six run three and one at a time. Meanwhile the next terms of the
// panel are fetched into the second-level cache, one line a step, and at its end those of `then`.
template <class T, int N>
__attribute__((noinline)) void product(const T *a, int64_t a_step, int64_t rows, const T *b, int64_t depth, T *c,
                                       int64_t c_step, const T *then) {
    constexpr int64_t L = Types<T>::lanes;
    const int64_t run = run_of(depth);
    for (int64_t k = 0; k < depth; k += kDeep) {
        const int64_t deep = smaller(kDeep, depth - k);
        const T *from = a + k, *panel = b + k * N * L;
        const char *ahead = reinterpret_cast<const char *>(k + deep < depth ? panel + deep * N * L : then);
        const bool more = k > 0;
        int64_t row = 0;
        for (; row + kRows <= rows; row += kRows, ahead += deep * 64) {
            product_rows<T, kRows, N>(from + row * a_step, a_step, panel, deep, c + row * c_step, c_step, more, ahead, run);
        }
        for (; row + 3 <= rows; row += 3) {
            product_rows<T, 3, N>(from + row * a_step, a_step, panel, deep, c + row * c_step, c_step, more, ahead, run);
        }
        for (; row < rows; ++row) {
            product_rows<T, 1, N>(from + row * a_step, a_step, panel, deep, c + row * c_step, c_step, more, ahead, run);
        }
    }
}

template <class T>
void product_of(int64_t vectors, const T *a, int64_t a_step, int64_t rows, const T *b, int64_t depth, T *c,
                int64_t c_step, const T *then) {
    switch (vectors) {
        case 1: return product<T, 1>(a, a_step, rows, b, depth, c, c_step, then);
        case 2: return product<T, 2>(a, a_step, rows, b, depth, c, c_step, then);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return product<T, 3>(a, a_step, rows, b, depth, c, c_step, then);
        default: return product<T, 4>(a, a_step, rows, b, depth, c, c_step, then);
#endif
    }
}

template <class T, int R, int N>
ATROUS_INLINE void outer_rows(const T *a, int64_t a_step, const T *b, int64_t b_step, int64_t terms, T *c,
                              int64_t c_step) {
    for (int64_t k = 0; k < terms; k += 32) {
        product_tile<T, R, N>(a + k * a_step, 1, a_step, b + k * b_step, b_step, smaller<int64_t>(32, terms - k), c,
                              c_step, true, nullptr);
    }
}

// c (rows x width) += the transpose of a (terms x rows) times b (terms x width); sums are cut every 32 terms.
template <class T, int N>
__attribute__((noinline)) void outer(const T *a, int64_t a_step, int64_t rows, const T *b, int64_t b_step,
                                     int64_t terms, T *c, int64_t c_step) {
    int64_t row = 0;
    for (; row + kRows <= rows; row += kRows) {
        outer_rows<T, kRows, N>(a + row, a_step, b, b_step, terms, c + row * c_step, c_step);
    }
    for (; row < rows; ++row) outer_rows<T, 1, N>(a + row, a_step, b, b_step, terms, c + row * c_step, c_step);
}

template <class T>
void outer_of(int64_t vectors, const T *a, int64_t a_step, int64_t rows, const T *b, int64_t b_step, int64_t terms,
              T *c, int64_t c_step) {
    switch (vectors) {
        case 1: return outer<T, 1>(a, a_step, rows, b, b_step, terms, c, c_step);
        case 2: return outer<T, 2>(a, a_step, rows, b, b_step, terms, c, c_step);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return outer<T, 3>(a, a_step, rows, b, b_step, terms, c, c_step);
        default: return outer<T, 4>(a, a_step, rows, b, b_step, terms, c, c_step);
#endif
    }
}

}  // namespace
#endif
