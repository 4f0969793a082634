"""Convolution and correlation of two sequences, as NumPy has them: direct, O(n m).

>>> convolve([1.0, 2.0, 3.0], [0.0, 1.0, 0.5])
tensor([0. , 1. , 2.5, 4. , 1.5])
"""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import flip
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import reshape

MODES: dict[Any, str] = {"full": "full", "same": "same", "valid": "valid",
                         2: "full", 1: "same", 0: "valid"}  # fmt: skip


def _spec(a: Spec, v: Spec, *, full: bool) -> Spec:
    n, m = a.shape[0], v.shape[0]
    size = n + m - 1 if full else abs(n - m) + 1
    return Spec((size,), dtypes.result_type(a.dtype, v.dtype))


def _turned(x: Any) -> Any:
    return flip(conj(x), 0)


def _partner(ct: Any, length: int, other: Any, full: bool) -> Any:
    """The cotangent of the factor of `length` elements; `other` is the other one."""
    if full:
        return convolve_p.bind(ct, _turned(other), full=False)
    # Of a valid convolution the longer factor is seen by every place, the shorter slides.
    return convolve_p.bind(ct, _turned(other), full=length >= other.shape[0])


def _batch(inputs: Any, batched: Any, *, full: bool) -> Any:
    size = next(len(x) for x, b in zip(inputs, batched) if b)
    rows = [convolve_p.bind(*[x[k] if b else x for x, b in zip(inputs, batched)], full=full)
            for k in range(size)]  # fmt: skip
    return stack(rows, 0)


convolve_p: Primitive = primitive(
    "convolve",
    nin=2,
    spec=_spec,
    vjp=(
        lambda ct, out, a, v, *, full: _partner(ct, a.shape[0], v, full),
        lambda ct, out, a, v, *, full: _partner(ct, v.shape[0], a, full),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=_batch,
)
"""Σ a[i] v[k - i] of two vectors: every k, or those where the shorter lies within the longer."""


def _pairs(modes: Any) -> Any:
    def samples(r: Any) -> Any:
        for n, m in ((5, 3), (3, 5), (4, 4), (1, 4), (6, 1), (1, 1)):
            for mode in modes:
                yield (r.normal(n), r.normal(m), mode), {}
        yield (r.normal(6, 2)[::2, 1], r.normal(2)), {}
        a, v = r.normal(5) + 1j * r.normal(5), r.normal(3) + 1j * r.normal(3)
        for mode in ("full", "same", "valid"):
            yield (a, v), {"mode": mode}
            yield (v, r.normal(4)), {"mode": mode}
        yield (r.integers(0, 9, 4), r.integers(0, 9, 2)), {}

    return samples


def _vectors(op: str, a: Any, v: Any, mode: Any) -> tuple[Any, Any, str]:
    """The two vectors and the mode, checked."""
    a, v = operands((a, v), op)
    need(mode in MODES, op, mode=mode, want="'full', 'same' or 'valid'", fix="mode='full'",
         error=ValueError)  # fmt: skip
    a, v = (x if x.ndim else reshape(x, (1,)) for x in (a, v))
    need(a.ndim == v.ndim == 1 and a.size and v.size, op, a=a, v=v,
         want="two vectors that are not empty", fix="tg.vmap, or tg.signal for more axes",
         error=ShapeError)  # fmt: skip
    return a, v, MODES[mode]


@operation(numpy="convolve", oracle="convolve", samples=_pairs(("full", "same", "valid")))
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Σ_i a[i] v[k - i] of two vectors.

    "full": all len(a) + len(v) - 1 places; "same": as many as the longer has, in the middle;
    "valid": those where one lies within the other.
    """
    a, v, mode = _vectors("convolve", a, v, mode)
    found = convolve_p.bind(a, v, full=mode != "valid")
    if mode != "same":
        return found
    start = (min(a.size, v.size) - 1) // 2
    return found[start : start + max(a.size, v.size)]


@operation(numpy="correlate", oracle="correlate", samples=_pairs(("valid", "same", "full")))
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Σ_i a[i + k] conj(v[i]) of two vectors; modes as in `convolve`."""
    a, v, mode = _vectors("correlate", a, v, mode)
    found = convolve_p.bind(a, _turned(v), full=mode != "valid")
    if mode != "same":
        return found
    # NumPy swaps the two where v is the longer and turns the result round.
    short = min(a.size, v.size)
    start = short // 2 if v.size > a.size else (short - 1) // 2
    return found[start : start + max(a.size, v.size)]
