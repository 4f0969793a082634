"""Predictions of a trained network for the rows of a file, as a table of text."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.data import load_features
from tensorgrad.io import WriteError, atomic_write
from tensorgrad.train.loop import predict
from tensorgrad.train.model import Card, load_model
from tensorgrad.train.network import Architecture, hidden_end
from tensorgrad.train.objective import labels, probabilities
from tensorgrad.train.options import ConfigError
from tensorgrad.train.place import computing
from tensorgrad.train.runfolder import MODEL

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Predictions:
    """A header and one row of texts for each row of the file."""

    header: list[str]
    rows: list[list[str]]


def predict_file(
    run: str, file: str, layer: int | None = None, device: str | None = None
) -> Predictions:
    """Predict the rows of `file` with the model in the folder `run`, on a device.

    Classification: the label and each class's probability; multilabel: 0 or 1 and the probability
    of each label; regression: the value. With `layer`, the activations of that hidden layer.
    Raises `ConfigError` for a folder without a model or a layer that is not there, `DataError`
    for columns that do not fit.
    """
    path = Path(run, MODEL) if Path(run).is_dir() else Path(run)
    if not path.is_file():
        raise ConfigError(
            f"{run}: got no {MODEL}, expected the folder of a run that finished an epoch; "
            "try another folder under runs/"
        )
    with computing(device) as where:
        net, plan, card = load_model(path, where)
        x = _features(file, card, plan)
        if layer is not None:
            return _hidden(net, plan, x, layer)
        outputs = predict(net, x)
    if card.task == "regression":
        return _values(outputs, card)
    return _labels(outputs, card)


def _features(file: str, card: Card, plan: Architecture) -> Array:
    """The rows as the network takes them; the columns must be those it was trained on."""
    table = Path(file).suffix.lower() in (".csv", ".tsv")
    x = load_features(file, card.feature_names if table else None)
    fits = (
        int(np.prod(x.shape[1:])) == plan.in_features if table else x.shape[1:] == card.input_shape
    )
    if not fits:
        raise tg.DataError(
            f"{file}: got rows of shape {x.shape[1:]}, expected {card.input_shape} as in training; "
            "try the columns that the network was trained on"
        )
    return card.inputs(x.reshape(len(x), *card.input_shape), plan.dtype)


def _labels(outputs: Array, card: Card) -> Predictions:
    chances, found = probabilities(card.task, outputs), labels(card.task, outputs)
    classes = list(card.classes or ())
    if card.task == "multilabel":
        header = [*classes, *(f"probability_{name}" for name in classes)]
        first = [[str(n) for n in row] for row in found]
    else:
        header = ["label", *(f"probability_{name}" for name in classes)]
        first = [[classes[k]] for k in found]
    if card.task == "binary":
        chances = np.concatenate([1 - chances, chances], axis=1)
    rows = [[*start, *(f"{p:.6f}" for p in row)] for start, row in zip(first, chances)]
    return Predictions(header, rows)


def _values(outputs: Array, card: Card) -> Predictions:
    wide = outputs.astype(np.float64)
    if card.y_scale is not None:
        flat = card.y_scale.mean.ndim == 0
        wide = card.y_scale.inverse(wide[:, 0] if flat else wide).reshape(len(wide), -1)
    return Predictions(list(card.target_names), [[f"{v:.9g}" for v in row] for row in wide])


def _hidden(net: Any, plan: Architecture, x: Array, layer: int) -> Predictions:
    if not 1 <= layer <= len(plan.layers):
        count = len(plan.layers)
        raise ConfigError(
            f"--layer: got {layer}, expected 1 to {count}, the hidden layers of {plan}; try 1"
            if count
            else f"--layer: got {layer} of {plan}, which has no hidden layer, expected none; "
            "try leaving it out"
        )
    found = predict(net[: hidden_end(net, layer)], x)
    header = [f"unit_{k}" for k in range(found.shape[1])]
    return Predictions(header, [[f"{v:.9g}" for v in row] for row in found])


def write_csv(found: Predictions, out: str | None) -> None:
    """Write a header line and the rows to a new file, or to standard output."""
    if out is None:
        for line in _csv_lines(found):
            sys.stdout.write(line)
        sys.stdout.flush()
        return
    if Path(out).exists():
        raise WriteError(
            f"{out}: got a file that exists, expected a new one; try another --out, or removing it"
        )
    with atomic_write(out) as file:
        for line in _csv_lines(found):
            file.write(line.encode())


def _csv_lines(found: Predictions) -> Iterator[str]:
    """The table in lines; a cell with a comma or a quote is quoted."""
    for row in (found.header, *found.rows):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        yield text.getvalue()
