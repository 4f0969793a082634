"""Exponential integrals, Lambert's function, hypergeometric functions of constant parameters."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.calls import operand
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import operation
from tensorgrad.ops.elementary import exp
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.shape import whole
from tensorgrad.ops.special.rules import Call, smooth, special

_PARAMETER = "SciPy has no derivative in the parameters"

exp1: Call = special(
    "exp1",
    "E₁(x) = ∫₁^∞ exp(-x t) / t dt.",
    {"x": lambda x: -exp(-x) / x},
    samples=lambda r: r.singles(0.4, 4),
    complex=True,
)
expi: Call = special(
    "expi",
    "Ei(x), the principal value of ∫ exp(t) / t dt from -∞ to x.",
    {"x": lambda x: exp(x) / x},
    samples=lambda r: r.singles(0.4, 4),
    complex=True,
)


def _expn_samples(r: Any) -> Any:
    for k, ((x,), _) in enumerate(r.singles(0.4, 4)):
        yield (k % 4, x), {}


def _expn_slope(n: Any, x: Any, out: Any) -> Any:
    lower = expn(where(n >= 1, n - 1, 0), x)
    return -where(n >= 1, lower, (exp(-x) + out) / x)


expn: Call = special(
    "expn",
    "Eₙ(x) = ∫₁^∞ exp(-x t) / tⁿ dt for a constant integer n >= 0.",
    {"n": _PARAMETER, "x": _expn_slope},
    samples=_expn_samples,
)

lambertw_p: Primitive = smooth(
    "lambertw",
    {"z": lambda out: 1.0 / (exp(out) * (1.0 + out))},
    complex=True,
    dtype=lambda dtype: dtypes.result_type(dtypes.compute(dtype), dtypes.complex64),
)


def _lambertw_samples(r: Any) -> Any:
    yield from r.singles(0.3, 4)
    yield (r.uniform(-0.3, -0.1, 3), -1), {}
    yield (r.uniform(0.3, 1, 3) + 1j * r.normal(3),), {"k": 1}


@operation(oracle="scipy.special.lambertw", samples=_lambertw_samples, namespace="special")
def lambertw(z: Any, k: int = 0, tol: float = 1e-8) -> Any:
    """Branch k of Lambert's function W: W exp(W) = z. Its values are complex, as SciPy's are.

    `tol` is accepted for SciPy's sake.
    """
    return lambertw_p.bind(operand(z, (), "lambertw"), k=whole("lambertw", k))


def _gauss_samples(r: Any) -> Any:
    for (z,), _ in r.singles(-0.7, 0.7):
        yield (0.7, 1.3, 2.1, z), {}


hyp2f1: Call = special(
    "hyp2f1",
    "Gauss's hypergeometric function F(a, b; c; z) of constant a, b and c.",
    {
        "a": _PARAMETER,
        "b": _PARAMETER,
        "c": _PARAMETER,
        "z": lambda a, b, c, z: a * b / c * hyp2f1(a + 1, b + 1, c + 1, z),
    },
    samples=_gauss_samples,
)


def _kummer_samples(r: Any) -> Any:
    for (x,), _ in r.singles(-2, 2):
        yield (0.7, 2.1, x), {}


hyp1f1: Call = special(
    "hyp1f1",
    "Kummer's function M(a, b, x) of constant a and b.",
    {
        "a": _PARAMETER,
        "b": _PARAMETER,
        "x": lambda a, b, x: a / b * hyp1f1(a + 1, b + 1, x),
    },
    samples=_kummer_samples,
)
