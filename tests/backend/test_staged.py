"""Staged formulas over large arrays: threads share rows, never a sum over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.backend import threads


@pytest.fixture(params=[1, 2, 4])
def count(request: pytest.FixtureRequest) -> Any:
    before = threads.get_num_threads()
    threads.set_num_threads(request.param)
    yield request.param
    threads.set_num_threads(before)


@pytest.mark.parametrize(("rows", "columns"), [(2, 60_001), (3, 33_000), (64, 4096), (300, 3000)])
def test_a_sum_over_few_long_rows(
    rows: int, columns: int, count: int, rng: np.random.Generator
) -> None:
    x, label = rng.standard_normal((rows, columns)), rng.integers(0, columns, rows)
    top = x.max(1)
    loss = np.log(np.exp(x - top[:, None]).sum(1)) + top - x[np.arange(rows), label]
    np.testing.assert_allclose(tg.cross_entropy(x, label).item(), loss.mean(), rtol=1e-12)
    weight, ct = rng.standard_normal(columns), rng.standard_normal((rows, columns))
    w = tg.tensor(weight, requires_grad=True)
    tg.layer_norm(x, columns, w).backward(ct)
    h = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(w.grad.numpy(), (ct * h).sum(0), rtol=1e-9, atol=1e-9)
