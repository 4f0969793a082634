// Convolutions over three spatial axes (windows.cuh) as products of matrices that are never written
// down: tiles of both factors are gathered into shared memory.
//
// x (images, groups channels, sizes), w (groups outputs, channels, kernel), y and ct (images,
// groups outputs, counts), contiguous. T: f32, f64, f16, bf16 (multiplied and summed in float).
// With c of the group's channels, o of its outputs, t an element of the kernel, q a place of y:
//
// conv_T:         y[n, o, q]  = bias[o] + sum over k = (c, t) of w[o, k] x[n, c, place(q, t)]
//                 left w, right x, out y
// conv_input_T:   x[n, c, p]  = bias[c] + sum over k = (o, t) of w[o, c, t] ct[n, o, window(p, t)]
//                 left w, right ct, out x
// conv_weight_T:  w[o, (c, t)] = sum over k = (n, q) of ct[n, o, q] x[n, c, place(q, t)]
//                 left ct, right x, out w
//                 `slabs` blocks share a sum, `slab` of the k each (a multiple of 8); with more than
//                 one they leave partial (slabs, elements of w), which conv_fold_T adds up in order.
// *_middle_T, *_narrow_T: the same by tiles of 64 and of 16 rows (outputs of a group of y, x or w)
//                 instead of 128; f64 has 64 of them where others have 128, and no middle.
//
// bias may be null, and is for conv_weight; partial is null with one slab. Rows are the outputs
// (channels for conv_input) of a group; columns (n, q), (n, p) or (c, t), fewer than 2^31 as the k
// are. grid (ceil(columns / BN), ceil(rows / BM), groups slabs or fewer), block 256; conv_fold: a
// grid of ceil(n / 256) or fewer.
// Work: 2 rows columns k groups operations; bytes: each factor is read once per tile of the other.
// Each sum goes through its k in order, by fma: the result depends on the shape and on slab alone.
// Checked: host run against NumPy. tests/cuda/test_conv.py
#define TG_HALF
#include "common.cuh"
#include "windows.cuh"

#define TG_CONV 0
#define TG_CONV_INPUT 1
#define TG_CONV_WEIGHT 2

