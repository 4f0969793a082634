"""Modes. Each is a ContextVar, so threads and asyncio tasks do not leak into each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar, Token
from typing import Any

from tensorgrad._errors import need

recording: ContextVar[bool] = ContextVar("recording", default=True)
level: ContextVar[int] = ContextVar("level", default=0)
default_dtype: ContextVar[str] = ContextVar("default_dtype", default="float32")
_DEVICE: str = os.environ.get("TG_DEVICE", "cpu")
default_device: ContextVar[str] = ContextVar("default_device", default=_DEVICE)

debugging: ContextVar[bool] = ContextVar("debugging", default=False)
draws: ContextVar[Any] = ContextVar("random numbers of a function that runs again", default=None)
watches: ContextVar[tuple[Any, ...]] = ContextVar("watches", default=())
packing: ContextVar[Any] = ContextVar("packing of saved values", default=None)
float32_matmul_precision: ContextVar[str] = ContextVar("matmul_precision", default="highest")

is_recording: Callable[[], bool] = recording.get
is_debugging: Callable[[], bool] = debugging.get
get_float32_matmul_precision: Callable[[], str] = float32_matmul_precision.get


def set_float32_matmul_precision(precision: str) -> None:
    """Set how exactly float32 (and complex64) matrices are multiplied on a GPU; PyTorch's name.

    "highest" (the default): in float32. "high": in TF32, factors rounded to 11 bits and summed in
    float32, several times as fast. On the CPU it has no effect. "medium", which may round factors
    to bfloat16, is refused: cast them with `astype("bfloat16")`, so that the program shows it.
    """
    need(
        precision in ("highest", "high"),
        "set_float32_matmul_precision",
        precision=precision,
        want="'highest' or 'high'; factors are never rounded to bfloat16 unseen",
        fix="'high', or x.astype(\"bfloat16\")",
        error=ValueError,
    )
    float32_matmul_precision.set(precision)


class _Recording(ContextDecorator):
    """Sets whether operations are recorded; a context manager and a decorator, reentrant."""

    _value: bool

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(recording.set(self._value))

    def __exit__(self, *exc: object) -> None:
        recording.reset(self._tokens.pop())


class no_grad(_Recording):  # noqa: N801  (PyTorch's name)
    """Operations inside are not recorded: `with tg.no_grad():` or `@tg.no_grad()`."""

    _value = False


class enable_grad(_Recording):  # noqa: N801  (PyTorch's name)
    """Operations inside are recorded again, also within `no_grad`."""

    _value = True


class debug(ContextDecorator):  # noqa: N801  (a setting, named as `no_grad` is)
    """Checks inside that are too slow for every day: `with tg.debug():` or `@tg.debug()`.

    The gradient rule of a `tg.primitive` is held to central differences at its first call.

    >>> with debug():
    ...     is_debugging()
    True
    """

    def __init__(self) -> None:
        self._tokens: list[Token[bool]] = []

    def __enter__(self) -> None:
        self._tokens.append(debugging.set(True))

    def __exit__(self, *exc: object) -> None:
        debugging.reset(self._tokens.pop())


class device(ContextDecorator):  # noqa: N801  (PyTorch's name)
    """A device by name; `with tg.device("cpu"):` makes new arrays there.

    Without one new arrays go to the device that the environment names in `TG_DEVICE`, or the CPU.

    >>> str(device("cpu"))
    'cpu'
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tokens: list[Token[str]] = []

    def __str__(self) -> str:
        return self.name

    def __enter__(self) -> None:
        self._tokens.append(default_device.set(self.name))

    def __exit__(self, *exc: object) -> None:
        default_device.reset(self._tokens.pop())


@contextmanager
def setting(variable: ContextVar[Any], value: Any) -> Iterator[Any]:
    """Give a mode a value for the length of a block."""
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


@contextmanager
def fresh_level() -> Iterator[int]:
    """A level of its own for one use of a transform; restored whatever happens."""
    token = level.set(level.get() + 1)
    try:
        yield level.get()
    finally:
        level.reset(token)
