"""Decompositions: complex matrices, equal values, added columns, what they put together again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.testing import check_grad

Array = np.ndarray[Any, Any]


def matrix(rng: np.random.Generator, *shape: int) -> Array:
    """A complex matrix whose singular values lie apart."""
    x = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return x * 0.2 + np.eye(*shape[-2:]) * (1 + np.arange(shape[-1]))


def weighed(x: Any, weights: Array) -> Any:
    """Sums of squared sizes of the columns against fixed vectors: no phase matters."""
    return (abs(np.matmul(weights, x)) ** 2).sum(axis=-2)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 2)])
@pytest.mark.parametrize("full", [False, True])
def test_singular_vectors_of_complex_matrices(
    shape: tuple[int, ...], full: bool, rng: np.random.Generator
) -> None:
    m, n = shape[-2:]
    k = min(m, n)
    left, right, scale = rng.normal(size=(2, m)), rng.normal(size=(2, n)), rng.normal(size=(k, k))

    def f(a: Any) -> Any:
        u, s, vh = np.linalg.svd(a, full_matrices=full)
        rest = np.sum(abs(np.matmul(left, u[..., k:])) ** 2)
        rest = rest + np.sum(abs(np.matmul(right, vh.mT.conj()[..., k:])) ** 2)
        both = np.matmul(u[..., :k] * s[..., None, :] ** 2, vh[..., :k, :])
        sizes = weighed(u[..., :k], left) * weighed(vh.mT.conj()[..., :k], right)
        return both.real, both.imag, np.matmul(sizes, scale), s, rest

    check_grad(f, [matrix(rng, *shape)], order=2, rng=rng)


def test_eigenvectors_of_complex_matrices(rng: np.random.Generator) -> None:
    fixed, scale = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))

    def f(a: Any) -> Any:
        w, v = np.linalg.eigh(a)
        return (
            w,
            np.matmul(weighed(v, fixed), scale),
            np.matmul(v * np.exp(w)[..., None, :], v.mT.conj()),
        )

    check_grad(f, [matrix(rng, 3, 3)], order=2, rng=rng)
    check_grad(f, [matrix(rng, 2, 3, 3)], order=1, rng=rng)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4)])
def test_complete_qr_of_complex_matrices(shape: tuple[int, int], rng: np.random.Generator) -> None:
    k, left = min(shape), rng.normal(size=(2, shape[0]))

    def f(a: Any) -> Any:
        q, r = np.linalg.qr(a, mode="complete")
        return q[:, :k], r, np.sum(abs(left @ q[:, k:]) ** 2)

    check_grad(f, [matrix(rng, *shape)], order=2, rng=rng)


def test_the_gradient_of_a_triangle_lies_in_it(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 3))
    lower = tg.grad(lambda x: np.linalg.eigvalsh(x)[0])(a)
    upper = tg.grad(lambda x: np.linalg.eigvalsh(x, UPLO="U")[0])(a.T)
    np.testing.assert_array_equal(np.triu(lower, 1), 0)
    np.testing.assert_allclose(lower, upper.T, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
def test_equal_eigenvalues(n: int, rng: np.random.Generator) -> None:
    basis = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    a = basis @ np.diag([1.0] * n + [2.0, 3.0, 5.0][: 4 - n]) @ basis.T

    def projector(x: Any) -> Any:  # does not tell the vectors of equal values apart
        _, v = tg.linalg.eigh(x, degenerate="mask")
        return np.sum((v[:, :n] @ v[:, :n].T)[0] * np.arange(4))

    for f in (projector, lambda x: np.sum(np.linalg.eigvalsh(x)[:n])):
        step, move = 1e-6, rng.normal(size=(4, 4))
        move = move + move.T
        want = (f(a + step * move) - f(a - step * move)) / (2 * step)
        assert abs(np.sum(tg.grad(f)(a) * move) - want) < 1e-7 * max(1, abs(want))
    others = tg.grad(lambda x: np.sum(np.linalg.eigh(x)[1][:, n:] ** 3))(a)
    assert np.isfinite(others).all()  # only vectors of distinct values are asked for


def test_what_needs_the_vectors_of_equal_values_raises(rng: np.random.Generator) -> None:
    def exponential(x: Any) -> Any:  # 0 / 0 in its gradient stands for a number
        w, v = np.linalg.eigh(x)
        return np.sum((v * np.exp(w)) @ v.T * weights)

    weights, same = rng.normal(size=(3, 3)), np.eye(3)
    for f in (exponential, lambda x: np.linalg.eigh(x)[1][0, 0]):
        with pytest.raises(tg.GradientError, match=r"eigh: got values that are equal .*mask"):
            tg.grad(f)(same)
    with pytest.raises(tg.GradientError, match="eigh"):
        tg.jvp(lambda x: np.linalg.eigh(x)[1], (same,), (weights,))
    with pytest.raises(tg.GradientError, match="eigh"):  # the second derivative needs vectors
        tg.grad(
            lambda x: np.sum(tg.grad(lambda y: np.sum(np.linalg.eigvalsh(y) ** 2))(x) * weights)
        )(same)


def test_equal_and_zero_singular_values(rng: np.random.Generator) -> None:
    u, v = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    a = u[:, :3] @ np.diag([2.0, 2.0, 1.0]) @ v[:3]

    def polar(x: Any) -> Any:
        left, _, right = tg.linalg.svd(x, full_matrices=False, degenerate="mask")
        return np.sum((left[:, :2] @ right[:2])[0] * np.arange(4))

    step, move = 1e-6, u[:, :3] @ rng.normal(size=(3, 3)) @ v[:3]
    want = (polar(a + step * move) - polar(a - step * move)) / (2 * step)
    assert abs(np.sum(tg.grad(polar)(a) * move) - want) < 1e-6
    with pytest.raises(tg.GradientError, match=r"svd: got values that are equal"):
        tg.grad(lambda x: np.linalg.svd(x)[0][0, 0])(a)
    assert np.isfinite(tg.grad(lambda x: tg.linalg.svd(x, degenerate="mask")[0][0, 0])(a)).all()
    values = tg.grad(lambda x: np.sum(np.linalg.svd(x, compute_uv=False)[:3]))(a)
    np.testing.assert_allclose(values, u[:, :3] @ v[:3], atol=1e-12)


def test_hermitian_matrices(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 3)) + np.diag([3.0, -5.0, 1.0])
    u, s, vh = np.linalg.svd(tg.tensor(a), hermitian=True)
    want = np.tril(a) + np.tril(a, -1).T
    np.testing.assert_allclose((u * s) @ vh, want, atol=1e-12)
    check_grad(lambda x: np.linalg.svd(x, hermitian=True)[1], [a], order=2, rng=rng)


def test_the_pseudoinverse_where_the_rank_is_low(rng: np.random.Generator) -> None:
    left, right = rng.normal(size=(4, 2)), rng.normal(size=(2, 3))

    def f(x: Any, y: Any) -> Any:
        return np.linalg.pinv(x @ y, rcond=1e-10)

    check_grad(f, [left, right], order=2, rng=rng)


def test_least_squares(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    x, left, rank, s = np.linalg.lstsq(tg.tensor(a), b)
    want = np.linalg.lstsq(a, b)
    for found, w in zip((x, left, rank, s), want):
        np.testing.assert_allclose(found.numpy(), w)
    check_grad(lambda a, b: np.linalg.lstsq(a, b)[:2], [a, b], order=2, rng=rng)
    deficient = np.linalg.lstsq(tg.tensor(a[:, :1] * np.ones(3)), b)
    assert int(deficient.rank) == 1
    assert deficient.residuals.shape == (0,)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a: np.linalg.eigh(a[0]), "eigh: got a=float64"),
        (lambda a: np.linalg.eigh(a, UPLO="M"), "eigh: got UPLO"),
        (lambda a: np.linalg.eigvalsh(a[:1]), "eigvalsh: got a=float64"),
        (lambda a: np.linalg.qr(a, mode="raw"), "qr: got mode"),
        (lambda a: tg.linalg.svd(a, degenerate="drop"), "svd: got degenerate"),
        (lambda a: np.linalg.lstsq(a, np.ones(2)), "lstsq: got a="),
        (lambda a: np.linalg.svd(a.astype("float16")), "svd: got a=float16"),
    ],
)
def test_errors_say_what_was_wanted(call: Callable[[Any], Any], text: str) -> None:
    with pytest.raises((tg.TensorgradError, ValueError), match=text) as e:
        call(tg.tensor(np.eye(3), requires_grad=True))
    assert "expected" in str(e.value)
    assert "; try " in str(e.value)
