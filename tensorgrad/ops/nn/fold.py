"""Sliding blocks of images as columns (im2col), and their sum back into images.

>>> unfold([[[1.0, 2.0, 3.0]]], (1, 2))
tensor([[1., 2.],
        [2., 3.]])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.nn.pool import numbers
from tensorgrad.ops.padding import pad

Shape = shapes.Shape

im2col_p: Primitive = primitive(
    "im2col",
    nin=1,
    spec=lambda x, *, kernel, places, **p: Spec((*x.shape[:-2], *kernel, *places), x.dtype),
    vjp=(lambda ct, out, x, **p: col2im_p.bind(ct, **p),),
    linear=(0,),
    batch=lambda inputs, batched, **p: im2col_p.bind(inputs[0], **p),
)
"""Blocks of images (*lead, H, W): (*lead, kh, kw, rows, columns)."""

col2im_p: Primitive = primitive(
    "col2im",
    nin=1,
    spec=lambda x, *, shape, **p: Spec((*x.shape[:-4], *shape), x.dtype),
    vjp=(lambda ct, out, x, **p: im2col_p.bind(ct, **p),),
    linear=(0,),
    batch=lambda inputs, batched, **p: col2im_p.bind(inputs[0], **p),
)
"""The adjoint of `im2col`: blocks added up in images of `shape`."""


def _plan(op: str, size: Shape, kernel: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    """The parameters of both primitives for images of `size`, and the padding."""
    k = numbers(op, "kernel_size", kernel, 2, 1)
    d, s = numbers(op, "dilation", dilation, 2, 1), numbers(op, "stride", stride, 2, 1)
    p = numbers(op, "padding", padding, 2, 0)
    shape = tuple([n + 2 * w for n, w in zip(size, p)])
    each = zip(shape, k, d, s)
    places = tuple([(n - f * (m - 1) - 1) // t + 1 for n, m, f, t in each])
    need(all(n > 0 for n in places), op, size=size, kernel_size=kernel, dilation=dilation,
         padding=padding, want="blocks no larger than the padded image",
         fix="a smaller kernel_size")  # fmt: skip
    return {"kernel": k, "stride": s, "dilation": d, "places": places, "shape": shape}, p


def _real(op: str, input: Any) -> Tensor:
    x = operand(input, (), op)
    need(dtypes.is_inexact(x.dtype), op, input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    return x


OPTIONS: tuple[dict[str, Any], ...] = (
    {}, {"padding": 1}, {"stride": 2}, {"dilation": (1, 2)}, {"padding": (0, 1), "stride": (1, 2)},
)  # fmt: skip
"""Of the samples, for images of 4 x 5 and blocks of 2 x 2."""


def _keys(size: Any, k: Any, o: dict[str, Any]) -> Any:
    """Tap by tap the elements of a padded image."""
    d, p, s = (np.broadcast_to(o.get(n, u), 2) for n, u in
               (("dilation", 1), ("padding", 0), ("stride", 1)))  # fmt: skip
    stop = [n + 2 * w - f * (m - 1) for n, w, f, m in zip(size, p, d, k)]
    keys = [tuple([slice(t * f, t * f + n, c) for t, f, n, c in zip(tap, d, stop, s)])
            for tap in np.ndindex(*k)]  # fmt: skip
    return keys, [(0, 0), (0, 0), *((w, w) for w in p)], [-(-n // c) for n, c in zip(stop, s)]


def _unfold_oracle(x: Any, kernel: Any, **o: Any) -> Any:
    images = x if x.ndim == 4 else x[None]
    keys, border, places = _keys(x.shape[-2:], kernel, o)
    padded = np.pad(images, border)
    found = np.stack([padded[(..., *key)] for key in keys], 2)
    found = found.reshape(len(images), images.shape[1] * len(keys), places[0] * places[1])
    return found if x.ndim == 4 else found[0]


def _unfold_samples(r: Any) -> Any:
    for options in OPTIONS:
        yield (r.normal(1, 2, 4, 5), (2, 2)), options
    yield (r.normal(2, 4, 5), (2, 3)), {}
    yield (r.normal(0, 2, 3, 3), (2, 2)), {}
    yield (r.normal(4, 3, 2, 1).T, (1, 2)), {}
    yield (r.normal(1, 1, 6, 5)[:, :, ::2, ::-1], (2, 2)), {}


@operation(oracle=_unfold_oracle, samples=_unfold_samples, namespace="nn")
def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The blocks of images (N, C, H, W) as columns: (N, C kh kw, number of blocks).

    Without N also. Blocks slide row by row, in steps of `stride`, over the image with a border of
    `padding` zeros; `dilation` is the step inside a block. Raises `ShapeError`, `DTypeError`.

    >>> unfold([[[1.0, 2.0], [3.0, 4.0]]], 2).reshape(-1)
    tensor([1., 2., 3., 4.])
    """
    op = "unfold"
    x = _real(op, input)
    need(x.ndim in (3, 4), op, input=x, want="axes CHW, or NCHW", fix="input[None]")
    plan, p = _plan(op, x.shape[-2:], kernel_size, dilation, padding, stride)
    if any(p):
        x = pad(x, ((0, 0),) * (x.ndim - 2) + tuple([(n, n) for n in p]))
    found = im2col_p.bind(x, **plan)
    lead = x.shape[:-3]
    rows = x.shape[-3] * shapes.size(plan["kernel"])
    return found.reshape((*lead, rows, shapes.size(plan["places"])))  # type: ignore[no-any-return]


