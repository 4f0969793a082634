// Attention of rows of queries to rows of keys, forward and backward, memory linear in length.
//
// Per batch b and head h (it reads key head h / group), with s_ij = scale q_i k_j + mask_ij:
//   out_i = Σ_j p_ij keep_ij v_j,  p_ij = exp(s_ij - logs_i),  logs_i = log Σ_j exp s_ij
// A query that sees no key (every s_ij = -inf) gives out 0 and logs inf. Backward, ct the cotangent
// of out, mean_i = Σ ct_i out_i, computes the scores again:
//   ds_ij = p_ij (keep_ij ct_i v_j - mean_i), dq_i = scale Σ_j ds_ij k_j,
//   dk_j = scale Σ_i ds_ij q_i, dv_j = Σ_i p_ij keep_ij ct_i
//
// q (B, heads, length, size), k (B, heads / group, keys, size), v (..., keys, width) by strides in
// elements, their last axis dense; out, ct, dq (B, heads, length, ...), dk, dv dense; logs, mean
// (B, heads, length) in the compute dtype. mask by strides (0: one element for all): kind 0 none
// (null), 1 bools, False leaves out, 2 of T, added. causal: key j is left out for queries < j.
// keep: word (row 4 ceil(keys / 4) + j) of the Philox stream (key, counter), row = (b heads + h)
// length + i, is >= threshold: `kept`, else 0; counter null: 1. `stored`: the key in device memory.
// ds (B, heads, length, keys), compute dtype: ds_ij, for a mask's gradient; null if not wanted.
// T: f32, f64, f16, bf16; computed in float, f64 in double.
//
// attention_D_*         grid (B heads ceil(length / 32)), block 128
// attention_rows_D_*    mean and dq (and ds): the same grid
// attention_columns_D_* dk and dv from mean: grid (B heads / group ceil(keys / 32)), block 128
// D = 64, 128 (f64: 64) is the most that size and width may be. Dynamic shared memory:
// (4 * 32 (D + 4) + 2 * 32 * 33) sizeof(compute) bytes.
//
// A tile of 32 rows meets tiles of 32 rows one after another, in order: the same sums in every run,
// no atomics. Four threads have a row: of a tile's scores and of the sizes each has groups of
// four. Algorithm: Dao, "FlashAttention-2", 2023; the running maximum: Milakov, Gimelshein, 2018.
// Bytes: q and out once, k and v length / 32 times, from L2.
// Checked: host run against float64 NumPy, NVRTC: tests/cuda/test_kernels_attention.py
#define TG_HALF
#include "philox.cuh"
#include "reduce.cuh"

constexpr int TG_TILE = 32, TG_BLOCK = 128, TG_SHARES = 33, TG_OWN = 8;

template <int D> inline constexpr int tg_line = D + 4;

// What both directions know of a call; the strides of q, k, v and the mask.
struct tg_attention {
    i64 q_b, q_h, q_l, k_b, k_h, k_l, v_b, v_h, v_l, m_b, m_h, m_l, m_s;
    int heads, group, length, keys, size, width, kind, causal;
};

template <class C> struct tg_keep {
    u64 key, counter, threshold;
    C kept;
    bool drawn;
    TG_FN C one(i64 row, int j, int keys) const {
        if (!drawn) return C(1);
        const u64 words = (static_cast<u64>(keys) + 3) / 4;
        const tg_words r = tg_philox(counter + static_cast<u64>(row) * words + j / 4, 0, key);
        const u32 low = j & 1 ? r.w[1] : r.w[0], high = j & 1 ? r.w[3] : r.w[2];  // no local memory
        return (j & 2 ? high : low) >= threshold ? kept : C(0);
    }
};

// Rows first .. first+31 of a matrix as a tile in shared memory, times `scale`, 0 past its ends.
template <int D, class T, class C>
TG_FN void tg_tile_load(C* tile, const T* p, i64 step, int rows, int size, C scale) {
    constexpr int N = tg_wide<T>::n;
    for (int g = threadIdx.x; g < TG_TILE * (D / N); g += TG_BLOCK) {
        const int r = g / (D / N), j = g % (D / N) * N;
        C v[N] = {};
        if (r < rows) {
            const T* row = p + r * step;
            tg_read(v, row, j, size, tg_aligned(row), C(0));
        }
#pragma unroll
        for (int k = 0; k < N; k++) tile[r * tg_line<D> + j + k] = v[k] * scale;
    }
}

