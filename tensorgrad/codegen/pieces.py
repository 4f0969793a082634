"""Formulas beyond one kernel: their parts run block by block, and what passes stays in the cache.

A part is a generated kernel, or one leaf that has no body in the dtype and runs through NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from tensorgrad.codegen.approx import has_body
from tensorgrad.codegen.kernels import KERNELS, kernel
from tensorgrad.codegen.llvm import MOST_WORK, supports
from tensorgrad.expr.cut import Cut, Part, cut
from tensorgrad.expr.evaluate import function
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.leaf import LEAVES

Array = np.ndarray[Any, Any]
Run = Callable[..., Any]

BLOCK = 2048
"""Elements from the first part to the last before the next elements are taken."""

LARGEST = 16 * MOST_WORK
"""Work of the largest formula that is compiled at all: some seconds."""

WORTH = 16384
"""Elements from which on parts are quicker than NumPy where leaves without a body stand between
the kernels; without such leaves they always are (sin and cos beside exp: 0.5 times NumPy's speed
at 64 elements, 0.95 at 4,096, 1.05 at 2**20; cut for size alone: 2 to 20 times, at any size)."""

_INPUTS, _OUTPUTS = 24, 8
_APART = 192
"""Bytes between temporaries: at multiples of 4,096 they would fight for the same cache lines,
which takes up to twice the time."""

_CALL_WORK = 20


def _work(e: Expr) -> int:
    return 1 + _CALL_WORK * (e.op == "call")


def pieces(formula: Formula, dtype: Any) -> Run | None:
    """f(*arrays, out=None) -> the output, or a tuple of several; None where `formula` is not cut.

    It is cut where `supports` refuses it as a whole for its size, or for leaves without a body in
    `dtype` (float32 or float64), and accepts its parts. Arrays and `out` are as for `kernel`: of
    any layout, broadcast, `out` possibly in the memory of the inputs, or all outputs after the
    arrays. No warning is given. `f.least` is the number of elements from which on it is worth it.
    """
    wanted = np.dtype(dtype)
    return KERNELS.find(("pieces", formula, wanted.str), lambda: _build(formula, wanted))  # type: ignore[no-any-return]


def parts(formula: Formula, dtype: Any) -> Cut | None:
    """How `pieces` cuts a formula; None where it does not."""
    double = np.dtype(dtype) == np.dtype(np.float64)
    nodes = topo(formula.outputs)
    plain = formula.elementwise and bool(formula.inputs) and all(e.op != "index" for e in nodes)
    if not plain or not (double or np.dtype(dtype) == np.dtype(np.float32)):
        return None
    if supports(formula, dtype) or sum(map(_work, nodes)) > LARGEST:
        return None

    def alone(e: Expr) -> bool:
        return e.op == "call" and not has_body(e.value, double)

    room = MOST_WORK - _INPUTS - _OUTPUTS  # `supports` counts the operands too
    found = cut(formula, nodes=room, inputs=_INPUTS, outputs=_OUTPUTS, alone=alone, work=_work)
    if all(p.alone for p in found.parts) or not all(_possible(p, dtype) for p in found.parts):
        return None
    return found


def _build(formula: Formula, dtype: np.dtype[Any]) -> Run | None:
    found = parts(formula, dtype)
    if found is None:
        return None
    runs = [_lone(p, dtype) if p.alone else kernel(p.formula, dtype) for p in found.parts]
    return None if any(r is None for r in runs) else _Pieces(formula, found, dtype, runs)


def _possible(part: Part, dtype: Any) -> bool:
    nodes = (*part.formula.inputs, *part.formula.outputs)
    kinds = {e.kind for e in nodes}
    if part.alone:
        return kinds == {"f"}
    return kinds <= {"f", "b"} and supports(part.formula, dtype)


def _lone(part: Part, dtype: np.dtype[Any]) -> Run:
    """The interpreter's function of a leaf as run(*arrays, out)."""
    call = part.formula.outputs[0]
    while call.op == "bc":
        call = call.args[0]
    fn = function(LEAVES[call.value].numpy)
    place = {e: k for k, e in enumerate(part.formula.inputs)}
    given = [place[a] if a in place else np.asarray(a.value, dtype) for a in call.args]
    if isinstance(fn, np.ufunc) and all(isinstance(g, int) and g == k for k, g in enumerate(given)):
        return fn

    def run(*arrays: Array) -> None:
        arrays[-1][...] = fn(*[arrays[g] if isinstance(g, int) else g for g in given])

    return run


