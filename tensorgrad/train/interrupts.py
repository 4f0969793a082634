"""Ctrl-C and SIGTERM end a run after the step it is in."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from tensorgrad.train.loop import Callback, Loop

INTERRUPTED = "interrupted"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts(Callback):
    """Turns the first signal into a stop; a second one acts as it would without us.

    `received` is the signal's number, 0 for none. Outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def on_start(self, loop: Loop) -> None:
        """Catch the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in _SIGNALS}

    def on_step(self, loop: Loop) -> None:
        """Stop if one came."""
        if self.received:
            loop.stop(INTERRUPTED)

    def on_end(self, loop: Loop) -> None:
        """Let the signals do what they did."""
        self._release()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
