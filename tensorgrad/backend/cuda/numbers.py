"""Numbers of the host that kernels read from device memory: learning rates, counters of draws.

A launch copies them there, all at once, in the order of the stream: nothing waits, and nothing of
the host's memory is read later. So they may change under a captured graph, between its replays.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import cupy
import numpy as np

from tensorgrad.backend.cuda import device, launch

Array = Any

FORMATS = {"float32": "f4x", "float64": "d", "uint64": "Q"}
"""How a number is packed into its word of eight bytes."""

FEW, MOST = 32, 256
"""Words that one launch takes: the sizes of the kernels that there are."""

_WORDS = {count: np.dtype([("w", np.uint64, (count,))]) for count in (FEW, MOST)}


class Numbers:
    """Places for numbers on the device that is current when this is made.

    `place` gives a 0-d array for one number, `put` sets all of them, in the order of the places.
    """

    def __init__(self) -> None:
        self._device = device.current()
        self._chunks: list[Array] = []
        self._formats: list[str] = []
        self._layout = struct.Struct("<")
        self._held: list[bytes] = []

    def place(self, dtype: str) -> Array:
        """A 0-d array of a dtype for one more number, not cleared."""
        chunk, k = divmod(len(self._formats), MOST)
        self._formats.append(FORMATS[dtype])
        self._layout = struct.Struct("<" + "".join(self._formats))
        with device.using(self._device):
            if chunk == len(self._chunks):
                self._chunks.append(cupy.empty(MOST, np.uint64))
                self._held.append(b"")
            return self._chunks[chunk][k : k + 1].view(dtype)[0]

    def put(self, values: Sequence[float]) -> None:
        """Give every place its number; what has not changed costs no launch.

        Raises `OverflowError` for a number that its dtype cannot hold.
        """
        data = self._layout.pack(*values)
        for number, chunk in enumerate(self._chunks):
            part = data[8 * MOST * number : 8 * MOST * (number + 1)]
            if part != self._held[number]:
                with device.using(self._device):
                    _write(chunk, part)
                self._held[number] = part


def _write(chunk: Array, part: bytes) -> None:
    count = len(part) // 8
    size = FEW if count <= FEW else MOST
    words = np.frombuffer(part.ljust(8 * size, b"\0"), _WORDS[size])
    run = launch.kernel("numbers", f"put_words_{size}")
    run((1,), (size,), launch.address(chunk), words.reshape(()), np.int32(count))


def numbers() -> Numbers:
    """New places, on the current device."""
    return Numbers()
