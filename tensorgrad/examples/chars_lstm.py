"""An LSTM writes Python, character by character, after two minutes of reading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.examples import _chars
from tensorgrad.models import LSTMLanguageModel

HIDDEN, EMBEDDING = 320, 64
STEPS, BATCH, LENGTH, RATE = 1000, 32, 64, 5e-3


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train, print the bits a character and a sample, and save a picture of the bits.

    Each row of the batch reads its own part of the text from left to right and keeps its state from
    one step to the next, cut off from the gradient.
    """
    tg.manual_seed(0)
    text, held = _chars.text()
    net = LSTMLanguageModel(len(_chars.SYMBOLS), EMBEDDING, HIDDEN, num_layers=1).to(device)
    first = np.arange(BATCH) * (len(text) // BATCH)
    turn = (len(text) // BATCH - 1) // LENGTH
    kept: list[Any] = [None]

    def batch(k: int) -> Any:
        starts = first + k % turn * LENGTH
        x, following = _chars.windows(text, starts, LENGTH, device)
        logits, state = net(x, kept[0] if k % turn else None)
        kept[0] = tuple(one.detach() for one in state)
        return _chars.bits(logits, following)

    rows = _chars.train(net, batch, STEPS, RATE, lambda: unseen(net, held, device))
    _chars.show("chars-lstm", net, rows, len(held), out, device)


def unseen(net: Any, held: Any, device: str) -> float:
    """Bits a character of text that was held out, read in 50 parts of equal length."""
    length = (len(held) - 1) // 50
    x, following = _chars.windows(held, np.arange(50) * length, length, device)
    return float(_chars.bits(net(x)[0], following))
