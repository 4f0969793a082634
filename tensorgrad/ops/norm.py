"""Normalisation over trailing axes, and norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.formula import Reduce
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import COLUMN, ELEMENT, SCALAR, call, ncols, rmax, rsum, where
from tensorgrad.ops.reduce import with_kept
from tensorgrad.ops.shape import astype

Names = tuple[str, ...]
"""Which of weight and bias a normalisation has, in this order."""

INF = float("inf")

# -- layer and RMS norm ------------------------------------------------------------------------


def _inputs(names: Names) -> dict[str, tuple[str, int]]:
    return {"x": ("f", ELEMENT), **dict.fromkeys(names, ("f", COLUMN))}


def _scaled(y: Any, names: Names, values: Sequence[Any]) -> Any:
    """y weight + bias, with those of the two that there are."""
    for name, value in zip(names, values):
        y = y * value if name == "weight" else y + value
    return y


@lru_cache(maxsize=64)
def _layer_norm(eps: float, names: Names) -> Reduce:
    """The primitive for one eps, a constant: as an operand it would be rounded to 16 bits."""

    def formula(x: Any, *affine: Any) -> Any:
        # The mean and 1 / std are outputs so that backward reads them instead of reducing again.
        mean = rsum(x) / ncols()
        d = x - mean
        inverse = 1 / call("sqrt", rsum(d * d) / ncols() + eps)
        return _scaled(d * inverse, names, affine), mean, inverse

    return Reduce.trace("layer_norm", formula, _inputs(names), 3)


@lru_cache(maxsize=64)
def _rms_norm(eps: float, names: Names) -> Reduce:
    def formula(x: Any, *affine: Any) -> Any:
        inverse = 1 / call("sqrt", rsum(x * x) / ncols() + eps)
        return _scaled(x * inverse, names, affine), inverse

    return Reduce.trace("rms_norm", formula, _inputs(names), 2)


def _normalised(
    op: str,
    find: Callable[[float, Names], Reduce],
    eps: float,
    x: Any,
    normalized_shape: Any,
    **affine: Any,
) -> Tensor:
    x = operand(x, (), op)
    if isinstance(normalized_shape, int):
        normalized_shape = (normalized_shape,)
    normalized_shape = tuple(normalized_shape)
    need(
        normalized_shape and x.shape[x.ndim - len(normalized_shape) :] == normalized_shape,
        op,
        x=x,
        normalized_shape=normalized_shape,
        want="x.shape to end with normalized_shape",
        fix=f"normalized_shape={x.shape[-1:]}",
    )
    need(eps >= 0, op, eps=eps, want="eps >= 0", fix="1e-5")
    names = tuple([name for name, value in affine.items() if value is not None])
    values = [_fitting(op, name, affine[name], x, normalized_shape) for name in names]
    if not x.size:
        return _scaled(x, names, values)  # type: ignore[no-any-return]
    axis = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    return find(float(eps), names).bind(x, *values, axis=axis, shape=x.shape)[0]  # type: ignore[no-any-return]


def _fitting(op: str, name: str, value: Any, x: Tensor, shape: shapes.Shape) -> Tensor:
    """A weight or bias as a tensor of the normalised axes' shape."""
    found = operand(value, (x,), op)
    need(
        found.shape == shape,
        op,
        error=ShapeError,
        **{name: found},
        want=f"shape {shape} (normalized_shape)",
        fix=f"{name}.reshape(normalized_shape)",
    )
    return found


def _reference(centred: bool, default: float | None) -> Callable[..., Any]:
    def norm(x: Any, shape: Any, weight: Any = 1.0, bias: Any = 0.0, eps: Any = default) -> Any:
        axis = tuple(range(-np.size(shape), 0))
        weight = 1.0 if weight is None else weight
        bias = 0.0 if bias is None else bias
        d = x - x.mean(axis, keepdims=True) if centred else x
        eps = np.finfo(x.dtype).eps if eps is None else eps
        return d / np.sqrt((d * d).mean(axis, keepdims=True) + eps) * weight + bias

    return norm


def _norm_samples(bias: bool) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        for x, shape in (
            (r.normal(4), 4), (r.normal(3, 4), 4), (r.normal(3, 4), (3, 4)),
            (r.normal(2, 3, 4), (4,)), (r.normal(2, 3, 4), (3, 4)), (r.normal(4, 3).T, 4),
            (r.normal(6, 4)[::2, ::-1], 4), (r.normal(0, 3), 3),
            (np.broadcast_to(r.normal(4), (3, 4)), 4), (r.normal(2, 1, 4), (1, 4)),
        ):  # fmt: skip
            size = (shape,) if isinstance(shape, int) else shape
            affine = (r.normal(*size), r.normal(*size))[: 1 + bias]
            yield (x, shape, *affine), {"eps": 0.1}
        yield (r.normal(3, 4), 4), {}
        yield (r.normal(3, 4), 4, r.normal(4)), {}
        if bias:
            yield (r.normal(3, 4), 4, None, r.normal(4)), {}

    return samples


@operation(oracle=_reference(True, 1e-5), samples=_norm_samples(True))
def layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """(x - mean) / sqrt(var + eps) weight + bias, over the trailing axes `normalized_shape`.

    weight and bias, each optional, have that shape; var is the biased variance. Ba, Kiros, Hinton,
    "Layer normalization", 2016. Raises `ShapeError` where x does not end with that shape.

    >>> layer_norm([1.0, 3.0], 2, eps=0.0)
    tensor([-1.,  1.])
    """
    return _normalised(
        "layer_norm", _layer_norm, eps, x, normalized_shape, weight=weight, bias=bias
    )


