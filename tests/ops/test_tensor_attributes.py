"""Every attribute and method of NumPy's arrays on tensors, and the ways in which numbers leave."""

from __future__ import annotations

import array
import cmath
import copy
import ctypes
import io
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import array as placed
from place import here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.attributes import INSTEAD
from tensorgrad.testing import check_grad

OF_MEMORY = {"__array_interface__", "__array_struct__"}
"""NumPy would read the memory through them and never ask the tape; `__array__` asks."""
OF_SUBCLASSES = {"__array_finalize__", "__array_wrap__", "__class_getitem__", "__setstate__"}
"""How subclasses of `numpy.ndarray` are made, typed and unpickled; a tensor is none."""


@pytest.mark.parametrize("name", dir(np.ndarray))
def test_every_attribute_of_an_array_is_there_or_says_what_to_use(name: str) -> None:
    if name in INSTEAD:
        with pytest.raises(AttributeError) as caught:
            getattr(Tensor([1.0]), name)
        assert str(caught.value) == (
            f"{name}: got a tensor, which has it not, expected another way; try {INSTEAD[name]}"
        )
        assert not hasattr(Tensor([1.0]), name)
    else:
        assert hasattr(Tensor, name) == (name not in OF_MEMORY | OF_SUBCLASSES)


def test_the_table_names_only_what_numpy_has() -> None:
    assert set(INSTEAD) <= set(dir(np.ndarray))


# -- shape and memory --------------------------------------------------------------------------


def test_how_the_elements_lie(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4)).astype("f4")
    for value in (a, a.T, a[::2, 1:], a.astype("i8"), np.float64(2.0)):
        x = Tensor(placed(value))
        want = np.asarray(value)
        assert (x.itemsize, x.nbytes) == (want.itemsize, want.nbytes)
        assert x.strides == placed(value).strides
        assert x.flags.c_contiguous == placed(value).flags.c_contiguous


def test_strides_are_not_to_be_had_under_vmap(rng: np.random.Generator) -> None:
    with pytest.raises(AttributeError, match=r"^strides: got a tensor inside jvp or vmap"):
        tg.vmap(lambda v: v * v.strides[0])(rng.normal(size=(2, 3)))
    with pytest.raises(ValueError, match=r"^vmap: got .*tolist.*a batch hidden in it"):
        tg.vmap(lambda v: v * v.tolist()[0])(rng.normal(size=(2, 3)))
    with pytest.raises(ValueError, match=r"^vmap: got .*item.*a batch hidden in it"):
        tg.vmap(lambda v: v * v.sum().item())(rng.normal(size=(2, 3)))


def test_bytes_leave_off_the_tape_alone(rng: np.random.Generator, tmp_path: Any) -> None:
    a = rng.normal(size=(2, 3))
    x, on = Tensor(a), Tensor(a, requires_grad=True)
    assert x.tobytes() == a.tobytes()
    assert x.tobytes("F") == a.tobytes("F")
    x.tofile(tmp_path / "x")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "x"), a.ravel())
    np.testing.assert_array_equal(pickle.loads(x.dumps()), a)
    x.dump(tmp_path / "y")
    np.testing.assert_array_equal(np.load(tmp_path / "y", allow_pickle=True), a)
    for name, args in (
        ("tobytes", ()),
        ("tofile", (io.BytesIO(),)),
        ("dumps", ()),
        ("dump", ("",)),
    ):
        with pytest.raises(tg.GradientError, match=rf"^{name}: got a tensor on the tape"):
            getattr(on, name)(*args)


