// CUDA's language and thread model in C++20, so that kernel sources compile unchanged with g++ and
// run on the CPU. Each CUDA thread of a block is a fiber (cuda_host.cpp); blocks run one by one.
//
// Covered: __global__, __device__, __shared__ (static, and dynamic by CUDA_DYN_SHARED), indices,
// __syncthreads and its votes, __syncwarp, shuffles, votes, integer warp reductions, atomics,
// fences, vector types, __half and __nv_bfloat16 with their conversions, the math library.
// Left out on purpose: fast-math names (__expf, ...). Not covered: inline PTX, clusters, TMA,
// __device__ variables, cooperative groups, textures.
//
// Fresh shared memory holds 0xff bytes (NaN). A lane that reads a shuffle from a lane that does not
// take part gets 0xff bytes. A barrier that not every thread of the block reaches is a fault.
#pragma once
#define CUDA_HOST_SIM 1
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __align__(n) alignas(n)
#define __constant__ static const
#define __grid_constant__
#define __shared__ static  // one block runs at a time; the module's .bss is poisoned before each
#define CUDA_DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(cuda_host::dynamic_shared)

#include "cuda_host_types.h"
#include "cuda_host_math.h"

// ------------------------------------------------------------------ the runtime's side

#pragma GCC visibility push(default)
namespace cuda_host {

enum Kind : int { block_barrier, warp_barrier, shuffle, vote };

// What a kernel sees of its thread, and what it hands over when it waits.
struct Thread {
    uint3 index;
    unsigned lane;
    Kind kind;
    unsigned mask;
    int source;          // shuffle: the lane read, or -1 for one's own value
    int predicate;       // votes
    unsigned result;     // votes: a bit per lane; block votes: how many threads said yes
    const char* file;    // where it waits
    int line;
    alignas(16) unsigned char given[16];
    alignas(16) unsigned char taken[16];
};

extern Thread* current;
extern uint3 block_index;
extern dim3 block_size, grid_size;
extern unsigned char* dynamic_shared;

void wait();                                   // until the threads concerned have all arrived
[[noreturn]] void fault(const char* message);  // ends the launch

struct Launch {
    unsigned grid[3], block[3];
    uint64_t shared;         // bytes of dynamic shared memory
    int schedule;            // 0 even, 1 ascending, 2 descending, 3 random
    int unordered_blocks;    // for the thread sanitizer: no order between blocks
    uint64_t seed;
    const uint64_t* blocks;  // linear indices of the blocks to run; null runs all
    uint64_t n_blocks;
};
// Runs body(context) for every thread; null, or the text of the fault.
const char* run(const Launch* launch, void (*body)(void*), void* context, char* bss, char* end);

}  // namespace cuda_host
#pragma GCC visibility pop

// What touches a thread's record is no access of the kernel.
#define CUDA_HOST_QUIET __attribute__((no_sanitize("thread")))

namespace cuda_host {

CUDA_HOST_QUIET inline void arrive(Kind kind, const char* file, int line,
                                   unsigned mask = 0xffffffffu) {
    current->kind = kind;
    current->mask = mask;
    current->file = file;
    current->line = line;
    if (kind != block_barrier && !((mask >> current->lane) & 1))
        fault("a lane calls a warp operation whose mask leaves it out");
    wait();
}

}  // namespace cuda_host

#define threadIdx (cuda_host::current->index)
#define blockIdx (cuda_host::block_index)
#define blockDim (cuda_host::block_size)
#define gridDim (cuda_host::grid_size)
inline constexpr int warpSize = 32;

// ------------------------------------------------------------------ barriers, votes, shuffles

#define CUDA_HOST_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

CUDA_HOST_QUIET inline int __syncthreads_count(int predicate, CUDA_HOST_SITE) {
    cuda_host::current->predicate = predicate != 0;
    cuda_host::arrive(cuda_host::block_barrier, file, line);
    return static_cast<int>(cuda_host::current->result);
}
inline void __syncthreads(CUDA_HOST_SITE) { __syncthreads_count(0, file, line); }
inline int __syncthreads_or(int predicate, CUDA_HOST_SITE) {
    return __syncthreads_count(predicate, file, line) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_HOST_SITE) {
    const unsigned all = blockDim.x * blockDim.y * blockDim.z;
    return static_cast<unsigned>(__syncthreads_count(predicate, file, line)) == all;
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_HOST_SITE) {
    cuda_host::arrive(cuda_host::warp_barrier, file, line, mask);
}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
[[noreturn]] inline void __trap() { cuda_host::fault("__trap()"); }

