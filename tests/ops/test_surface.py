"""NumPy's own lists of functions, held against what tensors do with each."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import protocols
from tensorgrad.ops.refusals import AS_TENSOR, CONSTANT, CREATION, REFUSED, WRITES, shown
from tensorgrad.ops.surface import HOWS, listed, surface
from tensorgrad.testing import check_grad

pytestmark = pytest.mark.cpu_only("NumPy's lists; what each function does has tests of its own")
LISTED = listed()
ROWS = {row.name: row for row in surface()}
TABLES = (AS_TENSOR, CONSTANT, CREATION, frozenset(REFUSED), WRITES)


def test_every_function_of_numpys_lists_has_a_row() -> None:
    missing = [row.name for row in ROWS.values() if row.how == "missing"]
    assert not missing, f"neither mapped, constant nor refused: {missing}"


def test_the_tables_name_only_what_numpy_has_and_each_once() -> None:
    assert set().union(*TABLES) <= set(ROWS)
    assert sum(map(len, TABLES)) == len(set().union(*TABLES))
    mapped = {name for name, f in LISTED.items() if f in protocols.FUNCTIONS}
    reads = {"shape", "ndim", "size"}  # of the shape alone; in FUNCTIONS without an operation
    assert not (mapped - reads) & set().union(*TABLES)
    assert all(row.how in HOWS for row in ROWS.values())
    assert all(row.orders > 0 for row in ROWS.values() if row.how == "differentiable")
    assert all(row.reason for row in ROWS.values() if row.how == "refused")
    assert [row.name for row in ROWS.values()] == sorted(ROWS)


def calls(name: str, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
    """Arguments of many functions, every array among them on the tape."""
    m = Tensor(rng.uniform(0.5, 2, (3, 3)), requires_grad=True)
    v, s = m[0], m[0, 0]
    own: dict[str, tuple[Any, ...]] = {
        "apply_along_axis": (np.add.reduce, 0, m),
        "apply_over_axes": (np.sum, m, [0]),
        "choose": ([0, 1, 0], [v, v]),
        "compress": (v > 0, v),
        "einsum": ("ij,jk", m, m),
        "extract": (v > 0, v),
        "piecewise": (v, [v > 0], [np.sin]),
        "select": ([v > 1], [v]),
        "where": (v > 1, v, v),
    }
    if name in own:
        yield own[name]
    yield from ((m,), (m, m), (m, 1), (m, 0, 1), ([m, m],), (v,), (v, v), (m, m, m), (v, v, v))
    yield from ((v, 1), (v, 1, 1), (s, s, 3), (m, 0.5), (v, (2, 2)), (v, [0, 1]), (m, [0, 1, 1]))
    yield from ((v, v, 1), (m, "x"), (m, (3, 3)))
    yield from ((m + m.T + 4 * np.eye(3),), (2 * np.eye(3) + 0.1 * m, v))


def flattened(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [one for part in value for one in flattened(part)]
    return flattened(list(value.values())) if isinstance(value, dict) else [value]


def outcomes(name: str, rng: np.random.Generator) -> Iterator[list[Any]]:
    """The parts of every result that a function gives for the calls that fit it."""
    function = LISTED[name]
    for args in calls(name, rng):
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = function(*args)
            except Exception:  # this call does not fit the function, or is refused
                continue
        yield flattened(result)


ZERO = {"full_like", "imag", "linalg.norm", "linalg.vector_norm"}
"""Filled with a number, the imaginary part of real ones, a count of elements: rightly constant."""


def test_no_gradient_is_cut_in_silence(rng: np.random.Generator) -> None:
    reached, wrong = 0, []
    for name, row in ROWS.items():
        for parts in outcomes(name, rng) if name not in AS_TENSOR | CREATION else ():
            reached += 1
            if any(isinstance(part, np.ndarray | np.generic) for part in parts):
                wrong.append(f"{name} gave a bare array")
            moving = [p for p in parts if isinstance(p, Tensor) and p.dtype.kind in "fc"]
            if moving and row.how in ("refused", "writes"):
                wrong.append(f"{name}, which is refused, gave a value")
            cut = moving and not any(p.requires_grad for p in moving)
            if cut and row.how == "differentiable" and name not in ZERO:
                wrong.append(f"{name} was cut off the tape")
    assert not wrong, sorted(set(wrong))
    assert reached > len(ROWS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_refusal_names_the_function_the_reason_and_the_way_out(name: str) -> None:
    want, instead = REFUSED[name]
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(tg.NotDifferentiable) as caught:
        protocols.bare(shown(LISTED[name]), LISTED[name], (x,), {})
    head = f"{shown(LISTED[name])}: got a tensor that needs a gradient, expected {want}; "
    assert str(caught.value) == f"{head}try {instead}"


def test_a_refused_function_runs_off_the_tape(tmp_path: Any) -> None:
    x = Tensor([1.0, 2.0])
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), here(x))
    np.savez(tmp_path / "x.npz", x=x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npz")["x"], here(x))
    np.savetxt(tmp_path / "x.txt", x)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "x.txt"), here(x))
    w = tg.Tensor([1.0], requires_grad=True)
    with tg.no_grad():
        np.save(tmp_path / "w.npy", w)
    with pytest.raises(tg.NotDifferentiable) as caught:
        np.save(tmp_path / "w.npy", w)
    assert str(caught.value) == (
        "np.save: got a tensor that needs a gradient, expected numbers alone, for a file keeps no "
        "graph; try x.detach()"
    )
    assert np.array2string(w) == "[1.]"


def test_a_strangers_ufunc_is_refused_on_the_tape() -> None:
    twice = np.frompyfunc(lambda x: 2 * x, 1, 1)
    with pytest.raises(tg.NotDifferentiable, match="got a tensor that needs a gradient"):
        twice(Tensor([1.0], requires_grad=True))

    def gamma(x: float) -> float:
        return x

    with pytest.raises(tg.NotDifferentiable):  # its name is one of SciPy's, it is not
        np.frompyfunc(gamma, 1, 1)(Tensor([3.0], requires_grad=True))


def test_a_batch_that_cannot_be_read_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"^vmap: got .*np\.allclose.*a batch hidden in it"):
        tg.vmap(lambda v: np.allclose(v, v) * v)(rng.normal(size=(2, 3)))


@pytest.mark.parametrize("name", sorted(WRITES))
def test_functions_that_write(name: str, rng: np.random.Generator) -> None:
    function, array = getattr(np, name), rng.normal(size=(3, 3))
    rest: tuple[Any, ...] = {
        "copyto": (1.5,), "fill_diagonal": (1.5,), "place": (array > 0, [1.5]),
        "put": ([0, 4], 1.5), "put_along_axis": (np.array([[0], [1], [1]]), 1.5, 1),
        "putmask": (array > 0, 1.5),
    }[name]  # fmt: skip
    t, want = tg.tensor(array), array.copy()
    function(t, *rest)
    function(want, *rest)
    np.testing.assert_array_equal(t.numpy(), want)
    leaf = Tensor(array, requires_grad=True)
    with pytest.raises(
        tg.InPlaceError, match=rf"np\.{name}\(x, \.\.\.\): got a leaf that requires"
    ):
        function(leaf, *rest)
    made = leaf * 2
    function(made, *rest)
    want = array * 2
    function(want, *rest)
    np.testing.assert_array_equal(here(made), want)
    made.sum().backward()
    np.testing.assert_array_equal(here(leaf.grad), np.where(want == array * 2, 2.0, 0.0))


def test_a_recorded_value_is_not_written_away(rng: np.random.Generator) -> None:
    x = Tensor(rng.normal(size=3), requires_grad=True)
    with pytest.raises(tg.InPlaceError, match=r"^np\.copyto\(x, \.\.\.\): got a recorded value"):
        np.copyto(np.zeros(3), x)
    target = tg.tensor(np.zeros(3))
    np.copyto(target, x)
    target.sum().backward()
    np.testing.assert_array_equal(here(x.grad), 1.0)
    saved = tg.tensor([1.0, 2.0, 3.0])
    y = x * saved
    np.put(saved, 0, 9.0)
    with pytest.raises(tg.InPlaceError, match="overwritten"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("name", "args"),
    [("arange", (3,)), ("empty", ((2, 0),)), ("eye", (3, 2)), ("full", ((2,), 1.5)),
     ("fromfunction", (lambda i, j: i + j, (2, 3))), ("fromiter", ([1, 2], float)),
     ("frombuffer", (b"12345678", "f8")), ("identity", (2,)), ("ones", ((2, 3), "f4")),
     ("tri", (3,)), ("zeros", (2,)), ("asarray", ([1, 2],)), ("array", ([[1.0]],)),
     ("fromstring", ("1 2", float, -1)), ("require", ([1.0, 2.0],))],
)  # fmt: skip
def test_creation_like_a_tensor(name: str, args: tuple[Any, ...]) -> None:
    options = {"sep": " "} if name == "fromstring" else {}
    x = Tensor([1.0], requires_grad=True)
    found = getattr(np, name)(*args, like=x, **options)
    want = getattr(np, name)(*args, **options)
    assert isinstance(found, Tensor)
    assert (found.dtype, found.requires_grad) == (want.dtype, False)
    np.testing.assert_array_equal(here(found), want)


def test_a_fill_value_keeps_its_gradient(rng: np.random.Generator) -> None:
    a = rng.normal(size=(2, 3))
    check_grad(lambda v: np.full_like(a, 1.0) * np.full_like(v * a, v[0, 0]), [a], rng=rng)
    check_grad(lambda v: tg.full((2, 3), v[0]) * a, [a[0]], order=2, rng=rng)


def test_what_is_made_of_tensors_stays_on_the_tape(rng: np.random.Generator) -> None:
    x = Tensor(rng.normal(size=3), requires_grad=True)
    nested = np.array([[x[0], 2.0], [x[1], x[2]]], like=x)
    full = np.full((2, 2), x[0], like=x)
    made = np.fromfunction(lambda k: k * x, (3,), like=x)
    for found in (nested, full, made, np.asarray(x, like=x), np.array(x, ndmin=2, like=x)):
        assert isinstance(found, Tensor)
        assert found.requires_grad
    nested.sum().backward()
    np.testing.assert_array_equal(here(x.grad), np.ones(3))
    assert np.array(x, ndmin=2, like=x).shape == (1, 3)
    assert not np.shares_memory(np.array(x.detach(), like=x).numpy(), x.detach().numpy())
    assert np.shares_memory(np.asarray(x.detach(), like=x).numpy(), x.detach().numpy())


def test_arguments_in_numpys_order(rng: np.random.Generator) -> None:
    a = rng.normal(size=(3, 4))
    for on in (False, True):
        x = Tensor(a, requires_grad=on)
        for call in (
            lambda t: np.sum(t, 0, None, None, True),
            lambda t: np.var(t, 0, None, None, 1),
            lambda t: np.std(t, 1, None, None, 1, True),
            lambda t: np.mean(t, 0, None, None, True),
            lambda t: np.max(t, 1, None, True),
            lambda t: np.clip(t, -0.5, 0.5),
            lambda t: np.clip(a_max=0.5, a=t, a_min=-0.5),
            lambda t: np.argmax(t, 1, None, keepdims=True),
            lambda t: np.round(t, 1, None),
            lambda t: np.real(val=t),
            lambda t: np.sum(axis=1, a=t),
            lambda t: np.reshape(t, (4, 3), "F"),
            lambda t: np.take(t, [0, 2], 1, None, "wrap"),
            lambda t: np.trace(t, 0, 0, 1, None, None),
            lambda t: np.broadcast_to(t, (2, 3, 4), True),
            lambda t: np.concatenate((t, t), 1, None),
            lambda t: np.cumsum(t, 1, None, None),
            lambda t: np.sum(t, 1, keepdims=np._NoValue),
        ):
            np.testing.assert_allclose(here(call(x)), call(a), rtol=1e-14, atol=1e-14)
    out = Tensor(np.zeros(4))
    assert np.sum(Tensor(a), 0, None, out) is out
    np.testing.assert_allclose(here(out), a.sum(0))
    with pytest.raises(TypeError, match=r"out=ndarray"):
        np.sum(x, 0, None, np.zeros(4))
