// Stable argsort of whole numbers below a bound: a radix sort, 8 bits a pass, the lowest first.
//
// key = k for 0 <= k < limit, k + limit for -limit <= k < 0 (it counts from the end), and limit,
// which comes last, for every other k. sorted = the keys in ascending order, order = where they
// stood; equal keys keep their order. i32, i64: the type of the keys as they are given; sorted and
// order are i64 (n). passes = max(1, ceil(bits of limit / 8)); nothing is read on the host.
//
// argsort_small_*    everything in one launch: grid 1, block 1024, n <= 8192 (int). Scratch
//                    other_sorted, other_order (n). No two of the arrays overlap.
// Beyond, three launches a pass (shift 0, 8, ...), over tiles = ceil(n / 4096) of 4096 keys; the
// first pass reads the keys as given (order null), every other one what the last one wrote:
// argsort_count_*    counts (256, tiles) of i64: how often a tile has a digit. grid tiles, block 256
// argsort_scan       the sums before each tile, in place, and totals (256). grid 256, block 256
// argsort_scatter_*  keys and order to their places in sorted, order_out. grid tiles, block 256
// Bytes: n (3 sizeof(key) + 32) in a first pass, 48 n in another one.
// No atomics: a warp finds the lanes with its digit by votes, and warps count for themselves.
// Checked: host run against NumPy, NVRTC. tests/cuda/test_kernels_moves.py
#include "reduce.cuh"

constexpr int tg_digits = 256, tg_rounds = 16;

template <class K> TG_FN i64 tg_key(K given, i64 limit) {
    const i64 key = given < K(0) ? given + limit : i64(given);
    return key < 0 || key > limit ? limit : key;
}
TG_FN int tg_digit(i64 key, int shift) { return static_cast<int>(key >> shift) & (tg_digits - 1); }

// The lanes of the warp that have a key with the same digit as this one's.
TG_FN u32 tg_peers(int digit, bool there) {
    u32 peers = __ballot_sync(TG_FULL, there);
#pragma unroll
    for (int b = 0; b < 8; b++) {
        const bool bit = digit >> b & 1;
        const u32 set = __ballot_sync(TG_FULL, bit);
        peers &= bit ? set : ~set;
    }
    return peers;
}

// What a warp does with its keys [begin, begin + 32 rounds): in their order, 32 at a time.
template <class F> TG_FN void tg_each_key(i64 begin, i64 n, int rounds, F f) {
    const int lane = threadIdx.x % 32;
    for (int r = 0; r < rounds; r++) {
        const i64 i = begin + r * 32 + lane;
        f(i, i < n, (1u << lane) - 1);
        __syncwarp();
    }
}

// The digits of a warp's keys, counted; `count` belongs to the warp and begins as 0.
template <class K>
TG_FN void tg_count_warp(
    int* count, const K* keys, i64 begin, i64 n, int rounds, i64 limit, int shift) {
    tg_each_key(begin, n, rounds, [&](i64 i, bool there, u32 before) {
        const int digit = there ? tg_digit(tg_key(keys[i], limit), shift) : 0;
        const u32 peers = tg_peers(digit, there);
        if (there && !(peers & before)) count[digit] += __popc(peers);
    });
}

// A warp's keys written to their places; `place` is where its next key with a digit goes.
template <class P, class K>
TG_FN void tg_scatter_warp(
    P* place, const K* keys, const i64* order, i64* sorted, i64* order_out, i64 begin, i64 n,
    int rounds, i64 limit, int shift) {
    tg_each_key(begin, n, rounds, [&](i64 i, bool there, u32 before) {
        const i64 key = there ? tg_key(keys[i], limit) : 0;
        const int digit = tg_digit(key, shift);
        const u32 peers = tg_peers(digit, there);
        const i64 to = place[digit] + __popc(peers & before);
        __syncwarp();
        if (!there) return;
        sorted[to] = key;
        order_out[to] = order ? order[i] : i;
        if (!(peers & before)) place[digit] += __popc(peers);
    });
}

// The sum of what the threads before this one gave; called by all, BLOCK threads.
template <int BLOCK, class C> TG_FN C tg_block_before(C v, C* scratch) {
    const C upto = tg_warp_scan(tg_plus(), v);
    if (threadIdx.x % 32 == 31) scratch[threadIdx.x / 32] = upto;
    __syncthreads();
    C sum = upto - v;
    for (int w = 0; w < static_cast<int>(threadIdx.x / 32); w++) sum += scratch[w];
    __syncthreads();
    return sum;
}

// export: argsort_count_i32 = argsort_count<int, 256>
// export: argsort_count_i64 = argsort_count<long long, 256>
template <class K, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) argsort_count(
    const K* __restrict__ keys, i64* __restrict__ counts, i64 n, i64 limit, int shift) {
    constexpr int WARPS = BLOCK / 32, PART = tg_rounds * 32;
    static_assert(BLOCK == tg_digits, "a digit a thread");
    __shared__ int count[WARPS][tg_digits];
    const int d = threadIdx.x, warp = threadIdx.x / 32;
    for (int w = 0; w < WARPS; w++) count[w][d] = 0;
    __syncthreads();
    const i64 begin = (static_cast<i64>(blockIdx.x) * WARPS + warp) * PART;
    tg_count_warp(count[warp], keys, begin, n, tg_rounds, limit, shift);
    __syncthreads();
    int sum = 0;
    for (int w = 0; w < WARPS; w++) sum += count[w][d];
    counts[static_cast<i64>(d) * gridDim.x + blockIdx.x] = sum;
}