CUDA_HOST_QUIET inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
    cuda_host::current->predicate = predicate != 0;
    cuda_host::arrive(cuda_host::vote, file, line, mask);
    return cuda_host::current->result;
}
inline int __any_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
    return __ballot_sync(mask, !predicate, file, line) == 0;
}
inline unsigned __activemask() { return 0xffffffffu; }

namespace cuda_host {
template <class T>
CUDA_HOST_QUIET T exchange(unsigned mask, T value, int source, const char* file, int line) {
    static_assert(sizeof(T) <= 16 && std::is_trivially_copyable_v<T>);
    current->source = source;
    __builtin_memcpy(current->given, &value, sizeof(T));
    arrive(shuffle, file, line, mask);
    __builtin_memcpy(&value, current->taken, sizeof(T));
    return value;
}
}  // namespace cuda_host

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32, CUDA_HOST_SITE) {
    const int base = static_cast<int>(cuda_host::current->lane) & ~(width - 1);
    return cuda_host::exchange(mask, value, base | (from & (width - 1)), file, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_HOST_SITE) {
    const int lane = cuda_host::current->lane, from = lane ^ bits;
    const bool own = from > (lane | (width - 1)) || from > 31;
    return cuda_host::exchange(mask, value, own ? -1 : from, file, line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_HOST_SITE) {
    const int lane = cuda_host::current->lane;
    const bool own = (lane & (width - 1)) + by >= static_cast<unsigned>(width);
    return cuda_host::exchange(mask, value, own ? -1 : lane + static_cast<int>(by), file, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_HOST_SITE) {
    const int lane = cuda_host::current->lane;
    const bool own = static_cast<unsigned>(lane & (width - 1)) < by;
    return cuda_host::exchange(mask, value, own ? -1 : lane - static_cast<int>(by), file, line);
}

#define CUDA_HOST_WARP_REDUCE(name, type, combine)                            \
    inline type name(unsigned mask, type value, CUDA_HOST_SITE) {             \
        type all[32], total{};                                                \
        for (int l = 0; l < 32; l++)                                          \
            if ((mask >> l) & 1) all[l] = __shfl_sync(mask, value, l, 32, file, line); \
        bool first = true;                                                    \
        for (int l = 0; l < 32; l++)                                          \
            if ((mask >> l) & 1) {                                            \
                const type a = total, b = all[l];                             \
                total = first ? b : (combine);                                \
                first = false;                                                \
            }                                                                 \
        return total;                                                         \
    }
CUDA_HOST_WARP_REDUCE(__reduce_add_sync, unsigned, a + b)
CUDA_HOST_WARP_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
CUDA_HOST_WARP_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
CUDA_HOST_WARP_REDUCE(__reduce_add_sync, int, a + b)
CUDA_HOST_WARP_REDUCE(__reduce_min_sync, int, a < b ? a : b)
CUDA_HOST_WARP_REDUCE(__reduce_max_sync, int, a > b ? a : b)
CUDA_HOST_WARP_REDUCE(__reduce_and_sync, unsigned, a & b)
CUDA_HOST_WARP_REDUCE(__reduce_or_sync, unsigned, a | b)
CUDA_HOST_WARP_REDUCE(__reduce_xor_sync, unsigned, a ^ b)

// ------------------------------------------------------------------ atomics and hinted accesses

namespace cuda_host {
template <class T> using Same = std::type_identity_t<T>;

template <class T, class F> T update(T* p, F next) {
    T old, fresh;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do fresh = next(old);
    while (!__atomic_compare_exchange(p, &old, &fresh, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
}  // namespace cuda_host

#define CUDA_HOST_ATOMIC(name, combine)                                        \
    template <class T> T name(T* p, cuda_host::Same<T> b) {                    \
        return cuda_host::update(p, [b](T a) { return static_cast<T>(combine); }); \
    }
CUDA_HOST_ATOMIC(atomicAdd, a + b)
CUDA_HOST_ATOMIC(atomicSub, a - b)
CUDA_HOST_ATOMIC(atomicExch, (static_cast<void>(a), b))
CUDA_HOST_ATOMIC(atomicMin, b < a ? b : a)
CUDA_HOST_ATOMIC(atomicMax, a < b ? b : a)
CUDA_HOST_ATOMIC(atomicAnd, a & b)
CUDA_HOST_ATOMIC(atomicOr, a | b)
CUDA_HOST_ATOMIC(atomicXor, a ^ b)
CUDA_HOST_ATOMIC(atomicInc, a >= b ? 0 : a + 1)
CUDA_HOST_ATOMIC(atomicDec, a == 0 || a > b ? b : a - 1)
template <class T> T atomicCAS(T* p, cuda_host::Same<T> expected, cuda_host::Same<T> value) {
    __atomic_compare_exchange(p, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}

#define CUDA_HOST_LOAD(name) \
    template <class T> T name(const T* p) { return *p; }
CUDA_HOST_LOAD(__ldg)
CUDA_HOST_LOAD(__ldca)
CUDA_HOST_LOAD(__ldcg)
CUDA_HOST_LOAD(__ldcs)
CUDA_HOST_LOAD(__ldlu)
CUDA_HOST_LOAD(__ldcv)
#define CUDA_HOST_STORE(name) \
    template <class T> void name(T* p, cuda_host::Same<T> value) { *p = value; }
CUDA_HOST_STORE(__stwb)
CUDA_HOST_STORE(__stcg)
CUDA_HOST_STORE(__stcs)
CUDA_HOST_STORE(__stwt)

// ------------------------------------------------------------------ entry points for Python

namespace cuda_host {

// b bool, i and u integers, f floating, e half, g bfloat16, v void, s anything else, p pointer.
template <class T> constexpr char code() {
    if constexpr (std::is_same_v<T, bool>) return 'b';
    else if constexpr (std::is_void_v<T>) return 'v';
    else if constexpr (std::is_pointer_v<T>) return 'p';
    else if constexpr (std::is_floating_point_v<T>) return 'f';
    else if constexpr (std::is_integral_v<T>) return std::is_signed_v<T> ? 'i' : 'u';
    else if constexpr (std::is_same_v<T, __half>) return 'e';
    else if constexpr (std::is_same_v<T, __nv_bfloat16>) return 'g';
    else return 's';
}
template <class T> constexpr int size() {
    if constexpr (std::is_void_v<T>) return 0;
    else return sizeof(T);
}
struct Argument {
    char code, pointee;
    int size, pointee_size, is_const;
};
template <class T> constexpr Argument argument() {
    static_assert(!std::is_reference_v<T>, "a kernel takes pointers and values");
    using P = std::remove_pointer_t<T>;
    using U = std::remove_cv_t<P>;
    if constexpr (std::is_pointer_v<T>)
        return {'p', code<U>(), sizeof(T), size<U>(), std::is_const_v<P>};
    else return {code<T>(), 0, sizeof(T), 0, 0};
}
template <class... A> struct Signature {
    static constexpr int count = sizeof...(A);
    static constexpr Argument arguments[sizeof...(A) + 1] = {argument<A>()..., {}};
    template <auto kernel, size_t... I> static void apply(void** at, std::index_sequence<I...>) {
        kernel(*static_cast<std::remove_cv_t<A>*>(at[I])...);
    }
    template <auto kernel> static void body(void* at) {
        apply<kernel>(static_cast<void**>(at), std::index_sequence_for<A...>{});
    }
};
template <class... A> Signature<A...> signature(void (*)(A...));

}  // namespace cuda_host

extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];

#define CUDA_HOST_EXPORT(name, ...)                                                              \
    extern "C" __attribute__((visibility("default"))) const char* cuda_host_launch_##name(       \
        const cuda_host::Launch* launch, void** arguments) {                                     \
        using S = decltype(cuda_host::signature(&__VA_ARGS__));                                  \
        return cuda_host::run(launch, &S::template body<&__VA_ARGS__>, arguments, __bss_start,   \
                              _end);                                                             \
    }                                                                                            \
    extern "C" __attribute__((visibility("default"))) const cuda_host::Argument*                 \
        cuda_host_arguments_##name(int* count) {                                                 \
        using S = decltype(cuda_host::signature(&__VA_ARGS__));                                  \
        *count = S::count;                                                                       \
        return S::arguments;                                                                     \
    }
