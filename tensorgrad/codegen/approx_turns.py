"""The reduction of doubles by quarter turns, as a function of its own beside the loop.

Up to `NEAR` a quarter turn in three parts is taken off, each product exact or rounded once (Cody
and Waite, "Software Manual for the Elementary Functions", 1980). Beyond, the fraction of x 2/π is
found with integers, from those bits of 2/π alone that matter (Payne and Hanek, "Radian reduction
for trigonometric functions", SIGNUM Newsletter 18, 1983).
"""

from __future__ import annotations

import copy
from functools import cache as once

from tensorgrad.codegen.vectors import Text, Vectors

NEAR = 2.0**30
"""Beyond it lanes are reduced one by one."""

_PARTS = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
"""π/2, to twice and a half the digits of a double."""

_WORDS = 20
"""Words of 64 bits: one of zeros, then those of 2/π, up to the largest double's last."""

_FAR = """
  br i1 %any, label %far, label %near
far:
  store FLOATS %x, ptr %xs, align 8
  store FLOATS NEAR_R, ptr %rs, align 8
  store INTS NEAR_Q, ptr %qs, align 8
  br label %lane
lane:
  %i = phi i64 [0, %far], [%i.next, %next]
  %x.at = getelementptr i64, ptr %xs, i64 %i
  %bits = load i64, ptr %x.at, align 8
  %size = and i64 %bits, 9223372036854775807
  %large = icmp ugt i64 %size, LIMIT
  br i1 %large, label %reduce, label %next
reduce:
  ; |x| = whole 2^(exponent - 1075); what weighs 4 quarters or more is left out of 2/pi
  %exponent = lshr i64 %size, 52
  %fraction = and i64 %bits, 4503599627370495
  %whole = or i64 %fraction, 4503599627370496
  %first = sub i64 %exponent, 1013
  %word = lshr i64 %first, 6
  %shift = and i64 %first, 63
  %w0.at = getelementptr i64, ptr @KERNEL.turns, i64 %word
  %w1.at = getelementptr i64, ptr %w0.at, i64 1
  %w2.at = getelementptr i64, ptr %w0.at, i64 2
  %w3.at = getelementptr i64, ptr %w0.at, i64 3
  %w0 = load i64, ptr %w0.at, align 8
  %w1 = load i64, ptr %w1.at, align 8
  %w2 = load i64, ptr %w2.at, align 8
  %w3 = load i64, ptr %w3.at, align 8
  %high = call i64 @llvm.fshl.i64(i64 %w0, i64 %w1, i64 %shift)
  %middle = call i64 @llvm.fshl.i64(i64 %w1, i64 %w2, i64 %shift)
  %low = call i64 @llvm.fshl.i64(i64 %w2, i64 %w3, i64 %shift)
  %whole.w = zext i64 %whole to i128
  %low.w = zext i64 %low to i128
  %middle.w = zext i64 %middle to i128
  %low.p = mul i128 %whole.w, %low.w
  %low.c = lshr i128 %low.p, 64
  %middle.p = mul i128 %whole.w, %middle.w
  %middle.s = add i128 %middle.p, %low.c
  %middle.c = lshr i128 %middle.s, 64
  %middle.n = trunc i128 %middle.c to i64
  %high.p = mul i64 %whole, %high
  %high.s = add i64 %high.p, %middle.n
  %high.w = zext i64 %high.s to i128
  %high.m = shl i128 %high.w, 64
  %middle.l = and i128 %middle.s, 18446744073709551615
  %turns = or i128 %high.m, %middle.l
  ; two bits of quarters, then the fraction, from -1/2 to 1/2
  %up = lshr i64 %high.s, 61
  %odd = and i64 %up, 1
  %floor = lshr i64 %high.s, 62
  %quarters = add i64 %floor, %odd
  %rest = shl i128 %turns, 2
  %below = icmp slt i128 %rest, 0
  %negated = sub i128 0, %rest
  %distance = select i1 %below, i128 %negated, i128 %rest
  %zeros.w = call i128 @llvm.ctlz.i128(i128 %distance, i1 false)
  %left = shl i128 %distance, %zeros.w
  %top.w = lshr i128 %left, 64
  %top = trunc i128 %top.w to i64
  %zeros = trunc i128 %zeros.w to i64
  %head.i = lshr i64 %top, 11
  %tail.i = and i64 %top, 2047
  %head = uitofp i64 %head.i to double
  %tail = uitofp i64 %tail.i to double
  ; times pi/2 in two parts
  %product = fmul double %head, PART0
  %product.n = fneg double %product
  %lost = call double @llvm.fma.f64(double %head, double PART0, double %product.n)
  %lost.h = call double @llvm.fma.f64(double %head, double PART1, double %lost)
  %tail.s = fmul double %tail, 0x3F40000000000000
  %lost.t = call double @llvm.fma.f64(double %tail.s, double PART0, double %lost.h)
  %angle = fadd double %product, %lost.t
  ; the head was 2^-53 of the fraction's first bit, which the zeros moved
  %power = sub i64 970, %zeros
  %power.b = shl i64 %power, 52
  %power.f = bitcast i64 %power.b to double
  %scaled = fmul double %angle, %power.f
  %negative = icmp slt i64 %bits, 0
  %turned = xor i1 %below, %negative
  %scaled.n = fneg double %scaled
  %signed = select i1 %turned, double %scaled.n, double %scaled
  %quarters.n = sub i64 0, %quarters
  %q = select i1 %negative, i64 %quarters.n, i64 %quarters
  %finite = icmp ult i64 %size, 9218868437227405312
  %r = select i1 %finite, double %signed, double 0x7FF8000000000000
  %r.at = getelementptr double, ptr %rs, i64 %i
  store double %r, ptr %r.at, align 8
  %q.at = getelementptr i64, ptr %qs, i64 %i
  store i64 %q, ptr %q.at, align 8
  br label %next
next:
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, WIDTH
  br i1 %more, label %lane, label %done
done:
  %q.far = load INTS, ptr %qs, align 8
  %r.far = load FLOATS, ptr %rs, align 8
  br label %near
near:
  %q.all = phi INTS [NEAR_Q, %entry], [%q.far, %done]
  %r.all = phi FLOATS [NEAR_R, %entry], [%r.far, %done]
  %one = insertvalue { INTS, FLOATS } poison, INTS %q.all, 0
  %both = insertvalue { INTS, FLOATS } %one, FLOATS %r.all, 1
  ret { INTS, FLOATS } %both
}"""


