// Layer norm and RMS norm of rows, forward and backward, with the gradients of weight and bias.
//
// h = (x - mean) rstd, y = h w + b; rstd = 1 / sqrt(mean((x - mean)^2) + eps). RMS norm: mean = 0.
// With g = dy w:  dx = rstd (g - mean(g) - h mean(g h)),  dw = Σ_rows dy h,  db = Σ_rows dy;
// RMS norm: dx = rstd (g - h mean(g h)). The variance is taken about the mean, in a second pass.
//
// x, y, dy, dx (rows, columns int) with leading dimensions; w, b (columns) of the same dtype, each
// may be null; mean, rstd (rows) in the compute dtype, may be null in forward (mean is null, and b and
// db absent, in RMS norm). T: f32, f64, f16, bf16; computed in float, f64 in double.
//
// layer_norm_*, rms_norm_*            grid (rows), block 256; `keep` 1: the row waits in shared
//                                     memory, 16 ceil(columns sizeof(T) / 16) bytes
// layer_norm_warp_*, rms_norm_warp_*  a warp per row: grid ceil(rows / 4), block 128;
//                                     `keep` 1: 4 times that many bytes
// layer_norm_bwd_*, rms_norm_bwd_*    grid (slabs), block 256; block s does rows s, s + slabs, ...
//                                     and leaves its share of dw and db in partial[s], (slabs, 2,
//                                     columns), compute dtype, null if not wanted; `keep` 1: the
//                                     share is gathered in shared memory, 2 columns
//                                     sizeof(compute) bytes. dx may be dy or x
// ..._bwd_warp_*                      the same with a warp per row, block 128, keep 1 always:
//                                     8 columns sizeof(compute) bytes
// norm_fold_*                         dw, db (T; each may be null) = Σ_s partial[s]: grid
//                                     ceil(columns / 32), block 256
// The order of dw and db depends on slabs: choose it from the shape alone (min(rows, 256)).
// Bytes: forward 2 rows columns sizeof(T); backward 3, and 4 slabs columns sizeof(compute).
// Groups of 16 bytes of a row belong to threads in turn, whatever the alignment: order by shape.
// No atomics. Checked: host run against float64 NumPy, NVRTC. tests/cuda/test_kernels_rows.py
#define TG_HALF
#include "reduce.cuh"

template <int BLOCK, int TEAM, class C> TG_FN C tg_team_sum(C v, C* scratch) {
    if constexpr (TEAM == 32)
        return tg_warp_sum(v);
    else
        return tg_block_sum<BLOCK>(v, scratch);
}

// A row of n elements shared out among TEAM threads, read from memory or from its kept copy.
template <int TEAM, class T> struct tg_row {
    using C = tg_compute<T>;
    static constexpr int N = tg_wide<T>::n;
    const T* x;
    T* kept;
    int n;
    bool wide;
    TG_FN int first() const { return threadIdx.x % TEAM * N; }
    TG_FN static constexpr int step() { return TEAM * N; }
    TG_FN void read(C (&v)[N], int j) const {
        tg_read(v, kept ? kept : x, j, n, kept || wide, C(0));
    }
    TG_FN void read_first(C (&v)[N], int j) const {
        if (kept)
            tg_read_keep(v, kept, x, j, n, wide, C(0));
        else
            tg_read(v, x, j, n, wide, C(0));
    }
};

