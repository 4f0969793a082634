"""NumPy's ufuncs on tensors: `np.add(t, u, where=m)`, `np.add.reduce(t)`, `np.hypot.outer(t, u)`.

What a ufunc means is an operation of the registry; what stands here is how a call's options and
methods are made of calls of that operation, so that all of it has derivatives of any order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce as fold
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tape import WRITES
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import inplace
from tensorgrad.ops.create import zeros
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.index import plain_key
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.protocols import UFUNCS, bare, into, named
from tensorgrad.ops.refusals import shown
from tensorgrad.ops.shape import astype, broadcast_to, expand_dims, reshape

Call = Callable[..., Any]

REDUCE = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
    "logaddexp": "logsumexp",
}
"""Operations that are a ufunc's reduction; every other is folded, pair by pair."""

ACCUMULATE = {
    "add": "cumsum",
    "multiply": "cumprod",
    "maximum": "cummax",
    "minimum": "cummin",
    "logaddexp": "logcumsumexp",
}
"""Operations that are a ufunc's running form."""

HARMLESS = ("casting", "order", "subok")
"""Options that change no value of a tensor's result."""


def array_ufunc(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
    """`np.sin(tensor)` and the like; see the NumPy protocol of that name."""
    if method == "__call__" and not options:
        function = UFUNCS.get(ufunc)
        if function is not None:
            return function(*inputs)
    return _METHODS[method](ufunc, named(ufunc), inputs, options)


def _shown(ufunc: Any, method: str = "") -> str:
    return f"{shown(ufunc)}{method}"


# -- calls -------------------------------------------------------------------------------------


def _call(ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """f(x, ...) with `out=`, `where=` (0 elsewhere without `out`) and `dtype=` as NumPy means them.

    With `dtype` the inputs are cast first: the result is computed in it.
    """
    name = _shown(ufunc)
    if call is None:
        return bare(name, ufunc, inputs, options)
    for harmless in HARMLESS:
        options.pop(harmless, None)
    dtype, out, where = (options.pop(key, default) for key, default in _CALL)
    if ufunc.signature is None and options:
        raise TypeError(
            f"{name}: got {min(options)}=, expected out=, where= or dtype= at most; "
            "try the call without it"
        )
    given = inputs if dtype is None else _cast(ufunc, inputs, dtype)
    result = call(*given, **options)
    many = isinstance(result, tuple)
    results = result if many else (result,)
    targets = out if isinstance(out, tuple) else (out,) * len(results)
    found = [_finished(name, r, t, where) for r, t in zip(results, targets)]
    return tuple(found) if many else found[0]


_CALL = (("dtype", None), ("out", None), ("where", True))


def _finished(name: str, result: Any, target: Any, where: Any) -> Any:
    """A result, chosen by `where` and written to `out`."""
    if where is not True:
        mask = operand(where, (result,))
        rest = target
        if rest is None:
            rest = zeros(shapes.broadcast(result.shape, mask.shape, op=name), dtype=result.dtype,
                         device=result.device)  # fmt: skip
        result = select(mask, result, rest)
    return result if target is None else into(name, result, target)


def _cast(ufunc: Any, inputs: Sequence[Any], dtype: Any) -> list[Any]:
    """The inputs in the dtypes of the loop whose result is `dtype`, by NumPy's own choice."""
    wanted = dtypes.dtype(dtype)
    tensors = [x if isinstance(x, Tensor) else operand(x, inputs) for x in inputs]
    kinds = [type(x) if type(x) in (int, float, complex) else t.dtype
             for x, t in zip(inputs, tensors)]  # fmt: skip
    if dtypes.is_half(wanted) and wanted.name == "bfloat16":
        loop = [wanted] * len(kinds)
    else:
        signature = (None,) * ufunc.nin + (wanted,) * ufunc.nout
        loop = ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout), signature=signature)
    return [astype(t, d, copy=False) for t, d in zip(tensors, loop)]


# -- reductions --------------------------------------------------------------------------------


