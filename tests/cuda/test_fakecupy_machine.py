"""The stand-in for CuPy as a machine: capture and replay, streams, memory, devices, kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fakecupy
import ml_dtypes
import numpy as np
import pytest
from fakecupy.machine import CUDARuntimeError

SCALE = """
extern "C" __global__ void scale(const float* x, float* y, int n, float k) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = k * x[i];
}
"""
TEMPLATE = """
template <class T> __global__ void twice(T* x, int n) {
    CUDA_DYN_SHARED(T, held);
    if (threadIdx.x < n) held[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < n) x[threadIdx.x] = held[threadIdx.x] + held[threadIdx.x];
}
"""


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


# -- capture ---------------------------------------------------------------------------------------


@pytest.fixture
def stream(cp: Any) -> Any:
    return cp.cuda.Stream(non_blocking=True)


def test_a_graph_replays_on_what_is_there(cp: Any, stream: Any, rng: np.random.Generator) -> None:
    host, index = rng.standard_normal(8), rng.integers(0, 8, 3)
    x, at, total = cp.asarray(host), cp.asarray(index), cp.zeros(())
    with stream:
        stream.begin_capture()
        assert stream.is_capturing()
        y = cp.exp(x)[at] * 2
        total += y.sum()
        z = cp.concatenate([y, x])
        graph = stream.end_capture()
    assert np.isnan(z.get()).all()  # recorded, not run
    want = 0.0
    for _ in range(3):
        host = rng.standard_normal(8)
        x.set(host)
        index = rng.integers(0, 8, 3)
        at.set(index)
        graph.launch(stream)
        stream.synchronize()
        want = want + (np.exp(host)[index] * 2).sum()
        np.testing.assert_allclose(y.get(), np.exp(host)[index] * 2)
        np.testing.assert_array_equal(z.get()[3:], host)
    np.testing.assert_allclose(total.get(), want)


@pytest.mark.parametrize(
    ("use", "error", "text"),
    [
        (lambda cp, x: x.get(), RuntimeError, "D2H"),
        (lambda cp, x: float(x[0]), RuntimeError, "D2H"),
        (lambda cp, x: bool(x[0] > 0), RuntimeError, "D2H"),
        (lambda cp, x: x[x > 0], RuntimeError, "D2H"),
        (lambda cp, x: cp.nonzero(x), RuntimeError, "D2H"),
        (lambda cp, x: repr(x), RuntimeError, "D2H"),
        (lambda cp, x: cp.asarray([1.0]), RuntimeError, "H2D"),
        (lambda cp, x: x[[0, 1]], RuntimeError, "H2D"),
        (lambda cp, x: x.set(np.ones(4, "f")), RuntimeError, "H2D"),
        (lambda cp, x: x @ x, NotImplementedError, "cuBLAS"),
        (lambda cp, x: cp.dot(x, x), NotImplementedError, "cuBLAS"),
        (lambda cp, x: cp.linalg.inv(x.reshape(2, 2)), NotImplementedError, "cuSOLVER"),
        (lambda cp, x: cp.random.normal(size=3), NotImplementedError, "cuRAND"),
        (lambda cp, x: cp.sort(x), CUDARuntimeError, "not permitted"),
        (lambda cp, x: cp.cuda.get_current_stream().synchronize(), CUDARuntimeError, "not permit"),
        (lambda cp, x: cp.cuda.Device().synchronize(), CUDARuntimeError, "not permitted"),
    ],
)
def test_what_a_capturing_stream_refuses(
    cp: Any, stream: Any, use: Callable[..., Any], error: type, text: str
) -> None:
    x = cp.ones(4, "f")
    with stream:
        stream.begin_capture()
        x += 1
        with pytest.raises(error, match=text):
            use(cp, x)
        if error is CUDARuntimeError:  # CUDA itself refused: the capture is lost
            with pytest.raises(CUDARuntimeError, match="previous error"):
                stream.end_capture()
        else:
            stream.end_capture().launch()
    assert x[0].item() == (1 if error is CUDARuntimeError else 2)


def test_a_graph_keeps_its_addresses_not_its_memory(cp: Any, stream: Any) -> None:
    x = cp.ones(256, "f")
    with stream:
        stream.begin_capture()
        y = (x + 1) * 2  # x + 1 goes back to the pool
        graph = stream.end_capture()
        innocent = cp.zeros(256, "f")  # and is given out again
        graph.launch()
    assert y[0].item() == 4
    assert innocent[0].item() == 2  # overwritten by the replay, as on a GPU


def test_streams_join_a_capture_by_events(cp: Any, stream: Any) -> None:
    other, x, y = cp.cuda.Stream(non_blocking=True), cp.ones(3), cp.ones(3)
    with stream:
        stream.begin_capture()
        x += 1
        other.wait_event(stream.record())
        with other:
            y += x
        with pytest.raises(CUDARuntimeError, match="unjoined"):
            stream.end_capture()
        stream.begin_capture()
        other.wait_event(stream.record())
        with other:
            y += x
        stream.wait_event(other.record())
        graph = stream.end_capture()
    graph.launch()
    same(y, np.full(3, 2.0))
    with pytest.raises(RuntimeError, match="default"):
        cp.cuda.Stream.null.begin_capture()
    blocking = cp.cuda.Stream()
    with blocking:
        blocking.begin_capture()
        with cp.cuda.Stream.null, pytest.raises(CUDARuntimeError, match="legacy"):
            x += 1
        with pytest.raises(CUDARuntimeError, match="previous error"):
            blocking.end_capture()


# -- streams, events, pinned memory ----------------------------------------------------------------


def test_asynchronous_copies_wait(cp: Any, stream: Any) -> None:
    import cupyx

    source, target = cupyx.empty_pinned(4, "f"), cupyx.zeros_pinned(4, "f")
    source[:] = 1
    array = cp.empty(4, "f")
    array.set(source, stream)
    assert np.isnan(cp.asnumpy(array)).all()  # another stream did not wait
    source[:] = 2  # too early: the copy has not run
    with stream:
        doubled = array * 2
    doubled.get(stream=stream, out=target, blocking=False)
    assert (target == 0).all()
    event = stream.record()
    assert not event.done
    event.synchronize()
    assert (target == 4).all()
    pageable = np.full(4, 3, "f")
    array.set(pageable, stream)
    pageable[:] = 0
    stream.synchronize()
    same(array, np.full(4, 3, "f"))
    with pytest.raises(TypeError):
        array.get(out=np.zeros(4))


def test_pinned_memory_is_a_buffer(cp: Any) -> None:
    found = cp.cuda.alloc_pinned_memory(100)
    host = np.frombuffer(found, "f", 25)
    assert host.ctypes.data == found.ptr
    assert found.size() >= 100


def test_events_and_current_streams(cp: Any, stream: Any) -> None:
    begin, end = cp.cuda.Event(), cp.cuda.Event()
    assert cp.cuda.get_current_stream() == cp.cuda.Stream.null
    with stream:
        begin.record()
        cp.ones(3).sum()
        end.record()
        assert cp.cuda.get_current_stream() is stream
    end.synchronize()
    assert cp.cuda.get_elapsed_time(begin, end) >= 0
    with pytest.raises(CUDARuntimeError, match="handle"):
        cp.cuda.get_elapsed_time(begin, cp.cuda.Event(disable_timing=True))
    with cp.cuda.Device(1), pytest.raises(RuntimeError, match="does not match"):
        stream.use()


# -- memory and devices ----------------------------------------------------------------------------


def test_the_pool_counts_and_reuses(cp: Any) -> None:
    pool = cp.cuda.MemoryPool()
    with cp.cuda.using_allocator(pool.malloc):
        a = cp.empty(1000, "f")
        b = cp.empty(10, "f")
        assert (pool.used_bytes(), pool.total_bytes()) == (4096 + 512, 4096 + 512)
        del a
        assert pool.used_bytes() == 512
        assert pool.free_bytes() == 4096
        c = cp.empty(128, "f")  # split off the free block
        assert pool.total_bytes() == 4096 + 512
        del c
        pool.free_all_blocks()
        assert pool.total_bytes() == 512
    del b
    assert pool.n_free_blocks() == 1


def test_running_out_of_memory(cp: Any) -> None:
    pool = cp.get_default_memory_pool()
    pool.set_limit(size=10_240)
    kept = cp.zeros(1024, "f")
    with pytest.raises(cp.cuda.memory.OutOfMemoryError) as caught:
        cp.zeros(2048, "f")
    assert str(caught.value) == (
        "Out of memory allocating 8,192 bytes (allocated so far: 4,096 bytes, limit set to: "
        "10,240 bytes)."
    )
    assert kept.sum().item() == 0
    pool.set_limit(size=0)
    with pytest.raises(MemoryError, match="allocated so far"):
        cp.empty(1 << 30)
    free, total = cp.cuda.Device().mem_info
    assert 0 < free < total
    cp.zeros(2048, "f")


def test_devices(cp: Any, machine: fakecupy.Machine) -> None:
    assert cp.cuda.runtime.getDeviceCount() == 2
    first = cp.ones(3)
    with cp.cuda.Device(1):
        second = cp.ones(3)
        assert second.device.id == second.data.device_id == 1
        with pytest.raises(ValueError, match="different from the current device"):
            first + 1
        copied = cp.asarray(first)
        assert copied.device.id == 1
    with pytest.raises(ValueError, match="Peer access is unavailable"):
        cp.add(first, second)
    with pytest.raises(CUDARuntimeError, match="invalid device ordinal"):
        cp.cuda.Device(2).use()
    assert cp.cuda.Device(0).compute_capability == "90"
    assert cp.cuda.runtime.getDeviceProperties(1)["multiProcessorCount"] == 132
    assert cp.cuda.Device().id == 0


@pytest.mark.parametrize(
    ("hardware", "text"), [({"devices": 0}, "no CUDA-capable"), ({"driver": 0}, "insufficient")]
)
def test_without_a_gpu(hardware: dict[str, int], text: str) -> None:
    with fakecupy.install(**hardware):
        import cupy

        assert not cupy.cuda.is_available()
        for use in (cupy.cuda.runtime.getDeviceCount, cupy.cuda.Event, lambda: cupy.empty(3)):
            with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match=text):
                use()


def test_memory_by_hand(cp: Any) -> None:
    block = cp.cuda.alloc(1024)
    array = cp.ndarray((4, 8), "f", block + 512, strides=(64, 4))
    array.fill(3)
    assert cp.ndarray((8,), "f", block + 512 + 64).sum().item() == 24
    memory = cp.cuda.UnownedMemory(block.ptr, 1024, block)
    assert memory.device_id == 0
    cp.cuda.runtime.memsetAsync(block.ptr, 0, 1024, 0)
    assert array.sum().item() == 0
    host = np.arange(8, dtype="f")
    cp.cuda.MemoryPointer(memory, 512).copy_from_host(host.ctypes.data, 32)
    same(array[0], host)


# -- kernels ---------------------------------------------------------------------------------------


def test_kernels_run_and_are_counted(cp: Any, machine: fakecupy.Machine) -> None:
    kernel = cp.RawModule(code=SCALE, options=("--std=c++17", "--fmad=false")).get_function("scale")
    x, y = cp.arange(6, dtype="f"), cp.empty(6, "f")
    kernel((1,), (32,), (x, y, np.int32(6), np.float32(3)))
    same(y, np.arange(6, dtype="f") * 3)
    kernel((1,), (32,), (x.data.ptr, np.uint64(y.data.ptr), np.int32(2), np.float32(0)))
    assert y.tolist() == [0, 0, 6, 9, 12, 15]
    assert machine.launches == {"scale": 2}


@pytest.mark.parametrize(
    "change",
    [
        {2: 6}, {3: 3.0}, {3: np.float64(3)}, {0: np.ones(6, "f")}, {1: "y"}, {2: np.int64(6)},
        {3: ml_dtypes.bfloat16(3)}, {2: None}, {0: np.float32(1)},
    ],
)  # fmt: skip
def test_arguments_are_checked(cp: Any, change: dict[int, Any]) -> None:
    kernel = cp.RawKernel(SCALE, "scale")
    args: list[Any] = [cp.ones(6, "f"), cp.empty(6, "f"), np.int32(6), np.float32(3)]
    for index, value in change.items():
        args[index] = value
    with pytest.raises(TypeError):
        kernel((1,), (32,), tuple(args))


def test_addresses_are_checked(cp: Any) -> None:
    kernel = cp.RawKernel(SCALE, "scale")
    x, rest = cp.ones(6, "f"), (np.int32(6), np.float32(3))
    with cp.cuda.Device(1):
        far = cp.ones(6, "f")
    for bad in (12345, far, far.data.ptr):
        with pytest.raises(CUDARuntimeError, match="illegal"):
            kernel((1,), (32,), (x, bad, *rest))
    with pytest.raises(TypeError, match="float64"):
        kernel((1,), (32,), (x, cp.ones(6), *rest))
    with pytest.raises(TypeError, match="expected tuple"):
        kernel([1], (32,), (x, x, *rest))


def test_a_launch_is_recorded(cp: Any, stream: Any, machine: fakecupy.Machine) -> None:
    kernel = cp.RawKernel(SCALE, "scale")
    x, y = cp.ones(6, "f"), cp.empty(6, "f")
    with stream:
        stream.begin_capture()
        kernel((1,), (32,), (x, y, np.int32(6), np.float32(3)))
        graph = stream.end_capture()
    assert machine.launches == {}
    x.fill(2)
    graph.launch()
    graph.launch()
    same(y, np.full(6, 6, "f"))
    assert machine.launches == {"scale": 2}


def test_expressions_and_shared_memory(cp: Any) -> None:
    names = ["twice<float>", "twice<double>"]
    module = cp.RawModule(code=TEMPLATE, name_expressions=names)
    x = cp.ones(32)
    module.get_function(names[1])((1,), (32,), (x, np.int32(32)), shared_mem=256)
    assert x.sum().item() == 64
    kernel = module.get_function(names[0])
    with pytest.raises(RuntimeError, match="invalid"):
        kernel((1,), (32,), (x.astype("f"), np.int32(32)), shared_mem=100_000)
    kernel.max_dynamic_shared_size_bytes = 100_000
    kernel((1,), (32,), (x.astype("f"), np.int32(32)), shared_mem=100_000)
    with pytest.raises(RuntimeError, match="not found"):
        module.get_function("once")


def test_machine_code_is_loaded(cp: Any, machine: fakecupy.Machine) -> None:
    expression = "twice<float>"
    image, names = cp.cuda.compiler.compile_using_nvrtc(TEMPLATE, (), name_expressions=[expression])
    assert isinstance(image, bytes)
    assert names[expression] != expression
    module = cp.cuda.Module()
    module.load(image)
    function = module.get_function(names[expression])
    x = cp.ones(32, "f")
    function((1,), (32,), (x, np.int32(32)), 128)
    assert x.sum().item() == 64
    with pytest.raises(RuntimeError, match="invalid"):
        function((1,), (32,), (x, np.int32(32)), 60_000)
    cp.cuda.driver.funcSetAttribute(function.ptr, 8, 60_000)
    function((1,), (32,), (x, np.int32(32)), 60_000)
    for bad in (expression, "twice"):
        with pytest.raises(RuntimeError, match="not found"):
            module.get_function(bad)
    with pytest.raises(RuntimeError, match="image is invalid"):
        cp.cuda.Module().load(image[: len(image) // 2])
    machine.capability = (8, 0)
    with pytest.raises(RuntimeError, match="no kernel image"):
        cp.cuda.Module().load(image)


@pytest.mark.parametrize(
    ("code", "options", "text"),
    [
        ('extern "C" __global__ void f(int n) { n = m; }', (), "‘m’ was not declared|'m'"),
        ('#include <math.h>\nextern "C" __global__ void f() {}', (), "cannot open source file"),
        ('extern "C" __global__ void f() {}', ("-O17",), "option"),
    ],
)
def test_a_kernel_that_fails_to_compile(
    cp: Any, code: str, options: tuple[str, ...], text: str
) -> None:
    with pytest.raises(cp.cuda.compiler.CompileException, match=text) as caught:
        cp.RawModule(code=code, options=options).get_function("f")
    assert caught.value.source == code
