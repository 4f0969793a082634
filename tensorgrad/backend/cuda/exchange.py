"""DLPack capsules of CuPy's arrays: CuPy's own, which order the streams of both sides."""

from __future__ import annotations

from typing import Any

import cupy

Array = Any


def to_dlpack(x: Array, **options: Any) -> Any:
    return x.__dlpack__(**options)


def from_dlpack(x: Any) -> Array:
    return cupy.from_dlpack(x)
