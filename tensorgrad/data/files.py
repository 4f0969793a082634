"""Reading whole files, with one line of explanation when that fails."""

from __future__ import annotations

from pathlib import Path

from tensorgrad.data._bad import bad


def read_bytes(path: str) -> bytes:
    """The content of a file; `DataError` when it is missing or not readable."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as cause:
        raise bad(path, "no such file", "an existing one", "another path") from cause
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise bad(path, reason, "a readable file", "chmod u+r or another path") from cause
