"""Checksums of saved arrays, under `detect_anomaly`: what was written behind the tape's back.

A write to a tensor is noted; one to the NumPy array that a tensor was made of is not. While
anomalies are looked for, what every node saves is summed when it is recorded, and again when
backward comes to it.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad._errors import InPlaceError
from tensorgrad.backend import base
from tensorgrad.core.tape import ON_RECORD, Array, Node, stored
from tensorgrad.core.tensor import name_of
from tensorgrad.core.watch import Pairs, Watch, watching


class Checksums(Watch):
    """Raises `InPlaceError` where what a node saved has changed."""

    def __init__(self) -> None:
        self._sums: weakref.WeakKeyDictionary[Node, list[int]] = weakref.WeakKeyDictionary()

    def record(self, node: Node) -> None:
        """Sum what a node saves, if it was recorded where this watch looks on."""
        if any(watch is self for watch in _config.watches.get()):
            self._sums[node] = [checksum(array) for array in arrays(node)]

    def pull(self, node: Node, ct: Any, run: Callable[[], Pairs]) -> Pairs:
        before = self._sums.get(node)
        if before is not None and before != [checksum(array) for array in arrays(node)]:
            name = name_of(node)
            raise InPlaceError(
                f"{name}: got a saved value that was written to behind the tape (through the "
                f"NumPy array that a tensor shares memory with), expected it as it was when "
                f"{node.origin} recorded {name}; try tg.tensor(array.copy())"
            )
        return run()


def arrays(node: Node) -> list[Array]:
    """The arrays that a node saved."""
    found = [getattr(value, "original", value) for value in stored(node) or ()]
    return [array for array in found if hasattr(array, "base")]


def checksum(array: Array) -> int:
    """A number that changes with the bytes of an array."""
    host = np.ascontiguousarray(base.of(array).to_numpy(array))
    return zlib.crc32(host.view(np.uint8).reshape(-1).data)


@contextmanager
def checksums() -> Iterator[None]:
    """The block in which what is recorded is summed, and checked in backward."""
    watch = Checksums()
    ON_RECORD.append(watch.record)
    try:
        with watching(watch):
            yield
    finally:
        ON_RECORD.remove(watch.record)
