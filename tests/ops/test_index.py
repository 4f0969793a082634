"""Indexing against NumPy: random keys, repeats, masks, batches of indices, errors."""

from __future__ import annotations

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import GradientError
from tensorgrad.testing import check_grad

SHAPE = (3, 4, 2, 5)


def numbers(value):  # type: ignore[no-untyped-def]
    return value.numpy() if isinstance(value, tg.Tensor) else np.asarray(value)


def random_key(rng, shape):  # type: ignore[no-untyped-def]
    """A key of random parts: integers, slices, new axes, arrays that broadcast, masks."""
    key, axis, dots = [], 0, False
    while axis < len(shape) and rng.random() < 0.85:
        size = shape[axis]
        kind = rng.integers(0, 8)
        axis += 1
        if kind == 0:
            key.append(int(rng.integers(-size, size)))
        elif kind == 1:
            key.append(slice(*sorted(rng.integers(0, size + 1, 2).tolist())))
        elif kind == 2:
            key.append(slice(None, None, -int(rng.integers(1, 3))))
        elif kind == 3:
            key.append(None)
            axis -= 1
        elif kind == 4 and not dots:
            key.append(Ellipsis)
            left = len(shape) - axis + 1
            axis += int(rng.integers(0, left + 1)) - 1
            dots = True
            skipped = axis
            return (*key, *random_tail(rng, shape[skipped:]))
        elif kind == 5:
            mask = rng.integers(0, 2, size).astype(bool)
            mask[:2] = True
            mask[2:] = False
            key.append(mask)
        else:
            shaped = [(2,), (1, 2), (3, 1), ()][rng.integers(0, 4)]
            key.append(rng.integers(-size, size, shaped))
    return tuple(key)


def random_tail(rng, shape):  # type: ignore[no-untyped-def]
    """One integer, slice or array for each of the last axes."""
    return [
        [int(rng.integers(0, n)), slice(1, None), rng.integers(0, n, 2)][rng.integers(0, 3)]
        for n in shape
    ]


