"""The options and methods of NumPy's ufuncs on tensors: the same values, and right derivatives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import ulps

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad

Array = np.ndarray[Any, Any]
FOLDED = (np.add, np.multiply, np.maximum, np.minimum, np.subtract, np.divide, np.logaddexp,
          np.hypot, np.arctan2, np.fmax, np.copysign, np.power)  # fmt: skip
REORDERED = (np.add, np.multiply, np.maximum, np.minimum, np.logaddexp, np.hypot)


def compared(call: Callable[..., Any], *arrays: Array) -> Any:
    """The value on tensors, off the tape and on it, equals NumPy's; it is returned on the tape."""
    with np.errstate(all="ignore"):
        want = call(*arrays)
        off = call(*[Tensor(a) for a in arrays])
        on = call(*[Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays])
    for found in (off, on):
        assert isinstance(found, Tensor)
        assert found.shape == np.shape(want)
        assert found.dtype == np.asarray(want).dtype
        np.testing.assert_allclose(found.detach().numpy(), want, rtol=1e-12, atol=1e-14)
    return on


@pytest.mark.parametrize("ufunc", FOLDED, ids=lambda u: u.__name__)
def test_reduce(ufunc: Any, rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 2, (3, 4, 2))
    for options in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"axis": 0, "initial": 1.5}):
        y = compared(lambda t, o=options: ufunc.reduce(t, **o), x)
        assert y.requires_grad
        check_grad(lambda t, o=options: ufunc.reduce(t, **o), [x], order=2, rng=rng)
    compared(lambda t: ufunc.reduce(t, 2), x)


@pytest.mark.parametrize("ufunc", REORDERED, ids=lambda u: u.__name__)
def test_reduce_over_several_axes_with_a_mask(ufunc: Any, rng: np.random.Generator) -> None:
    x, mask = rng.uniform(0.5, 2, (3, 4, 2)), rng.integers(0, 2, (4, 1)).astype(bool)
    for axis in (None, (0, 2), (-1, 0)):
        compared(lambda t, a=axis: ufunc.reduce(t, axis=a), x)
    masked = {"axis": 1, "where": mask, "initial": 0.75}
    compared(lambda t: ufunc.reduce(t, **masked), x)
    check_grad(lambda t: ufunc.reduce(t, **masked), [x], order=2, rng=rng)


def test_a_mask_without_an_identity_raises(rng: np.random.Generator) -> None:
    x = rng.normal(size=3)
    for given in (x, Tensor(x)):
        with pytest.raises(ValueError, match=r"initial|identity"):
            np.maximum.reduce(given, where=x > 0)
        with pytest.raises(ValueError, match=r"axis|axes"):
            np.subtract.reduce(given.reshape(1, 3), axis=(0, 1))
        with pytest.raises(ValueError, match=r"identity|element"):
            np.maximum.reduce(given[:0])


def test_empty_reductions(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 0))
    for ufunc in (np.add, np.multiply, np.logaddexp, np.hypot):
        compared(lambda t, u=ufunc: u.reduce(t, axis=1), x)
    compared(lambda t: np.maximum.reduce(t, axis=1, initial=-1.0), x)
    compared(lambda t: np.add.reduce(t, axis=0), x)


def test_integers_reduce_as_numpys() -> None:
    for dtype, name in itertools.product(("int8", "uint16", "bool"), ("add", "multiply")):
        x = np.array([1, 0, 1], dtype)
        compared(lambda t, n=name: getattr(np, n).reduce(t), x)
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        x = np.array([[12, 18], [8, 6]])
        compared(lambda t, n=name: getattr(np, n).reduce(t, axis=1), x)


@pytest.mark.cpu_only("CuPy's ufuncs gcd and lcm do not reduce")
@pytest.mark.parametrize("name", ["gcd", "lcm"])
def test_divisors_reduce_as_numpys(name: str) -> None:
    compared(lambda t: getattr(np, name).reduce(t, axis=1), np.array([[12, 18], [8, 6]]))


@pytest.mark.parametrize("ufunc", FOLDED, ids=lambda u: u.__name__)
def test_accumulate(ufunc: Any, rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 2, (3, 4))
    for axis in (0, 1, -1):
        compared(lambda t, a=axis: ufunc.accumulate(t, axis=a), x)
    check_grad(lambda t: ufunc.accumulate(t, 1), [x], order=2, rng=rng)
    compared(lambda t: ufunc.accumulate(t), x[:0])


