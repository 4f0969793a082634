"""Formulas beyond one CUDA kernel, as a sequence of kernels over temporary arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tensorgrad.codegen.cuda import MOST_INPUTS, MOST_OUTPUTS, MOST_WORK, supports, work
from tensorgrad.codegen.cuda_types import Operands, operands
from tensorgrad.expr.cut import Cut, cut
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo

LARGEST = 16 * MOST_WORK
"""Work of the largest formula that is compiled at all: some seconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel: `elementwise(formula, given, ..., real=real, outs=outs)`.

    `sources` number the values that it reads: the inputs of the whole formula from 0, then the
    outputs of the parts in order.
    """

    formula: Formula
    sources: tuple[int, ...]
    given: tuple[str, ...]
    outs: tuple[str, ...]
    real: str


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts in the order in which they run; outputs[k] is the number of the value of output k.

    An output may be an input, or the same value as another output; dtypes[k] is what output k must
    be converted to where its value is held in another dtype.
    """

    parts: tuple[Part, ...]
    outputs: tuple[int, ...]
    dtypes: tuple[str, ...]


def parts(formula: Formula, given: Sequence[str]) -> Parts | None:
    """The kernels of a formula that `supports` refuses for its size alone; None for all others.

    What passes between parts is held in the dtype that is computed in, so that the 16-bit floats
    are rounded only where an output is.
    """
    nodes = topo(formula.outputs)
    if any(e.op == "index" for e in nodes) or sum(map(work, nodes)) > LARGEST:
        return None
    found = operands(formula, given, None, None)
    if found is None or supports(formula, given):
        return None
    pieces = cut(formula, nodes=MOST_WORK, inputs=MOST_INPUTS, outputs=MOST_OUTPUTS, work=work)
    return _typed(pieces, found)


def _typed(pieces: Cut, whole: Operands) -> Parts | None:
    """The parts with the dtypes in which their values are held, or None where one has no kernel."""
    real = whole.types.real.name
    held = [d.name for d in whole.inputs]
    read = {k for p in pieces.parts for k in p.sources}
    wanted = {k: d.name for k, d in zip(pieces.outputs, whole.outputs, strict=True)}
    made = []
    for p in pieces.parts:
        given = tuple(held[k] for k in p.sources)
        found = operands(p.formula, given, real, None)
        if found is None:
            return None
        numbers = range(len(held), len(held) + len(found.outputs))
        outs = tuple(
            d.name if k in read else wanted[k] for k, d in zip(numbers, found.outputs, strict=True)
        )
        made.append(Part(p.formula, p.sources, given, outs, real))
        held.extend(outs)
    return Parts(tuple(made), pieces.outputs, tuple(d.name for d in whole.outputs))
