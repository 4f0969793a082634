"""Dropout of whole channels, and dropout that keeps mean and variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.philox import RandomError
from tensorgrad.core.calls import operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import where as select
from tensorgrad.ops.random import Generator, dropout_p, mask_counter
from tensorgrad.ops.shape import astype

_SATURATED = 1.7580993408473766
"""What SELU tends to for small x is the negative of this: λα of Klambauer et al. 2017."""

_scaled = known(Elementwise.trace("channel_dropout", lambda x, m: select(m == 0, 0, x * m)))
_shifted = known(
    Elementwise.trace("feature_alpha", lambda x, m, a, b, c: select(m == 0, c, a * x + b))
)
_mixed = known(
    Elementwise.trace("alpha_dropout", lambda d, m, a, c: a * (d + c * (m - 1)))
)  # fmt: skip


def _checked(op: str, input: Any, p: float) -> Tensor:
    x = operand(input, (), op)
    need(0 <= p <= 1, op, p=p, want="0 <= p <= 1", fix="p=0.5", error=RandomError)
    need(dtypes.is_float(x.dtype), op, input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    return x


def _ones(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    one = astype(operand(1.0, near=x), x.dtype, copy=False)
    return one.reshape((1,) * len(shape)).broadcast_to(shape)  # type: ignore[no-any-return]


def _mask(x: Tensor, shape: tuple[int, ...], p: float, generator: Generator | None) -> Tensor:
    """0 with probability p, else 1 / (1 - p), of an own draw for each member of a batch of x."""
    key, counter = mask_counter((x,), int(np.prod(shape)), generator)
    return dropout_p.bind(_ones(x, shape), counter, p=float(p), key=key, shape=shape)  # type: ignore[no-any-return]


def _oracle(x: Any, p: float = 0.5, training: bool = True) -> Any:
    return np.zeros_like(x) if p == 1 and training else x


def _samples(*shapes: tuple[int, ...]) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        for shape in shapes:
            x = r.normal(*shape)
            yield (x, 0.0), {"training": True}
            yield (x, 1.0), {"training": True}
            yield (x.T.copy().T, 0.4), {"training": False}

    return samples


def _channels(
    op: str, input: Any, p: float, training: bool, kept: int | None, wanted: str,
    ndims: tuple[int, ...], generator: Generator | None,
) -> Tensor:  # fmt: skip
    """Whole channels dropped: one draw for each of the leading axes."""
    x = _checked(op, input, p)
    need(x.ndim in ndims, op, input=x, want=f"axes {wanted}", fix="dropout, of elements")
    if not training or not p or not x.size:
        return x
    lead = kept if kept is not None else 1 if x.ndim == min(ndims) else 2
    shape = (*x.shape[:lead], *(1,) * (x.ndim - lead))
    return _scaled.bind(x, _mask(x, shape, p, generator))  # type: ignore[no-any-return]


@operation(oracle=_oracle, samples=_samples((2, 3), (2, 3, 4), (0, 2, 3)), namespace="nn")
def dropout1d(
    input: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Channels of (N, C, L) or (C, L) set to 0 with probability p, the others / (1 - p).

    Tompson et al., "Efficient object localization using convolutional networks", 2015. Raises
    `ShapeError`, `DTypeError`, and `RandomError` unless 0 <= p <= 1.

    >>> dropout1d([[1.0, 2.0]], 1.0)
    tensor([[0., 0.]])
    """
    return _channels(
        "dropout1d", input, p, training, None, "(N, C, L) or (C, L)", (2, 3), generator
    )


@operation(oracle=_oracle, samples=_samples((2, 3, 2, 2), (2, 1, 3), (0, 2, 3, 1)), namespace="nn")
def dropout2d(
    input: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Channels of (N, C, H, W), or of (N, C, L) as in PyTorch, set to 0 with probability p.

    The others are divided by 1 - p. Raises as `dropout1d` does.

    >>> dropout2d([[[[1.0, 2.0]]]], 1.0)
    tensor([[[[0., 0.]]]])
    """
    return _channels(
        "dropout2d", input, p, training, 2, "(N, C, H, W) or (N, C, L)", (3, 4), generator
    )


@operation(
    oracle=_oracle, samples=_samples((2, 2, 1, 2, 2), (2, 1, 3, 1), (0, 1, 2, 3, 1)), namespace="nn"
)
def dropout3d(
    input: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Channels of (N, C, D, H, W) or (C, D, H, W) set to 0 with probability p.

    The others are divided by 1 - p. Raises as `dropout1d` does.

    >>> dropout3d([[[[1.0, 2.0]]]], 1.0)
    tensor([[[[0., 0.]]]])
    """
    return _channels(
        "dropout3d", input, p, training, None, "(N, C, D, H, W) or (C, D, H, W)", (4, 5), generator
    )


def _scale(p: float) -> float:
    """What a kept element is multiplied by, so that the variance stays 1; 0 where none is kept."""
    return float(((_SATURATED**2 * p + 1) * (1 - p)) ** -0.5) if p < 1 else 0.0


@operation(oracle=_oracle, samples=_samples((3,), (2, 3), (0, 2), ()), namespace="nn")
def alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """Elements set to SELU's limit -1.758 with probability p, all then scaled and shifted.

    Mean 0 and variance 1 stay so. Klambauer et al., "Self-normalizing neural networks", 2017. With
    p = 1 all are 0. Raises `DTypeError`, and `RandomError` unless 0 <= p <= 1.
    """
    op = "alpha_dropout"
    x = _checked(op, input, p)
    if not training or not p or not x.size:
        return x
    # The mask is drawn twice from one counter, and so is not kept for backward.
    key, counter = mask_counter((x,), x.size, generator)
    draw: dict[str, Any] = {"p": float(p), "key": key, "shape": x.shape}
    kept, mask = (
        dropout_p.bind(x, counter, **draw),
        dropout_p.bind(_ones(x, x.shape), counter, **draw),
    )
    scale = _scale(p) * (1 - p)
    return _mixed.bind(*operands((kept, mask, scale, _SATURATED), op))  # type: ignore[no-any-return]


@operation(oracle=_oracle, samples=_samples((2, 3), (2, 3, 2), (0, 2)), namespace="nn")
def feature_alpha_dropout(
    input: Any, p: float = 0.5, training: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, ...).

    Raises `ShapeError` with fewer than two axes, else as `alpha_dropout` does.
    """
    op = "feature_alpha_dropout"
    x = _checked(op, input, p)
    need(x.ndim >= 2, op, input=x, want="axes (N, C, ...)", fix="input[None]")
    if not training or not p or not x.size:
        return x
    mask = _mask(x, (*x.shape[:2], *(1,) * (x.ndim - 2)), p, generator)
    a = _scale(p)
    shift = a * _SATURATED * p
    low = shift - a * _SATURATED
    return _shifted.bind(*operands((x, mask, a, shift, low), op))  # type: ignore[no-any-return]
