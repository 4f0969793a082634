"""What a captured step does on the host before each replay.

A graph holds what its step gave the device, once. What the step did on the host (counted an update,
drew a counter, read a learning rate) it has to do again before each replay, and the numbers that
come of it have to be in device memory by then. While a step is recorded, `current` is its
`Recording`, and who does such things registers them there instead of doing them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

Array = Any
Read = Callable[[], Sequence[float]]


class Store(Protocol):
    """Numbers in device memory."""

    def place(self, dtype: str) -> Array:
        """A 0-d array for one more number."""
        ...

    def put(self, values: Sequence[float]) -> None:
        """Give every place its number, in the order of the places."""
        ...


class Recording:
    """What one captured step registered; `store` makes the memory for its numbers."""

    def __init__(self, store: Callable[[], Store]) -> None:
        self._make = store
        self._store: Store | None = None
        self._checks: list[Callable[[], Any]] = []
        self._calls: list[tuple[Callable[[], Any], bool]] = []

    @contextmanager
    def active(self) -> Iterator[None]:
        """The block in which the step is recorded."""
        token = current.set(self)
        try:
            yield
        finally:
            current.reset(token)

    def check(self, function: Callable[[], Any]) -> None:
        """Call a function before every replay and before all that changes state: it may raise."""
        self._checks.append(function)

    def each(self, function: Callable[[], Any]) -> None:
        """Call a function before every replay, in the order in which they were registered."""
        self._calls.append((function, False))

    def numbers(self, read: Read, dtypes: Sequence[str]) -> list[Array]:
        """0-d arrays on the device that before every replay get the numbers that `read` returns."""
        if self._store is None:
            self._store = self._make()
        self._calls.append((read, True))
        return [self._store.place(dtype) for dtype in dtypes]

    def before(self) -> None:
        """Do all of it: to be called in front of a replay."""
        for check in self._checks:
            check()
        values: list[float] = []
        for function, numbers in self._calls:
            found = function()
            if numbers:
                values.extend(found)
        if self._store is not None:
            self._store.put(values)


current: ContextVar[Recording | None] = ContextVar("recording a step", default=None)
