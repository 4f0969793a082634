"""Convolutions over one to three spatial axes, and their transposes.

>>> conv1d([[[1.0, 2.0, 4.0]]], [[[1.0, 1.0]]])
tensor([[[3., 6.]]])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.conv_layout import extent
from tensorgrad.core.calls import Spec, operands
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.nn.conv_rules import conv_input_p, conv_p

Shape = shapes.Shape

# -- arguments ---------------------------------------------------------------------------------


def _numbers(op: str, name: str, given: Any, rank: int, least: int) -> Shape:
    """A number for each spatial axis out of one, or out of as many."""
    found = given if isinstance(given, tuple) else (given,) * rank
    need(
        len(found) == rank and all(hasattr(n, "__index__") and n >= least for n in found),
        op,
        **{name: given},
        want=f"a whole number from {least} up, or {rank} of them",
        fix=f"{name}={max(least, 1)}",
    )
    return found


def _padding(op: str, given: Any, kernel: Shape, stride: Shape, dilation: Shape) -> Any:
    """(before, after) for each spatial axis."""
    if not isinstance(given, str):
        return tuple([(n, n) for n in _numbers(op, "padding", given, len(kernel), 0)])
    need(given in ("same", "valid"), op, padding=given, want='numbers, "same" or "valid"',
         fix="padding=0", error=ValueError)  # fmt: skip
    if given == "valid":
        return ((0, 0),) * len(kernel)
    need(all(n == 1 for n in stride), op, padding=given, stride=stride,
         want='a stride of 1 with padding="same"', fix="padding=kernel // 2",
         error=ValueError)  # fmt: skip
    total = [d * (k - 1) for k, d in zip(kernel, dilation)]
    behind = tuple([side for n in total[::-1] for side in (n // 2, n - n // 2)])
    need(not any(n % 2 for n in total), op, padding=given, kernel=kernel, dilation=dilation,
         want='odd kernels with padding="same", which has two equal sides',
         fix=f"pad(input, {behind}) before, as PyTorch pads, and padding=0",
         error=ValueError)  # fmt: skip
    return tuple([(n // 2, n // 2) for n in total])


Seen = tuple[Shape, Any]


def _seen(given: tuple[Any, ...]) -> tuple[Seen, ...]:
    """Shapes and dtypes, which are looked up by."""
    return tuple([(one.shape, one.dtype) for one in given])


def _hashable(given: Any) -> Any:
    """Numbers as they are remembered with what they gave."""
    return tuple(given) if isinstance(given, list) else given


def _axes(op: str, rank: int, x: Spec, w: Spec, groups: Any) -> int:
    """The axis of x's channels; raises for what no convolution takes."""
    axes = "C" + "DHW"[3 - rank :]
    need(w.ndim == rank + 2, op, weight=w, want=f"a weight of {rank + 2} axes", fix="weight[None]")
    need(
        x.ndim in (rank + 1, rank + 2),
        op,
        input=x,
        want=f"axes {axes}, or N{axes}",
        fix=f"another convolution than {rank}d, or input.reshape",
    )
    for name, one in (("input", x), ("weight", w)):
        need(dtypes.is_inexact(one.dtype), op, **{name: one}, want="floats",
             fix=f'{name}.astype("float32")', error=DTypeError)  # fmt: skip
    need(hasattr(groups, "__index__") and groups > 0 and w.shape[0] % groups == 0, op, weight=w,
         groups=groups, want="groups that divide weight.shape[0]", fix="groups=1")  # fmt: skip
    return x.ndim - rank - 1


def _biased(op: str, bias: tuple[Spec, ...], channels: int) -> None:
    for one in bias:
        need(one.shape == (channels,), op, bias=one, want=f"a bias of shape ({channels},)",
             fix="bias.reshape(-1)")  # fmt: skip


