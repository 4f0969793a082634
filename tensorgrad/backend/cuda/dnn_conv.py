"""2-D convolution by cuDNN on arrays of a GPU, and its two gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import cupy

from tensorgrad._errors import need
from tensorgrad.backend.cuda import launch
from tensorgrad.backend.cuda.dnn_graph import ALIGNED, Plan, accepted, direct, plan
from tensorgrad.backend.cuda.dnn_plan import Problem, Spec
from tensorgrad.backend.cuda.kernels import written

Array = Any
Pair = int | Sequence[int]
Prepared = tuple[Plan, tuple[Array, ...]]
Options = tuple[Any, ...]

FLOATS = ("float16", "bfloat16", "float32")
"""The dtypes of a convolution; sums are in float32."""


class How(TypedDict, total=False):
    """The options of a convolution.

    stride, dilation: a number, or one for each axis. padding: n, (n, m) or ((before, after),
    (before, after)). deterministic: sums are added in one order. tf32: float32 may be multiplied
    with 10 bits of mantissa.
    """

    stride: Pair
    padding: Pair | Sequence[Sequence[int]]
    dilation: Pair
    groups: int
    deterministic: bool
    tf32: bool


def _pair(op: str, name: str, value: Any, least: int) -> tuple[int, int]:
    """A number for each of the two axes."""
    pair = (value, value) if isinstance(value, int) else tuple(value)
    need(
        len(pair) == 2 and all(isinstance(n, int) and n >= least for n in pair),
        op,
        want=f"an integer from {least} up, or two",
        fix=f"{name}=({least}, {least})",
        **{name: value},
    )
    return pair


def _sides(op: str, padding: Any) -> tuple[Any, Any]:
    """The padding before and after each axis, of n, (n, m) or ((before, after), ...)."""
    if not isinstance(padding, int) and all(isinstance(one, Sequence) for one in padding):
        pairs = [_pair(op, "padding", one, 0) for one in padding]
        need(len(pairs) == 2, op, want="a pair for each axis", fix="padding=0", padding=padding)
        return tuple(one[0] for one in pairs), tuple(one[1] for one in pairs)
    both = _pair(op, "padding", padding, 0)
    return both, both


def _convolved(
    op: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...] | None = None, *,
    stride: Pair = 1, padding: Any = 0, dilation: Pair = 1, groups: int = 1,
    deterministic: bool = True, tf32: bool = False,
) -> tuple[tuple[int, ...], Options]:  # fmt: skip
    """The shape of a convolution's result and its options; raises `ShapeError` for what differs."""
    steps, wide = _pair(op, "stride", stride, 1), _pair(op, "dilation", dilation, 1)
    before, after = _sides(op, padding)
    shapes = f"x {x} and w {w} in {groups} groups"
    need(
        len(x) == len(w) == 4 and groups > 0 and x[1] == w[1] * groups and w[0] % groups == 0,
        op,
        want="x (batch, channels, height, width) and w (filters, channels / groups, height, width)",
        fix="the other number of groups, or x.transpose(0, 3, 1, 2)",
        shapes=shapes,
    )
    sizes = tuple(
        (x[2 + a] + before[a] + after[a] - wide[a] * (w[2 + a] - 1) - 1) // steps[a] + 1
        for a in (0, 1)
    )
    need(
        min(sizes) > 0, op, want="a filter that fits in the padded x", fix="padding", shapes=shapes
    )
    found = (x[0], w[0], *sizes)
    need(y in (None, found), op, want=f"grad of {found}", fix="the options of conv", grad=y)
    return found, (before, after, steps, wide, bool(deterministic), bool(tf32))


def _dense(shape: tuple[int, ...], last: bool) -> tuple[int, ...]:
    """The strides, in elements, of a dense (a, channels, b, c); channels last or second."""
    _, channels, height, width = shape
    if last:
        return (channels * height * width, 1, width * channels, channels)
    return (channels * height * width, height * width, width, 1)


