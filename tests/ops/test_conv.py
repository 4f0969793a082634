"""Convolutions: PyTorch's numbers, every way to compute them, layouts, memory, errors."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.backend import (
    conv_gathered,
    conv_layout,
    conv_points,
    conv_products,
    conv_programs,
    memory,
    numpy_conv,
    threads,
)

F = tg.nn.functional
Rng = np.random.Generator
cpu_only = pytest.mark.cpu_only("the kernels of NumPy arrays")


def case(rng: Rng, rank: int | None = None) -> tuple[Any, Any, Any, dict[str, Any]]:
    """x, w, bias and the parameters of a drawn convolution."""
    rank = int(rng.integers(1, 4)) if rank is None else rank
    groups = int(rng.choice([1, 1, 2, 3]))
    inside, outside = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 10))
    kernel = rng.integers(1, 5, rank)
    stride, dilation = rng.integers(1, 4, (2, rank))
    pads = rng.integers(0, 4, rank)
    least = np.maximum(dilation * (kernel - 1) + 1 - 2 * pads, 1)
    size = least + rng.integers(0, 7, rank)
    if rng.random() < 0.15:
        kernel, stride, pads = kernel * 0 + 1, kernel * 0 + 1, kernel * 0
    x = rng.standard_normal((int(rng.integers(1, 6)), inside, *size))
    if rng.random() < 0.3:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    w = rng.standard_normal((outside, inside // groups, *kernel))
    params = {
        "stride": tuple(stride.tolist()),
        "padding": tuple([(p, p) for p in pads.tolist()]),
        "dilation": tuple(dilation.tolist()),
        "groups": groups,
    }
    return x, w, rng.standard_normal(outside), params


def all_three(x: Any, w: Any, bias: Any, ct: Any, params: dict[str, Any]) -> list[Any]:
    """The three kernels on one case; ct None: ones of the result's shape."""
    y = numpy_conv.conv(x, w, bias, **params)
    ct = np.ones_like(y) if ct is None else ct
    return [
        y,
        numpy_conv.conv_input(ct, w, shape=x.shape, **params),
        numpy_conv.conv_weight(x, ct, shape=w.shape, **params),
    ]


