"""Compiled kernels on disk, found by their content; every failure to read or write is silent."""

from __future__ import annotations

import contextlib
import os
import time

LARGEST = 64 * 2**20
"""Bytes that the folder may hold; beyond it the entries used longest ago are deleted."""

SLACK = LARGEST // 32
"""Bytes that a process writes before it looks at the folder's size again."""

DAY = 86400.0
"""Seconds between two notes that an entry is in use: reading seldom writes."""

_MAGIC = b"tensorgrad kernel 1\n"
_HASH = 32


class _Written:
    """What this process wrote since it last looked at the folder's size."""

    bytes = SLACK  # the first write looks


def folder() -> str | None:
    """`$XDG_CACHE_HOME/tensorgrad/kernels`, by default under ~/.cache; None without a home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    # Without a home there is none: a path that depends on where the program runs is no place.
    return os.path.join(root, "tensorgrad", "kernels") if os.path.isabs(root) else None


def read(key: str) -> bytes | None:
    """The entry of that key; None where it is missing, damaged, or open to another user."""
    place = folder()
    if place is None:
        return None
    path = os.path.join(place, f"{key}.o")
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read() if _ours(found) and found.st_size <= LARGEST else b""
    except OSError:
        return None
    start = len(_MAGIC) + _HASH
    payload = data[start:]
    if data[:start] != _MAGIC + _mark(key, payload):
        return None
    if time.time() - found.st_mtime > DAY:
        with contextlib.suppress(OSError):
            os.utime(path)
    return payload


def write(key: str, payload: bytes) -> None:
    """Stores an entry whole or not at all."""
    place = folder()
    if place is None:
        return
    data = _MAGIC + _mark(key, payload) + payload
    # Writers never share a temporary file, not even on two machines that share the folder.
    draft = os.path.join(place, f".{key}.{os.urandom(8).hex()}.part")
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        with open(draft, "xb", opener=_private) as file:
            file.write(data)
        os.replace(draft, os.path.join(place, f"{key}.o"))
        _Written.bytes += len(data)
        if _Written.bytes >= SLACK:
            _Written.bytes = 0
            _trim(place)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(draft)


def _ours(found: os.stat_result) -> bool:
    """Native code is run: nobody else may have put it there, or may change it."""
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _mark(key: str, payload: bytes) -> bytes:
    from hashlib import sha256  # late: for import time

    return sha256(key.encode() + payload).digest()


def _trim(place: str) -> None:
    """Deletes the entries used longest ago until the folder, and what comes next, is within it."""
    entries = []
    with os.scandir(place) as found:
        for entry in found:
            # Another process may delete or rename any of them meanwhile.
            with contextlib.suppress(OSError):
                stat = entry.stat(follow_symlinks=False)
                entries.append((stat.st_mtime_ns, stat.st_size, entry.path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= LARGEST - SLACK:
            break
        with contextlib.suppress(OSError):
            os.unlink(path)
        total -= size
