// Values of streams: where their rows are, how room is made for new ones, and what comes from and goes to the outside.
#ifndef ATROUS_STREAM_VALUES_H
#define ATROUS_STREAM_VALUES_H

#include <string.h>

#include "abi.h"
#include "vector.h"

namespace {

struct StreamRows {
    float *at;
    int64_t step;
};

// The place that the head of a value has once there is room for new rows.
inline int64_t stream_head(const atrous_stream_value &v, int64_t grown) {
    if (v.ring) return v.head;
    if (v.kept == 0) return 0;
    return v.head + grown > v.rows ? v.kept : v.head;
}

// The row at some rows from the head: of a ring the one in the first half.
inline int64_t stream_row(const atrous_stream_value &v, int64_t head, int64_t from_head) {
    const int64_t row = head + from_head;
    if (!v.ring) return row;
    return row < 0 ? row + v.rows : row >= v.rows ? row - v.rows : row;
}

ATROUS_INLINE StreamRows rows_at(float *arena, const atrous_stream_value &v, int64_t from_head, int64_t column) {
    return {arena + v.offset + stream_row(v, v.head, from_head) * v.step + column, v.step};
}

inline void make_room(const atrous_stream_program &p, atrous_stream_value &v, int64_t grown) {
    const int64_t head = stream_head(v, grown);
    if (v.kept > 0 && head != v.head) {
        for (int64_t batch = 0; batch < p.batch; ++batch) {
            float *rows = p.arena + batch * p.arena_floats + v.offset;
            memmove(rows, rows + (v.head - v.kept) * v.step, sizeof(float) * static_cast<size_t>(v.kept * v.step));
        }
    }
    v.head = head;
}

inline void copy_columns(float *to, const float *from, int64_t rows, int64_t step, int64_t columns) {
    if (columns == step) {
        memmove(to, from, sizeof(float) * static_cast<size_t>(rows * step));
        return;
    }
    for (int64_t r = 0; r < rows; ++r) memmove(to + r * step, from + r * step, sizeof(float) * static_cast<size_t>(columns));
}

// Writes the rows of a ring, which lie in a row from its first half on, to where they are missing.
inline void mirror_rows(float *arena, const atrous_stream_value &v, int64_t from_head, int64_t rows, int64_t column,
                        int64_t columns) {
    const int64_t row = stream_row(v, v.head, from_head), first = smaller(rows, v.rows - row), half = v.rows * v.step;
    float *at = arena + v.offset + row * v.step + column;
    copy_columns(at + half, at, first, v.step, columns);
    if (first < rows) copy_columns(at + first * v.step - half, at + first * v.step, rows - first, v.step, columns);
}

// to[i * to_step + j] = from[i + j * from_step], in squares that stay in the cache.
inline void transpose_floats(const float *from, int64_t from_step, float *to, int64_t to_step, int64_t rows, int64_t columns) {
    constexpr int64_t S = 16;
    for (int64_t i = 0; i < rows; i += S) {
        const int64_t high = smaller(i + S, rows);
        for (int64_t j = 0; j < columns; j += S) {
            const int64_t wide = smaller(j + S, columns);
            for (int64_t r = i; r < high; ++r) {
                for (int64_t c = j; c < wide; ++c) to[r * to_step + c] = from[r + c * from_step];
            }
        }
    }
}

inline void take_rows(const atrous_stream_port &port, int64_t batch, const atrous_stream_turn &turn, int64_t columns,
                      const StreamRows &out) {
    const float *from = port.data + batch * port.batch_step + turn.left * port.row_step;
    if (port.row_step == 1 && (columns > 1 || out.step > 1)) {
        return transpose_floats(from, port.column_step, out.at, out.step, turn.rows, columns);
    }
    for (int64_t r = 0; r < turn.rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) out.at[r * out.step + c] = from[r * port.row_step + c * port.column_step];
    }
}

inline void give_rows(const atrous_stream_port &port, int64_t batch, const atrous_stream_turn &turn, int64_t columns,
                      const StreamRows &left) {
    float *to = port.data + batch * port.batch_step + turn.out * port.row_step;
    if (port.row_step == 1 && (columns > 1 || left.step > 1)) {
        return transpose_floats(left.at, left.step, to, port.column_step, columns, turn.rows);
    }
    for (int64_t r = 0; r < turn.rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) to[r * port.row_step + c * port.column_step] = left.at[r * left.step + c];
    }
}

}  // namespace
#endif
