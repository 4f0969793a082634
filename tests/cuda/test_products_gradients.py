"""Gradients of products on the stand-in: in their buffers, and GELU in the product behind it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, there
from products_tools import (
    HALVES,
    Spy,
    bucketed,
    by,
    close,
    leaf,
    network,
    precise,
)

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.tensor import Tensor

Array = Any
Rng = np.random.Generator


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


# -- gradients in their buffers ------------------------------------------------------------------


def losses(params: list[Any], x: Tensor) -> Tensor:
    """A weight that is used three times, one that meets itself, a bias that is used twice."""
    w, b = params
    h = tg.linear(tg.linear_relu(tg.linear(x, w, b), w, b), w) @ w
    return (h * h).sum() + (w @ w).sum()


@pytest.mark.parametrize("dtype", ["float32", "float64", *HALVES])
def test_a_weight_that_is_used_often(dtype: str, gpu: Any, rng: Rng) -> None:
    arrays = [rng.standard_normal((4, 4)) / 4, rng.standard_normal(4)]
    arrays = [a.astype(dtypes.dtype(dtype)) for a in arrays]
    x = rng.standard_normal((6, 4)).astype(dtypes.dtype(dtype))
    exact = [leaf(a, "float64", "cpu") for a in arrays]
    given = bucketed(arrays, "cuda:0", dtype)
    for _ in range(2):  # the second walk adds to what the first one left
        losses(exact, tg.tensor(x.astype("f8"))).backward()
        loss = losses(given, there(x))
        with by(Spy) as spy:
            loss.backward()
        for got, want in zip(given, exact):
            assert got.grad.data is got.node.into
            close(got.grad, want.grad, dtype, 8)
        assert sum(plan.beta == 1 for plan in spy.plans) >= 3


def test_a_gradient_that_someone_set_is_left_alone(gpu: Any, rng: Rng) -> None:
    w, b = bucketed([rng.standard_normal((4, 4)), rng.standard_normal(4)], "cuda:0")
    x = there(rng.standard_normal((6, 4)).astype("f4"))
    mine = tg.ones_like(w).detach()
    w.grad = mine
    tg.linear(x, w, b).sum().backward()
    want = here(x).sum(0) + np.ones((4, 4))
    np.testing.assert_allclose(here(w.grad), want, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(here(mine), np.ones((4, 4)))


def test_sixteen_bit_products_into_a_float32_gradient(gpu: Any, rng: Rng) -> None:
    import cupy

    w, b = (leaf(rng.standard_normal(s), "bfloat16") for s in ((4, 3), (4,)))
    x = there(rng.standard_normal((64, 3)).astype(dtypes.dtype("bfloat16")))
    buffer = cupy.empty((4, 3), "f4")
    w.node.into = buffer  # type: ignore[union-attr]
    ct = there(rng.standard_normal((64, 4)).astype(dtypes.dtype("bfloat16")))
    want = here(ct).astype("f8").T @ here(x).astype("f8")
    for times in (1, 2):
        with by(Spy) as spy:
            tg.linear(x, w, b).backward(ct)
        assert [(p.out_dtype, p.beta) for p in spy.plans[-1:]] == [("float32", times - 1)]
        assert w.grad is not None
        assert w.grad.data is buffer
        np.testing.assert_allclose(here(w.grad), times * want, rtol=1e-6, atol=1e-5)
        assert b.grad is not None
        assert b.grad.dtype == dtypes.dtype("bfloat16")


# -- GELU in the product behind it ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
@pytest.mark.parametrize("lead", [(), (6,), (2, 3)])
def test_the_derivative_of_gelu_is_in_the_product_behind(
    dtype: str, lead: tuple[int, ...], gpu: Any, rng: Rng
) -> None:
    shapes = [(8, 4), (8,), (16, 8), (16,), (3, 16), (3,)]
    arrays = [(rng.standard_normal(s) / 2).astype(dtypes.dtype(dtype)) for s in shapes]
    x, ct = (rng.standard_normal((*lead, n)).astype(dtypes.dtype(dtype)) for n in (4, 3))
    exact, run = network("cpu", arrays, "float64")
    want = leaf(x, "float64", "cpu")
    run(want).backward(tg.tensor(ct.astype("f8")))
    with precise("high"):
        params, run = network("cuda:0", arrays, dtype)
        for refuses in ("", "dgelu", "bgrad"):
            for p in params:
                p.grad = None
            given = leaf(x, dtype)
            y = run(given)
            with by(lambda refuses=refuses: Spy(refuses)) as spy:
                y.backward(there(ct))
            named = ["dgelu_bgrad"] * 2 if refuses == "" else []
            assert [name for name in spy.epilogues() if "dgelu" in name] == named
            for got, w in zip([given, *params], [want, *exact]):
                assert got.grad.dtype == got.dtype
                close(got.grad, w.grad, dtype, 16)


@pytest.mark.parametrize("first", [False, True])
def test_a_product_that_meets_another_cotangent_is_multiplied(
    first: bool, gpu: Any, rng: Rng
) -> None:
    """GELU's result is used three times, by layers and before or after them otherwise."""
    arrays = [rng.standard_normal(s).astype("f2") for s in ((6, 4), (8, 4), (8,), (8, 8))]

    def total(x: Tensor, w: Tensor, b: Tensor, v: Tensor) -> Tensor:
        h = tg.linear_gelu(x, w, b)
        before = (h * h).sum()
        layers = (tg.linear(h, v, b) * tg.linear(h, v, b)).sum()
        return layers + (before if first else (h * h).sum())

    exact = [leaf(a, "float64", "cpu") for a in arrays]
    given = [leaf(a, "float16") for a in arrays]
    total(*exact).backward()
    total(*given).backward()
    for got, want in zip(given, exact):
        close(got.grad, want.grad, "float16", 16)


