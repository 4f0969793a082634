"""Recurrent layers: PyTorch's names, keys, texts and numbers; packed sequences; errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import array

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import packed

Rng = np.random.Generator
F = nn.functional

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("RNN", (3, 4), {}),
    ("RNN", (3, 4, 2), {"nonlinearity": "relu", "bias": False}),
    ("LSTM", (3, 4), {"batch_first": True}),
    ("LSTM", (2, 3, 2), {"bidirectional": True}),
    ("LSTM", (2, 4, 2), {"bidirectional": True, "proj_size": 2}),
    ("GRU", (1, 2, 3), {"bidirectional": True, "batch_first": True}),
    ("GRU", (3, 1), {"bias": False}),
    ("GRU", (3, 2, 2), {"dropout": 0.5}),
]


def twins(kind: str, args: Any, options: Any) -> tuple[Any, Any, Any]:
    """Our layer and PyTorch's with the same weights, off training, and PyTorch."""
    torch = pytest.importorskip("torch")
    ours = getattr(nn, kind)(*args, dtype="float64", **options).eval()
    theirs = getattr(torch.nn, kind)(*args, dtype=torch.float64, **options).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in ours.state_dict().items()})
    return ours, theirs, torch


def leaves(value: Any) -> list[Any]:
    return [x for part in value for x in leaves(part)] if isinstance(value, tuple) else [value]


def compare(torch: Any, ours: Any, theirs: Any, x: Any, hx: Any) -> None:
    """Outputs, final states and every gradient, from the same input and initial states."""
    given = [(tg.tensor(a, requires_grad=True), torch.tensor(a, requires_grad=True))
             for a in (x, *hx)]  # fmt: skip
    pairs = []
    for net, k in ((ours, 0), (theirs, 1)):
        first, *states = [one[k] for one in given]
        state = None if not states else states[0] if len(states) == 1 else tuple(states)
        pairs.append(leaves(net(first, state)))
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), atol=1e-13)
    for found in pairs:
        sum(((y * y).sum() for y in found), 0.0).backward()
    for a, b in (*given, *zip(ours.parameters(), theirs.parameters())):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


@pytest.mark.parametrize(("kind", "args", "options"), LAYERS)
def test_a_layer_is_pytorchs(kind: str, args: Any, options: Any, rng: Rng) -> None:
    ours, theirs, torch = twins(kind, args, options)
    assert repr(ours) == repr(theirs)
    lead = ours.num_layers * (1 + ours.bidirectional)
    sizes = [ours._size(), ours.hidden_size][: ours.states]
    x = rng.standard_normal((5, 2, ours.input_size))
    rows = x.shape[0 if ours.batch_first else 1]
    compare(torch, ours, theirs, x, ())
    compare(torch, ours, theirs, x, [rng.standard_normal((lead, rows, n)) for n in sizes])
    compare(torch, ours, theirs, x[:, 0], [rng.standard_normal((lead, n)) for n in sizes])


CELLS = [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}),
         ("GRUCell", {"bias": False})]  # fmt: skip


@pytest.mark.parametrize(("kind", "options"), CELLS)
def test_a_cell_is_pytorchs(kind: str, options: Any, rng: Rng) -> None:
    ours, theirs, torch = twins(kind, (3, 2), options)
    assert repr(ours) == repr(theirs)
    for lead in ((4,), ()):
        x = rng.standard_normal((*lead, 3))
        compare(torch, ours, theirs, x, ())
        hx = [rng.standard_normal((*lead, 2)) for _ in range(ours.states)]
        compare(torch, ours, theirs, x, hx)