// export: layer_norm_f32 = norm<float, 256, 256, false>
// export: layer_norm_f64 = norm<double, 256, 256, false>
// export: layer_norm_f16 = norm<__half, 256, 256, false>
// export: layer_norm_bf16 = norm<__nv_bfloat16, 256, 256, false>
// export: layer_norm_warp_f32 = norm<float, 128, 32, false>
// export: layer_norm_warp_f64 = norm<double, 128, 32, false>
// export: layer_norm_warp_f16 = norm<__half, 128, 32, false>
// export: layer_norm_warp_bf16 = norm<__nv_bfloat16, 128, 32, false>
// export: rms_norm_f32 = norm<float, 256, 256, true>
// export: rms_norm_f64 = norm<double, 256, 256, true>
// export: rms_norm_f16 = norm<__half, 256, 256, true>
// export: rms_norm_bf16 = norm<__nv_bfloat16, 256, 256, true>
// export: rms_norm_warp_f32 = norm<float, 128, 32, true>
// export: rms_norm_warp_f64 = norm<double, 128, 32, true>
// export: rms_norm_warp_f16 = norm<__half, 128, 32, true>
// export: rms_norm_warp_bf16 = norm<__nv_bfloat16, 128, 32, true>
template <class T, int BLOCK, int TEAM, bool RMS>
__global__ void __launch_bounds__(BLOCK, 1) norm(
    const T* x, const T* __restrict__ weight, const T* __restrict__ bias, T* y,
    tg_compute<T>* __restrict__ mean, tg_compute<T>* __restrict__ rstd, i64 rows, int columns,
    i64 ld_x, i64 ld_y, tg_compute<T> eps, int keep) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n;
    CUDA_DYN_SHARED(T, kept);
    __shared__ C scratch[BLOCK / 32];
    const int team = threadIdx.x / TEAM;
    const i64 row = static_cast<i64>(blockIdx.x) * (BLOCK / TEAM) + team;
    if (row >= rows) return;
    const int padded = (columns + N - 1) / N * N;
    const T* x_row = x + row * ld_x;
    T* y_row = y + row * ld_y;
    const tg_row<TEAM, T> in{x_row, keep ? kept + team * padded : nullptr, columns,
                             tg_aligned(x_row)};
    C v[N], sum = C(0), squares = C(0), mu = C(0);
    for (int j = in.first(); j < columns; j += in.step()) {
        in.read_first(v, j);
#pragma unroll
        for (int k = 0; k < N; k++) sum += RMS ? v[k] * v[k] : v[k];
    }
    sum = tg_team_sum<BLOCK, TEAM>(sum, scratch);
    if constexpr (RMS) {
        squares = sum;
    } else {
        mu = sum / C(columns);
        for (int j = in.first(); j < columns; j += in.step()) {
            in.read(v, j);
#pragma unroll
            for (int k = 0; k < N; k++) {
                const C d = j + k < columns ? v[k] - mu : C(0);
                squares += d * d;
            }
        }
        squares = tg_team_sum<BLOCK, TEAM>(squares, scratch);
    }
    const C r = C(1) / sqrt(squares / C(columns) + eps);
    if (threadIdx.x % TEAM == 0) {
        if (mean) mean[row] = mu;
        if (rstd) rstd[row] = r;
    }
    const bool wide = tg_aligned(y_row), wide_w = tg_aligned(weight), wide_b = tg_aligned(bias);
    C w[N], b[N];
    for (int j = in.first(); j < columns; j += in.step()) {
        in.read(v, j);
        if (weight) tg_read(w, weight, j, columns, wide_w, C(0));
        if (bias) tg_read(b, bias, j, columns, wide_b, C(0));
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] = (v[k] - mu) * r;
            if (weight) v[k] *= w[k];
            if (bias) v[k] += b[k];
        }
        tg_write(y_row, v, j, columns, wide);
    }
}

