"""Calculus, interpolation, convolution and polynomials: values, conventions, error texts."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.testing import check_grad


def test_interp_is_numpys_bit_for_bit(rng: np.random.Generator) -> None:
    xp, fp = np.cumsum(rng.uniform(0.1, 2, 20)), rng.standard_normal(20)
    x = np.concatenate([rng.uniform(-3, 30, 200), xp, [np.nan, np.inf, -np.inf]])
    for options in ({}, {"left": -1.0, "right": 7}, {"period": 3.7}):
        given = x if options.get("period") is None else x[:-2]
        got = here(tg.interp(given, xp, fp, **options))
        want = np.interp(given, xp, fp, **options)
        np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-14)
    assert tg.interp(x.astype("f4"), xp, fp).dtype == np.float64
    np.testing.assert_array_equal(here(tg.interp([1, 2], [0, 5], [1, 3])), [1.4, 1.8])


def test_interp_has_gradients_in_the_ends_and_at_points_that_repeat(
    rng: np.random.Generator,
) -> None:
    xp, fp = np.arange(4.0), rng.standard_normal(4)
    x = np.array([-0.5, 0.25, 1.5, 4.0])
    check_grad(lambda x, low, high: tg.interp(x, xp, fp, low, high),
               [x, np.asarray(0.5), np.asarray(2.0)], order=2, rng=rng)  # fmt: skip
    values = Tensor(fp, requires_grad=True)
    tg.interp(x, np.array([0.0, 1.0, 1.0, 2.0]), values).sum().backward()
    assert np.isfinite(here(values.grad)).all()


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("sizes", [(4, 1), (5, 2), (5, 3), (2, 5), (3, 6), (4, 4), (1, 1)])
def test_convolve_and_correlate_in_every_mode(
    mode: Any, sizes: tuple[int, int], rng: np.random.Generator
) -> None:
    a, v = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for n in sizes)
    for name in ("convolve", "correlate"):
        function = getattr(tg, name)
        got = function(a, v, mode)
        want = getattr(np, name)(a, v, mode)
        np.testing.assert_allclose(here(got), want, rtol=1e-13, atol=1e-13)  # a sum may cancel
        check_grad(lambda a, v, f=function: f(a, v, mode), [a, v], order=2, rng=rng)


def test_roots_with_zeros_at_either_end() -> None:
    for p in ([0.0, 0, 1, -3, 2], [1.0, -3, 2, 0], [0.0, 2.0, 0.0], [3.0], [0.0, 0.0]):
        np.testing.assert_allclose(here(tg.roots(np.array(p))), np.roots(p))
    p = Tensor(np.array([1.0, -3.0, 2.0, 0.0]), requires_grad=True)
    r = tg.roots(p)  # 2, 1 and 0
    tg.real(r[2]).backward()
    np.testing.assert_allclose(here(p.grad), [0, 0, 0, -0.5], atol=1e-15)


def test_roots_and_poly_are_inverse(rng: np.random.Generator) -> None:
    z = np.array([0.5, -1.0, 2.5])
    p = tg.poly(Tensor(z, requires_grad=True))
    np.testing.assert_allclose(np.sort(here(tg.roots(p)).real), np.sort(z))
    check_grad(lambda z: tg.real(tg.roots(tg.poly(z))) ** 2, [z], order=1, rng=rng)
    assert tg.poly(np.array([1 + 1j, 1 - 1j])).dtype == np.float64
    assert tg.poly(np.array([1, 2])).tolist() == [1.0, -3.0, 2.0]
    assert tg.poly([]).item() == 1.0
    a = rng.standard_normal((3, 3))
    np.testing.assert_allclose(here(tg.poly(a)), np.poly(a), rtol=1e-10, atol=1e-12)


def test_polyfit_in_full_and_of_too_few_points(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(6), rng.standard_normal((6, 2))
    for got, want in zip(tg.polyfit(x, y, 2, full=True), np.polyfit(x, y, 2, full=True)):
        value = got if isinstance(got, float) else here(got)
        scale = np.abs(want).max()  # one coefficient may be near 0, its error is as the others'
        np.testing.assert_allclose(value, want, rtol=1e-10, atol=1e-10 * scale)
    with pytest.warns(np.exceptions.RankWarning, match="poorly conditioned"):
        tg.polyfit([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], 1)
    check_grad(lambda x, y, w: tg.polyfit(x, y, 1, w=w, cov=True),
               [x, y[:, 0], rng.uniform(0.5, 2, 6)], order=2, rng=rng)  # fmt: skip


def test_gradient_takes_steps_and_positions_that_have_gradients(rng: np.random.Generator) -> None:
    f, x = rng.standard_normal((4, 5)), np.cumsum(rng.uniform(0.5, 1.5, 5))
    check_grad(lambda f, h: tg.gradient(f, h, axis=0), [f, np.asarray(0.7)], order=2, rng=rng)
    for edge in (1, 2):
        check_grad(lambda f, x, e=edge: tg.gradient(f, x, axis=1, edge_order=e), [f, x], order=2,
                   rng=rng)  # fmt: skip
    both = np.gradient(Tensor(f, requires_grad=True), 0.5, x)
    assert isinstance(both, tuple)
    np.testing.assert_allclose(here(both[1]), np.gradient(f, 0.5, x)[1])


def test_differences_of_bools_and_unsigned_integers() -> None:
    flags = np.array([True, True, False])
    np.testing.assert_array_equal(here(tg.diff(flags)), np.diff(flags))
    small = np.array([3, 1, 2], np.uint8)
    np.testing.assert_array_equal(here(tg.diff(small)), np.diff(small))
    np.testing.assert_array_equal(here(tg.ediff1d(small, to_end=np.uint8(9))), [254, 1, 9])


def test_unwrap_keeps_the_sign_on_the_boundary_and_has_the_period_in_its_gradient() -> None:
    steps = np.array([0.0, 3.0, 0.0, -3.0, 9.0])
    np.testing.assert_array_equal(here(tg.unwrap(steps, period=6.0)), np.unwrap(steps, period=6.0))
    period = Tensor(np.asarray(6.0), requires_grad=True)
    tg.unwrap(np.array([0.0, 5.5, 11.0]), period=period).sum().backward()
    assert period.grad is not None
    assert period.grad.item() == -3.0


def test_numpys_polynomial_module_works_in_the_variable(rng: np.random.Generator) -> None:
    """Plain Python over functions that tensors take."""
    x = rng.uniform(-1, 1, 4)
    for module in ("polynomial", "chebyshev", "legendre", "hermite", "laguerre"):
        package = getattr(np.polynomial, module)
        names = {"polynomial": "poly", "chebyshev": "cheb", "legendre": "leg", "hermite": "herm",
                 "laguerre": "lag"}  # fmt: skip
        function = getattr(package, f"{names[module]}val")
        check_grad(lambda x, f=function: f(x, np.array([0.5, -1.0, 2.0, 0.3])), [x], rng=rng)


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: tg.diff(np.ones(3), -1), r"diff: got n=-1, expected 0 at least; try n=1"),
    (lambda: tg.diff(1.0), r"diff: got a=float64\(\), expected one axis at least; try "),
    (lambda: tg.gradient(np.ones(1)), r"gradient: got f=float64\(1,\), axis=0, edge_order=1, "
     r"expected 2 samples at least"),
    (lambda: tg.interp(1.0, [1.0, 2.0], [1.0]), r"interp: got xp=float64\(2,\), fp=float64\(1,\), "
     r"expected two vectors of equal lengths"),
    (lambda: tg.convolve(np.ones(2), np.ones(2), "wide"), r"convolve: got mode='wide', expected "
     r"'full', 'same' or 'valid'"),
    (lambda: tg.convolve(np.ones((2, 2)), np.ones(2)), r"convolve: got a=float64\(2, 2\), "),
    (lambda: tg.cross(np.ones(4), np.ones(3)), r"cross: got a=float64\(4,\), b=float64\(3,\), "
     r"expected vectors of 2 or 3 numbers"),
    (lambda: tg.roots(np.ones((2, 2))), r"roots: got p=float64\(2, 2\), expected a vector"),
    (lambda: tg.ldexp(1.0, 0.5), r"ldexp: got x2=float64\(\), expected integers; try "),
    (lambda: tg.gcd(1.0, 2), r"gcd: got x=float64\(\), expected integers; try x.astype\(int\)"),
    (lambda: tg.frexp(1j), r"frexp: got x=complex128\(\), expected real numbers; try x.real"),
    (lambda: tg.polyfit([1.0, 2.0], [1.0, 2.0], 1, cov=True), r"polyfit: got points=2, deg=1, "),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), ERRORS)
def test_error_texts(call: Callable[[], Any], text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((TypeError, ValueError, RuntimeError), match=text):
            call()
