"""The checkers of derivatives: right ones pass by every method, wrong ones are named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad, check_grads


def layer(x: Any, w: Any) -> Any:
    return np.tanh(x @ w) * np.exp(x.sum())


def wrong(x: Tensor, w: Tensor) -> Any:
    """Its derivative with respect to w[1] is left out."""
    keep = Tensor(np.array([1.0, 0.0, 1.0])).to(w.device)
    return np.sin(x) * (w * keep + w.detach() * (1.0 - keep)) ** 2


@pytest.mark.parametrize("full", [False, True])
def test_what_is_right_passes_by_every_mode_and_method(
    full: bool, rng: np.random.Generator
) -> None:
    x, w = rng.standard_normal((2, 3)) / 2, rng.standard_normal((3, 2)) / 2
    check_grad(layer, (x, w), order=3, full=full, rng=rng)
    check_grads(layer, (x, w), order=3, full=full, rng=rng)
    check_grads(layer, (x, w), full=full, method="complex", rng=rng)
    check_grads(lambda x, n: (x**n, x), (x, 2), full=full, rng=rng)  # several results, a constant


def test_complex_arguments_and_results(rng: np.random.Generator) -> None:
    z = rng.standard_normal(3) + 1j * rng.standard_normal(3)
    for full in (False, True):
        check_grads(lambda z: np.exp(z) * z.conj(), (z,), full=full, rng=rng)
        check_grads(lambda z, x: (np.abs(z) ** 2, z * x), (z, z.real.copy()), full=full, rng=rng)


def test_a_wrong_one_is_named_with_size_and_worst_element(rng: np.random.Generator) -> None:
    x, w = rng.uniform(0.5, 1.0, 3), rng.uniform(0.5, 1.0, 3)
    with pytest.raises(AssertionError) as error:
        check_grads(wrong, (x, w), modes=("reverse",), rng=rng)
    text = str(error.value)
    assert text.startswith("check_grads: order 1, reverse: got ")
    assert "; d/dw[1] = 0, expected " in text
    assert re.search(r"error \d\.\de[+-]\d\d, wrong in 1 of 3 elements", text)
    with pytest.raises(AssertionError, match=r"got d/dw\[1, 1\] = 0, .*wrong in 1 of 9 elements"):
        check_grad(wrong, (x, w), full=True, rng=rng)


def test_forward_mode_is_checked_by_itself(rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 1.0, 3)

    def f(v: Any) -> Any:
        """Wrong in forward mode alone: constant for the interpreter of tangents."""
        return np.sin(v) if isinstance(v, Tensor) and not v.level else np.sin(v.detach())

    check_grads(f, (x,), modes=("reverse",), rng=rng)
    with pytest.raises(AssertionError, match="check_grads: order 1, forward: got "):
        check_grads(f, (x,), rng=rng)


def test_a_complex_step_of_what_is_not_analytic_is_refused(rng: np.random.Generator) -> None:
    x = rng.uniform(0.5, 1.0, 3)
    for full in (False, True):
        with pytest.raises(tg.DTypeError, match="check_grad: got a function whose complex step"):
            check_grad(lambda v: np.abs(v) * v, (x,), method="complex", full=full, rng=rng)
    with pytest.raises(AssertionError, match="d/dw"):
        check_grad(wrong, (x, x.copy()), method="complex", rng=rng)


def test_uses_that_cannot_work_say_so(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    with pytest.raises(tg.DTypeError, match="got v of float32, expected float64 or complex128"):
        check_grads(lambda v: v, (x.astype(np.float32),))
    with pytest.raises(tg.DTypeError, match="got v of complex128, expected float64; try method="):
        check_grad(lambda v: v, (x + 1j,), method="complex")
    with pytest.raises(ValueError, match="check_grads: got order=4, expected 1, 2 or 3"):
        check_grads(lambda v: v, (x,), order=4)
    with pytest.raises(ValueError, match="expected some of 'reverse' and 'forward'"):
        check_grads(lambda v: v, (x,), modes=("sideways",))
    with pytest.raises(ValueError, match="method='magic', expected 'difference' or 'complex'"):
        check_grads(lambda v: v, (x,), method="magic")


def test_numbers_and_containers_move_too(rng: np.random.Generator) -> None:
    check_grads(lambda x, k: k * x**3, (2.0, np.float64(0.5)), order=3, rng=rng)
    given = {"w": rng.standard_normal(3), "b": [0.5, (rng.standard_normal(2),)]}

    def f(p: Any) -> Any:
        return {"y": np.sin(p["w"]) * p["b"][0], "z": [p["b"][1][0] ** 2, None]}

    for full in (False, True):
        check_grads(f, (given,), full=full, rng=rng)
    with pytest.raises(AssertionError, match=r"d/dp\['b'\]\[1\]\[0\]\[\d\] = "):
        check_grads(lambda p: wrong(p["w"], p["b"][1][0]) if isinstance(p["w"], Tensor) else 0,
                    ({"w": given["w"], "b": [0.5, (rng.uniform(0.5, 1.0, 3),)]},),
                    modes="reverse", rng=rng)  # fmt: skip


def test_what_has_nothing_to_check_is_no_success(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    with pytest.raises(tg.DTypeError, match="check_grads: got a function without arguments of fl"):
        check_grads(lambda n: n * 2, (np.arange(3),))
    for result in (lambda v: None, np.argsort):
        with pytest.raises(tg.DTypeError, match="check_grad: got a function without results of fl"):
            check_grad(result, (x,))
    with pytest.raises(TypeError, match=r"got args=float64\(3,\), expected a tuple"):
        check_grads(np.sin, x)


def test_small_values_are_checked_as_large_ones_are(rng: np.random.Generator) -> None:
    """A wrong derivative of values of 1e-12 is seen, a difference of rounding errors is not one."""
    x, w = rng.uniform(0.5, 1.0, 3), rng.uniform(0.5, 1.0, 3)
    for method in ("difference", "complex"):
        with pytest.raises(AssertionError, match="d/dw"):
            check_grads(lambda x, w: 1e-12 * wrong(x, w), (x, w), method=method, rng=rng)
    for f in (
        lambda v: tg.softmax(v).sum() - 1.0,
        lambda v: np.sin(v) ** 2 + np.cos(v) ** 2 - 1.0,
        lambda v: 1e-30 * v**3,
        lambda v: np.log(np.exp(v)) - v,
    ):
        for _ in range(5):
            check_grads(f, (rng.standard_normal(4),), rng=rng)
