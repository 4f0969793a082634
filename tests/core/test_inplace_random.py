"""Writes in place against the same done by functions: random programs, and all transforms."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from draw import Draw
from place import here

import tensorgrad as tg
from tensorgrad import InPlaceError
from tensorgrad.backend import base
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tape import Writes, next_seq
from tensorgrad.core.tensor import Tensor

Array = np.ndarray[Any, Any]


class Memory:
    """A memory as a value: what a view is, is where its elements stand in it."""

    def __init__(self, value: Any) -> None:
        self.flat = value.reshape(value.size)
        self.size = value.size

    def read(self, places: Array) -> Any:
        chosen = np.zeros((places.size, self.size))
        chosen[np.arange(places.size), places.reshape(-1)] = 1.0
        return np.matmul(tg.Tensor(chosen), self.flat).reshape(places.shape)

    def write(self, places: Array, value: Any) -> None:
        """The last of equal places wins."""
        spread, kept = np.zeros((self.size, places.size)), np.ones(self.size)
        for column, place in enumerate(places.reshape(-1)):
            spread[place] = 0.0
            spread[place, column] = 1.0
            kept[place] = 0.0
        value = np.broadcast_to(value, places.shape).reshape(places.size)
        self.flat = self.flat * kept + np.matmul(tg.Tensor(spread), value)


def some_slice(draw: np.random.Generator, size: int) -> slice:
    step = int(draw.choice([-2, -1, 1, 1, 1, 2]))
    return slice(None, None, step) if draw.random() < 0.3 else slice(
        *(int(k) for k in draw.integers(0, size + 1, 2)), step
    )  # fmt: skip


def basic_key(draw: np.random.Generator, shape: tuple[int, ...]) -> Any:
    key: list[Any] = []
    for size in shape:
        pick = draw.random()
        if pick < 0.25 and size and len(shape) > 1:
            key.append(int(draw.integers(-size, size)))
        else:
            key.append(some_slice(draw, size))
    if draw.random() < 0.2:
        key.insert(int(draw.integers(len(key) + 1)), None)
    if draw.random() < 0.3:
        key = [*key[: max(len(key) - 1, 0)], Ellipsis]
    return tuple(key)


def any_key(draw: np.random.Generator, shape: tuple[int, ...]) -> Any:
    pick = draw.random()
    if pick < 0.5 or not shape or 0 in shape:
        return basic_key(draw, shape)
    if pick < 0.65:
        return draw.random(shape) < 0.5
    axis = int(draw.integers(len(shape)))
    index = draw.integers(-shape[axis], shape[axis], int(draw.integers(1, 4)))
    if pick < 0.8 or len(shape) == 1:
        return (*(slice(None),) * axis, index)
    return tuple(draw.integers(0, n, index.size) for n in shape)


def view_of(draw: np.random.Generator, shape: tuple[int, ...]) -> Any:
    """A view operation that works alike on a tensor and on an array of places."""
    pick = int(draw.integers(7))
    if pick == 0 and len(shape) > 1:
        axes = [int(k) for k in draw.permutation(len(shape))]
        return lambda x: np.transpose(x, axes)
    if pick == 1:
        return lambda x: x.reshape(-1)
    if pick == 2 and len(shape) > 1:
        return lambda x: x.T
    if pick == 3 and shape:
        return lambda x: np.flip(x, 0)
    if pick == 4 and shape and shape[0] > 1:
        return lambda x: np.split(x, [1, shape[0] - 1])[1]
    if pick == 5:
        return lambda x: np.expand_dims(x, 0)
    key = basic_key(draw, shape)
    return lambda x: x[(*key, ...)] if Ellipsis not in key else x[key]


def operand_for(draw: np.random.Generator, shape: tuple[int, ...], w: Any) -> Any:
    """A value that broadcasts to a shape, recorded or not."""
    pick = draw.random()
    if pick < 0.2:
        return float(draw.uniform(0.5, 1.5))
    if pick < 0.4:
        return tg.Tensor(draw.uniform(0.5, 1.5, shape))
    if pick < 0.6:
        return w[int(draw.integers(4))] * 1.5
    size = int(np.prod(shape, dtype=int))
    index = draw.integers(0, 4, size)
    return (np.sin(w)[index] + 1.5).reshape(shape)


def program(seed: int, w: Any, inplace: bool) -> tuple[Any, list[Any]]:
    """Views, reads and writes drawn from a seed; the loss, and what was read."""
    draw = np.random.default_rng(seed)
    shape = [(6,), (3, 4), (2, 3, 2)][int(draw.integers(3))]
    size = int(np.prod(shape))
    start = draw.uniform(0.5, 1.5, shape)
    x: Any = tg.Tensor(start.copy())
    if draw.random() < 0.5:
        x = x * w[0]
    memory = Memory(x)
    family = [(x, np.arange(size).reshape(shape))]
    loss: Any = tg.Tensor(0.0)
    seen: list[Any] = []
    for _ in range(int(draw.integers(4, 14))):
        x, places = family[int(draw.integers(len(family)))]
        pick = draw.random()
        if pick < 0.35:
            step = view_of(draw, places.shape)
            spots = step(places)
            shared = spots.base is not None and np.shares_memory(spots, places)
            found = step(x)
            if inplace and not shared:
                found = x  # a copy, which does not follow
            family.append((found, spots) if shared else (x, places))
        elif pick < 0.65:
            key = any_key(draw, places.shape)
            spots = places[key]
            value = operand_for(draw, spots.shape, w)
            if inplace:
                x[key] = value
            else:
                memory.write(spots, value)
        elif pick < 0.85:
            sign = int(draw.integers(4))
            value = operand_for(draw, places.shape, w)
            if draw.random() < 0.2:
                value = x if inplace else memory.read(places)
            if inplace:
                if sign == 0:
                    x += value
                elif sign == 1:
                    x -= value * 0.3
                elif sign == 2:
                    x *= value
                else:
                    x /= value
            else:
                old = memory.read(places)
                new = [old + value, old - value * 0.3, old * value, old / value][sign]
                memory.write(places, new)
        else:
            value = x.copy() if inplace else memory.read(places)
            seen.append(value.copy())
            loss = loss + (np.sin(value) * draw.normal(size=places.shape)).sum()
    for x, places in family:
        value = x if inplace else memory.read(places)
        seen.append(value.copy())
        loss = loss + (value * draw.normal(size=places.shape)).sum()
    return loss, seen


def check(seed: int) -> None:
    data = np.random.default_rng(seed).uniform(0.5, 1.5, 4)
    w, v = (tg.Tensor(data.copy(), requires_grad=True) for _ in range(2))
    (loss, seen), (want, wanted) = program(seed, w, True), program(seed, v, False)
    for a, b in zip(seen, wanted, strict=True):
        np.testing.assert_allclose(here(a), here(b), rtol=1e-9, atol=1e-9)
    assert (loss.node is None) == (want.node is None)
    if want.node is None:
        return
    loss.backward()
    want.backward()
    grads = [np.zeros(4) if t.grad is None else here(t.grad) for t in (w, v)]
    np.testing.assert_allclose(*grads, rtol=1e-7, atol=1e-8)


def loss_of(seed: int, inplace: bool, w: Any) -> Any:
    return program(seed, w, inplace)[0] + 0.0 * w.sum()


def test_random_programs_inside_of_transforms(
    rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """Exact; under vmap a write is refused where nobody can say whether a reshape is a copy."""
    runs: list[Any] = [
        lambda f: np.stack(tg.jvp(f, (p,), (t,))),
        lambda f: tg.hessian(f)(p),
        lambda f: tg.vmap(tg.grad(f))(m),
    ]
    for seed in rng.integers(0, 2**31, 300 if request.config.getoption("--full") else 12):
        p, t, m = (rng.uniform(0.5, 1.5, shape) for shape in (4, 4, (3, 4)))
        for run in runs:
            want, got = (functools.partial(loss_of, int(seed), way) for way in (False, True))
            try:
                found = run(got)
            except InPlaceError as error:
                assert "reshaped inside jvp or vmap" in str(error)  # noqa: PT017
                continue
            except Exception as error:
                error.add_note(f"seed {seed}")
                raise
            np.testing.assert_allclose(found, run(want), rtol=1e-7, atol=1e-8, err_msg=str(seed))


def test_random_programs_are_what_functions_make_of_them(
    rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    count = 2000 if request.config.getoption("--full") else 120
    for seed in (int(k) for k in rng.integers(0, 2**31, count)):
        try:
            check(seed)
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


# -- when what was written ---------------------------------------------------------------------


def test_the_record_of_writes_is_exact(rng: np.random.Generator) -> None:
    """Against a table of the newest write of every element; combs of two kinds may seem to meet."""
    for exact in (True, False):
        for _ in range(20):
            array, writes = np.zeros((5, 7)), Writes()
            newest = np.zeros((5, 7), int)
            for _ in range(30):
                rows, columns = slice(None), slice(*sorted(rng.integers(0, 8, 2)))
                if exact and rng.random() < 0.5:
                    rows, columns = slice(*sorted(rng.integers(0, 6, 2))), rows
                key = (rows, columns) if exact else (*basic_key(rng, array.shape), ...)
                part = array[key if key.count(...) < 2 else key[:-1]]
                if not part.size:
                    continue
                next_seq()  # as if a node had been recorded
                if rng.random() < 0.6:
                    writes.note(part, base.bounds(part))
                    newest[key if key.count(...) < 2 else key[:-1]] = writes.latest
                seq = int(rng.integers(writes.latest + 1))
                found = writes.since(part, seq, base.bounds(part))
                truth = int(newest[key if key.count(...) < 2 else key[:-1]].max())
                when = 0 if found is None else found[2]
                truth = truth if truth > seq else 0
                assert when == truth if exact else when >= truth


# -- through the transforms --------------------------------------------------------------------


def _writes(x: Any) -> Any:
    y = tg.zeros(4)
    y[0] = x[0]
    v = y[1:3]
    v += x[1] * x[0]
    y[[3, 3]] = np.sin(x[:2])
    v *= v
    y = y * x.sum()
    z = y.reshape((2, 2))
    z[0] = z[1].copy() * x[2]
    z.T[1] -= np.exp(x[0])
    return np.sin(y).sum()


def _functional(x: Any) -> Any:
    y = np.stack([x[0], (x[1] * x[0]) ** 2, (x[1] * x[0]) ** 2, np.sin(x[1])]) * x.sum()
    top = np.stack([y[2] * x[2], y[3] * x[2] - np.exp(x[0])])
    return np.sin(np.concatenate([top, np.stack([y[2], y[3] - np.exp(x[0])])])).sum()


TRANSFORMS: dict[str, Any] = {
    "grad": lambda f, p, t, m: tg.grad(f)(p),
    "hessian": lambda f, p, t, m: tg.hessian(f)(p),
    "grad of grad": lambda f, p, t, m: tg.grad(lambda x: (tg.grad(f)(x) ** 2).sum())(p),
    "jvp": lambda f, p, t, m: tg.jvp(f, (p,), (t,)),
    "jvp of jvp": lambda f, p, t, m: tg.jvp(lambda x: tg.jvp(f, (x,), (t,))[1], (p,), (t,)),
    "jvp of grad": lambda f, p, t, m: tg.jvp(tg.grad(f), (p,), (t,)),
    "grad of jvp": lambda f, p, t, m: tg.grad(lambda x: tg.jvp(f, (x,), (tg.tensor(t),))[1])(p),
    "vmap": lambda f, p, t, m: tg.vmap(f)(m),
    "vmap of grad": lambda f, p, t, m: tg.vmap(tg.grad(f))(m),
    "vmap of hessian": lambda f, p, t, m: tg.vmap(tg.hessian(f))(m),
    "grad of vmap": lambda f, p, t, m: tg.grad(lambda x: tg.vmap(f)(x).sum())(m),
    "jvp of vmap": lambda f, p, t, m: tg.jvp(tg.vmap(f), (m,), (m,)),
    "checkpoint": lambda f, p, t, m: tg.grad(tg.checkpoint(f))(p),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_writes_inside_of_transforms(name: str, rng: np.random.Generator) -> None:
    given = rng.uniform(0.5, 1.5, 3), rng.normal(size=3), rng.uniform(0.5, 1.5, (5, 3))
    got, want = (TRANSFORMS[name](f, *given) for f in (_writes, _functional))
    for a, b in zip(np.atleast_1d(got), np.atleast_1d(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_an_argument_of_a_transform_is_not_written(rng: np.random.Generator) -> None:
    def f(x: Any) -> Any:
        x[0] = 1.0
        return (x * x).sum()

    p = rng.normal(size=3)
    with pytest.raises(InPlaceError, match="got a leaf that requires a gradient"):
        tg.grad(f)(p)
    with pytest.raises(InPlaceError, match="an argument of a transform"):
        tg.grad(lambda x: tg.grad(f)(x * 1.0).sum())(p)
    before = p.copy()
    assert tg.jvp(f, (p,), (np.ones(3),))[1] == pytest.approx(2 * p[1:].sum())
    np.testing.assert_allclose(tg.vmap(f)(p[:, None]), [1.0, 1.0, 1.0])
    np.testing.assert_array_equal(p, before)


def test_what_a_transform_wrote_to_outside_of_it_says_so(rng: np.random.Generator) -> None:
    log = tg.zeros(3)

    def f(x: Any) -> Any:
        log[0] = x.sum()
        return x.sum()

    tg.vmap(f)(rng.normal(size=(2, 3)))
    with pytest.raises(tg.GradientError, match="left the jvp or vmap"):
        log + 1.0


# -- no view without a family ------------------------------------------------------------------


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, tuple | list):
        return [t for one in value for t in tensors(one)]
    return [value] if isinstance(value, Tensor) else []


@pytest.mark.cpu_only("asks NumPy whether arrays share memory")
def test_a_result_that_shares_memory_is_of_the_family(
    rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    tg.ops.load()
    names = sorted(OPERATIONS)
    if not request.config.getoption("--full"):
        names = [str(name) for name in rng.choice(names, 60, replace=False)]
    for name in names:
        for args, options in OPERATIONS[name].samples(Draw(rng)):
            leaves = {
                k: Tensor(a, requires_grad=True)
                for k, a in enumerate(args)
                if isinstance(a, np.ndarray) and a.dtype.kind in "fc"
            }
            try:
                with np.errstate(all="ignore"):
                    found = OPERATIONS[name].function(
                        *(leaves.get(k, a) for k, a in enumerate(args)), **options
                    )
            except (tg.GradientError, TypeError, ValueError):
                continue  # refused with a gradient
            for out in tensors(found):
                for x in leaves.values():
                    if out is not x and np.shares_memory(out.value(), x.value()):
                        assert getattr(out, "source", None) is not None, name