def test_view(rng: np.random.Generator) -> None:
    a = rng.normal(size=(2, 4))
    z = a + 1j * rng.normal(size=(2, 4))
    for value, dtype in ((a, "c16"), (z, "f8"), (a, "i8"), (a, "u1"), (a.astype("f4"), "c8")):
        x = Tensor(value)
        found = x.view(dtype)
        np.testing.assert_array_equal(here(found), value.view(dtype))
    x = tg.tensor(a)
    x.view("i8")[...] = 0
    assert not here(x).any()
    for value, dtype in ((a, "c16"), (z, "f8")):
        on = Tensor(value, requires_grad=True).view(dtype)
        assert on.requires_grad
        np.testing.assert_array_equal(here(on), value.view(dtype))
    check_grad(lambda t: (t.view("c16") ** 2).view("f8"), [a], order=2, rng=rng)
    rows = tg.vmap(lambda v: v.view(complex).view(float))(a)
    np.testing.assert_array_equal(rows, a)
    assert Tensor(a).view().shape == a.shape


def test_view_refuses() -> None:
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"^view: got -1, expected a dtype; try x\.reshape\(-1\)"):
        x.view(-1)
    with pytest.raises(tg.NotDifferentiable) as caught:
        x.view("i8")
    assert str(caught.value) == (
        "view: got float64 on the tape as int64, expected its real or complex twin; "
        "try x.astype('int64') for the values, or x.detach() for the bytes"
    )
    with pytest.raises(tg.ShapeError, match="even length"):
        x.view(complex)


