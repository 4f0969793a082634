"""`x.at[key].set(v)` and the like beyond what the registry tests of each operation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor

NAMES = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "power": np.power, "min": np.minimum, "max": np.maximum,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_elements_named_several_times(name: str, rng: np.random.Generator) -> None:
    index = (rng.integers(-3, 3, 6), rng.integers(0, 2, 6))
    x, v = rng.uniform(0.5, 2.0, (3, 2)), rng.uniform(0.5, 2.0, 6)
    want = x.copy()
    NAMES[name].at(want, index, v)
    t = tg.tensor(x)
    got = here(getattr(t.at[index], name)(v))
    np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-14)  # differences may cancel
    np.testing.assert_array_equal(here(t), x)
    tg.testing.check_grads(lambda a, b: getattr(a.at[index], name)(b), [x, v], order=2, rng=rng)


def test_the_last_of_equal_places_stays_and_alone_has_a_gradient(rng: np.random.Generator) -> None:
    x, v = (Tensor(rng.normal(size=n), requires_grad=True) for n in (3, 4))
    y = x.at[[0, 2, 0, -1]].set(v)
    np.testing.assert_array_equal(here(y), [here(v)[2], here(x)[1], here(v)[3]])
    (y * np.array([1.0, 2.0, 3.0])).sum().backward()
    assert (x.grad.tolist(), v.grad.tolist()) == ([0.0, 2.0, 0.0], [0.0, 0.0, 1.0, 3.0])
    np.testing.assert_array_equal(here(x.at[1:].get()), here(x)[1:])


@pytest.mark.parametrize(
    "key",
    [0, (slice(None), 1), [1, 1, 0], ([1, 0, 1], [0, 0, 1]), (slice(None), [1, 0, 1]),
     (..., np.array([True, False]))],
)  # fmt: skip
@pytest.mark.parametrize("name", ["set", *NAMES])
def test_batches(name: str, key: Any, rng: np.random.Generator) -> None:
    """Of the array, of the values, of both, against a loop; forward and backward."""
    xs = rng.uniform(0.5, 2.0, (4, 2, 2))
    vs = rng.uniform(0.5, 2.0, (4, *xs[0][key].shape))

    def f(x: Any, v: Any) -> Any:
        return getattr(tg.asarray(x).at[key], name)(v)

    for axes in ((0, 0), (0, None), (None, 0)):
        given = [a if k == 0 else a[0] for a, k in zip((xs, vs), axes)]
        rows = [[a[n] if k == 0 else a for a, k in zip(given, axes)] for n in range(4)]
        found = tg.vmap(f, in_axes=axes)(*given)
        want = np.stack([here(f(*map(tg.tensor, row))) for row in rows])
        np.testing.assert_allclose(found, want, rtol=1e-14, atol=1e-14)
        pull = tg.grad(lambda x, v: (f(x, v) ** 2).sum(), argnums=(0, 1))
        got = tg.vmap(pull, in_axes=axes)(*given)
        want = [np.stack(parts) for parts in zip(*(pull(*row) for row in rows))]
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["set", "add", "subtract"])
def test_batches_of_indices(name: str, rng: np.random.Generator) -> None:
    xs, index = rng.normal(size=(4, 5, 2)), rng.integers(0, 5, (4, 3))
    vs = rng.normal(size=(4, 3, 2))

    def f(x: Any, k: Any, v: Any) -> Any:
        return getattr(tg.asarray(x).at[k], name)(v)

    for axes in ((0, 0, 0), (None, 0, 0), (0, 0, None), (None, 0, None)):
        given = [a if k == 0 else a[0] for a, k in zip((xs, index, vs), axes)]
        rows = [[a[n] if k == 0 else a for a, k in zip(given, axes)] for n in range(4)]
        want = np.stack([here(f(*map(tg.tensor, row))) for row in rows])
        found = tg.vmap(f, in_axes=axes)(*map(tg.tensor, given))
        np.testing.assert_allclose(here(found), want, rtol=1e-14, atol=1e-14)
    with pytest.raises(tg.ShapeError, match=r"at_multiply: got .* an index without a batch"):
        tg.vmap(lambda x, k: x.at[k].multiply(2.0))(tg.tensor(xs), tg.tensor(index))


def test_what_does_not_fit() -> None:
    x = tg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(tg.ShapeError, match=r"at_set: got .* a value that broadcasts to \(2,\)"):
        x.at[:2].set([1.0, 2.0, 3.0])
    with pytest.raises(IndexError):
        x.at[3].set(1.0)
    with pytest.raises(IndexError):
        x.at[[5]].add(1.0)
    whole = tg.tensor([1, 2])
    with pytest.raises(tg.DTypeError, match="without changing kind"):
        whole.at[0].set(Tensor(1.5, requires_grad=True))
    for name, value in (("add", 0.5), ("multiply", 1.5), ("divide", 2)):
        with pytest.raises(tg.DTypeError, match="without changing kind"):
            getattr(whole.at[[0, 1]], name)(value)
    assert whole.at[[0, 0]].add(2).tolist() == [5, 2]
    assert x.at[0].set(tg.tensor(2)).dtype == np.float64
    assert whole.at[0].set(1.7).tolist() == [1, 2]
