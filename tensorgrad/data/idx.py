"""IDX, the format of MNIST: two zero bytes, a dtype code, the number of axes, their sizes, data.

All numbers are big-endian. LeCun, Cortes and Burges, The MNIST database, 1998.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tensorgrad.data._bad import bad, listed, place, read_bytes
from tensorgrad.data.dataset import Array, Dataset
from tensorgrad.data.targets import Wish, make_target

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

_GZIP = b"\x1f\x8b"
_NAME = re.compile(
    r"(?P<set>.*?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-\w+(\.gz)?"
)
IDX_NAME = re.compile(r"[-.]idx\d-")  # how one file of this format is known without its suffix
_BRIGHTEST = 255


def read_idx(path: str) -> Array:
    """Read one IDX file, gzipped or not, in native byte order.

    Raises `DataError` for a wrong magic number, a file that is too short or too long, broken gzip.
    """
    raw = _inflate(path, read_bytes(path))
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in DTYPES:
        raise bad(
            path,
            f"magic number 0x{raw[:4].hex()}" if raw else "an empty file",
            "0x0000 and an IDX dtype",
            "another file",
        )
    axes, dtype = raw[3], np.dtype(DTYPES[raw[2]])
    start = 4 + 4 * axes
    if len(raw) < start:
        raise _length(path, len(raw), start)
    shape = struct.unpack(f">{axes}I", raw[4:start])
    size = start + dtype.itemsize
    for extent in shape:  # Python's integers: a damaged header must not overflow
        size = start + (size - start) * extent
    if len(raw) != size:
        raise _length(path, len(raw), size)
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_idx_folder(path: str, wish: Wish | None = None) -> Dataset:
    """Read a folder of train-images, train-labels and, when there, t10k-images, t10k-labels.

    Bytes become float32 from 0 to 1; the t10k pair becomes `.test`. Raises `DataError` for files
    that are missing, damaged or do not match, and for test labels that training never shows.
    """
    found = _find(path)
    for what in ("images", "labels"):
        if ("train", what) not in found:
            raise bad(
                path,
                f"no train-{what} file among {listed(sorted(_names(path))) or 'no files'}",
                "MNIST-format names, as train-images-idx3-ubyte",
                "renaming the files",
            )
    data = _pair(path, found, "train", wish or Wish())
    if ("t10k", "images") in found and ("t10k", "labels") in found:
        known = replace(wish or Wish(), task=data.task, classes=data.classes)
        test = _pair(path, found, "t10k", known)
        if test.x.shape[1:] != data.x.shape[1:]:
            raise bad(
                found["t10k", "images"],
                f"images of {test.x.shape[1:]}",
                f"{data.x.shape[1:]} as in training",
                "one size for both",
            )
        data = replace(data, test=test)
    return data


def read_idx_features(path: str) -> Array:
    """The images to predict on: one IDX file, or a folder's t10k images, else its train images."""
    if not Path(path).is_dir():
        return _images(path)
    found = _find(path)
    images = found.get(("t10k", "images")) or found.get(("train", "images"))
    if images is None:
        raise bad(
            path,
            f"no images among {listed(sorted(_names(path))) or 'no files'}",
            "a file named as t10k-images-idx3-ubyte",
            "renaming the files",
        )
    return _images(images)


def _inflate(path: str, raw: bytes) -> bytes:
    # by content, not by suffix: browsers unpack .gz and keep the name
    if not raw.startswith(_GZIP):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, OSError, zlib.error) as cause:
        raise bad(path, f"broken gzip ({cause})", "a whole file", "downloading it again") from cause


def _length(path: str, got: int, want: int) -> Exception:
    truth = "a truncated file" if got < want else "too long a file"
    return bad(path, f"{truth} ({got} bytes)", f"{want} bytes", "downloading it again")


def _names(path: str) -> list[str]:
    try:
        return [one.name for one in Path(path).iterdir()]
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise bad(path, reason, "a readable folder", "another path") from cause


@dataclass(frozen=True)
class _File:
    prefix: str
    path: str


def _find(path: str) -> dict[tuple[str, str], str]:
    """The file of each (train or t10k, images or labels); plain before gzipped."""
    found: dict[tuple[str, str], _File] = {}
    for name in sorted(_names(path)):  # "a" sorts before "a.gz"
        match = _NAME.fullmatch(name)
        if match is None:
            continue
        key = ("train" if match["part"] == "train" else "t10k", match["what"])
        file = _File(match["set"], str(Path(path, name)))
        if found.setdefault(key, file).prefix != file.prefix:
            raise bad(
                path,
                f"two sets, {Path(found[key].path).name} and {name}",
                "one set a folder",
                "moving one away",
            )
    return {key: file.path for key, file in found.items()}


def _images(path: str) -> Array:
    x = read_idx(path)
    if x.ndim < 2 or x.size == 0:
        raise bad(path, f"an array of shape {x.shape}", "images (N, ...)", "another file")
    if x.dtype == np.uint8:
        return x.astype(np.float32) / np.float32(_BRIGHTEST)
    x = x.astype(np.float64 if x.dtype.itemsize > 4 or x.dtype == np.int32 else np.float32)
    wrong = np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(1))
    if len(wrong):
        raise bad(
            place(path, int(wrong[0]) + 1),
            "a value that is NaN or infinite",
            "finite numbers",
            "removing the row",
        )
    return x


def _pair(path: str, found: dict[tuple[str, str], str], part: str, wish: Wish) -> Dataset:
    images, labels = found[part, "images"], found[part, "labels"]
    x, y = _images(images), read_idx(labels)
    if y.ndim != 1 or len(y) != len(x):
        raise bad(
            labels,
            f"labels of shape {y.shape}",
            f"{len(x)}, one for each image of {Path(images).name}",
            "downloading both again",
        )
    asked = wish.task or ("regression" if y.dtype.kind == "f" else "classification")
    made = make_target(
        y,
        replace(wish, task=asked),
        lambda row, _: place(labels, None if row is None else row + 1),
    )
    return Dataset(x, made.y, made.task, made.classes, name=Path(path).resolve().name)
