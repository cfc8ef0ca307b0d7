// Inverted bottlenecks, channels last: a layer of one tap into many hidden channels, a depthwise layer on these or
// none, a layer of one tap out of them; the hidden maps, by far the largest, are never stored.
//
// A strip of output rows takes groups of hidden channels in turn: the rows that the group's depthwise outputs read are
// made, the depthwise outputs, and what these add to the strip's sums. All of it stays in the second-level cache. Rows
// of the hidden map that the next strip reads too are kept from strip to strip. Rows of a dilated layer that share
// none of what they read are strips apart: each phase of the rate runs as a map of its own, of rate 1 along the height.
// float32; at most 64 terms are summed up in a register, runs and groups are added in memory. Depthwise sums are those
// of `channels_columns.h`. Threads share images, phases and segments of rows; no result depends on them, since each
// hidden value is made by the same sums wherever a strip begins.
#ifndef ATROUS_BOTTLENECK_H
#define ATROUS_BOTTLENECK_H

#include <atomic>

#include "activation.h"
#include "channels_gather.h"
#include "product.h"
#include "threads.h"

namespace {

#ifndef ATROUS_CHAIN_GROUP
#define ATROUS_CHAIN_GROUP 128
#endif
#ifndef ATROUS_CHAIN_STRIP
#define ATROUS_CHAIN_STRIP (640 << 10)
#endif

constexpr int64_t kHiddenGroup = ATROUS_CHAIN_GROUP;  // channels, about
constexpr int64_t kStripBytes = ATROUS_CHAIN_STRIP;   // of a strip: inputs, a group's hidden rows, sums
constexpr int64_t kChainTerms = 64;                   // that one register sums up
constexpr int64_t kChainRows = 48;                    // rows of a product whose sums stay in the first-level cache

ATROUS_INLINE Activation activation_at(const atrous_bottleneck_layer &l, int layer) {
    return {l.activation[layer], l.slope[layer]};
}

// As even as whole numbers allow: piece i is [begin(i), begin(i + 1)).
struct Pieces {
    int64_t total, pieces;
    int64_t begin(int64_t i) const { return total / pieces * i + smaller(i, total % pieces); }
};

// Where things lie among the packed weights, which begin with those of the first layer. Panels of hidden channels, and
// of filters for each group of hidden channels, lie one behind another.
struct ChainWeights {
    int64_t hidden, filters;  // whole vectors
    int64_t first_bias, middle, middle_bias, last, last_bias;
    Pieces groups;  // of vectors of hidden channels

