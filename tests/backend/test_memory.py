"""Recycled memory: whose it is, when it comes back, and that nothing else changes."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy._core import multiarray

from tensorgrad.backend import memory
from tensorgrad.codegen.recycler import Recycler

# Formulas are interpreted there, and memory is the system's.
pytestmark = pytest.mark.skipif(os.name == "nt", reason="no generated code on Windows")

MIB = 2**20


@pytest.fixture(autouse=True)
def kernel_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))
        patch.delenv("TG_KERNELS", raising=False)
        yield


@pytest.fixture
def blocks() -> Recycler:
    """A recycler of its own, which keeps at most 8 MiB."""
    return Recycler(8 * MIB)


def handler(array: Any) -> Any:
    return multiarray.get_handler_name(array)


def run(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", code],
        env=os.environ | env,
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_block_of_a_dead_array_is_the_next_array(blocks: Recycler) -> None:
    for size in (memory.LARGE, memory.LARGE + 1, MIB, 4 * MIB, 5 * MIB + 77):
        a = blocks.empty(size, np.uint8)
        a.fill(7)
        address = a.ctypes.data
        assert address % 4096 == 0
        assert size < 4 * MIB or address % (2 * MIB) == 0
        before = blocks.reused
        view = a[1000:][::3]
        del a
        other = blocks.empty(size, np.uint8)
        assert other.ctypes.data != address, "a view was still alive"
        assert blocks.reused == before
        assert (view == 7).all()
        del view
        again = blocks.empty(size, np.uint8)
        assert again.ctypes.data == address
        assert blocks.reused == before + 1
        assert again.flags.owndata
        assert again.base is None
        del other, again
        blocks.trim()


def test_sizes_share_a_block_only_where_little_is_lost(blocks: Recycler) -> None:
    a = blocks.empty(4 * MIB - 100, np.uint8)
    a[-1] = 1
    del a
    assert 4 * MIB - 100 <= blocks.held <= (4 * MIB - 100) * 9 / 8
    blocks.empty(4 * MIB, np.uint8)[-1] = 1
    assert blocks.reused == 1
    blocks.empty(5 * MIB, np.uint8)
    blocks.empty(3 * MIB, np.uint8)
    assert blocks.reused == 1


def test_what_is_kept_is_bounded(blocks: Recycler) -> None:
    alive = [blocks.empty(2 * MIB, np.uint8) for _ in range(7)]
    last = alive[-1].ctypes.data
    while alive:
        del alive[0]
    assert blocks.held == 8 * MIB
    a = blocks.empty(2 * MIB, np.uint8)
    assert a.ctypes.data == last, "the newest one, still cached"
    del a
    blocks.empty(9 * MIB, np.uint8)
    assert blocks.held == 8 * MIB, "larger than the bound: not kept, and nothing leaves for it"
    many = [blocks.empty(memory.LARGE, np.uint8) for _ in range(70)]
    many.clear()
    assert blocks.held == 64 * memory.LARGE, "as many blocks as there are slots"
    blocks.trim()
    assert blocks.held == 0


def test_small_arrays_and_those_of_others(blocks: Recycler, rng: np.random.Generator) -> None:
    arrays = [blocks.empty(int(n), np.uint8) for n in rng.integers(0, 2000, 300)]
    for k, a in enumerate(arrays):
        assert a.ctypes.data % 64 == 0
        a.fill(k % 256)
    assert all((a == k % 256).all() for k, a in enumerate(arrays))
    del arrays
    assert blocks.held == 0
    assert handler(blocks.empty(5, "U0")) == "tensorgrad"
    assert handler(np.empty(MIB)) == "default_allocator"


def test_zeros_are_zero_again(blocks: Recycler) -> None:
    zeros = blocks.calling(np.zeros, 0)
    for size in (100, MIB):
        blocks.empty(size, np.uint8).fill(255)
        assert not zeros(size, np.uint8).any()
    with pytest.raises((MemoryError, ValueError)):
        zeros(2**62, np.float64)


def test_resize_keeps_the_values(blocks: Recycler, rng: np.random.Generator) -> None:
    for sizes in ((100, 200, 50), (10, MIB, 2 * MIB, MIB, 99), (3 * MIB, 3 * MIB + 5, 4 * MIB)):
        a = blocks.empty(sizes[0], np.uint8)
        a[:] = rng.integers(0, 256, sizes[0])
        for size in sizes[1:]:
            kept = a[: min(size, a.size)].copy()
            a.resize(size, refcheck=False)
            assert a.size == size
            assert (a[: kept.size] == kept).all()


def test_calls_of_functions(rng: np.random.Generator) -> None:
    add = memory.recycling(np.add)
    small, large = rng.random(64), rng.random(memory.ELEMENTS)
    for a, want in ((small, "default_allocator"), (large, "tensorgrad")):
        assert handler(add(a, 1.0)) == want
        assert handler(add(1.0, a)) == want
        assert (add(a, a) == a + a).all()
        out = np.empty_like(a)
        assert add(a, a, out=out) is out
        assert (out == a + a).all()
    assert handler(memory.recycling(np.add, 0)(small, 1.0)) == "tensorgrad"
    grid = memory.recycling(lambda *a, **k: np.add(*a, **k))(large.reshape(256, -1), 1, dtype="f4")
    assert handler(grid) == "tensorgrad"
    assert grid.dtype == np.float32
    assert handler(large + 1) == "default_allocator"


def test_errors_and_warnings_pass_through(rng: np.random.Generator) -> None:
    large = rng.random(memory.ELEMENTS)
    with pytest.raises(ValueError, match="could not be broadcast"):
        memory.recycling(np.add)(large, large[:3])
    with pytest.raises(TypeError, match="not supported"):
        memory.recycling(np.bitwise_and)(large, large)
    with pytest.raises(RuntimeWarning, match="divide"):
        memory.recycling(np.divide)(large, 0.0)

    def broken(a: Any) -> Any:
        raise KeyError("mine")

    for _ in range(3):
        with pytest.raises(KeyError, match="mine") as caught:
            memory.recycling(broken)(large)
        assert caught.value.__context__ is None
    assert handler(np.empty(MIB)) == "default_allocator"


def test_calls_leak_nothing(rng: np.random.Generator) -> None:
    large = rng.random(memory.ELEMENTS)
    add = memory.recycling(np.add)

    def once(a: Any) -> None:
        add(a, a)
        with pytest.raises(ValueError, match="broadcast"):
            add(a, large[:3])

    once(large)
    counts = [sys.getrefcount(o) for o in (large, np.add, memory.recycler())]
    for _ in range(20):
        once(large)
    assert counts == [sys.getrefcount(o) for o in (large, np.add, memory.recycler())]
    result = add(large, large)

    def mine(a: Any) -> Any:
        return a

    call = memory.recycling(mine)
    refs = [weakref.ref(result), weakref.ref(mine)]
    del result, mine
    assert call(large) is large, "the function lives as long as its call"
    assert refs[0]() is None
    del call
    assert refs[1]() is None


def test_empty(rng: np.random.Generator) -> None:
    assert handler(memory.empty((3, 4), np.float32)) == "default_allocator"
    a = memory.empty((300, 400), np.float64)
    assert handler(a) == "tensorgrad"
    assert (a.shape, a.dtype) == ((300, 400), np.float64)
    assert a.flags.c_contiguous
    assert a.flags.writeable
    assert memory.empty((0, 5), np.int8).shape == (0, 5)
    with pytest.raises((MemoryError, ValueError)):
        memory.empty((2**40, 2**20), np.float64)
    del a
    assert memory.trim() > 0
    assert memory.trim() == 0


def test_threads_take_and_give(blocks: Recycler) -> None:
    """Arrays made on one thread die on another, all threads at once, none shares memory."""
    made, wrong = list[Any](), list[Any]()

    def work(number: int) -> None:
        for k in range(150):
            a = blocks.empty(memory.LARGE + 4096 * (k % 5), np.uint8)
            a.fill(number)
            made.append((number, a))
            other, b = made.pop(0)
            if not (b == other).all():
                wrong.append((number, k))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert blocks.held <= 8 * MIB


def test_threads_without_the_interpreters_lock(blocks: Recycler) -> None:
    """The machine code itself, called by threads that really run at the same time."""
    words = blocks._words
    take = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(words[0])
    give = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(words[3])
    table, wrong = ctypes.addressof(words), []

    def work(number: int) -> None:
        for k in range(3000):
            size = memory.LARGE * (1 + k % 3)
            data = take(table, size)
            cell = ctypes.c_int64.from_address(data)
            cell.value = number
            again = take(table, size)
            ctypes.c_int64.from_address(again).value = -1
            if cell.value != number:
                wrong.append(k)
            give(table, again, size)
            give(table, data, size)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert 0 < blocks.held <= 8 * MIB


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_goes_on() -> None:
    code = """
