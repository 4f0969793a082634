"""Products of the CUDA backend on the stand-in: epilogues, precision, layouts."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ops_tools import ReferenceLt, gpus, here, launches, there
from products_tools import (
    HALVES,
    Spy,
    by,
    close,
    leaf,
    precise,
    ran,
)

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.core.tensor import Tensor

Array = Any
Rng = np.random.Generator


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


# -- a linear layer and its derivative -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", *HALVES])
@pytest.mark.parametrize("act", ["linear", "linear_relu", "linear_gelu"])
def test_layers_and_their_gradients(dtype: str, act: str, gpu: Any, rng: Rng) -> None:
    for columns, lead in ((8, (5,)), (7, (6,)), (16, (2, 3))):
        arrays = [rng.standard_normal(s) for s in ((*lead, 4), (columns, 4), (columns,))]
        ct = rng.standard_normal((*lead, columns))
        arrays, ct = [a.astype(dtypes.dtype(dtype)) for a in arrays], ct.astype("f4")
        exact = [leaf(a, "float64", "cpu") for a in arrays]
        with tg.no_grad():
            want = getattr(tg, act)(*exact)
        getattr(tg, act)(*exact).backward(ct.astype("f8"))
        given = [leaf(a, dtype) for a in arrays]
        out = getattr(tg, act)(*given)
        assert out.dtype == dtypes.dtype(dtype)
        close(out, want, dtype, 4)
        out.backward(there(ct.astype(dtypes.dtype(dtype))))
        for got, x in zip(given, exact):
            assert got.grad is not None
            assert got.grad.dtype == got.dtype
            close(got.grad, x.grad, dtype, 8)


def test_the_bias_gradient_costs_no_launch(gpu: Any, rng: Rng) -> None:
    x, w, b = (leaf(rng.standard_normal(s)) for s in ((6, 4), (5, 4), (5,)))
    y = tg.linear(x, w, b)
    ct = there(rng.standard_normal((6, 5)).astype("f4"))
    assert ran(lambda: y.backward(ct)) == {"matmul": 1, "matmul_bgrad" + side(w): 1}


def side(w: Tensor) -> str:
    """The operand that the library sums: A is y where out lies by rows."""
    return "b" if w.data.flags.c_contiguous else "a"


@pytest.mark.parametrize("refuses", ["bgrad", "bias", "gelu"])
def test_what_the_library_refuses_is_done_apart(refuses: str, gpu: Any, rng: Rng) -> None:
    arrays = [rng.standard_normal(s).astype("f2") for s in ((6, 4), (8, 4), (8,))]
    found = []
    for given in ("", refuses):
        with by(lambda given=given: Spy(given)) as spy:
            x, w, b = (leaf(a, "float16") for a in arrays)
            for _ in range(2):
                y = tg.linear_gelu(x, w, b)
                y.sum().backward()
                assert given == "" or not any(given in name for name in spy.epilogues())
            found.append([here(t) for t in (y, x.grad, w.grad, b.grad)])
    for got, want in zip(*found):
        close(got, want, "float16", 8)


def test_other_errors_of_the_library_are_raised(gpu: Any, rng: Rng) -> None:
    error = importlib.import_module("tensorgrad.backend.cuda.lt").LtError

    class Broken(ReferenceLt):
        def execute(self, plan: Any, x: int, y: int, out: int, **rest: Any) -> None:
            raise error("cublasLtMatmul", 13)

    x, w, b = (there(rng.standard_normal(s).astype("f4")) for s in ((6, 4), (8, 4), (8,)))
    with by(Broken), pytest.raises(error, match="EXECUTION_FAILED"):
        tg.linear(x, w, b)


# -- GELU ----------------------------------------------------------------------------------------


def test_gelu_is_left_to_the_library_where_it_is_exact_enough(gpu: Any, rng: Rng) -> None:
    arrays = [rng.standard_normal(s) for s in ((6, 4), (8, 4), (8,))]
    for dtype, precision, columns, want in (
        ("float16", "highest", 8, "gelu_aux_bias"), ("bfloat16", "highest", 8, "gelu_aux_bias"),
        ("float16", "highest", 7, "bias"), ("float32", "highest", 8, "bias"),
        ("float32", "high", 8, "gelu_aux_bias"), ("float64", "high", 8, "none"),
    ):  # fmt: skip
        x, w, b = (there(a.astype(dtypes.dtype(dtype))) for a in arrays)
        with by(Spy) as spy, precise(precision):
            tg.linear_gelu(x, w[:columns], b[:columns])
        assert spy.epilogues() == [want]


# -- TF32 ----------------------------------------------------------------------------------------


def test_tf32_only_on_request(gpu: Any, rng: Rng) -> None:
    assert tg.get_float32_matmul_precision() == "highest"
    wide = {"float32": "float32", "complex64": "float32", "float16": "float32"}
    wide |= {"float64": "float64", "complex128": "float64"}
    for dtype, plain in wide.items():
        x = there(rng.standard_normal((3, 3)).astype(dtype))
        for precision in ("highest", "high"):
            with by(Spy) as spy, precise(precision):
                x @ x
            fast = precision == "high" and dtype in ("float32", "complex64")
            assert [plan.compute for plan in spy.plans] == ["tf32" if fast else plain]


def test_a_precision_that_is_none() -> None:
    for bad in ("medium", "low", 3):
        with pytest.raises(ValueError, match=r"expected 'highest' or 'high'.*astype\(\"bfloat16"):
            tg.set_float32_matmul_precision(bad)  # type: ignore[arg-type]
    assert tg.get_float32_matmul_precision() == "highest"


# -- where results lie ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "one", "two", "plain"),
    [
        ("bhst,bthd->bshd", (2, 3, 4, 5), (2, 5, 3, 6), True),
        ("bshd,bthd->bhst", (2, 4, 3, 6), (2, 5, 3, 6), True),
        ("ij,jk->ki", (3, 4), (4, 5), True),
        ("bshd,hde->bse", (2, 4, 3, 6), (3, 6, 7), True),
        ("abi,ic->acb", (2, 3, 4), (4, 5), False),
        ("bij,bjk->ikb", (2, 3, 4), (2, 4, 5), False),
        ("ij,jk->ki", (1, 4), (4, 5), True),
        ("ij,jk->ki", (0, 4), (4, 5), True),
    ],
)
def test_a_contraction_is_one_product_and_no_copy(
    equation: str, one: Any, two: Any, plain: bool, gpu: Any, rng: Rng
) -> None:
    for dtype in ("float32", "complex128"):
        x, y = (rng.standard_normal(s).astype(dtype) for s in (one, two))
        arrays, before = (there(x), there(y)), sum(launches().values())
        got = tg.einsum(equation, *arrays)
        assert sum(launches().values()) - before == int(got.size > 0)
        np.testing.assert_allclose(here(got), np.einsum(equation, x, y), rtol=1e-4, atol=1e-5)
        assert got.data.flags.c_contiguous or not plain


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_layer_reads_its_input_where_it_is(dtype: str, gpu: Any, rng: Rng) -> None:
    whole = rng.standard_normal((3, 6, 4, 8)).astype(dtype)
    w, b = rng.standard_normal((5, 8)).astype(dtype), rng.standard_normal(5).astype(dtype)
    moved, weight, bias = there(whole), there(w), there(b)
    for view in (
        lambda t: t[:, :-1], lambda t: t[:, 2:5, 1:], lambda t: t.swapaxes(0, 1),
        lambda t: t.transpose((0, 2, 1, 3)), lambda t: t[:, 1], lambda t: t[..., ::-1],
    ):  # fmt: skip
        x = view(moved)
        with by(Spy) as spy:
            got = tg.linear(x, weight, bias)
        assert len(spy.plans) == 1
        want = view(whole).astype("f8") @ w.astype("f8").T + b
        close(got, want, dtype, 4)
