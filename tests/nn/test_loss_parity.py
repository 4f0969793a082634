"""Losses beside PyTorch's: values and gradients, edges, stored numbers, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812

REDUCTIONS = ("none", "mean", "sum")


def labels(rng: np.random.Generator, n: int, c: int) -> Any:
    """Labels of rows, ended by -1."""
    found = np.argsort(rng.random((n, c)), -1)
    counts = rng.integers(0, c + 1, n)[:, None]
    return np.where(np.arange(c) < counts, found, -1)


def drawn(name: str, rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Arguments of a loss, floats moving."""
    x, y, z = (rng.standard_normal((5, 4)) for _ in range(3))
    p, q = rng.uniform(0.05, 0.95, (5, 4)), rng.uniform(0.05, 0.95, (5, 4))
    signs, rows = 1.0 - 2 * rng.integers(0, 2, (5, 4)), 1.0 - 2 * rng.integers(0, 2, 5)
    hard, w = rng.integers(0, 4, 5), rng.uniform(0.5, 2, 4)
    deep, far = rng.standard_normal((2, 4, 3)), rng.integers(0, 4, (2, 3))
    some = np.where(np.arange(5) < 2, -100, hard)
    cases: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
        "l1_loss": [((x, y), {})],
        "mse_loss": [((x, y), {})],
        "huber_loss": [((x, y), {}), ((x, y), {"delta": 0.4})],
        "smooth_l1_loss": [((x, y), {}), ((x, y), {"beta": 0.4}), ((x, y), {"beta": 0.0})],
        "cross_entropy": [
            ((x, hard), {}), ((deep, far), {}), ((x, some), {}), ((x, q), {}),
            ((x[0], hard[0]), {}), ((x, hard), {"ignore_index": 2}),
            ((x, some), {"weight": w, "label_smoothing": 0.2}), ((deep, far), {"weight": w}),
            ((x, some), {"label_smoothing": 0.2}), ((x, q), {"weight": w, "label_smoothing": 0.1}),
        ],
        "nll_loss": [((x, hard), {}), ((x, some), {"weight": w}), ((deep, far), {})],
        "poisson_nll_loss": [
            ((x, 3 * p), {"log_input": log, "full": full}) if log else
            ((p, 3 * q), {"log_input": log, "full": full})
            for log in (True, False) for full in (True, False)
        ],
        "gaussian_nll_loss": [
            ((x, y, p), {}), ((x, y, p[:, :1]), {"full": True}), ((x, y, p[:, 0]), {}),
            ((x, y, p), {"eps": 0.5}),
        ],
        "kl_div": [((x, p), {}), ((x, y), {"log_target": True})],
        "binary_cross_entropy": [((p, q), {}), ((p, q), {"weight": w})],
        "binary_cross_entropy_with_logits": [
            ((x, q), {}), ((x, q), {"weight": w}), ((x, q), {"weight": w, "pos_weight": w}),
        ],
        "margin_ranking_loss": [((x, y, signs), {}), ((x, y, signs), {"margin": 0.7})],
        "hinge_embedding_loss": [((x, signs), {}), ((x, signs), {"margin": 0.4})],
        "multilabel_margin_loss": [
            ((x, labels(rng, 5, 4)), {}), ((x[0], labels(rng, 1, 4)[0]), {}),
        ],
        "soft_margin_loss": [((x, signs), {})],
        "multilabel_soft_margin_loss": [((x, q), {}), ((x, q), {"weight": w})],
        "cosine_embedding_loss": [((x, y, rows), {}), ((x, y, rows), {"margin": 0.2})],
        "multi_margin_loss": [((x, hard), {}), ((x, hard), {"p": 2, "margin": 0.6, "weight": w})],
        "triplet_margin_loss": [
            ((x, y, z), {}), ((x, y, z), {"p": 1.0, "margin": 0.5}), ((x, y, z), {"swap": True}),
            ((x, y, z), {"p": 3.0, "swap": True}),
        ],
        "triplet_margin_with_distance_loss": [((x, y, z), {}), ((x, y, z), {"swap": True})],
    }  # fmt: skip
    return cases[name]


NAMES = """
    l1_loss mse_loss huber_loss smooth_l1_loss cross_entropy nll_loss poisson_nll_loss
    gaussian_nll_loss kl_div binary_cross_entropy binary_cross_entropy_with_logits
    margin_ranking_loss hinge_embedding_loss multilabel_margin_loss soft_margin_loss
    multilabel_soft_margin_loss cosine_embedding_loss multi_margin_loss triplet_margin_loss
    triplet_margin_with_distance_loss
    """.split()
MOVING = {"hinge_embedding_loss": 1, "soft_margin_loss": 1, "cosine_embedding_loss": 2}
"""How many arguments get a gradient, where PyTorch has none for the target."""


