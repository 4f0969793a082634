"""Student's distribution function and its inverse, with gradients in the degrees of freedom.

>>> stdtr(3.0, [0.0, 1.0])
tensor([0.5       , 0.80449889])
"""

from __future__ import annotations

from typing import Any

from tensorgrad.ops.elementary import exp, log, log1p
from tensorgrad.ops.elementwise import sign, square
from tensorgrad.ops.special.gammas import betaln
from tensorgrad.ops.special.incomplete import beta_prefix_p, betainc_dab_p
from tensorgrad.ops.special.rules import Call, special


def _density(df: Any, t: Any) -> Any:
    half = 0.5 * df
    return exp(-(half + 0.5) * log1p(square(t) / df) - 0.5 * log(df) - betaln(half, 0.5))


def _in_freedom(df: Any, t: Any) -> Any:
    """∂/∂df of 1 - I(df/2, 1/2; df / (df + t²)) / 2 for t > 0, its negative below."""
    half, x = 0.5 * df, df / (df + square(t))
    moved = betainc_dab_p.bind(half, 0.5, x, n=1, m=0)
    return -0.5 * sign(t) * (0.5 * moved + beta_prefix_p.bind(half, 0.5, x) / df)


stdtr: Call = special(
    "stdtr",
    "The probability of at most t under Student's distribution of df degrees of freedom.",
    {"df": _in_freedom, "t": _density},
    samples=lambda r: r.pairs((1.5, 6), (0.3, 3)),
)
stdtrit: Call = special(
    "stdtrit",
    "The t at which stdtr(df, t) = p.",
    {
        "df": lambda df, out: -_in_freedom(df, out) / _density(df, out),
        "p": lambda df, out: 1.0 / _density(df, out),
    },
    samples=lambda r: r.pairs((1.5, 6), (0.6, 0.9)),
)
