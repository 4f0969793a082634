"""Fifty steps of every optimizer, against stored numbers of PyTorch 2.13 and PyTorch itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

MATRICES = ("Adafactor", "Muon")
START = [1.0, -2.0, 0.5, 3.0]
Case = tuple[str, dict[str, Any]]
STORED: list[tuple[str, dict[str, Any], list[float]]] = [
    (
        "SGD",
        {"lr": 0.02, "weight_decay": 0.1},
        [1.2866469118962065, -0.5038966503747927, -0.5032172463140872, 1.2866519892931771],
    ),
    (
        "Momentum",
        {"lr": 0.01, "momentum": 0.8, "dampening": 0.2, "weight_decay": 0.1},
        [1.2865841530838589, -0.5082939556044846, -0.5133798032768432, -0.5078023000889241],
    ),
    (
        "NAG",
        {"lr": 0.01, "momentum": 0.8, "weight_decay": 0.1},
        [1.286707982122794, -0.5041772264298034, -0.5032331128752177, -0.5074796636157608],
    ),
    (
        "ASGD",
        {"lr": 0.02, "lambd": 0.01, "t0": 10.0},
        [1.297130661033402, -0.5085636510227991, -0.5077005122633768, 1.2971349629628586],
    ),
    (
        "Adagrad",
        {"lr": 0.3, "lr_decay": 0.01, "initial_accumulator_value": 0.1},
        [1.2982910016965197, -0.5090055593325188, -0.5089462304436064, 1.341053543373806],
    ),
    (
        "RMSprop",
        {"lr": 0.003, "momentum": 0.5, "centered": True},
        [1.2982909066633677, -1.1496002459307904, -0.4279568333467831, 2.22210180880187],
    ),
    (
        "Adadelta",
        {"lr": 0.5, "eps": 0.0001},
        [1.2981007151874888, -1.180577304908763, -0.508863942239275, 2.2501227609503345],
    ),
    (
        "Adam",
        {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-06, "weight_decay": 0.1},
        [1.2878772073552383, -0.6015472835360187, -0.5061047794179369, 1.7011795128134901],
    ),
    (
        "Adam",
        {"lr": 0.03, "betas": (0.8, 0.6), "amsgrad": True},
        [1.2988499786957965, -0.6547544235105168, -0.5167630242183886, 1.8719084738744345],
    ),
    (
        "AdamW",
        {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-06, "weight_decay": 0.1},
        [1.2949216991583872, -0.5154427369426721, -0.5048935817521655, 1.4837411194377046],
    ),
    (
        "Adamax",
        {"lr": 0.03, "weight_decay": 0.1},
        [1.2758107901561273, -0.7536563171364731, -0.5587044118791396, 1.8940004191213582],
    ),
    (
        "NAdam",
        {"lr": 0.03, "momentum_decay": 0.01},
        [1.2980258390213004, -0.692450045331754, -0.5318146627939955, 1.84469697838127],
    ),
    (
        "RAdam",
        {"lr": 0.03, "betas": (0.9, 0.95)},
        [1.3011895489117442, -0.5348417787111065, -0.4558088475241061, 1.0623695699073024],
    ),
    (
        "Rprop",
        {"lr": 0.05, "step_sizes": (0.0001, 0.3)},
        [1.2983628099993603, -0.5089736183999999, -0.5089796465926631, 1.2982190688000004],
    ),
    (
        "Adafactor",
        {"lr": 0.02},
        [1.2982910016965197, -0.6916838081575724, -0.5060786563943908, 1.8055036026239426],
    ),
    (
        "Muon",
        {"lr": 0.02},
        [1.2904253994848256, -1.668217579866586, 0.532675863300129, 2.065462028257764],
    ),
]

CASES: list[Case] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.001, "maximize": True, "momentum": 0.5}),
    ("ASGD", {}),
    ("ASGD", {"lambd": 0.01, "alpha": 0.5, "t0": 5.0, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adagrad", {"eps": 1e-6, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9, "lr": 0.001}),
    ("RMSprop", {"centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True, "alpha": 0.9, "lr": 0.001}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    ("Adadelta", {"lr": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("Adam", {"decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.03, "betas": (0.5, 0.6), "amsgrad": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.01, "amsgrad": True, "maximize": True, "betas": (0.8, 0.5)}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.01, "weight_decay": 0.1, "maximize": True, "betas": (0.8, 0.9)}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "momentum_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("RAdam", {"lr": 0.01}),
    ("RAdam", {"weight_decay": 0.1, "betas": (0.8, 0.9)}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.6, 1.3), "step_sizes": (1e-4, 0.02), "maximize": True}),
    ("Adafactor", {}),
    ("Adafactor", {"eps": (1e-20, 1e-2), "d": 1.5, "beta2_decay": -0.5, "weight_decay": 0.1}),
    ("Adafactor", {"lr": 0.003, "maximize": True}),
]


def hills(x: Any) -> Any:
    return (x**4 / 4 + tg.sin(3 * x)).sum()


@pytest.mark.parametrize(("name", "options", "want"), STORED, ids=[row[0] for row in STORED])
def test_stored(name: str, options: dict[str, Any], want: list[float]) -> None:
    x = nn.Parameter(np.array(START).reshape(2, 2) if name in MATRICES else np.array(START))
    opt = getattr(optim, name)([x], **options)
    for _ in range(50):
        opt.zero_grad()
        hills(x).backward()
        opt.step()
    np.testing.assert_allclose(np.ravel(x.detach().numpy()), want, rtol=0, atol=1e-12)


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch, some of whose optimizers keep a number of theirs in its default dtype."""
    found = pytest.importorskip("torch")
    before = found.get_default_dtype()
    found.set_default_dtype(found.float64)
    yield found
    found.set_default_dtype(before)


