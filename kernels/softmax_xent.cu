// Softmax cross-entropy of rows of logits, with the gradient of the logits in the same pass.
//
// Per row x of `columns` logits with label y, m = max x, s = Σ exp(x_j - m), smoothing e:
//   loss = log s - (1-e) (x_y - m) - e mean_j (x_j - m)
//   dlogits_j = scale (exp(x_j - m) / s - (1-e) [j = y] - e / columns)
// Rows with label `ignore` give loss 0 and dlogits 0 and are not read. A label that is not in
// 0 .. columns-1 gives loss NaN and dlogits 0 and sets the flag (tg_raise); nothing is read at it.
//
// softmax_xent_*        loss (compute dtype, one per row, or null), dlogits (T, or null; may be the
//                       logits), total = s and shift = m (compute dtype, or null)
// softmax_xent_pull_*   dlogits from total and shift of the first
// softmax_xent_small_*  the same for few rows, with count, the scale 1 / count and the mean
// softmax_xent_scale_*  count = number of labels that are not `ignore`, scale = ct / count
// softmax_xent_mean_*   mean = Σ loss / count (NaN for none)
// T: f32, f64, f16, bf16; computed in float, f64 in double. Labels i64, columns int. scale, count,
// ct: compute dtype in device memory, so that they may change under a captured graph, as `ignore`
// (i64) may; ct may be null: 1.
//
// Launch: softmax_xent_*: grid (rows), block 512; softmax_xent_wide_* (not f64): block 1024, for
// long rows.
// The first `keep` columns of the row (a multiple of 16 / sizeof(T)) wait in shared memory, keep
// sizeof(T) bytes, for the second pass; the others are read again, from L2. keep does not change a
// bit of the result.
// softmax_xent_warp_* (columns <= 1024): a warp per row, grid ceil(rows / 4), block 128, keep 0.
// _small (rows <= 512, columns <= 1024): a warp per row in turn, grid 1, block 512: one launch for
// the loss of a small net; the bits are those of _scale, _warp and _mean.
// _pull: grid (rows), block 512. _scale, _mean: grid 1, block 1024. Any leading dimensions; 16-byte
// accesses in rows that are aligned to 16 bytes (base, and ld sizeof(T)), else by element.
// Bytes: rows columns sizeof(T) read and written once; without keep, read once more.
//
// The row is cut into groups of 16 bytes, group g belonging to thread g mod (threads of the row),
// whatever its alignment, so the order of the sum depends on the shape alone.
// Checked: host run against float64 NumPy and the NumPy backend, NVRTC:
// tests/cuda/test_kernels_rows.py
#define TG_HALF
#include "reduce.cuh"

// The largest value so far and Σ exp(x - it).
template <class C> struct tg_soft {
    C m, s;
};
struct tg_soft_merge {
    template <class C> TG_FN tg_soft<C> operator()(tg_soft<C> a, tg_soft<C> b) const {
        const C m = tg_maximum(a.m, b.m);
        if (m == -tg_inf<C>()) return {m, C(0)};  // not exp(inf - inf)
        return {m, a.s * exp(a.m - m) + b.s * exp(b.m - m)};
    }
};

template <class C> TG_FN tg_soft<C> tg_shuffle_xor(tg_soft<C> v, int o) {
    return {__shfl_xor_sync(TG_FULL, v.m, o), __shfl_xor_sync(TG_FULL, v.s, o)};
}

template <int N, class C> TG_FN tg_soft<C> tg_soft_group(tg_soft<C> a, const C (&v)[N]) {
    C m = a.m, s = C(0);
#pragma unroll
    for (int k = 0; k < N; k++) m = tg_maximum(m, v[k]);
    if (m == -tg_inf<C>()) return a;
#pragma unroll
    for (int k = 0; k < N; k++) s += exp(v[k] - m);
    return {m, a.s * exp(a.m - m) + s};
}

