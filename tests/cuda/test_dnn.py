"""Attention and convolution by cuDNN, on stand-ins for CuPy and for the cuDNN frontend."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import product
from typing import Any

import fakecudnn
import fakecupy
import ml_dtypes
import numpy as np
import pytest
from ops_tools import here, launches

import tensorgrad as tg
from tensorgrad._errors import DeviceError, DTypeError, ShapeError

Array = Any
Rng = np.random.Generator

DTYPES = {"float16": np.dtype("f2"), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-22}


@pytest.fixture
def log() -> Iterator[Any]:
    with fakecupy.install(devices=2), fakecudnn.install() as found:
        yield found


def given(rng: Rng, *shape: int, dtype: str = "float16") -> tuple[Array, Array]:
    """An array of the device, and its values in float64."""
    import cupy

    host = rng.standard_normal(shape).astype(DTYPES.get(dtype, np.dtype("f4")))
    return cupy.asarray(host), host.astype("f8")


def host(x: Array) -> Array:
    return x.get().astype("f8")


def close(found: Array, want: Array, dtype: str, factor: float = 2) -> None:
    """Equal up to roundings of the dtype at the size of the largest element."""
    assert str(found.dtype) == dtype
    scale = float(np.abs(want).max())
    np.testing.assert_allclose(host(found), want, rtol=0, atol=factor * EPS[dtype] * scale)


def attention(q: Array, k: Array, v: Array, scale: float, causal: bool) -> tuple[Any, Any]:
    """(result, statistics) by operations on tensors of the host."""
    groups = q.shape[1] // k.shape[1]
    k, v = tg.repeat(k, groups, axis=1), tg.repeat(v, groups, axis=1)
    s = scale * (q @ tg.swapaxes(k, 2, 3))
    if causal:
        s = tg.where(np.tri(*s.shape[2:], dtype=bool), s, -np.inf)
    return tg.softmax(s, axis=-1) @ v, tg.logsumexp(s, axis=-1)


# (batch, heads, key heads, queries, keys, head size)
SHAPES = [(2, 4, 4, 6, 6, 64), (1, 6, 2, 5, 7, 128), (2, 3, 1, 1, 4, 8), (1, 1, 1, 9, 3, 64)]


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_and_its_gradients(log: Any, rng: Rng, shape: Any) -> None:
    from tensorgrad.backend.cuda import dnn

    batch, heads, key_heads, queries, keys, size = shape
    for dtype, causal, scale in product(DTYPES, (False, True), (None, 0.3)):
        q, Q = given(rng, batch, heads, queries, size, dtype=dtype)
        k, K = given(rng, batch, key_heads, keys, size, dtype=dtype)
        v, V = given(rng, batch, key_heads, keys, size, dtype=dtype)
        grad, G = given(rng, batch, heads, queries, size, dtype=dtype)
        out, stats = dnn.sdpa(q, k, v, scale=scale, causal=causal)
        leaves = [tg.tensor(x, requires_grad=True) for x in (Q, K, V)]
        factor = size**-0.5 if scale is None else scale
        want, want_stats = attention(*leaves, factor, causal)  # type: ignore[call-arg]
        close(out, here(want), dtype)
        close(stats, here(want_stats), "float32")
        assert out.transpose(0, 2, 1, 3).flags.c_contiguous
        (want * G).sum().backward()
        found = dnn.sdpa_backward(grad, q, k, v, out, stats, scale=scale, causal=causal)
        for x, leaf in zip(found, leaves):
            close(x, here(leaf.grad), dtype, 8)
    assert set(log.runs) == {"sdpa", "sdpa_backward"}


def packed(rng: Rng, batch: int, length: int, heads: int, size: int) -> tuple[Array, list[Array]]:
    """(batch, length, 3, heads, size) as one product gives it, and the views q, k and v."""
    whole, _ = given(rng, batch, length, 3, heads, size)
    return whole, [whole[:, :, part].transpose(0, 2, 1, 3) for part in range(3)]


def test_packed_operands_are_read_and_written_in_place(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn

    whole, (q, k, v) = packed(rng, 2, 5, 3, 64)
    before = host(whole)
    target, _ = given(rng, 2, 3, 5, 64)
    _, parts = packed(rng, 2, 5, 3, 64)
    counts = launches()
    counts.clear()
    out, stats = dnn.sdpa(q, k, v, causal=True, out=target)
    assert out is target
    found = dnn.sdpa_backward(target, q, k, v, out, stats, causal=True, outs=parts)
    assert all(x is part for x, part in zip(found, parts))
    assert dict(counts) == {"cudnn_sdpa": 1, "cudnn_sdpa_backward": 1}
    first, second = log.addresses  # nothing was copied
    assert first == [x.data.ptr for x in (q, k, v, target, stats)]
    assert second == [x.data.ptr for x in (target, q, k, v, target, stats, *parts)]
    np.testing.assert_array_equal(host(whole), before)
    apart = [x.copy() for x in (q, k, v)]
    want, _ = dnn.sdpa(*apart, causal=True)
    np.testing.assert_array_equal(host(out), host(want))
    for x, y in zip(found, dnn.sdpa_backward(target, *apart, out, stats, causal=True)):
        np.testing.assert_array_equal(host(x), host(y))
        assert np.isfinite(host(x)).all()


def test_what_cannot_be_read_or_written_in_place_is_copied(log: Any, rng: Rng) -> None:
    import cupy

    from tensorgrad.backend.cuda import dnn

    q, k, v = (given(rng, 1, 2, 4, 8)[0] for _ in range(3))
    want, stats = dnn.sdpa(q, k, v)
    turned = cupy.ascontiguousarray(q.swapaxes(2, 3)).swapaxes(2, 3)  # no dense last axis
    shifted = cupy.empty(k.size + 1, "f2")[1:].reshape(k.shape)  # 2 bytes off
    shifted[...] = k
    odd = cupy.empty((1, 2, 4, 9), "f2")[..., :8]  # rows of 18 bytes
    odd[...] = v
    found, again = dnn.sdpa(turned, shifted, odd)
    np.testing.assert_array_equal(host(found), host(want))
    np.testing.assert_array_equal(host(again), host(stats))
    for target in (turned, shifted, odd):
        source = given(rng, *q.shape)[0]
        value = dnn.sdpa(source, k, v)[0]
        assert dnn.sdpa(source, k, v, out=target)[0] is target
        np.testing.assert_array_equal(host(target), host(value))
    value = dnn.sdpa(q, k, v)[0]
    assert dnn.sdpa(q, k, v, out=q)[0] is q
    *inputs, result, _ = log.addresses[-1]
    assert q.data.ptr in inputs
    assert result != q.data.ptr  # cuDNN may not write to what it reads
    np.testing.assert_array_equal(host(q), host(value))
    out, stats = dnn.sdpa(q, k, v)
    ones = cupy.broadcast_to(cupy.ones((1, 1, 1, 8), "f2"), q.shape)
    found_ones = dnn.sdpa_backward(ones, q, k, v, out, stats)
    for x, y in zip(found_ones, dnn.sdpa_backward(ones.copy(), q, k, v, out, stats)):
        np.testing.assert_array_equal(host(x), host(y))
    wide = cupy.empty((*q.shape,), "f4")
    assert dnn.sdpa(q, k, v, out=wide)[0] is wide
    np.testing.assert_array_equal(host(wide), host(out))


def test_a_graph_is_built_once(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn, dnn_graph

    q, k, v = (given(rng, 2, 2, 4, 8)[0] for _ in range(3))
    for _ in range(3):
        dnn.sdpa(q, k, v)
    assert (log.built, len(log.runs), log.handles) == (["sdpa"], 3, 1)
    dnn.sdpa(q[:1], k[:1], v[:1])  # other shapes
    dnn.sdpa(q, k, v, causal=True)
    dnn.sdpa(q, k, v, scale=0.5)
    dnn.sdpa(*(x.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3) for x in (q, k, v)))
    assert len(log.built) == 5
    dnn.sdpa(q, k, v, scale=8**-0.5)  # what is taken where none is given
    assert len(log.built) == 5
    dnn_graph.KEPT = 3
    dnn.sdpa(q[:, :1], k[:, :1], v[:, :1])
    assert len(dnn_graph._PLANS) == 3
    dnn.sdpa(q, k, v)
    assert len(log.built) == 7
    assert log.handles == 1


def test_axes_of_one_element_have_one_graph(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn

    whole, _ = given(rng, 3, 4, 5, 8)
    for part in (whole[:1], whole[1:2].copy(), whole[None, 2], whole[2][None].copy()):
        dnn.sdpa(part, part, part)
    assert log.built == ["sdpa"]


def test_what_is_unsupported(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn

    large, _ = given(rng, 1, 1, 2, 256)
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(dnn.Unsupported, match=r"SDPA\); try another kernel") as caught:
            dnn.sdpa(large, large, large)
        assert "more" not in str(caught.value)
    assert not dnn.supports("sdpa", large, large, large)
    small = large[..., :64]
    assert dnn.supports("sdpa", small, small, small)
    assert log.runs == []
    for x in (large[..., :12], large[:, :, :0], given(rng, 1, 1, 2, 64, dtype="float32")[0]):
        with pytest.raises(dnn.Unsupported):
            dnn.sdpa(x, x, x)
    x, w = given(rng, 1, 65, 3, 3)[0], given(rng, 2, 65, 1, 1)[0]
    with pytest.raises(dnn.Unsupported, match="No execution plans support the graph"):
        dnn.conv(x, w)
    assert dnn.supports("conv", x[:, :64], w[:, :64])
    with pytest.raises(dnn.Unsupported, match="float64"):
        dnn.conv(x.astype("f8"), w.astype("f8"))


def test_what_does_not_fit_is_refused(log: Any, rng: Rng) -> None:
    import cupy

    from tensorgrad.backend.cuda import dnn

    q, _ = given(rng, 1, 4, 2, 8)
    for k in (q[:, :3], q[:, :, :, :0], q[0], cupy.concatenate([q, q])):
        with pytest.raises(ShapeError, match="sdpa: got"):
            dnn.sdpa(q, k, k)
    with pytest.raises(DTypeError, match="got v of float32 beside float16"):
        dnn.sdpa(q, q, q.astype("f4"))
    out, stats = dnn.sdpa(q, q, q)
    with pytest.raises(ShapeError, match="the results of sdpa"):
        dnn.sdpa_backward(q, q, q, q, out, stats[..., None])
    with pytest.raises(DTypeError, match="got stats of float16"):
        dnn.sdpa_backward(q, q, q, q, out, stats.astype("f2"))
    with cupy.cuda.Device(1):
        elsewhere = cupy.ones(q.shape, "f2")
    with pytest.raises(DeviceError, match="got k on cuda:1, expected cuda:0"):
        dnn.sdpa(q, elsewhere, q)
    x, w = given(rng, 1, 4, 5, 5)[0], given(rng, 6, 2, 3, 3)[0]
    for options in ({}, {"groups": 4}, {"groups": 2, "stride": 0}, {"groups": 2, "dilation": 3},
                    {"groups": 2, "padding": (1, 2, 3)}, {"groups": 2, "padding": -1}):  # fmt: skip
        with pytest.raises(ShapeError, match="conv: got"):
            dnn.conv(x, w, **options)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"conv_data: got grad=.*expected grad of \(1, 6, 3, 3\)"):
        dnn.conv_data(x, w, x.shape, groups=2)
    with pytest.raises(TypeError, match="strides"):
        dnn.conv(x, w, groups=2, strides=2)  # type: ignore[call-arg]
    with pytest.raises(KeyError):
        dnn.supports("pool", x)


# -- convolution -------------------------------------------------------------------------------


def terms(x: Any, w: Any, y: Any, before: Any, stride: Any, dilation: Any, groups: int) -> Any:
    """The (y, x, w) indices of every product of a convolution, by its definition."""
    for n, k, i, j, c, r, q in product(*map(range, (*y, *w[1:]))):
        a = i * stride[0] + r * dilation[0] - before[0]
        b = j * stride[1] + q * dilation[1] - before[1]
        if 0 <= a < x[2] and 0 <= b < x[3]:
            channel = k // (w[0] // groups) * w[1] + c
            yield (n, k, i, j), (n, channel, a, b), (k, c, r, q)


# x, filters, filter, y, padding before, and the options
CONVOLUTIONS = [
    ((2, 3, 5, 4), 2, (3, 2), (3, 3), (0, 0), {}),
    ((2, 4, 5, 6), 6, (3, 3), (5, 6), (1, 1), {"padding": 1, "groups": 2}),
    ((1, 4, 7, 6), 4, (3, 1), (3, 5), (0, 2), {"stride": 2, "padding": (0, 2), "groups": 4}),
    ((2, 2, 6, 7), 3, (2, 3), (4, 2), (0, 1),
     {"dilation": (3, 2), "stride": (1, 3), "padding": ((0, 1), (1, 0))}),
    ((2, 5, 1, 1), 3, (1, 1), (1, 1), (0, 0), {}),
]  # fmt: skip


def both(option: Any) -> tuple[int, int]:
    return (option, option) if isinstance(option, int) else option


@pytest.mark.parametrize("case", CONVOLUTIONS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_convolution_and_its_gradients(log: Any, rng: Rng, case: Any, dtype: str) -> None:
    from tensorgrad.backend.cuda import dnn

    shape, filters, taps, sizes, before, options = case
    groups = options.get("groups", 1)
    x, X = given(rng, *shape, dtype=dtype)
    w, W = given(rng, filters, shape[1] // groups, *taps, dtype=dtype)
    grad, G = given(rng, shape[0], filters, *sizes, dtype=dtype)
    want, dx, dw = np.zeros(G.shape), np.zeros(X.shape), np.zeros(W.shape)
    stride, dilation = both(options.get("stride", 1)), both(options.get("dilation", 1))
    for o, i, k in terms(X.shape, W.shape, G.shape, before, stride, dilation, groups):
        want[o] += X[i] * W[k]
        dx[i] += G[o] * W[k]
        dw[k] += G[o] * X[i]
    for last in (False, True):
        if last:
            x, grad = (v.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2) for v in (x, grad))
        y = dnn.conv(x, w, **options)
        close(y, want, dtype)
        close(dnn.conv_data(grad, w, x.shape, **options), dx, dtype)
        close(dnn.conv_weight(grad, x, w.shape, **options), dw, dtype)
        if min(x.shape[1:3]) > 1:
            assert (y.strides[1] == y.itemsize) is last
    assert log.runs == ["conv", "conv_data", "conv_weight"] * 2


def test_the_layout_of_a_convolution(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn

    x, w = given(rng, 2, 4, 5, 6)[0], given(rng, 3, 4, 2, 2)[0]
    nhwc = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    target = given(rng, 2, 3, 4, 5)[0]
    assert dnn.conv(x, w, out=target) is target
    assert log.addresses == [[v.data.ptr for v in (x, w, target)]]  # nothing was copied
    want = host(target)
    other = target.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    for image, out in ((nhwc, other), (nhwc, target), (x, other), (nhwc[..., ::-1], None)):
        if out is not None:
            out.fill(0)
            assert dnn.conv(image, w, out=out) is out
            np.testing.assert_array_equal(host(out), want)
        else:
            found = dnn.conv(image, w)
            np.testing.assert_array_equal(host(found), host(dnn.conv(x[..., ::-1].copy(), w)))
    square = given(rng, 2, 4, 3, 3)[0]
    eye = given(rng, 4, 4, 1, 1)[0]
    value = host(dnn.conv(square, eye))
    assert dnn.conv(square, eye, out=square) is square  # its input
    np.testing.assert_array_equal(host(square), value)
    assert log.addresses[-1][0] == square.data.ptr != log.addresses[-1][2]
    point = given(rng, 2, 4, 1, 1)[0]  # dense either way
    assert dnn.conv_data(point, given(rng, 4, 2, 3, 3)[0], (2, 2, 3, 3)).flags.c_contiguous


def test_numbers_keep_their_precision(log: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda import dnn

    x, w = given(rng, 1, 2, 3, 3, dtype="float32")[0], given(rng, 2, 2, 1, 1, dtype="float32")[0]
    reduced, down, free = "REDUCED_PRECISION_REDUCTION", "DOWN_CONVERT_INPUTS", "NONDETERMINISTIC"
    dnn.conv(x, w)
    dnn.conv(x, w, tf32=True)
    dnn.conv(x, w, deterministic=False)
    dnn.conv(x.astype("f2"), w.astype("f2"))
    assert log.notes == [{reduced, down, free}, {reduced, free}, {reduced, down}, {reduced, free}]


# -- streams, capture, threads -----------------------------------------------------------------


def test_a_captured_call_is_replayed(log: Any, rng: Rng) -> None:
    import cupy

    from tensorgrad.backend.cuda import arena, dnn, graph

    arena.install()
    x, w = given(rng, 2, 2, 4, 8)[0], given(rng, 4, 2, 3, 3)[0]

    def step(q: Array) -> Any:
        out, stats = dnn.sdpa(q, q, q)
        grads = dnn.sdpa_backward(out, q, q, q, out, stats)
        return (*grads, dnn.conv(q, w))

    captured = graph.capture(step, [x])
    assert len(log.built) == 3
    runs = len(log.runs)
    for _ in range(2):
        fresh, _ = given(rng, 2, 2, 4, 8)
        found = [host(v) for v in captured(fresh)]
        assert len(log.runs) == runs
        for a, b in zip(found, step(cupy.asarray(fresh)), strict=True):
            np.testing.assert_array_equal(a, host(b))
        runs = len(log.runs)


def test_a_first_call_in_a_capture_is_refused(log: Any, rng: Rng) -> None:
    import cupy

    from tensorgrad.backend.cuda import dnn
    from tensorgrad.backend.cuda.errors import CaptureError

    q, _ = given(rng, 1, 2, 4, 8)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(CaptureError, match="running the step once before"):
            dnn.sdpa(q, q, q)
        stream.end_capture()
        dnn.sdpa(q, q, q)
        stream.begin_capture()
        out, _ = dnn.sdpa(q, q, q)
        recorded = stream.end_capture()
    assert log.built == ["sdpa"]
    out.fill(0)
    recorded.launch(stream)
    stream.synchronize()
    assert np.abs(host(out)).max() > 0


def test_threads_and_devices_have_handles_of_their_own(log: Any, rng: Rng) -> None:
    import cupy

    from tensorgrad.backend.cuda import dnn

    q, Q = given(rng, 1, 2, 4, 8)
    want = host(dnn.sdpa(q, q, q)[0])
    wrong: list[Any] = []

    def work() -> None:
        with cupy.cuda.Stream(non_blocking=True):
            for _ in range(5):
                found = host(dnn.sdpa(q, q, q)[0])
                wrong.extend([] if np.array_equal(found, want) else [found])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert log.built == ["sdpa"]
    assert len(log.runs) == 16
    before = log.handles
    assert before <= 4
    with cupy.cuda.Device(1):
        q = cupy.asarray(Q.astype("f2"))
        np.testing.assert_array_equal(host(dnn.sdpa(q, q, q)[0]), want)
    assert (log.built, log.handles) == (["sdpa"] * 2, before + 1)
