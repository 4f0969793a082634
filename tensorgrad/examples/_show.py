"""What the examples share: a table on the terminal, a picture in a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorgrad as tg
from tensorgrad.io import WriteError, atomic_write

BLUE, ORANGE, GREEN, RED = "#1f6fb4", "#e07b00", "#2c8c3c", "#c23b3b"


def placed(value: Any, device: str) -> Any:
    """A number or array as a tensor of a GPU; as it is for the CPU."""
    return value if device == "cpu" else tg.tensor(value, device=device)


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


def figures() -> Any:
    """Matplotlib's class of figures; raises `WriteError` where it is not installed."""
    try:
        from matplotlib.figure import Figure  # an extra
    except ImportError as cause:
        raise WriteError(
            "picture: got no matplotlib, expected it for pictures; "
            "try pip install 'tensorgrad[train]'"
        ) from cause
    return Figure


def axes(
    rows: int, columns: int, size: tuple[float, float], heights: Sequence[float] | None = None
) -> tuple[Any, Any]:
    """A figure that needs no display, and its axes in a flat list; `heights` of the rows, relative.

    Raises `WriteError` where matplotlib is not installed.
    """
    figure = figures()(figsize=size, layout="constrained")
    found = figure.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel()
    for ax in found:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, found


def blend() -> Any:
    """Colours from blue over white to orange."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blend", [BLUE, "white", ORANGE])


def target(name: str, out: Path | None) -> Path:
    """NAME.svg in `out` (default: the current folder), or `out` itself if that is a file name.

    The folder is made if it is missing; the suffix of a file name says the format (svg, png, pdf).
    Raises `WriteError` where no picture can be written there.
    """
    path = Path(out) if out is not None else Path()
    if not path.suffix or path.is_dir():
        path = path / f"{name}.svg"
    kind = path.suffix[1:].lower()
    known = figures()().canvas.get_supported_filetypes()
    if kind not in known:
        raise WriteError(
            f"{path}: got a picture of type {kind!r}, expected one of {', '.join(sorted(known))}; "
            f"try {path.with_suffix('.svg')}"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise WriteError(
            f"{path}: got {(cause.strerror or str(cause)).lower()}, expected a folder that can be "
            "made; try another --out"
        ) from cause
    return path


def save(figure: Any, name: str, out: Path | None) -> Path:
    """Write a figure where `target` says, print the place and return it.

    Raises `WriteError` for a file that cannot be written.
    """
    path = target(name, out)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=150)
    print(f"picture: {path}")
    return path
