"""The training loop: steps, epochs, early stopping, and callbacks that watch and stop it."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.data import Batches
from tensorgrad.train.culprit import culprit
from tensorgrad.train.network import linear_layers
from tensorgrad.train.objective import Objective, Part
from tensorgrad.train.optimizers import Mover
from tensorgrad.train.place import (
    CPU,
    STEPS,
    Feed,
    Seen,
    bare,
    device_of,
    measure,
    on,
    read,
)
from tensorgrad.train.recipe import Recipe

Array = np.ndarray[Any, Any]
Record = dict[str, Any]

_CHUNK = 4096  # rows evaluated at once
_NORMS = 8  # steps of an epoch whose gradients are measured


class DivergedError(tg.TensorgradError, ArithmeticError):
    """A loss that is no longer a finite number."""


@dataclass
class Progress:
    """Where a run stands, to the step; with the arrays of its state it is all that resuming needs.

    The sums run over the steps of the current epoch; `squares` holds for each layer the sum of
    the squared gradient norms at the measured steps, `skipped` counts steps that overflowed.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    points: float = 0.0
    rows: int = 0
    squares: dict[str, float] = field(default_factory=dict)
    measured: int = 0
    skipped: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    stale: int = 0
    plateau_score: float = -math.inf
    plateau_stale: int = 0
    plateau_factor: float = 1.0

    def begin_epoch(self) -> None:
        """Set the sums of the epoch to zero."""
        self.batch = self.rows = self.measured = self.skipped = 0
        self.loss_sum = self.points = 0.0
        self.squares = {}


class Callback:
    """Watches a run; every method may be left out. `loop.stop(reason)` ends the run."""

    def on_start(self, loop: Loop) -> None:
        """Before the first step."""

    def on_step(self, loop: Loop) -> None:
        """After each step."""

    def on_epoch(self, loop: Loop, record: Record) -> None:
        """After each epoch, with its line of metrics."""

    def on_end(self, loop: Loop) -> None:
        """After the last step, whatever ended the run."""


INTERRUPTED = "interrupted"
# SIGHUP, which Windows lacks, says that the terminal is gone
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupts(Callback):
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a stop after the step that it came in.

    A second one acts as it would without us. `received` is the signal's number, 0 for none. A
    signal that is ignored (nohup) stays so, and outside the main thread nothing is caught.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}

    def on_start(self, loop: Loop) -> None:
        """Catch the signals."""
        if threading.current_thread() is threading.main_thread():
            heard = [n for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._catch) for number in heard}

    def on_step(self, loop: Loop) -> None:
        """Stop if one came."""
        if self.received:
            loop.stop(INTERRUPTED)

    def on_end(self, loop: Loop) -> None:
        """Let the signals do what they did."""
        self._release()

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