// export: layer_norm_bwd_f32 = norm_bwd<float, 256, 256, false>
// export: layer_norm_bwd_f64 = norm_bwd<double, 256, 256, false>
// export: layer_norm_bwd_f16 = norm_bwd<__half, 256, 256, false>
// export: layer_norm_bwd_bf16 = norm_bwd<__nv_bfloat16, 256, 256, false>
// export: layer_norm_bwd_warp_f32 = norm_bwd<float, 128, 32, false>
// export: layer_norm_bwd_warp_f64 = norm_bwd<double, 128, 32, false>
// export: layer_norm_bwd_warp_f16 = norm_bwd<__half, 128, 32, false>
// export: layer_norm_bwd_warp_bf16 = norm_bwd<__nv_bfloat16, 128, 32, false>
// export: rms_norm_bwd_f32 = norm_bwd<float, 256, 256, true>
// export: rms_norm_bwd_f64 = norm_bwd<double, 256, 256, true>
// export: rms_norm_bwd_f16 = norm_bwd<__half, 256, 256, true>
// export: rms_norm_bwd_bf16 = norm_bwd<__nv_bfloat16, 256, 256, true>
// export: rms_norm_bwd_warp_f32 = norm_bwd<float, 128, 32, true>
// export: rms_norm_bwd_warp_f64 = norm_bwd<double, 128, 32, true>
// export: rms_norm_bwd_warp_f16 = norm_bwd<__half, 128, 32, true>
// export: rms_norm_bwd_warp_bf16 = norm_bwd<__nv_bfloat16, 128, 32, true>
template <class T, int BLOCK, int TEAM, bool RMS>
__global__ void __launch_bounds__(BLOCK, 1) norm_bwd(
    const T* dy, const T* x, const T* __restrict__ weight,
    const tg_compute<T>* __restrict__ mean, const tg_compute<T>* __restrict__ rstd, T* dx,
    tg_compute<T>* __restrict__ partial, i64 rows, int columns, i64 ld_dy, i64 ld_x, i64 ld_dx,
    int keep) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n, TEAMS = BLOCK / TEAM;
    CUDA_DYN_SHARED(C, shares);
    __shared__ C scratch[BLOCK / 32];
    const int team = threadIdx.x / TEAM;
    C* slab = partial ? partial + static_cast<i64>(blockIdx.x) * 2 * columns : nullptr;
    // Columns belong to one thread of the team each, so its share needs no barrier.
    C* share = !partial ? nullptr : keep ? shares + team * 2 * columns : slab;
    const bool wide_w = tg_aligned(weight);
    C d[N], v[N], w[N];
    const int first = threadIdx.x % TEAM * N, step = TEAM * N;
    for (int j = first; share && j < columns; j += step)
        for (int k = 0; k < N && j + k < columns; k++) share[j + k] = share[columns + j + k] = C(0);
    const i64 rounds = static_cast<i64>(gridDim.x) * TEAMS;
    for (i64 row = static_cast<i64>(blockIdx.x) * TEAMS + team; row < rows; row += rounds) {
        const T *dy_row = dy + row * ld_dy, *x_row = x + row * ld_x;
        T* dx_row = dx + row * ld_dx;
        const bool wide_dy = tg_aligned(dy_row), wide_x = tg_aligned(x_row);
        const C mu = RMS ? C(0) : mean[row], r = rstd[row];
        C g_sum = C(0), gh_sum = C(0);
        for (int j = first; j < columns; j += step) {
            tg_read(d, dy_row, j, columns, wide_dy, C(0));
            tg_read(v, x_row, j, columns, wide_x, mu);
            if (weight) tg_read(w, weight, j, columns, wide_w, C(0));
#pragma unroll
            for (int k = 0; k < N; k++) {
                const C h = (v[k] - mu) * r, g = weight ? d[k] * w[k] : d[k];
                g_sum += g;
                gh_sum += g * h;
                if (share && j + k < columns) {
                    share[j + k] += d[k] * h;
                    share[columns + j + k] += d[k];
                }
            }
        }
        gh_sum = tg_team_sum<BLOCK, TEAM>(gh_sum, scratch) / C(columns);
        if constexpr (RMS)
            g_sum = C(0);
        else
            g_sum = tg_team_sum<BLOCK, TEAM>(g_sum, scratch) / C(columns);
        const bool wide_dx = tg_aligned(dx_row);
        for (int j = first; j < columns; j += step) {
            tg_read(d, dy_row, j, columns, wide_dy, C(0));
            tg_read(v, x_row, j, columns, wide_x, mu);
            if (weight) tg_read(w, weight, j, columns, wide_w, C(0));
#pragma unroll
            for (int k = 0; k < N; k++) {
                const C h = (v[k] - mu) * r, g = weight ? d[k] * w[k] : d[k];
                v[k] = r * (g - g_sum - h * gh_sum);
            }
            tg_write(dx_row, v, j, columns, wide_dx);
        }
    }
    if (!partial || !keep) return;
    __syncthreads();
    for (int j = threadIdx.x; j < 2 * columns; j += BLOCK) {
        C sum = shares[j];
        for (int t = 1; t < TEAMS; t++) sum += shares[t * 2 * columns + j];
        slab[j] = sum;
    }
}

// export: norm_fold_f32 = norm_fold<float, 256>
// export: norm_fold_f64 = norm_fold<double, 256>
// export: norm_fold_f16 = norm_fold<__half, 256>
// export: norm_fold_bf16 = norm_fold<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) norm_fold(
    const tg_compute<T>* __restrict__ partial, T* __restrict__ dw, T* __restrict__ db, int slabs,
    int columns) {
    using C = tg_compute<T>;
    __shared__ C part[2][BLOCK / 32][32];
    const int x = threadIdx.x % 32, y = threadIdx.x / 32;
    const int column = blockIdx.x * 32 + x;
    C w = C(0), b = C(0);
    for (int s = y; column < columns && s < slabs; s += BLOCK / 32) {
        w += partial[2ll * s * columns + column];
        b += partial[(2ll * s + 1) * columns + column];
    }
    part[0][y][x] = w;
    part[1][y][x] = b;
    __syncthreads();
    T* out = y == 0 ? dw : db;
    if (y > 1 || column >= columns || !out) return;
    C sum = part[y][0][x];
    for (int k = 1; k < BLOCK / 32; k++) sum += part[y][k][x];
    out[column] = tg_store<T>(sum);
}
