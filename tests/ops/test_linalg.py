"""Linear algebra: complex matrices, singular ones, ties, kept factors, and what raises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.testing import check_grad

Array = np.ndarray[Any, Any]


def complex_matrix(rng: np.random.Generator, *shape: int) -> Array:
    x = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    return x * 0.3 + np.eye(shape[-1]) * (1 + np.arange(shape[-1]))


def definite(rng: np.random.Generator, n: int) -> Array:
    x = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return x @ x.conj().T + np.eye(n)


@pytest.mark.parametrize(
    "f",
    [np.linalg.inv, np.linalg.det, np.linalg.slogdet, np.linalg.eigvals, tg.linalg.lu_factor,
     tg.linalg.expm, lambda a: np.linalg.matrix_power(a, -2), lambda a: np.linalg.cond(a, "fro")],
    ids="inv det slogdet eigvals lu_factor expm power cond".split(),
)  # fmt: skip
def test_functions_of_complex_matrices(f: Callable[[Any], Any], rng: np.random.Generator) -> None:
    def inexact(a: Any) -> Any:
        found = f(a)
        return tuple(found)[:1] if f is tg.linalg.lu_factor else found

    check_grad(inexact, [complex_matrix(rng, 3, 3)], order=2, rng=rng)


@pytest.mark.cpu_only("CuPy has no Schur decomposition")
@pytest.mark.parametrize("name", ["sqrtm", "logm"])
def test_roots_and_logarithms(name: str, rng: np.random.Generator) -> None:
    f, a = getattr(tg.linalg, name), complex_matrix(rng, 3, 3)
    check_grad(f, [a], order=2, rng=rng)
    back = f(a) @ f(a) if name == "sqrtm" else tg.linalg.expm(f(a))
    np.testing.assert_allclose(here(back), a, atol=1e-10)
    with pytest.raises(ValueError, match=rf"{name}: got a real matrix .* try {name}\(a.astype"):
        f(-np.eye(2))


def test_eigenvectors_of_general_matrices(rng: np.random.Generator) -> None:
    """Functions of the vectors that no phase matters to, of real and complex matrices."""
    fixed, scale = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))

    def f(a: Any) -> Any:
        w, v = np.linalg.eig(a)
        sizes = abs(np.matmul(fixed, v)) ** 2
        return w, np.matmul(sizes, scale), np.matmul(v * w[..., None, :], np.linalg.inv(v))

    check_grad(f, [complex_matrix(rng, 3, 3)], order=2, rng=rng)
    turning = np.array([[0.0, -2.0, 0.1], [1.0, 0.3, 0.2], [0.1, 0.0, 4.0]])
    check_grad(f, [turning + 0.01 * rng.normal(size=(3, 3))], order=2, rng=rng)


def test_equal_eigenvalues_of_general_matrices(rng: np.random.Generator) -> None:
    weights = rng.normal(size=(3, 3))
    with pytest.raises(tg.GradientError, match=r"eig: got values that are equal .*mask"):
        tg.grad(lambda x: np.sum(np.linalg.eig(x)[1].real * weights))(np.eye(3))
    masked = tg.grad(lambda x: np.sum(tg.linalg.eig(x, degenerate="mask")[1].real * weights))
    assert np.isfinite(masked(np.eye(3))).all()
    trace = tg.grad(lambda x: np.sum(np.linalg.eigvals(x).real))(np.eye(3))
    np.testing.assert_allclose(trace, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle(upper: bool, rng: np.random.Generator) -> None:
    a = definite(rng, 3)
    f = lambda x: np.linalg.cholesky(x, upper=upper)  # noqa: E731
    check_grad(f, [a], order=2, rng=rng)
    lost = np.tril(a, -1) if upper else np.triu(a, 1)
    np.testing.assert_allclose(here(f(a - lost)), here(f(a)), atol=1e-12)
    ct = tg.grad(lambda x: np.sum(abs(f(x)) ** 2 * np.arange(3)))(a)
    np.testing.assert_array_equal((np.tril(ct, -1) if upper else np.triu(ct, 1)), 0)


@pytest.mark.parametrize("n", [3, 40])
@pytest.mark.parametrize("complex_", [False, True])
def test_solutions_share_factors(n: int, complex_: bool, rng: np.random.Generator) -> None:
    """One matrix and many right-hand sides, on both sides of the order where factors are kept."""
    a = rng.normal(size=(n, n)) / n**0.5 * 0.5 + 2 * np.eye(n)
    b = rng.normal(size=(2, n, 2))
    a = a + 0.3j * rng.normal(size=(n, n)) / n**0.5 if complex_ else a
    x = here(np.linalg.solve(tg.tensor(a), b))
    np.testing.assert_allclose(a @ x, b, atol=1e-12)
    check_grad(np.linalg.solve, [a, b], order=2, rng=rng)
    check_grad(np.linalg.solve, [np.stack([a, 2 * a]), b], order=1, rng=rng)
    many = np.stack([b, 3 * b])
    each = tg.vmap(np.linalg.solve, in_axes=(None, 0))(a, many)
    np.testing.assert_allclose(here(each), np.stack([x, 3 * x]), atol=1e-12)


def minors(a: Array) -> Array:
    """The cofactors, by definition."""
    n, found = len(a), np.empty_like(a)
    for i, j in itertools.product(range(n), range(n)):
        rest = np.delete(np.delete(a, i, 0), j, 1)
        found[i, j] = (-1) ** (i + j) * (np.linalg.det(rest) if n > 1 else 1)
    return found


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_determinants_of_singular_matrices(n: int, rank: int, rng: np.random.Generator) -> None:
    """Rows of zeros, so that the determinant is 0 without rounding; to the second order."""
    a = rng.normal(size=(n, n))
    a[: max(n - rank, 1)] = 0
    np.testing.assert_allclose(tg.grad(np.linalg.det)(a), minors(a), atol=1e-12)
    direction = rng.normal(size=(n, n))

    def slope(x: Any) -> Any:
        return np.sum(tg.grad(np.linalg.det)(x) * direction)

    step = 1e-5
    turn = rng.normal(size=(n, n))
    want = (np.sum(minors(a + step * turn) * direction)
            - np.sum(minors(a - step * turn) * direction)) / (2 * step)  # fmt: skip
    np.testing.assert_allclose(np.sum(tg.grad(slope)(a) * turn), want, rtol=1e-6, atol=1e-7)


def test_determinant_of_a_large_singular_matrix(rng: np.random.Generator) -> None:
    for n in (20, 40):
        a = rng.normal(size=(n, n)) / n**0.5
        a[3] = 0
        got = tg.grad(np.linalg.det)(a)
        scale = np.abs(minors(a)).max()
        np.testing.assert_allclose(got, minors(a), atol=1e-10 * scale)


@pytest.mark.parametrize("n", [4, 40])
def test_determinant_of_a_matrix_singular_but_for_rounding(
    n: int, rng: np.random.Generator
) -> None:
    a = rng.normal(size=(n, n)) / n**0.5
    a[0] = a[1:].sum(axis=0)
    want = minors(a)
    np.testing.assert_allclose(tg.grad(np.linalg.det)(a), want, atol=1e-9 * np.abs(want).max())


@pytest.mark.cpu_only("a GPU gives infinities: nothing waits for its results")
def test_singular_matrices_raise_by_name() -> None:
    for n in (2, 40):
        with pytest.raises(np.linalg.LinAlgError, match="solve: got a singular matrix, expected"):
            np.linalg.solve(tg.tensor(np.zeros((n, n))), np.ones(n))
        with pytest.raises(np.linalg.LinAlgError, match=r"inv: got a singular .* try .*pinv"):
            np.linalg.inv(tg.tensor(np.zeros((n, n))))
        with pytest.raises(np.linalg.LinAlgError, match="inv: got a singular matrix"):
            tg.grad(lambda x: np.linalg.slogdet(x)[1])(np.zeros((n, n)))
        sign, log = np.linalg.slogdet(tg.tensor(np.zeros((n, n))))
        assert (float(here(sign)), float(here(log))) == (0.0, -np.inf)
    with pytest.raises(np.linalg.LinAlgError, match="cholesky: got a matrix that is not positive"):
        np.linalg.cholesky(tg.tensor(-np.eye(2)))


def test_norms_at_zero_and_at_ties() -> None:
    for order in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        found = tg.grad(lambda x, p=order: np.linalg.norm(x, p))(np.zeros((2, 2)))
        np.testing.assert_array_equal(found, 0)
    shared = tg.grad(lambda x: np.linalg.norm(x, 1))(np.eye(2))
    np.testing.assert_allclose(shared, np.eye(2) / 2)
    shared = tg.grad(lambda x: np.linalg.norm(x, 2))(np.diag([3.0, 3.0]))
    np.testing.assert_allclose(shared, np.eye(2) / 2, atol=1e-12)


def test_counts_and_ranks_are_constants(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.normal(size=(3, 3)), requires_grad=True)
    for found in (np.linalg.norm(x, 0, axis=1), np.linalg.vector_norm(x, ord=0),
                  np.linalg.matrix_rank(x), np.linalg.matrix_power(x, 0)):  # fmt: skip
        assert isinstance(found, tg.Tensor)
        assert not found.requires_grad
    np.testing.assert_array_equal(here(np.linalg.norm(x, 0, axis=1)), [3, 3, 3])


def test_condition_of_singular_matrices(rng: np.random.Generator) -> None:
    a = np.stack([np.zeros((2, 2)), np.eye(2)])
    for p in (None, 1, "fro"):
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(here(np.linalg.cond(tg.tensor(a), p)), np.linalg.cond(a, p))
    with pytest.raises(np.linalg.LinAlgError, match="cond: got an array of shape"):
        np.linalg.cond(tg.tensor(np.zeros((0, 0))))


def test_a_chain_of_matrices_is_multiplied_in_the_cheapest_order(
    rng: np.random.Generator,
) -> None:
    from tensorgrad.ops.linalg.products import _split

    sizes = (30, 35, 15, 5, 10, 20, 25)  # the example of Cormen et al.
    place = _split(sizes)
    assert (place[0][5], place[0][2], place[3][5]) == (2, 0, 4)


def test_factors_are_what_scipy_takes(rng: np.random.Generator) -> None:
    import scipy.linalg

    a, b = 0.3 * rng.normal(size=(4, 4)) + 2 * np.eye(4), rng.normal(size=4)
    packed, pivots = (here(x) for x in tg.linalg.lu_factor(a))
    np.testing.assert_allclose(a @ scipy.linalg.lu_solve((packed, pivots), b), b, atol=1e-10)
    f = lambda x, y: tg.linalg.lu_solve(tg.linalg.lu_factor(x), y)  # noqa: E731
    np.testing.assert_allclose(a @ here(f(a, b)), b, atol=1e-10)
    check_grad(f, [a, b], order=2, rng=rng)
    spd = a @ a.T
    g = lambda x, y: tg.linalg.cho_solve(tg.linalg.cho_factor(x), y)  # noqa: E731
    np.testing.assert_allclose(spd @ here(g(spd, b)), b, atol=1e-9)
    check_grad(g, [spd, b], order=2, rng=rng)


def test_exponentials_of_large_and_mixed_norms(rng: np.random.Generator) -> None:
    import scipy.linalg

    skew = rng.normal(size=(3, 3)) * 5
    a = np.stack([skew - skew.T, 1e-3 * rng.normal(size=(3, 3)), np.zeros((3, 3))])
    e = rng.normal(size=(3, 3, 3))
    same, moved = tg.jvp(tg.linalg.expm, (a,), (e,))
    for k in range(3):
        want, slope = scipy.linalg.expm_frechet(a[k], e[k])
        np.testing.assert_allclose(here(same[k]), want, atol=1e-11)
        np.testing.assert_allclose(here(moved[k]), slope, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: np.linalg.inv(tg.tensor(np.ones((2, 3)))), r"inv: got a=float64\(2, 3\), "),
        (lambda: tg.linalg.outer(np.ones((2, 2)), np.ones(2)), r"outer: got .* try np\.outer"),
        (lambda: tg.linalg.cross(np.ones(2), np.ones(2)), "cross: got .* a length of 3"),
        (lambda: tg.norm(np.ones(3), "fro"), "norm: got ord='fro'.* try ord=2"),
        (lambda: tg.norm(np.ones((2, 2)), 3), "norm: got ord=3, expected 'fro', 'nuc'"),
        (lambda: tg.norm(np.ones((2, 2, 2)), 1), "norm: got ord=1, axes=3, expected one axis or"),
        (lambda: tg.linalg.multi_dot([np.ones(2)]), "multi_dot: got arrays=1, expected two"),
        (lambda: tg.linalg.solve(np.eye(2), np.ones(3)), "solve: got .* as many rows"),
        (lambda: tg.linalg.toeplitz(np.eye(2)), "toeplitz: got .* vectors"),
    ],
)
def test_errors(call: Callable[[], Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
