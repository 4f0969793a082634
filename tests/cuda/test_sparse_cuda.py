"""Sparse constants of CuPy times tensors on a GPU; those of the host are refused there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from ops_tools import gpus, here, there

import tensorgrad as tg


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_products_and_their_gradients(dtype: str, rng: np.random.Generator) -> None:
    from cupyx.scipy.sparse import csr_matrix

    dense = (rng.standard_normal((4, 3)) * rng.integers(0, 2, (4, 3))).astype(dtype)
    matrix = csr_matrix(scipy.sparse.csr_matrix(dense))
    x = rng.standard_normal((3, 2)).astype(dtype)
    t = there(x)
    t.requires_grad = True
    y = matrix @ t
    np.testing.assert_allclose(here(y), dense @ x, rtol=1e-5, atol=1e-6)  # sums may cancel
    y.backward(tg.ones_like(y))
    assert t.grad is not None
    want = dense.conj().T @ np.ones((4, 2))
    np.testing.assert_allclose(here(t.grad), want, rtol=1e-5, atol=1e-6)
    left = there(x.T) @ matrix.T
    np.testing.assert_allclose(here(left), x.T @ dense.T, rtol=1e-5, atol=1e-6)
    each = tg.sparse_multiply(matrix, there(np.ones((4, 1), dtype)))
    np.testing.assert_allclose(here(each), dense, rtol=1e-6)


def test_matrices_elsewhere_are_refused() -> None:
    from cupyx.scipy.sparse import csr_matrix

    host = scipy.sparse.csr_matrix(np.eye(3))
    with pytest.raises(tg.DeviceError, match=r"try cupyx.scipy.sparse.csr_matrix\(matrix\)"):
        tg.sparse_matmul(host, there(np.ones(3)))
    with pytest.raises(tg.DeviceError, match=r"try matrix\.get"):
        tg.sparse_matmul(csr_matrix(host), tg.tensor(np.ones(3), device="cpu"))
    with pytest.raises(tg.DeviceError, match="expected all on one device"):
        tg.sparse_multiply(host, there(np.ones((3, 3))))
    with pytest.raises(tg.DeviceError, match="where SuperLU factorises"):
        tg.linalg.spsolve(host, there(np.ones(3)))
