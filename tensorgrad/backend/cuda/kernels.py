"""Base primitives that arrange and cast CuPy arrays, one plain function each, named alike.

Every function takes `out=`: None, or an array of the result's shape and dtype to write into.
bfloat16 is moved as its 16 bits: CuPy's functions know little of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.cuda import launch, moves
from tensorgrad.backend.cuda.formula import generated
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = Any


def written(value: Any, out: Array | None) -> Any:
    """A result, copied into `out` where that was given."""
    if out is None:
        return value
    cupy.copyto(bits(out), bits(value) if value.dtype == out.dtype else value, casting="same_kind")
    return out


def brain(x: Array) -> bool:
    """Whether an array is of bfloat16."""
    return bool(x.dtype.kind == "V" or x.dtype.name == "bfloat16")


def bits(x: Array) -> Array:
    """bfloat16 as the integers of its bits, every other array as it is: to be moved."""
    return x.view(np.uint16) if brain(x) else x


def moved(function: Callable[..., Array], x: Array, *options: Any, **named: Any) -> Array:
    """function(x, ...), which only moves elements or sets them to 0, for any dtype."""
    found = function(bits(x), *options, **named)
    return found.view(x.dtype) if brain(x) else found


def number(value: Any, dtype: Any) -> tuple[Any, Any]:
    """A number and a dtype with which CuPy can fill: those of its bits for bfloat16."""
    if np.dtype(dtype).name != "bfloat16":
        return value, dtype
    return int(np.asarray(value, dtype).view(np.uint16)), np.dtype(np.uint16)


def full(shape: shapes.Shape, value: Any, dtype: Any) -> Array:
    """A new array filled with one value."""
    filler, stored = number(value, dtype)
    found = cupy.full(shape, filler, stored)
    return found if stored is dtype or found.dtype == dtype else found.view(dtype)


# -- views -------------------------------------------------------------------------------------


def reshape(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    return written(moves.reshaped(x, shape), out)


def transpose(x: Array, *, axes: shapes.Shape, out: Array | None = None) -> Any:
    return written(x.transpose(axes), out)


def broadcast_to(x: Array, *, shape: shapes.Shape, out: Array | None = None) -> Any:
    return written(x if x.shape == shape else cupy.broadcast_to(x, shape), out)


def flip(x: Array, *, axis: shapes.Shape, out: Array | None = None) -> Any:
    backwards = slice(None, None, -1)
    key = tuple([backwards if k in axis else slice(None) for k in range(x.ndim)])
    return written(x[key], out)


# -- copies ------------------------------------------------------------------------------------

_CAST = Formula.trace("cast", lambda x: x, [variable("x")])


def cast(x: Array, dtype: Any) -> Array:
    """A copy in another dtype; to and from bfloat16 by way of float32, as on the CPU."""
    wanted = np.dtype(dtype)
    if "bfloat16" not in (x.dtype.name, wanted.name):
        return x.astype(wanted)
    if x.dtype == wanted:
        return moves.copied(x)
    if brain(x):
        wide = _converted(x, "float32")
        return wide if wanted == dtypes.float32 else wide.astype(wanted)
    wide = x if x.dtype in (dtypes.float32, dtypes.float16) else x.astype(dtypes.float32)
    return _converted(wide, "bfloat16")


def _converted(x: Array, name: str) -> Array:
    """Between float32 and bfloat16, or from float16, in one launch."""
    if not x.size:
        return cupy.empty(x.shape, dtypes.dtype(name))
    run = generated(_CAST, [x], (x.dtype.name,), x.shape, real="float32", outs=(name,))
    if run is None:
        x = launch.contiguous(x)
        run = generated(_CAST, [x], (x.dtype.name,), x.shape, real="float32", outs=(name,))
    found = cupy.empty(x.shape, dtypes.dtype(name), run.order)  # type: ignore[union-attr]
    run([x], [found])  # type: ignore[misc]
    return found


def astype(x: Array, *, dtype: Any, out: Array | None = None) -> Any:
    found = cast(x, dtype)
    return found if out is None else written(found, out)


def copy(x: Array, *, out: Array | None = None) -> Any:
    return moves.copied(x) if out is None else written(x, out)


def total(
    function: Callable[..., Any],
    x: Array,
    axis: shapes.Shape,
    dtype: Any,
    keepdims: bool,
    out: Array | None,
) -> Any:
    """A function reduced over axes; the 16-bit floats are added and multiplied in float32."""
    if dtypes.is_half(x.dtype):
        wide = function(cast(x, np.float32), axis=axis, dtype=np.float32, keepdims=keepdims)
        return written(cast(wide, x.dtype), out)
    return written(function(x, axis=axis, dtype=dtype, keepdims=keepdims), out)


def roll(x: Array, *, shift: shapes.Shape, axis: shapes.Shape, out: Array | None = None) -> Any:
    return written(moved(cupy.roll, x, shift, axis), out)


def pad(
    x: Array,
    *,
    widths: tuple[tuple[int, int], ...],
    values: tuple[tuple[Any, Any], ...],
    out: Array | None = None,
) -> Any:
    shape = tuple([low + size + high for size, (low, high) in zip(x.shape, widths)])
    found = cupy.empty(shape, x.dtype) if out is None else out
    target = bits(found)
    numbers = {value for pair in values for value in pair}
    if len(numbers) <= 1:
        target.fill(number(numbers.pop() if numbers else 0, x.dtype)[0])
    inside = [slice(low, low + size) for size, (low, _) in zip(x.shape, widths)]
    target[tuple(inside)] = bits(x)
    if len(numbers) > 1:
        _edges(target, x, widths, values)
    return found


def _edges(
    target: Array,
    x: Array,
    widths: Sequence[tuple[int, int]],
    values: Sequence[tuple[Any, Any]],
) -> None:
    """Fill the edges axis by axis: a later axis wins where edges meet, as in NumPy."""
    inside = [slice(low, low + size) for size, (low, _) in zip(x.shape, widths)]
    for k, ((low, _), (before, after)) in enumerate(zip(widths, values)):
        rest = tuple(inside[k + 1 :])
        lead = (slice(None),) * k
        target[(*lead, slice(0, low), *rest)] = number(before, x.dtype)[0]
        target[(*lead, slice(x.shape[k] + low, None), *rest)] = number(after, x.dtype)[0]


def concat(
    *arrays: Array, axis: int, ends: shapes.Shape | None = None, out: Array | None = None
) -> Any:
    return written(_joined(cupy.concatenate, arrays, axis), out)


def stack(*arrays: Array, axis: int, out: Array | None = None) -> Any:
    return written(_joined(cupy.stack, arrays, axis), out)


def _joined(function: Callable[..., Array], arrays: Sequence[Array], axis: int) -> Array:
    kinds = {a.dtype for a in arrays}
    result = arrays[0].dtype if len(kinds) == 1 else dtypes.result_type(*kinds)
    given = [a if a.dtype == result else cast(a, result) for a in arrays]
    found = function([bits(a) for a in given], axis)
    return found.view(result) if brain(given[0]) else found


def tril(x: Array, *, k: int, out: Array | None = None) -> Any:
    return written(moved(cupy.tril, x, k), out)


def triu(x: Array, *, k: int, out: Array | None = None) -> Any:
    return written(moved(cupy.triu, x, k), out)
