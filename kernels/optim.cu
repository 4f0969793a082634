// Optimizer steps over a flat bucket, one launch each, and the norm of the gradients before them.
//
// g = factor grad, then, in the order of operations of tensorgrad/optim (each rounded once: the
// same bits as its formulas on NumPy):
//   sgd       p - lr (g + wd p)                                          scalars: lr wd
//   momentum  v = mom v + gain (g + wd p); p - lr v                      lr mom gain wd
//   nag       g = g + wd p; v = mom v + g; p - lr (g + mom v)            lr mom wd
//   adam      g = g + wd p; m = m + c1 (g - m); v = beta2 v + c2 (g g);
//             p - rate (m / (sqrt(v) + eps))                             rate c1 beta2 c2 eps wd
//   adamw     p = p shrink, then as adam, g as it is                     rate c1 beta2 c2 eps shrink
// p, m, v (n) of the master dtype P (f32, f64); grad and copy of dtype G, which is P, or f16 or
// bf16 under f32. copy, null or the rounded new p, is written in the same pass. scalars: P, in
// device memory; factor: double in device memory, null is 1 (clipping and loss scale); skip: int in
// device memory, null is 0: if it is not 0 nothing is written.
//
// Names: sgd_f32, sgd_f64, sgd_f32_f16, sgd_f32_bf16 (master, then gradient); momentum, nag, adam,
// adamw likewise. All take (p, grad, copy, m, v, scalars, factor, skip, n), m and v null where
// unused (momentum and nag keep theirs in m).
// Launch: block 256, grid ceil(n / 1024) or fewer (the kernel walks on).
// Bytes: adam f32 28 n, with bf16 gradient and copy 28 n; accesses of 16 bytes where aligned.
//
// square_sum_*: partial[b] = Σ g^2 of block b's elements in double (where f32 squares neither
//   overflow nor vanish; f64 gradients beyond 1e154 do). block 512, grid (blocks): choose it from n alone, min(ceil(n / 8192), 1024), for
//   it fixes the order. Several buckets write side by side into one array of partials.
// clip_factor: grid 1, block 256, over all partials:
//   norm = inv sqrt(Σ partial), factor = inv min(1, max_norm / (norm + 1e-6)), inv = *inverse_scale
//   (null: 1), max_norm by value (inf: no clipping); skip = 1 unless norm is finite, else 0.
// Checked: host run, bit for bit against the formulas. tests/cuda/test_kernels_optim.py
#define TG_HALF
#include "reduce.cuh"

template <class C> struct tg_state {
    C p, m, v;
};

struct tg_sgd {
    static constexpr int moments = 0;
    template <class C> TG_FN static void step(tg_state<C>& a, C g, const C* s) {
        a.p = a.p - s[0] * (g + s[1] * a.p);
    }
};
struct tg_momentum {
    static constexpr int moments = 1;
    template <class C> TG_FN static void step(tg_state<C>& a, C g, const C* s) {
        a.m = s[1] * a.m + s[2] * (g + s[3] * a.p);
        a.p = a.p - s[0] * a.m;
    }
};
struct tg_nag {
    static constexpr int moments = 1;
    template <class C> TG_FN static void step(tg_state<C>& a, C g, const C* s) {
        g = g + s[2] * a.p;
        a.m = s[1] * a.m + g;
        a.p = a.p - s[0] * (g + s[1] * a.m);
    }
};
struct tg_adam {
    static constexpr int moments = 2;
    template <class C> TG_FN static void move(tg_state<C>& a, C g, const C* s) {
        a.m = a.m + s[1] * (g - a.m);
        a.v = s[2] * a.v + s[3] * (g * g);
        a.p = a.p - s[0] * (a.m / (sqrt(a.v) + s[4]));
    }
    template <class C> TG_FN static void step(tg_state<C>& a, C g, const C* s) {
        move(a, g + s[5] * a.p, s);
    }
};
struct tg_adamw {
    static constexpr int moments = 2;
    template <class C> TG_FN static void step(tg_state<C>& a, C g, const C* s) {
        a.p = a.p * s[5];
        tg_adam::move(a, g, s);
    }
};

