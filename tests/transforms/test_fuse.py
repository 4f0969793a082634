"""Fused functions: values, derivatives, what parameters mean, and what is refused how."""

from __future__ import annotations

import gc
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.testing import check_grad

ARRAY = np.ones(3)
TENSOR = tg.tensor([1.0, 2.0])


@tg.fuse
def swish(x: Any, beta: Any = 1.0) -> Any:
    """x sigmoid(beta x)."""
    return x / (1 + np.exp(-beta * x))


def swish_of(x: Any, beta: Any = 1.0) -> Any:
    return x / (1 + np.exp(-beta * x))


def message(f: Callable[..., Any]) -> str:
    with pytest.raises(TypeError) as caught:
        tg.fuse(f)
    return str(caught.value)


def test_it_is_still_the_users_function() -> None:
    assert swish.__name__ == "swish"
    assert swish.__doc__ == "x sigmoid(beta x)."
    assert swish.__module__ == __name__
    assert list(inspect.signature(swish).parameters) == ["x", "beta"]


def test_values_and_derivatives_of_every_order(rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4))
    np.testing.assert_allclose(swish(x).numpy(), swish_of(x), rtol=1e-14)
    np.testing.assert_allclose(swish(x, beta=0.5).numpy(), swish_of(x, 0.5), rtol=1e-14)
    check_grad(swish, [x], order=3, rng=rng)
    check_grad(swish, [x, rng.uniform(0.5, 1, 4)], order=3, rng=rng)

    def derivative(f: Any) -> Any:
        return tg.grad(lambda x: np.sum(f(x)))

    f: Any = swish
    plain: Any = lambda x: swish_of(x)  # noqa: E731
    for _ in range(3):
        f, plain = derivative(f), derivative(plain)
        np.testing.assert_allclose(f(x), plain(x), rtol=1e-9, atol=1e-12)


def test_a_default_is_a_constant_or_an_argument(rng: np.random.Generator) -> None:
    x = rng.standard_normal(5)
    assert tg.grad(lambda b: np.sum(swish(x, b)))(2.0) != 0
    assert [e.value for e in swish.primitive.formula.inputs] == ["x"]

    @tg.fuse
    def power(x: Any, p: Any = 2, *, scale: Any = 1.0, mode: str = "sum") -> Any:
        return scale * x**p if mode == "sum" else scale + x**p

    np.testing.assert_array_equal(power(x).numpy(), x**2)
    np.testing.assert_allclose(power(x, 3).numpy(), x**3, rtol=1e-14)
    np.testing.assert_allclose(power(x, scale=x).numpy(), x**3, rtol=1e-14)
    np.testing.assert_allclose(power(x, mode="shift", scale=2.0).numpy(), 2 + x**2, rtol=1e-14)
    np.testing.assert_allclose(power(x=x, p=1.0).numpy(), x, rtol=1e-14)


def test_wrong_arguments_are_told() -> None:
    for call in (lambda: swish(), lambda: swish(1.0, 2.0, 3.0), lambda: swish(1.0, gamma=2.0)):
        with pytest.raises(TypeError, match=r"swish: got .*, expected swish\(x, beta=1.0\); try"):
            call()
    with pytest.raises(TypeError, match="expected a fixed number of parameters"):
        tg.fuse(lambda *x: x[0])
    with pytest.raises(TypeError, match="one at least without a default"):
        tg.fuse(lambda x=1.0: x)
    with pytest.raises(TypeError, match="got list as its result"):
        tg.fuse(lambda x: [x, x])


