"""`benchmarks/gpu.sh` runs to its end without a GPU, finds errors, and survives what dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from host import build
from ops_tools import gpus

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
with patch.dict(os.environ):  # which the package sets for its benchmarks on the CPU
    from benchmarks import gpu, gpu_bench, gpu_cases, gpu_table, gpu_time, gpu_worker
    from benchmarks.gpu_bench import Bench, Part
    from benchmarks.gpu_time import Side

pytestmark = pytest.mark.stand_in("benchmarks on a GPU are run, not tested, there")
SOME = "rates: memory|relu float32|matmul 4096x4096x4096 float32|captured products|attention"


def ran(folder: Path, *options: str) -> tuple[dict[str, Any], str]:
    """The JSON and the table of a run on the stand-in."""
    build('extern "C" __global__ void nothing() {}')  # skips where there is no g++
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--stand-in", "--tiny", *options]
    environment = {**os.environ, "PYTHON": sys.executable, "OUT": str(folder / "never")}
    done = subprocess.run(
        [*command, "--out", str(folder)], capture_output=True, text=True, env=environment
    )
    log = folder / "gpu-cases.log"
    said = done.stdout + done.stderr + (log.read_text() if log.exists() else "")
    assert done.returncode == 0, said
    assert not (folder / "never").exists()
    return json.loads((folder / "gpu.json").read_text()), (folder / "gpu.txt").read_text()


def checked(result: dict[str, Any]) -> None:
    """Every row is there, nothing failed, and nothing differs from a peer."""
    assert result["complete"]
    assert result["stand_in"]
    assert not result["failures"]
    assert not result["not_run"]
    for row in result["rows"]:
        assert row.get("ours") or row.get("note"), row
        assert not row.get("error"), row
        assert not row.get("wrong"), row
        for name, times in row.get("peers", {}).items():
            assert "error" not in times, (row["name"], name, times)
            assert "skipped" in times or name == "unfused" or np.isfinite(row["errors"][name])


def test_it_runs_to_its_end(tmp_path: Path) -> None:
    result, table = ran(tmp_path, "--only", SOME)
    checked(result)
    assert table.startswith("ON THE STAND-IN")
    for name in ("1 read, 1 written", "relu, f32, backward", "matmul 12x12 @ 12x12, f32"):
        assert name in table
    assert result["facts"]["captured products are the eager ones, float32"] == 1.0


def test_all_of_it_runs_to_its_end(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--full"):
        pytest.skip("a minute: with --full")
    result, _ = ran(tmp_path)
    checked(result)
    wanted = {(case.section, case.name) for case in gpu_cases.cases()}
    assert {(row["section"], row["case"]) for row in result["rows"]} == wanted


def test_every_section_has_its_share() -> None:
    cases = gpu_cases.cases()
    assert {case.section for case in cases} == set(gpu_cases.WEIGHTS)
    assert len({(case.section, case.name) for case in cases}) == len(cases)
    # Each section in one piece, or its time would begin twice.
    order = [case.section for case in cases]
    assert sum(a != b for a, b in pairwise(order)) == len(gpu_cases.WEIGHTS) - 1


def test_what_a_section_leaves_goes_to_the_next() -> None:
    start = time.monotonic()
    shares = gpu_worker.Shares({"a": 1.0, "b": 1.0, "c": 2.0}, start + 400)
    assert shares.end("a") == pytest.approx(start + 100, abs=1)
    assert shares.end("a") == pytest.approx(start + 100, abs=1)
    assert shares.end("b") == pytest.approx(start + 400 / 3, abs=1)  # "a" took no time
    assert shares.end("c") == pytest.approx(start + 400, abs=1)


# -- a contest -----------------------------------------------------------------------------------


@pytest.fixture
def rows() -> Iterator[tuple[Bench, dict[str, Any]]]:
    """A bench on the stand-in, and the last row of each name that it told."""
    found: dict[str, Any] = {}

    def tell(message: dict[str, Any]) -> None:
        found[message["name"]] = json.loads(json.dumps(message))

    with gpus():
        yield Bench(tell, True, True, {"1r1w": 1e9}, "section", "case"), found


def side(values: Any, seconds: float = 1.0) -> Side:
    return Side(lambda: None, lambda run, calls: (seconds * calls, 0.0), lambda: [values])


def broken() -> Side:
    raise RuntimeError("no such kernel\nand more")


def text_of(rows: list[Any]) -> str:
    return "\n".join(gpu_table._section("section", rows, True))


def test_a_wrong_result_is_marked(rows: Any, rng: Any) -> None:
    bench, found = rows
    x = rng.standard_normal(5000)
    for place in rng.integers(0, x.size, 3):
        y = x.copy()
        y[place] += 1
        bench.contest(Part("x", tolerance=1e-3), lambda: side(x), {"peer": lambda y=y: side(y)})
        assert found["x"]["wrong"]
        assert "WRONG" in text_of([found["x"]])
    both = {"bad": lambda: side(x + 1), "good": lambda: side(x)}
    bench.contest(Part("x", tolerance=1e-3), lambda: side(x), both)
    assert not found["x"]["wrong"]  # a peer alone may be off
    nothing = np.full_like(x, np.nan)
    for mine, theirs in ((nothing, x), (x, nothing), (x, x[:-1])):
        make = {"peer": lambda theirs=theirs: side(theirs)}
        bench.contest(Part("x", tolerance=1e9), lambda mine=mine: side(mine), make)
        assert found["x"]["wrong"]


def test_what_fails_stays_where_it_is(rows: Any) -> None:
    bench, found = rows
    x = np.ones(3)
    peers = {"first": broken, "absent": lambda: None, "last": lambda: side(x)}
    bench.contest(Part("x"), lambda: side(x), peers)
    assert found["x"]["peers"]["first"] == {"error": "RuntimeError: no such kernel"}
    assert found["x"]["peers"]["absent"] == {"skipped": "not there"}
    assert found["x"]["peers"]["last"]["median"] == 1.0
    assert "no such kernel" in text_of([found["x"]])
    bench.contest(Part("y"), broken, peers)
    assert found["y"]["error"] == "RuntimeError: no such kernel"
    assert "FAILED" in text_of([found["y"]])
    bench.until = 0.0
    bench.contest(Part("z"), lambda: side(x), peers)
    assert found["z"]["peers"]["last"] == {"skipped": "no time"}
    assert found["z"]["ours"]["median"] == 1.0


def test_a_gpu_that_is_lost_ends_the_process(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    bench, found = rows

    def gone() -> None:
        raise cupy.cuda.runtime.CUDARuntimeError(700)

    monkeypatch.setattr(cupy.cuda.runtime, "deviceSynchronize", gone)
    with pytest.raises(gpu_bench.LostError, match=r"no such kernel.*illegal"):
        bench.contest(Part("x"), broken, {})
    assert found["x"]["error"] == "RuntimeError: no such kernel"


def test_goals() -> None:
    part = Part("x", 1e9, "B", "1r1w", 0.85, 0.97, 0.5)
    times = {"median": 1.0, "min": 1.0, "host": 0.1, "batches": 3}
    row: dict[str, Any] = {**part._asdict(), "facts": {"1r1w": 1.1e9}, "ours": times}
    row["peers"] = {"a": {**times, "median": 0.98}, "b": {"error": "broken"}}
    assert list(gpu_table.goals(row).values()) == [True, True, False]
    row["facts"], row["peers"]["a"]["median"] = {"1r1w": 1.3e9}, 0.9
    assert list(gpu_table.goals(row).values()) == [False, False, False]
    row["facts"], row["peers"] = {}, {}
    assert list(gpu_table.goals(row).values()) == [None, None, False]


def test_large_results_are_sampled_everywhere(rng: Any) -> None:
    x = np.arange(7 * 2**20 + 5)
    first, *middle, last = gpu_time.sampled(x)
    assert first[0] == 0
    assert last[-1] == x[-1]
    for width in (2, 3, 4, 7, 8, 32, 418, 768, 1000, 47 * 42, int(rng.integers(2, 2000))):
        assert len(np.unique(np.concatenate(middle) % width)) == width


# -- processes -----------------------------------------------------------------------------------


class Scripted:
    """A worker that says what it was told to, one script a process."""

    scripts: list[list[Any]]

    def __init__(self, orders: dict[str, Any], log: Path) -> None:
        log.write_text("last words\n")
        self.said = self.scripts.pop(0)
        self.orders = orders

    def messages(self, until: float) -> Iterator[dict[str, Any]]:
        for message in self.said:
            if isinstance(message, Exception):
                raise message
            yield dict(message)

    def end(self) -> str:
        return "the process ended with status -11"

    def kill(self) -> None:
        pass


MACHINE = {"kind": "machine", "machine": {"name": "some GPU"}}


def begin(case: str) -> dict[str, Any]:
    return {"kind": "begin", "section": "s", "case": case}


def end(case: str, error: str = "") -> dict[str, Any]:
    return {"kind": "end", "section": "s", "case": case, "seconds": 1.0, "error": error}


def row(case: str, **given: Any) -> dict[str, Any]:
    head = {"kind": "row", "section": "s", "case": case, "facts": {}}
    return {**head, **Part(case)._asdict(), **given}


def run_scripts(folder: Path, monkeypatch: Any, *scripts: list[Any]) -> dict[str, Any]:
    monkeypatch.setattr(gpu, "Worker", Scripted)
    monkeypatch.setattr(Scripted, "scripts", list(scripts), raising=False)
    store = gpu.Store(folder / "gpu.json", True)
    options = gpu.parsed(["--stand-in"])
    gpu.run_cases(options, store, [("s", c) for c in "abcd"], time.monotonic() + 60)
    assert not store.good
    assert not Scripted.scripts
    found: dict[str, Any] = json.loads((folder / "gpu.json").read_text())
    assert found == store.data
    return found


def test_a_case_that_kills_or_hangs_costs_itself_alone(tmp_path: Path, monkeypatch: Any) -> None:
    partial = {"median": 1.0, "min": 1.0, "host": 0.1, "batches": 2}
    dies = [
        MACHINE,
        begin("a"),
        row("a", note="fine"),
        end("a"),
        begin("b"),
        row("b", ours=partial),
    ]
    hangs = [MACHINE, begin("c"), TimeoutError("silent for 100 s, and stopped")]
    fails = [MACHINE, begin("d"), end("d", "ValueError: no"), {"kind": "done"}]
    found = run_scripts(tmp_path, monkeypatch, dies, hangs, fails)
    assert {f["case"]: f["error"] for f in found["failures"]} == {
        "b": "the process ended with status -11: last words",
        "c": "silent for 100 s, and stopped",
        "d": "ValueError: no",
    }
    assert [r["case"] for r in found["rows"]] == ["a", "b"]
    assert found["rows"][1]["ours"] == partial
    assert not found["not_run"]


def test_without_a_gpu_it_says_so_once(tmp_path: Path, monkeypatch: Any) -> None:
    found = run_scripts(tmp_path, monkeypatch, [])
    assert [f["case"] for f in found["failures"]] == ["a"]
    assert found["not_run"] == ["s: b", "s: c", "s: d"]
    assert "no GPU answered" in "\n".join(gpu_table.lines(found))


def test_a_real_worker_tells_why_there_is_no_gpu(tmp_path: Path) -> None:
    if find_spec("cupy") is not None:
        pytest.skip("there is a CuPy")
    store = gpu.Store(tmp_path / "gpu.json", False)
    options = gpu.parsed(["--out", str(tmp_path)])
    gpu.run_cases(options, store, [("rates", "memory")], time.monotonic() + 60)
    assert "got no CuPy" in store.data["failures"][0]["error"]


def worker(monkeypatch: Any, log: Path, text: str) -> gpu.Worker:
    monkeypatch.setattr(gpu.Worker, "command", (sys.executable, "-c", text))
    return gpu.Worker({"some": "orders"}, log)


def test_a_worker_that_says_no_more(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu, "PATIENCE", 1.0)
    monkeypatch.setattr(gpu, "GRACE", 1.0)
    monkeypatch.setattr(gpu, "TICK", 0.1)
    log, until = tmp_path / "log", time.monotonic() + 60
    speak = "import json, sys, time; print(json.dumps({'kind': input()}), flush=True); "
    hung = worker(monkeypatch, log, speak + "time.sleep(60)")
    said = hung.messages(until)
    assert next(said) == {"kind": '{"some": "orders"}'}
    with pytest.raises(TimeoutError, match="silent for"):
        next(said)
    hung.kill()
    assert hung.end() == "the process ended with status -9"
    # A process that is gone, while one that it began still holds its output.
    child = "import subprocess as s; s.Popen([sys.executable, '-c', 'import time; time.sleep(5)'])"
    gone = worker(monkeypatch, log, f"{speak} {child}; sys.exit(7)")
    start = time.monotonic()
    monkeypatch.setattr(gpu, "PATIENCE", 60.0)
    assert len(list(gone.messages(until))) == 1
    assert time.monotonic() - start < 4
    monkeypatch.setattr(gpu, "GRACE", 10.0)
    assert gone.end() == "the process ended with status 7"


def test_tests_are_stopped_in_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    said = gpu.tested([sys.executable, "-c", "print('== 3 passed ==')"], 60, log)
    assert said == "3 passed"
    slow = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('2 passed')"
    start = time.monotonic()
    said = gpu.tested([sys.executable, "-c", slow], 2, tmp_path / "other")
    assert said == "2 passed, stopped after 2 s"
    assert time.monotonic() - start < 20
