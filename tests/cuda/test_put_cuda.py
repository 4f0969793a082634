"""Writes and reads by integer arrays on the CUDA backend: first-order VJPs that work in place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, there

import tensorgrad as tg

Rng = np.random.Generator


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


class Into:
    """What backward tells a first-order VJP, as far as these ask."""

    def __init__(self, held: Any = None, free: Any = None) -> None:
        self.held, self.free, self.kept = held, free, None

    def part(self, k: int) -> Any:
        return self.held

    def spare(self, ct: Any) -> bool:
        return ct is self.free

    def keep(self, k: int, ct: Any) -> Any:
        self.kept = ct
        return ct


def node(shape: tuple[int, ...], axes: tuple[int, ...], at: int) -> Any:
    return SimpleNamespace(
        params={"axes": axes, "at": at}, parents=[SimpleNamespace(shape=shape)] * 3
    )


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex128"])
@pytest.mark.parametrize("axes", [(0,), (0, 1), (1,), (0, 2)])
def test_a_few_rows_are_added_where_the_cotangent_is(
    dtype: str, axes: tuple[int, ...], gpu: Any, rng: Rng
) -> None:
    from tensorgrad.backend import numpy_index
    from tensorgrad.backend.cuda import put

    shape, wide = (40, 6, 5), tg.dtypes.dtype(dtype)
    index = np.stack([rng.integers(-shape[k], shape[k], 3) for k in axes])
    at = 0 if axes != (1,) else 1
    taken = numpy_index.gather(np.empty(shape), index, axes=axes, at=at).shape
    ct, held = (rng.integers(-4, 5, s).astype(wide) for s in (taken, shape))
    want = numpy_index.scatter_add(ct, index, axes=axes, at=at, shape=shape) + held
    given, total = there(ct).data, there(held).data
    into = Into(total)
    ((k, found),) = put.gather_pull(
        given, [0], into, (None, there(index).data), node(shape, axes, at)
    )
    assert k == 0
    in_place = axes != (1,) and axes != (0, 2)
    assert (found is total) is in_place
    whole = here(found) if in_place else here(found) + held
    np.testing.assert_array_equal(whole.astype(want.dtype), want)
    alone = Into()
    ((_, found),) = put.gather_pull(
        given, [0], alone, (None, there(index).data), node(shape, axes, at)
    )
    assert alone.kept is found
    np.testing.assert_array_equal(here(found) + held, want)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex128"])
@pytest.mark.parametrize("count", [3, 30])
def test_the_cotangent_of_a_write_is_cut_in_place(
    dtype: str, count: int, gpu: Any, rng: Rng
) -> None:
    from tensorgrad.backend import numpy_put
    from tensorgrad.backend.cuda import put

    index = rng.integers(-40, 40, (1, count))
    ct = rng.standard_normal((40, 3)).astype(tg.dtypes.dtype(dtype))
    saved = (None, index, None)
    want = dict(numpy_put.scatter_pull(ct.copy(), [0, 2], Into(), saved, node(ct.shape, (0,), 0)))
    for spare in (False, True):
        given = there(ct).data
        before, into = given.copy(), Into(free=given if spare else None)
        moved = (None, there(index).data, None)
        found = dict(put.scatter_pull(given, [0, 2], into, moved, node(ct.shape, (0,), 0)))
        assert (found[0] is given) is spare
        assert into.kept is found[0]
        for k in (0, 2):
            np.testing.assert_array_equal(here(found[k]), want[k])
        if not spare:
            np.testing.assert_array_equal(here(given), here(before))


@pytest.mark.parametrize("sizes", [(6,), (4, 3), (400,), (30, 20)])
def test_the_last_of_equal_indices(sizes: tuple[int, ...], gpu: Any, rng: Rng) -> None:
    from tensorgrad.backend import numpy_put
    from tensorgrad.backend.cuda import put

    few = [rng.integers(0, 3, (2, 4)) - rng.choice([0, n]) for n in sizes]
    index = np.stack(few)
    want = numpy_put.last_place(index, sizes=sizes)
    moved = there(index).data
    np.testing.assert_array_equal(here(put.last_place(moved, sizes=sizes)), want)
    target = there(np.zeros((2, 4), bool)).data
    assert put.last_place(moved, sizes=sizes, out=target) is target
    np.testing.assert_array_equal(here(target), want)
    assert put.last_place(moved[:, :0], sizes=sizes).shape == (0, 4)


def test_a_loop_of_writes_and_reads(gpu: Any, rng: Rng) -> None:
    """The gradient of states that are written and read by integer arrays, as on the CPU."""
    first, weight = rng.uniform(0.5, 1, (2, 3)), rng.uniform(0.5, 1, 3)
    places = [rng.permutation(60)[:2] for _ in range(25)]

    def run(device: str) -> Any:
        s, w = (tg.tensor(a, device=device, requires_grad=True) for a in (first, weight))
        rows = [tg.tensor(p, device=device) for p in places]
        x = tg.zeros((60, 3), device=device)
        x[rows[0]] = s
        for a, b in pairwise(rows):
            x[b] = np.sin(x[a]) * w + x[b]
        (x[rows[-1]] * x[rows[3]]).sum().backward()
        return here(x), here(s.grad), here(w.grad)

    for got, want in zip(run("cuda:0"), run("cpu"), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


def drawn_key(rng: Rng, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A key with index arrays: beside numbers, spans, masks, an ellipsis and new axes."""
    shared = (3, 1)[: int(rng.integers(1, 3))]
    kinds = rng.choice(["array", "row", "number", "span", "whole", "mask"], len(shape))
    kinds[rng.integers(len(shape))] = "array"
    key: list[Any] = []
    for size, kind in zip(shape, kinds):
        ends = sorted(rng.integers(0, size + 1, 2).tolist())
        mask = np.zeros(size, bool)
        mask[rng.permutation(size)[: shared[-1]]] = True
        one: dict[str, Any] = {
            "array": rng.integers(-size, size, shared),
            "row": rng.integers(-size, size, shared[-1]).astype("i4"),
            "number": int(rng.integers(-size, size)),
            "span": slice(*ends) if rng.integers(2) else slice(None, None, -2),
            "whole": slice(None),
            "mask": mask,
        }
        key.append(one[kind])
    wholes = [k for k, one in enumerate(key) if type(one) is slice and one == slice(None)]
    if wholes and rng.integers(2):
        key[int(rng.choice(wholes))] = Ellipsis
    # An ellipsis would take the place of what is left out.
    dense = not any(one is Ellipsis for one in key)
    while dense and type(key[-1]) is slice and key[-1] == slice(None) and rng.integers(2):
        key.pop()
    if rng.integers(3) == 0:
        key.insert(int(rng.integers(len(key) + 1)), None)
    return tuple(key)


