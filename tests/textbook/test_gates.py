"""Small graphs by hand: every gate's gradient to the last printed digit, gate by gate and fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg

POINT = (-2.0, 5.0, -4.0)
NEURON = {"w0": 2.0, "x0": -1.0, "w1": -3.0, "x1": -2.0, "w2": -3.0}
NEURON_VALUE = 0.7310585786
NEURON_GRADIENTS = {
    "w0": -0.1966119332,
    "x0": 0.3932238665,
    "w1": -0.3932238665,
    "x1": -0.5898357997,
    "w2": 0.1966119332,
}
DIGITS = 6e-11  # the numbers are rounded to ten decimals


def leaf(value: Any) -> tg.Tensor:
    return tg.Tensor(value, dtype=float, requires_grad=True)


def gate_by_gate(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    """The sigmoid neuron as the nine gates that a circuit diagram of it has."""
    total = w0 * x0 + w1 * x1
    total = total + w2
    negated = total * -1.0
    grown = np.exp(negated)
    shifted = grown + 1.0
    return 1.0 / shifted


def one_sigmoid(w0: Any, x0: Any, w1: Any, x1: Any, w2: Any) -> Any:
    return tg.sigmoid(w0 * x0 + w1 * x1 + w2)


fused_neuron = tg.fuse(lambda w0, x0, w1, x1, w2: tg.sigmoid(w0 * x0 + w1 * x1 + w2))


def test_sum_times_z_by_functions() -> None:
    value, gradients = tg.value_and_grad(lambda x, y, z: (x + y) * z, (0, 1, 2))(*POINT)
    assert value == -12.0
    assert gradients == (-4.0, -4.0, 3.0)


def test_sum_times_z_by_the_tape() -> None:
    x, y, z = (leaf(v) for v in POINT)
    q = x + y
    f = q * z
    f.backward()
    assert f.item() == -12.0
    assert [t.grad.item() for t in (x, y, z)] == [-4.0, -4.0, 3.0]


def test_gradient_of_the_intermediate_sum() -> None:
    assert tg.grad(lambda q, z: q * z)(POINT[0] + POINT[1], POINT[2]) == -4.0


@pytest.mark.parametrize("form", [gate_by_gate, one_sigmoid, fused_neuron])
def test_neuron_by_functions(form: Callable[..., Any]) -> None:
    value, gradients = tg.value_and_grad(form, range(5))(*NEURON.values())
    assert value == pytest.approx(NEURON_VALUE, abs=DIGITS, rel=0)
    assert dict(zip(NEURON, gradients)) == pytest.approx(NEURON_GRADIENTS, abs=DIGITS, rel=0)


@pytest.mark.parametrize("form", [gate_by_gate, one_sigmoid, fused_neuron])
def test_neuron_by_the_tape(form: Callable[..., Any]) -> None:
    leaves = {name: leaf(v) for name, v in NEURON.items()}
    value = form(**leaves) if form is not fused_neuron else form(*leaves.values())
    value.backward()
    assert value.item() == pytest.approx(NEURON_VALUE, abs=DIGITS, rel=0)
    found = {name: t.grad.item() for name, t in leaves.items()}
    assert found == pytest.approx(NEURON_GRADIENTS, abs=DIGITS, rel=0)


def test_neuron_forms_agree_everywhere(rng: np.random.Generator) -> None:
    point = tuple(rng.uniform(-2, 2, 5))
    forms = [gate_by_gate, one_sigmoid, fused_neuron]
    first, *others = [np.array(tg.grad(f, range(5))(*point)) for f in forms]
    for other in others:
        np.testing.assert_allclose(other, first, rtol=0, atol=1e-14)


def test_forward_mode_gives_the_same_numbers() -> None:
    for k, expected in enumerate(NEURON_GRADIENTS.values()):
        tangents = tuple(float(j == k) for j in range(5))
        _, slope = tg.jvp(one_sigmoid, tuple(NEURON.values()), tangents)
        assert slope == pytest.approx(expected, abs=DIGITS, rel=0)


def test_add_hands_the_cotangent_to_both(rng: np.random.Generator) -> None:
    x, y, ct = rng.standard_normal((3, 4))
    _, pull = tg.vjp(lambda x, y: x + y, x, y)
    for found in pull(ct):
        np.testing.assert_array_equal(found, ct)


def test_max_routes_to_the_larger(rng: np.random.Generator) -> None:
    x, y, ct = rng.standard_normal((3, 50))
    _, pull = tg.vjp(np.maximum, x, y)
    to_x, to_y = pull(ct)
    np.testing.assert_array_equal(to_x, np.where(x > y, ct, 0.0))
    np.testing.assert_array_equal(to_y, np.where(x > y, 0.0, ct))


def test_mul_swaps_its_inputs(rng: np.random.Generator) -> None:
    x, y, ct = rng.standard_normal((3, 4))
    _, pull = tg.vjp(lambda x, y: x * y, x, y)
    to_x, to_y = pull(ct)
    np.testing.assert_array_equal(to_x, ct * y)
    np.testing.assert_array_equal(to_y, ct * x)


def test_a_value_used_twice_sums_what_comes_back(rng: np.random.Generator) -> None:
    x, y, ct = rng.standard_normal((3, 4))
    _, pull = tg.vjp(lambda x, y: x * y + np.maximum(x, y) + x, x, y)
    to_x, to_y = pull(ct)
    np.testing.assert_allclose(to_x, ct * y + np.where(x > y, ct, 0) + ct, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(to_y, ct * x + np.where(x > y, 0, ct), rtol=1e-14, atol=1e-15)


def test_the_same_tensor_in_both_inputs() -> None:
    x = leaf(3.0)
    (x * x + x).backward()
    assert x.grad.item() == 7.0
