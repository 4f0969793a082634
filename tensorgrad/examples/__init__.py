"""The textbook's lessons as small programs: `tensorgrad example NAME`, or NAME.main() from Python.

Each prints its numbers as a table and saves its picture.

    >>> list(EXAMPLES)[:5]
    ['valley', 'line', 'cost', 'bends', 'vanishing']
"""

from __future__ import annotations

EXAMPLES: dict[str, str] = {
    name: f"tensorgrad.examples.{name.replace('-', '_')}"
    for name in (
        "valley",
        "line",
        "cost",
        "bends",
        "vanishing",
        "race",
        "diabetes",
        "cnn",
        "features",
        "multilabel",
        "autoencoder",
        "chars-lstm",
        "chars-transformer",
    )
}
"""Name -> module; the first line of the module's docstring says what it shows."""

__all__ = ["EXAMPLES"]
