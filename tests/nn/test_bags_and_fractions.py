"""Bags of embeddings, pooling by fractions and bilinear forms: PyTorch's numbers, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)

Rng = np.random.Generator


def near(got: Any, want: Any) -> None:
    # Float32 sums of terms up to 30, which may cancel.
    np.testing.assert_allclose(
        got.detach().to("cpu").numpy(), want.detach().numpy(), rtol=1e-6, atol=5e-6
    )


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding_idx", [None, 2])
def test_bags_are_pytorchs(mode: str, padding_idx: int | None, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    index, scale = rng.integers(0, 6, 9), rng.standard_normal(9).astype("f4")
    for offsets, last in ((None, False), ([0, 3, 3, 7], False), ([0, 2, 8], True)):
        options = {"mode": mode, "padding_idx": padding_idx, "include_last_offset": last}
        theirs, ours = torch.nn.EmbeddingBag(6, 4, **options), nn.EmbeddingBag(6, 4, **options)
        assert repr(ours) == repr(theirs)
        ours.load_state_dict(theirs.state_dict())
        at = index.reshape(3, 3) if offsets is None else index[: 8 if last else 9]
        share = scale[: at.size].reshape(at.shape) if mode == "sum" else None
        got = ours(at, offsets, share)
        starts = None if offsets is None else torch.tensor(offsets)
        weights = None if share is None else torch.tensor(share)
        want = theirs(torch.tensor(at), starts, weights)
        near(got, want)
        (want**2).sum().backward()
        tg.sum(got**2).backward()
        near(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("rank", [2, 3])
def test_pooling_by_a_fraction_is_pytorchs(rank: int, rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    x, u = rng.standard_normal((2, 3, 9, 8, 7)[: rank + 2]), rng.random((2, 3, rank))
    name = f"fractional_max_pool{rank}d"
    for options in ({"output_size": (4, 3, 3)[:rank]}, {"output_ratio": (0.5,) * rank}):
        a, b = torch.tensor(x, requires_grad=True), tg.tensor(x, requires_grad=True)
        want = getattr(torch.nn.functional, name)(
            a, 2, return_indices=True, _random_samples=torch.tensor(u), **options
        )
        got = getattr(F, name)(b, 2, return_indices=True, _random_samples=u, **options)
        for one, other in zip(got, want):
            near(one, other)
        (want[0] ** 2).sum().backward()
        tg.sum(got[0] ** 2).backward()
        near(b.grad, a.grad)


def test_a_fraction_is_drawn_anew_and_again_from_a_seed(rng: Rng) -> None:
    x = tg.asarray(rng.standard_normal((1, 1, 30, 30)))
    layer = nn.FractionalMaxPool2d(2, output_ratio=0.7, generator=tg.Generator(5))
    first, second = layer(x).numpy(), layer(x).numpy()
    assert first.shape == (1, 1, 21, 21)
    assert not np.array_equal(first, second)
    again = nn.FractionalMaxPool2d(2, output_ratio=0.7, generator=tg.Generator(5))
    np.testing.assert_array_equal(again(x).numpy(), first)
    assert repr(layer) == "FractionalMaxPool2d(kernel_size=2, output_ratio=0.7)"
    assert nn.FractionalMaxPool3d(2, (2, 2, 2))(tg.ones((3, 4, 4, 4))).shape == (3, 2, 2, 2)


def test_initial_values_that_are_cut_or_pass_on(rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    w = nn.init.trunc_normal_(tg.zeros((300, 200)), 0.5, 2.0, -1.0, 3.0).numpy()
    assert -1 <= w.min() < -0.99
    assert 2.99 < w.max() <= 3
    z = np.clip(rng.normal(0.5, 2, 400_000), -9, 9)
    z = z[(z >= -1) & (z <= 3)]
    np.testing.assert_allclose([w.mean(), w.std()], [z.mean(), z.std()], atol=0.03)
    for shape, groups in (((4, 2, 3), 2), ((6, 3, 2, 3), 1), ((2, 4, 3, 3, 3), 2)):
        want = torch.nn.init.dirac_(torch.zeros(shape), groups).numpy()
        np.testing.assert_array_equal(nn.init.dirac_(tg.zeros(shape), groups).numpy(), want)
    np.testing.assert_array_equal(nn.init.eye_(tg.zeros((2, 3))).numpy(), np.eye(2, 3))


T = np.ones((3, 2))
BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: F.embedding_bag([0, 1], T), ValueError,
     "embedding_bag: got input=int64(2,), offsets=None, expected offsets with one axis of indices, "
     "none with two; try offsets=[0]"),
    (lambda: F.embedding_bag([0, 1], T, [1, 0]), ValueError,
     "embedding_bag: got offsets=[1, 0], indices=2, expected offsets that rise from 0 to at most "
     "2; try offsets=[0]"),
    (lambda: F.embedding_bag([[0, 1]], T, mode="prod"), ValueError,
     "embedding_bag: got mode='prod', expected one of sum, mean, max; try mode=\"mean\""),
    (lambda: nn.EmbeddingBag(3, 2, mode="prod"), ValueError,
     "EmbeddingBag: got mode='prod', expected one of sum, mean, max; try mode=\"mean\""),
    (lambda: F.fractional_max_pool2d(np.ones((1, 4, 4)), 3, 3), tg.ShapeError,
     "fractional_max_pool2d: got sizes=(4, 4), kernel_size=(3, 3), output_size=(3, 3), expected "
     "output_size + kernel_size - 1 <= size; try a smaller kernel_size"),
    (lambda: nn.FractionalMaxPool2d(2), ValueError,
     "FractionalMaxPool2d: got output_size=None, output_ratio=None, expected one of them; "
     "try output_ratio=0.5"),
    (lambda: nn.Bilinear(3, 4, 2, dtype="float64")(np.ones((5, 3)), np.ones((5, 3))), tg.ShapeError,
     "bilinear: got input1=float64(5, 3), input2=float64(5, 3), weight=float64(2, 3, 4), expected "
     "inputs (..., 3) and (..., 4) of the same leading axes; try bilinear(input2, input1, ...) "
     "where they are the other way round"),
    (lambda: nn.GRU(2, 3, dtype="float64")(np.ones((4, 1, 2)), (1, 2)), TypeError,
     "GRU: got hx of type tuple, expected one array; try hx=h_0"),
    (lambda: nn.LSTMCell(2, 3, dtype="float64")(np.ones((4, 2)), np.ones((4, 3))), TypeError,
     "LSTMCell: got hx of type ndarray, expected the pair (h_0, c_0); try hx=(h_0, c_0)"),
    (lambda: nn.CrossEntropyLoss(None, True), TypeError,
     "CrossEntropyLoss: got ignore_index=True, expected a whole number; try reduction=\"mean\" or "
     '"sum" by name'),
    (lambda: nn.summary(nn.Linear(3, 2), (4, 3)), TypeError,
     "summary: got input=(4, 3), expected arrays, not a shape; try "
     'tg.zeros((4, 3), dtype="float32")'),
    (lambda: nn.Linear(3, 2).load_state_dict([1]), TypeError,  # type: ignore[arg-type]
     "load_state_dict: got list, expected a mapping of names to arrays; try "
     "tg.io.load_file(path), or module.state_dict()"),
    (lambda: tg.optim.SGD(nn.Linear(3, 2).parameters(), lr=1.0).load_state_dict({"a": 1}),
     ValueError, "SGD: got a state of ['a'], expected \"param_groups\" and \"state\"; try "
     "optimizer.state_dict()"),
    (lambda: nn.init.dirac_(tg.zeros((3, 2))), tg.ShapeError,
     "dirac_: got a tensor of shape (3, 2), groups=1, expected (out, in, ...) of 3 to 5 axes, out "
     "divisible by groups; try groups=1"),
    (lambda: nn.init.eye_(tg.zeros(3)), tg.ShapeError,
     "eye_: got a tensor of shape (3,), expected two axes; try dirac_"),
    (lambda: nn.init.trunc_normal_(tg.zeros(3), a=2.0), ValueError,
     "trunc_normal_: got std=1.0, a=2.0, b=2.0, expected std > 0 and a < b; try a=-2, b=2"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), BAD)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert (type(caught.value), str(caught.value)) == (kind, text)


LABELS: list[tuple[Any, str]] = [
    (lambda: F.nll_loss(np.ones((2, 3)), [0, 3]), "nll_loss: got label 3 in row 1"),
    (lambda: F.multi_margin_loss(np.ones((2, 3)), [0, 3]), "multi_margin_loss: got label 3 in row"),
    (lambda: F.cross_entropy(np.ones((2, 3, 4)), [[0, 1, 2, 2], [0, 0, 7, 0]]),
     r"cross_entropy: got label 7 at \(1, 2\), expected 0"),
    (lambda: F.cross_entropy(np.ones((2, 3)), [0, 3], np.ones(3)), "cross_entropy: got label 3 in"),
    (lambda: tg.take_along_axis(np.ones((2, 3)), [[0, 1, 2], [0, 5, 1]], axis=1),
     r"take_along_axis: .* index 5 at \(1, 1\) is out of bounds"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), LABELS)
def test_a_label_or_index_out_of_range_is_placed(call: Any, text: str) -> None:
    if place.chosen != "cpu":
        pytest.skip("a GPU says so later, and without the place")
    with pytest.raises(IndexError, match=text):
        call()
