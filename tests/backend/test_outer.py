"""Outer products by generated code: the same bits as NumPy's, and NumPy's own where none serves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tensorgrad.backend import outer
from tensorgrad.codegen import outer as generated

SHAPES = [
    ((700, 3, 1), (700, 1, 4)), ((1100, 1), (1, 3)), ((2, 3, 256, 1, 1), (2, 3, 1, 5, 2)),
    ((40, 30, 1), (40, 1, 17)), ((1500, 1), (1, 512)), ((1500, 1), (1500, 4)),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_bits(left: Any, right: Any, dtype: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal(left).astype(dtype)
    y = rng.standard_normal(right).astype(dtype)
    x.flat[:4], y.flat[:4] = (np.nan, np.inf, -0.0, 1e-40), (1e-40, 2, -np.inf, 0.0)[: y.size]
    with np.errstate(all="ignore"):
        want = x * y
    if generated.outer(x.dtype) is None:
        pytest.skip("no generated code")
    ran = outer._outer(x, y)
    assert ran is not None
    assert ran[0] * ran[1] * ran[2] == want.size
    np.testing.assert_array_equal(outer.multiply(x, y).view(f"u{x.itemsize}"),
                                  want.view(f"u{x.itemsize}"))  # fmt: skip


def test_everything_else_is_numpy(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((1500, 1)), rng.standard_normal((1, 4))
    others: list[tuple[Any, Any]] = [
        (x[:9], y), (x, y[0]), (x, y.astype("float32")), (x[::-1], y), (x, y[:, :1]), (y, x),
        (x, rng.standard_normal((1, 2049))), (x + 0j, y + 0j), (x[:0], y), (x, y[:, :0]),
    ]  # fmt: skip
    for a, b in others:
        assert outer._outer(a, b) is None
        np.testing.assert_array_equal(outer.multiply(a, b), a * b)
