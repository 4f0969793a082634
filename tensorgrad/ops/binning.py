"""Where numbers fall between others, and how many fall there: searchsorted, bincount, histograms.

Places and counts are constants. The sum of the weights in a bin is linear in the weights; the
edges of bins that span the data move with its smallest and largest element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DeviceError, DTypeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.compare import isnan, less, less_equal, logical_not
from tensorgrad.ops.create import arange, ones
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.extremes import max, min
from tensorgrad.ops.gather import scatter_add_p
from tensorgrad.ops.index import concrete, take
from tensorgrad.ops.join import stack
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import astype, broadcast_to, expand_dims, reshape

# -- where -------------------------------------------------------------------------------------


def _search_batch(inputs: Any, batched: Any, *, right: bool) -> Any:
    """Without a batch in what is sorted, elements as ever; else it is compared with all of it."""
    a, v = inputs
    if not batched[0]:
        return searchsorted_p.bind(a, v, right=right)
    if not batched[1]:
        v = broadcast_to(v, (a.shape[0], *v.shape))
    rows = reshape(a, (a.shape[0], *(1,) * (v.ndim - 1), a.shape[1]))
    v = expand_dims(v, -1)
    lower = less_equal(rows, v) if right else less(rows, v)
    last = isnan(v) if right else isnan(v) & logical_not(isnan(rows))
    return sum(lower | last, -1)


searchsorted_p: Primitive = primitive(
    "searchsorted",
    nin=2,
    spec=lambda a, v, *, right: Spec(v.shape, dtypes.int64),
    batch=_search_batch,
)


def _searches(r: Any) -> Any:
    for v in r.layouts(r.normal):
        yield (np.sort(r.normal(6)), v), {}
    yield (np.sort(r.integers(0, 5, 8)), r.integers(0, 5, 3, 4)), {"side": "right"}
    yield (r.normal(4)[:0], r.normal(3)), {}
    a = r.integers(0, 9, 6)
    yield (a, r.integers(0, 9, 4)), {"sorter": np.argsort(a)}


@operation(
    numpy="searchsorted", methods="searchsorted", oracle="searchsorted", samples=_searches, orders=0
)
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where to insert elements of v to keep `a` sorted: a[i-1] < v <= a[i], right: <= and <.

    int64, of v's shape. `sorter` is the order that sorts `a`.

    >>> searchsorted([1.0, 2.0, 3.0], 2.5)
    tensor(2)
    """
    a = operand(a, (v,))
    v = operand(v, (a,))
    need(side in ("left", "right"), "searchsorted", side=side, want="'left' or 'right'",
         fix="side='left'", error=ValueError)  # fmt: skip
    need(a.ndim == 1, "searchsorted", a=a, want="a sorted array of one axis", fix="a.reshape(-1)",
         error=ValueError)  # fmt: skip
    a = a if sorter is None else take(a, sorter)
    return searchsorted_p.bind(a, v, right=side == "right")


def _digits(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x, np.asarray([-1.0, 0.0, 0.5, 2.0])), {}
    yield (r.integers(0, 5, 3, 4), np.asarray([4, 2, 1])), {"right": True}
    yield (r.normal(5), np.asarray([0.5, 0.0, -0.5])), {}


