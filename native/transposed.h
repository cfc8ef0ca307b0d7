// Matrices transposed, 4 bytes a number: a map of planes becomes one of channels last, and back.
//
// Layout: `images` matrices of rows x columns, dense; the result's are columns x rows. Squares of as many rows as a
// vector has lanes are turned in registers; the last one of a piece lies over the one before, whose numbers there it
// writes once more. Where there are fewer rows or columns than lanes, some lanes are not stored. The rows of a piece
// are innermost: so lines of the result are written whole, while those of the input stay in the cache.
// Threads: pieces. Numbers are copied bit by bit, so no result depends on them.
#ifndef ATROUS_TRANSPOSED_H
#define ATROUS_TRANSPOSED_H

#include <utility>

#include "abi.h"
#include "threads.h"
#include "vector.h"

namespace {

constexpr int64_t kPieceRows = 64, kFewRows = 16, kPieceColumns = 1024;

// a0 b0 a1 b1 ... of the first halves, or of the last ones.
template <class T, size_t... I>
ATROUS_INLINE Vec<T> interleaved(Vec<T> a, Vec<T> b, bool last, std::index_sequence<I...>) {
    constexpr int L = sizeof...(I);
#if defined(__clang__)
    return last ? __builtin_shufflevector(a, b, (static_cast<int>(I / 2 + L / 2 + I % 2 * L))...)
                : __builtin_shufflevector(a, b, (static_cast<int>(I / 2 + I % 2 * L))...);
#else
    typedef typename Types<T>::I Index;
    return last ? __builtin_shuffle(a, b, Mask<T>{static_cast<Index>(I / 2 + L / 2 + I % 2 * L)...})
                : __builtin_shuffle(a, b, Mask<T>{static_cast<Index>(I / 2 + I % 2 * L)...});
#endif
}

// Rows become columns: each round turns the bits of an element's place by one.
template <class T> ATROUS_INLINE void transpose(Vec<T> (&rows)[Types<T>::lanes]) {
    constexpr int L = Types<T>::lanes;
    const auto lanes = std::make_index_sequence<L>();
    ATROUS_UNROLL(4)
    for (int round = 1; round < L; round *= 2) {
        Vec<T> turned[L];
        ATROUS_UNROLL(8)
        for (int i = 0; i < L / 2; ++i) {
            turned[2 * i] = interleaved<T>(rows[i], rows[i + L / 2], false, lanes);
            turned[2 * i + 1] = interleaved<T>(rows[i], rows[i + L / 2], true, lanes);
        }
        ATROUS_UNROLL(16)
        for (int i = 0; i < L; ++i) rows[i] = turned[i];
    }
}

// The first `count` numbers, zeros in the other lanes.
template <class T> ATROUS_INLINE Vec<T> load_some(const T *from, int64_t count) {
    alignas(ATROUS_VECTOR_BYTES) T held[Types<T>::lanes] = {};
    copy_some<T>(held, from, count);
    return load(held);
}

// A square of a matrix: `high` rows of `wide` columns, of which so many floats are left from its first one on; and
// where it comes to, with as many floats of the piece.
struct Square {
    const float *x;
    int64_t step, left, high, wide;
    float *out;
    int64_t out_step, out_left;
};

ATROUS_INLINE void transpose_whole(const Square &s) {
    constexpr int64_t L = Types<float>::lanes;
    Vec<float> rows[L];
    ATROUS_UNROLL(16)
    for (int64_t r = 0; r < L; ++r) rows[r] = load(s.x + r * s.step);
    transpose<float>(rows);
    ATROUS_UNROLL(16)
    for (int64_t c = 0; c < L; ++c) store<float>(s.out + c * s.out_step, rows[c]);
}

ATROUS_INLINE void transpose_part(const Square &s) {
    constexpr int64_t L = Types<float>::lanes;
    Vec<float> rows[L];
    for (int64_t r = 0; r < L; ++r) {
        const float *from = s.x + r * s.step;
        if (r >= s.high) rows[r] = Vec<float>{};
        // What lies behind a short row belongs to the next one.
        else if (r * s.step + L <= s.left) rows[r] = load(from);
        else rows[r] = s.wide == L ? load(from) : load_some(from, s.wide);
    }
    transpose<float>(rows);
    for (int64_t c = 0; c < s.wide; ++c) {
        float *to = s.out + c * s.out_step;
        // Columns of few rows lie behind one another: what is written too far belongs to the next one, which follows.
        const bool covered = s.high == s.out_step && c + 1 < s.wide && c * s.out_step + L <= s.out_left;
        if (s.high == L || covered) store<float>(to, rows[c]);
        else store_some<float>(to, rows[c], s.high);
    }
}

struct Transposition {
    const atrous_matrices *all;
    const float *x;
    float *out;
    int64_t high;          // rows of a piece
    int64_t down, across;  // pieces of one matrix
};

inline void transpose_pieces(void *context, int64_t begin, int64_t end) {
    constexpr int64_t L = Types<float>::lanes;
    const Transposition &t = *static_cast<const Transposition *>(context);
    const int64_t R = t.all->rows, C = t.all->columns;
    const bool square = R >= L && C >= L;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t image = item / (t.down * t.across), piece = item % (t.down * t.across);
        const int64_t i = piece / t.across, j = piece % t.across;
        const int64_t r0 = i * t.high, r1 = i + 1 == t.down ? R : r0 + t.high;
        const int64_t c0 = j * kPieceColumns, c1 = j + 1 == t.across ? C : c0 + kPieceColumns;
        for (int64_t c = c0; c < c1; c += L) {
            const int64_t column = square ? smaller(c, c1 - L) : c;
            for (int64_t r = r0; r < r1; r += L) {
                const int64_t row = square ? smaller(r, r1 - L) : r;
                const int64_t from = row * C + column, to = column * R + row;
                const Square s{t.x + image * R * C + from, C, R * C - from, smaller(L, R - row), smaller(L, C - column),
                               t.out + image * R * C + to, R, c1 * R - to};
                if (square) transpose_whole(s);
                else transpose_part(s);
            }
        }
    }
}

inline int transposed(const atrous_matrices &all, const float *x, float *out) {
    // Of long rows few are read at a time: each is a stream that the processor reads ahead.
    const int64_t high = all.rows >= kPieceRows && all.columns > all.rows ? kFewRows : kPieceRows;
    // The last piece takes what is left: none is less than a square, and no two write the same.
    const int64_t down = larger<int64_t>(1, all.rows / high), across = larger<int64_t>(1, all.columns / kPieceColumns);
    const Transposition t{&all, x, out, high, down, across};
    atrous::parallel(all.images * t.down * t.across, all.threads, transpose_pieces, const_cast<Transposition *>(&t));
    return ATROUS_OK;
}

}  // namespace
#endif
