"""Anomaly mode: the first value or cotangent that is not finite, its op and its line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.tensor import Tensor
from tensorgrad.core.watch import Watched

HERE = r"test_anomaly\.py:\d+"


def leaf(values: Any) -> Tensor:
    return Tensor(np.asarray(values, float), requires_grad=True)


def caught(f: Callable[[], Any]) -> str:
    with pytest.raises(tg.NonFiniteError) as error, tg.detect_anomaly():
        f()
    return str(error.value)


def test_a_nan_in_forward_names_op_line_and_input() -> None:
    x = leaf([1.0, -4.0])
    text = caught(lambda: np.sqrt(x) * 2)
    assert text.startswith("sqrt: got NaN (1 of 2 elements not finite, the first at [1]) at ")
    assert "input 0 there: -4.0" in text
    assert "test_anomaly.py:" in text
    assert "where(ok, sqrt(where(ok, x, 1)), 0)" in text


def test_an_infinity_of_finite_inputs_is_caught_and_a_mask_is_not(rng: np.random.Generator) -> None:
    x = leaf(rng.standard_normal((3, 3)))
    assert caught(lambda: tg.log(x * 0.0)).startswith("log: got inf (9 of 9")
    mask = np.where(np.tri(3) > 0, 0.0, -np.inf)
    with tg.detect_anomaly():
        tg.softmax(x + mask, axis=1).sum().backward()
    assert np.isfinite(here(x.grad)).all()


def test_a_nan_that_was_given_is_traced_to_its_input() -> None:
    text = caught(lambda: leaf([1.0, 2.0]) * leaf([np.nan, 1.0]))
    assert "input 1 already has NaN (1 of 2 elements not finite, the first at [0])" in text


def test_a_cotangent_in_backward_names_the_line_of_its_forward() -> None:
    x = leaf([4.0, 0.0])
    with tg.detect_anomaly():
        y = np.sqrt(x)
        line = y.node.origin
        loss = y.sum()
    text = caught(loss.backward)
    assert text.startswith("sqrt: got a cotangent of its input with inf")
    assert line in text


def test_the_branch_that_was_not_taken_shows_the_rewrite() -> None:
    def wrong(x: Tensor) -> Tensor:
        return np.where(x > 0, np.sqrt(x), 0.0).sum()  # type: ignore[no-any-return]

    def right(x: Tensor) -> Tensor:
        return np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0).sum()  # type: ignore[no-any-return]

    x = leaf([4.0, 0.0])
    text = caught(lambda: wrong(x).backward())
    assert "its output's cotangent is 0 there, as where at " in text
    assert "try where(ok, sqrt(where(ok, x, 1)), 0)" in text
    x.grad = None
    with tg.detect_anomaly():
        right(x).backward()
    np.testing.assert_array_equal(here(x.grad), [0.25, 0.0])


def test_a_sum_of_cotangents_that_overflows_is_caught() -> None:
    x = Tensor(np.full(2, 1e-30, np.float32), requires_grad=True)
    big = np.float32(3e38)
    text = caught(lambda: (x * big + x * big * np.float32(0.5)).sum().backward())
    assert text.startswith("leaf: got a gradient with inf")


def test_inside_checkpoint_grad_vmap_and_jvp() -> None:
    def f(x: Any) -> Any:
        return np.sum(np.sqrt(x * x))

    point = np.array([1.0, 0.0])
    for run in (
        lambda: tg.grad(tg.checkpoint(f))(point),
        lambda: tg.vmap(tg.grad(f))(point[None]),
        lambda: tg.jvp(f, (point,), (np.ones(2),)),
        lambda: tg.grad(tg.grad(lambda x: np.power(x, 1.5)))(0.0),
    ):
        assert "test_anomaly.py:" in caught(run)


def test_it_ends_with_the_block_and_stays_in_its_thread(rng: np.random.Generator) -> None:
    found: list[Any] = []

    def elsewhere() -> None:
        with np.errstate(invalid="ignore"):
            found.append(here(tg.sqrt(Tensor(-1.0) * 1.0)))

    with tg.detect_anomaly():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert any(type(k) is Watched for k in PRIMITIVES["multiply"].kernels.values())
        tg.vmap(lambda x: x * 2.0)(rng.standard_normal(3))
    assert np.isnan(found[0])
    assert not any(type(k) is Watched for k in PRIMITIVES["multiply"].kernels.values())


def test_nested_and_as_a_decorator() -> None:
    @tg.detect_anomaly()
    def f(x: Tensor) -> Tensor:
        with tg.detect_anomaly():
            x * 1.0
        return np.log(x)  # type: ignore[no-any-return]

    for _ in range(2):
        with pytest.raises(tg.NonFiniteError, match=f"log: got inf .* at .*{HERE}"):
            f(leaf(0.0))


def test_the_safe_form_has_every_input_and_the_functions_own_name() -> None:
    x = leaf([0.0, 1.0])
    assert "where(ok, divide(where(ok, x, 1), where(ok, y, 1)), 0)" in caught(lambda: x / x)
    text = caught(lambda: tg.jvp(np.sqrt, (np.array([0.0, 1.0]),), (np.ones(2),)))
    assert "where(ok, sqrt(where(ok, x, 1)), 0)" in text
