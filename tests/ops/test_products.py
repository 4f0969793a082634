"""Products: ranks, dtypes, spellings and errors beyond what the registry's samples show."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import ShapeError


def leaf(rng: np.random.Generator, *shape: int) -> tg.Tensor:
    return tg.Tensor(rng.standard_normal(shape), requires_grad=True)


def test_operators_of_tensors_and_arrays(rng: np.random.Generator) -> None:
    x, y = leaf(rng, 2, 3), rng.standard_normal((3, 4))
    assert np.array_equal((x @ y).detach().numpy(), x.detach().numpy() @ y)
    assert np.array_equal((y.T @ x.mT).detach().numpy(), y.T @ x.detach().numpy().T)
    (np.matmul(x, y) ** 2).sum().backward()
    want = 2 * (x.detach().numpy() @ y) @ y.T
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16])
def test_half_products_are_rounded_once(dtype: Any, rng: np.random.Generator) -> None:
    x, y = (rng.standard_normal(s).astype(dtype) for s in ((5, 300), (300, 4)))
    want = (x.astype("f4") @ y.astype("f4")).astype(dtype)
    got = tg.matmul(x, y)
    assert got.dtype == want.dtype
    assert np.array_equal(got.numpy(), want)


def test_linear_equals_its_definition_for_any_leading_axes(rng: np.random.Generator) -> None:
    weight, bias = leaf(rng, 4, 3), leaf(rng, 4)
    for lead in ((), (5,), (2, 5), (2, 1, 5)):
        x = leaf(rng, *lead, 3)
        ct = rng.standard_normal((*lead, 4))
        weight.grad = bias.grad = None
        tg.linear(x, weight, bias).backward(ct)
        rows, cts = x.detach().numpy().reshape(-1, 3), ct.reshape(-1, 4)
        np.testing.assert_allclose(weight.grad.numpy(), cts.T @ rows, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(bias.grad.numpy(), cts.sum(0), rtol=1e-12, atol=1e-13)
        want = ct @ weight.detach().numpy()
        np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-12, atol=1e-13)


def test_linear_writes_its_gradients_into_the_buckets(rng: np.random.Generator) -> None:
    weight, bias, x = leaf(rng, 4, 3), leaf(rng, 4), rng.standard_normal((5, 3))
    buckets = [tg.full((4, 3), np.nan).data, tg.full((4,), np.nan).data]
    weight.node.into, bias.node.into = buckets
    tg.linear(x, weight, bias).sum().backward()
    assert weight.grad.data is buckets[0]
    np.testing.assert_allclose(here(buckets[0]), np.ones((4, 5)) @ x)
    np.testing.assert_allclose(here(buckets[1]), np.full(4, 5.0))


def test_the_same_leaf_on_both_sides_sums_its_cotangents(rng: np.random.Generator) -> None:
    x = leaf(rng, 3, 3)
    (x @ x).sum().backward()
    a, one = x.detach().numpy(), np.ones((3, 3))
    want = one @ a.T + a.T @ one
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("operands", [3, 4, 5])
def test_einsum_of_many_operands_in_any_order(operands: int, rng: np.random.Generator) -> None:
    letters = "abcdef"
    for _ in range(10):
        terms = [
            "".join(rng.choice(list(letters), rng.integers(1, 4), replace=False))
            for _ in range(operands)
        ]
        used = sorted(set("".join(terms)))
        out = "".join(rng.permutation(used)[: rng.integers(0, len(used) + 1)])
        size = {c: int(rng.integers(1, 4)) for c in letters}
        arrays = [rng.standard_normal([size[c] for c in t]) for t in terms]
        text = ",".join(terms) + "->" + out
        np.testing.assert_allclose(
            tg.einsum(text, *arrays).numpy(), np.einsum(text, *arrays), rtol=1e-10, atol=1e-10
        )


def test_einsum_diagonals_ignore_what_is_off_the_diagonal() -> None:
    x = np.where(np.eye(3) == 1, 2.0, np.inf)
    leaf = tg.Tensor(x, requires_grad=True)
    total = tg.einsum("ii", leaf)
    assert total.item() == 6.0
    total.backward()
    assert np.array_equal(leaf.grad.numpy(), np.eye(3))


def test_numpy_spells_the_products(rng: np.random.Generator) -> None:
    x, y = leaf(rng, 2, 3), rng.standard_normal((2, 3))
    a = x.detach().numpy()
    for made, want in (
        (np.dot(x, y.T), a @ y.T),
        (np.inner(x, y), a @ y.T),
        (np.vdot(x, y), np.vdot(a, y)),
        (np.outer(x, y), np.outer(a, y)),
        (np.kron(x, y), np.kron(a, y)),
        (np.tensordot(x, y, axes=([0, 1], [0, 1])), np.tensordot(a, y)),
        (np.einsum("ij,kj->ik", x, y, optimize=True), a @ y.T),
        (np.linalg.norm(x, axis=1), np.linalg.norm(a, axis=1)),
    ):
        assert made.requires_grad
        np.testing.assert_allclose(made.detach().numpy(), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["dot", "inner", "outer", "kron", "multiply"])
def test_a_python_number_has_the_dtype_that_numpy_gives_it(name: str) -> None:
    """For a product of arrays it is a 0-d array of its own dtype, for a ufunc it is weak."""
    f = getattr(np, name)
    for dtype in ("int8", "float32"):
        x = np.ones(2, dtype)
        for number in (2, 1.5, 1j, True):
            assert f(tg.tensor(x), number).dtype == f(x, number).dtype
            assert f(number, tg.tensor(x)).dtype == f(number, x).dtype
    assert tg.tensor(np.ones(2, "int8")).dot(1).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: tg.matmul(np.ones((2, 3)), np.ones((2, 3))),
            "matmul: got x=float64(2, 3), y=float64(2, 3), expected x.shape[-1] == y.shape[-2]; "
            "try x.mT or y.mT if one of them is transposed",
        ),
        (
            lambda: tg.matmul(np.ones(()), np.ones(3)),
            "matmul: got x=float64(), y=float64(3,), expected at least one axis each; "
            "try x * y for a scalar",
        ),
        (
            lambda: tg.linear(np.ones((2, 3)), np.ones((3, 2))),
            "linear: got x=float64(2, 3), weight=float64(3, 2), expected x.shape[-1] == "
            "in_features == 2 (weight is (out, in)); try weight.T if the weight is (in, out), "
            "or x.reshape(len(x), -1)",
        ),
        (
            lambda: tg.linear(np.ones((2, 3)), np.ones((4, 3)), np.ones(1)),
            "linear: got bias=float64(1,), weight=float64(4, 3), expected a bias of shape (4,), "
            "one number per row of the weight; try bias.reshape(-1)",
        ),
        (
            lambda: tg.einsum("ij,jk->ik", np.ones((2, 3)), np.ones((2, 3))),
            "einsum: got lengths 3 and 2 for index 'j', expected one length; "
            "try another letter for one of the axes",
        ),
        (
            lambda: tg.tensordot(np.ones((2, 3)), np.ones((2, 3)), axes=1),
            "tensordot: got a=float64(2, 3), b=float64(2, 3), axes=1, expected the same length "
            "on each pair of axes; try axes=([axes of a], [axes of b])",
        ),
    ],
)
def test_errors_name_the_shapes_and_the_way_out(call: Any, text: str) -> None:
    with pytest.raises(ShapeError) as caught:
        call()
    assert str(caught.value) == text
