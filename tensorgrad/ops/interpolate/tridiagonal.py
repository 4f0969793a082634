"""Tridiagonal systems of equations: O(n)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import primitive
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import pad_p, stack
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.shape import reshape


def _later(x: Any) -> Any:
    """x[i - 1], 0 before the start."""
    rest = ((0, 0),) * (x.ndim - 1)
    return pad_p.bind(x[:-1], widths=((1, 0), *rest), values=((0, 0),) * x.ndim)


def _sooner(x: Any) -> Any:
    """x[i + 1], 0 behind the end."""
    rest = ((0, 0),) * (x.ndim - 1)
    return pad_p.bind(x[1:], widths=((0, 1), *rest), values=((0, 0),) * x.ndim)


def _turned(d: Any) -> Any:
    """The diagonals of the adjoint."""
    d = conj(d)
    return stack([_later(d[2]), d[1], _sooner(d[0])])


def _vjp_d(ct: Any, out: Any, d: Any, b: Any) -> Any:
    y, x = -tridiagonal_p.bind(_turned(d), ct), conj(out)
    return stack([sum(y * z, axis=1) for z in (_later(x), x, _sooner(x))])


def _jvp_d(t: Any, out: Any, d: Any, b: Any) -> Any:
    t = t[..., None]
    moved = t[0] * _later(out) + t[1] * out + t[2] * _sooner(out)
    return -tridiagonal_p.bind(d, moved)


def _batch(inputs: Sequence[Any], batched: Sequence[bool]) -> Any:
    d, b = inputs
    if not batched[0]:
        moved = moveaxis(b, 0, -1)
        found = tridiagonal_p.bind(d, reshape(moved, (moved.shape[0], -1)))
        return moveaxis(reshape(found, moved.shape), -1, 0)
    return stack([tridiagonal_p.bind(d[k], b[k] if batched[1] else b) for k in range(len(d))])


tridiagonal_p: Primitive = primitive(
    "tridiagonal",
    nin=2,
    spec=lambda d, b: Spec(b.shape, dtypes.result_type(d.dtype, b.dtype)),
    vjp=(_vjp_d, lambda ct, out, d, b: tridiagonal_p.bind(_turned(d), ct)),
    jvp=(_jvp_d, None),
    linear=(1,),
    reads=((0, 2), (0,)),
    batch=_batch,
    params=False,
)
"""x of d[0, i] x[i - 1] + d[1, i] x[i] + d[2, i] x[i + 1] = b[i] for d (3, n) and b (n, k).

What of d lies outside the matrix (d[0, 0] and d[2, -1]) is not read. Rows may not need exchanging.
"""