// Element t of a kernel by axes.
struct tg_tap {
    int k0, k1, k2;
};
TG_FN tg_tap tg_tap_of(const tg_windows& w, u32 t) {
    tg_tap s;
    s.k0 = tg_split(t, w.kernels[1]);
    s.k1 = tg_split(t, w.kernels[2]);
    s.k2 = static_cast<int>(t);
    return s;
}
// A place of y, or of x, by axes, and its image; image -1: none.
struct tg_spot {
    int image, at0, at1, at2;
};
TG_FN tg_spot tg_spot_of(const tg_by (&by)[3], u32 n, bool there) {
    tg_spot s;
    const int image = tg_split(n, by[0]);
    s.image = there ? image : -1;
    s.at0 = tg_split(n, by[1]);
    s.at1 = tg_split(n, by[2]);
    s.at2 = static_cast<int>(n);
    return s;
}
// What of x a place of y meets with an element of the kernel, -1 for padding.
TG_FN i64 tg_met(const tg_windows& w, const tg_spot& q, const tg_tap& t) {
    const int p0 = tg_place(w.axis[0], q.at0, t.k0), p1 = tg_place(w.axis[1], q.at1, t.k1);
    const int p2 = tg_place(w.axis[2], q.at2, t.k2);
    if (q.image < 0 || p0 < 0 || p1 < 0 || p2 < 0) return -1;
    return (static_cast<i64>(p0) * w.axis[1].size + p1) * w.axis[2].size + p2;
}
// A step along k, the same for all columns: its channel (-1 behind the end), and the element of the
// kernel as a shift along each axis.
struct alignas(16) tg_step {
    int channel, shift0, shift1, shift2;
};
TG_FN tg_step tg_step_of(const tg_windows& w, int k, int stop) {
    u32 rest = static_cast<u32>(k);
    const int c = tg_split(rest, w.kernels[0]);
    const tg_tap t = tg_tap_of(w, rest);
    return {k < stop ? c : -1, t.k0 * w.axis[0].dilation, t.k1 * w.axis[1].dilation,
            t.k2 * w.axis[2].dilation};
}
// Where a column begins along each axis: with a shift it is a place of x (q stride - low + shift),
// or stride times the window of y (p + low - shift).
struct tg_column {
    int image, at0, at1, at2;
};
TG_FN tg_column tg_column_of(const tg_windows& w, bool back, u32 n, bool there) {
    const tg_spot s = tg_spot_of(back ? w.sizes : w.counts, n, there);
    tg_column c;
    c.image = s.image;
    c.at0 = back ? s.at0 + w.axis[0].low : s.at0 * w.axis[0].stride - w.axis[0].low;
    c.at1 = back ? s.at1 + w.axis[1].low : s.at1 * w.axis[1].stride - w.axis[1].low;
    c.at2 = back ? s.at2 + w.axis[2].low : s.at2 * w.axis[2].stride - w.axis[2].low;
    return c;
}
TG_FN bool tg_within(int at, int size) { return static_cast<u32>(at) < static_cast<u32>(size); }
// What of x a column meets at a step, -1 for padding.
TG_FN i64 tg_forth(const tg_windows& w, const tg_column& c, const tg_step& s) {
    const int p0 = c.at0 + s.shift0, p1 = c.at1 + s.shift1, p2 = c.at2 + s.shift2;
    if (!tg_within(p0, w.axis[0].size) || !tg_within(p1, w.axis[1].size) ||
        !tg_within(p2, w.axis[2].size) || s.channel < 0 || c.image < 0)
        return -1;
    return (static_cast<i64>(p0) * w.axis[1].size + p1) * w.axis[2].size + p2;
}
// The window that begins at a multiple t of the stride, -1 for none.
TG_FN int tg_begun(const tg_axis& a, int t) {
    const u32 q = tg_div(static_cast<u32>(t), a.by_stride);
    return t >= 0 && q * a.by_stride.by == static_cast<u32>(t) && q < static_cast<u32>(a.count)
               ? static_cast<int>(q)
               : -1;
}
// What of y a column is met by at a step, -1 for none.
TG_FN i64 tg_back(const tg_windows& w, const tg_column& c, const tg_step& s) {
    const int q0 = tg_begun(w.axis[0], c.at0 - s.shift0);
    const int q1 = tg_begun(w.axis[1], c.at1 - s.shift1);
    const int q2 = tg_begun(w.axis[2], c.at2 - s.shift2);
    if (q0 < 0 || q1 < 0 || q2 < 0 || s.channel < 0 || c.image < 0) return -1;
    return (static_cast<i64>(q0) * w.axis[1].count + q1) * w.axis[2].count + q2;
}
TG_FN float tg_fma(float a, float b, float c) { return fmaf(a, b, c); }
TG_FN double tg_fma(double a, double b, double c) { return fma(a, b, c); }

