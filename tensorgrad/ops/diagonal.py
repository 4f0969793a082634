"""The triangles and the diagonals of the matrices in an array."""

from __future__ import annotations

from typing import Any

from tensorgrad.core.primitive import Primitive, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import matrices, matrix, moveaxis
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import reshape
from tensorgrad.ops.slicing import index_p

# -- triangles --------------------------------------------------------------------------------


def _triangle(name: str) -> Any:
    found: Primitive = primitive(
        name,
        nin=1,
        spec=lambda x, *, k: x,
        vjp=(lambda ct, out, x, *, k: found.bind(ct, k=k),),
        linear=(0,),
        batch=lambda inputs, batched, *, k: found.bind(inputs[0], k=k),
    )
    return found


tril_p, triu_p = _triangle("tril"), _triangle("triu")


def _triangles(r: Any) -> Any:
    yield from matrices(r)
    yield (r.normal(3, 4),), {"k": 1}
    yield (r.normal(3, 4),), {"k": -1}


@operation(numpy="tril", oracle="tril", samples=_triangles)
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle of the last two axes, zeros above its diagonal `k`.

    >>> tril([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 0.],
            [3., 4.]])
    """
    m = operand(m)
    matrix("tril", m)
    return tril_p.bind(m, k=k)


@operation(numpy="triu", oracle="triu", samples=_triangles)
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle of the last two axes, zeros below its diagonal `k`."""
    m = operand(m)
    matrix("triu", m)
    return triu_p.bind(m, k=k)


# -- diagonals ---------------------------------------------------------------------------------


def _diagonals(r: Any) -> Any:
    yield from matrices(r)
    yield (r.normal(3, 4),), {"offset": 1}
    yield (r.normal(3, 4),), {"offset": -2}
    yield (r.normal(3, 4),), {"offset": 7}
    yield (r.normal(2, 3, 4),), {"axis1": 2, "axis2": 0, "offset": 1}


@operation(numpy="diagonal", methods="diagonal", oracle="diagonal", samples=_diagonals)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of the matrices on two axes, as the last axis; `offset` > 0 lies above it.

    >>> diagonal([[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    a = operand(a)
    matrix("diagonal", a)
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    *lead, rows, columns = x.shape
    first = offset if offset >= 0 else -offset * columns
    count = min(rows + min(offset, 0), columns - max(offset, 0))
    # Row-major, the diagonal is every (columns + 1)th element: a slice instead of a gather.
    steps = slice(first, first + (count - 1) * (columns + 1) + 1, columns + 1)
    flat = reshape(x, (*lead, rows * columns))
    return index_p.bind(flat, key=(Ellipsis, steps if count > 0 else slice(0, 0)))


@operation(numpy="trace", methods="trace", oracle="trace", samples=_diagonals)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """The sum of the diagonal of the matrices on two axes."""
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype)
