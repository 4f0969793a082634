"""Interning, constants, rewrites, fences."""

from __future__ import annotations

import gc
import math
import operator
import threading
from typing import Any

import numpy as np
import pytest

from tensorgrad.expr import (
    COLUMN,
    ELEMENT,
    ROW,
    Expr,
    bc,
    call,
    cast,
    const,
    equal,
    input,
    ir,
    rsum,
    topo,
    where,
)

x, y = input("x"), input("y")
i, j = input("i", "i"), input("j", "i")
p, q = input("p", "b"), input("q", "b")


def test_equal_content_is_one_object() -> None:
    assert x * y + 1.0 is x * y + 1.0
    assert call("exp", x) is call("exp", input("x"))
    assert input("x", "f", ROW) is not x
    assert len({x * y, x * y, y * x}) == 2


def test_constants_differ_by_kind_and_by_the_sign_of_zero() -> None:
    values = [0, 0.0, -0.0, False, 1, 1.0, True]
    assert len({const(v) for v in values}) == len(values)
    assert const(math.nan) is const(math.nan)
    assert const(np.float32(0.5)) is const(0.5)
    assert const(np.int64(3)) is const(3)
    assert const(np.bool_(True)) is const(True)
    assert const(np.array(2.0)) is const(2.0)


def test_the_table_is_weak() -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(ir._TABLE)
        e = x
        for k in range(500):
            e = call("sin", e) * (k + 0.5)
        assert len(ir._TABLE) >= before + 1000
        del e
        assert len(ir._TABLE) == before
    finally:
        gc.enable()


def test_a_long_chain_is_built_ordered_and_freed_without_recursion() -> None:
    e = x
    for _ in range(100_000):
        e = e + y
    assert len(topo((e,))) == 100_002
    del e


def test_threads_get_the_same_node() -> None:
    barrier, found = threading.Barrier(4), []

    def build() -> None:
        barrier.wait()
        e = x
        for k in range(300):
            e = e * y + k
        found.append(e)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (lambda: x * 1, lambda: x),
        (lambda: 1.0 * x, lambda: x),
        (lambda: x / 1, lambda: x),
        (lambda: operator.neg(-x), lambda: x),
        (lambda: +x, lambda: x),
        (lambda: x**1, lambda: x),
        (lambda: x**2, lambda: call("square", x)),
        (lambda: x**0.5, lambda: call("sqrt", x)),
        (lambda: x**-1, lambda: call("reciprocal", x)),
        (lambda: 2.0**x, lambda: call("pow", 2.0, x)),
        (lambda: ~(~p), lambda: p),
        (lambda: p & True, lambda: p),
        (lambda: p | True, lambda: const(True)),
        (lambda: p & p, lambda: p),
        (lambda: p ^ q, lambda: ~equal(p, q)),
        (lambda: x > y, lambda: y < x),
        (lambda: x >= y, lambda: y <= x),
        (lambda: x != y, lambda: ~equal(x, y)),
        (lambda: where(p, x, x), lambda: x),
        (lambda: where(True, x, y), lambda: x),
        (lambda: where(False, x, y), lambda: y),
        (lambda: where(~p, x, y), lambda: where(p, y, x)),
        (lambda: const(2) + 3, lambda: const(5)),
        (lambda: const(1.5) * 2, lambda: const(3.0)),
        (lambda: -const(0.0), lambda: const(-0.0)),
        (lambda: const(1) < 2, lambda: const(True)),
        (
            lambda: bc(bc(input("r", "f", ROW), COLUMN), ROW),
            lambda: bc(input("r", "f", ROW), COLUMN),
        ),
    ],
)
def test_exact_rewrites(got: Any, want: Any) -> None:
    assert got() is want()


@pytest.mark.parametrize(
    "build",
    [
        lambda: x * 0,
        lambda: x * 0.0,
        lambda: x + 0.0,
        lambda: x - x,
        lambda: x / x,
        lambda: (x + 1.0) + 2.0,
        lambda: x * 2.0 * 3.0,
        lambda: const(0.1) + 0.2,
        lambda: const(1.0) / 3.0,
        lambda: const(2**24) + 1,
        lambda: const(1e30) * 1e30,
        lambda: const(0.1) < 0.2,
        lambda: const(math.inf) * 2.0,
    ],
)
def test_no_other_rewrite(build: Any) -> None:
    assert build().op not in ("const", "input")


def test_folding_is_exact_in_both_precisions(rng: np.random.Generator) -> None:
    for _ in range(300):
        a, b = (float(np.float32(v)) for v in rng.standard_normal(2) * 2.0 ** rng.integers(-9, 9))
        a = float(rng.choice([a, round(a, 1), float(int(a))]))
        for fn in (operator.add, operator.sub, operator.mul):
            e = fn(const(a), const(b))
            if e.op == "const":
                assert np.float32(e.value) == fn(np.float32(a), np.float32(b))
                assert e.value == fn(a, b)
    assert (const(0.5) + 0.25).value == 0.75


