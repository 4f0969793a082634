"""Parts that update rules share."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg


def lerp(start: Any, end: Any, share: Any) -> Any:
    """start + share (end - start), from the nearer end: it loses no digits of the smaller one."""
    apart = end - start
    return tg.where(share < 0.5, start + share * apart, end - (1 - share) * apart)
