"""The stand-in for CuPy as a library of arrays: what it refuses, and where it is not NumPy."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import fakecupy
import ml_dtypes
import numpy as np
import pytest


@pytest.fixture
def machine() -> Iterator[fakecupy.Machine]:
    with fakecupy.install(devices=2) as found:
        yield found


@pytest.fixture
def cp(machine: fakecupy.Machine) -> Any:
    import cupy

    return cupy


def same(got: Any, want: Any) -> None:
    want = np.asarray(want)
    assert type(got).__name__ == "ndarray"
    assert type(got).__module__ == "cupy"
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.get(), want)


# -- strictness ------------------------------------------------------------------------------------


def test_it_stands_in_for_cupy_and_goes_again(machine: fakecupy.Machine) -> None:
    import cupy.cuda.runtime
    import cupyx.scipy.special

    assert cupyx.scipy.special is sys.modules["cupyx.scipy.special"]
    assert cupy.cuda.is_available()
    before = sys.modules["cupy"]
    with fakecupy.install() as inner:
        assert sys.modules["cupy"] is not before
        assert fakecupy.machine() is inner
    assert sys.modules["cupy"] is before
    assert fakecupy.machine() is machine


def test_fresh_memory_is_poison(cp: Any) -> None:
    assert np.isnan(cp.empty(5, "f").get()).all()
    assert (cp.empty((2, 3), "i8").get() == -1).all()
    array = cp.ones(1000)
    address = array.data.ptr
    del array
    again = cp.empty(1000)  # the pool gives the same place
    assert again.data.ptr == address
    assert np.isnan(again.get()).all()


@pytest.mark.parametrize(
    "use",
    [
        lambda cp, a, h: np.asarray(a),
        lambda cp, a, h: np.array([a, a]),
        lambda cp, a, h: a + h,
        lambda cp, a, h: h * a,
        lambda cp, a, h: cp.add(a, h),
        lambda cp, a, h: cp.concatenate([a, h]),
        lambda cp, a, h: cp.where(a > 0, h, a),
        lambda cp, a, h: cp.sum(h),
        lambda cp, a, h: np.add(a, h),
        lambda cp, a, h: np.add.reduce(a),
        lambda cp, a, h: operator.index(a[0].astype(int)),
        lambda cp, a, h: cp.sin(a, out=h),
        lambda cp, a, h: cp.add(a, [1.0, 2.0, 3.0]),
        lambda cp, a, h: a.sum(out=h[0]),
        lambda cp, a, h: cp.subtract(a > 0, a > 0),
        lambda cp, a, h: cp.logical_and(a.astype("c8"), True),
        lambda cp, a, h: cp.sqrt(a, where=True),
        lambda cp, a, h: cp.count_nonzero(a, keepdims=True),
        lambda cp, a, h: cp.take(a, [0], mode="clip"),
        lambda cp, a, h: hash(a),
    ],
)
def test_refusals(cp: Any, use: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        use(cp, cp.ones(3, "f"), np.ones(3, "f"))


def test_names_that_cupy_lacks(cp: Any) -> None:
    for name in ("vecdot", "emath", "ma"):
        with pytest.raises(AttributeError, match=name):
            getattr(cp, name)
    with pytest.raises(AttributeError):
        cp.ones(3).foo = 1


def test_results_stay_on_the_device(cp: Any, rng: np.random.Generator) -> None:
    host = rng.standard_normal((3, 4))
    array = cp.asarray(host)
    for found in (array.sum(), array[0, 1], array.max(), cp.count_nonzero(array), array.argmax()):
        assert found.shape == ()
        assert isinstance(found, cp.ndarray)
    assert array[1, 2].item() == host[1, 2]
    assert array.tolist() == host.tolist()
    same(np.float32(2) * cp.asarray(host, "f"), np.float32(2) * host.astype("f"))
    same(np.transpose(array), host.T)
    same(np.exp(array), np.exp(host))


# -- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i1", "u4", "i8", "f2", "f4", "f8", "c8", "?"])
def test_operators_are_numpys(cp: Any, dtype: str, rng: np.random.Generator) -> None:
    a, b = (rng.integers(1, 5, (3, 4)).astype(dtype) for _ in range(2))
    x, y = cp.asarray(a), cp.asarray(b)
    names = "add mul truediv eq ne" + ("" if dtype == "c8" else " lt floordiv mod pow")
    if dtype == "?":
        names = "add mul truediv eq lt and or xor"
    for name in names.split():
        apply = getattr(operator, f"{name}_" if name in ("and", "or") else name)
        same(apply(x, y), apply(a, b))
        if name not in ("and", "or", "xor", "eq", "lt", "ne"):
            same(apply(x, 2), apply(a, 2))
    x += y
    same(x, a + b)


def test_where_cupy_differs_from_numpy(cp: Any) -> None:
    bf16 = ml_dtypes.bfloat16
    half = cp.asarray(np.array([1, 2, 3], bf16))
    assert (half + 1).dtype == bf16
    assert (half + 1.5).dtype == np.float32  # a Python float widens bfloat16
    assert (half + half).dtype == bf16
    assert cp.where(half > 1, half, half).dtype == np.float32
    assert cp.exp(half).dtype == bf16
    assert half.sum().dtype == bf16
    assert cp.asarray([1, 2]).sum(dtype="f").dtype == np.float32
    same(cp.asarray([2, -1, 3]) ** cp.asarray([-1, -1, 2]), [0, -1, 9])
    same(cp.asarray([7, 8]) // cp.asarray([0, 3]), [0, 2])
    with pytest.raises(OverflowError):
        cp.asarray([1], "i1") + 300
    assert cp.asarray([1.0]).conj() is not None
    with pytest.raises(TypeError, match="bfloat16"):
        cp.sort(half)
    with pytest.raises(ValueError, match="'stable'"):
        cp.argsort(cp.ones(3), kind="quicksort")


def test_out_is_checked(cp: Any) -> None:
    a = cp.ones((2, 3), "f")
    out = cp.empty((2, 3), "f")
    assert cp.add(a, 1, out=out) is out
    with pytest.raises(ValueError, match="mismatched"):
        cp.add(a, a, out=cp.empty(3, "f"))
    with pytest.raises(TypeError, match="could not be coerced"):
        cp.add(a, 0.5, out=cp.empty((2, 3), "i4"))
    assert cp.sum(a, axis=0, out=out[0]).base is out
    with pytest.raises(ValueError, match="mismatch"):
        cp.sum(a, axis=0, out=out)
    bf16 = cp.empty((2, 3), ml_dtypes.bfloat16)
    same(cp.multiply(a, 3, out=bf16), np.full((2, 3), 3, ml_dtypes.bfloat16))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("sum", {"axis": (0, 2), "keepdims": True}), ("prod", {"axis": 1}), ("any", {"axis": 2}),
        ("max", {"axis": (1, 2)}), ("mean", {"axis": 0}), ("var", {"axis": 1, "ddof": 1}),
        ("argmax", {"axis": 1}), ("cumsum", {"axis": 2}), ("sort", {"axis": 0}),
        ("argsort", {"axis": 1, "kind": "stable"}), ("roll", {"shift": (1, 2), "axis": (0, 2)}),
        ("tril", {"k": 1}), ("flip", {"axis": 1}), ("moveaxis", {"source": 0, "destination": 2}),
        ("expand_dims", {"axis": 1}), ("repeat", {"repeats": 2, "axis": 1}), ("ptp", {"axis": 0}),
        ("pad", {"pad_width": 1}), ("diff", {"axis": 1}), ("transpose", {"axes": (2, 0, 1)}),
    ],
)  # fmt: skip
def test_functions_are_numpys(
    cp: Any, name: str, args: dict[str, Any], rng: np.random.Generator
) -> None:
    host = rng.standard_normal((3, 4, 5))
    same(getattr(cp, name)(cp.asarray(host), **args), getattr(np, name)(host, **args))


# -- views and indexing ----------------------------------------------------------------------------


def test_views_share_memory(cp: Any, rng: np.random.Generator) -> None:
    host = rng.standard_normal((4, 6))
    array = cp.asarray(host)
    array.T[2, 1:] = 7
    cp.broadcast_to(array[0], (3, 6))[1] = 5  # CuPy has no read-only arrays
    array.reshape(2, 2, 6)[1, 1] -= 1
    np.swapaxes(array, 0, 1)[5] *= 2
    cp.diagonal(array)[:] = 0
    host.T[2, 1:] = 7
    host[0] = 5
    host[3] -= 1
    host[:, 5] *= 2
    np.fill_diagonal(host, 0)
    same(array, host)
    assert array.T.base is array
    assert array.T[1].base is array
    array.shape = (2, 12)
    assert array.shape == (2, 12)


def test_indexing_by_arrays(cp: Any, rng: np.random.Generator) -> None:
    host = rng.standard_normal((5, 6, 3))
    array, rows = cp.asarray(host), rng.integers(-5, 5, (4, 2))
    same(array[cp.asarray(rows)], host[rows])
    same(array[:, cp.asarray(rows), 1], host[:, rows, 1])
    same(array[cp.asarray(rows), :, cp.asarray(rows) % 3], host[rows, :, rows % 3])
    same(array[array > 0], host[host > 0])
    same(array[[0, 7]], host[[0, 2]])  # outside wraps around
    same(cp.take(array, cp.asarray([1, 8]), 0), host[[1, 3]])
    same(
        cp.take_along_axis(array, cp.asarray([[[1]]]), 0),
        np.take_along_axis(host, np.array([[[1]]]), 0),
    )
    array[cp.asarray([1, 3])] = 2.0
    host[[1, 3]] = 2.0
    array[array < 0] = 0
    host[host < 0] = 0
    same(array, host)
    with pytest.raises(IndexError):
        array[9]
    with pytest.raises(ValueError, match="non-scalar"):
        array[0] = host[0]


def test_places_named_twice(cp: Any) -> None:
    import cupyx

    array = cp.zeros(3, "f")
    array[cp.asarray([1, 1])] = cp.asarray([5, 6], "f")
    assert array[1].item() == 5  # open in CuPy: a test that relies on NumPy's 6 must fail
    cupyx.scatter_add(array, cp.asarray([0, 0, -1]), cp.asarray([1, 2, 4], "f"))
    same(array, np.array([3, 5, 4], "f"))
    cupyx.scatter_max(array, [0, 0], cp.asarray([9, 8], "f"))
    assert array[0].item() == 9
    with pytest.raises(TypeError, match="only supports"):
        cupyx.scatter_add(cp.zeros(3, ml_dtypes.bfloat16), 0 * cp.arange(2), 1)
