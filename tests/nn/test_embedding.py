"""Embeddings: PyTorch's numbers, what a gradient leaves out, errors, and rotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)

OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding_idx": 2},
    {"padding_idx": -1, "scale_grad_by_freq": True},
    {"max_norm": 1.0},
    {"max_norm": 0.5, "norm_type": 1.0, "padding_idx": 0},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_embedding_is_pytorchs(rng: np.random.Generator, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Embedding(6, 4, **options), nn.Embedding(6, 4, **options)
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    index = rng.integers(0, 6, (3, 5))
    want, got = theirs(torch.tensor(index)), ours(index)
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-6)
    (want**2).sum().backward()
    tg.sum(got**2).backward()
    assert ours.weight.grad is not None
    grad = theirs.weight.grad.numpy()
    np.testing.assert_allclose(ours.weight.grad.numpy(), grad, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        ours.weight.detach().numpy(), theirs.weight.detach().numpy(), rtol=1e-6
    )


def test_the_gradient_of_many_rows_is_the_sum_in_their_order(rng: np.random.Generator) -> None:
    weight = tg.tensor(rng.standard_normal((50, 64)), requires_grad=True)
    index, ct = rng.integers(0, 50, (40, 50)), rng.standard_normal((40, 50, 64))
    F.embedding(index, weight).backward(tg.asarray(ct))
    want = np.zeros((50, 64))
    for row, value in zip(index.reshape(-1), ct.reshape(-1, 64)):
        want[row] += value
    assert weight.grad is not None
    found = weight.grad.numpy()
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)
    assert place.chosen != "cpu" or np.array_equal(found, want)


def test_initial_values_and_pretrained() -> None:
    layer = nn.Embedding(200, 50, padding_idx=3)
    weight = layer.weight.detach().numpy()
    assert not weight[3].any()
    assert abs(weight.std() - 1) < 0.05
    table = np.arange(6.0).reshape(3, 2)
    frozen = nn.Embedding.from_pretrained(table)
    assert not frozen.weight.requires_grad
    assert np.array_equal(frozen(np.array([2, 0])).numpy(), table[[2, 0]])
    assert nn.Embedding.from_pretrained(table, freeze=False).weight.requires_grad


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: F.embedding([[0, 1], [5, 0]], np.ones((3, 2))), IndexError,
         r"embedding: got index 5 at \(1, 0\), expected 0 to 2, a row of weight"),
        (lambda: F.embedding([-1], np.ones((3, 2))), IndexError, r"got index -1 at \(0,\)"),
        (lambda: F.embedding([0.0], np.ones((3, 2))), tg.DTypeError, r'input.astype\("int64"\)'),
        (lambda: F.embedding([0], np.ones(3)), tg.ShapeError, r"expected \(rows, size\)"),
        (lambda: F.embedding([0], np.ones((3, 2)), padding_idx=3), ValueError, "padding_idx=3"),
        (lambda: F.embedding([0], np.ones((3, 2)), sparse=True), ValueError, "sparse=True"),
        (lambda: nn.Embedding(3, 2, sparse=True), ValueError, "try sparse=False"),
        (lambda: nn.Embedding(3, 2, padding_idx=-4), ValueError, "padding_idx=-4"),
        (lambda: nn.Embedding.from_pretrained(np.ones(3)), tg.ShapeError, r"\(rows, size\)"),
        (lambda: F.rotary_embedding(np.ones((2, 3))), tg.ShapeError, "an even size"),
        (lambda: F.rotary_embedding(np.ones((2, 2), int)), tg.DTypeError, "float32"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    if error is IndexError and place.chosen != "cpu":
        pytest.skip("a GPU says so later, and without the place")
    with pytest.raises(error, match=text):
        call()


def test_rotations_depend_on_distances_alone(rng: np.random.Generator) -> None:
    q, k = rng.standard_normal((2, 1, 8))
    layer = nn.RotaryEmbedding(base=100.0)
    assert repr(layer) == "RotaryEmbedding(base=100.0)"

    def product(i: int, j: int) -> float:
        turned = layer(q, np.array([i])) @ layer(k, np.array([j])).T
        return turned.item()

    assert abs(product(3, 1) - product(12, 10)) < 1e-12
    assert abs(product(3, 1) - product(3, 2)) > 1e-3
    x = tg.asarray(rng.standard_normal((2, 5, 8)))
    same = layer(x, np.arange(5)) - layer(x)
    assert np.abs(same.numpy()).max() < 1e-12
