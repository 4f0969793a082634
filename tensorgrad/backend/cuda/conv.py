"""Convolutions of CuPy arrays over one to three spatial axes, named as the primitives are.

What each gives, and its parameters: `tensorgrad/backend/numpy_conv.py`. Kernels of one element are
products of matrices by cuBLASLt; where cuDNN's frontend is installed, convolutions over two axes
are its own; all others run as `kernels/conv.cu`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad._config import get_float32_matmul_precision
from tensorgrad.backend.conv_layout import Pairs
from tensorgrad.backend.cuda import dnn, launch
from tensorgrad.backend.cuda.kernels import cast, full, written
from tensorgrad.backend.cuda.products import ADD, contract
from tensorgrad.backend.cuda.windows import LONGEST, geometry
from tensorgrad.backend.numpy_conv import _places, _pointwise

Array = Any
Shape = tuple[int, ...]

N, G, C, O, P = range(5)  # noqa: E741
"""Labels of axes: images, groups, channels of a group, outputs of a group, places."""

BLOCK = 256

TILES = {"": (128, 64), "middle_": (64, 128), "narrow_": (16, 128)}
"""Rows and columns of the tiles, by what their kernels are called."""

DOUBLE = {"": (64, 64), "narrow_": (16, 128)}
"""The same of float64."""

NARROW = 32
"""Rows of a group up to which the narrow tile wastes less."""

WANTED, LEAST = 512, 256
"""Blocks that share the sums of a weight gradient, about; terms that each has at least."""

PARTS = 2**26
"""Partial sums of a weight gradient, at most."""


def conv(
    x: Array, w: Array, bias: Array | None = None, *, stride: Shape, padding: Pairs,
    dilation: Shape, groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(x.shape, w.shape, stride, padding, dilation, groups)
    _fits("conv", bias, w.shape[0])
    (x, w), bias, dtype = _alike((x, w), bias)
    shape, options = (x.shape[0], w.shape[0], *places), _options(stride, padding, dilation, groups)
    if 0 in shape or not w.size:
        return _only(bias, shape, dtype, out)
    if dtype.kind == "c":
        return _complex(lambda a, b: conv(a, b, **options), x, w, bias, out)
    if _pointwise(w.shape, stride, padding):
        given = _split(x, groups), _by_group(w, groups)
        found = contract(*given, left=(N, G, C, P), right=(G, O, C), result=(N, G, O, P))
        return _added(found.reshape(shape), bias, out)
    found = _by_dnn(dnn.conv, x, w, options)
    if found is not None:
        return _added(found, bias, out)
    found = cupy.empty(shape, dtype)
    struct = _windows(x.shape[2:], places, w.shape[2:], stride, padding, dilation)
    _gathered("conv", (w, x), found, bias, struct, (groups, w.shape[0] // groups, w.shape[1]))
    return written(found, out)


def conv_input(
    ct: Array, w: Array, bias: Array | None = None, *, shape: Shape, stride: Shape,
    padding: Pairs, dilation: Shape, groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(shape, w.shape, stride, padding, dilation, groups)
    _seen("conv_input", ct, (shape[0], w.shape[0], *places))
    _fits("conv_input", bias, shape[1])
    (ct, w), bias, dtype = _alike((ct, w), bias)
    options = {**_options(stride, padding, dilation, groups), "shape": shape}
    if 0 in shape or not ct.size or not w.size:
        return _only(bias, shape, dtype, out)
    if dtype.kind == "c":
        return _complex(lambda a, b: conv_input(a, b, **options), ct, w, bias, out)
    if _pointwise(w.shape, stride, padding):
        given = _split(ct, groups), _by_group(w, groups)
        found = contract(*given, left=(N, G, O, P), right=(G, O, C), result=(N, G, C, P))
        return _added(found.reshape(shape), bias, out)
    found = _by_dnn(dnn.conv_data, ct, w, options)
    if found is not None:
        return _added(found, bias, out)
    found = cupy.empty(shape, dtype)
    struct = _windows(shape[2:], places, w.shape[2:], stride, padding, dilation)
    numbers = groups, w.shape[0] // groups, w.shape[1]
    _gathered("conv_input", (w, ct), found, bias, struct, numbers)
    return written(found, out)


def conv_weight(
    x: Array, ct: Array, *, shape: Shape, stride: Shape, padding: Pairs, dilation: Shape,
    groups: int, out: Array | None = None,
) -> Array:  # fmt: skip
    places = _places(x.shape, shape, stride, padding, dilation, groups)
    _seen("conv_weight", ct, (x.shape[0], shape[0], *places))
    (x, ct), _, dtype = _alike((x, ct), None)
    options = {**_options(stride, padding, dilation, groups), "shape": shape}
    if 0 in shape or not x.size or not ct.size:
        return _only(None, shape, dtype, out)
    if dtype.kind == "c":
        return _complex(lambda a, b: conv_weight(a, b, **options), x, ct, None, out)
    if _pointwise(shape, stride, padding):
        given = _split(ct, groups), _split(x, groups)
        found = contract(*given, left=(N, G, O, P), right=(N, G, C, P), result=(G, O, C))
        return written(found.reshape(shape), out)
    found = _by_dnn(dnn.conv_weight, ct, x, options)
    if found is None:
        found = cupy.empty(shape, dtype)
        struct = _windows(x.shape[2:], places, shape[2:], stride, padding, dilation)
        _summed((ct, x), found, struct, (groups, shape[0] // groups, shape[1]))
    return written(found, out)


# -- arrays ------------------------------------------------------------------------------------


def _fits(op: str, bias: Array | None, channels: int) -> None:
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f"{op}: got a bias of shape {bias.shape}, expected {(channels,)}")


def _seen(op: str, ct: Array, shape: Shape) -> None:
    if ct.shape != shape:
        raise ValueError(f"{op}: got ct {ct.shape}, expected the result's shape {shape}")


def _alike(given: tuple[Array, Array], bias: Array | None) -> tuple[list[Array], Array | None, Any]:
    """Factors and bias in the dtype to which they promote."""
    every = given if bias is None else (*given, bias)
    dtype = dtypes.result_type(*[a.dtype for a in every])
    if not dtypes.is_inexact(dtype):
        raise ValueError(f"conv: got {dtype}, expected floats")
    same = [a if a.dtype == dtype else cast(a, dtype) for a in every]
    return same[:2], None if bias is None else same[2], dtype


def _split(x: Array, groups: int) -> Array:
    """(image, group, channel, place) of (image, channel, ...)."""
    n, channels, *rest = x.shape
    return launch.contiguous(x).reshape(n, groups, channels // groups, math.prod(rest))


def _by_group(w: Array, groups: int) -> Array:
    """(group, output, channel) of a kernel of one element."""
    return launch.contiguous(w).reshape(groups, w.shape[0] // groups, w.shape[1])


def _added(found: Array, bias: Array | None, out: Array | None) -> Array:
    if bias is not None:
        found = ADD(found, bias.reshape(-1, *(1,) * (found.ndim - 2)))
    return written(found, out)


def _only(bias: Array | None, shape: Shape, dtype: Any, out: Array | None) -> Array:
    """What a sum of nothing is."""
    return _added(full(shape, 0, dtype), bias, out)


def _complex(
    f: Callable[[Array, Array], Array], a: Array, b: Array, bias: Array | None, out: Array | None
) -> Array:
    """A product of complex arrays by four of their parts."""
    parts = [(launch.contiguous(z.real), launch.contiguous(z.imag)) for z in (a, b)]
    (ar, ai), (br, bi) = parts
    found = (f(ar, br) - f(ai, bi)) + (f(ar, bi) + f(ai, br)) * 1j
    return _added(found.astype(a.dtype), bias, out)


# -- cuDNN -------------------------------------------------------------------------------------


def _options(stride: Shape, padding: Pairs, dilation: Shape, groups: int) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _by_dnn(f: Callable[..., Array], a: Array, b: Array, options: dict[str, Any]) -> Array | None:
    """What cuDNN makes of two arrays; None where it is not installed, or has no engine."""
    if a.ndim != 4 or not dnn.available():
        return None
    try:
        return f(a, b, **options, tf32=get_float32_matmul_precision() == "high")
    except dnn.Unsupported:
        return None


# -- kernels -----------------------------------------------------------------------------------


def _windows(
    size: Shape, count: Shape, kernel: Shape, stride: Shape, padding: Pairs, dilation: Shape
) -> Any:
    low = tuple([one[0] for one in padding])
    return geometry(size, count, kernel, stride, low, dilation)


def _tile(name: str, dtype: Any, rows: int) -> tuple[Any, int, int]:
    """The kernel for groups of so many rows, and the rows and columns of its tiles."""
    tiles = DOUBLE if dtype == np.float64 else TILES
    if rows <= NARROW:
        kind = "narrow_"
    else:
        odd = -(-rows // 64) % 2 == 1  # half of the last wide tile would be empty
        kind = "middle_" if odd and "middle_" in tiles else ""
    return launch.kernel("conv", f"{name}_{kind}{launch.SUFFIX[dtype.name]}"), *tiles[kind]


def _images(images: int, places: int) -> Iterator[tuple[int, int]]:
    """Stretches of images whose places one launch counts."""
    step = max(1, LONGEST // places)
    for start in range(0, images, step):
        yield start, min(images, start + step)


def _gathered(
    name: str, factors: tuple[Array, Array], found: Array, bias: Array | None, struct: Any,
    numbers: tuple[int, int, int],
) -> None:  # fmt: skip
    """conv or conv_input: `factors` are w and what is gathered from."""
    w, source = map(launch.contiguous, factors)
    groups, outputs, channels = numbers
    rows = outputs if name == "conv" else channels
    kernel, height, width = _tile(name, found.dtype, rows)
    places = math.prod(found.shape[2:])
    given = None if bias is None else launch.contiguous(bias)
    longest = max(places, math.prod(source.shape[2:]))
    for start, stop in _images(found.shape[0], longest):
        columns = (stop - start) * places
        grid = (-(-columns // width), -(-rows // height), min(groups, 65535))
        kernel(
            grid, (BLOCK,), launch.address(w), launch.address(source[start:stop]),
            launch.address(found[start:stop]), launch.address(given), 0, struct,
            *map(np.int32, (stop - start, groups, outputs, channels, 1, LONGEST)),
        )  # fmt: skip


def _summed(
    factors: tuple[Array, Array], found: Array, struct: Any, numbers: tuple[int, int, int]
) -> None:
    """conv_weight: sums over images and places, in slabs that the shape decides."""
    ct, x = map(launch.contiguous, factors)
    groups, outputs, channels = numbers
    kernel, height, width = _tile("conv_weight", found.dtype, outputs)
    columns = channels * math.prod(found.shape[2:])
    tiles = -(-columns // width) * -(-outputs // height) * groups
    places, longest = math.prod(ct.shape[2:]), max(math.prod(a.shape[2:]) for a in (ct, x))
    stretches = list(_images(x.shape[0], longest))
    terms = stretches[0][1] * places
    slabs = max(1, min(WANTED // tiles, -(-terms // LEAST), PARTS // found.size))
    slab = -(-terms // (8 * slabs)) * 8
    slabs = -(-terms // slab)
    whole = slabs * len(stretches)
    wide = dtypes.compute(found.dtype)
    partial = cupy.empty((whole, *found.shape), wide) if whole > 1 else None
    for k, (start, stop) in enumerate(stretches):
        grid = (-(-columns // width), -(-outputs // height), min(groups * slabs, 65535))
        place = None if partial is None else partial[k * slabs : (k + 1) * slabs]
        kernel(
            grid, (BLOCK,), launch.address(ct[start:stop]), launch.address(x[start:stop]),
            launch.address(found), 0, launch.address(place), struct,
            *map(np.int32, (stop - start, groups, outputs, channels, slabs, slab)),
        )  # fmt: skip
    if partial is not None:
        launch.kernel("conv", f"conv_fold_{launch.SUFFIX[found.dtype.name]}")(
            (launch.blocks(found.size, BLOCK),), (BLOCK,), launch.address(partial),
            launch.address(found), np.int64(found.size), np.int32(whole),
        )  # fmt: skip