def _reduce(ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """f(f(x0, x1), x2) ... over axes, with `axis`, `dtype`, `keepdims`, `initial` and `where`."""
    name = _shown(ufunc, ".reduce")
    if call is None:
        return bare(name, ufunc.reduce, inputs, options)
    x, options = _positional(inputs, options, ("axis", "dtype", "out", "keepdims"))
    axis, keepdims = options.pop("axis", 0), bool(options.pop("keepdims", False))
    dtype, out, where = (options.pop(key, default) for key, default in _CALL)
    initial = options.pop("initial", _NONE)
    _known(name, options)
    if dtype is not None:
        x = astype(x, dtype, copy=False)
    axes = shapes.axes(axis, x.ndim, name)
    first = ufunc.identity
    if first is None and initial is not _NONE:
        first = initial
    if where is not True:
        need(first is not None, name, where="...", want="initial= too, for want of an identity",
             fix="initial=x.min() or the like", error=ValueError)  # fmt: skip
        x = select(operand(where, (x,)), x, operand(first, (x,)))
    operation = OPERATIONS.get(REDUCE.get(ufunc.__name__, ""))
    empty = not shapes.size(tuple(x.shape[k] for k in axes)) and bool(axes)
    if empty and initial is not _NONE:
        shape = shapes.reduced(x.shape, axes, keepdims)
        result = broadcast_to(astype(operand(initial, (x,)), _dtype(operation, x)), shape)
    else:
        start = () if initial is _NONE or initial is None else (initial,)
        if operation is None:
            result = _folded(ufunc, call, x, axes, keepdims, start)
        else:
            result = fold(call, (operation.function(x, axis=axes, keepdims=keepdims), *start))
    return result if out is None else into(name, result, out)


_NONE = object()


def _dtype(operation: Any, x: Tensor) -> Any:
    """The dtype that a reduction of x has."""
    one = zeros((1,), dtype=x.dtype)
    return x.dtype if operation is None else operation.function(one, axis=0).dtype


def _positional(
    inputs: Sequence[Any], options: dict[str, Any], names: Sequence[str]
) -> tuple[Tensor, dict[str, Any]]:
    """The array of a method, and its options, some of which may have come without their names."""
    rest = {k: v for k, v in zip(names, inputs[1:]) if v is not None or k == "axis"}
    return operand(inputs[0]), {**rest, **options}


def _known(name: str, options: dict[str, Any]) -> None:
    if options:
        raise TypeError(f"{name}: got {min(options)}=, expected NumPy's options; try without it")


def _folded(
    ufunc: Any, call: Call, x: Tensor, axes: shapes.Shape, keepdims: bool, start: tuple[Any, ...]
) -> Any:
    """A reduction pair by pair, in order, from `start`, one axis after the other."""
    need(len(axes) < 2 or ufunc.identity is not None, _shown(ufunc, ".reduce"), axis=axes,
         want="one axis, in order", fix="one axis at a time", error=ValueError)  # fmt: skip
    for axis in sorted(axes, reverse=True):
        parts = [*start, *_slices(x, axis)]
        start = ()
        if not parts:
            need(ufunc.identity is not None, _shown(ufunc, ".reduce"), x=x, axis=axis,
                 want="an element at least, for want of an identity", fix="initial=",
                 error=ValueError)  # fmt: skip
            shape = shapes.reduced(x.shape, (axis,), False)
            x = broadcast_to(operand(ufunc.identity, (x,)), shape)
        else:
            x = fold(call, parts)
    return _with_axes(x, axes) if keepdims else x


def _with_axes(x: Tensor, axes: shapes.Shape) -> Any:
    for axis in sorted(axes):
        x = expand_dims(x, axis)
    return x


def _slices(x: Tensor, axis: int) -> list[Any]:
    lead = (slice(None),) * axis
    return [x[(*lead, k)] for k in range(x.shape[axis])]


# -- running and segmented forms ---------------------------------------------------------------


def _accumulate(
    ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]
) -> Any:
    """x0, f(x0, x1), f(f(x0, x1), x2) ... along one axis (the first)."""
    name = _shown(ufunc, ".accumulate")
    if call is None:
        return bare(name, ufunc.accumulate, inputs, options)
    x, options = _positional(inputs, options, ("axis", "dtype", "out"))
    axis = shapes.axis_index(options.pop("axis", 0), x.ndim, name)
    dtype, out = options.pop("dtype", None), options.pop("out", None)
    _known(name, options)
    if dtype is not None:
        x = astype(x, dtype, copy=False)
    operation = OPERATIONS.get(ACCUMULATE.get(ufunc.__name__, ""))
    if operation is not None:
        result = operation.function(x, axis=axis)
    else:
        parts = list(accumulate(_slices(x, axis), call))
        result = stack(parts, axis) if parts else x
    return result if out is None else into(name, result, out)


def _reduceat(ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """The reductions of x[i0:i1], x[i1:i2] ... and of x[ik:]; x[ik] alone where i(k+1) <= ik."""
    name = _shown(ufunc, ".reduceat")
    if call is None:
        return bare(name, ufunc.reduceat, inputs, options)
    x, options = _positional((inputs[0], *inputs[2:]), options, ("axis", "dtype", "out"))
    places = inputs[1] if len(inputs) > 1 else options.pop("indices")
    axis = shapes.axis_index(options.pop("axis", 0), x.ndim, name)
    starts = [operator.index(k) for k in _on_host(places)]
    length, lead = x.shape[axis], (slice(None),) * axis
    out, dtype = options.pop("out", None), options.pop("dtype", None)
    _known(name, options)
    for k in starts:
        need(0 <= k < length, name, index=k, want=f"0 <= index < {length}", fix="a smaller one",
             error=IndexError)  # fmt: skip
    parts = [
        _reduce(ufunc, call, (x[(*lead, slice(a, b if b > a else a + 1))],),
                {"axis": axis, "keepdims": True, "dtype": dtype})
        for a, b in pairwise([*starts, length])
    ]  # fmt: skip
    result = concatenate(parts, axis) if parts else x[(*lead, slice(0, 0))]
    return result if out is None else into(name, result, out)


def _on_host(places: Any) -> Any:
    return operand(places).detach().numpy() if isinstance(places, Tensor) else np.asarray(places)


def _outer(ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]) -> Any:
    """f of every pair: the axes of x, then those of y."""
    if call is None:
        return bare(_shown(ufunc, ".outer"), ufunc.outer, inputs, options)
    x, y = inputs
    x = x if isinstance(x, Tensor) else operand(x, (y,))
    rank = y.ndim if isinstance(y, Tensor) else np.ndim(y)
    return _call(ufunc, call, (reshape(x, (*x.shape, *(1,) * rank)), y), options)


def _at(ufunc: Any, call: Call | None, inputs: Sequence[Any], options: dict[str, Any]) -> None:
    """x[key] = f(x[key], v), once for every time that an element is named; off the tape."""
    x, key, *values = inputs
    wrong = f"{_shown(ufunc, '.at')}(x, key, v)"
    right = "x = x + tg.zeros_like(x) with the sum written by a gather's gradient"
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{wrong}: got {type(x).__name__} to write a tensor into, expected a tensor; try "
            "x = tg.tensor(x), or v.detach().numpy() for a constant"
        )
    array = inplace.writable(x, wrong, right)
    given = [inplace.constant(v, x, wrong, right) for v in values]
    ufunc.at(array, plain_key(key, x), *given)
    WRITES.note(array, base.bounds(array))


_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call,
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
    "outer": _outer,
    "at": _at,
}
