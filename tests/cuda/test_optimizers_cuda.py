"""Every optimizer on the stand-in: the CPU's trajectory, and a captured step as the eager one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, launches

import tensorgrad as tg
from tensorgrad import nn, optim

MAKERS: dict[str, Any] = {
    "SGD": lambda p, **kw: optim.SGD(p, 0.01, momentum=0.9, nesterov=True, **kw),
    "ASGD": lambda p, **kw: optim.ASGD(p, lambd=0.1, t0=1, **kw),
    "Adagrad": lambda p, **kw: optim.Adagrad(p, initial_accumulator_value=0.5, **kw),
    "RMSprop": lambda p, **kw: optim.RMSprop(p, eps=1e-2, momentum=0.9, centered=True, **kw),
    "Adadelta": lambda p, **kw: optim.Adadelta(p, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, 0.01, amsgrad=True, eps=1e-3, maximize=True, **kw),
    "Adamax": lambda p, **kw: optim.Adamax(p, eps=1e-3, **kw),
    "NAdam": lambda p, **kw: optim.NAdam(p, eps=1e-3, **kw),
    "RAdam": lambda p, **kw: optim.RAdam(p, betas=(0.9, 0.8), eps=1e-3, **kw),
    "Lion": lambda p, **kw: optim.Lion(p, **kw),
    "Rprop": lambda p, **kw: optim.Rprop(p, **kw),
    "LARS": lambda p, **kw: optim.LARS(p, **kw),
    "LAMB": lambda p, **kw: optim.LAMB(p, eps=1e-3, maximize=True, **kw),
    "Adafactor": lambda p, **kw: optim.Adafactor(p, **kw),
    "Muon": lambda p, **kw: optim.Muon(p[:2], **kw),
}
SHAPES = ((6, 4), (3, 5), (7,))
FLAT = {"SGD", "ASGD", "Adagrad", "RMSprop", "Adadelta", "Adam", "Adamax", "NAdam", "RAdam", "Lion"}


@pytest.fixture(autouse=True)
def machine() -> Iterator[Any]:
    with gpus() as found:
        yield found


class Job:
    """Parameters, their gradients step by step, and an optimizer."""

    def __init__(self, name: str, seed: int, device: str, dtype: str, **options: Any) -> None:
        rng = np.random.default_rng(seed)
        starts = [rng.standard_normal(shape) for shape in SHAPES]
        self.params = [nn.Parameter(tg.tensor(x).astype(dtype).to(device)) for x in starts]
        self.opt = MAKERS[name](self.params, **options)
        drawn = [[rng.standard_normal(shape) for shape in SHAPES] for _ in range(6)]
        self.batches = [[tg.tensor(x).astype(dtype).to(device) for x in row] for row in drawn]

    def step(self, *batch: Any) -> None:
        self.opt.zero_grad()
        sum((p * x).sum() for p, x in zip(self.params, batch)).backward()
        self.opt.step()

    def values(self) -> list[Any]:
        return [p.detach().astype("float64").to("cpu").numpy() for p in self.params]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MAKERS)
def test_as_on_the_cpu(name: str, dtype: str, rng: np.random.Generator) -> None:
    seed = int(rng.integers(2**31))
    here, there = (Job(name, seed, device, dtype, max_grad_norm=3.0) for device in ("cpu", "cuda"))
    for one, other in zip(here.batches, there.batches):
        here.step(*one)
        launches().clear()
        there.step(*other)
    bound = 1e-5 if dtype == "float32" else 1e-2
    for a, b in zip(here.values(), there.values()):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", MAKERS)
def test_captured(name: str, rng: np.random.Generator) -> None:
    """The bits of the eager steps, also when the rate changes between replays."""
    seed = int(rng.integers(2**31))
    eager, job = (Job(name, seed, "cuda", "float32") for _ in range(2))
    run = tg.cuda.capture(job.step, tuple(job.batches[0]))
    for _ in range(2):  # which a capture runs to warm up
        eager.step(*eager.batches[0])
    for k, batch in enumerate(job.batches):
        for one in (eager, job):
            one.opt.param_groups[0]["lr"] *= 0.5 if k == 3 else 1
        eager.step(*eager.batches[k])
        run(*batch)
        for a, b in zip(eager.values(), job.values()):
            assert np.array_equal(a, b), k


def test_other_settings_need_another_capture(rng: np.random.Generator) -> None:
    job = Job("Adam", 0, "cuda", "float32")
    run = tg.cuda.capture(job.step, tuple(job.batches[0]))
    job.opt.param_groups[0]["maximize"] = False
    with pytest.raises(tg.cuda.CaptureError, match="got other hyper-parameters since the capture"):
        run(*job.batches[0])


@pytest.mark.parametrize("name", sorted(FLAT))
def test_a_flat_update_is_one_launch(name: str) -> None:
    job = Job(name, 0, "cuda", "float32")
    job.step(*job.batches[0])
    for p, x in zip(job.params, job.batches[1]):
        p.grad = x
    job.opt.step()
    launches().clear()
    job.opt.step()
    found = dict(launches())
    assert found.pop("put_words_32", 1) == 1  # the numbers that change
    assert list(found.values()) == [1]


def test_lbfgs(rng: np.random.Generator) -> None:
    start = rng.standard_normal((2, 3))
    found = []
    for device in ("cpu", "cuda"):
        x = nn.Parameter(tg.tensor(start).to(device))
        opt = optim.LBFGS([x], line_search_fn="strong_wolfe")

        def closure(x: Any = x, opt: Any = opt) -> Any:
            opt.zero_grad()
            loss = ((x**2 - 1) ** 2).sum() + (x[0] * x[1]).sum()
            loss.backward()
            return loss

        opt.step(closure)
        again = optim.LBFGS([x], line_search_fn="strong_wolfe")
        again.load_state_dict(opt.state_dict())
        found.append(x.detach().to("cpu").numpy())
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages(decay: float | None, rng: np.random.Generator) -> None:
    net = nn.Linear(3, 2).to("cuda")
    rule = None if decay is None else optim.get_ema_avg_fn(decay)
    average = optim.AveragedModel(net, avg_fn=rule)
    seen = []
    for _ in range(3):
        value = rng.standard_normal((2, 3)).astype("f4")
        net.weight.data = tg.tensor(value, device="cuda").data
        average.update_parameters(net)
        seen.append(value)
    shares = [1 / 3] * 3 if decay is None else [0.81, 0.09, 0.1]
    want = sum(share * value for share, value in zip(shares, seen))
    found = average.module.weight
    assert found.device.startswith("cuda")
    np.testing.assert_allclose(found.detach().to("cpu").numpy(), want, rtol=1e-5, atol=1e-6)