// A tile in shared memory to dense rows.
template <int D, class T, class C>
TG_FN void tg_tile_store(T* p, const C* tile, int rows, int size) {
    constexpr int N = tg_wide<T>::n;
    for (int g = threadIdx.x; g < TG_TILE * (D / N); g += TG_BLOCK) {
        const int r = g / (D / N), j = g % (D / N) * N;
        if (r >= rows) continue;
        C v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = tile[r * tg_line<D> + j + k];
        T* row = p + static_cast<i64>(r) * size;
        tg_write(row, v, j, size, tg_aligned(row));
    }
}

// The place in a tile of number n of the eight that a thread has of 32.
TG_FN int tg_own(int n) { return n / 4 * 16 + threadIdx.x % 4 * 4 + n % 4; }

// Products of one row with the eight rows of a tile that are the thread's.
template <int D, class C>
TG_FN void tg_products(C (&s)[TG_OWN], const C* row, const C* tile, int size) {
#pragma unroll
    for (int n = 0; n < TG_OWN; n++) s[n] = C(0);
#pragma unroll 1
    for (int d = 0; d < size; d += 4) {
        const Vec<C, 4> a = tg_vec_load<4>(row + d);
#pragma unroll
        for (int n = 0; n < TG_OWN; n++) {
            const Vec<C, 4> b = tg_vec_load<4>(tile + tg_own(n) * tg_line<D> + d);
#pragma unroll
            for (int k = 0; k < 4; k++) s[n] = fma(a.v[k], b.v[k], s[n]);
        }
    }
}

// acc += Σ_j share_j tile_j over the rows of a tile, in the sizes that are the thread's.
template <int D, class C> TG_FN void tg_gathered(C (&acc)[D / 4], const C* share, const C* tile) {
    const int lane = threadIdx.x % 4;
#pragma unroll 1
    for (int j = 0; j < TG_TILE; j++) {
        const C p = share[j];
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            const Vec<C, 4> x = tg_vec_load<4>(tile + j * tg_line<D> + 16 * c + 4 * lane);
#pragma unroll
            for (int t = 0; t < 4; t++) acc[4 * c + t] = fma(p, x.v[t], acc[4 * c + t]);
        }
    }
}

// What the threads of the rows have gathered, as a tile.
template <int D, class C> TG_FN void tg_spread(C* tile, const C (&acc)[D / 4], C scale) {
    const int lane = threadIdx.x % 4, row = threadIdx.x / 4;
#pragma unroll
    for (int c = 0; c < D / 4; c++)
        tile[row * tg_line<D> + c / 4 * 16 + 4 * lane + c % 4] = acc[c] * scale;
}

template <class C> TG_FN C tg_row_sum(C v) {
    v += __shfl_xor_sync(TG_FULL, v, 1);
    return v + __shfl_xor_sync(TG_FULL, v, 2);
}

// The score of a pair with its mask, -inf for one that does not meet.
template <class T, class C>
TG_FN C tg_masked(const tg_attention& a, const void* mask, C s, i64 b, int h, int i, int j) {
    if (i >= a.length || j >= a.keys || (a.causal && j > i)) return -tg_inf<C>();
    if (!a.kind) return s;
    const i64 at = b * a.m_b + h * a.m_h + i * a.m_l + j * a.m_s;
    if (a.kind == 1) return static_cast<const bool*>(mask)[at] ? s : -tg_inf<C>();
    return s + tg_load(static_cast<const T*>(mask)[at]);
}

