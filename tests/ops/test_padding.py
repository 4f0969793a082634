"""Every mode of `pad` against NumPy on random shapes and widths; values that are tensors."""

from __future__ import annotations

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad.testing import check_grad

OWN = ("edge", "reflect", "symmetric", "wrap")
STATISTICS = ("maximum", "mean", "median", "minimum")
MODES = ("constant", "linear_ramp", *OWN, *STATISTICS)


def drawn(rng, mode):  # type: ignore[no-untyped-def]
    """A random array, widths and options for a mode."""
    shape = tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
    x = rng.standard_normal(shape)
    kind = rng.integers(0, 4)
    if kind == 1:
        x = rng.integers(-5, 9, shape)
    elif kind == 2:
        x = x.astype(np.float32)
    elif kind == 3 and mode not in ("maximum", "minimum", "median"):
        x = x + 1j * rng.standard_normal(shape)
    most = 9 if mode in OWN else 4
    widths = [tuple(int(n) for n in rng.integers(0, most, 2)) for _ in shape]
    options = {}
    if rng.random() < 0.5:
        lengths = [tuple(int(n) for n in rng.integers(1, 4, 2)) for _ in shape]
        options = {
            "constant": {"constant_values": [(1, 2)] * len(shape)},
            "linear_ramp": {"end_values": [(1, -7)] * len(shape)},
            "reflect": {"reflect_type": "odd"},
            "symmetric": {"reflect_type": "odd"},
        }.get(mode, {"stat_length": lengths} if mode in STATISTICS else {})
    return x, widths, options


@pytest.mark.parametrize("mode", MODES)
def test_modes_are_numpys(mode, rng) -> None:  # type: ignore[no-untyped-def]
    for _ in range(40):
        x, widths, options = drawn(rng, mode)
        want = np.pad(x, widths, mode, **options)
        got = np.pad(tg.Tensor(array(x)), widths, mode, **options)
        assert got.dtype == want.dtype
        tolerance = 1e-5 if x.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(here(got), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_modes_have_gradients(mode, rng) -> None:  # type: ignore[no-untyped-def]
    for _ in range(4):
        _, widths, options = drawn(rng, mode)
        if mode in STATISTICS:  # of one axis: statistics of statistics have ties
            widths = [widths[0], *[(0, 0)] * (len(widths) - 1)]
        x = rng.permutation(4 ** len(widths)).reshape((4,) * len(widths)) / 7.0 + 0.1
        check_grad(lambda x, w=widths, o=options: np.pad(x, w, mode, **o), [x], order=1, rng=rng)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_borders_of_16_bits_are_folded_in_float32(dtype, rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.tensor(array(rng.standard_normal((3, 4)))).astype(dtype)
    x.requires_grad = True
    y = np.pad(x, ((9, 2), (3, 7)), mode="edge")
    assert y.dtype == x.dtype
    ct = tg.ones_like(y.detach())
    y.backward(ct)
    want = np.multiply.outer([10, 1, 3], [4, 1, 1, 8])
    np.testing.assert_array_equal(here(x.grad.astype("float64")), want)


def test_values_may_be_tensors(rng) -> None:  # type: ignore[no-untyped-def]
    x, v, w = rng.standard_normal((2, 3)), rng.standard_normal(), rng.standard_normal()
    check_grad(lambda x, v, w: np.pad(x, 1, constant_values=((v, w), (w, 2.0))), [x, v, w],
               order=2, rng=rng)  # fmt: skip
    got = np.pad(tg.Tensor(array(x)), 1, constant_values=((v, w), (w, 2.0)))
    np.testing.assert_array_equal(here(got), np.pad(x, 1, constant_values=((v, w), (w, 2.0))))
    check_grad(lambda x, v: np.pad(x, 2, "linear_ramp", end_values=v), [x, v], order=1, rng=rng)


def test_widths_by_axis(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((2, 3))
    for widths in ({1: 2}, {-1: (1, 0), 0: (0, 2)}, {}):
        pairs = [widths.get(k, widths.get(k - 2, (0, 0))) for k in range(2)]
        pairs = [pair if isinstance(pair, tuple) else (pair, pair) for pair in pairs]
        got = tg.pad(array(x), widths, "edge")
        np.testing.assert_array_equal(here(got), np.pad(x, pairs, "edge"))


def test_errors() -> None:
    x = np.ones((2, 3))
    with pytest.raises(tg.ShapeError, match=r"pad: got mode='mirror', expected one of constant "):
        tg.pad(x, 1, mode="mirror")
    with pytest.raises(tg.ShapeError, match="pad: got pad_width=-1"):
        tg.pad(x, -1)
    with pytest.raises(tg.DTypeError, match=r"pad: got mode=<function.*a function would write in"):
        tg.pad(x, 1, lambda *given: None)
    with pytest.raises(
        tg.ShapeError, match=r"pad: got .*expected elements to repeat on every axis"
    ):
        tg.pad(x[:0], 1, mode="wrap")
    with pytest.raises(ValueError, match=r"pad: got .*stat_length=0, expected elements to take it"):
        tg.pad(x, 1, mode="maximum", stat_length=0)
    with pytest.raises(ValueError, match=r"pad: got reflect_type='up', expected even or odd"):
        tg.pad(x, 1, mode="reflect", reflect_type="up")
