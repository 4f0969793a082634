"""`checkpoint`: gradients under every transform, memory, random numbers, what f captured."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor

Function = Callable[..., Any]


def layer(x: Any) -> Any:
    return np.tanh(np.sin(np.tanh(np.sin(x * 1.1))))


def chain(step: Function, depth: int = 16) -> Function:
    def run(x: Any) -> Any:
        for _ in range(depth):
            x = step(x)
        return np.sum(x)

    return run


TRANSFORMS: dict[str, Callable[[Function, Any], Any]] = {
    "grad": lambda f, x: tg.grad(f)(x),
    "vmap(grad)": lambda f, x: tg.vmap(tg.grad(f))(x),
    "grad(vmap)": lambda f, x: tg.grad(lambda x: np.sum(tg.vmap(f)(x)))(x),
    "jvp(grad)": lambda f, x: tg.jvp(tg.grad(f), (x,), (x,))[1],
    "grad(jvp)": lambda f, x: tg.grad(lambda y: tg.jvp(f, (y,), (x,))[1])(x),
    "hvp": lambda f, x: tg.hvp(f, x, x),
    "vmap(hvp)": lambda f, x: tg.vmap(lambda x: tg.hvp(f, x, x))(x),
    "grad(grad)": lambda f, x: tg.grad(lambda x: np.sum(tg.grad(f)(x) ** 2))(x),
    "grad(vmap(grad))": lambda f, x: tg.grad(lambda x: np.sum(tg.vmap(tg.grad(f))(x) ** 2))(x),
}


def peak(run: Callable[[], Any]) -> int:
    run()
    gc.collect()
    tracemalloc.start()
    run()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


@pytest.mark.cpu_only("tracemalloc sees memory of the host")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_memory_under_the_transforms(name: str, rng: np.random.Generator) -> None:
    """9 segments of 5 steps: 9 + 5 arrays instead of 45, for values as for tangents."""
    x = rng.standard_normal((4, 5000))
    run = TRANSFORMS[name]
    plain, saving = chain(layer, 9), chain(tg.checkpoint(layer), 9)
    np.testing.assert_allclose(run(saving, x), run(plain, x), rtol=1e-9, atol=1e-12)
    assert peak(lambda: run(saving, x)) < 0.6 * peak(lambda: run(plain, x))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_captured_tensors_keep_their_gradients(name: str, rng: np.random.Generator) -> None:
    w = Tensor(array(rng.uniform(1, 2, 3)), requires_grad=True)
    x = rng.standard_normal((4, 3))
    run = TRANSFORMS[name]
    found = []
    for wrap in (lambda f: f, tg.checkpoint):
        w.grad = None
        total = np.sum(run(chain(wrap(lambda x: np.sin(x * w)), 3), Tensor(array(x))) ** 2)
        total.backward()
        assert w.grad is not None
        found.append(here(w.grad))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10)


def test_per_example_gradients_of_what_was_captured(rng: np.random.Generator) -> None:
    w, x = rng.uniform(1, 2, 3), rng.standard_normal((4, 3))
    for wrap in (lambda f: f, tg.checkpoint):

        def loss(w: Any, x: Any, wrap: Any = wrap) -> Any:
            return np.sum(wrap(lambda x: np.sin(x * w))(x))

        each = tg.vmap(tg.grad(loss), in_axes=(None, 0))(w, x)
        np.testing.assert_allclose(here(each), x * np.cos(x * w))


def test_random_numbers_are_the_same_in_the_second_run(rng: np.random.Generator) -> None:
    own = tg.Generator(5)

    def noisy(x: Any) -> Any:
        return tg.dropout(x, 0.5) * tg.dropout(np.cos(x), 0.3, generator=own)

    inner = tg.checkpoint(noisy)
    x = rng.standard_normal((6, 50))
    state = tg.default_generator.get_state(), own.get_state()
    runs: list[Any] = []
    for f in (noisy, inner, tg.checkpoint(lambda x: inner(x))):
        tg.default_generator.set_state(state[0])
        own.set_state(state[1])
        values = [run(lambda x, f=f: np.sum(f(f(x))), x) for run in TRANSFORMS.values()]
        runs.append((values, tg.default_generator.get_state(), own.get_state()))
    for values, *after in runs[1:]:
        for name, a, b in zip(TRANSFORMS, runs[0][0], values):
            np.testing.assert_allclose(here(b), here(a), rtol=1e-10, err_msg=name)
        assert tuple(after) == runs[0][1:]


def test_a_value_of_a_transform_around_it_may_be_captured(rng: np.random.Generator) -> None:
    x, s = rng.standard_normal((2, 3))

    def f(x: Any, s: Any) -> Any:
        return tg.checkpoint(lambda v: np.sin(v * s))(x)

    np.testing.assert_allclose(tg.vmap(f)(x, s), np.sin(x * s))
    np.testing.assert_allclose(tg.vmap(tg.grad(f))(x, s), s * np.cos(x * s))
    np.testing.assert_allclose(tg.vmap(lambda s: f(1.0, s))(s), np.sin(s))
    found = tg.jvp(lambda s: tg.grad(lambda x: np.sum(f(x, s)))(x), (s,), (s,))[1]
    np.testing.assert_allclose(found, s * np.cos(x * s) - s * s * x * np.sin(x * s))


def test_arguments_and_results_of_every_kind(rng: np.random.Generator) -> None:
    x = Tensor(array(rng.standard_normal((4, 3))))
    labels = Tensor(array(np.array([0, 2, 1, 0])))

    @tg.checkpoint
    def f(d: Any, labels: Any, name: str, scale: float = 1.0) -> Any:
        assert name == "mean"
        assert isinstance(scale, float)
        loss = tg.cross_entropy(d["x"], labels)
        return {"loss": loss * scale, "best": np.argmax(d["x"], axis=-1)}

    def plain(x: Any, labels: Any = labels) -> Any:
        return tg.cross_entropy(x, labels) * 3.0

    def saving(x: Any, labels: Any = labels) -> Any:
        return f({"x": x}, labels, "mean", scale=3.0)["loss"]

    for run in (
        lambda g: tg.grad(g)(x),
        lambda g: tg.hvp(g, x, x),
        lambda g: tg.vmap(tg.grad(g))(x[:, None], labels[:, None]),
    ):
        np.testing.assert_allclose(here(run(saving)), here(run(plain)))
    assert here(f({"x": x}, labels, "mean")["best"]).tolist() == np.argmax(here(x), -1).tolist()
    x.requires_grad = True
    assert tg.checkpoint(lambda x: ())(x) == ()


@pytest.mark.cpu_only("tracemalloc sees memory of the host")
def test_backward_lets_go_of_segments_as_it_comes(rng: np.random.Generator) -> None:
    """No node keeps the argument of its call alive once it was walked."""
    x = Tensor(rng.standard_normal(100_000), requires_grad=True)
    seen: list[int] = []
    step = tg.checkpoint(lambda x: np.sin(x))
    y = x
    tracemalloc.start()
    for _ in range(12):
        y.register_hook(lambda g: seen.append(tracemalloc.get_traced_memory()[0]))
        y = step(y)
    y.sum().backward()
    tracemalloc.stop()
    held = [n / (8 * 100_000) for n in seen]
    assert held[0] - held[-1] > 8