// export: conv_f32 = conv_gemm<float, 0, 128, 64, 8, 4>
// export: conv_f64 = conv_gemm<double, 0, 64, 64, 4, 4>
// export: conv_f16 = conv_gemm<__half, 0, 128, 64, 8, 4>
// export: conv_bf16 = conv_gemm<__nv_bfloat16, 0, 128, 64, 8, 4>
// export: conv_middle_f32 = conv_gemm<float, 0, 64, 128, 8, 4>
// export: conv_middle_f16 = conv_gemm<__half, 0, 64, 128, 8, 4>
// export: conv_middle_bf16 = conv_gemm<__nv_bfloat16, 0, 64, 128, 8, 4>
// export: conv_narrow_f32 = conv_gemm<float, 0, 16, 128, 2, 4>
// export: conv_narrow_f64 = conv_gemm<double, 0, 16, 128, 2, 4>
// export: conv_narrow_f16 = conv_gemm<__half, 0, 16, 128, 2, 4>
// export: conv_narrow_bf16 = conv_gemm<__nv_bfloat16, 0, 16, 128, 2, 4>
// export: conv_input_f32 = conv_gemm<float, 1, 128, 64, 8, 4>
// export: conv_input_f64 = conv_gemm<double, 1, 64, 64, 4, 4>
// export: conv_input_f16 = conv_gemm<__half, 1, 128, 64, 8, 4>
// export: conv_input_bf16 = conv_gemm<__nv_bfloat16, 1, 128, 64, 8, 4>
// export: conv_input_middle_f32 = conv_gemm<float, 1, 64, 128, 8, 4>
// export: conv_input_middle_f16 = conv_gemm<__half, 1, 64, 128, 8, 4>
// export: conv_input_middle_bf16 = conv_gemm<__nv_bfloat16, 1, 64, 128, 8, 4>
// export: conv_input_narrow_f32 = conv_gemm<float, 1, 16, 128, 2, 4>
// export: conv_input_narrow_f64 = conv_gemm<double, 1, 16, 128, 2, 4>
// export: conv_input_narrow_f16 = conv_gemm<__half, 1, 16, 128, 2, 4>
// export: conv_input_narrow_bf16 = conv_gemm<__nv_bfloat16, 1, 16, 128, 2, 4>
// export: conv_weight_f32 = conv_gemm<float, 2, 128, 64, 8, 4>
// export: conv_weight_f64 = conv_gemm<double, 2, 64, 64, 4, 4>
// export: conv_weight_f16 = conv_gemm<__half, 2, 128, 64, 8, 4>
// export: conv_weight_bf16 = conv_gemm<__nv_bfloat16, 2, 128, 64, 8, 4>
// export: conv_weight_middle_f32 = conv_gemm<float, 2, 64, 128, 8, 4>
// export: conv_weight_middle_f16 = conv_gemm<__half, 2, 64, 128, 8, 4>
// export: conv_weight_middle_bf16 = conv_gemm<__nv_bfloat16, 2, 64, 128, 8, 4>
// export: conv_weight_narrow_f32 = conv_gemm<float, 2, 16, 128, 2, 4>
// export: conv_weight_narrow_f64 = conv_gemm<double, 2, 16, 128, 2, 4>
// export: conv_weight_narrow_f16 = conv_gemm<__half, 2, 16, 128, 2, 4>
// export: conv_weight_narrow_bf16 = conv_gemm<__nv_bfloat16, 2, 16, 128, 2, 4>
template <class T, int MODE, int BM, int BN, int TM, int TN>
__global__ void __launch_bounds__(256, 2) conv_gemm(
    const T* left, const T* right, T* out, const T* bias, tg_compute<T>* partial, tg_windows w,
    int images, int groups, int outputs, int channels, int slabs, int slab) {
    using C = tg_compute<T>;
    constexpr int BK = 8, THREADS = 256;
    constexpr int A = (BM * BK + THREADS - 1) / THREADS, B = BN * BK / THREADS;
    constexpr int STEP = THREADS / BK;         // rows of the left tile that are loaded at once
    constexpr bool WEIGHT = MODE == TG_CONV_WEIGHT;
    constexpr int ACROSS = BN / TN;
    static_assert(B * STEP == BN && ACROSS * (BM / TM) == THREADS, "tiles");
    alignas(16) __shared__ C left_tile[2][BK][BM + 4];
    alignas(16) __shared__ C right_tile[2][BK][BN + 4];
    __shared__ tg_step steps[2][BK];           // unless WEIGHT: the next two groups of k

    const int taps = static_cast<int>(w.kernels[0].by);
    const int sizes = static_cast<int>(w.sizes[0].by), counts = static_cast<int>(w.counts[0].by);
    const int rows = MODE == TG_CONV_INPUT ? channels : outputs;
    const int columns = WEIGHT ? channels * taps
                               : images * (MODE == TG_CONV ? counts : sizes);
    const int terms = WEIGHT ? images * counts : (MODE == TG_CONV ? channels : outputs) * taps;
    const int tid = static_cast<int>(threadIdx.x);
    const int row0 = static_cast<int>(blockIdx.y) * BM, column0 = static_cast<int>(blockIdx.x) * BN;
    // Which elements this thread gathers: of both tiles a place along k, and rows or columns.
    const int left_k = tid % BK, left_row = tid / BK;
    const int right_k = WEIGHT ? tid % BK : tid / BN;
    const int right_column = WEIGHT ? tid / BK : tid % BN;
    constexpr int K_STEP = THREADS / BN;       // unless WEIGHT
    const int tx = tid % ACROSS, ty = tid / ACROSS;

    for (u32 z = blockIdx.z; z < static_cast<u32>(groups) * slabs; z += gridDim.z) {
        const int group = static_cast<int>(z) % groups, part = static_cast<int>(z) / groups;
        const int first = part * slab;
        const int stop = WEIGHT && first + slab < terms ? first + slab : terms;
        // What of the columns does not change with k.
        tg_column column;
        int channel[WEIGHT ? B : 1];
        tg_tap tap[WEIGHT ? B : 1];
        if constexpr (WEIGHT) {
#pragma unroll
            for (int i = 0; i < B; i++) {
                u32 n = static_cast<u32>(column0 + right_column + i * STEP);
                const bool there = n < static_cast<u32>(columns);
                const int c = tg_split(n, w.kernels[0]);
                channel[i] = there ? c : -1;
                tap[i] = tg_tap_of(w, n);
            }
        } else {
            const int n = column0 + right_column;
            column = tg_column_of(w, MODE == TG_CONV_INPUT, static_cast<u32>(n), n < columns);
        }

        C a[A], b[B];
        auto gather = [&](int k0, int turn) {
            {
                const int k = k0 + left_k;
                u32 rest = static_cast<u32>(k);
                const int lead = WEIGHT ? tg_split(rest, w.counts[0])
                                 : MODE == TG_CONV_INPUT ? tg_split(rest, w.kernels[0]) : 0;
#pragma unroll
                for (int i = 0; i < A; i++) {
                    const int m = row0 + left_row + i * STEP;
                    a[i] = C(0);
                    if (k >= stop || m >= rows || left_row + i * STEP >= BM) continue;
                    i64 at;
                    if constexpr (MODE == TG_CONV)
                        at = (static_cast<i64>(group) * outputs + m) * terms + k;
                    else if constexpr (MODE == TG_CONV_INPUT)
                        at = ((static_cast<i64>(group) * outputs + lead) * channels + m) * taps +
                             rest;
                    else
                        at = ((static_cast<i64>(lead) * groups + group) * outputs + m) * counts +
                             rest;
                    a[i] = tg_load(left[at]);
                }
            }
            if constexpr (WEIGHT) {
                const int k = k0 + right_k;
                const tg_spot q = tg_spot_of(w.counts, static_cast<u32>(k), k < stop);
                const i64 base = (static_cast<i64>(q.image) * groups + group) * channels;
#pragma unroll
                for (int i = 0; i < B; i++) {
                    const i64 at = tg_met(w, q, tap[i]);
                    b[i] = at < 0 || channel[i] < 0
                               ? C(0) : C(tg_load(right[(base + channel[i]) * sizes + at]));
                }
            } else {
                const int depth = MODE == TG_CONV ? channels : outputs;
                const int inner = MODE == TG_CONV ? sizes : counts;
                const i64 base = (static_cast<i64>(column.image) * groups + group) * depth;
#pragma unroll
                for (int i = 0; i < B; i++) {
                    const tg_step step = steps[turn][right_k + i * K_STEP];
                    const i64 at = MODE == TG_CONV ? tg_forth(w, column, step)
                                                   : tg_back(w, column, step);
                    b[i] = at < 0 ? C(0) : C(tg_load(right[(base + step.channel) * inner + at]));
                }
            }
        };
        auto keep = [&](int buffer) {
#pragma unroll
            for (int i = 0; i < A; i++)
                if (left_row + i * STEP < BM) left_tile[buffer][left_k][left_row + i * STEP] = a[i];
#pragma unroll
            for (int i = 0; i < B; i++) {
                const int k = WEIGHT ? right_k : right_k + i * K_STEP;
                right_tile[buffer][k][WEIGHT ? right_column + i * STEP : right_column] = b[i];
            }
        };

        C sum[TM][TN];
#pragma unroll
        for (int i = 0; i < TM; i++)
#pragma unroll
            for (int j = 0; j < TN; j++) sum[i][j] = C(0);
        __syncthreads();  // the tiles of the last z were read
        if (!WEIGHT && tid < 2 * BK)
            steps[tid / BK][tid % BK] = tg_step_of(w, first + tid, stop);
        __syncthreads();
        gather(first, 0);
        keep(0);
        __syncthreads();
        int buffer = 0;
        for (int k0 = first; k0 < stop; k0 += BK) {
            const bool more = k0 + BK < stop;
            if (more) gather(k0 + BK, buffer ^ 1);
            // Read before the last barrier, and after the next one.
            if (!WEIGHT && tid < BK) steps[buffer][tid] = tg_step_of(w, k0 + 2 * BK + tid, stop);
#pragma unroll
            for (int k = 0; k < BK; k++) {
                C u[TM], v[TN];
#pragma unroll
                for (int i = 0; i < TM; i++) u[i] = left_tile[buffer][k][ty * TM + i];
#pragma unroll
                for (int j = 0; j < TN; j++) v[j] = right_tile[buffer][k][tx * TN + j];
#pragma unroll
                for (int i = 0; i < TM; i++)
#pragma unroll
                    for (int j = 0; j < TN; j++) sum[i][j] = tg_fma(u[i], v[j], sum[i][j]);
            }
            if (more) keep(buffer ^ 1);
            __syncthreads();
            buffer ^= 1;
        }

#pragma unroll
        for (int j = 0; j < TN; j++) {
            const int n = column0 + tx * TN + j;
            if (n >= columns) continue;
            u32 rest = static_cast<u32>(n);
            const int inner = MODE == TG_CONV ? counts : sizes;
            const int image = WEIGHT ? 0 : tg_split(rest, MODE == TG_CONV ? w.counts[0]
                                                                          : w.sizes[0]);
#pragma unroll
            for (int i = 0; i < TM; i++) {
                const int m = row0 + ty * TM + i;
                if (m >= rows) continue;
                const int row = group * rows + m;
                if constexpr (WEIGHT) {
                    const i64 at = static_cast<i64>(row) * columns + n;
                    if (slabs > 1)
                        partial[static_cast<i64>(part) * groups * rows * columns + at] = sum[i][j];
                    else
                        out[at] = tg_store<T>(sum[i][j]);
                } else {
                    const C found = bias ? sum[i][j] + C(tg_load(bias[row])) : sum[i][j];
                    const i64 at = (static_cast<i64>(image) * groups * rows + row) * inner + rest;
                    out[at] = tg_store<T>(found);
                }
            }
        }
    }
}

// export: conv_fold_f32 = conv_fold<float, 256>
// export: conv_fold_f64 = conv_fold<double, 256>
// export: conv_fold_f16 = conv_fold<__half, 256>
// export: conv_fold_bf16 = conv_fold<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) conv_fold(
    const tg_compute<T>* partial, T* out, i64 n, int slabs) {
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    for (i64 i = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x; i < n; i += stride) {
        tg_compute<T> sum = partial[i];
        for (int s = 1; s < slabs; s++) sum += partial[s * n + i];
        out[i] = tg_store<T>(sum);
    }
}
