"""Special functions of CuPy arrays by `cupyx.scipy.special`, named as the primitive is.

What CuPy lacks is refused by name. Derivatives of the incomplete functions are the text of
`backend.incomplete`, on every element of every piece: a choice of elements would ask the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError, DTypeError
from tensorgrad.backend import incomplete
from tensorgrad.backend.cuda.kernels import brain, cast, written
from tensorgrad.backend.numpy_special import (
    NAMES,
    PARAMETRIC,
    SPHERICAL,
    WIDE,
    far_quantile,
    flat,
    result,
)
from tensorgrad.backend.refused import SPECIAL

Array = Any

REAL = frozenset(
    """gammaln zeta poch binom beta betaln gammainc gammaincc gammaincinv gammainccinv betainc
    betaincinv erfcx erfinv erfcinv log_ndtr ndtri expn j0 j1 y0 y1 i0 i1 i0e i1e k0 k1 k0e k1e yn
    exp1 expi""".split()
)
"""Functions that CuPy has for real numbers alone."""

BLOCK = 2**18
"""Elements whose quadrature runs at once: some 100 MB an array of points."""


def _cupyx(name: str) -> Callable[..., Any]:
    def kernel(*arrays: Array, out: Array | None = None, **params: Any) -> Any:
        import cupyx.scipy.special as special  # late: for import time

        if name in REAL:
            _need_real(name, arrays)
        return computed(getattr(special, name), arrays, out, name in WIDE, **params)

    return kernel


def _need_real(name: str, arrays: Sequence[Any]) -> None:
    for a in arrays:
        if a.dtype.kind == "c":
            raise DTypeError(
                f"{name}: got dtype={str(a.dtype)!r} on a GPU, expected a real dtype there; "
                "try x.real, or x.to('cpu')"
            )


def computed(
    function: Callable[..., Any], arrays: Sequence[Any], out: Any, wide: bool = False, **params: Any
) -> Any:
    """function(*arrays), in the dtype that special functions have and computed in no less."""
    dtype = result([a.dtype for a in arrays])
    inner = np.dtype(np.float64) if wide else dtypes.compute(dtype)
    given = [a if a.dtype == inner else cast(a, inner) for a in arrays]
    found = function(*given, **params)
    if found.dtype.kind == "c":
        dtype = dtypes.result_type(inner, dtypes.complex64)
    if found.dtype != dtype:
        found = cast(found, dtype)
    return written(found, out)


def _absent(name: str) -> Callable[..., Any]:
    def kernel(*arrays: Array, out: Array | None = None, **params: Any) -> Any:
        raise DeviceError(
            f"{name}: got arrays on a GPU, where CuPy has no such function, expected arrays of "
            "the CPU; try x.to('cpu')"
        )

    return kernel


def _betaincc(special: Any, a: Array, b: Array, x: Array) -> Array:
    """1 - I(a, b; x) = I(b, a; 1 - x)."""
    return special.betainc(b, a, 1 - x)


def _betainccinv(special: Any, a: Array, b: Array, y: Array) -> Array:
    return 1 - special.betaincinv(b, a, y)


def _stdtr(special: Any, df: Array, t: Array) -> Array:
    """I(df/2, 1/2; 1 - y) / 2 in the tails and 1/2 ± I(1/2, df/2; y) / 2 else, y = t² / (df + t²).

    A tail is known to df / 2 units in the last place, for which 1 - y is rounded.
    """
    half, other, square = df / 2, cupy.full_like(df, 0.5), t * t
    tail = special.betainc(half, other, df / (df + square)) / 2
    middle = special.betainc(other, half, square / (df + square)) / 2
    lower = cupy.where(middle < 0.45, 0.5 - middle, tail)
    found = cupy.where(t > 0, 1 - lower, lower)
    return cupy.where(cupy.isinf(df), special.ndtr(t), found)


def _stdtrit(special: Any, df: Array, p: Array) -> Array:
    """`numpy_special.stdtrit`, but 1 - y where 1 - 2 p' has lost what is asked for."""
    half, other = df / 2, cupy.full_like(df, 0.5)
    tail = cupy.minimum(p, 1 - p)
    x = special.betaincinv(half, other, 2 * tail)
    y = special.betaincinv(other, half, 1 - 2 * tail)
    near = (y < 0.5) & (tail * cupy.maximum(df, 4) > 1)
    t = cupy.sqrt(df * cupy.where(near, y / (1 - y), (1 - x) / x))
    t = cupy.where(x < 1e-290, far_quantile(cupy, special, df, tail), t)
    t = cupy.where(cupy.isinf(df), -special.ndtri(tail), t)
    return cupy.copysign(t, p - 0.5)