// export: attention_64_f32 = attention<float, 64>
// export: attention_64_f64 = attention<double, 64>
// export: attention_64_f16 = attention<__half, 64>
// export: attention_64_bf16 = attention<__nv_bfloat16, 64>
// export: attention_128_f32 = attention<float, 128>
// export: attention_128_f16 = attention<__half, 128>
// export: attention_128_bf16 = attention<__nv_bfloat16, 128>
template <class T, int D>
__global__ void __launch_bounds__(TG_BLOCK, 1) attention(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
    const void* __restrict__ mask, const u64* __restrict__ counter,
    const u64* __restrict__ stored, T* __restrict__ out, tg_compute<T>* __restrict__ logs,
    tg_attention a, u64 key, u64 threshold, tg_compute<T> kept, tg_compute<T> scale) {
    using C = tg_compute<T>;
    CUDA_DYN_SHARED(C, shared);
    constexpr int AREA = TG_TILE * tg_line<D>;
    C *tq = shared, *tk = tq + AREA, *tv = tk + AREA;
    const int row = threadIdx.x / 4, tiles = (a.length + TG_TILE - 1) / TG_TILE;
    C* share = tv + 2 * AREA + row * TG_SHARES;
    const i64 unit = blockIdx.x / tiles, b = unit / a.heads;
    const int first = static_cast<int>(blockIdx.x % tiles) * TG_TILE, i = first + row;
    const int h = static_cast<int>(unit % a.heads), g = h / a.group;
    const int rows = min(TG_TILE, a.length - first);
    const tg_keep<C> keep{stored ? *stored : key, counter ? *counter : 0, threshold, kept,
                          counter != nullptr};
    const int stop = a.causal ? min(a.keys, first + TG_TILE) : a.keys;
    tg_tile_load<D>(tq, q + b * a.q_b + h * a.q_h + first * a.q_l, a.q_l, rows, a.size, scale);
    C acc[D / 4] = {}, top = -tg_inf<C>(), total = C(0), s[TG_OWN];
    for (int start = 0; start < stop; start += TG_TILE) {
        const int many = min(TG_TILE, a.keys - start);
        __syncthreads();
        tg_tile_load<D>(
            tk, k + b * a.k_b + g * a.k_h + start * a.k_l, a.k_l, many, a.size, C(1));
        tg_tile_load<D>(
            tv, v + b * a.v_b + g * a.v_h + start * a.v_l, a.v_l, many, a.width, C(1));
        __syncthreads();
        tg_products<D>(s, tq + row * tg_line<D>, tk, a.size);
        C most = top, sum = C(0);
#pragma unroll
        for (int n = 0; n < TG_OWN; n++) {
            s[n] = tg_masked<T>(a, mask, s[n], b, h, i, start + tg_own(n));
            most = tg_maximum(most, s[n]);
        }
        most = tg_maximum(most, __shfl_xor_sync(TG_FULL, most, 1));
        most = tg_maximum(most, __shfl_xor_sync(TG_FULL, most, 2));
        const C shift = most == -tg_inf<C>() ? C(0) : most, factor = exp(top - shift);
        __syncwarp();
#pragma unroll
        for (int n = 0; n < TG_OWN; n++) share[tg_own(n)] = s[n];
#pragma unroll 1
        for (int n = 0; n < TG_OWN; n++) {  // rolled up: the generator is long
            const int j = start + tg_own(n);
            const C p = exp(share[tg_own(n)] - shift);
            sum += p;
            share[tg_own(n)] = p * keep.one(unit * a.length + i, j, a.keys);
        }
        __syncwarp();
        total = total * factor + tg_row_sum(sum);
        top = most;
#pragma unroll
        for (int c = 0; c < D / 4; c++) acc[c] *= factor;
        tg_gathered<D>(acc, share, tv);
    }
    __syncthreads();
    tg_spread<D>(tq, acc, total == C(0) ? C(0) : C(1) / total);
    if (threadIdx.x % 4 == 0 && i < a.length)
        logs[unit * a.length + i] = total == C(0) ? tg_inf<C>() : top + log(total);
    __syncthreads();
    tg_tile_store<D>(out + (unit * a.length + first) * a.width, tq, rows, a.width);
}

