// Philox 4x32-10 and what is drawn from its words, the bits of tensorgrad/backend/philox.py.
//
// Block i of a draw is philox(counter + i, key): words 4i .. 4i+3; two words, low one first, make a
// 64-bit word. The low 64 bits of a counter do not wrap within a draw (the caller checks).
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// Normals by Box and Muller in single IEEE operations, those of tensorgrad/backend/boxmuller.py.
#pragma once
#include "common.cuh"

struct tg_words {
    u32 w[4];
    TG_FN u64 wide(int k) const { return static_cast<u64>(w[2 * k + 1]) << 32 | w[2 * k]; }
};

TG_FN tg_words tg_philox(u64 low, u64 high, u64 key) {
    u32 x0 = static_cast<u32>(low), x1 = static_cast<u32>(low >> 32);
    u32 x2 = static_cast<u32>(high), x3 = static_cast<u32>(high >> 32);
    u32 k0 = static_cast<u32>(key), k1 = static_cast<u32>(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 a = 0xD2511F53ull * x0, b = 0xCD9E8D57ull * x2;
        x0 = static_cast<u32>(b >> 32) ^ x1 ^ k0;
        x1 = static_cast<u32>(b);
        x2 = static_cast<u32>(a >> 32) ^ x3 ^ k1;
        x3 = static_cast<u32>(a);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{x0, x1, x2, x3}};
}

// ---- numbers of one word of the compute type's size

template <class C> struct tg_real;
template <> struct tg_real<float> {
    using word = u32;
    using whole = int;
    static constexpr int bits = 32, digits = 24, root_half = 0x3F3504F3;
    static constexpr double ln2_high = 0.69314575, ln2_low = 1.4286068e-06;
    TG_FN static float real(u32 b) { return __int_as_float(static_cast<int>(b)); }
    TG_FN static u32 pattern(float x) { return static_cast<u32>(__float_as_int(x)); }
    TG_FN static u32 take(const tg_words& r, int k) { return r.w[k]; }
    TG_FN static float log(float z) {
        return 0.66666687f + z * (0.3998878f + z * 0.2957995f);
    }
    TG_FN static float sin(float z) {
        return -0.4292037f + z * (-0.6459635f + z * (0.07968022f + z * -0.004602149f));
    }
    TG_FN static float cos(float z) {
        return -1.2337005f + z * (0.2536694f + z * (-0.020861529f + z * 0.0009067399f));
    }
};
template <> struct tg_real<double> {
    using word = u64;
    using whole = i64;
    static constexpr int bits = 64, digits = 53;
    static constexpr i64 root_half = 0x3FE6A09E667F3BCD;
    static constexpr double ln2_high = 0.6931471805599188, ln2_low = 2.6557520756679704e-14;
    TG_FN static double real(u64 b) { return __longlong_as_double(static_cast<i64>(b)); }
    TG_FN static u64 pattern(double x) { return static_cast<u64>(__double_as_longlong(x)); }
    TG_FN static u64 take(const tg_words& r, int k) { return r.wide(k); }
    TG_FN static double log(double z) {
        double p = 0.15331721600556042 + z * 0.14616449685043406;
        p = 0.2222221113479508 + z * (0.18182889125261723 + z * p);
        return 0.666666666666667 + z * (0.39999999999899505 + z * (0.28571428625975487 + z * p));
    }
    TG_FN static double sin(double z) {
        double p = -3.59864335298231e-06 + z * 5.633933781537854e-08;
        p = -0.004681754132340976 + z * (0.0001604411507421909 + z * p);
        return -0.4292036732051034 + z * (-0.6459640975062443 + z * (0.07969262624604301 + z * p));
    }
    TG_FN static double cos(double z) {
        double p = 4.710678405505227e-07 + z * -6.329396344967424e-09;
        p = 0.0009192602745468447 + z * (-2.5202039028029178e-05 + z * p);
        return -1.2337005501361697 + z * (0.2536695079010478 + z * (-0.020863480763340773 + z * p));
    }
};

// Uniform on [0, 1): the upper 24 bits of a word, 53 of a double one.
template <class C> TG_FN C tg_unit(typename tg_real<C>::word w) {
    using R = tg_real<C>;
    constexpr C unit = C(1) / C(1ull << R::digits);
    return C(w >> (R::bits - R::digits)) * unit;
}

// sqrt(-2 log u), u = fl(w >> 1 | 1) 2^(1-bits) in (0, 1], as 2^e (1 + f).
template <class C> TG_FN C tg_radius(typename tg_real<C>::word w) {
    using R = tg_real<C>;
    using whole = typename R::whole;
    constexpr C unit = C(1) / C(1ull << (R::bits - 1));
    const whole u = static_cast<whole>(R::pattern(C(static_cast<whole>(w >> 1 | 1)) * unit));
    const whole e = (u - R::root_half) >> (R::digits - 1);
    using word = typename R::word;
    const word shifted = static_cast<word>(e) << (R::digits - 1);
    const C f = R::real(static_cast<word>(u) - shifted) - C(1), k = C(e);
    const C s = f / (f + C(2)), z = s * s, half = f * f * C(0.5);
    const C rest = s * (half + R::log(z) * z) + k * C(R::ln2_low);
    const C minus_log = half - rest - f - k * C(R::ln2_high);
    return sqrt(minus_log + minus_log);
}

// cos and sin of π/2 (q + y): q the upper two bits of the word, y in (-1/2, 1/2) the others.
template <class C> TG_FN void tg_turn(typename tg_real<C>::word w, C& cosine, C& sine) {
    using R = tg_real<C>;
    using word = typename R::word;
    using whole = typename R::whole;
    constexpr C unit = C(1) / C(1ull << (R::bits - 2));
    const word low = (w & ((word(1) << (R::bits - 2)) - 1)) | 1;
    const C y = C(static_cast<whole>(low) - (whole(1) << (R::bits - 3))) * unit, z = y * y;
    const C c = R::cos(z) * z + C(1), s = (y + y) + R::sin(z) * y;
    const word swapped = w << 1, sign = word(1) << (R::bits - 1);
    const bool swap = (swapped & sign) != 0;
    cosine = R::real(R::pattern(swap ? s : c) ^ ((swapped ^ w) & sign));
    sine = R::real(R::pattern(swap ? c : s) ^ (w & sign));
}
