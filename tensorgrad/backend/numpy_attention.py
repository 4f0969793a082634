"""Attention on NumPy arrays, forward and backward, by blocks that stay in the second cache.

The matrix of scores never exists: a block of queries meets one block of keys at a time, with the
running maximum and sum of each row (Milakov, Gimelshein, "Online normalizer calculation for
softmax", 2018; Dao et al., "FlashAttention", 2022). Backward computes the scores again.
"""

from __future__ import annotations

from functools import cache, lru_cache
from math import ceil
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend import attention_short, philox, threads
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.numpy_staged import ReduceKernel
from tensorgrad.expr import ELEMENT, Formula, call, equal, rmax, rsum, where
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]

QUERIES, KEYS = 256, 256
"""Rows and columns of a block of scores: 256 KiB in float32, with its cotangent half a MiB."""

CAUSAL, LONG = 128, 1024
"""Rows of a block where half of the scores are masked, up to a length: less is done for nothing."""

TOGETHER = 2**16
"""Scores up to which several heads are done by one call; see `attention_short`."""

INF = float("inf")


def _shares(s: Any) -> tuple[Any, Any, Any]:
    """exp(s - m), its sum and m, the maximum, of a row; a row of -inf alone has shares of 0."""
    top = rmax(s)
    share = call("exp", s - where(equal(top, -INF), 0.0, top))
    return share, rsum(share), top


def _pulled(s: Any, total: Any, ct: Any, mean: Any) -> tuple[Any, Any]:
    """The shares exp(s - total), and the cotangent of the scores."""
    share = call("exp", s - total)
    return share, share * (ct - mean)


@cache
def _kernels() -> tuple[ReduceKernel, ElementwiseKernel]:
    rows = [variable("s", "f", ELEMENT)]
    inputs = [variable(name, "f") for name in ("s", "total", "ct", "mean")]
    return (
        ReduceKernel(Formula.trace("attention", _shares, rows)),
        ElementwiseKernel(Formula.trace("attention_pull", _pulled, inputs), 1),
    )


class Problem:
    """Queries (B, H, L, E), keys (B, G, S, E), values (B, G, S, V): head h reads h // (H / G)."""

    def __init__(
        self, arrays: tuple[Array, ...], *, scale: float, causal: bool = False, p: float = 0.0,
        key: int = 0,
    ) -> None:  # fmt: skip
        self.q, self.k, self.v, *others = arrays
        self.mask: Array | None = others[0] if others else None
        counter = others[1] if others else None
        self.scale, self.causal, self.p, self.key = scale, causal, p, key
        self.counter = 0 if counter is None or not p else int(counter.reshape(()))
        self.dtype = dtypes.compute(self.q.dtype)
        if self.mask is not None and self.mask.dtype == bool:
            few = self.mask.size <= TOGETHER  # of many heads: once, not block by block
            self.mask = None if self.mask.all() else self.added(self.mask) if few else self.mask
        self.groups = self.k.shape[1]
        self.group = self.q.shape[1] // max(self.groups, 1)
        self.units = self.q.shape[0] * self.groups
        self.length, self.keys = self.q.shape[2], self.k.shape[2]
        self.rows = CAUSAL if causal and self.length <= LONG else QUERIES
        size = self.length * self.keys
        self.few = TOGETHER // size if size > 0 and self.group == 1 else 0
        if self.length > self.rows or self.keys > KEYS:
            self.few = 0  # heads one by one, block by block

    def unit(self, number: int) -> tuple[int, int]:
        """(batch, key head) of one of `units`, which threads share out."""
        return number // self.groups, number % self.groups

    def wide(self, x: Array) -> Array:
        """An array in the dtype that is computed in."""
        return x.astype(self.dtype, copy=False)

    def queries(self, at: tuple[int, int], first: int) -> Array:
        """A block of queries times the scale."""
        block = self.wide(self.q[at][first : first + self.rows])
        return np.asarray(np.multiply(block, self.dtype.type(self.scale)))

    def blocks(self, first: int) -> Any:
        """(first, stop) of the blocks of keys that a block of queries sees."""
        stop = min(first + self.rows, self.length, self.keys) if self.causal else self.keys
        return [(k, min(k + KEYS, stop)) for k in range(0, stop, KEYS)]

    def scores(
        self, at: tuple[int, int], first: int, span: tuple[int, int], q: Array, k: Array,
        buffer: Array,
    ) -> Array:  # fmt: skip
        """Scores of a block of queries and one of keys, in the buffer; -inf where masked."""
        start, stop = span
        s = buffer[: len(q) * (stop - start)].reshape(len(q), stop - start)
        DOOR.multiply(q, k[start:stop].T, s)
        if self.mask is not None and self.mask.size > 1:
            np.add(s, self.bias(at, first, len(q), span), out=s)
        elif self.mask is not None:
            np.add(s, self.added(self.mask.reshape(())), out=s)
        left = max(first, start)
        if self.causal and stop > left + 1:
            part = s[:, left - start :]
            np.add(part, self.corner(len(q), left - first, stop - first), out=part)
        return s

    def corner(self, rows: int, left: int, right: int) -> Array:
        """0 where a key is not behind its query and -inf where it is."""
        return _corner(rows, left, right, self.dtype)

    def added(self, mask: Array) -> Array:
        """A mask as what is added to the scores."""
        if mask.dtype != bool:
            return self.wide(mask)
        return np.array([-INF, 0], self.dtype)[mask.view(np.uint8)]

    def part(self, at: tuple[int, int], first: int, rows: int, span: tuple[int, int]) -> Any:
        """Where the mask, whose axes may have one element, holds what a block of scores gets."""
        spans = [(at[0], at[0] + 1), (at[1], at[1] + 1), (first, first + rows), span]
        assert self.mask is not None
        return tuple([slice(*s) if n > 1 else slice(None) for s, n in zip(spans, self.mask.shape)])

    def bias(self, at: tuple[int, int], first: int, rows: int, span: tuple[int, int]) -> Array:
        """What is added to a block of scores."""
        assert self.mask is not None
        return self.added(self.mask[self.part(at, first, rows, span)][0, 0])

    def kept(self, at: tuple[int, int], first: int, rows: int) -> Array | None:
        """What dropout multiplies the shares of a block of queries with: 0 or 1 / (1 - p).

        The draw of (B, H, L, S), S rounded up to the four numbers of a block of Philox.
        """
        if not self.p:
            return None
        words = ceil(self.keys / 4)
        row = (at[0] * self.q.shape[1] + at[1]) * self.length + first
        counter = (self.counter + row * words) % 2**64
        keep = philox.bernoulli_keep(self.key, counter, self.p, (rows, 4 * words))
        return np.asarray(keep * self.dtype.type(1 / (1 - self.p) if self.p < 1 else 1))


