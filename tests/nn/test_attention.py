"""Attention and transformer layers: PyTorch's weights give PyTorch's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn


def f4(rng: np.random.Generator, *shape: int) -> Any:
    return rng.standard_normal(shape).astype(np.float32)


def near(got: Any, want: Any) -> None:
    got = got.detach().numpy() if isinstance(got, tg.Tensor) else got
    np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5)


def twins(theirs: Any, ours: nn.Module) -> None:
    """Give our layer the weights of theirs, all of them drawn anew."""
    import torch

    with torch.no_grad():
        for param in theirs.parameters():
            param.copy_(torch.randn_like(param) * 0.3)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})


def compared(theirs: Any, ours: nn.Module, arrays: list[Any], options: dict[str, Any]) -> None:
    """Outputs and all gradients of the two, of the same inputs and options (NumPy arrays)."""
    torch = pytest.importorskip("torch")
    twins(theirs, ours)
    t_in = {id(a): torch.tensor(a, requires_grad=True) for a in arrays}
    o_in = {id(a): tg.tensor(a, requires_grad=True) for a in arrays}
    named = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    want = theirs(*[t_in[id(a)] for a in arrays], **named)
    got = ours(*[o_in[id(a)] for a in arrays], **options)
    want, got = (x if isinstance(x, tuple) else (x, None) for x in (want, got))
    near(got[0], want[0].detach().numpy())
    if want[1] is not None:
        near(got[1], want[1].detach().numpy())
    (want[0] ** 2).sum().backward()
    tg.sum(got[0] ** 2).backward()
    for a in arrays:
        near(o_in[id(a)].grad, t_in[id(a)].grad.numpy())
    found = dict(ours.named_parameters())
    for name, param in theirs.named_parameters():
        near(found[name].grad, param.grad.numpy())


# -- MultiheadAttention --------------------------------------------------------------------------

BOOL = np.triu(np.ones((3, 3), bool), 1)
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "batch_first": ({"batch_first": True}, {"need_weights": False}),
    "no_bias": ({"bias": False}, {"average_attn_weights": False}),
    "sizes": ({"kdim": 6, "vdim": 4}, {"need_weights": False}),
    "more": ({"add_bias_kv": True, "add_zero_attn": True}, {"attn_mask": BOOL}),
    "more_memory": ({"add_bias_kv": True, "add_zero_attn": True}, {"need_weights": False}),
    "mask": ({}, {"attn_mask": BOOL, "need_weights": False}),
    "causal": ({}, {"attn_mask": BOOL, "need_weights": False, "is_causal": True}),
    "padding": (
        {"batch_first": True},
        {"key_padding_mask": np.array([[0, 0, 1], [0, 0, 0]], bool), "need_weights": False},
    ),
    "both": (
        {},
        {"key_padding_mask": np.array([[0, 0, 1], [0, 0, 0]], bool), "attn_mask": BOOL},
    ),
    "added": (
        {},
        {"attn_mask": np.arange(36, dtype=np.float32).reshape(4, 3, 3) / 9, "need_weights": False},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_multihead_attention_is_pytorchs(rng: np.random.Generator, case: str) -> None:
    torch = pytest.importorskip("torch")
    made, options = CASES[case]
    theirs, ours = (m.MultiheadAttention(8, 2, **made) for m in (torch.nn, nn))
    lead = (2, 3) if made.get("batch_first") else (3, 2)
    arrays = [f4(rng, *lead, n) for n in (8, made.get("kdim", 8), made.get("vdim", 8))]
    compared(theirs, ours, arrays, options)
    if "kdim" not in made:
        compared(theirs, ours, [arrays[0]] * 3, options)


STORED = [
    [0.6648037, -1.170281, -0.03849164, 0.07569692],
    [0.3504984, -0.7288125, -0.3013125, -0.02218935],
]
WEIGHTS = [[0.2167131, 0.7832869], [0.7684942, 0.2315058]]


def test_stored_numbers() -> None:
    """A layer of known weights, without PyTorch: its numbers, seven digits."""
    layer = nn.MultiheadAttention(4, 2)
    for k, param in enumerate(layer.parameters()):
        values = np.sin(np.arange(param.size) + k).reshape(param.shape) / 2
        with tg.no_grad():
            param[...] = values.astype(np.float32)
    x = tg.asarray(np.cos(np.arange(8, dtype=np.float32)).reshape(2, 4))
    found, weights = layer(x, x, x)
    near(found, STORED)
    near(weights, WEIGHTS)


def test_one_sequence_and_what_sees_nothing(rng: np.random.Generator) -> None:
    layer = nn.MultiheadAttention(8, 2)
    x = tg.asarray(f4(rng, 3, 8))
    one, weights = layer(x, x, x, is_causal=True)
    assert one.shape == (3, 8)
    assert np.array_equal(np.triu(weights.detach().numpy(), 1), np.zeros((3, 3)))
    many, none = layer(x[:, None], x[:, None], x[:, None], need_weights=False, is_causal=True)
    assert none is None
    near(many[:, 0], one.detach().numpy())
    hidden = np.ones(3, bool)
    for need in (True, False):
        dead, _ = layer(x, x, x, key_padding_mask=hidden, need_weights=need)
        near(dead, np.broadcast_to(layer.out_proj.bias.detach().numpy(), (3, 8)))  # type: ignore[union-attr]


def test_dropout_of_shares_is_of_training_alone(rng: np.random.Generator) -> None:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = tg.asarray(f4(rng, 4, 2, 8))
    tg.manual_seed(1)
    first = layer(x, x, x, need_weights=False)[0].detach().numpy()
    tg.manual_seed(1)
    assert np.array_equal(first, layer(x, x, x, need_weights=False)[0].detach().numpy())
    assert not np.array_equal(first, layer(x, x, x, need_weights=False)[0].detach().numpy())
    layer.eval()
    near(layer(x, x, x, need_weights=False)[0], layer(x, x, x)[0].detach().numpy())


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m, x: m(x, x, x.astype("float64")), tg.DTypeError, r'x.astype\("float32"\)'),
        (lambda m, x: m(x, x[:2], x), tg.ShapeError, "a value for each key"),
        (lambda m, x: m(x[..., :4], x, x), tg.ShapeError, r"query \(3, 2, 4\)"),
        (lambda m, x: m(x, x, x, attn_mask=np.ones((2, 2), bool)), tg.ShapeError,
         r"attn_mask of shape \(2, 2\), expected \(3, 3\) or \(4, 3, 3\)"),
        (lambda m, x: m(x, x, x, key_padding_mask=np.ones((2, 3))), tg.DTypeError,
         r"try key_padding_mask.astype\(bool\)"),
        (lambda m, x: nn.MultiheadAttention(8, 3), tg.ShapeError, "try num_heads=1"),
        (lambda m, x: nn.MultiheadAttention(8, 2, 1.5), ValueError, "dropout=1.5"),
        (lambda m, x: nn.TransformerEncoderLayer(8, 2, activation="selu"), ValueError,
         "activation='selu'"),
    ],
)  # fmt: skip
def test_errors(rng: np.random.Generator, call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(nn.MultiheadAttention(8, 2), tg.asarray(f4(rng, 3, 2, 8)))


# -- transformers --------------------------------------------------------------------------------

PADDING = np.array([[0, 0, 0], [0, 0, 1]], bool)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layers_are_pytorchs(rng: np.random.Generator, norm_first: bool, activation: str) -> None:
    torch = pytest.importorskip("torch")
    args: Any = (8, 2, 16, 0.0, activation, 1e-5, True, norm_first)
    theirs, ours = (m.TransformerEncoderLayer(*args) for m in (torch.nn, nn))
    x, memory = f4(rng, 2, 3, 8), f4(rng, 2, 5, 8)
    compared(theirs, ours, [x], {"src_mask": BOOL, "src_key_padding_mask": PADDING})
    theirs, ours = (m.TransformerDecoderLayer(*args) for m in (torch.nn, nn))
    compared(theirs, ours, [x, memory], {"tgt_mask": BOOL, "tgt_key_padding_mask": PADDING})


def test_the_whole_is_pytorchs(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    args: Any = (8, 2, 2, 1, 16, 0.0, "relu", None, None, 1e-5, True)
    theirs, ours = (m.Transformer(*args) for m in (torch.nn, nn))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    mask = nn.Transformer.generate_square_subsequent_mask(3).numpy()
    want = torch.nn.Transformer.generate_square_subsequent_mask(3).numpy()
    assert np.array_equal(mask, want)
    compared(theirs, ours, [f4(rng, 2, 4, 8), f4(rng, 2, 3, 8)], {"tgt_mask": mask})


def test_a_model_learns_to_copy_the_token_before(rng: np.random.Generator) -> None:
    """Embedding, causal encoder and a linear layer: the loss falls to a tenth."""
    tg.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), 1)
    net = nn.ModuleList([nn.Embedding(6, 16), nn.Embedding(8, 16), encoder, nn.Linear(16, 6)])
    optimizer = tg.optim.Adam(net.parameters(), lr=0.01)
    tokens, first = rng.integers(0, 6, (16, 8)), 0.0
    for _ in range(80):
        x = net[0](tokens) + net[1](np.arange(8))
        logits = net[3](net[2](x, is_causal=True))
        loss = tg.cross_entropy(tg.reshape(logits[:, 1:], (-1, 6)), tokens[:, :-1].reshape(-1))
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < first / 10
