"""Pooling on the CUDA backend: the kernels, window by window, against the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from kernel_tools import DTYPES, SCHEDULES, array, i32, launch, near
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad.backend import numpy_pool as cpu
from tensorgrad.backend.cuda.windows import by, geometry
from tensorgrad.backend.pool_windows import count
from tensorgrad.nn import functional as F  # noqa: N812

Rng = np.random.Generator


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def drawn(rng: Rng, spread: bool) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The parameters of a pooling of one to three axes, and their lengths."""
    rank = int(rng.integers(1, 4))
    size = tuple(int(n) for n in rng.integers(4, 9, rank))
    kernel = tuple(int(n) for n in rng.integers(1, 4, rank))
    stride = tuple(int(n) for n in rng.integers(1, 4, rank))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    dilation = tuple(int(n) for n in rng.integers(1, 3, rank)) if spread else (1,) * rank
    dilation = tuple(d if d * (k - 1) < n else 1 for d, k, n in zip(dilation, kernel, size))
    ceil = bool(rng.integers(2))
    shape = tuple(count(*a, ceil) for a in zip(size, kernel, stride, padding, dilation))
    return {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation,
            "shape": shape}, size  # fmt: skip


def struct(p: dict[str, Any], size: tuple[int, ...]) -> Any:
    return geometry(
        size, *[p[k] for k in ("shape", "kernel", "stride", "padding", "dilation")]
    ).copy()


def same(got: Any, want: Any) -> None:
    """Equal, and NaN where the other is: bfloat16's NaNs differ for NumPy."""
    np.testing.assert_array_equal(got.astype("f8"), want.astype("f8"))


def test_division_by_a_known_number(rng: Rng) -> None:
    for number in (1, 2, 3, 7, 255, 2**20 + 1, 2**31 - 1, *rng.integers(1, 2**31, 40).tolist()):
        _, magic, shift = by(number)
        for x in (0, 1, number - 1, number, 2**31 - 1, *rng.integers(0, 2**31, 20).tolist()):
            assert (((x * magic) >> 32) + x) >> shift == x // number


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("place", ["u8", "i32"])
def test_kernels_of_maxima(rng: Rng, name: str, place: str) -> None:
    for schedule in SCHEDULES:
        p, size = drawn(rng, True)
        whole, rows, w = {k: v for k, v in p.items() if k != "shape"}, 3, struct(p, size)
        x = array((rows, *size), DTYPES[name])
        x[...] = np.round(rng.standard_normal(x.shape), 1)
        x[rng.random(x.shape) < 0.05] = np.nan if rng.integers(2) else -np.inf
        y = array((rows, *p["shape"]), x.dtype)
        tap = array(y.shape, np.uint8 if place == "u8" else np.int32)
        n, grid = np.uint32(y.size), (int(rng.integers(1, 3)),)
        launch("pool", f"max_pool_{name}", grid, 256, x, y, n, w, schedules=[schedule])
        same(y, cpu.max_pool(x, **p))
        kind = f"{name}_{place}"
        launch("pool", f"max_taps_{kind}", grid, 256, x, y, tap, n, w, schedules=[schedule])
        there_is = ~np.isneginf(y.astype("f8"))  # a window without elements has any place
        want = cpu.max_taps(x, y, **whole)
        np.testing.assert_array_equal(tap[there_is], want[there_is])
        picked = array(y.shape, x.dtype)
        launch("pool", f"pool_pick_{kind}", grid, 256, x, tap, picked, n, w, schedules=[schedule])
        same(picked, cpu.pool_pick(x, tap, **p))
        ct, out = array(y.shape, x.dtype), array(x.shape, x.dtype)
        ct[...] = rng.standard_normal(ct.shape)
        args = (ct, tap, out, np.uint32(x.size), w)
        launch("pool", f"pool_spread_{kind}", grid, 256, *args, schedules=[schedule])
        exact, back = ct.astype("f8"), {**p, "shape": size}
        near(out, cpu.pool_spread(exact, tap, **back), name, 27,
             cpu.pool_spread(np.abs(exact), tap, **back))  # fmt: skip


@pytest.mark.parametrize("name", DTYPES)
def test_kernels_of_means(rng: Rng, name: str) -> None:
    for schedule in SCHEDULES:
        p, size = drawn(rng, False)
        rows, w, padded = 3, struct(p, size), bool(rng.integers(2))
        del p["dilation"]
        p |= {"padded": padded, "divisor": int(rng.integers(1, 5)) if rng.integers(2) else None}
        rest = (w, i32(padded), i32(p["divisor"] or 0))
        x = array((rows, *size), DTYPES[name], fill=1)
        x[...] = rng.standard_normal(x.shape)
        y, grid = array((rows, *p["shape"]), x.dtype), (int(rng.integers(1, 3)),)
        args = (x, y, np.uint32(y.size), *rest)
        launch("pool", f"avg_pool_{name}", grid, 256, *args, schedules=[schedule])
        exact, terms = x.astype("f8"), int(np.prod(p["kernel"]))
        near(y, cpu.avg_pool(exact, **p), name, 4 + terms, cpu.avg_pool(np.abs(exact), **p))
        back = {**p, "shape": size}
        out = array(x.shape, x.dtype)
        args = (y, out, np.uint32(x.size), *rest)
        launch("pool", f"avg_spread_{name}", grid, 256, *args, schedules=[schedule])
        exact = y.astype("f8")
        near(out, cpu.avg_spread(exact, **back), name, 4 + terms,
             cpu.avg_spread(np.abs(exact), **back))  # fmt: skip


@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layers_on_a_gpu(kind: str, rank: int, gpu: Any, rng: Rng) -> None:
    x = rng.standard_normal((2, 3, *(7, 6, 5)[:rank])).astype("f4")
    found: dict[str, Any] = {}
    before = dict(launches())
    for device in ("cuda:0", "cpu"):
        a = tg.tensor(x, device=device, requires_grad=True)
        y = getattr(F, f"{kind}_pool{rank}d")(a, 3, 2, 1, ceil_mode=True)
        y.backward(y.detach())
        found[device] = [here(y.detach()), here(a.grad)]
    for got, want in zip(found["cuda:0"], found["cpu"], strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)
    ran = {k for k, n in launches().items() if n > before.get(k, 0)}
    want = {"max": {"max_pool_f32", "max_taps_f32_u8", "pool_spread_f32_u8"},
            "avg": {"avg_pool_f32", "avg_spread_f32"}}[kind]  # fmt: skip
    assert want <= ran


def test_an_array_of_more_rows_than_one_launch_counts(
    gpu: Any, rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorgrad.backend.cuda import pool

    monkeypatch.setattr(pool, "LONGEST", 20)
    x = rng.standard_normal((7, 2, 4, 4))
    y, places = F.max_pool2d(there(x), 2, return_indices=True)
    want, where = F.max_pool2d(tg.tensor(x), 2, return_indices=True)
    np.testing.assert_array_equal(here(y), here(want))
    np.testing.assert_array_equal(here(places), here(where))
