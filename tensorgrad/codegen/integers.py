"""Exact arithmetic on vectors of integers and of bools, as LLVM text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad.codegen.vectors import Vectors


class Integers:
    """Emits operations on vectors of one integer dtype; they wrap and shift as NumPy's do."""

    def __init__(self, v: Vectors, dtype: np.dtype[Any]) -> None:
        self.text, self.bools = v.text, v.bools
        self.bits, self.signed = 8 * dtype.itemsize, dtype.kind == "i"
        self.kind = v.of(f"i{self.bits}")
        self.width = v.width

    def const(self, x: int) -> str:
        half = 1 << (self.bits - 1)
        return f"splat (i{self.bits} {(x + half) % (2 * half) - half})"

    def _two(self, operation: str, a: str, b: str) -> str:
        return self.text.value(f"{operation} {self.kind} {a}, {b}")

    def add(self, a: str, b: str) -> str:
        return self._two("add", a, b)

    def sub(self, a: str, b: str) -> str:
        return self._two("sub", a, b)

    def mul(self, a: str, b: str) -> str:
        return self._two("mul", a, b)

    def neg(self, a: str) -> str:
        return self.sub("zeroinitializer", a)

    def bitand(self, a: str, b: str) -> str:
        return self._two("and", a, b)

    def bitor(self, a: str, b: str) -> str:
        return self._two("or", a, b)

    def bitxor(self, a: str, b: str) -> str:
        return self._two("xor", a, b)

    def invert(self, a: str) -> str:
        return self.bitxor(a, self.const(-1))

    def compare(self, predicate: str, a: str, b: str) -> str:
        """`eq`, `ne`, `lt`, `le`, `gt`, by the signedness of the dtype."""
        signed = predicate if predicate in ("eq", "ne") else "us"[self.signed] + predicate
        return self._two(f"icmp {signed}", a, b)

    def select(self, condition: str, a: str, b: str) -> str:
        kind = self.kind
        return self.text.value(f"select {self.bools} {condition}, {kind} {a}, {kind} {b}")

    def _shift(self, operation: str, a: str, n: str, beyond: str) -> str:
        # As unsigned, a negative width is too large as well.
        inside = self._two("icmp ult", n, self.const(self.bits))
        shifted = self._two(operation, a, self.select(inside, n, "zeroinitializer"))
        return self.select(inside, shifted, beyond)

    def shl(self, a: str, n: str) -> str:
        return self._shift("shl", a, n, "zeroinitializer")

    def shr(self, a: str, n: str) -> str:
        if not self.signed:
            return self._shift("lshr", a, n, "zeroinitializer")
        return self._shift("ashr", a, n, self._two("ashr", a, self.const(self.bits - 1)))

    def maximum(self, a: str, b: str) -> str:
        return self.select(self.compare("gt", a, b), a, b)

    def minimum(self, a: str, b: str) -> str:
        return self.select(self.compare("lt", a, b), a, b)

    def clip(self, x: str, low: str, high: str) -> str:
        return self.minimum(self.maximum(x, low), high)

    def relu(self, x: str) -> str:
        return self.maximum(x, "zeroinitializer")

    def square(self, x: str) -> str:
        return self.mul(x, x)

    def signbit(self, x: str) -> str:
        return self.compare("lt", x, "zeroinitializer")

    def abs(self, x: str) -> str:
        return self.select(self.signbit(x), self.neg(x), x)

    def sign(self, x: str) -> str:
        positive = self.select(self.compare("gt", x, "zeroinitializer"), self.const(1), x)
        return self.select(self.signbit(x), self.const(-1), positive)

    def same(self, x: str) -> str:
        """x: an integer is its own floor, ceiling and rounding."""
        return x

    def never(self, x: str) -> str:
        return self._two("icmp ne", x, x)

    def always(self, x: str) -> str:
        return self._two("icmp eq", x, x)


_NAMES = {
    "fmax": "maximum", "fmin": "minimum", "floor": "same", "ceil": "same", "trunc": "same",
    "round": "same", "isnan": "never", "isinf": "never", "isfinite": "always",
}  # fmt: skip


def integer_call(leaf: str, v: Vectors, dtype: np.dtype[Any], args: list[str]) -> str:
    """A leaf on integers, one of `typed.INTEGER_LEAVES`."""
    return str(getattr(Integers(v, dtype), _NAMES.get(leaf, leaf))(*args))


def _not(v: Vectors, a: str) -> str:
    return v.logic("xor", a, v.bool_const(True))


def _or(v: Vectors, a: str, b: str) -> str:
    return v.logic("or", a, b)


def _and(v: Vectors, a: str, b: str) -> str:
    return v.logic("and", a, b)


BOOL_OPERATIONS: dict[str, Callable[..., str]] = {
    "and": _and,
    "or": _or,
    "not": _not,
    "add": _or,
    "mul": _and,
    "eq": lambda v, a, b: _not(v, v.logic("xor", a, b)),
    "lt": lambda v, a, b: _and(v, _not(v, a), b),
    "le": lambda v, a, b: _or(v, _not(v, a), b),
    "maximum": _or,
    "fmax": _or,
    "minimum": _and,
    "fmin": _and,
    "clip": lambda v, x, low, high: _and(v, _or(v, x, low), high),
    "relu": lambda v, x: x,
}
"""What opcodes and leaves are on bools, as NumPy has it: a sum is an `or`."""
