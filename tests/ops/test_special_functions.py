"""Special functions: derivatives in parameters against mpmath, corners, complex numbers, SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import place
import pytest
import scipy.special
from place import here

import tensorgrad as tg
from tensorgrad.backend.incomplete import bell
from tensorgrad.backend.refused import REFUSED
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.testing import check_grad

Array = np.ndarray[Any, Any]
mpmath = pytest.importorskip("mpmath")
tg.ops.load()


def exact(f: Any, *args: float, digits: int = 60) -> float:
    with mpmath.workdps(digits):
        return float(f(*map(mpmath.mpf, map(float, args))))


def close(got: Any, want: list[float], rtol: float) -> None:
    got, expected = np.asarray(got), np.array(want)
    seen = np.abs(expected) > 1e-290
    np.testing.assert_allclose(got[seen], expected[seen], rtol=rtol)


# -- derivatives in the parameters ---------------------------------------------------------------


def gamma_terms(a: Any, x: Any, n: int) -> Any:
    """∂ⁿP(a, x)/∂aⁿ by P = Σ x^(a+j) e^-x / Γ(a+j+1), term by term."""
    mp, total, j = mpmath.mp, mpmath.mpf(0), 0
    while True:
        term = mp.exp((a + j) * mp.log(x) - x - mp.loggamma(a + j + 1))
        part = term * bell(
            n, 0, lambda i, _, j=j: (mp.log(x) if i == 1 else 0) - mp.psi(i - 1, a + j + 1)
        )
        total += part
        j += 1
        if j > x and abs(part) < abs(total) * mpmath.mpf(10) ** -25:
            return total


def test_the_incomplete_gamma_function_in_its_parameter(rng: np.random.Generator) -> None:
    a = 10 ** rng.uniform(-4, 2.3, 40)
    near = np.abs(a * (1 + rng.normal(size=40) * np.minimum(1, 3 / np.sqrt(a))))
    x = np.where(rng.random(40) < 0.6, near, 10 ** rng.uniform(-5, 2, 40))
    gradient = tg.grad(lambda a: np.sum(tg.special.gammainc(a, x)))
    close(gradient(a), [exact(lambda a, x: gamma_terms(a, x, 1), *p, digits=90)
                        for p in zip(a, x)], 1e-10)  # fmt: skip
    mixed = tg.grad(lambda a: np.sum(tg.grad(lambda b: np.sum(tg.special.gammainc(b, x)))(a)))(a)
    want = [exact(lambda a, x: gamma_terms(a, x, 2), *p, digits=90) for p in zip(a, x)]
    np.testing.assert_allclose(mixed, want, rtol=1e-9, atol=1e-12)


def test_large_parameters(rng: np.random.Generator) -> None:
    """Where a is large, P(a, a + z √a) tends to Φ(z): the digits are not lost."""
    a, z = 10 ** rng.uniform(5, 9, 20), rng.uniform(-2, 2, 20)
    x = a + z * np.sqrt(a)
    slope = tg.grad(lambda a: np.sum(tg.special.gammainc(a, x)))(a)
    other = tg.grad(lambda x: np.sum(tg.special.gammaincc(a, x)))(x)
    np.testing.assert_allclose(slope, other, rtol=3e-2)
    with mpmath.workdps(40):
        want = [
            float(-mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a)))
            for a, x in ((mpmath.mpf(float(p)), mpmath.mpf(float(q))) for p, q in zip(a, x))
        ]
    np.testing.assert_allclose(other, want, rtol=1e-10)


def beta_terms(a: Any, b: Any, x: Any, n: int, m: int) -> Any:
    """∂ⁿ/∂aⁿ ∂ᵐ/∂bᵐ of I(a, b; x), from the side of the mean that x lies on."""
    if x * (a + b) > a:
        return -_beta_series(b, a, 1 - x, m, n)
    return _beta_series(a, b, x, n, m)


def _beta_series(a: Any, b: Any, x: Any, n: int, m: int) -> Any:
    mp, total, j, top, c = mpmath.mp, mpmath.mpf(0), 0, a + 1, a + b
    term = mp.exp(a * mp.log(x) + b * mp.log(1 - x) + mp.loggamma(c)
                  - mp.loggamma(top) - mp.loggamma(b))  # fmt: skip
    first = mp.log(x) - mp.psi(0, top) + mp.psi(0, c)
    second = mp.log(1 - x) - mp.psi(0, b) + mp.psi(0, c)
    shared = mp.psi(1, c)
    while True:
        part = term * {(1, 0): first, (0, 1): second, (1, 1): first * second + shared}[n, m]
        total += part
        if j > 5 and abs(part) < abs(total) * mpmath.mpf(10) ** -20:
            return total
        term *= x * c / top
        first, second, shared = first + 1 / c - 1 / top, second + 1 / c, shared - 1 / c**2
        top, c, j = top + 1, c + 1, j + 1


def test_the_incomplete_beta_function_in_its_parameters(rng: np.random.Generator) -> None:
    a, b = 10 ** rng.uniform(-3, 1.3, (2, 16))
    mean = a / (a + b)
    x = mean * (1 + rng.normal(size=16) * np.minimum(1, 2 * np.sqrt(b / a / (a + b + 1))))
    x = np.where((x < 0.01) | (x > 0.95), rng.uniform(0.05, 0.95, 16), x)
    first, second = tg.grad(lambda a, b: np.sum(tg.special.betainc(a, b, x)), argnums=(0, 1))(a, b)
    for got, n, m in ((first, 1, 0), (second, 0, 1)):
        want = [exact(lambda *p, n=n, m=m: beta_terms(*p, n, m), *p) for p in zip(a, b, x)]
        close(got, want, 1e-10)
    mixed = tg.grad(
        lambda a: np.sum(tg.grad(lambda b: np.sum(tg.special.betainc(a, b, x[:8])))(b[:8]))
    )(a[:8])
    want = [exact(lambda *p: beta_terms(*p, 1, 1), *p) for p in zip(a[:8], b[:8], x[:8])]
    np.testing.assert_allclose(mixed, want, rtol=1e-8, atol=1e-10)


def test_ends_of_the_incomplete_functions() -> None:
    slope = tg.grad(lambda a, x: np.sum(tg.special.gammainc(a, x)))
    np.testing.assert_array_equal(slope(np.full(3, 2.0), np.array([0.0, np.inf, 1e4])), 0)
    assert np.isnan(slope(np.array([-1.0, np.nan]), np.ones(2))).all()
    slope = tg.grad(lambda a, x: np.sum(tg.special.betainc(a, 2.0, x)))
    np.testing.assert_array_equal(slope(np.full(2, 2.0), np.array([0.0, 1.0])), 0)


def test_an_inverse_undoes_its_function(rng: np.random.Generator) -> None:
    """g(a) = f(a, f⁻¹(a, y)) is constant: its derivatives in a and b are 0, that in y is 1."""
    (a, b), y, s = rng.uniform(0.7, 5, (2, 6)), rng.uniform(0.2, 0.8, 6), tg.special
    for f in (lambda a, y: s.gammainc(a, s.gammaincinv(a, y)),
              lambda a, y: s.gammaincc(a, s.gammainccinv(a, y)),
              lambda a, y: s.betainc(a, b, s.betaincinv(a, b, y)),
              lambda a, y: s.betaincc(b, a, s.betainccinv(b, a, y)),
              lambda a, y: s.stdtr(a, s.stdtrit(a, y))):  # fmt: skip
        in_a, in_y = tg.grad(lambda a, y, f=f: np.sum(f(a, y)), argnums=(0, 1))(a, y)
        np.testing.assert_allclose(in_a, 0, atol=1e-10)
        np.testing.assert_allclose(in_y, 1, rtol=1e-8)


def test_students_quantile_is_exact(rng: np.random.Generator) -> None:
    """Against 40 digits, to the far tails; and its ends, where SciPy's has the other sign."""
    with mpmath.workdps(40):
        for df, p in zip(
            rng.uniform(0.7, 30, 12), rng.uniform(0.01, 0.99, 12) ** ([1] * 8 + [9] * 4)
        ):
            found = tg.special.stdtrit(df, p).item()
            half, t = mpmath.mpf(df) / 2, mpmath.mpf(found)
            tail = mpmath.betainc(half, 0.5, 0, df / (df + t * t), regularized=True) / 2
            density = mpmath.gamma(half + 0.5) / mpmath.gamma(half) / mpmath.sqrt(df * mpmath.pi)
            density *= (1 + t * t / df) ** -(half + 0.5)
            error = ((1 - tail if found > 0 else tail) - p) / density
            assert abs(error) <= 256 * 2.0**-53 * abs(t), (df, p)
    ends = tg.special.stdtrit([3.0, 1.0, 1.0, np.inf, 2.0], [0.0, 1e-300, 1.0, 0.975, 2.0])
    far = -1e300 / np.pi
    np.testing.assert_allclose(ends, [-np.inf, far, np.inf, 1.959963984540054, np.nan], rtol=1e-14)


