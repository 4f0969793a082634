"""The multiclass SVM: mean hinge loss with margin 1 plus L2 regularisation, as one graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.testing import check_grad, check_gradient, numerical_gradient

Array = np.ndarray[Any, Any]
MARGIN = 1.0

# Two samples, three classes. Scores X @ W: (3.2, 5.1, -1.7) of class 0 and (1.3, 4.9, 2.0) of
# class 1. Sample 0: max(0, 5.1 - 3.2 + 1) + max(0, -1.7 - 3.2 + 1) = 2.9 + 0; sample 1 has no
# loss, its margins are 1.3 - 4.9 + 1 and 2.0 - 4.9 + 1, both negative. So the data loss is 1.45.
X = np.eye(2)
W = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0]])
LABELS = np.array([0, 1])
DATA_LOSS = 1.45
DATA_GRADIENT = np.array([[-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]])
SQUARES = 3.2**2 + 5.1**2 + 1.7**2 + 1.3**2 + 4.9**2 + 2.0**2


def data_loss(weight: Any, x: Array, labels: Array) -> Any:
    """mean_i sum_{j != y_i} max(0, s_ij - s_iy + 1), one gate after the other."""
    scores = x @ weight
    rows = np.arange(len(labels))
    own = scores[rows, labels][:, None]
    margins = np.maximum(scores - own + MARGIN, 0.0)
    others = np.ones(margins.shape)
    others[rows, labels] = 0.0
    return np.sum(margins * others) / len(labels)


def svm(weight: Any, x: Array, labels: Array, strength: float) -> Any:
    """Data loss + regularisation loss."""
    return data_loss(weight, x, labels) + strength * np.sum(weight * weight)


def by_hand(weight: Array, x: Array, labels: Array, strength: float) -> Array:
    """The gradient as a course derives it: count the violated margins of every sample."""
    scores = x @ weight
    rows = np.arange(len(labels))
    violated = (scores - scores[rows, labels][:, None] + MARGIN > 0).astype(float)
    violated[rows, labels] = 0.0
    violated[rows, labels] = -violated.sum(1)
    return np.asarray(x.T @ violated / len(labels) + 2 * strength * weight)


def samples(rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Weights, samples and labels with no margin near its kink."""
    while True:
        weight, x = rng.standard_normal((5, 4)), rng.standard_normal((7, 5))
        labels = rng.integers(0, 4, 7)
        scores = x @ weight
        if np.abs(scores - scores[np.arange(7), labels][:, None] + MARGIN).min() > 1e-3:
            return weight, x, labels


def test_the_example_worked_by_hand() -> None:
    value, gradient = tg.value_and_grad(data_loss)(W, X, LABELS)
    assert value == pytest.approx(DATA_LOSS, rel=1e-14)
    np.testing.assert_allclose(gradient, DATA_GRADIENT, rtol=0, atol=1e-15)


def test_the_regularised_example_worked_by_hand() -> None:
    value, gradient = tg.value_and_grad(svm)(W, X, LABELS, 0.1)
    assert value == pytest.approx(DATA_LOSS + 0.1 * SQUARES, rel=1e-14)
    np.testing.assert_allclose(gradient, DATA_GRADIENT + 0.2 * W, rtol=0, atol=1e-14)


def test_against_the_gradient_by_hand(rng: np.random.Generator) -> None:
    weight, x, labels = samples(rng)
    gradient = tg.grad(svm)(weight, x, labels, 0.05)
    np.testing.assert_allclose(gradient, by_hand(weight, x, labels, 0.05), rtol=0, atol=1e-13)


def test_against_finite_differences(rng: np.random.Generator) -> None:
    weight, x, labels = samples(rng)
    estimate = numerical_gradient(lambda w: svm(w, x, labels, 0.05), (weight,))[0]
    np.testing.assert_allclose(tg.grad(svm)(weight, x, labels, 0.05), estimate, rtol=0, atol=1e-8)
    check_gradient(
        lambda w: svm(w, x, labels, 0.05), lambda w: by_hand(w, x, labels, 0.05), (weight,)
    )
    check_grad(lambda w, v: svm(w, v, labels, 0.05), (weight, x), rng=rng)


def test_against_the_loss_of_the_library(rng: np.random.Generator) -> None:
    weight, x, labels = samples(rng)

    def library(w: Any) -> Any:
        loss = tg.multi_margin_loss(x @ w, labels, margin=MARGIN)
        return loss * weight.shape[1] + 0.05 * np.sum(w * w)  # it also divides by the classes

    value, gradient = tg.value_and_grad(library)(weight)
    mine, by_gates = tg.value_and_grad(svm)(weight, x, labels, 0.05)
    assert value == pytest.approx(mine, rel=1e-13)
    np.testing.assert_allclose(gradient, by_gates, rtol=0, atol=1e-13)


def test_descent_separates_what_can_be_separated(rng: np.random.Generator) -> None:
    labels = np.repeat([0, 1, 2], 20)
    centres = np.array([[3.0, 0.0], [-3.0, 3.0], [-3.0, -3.0]])
    x = np.column_stack([centres[labels] + 0.3 * rng.standard_normal((60, 2)), np.ones(60)])
    weight = np.zeros((3, 3))
    for _ in range(200):
        weight = weight - 0.1 * tg.grad(svm)(weight, x, labels, 1e-3)
    assert ((x @ weight).argmax(1) == labels).all()