STORED = {
    ("RNN", 0): (
        [-0.4361293, -0.8279002, -0.8599606, -0.7977234],
        [0.4331929, 0.9685198, -0.4143315, 0.0467274],
        [-0.6180114, 1.3412212],
    ),
    ("LSTM", 0): (
        [0.105731, 0.2693379, 0.0482493, 0.1728119],
        [0.0473611, -0.0655488, 0.0362397, -0.0703765],
        [0.0005516, 0.0039098],
    ),
    ("GRU", 0): (
        [-0.2478445, -0.4197207, -0.2521467, -0.3654749],
        [-0.036711, 0.0376315, 0.3388935, 0.0960451],
        [-0.0025314, -0.0064477],
    ),
    ("LSTM", 1): (
        [0.0801, 0.0759403],
        [0.0480679, -0.0046022, 0.0379809, 0.0207025],
        [0.000925],
    ),
}
"""PyTorch's last state, gradient of the first step and of the first row of weight_hh."""


@pytest.mark.parametrize(("kind", "size"), STORED)
def test_numbers_of_pytorch(kind: str, size: int) -> None:
    options = {"proj_size": size} if size else {}
    layer, start = getattr(nn, kind)(2, 2, dtype="float64", **options), 1
    for p in layer.parameters():
        p.data[...] = array(0.7 * np.sin(np.arange(start, start + p.size)).reshape(p.shape))
        start += p.size
    x = tg.tensor(np.cos(np.arange(12.0)).reshape(3, 2, 2), requires_grad=True)
    y, _ = layer(x)
    (y * y).sum().backward()
    found = (y[-1].detach(), x.grad[0], layer.weight_hh_l0.grad[0])
    for got, want in zip(found, STORED[kind, size]):
        np.testing.assert_allclose(got.numpy().ravel(), want, atol=6e-8)


def test_weights_start_uniform_and_float32() -> None:
    for layer in (nn.LSTM(3, 16, 2), nn.GRUCell(3, 16), nn.RNN(3, 16, bidirectional=True)):
        for p in layer.parameters():
            values = np.abs(p.detach().numpy())
            assert p.dtype == np.float32
            assert 0.1 < values.max() <= 0.25


def test_dropout_acts_between_layers_while_training(rng: Rng) -> None:
    layer = nn.GRU(3, 4, 2, dropout=1.0, bias=False, dtype="float64")
    x = tg.tensor(rng.standard_normal((5, 2, 3)))
    dropped, h = layer(x)
    np.testing.assert_array_equal(dropped.detach().numpy(), np.zeros((5, 2, 4)))
    assert np.abs(h[0].detach().numpy()).min() > 0
    kept, _ = layer.eval()(x)
    assert np.abs(kept.detach().numpy()).min() > 0
    with pytest.warns(UserWarning, match="RNN: got dropout=0.5 and one layer, expected several"):
        nn.RNN(2, 2, dropout=0.5)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_one_weight_for_input_and_state(kind: str, rng: Rng) -> None:
    tied, apart = (getattr(nn, kind)(3, 3, dtype="float64") for _ in range(2))
    tied.weight_hh_l0 = tied.weight_ih_l0
    for name, p in apart.named_parameters():
        p.data[...] = getattr(tied, name).detach().data
    x = tg.tensor(rng.standard_normal((4, 2, 3)))
    for layer in (tied, apart):
        tg.optim.SGD(layer.parameters(), 0.1)  # lays the gradients side by side
        (layer(x)[0] ** 2).sum().backward()
    want = apart.weight_ih_l0.grad.numpy() + apart.weight_hh_l0.grad.numpy()
    np.testing.assert_allclose(tied.weight_ih_l0.grad.numpy(), want, atol=1e-13)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_training_follows_pytorch(kind: str, rng: Rng) -> None:
    ours, theirs, torch = twins(kind, (3, 4, 2), {"bidirectional": True})
    mine = tg.optim.SGD(ours.parameters(), 0.05)
    other = torch.optim.SGD(theirs.parameters(), 0.05)
    for _ in range(8):
        x, goal = rng.standard_normal((6, 5, 3)), rng.uniform(-1, 1, (6, 5, 8))
        a = ((ours(tg.tensor(x))[0] - goal) ** 2).mean()
        b = ((theirs(torch.tensor(x))[0] - torch.tensor(goal)) ** 2).mean()
        for loss, optimizer in ((a, mine), (b, other)):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert abs(a.item() - b.item()) <= 1e-9 * b.item()


