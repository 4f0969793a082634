"""scan and while_loop: values, derivatives of every kind and order, memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad


def recurrence(c0: Any, xs: Any, w: Any, reverse: bool = False) -> Any:
    """A sum over a small recurrent net with a nested carry that also counts, and captured w."""

    def step(carry: Any, x: Any) -> Any:
        h = np.tanh(w @ carry["h"] + x)
        return {"h": h, "n": carry["n"] + 1}, (h * h, {"n": carry["n"]})

    last, (ys, extra) = tg.scan(step, {"h": c0, "n": 0}, xs, reverse=reverse)
    return np.sum(last["h"] ** 2) + np.sum(np.sin(ys)) + np.sum(extra["n"] * 1.0)


@pytest.fixture
def problem(rng: np.random.Generator) -> tuple[Any, Any, Any]:
    return rng.standard_normal(3), rng.standard_normal((11, 3)), 0.5 * rng.standard_normal((3, 3))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_is_the_loop(problem: Any, reverse: bool) -> None:
    c0, xs, w = problem
    (last, total), ys = tg.scan(
        lambda c, x: ((np.tanh(w @ c[0] + x), c[1] + 1), c[0]), (c0, 0), xs, reverse=reverse
    )
    h, before = c0, []
    for x in xs[::-1] if reverse else xs:
        before.append(h)
        h = np.tanh(w @ h + x)
    assert type(ys) is np.ndarray
    assert total == 11
    np.testing.assert_allclose(last, h, rtol=1e-12, atol=1e-13)  # states cross 0
    np.testing.assert_allclose(ys, before[::-1] if reverse else before, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_has_derivatives_of_every_order(
    problem: Any, reverse: bool, rng: np.random.Generator
) -> None:
    check_grad(lambda *a: recurrence(*a, reverse=reverse), problem, order=3, rng=rng)


def test_scan_composes(problem: Any, rng: np.random.Generator) -> None:
    c0, xs, w = problem
    v = rng.standard_normal((3, 3))

    def f(w: Any) -> Any:
        return recurrence(c0, xs, w)

    _, moved = tg.jvp(f, (w,), (v,))
    np.testing.assert_allclose(moved, np.sum(tg.grad(f)(w) * v), rtol=1e-10, atol=1e-12)
    forward = tg.jvp(tg.grad(f), (w,), (v,))[1]
    np.testing.assert_allclose(
        tg.grad(lambda w: tg.jvp(f, (w,), (v,))[1])(w), forward, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(
        tg.grad(lambda w: np.sum(tg.grad(f)(w) * v))(w), forward, rtol=1e-9, atol=1e-12
    )
    batch = rng.standard_normal((4, 3))
    each = [tg.grad(lambda c: recurrence(c, xs, w))(c) for c in batch]
    mapped = tg.vmap(tg.grad(lambda c: recurrence(c, xs, w)))(batch)
    np.testing.assert_allclose(mapped, each, rtol=1e-10, atol=1e-12)
    outer = tg.grad(lambda b: np.sum(tg.vmap(lambda c: recurrence(c, xs, w))(b)))(batch)
    np.testing.assert_allclose(outer, each, rtol=1e-10, atol=1e-12)


def test_a_captured_parameter_has_a_gradient() -> None:
    w = Tensor(0.5, requires_grad=True)
    last, ys = tg.scan(lambda c, _: (c * w, c), 2.0, length=5)
    assert type(ys) is Tensor
    last.backward()
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.item(), 2 * 5 * 0.5**4)


def test_scan_of_nothing_has_shapes() -> None:
    last, ys = tg.scan(lambda c, x: (c + x, (x, c)), 3.0, np.ones((0,)))
    assert last == 3.0
    assert [y.shape for y in ys] == [(0,), (0,)]


def test_scan_refuses() -> None:
    with pytest.raises(tg.ShapeError, match="a state of the shapes"):
        tg.scan(lambda c, x: (np.stack([c, x]), None), 0.0, np.ones(3))
    with pytest.raises(tg.ShapeError, match="expected one length"):
        tg.scan(lambda c, x: (c, None), 0.0, (np.ones(3), np.ones(4)))
    with pytest.raises(TypeError, match="try length=n"):
        tg.scan(lambda c, x: (c, None), 0.0)
    with pytest.raises(TypeError, match="try return carry, None"):
        tg.scan(lambda c, x: c, 0.0, np.ones(3))


def _peak(steps: int, loop: Any) -> int:
    x = Tensor(np.linspace(0.0, 1.0, 5_000), requires_grad=True)
    y = loop(x, steps).sum()
    tracemalloc.start()
    y = loop(x, steps).sum()
    y.backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def _scanned(x: Any, steps: int) -> Any:
    return tg.scan(lambda c, _: (np.sin(c) * 1.01, None), x, length=steps)[0]


def _looped(x: Any, steps: int) -> Any:
    def body(s: Any) -> Any:
        return np.sin(s[0]) * 1.01, s[1] + 1

    return tg.while_loop(lambda s: s[1] < steps, body, (x, 0))[0]


@pytest.mark.cpu_only("tracemalloc sees memory of the host")
@pytest.mark.parametrize("loop", [_scanned, _looped])
def test_memory_grows_with_the_root_of_the_steps(loop: Any) -> None:
    state = 5_000 * 8
    for steps in (100, 400):
        assert _peak(steps, loop) < 7 * steps**0.5 * state
    assert _peak(400, loop) < 2.8 * _peak(100, loop)


def test_while_loop_ends_by_its_state(rng: np.random.Generator) -> None:
    def f(x: Any) -> Any:
        return tg.while_loop(lambda y: y < 100.0, lambda y: y * y, x)

    assert type(f(3.0)) is float
    assert f(3.0) == 6561.0
    assert tg.grad(f)(3.0) == 8 * 3.0**7
    assert tg.grad(tg.grad(f))(3.0) == 56 * 3.0**6
    assert tg.jvp(f, (3.0,), (1.0,)) == (6561.0, 8 * 3.0**7)
    w = rng.uniform(0.5, 0.9)
    check_grad(
        lambda x, w: tg.while_loop(
            lambda s: s["n"] < 20, lambda s: {"x": np.sin(s["x"]) * w, "n": s["n"] + 1},
            {"x": x, "n": 0},
        )["x"],
        [rng.uniform(0.5, 1.5, 3), np.array(w)],
        order=2,
        rng=rng,
    )  # fmt: skip


def test_under_vmap_each_example_ends_where_it_would() -> None:
    def f(x: Any) -> Any:
        return tg.while_loop(lambda s: s[0] < 100.0, lambda s: (s[0] * s[0], s[1] + 1), (x, 0))

    x = np.array([3.0, 20.0, 2.0, 200.0])
    ys, counts = tg.vmap(f)(x)
    np.testing.assert_array_equal(ys, [f(v)[0] for v in x])
    np.testing.assert_array_equal(counts, [3, 1, 3, 0])
    slopes = [tg.grad(lambda v: f(v)[0])(v) for v in x]
    np.testing.assert_array_equal(tg.vmap(tg.grad(lambda v: f(v)[0]))(x), slopes)
    np.testing.assert_array_equal(tg.grad(lambda x: np.sum(tg.vmap(f)(x)[0]))(x), slopes)


def test_while_loop_refuses() -> None:
    with pytest.raises(ValueError, match=r"expected one element; try \.any"):
        tg.while_loop(lambda x: x < 1, lambda x: x, np.zeros(3))
    with pytest.raises(tg.ShapeError, match="a state of the shapes"):
        tg.while_loop(lambda x: x.size < 5, lambda x: np.concatenate([x, x]), np.zeros(3))


def test_a_checkpointed_loop_saves_as_little_under_jvp_and_vmap(rng: np.random.Generator) -> None:
    xs, w = rng.standard_normal((100, 8)), rng.standard_normal((8, 8)) / 8

    def last(h: Any) -> Any:
        return tg.scan(lambda h, x: (np.tanh(h @ w + x), None), h, xs)[0]

    plain = tg.peak_memory(lambda h: last(h).sum(), np.ones(8)).held
    pushed = tg.peak_memory(lambda h: tg.jvp(last, (h,), (np.ones(8),))[1].sum(), np.ones(8)).held
    mapped = tg.peak_memory(lambda h: tg.vmap(last)(h).sum(), np.ones((4, 8))).held
    assert plain < 2 * 10 * 8 * 8  # ten states, not a hundred
    assert pushed < 2.5 * plain
    assert mapped < 4.5 * plain
