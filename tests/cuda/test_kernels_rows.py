"""Kernels that work on rows, on the CPU: softmax cross-entropy, layer norm, RMS norm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_tools import COMPUTE, DTYPES, array, i32, i64, kept_bytes, launch, module, near

from tensorgrad.backend import numpy_losses

SHAPES = [(1, 1), (2, 7), (5, 33), (3, 500), (9, 129), (2, 4100)]
VOCABULARY = (2, 131_075)
SHARED = 226 * 1024  # bytes of a block at most, without what the kernel itself has
WARP = 1024  # columns up to which a warp takes a row


def rows(
    rng: np.random.Generator, shape: tuple[int, int], name: str, ld: int, shift: int = 0
) -> Any:
    """Random rows with a leading dimension: NaN in between."""
    found = array((shape[0], ld), DTYPES[name], shift)
    found[:, : shape[1]] = rng.standard_normal(shape) * 3
    return found


def xent(x: Any, label: Any, ignore: int, scale: float, smoothing: float) -> tuple[Any, ...]:
    """Loss of each row, gradient, Σ and max, in float64."""
    x, n = x.astype(np.float64), x.shape[1]
    m = x.max(1, keepdims=True)
    total = np.exp(x - m).sum(1, keepdims=True)
    skip = label == ignore
    target = np.full(x.shape, smoothing / n)
    target[np.arange(len(x)), np.where(skip, 0, label)] += 1 - smoothing
    loss = np.log(total[:, 0]) - (target * (x - m)).sum(1)
    gradient = (np.exp(x - m) / total - target) * scale
    loss[skip], gradient[skip] = 0, 0
    return loss, gradient, np.where(skip, 1, total[:, 0]), np.where(skip, 0, m[:, 0])


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, VOCABULARY])
def test_softmax_xent(rng: np.random.Generator, name: str, shape: tuple[int, int]) -> None:
    n, columns = shape
    kind = str(rng.choice(["warp_", ""] if columns <= WARP else ["", "wide_"]))
    kind = "" if (kind, name) == ("wide_", "f64") else kind
    ld, ld_d = columns + int(rng.integers(9)), columns + int(rng.integers(9))
    x = rows(rng, shape, name, ld, int(rng.integers(3)))
    label = rng.integers(0, columns, n)
    label[rng.random(n) < 0.2] = -100
    smoothing = float(rng.choice([0.0, 0.1]))
    c = COMPUTE[name]
    d = x if rng.integers(2) else array((n, ld_d), DTYPES[name])
    ld_d = ld if d is x else ld_d
    given = x[:, :columns].copy()
    loss, total, shift = (array(n, c) for _ in range(3))
    flag, scale = np.zeros(1, i32), np.array([0.37], c)
    per = 16 // DTYPES[name].itemsize
    most = min(-(-columns // per), SHARED // 16) * per
    keep = int(rng.choice([0, most, rng.integers(most // per + 1) * per])) if kind != "warp_" else 0
    block, blocks = {"warp_": (128, -(-n // 4)), "": (512, n), "wide_": (1024, n)}[kind]
    args = (x, label, loss, d, total, shift, scale, flag, i64(n), i32(columns), i64(ld))
    args += (i64(ld_d), np.array([-100]), c(smoothing), i32(keep))
    shared = keep * DTYPES[name].itemsize
    launch("softmax_xent", f"softmax_xent_{kind}{name}", (blocks,), block, *args, shared=shared)
    want = xent(given, label, -100, 0.37, smoothing)
    size = 8 + np.abs(given.astype(np.float64)).max()
    near(loss, want[0], "f64" if name == "f64" else "f32", 8, size)
    near(total, want[2], "f64" if name == "f64" else "f32", 4 * size)
    assert np.array_equal(shift, want[3].astype(c))
    assert flag[0] == 0
    near(d[:, :columns], want[1], name, 8 * size, 0.37)
    _pull(name, given, label, (total, shift, scale), want[1], smoothing, 8 * size)


@pytest.mark.parametrize("name", DTYPES)
def test_softmax_xent_of_few_rows_is_that_of_many(rng: np.random.Generator, name: str) -> None:
    """One launch for three, bit for bit."""
    n, columns = int(rng.integers(1, 70)), int(rng.integers(1, 1025))
    x, c = rows(rng, (n, columns), name, columns), COMPUTE[name]
    label, ignore = rng.integers(0, columns, n), np.array([-100])
    label[rng.random(n) < 0.2] = -100
    label[n // 2] = rng.choice([3 % columns, columns])
    outs = [(array(n, c), array(x.shape, DTYPES[name]), array(n, c), array(n, c)) for _ in "ab"]
    counts, means = [array(1, c) for _ in "ab"], [array(1, DTYPES[name]) for _ in "ab"]
    flags, scale = np.zeros((2, 1), i32), array(1, c)
    sizes = (i64(n), i32(columns), i64(columns), i64(columns), ignore, c(0.1))
    args = (*outs[0], counts[0], means[0], flags[0], *sizes)
    launch("softmax_xent", f"softmax_xent_small_{name}", (1,), 512, x, label, *args)
    args = (label, None, counts[1], scale, i64(n), ignore)
    wide = "f64" if name == "f64" else "f32"
    launch("softmax_xent", f"softmax_xent_scale_{wide}", (1,), 1024, *args)
    args = (x, label, *outs[1], scale, flags[1], *sizes, i32(0))
    launch("softmax_xent", f"softmax_xent_warp_{name}", (-(-n // 4),), 128, *args)
    args = (outs[1][0], counts[1], means[1], i64(n))
    launch("softmax_xent", f"softmax_xent_mean_{name}", (1,), 1024, *args)
    pairs = [*zip(*outs), counts, means, flags]
    assert all(few.tobytes() == many.tobytes() for few, many in pairs)


def _pull(
    name: str, x: Any, label: Any, kept: Any, want: Any, smoothing: float, ulps: float
) -> None:
    d, (n, columns) = array(x.shape, DTYPES[name]), x.shape
    args = (x, label, *kept, d, i32(columns), i64(columns), i64(columns), np.array([-100]))
    c = COMPUTE[name](smoothing)
    launch("softmax_xent", f"softmax_xent_pull_{name}", (n,), 512, *args, c)
    near(d, want, name, ulps, 0.37)


@pytest.mark.parametrize("kind", ["", "warp_"])
def test_softmax_xent_corners(kind: str) -> None:
    """Bad labels are flagged and not read; infinite and NaN logits; absent outputs."""
    inf, nan = np.inf, np.nan
    x = np.array([[0, 1], [2, 2], [-inf, 0], [-inf, -inf], [inf, 0], [nan, 0]], np.float32)
    label = np.array([0, 2, 1, 0, 1, 1])
    loss, d, flag = array(6, np.float32), array((6, 2), np.float32), np.zeros(1, i32)
    scale = np.ones(1, np.float32)
    tail = (scale, flag, i64(6), i32(2), i64(2), i64(2), np.array([-1]), np.float32(0), i32(0))
    grid, block = ((2,), 128) if kind else ((6,), 512)
    name = f"softmax_xent_{kind}f32"
    launch("softmax_xent", name, grid, block, x, label, loss, d, None, None, *tail)
    assert flag[0] == np.iinfo(i32).max - 1
    assert np.isnan(loss).tolist() == [False, True, False, True, True, True]
    assert loss[2] == 0
    assert d[1].tolist() == [0, 0]
    assert d[2].tolist() == [0, 0]
    before = loss.copy()
    launch("softmax_xent", name, grid, block, x, label, loss, None, None, None, *tail)
    assert np.array_equal(loss, before, equal_nan=True)


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_softmax_xent_mean(rng: np.random.Generator, name: str) -> None:
    c, n = COMPUTE[name], int(rng.integers(1, 3000))
    label = rng.integers(0, 3, n)
    loss, ct = rng.random(n).astype(c), np.array([1.5], c)
    count, scale, mean = array(1, c), array(1, c), array(1, c)
    args = (label, ct, count, scale, i64(n), np.array([2]))
    launch("softmax_xent", f"softmax_xent_scale_{name}", (1,), 1024, *args)
    assert count[0] == (label != 2).sum()
    assert not count[0] or scale[0] == c(1.5) / count[0]
    launch("softmax_xent", f"softmax_xent_mean_{name}", (1,), 1024, loss, count, mean, i64(n))
    near(mean, [loss.astype(np.float64).sum() / count[0]] if count[0] else [np.nan], name, 16)


def test_rows_beyond_2_to_the_31_elements(rng: np.random.Generator) -> None:
    """The row numbered 2^20 of rows 2^12 + 8 apart, by address arithmetic alone."""
    row, ld, c = 2**20, 2**12 + 8, np.float32
    x, d, loss = rng.standard_normal(40).astype(c), array(40, c), array(1, c)
    label, scale, flag = np.array([3]), np.ones(1, c), np.zeros(1, i32)
    total = array(1, c)

    def far(a: Any, step: int) -> int:
        return int(a.ctypes.data) - row * step * a.itemsize

    args = (far(x, ld), far(label, 1), far(loss, 1), far(d, ld), far(total, 1), None, scale, flag)
    args += (i64(row + 1), i32(40), i64(ld), i64(ld), np.array([-1]), c(0), i32(0))
    kernel = module("softmax_xent").get_function("softmax_xent_f32")
    kernel((row + 1,), (512,), args, blocks=[row])
    want = xent(x[None], label, -1, 1.0, 0.0)
    near(loss, want[0], "f32", 8, 8)
    near(d, want[1][0], "f32", 64, 1)
    y, rstd = array(40, c), array(1, c)
    args = (far(x, ld), None, None, far(y, ld), None, far(rstd, 1), i64(row + 1), i32(40))
    kernel = module("norm").get_function("layer_norm_f32")
    kernel((row + 1,), (256,), (*args, i64(ld), i64(ld), c(0), i32(0)), blocks=[row])
    near(y, (x - x.mean(dtype=np.float64)) / x.astype(np.float64).std(), "f32", 32, 3)


def normed(
    x: Any, w: Any, b: Any, eps: float, rms: bool, dy: Any = None
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """y, mean, rstd; dx, dw, db for a cotangent; float64."""
    x = x.astype(np.float64)
    mean = np.zeros((len(x), 1)) if rms else x.mean(1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + eps)
    h = (x - mean) * rstd
    weight = np.ones(x.shape[1]) if w is None else w.astype(np.float64)
    y = h * weight + (0 if b is None else b.astype(np.float64))
    if dy is None:
        return y, mean[:, 0], rstd[:, 0], None, None, None
    dy = dy.astype(np.float64)
    g = dy * weight
    dx = g - h * (g * h).mean(1, keepdims=True)
    dx = (dx if rms else dx - g.mean(1, keepdims=True)) * rstd
    return y, mean[:, 0], rstd[:, 0], dx, (dy * h).sum(0), dy.sum(0)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norm(rng: np.random.Generator, name: str, shape: tuple[int, int], kind: str) -> None:
    n, columns = shape
    c, rms = COMPUTE[name], kind == "rms"
    warp = columns <= WARP and bool(rng.integers(2))
    keep = bool(rng.integers(2))
    ld = columns + int(rng.integers(9))
    x = rows(rng, shape, name, ld, int(rng.integers(3)))
    w, b = (rng.standard_normal(columns).astype(DTYPES[name]) for _ in range(2))
    w, b = (None if rng.random() < 0.2 else w), (None if rms or rng.random() < 0.2 else b)
    y, mean, rstd = array((n, ld), DTYPES[name]), array(n, c), array(n, c)
    args = (x, w, b, y, None if rms else mean, rstd, i64(n), i32(columns), i64(ld), i64(ld))
    team, block, blocks = ("warp_", 128, -(-n // 4)) if warp else ("", 256, n)
    shared = kept_bytes(columns, name) * (4 if warp else 1) * keep
    call = f"{kind}_norm_{team}{name}"
    launch("norm", call, (blocks,), block, *args, c(1e-3), i32(keep), shared=shared)
    want = normed(x[:, :columns], w, b, 1e-3, rms)
    exact = "f64" if name == "f64" else "f32"
    near(rstd, want[2], exact, 16)
    if not rms:
        near(mean, want[1], exact, 16, 3)
    near(y[:, :columns], want[0], name, 16, 4 + np.abs(want[0]))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (70, 40)])
@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_norm_backward(
    rng: np.random.Generator, name: str, shape: tuple[int, int], kind: str
) -> None:
    n, columns = shape
    c, rms = COMPUTE[name], kind == "rms"
    warp = columns <= 500 and bool(rng.integers(2))
    ld = columns + int(rng.integers(9))
    x, dy = rows(rng, shape, name, ld), rows(rng, shape, name, ld, int(rng.integers(3)))
    w = None if rng.random() < 0.2 else rng.standard_normal(columns).astype(DTYPES[name])
    _, mean, rstd, *want = normed(x[:, :columns], w, None, 1e-3, rms, dy[:, :columns])
    slabs = int(rng.integers(1, 4))
    keep = warp or bool(rng.integers(2))
    partial = array((slabs, 2, columns), c) if rng.random() < 0.9 else None
    dx = dy if rng.integers(2) else array((n, ld), DTYPES[name])
    args = (dy, x, w, None if rms else mean.astype(c), rstd.astype(c), dx, partial, i64(n))
    args += (i32(columns), i64(ld), i64(ld), i64(ld), i32(keep))
    shared = 2 * columns * np.dtype(c).itemsize * (4 if warp else 1) * keep
    call = f"{kind}_norm_bwd_{'warp_' if warp else ''}{name}"
    launch("norm", call, (slabs,), 128 if warp else 256, *args, shared=shared)
    size = 40 * (1 + np.abs(rstd).max())
    near(dx[:, :columns], want[0], name, 16, size)
    if partial is not None:
        dw, db = array(columns, DTYPES[name]), array(columns, DTYPES[name])
        args = (partial, dw, db, i32(slabs), i32(columns))
        launch("norm", f"norm_fold_{name}", (-(-columns // 32),), 256, *args)
        near(dw, want[1], name, 16, size * n)
        near(db, want[2], name, 16, 10 * n)


def test_softmax_xent_is_the_numpy_backends(rng: np.random.Generator) -> None:
    """The mean over rows and the cotangent of the logits that training asks for, in float32."""
    n, columns, c = 37, 211, np.float32
    x, label = rng.standard_normal((n, columns)).astype(c), rng.integers(0, columns, n)
    label[::5] = -100
    ignore, ct = np.array(-100), np.array(1.5, c)
    mean, *kept = numpy_losses.softmax_xent(x, label, ignore, axis=1)
    want = numpy_losses.softmax_xent_pull(ct, (x, label, ignore, *kept), 1)
    count, scale, loss, found = array(1, c), array(1, c), array(n, c), array(1, c)
    d, flag = array(x.shape, c), np.zeros(1, i32)
    args = (label, ct.reshape(1), count, scale, i64(n), ignore.reshape(1))
    launch("softmax_xent", "softmax_xent_scale_f32", (1,), 1024, *args)
    args = (x, label, loss, d, None, None, scale, flag, i64(n), i32(columns), i64(columns))
    args += (i64(columns), ignore.reshape(1), c(0), i32(0))
    launch("softmax_xent", "softmax_xent_f32", (n,), 512, *args)
    launch("softmax_xent", "softmax_xent_mean_f32", (1,), 1024, loss, count, found, i64(n))
    near(found, [mean], "f32", 16)
    near(d, want, "f32", 64, 1.5 / count[0])
