"""Named arrays in one file: `.safetensors` and `.npz`, never pickle."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DataError, DTypeError
from tensorgrad.io.atomic import atomic_write

PathLike = str | os.PathLike[str]
Arrays = dict[str, np.ndarray[Any, Any]]
Metadata = dict[str, str]
_T = TypeVar("_T")

_RESERVED = "__metadata__"  # the entry in which both formats keep what is no tensor


@dataclass(frozen=True)
class _Format:
    """How one suffix is written and read; `names` are the dtypes it can hold."""

    names: tuple[str, ...]
    write: Callable[[BinaryIO, Arrays, Metadata], None]
    read: Callable[[Path], Arrays]
    read_metadata: Callable[[Path], Metadata]


def save_file(
    tensors: Mapping[str, Any], path: PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays, and texts about them, to a `.safetensors` or `.npz` file.

    A value is an array or anything with `.numpy()`. The file is replaced whole or not at all, and
    holds a CRC-32 of its bytes.
    Raises `DTypeError` for a dtype the format cannot hold (complex in safetensors), `DataError`
    for names or metadata that it cannot hold, `WriteError` when the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_file({"weight": np.ones((2, 3))}, f"{folder}/m.safetensors", {"epoch": "7"})
    ...     load_file(f"{folder}/m.safetensors")["weight"].shape
    (2, 3)
    """
    shown, form = f"save_file {os.fspath(path)}", _format("save_file", path)
    texts = dict(metadata or {})
    for key, text in texts.items():
        if not (isinstance(key, str) and isinstance(text, str)):
            raise DataError(
                f"{shown}: got metadata {key!r}: {text!r}, expected texts only; try str() or json"
            )
    arrays = {name: _array(shown, form, name, value) for name, value in tensors.items()}
    with atomic_write(path) as file:
        form.write(file, arrays, texts)


def load_file(path: PathLike) -> Arrays:
    """Read every array of a `.safetensors` or `.npz` file; the arrays are new and writable.

    The CRC-32 of a file that `save_file` wrote is compared; a safetensors file from elsewhere has
    none. Raises `DataError` naming the file when it is missing, truncated, damaged or holds
    objects.
    """
    return _guarded("load_file", path, _format("load_file", path).read)


def load_metadata(path: PathLike) -> Metadata:
    """Read the texts that `save_file` was given beside the arrays; raises as `load_file`.

    The arrays of a safetensors file are not read, and so are not checked either.
    """
    return _guarded("load_metadata", path, _format("load_metadata", path).read_metadata)


def _format(op: str, path: PathLike) -> _Format:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise DataError(
            f"{op} {os.fspath(path)}: got suffix {suffix!r}, expected one of "
            f"{' '.join(_FORMATS)}; try {Path(path).with_suffix('.safetensors').name}"
        )
    return _FORMATS[suffix]


def _guarded(op: str, path: PathLike, read: Callable[[Path], _T]) -> _T:
    """Run a reader; whatever a damaged file makes it raise becomes one line naming the file."""
    shown, suffix = f"{op} {os.fspath(path)}", Path(path).suffix.lower()
    try:
        return read(Path(path))
    except FileNotFoundError as cause:
        raise DataError(
            f"{shown}: got no such file, expected an existing one; try another path"
        ) from cause
    except (PermissionError, IsADirectoryError) as cause:
        raise DataError(
            f"{shown}: got {str(cause.strerror).lower()}, expected a readable file; "
            f"try chmod u+r or another path"
        ) from cause
    except Exception as cause:
        reason = " ".join(str(cause).split()) or type(cause).__name__
        raise DataError(
            f"{shown}: got a truncated or damaged file ({reason}), expected a whole "
            f"{suffix} file; try another copy or save it again"
        ) from cause


