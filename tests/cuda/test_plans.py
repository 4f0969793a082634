"""Matrix products of the GPU: plans against NumPy, and the calls of cuBLASLt, without a GPU."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tensorgrad._errors import DTypeError, ShapeError
from tensorgrad.backend.cuda import blas
from tensorgrad.backend.cuda.blas import NeedsCopy, aux_ld, matmul_plan, reference

Array = Any
Rng = np.random.Generator

BF16 = np.dtype(ml_dtypes.bfloat16)
EPS = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 2**-24, "complex64": 2**-24}
DTYPES = [np.dtype(name) for name in ("f2", "f4", "f8", "c8", "c16")] + [BF16]
REAL = [np.dtype("f2"), np.dtype("f4"), np.dtype("f8"), BF16]


def values(rng: Rng, shape: tuple[int, ...], dtype: Any = "f4") -> Array:
    kind = np.dtype(dtype)
    found = rng.standard_normal(shape)
    if kind.kind == "c":
        found = found + 1j * rng.standard_normal(shape)
    return np.asarray(found).astype(kind)


def wide(x: Array) -> Array:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def agree(got: Array, want: Array) -> None:
    """Rounded once: half a step of the dtype, and float64's own error for sums in other orders."""
    half = EPS.get(got.dtype.name, 0.0)
    least = 2**-25 if got.dtype.name == "float16" else 0.0  # half a step of its denormals
    allowed = 1.01 * half * np.abs(want) + least + 1e-11 * (1 + np.abs(want))
    assert np.all(np.abs(wide(got) - want) <= allowed)


