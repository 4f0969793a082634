"""The disk cache, the switch, and what happens where llvmlite is missing or fails."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad.codegen import cache, compiler, kernel
from tensorgrad.codegen import kernels as room
from tensorgrad.expr import Formula, call, input

PROGRAM = """
import sys
import numpy as np
from tensorgrad.codegen import compiler, kernel
from tensorgrad.expr import Formula, call, input
compiled = []
plain = compiler.Compiler._compile
compiler.Compiler._compile = lambda s, text: (compiled.append(text), plain(s, text))[1]
f = Formula.trace("f", lambda x: 2 * call("tanh", x), [input("x")])
x = np.linspace(-2, 2, 70)
assert np.allclose(kernel(f, np.float64)(x), 2 * np.tanh(x), rtol=1e-14, atol=0)
print(len(compiled))
"""


def start(place: Path) -> subprocess.Popen[str]:
    env = os.environ | {"XDG_CACHE_HOME": str(place)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def compiled(process: subprocess.Popen[str]) -> int:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return int(out)


def test_processes_share_the_folder(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    assert all(compiled(p) <= 2 for p in both)
    entries = sorted((tmp_path / "tensorgrad" / "kernels").iterdir())
    assert len(entries) == 2
    assert all(e.suffix == ".o" for e in entries)
    assert compiled(start(tmp_path)) == 0
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-9] + b"truncated")
    assert compiled(start(tmp_path)) == 2
    assert compiled(start(tmp_path)) == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "tensorgrad"
    blocked.write_text("a file, no folder")
    assert compiled(start(tmp_path)) == 2
    assert blocked.read_text() == "a file, no folder"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tensorgrad" / "kernels"


def test_entries(place: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    payload = rng.bytes(1000)
    assert cache.read("a") is None
    cache.write("a", payload)
    assert cache.read("a") == payload
    assert [p.name for p in place.iterdir()] == ["a.o"]
    os.rename(place / "a.o", place / "b.o")
    assert cache.read("b") is None, "an entry of another key"
    for damaged in (b"", b"x", payload, (place / "b.o").read_bytes()[:-1]):
        (place / "b.o").write_bytes(damaged)
        assert cache.read("b") is None
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    cache.write("c", payload)
    assert cache.read("c") is None, "an entry of another user"


def test_a_full_disk_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.write("a", b"code")
    assert list(place.iterdir()) == []


def test_the_folder_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 3500)
    for k in range(6):
        cache.write(f"k{k}", bytes(1000))
        os.utime(place / f"k{k}.o", (k, k))
    assert sorted(p.name for p in place.iterdir()) == ["k3.o", "k4.o", "k5.o"]


def test_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == str(Path.home() / ".cache" / "tensorgrad" / "kernels")


def formula(name: str = "f") -> Formula:
    return Formula.trace(name, lambda x: 3 * call("exp", x) - 7, [input("x")])


def test_names_do_not_change_the_key() -> None:
    from tensorgrad.codegen.llvm import function

    texts = [function(formula(name), np.float32) for name in ("f", "another")]
    assert texts[0] != texts[1]
    assert len({compiler.compiler().key(t) for t in texts}) == 1


def test_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG_KERNELS", "0")
    assert kernel(formula(), np.float32) is None
    monkeypatch.setenv("TG_KERNELS", "1")
    assert kernel(formula(), np.float32) is not None


def test_without_llvmlite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    monkeypatch.setattr(room, "KERNELS", room.Kernels())
    monkeypatch.setattr(room, "compiler", compiler.compiler.__wrapped__)
    with pytest.warns(RuntimeWarning, match="llvmlite.*TG_KERNELS=0"):
        assert kernel(formula(), np.float32) is None
    assert kernel(formula(), np.float64) is None, "no second warning"


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KERNELS", room.Kernels())
    monkeypatch.setattr(room, "function", lambda *_: "; no such\ntext")
    with pytest.warns(RuntimeWarning, match="RuntimeError"):
        assert kernel(formula(), np.float32) is None


def test_threads_share_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "KERNELS", room.Kernels())
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(kernel(formula(), np.float64)))
        for _ in range(8)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({id(f) for f in found}) == 1
    assert found[0] is not None


def test_importing_costs_no_llvmlite() -> None:
    code = "import sys, tensorgrad.codegen; assert 'llvmlite' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
