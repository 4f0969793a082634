"""`tg.primitive` on a GPU: a user's CUDA text, its parameters, and NumPy code on CuPy's arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import nvrtc
import pytest
from ops_tools import gpus, here, launches, there

import tensorgrad as tg

CUBE = """// y = a x^3
template <class T> __global__ void cube(const T* __restrict__ x, T* y, T a, long long n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i < n) y[i] = a * x[i] * x[i] * x[i];
}
"""
ROWS = """
extern "C" __global__ void other(float* y) { y[0] = 0; }
extern "C" __global__ void row_sums(const double* x, double* total, int* count,
                                    long long x_1 /* columns */, int n) {
    const long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    if (i >= n) return;
    double sum = 0;
    for (long long k = 0; k < x_1; k++) sum += x[i * x_1 + k];
    total[i] = sum;
    count[i] = (int)x_1;
}
"""


@pytest.fixture(scope="module")
def gpu() -> Iterator[Any]:
    with gpus() as machine:
        yield machine


def cube(x: Any, a: float = 1.0) -> Any:
    return a * x**3


def cube_vjp(ct: Any, out: Any, x: Any, a: float = 1.0) -> Any:
    return (3 * a * x**2 * ct,) if a == 1.0 else (3 * a * x**2 * ct, None)


def row_sums(x: Any) -> Any:
    return x.sum(-1), np.full(len(x), x.shape[1], np.int32)


def rows_vjp(cts: Any, outs: Any, x: Any) -> Any:
    return (np.broadcast_to(cts[0][:, None], x.shape),)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_template_serves_every_dtype(dtype: str, gpu: Any, rng: np.random.Generator) -> None:
    f = tg.primitive(cube, vjp=cube_vjp, cuda=CUBE)
    x = rng.standard_normal((5, 300)).astype(dtype)
    name = f"cube_{dtype}"
    t = there(x)
    t.requires_grad = True
    before = launches()[name]
    with tg.debug():
        y = f(t, 2.0)
        f(there(x[:, :0]), 2.0)
    assert launches()[name] == before + 1
    assert y.device == "cuda:0"
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(here(y), 2 * x**3, rtol=8 * eps)
    y.sum().backward()
    np.testing.assert_allclose(here(t.grad), 6 * x**2, rtol=8 * eps)
    np.testing.assert_allclose(here(f(there(x)[:, ::-2], 2.0)), 2 * x[:, ::-2] ** 3, rtol=8 * eps)
    found = tg.hessian(lambda z: f(z).sum())(there(x[0, :3]))
    np.testing.assert_allclose(here(found), np.diag(6 * x[0, :3]), rtol=8 * eps)
    found = tg.vmap(tg.grad(f))(there(x[0, :3]))
    np.testing.assert_allclose(here(found), 3 * x[0, :3] ** 2, rtol=8 * eps)


def test_results_of_other_shapes_and_a_file(
    gpu: Any, rng: np.random.Generator, tmp_path: Path
) -> None:
    path = tmp_path / "rows.cu"
    path.write_text(ROWS)
    shape = lambda x: [(len(x),), (len(x),)]  # noqa: E731
    f = tg.primitive(vjp=rows_vjp, cuda=path, shape=shape)(row_sums)
    x = rng.standard_normal((7, 5))
    with tg.debug():
        total, count = f(there(x))
    np.testing.assert_allclose(here(total), x.sum(1))
    assert here(count).tolist() == [5] * 7
    found = tg.grad(lambda x: (f(x)[0] ** 2).sum())(there(x))
    np.testing.assert_allclose(here(found), np.broadcast_to(2 * x.sum(1)[:, None], x.shape))


def test_what_does_not_fit_a_kernel_is_refused(gpu: Any, rng: np.random.Generator) -> None:
    f = tg.primitive(row_sums, vjp=rows_vjp, cuda=ROWS, shape=lambda x: [(len(x),)] * 2)
    with pytest.raises(tg.DTypeError, match=r"got float32 for x, expected float64 as the kernel"):
        f(there(np.ones((2, 2), "f4")))
    wrong = tg.primitive(cube, vjp=cube_vjp, cuda=CUBE.replace("a * x[i]", "2 + x[i]"))
    with tg.debug(), pytest.raises(tg.TensorgradError, match="got kernel result 0"):
        wrong(there(rng.standard_normal(5) + 4.0))
    for text, match in [
        ("", "expected CUDA C"),
        (CUBE.replace("cube", "one") + ROWS, "the kernels one, other, row_sums"),
        (CUBE.replace("T a", "T scale"), r"got the kernel parameters \['scale'\]"),
        (CUBE.replace("T* y", "const T* y"), "kernel parameters"),
        (CUBE.replace("template <class T>", "").replace("T", "float"), 'without extern "C"'),
        (CUBE.replace("T a", "Thing a"), "got the kernel parameter 'Thing a'"),
    ]:
        with pytest.raises(ValueError, match=match):
            tg.primitive(cube, cuda=text)


@pytest.mark.parametrize("arch", nvrtc.ARCHITECTURES)
def test_machine_code(arch: str) -> None:
    """What is asked of NVRTC for a template: its text, and a line that names the instance."""
    text = CUBE + "// export: cube_float32 = cube<float>\n// export: cube_int64 = cube<long long>\n"
    cubin = nvrtc.compile(text, arch)
    assert cubin["cube_float32"].spills == 0
    assert cubin["cube_int64"].registers
    assert nvrtc.compile(ROWS, arch)["row_sums"].registers


def test_numpy_code_on_the_arrays_of_a_gpu(gpu: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal(6)
    f = tg.primitive(lambda x: np.exp(x) * 2, vjp=lambda ct, out, x: (ct * out,))
    np.testing.assert_allclose(here(f(there(x))), 2 * np.exp(x), rtol=1e-14)
    np.testing.assert_allclose(here(tg.grad(lambda x: f(x).sum())(there(x))), 2 * np.exp(x))
    host = tg.primitive(lambda x: np.asarray(x) * 2, vjp=lambda ct, out, x: (ct * 2,))
    with pytest.raises(tg.DeviceError, match=r"got arrays on cuda:0, expected NumPy's there"):
        host(there(x))
    leaves = tg.primitive(lambda x: np.ones(3), vjp=lambda ct, out, x: (ct,))
    with pytest.raises(tg.DeviceError, match="got a result that is not on cuda:0"):
        leaves(there(x))
    back = tg.primitive(lambda x: x * 2, vjp=lambda ct, out, x: (np.ones(6),))
    with pytest.raises(tg.DeviceError, match="got a derivative on cpu, expected it on cuda:0"):
        tg.grad(lambda x: back(x).sum())(there(x))
