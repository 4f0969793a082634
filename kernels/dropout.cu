// Dropout by counter: out = x scale where the mask keeps the element, else 0 (also for inf, NaN).
//
// Element i of mask m is kept if word i of the Philox stream (key, counter[m]) is >= threshold:
// threshold = floor(p 2^32), 2^32 and above keep nothing; scale = 1 / (1 - p). No mask is stored:
// backward is the same kernel on the cotangent. Bits of tensorgrad/backend/numpy_random.dropout.
//
// x, out (masks, n) contiguous, out may be x; counter u64 (masks) in device memory, and the key
// there too where `stored` is not null: both may change under a captured graph.
// T: f32, f64, f16, bf16; scale in the compute dtype.
// Launch: grid (ceil(n / (256 E)) or fewer, min(masks, 65535)), block 256, with E = 4 elements a
// thread, 8 for two-byte T; the kernel walks on. 16-byte accesses where aligned, tail by element.
// Bytes: 2 masks n sizeof(T). Checked: host run, bit for bit. tests/cuda/test_kernels_random.py
#define TG_HALF
#include "philox.cuh"

// export: dropout_f32 = dropout<float, 256>
// export: dropout_f64 = dropout<double, 256>
// export: dropout_f16 = dropout<__half, 256>
// export: dropout_bf16 = dropout<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) dropout(
    const T* x, T* out, const u64* __restrict__ counter, i64 masks, i64 n, u64 key,
    const u64* __restrict__ stored, u64 threshold, tg_compute<T> scale) {
    using C = tg_compute<T>;
    if (stored) key = *stored;
    constexpr int N = sizeof(T) == 2 ? 8 : 4;
    const i64 step = static_cast<i64>(gridDim.x) * BLOCK * N;
    for (i64 m = blockIdx.y; m < masks; m += gridDim.y) {
        const T* from = x + m * n;
        T* to = out + m * n;
        const bool wide = tg_aligned_by<N>(from) && tg_aligned_by<N>(to);
        const u64 start = counter[m];
        for (i64 j = (static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x) * N; j < n; j += step) {
            C v[N];
            tg_read(v, from, j, n, wide, C(0));
#pragma unroll
            for (int b = 0; b < N / 4; b++) {
                const tg_words r = tg_philox(start + j / 4 + b, 0, key);
#pragma unroll
                for (int k = 0; k < 4; k++)
                    v[4 * b + k] = r.w[k] >= threshold ? v[4 * b + k] * scale : C(0);
            }
            tg_write(to, v, j, n, wide);
        }
    }
}
