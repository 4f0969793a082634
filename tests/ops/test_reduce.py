"""Reductions: dtypes, special values and conventions that the generated tests do not reach."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import ShapeError
from tensorgrad.testing import check_grad

INF = float("inf")


def gradient(f, x):  # type: ignore[no-untyped-def]
    leaf = tg.Tensor(np.asarray(x, float), requires_grad=True)
    f(leaf).sum().backward()
    return leaf.grad.numpy()


@pytest.mark.parametrize("name", ["sum", "prod", "mean", "var", "std", "max", "cumsum", "any"])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "c8"])
def test_result_dtypes_are_numpys(name, dtype, rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.integers(0, 2, (3, 4)).astype(dtype)
    want = getattr(np, name)(x, axis=0)
    got = getattr(tg, name)(x, axis=0)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-3)


def test_half_sums_in_single_precision() -> None:
    x = np.full(5000, 0.1, np.float16)
    exact = x.astype(float).sum()
    assert abs(float(tg.sum(x)) - exact) <= 0.5
    assert abs(float(tg.mean(x)) - exact / 5000) <= 1e-4


def test_ties_share_the_gradient() -> None:
    np.testing.assert_array_equal(gradient(tg.max, [3, 1, 3, 3]), [1 / 3, 0, 1 / 3, 1 / 3])
    np.testing.assert_array_equal(gradient(tg.min, [3, 1, 1, 3]), [0, 0.5, 0.5, 0])
    got = gradient(lambda x: tg.max(x, axis=0), [[1, 2], [1, 3]])
    np.testing.assert_array_equal(got, [[0.5, 0], [0.5, 1]])


def test_nan_takes_the_gradient_of_the_maximum() -> None:
    np.testing.assert_array_equal(gradient(tg.max, [1, np.nan, 3]), [0, 1, 0])


@pytest.mark.parametrize("zeros", [0, 1, 2, 3])
def test_prod_is_exact_at_zeros(zeros, rng) -> None:  # type: ignore[no-untyped-def]
    for size in (1, 2, 3, 7, 8):
        x = rng.uniform(0.5, 1.5, size)
        x[:zeros] = 0.0
        others = [np.prod(np.delete(x, k)) for k in range(size)]
        np.testing.assert_allclose(gradient(tg.prod, x), others, rtol=1e-13)
        check_grad(tg.prod, [x], order=3, rng=rng)


def test_prod_of_complex_numbers(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))
    check_grad(lambda x: tg.prod(x, axis=1), [x], order=2, rng=rng)
    check_grad(lambda x: tg.var(x, axis=1), [x], order=2, rng=rng)


def test_gradient_of_prod_costs_a_constant_number_of_passes() -> None:
    x = tg.Tensor(np.ones(1 << 12), requires_grad=True)
    y, before = tg.prod(x), tg.core.tape.next_seq()
    with tg.enable_grad():
        y.backward(create_graph=True)
    assert tg.core.tape.next_seq() - before < 40 * 12
    np.testing.assert_array_equal(x.grad.detach().numpy(), np.ones(1 << 12))


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-INF, -INF], [0.0, -INF], [INF, 0.0], [1000.0, 1000.0]])
    want = [-INF, 0.0, INF, 1000 + np.log(2)]
    np.testing.assert_allclose(tg.logsumexp(x, axis=1).numpy(), want)
    got = gradient(lambda x: tg.logsumexp(x, axis=1), x[[0, 1, 3]])
    np.testing.assert_allclose(got, [[0, 0], [1, 0], [0.5, 0.5]])
    assert tg.logsumexp(np.ones((3, 0)), axis=1).tolist() == [-INF] * 3


def test_std_of_a_constant_has_gradient_zero() -> None:
    np.testing.assert_array_equal(gradient(tg.std, np.ones(4)), np.zeros(4))
    np.testing.assert_array_equal(gradient(lambda x: tg.std(x, 1), np.ones((2, 3))), 0)
    assert np.isnan(tg.std(np.array([1.0, np.nan])).item())


def test_empty_reductions() -> None:
    x = np.ones((0, 3))
    assert tg.sum(x).item() == 0
    assert tg.prod(x).item() == 1
    assert tg.max(x, axis=1).shape == (0,)
    with pytest.raises(ShapeError, match=r"max: got x=float64\(0, 3\), axis=\(0,\), expected at"):
        tg.max(x, axis=0)
    with pytest.raises(ShapeError, match=r"argmin: got .* expected at least one element"):
        tg.argmin(x)


def test_axis_errors() -> None:
    with pytest.raises(ShapeError, match=r"sum: got axis=2, ndim=2, expected -2 <= axis < 2"):
        tg.sum(np.ones((2, 3)), axis=2)
    with pytest.raises(ShapeError, match=r"max: got axis=.* expected each axis once"):
        tg.max(np.ones((2, 3)), axis=(0, -2))


def test_constants_are_off_the_tape() -> None:
    x = tg.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    for name in ("argmax", "argmin", "any", "all", "count_nonzero"):
        assert not getattr(tg, name)(x, axis=1).requires_grad


def test_numpys_functions_take_tensors(rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(rng.standard_normal((3, 4)), requires_grad=True)
    assert np.sum(x, axis=1, keepdims=True).shape == (3, 1)
    assert np.var(a=x, ddof=1).requires_grad
    assert np.amax(x).item() == x.max().item()


def test_the_largest_bfloat16_beside_nan() -> None:
    x = tg.tensor([1.0, float("nan"), 3.0, 2.0]).astype("bfloat16")
    assert (int(tg.nanargmax(x)), int(tg.nanargmin(x))) == (2, 0)