// export: attention_rows_64_f32 = attention_rows<float, 64>
// export: attention_rows_64_f64 = attention_rows<double, 64>
// export: attention_rows_64_f16 = attention_rows<__half, 64>
// export: attention_rows_64_bf16 = attention_rows<__nv_bfloat16, 64>
// export: attention_rows_128_f32 = attention_rows<float, 128>
// export: attention_rows_128_f16 = attention_rows<__half, 128>
// export: attention_rows_128_bf16 = attention_rows<__nv_bfloat16, 128>
template <class T, int D>
__global__ void __launch_bounds__(TG_BLOCK, 1) attention_rows(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
    const void* __restrict__ mask, const u64* __restrict__ counter,
    const u64* __restrict__ stored, const T* __restrict__ out,
    const tg_compute<T>* __restrict__ logs, const T* __restrict__ ct, T* __restrict__ dq,
    tg_compute<T>* __restrict__ mean, tg_compute<T>* __restrict__ ds, tg_attention a, u64 key,
    u64 threshold, tg_compute<T> kept, tg_compute<T> scale) {
    using C = tg_compute<T>;
    CUDA_DYN_SHARED(C, shared);
    constexpr int AREA = TG_TILE * tg_line<D>;
    C *tq = shared, *tk = tq + AREA, *tv = tk + AREA, *tc = tv + AREA;
    const int row = threadIdx.x / 4, tiles = (a.length + TG_TILE - 1) / TG_TILE;
    C *share = tc + AREA + row * TG_SHARES, *slope = share + TG_TILE * TG_SHARES;
    const i64 unit = blockIdx.x / tiles, b = unit / a.heads;
    const int first = static_cast<int>(blockIdx.x % tiles) * TG_TILE, i = first + row;
    const int h = static_cast<int>(unit % a.heads), g = h / a.group;
    const int rows = min(TG_TILE, a.length - first);
    const i64 at = unit * a.length + i, lead = unit * a.length + first;
    const tg_keep<C> keep{stored ? *stored : key, counter ? *counter : 0, threshold, kept,
                          counter != nullptr};
    const int stop = a.causal ? min(a.keys, first + TG_TILE) : a.keys;
    tg_tile_load<D>(tq, q + b * a.q_b + h * a.q_h + first * a.q_l, a.q_l, rows, a.size, scale);
    tg_tile_load<D>(tc, ct + lead * a.width, a.width, rows, a.width, C(1));
    tg_tile_load<D>(tv, out + lead * a.width, a.width, rows, a.width, C(1));
    __syncthreads();
    C own = C(0), acc[D / 4] = {}, s[TG_OWN], dp[TG_OWN];
    for (int d = threadIdx.x % 4; d < a.width; d += 4)
        own = fma(tc[row * tg_line<D> + d], tv[row * tg_line<D> + d], own);
    own = tg_row_sum(own);
    if (threadIdx.x % 4 == 0 && i < a.length) mean[at] = own;
    const C log_sum = i < a.length ? logs[at] : tg_inf<C>();
    for (int start = 0; start < stop; start += TG_TILE) {
        const int many = min(TG_TILE, a.keys - start);
        __syncthreads();
        tg_tile_load<D>(
            tk, k + b * a.k_b + g * a.k_h + start * a.k_l, a.k_l, many, a.size, C(1));
        tg_tile_load<D>(
            tv, v + b * a.v_b + g * a.v_h + start * a.v_l, a.v_l, many, a.width, C(1));
        __syncthreads();
        tg_products<D>(s, tq + row * tg_line<D>, tk, a.size);
        tg_products<D>(dp, tc + row * tg_line<D>, tv, a.width);
        __syncwarp();
#pragma unroll
        for (int n = 0; n < TG_OWN; n++) {
            share[tg_own(n)] = s[n];
            slope[tg_own(n)] = dp[n];
        }
#pragma unroll 1
        for (int n = 0; n < TG_OWN; n++) {
            const int at_j = tg_own(n), j = start + at_j;
            const C p = exp(tg_masked<T>(a, mask, share[at_j], b, h, i, j) - log_sum);
            const C found = p * (slope[at_j] * keep.one(at, j, a.keys) - own);
            share[at_j] = found;
            if (ds && i < a.length && j < a.keys) ds[at * a.keys + j] = found;
        }
        __syncwarp();
        tg_gathered<D>(acc, share, tk);
    }
    __syncthreads();
    tg_spread<D>(tq, acc, scale);
    __syncthreads();
    tg_tile_store<D>(dq + lead * a.size, tq, rows, a.size);
}

