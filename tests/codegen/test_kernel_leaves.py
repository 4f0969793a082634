"""Every generated leaf against a wider computation, on its whole range and at its corners."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.codegen import kernel, supports
from tensorgrad.codegen.approx import BODIES, DOUBLE, ULP, ULP_DOUBLE, has_body
from tensorgrad.codegen.approx_turns import NEAR, two_over_pi
from tensorgrad.expr import LEAVES, Formula, call, input
from tensorgrad.expr.evaluate import plan

WIDER = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
DTYPES = [np.float32, np.float64]
EXACT = [
    (name, dtype)
    for name in sorted(set(BODIES) - set(ULP))
    for dtype in DTYPES
    if has_body(name, dtype is np.float64)
]
PAIRS = ["atan2", "hypot", "logaddexp", "logaddexp2", "pow"]
CANCELLING = {"logaddexp", "logaddexp2"}
"""Their sum may be far smaller than its terms: the error is counted in the larger argument's."""

CIRCULAR = ("sin", "cos", "tan")

CORNERS = (0, 0.5, 1, 1.5, 2, 2.5, 3, 88.5, 89, 104, np.inf, np.nan)


def leaf_formula(name: str) -> Formula:
    inputs = [input(f"x{k}") for k in range(LEAVES[name].arity)]
    return Formula.trace(name, lambda *x: call(name, *x), inputs)


def leaf_kernel(name: str, dtype: Any) -> Any:
    run = kernel(leaf_formula(name), dtype)
    assert run is not None
    return run


def corner_values(dtype: Any) -> Any:
    info = np.finfo(dtype)
    found = [*CORNERS, info.tiny, info.max, info.smallest_subnormal, 1 - info.epsneg, 1 + info.eps]
    return np.array([s * c for c in found for s in (1, -1)], dtype)


def corners(dtype: Any, arity: int) -> list[Any]:
    """Every combination of the values where functions bend, start or end."""
    return [g.ravel() for g in np.meshgrid(*[corner_values(dtype)] * arity)]


def spread(rng: np.random.Generator, dtype: Any, n: int = 20000) -> Any:
    """Numbers of every exponent, and of the ranges where the leaves bend and saturate."""
    info = np.finfo(dtype)
    bits = np.uint32 if dtype is np.float32 else np.uint64
    limit = float(np.log(info.max)) * 1.2
    parts = [rng.integers(0, np.iinfo(bits).max, n, bits, endpoint=True).view(dtype)]
    parts += [rng.uniform(-r, r, n).astype(dtype) for r in (limit, 20, 4, 1)]
    parts += [(1 + rng.uniform(-0.5, 0.5, n)).astype(dtype), info.tiny * parts[3]]
    return np.concatenate([*parts, corner_values(dtype)])


def ulps(got: Any, wide: Any, scale: Any = None) -> Any:
    """The error of `got` in units of the last place of `wide`, or of `scale` where given.

    Asserts that both are NaN, or infinite, at the same places, and that a zero has its sign.
    """
    with np.errstate(all="ignore"):
        want = wide.astype(got.dtype)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    huge = np.isinf(want) | np.isinf(got)
    assert np.array_equal(got[huge], want[huge])
    # A number that rounds to zero is no zero: its sign may be lost.
    zero = wide == 0
    assert np.array_equal(np.signbit(got[zero]), np.signbit(want[zero]))
    fine = np.isfinite(want)
    size = np.abs(want if scale is None else scale)
    # The spacing of the largest number itself is none.
    largest = np.nextafter(np.finfo(got.dtype).max, 0)
    unit = np.spacing(np.minimum(size[fine], largest))
    error = np.zeros(got.shape)
    error[fine] = np.abs(got[fine].astype(wide.dtype) - wide[fine]) / unit
    return error