@pytest.fixture
def small_budget(rng: Rng, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work cut into bands of few rows and groups of few images."""
    for name, value in (("BUDGET", rng.choice([2**6, 2**9])), ("LEAST", rng.choice([1, 20]))):
        monkeypatch.setattr(conv_layout, name, int(value))
    monkeypatch.setattr(conv_programs, "ROOM", int(rng.choice([0, 50, conv_programs.ROOM])))
    monkeypatch.setattr(conv_points, "HELD", int(rng.choice([1, 50, conv_points.HELD])))
    caches = conv_layout.forwards, conv_layout.backwards
    for cache in caches:  # what else is held by a layout goes with it
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


# -- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_equals_pytorch(rank: int, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    for _ in range(5):
        x, w, bias, p = case(rng, rank)
        given = [torch.tensor(np.ascontiguousarray(a), requires_grad=True) for a in (x, w, bias)]
        pads = [low for low, _ in p["padding"]]
        options = {"stride": p["stride"], "dilation": p["dilation"], "groups": p["groups"]}
        want = getattr(torch.nn.functional, f"conv{rank}d")(*given, padding=pads, **options)
        ours = [tg.tensor(a, requires_grad=True) for a in (x, w, bias)]
        got = getattr(F, f"conv{rank}d")(*ours, padding=pads, **options)
        ct = rng.standard_normal(got.shape)
        got.backward(tg.tensor(ct))
        want.backward(torch.tensor(ct))
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-11)
        for a, b in zip(ours, given):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-11)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transpose_equals_pytorch(rank: int, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    for _ in range(5):
        groups = int(rng.choice([1, 2]))
        stride, dilation, kernel = rng.integers(1, 4, (3, rank))
        more = rng.integers(0, np.maximum(stride, dilation))
        pads = rng.integers(0, np.minimum(dilation * (kernel - 1), 3) + 1)
        size = rng.integers(2, 5, rank)
        left = (size - 1) * stride - 2 * pads + dilation * (kernel - 1) + more + 1
        pads[left < 1] = 0
        x = rng.standard_normal((2, 2 * groups, *size))
        w = rng.standard_normal((2 * groups, 3, *kernel))
        arrays = (x, w, rng.standard_normal(3 * groups))
        options = {"stride": stride, "padding": pads, "output_padding": more, "dilation": dilation}
        options = {name: tuple(value.tolist()) for name, value in options.items()}
        given = [torch.tensor(a, requires_grad=True) for a in arrays]
        name = f"conv_transpose{rank}d"
        want = getattr(torch.nn.functional, name)(*given, groups=groups, **options)
        ours = [tg.tensor(a, requires_grad=True) for a in arrays]
        got = getattr(F, name)(*ours, groups=groups, **options)
        ct = rng.standard_normal(got.shape)
        got.backward(tg.tensor(ct))
        want.backward(torch.tensor(ct))
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-11)
        for a, b in zip(ours, given):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-11)


def plain(x: Any, w: Any, bias: Any, p: dict[str, Any]) -> Any:
    """A convolution by its definition."""
    rank, groups = w.ndim - 2, p["groups"]
    padded = np.pad(x, ((0, 0), (0, 0), *p["padding"]))
    sizes = zip(padded.shape[2:], w.shape[2:], p["stride"], p["dilation"])
    count = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes]
    y = np.zeros((len(x), len(w), *count)) + bias.reshape(-1, *(1,) * rank)
    for k in np.ndindex(w.shape[2:]):
        at = [slice(i * d, i * d + (n - 1) * s + 1, s)
              for i, d, n, s in zip(k, p["dilation"], count, p["stride"])]  # fmt: skip
        for o in range(len(w)):
            first = o // (len(w) // groups) * w.shape[1]
            part = padded[(slice(None), slice(first, first + w.shape[1]), *at)]
            y[:, o] += np.einsum("nc...,c->n...", part, w[(o, slice(None), *k)])
    return y


@cpu_only
@pytest.mark.parametrize("way", ["stretches", "points", "over BLAS", "gathered"])
def test_bands_of_rows_and_groups_of_images(
    way: str, small_budget: None, rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv_gathered.Reading, "suits", lambda *sizes: way == "gathered")
    if way == "over BLAS":
        monkeypatch.setenv("TG_KERNELS", "0")
    monkeypatch.setattr(conv_points, "WORTH", 0.0 if way == "stretches" else np.inf)
    for _ in range(25):
        x, w, bias, p = case(rng)
        want = plain(x, w, bias, p)
        ct = rng.standard_normal(want.shape)
        y, dx, dw = all_three(x, w, bias, ct, p)
        np.testing.assert_allclose(y, want, atol=1e-11)
        scale = np.abs(ct).sum() * np.abs(w).max() * np.abs(x).max()
        whole = np.vdot(plain(x, w, 0 * bias, p), ct)  # both are adjoints of the same
        assert abs(np.vdot(dx, x) - whole) <= 1e-13 * scale
        assert abs(np.vdot(dw, w) - whole) <= 1e-13 * scale


def built(has: str, kind: np.dtype[Any]) -> Any:
    """The loops as they are for a processor with those registers."""
    conv = pytest.importorskip("tensorgrad.codegen.conv")
    pytest.importorskip("llvmlite")
    if has == "WIDE" and conv.registers() is not conv.WIDE:
        pytest.skip("LLVM splits vectors that the processor lacks, slowly")
    return conv.build(kind, getattr(conv, has))


@cpu_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has", ["WIDE", "NARROW", "ARM", "OLD"])
def test_every_tile_of_sums(has: str, dtype: str, rng: Rng) -> None:
    kind = np.dtype(dtype)
    loops = built(has, kind)
    for outputs in (1, 2, 3, 5, 8, 11, 24):
        layout = conv_layout.forwards(
            3, 2, outputs, 2, (5, 6), (3, 2), (2, 1), ((1, 1),) * 2, (1, 1)
        )
        planes = rng.standard_normal(layout.shape).astype(kind)
        w = rng.standard_normal((2, outputs, 2, 6)).astype(kind)
        bias, (one,), found = rng.standard_normal((2, outputs)).astype(kind), layout.sums, []
        work = layout.work(layout.counts(layout.items[0], one))
        ct = rng.standard_normal((2, outputs, layout.longest))
        for how in (conv_products.generated(loops, outputs), conv_products.Tiled(outputs)):
            made = np.zeros((2, how.rows, layout.longest), kind)
            how.taps(planes, one, how.weights(w, bias), made, work)
            rows = np.zeros((2, how.ct_rows, layout.longest), kind)
            d = how.sums(2, 12, kind)
            for n in range(work.stretches):
                part = slice(n * work.apart, n * work.apart + work.length)
                rows[:, :outputs, part] = ct[..., part]
            how.dots(planes, one, rows, d, work)
            used = made[:, :outputs, : work.length]
            found.append((used, d[:, :outputs, :12]))
        for a, b in zip(*found):
            np.testing.assert_allclose(a, b, atol=200 * np.finfo(kind).eps)


@cpu_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("has", ["WIDE", "NARROW", "ARM", "OLD"])
def test_every_tile_of_points(has: str, dtype: str, rng: Rng) -> None:
    kind = np.dtype(dtype)
    for loop in built(has, kind).points:
        count, terms, wide = 3 * loop.rows, 11, loop.columns
        x = rng.standard_normal(200).astype(kind)
        a, b = rng.integers(0, 100, count), rng.integers(0, 100, terms)
        w = rng.standard_normal((terms, wide + 1)).astype(kind)
        order = rng.permutation(terms)
        pairs = np.stack([b * kind.itemsize, order * w.strides[0]], 1)
        first = rng.standard_normal((count, wide)).astype(kind)
        want = first + x[np.add.outer(a, b)] @ w[order, :wide]
        for start, step in ((first[0].copy(), 0), (first, first.strides[0])):
            made = np.zeros((count + 1, wide + 2), kind)
            held = (x, a * kind.itemsize, pairs, w, made, start)
            loop.run(*[one.ctypes.data for one in held], 3, terms, made.strides[0], step)
            sums = want if step else want - first + first[0]
            np.testing.assert_allclose(made[:-1, :wide], sums, atol=200 * np.finfo(kind).eps)
            assert not made[-1].any()
            assert not made[:, wide:].any()


@cpu_only
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copies_of_programs(dtype: str, rng: Rng) -> None:
    conv = pytest.importorskip("tensorgrad.codegen.conv")
    pytest.importorskip("llvmlite")
    loops, kind = conv.loops(dtype), np.dtype(dtype)
    for _ in range(40):
        sizes = rng.integers(1, 6, 6)
        sizes[5] = rng.integers(1, 40)
        whole = [rng.standard_normal(2 * sizes + 1).astype(kind) for _ in range(2)]
        order = np.arange(6) if rng.random() < 0.5 else rng.permutation(6)
        steps = rng.choice([1, 1, 1, 2, -1], 6)
        cuts = tuple([slice(None, None, int(s)) for s in steps])
        source = whole[0][cuts].transpose(order)
        want = whole[1].copy()
        order = order if rng.random() < 0.5 else np.arange(6)
        target, place = whole[1].transpose(order), want.transpose(order)
        counts = tuple(np.minimum(source.shape, target.shape).tolist())
        part = tuple(map(slice, counts))
        program = conv_programs.Program(loops, kind.itemsize)
        program.copy((1, 0), (2, 0), counts, target.strides, source.strides)
        place[part] = source[part]
        program.run(target, source)
        np.testing.assert_array_equal(target, place)


@cpu_only
def test_a_gradient_is_written_where_it_belongs(rng: Rng) -> None:
    """Into the buffer of its input; not for one that is met twice, or of another dtype."""
    x = rng.standard_normal((2, 2, 3, 3))
    p = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    for pull in (numpy_conv.conv_pull, numpy_conv.conv_input_pull):
        params = {**p, "shape": x.shape} if pull is numpy_conv.conv_input_pull else p
        for dtypes in (("f8", "f8", "f8"), ("f8", "f4", "f8")):
            parents: list[Any] = [
                SimpleNamespace(shape=x.shape[:4], dtype=np.dtype(d)) for d in dtypes
            ]
            parents[2].shape = (2,)
            buffers = [np.zeros(one.shape, one.dtype) for one in parents]
            node = SimpleNamespace(params=params, parents=parents)
            found = dict(pull(x, (0, 1, 2), buffers.__getitem__, (x, x), node))
            for k, d in enumerate(dtypes):
                assert (found[k] is buffers[k]) == (d == "f8")
            node.parents = [parents[0], parents[0]]
            both = dict(pull(x, (0, 1), buffers.__getitem__, (x, x), node))
            for k in (0, 1):
                assert both[k] is not buffers[k]
                np.testing.assert_array_equal(both[k], found[k])


@cpu_only
def test_the_result_knows_no_threads(rng: Rng) -> None:
    x = rng.standard_normal((9, 8, 20, 20)).astype("f4")
    w = rng.standard_normal((12, 8, 3, 3)).astype("f4")
    p = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    kept, found = threads.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            found.append(all_three(x, w, None, None, p))
    finally:
        threads.set_num_threads(kept)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_stored_numbers() -> None:
    x = tg.tensor(np.sin(np.arange(32.0)).reshape(1, 2, 4, 4), requires_grad=True)
    w = tg.tensor(np.cos(np.arange(36.0)).reshape(2, 2, 3, 3), requires_grad=True)
    y = F.conv2d(x, w, tg.tensor([0.5, -0.5]), stride=2, padding=1)
    np.testing.assert_allclose(y.detach().numpy().ravel(), STORED["y"], rtol=2e-6)
    y.backward(tg.tensor(np.arange(8.0).reshape(1, 2, 2, 2)))
    np.testing.assert_allclose(x.grad.numpy().ravel()[:6], STORED["dx"], rtol=2e-6)
    np.testing.assert_allclose(w.grad.numpy().ravel()[:6], STORED["dw"], rtol=2e-6)
    z = F.conv_transpose2d(x[:, :, :2, :2].detach(), w.detach(), stride=2, output_padding=1)
    np.testing.assert_allclose(z.numpy().ravel()[::13], STORED["z"], rtol=2e-6)


STORED = {
    "y": [-1.189561, -3.980888, -2.184305, 1.350259, -4.91501, -2.153149, -5.182139, 4.374986],
    "dx": [-3.999843, -5.859971, -5.653448, -2.380503, 10.97764, 14.90716],
    "dw": [-2.876773, -2.351851, 0.05311125, 2.077826, 1.255951, -2.034614],
    "z": [-0.1901074, 0.2083605, 0.1348779, 0.2193925, 0.007154995, 0],
}
"""Of PyTorch 2."""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_every_rule_of_batching(groups: int, transposed: bool, rng: Rng) -> None:
    x, b = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal(6)
    w = rng.standard_normal((4, 6 // groups, 2, 2) if transposed else (6, 4 // groups, 2, 2))
    run = F.conv_transpose2d if transposed else F.conv2d

    def slopes(*given: Any) -> Any:
        return tg.grad(lambda *a: (run(*a, stride=2, padding=1, groups=groups) ** 2).sum(),
                       argnums=(0, 1, 2))(*given)  # fmt: skip

    for batched in itertools.product((0, None), repeat=3):
        if batched == (None, None, None):
            continue
        stacks = [np.stack([a, a[::-1] + 1]) if k == 0 else a for a, k in zip((x, w, b), batched)]
        got = tg.vmap(slopes, in_axes=batched)(*stacks)
        for i in range(2):
            want = slopes(*[a[i] if k == 0 else a for a, k in zip(stacks, batched)])
            for g, one in zip(got, want):
                np.testing.assert_allclose(here(g)[i], here(one), atol=1e-10)


# -- layouts and memory ------------------------------------------------------------------------


def channels_last(x: Any) -> bool:
    return bool(np.moveaxis(x, 1, -1).flags.c_contiguous)


@cpu_only
@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_last_stays_so(kernel: int, rng: Rng) -> None:
    x = np.moveaxis(rng.standard_normal((2, 6, 7, 4)), -1, 1)
    w = rng.standard_normal((5, 4, kernel, kernel))
    t = tg.Tensor(x, requires_grad=True)
    y = F.conv2d(t, w, padding=kernel // 2)
    assert channels_last(y.detach().numpy())
    np.testing.assert_allclose(
        y.detach().numpy(), F.conv2d(np.ascontiguousarray(x), w, padding=kernel // 2).numpy(),
        atol=1e-12,
    )  # fmt: skip
    y.backward(y.detach())
    p = {"stride": (1, 1), "padding": ((kernel // 2,) * 2,) * 2, "dilation": (1, 1), "groups": 1}
    dx = numpy_conv.conv_input(y.data, w, shape=x.shape, **p)
    assert channels_last(dx)
    np.testing.assert_array_equal(dx, t.grad.numpy())
    dense = F.conv2d(np.ascontiguousarray(x), w, padding=kernel // 2)
    assert dense.numpy().flags.c_contiguous


@cpu_only
@pytest.mark.parametrize("last", [False, True])
def test_extra_memory_is_at_most_half_again_the_input(last: bool, rng: Rng) -> None:
    x = rng.standard_normal((8, 32, 40, 40), dtype=np.float32)
    if last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    w = rng.standard_normal((32, 32, 3, 3), dtype=np.float32)
    p = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    ct = numpy_conv.conv(x, w, **p)
    calls = (
        (ct.nbytes, lambda: numpy_conv.conv(x, w, **p)),
        (x.nbytes, lambda: numpy_conv.conv_input(ct, w, shape=x.shape, **p)),
        (w.nbytes, lambda: numpy_conv.conv_weight(x, ct, shape=w.shape, **p)),
    )
    for result, call in calls:
        memory.trim()
        tracemalloc.start()
        try:
            call()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak - result <= 1.5 * x.nbytes


@cpu_only
def test_weights_that_outweigh_the_input_are_never_copied_whole(
    rng: Rng, monkeypatch: pytest.MonkeyPatch
) -> None:
    if conv_products.products(np.float32, 1).__class__ is conv_products.Tiled:
        pytest.skip("no generated loops")
    monkeypatch.setattr(conv_programs, "ROOM", 2**13)
    x = rng.standard_normal((16, 64, 4, 4), dtype=np.float32)
    w = rng.standard_normal((64, 64, 3, 3), dtype=np.float32)
    p = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    want = all_three(x.astype("f8"), w.astype("f8"), None, None, p)
    seen = []
    for k, result in enumerate((x.nbytes, x.nbytes, w.nbytes)):
        calls = (
            lambda: numpy_conv.conv(x, w, **p),
            lambda: numpy_conv.conv_input(np.ones_like(x), w, shape=x.shape, **p),
            lambda: numpy_conv.conv_weight(x, np.ones_like(x), shape=w.shape, **p),
        )
        got = calls[k]()  # plans are made
        np.testing.assert_allclose(got, want[k], atol=1e-3)
        memory.trim()
        tracemalloc.start()
        try:
            calls[k]()
            seen.append(tracemalloc.get_traced_memory()[1] - result)
        finally:
            tracemalloc.stop()
    planes = 4 * (2 * 64 * 1200)
    assert max(seen) <= planes + x.nbytes + w.nbytes // 2, seen


@cpu_only
def test_half_precision_is_summed_in_float32(rng: Rng) -> None:
    for dtype in ("float16", tg.bfloat16):
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, 64, 9, 9), (4, 64, 3, 3)))
        got = F.conv2d(x, w).numpy()
        assert got.dtype == np.dtype(dtype)
        want = F.conv2d(x.astype("f4"), w.astype("f4")).numpy()
        np.testing.assert_array_equal(got, want.astype(dtype))


def test_nothing_reaches_over_the_border(rng: Rng) -> None:
    """Rows and images share their zeros, so a NaN must stay where the kernel meets it."""
    x, w = rng.standard_normal((3, 1, 5, 5)), rng.standard_normal((1, 1, 3, 3))
    x[1, 0, 2, 4] = np.nan
    met = np.isnan(F.conv2d(x, w, padding=1).detach().numpy())[:, 0]
    want = np.zeros((3, 5, 5), bool)
    want[1, 1:4, 3:5] = True
    np.testing.assert_array_equal(met, want)


# -- errors ------------------------------------------------------------------------------------

X, W = np.ones((1, 3, 8, 8)), np.ones((4, 3, 3, 3))

BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: F.conv2d(np.ones((1, 8, 8, 3)), W),
        tg.ShapeError,
        "conv2d: got input=float64(1, 8, 8, 3), weight=float64(4, 3, 3, 3), groups=1, expected 3 "
        "channels (weight.shape[1] * groups) on axis 1 of input; try np.moveaxis(input, -1, 1) "
        "where channels are last",
    ),
    (
        lambda: F.conv2d(np.ones((8, 8)), W),
        tg.ShapeError,
        "conv2d: got input=float64(8, 8), expected axes CHW, or NCHW; try another convolution "
        "than 2d, or input.reshape",
    ),
    (
        lambda: F.conv2d(X, np.ones((4, 3, 3))),
        tg.ShapeError,
        "conv2d: got weight=float64(4, 3, 3), expected a weight of 4 axes; try weight[None]",
    ),
    (
        lambda: F.conv2d(np.ones((1, 3, 8, 8), int), W),
        tg.DTypeError,
        'conv2d: got input=int64(1, 3, 8, 8), expected floats; try input.astype("float32")',
    ),
    (
        lambda: F.conv2d(X, W, np.ones(3)),
        tg.ShapeError,
        "conv2d: got bias=float64(3,), expected a bias of shape (4,); try bias.reshape(-1)",
    ),
    (
        lambda: F.conv2d(X, W, stride=0),
        tg.ShapeError,
        "conv2d: got stride=0, expected a whole number from 1 up, or 2 of them; try stride=1",
    ),
    (
        lambda: F.conv2d(X, W, groups=3),
        tg.ShapeError,
        "conv2d: got weight=float64(4, 3, 3, 3), groups=3, expected groups that divide "
        "weight.shape[0]; try groups=1",
    ),
    (
        lambda: F.conv2d(X, np.ones((4, 3, 9, 9))),
        tg.ShapeError,
        "conv2d: got input=float64(1, 3, 8, 8), weight=float64(4, 3, 9, 9), padding=0, expected a "
        "kernel no longer than the padded input; try more padding",
    ),
    (
        lambda: F.conv2d(X, W, stride=2, padding="same"),
        ValueError,
        "conv2d: got padding='same', stride=(2, 2), expected a stride of 1 with padding=\"same\"; "
        "try padding=kernel // 2",
    ),
    (
        lambda: F.conv2d(X, W[..., 1:], padding="same"),
        ValueError,
        "conv2d: got padding='same', kernel=(3, 2), dilation=(1, 1), expected odd kernels with "
        'padding="same", which has two equal sides; try pad(input, (0, 1, 1, 1)) before, as '
        "PyTorch pads, and padding=0",
    ),
    (
        lambda: F.conv2d(X, W, padding="full"),
        ValueError,
        'conv2d: got padding=\'full\', expected numbers, "same" or "valid"; try padding=0',
    ),
    (
        lambda: F.conv_transpose2d(X, W),
        tg.ShapeError,
        "conv_transpose2d: got input=float64(1, 3, 8, 8), weight=float64(4, 3, 3, 3), expected 4 "
        "channels (weight.shape[0]) on axis 1 of input; try weight.swapaxes(0, 1) where the "
        "weight is conv's",
    ),
    (
        lambda: F.conv_transpose1d(np.ones((2, 5)), np.ones((2, 1, 3)), output_padding=1),
        ValueError,
        "conv_transpose1d: got output_padding=(1,), stride=(1,), dilation=(1,), expected "
        "output_padding smaller than stride or dilation; try output_padding=0",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
