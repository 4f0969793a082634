"""Kernels in every dtype: the 16-bit floats, integers, bools, and positions of elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tensorgrad import dtypes
from tensorgrad.backend import numpy_formula
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.codegen import kernel, supports
from tensorgrad.expr import Expr, Formula, call, cast, equal, input, where
from tensorgrad.expr.evaluate import plan
from tensorgrad.expr.ir import element_index

HALVES = [dtypes.float16, dtypes.bfloat16()]
INTEGERS = [np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8)]
REAL = [np.dtype(n) for n in dtypes.NAMES if n != "bfloat16" and "complex" not in n]


def traced(name: str, fn: Callable[..., Any], kinds: str = "f") -> Formula:
    return Formula.trace(name, fn, [input(f"x{k}", kind) for k, kind in enumerate(kinds)])


def found(formula: Formula, dtype: Any, integers: Any = None) -> Callable[..., Any]:
    run = kernel(formula, dtype, integers)
    assert run is not None, formula.content
    return run


def reference(formula: Formula, dtype: Any, arrays: Any) -> list[Any]:
    """The interpreter's outputs, the 16-bit floats computed in float32 and rounded once."""
    computed = dtypes.compute(np.dtype(dtype))
    given = [a.astype(computed) if e.kind == "f" else a for a, e in zip(arrays, formula.inputs)]
    with np.errstate(all="ignore"):
        outs = plan(formula, computed)(given)
        return [o.astype(dtype) if e.kind == "f" else o for o, e in zip(outs, formula.outputs)]


