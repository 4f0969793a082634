"""Numbers at equal distances or ratios between two ends, differentiable in the ends; grids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.backend import base as backend
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.core.watch import source
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.create import arange, leaf
from tensorgrad.ops.elementary import log10
from tensorgrad.ops.elementwise import floor, power, sign
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import astype, broadcast_to, expand_dims, reshape, whole

_PLAIN = (bool, int, float, complex)


def _count(op: str, num: Any) -> int:
    count: int = whole(op, num)
    need(count >= 0, op, num=num, want="num >= 0", fix="num=50", error=ValueError)
    return count


def _ends(op: str, *ends: Any) -> list[Any]:
    """The ends as tensors of the floating dtype that NumPy gives them together."""
    found = operands(ends, op)
    wide = dtypes.result_type(*(x.dtype for x in found), 0.0)
    return [astype(x, wide, copy=False) for x in found]


def _spaced(start: Any, stop: Any, num: int, endpoint: bool) -> tuple[Any, Any]:
    """(start + k step for k < num on a new first axis, step): exactly stop at the end."""
    parts = num - endpoint
    step = (stop - start) / parts if parts > 0 else (stop - start) * float("nan")
    k = arange(num, dtype=dtypes.real(start.dtype), device=start.device)
    found = start + reshape(k, (num, *(1,) * step.ndim)) * step if parts > 0 else (
        broadcast_to(start + 0 * stop, (num, *step.shape))
    )  # fmt: skip
    if endpoint and num > 1:
        last = broadcast_to(stop, (1, *step.shape))
        found = concatenate((found[:-1], last))
    return found, step


def _cast(found: Any, dtype: Any) -> Any:
    """Samples as another dtype; for integers rounded down, as NumPy has it."""
    if dtype is None:
        return found
    dtype = dtypes.dtype(dtype)
    whole_numbers = dtype.kind in "iu" and found.dtype.kind == "f"
    return astype(floor(found) if whole_numbers else found, dtype, copy=False)


def _even(r: Any) -> Iterator[Any]:
    for a, b, num in ((0, 1, 50), (0.0, 1.0, 5), (1, -1, 4), (2.0, 3.0, 1), (0, 1, 0), (-3, 3, 7)):
        yield (a, b, num), {}
    yield (0, 1, 4), {"endpoint": False}
    yield (0, 1j, 4), {"dtype": "complex64"}
    yield (-1, 6, 4), {"dtype": "int64"}
    yield from _between(r)


def _between(r: Any, low: float = 1, high: float = 3) -> Iterator[Any]:
    """Ends that are arrays, from `low` and `high` up."""

    def ends(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[Any, Any]:
        return r.uniform(low, low + 1, *one), r.uniform(high, high + 1, *other)

    yield (*ends((), ()), 4), {}
    yield (*ends((3,), (3,)), 4), {"axis": -1}
    yield (*ends((3, 1), (2,)), 4), {"endpoint": False, "axis": 1}
    yield (*ends((0, 2), (0, 2)), 4), {}
    yield (*ends((), (2,)), 1), {}
    a, b = ends((4, 3), (3, 4))
    yield (a.T, b, 4), {}


@operation(numpy="linspace", oracle="linspace", samples=_even)
def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Any:
    """`num` numbers from start to stop at equal distances, stop included unless told otherwise.

    Ends that are arrays broadcast, and the numbers lie along a new axis. retstep: also the step.

    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    num = _count("linspace", num)
    if not retstep and isinstance(start, _PLAIN) and isinstance(stop, _PLAIN):
        chosen = None if dtype is None else dtypes.dtype(dtype)
        spaced = source("linspace", backend.on(device).kernel("linspace"))
        return leaf(make(spaced(start, stop, num, endpoint, chosen)), requires_grad)
    a, b = _ends("linspace", start, stop)
    found, step = _spaced(a, b, num, endpoint)
    found = moveaxis(_cast(found, dtype), 0, axis)
    return (found, step) if retstep else found


