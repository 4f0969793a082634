"""vmap: axes of nested data, where results put the batch, options, branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor


@dataclass
class Layer:
    weight: Any
    bias: Any


class Pair(NamedTuple):
    a: Any
    b: Any


def test_axes_of_nested_arguments_and_results(rng: np.random.Generator) -> None:
    w, b = rng.standard_normal((4, 3)), rng.standard_normal((4, 5))
    x, y = rng.standard_normal((3, 5)), rng.standard_normal((2, 5))

    def f(layer: Layer, d: Any, *, scale: float) -> Any:
        return Pair(layer.weight @ d["x"] * scale + layer.bias, {"y": [d["y"], scale]})

    found = tg.vmap(
        f,
        in_axes=(Layer(None, -1), {"x": 1, "y": -1}),
        out_axes=Pair(-1, {"y": [0, None]}),
    )(Layer(w, b), {"x": x, "y": y}, scale=2.0)
    assert isinstance(found, Pair)
    np.testing.assert_allclose(found.a, 2 * w @ x + b, rtol=1e-14, atol=1e-14)  # a sum may cancel
    np.testing.assert_array_equal(found.b["y"][0], y.T)
    assert found.b["y"][1] == 2.0


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_every_axis(axis: int, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3, 4))
    for out in (0, 1, -1):
        found = tg.vmap(lambda row: np.cumsum(row, 0) * 2, in_axes=axis, out_axes=out)(x)
        rows = [np.cumsum(row, 0) * 2 for row in np.moveaxis(x, axis, 0)]
        np.testing.assert_allclose(found, np.stack(rows, out), rtol=1e-14)


def test_nested_and_captured(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 4)), rng.standard_normal((3, 4))
    table = tg.vmap(lambda a: tg.vmap(lambda b: a @ b)(y))(x)
    np.testing.assert_allclose(table, x @ y.T, rtol=1e-14, atol=1e-14)
    found = tg.vmap(tg.vmap(np.dot, in_axes=(None, 0)), in_axes=(0, None))(x, Tensor(y))
    assert isinstance(found, Tensor)
    np.testing.assert_allclose(found.numpy(), x @ y.T, rtol=1e-14, atol=1e-14)
    constant = tg.vmap(lambda a: 7.0)(x)
    np.testing.assert_array_equal(constant, np.full(2, 7.0))


def test_refusals() -> None:
    x = np.ones((2, 3))
    with pytest.raises(tg.ShapeError, match=r"vmap: got batch sizes \[2, 3\], expected one size"):
        tg.vmap(np.add)(x, np.ones(3))
    with pytest.raises(tg.ShapeError, match="vmap: got no argument with a batch"):
        tg.vmap(np.add, in_axes=None)(x, x)
    with pytest.raises(tg.ShapeError, match=r"vmap: got argument=.* axis=2, expected an axis"):
        tg.vmap(np.sin, in_axes=2)(x)
    with pytest.raises(tg.ShapeError, match="out_axes=3, expected an axis of 2"):
        tg.vmap(np.sin, out_axes=3)(x)
    with pytest.raises(tg.ShapeError, match="expected a result without a batch"):
        tg.vmap(np.sin, out_axes=None)(x)
    with pytest.raises(
        TypeError, match=r"vmap: got in_axes=.*expected a number, None, or the same"
    ):
        tg.vmap(np.sin, in_axes=(0, 0))(x)
    with pytest.raises(TypeError, match=r"vmap: got in_axes=.*try in_axes=0"):
        tg.vmap(lambda d: d["a"], in_axes=({"b": 0},))({"a": x})


def test_branches_on_values(rng: np.random.Generator) -> None:
    def leaky(x: Any) -> Any:
        if x > 0:
            return x * x
        else:
            return -x

    x = rng.uniform(0.5, 1.0)
    assert tg.grad(leaky)(x) == 2 * x
    assert tg.grad(leaky)(-x) == -1.0
    assert tg.jvp(leaky, (x,), (1.0,))[1] == 2 * x
    assert tg.vjp(leaky, -x)[1](1.0) == (-1.0,)
    assert tg.hessian(leaky)(x) == 2.0
    number = leaky.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match="vmap: got") as caught:
        tg.vmap(leaky)(np.array([x, -x]))
    assert str(caught.value) == (
        f"vmap: got `if x > 0:` ({__file__}, line {number}), which reads a value with a batch "
        "hidden in it, expected no Python branch or number from one; try where(c, a, b) instead of "
        "`if c`, here `np.where(x > 0, x * x, -x)` in place of the `if`"
    )
    with pytest.raises(ValueError, match=r"here `np.where\(v > 0, v, 0.0\)`"):
        tg.vmap(tg.vmap(tg.grad(lambda v: v if v > 0 else 0.0)))(np.ones((2, 2)))
    with pytest.raises(ValueError, match="which reads a value with a batch hidden"):
        tg.vmap(lambda v: v.item())(np.ones(2))
    with pytest.raises(ValueError, match="hidden in it"):
        tg.vmap(lambda v: [v for _ in range(3) if v > 1])(np.ones(2))
