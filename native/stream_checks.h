// Whether a push of a stream stays within its memory: every row that any of its steps reads or writes.
#ifndef ATROUS_STREAM_CHECKS_H
#define ATROUS_STREAM_CHECKS_H

#include "abi.h"
#include "stream_values.h"

namespace {

constexpr int64_t kStreamMost = int64_t(1) << 30;  // of any size: two of them multiply within 62 bits

inline bool within(int64_t value, int64_t low, int64_t high) { return value >= low && value <= high; }

struct StreamChecks {
    const atrous_stream_program &p;
    const atrous_stream_turn *turns;
    const int64_t *grown;
    const atrous_stream_port *ports;
    int64_t lanes;

    bool value(const atrous_stream_value &v, int64_t more) const {
        const int64_t most = kStreamMost;
        if (!within(v.step, 1, most) || !within(v.rows, 1, most) || !within(v.offset, 0, p.arena_floats)) return false;
        if (!within(v.kept, 0, v.rows) || !within(more, 0, v.rows - v.kept)) return false;
        if (!within(v.head, v.ring ? 0 : v.kept, v.ring ? v.rows - 1 : v.rows)) return false;
        const int64_t rows = v.ring ? 2 * v.rows : v.rows;
        return rows * v.step <= p.arena_floats - ATROUS_STREAM_SLACK - v.offset;
    }

    // Whether `extent` rows of `columns` from there on are in a value; none may be asked for.
    bool rows(int32_t which, int64_t from_head, int64_t extent, int64_t column, int64_t columns) const {
        if (!within(which, 0, p.value_count - 1)) return false;
        const atrous_stream_value &v = p.values[which];
        if (!within(column, 0, v.step) || !within(columns, 1, v.step - column) || extent < 0) return false;
        if (!within(from_head, -v.rows, v.rows) || extent > v.rows) return false;
        const int64_t row = stream_row(v, stream_head(v, grown[which]), from_head);
        return row >= 0 && row + extent <= (v.ring ? 2 * v.rows : v.rows);
    }

    bool constants(int64_t at, int64_t count) const {
        return within(at, 0, p.constant_floats) && count <= p.constant_floats - ATROUS_STREAM_SLACK - at;
    }

    bool optional(int64_t at, int64_t count) const { return at < 0 || constants(at, count); }

    bool port(const atrous_stream_step &s, int64_t row, int64_t count) const {
        if (!within(s.port, 0, p.port_count - 1)) return false;
        const atrous_stream_port &port = ports[s.port];
        return s.channels == port.columns && row >= 0 && count <= port.rows - row;
    }

    // Whether `places` of `columns` columns, `jump` apart, are few enough, and how many columns all span.
    static bool places(int64_t places, int64_t jump, int64_t columns, int64_t *span) {
        const int64_t most = kStreamMost;
        if (!within(places, 1, most) || !within(jump, 0, most) || !within(columns, 1, most)) return false;
        if (places > 1 && jump > 0 && places - 1 > most / jump) return false;
        *span = (places - 1) * jump + columns;
        return true;
    }

    // The same for what is written, where none may lie over another.
    static bool apart(int64_t count, int64_t jump, int64_t columns, int64_t *span) {
        return (count == 1 || jump >= columns) && places(count, jump, columns, span);
    }

    bool grid(const atrous_stream_step &s, const atrous_stream_turn &t, int64_t window, int64_t made) const {
        const int64_t most = kStreamMost;
        if (!within(s.side_taps, 1, most) || !within(s.side_dilation, 1, most) || !within(s.side_stride, 1, most)) return false;
        if (!within(s.side_pad, -most, most) || s.taps > most / s.side_taps) return false;
        if (s.taps * s.side_taps > most / s.channels) return false;
        int64_t across = 0, out = 0;
        if (!places(s.left_places, s.left_jump, s.channels, &across) || !apart(s.out_places, s.out_jump, made, &out)) return false;
        if (!rows(s.left, t.left, window, s.left_column, across)) return false;
        return s.spread == 1 ? rows(s.out, t.out, t.rows, s.out_column, out) : spread_rows(s, t, out);
    }

