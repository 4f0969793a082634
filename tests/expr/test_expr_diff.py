"""Reverse and forward mode inside a formula: guards, sizes, closure, sources and results."""

from __future__ import annotations

import gc
import operator
import weakref
from functools import reduce
from typing import Any

import numpy as np
import pytest
from expr_tools import check_vjp, results, run

from tensorgrad.expr import (
    Expr,
    Formula,
    call,
    const,
    diff,
    input,
    lift,
    row_values,
    show,
    stop,
    topo,
    where,
)

x, y, z = input("x"), input("y"), input("z")


def sqrt(e: Any) -> Expr:
    return call("sqrt", e)


def repeated(fn: Any, order: int, at: Any) -> Any:
    """The derivative of that order of a function of one variable, as arrays."""
    e = fn(x)
    for _ in range(order):
        (d,) = diff.vjp([e], [x], [lift(1.0)])
        e = const(0.0) if d is None else d
    return run(Formula.trace("d", lambda _: e, (x,)), [np.asarray(at, float)])[0]


def gelu(x: Any) -> Any:
    u = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1.0 + call("tanh", u))


def test_node_counts_of_gelu_by_order() -> None:
    counts, e = [], gelu(x)
    for _ in range(5):
        counts.append(len(topo((e,))))
        e = diff.vjp([e], [x], [lift(1.0)])[0]
    assert counts == [14, 28, 47, 87, 152]


def test_all_cotangents_of_a_product_of_32() -> None:
    xs = tuple(input(f"x{k}") for k in range(32))
    formula = Formula.trace("product", lambda *v: reduce(operator.mul, v), xs)
    d = formula.vjp(tuple(range(32)), (0,))
    assert d.formula is not None
    assert len(topo(d.formula.outputs)) <= 125
    at = [np.array(1 + k / 32) for k in range(32)]
    product = np.prod(at)
    for k, g in enumerate(results(d, at, [product], {0: np.array(1.0)})):
        assert np.isclose(g, product / at[k], rtol=1e-14)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: where(x > 0, sqrt(x), 0),
        lambda x: where(x <= 0, 0, sqrt(x)),
        lambda x: where(x > 0, call("log", x), 0),
        lambda x: where(x > 0, 1 / x, 0) * 2,
        lambda x: where(x > 0, where(x > 1, x, sqrt(x)), 0),
        lambda x: where(x > 0, sqrt(x), 0) + where(x > 0, call("log", x), 0),
        lambda x: where(x > 0, sqrt(x), 0) + where(x > 1, call("log", sqrt(x)), 0),
        lambda x: where((x > 0) & (x < 9), sqrt(x) * call("exp", sqrt(x)), 0),
    ],
)
def test_a_branch_not_taken_gives_exactly_zero_at_every_order(fn: Any) -> None:
    for order in range(1, 4):
        got = repeated(fn, order, [0.0, 4.0])
        assert got[0] == 0
        h = 1e-3
        near = [repeated(fn, order - 1, 4.0 + k * h) for k in (1, -1, 2, -2)]
        want = (8 * (near[0] - near[1]) - (near[2] - near[3])) / (12 * h)
        assert abs(got[1] - want) < 1e-9


def test_guards_hold_through_second_order_cotangents() -> None:
    f = Formula.trace("f", lambda x: where(x > 0, sqrt(x), 0), (x,))
    at, ct = np.array([0.0, 4.0]), np.array([1.0, 1.0])
    first = f.vjp((0,), (0,))
    assert np.array_equal(results(first, [at], [], {0: ct})[0], [0, 0.25])
    assert first.formula is not None
    second = first.formula.vjp((0, 1), (0,))
    d_x, d_ct = results(second, [at, ct], [], {0: ct})
    assert np.array_equal(d_x, [0, -1 / 32])
    assert np.array_equal(d_ct, [0, 0.25])
    assert np.array_equal(results(f.jvp((0,)), [at], [], {0: ct})[0], [0, 0.25])


def test_complementary_guards_meet_in_a_select() -> None:
    def fn(x: Any, y: Any) -> Any:
        e = call("exp", x)
        return where(y > 0, e * 2, e * 3)

    f = Formula.trace("f", fn, (x, y))
    d = f.vjp((0,), (0,)).formula
    assert d is not None
    # The exponential is used whatever y is, so nothing is guarded any more.
    assert show(d) == ("f_vjp(x, y, ct0):\n  return where(0 < y, ct0 * 2, ct0 * 3) * exp(x)")