// The whole row's value of its TEAM threads (a warp, or the block).
template <int BLOCK, int TEAM, class C> TG_FN tg_soft<C> tg_soft_team(tg_soft<C> a) {
    const tg_soft_merge merge{};
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) a = merge(a, tg_shuffle_xor(a, o));
    if constexpr (TEAM > 32) {
        __shared__ C m[BLOCK / 32], s[BLOCK / 32];
        if (threadIdx.x % 32 == 0) {
            m[threadIdx.x / 32] = a.m;
            s[threadIdx.x / 32] = a.s;
        }
        __syncthreads();
        a = {m[0], s[0]};
        for (int w = 1; w < BLOCK / 32; w++) a = merge(a, tg_soft<C>{m[w], s[w]});
    } else {
        __syncwarp();  // orders the reads before it and the writes of dlogits after it
    }
    return a;
}

// What a row's gradient needs: dlogits_j = scale (exp(x_j - m) inv - own [j = y] - base).
template <class C> struct tg_xent_row {
    C m, inv, own, base, scale;
    int y;
};

template <int N, class T, class C>
TG_FN void tg_xent_gradient(
    const T* x, const T* kept, T* d, tg_xent_row<C> r, int columns, int first, int step, int keep,
    bool wide_x, bool wide_d) {
    C v[N];
    for (int j = first; j < columns; j += step) {
        if (j < keep)
            tg_read(v, kept, j, columns, true, C(0));
        else
            tg_read(v, x, j, columns, wide_x, C(0));
#pragma unroll
        for (int k = 0; k < N; k++) {
            C share = exp(v[k] - r.m) * r.inv - r.base;
            if (j + k == r.y) share -= r.own;
            v[k] = share * r.scale;
        }
        tg_write(d, v, j, columns, wide_d);
    }
}

template <int N, class T>
TG_FN void tg_zero_row(T* d, int columns, int first, int step, bool wide) {
    const tg_compute<T> zero[N] = {};
    for (int j = first; j < columns; j += step) tg_write(d, zero, j, columns, wide);
}

// The arrays of all rows: each but the logits may be null.
template <class T> struct tg_xent_arrays {
    using C = tg_compute<T>;
    const T* logits;
    C* loss;
    T* dlogits;
    C *total, *shift;
    i64 ld_logits, ld_dlogits;
};

// One row by its TEAM threads; `given` is its label, already read.
template <int BLOCK, int TEAM, class T, class C>
TG_FN void tg_xent_do(
    tg_xent_arrays<T> a, i64 row, i64 given, i64 ignored, int columns, C scale, C smoothing,
    int* flag, T* row_kept, int keep) {
    constexpr int N = tg_wide<T>::n;
    const int lane = threadIdx.x % TEAM;
    const T* x = a.logits + row * a.ld_logits;
    T* d = a.dlogits ? a.dlogits + row * a.ld_dlogits : nullptr;
    const int first = lane * N, step = TEAM * N;
    const bool wide_x = tg_aligned(x), wide_d = tg_aligned(d);
    const int y = static_cast<int>(given);
    if (given == ignored || given < 0 || given >= columns) {
        if (lane == 0) {
            if (given != ignored) tg_raise(flag, row);
            if (a.loss) a.loss[row] = given == ignored ? C(0) : tg_nan<C>();
            if (a.total) a.total[row] = C(1);
            if (a.shift) a.shift[row] = C(0);
        }
        if (d) tg_zero_row<N>(d, columns, first, step, wide_d);
        return;
    }
    // Read by all before anyone writes dlogits, which may be the logits: the merge waits between.
    const C x_y = tg_load(x[y]);
    tg_soft<C> m{-tg_inf<C>(), C(0)};
    C v[N], sum = C(0);
    for (int j = first; j < columns; j += step) {
        if (j < keep)
            tg_read_keep(v, row_kept, x, j, columns, wide_x, -tg_inf<C>());
        else
            tg_read(v, x, j, columns, wide_x, -tg_inf<C>());
        m = tg_soft_group(m, v);
        if (smoothing > C(0)) {
#pragma unroll
            for (int k = 0; k < N; k++) sum += j + k < columns ? v[k] : C(0);
        }
    }
    m = tg_soft_team<BLOCK, TEAM>(m);
    C mean = C(0);
    if (smoothing > C(0)) {
        __shared__ C scratch[BLOCK / 32];
        sum = TEAM == 32 ? tg_warp_sum(sum) : tg_block_sum<BLOCK>(sum, scratch);
        mean = sum / C(columns) - m.m;
    }
    if (lane == 0) {
        const C own = smoothing > C(0) ? (C(1) - smoothing) * (x_y - m.m) + smoothing * mean
                                       : x_y - m.m;
        if (a.loss) a.loss[row] = log(m.s) - own;
        if (a.total) a.total[row] = m.s;
        if (a.shift) a.shift[row] = m.m;
    }
    if (!d) return;
    const tg_xent_row<C> r{m.m,   C(1) / m.s, C(1) - smoothing, smoothing / C(columns),
                           scale, y};
    const T* kept = row_kept;
    tg_xent_gradient<N>(x, kept, d, r, columns, first, step, keep, wide_x, wide_d);
}

