"""Derivatives of Bessel functions in their order, of any order n, for real v and x > 0.

J, Y, I and K are integrals in whose integrands the order stands in an exponent, so that every
derivative is the same integral with a power before it (DLMF 10.9.6, 10.9.7, 10.32.4, 10.32.9):

    π J = ∫₀^π cos(vτ - x sin τ) dτ - Im ∫₀^∞ exp((iπ - t) v - x sinh t) dt
    π Y = ∫₀^π sin(x sin τ - vτ) dτ - ∫₀^∞ (exp(vt) + Re exp((iπ - t) v)) exp(-x sinh t) dt
    π I = ∫₀^π exp(x cos τ) cos(vτ) dτ - Im ∫₀^∞ exp((iπ - t) v - x cosh t) dt
      K = ∫₀^∞ cosh(vt) exp(-x cosh t) dt

by Gauss and Legendre's rule on as many panels as the phase asks for. Where J and I are small beside
their integrands it is the power series instead (10.2.2, 10.25.2), whose n-th derivatives are Bell
polynomials of log(x/2) - ψ. Relative error about 1e-11 for orders up to 50; of larger ones 1e-16
of the largest term, which counts where J is small (at v = 100, x = 66 it is 1e-11: five digits).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend.incomplete import bell, polygamma

Array = Any

NODES, TAIL, PHASE = 32, 42.0, 16.0
"""Points of a panel, the exponent at which a tail is cut, and the phase that a panel may have."""

PANELS, LONG = 16, 2**15
"""Panels of a tail, and the most of an oscillation: beyond, the answer is NaN."""

WORK = 2**18
"""Points that are held at once."""

TERMS = 20_000
"""Terms of the longest series."""


@cache
def _rule(panels: int) -> tuple[Array, Array]:
    """Points and weights on [0, 1]."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    starts = np.arange(panels)[:, None]
    return ((starts + (points + 1) / 2) / panels).ravel(), np.tile(weights / 2 / panels, panels)


