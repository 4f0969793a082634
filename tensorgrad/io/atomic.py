"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tensorgrad._errors import TensorgradError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed and needs no lock
    fcntl = None  # type: ignore[assignment]


class WriteError(TensorgradError, OSError):
    """A file that cannot be written; what stood under its name is untouched."""


# errno: what was met, what the write needs, what to do about it
_CAUSES = {
    errno.ENOSPC: ("no space left", "room for the whole file", "freeing space or another folder"),
    errno.EDQUOT: ("a full quota", "room for the whole file", "freeing space or another folder"),
    errno.EFBIG: ("a size limit", "a file as large as needed", "raising ulimit -f"),
    errno.EIO: ("a device error", "a healthy disk", "another folder"),
    errno.ENOENT: ("a folder that does not exist", "an existing folder", "creating it first"),
    errno.ENOTDIR: ("a file as part of the path", "folders only", "another path"),
    errno.EACCES: ("no permission", "a folder that may be written to", "chmod or another folder"),
    errno.EPERM: ("no permission", "a folder that may be written to", "chmod or another folder"),
    errno.EROFS: ("a read-only disk", "a folder that may be written to", "another folder"),
    errno.ENAMETOOLONG: ("a name that is too long", "a name under 255 bytes", "a shorter name"),
}
# in the caller's block only these can be the fault of this file; others may concern another
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _refusal(target: Path, got: str, want: str, fix: str) -> WriteError:
    return WriteError(f"write {target}: got {got}, expected {want}; try {fix}")


def _explain(target: Path, cause: OSError) -> WriteError:
    unknown = (cause.strerror or str(cause), "a file that can be written", "another folder")
    error = _refusal(target, *_CAUSES.get(cause.errno or 0, unknown))
    error.errno = cause.errno
    return error


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for binary writing so that it changes at once, at the end, or not at all.

    The bytes go to a hidden temporary file in the same folder, which is flushed to the disk and
    renamed when the block ends without an exception. Whatever happens, `path` holds its old
    content or its new one. A hard kill may leave the hidden file; the next write to the same
    name removes it. Raises `WriteError`: no space, not writable, folder missing, not a file.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(f"{folder}/note.txt") as file:
    ...         _ = file.write(b"whole")
    ...     pathlib.Path(folder, "note.txt").read_bytes()
    b'whole'
    """
    target = Path(os.path.realpath(path))
    try:
        _check(target)
        _sweep(target)
        file, temporary = _create(target)
    except WriteError:
        raise
    except OSError as cause:
        raise _explain(target, cause) from cause
    try:
        try:
            yield file
        except OSError as cause:
            if cause.errno in _FULL:
                raise _explain(target, cause) from cause
            raise
        _commit(file, temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):  # closing flushes, and the disk may be full
            file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    file.close()


def _check(target: Path) -> None:
    if target.is_dir():
        raise _refusal(target, "the name of a folder", "the name of a file", "another name")
    if target.exists() and not target.is_file():
        raise _refusal(target, "a device or pipe", "the name of a file", "another name")
    if target.exists() and not os.access(target, os.W_OK):
        raise _refusal(target, "a read-only file", "a writable file", "chmod u+w or another name")


def _hidden(target: Path) -> str:
    return f".{target.name[:60]}."  # with the rest under the 255 bytes that file systems allow


def _create(target: Path) -> tuple[BinaryIO, Path]:
    """A new temporary file beside `target`, locked for as long as it is open."""
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    while True:
        temporary = target.parent / f"{_hidden(target)}{secrets.token_hex(4)}.tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        file = os.fdopen(os.open(temporary, flags, 0o666), "w+b")
        with contextlib.suppress(OSError):  # a file system without locks: nothing is swept there
            _lock(file, wait=True)
        if temporary.exists():  # else another writer swept it between its creation and its lock
            break
        file.close()
    if mode is not None and hasattr(os, "fchmod"):
        os.fchmod(file.fileno(), mode)
    return file, temporary


def _lock(file: BinaryIO, wait: bool) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _sweep(target: Path) -> None:
    """Remove what killed writers of the same name left: the files that nobody holds."""
    for stale in target.parent.glob(glob.escape(_hidden(target)) + "????????.tmp"):
        with contextlib.suppress(OSError):
            if fcntl is None:
                stale.unlink()
                continue
            with open(stale, "rb") as file:
                _lock(file, wait=False)
                stale.unlink()


def _commit(file: BinaryIO, temporary: Path, target: Path) -> None:
    try:
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":  # Windows renames closed files only
            file.close()
        os.replace(temporary, target)
    except OSError as cause:
        raise _explain(target, cause) from cause
    # some file systems cannot flush a folder; the file is whole either way
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
