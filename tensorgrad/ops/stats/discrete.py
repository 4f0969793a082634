"""Discrete distributions: the functions of their standard forms, named as in scipy.stats."""

from __future__ import annotations

from typing import Any

from tensorgrad.ops.elementary import exp, expm1, log, log1p
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.special.formulas import entr, xlog1py, xlogy
from tensorgrad.ops.special.gammas import gammaln
from tensorgrad.ops.special.incomplete import betainc, betaincc, gammainc, gammaincc
from tensorgrad.ops.stats.distribution import INF, Discrete

poisson = Discrete(
    "poisson",
    "mu",
    (0.0, INF),
    1.0,
    logpmf=lambda k, mu: xlogy(k, mu) - gammaln(k + 1) - mu,
    cdf=lambda k, mu: gammaincc(k + 1, mu),
    sf=lambda k, mu: gammainc(k + 1, mu),
)


def _binom_logpmf(k: Any, n: Any, p: Any) -> Any:
    outside = k > n
    k = where(outside, n, k)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return where(outside, -INF, ways + xlogy(k, p) + xlog1py(n - k, -p))


def _binom_tail(k: Any, n: Any, p: Any, function: Any, beyond: float) -> Any:
    outside = k >= n
    k = where(outside, 0.0, k)
    return where(outside, beyond, function(k + 1, where(outside, 1.0, n - k), p))


binom = Discrete(
    "binom",
    "n p",
    (0.0, INF),
    0.0,
    logpmf=_binom_logpmf,
    cdf=lambda k, n, p: _binom_tail(k, n, p, betaincc, 1.0),
    sf=lambda k, n, p: _binom_tail(k, n, p, betainc, 0.0),
)
nbinom = Discrete(
    "nbinom",
    "n p",
    (0.0, INF),
    1.0,
    logpmf=lambda k, n, p: (
        gammaln(n + k) - gammaln(k + 1) - gammaln(n) + n * log(p) + xlog1py(k, -p)
    ),
    cdf=lambda k, n, p: betainc(n, k + 1, p),
    sf=lambda k, n, p: betaincc(n, k + 1, p),
)
bernoulli = Discrete(
    "bernoulli",
    "p",
    (0.0, 1.0),
    1.0,
    logpmf=lambda k, p: xlogy(k, p) + xlog1py(1 - k, -p),
    cdf=lambda k, p: where(k < 1, 1 - p, 1.0),
    sf=lambda k, p: where(k < 1, p, 0.0),
    entropy=lambda p: entr(p) + entr(1 - p),
)
geom = Discrete(
    "geom",
    "p",
    (1.0, INF),
    2.0,
    logpmf=lambda k, p: xlog1py(k - 1, -p) + log(p),
    cdf=lambda k, p: -expm1(k * log1p(-p)),
    sf=lambda k, p: exp(k * log1p(-p)),
    logsf=lambda k, p: k * log1p(-p),
    entropy=lambda p: (entr(p) + entr(1 - p)) / p,
)
