"""Exponential integrals and Lambert's function.

>>> exp1(1.0), lambertw(1.0)
(tensor(0.21938393), tensor(0.56714329+0.j))
"""

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

_WHOLE = "it is whole"

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
    {"n": _WHOLE, "x": _expn_slope},
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
