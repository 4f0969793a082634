"""Options: one table for the command line, the TOML file and Python, refused in one line."""

from __future__ import annotations

import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tensorgrad import optim
from tensorgrad.train.choices import UPDATES
from tensorgrad.train.config import DEFAULTS, OPTIONS, Config
from tensorgrad.train.configfile import read_toml, write_toml
from tensorgrad.train.options import ConfigError, as_text


def message(call: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_field_is_an_option_whose_default_fits() -> None:
    for one in fields(Config):
        rules = OPTIONS[one.name]
        assert rules.help
        assert not rules.help.endswith(".")
        if one.default is not None:
            assert rules.check(one.default, one.name) == one.default
        if one.default is not None and rules.kind != "bool":
            assert rules.parse(as_text(one.default), one.name) == one.default
        assert rules.check(rules.example, one.name) is not None


def test_toml_round_trip(tmp_path: Path) -> None:
    config = Config(
        data="a b.csv",
        target="y",
        layers=(),
        lr=3e-4,
        schedule="piecewise",
        boundaries=(3, 5),
        rates=(1e-4, 1e-5),
        standardise=False,
        seed=2**62,
    )
    write_toml(config, tmp_path / "c.toml")
    assert Config(**read_toml(tmp_path / "c.toml")) == config


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("layers", "128-64", (128, 64)),
        ("layers", "128, 64", (128, 64)),
        ("layers", "32", (32,)),
        ("layers", "none", ()),
        ("split", "0.6/0.2/0.2", (0.6, 0.2, 0.2)),
        ("lr", "1e-2", 0.01),
        ("epochs", "7", 7),
        ("activation", "tanh", "tanh"),
    ],
)
def test_parse(name: str, text: str, value: Any) -> None:
    assert OPTIONS[name].parse(text, name) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("lr", "fast", "--lr: got 'fast', expected a number > 0; try 0.001"),
        ("lr", "0", "--lr: got '0', expected a number > 0; try 0.001"),
        ("lr", "nan", "--lr: got 'nan', expected a number > 0; try 0.001"),
        ("lr", "inf", "--lr: got 'inf', expected a number > 0; try 0.001"),
        ("epochs", "2.5", "--epochs: got '2.5', expected a whole number >= 1; try 100"),
        ("layers", "128-0", "--layers: got '128-0', expected whole numbers >= 1; try 128-64"),
        ("dropout", "1", "--dropout: got '1', expected a number >= 0 and < 1; try 0.2"),
        (
            "optimizer",
            "adamm",
            "--optimizer: got 'adamm', expected one of sgd, momentum, nag, asgd, adagrad, rmsprop, "
            "adadelta, adam, adamw, adamax, nadam, radam, adafactor, lion, lamb, lars, muon, "
            "rprop, lbfgs; try 'adam'",
        ),
        (
            "device",
            "cuda:x",
            "--device: got 'cuda:x', expected one of cpu, cuda, cuda:N; try 'cuda:0'",
        ),
    ],
)
def test_refused_text(name: str, text: str, said: str) -> None:
    assert message(lambda: OPTIONS[name].parse(text, f"--{name}")) == said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"momentum": 0.9},
            "Config.momentum: got 0.9 beside optimizer adam, expected optimizer momentum, nag, "
            "rmsprop, lars or muon; try leaving it out",
        ),
        (
            {"split": (0.5, 0.5)},
            "Config.split: got (0.5, 0.5), expected three shares of sum 1; try 0.7,0.15,0.15",
        ),
        (
            {"optimizer": "adamw", "l2": 0.1},
            "Config.l2: got 0.1 beside optimizer adamw, which decays the weights apart from the "
            "gradient, expected 0; try weight_decay, or optimizer adam",
        ),
        (
            {"optimizer": "lbfgs", "l1": 0.1},
            "Config.l1: got 0.1 beside optimizer lbfgs, whose line search needs one smooth loss, "
            "expected none; try l2, or optimizer adam",
        ),
        (
            {"optimizer": "lbfgs", "amp": "float16"},
            "Config.amp: got float16 beside optimizer lbfgs, which cannot leave out a step that "
            "overflows, expected bfloat16 or none; try bfloat16, or optimizer adam",
        ),
        (
            {"pieces": 3},
            "Config.pieces: got 3 beside activation relu, expected activation maxout; "
            "try leaving it out",
        ),
        (
            {"loss": "mine:"},
            "Config.loss: got 'mine:', expected one of auto, cross_entropy, hinge, bce, "
            "bce_probabilities, mse, rmse, mae, huber, MODULE:FUNCTION; try 'mine:loss'",
        ),
        (
            {"layers": (), "dropout": 0.5},
            "Config.dropout: got 0.5 without hidden layers, expected 0; try layers 128-64",
        ),
        (
            {"schedule": "piecewise"},
            "Config.boundaries: got boundaries () and rates (), expected as many of each, "
            "boundaries ascending; try boundaries 10-20 and rates 0.0003,0.0001",
        ),
        (
            {"schedule": "cosine", "end_lr": 0.1},
            "Config.end_lr: got 0.1, expected at most lr 0.001; try 0",
        ),
        ({"epochs": True}, "Config.epochs: got True, expected a whole number >= 1; try 100"),
        ({"lr": "0.1"}, "Config.lr: got '0.1', expected a number > 0; try 0.001"),
    ],
)
def test_refused_values(values: dict[str, Any], said: str) -> None:
    assert message(lambda: Config(**values)) == said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"learning_rate = 1\n",
            "{path}: got key 'learning_rate', expected the name of an option; "
            "try tensorgrad train --help",
        ),
        (
            b"batch-size = 1\n",
            "{path}: got key 'batch-size', expected the name of an option; try 'batch_size'",
        ),
        (b"epoch = 1\n", "{path}: got key 'epoch', expected the name of an option; try 'epochs'"),
        (
            b"lr = -1.0\n",
            "{path}, key 'lr': got -1.0, expected a number > 0; try 0.001",
        ),
        (b"[lr]\na = 1\n", "{path}, key 'lr': got {{'a': 1}}, expected a number > 0; try 0.001"),
        (
            b"lr = \n",
            "{path}: got broken TOML (Invalid value (at line 1, column 6)), expected lines like "
            'lr = 0.001 or init = "auto"; try mending that line',
        ),
        (
            b"\xff\n",
            "{path}: got bytes that are no UTF-8, expected a TOML file; try saving it as UTF-8",
        ),
    ],
)
def test_refused_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(content)
    assert message(lambda: read_toml(path)) == said.format(path=path)


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    assert message(lambda: read_toml(path)) == (
        f"{path}: got no such file or directory, expected a readable TOML file; try another path"
    )


def test_rates_are_the_classes_own() -> None:
    for name, update in UPDATES.items():
        own = inspect.signature(getattr(optim, update.kind)).parameters
        assert own["lr"].default == update.lr == Config(optimizer=name).rate
        for option in ("momentum", "weight_decay"):
            assert option not in update.takes or option in own
    assert Config(optimizer="lion", lr=0.5).rate == 0.5


def test_replace_checks_again() -> None:
    with pytest.raises(ConfigError):
        replace(Config(), epochs=0)
    assert DEFAULTS["seed"] == 0
