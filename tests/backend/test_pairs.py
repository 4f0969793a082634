"""Distances of all pairs by generated loops: against NumPy, where rows end, tie and coincide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.backend import numpy_pairs, threads
from tensorgrad.codegen import pairs as generated
from tensorgrad.codegen.conv import NARROW, OLD, WIDE
from tensorgrad.core.primitive import PRIMITIVES

P = (1.0, 2.0, float("inf"))
SHAPES = (
    ((5, 3), (7, 3)), ((1, 17), (1, 17)), ((2, 4, 33), (2, 9, 33)), ((6, 64), (3, 5, 64)),
    ((3, 1, 2, 5), (4, 6, 5)), ((70, 20), (30, 20)),
)  # fmt: skip


@pytest.fixture(autouse=True)
def loops() -> None:
    if not numpy_pairs.generated(2.0, np.dtype("float64")):
        pytest.skip("no generated code")


def by_numpy(x: Any, y: Any, p: float) -> tuple[Any, Any]:
    """The distances, and the slope of each in its difference."""
    d = x[..., :, None, :] - y[..., None, :, :]
    found = np.linalg.norm(d, p, -1)
    by = found[..., None]
    if p == 2:
        return found, np.divide(d, by, out=np.zeros_like(d), where=by != 0)
    if p == 1:
        return found, np.sign(d)
    hits = (np.abs(d) == by) & (by != 0)
    return found, np.sign(d) * hits / np.maximum(hits.sum(-1, keepdims=True), 1)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("p", P)
def test_distances_and_what_they_pull(p: float, dtype: str, rng: np.random.Generator) -> None:
    tolerance = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-13}[dtype]
    for left, right in SHAPES:
        # Whole numbers tie, and some rows are equal.
        x, y = (rng.integers(-2, 3, s).astype(dtype) for s in (left, right))
        want, slope = by_numpy(x.astype("f8"), y.astype("f8"), p)
        a, b = (tg.tensor(v, requires_grad=True) for v in (x, y))
        found = tg.nn.functional.cdist(a, b, p)
        assert found.node is not None
        assert found.node.primitive is PRIMITIVES["cdist"]
        np.testing.assert_allclose(found.detach().numpy(), want, rtol=tolerance)
        ct = rng.integers(-2, 3, want.shape).astype(dtype)
        found.backward(ct)
        whole = ct[..., None] * slope
        for leaf, g in ((a, whole.sum(-2)), (b, -whole.sum(-3))):
            lead = g.ndim - leaf.ndim
            axes = [k for k in range(g.ndim) if k < lead or leaf.shape[k - lead] != g.shape[k]]
            g = g.sum(tuple(axes), keepdims=True).reshape(leaf.shape)
            np.testing.assert_allclose(leaf.grad.numpy(), g, rtol=tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("p", P)
def test_pairs_of_one_matrix(p: float, rng: np.random.Generator) -> None:
    x = rng.standard_normal((37, 19))
    x[5] = x[9]
    want, slope = by_numpy(x, x, p)
    upper = np.triu_indices(37, 1)
    a = tg.tensor(x, requires_grad=True)
    found = tg.nn.functional.pdist(a, p)
    np.testing.assert_allclose(found.detach().numpy(), want[upper], rtol=1e-13)
    ct = rng.standard_normal(found.shape)
    found.backward(ct)
    whole = np.zeros((37, 37))
    whole[upper] = ct
    whole = whole[..., None] * slope
    np.testing.assert_allclose(a.grad.numpy(), whole.sum(1) - whole.sum(0), atol=1e-12)


@pytest.mark.parametrize("p", P)
def test_close_rows_keep_their_digits_and_nan_is_seen(p: float) -> None:
    x = np.full((3, 4), 1e6)
    x[1] += 1e-3
    x[2, 1] = np.nan
    a = tg.tensor(x, requires_grad=True)
    found = tg.nn.functional.cdist(a, a, p)
    np.testing.assert_allclose(found.detach().numpy()[:2, :2], by_numpy(x[:2], x[:2], p)[0])
    assert np.isnan(found.detach().numpy()[2]).all()
    assert not found.detach().numpy()[0, 0]
    found.sum().backward()
    assert np.isnan(a.grad.numpy()).any(axis=1).all()


@pytest.mark.parametrize("p", P)
def test_any_number_of_threads_gives_the_same_bits(
    p: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (rng.standard_normal((n, 24)).astype("f4") for n in (101, 67))
    ct = rng.standard_normal((101, 67)).astype("f4")

    def run() -> list[Any]:
        found, kept = numpy_pairs.cdist(x, y, p=p)
        pulled = numpy_pairs.cdist_pull(ct, (0, 1), (x, y, kept), {"p": p})
        return [found, *[g for _, g in pulled]]

    alone = run()
    monkeypatch.setattr(numpy_pairs, "WORK", 64)
    monkeypatch.setattr(numpy_pairs, "PANEL", 1)
    before = threads.get_num_threads()
    try:
        threads.set_num_threads(3)
        for a, b in zip(alone, run(), strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        threads.set_num_threads(before)


@pytest.mark.parametrize("what", ["distance", "pull", "ties"])
@pytest.mark.parametrize("p", P)
def test_the_tiles_of_other_processors(
    p: float, what: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As wide as here or narrower; the bits are the same where both multiply and add in one."""
    kind, dtype = numpy_pairs.KINDS[p], np.dtype("float32")
    x, y = (rng.integers(-9, 9, (2, n, 32)).astype(dtype) / 8 for n in (7, 10))
    r = rng.integers(-3, 3, (2, 7, 10)).astype(dtype)
    found = []
    for has in (WIDE, NARROW, OLD):
        monkeypatch.setattr(generated, "registers", lambda has=has: has)
        out = np.empty(x.shape if what == "pull" else r.shape, dtype)
        generated._build(kind, what, dtype)(x, y, r, np.abs(r), out)
        found.append(out)
    for other in found[1:]:  # whole eighths: sums and products are exact
        np.testing.assert_array_equal(found[0], other)
