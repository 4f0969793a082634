"""Bessel functions, with derivatives in the argument and in a real order.

>>> jv(0.5, [1.0, 2.0])
tensor([0.67139671, 0.51301614])
"""

from __future__ import annotations

import math
from typing import Any

from tensorgrad._errors import need
from tensorgrad.core.calls import operand
from tensorgrad.core.primitive import Primitive
from tensorgrad.core.registry import operation
from tensorgrad.ops.elementary import exp
from tensorgrad.ops.elementwise import absolute, sign, where
from tensorgrad.ops.shape import whole
from tensorgrad.ops.special.rules import Call, formula, smooth, special


def _over(sign_of: float) -> Any:
    """J1(x) / x (-1) or I1(x) / x (+1) for |x| < 1.5, where the quotient's slope would cancel."""

    def series(x: Any) -> Any:
        w = sign_of * 0.25 * x * x
        found = 0.0
        for k in range(13, -1, -1):
            found = found * w + 0.5 / (math.factorial(k) * math.factorial(k + 1))
        return found

    return series


_j1_over_x = formula("j1_over_x", _over(-1.0))
_i1_over_x = formula("i1_over_x", _over(1.0))


def _quotient(near: Any, x: Any, value: Any) -> Any:
    """value / x, by the series `near` about 0."""
    small = absolute(x) < 1.5
    return where(small, near(where(small, x, 0.0)), value / where(small, 1.0, x))


def _any(r: Any) -> Any:
    return r.singles(-4, 4)


def _right(r: Any) -> Any:
    return r.singles(0.6, 5)


# -- orders 0 and 1 ------------------------------------------------------------------------------

j0: Call = special(
    "j0", "J₀(x), Bessel's function of order 0.", {"x": lambda x: -j1(x)}, samples=_any
)
j1: Call = special(
    "j1",
    "J₁(x), Bessel's function of order 1.",
    {"x": lambda x, out: j0(x) - _quotient(_j1_over_x, x, out)},
    samples=_any,
)
y0: Call = special("y0", "Y₀(x), of the second kind.", {"x": lambda x: -y1(x)}, samples=_right)
y1: Call = special(
    "y1", "Y₁(x), of the second kind.", {"x": lambda x, out: y0(x) - out / x}, samples=_right
)
i0: Call = special("i0", "I₀(x), the modified function.", {"x": lambda x: i1(x)}, samples=_any)
i1: Call = special(
    "i1",
    "I₁(x), the modified function.",
    {"x": lambda x, out: i0(x) - _quotient(_i1_over_x, x, out)},
    samples=_any,
)
i0e: Call = special(
    "i0e",
    "exp(-|x|) I₀(x); derivative 0 at 0.",
    {"x": lambda x, out: i1e(x) - sign(x) * out},
    samples=_right,
)
i1e: Call = special(
    "i1e",
    "exp(-|x|) I₁(x).",
    {
        "x": lambda x, out: (
            i0e(x) - sign(x) * out - _quotient(lambda t: _i1_over_x(t) * exp(-absolute(t)), x, out)
        )
    },
    samples=_right,
)
k0: Call = special("k0", "K₀(x), of the third kind.", {"x": lambda x: -k1(x)}, samples=_right)
k1: Call = special(
    "k1", "K₁(x), of the third kind.", {"x": lambda x, out: -k0(x) - out / x}, samples=_right
)
k0e: Call = special("k0e", "exp(x) K₀(x).", {"x": lambda x, out: out - k1e(x)}, samples=_right)
k1e: Call = special(
    "k1e",
    "exp(x) K₁(x).",
    {"x": lambda x, out: out - k0e(x) - out / x},
    samples=_right,
)

# -- any order -----------------------------------------------------------------------------------

_WHOLE = "yv takes an order that is not whole"


def _orders(r: Any, low: float = 0.8) -> Any:
    for k, ((z,), _) in enumerate(r.singles(low, 5)):
        yield ((0, r.uniform(0.2, 3, *z.shape), 2.5, -0.3)[k % 4], z), {}


def _above_two(r: Any) -> Any:
    """Where SciPy's K keeps its digits: just under z = 2 it errs by 7e-14, as differences see."""
    return _orders(r, 2.1)


def _mean(sign_of: float, of: Primitive) -> Any:
    """(f(v-1) + sign f(v+1)) / 2."""
    return lambda v, z, n: 0.5 * (of.bind(v - 1, z, n=n) + sign_of * of.bind(v + 1, z, n=n))


jv_dv_p: Primitive = smooth(
    "jv_dv",
    {
        "v": lambda v, z, n: jv_dv_p.bind(v, z, n=n + 1),
        "z": lambda v, z, n: _mean(-1.0, jv_dv_p)(v, z, n),
    },
)
"""∂ⁿJ/∂vⁿ for z > 0."""

yv_dv_p: Primitive = smooth(
    "yv_dv",
    {
        "v": lambda v, z, n: yv_dv_p.bind(v, z, n=n + 1),
        "z": lambda v, z, n: _mean(-1.0, yv_dv_p)(v, z, n),
    },
)
"""∂ⁿY/∂vⁿ for z > 0."""

ive_dv_p: Primitive = smooth(
    "ive_dv",
    {
        "v": lambda v, z, n: ive_dv_p.bind(v, z, n=n + 1),
        "z": lambda v, z, out, n: _mean(1.0, ive_dv_p)(v, z, n) - out,
    },
)
"""exp(-z) ∂ⁿI/∂vⁿ for z > 0."""

