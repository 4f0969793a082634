"""Incomplete gamma and beta functions and their inverses: gradients in the parameters too.

The derivatives in the parameters are integrals of their own (Moore 1982; Boik and Robison-Cox
1998), here by quadrature: see `backend.incomplete`.

>>> gammainc([0.5, 2.0], 1.0)
tensor([0.84270079, 0.26424112])
>>> betainc(2.0, 3.0, 0.5)
tensor(0.6875)
"""

from __future__ import annotations

from typing import Any

from tensorgrad.backend.incomplete import bell
from tensorgrad.core.primitive import Primitive
from tensorgrad.ops.elementary import log, log1p
from tensorgrad.ops.special.gammas import digamma, polygamma
from tensorgrad.ops.special.rules import Call, smooth, special

# -- gamma ---------------------------------------------------------------------------------------

gamma_prefix_p: Primitive = smooth(
    "gamma_prefix",
    {
        "a": lambda a, x, out: out * (log(x) - digamma(a)),
        "x": lambda a, x, out: out * (a / x - 1.0),
    },
)
"""x^a e^-x / Γ(a), to the last digits for large a."""


def _density(a: Any, x: Any) -> Any:
    """The density of the gamma distribution."""
    return gamma_prefix_p.bind(a, x) / x


def _factor(a: Any, x: Any, n: int) -> Any:
    """∂ⁿp/∂aⁿ / p of the density p."""
    return bell(n, 0, lambda i, j: log(x) - digamma(a) if i == 1 else -polygamma(i - 1, a))


gammainc_da_p: Primitive = smooth(
    "gammainc_da",
    {
        "a": lambda a, x, n: gammainc_da_p.bind(a, x, n=n + 1),
        "x": lambda a, x, n: _density(a, x) * _factor(a, x, n),
    },
)
"""∂ⁿP(a, x)/∂aⁿ."""


def _lifetimes(r: Any) -> Any:
    return r.pairs((0.5, 6), (0.3, 6))


gammainc: Call = special(
    "gammainc",
    "P(a, x) = ∫₀ˣ t^(a-1) exp(-t) dt / Γ(a).",
    {
        "a": lambda a, x: gammainc_da_p.bind(a, x, n=1),
        "x": lambda a, x: _density(a, x),
    },
    samples=_lifetimes,
)
gammaincc: Call = special(
    "gammaincc",
    "Q(a, x) = 1 - P(a, x), accurate where it is small.",
    {
        "a": lambda a, x: -gammainc_da_p.bind(a, x, n=1),
        "x": lambda a, x: -_density(a, x),
    },
    samples=_lifetimes,
)
gammaincinv: Call = special(
    "gammaincinv",
    "The x at which P(a, x) = y.",
    {
        "a": lambda a, out: -gammainc_da_p.bind(a, out, n=1) / _density(a, out),
        "y": lambda a, out: 1.0 / _density(a, out),
    },
    samples=lambda r: r.pairs((0.8, 5), (0.2, 0.8)),
)
gammainccinv: Call = special(
    "gammainccinv",
    "The x at which 1 - P(a, x) = y.",
    {
        "a": lambda a, out: -gammainc_da_p.bind(a, out, n=1) / _density(a, out),
        "y": lambda a, out: -1.0 / _density(a, out),
    },
    samples=lambda r: r.pairs((0.8, 5), (0.2, 0.8)),
)

# -- beta ----------------------------------------------------------------------------------------

beta_prefix_p: Primitive = smooth(
    "beta_prefix",
    {
        "a": lambda a, b, x, out: out * _first(a, b, x),
        "b": lambda a, b, x, out: out * _second(a, b, x),
        "x": lambda a, b, x, out: out * (a / x - b / (1.0 - x)),
    },
)
"""x^a (1 - x)^b / B(a, b), to the last digits for large a and b."""


def _first(a: Any, b: Any, x: Any) -> Any:
    return log(x) - digamma(a) + digamma(a + b)


def _second(a: Any, b: Any, x: Any) -> Any:
    return log1p(-x) - digamma(b) + digamma(a + b)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return beta_prefix_p.bind(a, b, x) / (x * (1.0 - x))


def _beta_factor(a: Any, b: Any, x: Any, n: int, m: int) -> Any:
    """∂ⁿ/∂aⁿ ∂ᵐ/∂bᵐ p / p of the density p."""

    def kappa(i: int, j: int) -> Any:
        if i + j == 1:
            return _first(a, b, x) if i else _second(a, b, x)
        shared = polygamma(i + j - 1, a + b)
        return shared if i and j else shared - polygamma(i + j - 1, a if i else b)

    return bell(n, m, kappa)


betainc_dab_p: Primitive = smooth(
    "betainc_dab",
    {
        "a": lambda a, b, x, n, m: betainc_dab_p.bind(a, b, x, n=n + 1, m=m),
        "b": lambda a, b, x, n, m: betainc_dab_p.bind(a, b, x, n=n, m=m + 1),
        "x": lambda a, b, x, n, m: _beta_density(a, b, x) * _beta_factor(a, b, x, n, m),
    },
)
"""∂ⁿ/∂aⁿ ∂ᵐ/∂bᵐ of I(a, b; x)."""


def _proportions(r: Any) -> Any:
    for (a, b), _ in r.pairs((0.6, 5), (0.6, 5)):
        yield (a, b, r.uniform(0.1, 0.9, *b.shape)), {}


def _levels(r: Any) -> Any:
    for (a, b), _ in r.pairs((0.9, 4), (0.9, 4)):
        yield (a, b, r.uniform(0.25, 0.75, *b.shape)), {}


betainc: Call = special(
    "betainc",
    "I(a, b; x) = ∫₀ˣ t^(a-1) (1 - t)^(b-1) dt / B(a, b).",
    {
        "a": lambda a, b, x: betainc_dab_p.bind(a, b, x, n=1, m=0),
        "b": lambda a, b, x: betainc_dab_p.bind(a, b, x, n=0, m=1),
        "x": lambda a, b, x: _beta_density(a, b, x),
    },
    samples=_proportions,
)
betaincc: Call = special(
    "betaincc",
    "1 - I(a, b; x), accurate where it is small.",
    {
        "a": lambda a, b, x: -betainc_dab_p.bind(a, b, x, n=1, m=0),
        "b": lambda a, b, x: -betainc_dab_p.bind(a, b, x, n=0, m=1),
        "x": lambda a, b, x: -_beta_density(a, b, x),
    },
    samples=_proportions,
)
betaincinv: Call = special(
    "betaincinv",
    "The x at which I(a, b; x) = y.",
    {
        "a": lambda a, b, out: -betainc_dab_p.bind(a, b, out, n=1, m=0) / _beta_density(a, b, out),
        "b": lambda a, b, out: -betainc_dab_p.bind(a, b, out, n=0, m=1) / _beta_density(a, b, out),
        "y": lambda a, b, out: 1.0 / _beta_density(a, b, out),
    },
    samples=_levels,
)
betainccinv: Call = special(
    "betainccinv",
    "The x at which 1 - I(a, b; x) = y.",
    {
        "a": lambda a, b, out: -betainc_dab_p.bind(a, b, out, n=1, m=0) / _beta_density(a, b, out),
        "b": lambda a, b, out: -betainc_dab_p.bind(a, b, out, n=0, m=1) / _beta_density(a, b, out),
        "y": lambda a, b, out: -1.0 / _beta_density(a, b, out),
    },
    samples=_levels,
)
