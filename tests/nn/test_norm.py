"""Normalisation layers: PyTorch's names, texts, state and numbers, and statistics that follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import array

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (as everybody calls it)

Rng = np.random.Generator

TRACKED = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
LAYERS: list[tuple[str, str, list[str]]] = [
    ("BatchNorm1d", "4", TRACKED),
    ("BatchNorm2d", "4, eps=0.01, momentum=None", TRACKED),
    ("BatchNorm3d", "4, affine=False", TRACKED[2:]),
    ("BatchNorm2d", "4, track_running_stats=False, bias=False", ["weight"]),
    ("InstanceNorm1d", "4", []),
    ("InstanceNorm2d", "4, affine=True, track_running_stats=True", TRACKED),
    ("InstanceNorm3d", "4, affine=True, bias=False", ["weight"]),
    ("GroupNorm", "2, 4", ["weight", "bias"]),
    ("GroupNorm", "4, 4, eps=0.1, affine=False", []),
    ("GroupNorm", "1, 4, bias=False", ["weight"]),
    ("LayerNorm", "3", ["weight", "bias"]),
    ("LayerNorm", "(4, 3), eps=0.1, bias=False", ["weight"]),
    ("LayerNorm", "3, elementwise_affine=False", []),
    ("RMSNorm", "3", ["weight"]),
    ("RMSNorm", "(4, 3), eps=0.1, elementwise_affine=False", []),
    ("LocalResponseNorm", "3, alpha=0.5, beta=0.6, k=2.0", []),
]
SPATIAL = {"1": (3,), "2": (2, 3), "3": (2, 2, 3)}


def made(module: Any, name: str, options: str, dtype: Any) -> Any:
    last = "" if name == "LocalResponseNorm" else ", dtype=dtype"
    return eval(f"module.{name}({options}{last})", {"module": module, "dtype": dtype})


@pytest.mark.parametrize(("name", "options", "names"), LAYERS)
def test_state_and_defaults(name: str, options: str, names: list[str]) -> None:
    layer = made(nn, name, options, None)
    state = layer.state_dict()
    assert list(state) == names
    for key, value in state.items():
        assert value.dtype == (np.int64 if key == "num_batches_tracked" else np.float32)
        assert (value.numpy() == (key in ("weight", "running_var"))).all()


@pytest.mark.parametrize(("name", "options", "names"), LAYERS)
def test_layers_equal_pytorchs(name: str, options: str, names: list[str], rng: Rng) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = (
        made(m, name, options, t) for m, t in ((nn, "float64"), (torch.nn, torch.double))
    )
    if "bias=" in repr(theirs):  # older ones do not show it
        assert repr(ours) == repr(theirs)
    assert list(theirs.state_dict()) == names
    for p, q in zip(ours.parameters(), theirs.parameters()):
        values = rng.standard_normal(p.shape)
        p.data[...], q.data[...] = array(values), torch.tensor(values)
    shape = (3, 4, *SPATIAL.get(name[-2], (3,)))
    for step in range(4):
        if step == 3:
            ours.eval(), theirs.eval()
        x = rng.standard_normal(shape) * 2 + 1
        a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = ours(a), theirs(b)
        ct = rng.standard_normal(shape)
        got.backward(ct), want.backward(torch.tensor(ct))
        pairs = [(got.detach(), want.detach()), (a.grad, b.grad)]
        pairs += [(p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters())]
        pairs += [(ours.state_dict()[k], v) for k, v in theirs.state_dict().items()]
        for g, w in pairs:
            np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-10, atol=1e-10)


NUMBERS: list[tuple[Any, list[float]]] = [
    (lambda x: nn.BatchNorm1d(4, dtype="float64")(x),
     [-1.1391835, -0.5012586, 0.4315717, 0.1195652, 1.1184336, -1.5003613]),
    (lambda x: F.group_norm(x, 2),
     [-1.1864596, -0.7054496, -0.0020742, 0.8199135, 1.7298394, -0.6557695]),
    (lambda x: F.instance_norm(x),
     [-1.1414056, -0.1524018, 1.2938074, 0.1918454, 1.1174993, -1.3093447]),
    (lambda x: F.local_response_norm(x, 3, alpha=0.5),
     [-1.4130765, -0.8300587, -0.3697218, 0.5498062, 1.0232989, -0.9952047]),
    (lambda x: F.normalize(x),
     [-0.9212784, -0.3739838, -0.1685184, 0.3596571, 0.5727312, -0.5944302]),
    (lambda x: nn.LayerNorm(3, dtype="float64")(x),
     [-1.1414056, -0.1524018, 1.2938074, 0.1918454, 1.1174993, -1.3093447]),
    (lambda x: nn.RMSNorm(3, eps=1e-5, dtype="float64")(x),
     [-1.4253879, -0.9502586, -0.2554823, 0.5354864, 1.4004172, -0.8672253]),
]  # fmt: skip


def fixed() -> tg.Tensor:
    return tg.tensor(np.arange(24.0).reshape(2, 4, 3) ** 1.3 % 7 - 3)


@pytest.mark.parametrize(("function", "numbers"), NUMBERS)
def test_stored_numbers(function: Any, numbers: list[float]) -> None:
    found = function(fixed()).detach().numpy().ravel()[:6]
    np.testing.assert_allclose(found, numbers, rtol=0, atol=6e-8)


def test_stored_running_statistics() -> None:
    layer = nn.BatchNorm1d(4, dtype="float64")
    layer(fixed())
    mean, var, count = (getattr(layer, name).numpy() for name in TRACKED[2:])
    np.testing.assert_allclose(
        mean, [-0.1214236, 0.094473, -0.0553628, 0.0968212], rtol=0, atol=6e-8
    )
    np.testing.assert_allclose(var, [1.1948767, 1.3303952, 1.3570469, 1.2682298], rtol=0, atol=6e-8)
    assert count == 1
    layer.reset_running_stats()
    assert [list(set(getattr(layer, n).numpy().ravel())) for n in TRACKED[2:]] == [[0], [1], [0]]


# -- running statistics ------------------------------------------------------------------------


def test_statistics_follow_in_place_and_off_the_tape(rng: Rng) -> None:
    layer = nn.BatchNorm2d(3)
    kept = layer.running_mean, layer.running_var, layer.num_batches_tracked
    first, second = (rng.standard_normal((4, 3, 2, 2)).astype("f4") for _ in range(2))
    x = tg.tensor(first, requires_grad=True)
    (layer(x).sum() + layer(tg.tensor(second)).sum()).backward()
    assert all(a is getattr(layer, name) for a, name in zip(kept, TRACKED[2:]))
    assert not any(t.requires_grad for t in kept)
    want = 0.9 * 0.1 * first.mean((0, 2, 3)) + 0.1 * second.mean((0, 2, 3))
    np.testing.assert_allclose(layer.running_mean.numpy(), want, rtol=1e-5, atol=1e-6)
    assert layer.num_batches_tracked.item() == 2


def test_momentum_none_is_the_mean_over_all_batches(rng: Rng) -> None:
    layer = nn.BatchNorm1d(3, momentum=None, dtype="float64")
    batches = [rng.standard_normal((5, 3)) for _ in range(4)]
    for batch in batches:
        layer(tg.tensor(batch))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean(batches, (0, 1)), atol=1e-12)
    want = np.mean([b.var(0, ddof=1) for b in batches], 0)
    np.testing.assert_allclose(layer.running_var.numpy(), want, atol=1e-12)


def test_a_momentum_that_is_a_tensor(rng: Rng) -> None:
    x, kept = rng.standard_normal((5, 3)), (tg.zeros(3), tg.ones(3))
    F.batch_norm(x, *kept, training=True, momentum=tg.tensor(0.25))
    np.testing.assert_allclose(kept[0].numpy(), 0.25 * x.mean(0), atol=1e-12)
    np.testing.assert_allclose(kept[1].numpy(), 0.75 + 0.25 * x.var(0, ddof=1), atol=1e-12)


def test_statistics_that_backward_needs_are_not_overwritten_unseen(rng: Rng) -> None:
    layer = nn.BatchNorm1d(3).eval()
    x = tg.tensor(rng.standard_normal((4, 3)).astype("f4"), requires_grad=True)
    y = layer(x)
    layer.train()(x)
    with pytest.raises(tg.InPlaceError, match="batch_norm_fixed: got a saved value"):
        y.backward(x.detach())


def test_forward_mode_leaves_numbers_behind(rng: Rng) -> None:
    layer = nn.BatchNorm1d(3, dtype="float64")
    x, t = rng.standard_normal((2, 4, 3))
    value, moved = tg.jvp(layer, (x,), (t,))
    assert layer.running_mean.level == 0
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean(0), atol=1e-12)
    step = (layer(x + 1e-6 * t) - layer(x - 1e-6 * t)) / 2e-6
    np.testing.assert_allclose(moved.detach().numpy(), step.detach().numpy(), atol=1e-6)
    assert value.shape == x.shape


def test_vmap_has_no_one_statistic_to_keep(rng: Rng) -> None:
    layer, x = nn.BatchNorm1d(3, dtype="float64"), rng.standard_normal((2, 5, 3))
    with pytest.raises(tg.GradientError) as caught:
        tg.vmap(layer)(x)
    assert str(caught.value) == (
        "batch_norm: got running_mean=float64(3,), level=1, expected one statistic to keep, where "
        "vmap has one for each member of its batch; try running_mean=None and running_var=None "
        "inside vmap, or evaluation"
    )
    found = tg.vmap(lambda one: F.batch_norm(one, None, None, training=True))(x)
    want = [F.batch_norm(one, None, None, training=True).numpy() for one in x]
    np.testing.assert_allclose(found, want, atol=1e-12)
    found = tg.vmap(layer.eval())(x)
    want = [layer(tg.tensor(one)).detach().numpy() for one in x]
    np.testing.assert_allclose(found.detach().numpy(), want, atol=1e-12)


def test_16_bit_layers_hold_their_dtype(rng: Rng) -> None:
    for dtype in ("float16", "bfloat16"):
        layer = nn.BatchNorm2d(3, dtype=dtype)
        x = tg.tensor(30 + 100 * rng.standard_normal((8, 3, 16, 16))).astype(dtype)
        y = layer(x)  # the sum of squares is beyond float16
        assert y.dtype == x.dtype
        values = x.astype("float64").numpy()
        axes = (0, 2, 3)
        want = (values - values.mean(axes, keepdims=True)) / values.std(axes, keepdims=True)
        np.testing.assert_allclose(y.detach().astype("float64").numpy(), want, atol=0.02)
        assert layer.running_var.dtype == x.dtype


def test_normalize_leaves_zeros_alone() -> None:
    for dtype in ("float16", "float32", "float64"):
        x = tg.tensor(np.zeros((2, 3)), requires_grad=True)
        y = F.normalize(x.astype(dtype))
        np.testing.assert_array_equal(y.detach().numpy(), 0)


# -- errors ------------------------------------------------------------------------------------

X = np.zeros((2, 4, 3), "f4")
BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: nn.BatchNorm1d(5)(tg.tensor(X)),
        tg.ShapeError,
        "BatchNorm1d: got an input of shape (2, 4, 3), expected (N, C) or (N, C, L) with C = 5; "
        "try BatchNorm1d(4)",
    ),
    (
        lambda: nn.BatchNorm2d(4)(tg.tensor(X)),
        tg.ShapeError,
        "BatchNorm2d: got an input of shape (2, 4, 3), expected (N, C, H, W) with C = 4; "
        "try input.reshape",
    ),
    (
        lambda: nn.BatchNorm1d(4)(tg.tensor(X[:1, :, 0])),
        ValueError,
        "batch_norm: got input=float32(1, 4), expected more than one value per channel in "
        "training; try a larger batch, or training=False (module.eval())",
    ),
    (
        lambda: nn.BatchNorm1d(4)(tg.tensor(X.astype("f8"))),
        tg.DTypeError,
        "BatchNorm1d: got an input of float64, expected float32 as its parameters have; "
        'try x.astype("float32"), or layer.to("float64")',
    ),
    (
        lambda: F.batch_norm(X.astype(int), None, None, training=True),
        tg.DTypeError,
        'batch_norm: got input=int64(2, 4, 3), expected real floats; try x.astype("float32")',
    ),
    (
        lambda: F.batch_norm(X, None, None),
        ValueError,
        "batch_norm: got running_mean=None, running_var=None, expected both of them without "
        "training=True; try training=True",
    ),
    (
        lambda: F.batch_norm(X, None, None, np.ones(3, "f4"), training=True),
        tg.ShapeError,
        "batch_norm: got input=float32(2, 4, 3), weight=float32(3,), expected a value for each of "
        "the 4 channels on axis 1 of input; try weight of shape (4,), or np.moveaxis(input, -1, 1) "
        "where channels are last",
    ),
    (
        lambda: F.instance_norm(X[:, :, :1]),
        ValueError,
        "instance_norm: got input=float32(2, 4, 1), expected more than one value per channel of an "
        "image; try larger images, or use_input_stats=False",
    ),
    (
        lambda: nn.InstanceNorm1d(3)(tg.tensor(X)),
        tg.ShapeError,
        "InstanceNorm1d: got an input of shape (2, 4, 3), expected (C, L) or (N, C, L) with C = 3; "
        "try InstanceNorm1d(4)",
    ),
    (
        lambda: nn.GroupNorm(3, 4),
        tg.ShapeError,
        "GroupNorm: got num_groups=3, num_channels=4, expected groups that divide the channels; "
        "try GroupNorm(1, num_channels)",
    ),
    (
        lambda: nn.GroupNorm(2, 6)(tg.tensor(X)),
        tg.ShapeError,
        "GroupNorm: got an input of shape (2, 4, 3), expected (N, C, ...) with C = 6; "
        "try GroupNorm(2, 4)",
    ),
    (
        lambda: F.group_norm(X, 3),
        tg.ShapeError,
        "group_norm: got input=float32(2, 4, 3), num_groups=3, expected groups that divide the 4 "
        "channels on axis 1; try num_groups=1",
    ),
    (
        lambda: nn.LayerNorm(4)(tg.tensor(X)),
        tg.ShapeError,
        "layer_norm: got x=float32(2, 4, 3), normalized_shape=(4,), expected x.shape to end with "
        "normalized_shape; try normalized_shape=(3,)",
    ),
    (
        lambda: nn.LocalResponseNorm(0)(X),
        ValueError,
        "local_response_norm: got size=0, expected a whole number from 1 up; try size=5",
    ),
    (
        lambda: F.normalize(X, p=0),
        ValueError,
        "normalize: got p=0, eps=1e-12, expected p > 0 and eps > 0; try p=2.0, eps=1e-12",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
