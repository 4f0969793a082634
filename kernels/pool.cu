// Pooling over windows of three spatial axes (windows.cuh) of contiguous rows of images.
//
// x, out of spread: (rows, sizes); y, ct, tap: (rows, counts). T: f32, f64, f16, bf16 (sums in
// float). P, the type of places in a window, is u8 or i32; a place is a number in row-major order.
//
// max_pool_T:       y = the largest of each window, NaN where it has one, -inf where it is empty.
// max_taps_T_P:     tap = the place of the first element equal to y, or NaN; 0 if none is.
// pool_pick_T_P:    y = the element of each window at its place, 0 outside of x.
// pool_spread_T_P:  out = the sum of ct over the windows whose place is here.
// avg_pool_T:       y = the sum of each window / its count: divisor, or if that is 0 the elements
//                   that exist, with `padded` those of the padding (`low` on both sides) as well.
// avg_spread_T:     out = the sum of ct / count over the windows that have this element.
//
// A thread makes element i of n = rows * (elements of a row) < 2^31 of the result and walks on by
// the grid; longer ones are several launches. grid ceil(n / 256) or fewer, block 256.
// Bytes: x and y once each, with windows that overlap from the caches; spread reads ct and tap.
// Sums go through a window's elements in row-major order, whatever the grid.
// Checked: host run against NumPy, window by window. tests/cuda/test_pool.py
#define TG_HALF
#include "common.cuh"
#include "windows.cuh"

// What every kernel begins with: the row, and where in it.
#define TG_EACH(i, n)                                                        \
    for (u32 i = blockIdx.x * BLOCK + threadIdx.x; i < (n); i += gridDim.x * BLOCK)
struct tg_spot {
    u32 row;
    int at[3];
};
TG_FN tg_spot tg_where(u32 i, const tg_by (&by)[3]) {
    tg_spot s;
    s.row = static_cast<u32>(tg_split(i, by[0]));
    s.at[0] = tg_split(i, by[1]);
    s.at[1] = tg_split(i, by[2]);
    s.at[2] = static_cast<int>(i);
    return s;
}
// f(place in x, number in the window) for the elements that exist of the window at s.
template <class F> TG_FN void tg_elements(const tg_windows& w, const tg_spot& s, F f) {
    const i64 row = static_cast<i64>(s.row) * w.sizes[0].by;
    for (int k0 = 0; k0 < w.axis[0].kernel; k0++) {
        const int p0 = tg_place(w.axis[0], s.at[0], k0);
        if (p0 < 0) continue;
        for (int k1 = 0; k1 < w.axis[1].kernel; k1++) {
            const int p1 = tg_place(w.axis[1], s.at[1], k1);
            if (p1 < 0) continue;
            const i64 line = row + (static_cast<i64>(p0) * w.axis[1].size + p1) * w.axis[2].size;
            const int number = (k0 * w.axis[1].kernel + k1) * w.axis[2].kernel;
            for (int k2 = 0; k2 < w.axis[2].kernel; k2++) {
                const int p2 = tg_place(w.axis[2], s.at[2], k2);
                if (p2 >= 0 && !f(line + p2, number + k2)) return;
            }
        }
    }
}
// f(place in y, number in the window, the window) for the windows that have the element at s.
template <class F> TG_FN void tg_having(const tg_windows& w, const tg_spot& s, F f) {
    const i64 row = static_cast<i64>(s.row) * w.counts[0].by;
    for (int k0 = 0; k0 < w.axis[0].kernel; k0++) {
        const int q0 = tg_window(w.axis[0], s.at[0], k0);
        if (q0 < 0) continue;
        for (int k1 = 0; k1 < w.axis[1].kernel; k1++) {
            const int q1 = tg_window(w.axis[1], s.at[1], k1);
            if (q1 < 0) continue;
            const i64 line = row + (static_cast<i64>(q0) * w.axis[1].count + q1) * w.axis[2].count;
            const int number = (k0 * w.axis[1].kernel + k1) * w.axis[2].kernel;
            for (int k2 = 0; k2 < w.axis[2].kernel; k2++) {
                const int q2 = tg_window(w.axis[2], s.at[2], k2);
                if (q2 >= 0) f(line + q2, number + k2, q0, q1, q2);
            }
        }
    }
}
// How many elements window q of an axis counts.
TG_FN int tg_length(const tg_axis& a, int q, int padded) {
    const int start = q * a.stride - a.low, stop = start + a.kernel;
    const int end = padded ? a.size + a.low : a.size;
    return (stop < end ? stop : end) - (padded || start > 0 ? start : 0);
}
template <class C>
TG_FN C tg_count(const tg_windows& w, int q0, int q1, int q2, int padded, int divisor) {
    if (divisor) return static_cast<C>(divisor);
    return static_cast<C>(static_cast<i64>(tg_length(w.axis[0], q0, padded)) *
                          tg_length(w.axis[1], q1, padded) * tg_length(w.axis[2], q2, padded));
}

// export: max_pool_f32 = max_pool<float, 256>
// export: max_pool_f64 = max_pool<double, 256>
// export: max_pool_f16 = max_pool<__half, 256>
// export: max_pool_bf16 = max_pool<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) max_pool(const T* x, T* y, u32 n, tg_windows w) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        C best = -tg_inf<C>();
        tg_elements(w, tg_where(i, w.counts), [&](i64 at, int) {
            best = tg_maximum(best, static_cast<C>(tg_load(x[at])));
            return true;
        });
        y[i] = tg_store<T>(best);
    }
}

