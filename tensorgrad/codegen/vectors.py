"""Straight-line arithmetic on vectors of one width, as LLVM text."""

from __future__ import annotations

import struct
from collections.abc import Sequence


class Text:
    """The lines of one LLVM function, and what they call.

    declared: intrinsics; defined: functions and constants beside this one, by name, whole;
    known: what bodies share, valid up to the next label.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.declared: set[str] = set()
        self.defined: dict[str, str] = {}
        self.known: dict[object, tuple[str, ...]] = {}
        self._count = 0

    def put(self, line: str) -> None:
        """A line without a result."""
        self.lines.append("  " + line)

    def value(self, line: str) -> str:
        """A line with a result; returns the name that it got."""
        self._count += 1
        self.put(f"%v{self._count} = {line}")
        return f"%v{self._count}"

    def label(self, name: str) -> None:
        """The start of a basic block."""
        self.known.clear()
        self.lines.append(name + ":")

    def below(self) -> list[str]:
        """What stands in the module after the function."""
        return [*sorted(self.declared), *self.defined.values()]

    def declare(self, declaration: str) -> None:
        """An intrinsic that the function calls."""
        self.declared.add("declare " + declaration)


class Vectors:
    """Emits operations on vectors of `width` floats (`double` or single), integers and bools.

    Values are the names of LLVM registers or constants. No operation carries a fast-math flag, and
    `fma` is the only one that contracts.
    """

    def __init__(self, text: Text, double: bool) -> None:
        self.text, self.double = text, double
        self.scalar, self.integer = ("double", "i64") if double else ("float", "i32")
        self.width = 16 if double else 32
        self.floats, self.ints = self.of(self.scalar), self.of(self.integer)
        self.bools = self.of("i1")
        self.mantissa, self.bias = (52, 1023) if double else (23, 127)

    def of(self, scalar: str) -> str:
        """The vector type with that element."""
        return f"<{self.width} x {scalar}>"

    def const(self, x: float) -> str:
        """A constant; it must be exact in the element type, or is rounded to it."""
        if not self.double:
            x = struct.unpack("f", struct.pack("f", x))[0]
        bits = struct.unpack(">Q", struct.pack(">d", x))[0]
        return f"splat ({self.scalar} 0x{bits:016X})"

    def integer_const(self, x: int) -> str:
        return f"splat ({self.integer} {x})"

    def bool_const(self, x: bool) -> str:
        return f"splat (i1 {'true' if x else 'false'})"

    def _two(self, operation: str, kind: str, a: str, b: str) -> str:
        return self.text.value(f"{operation} {kind} {a}, {b}")

    def add(self, a: str, b: str) -> str:
        return self._two("fadd", self.floats, a, b)

    def sub(self, a: str, b: str) -> str:
        return self._two("fsub", self.floats, a, b)

    def mul(self, a: str, b: str) -> str:
        return self._two("fmul", self.floats, a, b)

    def div(self, a: str, b: str) -> str:
        return self._two("fdiv", self.floats, a, b)

    def neg(self, a: str) -> str:
        return self.text.value(f"fneg {self.floats} {a}")

    def compare(self, predicate: str, a: str, b: str) -> str:
        """A float comparison by LLVM's name: `olt` is false with a NaN, `une` is true with one."""
        return self._two(f"fcmp {predicate}", self.floats, a, b)

    def logic(self, operation: str, a: str, b: str) -> str:
        """`and`, `or`, `xor` of bools."""
        return self._two(operation, self.bools, a, b)

    def select(self, condition: str, a: str, b: str, kind: str = "") -> str:
        kind = kind or self.floats
        return self.text.value(f"select {self.bools} {condition}, {kind} {a}, {kind} {b}")

    def intrinsic(self, name: str, *args: str) -> str:
        """LLVM's intrinsic of that name on floats."""
        full = f"@llvm.{name}.v{self.width}{'f64' if self.double else 'f32'}"
        self.text.declare(f"{self.floats} {full}({', '.join([self.floats] * len(args))})")
        given = ", ".join(f"{self.floats} {a}" for a in args)
        return self.text.value(f"call {self.floats} {full}({given})")

    def fma(self, a: str, b: str, c: str) -> str:
        """a b + c, rounded once."""
        return self.intrinsic("fma", a, b, c)

    def abs(self, a: str) -> str:
        return self.intrinsic("fabs", a)

    def copysign(self, a: str, sign: str) -> str:
        return self.intrinsic("copysign", a, sign)

    def polynomial(self, x: str, coefficients: Sequence[float], monic: bool = False) -> str:
        """Horner's rule, the highest power first; `monic` prepends a coefficient 1."""
        first, *rest = coefficients
        result = self.add(x, self.const(first)) if monic else self.const(first)
        for c in rest:
            result = self.fma(result, x, self.const(c))
        return result

    def bits(self, a: str) -> str:
        return self.text.value(f"bitcast {self.floats} {a} to {self.ints}")

    def from_bits(self, a: str) -> str:
        return self.text.value(f"bitcast {self.ints} {a} to {self.floats}")

    def on_bits(self, operation: str, a: str, b: int | str) -> str:
        """An integer operation; a Python integer stands for a constant."""
        other = self.integer_const(b) if isinstance(b, int) else b
        return self._two(operation, self.ints, a, other)

    def to_float(self, a: str) -> str:
        return self.text.value(f"sitofp {self.ints} {a} to {self.floats}")

    def power_of_two(self, n: str) -> str:
        """2ⁿ for integers n of the normal range."""
        return self.from_bits(self.on_bits("shl", self.on_bits("add", n, self.bias), self.mantissa))