class Loop:
    """Trains `net` on the batches and keeps the weights with the lowest validation loss.

    `generator` is what dropout in the network draws from, so that the state of a run has it. The
    run computes where the network is. On a GPU the sums of `progress` follow some steps behind;
    `settle` brings them up. `scaler` scales the loss where the recipe trains in float16.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        recipe: Recipe,
        batches: Batches,
        train: Part,
        validation: Part,
        callbacks: Iterable[Callback] = (),
        generator: Any = None,
    ) -> None:
        self.net = net
        self.objective = objective
        self.recipe = recipe
        self.batches = batches
        self.train = train
        self.validation = validation
        self.callbacks = list(callbacks)
        self.generator = tg.Generator(0) if generator is None else generator
        self.optimizer: Mover = recipe.optimizer(net)
        self.scaler = recipe.scaler()
        self.progress = Progress()
        self.best: dict[str, Array] = {}
        self.history: list[Record] = []
        self.reason = ""
        self.device = device_of(net)
        self._feed = Feed(batches, validation, self.device)
        self._pending: list[Seen] = []
        self._drawn: Any = None
        self._rows: Any = None
        self._moving, self._skips = False, 0
        self._here = self.device == CPU
        layers = linear_layers(net)
        self._names, self._measured = ([one[k] for one in layers] for k in (0, 1))
        self._measure_every = max(1, len(batches) // _NORMS)

    def stop(self, reason: str) -> None:
        """End the run after the current step."""
        self.reason = self.reason or reason

    def run(self) -> str:
        """Train to the end; returns why it ended: "epochs", "patience" or a callback's reason."""
        self.reason = ""
        self._tell("on_start")
        try:
            with np.errstate(all="ignore"):  # a loss that is no number is reported as such
                while not self.reason:
                    self.stop(self._finished())
                    if not self.reason and self._epoch():
                        self._close_epoch()
        finally:
            self._tell("on_end")
        return self.reason

    def _finished(self) -> str:
        """Why no epoch is to follow, "" if one is."""
        progress, recipe = self.progress, self.recipe
        if recipe.patience and progress.stale >= recipe.patience:
            return "patience"
        return "epochs" if progress.epoch >= recipe.epochs else ""

    def _tell(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)

    # -- an epoch ------------------------------------------------------------------------------

    def _epoch(self) -> bool:
        """The rest of the current epoch; False if it was stopped in the middle."""
        progress = self.progress
        self._begun, self._rows_before = time.perf_counter(), progress.rows
        self.net.train()
        for x, y in self._feed.at(progress.epoch, progress.batch):
            self._step(x, y)
            self._tell("on_step")
            if self.reason and progress.batch < len(self.batches):
                return False
            if len(self._pending) >= STEPS:
                self.settle()
        self.settle()
        return True

    def _step(self, x: tg.Tensor, y: tg.Tensor) -> None:
        progress, recipe = self.progress, self.recipe
        here = self._here
        self._drawn = None if here else self.generator.get_state()
        recipe.set_rate(self.optimizer, progress.step, progress.plateau_factor)
        self._rows = x if here else None
        loss, outputs, total = self._pass(x, y)
        layers = () if progress.batch % self._measure_every else self._measured
        seen = measure(progress.step, self.objective, loss, outputs, y, layers)
        self._moving = True
        if here:
            self._count(seen)
        else:
            self._pending.append(seen)
        if recipe.searches:
            self._search(x, y, total)
        elif self.scaler is None:
            self.optimizer.step()
        if self.scaler is None or self._scaled_step(self.scaler):
            recipe.after_step(self.net, self.optimizer)
        progress.batch += 1
        progress.step += 1
        self._moving, self._drawn = False, None

    def _pass(self, x: tg.Tensor, y: tg.Tensor) -> tuple[Any, Any, Any]:
        """The loss, the outputs, and the loss with its penalty, whose gradients are in place."""
        scaler = self.scaler
        self.optimizer.zero_grad()
        with self.recipe.casts():
            outputs = self.net(x)
            loss = self.objective.loss(outputs, y)
        more = self.recipe.penalty(self.net)
        total = loss if more is None else loss + more
        if scaler is None:
            total.backward()
        else:
            scaler.scale(total).backward()
            scaler.unscale_(self.optimizer)
        return loss, outputs, total

    def _scaled_step(self, scaler: optim.GradScaler) -> bool:
        """Step unless a gradient overflowed; True unless that is known.

        Only the L1 step, which moves weights by itself, asks: on a GPU asking waits.
        """
        before = scaler.skipped if self.recipe.shrinks else 0
        scaler.step(self.optimizer)
        scaler.update()
        return not self.recipe.shrinks or scaler.skipped == before

    def _search(self, x: tg.Tensor, y: tg.Tensor, total: Any) -> None:
        """A step that asks for the loss at several places; the first is where we are."""
        known = [total]

        def closure() -> Any:
            return known.pop() if known else self._pass(x, y)[2]

        self.optimizer.step(closure)

    def take_back(self) -> bool:
        """After an error, be as before the step that it ended; False if that moved the weights.

        On the CPU, which keeps no note of what a step drew, always False.
        """
        if self._moving or self._here:
            return False
        if self._drawn is not None:
            self.generator.set_state(self._drawn)
        return True

    def settle(self) -> None:
        """Bring the sums of `progress` up to the last step; raises `DivergedError`."""
        found = read(self._pending)
        self._pending = []
        for seen in found:
            self._count(seen)
        if self.scaler is not None:
            skips = self.scaler.skipped
            self.progress.skipped += skips - self._skips
            self._skips = skips

    def _count(self, seen: Seen) -> None:
        progress = self.progress
        if not math.isfinite(seen.loss):
            where = culprit(self.net, self._rows) if self._here else ""
            raise self._diverged("loss", seen.loss, seen.step, where)
        if seen.squares:
            self._add_squares(seen)
        progress.loss_sum += seen.loss * seen.rows
        progress.points += float(seen.points)
        progress.rows += seen.rows

    def _add_squares(self, seen: Seen) -> None:
        squares, found = self.progress.squares, list(map(float, seen.squares))
        wrong = [k for k, square in enumerate(found) if not math.isfinite(square)]
        if wrong and self.scaler is None:
            what = f"the gradient norm of {self._names[wrong[0]]},"
            raise self._diverged(what, math.sqrt(found[wrong[0]]), seen.step)
        if wrong:  # a step that was left out
            return
        for name, square in zip(self._names, found):
            squares[name] = squares.get(name, 0.0) + square
        self.progress.measured += 1

    def _diverged(self, what: str, value: float, step: int, where: str = "") -> DivergedError:
        rate, clip = self.recipe.rate(self.optimizer), self.recipe.clips
        return DivergedError(
            f"train: got {what} {value} at step {step + 1} (epoch {self.progress.epoch + 1})"
            f"{where}, expected a finite number; try --lr {rate / 10:.2g}"
            f"{'' if clip else ', or --clip-norm 1'}"
            f"{'' if self.scaler is None else ', or --amp bfloat16, whose range is wider'}"
        )

    def _close_epoch(self) -> None:
        """Evaluate, write the epoch's record, keep the best weights, stop when patience ends."""
        progress = self.progress
        seconds = time.perf_counter() - self._begun
        seen = progress.rows - self._rows_before
        loss, score = evaluate(self.net, self.objective, self._feed.watched)
        if not math.isfinite(loss):
            where = culprit(self.net, on(self._feed.watched.x, self.device)) if self._here else ""
            raise self._diverged("validation loss", loss, progress.step - 1, where)
        better = loss < progress.best_loss
        if better:
            self.best = weights(self.net)
        record = self._record(loss, score, better)
        record["seconds"] = round(seconds, 6)
        record["samples_per_second"] = round(seen / seconds, 1) if seconds else 0.0
        progress.epoch += 1
        progress.begin_epoch()
        if better:
            progress.best_loss, progress.best_epoch = loss, progress.epoch
        progress.stale = 0 if better else progress.stale + 1
        self.recipe.watch(progress, score)
        self.history.append(record)
        self._tell("on_epoch", record)

    def _record(self, loss: float, score: float, better: bool) -> Record:
        progress, name = self.progress, self.objective.score_name
        norms = {
            layer: math.sqrt(total / progress.measured) for layer, total in progress.squares.items()
        }
        scaled: Record = {}
        if self.scaler is not None:
            scaled = {"skipped": progress.skipped, "loss_scale": self.scaler.get_scale()}
        return {
            "epoch": progress.epoch + 1,
            "loss": progress.loss_sum / progress.rows,
            name: self.objective.score(progress.points, self.train.spread),
            "val_loss": loss,
            f"val_{name}": score,
            "best": better,
            "lr": self.recipe.rate(self.optimizer),
            "grad_norm": norms,
            **scaled,
        }