    explicit ChainWeights(const atrous_bottleneck_layer &l) : groups{0, 1} {
        constexpr int64_t L = Types<float>::lanes;
        const int64_t taps = l.depthwise ? l.kernel[0] * l.kernel[1] : 0;
        hidden = ceil_div(l.hidden, L) * L;
        filters = ceil_div(l.filters, L) * L;
        first_bias = hidden * l.channels;
        middle = first_bias + hidden;
        middle_bias = middle + taps * hidden;
        last = middle_bias + hidden;
        last_bias = last + l.hidden * filters;
        groups = Pieces{hidden / L, ceil_div(hidden, kHiddenGroup)};
    }
};

ATROUS_INLINE Pieces panels_of(int64_t vectors) { return Pieces{vectors, ceil_div(vectors, kPanel)}; }

// c[row][column] for rows x N vectors: `begin` or 0, or what is there, plus a times a part of a panel.
template <int R, int N>
ATROUS_INLINE void chain_tile(const float *a, int64_t a_step, const float *w, int64_t terms, float *c, int64_t c_step,
                              const float *begin, bool add, const char *ahead) {
    Sums<float, R, N> sum;
    begin_sums<float, R, N>(sum, begin);
    add_terms<float, R, N>(sum, a, a_step, 1, w, N * Types<float>::lanes, terms, ahead);
    store_sums<float, R, N>(sum, c, c_step, add ? c : nullptr, c_step);
}

// R rows, by runs of terms from `first` to `stop`.
template <int R, int N>
ATROUS_INLINE void chain_runs(const float *a, int64_t a_step, const float *w, Pieces runs, int64_t first, int64_t stop,
                              float *c, int64_t c_step, const float *begin, bool add, const char *ahead) {
    for (int64_t run = first; run < stop; ++run) {
        const int64_t k = runs.begin(run), terms = runs.begin(run + 1) - k;
        chain_tile<R, N>(a + k, a_step, w + k * N * Types<float>::lanes, terms, c, c_step, run == 0 ? begin : nullptr,
                         add || run > 0, ahead);
        if (ahead != nullptr) ahead += terms * 64;
    }
}

// c (rows x N vectors) is `begin`, or if `add` what is there, plus a times a panel of `depth` terms. Meanwhile the next
// panel, behind this one, comes nearer.
template <int N>
__attribute__((noinline)) void chain_product(const float *a, int64_t a_step, int64_t rows, const float *w, int64_t depth,
                                             float *c, int64_t c_step, const float *begin, bool add) {
    const Pieces runs{depth, ceil_div(depth, kChainTerms)};
    const int64_t panel = depth * N * Types<float>::lanes * static_cast<int64_t>(sizeof(float));
    const char *ahead = reinterpret_cast<const char *>(w) + panel, *const end = ahead + panel;
    // Two runs of a panel stay in the first-level cache, and meet all rows.
    for (int64_t first = 0; first < runs.pieces; first += 2) {
        const int64_t stop = smaller(first + 2, runs.pieces);
        const float *from = a;
        float *to = c;
        int64_t left = rows;
        for (; left >= kRows; left -= kRows, from += kRows * a_step, to += kRows * c_step) {
            chain_runs<kRows, N>(from, a_step, w, runs, first, stop, to, c_step, begin, add, ahead);
            if (ahead != nullptr) ahead += (runs.begin(stop) - runs.begin(first)) * 64;
            if (ahead >= end) ahead = nullptr;
        }
#define ATROUS_REST(R) \
    case R: chain_runs<R, N>(from, a_step, w, runs, first, stop, to, c_step, begin, add, nullptr); break;
        switch (left) {
            ATROUS_REST(5)
            ATROUS_REST(4)
            ATROUS_REST(3)
            ATROUS_REST(2)
            ATROUS_REST(1)
        }
#undef ATROUS_REST
    }
}

inline void chain_product_of(int64_t vectors, const float *a, int64_t a_step, int64_t rows, const float *w, int64_t depth,
                             float *c, int64_t c_step, const float *begin, bool add) {
    switch (vectors) {
        case 1: return chain_product<1>(a, a_step, rows, w, depth, c, c_step, begin, add);
        case 2: return chain_product<2>(a, a_step, rows, w, depth, c, c_step, begin, add);
#if ATROUS_VECTOR_BYTES == 64 || defined(__aarch64__)
        case 3: return chain_product<3>(a, a_step, rows, w, depth, c, c_step, begin, add);
        default: return chain_product<4>(a, a_step, rows, w, depth, c, c_step, begin, add);
#endif
    }
}

struct Bottleneck {
    const atrous_bottleneck_layer *layer;
    const float *x, *packed, *other;
    float *out;
    ChainWeights at;
    const Axis *wide;  // of the depthwise layer
    Width columns;
    bool by_columns;  // whether `channels_columns.h` serves it
    // Along the height: outputs i of a phase read its inputs i * walk + j, of which `most` are there; so many are kept.
    int64_t phases, walk, most, kept;
    int64_t segments, strip;  // of each phase; outputs of a strip
    int64_t line;             // floats from one position of the hidden map to the next
    std::atomic<int> *code;

    int64_t rows_made() const { return smaller(most, (strip - 1) * walk + layer->kernel[0]); }
};

// The rows of one phase of the rate: input q is row base + dilation * q.
struct PhaseRows {
    int64_t base, dilation, outputs, lo, hi;

