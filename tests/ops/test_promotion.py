"""Promotion: NumPy's, over every pair of dtypes and with Python's numbers; bfloat16 as said."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import place
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import dtypes

NAMES = [name for name in dtypes.NAMES if name != "bfloat16"]
PAIRS = list(itertools.product(NAMES, NAMES))


def pairs(rng: np.random.Generator, request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Every pair of dtypes; on a GPU, where each has kernels of its own, some, without `--full`."""
    if place.chosen == "cpu" or request.config.getoption("--full"):
        return PAIRS
    return [PAIRS[k] for k in rng.choice(len(PAIRS), 12, replace=False)]


NUMBERS = (True, 2, 1.5, 0.5 + 1j)

FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    name: (getattr(tg, name), getattr(np, name))
    for name in (
        "add subtract multiply divide floor_divide power maximum less equal not_equal logical_and "
        "bitwise_and arctan2 copysign hypot"
    ).split()
} | {
    "where": (lambda x, y: tg.where(_MASK, x, y), lambda x, y: np.where(_MASK, x, y)),
    "concatenate": (lambda x, y: tg.concatenate((x, y)), lambda x, y: np.concatenate((x, y))),
    "stack": (lambda x, y: tg.stack((x, y)), lambda x, y: np.stack((x, y))),
    "matmul": (tg.matmul, np.matmul),
    "dot": (tg.dot, np.dot),
    "clip": (lambda x, y: tg.clip(x, y, y), lambda x, y: np.clip(x, y, y)),
}
_MASK = np.asarray([True, False, True])


def numbers(dtype: str, rng: np.random.Generator) -> Any:
    """Three numbers from 1 to 3: no function of them is undefined in any dtype."""
    return rng.integers(1, 4, 3).astype(dtype)


def expected(function: Callable[..., Any], *args: Any) -> Any:
    """NumPy's result, None where it has none."""
    with np.errstate(all="ignore"):
        try:
            return np.asarray(function(*args))
        except (TypeError, ValueError):
            return None


def agree(got: Any, want: Any, case: Any) -> None:
    assert got.dtype == want.dtype, case
    error = 0 if want.dtype.kind in "biu" else 8 * float(np.finfo(want.dtype).eps)
    np.testing.assert_allclose(here(got), want, rtol=error, err_msg=str(case))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_pair_of_dtypes(
    name: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    ours, theirs = FUNCTIONS[name]
    for pair in pairs(rng, request):
        x, y = (numbers(dtype, rng) for dtype in pair)
        want = expected(theirs, x, y)
        if want is not None:
            agree(ours(tg.asarray(x), tg.asarray(y)), want, (name, *pair))


@pytest.mark.parametrize("name", "add sub mul truediv floordiv pow and_ or_ lt eq ne".split())
def test_python_numbers_are_weak(name: str, rng: np.random.Generator) -> None:
    call = getattr(operator, name)
    for dtype, number in itertools.product(NAMES, NUMBERS):
        x = numbers(dtype, rng)
        for args in ((x, number), (number, x)):
            want = expected(call, *args)
            if want is not None:
                given = [tg.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
                agree(call(*given), want, (name, dtype, number))


@pytest.mark.parametrize("name", ["where", "clip"])
def test_python_numbers_are_weak_in_functions(name: str, rng: np.random.Generator) -> None:
    ours, theirs = FUNCTIONS[name]
    for dtype, number in itertools.product(NAMES, NUMBERS):
        x = numbers(dtype, rng)
        want = expected(theirs, x, number)
        if want is not None and not (name == "clip" and isinstance(number, complex)):
            agree(ours(tg.asarray(x), number), want, (name, dtype, number))


def test_arrays_without_axes_are_strong(
    rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    for one, other in pairs(rng, request):
        x, y = numbers(one, rng), np.asarray(2, other)
        want = expected(np.add, x, y)
        if want is not None:
            agree(tg.asarray(x) + tg.asarray(y), want, (one, other))


@pytest.mark.cpu_only("NumPy's numbers are of the host")
def test_numpys_scalars_are_strong(rng: np.random.Generator) -> None:
    for one, other in PAIRS:
        x, y = numbers(one, rng), np.asarray(2, other)[()]
        want = expected(np.multiply, x, y)
        if want is not None:
            agree(tg.asarray(x) * y, want, (one, other))
            agree(y * tg.asarray(x), want, (one, other))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ("bool", "bfloat16"), ("int8", "bfloat16"), ("uint8", "bfloat16"), ("int16", "float32"),
        ("uint16", "float32"), ("int32", "float64"), ("int64", "float64"), ("uint64", "float64"),
        ("float16", "float32"), ("bfloat16", "bfloat16"), ("float32", "float32"),
        ("float64", "float64"), ("complex64", "complex64"), ("complex128", "complex128"),
    ],
)  # fmt: skip
def test_bfloat16_promotes_as_float16_does(other: str, found: str) -> None:
    x, y = tg.ones(3, "bfloat16"), tg.ones(3, other)
    assert tg.result_type(x, y).name == found
    for call in (tg.add, tg.multiply, tg.maximum, lambda a, b: tg.where(_MASK, a, b)):
        assert call(x, y).dtype.name == found
        assert call(y, x).dtype.name == found
    assert tg.concatenate((x, y)).dtype.name == found
    assert tg.matmul(x, y).dtype.name == found
    assert (x == y).dtype == bool


@pytest.mark.parametrize(
    ("number", "found"), [(True, "bfloat16"), (2, "bfloat16"), (1.5, "bfloat16"), (1j, "complex64")]
)
def test_python_numbers_are_weak_beside_bfloat16(number: Any, found: str) -> None:
    x = tg.ones(3, "bfloat16")
    assert (x * number).dtype.name == found
    assert (number + x).dtype.name == found


def test_a_number_that_the_dtype_cannot_hold_is_refused() -> None:
    with pytest.raises(OverflowError):
        tg.ones(2, "uint8") + 300
    with pytest.raises(OverflowError):
        tg.ones(2, "uint8") - -1


def test_comparisons_with_such_a_number_are_exact() -> None:
    x = tg.asarray(np.asarray([0, 255], "uint8"))
    for number in (300, -1, 256):
        for name in "lt le gt ge eq ne".split():
            call = getattr(operator, name)
            want = call(np.asarray([0, 255], "uint8"), number)
            np.testing.assert_array_equal(here(call(x, number)), want)
