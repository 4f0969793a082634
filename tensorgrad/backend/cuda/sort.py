"""Stable argsort of whole numbers below a bound, without a word from the device: `kernels/sort.cu`.

CuPy's own waits for the device, so that a capture would end there; this one sorts only the bits
that the bound has.
"""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda import launch

Array = Any

SMALL, TILE, BLOCK, DIGITS, BITS = 8192, 4096, 256, 256, 8


def argsort(keys: Array, limit: int) -> tuple[Array, Array]:
    """(keys in ascending order, where they stood), int64; equal keys keep their order.

    keys: contiguous int32 or int64, 0 <= key < limit, or -limit <= key < 0, which counts from the
    end; all others are sorted last, as `limit`.
    """
    n, kind = keys.size, "i32" if keys.dtype == np.int32 else "i64"
    passes = max(1, -(-int(limit).bit_length() // BITS))
    ways = [tuple(cupy.empty(n, np.int64) for _ in range(2)) for _ in range(2 if n else 1)]
    found = ways[0]
    if 0 < n <= SMALL:
        places = [launch.address(a) for way in ways for a in way]
        launch.kernel("sort", f"argsort_small_{kind}")(
            (1,), (1024,), launch.address(keys), *places, np.int32(n), np.int64(limit),
            np.int32(passes),
        )  # fmt: skip
    elif n:
        given: tuple[Array, Array | None] = keys, None
        tiles = -(-n // TILE)
        scratch = cupy.empty((DIGITS, tiles), np.int64), cupy.empty(DIGITS, np.int64)
        for k in range(passes):
            found = ways[(passes - 1 - k) % 2]
            _pass(kind if k == 0 else "i64", given, found, scratch, limit, k * BITS)
            given = found
    return found


def _pass(
    kind: str,
    given: tuple[Array, Array | None],
    found: tuple[Array, Array],
    scratch: tuple[Array, Array],
    limit: int,
    shift: int,
) -> None:
    """A stable sort by one digit."""
    counts, totals = map(launch.address, scratch)
    keys, order = map(launch.address, given)
    n, tiles = given[0].size, scratch[0].shape[1]
    numbers = (np.int64(n), np.int64(limit), np.int32(shift))
    grid, block = (tiles,), (BLOCK,)
    launch.kernel("sort", f"argsort_count_{kind}")(grid, block, keys, counts, *numbers)
    launch.kernel("sort", "argsort_scan")((DIGITS,), block, counts, totals, np.int32(tiles))
    launch.kernel("sort", f"argsort_scatter_{kind}")(
        grid, block, keys, order, *map(launch.address, found), counts, totals, *numbers
    )
