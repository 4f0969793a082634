"""PyTorch's weights in our models, by name from a file: its outputs and its gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import models
from tensorgrad.io import load_model

torch = pytest.importorskip("torch")
theirs_io = pytest.importorskip("safetensors.torch")
twins = pytest.importorskip("torch_models")


def residual(kind: str) -> tuple[Any, Any]:
    block = models.BasicBlock if kind == "basic" else models.Bottleneck
    layers = [2, 2, 2, 2] if kind == "basic" else [1, 2, 1, 1]
    return models.ResNet(block, layers, 5, width=4), twins.ResNet(kind, layers, 5, 4)


MAKE: dict[str, Any] = {
    "MLP": lambda: (models.MLP([7, 16, 8, 3]), twins.MLP([7, 16, 8, 3])),
    "Autoencoder": lambda: (models.Autoencoder([7, 5, 2]), twins.Autoencoder([7, 5, 2])),
    "LeNet": lambda: (models.LeNet(), twins.LeNet()),
    "ResNet-18": lambda: residual("basic"),
    "ResNet-50": lambda: residual("bottleneck"),
    "GPT-2": lambda: (models.GPT2(11, 8, 16, 2, 4, 0.0), twins.GPT2(11, 8, 16, 2, 4)),
    "LSTM": lambda: (models.LSTMLanguageModel(11, 6, 8), twins.LSTMLanguageModel(11, 6, 8, 2)),
}


def given(name: str, rng: np.random.Generator) -> Any:
    if name in ("GPT-2", "LSTM"):
        return rng.integers(0, 11, (2, 8))
    shapes = {"LeNet": (2, 1, 28, 28), "ResNet-18": (3, 3, 64, 64), "ResNet-50": (3, 3, 64, 64)}
    return rng.standard_normal(shapes.get(name, (5, 7)))


def output(found: Any) -> Any:
    """The logits of a model that also returns a state."""
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKE)
def test_weights_of_torch(name: str, dtype: str, tmp_path: Path, rng: np.random.Generator) -> None:
    ours, theirs = MAKE[name]()
    x = given(name, rng)
    x = x if x.dtype.kind == "i" else x.astype(dtype)
    theirs = theirs.to(getattr(torch, dtype))
    theirs(torch.from_numpy(x))  # running statistics that are not the ones it begins with
    path = tmp_path / "net.safetensors"
    theirs_io.save_model(theirs, str(path))
    ours = ours.to(dtype)
    assert load_model(ours, path) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())

    # float32: that of some thirty layers and their products; float64 shows that it is rounding.
    rtol, atol = (1e-3, 2e-4) if dtype == "float32" else (1e-9, 1e-11)
    for mode in (False, True):
        ours.train(mode)
        theirs.train(mode)
        wanted = theirs(torch.from_numpy(x))
        found = output(ours(tg.asarray(x)))
        scale = float(wanted.detach().abs().max())
        np.testing.assert_allclose(
            found.detach().numpy(), wanted.detach().numpy(), rtol, atol * scale
        )
    ct = rng.standard_normal(found.shape).astype(dtype)
    found.backward(tg.asarray(ct))
    wanted.backward(torch.from_numpy(ct))
    gradients = dict(theirs.named_parameters())
    for key, p in ours.named_parameters():
        want = gradients[key].grad.numpy()
        np.testing.assert_allclose(
            p.grad.numpy(), want, rtol, atol * max(1.0, float(np.abs(want).max())), err_msg=key
        )


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_loads_as_published(prefix: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """With masks among the weights, no last layer, and names with or without their prefix."""
    ours, theirs = MAKE["GPT-2"]()
    weights = {
        name.replace("transformer.", prefix): value
        for name, value in theirs.state_dict().items()
        if name != "lm_head.weight"
    }
    for k in range(2):
        weights[f"{prefix}h.{k}.attn.bias"] = torch.tril(torch.ones(1, 1, 8, 8))
        weights[f"{prefix}h.{k}.attn.masked_bias"] = torch.tensor(-1e4)
    path = tmp_path / "gpt2.safetensors"
    theirs_io.save_file(weights, str(path))
    assert load_model(ours, path) == ([], [])
    assert ours.lm_head.weight is ours.transformer.wte.weight
    tokens = given("GPT-2", rng)
    wanted = theirs(torch.from_numpy(tokens)).detach().numpy()
    found = ours.eval()(tg.asarray(tokens)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    ours = models.GPT2(11, 8, 16, 2, 4)
    weights = {name: value.numpy() for name, value in ours.state_dict().items()}
    del weights["transformer.h.0.ln_1.bias"]
    weights["transformer.h.2.ln_1.bias"] = np.zeros(16, "f4")
    with pytest.raises(tg.ShapeError, match=r"h.0.ln_1.bias(.|\n)*h.2.ln_1.bias"):
        ours.load_state_dict(weights)
