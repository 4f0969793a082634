// Sums, maxima and scans of a warp and of a block, in an order that depends on the block's size.
//
// A block reduction takes `scratch`, BLOCK/32 elements of shared memory, is called by all threads
// of the block, gives them all the same value and ends with __syncthreads(), so that scratch may
// be used again at once. BLOCK is a multiple of 32, at most 1024.
// Order: a butterfly over the 32 lanes (distances 16 8 4 2 1), then the warps from first to last.
#pragma once
#include "common.cuh"

#define TG_FULL 0xffffffffu

struct tg_plus {
    template <class T> TG_FN T operator()(T a, T b) const { return a + b; }
};
// A NaN wins, as in numpy.max.
struct tg_larger {
    template <class T> TG_FN T operator()(T a, T b) const { return tg_maximum(a, b); }
};
struct tg_smaller {
    template <class T> TG_FN T operator()(T a, T b) const { return tg_minimum(a, b); }
};
struct tg_times {
    template <class T> TG_FN T operator()(T a, T b) const { return a * b; }
};

// `width` lanes, a power of two, reduce together.
template <class F, class T> TG_FN T tg_warp_reduce(F f, T v, int width = 32) {
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) {
        const T other = __shfl_xor_sync(TG_FULL, v, o);
        if (o < width) v = f(v, other);
    }
    return v;
}
template <class T> TG_FN T tg_warp_sum(T v) { return tg_warp_reduce(tg_plus(), v); }
template <class T> TG_FN T tg_warp_max(T v) { return tg_warp_reduce(tg_larger(), v); }

template <int BLOCK, class F, class T> TG_FN T tg_block_reduce(F f, T v, T* scratch) {
    v = tg_warp_reduce(f, v);
    if constexpr (BLOCK > 32) {
        if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = v;
        __syncthreads();
        v = scratch[0];
#pragma unroll
        for (int w = 1; w < BLOCK / 32; w++) v = f(v, scratch[w]);
        __syncthreads();
    }
    return v;
}
template <int BLOCK, class T> TG_FN T tg_block_sum(T v, T* scratch) {
    return tg_block_reduce<BLOCK>(tg_plus(), v, scratch);
}
template <int BLOCK, class T> TG_FN T tg_block_max(T v, T* scratch) {
    return tg_block_reduce<BLOCK>(tg_larger(), v, scratch);
}

// Inclusive scan of a warp: lane l gets f(v_0, ..., v_l).
template <class F, class T> TG_FN T tg_warp_scan(F f, T v) {
#pragma unroll
    for (int o = 1; o < 32; o <<= 1) {
        const T before = __shfl_up_sync(TG_FULL, v, o);
        if (static_cast<int>(threadIdx.x % 32) >= o) v = f(before, v);
    }
    return v;
}
