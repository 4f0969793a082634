"""Sums on the CUDA backend that sort or run: without the host, in a fixed order, under capture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad import dtypes


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("n", [0, 1, 300, 8192, 8193])
@pytest.mark.parametrize("limit", [1, 255, 70_000])
def test_argsort(dtype: str, n: int, limit: int, gpu: Any, rng: np.random.Generator) -> None:
    from tensorgrad.backend.cuda.sort import argsort

    keys = rng.integers(-limit - 1, limit + 2, n).astype(dtype)
    want = keys.astype("i8") + np.where(keys < 0, limit, 0)
    want[(want < 0) | (want > limit)] = limit
    ordered, order = argsort(there(keys).data, limit)
    np.testing.assert_array_equal(here(order), np.argsort(want, kind="stable"))
    np.testing.assert_array_equal(here(ordered), np.sort(want))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_the_gradient_of_an_embedding(dtype: str, gpu: Any, rng: np.random.Generator) -> None:
    """A few words take most places, some count from the end, some never occur."""
    words, table = 500, rng.standard_normal((40, 12)).astype(dtype)
    index = np.where(rng.random(words) < 0.6, 7, rng.integers(-40, 33, words))
    ct = rng.standard_normal((words, 12)).astype(dtype)
    found = {}
    for device in ("cpu", "cuda:0"):
        w = tg.tensor(table, device=device, requires_grad=True)
        w[tg.tensor(index, device=device)].backward(tg.tensor(ct, device=device))
        found[device] = here(w.grad)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found["cuda:0"], found["cpu"], rtol=64 * eps, atol=4096 * eps)
    assert launches()["argsort_small_i64"]


def test_the_bits_do_not_depend_on_anything_else(gpu: Any, rng: np.random.Generator) -> None:
    index, ct = rng.integers(0, 5, 900), rng.standard_normal((900, 3)).astype("f4")

    def gradient() -> Any:
        w = there(np.zeros((5, 3), "f4"))
        w.requires_grad = True
        tg.take(w, there(index), 0).backward(there(ct))
        return here(w.grad)

    first = gradient()
    assert all(np.array_equal(gradient(), first) for _ in range(3))


def test_a_captured_embedding(gpu: Any, rng: np.random.Generator) -> None:
    """Gather, sorted sums and writes by index replay; nothing in them asks the device."""
    table = rng.standard_normal((30, 4)).astype("f4")
    w = there(table)
    w.requires_grad = True
    gradient, last = there(np.zeros((30, 4), "f4")), there(np.zeros((6, 4), "f4"))

    def step(index: Any, ct: Any) -> Any:
        w.grad = None
        rows = tg.take(w, index, 0)
        (rows * ct).sum().backward()
        gradient[...] = w.grad
        last[tg.remainder(index, 6)] = ct
        chosen = tg.take_along_axis(rows.detach(), tg.remainder(index, 4)[:, None], 1)
        return chosen.sum()

    def drawn() -> tuple[Any, Any]:
        return rng.integers(0, 30, 50), rng.standard_normal((50, 4)).astype("f4")

    def expected(index: Any, ct: Any) -> Any:
        total = np.zeros((30, 4))
        np.add.at(total, index, ct)
        return total

    captured = tg.cuda.capture(step, tuple(there(a) for a in drawn()))
    for _ in range(3):
        index, ct = drawn()
        value = captured(there(index), there(ct))
        np.testing.assert_allclose(here(gradient), expected(index, ct), rtol=1e-5, atol=1e-5)
        written = np.zeros((6, 4), "f4")
        written[index % 6] = ct
        seen = np.isin(np.arange(6), index % 6)
        np.testing.assert_array_equal(here(last)[seen], written[seen])
        chosen = table[index, index % 4].astype("f8").sum()
        np.testing.assert_allclose(here(value), chosen, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "int32", "bool"])
def test_whole_numbers_are_summed_and_checked(
    dtype: str, gpu: Any, rng: np.random.Generator
) -> None:
    from tensorgrad.backend.cuda.index import add_rows

    updates, index = rng.integers(0, 2, (40, 3)).astype(dtype), rng.integers(-6, 6, 40)
    total = np.zeros((6, 3), "i8")
    np.add.at(total, index, updates.astype("i8"))
    start = rng.integers(0, 2, (6, 3)).astype(dtype)
    found = add_rows("take", there(updates).data, there(index).data, there(start).data, 6)
    np.testing.assert_array_equal(here(found), (total + start).astype(dtype))
    add_rows("take", there(updates).data, there(np.full(40, 6)).data, there(start).data, 6)
    with pytest.raises(IndexError, match="take: got an index out of range in row 0"):
        there(index).numpy()


def test_a_bad_index_is_named_by_where_it_stands(gpu: Any, rng: np.random.Generator) -> None:
    from tensorgrad.backend.cuda.index import add_rows

    updates, index = there(rng.standard_normal((9, 2))), np.array([3, 1, 0, 2, 1, 4, -5, 1, 0])
    start = there(np.zeros((4, 2)))
    total = add_rows("take", updates.data, there(index).data, start.data, 4)
    with pytest.raises(IndexError, match="take: got an index out of range in row 5, expected -4"):
        there(index).numpy()
    want, inside = np.zeros((4, 2)), np.abs(index + 0.5) < 4
    np.add.at(want, index[inside], here(updates)[inside])
    np.testing.assert_allclose(here(total), want, rtol=1e-14, atol=1e-14)  # in any order


KEYS = {
    "rows": lambda i: (i,), "pairs": lambda i: (i, i[::-1]), "a row apart": lambda i: (2, i),
    "behind": lambda i: (..., i), "with a slice": lambda i: (slice(1, 4), i),
    "a new axis": lambda i: (None, i), "a grid": lambda i: (i[:, None], i[None, :]),
    "below": lambda i: (-i - 1,), "short": lambda i: (i.astype("i1"), i.astype("u2")),
}  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", KEYS)
def test_writes_by_index(name: str, turned: bool, gpu: Any, rng: np.random.Generator) -> None:
    x, key = rng.standard_normal((6, 6)), KEYS[name](rng.integers(0, 6, 9))
    x = x.T if turned else x
    value, want, got = rng.standard_normal(x[key].shape), x.copy(order="K"), there(x)
    got = got.T.copy().T if turned else got
    want[key] = value
    got[tuple(there(k) for k in key)] = there(value)
    np.testing.assert_array_equal(here(got), want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32", "uint8", "bool"])
@pytest.mark.parametrize(
    ("shape", "axis", "kernel"),
    [((3, 70), 1, "rows"), ((70, 3), 0, "rows"), ((5, 3), 0, "columns"), ((2, 90, 3), 1, "rows"),
     ((2, 3, 4), 1, "columns"), ((0, 3), 0, ""), ((200,), 0, "rows")],
)  # fmt: skip
def test_cumsum(
    dtype: str, shape: Any, axis: int, kernel: str, gpu: Any, rng: np.random.Generator
) -> None:
    x = rng.integers(0, 3, shape).astype(dtypes.dtype(dtype))
    before = dict(launches())
    got, want = (tg.cumsum(tg.tensor(x, device=d), axis) for d in ("cuda:0", "cpu"))
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(here(got), here(want))
    ran = {name for name, n in launches().items() if n != before.get(name, 0)}
    assert not kernel or any(name.startswith(f"cumsum_{kernel}_") for name in ran)
    back = [here(tg.cumsum(tg.flip(tg.tensor(x, device=d), axis), axis)) for d in ("cuda:0", "cpu")]
    np.testing.assert_array_equal(*back)


def test_the_derivative_of_cumsum_copies_nothing(gpu: Any, rng: np.random.Generator) -> None:
    x, ct = there(rng.standard_normal((4, 9))), rng.standard_normal((4, 9))
    x.requires_grad = True
    y, moved = tg.cumsum(x, 1), there(ct)
    before = dict(launches())
    y.backward(moved)
    ran = {name: n - before.get(name, 0) for name, n in launches().items()}
    assert {name: n for name, n in ran.items() if n} == {"cumsum_rows_f64": 1}
    want = np.cumsum(ct[:, ::-1], 1)[:, ::-1]  # whose sums may cancel
    np.testing.assert_allclose(here(x.grad), want, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes_wait_for_nothing(name: str, gpu: Any, rng: np.random.Generator) -> None:
    captured = tg.cuda.capture(lambda x: getattr(tg, name)(x, 1), (there(np.zeros((5, 7))),))
    for _ in range(2):
        x = rng.integers(0, 4, (5, 7)).astype("f8")
        np.testing.assert_array_equal(here(captured(there(x))), getattr(np, name)(x, 1))
