"""A run that was interrupted and resumed equals one that was not, bit for bit."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad import train
from tensorgrad.io import load_file, load_metadata
from tensorgrad.train import runfolder
from tensorgrad.train.loop import Loop

Fit = Callable[..., train.Result]
TIMES = ("seconds", "samples_per_second")


class StopAt(train.Reporter):
    """Interrupts a run after some steps, as a signal would."""

    def __init__(self, *steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_step(self, loop: Loop) -> None:
        if loop.progress.step in self.steps:
            loop.stop("interrupted")


OPTIONS: list[dict[str, Any]] = [
    {"dropout": 0.4},
    {"optimizer": "momentum", "schedule": "cosine", "warmup": 1, "l1": 1e-3, "max_norm": 1.0},
    {"optimizer": "sgd", "schedule": "plateau", "decay_epochs": 1, "clip_norm": 0.1},
    {"optimizer": "adamw", "activation": "prelu", "batch_size": 7, "dtype": "float64"},
    {"l2": 1e-2, "activation": "maxout", "patience": 1, "lr": 0.3},
    {"amp": "float16", "dropout": 0.2, "l1": 1e-3, "clip_norm": 0.5},
    {"amp": "float16", "optimizer": "muon", "clip_norm": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_bit_for_bit(
    blobs: Path, fit: Fit, options: dict[str, Any], rng: np.random.Generator
) -> None:
    options = {"data": str(blobs), "target": "kind", "layers": (9, 5), "epochs": 5, **options}
    whole = fit(**options)
    last = int(load_progress(whole.folder)["step"])
    first, second = sorted(int(n) for n in rng.integers(1, last + 1, 2))
    stopped = fit(StopAt(first), **options)
    assert stopped.summary["reason"] == "interrupted"
    train.resume(stopped.folder, report=StopAt(second))
    found = train.resume(stopped.folder)
    same(whole, found)


def test_at_the_end_of_an_epoch_and_twice_in_the_next(blobs: Path, fit_drawn: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "batch_size": 21}
    whole = fit_drawn(**options)  # 84 rows: four steps an epoch
    stopped = fit_drawn(StopAt(4), **options)
    train.resume(stopped.folder, report=StopAt(5))
    train.resume(stopped.folder, report=StopAt(6))
    found = train.resume(stopped.folder)
    same(whole, found)
    curves = [(run.folder / "curves.svg").read_bytes() for run in (whole, found)]
    assert curves[0] == curves[1]


def test_before_the_first_epoch_there_is_a_state_and_no_model(blobs: Path, fit: Fit) -> None:
    stopped = fit(StopAt(1), data=str(blobs), target="kind")
    assert sorted(path.name for path in stopped.folder.iterdir()) == [
        "config.toml",
        "metrics.jsonl",
        "state.safetensors",
    ]
    assert stopped.history == []


def test_lines_of_epochs_after_the_state_are_cut(blobs: Path, fit: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind"}
    whole = fit(**options)
    stopped = fit(StopAt(4), **options)
    with open(stopped.folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 99}\n{"half')
    same(whole, train.resume(stopped.folder))


def test_a_run_that_is_done_reports_again_or_goes_on(blobs: Path, fit: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind"}
    done = fit(**options)
    same(done, train.resume(done.folder))
    more = train.resume(done.folder, {"epochs": 5})
    same(fit(**{**options, "epochs": 5}), more)


def test_a_run_that_was_killed_goes_on_from_its_last_state(
    blobs: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Killed(train.Reporter):
        def on_step(self, loop: Loop) -> None:
            if loop.progress.step == 8:
                raise SystemExit

    monkeypatch.setattr(runfolder, "_SAVE_EVERY", 0.0)
    options: dict[str, Any] = {"data": str(blobs), "target": "kind"}
    whole = fit(**options)
    with pytest.raises(SystemExit):
        fit(Killed(), **options)
    same(whole, train.resume(tmp_path / "run2", {"data": str(blobs), "lr": 1e-3}))


class Deaf(train.Reporter):
    """A pipe or a terminal that is closed when the run says one thing."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def _hear(self, what: str) -> None:
        if what == self.when:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def say(self, text: str) -> None:
        self._hear("title")

    def on_step(self, loop: Loop) -> None:
        if loop.progress.step == 6:
            self._hear("step")

    def on_epoch(self, loop: Loop, record: dict[str, Any]) -> None:
        if loop.progress.epoch == 2:
            self._hear("epoch")

    def result(self, result: dict[str, Any], confusion: Any, classes: Any) -> None:
        self._hear("result")


