"""Convolution on the CUDA backend: the kernels, and which path is taken, against the CPU's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import fakecudnn
import numpy as np
import place
import pytest
from kernel_tools import DTYPES, SCHEDULES, array, i32, i64, launch, near
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad.backend import numpy_conv as cpu
from tensorgrad.backend.conv_layout import extent
from tensorgrad.backend.cuda.windows import geometry
from tensorgrad.nn import functional as F  # noqa: N812

Rng = np.random.Generator


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


class Drawn:
    """A convolution of one to three axes: odd sizes, groups, borders that differ."""

    def __init__(self, rng: Rng, rank: int, few: bool) -> None:
        most = 5 if few else 70
        self.groups = int(rng.integers(1, 4)) if few else 1
        self.outputs, self.channels = (int(n) for n in rng.integers(1, (most, 6)))
        size, kernel, stride, dilation = (
            tuple(int(n) for n in rng.integers(low, high, rank))
            for low, high in ((3, 10), (1, 4), (1, 4), (1, 3))
        )
        if not few and rng.integers(2):
            self.channels, self.outputs = self.outputs, self.channels
        pads = rng.integers(0, 3, (rank, 2))
        padding = tuple((int(a) + d * k // 2, int(b) + d * k // 2)
                        for (a, b), d, k in zip(pads, dilation, kernel))  # fmt: skip
        self.p: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation,
                                  "groups": self.groups}  # fmt: skip
        count = tuple(map(extent, size, kernel, stride, padding, dilation))
        self.images = int(rng.integers(1, 4))
        self.x = (self.images, self.groups * self.channels, *size)
        self.w = (self.groups * self.outputs, self.channels, *kernel)
        self.y = (self.images, self.groups * self.outputs, *count)
        low = tuple(one[0] for one in padding)
        self.struct = geometry(size, count, kernel, stride, low, dilation).copy()

    def numbers(self, slabs: int = 1, slab: int = 2**31 - 1) -> tuple[Any, ...]:
        found = (self.images, self.groups, self.outputs, self.channels, slabs, slab)
        return (self.struct, *map(i32, found))

    def grid(self, rows: int, columns: int, tile: tuple[int, int], deep: int) -> tuple[int, ...]:
        return (-(-columns // tile[1]), -(-rows // tile[0]), deep)


TILES = {"": (128, 64), "middle_": (64, 128), "narrow_": (16, 128)}
EVERY = [(kind, name) for kind in TILES for name in DTYPES if (kind, name) != ("middle_", "f64")]


def tile(name: str, kind: str) -> tuple[int, int]:
    """Rows and columns of a kernel's tiles."""
    return (64, 64) if (kind, name) == ("", "f64") else TILES[kind]


