"""Kernels that move and accumulate, on the CPU: transposes, rows by index, running sums."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernel_tools import COMPUTE, DTYPES, array, i32, i64, launch, module, near, size, u64

INTEGERS = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def bits(rng: np.random.Generator, shape: Any, width: int, shift: int = 0) -> Any:
    """Random patterns of a size in bytes."""
    dtype = np.dtype("c16") if width == 16 else np.dtype(INTEGERS[width])
    found = array(shape, dtype, shift)
    found.view(np.uint8)[...] = rng.integers(0, 256, found.view(np.uint8).shape)
    if width == 16:
        found[...] = rng.random(shape) + 1j
    return found


@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 70), (1, 33, 1), (3, 65, 31), (1, 96, 64)])
def test_transpose(rng: np.random.Generator, width: int, shape: tuple[int, int, int]) -> None:
    batch, rows, columns = shape
    ld, ld_out = columns + int(rng.integers(3)), rows + int(rng.integers(3))
    x = bits(rng, (batch, rows, ld), width, int(rng.integers(2)))
    out = array((batch, columns, ld_out), x.dtype)
    grid = (-(-columns // 32), int(rng.integers(1, -(-rows // 32) + 1)), int(rng.integers(1, 3)))
    args = (x, out, i64(batch), i64(rows), i64(columns), i64(ld), i64(ld_out))
    args += (i64(rows * ld), i64(columns * ld_out))
    launch("transpose", f"transpose_{width}", grid, 256, *args)
    assert np.array_equal(out[:, :, :rows], x[:, :, :columns].swapaxes(1, 2))


def lanes_of(rng: np.random.Generator, items: int, columns: int, per: int) -> tuple[Any, int]:
    """A grid and a number of lanes that the contract allows."""
    lanes = int(2 ** rng.integers(0, 6))
    most = -(-columns // (lanes * per))
    return (max(1, -(-items * lanes // 256)), int(rng.integers(1, most + 1))), lanes


@pytest.mark.parametrize("width", [1, 2, 4, 8])
@pytest.mark.parametrize("columns", [1, 5, 64, 130])
def test_gather_rows(rng: np.random.Generator, width: int, columns: int) -> None:
    count, n, ld = 11, int(rng.integers(1, 90)), columns + int(rng.integers(9))
    table = bits(rng, (count, ld), width, int(rng.integers(2)))
    index = rng.integers(-count, count, n)
    out, flag = array((n, ld), table.dtype, int(rng.integers(2))), np.zeros(1, i32)
    grid, lanes = lanes_of(rng, n, columns, 16 // width)
    tail = (out, flag, i64(n), i64(count), i32(columns), i64(ld), i64(ld), i32(lanes))
    launch("index", f"gather_rows_{width}", grid, 256, table, index, *tail)
    assert np.array_equal(out[:, :columns], table[index][:, :columns])
    assert flag[0] == 0
    index[n // 2 :] = count
    launch("index", f"gather_rows_{width}", grid, 256, table, index, *tail)
    assert flag[0] == np.iinfo(i32).max - n // 2
    assert not out[n // 2 :, :columns].any()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("columns", [1, 5, 64, 130])
@pytest.mark.parametrize("n", [1, 64, 65, 700])
def test_index_add(rng: np.random.Generator, name: str, columns: int, n: int) -> None:
    c, count, ld = COMPUTE[name], int(rng.choice([1, 3, 40, 1000])), columns + int(rng.integers(9))
    index = rng.integers(0, count, n)
    if rng.integers(2):  # runs over many windows
        index[rng.random(n) < 0.7] = count // 2
    order = np.argsort(index, kind="stable")
    updates = array((n, ld), DTYPES[name], int(rng.integers(2)))
    updates[:, :columns] = rng.standard_normal((n, columns))
    out = array((count, ld), DTYPES[name])
    out[:, :columns] = rng.standard_normal((count, columns))
    want = out[:, :columns].astype(np.float64)
    np.add.at(want, index, updates[:, :columns].astype(np.float64))
    windows = -(-n // 64)
    head, tail = array((windows, columns), c), array((windows, columns), c)
    ordered, flag = index[order], np.zeros(1, i32)
    grid, lanes = lanes_of(rng, windows, columns, 16 // size(name))
    sizes = (i64(n), i64(count), i32(columns))
    args = (updates, ordered, order, out, head, tail, flag, *sizes, i64(ld), i64(ld), i32(lanes))
    launch("index", f"index_add_{name}", grid, 256, *args)
    args = (ordered, head, tail, out, *sizes, i64(ld), i32(lanes))
    launch("index", f"index_add_fold_{name}", grid, 256, *args)
    near(out[:, :columns], want, name, n, 4 + np.abs(want))
    assert flag[0] == 0


def test_index_add_is_sequential_in_a_window_and_leaves_out_what_is_outside() -> None:
    updates = np.array([[1e8], [1.0], [-1e8], [2.0], [4.0]], np.float32)
    ordered, out, flag = np.array([-1, 0, 0, 0, 2]), np.zeros((2, 1), np.float32), np.zeros(1, i32)
    head, tail = array((1, 1), np.float32), array((1, 1), np.float32)
    order = np.array([4, 0, 1, 2, 3])
    args = (updates, ordered, order, out, head, tail, flag, i64(5), i64(2), i32(1))
    launch("index", "index_add_f32", (1,), 256, *args, i64(1), i64(1), i32(1))
    first = np.float32(1e8) + np.float32(1) - np.float32(1e8)
    assert out[:, 0].tolist() == [first, 0]
    assert flag[0] == np.iinfo(i32).max - 3  # of rows 4 and 3 the first one
    identity = (None, out, head, tail, flag, i64(5), i64(2), i32(1), i64(1), i64(1), i32(1))
    out[...], ordered[...] = 0, [0, 0, 1, 1, 1]
    launch("index", "index_add_f32", (1,), 256, updates, ordered, *identity)
    assert out[1, 0] == np.float32(-1e8) + np.float32(2) + np.float32(4)


@pytest.mark.parametrize("name", ["f32", "f64"])
def test_index_add_atomic(rng: np.random.Generator, name: str) -> None:
    n, count, columns = 100, 7, 33
    index, flag = rng.integers(0, count, n), np.zeros(1, i32)
    updates = rng.standard_normal((n, columns)).astype(DTYPES[name])
    out = np.zeros((count, columns), DTYPES[name])
    grid, lanes = lanes_of(rng, n, columns, 1)
    args = (updates, index, out, flag, i64(n), i64(count), i32(columns))
    tail = (i64(columns), i64(columns), i32(lanes))
    launch("index", f"index_add_atomic_{name}", grid, 256, *args, *tail, schedules=["random"])
    want = np.zeros(out.shape)
    np.add.at(want, index, updates.astype(np.float64))
    near(out, want, name, n, 10)


@pytest.mark.parametrize("how", ["last", "sorted"])
@pytest.mark.parametrize("width", [1, 2, 4, 8, 16])
def test_put_lets_the_last_of_equal_places_win(
    rng: np.random.Generator, width: int, how: str
) -> None:
    n, count = int(rng.integers(1, 600)), int(rng.choice([1, 7, 300]))
    columns = int(rng.choice([1, 2, 5, 70]))
    place = rng.integers(-count, count, n)
    values, out = (bits(rng, rows * columns, width).reshape(rows, -1) for rows in (n, count))
    want, flag = out.copy(), np.zeros(1, i32)
    want[place] = values
    written(rng, how, place, values, out, flag, width)
    assert np.array_equal(out, want)
    assert flag[0] == 0
    bad, before = n // 2, out.copy()
    place[bad:] = rng.choice([-count - 1, count, -(2**62)])
    written(rng, how, place, values, out, flag, width)
    assert flag[0] == np.iinfo(i32).max - bad
    before[place[:bad]] = values[:bad]
    assert np.array_equal(out, before)


def written(
    rng: np.random.Generator, how: str, place: Any, values: Any, out: Any, flag: Any, width: int
) -> None:
    """The launches of a write: by the last row that names a place, or by their order."""
    n, count, size = len(place), len(out), min(width, 8)
    word = [a.view(INTEGERS[size]) for a in (values, out)]
    columns, sizes = word[0].shape[1], (i64(n), i64(count))
    grid, lanes = lanes_of(rng, n, columns, 16 // size)
    tail = (*sizes, i32(columns), i32(lanes))
    if how == "last":
        last, one = np.zeros(count, u64), (int(rng.integers(1, -(-n // 256) + 1)),)
        launch("index", "put_last", one, 256, place, last, flag, *sizes)
        launch("index", f"put_{size}", grid, 256, place, last, *word, *tail)
        return
    keys = np.where(place < 0, place + count, place)
    keys[(keys < 0) | (keys >= count)] = count
    order = np.argsort(keys, kind="stable")
    launch("index", f"put_sorted_{size}", grid, 256, keys[order], order, *word, flag, *tail)


# -- sorting -----------------------------------------------------------------------------------


def keys_of(rng: np.random.Generator, n: int, limit: int, kind: str) -> tuple[Any, Any]:
    """Keys, some from the end and some outside, and what they are sorted by."""
    dtype = np.int32 if kind == "i32" else np.int64
    span = min(limit, np.iinfo(dtype).max)
    keys = rng.integers(-span, span, n) if rng.integers(2) else rng.integers(0, max(1, span), n)
    if rng.integers(3) == 0:
        keys[...] = keys[0]
    outside = rng.random(n) < rng.choice([0, 0.1])
    keys[outside] = -span - 1 if kind == "i32" else rng.choice([limit, -limit - 1, -(2**62)])
    keys = keys.astype(dtype)
    wide = keys.astype(np.int64)
    wide[wide < 0] += limit
    wide[(wide < 0) | (wide >= limit)] = limit
    return keys, wide


def sorted_by_hand(keys: Any, limit: int, kind: str) -> tuple[Any, Any]:
    """The launches of a long array."""
    n, tiles = keys.size, -(-keys.size // 4096)
    counts, totals = array((256, tiles), np.int64), array(256, np.int64)
    found: tuple[Any, Any] = keys, None
    for shift in range(0, max(1, limit.bit_length()), 8):
        name, given = kind if shift == 0 else "i64", found
        numbers, found = (i64(n), i64(limit), i32(shift)), (array(n, np.int64), array(n, np.int64))
        launch("sort", f"argsort_count_{name}", (tiles,), 256, given[0], counts, *numbers)
        launch("sort", "argsort_scan", (256,), 256, counts, totals, i32(tiles))
        args = (*given, *found, counts, totals, *numbers)
        launch("sort", f"argsort_scatter_{name}", (tiles,), 256, *args)
    return found


@pytest.mark.parametrize("kind", ["i32", "i64"])
@pytest.mark.parametrize("n", [1, 33, 1500])
def test_argsort_small(rng: np.random.Generator, kind: str, n: int) -> None:
    limit = int(rng.choice([1, 200, 256, 50_257, 2**31 - 2 if kind == "i32" else 2**33]))
    keys, want = keys_of(rng, n, limit, kind)
    found = tuple(array(n, np.int64) for _ in range(4))
    args = (keys, *found, i32(n), i64(limit), i32(max(1, -(-limit.bit_length() // 8))))
    launch("sort", f"argsort_small_{kind}", (1,), 1024, *args)
    order = np.argsort(want, kind="stable")
    assert np.array_equal(found[1], order)
    assert np.array_equal(found[0], want[order])


@pytest.mark.parametrize("kind", ["i32", "i64"])
@pytest.mark.parametrize("n", [33, 4500])
def test_argsort(rng: np.random.Generator, kind: str, n: int) -> None:
    limit = int(rng.choice([1, 200, 50_257, 2**23 + 5]))
    keys, want = keys_of(rng, n, limit, kind)
    ordered, order = sorted_by_hand(keys, limit, kind)
    assert np.array_equal(order, np.argsort(want, kind="stable"))
    assert np.array_equal(ordered, want[order])


def test_the_scan_of_many_tiles(rng: np.random.Generator) -> None:
    tiles = int(rng.integers(257, 900))
    counts, totals = array((256, tiles), np.int64), array(256, np.int64)
    counts[...] = rng.integers(0, 2**33, counts.shape)
    want = np.cumsum(counts, 1)
    args = (counts, totals, i32(tiles))
    launch("sort", "argsort_scan", (256,), 256, *args, schedules=["random"])
    assert np.array_equal(totals, want[:, -1])
    assert np.array_equal(counts[:, 1:], want[:, :-1])
    assert not counts[:, 0].any()


def test_argsort_beyond_2_to_the_31_keys(rng: np.random.Generator) -> None:
    """The tile that begins with key 2^32, by address arithmetic alone."""
    tile, count, limit = 2**20, 70, 300
    first, tiles, n = tile * 4096, tile + 2, tile * 4096 + count
    keys = rng.integers(0, 256, count)
    counts = np.empty((256, tiles), np.int64)  # 2 GB, of which 256 pages are touched
    totals, ordered, order = np.zeros(256, np.int64), array(count, i64), array(count, i64)

    def far(a: Any) -> int:
        return int(a.ctypes.data) - first * 8

    def run(name: str, *args: Any) -> None:
        kernel = module("sort").get_function(f"argsort_{name}_i64")
        kernel((tiles,), (256,), (*args, i64(n), i64(limit), i32(0)), blocks=[tile])

    run("count", far(keys), counts)
    own = np.bincount(keys, minlength=256)
    assert np.array_equal(counts[:, tile], own)
    counts[:, tile] = first + np.cumsum(own) - own
    run("scatter", far(keys), None, far(ordered), far(order), counts, totals)
    assert np.array_equal(ordered, np.sort(keys))
    assert np.array_equal(order, first + np.argsort(keys, kind="stable"))


def test_gather_beyond_2_to_the_31_elements() -> None:
    table, out, row, ld = np.arange(8, dtype=np.uint32), array(8, np.uint32), 2**20 + 3, 2**12
    far = int(table.ctypes.data) - row * ld * 4
    args = (far, np.array([row]), out, np.zeros(1, i32), i64(1), i64(2**21), i32(8), i64(ld))
    module("index").get_function("gather_rows_4")((1,), (256,), (*args, i64(8), i32(2)))
    assert out.tolist() == table.tolist()


# -- running sums, products, maxima, minima ----------------------------------------------------

RUNNING = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
}


def reference(op: str, x: Any, axis: int, reverse: bool) -> Any:
    wide = x if x.dtype.kind == "i" else x.astype(np.float64)
    wide = np.flip(wide, axis) if reverse else wide
    found = RUNNING[op](wide, axis=axis)
    return np.flip(found, axis) if reverse else found


def values(rng: np.random.Generator, op: str, shape: Any, dtype: Any) -> Any:
    if dtype == np.int64:
        return rng.integers(-(2**62), 2**62, shape)
    found = rng.standard_normal(shape)
    if op == "cumprod":
        found = np.sign(found) * np.exp(0.02 * found)
    if op in ("cummax", "cummin") and found.size > 5:
        found.flat[found.size // 2] = np.nan
    return found


def agree(op: str, got: Any, x: Any, axis: int, reverse: bool, name: str) -> None:
    want = reference(op, x, axis, reverse)
    if name == "i64" or op in ("cummax", "cummin"):
        assert np.array_equal(got.astype(want.dtype), want, equal_nan=name != "i64")
        return
    n = x.shape[axis]
    size = reference("cumsum", np.abs(x.astype(np.float64)), axis, reverse)
    near(got, want, name, 4 + n**0.5 if op == "cumsum" else 2 + n, None if op != "cumsum" else size)


@pytest.mark.parametrize("name", [*DTYPES, "i64"])
@pytest.mark.parametrize("op", RUNNING)
@pytest.mark.parametrize("n", [0, 1, 5, 130, 1025, 4200])
def test_cumulative_rows(rng: np.random.Generator, op: str, name: str, n: int) -> None:
    dtype = DTYPES.get(name, np.dtype(np.int64))
    rows, ld, reverse = int(rng.integers(1, 3)), n + int(rng.integers(9)), bool(rng.integers(2))
    x = array((rows, ld), dtype, int(rng.integers(3)))
    x[:, :n] = values(rng, op, (rows, n), dtype)
    given = x[:, :n].copy()
    out = x if rng.integers(2) else array((rows, ld), dtype)
    args = (x, out, i64(n), i64(ld), i64(ld), i32(reverse))
    launch("cumulative", f"{op}_rows_{name}", (rows,), 256, *args)
    agree(op, out[:, :n], given, 1, reverse, name)


@pytest.mark.parametrize("name", [*DTYPES, "i64"])
@pytest.mark.parametrize("op", RUNNING)
def test_cumulative_columns(rng: np.random.Generator, op: str, name: str) -> None:
    dtype = DTYPES.get(name, np.dtype(np.int64))
    shape = tuple(int(k) for k in rng.integers(1, 20, 3))
    x, out = array(shape, dtype, fill=values(rng, op, shape, dtype)), array(shape, dtype)
    args = (x, out, *map(i64, shape), i32(1))
    launch("cumulative", f"{op}_columns_{name}", (2,), 256, *args)
    agree(op, out, x, 1, True, name)


def test_cumulative_keeps_the_sign_of_zero() -> None:
    x = np.array([-0.0, -0.0, 0.0], ml_dtypes.bfloat16)
    launch("cumulative", "cumsum_rows_bf16", (1,), 256, x, x, i64(3), i64(3), i64(3), i32(0))
    assert np.signbit(x).tolist() == [True, True, False]
