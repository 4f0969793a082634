"""`tensorgrad train --device cuda`: the CPU's losses to rounding, the same files, and resuming."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.cli import main
from tensorgrad.examples import cost, line, valley
from tensorgrad.io import load_file
from tensorgrad.train import job, place, recipe
from tensorgrad.train.loop import weights

FILES = ["config.toml", "metrics.jsonl", "model.safetensors", "state.safetensors"]
TIMES = ("seconds", "samples_per_second")


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus(devices=2) as machine:
        yield machine


class Silent(train.Reporter):
    """Says nothing; may stop a run after a step."""

    def __init__(self, *stops: int) -> None:
        super().__init__()
        self.stops = stops
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        pass

    def result(self, *args: Any) -> None:
        pass

    def interrupted(self, where: Any) -> None:
        pass

    def on_step(self, loop: Any) -> None:
        if loop.progress.step in self.stops:
            loop.stop("interrupted")


@pytest.fixture
def fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., train.Result]:
    """A run on a device in a folder of its own, without its picture."""
    monkeypatch.setattr(job, "draw_curves", lambda history, path: None)
    count = iter(range(100))

    def run(device: str, report: Any = None, **options: Any) -> train.Result:
        out = str(tmp_path / f"run{next(count)}")
        if "data" in options:
            options["target"] = "y"
        options = {"layers": (8,), "epochs": 3, "patience": 0, **options}
        return train.run(train.Config(out=out, device=device, **options), report or Silent())

    return run


@pytest.fixture
def reads(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what was copied to the host."""
    from tensorgrad.backend.cuda.backend import CudaBackend

    plain, seen = CudaBackend.to_numpy, []  # type: ignore[var-annotated]

    def counted(self: Any, array: Any) -> Any:
        seen.append(array.size)
        return plain(self, array)

    monkeypatch.setattr(CudaBackend, "to_numpy", counted)
    return seen


def launched(gpu: Any, stem: str) -> int:
    """How many kernels of that kind ran."""
    return sum(count for name, count in gpu.launches.items() if name.startswith(stem))


def alike(one: Any, two: Any, tolerance: float = 2e-5) -> None:
    """Two records or summaries, but for their times and places."""
    assert list(one) == list(two)
    for key, value in one.items():
        if key in (*TIMES, "folder", "warnings"):
            continue
        if isinstance(value, dict):
            alike(value, two[key], tolerance)
        elif isinstance(value, float):
            assert two[key] == pytest.approx(value, rel=tolerance, abs=1e-7), key
        else:
            assert two[key] == value, key


def history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(text).items() if k not in TIMES} for text in lines]


def table(path: Path, rng: np.random.Generator, task: str) -> Path:
    """60 rows of three features with a target for a task."""
    x = rng.normal(size=(60, 3)).round(4)
    y: Any = (x[:, 0] - x[:, 1]).round(4)
    if task == "binary":
        y = (y > 0).astype(int)
    rows = [",".join(map(str, (*row, target))) for row, target in zip(x.tolist(), y.tolist())]
    path.write_text("\n".join(["a,b,c,y", *rows]) + "\n")
    return path


def test_digits(gpu: Any, fit: Any, reads: list[int]) -> None:
    host = fit("cpu", epochs=2, layers=(128, 64))
    counts = []

    class Counted(Silent):
        def on_epoch(self, loop: Any, record: Any) -> None:
            counts.append(len(reads))

    found = fit("cuda", Counted(), epochs=2, layers=(128, 64))
    for one, two in zip(host.history, found.history):
        alike(one, two)
    alike(host.summary, found.summary)
    assert host.confusion is not None
    assert np.abs(host.confusion - found.confusion).sum() <= 2
    assert [p.device for p in found.net.parameters()] == ["cuda:0"] * 6
    assert 5 <= counts[1] - counts[0] <= 12  # of an epoch of 40 steps, six of them best weights
    assert launched(gpu, "softmax_xent") >= 80
    assert launched(gpu, "gather_rows") == 160
    assert sorted(p.name for p in found.folder.iterdir()) == FILES
    models = [load_file(run.folder / "model.safetensors") for run in (host, found)]
    for name, value in models[0].items():
        np.testing.assert_allclose(models[1][name], value, rtol=2e-3, atol=2e-5)
    config = tomllib.loads((found.folder / "config.toml").read_text())
    assert config["device"] == "cuda:0"