def outputs(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def same(got: Any, want: Any) -> bool:
    """Equal bit for bit, but for the payload of a NaN."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return False
    if dtypes.is_float(got.dtype):
        with np.errstate(all="ignore"):
            nan, ours = np.isnan(want), np.isnan(got)
        words = f"u{got.itemsize}"
        alike = np.array_equal(got[~nan].view(words), want[~nan].view(words))
        return bool(alike and np.array_equal(ours, nan))
    return bool(np.array_equal(got, want))


def patterns(dtype: Any) -> Any:
    return np.arange(65536, dtype=np.uint16).view(dtype)


def around(dtype: Any, rng: np.random.Generator) -> Any:
    """Floats at, between, and one ulp beside the halfway points of a 16-bit dtype."""
    x = patterns(dtype).astype(np.float32)
    finite = x[np.isfinite(x)]
    with np.errstate(all="ignore"):
        middle = (finite + np.roll(finite, 1)) / 2
        beside = [np.nextafter(middle, np.float32(s)) for s in (np.inf, -np.inf)]
    bits = rng.integers(0, 2**32, 100000, np.uint32)
    return np.concatenate([x, middle, *beside, bits.view(np.float32)])


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_half_is_read_exactly(dtype: Any) -> None:
    x = patterns(dtype)
    signs = found(traced("sign", lambda x: (call("signbit", x), call("isnan", x))), dtype)(x)
    wide = x.astype(np.float32)
    assert np.array_equal(signs[0], np.signbit(wide))
    assert np.array_equal(signs[1], np.isnan(wide))
    below = found(traced("below", lambda x, y: (x < y, equal(x, y)), "ff"), dtype)
    for shift in (1, 77, 40000):
        y = np.roll(x, shift)
        got = below(x, y)
        assert np.array_equal(got[0], wide < y.astype(np.float32))
        assert np.array_equal(got[1], wide == y.astype(np.float32))
    for name in ("abs", "floor", "square", "sqrt", "relu"):
        formula = traced(name, lambda x, name=name: call(name, x))
        assert same(found(formula, dtype)(x), reference(formula, dtype, [x])[0]), name
    kept = found(traced("kept", lambda x, c: where(c, x, 0), "fb"), dtype)(x, np.ones(65536, bool))
    assert same(kept, x)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_rounding_is_to_nearest_even(dtype: Any, rng: np.random.Generator) -> None:
    """Products and quotients of two numbers fall everywhere between their neighbours."""
    x = np.concatenate([patterns(dtype), rng.permutation(patterns(dtype))])
    y = rng.permutation(x)
    for name, fn in {
        "mul": lambda x, y: x * y, "add": lambda x, y: x + y, "div": lambda x, y: x / y,
        "tiny": lambda x, y: x * 2.0**-14 + y * 2.0**-20, "huge": lambda x, y: x * 2.0**15 - y,
    }.items():  # fmt: skip
        formula = traced(name, fn, "ff")
        assert same(found(formula, dtype)(x, y), reference(formula, dtype, [x, y])[0]), name


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_casts_equal_numpys(dtype: Any, rng: np.random.Generator) -> None:
    """A float32 reaches the rounding unchanged as high + low, two numbers of the dtype."""
    x = around(dtype, rng)
    x = x[np.isfinite(x) & (np.abs(x) < 60000)]
    with np.errstate(all="ignore"):
        parts = [x.astype(dtype)]
        for _ in range(2):
            parts.append((x - sum(p.astype(np.float32) for p in parts)).astype(dtype))
    formula = traced("sum", lambda a, b, c: a + (b + c), "fff")
    assert same(found(formula, dtype)(*parts), reference(formula, dtype, parts)[0])
    total = parts[0].astype(np.float32) + (
        parts[1].astype(np.float32) + parts[2].astype(np.float32)
    )
    assert np.mean(total == x) > 0.4, "most halfway points are reached"


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_of_any_layout(dtype: Any, rng: np.random.Generator) -> None:
    formula = traced("line", lambda x, y: (x * y - 1, x < y), "ff")
    run = found(formula, dtype)
    x, y = rng.standard_normal((2, 40, 50)).astype(dtype)
    for a, b in [
        (x, y), (x.T, y.T), (x[::2], y[::-2]), (x, y[0]), (x[:, :1], y), (x, y[0, 0, None]),
        (np.asarray(x[0, 0]), np.asarray(y[0, 0])), (x[:0], y[:0]), (x[3, :7], y[4, :7]),
    ]:  # fmt: skip
        want = reference(formula, dtype, np.broadcast_arrays(a, b))
        for got, w in zip(run(a, b), want):
            assert type(got) is np.ndarray
            assert same(got, w)
    out = (np.empty_like(x), np.empty(x.shape, bool))
    assert run(x, y, out=out)[0] is out[0]
    assert same(out[0], run(x, y)[0])
    strided = np.zeros((40, 100), dtype)[:, ::2]
    assert run(x, y, strided, out[1])[0] is strided
    assert same(np.ascontiguousarray(strided), out[0])
    if dtype.kind == "V":
        with pytest.raises(TypeError, match=r"got an array of float32.*astype"):
            run(x[::2].astype(np.float32), y[::2])


EXACT: dict[str, tuple[Callable[..., Any], str]] = {
    "add": (lambda x, y: x + y, "ff"),
    "sub": (lambda x, y: x - y, "ff"),
    "mul": (lambda x, y: 3 * x * y, "ff"),
    "neg": (lambda x: -x, "f"),
    "compare": (lambda x, y: (x < y, x <= y, equal(x, y), ~equal(x, 7)), "ff"),
    "select": (lambda x, y, c: where(c & (x < y), x, where(c, 5, y)), "ffb"),
    "truth": (lambda x: (cast(x, "b"), cast(x < 3, "f") + x), "f"),
    "bits": (lambda i, j: ((i & j) | (i ^ 5), ~i), "ii"),
    "shift": (lambda i, j: (i << j, i >> j, i << 3, i >> 2, 1 << j), "ii"),
    "whole": (lambda x, i: (cast(i, "f") * x, cast(x < 3, "i") + i), "fi"),
    "integers": (lambda i, j: (i * j - 1, i < j, where(i < j, i, 3), -i), "ii"),
    "weak": (lambda x, c: where(c, 1, 2) + x, "fb"),
    "same": (lambda x, i: (x, i), "fi"),
}
for _name in "abs sign square relu floor ceil trunc round isnan isinf isfinite signbit".split():
    EXACT[_name] = (lambda x, name=_name: call(name, x), "f")
for _name in "maximum minimum fmax fmin".split():
    EXACT[_name] = (lambda x, i, name=_name: (call(name, x, 3), call(name, i, i + 1)), "fi")
EXACT["clip"] = (lambda x, y: call("clip", x, 2, y), "ff")


def whole_numbers(dtype: np.dtype[Any], n: int, rng: np.random.Generator) -> Any:
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(bool)
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max, n, dtype, endpoint=True)
    small = rng.integers(max(info.min, -70), 70, n).astype(dtype)
    x = np.where(rng.random(n) < 0.5, x, small)
    x[:5] = [info.min, info.max, 0, 1, info.max - 1]
    return x


def arrays_for(kinds: str, dtype: Any, whole: Any, n: int, rng: np.random.Generator) -> list[Any]:
    chosen = {"f": np.dtype(dtype), "i": np.dtype(whole), "b": np.dtype(bool)}
    return [rng.permutation(whole_numbers(chosen[k], n, rng)) for k in kinds]


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_wrap_as_numpys(dtype: Any, rng: np.random.Generator) -> None:
    for name, (fn, kinds) in EXACT.items():
        formula = traced(name, fn, kinds)
        whole = INTEGERS[rng.integers(8)] if name in ("fmax", "minimum", "same") else dtype
        run = found(formula, dtype, [whole] * kinds.count("i"))
        for n in (3000, 37):
            arrays = arrays_for(kinds, dtype, whole, n, rng)
            want = reference(formula, dtype, arrays)
            for given in (arrays, [np.repeat(a, 2)[::2] for a in arrays]):
                for got, w in zip(outputs(run(*given)), want, strict=True):
                    assert same(got, w), (name, whole)


@pytest.mark.parametrize("first", INTEGERS, ids=str)
def test_pairs_of_integers(first: Any, rng: np.random.Generator) -> None:
    """Two integer inputs are promoted by NumPy's rule; int64 beside uint64 stays interpreted."""
    formula = traced("pair", lambda i, j: (i - 2 * j, j < i, i << j, where(i < j, i, j)), "ii")
    for second in INTEGERS[int(rng.integers(2)) :: 2]:
        exists = np.result_type(first, second).kind in "iu"
        assert supports(formula, np.float32, [first, second]) is exists
        if exists:
            arrays = [whole_numbers(d, 100, rng) for d in (first, second)]
            arrays[1] = np.abs(arrays[1]) & 15 if second.kind == "i" else arrays[1] & 15
            arrays[1] = arrays[1].astype(second)
            want = reference(formula, np.float32, arrays)
            for got, w in zip(found(formula, np.float32, [first, second])(*arrays), want):
                assert same(got, w), second


def test_shifts_beyond_the_width() -> None:
    formula = traced("shift", lambda i, j: (i << j, i >> j), "ii")
    for dtype in INTEGERS:
        widths = [0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 100]
        widths += [-1, -8, -100] if dtype.kind == "i" else [200]
        j = np.tile(np.array(widths).astype(dtype), 3)
        i = np.repeat(np.array([5, np.iinfo(dtype).min, np.iinfo(dtype).max], dtype), len(widths))
        for got, want in zip(
            found(formula, np.float32, [dtype, dtype])(i, j), (np.left_shift(i, j), i >> j)
        ):
            assert same(got, want), dtype


def test_bools_as_numbers(rng: np.random.Generator) -> None:
    steps: dict[str, tuple[Callable[..., Any], str]] = {
        "sum": (lambda x, y: (x + y, x * y, x < y, x <= y, equal(x, y)), "ff"),
        "extremes": (lambda x, y: (call("maximum", x, y), call("fmin", x, y)), "ff"),
        "clip": (lambda x, y: call("clip", x, 0, y), "ff"),
        "select": (lambda x, y, c: (where(c, x, y), where(c, x, 1), call("relu", y)), "ffb"),
        "cast": (lambda x: (cast(x, "i") + 3, cast(x, "b")), "f"),
        "truth": (lambda c, d: (c < d, c <= d, equal(c, d), c & ~d, c | True), "bb"),
        "count": (lambda c: cast(c, "i") << 2, "b"),
    }
    for name, (fn, kinds) in steps.items():
        formula = traced(name, fn, kinds)
        arrays = arrays_for(kinds, bool, bool, 300, rng)
        want = reference(formula, bool, arrays)
        for got, w in zip(outputs(found(formula, bool)(*arrays)), want, strict=True):
            assert same(got, w), name


@pytest.mark.parametrize("real", [np.float32, np.float64, *HALVES], ids=str)
def test_integers_beside_reals(real: Any, rng: np.random.Generator) -> None:
    formula = traced("beside", lambda x, i: (x * i, where(i < 3, x, 0), cast(i, "b")), "fi")
    computed = dtypes.compute(np.dtype(real))
    for dtype in INTEGERS:
        x = rng.standard_normal(5000).astype(real)
        i = whole_numbers(dtype, 5000, rng)
        want = reference(formula, real, [x, i])
        for got, w in zip(found(formula, real, [dtype])(x, i), want, strict=True):
            assert same(got, w), (dtype, computed)


def test_what_stays_with_the_interpreter() -> None:
    for name, fn, kinds in [
        ("divide", lambda x, y: x / y, "ff"),
        ("remainder", lambda x, y: call("remainder", x, y), "ff"),
        ("power", lambda x, y: call("pow", x, y), "ff"),
        ("exp", lambda x: call("exp", x), "f"),
        ("half", lambda x: 0.5 * x, "f"),
        ("large", lambda x: x + 300, "f"),
        ("larger", lambda i: i + 300, "i"),
    ]:
        formula = traced(name, fn, kinds)
        assert not supports(formula, np.int8, [np.int8] * kinds.count("i")), name
        assert kernel(formula, np.int8, [np.int8] * kinds.count("i")) is None
    floats = traced("whole", lambda x: cast(x, "i"))
    assert not supports(floats, np.float32), "what NaN becomes depends on the processor"
    for dtype in (">f4", np.complex64, np.longdouble, "M8[s]"):
        assert not supports(traced("neg", lambda x: -x), dtype)
    assert not supports(traced("neg", lambda x: -x), bool)


def test_positions(rng: np.random.Generator) -> None:
    def fn(x: Expr, y: Expr) -> Any:
        return where(element_index() < 7, x, y + element_index()), element_index() * 2

    formula = traced("places", fn, "ff")
    for dtype in (np.float32, np.int32, *HALVES):
        run = found(formula, dtype)
        x = rng.integers(0, 9, (3, 70)).astype(dtype)
        y = rng.integers(0, 9, (3, 70)).astype(dtype)
        for a, b in [
            (x, y), (x.T, y.T), (x[:, ::3], y[:, ::3]), (x, y[0]), (x[0], y), (y[:, :1], x),
            (x, y[:1, :1]), (x[:0], y[:0]), (x[0, 0], y[0]), (np.asarray(x[0, 0]), y[0, 0, None]),
        ]:  # fmt: skip
            with np.errstate(all="ignore"):
                want = reference(formula, dtype, [np.asarray(a), np.asarray(b)])
            for got, w in zip(run(np.asarray(a), np.asarray(b)), want, strict=True):
                assert same(got, w)
    out = np.empty((3, 70), np.float32), np.empty((3, 70), np.int64)
    x = rng.standard_normal((3, 70)).astype(np.float32)
    for target in (out, (out[0][:, ::-1], out[1])):
        assert found(formula, np.float32)(x, x, *target)[0] is target[0]
        assert same(target[0].copy(), reference(formula, np.float32, [x, x])[0])


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + call("tanh", 0.7978845608028654 * (x + 0.044715 * x * x * x)))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_backend_makes_no_wider_copies(dtype: Any, rng: np.random.Generator) -> None:
    import tracemalloc

    run = ElementwiseKernel(traced("gelu", gelu), 1)
    x = rng.standard_normal(60000).astype(dtype)
    want = run(x)
    tracemalloc.start()
    got = run(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.1 * x.size
    assert same(got, want)
    wide = x.astype(np.float64)
    true = reference(traced("gelu", gelu), np.float64, [wide])[0]
    eps = 2.0**-11 if dtype.kind == "f" else 2.0**-8
    # One rounding to 16 bits; in float32 the left tail cancels.
    allowed = 1.01 * eps * np.abs(true) + 4 * np.finfo(np.float32).eps * np.abs(wide) + 2.0**-25
    assert np.all(np.abs(got.astype(np.float64) - true) <= allowed)


def test_every_pair_of_dtypes(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """The backend promotes every pair alike whether a loop is generated or not."""
    formula = traced("pair", lambda x, y: (x * y + 1, call("maximum", x, y), x < y), "ff")
    ours = ElementwiseKernel(formula, 0)
    every = [*REAL, dtypes.bfloat16()]
    arrays = {d: whole_numbers(np.dtype(np.int8), 50, rng) & 15 for d in every}
    arrays = {d: a.astype(d) for d, a in arrays.items()}
    got = {(d, e): ours(arrays[d], arrays[e][::-1]) for d in every for e in every}
    monkeypatch.setenv("TG_KERNELS", "0")
    theirs = ElementwiseKernel(formula, 0)
    for (d, e), results in got.items():
        for g, w in zip(results, theirs(arrays[d], arrays[e][::-1]), strict=True):
            assert same(g, w), (d, e)


def test_high_orders_are_generated_for_large_arrays_only(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    asked: list[Any] = []
    plain = numpy_formula.generated

    def noting(formula: Any, order: int, dtype: Any, given: Any, large: bool) -> Any:
        made = plain(formula, order, dtype, given, large)
        asked.append((order, large, made is not None))
        return made

    monkeypatch.setattr(numpy_formula, "generated", noting)
    for order in (0, 1, 2, 3):
        run = ElementwiseKernel(traced("gelu", gelu), order)
        for n in (100, numpy_formula.LARGE - 1, numpy_formula.LARGE, 200_001):
            x = rng.standard_normal(n).astype(np.float32)
            with np.errstate(all="raise"):
                want = reference(traced("gelu", gelu), np.float64, [x.astype(np.float64)])[0]
            assert np.allclose(run(x), want, rtol=1e-4, atol=1e-6)
    assert asked == [(k, big, big or k < 2) for k in (0, 1, 2, 3) for big in (False, True)]


@pytest.mark.parametrize("switch", ["0", "1"])
def test_positions_through_the_backend(
    switch: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("TG_KERNELS", switch)
    run = ElementwiseKernel(traced("ramp", lambda x: x + element_index()), 0)
    for n in (10, 50_000, 300_000):
        x = rng.integers(0, 9, n).astype(np.float64)
        for _ in range(2):
            assert np.array_equal(run(x), x + np.arange(n))
            assert np.array_equal(run(x[::-1]), x[::-1] + np.arange(n))


def test_calls_of_changing_dtypes_and_layouts(rng: np.random.Generator) -> None:
    """What an earlier call left behind never answers for another dtype, size or layout."""
    formula = traced("line", lambda x, y: (x * y + 1, x < y), "ff")
    run = ElementwiseKernel(formula, 1)
    every = [np.float32, np.int16, np.float64, dtypes.bfloat16(), np.float16, np.uint8]
    for _ in range(60):
        dtype = np.dtype(every[rng.integers(len(every))])
        n = int(rng.choice([0, 1, 50, 70_000]))
        arrays = [rng.integers(0, 9, 2 * n).astype(dtype)[:: rng.integers(1, 3)] for _ in "xy"]
        arrays = [a[:n] for a in arrays]
        want = reference(formula, dtype, arrays)
        outs = (np.empty(n, dtype), np.empty(n, bool)) if rng.random() < 0.5 else None
        for got, w in zip(run(*arrays, out=outs), want, strict=True):
            assert same(got, w), dtype
        assert outs is None or same(outs[0], want[0])


@pytest.mark.parametrize("dtype", [*HALVES, np.dtype(np.int32)], ids=str)
def test_flags_stay_as_they_are(dtype: Any, rng: np.random.Generator) -> None:
    import ctypes

    run = found(traced("scaled", lambda x, i: (x * i - 3 * x, x < i), "fi"), dtype)
    x, i = rng.integers(-100, 100, 64).astype(dtype), np.arange(64) << 40
    libm = ctypes.CDLL(None)
    libm.feclearexcept(0x3D)
    run(x, i)
    assert libm.fetestexcept(0x3D) == 0