@pytest.mark.parametrize("dtype", ["float32", "bool", "float16", "complex128"])
def test_a_write_is_numpys(dtype: str, gpu: Any, rng: Rng) -> None:
    from tensorgrad.backend.cuda.assign import assign

    for _ in range(25):
        shape = tuple(int(n) for n in rng.integers(3, 9, rng.integers(1, 5)))
        key, few = drawn_key(rng, shape), int(rng.integers(2))
        x = rng.integers(-9, 9, (40 if few else 1, *shape)).astype(dtype)
        x = x if few else x[0]
        key = (rng.integers(-40, 40, 1), *key) if few else key
        if not any(isinstance(k, np.ndarray) and k.dtype != bool for k in key):
            continue
        part = x[key]
        value = rng.integers(-9, 9, part.shape[int(rng.integers(part.ndim + 1)) :]).astype(dtype)
        order = rng.permutation(x.ndim) if rng.integers(2) else range(x.ndim)
        back = np.argsort(order).tolist()
        turned = there(np.ascontiguousarray(x.transpose(order))).data.transpose(back)
        moved = tuple(there(k).data if isinstance(k, np.ndarray) else k for k in key)
        assign(turned, there(value).data, key=moved)
        x[key] = value
        np.testing.assert_array_equal(here(turned), x, err_msg=repr((shape, key)))


def test_a_write_of_a_few_rows_passes_over_no_array(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made goes with what is written, not with the array."""
    import cupy

    from tensorgrad.backend.cuda.assign import assign

    x, rows = there(np.zeros((20_000, 5), "f4")).data, there(np.array([3, 17, -3, 3])).data
    value, made = there(np.arange(20, dtype="f4").reshape(4, 5)).data, []
    for name in ("empty", "zeros", "arange"):
        usual = getattr(cupy, name)

        def noted(*args: Any, usual: Any = usual, **options: Any) -> Any:
            made.append(usual(*args, **options))
            return made[-1]

        monkeypatch.setattr(cupy, name, noted)
    assign(x, value, key=(rows,))
    assert made
    assert max(a.size for a in made) <= value.size
    want = np.zeros(x.shape)
    want[here(rows)] = here(value)
    np.testing.assert_array_equal(here(x), want)


def test_keys_that_name_nothing(gpu: Any) -> None:
    x = there(np.zeros((3, 4)))
    with pytest.raises(IndexError, match="index 4 is out of bounds for axis 1 with size 4"):
        x[there(np.array([0, 1])), 4] = 1.0
    with pytest.raises(IndexError, match=r"index arrays of \(2,\), \(3,\)"):
        x[there(np.array([0, 1])), there(np.array([0, 1, 2]))] = 1.0
