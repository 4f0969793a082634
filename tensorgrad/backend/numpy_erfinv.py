"""The inverse of the error function of float64 arrays, by a generated loop.

x g(w) with w = -log(1 - x²), where g is a polynomial of w near 0, and of its root in the tails
(Giles, "Approximating the erfinv function", GPU Computing Gems 2, 2011); at most 4 ulp.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache as once
from typing import Any

import numpy as np

from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.expr import Expr, Formula, call, equal, where
from tensorgrad.expr import input as variable

Array = np.ndarray[Any, Any]

_NEAR = (
    -1.9123778045391186e-23, -3.3795536525485224e-22, 4.357475280244854e-21,
    1.8739434875095462e-20, -3.7848217521105335e-19, 6.396664855709971e-19, 1.5992591736199305e-17,
    -1.226305743260548e-16, -4.417003393665373e-17, 6.525767922399858e-15, -3.998852309540432e-14,
    -8.074665167507013e-14, 2.6303859148085384e-12, -1.2978692479994892e-11,
    -5.4142609576164565e-11, 1.051223070748762e-09, -4.112661266924503e-09, -2.907039074871087e-08,
    4.234788178266526e-07, -1.3654691764135042e-06, -1.3882523394637344e-05, 0.0001867342080200925,
    -0.0007407025341544301, -0.006033670871426909, 0.2401581824255883, 1.6536545626831027,
)  # fmt: skip
"""Of w - 3.125, for w <= 6.25."""

_MIDDLE = (
    7.680200479077053e-09, -1.5305397964152548e-08, -2.091453334773126e-08, 1.3158663683192966e-07,
    -2.4549818963339823e-07, -2.761716223816241e-08, 1.4815977874022539e-06,
    -3.985705945648173e-06, 2.93257845538535e-06, 1.2465028224217455e-05, -4.732068066544697e-05,
    6.828711739251955e-05, 2.4031512865758357e-05, -0.0003550378137852452, 0.0009532893415794137,
    -0.0016882755354488555, 0.00249144209795696, -0.0037512085082247342, 0.005370914553555033,
    1.0052589676941655, 3.0838856104922208,
)  # fmt: skip
"""Of √w - 3.25, up to 4."""

_FAR = (
    -1.5439278197208357e-11, 2.8907082659821957e-11, 7.745384761724363e-11, -3.868291027600669e-10,
    1.0483309310240935e-09, -2.63111320489407e-09, 5.8058881045281164e-09, -1.1207461299741081e-08,
    2.182184091047108e-08, -5.493197748316723e-08, 2.016190552154886e-07, -9.070860240222452e-07,
    4.193853753803149e-06, -1.8374536139125653e-05, 7.124031542245363e-05, -0.00020031200668027357,
    -0.00016985809149340297, 1.010285017597772, 4.90042105144364,
)  # fmt: skip
"""Of √w - 5.05, up to the last number below 1."""


def _horner(x: Expr, coefficients: Sequence[float]) -> Expr:
    first, second, *rest = coefficients
    total = x * first + second
    for c in rest:
        total = total * x + c
    return total


def _inverse(x: Expr) -> Expr:
    w = -call("log", (1 - x) * (1 + x))
    root = call("sqrt", w)
    tail = where(root < 4, _horner(root - 3.25, _MIDDLE), _horner(root - 5.05, _FAR))
    slope = where(w < 6.25, _horner(w - 3.125, _NEAR), tail)
    return x * where(equal(call("abs", x), 1), float("inf"), slope)


@once
def _kernel() -> ElementwiseKernel | None:
    from tensorgrad import codegen  # late: for import time

    formula = Formula.trace("erfinv", _inverse, [variable("x")])
    generated = codegen.kernel(formula, np.float64) is not None
    return ElementwiseKernel(formula, order=1) if generated else None


def erfinv(x: Array) -> Any:
    """The inverse of erf; NaN beyond ±1. SciPy's without generated code, or float64."""
    kernel = _kernel() if x.dtype == np.float64 else None
    if kernel is None:
        import scipy.special  # late: for import time

        return np.copysign(scipy.special.erfinv(x), x)  # SciPy's of -0 is +0
    return kernel(x)
