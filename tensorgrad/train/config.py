"""Every option of a training run, once: the command line, config.toml and the checks read it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tensorgrad.io import atomic_write
from tensorgrad.train.options import ConfigError, Option, Place, nearest, option

ACTIVATIONS = (
    "linear",
    "step",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "prelu",
    "elu",
    "selu",
    "softplus",
    "softsign",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "softmax",
    "log_softmax",
    "maxout",
)
INITS = (
    "auto",
    "zeros",
    "constant",
    "uniform",
    "normal",
    "xavier_uniform",
    "xavier_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "orthogonal",
)
LOSSES = (
    "auto",
    "cross_entropy",
    "hinge",
    "bce",
    "bce_probabilities",
    "mse",
    "rmse",
    "mae",
    "huber",
)
OPTIMIZERS = ("sgd", "momentum", "nag", "adam", "adamw")
SCHEDULES = (
    "constant",
    "exponential",
    "step",
    "piecewise",
    "inverse_time",
    "polynomial",
    "cosine",
    "plateau",
)
TASKS = ("classification", "binary", "multilabel", "regression")

_DATA, _NET, _TRAIN, _RUN = "Data", "Network", "Training", "Run"


@dataclass(frozen=True)
class Config:
    """The options of a training run; a wrong value raises `ConfigError` in one line.

    None means: decided by the data or by another option, as its help says.
    """

    data: str = option(
        "digits",
        "text",
        "digits, FILE.csv, FILE.npz or a folder of MNIST-format files",
        group=_DATA,
    )
    target: str | None = option(
        None, "text", "target column of a CSV file (several: a,b)", "y", group=_DATA
    )
    task: str | None = option(
        None,
        "text",
        "the task; the target decides without it",
        TASKS[0],
        group=_DATA,
        choices=TASKS,
    )
    split: tuple[float, ...] = option(
        (0.7, 0.15, 0.15),
        "floats",
        "shares of training, validation and test rows, stratified",
        group=_DATA,
        over=0,
    )
    standardise: bool | None = option(
        None,
        "bool",
        "features (and real targets) to mean 0 and deviation 1; tables are, images are not",
        True,
        group=_DATA,
    )
    layers: tuple[int, ...] = option(
        (128, 64), "ints", "widths of the hidden layers; none: a linear model", group=_NET, low=1
    )
    activation: str = option(
        "relu", "text", "after each hidden layer", group=_NET, choices=ACTIVATIONS
    )
    init: str = option(
        "auto",
        "text",
        "first weights; auto is the he, lecun or xavier that fits the activation",
        group=_NET,
        choices=INITS,
    )
    init_scale: float | None = option(
        None,
        "float",
        "value of constant (0.1), bound of uniform (0.1), deviation of normal (1), gain of others",
        0.1,
        group=_NET,
        over=0,
    )
    dropout: float = option(
        0.0, "float", "share of hidden units dropped", 0.2, group=_NET, low=0, under=1
    )
    dtype: str = option(
        "float32", "text", "of parameters and data", group=_NET, choices=("float32", "float64")
    )
    loss: str = option("auto", "text", "the loss; the task decides", group=_TRAIN, choices=LOSSES)
    huber_delta: float | None = option(
        None,
        "float",
        "where Huber's loss turns linear (1)",
        1.0,
        group=_TRAIN,
        over=0,
        only=("loss", ("huber",)),
    )
    optimizer: str = option("adam", "text", "the update rule", group=_TRAIN, choices=OPTIMIZERS)
    lr: float = option(1e-3, "float", "learning rate", group=_TRAIN, over=0)
    momentum: float | None = option(
        None,
        "float",
        "of momentum and nag (0.9)",
        0.9,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", ("momentum", "nag")),
    )
    beta1: float | None = option(
        None,
        "float",
        "Adam's mean of gradients (0.9)",
        0.9,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", ("adam", "adamw")),
    )
    beta2: float | None = option(
        None,
        "float",
        "Adam's mean of squares (0.999)",
        0.999,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", ("adam", "adamw")),
    )
    weight_decay: float | None = option(
        None, "float", "the optimizer's own decay (0; adamw 0.01)", 0.01, group=_TRAIN, low=0
    )
    l1: float = option(
        0.0, "float", "L1 coefficient; a weight that crosses 0 stays 0", 1e-4, group=_TRAIN, low=0
    )
    l2: float = option(
        0.0, "float", "L2 coefficient of the weights, not the biases", 1e-4, group=_TRAIN, low=0
    )
    max_norm: float | None = option(
        None, "float", "most that the weights into one unit may measure", 3.0, group=_TRAIN, over=0
    )
    clip_norm: float | None = option(
        None, "float", "most that the whole gradient may measure", 1.0, group=_TRAIN, over=0
    )
    schedule: str = option(
        "constant", "text", "how the rate changes", group=_TRAIN, choices=SCHEDULES
    )
    warmup: int = option(0, "int", "epochs of linear warm-up before it", 5, group=_TRAIN, low=0)
    decay: float | None = option(
        None,
        "float",
        "factor of exponential, step (0.5) and plateau (0.5), slope of inverse_time (1)",
        0.5,
        group=_TRAIN,
        over=0,
        only=("schedule", ("exponential", "step", "plateau", "inverse_time")),
    )
    decay_epochs: int | None = option(
        None,
        "int",
        "epochs for one decay; of plateau: without a better score (10)",
        10,
        group=_TRAIN,
        low=1,
        only=("schedule", ("exponential", "step", "plateau", "inverse_time")),
    )
    boundaries: tuple[int, ...] | None = option(
        None,
        "ints",
        "epochs after which piecewise takes the next rate",
        (10, 20),
        group=_TRAIN,
        low=1,
        only=("schedule", ("piecewise",)),
    )
    rates: tuple[float, ...] | None = option(
        None,
        "floats",
        "the rates of piecewise after each boundary",
        (1e-3, 1e-4),
        group=_TRAIN,
        over=0,
        only=("schedule", ("piecewise",)),
    )
    power: float | None = option(
        None,
        "float",
        "of polynomial (1)",
        1.0,
        group=_TRAIN,
        over=0,
        only=("schedule", ("polynomial",)),
    )
    cycle: bool = option(
        False,
        "bool",
        "polynomial starts again after decay ends",
        group=_TRAIN,
        only=("schedule", ("polynomial",)),
    )
    end_lr: float | None = option(
        None,
        "float",
        "rate at the end of polynomial and cosine (0)",
        1e-5,
        group=_TRAIN,
        low=0,
        only=("schedule", ("polynomial", "cosine")),
    )
    period: int | None = option(
        None,
        "int",
        "epochs of one cosine or polynomial descent (all epochs)",
        10,
        group=_TRAIN,
        low=1,
        only=("schedule", ("polynomial", "cosine")),
    )
    batch_size: int = option(
        32,
        "int",
        "rows a step; 1: single samples, all rows or more: full batch",
        group=_TRAIN,
        low=1,
    )
    epochs: int = option(100, "int", "most passes over the training rows", group=_TRAIN, low=1)
    patience: int = option(
        10,
        "int",
        "epochs without a lower validation loss; 0: never stop early",
        group=_TRAIN,
        low=0,
    )
    seed: int = option(
        0, "int", "of split, initialisation, order and dropout", group=_RUN, low=0, under=2**63
    )
    device: str | None = option(
        None,
        "text",
        "where to train; without it $TG_DEVICE, or cpu",
        "cuda",
        group=_RUN,
        choices=("cpu", "cuda", "cuda:N"),
    )
    out: str | None = option(
        None, "text", "run folder, must not exist (runs/NAME-TIME)", "runs/mine", group=_RUN
    )

    def __post_init__(self) -> None:
        check_together(check_each(asdict(self), _in_python), _in_python)


OPTIONS: dict[str, Option] = {one.name: one.metadata["option"] for one in fields(Config)}
DEFAULTS: dict[str, Any] = {one.name: one.default for one in fields(Config)}


def _in_python(name: str) -> str:
    return f"Config.{name}"


def check_each(values: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """Each value by its own rule, in its own type; None stands where it is a default."""
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if value is None and DEFAULTS[name] is None:
            checked[name] = None
        else:
            checked[name] = OPTIONS[name].check(value, place(name))
    return checked


def check_together(values: Mapping[str, Any], place: Place) -> None:
    """The rules between options: what has no meaning beside the others is refused, not ignored."""
    every = {**DEFAULTS, **values}
    for name, rules in OPTIONS.items():
        if rules.only and every[name] not in (None, False):
            other, allowed = rules.only
            if every[other] not in allowed:
                raise ConfigError(
                    f"{place(name)}: got {every[name]} beside {other} {every[other]}, expected "
                    f"{other} {' or '.join(allowed)}; try leaving it out"
                )
    for rule in _TOGETHER:
        wrong = rule(every)
        if wrong:
            name, text = wrong
            raise ConfigError(f"{place(name)}: {text}")


Wrong = tuple[str, str] | None


def _split(every: Mapping[str, Any]) -> Wrong:
    split = every["split"]
    if len(split) == 3 and abs(sum(split) - 1) < 1e-9:
        return None
    return "split", f"got {split}, expected three shares of sum 1; try 0.7,0.15,0.15"


def _piecewise(every: Mapping[str, Any]) -> Wrong:
    if every["schedule"] != "piecewise":
        return None
    at, rates = every["boundaries"] or (), every["rates"] or ()
    if at and len(at) == len(rates) and list(at) == sorted(set(at)):
        return None
    return (
        "boundaries",
        f"got boundaries {at} and rates {rates}, expected as many of each, boundaries ascending; "
        "try boundaries 10-20 and rates 0.0003,0.0001",
    )


def _l2_of_adamw(every: Mapping[str, Any]) -> Wrong:
    if every["optimizer"] != "adamw" or not every["l2"]:
        return None
    return (
        "l2",
        f"got {every['l2']} beside optimizer adamw, which decays the weights apart from the "
        "gradient, expected 0; try weight_decay, or optimizer adam",
    )


def _linear_net(every: Mapping[str, Any]) -> Wrong:
    if every["layers"] or not every["dropout"]:
        return None
    return (
        "dropout",
        f"got {every['dropout']} without hidden layers, expected 0; try layers 128-64",
    )


def _rate_order(every: Mapping[str, Any]) -> Wrong:
    if (every["end_lr"] or 0) <= every["lr"]:
        return None
    return "end_lr", f"got {every['end_lr']}, expected at most lr {every['lr']}; try 0"


_TOGETHER: tuple[Callable[[Mapping[str, Any]], Wrong], ...] = (
    _split,
    _piecewise,
    _l2_of_adamw,
    _linear_net,
    _rate_order,
)


def check_keys(names: Mapping[str, Any], place: str) -> None:
    """Refuse a key that is no option, with the option most like it."""
    for name in names:
        if name not in OPTIONS:
            near = nearest(name.replace("-", "_"), tuple(OPTIONS))
            fix = repr(near) if near else "tensorgrad train --help"
            raise ConfigError(
                f"{place}: got key {name!r}, expected the name of an option; try {fix}"
            )


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a TOML file, checked; `ConfigError` naming the file and the key."""
    import tomllib

    shown = os.fspath(path)
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise ConfigError(
            f"{shown}: got {reason}, expected a readable TOML file; try another path"
        ) from cause
    except UnicodeDecodeError as cause:
        raise ConfigError(
            f"{shown}: got bytes that are no UTF-8, expected a TOML file; try saving it as UTF-8"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(
            f'{shown}: got broken TOML ({cause}), expected lines like lr = 0.001 or init = "auto"; '
            "try mending that line"
        ) from cause
    check_keys(found, shown)
    return check_each(found, lambda name: f"{shown}, key {name!r}")


def write_toml(config: Config, path: str | os.PathLike[str]) -> None:
    """Write every option that is set; `read_toml` gives them back."""
    import tomli_w

    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
        if value is not None
    }
    with atomic_write(path) as file:
        file.write(tomli_w.dumps(values).encode())