class _Pieces:
    """The steps of a formula over registers: its inputs, its outputs, temporaries of a block."""

    def __init__(
        self, formula: Formula, found: Cut, dtype: np.dtype[Any], runs: Sequence[Any]
    ) -> None:
        self.nin = len(formula.inputs)
        self.types = [dtype if o.kind == "f" else np.dtype(bool) for o in formula.outputs]
        self.warns = any(p.alone for p in found.parts)
        self.least = WORTH if self.warns else 0
        registers = _Registers(found, self.nin, len(self.types))
        self.slots = registers.slots
        self.dtype = dtype
        self.steps = [
            (run, itemgetter(*registers.step(part, k)))
            for k, (part, run) in enumerate(zip(found.parts, runs))
        ]
        self.copies = registers.copies

    def __call__(self, *arrays: Array, out: Any = None) -> Any:
        single = len(self.types) == 1
        if len(arrays) > self.nin:
            arrays, out = arrays[: self.nin], arrays[self.nin :]
        given = () if out is None else (out,) if isinstance(out, np.ndarray) else tuple(out)
        outs = self._computed(arrays, given)
        if given:
            for target, value in zip(given, outs):
                if target is not value:
                    np.copyto(target, value, casting="same_kind")
            outs = given
        return outs[0] if single else tuple(outs)

    def _computed(self, arrays: Sequence[Array], given: Sequence[Any]) -> Sequence[Array]:
        """The results, in the arrays given where those may be written at once."""
        if not self.warns:
            return self._laid(arrays, given)
        with np.errstate(all="ignore"):
            return self._laid(arrays, given)

    def _laid(self, arrays: Sequence[Array], given: Sequence[Any]) -> Sequence[Array]:
        shapes = {a.shape for a in arrays if a.ndim}
        shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        direct = bool(given) and all(
            o.shape == shape and o.dtype == t and not any(np.may_share_memory(o, a) for a in arrays)
            for o, t in zip(given, self.types)
        )
        outs: list[Any] = list(given) if direct else [None] * len(self.types)
        whole = [a for a in (*arrays, *outs) if a is not None and a.size != 1]
        if any(a.shape != shape or not a.flags.c_contiguous for a in whole):
            return self._strided(arrays, outs)
        if not direct:
            outs = [np.empty(shape, t) for t in self.types]
        self._flat(
            [a.reshape(()) if a.size == 1 else a.reshape(-1) for a in arrays],
            [o.reshape(-1) for o in outs],
        )
        return outs

    def _scratch(self, size: int) -> list[Array]:
        """A temporary per slot for blocks of at most `size` elements."""
        types = {"f": self.dtype, "b": np.dtype(bool)}
        rows = {
            kind: iter(np.empty((self.slots.count(kind), size + _APART // t.itemsize), t))
            for kind, t in types.items()
        }
        return [next(rows[kind])[:size] for kind in self.slots]

    def _flat(self, ins: list[Array], outs: list[Array]) -> None:
        size = outs[0].size
        scratch = self._scratch(min(size, BLOCK))
        for start in range(0, size, BLOCK):
            part = slice(start, min(start + BLOCK, size))
            if size - start < BLOCK:
                scratch = [s[: size - start] for s in scratch]
            block = [a[part] if a.ndim else a for a in ins]
            self._block([*block, *[o[part] for o in outs], *scratch])

    def _strided(self, arrays: Sequence[Array], outs: Sequence[Any]) -> Sequence[Array]:
        """Broadcast and strided arrays: NumPy's iterator copies a block of those that need it."""
        reads: Any = ["readonly"]
        writes: Any = ["writeonly", "allocate", "no_broadcast"]
        iterator: Any = np.nditer(
            [*arrays, *outs],
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_flags=[reads] * len(arrays) + [writes] * len(outs),
            op_dtypes=[*[a.dtype for a in arrays], *self.types],
            buffersize=BLOCK,
        )
        scratch = self._scratch(BLOCK)
        with iterator:
            found = iterator.operands[len(arrays) :]
            for block in iterator if iterator.itersize else ():
                size = block[0].size
                self._block([*block, *[s[:size] for s in scratch]])
        return found  # type: ignore[no-any-return]

    def _block(self, registers: list[Array]) -> None:
        for run, pick in self.steps:
            run(*pick(registers))
        for source, target in self.copies:
            registers[target][...] = registers[source]


class _Registers:
    """Where each value of a cut lies: an input, an output, or a slot that is used again."""

    def __init__(self, found: Cut, nin: int, nout: int) -> None:
        self.first = nin + nout
        self.place = {k: k for k in range(nin)}
        self.slots: list[str] = []
        self.copies: list[tuple[int, int]] = []
        self.free: dict[str, list[int]] = {"f": [], "b": []}
        self.last = {k: at for at, p in enumerate(found.parts) for k in p.sources}
        self.count = nin
        for j, k in enumerate(found.outputs):
            if k in self.place:
                self.copies.append((self.place[k], nin + j))
            else:
                self.place[k] = nin + j

    def step(self, part: Part, at: int) -> list[int]:
        """The registers that part number `at` reads, then those that it writes."""
        ins = [self.place[k] for k in part.sources]
        outs = []
        for o in part.formula.outputs:
            if self.count not in self.place:
                if not self.free[o.kind]:
                    self.free[o.kind].append(len(self.slots))
                    self.slots.append(o.kind)
                self.place[self.count] = self.first + self.free[o.kind].pop()
            outs.append(self.place[self.count])
            self.count += 1
        for k, register in zip(part.sources, ins):
            slot = register - self.first
            if slot >= 0 and self.last[k] == at:
                self.free[self.slots[slot]].append(slot)
        return ins + outs
