"""Every elementwise operation at the numbers where IEEE 754 has a corner, and given nonsense."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from draw import Draw
from test_registry import NAMES, oracle

import tensorgrad as tg
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor

CORNERS = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 5e-324, 1e-310, 1e308, -1e308, 1e-8]
)
ELEMENTWISE = sorted(
    name
    for name in NAMES
    if isinstance(PRIMITIVES.get(name), Elementwise)
    and {v.kind for v in PRIMITIVES[name].formula.inputs} == {"f"}
)  # fmt: skip
UNARY = [name for name in ELEMENTWISE if PRIMITIVES[name].nin == 1]
INPUT = pytest.mark.parametrize("name", UNARY)


@INPUT
def test_corners_equal_the_oracle(name: str) -> None:
    with np.errstate(all="ignore"):
        got = OPERATIONS[name].function(CORNERS).numpy()
        want = oracle(OPERATIONS[name])(CORNERS)
    here = np.isfinite(want) | np.isinf(want) | (got != got)
    np.testing.assert_allclose(got[here], want[here], rtol=1e-12, atol=1e-300)


SMALLEST = 4 * np.finfo(np.float64).smallest_subnormal  # roundings below the normal numbers


@INPUT
def test_gradients_at_corners_never_warn_and_agree_with_forward_mode(name: str) -> None:
    function = OPERATIONS[name].function
    if not OPERATIONS[name].orders:
        return
    with np.errstate(all="ignore"):
        for x in CORNERS:
            value, pull = tg.vjp(function, np.float64(x))
            _, tangent = tg.jvp(function, (np.float64(x),), (1.0,))
            found = pull(np.ones_like(value))[0]
            np.testing.assert_allclose(found, tangent, rtol=1e-15, atol=SMALLEST)


@pytest.mark.parametrize(
    "name", [n for n in UNARY if len(PRIMITIVES[n].formula.content.split("\n")) > 3]
)
def test_formulas_and_derivatives_never_warn(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        x = Tensor(CORNERS, requires_grad=True)
        y = OPERATIONS[name].function(x)
        if y.node is not None:
            y.backward(np.ones_like(CORNERS))


@pytest.mark.parametrize("name", [n for n in NAMES if OPERATIONS[n].family != "create"])
@pytest.mark.parametrize("nonsense", ["text", None, {"a": 1}], ids=["str", "None", "dict"])
def test_nonsense_is_refused_by_name(name: str, nonsense: Any, rng: np.random.Generator) -> None:
    if nonsense is None and name == "broadcast_arrays":
        pytest.skip("NumPy takes None here, and matplotlib passes it")
    args, options = next(iter(OPERATIONS[name].samples(Draw(rng))))
    with pytest.raises((TypeError, ValueError)) as caught:
        OPERATIONS[name].function(nonsense, *args[1:], **options)
    assert "got" in str(caught.value)
    assert "expected" in str(caught.value)
    assert "try" in str(caught.value)
