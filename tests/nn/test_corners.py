"""Corners that random comparisons with PyTorch found: empty sizes, flags, borders, bags, packs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)

Rng = np.random.Generator

SAME = [
    ("Linear", (0, 3), {}, (2, 3, 0)),
    ("Linear", (0, 3), {"bias": False}, (2, 3, 0)),
    ("Flatten", (0,), {}, ()),
    ("Flatten", (0, -1), {}, (0, 2)),
    ("Unflatten", (1, (2, -1, 2)), {}, (0, 12)),
    ("Unflatten", (-1, [2, 6]), {}, (3, 12)),
    ("ReflectionPad1d", ((1, -1),), {}, (1, 2, 2)),
    ("ReflectionPad2d", ((-1, 2, 1, -1),), {}, (1, 3, 3)),
    ("ReplicationPad1d", ((-1, 3),), {}, (2, 2, 1)),
    ("ReplicationPad3d", ((2, -1, 1, -1, 3, 1),), {}, (2, 2, 3, 1, 4)),
    ("BatchNorm1d", (2,), {}, (0, 2)),
    ("BatchNorm2d", (2,), {"momentum": None}, (0, 2, 3, 1)),
    ("BatchNorm3d", (2,), {"track_running_stats": False}, (0, 2, 1, 2, 1)),
    ("InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": None}, (2, 3, 2, 3)),
    ("Dropout", (0.0,), {}, (3,)),
    ("FeatureAlphaDropout", (0.0,), {}, (2, 3)),
    ("Softplus", (0.5, 1.0), {}, (4, 5)),
    ("Softplus", (2.0,), {"threshold": -1}, (4, 5)),
]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("name", "args", "options", "shape"), SAME)
def test_is_pytorchs(name: str, args: Any, options: Any, shape: Any, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, name)(*args, **options).double()
    ours = getattr(nn, name)(*args, **options).double()
    assert repr(ours) == repr(theirs)
    ours.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
    x = np.asarray(3 * rng.standard_normal(shape))
    for training in (True, False):
        theirs.train(training), ours.train(training)
        a, b = torch.tensor(x, requires_grad=True), tg.tensor(x, requires_grad=True)
        want, got = theirs(a), ours(b)
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-12)
        tg.sum(got * got).backward()
        (want * want).sum().backward()
        for one, other in zip((b, *ours.parameters()), (a, *theirs.parameters())):
            if one.grad is not None:
                np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), atol=1e-12)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(ours.state_dict()[key].numpy(), value.numpy(), atol=1e-12)


REFUSED = [
    (lambda: nn.Hardtanh(1.0, 1.0), ValueError, r"Hardtanh: got min_val=1\.0, max_val=1\.0"),
    (
        lambda: nn.Conv1d(1, 1, 3, padding=2, padding_mode="reflect", dtype="float64")(
            tg.ones((1, 1, 2))
        ),
        tg.ShapeError,
        "expected a border shorter than the axis",
    ),
    (
        lambda: nn.Unflatten(1, (3, 3))(tg.ones((2, 12))),
        tg.ShapeError,
        r"Unflatten: got an input of shape \(2, 12\), expected \(3, 3\) to make 9 of axis 1",
    ),
    (
        lambda: nn.EmbeddingBag(3, 2, mode="max", scale_grad_by_freq=True)([[0, 1]]),
        ValueError,
        "embedding_bag: got mode='max', scale_grad_by_freq=True",
    ),
    (
        lambda: nn.Dropout2d()(tg.ones((2, 3))),
        tg.ShapeError,
        r"dropout2d: got input=float64\(2, 3\), expected axes .*; try dropout, of elements",
    ),
    (
        lambda: nn.EmbeddingBag.from_pretrained(tg.ones((3,))),
        tg.ShapeError,
        r"EmbeddingBag\.from_pretrained: got embeddings of shape \(3,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refused(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("padding_idx", [None, 0, 1])
@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_gradients_of_bags_by_frequency(mode: str, padding_idx: int | None) -> None:
    """Divided by how often a row is named, whatever fills the shorter bags up."""
    index, starts = np.array([1, 0, 1, 2, 1]), np.array([0, 3, 3])
    weight = tg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    options: Any = {"mode": mode, "padding_idx": padding_idx}
    tg.sum(F.embedding_bag(index, weight, starts, **options)).backward()
    plain, weight.grad = weight.grad.numpy().copy(), None
    tg.sum(F.embedding_bag(index, weight, starts, scale_grad_by_freq=True, **options)).backward()
    assert np.allclose(weight.grad.numpy(), plain / np.bincount(index)[:, None])


def test_distances_of_order_zero() -> None:
    x, y = (
        np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]),
        np.array([[1.0, 0.0, 3.0], [0.0, 0.0, 0.0]]),
    )
    assert F.pairwise_distance(x, y, p=0, eps=0.0).tolist() == [1.0, 3.0]
    assert F.kl_div(np.float64(-1.0), np.float64(0.5), "batchmean").item() == 0.5 * (
        np.log(0.5) + 1
    )
    assert "PairwiseDistance()" in repr(nn.TripletMarginWithDistanceLoss())


WHOLE = [
    ("Linear", (4, 3), (2, 4)),
    ("Conv2d", (4, 4, 3, 1, 1, 1, 2), (2, 4, 5, 5)),
    ("ConvTranspose1d", (4, 4, 3, 2, 1, 1, 2), (2, 4, 5)),
    ("MaxPool2d", (2, 2), (2, 4, 6, 6)),
    ("AvgPool1d", (2, 1), (2, 4, 6)),
    ("ReflectionPad1d", (1,), (2, 4, 6)),
    ("ZeroPad2d", (1,), (2, 4, 6)),
    ("GroupNorm", (2, 4), (2, 4, 6)),
    ("LayerNorm", (6,), (2, 6)),
    ("RMSNorm", (6,), (2, 6)),
    ("LocalResponseNorm", (2,), (2, 4, 6)),
    ("LSTM", (6, 3, 2), (2, 4, 6)),
]


@pytest.mark.parametrize(("name", "args", "shape"), WHOLE)
def test_sizes_are_numpys_whole_numbers_too(name: str, args: Any, shape: Any, rng: Rng) -> None:
    x = tg.tensor(rng.standard_normal(shape).astype("f4"))
    plain, layer = (getattr(nn, name)(*map(kind, args)) for kind in (int, np.int64))
    layer.load_state_dict(plain.state_dict())
    want, got = (np.asarray(y[0].detach() if name == "LSTM" else y.detach())
                 for y in (plain(x), layer(x)))  # fmt: skip
    assert np.array_equal(want, got)


SIZES = [
    (lambda: nn.Conv2d(1, 1, 2.5), "Conv2d: got kernel_size=2.5, expected a whole number from 1"),
    (lambda: nn.ZeroPad2d((1, 2)), "ZeroPad2d: got padding=(1, 2), expected a whole number, or 4"),
    (lambda: nn.AvgPool1d((2, 2)), "AvgPool1d: got kernel_size=(2, 2), expected a whole number"),
    (lambda: nn.MaxUnpool2d(2, []), "MaxUnpool2d: got stride=[], expected a whole number from 1"),
    (lambda: nn.LayerNorm(2.0), "LayerNorm: got normalized_shape=(2.0,), expected a whole number"),
]


@pytest.mark.parametrize(("call", "text"), SIZES)
def test_sizes_that_are_none(call: Any, text: str) -> None:
    with pytest.raises(tg.ShapeError) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_gains_of_linear_layers() -> None:
    for name in ("linear", "conv2d", "conv_transpose3d"):
        assert nn.init.calculate_gain(name) == 1.0


def test_casts_before_the_softmax() -> None:
    x = tg.tensor(np.linspace(-1, 1, 5).astype("f2"))
    for name in ("softmax", "log_softmax", "softmin"):
        function = getattr(F, name)
        got = function(x, -1, dtype="float32")
        assert got.dtype == "float32"
        assert np.array_equal(got.numpy(), function(x.astype("float32"), -1).numpy())


@pytest.mark.parametrize("ordered", [True, False])
def test_packs_come_back_as_they_were(ordered: bool, rng: Rng) -> None:
    layer = nn.LSTM(2, 3, bidirectional=True, dtype="float64")
    layer.flatten_parameters()
    assert [[p.shape for p in each] for each in layer.all_weights] == [
        [(12, 2), (12, 3), (12,), (12,)]
    ] * 2
    x = tg.tensor(rng.standard_normal((4, 3, 2)))
    lengths = [4, 4, 2] if ordered else [2, 4, 4]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=ordered)
    if not ordered:  # equal lengths, the other way round
        order = tg.tensor(np.array([2, 1, 0]))
        data = nn.utils.rnn.pack_padded_sequence(x[:, ::-1], lengths[::-1]).data
        packed = packed._replace(data=data, sorted_indices=order, unsorted_indices=order)
    output, _ = layer(packed)
    assert output.sorted_indices is packed.sorted_indices
    padded, _ = nn.utils.rnn.pad_packed_sequence(output)
    for k, n in enumerate(lengths):
        np.testing.assert_allclose(
            padded[:n, k].detach().numpy(), layer(x[:n, k])[0].detach().numpy(), atol=1e-12
        )
