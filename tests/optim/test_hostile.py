"""Random settings, groups, gaps and interruptions, against PyTorch step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

Rng = np.random.Generator
Settings = dict[str, Any]


def one_of(rng: Rng, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def betas(rng: Rng) -> Settings:
    return {
        "betas": (one_of(rng, 0.0, 0.5, 0.9, 0.95), one_of(rng, 0.0, 0.5, 0.9, 0.999)),
        "eps": one_of(rng, 1e-8, 1e-4, 1e-2),
        "weight_decay": one_of(rng, 0.0, 0.01, 0.3),
    }


def flags(rng: Rng, *names: str) -> Settings:
    return {name: bool(rng.integers(2)) for name in names}


def sgd(rng: Rng) -> Settings:
    found = {"momentum": one_of(rng, 0.0, 0.5, 0.9), "weight_decay": one_of(rng, 0.0, 0.1)}
    nesterov = bool(found["momentum"] and rng.integers(2))
    dampening = 0.0 if nesterov else one_of(rng, 0.0, 0.3)
    return {**found, "nesterov": nesterov, "dampening": dampening}


def rmsprop(rng: Rng) -> Settings:
    found = {"alpha": one_of(rng, 0.99, 0.5, 0.9), "eps": one_of(rng, 1e-8, 1e-2)}
    found |= {"momentum": one_of(rng, 0.0, 0.5, 0.9), "weight_decay": one_of(rng, 0.0, 0.1)}
    return {**found, **flags(rng, "centered")}


def decayed(rng: Rng, **choices: tuple[Any, ...]) -> Settings:
    found = {name: one_of(rng, *values) for name, values in choices.items()}
    return {**found, "weight_decay": one_of(rng, 0.0, 0.1)}


SETTINGS: dict[str, Callable[[Rng], Settings]] = {
    "SGD": sgd,
    "ASGD": lambda r: decayed(r, lambd=(1e-4, 0.1), alpha=(0.75, 0.0, 2.0), t0=(1e6, 3.0, 0.0)),
    "Adagrad": lambda r: decayed(r, lr_decay=(0.0, 0.1, 2.0), eps=(1e-10, 1e-3)),
    "RMSprop": rmsprop,
    "Adadelta": lambda r: decayed(r, rho=(0.9, 0.0, 0.5, 1.0), eps=(1e-6, 1e-2)),
    "Adam": lambda r: {**betas(r), **flags(r, "amsgrad", "decoupled_weight_decay")},
    "AdamW": lambda r: {**betas(r), **flags(r, "amsgrad")},
    "Adamax": betas,
    "NAdam": lambda r: {
        **betas(r),
        **flags(r, "decoupled_weight_decay"),
        "momentum_decay": one_of(r, 4e-3, 0.5, 0.0),
    },
    "RAdam": lambda r: {**betas(r), **flags(r, "decoupled_weight_decay")},
    "Rprop": lambda r: {
        "etas": one_of(r, (0.5, 1.2), (0.9, 1.01), (0.1, 3.0)),
        "step_sizes": one_of(r, (1e-6, 50.0), (1e-3, 0.01)),
    },
    "Adafactor": lambda r: decayed(
        r, beta2_decay=(-0.8, -0.1, 0.0, -3.0), eps=((None, 1e-3), (1e-3, 1e-3)), d=(1.0, 2.0)
    ),
}


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch, some of whose optimizers keep a number of theirs in its default dtype."""
    found = pytest.importorskip("torch")
    before = found.get_default_dtype()
    found.set_default_dtype(found.float64)
    yield found
    found.set_default_dtype(before)