def exactly_alike(got: Any, want: Any) -> None:
    """Asserts that both are the same numbers, zeros of the same sign; NaNs are alike."""
    assert got.dtype == want.dtype
    assert np.array_equal(got, want, equal_nan=got.dtype.kind == "f")
    if got.dtype.kind == "f":
        known = ~np.isnan(want)
        assert np.array_equal(np.signbit(got[known]), np.signbit(want[known]))


def test_the_table_of_bodies() -> None:
    assert set(BODIES) == set(LEAVES)
    assert set(ULP) <= set(BODIES)
    assert set(ULP_DOUBLE) == DOUBLE & set(ULP)
    assert max(*ULP.values(), *ULP_DOUBLE.values()) <= 4
    assert has_body("cbrt", False)
    assert not has_body("cbrt", True)
    assert not has_body("matmul", False)


@pytest.mark.parametrize("name", sorted(n for n in ULP if LEAVES[n].arity == 1))
def test_single(name: str, rng: np.random.Generator) -> None:
    x = spread(rng, np.float32)
    with np.errstate(all="ignore"):
        wide = plan(leaf_formula(name), np.float64)([x.astype(np.float64)])[0]
    error = ulps(leaf_kernel(name, np.float32)(x), wide)
    worst = int(np.argmax(error))
    assert error[worst] <= ULP[name], (x[worst], error[worst])


@pytest.mark.skipif(not WIDER, reason="no wider floats here")
@pytest.mark.parametrize("name", sorted(n for n in ULP_DOUBLE if LEAVES[n].arity == 1))
def test_double(name: str, rng: np.random.Generator) -> None:
    x = spread(rng, np.float64)
    if name in CIRCULAR:
        x = x[~(np.abs(x) > NEAR)]  # beyond it the wider type has no digits to spare
    with np.errstate(all="ignore"):
        wide = true_value(name, x.astype(np.longdouble))
    error = ulps(leaf_kernel(name, np.float64)(x), wide)
    worst = int(np.argmax(error))
    assert error[worst] <= ULP_DOUBLE[name], (x[worst], error[worst])


@pytest.mark.parametrize("name", CIRCULAR)
def test_many_turns(name: str, rng: np.random.Generator) -> None:
    """Doubles of every size, and the one nearest to a multiple of π/2, against exact turns."""
    x = 2.0 ** rng.uniform(20, 1024, 300) * rng.choice([-1, 1], 300)
    x = np.append(
        x, [6381956970095103 * 2.0**797, NEAR, -np.nextafter(NEAR, 2 * NEAR), -(2.0**1023)]
    )
    pairs = [reduced(value) for value in x.tolist()]
    q, r = (np.array(part) for part in zip(*pairs))
    sine, cosine = np.sin(r.astype(np.longdouble)), np.cos(r.astype(np.longdouble))
    whole = q + (name == "cos")
    wide = np.where(whole % 2 == 0, sine, cosine) * np.where(whole % 4 < 2, 1, -1)
    if name == "tan":
        wide = np.where(q % 2 == 0, sine / cosine, -cosine / sine)
    found = leaf_kernel(name, np.float64)(x)
    # The angle was rounded to a double, half a unit of its own.
    assert np.max(ulps(found, wide)) <= ULP_DOUBLE[name] + 1


def reduced(x: float) -> tuple[int, float]:
    """(q modulo 4, r) with x = q π/2 + r, by integers of 1,300 bits."""
    places = 1300
    numerator, denominator = x.as_integer_ratio()
    turns = numerator * two_over_pi(places) // denominator
    q = (turns + (1 << (places - 1))) >> places
    return q % 4, (turns - (q << places)) / (1 << places) * np.pi / 2


