"""Layer norm and RMS norm of rows by the kernels of `kernels/norm.cu`, forward and first VJP.

They are staged formulas like any other; these ones are known by their content. Where the kernels do
not fit (mixed dtypes, integers, empty arrays) the formula runs as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad.backend.cuda import device, launch
from tensorgrad.backend.cuda.staged import ReduceKernel
from tensorgrad.expr import COLUMN, ELEMENT, Formula, call, ncols, rsum
from tensorgrad.expr import input as variable
from tensorgrad.expr.graph import topo

Array = Any

BLOCK, WARP, WARP_COLUMNS = 256, 128, 1024
"""Threads of a block for a row, and of one of warps; columns up to which a warp takes a row."""

COLUMNS = 2**31 - 2**14
"""More than a row may have."""

STATIC = 1024
"""Bytes of shared memory that a kernel itself has, at most."""

SLABS, WARP_SLABS, LEAST = 256, 512, 4
"""Blocks that add up gradients of weight and bias, at most; rows that each of their teams has."""


@dataclass(frozen=True, slots=True)
class Norm:
    """What a formula computes.

    kind: "layer" or "rms". names: which of weight and bias it has, in this order. wanted: of
    (x, weight, bias), by position among the inputs there are; None: forward. sources: of a VJP, as
    in `Derivative`.
    """

    kind: str
    names: tuple[str, ...]
    eps: float
    wanted: tuple[int, ...] | None = None
    sources: tuple[tuple[str, int], ...] = ()


def _formula(kind: str, names: tuple[str, ...], eps: float) -> Formula:
    """The normalisation as the operations have it: y, the mean (of a layer norm), 1 / std."""
    values = [variable(name, "f", COLUMN) for name in names]

    def text(x: Any, *affine: Any) -> Any:
        mean = rsum(x) / ncols()
        d = x - mean if kind == "layer" else x
        inverse = 1 / call("sqrt", rsum(d * d) / ncols() + eps)
        y = d * inverse
        for name, value in zip(names, affine):
            y = y * value if name == "weight" else y + value
        return (y, mean, inverse) if kind == "layer" else (y, inverse)

    return Formula.trace(f"{kind}_norm", text, [variable("x", "f", ELEMENT), *values])


@lru_cache(maxsize=64)
def _all(kind: str, eps: float, derived: bool) -> dict[Formula, Norm]:
    """The forms of a norm, or their first VJPs that have x among the inputs wanted."""
    found = {}
    for names in ((), ("weight",), ("bias",), ("weight", "bias")):
        primal = _formula(kind, names, eps)
        if not derived:
            found[primal] = Norm(kind, names, eps)
            continue
        for mask in range(1 << len(names)):
            wanted = (0, *[k + 1 for k in range(len(names)) if mask >> k & 1])
            vjp = primal.vjp(wanted, (0,))
            straight = tuple([("kernel", k) for k in range(len(wanted))])
            if vjp.formula is not None and vjp.results == straight:
                found[vjp.formula] = Norm(kind, names, eps, wanted, vjp.sources)
    return found


def known(formula: Formula) -> Norm | None:
    """What a formula is, None if it is no normalisation."""
    kind, _, order = formula.name.partition("_norm")
    if kind not in ("layer", "rms") or order not in ("", "_vjp"):
        return None
    numbers = [e.value for e in topo(formula.outputs) if e.op == "const" and e.kind == "f"]
    for eps in (0.0, *numbers):
        found = _all(kind, float(eps), bool(order)).get(formula)
        if found is not None:
            return found
    return None


def kernel(formula: Formula) -> ReduceKernel:
    """What runs a staged formula: as a normalisation where it is one."""
    found = known(formula)
    return ReduceKernel(formula) if found is None else NormKernel(formula, found)


class NormKernel(ReduceKernel):
    """A normalisation, or its first VJP."""

    def __init__(self, formula: Formula, norm: Norm) -> None:
        super().__init__(formula)
        self._norm = norm

    def __call__(
        self, *arrays: Array, axis: tuple[int, ...], shape: tuple[int, ...], out: Any = None
    ) -> Any:
        if out is not None or not self._fits(arrays, axis, shape):
            return super().__call__(*arrays, axis=axis, shape=shape, out=out)
        given = [launch.contiguous(a) for a in arrays]
        run = _forward if self._norm.wanted is None else _backward
        return run(self._norm, given, shape[: len(shape) - len(axis)], shape[-len(axis) :])

    def _fits(self, arrays: Sequence[Array], axis: tuple[int, ...], shape: tuple[int, ...]) -> bool:
        first, kind = len(shape) - len(axis), arrays[0].dtype
        if axis != tuple(range(first, len(shape))) or shapes.size(shape[first:]) >= COLUMNS:
            return False
        if kind.name not in launch.SUFFIX or 0 in shape or not launch.generating():
            return False
        wide = dtypes.compute(kind)
        sources = self._norm.sources or [("in", k) for k in range(len(arrays))]
        return all(a.dtype == (wide if s[0] == "out" else kind) for a, s in zip(arrays, sources))


def _team(columns: int) -> tuple[str, int, int]:
    """How the kernels for rows of this length are called, threads of a block, rows of a block."""
    return ("warp_", WARP, WARP // 32) if columns <= WARP_COLUMNS else ("", BLOCK, 1)


def _room(x: Array) -> int:
    """Bytes of shared memory that a block may have on the device of an array."""
    return device.properties(x.data.device_id).shared_on_request - STATIC


def _forward(
    norm: Norm, given: Sequence[Array], lead: shapes.Shape, row: shapes.Shape
) -> tuple[Array, ...]:
    x, affine = given[0], dict(zip(norm.names, given[1:]))
    rows, columns = shapes.size(lead), shapes.size(row)
    wide, suffix = dtypes.compute(x.dtype), launch.SUFFIX[x.dtype.name]
    y, rstd = cupy.empty(x.shape, x.dtype), cupy.empty(lead, wide)
    mean = cupy.empty(lead, wide) if norm.kind == "layer" else None
    team, block, teams = _team(columns)
    shared = -(-columns * x.itemsize // 16) * 16 * teams
    keep = shared <= _room(x)
    launch.kernel("norm", f"{norm.kind}_norm_{team}{suffix}")(
        (-(-rows // teams),), (block,), launch.address(x), launch.address(affine.get("weight")),
        launch.address(affine.get("bias")), launch.address(y), launch.address(mean),
        launch.address(rstd), np.int64(rows), np.int32(columns), np.int64(columns),
        np.int64(columns), wide.type(norm.eps), np.int32(keep), shared=shared * keep,
    )  # fmt: skip
    return (y, rstd) if mean is None else (y, mean, rstd)


def _backward(norm: Norm, given: Sequence[Array], lead: shapes.Shape, row: shapes.Shape) -> Any:
    at, rows, columns = dict(zip(norm.sources, given)), shapes.size(lead), shapes.size(row)
    statistics = [a for source, a in at.items() if source[0] == "out"]
    x, dy, rstd = at["in", 0], at["ct", 0], statistics[-1]
    mean = statistics[0] if norm.kind == "layer" else None
    weight = at.get(("in", 1)) if norm.names[:1] == ("weight",) else None
    wide, suffix = dtypes.compute(x.dtype), launch.SUFFIX[x.dtype.name]
    team, block, teams = _team(columns)
    wanted = {norm.names[k - 1] for k in norm.wanted or () if k}
    slabs = _slabs(rows, teams, bool(wanted))
    partial = cupy.empty((slabs, 2, columns), wide) if wanted else None
    shared = 2 * columns * wide.itemsize * teams
    keep = partial is not None and shared <= _room(x)
    dx, ld = cupy.empty(x.shape, x.dtype), np.int64(columns)
    launch.kernel("norm", f"{norm.kind}_norm_bwd_{team}{suffix}")(
        (slabs,), (block,), *map(launch.address, (dy, x, weight, mean, rstd, dx, partial)),
        np.int64(rows), np.int32(columns), ld, ld, ld, np.int32(keep), shared=shared * keep,
    )  # fmt: skip
    if partial is None:
        return dx
    sums = {name: cupy.empty(row, x.dtype) for name in wanted}
    launch.kernel("norm", f"norm_fold_{suffix}")(
        (-(-columns // 32),), (BLOCK,), launch.address(partial),
        launch.address(sums.get("weight")), launch.address(sums.get("bias")),
        np.int32(slabs), np.int32(columns),
    )  # fmt: skip
    return (dx, *[sums[name] for name in norm.names if name in wanted])


def _slabs(rows: int, teams: int, summed: bool) -> int:
    """Blocks of the backward kernel; where they sum over rows, a number that the shape decides."""
    if not summed:
        return launch.blocks(rows, teams)
    return launch.blocks(rows, teams * LEAST, WARP_SLABS if teams > 1 else SLABS)
