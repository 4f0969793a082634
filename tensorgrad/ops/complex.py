"""The parts of complex numbers.

The inner product is Re Σ conj(a) b, so the cotangent of a real part is real, of an imaginary part
imaginary, and that of a conjugate is conjugated. |x| and the angle are written in the parts.
"""

from __future__ import annotations

from typing import Any

from tensorgrad import dtypes
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import make
from tensorgrad.expr import Expr, const
from tensorgrad.ops.shape import all_batched


def _part(name: str, vjp: Any) -> Primitive:
    """A primitive from complex numbers to one of their parts."""

    def batch(inputs: Any, batched: Any) -> Any:
        return found.bind(*inputs)

    found: Primitive = primitive(
        name,
        nin=1,
        spec=lambda x: Spec(x.shape, dtypes.real(x.dtype)),
        vjp=(vjp,),
        linear=(0,),
        batch=batch,
        params=False,
        view=True,
    )
    return found


_real = _part("real", lambda ct, out, x: ct)
_imag = _part("imag", lambda ct, out, x: ct * 1j)
_conj: Primitive = primitive(
    "conj",
    nin=1,
    spec=lambda x: x,
    vjp=(lambda ct, out, x: conj(ct),),
    linear=(0,),
    batch=lambda inputs, batched: _conj.bind(*inputs),
    params=False,
)

of_parts: Primitive = primitive(
    "of_parts",
    nin=2,
    spec=lambda re, im: Spec(re.shape, dtypes.result_type(re.dtype, dtypes.complex64)),
    vjp=(lambda ct, out, re, im: _real.bind(ct), lambda ct, out, re, im: _imag.bind(ct)),
    # Linear in the two together, not in one while the other stays; of real t, imag gives zeros.
    jvp=(
        lambda t, out, re, im: of_parts.bind(t, imag(t)),
        lambda t, out, re, im: of_parts.bind(imag(t), t),
    ),
    batch=lambda inputs, batched: of_parts.bind(*all_batched(inputs, batched)),
    params=False,
)
"""The complex numbers of two arrays of one shape and real dtype: exact, as re + 1j * im is not."""


def _samples(r: Any) -> Any:
    for x in r.layouts(lambda *s: r.normal(*s) + 1j * r.uniform(0.5, 2, *s)):
        yield (x,), {}
    yield (r.normal(3),), {}


@operation(numpy="real", oracle="real", samples=_samples)
def real(x: Any, /) -> Any:
    """Re x, a view; of real x the tensor itself."""
    if type(x) is Expr:  # formulas are real
        return x
    x = operand(x, (), "real")
    return _real.bind(x) if x.dtype.kind == "c" else x


@operation(numpy="imag", oracle="imag", samples=_samples)
def imag(x: Any, /) -> Any:
    """Im x, a view; of real x zeros."""
    if type(x) is Expr:  # formulas are real
        return const(0.0)
    x = operand(x, (), "imag")
    if x.dtype.kind == "c":
        return _imag.bind(x)
    return make(base.of(x.value()).full(x.shape, 0, x.dtype))


@operation(numpy="conjugate", methods="conj conjugate", oracle="conjugate", samples=_samples)
def conj(x: Any, /) -> Any:
    """Re x - i Im x; of real x the tensor itself."""
    if type(x) is Expr:  # formulas are real
        return x
    x = operand(x, (), "conj")
    return _conj.bind(x) if x.dtype.kind == "c" else x
