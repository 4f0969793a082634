// CUDA's math library and integer intrinsics; what <math.h> has, with its overloads, is libm's.
#pragma once

using std::size_t;

// ------------------------------------------------------------------ floating point

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline float rcbrtf(float x) { return static_cast<float>(1.0 / cbrt(static_cast<double>(x))); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline double sinpi(double x) { return sin(M_PI * remainder(x, 2.0)); }
inline double cospi(double x) { return sin(M_PI * (0.5 - fabs(remainder(x, 2.0)))); }
inline float sinpif(float x) { return static_cast<float>(sinpi(static_cast<double>(x))); }
inline float cospif(float x) { return static_cast<float>(cospi(static_cast<double>(x))); }
inline float sinpi(float x) { return sinpif(x); }
inline float cospi(float x) { return cospif(x); }
inline void sincos(float x, float* s, float* c) { sincosf(x, s, c); }
inline void sincospi(double x, double* s, double* c) { *s = sinpi(x), *c = cospi(x); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x), *c = cospif(x); }
inline float exp10(float x) { return exp10f(x); }
inline double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
inline float normcdff(float x) { return static_cast<float>(normcdf(static_cast<double>(x))); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

#define CUDA_HOST_ARITHMETIC(T, letter)                                  \
    inline T __##letter##add_rn(T a, T b) { return a + b; }              \
    inline T __##letter##sub_rn(T a, T b) { return a - b; }              \
    inline T __##letter##mul_rn(T a, T b) { return a * b; }              \
    inline T __##letter##div_rn(T a, T b) { return a / b; }              \
    inline T __##letter##sqrt_rn(T a) { return sqrt(a); }                \
    inline T __##letter##rcp_rn(T a) { return T(1) / a; }
CUDA_HOST_ARITHMETIC(float, f)
CUDA_HOST_ARITHMETIC(double, d)
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }

// ------------------------------------------------------------------ minimum and maximum

template <class A, class B, class C = std::common_type_t<A, B>>
    requires(std::is_integral_v<A> && std::is_integral_v<B>)
constexpr C max(A a, B b) {
    return static_cast<C>(a) > static_cast<C>(b) ? static_cast<C>(a) : static_cast<C>(b);
}
template <class A, class B, class C = std::common_type_t<A, B>>
    requires(std::is_integral_v<A> && std::is_integral_v<B>)
constexpr C min(A a, B b) {
    return static_cast<C>(a) < static_cast<C>(b) ? static_cast<C>(a) : static_cast<C>(b);
}
inline float max(float a, float b) { return fmaxf(a, b); }
inline float min(float a, float b) { return fminf(a, b); }
inline double max(double a, double b) { return ::fmax(a, b); }
inline double min(double a, double b) { return ::fmin(a, b); }

// ------------------------------------------------------------------ bits

inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }
inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
inline int __double2hiint(double x) { return static_cast<int>(__double_as_longlong(x) >> 32); }
inline int __double2loint(double x) { return static_cast<int>(__double_as_longlong(x)); }
inline double __hiloint2double(int high, int low) {
    const auto top = static_cast<unsigned long long>(static_cast<unsigned>(high)) << 32;
    return __longlong_as_double(static_cast<long long>(top | static_cast<unsigned>(low)));
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) {
    return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= ((x >> i) & 1u) << (31 - i);
    return r;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
    return by & 31 ? (high << (by & 31)) | (low >> (32 - (by & 31))) : high;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) {
    return by & 31 ? (high << (32 - (by & 31))) | (low >> (by & 31)) : low;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32);
}
inline int __mulhi(int a, int b) {
    return static_cast<int>((static_cast<long long>(a) * b) >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline long long __mul64hi(long long a, long long b) {
    return static_cast<long long>((static_cast<__int128>(a) * b) >> 64);
}

// ------------------------------------------------------------------ conversions

namespace cuda_host {

// CUDA's: saturating, NaN gives 0.
template <class I, class F> I to_integer(F x) {
    if (x != x) return 0;
    const F below = static_cast<F>(I(1) << (8 * sizeof(I) - 2)) * (std::is_signed_v<I> ? 2 : 4);
    const I least = std::is_signed_v<I> ? static_cast<I>(I(1) << (8 * sizeof(I) - 1)) : I(0);
    if (x >= below) return static_cast<I>(~least);
    if (std::is_signed_v<I> ? x < -below : x <= F(-1)) return least;
    return static_cast<I>(x);
}

}  // namespace cuda_host

#define CUDA_HOST_ROUNDINGS(F, I, name)                                                    \
    inline I name##_rn(F x) { return cuda_host::to_integer<I>(rint(x)); }                  \
    inline I name##_rz(F x) { return cuda_host::to_integer<I>(trunc(x)); }                 \
    inline I name##_rd(F x) { return cuda_host::to_integer<I>(floor(x)); }                 \
    inline I name##_ru(F x) { return cuda_host::to_integer<I>(ceil(x)); }
CUDA_HOST_ROUNDINGS(float, int, __float2int)
CUDA_HOST_ROUNDINGS(float, unsigned, __float2uint)
CUDA_HOST_ROUNDINGS(float, long long, __float2ll)
CUDA_HOST_ROUNDINGS(float, unsigned long long, __float2ull)
CUDA_HOST_ROUNDINGS(double, int, __double2int)
CUDA_HOST_ROUNDINGS(double, unsigned, __double2uint)
CUDA_HOST_ROUNDINGS(double, long long, __double2ll)
CUDA_HOST_ROUNDINGS(double, unsigned long long, __double2ull)
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline float __ull2float_rn(unsigned long long x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __uint2double_rn(unsigned x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline double __ull2double_rn(unsigned long long x) { return static_cast<double>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

// Fast-math names, some of which glibc declares: a kernel that uses one does not compile.
#pragma GCC poison __expf __exp10f __logf __log2f __log10f __powf __sinf __cosf __tanf __tanhf
#pragma GCC poison __sincosf __fdividef
