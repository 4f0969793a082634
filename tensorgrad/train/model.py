"""A trained network as one file: weights, architecture, and what its inputs and outputs mean."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.data import Standardiser
from tensorgrad.io import load_file, load_metadata, save_file
from tensorgrad.train.network import Architecture
from tensorgrad.train.options import ConfigError
from tensorgrad.train.place import CPU, computing

Array = np.ndarray[Any, Any]
FORMAT = "1"


@dataclass(frozen=True)
class Card:
    """What a row going in and a number coming out of a network mean.

    x_scale and y_scale are the standardisers of features and of real targets, where there are any
    """

    task: str
    classes: tuple[str, ...] | None
    feature_names: tuple[str, ...] | None
    target_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    x_scale: Standardiser | None
    y_scale: Standardiser | None

    def to_json(self) -> str:
        """The same as text; floats survive it exactly."""
        return json.dumps(
            {
                "task": self.task,
                "classes": self.classes,
                "feature_names": self.feature_names,
                "target_names": self.target_names,
                "input_shape": self.input_shape,
                "x_scale": _scale_out(self.x_scale),
                "y_scale": _scale_out(self.y_scale),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Card:
        """The card whose `to_json` this was."""
        found = json.loads(text)
        return cls(
            found["task"],
            _names(found["classes"]),
            _names(found["feature_names"]),
            tuple(found["target_names"]),
            tuple(found["input_shape"]),
            _scale_in(found["x_scale"]),
            _scale_in(found["y_scale"]),
        )

    def inputs(self, x: Array, dtype: str) -> Array:
        """Raw rows as the network takes them: standardised, (N, features), of `dtype`."""
        scaled = x if self.x_scale is None else self.x_scale(x)
        return np.ascontiguousarray(scaled.reshape(len(x), -1), dtype)


def save_model(
    path: str | os.PathLike[str], weights: Mapping[str, Any], plan: Architecture, card: Card
) -> None:
    """Write weights with all that is needed to use them: `load_model` needs nothing else."""
    about = {"format": FORMAT, "architecture": plan.to_json(), "card": card.to_json()}
    save_file(weights, path, {"tensorgrad": json.dumps(about)})


def load_model(
    path: str | os.PathLike[str], device: str | None = None
) -> tuple[nn.Sequential, Architecture, Card]:
    """The network of a file in evaluation mode, on a device (None: the default one).

    Raises `DataError` for a file that is damaged, `ConfigError` for one that is no such model,
    `DeviceError` without that device.
    """
    about, weights = load_metadata(path), load_file(path)
    try:
        about = json.loads(about["tensorgrad"])
        plan, card = Architecture.from_json(about["architecture"]), Card.from_json(about["card"])
    except (KeyError, TypeError, ValueError) as cause:
        raise ConfigError(
            f"{os.fspath(path)}: got weights without the description of their network, expected "
            "a model.safetensors that tensorgrad train wrote; try another run folder"
        ) from cause
    with tg.device(CPU):
        try:
            net = plan.build()
            net.load_state_dict(weights)
        except (KeyError, tg.ShapeError) as cause:
            raise ConfigError(
                f"{os.fspath(path)}: got weights that are not of their network {plan} "
                f"({plan.activation}), expected a file as it was saved; try another copy"
            ) from cause
    with computing(device) as where:
        net.to(where).eval()
    return net, plan, card


def _names(found: list[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)


def _scale_out(scale: Standardiser | None) -> dict[str, Any] | None:
    if scale is None:
        return None
    return {key: value.tolist() for key, value in scale.to_dict().items()}


def _scale_in(found: dict[str, Any] | None) -> Standardiser | None:
    return None if found is None else Standardiser.from_dict(found)
