"""What the examples share: a table on the terminal, a picture in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BLUE, ORANGE, GREEN, RED = "#1f6fb4", "#e07b00", "#2c8c3c", "#c23b3b"


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under a title; the first column is text, the others are numbers."""
    from rich.console import Console
    from rich.table import Table

    found = Table(title=title, title_justify="left")
    for k, name in enumerate(columns):
        found.add_column(name, justify="right" if k else "left")
    for row in rows:
        found.add_row(*[str(cell) for cell in row])
    Console().print(found)


def axes(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure that needs no display, and its axes in a flat list."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in found:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, found


def save(figure: Any, name: str, out: Path | None) -> Path:
    """Write NAME.svg into `out` (default: the current folder), or to `out` if that is a file name.

    The folder is made if it is missing; the suffix of a file name says the format (svg, png, pdf).
    """
    path = Path(out) if out is not None else Path()
    if not path.suffix or path.is_dir():
        path = path / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"picture: {path}")
    return path
