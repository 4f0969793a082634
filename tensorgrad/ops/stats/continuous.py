"""Continuous distributions: the functions of their standard forms, named as in scipy.stats."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad.ops.activations import log_sigmoid, sigmoid
from tensorgrad.ops.elementary import arctan2, erf, erfc, exp, expm1, log, log1p, tan
from tensorgrad.ops.elementwise import absolute, square, where
from tensorgrad.ops.special.bessel import i0e, i1e
from tensorgrad.ops.special.errors import erfcinv, erfinv, log_ndtr, ndtr, ndtri
from tensorgrad.ops.special.formulas import cosm1, logit, xlog1py, xlogy
from tensorgrad.ops.special.gammas import betaln, digamma, gammaln
from tensorgrad.ops.special.incomplete import (
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
)
from tensorgrad.ops.special.student import stdtr, stdtrit
from tensorgrad.ops.stats.distribution import INF, Distribution

LOG_2, LOG_ROOT_2PI = math.log(2), 0.5 * math.log(2 * math.pi)
EULER = 0.5772156649015329


def _log1mexp(z: Any) -> Any:
    """log(1 - e^-z) for z > 0."""
    near = z < LOG_2
    return where(near, log(-expm1(-where(near, z, 1.0))), log1p(-exp(-where(near, 1.0, z))))


# -- the normal and its kin ----------------------------------------------------------------------

norm = Distribution(
    "norm",
    logpdf=lambda z: -0.5 * square(z) - LOG_ROOT_2PI,
    cdf=lambda z: ndtr(z),
    sf=lambda z: ndtr(-z),
    logcdf=lambda z: log_ndtr(z),
    logsf=lambda z: log_ndtr(-z),
    ppf=lambda q: ndtri(q),
    isf=lambda q: -ndtri(q),
    entropy=lambda: LOG_ROOT_2PI + 0.5,
)
lognorm = Distribution(
    "lognorm",
    "s",
    (0.0, INF),
    logpdf=lambda z, s: -0.5 * square(log(z) / s) - log(s * z) - LOG_ROOT_2PI,
    cdf=lambda z, s: ndtr(log(z) / s),
    sf=lambda z, s: ndtr(-log(z) / s),
    logcdf=lambda z, s: log_ndtr(log(z) / s),
    logsf=lambda z, s: log_ndtr(-log(z) / s),
    ppf=lambda q, s: exp(s * ndtri(q)),
    isf=lambda q, s: exp(-s * ndtri(q)),
    entropy=lambda s: LOG_ROOT_2PI + 0.5 + log(s),
)
halfnorm = Distribution(
    "halfnorm",
    "",
    (0.0, INF),
    logpdf=lambda z: LOG_2 - LOG_ROOT_2PI - 0.5 * square(z),
    cdf=lambda z: erf(z * math.sqrt(0.5)),
    sf=lambda z: erfc(z * math.sqrt(0.5)),
    logsf=lambda z: LOG_2 + log_ndtr(-z),
    ppf=lambda q: math.sqrt(2) * erfinv(q),
    isf=lambda q: math.sqrt(2) * erfcinv(q),
    entropy=lambda: LOG_ROOT_2PI - LOG_2 + 0.5,
)
t = Distribution(
    "t",
    "df",
    logpdf=lambda z, df: (
        -0.5 * (df + 1) * log1p(square(z) / df) - 0.5 * log(df) - betaln(0.5 * df, 0.5)
    ),
    cdf=lambda z, df: stdtr(df, z),
    sf=lambda z, df: stdtr(df, -z),
    ppf=lambda q, df: stdtrit(df, q),
    isf=lambda q, df: -stdtrit(df, q),
    entropy=lambda df: (
        0.5 * (df + 1) * (digamma(0.5 * (df + 1)) - digamma(0.5 * df))
        + 0.5 * log(df)
        + betaln(0.5 * df, 0.5)
    ),
)

# -- lifetimes -----------------------------------------------------------------------------------

expon = Distribution(
    "expon",
    "",
    (0.0, INF),
    logpdf=lambda z: -z,
    cdf=lambda z: -expm1(-z),
    sf=lambda z: exp(-z),
    logcdf=_log1mexp,
    logsf=lambda z: -z,
    ppf=lambda q: -log1p(-q),
    isf=lambda q: -log(q),
    entropy=lambda: 1.0,
)
gamma = Distribution(
    "gamma",
    "a",
    (0.0, INF),
    logpdf=lambda z, a: xlogy(a - 1, z) - z - gammaln(a),
    cdf=lambda z, a: gammainc(a, z),
    sf=lambda z, a: gammaincc(a, z),
    ppf=lambda q, a: gammaincinv(a, q),
    isf=lambda q, a: gammainccinv(a, q),
    entropy=lambda a: a + gammaln(a) + (1 - a) * digamma(a),
)
chi2 = Distribution(
    "chi2",
    "df",
    (0.0, INF),
    logpdf=lambda z, df: xlogy(0.5 * df - 1, z) - 0.5 * z - gammaln(0.5 * df) - 0.5 * LOG_2 * df,
    cdf=lambda z, df: gammainc(0.5 * df, 0.5 * z),
    sf=lambda z, df: gammaincc(0.5 * df, 0.5 * z),
    ppf=lambda q, df: 2 * gammaincinv(0.5 * df, q),
    isf=lambda q, df: 2 * gammainccinv(0.5 * df, q),
    entropy=lambda df: 0.5 * df + LOG_2 + gammaln(0.5 * df) + (1 - 0.5 * df) * digamma(0.5 * df),
)
invgamma = Distribution(
    "invgamma",
    "a",
    (0.0, INF),
    logpdf=lambda z, a: -(a + 1) * log(z) - gammaln(a) - 1 / z,
    cdf=lambda z, a: gammaincc(a, 1 / z),
    sf=lambda z, a: gammainc(a, 1 / z),
    ppf=lambda q, a: 1 / gammainccinv(a, q),
    isf=lambda q, a: 1 / gammaincinv(a, q),
    entropy=lambda a: a - (a + 1) * digamma(a) + gammaln(a),
)
weibull_min = Distribution(
    "weibull_min",
    "c",
    (0.0, INF),
    logpdf=lambda z, c: log(c) + xlogy(c - 1, z) - z**c,
    cdf=lambda z, c: -expm1(-(z**c)),
    sf=lambda z, c: exp(-(z**c)),
    logcdf=lambda z, c: _log1mexp(z**c),
    logsf=lambda z, c: -(z**c),
    ppf=lambda q, c: (-log1p(-q)) ** (1 / c),
    isf=lambda q, c: (-log(q)) ** (1 / c),
    entropy=lambda c: EULER + 1 - EULER / c - log(c),
)
pareto = Distribution(
    "pareto",
    "b",
    (1.0, INF),
    1.5,
    logpdf=lambda z, b: log(b) - (b + 1) * log(z),
    cdf=lambda z, b: -expm1(-b * log(z)),
    sf=lambda z, b: exp(-b * log(z)),
    logcdf=lambda z, b: _log1mexp(b * log(z)),
    logsf=lambda z, b: -b * log(z),
    ppf=lambda q, b: exp(-log1p(-q) / b),
    isf=lambda q, b: exp(-log(q) / b),
    entropy=lambda b: 1 + 1 / b - log(b),
)

# -- proportions ---------------------------------------------------------------------------------

uniform = Distribution(
    "uniform",
    "",
    (0.0, 1.0),
    logpdf=lambda z: 0.0 * z,
    cdf=lambda z: z * 1.0,
    sf=lambda z: 1.0 - z,
    logsf=lambda z: log1p(-z),
    ppf=lambda q: q * 1.0,
    isf=lambda q: 1.0 - q,
    entropy=lambda: 0.0,
)
beta = Distribution(
    "beta",
    "a b",
    (0.0, 1.0),
    logpdf=lambda z, a, b: xlogy(a - 1, z) + xlog1py(b - 1, -z) - betaln(a, b),
    cdf=lambda z, a, b: betainc(a, b, z),
    sf=lambda z, a, b: betaincc(a, b, z),
    ppf=lambda q, a, b: betaincinv(a, b, q),
    isf=lambda q, a, b: betainccinv(a, b, q),
    entropy=lambda a, b: (
        betaln(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (a + b - 2) * digamma(a + b)
    ),
)


def _odds(y: Any, n: Any, m: Any) -> Any:
    """The value of the F distribution that stands at y of the beta distribution."""
    return m * y / (n * (1 - y))


f = Distribution(
    "f",
    "dfn dfd",
    (0.0, INF),
    logpdf=lambda z, n, m: (
        0.5 * n * log(n / m)
        + xlogy(0.5 * n - 1, z)
        - 0.5 * (n + m) * log1p(n / m * z)
        - betaln(0.5 * n, 0.5 * m)
    ),
    cdf=lambda z, n, m: betainc(0.5 * n, 0.5 * m, n * z / (m + n * z)),
    sf=lambda z, n, m: betainc(0.5 * m, 0.5 * n, m / (m + n * z)),
    ppf=lambda q, n, m: _odds(betaincinv(0.5 * n, 0.5 * m, q), n, m),
    isf=lambda q, n, m: _odds(betainccinv(0.5 * n, 0.5 * m, q), n, m),
)

# -- on the whole line ---------------------------------------------------------------------------

cauchy = Distribution(
    "cauchy",
    logpdf=lambda z: -math.log(math.pi) - log1p(square(z)),
    cdf=lambda z: arctan2(1.0, -z) / math.pi,
    sf=lambda z: arctan2(1.0, z) / math.pi,
    ppf=lambda q: tan(math.pi * (q - 0.5)),
    isf=lambda q: -tan(math.pi * (q - 0.5)),
    entropy=lambda: math.log(4 * math.pi),
)


def _laplace_logcdf(z: Any) -> Any:
    below = z < 0
    other = where(below, 0.0, z)
    return where(below, z - LOG_2, log1p(-0.5 * exp(-other)))


def _laplace_cdf(z: Any) -> Any:
    tail = 0.5 * exp(-absolute(z))
    return where(z < 0, tail, 1 - tail)


def _laplace_ppf(q: Any) -> Any:
    low = q < 0.5
    near = 2 * where(low, q, 1 - q)
    return where(low, log(near), -log(near))


laplace = Distribution(
    "laplace",
    logpdf=lambda z: -absolute(z) - LOG_2,
    cdf=_laplace_cdf,
    sf=lambda z: _laplace_cdf(-z),
    logcdf=_laplace_logcdf,
    logsf=lambda z: _laplace_logcdf(-z),
    ppf=_laplace_ppf,
    isf=lambda q: -_laplace_ppf(q),
    entropy=lambda: LOG_2 + 1,
)
logistic = Distribution(
    "logistic",
    logpdf=lambda z: log_sigmoid(z) + log_sigmoid(-z),
    cdf=lambda z: sigmoid(z),
    sf=lambda z: sigmoid(-z),
    logcdf=lambda z: log_sigmoid(z),
    logsf=lambda z: log_sigmoid(-z),
    ppf=lambda q: logit(q),
    isf=lambda q: -logit(q),
    entropy=lambda: 2.0,
)
gumbel_r = Distribution(
    "gumbel_r",
    logpdf=lambda z: -z - exp(-z),
    cdf=lambda z: exp(-exp(-z)),
    sf=lambda z: -expm1(-exp(-z)),
    logcdf=lambda z: -exp(-z),
    logsf=lambda z: where(z > 40, -z, _log1mexp(exp(-where(z > 40, 0.0, z)))),
    ppf=lambda q: -log(-log(q)),
    isf=lambda q: -log(-log1p(-q)),
    entropy=lambda: EULER + 1,
)
vonmises = Distribution(
    "vonmises",
    "kappa",
    logpdf=lambda z, kappa: kappa * cosm1(z) - log(i0e(kappa)) - 2 * LOG_ROOT_2PI,
    entropy=lambda kappa: (
        kappa * (1 - i1e(kappa) / i0e(kappa)) + log(i0e(kappa)) + 2 * LOG_ROOT_2PI
    ),
)
