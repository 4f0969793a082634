"""From a data set to the three parts that a run trains, watches and tests on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tensorgrad.data import Dataset, Standardiser, load, split_dataset
from tensorgrad.data.openers import BUILT_IN
from tensorgrad.train.config import Config
from tensorgrad.train.model import Card
from tensorgrad.train.objective import Objective, Part, objective, shaped
from tensorgrad.train.options import ConfigError

Array = np.ndarray[Any, Any]
_TABLES = (".csv", ".tsv", ".npz")


@dataclass(frozen=True, eq=False)
class Prepared:
    """The parts of a run, what they mean, and a fingerprint of every value in them."""

    train: Part
    validation: Part
    test: Part
    card: Card
    objective: Objective
    name: str
    outputs: int
    fingerprint: str


def prepare(config: Config) -> Prepared:
    """Load, split by the seed, and standardise by the training part.

    Raises `DataError`, and `ConfigError` for a loss that the targets do not fit.
    """
    data = load(config.data, config.target, config.task)
    goal = objective(data.task, config)
    if data.task == "classification" and data.y.ndim == 2 and goal.name == "hinge":
        raise ConfigError(
            "loss: got 'hinge' for targets that are class probabilities, expected cross_entropy; "
            "try --loss cross_entropy"
        )
    parts = split_dataset(data, config.split, config.seed)
    card = _card(data, parts[0], config)
    train, validation, test = (_part(part, card, goal, config.dtype) for part in parts)
    name = config.data if config.data in BUILT_IN else Path(config.data).resolve().stem
    digest = _fingerprint((train, validation, test))
    return Prepared(train, validation, test, card, goal, name, data.outputs, digest)


def _card(data: Dataset, train: Dataset, config: Config) -> Card:
    """Means and deviations come from the training part alone."""
    scaled = config.standardise
    if scaled is None:  # pixels and the toy sets share a scale of their own already
        scaled = data.x.ndim == 2 and Path(config.data).suffix.lower() in _TABLES
    real = data.task == "regression"
    return Card(
        task=data.task,
        classes=data.classes,
        feature_names=data.feature_names,
        target_names=_target_names(data, config),
        input_shape=data.x.shape[1:],
        x_scale=Standardiser.fit(train.x) if scaled else None,
        y_scale=Standardiser.fit(train.y) if scaled and real else None,
    )


def _target_names(data: Dataset, config: Config) -> tuple[str, ...]:
    count = 1 if data.y.ndim == 1 else data.y.shape[1]
    asked = (config.target or "",) if count == 1 else (config.target or "").split(",")
    named = tuple(one.strip() for one in asked)
    if len(named) == count and all(named):
        return named
    return ("value",) if count == 1 else tuple(f"value_{k}" for k in range(count))


def _part(data: Dataset, card: Card, goal: Objective, dtype: str) -> Part:
    y = data.y if card.y_scale is None else card.y_scale(data.y)
    return goal.part(card.inputs(data.x, dtype), shaped(data.task, y, dtype))


def _fingerprint(parts: Iterable[Part]) -> str:
    """A digest of the values: a run is resumed on the data it began with, or not at all."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.x, part.y):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