# -- corners -------------------------------------------------------------------------------------

ASYMPTOTIC = [1e-9, 3.0, 19.0, 21.0, 1e5]
ABOUT_THE_SERIES = [0.0, 1e-9, 1e-4, 1.49, 1.51, 8.0]
POINTS = {
    "erfcx": (ASYMPTOTIC, lambda x: 2 * x * _erfcx(x) - 2 / mpmath.sqrt(mpmath.pi)),
    "dawsn": ([*ASYMPTOTIC, -1e5], lambda x: 1 - 2 * x * _dawsn(x)),
    "log_ndtr": ([-1e6, -300.0, -99.0, -3.0, 0.0, 3.0, 30.0], lambda x: _mills(x)),
    "exprel": ([0.0, 1e-9, 1e-3, 0.49, 0.51, -3.0], None),
    "logit": ([0.5, 0.5 + 1e-9, 1e-9, 0.29, 0.31, 0.99], None),
    "cosm1": ([0.0, 1e-9, 1.0], None),
    "j1": (ABOUT_THE_SERIES, lambda x: (mpmath.besselj(0, x) - mpmath.besselj(2, x)) / 2),
    "i1": (ABOUT_THE_SERIES, lambda x: (mpmath.besseli(0, x) + mpmath.besseli(2, x)) / 2),
    "gammaln": ([0.01, 1.0, 1.5, 300.0, -2.5], lambda x: mpmath.digamma(x)),
    "digamma": ([0.01, 1.0, 1.5, 300.0, -2.5], lambda x: mpmath.psi(1, x)),
}