def true_value(name: str, x: Any) -> Any:
    e = np.exp(-np.abs(x))
    if name == "sigmoid":
        return np.where(x < 0, e, 1) / (1 + e)
    if name == "softplus":
        return np.maximum(x, 0) + np.log1p(e)
    if name == "log_sigmoid":
        return np.minimum(x, 0) - np.log1p(e)
    if name == "erf":
        return np.copysign(np.where(np.abs(x) < 2, series(np.abs(x)), 1 - fraction(np.abs(x))), x)
    if name == "erfc":
        tail = np.where(np.abs(x) < 2, 1 - series(np.abs(x)), fraction(np.abs(x)))
        return np.where(x < 0, 2 - tail, tail)
    return getattr(np, name)(x)


def gauss(a: Any) -> Any:
    """exp(-a²) / √π, the square exact in two parts."""
    high = a.astype(np.float32).astype(a.dtype)
    root = np.sqrt(np.longdouble("3.14159265358979323846264338327950288"))
    return np.exp(-high * high) * np.exp(-(a - high) * (a + high)) / root


def series(a: Any) -> Any:
    """erf(a) for 0 <= a < 2: the sum of positive terms 2 gauss(a) a (2a²)ⁿ / (2n + 1)!!."""
    term = np.where(a < 2, a, 0 * a)
    total = term
    for n in range(1, 60):
        term = term * (2 * a * a) / (2 * n + 1)
        total = total + np.where(a < 2, term, 0)
    return np.where(np.isnan(a), a, 2 * gauss(a) * total)


def fraction(a: Any) -> Any:
    """erfc(a) for a >= 2: Laplace's continued fraction."""
    b = np.clip(a, 2, 100)
    tail = b
    for n in range(120, 0, -1):
        tail = b + np.longdouble(n) / 2 / tail
    return np.where(np.isnan(a), a, gauss(b) / tail)


@pytest.mark.parametrize(("name", "dtype"), EXACT)
def test_exact(name: str, dtype: Any, rng: np.random.Generator) -> None:
    formula = leaf_formula(name)
    xs = [rng.permutation(spread(rng, dtype)) for _ in formula.inputs]
    if len(xs) > 1:
        xs = [np.concatenate([x, g]) for x, g in zip(xs, corners(dtype, len(xs)))]
    with np.errstate(all="ignore"):
        want = plan(formula, dtype)(xs)[0]
    exactly_alike(leaf_kernel(name, dtype)(*xs), want)


def test_powers_of_two() -> None:
    n = np.arange(-149, 128).astype(np.float32)
    power = np.ldexp(np.float32(1), n.astype(int))
    assert np.array_equal(leaf_kernel("exp2", np.float32)(n), power)
    assert np.array_equal(leaf_kernel("log2", np.float32)(power), n)


def test_saturation() -> None:
    x = np.array([40, 80, 1e4, 3e38, np.inf], np.float32)
    for name in ("tanh", "erf", "sigmoid"):
        for dtype in DTYPES:
            assert leaf_kernel(name, dtype)(x.astype(dtype)).tolist() == [1] * 5
    assert leaf_kernel("sigmoid", np.float32)(-3 * x[:3]).tolist() == [0] * 3
    assert leaf_kernel("erfc", np.float32)(-x).tolist() == [2] * 5


def pairs(rng: np.random.Generator, dtype: Any = np.float32) -> list[Any]:
    x, y = (rng.permutation(spread(rng, dtype)) for _ in range(2))
    whole = rng.integers(-40, 40, (2, 20000)).astype(dtype)
    near = rng.permutation(x)[:20000]
    grid = corners(dtype, 2)
    with np.errstate(all="ignore"):
        close = near * rng.uniform(0.5, 2, near.shape).astype(dtype)
    first = np.concatenate([x, whole[0], near, whole[0] / 4, grid[0]])
    return [first, np.concatenate([y, whole[1], close, whole[1], grid[1]])]


def largest(name: str, xs: list[Any], want: Any) -> Any:
    """What the errors of a cancelling sum are counted in: the larger of its two terms."""
    if name not in CANCELLING:
        return None
    with np.errstate(invalid="ignore"):
        rest = np.abs(want - np.fmax(*xs))
    return np.fmax(np.fmax(np.abs(want), rest), np.fmax(*np.abs(xs)))


