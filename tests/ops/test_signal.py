"""Convolutions, filters and interpolation beyond what the registry's samples say."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.interpolate
import scipy.signal
from place import array, here

import tensorgrad as tg
from tensorgrad.ops.signal.convolution import quick
from tensorgrad.testing import check_grad


def test_long_convolutions_go_by_transforms_and_agree(rng: np.random.Generator) -> None:
    a, v = rng.standard_normal(700), rng.standard_normal(300)
    for mode in ("full", "same", "valid"):
        direct = tg.signal.convolve(a, v, mode, "direct")
        np.testing.assert_allclose(here(tg.signal.convolve(a, v, mode)), here(direct), atol=1e-10)
    image, kernel = rng.standard_normal((40, 50)), rng.standard_normal((7, 9))
    want = scipy.signal.convolve(image, kernel, "same")
    np.testing.assert_allclose(here(tg.signal.convolve(image, kernel, "same")), want, atol=1e-11)


def test_quick_lengths_have_no_large_prime_factor() -> None:
    for n in (*range(1, 200), 999_983):
        found = rest = quick(n)
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        assert rest == 1
        assert n <= found <= max(n, 1.34 * n)


def test_whole_numbers_stay_exact(rng: np.random.Generator) -> None:
    a, v = rng.integers(-(2**40), 2**40, 200), rng.integers(-9, 9, 120)
    found = here(tg.signal.convolve(a, v))
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, np.convolve(a, v))


def test_a_signal_filtered_in_two_parts_is_the_signal_filtered(rng: np.random.Generator) -> None:
    b, a = scipy.signal.butter(4, 0.3)
    x = rng.standard_normal(50)
    rest = np.zeros(4)
    first, state = tg.signal.lfilter(b, a, x[:20], zi=rest)
    second, _ = tg.signal.lfilter(b, a, x[20:], zi=state)
    found = np.concatenate([here(first), here(second)])
    np.testing.assert_allclose(found, here(tg.signal.lfilter(b, a, x)), atol=1e-12)
    sos = scipy.signal.butter(4, 0.3, output="sos")
    np.testing.assert_allclose(here(tg.signal.sosfilt(sos, x)), found, atol=1e-10)


def test_a_filter_is_found_by_its_gradient(rng: np.random.Generator) -> None:
    """Second derivatives of a misfit in the coefficients, as a fit of a filter needs them."""
    x = rng.standard_normal(40)
    want = scipy.signal.lfilter([0.5, 0.2], [1.0, -0.4], x)

    def misfit(b: np.ndarray, a: np.ndarray) -> object:
        return tg.sum((tg.signal.lfilter(b, a, x) - array(want)) ** 2)

    check_grad(misfit, [np.array([0.4, 0.1]), np.array([1.0, -0.3])], order=2, rng=rng)


def test_convolutions_refuse_what_does_not_fit() -> None:
    with pytest.raises(tg.ShapeError, match="as many axes in both"):
        tg.signal.convolve(np.ones(3), np.ones((2, 2)))
    with pytest.raises(tg.ShapeError, match="no smaller than the other along every axis"):
        tg.signal.convolve(np.ones((2, 5)), np.ones((3, 3)), "valid")
    with pytest.raises(ValueError, match="expected full, same or valid"):
        tg.signal.convolve(np.ones(3), np.ones(2), "fool")
    with pytest.raises(tg.ShapeError, match="2 states along the axis"):
        tg.signal.lfilter(np.ones(3), np.ones(2), np.ones(5), zi=np.ones(1))


# -- interpolation -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_periodic_splines(count: int, rng: np.random.Generator) -> None:
    x = np.cumsum(rng.uniform(0.5, 1.5, count))
    y = rng.standard_normal((count, 2))
    y[-1] = y[0]
    at = rng.uniform(x[0] - 5, x[-1] + 5, 20)
    want = scipy.interpolate.CubicSpline(x, y, bc_type="periodic")(at)
    found = tg.interpolate.CubicSpline(x, y, bc_type="periodic")(at)
    np.testing.assert_allclose(here(found), want, rtol=1e-10, atol=1e-11)
    inner = 0.5 * (x[1:] + x[:-1]) + 0.1

    def spline(x: np.ndarray, y: np.ndarray) -> object:
        return tg.interpolate.cubic_spline(x, y, inner, bc_type="periodic")

    check_grad(spline, [x, y], order=1, rng=rng)


def test_a_spline_through_a_cubic_is_the_cubic(rng: np.random.Generator) -> None:
    x = np.cumsum(rng.uniform(0.5, 1.5, 7))
    f = tg.interpolate.CubicSpline(x, x**3 - 2 * x)
    at = rng.uniform(x[0] - 1, x[-1] + 1, (2, 3))
    for nu, want in enumerate((at**3 - 2 * at, 3 * at**2 - 2, 6 * at, 6 + 0 * at, 0 * at)):
        np.testing.assert_allclose(here(f(at, nu)), want, rtol=1e-8, atol=1e-8)
    slope = tg.grad(lambda t: tg.sum(f(t)))(at)
    np.testing.assert_allclose(here(slope), 3 * at**2 - 2, rtol=1e-9, atol=1e-9)


def test_splines_know_no_value_beyond_their_ends(rng: np.random.Generator) -> None:
    f = tg.interpolate.CubicSpline(np.arange(4.0), rng.standard_normal(4), extrapolate=False)
    np.testing.assert_array_equal(np.isnan(here(f(np.array([-1.0, 1.5, 4.0])))), [1, 0, 1])


def test_reduction_of_a_tridiagonal_system_is_its_solution(rng: np.random.Generator) -> None:
    from tensorgrad.backend.numpy_interpolate import reduced, tridiagonal

    for n in (1, 2, 3, 8, 21):
        d = rng.uniform(0.5, 1, (3, n))
        d[1] += 2
        b = rng.standard_normal((n, 3))
        np.testing.assert_allclose(reduced(np, d, b), tridiagonal(d, b), rtol=1e-12, atol=1e-13)


def test_grids_refuse_places_beyond_them(rng: np.random.Generator) -> None:
    grid, values = (np.arange(3.0), np.arange(4.0)), rng.standard_normal((3, 4))
    f = tg.interpolate.RegularGridInterpolator(grid, values)
    with pytest.raises(ValueError, match="places within the grid; try bounds_error=False"):
        f(np.array([[1.0, 3.5]]))
    with pytest.raises(ValueError, match="strictly ascending"):
        tg.interpolate.interpn((grid[0][::-1].copy(), grid[1]), values, np.ones((1, 2)))
    with pytest.raises(tg.ShapeError, match="a vector of points"):
        tg.interpolate.interpn(grid, values, np.ones((5, 3)))
    at = np.array([[0.5, 1.5], [np.nan, 1.0]])
    with pytest.raises(ValueError, match="places within the grid"):
        f(at)
    for method in ("linear", "nearest"):
        both = [
            kind(grid, values, method, bounds_error=False)(at)
            for kind in (
                tg.interpolate.RegularGridInterpolator,
                scipy.interpolate.RegularGridInterpolator,
            )
        ]
        np.testing.assert_allclose(here(both[0]), both[1])
