"""Convolutions with few outputs and many weights: everything that outputs read, side by side.

Where images are so small that all their places together are few beside the channels, the weights
are most of the work: they go to BLAS as they lie, and what each place reads is copied for
it, which is less than they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.conv_layout import Pairs, Shape

Array = np.ndarray[Any, Any]


ALL = slice(None)


def _of(number: int, outs: tuple[slice, ...]) -> Any:
    """Where the outputs that meet an element of the kernel lie in what is gathered."""
    return (ALL, ALL, number, *outs)


@dataclass(frozen=True, slots=True)
class Reading:
    """What outputs read: the sizes of input, kernel and result, and the options."""

    size: Shape
    kernel: Shape
    count: Shape
    stride: Shape
    padding: Pairs
    dilation: Shape

    def suits(self, batch: int, outputs: int) -> bool:
        """Whether there are few places beside the output channels of a group."""
        return 8 * batch * math.prod(self.count) <= outputs

    def meetings(self) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
        """Of each element of the kernel: its number, the outputs that it meets, and the inputs."""
        for number, k in enumerate(np.ndindex(self.kernel)):
            outs, ins = [], []
            axes = zip(k, self.size, self.count, self.stride, self.padding, self.dilation)
            for j, n, q, s, (low, _), d in axes:
                first = max(0, -((j * d - low) // s))
                last = min(q, (n - 1 + low - j * d) // s + 1)
                start = first * s + j * d - low
                outs.append(slice(first, max(last, first)))
                ins.append(slice(start, start + max(last - first, 0) * s, s))
            yield number, tuple(outs), tuple(ins)

    def gathered(self, x: Array, dtype: Any) -> Array:
        """What is read of x (image, group, channel, ...): (group, term, place)."""
        turned = np.ascontiguousarray(np.moveaxis(x, 0, -1), dtype)
        groups, channels = turned.shape[:2]
        terms = math.prod(self.kernel)
        found = np.zeros((groups, channels, terms, *self.count, len(x)), dtype)
        for number, outs, ins in self.meetings():
            found[_of(number, outs)] = turned[(ALL, ALL, *ins)]
        return found.reshape(groups, channels * terms, -1)

    def scattered(self, rows: Array, batch: int) -> Array:
        """The adjoint of `gathered`: (group, channel, ..., image)."""
        groups, terms = len(rows), math.prod(self.kernel)
        split = rows.reshape(groups, -1, terms, *self.count, batch)
        found = np.zeros((groups, split.shape[1], *self.size, batch), rows.dtype)
        for number, outs, ins in self.meetings():
            found[(ALL, ALL, *ins)] += split[_of(number, outs)]
        return found


def _places(x: Array, dtype: Any) -> Array:
    """(image, group, channel, ...) as (group, channel, place)."""
    turned = np.ascontiguousarray(np.moveaxis(x, 0, -1), dtype)
    return turned.reshape(*turned.shape[:2], -1)


def forwards(reading: Reading, x: Array, w: Array, bias: Array | None, target: Array) -> None:
    """The convolution of x (image, group, channel, ...) with w (group, output, term)."""
    rows = reading.gathered(x, w.dtype)
    for g, kernel in enumerate(w):
        found = DOOR.multiply(kernel, rows[g])
        if bias is not None:
            found += bias[g, :, None]
        target[:, g] = np.moveaxis(found.reshape(len(kernel), *reading.count, len(x)), -1, 0)


def backwards(reading: Reading, ct: Array, w: Array, bias: Array | None, target: Array) -> None:
    """Its adjoint in x."""
    places = _places(ct, w.dtype)
    rows = np.empty((len(w), w.shape[2], places.shape[2]), w.dtype)
    for kernel, part, row in zip(w, places, rows):
        DOOR.multiply(kernel.T, part, row)
    found = reading.scattered(rows, len(ct))
    if bias is not None:
        found += bias.reshape(*bias.shape, *(1,) * (found.ndim - 2))
    target[...] = np.moveaxis(found, -1, 0)


def weights(reading: Reading, x: Array, ct: Array, dtype: Any, target: Array) -> None:
    """Its adjoint in w, (group, output, term)."""
    rows, places = reading.gathered(x, dtype), _places(ct, dtype)
    direct = target.flags.c_contiguous and target.dtype == dtype
    for g, (part, row) in enumerate(zip(places, rows)):
        if direct:
            DOOR.multiply(part, row.T, target[g])
        else:
            target[g] = DOOR.multiply(part, row.T)
