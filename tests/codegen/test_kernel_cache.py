"""The disk cache, the switch, and what happens where llvmlite is missing or fails."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import threading
import time
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
    monkeypatch.setattr(cache, "SLACK", 0)  # every write looks at the folder's size
    return tmp_path / "tensorgrad" / "kernels"


def test_entries(place: Path, rng: np.random.Generator) -> None:
    payload = rng.bytes(1000)
    assert cache.read("a") is None
    cache.write("a", payload)
    assert cache.read("a") == payload
    assert [p.name for p in place.iterdir()] == ["a.o"]
    os.rename(place / "a.o", place / "b.o")
    assert cache.read("b") is None, "an entry of another key"
    whole = (place / "b.o").read_bytes()
    flipped = bytearray(whole)
    flipped[rng.integers(len(whole))] ^= 1
    cuts = [whole[: rng.integers(len(whole))] for _ in range(20)]
    for damaged in (b"", b"x", payload, whole[:-1], whole + b"x", bytes(flipped), *cuts):
        (place / "b.o").write_bytes(damaged)
        assert cache.read("b") is None
    cache.write("b", payload)
    assert cache.read("b") == payload, "a damaged entry is replaced"
    (place / "c.o").mkdir()
    assert cache.read("c") is None
    cache.write("c", payload)
    assert sorted(p.name for p in place.iterdir()) == ["b.o", "c.o"]


def test_entries_that_others_could_have_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write("a", b"code")
    assert (place / "a.o").stat().st_mode & 0o777 == 0o600
    assert place.stat().st_mode & 0o777 == 0o700
    for mode, known in ((0o620, False), (0o602, False), (0o644, True)):
        (place / "a.o").chmod(mode)
        assert (cache.read("a") is not None) == known
    if os.getuid() == 0:
        os.chown(place / "a.o", 12345, 12345)
    else:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache.read("a") is None, "an entry of another user"


@pytest.mark.parametrize("step", ["write", "replace", "scandir"])
def test_a_full_disk_leaves_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "write":
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # the system's own refusal
        try:
            cache.write("a", bytes(5000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    else:
        monkeypatch.setattr(os, step, full)
        cache.write("a", b"code")
    left = [p.name for p in place.iterdir()]
    assert left == (["a.o"] if step == "scandir" else [])


def test_the_folder_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGEST", 3500)
    for k in range(6):
        cache.write(f"k{k}", bytes(1000))
        os.utime(place / f"k{k}.o", (k, k))
    assert sorted(p.name for p in place.iterdir()) == ["k3.o", "k4.o", "k5.o"]
    assert cache.read("k3") is not None, "from now on used last"
    cache.write("k6", bytes(1000))
    assert sorted(p.name for p in place.iterdir()) == ["k3.o", "k5.o", "k6.o"]
    os.rename(place / "k5.o", place / ".k.left.part")
    cache.write("k7", bytes(1000))
    assert sorted(p.name for p in place.iterdir()) == ["k3.o", "k6.o", "k7.o"]


def test_reading_seldom_writes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write("a", b"code")
    for age, noted in ((cache.DAY / 2, False), (cache.DAY * 2, True)):
        then = time.time() - age
        os.utime(place / "a.o", (then, then))
        assert cache.read("a") == b"code"
        assert ((place / "a.o").stat().st_mtime > then + 1) == noted
    os.utime(place / "a.o", (0, 0))

    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", read_only)
    assert cache.read("a") == b"code"


def test_the_size_is_looked_at_now_and_then(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    monkeypatch.setattr(cache, "_trim", looks.append)
    monkeypatch.setattr(cache, "SLACK", 10_000)
    monkeypatch.setattr(cache._Written, "bytes", cache.SLACK)
    counts = []
    for k in range(21):
        cache.write(f"k{k}", bytes(1000))
        counts.append(len(looks))
    assert counts[0] == counts[8] == 1
    assert counts[-1] == 3


def test_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.folder() == str(Path.home() / ".cache" / "tensorgrad" / "kernels")


def test_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME", raising=False)
    assert os.path.isabs(cache.folder() or ""), "the system knows this user's"
    for home in ("", "relative"):
        monkeypatch.setenv("HOME", home)
        found = cache.folder()
        assert found is None or os.path.isabs(found)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache.folder() is None
    cache.write("a", b"code")
    assert cache.read("a") is None
    assert list(tmp_path.iterdir()) == [], "nothing where the program happens to run"


def test_writers_of_one_entry(place: Path) -> None:
    """Processes and threads that write and read the same entries never see a part of one."""
    program = """
import threading, sys
from tensorgrad.codegen import cache
cache.SLACK, cache.LARGEST = 0, 60_000
def work():
    for k in range(60):
        key = f"k{k % 7}"
        cache.write(key, key.encode() * 4000)
        found = cache.read(key)
        assert found in (None, key.encode() * 4000), key
    done.append(1)
done = []
threads = [threading.Thread(target=work) for _ in range(3)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(done) == 3
"""
    running = [
        subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert 0 < sum(p.stat().st_size for p in place.iterdir()) <= 60_000
    assert not list(place.glob(".*")), "no draft stays"


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
