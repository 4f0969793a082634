"""Every option of a training run, once: the command line, config.toml and the checks read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from tensorgrad.train.choices import (
    ACTIVATIONS,
    INITS,
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    TASKS,
    takers,
)
from tensorgrad.train.options import ConfigError, Option, Place, option
from tensorgrad.train.rules import TOGETHER, rate_of

_DATA, _NET, _TRAIN, _RUN = "Data", "Network", "Training", "Run"


@dataclass(frozen=True)
class Config:
    """The options of a training run; a wrong value raises `ConfigError` in one line.

    None means: decided by the data or by another option, as its help says.
    """

    data: str = option(
        "digits",
        "text",
        "digits, a toy set (circle ...), FILE.csv, FILE.npz or a folder of MNIST-format files",
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
    pieces: int | None = option(
        None,
        "int",
        "linear pieces of a maxout unit (2)",
        3,
        group=_NET,
        low=2,
        only=("activation", ("maxout",)),
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
    amp: str | None = option(
        None,
        "text",
        "matrix products of training in 16 bits, parameters and the rest in float32; float16 with "
        "a loss scale",
        "bfloat16",
        group=_NET,
        choices=("bfloat16", "float16"),
        only=("dtype", ("float32",)),
    )
    loss: str = option(
        "auto",
        "text",
        "the loss, the task decides; or one's own (outputs, targets) -> mean",
        group=_TRAIN,
        choices=LOSSES,
    )
    huber_delta: float | None = option(
        None,
        "float",
        "where Huber's loss turns linear (1)",
        1.0,
        group=_TRAIN,
        over=0,
        only=("loss", ("huber",)),
    )
    label_smoothing: float | None = option(
        None,
        "float",
        "share of each label that cross_entropy spreads over all classes (0)",
        0.1,
        group=_TRAIN,
        low=0,
        under=1,
        only=("loss", ("auto", "cross_entropy")),
    )
    optimizer: str = option(
        "adam", "text", "the update rule; lbfgs: full batch", group=_TRAIN, choices=OPTIMIZERS
    )
    lr: float | None = option(
        None,
        "float",
        "learning rate (the optimizer's own, 0.001 of adam)",
        1e-3,
        group=_TRAIN,
        over=0,
    )
    momentum: float | None = option(
        None,
        "float",
        "of momentum, nag, lars (0.9), muon (0.95) and rmsprop (0)",
        0.9,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", takers("momentum")),
    )
    rho: float | None = option(
        None,
        "float",
        "mean of squares of rmsprop (0.99) and adadelta (0.9)",
        0.9,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", takers("rho")),
    )
    beta1: float | None = option(
        None,
        "float",
        "mean of gradients of adam and its kind (0.9)",
        0.9,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", takers("beta1")),
    )
    beta2: float | None = option(
        None,
        "float",
        "mean of squares of adam and its kind (0.999, lion 0.99)",
        0.999,
        group=_TRAIN,
        low=0,
        under=1,
        only=("optimizer", takers("beta1")),
    )
    weight_decay: float | None = option(
        None,
        "float",
        "the optimizer's own decay (0; adamw 0.01, muon 0.1)",
        0.01,
        group=_TRAIN,
        low=0,
        only=("optimizer", takers("weight_decay")),
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
        None,
        "float",
        "most that the whole gradient may measure",
        1.0,
        group=_TRAIN,
        over=0,
        only=("optimizer", takers("clip_norm")),
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

    @property
    def rate(self) -> float:
        """The learning rate: `lr`, or the optimizer's own."""
        return rate_of(asdict(self))


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
                names = " or ".join([", ".join(allowed[:-1]), allowed[-1]][len(allowed) == 1 :])
                raise ConfigError(
                    f"{place(name)}: got {every[name]} beside {other} {every[other]}, expected "
                    f"{other} {names}; try leaving it out"
                )
    for rule in TOGETHER:
        wrong = rule(every)
        if wrong:
            name, text = wrong
            raise ConfigError(f"{place(name)}: {text}")
