"""Averages, covariances, correlations, ranges."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.axes import transpose
from tensorgrad.ops.complex import conj, imag, real
from tensorgrad.ops.diagonal import diagonal
from tensorgrad.ops.elementary import sqrt
from tensorgrad.ops.elementwise import clip
from tensorgrad.ops.extremes import max, min
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.products import matmul
from tensorgrad.ops.reduce import mean, sum
from tensorgrad.ops.shape import astype, broadcast_to, reshape, sizes, squeeze

# -- averages ----------------------------------------------------------------------------------


def weights_along(op: str, weights: Any, a: Any, axis: Any) -> Any:
    """Weights of a's shape, or of the shape of the axes in their given order, as they broadcast."""
    if weights.shape == a.shape:
        return weights
    need(axis is not None, op, a=a, weights=weights, want="an axis, or weights of a's shape",
         fix="axis=0", error=TypeError)  # fmt: skip
    given = [shapes.axis_index(k, a.ndim, op) for k in sizes(axis)]
    need(weights.shape == tuple(a.shape[k] for k in given), op, a=a, weights=weights, axis=axis,
         want="weights of a's shape, or of the lengths of the axes", fix="broadcast_to",
         error=ValueError)  # fmt: skip
    turned = transpose(weights, tuple(sorted(range(len(given)), key=given.__getitem__)))
    return reshape(turned, tuple(n if k in given else 1 for k, n in enumerate(a.shape)))


def _averages(r: Any) -> Any:
    yield from ((args, options) for args, options in r.several_axes() if args[0].size)
    yield (r.normal(3, 4),), {"axis": 1, "weights": r.uniform(0.5, 2, 4)}
    yield (r.normal(3, 4), None, r.uniform(0.5, 2, 3, 4)), {"returned": True}
    weights = r.uniform(0.5, 2, 4, 2)
    yield (r.normal(2, 3, 4),), {"axis": (2, 0), "weights": weights, "keepdims": True}
    yield (r.normal(3, 4), 0, r.uniform(0.5, 2, 3)), {"returned": True}