def _array(shown: str, form: _Format, name: object, value: Any) -> np.ndarray[Any, Any]:
    if not isinstance(name, str) or name in ("", _RESERVED):
        raise DataError(f"{shown}: got tensor name {name!r}, expected a text; try a plain name")
    if not isinstance(value, np.ndarray) and hasattr(value, "numpy"):
        value = value.numpy()
    array = np.asarray(value, order="C")
    if array.dtype.name not in form.names:
        raise DTypeError(
            f"{shown}: got tensor {name!r} of dtype {array.dtype.name}, expected one of "
            f"{' '.join(form.names)}; try {_remedy(array)}"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _remedy(array: np.ndarray[Any, Any]) -> str:
    return "a .npz file, or its real and imag parts" if array.dtype.kind == "c" else "numbers"


_KEY = "tensorgrad.crc32"


def _checksum(arrays: Arrays, metadata: Metadata) -> str:
    """CRC-32 of texts, names, dtypes, shapes and bytes."""
    found = zlib.crc32(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found = zlib.crc32(f"{name} {array.dtype.name} {array.shape}".encode(), found)
        found = zlib.crc32(array.reshape(-1).view(np.uint8).data, found)
    return f"{found:08x}"


def _write_safetensors(file: BinaryIO, arrays: Arrays, metadata: Metadata) -> None:
    from safetensors.numpy import save

    texts = {key: text for key, text in metadata.items() if key != _KEY}
    raw = save(arrays, metadata={**texts, _KEY: _checksum(arrays, texts)})
    # It orders the texts by chance; equal contents are to give equal files.
    stop = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:stop])
    header[_RESERVED] = dict(sorted(header[_RESERVED].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    file.write(memoryview(raw)[stop:])


def _read_safetensors(path: Path) -> Arrays:
    import ml_dtypes  # noqa: F401  (safetensors takes bfloat16 from it)
    from safetensors import safe_open

    path.open("rb").close()  # Python's own error for a folder or a file without permission
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata() or {})
    written = metadata.pop(_KEY, None)
    if written is not None and written != (found := _checksum(arrays, metadata)):
        raise ValueError(
            f"its checksum is {found}, {written} when it was written; if another program changed "
            "it on purpose, take safetensors' own load_file"
        )
    return arrays


def _safetensors_metadata(path: Path) -> Metadata:
    from safetensors import safe_open

    path.open("rb").close()
    with safe_open(path, framework="numpy") as file:
        found = dict(file.metadata() or {})
    found.pop(_KEY, None)
    return found


def _write_npz(file: BinaryIO, arrays: Arrays, metadata: Metadata) -> None:
    # np.savez takes names as keyword arguments, so "file" could not be one; and NumPy stores
    # bfloat16 as a void type, so its bits go in as uint16 and its names beside the metadata
    bits = [name for name, array in arrays.items() if array.dtype.name == "bfloat16"]
    entries = {name: a.view(np.uint16) if name in bits else a for name, a in arrays.items()}
    if metadata or bits:
        note = json.dumps({"metadata": metadata, "bfloat16": bits})
        entries[_RESERVED] = np.frombuffer(note.encode(), np.uint8)
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in entries.items():
            info = zipfile.ZipInfo(name + ".npy")  # no date: equal arrays give equal bytes
            with archive.open(info, "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def _read_npz(path: Path) -> Arrays:
    arrays, note = _npz_entries(path, metadata_only=False)
    for name in note["bfloat16"]:
        arrays[name] = arrays[name].view(dtypes.bfloat16())
    return arrays


def _npz_metadata(path: Path) -> Metadata:
    return dict(_npz_entries(path, metadata_only=True)[1]["metadata"])


def _npz_entries(path: Path, metadata_only: bool) -> tuple[Arrays, dict[str, Any]]:
    with open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("one bare array, no archive")
        with archive:
            raw = archive[_RESERVED].tobytes() if _RESERVED in archive.files else b""
            names = [] if metadata_only else [n for n in archive.files if n != _RESERVED]
            arrays = {name: archive[name] for name in names}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"entry {name!r} is no array")
    return arrays, json.loads(raw) if raw else {"metadata": {}, "bfloat16": []}


_REAL = tuple(name for name in dtypes.NAMES if not name.startswith("complex"))
_FORMATS = {
    ".safetensors": _Format(_REAL, _write_safetensors, _read_safetensors, _safetensors_metadata),
    ".npz": _Format(dtypes.NAMES, _write_npz, _read_npz, _npz_metadata),
}
