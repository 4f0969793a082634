"""Attention of short sequences on NumPy arrays: what it costs is the calls, so heads go together.

The scores of as many heads as the second cache holds are one stack of matrices. Shares that take no
more room than queries, keys, values and results do are kept for backward, others made again.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad.backend import threads
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.numpy_staged import ReduceKernel
from tensorgrad.expr import ELEMENT, SCALAR, Formula, call, equal, rmax, rsum, where
from tensorgrad.expr import input as variable

if TYPE_CHECKING:
    from tensorgrad.backend.numpy_attention import Problem

Array = np.ndarray[Any, Any]
Part = tuple[slice, slice]
"""Batches and heads that are done together."""

SPARE = 2
"""Shares are kept where they are this many times as wide as keys and values together, at most."""

INF = float("inf")
EMPTY = np.empty(0, np.float32)


def _shares(s: Any) -> Any:
    """The softmax of a row; 0 in a row of -inf alone."""
    top = rmax(s)
    share = call("exp", s - where(equal(top, -INF), 0.0, top))
    total = rsum(share)
    return share / where(equal(total, 0), 1.0, total)


def _pulled(share: Any, ct: Any, scale: Any) -> Any:
    """The cotangent of the scores times the scale."""
    return share * (ct - rsum(share * ct)) * scale


@cache
def _kernels() -> tuple[ReduceKernel, ReduceKernel]:
    s, share, ct = (variable(name, "f", ELEMENT) for name in ("s", "share", "ct"))
    scale = variable("scale", "f", SCALAR)
    return (
        ReduceKernel(Formula.trace("attention_shares", _shares, [s])),
        ReduceKernel(Formula.trace("attention_shares_pull", _pulled, [share, ct, scale]), 1),
    )


def _parts(problem: Problem) -> list[Part]:
    """Whole batches by the group, or some heads of one."""
    batches, heads = problem.q.shape[:2]
    few = problem.few
    if few >= heads:
        step = few // heads
        return [(slice(n, n + step), slice(0, heads)) for n in range(0, batches, step)]
    each = range(0, heads, few)
    return [(slice(n, n + 1), slice(h, h + few)) for n in range(batches) for h in each]


def _kept(problem: Problem, at: Part, shape: tuple[int, ...]) -> Array | None:
    """What dropout multiplies the shares of a part with."""
    if not problem.p:
        return None
    count = shape[0] * shape[1] * shape[2]
    keep = problem.kept((at[0].start, at[1].start), 0, count)
    assert keep is not None
    return keep.reshape(*shape[:3], -1)[..., : shape[3]]


def _part_of(mask: Array, at: Part) -> Array:
    """The part of a mask, or of its cotangent, whose axes may have one element."""
    return mask[tuple([cut if n > 1 else slice(None) for cut, n in zip(at, mask.shape)])]


def _shared(problem: Problem, at: Part) -> Array:
    """The shares of every query with every key."""
    q = problem.wide(problem.q[at]) * problem.dtype.type(problem.scale)
    s = np.asarray(DOOR.multiply(q, problem.wide(problem.k[at]).swapaxes(2, 3)))
    if problem.mask is not None:
        np.add(s, problem.added(_part_of(problem.mask, at)), out=s)
    if problem.causal:
        np.add(s, problem.corner(problem.length, 0, problem.keys), out=s)
    return np.asarray(_kernels()[0](s, axis=(3,), shape=s.shape))


def forward(problem: Problem) -> tuple[Array, Array]:
    """softmax(scale q kᵀ) v, and the shares where they are kept."""
    q, v = problem.q, problem.v
    found = np.empty_like(q, shape=(*q.shape[:3], v.shape[3]), subok=False)
    parts = _parts(problem)
    keeps = problem.keys <= SPARE * (q.shape[3] + v.shape[3])
    alone = keeps and len(parts) == 1
    shares = EMPTY
    if keeps and not alone:
        shares = np.empty((*q.shape[:3], problem.keys), problem.dtype)

    def job(start: int, stop: int) -> None:
        nonlocal shares
        for at in parts[start:stop]:
            share = _shared(problem, at)
            if alone:
                shares = share
            elif keeps:
                shares[at] = share
            keep = _kept(problem, at, share.shape)
            if keep is not None:
                share = share * keep
            values = problem.wide(v[at])
            if found.dtype == problem.dtype:
                DOOR.multiply(share, values, found[at])
            else:
                found[at] = DOOR.multiply(share, values)

    threads.split(len(parts), 1, job)
    return found, shares


def backward(
    problem: Problem, ct: Array, shares: Array, dmask: Array | None
) -> tuple[Array, Array, Array]:
    """The cotangents of q, k and v; adds to dmask."""
    q, k, v = problem.q, problem.k, problem.v
    dq, dk, dv = (np.empty_like(x, subok=False) for x in (q, k, v))
    parts = _parts(problem)
    scale = np.asarray(problem.scale if dmask is None else 1.0, problem.dtype)

    def job(start: int, stop: int) -> None:
        for at in parts[start:stop]:
            share = shares[at] if shares.size else _shared(problem, at)
            given = problem.wide(ct[at])
            ds = DOOR.multiply(given, problem.wide(v[at]).swapaxes(2, 3))
            keep = _kept(problem, at, ds.shape)
            if keep is not None:
                np.multiply(ds, keep, out=ds)
            ds = _kernels()[1](share, ds, scale, axis=(3,), shape=ds.shape)
            if dmask is not None:
                into = _part_of(dmask, at)
                axes = tuple([x for x, n in enumerate(into.shape) if n == 1])
                into += ds.sum(axis=axes, keepdims=True)
                np.multiply(ds, problem.dtype.type(problem.scale), out=ds)
            if keep is not None:
                share = share * keep
            _multiply(ds, problem.wide(k[at]), dq[at])
            _multiply(ds.swapaxes(2, 3), problem.wide(q[at]), dk[at])
            _multiply(share.swapaxes(2, 3), given, dv[at])

    if dmask is None:
        threads.split(len(parts), 1, job)
    else:
        job(0, len(parts))  # heads add to one mask
    return dq, dk, dv


def _multiply(x: Array, y: Array, target: Array) -> None:
    """x y into the target, rounded once."""
    if target.dtype == x.dtype:
        DOOR.multiply(x, y, target)
    else:
        target[...] = DOOR.multiply(x, y)
