"""Devices by name, what is said where there is none, streams, events and copies."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from typing import Any

import fakecupy
import numpy as np
import pytest

from tensorgrad._errors import DeviceError


@pytest.fixture
def machine() -> Iterator[Any]:
    with fakecupy.install(devices=2) as found:
        yield found


def refused(call: Any) -> str:
    with pytest.raises(DeviceError) as caught:
        call()
    return str(caught.value)


def test_names_of_devices(machine: Any) -> None:
    from tensorgrad.backend.cuda import device

    assert [device.index(name) for name in ("cuda", "cuda:0", "cuda:1")] == [0, 0, 1]
    with device.using(1):
        assert device.index("cuda") == 1
        assert device.current_stream().device == 1
    assert device.count() == 2
    assert device.properties(0).capability == "90"
    assert device.properties(1).shared_on_request == 232448


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:one", "cuda:0 ", "CUDA", ""])
def test_a_name_that_is_none(machine: Any, name: str) -> None:
    from tensorgrad.backend.cuda import device

    text = refused(lambda: device.index(name))
    assert text == f"device: got {name!r}, expected cuda or cuda:N; try device='cuda:0'"


def test_an_index_that_does_not_exist(machine: Any, monkeypatch: Any) -> None:
    from tensorgrad.backend.cuda import device

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert refused(lambda: device.index("cuda:2")) == (
        "device: got name='cuda:2', expected one of cuda:0 to cuda:1; try device='cuda:0'"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    assert "CUDA_VISIBLE_DEVICES='3,4' hides the others" in refused(lambda: device.index("cuda:7"))


def test_no_driver() -> None:
    with fakecupy.install(driver=0):
        from tensorgrad.backend.cuda import device

        assert not device.is_available()
        text = refused(device.count)
        assert text.startswith("cuda: got no NVIDIA driver, expected one for CUDA 13 or later; ")
        assert "https://www.nvidia.com/drivers" in text
        assert refused(lambda: device.index("cuda:0")) == text
        assert refused(device.Event) == text
        assert refused(device.Stream) == text


def test_an_old_driver() -> None:
    with fakecupy.install(driver=12040):
        from tensorgrad.backend.cuda import device

        assert refused(device.count) == (
            "cuda: got a driver for CUDA 12.4, expected one for CUDA 13 or later; try "
            "pip uninstall cupy-cuda13x && pip install 'tensorgrad[cuda12]', "
            "or driver 580 or later"
        )


def test_no_gpu(monkeypatch: Any) -> None:
    with fakecupy.install(devices=0):
        from tensorgrad.backend.cuda import device

        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert refused(device.count) == (
            "cuda: got no GPU, expected one that `nvidia-smi` lists; try device='cpu'"
        )
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert refused(device.count) == (
            "cuda: got no GPU under CUDA_VISIBLE_DEVICES='', expected one that `nvidia-smi` lists; "
            "try unset CUDA_VISIBLE_DEVICES, or device='cpu'"
        )
        assert not device.is_available()


def test_a_gpu_that_is_out_of_order(machine: Any, monkeypatch: Any) -> None:
    from tensorgrad.backend.cuda import device

    runtime = device.cupy().cuda.runtime

    class Broken(runtime.CUDARuntimeError):  # type: ignore[misc, name-defined]
        status = 803

        def __init__(self) -> None:
            RuntimeError.__init__(self, "cudaErrorSystemDriverMismatch: system has ...")

    def broken() -> int:
        raise Broken

    monkeypatch.setattr(runtime, "getDeviceCount", broken)
    text = refused(device.count)
    assert "cudaErrorSystemDriverMismatch" in text
    assert text.endswith("the driver's library and its kernel module differ")


def test_no_cupy(machine: Any, monkeypatch: Any) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("cupy", "cupyx")]:
        monkeypatch.delitem(sys.modules, name)
    plain = builtins.__import__

    def hidden(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'", name="cupy")
        return plain(name, *args, **kwargs)

    from tensorgrad.backend.cuda import device

    monkeypatch.setattr(device, "import_module", hidden)
    assert refused(device.count) == (
        "cuda: got no CuPy, expected it beside tensorgrad; "
        "try pip install 'tensorgrad[cuda13]' (or cuda12 for an older driver)"
    )
    assert not device.is_available()

    def broken(name: str) -> Any:
        raise ImportError("\n=====\nCuPy is not correctly installed.\n=====")

    monkeypatch.setattr(device, "import_module", broken)
    text = refused(device.cupy)
    assert "'CuPy is not correctly installed.'" in text
    assert "pip uninstall cupy cupy-cuda12x cupy-cuda13x" in text


def test_the_backend_is_not_imported_with_the_package() -> None:
    code = "import sys, tensorgrad; print([n for n in sys.modules if 'cuda' in n or n == 'cupy'])"
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_streams_and_events(machine: Any) -> None:
    from tensorgrad.backend.cuda import device

    cupy = device.cupy()
    here = device.current_stream()
    assert here.cuda_stream == 0
    with device.Stream() as first, device.Stream("cuda:1") as second:
        assert device.current() == 1
        assert device.stream_pointer() == second.cuda_stream
        with first, first:
            assert device.current() == 0
            assert device.stream_pointer() == first.cuda_stream
        assert device.stream_pointer() == second.cuda_stream
    assert (device.current(), device.stream_pointer()) == (0, 0)
    begun = device.Event(enable_timing=True).record(here)
    x = cupy.zeros(4)
    first.wait_stream(here)
    first.wait_event(begun)
    begun.wait(first)
    with first:
        begun.wait()
        x += 1
        ended = device.Event()
        assert first.record_event(ended) is ended
    ended.synchronize()
    assert ended.query()
    assert first.query()
    assert begun.elapsed_time(ended) >= 0
    with pytest.raises(RuntimeError):
        first.record_event().elapsed_time(ended)
    device.synchronize()
    device.synchronize("cuda:1")
    assert x.get().tolist() == [1, 1, 1, 1]


def test_copies_keep_the_order_of_their_streams(machine: Any) -> None:
    """A copy from pinned memory runs later: who does not wait for it finds what was there."""
    from tensorgrad.backend.cuda import device

    cupy = device.cupy()
    copying, working = device.Stream(), device.Stream()
    there, memory = cupy.zeros(1000), device.pinned((1000,), "float64")
    for value in (1.0, 2.0):
        memory[...] = value
        with copying:
            device.upload(there, memory)
            arrived = copying.record_event()
            assert not arrived.query()
        with working:
            early = there + 0.0
            working.wait_event(arrived)
            late = there + 0.0
            coming = device.download(late)
        assert (early.get() == value - 1).all()
        assert (coming.wait() == value).all()


def test_a_stream_of_cupys_own_is_the_current_one(machine: Any) -> None:
    from tensorgrad.backend.cuda import device

    with device.cupy().cuda.Stream() as own:
        assert device.stream_pointer() == own.ptr


@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (5, 6)])
@pytest.mark.parametrize("kind", ["float32", "int64", "bool"])
def test_copies(machine: Any, rng: Any, shape: tuple[int, ...], kind: str) -> None:
    from tensorgrad.backend.cuda import device

    host = np.asarray(rng.integers(0, 2, shape)).astype(kind)
    there = device.cupy().empty(shape, kind)
    device.upload(there, host)
    memory = device.pinned(shape, kind)
    memory[...] = host
    device.upload(there, memory)
    coming = device.download(there)
    got = coming.wait()
    assert coming.done
    assert got.dtype == host.dtype
    np.testing.assert_array_equal(got, host)
    with pytest.raises(ValueError, match="upload: got"):
        device.upload(there, np.zeros((2, 2, 2), kind))


def test_copies_of_views(machine: Any, rng: Any) -> None:
    from tensorgrad.backend.cuda import device

    host = rng.standard_normal((4, 6))
    there = device.cupy().empty((6, 4))
    device.upload(there, host.T)
    np.testing.assert_array_equal(device.download(there.T[::2]).wait(), host[::2])


def test_pinned_memory_lives_until_it_is_read(machine: Any) -> None:
    from tensorgrad.backend.cuda import device

    with device.Stream() as stream:
        there = device.cupy().empty(1000)
        for value in range(5):
            memory = device.pinned((1000,), "float64")
            memory[...] = value
            device.upload(there, memory)
            del memory
        stream.synchronize()
        assert (device.download(there).wait() == 4).all()
        device.upload(there, np.zeros(1000))
        assert len(device._FLIGHT) <= 1
