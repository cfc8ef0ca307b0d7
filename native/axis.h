// One axis of a depthwise layer, read forwards or backwards, as one law.
//
// Output q + out_step * m reads inputs in_step * m + offset(j), for the taps j of phase q < out_step.
// Forward: out_step 1, in_step the stride, offset(j) = dilation * j - pad.
// Data gradient: out_step the stride, in_step 1; phase q has the taps j for which q + pad - dilation * j
// is a multiple of the stride, and offset(j) is that multiple. Taps that read padding only are left out.
#ifndef ATROUS_AXIS_H
#define ATROUS_AXIS_H

#include <stdlib.h>

#include "abi.h"
#include "parts.h"
#include "vector.h"

namespace {

struct Tap {
    int64_t weight;  // its index along this axis of the kernel
    int64_t offset;
};

struct Axis {
    int64_t in, out, in_step, out_step;
    int64_t offset_min, offset_max;  // over all phases
    int64_t *first = nullptr;        // taps of phase q: taps[first[q]] up to taps[first[q + 1]]
    Tap *taps = nullptr;             // ascending in `weight`; offsets rise or fall throughout

    Axis() = default;
    Axis(const Axis &) = delete;
    Axis &operator=(const Axis &) = delete;
    ~Axis() {
        free(first);
        free(taps);
    }

    int64_t count(int64_t phase) const { return first[phase + 1] - first[phase]; }
    const Tap *of(int64_t phase) const { return taps + first[phase]; }
    // How many m phase q has.
    int64_t length(int64_t phase) const { return out > phase ? (out - phase + out_step - 1) / out_step : 0; }
    int64_t longest() const { return length(0); }

    // The m of phase q for which a tap reads a true input: [lo, hi).
    void valid(int64_t phase, int64_t offset, int64_t *lo, int64_t *hi) const {
        *lo = larger<int64_t>(0, ceil_div(-offset, in_step));
        *hi = smaller<int64_t>(length(phase), ceil_div(in - offset, in_step));
    }

    bool build(const atrous_depthwise_layer &layer, int axis, bool backwards) {
        const int64_t kernel = layer.kernel[axis], stride = layer.stride[axis];
        const int64_t dilation = layer.dilation[axis], pad = layer.pad[axis];
        in = backwards ? layer.out[axis] : layer.in[axis];
        out = backwards ? layer.in[axis] : layer.out[axis];
        in_step = backwards ? 1 : stride;
        out_step = backwards ? stride : 1;
        // Phases beyond the output are empty; a stride far above it needs no room for them.
        const int64_t phases = smaller<int64_t>(out_step, larger<int64_t>(out, 1));
        first = static_cast<int64_t *>(malloc(static_cast<size_t>(phases + 1) * sizeof(int64_t)));
        taps = static_cast<Tap *>(malloc(static_cast<size_t>(kernel * phases) * sizeof(Tap)));
        if (first == nullptr || taps == nullptr) return false;
        offset_min = 0;
        offset_max = 0;
        int64_t total = 0;
        for (int64_t phase = 0; phase < phases; ++phase) {
            first[phase] = total;
            for (int64_t j = 0; j < kernel; ++j) {
                int64_t offset = dilation * j - pad;
                if (backwards) {
                    const int64_t distance = phase - offset;
                    if (distance % stride != 0) continue;
                    offset = distance / stride;
                }
                int64_t lo, hi;
                valid(phase, offset, &lo, &hi);
                if (lo >= hi) continue;
                if (total == 0 || offset < offset_min) offset_min = offset;
                if (total == 0 || offset > offset_max) offset_max = offset;
                taps[total++] = Tap{j, offset};
            }
        }
        first[phases] = total;
        this->phases = phases;
        return true;
    }

    int64_t phases = 1;
};

// The taps of one output position that lie inside: a run of its phase's taps.
struct Run {
    const Tap *taps;
    int64_t count;
    int64_t at;  // in_step * m: tap j reads input at + taps[j].offset
};

ATROUS_INLINE Run run_at(const Axis &axis, int64_t output) {
    const int64_t phase = output % axis.out_step, at = output / axis.out_step * axis.in_step;
    const Tap *taps = axis.of(phase);
    int64_t lo = 0, hi = axis.count(phase);
    while (lo < hi && (at + taps[lo].offset < 0 || at + taps[lo].offset >= axis.in)) ++lo;
    while (lo < hi && (at + taps[hi - 1].offset < 0 || at + taps[hi - 1].offset >= axis.in)) --hi;
    return Run{taps + lo, hi - lo, at};
}

// Rows in the order of their phases: r, r + period, r + 2 period, ..., then r + 1, ... Consecutive rows
// then share all but one of the input rows that they read, whatever the dilation.
struct RowOrder {
    int64_t rows, period, long_phases, longer, shorter;

    RowOrder(int64_t rows_, int64_t period_) : rows(rows_), period(larger<int64_t>(1, smaller(period_, rows_))) {
        shorter = rows / period;
        long_phases = rows % period;
        longer = shorter + 1;
    }
    int64_t row(int64_t place) const {
        const int64_t in_long = long_phases * longer;
        if (place < in_long) return place / longer + place % longer * period;
        place -= in_long;
        return long_phases + place / shorter + place % shorter * period;
    }
};

// After this many outputs the rows of a dilated layer meet again.
ATROUS_INLINE int64_t period_of(const atrous_depthwise_layer &layer, int axis, bool backwards) {
    const int64_t stride = layer.stride[axis], dilation = layer.dilation[axis];
    const int64_t common = dilation / gcd(dilation, stride);
    return backwards ? common * stride : common;
}

}  // namespace
#endif
