"""Initial values of parameters: each function fills a tensor in place and returns it.

The numbers come from `generator`, or from tg's own (`tg.manual_seed`); nothing is recorded.
fan_in is the number of inputs that one output sums over: weight.shape[1] times the length of every
further axis; fan_out the same with weight.shape[0].
"""

from __future__ import annotations

import math
from typing import Any

import tensorgrad as tg

GAINS = {
    "linear": 1.0,
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.01**2)),
    "selu": 3 / 4,
}
"""How much a layer in front of each activation has to amplify to keep the variance."""


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain of an activation by name; `param` is the slope of "leaky_relu" (0.01)."""
    if nonlinearity == "leaky_relu" and param is not None:
        return math.sqrt(2 / (1 + param**2))
    if nonlinearity not in GAINS:
        raise ValueError(
            f"calculate_gain: got {nonlinearity!r}, expected one of {', '.join(GAINS)}; "
            f'try "relu" for an activation like it'
        )
    return GAINS[nonlinearity]


def _fill(tensor: Any, values: Any) -> Any:
    with tg.no_grad():
        tensor[...] = values
    return tensor


def constant_(tensor: Any, val: float) -> Any:
    """Every element `val`."""
    return _fill(tensor, val)


def zeros_(tensor: Any) -> Any:
    """Every element 0; as weights of a hidden layer its units would all learn the same."""
    return _fill(tensor, 0)


def ones_(tensor: Any) -> Any:
    """Every element 1."""
    return _fill(tensor, 1)


def uniform_(tensor: Any, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Any:
    """Uniform on [a, b)."""
    return _fill(
        tensor, tg.ops.random.uniform(a, b, tensor.shape, tensor.dtype, generator=generator)
    )


def normal_(tensor: Any, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Any:
    """Normal with this mean and standard deviation."""
    return _fill(
        tensor, tg.ops.random.normal(mean, std, tensor.shape, tensor.dtype, generator=generator)
    )


def fans(tensor: Any) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight; raises `ShapeError` for fewer than two axes."""
    shape = tuple(tensor.shape)
    if len(shape) < 2:
        raise tg.ShapeError(
            f"init: got a tensor of shape {shape}, expected a weight (fan_out, fan_in, ...); "
            f"try init.zeros_ for a bias"
        )
    field = math.prod(shape[2:])
    return shape[1] * field, shape[0] * field


def _fan(tensor: Any, mode: str) -> int:
    named = dict(zip(("fan_in", "fan_out"), fans(tensor)))
    if mode not in named:
        raise ValueError(f'init: got mode={mode!r}, expected "fan_in" or "fan_out"; try "fan_in"')
    return named[mode]


def _uniform_std(tensor: Any, std: float, generator: Any) -> Any:
    return uniform_(tensor, -math.sqrt(3) * std, math.sqrt(3) * std, generator)


def _std(gain: float, fan: float) -> float:
    return gain / math.sqrt(fan) if fan else 0.0


def xavier_uniform_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Uniform of variance 2 gain² / (fan_in + fan_out). Glorot, Bengio 2010."""
    return _uniform_std(tensor, _std(gain, sum(fans(tensor)) / 2), generator)


def xavier_normal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """Normal of variance 2 gain² / (fan_in + fan_out). Glorot, Bengio 2010."""
    return normal_(tensor, 0.0, _std(gain, sum(fans(tensor)) / 2), generator)


def kaiming_uniform_(
    tensor: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Any:
    """Uniform of variance gain² / fan, the gain that of `nonlinearity` with slope `a`.

    He et al., "Delving deep into rectifiers", 2015.
    """
    gain = calculate_gain(nonlinearity, a)
    return _uniform_std(tensor, _std(gain, _fan(tensor, mode)), generator)


def kaiming_normal_(
    tensor: Any,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Any:
    """Normal of variance gain² / fan, the gain that of `nonlinearity` with slope `a`.

    He et al., "Delving deep into rectifiers", 2015.
    """
    gain = calculate_gain(nonlinearity, a)
    return normal_(tensor, 0.0, _std(gain, _fan(tensor, mode)), generator)


def lecun_uniform_(tensor: Any, generator: Any = None) -> Any:
    """Uniform of variance 1 / fan_in. LeCun et al., "Efficient backprop", 1998."""
    return _uniform_std(tensor, _std(1.0, fans(tensor)[0]), generator)


def lecun_normal_(tensor: Any, generator: Any = None) -> Any:
    """Normal of variance 1 / fan_in, which SELU wants. LeCun et al., "Efficient backprop", 1998."""
    return normal_(tensor, 0.0, _std(1.0, fans(tensor)[0]), generator)


def orthogonal_(tensor: Any, gain: float = 1.0, generator: Any = None) -> Any:
    """gain times a random matrix whose rows, or columns where those are fewer, are orthonormal.

    The tensor is seen as (shape[0], all others); the matrix is uniform among such (Haar). Saxe,
    McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning", 2014.
    """
    rows, (fan_in, _) = tensor.shape[0], fans(tensor)
    few, many = min(rows, fan_in), max(rows, fan_in)
    draws = tg.ops.random.normal(0.0, 1.0, (few, many), "float64", generator=generator)
    matrix: Any = tg.Tensor(_orthonormal(draws.data))
    matrix = matrix if rows == few else matrix.T
    return _fill(tensor, (gain * matrix).reshape(tensor.shape))


def _orthonormal(rows: Any) -> Any:
    """The rows made orthonormal in place by Gram and Schmidt, twice: exact to rounding."""
    for k, row in enumerate(rows):
        before = rows[:k]
        for _ in range(2):
            row -= (before @ row) @ before
        row /= (row @ row) ** 0.5
    return rows
