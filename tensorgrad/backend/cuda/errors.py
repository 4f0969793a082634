"""The errors of the GPU's runtime, and the lines of the user's code that they name."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from itertools import islice
from types import CodeType, TracebackType

from tensorgrad._errors import TensorgradError

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
LIBRARIES = ("cupy", "cupyx", "numpy", "contextlib", "functools")

Place = tuple[CodeType | None, int]


class OutOfMemoryError(TensorgradError, MemoryError):
    """A GPU has no room for an array; the message lists the largest arrays that live there."""


class CompileError(TensorgradError, RuntimeError):
    """A kernel that does not compile.

    Attributes:
        source: the whole text, its lines numbered.
        log: what the compiler said.
    """

    def __init__(self, message: str, source: str = "", log: str = "") -> None:
        super().__init__(message)
        self.source = source
        self.log = log


class CaptureError(TensorgradError, RuntimeError):
    """A step did what a graph cannot hold, such as reading a number on the host."""


class _Outside(dict[str, bool]):
    """Whether a source file is the user's: neither this package's nor of what it calls."""

    def __init__(self) -> None:
        super().__init__()
        self._roots: tuple[str, ...] = ()

    def __missing__(self, filename: str) -> bool:
        self._roots = self._roots or tuple(_roots())
        found = self[filename] = not filename.startswith(self._roots)
        return found


def _roots() -> Iterator[str]:
    """The folders (or the file) of this package and of the libraries that call back into it."""
    yield PACKAGE
    for name in LIBRARIES:
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None:
            folder, base = os.path.split(os.path.abspath(file))
            yield folder + os.sep if base.startswith("__init__.") else file


_OUTSIDE = _Outside()


def calling_place() -> Place:
    """The code object and instruction offset of the nearest frame of the user's."""
    frame = sys._getframe(1)
    while not _OUTSIDE[frame.f_code.co_filename]:
        if frame.f_back is None:
            return None, 0
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def spelled(place: Place) -> str:
    """`file:line` of a place."""
    code, offset = place
    if code is None:
        return "an unknown line"
    line = next(islice(code.co_positions(), offset // 2, None), (None,))[0]
    return f"{code.co_filename}:{code.co_firstlineno if line is None else line}"


def raising_line(error: BaseException) -> str:
    """`file:line (its text)` of the user's deepest line that an error passed through."""
    found = "an unknown line"
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if _OUTSIDE[name]:
            text = linecache.getline(name, trace.tb_lineno).strip()
            found = f"{name}:{trace.tb_lineno}" + (f" ({text})" if text else "")
        trace = trace.tb_next
    return found


def size_text(count: float) -> str:
    """Bytes as a person reads them.

    >>> size_text(1536)
    '1.5 KiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
