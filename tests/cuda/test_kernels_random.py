"""Kernels that draw from a counter, on the CPU: the bits of the host's generator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_tools import COMPUTE, DTYPES, array, i64, launch, module, u64

from tensorgrad.backend import numpy_random, philox

INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def counters(rng: np.random.Generator) -> tuple[int, int, int]:
    """A key and the two halves of a counter; the lower half near a carry at times."""
    key, low, high = (int(k) for k in rng.integers(0, 2**63, 3))
    return key * 2, int(rng.choice([low, 2**32 - 5, 0])), int(rng.choice([high, 0]))


def same(got: Any, want: Any) -> None:
    assert got.dtype == want.dtype
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("n", [1, 2, 7, 1029, 5000])
def test_fills(rng: np.random.Generator, kind: str, name: str, n: int) -> None:
    key, low, high = counters(rng)
    out, step = array(n, DTYPES[name], int(rng.integers(4))), int(rng.integers(1000))
    given = np.array([step], u64) if rng.integers(2) else None
    stored = np.array([key], u64) if rng.integers(2) else None
    args = (out, i64(n), u64(0 if stored is not None else key), u64(low), u64(high), stored, given)
    launch("random", f"{kind}_{name}", (int(rng.integers(1, 4)),), 256, *args)
    start = (high << 64) + low + (step if given is not None else 0)
    same(out, getattr(philox, kind)(key, start, n, DTYPES[name]))


def test_normals_of_extreme_words() -> None:
    """A million normals hold every quadrant, both ends of the radius and the cut in the log."""
    n, out = 2**20, array(2**20, np.float32)
    args = (out, i64(n), u64(7), u64(0), u64(0), None, None)
    launch("random", "normal_f32", (64,), 256, *args, schedules=["ascending"])
    same(out, philox.normal(7, 0, n, np.float32))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers(rng: np.random.Generator, dtype: str) -> None:
    info, width = np.iinfo(dtype), np.dtype(dtype).itemsize
    a, b = sorted(int(k) for k in rng.integers(info.min, info.max, 2, dtype, endpoint=True))
    for least, most in ((a, b + 1), (info.min, info.max + 1), (a, a + 1)):
        key, low, high = counters(rng)
        n, span = int(rng.integers(1, 700)), (most - least) % 2**64
        out = array(n, dtype, int(rng.integers(2)))
        args = (i64(n), u64(least % 2**64), u64(span), u64(key), u64(low), u64(high), None, None)
        launch("random", f"integers_{width}", (2,), 256, out, *args)
        same(out, philox.integers(key, (high << 64) + low, least, most, n, dtype))


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("n", [1, 9, 1030])
@pytest.mark.parametrize("p", [0.0, 0.37, 1.0])
def test_dropout(rng: np.random.Generator, name: str, n: int, p: float) -> None:
    masks, key = int(rng.integers(1, 4)), int(rng.integers(2**63))
    counter = rng.integers(0, 2**60, masks).astype(u64)
    x = array((masks, n), DTYPES[name], int(rng.integers(4)), fill=rng.standard_normal((masks, n)))
    x[0, 0] = np.inf
    out = array((masks, n), DTYPES[name])
    scale = COMPUTE[name](1 / (1 - p) if p < 1 else 1)
    stored = np.array([key], u64) if rng.integers(2) else None
    given = (u64(0 if stored is not None else key), stored)
    args = (counter, i64(masks), i64(n), *given, u64(int(p * 2**32)), scale)
    launch("dropout", f"dropout_{name}", (2, masks), 256, x, out, *args)
    want = [numpy_random.dropout(x[m], counter[m], p=p, key=key, shape=(n,)) for m in range(masks)]
    assert np.array_equal(out, np.array(want))
    launch("dropout", f"dropout_{name}", (1, 1), 256, x, x, *args)
    same(x, out)


def test_dropout_beyond_2_to_the_31_elements(rng: np.random.Generator) -> None:
    """The last block of 2^32 + 100 elements, by address arithmetic alone."""
    n, counter = 2**32 + 100, np.array([5], u64)
    x, out = rng.random(100).astype(np.float32), array(100, np.float32)
    far = [int(a.ctypes.data) - 2**32 * 4 for a in (x, out)]
    args = (*far, counter, i64(1), i64(n), u64(3), None, u64(2**31), np.float32(2))
    module("dropout").get_function("dropout_f32")((2**22 + 1,), (256,), args, blocks=[2**22])
    keep = philox.bernoulli_keep(3, 5 + 2**30, 0.5, 100)
    assert np.array_equal(out, np.where(keep, x * np.float32(2), 0))


@pytest.mark.parametrize("most", [32, 256])
def test_numbers_by_value(rng: np.random.Generator, most: int) -> None:
    for count in (1, int(rng.integers(1, most)), most):
        words, target = np.zeros((), [("w", u64, (most,))]), array(most, u64)
        words["w"] = rng.integers(0, 2**63, most, u64)
        launch("numbers", f"put_words_{most}", (1,), most, target, words, np.int32(count))
        assert np.array_equal(target[:count], words["w"][:count])
        assert (target[count:] == 2**64 - 1).all()
