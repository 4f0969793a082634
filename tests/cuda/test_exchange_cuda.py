"""Tensors on a GPU shared with CuPy and its like: DLPack, streams, CUDA's array interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, there

import tensorgrad as tg


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def cupy() -> Any:
    import cupy

    return cupy


def test_to_and_from_cupy_without_a_copy(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal((3, 4)))
    assert x.__dlpack_device__() == (2, 0)
    back = cupy().from_dlpack(x)
    assert back.data.ptr == x.data.data.ptr
    again = tg.from_dlpack(back.T)
    assert again.device == "cuda:0"
    assert again.data.data.ptr == x.data.data.ptr
    np.testing.assert_array_equal(here(again), here(x).T)


def test_bfloat16_through_cupy(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal(5)).astype("bfloat16")
    again = tg.from_dlpack(x)
    assert again.dtype == tg.bfloat16
    assert again.data.data.ptr == x.data.data.ptr


def test_the_consumers_stream_is_passed_on(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal(5))

    class Consumer:
        """An array of another library, which notes the stream that it is asked for on."""

        seen: Any = None

        def __dlpack_device__(self) -> Any:
            return x.__dlpack_device__()

        def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
            self.seen = stream
            return x.__dlpack__(stream=stream, **options)

    given = Consumer()
    with cupy().cuda.Stream(non_blocking=True) as stream:
        tg.from_dlpack(given)
        assert given.seen == stream.ptr
    with pytest.raises(ValueError, match="stream"):
        x.__dlpack__(stream=0)


def test_to_the_host_and_back(gpu: Any, rng: np.random.Generator) -> None:
    value = rng.standard_normal(4)
    x = there(value)
    host = tg.from_dlpack(x, device="cpu")
    assert host.device == "cpu"
    np.testing.assert_array_equal(host, value)
    assert tg.from_dlpack(value, device="cuda").device == "cuda:0"
    with pytest.raises(ValueError, match="from_dlpack: got x='cuda:0', device='cpu', copy=False"):
        tg.from_dlpack(x, device="cpu", copy=False)


def test_the_array_interface(gpu: Any, rng: np.random.Generator) -> None:
    x = there(rng.standard_normal((3, 4))).T
    found = x.__cuda_array_interface__
    assert found["version"] == 3
    assert found["shape"] == (4, 3)
    assert found["strides"] == (8, 32)
    assert found["data"][0] == x.data.data.ptr
    for hidden in (tg.asarray(x, requires_grad=True), tg.asarray(x, requires_grad=True) * 2):
        with pytest.raises(tg.GradientError, match="__cuda_array_interface__: got a tensor on"):
            _ = hidden.__cuda_array_interface__
        with pytest.raises(tg.GradientError, match="__dlpack__: got a tensor on the tape"):
            cupy().from_dlpack(hidden)