def _fold_oracle(x: Any, size: Any, kernel: Any, **o: Any) -> Any:
    columns = x if x.ndim == 3 else x[None]
    keys, border, places = _keys(size, kernel, o)
    channels = columns.shape[1] // len(keys)
    blocks = columns.reshape(len(columns), channels, len(keys), *places)
    padded = np.pad(np.zeros((len(columns), channels, *size)), border)
    for k, key in enumerate(keys):
        padded[(..., *key)] += blocks[:, :, k]
    found = padded[..., border[2][0] :, border[3][0] :][..., : size[0], : size[1]]
    return found if x.ndim == 3 else found[0]


def _fold_samples(r: Any) -> Any:
    for options, count in zip(OPTIONS, (12, 30, 4, 9, 9)):
        yield (r.normal(1, 8, count), (4, 5), (2, 2)), options
    yield (r.normal(12, 9), (4, 5), (2, 3)), {}
    yield (r.normal(0, 4, 4), (3, 3), (2, 2)), {}
    yield (r.normal(4, 8, 1).T, (3, 3), (2, 2)), {}
    yield (r.normal(1, 8, 12)[:, ::2, ::-1], (4, 5), (2, 2)), {}


@operation(oracle=_fold_oracle, samples=_fold_samples, namespace="nn")
def fold(
    input: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0,
    stride: Any = 1,
) -> Tensor:  # fmt: skip
    """The adjoint of `unfold`: columns (N, C kh kw, blocks) added up as images (N, C, H, W).

    Without N also; (H, W) = output_size. Where blocks overlap their elements are summed. Raises
    `ShapeError` for another number of rows or blocks, `DTypeError`.

    >>> fold([[1.0, 2.0], [3.0, 4.0]], (1, 3), (1, 2))
    tensor([[[1., 5., 4.]]])
    """
    op = "fold"
    x = _real(op, input)
    need(x.ndim in (2, 3), op, input=x, want="axes (C kh kw, blocks), or N of them",
         fix="input[None]")  # fmt: skip
    size = numbers(op, "output_size", output_size, 2, 1)
    plan, p = _plan(op, size, kernel_size, dilation, padding, stride)
    taps, blocks = shapes.size(plan["kernel"]), shapes.size(plan["places"])
    need(x.shape[-2] % taps == 0 and x.shape[-1] == blocks, op, input=x, output_size=size,
         want=f"rows in multiples of {taps}, and {blocks} columns",
         fix=f"input of shape (N, C * {taps}, {blocks})")  # fmt: skip
    split = (*x.shape[:-2], x.shape[-2] // taps, *plan["kernel"], *plan["places"])
    found = col2im_p.bind(x.reshape(split), **plan)
    if any(p):
        found = found[(..., *[slice(w, w + n) for w, n in zip(p, size)])]
    return found  # type: ignore[no-any-return]
