// Element-wise operations in a row as one pass, float32.
//
// A map is images of lines of columns. Chunks of it take all steps in turn: what is between them is scratch that stays
// in the first-level cache. Inputs that are the same for every line, column or image are spread out to a chunk, or are
// one number; lines that lie apart come together. Functions as in functions.h; float32, no sums.
// Threads: a chunk at a time, so no result depends on them.
#ifndef ATROUS_ELEMENTWISE_H
#define ATROUS_ELEMENTWISE_H

#include <atomic>

#include "functions.h"
#include "threads.h"

namespace {

constexpr int64_t kChunkFloats = 6144;  // of all values of a chunk together: three quarters of a first-level cache
constexpr int64_t kMostChunk = 1024;
constexpr int kBits = 64;
constexpr int kRoom = 1;                // of scratch: others call for lines while they work in theirs
constexpr int64_t kAloneElements = int64_t(1) << 14;  // that are not worth a second thread

struct Elementwise {
    const atrous_elementwise *run;
    const float *const *inputs;
    float *out;
    int64_t chunk;   // floats of a value at most
    int64_t lines;   // of a chunk; 1 where it may be a part of a line
    int64_t chunks;  // of an image
    uint64_t both;   // a bit for each of the first steps that is one with the next
    std::atomic<int> *code;
    bool joins(int step) const { return step < kBits && (both >> step & 1) != 0; }
};

// What a chunk reads of one input: its own numbers, or one that all share.
struct Operand {
    const float *at;
    bool one;
};

struct Chunk {
    int64_t image, line, column, lines, columns;
    int64_t count() const { return lines * columns; }
};

inline Chunk chunk_at(const Elementwise &e, int64_t item) {
    const atrous_elementwise &run = *e.run;
    const int64_t image = item / e.chunks, at = item % e.chunks;
    if (e.lines > 1) {
        const int64_t line = at * e.lines;
        return {image, line, 0, smaller(e.lines, run.lines - line), run.columns};
    }
    const int64_t pieces = ceil_div(run.columns, e.chunk), column = at % pieces * e.chunk;
    return {image, at / pieces, column, 1, smaller(e.chunk, run.columns - column)};
}

// An input as a chunk reads it; `room` is where it comes to if its numbers do not lie behind one another. What is the
// same for each line of an image is there from the chunk before, unless `spread`: where that was of another image.
inline Operand operand(const Elementwise &e, const Chunk &chunk, int input, float *room, bool spread) {
    constexpr int64_t L = Types<float>::lanes;
    const atrous_elementwise_input &from = e.run->inputs[input];
    const float *at = e.inputs[input] + chunk.image * from.image + chunk.line * from.line + chunk.column * from.column;
    const int64_t columns = chunk.columns;
    if (chunk.lines == 1 || from.line == 0) {
        if (from.column == 0) return {at, true};
        if (chunk.lines == 1) return {at, false};
        // The first of all lines that a chunk may have.
        if (spread) {
            for (int64_t l = 0; l < e.lines; ++l) memcpy(room + l * columns, at, sizeof(float) * static_cast<size_t>(columns));
        }
        return {room, false};
    }
    if (from.column == 0) {
        for (int64_t l = 0; l < chunk.lines; ++l) {
            const float number = at[l * from.line];
            const Vec<float> value = splat(number);
            float *to = room + l * columns;
            int64_t n = 0;
            for (; n + L <= columns; n += L) store<float>(to + n, value);
            for (; n < columns; ++n) to[n] = number;
        }
        return {room, false};
    }
    if (from.line == columns) return {at, false};
    for (int64_t l = 0; l < chunk.lines; ++l) {
        memcpy(room + l * columns, at + l * from.line, sizeof(float) * static_cast<size_t>(columns));
    }
    return {room, false};
}

// A sum and a rectifier behind it are most frequent.
__attribute__((noinline)) void elementwise_step(const atrous_elementwise_step &s, const float *left, Operand right, float *to,
                                                int64_t count) {
    typedef Vec<float> V;
    if (s.right < 0) return apply(s.function, left, to, count, s.alpha, s.beta, nullptr, nullptr);
    if (s.function == ATROUS_RELU && s.combine == ATROUS_PLUS) {
        return paired(left, right.at, right.one, to, count, [](V p, V q) { return activated<float>(p + q, ATROUS_RELU); });
    }
    combined(s.combine, left, right.at, right.one, to, count);
    if (s.function != ATROUS_NONE) apply(s.function, to, to, count, s.alpha, s.beta, nullptr, nullptr);
}

// The operand of a step beside `value`, where that is one of two; -1 where it is not.
inline int beside(const atrous_elementwise_step &step, int value) {
    if (step.right < 0 || step.left == step.right) return -1;
    return step.left == value ? step.right : step.right == value ? step.left : -1;
}

// Whether a step multiplies and the next, which alone reads that, adds: then they are one.
inline bool scales_and_shifts(const atrous_elementwise &run, int s) {
    if (s + 1 >= run.step_count) return false;
    const atrous_elementwise_step &scale = run.steps[s], &shift = run.steps[s + 1];
    if (scale.right < 0 || scale.combine != ATROUS_TIMES || scale.function != ATROUS_NONE) return false;
    if (shift.combine != ATROUS_PLUS || beside(shift, scale.out) < 0) return false;
    for (int later = s + 2; later < run.step_count; ++later) {
        if (run.steps[later - 1].out == scale.out) return true;
        if (run.steps[later].left == scale.out || run.steps[later].right == scale.out) return false;
    }
    return true;
}

template <bool OneScale, bool OneShift, bool Relu>
ATROUS_INLINE void scaled_and_shifted(const float *left, const float *scale, const float *shift, float *to, int64_t count) {
    constexpr int64_t L = Types<float>::lanes;
    const auto made = [=](int64_t i) {
        const Vec<float> a = OneScale ? splat(*scale) : load(scale + i), b = OneShift ? splat(*shift) : load(shift + i);
        const Vec<float> value = rounded<float>(load(left + i) * a) + b;
        return Relu ? activated<float>(value, ATROUS_RELU) : value;
    };
    int64_t i = 0;
    for (; i + L <= count; i += L) store<float>(to + i, made(i));
    if (i < count) store_some<float>(to + i, made(i), count - i);
}

// left * scale, rounded, + shift, and the function of `s`: as the steps one by one.
__attribute__((noinline)) void scale_and_shift(const atrous_elementwise_step &s, const float *left, Operand scale,
                                               Operand shift, float *to, int64_t count) {
    const bool relu = s.function == ATROUS_RELU;
    switch (scale.one * 4 + shift.one * 2 + relu) {
        case 0: scaled_and_shifted<false, false, false>(left, scale.at, shift.at, to, count); break;
        case 1: scaled_and_shifted<false, false, true>(left, scale.at, shift.at, to, count); break;
        case 2: scaled_and_shifted<false, true, false>(left, scale.at, shift.at, to, count); break;
        case 3: scaled_and_shifted<false, true, true>(left, scale.at, shift.at, to, count); break;
        case 4: scaled_and_shifted<true, false, false>(left, scale.at, shift.at, to, count); break;
        case 5: scaled_and_shifted<true, false, true>(left, scale.at, shift.at, to, count); break;
        case 6: scaled_and_shifted<true, true, false>(left, scale.at, shift.at, to, count); break;
        default: scaled_and_shifted<true, true, true>(left, scale.at, shift.at, to, count); break;
    }
    if (!relu && s.function != ATROUS_NONE) apply(s.function, to, to, count, s.alpha, s.beta, nullptr, nullptr);
}

// All steps on `count` numbers of each value.
inline void elementwise_steps(const Elementwise &e, Operand *at, float *room, int64_t count, float *out) {
    const atrous_elementwise &run = *e.run;
    for (int s = 0; s < run.step_count; ++s) {
        const bool both = e.joins(s);
        const atrous_elementwise_step &step = run.steps[s], &end = run.steps[s + both];
        float *const to = s + both + 1 == run.step_count ? out : room + end.out * e.chunk;
        Operand left = at[step.left];
        if (left.one) {  // of one number, to a chunk of its own
            float *own = room + step.left * e.chunk;
            const float value = *left.at;
            for (int64_t n = 0; n < count; ++n) own[n] = value;
            left = {own, false};
        }
        if (both) {
            scale_and_shift(end, left.at, at[step.right], at[beside(end, step.out)], to, count);
            ++s;
        } else {
            elementwise_step(step, left.at, step.right < 0 ? Operand{nullptr, false} : at[step.right], to, count);
        }
    }
}

inline int64_t values_of(const atrous_elementwise &run) { return run.input_count + run.scratch; }

inline float *elementwise_room(const Elementwise &e) {
    return static_cast<float *>(atrous::scratch(kRoom, sizeof(float) * static_cast<size_t>(values_of(*e.run) * e.chunk)));
}

inline void make_chunk(const Elementwise &e, const Chunk &chunk, float *room, bool spread, float *out) {
    constexpr int64_t L = Types<float>::lanes;
    const atrous_elementwise &run = *e.run;
    Operand at[ATROUS_ELEMENTWISE_VALUES];
    const int64_t rest = chunk.count() % L, whole = chunk.count() - rest;
    for (int i = 0; i < run.input_count; ++i) at[i] = operand(e, chunk, i, room + i * e.chunk, spread);
    for (int64_t i = run.input_count; i < values_of(run); ++i) at[i] = {room + i * e.chunk, false};
    if (whole > 0) elementwise_steps(e, at, room, whole, out);
    if (rest == 0) return;
    // Vectors are read whole: the last numbers come to where there is something behind them.
    float rests[ATROUS_ELEMENTWISE_VALUES][L];
    for (int i = 0; i < run.input_count; ++i) {
        if (at[i].one) continue;
        memcpy(rests[i], at[i].at + whole, sizeof(float) * static_cast<size_t>(rest));
        for (int64_t lane = rest; lane < L; ++lane) rests[i][lane] = 0.0f;
        at[i].at = rests[i];
    }
    alignas(ATROUS_VECTOR_BYTES) float made[L];
    elementwise_steps(e, at, room, rest, made);
    memcpy(out + whole, made, sizeof(float) * static_cast<size_t>(rest));
}

inline void elementwise_chunks(void *context, int64_t begin, int64_t end) {
    const Elementwise &e = *static_cast<const Elementwise *>(context);
    const atrous_elementwise &run = *e.run;
    float *const room = elementwise_room(e);
    if (room == nullptr) return e.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    int64_t before = -1;
    for (int64_t item = begin; item < end; ++item) {
        const Chunk chunk = chunk_at(e, item);
        float *const out = e.out + (chunk.image * run.lines + chunk.line) * run.columns + chunk.column;
        make_chunk(e, chunk, room, before != chunk.image, out);
        before = chunk.image;
    }
}

// How many numbers and lines a chunk has; `dense`: whether lines of the result follow one another.
inline Elementwise in_chunks(const atrous_elementwise &run, const float *const *inputs, float *out, bool dense) {
    constexpr int64_t L = Types<float>::lanes;
    Elementwise e{&run, inputs, out, 0, 1, 0, 0, nullptr};
    const int64_t most = smaller(kMostChunk, kChunkFloats / values_of(run) / L * L);
    if (dense) e.lines = larger<int64_t>(1, smaller(run.lines, most / run.columns));
    e.chunk = e.lines > 1 ? e.lines * run.columns : smaller(most, run.columns);
    e.chunks = e.lines > 1 ? ceil_div(run.lines, e.lines) : run.lines * ceil_div(run.columns, e.chunk);
    e.chunk = ceil_div(e.chunk, L) * L;
    for (int s = 0; s < smaller<int64_t>(run.step_count, kBits); ++s) {
        if (!(s > 0 && e.joins(s - 1)) && scales_and_shifts(run, s)) e.both |= uint64_t(1) << s;
    }
    return e;
}

// Lines [first, first + count) of all images, on this thread; those of the result lie `step` apart.
inline int elementwise_lines(const atrous_elementwise &run, const float *const *inputs, int64_t first, int64_t count,
                             float *out, int64_t step) {
    const Elementwise e = in_chunks(run, inputs, out, step == run.columns);
    float *const room = elementwise_room(e);
    if (room == nullptr) return ATROUS_NO_MEMORY;
    int64_t before = -1;
    for (int64_t done = 0; done < count;) {
        const int64_t image = (first + done) / run.lines, line = (first + done) % run.lines;
        const int64_t lines = smaller(e.lines, smaller(run.lines - line, count - done));
        const int64_t width = e.lines > 1 ? run.columns : e.chunk;
        for (int64_t column = 0; column < run.columns; column += width) {
            const Chunk chunk{image, line, column, lines, smaller(width, run.columns - column)};
            make_chunk(e, chunk, room, before != image, out + done * step + column);
        }
        before = image;
        done += lines;
    }
    return ATROUS_OK;
}

inline int run_elementwise(const atrous_elementwise &run, const float *const *inputs, float *out) {
    std::atomic<int> code{ATROUS_OK};
    Elementwise e = in_chunks(run, inputs, out, true);
    e.code = &code;
    const int32_t threads = run.images * run.lines * run.columns < kAloneElements ? 1 : run.threads;
    atrous::parallel(run.images * e.chunks, threads, elementwise_chunks, &e);
    return code.load(std::memory_order_relaxed);
}

}  // namespace
#endif