def test_many_branches_stay_small() -> None:
    def fn(x: Any, y: Any) -> Any:
        for k in range(20):
            x = where(y > k, call("sin", x), x * 0.5)
        return x

    f = Formula.trace("f", fn, (x, y))
    d = f.vjp((0,), (0,)).formula
    assert d is not None
    assert len(topo(d.outputs)) < 250


def random_formula(rng: np.random.Generator, size: int = 25) -> Formula:
    """A formula of three inputs and two outputs over smooth functions and selects."""

    def fn(*inputs: Any) -> Any:
        nodes = list(inputs)
        for _ in range(size):
            a, b, c = (nodes[k] for k in rng.integers(0, len(nodes), 3))
            builders: list[Any] = [
                lambda a=a, b=b: a + b,
                lambda a=a, b=b: a * b * 0.7,
                lambda a=a, b=b: a - 2 * b,
                lambda a=a, b=b: a / (1.5 + b * b),
                lambda a=a: call("sin", a),
                lambda a=a: call("tanh", -a),
                lambda a=a, b=b: call("hypot", a, b + 3),
                lambda a=a, b=b, c=c: where(a < b, c, a * 0.5),
                lambda a=a, b=b: where(b > 0, call("log", 1 + b * b), a),
                lambda a=a, b=b: call("maximum", a, b),
            ]
            nodes.append(call("tanh", builders[rng.integers(len(builders))]()))
        return nodes[-1] + nodes[-3] * nodes[3], nodes[-2] * nodes[-4] - nodes[4]

    return Formula.trace("random", fn, (x, y, z))


def test_random_formulas(rng: np.random.Generator) -> None:
    """VJP = transposed JVP, for the formula and for its own derivatives."""
    for _ in range(15):
        f: Formula | None = random_formula(rng)
        for _ in range(2):
            assert f is not None
            ins = [rng.standard_normal(6) for _ in f.inputs]
            outs = run(f, ins)
            wanted, given = tuple(range(len(f.inputs))), tuple(range(len(f.outputs)))
            cts = {k: rng.standard_normal(6) for k in given}
            ways = {k: rng.standard_normal(6) for k in wanted}
            d = f.vjp(wanted, given)
            grads = results(d, ins, outs, cts)
            tangents = results(f.jvp(wanted), ins, outs, ways)
            one = sum((g * ways[k]).sum() for k, g in enumerate(grads) if g is not None)
            other = sum((t * cts[k]).sum() for k, t in enumerate(tangents) if t is not None)
            size = sum(np.abs(g * ways[k]).sum() for k, g in enumerate(grads) if g is not None)
            assert abs(one - other) < 1e-12 * (1 + size)
            f = d.formula


def test_smooth_formulas_against_differences(rng: np.random.Generator) -> None:
    def fn(x: Any, y: Any, z: Any) -> Any:
        a = call("exp", x * y) / (1 + z * z)
        b = where(x * x > -1, call("atan2", y, 2 + call("cos", z)), 0)
        return a * b, call("softplus", a - b) + x

    f: Formula | None = Formula.trace("f", fn, (x, y, z))
    for _ in range(3):
        assert f is not None
        ins = [rng.uniform(0.2, 1.2, 5) for _ in f.inputs]
        f = check_vjp(f, ins, rng, None).formula


def test_an_identity_is_an_alias() -> None:
    d = Formula.trace("add", lambda x, y: x + y, (x, y)).vjp((0, 1), (0,))
    assert (d.formula, d.sources, d.results) == (None, (), (("ct", 0), ("ct", 0)))
    d = Formula.trace("sub", lambda x, y: x - y, (x, y)).vjp((1, 0), (0,))
    assert d.results == (("kernel", 0), ("ct", 0))
    assert d.sources == (("ct", 0),)
    d = Formula.trace("add", lambda x, y: x + y, (x, y)).jvp((1,))
    assert (d.formula, d.results) == (None, (("ct", 1),))


def test_zeros_are_none() -> None:
    f = Formula.trace("f", lambda x, y: (call("floor", x) + y * 2, stop(x) + 1), (x, y))
    assert f.vjp((0, 1), (0, 1)).results == (None, ("kernel", 0))
    assert f.vjp((0,), (1,)).formula is None
    assert f.jvp((0,)).results == (None, None)


