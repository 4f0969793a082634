"""Functions of whole numbers; constants, off the tape.

>>> gcd([12, 18], 8)
tensor([4, 2])
"""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.rounding import aligned
from tensorgrad.ops.shape import astype


def _whole(op: str, *values: Any) -> list[Any]:
    """Integers; a bool counts as one beside an integer."""
    found = list(operands(values, op))
    dtype = dtypes.result_type(*[x.dtype for x in found])
    if dtype.kind in "iu":
        found = [astype(x, dtype, copy=False) for x in found]
    for x in found:
        need(x.dtype.kind in "iu", op, x=x, want="integers", fix="x.astype(int)", error=DTypeError)
    return found


def _pair(name: str) -> Primitive:
    """A primitive of two arrays of integers that broadcast."""

    def batch(inputs: Any, batched: Any) -> Any:
        return found.bind(*aligned(inputs, batched))

    found: Primitive = primitive(
        name,
        nin=2,
        spec=lambda x, y: Spec(
            shapes.broadcast(x.shape, y.shape, op=name), dtypes.result_type(x.dtype, y.dtype)
        ),
        batch=batch,
        params=False,
    )
    return found


gcd_p, lcm_p = _pair("gcd"), _pair("lcm")
bitwise_count_p: Primitive = primitive(
    "bitwise_count",
    nin=1,
    spec=lambda x: Spec(x.shape, dtypes.dtype("uint8")),
    batch=lambda inputs, batched: bitwise_count_p.bind(*inputs),
    params=False,
)


def _pairs(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.integers(-40, 40, *s)):
        yield (x, r.integers(-9, 9, *x.shape)), {}
    yield (r.integers(0, 9, 3, 1), r.integers(0, 9, 4)), {}
    yield (r.integers(0, 9, 5), 6), {}


@operation(numpy="gcd", oracle="gcd", samples=_pairs, orders=0)
def gcd(x1: Any, x2: Any, /) -> Any:
    """The greatest common divisor of |x1| and |x2|, elementwise; gcd(0, n) = |n|."""
    return gcd_p.bind(*_whole("gcd", x1, x2))


@operation(numpy="lcm", oracle="lcm", samples=_pairs, orders=0)
def lcm(x1: Any, x2: Any, /) -> Any:
    """The least common multiple of |x1| and |x2|, elementwise."""
    return lcm_p.bind(*_whole("lcm", x1, x2))


def _singles(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.integers(-40, 40, *s)):
        yield (x,), {}


@operation(numpy="bitwise_count", oracle="bitwise_count", samples=_singles, orders=0)
def bitwise_count(x: Any, /) -> Any:
    """How many bits of |x| are set, as uint8."""
    x = operand(x, (), "bitwise_count")
    return bitwise_count_p.bind(
        *_whole("bitwise_count", astype(x, "int8") if x.dtype.kind == "b" else x)
    )