def pair(torch: Any, name: str, options: dict[str, Any], ours: Any, theirs: Any) -> tuple[Any, Any]:
    """The same optimizer here and there; Momentum and NAG are PyTorch's SGD."""
    given = options
    if name in ("Momentum", "NAG"):
        given, name_there = {"nesterov": name == "NAG", **options}, "SGD"
    else:
        name_there = name
    return getattr(optim, name)(ours, **options), getattr(torch.optim, name_there)(theirs, **given)


NAMED: list[Case] = [
    *CASES,
    ("Momentum", {"lr": 0.05, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01}),
    ("NAG", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
]
IDS = [f"{name}-{'-'.join(options) or 'plain'}" for name, options in NAMED]


@pytest.mark.parametrize(("name", "options"), NAMED, ids=IDS)
def test_as_pytorch(
    name: str, options: dict[str, Any], torch: Any, rng: np.random.Generator
) -> None:
    """One network, one batch; a parameter without a gradient in some steps is skipped alike."""
    x, y = rng.standard_normal((16, 6)), rng.standard_normal((16, 3))
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to("float64")
    twin = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    state = net.state_dict().items()
    twin.load_state_dict({key: torch.tensor(value.numpy()) for key, value in state})
    a, b = pair(torch, name, options, net.parameters(), twin.parameters())
    for step in range(50):
        a.zero_grad()
        b.zero_grad()
        nn.functional.mse_loss(net(tg.asarray(x)), tg.asarray(y)).backward()
        torch.nn.functional.mse_loss(twin(torch.tensor(x)), torch.tensor(y)).backward()
        if step % 3 == 1:
            net[0].weight.grad = None
            twin[0].weight.grad = None
        a.step()
        b.step()
    for p, q in zip(net.parameters(), twin.parameters()):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("name", "options"), NAMED, ids=IDS)
def test_as_pytorch_in_float32(
    name: str, options: dict[str, Any], torch: Any, rng: np.random.Generator
) -> None:
    """Given gradients: a network would carry roundings on into the next ones."""
    start = rng.standard_normal((7, 5)).astype("f4")
    p, q = nn.Parameter(start.copy()), torch.tensor(start.copy(), requires_grad=True)
    a, b = pair(torch, name, options, [p], [q])
    for _ in range(50):
        gradient = rng.standard_normal((7, 5)).astype("f4")
        p.grad, q.grad = tg.tensor(gradient), torch.tensor(gradient)
        a.step()
        b.step()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-5, atol=1e-5)


MUON = {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3, "momentum": 0.5, "ns_steps": 3}


@pytest.mark.parametrize("options", [{}, {"nesterov": False, **MUON}])
def test_muon_as_pytorch(
    options: Any, torch: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch makes a matrix orthogonal in bfloat16; here it is kept from that."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    starts = [rng.standard_normal(shape) for shape in ((7, 4), (3, 5), (4, 4))]
    ours = [nn.Parameter(start.copy()) for start in starts]
    theirs = [torch.tensor(start.copy(), requires_grad=True) for start in starts]
    a, b = optim.Muon(ours, 0.02, **options), torch.optim.Muon(theirs, 0.02, **options)
    for _ in range(50):
        for p, q in zip(ours, theirs):
            gradient = rng.standard_normal(p.shape)
            p.grad, q.grad = tg.tensor(gradient), torch.tensor(gradient)
        a.step()
        b.step()
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", ["Adam", "RMSprop", "Rprop", "Adamax", "Adagrad"])
def test_complex_as_pytorch(name: str, torch: Any, rng: np.random.Generator) -> None:
    start = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    goal = rng.standard_normal(5) + 1j * rng.standard_normal(5)
    p, q = nn.Parameter(start.copy()), torch.tensor(start, requires_grad=True)
    a, b = getattr(optim, name)([p], lr=0.01), getattr(torch.optim, name)([q], lr=0.01)
    for _ in range(20):
        p.grad, q.grad = tg.tensor(p.detach().numpy() - goal), q.detach() - torch.tensor(goal)
        a.step()
        b.step()
    np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_parameters_move(name: str) -> None:
    p = nn.Parameter(tg.tensor([1.0, -1.0], dtype=name))
    opt = optim.Adam([p], 0.125)
    p.grad = tg.tensor([1.0, -1.0], dtype=name)
    opt.step()
    assert p.dtype.name == name
    np.testing.assert_allclose(p.detach().numpy().astype("f8"), [0.875, -0.875], atol=2e-3)