def _arc(f: Callable[..., Array], width: Array, v: Array, x: Array) -> Array:
    """∫₀^π f(τ, v, x) dτ, where f does not turn by more than `width` radians on the way."""
    found = np.full(v.shape, np.nan)
    panels = 2 ** np.ceil(np.log2(np.maximum(width / PHASE, 1)))
    for count in np.unique(panels[panels <= LONG]).astype(int).tolist():
        points, weights = _rule(count)
        places = np.nonzero(panels == count)[0]
        step = max(1, WORK // points.size)
        for start in range(0, places.size, step):
            here = places[start : start + step]
            found[here] = np.pi * (f(np.pi * points, v[here, None], x[here, None]) @ weights)
    return found


def _tail(f: Callable[..., Array], growth: Array, v: Array, x: Array) -> Array:
    """∫₀^∞ f(t, v, x) dt, where f falls as exp(growth t - x sinh t)."""
    end = np.arcsinh((TAIL + 9 * np.maximum(growth, 0)) / x)
    for _ in range(12):
        end = np.arcsinh((TAIL + np.maximum(growth, 0) * end) / x)
    end = np.where(growth < 0, np.minimum(end, TAIL / np.maximum(-growth, 1e-300)), end + 0.5)
    points, weights = _rule(PANELS)
    found, step = np.empty(v.shape), WORK // points.size
    for start in range(0, v.size, step):
        here = slice(start, start + step)
        t = end[here, None] * points
        found[here] = end[here] * (f(t, v[here, None], x[here, None]) @ weights)
    return found


def _turned(n: int, t: Array, v: Array, fall: Array) -> Array:
    """∂ⁿ/∂vⁿ exp((iπ - t) v - fall)."""
    w = 1j * np.pi - t
    return w**n * np.exp(w * v - fall)


def _cosine(n: int, phase: Array) -> Array:
    """The n-th derivative of the cosine, exact at 0."""
    found = np.sin(phase) if n % 2 else np.cos(phase)
    return -found if n % 4 in (1, 2) else found


# -- the integrals -----------------------------------------------------------------------------


def _j(n: int, v: Array, x: Array) -> Array:
    near = _arc(lambda s, v, x: s**n * _cosine(n, v * s - x * np.sin(s)),
                np.pi * (abs(v) + x), v, x)  # fmt: skip
    far = _tail(lambda t, v, x: _turned(n, t, v, x * np.sinh(t)).imag, -v, v, x)
    return (near - far) / np.pi


def _y(n: int, v: Array, x: Array) -> Array:
    near = _arc(lambda s, v, x: s**n * _cosine(n + 1, v * s - x * np.sin(s)),
                np.pi * (abs(v) + x), v, x)  # fmt: skip
    far = _tail(lambda t, v, x: t**n * np.exp(v * t - x * np.sinh(t))
                + _turned(n, t, v, x * np.sinh(t)).real, abs(v), v, x)  # fmt: skip
    return (near - far) / np.pi


def _ie(n: int, v: Array, x: Array) -> Array:
    near = _arc(lambda s, v, x: s**n * np.exp(x * (np.cos(s) - 1)) * _cosine(n, v * s),
                np.pi * np.maximum(abs(v), 3 * np.sqrt(x)), v, x)  # fmt: skip
    far = _tail(lambda t, v, x: _turned(n, t, v, x * (np.cosh(t) + 1)).imag, -v, v, x)
    return (near - far) / np.pi


def _ke(n: int, v: Array, x: Array) -> Array:
    def integrand(t: Array, v: Array, x: Array) -> Array:
        fall = 2 * x * np.sinh(t / 2) ** 2
        back = (-1.0) ** n * np.exp(-v * t - fall)
        return t**n * (np.exp(v * t - fall) + back) / 2

    # cosh t - 1 falls behind sinh t for small t: the tail is the longer for it.
    return _tail(integrand, abs(v) + 1 + np.minimum(x, 40.0), v, x)


# -- the series --------------------------------------------------------------------------------


def _series(n: int, sign: float, v: Array, x: Array) -> Array:
    """∂ⁿ/∂vⁿ Σ_k signᵏ (x/2)^(2k+v) / (k! Γ(v+k+1)), times exp(-x) for sign 1; v not below 0."""
    import scipy.special as sp  # late: for import time

    half, shift = np.log(x / 2), x if sign > 0 else 0.0
    cumulants = {1: half - sp.psi(v + 1)}
    cumulants.update({i: -polygamma(sp, i - 1, v + 1) for i in range(2, n + 1)})
    total, size = np.zeros_like(v), np.zeros_like(v)
    for k in range(TERMS):
        z = v + k + 1
        log = (2 * k + v) * half - math.lgamma(k + 1) - sp.gammaln(z) - shift
        term = sign**k * np.exp(log) * bell(n, 0, lambda i, j: cumulants[i])
        total, size = total + term, np.maximum(size, abs(term))
        if k > 4 and np.all((abs(term) < 1e-18 * size) & (2 * k > x - v)):
            break
        for i in cumulants:  # ψ⁽ⁱ⁻¹⁾(z + 1) = ψ⁽ⁱ⁻¹⁾(z) - (-1)ⁱ (i - 1)! / zⁱ
            cumulants[i] = cumulants[i] + (-1.0) ** i * math.factorial(i - 1) / z**i
    return total


def _chosen(parts: Sequence[tuple[Array, Any]], v: Array, x: Array) -> Array:
    found = np.full(v.shape, np.nan)
    for mask, function in parts:
        if mask.any():
            found[mask] = function(v[mask], x[mask])
    return found


def jv_dv(n: int, v: Array, x: Array) -> Array:
    """∂ⁿJ/∂vⁿ."""
    inside = (x > 0) & (x < np.inf) & np.isfinite(v)
    small = (v >= 0) & (x <= 0.66 * v + 5)  # there I, the sum of the terms' sizes, is below 30
    found = _chosen([(inside & small, lambda v, x: _series(n, -1.0, v, x)),
                     (inside & ~small, lambda v, x: _j(n, v, x))], v, x)  # fmt: skip
    return np.where((x == 0) & (v > 0), 0.0, found)


def yv_dv(n: int, v: Array, x: Array) -> Array:
    """∂ⁿY/∂vⁿ."""
    inside = (x > 0) & (x < np.inf) & np.isfinite(v)
    return _chosen([(inside, lambda v, x: _y(n, v, x))], v, x)


def ive_dv(n: int, v: Array, x: Array) -> Array:
    """exp(-x) ∂ⁿI/∂vⁿ."""
    inside = (x > 0) & (x < np.inf) & np.isfinite(v)
    small = (v >= 0) & (x <= v * v / 20) & (x < TERMS / 2)
    found = _chosen([(inside & small, lambda v, x: _series(n, 1.0, v, x)),
                     (inside & ~small, lambda v, x: _ie(n, v, x))], v, x)  # fmt: skip
    return np.where((x == 0) & (v > 0), 0.0, found)


def kve_dv(n: int, v: Array, x: Array) -> Array:
    """exp(x) ∂ⁿK/∂vⁿ."""
    inside = (x > 0) & (x < np.inf) & np.isfinite(v)
    return _chosen([(inside, lambda v, x: _ke(n, v, x))], v, x)
