"""What a run says: a line an epoch, live on a terminal, or JSON; the result; and its picture."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from tensorgrad.io import atomic_write
from tensorgrad.train.loop import Callback, Loop, Record
from tensorgrad.train.watch import shown

Array = np.ndarray[Any, Any]
_REFRESH = 0.1  # seconds between two states of the live line
_MOST_CLASSES = 20  # of a confusion table that fits a screen
_LISTED = 10  # confusions listed where the table does not


class Reporter(Callback):
    """Says what happens on `out`, warns on `err`; this one says only the result."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.out = sys.stdout if out is None else out
        self.err = sys.stderr if err is None else err

    def say(self, text: str) -> None:
        """A line of the run's story."""

    def warn(self, text: str) -> None:
        """A warning, one line."""
        print(f"warning: {text}", file=self.err, flush=True)

    def interrupted(self, where: dict[str, Any]) -> None:
        """A run was interrupted and saved."""
        print(
            f"interrupted in epoch {where['epoch']} after step {where['step']} of {where['steps']} "
            f"and saved; resume with: tensorgrad train --resume {where['folder']}",
            file=self.err,
            flush=True,
        )

    def result(self, result: dict[str, Any], confusion: Array | None, classes: Any) -> None:
        """The end of a run."""
        print(result_line(result), file=self.out, flush=True)


class Plain(Reporter):
    """A plain line for each epoch, for files and pipes."""

    _norms = ""

    def say(self, text: str) -> None:
        """Print it."""
        print(text, file=self.out, flush=True)

    def on_start(self, loop: Loop) -> None:
        """Print the heads of the columns."""
        self.say(epoch_heads(loop.objective.score_name, loop.recipe.epochs))

    def on_end(self, loop: Loop) -> None:
        """Keep how the gradients went, for the result."""
        self._norms = norms_line(loop.history)

    def on_epoch(self, loop: Loop, record: Record) -> None:
        """Print the epoch's line."""
        self.say(epoch_line(record, loop.recipe.epochs))

    def result(self, result: dict[str, Any], confusion: Array | None, classes: Any) -> None:
        """Why the run ended, the result, and the confusion table."""
        self.say(f"{_ENDS[result['reason']]}; best epoch {result['best_epoch']}")
        for line in (self._norms, skipped_line(result)):
            if line:
                self.say(line)
        if confusion is not None:
            self._table(confusion, classes)
        self.say(result_line(result))

    def _table(self, confusion: Array, classes: Sequence[str]) -> None:
        self.say(confusion_text(confusion, classes))


class Live(Plain):
    """On a terminal: the line of the running epoch moves until the epoch is done."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        from rich.console import Console  # 60 ms, and only a terminal needs it
        from rich.live import Live as RichLive

        super().__init__(out, err)
        self.console = Console(file=self.out, highlight=False)
        self._live = RichLive(console=self.console, auto_refresh=False, transient=True)
        self._shown = 0.0

    def say(self, text: str) -> None:
        """Print it above the live line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A warning above the live line."""
        self.console.print(f"warning: {text}", markup=False, style="yellow", soft_wrap=True)

    def on_start(self, loop: Loop) -> None:
        """Print the heads of the columns; begin the live line."""
        super().on_start(loop)
        self._live.start()

    def on_step(self, loop: Loop) -> None:
        """Move the live line, ten times a second."""
        now = time.monotonic()
        if now - self._shown < _REFRESH:
            return
        self._shown = now
        loop.settle()
        progress, batches = loop.progress, len(loop.batches)
        line = (
            f"{_count(progress.epoch + 1, loop.recipe.epochs)}  "
            f"{_number(progress.loss_sum / progress.rows):>8}  step {progress.batch}/{batches}"
        )
        norms = loop.history[-1]["grad_norm"].values() if loop.history else ()
        if norms:
            line += f"  gradients {' '.join(f'{norm:.1e}' for norm in norms)}"
        self._live.update(line, refresh=True)

    def on_end(self, loop: Loop) -> None:
        """Take the live line away."""
        super().on_end(loop)
        self._live.stop()

    def _table(self, confusion: Array, classes: Sequence[str]) -> None:
        from rich.table import Table

        if len(classes) > _MOST_CLASSES:
            self.say(confusion_text(confusion, classes))
            return
        self.say(_AXES)
        table = Table()
        table.add_column("")
        for name in classes:
            table.add_column(name, justify="right")
        for row, name in enumerate(classes):
            cells = [
                f"[green]{n}[/]" if row == column else f"[red]{n}[/]" if n else "."
                for column, n in enumerate(confusion[row])
            ]
            table.add_row(name, *cells)
        self.console.print(table)


class Json(Reporter):
    """JSON lines on `out`: one an epoch unless `final_only`, and the result."""

    def __init__(
        self, out: TextIO | None = None, err: TextIO | None = None, final_only: bool = False
    ) -> None:
        super().__init__(out, err)
        self.final_only = final_only

    def on_epoch(self, loop: Loop, record: Record) -> None:
        """Print the epoch's line of metrics.jsonl."""
        if not self.final_only:
            self._print({"event": "epoch", **record})

    def interrupted(self, where: dict[str, Any]) -> None:
        """The same as an event, and for people on `err`."""
        super().interrupted(where)
        self._print({"event": "interrupted", **where})

    def result(self, result: dict[str, Any], confusion: Array | None, classes: Any) -> None:
        """Print the result with its confusion table."""
        table = None if confusion is None else confusion.tolist()
        self._print({"event": "result", **result, "confusion": table, "classes": classes})

    def _print(self, record: dict[str, Any]) -> None:
        print(json.dumps(record, allow_nan=False), file=self.out, flush=True)


