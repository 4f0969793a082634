"""Complex numbers and conventions of the remaining ufuncs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.testing import check_grad

HOLOMORPHIC = """exp exp2 expm1 log log2 log10 log1p sqrt square reciprocal sin cos tan arcsin
arccos arctan sinh cosh tanh arcsinh arccosh arctanh sinc negative positive""".split()


def plane(rng: np.random.Generator, *shape: int) -> Any:
    """Points of the right half plane, off every branch cut and pole."""
    return rng.uniform(0.2, 0.8, shape) + 1j * rng.uniform(0.1, 0.7, shape) * rng.choice([-1, 1])


@pytest.mark.parametrize("name", HOLOMORPHIC)
def test_holomorphic_functions_of_complex_numbers(name: str, rng: np.random.Generator) -> None:
    f, z = getattr(tg, name), plane(rng, 3)
    np.testing.assert_allclose(here(f(z)), getattr(np, name)(z), rtol=1e-13)
    check_grad(f, [z], order=2, rng=rng)
    t = Tensor(z, requires_grad=True)
    (getattr(np, name)(t) * (1 - 2j)).real.sum().backward()
    h = 1e-6
    slope = (getattr(np, name)(z + h) - getattr(np, name)(z - h)) / (2 * h)
    np.testing.assert_allclose(here(t.grad), np.conj(slope * (1 - 2j)), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", "add subtract multiply divide power float_power".split())
def test_holomorphic_functions_of_two(name: str, rng: np.random.Generator) -> None:
    f = getattr(tg, name)
    check_grad(f, [plane(rng, 3), plane(rng, 3)], order=2, rng=rng)
    check_grad(f, [plane(rng, 3), rng.uniform(0.5, 2, 3)], order=2, rng=rng)
    check_grad(f, [rng.uniform(0.5, 2, (2, 1)), plane(rng, 3)], order=2, rng=rng)


REAL_VALUED = "absolute angle real imag conj sign".split()


@pytest.mark.parametrize("name", REAL_VALUED)
def test_functions_that_are_not_holomorphic(name: str, rng: np.random.Generator) -> None:
    check_grad(getattr(tg, name), [plane(rng, 4)], order=3, rng=rng)


@pytest.mark.parametrize("name", "maximum minimum fmax fmin".split())
def test_complex_numbers_are_ordered_by_their_parts(name: str, rng: np.random.Generator) -> None:
    a = np.array([1 + 1j, 1 + 2j, np.nan + 1j, 2, 1, 3 + 1j])
    b = np.array([1 + 2j, 1 + 1j, 1, np.nan + 0j, 2 + 5j, 3 + 1j])
    x, y = Tensor(a, requires_grad=True), Tensor(b, requires_grad=True)
    found = getattr(np, name)(x, y)
    np.testing.assert_array_equal(here(found), getattr(np, name)(a, b))
    found.real.sum().backward()
    np.testing.assert_allclose(here(x.grad) + here(y.grad), np.ones(6))  # type: ignore[arg-type]
    assert here(x.grad)[5] == 0.5
    low = np.array([1 + 0j, 0.5 + 2j, 0.1 - 1j])
    given = [np.array([0.3 + 1j, 2 - 1j, 9j + 9]), low, low + 3]
    check_grad(tg.clip, given, order=2, rng=rng)


def test_complex_gradients_are_the_conjugates_of_autograds(rng: np.random.Generator) -> None:
    autograd = pytest.importorskip("autograd")
    anp = pytest.importorskip("autograd.numpy")
    z = plane(rng, 4)
    for name in "exp log sin cos tan tanh sinh cosh sqrt square reciprocal".split():
        function = getattr(anp, name)
        want = autograd.grad(lambda z, f=function: anp.sum(anp.real(f(z) * (2 - 1j))))(z)
        t = Tensor(z, requires_grad=True)
        (getattr(np, name)(t) * (2 - 1j)).real.sum().backward()
        np.testing.assert_allclose(here(t.grad), np.conj(want), rtol=1e-12)


def test_sinc_has_derivatives_of_every_order_near_zero(rng: np.random.Generator) -> None:
    x = np.array([0.0, 1e-9, -1e-4, 0.02, 0.49, 0.51, 1.0])
    f: Any = tg.sinc
    exact = [  # of sin(πx)/πx at 0: (-1)^k π^2k / (2k + 1) for order 2k
        1.0, 0.0, -(np.pi**2) / 3, 0.0, np.pi**4 / 5, 0.0, -(np.pi**6) / 7,
    ]  # fmt: skip
    for order, want in enumerate(exact):
        value = f(x)
        value = value if isinstance(value, np.ndarray) else here(value)
        assert value[0] == pytest.approx(want, rel=1e-13, abs=1e-13)
        assert value[1] == pytest.approx(want, rel=1e-6, abs=1e-6)
        assert np.isfinite(value).all(), order
        f = tg.grad(lambda v, g=f: tg.sum(g(v)))
    check_grad(tg.sinc, [np.array([0.0, 0.3, 0.6])], order=3, rng=rng)
    check_grad(tg.sinc, [np.array([0j, 1e-5 + 0.2j, 0.6j])], order=2, rng=rng)


def slopes(f: Any, *points: float) -> list[float]:
    xs = [Tensor(np.asarray(p, np.float64), requires_grad=True) for p in points]
    f(*xs).backward()
    return [0.0 if x.grad is None else x.grad.item() for x in xs]


def test_remainders_and_signs() -> None:
    assert slopes(tg.remainder, -7.5, 2.0) == [1.0, 4.0]
    assert slopes(tg.fmod, -7.5, 2.0) == [1.0, 3.0]
    assert slopes(lambda x, y: divmod(x, y)[1], 7.5, 2.0) == [1.0, -3.0]
    assert slopes(tg.heaviside, 0.0, 0.5) == [0.0, 1.0]
    assert slopes(tg.heaviside, 2.0, 0.5) == [0.0, 0.0]
    assert slopes(tg.copysign, -2.0, 3.0) == [-1.0, 0.0]
    assert slopes(tg.hypot, 3.0, 4.0) == [0.6, 0.8]
    assert slopes(lambda x: tg.modf(x)[0], -2.0) == [1.0]
    assert slopes(lambda x: tg.frexp(x)[0], 6.0) == [0.125]


def test_the_parts_of_numbers_to_the_last_bit() -> None:
    edges = np.array([0.0, -0.0, -2.0, 3.0, -0.75, 1e300, np.inf, -np.inf, np.nan, 5e-324, -1e-310])
    for f in ("modf", "frexp"):
        for got, want in zip(getattr(tg, f)(edges), getattr(np, f)(edges)):
            finite = np.isfinite(edges) if want.dtype.kind == "i" else slice(None)
            np.testing.assert_array_equal(here(got)[finite], want[finite])
            if want.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(here(got)), np.signbit(want))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(here(tg.spacing(edges)), np.spacing(edges))
    half = np.array([1.0, -3.5, 60000.0], np.float16)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(here(tg.spacing(half)), np.spacing(half))


def test_real_if_close_and_nan_to_num_read_what_is_there(rng: np.random.Generator) -> None:
    z = rng.standard_normal(3) + 1e-16j
    assert tg.real_if_close(z).dtype == np.float64
    assert tg.real_if_close(z + 1e-3j).dtype == np.complex128
    x = Tensor(np.array([np.nan, np.inf, -np.inf, 2.0]), requires_grad=True)
    y = np.nan_to_num(x, nan=1.0, posinf=5.0, neginf=-5.0)
    assert y.tolist() == [1.0, 5.0, -5.0, 2.0]
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0, 1.0]  # type: ignore[union-attr]
    w = np.array([complex(np.nan, np.inf), 1 - 2j])
    np.testing.assert_array_equal(here(tg.nan_to_num(w)), np.nan_to_num(w))


def test_emath_is_real_where_it_can_be(rng: np.random.Generator) -> None:
    x = Tensor(rng.uniform(0.2, 0.9, 3), requires_grad=True)
    for name in "sqrt log log2 log10 arccos arcsin arctanh".split():
        f = getattr(np.emath, name)
        assert f(x).dtype == np.float64
        assert f(x).requires_grad
        assert f(-2 - x).dtype == np.complex128
        assert f(-2 - x).requires_grad
    assert np.emath.power(Tensor(np.array([2, 4])), -1).tolist() == [0.5, 0.25]
    assert np.emath.logn(2, Tensor(np.array([-4.0]))).dtype == np.complex128


def test_the_clip_that_an_arrays_own_method_calls() -> None:
    low = Tensor(np.array([0.5, 0.0]), requires_grad=True)
    found = np.array([0.0, 1.0]).clip(low, 2.0)
    assert isinstance(found, Tensor)
    found.sum().backward()
    assert low.grad.tolist() == [1.0, 0.0]  # type: ignore[union-attr]
