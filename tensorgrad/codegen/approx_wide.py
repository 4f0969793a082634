"""Doubles beside singles: what a body of single width computes with digits and range to spare.

exp2 and log here have a relative error below 2⁻³³: enough for results that are rounded to single.
"""

from __future__ import annotations

import math

from tensorgrad.codegen.vectors import Vectors

_EXP2 = (
    1.5303700711365693e-05, 0.00015469729214118296, 0.0013333478473685416, 0.009618025613318034,
    0.055504109063258665, 0.24022651213498092, 0.6931471805568324, 0.9999999999595618,
)  # fmt: skip
_ATANH = (
    0.19609592365158407, 0.22174150798053732, 0.2857216841420338, 0.3999999487097937,
    0.6666666667964496, 1.999999999999947,
)  # fmt: skip
"""2 atanh(s) / s in powers of s², |s| <= 3 - 2√2."""


class Wide(Vectors):
    """Operations on doubles, as many as a vector of `v` has singles."""

    def __init__(self, v: Vectors) -> None:
        super().__init__(v.text, True)
        self.single, self.width = v, v.width
        self.floats, self.ints = self.of(self.scalar), self.of(self.integer)
        self.bools = self.of("i1")

    def widen(self, x: str) -> str:
        return self.text.value(f"fpext {self.single.floats} {x} to {self.floats}")

    def narrow(self, x: str) -> str:
        """Rounded once to single; beyond its range infinite or denormal, as it should be."""
        return self.text.value(f"fptrunc {self.floats} {x} to {self.single.floats}")

    def low_bits(self, x: str) -> str:
        """The lower half of each double, as an integer of single width."""
        return self.text.value(f"trunc {self.ints} {self.bits(x)} to {self.single.ints}")

    def exp2(self, x: str) -> str:
        """2ˣ, x cut to ±1000."""
        limit = self.const(1000)
        y = self.select(self.compare("ogt", x, limit), limit, x)
        limit = self.const(-1000)
        y = self.select(self.compare("olt", y, limit), limit, y)
        magic = 1.5 * 2.0**self.mantissa + self.bias
        shifted = self.add(y, self.const(magic))
        scale = self.from_bits(self.on_bits("shl", self.bits(shifted), self.mantissa))
        rest = self.sub(y, self.sub(shifted, self.const(magic)))
        return self.mul(self.polynomial(rest, _EXP2), scale)

    def exp(self, x: str) -> str:
        """eˣ, for |x| <= 700 or so; beyond it stays there."""
        return self.exp2(self.mul(x, self.const(1 / math.log(2))))

    def split_log(self, x: str) -> tuple[str, str]:
        """(n, log(m)) with x = 2ⁿ m and √½ <= m < √2, for normal numbers x > 0."""
        n, m = split(self, x)
        m = self.div(self.sub(m, self.const(1)), self.add(m, self.const(1)))
        return n, self.mul(m, self.polynomial(self.mul(m, m), _ATANH))

    def log2(self, x: str) -> str:
        n, rest = self.split_log(x)
        return self.fma(rest, self.const(1 / math.log(2)), n)

    def log(self, x: str) -> str:
        n, rest = self.split_log(x)
        return self.fma(n, self.const(math.log(2)), rest)

    def log1p(self, x: str) -> str:
        """log(1 + x) for finite x > -1/2, to full relative accuracy near 0."""
        u = self.add(x, self.const(1))
        # What 1 + x lost; nothing that matters where x is large.
        lost = self.sub(x, self.sub(u, self.const(1)))
        return self.add(self.log(u), self.div(lost, u))


def split(v: Vectors, x: str) -> tuple[str, str]:
    """(n as a float, m) with x = 2ⁿ m and √½ <= m < √2, for normal numbers x > 0."""
    bits = v.bits(x)
    root = 0x3FE6A09E667F3BCD if v.double else 0x3F3504F3
    n = v.on_bits("ashr", v.on_bits("sub", bits, root), v.mantissa)
    m = v.from_bits(v.on_bits("sub", bits, v.on_bits("shl", n, v.mantissa)))
    if not v.double:
        return v.to_float(n), m
    # Not every processor converts integers of 64 bits: n goes into the lowest bits of a number.
    magic = 1.5 * 2.0**v.mantissa
    base = (v.bias + v.mantissa << v.mantissa) | 1 << (v.mantissa - 1)
    return v.sub(v.from_bits(v.on_bits("add", n, base)), v.const(magic)), m
