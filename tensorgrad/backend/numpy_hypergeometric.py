"""Derivatives of the hypergeometric functions in their parameters, of any order, for real numbers.

The power series, whose factors (a)ₘ/m! and m!/(c)ₘ carry their derivatives along: with (a)ₘ₊₁ =
(a)ₘ (a+m) the i-th is that of (a)ₘ times a+m, and i times the one before. A negative argument is
turned into a positive one by Pfaff's and Kummer's transformations (DLMF 15.8.1, 13.2.39), so that
terms of large size do not cancel. NaN where the series has not settled after `TERMS` terms.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

Array = Any
Factors = list[Array]

TERMS = 20_000
"""The most terms of a series: enough for Gauss's up to arguments of 0.998."""


def _risen(factors: Factors, a: Array, m: int) -> Factors:
    """The derivatives of (a)ₘ₊₁ / (m+1)! from those of (a)ₘ / m!."""
    lower = [0.0, *factors]
    return [(f * (a + m) + i * lower[i]) / (m + 1) for i, f in enumerate(factors)]


def _sunk(factors: Factors, c: Array, m: int) -> Factors:
    """The derivatives of (m+1)! / (c)ₘ₊₁ from those of m! / (c)ₘ."""
    found: Factors = []
    for k, f in enumerate(factors):
        before = k * found[k - 1] if k else 0.0
        found.append((f * (m + 1) - before) / (c + m))
    return found


def _series(orders: tuple[int, ...], tops: list[Array], c: Array, z: Array) -> Array:
    """∂^orders in each a (one or two) and in c of Σ Π (a)ₘ / (c)ₘ zᵐ / m!."""
    *rising, falling = orders
    upper = [[np.ones_like(z), *[np.zeros_like(z)] * i] for i in rising]
    below = [np.ones_like(z), *[np.zeros_like(z)] * falling]
    power, total, size, settled = np.ones_like(z), np.zeros_like(z), np.zeros_like(z), 0
    for m in range(TERMS):
        term = power * below[-1]
        for factors in upper:
            term = term * factors[-1]
        total, size = total + term, np.maximum(size, abs(term))
        done = (abs(term) <= 1e-17 * size) & (m > sum(orders))
        settled = settled + 1 if done.all() else 0
        if settled == 4:
            return total
        upper = [_risen(factors, a, m) for factors, a in zip(upper, tops)]
        below = _sunk(below, c, m)
        power = power * z if len(tops) == 2 else power * z / (m + 1)
    return np.where(done, total, np.nan)


def _parts(parts: list[tuple[Array, Callable[..., Array]]], *args: Array) -> Array:
    found = np.full(args[0].shape, np.nan)
    for mask, function in parts:
        if mask.any():
            found[mask] = function(*(a[mask] for a in args))
    return found


def hyp2f1_dabc(i: int, j: int, k: int, a: Array, b: Array, c: Array, z: Array) -> Array:
    """∂ⁱ/∂aⁱ ∂ʲ/∂bʲ ∂ᵏ/∂cᵏ of F(a, b; c; z), z below 1."""

    def turned(a: Array, b: Array, c: Array, z: Array) -> Array:
        """(1-z)^-a F(a, c-b; c; z/(z-1))."""
        log, total = -np.log1p(-z), 0.0
        for p in range(i + 1):
            for q in range(k + 1):
                own = _series((i - p, j + q, k - q), [a, c - b], c, z / (z - 1))
                total = total + comb(i, p) * comb(k, q) * (-1.0) ** j * log**p * own
        return np.exp(a * log) * total

    return _parts([((z >= -0.5) & (z < 1), lambda a, b, c, z: _series((i, j, k), [a, b], c, z)),
                   ((z < -0.5) & np.isfinite(z), turned)], a, b, c, z)  # fmt: skip


def hyp1f1_dab(i: int, k: int, a: Array, b: Array, x: Array) -> Array:
    """∂ⁱ/∂aⁱ ∂ᵏ/∂bᵏ of M(a, b, x)."""

    def turned(a: Array, b: Array, x: Array) -> Array:
        """e^x M(b-a, b, -x)."""
        parts = [comb(k, q) * _series((i + q, k - q), [b - a], b, -x) for q in range(k + 1)]
        return (-1.0) ** i * np.exp(x) * sum(parts)

    return _parts([((x >= 0) & np.isfinite(x), lambda a, b, x: _series((i, k), [a], b, x)),
                   ((x < 0) & np.isfinite(x), turned)], a, b, x)  # fmt: skip