// export: attention_columns_64_f32 = attention_columns<float, 64>
// export: attention_columns_64_f64 = attention_columns<double, 64>
// export: attention_columns_64_f16 = attention_columns<__half, 64>
// export: attention_columns_64_bf16 = attention_columns<__nv_bfloat16, 64>
// export: attention_columns_128_f32 = attention_columns<float, 128>
// export: attention_columns_128_f16 = attention_columns<__half, 128>
// export: attention_columns_128_bf16 = attention_columns<__nv_bfloat16, 128>
template <class T, int D>
__global__ void __launch_bounds__(TG_BLOCK, 1) attention_columns(
    const T* __restrict__ q, const T* __restrict__ k, const T* __restrict__ v,
    const void* __restrict__ mask, const u64* __restrict__ counter,
    const u64* __restrict__ stored, const tg_compute<T>* __restrict__ logs,
    const tg_compute<T>* __restrict__ mean, const T* __restrict__ ct, T* __restrict__ dk,
    T* __restrict__ dv, tg_attention a, u64 key, u64 threshold, tg_compute<T> kept,
    tg_compute<T> scale) {
    using C = tg_compute<T>;
    CUDA_DYN_SHARED(C, shared);
    constexpr int AREA = TG_TILE * tg_line<D>;
    C *tq = shared, *tk = tq + AREA, *tv = tk + AREA, *tc = tv + AREA;
    const int row = threadIdx.x / 4, tiles = (a.keys + TG_TILE - 1) / TG_TILE;
    C *share = tc + AREA + row * TG_SHARES, *slope = share + TG_TILE * TG_SHARES;
    const int groups = a.heads / a.group;
    const i64 unit = blockIdx.x / tiles, b = unit / groups;
    const int first = static_cast<int>(blockIdx.x % tiles) * TG_TILE, j = first + row;
    const int g = static_cast<int>(unit % groups), rows = min(TG_TILE, a.keys - first);
    const tg_keep<C> keep{stored ? *stored : key, counter ? *counter : 0, threshold, kept,
                          counter != nullptr};
    tg_tile_load<D>(tk, k + b * a.k_b + g * a.k_h + first * a.k_l, a.k_l, rows, a.size, C(1));
    tg_tile_load<D>(tv, v + b * a.v_b + g * a.v_h + first * a.v_l, a.v_l, rows, a.width, C(1));
    C key_acc[D / 4] = {}, value_acc[D / 4] = {}, s[TG_OWN], dp[TG_OWN];
    for (int h = g * a.group; h < (g + 1) * a.group; h++) {
        const i64 lead = (b * a.heads + h) * a.length;
        for (int start = a.causal ? first : 0; start < a.length; start += TG_TILE) {
            const int many = min(TG_TILE, a.length - start);
            __syncthreads();
            tg_tile_load<D>(
                tq, q + b * a.q_b + h * a.q_h + start * a.q_l, a.q_l, many, a.size, scale);
            tg_tile_load<D>(
                tc, ct + (lead + start) * a.width, a.width, many, a.width, C(1));
            __syncthreads();
            tg_products<D>(s, tk + row * tg_line<D>, tq, a.size);
            tg_products<D>(dp, tv + row * tg_line<D>, tc, a.width);
            __syncwarp();
#pragma unroll
            for (int n = 0; n < TG_OWN; n++) {
                share[tg_own(n)] = s[n];
                slope[tg_own(n)] = dp[n];
            }
#pragma unroll 1
            for (int n = 0; n < TG_OWN; n++) {
                const int at_i = tg_own(n), i = start + at_i;
                const bool there = i < a.length && j < a.keys;
                const C log_sum = there ? logs[lead + i] : tg_inf<C>();
                const C own = there ? mean[lead + i] : C(0);
                const C p = exp(tg_masked<T>(a, mask, share[at_i], b, h, i, j) - log_sum);
                const C kept_ij = there ? keep.one(lead + i, j, a.keys) : C(0);
                share[at_i] = p * kept_ij;
                slope[at_i] = p * (slope[at_i] * kept_ij - own);
            }
            __syncwarp();
            tg_gathered<D>(value_acc, share, tc);
            tg_gathered<D>(key_acc, slope, tq);
        }
    }
    __syncthreads();
    tg_spread<D>(tk, key_acc, C(1));
    tg_spread<D>(tv, value_acc, C(1));
    __syncthreads();
    const i64 lead = unit * a.keys + first;
    tg_tile_store<D>(dk + lead * a.size, tk, rows, a.size);
    tg_tile_store<D>(dv + lead * a.width, tv, rows, a.width);
}