def moved(args: tuple[Any, ...]) -> list[int]:
    return [k for k, a in enumerate(args) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
def test_values_and_gradients_are_those_of_pytorch(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn.functional, name)
    for args, options in drawn(name, rng):
        moving = moved(args)[: MOVING.get(name)]
        other = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        for reduction in (*REDUCTIONS, *(("batchmean",) if name == "kl_div" else ())):
            mine = [tg.tensor(a, requires_grad=k in moving) for k, a in enumerate(args)]
            refs = [torch.tensor(a) for a in args]
            for k in moving:
                refs[k].requires_grad_()
            out = getattr(F, name)(*mine, **options, reduction=reduction)
            want = theirs(*refs, **other, reduction=reduction)
            np.testing.assert_allclose(
                out.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-14
            )
            ct = rng.standard_normal(out.shape)
            (out * ct).sum().backward()
            (want * torch.tensor(ct)).sum().backward()
            for k in moving:
                np.testing.assert_allclose(
                    mine[k].grad.numpy(), refs[k].grad.numpy(), rtol=1e-10, atol=1e-13
                )


STORED = {
    "l1_loss": 9.0,
    "mse_loss": 16.875,
    "huber_loss": 6.25,
    "smooth_l1_loss": 6.25,
    "cross_entropy": 6.0632946,
    "nll_loss": 2.0,
    "poisson_nll_loss": 14.9762717,
    "gaussian_nll_loss": 15.5496307,
    "kl_div": -2.2981461,
    "binary_cross_entropy": 5.6810663,
    "binary_cross_entropy_with_logits": 5.6810663,
    "margin_ranking_loss": 9.0,
    "hinge_embedding_loss": -1.25,
    "multilabel_margin_loss": 4.1666667,
    "soft_margin_loss": 7.5171578,
    "multilabel_soft_margin_loss": 1.8936888,
    "cosine_embedding_loss": 1.3810004,
    "multi_margin_loss": 4.0833333,
    "triplet_margin_loss": 3.3989435,
}
"""PyTorch's sums for the inputs of `test_stored_values`."""


def test_stored_values() -> None:
    x = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
    y = np.array([[1.0, 0.5, -0.5], [-0.25, 0.75, 1.25]])
    p, q = (np.asarray(tg.sigmoid(tg.asarray(v)).to("cpu")) for v in (x, y))
    signs, hard = np.sign(y), np.array([1, 2])
    further: dict[str, tuple[Any, ...]] = {
        "gaussian_nll_loss": (x, y, q),
        "binary_cross_entropy": (p, q),
        "margin_ranking_loss": (x, y, signs),
        "multilabel_margin_loss": (x, np.array([[1, -1, 0], [2, 1, -1]])),
        "cosine_embedding_loss": (x, y, np.array([1.0, -1.0])),
        "triplet_margin_loss": (x, y, q),
        **dict.fromkeys(("cross_entropy", "nll_loss", "multi_margin_loss"), (x, hard)),
        **dict.fromkeys(("hinge_embedding_loss", "soft_margin_loss"), (x, signs)),
        **dict.fromkeys(("l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"), (x, y)),
    }
    for name, want in STORED.items():
        found = getattr(F, name)(*further.get(name, (x, q)), reduction="sum")
        assert found.item() == pytest.approx(want, abs=6e-8), name
    frames = tg.log_softmax(np.stack([x, y, x * y]), axis=-1)
    found = F.ctc_loss(frames, [[1, 2], [2, 1]], [3, 3], [2, 2], reduction="none")
    np.testing.assert_allclose(found.tolist(), [4.1798561, 1.3673037], atol=6e-8)


# -- edges and errors ----------------------------------------------------------------------------


def test_a_margin_just_met_passes_the_gradient_as_in_pytorch() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    F.margin_ranking_loss(x, np.array([1.0]), np.array([1.0])).backward()
    assert x.grad.tolist() == [-1.0]
    x = tg.tensor([1.0], requires_grad=True)
    F.hinge_embedding_loss(x, np.array([-1.0])).backward()
    assert x.grad.tolist() == [-1.0]


def test_divergence_where_the_target_is_zero() -> None:
    x = tg.tensor([-1.0, -2.0], requires_grad=True)
    loss = F.kl_div(x, np.array([0.0, 1.0]), reduction="sum")
    loss.backward()
    assert loss.item() == 2.0
    assert x.grad.tolist() == [0.0, -1.0]


def test_all_ignored_is_nan_and_without_labels_is_zero() -> None:
    x = np.zeros((2, 3))
    assert np.isnan(F.nll_loss(x, np.array([-100, -100])).item())
    assert np.isnan(F.nll_loss(x, np.array([-100, -100]), weight=np.ones(3)).item())
    moving = tg.tensor(x, requires_grad=True)
    loss = F.multilabel_margin_loss(moving, np.full((2, 3), -1))
    loss.backward()
    assert loss.item() == 0.0
    assert not np.asarray(moving.grad.to("cpu")).any()


def test_a_small_variance_keeps_its_gradient() -> None:
    torch = pytest.importorskip("torch")
    v, w = tg.tensor([1e-9, 2.0], requires_grad=True), torch.tensor([1e-9, 2.0]).double()
    w.requires_grad_()
    F.gaussian_nll_loss(np.ones(2), np.zeros(2), v).backward()
    zero = torch.zeros(2).double()
    torch.nn.functional.gaussian_nll_loss(zero + 1, zero, w).backward()
    np.testing.assert_allclose(v.grad.tolist(), w.grad.tolist(), rtol=1e-7)


def refused(error: Any, text: str, call: Any) -> None:
    with pytest.raises(error, match=text):
        call()


def test_errors() -> None:
    two = np.zeros((2, 3))
    shape, value = tg.ShapeError, ValueError
    refused(IndexError, r"multilabel_margin_loss: got label 5 at \(1, 1\), expected 0 to 2",
            lambda: F.multilabel_margin_loss(two, np.array([[0, 1, -1], [2, 5, -1]])))  # fmt: skip
    refused(tg.DTypeError, "expected integer class indices; try target.astype",
            lambda: F.multilabel_margin_loss(two, two))  # fmt: skip
    refused(value, "gaussian_nll_loss: got var=.*expected variances of 0 or more",
            lambda: F.gaussian_nll_loss(two, two, two - 1))  # fmt: skip
    refused(shape, "gaussian_nll_loss: .*a variance of input's shape",
            lambda: F.gaussian_nll_loss(two, two, np.ones(3)))  # fmt: skip
    refused(shape, r"kl_div: got input=float64\(2, 3\), target=float64\(3,\)",
            lambda: F.kl_div(two, np.zeros(3)))  # fmt: skip
    refused(shape, r"cosine_embedding_loss: .*a target of shape \(2,\)",
            lambda: F.cosine_embedding_loss(two, two, np.ones(3)))  # fmt: skip
    refused(value, "triplet_margin_loss: got margin=0.*margin > 0",
            lambda: F.triplet_margin_loss(two, two, two, margin=0.0))  # fmt: skip
    refused(value, "triplet_margin_with_distance_loss: got margin=0",
            lambda: F.triplet_margin_with_distance_loss(two, two, two, margin=0.0))  # fmt: skip
    refused(value, "pairwise_distance: got p=-1", lambda: F.pairwise_distance(two, two, -1))
    refused(shape, "expected \"mean\", \"sum\" or \"none\"",
            lambda: F.soft_margin_loss(two, two, reduction="batchmean"))  # fmt: skip
    refused(value, "KLDivLoss: got reduction", lambda: nn.KLDivLoss("average"))


# -- connectionist temporal classification -------------------------------------------------------


def sequences(rng: np.random.Generator) -> tuple[Any, ...]:
    labels = rng.integers(1, 6, (5, 4))
    labels[0] = 3  # repeats
    return rng.standard_normal((10, 5, 6)), labels, [10, 9, 10, 8, 7], [4, 4, 1, 0, 2]


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_ctc_is_pytorchs(reduction: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x, labels, frames, sizes = sequences(rng)
    flat = np.concatenate([row[:n] for row, n in zip(labels, sizes)])
    for target in (labels, flat):
        mine, theirs = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        out = F.ctc_loss(tg.log_softmax(mine, -1), target, frames, sizes, reduction=reduction)
        want = torch.nn.functional.ctc_loss(
            theirs.log_softmax(-1), torch.tensor(target), frames, sizes, reduction=reduction
        )
        np.testing.assert_allclose(out.detach().numpy(), want.detach().numpy(), rtol=1e-11)
        out.sum().backward()
        want.sum().backward()
        np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), atol=1e-12)


