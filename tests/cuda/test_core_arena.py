"""The memory of GPUs: reuse, streams, regions of graphs, counters, and running out."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import fakecupy
import numpy as np
import pytest

MIB = 2**20


@pytest.fixture
def cupy() -> Iterator[Any]:
    with fakecupy.install(devices=2, memory=64 * MIB):
        import cupy as found

        from tensorgrad.backend.cuda import arena

        arena.install()
        yield found


def test_sizes_of_blocks(rng: Any) -> None:
    from tensorgrad.backend.cuda.arena import COARSE, rounded

    for size in [1, 511, 512, 513, *rng.integers(1, 2**34, 500).tolist()]:
        got = rounded(size)
        assert got % 512 == 0
        assert size <= got < size + max(512, min(size / 4, COARSE))
        assert rounded(got) == got


def test_a_step_takes_the_memory_of_the_last_one(cupy: Any, rng: Any) -> None:
    from tensorgrad.backend.cuda import arena

    sizes = rng.integers(1, 100_000, 12).tolist()
    seen, reserved = [], []
    for _ in range(4):
        live = [cupy.empty(n) for n in sizes]
        seen.append(sorted(x.data.ptr for x in live))
        reserved.append(arena.arena(0).usage().reserved)
        del live
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert len(set(reserved)) == 1
    assert arena.arena(0).used == 0


def test_counters(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena

    home = arena.arena(0)
    x = cupy.empty(MIB, "uint8")
    view = x[10:20]
    del x
    assert home.used == MIB
    y = cupy.empty(2 * MIB, "uint8")
    del y
    now = home.usage()
    assert (now.used, now.peak, now.reserved, now.total) == (MIB, 3 * MIB, 3 * MIB, 64 * MIB)
    assert now.free == 61 * MIB
    assert home.trim() == 2 * MIB
    del view
    assert home.used == 0
    assert home.trim() == MIB
    assert home.usage().reserved == 0
    assert home.usage().peak == 3 * MIB
    assert cupy.empty(0).size == 0
    assert home.used == 0


def test_memory_goes_back_to_its_stream(cupy: Any) -> None:
    with cupy.cuda.Stream() as first:
        x = cupy.empty(1000)
        address = x.data.ptr
    with cupy.cuda.Stream():
        del x  # freed under another stream: the first may still be writing
        y = cupy.empty(1000)
        assert y.data.ptr != address
    with first:
        assert cupy.empty(1000).data.ptr == address


def test_default_streams_of_threads_are_apart(cupy: Any) -> None:
    found: list[int] = []

    def work() -> None:
        with cupy.cuda.Stream.ptds:
            found.append(cupy.empty(1000).data.ptr)

    with cupy.cuda.Stream.ptds:
        address = cupy.empty(1000).data.ptr
        other = threading.Thread(target=work)
        other.start()
        other.join()
        assert found != [address]
        assert cupy.empty(1000).data.ptr == address


def test_each_device_has_its_own(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena

    x = cupy.empty(MIB, "uint8")
    with cupy.cuda.Device(1):
        y = cupy.empty(2 * MIB, "uint8")
        assert y.data.device_id == 1
    assert (arena.arena(0).used, arena.arena(1).used) == (MIB, 2 * MIB)
    with cupy.cuda.Device(1):
        del x
    assert (arena.arena(0).used, arena.arena(1).used) == (0, 2 * MIB)
    assert arena.arena(1).trim() == 0
    assert arena.arena(0).trim() == MIB


def test_threads(cupy: Any, rng: Any) -> None:
    from tensorgrad.backend.cuda import arena

    failed: list[BaseException] = []

    def work(seed: int) -> None:
        draw = np.random.default_rng(seed)
        try:
            for _ in range(200):
                live = [cupy.empty(int(n)) for n in draw.integers(1, 2000, 5)]
                marks = [x.data.ptr for x in live]
                assert len(set(marks)) == 5
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(int(s),)) for s in rng.integers(0, 2**31, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert arena.arena(0).used == 0


def test_a_region_keeps_its_memory(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena

    home = arena.arena(0)
    region = arena.Region(home)
    with cupy.cuda.using_allocator(region.malloc):
        x, kept = cupy.empty(1000), cupy.empty(3000)
        addresses = {x.data.ptr, kept.data.ptr}
        del x
        y = cupy.empty(1000)
        assert y.data.ptr in addresses, "reuse within the region"
        del y
    outside = [cupy.empty(1000) for _ in range(5)] + [cupy.empty(3000) for _ in range(5)]
    assert not addresses & {a.data.ptr for a in outside}
    assert home.used == sum(arena.rounded(8 * n) for n in (3000, *[1000, 3000] * 5))
    region.close()
    region.close()
    assert cupy.empty(1000).data.ptr in addresses
    address = kept.data.ptr
    del kept  # dies after its region: goes to the arena
    assert cupy.empty(3000).data.ptr == address


def test_a_region_that_closes_during_a_capture_waits(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena

    home = arena.arena(0)
    region = arena.Region(home)
    with cupy.cuda.using_allocator(region.malloc):
        address = cupy.empty(1000).data.ptr
    home.capturing += 1
    region.close()
    assert home.trim() == 0
    assert cupy.empty(1000).data.ptr != address
    home.capturing -= 1
    assert home.trim() > 0
    assert not home.closing


def test_out_of_memory_names_the_lines_and_leaves_all_usable(cupy: Any) -> None:
    from tensorgrad._errors import TensorgradError
    from tensorgrad.backend.cuda import arena
    from tensorgrad.backend.cuda.errors import OutOfMemoryError

    big = cupy.zeros((5, MIB))  # the largest
    small = [cupy.zeros(2 * MIB, "uint8") for _ in range(3)]
    tiny = cupy.zeros(512)
    with pytest.raises(OutOfMemoryError) as caught:
        cupy.empty(30 * MIB, "uint8")
    text = str(caught.value)
    assert isinstance(caught.value, MemoryError)
    assert isinstance(caught.value, TensorgradError)
    line = test_out_of_memory_names_the_lines_and_leaves_all_usable.__code__.co_firstlineno
    assert text.startswith("memory: got a request for 30.0 MiB on cuda:0 with ")
    assert "try a smaller batch" in text
    assert text.splitlines()[2:] == [
        f"    40.0 MiB  an array, made at {__file__}:{line + 5}",
        f"     6.0 MiB  3 of 2.0 MiB: an array, made at {__file__}:{line + 6}",
        "     4.0 KiB  in others",
    ]
    tiny += 1
    big += 1
    del big
    again = cupy.ones(30 * MIB, "uint8")
    assert int(again[:5].sum().get()) == 5
    assert arena.arena(0).used == 36 * MIB + tiny.nbytes
    del small


def test_out_of_memory_gives_back_what_is_kept_first(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena

    held = [cupy.empty(n * MIB, "uint8") for n in (1, 3, 5, 7, 9, 11, 13)]
    del held
    assert arena.arena(0).usage().reserved == 49 * MIB
    assert cupy.empty(60 * MIB, "uint8").nbytes == 60 * MIB


def test_out_of_memory_finds_arrays_in_cycles(cupy: Any) -> None:
    cycle: list[Any] = [cupy.empty(40 * MIB, "uint8")]
    cycle.append(cycle)
    gc.disable()
    try:
        del cycle
        assert cupy.empty(40 * MIB, "uint8").nbytes == 40 * MIB
    finally:
        gc.enable()


def test_a_limit(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena
    from tensorgrad.backend.cuda.errors import OutOfMemoryError

    arena.arena(0).limit(4 * MIB)
    with pytest.raises(OutOfMemoryError):
        cupy.empty(5 * MIB, "uint8")
    arena.arena(0).limit(None)
    cupy.empty(5 * MIB, "uint8")


def test_a_program_keeps_its_own_allocator(monkeypatch: Any) -> None:
    with fakecupy.install():
        import cupy

        from tensorgrad.backend.cuda import arena

        own = cupy.cuda.MemoryPool()
        cupy.cuda.set_allocator(own.malloc)
        arena.install()
        assert not arena.installed()
        cupy.empty(10)
        assert own.total_bytes() > 0
    with fakecupy.install():
        from tensorgrad.backend.cuda import arena

        monkeypatch.setenv("TG_ARENA", "0")
        arena.install()
        assert not arena.installed()
        monkeypatch.delenv("TG_ARENA")
        arena.install()
        arena.install()
        assert arena.installed()
