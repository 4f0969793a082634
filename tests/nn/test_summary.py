"""summary: rows, totals, what the network is like afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn


def ones(*shape: int) -> Any:
    return tg.ones(shape, dtype="float32")


def test_rows_and_totals() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    net.append(nn.utils.parametrizations.weight_norm(nn.Linear(16, 5)))
    net.append(nn.Sequential(nn.Linear(5, 2, bias=False)))
    net[0].requires_grad_(False)
    found = nn.summary(net, ones(2, 3, 4, 4))
    assert [row.name for row in found.rows] == ["", "0", "1", "2", "3", "4", "4.0"]
    assert [row.kind for row in found.rows][4:] == ["Linear", "Sequential", "Linear"]
    assert [row.parameters for row in found.rows] == [0, 112, 0, 0, 90, 0, 10]
    assert [row.multiply_adds for row in found.rows] == [0, 2 * 4 * 4 * 27, 0, 0, 160, 0, 20]
    assert [row.bytes for row in found.rows] == [16, 128, 128, 0, 40, 16, 16]
    assert found.rows[1].shape == (2, 4, 2, 2)
    assert (found.parameters, found.trainable, found.parameter_bytes) == (212, 100, 848)
    assert found.multiply_adds == 864 + 160 + 20
    assert found.activation_bytes == 128 + 128 + 40 + 16
    assert "112 of them frozen" in str(found)
    assert repr(found) == str(found)


def test_products_of_other_layers() -> None:
    conv = nn.summary(nn.ConvTranspose2d(4, 2, 3), ones(1, 4, 5, 5))
    assert conv.multiply_adds == 25 * 4 * 2 * 9
    assert nn.summary(nn.Bilinear(2, 3, 4), (ones(5, 2), ones(5, 3))).multiply_adds == 5 * 24
    grouped = nn.summary(nn.Conv1d(4, 6, 3, groups=2), ones(1, 4, 5))
    assert grouped.multiply_adds == 3 * 6 * 2 * 3


def test_products_of_sequences() -> None:
    lstm = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    steps = nn.summary(lstm, ones(5, 2, 3))
    assert steps.multiply_adds == 10 * 2 * (16 * (3 + 4) + 16 * (8 + 4))
    assert steps.rows[0].shape == ((5, 2, 8), (4, 2, 4), (4, 2, 4))
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    query, key = ones(3, 5, 8), ones(3, 7, 8)
    found = nn.summary(attention, {"query": query, "key": key, "value": key})
    assert found.rows[1].name == "out_proj"
    projections = 3 * 64 * (5 + 7 + 7 + 5)
    assert found.multiply_adds == projections + 2 * 3 * 5 * 7 * 8


def test_own_classes_calls_and_names() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(np.ones((2, 2), "f4"))
            self.twice, self.never = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Any, y: Any = 0) -> Any:
            return {"a": self.twice(self.twice(x)) @ self.w, "b": [x]}

    found = nn.summary(Own(), {"x": ones(3, 2), "y": 1})
    assert found.unknown == ["Own"]
    assert found.rows[0].multiply_adds is None
    assert found.rows[0].bytes == 24  # the input that is given out again is nothing new
    assert found.rows[1].calls == 2
    assert found.rows[1].multiply_adds == 24
    text = str(found)
    assert "twice: Linear  (3, 2) x 2" in text
    assert "not called" in text
    assert "multiply-adds: 24, and those of Own" in text


def test_the_network_is_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    net[1].eval()
    nn.summary(net, ones(1, 2))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert not net[0]._hooks
    with pytest.raises(tg.TensorgradError):
        nn.summary(net, ones(1, 3))
    assert net.training
    assert not net[0]._hooks
