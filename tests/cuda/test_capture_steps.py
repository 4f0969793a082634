"""Whole training steps as one graph: the bits of the eager loop, on the stand-in."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, launches

import tensorgrad as tg
from tensorgrad import nn, optim

WARM_UP, STEPS = 2, 6

MAKERS: dict[str, Any] = {
    "SGD": lambda p, **kw: optim.SGD(p, 0.05, weight_decay=0.01, **kw),
    "Momentum": lambda p, **kw: optim.Momentum(p, 0.05, 0.9, 0.1, 0.01, **kw),
    "NAG": lambda p, **kw: optim.NAG(p, 0.05, 0.9, 0.01, **kw),
    "Adam": lambda p, **kw: optim.Adam(p, 0.01, weight_decay=0.01, **kw),
    "AdamW": lambda p, **kw: optim.AdamW(p, 0.01, **kw),
}


@pytest.fixture(autouse=True)
def machine() -> Iterator[Any]:
    with gpus(devices=2) as found:
        yield found


class Job:
    """A network, its optimizer and schedule, and one step of training."""

    def __init__(self, rng: Any, make: Any, device: str = "cuda", **options: Any) -> None:
        seed = int(rng.integers(2**31))
        self.draws = tg.Generator(seed)
        weights = np.random.default_rng(seed)
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.3, generator=self.draws), nn.Linear(8, 3)
        )
        for p in self.net.parameters():
            p.data[...] = weights.standard_normal(p.shape)
        self.net.to(device)
        self.opt = make(self.net.parameters(), **options)
        self.schedule = optim.Scheduler(self.opt, optim.Cosine(10))
        self.x = [weights.standard_normal((5, 6)).astype("f4") for _ in range(WARM_UP + STEPS)]
        self.y = [weights.integers(0, 3, 5) for _ in range(WARM_UP + STEPS)]
        self.device = device

    def step(self, x: Any, y: Any) -> Any:
        self.opt.zero_grad()
        noise = tg.normal(0.0, 0.1, x.shape, "float32", device=x.device, generator=self.draws)
        loss = tg.cross_entropy(self.net(x + noise), y)
        loss.backward()
        self.opt.step()
        return loss

    def batch(self, k: int) -> tuple[Any, Any]:
        return tg.tensor(self.x[k], device=self.device), tg.tensor(self.y[k], device=self.device)

    def train(self, capture: bool) -> list[Any]:
        """What is seen of each step; the first two are those that a capture runs to warm up."""
        run: Any = self.step
        if capture:
            run = tg.cuda.capture(self.step, self.batch(0))
        else:
            for _ in range(WARM_UP):
                self.step(*self.batch(0))
        seen: list[Any] = []
        for k in range(STEPS):
            loss = run(*self.batch(k))
            seen.append((loss.item(), self.opt.grad_norm, self.draws.get_state()))
            self.schedule.step()
        return seen

    def weights(self) -> list[Any]:
        return [p.detach().numpy() for p in self.net.parameters()]

    def state(self) -> Any:
        return numbers(self.opt.state_dict())


def numbers(value: Any) -> Any:
    """Nested dictionaries with bytes in place of tensors."""
    if isinstance(value, dict):
        return {key: numbers(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [numbers(v) for v in value]
    return value.numpy().tobytes() if isinstance(value, tg.Tensor) else value


LIMITS = (None, 0.5, 1e6)


@pytest.mark.parametrize("name", MAKERS)
def test_replays_have_the_bits_of_the_loop(
    rng: Any, name: str, request: pytest.FixtureRequest
) -> None:
    """A limit of the norm by chance; with --full each."""
    full = request.config.getoption("--full")
    for most in LIMITS if full else (LIMITS[rng.integers(len(LIMITS))],):
        compare(rng, name, most)


def compare(rng: Any, name: str, most: float | None) -> None:
    eager = Job(copy.deepcopy(rng), MAKERS[name], max_grad_norm=most)
    captured = Job(rng, MAKERS[name], max_grad_norm=most)
    start = [w.copy() for w in eager.weights()]
    want, got = eager.train(False), captured.train(True)
    assert got == want
    assert all(norm is None for _, norm, _ in got) == (most is None)
    for a, b, c in zip(captured.weights(), eager.weights(), start):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)
    assert captured.state() == eager.state()
    steps = {held["step"] for held in captured.opt.state_dict()["state"].values()}
    assert steps == {WARM_UP + STEPS}
    for job in (eager, captured):  # and on, without a graph
        job.step(*job.batch(0))
    assert captured.state() == eager.state()
    assert all(map(np.array_equal, captured.weights(), eager.weights()))


def test_a_replay_is_few_launches(rng: Any) -> None:
    """A launch for all numbers that change, and none for what stays."""
    job = Job(rng, MAKERS["Adam"], max_grad_norm=0.5)
    run = tg.cuda.capture(job.step, job.batch(0))
    launches().clear()
    run(*job.batch(1))
    assert launches() == {"put_words_32": 1}
    plain = Job(rng, MAKERS["SGD"])
    plain.net[2].p = 0.0
    still = tg.cuda.capture(lambda x, y: no_noise(plain, x, y), plain.batch(0))
    still(*plain.batch(1))
    launches().clear()
    still(*plain.batch(2))
    assert not launches()
    plain.schedule.step()
    still(*plain.batch(2))
    assert launches() == {"put_words_32": 1}


def no_noise(job: Job, x: Any, y: Any) -> Any:
    job.opt.zero_grad()
    loss = tg.cross_entropy(job.net(x), y)
    loss.backward()
    job.opt.step()
    return loss


def test_an_eager_step_reads_nothing_and_writes_its_numbers_at_once(rng: Any) -> None:
    job = Job(rng, MAKERS["Adam"], max_grad_norm=0.5)
    job.step(*job.batch(0))
    launches().clear()
    job.step(*job.batch(1))
    found = dict(launches())
    assert found["put_words_32"] == found["clip_factor"] == found["square_sum_f32"] == 1


def test_on_another_device(rng: Any) -> None:
    eager = Job(copy.deepcopy(rng), MAKERS["Adam"], "cuda:1", max_grad_norm=0.5)
    captured = Job(rng, MAKERS["Adam"], "cuda:1", max_grad_norm=0.5)
    assert captured.train(True) == eager.train(False)
    assert captured.state() == eager.state()


def test_graphs_of_two_devices_run_side_by_side(rng: Any) -> None:
    def jobs() -> list[Job]:
        return [Job(copy.deepcopy(rng), MAKERS["Adam"], f"cuda:{k}") for k in (0, 1)]

    eager, captured = jobs(), jobs()
    runs = [tg.cuda.capture(job.step, job.batch(0)) for job in captured]
    for job in eager:
        for _ in range(WARM_UP):
            job.step(*job.batch(0))
    for k in range(3):
        for job, run, other in zip(captured, runs, eager):
            assert run(*job.batch(k)).item() == other.step(*other.batch(k)).item()
    assert [job.state() for job in captured] == [job.state() for job in eager]


def test_groups_missing_gradients_and_uneven_counts(rng: Any) -> None:
    """A bucket whose parameters have had different numbers of updates, in two groups."""

    def made() -> Job:
        job = Job(copy.deepcopy(rng), MAKERS["Adam"])
        first, last = job.net[0], job.net[3]
        groups = [{"params": [first.weight, first.bias]}, {"params": last.parameters(), "lr": 0.1}]
        job.opt = optim.Adam(groups, 0.01, max_grad_norm=0.5)
        first.weight.requires_grad = False
        job.step(*job.batch(0))
        first.weight.requires_grad = True
        return job

    eager, captured = made(), made()
    assert captured.train(True) == eager.train(False)
    assert captured.state() == eager.state()
    steps = [held["step"] for held in captured.opt.state_dict()["state"].values()]
    assert steps == [WARM_UP + STEPS, *[WARM_UP + STEPS + 1] * 3]
    state = captured.opt.state_dict()
    state["state"][0]["step"] = state["state"][1]["step"] = 50
    captured.opt.load_state_dict(state)
    eager.opt.load_state_dict(copy.deepcopy(state))
    run = tg.cuda.capture(captured.step, captured.batch(0))
    state["state"][1]["step"] = 70
    captured.opt.load_state_dict(state)
    before = (captured.state(), captured.draws.get_state())
    with pytest.raises(tg.cuda.CaptureError, match=r"got parameters with .* updates"):
        run(*captured.batch(0))
    assert (captured.state(), captured.draws.get_state()) == before


def test_states_are_loaded_between_replays(rng: Any) -> None:
    job = Job(rng, MAKERS["Adam"])
    run = tg.cuda.capture(job.step, job.batch(0))
    kept = copy.deepcopy((job.opt.state_dict(), job.net.state_dict(), job.draws.get_state()))
    values = [w.copy() for w in job.weights()]
    first = [run(*job.batch(k)).item() for k in range(3)]
    job.opt.load_state_dict(kept[0])
    for p, value in zip(job.net.parameters(), values):
        p.data = tg.tensor(value, device="cuda").data  # not where the graph reads
    job.draws.set_state(kept[2])
    assert [run(*job.batch(k)).item() for k in range(3)] == first
    job.draws.manual_seed(5)
    twin = Job(rng, MAKERS["Adam"])
    assert [run(*job.batch(k)).item() for k in range(3)] != first
    assert job.draws.seed == 5
    assert twin.draws.seed != 5


def test_what_a_replay_refuses(rng: Any) -> None:
    job = Job(rng, MAKERS["Adam"])
    run = tg.cuda.capture(job.step, job.batch(0))
    before = job.draws.get_state(), job.state()
    x, y = job.batch(0)
    with pytest.raises(tg.ShapeError, match="for input 0"):
        run(x[:3], y)
    with pytest.raises(tg.DTypeError, match="for input 0"):
        run(x.astype("float64"), y)
    with pytest.raises(tg.DeviceError, match="got input='cuda:1'"):
        run(x, y.to("cuda:1"))
    job.opt.max_grad_norm = 1.0
    with pytest.raises(tg.cuda.CaptureError, match=r"got max_grad_norm=1\.0 since the capture"):
        run(x, y)
    job.opt.max_grad_norm = None
    assert (job.draws.get_state(), job.state()) == before
    job.net.to("float64")
    with pytest.raises(tg.cuda.CaptureError, match="got a parameter of float64 on cuda:0"):
        run(x, y)
    job.net.to("float32")
    run(x, y)
    job.net.to("float64")
    job.opt.zero_grad()
    tg.cross_entropy(job.net(x.astype("float64")), y).backward()
    job.opt.step()
    with pytest.raises(tg.cuda.CaptureError, match="got parameters that moved since the capture"):
        run(x, y)


def test_the_limit_may_change(rng: Any) -> None:
    eager = Job(copy.deepcopy(rng), MAKERS["SGD"], max_grad_norm=0.5)
    captured = Job(rng, MAKERS["SGD"], max_grad_norm=0.5)
    for job, run in ((eager, False), (captured, True)):
        job.train(run)
    run = tg.cuda.capture(captured.step, captured.batch(0))
    for _ in range(WARM_UP):
        eager.step(*eager.batch(0))
    for most in (0.1, 3.0, None, 0.0):
        eager.opt.max_grad_norm = captured.opt.max_grad_norm = most
        assert run(*captured.batch(1)).item() == eager.step(*eager.batch(1)).item()
        assert captured.opt.grad_norm == eager.opt.grad_norm
        assert (captured.opt.grad_norm is None) == (most is None)
    twin = pickle.loads(pickle.dumps(captured.opt))
    assert twin.grad_norm == captured.opt.grad_norm


@pytest.mark.parametrize("norm_type", [2.0, 1.0, np.inf])
def test_clipping_before_the_step(rng: Any, norm_type: float) -> None:
    def clipped(job: Job) -> Any:
        def step(x: Any, y: Any) -> Any:
            job.opt.zero_grad()
            tg.cross_entropy(job.net(x), y).backward()
            norm = optim.clip_grad_norm_(job.net.parameters(), 1e-3, norm_type)
            optim.clip_grad_value_(job.net.parameters(), 5e-4)
            job.opt.step()
            return norm

        return step

    eager, captured = (Job(copy.deepcopy(rng), MAKERS["Momentum"]) for _ in range(2))
    run = tg.cuda.capture(clipped(captured), captured.batch(0))
    plain = clipped(eager)
    for _ in range(WARM_UP):
        plain(*eager.batch(0))
    for k in range(3):
        assert run(*captured.batch(k)).item() == plain(*eager.batch(k)).item() > 1e-3
    assert captured.state() == eager.state()


def test_a_norm_is_not_read_in_a_step(rng: Any) -> None:
    job = Job(rng, MAKERS["SGD"], max_grad_norm=0.5)

    def step(x: Any, y: Any) -> Any:
        loss = job.step(x, y)
        return loss if job.opt.grad_norm > 0 else -loss  # reads

    with pytest.raises(tg.cuda.CaptureError, match=r"job\.opt\.grad_norm > 0 .*\# reads"):
        tg.cuda.capture(step, job.batch(0))
    job.step(*job.batch(0))
    assert job.opt.grad_norm is not None


def test_a_saved_value_that_a_replay_overwrites(rng: Any) -> None:
    job = Job(rng, MAKERS["SGD"])
    run = tg.cuda.capture(job.step, job.batch(0))
    w = job.net[0].weight
    loss = (w * w).sum()
    run(*job.batch(0))
    with pytest.raises(tg.InPlaceError, match="got a saved value that was overwritten"):
        loss.backward()
