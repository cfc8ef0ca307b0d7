// Vectors of one instruction set, by the vector extension of GCC and Clang: no intrinsics.
//
// Everything here and in the kernels lies in an unnamed namespace: the same source is compiled once per
// instruction set, and a linker must not take one version's function for another's.
#ifndef ATROUS_VECTOR_H
#define ATROUS_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifndef ATROUS_VECTOR_BYTES
#define ATROUS_VECTOR_BYTES 16
#endif

#define ATROUS_INLINE inline __attribute__((always_inline))
#define ATROUS_PRAGMA(text) _Pragma(#text)
// Loops that are unrolled as a whole, of `times` turns at most, and loops of any number of turns, so many at a time.
#if defined(__clang__)
#define ATROUS_UNROLL(times) ATROUS_PRAGMA(clang loop unroll(full))
#define ATROUS_UNROLL_BY(times) ATROUS_PRAGMA(clang loop unroll_count(times))
#else
#define ATROUS_UNROLL(times) ATROUS_PRAGMA(GCC unroll times)
#define ATROUS_UNROLL_BY(times) ATROUS_PRAGMA(GCC unroll times)
#endif

namespace {

template <class T> struct Traits;
template <> struct Traits<float> {
    typedef int32_t integer;
};
template <> struct Traits<double> {
    typedef int64_t integer;
};

template <class T> struct Types {
    typedef typename Traits<T>::integer I;
    typedef T V __attribute__((vector_size(ATROUS_VECTOR_BYTES)));
    typedef I M __attribute__((vector_size(ATROUS_VECTOR_BYTES)));
    typedef T Loose __attribute__((vector_size(ATROUS_VECTOR_BYTES), aligned(sizeof(T)), may_alias));
    static constexpr int64_t lanes = ATROUS_VECTOR_BYTES / sizeof(T);
};

template <class T> using Vec = typename Types<T>::V;
template <class T> using Mask = typename Types<T>::M;

// The same value, rounded by now: what is added to a product behind this is not joined with it.
template <class T> ATROUS_INLINE Vec<T> rounded(Vec<T> value) {
#if defined(__aarch64__)
    __asm__("" : "+w"(value));
#elif ATROUS_VECTOR_BYTES == 64 && !defined(__AVX512F__)
    __asm__("" : "+m"(value));  // two registers that stand for one
#elif ATROUS_VECTOR_BYTES == 64
    __asm__("" : "+v"(value));
#elif defined(__x86_64__) || defined(__i386__)
    __asm__("" : "+x"(value));
#endif
    return value;
}

template <class T> ATROUS_INLINE Vec<T> load(const T *from) {
    return *reinterpret_cast<const typename Types<T>::Loose *>(from);
}

template <class T> ATROUS_INLINE void store(T *to, Vec<T> value) {
    *reinterpret_cast<typename Types<T>::Loose *>(to) = value;
}

template <class T> ATROUS_INLINE Vec<T> splat(T value) {
    return value - Vec<T>{};  // minus zero: keeps the sign of a zero, and compiles to one broadcast
}

// The lanes where `keep` has all bits set, zero elsewhere, whatever the others hold.
template <class T> ATROUS_INLINE Vec<T> only(Vec<T> value, Mask<T> keep) {
    return reinterpret_cast<Vec<T>>(reinterpret_cast<Mask<T>>(value) & keep);
}

// `yes` in the lanes where `which`, a comparison's result, holds: one blend, where there is one.
template <class T> ATROUS_INLINE Vec<T> choose(Mask<T> which, Vec<T> yes, Vec<T> no) { return which ? yes : no; }

// The first `count` lanes, for 0 < count < lanes: two overlapping pieces instead of a loop.
template <class T> ATROUS_INLINE void copy_some(T *to, const T *from, int64_t count) {
#define ATROUS_PIECE(size)                                          \
    if (Types<T>::lanes > (size) && count >= (size)) {              \
        char first[(size) * sizeof(T)], last[(size) * sizeof(T)];   \
        memcpy(first, from, sizeof first);                          \
        memcpy(last, from + count - (size), sizeof last);           \
        memcpy(to, first, sizeof first);                            \
        memcpy(to + count - (size), last, sizeof last);             \
        return;                                                     \
    }
    ATROUS_PIECE(8)
    ATROUS_PIECE(4)
    ATROUS_PIECE(2)
    ATROUS_PIECE(1)
#undef ATROUS_PIECE
}

template <class T> ATROUS_INLINE void store_some(T *to, Vec<T> value, int64_t count) {
    alignas(ATROUS_VECTOR_BYTES) T spill[Types<T>::lanes];
    store(spill, value);
    copy_some<T>(to, spill, count);
}

template <class A> constexpr ATROUS_INLINE A smaller(A a, A b) { return a < b ? a : b; }
template <class A> constexpr ATROUS_INLINE A larger(A a, A b) { return a < b ? b : a; }
ATROUS_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a > 0 ? (a + b - 1) / b : -(-a / b); }

}  // namespace
#endif
