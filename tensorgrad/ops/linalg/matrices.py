"""What the rules of linear algebra share: adjoints, triangles, diagonals, quotients by gaps."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, GradientError, ShapeError, need
from tensorgrad.core.autocast import CASTS, cast
from tensorgrad.core.primitive import PRIMITIVES, operand
from tensorgrad.core.tensor import Payload
from tensorgrad.ops.axes import matrix_transpose
from tensorgrad.ops.complex import conj
from tensorgrad.ops.create import eye
from tensorgrad.ops.diagonal import diagonal, tril_p, triu_p
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.shape import astype


def matrices(op: str, a: Any, square: bool = False) -> Any:
    """`a` as a stack of floating matrices, of at least 32 bits as in NumPy."""
    a = operand(a, (), op)
    need(a.ndim >= 2, op, a=a, want="a matrix, or a stack of them", fix="a[None]", error=ShapeError)
    if square:
        need(a.shape[-1] == a.shape[-2], op, a=a, want="square matrices", fix="a.mT @ a",
             error=ShapeError)  # fmt: skip
    if CASTS:
        (a,) = cast(PRIMITIVES["inv"], (a,))
    need(not dtypes.is_half(a.dtype), op, a=a, want="32 bits at least", fix="a.astype('float32')",
         error=DTypeError)  # fmt: skip
    return a if dtypes.is_inexact(a.dtype) else astype(a, dtypes.float64)


def adjoint(x: Any) -> Any:
    """The conjugate transpose of each matrix."""
    return matrix_transpose(conj(x))


def one(x: Any) -> Any:
    """The identity of the order of the square matrices x."""
    return eye(x.shape[-1], dtype=dtypes.real(x.dtype), device=x.device)


def mirrored(a: Any, upper: bool = False) -> Any:
    """The Hermitian matrices whose lower (upper) triangle `a` has: all that LAPACK reads of it."""
    strict = triu_p.bind(a, k=1) if upper else tril_p.bind(a, k=-1)
    middle = a * one(a)
    if a.dtype.kind == "c":
        middle = astype(middle.real, a.dtype)
    return strict + adjoint(strict) + middle


def columns(x: Any, factors: Any) -> Any:
    """x diag(factors)."""
    return x * factors[..., None, :]


def diagonals(x: Any) -> Any:
    """The diagonal of each matrix, as the last axis."""
    return diagonal(x, 0, -2, -1)


def by_gaps(op: str, x: Any, gaps: Any, scale: Any, degenerate: str, asked: Any = True) -> Any:
    """x / gaps, x being what a gradient asks of the vectors, 0 where a gap is 0 to rounding.

    Such a gap (below n eps of `scale`, the largest value) is that of equal values, whose vectors
    are not determined. Even 0 / 0 there may stand for a number, so that where the vectors are
    `asked` for at all it raises `GradientError`, unless `degenerate` is "mask".
    """
    equal = abs(gaps) <= x.shape[-1] * dtypes.eps(x.dtype) * scale
    if degenerate != "mask" and x.size:
        clash = (equal & asked).any()
        if readable(clash) and bool(clash):
            raise GradientError(
                f"{op}: got values that are equal (or zero), so that their vectors are not "
                "determined, in a gradient that goes through the vectors, expected distinct ones; "
                f"try a function of the values alone, or tg.linalg.{op}(a, degenerate='mask') "
                "where the function does not tell such vectors apart"
            )
    return where(equal, 0, x / where(equal, 1, gaps))


def pairs(*cts: Any) -> Any:
    """The pairs of two different columns of which one at least has a cotangent."""
    touched: Any = False
    for ct in cts:
        if ct is not None:
            touched = touched | (ct.detach() != 0).any(axis=-2)
    alike = eye(touched.shape[-1], device=touched.device)
    return (touched[..., None, :] | touched[..., :, None]) & (alike == 0)


def chosen(op: str, degenerate: str) -> str:
    """The choice for equal values, checked."""
    need(degenerate in ("raise", "mask"), op, degenerate=degenerate, want="'raise' or 'mask'",
         fix="degenerate='mask'", error=ValueError)  # fmt: skip
    return degenerate


def readable(x: Any) -> bool:
    """Whether a value can be read: not one with a batch hidden in it."""
    data = x.data
    while isinstance(data, Payload):
        if not data.readable:
            return False
        data = data.inner.data
    return True