@operation(oracle=_reference(False, None), samples=_norm_samples(False))
def rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Tensor:
    """x / sqrt(mean x² + eps) weight, over the trailing axes `normalized_shape`.

    eps None is the machine epsilon of x's dtype. Zhang, Sennrich, "Root mean square layer
    normalization", 2019. Raises `ShapeError` where x does not end with that shape.

    >>> rms_norm([3.0, 3.0], 2, eps=0.0)
    tensor([1., 1.])
    """
    x = operand(x, (), "rms_norm")
    if eps is None:
        eps = dtypes.eps(dtypes.inexact(x.dtype))
    return _normalised("rms_norm", _rms_norm, eps, x, normalized_shape, weight=weight)


# -- norms of vectors --------------------------------------------------------------------------


def _euclid(x: Any) -> Any:
    square = rsum(x * x)
    return where(square == 0, 0, call("sqrt", square))


def _power(x: Any, p: Any) -> Any:
    total = rsum(call("pow", call("abs", x), p))
    return where(total == 0, 0, call("pow", total, 1 / p))


def _one(name: str, formula: Callable[..., Any]) -> Reduce:
    return known(Reduce.trace(name, formula, {"x": ("f", ELEMENT)}))  # type: ignore[no-any-return]


_NORMS = {
    2: _one("norm", _euclid),
    1: _one("norm_1", lambda x: rsum(call("abs", x))),
    float("inf"): _one("norm_inf", lambda x: rmax(call("abs", x))),
    -float("inf"): _one("norm_minus_inf", lambda x: -rmax(-call("abs", x))),
}
_norm_p = known(Reduce.trace("norm_p", _power, {"x": ("f", ELEMENT), "p": ("f", SCALAR)}))


def vector(op: str, x: Any, p: Any, over: shapes.Shape, keepdims: bool) -> Any:
    """(Σ |x|^p)^(1/p) over axes; the largest or smallest |x|; the count of what is not 0."""
    need(not isinstance(p, str), op, ord=p, axes=over, want="a number for the norm of a vector",
         fix="ord=2", error=ValueError)  # fmt: skip
    if p == 0:
        real = dtypes.real(dtypes.inexact(x.dtype))
        return astype(x.detach() != 0, real).sum(axis=over, keepdims=keepdims)
    if x.dtype.kind == "c":
        x = abs(x)
    if (p < 0 or p == INF) and not shapes.size(tuple([x.shape[k] for k in over])):
        need(p != -INF, op, x=x, ord=p, want="an element at least", fix="ord=2")
        nothing = astype(x, dtypes.inexact(x.dtype), copy=False).sum(axis=over, keepdims=keepdims)
        return nothing if p > 0 else nothing + INF  # 0 to a negative power
    if p in _NORMS:
        out: Any = _NORMS[p].bind(x, axis=over, shape=x.shape)
    else:
        out = _norm_p.bind(x, float(p), axis=over, shape=x.shape)
    return with_kept(out, x, over, keepdims)


def _norm_cases(r: Any) -> Any:
    yield from r.reductions(lambda *s: r.apart(*s) + 0.3, empty=False)
    x = r.apart(3, 4)
    for order in (1, 2, 3, 2.5, float("inf"), -float("inf")):
        yield (x,), {"ord": order, "axis": 1}
    yield (x,), {"ord": 1, "axis": 0, "keepdims": True}
    yield (x,), {"ord": "fro"}
    yield (r.normal(0, 3),), {"axis": 1}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3),), {"axis": 1}
    for p in (1, -1, float("inf"), "nuc", 2):  # of matrices, whose singular values lie apart
        yield (x + 2 * np.eye(3, 4),), {"ord": p}
    yield (r.apart(4, 2, 3) + 0.05,), {"ord": 1, "axis": (2, 0), "keepdims": True}
    yield (r.apart(3, 2, 3) * np.arange(1, 4)[:, None, None],), {"ord": "nuc", "axis": (0, -1)}


@operation(
    numpy="linalg.norm",
    oracle=lambda x, **options: np.linalg.norm(x, **options),
    samples=_norm_cases,
)
def norm(x: Any, ord: Any = None, axis: shapes.Axis = None, keepdims: bool = False) -> Any:
    """The norm of all elements, or of the vectors (matrices) on one axis (two axes).

    Of a vector (Σ |x|^p)^(1/p) with p = `ord` (2), inf or -inf, or 0: how many are not 0. Of a
    matrix "fro" (the default), "nuc" (Σ s), 2 and -2 (largest and smallest singular value), 1 and
    -1 (column sums of |x|), inf and -inf (row sums). The gradient is 0 where the norm is.

    >>> norm([3.0, 4.0])
    tensor(5.)
    """
    x = operand(x, (), "norm")
    over = shapes.axes(axis, x.ndim, "norm")
    if ord is None or (axis is None and x.ndim == 1 and ord == 2):
        return vector("norm", x, 2, over, keepdims)
    if len(over) != 2:
        need(len(over) == 1, "norm", ord=ord, axes=len(over), want="one axis or two",
             fix="axis=-1, or norm(x.reshape(-1), ord)", error=ValueError)  # fmt: skip
        return vector("norm", x, ord, over, keepdims)
    from tensorgrad.ops.linalg.norms import of_matrix  # late: for import time

    pair = axis if isinstance(axis, tuple | list) else (0, 1)
    rows, columns = (shapes.axis_index(k, x.ndim, "norm") for k in pair)
    return of_matrix("norm", x, ord, (rows, columns), keepdims)
