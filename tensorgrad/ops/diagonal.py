"""The triangles and the diagonals of the matrices in an array, and matrices made of diagonals."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.backend.borders import diagonal_length
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import make
from tensorgrad.ops.axes import matrices, matrix, moveaxis
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.join import resize
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import astype, broadcast_to, ravel, reshape, whole
from tensorgrad.ops.slicing import unindex_p

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


def _rows(op: str, m: Any) -> Any:
    """Matrices; of a vector, NumPy takes a square of rows of it."""
    m = operand(m)
    m = broadcast_to(m, (m.size, m.size)) if m.ndim == 1 else m
    matrix(op, m)
    return m


def _triangles(r: Any) -> Any:
    yield from matrices(r)
    yield (r.normal(3),), {"k": 1}
    yield (r.normal(3, 4),), {"k": 1}
    yield (r.normal(3, 4),), {"k": -1}


@operation(numpy="tril", oracle="tril", samples=_triangles)
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangle of the last two axes, zeros above its diagonal `k`.

    >>> tril([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 0.],
            [3., 4.]])
    """
    return tril_p.bind(_rows("tril", m), k=k)


@operation(numpy="triu", oracle="triu", samples=_triangles)
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangle of the last two axes, zeros below its diagonal `k`."""
    return triu_p.bind(_rows("triu", m), k=k)


# -- diagonals ---------------------------------------------------------------------------------

diagonal_p: Primitive = primitive(
    "diagonal",
    nin=1,
    spec=lambda x, *, offset: Spec(
        (*x.shape[:-2], diagonal_length(x.shape[-2], x.shape[-1], offset)), x.dtype
    ),
    vjp=(lambda ct, out, x, *, offset: undiagonal_p.bind(ct, offset=offset, shape=x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, offset: diagonal_p.bind(inputs[0], offset=offset),
    view=True,
)

undiagonal_p: Primitive = primitive(
    "undiagonal",
    nin=1,
    spec=lambda ct, *, offset, shape: Spec(shape, ct.dtype),
    vjp=(lambda ct, out, x, *, offset, shape: diagonal_p.bind(ct, offset=offset),),
    linear=(0,),
    batch=lambda inputs, batched, *, offset, shape: undiagonal_p.bind(
        inputs[0], offset=offset, shape=(inputs[0].shape[0], *shape)
    ),
)


def _diagonals(r: Any) -> Any:
    yield from matrices(r)
    yield (r.normal(3, 4),), {"offset": 1}
    yield (r.normal(3, 4),), {"offset": -2}
    yield (r.normal(3, 4),), {"offset": 7}
    yield (r.normal(2, 3, 4),), {"axis1": 2, "axis2": 0, "offset": 1}


@operation(numpy="diagonal", methods="diagonal", oracle="diagonal", samples=_diagonals)
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of the matrices on two axes, as the last axis; `offset` > 0 lies above it.

    A read-only view.

    >>> diagonal([[1.0, 2.0], [3.0, 4.0]])
    tensor([1., 4.])
    """
    a = operand(a)
    matrix("diagonal", a)
    x = moveaxis(a, (axis1, axis2), (-2, -1))
    return diagonal_p.bind(x, offset=whole("diagonal", offset))


@operation(numpy="trace", methods="trace", oracle="trace", samples=_diagonals)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """The sum of the diagonal of the matrices on two axes."""
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype)


def _laid(v: Any, k: int) -> Any:
    """The square matrix with a vector on its diagonal k."""
    size = v.shape[0] + abs(k)
    return undiagonal_p.bind(v, offset=k, shape=(size, size))


def _vectors(r: Any) -> Any:
    for shape, k in (
        ((3,), 0), ((3,), 2), ((2,), -1), ((0,), 1), ((1,), 0), ((3, 4), 0), ((3, 4), -1),
        ((0, 3), 0), ((4, 3), 1),
    ):  # fmt: skip
        yield (r.normal(*shape),), {"k": k}
    yield (r.normal(6)[::2],), {}
    yield (r.normal(4, 3).T,), {"k": 1}


@operation(numpy="diag", oracle="diag", samples=_vectors)
def diag(v: Any, k: int = 0) -> Any:
    """The matrix with a vector on its diagonal k; of a matrix that diagonal, a read-only view.

    >>> diag([1.0, 2.0])
    tensor([[1., 0.],
            [0., 2.]])
    """
    v = operand(v)
    need(v.ndim in (1, 2), "diag", v=v, want="one axis, or two",
         fix="diagonal(v, axis1=-2, axis2=-1)")  # fmt: skip
    k = whole("diag", k)
    return _laid(v, k) if v.ndim == 1 else diagonal_p.bind(v, offset=k)


def _flat_vectors(r: Any) -> Any:
    yield from _vectors(r)
    yield (r.normal(),), {"k": -2}
    yield (r.normal(1, 2, 2),), {}


@operation(numpy="diagflat", oracle="diagflat", samples=_flat_vectors)
def diagflat(v: Any, k: int = 0) -> Any:
    """The matrix with the elements of an array, flat, on its diagonal k."""
    return _laid(ravel(v), whole("diagflat", k))


def _fill_oracle(a: Any, val: Any, wrap: bool = False) -> Any:
    found = a.copy()
    np.fill_diagonal(found, val, wrap)
    return found


def _filled(r: Any) -> Any:
    for shape, size, wrap in (
        ((3, 3), (), False), ((3, 4), (3,), False), ((5, 2), (2,), False), ((7, 2), (), True),
        ((3, 3, 3), (3,), False), ((4, 3), (2,), False), ((0, 3), (), False), ((1, 1), (1,), False),
        ((9, 3), (5,), True), ((3, 3), (2, 2), False),
    ):  # fmt: skip
        yield (r.normal(*shape), r.normal(*size)), {"wrap": wrap}
    yield (r.normal(4, 3).T, 2.5), {}


@operation(oracle=_fill_oracle, samples=_filled)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> Any:
    """A copy of `a` with `val` on its main diagonal, the values of an array one after the other.

    With `wrap` the diagonal of a tall matrix starts anew below its end. NumPy's function of this
    name writes in place; this one returns the result.
    """
    a = operand(a)
    need(a.ndim >= 2, "fill_diagonal", a=a, want="two axes at least", fix="atleast_2d(a)")
    square = a.ndim == 2 or len(set(a.shape)) == 1
    need(square, "fill_diagonal", a=a, want="axes of one length where there are more than two",
         fix="a matrix")  # fmt: skip
    columns, size, step = a.shape[1], a.size, 1
    for k in range(1, a.ndim):
        step += columns**k
    end = size if wrap or a.ndim > 2 else min(size, columns * columns)
    key = (slice(0, end, step),)
    count = len(range(0, end, step))
    flat = resize(astype(operand(val, (a,)), a.dtype, copy=False), (count,))
    full = base.of(a.value()).full
    there = unindex_p.bind(make(full((count,), True, np.bool_)), key=key, shape=(size,))
    values = unindex_p.bind(flat, key=key, shape=(size,))
    return where(reshape(there, a.shape), reshape(values, a.shape), a)
