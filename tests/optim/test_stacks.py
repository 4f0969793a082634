"""Parameters of one shape are updated together: as each would be by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.optim import by_tensor

SHAPES = [(4, 3), (5,), (4, 3), (), (2, 3, 2), (4, 3), (5,), (0, 3), (), (4, 3), (2, 3, 2), (1,)]
KINDS: dict[str, Any] = {
    "LARS": lambda p: optim.LARS(p, weight_decay=0.1),
    "LAMB": lambda p: optim.LAMB(p, 0.02, weight_decay=0.1),
    "Adafactor": lambda p: optim.Adafactor(p, weight_decay=0.1),
    "Muon": lambda p: optim.Muon(p),
}


def drawn(name: str, rng: np.random.Generator) -> list[Any]:
    """Values, every other matrix of them column by column in memory."""
    shapes = [shape for shape in SHAPES if name != "Muon" or (len(shape) == 2 and shape[0])]
    values = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
    return [np.asfortranarray(v) if k % 4 == 2 else v for k, v in enumerate(values)]


@pytest.mark.parametrize("most", [1, 24, 1 << 18])
@pytest.mark.parametrize("limit", [None, 0.5])
@pytest.mark.parametrize("name", KINDS)
def test_as_each_alone(
    name: str, limit: float | None, most: int, rng: np.random.Generator, monkeypatch: Any
) -> None:
    monkeypatch.setattr(by_tensor, "MOST", most)
    values = drawn(name, rng)
    together = [nn.Parameter(tg.tensor(v)) for v in values]
    alone = [nn.Parameter(tg.tensor(v)) for v in values]
    opt, each = KINDS[name](together), [KINDS[name]([p]) for p in alone]
    opt.max_grad_norm = limit
    for _ in range(6):
        gone = rng.random(len(values)) < 0.3
        grads = [None if out else rng.standard_normal(v.shape) for v, out in zip(values, gone)]
        there = [g for g in grads if g is not None]
        norm = np.sqrt(sum(float((g * g).sum()) for g in there))
        factor = 1.0 if limit is None else min(1.0, limit / (norm + 1e-6))
        for p, q, g in zip(together, alone, grads):
            p.grad = None if g is None else tg.tensor(g)
            q.grad = None if g is None else tg.tensor(g * factor)
        opt.step()
        for one in each:
            one.step()
    for p, q in zip(together, alone):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-12)
    for number, one in enumerate(each):
        want = one.state_dict()["state"].get(0, {})
        found = opt.state_dict()["state"].get(number, {})
        assert found.keys() == want.keys()
        for key in want.keys() - {"step"}:
            assert found[key].shape == want[key].shape
            got = found[key].numpy()  # a mean of gradients may cancel
            np.testing.assert_allclose(got, want[key].numpy(), rtol=1e-11, atol=1e-13)


def test_an_average_forgets_what_was_large() -> None:
    """With a share near 1 of the newest the mean square has its digits, not the old one's."""
    w = nn.Parameter(tg.tensor([[1.0], [1.0]], dtype="float32"))
    opt = optim.Adafactor([w], beta2_decay=-0.01)
    for size in (1e4, 1e-4):
        w.grad = tg.tensor([[size], [size]], dtype="float32")
        opt.step()
    share = 2**-0.01
    want = (1 - share) * 1e8 + share * 1e-8
    assert opt.state[w]["row_var"].numpy().ravel() == pytest.approx([want] * 2, rel=1e-6)
