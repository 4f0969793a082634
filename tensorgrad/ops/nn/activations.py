"""Further activations of PyTorch's, one formula each; NaN passes through every one of them.

A parameter such as `lambd` is an operand of the formula: a number, an array or a tensor that may
carry a gradient itself.

>>> hardsigmoid([-4.0, 0.0, 1.5])
tensor([0.  , 0.5 , 0.75])
"""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.calls import operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import elementwise, fused, known, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.expr import call
from tensorgrad.expr import where as select
from tensorgrad.ops.random import Generator, uniform
from tensorgrad.ops.softmax import softmax
from tensorgrad.ops.splitting import split

tanhshrink = elementwise(
    "tanhshrink",
    lambda x: x - call("tanh", x),
    doc="x - tanh(x).",
    oracle=lambda x: x - np.tanh(x),
    samples=lambda r: r.singles(-3, 3),
    namespace="nn",
)
hardsigmoid = elementwise(
    "hardsigmoid",
    lambda x: select(x <= -3, 0, select(x >= 3, 1, (x + 3) / 6)),
    doc="min(max(x + 3, 0), 6) / 6; derivative 0 at -3 and 3 (Courbariaux et al. 2015).",
    oracle=lambda x: np.clip(x + 3, 0, 6) / 6,
    samples=lambda r: r.singles(-5, 5),
    namespace="nn",
)
hardswish = elementwise(
    "hardswish",
    lambda x: select(x <= -3, 0, select(x >= 3, x, x * (x + 3) / 6)),
    doc="x min(max(x + 3, 0), 6) / 6; derivative 0 at -3, 1 at 3 (Howard et al. 2019).",
    oracle=lambda x: x * np.clip(x + 3, 0, 6) / 6,
    samples=lambda r: r.singles(-5, 5),
    namespace="nn",
)

_hardshrink = known(
    Elementwise.trace("hardshrink", lambda x, t: select(x <= t, select(x >= -t, 0, x), x))
)
_softshrink = known(
    Elementwise.trace("softshrink", lambda x, t: select(x <= t, select(x >= -t, 0, x + t), x - t))
)
_threshold = known(
    Elementwise.trace("threshold", lambda x, threshold, value: select(x <= threshold, value, x))
)
_celu = known(
    Elementwise.trace("celu", lambda x, a: select(x > 0, x, a * call("expm1", x / a)))
)  # fmt: skip
_glu = known(Elementwise.trace("gated", lambda x, y: x * call("sigmoid", y)))
_rrelu = known(Elementwise.trace("rrelu", lambda x, slope: select(x > 0, x, slope * x)))


def _shrink_samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.apart(*s, gap=0.4)):
        yield (x,), {}
    yield (r.apart(7, gap=0.4), 0.83), {}


@operation(
    oracle=lambda x, lambd=0.5: np.where(np.abs(x) <= lambd, 0, x),
    samples=_shrink_samples,
    namespace="nn",
)
def hardshrink(input: Any, lambd: Any = 0.5) -> Tensor:
    """x where |x| > lambd, else 0.

    >>> hardshrink([-1.0, 0.25, 0.5, 2.0])
    tensor([-1.,  0.,  0.,  2.])
    """
    return _hardshrink.bind(input, lambd)  # type: ignore[no-any-return]


@operation(
    oracle=lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
    samples=_shrink_samples,
    namespace="nn",
)
def softshrink(input: Any, lambd: Any = 0.5) -> Tensor:
    """x - lambd where x > lambd, x + lambd where x < -lambd, else 0. Raises for a negative lambd.

    >>> softshrink([-1.0, 0.25, 2.0])
    tensor([-0.5,  0. ,  1.5])
    """
    plain = type(lambd) in (int, float)
    need(not plain or lambd >= 0, "softshrink", lambd=lambd, want="lambd >= 0", fix="lambd=0.5")
    return _softshrink.bind(input, lambd)  # type: ignore[no-any-return]


def _threshold_samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.apart(*s, gap=0.4)):
        yield (x, 0.03, 2.0), {}
    yield (r.apart(7, gap=0.4), -0.83, r.normal()), {}


@operation(
    oracle=lambda x, threshold, value: np.where(x > threshold, x, value),
    samples=_threshold_samples,
    namespace="nn",
)
def threshold(input: Any, threshold: Any, value: Any) -> Tensor:
    """x where x > threshold, else value.

    >>> threshold([-1.0, 0.5, 2.0], 1.0, 7.0)
    tensor([7., 7., 2.])
    """
    return _threshold.bind(input, threshold, value)  # type: ignore[no-any-return]


def _celu_samples(r: Any) -> Any:
    yield from r.singles(-3, 3)
    yield (r.normal(4), 0.3), {}
    yield (r.normal(4),), {"alpha": 2.0}


