"""Polynomials of two variables, the coefficient of x^i y^j at [i, j]: at points, and on a grid."""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.core.calls import operands
from tensorgrad.core.registry import operation
from tensorgrad.ops.einsum import einsum
from tensorgrad.ops.polynomial import vander
from tensorgrad.ops.shape import astype, reshape


def _summed(op: str, form: str, x: Any, y: Any, c: Any) -> tuple[Any, shapes.Shape]:
    """The sum over powers, its points flat, and the axes of c beyond the powers."""
    need(c.ndim >= 2, op, c=c, want="coefficients of two axes at least, [i, j] of x^i y^j",
         fix="c[:, None]")  # fmt: skip
    many = c.shape[2:]
    flat = reshape(c if dtypes.is_inexact(c.dtype) else c + 0.0, (*c.shape[:2], shapes.size(many)))
    powers = [
        astype(vander(reshape(v, (v.size,)), n, increasing=True), v.dtype, copy=False)
        for v, n in zip((x, y), c.shape[:2])
    ]
    return einsum(form, powers[0], flat, powers[1]), many


def _points(r: Any) -> Any:
    for shape, n, m, many in (
        ((), 2, 3, ()), ((4,), 3, 2, ()), ((2, 3), 1, 4, ()), ((0,), 2, 2, ()), ((3,), 2, 2, (2,)),
        ((1, 2), 3, 3, (2, 1)), ((5,), 1, 1, ()), ((2, 2), 4, 1, ()),
    ):  # fmt: skip
        yield (r.normal(*shape), r.normal(*shape), r.normal(n, m, *many)), {}
    yield (r.normal(4)[::2], r.normal(2), r.normal(2, 3).T), {}
    yield (r.integers(-2, 3, 2), r.normal(2), r.integers(-2, 3, 2, 3)), {}


def _oracle(name: str) -> Any:
    def call(x: Any, y: Any, c: Any) -> Any:
        from numpy.polynomial import polynomial  # late: for import time

        return getattr(polynomial, name)(x, y, c)

    return call


@operation(numpy="polynomial.polynomial.polyval2d", oracle=_oracle("polyval2d"), samples=_points)
def polyval2d(x: Any, y: Any, c: Any) -> Any:
    """sum_ij c[i, j] x^i y^j at points (x, y) of one shape; further axes of c come first.

    Raises `ShapeError` where x and y differ in shape.

    >>> polyval2d(2.0, 3.0, [[1.0, 10.0], [100.0, 1000.0]])
    tensor(6231.)
    """
    x, y, c = operands((x, y, c), "polyval2d")
    need(
        x.shape == y.shape, "polyval2d", x=x, y=y, want="one shape", fix="np.broadcast_arrays(x, y)"
    )
    found, many = _summed("polyval2d", "pi,ijk,pj->kp", x, y, c)
    return reshape(found, (*many, *x.shape))


def _axes(r: Any) -> Any:
    for one, other, n, m, many in (
        ((), (), 2, 3, ()), ((4,), (2,), 3, 2, ()), ((2, 3), (2,), 1, 4, ()),
        ((0,), (3,), 2, 2, ()),
        ((3,), (), 2, 2, (2,)), ((1, 2), (2,), 3, 3, (2, 1)), ((5,), (1,), 1, 1, ()),
        ((2,), (2, 2), 4, 1, ()),
    ):  # fmt: skip
        yield (r.normal(*one), r.normal(*other), r.normal(n, m, *many)), {}
    yield (r.normal(4)[::2], r.normal(3), r.normal(2, 3).T), {}


@operation(numpy="polynomial.polynomial.polygrid2d", oracle=_oracle("polygrid2d"), samples=_axes)
def polygrid2d(x: Any, y: Any, c: Any) -> Any:
    """sum_ij c[i, j] x^i y^j for every pair of an x and a y; further axes of c come first.

    >>> polygrid2d([1.0, 2.0], [0.0, 1.0], [[1.0, 2.0], [3.0, 4.0]])
    tensor([[ 4., 10.],
           [ 7., 17.]])
    """
    x, y, c = operands((x, y, c), "polygrid2d")
    found, many = _summed("polygrid2d", "pi,ijk,qj->kpq", x, y, c)
    return reshape(found, (*many, *x.shape, *y.shape))
