"""Rows in shared memory: what devices give on request, asked for and used."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from codegen.rows_tools import formulas
from ops_tools import gpus, launches

from tensorgrad.codegen import cuda_rows

FEW, COLUMNS = 2, 40_000


def test_a_long_row_lies_in_shared_memory(rng: np.random.Generator) -> None:
    x = rng.standard_normal((FEW, COLUMNS)).astype(np.float32)
    with gpus():
        cupy = importlib.import_module("cupy")
        staged = importlib.import_module("tensorgrad.backend.cuda.staged")
        assert staged.shared_limit() == 232448
        source = planned(staged.shared_limit())
        before = dict(launches())
        out, *_ = staged.ReduceKernel(formulas()["softmax"])(
            cupy.asarray(x), axis=(1,), shape=x.shape
        )
        found = cupy.asnumpy(out)
        assert launches()[source.launches[0].name] == before.get(source.launches[0].name, 0) + 1
    assert 4 * COLUMNS <= source.launches[0].shared <= 232448
    want = np.exp(x - x.max(1, keepdims=True), dtype=np.float64)
    np.testing.assert_allclose(found, want / want.sum(1, keepdims=True), 1e-5)


def planned(limit: int) -> cuda_rows.Source:
    given = ["float32"] * len(formulas()["softmax"].inputs)
    return cuda_rows.rows(formulas()["softmax"], given, "trailing", (FEW, COLUMNS), shared=limit)


@pytest.mark.parametrize("limit", [48 * 1024, 100 * 1024, 163 * 1024, 227 * 1024])
def test_no_plan_exceeds_the_limit(limit: int, rng: np.random.Generator) -> None:
    """With what a block has beside: the bounds of a multiprocessor count both."""
    for columns in (4 * rng.integers(2_000, 60_000, 12)).tolist():
        for name in ("softmax", "layer_norm"):
            f: Any = formulas()[name]
            given = ["float32"] * len(f.inputs)
            found = cuda_rows.rows(f, given, "trailing", (1000, columns), shared=limit)
            assert all(one.shared + 1024 <= limit for one in found.launches if one.shared)
            assert cuda_rows.rows(f, given, "trailing", (1000, columns), shared=limit) == found
    longest = planned(limit).launches[0].shared
    assert (longest > 0) is (limit > 4 * COLUMNS + 1024)
