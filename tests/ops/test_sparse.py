"""Sparse constants of SciPy beside tensors: every spelling is exact, or refuses by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

import tensorgrad as tg
from tensorgrad.testing import check_grad

pytestmark = pytest.mark.cpu_only("SciPy's matrices lie on the host")
FORMATS = "bsr coo csc csr dia dok lil".split()


@pytest.fixture
def dense(rng: np.random.Generator) -> Any:
    found = rng.standard_normal((4, 3))
    found[rng.random((4, 3)) < 0.4] = 0
    return found


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("name", FORMATS)
def test_products_from_both_sides(
    name: str, kind: str, dense: Any, rng: np.random.Generator
) -> None:
    matrix = getattr(scipy.sparse, f"{name}_{kind}")(dense)
    x, y = rng.standard_normal((3, 2)), rng.standard_normal((5, 4))
    for f, plain, given in (
        (lambda t: matrix @ t, lambda a: dense @ a, x),
        (lambda t: matrix @ t, lambda a: dense @ a, x[:, 0]),
        (lambda t: t @ matrix, lambda a: a @ dense, y),
        (lambda t: t @ matrix, lambda a: a @ dense, y[0]),
        (lambda t: matrix.T @ t, lambda a: dense.T @ a, y.T),
        (lambda t: matrix @ t, lambda a: dense @ a, np.stack([x, 2 * x])),
        (lambda t: tg.sparse_matmul(matrix, t), lambda a: dense @ a, x),
    ):
        found = f(tg.tensor(given))
        assert isinstance(found, tg.Tensor)
        np.testing.assert_allclose(found.numpy(), plain(given), atol=1e-13)
        check_grad(f, [given], order=2, rng=rng)


def test_dtypes_are_those_of_dense_products(dense: Any) -> None:
    for a in ("int8", "float32", "float64", "complex64"):
        for x in ("float16", "float32", "float64", "int64", "complex128"):
            matrix = scipy.sparse.csr_array((10 * dense).astype(a))
            found = matrix @ tg.tensor(np.ones((3, 2), x))
            assert found.dtype == (matrix.toarray() @ np.ones((3, 2), x)).dtype


def test_gradients_of_complex_products_are_adjoint(dense: Any, rng: np.random.Generator) -> None:
    matrix = scipy.sparse.csr_array(dense + 2j * dense)
    check_grad(lambda x: matrix @ x, [rng.standard_normal((3, 2))], order=1, rng=rng)
    z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    check_grad(lambda x: matrix @ x, [z], order=2, rng=rng)


def test_what_is_no_product_refuses(dense: Any) -> None:
    matrix = scipy.sparse.csr_array(dense)
    t = tg.tensor(np.ones((4, 3)), requires_grad=True)
    for f in (
        lambda: matrix + t, lambda: t - matrix, lambda: t * matrix, lambda: t / matrix,
        lambda: np.add(matrix, t), lambda: scipy.sparse.csr_matrix(dense) * t.T,
    ):  # fmt: skip
        with pytest.raises(TypeError, match=r"got a sparse csr_\w+, expected a dense array; try"):
            f()
    for f in (lambda: matrix * t, lambda: matrix.multiply(t), lambda: matrix / t,
              lambda: matrix.maximum(t)):  # fmt: skip
        with pytest.raises(tg.GradientError, match="cut silently"):
            f()
    with pytest.raises(tg.ShapeError, match="expected x with 3 rows"):
        matrix @ t
    with pytest.raises(TypeError, match="a sparse matrix of two axes"):
        tg.sparse_matmul(dense, t)


def test_systems(rng: np.random.Generator) -> None:
    matrix = scipy.sparse.random_array((30, 30), density=0.1, rng=rng)
    matrix = (matrix + 9 * scipy.sparse.eye_array(30)).tocsc()
    b = rng.standard_normal((30, 2))
    np.testing.assert_allclose(matrix @ tg.linalg.spsolve(matrix, b), b, atol=1e-12)
    check_grad(lambda b: tg.linalg.spsolve(matrix, b), [b], order=2, rng=rng)
    with pytest.raises(np.linalg.LinAlgError, match="spsolve: got a matrix that is singular"):
        tg.linalg.spsolve(scipy.sparse.csc_array((3, 3)), np.ones(3))
    with pytest.raises(tg.ShapeError, match="as many rows"):
        tg.linalg.spsolve(matrix, np.ones(4))


def test_a_solver_of_scipy_takes_a_tensor_times_a_matrix(dense: Any) -> None:
    """Power iteration in SciPy's own words, differentiated."""
    matrix = scipy.sparse.csr_array(dense.T @ dense)

    def growth(x: Any) -> Any:
        for _ in range(3):
            x = matrix @ x
            x = x / np.linalg.norm(x)
        return np.dot(x, matrix @ x)

    slope = tg.grad(growth)(np.array([1.0, 0.5, 0.2]))
    assert slope.shape == (3,)
    assert abs(slope @ np.array([1.0, 0.5, 0.2])) < 1e-12