class Race:
    """The same parameters under the same optimizer here and there, in two groups."""

    def __init__(self, torch: Any, name: str, rng: Rng) -> None:
        self.torch, self.rng, self.kind = torch, rng, getattr(optim, name)
        draw = SETTINGS[name]
        self.settings = {"lr": 10 ** rng.uniform(-3, -1), **flags(rng, "maximize"), **draw(rng)}
        other = {"lr": 10 ** rng.uniform(-3, -1), **draw(rng)}
        shapes = [tuple(rng.integers(1, 5, rng.integers(0, 4))) for _ in range(6)]
        starts = [np.asarray(rng.standard_normal(shape)) for shape in shapes]
        self.ours = [nn.Parameter(tg.tensor(start)) for start in starts]
        self.theirs = [torch.tensor(start.copy(), requires_grad=True) for start in starts]
        self.here = self.kind(self.groups(self.ours, other), **self.settings)
        there = self.groups(self.theirs, {**self.settings, **other})
        self.there = getattr(torch.optim, name)(there, **self.settings)

    @staticmethod
    def groups(params: list[Any], other: Settings) -> list[Settings]:
        return [{"params": params[:3]}, {"params": params[3:], **other}]

    def resume(self) -> None:
        """Go on with another optimizer of the same state."""
        groups = [{**group} for group in self.here.param_groups]
        again = self.kind(groups, **self.settings)
        again.load_state_dict(self.here.state_dict())
        self.here = again

    def gradients(self) -> None:
        """New ones, zeros, sums with the old, or none, but always one in each group."""
        rng, always = self.rng, (0, 3)
        for k, (p, q) in enumerate(zip(self.ours, self.theirs)):
            gradient = np.asarray(rng.standard_normal(p.shape)) * (rng.random() > 0.05)
            if k not in always and rng.random() < 0.2:
                p.grad = q.grad = None
            elif p.grad is not None and rng.random() < 0.1:
                p.grad, q.grad = p.grad + tg.tensor(gradient), q.grad + self.torch.tensor(gradient)
            else:
                p.grad, q.grad = tg.tensor(gradient), self.torch.tensor(gradient)

    def clip(self) -> None:
        utils = self.torch.nn.utils
        if self.rng.integers(2):
            found = optim.clip_grad_norm_(self.ours, 0.5)
            assert found.item() == pytest.approx(float(utils.clip_grad_norm_(self.theirs, 0.5)))
        else:
            optim.clip_grad_value_(self.ours, 0.1)
            utils.clip_grad_value_(self.theirs, 0.1)


@pytest.mark.parametrize("name", SETTINGS)
def test_as_pytorch(
    name: str, torch: Any, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    for _ in range(20 if request.config.getoption("--full") else 2):
        race = Race(torch, name, rng)
        for step in range(50):
            if rng.random() < 0.1:
                race.resume()
            if step == 20 and name != "ASGD":  # PyTorch's lags a step behind a new rate
                for opt in (race.here, race.there):
                    opt.param_groups[1]["lr"] = 0.003
            race.gradients()
            if rng.random() < 0.1:
                race.clip()
            race.here.step()
            race.there.step()
            for p, q in zip(race.ours, race.theirs):
                found, want = p.detach().numpy(), q.detach().numpy()
                np.testing.assert_allclose(found, want, rtol=1e-8, atol=1e-8)


def schedule(rng: Rng) -> Callable[[Any, Any], Any]:
    """A scheduler with random settings, as a function of the library and the optimizer."""
    many, few = int(rng.integers(4, 15)), int(rng.integers(1, 6))
    factor, end = rng.uniform(0.1, 1), one_of(rng, 0.0, 0.01, 0.3)
    return one_of(
        rng,
        lambda lib, opt: lib.StepLR(opt, few, factor),
        lambda lib, opt: lib.MultiStepLR(opt, [many, few, few], factor),
        lambda lib, opt: lib.ConstantLR(opt, factor, few),
        lambda lib, opt: lib.LinearLR(opt, factor, end, few),
        lambda lib, opt: lib.ExponentialLR(opt, factor),
        lambda lib, opt: lib.PolynomialLR(opt, many, 3 * factor),
        lambda lib, opt: lib.CosineAnnealingLR(opt, many, end),
        lambda lib, opt: lib.CosineAnnealingWarmRestarts(opt, few, 1 + many % 3, end),
        lambda lib, opt: lib.LambdaLR(opt, lambda step: factor**step),
        lambda lib, opt: lib.MultiplicativeLR(opt, lambda step: factor),
    )


def composed(rng: Rng) -> Callable[[Any, Any], Any]:
    """One, several in a row, or several at once."""
    parts, marks = [schedule(rng) for _ in range(3)], sorted(rng.choice(20, 2, False) + 1)
    return one_of(
        rng,
        parts[0],
        lambda lib, opt: lib.SequentialLR(opt, [one(lib, opt) for one in parts], list(marks)),
        lambda lib, opt: lib.ChainedScheduler([one(lib, opt) for one in parts]),
    )


@pytest.mark.filterwarnings("ignore")  # PyTorch's, about the order of steps
def test_schedules_as_pytorch(
    torch: Any, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    def fresh() -> Any:
        return optim.SGD([{"params": [nn.Parameter([1.0])], "lr": 0.3}], lr=1.0)

    for _ in range(600 if request.config.getoption("--full") else 40):
        here, make = fresh(), composed(rng)
        there = torch.optim.SGD([{"params": [torch.ones(1, requires_grad=True)], "lr": 0.3}])
        one, other = make(optim.lr_scheduler, here), make(torch.optim.lr_scheduler, there)
        for _ in range(30):
            rate = here.param_groups[0]["lr"]
            assert rate == pytest.approx(there.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
            assert one.get_last_lr() == [rate]
            if rng.random() < 0.05 and rate >= 0:
                again = fresh()
                twin = make(optim.lr_scheduler, again)
                again.load_state_dict(here.state_dict())
                twin.load_state_dict(one.state_dict())
                here, one = again, twin
            one.step()
            other.step()