def test_a_second_backward_adds(rng: Rng) -> None:
    layer = nn.LSTM(3, 4, 2)
    x = tg.tensor(rng.standard_normal((5, 2, 3)).astype("f4"))
    layer(x)[0].sum().backward()
    once = [p.grad.numpy().copy() for p in layer.parameters()]
    y = layer(x)[0].sum()
    y.backward(retain_graph=True)
    y.backward()
    for p, g in zip(layer.parameters(), once):
        np.testing.assert_allclose(p.grad.numpy(), 3 * g, rtol=1e-5, atol=1e-6)


# -- packed sequences --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "args", "options"), LAYERS[2:6])
def test_a_packed_sequence_is_pytorchs(kind: str, args: Any, options: Any, rng: Rng) -> None:
    ours, theirs, torch = twins(kind, args, options)
    x, lengths = rng.standard_normal((5, 4, ours.input_size)), [2, 5, 1, 5]
    rnn = torch.nn.utils.rnn
    a, b = tg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    mine = packed.pack_padded_sequence(a, lengths, enforce_sorted=False)
    other = rnn.pack_padded_sequence(b, lengths, enforce_sorted=False)
    for got, want in zip(mine, other):
        np.testing.assert_array_equal(got.detach().numpy(), want.detach().numpy())
    (y, h), (z, k) = ours(mine), theirs(other)
    for got, want in zip((*y, *leaves(h)), (*z, *leaves(k)), strict=True):
        np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), atol=1e-13)
    padded, found = packed.pad_packed_sequence(y, total_length=6, padding_value=2.0)
    same, _ = rnn.pad_packed_sequence(z, total_length=6, padding_value=2.0)
    np.testing.assert_allclose(padded.detach().numpy(), same.detach().numpy(), atol=1e-13)
    assert found.numpy().tolist() == lengths
    (padded**2).sum().backward()
    (same**2).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), atol=1e-12)


