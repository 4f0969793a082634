"""Every figure of one GPU: `python benchmarks/gpu.py`, or `benchmarks/gpu.sh`.

First the test suite in short, then the sections of `gpu_cases.py`, in a process of their own that
is replaced when it dies or hangs. All of it ends within `--seconds`; what did not fit says so. The
table is printed, and the JSON is on disk after every case: in $OUT, or else under
benchmarks/results/. `--stand-in --tiny` runs the same without a GPU, on the stand-in for CuPy and
the peers on the CPU: values are compared, times mean nothing, nothing is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] != str(ROOT):
    sys.path.insert(0, str(ROOT))
ENVIRON = dict(os.environ)  # before the package sets what is for the CPU alone

from benchmarks import gpu_cases, gpu_table  # noqa: E402

TESTS = ("tests/cuda", "tests/ops")
PACKAGES = "numpy cupy-cuda13x cupy-cuda12x cupy torch jax triton nvidia-cublas ml_dtypes".split()
PATIENCE = 100.0
"""Seconds without a word after which a process is taken for hung."""

RESTARTS, TICK = 8, 0.5
GRACE = 10.0
"""Seconds that a process has to end once it is asked to."""


# -- what is kept --------------------------------------------------------------------------------


class Store:
    """The result so far, on disk after every change."""

    def __init__(self, path: Path, stand_in: bool) -> None:
        self.path = path
        self.data: dict[str, Any] = {
            "stand_in": stand_in,
            "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "driver": _driver(),
            "versions": _versions(),
            "machine": {},
            "facts": {},
            "tests": [],
            "rows": [],
            "seconds": {},
            "failures": [],
            "not_run": [],
            "complete": False,
        }
        self._place: dict[tuple[str, str, str], int] = {}

    def row(self, message: dict[str, Any]) -> None:
        """Add a row, or replace what was known of it."""
        key = (message["section"], message["case"], message["name"])
        self.data["facts"].update(message["facts"])
        place = self._place.setdefault(key, len(self.data["rows"]))
        self.data["rows"][place:] = [message, *self.data["rows"][place + 1 :]]
        self.flush()

    def flush(self) -> None:
        draft = self.path.with_suffix(".part")
        draft.write_text(json.dumps(self.data, indent=1, default=float), encoding="utf-8")
        os.replace(draft, self.path)

    @property
    def good(self) -> bool:
        """Whether nothing failed and nothing was wrong."""
        rows, said = self.data["rows"], [test["summary"] for test in self.data["tests"]]
        bad = [row for row in rows if row.get("error") or row.get("wrong")]
        bad += [summary for summary in said if re.search(r"\d (failed|error)", summary)]
        return not bad and not self.data["failures"]


def _driver() -> str:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "not known"
    return "; ".join(found.stdout.split("\n")).strip("; ")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def destination(options: argparse.Namespace) -> Path:
    """Where the JSON goes; its folder is made."""
    if options.out:
        folder, stem = Path(options.out), "gpu"
    elif options.stand_in:
        folder, stem = Path(tempfile.mkdtemp(prefix="tensorgrad-gpu-")), "gpu"
    elif os.environ.get("OUT"):
        folder, stem = Path(os.environ["OUT"]), "gpu"
    else:
        gpu = re.sub(r"[^a-z0-9]+", "-", _driver().partition(",")[0].lower()).strip("-")
        folder, stem = ROOT / "benchmarks" / "results", f"{gpu}-{time.strftime('%Y-%m-%d')}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{stem}.json"


# -- tests ---------------------------------------------------------------------------------------


def tested(command: Sequence[str], limit: float, log: Path) -> str:
    """Run tests for at most so many seconds, what they print in the log; their last line."""
    with log.open("a", encoding="utf-8") as file:
        child = subprocess.Popen(
            command, cwd=ROOT, env=ENVIRON, stdout=file, stderr=file, start_new_session=True
        )
        late = ""
        for ask in (None, signal.SIGINT, signal.SIGKILL):
            if ask is not None:
                os.killpg(child.pid, ask)
                late = f", stopped after {limit:.0f} s"
            try:
                child.wait(GRACE if ask else limit)
                break
            except subprocess.TimeoutExpired:
                continue
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return (said[-1].strip("= ") if said else "nothing was said") + late


def run_tests(options: argparse.Namespace, store: Store, seconds: float) -> None:
    backend = "stand-in" if options.stand_in else "cuda"
    for what in options.tests:
        log = store.path.with_name(f"{store.path.stem}-{what.strip('/').replace('/', '-')}.log")
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "pytest", "--backend", backend, "-q", "--maxfail=30"]
        command += ["-p", "no:cacheprovider", what]
        start = time.monotonic()
        summary = tested(command, seconds / len(options.tests), log)
        taken = time.monotonic() - start
        store.data["tests"].append({"what": what, "summary": summary, "seconds": taken})
        print(f"tests {what}: {summary}", flush=True)
        store.flush()


# -- cases ---------------------------------------------------------------------------------------


class Worker:
    """The process that runs cases; see `gpu_worker.py`."""

    command = (sys.executable, "-m", "benchmarks.gpu_worker")

    def __init__(self, orders: dict[str, Any], log: Path) -> None:
        self._log = log.open("a", encoding="utf-8")
        self._child = subprocess.Popen(
            self.command,
            cwd=ROOT,
            env={**ENVIRON, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
        )
        self._said: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        assert self._child.stdin
        try:
            self._child.stdin.write(json.dumps(orders) + "\n")
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it died at once: its end says so

    def _listen(self) -> None:
        assert self._child.stdout
        for line in self._child.stdout:
            self._said.put(line)
        self._said.put(None)

    def messages(self, until: float) -> Iterator[dict[str, Any]]:
        """What it says, until it ends; raises TimeoutError when it is silent for too long."""
        heard, dead = time.monotonic(), False
        while True:
            try:
                line = self._said.get(timeout=TICK)
            except queue.Empty:
                if dead:  # a child of its own may hold the pipe open
                    return
                dead = self._child.poll() is not None
                silent = time.monotonic() - heard
                if silent > min(PATIENCE, max(until - heard, 0.0) + GRACE):
                    raise TimeoutError(f"silent for {silent:.0f} s, and stopped") from None
                continue
            message = {"kind": "done"} if line is None else json.loads(line)
            if message["kind"] == "done":
                return
            heard = time.monotonic()
            yield message

    def end(self) -> str:
        """Stop it if it still runs; how it ended."""
        try:
            status = self._child.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            status = self._child.wait()
        self._listener.join(GRACE)
        if self._child.stdout and not self._listener.is_alive():
            self._child.stdout.close()
        self._log.close()
        return f"the process ended with status {status}"

    def kill(self) -> None:
        self._child.kill()


def run_cases(
    options: argparse.Namespace, store: Store, cases: list[tuple[str, str]], until: float
) -> None:
    """Run the cases in one process after the other, as few as there must be."""
    log = store.path.with_name(f"{store.path.stem}-cases.log")
    log.unlink(missing_ok=True)
    waiting = list(cases)
    for _ in range(RESTARTS):
        if not waiting or time.monotonic() > until:
            break
        orders = {
            "cases": waiting,
            "tiny": options.tiny,
            "stand_in": options.stand_in,
            "facts": store.data["facts"],
            "seconds": until - time.monotonic(),
        }
        worker, failure = Worker(orders, log), ""
        current: tuple[str, str] | None = None
        try:
            for message in worker.messages(until):
                current = _heard(message, store, waiting, current)
        except TimeoutError as error:
            failure = "the time was over" if time.monotonic() > until else str(error)
            worker.kill()
        ending = worker.end()
        if current is None and not failure and store.data["machine"]:
            continue  # it ended between two cases, or at the end
        lost = current or waiting[0]
        waiting[:] = [case for case in waiting if case != lost]
        _failed(store, lost, failure or f"{ending}: {_last_words(log)}")
        if not store.data["machine"]:
            break  # there is no GPU to begin with
    store.data["not_run"] = [": ".join(case) for case in waiting]
    store.flush()


def _heard(
    message: dict[str, Any],
    store: Store,
    waiting: list[tuple[str, str]],
    current: tuple[str, str] | None,
) -> tuple[str, str] | None:
    """Take a message in; the case that runs now."""
    kind = message.pop("kind")
    if kind == "machine":
        store.data["machine"] = message["machine"]
    elif kind == "row":
        store.row(message)
    elif kind == "begin":
        current = (message["section"], message["case"])
        print(f"{current[0]}: {current[1]}", flush=True)
    elif kind == "end":
        done = (message["section"], message["case"])
        waiting[:] = [case for case in waiting if case != done]
        store.data["seconds"][": ".join(done)] = message["seconds"]
        if message["error"]:
            _failed(store, done, message["error"])
        current = None
    store.flush()
    return current


def _failed(store: Store, case: tuple[str, str], why: str) -> None:
    print(f"FAILED {case[0]}, {case[1]}: {why}", flush=True)
    store.data["failures"].append({"section": case[0], "case": case[1], "error": why})
    store.flush()


def _last_words(log: Path) -> str:
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return said[-1][:300] if said else "it said nothing"


# -- the whole -----------------------------------------------------------------------------------


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__)
    parser.add_argument("--stand-in", action="store_true", help="on the stand-in for a GPU")
    parser.add_argument("--tiny", action="store_true", help="sizes that show nothing but errors")
    parser.add_argument("--seconds", type=float, default=515.0, help="time for all of it")
    parser.add_argument("--only", metavar="REGEX", default="", help="cases named 'section: case'")
    parser.add_argument("--tests", nargs="*", metavar="PATH", default=None, help="tests to run")
    parser.add_argument("--out", metavar="FOLDER", help="where JSON, table and logs go")
    parser.add_argument("--list", action="store_true", help="name the cases, and end")
    options = parser.parse_args(arguments)
    if options.tests is None:
        options.tests = [] if options.stand_in or options.only else list(TESTS)
    options.tiny = options.tiny or options.stand_in
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parsed(arguments)
    until = time.monotonic() + options.seconds
    cases = [(case.section, case.name) for case in gpu_cases.cases()]
    cases = [case for case in cases if re.search(options.only, ": ".join(case))]
    if options.list:
        print("\n".join(map(": ".join, cases)))
        return 0
    store = Store(destination(options), options.stand_in)
    store.flush()
    run_tests(options, store, 0.22 * options.seconds)
    run_cases(options, store, cases, until)
    store.data["complete"] = True
    store.flush()
    text = "\n".join(gpu_table.lines(store.data))
    store.path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\n{store.path}")
    return 0 if store.good else 1


if __name__ == "__main__":
    sys.exit(main())
