"""The norm of many gradients and the factor that limits it, found and used on the GPU alone."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.formula import ElementwiseKernel
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = Any

BLOCK, SHARE, MOST = 512, 8192, 1024
"""Threads of a block, elements that are worth one, and the most blocks of one array."""

_RESCALED = ElementwiseKernel(
    Formula.trace("rescale", lambda x, factor: x * factor, [variable("x"), variable("factor")])
)


def limited(
    *parts: Array, most: Any = np.inf, inverse: Array | None = None
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """The 2-norm of all elements of these arrays together, and what follows from it.

    Gives the norm (float64), the factors inverse · min(1, most / (norm + 1e-6)) by the dtype that
    they have, and likewise flags: 1 unless the norm is finite, else 0. The norm is that of the
    elements times `inverse`, a 0-d float64 array (1 without one); `most` may be one too.
    """
    flats = [_flat(part) for part in parts if part.size]
    blocks = [launch.blocks(flat.size, SHARE, MOST) for flat in flats]
    partial = cupy.empty((sum(blocks), 3), np.float64)
    first = launch.address(partial)
    for flat, count in zip(flats, blocks):
        launch.kernel("optim", f"square_sum_{launch.SUFFIX[flat.dtype.name]}")(
            (count,), (BLOCK,), launch.address(flat), first, np.int64(flat.size)
        )
        first += 24 * count
    found = cupy.empty(4, np.float64)
    stored = isinstance(most, cupy.ndarray)
    launch.kernel("optim", "clip_factor")(
        (1,), (256,), launch.address(partial), np.int64(len(partial)),
        np.float64(np.inf if stored else most), launch.address(most) if stored else 0,
        launch.address(inverse), launch.address(found),
    )  # fmt: skip
    narrow = found[3:].view(np.float32)
    factors, flags = ({"float64": found[k], "float32": narrow[k - 1]} for k in (1, 2))
    return found[0], factors, flags


def _flat(part: Array) -> Array:
    """The elements in the order of memory, complex ones as pairs."""
    if not part.flags.c_contiguous:
        part = part.T if part.flags.f_contiguous else launch.contiguous(part)
    flat = part.reshape(part.size)
    return flat.view(dtypes.real(flat.dtype)) if flat.dtype.kind == "c" else flat


def rescale(x: Array, factors: dict[str, Array]) -> None:
    """x ← factor x, with the factor of the dtype that such arrays are computed in."""
    if not x.size:
        return
    real = dtypes.real(x.dtype)
    factor = factors[dtypes.compute(real).name]
    if x.dtype.kind == "c":
        x.real[...] = x.real * factor
        x.imag[...] = x.imag * factor
    else:
        _RESCALED(x, factor, out=x)