@operation(numpy="digitize", oracle="digitize", samples=_digits, orders=0)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the bin of every element: bins[i-1] <= x < bins[i], with `right` < and <=.

    Descending bins count from the other end. Raises `ValueError` unless the bins are monotonic.
    """
    x = operand(x, (), "digitize")
    need(x.dtype.kind != "c", "digitize", x=x, want="real numbers", fix="x.real",
         error=DTypeError)  # fmt: skip
    bins = operand(bins, (x,))
    need(bins.ndim == 1, "digitize", bins=bins, want="bins of one axis", fix="bins.reshape(-1)",
         error=ValueError)  # fmt: skip
    side = "left" if right else "right"
    if bins.level:  # their values may not be at hand
        falling = bins.size - searchsorted(bins[::-1], x, side)
        return select(bins[-1] >= bins[0], searchsorted(bins, x, side), falling)
    edges = bins.value()
    rising = bool((edges[1:] >= edges[:-1]).all())
    need(rising or bool((edges[1:] <= edges[:-1]).all()), "digitize", bins=bins,
         want="monotonic bins", fix="np.sort(bins)", error=ValueError)  # fmt: skip
    if rising:
        return searchsorted(bins, x, side)
    return bins.size - searchsorted(bins[::-1], x, side)


# -- how many ----------------------------------------------------------------------------------


def _gathered(places: Any, weights: Any, size: int) -> Any:
    """Σ of the weights at each of `size` places; counts without weights."""
    places = reshape(places, (-1,))
    if weights is None:
        weights = ones(places.shape, dtype=dtypes.int64, device=places.device)
    index = reshape(places, (1, places.size))
    return scatter_add_p.bind(weights, index, axes=(0,), at=0, shape=(size,))


def _counts(r: Any) -> Any:
    for size, more in ((5, 0), (0, 0), (0, 3), (1, 0), (7, 9)):
        yield (r.integers(0, 4, size),), {"minlength": more}
        if size:
            yield (r.integers(0, 4, size), r.normal(size)), {"minlength": more}
    yield (r.integers(0, 4, 12)[::2], r.normal(12)[::-2]), {}


@operation(numpy="bincount", oracle="bincount", samples=_counts)
def bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    """How often each of 0, 1, 2 ... occurs in x, int64; with weights their sums, float64.

    Raises `ValueError` for negative numbers, `DTypeError` for what is no integer.

    >>> bincount([0, 2, 2])
    tensor([1, 0, 2])
    """
    x = operand(x)
    need(x.dtype.kind in "biu" or not x.size, "bincount", x=x, want="integers",
         fix="x.astype(int)", error=DTypeError)  # fmt: skip
    need(x.ndim == 1, "bincount", x=x, want="one axis", fix="x.reshape(-1)", error=ValueError)
    values = concrete("bincount", x)
    low, high = (int(values.min()), int(values.max())) if x.size else (0, -1)
    need(low >= 0, "bincount", x=x, want="numbers of 0 or more", fix="x - x.min()",
         error=ValueError)  # fmt: skip
    if weights is not None and x.size:
        weights = operand(weights, (x,))
        need(weights.dtype.kind != "c", "bincount", weights=weights, want="real weights",
             fix="the real and imaginary parts, one by one", error=DTypeError)  # fmt: skip
        need(weights.shape == x.shape, "bincount", x=x, weights=weights, want="a weight each",
             fix="broadcast_to", error=ValueError)  # fmt: skip
        weights = astype(weights, dtypes.float64, copy=False)
    places = astype(x, dtypes.int64, copy=False)
    size = high + 1 if high + 1 > minlength else minlength
    return _gathered(places, weights if x.size else None, size)


# -- histograms --------------------------------------------------------------------------------


def _number_of_bins(op: str, a: Any, bins: Any, span: Any, weights: Any) -> int:
    """The number of bins, also by one of NumPy's estimators."""
    if not isinstance(bins, str):
        return int(bins)
    values = concrete(op, a)
    if not isinstance(values, np.ndarray):
        raise DeviceError(
            f"{op}: got bins={bins!r} for a tensor on {a.device}, expected a number of bins (the "
            "estimators run on the host); try bins=10"
        )
    need(weights is None, op, bins=bins, want="no weights where the number of bins is estimated",
         fix="bins=10", error=TypeError)  # fmt: skip
    return len(np.histogram_bin_edges(values, bins, span)) - 1


def _span(op: str, a: Any, span: Any) -> tuple[Any, Any]:
    """The first and the last edge of equal bins: given, or those of the data."""
    if span is not None:
        low, high = (operand(s, near=a) for s in span)
        if not (low.level or high.level):
            need(low <= high, op, range=span, want="low <= high", fix="the other way round",
                 error=ValueError)  # fmt: skip
    elif not a.size:
        low, high = operand(0.0, near=a), operand(1.0, near=a)
    else:
        low, high = min(a), max(a)
    half = 0.5 * astype(low == high, dtypes.inexact(low.dtype))
    return low - half, high + half