def test_ctc_of_what_no_path_says(rng: np.random.Generator) -> None:
    x = tg.log_softmax(tg.asarray(rng.standard_normal((3, 2, 4))), -1).to("cpu").numpy()
    given: Any = ([[1, 1], [1, 2]], [2, 3], [2, 2])
    assert F.ctc_loss(x, *given, reduction="none").tolist()[0] == np.inf
    moving = tg.tensor(x, requires_grad=True)
    loss = nn.CTCLoss(reduction="sum", zero_infinity=True)(moving, *given)
    loss.backward()
    found = np.asarray(moving.grad.to("cpu"))
    assert np.isfinite(loss.item())
    assert not found[:, 0].any()
    assert found[:, 1].any()


def test_ctc_errors() -> None:
    x = np.zeros((3, 2, 4))
    refused(IndexError, r"ctc_loss: got label 4 at \(1, 0\), expected 0 to 3 other than the blank",
            lambda: F.ctc_loss(x, [[1], [4]], [3, 3], [1, 1]))  # fmt: skip
    refused(ValueError, "ctc_loss: got input_lengths 4 of sequence 1, expected 0 to 3",
            lambda: F.ctc_loss(x, [[1], [1]], [3, 4], [1, 1]))  # fmt: skip
    refused(tg.ShapeError, "ctc_loss: .*expected as many labels as target_lengths say",
            lambda: F.ctc_loss(x, [1, 2], [3, 3], [2, 2]))  # fmt: skip
    refused(
        tg.ShapeError, "ctc_loss: got blank=4", lambda: F.ctc_loss(x, [1, 2], [3, 3], [1, 1], 4)
    )


