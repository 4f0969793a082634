"""Hypergeometric functions, with derivatives in the argument and in the parameters.

>>> hyp2f1(1.0, 1.0, 2.0, [0.0, 0.5])  # -log(1 - z) / z
tensor([1.        , 1.38629436])
>>> hyp1f1(1.0, 1.0, 2.0)
tensor(7.3890561)
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.core.primitive import Primitive
from tensorgrad.ops.special.rules import Call, smooth, special


def _inverse(c: Any, r: int) -> Any:
    """The r-th derivative of 1 / c."""
    return (-1.0) ** r * math.factorial(r) / c ** (r + 1)


# -- Gauss's -------------------------------------------------------------------------------------


def _gauss(a: Any, b: Any, c: Any, z: Any, i: int, j: int, k: int) -> Any:
    if i + j + k:
        return hyp2f1_dabc_p.bind(a, b, c, z, i=i, j=j, k=k)
    return hyp2f1(a, b, c, z)


def _gauss_slope(a: Any, b: Any, c: Any, z: Any, i: int, j: int, k: int) -> Any:
    """∂ⁱ/∂aⁱ ∂ʲ/∂bʲ ∂ᵏ/∂cᵏ of (a b / c) F(a+1, b+1; c+1; z), by the product rule."""
    total: Any = 0.0
    for p in range(min(i, 1) + 1):
        for q in range(min(j, 1) + 1):
            for r in range(k + 1):
                front = (i if p else a) * (j if q else b) * math.comb(k, r) * _inverse(c, r)
                total = total + front * _gauss(a + 1, b + 1, c + 1, z, i - p, j - q, k - r)
    return total


hyp2f1_dabc_p: Primitive = smooth(
    "hyp2f1_dabc",
    {
        "a": lambda a, b, c, z, i, j, k: _gauss(a, b, c, z, i + 1, j, k),
        "b": lambda a, b, c, z, i, j, k: _gauss(a, b, c, z, i, j + 1, k),
        "c": lambda a, b, c, z, i, j, k: _gauss(a, b, c, z, i, j, k + 1),
        "z": _gauss_slope,
    },
)
"""∂ⁱ/∂aⁱ ∂ʲ/∂bʲ ∂ᵏ/∂cᵏ of F(a, b; c; z)."""


def _gauss_samples(r: Any) -> Any:
    for k, ((z,), _) in enumerate(r.singles(-0.7, 0.7)):
        a = r.uniform(0.5, 1.5, *z.shape) if k % 3 == 1 else 0.7
        c = r.uniform(1.5, 2.5, *z.shape) if k % 3 == 2 else 2.1
        yield (a, 1.3, c, z), {}


hyp2f1: Call = special(
    "hyp2f1",
    "Gauss's hypergeometric function F(a, b; c; z); with a gradient in a, b and c for z < 0.998.",
    {
        "a": lambda a, b, c, z: _gauss(a, b, c, z, 1, 0, 0),
        "b": lambda a, b, c, z: _gauss(a, b, c, z, 0, 1, 0),
        "c": lambda a, b, c, z: _gauss(a, b, c, z, 0, 0, 1),
        "z": lambda a, b, c, z: a * b / c * hyp2f1(a + 1, b + 1, c + 1, z),
    },
    samples=_gauss_samples,
)

# -- Kummer's ------------------------------------------------------------------------------------


def _kummer(a: Any, b: Any, x: Any, i: int, k: int) -> Any:
    return hyp1f1_dab_p.bind(a, b, x, i=i, k=k) if i + k else hyp1f1(a, b, x)


def _kummer_slope(a: Any, b: Any, x: Any, i: int, k: int) -> Any:
    """∂ⁱ/∂aⁱ ∂ᵏ/∂bᵏ of (a / b) M(a+1, b+1, x), by the product rule."""
    total: Any = 0.0
    for p in range(min(i, 1) + 1):
        for r in range(k + 1):
            front = (i if p else a) * math.comb(k, r) * _inverse(b, r)
            total = total + front * _kummer(a + 1, b + 1, x, i - p, k - r)
    return total


hyp1f1_dab_p: Primitive = smooth(
    "hyp1f1_dab",
    {
        "a": lambda a, b, x, i, k: _kummer(a, b, x, i + 1, k),
        "b": lambda a, b, x, i, k: _kummer(a, b, x, i, k + 1),
        "x": _kummer_slope,
    },
)
"""∂ⁱ/∂aⁱ ∂ᵏ/∂bᵏ of M(a, b, x)."""


def _kummer_samples(r: Any) -> Any:
    for k, ((x,), _) in enumerate(r.singles(-2, 2)):
        a = r.uniform(0.5, 1.5, *x.shape) if k % 3 == 1 else 0.7
        b = r.uniform(1.5, 2.5, *x.shape) if k % 3 == 2 else 2.1
        yield (a, b, x), {}


hyp1f1: Call = special(
    "hyp1f1",
    "Kummer's function M(a, b, x), with a gradient in a and b too.",
    {
        "a": lambda a, b, x: _kummer(a, b, x, 1, 0),
        "b": lambda a, b, x: _kummer(a, b, x, 0, 1),
        "x": lambda a, b, x: a / b * hyp1f1(a + 1, b + 1, x),
    },
    samples=_kummer_samples,
)
