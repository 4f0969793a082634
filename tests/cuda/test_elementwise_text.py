"""CUDA texts of elementwise formulas, run on the CPU: the interpreter's results for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from codegen.test_kernel_formulas import SMOOTH, family, gelu, random_formula
from codegen.test_kernel_leaves import leaf_formula
from codegen.test_kernel_types import (
    EXACT,
    INTEGERS,
    arrays_for,
    reference,
    same,
    traced,
    whole_numbers,
)  # fmt: skip
from elementwise_tools import FLOATS, Case, check, close, copied, expected, run, wider

from tensorgrad import dtypes
from tensorgrad.codegen.cuda import BLOCK, MOST_INPUTS, OPTIONS, WAVE, elementwise, supports
from tensorgrad.codegen.cuda_parts import parts
from tensorgrad.codegen.cuda_types import result
from tensorgrad.codegen.cuda_views import NARROW
from tensorgrad.expr import LEAVES, Formula, call, input, where


def floats(n: int, dtype: Any, rng: np.random.Generator) -> Any:
    x = (3 * rng.standard_normal(n)).astype(dtypes.dtype(dtype))
    x[:6] = rng.permutation(np.array([0, -0.0, np.inf, -np.inf, np.nan, 1])).astype(x.dtype)
    return copied(x)


def test_random_formulas_bit_for_bit(rng: np.random.Generator) -> None:
    cases = []
    for k in range(24):
        formula = random_formula(rng)
        name = FLOATS[k % 4]
        cases.append(Case(formula, [floats(70, name, rng) for _ in formula.inputs]))
    check(cases)


EXACT_LEAVES = frozenset(
    "square reciprocal sqrt copysign nextafter heaviside floor_divide remainder fmod".split()
)
ULP = 4
"""Units of the last place that a leaf may be off, here by libm, on a GPU by CUDA's library."""

CHOOSING = {"maximum", "minimum", "fmax", "fmin", "clip"}
"""Of zeros that differ in sign NumPy takes the one or the other, as the array is long."""

CANCELLING = {"logaddexp", "logaddexp2"}


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_every_leaf(name: str, rng: np.random.Generator) -> None:
    cases, names = [], sorted(LEAVES)
    for leaf in names:
        entry = LEAVES[leaf]
        drawn = [rng.uniform(*bounds, 300) for bounds in entry.domain]
        special = np.array(entry.special).reshape(-1, entry.arity).T
        arrays = [np.concatenate(p).astype(name) for p in zip(drawn, special, strict=True)]
        cases.append(Case(leaf_formula(leaf), arrays))
    for leaf, case, (got,) in zip(names, cases, run(cases), strict=True):
        (want,) = expected(case)
        if leaf in CHOOSING:
            got, want = got + 0, want + 0
        if leaf in EXACT_LEAVES or (LEAVES[leaf].kind != "f" and leaf != "pow"):
            assert same(got, want), leaf
            continue
        (wide,) = wider(case)
        assert np.array_equal(np.isnan(got), np.isnan(want)), leaf
        plain, infinite = np.isfinite(want), np.isinf(want)
        assert np.array_equal(got[infinite], want[infinite]), leaf
        size = np.abs(want)
        if leaf in CANCELLING:  # the larger of the two terms counts
            with np.errstate(invalid="ignore"):
                rest = np.abs(want - np.fmax(*case.arrays))
            size = np.fmax(np.fmax(size, rest), np.fmax(*np.abs(case.arrays)))
        error = np.abs(got[plain].astype(wide.dtype) - wide[plain]) / np.spacing(size[plain])
        assert error.max() <= ULP, (leaf, error.max())


@pytest.mark.parametrize("name", FLOATS)
def test_formulas_and_derivatives(name: str, rng: np.random.Generator) -> None:
    cases = []
    for fn, count in SMOOTH:
        for formula in family(fn, count):
            arrays = [rng.uniform(0.5, 2, 77).astype(dtypes.dtype(name)) for _ in formula.inputs]
            cases.append(Case(formula, arrays))
    for case, got in zip(cases, run(cases), strict=True):
        close(case, got)


def test_integers_and_bools(rng: np.random.Generator, request: pytest.FixtureRequest) -> None:
    chosen = INTEGERS if request.config.getoption("--full") else rng.choice(INTEGERS, 2, False)
    extra: dict[str, Any] = {
        name: (lambda x, y, name=name: call(name, x, y), "ff")
        for name in ("remainder", "floor_divide", "fmod")
    }
    cases = []
    for dtype in chosen:
        for name, (fn, kinds) in {**EXACT, **extra}.items():
            arrays = arrays_for(kinds, dtype, dtype, 300, rng)
            cases.append(Case(traced(name, fn, kinds), arrays))
    truths: dict[str, Any] = {
        "sum": (lambda x, y: (x + y, x * y, x < y, x <= y), "ff"),
        "extremes": (lambda x, y: (call("maximum", x, y), call("fmin", x, y)), "ff"),
        "clip": (lambda x, y: (call("clip", x, 0, y), call("relu", y)), "ff"),
        "select": (lambda x, y, c: (where(c, x, y), where(c, x, 1)), "ffb"),
        "truth": (lambda c, d: (c < d, c <= d, ~(c < d) & d, c | True), "bb"),
    }
    for name, (fn, kinds) in truths.items():
        cases.append(Case(traced(name, fn, kinds), arrays_for(kinds, bool, bool, 100, rng)))
    check(cases)


