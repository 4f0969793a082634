"""CUDA texts of reduce formulas, run on the CPU: the interpreter's results for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
from codegen.rows_tools import family, formulas
from host import SCHEDULES, Module, build
from rows_cases import Case, case, compiled, moved

from tensorgrad import dtypes
from tensorgrad.codegen.cuda_rows import COLUMNS, rows, supports
from tensorgrad.codegen.cuda_rows_tiling import Tiling
from tensorgrad.expr import (
    COLUMN,
    Formula,
    call,
    input,
    iota,
    isum,
    ncols,
    nrows,
    rmax,
    rsum,
    where,
)
from tensorgrad.expr import at as gather

FORMULAS = formulas()
LONG = Tiling(False, 128, 1, 2, 0)
TILINGS: list[Tiling | None] = [
    None,
    Tiling(False, 32, 4, 1, 2),
    Tiling(False, 128, 1, 1, 1),
    LONG,
    Tiling(False, 128, 1, 2, 0, shared=True),
    Tiling(False, 128, 1, 1, 0, split=True),
]
"""Ways to share rows that lie one after the other; the first is the shape's own."""

BESIDE: list[Tiling | None]
BESIDE = [None, Tiling(True, 16, 8, 1, 0), Tiling(True, 4, 32, 1, 0, split=True)]
"""Ways to share rows that lie side by side."""


def check(c: Case, module: Module, relative: float = 1e-9, **how: Any) -> None:
    wanted = c.expected()
    # A sum may cancel: its error is that of as many terms as there are columns or rows.
    scale = np.prod(c.shape) * max(np.abs(w).max() for w in wanted)
    for got, want in zip(c.run(module, **how), wanted, strict=True):
        message = f"{c.formula.name} {c.shape} {c.inner} {c.source.launches}"
        np.testing.assert_allclose(got, want, relative, 1e-13 * scale, err_msg=message)


SHAPES = [((5, 7), 0), ((3, 33), 0), ((1, 17), 0), ((4, 1), 0), ((2, 260), 0), ((70, 12), 0)]
SHAPES += [((35, 7), 35), ((6, 40), 3), ((1, 9), 1), ((40, 1), 8)]


@pytest.fixture
def chosen(request: pytest.FixtureRequest, rng: np.random.Generator) -> list[str]:
    """Every formula with --full, else one at random."""
    if request.config.getoption("--full"):
        return list(FORMULAS)
    return [str(rng.choice(list(FORMULAS)))]


def test_the_interpreters_results(chosen: list[str], rng: np.random.Generator) -> None:
    for name in chosen:
        cases = [
            case(f, shape, inner, np.float64, rng)
            for f in family(FORMULAS[name])
            for shape, inner in SHAPES
        ]
        module = compiled(cases)
        for c in cases:
            check(c, module, schedule=str(rng.choice(SCHEDULES)))


def test_any_share_of_the_work(chosen: list[str], rng: np.random.Generator) -> None:
    for name in chosen:
        cases = [
            case(f, shape, inner, np.float64, rng, tiling)
            for f in family(FORMULAS[name])[:2]
            for shape, inner, tilings in (((5, 62), 0, TILINGS), ((14, 50), 7, BESIDE))
            for tiling in tilings
        ]
        module = compiled(cases)
        for c in cases:
            check(c, module, schedule=str(rng.choice(SCHEDULES)))


def test_single_precision_is_as_good_as_the_interpreters(
    chosen: list[str], rng: np.random.Generator
) -> None:
    for name in chosen:
        for formula in family(FORMULAS[name]):
            cases = [
                case(formula, shape, inner, np.float32, rng)
                for shape, inner in (((40, 50), 0), ((300, 12), 0), ((40, 50), 20))
                for _ in range(3)
            ]
            as_good(cases, compiled(cases))


def as_good(cases: Sequence[Case], module: Module) -> None:
    """The error against float64, over all cases, is at most twice the interpreter's."""
    count = len(cases[0].formula.outputs)
    ours, theirs, sizes = np.zeros((3, count))
    for c in cases:
        exact = c.expected(np.float64)
        ours += [square(a - b) for a, b in zip(c.run(module), exact, strict=True)]
        theirs += [square(a - b) for a, b in zip(c.expected(), exact, strict=True)]
        sizes += [square(b) for b in exact]
    ours, theirs = np.sqrt(ours / (sizes + 1e-30)), np.sqrt(theirs / (sizes + 1e-30))
    limit = 2 * theirs + 2 * np.finfo(np.float32).eps
    assert (ours <= limit).all(), (cases[0].formula.name, ours, theirs)