OPTIONS: list[dict[str, Any]] = [
    {"task": "binary", "optimizer": "momentum", "schedule": "cosine", "warmup": 1, "l1": 1e-3},
    {"task": "binary", "dropout": 0.3, "activation": "tanh", "max_norm": 1.0, "loss": "hinge"},
    {"task": "regression", "optimizer": "sgd", "lr": 0.02, "clip_norm": 0.5, "dtype": "float64"},
    {"task": "regression", "loss": "huber", "activation": "prelu", "l2": 1e-2, "batch_size": 7},
    {"task": "regression", "optimizer": "lbfgs", "batch_size": 60, "l2": 1e-3, "dtype": "float64"},
    {"task": "regression", "optimizer": "muon", "clip_norm": 0.5, "schedule": "one_cycle"},
    {"task": "binary", "optimizer": "rprop", "l2": 1e-2, "batch_size": 60},
    {"task": "binary", "optimizer": "adafactor", "loss": "bce_probabilities"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_other_runs(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator, options: dict[str, Any]
) -> None:
    options = {"data": str(table(tmp_path / "t.csv", rng, options["task"])), **options}
    for one, two in zip(fit("cpu", **options).history, fit("cuda:1", **options).history):
        alike(one, two, 1e-3)


@pytest.mark.parametrize(
    "options", [{"optimizer": "sgd", "l1": 1e-3}, {"optimizer": "sgd", "clip_norm": 1.0}]
)
def test_steps_that_overflow_float16(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator, monkeypatch: Any,
    options: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setattr(
        recipe.optim, "GradScaler", lambda: tg.optim.scaler.GradScaler(2.0**24, growth_interval=4)
    )
    data = str(table(tmp_path / "t.csv", rng, "regression"))
    options = {"data": data, "amp": "float16", "epochs": 8, "lr": 0.01, **options}
    host, found = fit("cpu", **options), fit("cuda", **options)
    for one, two in zip(host.history, found.history):
        assert (one["skipped"], one["loss_scale"]) == (two["skipped"], two["loss_scale"])
        assert two["loss"] == pytest.approx(one["loss"], rel=0.02)
    assert host.summary["skipped_steps"] == found.summary["skipped_steps"] > 3
    assert found.history[-1]["loss"] < found.history[0]["loss"]


def test_rows_that_do_not_fit_are_copied(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = str(table(tmp_path / "t.csv", rng, "binary"))
    resident = fit("cuda", data=data)
    gathered = launched(gpu, "gather_rows")
    monkeypatch.setattr(place, "SHARE", 2**40)
    copied = fit("cuda", data=data)
    assert launched(gpu, "gather_rows") == gathered > 0
    assert history(copied.folder) == history(resident.folder)


def test_the_environment_chooses_and_first_weights_are_the_cpus(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    data = str(table(tmp_path / "t.csv", rng, "binary"))
    first = []

    class Start(Silent):
        def on_start(self, loop: Any) -> None:
            first.append((loop.device, weights(loop.net)))

    for device in ("cpu", "cuda:1"):
        fit(device, Start(1), data=data)
    assert [device for device, _ in first] == ["cpu", "cuda:1"]
    for name, value in first[0][1].items():
        np.testing.assert_array_equal(first[1][1][name], value)
    with ExitStack() as entered:
        entered.enter_context(tg.device("cuda:1"))
        report = Silent()
        assert fit(None, report, data=data).net.linear1.weight.device == "cuda:1"
        assert report.said[0].endswith("seed 0, on cuda:1")
        assert fit("cpu", data=data).net.linear1.weight.device == "cpu"


# -- resuming ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.4},
        {"optimizer": "adamw", "batch_size": 7},
        {"amp": "float16", "optimizer": "muon", "l1": 1e-3, "epochs": 6},
    ],
)
def test_a_resumed_run_is_the_same_run(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator, options: dict[str, Any]
) -> None:
    options = {"data": str(table(tmp_path / "t.csv", rng, "binary")), **options}
    whole = fit("cuda:1", **options)
    stopped = fit("cuda:1", Silent(int(rng.integers(1, 5))), **options)
    found = train.resume(stopped.folder, report=Silent())
    assert history(found.folder) == history(whole.folder)
    for name in ("model.safetensors", "state.safetensors"):
        one, two = load_file(whole.folder / name), load_file(found.folder / name)
        assert list(one) == list(two)
        for key, value in one.items():
            np.testing.assert_array_equal(two[key], value, err_msg=key, strict=True)


@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda:1"), ("cuda:0", "cuda:1")])
def test_on_another_device(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator, devices: tuple[str, str]
) -> None:
    options = {"data": str(table(tmp_path / "t.csv", rng, "binary")), "dropout": 0.3}
    whole = fit("cpu", **options)
    stopped = fit(devices[0], Silent(3), **options)
    found = train.resume(stopped.folder, {"device": devices[1]}, Silent())
    for one, two in zip(history(whole.folder), history(found.folder)):
        alike(one, two, 1e-3)
    config = tomllib.loads((found.folder / "config.toml").read_text())
    assert config["device"] == devices[1]


def test_a_run_that_diverges_names_its_step(
    gpu: Any, fit: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    jump = {"optimizer": "sgd", "activation": "linear", "schedule": "piecewise"}
    options = {"data": str(table(tmp_path / "t.csv", rng, "regression")), "batch_size": 21, **jump}
    said = []
    for device in ("cpu", "cuda"):
        with pytest.raises(train.DivergedError) as caught:
            fit(device, epochs=4, boundaries=(2,), rates=(1e30,), **options)
        said.append(str(caught.value).partition(" at ")[2].partition(")")[0])
    assert said[0] == said[1]  # the step and the epoch
    assert (tmp_path / "run1" / "model.safetensors").exists()


# -- the command line and the examples -----------------------------------------------------------


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(one) for one in args])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_command_line(
    gpu: Any,
    fit: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = table(tmp_path / "t.csv", rng, "binary")
    quick = ("--target", "y", "--epochs", 2, "--layers", 8, "--out", "run")
    assert call("train", data, *quick, "--device", "cuda:1") == 0
    assert "network 3-8-2, seed 0, on cuda:1\n" in capsys.readouterr().out
    assert call("train", "--resume", "run", "--device", "cuda:0", "--epochs", 3) == 0
    capsys.readouterr()
    tables = []
    for device in ("cpu", "cuda"):
        assert call("predict", "run", data, "--device", device) == 0
        rows = capsys.readouterr().out.splitlines()[1:]
        tables.append(np.array([[float(v) for v in row.split(",")[1:]] for row in rows]))
    np.testing.assert_allclose(tables[0], tables[1], atol=2e-6)
    assert call("predict", "run", data, "--layer", 1, "--device", "cuda:1") == 0
    for command in (
        ("train", data, "--target", "y"),
        ("predict", "run", data),
        ("example", "valley"),
    ):
        capsys.readouterr()
        assert call(*command, "--device", "cuda:7") == 2
        assert capsys.readouterr().err == (
            "error: device: got name='cuda:7', expected one of cuda:0 to cuda:1; "
            "try device='cuda:0'\n"
        )
    assert not (tmp_path / "runs").exists()


def test_examples(
    gpu: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(line, "SMALL", 0.5)
    monkeypatch.setattr(cost, "DEPTHS", (1,))
    few = {name: {**start, "steps": 34} for name, start in list(valley.PATHS.items())[::3]}
    monkeypatch.setattr(valley, "PATHS", few)
    monkeypatch.setattr(cost, "seconds", lambda way, device: 1 + 0 * (way() is None))
    for example in (valley, line, cost):
        printed = []
        for device in ("cpu", "cuda:1"):
            before = sum(gpu.launches.values())
            example.main(tmp_path / "picture.svg", device)
            assert (sum(gpu.launches.values()) > before) == (device != "cpu")
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
    here = [np.eye(4) / 2, np.eye(4) / 3]
    there = [tg.tensor(w, device="cuda:1") for w in here]
    x = tg.tensor(cost.x, device="cuda:1")
    expected = cost.reverse(here)
    np.testing.assert_allclose(cost.forward(there, x, "cuda:1"), expected, rtol=1e-12)
    np.testing.assert_allclose([g.numpy() for g in cost.reverse(there, x)], expected, rtol=1e-12)
