"""The schedulers, step by step against PyTorch's and against stored numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensorgrad import nn, optim
from tensorgrad.optim import lr_scheduler

RATES = (0.5, 0.125)
Make = Callable[[Any, Any], Any]


def chained(lib: Any, opt: Any) -> Any:
    return lib.ChainedScheduler([lib.ConstantLR(opt, 0.25, 4), lib.ExponentialLR(opt, 0.9)])


def nested(lib: Any, opt: Any) -> Any:
    inner = lib.SequentialLR(opt, [lib.LinearLR(opt, 0.1, 1.0, 3), lib.StepLR(opt, 4)], [3])
    return lib.ChainedScheduler([inner, lib.ExponentialLR(opt, 0.9)])


MAKERS: dict[str, Make] = {
    "StepLR": lambda lib, opt: lib.StepLR(opt, 3, 0.5),
    "MultiStepLR": lambda lib, opt: lib.MultiStepLR(opt, [2, 5, 5, 9], 0.5),
    "ConstantLR": lambda lib, opt: lib.ConstantLR(opt, 0.25, 4),
    "LinearLR": lambda lib, opt: lib.LinearLR(opt, 0.1, 0.8, 6),
    "LinearLR down": lambda lib, opt: lib.LinearLR(opt, 1.0, 0.0, 6),
    "ExponentialLR": lambda lib, opt: lib.ExponentialLR(opt, 0.9),
    "PolynomialLR": lambda lib, opt: lib.PolynomialLR(opt, 7, 1.5),
    "CosineAnnealingLR": lambda lib, opt: lib.CosineAnnealingLR(opt, 5, 0.01),
    "CosineAnnealingLR once": lambda lib, opt: lib.CosineAnnealingLR(opt, 30),
    "WarmRestarts": lambda lib, opt: lib.CosineAnnealingWarmRestarts(opt, 3, 2, 0.01),
    "WarmRestarts even": lambda lib, opt: lib.CosineAnnealingWarmRestarts(opt, 4),
    "OneCycleLR": lambda lib, opt: lib.OneCycleLR(opt, [0.3, 0.6], 24),
    "OneCycleLR linear": lambda lib, opt: lib.OneCycleLR(
        opt, 0.3, epochs=6, steps_per_epoch=4, anneal_strategy="linear", pct_start=0.5,
        base_momentum=0.7, max_momentum=0.8, div_factor=5, final_div_factor=10),
    "OneCycleLR phases": lambda lib, opt: lib.OneCycleLR(opt, 0.3, 24, three_phase=True),
    "OneCycleLR bare": lambda lib, opt: lib.OneCycleLR(opt, 0.3, 24, cycle_momentum=False),
    "CyclicLR": lambda lib, opt: lib.CyclicLR(opt, 0.1, [0.5, 0.9], 4, 3),
    "CyclicLR halved": lambda lib, opt: lib.CyclicLR(opt, 0.1, 0.5, 3, mode="triangular2"),
    "CyclicLR exp": lambda lib, opt: lib.CyclicLR(
        opt, 0.1, 0.5, 3, mode="exp_range", gamma=0.9, cycle_momentum=False),
    "CyclicLR own": lambda lib, opt: lib.CyclicLR(opt, 0.1, 0.5, 3, scale_fn=lambda x: 1 / x),
    "LambdaLR": lambda lib, opt: lib.LambdaLR(opt, [lambda k: 0.9**k, lambda k: 1 / (k + 1)]),
    "LambdaLR schedule": lambda lib, opt: lib.LambdaLR(opt, optim.Polynomial(4, 2, cycle=True)),
    "MultiplicativeLR": lambda lib, opt: lib.MultiplicativeLR(opt, lambda k: 1 - 1 / (k + 2)),
    "SequentialLR": lambda lib, opt: lib.SequentialLR(
        opt,
        [lib.LinearLR(opt, 0.1, 1.0, 4), lib.CosineAnnealingLR(opt, 6),
         lib.ExponentialLR(opt, 0.5)],
        [4, 10]),
    "SequentialLR more": lambda lib, opt: lib.SequentialLR(
        opt,
        [lib.MultiStepLR(opt, [2], 0.5), lib.CosineAnnealingWarmRestarts(opt, 3),
         lib.PolynomialLR(opt, 5)],
        [5, 12]),
    "ChainedScheduler": chained,
    "nested": nested,
    "SWALR": lambda lib, opt: lib.SWALR(opt, [0.05, 0.01], 6),
    "SWALR linear": lambda lib, opt: lib.SWALR(opt, 0.05, 4, "linear"),
    "SWALR at once": lambda lib, opt: lib.SWALR(opt, 0.05, 0),
}  # fmt: skip
STORED = {
    "CosineAnnealingLR": [
        0.5,
        0.453209163622,
        0.330709163622,
        0.179290836378,
        0.056790836378,
        0.01,
    ],
    "OneCycleLR": [
        0.012,
        0.030094087275,
        0.079829182513,
        0.148706519687,
        0.219416757824,
        0.274189935534,
    ],
}


class Ours:
    """The names of both modules, as the makers want them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(optim, name)


