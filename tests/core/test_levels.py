"""Levels: nested transforms never confuse tangents, batches or tapes."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor


def f(x):  # type: ignore[no-untyped-def]
    return tg.exp(x * x) * tg.sin(x)


def test_perturbations_are_not_confused() -> None:
    """The case of Siskind and Pearlmutter (2008): the inner derivative is 1, not 2."""
    inner = lambda x: tg.jvp(lambda y: x + y, (1.0,), (1.0,))[1]  # noqa: E731
    assert tg.grad(lambda x: x * inner(x))(1.0) == 1.0
    assert tg.jvp(lambda x: x * inner(x), (1.0,), (1.0,)) == (1.0, 1.0)
    product = lambda x: tg.jvp(lambda y: x * y, (2.0,), (1.0,))[1]  # noqa: E731
    assert tg.grad(lambda x: x * product(x))(3.0) == 6.0


def test_compositions_of_forward_and_reverse_agree() -> None:
    x, h = 0.7, 1e-5
    value = lambda v: math.exp(v * v) * math.sin(v)  # noqa: E731
    second = (value(x + h) - 2 * value(x) + value(x - h)) / h**2
    routes = [
        tg.grad(tg.grad(f))(x),
        tg.jvp(tg.grad(f), (x,), (1.0,))[1],
        tg.grad(lambda v: tg.jvp(f, (v,), (1.0,))[1])(x),
        tg.jvp(lambda v: tg.jvp(f, (v,), (1.0,))[1], (x,), (1.0,))[1],
        tg.vmap(tg.grad(tg.grad(f)))(np.array([x]))[0],
        tg.grad(lambda v: tg.checkpoint(tg.grad(f))(v))(x),
        tg.grad(lambda v: tg.vjp(f, v)[1](1.0)[0])(x),
    ]
    np.testing.assert_allclose(routes, routes[0], rtol=1e-13)
    np.testing.assert_allclose(routes[0], second, rtol=1e-4)
    third = tg.grad(tg.grad(tg.grad(f)))(x)
    mixed = tg.jvp(lambda v: tg.jvp(tg.grad(f), (v,), (1.0,))[1], (x,), (1.0,))[1]
    np.testing.assert_allclose(third, mixed, rtol=1e-13)


def test_an_inner_gradient_sees_a_captured_outer_variable() -> None:
    """d/dw of d/dx (x² w) at x = 3: 2x = 6, by the functional and the imperative style."""
    outer = lambda w: tg.grad(lambda x: x * x * w)(3.0)  # noqa: E731
    assert tg.grad(outer)(2.0) == 6.0
    assert tg.jvp(outer, (2.0,), (1.0,)) == (12.0, 6.0)
    w = Tensor(2.0, requires_grad=True)
    outer(w).backward()
    assert w.grad.item() == 6.0


def test_inner_transforms_leave_outer_gradients_alone() -> None:
    w = Tensor(2.0, requires_grad=True)
    tg.grad(lambda x: x * w)(3.0)
    assert w.grad is None


@pytest.mark.parametrize("transform", ["checkpoint", "jvp", "vmap", "vjp"])
def test_a_captured_parameter_is_differentiated_through_every_transform(transform: str) -> None:
    w = Tensor(np.array([0.5, -1.5]), requires_grad=True)
    x = np.array([2.0, 3.0])
    g = lambda v: tg.sum(tg.sin(v * w) * v)  # noqa: E731
    direct = Tensor(w.data, requires_grad=True)
    if transform == "checkpoint":
        tg.checkpoint(g)(x).backward()
        tg.sum(tg.sin(Tensor(x) * direct) * x).backward()
    elif transform == "jvp":
        tg.jvp(g, (x,), (np.ones(2),))[1].backward()
        tg.sum(tg.cos(Tensor(x) * direct) * direct * x + tg.sin(Tensor(x) * direct)).backward()
    elif transform == "vmap":
        tg.vmap(g)(np.stack([x, 2 * x])).sum().backward()
        for k in (1, 2):
            tg.sum(tg.sin(Tensor(k * x) * direct) * (k * x)).backward()
    else:
        tg.vjp(g, x)[0].backward()
        tg.sum(tg.sin(Tensor(x) * direct) * x).backward()
    np.testing.assert_allclose(w.grad.numpy(), direct.grad.numpy(), rtol=1e-14)


def test_checkpoint_is_exact_at_second_order() -> None:
    g = tg.checkpoint(f)
    assert tg.grad(tg.grad(g))(0.3) == pytest.approx(tg.grad(tg.grad(f))(0.3), rel=1e-14)


def test_detach_stops_tangents_too() -> None:
    assert tg.jvp(lambda x: x * x.detach(), (3.0,), (1.0,)) == (9.0, 3.0)


def test_a_value_that_escapes_its_level_is_refused() -> None:
    kept: list[Tensor] = []
    tg.jvp(lambda x: kept.append(x) or x, (1.0,), (1.0,))
    with pytest.raises(tg.GradientError, match="left the jvp or vmap which made it"):
        kept[0] * 2.0


def test_levels_are_restored_when_a_function_raises() -> None:
    def bad(x: Tensor) -> Tensor:
        raise RuntimeError("stop")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            tg.jvp(bad, (1.0,), (1.0,))
        with pytest.raises(RuntimeError):
            tg.grad(bad)(1.0)
    assert tg._config.level.get() == 0
    assert tg._config.is_recording()


def test_branches_on_values_work_under_grad_and_jvp_and_refuse_under_vmap() -> None:
    g = lambda x: x * x if x > 0 else -x  # noqa: E731
    assert tg.grad(g)(2.0) == 4.0
    assert tg.jvp(g, (-2.0,), (1.0,)) == (2.0, -1.0)
    with pytest.raises(ValueError, match="try where"):
        tg.vmap(g)(np.array([1.0, -1.0]))