// export: max_taps_f32_u8 = max_taps<float, unsigned char, 256>
// export: max_taps_f32_i32 = max_taps<float, int, 256>
// export: max_taps_f64_u8 = max_taps<double, unsigned char, 256>
// export: max_taps_f64_i32 = max_taps<double, int, 256>
// export: max_taps_f16_u8 = max_taps<__half, unsigned char, 256>
// export: max_taps_f16_i32 = max_taps<__half, int, 256>
// export: max_taps_bf16_u8 = max_taps<__nv_bfloat16, unsigned char, 256>
// export: max_taps_bf16_i32 = max_taps<__nv_bfloat16, int, 256>
template <class T, class P, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) max_taps(
    const T* x, const T* y, P* tap, u32 n, tg_windows w) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        const C best = tg_load(y[i]);
        int found = 0;
        tg_elements(w, tg_where(i, w.counts), [&](i64 at, int number) {
            const C v = tg_load(x[at]);
            const bool hit = v == best || tg_isnan(v);
            if (hit) found = number;
            return !hit;
        });
        tap[i] = static_cast<P>(found);
    }
}

// export: pool_pick_f32_u8 = pool_pick<float, unsigned char, 256>
// export: pool_pick_f32_i32 = pool_pick<float, int, 256>
// export: pool_pick_f64_u8 = pool_pick<double, unsigned char, 256>
// export: pool_pick_f64_i32 = pool_pick<double, int, 256>
// export: pool_pick_f16_u8 = pool_pick<__half, unsigned char, 256>
// export: pool_pick_f16_i32 = pool_pick<__half, int, 256>
// export: pool_pick_bf16_u8 = pool_pick<__nv_bfloat16, unsigned char, 256>
// export: pool_pick_bf16_i32 = pool_pick<__nv_bfloat16, int, 256>
template <class T, class P, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) pool_pick(
    const T* x, const P* tap, T* y, u32 n, tg_windows w) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        const tg_spot s = tg_where(i, w.counts);
        u32 number = static_cast<u32>(tap[i]);
        const int k0 = tg_split(number, w.kernels[1]), k1 = tg_split(number, w.kernels[2]);
        const int p0 = tg_place(w.axis[0], s.at[0], k0), p1 = tg_place(w.axis[1], s.at[1], k1);
        const int p2 = tg_place(w.axis[2], s.at[2], static_cast<int>(number));
        const i64 row = static_cast<i64>(s.row) * w.sizes[0].by;
        const i64 at = row + (static_cast<i64>(p0) * w.axis[1].size + p1) * w.axis[2].size + p2;
        y[i] = p0 < 0 || p1 < 0 || p2 < 0 ? tg_store<T>(C(0)) : x[at];
    }
}

// export: pool_spread_f32_u8 = pool_spread<float, unsigned char, 256>
// export: pool_spread_f32_i32 = pool_spread<float, int, 256>
// export: pool_spread_f64_u8 = pool_spread<double, unsigned char, 256>
// export: pool_spread_f64_i32 = pool_spread<double, int, 256>
// export: pool_spread_f16_u8 = pool_spread<__half, unsigned char, 256>
// export: pool_spread_f16_i32 = pool_spread<__half, int, 256>
// export: pool_spread_bf16_u8 = pool_spread<__nv_bfloat16, unsigned char, 256>
// export: pool_spread_bf16_i32 = pool_spread<__nv_bfloat16, int, 256>
template <class T, class P, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) pool_spread(
    const T* ct, const P* tap, T* out, u32 n, tg_windows w) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        C sum = C(0);
        tg_having(w, tg_where(i, w.sizes), [&](i64 at, int number, int, int, int) {
            if (static_cast<int>(tap[at]) == number) sum += static_cast<C>(tg_load(ct[at]));
        });
        out[i] = tg_store<T>(sum);
    }
}

// export: avg_pool_f32 = avg_pool<float, 256>
// export: avg_pool_f64 = avg_pool<double, 256>
// export: avg_pool_f16 = avg_pool<__half, 256>
// export: avg_pool_bf16 = avg_pool<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) avg_pool(
    const T* x, T* y, u32 n, tg_windows w, int padded, int divisor) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        const tg_spot s = tg_where(i, w.counts);
        C sum = C(0);
        tg_elements(w, s, [&](i64 at, int) {
            sum += static_cast<C>(tg_load(x[at]));
            return true;
        });
        y[i] = tg_store<T>(sum / tg_count<C>(w, s.at[0], s.at[1], s.at[2], padded, divisor));
    }
}

// export: avg_spread_f32 = avg_spread<float, 256>
// export: avg_spread_f64 = avg_spread<double, 256>
// export: avg_spread_f16 = avg_spread<__half, 256>
// export: avg_spread_bf16 = avg_spread<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) avg_spread(
    const T* ct, T* out, u32 n, tg_windows w, int padded, int divisor) {
    using C = tg_compute<T>;
    TG_EACH(i, n) {
        C sum = C(0);
        tg_having(w, tg_where(i, w.sizes), [&](i64 at, int, int q0, int q1, int q2) {
            sum += static_cast<C>(tg_load(ct[at])) / tg_count<C>(w, q0, q1, q2, padded, divisor);
        });
        out[i] = tg_store<T>(sum);
    }
}
