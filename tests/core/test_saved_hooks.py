"""Saved-tensor hooks: what backward reads went through pack and unpack."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad.core import tape
from tensorgrad.core.tensor import Tensor


def leaf(rng: np.random.Generator, *shape: int, dtype: str = "float64") -> Tensor:
    return Tensor(rng.standard_normal(shape).astype(dtype), requires_grad=True)


def model(x: Tensor, w: Tensor) -> Tensor:
    return (tg.softmax(np.tanh(x @ w), axis=1) * x).sum()  # type: ignore[no-any-return]


def gradients(y: Tensor, *leaves: Tensor, **options: Any) -> list[Any]:
    for x in leaves:
        x.grad = None
    y.backward(**options)
    return [here(x.grad).copy() for x in leaves]


def test_pack_and_unpack_carry_every_saved_value(rng: np.random.Generator) -> None:
    x, w = leaf(rng, 4, 4), leaf(rng, 4, 4)
    expected = gradients(model(x, w), x, w)
    packed: list[Any] = []
    opened: list[int] = []

    def pack(t: Tensor) -> int:
        assert t.node is None
        packed.append(here(t).copy())
        return len(packed) - 1

    def unpack(k: int) -> Any:
        opened.append(k)
        return tg.tensor(packed[k])

    with tg.saved_tensors_hooks(pack, unpack):
        y = model(x, w)
    assert len(packed) >= 4  # x and w once each, the results of tanh and softmax
    for a, b in zip(gradients(y, x, w, retain_graph=True), expected):
        np.testing.assert_array_equal(a, b)
    assert set(opened) == set(range(len(packed)))
    for a, b in zip(gradients(y, x, w), expected):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(tg.GradientError, match="freed"):
        y.backward()


def test_gradients_of_second_order_pass_through(rng: np.random.Generator) -> None:
    x = rng.standard_normal(5)
    f = tg.grad(lambda v: np.sum(tg.grad(lambda u: np.sum(np.sin(u) ** 3))(v) ** 2))
    with tg.saved_tensors_hooks(lambda t: here(t).copy(), lambda a: tg.tensor(a)):
        found = f(x)
    np.testing.assert_array_equal(found, f(x))


def test_the_innermost_block_counts_and_none_is_left(rng: np.random.Generator) -> None:
    x, outer, inner = leaf(rng, 3), [], []
    with tg.saved_tensors_hooks(lambda t: outer.append(t) or t, lambda t: t):
        x * x
        with tg.saved_tensors_hooks(lambda t: inner.append(t) or t, lambda t: t):
            np.sin(x)
        thread = threading.Thread(target=lambda: x * 2.0 * x)
        thread.start()
        thread.join()
    x * x
    assert (len(outer), len(inner)) == (1, 1)
    assert not tape.ON_RECORD


def test_what_is_packed_is_dropped_with_the_graph(rng: np.random.Generator) -> None:
    x = leaf(rng, 3)
    gc.disable()
    try:
        with tg.saved_tensors_hooks(lambda t: Tensor(here(t).copy()), lambda t: t):
            y = np.tanh(x * 2.0).sum()
        node = y.node.parents[0]
        assert type(node).__name__ == "PackedNode"
        (item,) = tape.stored(node)
        assert item.source() is None  # the array itself is gone
        del item, node
        y.backward()
    finally:
        gc.enable()
    np.testing.assert_allclose(here(x.grad), 2 / np.cosh(2 * here(x)) ** 2)


def test_a_write_to_what_an_identity_packed_is_refused(rng: np.random.Generator) -> None:
    x, c = leaf(rng, 3), Tensor(rng.standard_normal(3))
    with tg.saved_tensors_hooks(lambda t: t, lambda t: t):
        y = (x * c).sum()
    c += 1.0
    with pytest.raises(tg.InPlaceError, match="multiply: got a saved value that was overwritten"):
        y.backward()


def test_a_write_after_a_copy_was_packed_changes_nothing(rng: np.random.Generator) -> None:
    x, c = leaf(rng, 3), Tensor(rng.standard_normal(3))
    before = here(c).copy()
    with tg.saved_tensors_hooks(lambda t: Tensor(here(t).copy()), lambda t: t):
        y = (x * c).sum()
        c += 1.0
        z = (x * c).sum()
    y.backward()
    np.testing.assert_array_equal(here(x.grad), before)
    x.grad = None
    z.backward()
    np.testing.assert_array_equal(here(x.grad), before + 1.0)


def test_an_unpack_of_another_shape_or_dtype_is_refused(rng: np.random.Generator) -> None:
    x = leaf(rng, 3)
    for unpack in (lambda t: t.sum(), lambda t: t.astype("float32")):
        with tg.saved_tensors_hooks(lambda t: t, unpack):
            y = (x * x).sum()
        with pytest.raises(tg.GradientError, match=r"expected float64\(3,\), as multiply at "):
            y.backward()


def test_pack_bfloat16_halves_and_rounds(rng: np.random.Generator) -> None:
    x, w = leaf(rng, 64, 64, dtype="float32"), leaf(rng, 64, 64, dtype="float32")
    exact = gradients(model(x, w), x, w)
    with tg.pack_bfloat16():
        y = model(x, w)
    assert here(y) == here(model(x, w))
    held = [v for n in tape.reachable([y.node], lambda _: False) for v in tape.stored(n) or ()]
    packed = [v.value[1] for v in held if hasattr(v, "value")]
    assert packed
    assert all(t.dtype.itemsize == 2 for t in packed)
    for a, b in zip(gradients(y, x, w), exact):
        assert 0 < np.abs(a - b).max() < 0.02 * np.abs(b).max()


def test_save_on_cpu_gives_the_same_gradients(rng: np.random.Generator) -> None:
    x, w = leaf(rng, 8, 8), leaf(rng, 8, 8)
    expected = gradients(model(x, w), x, w)
    with tg.save_on_cpu():
        y = model(x, w)
    held = [v for n in tape.reachable([y.node], lambda _: False) for v in tape.stored(n) or ()]
    moved = [v.value for v in held if hasattr(v, "value") and isinstance(v.value, tuple)]
    assert all(host.device == "cpu" for _, host in moved)
    assert bool(moved) == (x.device != "cpu")
    for a, b in zip(gradients(y, x, w), expected):
        np.testing.assert_array_equal(a, b)
