"""Elementwise functions and operators of the standard, on every dtype, against the judge."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from judge import DTYPES, Inputs, asked, ours, same, strictly, tensors

import tensorgrad as tg

UNARY = """
abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite
isinf isnan log log10 log1p log2 logical_not negative positive real reciprocal round sign signbit
sin sinh sqrt square tan tanh trunc
""".split()
BINARY = """
add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide
equal floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or
logical_xor maximum minimum multiply nextafter not_equal pow remainder subtract
""".split()
OPERATORS = """
add sub mul truediv floordiv mod pow and_ or_ xor lshift rshift lt le gt ge eq ne
""".split()
LEFT_OPEN = {"sign"}
"""Functions of complex numbers whose value at infinities the standard leaves open."""
SHIFTS = {"bitwise_left_shift", "bitwise_right_shift", "lshift", "rshift"}
DIVISIONS = {"floor_divide", "remainder", "floordiv", "mod"}
POWERS = {"pow"}


def second(name: str, draw: Inputs, dtype: str, shape: tuple[int, ...]) -> Any:
    """The second operand, where the standard says what a function of integers gives."""
    whole = np.dtype(dtype).kind in "iu"
    if whole and name in SHIFTS:
        return draw.rng.integers(0, 8 * np.dtype(dtype).itemsize - 1, shape).astype(dtype)
    if whole and name in POWERS:
        return draw.rng.integers(0, 4, shape).astype(dtype)
    found = draw.mixed(dtype, shape)
    return np.where(found == 0, 1, found).astype(dtype) if whole and name in DIVISIONS else found


@pytest.mark.parametrize("name", UNARY)
def test_one_argument(name: str, rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    draw, found = Inputs(rng), 0
    for dtype in DTYPES:
        for shape, other in draw.shapes(request.config.getoption("--full")):
            open_ = name in LEFT_OPEN and np.dtype(dtype).kind == "c"
            x = (draw.plain if open_ else draw.mixed)(dtype, np.broadcast_shapes(shape, other))
            accepted, want = asked(getattr(strict, name), x)
            found += accepted
            if accepted:
                same(ours(getattr(tg, name), x), want)
    assert found


def pairs(dtype: str) -> Iterator[str]:
    """The dtypes that the standard promotes with another."""
    for other in DTYPES:
        try:
            strict.result_type(getattr(strict, dtype), getattr(strict, other))
        except TypeError:
            continue
        yield other


@pytest.mark.parametrize("name", BINARY)
def test_two_arguments(name: str, rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    draw, full, found = Inputs(rng), request.config.getoption("--full"), 0
    for dtype in DTYPES:
        others = list(pairs(dtype))
        for other in others if full else {dtype, str(rng.choice(others))}:
            for shape, wide in draw.shapes(full):
                x = draw.mixed(dtype, shape)
                y = second(name, draw, other, wide)
                accepted, want = asked(getattr(strict, name), x, y)
                found += accepted
                if accepted:
                    same(ours(getattr(tg, name), x, y), want)
    assert found


def apply(function: Callable[..., Any], x: Any, y: Any) -> tuple[bool, Any]:
    with np.errstate(all="ignore"):
        try:
            return True, function(x, y)
        except (TypeError, OverflowError):
            return False, None


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_with_arrays_and_python_numbers(name: str, rng: np.random.Generator) -> None:
    draw, call = Inputs(rng), getattr(operator, name)
    for dtype in DTYPES:
        x = draw.mixed(dtype, (5,))
        for y in (second(name, draw, dtype, (5,)), True, 2, 1.5, 0.5 + 1j):
            if name in POWERS and np.dtype(dtype).kind in "fc":
                x = draw.plain(dtype, (5,), 0.5, 2)
            for a, b in ((x, y), (y, x)):
                if name in DIVISIONS | SHIFTS | POWERS and a is y:
                    b = second(name, draw, dtype, (5,))
                accepted, want = apply(call, *strictly((a, b)))
                if accepted:
                    with np.errstate(all="ignore"):
                        same(call(*tensors((a, b))), want)


@pytest.mark.parametrize("name", [n for n in OPERATORS if n not in "lt le gt ge eq ne".split()])
def test_in_place_operators(name: str, rng: np.random.Generator) -> None:
    draw, call = Inputs(rng), getattr(operator, "i" + name.rstrip("_"))
    for dtype in DTYPES:
        x, y = draw.plain(dtype, (5,), 0.5, 2), second(name, draw, dtype, (5,))
        accepted, want = apply(call, *strictly((x.copy(), y)))
        if accepted:
            with np.errstate(all="ignore"):
                same(call(*tensors((x, y))), want)


@pytest.mark.parametrize("name", "neg pos abs invert".split())
def test_operators_of_one_argument(name: str, rng: np.random.Generator) -> None:
    draw, call = Inputs(rng), getattr(operator, name)
    for dtype in DTYPES:
        x = draw.mixed(dtype, (6,))
        accepted, want = asked(call, x)
        if accepted:
            same(ours(call, x), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clip(dtype: str, rng: np.random.Generator) -> None:
    draw = Inputs(rng)
    x, low = draw.mixed(dtype, (3, 4)), draw.plain(dtype, (4,))
    for bounds in ({}, {"min": low}, {"max": low}, {"min": low, "max": low}, {"min": 1, "max": 2}):
        accepted, want = asked(strict.clip, x, **bounds)
        if accepted:
            same(ours(tg.clip, x, **bounds), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_where(dtype: str, rng: np.random.Generator) -> None:
    draw = Inputs(rng)
    for other in pairs(dtype):
        c, x, y = draw.plain("bool", (3, 1)), draw.mixed(dtype, (4,)), draw.mixed(other, (3, 4))
        same(ours(tg.where, c, x, y), asked(strict.where, c, x, y)[1])
    c, x = draw.plain("bool", (4,)), draw.mixed(dtype, (4,))
    accepted, want = asked(strict.where, c, x, 1)
    if accepted:
        same(ours(tg.where, c, x, 1), want)
