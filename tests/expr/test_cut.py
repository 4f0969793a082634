"""Formulas cut into parts: the parts compute what the whole does, and keep to the caps."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import mul
from typing import Any

import numpy as np
import pytest
from expr_tools import run

from tensorgrad.expr import Expr, Formula, call, cast, element_index, equal, input, topo, where
from tensorgrad.expr.cut import Cut, cut

STEPS: list[Callable[..., Any]] = [
    lambda a, b, c: a + b,
    lambda a, b, c: a * b - c,
    lambda a, b, c: a / b,
    lambda a, b, c: -a,
    lambda a, b, c: 3 * a - 0.1,
    lambda a, b, c: where((a < b) & ~(b <= c), a, c),
    lambda a, b, c: where(equal(a, b) | (c < 0), b, 1),
    lambda a, b, c: cast(a < b, "f") + c,
    lambda a, b, c: where(cast(a, "b"), b, 0.5),
    lambda a, b, c: where(a < b, 2, 1) * c,
    lambda a, b, c: call("sin", a),
    lambda a, b, c: call("sin", call("tanh", a) * b),
    lambda a, b, c: call("pow", call("abs", a), 0.1 * call("cos", 0.3)),
    lambda a, b, c: call("atan2", a, b),
    lambda a, b, c: call("tanh", b) * call("cos", c),
]
ALONE = frozenset({"sin", "cos", "atan2", "pow"})


def alone(e: Expr) -> bool:
    return e.op == "call" and e.value in ALONE


def parts_run(whole: Formula, parts: Cut, arrays: list[Any], dtype: Any = float) -> list[Any]:
    values = list(arrays)
    for p in parts.parts:
        values.extend(run(p.formula, [values[k] for k in p.sources], dtype=dtype))
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return [np.broadcast_to(values[k], shape) for k in parts.outputs]


def check(
    whole: Formula,
    rng: np.random.Generator,
    caps: tuple[int, int, int],
    lone: Callable[[Expr], bool] = alone,
) -> Cut:
    nodes, inputs, outputs = caps
    found = cut(whole, nodes=nodes, inputs=inputs, outputs=outputs, alone=lone)
    for p in found.parts:
        used = [e for e in topo(p.formula.outputs) if e.op not in ("input", "bc", "const")]
        assert len(p.sources) == len(p.formula.inputs) <= inputs
        assert len(p.formula.outputs) <= outputs
        assert len(used) <= nodes
        calls = sum(map(lone, used))
        assert calls == p.alone
        assert not p.alone or len(used) == 1
    shapes = [(3, 17), (17,), (3, 1), ()]
    for dtype in (np.float32, np.float64):
        arrays = [
            2 * rng.standard_normal(shapes[rng.integers(4)]).astype(dtype)[()] for _ in whole.inputs
        ]
        arrays = [np.asarray(a, dtype) for a in arrays]
        arrays[0] = rng.standard_normal(shapes[0]).astype(dtype)
        want = run(whole, arrays, dtype=dtype)
        got = parts_run(whole, found, arrays, dtype)
        for g, w in zip(got, want, strict=True):
            assert g.dtype == w.dtype
            np.testing.assert_array_equal(g, w)
    return found


def random_formula(rng: np.random.Generator, size: int) -> Formula:
    nodes: list[Expr] = [input(f"t{k}") for k in range(int(rng.integers(1, 6)))]
    inputs = list(nodes)
    for _ in range(size):
        step = STEPS[rng.integers(len(STEPS))]
        nodes.append(step(*[nodes[k] for k in rng.integers(0, len(nodes), 3)]))
    picked = [nodes[k] for k in rng.integers(0, len(nodes), int(rng.integers(1, 5)))]
    return Formula("random", tuple(inputs), (*picked, nodes[-1], nodes[-1] < nodes[0]))


def test_parts_compute_what_the_formula_does(rng: np.random.Generator) -> None:
    for size in (3, 10, 40, 200):
        for _ in range(5):
            whole = random_formula(rng, size)
            check(whole, rng, (30, 8, 4))  # room for any node and what is computed again for it
            check(whole, rng, (60, 8, 6))
            check(whole, rng, (10**6, 10**6, 10**6))


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + call("tanh", 0.7978845608028654 * (x + 0.044715 * x * x * x)))


def chain(x: Any, y: Any) -> Any:
    return call("exp", -x * x) * call("sin", x * y) + call("cos", call("sin", y)) * x


@pytest.mark.parametrize(("fn", "count", "order"), [(gelu, 1, 5), (chain, 2, 4)])
def test_derivatives_of_high_order(
    fn: Any, count: int, order: int, rng: np.random.Generator
) -> None:
    whole = Formula.trace(fn.__name__, fn, [input(f"x{k}") for k in range(count)])
    for _ in range(order):
        inner = whole.vjp(tuple(range(len(whole.inputs))), tuple(range(len(whole.outputs))))
        assert inner.formula is not None
        whole = inner.formula
    size = len(topo(whole.outputs))
    assert size > 300
    check(whole, rng, (100, 24, 8))
    whole_again = check(whole, rng, (10**6, 10**6, 10**6), lambda e: False)
    assert len(whole_again.parts) == 1


def test_a_product_of_32_factors_with_every_cotangent(rng: np.random.Generator) -> None:
    whole = Formula.trace("product", lambda *x: reduce(mul, x), [input(f"x{k}") for k in range(32)])
    vjp = whole.vjp(tuple(range(32)), (0,)).formula
    assert vjp is not None
    assert len(vjp.inputs) + len(vjp.outputs) > 32
    found = check(vjp, rng, (1000, 24, 8))
    assert len(found.parts) <= 8


def test_a_long_loop_becomes_few_parts(rng: np.random.Generator) -> None:
    def logistic(x: Any, rate: Any) -> Any:
        for _ in range(150):
            x = rate * x * (1 - x)
        return x

    whole = Formula.trace("logistic", logistic, [input("x"), input("rate")])
    vjp = whole.vjp((0, 1), (0,)).formula
    assert vjp is not None
    assert len(check(whole, rng, (100, 24, 8)).parts) <= 8
    assert len(check(vjp, rng, (100, 24, 8)).parts) <= 60


def test_as_few_parts_as_the_lone_calls_demand() -> None:
    x, y = input("x"), input("y")

    def parts(*outputs: Expr) -> list[int]:
        whole = Formula("f", (x, y), outputs)
        found = cut(whole, nodes=100, inputs=20, outputs=12, alone=alone)
        return [len(p.formula.outputs) * (-1 if p.alone else 1) for p in found.parts]

    assert parts(call("sin", x) * call("exp", y)) == [-1, 1]
    assert parts(call("sin", x)) == [-1]
    assert parts(call("sin", 2 * x + 1) * x) == [1, -1, 1]
    # What is cheap is computed twice: only the argument of the sine is handed on.
    assert parts(call("sin", call("tanh", x)) * (2 * x + 1), 3 * (2 * x + 1)) == [1, -1, 2]
    # Both sines wait for each other's arguments in one kernel.
    assert parts(call("sin", x * y) + call("sin", call("exp", y))) == [2, -1, -1, 1]


def test_outputs_that_are_inputs_constants_or_alike() -> None:
    x, y = input("x"), input("y")
    found = cut(
        Formula("f", (x, y), (y, x + y, x + y, 2.0 * (x / x), x)), nodes=9, inputs=9, outputs=9
    )
    assert found.outputs[0] == 1
    assert found.outputs[1] == found.outputs[2] > 1
    assert found.outputs[4] == 0
    constant = Formula.trace("c", lambda x: 1.5, (x,))
    found = cut(constant, nodes=9, inputs=9, outputs=9)
    assert [p.sources for p in found.parts] == [(0,)]


def test_refusals() -> None:
    x = input("x")
    with pytest.raises(ValueError, match="without reductions or positions; try running it whole"):
        cut(Formula.trace("f", lambda x: x * element_index(), (x,)), nodes=9, inputs=9, outputs=9)
    with pytest.raises(ValueError, match=r"f: got caps of 1 nodes.*; try larger caps"):
        cut(Formula.trace("f", lambda x: x * x + x, (x,)), nodes=1, inputs=9, outputs=9)
