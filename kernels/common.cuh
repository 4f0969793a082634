// What every kernel and every generated text includes: types, conversions, 16-byte accesses, and
// the scalar functions with NumPy's semantics that CUDA's library does not have.
//
// float, double and integers as they are; half and bfloat16 (only where TG_HALF is defined before
// the include) are loaded to float, computed and stored once rounded. No host header, no fast-math
// name; compiled with --fmad=false, so a product and a sum are each rounded and fma() is explicit.
#pragma once

#ifndef CUDA_HOST_SIM
#ifdef TG_HALF
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif
#define CUDA_DYN_SHARED(T, name)                                    \
    extern __shared__ __align__(16) unsigned char tg_dynamic_raw[]; \
    T* name = reinterpret_cast<T*>(tg_dynamic_raw)
#endif

#define TG_FN __device__ __forceinline__

using i64 = long long;
using u64 = unsigned long long;
using u32 = unsigned int;

// ---- types: the type of the arithmetic, and the integer type of the same size

template <class T> struct tg_traits {
    using compute = T;
};
#ifdef TG_HALF
template <> struct tg_traits<__half> {
    using compute = float;
};
template <> struct tg_traits<__nv_bfloat16> {
    using compute = float;
};
#endif
template <class T> using tg_compute = typename tg_traits<T>::compute;

template <class A, class B> struct tg_pair {
    static constexpr bool same = false;
};
template <class A> struct tg_pair<A, A> {
    static constexpr bool same = true;
};
template <class A, class B> inline constexpr bool tg_same = tg_pair<A, B>::same;

template <class T> struct tg_is_float {
    static constexpr bool value = false;
};
template <> struct tg_is_float<float> {
    static constexpr bool value = true;
};
template <> struct tg_is_float<double> {
    static constexpr bool value = true;
};

template <class T> TG_FN T tg_load(T x) { return x; }
template <class T, class C> TG_FN T tg_store(C x) { return static_cast<T>(x); }
#ifdef TG_HALF
TG_FN float tg_load(__half x) { return __half2float(x); }
TG_FN float tg_load(__nv_bfloat16 x) { return __bfloat162float(x); }
template <> TG_FN __half tg_store<__half, float>(float x) { return __float2half_rn(x); }
template <> TG_FN __nv_bfloat16 tg_store<__nv_bfloat16, float>(float x) {
    return __float2bfloat16_rn(x);
}
#endif

// ---- 16-byte accesses

template <class T, int N> struct alignas(sizeof(T) * N) Vec {
    T v[N];
};
// Elements of T in 16 bytes.
template <class T> struct tg_wide {
    static constexpr int n = 16 / sizeof(T);
};
// Moved as CUDA's own vector types: a struct of elements may be taken apart by the compiler.
template <int BYTES> struct tg_raw;
template <> struct tg_raw<1> {
    using type = unsigned char;
};
template <> struct tg_raw<2> {
    using type = unsigned short;
};
template <> struct tg_raw<4> {
    using type = u32;
};
template <> struct tg_raw<8> {
    using type = uint2;
};
template <> struct tg_raw<16> {
    using type = uint4;
};
template <int N, class T> TG_FN Vec<T, N> tg_vec_load(const T* p) {
    constexpr int BYTES = sizeof(Vec<T, N>) < 16 ? sizeof(Vec<T, N>) : 16;
    using R = typename tg_raw<BYTES>::type;
    Vec<T, N> v;
#pragma unroll
    for (int k = 0; k < static_cast<int>(sizeof(v)) / BYTES; k++) {
        const R r = reinterpret_cast<const R*>(p)[k];
        memcpy(reinterpret_cast<R*>(&v) + k, &r, BYTES);
    }
    return v;
}
template <class T, int N> TG_FN void tg_vec_store(T* p, const Vec<T, N>& v) {
    constexpr int BYTES = sizeof(v) < 16 ? sizeof(v) : 16;
    using R = typename tg_raw<BYTES>::type;
#pragma unroll
    for (int k = 0; k < static_cast<int>(sizeof(v)) / BYTES; k++) {
        R r;
        memcpy(&r, reinterpret_cast<const R*>(&v) + k, BYTES);
        reinterpret_cast<R*>(p)[k] = r;
    }
}
// The same to global memory only, by an instruction that no optimisation takes apart (seen where
// the values came out of selects).
template <class T, int N> TG_FN void tg_vec_put(T* p, const Vec<T, N>& v) {
    constexpr int BYTES = sizeof(v) < 16 ? sizeof(v) : 16;
    using R = typename tg_raw<BYTES>::type;
#pragma unroll
    for (int k = 0; k < static_cast<int>(sizeof(v)) / BYTES; k++) {
        R r;
        memcpy(&r, reinterpret_cast<const R*>(&v) + k, BYTES);
        __stwb(reinterpret_cast<R*>(p) + k, r);
    }
}
// Whether N elements may be accessed at once from here on (16 bytes by default); null may.
template <int N, class T> TG_FN bool tg_aligned_by(const T* p) {
    return reinterpret_cast<u64>(p) % (N * sizeof(T)) == 0;
}
template <class T> TG_FN bool tg_aligned(const T* p) { return tg_aligned_by<16 / sizeof(T)>(p); }

