"""A transformer writes Python, character by character, after minutes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.examples import _chars
from tensorgrad.models import GPT2

WIDTH, LAYERS, HEADS = 128, 3, 4
STEPS, BATCH, LENGTH, RATE = 3000, 16, 64, 3e-3


def main(out: Path | None = None, device: str = "cpu") -> None:
    """Train, print the bits a character and a sample, and save a picture of the bits."""
    tg.manual_seed(0)
    rng = np.random.default_rng(0)
    text, held = _chars.text()
    net = GPT2(len(_chars.SYMBOLS), LENGTH, WIDTH, LAYERS, HEADS, dropout=0.0).to(device)

    def batch(k: int) -> Any:
        starts = rng.integers(0, len(text) - LENGTH, BATCH)
        x, following = _chars.windows(text, starts, LENGTH, device)
        return _chars.bits(net(x), following)

    rows = _chars.train(net, batch, STEPS, RATE, lambda: unseen(net, held, device))
    _chars.show("chars-transformer", net, rows, len(held), out, device)


def unseen(net: Any, held: Any, device: str) -> float:
    """Bits a character of text that was held out; the second half of each window counts.

    Windows overlap by half, so that each character has at least half a window before it.
    """
    half = LENGTH // 2
    starts = np.arange(0, len(held) - LENGTH, half)
    found = []
    for k in range(0, len(starts), BATCH):
        x, following = _chars.windows(held, starts[k : k + BATCH], LENGTH, device)
        found += [float(_chars.bits(net(x)[:, half:], following[:, half:]))] * len(x)
    return float(np.mean(found))