// export: argsort_scan = argsort_scan_tiles<256>
template <int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1)
    argsort_scan_tiles(i64* __restrict__ counts, i64* __restrict__ totals, int tiles) {
    __shared__ i64 scratch[BLOCK / 32];
    i64* row = counts + static_cast<i64>(blockIdx.x) * tiles;
    i64 carry = 0;
    for (int start = 0; start < tiles; start += BLOCK) {
        const int t = start + threadIdx.x;
        const i64 v = t < tiles ? row[t] : 0;
        const i64 before = tg_block_before<BLOCK>(v, scratch);
        if (t < tiles) row[t] = carry + before;
        carry += tg_block_sum<BLOCK>(v, scratch);
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = carry;
}

// export: argsort_scatter_i32 = argsort_scatter<int, 256>
// export: argsort_scatter_i64 = argsort_scatter<long long, 256>
template <class K, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) argsort_scatter(
    const K* __restrict__ keys, const i64* __restrict__ order, i64* __restrict__ sorted,
    i64* __restrict__ order_out, const i64* __restrict__ counts, const i64* __restrict__ totals,
    i64 n, i64 limit, int shift) {
    constexpr int WARPS = BLOCK / 32, PART = tg_rounds * 32;
    static_assert(BLOCK == tg_digits, "a digit a thread");
    __shared__ int count[WARPS][tg_digits];
    __shared__ i64 place[WARPS][tg_digits], scratch[WARPS];
    const int d = threadIdx.x, warp = threadIdx.x / 32;
    for (int w = 0; w < WARPS; w++) count[w][d] = 0;
    __syncthreads();
    const i64 begin = (static_cast<i64>(blockIdx.x) * WARPS + warp) * PART;
    tg_count_warp(count[warp], keys, begin, n, tg_rounds, limit, shift);
    i64 to = tg_block_before<BLOCK>(totals[d], scratch);
    to += counts[static_cast<i64>(d) * gridDim.x + blockIdx.x];
    for (int w = 0; w < WARPS; w++) {
        place[w][d] = to;
        to += count[w][d];
    }
    __syncthreads();
    tg_scatter_warp(
        place[warp], keys, order, sorted, order_out, begin, n, tg_rounds, limit, shift);
}

// One pass of one block over all keys: `place` has room for the digits of every warp.
template <int BLOCK, class K>
TG_FN void tg_pass(
    int (&place)[BLOCK / 32][tg_digits], int* scratch, const K* keys, const i64* order,
    i64* sorted, i64* order_out, int n, i64 limit, int shift) {
    constexpr int WARPS = BLOCK / 32;
    const int rounds = (n + BLOCK - 1) / BLOCK, warp = threadIdx.x / 32, d = threadIdx.x;
    const i64 begin = static_cast<i64>(warp) * rounds * 32;
    for (int k = d; k < WARPS * tg_digits; k += BLOCK) place[k / tg_digits][k % tg_digits] = 0;
    __syncthreads();
    tg_count_warp(place[warp], keys, begin, n, rounds, limit, shift);
    __syncthreads();
    int sum = 0;
    for (int w = 0; d < tg_digits && w < WARPS; w++) sum += place[w][d];
    int to = tg_block_before<BLOCK>(sum, scratch);
    for (int w = 0; d < tg_digits && w < WARPS; w++) {
        const int own = place[w][d];
        place[w][d] = to;
        to += own;
    }
    __syncthreads();
    tg_scatter_warp(place[warp], keys, order, sorted, order_out, begin, n, rounds, limit, shift);
    __syncthreads();
}

// export: argsort_small_i32 = argsort_small<int, 1024>
// export: argsort_small_i64 = argsort_small<long long, 1024>
template <class K, int BLOCK>
__global__ void __launch_bounds__(BLOCK, 1) argsort_small(
    const K* __restrict__ keys, i64* sorted, i64* order, i64* other_sorted, i64* other_order,
    int n, i64 limit, int passes) {
    __shared__ int place[BLOCK / 32][tg_digits], scratch[BLOCK / 32];
    i64 *to = sorted, *order_to = order, *from = other_sorted, *order_from = other_order;
    if (passes % 2 == 0) {
        to = other_sorted, order_to = other_order;
        from = sorted, order_from = order;
    }
    const i64* none = nullptr;
    tg_pass<BLOCK>(place, scratch, keys, none, to, order_to, n, limit, 0);
    for (int pass = 1; pass < passes; pass++) {
        i64 *const read = to, *const order_read = order_to;
        to = from, order_to = order_from;
        from = read, order_from = order_read;
        const i64 *given = from, *given_order = order_from;
        tg_pass<BLOCK>(place, scratch, given, given_order, to, order_to, n, limit, 8 * pass);
    }
}
