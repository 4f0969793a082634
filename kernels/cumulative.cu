// Running sums, products, maxima and minima along an axis, from either end.
//
// out_j = x_0 ∘ ... ∘ x_j, with reverse 1: x_j ∘ ... ∘ x_{n-1}; a NaN stays (also in max and min).
// T: f32, f64, f16, bf16 (computed in float), i64 (also uint64: it wraps); max and min i64 signed.
//
// cumsum_rows_* cumprod_rows_* cummax_rows_* cummin_rows_*
//     along contiguous rows: x, out (rows, n), leading dimensions, out may be x.
//     grid (rows), block 256: a scan of the block per 256 groups of 16 bytes, and a carry.
// cumsum_columns_* ... along the middle axis of contiguous x, out (outer, n, inner): a thread walks
//     down a column. grid ceil(outer inner / 256) or fewer, block 256.
// Bytes: 2 elements sizeof(T). The order of the operations depends on n alone.
// Checked: host run against NumPy. tests/cuda/test_kernels_moves.py
#define TG_HALF
#include "reduce.cuh"

template <class F, class C> TG_FN C tg_identity() {
    if constexpr (tg_same<F, tg_plus>) return C(-0.0);  // 0 + -0 would lose the sign
    if constexpr (tg_same<F, tg_times>) return C(1);
    if constexpr (tg_is_float<C>::value) return tg_same<F, tg_larger> ? -tg_inf<C>() : tg_inf<C>();
    else return static_cast<C>(tg_same<F, tg_larger> ? 1ull << 63 : ~0ull >> 1);
}

// Elements first + s k of a row, s = -1 in reverse, the identity past the end.
template <int N, class T, class C>
TG_FN void tg_read_way(C (&v)[N], const T* p, i64 j, i64 n, bool reverse, bool wide, C fill) {
    if (!reverse) {
        tg_read(v, p, j, n, wide, fill);
    } else if (wide && j + N <= n) {
        const Vec<T, N> r = tg_vec_load<N>(p + (n - N - j));
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = tg_load(r.v[N - 1 - k]);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = j + k < n ? tg_load(p[n - 1 - j - k]) : fill;
    }
}
template <int N, class T, class C>
TG_FN void tg_write_way(T* p, const C (&v)[N], i64 j, i64 n, bool reverse, bool wide) {
    if (!reverse) {
        tg_write(p, v, j, n, wide);
    } else if (wide && j + N <= n) {
        Vec<T, N> r;
#pragma unroll
        for (int k = 0; k < N; k++) r.v[N - 1 - k] = tg_store<T>(v[k]);
        tg_vec_put(p + (n - N - j), r);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++)
            if (j + k < n) p[n - 1 - j - k] = tg_store<T>(v[k]);
    }
}

