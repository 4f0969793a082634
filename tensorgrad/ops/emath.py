"""Functions whose result is complex where a real one does not exist, as `numpy.emath` has them.

>>> sqrt(-1.0)
tensor(0.+1.j)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad.core.calls import operand, operands
from tensorgrad.core.registry import operation
from tensorgrad.ops import elementary, elementwise
from tensorgrad.ops.rounding import readable
from tensorgrad.ops.shape import astype


def _complex(x: Any) -> Any:
    return astype(x, dtypes.result_type(x.dtype, "complex64"), copy=False)


def _extended(x: Any, outside: Callable[[Any], Any]) -> Any:
    """x, complex if an element lies outside what the real function takes (or cannot be read)."""
    if x.dtype.kind == "c":
        return x
    if not dtypes.is_inexact(x.dtype):
        x = astype(x, dtypes.float64)
    beyond = outside(x.detach()).any()
    return _complex(x) if not readable(beyond) or bool(beyond) else x


def _negative(x: Any) -> Any:
    return x < 0


def _far(x: Any) -> Any:
    return abs(x) > 1


def _samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.uniform(1.2, 3, *s)):
        if x.size:
            yield (-x,), {}
    yield (r.uniform(0.3, 0.9, 3) + 1j * r.uniform(0.2, 1, 3),), {}
    yield (np.array([-2, -3]),), {}


def _one(name: str, function: Callable[..., Any], doc: str, outside: Any = _negative) -> Any:
    def call(x: Any) -> Any:
        return function(_extended(operand(x, (), f"emath.{name}"), outside))

    call.__name__ = call.__qualname__ = name
    call.__doc__ = doc
    enter = operation(
        numpy=f"emath.{name}", oracle=f"emath.{name}", samples=_samples, namespace="emath"
    )
    return enter(call)


sqrt = _one("sqrt", elementary.sqrt, "The square root, imaginary for negative x.")
log = _one("log", elementary.log, "The natural logarithm, log|x| + iπ for negative x.")
log2 = _one("log2", elementary.log2, "The logarithm to base 2 of any x but 0.")
log10 = _one("log10", elementary.log10, "The logarithm to base 10 of any x but 0.")
arccos = _one("arccos", elementary.arccos, "The angle whose cosine is x, for any x.", _far)
arcsin = _one("arcsin", elementary.arcsin, "The angle whose sine is x, for any x.", _far)
arctanh = _one("arctanh", elementary.arctanh, "The inverse hyperbolic tangent of any x.", _far)


def _bases(r: Any) -> Any:
    for (x,), _ in _samples(r):
        yield (3.0, x), {}


@operation(numpy="emath.logn", oracle="emath.logn", samples=_bases, namespace="emath")
def logn(n: Any, x: Any) -> Any:
    """The logarithm of x to base n: log(x) / log(n)."""
    n, x = operands((n, x), "emath.logn")
    return log(x) / log(n)


def _powers(r: Any) -> Any:
    for (x,), _ in _samples(r):
        yield (x if x.dtype.kind != "i" else x * 1.0, 1.5), {}
    yield (-r.uniform(1, 2, 3), r.uniform(-2, 2, 3)), {}


@operation(numpy="emath.power", oracle="emath.power", samples=_powers, namespace="emath")
def power(x: Any, p: Any) -> Any:
    """x to the power p, complex for negative x; negative powers of integers are floats."""
    x, p = operands((x, p), "emath.power")
    if dtypes.is_inexact(x.dtype) or bool((x.detach() < 0).any()):
        x = _extended(x, _negative)
    if not dtypes.is_inexact(p.dtype) and bool((p.detach() < 0).any()):
        p = astype(p, dtypes.float64)
    return elementwise.power(x, p)
