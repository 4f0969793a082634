"""Images read at positions by generated loops: against the operation written op by op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.backend import numpy_sampling, threads
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.ops.nn.grid_sample import MODES, PADDINGS

F = tg.nn.functional


@pytest.fixture
def primitive() -> Any:
    tg.nn.functional.grid_sample(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 1, 2)))
    return PRIMITIVES["grid_sample"]


def both(primitive: Any, x: Any, grid: Any, ct: Any, **options: Any) -> tuple[Any, Any]:
    """(value, cotangent of x, of grid) by the loops, and by the reference."""
    found = []
    for reference in (False, True):
        a, g = (tg.tensor(v, requires_grad=True) for v in (x, grid))
        y = F.grid_sample(a, g, **options)
        assert y.node is not None
        if y.node.primitive is not primitive:
            pytest.skip("no generated code")
        if reference:
            y = primitive.reference(a, g, **y.node.params)
        y.backward(ct)
        grads = [np.zeros(v.shape) if v.grad is None else v.grad.numpy() for v in (a, g)]
        found.append((y.detach().numpy(), *grads))
    return found[0], found[1]


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_the_loops_are_the_reference(
    mode: str, padding: str, corners: bool, primitive: Any, rng: np.random.Generator
) -> None:
    how = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    sizes: list[Any] = [((2, 3, 5, 7), (9, 5)), ((1, 1, 1, 4), (1, 17))]
    if mode != "bicubic":
        sizes.append(((2, 2, 3, 4, 5), (3, 2, 7)))
    for shape, places in sizes:
        rank = len(places)
        x = rng.standard_normal(shape)
        grid = rng.uniform(-2.5, 2.5, (shape[0], *places, rank))
        ct = rng.standard_normal((*shape[:2], *places))
        for a, b in zip(*both(primitive, x, grid, ct, **how), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
        small = both(primitive, *(v.astype("f4") for v in (x, grid, ct)), **how)
        for a, b in zip(*small, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_what_is_no_number_stays_where_it_is(mode: str, primitive: Any) -> None:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    x[0, 0, 0, 0], x[0, 0, 2, 2] = np.nan, np.inf
    grid = np.array([[-5.0, 0], [0, 9], [np.nan, 0], [0.9, -0.9], [1e30, -1e30], [-0.9, -0.9]])
    ct = np.array([1, 2, np.inf, 4, np.nan, 6.0]).reshape(1, 1, 1, 6)
    loops, reference = both(primitive, x, grid.reshape(1, 1, 6, 2), ct, mode=mode)
    for a, b in zip(loops, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(loops[0].reshape(-1)[[0, 1, 2, 4]], 0)


def test_layouts_and_single_cotangents(
    primitive: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = rng.standard_normal((2, 4, 6, 5)).swapaxes(2, 3)[:, ::2]
    grid = rng.uniform(-1, 1, (2, 3, 8, 2))[:, :, ::-1]
    ct = np.broadcast_to(rng.standard_normal((2, 1, 3, 1)), (2, 2, 3, 8))
    loops, reference = both(primitive, x, grid, ct)
    for a, b in zip(loops, reference, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(numpy_sampling, "TOGETHER", 0)
    for a, b in zip(both(primitive, x, grid, ct)[0], loops, strict=True):
        np.testing.assert_array_equal(a, b)
    for k, want in ((0, loops[1]), (1, loops[2])):
        given = [tg.tensor(v, requires_grad=k == j) for j, v in enumerate((x, grid))]
        F.grid_sample(*given).backward(ct)
        np.testing.assert_array_equal(given[k].grad.numpy(), want)


def test_any_number_of_threads_gives_the_same_bits(
    primitive: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, grid = rng.standard_normal((7, 2, 8, 8)), rng.uniform(-1, 1, (7, 5, 9, 2))
    ct = rng.standard_normal((7, 2, 5, 9))
    alone, _ = both(primitive, x, grid, ct)
    monkeypatch.setattr(numpy_sampling, "WORK", 1)
    before = threads.get_num_threads()
    try:
        threads.set_num_threads(3)
        for a, b in zip(alone, both(primitive, x, grid, ct)[0], strict=True):
            np.testing.assert_array_equal(a, b)
    finally:
        threads.set_num_threads(before)
