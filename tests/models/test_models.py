"""The models alone: names and sizes, drawing tokens, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import models, nn


def size(net: Any) -> int:
    return sum(p.size for p in net.parameters())


def test_the_published_sizes() -> None:
    assert size(models.LeNet()) == 61_706
    assert size(models.resnet18()) == 11_689_512
    keys = list(models.resnet18(10).state_dict())
    assert keys[:2] == ["conv1.weight", "bn1.weight"]
    assert {"layer1.0.conv1.weight", "layer2.0.downsample.1.running_var", "fc.bias"} <= set(keys)


@pytest.mark.parametrize(("make", "count"), [("resnet34", 21_797_672), ("resnet50", 25_557_032)])
def test_the_published_sizes_of_larger_ones(
    make: str, count: int, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--full"):
        pytest.skip("with --full: some 100 MB are drawn")
    assert size(getattr(models, make)()) == count


def test_gpt2_has_the_published_names() -> None:
    net = models.GPT2(11, 8, 16, 1, 4)
    attention = ["attn.c_attn", "attn.c_proj"]
    inner = ["ln_1", *attention, "ln_2", "mlp.c_fc", "mlp.c_proj"]
    names = [f"h.0.{name}.{kind}" for name in inner for kind in ("weight", "bias")]
    names = ["wte.weight", "wpe.weight", *names, "ln_f.weight", "ln_f.bias"]
    assert list(net.state_dict()) == [*[f"transformer.{n}" for n in names], "lm_head.weight"]
    assert net.transformer.h[0].attn.c_attn.weight.shape == (16, 48)
    # 12 width² + 13 width of a layer, the tables and the last norm: 124,439,808 at full size.
    assert size(net) == 12 * 16**2 + 13 * 16 + (11 + 8) * 16 + 2 * 16
    assert 12 * (12 * 768**2 + 13 * 768) + (50257 + 1024) * 768 + 2 * 768 == 124_439_808


def gpt() -> Any:
    tg.manual_seed(3)
    net = models.GPT2(11, 8, 16, 2, 4, dropout=0.5).double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.4)
    return net


def test_gpt2_generates_what_whole_passes_say(rng: np.random.Generator) -> None:
    """Also past its positions, where the later half of them is read anew."""
    net, known = gpt(), rng.integers(0, 11, (3, 4))
    found = net.generate(known, 12, temperature=0).numpy()
    assert net.training
    assert found.shape == (3, 16)
    net.eval()
    start = 0
    for k in range(4, 16):
        if k - start > 8:
            start = k - 4
        logits = net(tg.asarray(found[:, start:k])).detach().numpy()
        assert np.array_equal(found[:, k], logits[:, -1].argmax(-1)), k


def test_gpt2_remembers_in_pieces(rng: np.random.Generator) -> None:
    """Tokens read in pieces of several give what they give at once."""
    net = gpt().eval()
    tokens = tg.asarray(rng.integers(0, 11, (2, 8)))
    with tg.no_grad():
        memory = net._memory(2, 8)
        pieces = [(0, 3), (3, 4), (4, 8)]
        parts = [net.transformer(tokens[:, a:b], memory, a).numpy() for a, b in pieces]
        whole = net.transformer(tokens).numpy()
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-10, atol=1e-12)


def test_lstm_generates_what_whole_passes_say(rng: np.random.Generator) -> None:
    net = models.LSTMLanguageModel(11, 6, 8, dropout=0.5).double()
    found = net.generate(rng.integers(0, 11, (3, 4)), 5, temperature=0).numpy()
    assert net.training
    assert found.shape == (3, 9)
    logits = net.eval()(tg.asarray(found))[0].detach().numpy()
    assert np.array_equal(found[:, 4:], logits[:, 3:-1].argmax(-1))


def test_generating_draws_from_the_generator() -> None:
    net = gpt()
    one, two, other = (
        net.generate([[1, 2]], 20, generator=tg.Generator(seed)).numpy() for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_last_layer_of_its_own_needs_one() -> None:
    """A table and a last layer that differ are not put into the one memory of both."""
    net = gpt()
    before = net.transformer.wte.weight.detach().numpy().copy()
    weights = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    weights["lm_head.weight"] += 1
    with pytest.raises(ValueError, match=r"lm_head.weight unlike .*wte.weight.*; try net.lm_head"):
        net.load_state_dict(weights)
    assert np.array_equal(net.transformer.wte.weight.detach().numpy(), before)
    net.lm_head = nn.Linear(16, 11, bias=False, dtype="float64")
    assert net.load_state_dict(weights) == ([], [])
    assert np.array_equal(net.lm_head.weight.detach().numpy(), before + 1)
    del weights["lm_head.weight"]
    with pytest.raises(tg.ShapeError, match=r"missing: lm_head.weight"):
        net.load_state_dict(weights)


def test_no_rows_are_no_images() -> None:
    assert models.LeNet()(tg.zeros((0, 1, 28, 28), dtype="float32")).shape == (0, 10)


def test_samples_have_the_probabilities_of_the_logits(rng: np.random.Generator) -> None:
    logits, count = np.log([0.5, 0.3, 0.15, 0.05]), 20_000
    rows = np.broadcast_to(logits, (count, 4))
    generator = tg.Generator(int(rng.integers(1 << 30)))
    cases: list[tuple[dict[str, Any], Any]] = [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"temperature": 0.5}, np.array([100, 36, 9, 1]) / 146),
        ({"temperature": 0}, [1, 0, 0, 0]),
    ]
    for options, p in cases:
        drawn = models.sample(rows, generator=generator, **options).numpy()
        found = np.bincount(drawn, minlength=4) / count
        # Six standard deviations.
        assert np.all(np.abs(found - p) <= 6 * np.sqrt(np.multiply(p, 1 - np.array(p)) / count))


def test_an_autoencoder_learns() -> None:
    tg.manual_seed(0)
    x = tg.asarray(np.random.default_rng(0).standard_normal((64, 2)).astype("f4"))
    x = tg.concatenate([x, x @ tg.asarray(np.eye(2, 6, 1, dtype="f4"))], axis=1)
    net = models.Autoencoder([8, 16, 2], nn.Tanh)
    optimizer = tg.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = tg.mse_loss(net(x), x)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
    assert net.encoder(x).shape == (64, 2)


BAD: list[tuple[Any, type[Exception], str]] = [
    (
        lambda: models.MLP([3]),
        tg.ShapeError,
        "MLP: got sizes=[3], expected at least an input and an output; try MLP([64, 32, 10])",
    ),
    (
        lambda: models.LeNet()(tg.zeros((2, 1, 32, 32), dtype="float32")),
        tg.ShapeError,
        "LeNet: got an input of shape (2, 1, 32, 32), expected (N, 1, 28, 28); "
        "try tg.pad or tg.nn.functional.avg_pool2d",
    ),
    (
        lambda: models.GPT2(11, 8, 16, 2, 3),
        tg.ShapeError,
        "GPT2: got n_embd=16, n_head=3, expected heads that divide n_embd; try n_head=n_embd // 64",
    ),
    (
        lambda: models.GPT2(11, 8, 16, 2, 4)(np.zeros((2, 9), int)),
        tg.ShapeError,
        "GPT2: got tokens of shape (2, 9), expected (N, L) with L up to n_positions=8; "
        "try tokens[:, -8:]",
    ),
    (
        lambda: models.GPT2(11, 8, 16, 2, 4).generate(np.zeros((2, 0), int), 3),
        tg.ShapeError,
        "GPT2.generate: got tokens of shape (2, 0), expected (N, L) with L of 1 or more; "
        "try [[token]]",
    ),
    (
        lambda: models.LSTMLanguageModel(11).generate([1, 2], 3),
        tg.ShapeError,
        "LSTMLanguageModel.generate: got tokens of shape (2,), expected (N, L) with L of 1 or "
        "more; try [[token]]",
    ),
    (
        lambda: models.sample([0.0, 1.0], temperature=-1),
        ValueError,
        "sample: got temperature=-1, top_k=None, expected temperature >= 0, top_k a whole number "
        ">= 1 or None; try temperature=1.0",
    ),
    (
        lambda: models.sample([0.0, 1.0], top_k=1.5),  # type: ignore[arg-type]
        ValueError,
        "sample: got temperature=1.0, top_k=1.5, expected temperature >= 0, top_k a whole number "
        ">= 1 or None; try temperature=1.0",
    ),
    (
        lambda: models.sample([[0.0, 1.0], [0.0, np.nan]], temperature=0),
        ValueError,
        "sample: got logits whose largest is nan, expected a finite number in every row; "
        "try tg.isfinite(p).all() for p in net.parameters()",
    ),
    (
        lambda: models.sample(np.zeros((3, 0))),
        tg.ShapeError,
        "sample: got logits of shape (3, 0), expected (..., tokens); try net(text)[:, -1]",
    ),
    (
        lambda: models.GPT2(11, 8, 16, 2, 4).generate([[1]], -3),
        ValueError,
        "GPT2.generate: got max_new_tokens=-3, expected a whole number of 0 or more; "
        "try max_new_tokens=100",
    ),
    (
        lambda: models.GPT2(11, 8, 16, 2, 4).load_state_dict(5),  # type: ignore[arg-type]
        TypeError,
        "load_state_dict: got int, expected a mapping of names to arrays; "
        "try tg.io.load_file(path), or module.state_dict()",
    ),
    (
        lambda: models.LeNet()(tg.zeros((1, 28, 28), dtype="float32")),
        tg.ShapeError,
        "LeNet: got an input of shape (1, 28, 28), expected (N, 1, 28, 28); "
        "try tg.pad or tg.nn.functional.avg_pool2d",
    ),
    (
        lambda: models.MLP([3, 4, 2], nn.ReLU()),  # type: ignore[arg-type]
        TypeError,
        "MLP: got activation=ReLU(), expected a class of layers, or a function that makes one; "
        "try activation=nn.ReLU",
    ),
    (
        lambda: models.ResNet(models.BasicBlock, [1, 1, 1, 1, 1]),
        tg.ShapeError,
        "ResNet: got layers=[1, 1, 1, 1, 1], expected four counts of 1 or more, the blocks of each "
        "stage; try [2, 2, 2, 2]",
    ),
]


@pytest.mark.parametrize("case", range(len(BAD)))
def test_bad_input_is_named(case: int) -> None:
    call, error, text = BAD[case]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
