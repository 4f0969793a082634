"""What the CUDA texts of elementwise formulas share: positions, repeated reads, whole numbers."""

HEAD = r"""
#ifndef TG_ELEMENTS
#define TG_ELEMENTS
// Division by a number known to the host: (mulhi(x, magic) + x) >> shift, for x < 2^31.
struct tg_divisor {
    u32 by, magic, shift;
};
struct tg_divisor_wide {
    u64 by;
};
TG_FN u32 tg_quotient(u32 x, tg_divisor d) { return (__umulhi(x, d.magic) + x) >> d.shift; }
TG_FN u64 tg_quotient(u64 x, tg_divisor_wide d) { return x / d.by; }

// The sizes of an array of at most 8 axes, the last axis first, and P operands' steps in elements.
template <int P> struct tg_view {
    using step = int;
    int axes;
    tg_divisor size[8];
    int steps[P][8];
};
template <int P> struct tg_view_wide {
    using step = i64;
    i64 axes;
    tg_divisor_wide size[8];
    i64 steps[P][8];
};
// Where the element i of every operand lies, in elements from its base.
template <int P, class V, class I>
TG_FN void tg_offsets(typename V::step (&at)[P], const V& view, I i) {
    using S = typename V::step;
#pragma unroll
    for (int k = 0; k < P; k++) at[k] = 0;
#pragma unroll
    for (int d = 0; d < 8; d++) {
        if (d == view.axes) break;
        const I q = tg_quotient(i, view.size[d]);
        const S r = static_cast<S>(i - q * static_cast<I>(view.size[d].by));
        i = q;
#pragma unroll
        for (int k = 0; k < P; k++) at[k] += r * view.steps[k][d];
    }
}
// N elements from column j on of a row that every row repeats; `wide`: in one 16-byte access.
template <int N, class T, class I>
TG_FN void tg_repeat(Vec<T, N>& v, const T* p, I j, I columns, bool wide) {
    if (wide) {
        v = tg_vec_load<N>(p + j);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) {
            v.v[k] = p[j];
            if (++j == columns) j = 0;
        }
    }
}
// The elements of N neighbours from row i, column j on, of which each row has one for all columns.
template <int N, class T, class I>
TG_FN void tg_spread(Vec<T, N>& v, const T* p, I i, I j, I columns, I rows, bool same) {
    T x = p[i];
#pragma unroll
    for (int k = 0; k < N; k++) {
        v.v[k] = x;
        if (!same && ++j == columns) {
            j = 0;
            if (++i < rows) x = p[i];
        }
    }
}

// Shifts by the width and beyond give 0, or the sign; a negative number of places is beyond.
template <class T> TG_FN T tg_shl(T a, T n) {
    const bool inside = static_cast<u64>(n) < 8 * sizeof(T);
    return inside ? static_cast<T>(static_cast<u64>(a) << static_cast<u64>(n)) : T(0);
}
template <class T> TG_FN T tg_shr(T a, T n) {
    const bool inside = static_cast<u64>(n) < 8 * sizeof(T);
    if (inside) return static_cast<T>(a >> n);
    return a < T(0) ? static_cast<T>(-1) : T(0);
}
// C's remainder, with the dividend's sign; 0 where it does not exist.
template <class T> TG_FN T tg_modulo(T a, T b) {
    if (b == T(0) || (T(-1) < T(0) && b == static_cast<T>(-1))) return T(0);
    return static_cast<T>(a % b);
}
#endif
"""
