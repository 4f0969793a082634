"""Sums, products and moments over axes."""

from __future__ import annotations

from typing import Any

import numpy as np  # the bounds of integers

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.expr import ELEMENT, SCALAR, call, ncols, rmax, rsum, stop, where
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.complex import conj
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.join import concat_p
from tensorgrad.ops.shape import astype, broadcast_to, reshape

INF = float("inf")


def restored(ct: Any, x: Any, axis: shapes.Shape, keepdims: bool) -> Any:
    """A cotangent of a reduction with the reduced axes back, of length 1, unless they were kept."""
    return ct if keepdims else reshape(ct, shapes.reduced(x.shape, axis, True))


def with_kept(found: Any, a: Any, axis: shapes.Shape, keepdims: bool) -> Any:
    """The result of a reduce formula, which has no reduced axes, with them where they are kept."""
    return restored(found, a, axis, not keepdims)


def accumulated(dt: Any) -> Any:
    """The dtype of a sum or product: that of the elements, but at least 64 bits for integers."""
    if dt.kind in "bi":
        return dtypes.int64
    return dtypes.uint64 if dt.kind == "u" else dt


def floating(a: Any, dtype: Any = None) -> Any:
    """`a` as a tensor of `dtype`, or of its own if that is floating, else of float64."""
    a = operand(a)
    if dtype is None and not dtypes.is_inexact(a.dtype):
        dtype = dtypes.float64
    return a if dtype is None else astype(a, dtype, copy=False)


def moved(axis: shapes.Shape) -> shapes.Shape:
    """The same axes behind a batch axis."""
    return tuple(k + 1 for k in axis)


def masked(op: str, a: Any, where: Any, other: Any) -> Any:
    """a where the mask of a reduction holds, else `other`; raises `ShapeError` unless it fits a."""
    if where is True:
        return a
    mask = operand(where, (a,))
    shape = shapes.broadcast(a.shape, mask.shape, op=op)
    need(shape == a.shape, op, a=a, where=mask, want="a mask that broadcasts to a",
         fix="broadcast_to(a, where.shape)")  # fmt: skip
    return select(mask, a, other)


def start_value(op: str, initial: Any, a: Any) -> Any:
    """The first value of a reduction, in the dtype of its result `a`, which must hold it."""
    if a.dtype.kind in "iu" and isinstance(initial, int | float | np.number):
        held = np.iinfo(a.dtype)
        need(held.min <= initial <= held.max, op, initial=initial,
             want=f"a number that {a.dtype} holds", fix="x.astype('int64')",
             error=OverflowError)  # fmt: skip
    return astype(operand(initial, (a,)), a.dtype, copy=False)


def freedom_less(op: str, dtype: Any, ddof: float, correction: float | None) -> float:
    """What is taken off the count of a variance; refuses a dtype that cannot hold one."""
    need(dtype is None or dtypes.is_inexact(dtypes.dtype(dtype)), op, dtype=dtype,
         want="a floating dtype", fix="dtype=None", error=DTypeError)  # fmt: skip
    need(correction is None or not ddof, op, ddof=ddof, correction=correction, want="one of them",
         fix="ddof, which is NumPy's older name", error=ValueError)  # fmt: skip
    return ddof if correction is None else correction


def counted(op: str, a: Any, axis: shapes.Shape, where: Any, keepdims: bool = False) -> Any:
    """How many elements of a reduction there are: a number, or with a mask a tensor of a's kind."""
    if where is True:
        return _count(a, axis)
    mask = astype(operand(where, (a,)), dtypes.bool_, copy=False)
    found = sum_p.bind(broadcast_to(mask, a.shape), axis=axis, keepdims=keepdims)
    return astype(found, dtypes.real(a.dtype))


def _shape(x: Spec, axis: shapes.Shape, keepdims: bool) -> shapes.Shape:
    return shapes.reduced(x.shape, axis, keepdims)