def test_flat(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    for value in (a, a.T, a[::2, 1:], a[:0], np.asarray(1.5)):
        x, want = Tensor(placed(value)), np.ascontiguousarray(value).flat
        assert len(x.flat) == len(want)
        np.testing.assert_array_equal(here(x.flat.copy()), want.copy().reshape(-1))
        np.testing.assert_array_equal(here(x.flat[1:5:2]), value.reshape(-1)[1:5:2])
        np.testing.assert_array_equal([v.item() for v in x.flat], value.ravel())
    x = Tensor(a, requires_grad=True)
    np.testing.assert_array_equal(here(x.flat[[0, 5, 5]]), a.flat[[0, 5, 5]])
    np.testing.assert_array_equal(here(x.flat > 0), a.flat > 0)
    assert np.sum(x.flat).requires_grad
    assert np.add(x.flat, 1).requires_grad
    walk = x.flat
    assert [next(walk).item(), next(walk).item()] == [a.flat[0], a.flat[1]]
    assert (walk.index, walk.coords, walk.base) == (2, (0, 2), x)
    check_grad(lambda t: t.T.flat[2:9] ** 2, [a], order=2, rng=rng)
    with pytest.raises(tg.GradientError, match="__array__"):
        np.asarray(x.flat)
    with pytest.raises(tg.InPlaceError, match=r"^x\.flat\[key\] = v: got a leaf"):
        x.flat[0] = 1.0


def test_flat_writes_through(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    for turned in (False, True):
        x, want = tg.tensor(a), a.copy()
        view, wanted = (x.T, want.T) if turned else (x, want)
        view.flat[2:7] = 1.5
        wanted.flat[2:7] = 1.5
        view.flat[[0, 11]] = placed(np.array([2.0, 3.0]))
        wanted.flat[[0, 11]] = [2.0, 3.0]
        np.testing.assert_array_equal(here(x), want)
        view.flat = placed(np.arange(12.0))
        wanted.flat = np.arange(12.0)
        np.testing.assert_array_equal(here(x), want)


# -- methods -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.argsort(axis=0), lambda x: x.argpartition(1), lambda x: x[0].searchsorted(0.0),
        lambda x: x.compress([True, False, True], axis=0), lambda x: x.cumprod(axis=1),
        lambda x: x.T, lambda x: x.mT, lambda x: x.real, lambda x: x.imag, lambda x: x.ptp()
        if hasattr(x, "ptp") else x.max() - x.min(), lambda x: x.nonzero()[0], lambda x: x.trace(),
        lambda x: x.diagonal(), lambda x: x.ravel(), lambda x: x.swapaxes(0, 1),
        lambda x: x.round(1), lambda x: x.repeat(2, axis=1), lambda x: x.take([0, 2], axis=1),
        lambda x: x.clip(-0.5, 0.5), lambda x: x.conj(), lambda x: x.dot(x.T), lambda x: x.all(),
        lambda x: x.any(axis=0), lambda x: x.std(axis=1, ddof=1), lambda x: x.var(),
        lambda x: x.argmax(axis=1), lambda x: x.cumsum(axis=0), lambda x: x.prod(axis=0),
        lambda x: x.squeeze(), lambda x: x.flatten(), lambda x: x.copy(), lambda x: x.astype("f4"),
        lambda x: x.transpose(1, 0), lambda x: x.reshape(2, 6), lambda x: x.mean(axis=(0, 1)),
    ],
)  # fmt: skip
def test_methods(call: Callable[[Any], Any], rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    want = call(a)
    for on in (False, True):
        found = call(Tensor(a, requires_grad=on))
        assert isinstance(found, Tensor)
        assert found.dtype == want.dtype
        np.testing.assert_allclose(here(found), want, rtol=1e-12, atol=1e-14)  # a sum may cancel


def test_choose_takes_the_tensor_as_the_index() -> None:
    which = Tensor(placed(np.array([1, 0, 1])))
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    found = which.choose([x, 10 * x])
    np.testing.assert_array_equal(here(found), [10.0, 2.0, 30.0])
    assert found.requires_grad


def test_methods_that_write(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    for call in (
        lambda x: x.fill(1.5),
        lambda x: x.sort(),
        lambda x: x.sort(axis=0),
        lambda x: x.partition(1, axis=1),
    ):
        x, want = tg.tensor(a), a.copy()
        call(x)
        call(want)
        if call.__code__.co_consts and "partition" in call.__code__.co_names:
            np.testing.assert_array_equal(np.sort(here(x)), np.sort(want))
            np.testing.assert_array_equal(here(x)[:, 1], want[:, 1])
        else:
            np.testing.assert_array_equal(here(x), want)
        with pytest.raises(tg.InPlaceError, match="got a leaf that requires a gradient"):
            call(Tensor(a, requires_grad=True))
    z = tg.tensor(a + 0j)
    z.real, z.imag = 1.0, placed(a)
    np.testing.assert_array_equal(here(z), 1 + 1j * a)
    with pytest.raises(TypeError, match=r"^imag: got float64\(3, 4\) to write to"):
        Tensor(a).imag = 1.0
    with pytest.raises(tg.InPlaceError):
        Tensor(a + 0j, requires_grad=True).real = 1.0


@pytest.mark.cpu_only("CuPy's put knows no mode 'raise'")
def test_put(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    x, want = tg.tensor(a), a.copy()
    x.put([0, -1], [5.0, 6.0])
    want.put([0, -1], [5.0, 6.0])
    x.put([13], 7.0, mode="wrap")
    want.put([13], 7.0, mode="wrap")
    np.testing.assert_array_equal(here(x), want)
    with pytest.raises(tg.InPlaceError, match=r"^x\.put\(x, \.\.\.\): got a leaf"):
        Tensor(a, requires_grad=True).put([0], 1.0)


def test_elements(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    x = Tensor(a, requires_grad=True)
    assert (x.item(5), x.item(1, 2), x.item((2, -1))) == (a.item(5), a.item(1, 2), a[2, -1])
    with pytest.raises(tg.ShapeError, match=r"^item: got x=float64\(3, 4\)"):
        x.item()
    assert a[1, 1] in x
    assert 99.0 not in x
    with pytest.raises(TypeError, match=r"^del x\[key\]: got a tensor of shape \(3, 4\)"):
        del x[0]
    twin = copy.copy(Tensor(a))
    twin[0, 0] = 9.0
    assert a[0, 0] != 9.0
    assert copy.copy(x).requires_grad


# -- the roads off the tape --------------------------------------------------------------------

ROADS: dict[str, list[Callable[[Any], Any]]] = {
    "float": [float, math.sin, math.floor, math.sqrt, lambda t: math.hypot(t, 1), ctypes.c_double,
              lambda t: operator.mod("%.2f", t),
              lambda t: math.fsum([t]), lambda t: array.array("d", [t])],
    "int": [int, lambda t: operator.mod("%d", t)],
    "complex": [complex, cmath.exp],
    "trunc": [math.trunc],
    "index": [operator.index, range, lambda t: [1, 2, 3][t], hex],
    "numpy": [lambda t: t.numpy()],
}  # fmt: skip


@pytest.mark.parametrize("road", ROADS)
def test_no_number_leaves_the_tape_unseen(road: str) -> None:
    t = Tensor(2.0, requires_grad=True)
    for call in ROADS[road]:
        with pytest.raises(tg.GradientError) as caught:
            call(t)
        assert str(caught.value) == (
            f"{road}: got a tensor on the tape, where a gradient would be cut silently, expected "
            "one off it; try x.detach().numpy(), or x.item() for one number"
        )
    off: Any = Tensor(2) if road == "index" else Tensor(2.0)
    for call in ROADS[road]:
        call(off)


ARRAY = (
    "__array__: got a tensor on the tape, where a gradient would be cut silently, expected one off "
    "it; try np.stack([t, u]) instead of np.array([t, u]), or x.detach().numpy() for a constant"
)


@pytest.mark.parametrize(
    "call",
    [np.asarray, np.array, np.float64, lambda t: np.array([t, t]), lambda t: np.array([[t], [t]]),
     lambda t: np.array([1.0, t]), np.ascontiguousarray, np.vectorize(math.sin),
     lambda t: np.random.default_rng(0).normal(t), lambda t: np.full(3, t), np.nditer,
     lambda t: list(np.ndenumerate(t)), np.broadcast, lambda t: np.r_[t, 0.0],
     lambda t: np.asarray(t, dtype="f4"), np.complex128, np.ma.array],
)  # fmt: skip
def test_no_array_is_made_of_the_tape(call: Callable[[Any], Any]) -> None:
    with pytest.raises(tg.GradientError) as caught:
        call(Tensor(2.0, requires_grad=True))
    assert str(caught.value) == ARRAY


def test_an_array_does_not_swallow_a_tensor(rng: np.random.Generator) -> None:
    a, t = rng.uniform(1, 2, 3), Tensor(rng.uniform(1, 2, 3), requires_grad=True)
    for write in (operator.iadd, operator.imul, operator.isub, operator.itruediv, operator.ipow):
        with pytest.raises(TypeError, match=r"got out=ndarray for a tensor's result"):
            write(a, t)
    with pytest.raises(tg.GradientError, match="__array__"):
        a[:] = t
    for write in (lambda: operator.setitem(a, 1, t[0]), lambda: a.fill(t[0])):
        with pytest.raises(ValueError, match="setting an array element") as caught:
            write()
        assert str(caught.value.__cause__).startswith("float: got a tensor on the tape")
    for y in (
        a @ t,
        a + t,
        operator.add([1.0, 2.0, 3.0], t),
        list(t)[1],
        max(t),
        sum(t),
        divmod(a, t)[1],
    ):
        assert y.requires_grad


def test_text_is_allowed_on_the_tape() -> None:
    t = Tensor(2.0, requires_grad=True)
    assert f"{t:.3f} {t:>5}" == "2.000   2.0"
    assert f"{t}" == str(t) == "tensor(2., requires_grad=True)"
    with pytest.raises(TypeError, match=r"^format: got x=float64\(2,\), expected one element"):
        format(Tensor([1.0, 2.0]), ".2f")


def test_off_the_tape_numbers_are_numpys() -> None:
    t = Tensor(2.75)
    assert (math.trunc(t), float(t), int(t), round(t, 1).item()) == (2, 2.75, 2, 2.8)
