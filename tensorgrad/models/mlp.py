"""Networks of linear layers: a multilayer perceptron and an autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import tensorgrad as tg
from tensorgrad import nn


def _stack(
    name: str, sizes: Sequence[int], activation: Callable[[], nn.Module], dropout: float = 0.0
) -> nn.Sequential:
    """Linear layers of those sizes, the activation (and a dropout) between them."""
    if len(sizes) < 2:
        raise tg.ShapeError(
            f"{name}: got sizes={list(sizes)}, expected at least an input and an output; "
            f"try {name}([64, 32, 10])"
        )
    if isinstance(activation, nn.Module) or not callable(activation):
        raise TypeError(
            f"{name}: got activation={activation!r}, expected a class of layers, or a function "
            "that makes one; try activation=nn.ReLU"
        )
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers[: -2 if dropout else -1])


class MLP(nn.Module):
    """Linear layers of `sizes` = [inputs, hidden ..., outputs], an activation between them.

    A dropout of that probability follows each activation, none if it is 0. The last layer is
    linear: its outputs are logits, or values. Raises `ShapeError` for fewer than two sizes and
    `TypeError` for an activation that is a layer, not its class.

    >>> MLP([2, 8, 3])(tg.zeros((5, 2), dtype="float32")).shape
    (5, 3)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layers = _stack("MLP", sizes, activation, dropout)

    def forward(self, input: Any) -> Any:
        return self.layers(input)


class Autoencoder(nn.Module):
    """An encoder of `sizes` = [inputs, hidden ..., code] and a decoder of the same ones reversed.

    Hinton and Salakhutdinov, "Reducing the dimensionality of data with neural networks", 2006.
    Raises `ShapeError` for fewer than two sizes.

    >>> net = Autoencoder([64, 16, 2])
    >>> net.encoder(tg.zeros((5, 64), dtype="float32")).shape
    (5, 2)
    """

    def __init__(self, sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.encoder = _stack("Autoencoder", sizes, activation)
        self.decoder = _stack("Autoencoder", sizes[::-1], activation)

    def forward(self, input: Any) -> Any:
        """The input as its code gives it back."""
        return self.decoder(self.encoder(input))
