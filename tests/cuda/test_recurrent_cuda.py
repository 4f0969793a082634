"""Recurrent layers on a GPU: the launches of a step, the CPU's numbers, a captured step."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from nvrtc import ARCHITECTURES, compile
from ops_tools import gpus, here, launches

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.backend import recurrent
from tensorgrad.codegen import cuda

KINDS: dict[str, Any] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


@pytest.fixture(autouse=True)
def machine() -> Iterator[Any]:
    with gpus() as found:
        yield found


def counted(run: Any) -> dict[str, int]:
    """How often each kernel ran."""
    before = dict(launches())
    run()
    found = {name: n - before.get(name, 0) for name, n in launches().items()}
    return {name: n for name, n in found.items() if n}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_one_product_and_one_kernel(kind: str, rng: np.random.Generator) -> None:
    layer = KINDS[kind](3, 4).to("cuda")
    seen = []
    for steps in (5, 9):
        layer.zero_grad()
        x = tg.tensor(rng.standard_normal((steps, 2, 3)).astype("f4"), device="cuda")
        ct = tg.tensor(rng.standard_normal((steps, 2, 4)).astype("f4"), device="cuda")
        out: list[Any] = []
        forward = counted(lambda x=x, out=out: out.append(layer(x)[0]))
        seen.append((forward, counted(lambda y=out[0], ct=ct: y.backward(ct))))
    for few, many in zip(*seen):
        more = {k: n - few.get(k, 0) for k, n in many.items() if n != few.get(k, 0)}
        assert more.pop("matmul") == 4
        assert list(more.values()) == [4]  # one generated kernel, of the gates


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_the_cpu(kind: str, dtype: str, rng: np.random.Generator) -> None:
    layer = KINDS[kind](3, 4, 2, bidirectional=True, dtype=dtype)
    x = rng.standard_normal((5, 2, 3))
    results = []
    for device in ("cpu", "cuda"):
        net = copy.deepcopy(layer).to(device)
        a = tg.tensor(x, device=device).astype(dtype).detach()
        a.requires_grad = True
        y, _ = net(a)
        (y * y).sum().backward()
        results.append([here(y.detach()), here(a.grad), *[here(p.grad) for p in net.parameters()]])
    tolerance = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-2, "bfloat16": 0.2}[dtype]
    for got, want in zip(results[1], results[0], strict=True):
        got, want = (np.asarray(one).astype(np.float64) for one in (got, want))
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1, np.abs(want).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_step_has_the_bits_of_the_loop(kind: str, rng: np.random.Generator) -> None:
    first = KINDS[kind](3, 4, 2).to("cuda")
    batches = [
        tg.tensor(rng.standard_normal((4, 2, 3)).astype("f4"), device="cuda") for _ in range(5)
    ]
    found = []
    for capture in (False, True):
        net = copy.deepcopy(first)
        optimizer = tg.optim.SGD(net.parameters(), 0.1)

        def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (net(x)[0] ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        if capture:
            run = tg.cuda.capture(step, (batches[0],))
        else:
            run = step
            for _ in range(2):  # those that a capture runs to warm up
                step(batches[0])
        losses = [run(x).item() for x in batches]
        found.append((losses, [here(p.detach()) for p in net.parameters()]))
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_array_equal(a, b)


FORMULAS = "LSTM LSTM_PULL GRU GRU_PULL TANH TANH_PULL RELU RELU_PULL".split()


def test_steps_compile_without_spills(
    rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """One formula and dtype by chance; with --full each."""
    cases = list(itertools.product(FORMULAS, ("float32", "float64", "float16", "bfloat16")))
    if not request.config.getoption("--full"):
        cases = [cases[rng.integers(len(cases))]]
    for name, dtype in cases:
        formula = getattr(recurrent, name)()
        source = cuda.elementwise(formula, [dtype] * len(formula.inputs))
        for arch in ARCHITECTURES:
            found = compile(source.text, arch)[source.name]
            assert not found.spills
            assert found.registers <= 128