def _lies(x: Array, last: bool) -> bool:
    """Whether an array is dense with its channels last, or second."""
    return launch.address(x) % ALIGNED == 0 and all(
        size == 1 or step == want * x.itemsize
        for size, step, want in zip(x.shape, x.strides, _dense(x.shape, last))
    )


def _new(shape: tuple[int, ...], dtype: Any, last: bool) -> Array:
    if not last:
        return cupy.empty(shape, dtype)
    a, channels, b, c = shape
    return cupy.empty((a, b, c, channels), dtype).transpose(0, 3, 1, 2)


def _laid(x: Array, last: bool) -> Array:
    """x, or a copy that is dense with its channels last, or second."""
    return x if _lies(x, last) else written(x, _new(x.shape, x.dtype, last))


def _problem(
    op: str, operands: tuple[Array, Array], shape: tuple[int, ...], options: Options,
    out: Array | None,
) -> Prepared:  # fmt: skip
    """The plan of a convolution, in the layout of its first operand, and what it runs on."""
    first = operands[0]
    last = not _lies(first, False) and first.strides[1] == first.itemsize
    arrays = [_laid(x, last) for x in operands]
    dtype = first.dtype
    fits = direct(out, shape, dtype, *arrays) and _lies(out, last)
    found = out if fits else _new(shape, dtype, last)
    specs = [Spec(dtype.name, x.shape, _dense(x.shape, last)) for x in (*arrays, found)]
    return plan(Problem(op, tuple(specs[:2]), (specs[2],), options)), (*arrays, found)


def prepare(x: Array, w: Array, *, out: Array | None = None, **how: Unpack[How]) -> Prepared:
    """The plan of `conv`, and the arrays that it runs on: inputs, then the output."""
    shape, options = _convolved("conv", x.shape, w.shape, **how)
    accepted("conv", FLOATS, x=x, w=w)
    return _problem("conv", (x, w), shape, options, out)


def prepare_data(
    grad: Array, w: Array, shape: Sequence[int], *, out: Array | None = None, **how: Unpack[How]
) -> Prepared:
    """The plan of `conv_data`, and the arrays that it runs on."""
    _, options = _convolved("conv_data", tuple(shape), w.shape, grad.shape, **how)
    accepted("conv_data", FLOATS, grad=grad, w=w)
    return _problem("conv_data", (grad, w), tuple(shape), options, out)


def prepare_weight(
    grad: Array, x: Array, shape: Sequence[int], *, out: Array | None = None, **how: Unpack[How]
) -> Prepared:
    """The plan of `conv_weight`, and the arrays that it runs on."""
    _, options = _convolved("conv_weight", x.shape, tuple(shape), grad.shape, **how)
    accepted("conv_weight", FLOATS, grad=grad, x=x)
    return _problem("conv_weight", (x, grad), tuple(shape), options, out)


def _run(prepared: Prepared, out: Array | None) -> Array:
    run, arrays = prepared
    run(*arrays)
    return arrays[-1] if out is None or arrays[-1] is out else written(arrays[-1], out)


def conv(x: Array, w: Array, *, out: Array | None = None, **how: Unpack[How]) -> Array:
    """y[n, k, i, j] = Σ x[n, c, i s + r d − p, j s + q d − p] w[k, c, r, q], zero outside of x.

    x (batch, channels, height, width), w (filters, channels / groups, height, width) of float16,
    bfloat16 or float32; the result (batch, filters, height, width). Arrays lie with their channels
    second or, as views of (batch, height, width, channels), last; the result lies as x does.
    Options: `How`.
    """
    return _run(prepare(x, w, out=out, **how), out)


def conv_data(
    grad: Array, w: Array, shape: Sequence[int], *, out: Array | None = None, **how: Unpack[How]
) -> Array:
    """The gradient of x, of that shape, from the gradient of `conv(x, w)`."""
    return _run(prepare_data(grad, w, shape, out=out, **how), out)


def conv_weight(
    grad: Array, x: Array, shape: Sequence[int], *, out: Array | None = None, **how: Unpack[How]
) -> Array:
    """The gradient of w, of that shape, from the gradient of `conv(x, w)`."""
    return _run(prepare_weight(grad, x, shape, out=out, **how), out)