    bool recurrent(const atrous_stream_step &s, const atrous_stream_turn &t) const {
        const int64_t most = kStreamMost, gates = s.op == ATROUS_STEP_LSTM ? 4 : s.op == ATROUS_STEP_GRU ? 3 : 1;
        const int64_t states = s.op == ATROUS_STEP_LSTM ? 2 : 1, hidden = s.filters / gates;
        if (s.filters % gates != 0 || hidden % lanes != 0 || !within(s.units, 1, hidden)) return false;
        if (s.op == ATROUS_STEP_RECURRENT && s.function != ATROUS_TANH && s.function != ATROUS_RELU) return false;
        if (s.channels > most / s.filters || s.units > most / s.filters) return false;
        int64_t across = 0, out = 0;
        if (!places(s.out_places, s.left_jump, s.channels, &across) || !apart(s.out_places, s.out_jump, s.units, &out)) return false;
        if (s.out_places > most / s.filters) return false;
        return rows(s.left, t.left, t.rows, s.left_column, across) && rows(s.out, t.out, t.rows, s.out_column, out) &&
               rows(s.right, t.right, 1, s.right_column, states * s.out_places * hidden) &&
               constants(s.weight, s.channels * s.filters) && optional(s.bias, s.filters) &&
               constants(s.carry_weight, s.units * s.filters) && optional(s.carry_bias, hidden);
    }

    // Rows that are made together lie without gaps.
    bool spread_rows(const atrous_stream_step &s, const atrous_stream_turn &t, int64_t columns) const {
        if (!within(s.out, 0, p.value_count - 1) || !within(s.out_column, 0, kStreamMost)) return false;
        if (t.rows > kStreamMost / s.spread) return false;
        const int64_t step = p.values[s.out].step;
        return s.out_column + columns <= s.spread * step && rows(s.out, t.out, t.rows * s.spread, 0, step);
    }

