"""Attention on the CUDA backend: which path is taken, against the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fakecudnn
import numpy as np
import place
import pytest
from ops_tools import gpus, here, launches

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812

Rng = np.random.Generator

pytestmark = pytest.mark.skipif(place.chosen == "cuda", reason="needs the stand-in for cuDNN")

EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-22}
BY_CUDNN = {"cudnn_sdpa", "cudnn_sdpa_backward"}


@pytest.fixture
def log() -> Iterator[Any]:
    with gpus(devices=2), fakecudnn.install() as found:
        yield found


def drawn(rng: Rng, dtype: str, *shapes: tuple[int, ...]) -> list[Any]:
    return [rng.standard_normal(s).astype(tg.dtypes.dtype(dtype)) for s in shapes]


def both(
    given: list[Any], device: str = "cuda:0", wanted: tuple[bool, ...] = (True,) * 3, **options: Any
) -> set[str]:
    """Hold result and gradients to those of the CPU in float64; gives the kernels that ran."""
    before, found = dict(launches()), {}
    for where in (device, "cpu"):
        arrays = [a.astype("f8") if where == "cpu" else a for a in given]
        leaves = [
            tg.tensor(a, device=where, requires_grad=w) for a, w in zip(arrays, wanted, strict=True)
        ]
        y = F.scaled_dot_product_attention(*leaves, **options)
        if any(wanted):
            (y * tg.astype(y.detach(), "float32")).sum().backward()
        found[where] = [here(y.detach()), *[here(x.grad) for x in leaves if x.requires_grad]]
    eps = EPS[given[0].dtype.name]
    for got, want in zip(found[device], found["cpu"], strict=True):
        assert got.dtype == given[0].dtype
        scale = np.abs(want).max(initial=1.0)
        np.testing.assert_allclose(got.astype("f8"), want, rtol=0, atol=16 * eps * scale)
    return {k for k, n in launches().items() if n > before.get(k, 0)}


def named(ran: set[str]) -> set[str]:
    return {k for k in ran if k.startswith(("attention", "cudnn"))}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("causal", [False, True])
def test_half_precision_is_cudnns(log: Any, rng: Rng, dtype: str, causal: bool) -> None:
    given = drawn(rng, dtype, (2, 4, 5, 8), (2, 2, 7, 8), (2, 2, 7, 16))
    ran = both(given, is_causal=causal, enable_gqa=True, scale=0.3)
    assert named(ran) == BY_CUDNN
    assert log.runs == ["sdpa", "sdpa_backward"]


def test_on_another_device(log: Any, rng: Rng) -> None:
    assert named(both(drawn(rng, "float16", *[(2, 3, 8)] * 3), "cuda:1")) == BY_CUDNN


def test_a_packed_projection_is_read_in_place(log: Any, rng: Rng) -> None:
    (whole,) = drawn(rng, "float16", (2, 5, 3, 2, 8))
    x = tg.tensor(whole, device="cuda:0", requires_grad=True)
    y = F.scaled_dot_product_attention(*[x[:, :, k].swapaxes(1, 2) for k in range(3)])
    first = x.data.data.ptr
    assert log.addresses[0][:3] == [first, first + 32, first + 64]
    y.backward(y.detach())
    want = tg.tensor(whole.astype("f8"), requires_grad=True)
    y = F.scaled_dot_product_attention(*[want[:, :, k].swapaxes(1, 2) for k in range(3)])
    y.backward(y.detach())
    scale = np.abs(here(want.grad)).max()
    assert np.abs(here(x.grad).astype("f8") - here(want.grad)).max() < 2**-6 * scale


@pytest.mark.parametrize("k", range(3))
def test_one_gradient_alone(log: Any, rng: Rng, k: int) -> None:
    given = drawn(rng, "float16", *[(1, 2, 4, 8)] * 3)
    assert named(both(given, wanted=tuple(n == k for n in range(3)))) == BY_CUDNN


def test_what_cudnn_has_no_engine_for_runs_as_our_kernels(log: Any, rng: Rng) -> None:
    wide, odd = [(1, 2, 4, 8)] * 3, [(1, 2, 4, 6)] * 3
    mask = tg.tensor(np.tri(4, dtype=bool), device="cuda:0")
    ours = {"attention", "attention_rows", "attention_columns"}

    def kinds(ran: set[str]) -> set[str]:
        return {k.rsplit("_", 2)[0] for k in named(ran)}

    assert kinds(both(drawn(rng, "float32", *wide))) == ours
    assert kinds(both(drawn(rng, "float16", *odd))) == ours
    no_keys = (1, 2, 4, 8), (1, 2, 0, 8), (1, 2, 0, 8)
    assert kinds(both(drawn(rng, "float16", *no_keys))) == {"attention"}
    q, k, v = (tg.tensor(a, device="cuda:0") for a in drawn(rng, "float16", *wide))
    before = dict(launches())
    F.scaled_dot_product_attention(q, k, v, mask)
    F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)
    assert kinds({n for n, c in launches().items() if c > before.get(n, 0)}) == {"attention"}
    assert log.runs == []


def test_either_backward_reads_either_forward(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import attention as path

    arrays = [
        tg.tensor(a, device="cuda:0").data for a in drawn(rng, "float16", *[(1, 2, 5, 8)] * 4)
    ]
    params = {"scale": 0.4, "causal": True}
    _, out, logs = path.attention(*arrays[:3], **params)
    _, own, own_logs = path._forward(path._Problem(tuple(arrays[:3]), **params), None)
    np.testing.assert_allclose(logs.get(), own_logs.get(), rtol=0, atol=1e-5)
    one, other = (
        path.attention_pull(arrays[3], [0, 1, 2], (*arrays[:3], *kept), params)
        for kept in ((out, logs), (own, own_logs))
    )
    for (_, x), (_, y) in zip(one, other, strict=True):
        np.testing.assert_allclose(x.get().astype("f8"), y.get().astype("f8"), rtol=0, atol=2e-2)


def test_a_second_derivative_is_the_references(log: Any, rng: Rng) -> None:
    q, k, v = (tg.tensor(a, device="cuda:0") for a in drawn(rng, "float16", *[(1, 1, 3, 8)] * 3))

    def f(x: Any) -> Any:
        return tg.astype(F.scaled_dot_product_attention(x, k, v), "float32").sum()

    def wide(x: Any) -> Any:
        rest = [tg.tensor(here(y).astype("f8")) for y in (k, v)]
        return F.scaled_dot_product_attention(x, *rest).sum()

    found = tg.grad(lambda x: tg.grad(f)(x).sum())(q)
    want = tg.grad(lambda x: tg.grad(wide)(x).sum())(tg.tensor(here(q).astype("f8")))
    np.testing.assert_allclose(here(found).astype("f8"), here(want), rtol=0, atol=2e-2)
