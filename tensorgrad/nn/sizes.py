"""Sizes as layers are given them: a whole number of Python or NumPy, or one for each axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, SupportsIndex

import tensorgrad as tg

Size = SupportsIndex | Sequence[SupportsIndex]


def each(
    layer: Any, what: str, given: Any, count: int, least: int | None = None
) -> tuple[int, ...]:
    """`count` numbers, none below `least`: those given, or the one given for all of them.

    Raises `ShapeError` for what is none, or for another count.
    """
    found = tuple(given) if isinstance(given, Iterable) else (given,) * count
    whole = all(hasattr(n, "__index__") and (least is None or n >= least) for n in found)
    if not whole or len(found) != count:
        above = "" if least is None else f" from {least} up"
        many = f", or {count} of them" if count > 1 else ""
        raise tg.ShapeError(
            f"{type(layer).__name__}: got {what}={given!r}, expected a whole number{above}{many}; "
            f"try {what}={max(least or 0, 1)}"
        )
    return tuple([int(n) for n in found])


def shape(layer: Any, what: str, given: Any) -> tuple[int, ...]:
    """The lengths of some axes; a number alone is one of them."""
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    return each(layer, what, found, len(found), 0)
