"""Clipping of gradients and constraints on weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim


def params(rng: np.random.Generator, scale: float = 1.0) -> list[Any]:
    found = [nn.Parameter(rng.standard_normal(shape)) for shape in ((3, 4), (5,), ())]
    for p in found:
        p.grad = tg.tensor(scale * rng.standard_normal(p.shape))
    return [*found, nn.Parameter([1.0])]  # the last has no gradient


def flat(found: list[Any]) -> Any:
    return np.concatenate([p.grad.numpy().ravel() for p in found if p.grad is not None])


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, float("inf")])
def test_clip_grad_norm(norm_type: float, rng: np.random.Generator) -> None:
    found = params(rng)
    before = flat(found).copy()
    norm = np.linalg.norm(before, norm_type)
    assert optim.grad_norm(found, norm_type).item() == pytest.approx(norm, rel=1e-12)
    assert optim.clip_grad_norm_(found, 1e9, norm_type).item() == pytest.approx(norm, rel=1e-12)
    np.testing.assert_array_equal(flat(found), before)
    got = optim.clip_grad_norm_(found, 0.5, norm_type)
    assert got.item() == pytest.approx(norm, rel=1e-12)
    np.testing.assert_allclose(flat(found), before * 0.5 / (norm + 1e-6), rtol=1e-12)


def test_clip_in_the_bucket(rng: np.random.Generator) -> None:
    w = nn.Parameter(np.ones(3, np.float32))
    opt = optim.SGD([w], lr=1.0)
    (w * 1e30).sum().backward()  # the squares overflow float32
    norm = optim.clip_grad_norm_([w], 1.0)
    assert norm.item() == pytest.approx(3**0.5 * 1e30, rel=1e-6)
    assert w.grad is not None
    assert w.grad.data is w.node.into  # type: ignore[union-attr]
    opt.step()
    np.testing.assert_allclose(w.detach().numpy(), 1 - 3**-0.5, rtol=1e-5)


def test_clip_as_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    found = params(rng)
    theirs = []
    for p in found[:3]:
        q = torch.tensor(p.detach().numpy())
        q.grad = torch.tensor(p.grad.numpy())
        theirs.append(q)
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    assert optim.clip_grad_norm_(found, 0.7).item() == pytest.approx(norm.item(), rel=1e-12)
    want = np.concatenate([q.grad.numpy().ravel() for q in theirs])
    np.testing.assert_allclose(flat(found), want, rtol=1e-12)


def test_clip_corner_cases(rng: np.random.Generator) -> None:
    assert optim.clip_grad_norm_([nn.Parameter([1.0])], 1.0).item() == 0
    found = params(rng)
    optim.clip_grad_norm_(found[0], 1e-3)  # one tensor
    assert optim.grad_norm(found[0]).item() < 1e-3
    found[0].grad = tg.tensor(np.full((3, 4), np.nan))
    with pytest.raises(tg.GradientError, match="got a gradient norm of nan"):
        optim.clip_grad_norm_(found, 1.0, error_if_nonfinite=True)
    with pytest.raises(ValueError, match="max_norm >= 0"):
        optim.clip_grad_norm_(found, -1.0)
    with pytest.raises(ValueError, match="norm_type"):
        optim.grad_norm(found, 0)


def test_clip_grad_value(rng: np.random.Generator) -> None:
    found = params(rng, 3.0)
    before = flat(found).copy()
    optim.clip_grad_value_(found, 0.5)
    np.testing.assert_array_equal(flat(found), np.clip(before, -0.5, 0.5))


def test_soft_threshold(rng: np.random.Generator) -> None:
    w = nn.Parameter(np.array([1.0, -1.0, 0.05, -0.05, 0.0]))
    opt = optim.SGD([w], lr=1.0)
    array = w.data
    optim.soft_threshold_([w], 0.1)
    np.testing.assert_allclose(w.detach().numpy(), [0.9, -0.9, 0, 0, 0])
    assert w.data is array
    assert w.requires_grad
    # the proximal step minimises ½(x - w)² + t|x|
    values = rng.standard_normal(50)
    p = nn.Parameter(values.copy())
    optim.soft_threshold_(p, 0.3)
    grid = np.linspace(-4, 4, 80001)
    best = grid[((grid[:, None] - values) ** 2 / 2 + 0.3 * abs(grid[:, None])).argmin(0)]
    np.testing.assert_allclose(p.detach().numpy(), best, atol=2e-4)
    opt.step()


def test_max_norm(rng: np.random.Generator) -> None:
    w = nn.Parameter(rng.standard_normal((6, 4)))
    before = np.array(w.detach().numpy())
    optim.max_norm_([w], 1.5)
    norms = np.linalg.norm(before, axis=1, keepdims=True)
    np.testing.assert_allclose(w.detach().numpy(), before * np.minimum(1, 1.5 / norms))
    bias = nn.Parameter(np.array([3.0, -0.5, 0.0]))
    optim.max_norm_(bias, 1.0)
    assert bias.tolist() == [1.0, -0.5, 0.0]
    columns = nn.Parameter(before.copy())
    optim.max_norm_(columns, 1.0, dim=-1)
    assert np.linalg.norm(columns.detach().numpy(), axis=0).max() <= 1 + 1e-12
    with pytest.raises(tg.ShapeError, match="max_norm_"):
        optim.max_norm_(nn.Parameter(np.float64(1.0)), 1.0)


def test_constraints_are_noticed_by_backward() -> None:
    w = nn.Parameter(np.ones((2, 2)))
    loss = (w * w).sum()
    optim.max_norm_(w, 0.5)
    with pytest.raises(tg.InPlaceError):
        loss.backward()
