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
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
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


def trunc_normal_(
    tensor: Any, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0,
    generator: Any = None,
) -> Any:  # fmt: skip
    """Normal with this mean and standard deviation, cut to [a, b], which are values.

    Drawn by the inverse of the distribution function. Raises `ValueError` unless a < b, std > 0.
    """
    if not (a < b and std > 0):
        raise ValueError(
            f"trunc_normal_: got std={std}, a={a}, b={b}, expected std > 0 and a < b; try a=-2, b=2"
        )
    low, high = (math.erf((end - mean) / (std * math.sqrt(2))) for end in (a, b))
    draws: Any = tg.ops.random.uniform(low, high, tensor.shape, "float64", generator=generator)
    values = mean + std * math.sqrt(2) * tg.special.erfinv(draws)
    return _fill(tensor, tg.clip(values, a, b))


def eye_(tensor: Any) -> Any:
    """The identity; raises `ShapeError` unless the tensor has two axes."""
    if len(tensor.shape) != 2:
        raise tg.ShapeError(
            f"eye_: got a tensor of shape {tuple(tensor.shape)}, expected two axes; try dirac_"
        )
    return _fill(tensor, tg.eye(*tensor.shape))


def sparse_(tensor: Any, sparsity: float, std: float = 0.01, generator: Any = None) -> Any:
    """Normal of mean 0, and in each column a share `sparsity` of the rows, drawn anew, 0.

    Martens, "Deep learning via Hessian-free optimization", 2010. Raises `ShapeError` unless the
    tensor has two axes, `ValueError` unless 0 <= sparsity <= 1.
    """
    if len(tensor.shape) != 2:
        raise tg.ShapeError(
            f"sparse_: got a tensor of shape {tuple(tensor.shape)}, expected two axes; "
            "try tensor.reshape(len(tensor), -1)"
        )
    if not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparse_: got sparsity={sparsity}, expected 0 <= sparsity <= 1; try sparsity=0.9"
        )
    normal_(tensor, 0.0, std, generator)
    draws: Any = tg.ops.random.uniform(0.0, 1.0, tensor.shape, "float64", generator=generator)
    order = tg.argsort(tg.argsort(draws, axis=0), axis=0)
    kept = order.detach().to(tensor.device) >= math.ceil(sparsity * tensor.shape[0])
    return _fill(tensor, tg.where(kept, tensor.detach(), 0.0))


def dirac_(tensor: Any, groups: int = 1) -> Any:
    """Weights of a convolution that gives its input channels back, in each of `groups`.

    Raises `ShapeError` for other than (out, in, ...) of three to five axes with out divisible by
    `groups`.
    """
    shape = tuple(tensor.shape)
    if not 3 <= len(shape) <= 5 or groups < 1 or shape[0] % groups:
        raise tg.ShapeError(
            f"dirac_: got a tensor of shape {shape}, groups={groups}, expected (out, in, ...) of 3 "
            "to 5 axes, out divisible by groups; try groups=1"
        )
    own, middle = shape[0] // groups, tuple(n // 2 for n in shape[2:])
    zeros_(tensor)
    with tg.no_grad():
        for k in range(groups * min(own, shape[1])):
            group, channel = divmod(k, min(own, shape[1]))
            tensor[(group * own + channel, channel, *middle)] = 1
    return tensor


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
