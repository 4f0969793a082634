"""`tg.primitive`: NumPy code with a rule, under every transform, held to differences in debug."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grads


class Pair(NamedTuple):
    a: Any
    b: Any


def plain(*values: Any) -> bool:
    return not any(isinstance(v, Tensor) for v in values)


def hypot(x: Any, y: Any) -> Any:
    assert plain(x, y)
    return np.sqrt(x * x + y * y)


def hypot_vjp(ct: Any, out: Any, x: Any, y: Any) -> Any:
    ct_x, ct_y = ct * x / out, ct * y / out
    return ct_x, ct_y.sum() if np.ndim(y) < np.ndim(x) else ct_y


def hypot_jvp(tangents: Any, out: Any, x: Any, y: Any) -> Any:
    return sum(t * v for t, v in zip(tangents, (x, y)) if t is not None) / out


def both() -> list[Any]:
    """By transposition, and by a rule for forward mode."""
    return [
        tg.primitive(hypot, vjp=hypot_vjp),
        tg.primitive(vjp=hypot_vjp, jvp=hypot_jvp)(hypot),
    ]


@pytest.mark.parametrize("f", both())
def test_every_order_in_both_modes(f: Any, rng: np.random.Generator) -> None:
    x, y = rng.uniform(1, 2, (3, 2)), rng.uniform(1, 2, (3, 2))
    check_grads(f, (x, y), order=3, rng=rng)
    check_grads(lambda x: f(x, x), (x,), order=2, rng=rng)
    check_grads(lambda x: f(x, Tensor(y)), (x,), order=2, modes=("reverse",), rng=rng)
    check_grads(f, (x, y[0, 0]), order=2, modes=("reverse",), rng=rng)


@pytest.mark.parametrize("f", both())
def test_under_the_transforms(f: Any, rng: np.random.Generator) -> None:
    x, y = rng.uniform(1, 2, 4), Tensor(array(rng.uniform(1, 2, 4)))
    want = x / np.hypot(x, here(y))
    total = lambda x, y: np.sum(f(x, y))  # noqa: E731
    found = {
        "grad": tg.grad(total)(x, y),
        "vmap of grad": tg.vmap(tg.grad(f))(x, y),
        "grad of vmap": tg.grad(lambda x: np.sum(tg.vmap(f)(x, y)))(x),
        "jacobian": np.diag(tg.jacobian(f, mode="reverse")(x, y)),
        "jacobian forward": np.diag(tg.jacobian(f, mode="forward")(x, y)),
        "jvp": tg.jvp(lambda x: f(x, y), (x,), (np.ones(4),))[1],
        "jvp of vmap": tg.jvp(lambda x: tg.vmap(f)(x, y), (x,), (np.ones(4),))[1],
        "vmap of jvp": tg.vmap(lambda x, y: tg.jvp(lambda x: f(x, y), (x,), (1.0,))[1])(x, y),
        "checkpoint": tg.grad(tg.checkpoint(total))(x, y),
        "twice mapped": tg.vmap(tg.vmap(tg.grad(f)))(x[None], y[None])[0],
    }
    for name, value in found.items():
        np.testing.assert_allclose(here(value), want, rtol=1e-12, err_msg=name)
    fixed = tg.grad(lambda x: np.sum(tg.vmap(f, (0, None))(x, 2.0)))(x)
    np.testing.assert_allclose(here(fixed), x / np.hypot(x, 2.0))
    second = here(y) ** 2 / np.hypot(x, here(y)) ** 3
    for name, value in {
        "hessian": np.diag(tg.hessian(total)(x, y)),
        "vmap of hessian": tg.vmap(tg.hessian(f))(x, y),
        "hvp": tg.hvp(lambda x: total(x, y), x, np.ones(4)),
        "jvp of grad": tg.jvp(tg.grad(lambda x: total(x, y)), (x,), (np.ones(4),))[1],
        "grad of jvp": tg.grad(lambda x: np.sum(tg.jvp(lambda x: f(x, y), (x,), (np.ones(4),))[1]))(
            x
        ),
        "grad of vmap of grad": tg.grad(lambda x: np.sum(tg.vmap(tg.grad(f))(x, y)))(x),
    }.items():
        np.testing.assert_allclose(here(value), second, rtol=1e-11, err_msg=name)
    assert tg.vmap(f)(x[:0], y[:0]).shape == (0,)
    assert tg.vmap(tg.grad(f))(x[:0], y[:0]).shape == (0,)


@pytest.mark.cpu_only("rules for NumPy's arrays alone")
def test_rules_see_arrays_until_they_are_differentiated(rng: np.random.Generator) -> None:
    seen: list[bool] = []

    @tg.primitive
    def f(x: Any) -> Any:
        return np.asarray(x) * 2

    @f.defvjp
    def rule(ct: Any, out: Any, x: Any) -> Any:
        seen.append(plain(ct, out, x))
        return (ct * 2,)

    x = rng.standard_normal(3)
    t = Tensor(array(x), requires_grad=True)
    f(t).sum().backward(create_graph=False)
    tg.jacobian(f, mode="reverse")(t.detach())
    tg.vmap(tg.grad(f))(t.detach())
    assert all(seen)
    seen.clear()
    tg.grad(lambda x: np.sum(tg.grad(lambda x: np.sum(f(x) ** 2))(x)))(t)
    assert not all(seen)


@pytest.mark.cpu_only("rules for NumPy's arrays alone")
def test_a_rule_on_arrays_alone_is_refused_where_it_is_differentiated() -> None:
    f = tg.primitive(np.sin, vjp=lambda ct, out, x: (np.asarray(ct) * np.cos(np.asarray(x)),))
    x = np.array([0.5, 1.0])
    np.testing.assert_allclose(tg.jacobian(f, mode="reverse")(x), np.diag(np.cos(x)))
    np.testing.assert_allclose(tg.vmap(tg.grad(f))(x), np.cos(x))
    for run in (
        lambda: tg.hessian(lambda x: np.sum(f(x)))(x),
        lambda: tg.jvp(f, (x,), (x,)),
        lambda: tg.vmap(tg.grad(tg.grad(f)))(x),
    ):
        with pytest.raises(tg.GradientError, match="got a vjp rule that takes arrays alone"):
            run()


def test_containers_options_and_arguments_that_stand_still(rng: np.random.Generator) -> None:
    @tg.primitive
    def f(d: Any, axis: int, name: str, index: Any, *, scale: Any) -> Any:
        assert (axis, name) == (0, "sum")
        assert plain(d["x"], d["p"].a, index, scale)
        return Pair(np.sum(d["x"] * d["p"].a, axis=axis)[index] * scale, [d["p"].b, index])

    @f.defvjp
    def rule(ct: Any, out: Any, d: Any, axis: int, name: str, index: Any, *, scale: Any) -> Any:
        own = np.zeros_like(d["x"][0])
        own[index] = ct.a * scale
        return {"x": np.broadcast_to(own * d["p"].a, d["x"].shape),
                "p": Pair(np.sum(own * d["x"]), ct.b[0])}, None, None, None  # fmt: skip

    x, index = rng.standard_normal((3, 2)), np.array([1, 0])
    d = {"x": x, "p": Pair(2.0, 5.0)}

    def total(d: Any) -> Any:
        out = f(d, 0, "sum", Tensor(index), scale=Tensor(array(np.array(3.0))))
        assert out.b[1].dtype == index.dtype
        return np.sum(out.a**2) + out.b[0]

    found = tg.grad(total)(d)
    y = np.sum(x * 2.0, 0) * 3
    np.testing.assert_allclose(here(found["x"]), np.broadcast_to(2 * y * 6, (3, 2)))
    np.testing.assert_allclose(here(found["p"].a), np.sum(2 * y * 3 * x))
    assert float(found["p"].b) == 1.0
    with pytest.raises(TypeError, match="got a recorded tensor as the option scale"):
        f(d, 0, "sum", index, scale=Tensor(1.0, requires_grad=True))


def test_numbers_stay_numbers_and_dtypes_what_they_are() -> None:
    f = tg.primitive(lambda x, a: x * a, vjp=lambda ct, out, x, a: (ct * a, None))
    x = np.ones(3, np.float32)
    assert f(x, 2.0).dtype == np.float32
    assert type(f(x, 2.0)) is np.ndarray
    assert type(f(2.0, 2.0)) is float
    assert isinstance(f(Tensor(array(x)), 2.0), Tensor)
    assert tg.grad(lambda x: np.sum(f(x, 2.0)))(x).dtype == np.float32
    assert not f(Tensor(array(x)), 2.0).requires_grad


def test_a_captured_tensor_is_a_parent(rng: np.random.Generator) -> None:
    w = Tensor(array(rng.standard_normal(3)), requires_grad=True)
    f = tg.primitive(lambda x: x * np.sin(w), vjp=lambda ct, out, x: (ct * np.sin(w),))
    x = Tensor(array(rng.standard_normal(3)), requires_grad=True)
    f(x).sum().backward()
    np.testing.assert_allclose(here(x.grad), np.sin(here(w)))
    np.testing.assert_allclose(here(w.grad), here(x) * np.cos(here(w)))
    w.grad = None
    f(here(x) if w.device == "cpu" else x.detach()).sum().backward()
    np.testing.assert_allclose(here(w.grad), here(x) * np.cos(here(w)))
    with pytest.raises(tg.GradientError, match="expected it among the arguments under vmap"):
        tg.vmap(f)(Tensor(array(np.ones((2, 3)))))


def test_one_primitive_a_decoration(rng: np.random.Generator) -> None:
    f = tg.primitive(lambda x: x * 2, vjp=lambda ct, out, x: (ct * 2,))
    x = Tensor(array(rng.standard_normal(3)), requires_grad=True)
    nodes = [f(x).node for _ in range(3)]
    assert {id(n.parents[0].primitive) for n in nodes} == {id(f.primitive)}


def test_without_a_rule(rng: np.random.Generator) -> None:
    f = tg.primitive(np.sort)
    x = rng.standard_normal(4)
    np.testing.assert_array_equal(f(x), np.sort(x))
    np.testing.assert_array_equal(tg.vmap(f)(x[None]), np.sort(x)[None])
    for run in (lambda: tg.grad(lambda x: np.sum(f(x)))(x), lambda: tg.jvp(f, (x,), (x,))):
        with pytest.raises(tg.NotDifferentiable, match="got a recorded tensor, expected a rule"):
            run()
    f.defjvp(lambda tangents, out, x: tangents[0][np.argsort(x)])
    np.testing.assert_array_equal(here(tg.jvp(f, (x,), (x,))[1]), np.sort(x))
    with pytest.raises(tg.NotDifferentiable, match="beside that of forward mode; try vjp="):
        tg.grad(lambda x: np.sum(f(x)))(x)


def test_what_a_rule_returns_is_checked() -> None:
    x = np.ones(3)
    for rule, error, match in [
        (lambda ct, out, x: ct, TypeError, "expected a tuple of 1"),
        (lambda ct, out, x: (ct, ct), TypeError, "got 2 values from the backward rule"),
        (lambda ct, out, x: (ct[:2],), tg.GradientError, "want|of the value's shape"),
    ]:
        f = tg.primitive(lambda x: x * 2, vjp=rule)
        with pytest.raises(error, match=match):
            tg.grad(lambda x, f=f: np.sum(f(x)))(x)
    assert here(
        tg.grad(lambda x: np.sum(tg.primitive(np.cos, vjp=lambda *a: (None,))(x)))(x)
    ).tolist() == [0, 0, 0]


# -- formulas ------------------------------------------------------------------------------------


def test_a_formula_computes_everything(rng: np.random.Generator) -> None:
    f = tg.primitive(np.hypot, formula=lambda x, y: np.sqrt(x * x + y * y))
    x, y = rng.uniform(1, 2, (3, 2)), rng.uniform(1, 2, 2)
    with tg.debug():
        assert type(f(x, y)) is np.ndarray
    np.testing.assert_allclose(f(x, y), np.hypot(x, y))
    check_grads(f, (x, y), order=3, rng=rng)
    wrong = tg.primitive(np.hypot, formula=lambda x, y: np.sqrt(x * x + 2 * y * y))
    with tg.debug(), pytest.raises(tg.TensorgradError, match=r"got formula result 0\[\d, \d\] = "):
        wrong(x, y)
    with pytest.raises(TypeError, match="got formula and other keywords"):
        tg.primitive(np.hypot, formula=lambda x, y: x, vjp=lambda *a: None)


# -- debug mode ----------------------------------------------------------------------------------


@pytest.mark.cpu_only("rules for NumPy's arrays alone")
def test_debug_finds_a_wrong_rule(rng: np.random.Generator) -> None:
    def rule(ct: Any, out: Any, x: Any, w: Any) -> Any:
        wrong = np.ones(x.shape)
        wrong[1, 2] = 1.5
        return (ct @ w.T) * wrong, x.T @ ct

    x, w = rng.uniform(1, 2, (2, 3)), rng.uniform(1, 2, (3, 4))
    f = tg.primitive(lambda x, w: x @ w, vjp=rule)
    total = lambda x, w: np.sum(f(x, w) ** 2)  # noqa: E731
    tg.grad(total)(x, w)
    with tg.debug():
        f(x, w)  # nothing is recorded: not yet
        tg.grad(lambda w: total(x, w))(w)  # x is not recorded: its part is not asked for
    f.defvjp(rule)
    with tg.debug(), pytest.raises(tg.GradientError, match="got a vjp rule") as caught:
        tg.grad(total, (0, 1))(x, w)
    text = str(caught.value)
    assert "d/dx[1, 2] = " in text
    assert ", error " in text
    assert "wrong in 1 of 6 elements" in text
    assert "d/dw" not in text


def test_debug_takes_right_rules_and_checks_once(rng: np.random.Generator) -> None:
    runs: list[int] = []

    def function(x: Any, y: Any) -> Any:
        runs.append(1)
        return np.sqrt(x * x + y * y)

    f = tg.primitive(function, vjp=hypot_vjp, jvp=hypot_jvp)
    x = rng.uniform(1, 2, 3).astype(np.float32)
    with tg.debug():
        tg.vmap(tg.grad(f))(x, x)
        runs.clear()
        tg.grad(lambda x: np.sum(f(x, x)))(x)
    assert len(runs) == 1
    f.defjvp(lambda tangents, out, x, y: out)
    with tg.debug(), pytest.raises(tg.GradientError, match="got a jvp rule with d/dx"):
        tg.grad(lambda x: np.sum(f(x, x)))(x)


def test_debug_is_a_mode_of_its_block() -> None:
    from tensorgrad import _config

    @tg.debug()
    def inside() -> bool:
        return _config.is_debugging()

    assert inside()
    assert not _config.is_debugging()
    with pytest.raises(KeyError), tg.debug():
        raise KeyError
    assert not _config.is_debugging()
