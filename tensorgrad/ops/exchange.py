"""Arrays shared with other libraries, without a copy: DLPack both ways, and CUDA's own protocol.

What leaves or enters is off the tape: another library keeps no graph of ours.
"""

from __future__ import annotations

from typing import Any

from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.tensor import Tensor, make

HOST, CUDA, MANAGED = 1, 2, 13
"""DLPack's numbers of the devices that NumPy and CuPy read."""


def dlpack(
    x: Tensor,
    *,
    stream: Any = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> Any:
    """The memory of a tensor as a DLPack capsule, for `from_dlpack` of any library.

    Raises `GradientError` on the tape, `BufferError` for what the protocol can't say.
    """
    array = x._off_tape("__dlpack__")
    given = {"max_version": max_version, "dl_device": dl_device, "copy": copy}
    options = {name: value for name, value in given.items() if value is not None}
    return base.of(array).kernel("to_dlpack")(array, stream=stream, **options)


def dlpack_device(x: Tensor) -> tuple[int, int]:
    """DLPack's numbers of the device of a tensor: (1, 0) for the host, (2, k) for GPU k."""
    kind, _, number = x.device.partition(":")
    return (CUDA, int(number)) if kind == "cuda" else (HOST, 0)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A tensor in the memory of an array of another library (PyTorch, JAX, CuPy, NumPy ...).

    On another device than `device` it is copied there. copy True is always a copy, False never:
    `ValueError` where it takes one. Raises `GradientError` for a tensor on the tape, `TypeError`
    for what has no `__dlpack__`.

    >>> import numpy as np
    >>> from_dlpack(np.arange(3.0))
    tensor([0., 1., 2.])
    """
    need(hasattr(x, "__dlpack__") and hasattr(x, "__dlpack_device__"), "from_dlpack", x=x,
         want="an array with __dlpack__", fix="tg.asarray(x)", error=TypeError)  # fmt: skip
    kind, number = x.__dlpack_device__()
    home = base.on(f"cuda:{number}" if kind in (CUDA, MANAGED) else "cpu")
    target = home if device is None else base.on(device)
    moves = home.device != target.device
    need(not (moves and copy is False), "from_dlpack", x=home.device, device=target.device,
         copy=copy, want="an array that is there", fix="copy=None", error=ValueError)  # fmt: skip
    found = make(home.kernel("from_dlpack")(x))
    if moves:
        return found.to(device=target.device)
    return found.copy() if copy else found


def cuda_array_interface(x: Tensor) -> dict[str, Any]:
    """How the memory of a tensor on a GPU lies: version 3 of the CUDA array interface.

    Raises `AttributeError` for a tensor on the host, `GradientError` for one on the tape.
    """
    if x.device == "cpu":
        raise AttributeError(
            "__cuda_array_interface__: got a tensor on cpu, expected one on a GPU; "
            "try x.to('cuda'), or np.asarray(x)"
        )
    found: dict[str, Any] = x._off_tape("__cuda_array_interface__").__cuda_array_interface__
    return found


PROPERTIES = {"__cuda_array_interface__": property(cuda_array_interface)}
"""Attributes of a Tensor."""
