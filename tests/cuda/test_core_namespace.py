"""`tg.cuda`: what a program sees of devices, memory, streams and captured steps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import fakecupy
import numpy as np
import pytest

MIB = 2**20


@pytest.fixture
def gpu() -> Iterator[Any]:
    with fakecupy.install(devices=2, memory=16 * MIB):
        import tensorgrad.backend.cuda.backend
        import tensorgrad.cuda

        yield tensorgrad.cuda


def tensor(value: Any, requires_grad: bool = False) -> Any:
    import cupy

    import tensorgrad as tg

    return tg.Tensor(cupy.asarray(value), requires_grad=requires_grad)


def test_without_a_gpu() -> None:
    with fakecupy.install(driver=0):
        import tensorgrad.cuda as cuda
        from tensorgrad import DeviceError

        assert not cuda.is_available()
        assert cuda.device_count() == 0
        for call in (cuda.current_device, cuda.synchronize, cuda.Stream, cuda.Event,
                     cuda.memory_summary, cuda.memory_allocated, cuda.empty_cache,
                     cuda.get_device_properties, cuda.current_stream,
                     lambda: cuda.capture(lambda: None)):  # fmt: skip
            with pytest.raises(DeviceError, match="got no NVIDIA driver"):
                call()


def test_devices(gpu: Any) -> None:
    from tensorgrad import DeviceError

    assert gpu.is_available()
    assert (gpu.device_count(), gpu.current_device()) == (2, 0)
    assert gpu.get_device_properties("cuda:1").memory == 16 * MIB
    with gpu.stream(gpu.Stream("cuda:1")) as entered:
        assert gpu.current_device() == 1
        assert gpu.current_stream().cuda_stream == entered.cuda_stream
    gpu.synchronize("cuda:1")
    with pytest.raises(DeviceError, match="got name='cuda:5', expected one of cuda:0 to cuda:1"):
        gpu.memory_summary("cuda:5")


def test_every_name_is_there(gpu: Any) -> None:
    for name in gpu.__all__:
        assert getattr(gpu, name).__doc__, name


def test_copies_that_nobody_waits_for(gpu: Any, rng: Any) -> None:
    import tensorgrad as tg

    values = rng.standard_normal((50, 4)).astype("f4")
    for given in (values, values.T, np.float32(2.0), np.arange(6) > 2, values.astype("f8")[::3],
                  tg.tensor(values).astype("bfloat16").numpy(), values[:0]):  # fmt: skip
        x = tg.asarray(given).pin_memory()
        assert (x.device, x.dtype, x.shape) == ("cpu", given.dtype, given.shape)
        assert np.array_equal(x.numpy(), given)
        for device in ("cuda", "cuda:1"):
            there = x.to(device, non_blocking=True)
            assert there.device == ("cuda:0" if device == "cuda" else device)
            assert np.array_equal(there.numpy(), given)
    pinned = tg.zeros(1000).pin_memory()
    with gpu.stream(gpu.Stream()):
        there = pinned.to("cuda", non_blocking=True)
        pinned.data[...] = 7  # too early: the copy has not run
        assert there.numpy().tolist() == [7] * 1000
    w = tg.tensor(values, requires_grad=True)
    w.to("cuda", non_blocking=True).sum().backward()
    assert np.array_equal(w.grad.numpy(), np.ones_like(values))  # on the tape it is a transfer
    with pytest.raises(tg.DeviceError, match="got a tensor on cuda:0, expected one on the host"):
        tensor(values).pin_memory()


def test_the_current_device(gpu: Any) -> None:
    import tensorgrad as tg

    with gpu.device("cuda:1"):
        assert gpu.current_device() == 1
        assert tg.zeros(3, device="cuda").device == "cuda:1"
    assert gpu.current_device() == 0


def test_memory(gpu: Any) -> None:
    gpu.empty_cache()
    before = gpu.memory_allocated()
    x = tensor(np.zeros(MIB // 4, np.float32))
    assert gpu.memory_allocated() == before + MIB
    gpu.reset_peak_memory_stats()
    assert gpu.max_memory_allocated() == gpu.memory_allocated()
    y = x + x
    del y
    assert gpu.max_memory_allocated() == before + 2 * MIB
    text = gpu.memory_summary()
    assert text.startswith("cuda:0\n")
    assert "     2.0 MiB  at most so far\n" in text
    assert "    16.0 MiB  on the device\n" in text
    assert f"     1.0 MiB  float32(262144,), made at {__file__}:" in text
    assert gpu.empty_cache() >= MIB
    assert gpu.memory_reserved() >= gpu.memory_allocated()
    gpu.set_memory_limit(MIB)
    with pytest.raises(gpu.OutOfMemoryError):
        x + x
    gpu.set_memory_limit(None)
    x + x


def chain(x: Any, held: list[Any]) -> None:
    import tensorgrad as tg

    held.append(x)
    while True:
        held.append(tg.tanh(held[-1]))  # each keeps its result


def test_out_of_memory_in_forward(gpu: Any) -> None:
    x, live = tensor(np.full(MIB // 4, 0.5, np.float32), requires_grad=True), []  # type: ignore[var-annotated]
    with pytest.raises(gpu.OutOfMemoryError) as caught:
        chain(x, live)
    text, count = str(caught.value), len(live) - 1
    lines, first = inspect.getsourcelines(chain)
    line = first + next(k for k, row in enumerate(lines) if "each keeps" in row)
    assert (
        f"{count}.0 MiB  {count} of 1.0 MiB: float32(262144,) of tanh, made at {__file__}:{line}\n"
    ) in text
    assert "float32(262144,) of a leaf, made at" in text
    del live[2:], caught
    live[1].sum().backward()
    np.testing.assert_allclose(x.grad.data.get(), 1 - np.tanh(0.5) ** 2, rtol=1e-5)


def fill(held: list[Any]) -> None:
    while True:
        held.append(tensor(np.zeros(MIB // 4, np.float32)))


def test_out_of_memory_in_backward(gpu: Any) -> None:
    import tensorgrad as tg

    x = tensor(np.full(MIB // 4, 0.5, np.float32), requires_grad=True)
    y = tg.exp(tg.tanh(x)).sum()
    held: list[Any] = []
    with pytest.raises(gpu.OutOfMemoryError):
        fill(held)
    with pytest.raises(gpu.OutOfMemoryError, match="made at"):
        y.backward()
    del held, y
    x.grad = None
    tg.exp(tg.tanh(x)).sum().backward()
    assert np.isfinite(x.grad.data.get()).all()


def test_a_training_step(gpu: Any, rng: Any) -> None:
    """A captured step and an eager one give the same parameters, bit for bit."""
    import tensorgrad as tg

    first = rng.standard_normal((5, 3)).astype(np.float32)
    batches = rng.standard_normal((6, 4, 5)).astype(np.float32)

    def trained(capture: bool) -> tuple[Any, list[float]]:
        weight = tensor(first.copy(), requires_grad=True)

        def step(x: Any) -> Any:
            weight.grad = None
            loss = (tg.tanh((x[:, :, None] * weight).sum(axis=1)) ** 2).mean()
            loss.backward()
            weight.data[...] = (weight.detach() - weight.grad * 0.1).data
            return {"loss": loss, "pair": (weight.grad, [x])}

        losses = []
        run = step
        if capture:
            run = gpu.capture(step, [tensor(batches[0])])
            weight.data[...] = tensor(first).data  # the warm-up has trained
        for x in batches:
            found = run(tensor(x))
            losses.append(float(found["loss"].data.get()))
            assert found["pair"][0].shape == (5, 3)
        return weight.data.get(), losses

    eager, captured = trained(False), trained(True)
    np.testing.assert_array_equal(captured[0], eager[0])
    assert captured[1] == eager[1]


def test_results_are_off_the_tape(gpu: Any) -> None:
    x = tensor(np.ones(3), requires_grad=True)
    seen = []

    def step(x: Any) -> Any:
        seen.append(x.requires_grad)
        return x * 2.0

    run = gpu.capture(step, [x])
    assert seen == [True] * 3
    found = run(np.full(3, 4.0))
    assert not found.requires_grad
    assert found.data.get().tolist() == [8] * 3
    assert run(x) is found
    run.close()


def test_a_host_read_in_a_step(gpu: Any) -> None:
    def step(x: Any) -> Any:
        return x * x.sum().item()

    with pytest.raises(gpu.CaptureError) as caught:
        gpu.capture(step, [tensor(np.ones(3))])
    line = inspect.getsourcelines(step)[1] + 1
    assert f"at {__file__}:{line} (return x * x.sum().item())" in str(caught.value)
    assert float((tensor(np.ones(3)) + 1.0).sum().data.get()) == 6
