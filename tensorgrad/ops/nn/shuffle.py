"""Rearrangements of channels and pixels."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import shapes
from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.axes import transpose

_SHUFFLED = ((4, 2, 3), (1, 4, 2, 2), (2, 8, 1, 3), (0, 4, 2, 2), (2, 2, 4, 1, 1), (4, 0, 2))


def _image(op: str, input: Any) -> Tensor:
    x = operand(input, (), op)
    need(x.ndim >= 3, op, input=x, want="axes (..., C, H, W)", fix="input[None]")
    return x


def _up(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    n = len(lead)
    split = x.reshape((*lead, c // r**2, r, r, h, w))
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return transpose(split, order).reshape((*lead, c // r**2, h * r, w * r))


def _down(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    n = len(lead)
    split = x.reshape((*lead, c, h // r, r, w // r, r))
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return transpose(split, order).reshape((*lead, c * r**2, h // r, w // r))


def _up_oracle(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    found = np.empty((*lead, c // r**2, h * r, w * r), x.dtype)
    for i, j in np.ndindex(r, r):
        found[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return found


def _up_samples(r: Any) -> Any:
    for shape in _SHUFFLED:
        yield (r.normal(*shape), 2), {}
    yield (r.normal(3, 2, 2), 1), {}
    yield (r.normal(3, 2, 9).T, 3), {}
    yield (r.normal(2, 8, 4, 3)[:, ::-2, ::2], 2), {}


@operation(oracle=_up_oracle, samples=_up_samples, namespace="nn")
def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """(..., C r², H, W) as (..., C, H r, W r), r = upscale_factor: channels become pixels.

    Shi et al., "Real-time single image and video super-resolution", 2016. Raises `ShapeError`
    unless r² divides the channels.

    >>> pixel_shuffle([[[1.0]], [[2.0]], [[3.0]], [[4.0]]], 2)
    tensor([[[1., 2.],
             [3., 4.]]])
    """
    op, x, r = "pixel_shuffle", _image("pixel_shuffle", input), upscale_factor
    need(r > 0 and x.shape[-3] % r**2 == 0, op, input=x, upscale_factor=r,
         want="channels that upscale_factor² divides", fix="upscale_factor=1")  # fmt: skip
    return _up(x, r)  # type: ignore[no-any-return]


def _down_oracle(x: Any, r: int) -> Any:
    *lead, c, h, w = x.shape
    found = np.empty((*lead, c * r**2, h // r, w // r), x.dtype)
    for i, j in np.ndindex(r, r):
        found[..., i * r + j :: r * r, :, :] = x[..., i::r, j::r]
    return found


def _down_samples(r: Any) -> Any:
    for shape in ((1, 2, 4), (2, 3, 2, 2), (0, 1, 2, 2), (2, 1, 1, 4, 2), (1, 4, 6), (2, 2, 2)):
        yield (r.normal(*shape), 2), {}
    yield (r.normal(3, 2, 2), 1), {}
    yield (r.normal(6, 3, 2).T, 3), {}
    yield (r.normal(2, 8, 4, 2)[:, ::-2, ::2], 2), {}


@operation(oracle=_down_oracle, samples=_down_samples, namespace="nn")
def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) as (..., C r², H, W), r = downscale_factor: undoes `pixel_shuffle`.

    Raises `ShapeError` unless r divides height and width.

    >>> pixel_unshuffle([[[1.0, 2.0], [3.0, 4.0]]], 2).shape
    (4, 1, 1)
    """
    op, x, r = "pixel_unshuffle", _image("pixel_unshuffle", input), downscale_factor
    need(r > 0 and x.shape[-1] % r == 0 and x.shape[-2] % r == 0, op, input=x, downscale_factor=r,
         want="height and width that it divides", fix="downscale_factor=1")  # fmt: skip
    return _down(x, r)  # type: ignore[no-any-return]


def _channel_samples(r: Any) -> Any:
    for shape, groups in (
        ((1, 4, 2), 2), ((2, 6, 2, 2), 3), ((2, 6, 1), 2), ((0, 4, 2), 2), ((1, 4, 2, 1, 2), 4),
        ((3, 4, 2), 1), ((2, 4), 2),
    ):  # fmt: skip
        yield (r.normal(*shape), groups), {}
    yield (r.normal(3, 4, 2).T, 2), {}
    yield (r.normal(2, 8, 3)[:, ::-2], 2), {}


def _channel_oracle(x: Any, groups: int) -> Any:
    count = x.shape[1] // groups
    return x[:, [g * count + k for k in range(count) for g in range(groups)]]


@operation(oracle=_channel_oracle, samples=_channel_samples, namespace="nn")
def channel_shuffle(input: Any, groups: int) -> Tensor:
    """Channels of (N, C, ...) interleaved: the first of each group, then the second of each, ...

    Zhang et al., "ShuffleNet", 2018. Raises `ShapeError` unless groups divides the channels.

    >>> channel_shuffle([[[1.0], [2.0], [3.0], [4.0]]], 2).reshape(-1)
    tensor([1., 3., 2., 4.])
    """
    op = "channel_shuffle"
    x = operand(input, (), op)
    need(x.ndim >= 2 and groups > 0 and x.shape[1] % groups == 0, op, input=x, groups=groups,
         want="axes (N, C, ...) and groups that divide C", fix="groups=1")  # fmt: skip
    n, c, *size = x.shape
    parts = (n, groups, c // groups, shapes.size(tuple(size)))
    return transpose(x.reshape(parts), (0, 2, 1, 3)).reshape(x.shape)  # type: ignore[no-any-return]
