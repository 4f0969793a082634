"""Pooling: PyTorch's numbers, ties and NaN, layouts, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812

Rng = np.random.Generator
WAVE = np.sin(np.arange(30.0)).reshape(1, 1, 5, 6)


def options(rng: Rng, rank: int, kind: str) -> dict[str, Any]:
    """What pooling may be asked for, of axes of 5 to 9 elements."""
    kernel = tuple(int(k) for k in rng.integers(1, 4, rank))
    found: dict[str, Any] = {
        "kernel_size": kernel,
        "stride": tuple(int(k) for k in rng.integers(1, 4, rank)),
        "padding": tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel),
        "ceil_mode": bool(rng.integers(2)),
    }
    if kind == "max":
        found |= {"dilation": int(rng.integers(1, 3)), "return_indices": True}
    else:
        found["count_include_pad"] = bool(rng.integers(2))
        if rank > 1 and rng.integers(2):
            found["divisor_override"] = int(rng.integers(1, 9))
    return found


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pooling_is_pytorchs(rank: int, kind: str, dtype: str, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    rtol = 1e-12 if dtype == "float64" else 3e-6
    for _ in range(12):
        given = options(rng, rank, kind)
        x = np.round(rng.standard_normal((2, 2, *rng.integers(5, 10, rank))), 1).astype(dtype)
        if kind == "max":
            x[rng.random(x.shape) < 0.05] = np.nan if rng.integers(2) else -np.inf
        a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got = getattr(F, f"{kind}_pool{rank}d")(a, **given)
        want = getattr(torch.nn.functional, f"{kind}_pool{rank}d")(b, **given)
        if kind == "max":
            (got, where), (want, there) = got, want
            one = ~np.isnan(want.detach().numpy())  # of several NaNs PyTorch names the last
            np.testing.assert_array_equal(where.numpy()[one], there.numpy()[one])
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol, rtol)
        if np.isnan(x).any():
            continue
        ct = rng.standard_normal(got.shape).astype(dtype)
        got.backward(tg.tensor(ct))
        want.backward(torch.tensor(ct))
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=rtol, atol=10 * rtol)


HALVED = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}
STORED: list[tuple[str, dict[str, Any], list[float]]] = [
    ("max_pool2d", HALVED,
     [0.841471, 0.9893582, 0.4121185, -0.9589243, 0.6569866, 0.9906074, 0.8366556, -0.8462204,
      0.1498772, 0.9563759, 0.9563759, -0.6636339]),
    ("avg_pool2d", HALVED,
     [0.1354491, 0.438928, -0.3007222, -0.3264857, -0.0377716, 0.6687782, -0.1943691, -0.4679347,
      -0.1821156, 0.3873401, 0.0605813, -0.2516424]),
    ("avg_pool2d", {**HALVED, "count_include_pad": False},
     [0.3047605, 0.658392, -0.4510833, -0.9794572, -0.0566575, 0.6687782, -0.1943691, -0.9358694,
      -0.40976, 0.5810101, 0.090872, -0.7549271]),
    ("adaptive_avg_pool2d", {"output_size": (2, 4)},
     [0.1837727, 0.8013146, -0.0642001, -0.7515065, -0.2925743, 0.5173006, 0.4029118, -0.4161834]),
    ("lp_pool2d", {"norm_type": 2.0, "kernel_size": 2},
     [1.1035297, 1.4125891, 1.6697979, 1.0251321, 1.7139542, 1.3127607]),
]  # fmt: skip
"""What PyTorch 2.13 makes of a wave."""


@pytest.mark.parametrize(("name", "given", "want"), STORED)
def test_numbers_of_a_wave(name: str, given: Any, want: Any) -> None:
    found = getattr(F, name)(tg.tensor(WAVE), **given)
    np.testing.assert_allclose(found.numpy().reshape(-1), want, atol=6e-8)


def test_ties_go_to_the_first_and_nan_is_the_largest() -> None:
    x = tg.tensor([[2.0, 2.0, 1.0, np.nan, 0.0, np.nan, -np.inf, -np.inf]], requires_grad=True)
    y, places = F.max_pool1d(x, 2, return_indices=True)
    np.testing.assert_array_equal(y.detach().numpy(), [[2.0, np.nan, np.nan, -np.inf]])
    assert places.numpy().tolist() == [[0, 3, 5, 6]]
    y.backward(tg.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert x.grad.numpy().tolist() == [[1.0, 0.0, 0.0, 2.0, 0.0, 3.0, 4.0, 0.0]]


def test_padding_is_no_maximum() -> None:
    x = tg.tensor(np.full((1, 3), -np.inf))
    y, places = F.max_pool1d(x, 3, 1, 1, return_indices=True)
    assert np.isneginf(y.numpy()).all()
    assert places.numpy().tolist() == [[0, 0, 1]]


def test_an_infinite_cotangent_reaches_the_maximum_alone() -> None:
    for stride in (2, 1):
        x = tg.tensor([[1.0, 3.0, 2.0, 0.0]], requires_grad=True)
        y = F.max_pool1d(x, 2, stride)
        ct = np.zeros(y.shape)
        ct[0, 0] = np.inf
        y.backward(tg.tensor(ct))
        assert x.grad.numpy().tolist() == [[0.0, np.inf, 0.0, 0.0]]


def test_wide_windows_have_wide_places(rng: Rng) -> None:
    x = rng.standard_normal((1, 1, 20, 20))
    y, places = F.max_pool2d(tg.tensor(x), 17, 1, return_indices=True)
    for (_, _, i, j), at in np.ndenumerate(places.numpy()):
        part = x[0, 0, i : i + 17, j : j + 17]
        assert x.reshape(-1)[at] == part.max() == y.numpy()[0, 0, i, j]


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_channels_that_lie_last_stay_there(kind: str, rng: Rng) -> None:
    x = np.moveaxis(rng.standard_normal((2, 7, 6, 3)), -1, 1)
    pool = getattr(F, f"{kind}_pool2d")
    last, dense = tg.asarray(x), tg.asarray(np.ascontiguousarray(x))
    last.requires_grad = dense.requires_grad = True
    y, want = pool(last, 3, 2, 1), pool(dense, 3, 2, 1)
    assert np.moveaxis(y.data, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(y.detach().numpy(), want.detach().numpy())
    y.sum().backward()
    want.sum().backward()
    np.testing.assert_allclose(last.grad.numpy(), dense.grad.numpy(), rtol=1e-14)


BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: F.max_pool2d(tg.ones(4), 2),
        tg.ShapeError,
        "max_pool2d: got input=float64(4,), expected axes CHW, or NCHW; "
        "try another pooling than 2d, or input.reshape",
    ),
    (
        lambda: F.max_pool1d(tg.ones((1, 4), dtype="int64"), 2),
        tg.DTypeError,
        'max_pool1d: got input=int64(1, 4), expected floats; try input.astype("float32")',
    ),
    (
        lambda: F.avg_pool1d(tg.ones((1, 4)), 5),
        tg.ShapeError,
        "avg_pool1d: got input=float64(1, 4), kernel_size=(5,), padding=(0,), expected windows no "
        "longer than the padded input; try a smaller kernel_size",
    ),
    (
        lambda: F.max_pool1d(tg.ones((1, 4)), 2, padding=2),
        ValueError,
        "max_pool1d: got padding=(2,), kernel_size=(2,), dilation=(1,), expected at most half of "
        "the kernel as padding; try padding=kernel_size // 2",
    ),
    (
        lambda: F.avg_pool2d(tg.ones((1, 4, 4)), (2, 2, 2)),
        tg.ShapeError,
        "avg_pool2d: got kernel_size=(2, 2, 2), expected a whole number from 1 up, or 2 of them; "
        "try kernel_size=1",
    ),
    (
        lambda: F.avg_pool2d(tg.ones((1, 4, 4)), 2, divisor_override=0),
        ValueError,
        "avg_pool2d: got divisor_override=0, expected a divisor; try divisor_override=None",
    ),
    (
        lambda: F.max_unpool1d(tg.ones((1, 2)), tg.zeros((1, 3), dtype="int64"), 2),
        tg.ShapeError,
        "max_unpool1d: got input=float64(1, 2), indices=int64(1, 3), expected an index for each "
        "element; try the indices of max_pool",
    ),
    (
        lambda: F.max_unpool1d(
            tg.ones((1, 2)), tg.zeros((1, 2), dtype="int64"), 2, output_size=(9,)
        ),
        ValueError,
        "max_unpool1d: got output_size=(9,), expected (4,) give or take less than a stride (2,); "
        "try output_size=(4,)",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_what_is_refused(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_an_index_behind_the_image_is_refused() -> None:
    with pytest.raises(IndexError):
        F.max_unpool1d(tg.ones((1, 2)), tg.tensor([[0, 4]]), 2)


def test_means_of_16_bits_are_summed_in_32(rng: Rng) -> None:
    x = tg.tensor(np.full((1, 1, 64, 64), 0.1), dtype="float16")
    found = F.adaptive_avg_pool2d(x, 1).numpy()
    np.testing.assert_allclose(found, x.numpy()[0, 0, 0, 0], rtol=1e-3)
