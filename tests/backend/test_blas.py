"""The door to matrix products: every layout against NumPy, what it refuses, threads, references."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from tensorgrad.backend import blas, threads


@pytest.fixture
def door() -> Any:
    blas.DOOR.multiply(np.ones((2, 2)), np.ones((2, 2)))  # the first call opens it
    return blas.DOOR


def matrix(rng: np.random.Generator, rows: int, columns: int, dtype: Any) -> Any:
    """A matrix of one of the layouts that arrays come in."""
    way = rng.integers(6)
    if way == 0:
        return rng.standard_normal((columns, rows)).astype(dtype).T
    if way == 1:
        return rng.standard_normal((rows, 2 * columns)).astype(dtype)[:, :columns]
    if way == 2:
        return rng.standard_normal((2 * rows, columns)).astype(dtype)[::2]
    if way == 3:
        return rng.standard_normal((rows, columns)).astype(dtype)[::-1]
    if way == 4:
        return np.broadcast_to(rng.standard_normal((1, columns)).astype(dtype), (rows, columns))
    return rng.standard_normal((rows, columns)).astype(dtype)


def test_it_is_open(door: Any) -> None:
    assert door.library in ("tensorgrad", "OpenBLAS", "MKL", "NumPy")
    if sys.platform == "linux" and door.library == "NumPy":
        pytest.skip("NumPy's BLAS has none of the known names here")
    assert type(door.multiply).__name__ == "builtin_function_or_method"


def test_layouts(rng: np.random.Generator) -> None:
    for _ in range(1500):
        m, k, n = rng.choice([*range(20), 32, 48, 64], 3)
        dtype = rng.choice([np.float32, np.float64])
        a, b = matrix(rng, m, k, dtype), matrix(rng, k, n, dtype)
        out = None
        if rng.random() < 0.6:
            out = np.full((m, n), 7, dtype) if rng.random() < 0.5 else np.full((n, m), 7, dtype).T
        bias = rng.standard_normal(n).astype(dtype) if rng.random() < 0.5 else None
        want = a.astype(np.longdouble) @ b.astype(np.longdouble)
        want = want if bias is None else want + bias
        before = None if out is None else sys.getrefcount(out)
        got = blas.DOOR.multiply(a, b, out, bias)
        assert out is None or got is out
        assert got.dtype == dtype
        assert got.shape == (m, n)
        error = np.abs(got - want) / (1 + np.abs(a).astype(float) @ np.abs(b).astype(float))
        assert np.max(error, initial=0) < (k + 2) * np.finfo(dtype).eps
        del got
        assert out is None or sys.getrefcount(out) == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_part_has_the_bits_of_the_whole(door: Any, dtype: str, rng: np.random.Generator) -> None:
    """Of generated products: every tile, copies of the right factor, more terms than are held."""
    if door.library != "tensorgrad":
        pytest.skip(f"products are those of {door.library} here")
    for k in (1, 511, 512, 513, 1100):
        a, b = rng.standard_normal((110, k)).astype(dtype), rng.standard_normal((k, 150))
        a, b = (np.asarray(x, dtype, order=rng.choice(["C", "F"])) for x in (a, b))
        whole = door.multiply(a, b)
        np.testing.assert_allclose(whole, a.astype(float) @ b, atol=k * np.finfo(dtype).eps * 20)
        for _ in range(20):
            i, j = rng.integers(0, 100), rng.integers(0, 140)
            m, n = rng.integers(3, 110 - i + 1), rng.integers(3, 150 - j + 1)
            out = np.full((m + 1, n + 1), 7, dtype)
            door.multiply(a[i : i + m], b[:, j : j + n], out[:m, :n])
            np.testing.assert_array_equal(out[:m, :n], whole[i : i + m, j : j + n])
            assert (out[m] == 7).all()
            assert (out[:, n] == 7).all()


def test_no_terms_and_special_values(door: Any) -> None:
    for dtype in ("float32", "float64"):
        out = np.full((5, 4), 7, dtype)
        assert not door.multiply(np.ones((5, 0), dtype), np.ones((0, 4), dtype), out).any()
        a, b = np.ones((5, 3), dtype), np.ones((3, 5), dtype)
        a[1, 1], b[2, 2], b[0, 3] = np.inf, np.nan, -np.inf
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(door.multiply(a, b), np.matmul(a, b))


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("i4", "i4"), ("c8", "c8"), ("f4", "i2")])
def test_other_dtypes(dtypes: tuple[str, str], rng: np.random.Generator) -> None:
    a = (9 * rng.standard_normal((3, 4))).astype(dtypes[0])
    b = (9 * rng.standard_normal((4, 2))).astype(dtypes[1])
    got, want = blas.DOOR.multiply(a, b), np.matmul(a, b)
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)


def test_an_output_in_the_memory_of_an_input(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 8, 8))
    want = a @ b
    memory = a.copy()
    assert np.allclose(blas.DOOR.multiply(memory, b, memory), want)
    base = np.zeros((9, 8))
    base[:8] = a
    assert np.allclose(blas.DOOR.multiply(base[:8], b, base[1:]), want)


def test_read_only_outputs_are_refused() -> None:
    out = np.zeros((2, 2))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        blas.DOOR.multiply(np.ones((2, 2)), np.ones((2, 2)), out)
    assert not out.any()


@pytest.mark.parametrize(("shapes", "bias"), [(((2, 3), (4, 2)), None), (((2, 3), (3, 2)), (1,))])
def test_what_does_not_fit(shapes: Any, bias: Any) -> None:
    a, b = (np.ones(s, np.float32) for s in shapes)
    with pytest.raises(ValueError, match=r"matmul|matrix"):
        blas.DOOR.multiply(a, b, None, None if bias is None else np.ones(bias, np.float32))


@pytest.mark.parametrize("shape", [(700, 300, 90), (90, 300, 700)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_large_product_is_split(
    shape: Any, turned: bool, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    m, k, n = shape
    monkeypatch.setattr(blas, "SPLIT", 10_000)
    monkeypatch.setattr(blas, "PIECE", 10_000)
    monkeypatch.setattr(threads, "get_num_threads", lambda: 2)
    door, pieces = blas.Door(), []

    def split(total: int, grain: int, job: Any) -> None:
        for start in range(0, total, grain):
            pieces.append(start)
            job(start, min(start + grain, total))

    monkeypatch.setattr(threads, "split", split)
    a, bias = rng.standard_normal((m, k), np.float32), rng.standard_normal(n, np.float32)
    b = rng.standard_normal((n, k), np.float32).T if turned else rng.standard_normal((k, n), "f4")
    got = door.multiply(a, b, None, bias)
    assert len(pieces) > 1
    assert np.allclose(got, a.astype(float) @ b.astype(float) + bias, rtol=1e-4, atol=1e-3)


def test_threads_multiply_at_once(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((2, 300, 300))
    want, got = a @ b, []
    workers = [
        threading.Thread(target=lambda: got.append(blas.DOOR.multiply(a, b))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 4
    assert all(np.allclose(g, want) for g in got)


def test_one_thread_opens_it_for_all() -> None:
    class Slow(blas.Door):
        def open(self) -> None:
            opened.append(threading.get_ident())
            time.sleep(0.02)
            super().open()

    opened: list[int] = []
    door, x = Slow(), np.ones((3, 3))
    waiting = [threading.Thread(target=lambda: door.multiply(x, x)) for _ in range(4)]
    for one in waiting:
        one.start()
    for one in waiting:
        one.join()
    assert len(opened) == 1


def test_the_librarys_threads_are_left_as_they_were(door: Any) -> None:
    from threadpoolctl import threadpool_info

    def counts() -> list[int]:
        return [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]

    before = counts()
    for size in (4, 400):
        x = np.ones((size, size), np.float32)
        door.multiply(x, x)
    assert counts() == before


def test_without_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG_KERNELS", "0")
    door = blas.Door()
    x = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(door.multiply(x, x.T, None, np.ones(2)), x @ x.T + 1)
    assert door.multiply is blas.plain
    assert door.library == "NumPy"


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_stacks(door: Any, dtype: str, rng: np.random.Generator) -> None:
    """Products along leading axes, broadcast, any layout: no thread of the library's own starts."""
    draw, near = rng.standard_normal, 200 * np.finfo(dtype).eps
    for lead, other in (((3,), (3,)), ((2, 1), (3,)), ((), (4,)), ((0,), (0,)), ((2, 2), ())):
        a, b = draw((*lead, 80, 64)).astype(dtype), draw((*other, 64, 72)).astype(dtype)
        for x, y in ((a, b), (np.ascontiguousarray(a.swapaxes(-1, -2)).swapaxes(-1, -2), b)):
            want = np.matmul(x, y)
            np.testing.assert_allclose(door.multiply(x, y), want, near, near)
            out = np.empty(want.shape, dtype)
            assert door.multiply(x, y, out) is out
            np.testing.assert_allclose(out, want, near, near)
    with pytest.raises(ValueError, match=r"mismatch|operand"):
        door.multiply(draw((2, 80, 64)), draw((2, 64, 72)), np.empty((3, 80, 72)))


def test_stacks_inside_a_job_take_no_longer(door: Any) -> None:
    """OpenBLAS's threads, started from ours, wait for one another for half a second."""
    x = np.ones((64, 128, 64), np.float32)
    y = np.ones((64, 64, 128), np.float32)
    door.multiply(x, y)

    def job(start: int, stop: int) -> None:
        for _ in range(start, stop):
            door.multiply(x, y)

    began = time.perf_counter()
    threads.split(8, 1, job)
    shared = time.perf_counter() - began
    began = time.perf_counter()
    job(0, 8)
    assert shared < 4 * (time.perf_counter() - began) + 0.05