@operation(
    oracle=lambda x, alpha=1.0: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0) / alpha),
    samples=_celu_samples,
    namespace="nn",
)
def celu(input: Any, alpha: Any = 1.0) -> Tensor:
    """x where x > 0, else alpha (exp(x / alpha) - 1), once differentiable everywhere (Barron 2017).

    Raises for alpha = 0.
    """
    plain = type(alpha) in (int, float)
    need(not plain or alpha != 0, "celu", alpha=alpha, want="alpha other than 0", fix="alpha=1.0")
    return _celu.bind(input, alpha)  # type: ignore[no-any-return]


def _glu_reference(x: Any, *, axis: int) -> Any:
    return _glu.bind(*split(x, 2, axis))


def _glu_spec(x: Spec, *, axis: int) -> Spec:
    shape = (*x.shape[:axis], x.shape[axis] // 2, *x.shape[axis + 1 :])
    return Spec(shape, dtypes.inexact(x.dtype))


_glu_p = fused("glu", _glu_reference, nin=1, spec=_glu_spec)
"""The halves of an axis, one times the sigmoid of the other; see `backend/gated.py`."""


def _glu_samples(r: Any) -> Any:
    for x, dim in (
        (r.normal(4), -1), (r.normal(3, 4), -1), (r.normal(4, 3), 0), (r.normal(2, 6, 3), 1),
        (r.normal(4, 3).T, 1), (r.normal(6, 4)[::2, ::-1], -1), (r.normal(0, 4), -1),
        (np.broadcast_to(r.normal(3, 1), (3, 4)), -1), (r.normal(1, 2, 1), -2),
    ):  # fmt: skip
        yield (x,), {"dim": dim}


def _glu_oracle(x: Any, dim: int = -1) -> Any:
    a, b = np.split(x, 2, dim)
    return a / (1 + np.exp(-b))


@operation(oracle=_glu_oracle, samples=_glu_samples, namespace="nn")
def glu(input: Any, dim: int = -1) -> Tensor:
    """a sigmoid(b), where a and b are the halves of input along `dim`.

    Dauphin et al., "Language modeling with gated convolutional networks", 2017. Raises `ShapeError`
    for an axis of odd length.

    >>> glu([2.0, 0.0])
    tensor([1.])
    """
    x = operand(input, (), "glu")
    axis = shapes.axis_index(dim, x.ndim, "glu")
    even = x.shape[axis] % 2 == 0
    need(even, "glu", input=x, dim=dim, want="an axis of even length", fix="another dim")
    bind = _glu_p.bind if dtypes.is_float(x.dtype) else _glu_reference
    return bind(x, axis=axis)  # type: ignore[no-any-return]


def _rrelu_samples(r: Any) -> Any:
    yield from r.singles(-3, 3)
    yield (r.normal(4), 0.2, 0.6), {}


@operation(
    oracle=lambda x, lower=1 / 8, upper=1 / 3: np.where(x > 0, x, (lower + upper) / 2 * x),
    samples=_rrelu_samples,
    namespace="nn",
)
def rrelu(
    input: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """x where x > 0, else slope · x, a slope an element uniform on [lower, upper) in training.

    Off training the slope is the mean of the two. Inside vmap all members share the slopes. Xu et
    al., "Empirical evaluation of rectified activations", 2015. Raises unless lower <= upper.
    """
    need(lower <= upper, "rrelu", lower=lower, upper=upper, want="lower <= upper",
         fix=f"lower={upper}, upper={lower}", error=ValueError)  # fmt: skip
    x = operand(input, (), "rrelu")
    if not training:
        return _rrelu.bind(*operands((x, (lower + upper) / 2), "rrelu"))  # type: ignore[no-any-return]
    need(dtypes.is_float(x.dtype), "rrelu", input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    slopes = uniform(lower, upper, x.shape, x.dtype, device=x.device, generator=generator)
    return _rrelu.bind(x, slopes)  # type: ignore[no-any-return]


def _softmin_samples(r: Any) -> Any:
    for x, dim in (
        (r.normal(5), -1), (r.normal(3, 4), -1), (r.normal(3, 4), 0), (r.normal(2, 3, 4), 1),
        (r.normal(0, 3), -1), (r.normal(4, 3).T, -1), (r.normal(6, 4)[::2, ::-1], 0),
        (np.broadcast_to(r.normal(3, 1), (3, 4)), -1),
    ):  # fmt: skip
        yield (x,), {"dim": dim}


def _softmin_oracle(x: Any, dim: int) -> Any:
    e = np.exp(-x)
    return e / e.sum(dim, keepdims=True)


@operation(oracle=_softmin_oracle, samples=_softmin_samples, namespace="nn")
def softmin(input: Any, dim: int | None = None) -> Tensor:
    """exp(-x) / Σ exp(-x) along the axis `dim`; raises `ShapeError` without one.

    >>> softmin([1.0, 1.0], dim=0)
    tensor([0.5, 0.5])
    """
    need(dim is not None, "softmin", dim=dim, want="the axis that sums to 1", fix="dim=-1")
    return softmax(-operand(input, (), "softmin"), axis=dim)  # type: ignore[no-any-return]
