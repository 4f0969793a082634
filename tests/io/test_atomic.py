"""A write changes a file whole or not at all, whatever interrupts it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad.io import WriteError, atomic_write, load_file

WRITER = """
import sys, numpy as np
from tensorgrad.io import save_file
k = 0
print("ready", flush=True)
while True:
    k += 1
    save_file({"a": np.full(300_000, k), "b": np.full((3, 7), float(k))}, sys.argv[1])
"""

LIMITED = """
import resource, sys, numpy as np
sys.dont_write_bytecode = True  # Python would keep the first bytes of a module, and read them
from tensorgrad.io import WriteError, save_file
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_file({"a": np.zeros(1_000_000)}, sys.argv[1])
except WriteError as error:
    print(error)
"""


def write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def test_new_file_and_replacement(tmp_path: Path) -> None:
    target = tmp_path / "a [1].bin"
    write(target, b"one")
    write(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), OSError(2, "other")])
def test_an_exception_in_the_block_leaves_the_old_file(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "a.bin"
    write(target, b"old")

    def interrupted() -> None:
        with atomic_write(target) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)) as caught:
        interrupted()
    assert caught.value is error
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def full(*args: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    target = tmp_path / "a.bin"
    write(target, b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(WriteError) as caught:
        write(target, b"new")
    assert str(caught.value) == (
        f"write {target}: got no space left, expected room for the whole file; "
        f"try freeing space or another folder"
    )
    assert caught.value.errno == errno.ENOSPC
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_write_that_the_system_cuts_short(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"m{suffix}"
    target.write_bytes(b"old")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(target)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"write {target}: got a size limit, expected a file as large as needed; "
        f"try raising ulimit -f\n"
    )
    assert done.stderr == ""
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_killed_in_the_middle_of_saves_the_file_always_loads(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    target, seen = tmp_path / "m.safetensors", 0
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(2000):
            if target.exists():
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.15))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        arrays = load_file(target)
        seen = int(arrays["a"][0])
        assert (arrays["a"] == seen).all()
        assert (arrays["b"] == seen).all()
        assert arrays["a"].shape == (300_000,)
    (tmp_path / ".m.safetensors.0123abcd.tmp").write_bytes(b"left by a killed writer")
    write(target, b"new")
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX locks")
def test_a_writer_at_work_is_not_swept_by_another(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with atomic_write(target) as slow:
        slow.write(b"slow")
        write(target, b"quick")
        assert target.read_bytes() == b"quick"
    assert target.read_bytes() == b"slow"


def test_many_threads_write_one_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    contents = [bytes([k]) * 50_000 for k in range(8)]
    threads = [threading.Thread(target=write, args=(target, one)) for one in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() in contents
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_mode_and_link_are_kept(tmp_path: Path) -> None:
    target, link = tmp_path / "a.bin", tmp_path / "link.bin"
    write(target, b"old")
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    target.chmod(0o640)
    link.symlink_to(target)
    write(link, b"new")
    assert target.read_bytes() == b"new"
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640


def test_refusals_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cases = {
        tmp_path: "the name of a folder, expected the name of a file; try another name",
        tmp_path / "no" / "a": "a folder that does not exist, expected an existing folder; "
        "try creating it first",
        tmp_path / "file" / "a": "a file as part of the path, expected folders only; "
        "try another path",
        tmp_path / ("n" * 300): "a name that is too long, expected a name under 255 bytes; "
        "try a shorter name",
    }
    for path, text in cases.items():
        with pytest.raises(WriteError) as caught:
            write(path, b"")
        assert str(caught.value) == f"write {path}: got {text}"


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="POSIX devices")
def test_a_device_is_refused() -> None:
    with pytest.raises(WriteError, match=r"^write /dev/null: got a device or pipe, expected "):
        write(Path("/dev/null"), b"")
    assert not Path("/dev/null").is_file()


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.bin"
    write(target, b"old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anything
    with pytest.raises(WriteError) as caught:
        write(target, b"new")
    assert str(caught.value) == (
        f"write {target}: got a read-only file, expected a writable file; "
        f"try chmod u+w or another name"
    )
    assert target.read_bytes() == b"old"


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(WriteError) as caught:
        write(tmp_path / "a.bin", b"new")
    monkeypatch.undo()
    assert str(caught.value) == (
        f"write {tmp_path / 'a.bin'}: got no permission, expected a folder that may be "
        f"written to; try chmod or another folder"
    )
