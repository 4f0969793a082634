"""Attention by blocks beside its reference: many blocks, dropout, memory, threads, errors."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad.backend import attention_short, numpy_attention
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.testing import check_grad

sdpa = F.scaled_dot_product_attention


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that small arrays have many."""
    monkeypatch.setattr(numpy_attention, "QUERIES", 3)
    monkeypatch.setattr(numpy_attention, "CAUSAL", 2)
    monkeypatch.setattr(numpy_attention, "KEYS", 2)


@pytest.fixture(params=["blocks", "together", "some", "again"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many blocks; all heads at once, some of them, and none of their shares kept."""
    if request.param == "blocks":
        request.getfixturevalue("blocks")
    elif request.param != "together":
        monkeypatch.setattr(numpy_attention, "TOGETHER", 3 * 56)
    if request.param == "again":
        monkeypatch.setattr(attention_short, "SPARE", 0)


def inputs(rng: np.random.Generator, heads: int = 4, groups: int = 2) -> list[Any]:
    q, k = rng.standard_normal((2, heads, 8, 3)), rng.standard_normal((2, groups, 7, 3))
    return [q, k, rng.standard_normal((2, groups, 7, 5))]


MASKS: dict[str, Any] = {
    "none": lambda rng: None,
    "bools": lambda rng: rng.random((2, 1, 8, 7)) < 0.5,
    "keys": lambda rng: np.arange(7) < np.array([3, 7])[:, None, None, None],
    "added": lambda rng: rng.standard_normal((4, 8, 7)),
    "one": lambda rng: rng.standard_normal((1, 1)),
}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", MASKS)
def test_many_blocks_are_the_reference(
    rng: np.random.Generator, ways: None, kind: str, causal: bool, dropout: float
) -> None:
    """Values and all gradients; the mask and the causal rule together are the layers' to use."""
    primitive: Any = PRIMITIVES["attention_masked"]
    mask = MASKS[kind](rng)
    mask = (
        np.ones((1,) * 4, bool)
        if mask is None
        else mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    )
    arrays = [*inputs(rng, 4, int(rng.choice([2, 4]))), mask, np.array(5, np.uint64)]
    options = {"scale": 0.7, "causal": causal, "p": dropout, "key": 3}
    moving = (0, 1, 2, 3) if mask.dtype != bool else (0, 1, 2)
    weight = rng.standard_normal((2, 4, 8, 5))
    found = [
        tg.value_and_grad(lambda *a, f=f: tg.sum(f(*a, **options) * weight), moving)(*arrays)
        for f in (primitive.bind, primitive.reference)
    ]
    (got, grads), (want, slow) = found
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    for a, b in zip(grads, slow):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_with_many_blocks(rng: np.random.Generator, blocks: None, order: int) -> None:
    arrays = inputs(rng)
    check_grad(lambda *a: sdpa(*a, is_causal=True, enable_gqa=True), arrays, order=order, rng=rng)


def test_what_no_key_is_seen_by_is_zero(rng: np.random.Generator) -> None:
    q, k, v = inputs(rng, 2, 2)
    mask = np.ones((8, 7), bool)
    mask[2] = False
    out, grads = tg.value_and_grad(
        lambda *a: tg.sum(sdpa(*a, attn_mask=mask)[:, :, 2] ** 2), (0, 1, 2)
    )(q, k, v)
    assert out == 0
    assert not any(g.any() for g in grads)
    alone = sdpa(q, k, v, attn_mask=mask).numpy()
    assert np.isfinite(alone).all()
    assert alone[:, :, 3].any()


def test_dropout_keeps_the_mean_and_is_drawn_again(rng: np.random.Generator) -> None:
    q, k = rng.standard_normal((2, 1, 256, 4))
    v = np.ones((1, 256, 3))
    source = tg.Generator(4)
    first = sdpa(q, k, v, dropout_p=0.3, generator=source).numpy()
    again = sdpa(q, k, v, dropout_p=0.3, generator=tg.Generator(4)).numpy()
    assert np.array_equal(first, again)
    assert not np.array_equal(first, sdpa(q, k, v, dropout_p=0.3, generator=source).numpy())
    assert abs(first.mean() - 1) < 0.1
    assert not sdpa(q, k, v, dropout_p=1.0).numpy().any()
    members = tg.vmap(lambda x: sdpa(x, k, v, dropout_p=0.3))(np.stack([q, q]))
    assert not np.array_equal(members[0], members[1])


def test_heads_are_shared_by_threads(rng: np.random.Generator, cpu: None) -> None:
    """The same bits from one thread and from three."""
    arrays = inputs(rng, 6, 6)
    threads, found = tg.get_num_threads(), []
    try:
        for n in (1, 3):
            tg.set_num_threads(n)
            found.append(tg.grad(lambda *a: tg.sum(sdpa(*a) ** 2), (0, 1, 2))(*arrays))
    finally:
        tg.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(*found))


def test_memory_is_linear_in_length(rng: np.random.Generator, cpu: None) -> None:
    """Forward and backward of 4,096 positions: a hundredth of the scores' memory."""
    q, k, v = (tg.tensor(rng.standard_normal((1, 1, 4096, 8)).astype("f4"), requires_grad=True)
               for _ in "qkv")  # fmt: skip
    sdpa(q[:, :, :300], k, v).backward(tg.ones((1, 1, 300, 8), dtype="float32"))
    tracemalloc.start()
    try:
        sdpa(q, k, v, is_causal=True).backward(tg.ones((1, 1, 4096, 8), dtype="float32"))
        assert tracemalloc.get_traced_memory()[1] < 4096 * 4096 * 4 / 20
    finally:
        tracemalloc.stop()


@pytest.fixture
def cpu() -> None:
    if place.chosen != "cpu":
        pytest.skip("about the CPU's threads and memory")


X = np.ones((2, 3, 4))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: sdpa(X[0, 0], X, X), tg.ShapeError, r"query=float64\(4,\).*try query\[None\]"),
        (lambda: sdpa(X, X.astype("f4"), X), tg.DTypeError, r'try key.astype\("float64"\)'),
        (lambda: sdpa(X.astype(int), X, X), tg.DTypeError, r'floats; try query.astype\("float32"'),
        (lambda: sdpa(X, X[..., :3], X), tg.ShapeError, r"shape\[-1\] == key.shape\[-1\] > 0"),
        (lambda: sdpa(X, X[:, :2], X), tg.ShapeError, "a value for each key"),
        (lambda: sdpa(np.ones((6, 3, 4)), X, X), tg.ShapeError, "try enable_gqa=True"),
        (lambda: sdpa(np.ones((5, 3, 4)), X, X, enable_gqa=True), tg.ShapeError, "that divide"),
        (lambda: sdpa(X, X, X, attn_mask=np.ones((2, 2), bool)), tg.ShapeError,
         r"broadcasts to the scores, \(2, 3, 3\)"),
        (lambda: sdpa(X, X, X, attn_mask=np.ones((3, 3), int)), tg.DTypeError,
         r"try attn_mask.astype\(bool\)"),
        (lambda: sdpa(X, X, X, attn_mask=np.ones((3, 3), bool), is_causal=True), ValueError,
         "one of the two"),
        (lambda: sdpa(X, X, X, dropout_p=1.5), ValueError, "0 <= dropout_p <= 1"),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_torch(rng: np.random.Generator) -> None:
    """PyTorch's function on broadcast and grouped heads, with each kind of mask."""
    torch = pytest.importorskip("torch")
    q, k, v = (torch.tensor(x) for x in inputs(rng))
    want = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
    got = sdpa(*(x.numpy() for x in (q, k, v)), enable_gqa=True)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-14)
    mask = torch.tensor(rng.standard_normal((8, 7)))
    want = torch.nn.functional.scaled_dot_product_attention(q[0], k[0, :1], v[0, :1], mask, 0.0)
    got = sdpa(*(x.numpy() for x in (q[0], k[0, :1], v[0, :1], mask)))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-12, atol=1e-14)
