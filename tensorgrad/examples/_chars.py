"""What the two language models share: the text, its batches, the measure and the sample."""

from __future__ import annotations

import math
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.examples import _fit, _show

SYMBOLS = "\n" + "".join(map(chr, range(32, 127)))
OTHER = SYMBOLS.index("?")
START, SAMPLE = "def ", 600
HELD = 10  # of that many files one is held out
HELD_CHARS = 50_000

Array = np.ndarray[Any, Any]


def text() -> tuple[Array, Array]:
    """The modules of Python's standard library as tokens: for training, and held out.

    Every tenth file is held out, so no part of it was seen. A character that is not printable ASCII
    counts as "?". Raises `DataError` where the library's source is not on disk.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(folder.glob("*.py"))
    if len(files) < HELD:
        raise tg.DataError(
            f"{folder}: got {len(files)} Python files, expected the source text of the standard "
            "library; try a Python that ships it"
        )
    parts = [encoded(file.read_text("utf-8", errors="replace")) for file in files]
    held = np.concatenate(parts[HELD // 2 :: HELD])[:HELD_CHARS]
    seen = [part for k, part in enumerate(parts) if k % HELD != HELD // 2]
    return np.concatenate(seen), held


def encoded(characters: str) -> Array:
    """A text as places in SYMBOLS."""
    places = np.full(128, OTHER, np.int64)
    places[[ord(one) for one in SYMBOLS]] = range(len(SYMBOLS))
    return places[np.minimum(np.frombuffer(characters.encode("utf-32-le"), np.uint32), 127)]


def decoded(tokens: Any) -> str:
    """The text of places in SYMBOLS."""
    return "".join(SYMBOLS[int(token)] for token in tokens)


def bits(logits: Any, following: Any) -> Any:
    """The mean number of bits that the next characters cost: cross-entropy / ln 2."""
    flat = logits.reshape(-1, len(SYMBOLS))
    return nn.functional.cross_entropy(flat, following.reshape(-1)) / math.log(2)


def windows(tokens: Array, starts: Array, length: int, device: str) -> tuple[Any, Any]:
    """Texts of a length from these starts, and the characters that follow theirs."""
    rows = tokens[starts[:, None] + np.arange(length + 1)]
    return _fit.on(rows[:, :-1], device), _fit.on(rows[:, 1:], device)


def train(
    net: Any, batch: Callable[[int], Any], steps: int, rate: float, held: Callable[[], float]
) -> list[tuple[int, float, float, float]]:
    """Train with batch(k), the loss of step k; five rows (step, bits, bits held out, seconds).

    The rate rises over the first tenth of the steps and falls along a cosine; gradients longer
    than 1 are cut to 1.
    """
    optimizer = tg.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.01)
    warm = max(1, steps // 10)
    schedule = tg.optim.WarmUp(tg.optim.Cosine(max(1, steps - warm), end=0.05), warm)
    scheduler = tg.optim.Scheduler(optimizer, schedule)
    rows, recent, spent = [], [], 0.0
    for k in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = batch(k)
        loss.backward()
        tg.optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        recent.append(loss.detach())
        spent += time.perf_counter() - start
        if (k + 1) % max(1, steps // 5) == 0 or k + 1 == steps:
            net.eval()
            with tg.no_grad():
                measured = held()
            net.train()
            mean = sum(float(one) for one in recent) / len(recent)
            rows.append((k + 1, mean, measured, spent))
            print(f"step {k + 1:5}  {mean:.3f} bits  held out {measured:.3f}  {spent:.0f} s")
            recent = []
    return rows


def show(name: str, net: Any, rows: list[Any], held: int, out: Path | None, device: str) -> None:
    """Print the bits and a sample, and save a picture of the bits over the steps."""
    count = sum(p.size for p in net.parameters())
    _show.table(
        f"{name}: {count:,} weights, {held:,} characters held out",
        ("steps", "bits a character", "on held-out files", "seconds"),
        [(k, f"{a:.3f}", f"{b:.3f}", f"{spent:.0f}") for k, a, b, spent in rows],
    )
    start = _fit.on(encoded(START)[None], device)
    tokens = net.generate(start, SAMPLE, temperature=0.7)
    print(decoded(tokens.numpy()[0]), end="\n\n")
    figure, (ax,) = _show.axes(1, 1, (7, 4.2))
    steps, seen, unseen, _ = zip(*rows)
    ax.plot(steps, seen, "o-", color=_show.BLUE, label="training text")
    ax.plot(steps, unseen, "o-", color=_show.ORANGE, label="held-out files")
    ax.set(xlabel="step", ylabel="bits a character", title=f"{name} on Python's standard library")
    ax.legend(frameon=False)
    _show.save(figure, name, out)
