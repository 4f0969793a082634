"""Whole formulas and their derivatives: generated code against the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensorgrad import dtypes
from tensorgrad.codegen import kernel, supports
from tensorgrad.codegen.llvm import FLAGS, function
from tensorgrad.expr import Expr, Formula, call, cast, equal, input, where
from tensorgrad.expr.evaluate import plan

DTYPES = [np.float32, np.float64]


def number(x: Any) -> Any:
    """x, and 0 for NaN: the sign of a computed NaN is left open by IEEE 754."""
    return where(call("isnan", x), 0, x)


STEPS: list[Callable[..., Any]] = [
    lambda a, b, c: a + b,
    lambda a, b, c: a - b,
    lambda a, b, c: a * b,
    lambda a, b, c: a / b,
    lambda a, b, c: -a,
    lambda a, b, c: a * b + c,
    lambda a, b, c: 3 * a - 0.1,
    lambda a, b, c: where((a < b) & ~(b <= c), a, c),
    lambda a, b, c: where(equal(a, b) | (c < 0), b, 1),
    lambda a, b, c: cast(a < b, "f") + c,
    lambda a, b, c: where(cast(a, "b"), b, 0.5),
    lambda a, b, c: where(equal(a < b, b < c), a, b),
    lambda a, b, c: call("sqrt", call("abs", a)),
    lambda a, b, c: call("floor", a) + call("ceil", b),
    lambda a, b, c: call("trunc", a) * call("round", c),
    lambda a, b, c: call("square", a) + call("sign", b),
    lambda a, b, c: call("reciprocal", a),
    lambda a, b, c: call("copysign", a, number(b)),
    lambda a, b, c: where(call("isfinite", a), a, call("isnan", b) & call("signbit", number(c))),
]


def interpreted(formula: Formula, dtype: Any, arrays: Any) -> Any:
    with np.errstate(all="ignore"):
        return plan(formula, dtype)(arrays)


def results(run: Any, arrays: Any) -> tuple[Any, ...]:
    found = run(*arrays)
    return found if type(found) is tuple else (found,)


def random_formula(rng: np.random.Generator) -> Formula:
    nodes: list[Expr] = [input(f"x{k}") for k in range(int(rng.integers(1, 5)))]
    inputs = list(nodes)
    for _ in range(int(rng.integers(2, 40))):
        step = STEPS[rng.integers(len(STEPS))]
        nodes.append(step(*[nodes[k] for k in rng.integers(0, len(nodes), 3)]))
    count = int(rng.integers(1, 4))
    return Formula("random", tuple(inputs), tuple(nodes[-count:]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_the_interpreters_bit_for_bit(dtype: Any, rng: np.random.Generator) -> None:
    for _ in range(25):
        formula = random_formula(rng)
        run = kernel(formula, dtype)
        assert run is not None, formula.content
        arrays = [(3 * rng.standard_normal(70)).astype(dtype) for _ in formula.inputs]
        for a in arrays:
            a[:6] = rng.permutation(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1], dtype))
        for got, want in zip(results(run, arrays), interpreted(formula, dtype, arrays)):
            assert np.array_equal(got, want, equal_nan=got.dtype.kind == "f"), formula.content


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + call("tanh", 0.7978845608028654 * (x + 0.044715 * x * x * x)))


def mish(x: Any) -> Any:
    return x * call("tanh", call("softplus", x))


def elu(x: Any, alpha: Any) -> Any:
    return where(x > 0, x, alpha * call("expm1", x))


def gauss(x: Any, mean: Any, scale: Any) -> Any:
    z = (x - mean) / scale
    return -0.5 * z * z - call("log", scale) - 0.9189385332046727


def adam(p: Any, g: Any, m: Any, v: Any, rate: Any, eps: Any) -> Any:
    m = m + 0.1 * (g - m)
    v = 0.999 * v + 0.001 * (g * g)
    return p - rate * (m / (call("sqrt", v) + eps)), m, v


def two(x: Any, y: Any) -> Any:
    e = call("exp", x - call("maximum", x, y))
    return e * call("sigmoid", y), call("log1p", e), x < y


SMOOTH = [(gelu, 1), (mish, 1), (elu, 2), (gauss, 3), (adam, 6), (two, 2)]


def family(fn: Any, count: int) -> list[Formula]:
    """A formula, its VJP, its JVP, and the VJP of its VJP."""
    formula = Formula.trace(fn.__name__, fn, [input(f"x{k}") for k in range(count)])
    reals = tuple(k for k, o in enumerate(formula.outputs) if o.kind == "f")
    wanted = tuple(range(count))
    first = formula.vjp(wanted, reals).formula
    assert first is not None
    inner = tuple(range(len(first.inputs)))
    second = first.vjp(inner, tuple(range(len(first.outputs)))).formula
    found = [formula, first, formula.jvp(wanted).formula, second]
    return [f for f in found if f is not None]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("fn", "count"), SMOOTH)
def test_formulas_and_derivatives(
    fn: Any, count: int, dtype: Any, rng: np.random.Generator
) -> None:
    wide = np.float64 if dtype is np.float32 else np.longdouble
    for formula in family(fn, count):
        assert supports(formula, dtype), formula.content
        run = kernel(formula, dtype)
        assert run is not None
        arrays = [rng.uniform(0.5, 2, 777).astype(dtype) for _ in formula.inputs]
        arrays[0] = (3 * rng.standard_normal(777)).astype(dtype)
        got, own = results(run, arrays), interpreted(formula, dtype, arrays)
        exact = interpreted(formula, wide, [a.astype(wide) for a in arrays])
        for g, i, w in zip(got, own, exact, strict=True):
            if g.dtype == bool:
                assert np.array_equal(g, i)
                continue
            size = np.abs(w).max()
            ours, theirs = np.abs(g - w).max(), np.abs(i - w).max()
            assert ours <= 2 * theirs + 4 * np.finfo(dtype).eps * size, (formula.name, ours, theirs)


def test_bools_in_and_out(rng: np.random.Generator) -> None:
    formula = Formula.trace(
        "masked",
        lambda m, x, y: (where(m, x, y), m & (x < y)),
        [input("m", "b"), input("x"), input("y")],
    )
    run = kernel(formula, np.float64)
    assert run is not None
    m = rng.random((9, 37)) < 0.5
    x, y = rng.standard_normal((2, 9, 37))
    got = run(m[:, ::-1], x, y[0])
    assert np.array_equal(got[0], np.where(m[:, ::-1], x, y[0]))
    assert np.array_equal(got[1], m[:, ::-1] & (x < y[0]))
    assert got[1].dtype == bool


def test_no_warning_and_no_flag(rng: np.random.Generator) -> None:
    formula = Formula.trace("all", lambda x: (1 / x, call("exp", x), call("log", x)), [input("x")])
    run = kernel(formula, np.float32)
    assert run is not None
    libm = ctypes.CDLL(None)
    libm.feclearexcept(0x3D)
    for n in (5, 64, 20000):
        x = np.resize(np.array([0, -1, np.inf, np.nan, 1000, 1e-40, 3e38], np.float32), n)
        with np.errstate(all="raise"):
            run(x)
            run(x[::-1])
    libm.feclearexcept(0x3D)
    run(x[:64].copy())
    assert libm.fetestexcept(0x3D) == 0
    libm.feraiseexcept(0x04)
    run(x[:64].copy())
    assert libm.fetestexcept(0x3D) == 0x04
    libm.feclearexcept(0x3D)


def test_text_starts_with_the_formula_and_compiles_for_arm() -> None:
    binding = pytest.importorskip("llvmlite.binding")
    formula = Formula.trace("gelu", gelu, [input("x")])
    for machine in FLAGS:
        text = function(formula, np.float32, machine)
        assert text.startswith("; ")
        assert "tanh" in text.splitlines()[0]
        assert "contract" not in text
        assert "fast" not in text.partition("\n")[2]
        binding.parse_assembly(text).verify()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    target = binding.Target.from_triple("aarch64-unknown-linux-gnu")
    code = target.create_target_machine(opt=2).emit_object(binding.parse_assembly(text))
    assert code.startswith(b"\x7fELF")


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
def test_no_dtype_calls_a_library(triple: str) -> None:
    """On the plainest processor of either family a conversion must not become a call."""
    binding = pytest.importorskip("llvmlite.binding")
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple(triple).create_target_machine(opt=2)
    inputs = [input("x"), input("y"), input("i", "i"), input("c", "b")]

    def fn(x: Expr, y: Expr, i: Expr, c: Expr) -> Any:
        return where(c, x * y, i) + 1, x < y, (i << 3) * i, call("maximum", x, y)

    formula = Formula.trace("mixed", fn, inputs)
    for name in dtypes.NAMES:
        dtype = dtypes.dtype(name)
        if not supports(formula, dtype):
            assert dtype.kind in "bc"
            continue
        module = binding.parse_assembly(function(formula, dtype, triple.partition("-")[0]))
        module.verify()
        code = machine.emit_object(module)
        assert b"__" not in code, name
