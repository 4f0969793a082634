"""Arguments that a derivative is taken in: by position, by name, several, in containers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg


def f(x: Any, w: Any = 2.0, *, scale: Any) -> Any:
    return np.sum(x * w * scale["a"] ** 2)


def test_arguments_by_name(rng: np.random.Generator) -> None:
    x, w, scale = rng.standard_normal(3), rng.standard_normal(3), {"a": 3.0}
    for found in (
        tg.grad(f, "x")(x, w, scale=scale),
        tg.grad(f, "x")(x=x, w=w, scale=scale),
        tg.grad(f, 0)(x, w=w, scale=scale),
    ):
        np.testing.assert_allclose(here(found), 9 * w)
    of_x, of_w, of_scale = tg.grad(f, (0, "w", "scale"))(x, w, scale=scale)
    np.testing.assert_allclose(here(of_x), 9 * w)
    np.testing.assert_allclose(here(of_w), 9 * x)
    np.testing.assert_allclose(here(of_scale["a"]), 6 * x @ w)
    assert tg.value_and_grad(f, "scale")(x, scale=scale)[1]["a"] == pytest.approx(12 * x.sum())
    assert tg.grad(f, ("w",))(x, 1.0, scale=scale) == (pytest.approx(9 * x.sum()),)
    assert scale == {"a": 3.0}


@pytest.mark.parametrize("mode", ["forward", "reverse", None])
def test_whole_derivatives_by_name(mode: str | None, rng: np.random.Generator) -> None:
    x, w = rng.standard_normal(3), rng.standard_normal((2, 3))
    g = lambda x, *, w: w @ np.sin(x)  # noqa: E731
    found = tg.jacobian(g, (0, "w"), mode=mode)(x, w=w)
    np.testing.assert_allclose(here(found[0]), w * np.cos(x))
    assert found[1].shape == (2, 2, 3)
    h = tg.hessian(lambda x, *, w: np.sum(g(x, w=w)), ("x", "w"))(x, w=w)
    np.testing.assert_allclose(here(h[0][0]), np.diag(-w.sum(0) * np.sin(x)))
    np.testing.assert_allclose(here(h[0][1])[0, 1], [np.cos(x[0]), 0, 0])
    each = tg.elementwise_grad(lambda *, x: np.sin(x), "x")(x=x)
    np.testing.assert_allclose(here(each), np.cos(x))


def test_arguments_that_are_not_there() -> None:
    with pytest.raises(tg.GradientError, match=r"got argnums='z' in a call of 1 positional"):
        tg.grad(f, "z")(1.0, scale={"a": 1.0})
    with pytest.raises(tg.GradientError, match="got argnums='w' in a call of 1 positional"):
        tg.grad(f, "w")(1.0, scale={"a": 1.0})
    with pytest.raises(tg.GradientError, match="expected every argument once"):
        tg.grad(f, (0, "x"))(1.0, scale={"a": 1.0})
    with pytest.raises(tg.GradientError, match="got argnums=2 for 1 positional"):
        tg.grad(f, 2)(1.0, scale={"a": 1.0})
    with pytest.raises(tg.GradientError, match="got argnums='x' in a call of 1 positional"):
        tg.grad(max, "x")(1.0)