def test_only_what_is_asked_for_is_computed() -> None:
    f = Formula.trace("f", lambda x, y: (x * y, call("exp", y)), (x, y))
    d = f.vjp((0,), (0,))
    assert d.sources == (("in", 1), ("ct", 0))
    d = f.vjp((1,), (1,))
    assert d.sources == (("out", 1), ("ct", 1))


def test_equal_cotangents_are_one_output() -> None:
    d = Formula.trace("f", lambda x, y: call("sin", x + y), (x, y)).vjp((0, 1), (0,))
    assert d.results == (("kernel", 0), ("kernel", 0))
    assert d.formula is not None
    assert len(d.formula.outputs) == 1


@pytest.mark.parametrize(
    ("fn", "sources"),
    [
        (lambda x: call("tanh", x), (("out", 0), ("ct", 0))),
        (lambda x: call("exp", x), (("out", 0), ("ct", 0))),
        (lambda x: call("sigmoid", x), (("out", 0), ("ct", 0))),
        (lambda x: call("sqrt", x), (("out", 0), ("ct", 0))),
        (lambda x: call("sin", x), (("in", 0), ("ct", 0))),
        (lambda x: x * x, (("in", 0), ("ct", 0))),
        (lambda x: (x, call("exp", x)), (("out", 1), ("ct", 1))),
    ],
)
def test_outputs_are_read_back(fn: Any, sources: Any) -> None:
    f = Formula.trace("f", fn, (x,))
    assert f.vjp((0,), (len(f.outputs) - 1,)).sources == sources


def test_the_derivative_of_a_derivative_takes_fresh_names() -> None:
    f: Formula | None = Formula.trace("f", lambda x, ct0: call("sin", x * ct0), (x, input("ct0")))
    for _ in range(3):
        assert f is not None
        f = f.vjp(tuple(range(len(f.inputs))), (0,)).formula
    assert f is not None
    names = [e.value for e in f.inputs]
    assert len(set(names)) == len(names)


def test_derivatives_are_cached_and_go_with_the_formula() -> None:
    f = Formula.trace("f", gelu, (x,))
    assert f.vjp((0,), (0,)) is f.vjp((0,), (0,))
    assert f.jvp((0,)) is f.jvp((0,))
    gone = weakref.ref(f.vjp((0,), (0,)))
    gc.disable()
    try:
        del f
        assert gone() is None
    finally:
        gc.enable()


def test_formulas_compare_by_content() -> None:
    one = Formula.trace("one", gelu, (x,))
    two = Formula.trace("two", gelu, (y,))
    assert one == two
    assert hash(one) == hash(two)
    assert one.key == two.key
    assert len(one.key) == 64
    assert one != Formula.trace("one", call_sin, (x,))
    assert Formula.trace("f", lambda x: x * 0.0, (x,)) != Formula.trace(
        "f", lambda x: x * -0.0, (x,)
    )
    assert Formula.trace("f", lambda x, y: x - y, (x, y)) != Formula.trace(
        "f", lambda x, y: y - x, (x, y)
    )


def call_sin(x: Any) -> Any:
    return call("sin", x)


def test_the_key_is_stable() -> None:
    """The content of a cache on disk outlives this process."""
    f = Formula.trace("f", lambda x, y: where(x > 0, x * 0.5, call("exp", y) + 1), (x, y))
    assert f.content.splitlines() == [
        "input f 3",
        "input f 3",
        "const 0 i 0 ()",
        "lt None b 3 (2 0)",
        "const 0x1.0000000000000p-1 f 0 ()",
        "mul None f 3 (0 4)",
        "call exp f 3 (1)",
        "const 1 i 0 ()",
        "add None f 3 (6 7)",
        "select None f 3 (3 5 8)",
        "return 9",
    ]


def test_derivatives_of_what_is_not_real_raise() -> None:
    f = Formula.trace("f", lambda x, i: (x * i, i + 1), (x, input("i", "i")))
    with pytest.raises(ValueError, match=r"f: got a derivative of input 1, .* among \[0\]; try"):
        f.vjp((0, 1), (0,))
    with pytest.raises(ValueError, match="f: got a derivative of output 1"):
        f.vjp((0,), (1,))
    with pytest.raises(ValueError, match="f: got a derivative of input 2"):
        f.jvp((2,))


def test_elementwise_formulas_share_no_row_values() -> None:
    f = Formula.trace("f", gelu, (x,))
    assert row_values(f, f.vjp((0,), (0,))) == (f, f.vjp((0,), (0,)))