# -- sum and mean ------------------------------------------------------------------------------

sum_p: Primitive = primitive(
    "sum",
    nin=1,
    spec=lambda x, *, axis, keepdims: Spec(_shape(x, axis, keepdims), accumulated(x.dtype)),
    vjp=(
        lambda ct, out, x, *, axis, keepdims: broadcast_to(
            restored(ct, x, axis, keepdims), x.shape
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, keepdims: sum_p.bind(
        inputs[0], axis=moved(axis), keepdims=keepdims
    ),
)


def _totals(r: Any) -> Any:
    yield from r.several_axes()
    yield (r.normal(3, 4),), {"axis": 1, "where": r.bools(3, 4), "initial": 2.0}
    yield (r.normal(2, 3, 4),), {"axis": (2, 0), "where": r.bools(3, 1), "keepdims": True}
    yield (r.normal(0, 3),), {"axis": 0, "initial": -1.5}


@operation(numpy="sum", methods="sum", oracle="sum", samples=_totals)
def sum(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The sum over axes: initial + Σ a where the mask holds.

    Shape of a without the axes (of length 1 with `keepdims`). At least 64 bits for integers;
    16-bit floats accumulate in float32.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    tensor([4., 6.])
    """
    a = operand(a)
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    a = masked("sum", a, where, 0)
    found = sum_p.bind(a, axis=shapes.axes(axis, a.ndim, "sum"), keepdims=keepdims)
    if dtype is not None:  # that of a small integer too, which a sum is wider than
        found = astype(found, dtype, copy=False)
    return found if initial is None else found + start_value("sum", initial, found)


def _means(r: Any) -> Any:
    yield from r.several_axes()
    mask = r.bools(3, 4)
    mask[:, 0] = True
    yield (r.normal(3, 4),), {"axis": 1, "where": mask}
    yield (r.normal(2, 3, 4),), {"axis": (2, 0), "where": mask, "keepdims": True}


@operation(numpy="mean", methods="mean", oracle="mean", samples=_means)
def mean(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    where: Any = True,
) -> Any:
    """The mean over axes of what the mask holds: Σ a / n.

    float64 for integers, 16-bit floats accumulate in float32.

    >>> mean([[1.0, 2.0], [3.0, 4.0]], axis=1, keepdims=True)
    tensor([[1.5],
            [3.5]])
    """
    a = floating(a, dtype)
    axis = shapes.axes(axis, a.ndim, "mean")
    count = counted("mean", a, axis, where, keepdims)
    a = masked("mean", a, where, 0)
    if a.dtype.itemsize == 2 and dtypes.is_half(a.dtype):
        total = sum_p.bind(astype(a, dtypes.float32), axis=axis, keepdims=keepdims)
        return astype(total / count, a.dtype)
    found = sum_p.bind(a, axis=axis, keepdims=keepdims) / count
    return found if dtypes.is_inexact(a.dtype) else astype(found, a.dtype)


def _count(a: Any, axis: shapes.Shape) -> int:
    return shapes.size(tuple([a.shape[k] for k in axis]))


# -- products ----------------------------------------------------------------------------------


def _prod_others(x: Any, ct: Any, axis: shapes.Shape, keepdims: bool) -> Any:
    """ct times the product of the other elements, for each: a tree of pairwise products.

    Halves are multiplied with each other upwards, cotangents handed down: O(n) work in O(log n)
    operations, without a division, so zeros are exact at every order.
    """
    if not x.size:
        return None
    order = (*(k for k in range(x.ndim) if k not in axis), *axis)
    kept = shapes.reduced(x.shape, axis, False)
    flat = reshape(transpose(x, order), (*kept, _count(x, axis)))
    levels = [conj(flat)]
    while levels[-1].shape[-1] > 1:
        top = levels[-1]
        half = top.shape[-1] // 2
        pairs = top[..., :half] * top[..., half : 2 * half]
        levels.append(_joined(pairs, top[..., 2 * half :]) if top.shape[-1] % 2 else pairs)
    down = reshape(ct, (*kept, 1))
    for level in reversed(levels[:-1]):
        half = level.shape[-1] // 2
        above = down[..., :half]
        parts = [above * level[..., half : 2 * half], above * level[..., :half]]
        down = _joined(*parts, down[..., half:]) if level.shape[-1] % 2 else _joined(*parts)
    shape = tuple(x.shape[k] for k in order)
    return transpose(reshape(down, shape), tuple(order.index(k) for k in range(x.ndim)))


def _joined(*parts: Any) -> Any:
    axis, ends, end = parts[0].ndim - 1, [], 0
    for part in parts:
        end += part.shape[-1]
        ends.append(end)
    return concat_p.bind(*parts, axis=axis, ends=tuple(ends))


def _prod_jvp(t: Any, out: Any, x: Any, *, axis: shapes.Shape, keepdims: bool) -> Any:
    ones = astype(reshape(operand(1.0, near=x), (1,) * out.ndim), x.dtype)
    others = _prod_others(x, broadcast_to(ones, out.shape), axis, keepdims)
    if others is None:
        return None
    return sum_p.bind(t * conj(others), axis=axis, keepdims=keepdims)


prod_p: Primitive = primitive(
    "prod",
    nin=1,
    spec=lambda x, *, axis, keepdims: Spec(_shape(x, axis, keepdims), accumulated(x.dtype)),
    vjp=(lambda ct, out, x, *, axis, keepdims: _prod_others(x, ct, axis, keepdims),),
    jvp=(_prod_jvp,),
    reads=((0, 1),),
    batch=lambda inputs, batched, *, axis, keepdims: prod_p.bind(
        inputs[0], axis=moved(axis), keepdims=keepdims
    ),
)


def _prod_samples(r: Any) -> Any:
    yield from r.several_axes(lambda *shape: r.uniform(-1.5, 1.5, *shape))
    x = r.uniform(0.5, 1.5, 3, 5)
    x[0, 1] = x[1, 2] = x[1, 4] = 0.0
    yield (x,), {"axis": 1}
    yield (r.uniform(0.5, 1.5, 3, 4),), {"axis": 0, "where": r.bools(3, 4), "initial": 2.0}


@operation(numpy="prod", methods="prod", oracle="prod", samples=_prod_samples)
def prod(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """The product over axes: initial · Π a where the mask holds.

    Its derivatives are exact where elements are zero.

    >>> prod([2.0, 3.0, 4.0])
    tensor(24.)
    """
    a = operand(a)
    if dtype is not None:
        a = astype(a, dtype, copy=False)
    a = masked("prod", a, where, 1)
    found = prod_p.bind(a, axis=shapes.axes(axis, a.ndim, "prod"), keepdims=keepdims)
    if dtype is not None:
        found = astype(found, dtype, copy=False)
    return found if initial is None else found * start_value("prod", initial, found)


# -- moments -----------------------------------------------------------------------------------


def _var(x: Any, count: Any) -> Any:
    d = x - rsum(x) / ncols()
    return rsum(d * d) / count


def _logsumexp(x: Any) -> Any:
    top = stop(rmax(x))
    shift = where(call("isfinite", top), top, 0.0)
    total = rsum(call("exp", x - shift))
    return where(total == 0.0, -INF, call("log", total) + shift)


var_p = known(Reduce.trace("var", _var, {"x": ("f", ELEMENT), "count": ("f", SCALAR)}))
logsumexp_p = known(Reduce.trace("logsumexp", _logsumexp, {"x": ("f", ELEMENT)}))
std_root_p = known(Elementwise.trace("std_root", lambda v: where(v == 0.0, 0.0, call("sqrt", v))))


def _moments(r: Any) -> Any:
    yield from r.several_axes()
    yield (r.normal(3, 4),), {"axis": 0, "ddof": 1}
    yield (r.normal(3, 4),), {"correction": 1.0, "keepdims": True}
    mask = r.bools(3, 4)
    mask[:, :2] = True
    yield (r.normal(3, 4),), {"axis": 1, "where": mask}
    x = r.normal(2, 3, 4)
    yield (x,), {"axis": (2, 0), "where": mask, "keepdims": True, "ddof": 1}
    yield (x,), {"axis": 2, "mean": x.mean(2, keepdims=True) + 0.5, "ddof": 1}


@operation(numpy="var", methods="var", oracle="var", samples=_moments)
def var(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The variance over axes of what the mask holds: Σ |a - mean|² / (n - ddof).

    `correction` is `ddof`'s other name; `mean`, with the reduced axes kept, saves computing it.

    >>> var([1.0, 2.0, 3.0], ddof=1)
    tensor(1.)
    """
    a = floating(a, dtype)
    axis = shapes.axes(axis, a.ndim, "var")
    less = freedom_less("var", dtype, ddof, correction)
    if where is not True or mean is not None:
        return _masked_var(a, axis, less, keepdims, where, mean)
    if a.dtype.kind == "c":
        options: Any = {"ddof": less, "keepdims": keepdims}
        return var(a.real, axis, **options) + var(a.imag, axis, **options)
    left = _count(a, axis) - less
    count = operand(float(left if left > 0 else 0), (a,))
    return with_kept(var_p.bind(a, count, axis=axis, shape=a.shape), a, axis, keepdims)


_mean = mean  # an argument of `var` has its name


def _masked_var(
    a: Any, axis: shapes.Shape, less: float, keepdims: bool, where: Any, mean: Any
) -> Any:
    """The variance with a mask, or about a mean that is given."""
    if mean is None:
        mean = _mean(a, axis, keepdims=True, where=where)
    half = dtypes.is_half(a.dtype)
    d = masked("var", (astype(a, dtypes.float32) if half else a) - mean, where, 0)
    squares = d.real * d.real + d.imag * d.imag if d.dtype.kind == "c" else d * d
    left = counted("var", squares, axis, where, keepdims) - less
    left = (left if left > 0 else 0) if where is True else select(left > 0, left, 0)
    found = sum_p.bind(squares, axis=axis, keepdims=keepdims) / left
    return astype(found, a.dtype) if half else found


def _std_samples(r: Any) -> Any:
    for (x,), options in _moments(r):
        if x.ndim and not (x.strides == (8, 0) and options.get("axis") == 1):
            yield (x,), options


@operation(numpy="std", methods="std", oracle="std", samples=_std_samples)
def std(
    a: Any,
    axis: shapes.Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """The standard deviation over axes, √var; its gradient is 0 where all elements are equal."""
    options: Any = {"ddof": ddof, "keepdims": keepdims, "correction": correction}
    return std_root_p.bind(var(a, axis, dtype, **options, where=where, mean=mean))


def _logsumexp_oracle(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    import scipy.special

    return scipy.special.logsumexp(a, axis, keepdims=keepdims)


@operation(methods="logsumexp", oracle=_logsumexp_oracle, samples=lambda r: r.several_axes())
def logsumexp(a: Any, axis: shapes.Axis = None, *, keepdims: bool = False) -> Any:
    """log Σ exp(a) over axes, without overflow; -inf with gradient 0 where all a are -inf.

    Raises `DTypeError` for complex a.

    >>> logsumexp([1000.0, 1000.0])
    tensor(1000.69314718)
    """
    a = floating(a)
    need(a.dtype.kind != "c", "logsumexp", a=a, want="a real array", fix="a.real", error=DTypeError)
    axis = shapes.axes(axis, a.ndim, "logsumexp")
    if not _count(a, axis):
        return sum_p.bind(a, axis=axis, keepdims=keepdims) - INF
    return with_kept(logsumexp_p.bind(a, axis=axis, shape=a.shape), a, axis, keepdims)
