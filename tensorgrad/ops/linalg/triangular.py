"""Triangular systems of equations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, Wanted, operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tape import Node
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.axes import matrix_transpose
from tensorgrad.ops.complex import conj
from tensorgrad.ops.diagonal import tril_p, triu_p
from tensorgrad.ops.linalg.matrices import adjoint, matrices
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import all_batched, astype, broadcast_to

CODES: dict[Any, str] = {0: "N", 1: "T", 2: "C", "N": "N", "T": "T", "C": "C"}


def _part(x: Any, lower: bool, unit: bool) -> Any:
    """The triangle that is read."""
    return tril_p.bind(x, k=-1 if unit else 0) if lower else triu_p.bind(x, k=1 if unit else 0)


def _back(ct: Any, a: Any, code: str, **how: bool) -> Any:
    """The solution of op(a)^H y = ct."""
    if code == "T":
        return conj(triangular_p.bind(a, conj(ct), code="N", **how))
    return triangular_p.bind(a, ct, code="C" if code == "N" else "N", **how)


def _moved(y: Any, x: Any, code: str) -> Any:
    """-y x^H as the cotangent of a where op(a) x = b, the triangle aside."""
    if code == "N":
        return -matmul(y, adjoint(x))
    return -matmul(x, adjoint(y)) if code == "C" else -matmul(conj(x), matrix_transpose(y))


def _vjp_a(ct: Any, out: Any, a: Any, b: Any, *, code: str, lower: bool, unit: bool) -> Any:
    y = _back(ct, a, code, lower=lower, unit=unit)
    return _part(_moved(y, out, code), lower, unit)


def _vjp_b(ct: Any, out: Any, a: Any, b: Any, *, code: str, lower: bool, unit: bool) -> Any:
    return _back(ct, a, code, lower=lower, unit=unit)


def _jvp_a(t: Any, out: Any, a: Any, b: Any, *, code: str, lower: bool, unit: bool) -> Any:
    t = _part(t, lower, unit)
    moved = t if code == "N" else matrix_transpose(t) if code == "T" else adjoint(t)
    return -triangular_p.bind(a, matmul(moved, out), code=code, lower=lower, unit=unit)


def _batch(inputs: Sequence[Any], batched: Sequence[bool], **how: Any) -> Any:
    return triangular_p.bind(*all_batched(inputs, batched), **how)


class Triangular(Primitive):
    """A triangular system: both cotangents come from one further solution."""

    def vjp(self, node: Node, ct: Any, wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        x, (a, _) = self.given(node)
        code, lower, unit = ((node.params or {})[name] for name in ("code", "lower", "unit"))
        y = _back(ct, a, code, lower=lower, unit=unit)
        return [(k, y if k else _part(_moved(y, x, code), lower, unit)) for k in wanted]


triangular_p: Primitive = known(
    Triangular(
        "triangular",
        nin=2,
        spec=lambda a, b, *, code, lower, unit: Spec(b.shape, dtypes.result_type(a.dtype, b.dtype)),
        vjp=(_vjp_a, _vjp_b),
        jvp=(_jvp_a, None),
        linear=(1,),
        reads=((0, 2), (0,)),
        batch=_batch,
    )
)
"""x of op(a) x = b for a (..., n, n) and b (..., n, k) of one dtype and equal leading axes."""


def systems(op: str, a: Any, b: Any) -> tuple[Any, Any, bool]:
    """Matrices and right-hand sides with equal leading axes and dtype; whether b was a vector."""
    a, b = operand(a, (b,), op), operand(b, (a,), op)
    a = matrices(op, a, square=True)
    vector = b.ndim == 1
    need(b.ndim >= 1, op, b=b, want="one axis at least", fix="b[None]", error=ShapeError)
    b = b[:, None] if vector else b
    need(b.shape[-2] == a.shape[-1], op, a=a, b=b, want="as many rows in b as in a",
         fix="b[..., None] where b holds a vector for each matrix", error=ShapeError)  # fmt: skip
    dtype = dtypes.result_type(a.dtype, b.dtype)
    lead = shapes.broadcast(a.shape[:-2], b.shape[:-2], op=op)
    a, b = astype(a, dtype, copy=False), astype(b, dtype, copy=False)
    return (
        broadcast_to(a, (*lead, *a.shape[-2:])),
        broadcast_to(b, (*lead, *b.shape[-2:])),
        vector,
    )


def _triangular_samples(r: Any) -> Any:
    def draw(*shape: int) -> Any:
        return r.normal(*shape) * 0.3 + np.eye(shape[-1]) * 2

    for a, b in (((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 1)),
                 ((2, 1, 2, 2), (3, 2, 2)), ((1, 1), (1,)), ((0, 2, 2), (0, 2, 1))):  # fmt: skip
        yield (draw(*a), r.normal(*b)), {"lower": len(b) > 1}
    yield (draw(3, 3).T, r.normal(2, 3).T), {"trans": 1, "unit_diagonal": True}
    yield (draw(3, 3), r.normal(3)), {"trans": "T", "lower": True}
    a, b = draw(3, 3) + 0.3j * r.normal(3, 3), r.normal(3, 2) + 1j * r.normal(3, 2)
    for trans in (0, 1, 2):
        yield (a, b), {"trans": trans, "lower": trans == 1}


def _oracle(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    if a.dtype == np.float16:
        raise TypeError("LAPACK has no 16-bit floats")
    part = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        part = part - part * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    turned = np.swapaxes(part, -1, -2)
    matrix = {"N": part, "T": turned, "C": turned.conj()}[CODES[trans]]
    return np.linalg.solve(matrix, b)


@operation(oracle=_oracle, samples=_triangular_samples, namespace="linalg")
def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """x of op(A) x = b, A triangular: (..., n, n) and (n,) or (..., n, k).

    `trans`: op(A) is A (0, "N"), its transpose (1, "T") or its adjoint (2, "C"). What is not in the
    triangle is not read and has gradient 0; so has the diagonal with `unit_diagonal`, where it
    counts as 1. A diagonal with a zero gives infinities.
    """
    need(trans in CODES, "solve_triangular", trans=trans, want="0, 1, 2, 'N', 'T' or 'C'",
         fix="trans=0", error=ValueError)  # fmt: skip
    a, b, vector = systems("solve_triangular", a, b)
    found = triangular_p.bind(a, b, code=CODES[trans], lower=lower, unit=unit_diagonal)
    return found[..., 0] if vector else found
