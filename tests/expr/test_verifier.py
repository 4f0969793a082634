"""The verifier and the printer."""

from __future__ import annotations

from typing import Any

import pytest

from tensorgrad.expr import (
    COLUMN,
    ELEMENT,
    ROW,
    Formula,
    at,
    call,
    const,
    input,
    isum,
    rmax,
    rsum,
    show,
    stop,
    verify,
    where,
)
from tensorgrad.expr.ir import new

x, y = input("x"), input("y")
row = input("r", "f", ROW)
flag = input("p", "b")


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        ((new("sub", (x,), None, "f", ELEMENT),), "sub with 1 arguments, expected 2"),
        ((new("erf", (x,), None, "f", ELEMENT),), "the opcode 'erf', expected one of input"),
        ((new("call", (x,), "nope", "f", ELEMENT),), "a call of 'nope', expected the name"),
        ((new("call", (x, y), "exp", "f", ELEMENT),), "call with 2 arguments, expected 1"),
        ((new("add", (x, flag), None, "f", ELEMENT),), "add of kind 'f' with arguments of kinds"),
        ((new("and", (x, flag), None, "b", ELEMENT),), "and of kind 'b' with arguments"),
        ((new("bitand", (x, x), None, "i", ELEMENT),), "bitand of kind 'i' with arguments"),
        ((new("lt", (x, flag), None, "b", ELEMENT),), "lt of kind 'b' with arguments"),
        ((new("select", (x, x, y), None, "f", ELEMENT),), "select of kind 'f' with arguments"),
        ((new("add", (x, row), None, "f", ROW),), "add of index set 1, expected 3"),
        ((new("rsum", (row,), None, "f", ROW),), "rsum of index set 1, expected -1"),
        ((new("bc", (x,), None, "f", ROW),), "bc of index set 1, expected -1"),
        ((isum(x) + 1.0,), "a sum over rows inside the formula, expected it only as an output"),
        ((x + input("z"),), "the input z in use, expected only ['x', 'y', 'r', 'p']"),
    ],
)
def test_what_is_not_well_formed(outputs: Any, fault: str) -> None:
    with pytest.raises(ValueError, match="f: got ") as error:
        verify("f", (x, y, row, flag), outputs)
    assert fault in str(error.value)
    assert "return " in str(error.value)


def test_inputs_are_input_nodes_with_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="expected an input node"):
        verify("f", (x + y,), (x + y,))
    with pytest.raises(ValueError, match="expected each once"):
        verify("f", (x, input("x", "f", ROW)), (x,))


def test_what_is_well_formed_passes() -> None:
    label = input("t", "i", ROW)
    out = where(label < 0, 0, stop(rmax(x)) - at(x, label))
    verify("f", (x, label), (out, isum(out), rsum(x * 2) / 3))


def test_labels_are_integers_without_a_column() -> None:
    for label in (row, input("t", "i", COLUMN), x):
        with pytest.raises(TypeError, match=r"at: got x and the label .* try at"):
            at(x, label)
    with pytest.raises(TypeError, match="expected a value with a column"):
        at(row, input("t", "i", ROW))


def test_show_names_shared_nodes() -> None:
    def fn(x: Any, y: Any) -> Any:
        e = call("exp", x - y)
        return e / (1 + e), -(x + y) * (x - y)

    assert show(Formula.trace("f", fn, (x, y))) == (
        "f(x, y):\n  %0 = x - y\n  %1 = exp(%0)\n  return %1 / (1 + %1), -(x + y) * %0"
    )


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: x - (y - 1), "x - (y - 1)"),
        (lambda: x - y - 1, "x - y - 1"),
        (lambda: x / (y * 2.0), "x / (y * 2.0)"),
        (lambda: x * (y + 1), "x * (y + 1)"),
        (lambda: x * -2, "x * -2"),
        (lambda: -(x * y), "-(x * y)"),
        (lambda: (x < y) & ~(y <= 0), "(x < y) & ~(y <= 0)"),
        (lambda: where(x > 0, x, 0), "where(0 < x, x, 0)"),
        (lambda: rsum(row + 1), "rsum(bc(r + 1, element))"),
        (lambda: flag * x, "cast(p, 'f') * x"),
    ],
)
def test_infix(build: Any, text: str) -> None:
    assert repr(build()) == text


def test_a_long_formula_is_cut_into_lines() -> None:
    e = x
    for k in range(200):
        e = e * y + k
    text = show(Formula.trace("f", lambda x, y: e, (x, y)))
    assert max(map(len, text.splitlines())) < 160
    assert repr(const(2.5)) == "2.5"
