"""Copies that turn arrays, on the CUDA backend: by tiles where that pays, by CuPy elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches, there

import tensorgrad as tg
from tensorgrad import dtypes

TURNED = {
    "matrix": ((40, 33), (1, 0)),
    "stack": ((3, 17, 20), (0, 2, 1)),
    "to the last axis": ((16, 3, 18), (1, 2, 0)),
    "to the first axis": ((18, 2, 16), (2, 0, 1)),
    "exchanged": ((16, 3, 18), (2, 1, 0)),
    "images to channels last": ((2, 16, 4, 5), (0, 2, 3, 1)),
    "and back": ((2, 4, 5, 16), (0, 3, 1, 2)),
    "long axes of length 1": ((1, 40, 1, 33), (3, 0, 1, 2)),
}
OTHER = {
    "few columns": ((40, 3), (1, 0)),
    "heads": ((2, 16, 3, 20), (0, 2, 1, 3)),
    "four axes": ((3, 16, 4, 17), (3, 2, 1, 0)),
    "nothing": ((0, 40), (1, 0)),
}


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def turns(call: Any) -> tuple[Any, int]:
    """What a call gives, and how many transposes it launched."""

    def count() -> int:
        return sum(n for name, n in launches().items() if name.startswith("transpose_"))

    before = count()
    value = call()
    return value, count() - before


@pytest.mark.parametrize("dtype", ["bool", "float16", "bfloat16", "float32", "int64", "complex128"])
@pytest.mark.parametrize("name", [*TURNED, *OTHER])
def test_copies_of_turned_arrays(name: str, dtype: str, gpu: Any, rng: np.random.Generator) -> None:
    shape, axes = (TURNED | OTHER)[name]
    x = rng.integers(0, 90, shape).astype(dtypes.dtype(dtype))
    view = there(x).transpose(axes)
    found, count = turns(lambda: view.copy())
    assert found.data.flags.c_contiguous
    assert count == (name in TURNED)
    np.testing.assert_array_equal(here(found), x.transpose(axes))
    assert found.dtype == x.dtype


def test_views_with_gaps(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 60))
    every, odd, back = slice(None), slice(None, None, 2), slice(None, None, -1)
    inside = (slice(3, 43), slice(1, 34))
    for key, tiles in ((inside, 1), ((odd, slice(40)), 1), ((every, odd), 0), ((back,), 0)):
        found, count = turns(lambda key=key: there(x)[key].T.copy())
        assert count == tiles
        np.testing.assert_array_equal(here(found), x[key].T)
    wide = tg.broadcast_to(there(x[:, :1]), (50, 20)).T.copy()
    np.testing.assert_array_equal(here(wide), np.broadcast_to(x[:, :1], (50, 20)).T)


def test_who_needs_a_copy_gets_it_by_tiles(gpu: Any, rng: np.random.Generator) -> None:
    x, k = rng.standard_normal((20, 30, 17)), rng.integers(0, 20, 9)
    found, count = turns(lambda: tg.take(there(x).transpose((0, 2, 1)), there(k), 0))
    assert count == 1
    np.testing.assert_array_equal(here(found), x.transpose(0, 2, 1)[k])
    loss, count = turns(lambda: tg.cross_entropy(there(x), there(rng.integers(0, 30, (20, 17)))))
    assert count == 1
    assert np.isfinite(loss.item())


def test_a_reshape_copies_by_tiles_what_it_must_copy(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((20, 30))
    on = there(x)
    for shape, tiles in (((600,), 1), ((-1, 60), 1), ((30, 4, 5), 0), ((1, 30, 20), 0)):
        found, count = turns(lambda shape=shape: on.T.reshape(shape))
        assert count == tiles
        np.testing.assert_array_equal(here(found), x.T.reshape(shape))
    view = on.T.reshape((30, 4, 5))
    view[0, 1, 2] = 7.0
    assert on[7, 0].item() == 7.0


def test_the_plan(gpu: Any) -> None:
    from tensorgrad.backend.cuda.moves import Turn, turn

    big = 2**17
    assert turn((big, big), (2, 2 * big), 2) == Turn(1, big, big, big, big, 0, 0)
    assert turn((4, 32, 16), (16 * 64 * 4, 4, 256), 4) == Turn(4, 16, 32, 64, 16, 1024, 512)
    assert turn((32, 16), (1, 33), 2) is None
    assert turn((32, 16), (4, 0), 4) is None
    assert turn((32, 16), (-4, 128), 4) is None
    assert turn((32, 16), (64, 4), 4) is None
