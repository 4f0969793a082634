"""Losses, softmax and norms: known values, conventions, stability and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import DTypeError, ShapeError
from tensorgrad.core.primitive import PRIMITIVES

REGRESSION = ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss", "binary_cross_entropy")


def leaf(x: Any) -> tg.Tensor:
    return tg.Tensor(np.asarray(x, float), requires_grad=True)


def test_cross_entropy_of_equal_logits_is_the_log_of_the_classes() -> None:
    x = leaf(np.zeros((2, 4)))
    loss = tg.cross_entropy(x, np.array([0, 3]))
    assert loss.item() == pytest.approx(np.log(4), rel=1e-15)
    loss.backward()
    np.testing.assert_allclose(x.grad.numpy(), (0.25 - np.eye(4)[[0, 3]]) / 2, rtol=1e-15)


def test_cross_entropy_is_stable_for_huge_logits() -> None:
    x = leaf([[1e4, 0.0, -1e4], [-1e300, 1e300, 0.0]])
    loss = tg.cross_entropy(x, np.array([1, 1]), reduction="none")
    assert loss.tolist() == [1e4, 0.0]
    loss.sum().backward()
    assert x.grad.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


def test_impossible_classes_have_no_probability_and_no_gradient() -> None:
    x = leaf([[0.0, -np.inf, 0.0]])
    assert tg.softmax(x).tolist() == [[0.5, 0.0, 0.5]]
    tg.cross_entropy(x, np.array([0])).backward()
    assert x.grad.tolist() == [[-0.5, 0.0, 0.5]]


def test_class_indices_and_their_one_hot_probabilities_agree(rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((6, 5)), rng.integers(0, 5, 6)
    for smoothing in (0.0, 0.3):
        hard = tg.cross_entropy(x, labels, label_smoothing=smoothing).item()
        soft = tg.cross_entropy(x, tg.one_hot(labels, 5, "float64"), label_smoothing=smoothing)
        assert hard == pytest.approx(soft.item(), rel=1e-12)


def test_classes_are_on_axis_one(rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((2, 4, 3, 5)), rng.integers(0, 4, (2, 3, 5))
    rows = np.moveaxis(x, 1, -1).reshape(-1, 4)
    want = tg.cross_entropy(rows, labels.reshape(-1)).item()
    assert tg.cross_entropy(x, labels).item() == pytest.approx(want, rel=1e-12)
    logp = tg.log_softmax(x, axis=1)
    assert tg.nll_loss(logp, labels).item() == pytest.approx(want, rel=1e-12)


def test_ignored_rows_count_nothing_and_get_no_gradient(rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((4, 3)), np.array([0, -100, 2, -100])
    kept = tg.cross_entropy(x[[0, 2]], labels[[0, 2]]).item()
    moving = leaf(x)
    loss = tg.cross_entropy(moving, labels)
    assert loss.item() == pytest.approx(kept, rel=1e-12)
    loss.backward()
    assert not moving.grad.numpy()[[1, 3]].any()
    assert np.isnan(tg.cross_entropy(x, np.full(4, -100)).item())


def test_labels_of_every_integer_dtype(rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((3, 4)), np.array([3, 0, 1])
    found = {
        tg.cross_entropy(x, labels.astype(d)).item()
        for d in ("int8", "uint8", "int16", "int32", "uint32", "int64", "uint64")
    }
    assert len(found) == 1


@pytest.mark.parametrize("label", [-1, 4, 1 << 40])
def test_a_label_out_of_range_is_named_with_its_row(label: int, device: str) -> None:
    named = f"label {label}" if device == "cpu" else "label out of range"
    with pytest.raises(IndexError, match=f"cross_entropy: got {named} in row 2, expected 0"):
        tg.cross_entropy(np.zeros((3, 4)), np.array([0, 1, label])).item()


def test_a_batch_of_losses_equals_a_loop(rng: np.random.Generator) -> None:
    x, labels = rng.standard_normal((3, 6, 4)), rng.integers(0, 4, (3, 6))
    labels[1, 2] = -100
    found = tg.vmap(tg.cross_entropy)(x, labels)
    want = [tg.cross_entropy(a, b).item() for a, b in zip(x, labels)]
    np.testing.assert_allclose(np.asarray(found), want, rtol=1e-12)


@pytest.mark.parametrize("name", REGRESSION)
def test_nothing_is_broadcast(name: str) -> None:
    with pytest.raises(ShapeError, match=r"got input=float64\(3, 1\), target=float64\(3,\)"):
        getattr(tg, name)(np.full((3, 1), 0.5), np.full(3, 0.5))


def test_integer_and_bool_targets_keep_the_dtype_of_the_input() -> None:
    x = np.array([0.2, -1.0], "f4")
    for target in (np.array([1, 0]), np.array([True, False])):
        assert tg.binary_cross_entropy_with_logits(x, target).dtype == np.float32
        assert tg.mse_loss(x, target).dtype == np.float32


def test_binary_cross_entropy_at_the_ends() -> None:
    p, t = np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert tg.binary_cross_entropy(p, t, reduction="none").tolist() == [100.0, 0.0, 0.0, 100.0]
    x = leaf([-800.0, -40.0, 40.0, 800.0])
    loss = tg.binary_cross_entropy_with_logits(x, np.array([0.0, 0.0, 1.0, 0.0]), reduction="none")
    np.testing.assert_allclose(loss.tolist(), [0.0, np.exp(-40), np.exp(-40), 800.0], rtol=1e-12)
    loss.sum().backward()
    np.testing.assert_allclose(x.grad.tolist(), [0.0, np.exp(-40), -np.exp(-40), 1.0], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_binary_cross_entropy_wants_probabilities(dtype: str) -> None:
    p, t = tg.full((2, 3), 0.5, dtype=dtype), tg.ones((2, 3), dtype=dtype)
    for wrong in (1.5, -0.25, np.inf):
        bad = np.array(p.tolist())
        bad[1, 0] = wrong
        x = tg.tensor(bad, dtype=dtype)
        with pytest.raises(ValueError, match="binary_cross_entropy") as caught:
            tg.binary_cross_entropy(x, t).item()
        at = f"{wrong} at (1, 0), expected probabilities, 0 to 1"
        if x.device != "cpu":  # where a kernel finds it
            at = "outside 0 to 1 at element 3, expected probabilities"
        assert str(caught.value) == f"binary_cross_entropy: got input {at}; try tg.sigmoid(input)"
        with pytest.raises(ValueError, match=r"got target .* try labels 0 and 1"):
            tg.binary_cross_entropy(p, x).item()
        with pytest.raises(ValueError, match="got input"):
            tg.vmap(lambda a: tg.binary_cross_entropy(a, t[0]))(x).sum().item()
        with pytest.raises(ValueError, match="got input"):
            tg.grad(lambda a: tg.binary_cross_entropy(a, t))(x).sum().item()
        with pytest.raises(ValueError, match="got input"):
            tg.jvp(lambda a: tg.binary_cross_entropy(a, t), (x,), (t,))[0].item()
    assert np.isnan(tg.binary_cross_entropy(p * np.nan, t).item())
    assert tg.binary_cross_entropy(p[:0], t[:0], reduction="sum").item() == 0


def test_kinks_take_their_conventions() -> None:
    x, t = leaf([0.0, 1.0, -1.0]), np.zeros(3)
    tg.huber_loss(x, t, reduction="sum", delta=1.0).backward()
    assert x.grad.tolist() == [0.0, 1.0, -1.0]
    x = leaf([0.0])
    tg.l1_loss(x, np.zeros(1)).backward()
    assert x.grad.tolist() == [0.0]
    x = leaf([[1.0, 0.0]])  # the margin is just met: no gradient, as in PyTorch
    tg.multi_margin_loss(x, np.array([0])).backward()
    assert x.grad.tolist() == [[0.0, 0.0]]


def test_multiclass_hinge_by_hand() -> None:
    scores = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
    loss = tg.multi_margin_loss(scores, np.array([0, 1, 2]), reduction="none")
    np.testing.assert_allclose(3 * loss.numpy(), [2.9, 0.0, 12.9], atol=1e-12)


def test_wrong_targets_are_refused() -> None:
    with pytest.raises(DTypeError, match="expected integer class indices"):
        tg.nll_loss(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(ShapeError, match=r"expected class indices of shape \(2,\)"):
        tg.cross_entropy(np.zeros((2, 3)), np.zeros((2, 1), int))
    with pytest.raises(ShapeError, match='expected "mean", "sum" or "none"'):
        tg.mse_loss(np.zeros(2), np.zeros(2), "average")


def test_layer_norm_of_constant_rows_is_the_bias(rng: np.random.Generator) -> None:
    x, bias = leaf(np.full((2, 4), 7.0)), rng.standard_normal(4)
    y = tg.layer_norm(x, 4, np.ones(4), bias)
    assert np.array_equal(y.detach().numpy(), np.broadcast_to(bias, (2, 4)))
    (y**2).sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


def test_norm_has_gradient_zero_at_zero() -> None:
    for order in (None, 1, 2, 3, 1.5, np.inf):
        x = leaf(np.zeros(3))
        tg.norm(x, order).backward()
        assert x.grad.tolist() == [0.0, 0.0, 0.0], order
    assert np.isnan(tg.norm(np.array([0.0, np.nan])).item())


def test_a_small_negative_label_is_never_taken_for_a_large_one(
    rng: np.random.Generator, device: str
) -> None:
    """-100 as int8 has the bits of 156, which is a class of 200."""
    x = rng.standard_normal((2, 200))
    labels = np.array([-5, 3], np.int8)
    named = "label -5" if device == "cpu" else "label out of range"
    for reduction in ("mean", "none"):
        with pytest.raises(IndexError, match=f"got {named} in row 0"):
            tg.cross_entropy(x, labels, reduction=reduction).numpy()


@pytest.mark.parametrize(("shape", "axis"), [((5, 7), 1), ((7,), 0), ((2, 5, 3), 1)])
def test_the_fused_mean_equals_its_reference(
    shape: tuple[int, ...], axis: int, rng: np.random.Generator
) -> None:
    """Kernel and reference, values and gradients, with rows left out and axes in the middle."""
    fused: Any = PRIMITIVES["softmax_xent"]
    x = rng.standard_normal(shape)
    rows = tuple(n for k, n in enumerate(shape) if k != axis)
    labels = np.asarray(rng.integers(0, shape[axis], rows))
    if rows:
        labels.flat[0] = -100
    rest = [tg.asarray(labels), tg.asarray(np.asarray(-100))]
    value, gradient = tg.value_and_grad(lambda v: fused.bind(v, *rest, axis=axis))(x)
    want, slow = tg.value_and_grad(lambda v: fused.reference(v, *rest, axis=axis))(x)
    np.testing.assert_allclose(value, want, rtol=1e-13)
    np.testing.assert_allclose(gradient, slow, rtol=1e-12, atol=1e-15)