import os, numpy as np
from tensorgrad.backend import memory
a = memory.empty((2**20,), np.float32); a.fill(3); b = memory.empty((2**20,), np.float32); del b
blocks = memory.recycler()
for locked in (0, 1):  # as if another thread had been inside when the process forked
    child = os.fork()
    if child == 0:
        blocks._words[12] = locked
        c = memory.empty((2**20,), np.float32); c.fill(5)
        good = (a == 3).all()
        del c
        d = memory.empty((2**20,), np.float32); d.fill(6)
        os._exit(0 if good and blocks.reused == (0 if locked else 2) else 1)
    assert os.waitpid(child, 0)[1] == 0, locked
assert (a == 3).all()
"""
    run(code)


def test_memory_that_is_short_is_given_back_first() -> None:
    code = """
import resource, numpy as np
from tensorgrad.backend import memory
arrays = [memory.empty((64 * 2**20,), np.uint8) for _ in range(3)]
arrays.clear()
blocks = memory.recycler()
assert blocks.held == 192 * 2**20
with open("/proc/self/statm") as f:
    used = int(f.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32 * 2**20,) * 2)
a = memory.empty((160 * 2**20,), np.uint8)
assert blocks.held == 0
try:
    memory.empty((400 * 2**20,), np.uint8)
