"""Convolution and correlation over any number of axes: place by place, or by Fourier transforms.

>>> convolve([[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0]])
tensor([[1., 3., 2.],
       [3., 7., 4.]])
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.axes import flip, moveaxis
from tensorgrad.ops.complex import conj
from tensorgrad.ops.fft.transforms import fftn, ifftn, irfftn, rfftn
from tensorgrad.ops.shape import all_batched, astype, expand_dims, reshape
from tensorgrad.ops.signal.frames import added
from tensorgrad.ops.signal.resampling import longer, on_last
from tensorgrad.ops.slicing import index_p

Full = tuple[bool, ...]

MODES = ("full", "same", "valid")

BLOCK = 8
"""How many times as long as the shorter array a block of a long convolution is."""

# -- place by place ----------------------------------------------------------------------------


def lengths(a: Sequence[int], v: Sequence[int], full: Full) -> shapes.Shape:
    """The lengths of a convolution: all places of an axis, or where one lies in the other."""
    return tuple([n + m - 1 if f else abs(n - m) + 1 for n, m, f in zip(a, v, full)])


def _spec(a: Spec, v: Spec, *, full: Full) -> Spec:
    lead = a.ndim - len(full)
    shape = (*a.shape[:lead], *lengths(a.shape[lead:], v.shape[lead:], full))
    return Spec(shape, dtypes.result_type(a.dtype, v.dtype))


def turned(x: Any, count: int) -> Any:
    """The conjugate, turned round along the last `count` axes."""
    return flip(conj(x), tuple(range(x.ndim - count, x.ndim)))


def _partner(ct: Any, x: Any, other: Any, full: Full) -> Any:
    """The cotangent of the factor x: of a valid axis the longer is seen by every place."""
    count = len(full)
    sizes = zip(x.shape[x.ndim - count :], other.shape[other.ndim - count :])
    ways = tuple([not f and n >= m for f, (n, m) in zip(full, sizes)])
    return convolve_nd_p.bind(ct, turned(other, count), full=ways)


convolve_nd_p: Primitive = primitive(
    "convolve_nd",
    nin=2,
    spec=_spec,
    vjp=(
        lambda ct, out, a, v, *, full: _partner(ct, a, v, full),
        lambda ct, out, a, v, *, full: _partner(ct, v, a, full),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=lambda inputs, batched, *, full: convolve_nd_p.bind(
        *all_batched(inputs, batched), full=full
    ),
)
"""Σ_i a[..., i] v[..., k - i] over the last len(full) axes; the axes before are equal in both."""


# -- arguments ---------------------------------------------------------------------------------


def _pair(op: str, in1: Any, in2: Any, mode: str) -> tuple[Any, Any]:
    a, v = operands((in1, in2), op)
    need(mode in MODES, op, mode=mode, want="full, same or valid", fix="mode='full'",
         error=ValueError)  # fmt: skip
    need(a.ndim == v.ndim, op, in1=a, in2=v, want="as many axes in both", fix="in2[None]",
         error=ShapeError)  # fmt: skip
    return a, v


def _chosen(op: str, a: Any, axes: Any) -> shapes.Shape:
    """The axes of a convolution in order; None means all."""
    given = range(a.ndim) if axes is None else (axes,) if isinstance(axes, int) else axes
    return tuple(sorted({shapes.axis_index(k, a.ndim, op) for k in given}))


def _contained(op: str, a: Any, v: Any, axes: shapes.Shape) -> None:
    longer = [a.shape[k] >= v.shape[k] for k in axes]
    shorter = [a.shape[k] <= v.shape[k] for k in axes]
    need(all(longer) or all(shorter), op, in1=a, in2=v,
         want="one no smaller than the other along every axis, for mode='valid'",
         fix="mode='same'", error=ShapeError)  # fmt: skip


def _middle(found: Any, start: Sequence[int], size: Sequence[int], axes: shapes.Shape) -> Any:
    """`size` places along the axes, from `start` on."""
    key = [slice(None)] * found.ndim
    for k, low, count in zip(axes, start, size):
        key[k] = slice(low, low + count)
    return index_p.bind(found, key=tuple(key))


def _cut(found: Any, a: Any, v: Any, axes: shapes.Shape, mode: str) -> Any:
    """The part of a full convolution that a mode wants."""
    if mode == "full":
        return found
    if mode == "same":
        return _middle(
            found, [(v.shape[k] - 1) // 2 for k in axes], [a.shape[k] for k in axes], axes
        )
    return _middle(
        found,
        [min(a.shape[k], v.shape[k]) - 1 for k in axes],
        [abs(a.shape[k] - v.shape[k]) + 1 for k in axes],
        axes,
    )


def quick(n: int) -> int:
    """The least length from n on that has no prime factor above 5, which transforms do quickly."""
    best = 1 << max(n - 1, 0).bit_length()
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            best = min(best, odd << max(-(-n // odd) - 1, 0).bit_length())
            odd *= 3
        fives *= 5
    return best


def _direct(a: Any, v: Any) -> bool:
    """Whether summing place by place is quicker: measured on vectors, and on images."""
    if not (dtypes.is_inexact(a.dtype) or dtypes.is_inexact(v.dtype)):
        return True  # whole numbers stay exact
    few: int = math.prod(map(min, a.shape, v.shape))
    return few <= (80 if a.ndim == 1 else 12)


# -- operations --------------------------------------------------------------------------------


def _samples(method: bool) -> Any:
    def samples(r: Any) -> Any:
        for n, m in (((5,), (3,)), ((3,), (5,)), ((1,), (4,)), ((4, 5), (2, 3)), ((2, 3), (3, 4)),
                     ((3, 4, 2), (2, 1, 2))):  # fmt: skip
            for mode in MODES:
                yield (r.normal(*n), r.normal(*m), mode), {}
        yield (r.normal(6, 4)[::2, ::-1], r.normal(2, 2).T), {"mode": "same"}
        a, v = r.normal(4, 3) + 1j * r.normal(4, 3), r.normal(2, 3) + 1j * r.normal(2, 3)
        yield (a, v, "full"), {}
        yield (a, r.normal(2, 2), "valid"), {}
        if method:
            yield (r.normal(4, 5), r.normal(2, 3), "same", "fft"), {}
            yield (r.normal(4), r.normal(3)), {"method": "fft"}
            yield (r.normal(3, 2), r.normal(2, 4), "full", "direct"), {}
            yield (r.integers(0, 9, 4, 2), r.integers(0, 9, 2, 3)), {}

    return samples


def _named(method: bool = True) -> Any:
    return {"samples": _samples(method), "namespace": "signal"}


def _convolved(op: str, a: Any, v: Any, mode: str, method: str) -> Any:
    need(method in ("auto", "direct", "fft"), op, method=method, want="auto, direct or fft",
         fix="method='auto'", error=ValueError)  # fmt: skip
    axes = tuple(range(a.ndim))
    if mode == "valid":
        _contained(op, a, v, axes)
    if not a.ndim:
        return a * v
    if method == "fft" or (method == "auto" and not _direct(a, v)):
        return _transformed(op, a, v, mode, axes)
    if not (a.size and v.size):
        return _empty(op, a, v)
    found = convolve_nd_p.bind(a, v, full=(mode != "valid",) * a.ndim)
    return found if mode == "valid" else _cut(found, a, v, axes, mode)


def _empty(op: str, a: Any, v: Any) -> Any:
    raise ShapeError(
        f"{op}: got in1={a.dtype}{a.shape}, in2={v.dtype}{v.shape}, expected elements in both; "
        "try leaving out what is empty"
    )


@operation(oracle="scipy.signal.convolve", **_named())
def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Σ_i in1[i] in2[k - i] over all axes of two arrays with as many axes.

    "full": every place; "same": as many as in1 has, in the middle; "valid": where one lies within
    the other. `method`: "direct", "fft", or the one that is likely quicker ("auto": whole numbers
    always direct). Raises `ShapeError` for shapes that do not fit.
    """
    a, v = _pair("convolve", in1, in2, mode)
    return _convolved("convolve", a, v, mode, method)


