"""Activation functions, one formula each; PyTorch's names and arguments.

A parameter such as `alpha` is an operand of the formula: a number, an array or a tensor that may
carry a gradient itself. NaN passes through every one of them.

>>> relu([-1.0, 2.0])
tensor([0., 2.])
>>> sigmoid(0.0)
tensor(0.5)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tensorgrad._errors import need
from tensorgrad.backend.formulas import gelu_tanh
from tensorgrad.core.calls import operands
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.registry import elementwise, known, operation
from tensorgrad.expr import call, stop
from tensorgrad.expr import where as select
from tensorgrad.ops.elementwise import leaf, traced

_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _samples(r: Any) -> Any:
    return r.singles(-3, 3)


def _softplus_of(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _cdf(x: Any) -> Any:
    from scipy.special import ndtr  # late: only for tests

    return ndtr(x).astype(x.dtype)


step = elementwise(
    "step",
    lambda x: select(x > 0, 1.0, select(x <= 0, 0.0, stop(x))),
    doc="1 for x > 0, else 0 (Rosenblatt's threshold unit).",
    oracle=lambda x: np.heaviside(x, 0),
    samples=_samples,
)
sigmoid = leaf(
    "sigmoid",
    "1 / (1 + exp(-x)).",
    oracle="scipy.special.expit",
    numpy="scipy.special.expit",
    methods="sigmoid",
)
log_sigmoid = leaf(
    "log_sigmoid",
    "log(1 / (1 + exp(-x))) without overflow.",
    oracle="scipy.special.log_expit",
    numpy="scipy.special.log_expit",
)
relu = elementwise(
    "relu",
    lambda x: call("relu", x),  # not maximum: its ties share, and relu' is 0 at 0
    doc="max(x, 0); derivative 0 at 0.",
    oracle=lambda x: np.maximum(x, 0),
    samples=_samples,
    methods="relu",
)
relu6 = elementwise(
    "relu6",
    lambda x: select(x <= 0, 0, select(x >= 6, 6, x)),
    doc="min(max(x, 0), 6); derivative 0 at 0 and at 6.",
    oracle=lambda x: np.clip(x, 0, 6),
    samples=lambda r: r.singles(-2, 8),
)
selu = elementwise(
    "selu",
    lambda x: _SELU_SCALE * select(x > 0, x, _SELU_ALPHA * call("expm1", x)),
    doc="1.0507 x for x > 0, else 1.0507 · 1.6733 (exp(x) - 1) (Klambauer et al. 2017).",
    oracle=lambda x: np.where(x > 0, 1.0507009873554805 * x, 1.7580993408473766 * np.expm1(x)),
    samples=_samples,
)
softsign = elementwise(
    "softsign",
    lambda x: x / (1 + call("abs", x)),
    doc="x / (1 + |x|).",
    oracle=lambda x: x / (1 + np.abs(x)),
    samples=_samples,
)
silu = elementwise(
    "silu",
    lambda x: x * call("sigmoid", x),
    doc="x sigmoid(x), also called swish.",
    oracle=lambda x: x / (1 + np.exp(-x)),
    samples=_samples,
)
mish = elementwise(
    "mish",
    lambda x: x * call("tanh", call("softplus", x)),
    doc="x tanh(log(1 + exp(x))) (Misra 2019).",
    oracle=lambda x: x * np.tanh(_softplus_of(x)),
    samples=_samples,
)

# -- with parameters ---------------------------------------------------------------------------

_leaky = known(Elementwise.trace("leaky_relu", lambda x, slope: select(x > 0, x, slope * x)))
_elu = known(Elementwise.trace("elu", lambda x, alpha: select(x > 0, x, alpha * call("expm1", x))))
_softplus = known(Elementwise.trace("softplus", lambda x: call("softplus", x)))
_softplus_beta = known(
    Elementwise.trace("softplus_beta", lambda x, beta: call("softplus", beta * x) / beta)
)
_softplus_cut = known(
    Elementwise.trace(
        "softplus_cut",
        lambda x, beta, most: select(beta * x > most, x, call("softplus", beta * x) / beta),
    )
)
_hardtanh = known(
    Elementwise.trace(
        "hardtanh", lambda x, low, high: select(x <= low, low, select(x >= high, high, x))
    )
)
_gelu = known(
    Elementwise.trace(
        # erfc, not 1 + erf: below -5 that would leave nothing but rounding
        "gelu",
        lambda x: 0.5 * x * call("erfc", x * -math.sqrt(0.5)),
    )
)
_gelu_tanh = known(Elementwise.trace("gelu_tanh", gelu_tanh))


def _leaky_samples(r: Any) -> Any:
    yield from _samples(r)
    yield (r.normal(4), 0.3), {}
    yield (r.normal(4),), {"negative_slope": 0.2}


@operation(
    oracle=lambda x, negative_slope=0.01: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    samples=_leaky_samples,
)
def leaky_relu(x: Any, negative_slope: Any = 0.01) -> Any:
    """x for x > 0, else negative_slope · x (Maas et al. 2013).

    >>> leaky_relu([-1.0, 2.0], 0.1)
    tensor([-0.1,  2. ])
    """
    return _leaky.bind(x, negative_slope)


def _prelu_samples(r: Any) -> Any:
    for (x,), _ in _samples(r):
        yield (x, r.uniform(0.1, 0.5)), {}
    yield (r.normal(2, 3), r.uniform(0.1, 0.5, 3)), {}
    yield (r.normal(2, 3, 4), r.uniform(0.1, 0.5, 3)), {}
    yield (r.normal(2, 3, 4, 1), r.uniform(0.1, 0.5, 1)), {}


def _prelu_oracle(x: Any, weight: Any) -> Any:
    w = weight if x.ndim < 2 else np.reshape(weight, (-1,) + (1,) * (x.ndim - 2))
    return np.maximum(x, 0) + w * np.minimum(x, 0)


@operation(oracle=_prelu_oracle, samples=_prelu_samples)
def prelu(x: Any, weight: Any) -> Any:
    """x for x > 0, else weight · x, with one weight or one per channel (axis 1 of x).

    Raises `ShapeError` if the number of weights is neither 1 nor that of the channels
    (He et al. 2015).
    """
    if traced(x, weight):
        return _leaky.bind(x, weight)
    x, weight = operands((x, weight), "prelu")
    channels = x.shape[1] if x.ndim > 1 else 1
    need(
        weight.ndim < 2 and weight.size in (1, channels),
        "prelu",
        x=x,
        weight=weight,
        want="one weight, or one per channel (axis 1 of x)",
        fix=f"a weight of shape ({channels},)",
    )
    if weight.ndim:
        shape = (weight.size, *(1,) * (x.ndim - 2)) if x.ndim > 1 else (1,) * x.ndim
        weight = weight.reshape(shape)
    return _leaky.bind(x, weight)


def _elu_samples(r: Any) -> Any:
    yield from _samples(r)
    yield (r.normal(4), 0.3), {}
    yield (r.normal(4),), {"alpha": 2.0}


@operation(
    oracle=lambda x, alpha=1.0: np.maximum(x, 0) + alpha * np.expm1(np.minimum(x, 0)),
    samples=_elu_samples,
)
def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x for x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016)."""
    return _elu.bind(x, alpha)


