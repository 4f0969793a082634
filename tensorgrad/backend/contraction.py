"""A contraction of two labelled arrays as one product of stacked matrices, on any backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from tensorgrad import shapes

Array = Any
Labels = tuple[int, ...]
Product = Callable[[Array, Array], Array]


class _Plan(NamedTuple):
    """How two labelled arrays meet: the axes of each in the order batch, own, contracted."""

    left: Labels
    right: Labels
    counts: tuple[int, int, int, int]  # axes: batch, left's own, right's own, contracted
    order: Labels | None


@lru_cache(maxsize=1024)
def _plan(left: Labels, right: Labels, out: Labels) -> _Plan:
    both = [k for k in left if k in right]
    batch = [k for k in both if k in out]
    summed = [k for k in both if k not in out]
    mine = [k for k in left if k not in right]
    yours = [k for k in right if k not in left]
    made = batch + mine + yours
    order = tuple(made.index(k) for k in out)
    return _Plan(
        tuple(left.index(k) for k in batch + mine + summed),
        tuple(right.index(k) for k in batch + summed + yours),
        (len(batch), len(mine), len(yours), len(summed)),
        None if order == tuple(range(len(order))) else order,
    )


def contract(
    x: Array,
    y: Array,
    labels: tuple[Labels, Labels, Labels],
    multiply: Product,
    matmul: Product,
) -> Array:
    """Σ over the labels that the result lacks of x y; `labels` are those of x, y and the result.

    Each label is in two of the three at least. `multiply` is elementwise, `matmul` of matrices.
    """
    plan = _plan(*labels)
    batch, mine, yours, summed = plan.counts
    x, y = x.transpose(plan.left), y.transpose(plan.right)
    if not summed:
        x = x.reshape(x.shape + (1,) * yours)
        y = y.reshape(y.shape[:batch] + (1,) * mine + y.shape[batch:])
        found = multiply(x, y)
    else:
        lead, own, other = x.shape[:batch], x.shape[batch : batch + mine], y.shape[batch + summed :]
        inner = shapes.size(x.shape[batch + mine :])
        a = x.reshape((*lead, shapes.size(own), inner))
        b = y.reshape((*lead, inner, shapes.size(other)))
        found = matmul(a, b).reshape(lead + own + other)
    return found if plan.order is None else found.transpose(plan.order)
