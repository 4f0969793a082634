"""Forward mode and batching over functions: jvp, vmap. Each use runs on a level of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, ShapeError, describe, need
from tensorgrad.core.levels import Batched, Dual, moving
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.axes import moveaxis
from tensorgrad.transforms.branches import batched
from tensorgrad.transforms.reverse import like, split, zeros
from tensorgrad.transforms.tree import flatten, map_leaves, spread


def jvp(
    f: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    has_aux: bool = False,
) -> Any:
    """(f(*primals), the derivative of f there along `tangents`), in one pass.

    `tangents` have the structure and shapes of `primals`. With `has_aux` f returns (result, aux),
    and (result, tangent, aux) comes back. Raises `DTypeError` for primals that are not floating
    point, `ShapeError` for tangents that do not fit.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0))
    (6.0, 3.0)
    """
    for given in (primals, tangents):
        if not isinstance(given, tuple | list):
            raise TypeError(
                f"jvp: got {describe(given)}, expected tuples of primals and tangents, one of each "
                "per argument; try tg.jvp(f, (x,), (t,))"
            )
    leaves, rebuild = flatten(tuple(primals))
    moves, _ = flatten(tuple(tangents))
    if len(leaves) != len(moves):
        raise ShapeError(
            f"jvp: got primals={len(leaves)}, tangents={len(moves)}, expected a tangent per "
            "primal; try zeros where an argument stands still"
        )
    source = leaves[0] if leaves else None
    level = _config.level.get() + 1
    token = _config.level.set(level)
    try:
        duals = [_dual(level, x, t) for x, t in zip(leaves, moves)]
        result, aux = split(f(*rebuild(duals)), has_aux, "jvp")
        found, shape = flatten(result)
        pairs = [parts(operand(y), level) for y in found]
        aux = map_leaves(lambda y: still(y, level), aux) if has_aux else None
    finally:
        _config.level.reset(token)
    value = shape([like(y, source) for y, _ in pairs])
    tangent = shape([like(t, source) for _, t in pairs])
    return (value, tangent, aux) if has_aux else (value, tangent)


_USUAL = frozenset({np.dtype(np.float64), np.dtype(np.float32)})


def _dual(level: int, primal: Any, tangent: Any) -> Tensor:
    if type(primal) is np.ndarray and type(tangent) is np.ndarray:
        same = primal.dtype is tangent.dtype and primal.shape == tangent.shape
        if same and primal.dtype in _USUAL:  # what the rest finds too, at five times the price
            return moving(level, primal, tangent)
    x = operand(primal)
    t = operand(tangent, (x,), "jvp")
    if not dtypes.is_inexact(x.dtype):
        need(False, "jvp", primal=x, want="floating-point arrays or numbers",
             fix="x.astype(float)", error=DTypeError)  # fmt: skip
    if t.shape != x.shape:
        need(False, "jvp", primal=x, tangent=t, want="equal shapes", fix="reshape")
    if t.dtype != x.dtype:
        t = t.astype(x.dtype)
    if isinstance(primal, Tensor) or isinstance(tangent, Tensor):
        return make(Dual(level, x, t), None, level)
    return moving(level, x.data, t.data)


def parts(y: Tensor, level: int) -> tuple[Tensor, Tensor]:
    """Value and tangent of a result; zeros where it does not move."""
    if y.level == level:
        inner, tangent = y.data.inner, y.data.tangent
        return inner, zeros(y.shape, y.dtype, y) if tangent is None else tangent
    return y, zeros(y.shape, y.dtype, y)


def still(value: Any, level: int) -> Any:
    """An auxiliary result without the tangent of this level."""
    return value.data.inner if isinstance(value, Tensor) and value.level == level else value


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """f over a batch axis of its arguments, by each operation's own batching rule.

    `in_axes`: the axis of every array, or a tuple with one per positional argument; for an argument
    that is a container, a number for all of its arrays or a container of numbers; None where there
    is no batch. Keyword arguments are handed on as they are. `out_axes`: in the same way, where the
    batch goes in the results; None for a result that has none. Negative axes count from the end, in
    the arrays with the batch. Raises `ShapeError` when sizes differ or an axis does not exist.

    >>> import numpy as np
    >>> vmap(lambda x: np.sum(x * x))(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([ 5., 25.])
    >>> vmap(np.dot, in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        leaves, rebuild = flatten(args)
        axes = spread(tuple(in_axes) if isinstance(in_axes, list) else in_axes, args, "in_axes")
        with _config.fresh_level() as level:
            pairs = [_batched(x, axis, level) for x, axis in zip(leaves, axes)]
            size = _size([n for _, n in pairs if n is not None])
            result = batched(lambda: f(*rebuild([x for x, _ in pairs]), **options))
            found, shape = flatten(result)
            places = spread(out_axes, result, "out_axes")
            outs = [unbatched(operand(y), level, size, k) for y, k in zip(found, places)]
        source = next((x for x in leaves if isinstance(x, Tensor)), leaves[0])
        return shape([like(y, source) for y in outs])

    return run


def _size(sizes: list[int]) -> int:
    if not sizes:
        raise ShapeError(
            "vmap: got no argument with a batch, expected one at least; try in_axes=0 for one"
        )
    if len(set(sizes)) != 1:
        raise ShapeError(
            f"vmap: got batch sizes {sorted(set(sizes))}, expected one size; try in_axes that "
            "name the batch axis of every argument"
        )
    return sizes[0]


def _batched(value: Any, axis: int | None, level: int) -> tuple[Any, int | None]:
    """A leaf with its batch hidden, and the size of that."""
    if axis is None:
        return value, None
    t = operand(value)
    need(
        -t.ndim <= axis < t.ndim,
        "vmap",
        argument=t,
        axis=axis,
        want="an axis to map over",
        fix="in_axes=None for it",
    )
    t = moveaxis(t, axis, 0) if axis else t
    return make(Batched(level, t), None, level), t.shape[0]


def unbatched(y: Tensor, level: int, size: int, axis: int | None) -> Tensor:
    """A result of this level with its batch of `size` at `axis`."""
    if axis is None:
        need(
            y.level != level,
            "vmap",
            result=y,
            want="a result without a batch, as out_axes=None says",
            fix="out_axes=0 for it",
        )
        return y
    inner: Any = y.data.inner if y.level == level else y.broadcast_to((size, *y.shape))
    need(
        -inner.ndim <= axis < inner.ndim,
        "vmap",
        result=inner,
        out_axes=axis,
        want=f"an axis of {inner.ndim}",
        fix="out_axes=0",
    )
    return moveaxis(inner, 0, axis) if axis else inner  # type: ignore[no-any-return]