@operation(numpy="average", oracle="average", samples=_averages)
def average(
    a: Any,
    axis: shapes.Axis = None,
    weights: Any = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The weighted mean over axes: Σ w a / Σ w; with `returned` also Σ w, of the same shape.

    Raises `ValueError` unless the weights are of a's shape or of that of the axes,
    `ZeroDivisionError` where they add up to 0.

    >>> average([1.0, 2.0, 3.0], weights=[3.0, 1.0, 0.0])
    tensor(1.25)
    """
    a = operand(a)
    over = shapes.axes(axis, a.ndim, "average")
    if weights is None:
        found = mean(a, over, keepdims=keepdims)
        total: Any = operand(float(shapes.size(tuple(a.shape[k] for k in over))), (found,))
    else:
        weights = operand(weights, (a,))
        kinds = (a.dtype, weights.dtype)
        whole = a.dtype.kind in "biu"
        wide = dtypes.result_type(*kinds, dtypes.float64) if whole else dtypes.result_type(*kinds)
        w = astype(weights_along("average", weights, a, axis), wide, copy=False)
        total = sum(w, over, keepdims=True)
        if not total.level:
            need((total != 0).all(), "average", total=total, want="weights that do not add up to 0",
                 fix="other weights", error=ZeroDivisionError)  # fmt: skip
        kept = shapes.reduced(a.shape, over, keepdims)
        total = reshape(broadcast_to(total, shapes.reduced(a.shape, over, True)), kept)
        found = sum(a * w, over, keepdims=keepdims) / total
    return (found, broadcast_to(total, found.shape)) if returned else found


# -- covariances -------------------------------------------------------------------------------


def _variables(op: str, m: Any, y: Any, rowvar: bool, dtype: Any) -> Any:
    """The observations as a matrix with a row per variable."""
    parts = [operand(m)] if y is None else [operand(m), operand(y, (m,))]
    if dtype is None:
        dtype = dtypes.result_type(*(p.dtype for p in parts), dtypes.float64)
    rows = []
    for k, part in enumerate(parts):
        need(part.ndim <= 2, op, x=part, want="one axis or two", fix="reshape", error=ValueError)
        x = astype(part, dtype, copy=False)
        flat = x.ndim < 2
        x = reshape(x, (1, x.size)) if flat else x
        if not rowvar and (part.ndim != 1 if k == 0 else x.shape[0] != 1):
            x = transpose(x)
        rows.append(x)
    return rows[0] if len(rows) == 1 else concatenate(rows)


def _weight(op: str, w: Any, x: Any) -> Any:
    """The weights of the observations, as floats."""
    w = astype(operand(w, (x,)), dtypes.float64, copy=False)
    need(w.shape == x.shape[1:], op, weights=w, x=x, want="a weight per observation",
         fix="weights.reshape(-1)", error=RuntimeError)  # fmt: skip
    return w


def _covariances(r: Any) -> Any:
    yield (r.normal(3, 5),), {}
    yield (r.normal(5),), {}
    yield (r.normal(5), r.normal(5)), {"ddof": 0}
    yield (r.normal(5, 3),), {"rowvar": False, "bias": True}
    yield (r.normal(3, 5), r.normal(2, 5)), {}
    yield (r.normal(5, 3), r.normal(5, 2)), {"rowvar": False}
    yield (r.normal(3, 5),), {"aweights": r.uniform(0.5, 2, 5)}
    yield (r.normal(3, 5),), {"fweights": r.integers(1, 4, 5), "aweights": r.uniform(0.5, 2, 5)}
    yield (r.normal(3, 5),), {"fweights": r.integers(1, 4, 5), "ddof": 0}
    yield (r.normal(10, 6)[::2, ::-1],), {}
    yield (r.normal(0, 4),), {}
    yield (r.normal(3, 5) + 1j * r.normal(3, 5),), {}


@operation(numpy="cov", oracle="cov", samples=_covariances)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """The covariances of variables, the rows of m (and of y): (x - x̄) W (x - x̄)ᴴ / f.

    One axis of m is one variable; `fweights` count observations, `aweights` weigh them.
    f = n - ddof without weights, Σ w - ddof Σ w a / Σ w with them; ddof is 0 with `bias`, else 1.
    """
    x = _variables("cov", m, y, rowvar, dtype)
    if not x.shape[0]:
        return matmul(x, transpose(x))[:0, :0]
    less = (0 if bias else 1) if ddof is None else ddof
    given = [_weight("cov", w, x) for w in (fweights, aweights) if w is not None]
    if not given:
        d = x - mean(x, 1, keepdims=True)
        factor: Any = x.shape[1] - less
        return squeeze(matmul(d, conj(transpose(d))) * (1 / factor if factor > 0 else float("inf")))
    w = given[0] if len(given) == 1 else given[0] * given[1]
    total = sum(w)
    d = x - reshape(matmul(x, astype(w, x.dtype)) / total, (-1, 1))
    factor = total - (less if aweights is None else less * sum(w * given[-1]) / total)
    return squeeze(matmul(d, conj(transpose(d * w))) / factor)


def _correlations(r: Any) -> Any:
    for args, options in _covariances(r):
        if not {"bias", "ddof", "aweights", "fweights"} & set(options) and args[0].size:
            yield args, options
    yield (r.normal(6, 3),), {"rowvar": False}
    yield (r.normal(2, 6).T,), {"rowvar": False}


@operation(numpy="corrcoef", oracle="corrcoef", samples=_correlations)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """The correlations of variables: c_ij / √(c_ii c_jj) of their covariances c, within -1 and 1.

    Constant variables have none: NaN.
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    spread = sqrt(real(diagonal(c)))
    found = c / reshape(spread, (-1, 1)) / spread
    if found.dtype.kind == "c":
        return clip(real(found), -1, 1) + 1j * clip(imag(found), -1, 1)
    return clip(found, -1, 1)


# -- ranges ------------------------------------------------------------------------------------


@operation(numpy="ptp", oracle="ptp", samples=lambda r: r.several_axes(r.apart))
def ptp(a: Any, axis: shapes.Axis = None, *, keepdims: bool = False) -> Any:
    """Peak to peak over axes: the largest element less the smallest.

    >>> ptp([3.0, 1.0, 4.0])
    tensor(3.)
    """
    a = operand(a)
    return max(a, axis, keepdims=keepdims) - min(a, axis, keepdims=keepdims)
