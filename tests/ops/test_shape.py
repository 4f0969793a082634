"""Shapes: aliasing, errors and forms of arguments that the generated tests do not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import shares

import tensorgrad as tg
from tensorgrad import DTypeError, InPlaceError, ShapeError

VIEWS = {
    "reshape": lambda x: tg.reshape(x, (4, 3)),
    "transpose": tg.transpose,
    "T": lambda x: x.T,
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "moveaxis": lambda x: tg.moveaxis(x, 0, 1),
    "flip": tg.flip,
    "ravel": tg.ravel,
    "squeeze": lambda x: tg.squeeze(x[None]),
    "expand_dims": lambda x: tg.expand_dims(x, 0),
    "broadcast_to": lambda x: tg.broadcast_to(x, (2, 3, 4)),
    "basic index": lambda x: x[1:, ::-2],
    "row": lambda x: x[1],
    "newaxis": lambda x: x[None, ..., 0],
    "split": lambda x: tg.split(x, 3)[1],
    "diagonal": tg.diagonal,
    "diagonal of a transpose": lambda x: tg.diagonal(x.T[::-1]),
    "diag": lambda x: np.diag(x, 1),
    "unstack": lambda x: np.unstack(x)[1],
    "hsplit": lambda x: np.hsplit(x, 2)[1],
    "iteration": lambda x: list(x)[2],
    "rot90": np.rot90,
    "fliplr": np.fliplr,
    "rollaxis": lambda x: np.rollaxis(x, 1),
    "windows": lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)),
    "reshape F": lambda x: np.reshape(x.T, (4, 3), order="F"),
    "ravel K": lambda x: np.ravel(x.T, order="K"),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, np.ones((2, 3, 4)))[0],
    "trim_zeros": lambda x: np.trim_zeros(x[0]),
}
COPIES = {
    "flatten": lambda x: x.flatten(),
    "copy": lambda x: x.copy(),
    "astype": lambda x: x.astype(float),
    "roll": lambda x: tg.roll(x, 0),
    "list": lambda x: x[[0, 1]],
    "mask": lambda x: x[x > -9.0],
    "reshape copy": lambda x: tg.reshape(x, (4, 3), copy=True),
    "pad by nothing": lambda x: np.pad(x, 0, mode="mean"),
    "delete nothing": lambda x: np.delete(x, [], axis=0),
    "resize": lambda x: np.resize(x, (3, 4)),
    "block": lambda x: np.block(x),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_share_memory(name) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(np.arange(12.0).reshape(3, 4))
    assert shares(VIEWS[name](x), x)


@pytest.mark.parametrize("name", COPIES)
def test_copies_do_not(name) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(np.arange(12.0).reshape(3, 4))
    assert not shares(COPIES[name](x), x)


def test_a_write_through_a_view_is_seen_by_backward() -> None:
    x = tg.Tensor(np.ones(4))
    w = tg.Tensor(np.ones(4), requires_grad=True)
    y = (w * x).sum()
    view = x.reshape(2, 2)
    view += 1.0
    with pytest.raises(InPlaceError, match="overwritten"):
        y.backward()


def test_forms_of_shapes_and_axes(rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(rng.standard_normal((2, 3, 4)))
    for y in (x.reshape(4, 6), x.reshape((4, -1)), np.reshape(x, (4, 6), "C"), x.reshape([4, 6])):
        assert y.shape == (4, 6)
    for y in (x.transpose(2, 0, 1), x.transpose((2, 0, 1)), np.transpose(x, axes=(2, 0, 1))):
        assert y.shape == (4, 2, 3)
    assert x.T.shape == (4, 3, 2)
    assert x.mT.shape == (2, 4, 3)
    assert x.squeeze().shape == x.shape


def test_errors() -> None:
    x = np.ones((2, 3))
    with pytest.raises(ShapeError, match=r"reshape: got x=float64\(2, 3\), shape=\(4,\), expected"):
        tg.reshape(x, 4)
    with pytest.raises(ShapeError, match="reshape: got order='K', expected one of C F A"):
        tg.reshape(x, (3, 2), order="K")
    with pytest.raises(ShapeError, match=r"reshape: got .*expected memory that has that shape"):
        tg.reshape(x.T, (6,), copy=False)
    with pytest.raises(DTypeError, match=r"astype: got .*casting='safe', expected a cast that it"):
        tg.astype(x, int, casting="safe")
    with pytest.raises(DTypeError, match=r"shape: got 2.5, expected an integer; try int\(2.5\)"):
        tg.reshape(np.ones(4), [2.5, 2])
    with pytest.raises(ShapeError, match=r"broadcast_to: got .* expected sizes"):
        tg.broadcast_to(x, (2, 4))
    with pytest.raises(ShapeError, match=r"transpose: got .* each of the 2 axes once"):
        tg.transpose(x, (0, 0))
    with pytest.raises(ShapeError, match=r"squeeze: got .* expected axes of length 1"):
        tg.squeeze(x, 0)
    with pytest.raises(ShapeError, match=r"concatenate: got .* equal shapes but for axis 0"):
        tg.concatenate([x, np.ones((2, 4))])
    with pytest.raises(ShapeError, match=r"concatenate: got arrays=.*one array at least"):
        tg.concatenate([])
    with pytest.raises(ShapeError, match=r"stack: got .* expected equal shapes"):
        tg.stack([x, np.ones((2, 4))])
    with pytest.raises(ShapeError, match=r"split: got .* divide the 3 elements of axis 1"):
        tg.split(x, 2, axis=1)


def test_concatenate_promotes_and_each_gradient_has_its_own_dtype() -> None:
    x = tg.Tensor(np.ones(2, np.float32), requires_grad=True)
    y = tg.Tensor(np.ones(3), requires_grad=True)
    out = tg.concatenate([x, y, [1, 2]])
    assert out.dtype == np.float64
    (out * np.arange(7.0)).sum().backward()
    assert x.grad.dtype == np.float32
    np.testing.assert_array_equal(x.grad.numpy(), [0, 1])
    np.testing.assert_array_equal(y.grad.numpy(), [2, 3, 4])


def test_astype_between_real_and_complex(rng) -> None:  # type: ignore[no-untyped-def]
    x = tg.Tensor(rng.standard_normal(3), requires_grad=True)
    z = x.astype(complex) * (1 + 2j)
    z.backward(np.full(3, 1 + 1j))
    np.testing.assert_allclose(x.grad.numpy(), [3.0, 3.0, 3.0])
    assert not x.astype(int).requires_grad
    assert x.astype(float, copy=False) is x


def test_sum_to_repeats_where_a_cotangent_is_smaller(rng) -> None:  # type: ignore[no-untyped-def]
    x = rng.standard_normal((1, 4))
    np.testing.assert_allclose(tg.sum_to(x, (3, 1)).numpy(), np.full((3, 1), x.sum()))
    assert tg.sum_to(np.ones((0, 3)), (1, 3)).tolist() == [[0, 0, 0]]


@pytest.mark.cpu_only("orders A and K are those of memory, which a GPU's copy does not keep")
def test_orders_are_numpys_on_any_layout(rng) -> None:  # type: ignore[no-untyped-def]
    for _ in range(60):
        ndim = int(rng.integers(1, 4))
        x = rng.standard_normal(rng.integers(1, 5, ndim)).transpose(rng.permutation(ndim))
        x = x[tuple(slice(None, None, int(rng.choice([1, 2, -1, -2]))) for _ in range(ndim))]
        t = tg.Tensor(x, requires_grad=True)
        for order in "CFAK":
            for got, want in (
                (np.ravel(t, order=order), np.ravel(x, order=order)),
                (t.flatten(order), x.flatten(order)),
            ):
                np.testing.assert_array_equal(got.detach().numpy(), want)
        ct = rng.standard_normal(x.size)
        np.reshape(t, -1, order="F").backward(ct)
        np.testing.assert_array_equal(t.grad.numpy(), ct.reshape(x.shape, order="F"))


def test_none_among_arrays_to_broadcast() -> None:
    """As matplotlib passes what was not given."""
    x = tg.tensor([1.0, 2.0])
    broadcast: Any = np.broadcast_arrays
    found = broadcast(x, None, 3.0, np.ones((2, 1)))
    assert [a.shape for a in found] == [(2, 2)] * 4
    assert found[1].dtype == object
    assert found[1][0, 1] is None
    x.requires_grad = True
    y, nothing = broadcast(x, None)
    assert y.requires_grad
    assert list(nothing) == [None, None]
