"""Profiles and peaks of memory: what ran, for how long, and what was alive."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor


def chain(x: Any, depth: int = 8) -> Any:
    for _ in range(depth):
        x = np.tanh(x)
    return np.sum(x)


def test_every_operation_and_step_of_backward_is_an_event(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((50, 40)), requires_grad=True)
    w = Tensor(rng.standard_normal((40, 30)), requires_grad=True)
    with tg.profile() as prof:
        y = np.tanh(x @ w).sum()
        y.backward(retain_graph=True)
    names = [(e.op, e.phase) for e in prof.events]
    forward = ["matmul", "tanh", "sum"]
    assert names == [(n, "forward") for n in forward] + [(n, "backward") for n in forward[::-1]]
    by = dict(zip(names, prof.events))
    assert by["matmul", "forward"].bytes == 50 * 30 * 8
    assert by["matmul", "backward"].bytes == (50 * 40 + 40 * 30) * 8
    assert by["tanh", "forward"].shapes == ["float64[50, 30]"]
    assert {e.line for e in prof.events} == {y.node.origin}
    assert all(0 <= e.own <= e.stop - e.start for e in prof.events)
    assert sum(e.own for e in prof.events) <= prof.seconds
    assert set(prof.milliseconds(y.node)) == {"forward", "backward"}


def test_totals_and_tables(rng: np.random.Generator) -> None:
    with tg.profile() as prof:
        tg.grad(chain)(rng.standard_normal(1000))
        tg.exp(Tensor(rng.standard_normal(10)))
    rows = {row.name: row for row in prof.totals()}
    assert (rows["tanh"].calls, rows["exp"].calls) == (8, 1)
    assert rows["exp"].backward == 0 < rows["tanh"].backward
    lines = prof.totals(by="line")
    assert len(lines) == 3
    assert sum(r.milliseconds for r in lines) == pytest.approx(
        sum(r.milliseconds for r in rows.values())
    )
    assert "tanh" in str(prof)
    assert "test_profile.py:" in prof.table(by="line")
    assert "... and 2 more" in prof.table(by="line", limit=1)
    with pytest.raises(ValueError, match="profile: got by='day', expected 'op' or 'line'"):
        prof.totals(by="day")


def test_the_chrome_trace_is_what_the_viewers_read(tmp_path: Path) -> None:
    with tg.profile() as prof:
        tg.grad(chain)(np.ones(10))
    prof.chrome_trace(tmp_path / "trace.json")
    rows = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    host = [row for row in rows if row["tid"] == threading.get_ident()]
    assert len(host) == len(prof.events)
    assert all(row["ph"] == "X" and row["dur"] >= 0 and row["ts"] >= 0 for row in rows)
    assert {row["cat"] for row in rows} == {"forward", "backward"}


def test_a_profile_can_be_opened_again_and_another_inside() -> None:
    outer = tg.profile()
    with outer:
        tg.sin(Tensor(1.0))
        with tg.profile() as inner:
            tg.cos(Tensor(1.0))
    with outer:
        tg.exp(Tensor(1.0))
    tg.tanh(Tensor(1.0))
    assert [e.op for e in outer.events] == ["sin", "cos", "exp"]
    assert [e.op for e in inner.events] == ["cos"]


def test_the_peak_of_a_chain_is_what_it_saves_and_checkpoint_shrinks_it() -> None:
    x = np.ones(1000)
    report = tg.peak_memory(chain, x)
    assert report.arguments == 8000
    assert report.held == 8 * 8000 + 8
    assert 9 * 8000 <= report.peak <= 10 * 8000 + 16
    assert sum(row.bytes for row in report.rows) == report.peak
    assert report.rows[0].op == "tanh"
    assert "test_profile.py:" in report.rows[0].line
    assert "alive when backward began" in str(report)

    def halves(v: Any) -> Any:
        first = tg.checkpoint(lambda u: np.tanh(np.tanh(np.tanh(np.tanh(u)))))
        return np.sum(first(first(v)))

    assert tg.peak_memory(halves, x).peak < 0.8 * report.peak
    assert tg.peak_memory(halves, x).held <= 2 * 8000 + 8


def test_peak_memory_of_captured_leaves_containers_and_constants(rng: np.random.Generator) -> None:
    w = Tensor(rng.standard_normal((30, 30)), requires_grad=True)
    report = tg.peak_memory(
        lambda batch, n: np.sum((batch["x"] @ w) ** n), {"x": np.ones((5, 30))}, 2
    )
    assert w.grad is None
    assert any(row.op == "matmul" and row.phase == "backward" for row in report.rows)
    assert report.arguments == 5 * 30 * 8
    assert tg.peak_memory(lambda n: tg.ones(n), 4).held is None
    with pytest.raises(TypeError, match="peak_memory: got results=1, expected a result computed"):
        tg.peak_memory(lambda x: tg.ones(3), np.ones(3))


def test_an_empty_profile_and_one_that_is_open() -> None:
    with tg.profile() as prof:
        pass
    assert "operations 0.000 ms of" in str(prof)
    again = pytest.raises(RuntimeError, match="profile: got a profile that is open already")
    with prof, again, prof:
        pass
    with prof:
        tg.sin(Tensor(1.0))
    assert [e.op for e in prof.events] == ["sin"]


def test_arrays_made_out_of_none_count() -> None:
    made = {
        "zeros": lambda: tg.zeros(1000),
        "full": lambda: tg.full(1000, 2.0),
        "arange": lambda: tg.arange(1000.0),
        "linspace": lambda: tg.linspace(0.0, 1.0, 1000),
        "normal": lambda: tg.randn(1000),
    }
    for name, make in made.items():
        report = tg.peak_memory(lambda x, make=make: np.sum(x * make()), np.ones(1000))
        assert report.peak >= 16000, name  # the array made and the product
        with tg.profile() as prof, tg.detect_anomaly():
            make()
        assert next(e.bytes for e in prof.events if e.bytes) == 8000, name
