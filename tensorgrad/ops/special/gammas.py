"""The gamma function and what is made of it, with derivatives of any order in every argument.

>>> gammaln([1.0, 5.0]), digamma(1.0), beta(2.0, 3.0)
(tensor([0.        , 3.17805383]), tensor(-0.57721566), tensor(0.08333333))
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad._errors import NotDifferentiable, need
from tensorgrad.core.calls import operand, operands
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import operation
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.shape import whole
from tensorgrad.ops.special.rules import Call, smooth, special


def positive(r: Any) -> Any:
    """One argument from 0.4 to 6 in every layout."""
    return r.singles(0.4, 6)


def _both_signs(r: Any) -> Any:
    yield from r.singles(0.4, 6)
    yield (r.uniform(-2.7, -2.3, 3),), {}


# -- one argument --------------------------------------------------------------------------------

digamma: Call = special(
    "digamma",
    "ψ(x) = d log Γ(x) / dx, the digamma function.",
    {"x": lambda x: polygamma(1, x)},
    samples=_both_signs,
    numpy="scipy.special.psi",
    complex=True,
)
gamma: Call = special(
    "gamma",
    "Γ(x) = ∫₀^∞ t^(x-1) exp(-t) dt.",
    {"x": lambda x, out: out * digamma(x)},
    samples=_both_signs,
    complex=True,
)
rgamma: Call = special(
    "rgamma",
    "1 / Γ(x), 0 at the poles of Γ.",
    {"x": lambda x, out: -out * digamma(x)},
    samples=positive,
    complex=True,
)
gammaln: Call = special(
    "gammaln",
    "log |Γ(x)|.",
    {"x": lambda x: digamma(x)},
    samples=_both_signs,
)
loggamma: Call = special(
    "loggamma",
    "The branch of log Γ(z) that is real for z > 0; NaN for real z < 0.",
    {"z": lambda z: digamma(z)},
    samples=positive,
    complex=True,
)

zeta_p: Primitive = smooth(
    "zeta",
    {
        "x": "SciPy has no derivative in the exponent",
        "q": lambda x, q: -x * zeta_p.bind(x + 1, q),
    },
)


def _zeta_samples(r: Any) -> Any:
    for (q,), _ in r.singles(0.5, 4):
        yield (2, q), {}
    yield (3.5, r.uniform(0.5, 4, 3)), {}


@operation(oracle="scipy.special.zeta", samples=_zeta_samples, namespace="special")
def zeta(x: Any, q: Any = 1.0) -> Any:
    """Hurwitz's zeta function Σ (q + k)^-x over k = 0, 1 ..., for a constant x > 1.

    The gradient in q exists, that in x does not.
    """
    return zeta_p.bind(x, q)


def _polygamma_samples(r: Any) -> Any:
    for k, ((x,), _) in enumerate(r.singles(0.5, 5)):
        yield (k % 3, x), {}


def _polygamma_oracle(n: Any, x: Any) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.polygamma(n, x)


@operation(oracle=_polygamma_oracle, samples=_polygamma_samples, namespace="special")
def polygamma(n: Any, x: Any) -> Any:
    """ψ⁽ⁿ⁾(x), the derivative of order n of the digamma function; n is an integer.

    ψ⁽ⁿ⁾(x) = (-1)^(n+1) n! ζ(n + 1, x). Raises `NotDifferentiable` for complex x and n above 0.
    """
    n = whole("polygamma", n)
    x = operand(x, (), "polygamma")
    need(n >= 0, "polygamma", n=n, want="n >= 0", fix="n=1", error=ValueError)
    if n == 0:
        return digamma(x)
    if x.dtype.kind == "c":
        raise NotDifferentiable(
            f"polygamma: got complex x of order {n}, expected a real one (SciPy has no other); "
            "try a gradient of lower order"
        )
    return (-1.0) ** (n + 1) * math.factorial(n) * zeta_p.bind(float(n + 1), x)


def _multigammaln_samples(r: Any) -> Any:
    for k, ((a,), _) in enumerate(r.singles(2.2, 6)):
        yield (a, 1 + k % 4), {}


@operation(oracle="scipy.special.multigammaln", samples=_multigammaln_samples, namespace="special")
def multigammaln(a: Any, d: int) -> Any:
    """log of the multivariate gamma function of dimension d, for a > (d - 1) / 2.

    d (d - 1) / 4 log π + Σ log Γ(a - j / 2) over j = 0 ... d - 1.
    """
    d = whole("multigammaln", d)
    a = operand(a, (), "multigammaln")
    need(d >= 1, "multigammaln", d=d, want="d >= 1", fix="d=1", error=ValueError)
    found = gammaln(a)
    for j in range(1, d):
        found = found + gammaln(a - 0.5 * j)
    return found + 0.25 * d * (d - 1) * math.log(math.pi)


# -- two arguments -------------------------------------------------------------------------------


def _two(r: Any) -> Any:
    return r.pairs((0.5, 4), (0.5, 4))


betaln: Call = special(
    "betaln",
    "log |B(a, b)|, B the beta function.",
    {
        "a": lambda a, b: digamma(a) - digamma(a + b),
        "b": lambda a, b: digamma(b) - digamma(a + b),
    },
    samples=_two,
)
beta: Call = special(
    "beta",
    "B(a, b) = Γ(a) Γ(b) / Γ(a + b).",
    {
        "a": lambda a, b, out: out * (digamma(a) - digamma(a + b)),
        "b": lambda a, b, out: out * (digamma(b) - digamma(a + b)),
    },
    samples=_two,
)
binom: Call = special(
    "binom",
    "The binomial coefficient Γ(n + 1) / (Γ(k + 1) Γ(n - k + 1)), also between the integers.",
    {
        "n": lambda n, k, out: out * (digamma(n + 1) - digamma(n - k + 1)),
        "k": lambda n, k, out: out * (digamma(n - k + 1) - digamma(k + 1)),
    },
    samples=lambda r: r.pairs((4.2, 6), (0.5, 3)),
)
poch: Call = special(
    "poch",
    "Pochhammer's symbol Γ(z + m) / Γ(z).",
    {
        "z": lambda z, m, out: out * (digamma(z + m) - digamma(z)),
        "m": lambda z, m, out: out * digamma(z + m),
    },
    samples=_two,
)


def _factorial_oracle(n: Any) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.gamma(n + 1)


@operation(oracle=_factorial_oracle, samples=positive, namespace="special")
def factorial(n: Any) -> Any:
    """n! = Γ(n + 1), also between the integers; 0 for n < 0.

    >>> factorial([3.0, 4.0])
    tensor([ 6., 24.])
    """
    n = operand(n, (), "factorial")
    return where(n < 0, 0.0, gamma(where(n < 0, 0.0, n) + 1.0))


def _comb_oracle(n: Any, k: Any, repetition: bool = False) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.binom(n + k - 1 if repetition else n, k)


def _comb_samples(r: Any) -> Any:
    yield from r.pairs((4.2, 6), (0.5, 3))
    yield (r.uniform(4, 5, 3), r.uniform(1, 2, 3)), {"repetition": True}


@operation(oracle=_comb_oracle, samples=_comb_samples, namespace="special")
def comb(N: Any, k: Any, *, repetition: bool = False) -> Any:
    """The number of ways to take k of N things; 0 where k > N, N < 0 or k < 0.

    `repetition`: a thing may be taken again.
    """
    n, k = operands((N, k), "comb")
    n = n + k - 1.0 if repetition else n * 1.0
    sensible = (k <= n) & (n >= 0) & (k >= 0)
    return where(sensible, binom(where(sensible, n, 1.0), where(sensible, k, 1.0)), 0.0)