def square(a: Any) -> float:
    return float(np.nanmean(np.square(np.append(a, 0), dtype=np.float64)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_single(dtype: str, rng: np.random.Generator) -> None:
    formula = FORMULAS["layer_norm"]
    kind = dtypes.dtype(dtype)
    cases = [
        case(f, shape, inner, kind, rng)
        for f in family(formula)[:2]
        for shape, inner in (((6, 40), 0), ((3, 13), 0), ((6, 40), 6), ((2, 1048), 0))
    ]
    module = compiled(cases)
    for c in cases:
        for got, want in zip(c.run(module), c.expected(), strict=True):
            assert got.dtype == kind
            rounded = want.astype(kind).astype(np.float32)
            step = 2.0**-10 if dtype == "float16" else 2.0**-7
            np.testing.assert_allclose(got.astype(np.float32), rounded, step, 1e-5)


@pytest.mark.parametrize("name", ["softmax", "layer_norm", "cross_entropy_weighted"])
def test_long_rows(name: str, rng: np.random.Generator) -> None:
    for formula in family(FORMULAS[name])[:2]:
        shapes = [((2, 50_000), 0), ((1, 263_001), 0), ((8, 33_000), 8)]
        cases = [case(formula, shape, inner, np.float32, rng) for shape, inner in shapes]
        assert any(c.source.numbers[5] > 1 for c in cases), "no row is shared by several blocks"
        as_good(cases, compiled(cases))


@pytest.mark.parametrize("inner", [0, 9])
def test_the_bits_depend_on_the_shape_alone(inner: int, rng: np.random.Generator) -> None:
    formula = FORMULAS["layer_norm"].vjp((0, 1, 2), (0,)).formula
    assert formula is not None
    tilings = TILINGS if not inner else BESIDE
    cases = [case(formula, (90, 30), inner, np.float32, rng, t) for t in tilings]
    module = compiled(cases)
    for c in cases:
        found = set()
        for how in ({}, *({"schedule": s} for s in SCHEDULES), {"grid": 1}, {"grid": 3}):
            found.add(b"".join(o.tobytes() for o in c.run(module, **how)))
        c.arrays = [moved(a) for a in c.arrays]
        found.add(b"".join(o.tobytes() for o in c.run(module)))
        assert len(found) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any, rng: np.random.Generator) -> None:
    edges = [[np.nan, 1, 2], [1, np.inf, 2], [-np.inf, 0, 1], [-np.inf] * 3, [np.inf, np.nan, 0]]
    values = np.array(edges, dtype)
    names = ("softmax", "logsumexp", "norm_inf", "norm_1", "norm")
    cases = [
        case(FORMULAS[n], (5, 3 * repeat), inner, dtype, rng, None, [np.tile(values, repeat)])
        for n in names
        for repeat, inner in ((1, 0), (20, 0), (1, 5), (400, 0))
    ]
    module = compiled(cases)
    for c in cases:
        for got, want in zip(c.run(module), c.expected(), strict=True):
            np.testing.assert_allclose(got, want, 1e-5, equal_nan=True, err_msg=c.formula.name)


LABELS = [[0, 4, 2, 7, 1], [0, 8, -1, 3, 1], [2**40, 0, 0, 0, -(2**63)], [-100, 5, 6, -100, 0]]
WRONG = [None, 1, 0, None]
"""The first row whose label is neither a column of 8 nor the -100 that is ignored."""


@pytest.mark.parametrize("inner", [0, 5])
def test_labels_out_of_range_are_reported(inner: int, rng: np.random.Generator) -> None:
    formula = FORMULAS["cross_entropy"]
    x = rng.standard_normal((5, 8))
    cases = [
        case(formula, (5, 8), inner, None, rng, t, [x, np.array(labels), np.array(-100)])
        for labels in LABELS
        for t in (TILINGS if not inner else BESIDE)
    ]
    module = compiled(cases)
    for k, c in enumerate(cases):
        wrong = WRONG[k * len(LABELS) // len(cases)]
        if wrong is None:
            check(c, module)
            continue
        with pytest.raises(IndexError, match=f"row {wrong}"):
            c.run(module)


def test_narrow_labels_and_integers_as_reals(rng: np.random.Generator) -> None:
    x, labels = rng.integers(-9, 9, (6, 10)), rng.integers(0, 10, 6)
    kinds = [("int16", "uint8"), ("int64", "int32"), ("float16", "int8"), ("bfloat16", "uint64")]
    cases = []
    for real_kind, label_kind in kinds:
        arrays = [x.astype(dtypes.dtype(real_kind)), labels.astype(label_kind), np.array(-1, "i1")]
        cases.append(case(FORMULAS["cross_entropy"], (6, 10), 0, None, rng, None, arrays))
    module = compiled(cases)
    for c in cases:
        result = dtypes.inexact(c.arrays[0].dtype)
        for got, want in zip(c.run(module), c.expected(), strict=True):
            assert got.dtype == result
            want = want.astype(result).astype(np.float64)
            np.testing.assert_allclose(got.astype(np.float64), want, 1e-2, 1e-6)


def test_several_outputs_of_any_index_set(rng: np.random.Generator) -> None:
    x, w, s, m = input("x"), input("w", "f", COLUMN), input("s", "f", 0), input("m", "b")
    t = input("t", "i", 0)
    formula = Formula.trace(
        "several",
        lambda x, w, s, m, t: (
            x * s, rsum(x * w), isum(x), isum(rmax(x)), w * s, rsum(w), s + 1, x, x < s, iota() < 3,
            isum(where(m, x, 0) / nrows()), isum(w), gather(w, t) + 0 * s, where(m, 1, rmax(x)),
        ),
        (x, w, s, m, t),
    )  # fmt: skip
    cases = []
    for shape, inner in (((5, 40), 0), ((300, 10), 0), ((1, 1), 0), ((12, 9), 4)):
        arrays = [rng.standard_normal(shape), rng.standard_normal(shape[1]), np.array(0.5)]
        arrays += [rng.random(shape) < 0.5, np.array(0)]
        tilings = [None] if shape == (1, 1) else BESIDE if inner else TILINGS
        cases += [case(formula, shape, inner, None, rng, tiling, arrays) for tiling in tilings]
    module = compiled(cases)
    for c in cases:
        check(c, module, 1e-12, schedule=str(rng.choice(SCHEDULES)))


@pytest.mark.parametrize("inner", [0, 2**20])
def test_more_elements_than_32_bits_count(inner: int, rng: np.random.Generator) -> None:
    count, columns = 2**20, 4096
    formula = FORMULAS["softmax"]
    tiling = Tiling(bool(inner), 16, 8, 1, 0)
    layout: Any = "leading" if inner else "trailing"
    source = rows(formula, ["float32"], layout, (count, columns), inner, tiling=tiling)
    module = build(source.text)
    x = rng.standard_normal((8, columns)).astype(np.float32)
    error, sums = np.zeros(1, np.int32), np.zeros(count, np.float32)
    with TemporaryFile() as file:  # pages that nothing touches take no memory
        shape = (2, columns, count) if inner else (2, count, columns)
        given, out = np.memmap(file, np.float32, "w+", shape=shape)
        last = (slice(None), slice(-8, None)) if inner else slice(-8, None)
        given[last] = x.T if inner else x
        launch = source.launches[0]
        args = (*map(np.int64, source.numbers), None, error, given, out, sums)
        f = module.get_function(launch.name)
        f(launch.grid, launch.block, args, launch.shared, blocks=[launch.grid[0] - 1])
        got = np.array(out[last].T if inner else out[last])
    want = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(got, want / want.sum(1, keepdims=True), 1e-5)


def test_what_is_refused() -> None:
    def deep(x: Any) -> Any:
        for _ in range(7):
            x = call("tanh", x - rsum(x) / ncols())
        return x

    softmax = FORMULAS["softmax"]
    assert not supports(Formula.trace("deep", deep, (input("x"),)), ["float64"])
    assert not supports(softmax, ["complex64"])
    assert not supports(FORMULAS["cross_entropy"], ["float32", "float32", "int64"])
    assert supports(softmax, ["bfloat16"])
    for shape in ((0, 5), (5, 0), (1, COLUMNS + 1)):
        with pytest.raises(ValueError, match="softmax: got"):
            rows(softmax, ["float32"], "trailing", shape)
    with pytest.raises(ValueError, match="3 side by side"):
        rows(softmax, ["float32"], "leading", (8, 4), 3)


def test_the_text(rng: np.random.Generator) -> None:
    source = rows(FORMULAS["layer_norm"], ["float32"] * 3, "trailing", (4096, 768))
    lines = source.text.splitlines()
    assert lines[0].startswith("// layer_norm(x, weight @column, bias @column): ")
    assert "tg_take<4>(h0[q], r0 + j, wide);" in source.text
    assert source.scratch == 0
    assert [x.block for x in source.launches] == [(128,)]
    again = rows(FORMULAS["layer_norm"], ["float32"] * 3, "trailing", (9, 768))
    assert (again.name, again.text) == (source.name, source.text)
    other = rows(FORMULAS["layer_norm"], ["float64"] * 3, "trailing", (4096, 768))
    assert other.name != source.name
    half = rows(FORMULAS["layer_norm"], ["bfloat16"] * 3, "trailing", (4096, 768))
    assert half.text.splitlines()[1] == "#define TG_HALF"
    assert "tg_take<8>(h0[q], r0 + j, wide);" in half.text
    odd = rows(FORMULAS["layer_norm"], ["float32"] * 3, "trailing", (4096, 767))
    assert "const bool wide = false;" in odd.text
