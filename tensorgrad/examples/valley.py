"""Gradient descent in the valley x²/10 + sin x: four paths, four fates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.examples import _show


def f(x: Any) -> Any:
    """x²/10 + sin x: its lowest point is at -1.3064, a local minimum at 3.8375."""
    return x**2 / 10 + np.sin(x)


slope = tg.grad(f)


def descend(x: Any, rate: float, steps: int, momentum: float = 0.0) -> list[Any]:
    """The path x ← x + v, v ← momentum v - rate f'(x), the start included."""
    path, velocity = [x], 0.0
    for _ in range(steps):
        velocity = momentum * velocity - rate * slope(x)
        x = x + velocity
        path.append(x)
    return path


PATHS: dict[str, dict[str, Any]] = {
    "from the left": {"x": -9.0, "rate": 0.4, "steps": 34},
    "from the right": {"x": 9.0, "rate": 0.4, "steps": 34},
    "too large a step": {"x": -9.0, "rate": 12.0, "steps": 8},
    "with momentum": {"x": 9.0, "rate": 0.4, "steps": 60, "momentum": 0.8},
}
FATES = (
    "reaches the lowest point",
    "stops in the local minimum",
    "diverges",
    "crosses the small valley",
)


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Print the paths, walked on a device, and save a picture of them."""
    paths = {}
    for name, start in PATHS.items():
        path = descend(**{**start, "x": _show.placed(start["x"], device)})
        paths[name] = [float(x) for x in path]
    first = paths["from the left"]
    _show.table(
        "From the left, step 0.4",
        ("k", "x", "f(x)", "f'(x)"),
        [
            (k, f"{first[k]:.9f}", f"{f(first[k]):.9f}", f"{slope(first[k]):.8f}")
            for k in (0, 1, 2, 8, 9, 10, 32, 33, 34)
        ],
    )
    _show.table(
        "Four paths",
        ("path", "step", "from x", "to x", "fate"),
        [
            (name, PATHS[name]["rate"], path[0], f"{path[-1]:.4f}", fate)
            for (name, path), fate in zip(paths.items(), FATES)
        ],
    )
    _show.save(picture(paths), "valley", out)


def picture(paths: dict[str, list[float]]) -> Any:
    """One panel a path: the valley, and the points walked through, darker as they go."""
    figure, panels = _show.axes(2, 2, (10, 6.5))
    for ax, (name, path), fate in zip(panels, paths.items(), FATES):
        reach = 1.15 * max(abs(x) for x in path[:5])
        x = np.linspace(-reach, reach, 800)
        seen = [p for p in path if abs(p) <= reach]
        ax.plot(x, f(x), color="0.6", linewidth=1.2)
        ax.plot(seen, [f(p) for p in seen], color=_show.ORANGE, linewidth=0.8, alpha=0.7)
        shade = np.linspace(0.25, 1, len(seen))
        ax.scatter(seen, [f(p) for p in seen], c=shade, cmap="Oranges", vmin=0, s=28, zorder=3,
                   edgecolors=_show.ORANGE, linewidths=0.6)  # fmt: skip
        outward = -1 if path[0] < 0 else 1
        ax.annotate("start", (seen[0], f(seen[0])), xytext=(7 * outward, -10),
                    textcoords="offset points", ha="right" if outward < 0 else "left")  # fmt: skip
        start = PATHS[name]
        with_momentum = f", momentum {start['momentum']}" if "momentum" in start else ""
        ax.set_title(f"{name}: {fate}\nstep {start['rate']}{with_momentum}", fontsize=10)
        ax.set_xlabel("x")
        ax.set_ylabel("f(x)")
    return figure
