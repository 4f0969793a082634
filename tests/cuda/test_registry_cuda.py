"""Every operation of the registry on the CUDA backend, on the stand-in for CuPy."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import gpus, here, launches, there
from test_registry import NAMES, SMOOTH, leaves, oracle, samples, total, unpacked

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.backward import gradients
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.primitive import PRIMITIVES
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor

FEW, OPERATIONS_RUN = 2, 40  # samples and operations that are drawn by default

VIEWS = frozenset("reshape transpose broadcast_to flip index real imag".split())
"""Primitives that only look at their array otherwise."""

CUPY = {
    "astype": "a copy of one pass", "copy": "a copy of one pass", "conj": "one pass",
    "concat": "a copy of one pass", "stack": "a copy of one pass", "pad": "a fill and a copy",
    "roll": "copies", "tril": "one pass", "triu": "one pass", "unindex": "a fill and a copy",
    "prod": "one reduction", "any": "one reduction", "all": "one reduction",
    "count_nonzero": "one reduction", "argmax": "one reduction", "argmin": "one reduction",
    "put_along_axis": "of equal indices the last wins, found by a maximum of whole numbers",
    "last_along_axis": "of equal indices the last wins, found by a maximum of whole numbers",
}  # fmt: skip
"""Primitives that run through CuPy's own functions, and why that is enough."""