@operation(oracle="scipy.signal.correlate", **_named())
def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto") -> Any:
    """Σ_i in1[i + k] conj(in2[i]) over all axes; modes and methods as in `convolve`."""
    a, v = _pair("correlate", in1, in2, mode)
    return _convolved("correlate", a, turned(v, v.ndim), mode, method)


def _transformed(op: str, a: Any, v: Any, mode: str, axes: shapes.Shape) -> Any:
    """The convolution along some axes as a product of spectra."""
    if not (a.size and v.size):
        return _empty(op, a, v)
    dtype = dtypes.result_type(a.dtype, v.dtype)
    dtype = dtype if dtypes.is_inexact(dtype) else dtypes.float64
    full = [a.shape[k] + v.shape[k] - 1 for k in axes]
    sizes = [quick(n) for n in full]
    real = dtype.kind != "c"
    there, back = (rfftn, irfftn) if real else (fftn, ifftn)
    found = back(there(a, sizes, axes) * there(v, sizes, axes), sizes, axes)
    if mode == "full" and sizes != full:
        found = _middle(found, [0] * len(axes), full, axes)
    found = _cut(found, a, v, axes, mode)
    return astype(found, dtype, copy=False)


def _axes_samples(r: Any) -> Any:
    yield from _samples(False)(r)
    yield (r.normal(3, 5), r.normal(3, 2)), {"axes": 1}
    yield (r.normal(3, 5), r.normal(1, 2)), {"axes": -1, "mode": "same"}
    yield (r.normal(4, 1, 5), r.normal(2, 3, 2), "valid"), {"axes": (0, 2)}


