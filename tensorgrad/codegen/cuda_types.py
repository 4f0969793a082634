"""What the operands of an elementwise formula are in CUDA C++, and the dtypes of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen.typed import BOOL_LEAVES, INTEGER_LEAVES, RefusedError, Types
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.traits import traits

DType = np.dtype[Any]

NAMES = {
    "bool": "bool", "int8": "signed char", "int16": "short", "int32": "int", "int64": "i64",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "u32", "uint64": "u64",
    "float16": "__half", "bfloat16": "__nv_bfloat16", "float32": "float", "float64": "double",
}  # fmt: skip
"""The C++ type of a value, by the name of its dtype."""

MEMORY = NAMES | {"bool": "unsigned char"}
"""The C++ type in memory: every byte but 0 is true there."""

_WHOLE = INTEGER_LEAVES | {"remainder", "floor_divide", "fmod"}
_KINDS = {"f": "fiubV", "i": "iu", "b": "b"}


class CudaTypes(Types):
    """The dtypes of a formula's nodes; every real leaf has a CUDA text."""

    def _has_leaf(self, e: Expr, met: DType) -> bool:
        return met.kind == "f" or e.value in (BOOL_LEAVES if met.kind == "b" else _WHOLE)


@dataclass(frozen=True, slots=True)
class Operands:
    """The dtypes of inputs and outputs as stored, and those of all nodes as computed."""

    inputs: tuple[DType, ...]
    outputs: tuple[DType, ...]
    types: Types


def result(formula: Formula, given: Sequence[DType]) -> DType:
    """The dtype of the real results for inputs of these dtypes: that of NumPy's promotion."""
    real = [d for d, e in zip(given, formula.inputs, strict=True) if e.kind == "f"]
    found = dtypes.result_type(*real) if real else dtypes.float64
    return dtypes.inexact(found) if traits(formula.inputs, formula.outputs).inexact else found


def operands(
    formula: Formula, given: Sequence[str], real: str | None, outs: Sequence[str] | None
) -> Operands | None:
    """The dtypes of a kernel, or None where it does not exist; `real` and `outs` as asked for."""
    if not formula.elementwise or not formula.inputs or len(given) != len(formula.inputs):
        return None
    if any(name not in NAMES for name in (*given, *(outs or ()), *([real] if real else ()))):
        return None
    ins = tuple(dtypes.dtype(name) for name in given)
    if any(d.kind not in _KINDS[e.kind] for d, e in zip(ins, formula.inputs, strict=True)):
        return None
    wanted = dtypes.dtype(real) if real else result(formula, ins)
    if wanted.name not in NAMES or not _holds(formula, ins, dtypes.compute(wanted)):
        return None
    whole = [d for d, e in zip(ins, formula.inputs, strict=True) if e.kind == "i"]
    try:
        types = CudaTypes(formula, wanted, whole)
    except RefusedError:
        return None
    own = tuple(wanted if o.kind == "f" else types.output(o) for o in formula.outputs)
    asked = own if outs is None else tuple(dtypes.dtype(name) for name in outs)
    alike = len(asked) == len(own) and all(
        dtypes.compute(a) == dtypes.compute(o) for a, o in zip(asked, own, strict=True)
    )
    return Operands(ins, asked, types) if alike else None


def _holds(formula: Formula, given: Sequence[DType], computed: DType) -> bool:
    """Whether every real input may be converted to the dtype that is computed in."""
    real = [d for d, e in zip(given, formula.inputs, strict=True) if e.kind == "f"]
    return all(np.can_cast(dtypes.compute(d), computed, "same_kind") for d in real)
