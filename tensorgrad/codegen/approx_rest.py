"""The remainder of doubles, exact, as a function of its own beside the loop.

A quotient below 2⁵² is rounded to an integer that is right or one too large, and a - q b is then
exact in one fma. Larger ones are divided 50 bits at a time, with b times a power of two.
"""

from __future__ import annotations

import copy
import math

from tensorgrad.codegen.vectors import Text, Vectors

_MANTISSA, _SHIFT = (1 << 52) - 1, 50
_BOUND = 2.0**52
_TINY, _UP = 2.0**-800, 200
"""A rest below it is taken times 2^200, and b with it, so that powers of two find room."""


def rest_of(v: Vectors, a: str, b: str) -> str:
    """a - b trunc(a / b) for a >= 0 and b >= 0; NaN where b is 0 or a infinite."""
    name = f"@KERNEL.rest{v.width}"
    if name not in v.text.defined:
        v.text.defined[name] = _function(v, name)
    return v.text.value(f"call {v.floats} {name}({v.floats} {a}, {v.floats} {b})")


def _function(v: Vectors, name: str) -> str:
    w = copy.copy(v)
    w.text = t = Text()
    t.label("entry")
    wanted = w.compare("oge", w.div("%a", "%b"), w.const(_BOUND))
    # The quotients of infinity, and those by 0, stay so: they are NaN below.
    possible = w.compare("olt", "%a", w.const(math.inf))
    possible = w.logic("and", possible, w.compare("ogt", "%b", w.const(0)))
    wanted = w.logic("and", wanted, possible)
    t.put(f"br i1 {_some(w, wanted)}, label %far, label %near")
    t.label("far")
    low = w.compare("olt", "%b", w.const(2.0**-1022))
    mantissa = w.bits(w.select(low, w.mul("%b", w.const(2.0**54)), "%b"))
    mantissa = w.on_bits("and", mantissa, _MANTISSA)
    t.put("br label %step")
    t.label("step")
    _step(w, mantissa, wanted)
    t.label("done")
    far = w.mul("%rest.next", "%down.next")
    t.put("br label %near")
    t.label("near")
    t.put(f"%start = phi {w.floats} [%a, %entry], [{far}, %done]")
    found = _less(w, "%start", "%b")
    t.put(f"ret {w.floats} {found}")
    v.text.declared |= t.declared
    head = f"define internal {w.floats} {name}({w.floats} %a, {w.floats} %b) {{"
    return "\n".join([head, *t.lines, "}"])


def _some(w: Vectors, lanes: str) -> str:
    """Whether any of these bools holds."""
    name = f"@llvm.vector.reduce.or.v{w.width}i1"
    w.text.declare(f"i1 {name}({w.bools})")
    return w.text.value(f"call i1 {name}({w.bools} {lanes})")


def _step(w: Vectors, mantissa: str, wanted: str) -> None:
    """The block that takes 49 bits at least off every quotient of 2⁵² or more, and repeats."""
    t = w.text
    for kind, register, first in (
        (w.floats, "%rest", "%a"),
        (w.floats, "%divisor", "%b"),
        (w.floats, "%down", w.const(1)),
        (w.bools, "%active", wanted),
    ):
        t.put(f"{register} = phi {kind} [{first}, %far], [{register}.next, %step]")
    tiny = w.compare("olt", "%rest", w.const(_TINY))
    tiny = w.logic("and", tiny, w.compare("oeq", "%down", w.const(1)))
    up = w.select(tiny, w.const(2.0**_UP), w.const(1))
    rest = w.mul("%rest", up)
    t.put(f"%divisor.next = fmul {w.floats} %divisor, {up}")
    down = w.const(2.0**-_UP)
    t.put(f"%down.next = select {w.bools} {tiny}, {w.floats} {down}, {w.floats} %down")
    power = w.on_bits("lshr", w.bits(rest), 52)
    power = w.on_bits("shl", w.on_bits("sub", power, _SHIFT), 52)
    after = _less(w, rest, w.from_bits(w.on_bits("or", mantissa, power)))
    t.put(f"%rest.next = select {w.bools} %active, {w.floats} {after}, {w.floats} {rest}")
    again = w.compare("oge", w.div("%rest.next", "%divisor.next"), w.const(_BOUND))
    t.put(f"%active.next = and {w.bools} {again}, {wanted}")
    t.put(f"br i1 {_some(w, '%active.next')}, label %step, label %done")


def _less(w: Vectors, a: str, b: str) -> str:
    """a - b trunc(a / b) for quotients below 2⁵²."""
    whole = w.intrinsic("trunc", w.div(a, b))
    rest = w.fma(w.neg(whole), b, a)
    return w.select(w.compare("olt", rest, w.const(0)), w.add(rest, b), rest)
