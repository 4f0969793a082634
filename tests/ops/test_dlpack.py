"""Arrays shared with other libraries: DLPack both ways, `np.asarray`, CUDA's array interface."""

from __future__ import annotations

import ctypes
import gc
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import GradientError, dtypes

pytestmark = pytest.mark.cpu_only("of a GPU's arrays: tests/cuda/test_exchange_cuda.py")

NAMES = [name for name in dtypes.NAMES if name != "bfloat16"]


def library(name: str) -> Any:
    return pytest.importorskip(name)


def values(dtype: str, rng: np.random.Generator) -> Any:
    return rng.integers(0, 2, (2, 3)).astype(dtype)


# -- NumPy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", NAMES)
def test_to_and_from_numpy_without_a_copy(dtype: str, rng: np.random.Generator) -> None:
    x = values(dtype, rng)
    for given in (x, x.T, x[:, ::2]):
        t = tg.from_dlpack(given)
        assert t.dtype == given.dtype
        assert np.shares_memory(t, given)
        np.testing.assert_array_equal(t, given)
        back = np.from_dlpack(tg.asarray(given))
        assert np.shares_memory(back, given)
        assert back.strides == given.strides
        shared = np.asarray(tg.asarray(given))
        assert shared.__array_interface__["data"] == given.__array_interface__["data"]


def test_bfloat16_goes_through_a_capsule(rng: np.random.Generator) -> None:
    t = tg.asarray(rng.standard_normal((3, 4)), dtype="bfloat16")
    for other in (t, t.T):
        back = tg.from_dlpack(other)
        assert back.dtype == tg.bfloat16
        assert np.shares_memory(back.numpy(), t.numpy())
        np.testing.assert_array_equal(back.numpy(), other.numpy())


def test_copies_where_they_are_asked_for(rng: np.random.Generator) -> None:
    x = rng.standard_normal(4)
    assert not np.shares_memory(tg.from_dlpack(x, copy=True), x)
    assert np.shares_memory(tg.from_dlpack(x, device="cpu", copy=False), x)
    assert not np.shares_memory(np.from_dlpack(tg.asarray(x), copy=True), x)
    assert tg.asarray(x).__dlpack_device__() == (1, 0)


def test_memory_lives_as_long_as_anyone_reads_it(rng: np.random.Generator) -> None:
    x = rng.standard_normal(1000)
    kept = tg.from_dlpack(np.from_dlpack(tg.tensor(x)))
    gc.collect()
    np.testing.assert_array_equal(kept, x)
    capsule = tg.tensor(x, "bfloat16").__dlpack__()
    del capsule
    gc.collect()


# -- PyTorch and JAX ---------------------------------------------------------------------------

TORCH = [n for n in NAMES if not n.startswith("uint") or n == "uint8"]


@pytest.mark.parametrize("dtype", [*TORCH, "bfloat16"])
def test_to_and_from_pytorch_without_a_copy(dtype: str, rng: np.random.Generator) -> None:
    torch = library("torch")
    x = torch.asarray(values("int64", rng)).to(getattr(torch, dtype))
    for given in (x, x.T, x[:, 1:]):
        t = tg.from_dlpack(given)
        assert t.dtype.name == dtype
        assert t.shape == tuple(given.shape)
        assert t.numpy().ctypes.data == given.data_ptr()
        np.testing.assert_array_equal(t.astype("complex128"), given.to(torch.complex128).numpy())
        for back in (torch.from_dlpack(t), torch.utils.dlpack.from_dlpack(t)):
            assert back.dtype == given.dtype
            assert back.data_ptr() == given.data_ptr()
            assert torch.equal(back, given)


def test_a_write_by_pytorch_is_seen(rng: np.random.Generator) -> None:
    torch = library("torch")
    t = tg.tensor(rng.standard_normal(3))
    torch.from_dlpack(t)[1] = 7.0
    assert t[1].item() == 7.0


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool", "complex64", "bfloat16"])
def test_to_and_from_jax(dtype: str, rng: np.random.Generator) -> None:
    library("jax")
    x = importlib.import_module("jax.numpy").asarray(values("int32", rng)).astype(dtype)
    t = tg.from_dlpack(x)
    assert t.dtype.name == dtype
    assert t.numpy().ctypes.data == x.unsafe_buffer_pointer()
    back = importlib.import_module("jax").dlpack.from_dlpack(tg.tensor(t))
    assert back.dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(back), np.asarray(x))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.__dlpack__(), tg.from_dlpack, np.from_dlpack, np.asarray,
        lambda t: importlib.import_module("torch").from_dlpack(t),
    ],
)  # fmt: skip
def test_nothing_leaves_the_tape(call: Callable[[Any], Any], rng: np.random.Generator) -> None:
    library("torch")
    t = tg.Tensor(rng.standard_normal(3), requires_grad=True)
    for one in (t, t * 2):
        with pytest.raises(GradientError, match=r"on the tape.*try .*detach\(\)"):
            call(one)
    call(t.detach())
    with pytest.raises(GradientError, match="on the tape"):
        tg.jvp(lambda x: call(x) or x, (np.ones(3),), (np.ones(3),))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: tg.from_dlpack([1.0]),
            TypeError,
            "from_dlpack: got x=[1.0], expected an array with __dlpack__; try tg.asarray(x)",
        ),
        (
            lambda: tg.zeros(2).__cuda_array_interface__,
            AttributeError,
            "__cuda_array_interface__: got a tensor on cpu, expected one on a GPU; "
            "try x.to('cuda'), or np.asarray(x)",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == message
    assert not hasattr(tg.zeros(2), "__cuda_array_interface__")


def test_read_only_memory_is_exported_where_the_protocol_can_say_so() -> None:
    t = tg.broadcast_to(tg.ones(3), (2, 3))
    with pytest.raises(BufferError):
        t.__dlpack__()
    assert not np.from_dlpack(t).flags.writeable


def test_a_capsule_is_one() -> None:
    valid = ctypes.pythonapi.PyCapsule_IsValid
    valid.argtypes = (ctypes.py_object, ctypes.c_char_p)
    assert valid(tg.zeros(2).__dlpack__(), b"dltensor")
    assert valid(tg.zeros(2, "bfloat16").__dlpack__(max_version=(1, 0)), b"dltensor_versioned")
