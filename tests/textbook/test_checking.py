"""Numerical gradients check analytic ones; a slip by hand is caught and its argument named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.testing import check_gradient, numerical_gradient

Array = np.ndarray[Any, Any]
INPUT = np.array([1.0, 2.0, 3.0, 4.0]) / 4
TARGET = np.array([0.5, 0.7, 0.3, 0.1])


def loss(W1: Any, W2: Any, W3: Any) -> Any:
    """Squared error, summed, of the linear network p = x W1 W2 W3."""
    return np.sum((INPUT @ W1 @ W2 @ W3 - TARGET) ** 2)


def backward_by_hand(W1: Array, W2: Array, W3: Array, slip: bool = False) -> tuple[Array, ...]:
    """The gradient of `loss`; with `slip` the output cotangent forgets the target."""
    h1 = INPUT @ W1
    h2 = h1 @ W2
    p = h2 @ W3
    ct = 2 * p if slip else 2 * (p - TARGET)
    ct2 = W3 @ ct
    ct1 = W2 @ ct2
    return np.outer(INPUT, ct1), np.outer(h1, ct2), np.outer(h2, ct)


@pytest.fixture
def weights(rng: np.random.Generator) -> tuple[Array, ...]:
    return tuple(rng.normal(0, 0.5, (3, 4, 4)))


def test_a_right_gradient_passes(weights: tuple[Array, ...]) -> None:
    check_gradient(loss, backward_by_hand, weights)


def test_the_tape_agrees_with_hand_and_differences(weights: tuple[Array, ...]) -> None:
    tape = tg.grad(loss, (0, 1, 2))(*weights)
    for mine, hand, estimate in zip(
        tape, backward_by_hand(*weights), numerical_gradient(loss, weights)
    ):
        np.testing.assert_allclose(mine, hand, rtol=0, atol=1e-12)
        np.testing.assert_allclose(mine, estimate, rtol=0, atol=1e-7)


def test_the_classic_slip_is_caught_and_every_argument_named(weights: tuple[Array, ...]) -> None:
    with pytest.raises(AssertionError, match="central difference") as caught:
        check_gradient(loss, lambda *w: backward_by_hand(*w, slip=True), weights)
    text = str(caught.value)
    assert text.startswith("check_gradient: got d/dW1[")
    for name in ("W1", "W2", "W3"):
        assert f"d/d{name}[" in text
    assert "expected" in text
    assert "try the chain rule again" in text


def test_only_the_wrong_argument_is_named(weights: tuple[Array, ...]) -> None:
    def one_wrong(*w: Array) -> tuple[Array, ...]:
        g1, g2, g3 = backward_by_hand(*w)
        return g1, g2.T, g3

    with pytest.raises(AssertionError, match=r"d/dW2\[") as caught:
        check_gradient(loss, one_wrong, weights)
    assert "W1" not in str(caught.value)
    assert "W3" not in str(caught.value)


def test_the_worst_element_and_its_error_are_named(weights: tuple[Array, ...]) -> None:
    def one_element_wrong(*w: Array) -> tuple[Array, ...]:
        g1, g2, g3 = backward_by_hand(*w)
        g3[1, 2] += 0.25
        return g1, g2, g3

    with pytest.raises(AssertionError, match=r"d/doutput\[1, 2\]") as caught:
        check_gradient(loss, one_element_wrong, weights, names=("input", "hidden", "output"))
    assert "error 0.25, wrong in 1 of 16 elements" in str(caught.value)


def test_a_gradient_of_nan_is_wrong() -> None:
    with pytest.raises(AssertionError, match="d/dx = nan, expected 4"):
        check_gradient(lambda x: x * x, lambda x: float("nan"), (2.0,))
    with pytest.raises(AssertionError, match=r"d/dx\[1\] = nan, .* wrong in 1 of 2 elements"):
        check_gradient(lambda x: np.sum(x * x), lambda x: (np.array([2.0, np.nan]),), (np.ones(2),))


def test_a_gradient_of_another_shape_is_refused(weights: tuple[Array, ...]) -> None:
    with pytest.raises(tg.ShapeError, match=r"got d/db of shape \(3, 4\), expected \(4,\)"):
        check_gradient(
            lambda b: np.sum(b * np.ones((3, 4))), lambda b: np.ones((3, 4)), (np.ones(4),)
        )


def test_arguments_without_a_gradient_are_left_out() -> None:
    check_gradient(lambda x, n: x**n, lambda x, n: (n * x ** (n - 1), None), (1.5, 3))
    with pytest.raises(tg.DTypeError, match="got a gradient of n"):
        check_gradient(lambda x, n: x**n, lambda x, n: (n * x ** (n - 1), 1.0), (1.5, 3))
    with pytest.raises(tg.ShapeError, match="gradients=1, arguments=2"):
        check_gradient(lambda x, n: x**n, lambda x, n: n * x ** (n - 1), (1.5, 3))


def test_complex_arguments_move_along_both_axes(rng: np.random.Generator) -> None:
    z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    check_gradient(lambda z: np.sum(np.abs(z) ** 2), lambda z: 2 * z, (z,))


def test_a_function_of_tensors_is_checked_too(rng: np.random.Generator) -> None:
    check_gradient(lambda x: tg.sum(tg.sin(x)), np.cos, (rng.standard_normal(5),))


def test_a_value_of_several_elements_is_refused() -> None:
    with pytest.raises(tg.ShapeError, match="expected one real number from the function"):
        numerical_gradient(lambda x: x, (np.ones(2),))
