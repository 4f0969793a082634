"""NumPy's ufuncs on tensors: `np.add(t, u, where=m)`, `np.add.reduce(t)`, `np.hypot.outer(t, u)`.

What a ufunc means is an operation of the registry; what stands here is how a call's options and
methods are made of calls of that operation, so that all of it has derivatives of any order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, describe, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tape import WRITES
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import at, writing
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.create import zeros
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.index import plain_key
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.protocols import UFUNCS, bare, into, named, outside
from tensorgrad.ops.reduce import start_value
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
    given = given if out is None else outside(given, out)
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
        try:
            loop = ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout), signature=signature)
        except TypeError as error:
            given = ", ".join(describe(t) for t in tensors)
            raise DTypeError(
                f"{_shown(ufunc)}: got {given}, dtype={wanted.name!r}, expected a dtype that the "
                f"result can be computed in ({error}); try x.astype({wanted.name!r})"
            ) from None
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
    x, operation = _loop(ufunc, name, x, dtype), OPERATIONS.get(REDUCE.get(ufunc.__name__, ""))
    axes = shapes.axes(axis, x.ndim, name)
    first = ufunc.identity if initial is _NONE else initial
    need(where is True or first is not None, name, where="...",
         want="initial= too, for want of an identity", fix="initial=x.min() or the like",
         error=ValueError)  # fmt: skip
    if operation is None:
        start = () if first is None else (start_value(name, first, x),)
        result = _folded(ufunc, call, x, axes, keepdims, start, where)
    else:
        if where is not True:
            mask = operand(where, (x,))
            x = select(
                mask, x, start_value(name, first if ufunc.identity is None else ufunc.identity, x)
            )
        result = _by_operation(operation, call, name, x, axes, keepdims, initial)
        result = result if dtype is None else astype(result, dtype, copy=False)
    return result if out is None else into(name, result, out)


def _by_operation(
    operation: Any, call: Call, name: str, x: Tensor, axes: shapes.Shape, keepdims: bool,
    initial: Any,
) -> Any:  # fmt: skip
    """The reduction by the operation that is one, from a first value if there is one."""
    given = initial is not _NONE and initial is not None
    if given and axes and not shapes.size(tuple(x.shape[k] for k in axes)):
        first = start_value(name, initial, zeros((), dtype=_dtype(operation, x), device=x.device))
        return broadcast_to(first, shapes.reduced(x.shape, axes, keepdims))
    result = operation.function(x, axis=axes, keepdims=keepdims)
    return call(result, start_value(name, initial, result)) if given else result


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


def _loop(ufunc: Any, name: str, x: Tensor, dtype: Any) -> Any:
    """x in the dtype in which NumPy reduces it; raises `DTypeError` where it has none."""
    x = x if dtype is None else astype(x, dtype, copy=False)
    if ufunc.__name__ in _OWN_DTYPES or x.dtype.name == "bfloat16":
        return x
    try:
        found = ufunc.resolve_dtypes((None, x.dtype, None), reduction=True)[1]
    except TypeError as error:
        raise DTypeError(
            f"{name}: got {describe(x)}, expected a dtype of which two give one of the same "
            f"({error}); try x.astype(...)"
        ) from None
    return astype(x, found, copy=False)


_OWN_DTYPES = frozenset("add multiply maximum minimum".split())
"""Ufuncs whose operations see to it themselves."""

_ANY_ORDER = frozenset("fmax fmin".split())
"""Ufuncs without an identity that several axes at once are nothing to."""


def _folded(
    ufunc: Any, call: Call, x: Tensor, axes: shapes.Shape, keepdims: bool,
    start: tuple[Any, ...], where: Any = True,
) -> Any:  # fmt: skip
    """A reduction pair by pair, in order, from `start`; what `where` leaves out changes nothing."""
    name = _shown(ufunc, ".reduce")
    need(len(axes) < 2 or ufunc.identity is not None or ufunc.__name__ in _ANY_ORDER, name,
         axis=axes, want="one axis, in order", fix="one axis at a time",
         error=ValueError)  # fmt: skip
    parts: list[Any] = _lines(x, axes)
    need(bool(parts or start), name, x=x, axis=axes, want="an element at least, for want of an "
         "identity", fix="initial=", error=ValueError)  # fmt: skip
    masks: list[Any] = [True] * len(parts)
    if where is not True:
        masks = _lines(broadcast_to(operand(where, (x,)), x.shape), axes)
    if start:
        found = broadcast_to(start[0], shapes.reduced(x.shape, axes, False))
    else:
        found, parts, masks = parts[0], parts[1:], masks[1:]
    for part, mask in zip(parts, masks):
        both = call(found, part)
        found = both if mask is True else select(mask, both, found)
    return _with_axes(found, axes) if keepdims else found


def _lines(x: Tensor, axes: shapes.Shape) -> list[Any]:
    """The slices of x across some axes, in order."""
    order = (*axes, *(k for k in range(x.ndim) if k not in axes))
    count = shapes.size(tuple(x.shape[k] for k in axes))
    return _slices(
        reshape(transpose(x, order), (count, *(x.shape[k] for k in order[len(axes) :]))), 0
    )


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
    x, operation = _loop(ufunc, name, x, dtype), OPERATIONS.get(ACCUMULATE.get(ufunc.__name__, ""))
    if operation is not None:
        result = operation.function(x, axis=axis)
        result = result if dtype is None else astype(result, dtype, copy=False)
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
    x, operation = _loop(ufunc, name, x, dtype), OPERATIONS.get(REDUCE.get(ufunc.__name__, ""))
    pieces = [x[(*lead, slice(a, b if b > a else a + 1))] for a, b in pairwise([*starts, length])]
    if operation is None:  # a piece of one element is itself: no identity comes in
        parts = [_folded(ufunc, call, p, (axis,), True, ()) for p in pieces]
    else:
        parts = [_by_operation(operation, call, name, p, (axis,), True, _NONE) for p in pieces]
        parts = [p if dtype is None else astype(p, dtype, copy=False) for p in parts]
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
    """x[key] = f(x[key], v), once for every time that an element is named."""
    x, key, *values = inputs
    wrong = f"{_shown(ufunc, '.at')}(x, key, v)"
    right = f"x = x.at[key].{ufunc.__name__}(v)"
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{wrong}: got {type(x).__name__} to write a tensor into, expected a tensor; try "
            "x = tg.tensor(x), or v.detach().numpy() for a constant"
        )
    given = [operand(v, (x,)) for v in values]
    target = writing.Target(x, given, wrong, right)
    if target.plain and isinstance(x.data, np.ndarray):
        try:
            ufunc.at(x.data, plain_key(key, x), *[v.data for v in given])
        except TypeError as error:
            got = ", ".join(describe(t) for t in (x, *given))
            raise DTypeError(
                f"{wrong}: got {got}, expected dtypes that the ufunc writes back ({error}); "
                f"try {right}"
            ) from None
        WRITES.note(x.data, base.bounds(x.data))
        return
    if call is None:
        bare(wrong, ufunc, (x, *given), {})  # refuses by name
        return
    old = x if target.above else writing.twin(x)
    given = given if target.above else writing.apart(given, x)
    result = _at_function(ufunc, call)(old, key, *given)
    if target.plain:
        x[...] = result
    else:
        target.take(result)


def _at_function(ufunc: Any, call: Call) -> Call:
    """A copy of x in place of the write."""
    found = at.at_function(ufunc.__name__)
    if found is not None:
        return found
    if ufunc.nin == 1:
        return lambda x, key: at.at_set(x, key, call(x[key]))
    return lambda x, key, value: at.each(_shown(ufunc, ".at"), call, x, key, value)


_METHODS: dict[str, Callable[..., Any]] = {
    "__call__": _call,
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
    "outer": _outer,
    "at": _at,
}
