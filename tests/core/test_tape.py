"""The tape: what backward promises, from one node to a million."""

from __future__ import annotations

import gc
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import place
import pytest
from place import here, shares

import tensorgrad as tg
from tensorgrad.core.tape import Leaf, Node
from tensorgrad.core.tensor import Tensor

LONG = 1_000_000 if place.chosen != "stand-in" else 20_000  # a launch costs the stand-in 0.3 ms


def leaf(*shape: int, rng: np.random.Generator) -> Tensor:
    return Tensor(rng.standard_normal(shape), requires_grad=True)


def test_gate_roles_add_hands_on_mul_swaps_max_routes_twice_used_sums() -> None:
    x, y = Tensor(3.0, requires_grad=True), Tensor(-4.0, requires_grad=True)
    (x * y).backward()
    assert (x.grad.item(), y.grad.item()) == (-4.0, 3.0)
    x.grad = y.grad = None
    (x + y).backward()
    assert (x.grad.item(), y.grad.item()) == (1.0, 1.0)
    x.grad = y.grad = None
    tg.maximum(x, y).backward()
    assert (x.grad.item(), y.grad.item()) == (1.0, 0.0)
    x.grad = None
    (x * x + x).backward()
    assert x.grad.item() == 7.0


def test_gradients_accumulate_until_set_to_none(rng: np.random.Generator) -> None:
    x = leaf(3, rng=rng)
    for k in (1, 2, 3):
        (x * 2.0).sum().backward()
        np.testing.assert_array_equal(here(x.grad), np.full(3, 2.0 * k))
    x.grad = None
    (x * 2.0).sum().backward()
    np.testing.assert_array_equal(here(x.grad), np.full(3, 2.0))


def test_gradients_of_two_leaves_never_share_memory(rng: np.random.Generator) -> None:
    x, y = leaf(3, rng=rng), leaf(3, rng=rng)
    given = Tensor(rng.standard_normal(3))
    (x + y).backward(given)
    assert not shares(x.grad, y.grad)
    assert not shares(x.grad, given)
    x.grad = None
    x.reshape((3, 1)).sum().backward()
    assert x.grad.data.flags.owndata
    x.grad += 1.0  # writable


def test_explicit_cotangent_for_several_elements(rng: np.random.Generator) -> None:
    x = leaf(2, 3, rng=rng)
    ct = rng.standard_normal((2, 3))
    (x * x).backward(ct)
    np.testing.assert_allclose(here(x.grad), 2 * here(x) * ct, rtol=1e-15)
    with pytest.raises(tg.GradientError) as caught:
        (x * x).backward()
    assert str(caught.value) == (
        "backward: got tensor=float64(2, 3), expected one element, or a cotangent; "
        "try x.sum().backward(), or backward(gradient)"
    )
    with pytest.raises(tg.GradientError, match="expected a cotangent of the tensor's shape"):
        (x * x).backward(np.ones(3))


def test_second_backward_needs_retain_graph() -> None:
    x = Tensor(2.0, requires_grad=True)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8.0
    with pytest.raises(tg.GradientError) as caught:
        y.backward()
    text = str(caught.value)
    assert text.startswith(
        "backward: got a graph whose values were freed (at multiply, recorded at"
    )
    assert "test_tape.py:" in text
    assert text.endswith("try backward(retain_graph=True) the first time")


def test_backward_off_the_tape_says_so() -> None:
    with pytest.raises(tg.GradientError, match=r"try x\.requires_grad = True before computing"):
        (Tensor(1.0) * 2.0).backward()


def test_create_graph_puts_gradients_on_the_tape() -> None:
    x = Tensor(2.0, requires_grad=True)
    (x**3).backward(create_graph=True)
    first = x.grad
    x.grad = None
    first.backward(create_graph=True)
    assert (first.item(), x.grad.item()) == (12.0, 12.0)
    second, x.grad = x.grad, None
    second.backward()
    assert x.grad.item() == 6.0


def test_no_grad_enable_grad_and_detach() -> None:
    x = Tensor(2.0, requires_grad=True)
    with tg.no_grad():
        assert (x * x).node is None
        with tg.enable_grad():
            assert (x * x).node is not None
        assert (x * x).node is None

    @tg.no_grad()
    def off(v: Any) -> Any:
        return v * v

    assert off(x).node is None
    (x * x.detach()).backward()
    assert x.grad.item() == 2.0
    assert shares(x.detach(), x)


