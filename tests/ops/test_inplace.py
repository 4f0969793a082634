"""Writes in place: what they change, what they refuse, and what backward says about them."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from place import shares

import tensorgrad as tg
from tensorgrad import DTypeError, InPlaceError


def here() -> int:
    """The line that called."""
    return inspect.currentframe().f_back.f_lineno  # type: ignore[union-attr]


def test_writes_off_the_tape_share_memory(rng) -> None:  # type: ignore[no-untyped-def]
    array = rng.standard_normal((3, 4))
    want, x = array.copy(), tg.Tensor(array)
    same, memory = x, x.reshape(12)
    x[1] = 5.0
    want[1] = 5.0
    x[..., [0, 2]] = np.arange(2.0)
    want[..., [0, 2]] = np.arange(2.0)
    x[x > 4.0] = -1
    want[want > 4.0] = -1
    x[2, 1:3] = tg.Tensor(np.array([7.0, 8.0]))
    want[2, 1:3] = [7.0, 8.0]
    np.testing.assert_array_equal(x.numpy(), want)
    x += 1
    x *= np.array([1.0, 2.0, 3.0, 4.0])
    x -= x[0]
    x /= 2.0
    x **= 2
    assert x is same
    assert shares(x, memory)
    want = (want + 1) * [1.0, 2.0, 3.0, 4.0]
    want = ((want - want[0]) / 2.0) ** 2
    np.testing.assert_allclose(x.numpy(), want)


def test_every_augmented_operator() -> None:
    x = tg.Tensor(np.array([5, 6, 7]))
    x //= 2
    x %= 2
    x <<= 3
    x |= 1
    x ^= 3
    x &= 14
    x >>= 1
    want = np.array([5, 6, 7]) // 2 % 2
    want = ((((want << 3) | 1) ^ 3) & 14) >> 1
    np.testing.assert_array_equal(x.numpy(), want)
    y = tg.Tensor(np.eye(3) * 2)
    y @= np.ones((3, 3))
    np.testing.assert_array_equal(y.numpy(), 2.0)


def test_a_leaf_refuses_while_recording_and_takes_under_no_grad() -> None:
    x = tg.Tensor(np.ones(3), requires_grad=True)
    text = r"instead of `x \+= v` try `x = x \+ v`, or `with tg.no_grad\(\): x \+= v`"
    with pytest.raises(InPlaceError, match=text):
        x += 1.0
    with pytest.raises(InPlaceError, match=r"instead of `x\[key\] = v` try `x = tg.where"):
        x[0] = 1.0
    with tg.no_grad():
        x += 1.0
        x[0] = 7.0
    assert x.tolist() == [7.0, 2.0, 2.0]
    assert x.is_leaf
    assert x.requires_grad


def test_a_recorded_tensor_refuses_what_is_not_recorded() -> None:
    x = tg.Tensor(np.ones(3), requires_grad=True)
    y = x * 2.0
    with tg.no_grad(), pytest.raises(InPlaceError, match=r"made by multiply, .* under no_grad"):
        y[0] = 1.0
    assert y.tolist() == [2.0, 2.0, 2.0]


def test_a_recorded_value_is_a_constant_under_no_grad() -> None:
    x, w = tg.Tensor(np.ones(3)), tg.Tensor(np.ones(3), requires_grad=True)
    with tg.no_grad():
        x += w
    assert x.tolist() == [2.0, 2.0, 2.0]
    assert x.node is None


def test_backward_names_both_lines_of_an_overwritten_value() -> None:
    x = tg.Tensor(np.ones(3))
    w = tg.Tensor(np.ones(3), requires_grad=True)
    y = w * x; recorded = here()  # fmt: skip  # noqa: E702
    x[1] = 2.0; written = here()  # fmt: skip  # noqa: E702
    with pytest.raises(InPlaceError) as caught:
        y.sum().backward()
    text = str(caught.value)
    assert f"multiply: got a saved value that was overwritten at {__file__}:{written}" in text
    assert f"{__file__}:{recorded}" in text


def test_a_leaf_written_between_forward_and_backward_is_refused() -> None:
    w = tg.Tensor(np.ones(3), requires_grad=True)
    y = (w * w).sum()
    with tg.no_grad():
        w *= 2.0
    with pytest.raises(InPlaceError, match="overwritten"):
        y.backward()


def test_a_write_beside_what_was_saved_is_allowed() -> None:
    x = tg.Tensor(np.ones(6))
    w = tg.Tensor(np.ones(3), requires_grad=True)
    y = (w * x[:3]).sum()
    x[3:] = 5.0
    x[4] += 1.0
    y.backward()
    assert w.grad.tolist() == [1.0, 1.0, 1.0]


def test_writes_that_numpy_refuses() -> None:
    x = tg.Tensor(np.arange(3))
    with pytest.raises(DTypeError, match=r"x \+= v: got float64\(\) for int64\(3,\)"):
        x += 0.5
    with pytest.raises(ValueError, match=r"setitem: got float64\(2,\) for int64\(3,\)"):
        x[:] = np.ones(2)
    with pytest.raises(ValueError, match=r"got a read-only view .* try x = x.copy\(\) first"):
        tg.broadcast_to(x, (2, 3))[0] = 1
    with pytest.raises(IndexError, match=r"setitem: got an index into int64\(3,\)"):
        x[3] = 1
    assert x.tolist() == [0, 1, 2]


def test_out_is_a_write_that_backward_sees() -> None:
    x, w = tg.Tensor(np.ones(3)), tg.Tensor(np.ones(3), requires_grad=True)
    y = (w * x).sum()
    assert np.nancumsum(tg.Tensor(np.ones(3)), out=x) is x
    with pytest.raises(InPlaceError, match="overwritten"):
        y.backward()