@lru_cache(512)
def _fitted(
    op: str, rank: int, given: tuple[Seen, ...], stride: Any, padding: Any, dilation: Any,
    groups: int,
) -> dict[str, Any]:  # fmt: skip
    """The parameters of a convolution of what fits; raises for what does not."""
    x, w, *bias = [Spec(*one) for one in given]
    lead = _axes(op, rank, x, w, groups)
    steps = _numbers(op, "stride", stride, rank, 1)
    wide = _numbers(op, "dilation", dilation, rank, 1)
    pairs = _padding(op, padding, w.shape[2:], steps, wide)
    need(x.shape[lead] == w.shape[1] * groups, op, input=x, weight=w, groups=groups,
         want=f"{w.shape[1] * groups} channels (weight.shape[1] * groups) on axis {lead} of input",
         fix="np.moveaxis(input, -1, 1) where channels are last")  # fmt: skip
    _biased(op, tuple(bias), w.shape[0])
    each = zip(x.shape[lead + 1 :], w.shape[2:], steps, pairs, wide)
    need(all(extent(*one) > 0 for one in each), op, input=x, weight=w, padding=padding,
         want="a kernel no longer than the padded input", fix="more padding")  # fmt: skip
    return {"stride": steps, "padding": pairs, "dilation": wide, "groups": int(groups)}


