"""The Box-Muller transform as single IEEE operations, so that every machine gets the same bits.

log, sin and cos are polynomials of this file: no libm, no fused multiply-add, each product and
each sum rounded once, in float32 or float64.

Box, Muller, "A note on the generation of random normal deviates", 1958.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]


class Precision(NamedTuple):
    """What the polynomials need in one floating dtype; coefficients from the lowest power up."""

    real: DType
    signed: DType
    unsigned: DType
    digits: int
    root_half: int  # bits of sqrt(1/2), the cut between two binades of log's argument
    ln2_high: float  # with enough zero bits at its end for an exact product with the exponent
    ln2_low: float
    log: tuple[Array, ...]
    sin: tuple[Array, ...]
    cos: tuple[Array, ...]


def _row(dtype: str, *coefficients: float) -> tuple[Array, ...]:
    """Coefficients as 0-d arrays, which cost half of what NumPy scalars do as operands."""
    return tuple(np.array(coefficient, dtype) for coefficient in coefficients)


# Polynomials through the Chebyshev nodes of each range, computed with 60 digits:
# log1p(f) = f - h + s*(h + z*log(z)), h = f*f/2, s = f/(2+f), z = s*s, for 1+f in [√1/2, √2];
# sin(π/2 y) = 2*y + y*sin(y*y) and cos(π/2 y) = 1 + y*y*cos(y*y), for y in [-1/2, 1/2]. 2*y is
# exact; with π/2*y, which is not, the errors could add up past 4 ulp of a normal.
PRECISION = {
    "float32": Precision(
        real=np.dtype("f4"),
        signed=np.dtype("i4"),
        unsigned=np.dtype("u4"),
        digits=24,
        root_half=0x3F3504F3,
        ln2_high=0.69314575,
        ln2_low=1.4286068e-06,
        log=_row("f4", 0.66666687, 0.3998878, 0.2957995),
        sin=_row("f4", -0.4292037, -0.6459635, 0.07968022, -0.004602149),
        cos=_row("f4", -1.2337005, 0.2536694, -0.020861529, 0.0009067399),
    ),
    "float64": Precision(
        real=np.dtype("f8"),
        signed=np.dtype("i8"),
        unsigned=np.dtype("u8"),
        digits=53,
        root_half=0x3FE6A09E667F3BCD,
        ln2_high=0.6931471805599188,
        ln2_low=2.6557520756679704e-14,
        log=_row(
            "f8",
            0.666666666666667,
            0.39999999999899505,
            0.28571428625975487,
            0.2222221113479508,
            0.18182889125261723,
            0.15331721600556042,
            0.14616449685043406,
        ),
        sin=_row(
            "f8",
            -0.4292036732051034,
            -0.6459640975062443,
            0.07969262624604301,
            -0.004681754132340976,
            0.0001604411507421909,
            -3.59864335298231e-06,
            5.633933781537854e-08,
        ),
        cos=_row(
            "f8",
            -1.2337005501361697,
            0.2536695079010478,
            -0.020863480763340773,
            0.0009192602745468447,
            -2.5202039028029178e-05,
            4.710678405505227e-07,
            -6.329396344967424e-09,
        ),
    ),
}


class Polar:
    """The Box-Muller transform of a piece of words, on scratch arrays for up to `size` pairs."""

    def __init__(self, p: Precision, size: int) -> None:
        self.p = p
        self.scratch = np.empty((6, size), p.real)

    def fill(self, words: Array, target: Array) -> None:
        """Write r cos θ at the even and r sin θ at the odd places of target (maybe one fewer)."""
        r, c, s, *free = self.scratch[:, : words.size // 2]
        self._radius(words[0::2], r, [c, s, *free])
        self._turn(words[1::2], c, s, free)
        np.multiply(r, c, target[0::2])
        odd = target[1::2]
        np.multiply(r[: odd.size], s[: odd.size], odd)

    def _radius(self, words: Array, r: Array, free: list[Array]) -> None:
        """r = sqrt(-2 log u), log by splitting u into 2**e * (1 + f)."""
        p, (k, s, z, R, e) = self.p, free
        one, bits = p.unsigned.type(1), e.view(p.unsigned)
        np.right_shift(words, one, bits)
        np.bitwise_or(bits, one, bits)
        np.copyto(r, e.view(p.signed), casting="same_kind")
        np.multiply(r, p.real.type(2.0 ** (1 - 8 * p.real.itemsize)), r)
        exponent, whole = e.view(p.signed), r.view(p.signed)
        np.subtract(whole, p.signed.type(p.root_half), exponent)
        np.right_shift(exponent, p.signed.type(p.digits - 1), exponent)
        np.copyto(k, exponent, casting="same_kind")
        np.left_shift(exponent, p.signed.type(p.digits - 1), exponent)
        np.subtract(whole, exponent, whole)
        np.subtract(r, p.real.type(1), r)
        np.add(r, p.real.type(2), s)
        np.divide(r, s, s)
        np.multiply(s, s, z)
        _horner(z, p.log, R)
        np.multiply(R, z, R)
        half = np.multiply(r, r, z)
        np.multiply(half, p.real.type(0.5), half)
        np.add(half, R, R)
        np.multiply(s, R, R)
        np.multiply(k, p.real.type(p.ln2_low), s)
        np.add(R, s, R)
        np.subtract(half, R, half)
        np.subtract(half, r, half)
        np.multiply(k, p.real.type(p.ln2_high), k)
        np.subtract(half, k, half)
        np.add(half, half, half)
        np.sqrt(half, r)

    def _turn(self, words: Array, c: Array, s: Array, free: list[Array]) -> None:
        """c = cos θ and s = sin θ: a polynomial on an eighth turn, then swaps and signs by bits."""
        p, (y, z, e), word = self.p, free, self.p.unsigned.type
        width = 8 * p.real.itemsize
        bits, signed = e.view(p.unsigned), e.view(p.signed)
        np.bitwise_and(words, word((1 << width - 2) - 1), bits)
        np.bitwise_or(bits, word(1), bits)
        np.subtract(signed, p.signed.type(1 << width - 3), signed)
        np.copyto(y, signed, casting="same_kind")
        np.multiply(y, p.real.type(2.0 ** (2 - width)), y)
        np.multiply(y, y, z)
        _horner(z, p.cos, c)
        np.multiply(c, z, c)
        np.add(c, p.real.type(1), c)
        _horner(z, p.sin, s)
        np.multiply(s, y, s)
        np.add(y, y, y)
        np.add(y, s, s)
        shifted, mask = z.view(p.unsigned), y.view(p.signed)
        np.left_shift(words, word(1), shifted)
        np.right_shift(z.view(p.signed), p.signed.type(width - 1), mask)
        _swap(c.view(p.signed), s.view(p.signed), mask, signed)
        sign = word(1 << width - 1)
        np.bitwise_xor(words, shifted, shifted)
        for turned, source in ((c, shifted), (s, words)):
            np.bitwise_and(source, sign, bits)
            np.bitwise_xor(turned.view(p.unsigned), bits, turned.view(p.unsigned))


def _swap(x: Array, y: Array, mask: Array, scratch: Array) -> None:
    """Exchange the elements of two integer arrays where the mask has all bits set."""
    np.bitwise_xor(x, y, scratch)
    np.bitwise_and(scratch, mask, scratch)
    np.bitwise_xor(x, scratch, x)
    np.bitwise_xor(y, scratch, y)


def _horner(z: Array, coefficients: tuple[Array, ...], out: Array) -> None:
    """out = c0 + z*(c1 + z*(c2 + ...)), each product and each sum rounded."""
    *rest, last = coefficients
    np.multiply(z, last, out)
    np.add(out, rest.pop(), out)
    for coefficient in reversed(rest):
        np.multiply(out, z, out)
        np.add(out, coefficient, out)