def test_random_keys_are_numpys(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal(SHAPE)
    for _ in range(400):
        key = random_key(rng, SHAPE)
        try:
            want = x[key]
        except IndexError:
            with pytest.raises((IndexError, ValueError)):
                tg.Tensor(x)[key]
            continue
        leaf = tg.Tensor(x, requires_grad=True)
        got = leaf[key]
        np.testing.assert_array_equal(got.detach().numpy(), want, err_msg=str(key))
        ct = rng.standard_normal(want.shape)
        got.backward(ct)
        scattered = np.zeros_like(x)
        np.add.at(scattered, key, ct)
        np.testing.assert_allclose(leaf.grad.numpy(), scattered, atol=1e-12, err_msg=str(key))


def test_masks(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((3, 4, 2))
    mask = rng.integers(0, 2, (3, 4)).astype(bool)
    for key in (mask, (mask, 0), (..., x[0, 0] > 0), (slice(None), mask[0], [1]), x > 0,
                (None, mask), np.True_, (np.False_, 0)):  # fmt: skip
        try:
            want = x[key]
        except IndexError:
            continue
        np.testing.assert_array_equal(tg.Tensor(x)[key].numpy(), want, err_msg=str(key))
        check_grad(lambda x, key=key: x[key], [x], order=2, rng=rng)
    y = tg.Tensor(x, requires_grad=True)
    y[y > 0].sum().backward()
    np.testing.assert_array_equal(y.grad.numpy(), x > 0)


def test_tensors_index(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((5, 3))
    rows = tg.Tensor(np.array([4, 0, 4]))
    np.testing.assert_array_equal(tg.Tensor(x)[rows, tg.Tensor(1)].numpy(), x[[4, 0, 4], 1])
    with pytest.raises(IndexError, match="getitem: got index=float64"):
        tg.Tensor(x)[tg.Tensor(1.5)]
    with pytest.raises(GradientError, match="getitem: got an index of dtype float64 on the tape"):
        tg.Tensor(x)[tg.Tensor(1.5, requires_grad=True)]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "complex128"])
def test_repeated_indices_accumulate(dtype, rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(rng.standard_normal((7, 3)).astype(dtype), requires_grad=True)
    rows = rng.integers(-7, 7, (4, 6))
    ct = rng.integers(-4, 5, (4, 6, 3)).astype(dtype)
    x[rows].backward(ct)
    want = np.zeros((7, 3), dtype)
    np.add.at(want, rows, ct)
    np.testing.assert_array_equal(x.grad.numpy(), want)
    assert x.grad.dtype == x.dtype


def test_batched_indices_of_mixed_keys(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((3, 4, 5))
    i, j = rng.integers(-3, 3, (6, 2)), rng.integers(0, 5, (6, 2))
    keys = {
        "first": lambda x, i, j: x[i],
        "apart": lambda x, i, j: x[i, :, j],
        "behind": lambda x, i, j: x[:, 1, j],
        "middle": lambda x, i, j: x[1:, :, None, j][..., 0],
        "both": lambda x, i, j: x[:, i[:, None], j],
        "take": lambda x, i, j: tg.take(x, j, 2),
    }
    xs = rng.standard_normal((6, 3, 4, 5))
    for name, f in keys.items():
        for source, axis in ((x, None), (xs, 0)):
            given = tg.Tensor(source)
            got = tg.vmap(f, in_axes=(axis, 0, 0))(given, i, j)
            rows = [f(tg.Tensor(source if axis is None else source[k]), i[k], j[k])
                    for k in range(6)]  # fmt: skip
            want = np.stack([row.numpy() for row in rows])
            np.testing.assert_array_equal(numbers(got), want, err_msg=name)
            ct = rng.standard_normal(want.shape)

            def pulled(x, i, j, ct, f=f):  # type: ignore[no-untyped-def]
                return tg.vjp(lambda x: f(x, i, j), x)[1](ct)

            got = tg.vmap(pulled, in_axes=(axis, 0, 0, 0))(given, i, j, ct)
            got = got[0] if isinstance(got, tuple) else got
            leaf = tg.Tensor(source, requires_grad=True)
            for k in range(6):
                f(leaf if axis is None else leaf[k], i[k], j[k]).backward(ct[k])
            total = numbers(got) if axis == 0 else numbers(got).sum(0)
            np.testing.assert_allclose(leaf.grad.numpy(), total, atol=1e-12, err_msg=name)


def test_out_of_range_names_the_operation(device) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(np.ones((3, 4)))
    where = "into float64" if device == "cpu" else "(into float64|out of range in row)"
    for wrong in (3, (0, 4), [0, 3], (slice(None), [-5])):
        with pytest.raises(IndexError, match=f"(getitem|take): got an index {where}"):
            x[wrong].numpy()
    with pytest.raises(IndexError, match="getitem: got 3 indices and 0 ellipses for 2 axes"):
        x[0, 0, [0]]
    with pytest.raises(IndexError, match="mask of shape"):
        x[np.ones(4, bool)]
    with pytest.raises(IndexError, match="take: got an index"):
        tg.take(x, 12).numpy()
    with pytest.raises(IndexError, match="take_along_axis: got an index"):
        tg.take_along_axis(x, [[4]], 1).numpy()


def test_put_along_axis_keeps_the_last_of_equal_indices(rng) -> None:  # type: ignore[no-untyped-def]
    x, v = rng.standard_normal(4), rng.standard_normal(3)
    index = np.array([2, 0, 2])
    leaf, values = tg.Tensor(x, requires_grad=True), tg.Tensor(v, requires_grad=True)
    out = tg.put_along_axis(leaf, index, values, 0)
    np.testing.assert_array_equal(out.detach().numpy(), [v[1], x[1], v[2], x[3]])
    out.sum().backward()
    np.testing.assert_array_equal(leaf.grad.numpy(), [0, 1, 0, 1])
    np.testing.assert_array_equal(values.grad.numpy(), [0, 1, 1])


def test_nonzero_is_constant() -> None:
    x = tg.Tensor(np.array([[0.0, 2.0], [3.0, 0.0]]), requires_grad=True)
    rows, columns = np.nonzero(x)
    assert not rows.requires_grad
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