except MemoryError as error:
    print("MemoryError")
a.fill(1)
"""
    if not os.path.exists("/proc/self/statm"):
        pytest.skip("no /proc here")
    assert run(code, TG_RECYCLE="256") == "MemoryError"


def test_arrays_that_outlive_the_interpreter() -> None:
    code = """
import atexit, sys, threading, numpy as np
from tensorgrad.backend import memory
import tensorgrad as tg
class Late:
    def __init__(self): self.a = memory.empty((2**20,), np.float32)
    def __del__(self): self.a = None
kept = Late(); kept.me = kept
sys.kept = [Late(), memory.empty((2**20,), np.float64), memory.empty((7,), np.float64)]
atexit.register(lambda a: a.fill(1), memory.empty((2**20,), np.float32))
lone = memory.recycling(np.add)(memory.empty((2**20,), np.float32), 1)
"""
    run(code)


def test_tracemalloc_sees_the_arrays(blocks: Recycler) -> None:
    a = blocks.empty(MIB, np.uint8)
    del a
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        a = blocks.empty(MIB, np.uint8)
        assert tracemalloc.get_traced_memory()[0] - before == pytest.approx(MIB, rel=0.01)
        del a
        assert tracemalloc.get_traced_memory()[0] - before < MIB / 10, "what is kept is no array"
    finally:
        tracemalloc.stop()


def test_no_page_is_cleared_twice(blocks: Recycler) -> None:
    resource = pytest.importorskip("resource")

    def faults() -> int:
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)

    for _ in range(3):
        blocks.empty(MIB, np.uint8).fill(1)
    before = faults()
    for _ in range(50):
        blocks.empty(MIB, np.uint8).fill(1)
    assert faults() - before < 50, "one mapping of 1 MiB has 16 to 256 pages"


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TG_RECYCLE", raising=False)
    assert MIB < memory.bound() <= memory.MOST
    monkeypatch.setenv("TG_RECYCLE", "12")
    assert memory.bound() == 12 * MIB
    monkeypatch.setenv("TG_RECYCLE", "much")
    with pytest.raises(ValueError, match="got TG_RECYCLE='much', expected a whole number of MiB"):
        memory.bound()


@pytest.mark.parametrize("env", [{"TG_RECYCLE": "0"}, {"TG_KERNELS": "0"}], ids=str)
def test_switched_off(env: dict[str, str]) -> None:
    code = """
import sys, numpy as np
from tensorgrad.backend import memory
assert memory.recycler() is None
assert memory.recycling(np.add) is np.add
a = memory.empty((2**20,), np.float32)
print(np._core.multiarray.get_handler_name(a), memory.trim(), "llvmlite" in sys.modules)
"""
    assert run(code, **env) == "default_allocator 0 False"


def test_both_files_mean_the_same_size() -> None:
    from tensorgrad.codegen import allocator

    assert memory.LARGE == allocator.LARGE
    assert memory.ELEMENTS * 4 >= memory.LARGE
