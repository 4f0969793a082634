"""What works on modules from outside: batch norm fused into a layer, norms, sparse weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import utils

Rng = np.random.Generator

FUSED = [
    ("Linear", (4, 6), {"bias": False}, (5, 4)),
    ("Conv1d", (4, 6, 2), {}, (3, 4, 5)),
    ("Conv2d", (4, 6, 3), {"groups": 2, "bias": False}, (2, 4, 5, 5)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2}, (2, 4, 5)),
    ("ConvTranspose2d", (4, 6, 3), {"groups": 2}, (2, 4, 5, 5)),
]


@pytest.mark.parametrize(("name", "args", "options", "shape"), FUSED)
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_fuses(
    name: str, args: Any, options: Any, shape: Any, affine: bool, rng: Rng
) -> None:
    layer = getattr(nn, name)(*args, **options, dtype="float64")
    bn: Any = getattr(nn, f"BatchNorm{max(len(shape) - 2, 1)}d")(6, affine=affine, dtype="float64")
    x = tg.tensor(rng.standard_normal(shape))
    for _ in range(2):
        bn(layer(x))
    for param in bn.parameters():
        nn.init.normal_(param)
    fuse = utils.fuse_linear_bn_eval if name == "Linear" else utils.fuse_conv_bn_eval
    with pytest.raises(ValueError, match=f"{fuse.__name__}: got training=True and True"):
        fuse(layer, bn)
    layer.eval(), bn.eval()
    with pytest.raises(ValueError, match="got 6 outputs, num_features=3, expected as many"):
        fuse(layer, type(bn)(3).eval())
    with tg.no_grad():
        np.testing.assert_allclose(fuse(layer, bn)(x).numpy(), bn(layer(x)).numpy(), atol=1e-12)


def test_norms_of_any_tensors(rng: Rng) -> None:
    values = [rng.standard_normal((3, 2)), rng.standard_normal(4), np.zeros((0, 2))]
    flat = np.concatenate([v.ravel() for v in values])
    tensors = [tg.tensor(v) for v in values]
    for p in (1, 2.0, 3, float("inf")):
        want = np.linalg.norm(flat, p)
        assert np.isclose(utils.get_total_norm(tensors, p).item(), want)
    assert utils.get_total_norm([]).item() == 0
    with pytest.raises(tg.GradientError, match="get_total_norm: got a norm of inf"):
        utils.get_total_norm(tg.tensor([np.inf]), error_if_nonfinite=True)
    params = [nn.Parameter(v) for v in values]
    for param, value in zip(params[:2], values):
        param.grad = tg.tensor(value)
    utils.clip_grads_with_norm_(params, 0.5, utils.get_total_norm(tensors))
    clipped = utils.get_total_norm([p.grad for p in params[:2]])
    assert np.isclose(clipped.item(), 0.5, atol=1e-5)
    assert params[2].grad is None


def test_sparse_weights() -> None:
    w = nn.init.sparse_(tg.ones((10, 4)), 0.25, std=2.0)
    assert ((w.numpy() == 0).sum(axis=0) == 3).all()
    with pytest.raises(tg.ShapeError, match=r"sparse_: got a tensor of shape \(3,\)"):
        nn.init.sparse_(tg.ones((3,)), 0.5)
    with pytest.raises(ValueError, match=r"sparse_: got sparsity=1\.5"):
        nn.init.sparse_(tg.ones((3, 3)), 1.5)


def test_sequences_out_of_their_padding() -> None:
    padded = tg.tensor([[1.0, 2.0], [3.0, 0.0]])
    found = nn.utils.rnn.unpad_sequence(padded, [2, 1], batch_first=True)
    assert [x.tolist() for x in found] == [[1.0, 2.0], [3.0]]
    with pytest.raises(ValueError, match="unpad_sequence: got lengths"):
        nn.utils.rnn.unpad_sequence(padded, [3, 1])


def test_gradients_as_zeros() -> None:
    layer = nn.Linear(2, 1)
    tg.sum(layer(tg.ones((1, 2), dtype="float32"))).backward()
    layer.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in layer.parameters())
    layer.zero_grad()
    assert all(p.grad is None for p in layer.parameters())
