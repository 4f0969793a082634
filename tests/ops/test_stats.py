"""Distributions: values of scipy.stats, gradients in the point and in every parameter, tails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.stats
from place import here

import tensorgrad as tg
from tensorgrad.testing import check_grad

SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "norm": (), "halfnorm": (), "expon": (), "uniform": (), "cauchy": (), "laplace": (),
    "logistic": (), "gumbel_r": (), "lognorm": ((0.5, 1.5),), "t": ((2.0, 6.0),),
    "gamma": ((0.7, 5.0),), "chi2": ((1.0, 6.0),), "invgamma": ((1.0, 5.0),),
    "weibull_min": ((0.8, 3.0),), "pareto": ((0.8, 3.0),), "vonmises": ((0.5, 3.0),),
    "beta": ((0.8, 4.0), (0.8, 4.0)), "f": ((2.0, 6.0), (2.0, 6.0)),
}  # fmt: skip
"""The shape parameters of the continuous distributions, from where to where."""

COUNTS: dict[str, tuple[tuple[float, float], ...]] = {
    "poisson": ((0.5, 5.0),), "binom": ((7.0, 7.0), (0.2, 0.8)),
    "nbinom": ((1.0, 5.0), (0.2, 0.8)), "bernoulli": ((0.2, 0.8),), "geom": ((0.2, 0.8),),
}  # fmt: skip

CURVES = ("logpdf", "pdf", "cdf", "sf", "logcdf", "logsf")


def given(name: str, rng: np.random.Generator) -> tuple[Any, list[Any]]:
    """Points of the support and parameters: shapes, then loc and scale."""
    shapes = [rng.uniform(low, high, 4) for low, high in SHAPES[name]]
    loc, scale = rng.normal(), rng.uniform(0.5, 2)
    q = rng.uniform(0.15, 0.85, (3, 4))
    q = np.where(np.abs(q - 0.5) < 0.05, 0.4, q)  # away from the median, where some have a kink
    if name == "vonmises":
        return rng.uniform(-2, 2, (3, 4)), [*shapes, 0.0, 1.0]
    return getattr(scipy.stats, name).ppf(q, *shapes, loc, scale), [*shapes, loc, scale]


def methods(name: str, candidates: tuple[str, ...]) -> Iterator[str]:
    for method in candidates:
        if name != "vonmises" or method in ("logpdf", "pdf", "entropy"):
            yield method


@pytest.mark.parametrize("name", SHAPES)
def test_values_are_scipys(name: str, rng: np.random.Generator) -> None:
    ours, theirs = getattr(tg.stats, name), getattr(scipy.stats, name)
    x, parameters = given(name, rng)
    for method in methods(name, CURVES):
        got = here(getattr(ours, method)(x, *parameters))
        want, zero = getattr(theirs, method)(x, *parameters), method == "logpdf"  # which crosses 0
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-13 * zero)
    for method in methods(name, ("ppf", "isf")):
        q = rng.uniform(0.05, 0.95, (3, 4))
        got = here(getattr(ours, method)(q, *parameters))
        np.testing.assert_allclose(got, getattr(theirs, method)(q, *parameters), rtol=1e-9)
    if name != "f":
        got = np.broadcast_to(here(ours.entropy(*parameters)), np.shape(parameters[0]))
        np.testing.assert_allclose(got, theirs.entropy(*parameters), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_gradients_in_the_point_and_the_parameters(name: str, rng: np.random.Generator) -> None:
    ours = getattr(tg.stats, name)
    x, parameters = given(name, rng)
    arguments = [x, *[np.asarray(p) for p in parameters]]
    for method in methods(name, ("logpdf", "cdf", "logsf")):
        check_grad(getattr(ours, method), arguments, order=2 if method == "logpdf" else 1, rng=rng)
    if name != "vonmises":
        q = np.where(rng.random(4) < 0.5, rng.uniform(0.2, 0.4, 4), rng.uniform(0.6, 0.8, 4))
        check_grad(ours.ppf, [q, *arguments[1:]], rng=rng)
    if name != "f" and SHAPES[name]:
        check_grad(ours.entropy, arguments[1:], rng=rng)


@pytest.mark.parametrize("name", SHAPES)
def test_outside_the_support(name: str, rng: np.random.Generator) -> None:
    ours, theirs = getattr(tg.stats, name), getattr(scipy.stats, name)
    _, parameters = given(name, rng)
    if np.isinf(ours.support).all():
        return
    x = np.array([-50.0, np.nan, 60.0, -60.0])
    for method in CURVES:
        want = getattr(theirs, method)(x, *parameters)
        wrong = np.isfinite(ours.support[1]) | np.array([True, True, False, True])
        np.testing.assert_allclose(
            here(getattr(ours, method)(x, *parameters))[wrong], want[wrong], rtol=1e-9
        )
    low = tg.tensor(np.full(4, -50.0), requires_grad=True)
    ours.logcdf(low, *parameters).sum().backward()
    np.testing.assert_array_equal(here(low.grad), 0)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str, rng: np.random.Generator) -> None:
    ours, theirs = getattr(tg.stats, name), getattr(scipy.stats, name)
    parameters = [rng.uniform(low, high, (3, 1)) for low, high in COUNTS[name]]
    k = np.array([-1.0, 0.0, 1.0, 2.0, 5.0, 9.0, 1.5])
    for method in ("logpmf", "pmf", "cdf", "sf", "logsf"):
        got = here(getattr(ours, method)(k, *parameters, loc=0))
        with np.errstate(all="ignore"):
            want = getattr(theirs, method)(k, *parameters)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-15)
    inner = np.array([1.0])
    for method in ("logpmf", "cdf"):

        def f(*free: Any, method: str = method) -> Any:
            fixed = parameters[:1] if name == "binom" else []
            return getattr(ours, method)(inner, *fixed, *free)

        check_grad(f, parameters[1:] if name == "binom" else parameters, order=2, rng=rng)
    if "entropy" in ours._functions:
        want = theirs.entropy(*parameters)
        np.testing.assert_allclose(here(ours.entropy(*parameters)), want, rtol=1e-9)


def test_whole_numbers_as_counts(rng: np.random.Generator) -> None:
    k = rng.integers(0, 6, 5)
    np.testing.assert_allclose(
        here(tg.stats.poisson.logpmf(k, 2.5)), scipy.stats.poisson.logpmf(k, 2.5), rtol=1e-12
    )
    check_grad(lambda mu: tg.stats.poisson.logpmf(k, mu), [np.asarray(2.5)], order=2, rng=rng)


@pytest.mark.parametrize("name", ["norm", "expon", "logistic", "laplace", "gumbel_r", "lognorm"])
def test_tails_do_not_underflow(name: str) -> None:
    ours, theirs = getattr(tg.stats, name), getattr(scipy.stats, name)
    shapes = (0.5,) * (name == "lognorm")
    x = np.array([30.0, 300.0, 1e3])
    with np.errstate(all="ignore"):
        want = theirs.logsf(x, *shapes)
    got = here(ours.logsf(x, *shapes))
    np.testing.assert_allclose(got[np.isfinite(want)], want[np.isfinite(want)], rtol=1e-9)
    assert np.isfinite(got).all()
    slope = tg.grad(lambda v: np.sum(ours.logsf(v, *shapes)))(x)
    assert np.isfinite(slope).all()
    assert (slope < 0).all()


def test_the_multivariate_normal(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 3))
    x, mean, cov = rng.normal(size=(2, 5, 3)), rng.normal(size=3), a @ a.T + np.eye(3)
    ours, theirs = tg.stats.multivariate_normal, scipy.stats.multivariate_normal
    for m, c in ((mean, cov), (None, cov), (mean, np.array([0.5, 1, 2])), (mean, 2.0)):
        np.testing.assert_allclose(here(ours.logpdf(x, m, c)), theirs.logpdf(x, m, c), rtol=1e-9)
        np.testing.assert_allclose(here(ours.pdf(x[0], m, c)), theirs.pdf(x[0], m, c), rtol=1e-9)
        np.testing.assert_allclose(here(ours.entropy(m, c)), theirs.entropy(m, c), rtol=1e-9)
    check_grad(lambda x, m, r: ours.logpdf(x, m, r @ r.mT + np.eye(3)), [x, mean, a], order=2,
               rng=rng)  # fmt: skip
    with pytest.raises(tg.ShapeError, match=r"multivariate_normal\.logpdf: got x="):
        ours.logpdf(x[..., :2], mean, cov)


def test_dirichlet(rng: np.random.Generator) -> None:
    alpha = rng.uniform(0.8, 4, 4)
    x = 0.8 * rng.dirichlet(alpha) + 0.05  # away from the edge, where differences have no digits
    ours, theirs = tg.stats.dirichlet, scipy.stats.dirichlet
    for point in (x, x[:3]):
        np.testing.assert_allclose(
            here(ours.logpdf(point, alpha)), theirs.logpdf(point, alpha), rtol=1e-9
        )
        check_grad(ours.logpdf, [point, alpha], order=2, rng=rng)
    np.testing.assert_allclose(here(ours.entropy(alpha)), theirs.entropy(alpha), rtol=1e-9)
    check_grad(ours.entropy, [alpha], rng=rng)


def test_a_maximum_likelihood_fit(rng: np.random.Generator) -> None:
    """Gradient descent on a censored Weibull sample finds where scipy's own search ends."""
    from scipy.optimize import minimize

    times = np.abs(rng.weibull(1.7, 200)) * 2.0
    seen, limit = np.minimum(times, 2.5), times < 2.5

    def loss(p: Any) -> Any:
        c, scale = np.exp(p[0]), np.exp(p[1])
        died = tg.stats.weibull_min.logpdf(seen, c, 0.0, scale)
        lived = tg.stats.weibull_min.logsf(seen, c, 0.0, scale)
        return -np.sum(np.where(limit, died, lived))

    found = minimize(tg.value_and_grad(loss), np.zeros(2), jac=True)
    data = scipy.stats.CensoredData.right_censored(seen, ~limit)
    c, _, scale = scipy.stats.weibull_min.fit(data, floc=0)
    np.testing.assert_allclose(np.exp(found.x), [c, scale], rtol=1e-3)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: tg.stats.gamma.logpdf(1.0), r"gamma\.logpdf: got 0 parameters"),
        (lambda: tg.stats.norm.cdf(1.0, 0.0, 1.0, 2.0), r"norm\.cdf: got 3 parameters"),
        (lambda: tg.stats.norm.cdf(1.0, mean=2.0), r"norm\.cdf: got 0 parameters and \['mean'\]"),
        (lambda: tg.stats.vonmises.cdf(1.0, 2.0), r"vonmises\.cdf: got a call, expected one of"),
    ],
)
def test_errors_say_what_was_wanted(call: Any, text: str) -> None:
    with pytest.raises((TypeError, tg.TensorgradError), match=text) as e:
        call()
    assert "expected" in str(e.value)
    assert "; try " in str(e.value)