    PhaseRows(const Bottleneck &b, int64_t phase) {
        const atrous_bottleneck_layer &l = *b.layer;
        base = phase * l.stride[0] - l.pad[0];
        dilation = l.dilation[0];
        outputs = ceil_div(l.out[0] - phase, b.phases);
        lo = ceil_div(-base, dilation);
        hi = ceil_div(l.in[0] - base, dilation);
    }
    int64_t row(int64_t q) const { return base + dilation * q; }
};

// What one thread works in: rows kept for the next strip, group by group, the hidden rows and the depthwise outputs of
// one group, and the sums of the strip.
struct StripMemory {
    float *kept, *hidden, *middle, *sums;
    int64_t *row_x, *row_w;

    bool place(const Bottleneck &b) {
        const atrous_bottleneck_layer &l = *b.layer;
        const int64_t in_row = l.in[1] * b.line, out_row = l.out[1] * b.line;
        const int64_t kept_floats = b.at.groups.pieces * b.kept * in_row, made = b.rows_made() * in_row;
        const int64_t middle_floats = l.depthwise ? b.strip * out_row : 0;
        kept = static_cast<float *>(atrous::scratch(0, sizeof(float) * static_cast<size_t>(kept_floats + made + middle_floats + 64)));
        sums = static_cast<float *>(atrous::scratch(1, sizeof(float) * static_cast<size_t>(b.strip * l.out[1] * b.at.filters + 64)));
        row_x = static_cast<int64_t *>(atrous::scratch(2, sizeof(int64_t) * 2 * static_cast<size_t>(l.kernel[0])));
        if (kept == nullptr || sums == nullptr || row_x == nullptr) return false;
        hidden = kept + kept_floats;
        middle = hidden + made;
        row_w = row_x + l.kernel[0];
        return true;
    }
};

// Hidden rows [from, to) of a group, the first of them at `made`: a product, bias, activation.
inline void expand(const Bottleneck &b, const PhaseRows &phase, const float *image, int64_t v0, int64_t v1, int64_t from,
                   int64_t to, float *made) {
    constexpr int64_t L = Types<float>::lanes;
    const atrous_bottleneck_layer &l = *b.layer;
    const int64_t line = l.in[1] * l.channels;
    // Rows one behind another are one long row, and so are single positions.
    const bool at_once = phase.dilation == 1 || l.in[1] == 1;
    const int64_t step = l.in[1] == 1 ? phase.dilation * l.channels : l.channels;
    const int64_t lines = at_once ? 1 : to - from, length = at_once ? (to - from) * l.in[1] : l.in[1];
    const Pieces panels = panels_of(v1 - v0);
    for (int64_t panel = 0; panel < panels.pieces; ++panel) {
        const int64_t p0 = panels.begin(panel), p1 = panels.begin(panel + 1), first = (v0 + p0) * L, width = (p1 - p0) * L;
        for (int64_t one = 0; one < lines; ++one) {
            const float *a = image + phase.row(from + one) * line;
            float *c = made + one * l.in[1] * b.line + p0 * L;
            for (int64_t row = 0; row < length; row += kChainRows) {
                const int64_t rows = smaller(kChainRows, length - row);
                float *to_rows = c + row * b.line;
                chain_product_of(p1 - p0, a + row * step, step, rows, b.packed + first * l.channels, l.channels, to_rows,
                                 b.line, b.packed + b.at.first_bias + first, false);
                if (l.activation[0] == ATROUS_NONE) continue;
                for (int64_t r = 0; r < rows; ++r) activate<float>(to_rows + r * b.line, width, activation_at(l, 0));
            }
        }
    }
}

// One row of depthwise outputs whose columns have a stride, or read one tap or none.
inline void depthwise_columns(const Bottleneck &b, const ColumnRow<float> &row, Activation activation) {
    typedef Vec<float> V;
    constexpr int64_t L = Types<float>::lanes;
    const Tap *taps = b.wide->of(0);
    for (int64_t m = 0; m < b.wide->out; ++m) {
        const Run run = run_at(*b.wide, m);
        float *out = row.out + m * b.line;
        for (int64_t c = 0; c < row.width; c += L) {
            V sum = load(row.bias + c);
            for (int64_t n = 0; n < row.rows; ++n) {
                const float *w = row.weight + row.row_w[n] + c;
                const float *x = row.x + row.row_x[n] + run.at * b.line + c;
                for (int64_t j = 0; j < run.count; ++j) {
                    sum += load(w + (run.taps[j].weight - taps[0].weight) * b.at.hidden) * load(x + run.taps[j].offset * b.line);
                }
            }
            store<float>(out + c, sum);
        }
        if (activation.code != ATROUS_NONE) activate<float>(out, row.width, activation);
    }
}

// The depthwise outputs i of a phase, for a group of `width` channels from `first` on. Rows from `fresh` on lie in
// `memory.hidden`, those before in `kept`.
inline void depthwise_row(const Bottleneck &b, const PhaseRows &phase, const StripMemory &memory, const float *kept,
                          int64_t fresh, int64_t i, int64_t first, int64_t width, float *out) {
    const atrous_bottleneck_layer &l = *b.layer;
    const int64_t line = l.in[1] * b.line;
    const int64_t from = larger<int64_t>(0, phase.lo - i * b.walk), to = smaller(l.kernel[0], phase.hi - i * b.walk);
    // Weights begin with the first tap that reads something.
    const int64_t column = b.wide->count(0) == 0 ? 0 : b.wide->of(0)[0].weight;
    int64_t rows = 0;
    for (int64_t j = from; j < to; ++j, ++rows) {
        const int64_t q = i * b.walk + j;
        const float *at = q >= fresh ? memory.hidden + (q - fresh) * line : kept + q % b.kept * line;
        memory.row_x[rows] = at - memory.hidden;
        memory.row_w[rows] = (j * l.kernel[1] + column) * b.at.hidden;
    }
    const int64_t newest = rows > 0 ? memory.row_x[rows - 1] : 0;
    const float *weight = b.packed + b.at.middle + first, *bias = b.packed + b.at.middle_bias + first;
    const ColumnRow<float> row{memory.hidden, weight, bias, out, rows, memory.row_x, memory.row_w, 1, b.line, width, newest};
    if (b.by_columns) return column_row(b.columns, row, activation_at(l, 1));
    depthwise_columns(b, row, activation_at(l, 1));
}

// The sums of a strip plus another map, then the activation, to rows of the output.
inline void finish_strip(const Bottleneck &b, int64_t image, int64_t phase, int64_t i0, int64_t i1, float *sums) {
    constexpr int64_t L = Types<float>::lanes;
    const atrous_bottleneck_layer &l = *b.layer;
    for (int64_t i = i0; i < i1; ++i) {
        const int64_t row = (image * l.out[0] + phase + i * b.phases) * l.out[1];
        for (int64_t m = 0; m < l.out[1]; ++m, sums += b.at.filters) {
            const int64_t at = (row + m) * l.filters;
            if (b.other != nullptr) {
                int64_t f = 0;
                for (; f + L <= l.filters; f += L) store<float>(sums + f, load(sums + f) + load(b.other + at + f));
                for (; f < l.filters; ++f) sums[f] += b.other[at + f];
            }
            if (l.activation[2] != ATROUS_NONE) activate<float>(sums, l.filters, activation_at(l, 2));
            memcpy(b.out + at, sums, sizeof(float) * static_cast<size_t>(l.filters));
        }
    }
}

// Outputs [i0, i1) of a phase. Of the inputs those below `done` were made before.
inline void run_strip(const Bottleneck &b, const PhaseRows &rows, const StripMemory &memory, int64_t image, int64_t phase,
                      int64_t i0, int64_t i1, int64_t done) {
    constexpr int64_t L = Types<float>::lanes;
    const atrous_bottleneck_layer &l = *b.layer;
    const float *x = b.x + image * l.in[0] * l.in[1] * l.channels;
    const int64_t lo = larger(rows.lo, i0 * b.walk), hi = smaller(rows.hi, (i1 - 1) * b.walk + l.kernel[0]);
    const int64_t fresh = larger(done, lo), next = larger(i1 * b.walk, fresh);
    const int64_t in_row = l.in[1] * b.line, out_row = l.out[1] * b.line, positions = (i1 - i0) * l.out[1];
    const Pieces panels = panels_of(b.at.filters / L);
    for (int64_t group = 0; group < b.at.groups.pieces; ++group) {
        const int64_t v0 = b.at.groups.begin(group), v1 = b.at.groups.begin(group + 1), first = v0 * L;
        float *kept = memory.kept + group * b.kept * in_row;
        if (fresh < hi) expand(b, rows, x, v0, v1, fresh, hi, memory.hidden);
        for (int64_t i = i0; l.depthwise && i < i1; ++i) {
            depthwise_row(b, rows, memory, kept, fresh, i, first, (v1 - v0) * L, memory.middle + (i - i0) * out_row);
        }
        for (int64_t q = next; b.kept > 0 && q < hi; ++q) {
            memcpy(kept + q % b.kept * in_row, memory.hidden + (q - fresh) * in_row, sizeof(float) * static_cast<size_t>(in_row));
        }
        const float *a = l.depthwise ? memory.middle : memory.hidden;
        // What fills up the last vector of hidden channels is no term: 0 times what is not finite is not 0.
        const int64_t terms = smaller(v1 * L, l.hidden) - first;
        for (int64_t panel = 0; panel < panels.pieces; ++panel) {
            const int64_t f0 = panels.begin(panel), f1 = panels.begin(panel + 1);
            chain_product_of(f1 - f0, a, b.line, positions, b.packed + b.at.last + first * b.at.filters + f0 * L * terms,
                             terms, memory.sums + f0 * L, b.at.filters,
                             group == 0 ? b.packed + b.at.last_bias + f0 * L : nullptr, group > 0);
        }
    }
    finish_strip(b, image, phase, i0, i1, memory.sums);
}

inline void run_segments(void *context, int64_t begin, int64_t end) {
    const Bottleneck &b = *static_cast<const Bottleneck *>(context);
    StripMemory memory;
    if (!memory.place(b)) return b.code->store(ATROUS_NO_MEMORY, std::memory_order_relaxed);
    for (int64_t item = begin; item < end; ++item) {
        const int64_t segment = item % b.segments, phase = item / b.segments % b.phases;
        const int64_t image = item / b.segments / b.phases;
        const PhaseRows rows(b, phase);
        const Pieces cut{rows.outputs, b.segments};
        const int64_t start = cut.begin(segment), length = cut.begin(segment + 1) - start;
        if (length == 0) continue;
        const Pieces strips{length, ceil_div(length, b.strip)};
        int64_t done = start * b.walk;
        for (int64_t strip = 0; strip < strips.pieces; ++strip) {
            const int64_t i0 = start + strips.begin(strip), i1 = start + strips.begin(strip + 1);
            run_strip(b, rows, memory, image, phase, i0, i1, done);
            done = larger(done, smaller(rows.hi, (i1 - 1) * b.walk + b.layer->kernel[0]));
        }
    }
}

// Rows of the first layer that the busiest thread makes, about, where each phase is cut into so many segments.
inline double busiest(const Bottleneck &b, int64_t outputs, int64_t segments) {
    const int64_t turns = ceil_div(b.layer->batch * b.phases * segments, larger<int64_t>(b.layer->threads, 1));
    return static_cast<double>(turns) * static_cast<double>(ceil_div(outputs, segments) * b.walk + b.kept);
}

inline int forward_bottleneck(const atrous_bottleneck_layer &l, const float *x, const float *packed, const float *other,
                              float *out) {
    constexpr int64_t L = Types<float>::lanes;
    atrous_depthwise_layer across{};
    across.in[2] = l.in[1], across.out[2] = l.out[1], across.kernel[2] = l.kernel[1];
    across.stride[2] = l.stride[1], across.dilation[2] = l.dilation[1], across.pad[2] = l.pad[1];
    Axis wide;
    if (!wide.build(across, 2, false)) return ATROUS_NO_MEMORY;
    std::atomic<int> code{ATROUS_OK};
    const ChainWeights at(l);
    const int64_t widest = (at.groups.total / at.groups.pieces + (at.groups.total % at.groups.pieces > 0)) * L;
    // A vector more than the group: positions a power of two apart would share few places of the first-level cache.
    const int64_t line = widest + L;
    Bottleneck b{&l, x, packed, other, out, at, &wide, Width(wide, at.hidden), l.stride[1] == 1 && wide.count(0) > 1, 1, 1, 1, 0, 1, 1, line, &code};
    const int64_t period = l.dilation[0] / gcd(l.dilation[0], l.stride[0]);
    b.phases = smaller(period, l.out[0]);
    b.walk = l.stride[0] / gcd(l.dilation[0], l.stride[0]);
    b.most = ceil_div(l.in[0], l.dilation[0]);
    b.kept = larger<int64_t>(0, smaller(l.kernel[0] - b.walk, b.most));
    const int64_t outputs = ceil_div(l.out[0], b.phases);
    const int64_t floats = l.in[1] * (l.channels + line) * smaller(b.walk, b.most) + l.out[1] * ((l.depthwise ? line : 0) + at.filters);
    b.strip = larger<int64_t>(1, smaller(outputs, kStripBytes / 4 / larger<int64_t>(1, floats)));
    // Rows between those that are read would be made as well.
    if (b.walk > l.kernel[0]) b.strip = 1;
    if (l.out[1] == 1 && b.strip > kRows) b.strip = b.strip / kRows * kRows;
    const int64_t most = smaller<int64_t>(outputs, 4 * smaller<int64_t>(l.threads, 64));
    for (int64_t segments = 2; segments <= most; ++segments) {
        if (busiest(b, outputs, segments) < busiest(b, outputs, b.segments)) b.segments = segments;
    }
    atrous::parallel(l.batch * b.phases * b.segments, l.threads, run_segments, &b);
    return code.load(std::memory_order_relaxed);
}

// Rows of `depth` weights each, from [first, first + count) on, as a panel of so many vectors.
inline float *pack_panel(const float *rows, int64_t step, int64_t count, int64_t width, int64_t depth, float *to) {
    for (int64_t k = 0; k < depth; ++k) {
        for (int64_t n = 0; n < width; ++n) *to++ = n < count ? rows[n * step + k] : 0.0f;
    }
    return to;
}

inline void pack_bias(const float *bias, int64_t count, int64_t width, float *to) {
    for (int64_t n = 0; n < width; ++n) to[n] = bias != nullptr && n < count ? bias[n] : 0.0f;
}

inline int pack_bottleneck(const atrous_bottleneck_layer &l, const float *const *weights, const float *const *biases,
                           float *packed) {
    constexpr int64_t L = Types<float>::lanes;
    const ChainWeights at(l);
    const int64_t taps = l.depthwise ? l.kernel[0] * l.kernel[1] : 0;
    const Pieces outer = panels_of(at.filters / L);
    float *first = packed, *last = packed + at.last;
    for (int64_t group = 0; group < at.groups.pieces; ++group) {
        const int64_t v0 = at.groups.begin(group), v1 = at.groups.begin(group + 1);
        const Pieces panels = panels_of(v1 - v0);
        for (int64_t panel = 0; panel < panels.pieces; ++panel) {
            const int64_t c = (v0 + panels.begin(panel)) * L, width = (panels.begin(panel + 1) - panels.begin(panel)) * L;
            first = pack_panel(weights[0] + c * l.channels, l.channels, smaller(width, l.hidden - c), width, l.channels, first);
        }
        const int64_t terms = smaller(v1 * L, l.hidden) - v0 * L;
        for (int64_t panel = 0; panel < outer.pieces; ++panel) {
            const int64_t f = outer.begin(panel) * L, width = (outer.begin(panel + 1) - outer.begin(panel)) * L;
            last = pack_panel(weights[2] + f * l.hidden + v0 * L, l.hidden, smaller(width, l.filters - f), width, terms, last);
        }
    }
    for (int64_t tap = 0; tap < taps; ++tap) {
        for (int64_t c = 0; c < at.hidden; ++c) {
            packed[at.middle + tap * at.hidden + c] = c < l.hidden ? weights[1][c * taps + tap] : 0.0f;
        }
    }
    pack_bias(biases[0], l.hidden, at.hidden, packed + at.first_bias);
    pack_bias(l.depthwise ? biases[1] : nullptr, l.hidden, at.hidden, packed + at.middle_bias);
    pack_bias(biases[2], l.filters, at.filters, packed + at.last_bias);
    return ATROUS_OK;
}

}  // namespace
#endif