// export: cumsum_rows_f32 = cumulative_rows<float, tg_plus, 256>
// export: cumsum_rows_f64 = cumulative_rows<double, tg_plus, 256>
// export: cumsum_rows_f16 = cumulative_rows<__half, tg_plus, 256>
// export: cumsum_rows_bf16 = cumulative_rows<__nv_bfloat16, tg_plus, 256>
// export: cumsum_rows_i64 = cumulative_rows<unsigned long long, tg_plus, 256>
// export: cumprod_rows_f32 = cumulative_rows<float, tg_times, 256>
// export: cumprod_rows_f64 = cumulative_rows<double, tg_times, 256>
// export: cumprod_rows_f16 = cumulative_rows<__half, tg_times, 256>
// export: cumprod_rows_bf16 = cumulative_rows<__nv_bfloat16, tg_times, 256>
// export: cumprod_rows_i64 = cumulative_rows<unsigned long long, tg_times, 256>
// export: cummax_rows_f32 = cumulative_rows<float, tg_larger, 256>
// export: cummax_rows_f64 = cumulative_rows<double, tg_larger, 256>
// export: cummax_rows_f16 = cumulative_rows<__half, tg_larger, 256>
// export: cummax_rows_bf16 = cumulative_rows<__nv_bfloat16, tg_larger, 256>
// export: cummax_rows_i64 = cumulative_rows<long long, tg_larger, 256>
// export: cummin_rows_f32 = cumulative_rows<float, tg_smaller, 256>
// export: cummin_rows_f64 = cumulative_rows<double, tg_smaller, 256>
// export: cummin_rows_f16 = cumulative_rows<__half, tg_smaller, 256>
// export: cummin_rows_bf16 = cumulative_rows<__nv_bfloat16, tg_smaller, 256>
// export: cummin_rows_i64 = cumulative_rows<long long, tg_smaller, 256>
template <class T, class F, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) cumulative_rows(
    const T* x, T* out, i64 n, i64 ld_x, i64 ld_out, int reverse) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n;
    __shared__ C warps[BLOCK / 32];
    const F f{};
    const C one = tg_identity<F, C>();
    const T* from = x + blockIdx.x * ld_x;
    T* to = out + blockIdx.x * ld_out;
    // In reverse the groups end at n, so it is that end which must be aligned.
    const bool wide_x = tg_aligned(reverse ? from + n : from);
    const bool wide_out = tg_aligned(reverse ? to + n : to);
    C carry = one;
    for (i64 start = 0; start < n; start += BLOCK * N) {
        const i64 j = start + static_cast<i64>(threadIdx.x) * N;
        C v[N];
        tg_read_way(v, from, j, n, reverse, wide_x, one);
#pragma unroll
        for (int k = 1; k < N; k++) v[k] = f(v[k - 1], v[k]);
        const C warp = tg_warp_scan(f, v[N - 1]);
        C before = __shfl_up_sync(TG_FULL, warp, 1);
        if (threadIdx.x % 32 == 0) before = one;
        __syncthreads();
        if (threadIdx.x % 32 == 31) warps[threadIdx.x / 32] = warp;
        __syncthreads();
        C base = carry;
        for (int w = 0; w < BLOCK / 32; w++) {
            if (w == static_cast<int>(threadIdx.x / 32)) base = carry;
            carry = f(carry, warps[w]);
        }
        before = f(base, before);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = f(before, v[k]);
        tg_write_way(to, v, j, n, reverse, wide_out);
    }
}

// export: cumsum_columns_f32 = cumulative_columns<float, tg_plus, 256>
// export: cumsum_columns_f64 = cumulative_columns<double, tg_plus, 256>
// export: cumsum_columns_f16 = cumulative_columns<__half, tg_plus, 256>
// export: cumsum_columns_bf16 = cumulative_columns<__nv_bfloat16, tg_plus, 256>
// export: cumsum_columns_i64 = cumulative_columns<unsigned long long, tg_plus, 256>
// export: cumprod_columns_f32 = cumulative_columns<float, tg_times, 256>
// export: cumprod_columns_f64 = cumulative_columns<double, tg_times, 256>
// export: cumprod_columns_f16 = cumulative_columns<__half, tg_times, 256>
// export: cumprod_columns_bf16 = cumulative_columns<__nv_bfloat16, tg_times, 256>
// export: cumprod_columns_i64 = cumulative_columns<unsigned long long, tg_times, 256>
// export: cummax_columns_f32 = cumulative_columns<float, tg_larger, 256>
// export: cummax_columns_f64 = cumulative_columns<double, tg_larger, 256>
// export: cummax_columns_f16 = cumulative_columns<__half, tg_larger, 256>
// export: cummax_columns_bf16 = cumulative_columns<__nv_bfloat16, tg_larger, 256>
// export: cummax_columns_i64 = cumulative_columns<long long, tg_larger, 256>
// export: cummin_columns_f32 = cumulative_columns<float, tg_smaller, 256>
// export: cummin_columns_f64 = cumulative_columns<double, tg_smaller, 256>
// export: cummin_columns_f16 = cumulative_columns<__half, tg_smaller, 256>
// export: cummin_columns_bf16 = cumulative_columns<__nv_bfloat16, tg_smaller, 256>
// export: cummin_columns_i64 = cumulative_columns<long long, tg_smaller, 256>
template <class T, class F, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) cumulative_columns(
    const T* x, T* out, i64 outer, i64 n, i64 inner, int reverse) {
    using C = tg_compute<T>;
    const F f{};
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    i64 c = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x;
    for (; c < outer * inner; c += stride) {
        const i64 base = c / inner * n * inner + c % inner;
        C run = tg_identity<F, C>();
        for (i64 j = 0; j < n; j++) {
            const i64 at = base + (reverse ? n - 1 - j : j) * inner;
            run = f(run, tg_load(x[at]));
            out[at] = tg_store<T>(run);
        }
    }
}
