"""Copies from the host that the host does not wait for, and the memory that they come from."""

from __future__ import annotations

from typing import Any

import cupy

from tensorgrad.backend.cuda import device
from tensorgrad.backend.cuda.kernels import bits

Array = Any


def pinned(*, host: Any) -> Any:
    """A NumPy array as another one, in memory that a GPU reads by itself."""
    found = device.pinned(host.shape, host.dtype)
    found[...] = host
    return found


def sent(*, host: Any) -> Array:
    """A NumPy array on the current device, by the order of its stream: see `device.upload`."""
    found = cupy.empty(host.shape, host.dtype)
    plain = bits(host)
    device.upload(bits(found), plain)
    return found
