"""Choosing, putting in and taking out: what the generated tests of the registry do not reach."""

from __future__ import annotations

import numpy as np
import pytest
from place import array, here

import tensorgrad as tg
from tensorgrad.testing import check_grad


def test_insert_and_delete_are_numpys(rng) -> None:  # type: ignore[no-untyped-def]
    for _ in range(80):
        ndim = int(rng.integers(1, 4))
        x = rng.standard_normal(rng.integers(1, 5, ndim))
        axis = int(rng.integers(-ndim, ndim))
        n = x.shape[axis]
        obj = [
            int(rng.integers(-n, n)),
            rng.integers(-n, n, rng.integers(0, 4)),
            slice(*sorted(int(k) for k in rng.integers(0, n + 1, 2))),
            slice(None, None, -1),
            rng.integers(0, 2, n).astype(bool),
        ][rng.integers(0, 5)]
        t = tg.Tensor(array(x))
        np.testing.assert_array_equal(here(np.delete(t, obj, axis)), np.delete(x, obj, axis))
        want = np.insert(x, obj, 2.5, axis)
        np.testing.assert_array_equal(here(np.insert(t, obj, 2.5, axis)), want)


def test_trim_zeros_has_a_gradient(rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(array(np.pad(rng.uniform(1, 2, 3), (2, 1))), requires_grad=True)
    np.trim_zeros(x).sum().backward()
    np.testing.assert_array_equal(here(x.grad), [0, 0, 1, 1, 1, 0])
    box = np.pad(rng.uniform(1, 2, (2, 3)), ((1, 0), (2, 1)))
    np.testing.assert_array_equal(here(tg.trim_zeros(array(box))), box[1:, 2:-1])
    np.testing.assert_array_equal(here(tg.trim_zeros(array(box), axis=-1)), box[:, 2:-1])
    assert tg.trim_zeros(array(np.zeros((2, 3)))).shape == (0, 0)


def test_piecewise_calls_a_function_on_its_own_elements_alone() -> None:
    x = tg.Tensor(array(np.array([-1.0, 4.0, 9.0])), requires_grad=True)
    seen = []

    def root(v):  # type: ignore[no-untyped-def]
        seen.append(v.shape)
        return np.sqrt(v)

    def never(v):  # type: ignore[no-untyped-def]
        raise AssertionError("called for nothing")

    y = np.piecewise(x, [x > 0, x < -5], [root, never, lambda v: v * v])
    y.sum().backward()
    assert seen == [(2,)]
    np.testing.assert_allclose(here(x.grad), [-2.0, 0.25, 1 / 6])
    np.testing.assert_array_equal(here(np.piecewise(x, x > 0, [1.0, 2.0])), [2.0, 1.0, 1.0])


def test_select_and_choose_have_the_dtypes_of_numpy(rng) -> None:  # type: ignore[no-untyped-def]
    kinds = ("int8", "float32", "float64", "complex64")
    mask = np.array([True, False, True])
    for one in kinds:
        for two in kinds:
            a, b = np.ones(3, one), np.full(3, 2, two)
            got = np.select([mask, ~mask], [tg.Tensor(array(a)), b], 0)
            assert got.dtype == np.select([mask, ~mask], [a, b], 0).dtype
            got = np.choose(mask.astype(int), [tg.Tensor(array(a)), b])
            want = np.choose(mask.astype(int), [a, b])
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(here(got), want)


def test_values_are_put_in_with_their_gradients(rng) -> None:  # type: ignore[no-untyped-def]
    x, v = rng.standard_normal((3, 4)), rng.standard_normal(5)
    mask = rng.integers(0, 2, (3, 4)).astype(bool)
    for f in (
        lambda x, v: tg.place(x, mask, v),
        lambda x, v: tg.putmask(x, mask, v),
        lambda x, v: tg.put(x, [1, 7, 1, -1], v),
        lambda x, v: tg.put(x, [100, -100], v, mode="clip"),
        lambda x, v: tg.fill_diagonal(x, v),
        lambda x, v: np.insert(x, [0, 2], v[:2, None], axis=0),
        lambda x, v: np.choose(mask.astype(int), [x, v[:4]]),
    ):
        check_grad(f, [x, v], order=2, rng=rng)


def test_functions_along_axes(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((2, 3, 4))
    check_grad(lambda x: np.apply_along_axis(lambda v: np.sort(v) ** 2, 1, x), [x], rng=rng)
    got = np.apply_along_axis(lambda v: np.stack([v, v]), 1, tg.Tensor(array(x)))
    np.testing.assert_array_equal(here(got), np.apply_along_axis(lambda v: np.stack([v, v]), 1, x))
    with pytest.raises(ValueError, match=r"apply_along_axis: got .*expected one slice at least"):
        tg.apply_along_axis(np.sum, 0, np.ones((3, 0)))


def test_constants_index(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((4, 4))
    t = tg.Tensor(array(x), requires_grad=True)
    for f in (np.diag_indices_from, np.tril_indices_from, np.triu_indices_from):
        got = f(t)
        assert not any(k.requires_grad for k in got)
        np.testing.assert_array_equal(here(t[got]), x[f(x)])
    rows, columns = np.array([3, 0]), np.array([True, False, True, True])
    got = t[tg.ix_(array(rows), array(columns))]
    np.testing.assert_array_equal(here(got), x[np.ix_(rows, columns)])


def test_errors(device) -> None:  # type: ignore[no-untyped-def]
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"choose: got .*smallest=-1, largest=0, expected numbers"):
        tg.choose([0, -1], [1.0, 2.0])
    with pytest.raises(tg.DTypeError, match=r"select: got where=float64\(3,\), expected bools"):
        tg.select([np.ones(3)], [np.ones(3)])
    with pytest.raises(
        tg.ShapeError, match=r"select: got conditions=1, choices=2, expected as man"
    ):
        tg.select([x > 0], [x, x])
    with pytest.raises(
        IndexError, match=r"delete: got index 3 on an axis of length 3, expected -3"
    ):
        tg.delete(x, 3, axis=1)
    with pytest.raises(IndexError, match=r"insert: got index -4 on an axis of length 3"):
        tg.insert(x, -4, 0.0, axis=1)
    with pytest.raises(ValueError, match=r"trim_zeros: got trim='x', expected 'f', 'b' or both"):
        tg.trim_zeros([1.0], "x")
    with pytest.raises(
        tg.ShapeError, match=r"take: got mode='nearest', expected one of raise wrap"
    ):
        tg.take(x, 0, mode="nearest")
    with pytest.raises(ValueError, match=r"piecewise: got conditions=1, functions=3, expected as"):
        tg.piecewise(x, [x > 0], [1, 2, 3])
    with pytest.raises(
        tg.ShapeError, match=r"sliding_window_view: got .*expected a window of 0 to"
    ):
        tg.sliding_window_view(x, 4, axis=1)
    with pytest.raises(
        ValueError, match=r"sliding_window_view: got writeable=True, expected a rea"
    ):
        tg.sliding_window_view(x, 2, axis=1, writeable=True)
    with pytest.raises(
        tg.ShapeError, match=r"block: got depths=\[0, 1\], expected lists nested eq"
    ):
        tg.block([x, [x]])
    with pytest.raises(ValueError, match=r"place: got .*expected as many bools as elements"):
        tg.place(x, [True], 1.0)