class Theirs:
    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __getattr__(self, name: str) -> Any:
        from_swa = getattr(self.torch.optim.swa_utils, name, None) if name == "SWALR" else None
        return from_swa or getattr(self.torch.optim.lr_scheduler, name)


def optimizer(kind: str = "SGD") -> Any:
    groups = [{"params": [nn.Parameter([1.0])], "lr": rate} for rate in RATES]
    return getattr(optim, kind)(groups, **({"momentum": 0.9} if kind == "SGD" else {}))


def twin(torch: Any, kind: str = "SGD") -> Any:
    groups = [{"params": [torch.ones(1, requires_grad=True)], "lr": rate} for rate in RATES]
    return getattr(torch.optim, kind)(groups, **({"momentum": 0.9} if kind == "SGD" else {}))


def seen(opt: Any) -> list[float]:
    return [
        x for g in opt.param_groups for x in (g["lr"], g.get("momentum", 0), *g.get("betas", ()))
    ]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("name", MAKERS)
def test_as_pytorch(name: str, kind: str) -> None:
    torch = pytest.importorskip("torch")
    a, b = optimizer(kind), twin(torch, kind)
    one, other = MAKERS[name](Ours(), a), MAKERS[name](Theirs(torch), b)
    for step in range(24):
        assert seen(a) == pytest.approx(seen(b), rel=1e-12, abs=1e-15), step
        assert one.get_last_lr() == pytest.approx(other.get_last_lr(), rel=1e-12, abs=1e-15)
        b.step()
        one.step()
        other.step()


def test_warm_restarts_between_steps() -> None:
    torch = pytest.importorskip("torch")
    a, b = optimizer(), twin(torch)
    name = "WarmRestarts"
    one, other = MAKERS[name](Ours(), a), MAKERS[name](Theirs(torch), b)
    for place in (0.5, 2.75, 3.0, 8.5, 9.25, 1.0, 20.5):
        one.step(place)
        other.step(place)
        assert seen(a) == pytest.approx(seen(b), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"mode": "max", "threshold_mode": "abs"},
                                     {"threshold_mode": "abs", "cooldown": 2},
                                     {"mode": "max", "min_lr": [0.2, 0.01]}])  # fmt: skip
