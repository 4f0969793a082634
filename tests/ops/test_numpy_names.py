"""`np.f(tensor)` is the operation, for every NumPy name that the registry maps."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from place import here
from test_registry import NAMES, samples

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor

tg.ops.load()
PAIRS = sorted((name, dotted) for name in NAMES for dotted in OPERATIONS[name].numpy)
STANDARD = """
abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan atan2 atanh
bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor
broadcast_to ceil clip concat conj copysign cos cosh cumulative_sum divide e empty empty_like equal
exp expand_dims expm1 eye flip floor floor_divide full full_like greater greater_equal hypot imag
inf isfinite isinf isnan less less_equal linspace log log10 log1p log2 logaddexp logical_and
logical_not logical_or logical_xor matmul matrix_transpose max maximum mean meshgrid min minimum
moveaxis multiply negative nextafter nonzero not_equal ones ones_like permute_dims pi positive pow
prod real reciprocal remainder repeat reshape roll round sign signbit sin sinh split sqrt square
squeeze stack std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc unstack
var vecdot where zeros zeros_like
"""
"""What the Python array API standard 2024.12 names and this package has so far."""


def numpy_function(dotted: str) -> Any:
    if dotted.startswith("scipy."):
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)
    found: Any = np
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


def wrapped(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return Tensor(value, requires_grad=dtypes.is_inexact(value.dtype))
    if isinstance(value, list | tuple) and value and isinstance(value[0], np.ndarray):
        return type(value)(wrapped(v) for v in value)
    return value


def parts(result: Any) -> list[Any]:
    return [r for x in result for r in parts(x)] if isinstance(result, tuple | list) else [result]


@pytest.mark.parametrize(("name", "dotted"), PAIRS)
def test_numpys_function_is_the_operation(name: str, dotted: str, rng: np.random.Generator) -> None:
    function = numpy_function(dotted)
    used = 0
    for args, options in samples(name, rng):
        tensors = [wrapped(a) for a in args]
        if not any(isinstance(t, Tensor) for a in tensors for t in parts(a)):
            continue
        with np.errstate(all="ignore"):
            got = parts(function(*tensors, **options))
            want = parts(OPERATIONS[name].function(*args, **options))
        used += 1
        for g, w in zip(got, want):
            assert isinstance(g, Tensor)
            assert g.dtype == w.dtype
            np.testing.assert_array_equal(here(g), here(w))
            moving = any(
                t.requires_grad for a in tensors for t in parts(a) if isinstance(t, Tensor)
            )
            constant = name == "imag" and not np.iscomplexobj(args[0])
            if moving and OPERATIONS[name].orders and dtypes.is_inexact(g.dtype) and not constant:
                assert g.requires_grad, "cut off the tape"
    assert used >= 5


@pytest.mark.parametrize("name", sorted(set(STANDARD.split()) - {"e", "inf", "pi", "argsort"}))
def test_the_array_standards_names_are_there(name: str) -> None:
    assert callable(getattr(tg, name))


def test_an_array_on_the_left_hands_over() -> None:
    a, x = np.ones(3), Tensor(np.full(3, 2.0), requires_grad=True)
    for y in (a + x, a * x, a - x, a / x, a @ x, np.maximum(a, x), a**x):
        assert isinstance(y, Tensor)
        assert y.requires_grad


def test_ufunc_methods() -> None:
    x = Tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    np.testing.assert_array_equal(here(np.add.reduce(x)), [5, 7, 9])
    np.testing.assert_array_equal(here(np.multiply.reduce(x, axis=1)), [6, 120])
    np.testing.assert_array_equal(here(np.maximum.reduce(x, axis=None)), 6)
    np.testing.assert_array_equal(here(np.add.accumulate(x, axis=1)), np.cumsum(here(x), axis=1))
    outer = np.multiply.outer(x, np.ones(2))
    assert (outer.shape, outer.requires_grad) == ((2, 3, 2), True)


def test_what_has_no_derivative_is_a_constant_or_refuses_by_name() -> None:
    x = Tensor(np.array([3.0, 1.0, 2.0]), requires_grad=True)
    assert np.shape(x) == (3,)
    np.testing.assert_array_equal(here(np.argsort(x)), [1, 2, 0])
    with pytest.raises(tg.NotDifferentiable, match=r"^np\.isnat: got a tensor that needs"):
        np.isnat(x)


def test_out_writes_into_a_tensor_off_the_tape() -> None:
    target = Tensor(np.zeros(2))
    found = np.add(Tensor(np.ones(2)), 1.0, out=target)
    assert found is target
    np.testing.assert_array_equal(target.numpy(), [2.0, 2.0])
    with pytest.raises(TypeError, match=r"np\.add: got out=ndarray for a tensor's result"):
        np.add(Tensor(np.ones(2)), 1.0, out=np.zeros(2))