def _by(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that CuPy lacks, by others that it has."""

    def kernel(*arrays: Array, out: Array | None = None) -> Any:
        import cupyx.scipy.special as special  # late: for import time

        _need_real(function.__name__.removeprefix("_"), arrays)
        return computed(lambda *given: function(special, *given), arrays, out, True)

    return kernel


def _mills(x: Array, out: Array | None = None) -> Any:
    """φ(x) / Φ(x) of the normal distribution."""
    from cupyx.scipy.special import erfcx  # late: for import time

    return computed(lambda x: (2 / np.pi) ** 0.5 / erfcx(-(0.5**0.5) * x), (x,), out)


def _pieces(
    base: Array, parts: Sequence[tuple[Array, Any]], args: Sequence[Array], safe: Sequence[float]
) -> Array:
    """`base`, and each part's function where its mask holds."""
    for mask, function in parts:
        given = [cupy.where(mask, a, s) for a, s in zip(args, safe, strict=True)]
        for start in range(0, len(base), BLOCK):
            part = slice(start, start + BLOCK)
            base[part] = cupy.where(mask[part], function(*[a[part] for a in given]), base[part])
    return base


def _incomplete(function: Callable[..., Any], *orders: str) -> Callable[..., Any]:
    def kernel(*arrays: Array, out: Array | None = None, **params: int) -> Any:
        import cupyx.scipy.special as special  # late: for import time

        given, shape = flat([cast(a, np.float64) if brain(a) else a for a in arrays], cupy)
        found = function(cupy, special, *[params[name] for name in orders], *given, pieces=_pieces)
        return written(cast(found.reshape(shape), result([a.dtype for a in arrays])), out)

    return kernel


def _prefix(function: Callable[..., Any]) -> Callable[..., Any]:
    def whole(xp: Any, sp: Any, *args: Array, pieces: Any) -> Array:
        inside, known = args[0] >= 0, args[0] >= 0
        for k, a in enumerate(args):
            known = known & (a >= 0)
            inside = inside & (a > 0) & (a < (1.0 if k == 2 else cupy.inf))
        ends = cupy.where(known, 0.0, cupy.nan)
        parts = [(inside, lambda *v: function(xp, sp, *v))]
        return pieces(ends, parts, args, (0.5,) * len(args))

    return _incomplete(whole)


globals().update(
    {
        f"special.{name}": _absent(name) if name in SPECIAL else _cupyx(name)
        for name in (*NAMES.split(), *SPHERICAL.split(), "zeta")
    }
)
globals().update({f"special.{name}": _absent(name) for name in PARAMETRIC})
globals().update(
    {
        "special.mills": _mills,
        "special.betaincc": _by(_betaincc),
        "special.betainccinv": _by(_betainccinv),
        "special.stdtr": _by(_stdtr),
        "special.stdtrit": _by(_stdtrit),
        "special.gamma_prefix": _prefix(incomplete.gamma_prefix),
        "special.beta_prefix": _prefix(incomplete.beta_prefix),
        "special.gammainc_da": _incomplete(incomplete.gamma_derivative, "n"),
        "special.betainc_dab": _incomplete(incomplete.beta_derivative, "n", "m"),
    }
)
