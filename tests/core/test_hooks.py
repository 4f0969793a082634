"""Hooks on recorded values and on nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor


def test_a_hook_on_a_recorded_value_sees_its_whole_gradient_once(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal(3), requires_grad=True)
    h = np.sin(x)
    early = h * 2.0  # recorded before the hook
    seen: list[Any] = []
    remove = h.register_hook(lambda g: seen.append(here(g).copy()))
    double = h.register_hook(lambda g: g * 2.0)
    y = (early + h * h).sum()
    for create in (False, True):
        seen.clear()
        y.backward(retain_graph=True, create_graph=create)
        total = 2.0 + 2.0 * np.sin(here(x))
        assert len(seen) == 1
        np.testing.assert_allclose(seen[0], total)
        np.testing.assert_allclose(here(x.grad), 2.0 * total * np.cos(here(x)))
        x.grad = None
    remove()
    double()
    y.backward()
    assert len(seen) == 1
    np.testing.assert_allclose(here(x.grad), total * np.cos(here(x)))


def test_a_hook_on_one_output_of_several(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal(6), requires_grad=True)
    a, b = tg.split(x * 1.0, 2)
    other, _ = tg.split(x * 1.0, 2)
    a.register_hook(lambda g: g * 3.0)
    (a.sum() + b.sum() + other.sum()).backward()
    np.testing.assert_array_equal(here(x.grad), [4.0, 4.0, 4.0, 1.0, 1.0, 1.0])


def test_a_node_hook_sees_and_replaces_what_goes_to_the_inputs(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal(3), requires_grad=True)
    y = x * Tensor(np.full(3, 5.0))
    seen: list[Any] = []

    def hook(inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append((inputs, outputs))
        return inputs[0] * 2.0, None

    remove = y.register_node_hook(hook)
    y.sum().backward(retain_graph=True)
    ((inputs, outputs),) = seen
    np.testing.assert_array_equal(here(inputs[0]), np.full(3, 5.0))
    assert inputs[1] is None
    np.testing.assert_array_equal(here(outputs[0]), np.ones(3))
    np.testing.assert_array_equal(here(x.grad), np.full(3, 10.0))
    remove()
    x.grad = None
    y.sum().backward()
    np.testing.assert_array_equal(here(x.grad), np.full(3, 5.0))


def test_a_gradient_that_a_hook_changes_is_differentiated(rng: np.random.Generator) -> None:
    def f(x: Tensor) -> Tensor:
        h = np.sin(x)
        h.register_hook(lambda g: g * x)
        return h.sum()  # type: ignore[no-any-return]

    x = rng.standard_normal(4)
    found = tg.grad(lambda v: np.sum(tg.grad(f)(v)))(x)
    np.testing.assert_allclose(found, np.cos(x) - x * np.sin(x))


def test_hooks_refuse_what_does_not_fit(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal(3), requires_grad=True)
    with pytest.raises(tg.GradientError, match="register_hook: got a tensor that is not on the"):
        x.detach().register_hook(lambda g: g)
    with pytest.raises(tg.GradientError, match="register_node_hook: got a leaf"):
        x.register_node_hook(lambda i, o: None)
    y = x * 2.0
    y.register_hook(lambda g: g.sum())
    with pytest.raises(tg.GradientError, match=r"expected None or a tensor of shape \(3,\)"):
        y.sum().backward()
    z = x * 2.0
    z.register_node_hook(lambda i, o: (o[0],))
    with pytest.raises(tg.GradientError, match="register_node_hook: got returned="):
        z.sum().backward()


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_a_hook_keeps_the_dtype(dtype: str, rng: np.random.Generator) -> None:
    """Else a gradient would lose digits, or its imaginary part, in silence."""
    x = Tensor(rng.standard_normal(3), requires_grad=True)
    y = x * 2.0
    for value in (x, y):
        remove = value.register_hook(lambda g: g.astype(dtype))
        with pytest.raises(tg.GradientError, match=r"tensor of shape \(3,\) and float64"):
            y.sum().backward(retain_graph=True)
        remove()
    remove = y.register_node_hook(lambda inputs, _: (inputs[0].astype(dtype), *inputs[1:]))
    with pytest.raises(tg.GradientError, match="cotangent of the same shape and dtype"):
        y.sum().backward(retain_graph=True)
    remove()
    assert x.grad is None
