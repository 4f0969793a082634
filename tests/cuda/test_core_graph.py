"""Steps captured as one graph: replays, inputs and results, and what goes wrong inside."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import fakecupy
import numpy as np
import pytest

from tensorgrad._errors import DTypeError, ShapeError

MIB = 2**20


@pytest.fixture
def cupy() -> Iterator[Any]:
    with fakecupy.install(devices=2, memory=32 * MIB):
        import cupy as found

        from tensorgrad.backend.cuda import arena

        arena.install()
        yield found


def line_of(function: Any, text: str) -> int:
    """The number of the function's line that has the text."""
    lines, first = inspect.getsourcelines(function)
    return first + next(k for k, line in enumerate(lines) if text in line)


def test_a_replay_is_the_step(cupy: Any, rng: Any) -> None:
    from tensorgrad.backend.cuda import graph

    weight = cupy.asarray(rng.standard_normal((4, 3)))
    calls = []

    def step(x: Any) -> Any:
        calls.append(x)
        scaled = x * 2.0
        total = (scaled * weight).sum(axis=1)
        return {"total": total, "scaled": scaled}

    x = rng.standard_normal((4, 3))
    captured = graph.capture(step, [cupy.asarray(x)])
    assert len(calls) == graph.WARM_UP + 1
    for _ in range(3):
        x = rng.standard_normal((4, 3))
        found = captured(cupy.asarray(x))
        assert found is captured.outputs
        want = (2 * x * weight.get()).sum(axis=1)
        np.testing.assert_array_equal(found["total"].get(), want)
        np.testing.assert_array_equal(found["scaled"].get(), 2 * x)
        weight += 1  # read anew by the next replay
    assert len(calls) == graph.WARM_UP + 1
    np.testing.assert_array_equal(captured(x)["scaled"].get(), 2 * x)  # from the host
    captured.inputs[0].fill(7)
    np.testing.assert_array_equal(captured(captured.inputs[0])["scaled"].get(), np.full((4, 3), 14))


def test_state_advances_with_each_run(cupy: Any) -> None:
    from tensorgrad.backend.cuda import graph

    count = cupy.zeros(())

    def step() -> Any:
        nonlocal count
        count += 1.0
        return count

    captured = graph.capture(step)
    assert float(count.get()) == graph.WARM_UP
    assert float(captured().get()) == graph.WARM_UP + 1
    assert float(captured().get()) == graph.WARM_UP + 2


def test_work_before_and_after_is_in_order(cupy: Any) -> None:
    from tensorgrad.backend.cuda import device, graph

    with device.Stream():
        x = cupy.ones(1000)
        captured = graph.capture(lambda a: a + 1.0, [x])
        for value in range(4):
            memory = device.pinned((1000,), "float64")
            memory[...] = value
            found = captured(memory)
            after = found * 2.0
            assert (after.get() == 2 * value + 2).all()


def test_inputs_are_checked(cupy: Any) -> None:
    from tensorgrad.backend.cuda import graph

    captured = graph.capture(lambda a, b: a + b, [cupy.zeros(3), cupy.zeros(3)])
    with pytest.raises(ShapeError) as caught:
        captured(cupy.zeros(3), cupy.zeros(4))
    assert str(caught.value) == (
        "capture: got float64(4,) for input 1, expected float64(3,) as in the capture; "
        "try capturing again for it"
    )
    with pytest.raises(DTypeError, match=r"got float32\(3,\) for input 0"):
        captured(np.zeros(3, np.float32), cupy.zeros(3))
    with pytest.raises(ShapeError, match="got 1 inputs, expected 2"):
        captured(cupy.zeros(3))


