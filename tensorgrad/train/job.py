"""A whole run: data, network, loop, run folder, report."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import Batches
from tensorgrad.data.openers import BUILT_IN
from tensorgrad.io import WriteError
from tensorgrad.train.config import Config
from tensorgrad.train.configfile import write_toml
from tensorgrad.train.loop import (
    INTERRUPTED,
    DivergedError,
    Interrupts,
    Loop,
    Record,
    evaluate,
    load_weights,
    predict,
)
from tensorgrad.train.network import Architecture, initialise
from tensorgrad.train.objective import Part, classes, labels
from tensorgrad.train.options import ConfigError
from tensorgrad.train.place import CPU, computing
from tensorgrad.train.prepare import Prepared, prepare
from tensorgrad.train.recipe import Recipe
from tensorgrad.train.report import Reporter, confusion_matrix, draw_curves
from tensorgrad.train.runfolder import CONFIG, CURVES, Keeper, RunFolder
from tensorgrad.train.watch import Watch, verdict

Array = np.ndarray[Any, Any]

CHANGEABLE = ("epochs", "patience", "device")
"""What a resumed run may change; anything else would make it another run."""


@dataclass(frozen=True, eq=False)
class Result:
    """The end of a run. `summary` holds the numbers; `signal` is what interrupted it, 0 if nothing.

    net: with its best weights (of an interrupted run, with its last ones)
    confusion: (classes, classes) counts on the test part, rows true, columns predicted
    """

    folder: Path
    net: nn.Sequential
    history: list[Record]
    summary: dict[str, Any]
    confusion: Array | None
    signal: int


def run(config: Config | None = None, report: Reporter | None = None) -> Result:
    """Train as `config` says and write the run folder.

    The seed sets split, initialisation, order and dropout. Raises `ConfigError`, `DataError` and
    `WriteError` for what the user can mend, `DivergedError` when the loss is no number any more.
    """
    config = config or Config()
    folder = RunFolder.planned(config)
    with computing(config.device) as where:
        return _Job(replace(config, device=where), folder, report or Reporter()).start()


def resume(
    folder: str | Path, changes: Mapping[str, Any] | None = None, report: Reporter | None = None
) -> Result:
    """Go on with an interrupted run; the result equals that of a run without the interruption.

    `changes` may give new `epochs`, `patience` and `device` (on another device the result is the
    same up to rounding); other options may only repeat what the run has. A run that is done only
    reports once more.
    """
    kept = RunFolder(folder)
    config = kept.config()
    given = dict(changes or {})
    if "data" in given:
        given["data"] = _anchored(Config(data=given["data"])).data
    changes = {name: value for name, value in given.items() if _held(config, name) != value}
    for name in changes:
        if name not in CHANGEABLE:
            raise ConfigError(
                f"resume {folder}: got a new {name}, expected only epochs, patience or device to "
                "change; try a new run"
            )
    changed = replace(config, **changes)
    with computing(changed.device) as where:
        job = _Job(replace(changed, device=where), kept, report or Reporter())
        kept.restore(job.loop, job.data.fingerprint)
        if job.config != config:
            write_toml(job.config, kept.file(CONFIG))
        return job.train()


def _held(config: Config, name: str) -> Any:
    return config.rate if name == "lr" else getattr(config, name)


def _anchored(config: Config) -> Config:
    """The same with an absolute path to the data, so that a run resumes from any folder."""
    if config.data in BUILT_IN or not Path(config.data).exists():
        return config
    return replace(config, data=str(Path(config.data).resolve()))


class _Job:
    """The parts of a run, put together."""

    def __init__(self, config: Config, folder: RunFolder, report: Reporter) -> None:
        self.config, self.folder, self.report = config, folder, report
        self.data: Prepared = prepare(config)
        self.plan = Architecture(
            in_features=self.data.train.x.shape[1],
            layers=config.layers,
            out_features=self.data.outputs,
            activation=config.activation,
            dropout=config.dropout,
            dtype=config.dtype,
            pieces=config.pieces or 2,
        )
        generator = tg.Generator(config.seed)
        with tg.device(CPU):  # the same first weights for every device
            self.net = self.plan.build(generator)
            initialise(self.net, config, generator)
        self.net.to(config.device)
        train = self.data.train
        batches = Batches((train.x, train.y), config.batch_size, rng=config.seed)
        self.watch, self.interrupts = Watch(report.warn), Interrupts()
        self.keeper = Keeper(folder, self.plan, self.data.card, self.data.fingerprint)
        self.loop = Loop(
            self.net,
            self.data.objective,
            Recipe(config, len(batches)),
            batches,
            train,
            self.data.validation,
            # the reporter last to start and to end: what others say stays clear of its live line
            (self.interrupts, self.watch, self.keeper, report),
            generator,
        )

    def start(self) -> Result:
        """Make the folder and train; a folder that nothing came into is taken back."""
        self.folder.create(_anchored(self.config))
        try:
            return self.train()
        except Exception:
            if self.folder.empty:
                self.folder.remove()
            raise

    def train(self) -> Result:
        """Train from where the loop stands, then test, draw and report."""
        begun, data, device = time.perf_counter(), self.data, self.config.device
        where = "" if device == CPU else f", on {device}"
        reason = self._loop(
            f"{data.name}: {len(data.train)} rows to train, {len(data.validation)} to validate, "
            f"{len(data.test)} to test; {data.card.task} by {data.objective.name}; "
            f"network {self.plan}, seed {self.config.seed}{where}"
        )
        seconds = time.perf_counter() - begun
        if reason == INTERRUPTED:
            summary = self._where() | {"reason": reason, "seconds": round(seconds, 3)}
            self.report.interrupted(summary)
            return self._result(summary, None)
        return self._finish({"reason": reason, "seconds": round(seconds, 3)})

    def _loop(self, title: str) -> str:
        """Run the loop under its title; a run that fails leaves what is good of it."""
        try:
            self.report.say(title)
            return self.loop.run()
        except DivergedError:
            self.keeper.save_best(self.loop)
            raise
        except WriteError:
            raise
        except MemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold the arrays of the step
            self._rescue()
            raise
        except OSError:  # nobody reads any more; callbacks speak between steps: the state is whole
            self.keeper.save(self.loop)
            with contextlib.suppress(OSError):
                self.report.interrupted(self._where())
            raise

    def _rescue(self) -> None:
        """Save what was trained before the step that found no memory, if any was."""
        if self.loop.progress.step and self.loop.take_back():
            with contextlib.suppress(MemoryError, OSError, DivergedError):
                self.keeper.save(self.loop)
                self.report.interrupted(self._where())

    def _where(self) -> dict[str, Any]:
        progress = self.loop.progress
        return {
            "folder": str(self.folder),
            "epoch": progress.epoch + 1,
            "step": progress.batch,
            "steps": len(self.loop.batches),
        }

    def _finish(self, summary: dict[str, Any]) -> Result:
        """Test the best weights; write the curves; report."""
        loop, goal = self.loop, self.data.objective
        if loop.best:
            load_weights(self.net, loop.best)
        best = loop.progress.best_epoch
        name = goal.score_name
        test_loss, test_score = evaluate(self.net, goal, self.data.test)
        _, train_score = evaluate(self.net, goal, self.data.train)
        _, validation_score = evaluate(self.net, goal, self.data.validation)
        judged = verdict(name, train_score, validation_score, self._baseline(), best)
        if judged:
            self.watch.add("fit", judged)
        self._draw()
        summary |= {
            "epochs": loop.progress.epoch,
            "best_epoch": best,
            "seed": self.config.seed,
            "val_loss": loop.progress.best_loss,
            f"train_{name}": train_score,
            f"val_{name}": validation_score,
            "test_loss": test_loss,
            f"test_{name}": test_score,
            "test_rows": len(self.data.test),
            "folder": str(self.folder),
            "warnings": self.watch.warnings,
        }
        if loop.scaler is not None:
            summary["skipped_steps"] = sum(record["skipped"] for record in loop.history)
            summary["loss_scale"] = loop.scaler.get_scale()
        confusion = self._confusion(summary)
        self.report.result(summary, confusion, self.data.card.classes)
        return self._result(summary, confusion)

    def _result(self, summary: dict[str, Any], confusion: Array | None) -> Result:
        signal = self.interrupts.received
        path = self.folder.path
        return Result(path, self.net, self.loop.history, summary, confusion, signal)

    def _baseline(self) -> float:
        """The score of the best constant on the training part."""
        y, task = self.data.train.y, self.data.card.task
        if task == "regression":
            return 0.0
        if task == "classification":
            return float(np.bincount(classes(y)).max() / len(y))
        ones = y.mean(0, dtype=np.float64)
        return float(np.maximum(ones, 1 - ones).mean())

    def _confusion(self, summary: dict[str, Any]) -> Array | None:
        """The confusion matrix on the test part; of a regression, its error in `summary`."""
        test, task, scale = self.data.test, self.data.card.task, self.data.card.y_scale
        outputs = predict(self.net, test.x)
        if task == "regression":
            gap = (outputs - test.y).astype(np.float64) * (1.0 if scale is None else scale.std)
            summary["test_rmse"] = float(np.sqrt(np.square(gap).mean()))
        if task not in ("classification", "binary"):
            return None
        true = _classes_of(test, task)
        return confusion_matrix(true, labels(task, outputs), len(self.data.card.classes or ()))

    def _draw(self) -> None:
        try:
            draw_curves(self.loop.history, self.folder.file(CURVES))
        except ImportError:
            self.report.warn(
                "no curves.svg, since matplotlib is not installed; "
                "try pip install 'tensorgrad[train]'"
            )


def _classes_of(part: Part, task: str) -> Array:
    found = classes(part.y) if task == "classification" else part.y[:, 0].astype(np.int64)
    return np.asarray(found)
