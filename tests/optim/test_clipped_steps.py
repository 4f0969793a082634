"""Clipping as a part of the step, against clipping before it, and the norm that both use."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.optim.norm import BLOCK, joint_norm

MAKERS: dict[str, Any] = {
    "SGD": lambda p, **kw: optim.SGD(p, 0.05, weight_decay=0.01, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, 0.05, 0.9, 0.1, 0.01, **kw),
    "NAG": lambda p, **kw: optim.NAG(p, 0.05, 0.9, 0.01, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, 0.01, weight_decay=0.01, **kw),
    "AdamW": lambda p, **kw: optim.AdamW(p, 0.01, **kw),
    "ascent": lambda p, **kw: optim.NAG(p, 1e-3, maximize=True, **kw),
    "RMSprop": lambda p, **kw: optim.RMSprop(p, 1e-3, eps=1e-2, momentum=0.5, **kw),
    "LAMB": lambda p, **kw: optim.LAMB(p, 0.01, eps=1e-2, weight_decay=0.1, **kw),
    "LARS ascent": lambda p, **kw: optim.LARS(p, 0.1, maximize=True, **kw),
    "Adafactor": lambda p, **kw: optim.Adafactor(p, eps=(1e-2, 1e-3), **kw),
}


def network(dtype: str = "float32") -> Any:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batch(rng: np.random.Generator, dtype: str = "float32") -> Any:
    return tg.asarray(rng.standard_normal((16, 6)).astype(dtype))


def backward(net: Any, opt: Any, x: Any) -> None:
    opt.zero_grad()
    (net(x) ** 2).mean().backward()


def values(net: Any) -> list[Any]:
    return [np.array(p.detach().numpy()) for p in net.parameters()]


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-13), ("float32", 1e-6)])
@pytest.mark.parametrize("name", MAKERS)
def test_as_clipping_first(name: str, dtype: str, bound: float, rng: np.random.Generator) -> None:
    """Two groups, and a parameter without a gradient in some steps."""
    net = network(dtype)
    twin, x = copy.deepcopy(net), batch(rng, dtype)
    groups = [[{"params": n[0].parameters()}, {"params": n[2].parameters()}] for n in (net, twin)]
    ours, theirs = MAKERS[name](groups[0], max_grad_norm=0.1), MAKERS[name](groups[1])
    for step in range(20):
        backward(net, ours, x)
        backward(twin, theirs, x)
        if step % 3 == 1:
            net[0].weight.grad = twin[0].weight.grad = None
        before = [None if p.grad is None else np.array(p.grad.numpy()) for p in net.parameters()]
        optim.clip_grad_norm_(twin.parameters(), 0.1)
        ours.step()
        theirs.step()
        parts = [gradient.ravel() for gradient in before if gradient is not None]
        norm = np.linalg.norm(np.concatenate(parts).astype("f8"))
        assert ours.grad_norm == pytest.approx(norm, rel=bound)
        assert step or norm > 0.1  # clipped at first, later not always
        for p, gradient in zip(net.parameters(), before):
            assert (p.grad is None) == (gradient is None)
            assert p.grad is None or np.array_equal(p.grad.numpy(), gradient)
    for a, b in zip(values(net), values(twin)):
        np.testing.assert_allclose(a, b, rtol=0, atol=bound)


def test_as_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    start, goal = rng.standard_normal((40, 30)), 5 * rng.standard_normal((40, 30))
    p, q = nn.Parameter(start.copy()), torch.tensor(start, requires_grad=True)
    a, b = optim.AdamW([p], 0.01, max_grad_norm=2.0), torch.optim.AdamW([q], 0.01)
    for _ in range(30):
        p.grad, q.grad = tg.tensor(p.detach().numpy() - goal), q.detach() - torch.tensor(goal)
        norm = torch.nn.utils.clip_grad_norm_([q], 2.0)
        a.step()
        b.step()
        assert a.grad_norm == pytest.approx(norm.item(), rel=1e-12)
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-12)


def test_a_limit_that_is_not_reached_changes_no_bit(rng: np.random.Generator) -> None:
    net, x = network(), batch(rng)
    twin = copy.deepcopy(net)
    plain, limited = optim.Adam(net.parameters()), optim.Adam(twin.parameters(), max_grad_norm=1e9)
    for _ in range(5):
        backward(net, plain, x)
        backward(twin, limited, x)
        plain.step()
        limited.step()
    assert all(np.array_equal(a, b) for a, b in zip(values(net), values(twin)))
    assert plain.grad_norm is None
    assert limited.grad_norm == pytest.approx(optim.grad_norm(twin.parameters()).item(), rel=1e-6)
    limited.max_grad_norm = None
    limited.step()
    assert limited.grad_norm is None


def test_a_users_rule(rng: np.random.Generator) -> None:
    class Descent(optim.Optimizer):
        rule = staticmethod(tg.fuse(lambda param, grad, lr: param - lr * grad))

        def scalars(self, group: Any, step: int) -> Any:
            return (group["lr"],)

    start, gradient = rng.standard_normal(9), rng.standard_normal(9)
    w = nn.Parameter(start.copy())
    w.grad = tg.tensor(gradient)
    Descent([w], {"lr": 0.5}, max_grad_norm=0.1).step()
    scale = 0.1 / (np.linalg.norm(gradient) + 1e-6)
    want = start - 0.5 * scale * gradient
    np.testing.assert_allclose(w.detach().numpy(), want, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "complex128"])
def test_other_dtypes(kind: str, rng: np.random.Generator) -> None:
    w = nn.Parameter(tg.tensor([3.0, 4.0, 0.0]).astype(kind))
    opt = optim.SGD([w], 1.0, max_grad_norm=2.5)
    w.grad = tg.tensor([300.0, 400.0, 0.0]).astype(kind)
    opt.step()
    assert opt.grad_norm == pytest.approx(500, rel=1e-3)
    np.testing.assert_allclose(w.detach().numpy().astype("c16"), [1.5, 2.0, 0.0], rtol=4e-3)


def test_norms_that_are_no_number() -> None:
    for bad in (math.nan, math.inf):
        w = nn.Parameter([1.0, 2.0])
        opt = optim.SGD([w], 1.0, max_grad_norm=1.0)
        w.grad = tg.tensor([bad, 1.0], dtype="float32")
        opt.step()
        assert opt.grad_norm is not None
        assert not math.isfinite(opt.grad_norm)
        assert math.isnan(w.tolist()[0])
    opt = optim.SGD([nn.Parameter([1.0])], max_grad_norm=1.0)
    opt.step()
    assert opt.grad_norm == 0


def test_the_limit_is_checked_and_copied() -> None:
    w = nn.Parameter([1.0])
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match="Adam: got max_grad_norm="):
            optim.Adam([w], max_grad_norm=bad)
    opt = optim.Adam([w], max_grad_norm=2.0)
    for twin in (copy.deepcopy(opt), pickle.loads(pickle.dumps(opt))):
        assert twin.max_grad_norm == 2.0
    with pytest.raises(ValueError, match="got a group with 'max_grad_norm'"):
        optim.Adam([{"params": [w], "max_grad_norm": 1.0}])


# -- the norm --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 5])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "complex64"])
def test_norm(dtype: str, size: int, rng: np.random.Generator) -> None:
    array = rng.standard_normal(size).astype(dtype)
    if dtype == "complex64":
        array += np.complex64(1j) * rng.standard_normal(size).astype(np.float32)
    want = np.linalg.norm(array.astype("c16"))
    assert joint_norm([array]) == pytest.approx(want, rel=1e-13 if dtype == "float64" else 3e-7)


@pytest.mark.parametrize(
    ("dtype", "factors"), [("float32", (1e-38, 1e-23, 1e30)), ("float64", (1e-300, 1e-170, 1e300))]
)
def test_norm_neither_overflows_nor_underflows(
    dtype: str, factors: tuple[float, ...], rng: np.random.Generator
) -> None:
    array = rng.uniform(0.1, 1, 3 * BLOCK + 7).astype(dtype)
    one = np.linalg.norm(array.astype("f8"))
    for factor in factors:
        part = array * array.dtype.type(factor)
        want = one * float(array.dtype.type(factor))
        assert joint_norm([part]) == pytest.approx(want, rel=1e-6)
        assert joint_norm([part, part]) == pytest.approx(math.sqrt(2) * want, rel=1e-6)


def test_norm_of_layouts_and_special_values(rng: np.random.Generator) -> None:
    matrix = rng.standard_normal((70, 90))
    for part in (matrix.T, matrix[::2], np.broadcast_to(matrix[0], (50, 90)), matrix[0, 0]):
        assert joint_norm([np.asarray(part)]) == pytest.approx(np.linalg.norm(part), rel=1e-13)
    zeros = np.zeros(2 * BLOCK, np.float32)
    assert joint_norm([]) == joint_norm([zeros]) == 0
    assert joint_norm([zeros, np.array([math.inf])]) == math.inf
    assert math.isnan(joint_norm([np.array([math.inf]), np.array([math.nan])]))
