// Fills with random numbers: the draws of tensorgrad/backend/philox.py, element by element.
//
// uniform   (word >> 8) 2^-24, f64 (64-bit words): (word >> 11) 2^-53; f16 and bf16 are the float
//           rounded toward zero
// normal    elements 2i and 2i+1: r cos θ and r sin θ of words 2i and 2i+1 (f64: 64-bit words)
// integers  low + (word span >> b): b = 32 where span <= 2^32, else 64-bit words and b = 64;
//           span 0 stands for 2^64. By the size of the dtype: integers wrap, so signs do not matter
// All of them bit for bit.
//
// out (n) contiguous; the 128-bit counter is (high, low). Where they are
// not null, *stored is the key and *step is added to low: numbers in device memory, which change
// under a captured graph.
// Launch: block 256, grid ceil(n / (256 E)) or fewer (the kernel walks on), E = 4 elements a
// thread, 2 for 64-bit words. Bytes: n sizeof(T), written 16 at a time where aligned (8 for two-byte T).
// Checked: host run against philox.py. tests/cuda/test_kernels_random.py
#define TG_HALF
#include "philox.cuh"

// Toward zero: the bits that the narrow type lacks are cut before the conversion.
template <class T> TG_FN float tg_cut(float x) {
    constexpr u32 kept = sizeof(T) == 4 ? ~0u : tg_same<T, __half> ? 0xFFFFE000u : 0xFFFF0000u;
    constexpr int mask = static_cast<int>(kept);
    return __int_as_float(__float_as_int(x) & mask);
}
template <class T> TG_FN double tg_cut(double x) { return x; }

// export: uniform_f32 = uniform<float, 256>
// export: uniform_f64 = uniform<double, 256>
// export: uniform_f16 = uniform<__half, 256>
// export: uniform_bf16 = uniform<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) uniform(
    T* __restrict__ out, i64 n, u64 key, u64 low, u64 high,
    const u64* __restrict__ stored, const u64* __restrict__ step) {
    using C = tg_compute<T>;
    constexpr int N = 16 / sizeof(C);
    const u64 start = low + (step ? *step : 0);
    if (stored) key = *stored;
    const bool wide = tg_aligned_by<N>(out);
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    for (i64 i = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x; i * N < n; i += stride) {
        const tg_words r = tg_philox(start + i, high, key);
        C v[N];
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = tg_cut<T>(tg_unit<C>(tg_real<C>::take(r, k)));
        tg_write(out, v, i * N, n, wide);
    }
}

// export: normal_f32 = normal<float, 256>
// export: normal_f64 = normal<double, 256>
// export: normal_f16 = normal<__half, 256>
// export: normal_bf16 = normal<__nv_bfloat16, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) normal(
    T* __restrict__ out, i64 n, u64 key, u64 low, u64 high,
    const u64* __restrict__ stored, const u64* __restrict__ step) {
    using C = tg_compute<T>;
    constexpr int N = 16 / sizeof(C);
    const u64 start = low + (step ? *step : 0);
    if (stored) key = *stored;
    const bool wide = tg_aligned_by<N>(out);
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    for (i64 i = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x; i * N < n; i += stride) {
        const tg_words r = tg_philox(start + i, high, key);
        C v[N];
#pragma unroll
        for (int k = 0; k < N; k += 2) {
            const C radius = tg_radius<C>(tg_real<C>::take(r, k));
            tg_turn<C>(tg_real<C>::take(r, k + 1), v[k], v[k + 1]);
            v[k] *= radius;
            v[k + 1] *= radius;
        }
        tg_write(out, v, i * N, n, wide);
    }
}

// export: integers_1 = integers<unsigned char, 256>
// export: integers_2 = integers<unsigned short, 256>
// export: integers_4 = integers<unsigned int, 256>
// export: integers_8 = integers<unsigned long long, 256>
template <class T, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) integers(
    T* __restrict__ out, i64 n, u64 least, u64 span, u64 key, u64 low, u64 high,
    const u64* __restrict__ stored, const u64* __restrict__ step) {
    const u64 start = low + (step ? *step : 0);
    if (stored) key = *stored;
    const i64 stride = static_cast<i64>(gridDim.x) * BLOCK;
    i64 i = static_cast<i64>(blockIdx.x) * BLOCK + threadIdx.x;
    if (span != 0 && span <= 1ull << 32) {
        const bool wide = tg_aligned_by<4>(out);
        for (; i * 4 < n; i += stride) {
            const tg_words r = tg_philox(start + i, high, key);
            T v[4];
#pragma unroll
            for (int k = 0; k < 4; k++) v[k] = static_cast<T>(least + (r.w[k] * span >> 32));
            tg_write(out, v, i * 4, n, wide);
        }
    } else {
        const bool wide = tg_aligned_by<2>(out);
        for (; i * 2 < n; i += stride) {
            const tg_words r = tg_philox(start + i, high, key);
            T v[2];
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const u64 word = r.wide(k);
                v[k] = static_cast<T>(least + (span ? __umul64hi(word, span) : word));
            }
            tg_write(out, v, i * 2, n, wide);
        }
    }
}
