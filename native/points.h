// The points at which minimal filtering evaluates, and its one-dimensional transforms on vectors.
//
// m outputs of a kernel of r taps take A = m + r - 1 products instead of m r (Toom-Cook, Winograd 1980). As matrices,
// y = T' ((G g) * (B' d)): row j of B' holds the coefficients of the product of x - p over all points p but p_j,
// column j of T' the powers of p_j, and G the powers over what B' leaves. The last point is at infinity.
//
// Rounding decides the points: the error grows with the root of the sum over j of (T'_ij |G_j| |B'_j|)^2. Of all
// multiples of 1/16 these have the smallest sum, and so few bits that B' is exact. For even A - 1 there is no zero
// among them, which halves the error of A = 5 and A = 7 against the usual 0, 1, -1, 2, ...
#ifndef ATROUS_POINTS_H
#define ATROUS_POINTS_H

#include "vector.h"

namespace {

constexpr int kMostPoints = 8;

// A form of tiles along an axis is a number: of its inputs. Those of 1 and 4 to 8 take as many products, at points.
// Those of 2 and 3 are closed: a phase that ends on both sides, whose 2 or 3 outputs read nothing beyond its inputs
// by a kernel of 3. The matrix of such a sum is tridiagonal, and a space of these three diagonals has rank n + 1 over
// the numbers for n of 2 and 3 (for more, it takes points that are complex): one product less than tiles at points.
constexpr bool is_closed(int form) { return form == 2 || form == 3; }
constexpr int products_of(int form) { return is_closed(form) ? form + 1 : form; }

// Of n = 3, with r = 1/2 and s = 3/2, of which s^2 - r^2 has to be 2: the inputs
//   r x1 + (x2 - x0), r x1 - (x2 - x0), s x1 + (x2 + x0), s x1 - (x2 + x0)
// times these of the taps
//   -(g1 + (g0 - g2) / r) / 4, -(g1 - (g0 - g2) / r) / 4, (g1 + (g0 + g2) / s) / 4, (g1 - (g0 + g2) / s) / 4
// are P0 to P3, and outputs are (P2 - P3) + (P0 - P1), r (P0 + P1) + s (P2 + P3), (P2 - P3) - (P0 - P1).
// Of n = 2, with x0 + x1, x1, x0 and g1, g2 - g1, g0 - g1: P0 + P1 and P0 + P2 (Karatsuba).
constexpr double kClosedRows[2][4][3] = {
    {{0, 1, 0}, {0, -1, 1}, {1, -1, 0}, {0, 0, 0}},
    {{-0.5, -0.25, 0.5}, {0.5, -0.25, -0.5}, {1.0 / 6, 0.25, 1.0 / 6}, {-1.0 / 6, 0.25, -1.0 / 6}},
};

template <int A> struct Points;
template <> struct Points<1> {
    static constexpr bool zero = true;
    static constexpr double pairs[1] = {0};
};
template <> struct Points<4> {
    static constexpr bool zero = true;
    static constexpr double pairs[1] = {1};
};
template <> struct Points<5> {
    static constexpr bool zero = false;
    static constexpr double pairs[2] = {0.375, 1.25};
};
template <> struct Points<6> {
    static constexpr bool zero = true;
    static constexpr double pairs[2] = {0.6875, 1.5};
};
template <> struct Points<7> {
    static constexpr bool zero = false;
    static constexpr double pairs[3] = {0.3125, 0.875, 1.625};
};
template <> struct Points<8> {
    static constexpr bool zero = true;
    static constexpr double pairs[3] = {0.5, 1, 2};
};

template <int A> constexpr int count_pairs() { return A == 1 ? 0 : (A - 1) / 2; }

// The finite points: zero where it is one of them, then each pair p, -p.
template <int A> struct Finite {
    double at[kMostPoints] = {};
    constexpr Finite() {
        int n = 0;
        if (Points<A>::zero) at[n++] = 0;
        for (int pair = 0; pair < count_pairs<A>(); ++pair) {
            at[n++] = Points<A>::pairs[pair];
            at[n++] = -Points<A>::pairs[pair];
        }
    }
};

// Rows of B': coefficients by ascending power, of the product over all finite points but number j.
template <int A> struct Filters {
    double row[kMostPoints][kMostPoints] = {};
    constexpr Filters() {
        const Finite<A> points{};
        for (int j = 0; j < A; ++j) {
            row[j][0] = 1;
            int degree = 0;
            for (int l = 0; l < A - 1; ++l) {
                if (l == j) continue;
                ++degree;
                for (int i = degree; i >= 0; --i) {
                    row[j][i] = (i > 0 ? row[j][i - 1] : 0) - points.at[l] * row[j][i];
                }
            }
        }
    }
};

// G of a kernel of `taps`: rows of powers over the product of the differences of the points.
template <int A> void kernel_rows_of(int taps, double (*rows)[kMostPoints]) {
    const Finite<A> points{};
    for (int j = 0; j < A - 1; ++j) {
        double differences = 1;
        for (int l = 0; l < A - 1; ++l) {
            if (l != j) differences *= points.at[j] - points.at[l];
        }
        double power = 1;
        for (int i = 0; i < taps; ++i, power *= points.at[j]) rows[j][i] = power / differences;
    }
    for (int i = 0; i < taps; ++i) rows[A - 1][i] = i == taps - 1 ? 1 : 0;
}

// Of a form of tiles; of the closed one of 1, whose only product is that of the tap in the middle, `taps` are 3.
inline void kernel_rows(int form, int taps, double (*rows)[kMostPoints]) {
    switch (form) {
        case 2:
        case 3:
            for (int j = 0; j < products_of(form); ++j) {
                for (int i = 0; i < 3; ++i) rows[j][i] = kClosedRows[form - 2][j][i];
            }
            return;
        case 4: return kernel_rows_of<4>(taps, rows);
        case 5: return kernel_rows_of<5>(taps, rows);
        case 6: return kernel_rows_of<6>(taps, rows);
        case 7: return kernel_rows_of<7>(taps, rows);
        case 8: return kernel_rows_of<8>(taps, rows);
        default:
            for (int i = 0; i < taps; ++i) rows[0][i] = i == taps / 2 ? 1 : 0;
    }
}

// A pair of points shares the even and the odd half of its sum.
template <class T, int A, int pair> ATROUS_INLINE void pairs_to_points(const Vec<T> *d, Vec<T> *e) {
    typedef Vec<T> V;
    static constexpr Filters<A> filters{};
    constexpr int zero = Points<A>::zero ? 1 : 0, j = zero + 2 * pair;
    V same = d[A - 2], other = T(filters.row[j][A - 3]) * d[A - 3];
    if constexpr (A - 4 >= zero) {
        ATROUS_UNROLL(8)
        for (int i = A - 4; i >= zero; i -= 2) same += T(filters.row[j][i]) * d[i];
    }
    if constexpr (A - 5 >= zero) {
        ATROUS_UNROLL(8)
        for (int i = A - 5; i >= zero; i -= 2) other += T(filters.row[j][i]) * d[i];
    }
    e[j] = same + other;
    e[j + 1] = same - other;
    if constexpr (pair + 1 < count_pairs<A>()) pairs_to_points<T, A, pair + 1>(d, e);
}

// e = B' d.
template <class T, int A> ATROUS_INLINE void to_points(const Vec<T> *d, Vec<T> *e) {
    typedef Vec<T> V;
    if constexpr (A == 1) {
        e[0] = d[0];
    } else if constexpr (A == 2) {
        e[0] = d[0] + d[1];
        e[1] = d[1];
        e[2] = d[0];
    } else if constexpr (A == 3) {
        const V other = d[2] - d[0], same = d[2] + d[0], less = T(0.5) * d[1], more = T(1.5) * d[1];
        e[0] = less + other;
        e[1] = less - other;
        e[2] = more + same;
        e[3] = more - same;
    } else {
        static constexpr Filters<A> filters{};
        if constexpr (Points<A>::zero) {
            V sum = d[A - 2];
            ATROUS_UNROLL(8)
            for (int i = A - 4; i >= 0; i -= 2) sum += T(filters.row[0][i]) * d[i];
            e[0] = sum;
        }
        pairs_to_points<T, A, 0>(d, e);
        V sum = d[A - 1];
        ATROUS_UNROLL(8)
        for (int i = A - 3; i >= 0; i -= 2) sum += T(filters.row[A - 1][i]) * d[i];
        e[A - 1] = sum;
    }
}

// y = T' e, the first M values.
template <class T, int A, int M> ATROUS_INLINE void from_points(const Vec<T> *e, Vec<T> *y) {
    typedef Vec<T> V;
    if constexpr (A == 1) {
        y[0] = e[0];
    } else if constexpr (A == 2) {
        y[0] = e[0] + e[1];
        y[1] = e[0] + e[2];
    } else if constexpr (A == 3) {
        const V other = e[0] - e[1], same = e[2] - e[3];
        y[0] = same + other;
        y[1] = T(0.5) * (e[0] + e[1]) + T(1.5) * (e[2] + e[3]);
        y[2] = same - other;
    } else {
        constexpr int zero = Points<A>::zero ? 1 : 0, pairs = count_pairs<A>();
        V same[pairs], other[pairs];
        ATROUS_UNROLL(8)
        for (int pair = 0; pair < pairs; ++pair) {
            same[pair] = e[zero + 2 * pair] + e[zero + 2 * pair + 1];
            other[pair] = e[zero + 2 * pair] - e[zero + 2 * pair + 1];
        }
        double power[pairs];
        ATROUS_UNROLL(8)
        for (int pair = 0; pair < pairs; ++pair) power[pair] = 1;
        ATROUS_UNROLL(8)
        for (int i = 0; i < M; ++i) {
            V sum = i % 2 == 0 ? same[0] * T(power[0]) : other[0] * T(power[0]);
            if constexpr (pairs > 1) {
                ATROUS_UNROLL(8)
                for (int pair = 1; pair < pairs; ++pair) {
                    sum += T(power[pair]) * (i % 2 == 0 ? same[pair] : other[pair]);
                }
            }
            if (i == 0 && zero) sum += e[0];
            if (i == M - 1) sum += e[A - 1];
            y[i] = sum;
            ATROUS_UNROLL(8)
            for (int pair = 0; pair < pairs; ++pair) power[pair] *= Points<A>::pairs[pair];
        }
    }
}

// e = T y, the transpose of `from_points`: what M gradients of outputs are to the A products.
template <class T, int A, int M> ATROUS_INLINE void to_products(const Vec<T> *y, Vec<T> *e) {
    typedef Vec<T> V;
    if constexpr (A == 1) {
        e[0] = y[0];
    } else if constexpr (A == 2) {
        e[0] = y[0] + y[1];
        e[1] = y[0];
        e[2] = y[1];
    } else if constexpr (A == 3) {
        const V other = y[0] - y[2], same = y[0] + y[2], less = T(0.5) * y[1], more = T(1.5) * y[1];
        e[0] = less + other;
        e[1] = less - other;
        e[2] = more + same;
        e[3] = more - same;
    } else {
        constexpr int zero = Points<A>::zero ? 1 : 0, pairs = count_pairs<A>();
        if constexpr (zero) e[0] = y[0];
        ATROUS_UNROLL(8)
        for (int pair = 0; pair < pairs; ++pair) {
            const double p = Points<A>::pairs[pair];
            V same = y[0], other = T(p) * y[1];
            double power = p * p;
            ATROUS_UNROLL(8)
            for (int i = 2; i < M; ++i, power *= p) {
                if (i % 2 == 0) {
                    same += T(power) * y[i];
                } else {
                    other += T(power) * y[i];
                }
            }
            e[zero + 2 * pair] = same + other;
            e[zero + 2 * pair + 1] = same - other;
        }
        e[A - 1] = y[M - 1];
    }
}

}  // namespace
#endif