def _edges(op: str, a: Any, bins: Any, span: Any, weights: Any) -> Any:
    """The edges of the bins of the elements of `a`."""
    if not isinstance(bins, str | int | np.integer) and not (
        isinstance(bins, Tensor | np.ndarray) and not bins.ndim
    ):
        edges = operand(bins, near=a)
        need(edges.ndim == 1, op, bins=bins, want="a number, or edges on one axis", fix="bins=10",
             error=ValueError)  # fmt: skip
        found = concrete(op, edges) if not edges.level else None
        need(found is None or bool((found[1:] >= found[:-1]).all()), op, bins=edges,
             want="ascending edges", fix="np.sort(bins)", error=ValueError)  # fmt: skip
        return edges
    count = _number_of_bins(op, a, bins, span, weights)
    need(count >= 1, op, bins=bins, want="one bin at least", fix="bins=10", error=ValueError)
    low, high = _span(op, a, span)
    k = arange(count + 1, dtype=dtypes.inexact(high.dtype), device=a.device)
    found = select(k == count, high, k * ((high - low) / count) + low)
    return astype(found, dtypes.inexact(a.dtype), copy=False)


def _places(x: Any, edges: Any) -> Any:
    """The number of the bin of every element; that of one too many for what lies outside."""
    count = edges.shape[0] - 1
    x = astype(x, dtypes.result_type(x.dtype, edges.dtype), copy=False)
    found = searchsorted(edges, x, "right") - 1
    found = select(x == edges[-1], count - 1, found)
    return select(found < 0, count, found)


def _near(r: Any, *shape: int) -> Any:
    """Numbers well inside bins of length 1 from 0."""
    return r.integers(0, 4, *shape) + r.uniform(0.2, 0.8, *shape)


def _four(r: Any) -> Any:
    """Numbers away from the middle of their span."""
    return np.asarray([3.0, 0.0, 4.0, 1.0]) + r.uniform(-0.1, 0.1, 4)


def _bins(r: Any) -> Any:
    edges = np.arange(5.0)
    for shape in ((7,), (3, 4), (0,), (2, 3, 2)):
        yield (_near(r, *shape), edges), {}
        yield (_near(r, *shape), edges, None, False, r.uniform(0.5, 2, *shape)), {}
    yield (_near(r, 9), edges), {"density": True}
    yield (_four(r), 2), {}
    yield (_four(r), 2, None, True, r.uniform(0.5, 2, 4)), {}
    yield (_near(r, 4, 3).T, edges), {}


@operation(numpy="histogram", oracle="histogram", samples=_bins)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """(counts, edges): how many elements fall into each bin, or the sum of their weights.

    `bins`: how many of equal length over the range (of the data, else), one of NumPy's estimators,
    or the edges; the last bin has both. `density` divides by the lengths and the total.

    >>> histogram([0.5, 1.5, 1.7], [0.0, 1.0, 2.0])
    (tensor([1, 2]), tensor([0., 1., 2.]))
    """
    a = operand(a)
    if a.dtype.kind == "b":
        a = astype(a, dtypes.uint8)
    if weights is not None:
        weights = operand(weights, (a,))
        need(weights.shape == a.shape, "histogram", a=a, weights=weights, want="a weight each",
             fix="broadcast_to", error=ValueError)  # fmt: skip
        weights = reshape(weights, (-1,))
    a = reshape(a, (-1,))
    edges = _edges("histogram", a, bins, range, weights)
    count = edges.shape[0] - 1
    found = _gathered(_places(a, edges), weights, count + 1)[:count]
    if density:
        found = found / (edges[1:] - edges[:-1]) / sum(found)
    return found, edges


def _edge_cases(r: Any) -> Any:
    for k, x in enumerate(r.layouts(r.apart)):
        if x.size and 0 not in x.strides:
            yield (x, 1 + k), {}
    yield (r.apart(7),), {}


