"""Running operations: zeros, ties, infinities, dtypes, and that they cost no more than O(n)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.ops.cumulative import recurrence_p
from tensorgrad.testing import check_grad

INF, NAN = float("inf"), float("nan")


def gradient(f: Any, x: Any, ct: Any = 1.0) -> Any:
    leaf = tg.tensor(np.asarray(x, float), requires_grad=True)
    (f(leaf) * tg.tensor(ct)).sum().backward()
    return here(leaf.grad)


def solved(a: Any, b: Any) -> Any:
    found = b.copy()
    for j in range(1, b.shape[-1]):
        found[..., j] += a[..., j] * found[..., j - 1]
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_the_recurrence_is_the_loop(dtype: str, rng: np.random.Generator) -> None:
    for shape in ((7,), (3, 8), (2, 3, 33), (4, 1), (0, 3), (3, 0)):
        a, b = (rng.uniform(-1, 1, shape).astype(dtype) for _ in range(2))
        if a.size:
            a[..., 0] = INF  # read by neither
        found = recurrence_p.bind(tg.tensor(a), tg.tensor(b), reverse=False)
        tolerance = 1e-5 if dtype == "float32" else 1e-13
        np.testing.assert_allclose(here(found), solved(a, b), tolerance, tolerance)
        found = recurrence_p.bind(tg.tensor(a), tg.tensor(b), reverse=True)
        turned = np.roll(a[..., ::-1], 1, -1)
        want = solved(turned, b[..., ::-1])[..., ::-1]
        np.testing.assert_allclose(here(found), want, tolerance, tolerance)


@pytest.mark.cpu_only("about the code generated for the CPU")
def test_the_recurrence_without_generated_code(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    a, b = rng.uniform(-1, 1, (2, 5, 100))
    run = [here(recurrence_p.bind(tg.tensor(a), tg.tensor(b), reverse=r)) for r in (False, True)]
    monkeypatch.setenv("TG_KERNELS", "0")
    for reverse, want in zip((False, True), run):
        found = recurrence_p.bind(tg.tensor(a), tg.tensor(b), reverse=reverse)
        np.testing.assert_allclose(here(found), want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("zeros", [[], [0], [3], [1, 4], [0, 1, 2, 3, 4, 5]])
def test_cumprod_is_exact_at_zeros(zeros: list[int], rng: np.random.Generator) -> None:
    x, ct = rng.uniform(0.5, 1.5, (2, 6))
    x[zeros] = 0.0
    want = [sum(ct[j] * np.prod(np.delete(x[: j + 1], i)) for j in range(i, 6)) for i in range(6)]
    np.testing.assert_allclose(gradient(tg.cumprod, x, ct), want, rtol=1e-13)
    check_grad(tg.cumprod, [x], order=3, rng=rng)
    found = [np.prod(np.delete(x, i)) for i in range(6)]
    np.testing.assert_allclose(gradient(tg.prod, x), found, rtol=1e-13)


def test_products_that_leave_the_range_have_gradients() -> None:
    x = np.array([1e-200, 1e-200, 1e300])
    np.testing.assert_allclose(gradient(tg.prod, x), [1e100, 1e100, 0], rtol=1e-13)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(gradient(tg.prod, 1 / x)[2], INF)


def test_running_operations_of_complex_numbers(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4)) + 1j * rng.standard_normal((3, 4))
    check_grad(lambda x: tg.cumprod(x, axis=1), [x], order=2, rng=rng)
    check_grad(lambda x: tg.cumsum(x, axis=0), [x], order=2, rng=rng)
    with pytest.raises(tg.DTypeError, match=r"^logcumsumexp: got a=complex128"):
        tg.logcumsumexp(x)


def test_ties_so_far_share_the_gradient() -> None:
    x, ct = [1.0, 3.0, 3.0, 2.0, 3.0, 5.0], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    third = 16 / 3
    want = [1, 2 + 2 + 4 + third, 2 + 4 + third, 0, third, 32]
    np.testing.assert_allclose(gradient(tg.cummax, x, ct), want)
    np.testing.assert_allclose(gradient(lambda t: -tg.cummin(-t), x, ct), want)


def test_running_extremes_of_nan(rng: np.random.Generator) -> None:
    x = np.array([1.0, NAN, 3.0, NAN])
    np.testing.assert_array_equal(here(tg.cummax(x)), [1, NAN, NAN, NAN])
    np.testing.assert_allclose(gradient(tg.cummax, x), [1, 2.5, 0, 0.5])
    y = rng.standard_normal((100, 100))
    records = gradient(lambda t: tg.cummax(t, axis=1), y)
    stands = np.maximum.accumulate(y, 1)
    want = [[np.sum(row == v) if v == m else 0 for v, m in zip(r, row)]
            for r, row in zip(y, stands)]  # fmt: skip
    np.testing.assert_array_equal(records, want)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "c8"])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "nancumsum", "nancumprod"])
def test_result_dtypes_are_numpys(name: str, dtype: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 2, (3, 4)).astype(dtype)
    for options in ({}, {"dtype": "float32"}, {"dtype": "complex64"}):
        if dtype == "c8" and options.get("dtype") == "float32":
            continue
        want = getattr(np, name)(x, axis=0, **options)
        got = getattr(tg, name)(x, axis=0, **options)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(here(got), want, rtol=1e-3)


def test_ufuncs_accumulate(rng: np.random.Generator) -> None:
    x = tg.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    for ufunc in (np.multiply, np.maximum, np.minimum, np.logaddexp):
        for axis in (0, 1):
            found = ufunc.accumulate(x, axis=axis)
            assert found.requires_grad
            want = ufunc.accumulate(here(x.detach()), axis=axis)
            # log Σ exp crosses 0
            np.testing.assert_allclose(here(found.detach()), want, rtol=1e-14, atol=1e-14)


def test_logcumsumexp_of_infinities() -> None:
    x = np.array([-INF, -INF, 1000.0, 1000.0])
    want = [-INF, -INF, 1000, 1000 + np.log(2)]
    np.testing.assert_allclose(here(tg.logcumsumexp(x)), want)
    np.testing.assert_allclose(gradient(tg.logcumsumexp, x), [0, 0, 1.5, 0.5])
