// Numbers of the host in device memory: target[i] = words.w[i] for i < count.
//
// What changes from step to step under a captured graph (rates, the counters of draws) is read from
// device memory. This writes it there before a replay, in the order of the stream; the numbers are
// arguments of the launch, so the host may forget them as soon as that returns.
//
// target (count) of 8-byte words, count <= N.
// Launch: grid 1, block N. Bytes: 8 count. Checked: host run. tests/cuda/test_kernels_random.py
#include "common.cuh"

template <int N> struct tg_given {
    u64 w[N];
};

// export: put_words_32 = put_words<32>
// export: put_words_256 = put_words<256>
template <int N>
__global__ void __launch_bounds__(N, 1) put_words(
    u64* __restrict__ target, const tg_given<N> words, int count) {
    const int i = threadIdx.x;
    if (i < count) target[i] = words.w[i];
}