def numbers(rng: Rng, shape: Any, name: str) -> Any:
    found = array(shape, DTYPES[name], int(rng.integers(2)))
    found[...] = rng.standard_normal(shape)
    return found


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_kernels_over_places(rng: Rng, kind: str, name: str, rank: int) -> None:
    """A convolution and its transpose."""
    c = Drawn(rng, rank, kind == "narrow_")
    x, w, ct = (numbers(rng, s, name) for s in (c.x, c.w, c.y))
    bias, back = numbers(rng, c.w[:1], name), numbers(rng, c.x[1:2], name)
    X, W, CT, B, BACK = (a.astype("f8") for a in (x, w, ct, bias, back))
    deep = int(rng.integers(1, c.groups + 1))
    schedules = list(rng.permutation(SCHEDULES))
    taps = math.prod(c.w[2:])

    y = array(c.y, x.dtype)
    grid = c.grid(c.outputs, c.images * math.prod(c.y[2:]), tile(name, kind), deep)
    args = (w, x, y, bias, None, *c.numbers())
    launch("conv", f"conv_{kind}{name}", grid, 256, *args, schedules=schedules[:1])
    scale = cpu.conv(np.abs(X), np.abs(W), np.abs(B), **c.p)
    near(y, cpu.conv(X, W, B, **c.p), name, 8 + c.channels * taps, scale)

    found = array(c.x, x.dtype)
    grid = c.grid(c.channels, c.images * math.prod(c.x[2:]), tile(name, kind), deep)
    args = (w, ct, found, back, None, *c.numbers())
    launch("conv", f"conv_input_{kind}{name}", grid, 256, *args, schedules=schedules[1:2])
    scale = cpu.conv_input(np.abs(CT), np.abs(W), np.abs(BACK), shape=c.x, **c.p)
    want = cpu.conv_input(CT, W, BACK, shape=c.x, **c.p)
    near(found, want, name, 8 + c.outputs * taps, scale)


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_kernels_of_weight_gradients(rng: Rng, kind: str, name: str, rank: int) -> None:
    """By one block a tile, and by several that share its sums."""
    c = Drawn(rng, rank, kind == "narrow_")
    x, ct = (numbers(rng, s, name) for s in (c.x, c.y))
    X, CT = (a.astype("f8") for a in (x, ct))
    want = cpu.conv_weight(X, CT, shape=c.w, **c.p)
    scale = cpu.conv_weight(np.abs(X), np.abs(CT), shape=c.w, **c.p)
    terms, schedules = c.images * math.prod(c.y[2:]), [str(rng.choice(SCHEDULES))]
    for slabs in (1, int(rng.integers(2, 5))):
        slab = -(-terms // (8 * slabs)) * 8
        slabs = -(-terms // slab)
        found = array(c.w, x.dtype)
        partial = array((slabs, *c.w), "f8" if name == "f64" else "f4") if slabs > 1 else None
        deep = int(rng.integers(1, c.groups * slabs + 1))
        grid = c.grid(c.outputs, c.channels * math.prod(c.w[2:]), tile(name, kind), deep)
        args = (ct, x, found, None, partial, *c.numbers(slabs, slab))
        launch("conv", f"conv_weight_{kind}{name}", grid, 256, *args, schedules=schedules)
        if partial is not None:
            args = (partial, found, i64(found.size), i32(slabs))
            launch("conv", f"conv_fold_{name}", (2,), 256, *args, schedules=schedules)
        near(found, want, name, 8 + terms, scale)


def test_every_schedule_leaves_the_same_bits(rng: Rng) -> None:
    c = Drawn(rng, 2, True)
    x, w = (numbers(rng, s, "f32") for s in (c.x, c.w))
    y = array(c.y, x.dtype)
    grid = c.grid(c.outputs, c.images * math.prod(c.y[2:]), (16, 128), 1)
    launch("conv", "conv_narrow_f32", grid, 256, w, x, y, None, None, *c.numbers())


# -- through the layers ------------------------------------------------------------------------


def both(rng: Rng, rank: int, dtype: str, **options: Any) -> tuple[dict[str, Any], set[str]]:
    """Result and gradients of a convolution on either device, and the kernels that ran."""
    kernel = options.pop("kernel", 3)
    outputs, groups = options.pop("outputs", 4), options.get("groups", 1)
    x = rng.standard_normal((2, 4, *(7, 6, 5)[:rank])).astype(tg.dtypes.dtype(dtype))
    w = rng.standard_normal((outputs, 4 // groups, *(kernel,) * rank)).astype(x.dtype)
    b = rng.standard_normal(outputs).astype(x.dtype)
    before, found = dict(launches()), {}
    for device in ("cuda:0", "cpu"):
        wide = (lambda a: a) if device != "cpu" else (lambda a: a.astype("f8"))
        given = [tg.tensor(wide(a), device=device, requires_grad=True) for a in (x, w, b)]
        y = getattr(F, f"conv{rank}d")(*given, **options)
        y.backward(y.detach())
        found[device] = [here(y.detach()), *[here(a.grad) for a in given]]
    return found, {k for k, n in launches().items() if n > before.get(k, 0)}


def agree(found: dict[str, Any], eps: float) -> None:
    for got, want in zip(found["cuda:0"], found["cpu"], strict=True):
        scale = np.abs(want).max() + 1
        np.testing.assert_allclose(got.astype("f8"), want, rtol=0, atol=16 * eps * scale)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_convolution_by_the_kernels(rank: int, gpu: Any, rng: Rng) -> None:
    found, ran = both(rng, rank, "float32", stride=2, padding=1, groups=2)
    agree(found, 2.0**-22)
    assert {"conv_narrow_f32", "conv_input_narrow_f32"} <= ran
    assert any(name.startswith("conv_weight_") for name in ran)


@pytest.mark.parametrize(("dtype", "eps"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_16_bits(dtype: str, eps: float, gpu: Any, rng: Rng) -> None:
    found, _ = both(rng, 2, dtype, padding=1)
    agree(found, eps)


def test_many_outputs_by_the_wide_tile(gpu: Any, rng: Rng) -> None:
    found, ran = both(rng, 2, "float64", outputs=40, dilation=2)
    agree(found, 2.0**-50)
    assert {"conv_f64", "conv_input_narrow_f64", "conv_weight_f64"} <= ran
    found, ran = both(rng, 1, "float32", outputs=40)
    agree(found, 2.0**-22)
    assert {"conv_middle_f32", "conv_input_narrow_f32"} <= ran
    _, ran = both(rng, 1, "float32", outputs=100)
    assert "conv_f32" in ran


@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_of_one_element_are_matrix_products(groups: int, gpu: Any, rng: Rng) -> None:
    found, ran = both(rng, 2, "float32", kernel=1, groups=groups)
    agree(found, 2.0**-22)
    assert "matmul" in ran
    assert not [name for name in ran if name.startswith("conv")]


def test_images_of_more_places_than_one_launch_counts(
    gpu: Any, rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorgrad.backend.cuda import conv

    monkeypatch.setattr(conv, "LONGEST", 50)
    monkeypatch.setattr(conv, "LEAST", 8)
    found, ran = both(rng, 2, "float64", padding=1)
    agree(found, 2.0**-50)
    assert "conv_fold_f64" in ran


@pytest.mark.skipif(place.chosen == "cuda", reason="needs the stand-in for cuDNN")
def test_cudnn_where_it_is_installed(rng: Rng) -> None:
    with gpus(), fakecudnn.install():
        found, ran = both(rng, 2, "float32", stride=2, padding=1)
        agree(found, 2.0**-20)
        assert not [name for name in ran if name.startswith("conv_")]


def test_shapes_that_do_not_fit(gpu: Any) -> None:
    x, w = there(np.ones((1, 4, 5))), there(np.ones((2, 3, 3)))
    with pytest.raises(tg.ShapeError, match="3 channels"):
        F.conv1d(x, w)
