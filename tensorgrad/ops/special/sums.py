"""Sums of exponentials over axes, with SciPy's signatures.

>>> logsumexp([1000.0, 1000.0])
tensor(1000.69314718)
>>> softmax([0.0, 0.0])
tensor([0.5, 0.5])
"""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad.core.calls import operands
from tensorgrad.core.registry import operation
from tensorgrad.ops import reduce
from tensorgrad.ops import softmax as rows
from tensorgrad.ops.elementary import exp, log
from tensorgrad.ops.elementwise import absolute, sign, where
from tensorgrad.ops.extremes import max as largest


def _axes(r: Any) -> Any:
    yield from r.reductions(empty=False)


def _softmax_oracle(x: Any, axis: Any = None) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.softmax(x, axis)


def _log_softmax_oracle(x: Any, axis: Any = None) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.log_softmax(x, axis)


def _axis_samples(r: Any) -> Any:
    for (x,), options in r.reductions(empty=False):
        yield (x,), {"axis": options.get("axis")}


@operation(oracle=_softmax_oracle, samples=_axis_samples, namespace="special", name="softmax")
def softmax(x: Any, axis: shapes.Axis = None) -> Any:
    """exp(x) / Σ exp(x) over axes (None: all of them)."""
    return rows.softmax(x, axis)


@operation(
    oracle=_log_softmax_oracle, samples=_axis_samples, namespace="special", name="log_softmax"
)
def log_softmax(x: Any, axis: shapes.Axis = None) -> Any:
    """x - log Σ exp(x) over axes (None: all of them)."""
    return rows.log_softmax(x, axis)


def _logsumexp_oracle(
    a: Any, axis: Any = None, b: Any = None, keepdims: bool = False, return_sign: bool = False
) -> Any:
    import scipy.special  # late: only for tests

    return scipy.special.logsumexp(a, axis, b, keepdims, return_sign)


def _logsumexp_samples(r: Any) -> Any:
    yield from r.several_axes()
    yield (r.normal(3, 4),), {"b": r.uniform(0.5, 2, 4), "axis": 1}
    yield (r.normal(3, 4), -1, r.uniform(0.5, 2, 3, 1), True), {}
    yield (r.normal(5),), {"b": -r.uniform(1, 2, 5), "return_sign": True}


@operation(
    oracle=_logsumexp_oracle, samples=_logsumexp_samples, namespace="special", name="logsumexp"
)
def logsumexp(
    a: Any,
    axis: shapes.Axis = None,
    b: Any = None,
    keepdims: bool = False,
    return_sign: bool = False,
) -> Any:
    """log Σ b exp(a) over axes, without overflow; with `return_sign` log |Σ| and its sign.

    Without `return_sign` a negative sum gives NaN. Elements of a where b is 0 do not count.
    """
    if b is None and not return_sign:
        return reduce.logsumexp(a, axis, keepdims=keepdims)
    a, b = operands((a, 1.0 if b is None else b), "logsumexp")
    a = where(b == 0, -float("inf"), a + 0.0 * b) if b.size > 1 else a * 1.0
    top = largest(a.detach(), axis=axis, keepdims=True)
    top = where(absolute(top) < float("inf"), top, 0.0)
    total = reduce.sum(b * exp(a - top), axis=axis, keepdims=keepdims)
    shift = top if keepdims else reduce.sum(top, axis=axis)
    if not return_sign:
        return log(total) + shift
    return log(absolute(total)) + shift, sign(total)
