"""How the numbers of a dtype lie in memory, and how vectors of them are read and written."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.codegen.vectors import Vectors

PLAIN = frozenset(
    np.dtype(name) for name in dtypes.NAMES if name != "bfloat16" and "complex" not in name
)


def stored(dtype: np.dtype[Any]) -> bool:
    """Whether generated loops read and write this dtype: real, and of the machine's byte order."""
    return dtype in PLAIN or dtypes.is_half(dtype)


class Storage:
    """The memory type of a dtype; the 16-bit floats are floats of 32 bits once they are read."""

    def __init__(self, v: Vectors, dtype: np.dtype[Any]) -> None:
        self.v, self.dtype, self.size = v, dtype, dtype.itemsize
        real = dtype.kind == "f" and dtype.itemsize > 2
        self.scalar = (
            ("double" if dtype.itemsize == 8 else "float") if real else f"i{8 * self.size}"
        )
        self.vector = v.of(self.scalar)
        self.suffix = f"v{v.width}{'f' if real else 'i'}{8 * self.size}"
        self.pad = v.const(1) if real else "zeroinitializer"

    def unpack(self, x: str) -> str:
        """A vector as it was loaded, as a value."""
        v = self.v
        if self.dtype.kind == "b":
            return v.text.value(f"icmp ne {self.vector} {x}, zeroinitializer")
        if not dtypes.is_half(self.dtype):
            return x
        bits = v.text.value(f"zext {self.vector} {x} to {v.ints}")
        return _from_half(v, bits) if self.dtype.kind == "f" else _from_brain(v, bits)

    def pack(self, x: str) -> str:
        """A value as it is stored, rounded to nearest even."""
        v = self.v
        if self.dtype.kind == "b":
            return v.text.value(f"zext {v.bools} {x} to {self.vector}")
        if not dtypes.is_half(self.dtype):
            return x
        bits = _to_half(v, x) if self.dtype.kind == "f" else _to_brain(v, x)
        return v.text.value(f"trunc {v.ints} {bits} to {self.vector}")


# In integers, since LLVM calls a function per element where the processor has no such conversion.


def _is_at_least(v: Vectors, bits: str, limit: int) -> str:
    return v.text.value(f"icmp uge {v.ints} {bits}, {v.integer_const(limit)}")


def _from_brain(v: Vectors, bits: str) -> str:
    return v.from_bits(v.on_bits("shl", bits, 16))


def _to_brain(v: Vectors, x: str) -> str:
    """The upper half of the bits; ties go to even; a NaN is quiet and keeps its sign."""
    bits = v.bits(x)
    odd = v.on_bits("and", v.on_bits("lshr", bits, 16), 1)
    rounded = v.on_bits("lshr", v.on_bits("add", v.on_bits("add", bits, 0x7FFF), odd), 16)
    sign = v.on_bits("and", v.on_bits("lshr", bits, 16), 0x8000)
    return v.select(v.compare("uno", x, x), v.on_bits("or", sign, 0x7FC0), rounded, v.ints)


def _from_half(v: Vectors, bits: str) -> str:
    """Exponent rebiased by 112; a denormal is 2⁻¹⁴ (1 + m) less 2⁻¹⁴."""
    least = 113 << 23
    m = v.on_bits("shl", v.on_bits("and", bits, 0x7FFF), 13)
    small = v.sub(v.from_bits(v.on_bits("add", m, least)), v.const(2.0**-14))
    shift = v.select(
        _is_at_least(v, m, 0x7C00 << 13),
        v.integer_const(224 << 23), v.integer_const(112 << 23), v.ints,
    )  # fmt: skip
    normal = _is_at_least(v, m, 1 << 23)
    magnitude = v.select(normal, v.on_bits("add", m, shift), v.bits(small), v.ints)
    sign = v.on_bits("shl", v.on_bits("and", bits, 0x8000), 16)
    return v.from_bits(v.on_bits("or", magnitude, sign))


def _to_half(v: Vectors, x: str) -> str:
    """Rebiased and rounded to even; a denormal is rounded by adding 1/2, whose ulp is 2⁻²⁴."""
    bits = v.bits(x)
    u = v.on_bits("and", bits, 0x7FFFFFFF)
    odd = v.on_bits("and", v.on_bits("lshr", u, 13), 1)
    rebias = (0xFFF - (112 << 23)) % 2**32 - 2**32
    rounded = v.on_bits("lshr", v.on_bits("add", v.on_bits("add", u, rebias), odd), 13)
    small = v.on_bits("sub", v.bits(v.add(v.from_bits(u), v.const(0.5))), 126 << 23)
    result = v.select(_is_at_least(v, u, 113 << 23), rounded, small, v.ints)
    payload = v.on_bits("or", v.on_bits("and", v.on_bits("lshr", u, 13), 0x1FF), 0x7E00)
    nan = _is_at_least(v, u, 0x7F800001)
    beyond = v.select(nan, payload, v.integer_const(0x7C00), v.ints)
    result = v.select(_is_at_least(v, u, 143 << 23), beyond, result, v.ints)
    sign = v.on_bits("and", v.on_bits("lshr", bits, 16), 0x8000)
    return v.on_bits("or", result, sign)
