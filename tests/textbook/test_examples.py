"""The examples run, print their numbers and save their pictures; at full size under --full."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.examples import EXAMPLES
from tensorgrad.io import WriteError

pytest.importorskip("matplotlib")
pytest.importorskip("sklearn")

PRINTED = {
    "valley": ("-7.915547895", "-1.307088763", "-0.00075602", "crosses the small valley"),
    "line": ("least squares",),
    "cost": ("parameters", "reverse", "forward"),
    "bends": ("gauss", "circle", "xor", "spiral", "2-24-24-2-1"),
    "vanishing": ("sigmoid, Xavier", "ReLU, He", "too large, layer norm"),
    "race": ("Adam", "L-BFGS, all rows", "epochs to 0.05"),
    "diabetes": ("442 patients", "least squares", "networks"),
    "cnn": ("test accuracy",),
    "features": ("pixels", "trained layer"),
    "multilabel": ("linear", "network", "F1"),
    "autoencoder": ("two principal axes", "autoencoder"),
    "chars-lstm": ("on held-out files", "def "),
    "chars-transformer": ("on held-out files", "def "),
}

TINY: dict[str, dict[str, Any]] = {
    "cost": {"DEPTHS": (1, 2)},
    "vanishing": {"EPOCHS": 1, "DEPTH": 4},
    "race": {"EPOCHS": 1, "BATCH": 512},
    "diabetes": {"EPOCHS": 1, "NETS": 1},
    "cnn": {"EPOCHS": 1, "BATCH": 256},
    "features": {"EPOCHS": 1},
    "multilabel": {"EPOCHS": 1},
    "autoencoder": {"EPOCHS": 1},
    "chars-lstm": {"STEPS": 1, "BATCH": 2, "LENGTH": 8, "HIDDEN": 8},
    "chars-transformer": {"STEPS": 1, "BATCH": 2, "LENGTH": 8, "WIDTH": 8, "LAYERS": 1},
}
"""What is set smaller to see that an example runs."""

NETS = [name for name in EXAMPLES if name not in ("valley", "line", "cost")]


def example(name: str) -> ModuleType:
    return importlib.import_module(EXAMPLES[name])


def shrink(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, set to be over in a second."""
    found = example(name)
    for setting, value in TINY.get(name, {}).items():
        monkeypatch.setattr(found, setting, value)
    if name == "bends":
        cases = {key: (make, widths, 1) for key, (make, widths, _) in found.CASES.items()}
        monkeypatch.setattr(found, "CASES", cases)
    if name == "race":
        racers = {key: (make, rates[:1]) for key, (make, rates) in found.RACERS.items()}
        monkeypatch.setattr(found, "RACERS", racers)
    if name.startswith("chars"):
        chars = importlib.import_module("tensorgrad.examples._chars")
        monkeypatch.setattr(chars, "HELD_CHARS", 60)
        monkeypatch.setattr(chars, "SAMPLE", 5)
    if name in ("features", "multilabel"):
        shared = importlib.import_module("tensorgrad.examples._fit")
        monkeypatch.setattr(shared, "LINEAR_EPOCHS", 1)
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    shrink(name, monkeypatch).main(tmp_path / "pictures", device)
    printed = capsys.readouterr().out
    for text in PRINTED[name]:
        assert text in printed
    picture = tmp_path / "pictures" / f"{name}.svg"
    assert str(picture) in printed.replace("\n", "")
    assert picture.read_text().lstrip().startswith("<?xml")


def test_a_file_name_chooses_the_format(tmp_path: Path) -> None:
    example("valley").main(tmp_path / "paths.png")
    assert (tmp_path / "paths.png").read_bytes().startswith(b"\x89PNG")


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    example("valley").main()
    assert (tmp_path / "valley.svg").exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_first_line_says_what_it_shows(name: str) -> None:
    first = (example(name).__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert len(first) <= 80


@pytest.mark.parametrize("name", ["diabetes", "cnn"])
def test_a_missing_library_says_how_to_get_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(tg.DataError, match="try pip install 'tensorgrad"):
        example(name).main(tmp_path)


def test_no_matplotlib_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(WriteError, match="try pip install 'tensorgrad"):
        example("valley").main(tmp_path)


def test_a_picture_that_cannot_be_written_is_an_error_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command looks before it trains for minutes."""
    command = importlib.import_module("tensorgrad.cli.example").command
    with pytest.raises(WriteError, match="a picture of type 'xyz'"):
        command(["chars-lstm", "--out", str(tmp_path / "a.xyz")], standalone_mode=False)
    assert not capsys.readouterr().out


def test_a_gradient_costs_less_backward_than_forward() -> None:
    """From the first depth on: nothing is compiled inside the clock."""
    cost = example("cost")
    weights = list(np.random.default_rng(0).normal(0, 0.7, (4, 4, 4)))
    back = cost.seconds(lambda: cost.reverse(weights), "cpu")
    assert back < cost.seconds(lambda: cost.forward(weights), "cpu")


def test_several_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    shrink("cnn", monkeypatch).main(tmp_path, device, seeds=2)
    printed = capsys.readouterr().out
    assert "mean" in printed
    assert "worst" in printed


def test_text_and_tokens() -> None:
    chars = importlib.import_module("tensorgrad.examples._chars")
    seen, held = chars.text()
    assert len(seen) > 10 * len(held) > 0
    assert chars.decoded(chars.encoded("def f(x):\n\treturn é")) == "def f(x):\n?return ?"


def test_an_image_is_shifted_by_at_most_a_pixel(rng: np.random.Generator) -> None:
    x = np.zeros((200, 1, 8, 8), np.float32)
    x[:, 0, 3, 4] = 1
    moved = example("cnn").shifted(x, rng)
    assert (moved.sum((1, 2, 3)) == 1).all()
    _, _, rows, columns = np.nonzero(moved)
    assert sorted(set(zip((rows - 3).tolist(), (columns - 4).tolist()))) == [
        (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)
    ]


FULL = pytest.mark.skipif("not config.getoption('--full')", reason="minutes; run with --full")


@FULL
@pytest.mark.parametrize("name", NETS)
def test_full_size(name: str, tmp_path: Path) -> None:
    example(name).main(tmp_path)
    assert (tmp_path / f"{name}.svg").exists()


@FULL
def test_digits_are_read() -> None:
    scores = []
    for seed in range(10):
        _, _, y, logits = example("cnn").run(seed)
        scores.append((logits.argmax(1) == y).mean())
    assert np.mean(scores) >= 0.983
    assert min(scores) >= 0.97
