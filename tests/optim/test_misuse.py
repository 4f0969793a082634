"""What is handed to optimizers and what belongs to them by mistake: refused at once, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tensorgrad as tg
from tensorgrad import nn, optim
from tensorgrad.optim import lr_scheduler, swa_utils


def message(kind: type[Exception], call: Callable[[], Any]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("kind", [optim.SGD, optim.AdamW, optim.Adafactor, optim.LBFGS])
def test_a_parameter_twice(kind: Any) -> None:
    w, v = nn.Parameter(tg.ones((2, 2))), nn.Parameter(tg.ones((2, 2)))
    fix = "expected each once; try model.parameters(), which gives a tied one once"
    said = f"{kind.__name__}: got a parameter of shape (2, 2) twice, in"
    assert message(ValueError, lambda: kind([w, w])) == f"{said} one group, {fix}"
    if kind is not optim.LBFGS:  # which takes one group
        groups = [{"params": [v]}, {"params": [w, v]}]
        assert message(ValueError, lambda: kind(groups)) == f"{said} two groups, {fix}"
        opt = kind([w])
        assert message(ValueError, lambda: opt.add_param_group({"params": w})) == (
            f"{said} two groups, {fix}"
        )
        assert len(opt.param_groups) == 1
    text = message(ValueError, lambda: kind(nn.ReLU().parameters()))
    assert text == (
        f"{kind.__name__}: got no parameters, expected at least one; try model.parameters()"
    )


def test_a_state_of_another_class_without_a_step() -> None:
    w = [nn.Parameter([1.0])]
    adam, sgd = optim.Adam(w), optim.SGD(w, lr=0.5)
    before = adam.state_dict()
    text = message(ValueError, lambda: adam.load_state_dict(sgd.state_dict()))
    assert text.startswith("Adam: got a state with momentum, dampening, nesterov but no betas, eps")
    assert text.endswith("; try the class that saved it")
    assert adam.state_dict() == before
    group = sgd.state_dict()["param_groups"][0]
    group |= {"foreach": None, "fused": None, "initial_lr": 0.25}
    sgd.load_state_dict({"state": {}, "param_groups": [{**group, "lr": 0.25}]})
    assert sgd.param_groups[0]["lr"] == 0.25


def test_what_is_no_number_or_no_optimizer() -> None:
    w = nn.Parameter([1.0])
    assert message(TypeError, lambda: optim.SGD([w], lr="0.1")) == (
        "SGD: got lr='0.1', expected a number; try lr=0.1"
    )
    makes: list[Callable[[Any], Any]] = [
        lambda x: lr_scheduler.StepLR(x, 3),
        lambda x: lr_scheduler.OneCycleLR(x, 0.1, 5),
        lambda x: lr_scheduler.CyclicLR(x, 0.1, 1.0),
        lambda x: lr_scheduler.LambdaLR(x, lambda step: 1.0),
        lambda x: lr_scheduler.ReduceLROnPlateau(x),
        lambda x: swa_utils.SWALR(x, 0.1),
    ]
    for make in makes:
        text = message(TypeError, lambda make=make: make(w))
        assert text.endswith(": got Parameter, expected an optimizer; try optim.SGD(...)")
    assert message(TypeError, lambda: swa_utils.AveragedModel(3)) == (
        "AveragedModel: got int, expected a module; try the network"
    )
    for clip in (optim.clip_grad_norm_, optim.clip_grad_value_):
        text = message(TypeError, lambda clip=clip: clip(nn.Linear(2, 2), 1.0))
        assert text == "clip: got Linear, expected its parameters; try model.parameters()"
