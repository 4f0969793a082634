"""Calls at the edge of what NumPy's functions take: numbers, shapes and dtypes are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor

INF, NAN = np.inf, np.nan
L, F = np.linalg, np.fft
ZERO = np.array(2.5)
FLOATS = np.array([0.5, -1.5, 2.0, 0.25], "float32")
EMPTY, FLAT, STACK = np.zeros((0, 0)), np.zeros((3, 0)), np.zeros((0, 3, 3))
WIDE = np.arange(12.0).reshape(3, 4)
HALF = np.array([1.0, 2.0, 3.0], "float16")
HOLED = np.array([[INF, -INF, 1.0, NAN], [NAN, NAN, NAN, NAN], [2.0, NAN, INF, INF]])
CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    # a number alone, along the axis that it has not
    **{
        f"{f.__name__} of a number": (f, (ZERO,), {"axis": axis})
        for f, axis in ((np.sum, 0), (np.prod, -1), (np.max, 0), (np.nansum, -1), (np.all, 0),
                        (np.argmax, 0), (np.argmin, -1), (np.nanargmax, 0), (np.count_nonzero, 0),
                        (np.cumulative_sum, 0), (np.cumulative_prod, None))
    },
    "add.reduce of a number": (np.add.reduce, (ZERO,), {}),
    "hypot.reduce of a number": (np.hypot.reduce, (np.array(-2.5),), {}),
    "hypot.reduceat of one": (np.hypot.reduceat, (-FLOATS, [0, 1]), {}),
    "divide.reduce of a number": (np.divide.reduce, (ZERO,), {"initial": 1.0}),
    # reductions that are folded, with a mask, a first value, in their own dtypes
    "fmod.reduce with a mask": (
        np.fmod.reduce, (WIDE + 1.5,), {"where": WIDE % 3 > 0, "initial": 40.0}),
    "add.reduce with a mask": (np.add.reduce, (WIDE,), {"where": WIDE % 3 > 0, "initial": 1.0}),
    "add.reduce in bytes": (np.add.reduce, (np.arange(5),), {"dtype": "int8"}),
    "logaddexp2.reduce of two axes": (
        np.logaddexp2.reduce, (WIDE,), {"axis": (0, 1), "initial": 3.0}),
    "fmax.reduce of all": (np.fmax.reduce, (HOLED,), {"axis": None}),
    "arctan2.reduce of integers": (np.arctan2.reduce, (np.arange(5),), {}),
    "arctan2.accumulate of nothing": (np.arctan2.accumulate, (np.zeros(0, int),), {}),
    "logical_and.accumulate": (np.logical_and.accumulate, (FLOATS,), {}),
    "logical_xor.reduceat": (np.logical_xor.reduceat, (FLOATS, [0, 2]), {}),
    "maximum.reduce of bools": (np.maximum.reduce, (FLOATS > 0,), {"initial": 1}),
    "no difference of a number": (np.diff, (ZERO, 0), {}),
    # dtypes
    "mean in whole numbers": (np.mean, (FLOATS,), {"dtype": "int32"}),
    "nansum in whole numbers": (np.nansum, (FLOATS,), {"dtype": "int32"}),
    "median of no bytes": (np.median, (np.zeros(0, "int8"),), {}),
    "sort_complex of float32": (np.sort_complex, (FLOATS,), {}),
    "gradient at places": (np.gradient, (FLOATS, np.array([0.0, 1.0, 2.5, 3.0])), {}),
    "geomspace of float32": (np.geomspace, (FLOATS + 2, FLOATS + 9, 3), {}),
    "block with a number": (np.block, ([FLOATS, 1.0],), {}),
    "gcd of bools": (np.gcd, (np.array([True, False]), 6), {}),
    "lcm of bools": (np.lcm, (np.array([True, False]), np.array([4, 6])), {}),
    "bits of bools": (np.bitwise_count, (np.array([True, False]),), {}),
    "irfft of float16": (F.irfft, (HALF,), {}),
    "hfft of float16": (F.hfft, (HALF,), {"n": 5}),
    # axes and lengths of transforms
    "rfftn twice along an axis": (F.rfftn, (WIDE,), {"axes": (0, 0)}),
    "irfftn of its own length": (F.irfftn, (WIDE,), {"s": (2, -1), "axes": (0, 1)}),
    # what is empty, or not a number
    "inf norm of nothing": (L.norm, (EMPTY, INF), {}),
    "inf norms of nothing": (L.norm, (FLAT, INF), {"axis": -1}),
    "spectral norm of nothing": (L.matrix_norm, (EMPTY,), {"ord": 2}),
    "column norm of nothing": (L.matrix_norm, (EMPTY,), {"ord": 1}),
    "a negative norm of nothing": (L.vector_norm, (FLAT,), {"ord": -2, "axis": -1}),
    "the usual norm": (L.vector_norm, (WIDE,), {"ord": None, "axis": 0}),
    "condition of no matrices": (L.cond, (STACK,), {}),
    "rank of nothing": (L.matrix_rank, (FLAT,), {}),
    "nanquantile of nothing": (np.nanquantile, (np.zeros(0), 0.4), {}),
    "nanmedian beside infinities": (np.nanmedian, (HOLED,), {"axis": 1}),
    "no quantiles of whole numbers": (np.quantile, (np.arange(5), []), {}),
    "cov without freedom": (np.cov, (WIDE[:, :2],), {"ddof": 2}),
    # shapes
    "tril of a vector": (np.tril, (FLOATS,), {}),
    "triu of a vector": (np.triu, (FLOATS, 1), {}),
    "meshgrid of a matrix": (np.meshgrid, (WIDE, FLOATS), {"indexing": "ij"}),
}  # fmt: skip
POINTS = [complex(a, b) for a in (INF, -INF, 1.0, NAN, 0.0) for b in (INF, -INF, 2.0, NAN, 0.0)]


def on_tensors(value: Any) -> Any:
    if isinstance(value, list):
        return [on_tensors(v) for v in value]
    return Tensor(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_call_gives_what_numpy_gives(name: str) -> None:
    function, args, options = CALLS[name]
    found = function(*(on_tensors(a) for a in args), **options)
    wanted = function(*args, **options)
    for got, want in zip(*([v] if not isinstance(v, tuple) else v for v in (found, wanted))):
        assert isinstance(got, Tensor)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(here(got), want, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_direction_of_an_infinite_number_is_that_of_its_infinite_part() -> None:
    z = np.array(POINTS)
    np.testing.assert_array_equal(here(np.sign(Tensor(z))), np.sign(z))


def test_nan_to_num_writes_where_it_is_asked_to() -> None:
    x = Tensor([1.0, NAN, -INF])
    assert np.nan_to_num(x, copy=False, neginf=-5.0) is x
    np.testing.assert_array_equal(here(x), [1.0, 0.0, -5.0])
    with pytest.raises(tg.InPlaceError, match="got a leaf that requires a gradient"):
        np.nan_to_num(Tensor([NAN], requires_grad=True), copy=False)


@pytest.mark.cpu_only("np.vectorize calls the function on NumPy's own numbers")
def test_vectorize_takes_a_constant() -> None:
    np.testing.assert_array_equal(np.vectorize(lambda v: 2 * v)(Tensor([1.0, 2.0])), [2.0, 4.0])
    assert np.asarray(Tensor([1.0]), dtype=object).dtype == object