@operation(
    oracle="scipy.signal.fftconvolve",
    samples=_axes_samples,
    namespace="signal",
)
def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """`convolve` by Fourier transforms, along some of the axes; along the others as a product."""
    a, v = _pair("fftconvolve", in1, in2, mode)
    if not a.ndim:
        return a * v
    chosen = _chosen("fftconvolve", a, axes)
    need(bool(chosen), "fftconvolve", axes=axes, want="one axis at least", fix="axes=None",
         error=ValueError)  # fmt: skip
    if mode == "valid":
        _contained("fftconvolve", a, v, chosen)
    rest = [k for k in range(a.ndim) if k not in chosen]
    shapes.broadcast(*[tuple([x.shape[k] for k in rest]) for x in (a, v)], op="fftconvolve")
    return _transformed("fftconvolve", a, v, mode, chosen)


def _long(r: Any) -> Any:
    for n, m, options in (
        ((40,), (3,), {}), ((40,), (3,), {"mode": "same"}), ((40,), (4,), {"mode": "valid"}),
        ((3,), (40,), {}), ((2, 40), (2, 3), {}), ((2, 40), (1, 3), {"axes": 1}),
        ((40, 2), (3, 2), {"axes": 0, "mode": "same"}), ((4, 5), (2, 3), {}),
    ):  # fmt: skip
        yield (r.normal(*n), r.normal(*m)), options
    yield (r.normal(40) + 1j * r.normal(40), r.normal(3)), {}
    yield (r.normal(6, 80)[::3, ::-1], r.normal(2, 3)), {}


@operation(oracle="scipy.signal.oaconvolve", samples=_long, namespace="signal")
def oaconvolve(in1: Any, in2: Any, mode: str = "full", axes: Any = None) -> Any:
    """`fftconvolve`, block by block along the axis on which one array is much the longer.

    A block is eight times as long as the shorter array; the results overlap and are added.
    """
    a, v = _pair("oaconvolve", in1, in2, mode)
    chosen = _chosen("oaconvolve", a, axes)
    ratios = [max(a.shape[k], v.shape[k]) / max(min(a.shape[k], v.shape[k]), 1) for k in chosen]
    if not (chosen and a.size and v.size) or max(ratios) < 2 * BLOCK:
        return fftconvolve(a, v, mode, axes)
    if mode == "valid":
        _contained("oaconvolve", a, v, chosen)
    axis = chosen[ratios.index(max(ratios))]
    found = _in_blocks(*((a, v) if a.shape[axis] > v.shape[axis] else (v, a)), axis, chosen)
    return _cut(found, a, v, chosen, mode)


def _in_blocks(x: Any, kernel: Any, axis: int, axes: shapes.Shape) -> Any:
    """The full convolution with a short kernel."""
    size, short = x.shape[axis], kernel.shape[axis]
    step = BLOCK * short
    count = -(-size // step)
    wide = longer(moveaxis(x, axis, -1), 0, count * step - size)
    blocks = moveaxis(reshape(wide, (*wide.shape[:-1], count, step)), (-2, -1), (0, axis + 1))
    found = fftconvolve(blocks, expand_dims(kernel, 0), "full", [k + 1 for k in axes])
    whole = added(moveaxis(found, (0, axis + 1), (-2, -1)), step)
    return moveaxis(on_last(whole, 0, size + short - 1), -1, axis)


__all__ = [
    "convolve",
    "convolve_nd_p",
    "correlate",
    "fftconvolve",
    "lengths",
    "oaconvolve",
    "quick",
]