@pytest.mark.parametrize("name", PAIRS)
def test_pair(name: str, rng: np.random.Generator) -> None:
    xs = pairs(rng)
    with np.errstate(all="ignore"):
        wide = plan(leaf_formula(name), np.float64)([x.astype(np.float64) for x in xs])[0]
        want = wide.astype(np.float32)
    error = ulps(leaf_kernel(name, np.float32)(*xs), wide, largest(name, xs, want))
    worst = int(np.argmax(error))
    assert error[worst] <= ULP[name], ([float(x[worst]) for x in xs], error[worst])


@pytest.mark.skipif(not WIDER, reason="no wider floats here")
@pytest.mark.parametrize("name", sorted(set(PAIRS) & set(ULP_DOUBLE)))
def test_double_pair(name: str, rng: np.random.Generator) -> None:
    xs = pairs(rng, np.float64)
    with np.errstate(all="ignore"):
        wide = getattr(np, name)(*[x.astype(np.longdouble) for x in xs])
        want = wide.astype(np.float64)
    error = ulps(leaf_kernel(name, np.float64)(*xs), wide, largest(name, xs, want))
    worst = int(np.argmax(error))
    assert error[worst] <= ULP_DOUBLE[name], ([float(x[worst]) for x in xs], error[worst])


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in PAIRS for d in DTYPES if has_body(n, d is np.float64)]
)
def test_special_values(name: str, dtype: Any) -> None:
    """NaN, infinities and zeros stand where the interpreter has them."""
    grid = corners(dtype, 2)
    with np.errstate(all="ignore"):
        want = plan(leaf_formula(name), dtype)(grid)[0]
    got = leaf_kernel(name, dtype)(*grid)
    assert np.array_equal(np.isnan(got), np.isnan(want))
    special = np.isinf(want) | np.isinf(got) | (want == 0) | (got == 0)
    assert np.array_equal(got[special], want[special])
    assert np.array_equal(np.signbit(got[special]), np.signbit(want[special]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["fmod", "remainder", "floor_divide"])
def test_quotients_of_every_size(name: str, dtype: Any, rng: np.random.Generator) -> None:
    """From 2^-277 to 2^277 (2^±2098), and whole multiples: the long division loses nothing."""
    info = np.finfo(dtype)
    low, high = info.minexp - info.nmant, info.maxexp
    a, b = (2.0 ** rng.uniform(low, high, 40000) for _ in range(2))
    b[:10000] = a[:10000] / rng.integers(1, 1000, 10000)
    a[10000:20000] = 2.0 ** rng.uniform(low, low + 100, 10000)
    signs = rng.choice([-1.0, 1.0], (2, 40000))
    with np.errstate(all="ignore"):
        xs = [(signs[0] * a).astype(dtype), (signs[1] * b).astype(dtype)]
        want = plan(leaf_formula(name), dtype)(xs)[0]
    assert np.array_equal(leaf_kernel(name, dtype)(*xs), want, equal_nan=True)


def deep(x: Any) -> Any:
    for _ in range(150):
        x = call("tanh", 2 * x)
    return x


def test_what_is_refused() -> None:
    x, many = input("x"), [input(f"x{k}") for k in range(40)]
    formula = leaf_formula("exp")
    assert supports(formula, np.float32)
    for dtype in (np.complex64, ">f4"):
        assert not supports(formula, dtype)
        assert kernel(formula, dtype) is None
    refused = [
        Formula.trace("cbrt", lambda x: call("cbrt", x), [x]),
        Formula.trace("huge", lambda x: x * 10**400, [x]),
        Formula.trace("many", lambda *x: sum(x[1:], x[0]), many),
        Formula.trace("long", deep, [x]),
    ]
    for formula in refused:
        assert not supports(formula, np.float64), formula.name
        assert kernel(formula, np.float64) is None
