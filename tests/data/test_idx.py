"""IDX files, the format of MNIST: every dtype, every name in use, every way to be broken."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import DataError
from tensorgrad.data import load, load_features, read_idx
from tensorgrad.data.idx import DTYPES


def encode(array: np.ndarray[Any, Any], code: int) -> bytes:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return head + array.astype(DTYPES[code]).tobytes()


IMAGES = (np.arange(6 * 2 * 3) * 7).reshape(6, 2, 3) % 256
LABELS = np.array([0, 1, 2, 2, 1, 0])


def folder(
    path: Path, form: str = "{part}-{what}-idx{axes}-ubyte", zipped: bool = False, **spoil: bytes
) -> Path:
    path.mkdir(exist_ok=True)
    for part, rows in (("train", 6), ("t10k", 3)):
        for what, array in (("images", IMAGES), ("labels", LABELS)):
            name = form.format(part=part, what=what, axes=array.ndim)
            raw = spoil.get(f"{part}_{what}", encode(array[:rows], 0x08))
            (path / name).write_bytes(gzip.compress(raw) if zipped else raw)
    return path


@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("zipped", [False, True])
def test_every_dtype(tmp_path: Path, rng: np.random.Generator, code: int, zipped: bool) -> None:
    array = rng.integers(0, 100, (3, 4, 5)).astype(DTYPES[code])
    raw = encode(array, code)
    path = tmp_path / "a-idx3-x.gz"  # what is zipped is seen from the content, not the name
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    found = read_idx(str(path))
    assert found.dtype == array.dtype.newbyteorder("=")
    assert found.dtype.isnative
    assert np.array_equal(found, array)
    assert found.flags.writeable


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        "{part}-{what}-idx{axes}-ubyte",
        "{part}-{what}.idx{axes}-ubyte",
        "emnist-letters-{part}-{what}-idx{axes}-ubyte",
    ],
)
def test_folders(tmp_path: Path, form: str, zipped: bool) -> None:
    path = folder(tmp_path / "mnist", form + (".gz" if zipped else ""), zipped)
    (path / "README.txt").write_text("beside the files")
    data = load(path)
    assert (data.name, data.task, data.classes) == ("mnist", "classification", ("0", "1", "2"))
    assert data.x.dtype == np.float32
    assert np.array_equal(data.x, IMAGES.astype(np.float32) / np.float32(255))
    assert data.y.tolist() == LABELS.tolist()
    assert data.test is not None
    assert data.test.y.tolist() == [0, 1, 2]
    assert np.array_equal(load_features(path), data.test.x)
    one = next(path.glob("*train-images*"))
    assert np.array_equal(load_features(one), data.x)


def test_a_folder_without_test_files(tmp_path: Path) -> None:
    path = folder(tmp_path / "mnist")
    for file in path.glob("t10k*"):
        file.unlink()
    data = load(path)
    assert data.test is None
    assert np.array_equal(load_features(path), data.x)


def test_the_plain_file_goes_before_the_zipped(tmp_path: Path) -> None:
    path = folder(tmp_path / "mnist")
    (path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bbroken")
    assert len(load(path)) == 6


def message(path: Path, call: Any = load) -> str:
    with pytest.raises(DataError) as caught:
        call(path if call is load else str(path))
    return str(caught.value)


def test_every_truncation_is_named(tmp_path: Path) -> None:
    whole, path = encode(IMAGES, 0x08), tmp_path / "a-idx3-ubyte"
    assert len(whole) == 52
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size == 0:
            text = "an empty file, expected 0x0000 and an IDX dtype; try another file"
        elif size < 4:
            text = f"magic number 0x{whole[:size].hex()}, expected 0x0000 and an IDX dtype; "
            text += "try another file"
        else:
            want = 16 if size < 16 else 52
            text = f"a truncated file ({size} bytes), expected {want} bytes; "
            text += "try downloading it again"
        assert message(path, read_idx) == f"{path}: got {text}"
    path.write_bytes(whole + b"12")
    assert message(path, read_idx) == (
        f"{path}: got too long a file (54 bytes), expected 52 bytes; try downloading it again"
    )


def test_wrong_magic_and_sizes_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte"
    for head in (b"\x89PNG", b"\x00\x00\x07\x03", b"\x00\x01\x08\x03"):
        path.write_bytes(head + bytes(50))
        assert message(path, read_idx) == (
            f"{path}: got magic number 0x{head.hex()}, expected 0x0000 and an IDX dtype; "
            f"try another file"
        )
    path.write_bytes(b"\x00\x00\x0e\x03" + b"\xff" * 12)
    size = 16 + 8 * (2**32 - 1) ** 3
    assert message(path, read_idx) == (
        f"{path}: got a truncated file (16 bytes), expected {size} bytes; try downloading it again"
    )


def test_broken_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a-idx3-ubyte.gz"
    raw = gzip.compress(encode(IMAGES, 0x08))
    path.write_bytes(raw[:-9])
    assert message(path, read_idx) == (
        f"{path}: got broken gzip (Compressed file ended before the end-of-stream marker was "
        f"reached), expected a whole file; try downloading it again"
    )
    flipped = raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:]
    path.write_bytes(flipped)
    assert message(path, read_idx).startswith(f"{path}: got broken gzip (CRC check failed")


def test_folders_that_do_not_fit(tmp_path: Path) -> None:
    path = folder(tmp_path / "count", train_labels=encode(LABELS[:5], 0x08))
    assert message(path) == (
        f"{path}/train-labels-idx1-ubyte: got labels of shape (5,), expected 6, one for each "
        f"image of train-images-idx3-ubyte; try downloading both again"
    )
    path = folder(tmp_path / "outside", t10k_labels=encode(np.array([0, 9, 1]), 0x08))
    assert message(path) == (
        f"{path}/t10k-labels-idx1-ubyte, row 2: got label '9', expected one of the classes "
        f"0, 1, 2; try mending the label or removing the row"
    )
    path = folder(tmp_path / "size", t10k_images=encode(IMAGES[:3, :1], 0x08))
    assert message(path) == (
        f"{path}/t10k-images-idx3-ubyte: got images of (1, 3), expected (2, 3) as in training; "
        f"try one size for both"
    )
    path = folder(tmp_path / "flat", train_images=encode(LABELS, 0x08))
    assert message(path) == (
        f"{path}/train-images-idx3-ubyte: got an array of shape (6,), expected images (N, ...); "
        f"try another file"
    )
    path = folder(tmp_path / "one", train_labels=encode(LABELS * 0, 0x08))
    assert message(path) == (
        f"{path}/train-labels-idx1-ubyte: got one class only ('0'), expected two or more; "
        f"try another target"
    )
    path = folder(tmp_path / "nan", train_images=encode(np.full((6, 2), np.nan), 0x0D))
    assert message(path) == (
        f"{path}/train-images-idx3-ubyte, row 1: got a value that is NaN or infinite, expected "
        f"finite numbers; try removing the row"
    )


def test_folders_without_the_files(tmp_path: Path) -> None:
    assert message(tmp_path) == (
        f"{tmp_path}: got no train-images file among no files, expected MNIST-format names, as "
        f"train-images-idx3-ubyte; try renaming the files"
    )
    (tmp_path / "cat.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_features(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: got no images among cat.png, expected a file named as "
        f"t10k-images-idx3-ubyte; try renaming the files"
    )
    path = folder(tmp_path / "mixed")
    (path / "other-train-images-idx3-ubyte").write_bytes(b"")
    assert message(path) == (
        f"{path}: got two sets, other-train-images-idx3-ubyte and train-images-idx3-ubyte, "
        f"expected one set a folder; try moving one away"
    )
    alone = folder(tmp_path / "alone") / "train-images-idx3-ubyte"
    assert message(alone) == (
        f"{alone}: got one file, expected a folder with images and labels; "
        f"try '{tmp_path / 'alone'}'"
    )
