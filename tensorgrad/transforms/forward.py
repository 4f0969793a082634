"""Forward mode and batching over functions: jvp, vmap. Each use runs on a level of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.core.levels import Batched, Dual
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.transforms.reverse import like, zeros
from tensorgrad.transforms.tree import flatten


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(f(*primals), the derivative of f there along `tangents`), in one pass.

    `tangents` have the structure and shapes of `primals`. Raises `DTypeError` for primals that are
    not floating point, `ShapeError` for tangents that do not fit.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    (6.0, 3.0)
    """
    leaves, rebuild = flatten(tuple(primals))
    moves, _ = flatten(tuple(tangents))
    need(
        len(leaves) == len(moves),
        "jvp",
        primals=len(leaves),
        tangents=len(moves),
        want="a tangent per primal",
        fix="zeros where an argument stands still",
    )
    with _config.fresh_level() as level:
        duals = [_dual(level, operand(x), t) for x, t in zip(leaves, moves)]
        found, shape = flatten(f(*rebuild(duals)))
        pairs = [_parts(operand(y), level) for y in found]
    source = leaves[0] if leaves else None
    values = [like(y, source) for y, _ in pairs]
    return shape(values), shape([like(t, source) for _, t in pairs])


def _dual(level: int, x: Tensor, tangent: Any) -> Tensor:
    t = operand(tangent, (x,), "jvp")
    need(
        dtypes.is_inexact(x.dtype),
        "jvp",
        primal=x,
        want="floating-point arrays or numbers",
        fix="x.astype(float)",
        error=DTypeError,
    )
    need(t.shape == x.shape, "jvp", primal=x, tangent=t, want="equal shapes", fix="reshape")
    if t.dtype != x.dtype:
        t = t.astype(x.dtype)
    return make(Dual(level, x, t), None, level)


def _parts(y: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Value and tangent of a result; zeros where it does not move."""
    if y.level == level:
        inner = y.data.inner
        return inner, y.data.tangent
    return y, zeros(y.shape, y.dtype, y)


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: int = 0) -> Callable[..., Any]:
    """f over a batch axis of its arguments, by each operation's own batching rule.

    `in_axes`: the axis of every array, or a tuple with one (or None: not batched) per argument.
    `out_axes`: where the batch axis of the results goes. Raises `ShapeError` when sizes differ.

    >>> import numpy as np
    >>> vmap(lambda x: np.sum(x * x))(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([ 5., 25.])
    """

    @functools.wraps(f)
    def run(*args: Any) -> Any:
        axes = in_axes if isinstance(in_axes, tuple | list) else (in_axes,) * len(args)
        need(
            len(axes) == len(args),
            "vmap",
            in_axes=in_axes,
            arguments=len(args),
            want="an axis or None per argument",
            fix="a tuple of that length",
        )
        sizes: set[int] = set()
        with _config.fresh_level() as level:
            batched = [_batched(a, axis, level, sizes) for a, axis in zip(args, axes)]
            if len(sizes) != 1:
                raise ShapeError(
                    f"vmap: got batch sizes {sorted(sizes)}, expected one size; try in_axes that "
                    "name the batch axis of every argument"
                )
            found, shape = flatten(f(*batched))
            outs = [_unbatched(operand(y), level, sizes.copy().pop(), out_axes) for y in found]
        leaves, _ = flatten(args)
        return shape([like(y, leaves[0]) for y in outs])

    return run


def _batched(argument: Any, axis: int | None, level: int, sizes: set[int]) -> Any:
    if axis is None:
        return argument
    leaves, rebuild = flatten(argument)
    made = []
    for x in leaves:
        t = operand(x)
        need(t.ndim, "vmap", argument=t, want="an axis to map over", fix="in_axes=None for it")
        t = t.moveaxis(axis, 0) if axis else t  # type: ignore[attr-defined]
        sizes.add(t.shape[0])
        made.append(make(Batched(level, t), None, level))
    return rebuild(made)


def _unbatched(y: Tensor, level: int, size: int, axis: int) -> Tensor:
    inner: Any = y.data.inner if y.level == level else y.broadcast_to((size, *y.shape))
    return inner.moveaxis(0, axis) if axis else inner  # type: ignore[no-any-return]
