"""Rules that the user writes: what they receive and return, orders, containers, refusals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad


class Pair(NamedTuple):
    a: Any
    b: Any


def test_the_written_rule_is_the_one_that_runs(rng: np.random.Generator) -> None:
    """A rule unlike the true derivative shows where it was used."""
    x = rng.standard_normal(3)
    f = tg.custom_vjp(lambda x: x * 2)
    f.defvjp(lambda x: (x * 2, None), lambda _, ct: (ct * 100,))
    g = tg.custom_jvp(lambda x: x * 2)
    g.defjvp(lambda at, along: (at[0] * 2, along[0] * 100))
    for h in (f, g):
        total = lambda x, h=h: np.sum(h(x))  # noqa: E731
        want = np.full(3, 100.0)
        np.testing.assert_array_equal(tg.grad(total)(x), want)
        np.testing.assert_array_equal(tg.jvp(h, (x,), (np.ones(3),))[1], want)
        np.testing.assert_array_equal(tg.grad(lambda x, h=h: np.sum(tg.vmap(h)(x)))(x), want)
        np.testing.assert_array_equal(tg.vmap(tg.grad(h))(x), want)
        np.testing.assert_array_equal(tg.jvp(tg.vmap(h), (x,), (np.ones(3),))[1], want)
        np.testing.assert_array_equal(tg.jacobian(tg.checkpoint(h))(x), np.diag(want))
        np.testing.assert_array_equal(
            tg.jacobian(tg.vmap(tg.vmap(h)))(x[None])[0, :, 0], np.diag(want)
        )
        assert type(h(x)) is np.ndarray


def test_residuals_are_kept_and_forward_runs_once(rng: np.random.Generator) -> None:
    runs: list[str] = []

    @tg.custom_vjp
    def f(x: Any) -> Any:
        runs.append("f")
        return np.exp(x)

    def forward(x: Any) -> Any:
        runs.append("forward")
        y = np.exp(x)
        return y, {"y": y, "name": "exp", "count": 3}

    def backward(kept: Any, ct: Any) -> Any:
        runs.append("backward")
        assert kept["name"] == "exp"
        assert kept["count"] == 3
        return (ct * kept["y"],)

    f.defvjp(forward, backward)
    x = rng.standard_normal(4)
    np.testing.assert_allclose(f(x), np.exp(x))
    assert runs == ["f"]
    runs.clear()
    np.testing.assert_allclose(tg.grad(lambda x: np.sum(f(x)))(x), np.exp(x))
    assert runs == ["forward", "backward"]
    check_grad(f, [x], order=3, rng=rng)


def test_containers_options_and_arguments_that_stand_still(rng: np.random.Generator) -> None:
    @tg.custom_vjp
    def f(d: Any, axis: int, name: str, *, scale: float) -> Any:
        assert (axis, name) == (0, "sum")
        return Pair(np.sum(d["x"] * d["p"].a, axis=axis) * scale, [d["p"].b])

    def forward(d: Any, axis: int, name: str, *, scale: float) -> Any:
        return f(d, axis, name, scale=scale), (d, scale)

    def backward(kept: Any, ct: Any) -> Any:
        d, scale = kept
        own = ct.a * scale
        return (
            {
                "x": np.broadcast_to(own * d["p"].a, (3, 2)),
                "p": Pair(np.sum(own * d["x"]), ct.b[0]),
            },
            None,
            None,
        )

    f.defvjp(forward, backward)
    x = rng.standard_normal((3, 2))
    d = {"x": x, "p": Pair(2.0, 5.0)}

    def total(d: Any) -> Any:
        out = f(d, 0, "sum", scale=3.0)
        return np.sum(out.a**2) + out.b[0]

    found = tg.grad(total)(d)
    y = np.sum(x * 2.0, 0) * 3
    np.testing.assert_allclose(found["x"], np.broadcast_to(2 * y * 6, (3, 2)))
    np.testing.assert_allclose(found["p"].a, np.sum(2 * y * 3 * x))
    assert found["p"].b == 1.0
    value, tangent = tg.jvp(total, (d,), (d,))
    np.testing.assert_allclose(tangent, 4 * np.sum(y**2) + 5.0)
    np.testing.assert_allclose(value, np.sum(y**2) + 5.0)


def test_several_results_and_integers_among_them(rng: np.random.Generator) -> None:
    x = rng.standard_normal(5)
    f = tg.custom_vjp(lambda x: (x * 2, np.argmax(x), x + 1))
    f.defvjp(
        lambda x: ((x * 2, np.argmax(x), x + 1), None),
        lambda _, cts: (cts[0] * 2 + cts[2],),
    )
    double, where, more = f(Tensor(x, requires_grad=True))
    assert double.node is not None
    assert where.node is None
    assert where.item() == np.argmax(x)
    double.sum().backward(retain_graph=True)
    (double.sum() + more.sum()).backward()
    np.testing.assert_allclose(tg.grad(lambda x: f(x)[2] @ x)(x), 2 * x + 1)
    np.testing.assert_array_equal(tg.jvp(lambda x: f(x)[0], (x,), (x,))[1], 2 * x)


def test_complex_rules(rng: np.random.Generator) -> None:
    z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    f = tg.custom_vjp(lambda z: z * z)
    f.defvjp(lambda z: (z * z, z), lambda z, ct: (ct * 2 * z.conj(),))
    g = tg.custom_jvp(lambda z: z * z)
    g.defjvp(lambda at, along: (at[0] * at[0], along[0] * 2 * at[0]))
    for h in (f, g):
        np.testing.assert_allclose(tg.jacobian(h, mode="forward")(z), np.diag(2 * z))
        np.testing.assert_allclose(tg.jacobian(h, mode="reverse")(z), np.diag(2 * z))


def test_a_value_of_an_enclosing_vmap_must_be_an_argument(rng: np.random.Generator) -> None:
    x, s = rng.standard_normal(3), rng.standard_normal(3)

    def made(s: Any) -> Any:
        f = tg.custom_vjp(lambda v: v * s)
        f.defvjp(lambda v: (v * s, None), lambda _, ct: (ct * s,))
        return f

    np.testing.assert_array_equal(tg.vmap(lambda v, s: made(s)(v))(x, s), x * s)
    np.testing.assert_array_equal(tg.vmap(lambda v, s: tg.grad(made(s))(v))(x, s), s)
    with pytest.raises(tg.GradientError, match="got a value of the jvp or vmap around it that is"):
        tg.grad(lambda x: np.sum(tg.vmap(lambda v, s: made(s)(v))(x, s)))(x)
    with pytest.raises(tg.GradientError, match="got a value of the jvp or vmap around it that is"):
        tg.grad(lambda w: np.sum(tg.vmap(lambda s: made(s)(w))(s)))(2.0)


def test_refusals_name_the_function_and_the_fix() -> None:
    f = tg.custom_vjp(np.sin)
    with pytest.raises(tg.GradientError, match=r"custom_vjp\(sin\): got a call before its rule"):
        f(1.0)
    cases: list[tuple[Any, Any, str]] = [
        (lambda x: np.sin(x), lambda r, ct: (ct,), "from the forward rule, expected"),
        (lambda x: (np.sin(x), None), lambda r, ct: ct, "expected a tuple of 1"),
        (lambda x: (np.sin(x), None), lambda r, ct: (ct, ct), "got 2 values from the backward"),
        (lambda x: (np.sin(x), None), lambda r, ct: (np.ones(2),), "expected a derivative of the"),
        (lambda x: (np.sin(x), None), lambda r, ct: ([ct, ct],), "expected 1, of the structure"),
    ]
    for forward, backward, text in cases:
        f.defvjp(forward, backward)
        with pytest.raises((TypeError, tg.GradientError), match=text) as caught:
            tg.grad(f)(1.0)
        assert "; try " in str(caught.value)
    f.defvjp(lambda x: (np.sin(x), None), lambda r, ct: (None,))
    assert tg.grad(f)(1.0) == 0.0
    g = tg.custom_jvp(np.sin)
    for rule, text in (
        (lambda at, along: along, "from the rule, expected"),
        (lambda at, along: (at[0], (along[0], along[0])), "expected 1, of the structure"),
        (lambda at, along: (at[0], np.ones(2)), "expected a derivative of the"),
    ):
        g.defjvp(rule)
        with pytest.raises((TypeError, tg.GradientError), match=text):
            tg.grad(g)(1.0)


def test_checkpoint_returns_the_callers_kind(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    assert type(tg.checkpoint(np.sin)(x)) is np.ndarray
    assert type(tg.checkpoint(np.sin)(1.0)) is float
    w = Tensor(x, requires_grad=True)
    product, where = tg.checkpoint(lambda x: (x * w, np.argmax(x)))(w)
    assert product.node is not None
    assert where.node is None
