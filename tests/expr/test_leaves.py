"""Every leaf: its value, its derivatives to order 3, its conventions, its closure."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.special
from expr_tools import run, value

from tensorgrad.expr import LEAVES, Formula, call, diff, input, lift, topo
from tensorgrad.expr.evaluate import function

SMOOTH = sorted(name for name, leaf in LEAVES.items() if leaf.d is not None)
FLAT = sorted(name for name, leaf in LEAVES.items() if leaf.d is None)
INF, NAN = math.inf, math.nan
MARGIN = 0.02

# Where a function has a joint: the distance from it, per argument tuple.
KINKS: dict[str, Any] = {
    "abs": lambda x: x,
    "relu": lambda x: x,
    "copysign": lambda x, s: np.minimum(np.abs(x), np.abs(s)),
    "maximum": lambda a, b: a - b,
    "minimum": lambda a, b: a - b,
    "fmax": lambda a, b: a - b,
    "fmin": lambda a, b: a - b,
    "clip": lambda x, low, high: np.minimum(np.abs(x - low), np.abs(x - high)),
    "heaviside": lambda x, h: x,
    "hypot": lambda a, b: np.hypot(a, b) > 0.7,  # its derivatives grow like powers of 1 / r
    "nextafter": lambda x, to: x - to,
    "remainder": lambda a, b: (a / b - np.round(a / b)) * np.minimum(1, b * b),
    "fmod": lambda a, b: (a / b - np.round(a / b)) * np.minimum(1, b * b),
    "floor_divide": lambda a, b: a / b - np.round(a / b),
    "sign": lambda x: x,
    "signbit": lambda x: x,
    "floor": lambda x: x - np.round(x),
    "ceil": lambda x: x - np.round(x),
    "trunc": lambda x: x - np.round(x),
    "round": lambda x: x - np.floor(x) - 0.5,
}


def inputs_of(name: str) -> tuple[Any, ...]:
    return tuple(input(f"x{k}") for k in range(LEAVES[name].arity))


def points(name: str, rng: np.random.Generator, n: int = 40) -> list[Any]:
    """Random arguments from the domain, off the joints."""
    leaf = LEAVES[name]
    args = [rng.uniform(low, high, 4 * n) for low, high in leaf.domain]
    far = np.abs(KINKS[name](*args)) > MARGIN if name in KINKS else np.ones(4 * n, bool)
    return [a[far][:n] for a in args]


def partials(e: Any, inputs: Any) -> list[Any]:
    """The partial derivatives of an expression, as expressions (0 where there is none)."""
    one = lift(1.0)
    return [lift(0.0) if g is None else g for g in diff.vjp([e], inputs, [one])]


def evaluated(e: Any, inputs: Any, args: Any) -> Any:
    return run(Formula.trace("e", lambda *_: e, inputs), args)[0]


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_to_order_3(name: str, rng: np.random.Generator) -> None:
    inputs, args, h = inputs_of(name), points(name, rng), 1e-3
    level = [call(name, *inputs)]
    for order in range(1, 4):
        following = []
        for e in level:
            for k, d in enumerate(partials(e, inputs)):
                following.append(d)

                def moved(t: float, e: Any = e, k: int = k) -> Any:
                    return evaluated(e, inputs, [a + t * (i == k) for i, a in enumerate(args)])

                want = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h)
                got = evaluated(d, inputs, args)
                size = 1 + np.abs(got) + np.abs(moved(0))
                assert np.isfinite(got).all()
                # h⁴ times a fifth derivative: near its poles a function's grow like powers.
                error = np.abs(got - want) / size
                assert error.max() < 3e-8, (name, order, k, error.max())
        level = list(dict.fromkeys(following))


@pytest.mark.parametrize("name", FLAT)
def test_steps_have_no_derivative(name: str, rng: np.random.Generator) -> None:
    inputs, args = inputs_of(name), points(name, rng)
    e = call(name, *inputs)
    assert diff.vjp([e * 1.0], inputs, [lift(1.0)]) == [None] * len(inputs)
    ahead = evaluated(e, inputs, [a + 1e-4 for a in args[:1]] + args[1:])
    assert np.array_equal(ahead, evaluated(e, inputs, args))


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_stay_in_the_set_to_order_4(name: str) -> None:
    inputs = inputs_of(name)
    level = [call(name, *inputs)]
    for _ in range(4):
        level = list(dict.fromkeys(d for e in level for d in partials(e, inputs)))
        for n in topo(level):
            assert n.op != "call" or n.value in LEAVES
        assert len(topo(level)) < 1500


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_entries_are_whole(name: str) -> None:
    leaf = LEAVES[name]
    assert leaf.name == name
    assert callable(function(leaf.numpy))
    assert len(leaf.domain) == leaf.arity
    assert all(len(s) == leaf.arity for s in leaf.special)
    assert leaf.kind in ("f", "b", "i", "same")
    text = leaf.cuda.format(*[f"a{k}" for k in range(leaf.arity)], T="float")
    assert text.count("(") == text.count(")")
    assert all(f"a{k}" in text for k in range(leaf.arity))


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_values_at_special_points_and_in_float32(name: str, rng: np.random.Generator) -> None:
    leaf, inputs = LEAVES[name], inputs_of(name)
    args = [np.array(column) for column in zip(*leaf.special, strict=True)]
    args = [np.concatenate(pair) for pair in zip(args, points(name, rng), strict=True)]
    with np.errstate(all="ignore"):
        want = function(leaf.numpy)(*args)
    formula = Formula.trace(name, lambda *xs: call(name, *xs), inputs)
    assert np.array_equal(run(formula, args)[0], want, equal_nan=True)
    if leaf.kind in ("f", "same"):
        single = run(formula, [a.astype(np.float32) for a in args], dtype=np.float32)[0]
        assert single.dtype == np.float32


OWN: dict[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "clip": np.clip,
    "round": np.round,
    "pow": np.power,
    "abs": np.abs,
    "acosh": np.arccosh,
    "atan2": np.arctan2,
}


@pytest.mark.parametrize("name", sorted(OWN))
def test_values_against_numpy(name: str, rng: np.random.Generator) -> None:
    args = points(name, rng)
    want = OWN[name](*args)
    got = evaluated(call(name, *inputs_of(name)), inputs_of(name), args)
    assert np.allclose(got, want, rtol=1e-14, atol=1e-15)


CONVENTIONS = [
    ("abs", (0.0,), (0,)),
    ("sqrt", (0.0,), (INF,)),
    ("cbrt", (0.0,), (INF,)),
    ("sign", (0.0,), (0,)),
    ("round", (0.5,), (0,)),
    ("clip", (-1.0, -1.0, 1.0), (1, 0, 0)),
    ("clip", (1.0, -1.0, 1.0), (1, 0, 0)),
    ("clip", (-2.0, -1.0, 1.0), (0, 1, 0)),
    ("clip", (2.0, -1.0, 1.0), (0, 0, 1)),
    ("clip", (0.0, 1.0, -1.0), (0, 0, 1)),
    ("clip", (-3.0, 1.0, 1.0), (0, 1, 0)),
    ("maximum", (1.0, 1.0), (0.5, 0.5)),
    ("maximum", (2.0, 1.0), (1, 0)),
    ("maximum", (INF, 1.0), (1, 0)),
    ("minimum", (1.0, 1.0), (0.5, 0.5)),
    ("minimum", (2.0, 1.0), (0, 1)),
    ("fmax", (1.0, 1.0), (0.5, 0.5)),
    ("fmax", (NAN, 1.0), (0, 1)),
    ("fmin", (1.0, NAN), (1, 0)),
    ("hypot", (0.0, 0.0), (0, 0)),
    ("hypot", (3e200, 4e200), (0.6, 0.8)),
    ("atan2", (0.0, 0.0), (0, 0)),
    ("atan2", (1e200, 0.0), (0, -1e-200)),
    ("copysign", (0.0, -1.0), (0, 0)),
    ("copysign", (2.0, -1.0), (-1, 0)),
    ("copysign", (-2.0, -0.0), (1, 0)),
    ("heaviside", (0.0, 0.5), (0, 1)),
    ("nextafter", (1.0, 2.0), (1, 0)),
    ("logaddexp", (-INF, -INF), (0.5, 0.5)),
    ("logaddexp", (INF, 0.0), (1, 0)),
    ("logaddexp", (1000.0, -1000.0), (1, 0)),
    ("logaddexp2", (3.0, 3.0), (0.5, 0.5)),
    ("pow", (0.0, 0.0), (0, 0)),
    ("pow", (5.0, 0.0), (0, math.log(5))),
    ("pow", (0.0, 2.0), (0, 0)),
    ("pow", (0.0, 1.0), (1, 0)),
    ("pow", (0.0, 0.5), (INF, 0)),
    ("pow", (-2.0, 3.0), (12, NAN)),
    ("asinh", (1e200,), (1e-200,)),
    ("atan", (1e200,), (0,)),
    ("softplus", (1000.0,), (1,)),
    ("softplus", (-1000.0,), (0,)),
    ("log_sigmoid", (-1000.0,), (1,)),
    ("sigmoid", (-1000.0,), (0,)),
    ("tanh", (1000.0,), (0,)),
    ("log1p", (-1.0,), (INF,)),
    ("remainder", (5.5, 2.0), (1, -2)),
    ("remainder", (-5.5, 2.0), (1, 3)),
    ("fmod", (-5.5, 2.0), (1, 2)),
]


@pytest.mark.parametrize(("name", "at", "want"), CONVENTIONS)
def test_conventions(name: str, at: Any, want: Any) -> None:
    inputs = inputs_of(name)
    got = [
        evaluated(d, inputs, [np.array([a]) for a in at])[0]
        for d in partials(call(name, *inputs), inputs)
    ]
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", ["maximum", "minimum", "abs", "clip", "fmax"])
def test_the_cotangent_is_selected_and_never_multiplied_by_zero(name: str) -> None:
    inputs = inputs_of(name)
    ct = input("ct")
    grads = diff.vjp([call(name, *inputs)], inputs, [ct])
    args = [np.array([v]) for v in (3.0, 1.0, 2.0)[: len(inputs)]]
    for g in grads:
        formula = Formula.trace("g", lambda *_, g=g: g, (*inputs, ct))
        assert not np.isnan(run(formula, [*args, np.array([INF])])[0]).any()


@pytest.mark.parametrize("p", [0, 1, 2, 3, 4])
def test_powers_with_a_constant_exponent_at_zero(p: int) -> None:
    for exponent in (p, float(p)):
        e = call("pow", input("x0"), exponent)
        for order in range(p + 3):
            want = math.factorial(p) if order == p else 0.0
            assert value(lambda _, e=e: e, 0.0) == want
            (e,) = partials(e, (input("x0"),))


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 3.0])
def test_powers_with_a_variable_exponent_at_zero(p: float) -> None:
    x, exponent = inputs_of("pow")
    e = call("pow", x, exponent)
    for order in range(5):
        want = math.factorial(int(p)) if order == int(p) else 0.0
        assert value(lambda *_, e=e: e, 0.0, p) == want
        e = partials(e, (x, exponent))[0]


ACCURATE: list[tuple[str, tuple[tuple[float, float], ...]]] = [
    ("log1p", ((-0.9999, 1e6),)),
    ("expm1", ((-60.0, 60.0),)),
    ("softplus", ((-80.0, 80.0),)),
    ("log_sigmoid", ((-80.0, 80.0),)),
    ("logaddexp", ((-40.0, 40.0), (-40.0, 40.0))),
    ("hypot", ((1e-15, 1e15), (1e-15, 1e15))),
    ("erf", ((-3.0, 3.0),)),
]


@pytest.mark.parametrize(("name", "domain"), ACCURATE)
def test_derivatives_in_float32_are_relatively_accurate(
    name: str, domain: Any, rng: np.random.Generator
) -> None:
    inputs = inputs_of(name)
    args = [rng.uniform(low, high, 500).astype(np.float32) for low, high in domain]
    for d in partials(call(name, *inputs), inputs):
        formula = Formula.trace("d", lambda *_, d=d: d, inputs)
        single = run(formula, args, dtype=np.float32)[0]
        double = run(formula, [a.astype(float) for a in args])[0]
        # A rounded difference of arguments below 80 moves an exponential by 80 half ulps.
        assert np.max(np.abs(single / double - 1)) < 80 * 2.0**-24


@pytest.mark.parametrize("name", ["tanh", "sigmoid"])
def test_saturating_derivatives_are_absolutely_accurate(name: str) -> None:
    x = np.linspace(-20, 20, 2001, dtype=np.float32)
    (d,) = partials(call(name, *inputs_of(name)), inputs_of(name))
    formula = Formula.trace("d", lambda *_: d, inputs_of(name))
    error = run(formula, [x], dtype=np.float32)[0] - run(formula, [x.astype(float)])[0]
    assert np.abs(error).max() < 3e-7


@pytest.mark.parametrize("name", sorted(n for n, leaf in LEAVES.items() if leaf.holomorphic))
def test_holomorphic_leaves_are(name: str, rng: np.random.Generator) -> None:
    """f(x + ih) = f(x) + ih f'(x) for small h, with the same f'."""
    inputs, args = inputs_of(name), points(name, rng, 5)
    h = 1e-30
    moved = [a + 1j * h for a in args[:1]] + [a + 0j for a in args[1:]]
    formula = Formula.trace(name, lambda *xs: call(name, *xs), inputs)
    got = run(formula, moved, dtype=complex)[0].imag / h
    want = evaluated(partials(call(name, *inputs), inputs)[0], inputs, args)
    assert np.allclose(got, want, rtol=1e-12)


def test_order_of_combinations() -> None:
    """Mixed partial derivatives do not depend on the order of differentiation."""
    for name in ("pow", "hypot", "atan2", "logaddexp", "remainder"):
        inputs = inputs_of(name)
        first = partials(call(name, *inputs), inputs)
        args = [np.array([0.7, 1.9]), np.array([1.3, 0.4])]
        for a, b in itertools.combinations(range(2), 2):
            one = evaluated(partials(first[a], inputs)[b], inputs, args)
            other = evaluated(partials(first[b], inputs)[a], inputs, args)
            assert np.allclose(one, other, rtol=1e-12, atol=1e-14)