def laid_out(rng: Rng, shape: tuple[int, ...], dtype: Any) -> Array:
    """Random values in one of the layouts that need no copy: packed, padded or transposed."""
    order = [*range(len(shape) - 2), *(-2, -1)] if len(shape) > 1 else [-1]
    lead = list(rng.permutation(len(shape) - 2)) if len(shape) > 2 else []
    last = order[-2:] if rng.integers(2) else order[-2:][::-1]
    order = [*lead, *last]
    padded = [shape[axis] for axis in order]
    padded[-1] += int(rng.integers(3))
    memory = values(rng, tuple(padded), dtype)[..., : shape[order[-1]]]
    return memory.transpose(np.argsort([axis % len(shape) for axis in order]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_are_numpys(rng: Rng, dtype: Any) -> None:
    for _ in range(60):
        m, n, k = (int(size) for size in rng.integers(1, 9, 3))
        lead = tuple(int(size) for size in rng.integers(1, 4, rng.integers(0, 4)))
        mine, yours = (
            tuple(
                1 if rng.integers(3) == 0 else size for size in lead[rng.integers(len(lead) + 1) :]
            )
            for _ in range(2)
        )
        x_shape, y_shape = (*mine, m, k), (*yours, k, n)
        x_shape = (k,) if rng.integers(8) == 0 else x_shape
        y_shape = (k,) if rng.integers(8) == 0 else y_shape
        x, y = laid_out(rng, x_shape, dtype), laid_out(rng, y_shape, dtype)
        want = np.matmul(wide(x), wide(y))
        narrow = dtype.itemsize == 2 and bool(rng.integers(2))
        kind = np.dtype("f4") if narrow else dtype
        out = laid_out(rng, want.shape, kind) if want.ndim else np.zeros((), kind)
        beta = float(rng.integers(2))
        want = 0.5 * want + beta * wide(out)
        plan = matmul_plan(x, y, out, alpha=0.5, beta=beta)
        reference(plan, x, y, out)
        agree(out, want)


def test_only_out_is_written(rng: Rng) -> None:
    memory = values(rng, (4, 6, 9))
    before, out = memory.copy(), memory[::2, 1:4, 2:7]
    x, y = values(rng, (2, 3, 5)), values(rng, (5, 5))
    reference(matmul_plan(x, y, out), x, y, out)
    agree(out, wide(x) @ wide(y))
    out[...] = before[::2, 1:4, 2:7]
    assert np.array_equal(memory, before)


def test_packed_attention_needs_no_copy(rng: Rng) -> None:
    q, k, v = values(rng, (3, 6, 3, 2, 4)).transpose(2, 0, 3, 1, 4)
    scores, out = np.empty((3, 2, 6, 6), "f4"), np.empty((3, 6, 2, 4), "f4").transpose(0, 2, 1, 3)
    plan = matmul_plan(q, k.swapaxes(-1, -2), scores, alpha=0.5)
    assert (plan.batch, plan.calls) == (3, 2)
    reference(plan, q, k, scores)
    agree(scores, 0.5 * wide(q) @ wide(k).swapaxes(-1, -2))
    want = wide(scores) @ wide(v)
    reference(matmul_plan(scores, v, out), scores, v, out)
    agree(out, want)


def test_leading_axes_become_rows() -> None:
    x, w = np.empty((4, 5, 6), "f4"), np.empty((7, 6), "f4")
    plan = matmul_plan(x, w.T, np.empty((4, 5, 7), "f4"))
    assert (plan.m, plan.n, plan.k, plan.batch, plan.calls) == (7, 20, 6, 1, 1)
    plan = matmul_plan(np.empty((9, 1, 6), "f4"), w.T, np.empty((9, 1, 7), "f4"))
    assert (plan.n, plan.batch) == (9, 1)
    assert matmul_plan(x, w.T, np.empty((4, 5, 7), "f4")) is matmul_plan(
        x, w.T, np.empty((4, 5, 7), "f4")
    )


def test_what_needs_a_copy_is_named(rng: Rng) -> None:
    x, y, out = values(rng, (8, 8)), values(rng, (4, 4)), np.empty((4, 4), "f4")
    for bad in (x[::2, ::2], x[3::-1, :4], np.broadcast_to(x[0, :4], (4, 4))):
        for name, operands in (("x", (bad, y, out)), ("y", (y, bad, out))):
            with pytest.raises(NeedsCopy, match=f"got {name} .* a contiguous copy") as caught:
                matmul_plan(*operands)
            assert caught.value.operand == name
    with pytest.raises(NeedsCopy) as caught:
        matmul_plan(y, y, x[::2, ::2])
    assert caught.value.operand == "out"
    stack = values(rng, (3, 4, 4))
    with pytest.raises(NeedsCopy, match="reversed axis"):
        matmul_plan(stack[::-1], stack, np.empty((3, 4, 4), "f4"))


def test_wrong_arguments_are_told(rng: Rng) -> None:
    x, y, out = values(rng, (3, 4)), values(rng, (4, 5)), np.empty((3, 5), "f4")
    with pytest.raises(ShapeError, match=r"expected \(..., m, k\) @ \(..., k, n\)"):
        matmul_plan(x, x, out)
    with pytest.raises(ShapeError, match=r"try out.fill\(0\)"):
        matmul_plan(x[:, :0], y[:0], out)
    with pytest.raises(DTypeError, match="float32 @ float64 into float32"):
        matmul_plan(x, y.astype("f8"), out)
    with pytest.raises(DTypeError, match="expected x and y of one floating"):
        matmul_plan(x.astype("i4"), y.astype("i4"), out)
    with pytest.raises(ShapeError, match="expected one of bgrad_x bgrad_y bias"):
        matmul_plan(x, y, out, epilogue="swish")
    with pytest.raises(ShapeError, match=r"no bias .*contiguous float32\(5\)"):
        matmul_plan(x, y, out, epilogue="bias")
    with pytest.raises(ShapeError, match="expected no bias and no aux"):
        matmul_plan(x, y, out, bias=np.empty(5, "f4"))
    bias = np.empty(5, "f4")
    with pytest.raises(ShapeError, match=r"expected float32\(3, 5\) whose rows"):
        matmul_plan(x, y, out, epilogue="gelu_aux_bias", bias=bias, aux=np.empty((3, 5), "f4"))
    with pytest.raises(ShapeError, match=r"expected uint8\(3, 16\) whose rows"):
        matmul_plan(x, y, out, epilogue="relu_aux", aux=np.empty((3, 5), "f4"))
    with pytest.raises(NeedsCopy, match="got out that lies by columns"):
        matmul_plan(x, y, np.empty((5, 3), "f4").T, epilogue="bias", bias=bias)
    stack = values(rng, (2, 4, 5))
    with pytest.raises(ShapeError, match="expected one matrix y"):
        matmul_plan(x, stack, np.empty((2, 3, 5), "f4"), epilogue="bgrad_x", bias=np.empty(3, "f4"))
    with pytest.raises(DTypeError, match="expected a real dtype"):
        matmul_plan(*(v.astype("c8") for v in (x, y, out)), epilogue="bias", bias=bias)


def aux_for(epilogue: str, rows: int, columns: int, dtype: Any, extra: int = 0) -> Array:
    ld = aux_ld(columns, epilogue)
    if "relu" in epilogue:
        return np.zeros((rows, ld // 8 + 16 * extra), "u1")[:, : ld // 8]
    return np.zeros((rows, ld + 8 * extra), dtype)[:, :columns]


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_forward_epilogues(rng: Rng, dtype: Any) -> None:
    for epilogue in [name for name in blas.EPILOGUES if not name.startswith(("d", "bgrad"))]:
        m, n, k = (int(size) for size in rng.integers(1, 40, 3))
        x, w, bias = (values(rng, shape, dtype) for shape in ((m, k), (n, k), (n,)))
        out = np.empty((m, n), dtype)
        more: dict[str, Array] = {"bias": bias} if "bias" in epilogue else {}
        if "aux" in epilogue:
            more["aux"] = aux_for(epilogue, m, n, dtype, int(rng.integers(3)))
        reference(matmul_plan(x, w.T, out, epilogue=epilogue, **more), x, w, out, **more)
        want = wide(x) @ wide(w).T + (wide(bias) if "bias" in epilogue else 0)
        if "aux" in epilogue and "relu" in epilogue:
            bits = np.unpackbits(more["aux"], axis=1, bitorder="little")[:, :n]
            assert np.array_equal(bits, want > 0)
        elif "aux" in epilogue:
            agree(more["aux"], want)
        if "relu" in epilogue:
            want = np.maximum(want, 0)
        elif "gelu" in epilogue:
            want = want / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (want + 0.044715 * want**3)))
        agree(out, want)


def test_one_bias_for_all_matrices_of_a_stack(rng: Rng) -> None:
    padded, w, bias = (values(rng, s) for s in ((2, 3, 5, 6), (4, 6), (4,)))
    stack = values(rng, (2, 3, 6, 4))
    for x, y in (
        (padded[:, :, :4], w.T), (padded.transpose(1, 0, 2, 3)[:, :, 1:], w.T),
        (padded.swapaxes(1, 2), w.T), (padded[..., ::-1, :][..., ::-1, :], stack),
    ):  # fmt: skip
        for epilogue in ("bias", "relu_bias", "gelu_bias"):
            want = wide(x) @ wide(y) + bias
            out = np.empty(want.shape, "f4")
            plan = matmul_plan(x, y, out, epilogue=epilogue, bias=bias)
            assert plan.batch * plan.calls > 1
            reference(plan, x, y, out, bias)
            if epilogue != "bias":
                want = np.maximum(want, 0) if epilogue == "relu_bias" else blas.gelu(want)
            agree(out, want)


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_backward_epilogues(rng: Rng, dtype: Any) -> None:
    for name in ("drelu", "drelu_bgrad", "dgelu", "dgelu_bgrad"):
        m, n, k = (int(size) for size in rng.integers(1, 40, 3))
        x, w, ct = (values(rng, shape, dtype) for shape in ((m, n), (k, n), (m, k)))
        aux, out = aux_for(name, m, n, dtype, 1), np.empty((m, n), dtype)
        kept = x > 0 if "relu" in name else x
        if "relu" in name:
            packed = np.packbits(kept, axis=1, bitorder="little")
            aux[:, : packed.shape[1]] = packed
        else:
            aux[...] = x
        more = {"aux": aux} | ({"bias": np.empty(n, dtype)} if "bgrad" in name else {})
        reference(matmul_plan(ct, w, out, epilogue=name, **more), ct, w, out, **more)
        h = 1e-5
        step = (blas.gelu(wide(x) + h) - blas.gelu(wide(x) - h)) / (2 * h)
        assert np.allclose(blas.gelu_slope(wide(x)), step, atol=1e-8)
        slope = kept if "relu" in name else blas.gelu_slope(wide(x))
        want = (wide(ct) @ wide(w)) * slope
        agree(out, want)
        if "bgrad" in name:
            agree(more["bias"], want.sum(0))


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_bias_gradients_from_the_operands(rng: Rng, dtype: Any) -> None:
    m, n, k = (int(size) for size in rng.integers(2, 20, 3))
    ct, x = values(rng, (k, m), dtype), values(rng, (k, n), dtype)
    into = np.dtype("f4") if dtype.itemsize == 2 else dtype
    for side, length, want in (("bgrad_x", m, wide(ct).sum(0)), ("bgrad_y", n, wide(x).sum(0))):
        for out in (values(rng, (m, n), into), values(rng, (n, m), into).T):
            bias, before = np.empty(length, into), wide(out)
            plan = matmul_plan(ct.T, x, out, epilogue=side, bias=bias, beta=1.0)
            reference(plan, ct, x, out, bias)
            agree(bias, want)
            agree(out, before + wide(ct).T @ wide(x))


@pytest.mark.parametrize("act", ["relu", "gelu"])
def test_the_six_products_of_a_network(rng: Rng, act: str) -> None:
    """Two layers forward and backward: every product, every bias gradient, nothing else."""
    rows, d, h, o = (int(size) for size in rng.integers(3, 30, 4))
    x, w1, b1, w2, b2, ct = (
        values(rng, shape) for shape in ((rows, d), (h, d), (h,), (o, h), (o,), (rows, o))
    )
    hidden, y, dpre, dx = (
        np.empty(shape, "f4") for shape in ((rows, h), (rows, o), (rows, h), x.shape)
    )
    dw1, dw2, db1, db2 = (np.empty(v.shape, "f4") for v in (w1, w2, b1, b2))
    aux = aux_for(f"{act}_aux_bias", rows, h, "f4")

    def run(a: Array, b: Array, out: Array, epilogue: str = "none", **more: Array) -> None:
        reference(matmul_plan(a, b, out, epilogue=epilogue, **more), a, b, out, **more)

    run(x, w1.T, hidden, f"{act}_aux_bias", bias=b1, aux=aux)
    run(hidden, w2.T, y, "bias", bias=b2)
    run(ct, w2, dpre, f"d{act}_bgrad", bias=db1, aux=aux)
    run(ct.T, hidden, dw2, "bgrad_x", bias=db2)
    run(dpre.T, x, dw1)
    run(dpre, w1, dx)
    pre = wide(x) @ wide(w1).T + b1
    f, slope = (
        (blas.gelu, blas.gelu_slope) if act == "gelu" else (lambda v: v * (v > 0), lambda v: v > 0)
    )
    through = (wide(ct) @ wide(w2)) * slope(pre)
    pairs = [
        (hidden, f(pre)), (y, f(pre) @ wide(w2).T + b2), (dpre, through), (db1, through.sum(0)),
        (dw2, wide(ct).T @ f(pre)), (db2, wide(ct).sum(0)),
        (dw1, through.T @ x), (dx, through @ w1),
    ]  # fmt: skip
    for got, want in pairs:
        assert np.linalg.norm(got - want) <= 1e-6 * np.linalg.norm(want) + 1e-6


def test_relu_takes_nan_to_zero() -> None:
    x, out = np.array([[np.nan, 1.0]], "f4"), np.empty((1, 2), "f4")
    reference(
        matmul_plan(x, np.eye(2, dtype="f4"), out, epilogue="relu"), x, np.eye(2, dtype="f4"), out
    )
    assert np.array_equal(out, [[0, 0]])