def test_packing_and_back(rng: Rng) -> None:
    given = [tg.tensor(rng.standard_normal((n, 2))) for n in (3, 1, 4)]
    found = packed.unpack_sequence(packed.pack_sequence(given, enforce_sorted=False))
    for a, b in zip(found, given, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    left = packed.pad_sequence(given, padding_side="left", padding_value=7.0)
    assert left.shape == (4, 3, 2)
    assert left[:, 1, 0].numpy().tolist()[:3] == [7.0] * 3
    assert nn.utils.rnn.pack_sequence is packed.pack_sequence


# -- errors ------------------------------------------------------------------------------------

Z = np.zeros

BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: nn.LSTM(3, 4)(tg.zeros((5, 2, 3))),
        tg.DTypeError,
        "LSTM: got an input of float64, expected float32 as its parameters have; "
        'try x.astype("float32"), or layer.to("float64")',
    ),
    (
        lambda: nn.GRU(3, 4)(tg.zeros((3,), "float32")),
        tg.ShapeError,
        "GRU: got an input of shape (3,), expected (steps, batch, features), (batch, steps, "
        "features) with batch_first=True, or (steps, features); try input[:, None]",
    ),
    (
        lambda: nn.GRU(3, 4, 2)(tg.zeros((5, 2, 3), "float32"), tg.zeros((1, 2, 4), "float32")),
        tg.ShapeError,
        "GRU: got hx of shape (1, 2, 4), expected (2, 2, 4) (num_layers * directions, batch, "
        "size); try hx=None for zeros",
    ),
    (
        lambda: nn.LSTM(3, 4)(tg.zeros((5, 2, 3), "float32"), tg.zeros((1, 2, 4), "float32")),
        TypeError,
        "LSTM: got hx of type Tensor, expected the pair (h_0, c_0); try hx=(h_0, c_0)",
    ),
    (
        lambda: nn.LSTM(3, 4)(tg.zeros((5, 2, 2), "float32")),
        tg.ShapeError,
        "LSTM: got an input of shape (5, 2, 2), expected 3 features (input_size) on its last axis; "
        "try LSTM(2, 4)",
    ),
    (
        lambda: nn.GRUCell(3, 4)(tg.zeros((2, 2), "float32")),
        tg.ShapeError,
        "gru_cell: got weight_ih=float32(12, 3), input=float32(1, 2, 2), weight_hh=float32(12, 4), "
        "expected (12, 2): (3 units, features); try weight_ih.T, or an input of other features",
    ),
    (
        lambda: nn.RNN(3, 4)(tg.zeros((0, 2, 3), "float32")),
        tg.ShapeError,
        "rnn_tanh: got input=float32(0, 2, 3), expected (steps, rows, features), one step at "
        "least; try input[:, None] for one sequence",
    ),
    (
        lambda: nn.RNN(3, 4, nonlinearity="elu"),
        ValueError,
        "RNN: got nonlinearity='elu', expected tanh or relu; try nonlinearity=\"tanh\"",
    ),
    (
        lambda: nn.LSTM(3, 4, proj_size=4),
        ValueError,
        "LSTM: got proj_size=4, hidden_size=4, expected less than hidden_size, and 0 for none; "
        "try proj_size=0",
    ),
    (
        lambda: nn.GRU(3, 0),
        ValueError,
        "GRU: got hidden_size=0, expected 1 or more; try hidden_size=1",
    ),
    (
        lambda: F.lstm(Z((2, 1, 3)), Z((1, 2)), Z((8, 3)), Z((8, 2))),
        TypeError,
        "lstm: got hx='ndarray', expected the pair (h, c); try (h, c)",
    ),
    (
        lambda: F.gru(Z((2, 1, 3)), Z((2, 2)), Z((6, 3)), Z((6, 2))),
        tg.ShapeError,
        "gru: got hx=float64(2, 2), input=float64(2, 1, 3), weight_hh=float64(6, 2), "
        "expected (1, 2): (rows, units); try None for zeros",
    ),
    (
        lambda: F.gru(Z((2, 1, 3), int), None, Z((6, 3)), Z((6, 2))),
        tg.DTypeError,
        'gru: got input=int64(2, 1, 3), expected floats; try input.astype("float32")',
    ),
    (
        lambda: F.gru(Z((2, 1, 3), "f4"), None, Z((6, 3)), Z((6, 2))),
        tg.DTypeError,
        "gru: got weight_ih=float64(6, 3), input=float32(2, 1, 3), expected one dtype; "
        'try weight_ih.astype("float32")',
    ),
    (
        lambda: F.gru(Z((2, 1, 3)), None, Z((6, 3)), Z((6, 2)), lengths=[3]),
        ValueError,
        "gru: got lengths=[3], input=float64(2, 1, 3), expected 1 whole numbers from 1 to 2; "
        "try input[:, lengths > 0]",
    ),
    (
        lambda: F.gru_cell(Z(3), None, Z((6, 3)), Z((6, 2))),
        tg.ShapeError,
        "gru_cell: got input=float64(3,), expected (rows, features); try input[None]",
    ),
    (
        lambda: packed.pack_padded_sequence(tg.zeros((3, 2)), [1, 3]),
        ValueError,
        "pack_padded_sequence: got lengths=[1, 3], expected them to fall; try enforce_sorted=False",
    ),
    (
        lambda: packed.pack_padded_sequence(tg.zeros((3, 2)), [4, 3]),
        ValueError,
        "pack_padded_sequence: got lengths=[4, 3], expected 2 whole numbers from 1 to 3; "
        "try leaving out empty sequences",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), BAD)
def test_error_texts(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
