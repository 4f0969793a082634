"""The networks of `tensorgrad.models` as PyTorch's users write them, under the same names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (the field's name)

torch.set_num_threads(1)  # its threads wait for each other where other processes are at work


def stack(sizes: Sequence[int], activation: Any = nn.ReLU) -> nn.Sequential:
    layers = [layer for i, o in pairwise(sizes) for layer in (nn.Linear(i, o), activation())]
    return nn.Sequential(*layers[:-1])


class MLP(nn.Module):
    def __init__(self, sizes: Sequence[int], activation: Any = nn.ReLU) -> None:
        super().__init__()
        self.layers = stack(sizes, activation)

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Autoencoder(nn.Module):
    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.decoder = stack(sizes), stack(sizes[::-1])

    def forward(self, x: Any) -> Any:
        return self.decoder(self.encoder(x))


class LeNet(nn.Module):
    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(400, 120), nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Residual(nn.Module):
    """Convolutions (channels, kernel, stride), each with its norm."""

    def __init__(self, before: int, sizes: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.count, channels = len(sizes), before
        for k, (after, kernel, stride) in enumerate(sizes, 1):
            layer = nn.Conv2d(channels, after, kernel, stride, kernel // 2, bias=False)
            self.add_module(f"conv{k}", layer)
            self.add_module(f"bn{k}", nn.BatchNorm2d(after))
            channels = after
        stride = max(stride for _, _, stride in sizes)
        self.downsample = None
        if stride > 1 or before != channels:
            layer = nn.Conv2d(before, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(layer, nn.BatchNorm2d(channels))

    def forward(self, x: Any) -> Any:
        kept = x if self.downsample is None else self.downsample(x)
        for k in range(1, self.count + 1):
            x = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(x))
            x = F.relu(x + kept if k == self.count else x)
        return x


class ResNet(nn.Module):
    def __init__(self, kind: str, layers: Sequence[int], num_classes: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        before = width
        for stage, count in enumerate(layers):
            blocks = []
            for k in range(count):
                stride, n = 2 if stage and not k else 1, width * 2**stage
                basic = [(n, 3, stride), (n, 3, 1)]
                sizes = basic if kind == "basic" else [(n, 1, 1), (n, 3, stride), (4 * n, 1, 1)]
                blocks.append(Residual(before, sizes))
                before = sizes[-1][0]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Conv1D(nn.Module):
    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(nx, nf) * 0.2)
        self.bias = nn.Parameter(torch.randn(nf) * 0.1)

    def forward(self, x: Any) -> Any:
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.reshape(*x.shape[:-1], -1)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.c_attn, self.c_proj, self.heads = Conv1D(3 * width, width), Conv1D(width, width), heads

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        q, k, v = (
            part.reshape(n, length, self.heads, -1).transpose(1, 2)
            for part in self.c_attn(x).split(width, 2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(n, length, width))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(4 * width, width), Conv1D(width, 4 * width)

    def forward(self, x: Any) -> Any:
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads)
        self.ln_2, self.mlp = nn.LayerNorm(width), FeedForward(width)

    def forward(self, x: Any) -> Any:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    def __init__(self, vocab: int, places: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, width),
                "wpe": nn.Embedding(places, width),
                "h": nn.ModuleList([Block(width, heads) for _ in range(layers)]),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens: Any) -> Any:
        parts = self.transformer
        x = parts["wte"](tokens) + parts["wpe"](torch.arange(tokens.shape[1]))
        for block in parts["h"]:
            x = block(x)
        return self.lm_head(parts["ln_f"](x))


class LSTMLanguageModel(nn.Module):
    def __init__(self, vocab: int, inside: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocab, inside)
        self.rnn = nn.LSTM(inside, hidden, layers, batch_first=True)
        self.decoder = nn.Linear(hidden, vocab)

    def forward(self, tokens: Any) -> Any:
        return self.decoder(self.rnn(self.encoder(tokens))[0])