// export: sgd_f32 = optim_step<tg_sgd, float, float, 256>
// export: sgd_f64 = optim_step<tg_sgd, double, double, 256>
// export: sgd_f32_f16 = optim_step<tg_sgd, float, __half, 256>
// export: sgd_f32_bf16 = optim_step<tg_sgd, float, __nv_bfloat16, 256>
// export: momentum_f32 = optim_step<tg_momentum, float, float, 256>
// export: momentum_f64 = optim_step<tg_momentum, double, double, 256>
// export: momentum_f32_f16 = optim_step<tg_momentum, float, __half, 256>
// export: momentum_f32_bf16 = optim_step<tg_momentum, float, __nv_bfloat16, 256>
// export: nag_f32 = optim_step<tg_nag, float, float, 256>
// export: nag_f64 = optim_step<tg_nag, double, double, 256>
// export: nag_f32_f16 = optim_step<tg_nag, float, __half, 256>
// export: nag_f32_bf16 = optim_step<tg_nag, float, __nv_bfloat16, 256>
// export: adam_f32 = optim_step<tg_adam, float, float, 256>
// export: adam_f64 = optim_step<tg_adam, double, double, 256>
// export: adam_f32_f16 = optim_step<tg_adam, float, __half, 256>
// export: adam_f32_bf16 = optim_step<tg_adam, float, __nv_bfloat16, 256>
// export: adamw_f32 = optim_step<tg_adamw, float, float, 256>
// export: adamw_f64 = optim_step<tg_adamw, double, double, 256>
// export: adamw_f32_f16 = optim_step<tg_adamw, float, __half, 256>
// export: adamw_f32_bf16 = optim_step<tg_adamw, float, __nv_bfloat16, 256>
template <class RULE, class P, class G, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) optim_step(
    P* __restrict__ p, const G* __restrict__ grad, G* __restrict__ copy, P* __restrict__ m,
    P* __restrict__ v, const P* __restrict__ scalars, const double* __restrict__ factor,
    const int* __restrict__ skip, i64 n) {
    constexpr int N = 4, SCALARS = 6;
    if (skip && *skip) return;
    P s[SCALARS];
    const int count = RULE::moments == 2 ? 6 : RULE::moments + 2 + tg_same<RULE, tg_momentum>;
#pragma unroll
    for (int k = 0; k < SCALARS; k++) s[k] = k < count ? scalars[k] : P(0);
    const P scale = factor ? static_cast<P>(*factor) : P(1);
    const bool wide = tg_aligned_by<N>(p) && tg_aligned_by<N>(grad) && tg_aligned_by<N>(copy) &&
                      tg_aligned_by<N>(m) && tg_aligned_by<N>(v);
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK * N;
    for (i64 j = (static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x) * N; j < n; j += stride) {
        P a[N], g[N], b[N] = {}, c[N] = {};
        tg_read(a, p, j, n, wide, P(0));
        tg_read(g, grad, j, n, wide, P(0));
        if constexpr (RULE::moments > 0) tg_read(b, m, j, n, wide, P(0));
        if constexpr (RULE::moments > 1) tg_read(c, v, j, n, wide, P(0));
#pragma unroll
        for (int k = 0; k < N; k++) {
            tg_state<P> state{a[k], b[k], c[k]};
            RULE::step(state, factor ? g[k] * scale : g[k], s);
            a[k] = state.p;
            b[k] = state.m;
            c[k] = state.v;
        }
        tg_write(p, a, j, n, wide);
        if constexpr (RULE::moments > 0) tg_write(m, b, j, n, wide);
        if constexpr (RULE::moments > 1) tg_write(v, c, j, n, wide);
        if (copy) tg_write(copy, a, j, n, wide);
    }
}

// export: square_sum_f32 = square_sum<float, 512>
// export: square_sum_f64 = square_sum<double, 512>
// export: square_sum_f16 = square_sum<__half, 512>
// export: square_sum_bf16 = square_sum<__nv_bfloat16, 512>
template <class G, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) square_sum(
    const G* __restrict__ grad, double* __restrict__ partial, i64 n) {
    using C = tg_compute<G>;
    constexpr int N = tg_wide<G>::n;
    __shared__ double scratch[BLOCK / 32];
    const bool wide = tg_aligned(grad);
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK * N;
    double sum = 0;
    for (i64 j = (static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x) * N; j < n; j += stride) {
        C g[N];
        tg_read(g, grad, j, n, wide, C(0));
#pragma unroll
        for (int k = 0; k < N; k++) sum += static_cast<double>(g[k]) * static_cast<double>(g[k]);
    }
    sum = tg_block_sum<BLOCK>(sum, scratch);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

extern "C" __global__ void clip_factor(
    const double* __restrict__ partial, i64 count, double max_norm,
    const double* __restrict__ inverse_scale, double* __restrict__ norm,
    double* __restrict__ factor, int* __restrict__ skip) {
    __shared__ double scratch[256 / 32];
    double sum = 0;
    for (i64 k = threadIdx.x; k < count; k += 256) sum += partial[k];
    sum = tg_block_sum<256>(sum, scratch);
    if (threadIdx.x != 0) return;
    const double inverse = inverse_scale ? *inverse_scale : 1.0;
    const double found = inverse * sqrt(sum), ratio = max_norm / (found + 1e-6);
    *norm = found;
    *factor = inverse * (ratio > 1.0 ? 1.0 : ratio);
    *skip = tg_isfinite(found) ? 0 : 1;
}