def test_kinds_follow_the_arguments() -> None:
    assert (x + 1).kind == "f"
    assert (i + 1).kind == "i"
    assert (i / j).kind == "f"
    assert (i * 0.5).kind == "f"
    assert (i & 3).op == "bitand"
    assert (i ^ j).op == "bitxor"
    assert (~i).op == "invert"
    assert (i << 3 >> 2).op == "shr"
    assert (p & q).op == "and"
    assert (p * x).args[0] is cast(p, "f")
    assert (i + x).args[0] is cast(i, "f")
    assert where(x > 0, x, 0).args[2] is const(0)
    assert where(p, 1, 0).kind == "i"
    assert (where(p, 1, 0) * x).args[0].op == "select"
    assert call("isnan", x).kind == "b"
    assert call("maximum", i, 3).kind == "i"
    assert call("exp", i).args[0] is cast(i, "f")
    assert call("exp", True).args[0] is const(1.0)
    assert (i // 2).value == "floor_divide"
    assert (5 % i).value == "remainder"
    assert abs(x).value == "abs"
    assert cast(3, "f") is const(3.0)
    assert cast(True, "i") is const(1)
    assert cast(2.5, "b") is const(True)


def test_index_sets_are_unions() -> None:
    row, column = input("r", "f", ROW), input("c", "f", COLUMN)
    assert (row + 1).index == ROW
    assert (row * column).index == ELEMENT
    assert rsum(column).index == 0
    assert rsum(row).args[0] is bc(row, COLUMN)


@pytest.mark.parametrize(
    ("use", "wrong"),
    [
        (lambda e: bool(e), "if x < y else b"),
        (lambda e: e and 1, "if x < y else b"),
        (lambda e: 1 if e else 2, "if x < y else b"),
        (float, "float(x < y)"),
        (int, "int(x < y)"),
        (complex, "complex(x < y)"),
        (range, "range(x < y)"),
        (lambda e: [0, 1][e], "index(x < y)"),
        (math.sin, "float(x < y)"),
        (np.asarray, "np.array([x < y, 0])"),
        (list, "for v in x < y"),
    ],
)
def test_python_must_not_look_at_values(use: Any, wrong: str) -> None:
    with pytest.raises(TypeError) as error:
        use(x < y)
    text = str(error.value)
    assert wrong in text
    assert "where(x < y" in text
    assert ": got " in text
    assert ", expected " in text
    assert " try " in text


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: x + np.ones(3), "const: got ndarray, expected a bool, int or float"),
        (lambda: np.ones(3) * x, "got ndarray, expected a bool, int or float"),
        (lambda: x + "a", "const: got str, expected a bool, int or float"),
        (lambda: x + 1j, "const: got complex, expected a bool, int or float"),
        (lambda: p + q, "add: got two bool values p and q, expected numbers; try &"),
        (lambda: -p, "negative: got the bool value p, expected a number; try ~x"),
        (lambda: x & y, "bitwise_and: got the real values x and y, expected integers"),
        (lambda: x << 1, "shl: got x and 1, expected integers"),
        (lambda: ~x, "invert: got the real value x, expected an integer or bool"),
        (lambda: where(x, y, 0), "where: got the condition x, expected a bool value; try x != 0"),
        (lambda: call("exp", x, y), "exp: got 2 arguments, expected 1; try exp(x)"),
        (lambda: cast(x, "d"), "cast: got kind 'd', expected 'f', 'i' or 'b'"),
        (lambda: input("z", "c"), "input: got kind 'c', index 3, expected a kind of"),
        (lambda: rsum(p), "rsum: got the bool value p, expected a number; try where(c, 1, 0)"),
    ],
)
def test_errors(build: Any, text: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        build()
    assert text in str(error.value)


def test_an_unknown_leaf_names_its_neighbours() -> None:
    with pytest.raises(KeyError, match=r"expected the name of a known leaf; try .*tanh"):
        call("tahn", x)


def test_numpy_scalars_mix_from_both_sides() -> None:
    assert np.float64(2.0) * x is 2.0 * x
    assert x * np.float32(2.0) is x * 2.0
    assert isinstance(np.int64(2) + i, Expr)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (lambda: np.exp(x), lambda: call("exp", x)),
        (lambda: np.arctan2(x, 1.0), lambda: call("atan2", x, 1.0)),
        (lambda: np.power(x, 2), lambda: x**2),
        (lambda: np.add(1.0, x), lambda: 1.0 + x),
        (lambda: np.not_equal(x, y), lambda: x != y),
        (lambda: np.logical_and(p, x), lambda: p & (x != 0)),
        (lambda: np.logical_not(p), lambda: ~p),
        (lambda: np.where(x > 0, x, 0), lambda: where(x > 0, x, 0)),
        (lambda: np.clip(x, 0, 1), lambda: call("clip", x, 0, 1)),
    ],
)
def test_numpy_functions_build_expressions(got: Any, want: Any) -> None:
    assert got() is want()


def test_other_numpy_functions_say_what_they_got() -> None:
    with pytest.raises(TypeError, match="exp: got a traced value, out=, expected an elementwise"):
        np.exp(x, out=np.ones(3))
    with pytest.raises(TypeError, match="sum: got a traced value, expected"):
        np.sum(x)
    with pytest.raises(TypeError, match="sort: got a traced value, expected"):
        np.sort(x)
