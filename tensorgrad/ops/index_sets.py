"""Index arrays made from the shape of an array, or for an open mesh; constants."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.axes import matrix
from tensorgrad.ops.create import arange, tri
from tensorgrad.ops.index import nonzero
from tensorgrad.ops.shape import astype, reshape


def _squares(r: Any) -> Any:
    for shape in ((3, 3), (1, 1), (2, 2, 2), (4, 4), (5, 5), (2, 2), (3, 3, 3)):
        yield (r.normal(*shape),), {}
    yield (r.normal(3, 3).T,), {}


@operation(numpy="diag_indices_from", oracle="diag_indices_from", samples=_squares, orders=0)
def diag_indices_from(arr: Any) -> tuple[Tensor, ...]:
    """The indices of the main diagonal of an array whose axes have one length, one per axis."""
    a = operand(arr)
    need(a.ndim >= 2 and len(set(a.shape)) == 1, "diag_indices_from", arr=a,
         want="two axes at least, of one length", fix="diagonal(arr)",
         error=ValueError)  # fmt: skip
    return (arange(a.shape[0], device=a.device),) * a.ndim


def _matrices(r: Any) -> Any:
    for shape, k in (
        ((3, 3), 0), ((3, 4), 1), ((4, 3), -1), ((0, 3), 0), ((1, 1), 0), ((2, 5), 3), ((5, 2), -4),
    ):  # fmt: skip
        yield (r.normal(*shape),), {"k": k}
    yield (r.normal(4, 3).T,), {}


def _triangle(op: str, arr: Any, k: int, upper: bool) -> Any:
    a = operand(arr)
    matrix(op, a)
    need(a.ndim == 2, op, arr=a, want="two axes", fix="arr[0]", error=ValueError)
    lower = tri(*a.shape, k - 1 if upper else k, dtypes.bool_, device=a.device)
    return nonzero(~lower if upper else lower)


@operation(numpy="tril_indices_from", oracle="tril_indices_from", samples=_matrices, orders=0)
def tril_indices_from(arr: Any, k: int = 0) -> Any:
    """The row and column indices of a matrix on and below its diagonal k."""
    return _triangle("tril_indices_from", arr, k, False)


@operation(numpy="triu_indices_from", oracle="triu_indices_from", samples=_matrices, orders=0)
def triu_indices_from(arr: Any, k: int = 0) -> Any:
    """The row and column indices of a matrix on and above its diagonal k."""
    return _triangle("triu_indices_from", arr, k, True)


def _meshes(r: Any) -> Any:
    for lengths in ((3,), (3, 4), (1, 2), (2, 3, 4), (0, 2), (5, 1)):
        yield tuple(r.integers(0, 9, n) for n in lengths), {}
    yield (r.bools(4), r.integers(0, 9, 3)), {}
    yield (r.integers(0, 9, 6)[::2], r.bools(3)), {}


@operation(numpy="ix_", oracle="ix_", samples=_meshes, orders=0)
def ix_(*args: Any) -> tuple[Tensor, ...]:
    """Vectors as the indices of an open mesh: x[ix_(rows, columns)]; bools as the places of True.

    Raises `ShapeError` for what has not one axis.
    """
    found = []
    for k, given in enumerate(args):
        x: Any = operand(given)
        need(x.ndim == 1, "ix_", number=k, array=x, want="one axis", fix="x.reshape(-1)",
             error=ValueError)  # fmt: skip
        if x.dtype.kind == "b":
            x = nonzero(x)[0]
        elif not x.size:
            x = astype(x, dtypes.int64)
        found.append(reshape(x, (*(1,) * k, x.size, *(1,) * (len(args) - k - 1))))
    return tuple(found)
