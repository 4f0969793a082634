"""Results of primitives that have more than one, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def several(written: Callable[[Any, Any], Any]) -> Callable[[Any, Any], tuple[Any, ...]]:
    """Results as a tuple, each by the backend's `written` into `out` where that was given."""

    def many(found: Any, out: Any) -> tuple[Any, ...]:
        return tuple(found) if out is None else tuple([written(f, o) for f, o in zip(found, out)])

    return many