def _erfcx(x: Any) -> Any:
    with mpmath.workdps(60):
        # The continued fraction's asymptotic series beyond what exp(x²) can hold.
        if x > 1000:
            return sum((-1) ** k * mpmath.fac2(2 * k - 1) / (2 * x * x) ** k
                       for k in range(1, 9)) / (x * mpmath.sqrt(mpmath.pi)) + 1 / (
                x * mpmath.sqrt(mpmath.pi))  # fmt: skip
        return mpmath.exp(x * x) * mpmath.erfc(x)


def _dawsn(x: Any) -> Any:
    if abs(x) > 1000:
        return sum(mpmath.fac2(2 * k - 1) / (2 * x * x) ** k if k else 1
                   for k in range(9)) / (2 * x)  # fmt: skip
    return mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-x * x) * mpmath.erfi(x)


def _mills(x: Any) -> Any:
    return mpmath.sqrt(2 / mpmath.pi) / _erfcx(-x / mpmath.sqrt(2))


KNOWN = {
    "exprel": lambda x: mpmath.expm1(x) / x if x else mpmath.mpf(1),
    "logit": lambda x: mpmath.log(x / (1 - x)),
    "cosm1": lambda x: mpmath.cos(x) - 1,
}


@pytest.mark.parametrize(
    "name", [n for n in POINTS if place.chosen == "cpu" or f"special.{n}" not in REFUSED]
)
def test_slopes_keep_their_digits(name: str) -> None:
    points, slope = POINTS[name]
    if slope is None:
        known = KNOWN[name]
        slope = lambda x: mpmath.diff(known, x, h=mpmath.mpf(10) ** -20)  # noqa: E731
    got = tg.grad(lambda x: np.sum(getattr(tg.special, name)(x)))(np.array(points))
    np.testing.assert_allclose(got, [exact(slope, x) for x in points], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", ["j1", "i1", "exprel", "log_ndtr"])
def test_second_slopes_keep_their_digits(name: str) -> None:
    points = {"log_ndtr": [-1e6, -99.0, -3.0, 0.0, 5.0]}.get(name, [1e-9, 1e-4, 1.49, 1.51, 8.0])
    known = {
        "j1": lambda x: mpmath.besselj(1, x, derivative=2),
        "i1": lambda x: mpmath.besseli(1, x, derivative=2),
        "exprel": lambda x: mpmath.diff(KNOWN["exprel"], x, 2, h=mpmath.mpf(10) ** -15),
        "log_ndtr": lambda x: -_mills(x) * (x + _mills(x)),
    }[name]
    function = getattr(tg.special, name)
    got = tg.grad(lambda x: np.sum(tg.grad(lambda y: np.sum(function(y)))(x)))(np.array(points))
    np.testing.assert_allclose(got, [exact(known, x) for x in points], rtol=1e-10, atol=1e-15)


def test_where_a_weight_is_zero() -> None:
    """x log y has the derivative log y also at x = 0."""
    slope = tg.grad(lambda x: np.sum(tg.special.xlogy(x, np.array([2.0, 3.0]))))
    np.testing.assert_allclose(slope(np.zeros(2)), np.log([2.0, 3.0]))
    x, y = np.array([0.0, 0.0, 1.0, np.nan]), np.array([0.0, -1.0, 0.0, 1.0])
    for name in ("xlogy", "xlog1py", "rel_entr", "kl_div"):
        with np.errstate(all="ignore"):
            want = getattr(scipy.special, name)(x, y)
            np.testing.assert_array_equal(here(getattr(tg.special, name)(x, y)), want)


# -- complex numbers, SciPy's ufuncs, refusals ---------------------------------------------------

COMPLEX = ("gamma", "rgamma", "loggamma", "digamma", "erfi", "exp1", "expi")


@pytest.mark.cpu_only("CuPy has some of them for real numbers alone")
@pytest.mark.parametrize("name", COMPLEX)
def test_complex_arguments(name: str, rng: np.random.Generator) -> None:
    z = rng.uniform(0.5, 2, 4) + 1j * rng.uniform(0.3, 1, 4)
    function = getattr(tg.special, name)
    np.testing.assert_allclose(here(function(z)), getattr(scipy.special, name)(z))
    if name == "digamma":
        with pytest.raises(tg.NotDifferentiable, match="polygamma: got complex x"):
            tg.grad(lambda z: np.sum(abs(function(z))))(z)
        return
    check_grad(function, [z], order=2 if name in ("erfi", "exp1", "expi") else 1, rng=rng)


@pytest.mark.cpu_only("CuPy has no Bessel functions of any order")
@pytest.mark.parametrize("name", ["jv", "yv", "iv", "kv", "kve"])
def test_complex_bessel_functions(name: str, rng: np.random.Generator) -> None:
    z = rng.uniform(0.5, 2, 4) + 1j * rng.uniform(0.3, 1, 4)
    check_grad(lambda z: getattr(tg.special, name)(1.5, z), [z], order=2, rng=rng)
    with pytest.raises(tg.DTypeError, match=r"_dv: got dtype='complex128', expected a real dtype"):
        tg.grad(lambda v: abs(getattr(tg.special, name)(v, 2.0 + 1j)))(1.5)


ORDERS = (0.0, 0.3, 1.0, 2.5, 7.2, 20.0, 50.0, -0.3, -1.0, -2.5)
ARGUMENTS = (1e-3, 0.1, 0.8, 3.0, 8.0, 30.0, 90.0)


@pytest.mark.cpu_only("CuPy has no Bessel functions of any order")
@pytest.mark.parametrize("name", ["jv", "yv", "iv", "kv"])
def test_bessel_functions_in_their_order(name: str) -> None:
    v, x = (a.ravel() for a in np.meshgrid(ORDERS, ARGUMENTS))
    got = tg.grad(lambda v: np.sum(getattr(tg.special, name)(v, x)))(v)
    of = getattr(mpmath, f"bessel{name[0]}")
    with mpmath.workdps(40):
        want = [float(mpmath.diff(lambda u, q=q: of(u, q), p)) for p, q in
                zip(map(mpmath.mpf, v.tolist()), map(mpmath.mpf, x.tolist()))]  # fmt: skip
    close(got, want, 1e-9)


@pytest.mark.cpu_only("CuPy has no Bessel functions of any order")
def test_no_derivative_in_the_order_where_there_is_no_number() -> None:
    slope = tg.grad(lambda v, x: tg.special.jv(v, x))
    assert slope(1.5, 0.0) == 0
    assert np.isnan(slope(1.5, -1.0))


@pytest.mark.cpu_only("CuPy has no hypergeometric functions")
@pytest.mark.parametrize(
    ("name", "parameters", "arguments"),
    [
        ("hyp2f1", (0.7, -1.3, 2.1), (-30.0, -3.0, -0.4, 0.0, 0.3, 0.9, 0.99)),
        ("hyp2f1", (-2.0, 3.0, 0.4), (-30.0, -3.0, -0.4, 0.0, 0.3, 0.9, 0.99)),
        ("hyp1f1", (0.7, 2.1), (-30.0, -3.0, 0.0, 0.3, 9.0, 40.0)),
        ("hyp1f1", (-2.0, 0.4), (-30.0, -3.0, 0.0, 0.3, 9.0, 40.0)),
    ],
)
def test_hypergeometric_functions_in_their_parameters(
    name: str, parameters: tuple[float, ...], arguments: tuple[float, ...]
) -> None:
    places = tuple(range(len(parameters)))
    f, of = getattr(tg.special, name), getattr(mpmath, name)
    for z in arguments:
        got = tg.grad(f, places)(*parameters, z)
        with mpmath.workdps(40):
            orders = np.eye(len(parameters), dtype=int).tolist()
            want = [float(mpmath.diff(lambda *p, z=z: of(*p, z), parameters, tuple(o)))
                    for o in orders]  # fmt: skip
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-13)
    assert np.isnan(tg.grad(tg.special.hyp2f1)(0.7, 1.3, 2.1, 0.9999))


