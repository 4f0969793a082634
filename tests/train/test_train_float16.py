"""Runs in float16: a loss scale found by trial, steps that overflow left out, counted and shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import train
from tensorgrad.io import load_metadata
from tensorgrad.train import recipe
from tensorgrad.train.choices import FULL_BATCH, OPTIMIZERS
from tensorgrad.train.loop import Loop
from tensorgrad.train.report import Json, Plain, draw_curves, norms_line
from tensorgrad.train.watch import gradient_warnings, scale_warnings

Fit = Callable[..., train.Result]


class Weights(train.Reporter):
    """Keeps the weights, the scale and the count of overflows after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, float, int]] = []

    def on_step(self, loop: Loop) -> None:
        assert loop.scaler is not None
        found = np.concatenate([p.detach().numpy().ravel() for p in loop.net.parameters()])
        self.seen.append((found, loop.scaler.get_scale(), loop.scaler.skipped))


@pytest.fixture
def high(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first scale that many steps have to bring down."""
    monkeypatch.setattr(
        recipe.optim, "GradScaler", lambda: tg.optim.scaler.GradScaler(2.0**24, growth_interval=6)
    )


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in FULL_BATCH])
def test_a_step_that_overflows_moves_nothing(blobs: Path, fit: Fit, high: None, name: str) -> None:
    options: dict[str, Any] = {"l1": 1e-3} if name == "adam" else {}
    if name in ("muon", "momentum"):
        options["clip_norm"] = 0.1
    watch = Weights()
    found = fit(
        watch, data=str(blobs), target="kind", amp="float16", optimizer=name, epochs=7, **options
    )
    for (one, scale, before), (two, halved, after) in zip(watch.seen, watch.seen[1:]):
        assert after == before or halved == scale / 2
        assert (after > before) == np.array_equal(one, two)
        assert np.isfinite(two).all()
    count = watch.seen[-1][2]
    assert 4 < count < 20
    assert sum(record["skipped"] for record in found.history) == count
    assert found.summary["skipped_steps"] == count
    assert found.summary["loss_scale"] == found.history[-1]["loss_scale"] == watch.seen[-1][1]
    assert found.history[-1]["loss"] < found.history[0]["loss"]


def test_it_learns_as_float32_does(blobs: Path, fit: Fit) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "epochs": 25, "lr": 0.02}
    plain, scaled = fit(**options), fit(amp="float16", **options)
    assert scaled.summary["test_accuracy"] == plain.summary["test_accuracy"] == 1.0
    assert "skipped" not in plain.history[0]
    assert "skipped_steps" not in plain.summary


def test_the_state_has_the_scale(blobs: Path, fit: Fit, high: None) -> None:
    import json

    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "epochs": 2}
    done = fit(amp="float16", **options)
    notes = json.loads(load_metadata(done.folder / "state.safetensors")["run"])
    assert notes["scaler"]["scale"] == done.summary["loss_scale"] < 2.0**24
    more = train.resume(done.folder, {"epochs": 4})
    assert more.summary["skipped_steps"] >= done.summary["skipped_steps"] > 0
    whole = fit(amp="float16", **{**options, "epochs": 4})
    assert whole.summary["loss_scale"] == more.summary["loss_scale"]
    config = done.folder / "config.toml"
    config.write_text(config.read_text().replace('"float16"', '"bfloat16"'))
    train.resume(done.folder)
    other = fit(amp="bfloat16", **options)
    config = other.folder / "config.toml"
    config.write_text(config.read_text().replace('"bfloat16"', '"float16"'))
    with pytest.raises(train.ConfigError, match=r"says \(GradScaler: got a state without scale"):
        train.resume(other.folder)


def test_it_is_shown(blobs: Path, fit: Fit, high: None) -> None:
    options: dict[str, Any] = {"data": str(blobs), "target": "kind", "amp": "float16", "epochs": 9}
    out = io.StringIO()
    found = fit(Plain(out, out), **options)
    skipped = [record["skipped"] for record in found.history]
    assert sum(skipped) > 1
    for line, count in zip(out.getvalue().splitlines()[2:], skipped):
        assert line.endswith(f"  {count} skipped") == (count > 0)
    n, scale = sum(skipped), found.summary["loss_scale"]
    said = f"{n} steps left out, whose gradients overflowed float16; last loss scale"
    assert f"{said} {scale:g}\n" in out.getvalue()
    out = io.StringIO()
    fit(Json(out, out), **options)
    assert f'"skipped": {skipped[0]}' in out.getvalue()


def test_an_epoch_that_was_left_out_has_no_norms(
    blobs: Path, fit: Fit, high: None, tmp_path: Path
) -> None:
    out = io.StringIO()
    found = fit(
        Plain(out, out), data=str(blobs), target="kind", amp="float16", batch_size=96, epochs=20
    )
    norms = [record["grad_norm"] for record in found.history]
    assert (norms[0], set(norms[-1])) == ({}, {"linear1", "linear2"})
    assert "gradient norms, first to last epoch: linear1 " in out.getvalue()
    assert norms_line(found.history[:1]) == ""
    assert gradient_warnings(found.history[:1]) == []
    for history in (found.history, found.history[:1]):
        draw_curves(history, tmp_path / "curves.svg")


def test_a_scale_below_one_is_warned_about(blobs: Path, fit: Fit) -> None:
    record = {"epoch": 3, "loss_scale": 0.25, "skipped": 7}
    assert scale_warnings({**record, "loss_scale": 1.0}) == scale_warnings({"epoch": 1}) == []
    ((_, text),) = scale_warnings(record)
    assert text == (
        "gradients overflow float16 (loss scale 2.5e-01 at epoch 3, 7 steps left out in it); "
        "try --amp bfloat16, or a lower --lr"
    )


def test_a_loss_beyond_float16(fit: Fit) -> None:
    with pytest.raises(train.DivergedError) as caught:
        fit(
            data="plane", amp="float16", optimizer="sgd", lr=1e6, activation="linear",
            layers=(8, 8), epochs=9,
        )  # fmt: skip
    text = str(caught.value)
    assert text.startswith("train: got loss ")
    assert text.endswith(", or --clip-norm 1, or --amp bfloat16, whose range is wider")
