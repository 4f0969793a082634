"""Special functions of NumPy arrays by SciPy, named as the primitive is: "special.gamma".

The 16-bit floats are computed in float32; whole numbers are taken as SciPy takes them, the small
ones as float32, the others as float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError
from tensorgrad.backend import incomplete
from tensorgrad.backend.numpy_erfinv import erfinv
from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]

BLOCK = 1024
"""Elements whose quadrature runs at once: the points of a block stay in the second cache."""

NAMES = """
gamma gammaln loggamma rgamma digamma poch binom beta betaln gammainc gammaincc gammaincinv
gammainccinv betainc betaincc betaincinv betainccinv erfcx erfi dawsn erfinv erfcinv log_ndtr ndtri
exp1 expi expn j0 j1 y0 y1 i0 i1 i0e i1e k0 k1 k0e k1e jv jve yn yv yve iv ive kv kve lambertw
hyp2f1 hyp1f1 stdtr stdtrit
"""
"""Functions that are SciPy's own."""


def stdtrit(df: Array, p: Array) -> Array:
    """Student's quantile: SciPy 1.17's is wrong by up to 7e-13 at p = 0.8, and +inf at p = 0.

    With y = t² / (df + t²), I(1/2, df/2; y) = 1 - 2 p' where p' is the lesser of p and 1 - p.
    """
    from scipy import special  # late: for import time

    half, tail = df / 2, np.minimum(p, 1 - p)
    y, x = np.ones_like(half * tail), np.ones_like(half * tail)
    near = np.broadcast_to(tail > 0.25, y.shape)
    special.betaincinv(0.5, half, 1 - 2 * tail, where=near, out=y)
    special.betainccinv(0.5, half, 2 * tail, where=~near, out=y)
    far = y > 0.5
    special.betaincinv(half, 0.5, 2 * tail, where=far, out=x)  # 1 - y, to its last digit
    t = np.sqrt(df * np.where(far, (1 - x) / x, y / (1 - y)))
    t = np.where(x < 1e-290, far_quantile(np, special, df, tail), t)
    t = np.where(np.isinf(df), -special.ndtri(tail), t)
    return np.asarray(np.copysign(t, p - 0.5))


def far_quantile(xp: Any, special: Any, df: Any, tail: Any) -> Any:
    """t from the first term of I(df/2, 1/2; df / t²) = 2 p' alone (DLMF 8.17.7)."""
    lead = xp.log(df) + special.betaln(df / 2, xp.full_like(df, 0.5))
    return tail ** (-1 / df) * xp.sqrt(df) * xp.exp(-lead / df)


OWN: dict[str, Callable[..., Any]] = {"erfinv": erfinv, "stdtrit": stdtrit}
"""Those of them that are more exact, or several times as quick, than SciPy's."""

WIDE = frozenset("betainc betaincc betaincinv betainccinv stdtr stdtrit".split())
"""Functions whose float32 loop is not good to float32: computed in float64."""

PARAMETRIC = {
    **dict.fromkeys(("jv_dv", "yv_dv", "ive_dv", "kve_dv"), ("numpy_bessel", "n")),
    "hyp2f1_dabc": ("numpy_hypergeometric", "ijk"),
    "hyp1f1_dab": ("numpy_hypergeometric", "ik"),
}
"""Derivatives in parameters: the file that has them, and the names of their orders."""

SPHERICAL = "spherical_jn spherical_yn spherical_in spherical_kn"


def result(given: Sequence[Any]) -> Any:
    """The dtype of a special function of arrays of these dtypes."""
    found = dtypes.result_type(*given)
    return found if dtypes.is_inexact(found) else dtypes.result_type(found, dtypes.float32)


def flat(arrays: Sequence[Any], xp: Any) -> tuple[list[Any], shapes.Shape]:
    """Arrays broadcast against one another, in float64 and flat; and their common shape."""
    shape = np.broadcast_shapes(*[a.shape for a in arrays])
    return [
        xp.broadcast_to(a.astype(dtypes.float64, copy=False), shape).reshape(-1) for a in arrays
    ], shape


ORDERED = frozenset("jv yv iv kv kve".split())
"""Functions of a real order and an argument that may be complex."""


def _real_order(name: str, v: Array) -> Array:
    """The order as a real array: beside a complex argument a number came as a complex one."""
    if v.dtype.kind == "c" and v.imag.any():
        raise DTypeError(f"{name}: got a complex order, expected a real one; try v.real")
    return v.real


def _scipy(name: str) -> Callable[..., Any]:
    function: Any = None

    def kernel(*arrays: Array, out: Array | None = None, **params: Any) -> Any:
        nonlocal function
        if function is None:
            import scipy.special  # late: for import time

            function = OWN.get(name) or getattr(scipy.special, name)
        if name in ORDERED:
            arrays = (_real_order(name, arrays[0]), arrays[1])
        return computed(function, arrays, out, name in WIDE, **params)

    return kernel


def _cast(a: Array, dtype: Any) -> Array:
    return a if a.dtype == dtype else a.astype(dtype)


def computed(
    function: Callable[..., Any], arrays: Sequence[Any], out: Any, wide: bool = False, **params: Any
) -> Any:
    """function(*arrays), in the dtype that special functions have and computed in no less."""
    dtype = result([a.dtype for a in arrays])
    if wide and dtype.kind == "c":
        name = getattr(function, "__name__", "special function")
        raise DTypeError(f"{name}: got {dtype}, expected real numbers; try x.real")
    inner = dtypes.float64 if wide else dtypes.compute(dtype)
    real = dtypes.real(inner)
    given = [_cast(a, inner if a.dtype.kind == "c" else real) for a in arrays]
    with np.errstate(all="ignore"):
        found = function(*given, **params)
        if found.dtype.kind == "c":
            dtype = dtypes.result_type(inner, dtypes.complex64)
        if found.dtype != dtype:
            found = found.astype(dtype)
    return written(found, out)