// Elements j .. j+N-1 of a row of n, loaded at once if `wide` (aligned) and whole, `fill` past n.
// The index type I is int for rows shorter than 2^31 - 2^14 (half of the registers), else i64.
template <int N, class T, class C, class I>
TG_FN void tg_read(C (&v)[N], const T* p, I j, I n, bool wide, C fill) {
    if (wide && j + N <= n) {
        const Vec<T, N> r = tg_vec_load<N>(p + j);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = tg_load(r.v[k]);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = j + k < n ? tg_load(p[j + k]) : fill;
    }
}
// The same, leaving a copy of the raw elements in shared memory, to be read by this thread only.
template <int N, class T, class C, class I>
TG_FN void tg_read_keep(C (&v)[N], T* kept, const T* p, I j, I n, bool wide, C fill) {
    if (wide && j + N <= n) {
        const Vec<T, N> r = tg_vec_load<N>(p + j);
        tg_vec_store(kept + j, r);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = tg_load(r.v[k]);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] = fill;
            if (j + k < n) v[k] = tg_load(kept[j + k] = p[j + k]);
        }
    }
}
// Elements j .. j+N-1 of a row of n in global memory, likewise.
template <int N, class T, class C, class I>
TG_FN void tg_write(T* p, const C (&v)[N], I j, I n, bool wide) {
    if (wide && j + N <= n) {
        Vec<T, N> r;
#pragma unroll
        for (int k = 0; k < N; k++) r.v[k] = tg_store<T>(v[k]);
        tg_vec_put(p + j, r);
    } else {
#pragma unroll
        for (int k = 0; k < N; k++)
            if (j + k < n) p[j + k] = tg_store<T>(v[k]);
    }
}

// Report a row with an index out of range: flag becomes INT_MAX - (the first such row); 0 is none.
TG_FN void tg_raise(int* flag, i64 row) {
    atomicMax(flag, row < 0x7ffffffell ? 0x7fffffff - static_cast<int>(row) : 1);
}

// ---- constants and bits

template <class T> TG_FN T tg_inf();
template <> TG_FN float tg_inf<float>() { return __int_as_float(0x7f800000); }
template <> TG_FN double tg_inf<double>() { return __longlong_as_double(0x7ff0000000000000ll); }
template <class T> TG_FN T tg_nan();
template <> TG_FN float tg_nan<float>() { return __int_as_float(0x7fc00000); }
template <> TG_FN double tg_nan<double>() { return __longlong_as_double(0x7ff8000000000000ll); }

template <class T> TG_FN bool tg_isnan(T x) { return x != x; }
template <class T> TG_FN bool tg_isinf(T) { return false; }
TG_FN bool tg_isinf(float x) { return fabsf(x) == tg_inf<float>(); }
TG_FN bool tg_isinf(double x) { return fabs(x) == tg_inf<double>(); }
template <class T> TG_FN bool tg_isfinite(T) { return true; }
TG_FN bool tg_isfinite(float x) { return fabsf(x) < tg_inf<float>(); }
TG_FN bool tg_isfinite(double x) { return fabs(x) < tg_inf<double>(); }
template <class T> TG_FN bool tg_signbit(T x) { return x < T(0); }
TG_FN bool tg_signbit(float x) { return __float_as_int(x) < 0; }
TG_FN bool tg_signbit(double x) { return __double_as_longlong(x) < 0; }

// ---- what is exact on integers too: integers wrap, bools are 0 and 1

template <class T> TG_FN T tg_abs(T x) {
    return x < T(0) ? static_cast<T>(u64(0) - static_cast<u64>(x)) : x;
}
TG_FN bool tg_abs(bool x) { return x; }
TG_FN float tg_abs(float x) { return fabsf(x); }
TG_FN double tg_abs(double x) { return fabs(x); }