def test_plateau_as_pytorch(options: Any, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    a, b = optimizer(), twin(torch)
    given = {"factor": 0.5, "patience": 2, "threshold": 0.05, **options}
    one = optim.ReduceLROnPlateau(a, **given)
    other = torch.optim.lr_scheduler.ReduceLROnPlateau(b, **given)
    for measure in rng.random(60):
        one.step(measure)
        other.step(measure)
        assert seen(a) == pytest.approx(seen(b), rel=1e-12)
        assert one.best == other.best


@pytest.mark.parametrize("name", MAKERS)
def test_resuming(name: str) -> None:
    a, b = optimizer(), optimizer()
    one, two = MAKERS[name](Ours(), a), MAKERS[name](Ours(), b)
    for _ in range(7):
        one.step()
    b.load_state_dict(a.state_dict())
    two.load_state_dict(one.state_dict())
    for _ in range(12):
        assert seen(a) == seen(b)
        one.step()
        two.step()


def test_stored() -> None:
    for name, want in STORED.items():
        opt = optimizer()
        scheduler = MAKERS[name](Ours(), opt)
        for rate in want:
            assert opt.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-6)
            scheduler.step()


def test_lower_rates_are_reached() -> None:
    opt = optimizer()
    scheduler = optim.CosineAnnealingLR(opt, 10, eta_min=0.01)
    for _ in range(10):
        scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.01, 0.01], abs=1e-15)
    assert math.isclose(opt.param_groups[0]["initial_lr"], RATES[0])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda o: optim.StepLR(o, 0), "StepLR: got step_size=0, expected step_size >= 1"),
        (lambda o: optim.StepLR(nn.Linear(1, 1), 1), "StepLR: got Linear, expected an optimizer"),
        (lambda o: optim.StepLR(o, 1, last_epoch=3), "no 'initial_lr' in group 0"),
        (lambda o: optim.ConstantLR(o, 2.0), "got factor=2.0, expected 0 < factor <= 1"),
        (lambda o: optim.LinearLR(o, 0.0), "got start_factor=0.0, expected 0 < start_factor"),
        (lambda o: optim.LinearLR(o, 1.0, -1.0), "got end_factor=-1.0"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "got T_max=0, expected T_max >= 1"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 1.5), "got T_0=1.5, expected a whole"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 5, 0), "got T_mult=0"),
        (lambda o: optim.OneCycleLR(o, 0.1), "got 0 steps in all"),
        (lambda o: optim.OneCycleLR(o, [0.1], 5), "got 1 values of max_lr, expected one or 2"),
        (lambda o: optim.OneCycleLR(o, 0.1, 5, pct_start=2.0), "got pct_start=2.0"),
        (lambda o: optim.OneCycleLR(o, 0.1, 5, anneal_strategy="x"), "got anneal_strategy='x'"),
        (lambda o: optim.CyclicLR(o, 0.1, 1.0, mode="saw"), "got mode='saw'"),
        (lambda o: optim.CyclicLR(optim.Rprop([nn.Parameter([1.0])]), 0.1, 1.0), "without mom"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), "got factor=1.0"),
        (lambda o: optim.ReduceLROnPlateau(o, mode="up"), "got mode='up'"),
        (lambda o: optim.ReduceLROnPlateau(o, threshold_mode="up"), "threshold_mode='up'"),
        (lambda o: optim.LambdaLR(o, [0.1, 0.2]), "expected a function of the step"),
        (lambda o: optim.ChainedScheduler([]), "got 0 schedulers, expected at least one"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), "1 schedulers and 1 mile"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(optimizer(), 1)], []), "of another opt"),
        (lambda o: optim.ChainedScheduler([optim.ReduceLROnPlateau(o)]), "whose step takes noth"),
        (lambda o: optim.SWALR(o, 0.1, -1), "got anneal_epochs=-1"),
    ],
)
def test_errors(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        make(optimizer())


def test_more_errors() -> None:
    opt = optimizer()
    cycle = lr_scheduler.OneCycleLR(opt, 0.1, 2)
    cycle.step()
    cycle.step()
    with pytest.raises(ValueError, match="OneCycleLR: got step 3, expected at most total_steps=2"):
        cycle.step()
    with pytest.raises(ValueError, match=r"StepLR: got a state of .* try the class that saved it"):
        optim.StepLR(opt, 3).load_state_dict(cycle.state_dict())
