"""`show`: what is computed, as text: the formula, its derivatives, the code generated for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from tensorgrad import dtypes
from tensorgrad.core.formula import FormulaPrimitive
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.expr import Derivative, Formula, topo
from tensorgrad.expr import show as written
from tensorgrad.transforms.fuse import fuse


def show(f: Callable[..., Any], *, order: int = 1, dtype: Any = "float32") -> None:
    """Print the formula of `f`, those of its VJPs to order `order`, and the LLVM text of each.

    `f` is a fused function, an operation that is a formula (`tg.silu`, `tg.softmax`), or a plain
    elementwise function. A VJP is with respect to all real inputs; `y0` is output 0 of what it
    belongs to, `ct0` that output's cotangent. The text is that for arrays of `dtype`; None prints
    the formulas alone. Where there is no text the reason stands in its place.

    Raises TypeError for a function without a formula, ValueError for a negative order.

    >>> import tensorgrad as tg
    >>> def damped(t, rate):
    ...     return tg.cos(t) * tg.exp(-(rate * t))
    >>> show(damped, dtype=None)
    damped(t, rate):
      return cos(t) * exp(-(rate * t))
    <BLANKLINE>
    damped_vjp(t, rate, ct0):
      %0 = exp(-(rate * t))
      %1 = -(ct0 * cos(t) * %0)
      return %1 * rate + -(ct0 * %0 * sin(t)), %1 * t
      # cotangent of t: result 0
      # cotangent of rate: result 1
    """
    if order < 0:
        raise ValueError(f"show: got order={order}, expected 0 or more; try order=1")
    kind = None if dtype is None else dtypes.dtype(dtype)
    print("\n\n".join(section for section in _sections(_formula(f), order, kind)))


def _formula(f: Any) -> Formula:
    """The formula behind a function."""
    found = getattr(f, "primitive", None)
    name = getattr(f, "__name__", repr(f))
    home = getattr(f, "__module__", None) or ""
    if found is None and home.partition(".")[0] == "tensorgrad":
        found = PRIMITIVES.get(name)
    if isinstance(found, FormulaPrimitive):
        return found.formula
    try:
        return fuse(f).primitive.formula  # type: ignore[attr-defined, no-any-return]
    except TypeError as error:
        raise TypeError(
            f"show: got {name}, expected a fused function or an operation that is one formula "
            f"({error}); try tg.fuse"
        ) from None


def _sections(formula: Formula, order: int, dtype: Any) -> Iterator[str]:
    belongs = ""
    for left in range(order, -1, -1):
        yield written(formula) + belongs
        if dtype is not None:
            yield _code(formula, dtype)
        wanted, cts = (_real(nodes) for nodes in (formula.inputs, formula.outputs))
        if not left or not wanted or not cts:
            return
        found = formula.vjp(wanted, cts)
        if found.formula is None:
            yield _results(formula, wanted, found).strip("\n")
            return
        belongs, formula = _results(formula, wanted, found), found.formula


def _real(nodes: Any) -> tuple[int, ...]:
    return tuple(k for k, e in enumerate(nodes) if e.kind == "f")


def _results(formula: Formula, wanted: tuple[int, ...], found: Derivative) -> str:
    """Lines that say what of a derivative is the cotangent of which input."""
    lines = []
    for k, result in zip(wanted, found.results):
        if result is None:
            what = "zero"
        elif result[0] == "ct":
            what = f"ct{result[1]} itself"
        else:
            what = f"result {result[1]}"
        lines.append(f"\n  # cotangent of {formula.inputs[k]}: {what}")
    return "".join(lines)


def _code(formula: Formula, dtype: Any) -> str:
    """The LLVM text of a formula in a dtype, or why there is none."""
    if os.environ.get("TG_KERNELS") == "0":
        return "; no LLVM text: the environment says TG_KERNELS=0; NumPy runs it"
    from tensorgrad.codegen import llvm, pieces, rows, rows_plan  # late: for import time

    if llvm.supports(formula, dtype):
        return str(llvm.function(formula, dtype)).rstrip()
    if not formula.elementwise and rows_plan.supports(formula, dtype, False):
        return "; the reduced axes trailing\n" + str(rows.function(formula, dtype, False)).rstrip()
    found = pieces.parts(formula, dtype)
    if found is None:
        return f"; no LLVM text: {_reason(formula, dtype)}; NumPy runs it"
    texts = [f"; {len(found.parts)} parts, run one after another on blocks of {pieces.BLOCK}"]
    for part in found.parts:
        if part.alone:
            texts.append("; NumPy: " + " ".join(written(part.formula).split()))
        else:
            texts.append(str(llvm.function(part.formula, dtype)).rstrip())
    return "\n\n".join(texts)


def _reason(formula: Formula, dtype: Any) -> str:
    from tensorgrad.codegen.approx import has_body  # late: for import time

    names = {e.value for e in topo(formula.outputs) if e.op == "call"}
    missing = sorted(n for n in names if not has_body(n, dtype.itemsize == 8))
    if missing:
        return f"{', '.join(missing)} without generated code in {dtype.name}"
    return f"its nodes have no generated code in {dtype.name}, or are too many"