def test_memory_of_a_graph_is_its_own(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph

    addresses = set()

    def step(x: Any) -> Any:
        inner = x * 2.0
        addresses.add(inner.data.ptr)
        return inner + 1.0

    def others() -> list[Any]:
        return [cupy.full(1000, -1.0) for _ in range(20)]

    x = cupy.ones(1000)
    captured = graph.capture(step, [x])
    addresses |= {captured.inputs[0].data.ptr, captured.outputs.data.ptr}
    assert not addresses & {y.data.ptr for y in others()}
    for _ in range(3):
        live = others()
        assert (captured(x).get() == 3).all()
        assert all((y.get() == -1).all() for y in live)
    captured.close()
    captured.close()
    assert arena.arena(0).trim() > 0
    with pytest.raises(RuntimeError, match="got a captured step that was closed"):
        captured(x)


def test_a_graph_that_dies_gives_its_memory_back(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph

    x = cupy.ones(10)
    arena.arena(0).trim()
    before = arena.arena(0).usage().reserved
    captured = graph.capture(lambda a: a * 2.0 + 1.0, [x])
    kept = captured(x)
    del captured
    gc.collect()
    assert (kept.get() == 3).all()
    del kept
    arena.arena(0).trim()
    assert arena.arena(0).usage().reserved == before


def float_of(x: Any) -> Any:
    return float(x.sum()) * x  # reads


def copy_of(x: Any) -> Any:
    return x + np.sum(x.get())  # reads


def branch_of(x: Any) -> Any:
    if x[0] > 0:  # reads
        return x
    return -x


def wait_of(x: Any) -> Any:
    from tensorgrad.backend.cuda import device

    device.synchronize()  # reads
    return x


def upload_of(x: Any) -> Any:
    from tensorgrad.backend.cuda import device

    device.upload(x, np.ones(x.shape))  # reads
    return x


def product_of(x: Any) -> Any:
    import cupy

    return cupy.matmul(x, x)  # reads


@pytest.mark.parametrize("step", [float_of, copy_of, branch_of, wait_of, upload_of, product_of])
def test_a_host_read_names_its_line(cupy: Any, step: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    with pytest.raises(CaptureError) as caught:
        graph.capture(step, [cupy.ones(4)])
    text, line = str(caught.value), line_of(step, "# reads")
    assert f"at {__file__}:{line} (" in text, text
    assert "# reads" in text
    assert "out of the step" in text
    assert caught.value.__cause__ is not None
    usable(cupy, arena, graph)


def usable(cupy: Any, arena: Any, graph: Any) -> None:
    """Eager work and captures still run, and no memory is lost."""
    assert arena.arena(0).capturing == 0
    assert cupy.cuda.get_current_stream().ptr == 0
    x = cupy.ones(3)
    assert float((x + 1).sum().get()) == 6
    assert (graph.capture(lambda a: a + 1.0, [x])(x).get() == 2).all()


def test_errors_of_the_step_itself_pass(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph

    runs = []

    def step(x: Any) -> Any:
        runs.append(x)
        if len(runs) > graph.WARM_UP:
            raise KeyError("its own")
        return x

    with pytest.raises(KeyError, match="its own"):
        graph.capture(step, [cupy.ones(4)])
    with pytest.raises(ZeroDivisionError):
        graph.capture(lambda x: 1 / 0, [cupy.ones(4)])
    usable(cupy, arena, graph)


@pytest.mark.parametrize("run", [0, 2])
def test_out_of_memory_in_a_capture(cupy: Any, run: int) -> None:
    from tensorgrad.backend.cuda import arena, graph
    from tensorgrad.backend.cuda.errors import OutOfMemoryError

    runs: list[int] = []

    def step(x: Any) -> Any:
        runs.append(1)
        held = [x + 1.0]
        if len(runs) > run:
            held.extend(cupy.empty(MIB // 2) for _ in range(100))
        return held

    with pytest.raises(OutOfMemoryError, match=r"a request for 4\.0 MiB on cuda:0") as caught:
        graph.capture(step, [cupy.ones(4)])
    assert f"made at {__file__}:{line_of(step, 'held.extend')}" in str(caught.value)
    del caught
    gc.collect()
    usable(cupy, arena, graph)
    assert cupy.empty(28 * MIB, "uint8").nbytes == 28 * MIB


def test_a_capture_inside_a_capture(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    runs = []

    def step(x: Any) -> Any:
        runs.append(x)
        if len(runs) > graph.WARM_UP:
            graph.capture(lambda a: a, [x])
        return x + 1.0

    with pytest.raises(CaptureError, match="one at a time"):
        graph.capture(step, [cupy.ones(4)])
    usable(cupy, arena, graph)


def test_a_capture_or_a_replay_in_a_capture_of_another_device(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    with cupy.cuda.Device(1):
        y = cupy.ones(4)
    other = graph.capture(lambda a: a + 1.0, [y])

    def captures(x: Any) -> Any:
        graph.capture(lambda a: a, [y])
        return x + 1.0

    def replays(x: Any) -> Any:
        other(y)
        return x + 1.0

    for step, what in ((captures, "a capture inside another one"),
                       (replays, "a captured step called inside a capture")):  # fmt: skip
        with pytest.raises(CaptureError, match=f"got {what}, expected one at a time"):
            graph.capture(step, [cupy.ones(4)])
        usable(cupy, arena, graph)
    assert arena.arena(1).capturing == 0


def test_work_on_another_device(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    def step(x: Any) -> Any:
        with cupy.cuda.Device(1):
            cupy.ones(4)  # elsewhere
        return x + 1.0

    with pytest.raises(CaptureError) as caught:
        graph.capture(step, [cupy.ones(4)])
    line = line_of(step, "# elsewhere")
    assert f"got work on cuda:1 at {__file__}:{line}, expected all of a step" in str(caught.value)
    del caught
    usable(cupy, arena, graph)


def test_many_graphs_share_the_pool(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph

    x = cupy.ones(MIB // 8)
    held = [graph.capture(lambda a, k=k: (a * 2.0 + k).sum(), [x]) for k in range(4)]
    for _ in range(2):
        assert [float(step(x).get()) for step in held] == [
            (2 + k) * x.size for k in range(len(held))
        ]
    for _ in range(12):  # more than there is, were it not given back
        held.pop(0).close()
        held.append(graph.capture(lambda a: (a * 2.0 + 7.0).sum(), [x]))
    assert float(held[-1](x).get()) == 9 * x.size
    held.clear()
    gc.collect()
    arena.arena(0).trim()
    assert arena.arena(0).usage().reserved <= x.nbytes + MIB // 2


def test_what_a_step_does_on_the_host_comes_before_its_replay(cupy: Any) -> None:
    from tensorgrad._errors import ShapeError
    from tensorgrad.backend.cuda import graph, numbers
    from tensorgrad.core import replay

    recording, values, refuse = replay.Recording(numbers.Numbers), [1.5, 2.5], [False]

    def check() -> None:
        if refuse[0]:
            raise KeyError("not now")

    def count() -> tuple[float, ...]:
        values[0] += 1
        return (values[0],)

    def step(x: Any) -> Any:
        found = replay.current.get()
        if found is None:
            return x
        found.check(check)
        (first,) = found.numbers(count, ["float32"])
        second, whole = found.numbers(lambda: (values[0] * values[1], 2**63), ["float64", "uint64"])
        found.each(lambda: values.append(0.0))
        return x * first + second, whole + np.uint64(0)

    captured = graph.capture(step, [cupy.ones(3)], recording)
    assert replay.current.get() is None
    assert values == [1.5, 2.5]
    for k in range(1, 4):
        found, whole = captured(cupy.full(3, 2.0))
        assert found.get().tolist() == [2 * values[0] + values[0] * 2.5] * 3
        assert int(whole.get()) == 2**63
        assert values[0] == 1.5 + k
        assert len(values) == 2 + k
    refuse[0] = True
    with pytest.raises(KeyError):
        captured(cupy.ones(3))
    with pytest.raises(ShapeError):
        captured(cupy.ones(4))
    assert (values[0], len(values)) == (4.5, 5)


def test_many_numbers_and_only_those_that_change(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module, numbers

    held = numbers.Numbers()
    places = [held.place("float32" if k % 3 else "float64") for k in range(600)]
    values = [k / 7 for k in range(600)]
    module.launches.clear()
    for _ in range(2):
        held.put(values)
    assert module.launches == {"put_words_256": 3}
    values[300] = -1.0
    held.put(values)
    assert module.launches == {"put_words_256": 4}
    for place, value in zip(places, values):
        assert place.get() == place.dtype.type(value)
    with pytest.raises(OverflowError):
        held.put([1e39] * 600)


def test_work_on_another_stream(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, device, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    side = device.Stream()

    def joined(x: Any) -> Any:
        here = device.current_stream()
        side.wait_stream(here)
        with side:
            y = x * 3.0
        here.wait_stream(side)
        return y + 1.0

    captured = graph.capture(joined, [cupy.ones(5)])
    assert (captured(cupy.full(5, 2.0)).get() == 7).all()

    def loose(x: Any) -> Any:
        side.wait_stream(device.current_stream())
        with side:
            return x * 3.0

    with pytest.raises(CaptureError, match=r"waits for every stream.*Stream\.wait_stream"):
        graph.capture(loose, [cupy.ones(5)])
    usable(cupy, arena, graph)


def test_a_refusal_that_the_step_catches(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, device, graph
    from tensorgrad.backend.cuda.errors import CaptureError

    def step(x: Any) -> Any:
        with suppress(RuntimeError):
            device.synchronize()
        return x + 1.0

    with pytest.raises(CaptureError, match="even one whose error is caught"):
        graph.capture(step, [cupy.ones(5)])
    usable(cupy, arena, graph)


def test_inputs_lie_on_one_device(cupy: Any) -> None:
    from tensorgrad._errors import DeviceError
    from tensorgrad.backend.cuda import graph

    x = cupy.ones(5)
    with cupy.cuda.Device(1):
        y = cupy.ones(5)
    for others, names in (([x, y], "cuda:0, cuda:1"), ([x, np.ones(5)], "cuda:0, the host"),
                          ([2.0], "the host")):  # fmt: skip
        with pytest.raises(DeviceError, match=f"got inputs on {names}, expected all on one GPU"):
            graph.capture(lambda *given: given, others)
    captured = graph.capture(lambda a: a * 2.0, [x])
    with pytest.raises(DeviceError, match="got input='cuda:1', expected cuda:0 as in the capture"):
        captured(y)


def test_another_device(cupy: Any) -> None:
    from tensorgrad.backend.cuda import arena, graph

    with cupy.cuda.Device(1):
        x = cupy.ones(5)
    captured = graph.capture(lambda a: a * 2.0, [x])
    assert captured.device == 1
    found = captured(x)
    with cupy.cuda.Device(1):
        assert (found.get() == 2).all()
    assert arena.arena(0).used == 0
