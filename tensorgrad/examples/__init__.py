"""The textbook's lessons as small programs: `tensorgrad example NAME`, or NAME.main() from Python.

Each prints its numbers as a table and saves its picture.

    >>> sorted(EXAMPLES)
    ['cost', 'line', 'valley']
"""

from __future__ import annotations

EXAMPLES: dict[str, str] = {
    "valley": "tensorgrad.examples.valley",
    "line": "tensorgrad.examples.line",
    "cost": "tensorgrad.examples.cost",
}
"""Name -> module; the first line of the module's docstring says what it shows."""

__all__ = ["EXAMPLES"]
