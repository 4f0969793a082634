"""Special functions: the operations of `tg.special`."""

from tensorgrad.core.registry import also
from tensorgrad.ops.special import (
    bessel,
    errors,
    formulas,
    gammas,
    hypergeometric,
    incomplete,
    integrals,
    student,
    sums,
)

also("special", erf="erf", erfc="erfc", expit="sigmoid", log_expit="log_sigmoid")
also(
    "special",
    expm1="expm1",
    log1p="log1p",
    cbrt="cbrt",
    exp2="exp2",
    softplus="softplus",
    sinc="sinc",
)
also("special", psi="special.digamma", jn="special.jv")

__all__ = [
    "bessel",
    "errors",
    "formulas",
    "gammas",
    "hypergeometric",
    "incomplete",
    "integrals",
    "student",
    "sums",
]
