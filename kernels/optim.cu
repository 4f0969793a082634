// The norm of many gradients and what they are to be multiplied by, without a look of the host.
//
// The updates themselves are formulas of tensorgrad/optim, one generated kernel a bucket and step;
// they read the factor (and the flag) from where clip_factor left it.
//
// square_sum_*: Σ g^2 of block b's elements in double, as three sums at partial[3 b]: of g^2, of
//   (g 2^-600)^2 where |g| > 2^480, of (g 2^600)^2 where |g| < 2^-480: no finite gradient overflows
//   or vanishes (only f64 has such; Blue, "A portable Fortran program to find the Euclidean norm of
//   a vector", 1978). grad (n); block 512, grid (blocks): choose it from n alone,
//   min(ceil(n / 8192), 1024), for it fixes the order. Several arrays write side by side into one
//   array of partials. Bytes: n sizeof(G), 16 at a time where aligned.
// clip_factor: all partials (3 count) at once; grid 1, block 256:
//   norm = inv sqrt(Σ g^2), factor = inv min(1, max_norm / (norm + 1e-6)), inv = *inverse_scale
//   (null: 1); max_norm is a number (inf: no clipping), or *limit where that is not null;
//   skip = 1 unless norm is finite, else 0.
//   found (4 doubles): norm, factor, skip, and factor and skip again as two floats.
// Checked: host run, against NumPy. tests/cuda/test_kernels_optim.py
#define TG_HALF
#include "reduce.cuh"

inline constexpr double TG_LARGE = 0x1p480, TG_SMALL = 0x1p-480, TG_UP = 0x1p600, TG_DOWN = 0x1p-600;

// export: square_sum_f32 = square_sum<float, 512>
// export: square_sum_f64 = square_sum<double, 512>
// export: square_sum_f16 = square_sum<__half, 512>
// export: square_sum_bf16 = square_sum<__nv_bfloat16, 512>
template <class G, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) square_sum(
    const G* __restrict__ grad, double* __restrict__ partial, i64 n) {
    using C = tg_compute<G>;
    constexpr int N = tg_wide<G>::n, SUMS = tg_same<G, double> ? 3 : 1;
    __shared__ double scratch[BLOCK / 32];
    const bool wide = tg_aligned(grad);
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK * N;
    double sums[3] = {};
    for (i64 j = (static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x) * N; j < n; j += stride) {
        C g[N];
        tg_read(g, grad, j, n, wide, C(0));
#pragma unroll
        for (int k = 0; k < N; k++) {
            const double v = static_cast<double>(g[k]), size = fabs(v);
            const bool large = SUMS > 1 && size > TG_LARGE, small = SUMS > 1 && size < TG_SMALL;
            const double scaled = large ? v * TG_DOWN : small ? v * TG_UP : v;
            const double square = scaled * scaled;
            sums[0] += large || small ? 0 : square;
            sums[1] += large ? square : 0;
            sums[2] += small ? square : 0;
        }
    }
#pragma unroll
    for (int k = 0; k < SUMS; k++) sums[k] = tg_block_sum<BLOCK>(sums[k], scratch);
    if (threadIdx.x != 0) return;
    for (int k = 0; k < 3; k++) partial[static_cast<i64>(blockIdx.x) * 3 + k] = sums[k];
}

extern "C" __global__ void clip_factor(
    const double* __restrict__ partial, i64 count, double max_norm,
    const double* __restrict__ limit, const double* __restrict__ inverse_scale,
    double* __restrict__ found) {
    __shared__ double scratch[256 / 32];
    double sums[3] = {};
    for (i64 b = threadIdx.x; b < count; b += 256)
        for (int k = 0; k < 3; k++) sums[k] += partial[3 * b + k];
    for (int k = 0; k < 3; k++) sums[k] = tg_block_sum<256>(sums[k], scratch);
    if (threadIdx.x != 0) return;
    const double middle = sqrt(sums[0]), small = sqrt(sums[2]) * TG_DOWN;
    double norm = small;
    if (sums[1] != 0) norm = sqrt(sums[1] + sums[0] * TG_DOWN * TG_DOWN) * TG_UP;
    else if (sums[0] != 0) norm = middle * sqrt(1 + small / middle * (small / middle));
    const double inverse = inverse_scale ? *inverse_scale : 1.0;
    norm = inverse * norm;
    const double ratio = (limit ? *limit : max_norm) / (norm + 1e-6);
    const double factor = inverse * (ratio > 1.0 ? 1.0 : ratio);
    const int skip = tg_isfinite(norm) ? 0 : 1;
    found[0] = norm;
    found[1] = factor;
    found[2] = skip;
    float* narrow = reinterpret_cast<float*>(found + 3);
    narrow[0] = static_cast<float>(factor);
    narrow[1] = static_cast<float>(skip);
}