def reporter(quiet: bool = False, as_json: bool = False) -> Reporter:
    """The reporter for standard output as it is."""
    if as_json:
        return Json(final_only=quiet)
    if quiet:
        return Reporter()
    return Live() if sys.stdout.isatty() else Plain()


_ENDS = {
    "epochs": "all epochs done",
    "patience": "stopped early: the validation loss no longer falls",
}


_AXES = "rows: true, columns: predicted"


def epoch_heads(score_name: str, epochs: int) -> str:
    """What the numbers of an epoch's line are."""
    width = len(_count(epochs, epochs))
    return (
        f"{'epoch':>{width}}  {'loss':>8}  {'val_loss':>8}  {score_name:>8}  "
        f"{'val_' + score_name:>12}  {'rate':>8}  {'samples/s':>9}"
    )


def _count(epoch: int, epochs: int) -> str:
    width = max(9, 2 * len(str(epochs)) + 1)
    return f"{f'{epoch}/{epochs}':>{width}}"


def _number(value: float) -> str:
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


def epoch_line(record: Record, epochs: int) -> str:
    """One epoch in a line: losses, scores, rate, speed, and steps that overflowed float16."""
    name = "accuracy" if "accuracy" in record else "r2"
    skipped = record.get("skipped", 0)
    return (
        f"{_count(record['epoch'], epochs)}  {_number(record['loss']):>8}  "
        f"{_number(record['val_loss']):>8}  {shown(name, record[name]):>8}  "
        f"{shown(name, record[f'val_{name}']):>12}  {record['lr']:>8.2e}  "
        f"{record['samples_per_second']:>9,.0f}{f'  {skipped} skipped' if skipped else ''}"
    )


def norms_line(history: Sequence[Record]) -> str:
    """The gradient norm of each layer in the first and the last epoch that has them."""
    measured = [record["grad_norm"] for record in history if record["grad_norm"]]
    if not measured:
        return ""
    first, last = measured[0], measured[-1]
    each = [f"{name} {first[name]:.2g} to {norm:.2g}" for name, norm in last.items()]
    return f"gradient norms, first to last epoch: {', '.join(each)}"


def skipped_line(result: dict[str, Any]) -> str:
    """How many steps of a float16 run were left out, "" of another."""
    if "skipped_steps" not in result:
        return ""
    count = result["skipped_steps"]
    return (
        f"{count} step{'s' * (count != 1)} left out, whose gradients overflowed float16; "
        f"last loss scale {result['loss_scale']:g}"
    )


def result_line(result: dict[str, Any]) -> str:
    """The test score in a line, and where everything is."""
    name = "accuracy" if "test_accuracy" in result else "r2"
    extra = f", RMSE {result['test_rmse']:.6g}" if "test_rmse" in result else ""
    rows = f"{result['test_rows']} row{'s' * (result['test_rows'] != 1)}"
    return (
        f"test {name} {shown(name, result[f'test_{name}'])}, loss {result['test_loss']:.4f}{extra} "
        f"({rows}); saved in {result['folder']}"
    )


def confusion_matrix(true: Array, predicted: Array, classes: int) -> Array:
    """Counts (classes, classes): rows are the true classes, columns the predicted ones."""
    flat = np.bincount(true * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def confusion_text(confusion: Array, classes: Sequence[str]) -> str:
    """A confusion matrix as a table of text; of many classes, the most frequent confusions."""
    if len(classes) > _MOST_CLASSES:
        return _worst(confusion, classes)
    cells = [[str(n) if n else "." for n in row] for row in confusion]
    for k, row in enumerate(cells):
        row[k] = str(confusion[k, k])
    width = max(len(text) for text in (*classes, *(c for row in cells for c in row)))
    first = max(len("true"), *(len(name) for name in classes))
    lines = [
        _AXES,
        " ".join([" " * first, *(f"{name:>{width}}" for name in classes)]),
    ]
    for name, row in zip(classes, cells):
        lines.append(" ".join([f"{name:>{first}}", *(f"{cell:>{width}}" for cell in row)]))
    return "\n".join(lines)


def _worst(confusion: Array, classes: Sequence[str]) -> str:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_LISTED]
    pairs = [np.unravel_index(flat, wrong.shape) for flat in order]
    lines = [
        f"  {classes[i]} taken for {classes[j]}: {wrong[i, j]} of {confusion[i].sum()}"
        for i, j in pairs
        if wrong[i, j]
    ]
    return "\n".join(["most frequent confusions", *lines]) if lines else "no confusions"


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
        layers = {layer: None for record in history for layer in record["grad_norm"]}
        for layer in layers:  # an epoch all of whose steps overflowed has none
            found = [record["grad_norm"].get(layer, math.nan) for record in history]
            norms.plot(epochs, found, label=layer)
        best = [record["epoch"] for record in history if record["best"]]
        for axes, title in ((losses, "loss"), (scores, name), (norms, "gradient norm")):
            axes.set(title=title, xlabel="epoch")
            if axes.lines:
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