@pytest.mark.parametrize("when", ["title", "step", "epoch", "result"])
def test_a_closed_output_loses_nothing(
    blobs: Path, fit: Fit, tmp_path: Path, when: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "epochs": 4, "dropout": 0.2}
    whole = fit(**options)
    capsys.readouterr()
    with pytest.raises(BrokenPipeError):
        fit(Deaf(when), **options)
    assert capsys.readouterr().err.startswith("interrupted in epoch") == (when != "result")
    same(whole, train.resume(tmp_path / "run2"))


def test_a_run_that_diverges_leaves_its_best_weights(blobs: Path, fit: Fit, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "batch_size": 21}
    jump: dict[str, Any] = {"schedule": "piecewise", "boundaries": (2,), "rates": (1e30,)}
    with pytest.raises(train.DivergedError, match="epoch 3"):
        fit(optimizer="sgd", activation="linear", epochs=5, **jump, **options)
    assert sorted(path.name for path in (tmp_path / "run1").iterdir()) == [
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
    ]
    calm = fit(optimizer="sgd", activation="linear", epochs=2, **options)
    kept = load_file(tmp_path / "run1" / "model.safetensors")
    for name, value in load_file(calm.folder / "model.safetensors").items():
        np.testing.assert_array_equal(kept[name], value)


def test_a_run_that_fails_before_an_epoch_takes_its_folder_back(
    blobs: Path, fit: Fit, tmp_path: Path
) -> None:
    with pytest.raises(train.DivergedError):
        fit(data=str(blobs), target="kind", optimizer="sgd", lr=1e30, activation="linear")
    assert list(tmp_path.iterdir()) == [blobs]


def test_refusals(blobs: Path, fit: Fit, tmp_path: Path) -> None:
    stopped = fit(StopAt(2), data=str(blobs), target="kind")
    with pytest.raises(train.ConfigError) as caught:
        train.resume(stopped.folder, {"lr": 1.0})
    assert str(caught.value) == (
        f"resume {stopped.folder}: got a new lr, expected only epochs, patience or device to "
        "change; try a new run"
    )
    with pytest.raises(train.ConfigError, match=r"got no config.toml in it, expected the folder"):
        train.resume(tmp_path / "nowhere")
    text = blobs.read_text()
    blobs.write_text(text.replace("0", "1", 1))
    with pytest.raises(train.ConfigError, match="got data that changed since the run began"):
        train.resume(stopped.folder)
    blobs.write_text(text)
    state = stopped.folder / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated or damaged"):
        train.resume(stopped.folder)
    state.unlink()
    with pytest.raises(train.ConfigError, match="expected the state of a run that began"):
        train.resume(stopped.folder)


def load_progress(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(load_metadata(folder / "state.safetensors")["run"])
    progress: dict[str, Any] = found["progress"]
    return progress


def same(one: train.Result, two: train.Result) -> None:
    """The same weights, best weights, optimizer, history and result."""
    for name in ("state.safetensors", "model.safetensors"):
        a, b = load_file(one.folder / name), load_file(two.folder / name)
        assert list(a) == list(b)
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key, strict=True)
    assert load_metadata(one.folder / "state.safetensors") == load_metadata(
        two.folder / "state.safetensors"
    )
    lines = [(run.folder / "metrics.jsonl").read_text().splitlines() for run in (one, two)]
    assert [untimed(json.loads(line)) for line in lines[0]] == [
        untimed(json.loads(line)) for line in lines[1]
    ]
    for key in one.summary:
        if key not in ("seconds", "folder"):
            assert one.summary[key] == two.summary[key], key


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in TIMES}
