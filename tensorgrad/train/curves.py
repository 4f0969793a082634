"""The picture of a run: loss, score and gradient norms over the epochs, as curves.svg."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tensorgrad.io import atomic_write
from tensorgrad.train.loop import Record


def draw_curves(history: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Write the curves of a history as SVG; equal histories give equal bytes.

    Raises `ImportError` where matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    name = "accuracy" if "accuracy" in history[0] else "r2"
    epochs = [record["epoch"] for record in history]
    with mpl.rc_context({"svg.hashsalt": "tensorgrad", "svg.fonttype": "none"}):
        figure = Figure(figsize=(12, 3.6), layout="constrained")
        losses, scores, norms = figure.subplots(1, 3)
        for axes, key, label in (
            (losses, "loss", "training"),
            (losses, "val_loss", "validation"),
            (scores, name, "training"),
            (scores, f"val_{name}", "validation"),
        ):
            axes.plot(epochs, [record[key] for record in history], label=label)
        for layer in history[0]["grad_norm"]:
            norms.plot(epochs, [record["grad_norm"][layer] for record in history], label=layer)
        best = [record["epoch"] for record in history if record["best"]]
        for axes, title in ((losses, "loss"), (scores, name), (norms, "gradient norm")):
            axes.set(title=title, xlabel="epoch")
            axes.legend()
            if best:
                axes.axvline(best[-1], color="0.7", linewidth=1, zorder=0)
        for axes, values in ((losses, ("loss", "val_loss")), (norms, ())):
            low = [record[key] for record in history for key in values]
            low += [] if values else [v for r in history for v in r["grad_norm"].values()]
            if low and min(low) > 0:
                axes.set_yscale("log")
        with atomic_write(path) as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