def test_a_weight_whose_hook_may_change_it_is_multiplied_at_once(gpu: Any, rng: Rng) -> None:
    arrays = [rng.standard_normal(s).astype("f2") for s in ((6, 4), (8, 4), (8,))]
    x, w, b = (leaf(a, "float16") for a in arrays)
    h = tg.linear_gelu(x, w, b)
    v = leaf(rng.standard_normal((2, 8)), "float16")
    want = here(v).astype("f8")
    v.register_hook(lambda g: v.data.fill(0))
    with by(Spy) as spy:
        tg.linear(h, v, leaf(np.zeros(2), "float16")).sum().backward()
    assert not any("dgelu" in name for name in spy.epilogues())
    assert w.grad is not None
    assert np.abs(want).max() > 0
    assert np.abs(here(w.grad)).max() > 0


def test_gradients_of_values_in_between_are_arrays(gpu: Any, rng: Rng) -> None:
    x, w, b, v = (
        there(rng.standard_normal(s).astype("f2")) for s in ((6, 4), (8, 4), (8,), (2, 8))
    )
    got = tg.grad(lambda t: tg.linear(tg.linear_gelu(t, w, b), v, v[:, 0]).sum())(x)
    args = [tg.tensor(here(t).astype("f8")) for t in (x, w, b, v)]
    want = tg.grad(lambda t: tg.linear(tg.linear_gelu(t, *args[1:3]), args[3], args[3][:, 0]).sum())
    close(got, want(args[0]), "float16", 16)


def test_the_real_library_takes_the_plans_of_a_step(gpu: Any, rng: Rng) -> None:
    lt = importlib.import_module("tensorgrad.backend.cuda.lt")
    try:
        real = lt.find()
    except tg.DeviceError as absent:
        pytest.skip(f"no cuBLASLt here: {absent}")
    sizes = [(8, 4), (8,), (16, 8), (16,), (3, 16), (3,)]
    arrays = [rng.standard_normal(s) for s in sizes]
    met: set[str] = set()
    for dtype in ("float32", *HALVES):
        params, run = network("cuda:0", arrays, dtype)
        x = leaf(rng.standard_normal((6, 4)), dtype)
        with by(Spy) as spy, precise("high"):
            for _ in range(2):
                run(x).sum().backward()
        for plan in spy.plans:
            made = lt.Descriptors(real, plan)
            assert made.read(lt.EPILOGUE, lt.c_int32) == plan.flags
            assert not plan.aux_ld or made.read(lt.AUX_LD, lt.c_int64) == plan.aux_ld
            made.close()
        met |= set(spy.epilogues())
        assert any(plan.beta for plan in spy.plans)
        assert all(p.grad is not None for p in params)
    assert {"bias", "gelu_aux_bias", "dgelu_bgrad"} <= met
    assert met & {"bgrada", "bgradb"}
