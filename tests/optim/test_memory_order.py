"""Matrices that lie in memory column by column stay so in their bucket."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from place import address, array

import tensorgrad as tg
from tensorgrad import nn, optim


def network(by_columns: bool, dtype: str = "float32") -> Any:
    net = nn.Sequential(nn.Linear(5, 7, dtype=dtype), nn.Tanh(), nn.Linear(7, 3, dtype=dtype))
    order = np.asfortranarray if by_columns else np.ascontiguousarray
    for k in (0, 2):
        net[k].weight.data = array(order(net[k].weight.detach().numpy()))
    return net


def pair(rng: np.random.Generator, dtype: str = "float32") -> tuple[Any, Any, Any]:
    """A network by rows, its twin by columns, and a batch."""
    rows, columns = network(False, dtype), network(True, dtype)
    for p, q in zip(rows.parameters(), columns.parameters()):
        q.data[...] = p.data
    return rows, columns, tg.asarray(rng.standard_normal((8, 5)).astype(dtype))


def learn(net: Any, opt: Any, x: Any, steps: int) -> None:
    for _ in range(steps):
        opt.zero_grad()
        (net(x) ** 2).sum().backward()
        opt.step()


def in_column_order(array: Any) -> bool:
    return bool(array.flags.f_contiguous and not array.flags.c_contiguous)


def test_values_and_gradients_keep_the_order(rng: np.random.Generator) -> None:
    rows, columns, x = pair(rng)
    optim.SGD(rows.parameters(), 0.01)
    opt = optim.SGD(columns.parameters(), 0.01)
    for net in (rows, columns):
        (net(x) ** 2).sum().backward()
    for k in (0, 2):
        weight = columns[k].weight
        assert in_column_order(weight.data)
        assert in_column_order(weight.grad.data)
        assert weight.grad.data is weight.node.into
        assert address(weight.data) % 64 == 0
        want = rows[k].weight.grad.numpy()
        np.testing.assert_allclose(weight.grad.numpy(), want, rtol=1e-5, atol=1e-6)
    held = columns[0].weight.grad.numpy()
    before = held.copy()
    learn(columns, opt, x, 1)
    assert np.array_equal(held, before)


@pytest.mark.parametrize("limit", [None, 0.5])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Momentum, optim.NAG, optim.Adam, optim.AdamW])
def test_trajectories_are_equal(kind: Any, limit: float | None, rng: np.random.Generator) -> None:
    # In float64: Adam divides a rounding by the gradient's own size.
    rows, columns, x = pair(rng, "float64")
    for net in (rows, columns):
        learn(net, kind(net.parameters(), 0.01, max_grad_norm=limit), x, 20)
    for p, q in zip(rows.parameters(), columns.parameters()):
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=0, atol=1e-9)


def test_state_is_saved_in_rows_and_loaded_into_either(rng: np.random.Generator) -> None:
    rows, columns, x = pair(rng)
    opt = optim.Adam(columns.parameters(), 0.01)
    learn(columns, opt, x, 3)
    state = opt.state_dict()
    assert all(
        state["state"][0][name].data.flags.c_contiguous for name in ("exp_avg", "exp_avg_sq")
    )
    for twin in (rows, network(True)):
        for p, q in zip(twin.parameters(), columns.parameters()):
            p.data[...] = q.data
        other = optim.Adam(twin.parameters(), 0.01)
        other.load_state_dict(copy.deepcopy(state))
        for k, held in other.state_dict()["state"].items():
            for name, value in held.items():
                assert np.array_equal(np.asarray(value), np.asarray(state["state"][k][name]))


def test_an_assigned_value_and_another_dtype(rng: np.random.Generator) -> None:
    _, net, x = pair(rng)
    opt = optim.Adam(net.parameters(), 0.01)
    learn(net, opt, x, 2)
    start = net[0].weight.detach().numpy().copy()
    net[0].weight.data = array(start + 1)  # by rows
    opt.step()
    assert in_column_order(net[0].weight.data)
    assert abs(net[0].weight.detach().numpy() - start - 1).max() < 0.1
    before = opt.state_dict()["state"][0]["exp_avg"].numpy()
    net.to("float64")
    opt.zero_grad()
    opt.step()
    after = opt.state_dict()["state"][0]["exp_avg"].numpy()
    assert np.array_equal(after, before)
    assert in_column_order(net[0].weight.data)
    learn(net, opt, x.astype("float64"), 1)
