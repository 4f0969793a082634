"""The tuner of matrix products: what it keeps, when it times, what a damaged file costs."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, there
from products_tools import (
    Spy,
    bucketed,
    by,
    close,
    leaf,
    products,
)

import tensorgrad as tg
from tensorgrad._errors import DeviceError
from tensorgrad.backend.cuda import tuner as tuners
from tensorgrad.backend.cuda.tuner import Candidate, Choice, Tuner
from tensorgrad.core.tensor import Tensor

Array = Any
Rng = np.random.Generator


def clock(times: dict[str, float]) -> Callable[[Callable[[], object]], float]:
    return lambda work: times[str(work())]


def made(folder: Path, times: dict[str, float], gpu: str = "H200", version: int = 130800) -> Tuner:
    return Tuner(gpu, 13000, version, clock(times), str(folder))


def test_the_tuner_keeps_the_fastest(tmp_path: Path) -> None:
    fused = [Candidate(b"a" * 64, lambda: "a"), Candidate(b"b" * 64, lambda: "b")]
    apart = [Candidate(b"c" * 64, lambda: "c")]
    times = {"a": 3.0, "b": 2.0, "c": 1.0}
    tuner = made(tmp_path, times)
    assert tuner.find("plan") is None
    assert tuner.tune("plan", fused, apart) == (False, b"c" * 64, 1.0)
    times["c"] = 5.0
    assert tuner.tune("other", fused, apart) == (True, b"b" * 64, 2.0)
    again = made(tmp_path, {})
    assert again.find("plan") == (False, b"c" * 64, 1.0)
    assert again.find("other") == (True, b"b" * 64, 2.0)
    for gpu, version in (("H200", 130900), ("A100", 130800)):
        assert made(tmp_path, {}, gpu, version).find("plan") is None
    assert Tuner("H200", 12080, 130800, clock({}), str(tmp_path)).find("plan") is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_nothing_to_choose_from_is_no_choice(tmp_path: Path) -> None:
    tuner = made(tmp_path, {"a": float("inf")})
    assert tuner.tune("plan", []) is None
    assert tuner.tune("plan", [Candidate(b"a" * 64, lambda: "a")]) is None
    assert tuner.find("plan") is None
    assert not list(tmp_path.iterdir())


def test_the_first_choice_on_disk_stays(tmp_path: Path) -> None:
    """Two processes time one product at once: later runs find what was written first."""
    way = [Candidate(b"a" * 64, lambda: "a"), Candidate(b"b" * 64, lambda: "b")]
    one, two = made(tmp_path, {"a": 1.0, "b": 2.0}), made(tmp_path, {"a": 2.0, "b": 1.0})
    first = one.tune("plan", way)
    assert two.tune("plan", way) == first == (True, b"a" * 64, 1.0)
    assert made(tmp_path, {}).find("plan") == first
    two.tune("other", way)
    one.tune("third", way)
    assert None not in [made(tmp_path, {}).find(key) for key in ("plan", "other", "third")]


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    tuner = made(tmp_path / "file" / "deeper", {"a": 1.0})
    assert tuner.tune("plan", [Candidate(b"a" * 64, lambda: "a")]) == Choice(True, b"a" * 64, 1.0)


def test_a_refused_run_takes_for_ever() -> None:
    def refuse() -> None:
        raise DeviceError("no")

    assert tuners.seconds(refuse) == float("inf")


def test_a_damaged_file_only_costs_time(tmp_path: Path) -> None:
    way = [Candidate(b"a" * 64, lambda: "a")]
    tuner = made(tmp_path, {"a": 1.0})
    tuner.tune("plan", way)
    assert tuner.path is not None
    path = Path(tuner.path)
    whole = path.read_text()
    stored = json.loads(whole)
    bad_row = {**stored, "plans": {**stored["plans"], "x": [1], "y": 3, "z": [True, "zz", 1]}}
    for text in ("", "{", "[]", "null", "\xff\xfe", whole[: len(whole) // 2], '{"gpu": "H200"}'):
        path.write_text(text)
        assert made(tmp_path, {}).find("plan") is None
    path.write_text(json.dumps(bad_row))
    assert made(tmp_path, {}).find("plan") == (True, b"a" * 64, 1.0)


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


# -- choices -------------------------------------------------------------------------------------


class Tunable(Spy):
    """Has three algorithms for every plan; the second is the fastest."""

    version = 130800

    def __init__(self) -> None:
        super().__init__()
        self.timed: list[tuple[Any, int]] = []

    def candidates(self, plan: Any, x: int, y: int, out: int, **rest: Any) -> list[Any]:
        kind = importlib.import_module("tensorgrad.backend.cuda.tuner").Candidate
        self.timed.append((plan, out))
        return [kind(bytes([k] * 64), lambda: None) for k in (1, 2, 3)]


@contextmanager
def tunable(folder: Path, monkeypatch: pytest.MonkeyPatch, apart: float = 9.0) -> Iterator[Any]:
    """An engine to choose from, a clock without noise, and a folder of its own."""
    module, engine = importlib.import_module("tensorgrad.backend.cuda.tuner"), Tunable()

    def clock(run: Callable[[], object]) -> float:
        run()
        (algo, *_) = run.args  # type: ignore[attr-defined]
        return float(abs(algo[0] - 2) + 1) if isinstance(algo, bytes) else apart

    real = module.Tuner

    def made(gpu: str, driver: int, version: int) -> Any:
        return real(gpu, driver, version, clock, str(folder))

    monkeypatch.setattr(products(), "Tuner", made)
    with by(lambda: engine):
        yield engine


def test_nothing_is_timed_unless_asked(
    gpu: Any, rng: Rng, tmp_path: Path, monkeypatch: Any
) -> None:
    x = there(rng.standard_normal((4, 4)).astype("f4"))
    with tunable(tmp_path, monkeypatch) as engine:
        for _ in range(5):
            x @ x
        assert engine.timed == []
        assert engine.algos == [b""] * 5
    assert not list(tmp_path.iterdir())


def test_a_product_is_timed_before_it_runs(
    gpu: Any, rng: Rng, tmp_path: Path, monkeypatch: Any
) -> None:
    x = there(rng.standard_normal((4, 4)).astype("f4"))
    with tunable(tmp_path, monkeypatch) as engine:
        with tg.cuda.tune():
            y = x @ x
        assert len(engine.timed) == 1
        assert engine.timed[0][1] != y.data.data.ptr, "what is timed writes elsewhere"
        assert engine.algos[-1] == bytes([2] * 64)
        np.testing.assert_allclose(here(y), here(x) @ here(x), rtol=1e-5, atol=1e-5)
        x @ x  # outside, the choice stays
        x @ x.T
        assert engine.algos[-2:] == [bytes([2] * 64), b""]
    for tuned in (False, True):  # the next process finds it, if it tunes
        with tunable(tmp_path, monkeypatch) as engine, tg.cuda.tune(tuned):
            x @ x
            assert engine.timed == []
            assert engine.algos == [bytes([2] * 64) if tuned else b""]


def test_no_buffer_of_the_program_is_written_by_a_trial(
    gpu: Any, rng: Rng, tmp_path: Path, monkeypatch: Any
) -> None:
    sizes = ((6, 4), (8, 4), (8,), (3, 8), (3,))
    arrays = [rng.standard_normal(s).astype("f2") for s in sizes]
    found = []
    for tuned in (False, True):
        with tunable(tmp_path, monkeypatch) as engine, tg.cuda.tune(tuned):
            params = bucketed(arrays[1:], "cuda:0", "float16")
            x = leaf(arrays[0], "float16")
            for _ in range(2):  # the second time with beta = 1
                y = tg.linear(tg.linear_gelu(x, *params[:2]), *params[2:])
                y.sum().backward()
            found.append([here(t) for t in (y, x.grad, *[p.grad for p in params])])
            assert bool(engine.timed) == tuned
            assert not tuned or {"gelu_aux_bias", "dgelu_bgrad"} <= set(engine.epilogues())
    for got, want in zip(*found):
        np.testing.assert_array_equal(got, want)


def test_launches_of_their_own_may_be_the_fastest(
    gpu: Any, rng: Rng, tmp_path: Path, monkeypatch: Any
) -> None:
    x, w, b = (there(rng.standard_normal(s).astype("f4")) for s in ((6, 4), (8, 4), (8,)))
    for apart, want in ((9.0, "bias"), (0.5, "none")):
        with tunable(tmp_path / str(apart), monkeypatch, apart) as engine, tg.cuda.tune():
            y = tg.linear(x, w, b)
            engine.plans.clear()
            tg.linear(x, w, b)
            assert engine.epilogues() == [want]
            close(y, here(x) @ here(w).T + here(b), "float32")


def test_nothing_is_timed_in_a_capture(
    gpu: Any, rng: Rng, tmp_path: Path, monkeypatch: Any
) -> None:
    x, other = (there(rng.standard_normal(s).astype("f4")) for s in ((4, 4), (5, 4)))
    runs: list[int] = []

    def step(t: Tensor) -> Tensor:
        runs.append(1)
        return (t @ t) if len(runs) < 3 else (t @ t) + (other @ t)[:4]

    with tunable(tmp_path, monkeypatch) as engine, tg.cuda.tune():
        captured = tg.cuda.capture(step, (x,))
        assert [plan.n for plan, _ in engine.timed] == [4], (
            "the warm-up tunes, the capture does not"
        )
        got = captured(x)
        close(got, here(x) @ here(x) + (here(other) @ here(x))[:4], "float32")
        captured.close()


def test_the_clock_is_that_of_the_device(gpu: Any) -> None:
    tuner = importlib.import_module("tensorgrad.backend.cuda.tuner")
    times: list[int] = []
    assert tuner.seconds(lambda: times.append(1)) >= 0
    assert len(times) == tuner.REPEATS + 1