# -- the adaptive softmax ------------------------------------------------------------------------


def test_adaptive_softmax_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    for bias in (False, True):
        theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 11], 2.0, head_bias=bias).double()
        mine = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 11], 2.0, head_bias=bias, dtype="float64")
        assert list(mine.state_dict()) == list(theirs.state_dict())
        mine.load_state_dict({k: v.numpy().copy() for k, v in theirs.state_dict().items()})
        x, labels = rng.standard_normal((9, 16)), rng.integers(0, 20, 9)
        a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = mine(a, labels), theirs(b, torch.tensor(labels))
        np.testing.assert_allclose(got.output.tolist(), want.output.tolist(), rtol=1e-12)
        got.loss.backward()
        want.loss.backward()
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-14)
        np.testing.assert_allclose(
            mine.log_prob(a).detach().numpy(), theirs.log_prob(b).detach().numpy(), rtol=1e-12
        )
        assert mine.predict(a).tolist() == theirs.predict(b).tolist()
        assert mine(a[0], labels[0]).loss.item() == pytest.approx(-got.output[0].item(), rel=1e-12)


def test_adaptive_softmax_errors() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(8, 6, [2], 2.0)
    x = np.zeros((2, 8), np.float32)
    refused(IndexError, "got label 6 in row 1, expected 0 to 5", lambda: layer(x, np.array([0, 6])))
    refused(tg.ShapeError, r"labels of shape \(3,\)", lambda: layer(x, np.zeros(3, int)))
    refused(tg.DTypeError, "expected integers", lambda: layer(x, np.zeros(2)))
    refused(ValueError, "cutoffs=.*expected numbers that rise from 1 to 5",
            lambda: nn.AdaptiveLogSoftmaxWithLoss(8, 6, [3, 2]))  # fmt: skip


# -- modules -------------------------------------------------------------------------------------


def test_modules_call_their_functions(rng: np.random.Generator) -> None:
    x, y, z = (tg.asarray(rng.standard_normal((5, 3))) for _ in range(3))
    q, signs = tg.sigmoid(z), tg.asarray(1.0 - 2 * rng.integers(0, 2, 5))
    w = np.array([1.0, 2.0, 0.5])
    rows = tg.asarray(labels(rng, 5, 3))
    pairs: list[tuple[Any, Any]] = [
        (nn.PoissonNLLLoss(full=True)(x, q), F.poisson_nll_loss(x, q, full=True)),
        (nn.GaussianNLLLoss(full=True)(x, y, q), F.gaussian_nll_loss(x, y, q, full=True)),
        (nn.KLDivLoss("batchmean")(x, q), F.kl_div(x, q, reduction="batchmean")),
        (nn.MarginRankingLoss(0.3)(x, y, z), F.margin_ranking_loss(x, y, z, 0.3)),
        (nn.SoftMarginLoss("sum")(x, y), F.soft_margin_loss(x, y, reduction="sum")),
        (nn.MultiLabelMarginLoss()(x, rows), F.multilabel_margin_loss(x, rows)),
        (nn.MultiLabelSoftMarginLoss(w)(x, q), F.multilabel_soft_margin_loss(x, q, w)),
        (nn.CosineEmbeddingLoss(0.2)(x, y, signs), F.cosine_embedding_loss(x, y, signs, 0.2)),
        (nn.TripletMarginLoss(2.0, 1.0)(x, y, z), F.triplet_margin_loss(x, y, z, 2.0, 1.0)),
        (
            nn.TripletMarginWithDistanceLoss(margin=2.0, swap=True)(x, y, z),
            F.triplet_margin_loss(x, y, z, 2.0, swap=True),
        ),
        (nn.CosineSimilarity()(x, y), F.cosine_similarity(x, y)),
        (nn.PairwiseDistance(1.0, keepdim=True)(x, y), F.pairwise_distance(x, y, 1, keepdim=True)),
    ]
    for got, want in pairs:
        np.testing.assert_allclose(
            np.asarray(got.to("cpu")), np.asarray(want.to("cpu")), rtol=1e-12
        )