    bool step(const atrous_stream_step &s, const atrous_stream_turn &t) const {
        const int64_t most = kStreamMost;
        if (!within(t.rows, 0, most) || !within(s.channels, 1, most) || !within(s.filters, 1, most)) return false;
        if (!within(s.taps, 1, most) || !within(s.dilation, 1, most) || !within(s.stride, 1, most)) return false;
        if (!within(s.spread, 1, most) || !within(s.function, 0, ATROUS_FUNCTIONS - 1)) return false;
        if (!within(s.left_function, 0, ATROUS_LEAKY_EACH - 1) || !within(s.right_function, 0, ATROUS_LEAKY_EACH - 1)) {
            return false;
        }
        if (!within(s.left, -1, p.value_count - 1) || !within(s.right, -1, p.value_count - 1)) return false;
        if (!within(s.out, -1, p.value_count - 1) || !within(s.combine, 0, ATROUS_LESS)) return false;
        if (t.rows == 0) return true;
        // Rows that are spread have ops of their own.
        const bool spreads = s.op == ATROUS_STEP_PRODUCT || s.op == ATROUS_STEP_DEPTHWISE || s.op == ATROUS_STEP_SHUFFLE ||
                             s.op == ATROUS_STEP_COPY || s.op == ATROUS_STEP_GRID || s.op == ATROUS_STEP_GRID_DEPTHWISE;
        if (s.spread > 1 && !spreads) return false;
        const int64_t across = (s.channels + lanes - 1) / lanes * lanes, wide = (s.filters + lanes - 1) / lanes * lanes;
        // A window's rows: sizes of a program that nobody could hold are refused before they are multiplied.
        if (s.stride > most / t.rows || s.dilation > most / s.taps) return false;
        const int64_t window = (t.rows - 1) * s.stride + (s.taps - 1) * s.dilation + 1;
        const bool each = s.function >= ATROUS_LEAKY_EACH;
        switch (s.op) {
            case ATROUS_STEP_TAKE: return rows(s.out, t.out, t.rows, s.out_column, s.channels) && port(s, t.left, t.rows);
            case ATROUS_STEP_GIVE: return rows(s.left, t.left, t.rows, s.left_column, s.channels) && port(s, t.out, t.rows);
            case ATROUS_STEP_PRODUCT: {
                if (each || s.taps > most / s.channels) return false;
                if (s.taps * s.channels > most / wide || t.rows > most / s.spread) return false;
                if (!rows(s.left, t.left, window, s.left_column, s.channels)) return false;
                if (s.spread == 1 ? !rows(s.out, t.out, t.rows, s.out_column, s.filters) : !spread_rows(s, t, s.filters)) return false;
                // Rows that are added lie beside those that are made.
                if (s.right >= 0 && (s.spread > 1 || !rows(s.right, t.right, t.rows, s.right_column, s.filters))) return false;
                return constants(s.weight, s.taps * s.channels * wide) && optional(s.bias, wide);
            }
            case ATROUS_STEP_DEPTHWISE:
                if (each || s.taps > most / across) return false;
                if (s.spread == 1 ? !rows(s.out, t.out, t.rows, s.out_column, s.channels) : !spread_rows(s, t, s.channels)) {
                    return false;
                }
                return rows(s.left, t.left, window, s.left_column, s.channels) && constants(s.weight, s.taps * across) &&
                       optional(s.bias, across);
            case ATROUS_STEP_GRID:
                if (each || !grid(s, t, window, s.filters)) return false;
                return s.taps * s.side_taps * s.channels <= most / wide &&
                       constants(s.weight, s.taps * s.side_taps * s.channels * wide) && optional(s.bias, wide);
            case ATROUS_STEP_GRID_DEPTHWISE:
                if (each || !grid(s, t, window, s.channels)) return false;
                return s.taps * s.side_taps <= most / across && constants(s.weight, s.taps * s.side_taps * across) &&
                       optional(s.bias, across);
            case ATROUS_STEP_GRID_LARGEST:
            case ATROUS_STEP_GRID_MEAN: return grid(s, t, window, s.channels);
            case ATROUS_STEP_ARRANGE: {
                int64_t from = 0, line = 0, to = 0;
                if (!places(s.channels, s.side_stride, 1, &line) || !places(s.out_places, s.left_jump, line, &from)) return false;
                return apart(s.out_places, s.out_jump, s.channels, &to) && rows(s.left, t.left, t.rows, s.left_column, from) &&
                       rows(s.out, t.out, t.rows, s.out_column, to);
            }
            case ATROUS_STEP_LSTM:
            case ATROUS_STEP_GRU:
            case ATROUS_STEP_RECURRENT: return recurrent(s, t);
            case ATROUS_STEP_SOFTMAX:
                return rows(s.left, t.left, t.rows, s.left_column, s.channels) &&
                       rows(s.out, t.out, t.rows, s.out_column, s.channels);
            case ATROUS_STEP_LARGEST:
            case ATROUS_STEP_MEAN:
                return rows(s.left, t.left, window, s.left_column, s.channels) &&
                       rows(s.out, t.out, t.rows, s.out_column, s.channels);
            case ATROUS_STEP_BINARY:
                if (!rows(s.right, t.right, t.rows, s.right_column, s.one ? 1 : s.channels)) return false;
                [[fallthrough]];
            case ATROUS_STEP_UNARY:
            case ATROUS_STEP_NORM:
                if (s.op == ATROUS_STEP_NORM && s.channels % s.filters != 0) return false;
                if (each && (s.function != ATROUS_SCALED_EACH) && s.weight < 0) return false;
                if (s.function == ATROUS_SNAKE_EACH && s.bias < 0) return false;
                if (s.function == ATROUS_SCALED_EACH && s.weight < 0 && s.bias < 0) return false;
                return rows(s.left, t.left, t.rows, s.left_column, s.channels) &&
                       rows(s.out, t.out, t.rows, s.out_column, s.channels) && optional(s.weight, across) &&
                       optional(s.bias, across);
            case ATROUS_STEP_SUM:
                return rows(s.left, t.left, t.rows, s.left_column, s.channels) && rows(s.out, t.out, t.rows, s.out_column, 1);
            case ATROUS_STEP_SO_FAR:
                return rows(s.left, t.left, t.rows, s.left_column, s.channels) && s.channels < most / 2 &&
                       rows(s.right, t.right, 1, s.right_column, 2 * s.channels) && rows(s.out, t.out, t.rows, s.out_column, s.channels);
            case ATROUS_STEP_COUNT:
                // Positions are counted exactly.
                return within(t.left, 0, most) && within(p.periods, 0, int64_t(1) << 40) && s.stride <= most >> 10 &&
                       rows(s.out, t.out, t.rows, s.out_column, s.channels);
            case ATROUS_STEP_SHUFFLE:
                if (s.channels % s.spread != 0 || s.out_column != 0 || t.rows > most / s.spread) return false;
                return rows(s.left, t.left, t.rows, s.left_column, s.channels) &&
                       rows(s.out, t.out, t.rows * s.spread, 0, s.channels / s.spread);
            case ATROUS_STEP_COPY:
                return rows(s.left, t.left, (t.rows - 1) / s.spread + 1, s.left_column, s.channels) &&
                       rows(s.out, t.out, t.rows, s.out_column, s.channels);
            default: return false;
        }
    }

    bool all() const {
        if (p.step_count < 0 || p.value_count < 0 || p.port_count < 0 || p.batch < 1) return false;
        if (p.arena_floats < ATROUS_STREAM_SLACK || p.constant_floats < ATROUS_STREAM_SLACK) return false;
        for (int64_t v = 0; v < p.value_count; ++v) {
            if (!value(p.values[v], grown[v])) return false;
        }
        for (int64_t s = 0; s < p.step_count; ++s) {
            if (!step(p.steps[s], turns[s])) return false;
        }
        return true;
    }
};

}  // namespace
#endif
