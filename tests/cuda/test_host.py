"""The CUDA thread model on the CPU: what a kernel may rely on, and what a launch refuses."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from host import SCHEDULES, CompileError, KernelError, build, exports

ALL = [*SCHEDULES, "random:7"]
i32, f32 = np.int32, np.float32

BLOCK = """
template <class T, int BLOCK> __global__ void __launch_bounds__(BLOCK)
block_sums(const T* __restrict__ x, T* __restrict__ y, int n) {
    __shared__ T part[BLOCK / 32];
    T a = 0;
    for (int i = threadIdx.x; i < n; i += BLOCK) a += x[(long long)blockIdx.x * n + i];
    for (int o = 16; o > 0; o >>= 1) a += __shfl_xor_sync(0xffffffffu, a, o);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = a;
    __syncthreads();
    a = part[0];
    for (int w = 1; w < BLOCK / 32; w++) a += part[w];
    if (threadIdx.x == 0) y[blockIdx.x] = a;
}
// export: sums_f32 = block_sums<float, 256>
// export: sums_i64 = block_sums<long long, 64>
"""
LANES = """
extern "C" __global__ void lanes(const int* x, int* y, int n) {
    const int i = threadIdx.x, v = x[i];
    y[i] = __shfl_sync(0xffffffffu, v, 5, 8);
    y[i + n] = __shfl_up_sync(0xffffffffu, v, 3);
    y[i + 2 * n] = __shfl_down_sync(0xffffffffu, v, 3, 16);
    y[i + 3 * n] = __shfl_xor_sync(0xffffffffu, v, 9);
    y[i + 4 * n] = (int)__ballot_sync(0xffffffffu, v > 0);
    y[i + 5 * n] = __any_sync(0xffffffffu, v > 90) * 2 + __all_sync(0xffffffffu, v > -90);
    y[i + 6 * n] = __reduce_max_sync(0xffffffffu, v);
    y[i + 7 * n] = __syncthreads_count(v > 0);
    if (i % 32 < 8) y[i + 8 * n] = __shfl_xor_sync(0x000000ffu, v, 1);
    else y[i + 8 * n] = __shfl_xor_sync(0xffffff00u, v, 2);
}
"""
ATOMICS = """
extern "C" __global__ void atomics(float* f, double* d, int* i, unsigned long long* u) {
    const int t = blockIdx.x * blockDim.x + threadIdx.x;
    atomicAdd(f, 0.5f);
    atomicAdd(d, 0.25);
    atomicMax(i, t);
    atomicMin(i + 1, -t);
    atomicAdd(u, 1);
    atomicOr(u + 1, 1ull << (t % 64));
    while (true) {
        const int old = i[2];
        if (atomicCAS(i + 2, old, old + 1) == old) break;
    }
}
"""
DYNAMIC = """
extern "C" __global__ void reverse(const double* x, double* y, bool* fresh) {
    CUDA_DYN_SHARED(double, row);
    __shared__ float one;
    const int i = threadIdx.x, n = blockDim.x;
    fresh[blockIdx.x * n + i] = row[i] != row[i] && one != one;
    __syncthreads();
    if (i == 0) one = 1;
    row[i] = x[blockIdx.x * n + i];
    __syncthreads();
    y[blockIdx.x * n + i] = row[n - 1 - i] * one;
}
"""
HALVES = """
extern "C" __global__ void halves(const __half* h, float* x, const float* y, __half* z) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i] = __half2float(h[i]);
    z[i] = __float2half_rn(y[i]);
}
extern "C" __global__ void bfloats(const __nv_bfloat16* h, float* x, const float* y,
                                   __nv_bfloat16* z) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    x[i] = __bfloat162float(h[i]);
    z[i] = __float2bfloat16_rn(y[i]);
}
"""
PLACES = """
extern "C" __global__ void places(int* y) {
    const int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    const int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    y[b * blockDim.x * blockDim.y * blockDim.z + t] += 1000 * b + t;
}
extern "C" __global__ void far(const float* x, float* y, long long ld) {
    y[threadIdx.x] = x[blockIdx.x * ld + threadIdx.x];
}
"""


def test_exports_are_read_from_the_text() -> None:
    text = 'extern "C" __global__ void __launch_bounds__(256) a(int x) {}\n' + BLOCK
    names = ["a", "sums_f32", "sums_i64"]
    assert list(exports(text)) == names
    assert exports(text)["sums_f32"] == "block_sums<float, 256>"
    assert list(build(BLOCK, ["sums_i64"]).kernels) == ["sums_i64"]
    with pytest.raises(KeyError, match="expected one of: sums_f32, sums_i64"):
        build(BLOCK).get_function("sums_f16")


@pytest.mark.parametrize("schedule", ALL)
def test_block_sums(rng: np.random.Generator, schedule: str) -> None:
    n = int(rng.integers(1, 2000))
    x = rng.integers(-100, 100, (5, n))
    for name, block, dtype in (("sums_f32", 256, f32), ("sums_i64", 64, np.int64)):
        y = np.empty(5, dtype)
        function = build(BLOCK, schedule=schedule).get_function(name)
        function((5,), (block,), (x.astype(dtype), y, i32(n)))
        assert (y == x.sum(1)).all()


def test_an_expression_is_a_name(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((1, 128)), np.empty(1)
    name = "block_sums<double, 128>"
    build(BLOCK, [name]).get_function(name)((1,), (128,), (x, y, i32(128)))
    assert np.allclose(y, x.sum())


@pytest.mark.parametrize("schedule", ALL)
def test_warp_operations(rng: np.random.Generator, schedule: str) -> None:
    n = 128
    x = rng.integers(-99, 99, n).astype(i32)
    y = np.zeros((9, n), i32)
    build(LANES).get_function("lanes")((1,), (n,), (x, y, i32(n)), schedule=schedule)
    i, w = np.arange(n), x.reshape(-1, 32)
    lane = i % 32
    assert (y[0] == x[i // 8 * 8 + 5]).all()
    assert (y[1] == np.where(lane < 3, x, x[i - 3])).all()
    assert (y[2] == np.where(lane % 16 > 12, x, x[np.minimum(i + 3, n - 1)])).all()
    assert (y[3] == x[i ^ 9]).all()
    bits = ((w > 0) << np.arange(32)).sum(1).astype(np.uint32)
    assert (y[4].view(np.uint32) == bits.repeat(32)).all()
    votes = (w > 90).any(1) * 2 + (w > -90).all(1)
    assert (y[5] == votes.repeat(32)).all()
    assert (y[6] == w.max(1).repeat(32)).all()
    assert (y[7] == (x > 0).sum()).all()
    assert (y[8] == np.where(lane < 8, x[i ^ 1], x[i ^ 2])).all()


@pytest.mark.parametrize("schedule", ALL)
def test_atomics(schedule: str) -> None:
    f, d, i, u = np.zeros(1, f32), np.zeros(1), np.zeros(3, i32), np.zeros(2, np.uint64)
    build(ATOMICS).get_function("atomics")((3,), (70,), (f, d, i, u), schedule=schedule)
    assert (f[0], d[0], *i) == (105, 52.5, 209, -209, 210)
    assert (u == [210, 2**64 - 1]).all()


@pytest.mark.parametrize("schedule", ALL)
def test_shared_memory_is_poisoned_for_every_block(rng: np.random.Generator, schedule: str) -> None:
    x = rng.standard_normal((4, 40))
    y, fresh = np.empty_like(x), np.zeros((4, 40), bool)
    function = build(DYNAMIC).get_function("reverse")
    function((4,), (40,), (x, y, fresh), shared_mem=320, schedule=schedule)
    assert fresh.all()
    assert (y == x[:, ::-1]).all()


@pytest.mark.parametrize("name", ["halves", "bfloats"])
def test_sixteen_bit_conversions_are_exact(rng: np.random.Generator, name: str) -> None:
    dtype = np.dtype(np.float16 if name == "halves" else ml_dtypes.bfloat16)
    h = np.arange(2**16, dtype=np.uint16).view(dtype)
    y = (rng.standard_normal(2**16) * np.exp(rng.uniform(-50, 50, 2**16))).astype(f32)
    y[:8] = 0.0, -0.0, np.inf, -np.inf, np.nan, 65519.9, 65520.0, 3.39e38
    y[8:4000] = (rng.integers(0, 2**16, 3992).astype(np.uint16).view(dtype)).astype(f32)
    x, z = np.empty(2**16, f32), np.empty(2**16, dtype)
    build(HALVES).get_function(name)((256,), (256,), (h, x, y, z))
    assert np.array_equal(x, h.astype(f32), equal_nan=True)
    with np.errstate(all="ignore"):
        assert np.array_equal(z.astype(f32), y.astype(dtype).astype(f32), equal_nan=True)


@pytest.mark.parametrize("schedule", ALL)
def test_every_thread_of_every_block_runs_once(schedule: str) -> None:
    y = np.zeros((24, 70), i32)
    build(PLACES).get_function("places")((2, 3, 4), (5, 7, 2), (y,), schedule=schedule)
    assert (y == 1000 * np.arange(24)[:, None] + np.arange(70)).all()


def test_chosen_blocks_of_a_huge_grid(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal(64).astype(f32), np.empty(32, f32)
    last, ld = 2**31 - 2, 2**20 + 1
    function = build(PLACES).get_function("far")
    start = x.ctypes.data - last * ld * 4
    function((last + 1,), (32,), (start, y, np.int64(ld)), blocks=[last])
    assert (y == x[:32]).all()


def test_arguments_are_checked() -> None:
    sums = build(BLOCK).get_function("sums_f32")
    x, y, n = np.zeros(256, f32), np.zeros(1, f32), i32(256)
    constant = np.zeros(1, f32)
    constant.flags.writeable = False
    wrong: list[tuple[tuple[Any, ...], str]] = [
        ((x, y), r"got 2 arguments, expected 3: \(const f4\*, f4\*, i4\)"),
        ((x, y, 256), "got int 256 for argument 2, expected i4"),
        ((x, y, np.int64(256)), "got int64 for argument 2, expected i4"),
        ((x, y, f32(256)), "got float32 for argument 2, expected i4"),
        ((x.astype(np.float64), y, n), r"got an array of float64 .* expected const f4\*"),
        ((x, y.view(i32), n), r"got an array of int32 for argument 1, expected f4\*"),
        ((x, constant, n), "got a read-only array for argument 1"),
        ((x.tolist(), y, n), "got list for argument 0"),
    ]
    for args, message in wrong:
        with pytest.raises(TypeError, match=message):
            sums((1,), (256,), args)
    sums((1,), (256,), (x.ctypes.data, y, n))
    assert y[0] == 0


def test_launches_are_checked() -> None:
    sums = build(BLOCK).get_function("sums_f32")
    args = (np.zeros(256, f32), np.zeros(1, f32), i32(256))
    for grid, block in (((0,), (256,)), ((1, 65536), (256,)), ((1,), (1025,)), ((1,), (32, 64))):
        with pytest.raises(ValueError, match="expected 1 to"):
            sums(grid, block, args)
    with pytest.raises(ValueError, match="try setting max_dynamic_shared_size_bytes"):
        sums((1,), (256,), args, 48 * 1024 + 1)
    sums.max_dynamic_shared_size_bytes = 100 * 1024
    sums((1,), (256,), args, 100 * 1024)
    with pytest.raises(ValueError, match="got 'odd', expected one of even"):
        sums((1,), (256,), args, schedule="odd")


def test_a_refused_text_shows_its_line() -> None:
    with pytest.raises(CompileError, match=r"kernel\.cu:3"):
        build('\n\nextern "C" __global__ void f(float* x) { *x = __expf(*x); }')


def test_a_fault_leaves_the_process_usable() -> None:
    text = BLOCK + 'extern "C" __global__ void stop(int t) { if (threadIdx.x == t) __trap(); }'
    for _ in range(3):
        with pytest.raises(KernelError, match=r"stop: block \(0,0,0\), thread \(70,0,0\): __trap"):
            build(text).get_function("stop")((2,), (96,), (i32(70),))
        x, y = np.ones(300, f32), np.empty(1, f32)
        build(text).get_function("sums_f32")((1,), (256,), (x, y, i32(300)))
        assert y[0] == 300


INTEGERS = """
extern "C" __global__ void integers(const float* x, const double* d, int* i, unsigned* u,
                                    long long* l, unsigned long long* w) {
    const int t = threadIdx.x;
    i[t] = __float2int_rz(x[t]), u[t] = __float2uint_rn(x[t]);
    l[t] = __double2ll_rd(d[t]), w[t] = __double2ull_ru(d[t]);
}
"""


def test_conversions_to_integers_saturate() -> None:
    x = np.array([np.nan, -np.inf, np.inf, -1e30, 1e30, -2.5, 2.5, 3.5, 2147483648.0, -0.4], f32)
    i, u = np.empty(10, i32), np.empty(10, np.uint32)
    s, w = np.empty(10, np.int64), np.empty(10, np.uint64)
    build(INTEGERS).get_function("integers")((1,), (10,), (x, x.astype(np.float64), i, u, s, w))
    top, least, wide = 2**31 - 1, -(2**31), 2**63 - 1
    assert i.tolist() == [0, least, top, least, top, -2, 2, 3, top, 0]
    assert u.tolist() == [0, 0, 2**32 - 1, 0, 2**32 - 1, 0, 2, 4, 2**31, 0]
    assert s.tolist() == [0, -wide - 1, wide, -wide - 1, wide, -3, 2, 3, 2**31, -1]
    assert w.tolist() == [0, 0, 2**64 - 1, 0, 2**64 - 1, 0, 3, 4, 2**31, 0]
