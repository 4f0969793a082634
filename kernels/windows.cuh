// Windows over three spatial axes, and division by numbers that the host knows.
//
// Fewer axes come as three whose first ones have one element. Element k of window q is the place
// q stride - low + k dilation, which may lie outside of [0, size).
#pragma once

// x / by = (mulhi(x, magic) + x) >> shift for x < 2^31 (see tensorgrad/backend/cuda/windows.py).
struct tg_by {
    u32 by, magic, shift;
};
TG_FN u32 tg_div(u32 x, const tg_by& d) {
    return (static_cast<u32>((static_cast<u64>(x) * d.magic) >> 32) + x) >> d.shift;
}
// x / by, and into x what remains.
TG_FN int tg_split(u32& x, const tg_by& d) {
    const u32 q = tg_div(x, d);
    x -= q * d.by;
    return static_cast<int>(q);
}

struct tg_axis {
    int size, count, kernel, stride, low, dilation;
    tg_by by_stride;
};
struct tg_windows {
    tg_axis axis[3];
    // The product of the last three, two and one of: sizes, counts, kernel lengths.
    tg_by sizes[3], counts[3], kernels[3];
};

// The place of element k of window q of an axis, -1 outside.
TG_FN int tg_place(const tg_axis& a, int q, int k) {
    const int at = q * a.stride - a.low + k * a.dilation;
    return at >= 0 && at < a.size ? at : -1;
}
// The window whose element k is the place at, -1 for none.
TG_FN int tg_window(const tg_axis& a, int at, int k) {
    const int t = at + a.low - k * a.dilation;
    if (t < 0) return -1;
    const u32 q = tg_div(static_cast<u32>(t), a.by_stride);
    return q * a.by_stride.by == static_cast<u32>(t) && q < static_cast<u32>(a.count)
               ? static_cast<int>(q)
               : -1;
}