# NumPy's own arctan2.reduceat and power.reduceat are not its reduce of the pieces, as documented.
@pytest.mark.parametrize(
    "ufunc", [u for u in FOLDED if u not in (np.arctan2, np.power)], ids=lambda u: u.__name__
)
def test_reduceat(ufunc: Any, rng: np.random.Generator) -> None:
    x, places = rng.uniform(0.5, 2, (7, 3)), [0, 4, 1, 5, 5, 6]
    compared(lambda t: ufunc.reduceat(t, places), x)
    compared(lambda t: ufunc.reduceat(t, np.array([0, 2]), axis=1), x)
    check_grad(lambda t: ufunc.reduceat(t, places), [x], order=2, rng=rng)
    for given in (x, Tensor(x)):
        with pytest.raises(IndexError):
            ufunc.reduceat(given, [0, 7])


@pytest.mark.parametrize("ufunc", FOLDED, ids=lambda u: u.__name__)
def test_outer(ufunc: Any, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.5, 2, (3,)), rng.uniform(0.5, 2, (2, 2))
    compared(ufunc.outer, x, y)
    check_grad(ufunc.outer, [x, y], order=2, rng=rng)
    mixed = ufunc.outer(x, Tensor(y, requires_grad=True))
    np.testing.assert_allclose(mixed.detach().numpy(), ufunc.outer(x, y), rtol=ulps(2, x.dtype))


def test_where_and_out(rng: np.random.Generator) -> None:
    x, y, mask = rng.normal(size=(3, 4)), rng.normal(size=4), rng.integers(0, 2, (3, 1)) > 0
    chosen = np.multiply(Tensor(x, requires_grad=True), y, where=mask)
    np.testing.assert_array_equal(chosen.detach().numpy(), np.where(mask, x * y, 0))
    check_grad(lambda a, b: np.multiply(a, b, where=mask), [x, y], order=2, rng=rng)
    out, want = Tensor(np.ones((3, 4))), np.ones((3, 4))
    assert np.multiply(Tensor(x), y, where=mask, out=out) is out
    np.testing.assert_array_equal(out.numpy(), np.multiply(x, y, where=mask, out=want))
    both = (Tensor(np.ones(4)), Tensor(np.ones(4)))
    assert np.divmod(Tensor(y), 0.7, out=both) == both
    np.testing.assert_array_equal(both[1].numpy(), np.divmod(y, 0.7)[1])
    with pytest.raises(TypeError, match="out=ndarray"):
        np.sin(Tensor(x, requires_grad=True), out=np.empty((3, 4)))


def test_dtype(rng: np.random.Generator) -> None:
    x = rng.normal(size=4).astype("float32")
    compared(lambda t: np.exp(t, dtype="float64"), x)
    compared(lambda t: np.add(t, 1, dtype="float64", casting="same_kind"), x)
    compared(lambda t: np.add(t, t, dtype="float32"), np.arange(4))
    compared(lambda t: np.less(t, 1, dtype=bool), x)
    compared(lambda t: np.add.reduce(t, dtype="float64"), x)
    exact = np.exp(Tensor(x), dtype="float64").numpy()
    np.testing.assert_allclose(exact, np.exp(x.astype("float64")), rtol=ulps(2, exact.dtype))


def test_derivatives_pass_through_levels(rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 2, (4, 3))
    rows = tg.vmap(lambda v: np.multiply.accumulate(np.hypot.outer(v, v), axis=1))(x)
    want = [np.multiply.accumulate(np.hypot.outer(v, v), axis=1) for v in x]
    np.testing.assert_allclose(rows, want)
    _, tangent = tg.jvp(np.divide.reduce, (x,), (np.ones_like(x),))
    step = 1e-6
    moved = (np.divide.reduce(x + step) - np.divide.reduce(x - step)) / (2 * step)
    np.testing.assert_allclose(tangent, moved, rtol=1e-6, atol=1e-8)  # it crosses 0


@pytest.mark.cpu_only("np.add.at takes no array of CuPy's")
def test_at_writes_off_the_tape_and_is_noted(rng: np.random.Generator) -> None:
    x, places = rng.normal(size=5), np.array([0, 3, 3])
    t, want = tg.tensor(x.copy()), x.copy()
    np.add.at(t, places, [1.0, 2.0, 3.0])
    np.add.at(want, places, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(t.numpy(), want)
    w = tg.tensor([1.0], requires_grad=True)
    saved = tg.tensor([2.0])
    y = w * saved
    np.negative.at(saved, [0])
    with pytest.raises(tg.InPlaceError):
        y.sum().backward()
    with pytest.raises(tg.InPlaceError):
        np.add.at(w, [0], 1.0)
    with pytest.raises(TypeError, match="tensor"):
        np.add.at(x, [0], w)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="axis"):
        np.add(Tensor([1.0]), 1, axis=0)