def test_modes_do_not_leak_between_threads() -> None:
    x = Tensor(2.0, requires_grad=True)
    seen: list[bool] = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * x).node is not None))
        thread.start()
        thread.join()
    assert seen == [True]


def test_leaf_hooks_see_and_replace_the_total() -> None:
    x = Tensor(2.0, requires_grad=True)
    seen: list[float] = []

    def double(g: Tensor) -> Tensor:
        seen.append(g.item())
        return g * 2.0

    remove = x.register_hook(double)
    (x * x + x).backward()
    assert (seen, x.grad.item()) == ([5.0], 10.0)
    remove()
    x.grad = None
    (x * x).backward()
    assert (seen, x.grad.item()) == ([5.0], 4.0)
    x.register_hook(lambda g: g.reshape((1,)))
    with pytest.raises(tg.GradientError, match=r"expected None or a tensor of shape \(\)"):
        (x * x).backward()


def test_integers_take_no_gradient() -> None:
    with pytest.raises(tg.DTypeError) as caught:
        Tensor([1, 2], requires_grad=True)
    assert str(caught.value) == (
        "requires_grad: got dtype='int64', expected a floating dtype; try x.astype(float)"
    )


def test_gradients_have_their_tensors_dtype(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal(3).astype(np.float32), requires_grad=True)
    y = Tensor(rng.standard_normal((2, 3)), requires_grad=True)
    (x * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(here(x.grad), here(y).sum(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("convert", "name"),
    [(float, "float"), (int, "int"), (complex, "complex"), (Tensor, "Tensor")],
)  # fmt: skip
def test_no_silent_way_off_the_tape(convert: Any, name: str) -> None:
    x = Tensor(2.0, requires_grad=True)
    with pytest.raises(tg.GradientError) as caught:
        convert(x * x)
    assert str(caught.value) == (
        f"{name}: got a tensor on the tape, where a gradient would be cut silently, expected one "
        "off it; try x.detach().numpy(), or x.item() for one number"
    )
    assert convert((x * x).detach()) == 4.0

    assert (x * x).item() == 4.0
    assert bool(x * x > 3.0)


def test_an_array_of_recorded_tensors_shows_stack() -> None:
    x = Tensor(2.0, requires_grad=True)
    with pytest.raises(tg.GradientError) as caught:
        np.array([x, x * x])
    assert str(caught.value) == (
        "__array__: got a tensor on the tape, where a gradient would be cut silently, expected one "
        "off it; try np.stack([t, u]) instead of np.array([t, u]), or x.detach().numpy() for a "
        "constant"
    )
    assert np.stack([x, x * x]).requires_grad


def test_a_million_additions_forward_and_backward() -> None:
    x = Tensor(np.zeros(1), requires_grad=True)
    y = Tensor(np.ones(1), requires_grad=True)
    t, count = x, LONG
    for _ in range(count):
        t = t + y
    t.backward()
    assert (here(t)[0], here(x.grad)[0], here(y.grad)[0]) == (count, 1.0, count)


def test_a_long_chain_is_dropped_without_recursion() -> None:
    x = Tensor(np.zeros(1), requires_grad=True)
    t = x
    for _ in range(LONG // 5):
        t = t * x
    del t


def step(parameters: list[Tensor], x: Tensor) -> None:
    y = tg.relu(x @ parameters[0]) @ parameters[1]
    (y * y).sum().backward()
    for p in parameters:
        with tg.no_grad():
            p -= p.grad * 1e-4
        p.grad = None


def test_training_leaves_memory_flat_and_the_collector_idle(rng: np.random.Generator) -> None:
    parameters = [leaf(8, 8, rng=rng), leaf(8, 1, rng=rng)]
    x = Tensor(rng.standard_normal((4, 8)))
    for _ in range(50):
        step(parameters, x)
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(200):  # whoever keeps a block for the next step has it
            step(parameters, x)
        assert gc.collect() == 0
        before = len(gc.get_objects())
        used = tracemalloc.get_traced_memory()[0]
        for _ in range(1000):
            step(parameters, x)
        assert len(gc.get_objects()) - before < 50
        assert gc.collect() == 0  # it empties Python's free lists too
        grown = tracemalloc.get_traced_memory()[0] - used
        assert grown < 20_000
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_graph_is_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        x = Tensor(np.ones(3), requires_grad=True)
        y = tg.exp(x) * x
        node = weakref.ref(y.node)
        del y
        assert node() is None
        kept = tg.exp(x)
        saved = weakref.ref(kept.node.saved[0])
        kept.sum().backward()
        del kept
        assert saved() is None
    finally:
        gc.enable()


def test_a_leafs_node_does_not_keep_its_tensor() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    y = x + 1.0
    gone = weakref.ref(x)
    del x
    assert gone() is None
    y.sum().backward()


def test_nodes_are_data(rng: np.random.Generator) -> None:
    x = leaf(2, 3, rng=rng)
    y = x * 2.0
    node = y.node
    assert isinstance(node, Node)
    assert isinstance(x.node, Leaf)
    assert repr(node) == f"Node(multiply #{node.seq} float64(2, 3))"
    assert (node.parents[0], node.shape, node.dtype) == (x.node, (2, 3), np.float64)
    assert "test_tape.py:" in node.origin
    assert len(node.saved) == 1  # only the constant: x needs no saving when 2.0 takes no gradient
    tracked = [o for o in (y, node, node.parents, node.saved) if gc.is_tracked(o)]
    assert len(tracked) <= 4


def test_a_saved_value_that_was_overwritten_is_refused(rng: np.random.Generator) -> None:
    x = leaf(3, rng=rng)
    y = tg.exp(x)
    z = y.sum()
    view = y.detach()
    view += 1.0
    with pytest.raises(tg.InPlaceError) as caught:
        z.backward()
    text = str(caught.value)
    assert text.startswith("exp: got a saved value that was overwritten at ")
    assert text.count("test_tape.py:") == 2
    assert text.endswith("try writing to a copy, or write after backward()")


def test_a_write_elsewhere_in_the_storage_is_no_conflict(rng: np.random.Generator) -> None:
    base = rng.standard_normal(8)
    x, other = Tensor(base[:4], requires_grad=True), Tensor(base[4:])
    y = (x * x).sum()
    other += 1.0
    y.backward()
    np.testing.assert_allclose(here(x.grad), 2 * base[:4])
    z = (x * x).sum()
    with tg.no_grad():
        x += 1.0
    with pytest.raises(tg.InPlaceError):
        z.backward()


def test_a_write_before_the_value_was_saved_is_no_conflict(rng: np.random.Generator) -> None:
    x = leaf(3, rng=rng)
    with tg.no_grad():
        x += 1.0
    (x * x).sum().backward()
    np.testing.assert_allclose(here(x.grad), 2 * here(x))


def test_writing_to_a_leaf_is_refused_to_what_was_recorded_it_is_recorded(
    rng: np.random.Generator,
) -> None:
    x = leaf(3, rng=rng)
    with pytest.raises(tg.InPlaceError):
        x += 1.0
    y = x * 2.0
    y[0] = 1.0
    y.sum().backward()
    assert x.grad.tolist() == [0.0, 2.0, 2.0]


def test_several_outputs_of_one_node(rng: np.random.Generator) -> None:
    both = tg.fuse(lambda a, b: (a * b, tg.exp(a)))
    x, y = leaf(3, rng=rng), leaf(3, rng=rng)
    p, e = both(x, y)
    assert p.node.parents == e.node.parents
    (p * p).sum().backward(retain_graph=True)
    np.testing.assert_allclose(here(x.grad), 2 * here(x) * here(y) ** 2, rtol=1e-14)
    x.grad = y.grad = None
    (p + 3.0 * e).sum().backward()
    want = here(y) + 3 * np.exp(here(x))  # which may cancel
    np.testing.assert_allclose(here(x.grad), want, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(here(y.grad), here(x), rtol=1e-14)


def test_a_gradient_buffer_is_written_directly(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((4, 3)))
    weight, bias = leaf(2, 3, rng=rng), leaf(2, rng=rng)
    buffer = tg.asarray(np.full((2, 3), 9.0)).data
    weight.node.into = buffer
    tg.linear(x, weight, bias).sum().backward()
    assert weight.grad.data is buffer
    want = np.ones((2, 4)) @ here(x)
    np.testing.assert_allclose(here(buffer), want, rtol=1e-14, atol=1e-14)  # a sum may cancel
    tg.linear(x, weight, bias).sum().backward()
    assert weight.grad.data is buffer
    np.testing.assert_allclose(here(buffer), 2 * want, rtol=1e-14, atol=2e-14)
