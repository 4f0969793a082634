"""Systems of linear equations and inverses.

From A x = b: dx = A^-1 (db - dA x), and with y = A^-H ct the cotangents are y of b and -y x^H of A.
The factors of A (LAPACK's packed LU and its pivots) are functions of A that no derivative goes
through: every rule of a solution is again a solution with the same factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, Wanted, operand
from tensorgrad.core.registry import known, operation, primitive
from tensorgrad.core.tape import Node
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.linalg.matrices import adjoint, matrices
from tensorgrad.ops.linalg.triangular import systems
from tensorgrad.ops.products import matmul
from tensorgrad.ops.shape import all_batched, broadcast_to, reshape

KEPT = 32
"""The order from which on factors are kept: below, NumPy's loop over a stack is faster."""

# -- the primitives ----------------------------------------------------------------------------

factors_p: Primitive = primitive(
    "lu_packed",
    nin=1,
    nout=2,
    spec=lambda a, *, strict: (a, Spec(a.shape[:-1], dtypes.dtype("int32"))),
    batch=lambda inputs, batched, *, strict: factors_p.bind(*inputs, strict=strict),
)
"""The LU factors of each transposed matrix in one, and LAPACK's pivots: constants.

A singular matrix raises if `strict`.
"""


def factors(a: Any, strict: bool) -> tuple[Any, ...]:
    """The factors of matrices that are worth keeping, or none."""
    keep = a.shape[-1] >= KEPT and a.device == "cpu" and a.size
    return factors_p.bind(a, strict=strict) if keep else ()


def _again(a: Any, b: Any, factors: Sequence[Any], adjoint: bool) -> Any:
    """x of A x = b, or of A^H x = b, with the factors of A where there are some."""
    return (factored_p if factors else solve_p).bind(a, b, *factors, adjoint=adjoint)


def _moved(y: Any, x: Any, adjointed: bool) -> Any:
    return -matmul(x, adjoint(y)) if adjointed else -matmul(y, adjoint(x))


