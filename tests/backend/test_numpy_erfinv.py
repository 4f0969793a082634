"""The inverse error function in float64, against the error function in wider numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special

from tensorgrad.backend import numpy_erfinv
from tests.codegen.test_kernel_leaves import WIDER, fraction, series


def errors(x: Any, y: Any) -> Any:
    """How far y is from the inverse of x, in units of y's last place, by one step of Newton's."""
    a, wide = np.abs(x), np.abs(y).astype(np.longdouble)
    below = series(np.minimum(wide, 2)) - a
    beyond = (1 - a.astype(np.longdouble)) - fraction(np.maximum(wide, 2))
    slope = 2 / np.sqrt(np.longdouble(np.pi)) * np.exp(-wide * wide)
    return np.abs(np.where(wide < 2, below, beyond)) / slope / np.spacing(np.abs(y))


@pytest.mark.skipif(not WIDER, reason="no wider floats here")
def test_accuracy(rng: np.random.Generator) -> None:
    tails = 1 - 2.0 ** rng.uniform(-53, -1, 3000)
    small = 2.0 ** rng.uniform(-300, -3, 2000)
    x = np.concatenate([rng.uniform(-1, 1, 5000), tails, -tails, small, [1 - 2.0**-53]])
    y = numpy_erfinv.erfinv(x)
    assert np.array_equal(np.signbit(x), np.signbit(y))
    assert np.max(errors(x, y)) <= 4


def test_ends() -> None:
    x = np.array([0.0, -0.0, 1.0, -1.0, 1.5, -2.0, np.nan, np.inf, 1e-310])
    with np.errstate(all="raise"):
        found = numpy_erfinv.erfinv(x)
    with np.errstate(all="ignore"):
        want = scipy.special.erfinv(x)
    np.testing.assert_allclose(found, want, rtol=1e-14)
    assert np.array_equal(np.signbit(found[:4]), np.signbit(x[:4]))
    single = x.astype(np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(numpy_erfinv.erfinv(single), scipy.special.erfinv(single))


def test_without_generated_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numpy_erfinv, "_kernel", lambda: None)
    x = np.array([-0.9, -0.4, -0.0, 0.0, 0.7])
    found = numpy_erfinv.erfinv(x)
    np.testing.assert_array_equal(found, scipy.special.erfinv(x))
    np.testing.assert_array_equal(np.signbit(found), np.signbit(x))
