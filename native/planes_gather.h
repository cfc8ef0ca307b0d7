// Depthwise, planes, forward and data gradient: each output gathers its taps.
//
// Layout: (batch, channels, depth, height, width), dense. Vectors run along the width.
// Accumulator: the type of the tensors, one fused multiply-add per tap in ascending tap order; error at
// most (taps + 1) units in the last place of the sum of |x w|, and no result depends on the threads.
// Threads: one plane, or a band of its rows, at a time.
//
// Two ways here; `planes_rows.h` and `planes_small.h` have two more, and the choice. `Direct` reads the input
// where it lies, for widths of at least one vector and no stride along it; vectors that touch a border mask
// their taps, taps that a whole vector has in the padding are skipped. `Staged` first copies a band of a plane
// into scratch memory, padded and split into the phases of the stride along the width, so that strided reads
// become plain vectors; it serves narrow maps too.
#ifndef ATROUS_PLANES_GATHER_H
#define ATROUS_PLANES_GATHER_H

#include "activation.h"
#include "axis.h"
#include "threads.h"

namespace {

constexpr int kBlock = 8;                   // accumulators in flight: two per cycle, four cycles each
constexpr int64_t kDirectVectors = 6;       // from this width on, rows are read where they lie
constexpr int64_t kStagedBytes = 224 << 10;  // of scratch for one band: within a second-level cache

template <class T> struct Gather {
    const atrous_depthwise_layer *layer;
    bool backwards;
    const T *x, *weight, *bias;
    T *out;
    Axis axis[3];
    int64_t taps;  // per channel
    int failed = 0;

    // False where there is no memory.
    bool set(const atrous_depthwise_layer &described, bool backwards_, const void *x_, const void *weight_ = nullptr,
             const void *bias_ = nullptr, void *out_ = nullptr) {
        layer = &described;
        backwards = backwards_;
        x = static_cast<const T *>(x_);
        weight = static_cast<const T *>(weight_);
        bias = static_cast<const T *>(bias_);
        out = static_cast<T *>(out_);
        taps = described.kernel[0] * described.kernel[1] * described.kernel[2];
        for (int a = 0; a < 3; ++a) {
            if (!axis[a].build(described, a, backwards)) return false;
        }
        return true;
    }
};

// ---- direct ---------------------------------------------------------------------------------------

// Vectors [v0, v1) of a row all read the taps [j0, j1) of the width, and nothing else.
struct Group {
    int64_t v0, v1, j0, j1;
};

template <class T> struct Direct {
    Gather<T> *all;
    int64_t vectors;     // per row; the last one ends with the row
    Group *groups;
    int64_t n_groups;
    int64_t *masked;     // vectors that need masks
    Mask<T> *masks;      // [masked vector][tap of the width]
    int64_t *column;     // likewise: where the tap reads; 0 where nothing of it is inside
    int64_t n_masked;
    int64_t bands, band_rows;

    int64_t at(int64_t vector) const {
        return smaller(vector * Types<T>::lanes, all->axis[2].out - Types<T>::lanes);
    }
};

template <class T, int B>
ATROUS_INLINE void direct_block(const T *x, const int64_t *offset, const T *weight, int64_t taps, int64_t last,
                                T bias, T *out) {
    typedef Vec<T> V;
    constexpr int64_t L = Types<T>::lanes;
    V sum[B];
    ATROUS_UNROLL(8)
    for (int v = 0; v < B; ++v) sum[v] = splat(bias);
    for (int64_t t = 0; t < taps; ++t) {
        const V w = splat(weight[t]);
        const T *from = x + offset[t];
        ATROUS_UNROLL(8)
        for (int v = 0; v < B - 1; ++v) sum[v] += w * load(from + v * L);
        sum[B - 1] += w * load(from + last);
    }
    ATROUS_UNROLL(8)
    for (int v = 0; v < B - 1; ++v) store<T>(out + v * L, sum[v]);
    store<T>(out + last, sum[B - 1]);
}

template <class T>
void direct_blocks(int64_t count, const T *x, const int64_t *offset, const T *weight, int64_t taps, int64_t last,
                   T bias, T *out) {
    switch (count) {
#define ATROUS_CASE(B) \
    case B:            \
        return direct_block<T, B>(x, offset, weight, taps, last, bias, out);
        ATROUS_CASE(1)
        ATROUS_CASE(2)
        ATROUS_CASE(3)
        ATROUS_CASE(4)
        ATROUS_CASE(5)
        ATROUS_CASE(6)
        ATROUS_CASE(7)
        ATROUS_CASE(8)
#undef ATROUS_CASE
    }
}

template <class T, int B>
ATROUS_INLINE void masked_block(const T *x, T *const *out, const Mask<T> *const *masks, const int64_t *const *column,
                                const int64_t *offset, const T *weight, int64_t rows, int64_t columns, T bias) {
    typedef Vec<T> V;
    V sum[B];
    ATROUS_UNROLL(4)
    for (int v = 0; v < B; ++v) sum[v] = splat(bias);
    for (int64_t row = 0, t = 0; row < rows; ++row) {
        for (int64_t j = 0; j < columns; ++j, ++t) {
            const V w = splat(weight[t]);
            const T *row_of_x = x + offset[t];
            ATROUS_UNROLL(4)
            for (int v = 0; v < B; ++v) sum[v] += w * only<T>(load(row_of_x + column[v][j]), masks[v][j]);
        }
    }
    ATROUS_UNROLL(4)
    for (int v = 0; v < B; ++v) store<T>(out[v], sum[v]);
}

// The offsets and weights of the taps that one class of rows reads, for each group and for the masks.
template <class T> struct RowTaps {
    int64_t *offset;
    T *weight;
    int64_t key[4];
    int64_t rows;
};

template <class T>
void fill_row_taps(const Direct<T> &direct, const Run &deep, const Run &high, const T *weight, RowTaps<T> *table) {
    const Gather<T> &all = *direct.all;
    const Axis &wide = all.axis[2];
    const int64_t width = wide.in, plane = all.axis[1].in * width;
    const int64_t *kernel = all.layer->kernel;
    int64_t place = 0;
    for (int64_t g = 0; g <= direct.n_groups; ++g) {
        const int64_t j0 = g < direct.n_groups ? direct.groups[g].j0 : 0;
        const int64_t j1 = g < direct.n_groups ? direct.groups[g].j1 : wide.count(0);
        for (int64_t a = 0; a < deep.count; ++a) {
            for (int64_t b = 0; b < high.count; ++b) {
                const int64_t row = deep.taps[a].offset * plane + high.taps[b].offset * width;
                const int64_t first = (deep.taps[a].weight * kernel[1] + high.taps[b].weight) * kernel[2];
                for (int64_t j = j0; j < j1; ++j, ++place) {
                    // Masked vectors have their own columns: a tap that is outside may be far outside.
                    table->offset[place] = g < direct.n_groups ? row + wide.taps[j].offset : row;
                    table->weight[place] = weight[first + wide.taps[j].weight];
                }
            }
        }
    }
    table->rows = deep.count * high.count;
}

template <class T> void direct_row(const Direct<T> &direct, const T *x, T *out, const RowTaps<T> &table, T bias) {
    constexpr int64_t L = Types<T>::lanes;
    const int64_t *offset = table.offset;
    const T *weight = table.weight;
    for (int64_t g = 0; g < direct.n_groups; ++g) {
        const Group &group = direct.groups[g];
        const int64_t taps = table.rows * (group.j1 - group.j0);
        int64_t left = group.v1 - group.v0;
        int64_t blocks = (left + kBlock - 1) / kBlock, v = group.v0;
        while (blocks > 0) {
            const int64_t count = (left + blocks - 1) / blocks;
            const int64_t at = v * L, last = direct.at(v + count - 1) - smaller(at, direct.at(v));
            const int64_t from = smaller(at, direct.at(v));
            direct_blocks<T>(count, x + from, offset, weight, taps, last, bias, out + from);
            v += count;
            left -= count;
            --blocks;
        }
        offset += taps;
        weight += taps;
    }
    const int64_t columns = direct.all->axis[2].count(0);
    for (int64_t m = 0; m < direct.n_masked; m += 4) {
        T *to[4];
        const Mask<T> *masks[4];
        const int64_t *column[4];
        const int64_t count = smaller<int64_t>(4, direct.n_masked - m);
        for (int64_t v = 0; v < count; ++v) {
            const int64_t at = direct.at(direct.masked[m + v]);
            to[v] = out + at;
            masks[v] = direct.masks + (m + v) * columns;
            column[v] = direct.column + (m + v) * columns;
        }
        switch (count) {
#define ATROUS_CASE(B)                                                                                      \
    case B:                                                                                                 \
        masked_block<T, B>(x, to, masks, column, offset, weight, table.rows, columns, bias);                 \
        break;
            ATROUS_CASE(1)
            ATROUS_CASE(2)
            ATROUS_CASE(3)
            ATROUS_CASE(4)
#undef ATROUS_CASE
        }
    }
}

template <class T> void direct_body(void *context, int64_t begin, int64_t end) {
    Direct<T> &direct = *static_cast<Direct<T> *>(context);
    Gather<T> &all = *direct.all;
    const Axis &deep_axis = all.axis[0], &high_axis = all.axis[1];
    const int64_t width = all.axis[2].in, high = high_axis.in;
    const int64_t in_plane = deep_axis.in * high * width;
    const int64_t out_rows = deep_axis.out * high_axis.out;
    const int64_t planes = all.layer->batch * all.layer->channels;
    const int64_t entries = all.taps * (direct.n_groups + 1);
    char *memory = static_cast<char *>(atrous::scratch(0, static_cast<size_t>(entries) * (sizeof(int64_t) + sizeof(T))));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    RowTaps<T> table;
    table.offset = reinterpret_cast<int64_t *>(memory);
    table.weight = reinterpret_cast<T *>(memory + entries * static_cast<int64_t>(sizeof(int64_t)));
    // Planes larger than a cache are walked in the order of the dilation's phases.
    const bool large = in_plane * static_cast<int64_t>(sizeof(T)) > (256 << 10);
    const RowOrder order(high_axis.out, large ? period_of(*all.layer, 1, all.backwards) : 1);
    const Activation activation = activation_of(*all.layer);
    int64_t staged = -1;
    for (int64_t item = begin; item < end; ++item) {
        const int64_t plane = item / direct.bands, band = item % direct.bands;
        const int64_t channel = plane % all.layer->channels;
        const T bias = all.bias != nullptr ? all.bias[channel] : T(0);
        const T *x = all.x + plane * in_plane;
        // Masked loads reach up to one vector beyond a row: before the first plane and behind the last
        // lies memory that is not ours, so planes as near as that to either end are read from a copy.
        constexpr int64_t slack = Types<T>::lanes;
        const bool at_end = plane * in_plane < slack || (planes - 1 - plane) * in_plane < slack;
        if (at_end && direct.n_masked > 0) {
            T *copy = static_cast<T *>(atrous::scratch(1, static_cast<size_t>(in_plane + 2 * slack) * sizeof(T)));
            if (copy == nullptr) {
                all.failed = ATROUS_NO_MEMORY;
                return;
            }
            if (staged != plane) {
                memset(copy, 0, slack * sizeof(T));
                memcpy(copy + slack, x, static_cast<size_t>(in_plane) * sizeof(T));
                memset(copy + slack + in_plane, 0, slack * sizeof(T));
                staged = plane;
            }
            x = copy + slack;
        }
        table.key[0] = -1;
        const int64_t first = band * direct.band_rows;
        const int64_t stop = smaller(first + direct.band_rows, out_rows);
        for (int64_t place = first; place < stop; ++place) {
            const int64_t d = place / high_axis.out, h = order.row(place % high_axis.out);
            const Run deep = run_at(deep_axis, d), tall = run_at(high_axis, h);
            const int64_t key[4] = {deep.taps - deep_axis.taps, deep.count, tall.taps - high_axis.taps, tall.count};
            if (memcmp(key, table.key, sizeof key) != 0) {
                fill_row_taps(direct, deep, tall, all.weight + channel * all.taps, &table);
                memcpy(table.key, key, sizeof key);
            }
            T *out = all.out + ((plane * deep_axis.out + d) * high_axis.out + h) * all.axis[2].out;
            direct_row(direct, x + (deep.at * high + tall.at) * width, out, table, bias);
            if (activation.code != ATROUS_NONE) activate<T>(out, all.axis[2].out, activation);
        }
    }
}

template <class T> int direct(Gather<T> *all) {
    constexpr int64_t L = Types<T>::lanes;
    typedef typename Types<T>::I I;
    const Axis &wide = all->axis[2];
    const int64_t columns = wide.count(0), vectors = (wide.out + L - 1) / L;
    Direct<T> direct;
    direct.all = all;
    direct.vectors = vectors;
    // Each end of each tap's range lies in one vector, so few vectors are partial and few groups differ.
    const int64_t partial_vectors = smaller(vectors, 2 * columns + 2), runs = smaller(vectors, 4 * columns + 4);
    const size_t mask_bytes = static_cast<size_t>(partial_vectors * larger<int64_t>(columns, 1)) * sizeof(Mask<T>);
    const size_t group_bytes = static_cast<size_t>(runs) * sizeof(Group);
    char *memory = static_cast<char *>(
        atrous::scratch(2, mask_bytes + group_bytes +
                               static_cast<size_t>(partial_vectors * (1 + columns)) * sizeof(int64_t)));
    if (memory == nullptr) return ATROUS_NO_MEMORY;
    direct.masks = reinterpret_cast<Mask<T> *>(memory);
    direct.groups = reinterpret_cast<Group *>(memory + mask_bytes);
    direct.masked = reinterpret_cast<int64_t *>(memory + mask_bytes + group_bytes);
    direct.column = direct.masked + partial_vectors;
    direct.n_groups = direct.n_masked = 0;
    for (int64_t v = 0; v < vectors; ++v) {
        const int64_t at = direct.at(v);
        int64_t j0 = columns, j1 = 0;
        bool partial = false;
        for (int64_t j = 0; j < columns; ++j) {
            const int64_t from = at + wide.taps[j].offset;
            const int64_t inside = smaller(from + L, wide.in) - larger<int64_t>(from, 0);
            if (inside <= 0) continue;
            if (inside < L) partial = true;
            j0 = smaller(j0, j);
            j1 = larger(j1, j + 1);
        }
        if (j0 >= j1) j0 = j1 = 0;
        if (partial) {
            Mask<T> *masks = direct.masks + direct.n_masked * columns;
            int64_t *column = direct.column + direct.n_masked * columns;
            for (int64_t j = 0; j < columns; ++j) {
                const int64_t start = at + wide.taps[j].offset;
                column[j] = start > -L && start < wide.in ? start : 0;
                for (int64_t lane = 0; lane < L; ++lane) {
                    const int64_t from = at + wide.taps[j].offset + lane;
                    masks[j][lane] = from >= 0 && from < wide.in ? I(-1) : I(0);
                }
            }
            direct.masked[direct.n_masked++] = v;
            continue;
        }
        Group *last = direct.n_groups > 0 ? &direct.groups[direct.n_groups - 1] : nullptr;
        if (last != nullptr && last->v1 == v && last->j0 == j0 && last->j1 == j1) {
            last->v1 = v + 1;
        } else {
            direct.groups[direct.n_groups++] = Group{v, v + 1, j0, j1};
        }
    }
    // Few planes are split into bands of rows, so that every thread has work.
    const int64_t planes = all->layer->batch * all->layer->channels, rows = all->axis[0].out * all->axis[1].out;
    const int64_t wanted = larger<int64_t>(1, all->layer->threads) * 4;
    direct.bands = planes >= wanted ? 1 : smaller(rows, (wanted + planes - 1) / planes);
    direct.band_rows = (rows + direct.bands - 1) / direct.bands;
    direct.bands = (rows + direct.band_rows - 1) / direct.band_rows;
    atrous::parallel(planes * direct.bands, all->layer->threads, direct_body<T>, &direct);
    return all->failed;
}

// ---- staged ---------------------------------------------------------------------------------------

// A band of a plane, copied: rows of `phases` runs of `pitch` inputs each, zero in the padding.
template <class T> struct Staged {
    Gather<T> *all;
    int64_t band[3], bands[3];  // in m, the positions of one output phase
    int64_t rows[3];            // scratch rows along depth and height; [2]: the pitch of one phase

    int64_t row_length() const { return all->axis[2].in_step * rows[2]; }
    int64_t elements() const { return rows[0] * rows[1] * row_length() + 2 * Types<T>::lanes; }
    int64_t count() const { return bands[0] * bands[1] * bands[2]; }

    void measure() {
        for (int a = 0; a < 3; ++a) {
            const Axis &axis = all->axis[a];
            bands[a] = (axis.longest() + band[a] - 1) / band[a];
            const int64_t span = axis.offset_max - axis.offset_min;
            rows[a] = a < 2 ? axis.in_step * (band[a] - 1) + span + 1 : band[a] + span / axis.in_step;
        }
        // Vectors reach beyond a band's last output, by less than their length.
        rows[2] += Types<T>::lanes;
    }

    // Where band `index` begins, in m.
    void begin(int64_t index, int64_t *m) const {
        for (int a = 2; a >= 0; --a) {
            m[a] = index % bands[a] * band[a];
            index /= bands[a];
        }
    }

    // The scratch offset of a tap of the width, relative to its output.
    int64_t along_width(const Tap &tap) const {
        const int64_t shift = tap.offset - all->axis[2].offset_min, step = all->axis[2].in_step;
        return step == 1 ? shift : shift % step * rows[2] + shift / step;
    }
};

// The largest bands whose scratch stays within `kStagedBytes`.
template <class T> Staged<T> plan_bands(Gather<T> *all) {
    Staged<T> staged;
    staged.all = all;
    for (int a = 0; a < 3; ++a) staged.band[a] = larger<int64_t>(1, all->axis[a].longest());
    staged.measure();
    for (int a = 0; a < 3; ++a) {
        // A band below its halo would copy more than it computes.
        const int64_t halo = (all->axis[a].offset_max - all->axis[a].offset_min) / all->axis[a].in_step;
        const int64_t least = larger<int64_t>(a == 2 ? 64 : 1, halo);
        while (staged.elements() * static_cast<int64_t>(sizeof(T)) > kStagedBytes && staged.band[a] > least) {
            staged.band[a] = larger(least, (staged.band[a] + 1) / 2);
            staged.measure();
        }
    }
    if (staged.elements() * static_cast<int64_t>(sizeof(T)) > kStagedBytes) {
        // Halos too large for any band: then nothing is copied twice.
        for (int a = 0; a < 2; ++a) staged.band[a] = larger<int64_t>(1, all->axis[a].longest());
        staged.measure();
    }
    return staged;
}

template <class T> ATROUS_INLINE void copy_run(T *to, const T *from, int64_t count) {
    constexpr int64_t L = Types<T>::lanes;
    if (count < L) return copy_some<T>(to, from, count);
    for (int64_t i = 0; i + L <= count; i += L) store<T>(to + i, load(from + i));
    store<T>(to + count - L, load(from + count - L));
}

// Copies the band that begins at `begin`. `clear` says that another band was here before.
template <class T> void stage(const Staged<T> &staged, const T *plane, const int64_t *begin, bool clear, T *scratch) {
    const Axis *axis = staged.all->axis;
    const int64_t step = axis[2].in_step, pitch = staged.rows[2], length = staged.row_length();
    if (clear) memset(scratch, 0, static_cast<size_t>(staged.elements()) * sizeof(T));
    const int64_t start[3] = {axis[0].in_step * begin[0] + axis[0].offset_min,
                              axis[1].in_step * begin[1] + axis[1].offset_min,
                              axis[2].in_step * begin[2] + axis[2].offset_min};
    const int64_t d0 = larger<int64_t>(0, -start[0]), d1 = smaller(staged.rows[0], axis[0].in - start[0]);
    const int64_t h0 = larger<int64_t>(0, -start[1]), h1 = smaller(staged.rows[1], axis[1].in - start[1]);
    for (int64_t phase = 0; phase < step; ++phase) {
        // Position i of this phase is input first + step * i.
        const int64_t first = start[2] + phase;
        const int64_t lo = larger<int64_t>(0, ceil_div(-first, step));
        const int64_t hi = smaller(pitch, ceil_div(axis[2].in - first, step));
        if (lo >= hi) continue;
        for (int64_t d = d0; d < d1; ++d) {
            for (int64_t h = h0; h < h1; ++h) {
                T *to = scratch + (d * staged.rows[1] + h) * length + phase * pitch + lo;
                const T *from = plane + ((start[0] + d) * axis[1].in + start[1] + h) * axis[2].in + first + step * lo;
                if (step == 1) {
                    copy_run(to, from, hi - lo);
                } else if (step == 2) {
                    for (int64_t i = 0; i < hi - lo; ++i) to[i] = from[2 * i];
                } else {
                    for (int64_t i = 0; i < hi - lo; ++i) to[i] = from[step * i];
                }
            }
        }
    }
}

// Where one vector reads, relative to the scratch, and writes, relative to the output plane.
struct Place {
    int64_t from, to, lanes;
};

// What is done for every plane of one band: for each output phase its taps, then its vectors.
template <class T> struct Program {
    int64_t band = -1;
    int64_t phases;
    int64_t *first_tap, *first_place;  // of each phase, and the end
    int64_t *offset, *weight_index;
    Place *places;
    T *weight;

    static size_t bytes(const Staged<T> &staged) {
        const Axis *axis = staged.all->axis;
        int64_t phases = 1, places = 1;
        for (int a = 0; a < 3; ++a) {
            phases *= axis[a].phases;
            places *= axis[a].phases *
                      (a < 2 ? staged.band[a] : (staged.band[a] + Types<T>::lanes - 1) / Types<T>::lanes);
        }
        return static_cast<size_t>(2 * (phases + 1) + 2 * staged.all->taps) * sizeof(int64_t) +
               static_cast<size_t>(places) * sizeof(Place) + static_cast<size_t>(staged.all->taps) * sizeof(T);
    }

    void place(const Staged<T> &staged, char *memory) {
        const Axis *axis = staged.all->axis;
        phases = axis[0].phases * axis[1].phases * axis[2].phases;
        first_tap = reinterpret_cast<int64_t *>(memory);
        first_place = first_tap + phases + 1;
        offset = first_place + phases + 1;
        weight_index = offset + staged.all->taps;
        weight = reinterpret_cast<T *>(weight_index + staged.all->taps);
        const size_t used = static_cast<size_t>(reinterpret_cast<char *>(weight + staged.all->taps) - memory);
        places = reinterpret_cast<Place *>(memory + (used + 7) / 8 * 8);
    }

    void build(const Staged<T> &staged, int64_t index) {
        constexpr int64_t L = Types<T>::lanes;
        const Axis *axis = staged.all->axis;
        const int64_t *kernel = staged.all->layer->kernel;
        const int64_t length = staged.row_length();
        int64_t begin[3], taps = 0, found = 0, phase = 0;
        staged.begin(index, begin);
        band = index;
        for (int64_t pd = 0; pd < axis[0].phases; ++pd) {
            for (int64_t ph = 0; ph < axis[1].phases; ++ph) {
                for (int64_t pw = 0; pw < axis[2].phases; ++pw, ++phase) {
                    first_tap[phase] = taps;
                    first_place[phase] = found;
                    for (const Tap *d = axis[0].of(pd), *de = d + axis[0].count(pd); d < de; ++d) {
                        for (const Tap *h = axis[1].of(ph), *he = h + axis[1].count(ph); h < he; ++h) {
                            const int64_t row = ((d->offset - axis[0].offset_min) * staged.rows[1] +
                                                 (h->offset - axis[1].offset_min)) * length;
                            const int64_t above = (d->weight * kernel[1] + h->weight) * kernel[2];
                            for (const Tap *w = axis[2].of(pw), *we = w + axis[2].count(pw); w < we; ++w, ++taps) {
                                offset[taps] = row + staged.along_width(*w);
                                weight_index[taps] = above + w->weight;
                            }
                        }
                    }
                    const int64_t stop[3] = {smaller(begin[0] + staged.band[0], axis[0].length(pd)),
                                             smaller(begin[1] + staged.band[1], axis[1].length(ph)),
                                             smaller(begin[2] + staged.band[2], axis[2].length(pw))};
                    for (int64_t d = begin[0]; d < stop[0]; ++d) {
                        for (int64_t h = begin[1]; h < stop[1]; ++h) {
                            const int64_t from = ((d - begin[0]) * axis[0].in_step * staged.rows[1] +
                                                  (h - begin[1]) * axis[1].in_step) * length;
                            const int64_t to = ((pd + axis[0].out_step * d) * axis[1].out + ph + axis[1].out_step * h) *
                                                   axis[2].out + pw;
                            for (int64_t w = begin[2]; w < stop[2]; w += L) {
                                // The last full vector steps back rather than stop short.
                                const int64_t at = stop[2] - w >= L || stop[2] - begin[2] < L ? w : stop[2] - L;
                                places[found++] = Place{from + at - begin[2], to + axis[2].out_step * at,
                                                        smaller(L, stop[2] - at)};
                            }
                        }
                    }
                }
            }
        }
        first_tap[phase] = taps;
        first_place[phase] = found;
        // A short vector of the only band may write on into the next row, whose own vector comes later.
        const int64_t out_plane = axis[0].out * axis[1].out * axis[2].out;
        if (phases == 1 && axis[2].out_step == 1 && staged.count() == 1) {
            for (int64_t p = 0; p < found; ++p) {
                if (places[p].to + L <= out_plane) places[p].lanes = L;
            }
        }
    }
};

template <class T, int B>
ATROUS_INLINE void staged_block(const T *x, const int64_t *offset, const T *weight, int64_t taps, const Place *places,
                                T bias, int64_t step, T *out) {
    constexpr int64_t L = Types<T>::lanes;
    Vec<T> sum[B];
    const T *from[B];
    ATROUS_UNROLL(8)
    for (int v = 0; v < B; ++v) {
        sum[v] = splat(bias);
        from[v] = x + places[v].from;
    }
    for (int64_t t = 0; t < taps; ++t) {
        const Vec<T> w = splat(weight[t]);
        const int64_t shift = offset[t];
        ATROUS_UNROLL(8)
        for (int v = 0; v < B; ++v) sum[v] += w * load(from[v] + shift);
    }
    ATROUS_UNROLL(8)
    for (int v = 0; v < B; ++v) {
        const Vec<T> value = sum[v];
        T *to = out + places[v].to;
        const int64_t lanes = places[v].lanes;
        if (step == 1) {
            if (lanes == L) {
                store<T>(to, value);
            } else {
                store_some<T>(to, value, lanes);
            }
        } else {
            alignas(ATROUS_VECTOR_BYTES) T spill[L];
            store<T>(spill, value);
            if (lanes == L) {
                ATROUS_UNROLL(16)
                for (int64_t lane = 0; lane < L; ++lane) to[step * lane] = spill[lane];
            } else {
                for (int64_t lane = 0; lane < lanes; ++lane) to[step * lane] = spill[lane];
            }
        }
    }
}

template <class T> void run_program(const Gather<T> &all, const Program<T> &program, const T *scratch, T bias, T *out) {
    const int64_t step = all.axis[2].out_step;
    for (int64_t phase = 0; phase < program.phases; ++phase) {
        const int64_t tap = program.first_tap[phase], taps = program.first_tap[phase + 1] - tap;
        const int64_t *offset = program.offset + tap;
        const T *weight = program.weight + tap;
        const Place *place = program.places + program.first_place[phase];
        int64_t left = program.first_place[phase + 1] - program.first_place[phase];
        for (int64_t blocks = (left + kBlock - 1) / kBlock; blocks > 0; --blocks) {
            const int64_t count = (left + blocks - 1) / blocks;
            switch (count) {
#define ATROUS_CASE(B)                                                                              \
    case B:                                                                                         \
        staged_block<T, B>(scratch, offset, weight, taps, place, bias, step, out);                   \
        break;
                ATROUS_CASE(1)
                ATROUS_CASE(2)
                ATROUS_CASE(3)
                ATROUS_CASE(4)
                ATROUS_CASE(5)
                ATROUS_CASE(6)
                ATROUS_CASE(7)
                ATROUS_CASE(8)
#undef ATROUS_CASE
            }
            place += count;
            left -= count;
        }
    }
}

// Forward only: the outputs of a band are runs of rows.
template <class T> void activate_band(const Staged<T> &staged, const int64_t *begin, T *out) {
    const Axis *axis = staged.all->axis;
    int64_t stop[3];
    for (int a = 0; a < 3; ++a) stop[a] = smaller(begin[a] + staged.band[a], axis[a].out);
    for (int64_t d = begin[0]; d < stop[0]; ++d) {
        for (int64_t h = begin[1]; h < stop[1]; ++h) {
            activate<T>(out + (d * axis[1].out + h) * axis[2].out + begin[2], stop[2] - begin[2],
                        activation_of(*staged.all->layer));
        }
    }
}

template <class T> void staged_body(void *context, int64_t begin_item, int64_t end_item) {
    Staged<T> &staged = *static_cast<Staged<T> *>(context);
    Gather<T> &all = *staged.all;
    const Axis *axis = all.axis;
    const int64_t in_plane = axis[0].in * axis[1].in * axis[2].in;
    const int64_t out_plane = axis[0].out * axis[1].out * axis[2].out;
    const int64_t planes = all.layer->batch * all.layer->channels;
    const size_t data = (static_cast<size_t>(staged.elements()) * sizeof(T) + 63) / 64 * 64;
    char *memory = static_cast<char *>(atrous::scratch(0, data + Program<T>::bytes(staged) + 64));
    if (memory == nullptr) {
        all.failed = ATROUS_NO_MEMORY;
        return;
    }
    T *scratch = reinterpret_cast<T *>(memory);
    Program<T> program;
    program.place(staged, memory + data);
    for (int64_t item = begin_item; item < end_item; ++item) {
        // Band by band: all planes of one band share its program and its zeros.
        const int64_t band = item / planes, plane = item % planes, channel = plane % all.layer->channels;
        int64_t begin[3];
        staged.begin(band, begin);
        const bool other = program.band != band;
        if (other) program.build(staged, band);
        stage(staged, all.x + plane * in_plane, begin, other, scratch);
        const T *weight = all.weight + channel * all.taps;
        for (int64_t t = 0; t < program.first_tap[program.phases]; ++t) program.weight[t] = weight[program.weight_index[t]];
        T *out = all.out + plane * out_plane;
        run_program<T>(all, program, scratch, all.bias != nullptr ? all.bias[channel] : T(0), out);
        if (all.layer->activation != ATROUS_NONE) activate_band<T>(staged, begin, out);
    }
}

// All planes, band by band, by a body that takes a `Staged`.
template <class T> int by_bands(Gather<T> *all, void (*body)(void *context, int64_t begin, int64_t end)) {
    Staged<T> staged = plan_bands(all);
    const int64_t items = all->layer->batch * all->layer->channels * staged.count();
    atrous::parallel(items, all->layer->threads, body, &staged);
    return all->failed;
}

}  // namespace
#endif