kve_dv_p: Primitive = smooth(
    "kve_dv",
    {
        "v": lambda v, z, n: kve_dv_p.bind(v, z, n=n + 1),
        "z": lambda v, z, out, n: out - _mean(1.0, kve_dv_p)(v, z, n),
    },
)
"""exp(z) ∂ⁿK/∂vⁿ for z > 0."""


def _whole_orders(r: Any) -> Any:
    for k, ((z,), _) in enumerate(r.singles(0.8, 5)):
        yield (k % 3, z), {}


jv: Call = special(
    "jv",
    "Jᵥ(z), Bessel's function of real order v, with a gradient in v for z > 0; of complex z too.",
    {
        "v": lambda v, z: jv_dv_p.bind(v, z, n=1),
        "z": lambda v, z: 0.5 * (jv(v - 1, z) - jv(v + 1, z)),
    },
    samples=_orders,
    complex=True,
)
yv: Call = special(
    "yv",
    "Yᵥ(z), of the second kind.",
    {
        "v": lambda v, z: yv_dv_p.bind(v, z, n=1),
        "z": lambda v, z: 0.5 * (yv(v - 1, z) - yv(v + 1, z)),
    },
    samples=_orders,
    complex=True,
)
yn: Call = special(
    "yn",
    "Yₙ(x) of integer order.",
    {"n": _WHOLE, "x": lambda n, x: 0.5 * (yn(n - 1, x) - yn(n + 1, x))},
    samples=_whole_orders,
)
iv: Call = special(
    "iv",
    "Iᵥ(z), the modified function.",
    {
        "v": lambda v, z: exp(z) * ive_dv_p.bind(v, z, n=1),
        "z": lambda v, z: 0.5 * (iv(v - 1, z) + iv(v + 1, z)),
    },
    samples=_orders,
    complex=True,
)
kv: Call = special(
    "kv",
    "Kᵥ(z), of the third kind.",
    {
        "v": lambda v, z: exp(-z) * kve_dv_p.bind(v, z, n=1),
        "z": lambda v, z: -0.5 * (kv(v - 1, z) + kv(v + 1, z)),
    },
    samples=_above_two,
    complex=True,
)
jve: Call = special(
    "jve",
    "Jᵥ(z) exp(-|Im z|); for real z it is Jᵥ(z).",
    {
        "v": lambda v, z: jv_dv_p.bind(v, z, n=1),
        "z": lambda v, z: 0.5 * (jve(v - 1, z) - jve(v + 1, z)),
    },
    samples=_orders,
)
yve: Call = special(
    "yve",
    "Yᵥ(z) exp(-|Im z|); for real z it is Yᵥ(z).",
    {
        "v": lambda v, z: yv_dv_p.bind(v, z, n=1),
        "z": lambda v, z: 0.5 * (yve(v - 1, z) - yve(v + 1, z)),
    },
    samples=_orders,
)
ive: Call = special(
    "ive",
    "exp(-|z|) Iᵥ(z).",
    {
        "v": lambda v, z: ive_dv_p.bind(v, z, n=1),
        "z": lambda v, z, out: 0.5 * (ive(v - 1, z) + ive(v + 1, z)) - sign(z) * out,
    },
    samples=_orders,
)
kve: Call = special(
    "kve",
    "exp(z) Kᵥ(z).",
    {
        "v": lambda v, z: kve_dv_p.bind(v, z, n=1),
        "z": lambda v, z, out: out - 0.5 * (kve(v - 1, z) + kve(v + 1, z)),
    },
    samples=_above_two,
    complex=True,
)

# -- spherical -----------------------------------------------------------------------------------


def _spherical(name: str, doc: str, lower: float, upper: float) -> Any:
    """f_n' = (lower n f_{n-1} + upper (n + 1) f_{n+1}) / (2 n + 1)."""

    def slope(z: Any, n: int) -> Any:
        found = upper * (n + 1) * here.bind(z, n=n + 1)
        return (found + lower * n * here.bind(z, n=n - 1) if n else found) / (2 * n + 1)

    here = smooth(name, {"z": slope}, complex=True)

    def function(n: int, z: Any, derivative: bool = False) -> Any:
        n = whole(name, n)
        need(n >= 0, name, n=n, want="n >= 0", fix="n=0", error=ValueError)
        z = operand(z, (), name)
        return slope(z, n) if derivative else here.bind(z, n=n)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = f"{__package__}.bessel"
    enter = operation(
        oracle=f"scipy.special.{name}", samples=_spherical_samples, namespace="special"
    )
    return enter(function)


def _spherical_samples(r: Any) -> Any:
    for n, z in _whole_orders_of(r):
        yield (n, z), {"derivative": n == 2}


def _whole_orders_of(r: Any) -> Any:
    for args, _ in _whole_orders(r):
        yield args


spherical_jn = _spherical("spherical_jn", "jₙ(z), the spherical Bessel function.", 1.0, -1.0)
spherical_yn = _spherical("spherical_yn", "yₙ(z), of the second kind.", 1.0, -1.0)
spherical_in = _spherical("spherical_in", "iₙ(z), the modified function.", 1.0, 1.0)
spherical_kn = _spherical("spherical_kn", "kₙ(z), the modified function.", -1.0, -1.0)