// export: softmax_xent_f32 = softmax_xent<float, 512, 512>
// export: softmax_xent_f64 = softmax_xent<double, 512, 512>
// export: softmax_xent_f16 = softmax_xent<__half, 512, 512>
// export: softmax_xent_bf16 = softmax_xent<__nv_bfloat16, 512, 512>
// export: softmax_xent_wide_f32 = softmax_xent<float, 1024, 1024>
// export: softmax_xent_wide_f16 = softmax_xent<__half, 1024, 1024>
// export: softmax_xent_wide_bf16 = softmax_xent<__nv_bfloat16, 1024, 1024>
// export: softmax_xent_warp_f32 = softmax_xent<float, 128, 32>
// export: softmax_xent_warp_f64 = softmax_xent<double, 128, 32>
// export: softmax_xent_warp_f16 = softmax_xent<__half, 128, 32>
// export: softmax_xent_warp_bf16 = softmax_xent<__nv_bfloat16, 128, 32>
template <class T, int BLOCK, int TEAM>
__global__ void __launch_bounds__(BLOCK, 1) softmax_xent(
    const T* logits, const i64* __restrict__ label, tg_compute<T>* __restrict__ loss, T* dlogits,
    tg_compute<T>* __restrict__ total, tg_compute<T>* __restrict__ shift,
    const tg_compute<T>* __restrict__ scale, int* __restrict__ flag, i64 rows, int columns,
    i64 ld_logits, i64 ld_dlogits, const i64* __restrict__ ignore, tg_compute<T> smoothing,
    int keep) {
    using C = tg_compute<T>;
    CUDA_DYN_SHARED(T, row_kept);
    const i64 row = static_cast<i64>(blockIdx.x) * (BLOCK / TEAM) + threadIdx.x / TEAM;
    if (row >= rows) return;  // whole warps: TEAM is 32 where a block has several rows
    const tg_xent_arrays<T> a{logits, loss, dlogits, total, shift, ld_logits, ld_dlogits};
    const C factor = dlogits ? *scale : C(0);
    tg_xent_do<BLOCK, TEAM>(
        a, row, label[row], *ignore, columns, factor, smoothing, flag, row_kept, keep);
}

// export: softmax_xent_pull_f32 = softmax_xent_pull<float, 512>
// export: softmax_xent_pull_f64 = softmax_xent_pull<double, 512>
// export: softmax_xent_pull_f16 = softmax_xent_pull<__half, 512>
// export: softmax_xent_pull_bf16 = softmax_xent_pull<__nv_bfloat16, 512>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) softmax_xent_pull(
    const T* logits, const i64* __restrict__ label, const tg_compute<T>* __restrict__ total,
    const tg_compute<T>* __restrict__ shift, const tg_compute<T>* __restrict__ scale, T* dlogits,
    int columns, i64 ld_logits, i64 ld_dlogits, const i64* __restrict__ ignore,
    tg_compute<T> smoothing) {
    using C = tg_compute<T>;
    constexpr int N = tg_wide<T>::n;
    const i64 row = blockIdx.x, given = label[row];
    const int y = static_cast<int>(given);
    const int first = threadIdx.x * N, step = BLOCK * N;
    const T* x = logits + row * ld_logits;
    T* d = dlogits + row * ld_dlogits;
    if (given == *ignore || given < 0 || given >= columns) {
        tg_zero_row<N>(d, columns, first, step, tg_aligned(d));
        return;
    }
    const tg_xent_row<C> r{shift[row],     C(1) / total[row],      C(1) - smoothing,
                           smoothing / C(columns), *scale, y};
    const T* none = nullptr;
    tg_xent_gradient<N>(x, none, d, r, columns, first, step, 0, tg_aligned(x), tg_aligned(d));
}

