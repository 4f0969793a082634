"""Named arrays come back from a file as they went in, or a damaged file is named."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tensorgrad import dtypes
from tensorgrad._errors import DataError, DTypeError
from tensorgrad.io import load_file, load_metadata, save_file

SUFFIXES = (".safetensors", ".npz")


def samples(rng: np.random.Generator, suffix: str) -> dict[str, Any]:
    arrays: dict[str, Any] = {"file": rng.normal(size=3), "a.b/c d.npy": np.arange(4)}
    for name in dtypes.NAMES:
        if name.startswith("complex") and suffix != ".npz":
            continue
        values = rng.integers(0, 100, (3, 4)).astype(dtypes.dtype(name))
        arrays |= {name: values, f"{name} 0-d": values[1, 2].reshape(()), f"{name} T": values.T}
        arrays |= {f"{name} empty": values[:0], f"{name} strided": values[::2, ::-3]}
    arrays["big-endian"] = rng.normal(size=(2, 3)).astype(">f4")
    return arrays


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    arrays, path = samples(rng, suffix), tmp_path / f"m{suffix}"
    save_file(arrays, path, {"epoch": "7", "name": "größe"})
    loaded = load_file(path)
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        found = loaded[name]
        assert found.dtype == array.dtype.newbyteorder("="), name
        assert found.shape == array.shape, name
        assert np.array_equal(found, array), name
        assert found.flags.writeable, name
    assert load_metadata(path) == {"epoch": "7", "name": "größe"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_tensors_and_no_metadata(tmp_path: Path, suffix: str) -> None:
    save_file({}, tmp_path / f"m{suffix}")
    assert load_file(tmp_path / f"m{suffix}") == {}
    assert load_metadata(tmp_path / f"m{suffix}") == {}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_special_values_keep_their_bits(tmp_path: Path, suffix: str) -> None:
    values = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324])
    arrays = {"f8": values, "bf16": values.astype(ml_dtypes.bfloat16)}
    save_file(arrays, tmp_path / f"m{suffix}")
    for name, found in load_file(tmp_path / f"m{suffix}").items():
        assert found.tobytes() == arrays[name].tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_arrays_give_equal_files_and_loading_detaches(tmp_path: Path, suffix: str) -> None:
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    save_file({"w": np.ones(5)}, one, {"a": "b"})
    save_file({"w": np.ones(5)}, two, {"a": "b"})
    assert one.read_bytes() == two.read_bytes()
    load_file(one)["w"][:] = 9
    assert load_file(one)["w"].tolist() == [1.0] * 5


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_anything_with_numpy_may_come_in(tmp_path: Path, suffix: str) -> None:
    class Wrapped:
        def numpy(self) -> Any:
            return np.arange(3, dtype=np.float32)

    save_file({"w": Wrapped(), "n": 2.5}, tmp_path / f"m{suffix}")
    loaded = load_file(tmp_path / f"m{suffix}")
    assert loaded["w"].tolist() == [0, 1, 2]
    assert loaded["w"].dtype == np.float32
    assert loaded["n"].shape == ()


def test_plain_npz_files_are_exchanged_with_numpy(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(3), names=np.array(["a", "b"]))
    assert load_file(tmp_path / "a.npz")["names"].tolist() == ["a", "b"]
    save_file({"x": np.arange(3)}, tmp_path / "b.npz")
    with np.load(tmp_path / "b.npz") as archive:
        assert archive.files == ["x"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_truncation_is_named(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    whole, cut = tmp_path / f"m{suffix}", tmp_path / f"cut{suffix}"
    save_file({"w": rng.normal(size=(5, 3)), "b": rng.normal(size=3)}, whole, {"a": "b"})
    raw = whole.read_bytes()
    for size in {0, 1, 8, 9, *rng.integers(0, len(raw), 40).tolist(), len(raw) - 1}:
        cut.write_bytes(raw[:size])
        with pytest.raises(DataError) as caught:
            load_file(cut)
        text = str(caught.value)
        assert text.startswith(f"load_file {cut}: got a truncated or damaged file ("), size
        assert text.endswith(
            f"), expected a whole {suffix} file; try another copy or save it again"
        )
        assert "\n" not in text


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flipped_byte_is_found(tmp_path: Path, rng: np.random.Generator, suffix: str) -> None:
    whole, path = tmp_path / f"m{suffix}", tmp_path / f"flipped{suffix}"
    save_file({"w": rng.normal(size=100), "b": np.ones(3, "f2")}, whole)
    raw = whole.read_bytes()
    w = raw.index(load_file(whole)["w"].tobytes())
    places = [w, w + 799, *rng.integers(w, w + 800, 10)]
    if suffix == ".safetensors":  # anywhere at all
        places = [0, 7, 8, len(raw) - 1, *rng.integers(0, len(raw), 40)]
        key = raw.index(b"tensorgrad.crc32")  # with another name there, it is a file from elsewhere
        places = [at for at in places if not key <= at < key + 16]
    for at in places:
        damaged = bytearray(raw)
        damaged[at] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(DataError) as caught:
            load_file(path)
        text = str(caught.value)
        assert text.startswith(f"load_file {path}: got a truncated or damaged file ("), at
        assert text.endswith("; try another copy or save it again")


def test_what_a_damaged_file_says(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    save_file({"w": np.ones(100)}, path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DataError, match="got a truncated or damaged file \\(Bad CRC-32"):
        load_file(path)
    path = tmp_path / "m.safetensors"
    save_file({"w": np.ones(100)}, path)
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)
    text = message(DataError, load_file, path)
    was = raw[raw.index(b'crc32":"') + 8 :][:8].decode()
    now = text.partition("its checksum is ")[2][:8]
    assert text == (
        f"load_file {path}: got a truncated or damaged file (its checksum is {now}, {was} when it "
        "was written; if another program changed it on purpose, take safetensors' own load_file), "
        "expected a whole .safetensors file; try another copy or save it again"
    )
    assert now != was
    assert load_metadata(path) == {}  # which reads no numbers


def test_safetensors_of_others_have_no_checksum(tmp_path: Path, rng: np.random.Generator) -> None:
    theirs, path = pytest.importorskip("safetensors.numpy"), tmp_path / "m.safetensors"
    arrays = {"w": rng.normal(size=(5, 3)), "b": rng.integers(0, 9, 3).astype("u2")}
    theirs.save_file(arrays, path, {"a": "b"})
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert load_file(path)["w"].shape == (5, 3)
    assert load_metadata(path) == {"a": "b"}
    # ours in their hands
    save_file(arrays, path, {"a": "b"})
    assert {name: array.tolist() for name, array in theirs.load_file(path).items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
    with pytest.importorskip("safetensors").safe_open(path, framework="numpy") as file:
        texts = file.metadata()
    assert set(texts) == {"a", "tensorgrad.crc32"}
    theirs.save_file(arrays, path, texts)
    np.testing.assert_array_equal(load_file(path)["w"], arrays["w"])
    theirs.save_file({"w": arrays["w"] + 1}, path, texts)
    with pytest.raises(DataError, match="if another program changed it on purpose, take"):
        load_file(path)
    save_file(arrays, path, texts)
    np.testing.assert_array_equal(load_file(path)["w"], arrays["w"])


def test_dtypes_that_others_write_load_as_they_read_them(tmp_path: Path) -> None:
    theirs, path = pytest.importorskip("safetensors.numpy"), tmp_path / "m.safetensors"
    arrays = {"w": np.array([1 + 2j, 3], "c8"), "b": np.ones(2, "f4")}
    theirs.save_file(arrays, path)
    for name, found in load_file(path).items():
        np.testing.assert_array_equal(found, arrays[name], strict=True)


def message(error: type[Exception], call: Any, *args: Any) -> str:
    with pytest.raises(error) as caught:
        call(*args)
    return str(caught.value)


def test_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "o.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    assert message(DataError, load_file, path) == (
        f"load_file {path}: got a truncated or damaged file (Object arrays cannot be loaded when "
        f"allow_pickle=False), expected a whole .npz file; try another copy or save it again"
    )
    np.save(tmp_path / "bare.npy", np.ones(3))
    (tmp_path / "bare.npy").rename(tmp_path / "bare.npz")
    assert "(one bare array, no archive)" in message(DataError, load_file, tmp_path / "bare.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")
    assert "(entry 'x' is no array)" in message(DataError, load_file, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_files_and_folders_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"no{suffix}"
    for op, call in (("load_file", load_file), ("load_metadata", load_metadata)):
        assert message(DataError, call, path) == (
            f"{op} {path}: got no such file, expected an existing one; try another path"
        )
    path.mkdir()
    assert message(DataError, load_file, path) == (
        f"load_file {path}: got is a directory, expected a readable file; "
        f"try chmod u+r or another path"
    )


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    path, z = tmp_path / "m.safetensors", np.ones(2)
    real = " ".join(dtypes.NAMES[:-2])
    assert message(DTypeError, save_file, {"z": z.astype("c8")}, path) == (
        f"save_file {path}: got tensor 'z' of dtype complex64, expected one of {real}; "
        f"try a .npz file, or its real and imag parts"
    )
    assert message(DTypeError, save_file, {"z": np.array(["a"])}, path) == (
        f"save_file {path}: got tensor 'z' of dtype str32, expected one of {real}; try numbers"
    )
    assert message(DataError, save_file, {"__metadata__": z}, path) == (
        f"save_file {path}: got tensor name '__metadata__', expected a text; try a plain name"
    )
    assert message(DataError, save_file, {3: z}, path) == (
        f"save_file {path}: got tensor name 3, expected a text; try a plain name"
    )
    assert message(DataError, save_file, {"z": z}, path, {"epoch": 3}) == (
        f"save_file {path}: got metadata 'epoch': 3, expected texts only; try str() or json"
    )
    assert message(DataError, save_file, {"z": z}, "model.pt") == (
        "save_file model.pt: got suffix '.pt', expected one of .safetensors .npz; "
        "try model.safetensors"
    )
    assert not path.exists()
