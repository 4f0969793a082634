"""Forward mode on bare arrays: when a step runs, and that it gives what the rules give."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad.core import levels
from tensorgrad.core.tensor import Tensor


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that no step took."""
    seen: list[str] = []
    bare = levels.Dual.apply

    def apply(op: Any, *rest: Any) -> Any:
        seen.append(op.name)
        return bare(op, *rest)

    monkeypatch.setattr(levels.Dual, "apply", staticmethod(apply))
    return seen


def program(x: Any) -> Any:
    return np.sum(np.tanh(x * x + 1.0) * x - np.exp(-x) @ np.eye(3) / 3.0)


def test_steps_take_a_whole_program(slow: list[str], rng: np.random.Generator) -> None:
    x, t = rng.standard_normal((2, 3))
    value, tangent = tg.jvp(program, (x,), (t,))
    assert not slow
    np.testing.assert_allclose(value, program(x), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(tangent, tg.grad(program)(x) @ t, rtol=1e-12, atol=1e-13)


def test_recorded_values_and_inner_levels_go_by_the_rules(
    slow: list[str], rng: np.random.Generator
) -> None:
    x, t, w = rng.standard_normal((3, 3))
    leaf = Tensor(w, requires_grad=True)
    tg.jvp(lambda x: np.sum(np.sin(x) * leaf), (x,), (t,))[1].backward()
    assert "multiply" in slow
    np.testing.assert_allclose(leaf.grad.numpy(), np.cos(x) * t)
    twice = tg.jvp(lambda x: tg.jvp(lambda x: np.sum(x**3), (x,), (t,))[1], (x,), (t,))[1]
    np.testing.assert_allclose(twice, np.sum(6 * x * t * t))


def test_a_value_taken_out_as_a_tensor_keeps_its_record(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 3))
    leaf = Tensor(w, requires_grad=True)

    def f(x: Any) -> Any:
        y = np.sin(x)
        inner = y.data.inner
        assert y.data.bare()
        assert inner is y.data.inner
        y.data.inner = inner * leaf
        assert not y.data.bare()
        return np.sum(y * y)

    value, _ = tg.jvp(f, (x,), (x,))
    value.backward()
    np.testing.assert_allclose(leaf.grad.numpy(), 2 * np.sin(x) ** 2 * w)


def test_a_tangent_has_the_dtype_of_its_value() -> None:
    x = np.ones(2, np.float32)
    for f in (lambda x: x + np.ones(2), lambda x: x + 1j, lambda x: np.ones((3, 2)) - x):
        value, tangent = tg.jvp(f, (x,), (x,))
        assert (value.dtype, value.shape) == (tangent.dtype, tangent.shape)


def test_values_warn_as_they_do_and_tangents_never() -> None:
    if place.chosen != "cpu":
        pytest.skip("a GPU does not warn")
    x = np.array([-1.0, 0.0])
    with pytest.warns(RuntimeWarning, match="log"):
        tg.jvp(np.log, (x,), (x,))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tg.jvp(np.sqrt, (x[1:],), (x[1:] + 1,))


def test_what_is_no_tuple_is_refused() -> None:
    for primals in (2.0, np.ones(2)):
        with pytest.raises(TypeError, match=r"jvp: got .*, expected tuples of primals"):
            tg.jvp(np.sin, primals, primals)