def test_tuples_bools_and_integers(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(7), rng.standard_normal(7)
    both = tg.fuse(lambda x, y: (np.maximum(x, y), x < y, np.where(x < y, 1, 0)))
    found = both(x, y)
    for got, want in zip(found, (np.maximum(x, y), x < y, np.where(x < y, 1, 0)), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want)
    leaf = tg.tensor(x, requires_grad=True)
    assert not tg.fuse(lambda x: x > 0)(leaf).requires_grad
    whole = tg.fuse(lambda x: x * 3 - 1)(np.arange(4))
    assert whole.dtype == np.arange(4).dtype
    assert whole.tolist() == [-1, 2, 5, 8]


def test_functions_inside(rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 0.9, 6)
    inner = tg.fuse(lambda x: np.clip(np.abs(x), 0.2, 0.8))
    outer = tg.fuse(
        lambda x: inner(x) * tg.nn.functional.gelu(x, "tanh") + math.pi + np.arctan2(x, 2)
    )
    want = np.clip(x, 0.2, 0.8) * tg.nn.functional.gelu(x, "tanh").numpy() + math.pi
    np.testing.assert_allclose(outer(x).numpy(), want + np.arctan2(x, 2), rtol=1e-13)


def test_a_branch_shows_its_line_and_its_where_form() -> None:
    def branch(x: Any) -> Any:
        if x > 0:
            return x
        else:
            return 0.1 * x

    number = branch.__code__.co_firstlineno + 1
    assert message(branch) == (
        f"branch: got `if x > 0:` ({__file__}, line {number}), expected no Python branch or number "
        "from a value known only when the kernel runs; try `np.where(x > 0, x, 0.1 * x)` in place "
        "of the `if`"
    )


def helper(z: Any) -> Any:
    return math.exp(z) + 1


def halved(x: Any) -> Any:
    while x > 1:
        x = x / 2
    return x


def flagged(x: Any) -> Any:
    flag = True
    if flag:
        y = x * ARRAY
    return y


@pytest.mark.parametrize(
    ("f", "line", "fix"),
    [
        (lambda x: x if x > 0 else 0.0, "x > 0", "try `np.where(x > 0, x, 0.0)`"),
        (lambda x: max(x, 0), "max(x, 0)", "try `np.maximum(x, 0)`"),
        (lambda x, y: x > 0 and y > 0, "x > 0 and y > 0", "try `(x > 0) & (y > 0)`"),
        (lambda x: not x > 0, "not x > 0", "try `~(x > 0)`"),
        (lambda x: np.where(0 < x < 1, x, 0), "0 < x < 1", "try `(0 < x) & (x < 1)`"),
        (lambda x: math.exp(x), "math.exp(x)", "try `np.exp(x)`"),
        (lambda x: math.atan(x), "math.atan(x)", "try `np.arctan(x)`"),
        (lambda x: float(x), "float(x)", "try `x`"),
        (lambda x: round(x), "round(x)", "try `np.rint(x)`"),
        (lambda x: helper(x) * 2, "return math.exp(z) + 1", "try `np.exp(z)`"),
        (halved, "while x > 1:", "each `value = np.where(x > 1, next_value, value)`"),
        (lambda x: x * ARRAY, "ARRAY is an array", "try making ARRAY an argument of fused"),
        (lambda x: TENSOR * x, "TENSOR is an array", "try making TENSOR an argument of fused"),
        (flagged, "y = x * ARRAY", "try making ARRAY an argument of flagged"),
        (lambda x: np.sum(x), "np.sum(x)", "expected an elementwise function"),
        (lambda x: tg.sum(x), "tg.sum(x)", "try `tg.sum(x)` on arrays, outside fused"),
        (lambda x: x.mean(), "x.mean", "on arrays, outside fused"),
        (lambda x: x[0], "x[0]", "try `x[0]` on arrays, outside fused"),
        (lambda x: np.array([x, x]).max(), "np.array([x, x])", "on arrays, outside fused"),
        (lambda x: list(range(x)), "range(x)", "expected a Python number"),
    ],
)
def test_refusals_name_the_line_and_the_way_out(f: Any, line: str, fix: str) -> None:
    text = message(f)
    assert line in text
    assert fix in text
    assert __file__ in text


def test_errors_of_other_kinds_pass() -> None:
    with pytest.raises(TypeError, match=r"helper\(\) takes 1 positional argument but 2 were given"):
        tg.fuse(lambda x: helper(x, 2))  # type: ignore[call-arg]
    with pytest.raises(ZeroDivisionError):
        tg.fuse(lambda x: x * (1 / 0))


def test_without_the_source_the_place_remains() -> None:
    names: dict[str, Any] = {}
    exec("def f(x):\n    return x if x > 0 else 0", names)
    text = message(names["f"])
    assert text.startswith("f: got a step at <string>, line 2, expected no Python branch")
    assert "try where(0 < x, a, b)" in text


def test_a_loop_of_fuses_leaves_nothing_behind() -> None:
    def once(k: float) -> None:
        assert tg.fuse(lambda x: x * 2.0 + 1.0)(k).item() == 2 * k + 1

    once(0.0)
    gc.collect()
    before = len(gc.get_objects())
    for k in range(50):
        once(float(k))
    gc.collect()
    assert len(gc.get_objects()) - before < 50
