"""Reduce formulas as generated code: the interpreter's results for every formula of the ops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from codegen.rows_tools import family, formulas, layout, real, sample

from tensorgrad.backend import threads
from tensorgrad.backend.numpy_staged import Generated, ReduceKernel, generated, interpreted
from tensorgrad.codegen.rows_plan import supports
from tensorgrad.expr import Formula, call, input, isum, ncols, rmax, rsum

FORMULAS = formulas()
LAYOUTS = [((5, 7), (1,)), ((3, 33), (1,)), ((300, 20), (1,)), ((1, 17), (1,)), ((4, 1), (1,))]
LAYOUTS += [((2, 2100), (1,)), ((7, 35), (0,)), ((300, 3), (0,)), ((2, 9, 5), (1,))]


def pair(formula: Formula, shape: Any, axis: Any, arrays: Any) -> tuple[Any, Any]:
    """The results of generated code, and of the interpreter."""
    place = layout(formula, shape, axis, arrays)
    run = generated(place, 1)
    assert run is not None, formula.content
    with np.errstate(all="ignore"):
        return run(arrays), interpreted(place, 1)(arrays)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_interpreters_results(name: str, rng: np.random.Generator) -> None:
    for formula in family(FORMULAS[name]):
        if name == "norm_p" and not supports(formula, np.float64, False):
            continue  # pow has no body in float64
        for shape, axis in LAYOUTS:
            arrays = [sample(e, shape, axis, np.float64, rng) for e in formula.inputs]
            ours, theirs = pair(formula, shape, axis, arrays)
            # A sum may cancel: its error is that of as many terms as there are columns or rows.
            size = np.prod(shape) * max(np.abs(want).max() for want in theirs)
            for got, want in zip(ours, theirs, strict=True):
                assert got.shape == want.shape
                assert got.dtype == want.dtype == np.float64
                message = f"{formula.name} {shape} {axis}"
                np.testing.assert_allclose(got, want, 1e-9, 1e-13 * size, err_msg=message)


@pytest.mark.parametrize("name", FORMULAS)
def test_single_precision_is_as_good_as_the_interpreters(
    name: str, rng: np.random.Generator
) -> None:
    for formula in family(FORMULAS[name]):
        if name == "norm_p" and not supports(formula, np.float32, False):
            continue
        errors = np.zeros((2, len(formula.outputs)))
        sizes = np.zeros(len(formula.outputs))
        for shape, axis in (((40, 50), (1,)), ((300, 12), (1,)), ((50, 40), (0,))) * 3:
            arrays = [sample(e, shape, axis, np.float32, rng) for e in formula.inputs]
            ours, theirs = pair(formula, shape, axis, arrays)
            wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
            with np.errstate(all="ignore"):
                exact = interpreted(layout(formula, shape, axis, wide), 1)(wide)
            for k, want in enumerate(exact):
                for which, found in enumerate((ours, theirs)):
                    assert found[k].dtype == np.float32
                    # A derivative of max is NaN where the value saved is none of the elements.
                    assert np.array_equal(np.isnan(found[k]), np.isnan(want))
                    errors[which, k] += square(found[k] - want)
                sizes[k] += square(want)
        ours, theirs = np.sqrt(errors / (sizes + 1e-30))
        assert (ours <= 2 * theirs + 2 * np.finfo(np.float32).eps).all(), (formula.name, errors)


def square(a: Any) -> float:
    return float(np.nanmean(np.square(np.append(a, 0), dtype=np.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any, rng: np.random.Generator) -> None:
    rows = [[np.nan, 1, 2], [1, np.inf, 2], [-np.inf, 0, 1], [-np.inf] * 3, [np.inf, np.nan, 0]]
    for repeat in (1, 20, 1000):
        for axis in ((1,), (0,)):
            x = np.tile(np.array(rows, dtype), repeat)
            x = x if axis == (1,) else np.ascontiguousarray(x.T)
            for name in ("softmax", "logsumexp", "norm_inf", "norm_1", "norm"):
                got, want = pair(FORMULAS[name], x.shape, axis, [x])
                for g, w in zip(got, want, strict=True):
                    np.testing.assert_allclose(g, w, 1e-5, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("axis", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "var"])
def test_any_axes_and_strides(name: str, axis: Any, rng: np.random.Generator) -> None:
    shape = (4, 3, 6)
    big = rng.standard_normal((4, 6, 6))
    for x in (big[:, ::2], big[:, 3:], big[::-1, :3, ::-1], big.transpose(0, 2, 1)[:, :3]):
        for f in (FORMULAS[name], FORMULAS[name].vjp((0,), (0,)).formula):
            assert f is not None
            given = [
                x if e.value in ("x", "input") else sample(e, shape, axis, np.float64, rng)
                for e in f.inputs
            ]
            for got, want in zip(*pair(f, shape, axis, given), strict=True):
                np.testing.assert_allclose(got, want, 1e-10, 1e-12)


def test_axes_of_length_one_lie_anywhere(rng: np.random.Generator) -> None:
    for _ in range(300):
        rank = int(rng.integers(1, 6))
        shape = tuple(rng.integers(1, 4, rank).tolist())
        count = int(rng.integers(1, rank + 1))
        axis = tuple(sorted(rng.choice(rank, count, replace=False).tolist()))
        x = rng.standard_normal(shape)
        for f in (FORMULAS["softmax"], FORMULAS["logsumexp"], FORMULAS["norm_inf"]):
            for got, want in zip(*pair(f, shape, axis, [x]), strict=True):
                assert got.shape == want.shape
                np.testing.assert_allclose(got, want, 1e-12, err_msg=f"{f.name} {shape} {axis}")


def test_half_types_are_computed_in_single(rng: np.random.Generator) -> None:
    formula = FORMULAS["layer_norm"]
    arrays = [sample(e, (6, 40), (1,), np.float16, rng) for e in formula.inputs]
    for got, want in zip(*pair(formula, (6, 40), (1,), arrays), strict=True):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, want, 2e-3, 1e-3)


@pytest.mark.parametrize("name", ["layer_norm", "softmax", "var", "cross_entropy"])
@pytest.mark.parametrize("axis", [(0,), (1,)])
def test_threads_change_nothing(name: str, axis: Any, rng: np.random.Generator) -> None:
    shape = (700, 1500)
    formula = FORMULAS[name]
    before = threads.get_num_threads()
    try:
        for f in (formula, formula.vjp(real(formula.inputs), (0,)).formula):
            assert f is not None
            arrays = [sample(e, shape, axis, np.float32, rng) for e in f.inputs]
            run = generated(layout(f, shape, axis, arrays), 1)
            assert isinstance(run, Generated)
            assert run.shared
            found = []
            for count in (1, 2, 3):
                threads.set_num_threads(count)
                found.append([o.tobytes() for o in run(arrays)])
            assert found[0] == found[1] == found[2]
    finally:
        threads.set_num_threads(before)


def test_several_outputs_of_any_index_set(rng: np.random.Generator) -> None:
    x, w, s = input("x"), input("w", "f", 2), input("s", "f", 0)
    formula = Formula.trace(
        "several",
        lambda x, w, s: (x * s, rsum(x * w), isum(x), isum(rmax(x)), w * s, rsum(w), s + 1, x),
        (x, w, s),
    )
    for shape in ((5, 40), (300, 9), (1, 1)):
        arrays = [rng.standard_normal(shape), rng.standard_normal(shape[1]), np.array(2.0)]
        for got, want in zip(*pair(formula, shape, (1,), arrays), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, 1e-12, 1e-12)


def test_what_is_refused_is_interpreted(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deep(x: Any) -> Any:
        for _ in range(7):
            x = call("tanh", x - rsum(x) / ncols())
        return x

    formula = Formula.trace("deep", deep, (input("x"),))
    assert not supports(formula, np.float64, False)
    assert not supports(FORMULAS["softmax"], np.int64, False)
    x = rng.standard_normal((3, 5))
    kernel = ReduceKernel(formula)
    assert kernel(x, axis=(1,), shape=(3, 5)).shape == (3, 5)
    softmax = ReduceKernel(FORMULAS["softmax"])
    ours = softmax(x, axis=(1,), shape=(3, 5))[0]
    monkeypatch.setenv("TG_KERNELS", "0")
    assert generated(layout(FORMULAS["softmax"], (3, 5), (1,), [x]), 0) is None
    np.testing.assert_allclose(
        ReduceKernel(FORMULAS["softmax"])(x, axis=(1,), shape=(3, 5))[0], ours, 1e-12
    )


def test_higher_orders_are_compiled_for_large_arrays_only(rng: np.random.Generator) -> None:
    formula = FORMULAS["softmax"]
    for shape, order, compiled in (((5, 7), 2, False), ((5, 7), 1, True), ((300, 300), 2, True)):
        arrays = [sample(e, shape, (1,), np.float64, rng) for e in formula.inputs]
        found = generated(layout(formula, shape, (1,), arrays), order)
        assert (found is not None) == compiled