@pytest.mark.parametrize("name", sorted(n for n in OPERATIONS if n.startswith("special.")))
def test_scipys_own_ufunc_is_the_operation(name: str, rng: np.random.Generator) -> None:
    """`scipy.special.f(tensor)` stays on the tape; what is no ufunc there says so itself."""
    for dotted in OPERATIONS[name].numpy:
        found = getattr(scipy.special, dotted.rpartition(".")[2], None)
        assert isinstance(found, np.ufunc)
        assert tg.ops.protocols.named(found) is OPERATIONS[name].function


@pytest.mark.parametrize(
    ("name", "count"), [("gammaln", 1), ("gammainc", 2), ("betainc", 3), ("j1", 1), ("log_ndtr", 1)]
)
def test_float32_stays_float32(name: str, count: int, rng: np.random.Generator) -> None:
    x = rng.uniform(1, 3, 5).astype("f4")
    value, grads = tg.value_and_grad(
        lambda *a: np.sum(getattr(tg.special, name)(*a)), argnums=tuple(range(count))
    )(*([x, x, x / 4][3 - count :] if count > 1 else [x]))
    assert value.dtype == np.float32
    assert {g.dtype for g in grads} == {np.dtype("f4")}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s: s.gammaln(np.ones(2) + 1j), "gammaln: got dtype='complex128'"),
        (lambda s: s.polygamma(-1, np.ones(2)), "polygamma: got n=-1"),
        (lambda s: s.spherical_jn(-1, np.ones(2)), "spherical_jn: got n=-1"),
        (lambda s: s.multigammaln(np.ones(2), 0), "multigammaln: got d=0"),
        (lambda s: s.gammainc(np.ones(2), np.ones(3)), "gammainc: got"),
    ],
)
def test_errors_say_what_was_wanted(call: Any, text: str) -> None:
    with pytest.raises((tg.TensorgradError, ValueError), match=text) as e:
        call(tg.special)
    assert "expected" in str(e.value)
    assert "; try " in str(e.value)