def _softplus_samples(r: Any) -> Any:
    yield from _samples(r)
    yield (r.normal(4), 3.0), {}
    yield (r.normal(4),), {"beta": 0.5}
    yield (np.array([-1.0, 0.3, 0.8, 2.0]),), {"beta": 2.0, "threshold": 1.0}


def _softplus_oracle(x: Any, beta: Any = 1.0, threshold: float = 20.0) -> Any:
    return np.where(beta * x > threshold, x, _softplus_of(beta * x) / beta)


@operation(
    oracle=_softplus_oracle,
    samples=_softplus_samples,
)
def softplus(x: Any, beta: Any = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + exp(beta x)) / beta, without overflow for any x; x itself where beta x > threshold.

    From 20 on, where that is less than 3e-9 away, no threshold is looked at.
    """
    if threshold < 20:
        return _softplus_cut.bind(x, beta, threshold)
    if type(beta) in (int, float) and beta == 1:
        return _softplus.bind(x)
    return _softplus_beta.bind(x, beta)


def _hardtanh_samples(r: Any) -> Any:
    yield from r.singles(-2, 2)
    yield (r.normal(4), -0.3, 0.4), {}
    yield (r.normal(4),), {"min_val": -2.0, "max_val": 0.5}


@operation(
    oracle=lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
    samples=_hardtanh_samples,
)
def hardtanh(x: Any, min_val: Any = -1.0, max_val: Any = 1.0) -> Any:
    """x kept within [min_val, max_val]; derivative 0 at the bounds (that of `clip` is 1)."""
    if not traced(x, min_val, max_val):
        x, min_val, max_val = operands((x, min_val, max_val), "hardtanh")
    return _hardtanh.bind(x, min_val, max_val)


def _gelu_oracle(x: Any, approximate: str = "none") -> Any:
    if approximate == "none":
        return x * _cdf(x)
    return x / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _gelu_samples(r: Any) -> Any:
    yield from _samples(r)
    yield (r.normal(4), "tanh"), {}
    yield (r.normal(3, 2),), {"approximate": "tanh"}


_GELU = {"none": _gelu, "tanh": _gelu_tanh}


@operation(oracle=_gelu_oracle, samples=_gelu_samples)
def gelu(x: Any, approximate: str = "none") -> Any:
    """x Φ(x), Φ the normal distribution function; "tanh": its approximation (Hendrycks 2016).

    Raises `ValueError` for another `approximate`.
    """
    chosen = _GELU.get(approximate)
    if chosen is None:
        raise ValueError(
            f"gelu: got approximate={approximate!r}, expected 'none' or 'tanh'; "
            "try approximate='none'"
        )
    return chosen.bind(x)
