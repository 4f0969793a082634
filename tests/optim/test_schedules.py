"""Schedules as functions of the step, and the object that applies them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tensorgrad import nn, optim


def factors(schedule: Any, count: int) -> list[float]:
    return [schedule(step) for step in range(count)]


@pytest.mark.parametrize(
    ("schedule", "want"),
    [
        (optim.Constant(), [1, 1, 1]),
        (optim.Constant(0.5), [0.5]),
        (optim.Exponential(0.5), [1, 0.5, 0.25]),
        (optim.Exponential(0.25, steps=2), [1, 0.5, 0.25]),
        (optim.Step(2, gamma=0.1), [1, 1, 0.1, 0.1, 0.01]),
        (optim.InverseTime(1.0), [1, 1 / 2, 1 / 3]),
        (optim.InverseTime(1.0, steps=2), [1, 2 / 3, 1 / 2]),
        (optim.Polynomial(4), [1, 0.75, 0.5, 0.25, 0, 0]),
        (optim.Polynomial(2, power=2, end=0.1), [1, 0.325, 0.1, 0.1]),
        (optim.Polynomial(2, cycle=True), [1, 0.5, 0, 1 / 4, 0, 1 / 6]),
        (optim.Cosine(4), [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]),
        (optim.Cosine(2, end=0.5), [1, 0.75, 0.5, 0.5]),
        (optim.Cosine(2, restarts=True), [1, 0.5, 1, 0.5, 1]),
        (optim.Cosine(1, restarts=True, growth=2), [1, 1, 0.5, 1]),
        (optim.Piecewise([1, 3], [1, 0.5, 0.1]), [1, 0.5, 0.5, 0.1, 0.1]),
        (optim.WarmUp(optim.Polynomial(2), 3), [0.25, 0.5, 0.75, 1, 0.5, 0, 0]),
        (optim.WarmUp(optim.Constant(), 0), [1, 1]),
    ],
)
def test_factors(schedule: Any, want: list[float]) -> None:
    assert factors(schedule, len(want)) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.Exponential(-1),
        lambda: optim.Step(0),
        lambda: optim.Polynomial(10, power=-1),
        lambda: optim.Cosine(10, growth=0.5),
        lambda: optim.Cosine(0),
        lambda: optim.InverseTime(-1),
        lambda: optim.Piecewise([3, 1], [1, 1, 1]),
        lambda: optim.Piecewise([1], [1]),
        lambda: optim.WarmUp(optim.Constant(), -1),
        lambda: optim.OneCycle(0),
        lambda: optim.OneCycle(10, rise=1.0),
        lambda: optim.OneCycle(10, div=0.5),
    ],
)
def test_bad_settings(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def groups() -> Any:
    return optim.SGD(
        [{"params": [nn.Parameter([1.0])]}, {"params": nn.Parameter([1.0]), "lr": 1}], 2
    )


def test_scheduler_scales_every_group() -> None:
    opt = groups()
    scheduler = optim.Scheduler(opt, optim.WarmUp(optim.Exponential(0.5), 1))
    seen = []
    for _ in range(4):
        seen.append(scheduler.get_last_lr())
        scheduler.step()
    assert seen == [[1.0, 0.5], [2.0, 1.0], [1.0, 0.5], [0.5, 0.25]]
    opt.add_param_group({"params": nn.Parameter([1.0]), "lr": 8.0})
    scheduler.step()  # the fifth: 0.5**4
    assert scheduler.get_last_lr() == [0.125, 0.0625, 0.5]


def test_scheduler_resumes() -> None:
    one, two = groups(), groups()
    a, b = (optim.Scheduler(opt, optim.Cosine(10)) for opt in (one, two))
    for _ in range(4):
        a.step()
    two.load_state_dict(one.state_dict())
    b.load_state_dict(a.state_dict())
    assert a.get_last_lr() == b.get_last_lr()
    a.step()
    b.step()
    assert a.get_last_lr() == b.get_last_lr()
    assert b.state_dict() == {"step_count": 5}


@pytest.mark.parametrize(
    ("pure", "make"),
    [
        (optim.Step(3, 0.5), lambda o: optim.StepLR(o, 3, 0.5)),
        (optim.Exponential(0.9), lambda o: optim.ExponentialLR(o, 0.9)),
        (optim.Polynomial(12, 2.0), lambda o: optim.PolynomialLR(o, 12, 2.0)),
        (optim.Cosine(12), lambda o: optim.CosineAnnealingLR(o, 12)),
        (
            optim.Cosine(3, restarts=True, growth=2),
            lambda o: optim.CosineAnnealingWarmRestarts(o, 3, 2),
        ),
        (optim.OneCycle(13), lambda o: optim.OneCycleLR(o, [2, 1], 13, cycle_momentum=False)),
        (
            optim.OneCycle(13, 0.5, 10, 100),
            lambda o: optim.OneCycleLR(
                o, [2, 1], 13, pct_start=0.5, div_factor=10, final_div_factor=100,
                cycle_momentum=False),
        ),
        (optim.InverseTime(0.3), lambda o: optim.LambdaLR(o, optim.InverseTime(0.3))),
    ],
)  # fmt: skip
def test_functions_of_the_step_are_the_objects(pure: Any, make: Any) -> None:
    one, two = groups(), groups()
    a, b = optim.Scheduler(one, pure), make(two)
    for _ in range(12):
        assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-12)
        a.step()
        b.step()