@operation(numpy="histogram_bin_edges", oracle="histogram_bin_edges", samples=_edge_cases)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The edges of the bins that `histogram` makes."""
    a = reshape(operand(a), (-1,))
    return _edges("histogram_bin_edges", a, bins, range, weights)


def _tables(r: Any) -> Any:
    edges = [np.arange(5.0), np.arange(4.0)]
    for n in (7, 0, 12, 1):
        yield (_near(r, n, 2), edges, None, None, r.uniform(0.5, 2, n)), {}
    yield (_near(r, 9, 2), edges), {"density": True}
    yield (_near(r, 2, 6).T, edges), {"density": True}
    weights = r.uniform(0.5, 2, 4)
    yield (np.stack([_four(r), _four(r)], -1), 2, None, True, weights), {}
    yield (np.stack([_four(r), _four(r)], -1), [2, 1], None, None, weights), {}
    yield (np.stack([_four(r)] * 3, -1), (2, 1, 2), None, True, weights), {}


@operation(numpy="histogramdd", oracle="histogramdd", samples=_tables)
def histogramdd(
    sample: Any, bins: Any = 10, range: Any = None, density: Any = None, weights: Any = None
) -> Any:
    """(counts, edges): how many rows of the sample fall into each box, float64; edges per column.

    `bins` and `range` are for every column, or one for each; else as `histogram`.
    """
    columns = sample
    if not isinstance(sample, Sequence):
        sample = operand(sample)
        need(sample.ndim in (1, 2), "histogramdd", sample=sample, want="a row for each point",
             fix="sample.reshape(-1, columns)", error=ValueError)  # fmt: skip
        columns = (
            [sample[:, k] for k in np.arange(sample.shape[1])] if sample.ndim > 1 else [sample]
        )
    columns = [operand(c) for c in columns]
    each = bins if isinstance(bins, Sequence) else [bins] * len(columns)
    spans = [None] * len(columns) if range is None else range
    need(len(each) == len(columns), "histogramdd", bins=bins, columns=len(columns),
         want="bins for every column", fix="bins=10", error=ValueError)  # fmt: skip
    edges = [_edges("histogramdd", c, b, s, weights) for c, b, s in zip(columns, each, spans)]
    sizes = tuple(e.shape[0] for e in edges)
    places: Any = 0
    for column, edge in zip(columns, edges):
        places = places * edge.shape[0] + _places(column, edge)
    if weights is not None:
        weights = astype(operand(weights, (columns[0],)), dtypes.float64, copy=False)
    flat = astype(_gathered(places, weights, shapes.size(sizes)), dtypes.float64, copy=False)
    found = reshape(flat, sizes)[tuple(slice(0, -1) for _ in sizes)]
    if density:
        total = sum(found)
        for k, e in enumerate(edges):
            found = found / reshape(e[1:] - e[:-1], (-1,) + (1,) * (len(edges) - 1 - k))
        found = found / total
    return found, edges


def _planes(r: Any) -> Any:
    for (sample, *more), options in _tables(r):
        if sample.shape[1] == 2:
            yield (sample[:, 0].copy(), sample[:, 1].copy(), *more), options


@operation(numpy="histogram2d", oracle="histogram2d", samples=_planes)
def histogram2d(
    x: Any,
    y: Any,
    bins: Any = 10,
    range: Any = None,
    density: Any = None,
    weights: Any = None,
) -> Any:
    """(counts, x edges, y edges): how many points (x, y) fall into each box, float64."""
    x, y = operand(x, (), "histogram2d"), operand(y, (), "histogram2d")
    need(x.ndim == 1 and x.shape == y.shape, "histogram2d", x=x, y=y, want="two vectors alike",
         fix="x.reshape(-1), y.reshape(-1)", error=ValueError)  # fmt: skip
    both = isinstance(bins, Sequence) and len(bins) == 2
    one = not both and not isinstance(bins, int)
    found, edges = histogramdd(
        stack([x, y], -1), [bins, bins] if one else bins, range, density, weights
    )
    return found, edges[0], edges[1]