SHIFT, WHOLE = 10, 12
"""Terms that are summed before the expansion of Hurwitz's zeta function, and its largest order."""

ROWS = 4096
"""Elements that Hurwitz's zeta function is computed for at once."""

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)


def _zeta(x: Array, q: Array, out: Array | None = None) -> Any:
    """Σ (q + k)^-x; ten times faster than SciPy's where x is one small integer and q > 0."""
    import scipy.special  # late: for import time

    order = float(x.flat[0]) if x.size == 1 and q.size > BLOCK and x.ndim <= q.ndim else 0.0
    if order not in range(2, WHOLE) or q.dtype != np.float64 or not (q > 0).all():
        return computed(scipy.special.zeta, (x, q), out)
    flat, found = q.reshape(-1), np.empty(q.size)
    with np.errstate(all="ignore"):
        for start in range(0, q.size, ROWS):
            found[start : start + ROWS] = _hurwitz(int(order), flat[start : start + ROWS])
    return written(found.reshape(q.shape), out)


def _hurwitz(s: int, q: Array) -> Array:
    """Euler and Maclaurin's expansion after SHIFT terms: error below 1e-16 (DLMF 25.11.5)."""
    total = np.zeros_like(q)
    for k in range(SHIFT):
        total += _power(1 / (q + k), s)
    inverse = 1 / (q + SHIFT)
    w, weight = inverse * inverse, []
    rest: Any = 0.0
    for k in range(1, len(BERNOULLI) + 1):
        rising = math.prod(range(s, s + 2 * k - 1))
        weight.append(BERNOULLI[k - 1] * rising / math.factorial(2 * k))
    for c in reversed(weight):
        rest = rest * w + c
    lead = _power(inverse, s - 1)
    return np.asarray(total + lead * (1 / (s - 1) + inverse * (0.5 + inverse * rest)))


def _power(x: Array, n: int) -> Array:
    found = x
    for _ in range(n - 1):
        found = found * x
    return found


def _spherical(name: str) -> Callable[..., Any]:
    def kernel(z: Array, *, n: int, out: Array | None = None) -> Any:
        import scipy.special  # late: for import time

        function = getattr(scipy.special, name)
        return computed(lambda z: np.asarray(function(n, z)), (z,), out)

    return kernel


def _parametric(name: str) -> Callable[..., Any]:
    home, orders = PARAMETRIC[name]

    def kernel(*arrays: Array, out: Array | None = None, **params: int) -> Any:
        module = import_module(f"tensorgrad.backend.{home}")  # late: few programs want these
        given, shape = flat(arrays, np)
        with np.errstate(all="ignore"):
            found = getattr(module, name)(*[params[n] for n in orders], *given).reshape(shape)
        return written(_cast(found, result([a.dtype for a in arrays])), out)

    return kernel


def _mills(x: Array, out: Array | None = None) -> Any:
    """φ(x) / Φ(x) of the normal distribution."""
    from scipy.special import erfcx  # late: for import time

    return computed(lambda x: (2 / np.pi) ** 0.5 / np.asarray(erfcx(-(0.5**0.5) * x)), (x,), out)


def _pieces(
    base: Array, parts: Sequence[tuple[Array, Any]], args: Sequence[Array], _: Sequence[float]
) -> Array:
    """`base`, and each part's function where its mask holds, block by block."""
    for mask, function in parts:
        places = np.nonzero(mask)[0]
        for start in range(0, len(places), BLOCK):
            here = places[start : start + BLOCK]
            base[here] = function(*[a[here] for a in args])
    return base


def _incomplete(function: Callable[..., Any], *orders: str) -> Callable[..., Any]:
    def kernel(*arrays: Array, out: Array | None = None, **params: int) -> Any:
        import scipy.special  # late: for import time

        given, shape = flat(arrays, np)
        degrees = [params[name] for name in orders]
        with np.errstate(all="ignore"):
            found = function(np, scipy.special, *degrees, *given, pieces=_pieces)
            found = found.reshape(shape).astype(result([a.dtype for a in arrays]), copy=False)
        return written(found, out)

    return kernel


def _prefix(function: Callable[..., Any]) -> Callable[..., Any]:
    def whole(xp: Any, sp: Any, *args: Array, pieces: Any) -> Array:
        inside = np.all([np.isfinite(a) & (a > 0) for a in args], axis=0)
        if len(args) == 3:
            inside &= args[2] < 1
        at_ends = np.where(np.all([a >= 0 for a in args], axis=0), 0.0, np.nan)
        return pieces(at_ends, [(inside, lambda *v: function(xp, sp, *v))], args, ())  # type: ignore[no-any-return]

    return _incomplete(whole)


globals().update({f"special.{name}": _scipy(name) for name in NAMES.split()})
globals().update({f"special.{name}": _spherical(name) for name in SPHERICAL.split()})
globals().update({f"special.{name}": _parametric(name) for name in PARAMETRIC})
globals().update(
    {
        "special.mills": _mills,
        "special.zeta": _zeta,
        "special.gamma_prefix": _prefix(incomplete.gamma_prefix),
        "special.beta_prefix": _prefix(incomplete.beta_prefix),
        "special.gammainc_da": _incomplete(incomplete.gamma_derivative, "n"),
        "special.betainc_dab": _incomplete(incomplete.beta_derivative, "n", "m"),
    }
)