@lru_cache(maxsize=16)
def _corner(rows: int, left: int, right: int, dtype: Any) -> Array:
    behind = np.arange(left, right) > np.arange(rows)[:, None]
    return np.asarray(np.where(behind, dtype.type(-INF), dtype.type(0)))


def _buffer(problem: Problem) -> Array:
    return np.empty(min(problem.rows, problem.length) * min(KEYS, problem.keys), problem.dtype)


# -- forward -----------------------------------------------------------------------------------


def _merged(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[Array, ...]:
    """(Σ shares v, Σ shares, maximum) of two blocks of keys as of one."""
    top = np.maximum(one[2], other[2])
    safe = np.where(top == -INF, top.dtype.type(0), top)
    left, right = (np.exp(x[2] - safe) for x in (one, other))
    acc = np.multiply(one[0], left[:, None], out=one[0])
    acc += other[0] * right[:, None]
    return acc, one[1] * left + other[1] * right, top


def _attended(
    problem: Problem, at: tuple[int, int], first: int, k: Array, v: Array, buffer: Array
) -> tuple[Array, Array]:
    """The result of a block of queries, and log Σ exp of its scores (inf for none)."""
    q = problem.queries(at, first)
    keep = problem.kept(at, first, len(q))
    found: tuple[Array, ...] | None = None
    for span in problem.blocks(first):
        s = problem.scores(at, first, span, q, k, buffer)
        share, total, top = _kernels()[0](s, axis=(1,), shape=s.shape)
        if keep is not None:
            np.multiply(share, keep[:, slice(*span)], out=share)
        part = (DOOR.multiply(share, v[slice(*span)]), total, top)
        found = part if found is None else _merged(found, part)
    if found is None:
        return np.zeros((len(q), v.shape[1]), q.dtype), np.full(len(q), INF, q.dtype)
    return _divided(*found)


def _divided(acc: Array, total: Array, top: Array) -> tuple[Array, Array]:
    """Σ shares v / Σ shares and log Σ exp; 0 and inf of rows that see no key."""
    none = total == 0
    total = np.where(none, total.dtype.type(1), total)
    np.divide(acc, total[..., None], out=acc)
    return acc, np.where(none, total.dtype.type(INF), top + np.log(total))


def _forward(problem: Problem, out: Array | None) -> tuple[Array, Array, Array]:
    q, k, v = problem.q, problem.k, problem.v
    if problem.few:
        found, shares = attention_short.forward(problem)
        found = written(found, out)
        return found, found, shares
    found = np.empty_like(q, shape=(*q.shape[:3], v.shape[3]), subok=False)
    logs = np.empty(q.shape[:3], problem.dtype)

    def job(start: int, stop: int) -> None:
        buffer = _buffer(problem)
        for number in range(start, stop):
            n, g = problem.unit(number)
            keys, values = problem.wide(k[n, g]), problem.wide(v[n, g])
            for h in range(g * problem.group, (g + 1) * problem.group):
                for i in range(0, problem.length, problem.rows):
                    rows = (n, h, slice(i, i + problem.rows))
                    found[rows], logs[rows] = _attended(problem, (n, h), i, keys, values, buffer)

    threads.split(problem.units, 1, job)
    found = written(found, out)
    return found, found, logs


def attention(
    q: Array, k: Array, v: Array, *, scale: float, causal: bool, out: Array | None = None
) -> Any:
    """softmax(scale q kᵀ) v; and for backward that again, and log Σ exp of every row of scores.

    The latter are the shares, or nothing, where sequences are short.
    """
    return _forward(Problem((q, k, v), scale=scale, causal=causal), out)


def attention_masked(
    q: Array, k: Array, v: Array, mask: Array, counter: Array, *, scale: float, causal: bool,
    p: float, key: int, out: Array | None = None,
) -> Any:  # fmt: skip
    """The same with a mask (floats are added, False leaves out) and dropout of the shares."""
    arrays = (q, k, v, mask, counter)
    return _forward(Problem(arrays, scale=scale, causal=causal, p=p, key=key), out)


# -- backward ----------------------------------------------------------------------------------


class _Pull:
    """Backward of a head of keys: `dk` and `dv` grow by the blocks of queries that read it."""

    def __init__(self, problem: Problem, dmask: Array | None) -> None:
        self.problem, self.dmask = problem, dmask
        self.buffers = _buffer(problem), _buffer(problem)
        keys, dtype = problem.keys, problem.dtype
        self.dk = np.empty((keys, problem.q.shape[3]), dtype)
        self.dv = np.empty((keys, problem.v.shape[3]), dtype)

    def block(
        self, at: tuple[int, int], first: int, k: Array, v: Array, ct: Array, mean: Array,
        log: Array,
    ) -> Array:  # fmt: skip
        """Add what a block of queries gives to dk, dv and dmask; returns its own cotangent."""
        problem = self.problem
        q = problem.queries(at, first)
        keep = problem.kept(at, first, len(q))
        dq = np.zeros_like(q)
        for span in problem.blocks(first):
            cut = slice(*span)
            s = problem.scores(at, first, span, q, k, self.buffers[0])
            ds = self.buffers[1][: s.size].reshape(s.shape)
            DOOR.multiply(ct, v[cut].T, ds)
            if keep is not None:
                np.multiply(ds, keep[:, cut], out=ds)
            _kernels()[1](s, log[:, None], ds, mean[:, None], out=(s, ds))
            if keep is not None:
                np.multiply(s, keep[:, cut], out=s)
            self.dv[cut] += DOOR.multiply(s.T, ct)
            self.dk[cut] += DOOR.multiply(ds.T, q)
            dq += DOOR.multiply(ds, k[cut])
            if self.dmask is not None:
                part = self.dmask[problem.part(at, first, len(q), span)]
                axes = tuple([x for x, n in enumerate(part.shape) if n == 1])
                part += ds[None, None].sum(axis=axes, keepdims=True)
        dq *= problem.dtype.type(problem.scale)
        return dq


def _backward(problem: Problem, ct: Array, saved: tuple[Array, ...], masked: bool) -> Any:
    out, logs = saved
    q, k, v = problem.q, problem.k, problem.v
    dmask = None
    if masked and problem.mask is not None:
        dmask = np.zeros(problem.mask.shape, problem.dtype)
    if problem.few:
        return *attention_short.backward(problem, ct, logs, dmask), dmask
    dq, dk, dv = (np.empty_like(x, subok=False) for x in (q, k, v))

    def job(start: int, stop: int) -> None:
        pull = _Pull(problem, dmask)
        for number in range(start, stop):
            n, g = problem.unit(number)
            keys, values = problem.wide(k[n, g]), problem.wide(v[n, g])
            pull.dk.fill(0)
            pull.dv.fill(0)
            for h in range(g * problem.group, (g + 1) * problem.group):
                for i in range(0, problem.length, problem.rows):
                    rows = (n, h, slice(i, i + problem.rows))
                    given = problem.wide(ct[rows])
                    mean = np.einsum("ij,ij->i", given, problem.wide(out[rows]))
                    dq[rows] = pull.block((n, h), i, keys, values, given, mean, logs[rows])
            dk[n, g], dv[n, g] = pull.dk, pull.dv

    if dmask is None:
        threads.split(problem.units, 1, job)
    else:
        job(0, problem.units)  # heads add to one mask
    return dq, dk, dv, dmask


def attention_pull(ct: Array, wanted: Any, saved: tuple[Any, ...], params: Any) -> Any:
    """[(input, its cotangent)] of either primitive; `saved` are its inputs and what it kept."""
    *inputs, out, logs = saved
    problem = Problem(tuple(inputs), **params)
    found = _backward(problem, ct, (out, logs), 3 in wanted)
    return [(k, found[k].astype(inputs[k].dtype, copy=False)) for k in wanted if k < 4]
