"""Functions that are formulas of elementary ones: their kernels and derivatives follow.

Where a quotient cancels about 0 its series stands in, so derivatives keep their digits there too.

>>> logit([0.5, 0.9])
tensor([0.        , 2.19722458])
>>> xlogy([0.0, 2.0], 3.0), rel_entr([1.0, 0.0], 2.0)
(tensor([0.        , 2.19722458]), tensor([-0.69314718,  0.        ]))
>>> huber(1.0, [0.5, 3.0])
tensor([0.125, 2.5  ])
>>> exprel([0.0, 1.0])
tensor([1.        , 1.71828183])
>>> boxcox(4.0, [0.0, 0.5])
tensor([1.38629436, 2.        ])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tensorgrad.core.registry import elementwise
from tensorgrad.expr import call, equal, stop
from tensorgrad.expr import where as select

INF = math.inf


def _define(name: str, fn: Callable[..., Any], doc: str, samples: Any, **more: Any) -> Any:
    return elementwise(
        name,
        fn,
        doc=doc,
        samples=samples,
        family="formulas",
        namespace="special",
        **{"oracle": f"scipy.special.{name}", "numpy": f"scipy.special.{name}", **more},
    )


def _log(x: Any) -> Any:
    return call("log", x)


def exprel_of(x: Any) -> Any:
    """(e^x - 1) / x."""
    near = call("abs", x) < 0.5
    t = select(near, x, 0)
    series: Any = 0.0
    for k in range(14, -1, -1):
        series = series * t + 1 / math.factorial(k + 1)
    return select(near, series, call("expm1", x) / select(near, 1, x))


def _log1prel_of(x: Any) -> Any:
    """log(1 + x) / x."""
    near = call("abs", x) < 0.1
    t = select(near, x, 0)
    series: Any = 0.0
    for k in range(17, -1, -1):
        series = series * t + (-1) ** k / (k + 1)
    return select(near, series, call("log1p", x) / select(near, 1, x))


def _logit(x: Any) -> Any:
    middle = (x > 0.3) & (x < 0.65)
    return select(middle, call("log1p", (2 * x - 1) / (1 - x)), _log(x / (1 - x)))


def _xlogy(x: Any, y: Any) -> Any:
    # x log y itself at x = 0 too, where it is finite, so that the derivative there is log y.
    idle = equal(x, 0) & ~((y > 0) & (y < INF)) & equal(y, y)
    return select(idle, 0, x * _log(y))


def _xlog1py(x: Any, y: Any) -> Any:
    idle = equal(x, 0) & ~((y > -1) & (y < INF)) & equal(y, y)
    return select(idle, 0, x * call("log1p", y))


def _entr(x: Any) -> Any:
    return select(x > 0, -x * _log(x), select(equal(x, 0), 0, select(x < 0, -INF, stop(x))))


def _rel_entr(x: Any, y: Any) -> Any:
    both, idle = (x > 0) & (y > 0), equal(x, 0) & (y >= 0)
    known = equal(x, x) & equal(y, y)
    return select(both, x * _log(x / y), select(idle, 0, select(known, INF, stop(x + y))))


def _kl_div(x: Any, y: Any) -> Any:
    both, idle = (x > 0) & (y > 0), equal(x, 0) & (y >= 0)
    known = equal(x, x) & equal(y, y)
    return select(both, x * _log(x / y) - x + y, select(idle, y, select(known, INF, stop(x + y))))


def _huber(delta: Any, r: Any) -> Any:
    size = call("abs", r)
    inside, outside = 0.5 * r * r, delta * (size - 0.5 * delta)
    return select(delta < 0, INF, select(size <= delta, inside, outside))


def _pseudo_huber(delta: Any, r: Any) -> Any:
    # δ² (√(1 + (r/δ)²) - 1) without the difference
    idle = equal(delta, 0) | equal(r, 0)
    u = r / select(idle, 1, delta)
    found = r * r / (1 + call("sqrt", 1 + u * u))
    return select(delta < 0, INF, select(equal(delta, 0), 0, found))


def _power_of_log(log: Any, power: Any) -> Any:
    """(e^(λ log) - 1) / λ, smooth about λ = 0."""
    return log * exprel_of(power * log)


def _boxcox(x: Any, power: Any) -> Any:
    at_zero = select(power > 0, -1 / power, -INF)
    return select(equal(x, 0), at_zero, _power_of_log(_log(x), power))


def _cosm1(x: Any) -> Any:
    s = call("sin", 0.5 * x)
    return -2 * s * s


def _weighed(r: Any) -> Any:
    return r.pairs((0.2, 3), (0.2, 3))


logit = _define("logit", _logit, "log(x / (1 - x)).", lambda r: r.singles(0.1, 0.9))
xlogy = _define("xlogy", _xlogy, "x log y, 0 where x = 0 and y is not NaN.", _weighed)
xlog1py = _define("xlog1py", _xlog1py, "x log(1 + y), 0 where x = 0 and y is not NaN.", _weighed)
entr = _define(
    "entr", _entr, "-x log x for x > 0, 0 at 0 (with derivative 0), -inf below.",
    lambda r: r.singles(0.2, 3),
)  # fmt: skip
rel_entr = _define(
    "rel_entr", _rel_entr, "x log(x / y) for x, y > 0, 0 for x = 0 and y >= 0, else inf.", _weighed
)
kl_div = _define(
    "kl_div", _kl_div, "x log(x / y) - x + y for x, y > 0, y for x = 0 and y >= 0, else inf.",
    _weighed,
)  # fmt: skip
huber = _define(
    "huber", _huber, "r² / 2 for |r| <= delta, else delta (|r| - delta / 2) (Huber 1964).",
    lambda r: r.pairs((1.0, 1.5), (-0.9, 0.9)),
)  # fmt: skip
pseudo_huber = _define(
    "pseudo_huber", _pseudo_huber, "delta² (√(1 + (r / delta)²) - 1).",
    lambda r: r.pairs((0.5, 2), (-3, 3)),
)  # fmt: skip
exprel = _define("exprel", exprel_of, "(exp(x) - 1) / x, 1 at 0.", lambda r: r.singles(-2, 2))
cosm1 = _define("cosm1", _cosm1, "cos(x) - 1, accurate near 0.", lambda r: r.singles(-3, 3))
boxcox = _define(
    "boxcox", _boxcox, "(x^lmbda - 1) / lmbda, log x for lmbda = 0 (Box and Cox 1964).",
    lambda r: r.pairs((0.3, 3), (-2, 2)),
)  # fmt: skip
boxcox1p = _define(
    "boxcox1p", lambda x, lmbda: _power_of_log(call("log1p", x), lmbda),
    "((1 + x)^lmbda - 1) / lmbda, log(1 + x) for lmbda = 0.",
    lambda r: r.pairs((-0.5, 3), (-2, 2)),
)  # fmt: skip
inv_boxcox = _define(
    "inv_boxcox", lambda y, lmbda: call("exp", y * _log1prel_of(lmbda * y)),
    "The x at which boxcox(x, lmbda) = y.",
    lambda r: r.pairs((-0.4, 1), (-0.8, 1.5)),
)  # fmt: skip
inv_boxcox1p = _define(
    "inv_boxcox1p", lambda y, lmbda: call("expm1", y * _log1prel_of(lmbda * y)),
    "The x at which boxcox1p(x, lmbda) = y.",
    lambda r: r.pairs((-0.4, 1), (-0.8, 1.5)),
)  # fmt: skip