def _powers(r: Any) -> Iterator[Any]:
    yield (0, 2, 5), {}
    yield (0, 3, 4), {"base": 2.0, "dtype": "float32"}
    yield (1, 3, 3), {"dtype": "int64"}
    yield from _between(r, -1, 0)
    yield (r.uniform(0, 1, 2), 2.0, 3, True, r.uniform(2, 3, 2)), {}


@operation(numpy="logspace", oracle="logspace", samples=_powers)
def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """base to the power of `num` numbers from start to stop at equal distances.

    >>> logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    num = _count("logspace", num)
    if not isinstance(base, _PLAIN) and operand(base).ndim:
        base = operand(base)
        room = max(operand(start).ndim, operand(stop).ndim, base.ndim)
        base = expand_dims(reshape(base, (*(1,) * (room - base.ndim), *base.shape)), axis)
        start, stop = (
            reshape(x, (*(1,) * (room - x.ndim), *x.shape)) for x in _ends("logspace", start, stop)
        )
    exponents = linspace(operand(start), stop, num, endpoint, axis=axis)
    return _cast(power(base, exponents), dtype)


def _ratios(r: Any) -> Iterator[Any]:
    yield (1, 1000, 4), {}
    yield (-2.0, -32.0, 5), {"endpoint": False}
    yield (1, 256, 9), {"dtype": "float32"}
    yield from _between(r)
    yield (r.uniform(1, 2, 2) + 1j, 3 + r.uniform(1, 2, 2) * 1j, 4), {}


@operation(numpy="geomspace", oracle="geomspace", samples=_ratios)
def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` numbers from start to stop, each the same multiple of the one before.

    Of complex ends, along the logarithmic spiral between them. Raises `ValueError` for an end at 0.

    >>> geomspace(1, 100, 3)
    tensor([  1.,  10., 100.])
    """
    num = _count("geomspace", num)
    a, b = _ends("geomspace", start, stop)
    for end in (a, b):
        some = end.level or bool((end.detach() != 0).all())
        need(some, "geomspace", end=end, want="ends that are not 0", fix="linspace",
             error=ValueError)  # fmt: skip
    side = sign(a)
    exponents, _ = _spaced(log10(a / side), log10(b / side), num, endpoint)
    found = power(10.0, exponents) * side
    ends = found.shape[1:]
    if num > 1 and endpoint:
        found = concatenate((found[:-1], broadcast_to(b, (1, *ends))))
    if num:
        found = concatenate((broadcast_to(a, (1, *ends)), found[1:]))
    return moveaxis(_cast(found, dtype or dtypes.result_type(found.dtype, dtypes.float64)), 0, axis)


# -- grids -------------------------------------------------------------------------------------


def _grids(r: Any) -> Any:
    x, y, z = r.normal(3), r.normal(2), r.normal(4)
    yield (x,), {}
    yield (x, y), {}
    yield (x, y), {"indexing": "ij"}
    yield (x, y, z), {}
    yield (x, y, z), {"indexing": "ij", "sparse": True}
    yield (x, y), {"sparse": True}
    yield (r.normal(0), y), {}
    yield (r.normal(), y), {}
    yield (r.normal(6)[::2], y), {}


@operation(numpy="meshgrid", oracle="meshgrid", samples=_grids)
def meshgrid(
    *xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy"
) -> tuple[Tensor, ...]:
    """The coordinates of a grid, one tensor per vector; "xy" exchanges the first two axes.

    An array of more axes counts as the vector of its elements. sparse leaves the axes that do not
    vary at length 1. copy=False gives read-only views.
    """
    op = "meshgrid"
    need(indexing in ("xy", "ij"), op, indexing=indexing, want='"xy" or "ij"', fix='"ij"')
    vectors: list[Any] = [operand(x, xi, op) for x in xi]
    order = list(range(len(xi)))
    if indexing == "xy" and len(xi) > 1:
        order[:2] = 1, 0
    shape = tuple(vectors[k].size for k in order)
    found = []
    for k, x in enumerate(vectors):
        at = order.index(k)
        thin = x.reshape((*(1,) * at, x.size, *(1,) * (len(xi) - at - 1)))
        wide = thin if sparse else thin.broadcast_to(shape)
        found.append(wide.copy() if copy and not sparse else wide)
    return tuple(found)
