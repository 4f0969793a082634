"""Products of the CUDA backend by other engines, and what the tests of them share."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ops_tools import ReferenceLt, here, launches

import tensorgrad as tg
from tensorgrad import dtypes, nn
from tensorgrad.core.tensor import Tensor

Array = Any
Rng = np.random.Generator


HALVES = ("float16", "bfloat16")
EPS = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-22, "float64": 2**-50}


def products() -> Any:
    return importlib.import_module("tensorgrad.backend.cuda.products")


@contextmanager
def by(make: Callable[[], Any]) -> Iterator[Any]:
    """Products by another engine, for the length of a block."""
    module = products()
    before, known = dict(module._ENGINES), dict(module._WAYS)
    module._WAYS.clear()
    module._ENGINES[0] = found = make()
    try:
        yield found
    finally:
        module._ENGINES.clear()
        module._ENGINES.update(before)
        module._WAYS.clear()
        module._WAYS.update(known)


class Spy(ReferenceLt):
    """Keeps the plans that it carried out and the algorithms it was asked for."""

    def __init__(self, refuses: str = "") -> None:
        self.plans: list[Any] = []
        self.algos: list[bytes] = []
        self.refuses = refuses

    def execute(self, plan: Any, x: int, y: int, out: int, **rest: Any) -> None:
        if self.refuses and self.refuses in plan.epilogue:
            error = importlib.import_module("tensorgrad.backend.cuda.lt").LtError
            raise error("cublasLtMatmulAlgoGetHeuristic", 15)
        self.plans.append(plan)
        self.algos.append(rest.get("algo", b""))
        super().execute(plan, x, y, out, **rest)

    def epilogues(self) -> list[str]:
        return [plan.epilogue for plan in self.plans]


def close(got: Any, want: Any, dtype: str, scale: float = 1.0) -> None:
    got, want = here(got).astype("f8"), np.asarray(here(want), "f8")
    limit = 4 * EPS[dtype] * scale * max(1.0, float(np.abs(want).max(initial=0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=limit)


def leaf(a: Array, dtype: str = "float32", device: str = "cuda:0") -> Tensor:
    found = tg.tensor(a.astype(dtypes.dtype(dtype)), device=device)
    found.requires_grad = True
    return found


def ran(call: Callable[[], object]) -> dict[str, int]:
    """The launches of a call, by kernel."""
    before = dict(launches())
    call()
    return {k: n - before.get(k, 0) for k, n in launches().items() if n != before.get(k, 0)}


@contextmanager
def precise(precision: str) -> Iterator[None]:
    before = tg.get_float32_matmul_precision()
    tg.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        tg.set_float32_matmul_precision(before)


def bucketed(arrays: list[Array], device: str, dtype: str = "float32") -> list[Any]:
    """Parameters whose gradients lie in one bucket."""
    params = [nn.Parameter(tg.tensor(a.astype(dtypes.dtype(dtype)), device=device)) for a in arrays]
    tg.optim.SGD(params, lr=0.1)
    return params


def network(device: str, arrays: list[Array], dtype: str) -> Any:
    """Two layers with GELU, then one without; parameters in one bucket."""
    params = bucketed(arrays, device, dtype)

    def run(x: Tensor) -> Tensor:
        w1, b1, w2, b2, w3, b3 = params
        return tg.linear(tg.linear_gelu(tg.linear_gelu(x, w1, b1), w2, b2), w3, b3)

    return params, run
