"""Products of vectors with vectors and matrices: cross, matvec, vecmat.

>>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
tensor([0., 0., 1.])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import matrix_transpose, moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.products import matmul
from tensorgrad.ops.rounding import aligned
from tensorgrad.ops.shape import expand_dims, squeeze

# -- cross -------------------------------------------------------------------------------------


def _cross_spec(a: Spec, b: Spec) -> Spec:
    shape = shapes.broadcast(a.shape, b.shape, op="cross")
    return Spec(shape, dtypes.result_type(a.dtype, b.dtype))


cross_p: Primitive = primitive(
    "cross",
    nin=2,
    spec=_cross_spec,
    vjp=(
        lambda ct, out, a, b: cross_p.bind(conj(b), ct),
        lambda ct, out, a, b: cross_p.bind(ct, conj(a)),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=lambda inputs, batched: cross_p.bind(*aligned(inputs, batched)),
    params=False,
)
"""a × b for vectors of three numbers on the last axis; the other axes broadcast."""


def _crosses(r: Any) -> Any:
    for a, b, options in (
        ((3,), (3,), {}), ((4, 3), (4, 3), {}), ((4, 3), (3,), {}), ((2, 1, 3), (4, 3), {}),
        ((3, 4), (3, 4), {"axis": 0}), ((0, 3), (0, 3), {}), ((3, 4), (4, 3), {"axisa": 0}),
        ((2, 3), (3, 2), {"axisb": 0, "axisc": 0}), ((2, 3, 4), (2, 3, 4), {"axis": -2}),
    ):  # fmt: skip
        yield (r.normal(*a), r.normal(*b)), options
    yield (r.normal(3, 4).T, r.normal(8, 3)[::2]), {}
    yield (r.normal(2), r.normal(3)), {}
    yield (r.normal(4, 2), r.normal(2)), {}
    yield (r.normal(4, 3) + 1j * r.normal(4, 3), r.normal(3) + 1j * r.normal(3)), {}


def _cross_oracle(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1,
                  axis: int | None = None) -> Any:  # fmt: skip
    if axis is not None:
        axisa, axisb, axisc = axis, axis, axis
    a, b = np.moveaxis(a, axisa, -1), np.moveaxis(b, axisb, -1)
    flat = a.shape[-1] == b.shape[-1] == 2
    a, b = (np.concatenate([v, 0 * v[..., :1]], -1) if v.shape[-1] == 2 else v for v in (a, b))
    found = np.stack([a[..., i] * b[..., j] - a[..., j] * b[..., i]
                      for i, j in ((1, 2), (2, 0), (0, 1))], -1)  # fmt: skip
    return found[..., 2] if flat else np.moveaxis(found, -1, axisc)


@operation(numpy="cross", oracle=_cross_oracle, samples=_crosses)
def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """a × b over axes of three numbers; one of two counts as (x, y, 0).

    `axis` is all of `axisa`, `axisb` and `axisc` at once. Two vectors of two numbers give the third
    component alone. Raises `ShapeError` for other lengths.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = operands((a, b), "cross")
    need(a.ndim and b.ndim, "cross", a=a, b=b, want="vectors", fix="a * b", error=ShapeError)
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    need({a.shape[-1], b.shape[-1]} <= {2, 3}, "cross", a=a, b=b, want="vectors of 2 or 3 numbers",
         fix="axisa= and axisb=", error=ShapeError)  # fmt: skip
    if a.shape[-1] == b.shape[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    found = cross_p.bind(_spatial(a), _spatial(b))
    return found if axisc == -1 else moveaxis(found, -1, axisc)


def _spatial(x: Any) -> Any:
    return x if x.shape[-1] == 3 else concatenate([x, x[..., :1] * 0], -1)


# -- matrices ----------------------------------------------------------------------------------


def _products(matrix_first: bool) -> Any:
    def samples(r: Any) -> Any:
        for matrix, vector in (((2, 3), (3,)), ((4, 2, 3), (3,)), ((2, 3), (4, 3)), ((0, 3), (3,)),
                               ((5, 1, 2, 3), (4, 3)), ((1, 1), (1,)), ((2, 0), (0,))):  # fmt: skip
            if not matrix_first:
                matrix = (*matrix[:-2], matrix[-1], matrix[-2])
            pair = (r.normal(*matrix), r.normal(*vector))
            yield pair if matrix_first else pair[::-1], {}
        m, v = r.normal(3, 3).T, r.normal(6)[::2]
        yield (m, v) if matrix_first else (v, m), {}
        m, v = r.normal(3, 3) + 1j * r.normal(3, 3), r.normal(3) + 1j * r.normal(3)
        yield (m, v) if matrix_first else (v, m), {}

    return samples


@operation(
    numpy="matvec", oracle=lambda a, b: np.squeeze(a @ b[..., None], -1), samples=_products(True)
)
def matvec(x1: Any, x2: Any, /) -> Any:
    """The matrices x1 (..., m, n) times the vectors x2 (..., n)."""
    x1, x2 = operands((x1, x2), "matvec")
    need(x1.ndim > 1 and x2.ndim and x1.shape[-1] == x2.shape[-1], "matvec", x1=x1, x2=x2,
         want="(..., m, n) and (..., n)", fix="x1 @ x2", error=ShapeError)  # fmt: skip
    if x2.ndim == 1:
        return matmul(x1, x2)
    if x1.ndim == 2:
        return matmul(x2, matrix_transpose(x1))
    return squeeze(matmul(x1, expand_dims(x2, -1)), -1)


@operation(
    numpy="vecmat",
    oracle=lambda a, b: np.squeeze(np.conj(a)[..., None, :] @ b, -2),
    samples=_products(False),
)
def vecmat(x1: Any, x2: Any, /) -> Any:
    """The conjugated vectors x1 (..., n) times the matrices x2 (..., n, m)."""
    x1, x2 = operands((x1, x2), "vecmat")
    need(x2.ndim > 1 and x1.ndim and x1.shape[-1] == x2.shape[-2], "vecmat", x1=x1, x2=x2,
         want="(..., n) and (..., n, m)", fix="x1 @ x2", error=ShapeError)  # fmt: skip
    x1 = conj(x1)
    if x1.ndim == 1 or x2.ndim == 2:
        return matmul(x1, x2)
    return squeeze(matmul(expand_dims(x1, -2), x2), -2)