def quarter(v: Vectors, x: str) -> tuple[str, str]:
    """(q, r) with x = q π/2 + r; of q the two lowest bits hold, |r| <= π/4 and a little."""
    name, kind = f"@KERNEL.quarter{v.width}", f"{{ {v.ints}, {v.floats} }}"
    if name not in v.text.defined:
        v.text.defined[name] = _function(v, name, kind)
    both = v.text.value(f"call {kind} {name}({v.floats} {x})")
    return (
        v.text.value(f"extractvalue {kind} {both}, 0"),
        v.text.value(f"extractvalue {kind} {both}, 1"),
    )


def _function(v: Vectors, name: str, kind: str) -> str:
    w = copy.copy(v)
    w.text = text = Text()
    arrays = [f"  %{k} = alloca [{v.width} x i64], align 64" for k in ("xs", "qs", "rs")]
    magic = w.const(1.5 * 2.0**w.mantissa)
    shifted = w.fma("%x", w.const(0.6366197723675814), magic)
    turns = w.neg(w.sub(shifted, magic))
    rest = "%x"
    for part in _PARTS:
        rest = w.fma(turns, w.const(part), rest)
    q = w.bits(shifted)
    # False for NaN, which passes.
    beyond = w.compare("ogt", w.abs("%x"), w.const(NEAR))
    any_lane = f"@llvm.vector.reduce.or.v{w.width}i1"
    text.put(f"%any = call i1 {any_lane}({w.bools} {beyond})")
    text.declare(f"i1 {any_lane}({w.bools})")
    for declaration in (
        "i64 @llvm.fshl.i64(i64, i64, i64)",
        "i128 @llvm.ctlz.i128(i128, i1)",
        "double @llvm.fma.f64(double, double, double)",
    ):
        text.declare(declaration)
    v.text.declared |= text.declared
    v.text.defined["@KERNEL.turns"] = _table()
    tail = _FAR.replace("NEAR_Q", q).replace("NEAR_R", rest).replace("LIMIT", str(_bits(NEAR)))
    for k in range(2):
        tail = tail.replace(f"PART{k}", f"0x{_bits(_PARTS[k]):016X}")
    tail = tail.replace("INTS", v.ints).replace("FLOATS", v.floats).replace("WIDTH", str(v.width))
    head = f"define internal {kind} {name}({v.floats} %x) {{\nentry:\n"
    return head + "\n".join([*arrays, *text.lines]) + tail


def _bits(x: float) -> int:
    import struct

    return int(struct.unpack("<q", struct.pack("<d", x))[0])


@once
def _table() -> str:
    count = 64 * (_WORDS - 1)
    bits = two_over_pi(count)
    words = [0] + [bits >> (count - 64 * k) & (2**64 - 1) for k in range(1, _WORDS)]
    numbers = ", ".join(f"i64 {w}" for w in words)
    return f"@KERNEL.turns = internal constant [{_WORDS} x i64] [{numbers}]"


def two_over_pi(places: int) -> int:
    """2^places 2/π, rounded down; π by Machin's formula."""
    one = 1 << (places + 64)
    pi = 4 * (4 * _arctan_inverse(5, one) - _arctan_inverse(239, one))
    return (one << (places + 1)) // pi


def _arctan_inverse(n: int, one: int) -> int:
    """arctan(1/n), in units of 1/`one`."""
    power = total = one // n
    k = 1
    while power:
        power //= -n * n
        k += 2
        total += power // k
    return total
