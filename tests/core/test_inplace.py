"""Writes in place on the tape: base, views and sisters follow, or an error says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from place import here

import tensorgrad as tg
from tensorgrad import InPlaceError
from tensorgrad.core.tensor import Tensor

# -- the cases of PyTorch's notes on writing in place ------------------------------------------


def both(
    written: Any, functional: Any, *shape: int, rng: np.random.Generator, rtol: float = 1e-9
) -> None:
    """A function that writes against one that does not, and against differences."""
    point = rng.uniform(0.5, 1.5, shape)
    np.testing.assert_allclose(written(tg.tensor(point)).item(), functional(point).item(), rtol)
    got, want = tg.grad(written)(point), tg.grad(functional)(point)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12)
    move = rng.normal(size=shape)
    step = 1e-6
    ahead, behind = (written(tg.tensor(point + s * move)).item() for s in (step, -step))
    slope = (ahead - behind) / (2 * step)  # along a direction it may be near 0
    np.testing.assert_allclose((got * move).sum(), slope, rtol=1e-5, atol=1e-8)


def test_a_view_made_before_a_write_to_its_base_sees_it(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        y = x * 2.0
        v = y[1:3]
        y *= x
        return (v * v).sum()

    both(written, lambda x: (((x * 2.0 * x)[1:3]) ** 2).sum(), 4, rng=rng)


def test_a_write_through_a_view_of_a_view_changes_base_and_sisters(
    rng: np.random.Generator,
) -> None:
    def written(x: Any) -> Any:
        y = (x * 2.0).reshape((2, 3))
        sister = y.T
        inner = y[1].reshape((3, 1))[::-1]
        inner[0] = np.sin(x[:1])
        return (sister * sister).sum() + y[1, 2]

    def functional(x: Any) -> Any:
        z = np.concatenate([x[:5] * 2.0, np.sin(x[:1])])
        return (z * z).sum() + z[5]

    both(written, functional, 6, rng=rng)


def test_what_was_computed_before_a_write_keeps_its_value(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        y = x * 2.0
        v = y[:2]
        before = v + 0.0
        y[0] = x[3] * x[3]
        v += 1.0
        return (before * 3.0).sum() + (y * x).sum()

    def functional(x: Any) -> Any:
        y = x * 2.0
        head = np.stack([x[3] * x[3] + 1.0, y[1] + 1.0])
        return (y[:2] * 3.0).sum() + (np.concatenate([head, y[2:]]) * x).sum()

    both(written, functional, 4, rng=rng)


def test_every_kind_of_view_follows(rng: np.random.Generator) -> None:
    def views(m: Any) -> list[Any]:
        windows = np.lib.stride_tricks.sliding_window_view(m, 2, axis=1)
        rows = [*m]
        return [np.diagonal(m), np.broadcast_to(m, (2, 3, 3)), windows, m.mT, np.flip(m), *rows,
                *np.split(m, [1], axis=1), m.swapaxes(0, 1)[1:], m[None, ..., 0]]  # fmt: skip

    def total(found: list[Any]) -> Any:
        return sum((np.sin(v) * (k + 1.0)).sum() for k, v in enumerate(found))

    def written(x: Any) -> Any:
        m = (x * 2.0).reshape((3, 3))
        found = views(m)
        m[1:, 1:] = x[:4].reshape((2, 2)) * x[5]
        m[0] *= 2.0
        return total(found)

    def functional(x: Any) -> Any:
        low = np.concatenate([(x[3::3] * 2.0)[:, None], x[:4].reshape((2, 2)) * x[5]], 1)
        return total(views(np.concatenate([(x[:3] * 4.0)[None], low])))

    both(written, functional, 9, rng=rng)


def test_rows_are_written_while_they_are_iterated_over(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        y = x * 1.0
        for k, row in enumerate(y):
            row *= k + 1.0
            row += y[0, 0].copy()
        return (y * y).sum()

    def functional(x: Any) -> Any:
        first = x[0] + x[0, 0]
        rest = [x[k] * (k + 1.0) + first[0] for k in range(1, 70)]
        y = np.stack([first, *rest])
        return (y * y).sum()

    both(written, functional, 70, 2, rng=rng)


def test_a_constant_becomes_recorded_with_its_views(rng: np.random.Generator) -> None:
    w = Tensor(rng.normal(size=2), requires_grad=True)
    x = tg.zeros((3, 2))
    row, column, other = x[1], x[:, 0], x[2]
    x[1] = w * 3.0
    assert x.requires_grad
    assert row.requires_grad
    assert column.requires_grad
    assert not other.requires_grad  # no byte of it was written
    (row.sum() + 2.0 * column.sum()).backward()
    assert w.grad.tolist() == [9.0, 3.0]


def test_a_constant_written_over_a_recorded_value_cuts_its_gradient() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    x = w * 2.0
    x[1] = 5.0
    x[2:].fill(7.0)
    x.sum().backward()
    assert (x.tolist(), w.grad.tolist()) == ([2.0, 5.0, 7.0], [2.0, 0.0, 0.0])


def test_a_leaf_and_its_views_refuse_and_no_grad_allows() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(InPlaceError, match="got a leaf that requires a gradient"):
        w[0] = 1.0
    view = w[1:]
    with pytest.raises(InPlaceError, match="got a view of a leaf that requires a gradient"):
        view += 1.0
    base = Tensor(np.ones(3))
    part = base[:2]
    part.requires_grad = True
    with pytest.raises(InPlaceError, match="view of a leaf"):
        base[0] = 2.0
    base[2] = 2.0  # beside it
    with tg.no_grad():
        w[0] = 4.0
        w[1:][0] = 5.0
        base[0] = 3.0
    assert (w.tolist(), part.tolist()) == ([4.0, 5.0, 1.0], [3.0, 1.0])
    with tg.no_grad(), pytest.raises(InPlaceError, match=r"made by index, .* under no_grad"):
        view[0] = 1.0


def test_detached_memory_is_a_constant_and_takes_no_recorded_value() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    y = w * w
    d = y.detach()
    d[0] = 7.0
    assert y.tolist() == [7.0, 1.0, 1.0]
    with pytest.raises(InPlaceError, match=r"does not follow .* try x = x\.copy\(\) first"):
        d[1] = w[0]
    with tg.no_grad():
        seen = y[1:]
    with pytest.raises(InPlaceError, match="does not follow"):
        seen += w[1:]
    y.sum().backward()
    assert w.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_saved_value_that_is_overwritten_names_both_lines() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    x = w * 2.0
    y = x * x
    x += 1.0
    with pytest.raises(InPlaceError, match=r"multiply: got a saved .* at .*test_inplace\.py:\d+"):
        y.sum().backward()
    z = np.exp(w * 1.0)
    z += 1.0
    with pytest.raises(InPlaceError, match="exp: got a saved value"):
        z.sum().backward()


def test_an_operand_in_the_memory_that_is_written(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        y = x * 1.0
        y *= y
        y *= y[::-1]
        y[1:] = y[:-1]
        np.multiply(y, x, out=y)
        np.sin(y, out=y)
        return (y * x).sum()

    def functional(x: Any) -> Any:
        y = x * x
        y = y * y[::-1]
        y = np.concatenate([y[:1], y[:-1]])
        return (np.sin(y * x) * x).sum()

    both(written, functional, 4, rng=rng)


def test_out_takes_the_node_of_the_result(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        y, total = tg.zeros((2, 3)), tg.zeros(3)
        row = y[0]
        np.multiply(x, x, out=row)
        np.add(x, 1.0, out=y[1], where=np.array([True, False, True]))
        np.sum(y, axis=0, out=total)
        np.clip(total, 0.0, 2.0, out=total)
        return (y * y).sum() + (total * x).sum()

    def functional(x: Any) -> Any:
        y = np.stack([x * x, np.where(np.array([True, False, True]), x + 1.0, 0.0)])
        return (y * y).sum() + (np.clip(y.sum(0), 0.0, 2.0) * x).sum()

    both(written, functional, 3, rng=rng)


def test_functions_and_methods_that_write(rng: np.random.Generator) -> None:
    mask = np.array([True, False, True, False])

    def written(x: Any) -> Any:
        y = x * 2.0
        view = y[::2]
        np.copyto(y, x[::-1] * x, where=mask)
        np.put(y, [1, -1], x[:1] * 3.0)
        np.putmask(y, mask, y.copy() * x)
        np.place(y, ~mask, x[1:2] * 1.5)
        np.add.at(y, [0, 0, 3], x[:3])
        np.multiply.at(y, [1, 1], x[2])
        np.negative.at(y, [0])
        y.flat[2] = x[0]
        y.sort()
        m = y.reshape((2, 2))
        np.fill_diagonal(m, x[1])
        np.put_along_axis(m, np.array([[0], [0]]), x[2] * x[3], 1)
        return (y * np.arange(1.0, 5.0)).sum() + (view * view).sum()

    def functional(x: Any) -> Any:
        y = np.where(mask, x[::-1] * x, x * 2.0)
        y = tg.put(y, [1, -1], x[:1] * 3.0)
        y = np.where(mask, y * x, y)
        y = np.where(mask, y, x[1] * 1.5)
        y = y.at[[0, 0, 3]].add(x[:3]).at[[1, 1]].multiply(x[2])
        y = np.concatenate([-y[:1], y[1:2], x[:1], y[3:]])
        y = np.sort(y)
        y = np.stack([x[2] * x[3], y[1], x[2] * x[3], x[1]])
        return (y * np.arange(1.0, 5.0)).sum() + y[0] * y[0] + y[2] * y[2]

    both(written, functional, 4, rng=rng)


def test_parts_of_complex_numbers(rng: np.random.Generator) -> None:
    def written(x: Any) -> Any:
        z = x * (1.0 + 2.0j)
        re = z.real
        z.real = x * x
        z.imag[1:] = np.sin(x[1:])
        z.T[0] *= 1j
        return (re * re).sum() + (z * z.conj()).real.sum()

    def functional(x: Any) -> Any:
        im = np.concatenate([x[:1] * 2.0, np.sin(x[1:])])
        re = x * x
        re, im = np.concatenate([-im[:1], re[1:]]), np.concatenate([re[:1], im[1:]])
        return (2.0 * re * re + im * im).sum()

    both(written, functional, 3, rng=rng)


def test_numbers_for_nan_in_place() -> None:
    w = Tensor([1.0, np.nan, np.inf], requires_grad=True)
    x = w * 2.0
    assert np.nan_to_num(x, copy=False, posinf=9.0) is x
    x.sum().backward()
    assert (x.tolist(), w.grad.tolist()) == ([2.0, 0.0, 9.0], [2.0, 0.0, 0.0])


def test_hooks_stay_with_the_value_they_were_put_on() -> None:
    w = Tensor(np.ones(2), requires_grad=True)
    x = w * 2.0
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(("before", g.tolist())))
    x[0] = w[1] * 3.0
    x.register_hook(lambda g: seen.append(("after", g.tolist())))
    (x * 5.0).sum().backward()
    assert seen == [("after", [5.0, 5.0]), ("before", [0.0, 5.0])]
    assert w.grad.tolist() == [0.0, 25.0]


def test_a_cotangent_that_somebody_else_has_is_not_written_over() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    x = w * 2.0
    keep = x + 0.0
    x[0] = 1.0
    y = x + keep  # one cotangent for both
    ct = tg.tensor([1.0, 1.0, 1.0])
    y.backward(ct)
    assert (w.grad.tolist(), ct.tolist()) == ([2.0, 4.0, 4.0], [1.0, 1.0, 1.0])


def test_gradients_of_leaves_are_their_own_with_create_graph() -> None:
    x, y = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2), requires_grad=True)
    ct = tg.tensor([1.0, 1.0])
    (x + y).backward(ct, create_graph=True)
    x.grad += 1.0
    assert (x.grad.tolist(), y.grad.tolist(), ct.tolist()) == ([2.0] * 2, [1.0] * 2, [1.0] * 2)


def test_kinds_that_do_not_fit() -> None:
    w = Tensor(np.ones(3), requires_grad=True)
    whole, single = Tensor(np.zeros(3, int)), tg.zeros(3, dtype="float32")
    with pytest.raises(tg.DTypeError, match="without changing kind"):
        whole[0] = w[0]
    with pytest.raises(tg.DTypeError, match="fits into x without changing kind"):
        whole += w
    with pytest.raises(tg.DTypeError, match="without changing kind"):
        single[0] = w[0] * 1j
    with pytest.raises(ValueError, match="a result of the shape of x"):
        single += tg.Tensor(np.ones((2, 3))) * w
    with pytest.raises(tg.ShapeError, match=r"a value that broadcasts to \(3,\)"):
        single[:] = w[:2]
    assert [whole.node, single.node] == [None, None]
    single += w
    assert (single.dtype, single.requires_grad) == (np.float32, True)
    with pytest.raises(ValueError, match="read-only view"):
        tg.broadcast_to(w[0] * 2.0, (3,))[0] = 1.0


@pytest.mark.cpu_only("a GPU reports an index out of range when it is next waited for")
def test_an_index_out_of_range_writes_nothing() -> None:
    w, x = Tensor(np.ones(3), requires_grad=True), tg.zeros(3)
    with pytest.raises(IndexError, match="an index into"):
        x[[3]] = w[:1]
    assert (x.tolist(), x.node) == ([0.0, 0.0, 0.0], None)


def test_a_view_of_another_dtype_cannot_follow() -> None:
    w, x = Tensor(np.ones(2), requires_grad=True), tg.zeros(4)
    pairs = x.view("complex128")
    x[0] = 1.0
    with pytest.raises(InPlaceError, match="nobody can say what a write does"):
        x[1] = w[0]
    with pytest.raises(InPlaceError, match="nobody can say what a write does"):
        pairs[0] = w[0] * 1j
    pairs[1] = 2.0 + 3.0j
    del pairs
    x[1] = w[0]
    assert x.tolist() == [1.0, 1.0, 2.0, 3.0]


def test_a_loop_costs_what_it_writes(rng: np.random.Generator) -> None:
    """One array's cotangent serves all steps, rows and columns; no saved row is taken for stale."""
    for transposed in (False, True):
        w = Tensor(rng.uniform(0.5, 1.0, 3), requires_grad=True)
        x = tg.zeros((3, 200) if transposed else (200, 3))
        rows = x.T if transposed else x
        if transposed:
            x[:, 0] = w
        else:
            x[0] = w
        for i in range(1, 200):
            if transposed:
                x[:, i] = np.sin(x[:, i - 1]) * w
            else:
                x[i] = np.sin(x[i - 1]) * w
        (rows[-1] * rows[10]).sum().backward()
        v = Tensor(here(w), requires_grad=True)
        states = [v]
        for _ in range(199):
            states.append(np.sin(states[-1]) * v)
        (states[-1] * states[10]).sum().backward()
        np.testing.assert_allclose(here(w.grad), here(v.grad), rtol=1e-10)


def test_views_that_are_gone_are_forgotten() -> None:
    x = tg.zeros(10)
    kept = [x[k:] for k in range(5)]
    for _ in range(1000):
        x[2:]
    assert len(x.views) <= 2 * 64
    assert len(kept) == 5


@pytest.mark.cpu_only("a tensor on a GPU shares memory with no NumPy array")
def test_a_foreign_write_is_found_where_anomalies_are_looked_for() -> None:
    array = np.ones(3)
    w, x = Tensor(np.ones(3), requires_grad=True), Tensor(array)
    with tg.detect_anomaly():
        y = (w * x).sum()
        array[0] = 7.0
        with pytest.raises(InPlaceError, match=r"multiply: got .* behind the tape .*py:\d+ rec"):
            y.backward()
        (w * x).sum().backward()
    assert w.grad.tolist() == [7.0, 1.0, 1.0]
