"""SciPy's functions under autograd's names, against differences and against autograd itself."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as onp
import pytest
import scipy.signal

import tensorgrad.compat.autograd as ag
import tensorgrad.compat.autograd.numpy as np
import tensorgrad.compat.autograd.scipy as sp
from tensorgrad.compat.autograd.scipy.misc import logsumexp
from tensorgrad.compat.autograd.test_util import check_grads


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_convolve(mode: str, rng: onp.random.Generator) -> None:
    a, b = rng.normal(size=(5, 6)), rng.normal(size=(3, 2))
    expected = scipy.signal.convolve2d(a, b, mode)
    onp.testing.assert_allclose(sp.signal.convolve(a, b, mode=mode), expected, atol=1e-12)
    f = lambda a, b: sp.signal.convolve(a, b, mode=mode)  # noqa: E731
    check_grads(f, (0, 1), modes=["fwd", "rev"], order=1)(a, b)


def test_convolve_over_axes(rng: onp.random.Generator) -> None:
    images, kernels = rng.normal(size=(4, 3, 7)), rng.normal(size=(3, 2, 5))
    found = sp.signal.convolve(images, kernels, axes=([2], [2]), dot_axes=([1], [0]), mode="valid")
    expected = onp.array([[sum(onp.convolve(i[c], kernels[c, k], "valid") for c in range(3))
                           for k in range(2)] for i in images])  # fmt: skip
    onp.testing.assert_allclose(found, expected, atol=1e-12)
    turned = sp.signal.convolve(kernels, images, axes=([2], [2]), dot_axes=([0], [1]), mode="valid")
    onp.testing.assert_allclose(turned, onp.swapaxes(expected, 0, 1), atol=1e-12)
    with pytest.raises(AssertionError):
        sp.signal.convolve(images, kernels, mode="wrap")
    with pytest.raises(ValueError, match="the longer"):
        sp.signal.convolve(onp.ones((2, 5)), onp.ones((3, 3)), mode="valid")


def test_linear_algebra(rng: onp.random.Generator) -> None:
    M, b = rng.normal(size=(4, 4)), rng.normal(size=(4, 2))
    S = M @ M.T + 4 * onp.eye(4)
    functions = (
        lambda a: sp.linalg.sqrtm(a @ a.T),
        lambda a: sp.linalg.solve_triangular(a, b, lower=True),
        lambda a: sp.linalg.solve_triangular(a, b, trans="T"),
        lambda a: sp.linalg.solve_sylvester(a, S, M),
        lambda a: sp.linalg.expm(0.1 * a),
        lambda a: sp.linalg.cholesky(a @ a.T, lower=True) + sp.linalg.cholesky(a @ a.T),
        lambda a: np.linalg.cholesky(a @ a.T),
        lambda a: sp.linalg.det(a) * sp.linalg.inv(a),
    )
    for f in functions:
        check_grads(f, modes=["fwd", "rev"], order=1)(S + 0.1 * M)
    gradient = ag.grad(lambda a: np.sum(np.linalg.cholesky(a)))(S)
    onp.testing.assert_allclose(gradient, gradient.T)


@pytest.mark.parametrize("bands", [(1, 1), (2, 1), (0, 2)])
def test_solve_banded(bands: tuple[int, int], rng: onp.random.Generator) -> None:
    n = 6
    ab = rng.uniform(0.1, 0.5, (sum(bands) + 1, n))
    ab[bands[1]] += 3
    for b in (rng.normal(size=n), rng.normal(size=(n, 2))):
        dense = sum(onp.diag(ab[r, max(bands[1] - r, 0) : n - max(r - bands[1], 0)], bands[1] - r)
                    for r in range(len(ab)))  # fmt: skip
        found = sp.linalg.solve_banded(bands, ab, b)
        onp.testing.assert_allclose(found, onp.linalg.solve(dense, b), atol=1e-12)
        solve = lambda ab, b: sp.linalg.solve_banded(bands, ab, b)  # noqa: E731
        check_grads(solve, (0, 1), modes=["rev"], order=2)(ab, b)


def flow(y: Any, t: Any, a: Any, b: Any) -> Any:
    return np.array([a[0] * y[1] + np.sin(t), b * np.tanh(y[0]) - y[1]])


def test_odeint(rng: onp.random.Generator) -> None:
    y0, a, b = rng.normal(size=2), rng.normal(size=1), rng.normal()
    times = onp.sort(rng.uniform(0, 1.5, 4))

    def path(y0: Any, t: Any, a: Any, b: Any) -> Any:
        return sp.integrate.odeint(flow, y0, t, ag.tuple((a, b)), rtol=1e-10, atol=1e-10)

    assert isinstance(path(y0, times, a, b), onp.ndarray)
    check_grads(path, (0, 1, 2, 3), modes=["rev"], order=1)(y0, times, a, b)
    plain = ag.jacobian(lambda y: sp.integrate.odeint(lambda y, t: -y, y, times)[-1])(y0)
    onp.testing.assert_allclose(plain, onp.exp(times[0] - times[-1]) * onp.eye(2), atol=1e-6)
    first = lambda t, y: -y * t  # noqa: E731
    turned = sp.integrate.odeint(first, y0, times, tfirst=True)
    onp.testing.assert_allclose(turned, sp.integrate.odeint(lambda y, t: -y * t, y0, times))


def test_odeint_of_order_two(rng: onp.random.Generator) -> None:
    a, times = rng.uniform(0.5, 1), onp.linspace(0, 1, 3)

    def end(a: Any) -> Any:
        return sp.integrate.odeint(lambda y, t, a: -a * y, onp.ones(1), times, (a,),
                                   rtol=1e-10, atol=1e-10)[-1, 0]  # fmt: skip

    assert ag.grad(end)(a) == pytest.approx(-onp.exp(-a), abs=1e-6)
    assert ag.grad(ag.grad(end))(a) == pytest.approx(onp.exp(-a), abs=1e-6)


def test_special_functions(rng: onp.random.Generator) -> None:
    x = rng.uniform(0.5, 2, 4)
    names = "gammaln gamma digamma rgamma j0 j1 y0 y1 i0 i1 erf erfc expit"
    for name in names.split():
        check_grads(getattr(sp.special, name), modes=["rev"], order=2)(x)
    for name in ("erfinv", "erfcinv", "logit"):
        check_grads(getattr(sp.special, name), modes=["rev"], order=1)(x / 3)
    check_grads(lambda x: sp.special.polygamma(1, x), order=1)(x)
    check_grads(lambda x: sp.special.jn(2, x) + sp.special.iv(1, x), order=1)(x)
    check_grads(lambda x: sp.special.multigammaln(x + 2, 2), order=1)(x)
    check_grads(lambda x: sp.special.logsumexp(x, axis=0, b=2.0), order=2)(x)
    check_grads(sp.special.betaln, (0, 1), order=1)(x, x[::-1].copy())
    check_grads(lambda x: sp.special.logsumexp([x[0], x[1]]) + logsumexp(x), order=1)(x)
    assert isinstance(sp.special.logsumexp(x), float)
    with pytest.raises(NotImplementedError, match="struve"):
        ag.grad(lambda x: np.sum(sp.special.struve(1.0, x)))(x)


def agreeing(np: Any, sp: Any, r: onp.random.Generator) -> list[tuple[Any, Any]]:
    """Functions of one argument and that argument, for autograd's modules and for ours."""
    x, p = r.normal(size=4), r.uniform(0.5, 2, 4)
    M = r.normal(size=(4, 4))
    S = M @ M.T + onp.eye(4)
    stats = sp.stats
    return [
        (lambda s: np.sum(stats.norm.logpdf(x, 0.5, s)), 2.0),
        (lambda m: np.sum(stats.norm.cdf(x, m) * stats.norm.sf(x, m, 2.0)), 0.3),
        (lambda s: np.sum(stats.norm.logcdf(x, 0.5, s) + stats.norm.logsf(x, 0.5, s)), 2.0),
        (lambda x: np.sum(stats.t.logpdf(x, 3.0, 0.1, 2.0)), x),
        (lambda d: np.sum(stats.t.logpdf(x, d)), 3.0),
        (lambda x: np.sum(stats.t.cdf(x, 3.0)), x),
        (lambda a: np.sum(stats.beta.logpdf(p / 3, a, 2.0)), 1.5),
        (lambda p: np.sum(stats.beta.cdf(p / 3, 1.2, 2.0)), p),
        (lambda a: np.sum(stats.gamma.logpdf(p, a)), 1.5),
        (lambda p: np.sum(stats.gamma.cdf(p, 1.2)), p),
        (lambda p: np.sum(stats.chi2.pdf(p, 3)), p),
        (lambda m: np.sum(stats.poisson.logpmf(onp.arange(4), m)), 1.7),
        (lambda a: stats.dirichlet.logpdf(onp.array([0.2, 0.5, 0.3]), a), p[:3]),
        (lambda m: np.sum(stats.multivariate_normal.logpdf(M, m, S)), x),
        (lambda c: stats.multivariate_normal.logpdf(x, onp.zeros(4), c), S),
        (lambda c: stats.multivariate_normal.entropy(onp.zeros(4), c), S),
        (lambda a: np.sum(np.linalg.cholesky(a) ** 2 * M), S),
        (lambda a: np.sum(np.linalg.eigh(a)[0] ** 2), S),
        (lambda a: np.sum(np.linalg.svd(a, compute_uv=False) ** 3), M),
        (lambda a: np.sum(np.linalg.inv(a) @ x) + np.linalg.slogdet(a)[1], S),
        (lambda a: np.sum(np.real(np.fft.fft2(a) * M)), M),
        (lambda a: np.sum(np.abs(np.fft.rfft(a)) ** 2), M),
        (lambda z: np.sum(np.real(z**2 * np.conj(z)) + np.imag(np.exp(z))), x + 1j * p),
        (lambda z: np.sum(np.angle(z) * np.abs(np.dot(M, z))), x + 1j * p),
    ]  # fmt: skip


def test_agreement_with_autograd(seed: int) -> None:
    pytest.importorskip("autograd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import autograd
        import autograd.numpy
        import autograd.scipy

        r = onp.random.default_rng(seed)
        expected = [
            (f(x), autograd.grad(f)(x)) for f, x in agreeing(autograd.numpy, autograd.scipy, r)
        ]
    ours = agreeing(np, sp, onp.random.default_rng(seed))
    for k, ((f, x), (value, gradient)) in enumerate(zip(ours, expected)):
        onp.testing.assert_allclose(f(x), value, rtol=1e-9, err_msg=str(k))
        onp.testing.assert_allclose(ag.grad(f)(x), gradient, rtol=1e-8, atol=1e-10, err_msg=str(k))
