"""The names that a training run offers, and which options each optimizer takes."""

from __future__ import annotations

from typing import NamedTuple

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
    "MODULE:FUNCTION",
)
SCHEDULES = (
    "constant",
    "exponential",
    "step",
    "piecewise",
    "inverse_time",
    "polynomial",
    "cosine",
    "one_cycle",
    "plateau",
)
TASKS = ("classification", "binary", "multilabel", "regression")


class Update(NamedTuple):
    """An optimizer: its class in `tensorgrad.optim`, that class's rate, and the options it takes.

    decoupled: its decay shrinks the weights apart from the gradient, so that it is no L2
    """

    kind: str
    lr: float
    takes: tuple[str, ...]
    decoupled: bool = False


_BOTH = ("weight_decay", "clip_norm")
_BETAS = ("beta1", "beta2", *_BOTH)

UPDATES = {
    "sgd": Update("SGD", 1e-3, _BOTH),
    "momentum": Update("Momentum", 1e-3, ("momentum", *_BOTH)),
    "nag": Update("NAG", 1e-3, ("momentum", *_BOTH)),
    "asgd": Update("ASGD", 1e-2, _BOTH),
    "adagrad": Update("Adagrad", 1e-2, _BOTH),
    "rmsprop": Update("RMSprop", 1e-2, ("momentum", "rho", *_BOTH)),
    "adadelta": Update("Adadelta", 1.0, ("rho", *_BOTH)),
    "adam": Update("Adam", 1e-3, _BETAS),
    "adamw": Update("AdamW", 1e-3, _BETAS, decoupled=True),
    "adamax": Update("Adamax", 2e-3, _BETAS),
    "nadam": Update("NAdam", 2e-3, _BETAS),
    "radam": Update("RAdam", 1e-3, _BETAS),
    "adafactor": Update("Adafactor", 1e-2, _BOTH, decoupled=True),
    "lion": Update("Lion", 1e-4, _BETAS, decoupled=True),
    "lamb": Update("LAMB", 1e-3, _BETAS, decoupled=True),
    "lars": Update("LARS", 0.1, ("momentum", *_BOTH)),
    "muon": Update("Muon", 1e-3, ("momentum", *_BOTH), decoupled=True),
    "rprop": Update("Rprop", 1e-2, ("clip_norm",)),
    "lbfgs": Update("LBFGS", 1.0, ()),
}
OPTIMIZERS = tuple(UPDATES)
FULL_BATCH = ("lbfgs",)
"""What compares losses of the same rows within a step, and so takes all rows in each."""


def takers(option: str) -> tuple[str, ...]:
    """The optimizers that take an option."""
    return tuple(name for name, update in UPDATES.items() if option in update.takes)
