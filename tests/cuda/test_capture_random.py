"""Draws in a captured step: each replay draws what the step would have drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus

import tensorgrad as tg

WARM_UP = 2


@pytest.fixture(autouse=True)
def machine() -> Iterator[Any]:
    with gpus(devices=2) as found:
        yield found


def compared(seed: int, step: Any, x: Any, device: str = "cuda") -> tg.Generator:
    """Run a step eager and captured, from the same state; its results have the same bits."""
    results: list[list[Any]] = []
    states: list[Any] = []
    for capture in (False, True):
        source, other = tg.Generator(seed), tg.Generator(seed + 1)
        given = tg.tensor(x, device=device)

        def run(value: Any, source: Any = source, other: Any = other) -> Any:
            return step(value, source, other)

        replay = run
        if capture:
            replay = tg.cuda.capture(run, [given])
        else:
            for _ in range(WARM_UP):
                run(given)
        seen = []
        for k in range(3):
            if k == 2:
                source.manual_seed(seed + 9)
            seen.append([np.array(t.numpy()) for t in replay(given)])
        results.append(seen)
        states.append((source.get_state(), other.get_state()))
    assert states[0] == states[1]
    for a, b in zip(*results):
        for left, right in zip(a, b, strict=True):
            assert left.dtype == right.dtype
            assert left.tobytes() == right.tobytes()
    assert all(not np.array_equal(*pair) for pair in zip(results[1][0], results[1][1]))
    return source


@pytest.mark.parametrize("where", ["cuda", "cuda:1"])
def test_every_draw(seed: int, rng: Any, where: str) -> None:
    def step(x: Any, source: Any, other: Any) -> list[Any]:
        here: Any = {"device": x.device, "generator": source}
        return [
            tg.rand(40, **here),
            tg.normal(1.0, 2.0, 33, "float32", **here),
            tg.randn(7, dtype="float16", device=x.device, generator=other),
            tg.integers(-5, 2**40, 50, **here),
            tg.randint(0, 200, 50, "uint8", **here),
            tg.permutation(30, **here),
            tg.permutation(x, generator=other),
            tg.bernoulli(0.5, 64, **here),
        ]

    compared(seed, step, rng.standard_normal(20), where)


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "complex64"])
def test_dropout_and_its_derivative(seed: int, rng: Any, kind: str) -> None:
    def step(x: Any, source: Any, other: Any) -> list[Any]:
        w = tg.tensor(x, requires_grad=True)
        one = tg.dropout(w, 0.5, generator=source)
        two = tg.dropout(one * 2.0, 0.3, generator=source)
        (two * two.conj()).real.sum().backward()
        return [one.detach(), two.detach(), w.grad]

    compared(seed, step, tg.tensor(rng.standard_normal((9, 11))).astype(kind).numpy())


def test_dropout_under_vmap(seed: int, rng: Any) -> None:
    def step(x: Any, source: Any, other: Any) -> list[Any]:
        each = tg.vmap(lambda row: tg.dropout(row, 0.5, generator=source))(x)
        return [each, tg.dropout(x, 0.5, generator=source)]

    compared(seed, step, rng.standard_normal((6, 40)))


def test_the_default_generator(rng: Any) -> None:
    before = tg.default_generator.get_state()
    try:
        tg.manual_seed(7)
        draw = tg.cuda.capture(lambda: tg.rand(5, device="cuda"))
        found = [draw().numpy().copy() for _ in range(2)]
        tg.manual_seed(7)
        want = [tg.rand(5, device="cuda").numpy() for _ in range(WARM_UP + 2)][WARM_UP:]
        assert np.array_equal(found, want)
    finally:
        tg.default_generator.set_state(before)


def test_a_draw_for_the_host_is_the_hosts(seed: int) -> None:
    """Python code of the step runs once: what it draws for itself is drawn in the capture."""
    source = tg.Generator(seed)
    seen = []

    def step(x: Any) -> Any:
        seen.append(tg.rand(1, device="cpu", generator=source).item())
        return x + 1.0

    run = tg.cuda.capture(step, [tg.ones(3, device="cuda")])
    state = source.get_state()
    run(tg.ones(3, device="cuda"))
    assert len(seen) == WARM_UP + 1
    assert source.get_state() == state


@pytest.mark.parametrize("n", [0, 1, 2, 300, 9000])
def test_an_order_is_that_of_the_host(seed: int, n: int) -> None:
    there, here = (
        tg.permutation(n, device=device, generator=tg.Generator(seed)).numpy()
        for device in ("cuda", "cpu")
    )
    assert there.dtype == here.dtype
    assert np.array_equal(there, here)
