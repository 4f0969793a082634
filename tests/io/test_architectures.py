"""PyTorch's weights in networks of the same architecture give PyTorch's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.io import load_model

torch = pytest.importorskip("torch")
theirs_io = pytest.importorskip("safetensors.torch")


def mlp(lib: Any, F: Any) -> Any:
    return lib.Sequential(
        lib.Linear(7, 16), lib.ReLU(), lib.LayerNorm(16), lib.Linear(16, 8), lib.Tanh(),
        lib.Linear(8, 3),
    )  # fmt: skip


def resnet(lib: Any, F: Any) -> Any:
    """The shape and the names of a ResNet-18, a sixteenth as wide."""

    class Block(lib.Module):  # type: ignore[misc]
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = lib.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = lib.BatchNorm2d(after)
            self.relu = lib.ReLU()
            self.conv2 = lib.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = lib.BatchNorm2d(after)
            self.downsample = None
            if stride > 1 or before != after:
                convolution = lib.Conv2d(before, after, 1, stride, bias=False)
                self.downsample = lib.Sequential(convolution, lib.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            kept = x if self.downsample is None else self.downsample(x)
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(out + kept)

    class ResNet(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = lib.Conv2d(3, 4, 7, 2, 3, bias=False)
            self.bn1, self.relu = lib.BatchNorm2d(4), lib.ReLU()
            self.maxpool = lib.MaxPool2d(3, 2, 1)
            width = 4
            for k, after in enumerate((4, 8, 16, 32), 1):
                first = Block(width, after, 1 if k == 1 else 2)
                setattr(self, f"layer{k}", lib.Sequential(first, Block(after, after, 1)))
                width = after
            self.avgpool, self.fc = lib.AdaptiveAvgPool2d(1), lib.Linear(32, 10)

        def forward(self, x: Any) -> Any:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
            return self.fc(self.avgpool(x).reshape(x.shape[0], -1))

    return ResNet()


def gpt(lib: Any, F: Any) -> Any:
    """A decoder of the shape of GPT-2: norms in front, one table for tokens in and out."""

    class Block(lib.Module):  # type: ignore[misc]
        def __init__(self, width: int, heads: int) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = lib.LayerNorm(width), lib.LayerNorm(width)
            self.c_attn, self.c_proj = lib.Linear(width, 3 * width), lib.Linear(width, width)
            self.c_fc, self.out = lib.Linear(width, 4 * width), lib.Linear(4 * width, width)
            self.gelu, self.heads = lib.GELU(approximate="tanh"), heads

        def forward(self, x: Any) -> Any:
            n, length, width = x.shape
            qkv = self.c_attn(self.ln_1(x)).reshape(n, length, 3, self.heads, -1)
            q, k, v = (qkv[:, :, part].swapaxes(1, 2) for part in range(3))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.c_proj(y.swapaxes(1, 2).reshape(n, length, width))
            return x + self.out(self.gelu(self.c_fc(self.ln_2(x))))

    class GPT(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe = lib.Embedding(11, 16), lib.Embedding(8, 16)
            self.h = lib.ModuleList([Block(16, 4) for _ in range(2)])
            self.ln_f = lib.LayerNorm(16)
            self.lm_head = lib.Linear(16, 11, bias=False)
            self.lm_head.weight = self.wte.weight

        def forward(self, tokens: Any, places: Any) -> Any:
            x = self.wte(tokens) + self.wpe(places)
            for block in self.h:
                x = block(x)
            return self.lm_head(self.ln_f(x))

    return GPT()


def lstm(lib: Any, F: Any) -> Any:
    class Model(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = lib.Embedding(11, 6), lib.Linear(16, 11)
            self.rnn = lib.LSTM(6, 8, num_layers=2, batch_first=True, bidirectional=True)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.rnn(self.embed(tokens))[0])

    return Model()


def tokens(rng: np.random.Generator) -> Any:
    return rng.integers(0, 11, (2, 8))


CASES: dict[str, tuple[Any, Any]] = {
    "mlp": (mlp, lambda rng: [rng.standard_normal((5, 7)).astype("f4")]),
    "resnet": (resnet, lambda rng: [rng.standard_normal((2, 3, 64, 64)).astype("f4")]),
    "gpt": (gpt, lambda rng: [tokens(rng), np.arange(8)]),
    "lstm": (lstm, lambda rng: [tokens(rng)]),
}


@pytest.mark.parametrize("case", CASES)
def test_weights_of_torch(case: str, tmp_path: Path, rng: np.random.Generator) -> None:
    make, inputs = CASES[case]
    theirs, ours = make(torch.nn, torch.nn.functional), make(nn, nn.functional)
    given = inputs(rng)
    if case == "resnet":  # running statistics that are not the ones it begins with
        theirs(torch.from_numpy(given[0]))
    path = tmp_path / f"{case}.safetensors"
    theirs_io.save_model(theirs, str(path))
    assert load_model(ours, path) == ([], [])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    expected = theirs.eval()(*map(torch.from_numpy, given)).detach().numpy()
    with tg.no_grad():
        found = ours.eval()(*map(tg.asarray, given)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert nn.summary(ours, tuple(map(tg.asarray, given))).unknown == []