def test_every_pair_of_dtypes(rng: np.random.Generator) -> None:
    """Operands are converted as they are read, to the dtype that promotion gives."""
    formula = traced("pair", lambda x, y: (x * y + 1, call("maximum", x, y), x < y), "ff")
    every = [dtypes.dtype(n) for n in dtypes.NAMES if "complex" not in n]
    pairs = [(d, e) for d in every for e in every if result(formula, (d, e)) != np.bool_]
    drawn = [pairs[k] for k in rng.choice(len(pairs), 30, replace=False)]
    small = {d: (whole_numbers(np.dtype(np.int8), 40, rng) & 15).astype(d) for d in every}
    check([Case(formula, [small[d], small[e][::-1].copy()]) for d, e in drawn])


def test_what_the_text_says() -> None:
    formula = Formula.trace("gelu", gelu, [input("größe")])
    for name, vector in (("float32", 4), ("bfloat16", 8), ("float64", 2)):
        source = elementwise(formula, [name])
        first, rest = source.text.split("\n", 1)
        assert first.startswith("// gelu(")
        assert "tanh(" in first
        assert source.text.isascii()
        assert source.vector == vector
        assert rest.count(f"tg_vec_load<{vector}>(p0") == 1
        assert rest.count("tg_vec_store(p1") == 1
        assert ("#define TG_HALF" in rest) is (name == "bfloat16")
        code = rest[rest.rindex("#endif") :]
        assert not any(word in code for word in ("__expf", "__fdividef", "fma", "double2", "rsqrt"))
        other = Formula.trace("other", gelu, [input("z")])
        assert elementwise(other, [name]).name == source.name
        assert elementwise(formula, [name], wide=True).name != source.name
    assert "--fmad=false" in OPTIONS
    assert source.grid(0) == (0,)
    assert source.grid(1) == (1,)
    for n in (10**4, 10**6, 10**9, NARROW):
        (blocks,) = source.grid(n)
        assert blocks * BLOCK * source.per_thread * source.vector >= n
        assert blocks <= max(WAVE, n // (BLOCK * source.per_thread * source.vector) + 1)


def test_what_is_refused() -> None:
    x, many = input("x"), [input(f"x{k}") for k in range(MOST_INPUTS + 1)]
    wide = Formula.trace("many", lambda *x: sum(x[1:], x[0]), many)
    assert not supports(wide, ["float32"] * len(many))
    for fn, given in [
        (lambda x: call("exp", x), "complex64"), (lambda x: x * 10**400, "float32"),
        (lambda x: x + 300, "int8"), (lambda x: -x, "bool"),
    ]:  # fmt: skip
        assert not supports(Formula.trace("f", fn, [x]), [given])
    sine = leaf_formula("sin")
    assert not supports(sine, ["float32"], outs=["float64"])
    assert not supports(sine, ["float32", "float32"])
    for kind, given in (("i", "float32"), ("b", "uint8")):
        assert not supports(Formula.trace("f", lambda x: (x,), [input("x", kind)]), [given])
    for layout, reads in (
        ("flat", ["row"]),
        ("rows", ["each"] * 2),
        ("strided", ["each"]),
        ("x", []),
    ):
        with pytest.raises(ValueError, match=r"sin: got float32.*try"):
            elementwise(sine, ["float32"], layout, reads=reads)  # type: ignore[arg-type]


def deep(x: Any, y: Any) -> Any:
    for k in range(60):
        x = call("tanh", 2 * x) * y if k % 3 else call("maximum", x, y) - x
    return x, x < y, x


def test_large_formulas_run_in_parts(rng: np.random.Generator) -> None:
    many = [input(f"x{k}") for k in range(40)]
    wide = Formula.trace("many", lambda *x: sum(x[1:], x[0]), many)
    for formula in (traced("deep", deep, "ff"), wide):
        for name in ("float32", "bfloat16"):
            given = [name] * len(formula.inputs)
            assert not supports(formula, given)
            found = parts(formula, given)
            assert found is not None
            assert len(found.parts) > 1
            values = [rng.uniform(-1, 1, 90).astype(dtypes.dtype(name)) for _ in formula.inputs]
            whole = list(values)
            for p in found.parts:
                arrays = [values[k] for k in p.sources]
                assert tuple(a.dtype.name for a in arrays) == p.given
                case = Case(p.formula, arrays, real=p.real, asked=p.outs)
                values += run([case])[0]
            got = [values[k] for k in found.outputs]
            want = reference(formula, dtypes.dtype(name), whole)
            for g, w, held in zip(got, want, found.dtypes, strict=True):
                assert w.dtype == dtypes.dtype(held)
                g = g.astype(w.dtype)
                atol = {"float32": 1e-4, "bfloat16": 1e-2, "bool": 0}[w.dtype.name]
                assert np.allclose(g.astype(float), w.astype(float), atol=atol, rtol=atol)
    assert parts(leaf_formula("sin"), ["float32"]) is None