template <int BLOCK> TG_FN i64 tg_labels(const i64* label, i64 rows, i64 ignored) {
    __shared__ i64 scratch[BLOCK / 32];
    i64 found = 0;
    for (i64 row = threadIdx.x; row < rows; row += BLOCK) found += label[row] != ignored;
    return tg_block_sum<BLOCK>(found, scratch);
}

template <int BLOCK, class T, class C>
TG_FN void tg_mean(const C* loss, C count, T* mean, i64 rows) {
    __shared__ C scratch[BLOCK / 32];
    C sum = C(0);
    for (i64 row = threadIdx.x; row < rows; row += BLOCK) sum += loss[row];
    sum = tg_block_sum<BLOCK>(sum, scratch);
    if (threadIdx.x == 0) *mean = tg_store<T>(count > C(0) ? sum / count : tg_nan<C>());
}

// export: softmax_xent_small_f32 = softmax_xent_small<float, 512>
// export: softmax_xent_small_f64 = softmax_xent_small<double, 512>
// export: softmax_xent_small_f16 = softmax_xent_small<__half, 512>
// export: softmax_xent_small_bf16 = softmax_xent_small<__nv_bfloat16, 512>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) softmax_xent_small(
    const T* logits, const i64* __restrict__ label, tg_compute<T>* loss, T* dlogits,
    tg_compute<T>* __restrict__ total, tg_compute<T>* __restrict__ shift,
    tg_compute<T>* __restrict__ count, T* __restrict__ mean, int* __restrict__ flag, i64 rows,
    int columns, i64 ld_logits, i64 ld_dlogits, const i64* __restrict__ ignore,
    tg_compute<T> smoothing) {
    using C = tg_compute<T>;
    const i64 ignored = *ignore;
    const C found = C(tg_labels<BLOCK>(label, rows, ignored)), scale = C(1) / found;
    const tg_xent_arrays<T> a{logits, loss, dlogits, total, shift, ld_logits, ld_dlogits};
    T* none = nullptr;
    for (i64 row = threadIdx.x / 32; row < rows; row += BLOCK / 32)
        tg_xent_do<BLOCK, 32>(
            a, row, label[row], ignored, columns, scale, smoothing, flag, none, 0);
    __syncthreads();
    tg_mean<BLOCK>(loss, found, mean, rows);
    if (threadIdx.x == 0) *count = found;
}

// export: softmax_xent_scale_f32 = softmax_xent_scale<float, 1024>
// export: softmax_xent_scale_f64 = softmax_xent_scale<double, 1024>
template <class C, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) softmax_xent_scale(
    const i64* __restrict__ label, const C* __restrict__ ct, C* __restrict__ count,
    C* __restrict__ scale, i64 rows, const i64* __restrict__ ignore) {
    const i64 found = tg_labels<BLOCK>(label, rows, *ignore);
    if (threadIdx.x == 0) {
        *count = C(found);
        *scale = (ct ? *ct : C(1)) / C(found);
    }
}

// export: softmax_xent_mean_f32 = softmax_xent_mean<float, float, 1024>
// export: softmax_xent_mean_f64 = softmax_xent_mean<double, double, 1024>
// export: softmax_xent_mean_f16 = softmax_xent_mean<__half, float, 1024>
// export: softmax_xent_mean_bf16 = softmax_xent_mean<__nv_bfloat16, float, 1024>
template <class T, class C, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) softmax_xent_mean(
    const C* __restrict__ loss, const C* __restrict__ count, T* __restrict__ mean, i64 rows) {
    tg_mean<BLOCK>(loss, *count, mean, rows);
}