KERNELS = {
    "sum": "rows_", "sum_to": "rows_", "max": "rows_", "min": "rows_", "tie_shares": "rows_",
    "gather": "gather_rows_", "take_along_axis": "gather_rows_", "one_hot": "gather_rows_",
    "scatter_add": "index_add_", "add_along_axis": "index_add_", "cumsum": "cumsum_",
    "matmul": "matmul", "contract": "matmul", "linear": "matmul", "linear_relu": "matmul",
    "dropout": "dropout_", "softmax_xent": "softmax_xent_", "mean_counted": "softmax_xent_mean_",
}  # fmt: skip
"""Primitives with kernels of their own: how their names begin."""


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus(devices=2) as machine:
        yield machine


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A fresh sample of the operations; all of them with --full, or where a test is named."""
    if "operation" in metafunc.fixturenames:
        names = SMOOTH if "dtype" in metafunc.fixturenames else NAMES
        config = metafunc.config
        if not config.getoption("--full") and not any("[" in a for a in config.args):
            names = sorted(random.SystemRandom().sample(names, OPERATIONS_RUN))
        metafunc.parametrize("operation", names)


@pytest.mark.parametrize("name", sorted(PRIMITIVES))
def test_every_primitive_has_a_path_or_a_reason(name: str, gpu: Any) -> None:
    from tensorgrad.backend import base
    from tensorgrad.codegen import cuda, cuda_rows

    primitive = PRIMITIVES[name]
    if isinstance(primitive, Elementwise | Reduce):
        supports = cuda.supports if isinstance(primitive, Elementwise) else cuda_rows.supports
        given = {"f": "float32", "i": "int64", "b": "bool"}
        names = [given[v.kind] for v in primitive.formula.inputs]
        assert supports(primitive.formula, names)
        return
    assert callable(base.on("cuda").kernel(name))
    assert name in VIEWS | CUPY.keys() | KERNELS.keys()


def chosen(name: str, rng: Any, request: Any) -> list[Any]:
    found = samples(name, rng)
    if request.config.getoption("--full"):
        return found
    picked = rng.permutation(len(found))[:FEW]
    return [found[k] for k in sorted(picked)]


def test_forward_equals_oracle(
    operation: str, gpu: Any, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    function = OPERATIONS[operation].function
    for args, options in chosen(operation, rng, request):
        with np.errstate(all="ignore"):
            want = leaves(oracle(OPERATIONS[operation])(*args, **options))
        moved = there(args)
        on_gpu = any(isinstance(a, Tensor) for a in moved)
        if lacking(operation, args):
            with pytest.raises(tg.DTypeError, match=r"try x.to\('cpu'\)"):
                function(*moved, **there(options))
            continue
        got = leaves(function(*moved, **there(options)))
        assert len(got) == len(want)
        for g, w in zip(got, want):
            w = np.asarray(w)
            assert isinstance(g, Tensor)
            assert g.device == "cuda:0" or not on_gpu
            assert (g.shape, g.dtype) == (w.shape, w.dtype)
            np.testing.assert_allclose(here(g), w, rtol=1e-12, atol=1e-13)


COMPLEX = {"erf": "CuPy has it for real numbers", "erfc": "CuPy has it for real numbers"}
"""Operations that refuse complex arrays on a GPU, and why."""


def lacking(name: str, args: tuple[Any, ...]) -> bool:
    return name in COMPLEX and any(np.iscomplexobj(a) for a in args)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients_equal_those_of_the_cpu(
    operation: str, dtype: str, gpu: Any, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    if operation == "dropout":  # draws
        return
    for args, options in chosen(operation, rng, request):
        if lacking(operation, args):
            continue
        want, got = (pulled(operation, args, options, dtype, d) for d in ("cpu", "cuda:0"))
        assert len(got) == len(want)
        for g, w in zip(got, want):
            assert (g is None) == (w is None)
            if w is None:
                continue
            assert g.dtype == w.dtype
            a, b = here(g), here(w)
            scale = np.max(np.abs(b), initial=1.0, where=np.isfinite(b))
            eps = np.finfo(dtypes.real(w.dtype)).eps
            np.testing.assert_allclose(a, b, rtol=64 * eps, atol=64 * eps * scale)


def lowered(value: Any, dtype: str) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float64:
        return value.astype(dtype)
    return value


def pulled(name: str, args: Any, options: Any, dtype: str, device: str) -> list[Any]:
    """The gradients of every floating array, by the first-order path."""
    options = {k: there(lowered(v, dtype), device) for k, v in options.items()}
    call, flat = unpacked(OPERATIONS[name].function, args, options)
    xs = []
    flat = [lowered(a, dtype) for a in flat]
    for a in flat:
        if isinstance(a, np.ndarray):
            x = tg.tensor(a, device=device)
            x.requires_grad = bool(dtypes.is_inexact(a.dtype))
            xs.append(x)
        else:
            xs.append(there(a, device))
    found = [y for y in leaves(call(*xs)) if dtypes.is_inexact(y.dtype)]
    y = total(found) if found else None
    nodes = [x.node for x in xs if isinstance(x, Tensor) and x.node is not None]
    if not isinstance(y, Tensor) or y.node is None:
        return []
    one = tg.ones((), dtype=y.dtype, device=device)
    return gradients([y], [one], nodes, create_graph=False, free=True)


def arguments(name: str, rng: np.random.Generator) -> tuple[Any, ...]:
    """What runs the kernel of a primitive, as a call of an operation."""
    x, k = there(rng.standard_normal((6, 5)).astype("f4")), there(rng.integers(0, 5, 6))
    w = there(rng.standard_normal((4, 5)).astype("f4"))
    column = tg.reshape(k, (6, 1))
    calls = {
        "sum": lambda: x.sum(0), "sum_to": lambda: tg.sum_to(x, (5,)), "max": lambda: x.max(1),
        "min": lambda: x.min(1), "gather": lambda: x[k], "cumsum": lambda: tg.cumsum(x, 1),
        "tie_shares": lambda: PRIMITIVES["tie_shares"].bind(x, x.max(1, keepdims=True), axis=(1,)),
        "take_along_axis": lambda: tg.take_along_axis(x, column, 1),
        "one_hot": lambda: tg.one_hot(k, 5), "matmul": lambda: x @ w.T,
        "scatter_add": lambda: PRIMITIVES["scatter_add"].bind(
            x, k.reshape((1, 6)), axes=(0,), at=0, shape=(9, 5)),
        "add_along_axis": lambda: PRIMITIVES["add_along_axis"].bind(
            x[:, :1], column, axis=1, shape=(6, 5)),
        "contract": lambda: tg.einsum("ij,kj->ik", x, w), "linear": lambda: tg.linear(x, w),
        "linear_relu": lambda: tg.linear_relu(x, w, w[:, 0]), "dropout": lambda: tg.dropout(x),
        "softmax_xent": lambda: tg.cross_entropy(x, k),
        "mean_counted": lambda: PRIMITIVES["mean_counted"].bind(
            x[:, 0], k, PRIMITIVES["max"].bind(k, axis=(0,), keepdims=False)),
    }  # fmt: skip
    return (calls[name],)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_the_kernel_named_is_the_one_that_runs(
    name: str, gpu: Any, rng: np.random.Generator
) -> None:
    (call,) = arguments(name, rng)
    counter = launches()
    before = dict(counter)
    call()
    ran = [kernel for kernel, count in counter.items() if count != before.get(kernel, 0)]
    assert any(kernel.startswith(KERNELS[name]) for kernel in ran), ran


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_formulas_run_as_one_generated_kernel(
    dtype: str, gpu: Any, rng: np.random.Generator
) -> None:
    x = there(rng.standard_normal((4, 6)).astype(dtypes.dtype(dtype)))
    for call, prefix in ((lambda: tg.gelu(x), "tg_elements_"), (lambda: tg.softmax(x), "rows_")):
        call()
        before = dict(launches())
        call()
        ran = {k: n - before.get(k, 0) for k, n in launches().items() if n != before.get(k, 0)}
        assert [k.startswith(prefix) for k in ran] == [True]
        assert sum(ran.values()) == 1


def digits(rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.standard_normal((48, 20)).astype("f4")
    return x, (x @ rng.standard_normal((20, 10)).astype("f4")).argmax(1)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_a_training_run_gives_the_losses_of_the_cpu(
    optimizer: str, gpu: Any, rng: np.random.Generator
) -> None:
    x, y = digits(rng)
    first = [rng.standard_normal(s).astype("f4") / 4 for s in ((16, 20), (16,), (10, 16), (10,))]
    losses = {device: trained(device, optimizer, x, y, first) for device in ("cpu", "cuda:0")}
    np.testing.assert_allclose(losses["cuda:0"], losses["cpu"], rtol=2e-5)
    assert losses["cpu"][-1] < losses["cpu"][0]


def trained(device: str, optimizer: str, x: Any, y: Any, first: list[Any]) -> list[float]:
    params = [tg.nn.Parameter(tg.tensor(a, device=device)) for a in first]
    moved, labels = tg.tensor(x, device=device), tg.tensor(y, device=device)
    chosen = getattr(tg.optim, optimizer)(params, lr=0.05)
    losses = []
    for _ in range(12):
        w1, b1, w2, b2 = params
        loss = tg.cross_entropy(tg.linear(tg.linear_relu(moved, w1, b1), w2, b2), labels)
        losses.append(loss.item())
        chosen.zero_grad()
        loss.backward()
        chosen.step()
    return losses
