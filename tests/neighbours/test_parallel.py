"""Threads, asyncio tasks, processes: a tape for each, one model for all."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn

COUNT = 8


def net(seed: int = 0) -> Any:
    tg.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 3), nn.LogSoftmax(dim=-1))


def forward(model: Any, x: Any) -> Any:
    return (model(tg.asarray(x)) ** 2).sum()


def by_argument(model: Any, x: Any) -> Any:
    found: Any = tg.grad(lambda x: forward(model, x))(x)
    return found.detach().numpy()  # it hangs on the parameters, which are recorded


def together(work: Any, count: int = COUNT) -> list[Any]:
    """`work(k)` in so many threads that start at once; an error of one is raised."""
    start = threading.Barrier(count)

    def run(k: int) -> Any:
        start.wait()
        return work(k)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_a_model_from_eight_threads(rng: np.random.Generator) -> None:
    model = net()
    xs = rng.standard_normal((COUNT, 20, 6, 5)).astype("f4")
    want = [[by_argument(model, x) for x in own] for own in xs]
    found = together(lambda k: [by_argument(model, x) for x in xs[k]])
    np.testing.assert_array_equal(found, want)
    with tg.no_grad():
        values = [[forward(model, x).item() for x in own] for own in xs]
    assert together(lambda k: [forward(model, x).item() for x in xs[k]]) == values


def test_backward_of_own_models_in_eight_threads(rng: np.random.Generator) -> None:
    xs = rng.standard_normal((COUNT, 6, 5)).astype("f4")
    models = [net(k) for k in range(COUNT)]

    def train(model: Any, x: Any) -> Any:
        optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(10):
            optimizer.zero_grad()
            forward(model, x).backward()
            optimizer.step()
        return [p.detach().numpy().copy() for p in model.parameters()]

    found = together(lambda k: train(models[k], xs[k]))
    for k in range(COUNT):
        for a, b in zip(found[k], train(net(k), xs[k])):
            np.testing.assert_array_equal(a, b)


def test_transforms_in_eight_threads(rng: np.random.Generator) -> None:
    """First calls too: every thread meets an operation that none has compiled."""
    x = rng.standard_normal((COUNT, 4))
    fresh = tg.fuse(lambda x: np.sin(x) * np.exp(-x * x) + 0.25)
    total = lambda x: np.sum(fresh(x))  # noqa: E731
    work = {
        "hessian": lambda k: tg.hessian(total)(x[k]),
        "vmap of grad": lambda k: tg.vmap(tg.grad(fresh))(x[k]),
        "hvp": lambda k: tg.hvp(total, x[k], x[k]),
        "checkpoint": lambda k: tg.grad(tg.checkpoint(total))(x[k]),
    }
    for name, run in work.items():
        found = together(run)
        for k in range(COUNT):
            np.testing.assert_array_equal(found[k], run(k), err_msg=name)


def test_modes_do_not_leak_between_threads_and_tasks() -> None:
    x = tg.tensor([1.0], requires_grad=True)
    inside, outside = threading.Event(), threading.Event()

    def other() -> bool:
        inside.wait(5)
        found = (x * 2).requires_grad
        outside.set()
        return found

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other)
        with tg.no_grad():
            inside.set()
            outside.wait(5)
            assert not (x * 2).requires_grad
        assert waiting.result()

    async def task(k: int) -> list[bool]:
        seen = []
        for _ in range(5):
            if k % 2:
                with tg.no_grad():
                    await asyncio.sleep(0)
                    seen.append((x * 2).requires_grad)
            else:
                await asyncio.sleep(0)
                seen.append((x * 2).requires_grad)
        return seen

    async def every() -> list[list[bool]]:
        return await asyncio.gather(*[task(k) for k in range(6)])

    assert asyncio.run(every()) == [[k % 2 == 0] * 5 for k in range(6)]


def test_asyncio(rng: np.random.Generator) -> None:
    model = net()
    xs = rng.standard_normal((6, 4, 5)).astype("f4")

    async def one(x: Any) -> Any:
        y = forward(model, x)
        await asyncio.sleep(0)
        found = by_argument(model, x)
        return y.item(), found, await asyncio.to_thread(by_argument, model, x)

    async def every() -> Any:
        return await asyncio.gather(*[one(x) for x in xs])

    for x, (value, here, there) in zip(xs, asyncio.run(every())):
        assert value == forward(model, x).item()
        np.testing.assert_array_equal(here, by_argument(model, x))
        np.testing.assert_array_equal(there, here)


def remote(x: Any) -> Any:
    """Work of another process: a gradient, and the tensor that it was given."""
    given = tg.tensor(x, requires_grad=True)
    forward(net(), given).backward()
    assert given.grad is not None
    return given.grad.numpy(), given.detach()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(method: str, request: pytest.FixtureRequest, rng: np.random.Generator) -> None:
    if method == "forkserver" and not request.config.getoption("--full"):
        pytest.skip("takes seconds: --full")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    xs = [tg.asarray(rng.standard_normal((2, 4, 5)).astype("f4")[k]) for k in range(2)]
    want = [remote(x)[0] for x in xs]
    context = multiprocessing.get_context(method)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            found = list(pool.map(remote, xs))
    for x, own, (gradient, back) in zip(xs, want, found):
        np.testing.assert_allclose(gradient, own, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(back.numpy(), x.numpy())


def test_fork_after_the_thread_pool_was_used(rng: np.random.Generator) -> None:
    """Large arrays start the pool of threads, which a forked child does not have."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no fork")
    x = rng.standard_normal(1_500_000)
    want = large(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply_async(large, (x,)).get(timeout=60)
    assert found == want


def large(x: Any) -> float:
    return float(np.sum(tg.grad(lambda x: np.sum(np.tanh(np.sin(x))))(x)))
