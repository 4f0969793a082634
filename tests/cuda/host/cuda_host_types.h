// CUDA's vector types, and __half and __nv_bfloat16 with their conversions, rounded to even.
#pragma once

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

#define CUDA_HOST_VECTOR2(T, name, alignment)        \
    struct alignas(alignment) name##2 {              \
        T x, y;                                      \
    };                                               \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define CUDA_HOST_VECTOR4(T, name, alignment)        \
    struct alignas(alignment) name##4 {              \
        T x, y, z, w;                                \
    };                                               \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define CUDA_HOST_VECTORS(T, name)                   \
    CUDA_HOST_VECTOR2(T, name, 2 * sizeof(T))        \
    CUDA_HOST_VECTOR4(T, name, (4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)))
CUDA_HOST_VECTORS(signed char, char)
CUDA_HOST_VECTORS(unsigned char, uchar)
CUDA_HOST_VECTORS(short, short)
CUDA_HOST_VECTORS(unsigned short, ushort)
CUDA_HOST_VECTORS(int, int)
CUDA_HOST_VECTORS(unsigned, uint)
CUDA_HOST_VECTORS(long long, longlong)
CUDA_HOST_VECTORS(unsigned long long, ulonglong)
CUDA_HOST_VECTORS(float, float)
CUDA_HOST_VECTORS(double, double)
struct float3 {
    float x, y, z;
};
inline float3 make_float3(float x, float y, float z) { return {x, y, z}; }
struct int3 {
    int x, y, z;
};
inline int3 make_int3(int x, int y, int z) { return {x, y, z}; }

// ------------------------------------------------------------------ 16-bit floating types

namespace cuda_host {

// A finite or infinite double to `digits` bits of significand (hidden bit included) with exponents
// from `lowest` (of the smallest normal number) on, as the bits of a 16-bit float: rounds once.
inline unsigned short narrow(double x, int digits, int lowest) {
    const int fraction = digits - 1;
    const unsigned short sign = __builtin_signbit(x) ? 0x8000 : 0;
    const unsigned infinity = ((2u << (15 - digits)) - 1) << fraction;
    if (x != x) return 0x7fff;
    const double a = __builtin_fabs(x);
    if (a == 0) return sign;
    if (__builtin_isinf(a)) return sign | infinity;
    int e;
    __builtin_frexp(a, &e);  // a = m * 2^e, m in [1/2, 1)
    e = e - 1 < lowest ? lowest : e - 1;
    const double unit = __builtin_ldexp(1.0, e - fraction);
    const unsigned count = static_cast<unsigned>(__builtin_rint(a / unit));  // exact quotient
    const unsigned bits = (static_cast<unsigned>(e - lowest) << fraction) + count;
    return sign | static_cast<unsigned short>(bits < infinity ? bits : infinity);
}

}  // namespace cuda_host

struct __half {
    unsigned short bits;
    __half() = default;
    explicit __half(float x) : bits(cuda_host::narrow(x, 11, -14)) {}
    explicit __half(double x) : bits(cuda_host::narrow(x, 11, -14)) {}
    explicit operator float() const {
        const unsigned sign = (bits & 0x8000u) << 16, e = (bits >> 10) & 31, m = bits & 0x3ffu;
        if (e == 0) {
            const float a = static_cast<float>(m) * 0x1p-24f;
            return sign ? -a : a;
        }
        return __builtin_bit_cast(float, sign | (e == 31 ? 255u : e + 112) << 23 | m << 13);
    }
};
struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float x) {
        const unsigned u = __builtin_bit_cast(unsigned, x);
        bits = x != x ? 0x7fff : static_cast<unsigned short>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
    }
    explicit __nv_bfloat16(double x) : bits(cuda_host::narrow(x, 8, -126)) {}
    explicit operator float() const {
        return __builtin_bit_cast(float, static_cast<unsigned>(bits) << 16);
    }
};
using half = __half;
using nv_bfloat16 = __nv_bfloat16;

inline float __half2float(__half x) { return static_cast<float>(x); }
inline __half __float2half(float x) { return __half(x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(x); }
inline unsigned short __half_as_ushort(__half x) { return x.bits; }
inline __half __ushort_as_half(unsigned short bits) {
    __half x;
    x.bits = bits;
    return x;
}
inline float __bfloat162float(__nv_bfloat16 x) { return static_cast<float>(x); }
inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
inline __nv_bfloat16 __double2bfloat16(double x) { return __nv_bfloat16(x); }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    __nv_bfloat16 x;
    x.bits = bits;
    return x;
}
