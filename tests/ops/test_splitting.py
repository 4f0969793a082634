"""Pieces of an array: their shared cotangent, iteration, and many slices of one array."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad.testing import check_grad


def leaf(x):  # type: ignore[no-untyped-def]
    return tg.Tensor(array(x), requires_grad=True)


def test_pieces_without_a_cotangent_get_zeros(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((200, 3))
    for used in ([0], [1, 198], range(200), [199]):
        t = leaf(x)
        rows = np.split(t, 200)
        total = sum(((k + 1.0) * rows[k]).sum() for k in used)
        total.backward()
        want = np.zeros_like(x)
        want[list(used)] = np.asarray(list(used))[:, None] + 1.0
        np.testing.assert_array_equal(here(t.grad), want)


def test_pieces_have_derivatives_of_any_order(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((6, 3))

    def split(x):  # type: ignore[no-untyped-def]
        a, b, c = np.split(x, [1, 4])
        return np.sum(a * b) ** 2 + np.sum(c * c[::-1])

    def unstacked(x):  # type: ignore[no-untyped-def]
        a, _, b, *rest = np.unstack(x)
        return np.sum(a * b * rest[0] * a)

    def iterated(x):  # type: ignore[no-untyped-def]
        state = 1.0
        for row in x:
            state = np.tanh(state * row)
        return state

    for f in (split, unstacked, iterated):
        check_grad(f, [x], order=3, rng=rng)


def test_iteration_is_lazy_and_ends(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((300, 2))
    t = leaf(x)
    rows = list(t)
    assert len(rows) == 300
    np.testing.assert_array_equal(np.stack([here(row) for row in rows]), x)
    sum(k * row.sum() for k, row in enumerate(rows)).backward()
    np.testing.assert_array_equal(here(t.grad), np.arange(300.0)[:, None] + np.zeros((1, 2)))
    first = next(iter(leaf(rng.standard_normal((10**6, 1)))))
    assert first.shape == (1,)
    assert [float(v) for v in tg.Tensor(array(np.arange(3.0)))] == [0.0, 1.0, 2.0]
    assert list(tg.Tensor(array(np.zeros((0, 2))))) == []
    with pytest.raises(TypeError, match="iter: got a tensor with no axes"):
        iter(tg.Tensor(1.0))


@pytest.mark.cpu_only("about the host's memory")
def test_slices_of_one_array_share_one_cotangent(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((400, 500))

    def peak(f):  # type: ignore[no-untyped-def]
        f()
        tg.backend.memory.trim()
        tracemalloc.start()
        f()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    def loop(inner: bool):  # type: ignore[no-untyped-def]
        t = leaf(x)
        source = np.exp(t) if inner else t
        total = 0.0
        for k in range(400):
            total = total + k * source[k].sum()
        total.backward()
        want = np.arange(400.0)[:, None] * (np.exp(x) if inner else 1.0)
        np.testing.assert_allclose(t.grad.numpy(), np.broadcast_to(want, x.shape), rtol=1e-14)

    for inner in (False, True):
        assert peak(lambda inner=inner: loop(inner)) < 8 * x.nbytes


def test_shared_cotangents_meet_others(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((4, 3))

    def f(x):  # type: ignore[no-untyped-def]
        y = np.sin(x)
        parts = [y[0], 2 * y[1:3].sum(0), y[..., 0].sum(), (y * y)[3], y[::-1][2], x[1]]
        return sum(itertools.accumulate(parts))

    check_grad(f, [x], order=2, rng=rng)
    t = leaf(x)
    kept = []
    t.register_hook(kept.append)
    (t[0].sum() + t[0].sum() + (3 * t).sum()).backward()
    want = np.full((4, 3), 3.0)
    want[0] = 5.0
    np.testing.assert_array_equal(here(t.grad), want)
    np.testing.assert_array_equal(here(kept[0]), want)
    t[0].sum().backward()
    want[0] += 1
    np.testing.assert_array_equal(here(t.grad), want)


def program(rng):  # type: ignore[no-untyped-def]
    """A random function of a 4 x 4 array: slices, sums and products of what came before."""
    steps = [
        lambda a, b, k: a + b,
        lambda a, b, k: np.sin(a) * b,
        lambda a, b, k: a[k] + b,
        lambda a, b, k: a[:, [k]] * 1.5 + np.zeros((1, 4)),
        lambda a, b, k: np.stack([a[j] for j in range(4)]),
        lambda a, b, k: a[::-1],
        lambda a, b, k: np.concatenate(np.split(a, [1, 3])[::-1]),
    ]
    chosen = [(steps[rng.integers(0, 7)], *rng.random(2), int(rng.integers(0, 4)))
              for _ in range(rng.integers(3, 25))]  # fmt: skip

    def f(x):  # type: ignore[no-untyped-def]
        values = [x]
        for step, i, j, k in chosen:
            values.append(step(values[int(i * len(values))], values[int(j * len(values))], k))
        return sum(values[1:], values[0]).sum()

    return f


def test_shared_cotangents_of_random_programs(rng) -> None:  # type: ignore[no-untyped-def]
    for number in range(150):
        x, f, found = rng.standard_normal((4, 4)), program(rng), []
        for create_graph in (False, True):
            t = leaf(x)
            if number % 3 == 0:
                t.register_hook(lambda ct: None)
            elif number % 3 == 1 and not create_graph:
                t.node.into = array(np.full((4, 4), np.nan))
            f(t).backward(create_graph=create_graph)
            found.append(here(t.grad))
            np.testing.assert_array_equal(here(t), x)
        np.testing.assert_allclose(*found, rtol=1e-9, atol=1e-9)


def test_errors() -> None:
    x = np.ones((2, 3))
    with pytest.raises(tg.ShapeError, match=r"vsplit: got ary=.*expected 2 axes at least; try spl"):
        tg.vsplit(x[0], 2)
    with pytest.raises(tg.ShapeError, match=r"dsplit: got ary=.*expected 3 axes at least"):
        tg.dsplit(x, 2)
    with pytest.raises(tg.ShapeError, match=r"unstack: got x=.*expected one axis at least"):
        tg.unstack(1.0)
