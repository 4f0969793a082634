"""What kernels found wrong in the values that they read: an index or a label out of range.

A kernel cannot raise, and to wait for it after each launch would cost more than most launches. So
it leaves the number of the first bad row in a word of pinned host memory, which the host looks at
before the next operation and before every copy to the host: the error may come a little later than
the call, never after a number that rests on it has been read.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from typing import Any

import cupy
import cupyx
import numpy as np

WORDS, EXACT = 1024, 960
"""Words in all, and how many of them know the range that they stand for."""

LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Fault:
    """What a word stands for: an operation, the range of its indices (None: any), what to try.

    signed: an index may count from the end. The word is 0 until a kernel writes 2^31 - 1 - row.
    """

    op: str
    what: str
    count: int | None
    fix: str
    signed: bool = False
    kind: type[Exception] = IndexError

    def error(self, value: int) -> Exception:
        """The error for what a kernel wrote."""
        row = LARGEST - value
        count = "the size" if self.count is None else self.count
        least = f"-{count}" if self.signed else "0"
        return self.kind(
            f"{self.op}: got {self.what} out of range in row {row}, expected "
            f"{least} <= {self.what} < {count}; try {self.fix}"
        )


class NoProbability(Fault):
    """A number outside 0 .. 1; it knows its place among all elements, counted in C order."""

    def error(self, value: int) -> Exception:
        """The error for what a kernel wrote."""
        return self.kind(
            f"{self.op}: got {self.what} outside 0 to 1 at element {LARGEST - value}, expected "
            f"probabilities; try {self.fix}"
        )


class Faults:
    """The words of all devices: pinned memory has one address for the host and every device."""

    def __init__(self) -> None:
        self._words: Any = cupyx.zeros_pinned(WORDS, np.int32)
        self._first = int(self._words.ctypes.data)
        self._known: dict[Fault, int] = {}
        self._faults: list[Fault] = []

    def word(self, fault: Fault) -> int:
        """The address of the word for a fault."""
        place = self._known.get(fault)
        if place is None and len(self._faults) >= EXACT:
            fault = replace(fault, count=None)  # captured graphs keep addresses: none is reused
            place = self._known.get(fault)
        if place is None:
            place = self._add(fault)
        return self._first + 4 * place

    def _add(self, fault: Fault) -> int:
        place = self._known[fault] = len(self._faults)
        self._faults.append(fault)
        return place

    def poll(self) -> None:
        """Raise the error of the first word that a kernel has written to; the word is reset."""
        size = 4 * len(self._faults)
        if ctypes.string_at(self._first, size) == bytes(size):
            return
        for place, fault in enumerate(self._faults):
            found = int(self._words[place])
            if found:
                self._words[place] = 0
                raise fault.error(found)

    def wait(self) -> None:
        """`poll`, once the work of the current stream is done."""
        cupy.cuda.get_current_stream().synchronize()
        self.poll()


_made: list[Faults] = []


def faults() -> Faults:
    """The one object of this process."""
    if not _made:
        _made.append(Faults())
    return _made[0]
