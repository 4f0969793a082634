"""Weights of networks in files: of ours, of PyTorch's, and files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.io import load_file, load_metadata, load_model, save_file, save_model


class Tied(nn.Module):
    """A network two layers of which share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("count", tg.asarray(np.array([1])))

    def forward(self, x: Any) -> Any:
        return self.b(self.a(x))


def same(one: Any, two: Any) -> None:
    a, b = one.state_dict(), two.state_dict()
    assert list(a) == list(b)
    for name in a:
        assert np.array_equal(a[name].numpy(), b[name].numpy()), name


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_round_trip_writes_tied_weights_once(tmp_path: Path, suffix: str) -> None:
    one, two, path = Tied(), Tied(), tmp_path / f"net{suffix}"
    save_model(one, path, {"epoch": "7"})
    assert sorted(load_file(path)) == ["a.bias", "a.weight", "count"]
    assert load_metadata(path) == {"epoch": "7", "b.weight": "a.weight"}
    assert load_model(two, path) == ([], [])
    same(one, two)
    assert two.b.weight is two.a.weight
    assert load_model(Tied().double(), path) == ([], [])


def test_a_tied_weight_under_another_name(tmp_path: Path) -> None:
    net, path = Tied(), tmp_path / "net.safetensors"
    values = {"b.weight": np.eye(3, dtype="f4"), "a.bias": np.ones(3), "count": np.array([4])}
    save_file(values, path)
    assert load_model(net, path) == ([], [])
    assert net.a.weight.tolist() == np.eye(3).tolist()


def test_what_does_not_fit_is_listed_together(tmp_path: Path) -> None:
    net, path = Tied(), tmp_path / "net.safetensors"
    before = net.a.bias.tolist()
    save_file({"a.weight": np.ones((2, 3)), "other": np.ones(1), "count": np.array([1])}, path)
    with pytest.raises(tg.ShapeError) as caught:
        load_model(net, path)
    text = str(caught.value)
    for part in (
        f"load_model {path}: load_state_dict: got a state that does not fit Tied",
        "missing: a.bias",
        "unexpected: other",
        "a.weight (got float64(2, 3), expected float32(3, 3))",
        "b.weight (got float64(2, 3), expected float32(3, 3))",
    ):
        assert part in text
    assert net.a.bias.tolist() == before
    save_file({"a.bias": np.ones(3), "x": np.ones(1)}, path)
    missing, unexpected = load_model(net, path, strict=False)
    assert (sorted(missing), unexpected) == (["a.weight", "b.weight", "count"], ["x"])
    assert net.a.bias.tolist() == [1.0] * 3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file_changes_nothing(tmp_path: Path, share: float) -> None:
    net, twin, path = Tied(), Tied(), tmp_path / "net.safetensors"
    save_model(net, path)
    load_model(twin, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(tg.DataError, match=r"net.safetensors: got a truncated or damaged file"):
        load_model(twin, path)
    same(net, twin)
    with pytest.raises(tg.DataError, match="got no such file"):
        load_model(twin, tmp_path / "none.safetensors")


def pair(library: Any) -> Any:
    """A small convolutional network of either library."""
    return library.Sequential(
        library.Conv2d(3, 4, 3, padding=1), library.ReLU(), library.Conv2d(4, 6, 3, stride=2),
        library.Flatten(), library.Linear(54, 8), library.GELU(), library.Linear(8, 3),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_file_of_torch(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    theirs_io = pytest.importorskip("safetensors.torch")
    theirs, path = pair(torch.nn).to(getattr(torch, dtype)), tmp_path / "net.safetensors"
    theirs_io.save_model(theirs, str(path))
    ours = pair(nn)
    assert load_model(ours, path) == ([], [])
    x = rng.standard_normal((2, 3, 8, 8)).astype("f4")
    expected = theirs.float()(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(tg.asarray(x)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    save_model(ours, path)
    theirs_io.load_model(theirs, str(path))
    again = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-5)
