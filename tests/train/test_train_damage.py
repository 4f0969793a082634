"""Numbers that are not finite and files that were damaged: told where, told in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.io import load_file, load_metadata, save_file
from tensorgrad.train.culprit import culprit
from tensorgrad.train.predictions import predict_file

Fit = Callable[..., train.Result]


def message(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


# -- numbers -----------------------------------------------------------------------------------


def test_where_it_began() -> None:
    net = tg.nn.Sequential(tg.nn.Linear(2, 2), tg.nn.ReLU(), tg.nn.Linear(2, 1))
    for param in net.parameters():
        tg.nn.init.constant_(param, 1.0)
    x = tg.ones((3, 2), dtype="float32")
    assert culprit(net, x) == " of outputs up to 7"
    assert culprit(net, x * np.float32(1e38)) == ", since the output of 2 is not finite"
    assert culprit(net, x * np.nan) == ", since the rows are not finite"
    tg.nn.init.constant_(net[2].bias, np.inf)
    assert culprit(net, x) == ", since 2.bias is no longer finite"


@pytest.mark.cpu_only("a GPU's losses are read when the weights have moved on")
def test_an_output_that_overflows(fit: Fit) -> None:
    text = message(
        train.DivergedError,
        lambda: fit(data="plane", optimizer="sgd", lr=1e20, activation="linear", layers=(8, 8)),
    )
    assert text.startswith("train: got loss ")
    assert " at step 2 (epoch 1), since the output of linear" in text
    assert text.endswith(
        " is not finite, expected a finite number; try --lr 1e+19, or --clip-norm 1"
    )


@pytest.mark.cpu_only("a GPU's losses are read when the weights have moved on")
def test_a_loss_that_overflows_alone(fit: Fit) -> None:
    options: dict[str, Any] = {"data": "plane", "optimizer": "sgd", "lr": 1e12, "layers": ()}
    text = message(train.DivergedError, lambda: fit(epochs=9, clip_norm=1e30, **options))
    assert " of outputs up to " in text or " is not finite" in text
    assert text.endswith(", expected a finite number; try --lr 1e+11")


# -- files -------------------------------------------------------------------------------------


@pytest.fixture
def done(blobs: Path, fit: Fit) -> Path:
    """The folder of a run."""
    return fit(data=str(blobs), target="kind").folder


def flipped(path: Path) -> None:
    """Change the last byte of the numbers in a file."""
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize("left", [5, 300, -1])
def test_truncated_files(done: Path, blobs: Path, left: int) -> None:
    for name in ("model", "state"):
        path = done / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:left])
        call = [lambda: predict_file(str(done), str(blobs)), lambda: train.resume(done)]
        text = message(tg.DataError, call[name == "state"])
        assert f"{path}: got a truncated or damaged file" in text
        assert text.endswith("; try another copy or save it again")


def test_changed_numbers(done: Path, blobs: Path) -> None:
    calls = {
        "model": lambda: predict_file(str(done), str(blobs)),
        "state": lambda: train.resume(done),
    }
    for name, call in calls.items():
        path = done / f"{name}.safetensors"
        flipped(path)
        text = message(tg.DataError, call)
        assert text.startswith(
            f"load_file {path}: got a truncated or damaged file (its checksum is "
        )


def test_a_model_that_is_not_of_its_network(done: Path, blobs: Path) -> None:
    import json

    path = done / "model.safetensors"
    weights, about = load_file(path), json.loads(load_metadata(path)["tensorgrad"])
    weights["linear1.weight"] = weights["linear1.weight"][:3]
    save_file(weights, path, {"tensorgrad": json.dumps(about)})
    assert message(train.ConfigError, lambda: predict_file(str(done), str(blobs))) == (
        f"{path}: got weights that are not of their network 2-8-3 (relu), expected a file as it "
        "was saved; try another copy"
    )


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "    8,",
            "    9,",
            "misshapen: linear1.weight (got float32(8, 2), expected float32(9, 2))",
        ),
        ('"adam"', '"sgd"', "SGD: got state ['exp_avg', 'exp_avg_sq', 'step'] for parameter 0"),
        ('"adam"', '"muon"', "Muon: got 0 states, expected 2"),
        ('"relu"', '"prelu"', "missing: activation1.weight"),
    ],
)
def test_a_state_of_another_configuration(done: Path, old: str, new: str, reason: str) -> None:
    config = done / "config.toml"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    said = message(train.ConfigError, lambda: train.resume(done))
    assert said.startswith(
        f"{done / 'state.safetensors'}: got the state of another run than config.toml beside it "
        "says ("
    )
    assert reason in said
    assert said.endswith(
        "), expected the one it was saved with; try restoring config.toml, or a new run"
    )