template <class T> TG_FN T tg_square(T x) {
    if constexpr (tg_is_float<T>::value)
        return x * x;
    else
        return static_cast<T>(static_cast<u64>(x) * static_cast<u64>(x));
}
template <class T> TG_FN T tg_sign(T x) {
    return x > T(0) ? T(1) : x < T(0) ? static_cast<T>(-1) : x == T(0) ? T(0) : x;
}
template <class T> TG_FN T tg_maximum(T a, T b) { return a > b || tg_isnan(a) ? a : b; }
template <class T> TG_FN T tg_minimum(T a, T b) { return a < b || tg_isnan(a) ? a : b; }
template <class T> TG_FN T tg_fmax(T a, T b) { return a > b || tg_isnan(b) ? a : b; }
template <class T> TG_FN T tg_fmin(T a, T b) { return a < b || tg_isnan(b) ? a : b; }
template <class T> TG_FN T tg_relu(T x) { return x <= T(0) ? T(0) : x; }

template <class T> TG_FN T tg_floor(T x) { return x; }
TG_FN float tg_floor(float x) { return floorf(x); }
TG_FN double tg_floor(double x) { return floor(x); }
template <class T> TG_FN T tg_ceil(T x) { return x; }
TG_FN float tg_ceil(float x) { return ceilf(x); }
TG_FN double tg_ceil(double x) { return ceil(x); }
template <class T> TG_FN T tg_trunc(T x) { return x; }
TG_FN float tg_trunc(float x) { return truncf(x); }
TG_FN double tg_trunc(double x) { return trunc(x); }
template <class T> TG_FN T tg_round(T x) { return x; }
TG_FN float tg_round(float x) { return rintf(x); }
TG_FN double tg_round(double x) { return rint(x); }

// ---- powers and logarithms of sums

TG_FN float tg_pow(float x, float p) { return powf(x, p); }
TG_FN double tg_pow(double x, double p) { return pow(x, p); }

// log(exp(a) + exp(b)), and the same to the base 2: the larger plus log1p of the ratio.
template <class T> TG_FN T tg_logaddexp(T a, T b) {
    if (a == b) return a + T(0.693147180559945309417232121458176568);  // both infinite, too
    const T d = a - b;
    return d > T(0) ? a + log1p(exp(-d)) : d <= T(0) ? b + log1p(exp(d)) : d;
}
template <class T> TG_FN T tg_logaddexp2(T a, T b) {
    if (a == b) return a + T(1);
    const T d = a - b, log2e = T(1.442695040888963407359924681001892137);
    return d > T(0)    ? a + log2e * log1p(exp2(-d))
           : d <= T(0) ? b + log2e * log1p(exp2(d))
                       : d;
}

// ---- division with remainder, Python's: the remainder has the divisor's sign

template <class T> TG_FN T tg_remainder(T a, T b) {
    if constexpr (tg_is_float<T>::value) {
        const T r = fmod(a, b);
        if (b == T(0)) return r;  // NaN
        if (r == T(0)) return copysign(T(0), b);
        return (b < T(0)) != (r < T(0)) ? r + b : r;
    } else {
        if (b == T(0)) return T(0);  // as NumPy
        if (T(-1) < T(0) && b == static_cast<T>(-1)) return T(0);  // MIN % -1 is undefined
        const T r = static_cast<T>(a % b);
        return r != T(0) && (b < T(0)) != (r < T(0)) ? static_cast<T>(r + b) : r;
    }
}
template <class T> TG_FN T tg_floor_divide(T a, T b) {
    if constexpr (tg_is_float<T>::value) {
        if (b == T(0)) return a / b;
        T r = fmod(a, b), q = (a - r) / b;
        if (r != T(0) && (b < T(0)) != (r < T(0))) q -= T(1);
        if (q == T(0)) return copysign(T(0), a / b);
        const T f = floor(q);
        return q - f > T(0.5) ? f + T(1) : f;
    } else {
        if (b == T(0)) return T(0);
        if (T(-1) < T(0) && b == static_cast<T>(-1)) return static_cast<T>(u64(0) - u64(a));
        const T q = static_cast<T>(a / b);
        return a % b != T(0) && (a < T(0)) != (b < T(0)) ? static_cast<T>(q - 1) : q;
    }
}

// ---- steps and logistic functions

template <class T> TG_FN T tg_heaviside(T x, T at_zero) {
    return tg_isnan(x) ? x : x == T(0) ? at_zero : x < T(0) ? T(0) : T(1);
}
// 1 / (1 + exp(-x)) with the exponential of a negative number, which keeps the lower tail.
template <class T> TG_FN T tg_sigmoid(T x) {
    const T e = exp(-tg_abs(x)), y = T(1) / (T(1) + e);
    return x < T(0) ? e * y : y;
}
template <class T> TG_FN T tg_softplus(T x) {
    return tg_maximum(x, T(0)) + log1p(exp(-tg_abs(x)));
}
template <class T> TG_FN T tg_log_sigmoid(T x) {
    return tg_minimum(x, T(0)) - log1p(exp(-tg_abs(x)));
}
