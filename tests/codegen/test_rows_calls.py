"""How generated reduce code is called: labels, foreign arrays, the order of a sum, the text."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

import numpy as np
import pytest
from codegen.rows_tools import formulas, sample

from tensorgrad.backend.numpy_staged import ReduceKernel, _part
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.llvm import FLAGS
from tensorgrad.codegen.rows import NARROW, function, reduction
from tensorgrad.codegen.rows_entry import DONE, UNFIT, Operand, by_ctypes
from tensorgrad.codegen.rows_trailing import BLOCK
from tensorgrad.expr import ROW, Formula, at, input, isum, rmax, rsum

FORMULAS = formulas()
X = input("x")
SUM = Formula.trace("sum", lambda x: rsum(x), (X,))
MAX = Formula.trace("max", lambda x: rmax(x), (X,))
DTYPES = [np.float32, np.float64]


def in_order(x: Any, width: int) -> Any:
    """Σ x as it is defined: lanes over blocks, the blocks pairwise, the halves of the lanes."""
    slots: dict[int, Any] = {}
    starts = range(0, len(x), BLOCK)
    lanes = np.zeros(width, x.dtype)
    for count, start in enumerate(starts):
        part = x[start : start + BLOCK]
        padded = np.zeros((-(-len(part) // width), width), x.dtype)
        padded.reshape(-1)[: len(part)] = part
        lanes = np.zeros(width, x.dtype)
        for line in padded:
            lanes = lanes + line
        if start == starts[-1]:
            break
        level = 0
        while count >> level & 1:
            lanes = slots.pop(level) + lanes
            level += 1
        slots[level] = lanes
    for level in sorted(slots):
        lanes = slots[level] + lanes
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return lanes[0]


def total(x: Any, columns: int | None = None) -> Any:
    out = np.empty(len(x), x.dtype)
    run = reduction(SUM, x.dtype, False, columns or x.shape[1])
    assert run is not None
    assert run(*x.shape, 0, len(x), len(x), x, out) == DONE
    return out


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_of_a_sum(dtype: Any, rng: np.random.Generator) -> None:
    width = 16 if dtype is np.float64 else 32
    for n in (1, 3, 8, 16, 17, 32, 100, 1023, 1024, 1025, 4096, 5000, 12345):
        x = rng.standard_normal((2, n)).astype(dtype)
        assert total(x).tolist() == [in_order(row, width) for row in x]
        if n <= NARROW[width == 16]:
            assert total(x).tobytes() == total(x, 100).tobytes()


def test_long_sums_are_as_good_as_numpys(rng: np.random.Generator) -> None:
    for make in (rng.random, rng.standard_normal, lambda n: np.full(n, 0.1)):
        x = make(3_000_001).astype(np.float32)
        exact, theirs = float(np.sum(x, dtype=np.float64)), float(np.sum(x))
        ours = float(total(x[None])[0])
        size = float(np.sum(np.abs(x), dtype=np.float64))
        assert abs(ours - exact) <= 2 * abs(theirs - exact) + 4e-7 * size
        out = np.empty(1, np.float32)
        run = reduction(SUM, np.float32, True)
        assert run is not None
        assert run(1, x.size, 0, 1, 1, x, out) == DONE
        assert abs(float(out[0]) - exact) <= 2 * abs(theirs - exact) + 4e-7 * size


def test_a_sum_over_rows_comes_in_parts_of_a_fixed_size(rng: np.random.Generator) -> None:
    formula = Formula.trace("rows", lambda x: isum(x), (X,))
    x = rng.random((1000, 37), dtype=np.float32)
    part = _part(*x.shape)
    lines = np.empty((-(-1000 // part), 37), np.float32)
    run = reduction(formula, np.float32, False)
    assert run is not None
    for start in range(0, 1000, part):
        assert run(1000, 37, start, min(start + part, 1000), part, x, lines) == DONE
    for k, line in enumerate(lines):
        want = np.zeros(37, np.float32)
        for row in x[k * part : (k + 1) * part]:
            want = want + row
        assert line.tobytes() == want.tobytes()
    got = ReduceKernel(formula)(x, axis=(1,), shape=x.shape)
    np.testing.assert_allclose(got, x.sum(0, dtype=np.float64), 1e-6)


@pytest.mark.parametrize("rows", [4, 2000])
def test_labels_out_of_range(rows: int, rng: np.random.Generator) -> None:
    kernel = ReduceKernel(FORMULAS["cross_entropy"])
    x = rng.standard_normal((rows, 300))
    labels = rng.integers(0, 300, rows)
    ignore = np.array(-100)
    labels[0] = -100
    loss, *_ = kernel(x, labels, ignore, axis=(1,), shape=x.shape)
    assert loss[0] == 0
    for bad in (300, -1, 2**40):
        labels[2:] = bad
        text = f"cross_entropy: got label {bad} in row 2, expected 0 <= label < 300; try labels"
        with pytest.raises(IndexError, match=text):
            kernel(x, labels, ignore, axis=(1,), shape=x.shape)
    small = rng.integers(0, 120, rows).astype(np.uint8)
    same = kernel(x, small.astype(np.int64), ignore, axis=(1,), shape=x.shape)
    for got, want in zip(kernel(x, small, ignore, axis=(1,), shape=x.shape), same, strict=True):
        assert got.tobytes() == want.tobytes()
    with pytest.raises(TypeError, match="got labels of type float64, expected integers"):
        kernel(x, labels.astype(float), ignore, axis=(1,), shape=x.shape)


def test_a_label_in_a_derivative_is_compared_whole() -> None:
    label = input("t", "i", ROW)
    formula = Formula.trace("pick", lambda x, t: at(x, t), (X, label)).vjp((0,), (0,)).formula
    assert formula is not None
    labels, ct = np.array([1, 2**32 + 1, -1, 2**31]), np.ones(4)
    got = ReduceKernel(formula, 1)(labels, ct, axis=(1,), shape=(4, 3))
    assert got.tolist() == [[0, 1, 0]] + [[0, 0, 0]] * 3


def test_foreign_arrays_are_turned_down(rng: np.random.Generator) -> None:
    run = reduction(SUM, np.float64, False, 5)
    assert run is not None
    operands = [Operand(e, np.dtype(np.float64)) for e in (*SUM.inputs, *SUM.outputs)]
    address = compiler().address(function(SUM, np.float64, False, narrow=True))
    x, out = rng.standard_normal((4, 5)), np.empty(4)

    class Own(np.ndarray):
        pass

    odd = np.frombuffer(bytearray(8 * 20 + 1), np.uint8)[1:].view(np.float64)
    for call in (run, by_ctypes(address, operands)):
        assert call(4, 5, 0, 4, 4, x, out) == DONE
        assert out.tolist() == total(x).tolist()
        assert call(4, 5, 0, 4, 4, x.reshape(2, 2, 5), out) == DONE
        for a in (x[:, :4], x[:3], x.T, x.astype(np.float32), x.view(Own), odd, x[:, ::-1]):
            assert call(4, 5, 0, 4, 4, a, out) == UNFIT
        for numbers in ((4, 5, 0, 5, 4), (4, 5, -1, 4, 4), (4, 5, 2, 2, 4), (4, 0, 0, 4, 4)):
            assert call(*numbers, x, out) == UNFIT
        assert call(4, 5, 0, 4, 4, x) == UNFIT
        assert call(4, 5, 0, 4, 4, x, np.empty(3)) == UNFIT


def test_arguments_keep_their_counts(rng: np.random.Generator) -> None:
    run = reduction(MAX, np.float32, False)
    assert run is not None
    x, out = rng.random((300, 100), dtype=np.float32), np.empty(300, np.float32)
    before = [sys.getrefcount(a) for a in (x, out)]
    for _ in range(10):
        assert run(300, 100, 0, 300, 300, x, out) == DONE
    assert before == [sys.getrefcount(a) for a in (x, out)]
    assert out.tolist() == x.max(1).tolist()


def test_no_warning_and_no_flag() -> None:
    libm = ctypes.CDLL(None)
    x = np.resize(np.array([0, -1, np.inf, np.nan, 1000, 1e-40, 3e38], np.float32), (40, 70))
    kernel = ReduceKernel(FORMULAS["softmax"])
    for _ in range(2):  # the first time much else happens
        libm.feclearexcept(0x3D)
        with np.errstate(all="raise"):
            kernel(x, axis=(1,), shape=x.shape)
            kernel(x, axis=(0,), shape=x.shape)
    assert libm.fetestexcept(0x3D) == 0


def test_empty_arrays_are_interpreted() -> None:
    kernel = ReduceKernel(FORMULAS["cross_entropy"])
    x = np.zeros((0, 4), np.float32)
    outs = kernel(x, np.zeros(0, int), np.array(-100), axis=(1,), shape=(0, 4))
    assert [o.shape for o in outs] == [(0,)] * 3
    assert ReduceKernel(SUM)(np.zeros((3, 0)), axis=(1,), shape=(3, 0)).tolist() == [0, 0, 0]


def test_results_may_be_written_into_an_input(rng: np.random.Generator) -> None:
    kernel = ReduceKernel(FORMULAS["softmax"])
    for axis in ((0,), (1,)):
        x = rng.standard_normal((30, 70))
        want, total = kernel(x, axis=axis, shape=x.shape)
        found = kernel(x, axis=axis, shape=x.shape, out=(x, np.empty_like(total)))
        assert found[0] is x
        assert x.tobytes() == want.tobytes()
        assert found[1].tobytes() == total.tobytes()


@pytest.mark.parametrize("leading", [False, True])
def test_text_starts_with_the_formula_and_compiles_for_arm(leading: bool) -> None:
    binding = pytest.importorskip("llvmlite.binding")
    formula = FORMULAS["softmax"]
    for machine in FLAGS:
        text = function(formula, np.float32, leading, machine=machine)
        assert text.startswith("; ")
        assert "rsum" in text.splitlines()[0]
        assert "fast" not in text.partition("\n")[2]
        assert "contract" not in text
        binding.parse_assembly(text).verify()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    code = target.create_target_machine(opt=2).emit_object(binding.parse_assembly(text))
    assert code.startswith(b"\x7fELF")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instruction sets of x86")
@pytest.mark.parametrize("leading", [False, True])
def test_the_same_bits_on_another_instruction_set(leading: bool, rng: np.random.Generator) -> None:
    binding = pytest.importorskip("llvmlite.binding")
    compiler()
    if not binding.get_host_cpu_features().get("avx2"):
        pytest.skip("no AVX2")
    target = binding.Target.from_triple(binding.get_process_triple())
    machine = target.create_target_machine(cpu="haswell", opt=2, jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    for name in ("softmax", "layer_norm", "logsumexp"):
        formula = FORMULAS[name]
        text = function(formula, np.float32, leading).replace("@KERNEL", f"@{name}")
        engine.add_module(binding.parse_assembly(text))
        engine.finalize_object()
        nodes = (*formula.inputs, *formula.outputs)
        operands = [Operand(e, np.dtype(np.float32)) for e in nodes]
        old = by_ctypes(engine.get_function_address(name), operands)
        new = reduction(formula, np.float32, leading)
        assert new is not None
        rows, columns = 37, 2100
        sizes = [(rows if e.index & ROW else 1) * (columns if e.index & 2 else 1) for e in nodes]
        ins = [rng.standard_normal(n, np.float32) for n in sizes[: len(formula.inputs)]]
        found = []
        for code in (old, new):
            outs = [np.empty(n, np.float32) for n in sizes[len(ins) :]]
            assert code(rows, columns, 0, rows, rows, *ins, *outs) == DONE
            found.append([o.tobytes() for o in outs])
        assert found[0] == found[1]


def test_samples_reach_every_kind_of_input(rng: np.random.Generator) -> None:
    kinds = {e.kind for f in FORMULAS.values() for e in f.inputs}
    assert kinds == {"f", "i"}
    assert sample(input("b", "f", ROW), (3, 4), (1,), np.float32, rng).shape == (3,)
