"""The scalar functions of common.cuh and the reductions of reduce.cuh, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from host import build
from kernel_tools import DTYPES, SCHEDULES, array, i32, i64

from tensorgrad.codegen.typed import INTEGER_LEAVES
from tensorgrad.expr.evaluate import function
from tensorgrad.expr.leaves import LEAVES

C_TYPES = {
    "float32": "float", "float64": "double", "int8": "signed char", "uint8": "unsigned char",
    "int16": "short", "uint16": "unsigned short", "int32": "int", "uint32": "unsigned",
    "int64": "long long", "uint64": "unsigned long long",
}  # fmt: skip
EXACT = INTEGER_LEAVES | {"floor_divide", "remainder", "heaviside", "copysign", "fmod", "sqrt"}
EXACT |= {"reciprocal", "nextafter"}
ULPS = {"pow": 16, "sinh": 8, "cosh": 8, "erfc": 8, "logaddexp2": 8, "log_sigmoid": 8}
CANCELS = frozenset({"logaddexp", "logaddexp2"})  # the result may be far below the arguments
MODULAR = frozenset({"floor_divide", "remainder"})


def kernel(leaf: str, dtype: str) -> str:
    """A text that applies a leaf to every element."""
    found, c = LEAVES[leaf], C_TYPES[dtype]
    names = "abc"[: found.arity]
    result = "bool" if found.kind == "b" else c
    head = "".join(f"const {c}* {x}_, " for x in names)
    body = "".join(f"const {c} {x} = {x}_[i];" for x in names)
    return (
        f'extern "C" __global__ void {leaf}_{dtype}({head}{result}* out, int n) {{\n'
        f"int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n) return; {body}\n"
        f"out[i] = {found.cuda.format(*names, T=c)};\n}}\n"
    )


def every_leaf() -> list[tuple[str, str]]:
    real = [(leaf, dtype) for leaf in sorted(LEAVES) for dtype in ("float32", "float64")]
    whole = [d for d in C_TYPES if "int" in d]
    return real + [(leaf, d) for leaf in sorted(INTEGER_LEAVES | MODULAR) for d in whole]


@pytest.fixture(scope="module")
def leaves() -> Any:
    texts = [kernel(leaf, dtype) for leaf, dtype in every_leaf()]
    return build('#include "common.cuh"\n' + "".join(texts))


def real_arguments(rng: np.random.Generator, leaf: str, dtype: str) -> list[Any]:
    found = LEAVES[leaf]
    usual = [rng.uniform(low, high, 200) for low, high in found.domain]
    corners = [np.array(column) for column in zip(*found.special)] or [np.empty(0)] * found.arity
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -2.5, 100.0, -100.0])
    grid = [g.ravel() for g in np.meshgrid(*[edges] * found.arity)]
    return [np.concatenate(p).astype(dtype) for p in zip(usual, corners, grid)]


def integer_arguments(rng: np.random.Generator, leaf: str, dtype: str) -> list[Any]:
    info, arity = np.iinfo(dtype), LEAVES[leaf].arity
    edges = np.array([info.min, info.max, 0, 1, 2, info.max - 1], dtype)
    edges = np.append(edges, np.array([-1, -3], "i8").astype(dtype))
    grid = [g.ravel() for g in np.meshgrid(*[edges] * arity)]
    free = [rng.integers(info.min, info.max, 100, dtype, endpoint=True) for _ in grid]
    return [np.concatenate(p) for p in zip(free, grid)]


@pytest.mark.parametrize(("leaf", "dtype"), every_leaf())
def test_leaf(rng: np.random.Generator, leaves: Any, leaf: str, dtype: str) -> None:
    """Integers and rounded operations exactly, the others to a few ulp of float64's value."""
    whole = "int" in dtype
    args = (integer_arguments if whole else real_arguments)(rng, leaf, dtype)
    kind, n = LEAVES[leaf].kind, args[0].size
    out = array(n, bool if kind == "b" else dtype)
    grid = (-(-n // 128),)
    leaves.get_function(f"{leaf}_{dtype}")(grid, (128,), (*args, out, i32(n)))
    exact = leaf in EXACT or whole
    with np.errstate(all="ignore"):
        given = args if exact else [a.astype(np.float64) for a in args]
        want = function(LEAVES[leaf].numpy)(*given)
        if exact:
            assert np.array_equal(out, want.astype(out.dtype), equal_nan=not whole)
        else:
            size = np.abs(want) + (np.abs(args).max(0) if leaf in CANCELS else 0)
            close(out, want, np.finfo(dtype), ULPS.get(leaf, 4), size)


def close(got: Any, want: Any, info: Any, ulps: int, size: Any) -> None:
    rounded = want.astype(got.dtype)
    known = np.isfinite(rounded)
    assert np.array_equal(got[~known], rounded[~known], equal_nan=True)
    got, want = got[known].astype(np.float64), want[known].astype(np.float64)
    bound = ulps * float(info.eps) * size[known] + 2 * float(info.smallest_subnormal)
    assert (np.abs(got - want) <= bound).all()


def test_sigmoid_and_softplus_in_both_tails(leaves: Any) -> None:
    x = np.array([-745.0, -700, -37, -1e-20, 0, 1e-20, 37, 745])
    out = np.empty_like(x)
    for leaf, want in (
        ("sigmoid", np.exp(-np.logaddexp(0, -x))),
        ("softplus", np.logaddexp(0, x)),
        ("log_sigmoid", -np.logaddexp(0, -x)),
    ):
        leaves.get_function(f"{leaf}_float64")((1,), (32,), (x, out, i32(8)))
        np.testing.assert_allclose(out, want, rtol=2e-13)


# -- reductions --------------------------------------------------------------------------------

REDUCE = """
#include "reduce.cuh"
template <class T, int BLOCK> __global__ void reduce(const T* x, T* out) {
    __shared__ T scratch[BLOCK / 32];
    const T v = x[threadIdx.x];
    T* to = out + 5 * threadIdx.x;
    to[0] = tg_block_sum<BLOCK>(v, scratch);
    to[1] = tg_block_max<BLOCK>(v, scratch);
    to[2] = tg_warp_sum(v);
    to[3] = tg_warp_reduce(tg_smaller(), v, 8);
    to[4] = tg_warp_scan(tg_plus(), v);
}
// export: reduce_32 = reduce<double, 32>
// export: reduce_96 = reduce<double, 96>
// export: reduce_1024 = reduce<double, 1024>
"""


@pytest.mark.parametrize("block", [32, 96, 1024])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_reductions(rng: np.random.Generator, block: int, schedule: str) -> None:
    x, out = rng.integers(-1000, 1000, block).astype(float), array((block, 5), float)
    reduce = build(REDUCE).get_function(f"reduce_{block}")
    reduce((1,), (block,), (x, out), schedule=schedule)
    warps = x.reshape(-1, 32)
    assert (out[:, 0] == x.sum()).all()
    assert (out[:, 1] == x.max()).all()
    assert (out[:, 2].reshape(-1, 32) == warps.sum(1, keepdims=True)).all()
    assert (out[:, 3].reshape(-1, 8) == x.reshape(-1, 8).min(1, keepdims=True)).all()
    assert (out[:, 4].reshape(-1, 32) == warps.cumsum(1)).all()
    x[block // 2] = np.nan
    reduce((1,), (block,), (x, out), schedule=schedule)
    assert np.isnan(out[:, :2]).all()


@pytest.mark.parametrize("name", ["f16", "bf16"])
def test_conversions_of_16_bit_floats(name: str) -> None:
    """Every pattern loads and stores unchanged; stores round to nearest, ties to even."""
    c = {"f16": "__half", "bf16": "__nv_bfloat16"}[name]
    text = f"""
#define TG_HALF
#include "common.cuh"
extern "C" __global__ void convert(const {c}* x, float* wide, {c}* back, i64 n) {{
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) {{
        wide[i] = tg_load(x[i]);
        back[i] = tg_store<{c}>(wide[i]);
    }}
}}
"""
    x = np.arange(2**16, dtype=np.uint16).view(DTYPES[name])
    x = x[~np.isnan(x.astype(np.float32))]
    wide, back = array(x.size, np.float32), array(x.size, x.dtype)
    build(text).get_function("convert")((1,), (256,), (x, wide, back, i64(x.size)))
    assert np.array_equal(wide, x.astype(np.float32))
    assert back.tobytes() == x.tobytes()