def weights(net: nn.Module) -> dict[str, Array]:
    """A copy of every parameter and buffer."""
    return {name: np.array(value.detach().numpy()) for name, value in net.state_dict().items()}


def load_weights(net: nn.Module, arrays: Mapping[str, Array]) -> None:
    """Copy what `weights` gave back into the network, wherever that is."""
    device = device_of(net)
    net.load_state_dict({name: on(array, device) for name, array in arrays.items()})


def predict(net: nn.Module, x: Array) -> Array:
    """The outputs of a network in evaluation mode, off the tape, some thousand rows at a time."""
    return np.asarray(_outputs(net, x).numpy())


def _outputs(net: nn.Module, x: Any) -> tg.Tensor:
    was_training, device = net.training, device_of(net)
    net.eval()
    try:
        with tg.no_grad():
            parts = [
                net(on(x[start : start + _CHUNK], device)).detach()
                for start in range(0, len(x), _CHUNK)
            ]
            return parts[0] if len(parts) == 1 else tg.concatenate(parts)
    finally:
        net.train(was_training)


def evaluate(net: nn.Module, objective: Objective, part: Part) -> tuple[float, float]:
    """The mean loss and the score on a part."""
    outputs = _outputs(net, part.x)
    y = on(part.y, outputs.device)
    with tg.no_grad():
        loss = objective.loss(outputs, y)
    points = float(objective.points(bare(outputs), bare(y)))
    return float(loss.item()), objective.score(points, part.spread)
