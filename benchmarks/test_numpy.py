"""Gradients of NumPy's functions: a call on a million float64 numbers, or on 8 matrices 256 x 256.

A program in NumPy's own names, given tensors; HIPS autograd runs the same lines in its names,
PyTorch its own. The time is of a forward call and its backward from a cotangent; beside it stands
the forward call alone, with the tape on. The last test holds what the tape keeps to what the rules
say they save.
"""

from __future__ import annotations

import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special

import tensorgrad as tg
from benchmarks.numpy_cases import CASES, Case, Function
from benchmarks.peers import Side, agree
from benchmarks.race import Race, Run, ahead, importable, near
from tensorgrad.backend import memory

FORWARD = "forward"
OURS = SimpleNamespace(np=np, special=scipy.special, logsumexp=tg.logsumexp)


# -- the contenders ------------------------------------------------------------------------------


def with_autograd(f: Function, arrays: list[Any], ct: Any) -> Side | None:
    """HIPS autograd: its cotangents of complex results are conjugate to ours."""
    if not importable("autograd"):
        return None
    import autograd
    import autograd.numpy
    import autograd.scipy.special

    special = autograd.scipy.special
    lib = SimpleNamespace(np=autograd.numpy, special=special, logsumexp=special.logsumexp)
    at = tuple(k for k, a in enumerate(arrays) if a.dtype.kind == "f")
    seed = ct.conj() if ct.shape else ct.item()

    def call(moved: tuple[Any, ...]) -> Any:
        given = list(arrays)
        for k, x in zip(at, moved):
            given[k] = x
        return f(lib, *given)

    pulled = autograd.make_vjp(call)

    def run() -> Any:
        pull, y = pulled(tuple(arrays[k] for k in at))
        return y, pull(seed)

    def values() -> list[Any]:
        y, found = run()
        return [np.asarray(y), *[np.asarray(g) for g in found]]

    return Side(run, values)


def with_torch(f: Function, arrays: list[Any], ct: Any) -> Side | None:
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    given = [torch.from_numpy(a.copy()) for a in arrays]
    moved = [x.requires_grad_() for x in given if x.is_floating_point()]
    return _taped(lambda: f(torch, *given), moved, torch.from_numpy(ct))


def ours(f: Function, arrays: list[Any], ct: Any) -> Side:
    given = [tg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    moved = [x for x in given if x.requires_grad]
    return _taped(lambda: f(OURS, *given), moved, tg.Tensor(ct))


def _taped(call: Run, moved: list[Any], seed: Any) -> Side:
    def run() -> Any:
        for x in moved:
            x.grad = None
        y = call()
        y.backward(seed)
        return y

    def values() -> list[Any]:
        y = run().detach().numpy()
        return [y, *[x.grad.numpy() for x in moved]]

    return Side(run, values)


def cotangent(case: Case, arrays: list[Any], rng: np.random.Generator) -> Any:
    """A random one of the result's shape and dtype."""
    y = np.asarray(case.f(OURS, *arrays))
    found = rng.standard_normal(y.shape)
    if y.dtype.kind == "c":
        found = found + 1j * rng.standard_normal(y.shape)
    return np.asarray(found)


@pytest.mark.parametrize("name", CASES)
def test_gradient(race: Race, name: str) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    arrays = case.arrays(rng)
    ct = cotangent(case, arrays, rng)
    mine = ours(case.f, arrays, ct)
    entered: dict[str, Run | None] = {}
    for peer, side in (
        ("torch", with_torch(case.torch, arrays, ct) if case.torch else None),
        ("autograd", with_autograd(case.f, arrays, ct) if case.autograd else None),
    ):
        if side is not None:
            agree(mine, side, case.tolerance)
        if side is not None or (case.torch if peer == "torch" else case.autograd):
            entered[peer] = side.run if side else None
    taped = [tg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    goals = [ahead(1, peer) for peer in entered]
    race(
        f"{name}, f + b",
        mine.run,
        entered,
        beside={FORWARD: lambda: case.f(OURS, *taped)},
        goal=[*goals, near(6, FORWARD)],
    )


# -- memory --------------------------------------------------------------------------------------


def owner(a: Any) -> Any:
    """The array whose memory an array looks at."""
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


def declared(tensor: Any, given: set[int]) -> int:
    """Bytes that the tape of a result says it saves, each piece of memory once."""
    sizes: dict[int, int] = {}
    seen, left = set(), [tensor.node]
    while left:
        node = left.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        left += [p for p in (node.parents or ()) if p is not None]
        kept = [*(node.saved or ()), *([tensor.data] if node is tensor.node else [])]
        for a in [owner(a) for a in kept if isinstance(a, np.ndarray)]:
            if id(a) not in given:
                sizes[id(a)] = a.nbytes
    return sum(sizes.values())


@pytest.mark.parametrize("name", CASES)
def test_memory(name: str) -> None:
    """What lives after the forward call is what the tape says; after backward the gradients."""
    case, rng = CASES[name], np.random.default_rng(0)
    arrays = case.arrays(rng)
    given = [tg.Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    seed = tg.Tensor(cotangent(case, arrays, rng))
    case.f(OURS, *given).backward(seed)  # compiles, imports and remembers what it will
    moved = [x for x in given if x.requires_grad]
    for x in moved:
        x.grad = None
    slack = 2**18
    memory.trim()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        y = case.f(OURS, *given)
        held = tracemalloc.get_traced_memory()[0] - before
        stated = declared(y, {id(owner(a)) for a in arrays})
        assert abs(held - stated) <= slack, (name, held, stated)
        y.backward(seed)
        del y
        left = tracemalloc.get_traced_memory()[0] - before
        grads = sum(x.grad.numpy().nbytes for x in moved)
        assert left <= grads + slack, (name, left, grads)
    finally:
        tracemalloc.stop()
