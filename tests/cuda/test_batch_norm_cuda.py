"""Batch, group and instance norm on the CUDA backend: no array is turned, sums in float32."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.nn import functional as F  # noqa: N812

EPS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
SHAPES = [(6, 4), (3, 4, 5), (2, 4, 3, 16), (1, 4, 70), (9, 4, 1, 2, 2)]


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def batch(x: Any, w: Any, b: Any) -> Any:
    return F.batch_norm(x, None, None, w, b, training=True)


def fixed(x: Any, w: Any, b: Any) -> Any:
    kept = (tg.zeros(4, dtype=x.dtype, device=x.device), tg.ones(4, dtype=x.dtype, device=x.device))
    return F.batch_norm(x, *kept, w, b)


def grouped(x: Any, w: Any, b: Any) -> Any:
    return F.group_norm(x, 2, w, b)


def values(function: Any, device: str, arrays: list[Any]) -> list[Any]:
    ct, *given = [tg.tensor(a, device=device) for a in arrays]
    for t in given:
        t.requires_grad = True
    y = function(*given)
    y.backward(ct)
    return [here(t) for t in (y, *(t.grad for t in given))]


def test_values(gpu: Any, rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    """A case of each function by chance; with --full every one."""
    cases = list(product(SHAPES, EPS))
    full = request.config.getoption("--full")
    for function in (batch, fixed, grouped):
        for k in range(len(cases)) if full else rng.choice(len(cases), 2, False):
            shape, dtype = cases[k]
            check(shape, function, dtype, rng)


def largest_term(function: Any, ct: Any, x: Any, w: Any) -> float:
    """Of those that x's gradient is the difference of: where values are near each other, larger."""
    rows = x.reshape(2 * len(x), -1) if function is grouped else np.moveaxis(x, 1, 0).reshape(4, -1)
    least = 1.0 if function is fixed else rows.var(1).min() + 1e-5
    return float(np.abs(ct).max() * np.abs(w).max() / np.sqrt(least))


def check(shape: Any, function: Any, dtype: str, rng: np.random.Generator) -> None:
    kind = dtypes.dtype(dtype)
    arrays = [rng.standard_normal(s).astype(kind) for s in (shape, shape, (4,), (4,))]
    before = dict(launches())
    got = values(function, "cuda:0", arrays)
    counts = {k: n - before.get(k, 0) for k, n in launches().items() if n > before.get(k, 0)}
    wide = [a.astype("f8") for a in arrays]
    want, terms = values(function, "cpu", wide), largest_term(function, *wide[:3])
    count = arrays[0].size // 4
    for place, (g, w) in enumerate(zip(got, want, strict=True)):
        assert g.dtype == kind
        atol = 16 * min(EPS[dtype], 2.0**-19) * (4 + np.abs(w).max()) * (count if place > 1 else 8)
        if EPS[dtype] > 2.0**-19:  # backward reads mean and variance as they were rounded
            atol += 4 * EPS[dtype] * np.abs(w).max()
        if place == 1:
            atol += 16 * min(EPS[dtype], 2.0**-19) * terms
        np.testing.assert_allclose(g.astype("f8"), w, rtol=2 * EPS[dtype], atol=atol)
    assert any(name.startswith("rows_") for name in counts)
    assert not any("transpose" in name or "strided" in name for name in counts), counts


def test_running_statistics_stay_on_the_device(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 3, 4)).astype("f4")
    for momentum in (0.1, None):
        layers = [tg.nn.BatchNorm1d(3, momentum=momentum, device=d) for d in ("cpu", "cuda:0")]
        for _ in range(2):
            ys = [layer(tg.tensor(x, device=d)) for layer, d in zip(layers, ("cpu", "cuda:0"))]
        np.testing.assert_allclose(*[here(y.detach()) for y in ys], atol=1e-5)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            a, b = (getattr(layer, name) for layer in layers)
            assert str(b.device) == "cuda:0"
            np.testing.assert_allclose(here(a), here(b), rtol=1e-5, atol=1e-6)


def trained(momentum: float | None, batches: Any, captured: bool) -> list[Any]:
    """The state of a layer after three steps; a capture runs two of its first batch to warm up."""
    layer = tg.nn.BatchNorm1d(3, momentum=momentum, device="cuda:0")

    def step(x: Any) -> Any:
        layer.zero_grad()
        loss = (layer(x) ** 3).sum()
        loss.backward()
        return loss

    given = [tg.tensor(x, device="cuda:0") for x in batches]
    if captured:
        run = tg.cuda.capture(step, (given[0],))
    else:
        run = step
        for _ in range(2):
            step(given[0])
    for x in given:
        run(x)
    return [here(v) for v in layer.state_dict().values()]


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_captured_step_counts_on(
    momentum: float | None, gpu: Any, rng: np.random.Generator
) -> None:
    batches = rng.standard_normal((3, 5, 3, 4)).astype("f4")
    eager, captured = (trained(momentum, batches, how) for how in (False, True))
    assert eager[-1] == 5
    for a, b in zip(eager, captured, strict=True):
        np.testing.assert_array_equal(a, b)
