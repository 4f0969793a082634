"""Elementwise CUDA texts on every layout: sizes, addresses, strides, positions, wide indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from codegen.test_kernel_types import reference, same, traced
from elementwise_tools import FLOATS, Case, check, compiled, copied, expected, run
from host import SCHEDULES

from tensorgrad import dtypes
from tensorgrad.codegen.cuda import BLOCK
from tensorgrad.codegen.cuda_views import NARROW, View, _divisors, arrange
from tensorgrad.expr import Expr, Formula, input, where
from tensorgrad.expr.ir import element_index


def line(x: Any, y: Any) -> Any:
    return x * y - x, x < y


def test_flat_sizes_and_addresses(rng: np.random.Generator) -> None:
    cases = []
    for name in FLOATS:
        for n in (0, 1, 2, 3, *rng.integers(4, 71, 4), 4 * BLOCK * 8 + 5):
            for shift in (0, int(rng.integers(1, 5))):
                x, y = (
                    copied(rng.standard_normal(n).astype(dtypes.dtype(name)), shift) for _ in "xy"
                )
                cases.append(Case(traced("line", line, "ff"), [x, y], shift=shift))
                cases.append(
                    Case(traced("line", line, "ff"), [x, y[:1].copy()], shift=0) if n else cases[-1]
                )
    check(cases, SCHEDULES[1:])


def layouts(x: Any, y: Any) -> list[tuple[Any, Any]]:
    return [
        (x, y), (x.T, y.T), (x[::2], y[::-2]), (x, y[0]), (x[:, :1], y), (x, y[0, 0, None]),
        (x, y.T.copy().T), (np.asarray(x[0, 0]), np.asarray(y[0, 0])), (x[:0], y[:0]),
        (x[3, :7], y[4, :7]), (x[:, ::-1], y), (x[:, :1], y[0]), (x[:, 3:8], y[:, 3:8]),
        (x[:, None], y[None, ::7]),
    ]  # fmt: skip


@pytest.mark.parametrize("columns", [48, 50, 3, 1])
def test_layouts(columns: int, rng: np.random.Generator) -> None:
    cases = []
    for name in ("float32", "bfloat16"):
        x, y = rng.standard_normal((2, 41, max(columns, 8))).astype(dtypes.dtype(name))
        narrow = x[:, :columns].copy()
        for a, b in [*layouts(x, y), (narrow, y[0, :columns]), (narrow, y[:, :1])]:
            cases += [Case(traced("line", line, "ff"), [a, b], wide=w) for w in (False, True)]
    found = {c.view.layout for c in cases}
    assert found == {"flat", "rows", "strided"}
    check(cases, SCHEDULES)


def test_many_axes_and_strided_outputs(rng: np.random.Generator) -> None:
    formula, cases = traced("line", line, "ff"), []
    for _ in range(12):
        sizes = rng.integers(1, 4, int(rng.integers(3, 9)))
        whole = rng.standard_normal((2, *(2 * sizes)))
        cut = tuple([slice(None, None, int(rng.choice([2, -2]))) for _ in sizes])
        x, y = whole[0][cut], whole[1][cut]
        y = y[tuple([slice(0, 1) if rng.random() < 0.3 else slice(None) for _ in sizes])]
        order = rng.permutation(len(sizes))
        outs = [
            np.empty(2 * sizes, float)[cut].transpose(order),
            np.empty(x.shape, bool).transpose(order),
        ]
        cases.append(Case(formula, [x.transpose(order), y.transpose(order)], outs))
    check(cases)


def test_outputs_in_the_inputs_memory(rng: np.random.Generator) -> None:
    formula = Formula.trace("turn", lambda x, y: (x - y, x + y), [input("x"), input("y")])
    cases, wanted = [], []
    for shape in ((1000,), (37, 5), ()):
        for name in FLOATS:
            x, y = rng.standard_normal((2, *shape)).astype(dtypes.dtype(name))
            for a, b in ((np.asarray(x), np.asarray(y)), (x.copy().T, y.copy().T)):
                a, b = np.array(a), np.array(b)
                cases.append(Case(formula, [a, b], [b, a]))
                wanted.append(expected(cases[-1]))
    for case, got, want in zip(cases, run(cases), wanted, strict=True):
        assert all(same(g, w) for g, w in zip(got, want, strict=True)), case.view


def test_positions(rng: np.random.Generator) -> None:
    def fn(x: Expr, y: Expr) -> Any:
        return where(element_index() < 7, x, y + element_index()), element_index() * 2

    x, y = rng.integers(0, 9, (2, 41, 50)).astype(np.float32)
    cases = [
        Case(traced("places", fn, "ff"), [a, b], wide=wide)
        for a, b in layouts(x, y)
        for wide in (False, True)
    ]
    for case, got in zip(cases, run(cases), strict=True):
        shaped = np.broadcast_arrays(*case.arrays)
        for g, w in zip(got, reference(case.formula, np.float32, shaped), strict=True):
            assert same(g, w)


def test_more_elements_than_32_bits_count(rng: np.random.Generator) -> None:
    """Only the last blocks run; the pages in between are never touched."""
    n = 2**31 + int(rng.integers(1, 5000))
    formula = Formula.trace("next", lambda x: (3 * x + 1,), [input("x")])
    x, y = np.zeros(n, np.uint8), np.zeros(n, np.uint8)
    x[-3000:] = rng.integers(0, 256, 3000)
    case = Case(formula, [x], [y])
    assert case.view.wide
    far = np.zeros(n // 2 * 2, np.uint8).reshape(2, -1)[:, -600::2]
    far[...] = rng.integers(0, 256, far.shape)
    apart = Case(formula, [far])
    assert apart.view.layout == "strided"
    assert not apart.view.wide
    distant = np.lib.stride_tricks.as_strided(x, (3, 50), (n // 3, 2))
    spread = Case(formula, [distant])
    assert spread.view.wide == (2 * (n // 3) + 98 > NARROW)
    module = compiled([case.source, apart.source, spread.source])
    (blocks,) = case.source.grid(n)
    kernel = module.get_function(case.source.name)
    last = sorted({0, *range(max(0, blocks - 3), blocks)})
    kernel((blocks,), (BLOCK,), case.view.arguments([x, y]), blocks=last)
    step, vector = blocks * BLOCK, case.source.vector
    top = (case.source.per_thread - 1) * step * vector + np.array(last)[:, None] * BLOCK * vector
    places = (top + np.arange(BLOCK * vector)).ravel()
    places = places[places < n // vector * vector]
    assert len(places)
    assert np.array_equal(y[places], 3 * x[places] + np.uint8(1))
    for other in (apart, spread):
        other.launch(module, "even")
        assert np.array_equal(other.outs[0], 3 * other.arrays[0] + np.uint8(1))


def test_division_by_known_numbers(rng: np.random.Generator) -> None:
    """What the kernels compute by a product equals the quotient."""

    sizes = [1, 2, 3, 5, 7, 641, 2**16, 2**16 + 1, 2**30 + 1, 2**31 - 1]
    sizes += [int(s) for s in 2 ** rng.uniform(0, 31, 300)]
    for d in _divisors(sizes, False):
        by, magic, shift = (int(d[k]) for k in ("by", "magic", "shift"))
        x = rng.integers(0, 2**31, 200)
        x = np.concatenate([x, [0, 1, 2**31 - 1], by * rng.integers(0, 2**31 // by, 50) - 1])
        x = x[x >= 0].astype(object)
        assert all((v * magic >> 32) + v < 2**32 for v in x)
        assert all(((v * magic >> 32) + v) >> shift == v // by for v in x), by


def test_which_layout() -> None:
    def of(*operands: Any, outputs: int = 1) -> View:
        arrays = [np.empty(*o) if isinstance(o, tuple) else o for o in operands]
        return arrange(tuple((a.shape, a.strides, a.itemsize) for a in arrays), outputs)

    x = np.empty((6, 4, 5), np.float32)
    assert of(x, x).layout == "flat"
    assert of(x.T, x.T).layout == "flat"
    assert of(x, x[0, 0, 0], x).reads == ("each", "one")
    assert of(x, x[0, 0], x) == View("rows", False, ("each", "row"), (24, 5))
    assert of(x, x[0], x).shape == (6, 20)
    assert of(x, x[:, :1, :1].copy(), x) == View("rows", False, ("each", "column"), (6, 20))
    assert of(x, x[:, :, :1].copy(), x[0, 0], x).reads == ("each", "column", "row")
    assert of(x, x[:, :1], x).layout == "strided"
    assert of(x[..., ::2], x[..., :3].copy()).layout == "strided"
    assert of(x[:0], x[:0]).size == 0
    for bad in ([x, x[0]], [x, np.broadcast_to(x[0], x.shape)], [x[:, :2], x]):
        with pytest.raises(ValueError, match="arrange: got"):
            of(*bad)
    skewed = np.lib.stride_tricks.as_strided(x, (3, 2), (6, 20))
    with pytest.raises(ValueError, match="whole elements"):
        of(skewed, np.empty((3, 2), np.float32))
    many = np.empty((2,) * 9)[(slice(None, None, 2),) * 9].repeat(2, 0)
    assert of(many, many).layout == "flat"
    sparse = np.empty((4,) * 9, np.int8)[(slice(None, None, 2),) * 9]
    with pytest.raises(ValueError, match="9 axes"):
        of(sparse, np.empty((2,) * 9, np.int8))
