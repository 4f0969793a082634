"""From a configuration to a network: its layers, their first weights, and back from a file."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import init
from tensorgrad.train.config import Config

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "step": nn.Step,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softmax": lambda: nn.Softmax(dim=-1),
    "log_softmax": lambda: nn.LogSoftmax(dim=-1),
}


@dataclass(frozen=True)
class Architecture:
    """What a fully connected network is, in a few numbers; a model file carries it."""

    in_features: int
    layers: tuple[int, ...]
    out_features: int
    activation: str
    dropout: float
    dtype: str
    pieces: int = 2  # of maxout

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """The architecture whose `to_json` this was."""
        found = json.loads(text)
        return cls(**{**found, "layers": tuple(found["layers"])})

    def __str__(self) -> str:
        return "-".join(str(n) for n in (self.in_features, *self.layers, self.out_features))

    def build(self, generator: Any = None) -> nn.Sequential:
        """The network: linear1, its activation, its dropout, ..., the last linear layer.

        The maxout of k pieces makes its linear layer k times as wide. Dropout draws from
        `generator`.
        """
        parts: list[tuple[str, nn.Module]] = []
        width = self.in_features
        for k, units in enumerate(self.layers, 1):
            pieces = self.pieces if self.activation == "maxout" else 1
            linear = nn.Linear(width, units * pieces, dtype=self.dtype)
            parts.append((f"linear{k}", linear))
            if self.activation == "maxout":
                parts.append((f"activation{k}", nn.Maxout(pieces)))
            elif self.activation != "linear":
                parts.append((f"activation{k}", _ACTIVATIONS[self.activation]()))
            if self.dropout:
                parts.append((f"dropout{k}", nn.Dropout(self.dropout, generator=generator)))
            width = units
        last = nn.Linear(width, self.out_features, dtype=self.dtype)
        parts.append((f"linear{len(self.layers) + 1}", last))
        net = nn.Sequential(OrderedDict(parts))
        return net.to(self.dtype)  # an activation may have parameters of its own


def hidden_end(net: nn.Sequential, layer: int) -> int:
    """How many parts of the network make the activations of hidden layer number `layer`."""
    names = [name for name, _ in net.named_children()]
    return names.index(f"linear{layer + 1}")


# -- first weights -----------------------------------------------------------------------------


def initialise(net: nn.Sequential, config: Config, generator: Any = None) -> None:
    """Draw the weights by `config.init` from `generator`; biases are zero.

    `auto` is He for the activations of the ReLU kind, LeCun for selu, Xavier for the rest.
    """
    name = _fitting(config.activation) if config.init == "auto" else config.init
    scale = _SCALES.get(name, 1.0) if config.init_scale is None else config.init_scale
    for _, layer in linear_layers(net):
        _INITS[name](layer.weight, scale, generator)
        init.zeros_(layer.bias)


def linear_layers(net: nn.Module) -> list[tuple[str, Any]]:
    """The layers with weights and their names, from the input to the output."""
    return [(name, part) for name, part in net.named_modules() if isinstance(part, nn.Linear)]


def _fitting(activation: str) -> str:
    if activation == "selu":
        return "lecun_normal"
    rectified = (
        "relu",
        "leaky_relu",
        "prelu",
        "elu",
        "gelu",
        "gelu_tanh",
        "silu",
        "mish",
        "maxout",
    )
    return "he_uniform" if activation in rectified else "xavier_uniform"


_SCALES = {"constant": 0.1, "uniform": 0.1, "normal": 1.0}


def _scaled(draw: Callable[..., Any], **options: Any) -> Callable[[Any, float, Any], None]:
    """An initialiser that knows no gain, times one."""

    def scaled(weight: Any, scale: float, generator: Any) -> None:
        draw(weight, generator=generator, **options)
        if scale != 1.0:
            with tg.no_grad():
                weight[...] = weight.detach() * scale

    return scaled


_INITS: dict[str, Callable[[Any, float, Any], Any]] = {
    "zeros": lambda weight, scale, generator: init.zeros_(weight),
    "constant": lambda weight, scale, generator: init.constant_(weight, scale),
    "uniform": lambda weight, scale, generator: init.uniform_(weight, -scale, scale, generator),
    "normal": lambda weight, scale, generator: init.normal_(weight, 0.0, scale, generator),
    "xavier_uniform": init.xavier_uniform_,
    "xavier_normal": init.xavier_normal_,
    "he_uniform": _scaled(init.kaiming_uniform_, nonlinearity="relu"),
    "he_normal": _scaled(init.kaiming_normal_, nonlinearity="relu"),
    "lecun_uniform": _scaled(init.lecun_uniform_),
    "lecun_normal": _scaled(init.lecun_normal_),
    "orthogonal": init.orthogonal_,
}