def _convolved(
    op: str, rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Any:  # fmt: skip
    given = operands((input, weight) if bias is None else (input, weight, bias), op)
    options = [_hashable(one) for one in (stride, padding, dilation)]
    params = _fitted(op, rank, _seen(given), *options, groups)
    x, *rest = given
    if x.ndim == rank + 2:
        return conv_p.bind(x, *rest, **params)
    y = conv_p.bind(x.reshape((1, *x.shape)), *rest, **params)
    return y.reshape(y.shape[1:])


@lru_cache(512)
def _reached(
    op: str, rank: int, given: tuple[Seen, ...], stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> dict[str, Any]:  # fmt: skip
    """The parameters of a transposed convolution of what fits; raises for what does not."""
    x, w, *bias = [Spec(*one) for one in given]
    lead = _axes(op, rank, x, w, groups)
    steps = _numbers(op, "stride", stride, rank, 1)
    wide = _numbers(op, "dilation", dilation, rank, 1)
    pads = _numbers(op, "padding", padding, rank, 0)
    more = _numbers(op, "output_padding", output_padding, rank, 0)
    need(x.shape[lead] == w.shape[0], op, input=x, weight=w,
         want=f"{w.shape[0]} channels (weight.shape[0]) on axis {lead} of input",
         fix="weight.swapaxes(0, 1) where the weight is conv's")  # fmt: skip
    _biased(op, tuple(bias), w.shape[1] * groups)
    need(all(m < max(s, d) for m, s, d in zip(more, steps, wide)), op, output_padding=more,
         stride=steps, dilation=wide, want="output_padding smaller than stride or dilation",
         fix="output_padding=0", error=ValueError)  # fmt: skip
    each = zip(x.shape[lead + 1 :], w.shape[2:], steps, pads, wide, more)
    size = tuple([(n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in each])
    need(all(n > 0 for n in size), op, input=x, weight=w, padding=padding,
         want="elements left of the result between the padding", fix="less padding")  # fmt: skip
    # What an output_padding of a whole stride adds lies behind all that the kernel meets.
    pairs = tuple([(p, p if m < s else p - m) for p, m, s in zip(pads, more, steps)])
    shape = (x.shape[0] if lead else 1, w.shape[1] * groups, *size)
    return {
        "shape": shape,
        "stride": steps,
        "padding": pairs,
        "dilation": wide,
        "groups": int(groups),
    }


def _transposed(
    op: str, rank: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Any:  # fmt: skip
    given = operands((input, weight) if bias is None else (input, weight, bias), op)
    options = [_hashable(one) for one in (stride, padding, output_padding)]
    params = _reached(op, rank, _seen(given), *options, groups, _hashable(dilation))
    x, *rest = given
    if x.ndim == rank + 2:
        return conv_input_p.bind(x, *rest, **params)
    y = conv_input_p.bind(x.reshape((1, *x.shape)), *rest, **params)
    return y.reshape(y.shape[1:])


# -- tests from the entries --------------------------------------------------------------------


def _each(given: Any, rank: int) -> Any:
    return (given,) * rank if isinstance(given, int) else given


def _taps(w: Any, stride: Any, dilation: Any, count: Any) -> Any:
    """Every element of a kernel, and what the outputs read with it of the padded input."""
    for k in np.ndindex(w.shape[2:]):
        at = [slice(i * d, i * d + (n - 1) * s + 1, s)
              for i, d, n, s in zip(k, dilation, count, stride)]  # fmt: skip
        yield w[(slice(None), slice(None), *k)], (Ellipsis, *at)


def _conv_oracle(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Any:  # fmt: skip
    rank, x = w.ndim - 2, np.asarray(x)
    if x.ndim == rank + 1:
        return _conv_oracle(x[None], w, b, stride, padding, dilation, groups)[0]
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    pads = [(p, p) for p in _each(0 if isinstance(padding, str) else padding, rank)]
    if padding == "same":
        pads = [(d * (k - 1) // 2,) * 2 for d, k in zip(dilation, w.shape[2:])]
    x = np.pad(x, ((0, 0), (0, 0), *pads))
    count = [(n - d * (k - 1) - 1) // s + 1
             for n, k, s, d in zip(x.shape[2:], w.shape[2:], stride, dilation)]  # fmt: skip
    y = np.zeros((len(x), len(w), *count), np.result_type(x, w))
    for weight, at in _taps(w, stride, dilation, count):
        for g, part in enumerate(np.split(x[at], groups, 1)):
            mine = slice(g * len(w) // groups, (g + 1) * len(w) // groups)
            y[:, mine] += np.einsum("nc...,oc->no...", part, weight[mine])
    return y if b is None else y + b.reshape(-1, *(1,) * rank)


def _transpose_oracle(
    x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    rank, x = w.ndim - 2, np.asarray(x)
    if x.ndim == rank + 1:
        return _transpose_oracle(x[None], w, b, stride, padding, output_padding, groups, dilation)[
            0
        ]
    stride, dilation = _each(stride, rank), _each(dilation, rank)
    pads, more = _each(padding, rank), _each(output_padding, rank)
    full = [(n - 1) * s + d * (k - 1) + 1 + m
            for n, k, s, d, m in zip(x.shape[2:], w.shape[2:], stride, dilation, more)]  # fmt: skip
    y = np.zeros((len(x), w.shape[1] * groups, *full), np.result_type(x, w))
    for weight, at in _taps(w, stride, dilation, x.shape[2:]):
        parts = [np.einsum("no...,oc->nc...", *pair) for pair in
                 zip(np.split(x, groups, 1), np.split(weight, groups))]  # fmt: skip
        y[at] += np.concatenate(parts, 1)
    crop: Any = (..., *[slice(p, n - p) for p, n in zip(pads, full)])
    y = y[crop]
    return y if b is None else y + b.reshape(-1, *(1,) * rank)


_SAMPLES: Any = (
    # batch, input channels, outputs, size, kernel, options: of one spatial axis; further ones have
    # size 3 and kernel 2
    ((2,), 2, 3, 5, 3, {}),
    ((), 2, 1, 4, 2, {"stride": 2}),
    ((1,), 1, 2, 5, 3, {"padding": 1}),
    ((2,), 4, 2, 5, 2, {"groups": 2, "dilation": 2, "padding": 1}),
    ((1,), 3, 3, 4, 3, {"groups": 3, "stride": 3, "padding": 2}),
    ((2,), 2, 2, 3, 1, {}),
    ((0,), 2, 2, 3, 2, {}),
)


def _samples(rank: int, transposed: bool) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        rest = rank - 1
        for lead, c, o, n, k, options in _SAMPLES:
            groups = options.get("groups", 1)
            x = r.normal(*lead, c, n, *(3,) * rest)
            sides = (c, o // groups) if transposed else (o, c // groups)
            w = r.normal(*sides, k, *(1 if k == 1 else 2,) * rest)
            yield (x, w, r.normal(o)), options
        w = r.normal(2, 3, *(2,) * rank)
        x = r.normal(*(3,) * rank, 2 if transposed else 3)[None]
        yield (np.moveaxis(x, -1, 1), w), {"stride": 2, "padding": (1,) * rank}
        x = r.normal(2, 4, *(6,) * rank)[:, ::2, ..., ::-2]
        x = x if transposed else x[:, [0, 1, 0]]
        if transposed:
            yield (x, w), {"stride": 2, "output_padding": 1}
            yield (x, w), {"dilation": 2, "output_padding": 1}
        else:
            w = r.normal(2, 3, *(3,) * rank)
            yield (x, w), {"padding": "same"}
            yield (x, w[..., 1:]), {"padding": "same", "dilation": 2}
            yield (x + 1j * r.normal(*x.shape), w - 1j * r.normal(*w.shape)), {"padding": "valid"}

    return samples


def _entry(
    rank: int, transposed: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    oracle = _transpose_oracle if transposed else _conv_oracle
    return operation(oracle=oracle, samples=_samples(rank, transposed), namespace="nn")


# -- the operations ----------------------------------------------------------------------------


@_entry(1)
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q] = bias[o] + Σ_ck input[n, c, q stride + k dilation - padding] weight[o, c, k].

    input is (N, C, L) or (C, L) and weight (O, C / groups, K).
    padding: numbers, "valid" (none) or "same" (as long as input, at stride 1 and for odd
    kernels). Raises `ShapeError` for shapes that do not fit.

    >>> conv1d([[[1.0, 2.0, 4.0]]], [[[1.0, 1.0]]])
    tensor([[[3., 6.]]])
    """
    return _convolved(  # type: ignore[no-any-return]
        "conv1d", 1, input, weight, bias, stride, padding, dilation, groups
    )


@_entry(2)
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q] = bias[o] + Σ_ck input[n, c, q stride + k dilation - padding] weight[o, c, k].

    input is (N, C, H, W) or (C, H, W) and weight (O, C / groups, K1, K2).
    padding: numbers, "valid" (none) or "same" (as long as input, at stride 1 and for odd
    kernels). Raises `ShapeError` for shapes that do not fit.

    >>> conv2d([[[[1.0, 2.0], [3.0, 4.0]]]], [[[[1.0, 1.0]]]])
    tensor([[[[3.],
              [7.]]]])
    """
    return _convolved(  # type: ignore[no-any-return]
        "conv2d", 2, input, weight, bias, stride, padding, dilation, groups
    )


@_entry(3)
def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q] = bias[o] + Σ_ck input[n, c, q stride + k dilation - padding] weight[o, c, k].

    input is (N, C, D, H, W) or (C, D, H, W) and weight (O, C / groups, K1, K2, K3).
    padding: numbers, "valid" (none) or "same" (as long as input, at stride 1 and for odd
    kernels). Raises `ShapeError` for shapes that do not fit.

    >>> conv3d([[[[[1.0, 2.0]]]]], [[[[[1.0, 1.0]]]]])
    tensor([[[[[3.]]]]])
    """
    return _convolved(  # type: ignore[no-any-return]
        "conv3d", 3, input, weight, bias, stride, padding, dilation, groups
    )


@_entry(1, transposed=True)
def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q stride + k dilation - padding] += input[n, c, q] weight[c, o, k], and + bias[o].

    The adjoint of `conv1d`: input is (N, C, L) or (C, L) and weight
    (C, O / groups, K); an axis of n becomes one of
    (n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. Raises `ShapeError` for
    shapes that do not fit.

    >>> conv_transpose1d([[[1.0, 2.0]]], [[[1.0, 1.0]]])
    tensor([[[1., 3., 2.]]])
    """
    return _transposed(  # type: ignore[no-any-return]
        "conv_transpose1d", 1, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@_entry(2, transposed=True)
def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q stride + k dilation - padding] += input[n, c, q] weight[c, o, k], and + bias[o].

    The adjoint of `conv2d`: input is (N, C, H, W) or (C, H, W) and weight
    (C, O / groups, K1, K2); an axis of n becomes one of
    (n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. Raises `ShapeError` for
    shapes that do not fit.

    >>> conv_transpose2d([[[[1.0, 2.0]]]], [[[[1.0, 1.0]]]])
    tensor([[[[1., 3., 2.]]]])
    """
    return _transposed(  # type: ignore[no-any-return]
        "conv_transpose2d", 2, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip


@_entry(3, transposed=True)
def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """out[n, o, q stride + k dilation - padding] += input[n, c, q] weight[c, o, k], and + bias[o].

    The adjoint of `conv3d`: input is (N, C, D, H, W) or (C, D, H, W) and weight
    (C, O / groups, K1, K2, K3); an axis of n becomes one of
    (n - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1. Raises `ShapeError` for
    shapes that do not fit.

    >>> conv_transpose3d([[[[[1.0, 2.0]]]]], [[[[[1.0, 1.0]]]]])
    tensor([[[[[1., 3., 2.]]]]])
    """
    return _transposed(  # type: ignore[no-any-return]
        "conv_transpose3d", 3, input, weight, bias, stride, padding, output_padding, groups,
        dilation,
    )  # fmt: skip