class Solution(Primitive):
    """x of A x = b, or A^H x = b: both cotangents come from one further solution."""

    def vjp(self, node: Node, ct: Any, wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        x, (a, _, *factors) = self.given(node)
        adjointed = node.params["adjoint"]  # type: ignore[index]
        y = _again(a, ct, factors, not adjointed)
        return [(k, y if k else _moved(y, x, adjointed)) for k in wanted]


def _vjp_a(ct: Any, out: Any, a: Any, b: Any, *factors: Any, adjoint: bool) -> Any:
    return _moved(_again(a, ct, factors, not adjoint), out, adjoint)


def _vjp_b(ct: Any, out: Any, a: Any, b: Any, *factors: Any, adjoint: bool) -> Any:
    return _again(a, ct, factors, not adjoint)


def _jvp_a(t: Any, out: Any, a: Any, b: Any, *factors: Any, adjoint: bool) -> Any:
    moved = matmul(t.mT.conj() if adjoint else t, out)
    return -_again(a, moved, factors, adjoint)


def _batch(inputs: Sequence[Any], batched: Sequence[bool], *, adjoint: bool) -> Any:
    a, b, *factors = inputs
    if batched[0] or any(batched[2:]):
        a, b, *factors = all_batched(inputs, batched)
        return _again(a, b, factors, adjoint)
    wide = moveaxis(b, 0, -2)  # one matrix, and the batch beside its columns
    found = _again(a, reshape(wide, (*wide.shape[:-2], -1 if b.size else 0)), factors, adjoint)
    return moveaxis(reshape(found, wide.shape), -2, 0)


def _solution(name: str, nin: int) -> Primitive:
    rest = tuple(range(2, nin))
    return known(  # type: ignore[no-any-return]
        Solution(
            name,
            nin=nin,
            spec=lambda a, b, *factors, adjoint: b,
            vjp=(_vjp_a, _vjp_b),
            jvp=(_jvp_a, None),
            linear=(1,),
            reads=((0, *rest, nin), (0, *rest)),
            batch=_batch,
        )
    )


solve_p = _solution("solve", 2)
factored_p = _solution("solve_factored", 4)
"""Both for A (..., n, n) and b (..., n, k) of one dtype and equal leading axes."""


def _inverse_ct(ct: Any, out: Any, *_: Any, **how: Any) -> Any:
    return -matmul(adjoint(out), matmul(ct, adjoint(out)))


def _inverse_tangent(t: Any, out: Any, *_: Any, **how: Any) -> Any:
    return -matmul(out, matmul(t, out))


inv_p: Primitive = primitive(
    "inv",
    nin=1,
    spec=lambda a, *, strict: a,
    vjp=(_inverse_ct,),
    jvp=(_inverse_tangent,),
    reads=((1,),),
    batch=lambda inputs, batched, *, strict: inv_p.bind(*inputs, strict=strict),
)
"""A^-1; NaNs for a singular matrix unless `strict`, which raises."""

inv_factored_p: Primitive = primitive(
    "inv_factored",
    nin=3,
    spec=lambda a, lu, pivots: a,
    vjp=(_inverse_ct,),
    jvp=(_inverse_tangent,),
    reads=((3,),),
    batch=lambda inputs, batched: inv_factored_p.bind(*all_batched(inputs, batched)),
)
"""A^-1 from the factors of A."""


def inverse(a: Any, kept: Sequence[Any]) -> Any:
    """A^-1, with the factors of A where there are some."""
    return inv_factored_p.bind(a, *kept) if kept else inv_p.bind(a, strict=True)


# -- samples -----------------------------------------------------------------------------------


def well(r: Any, *shape: int) -> Any:
    """Well-conditioned matrices."""
    return r.normal(*shape) * 0.3 + np.eye(shape[-1]) * 2


def squares(r: Any) -> Any:
    """Square matrices in ten layouts."""
    for shape in ((3, 3), (1, 1), (2, 2), (2, 3, 3), (0, 2, 2), (1, 2, 2, 2), (0, 0)):
        yield (well(r, *shape),), {}
    yield (well(r, 3, 3).T,), {}
    yield (well(r, 6, 3, 3)[::2],), {}
    yield (np.broadcast_to(well(r, 3, 3), (2, 3, 3)),), {}
    yield (well(r, 3, 3) + 0.3j * r.normal(3, 3),), {}


def _systems(r: Any) -> Any:
    for a, b in (((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 1)),
                 ((2, 1, 2, 2), (3, 2, 2)), ((1, 1), (1,)), ((0, 2, 2), (0, 2, 1)),
                 ((2, 3, 3), (3,))):  # fmt: skip
        yield (well(r, *a), r.normal(*b)), {}
    yield (well(r, 3, 3).T, r.normal(2, 3).T), {}
    yield (well(r, 3, 3) + 0.3j * r.normal(3, 3), r.normal(3, 2)), {}
    yield (well(r, KEPT, KEPT) + KEPT / 4 * np.eye(KEPT), r.normal(KEPT, 2)), {}


# -- the operations ----------------------------------------------------------------------------


def solution(a: Any, b: Any, adjoint: bool = False) -> Any:
    """x of A x = b for matrices of one dtype, the leading axes of a being 1 or those of b."""
    lead = b.shape[:-2]
    if a.ndim == 2 and lead:  # one matrix: the stack of right-hand sides beside each other
        wide = moveaxis(b, -2, 0)
        found = solution(a, reshape(wide, (wide.shape[0], shapes.size(wide.shape[1:]))), adjoint)
        return moveaxis(reshape(found, wide.shape), 0, -2)
    kept = factors(a, strict=True)
    if a.shape[:-2] != lead:
        a = broadcast_to(a, (*lead, *a.shape[-2:]))
        kept = tuple([broadcast_to(f, (*lead, *f.shape[k - 2 :])) for k, f in enumerate(kept)])
    return _again(a, b, kept, adjoint)


@operation(
    numpy="linalg.solve",
    oracle="linalg.solve",
    samples=_systems,
    namespace="linalg",
)
def solve(a: Any, b: Any) -> Any:
    """x of A x = b for (..., n, n) and (n,) or (..., n, k); leading axes broadcast.

    The factors of A are kept and serve its derivatives. A singular A raises
    `numpy.linalg.LinAlgError` (on a GPU, where nothing waits for the result, it gives infinities).

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0])
    tensor([1. , 0.5])
    """
    one, many, vector = systems("solve", a, b)
    return solution(one, many)[..., 0] if vector else solution(one, many)


@operation(numpy="linalg.inv", oracle="linalg.inv", samples=squares, namespace="linalg")
def inv(a: Any) -> Any:
    """A^-1 for matrices (..., n, n); a singular one raises `numpy.linalg.LinAlgError`.

    `solve(a, b)` is twice as fast as `inv(a) @ b`, and errs less.
    """
    return inv_p.bind(matrices("inv", a, square=True), strict=True)


def _tensor_samples(r: Any) -> Any:
    def draw(shape: tuple[int, ...], n: int) -> Any:
        return (r.normal(n, n) * 0.3 + np.eye(n) * 2).reshape(shape)

    for shape, n, axes in (
        ((2, 3, 6), 6, None), ((6, 2, 3), 6, None), ((4, 4), 4, None), ((2, 2, 2, 2), 4, None),
        ((1, 1), 1, None), ((4, 2, 2), 4, None), ((2, 2, 4), 4, None),
    ):  # fmt: skip
        split = next(k for k in range(len(shape)) if np.prod(shape[:k]) == n or n == k == 1)
        yield (draw(shape, n), r.normal(*shape[:split])), {"axes": axes}
    moved = np.moveaxis(draw((2, 3, 3, 2), 6), 2, 0)
    yield (moved, r.normal(2, 3)), {"axes": (0,)}
    yield (draw((2, 3, 6), 6) + 0.2j * r.normal(2, 3, 6), r.normal(2, 3)), {}


@operation(
    numpy="linalg.tensorsolve",
    oracle="linalg.tensorsolve",
    samples=_tensor_samples,
    namespace="linalg",
)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """x of tensordot(a, x, x.ndim) = b; the axes `axes` of a are moved to its end first.

    a has b's shape and then x's, of as many elements. Raises `ShapeError` otherwise.
    """
    a, b = operand(a, (b,), "tensorsolve"), operand(b, (a,), "tensorsolve")
    if axes is not None:
        last = [shapes.axis_index(k, a.ndim, "tensorsolve") for k in axes]
        a = a.transpose((*[k for k in range(a.ndim) if k not in last], *last))
    shape = a.shape[b.ndim :]
    need(b.size == shapes.size(shape) and a.size == b.size**2, "tensorsolve", a=a, b=b,
         want="a of b's shape, followed by x's of as many elements", fix="axes=",
         error=ShapeError)  # fmt: skip
    return reshape(solve(reshape(a, (b.size, b.size)), reshape(b, (b.size,))), shape)


def _inverses(r: Any) -> Any:
    for shape, ind in (((2, 3, 6), 2), ((6, 2, 3), 1), ((2, 2, 2, 2), 2), ((3, 3), 1),
                       ((1, 1), 1), ((2, 2, 1, 4), 2), ((4, 2, 2), 1)):  # fmt: skip
        n = int(np.prod(shape[:ind]))
        yield (well(r, n, n).reshape(shape), ind), {}
    yield (well(r, 6, 6).reshape(3, 2, 6).transpose(1, 0, 2),), {"ind": 2}
    yield ((well(r, 4, 4) + 0.3j * r.normal(4, 4)).reshape(2, 2, 2, 2),), {}


@operation(
    numpy="linalg.tensorinv",
    oracle="linalg.tensorinv",
    samples=_inverses,
    namespace="linalg",
)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of b -> tensordot(a, b): its first axes are the last of a, those from `ind` on.

    Raises `ShapeError` unless the first `ind` axes have as many elements as the others.
    """
    a = operand(a, (), "tensorinv")
    need(ind > 0, "tensorinv", ind=ind, want="a positive number of axes", fix="ind=1",
         error=ValueError)  # fmt: skip
    n = shapes.size(a.shape[:ind])
    need(n * n == a.size, "tensorinv", a=a, ind=ind, fix="another ind",
         want="as many elements before axis ind as after")  # fmt: skip
    return reshape(inv(reshape(a, (n, n))), (*a.shape[ind:], *a.shape[:ind]))
