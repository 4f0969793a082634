"""The calls of cuBLASLt: against a stand-in that records and computes, and the real library."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tensorgrad._errors import DeviceError, ShapeError
from tensorgrad.backend.cuda import blas, lt
from tensorgrad.backend.cuda.blas import Plan, matmul_plan

Array = Any
Rng = np.random.Generator

STUB = Path(__file__).with_name("lt_stub.cpp")


@pytest.fixture(scope="module")
def stub_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that has cuBLASLt's functions, keeps a log, and multiplies host memory."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build the stand-in with")
    folder = tmp_path_factory.mktemp("lt")
    built = folder / "libstub.so"
    command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-o", str(built), str(STUB)]
    subprocess.run(command, check=True)
    return str(built)


class Stub:
    """The stand-in, with what it says about itself."""

    def __init__(self, path: str) -> None:
        self.library = lt.load(path)
        self.library.stub_log.restype = ctypes.c_char_p
        self.clear = self.library.stub_clear

    def log(self, name: str = "") -> list[str]:
        lines = self.library.stub_log().decode().splitlines()
        return [line for line in lines if line.split()[0] == (name or line.split()[0])]

    def fail(self, name: str, status: int = 0) -> None:
        self.library.stub_fail(name.encode(), status)


@pytest.fixture
def stub(stub_path: str) -> Iterator[Stub]:
    found = Stub(stub_path)
    found.clear()
    yield found
    found.fail("")
    assert found.library.stub_alive() == 0, "descriptors were not given back"


@pytest.fixture
def engine(stub: Stub) -> Iterator[lt.Lt]:
    found = lt.Lt(stub.library)
    yield found
    found.close()


def values(rng: Rng, *shape: int, dtype: str = "f4") -> Array:
    return rng.standard_normal(shape).astype(dtype)


def run(engine: lt.Lt, plan: Plan, *arrays: Array, **rest: Any) -> None:
    engine.execute(plan, *(int(v.ctypes.data) for v in arrays), **rest)


def test_products_by_the_library(rng: Rng, engine: lt.Lt) -> None:
    for dtype in ("f4", "f8"):
        m, n, k = (int(size) for size in rng.integers(1, 9, 3))

        def r(*shape: int, kind: str = dtype) -> Array:
            return values(rng, *shape, dtype=kind)

        layouts: list[tuple[Array, Array, Array]] = [
            (r(m, k), r(k, n), r(m, n)),
            (r(k, m).T, r(n, k).T, r(m, n)),
            (r(m, k), r(k, n), r(n, m).T),
            (r(3, m, k), r(k, n), r(3, m, n)),
            (r(3, 2, m, k), r(2, k, n), r(3, 2, m, n)),
            (r(2, m, 3, k).swapaxes(1, 2), r(2, 3, n, k).mT, r(2, m, 3, n).swapaxes(1, 2)),
            (r(k), r(4, k, n), r(4, n)),
        ]
        for x, y, out in layouts:
            want = 2 * (x.astype("f8") @ y) + out
            run(engine, matmul_plan(x, y, out, alpha=2.0, beta=1.0), x, y, out)
            assert np.allclose(out, want, rtol=1e-5, atol=1e-5)


def test_order_of_calls_stream_and_workspace(rng: Rng, stub: Stub, engine: lt.Lt) -> None:
    x, w, bias, out = values(rng, 3, 4), values(rng, 5, 4), values(rng, 5), np.empty((3, 5), "f4")
    plan = matmul_plan(x, w.T, out, epilogue="bias", bias=bias)
    rest = {"stream": 77, "workspace": 4096, "workspace_bytes": 2048}
    run(engine, plan, x, w, out, bias=int(bias.ctypes.data), **rest)
    assert np.allclose(out, x @ w.T + bias, atol=1e-5)
    names = [line.split()[0] for line in stub.log() if "Attribute" not in line]
    assert names == [
        "MatmulDescCreate",
        *["MatrixLayoutCreate"] * 3,
        "Create",
        "MatmulAlgoGetHeuristic",
        "Matmul",
    ]
    assert stub.log("Matmul") == ["Matmul algo 100 workspace 4096 2048 stream 77 in place 1"]
    (search,) = stub.log("MatmulAlgoGetHeuristic")
    low = x.ctypes.data | w.ctypes.data | out.ctypes.data | bias.ctypes.data | 256
    assert search.split()[1:] == [
        "workspace",
        "2048",
        "aligned",
        str(low & -low),
        "reductions",
        "0",
    ]
    stub.clear()
    run(engine, plan, x, w, out, bias=int(bias.ctypes.data), **rest)
    assert [line.split()[0] for line in stub.log()] == ["Matmul"], "a second call prepares nothing"
    other = bias.copy() + 1
    run(engine, plan, x, w, out, bias=int(other.ctypes.data), **rest)
    assert np.allclose(out, x @ w.T + other, atol=1e-5)


def test_alignment_is_that_of_the_worst_address(rng: Rng, stub: Stub, engine: lt.Lt) -> None:
    memory = np.zeros(2000, "u1")
    start = -memory.ctypes.data % 256
    for shift in (0, 4, 8, 16, 64):
        stub.clear()
        x = memory[start + shift : start + shift + 64].view("f4").reshape(4, 4)
        y, out = (
            memory[start + at : start + at + 64].view("f4").reshape(4, 4) for at in (512, 1024)
        )
        run(engine, matmul_plan(x, y, out), x, y, out)
        assert f"aligned {shift or 256} " in stub.log("MatmulAlgoGetHeuristic")[0]


def test_sixteen_bit_sums_stay_in_float32(stub: Stub, engine: lt.Lt) -> None:
    for dtype, into, mask in (("f2", "f2", 2), ("f2", "f4", 0), ("f4", "f4", 0)):
        stub.clear()
        x, out = np.zeros((4, 4), dtype), np.zeros((4, 4), into)
        assert len(engine.algorithms(matmul_plan(x, x, out))) == 2, "the refused one is left out"
        assert stub.log("MatmulAlgoGetHeuristic")[0].endswith(f"reductions {mask}")


def test_status_becomes_text(rng: Rng, stub: Stub, engine: lt.Lt) -> None:
    x, out = values(rng, 4, 4), np.empty((4, 4), "f4")
    plan = matmul_plan(x, x, out)
    for name in (
        "MatrixLayoutCreate",
        "MatmulAlgoGetHeuristic",
        "Create",
        "MatmulDescSetAttribute",
        "Matmul",
    ):
        engine.close()
        for status, (word, fix) in lt.STATUS.items():
            stub.fail(name, status)
            with pytest.raises(lt.LtError) as caught:
                run(engine, plan, x, x, out)
            assert caught.value.status == status
            assert f"cublasLt{name}: got CUBLAS_STATUS_{word} ({status})" in str(caught.value)
            assert str(caught.value).endswith(f"try {fix}")
    stub.fail("Matmul", 99)
    with pytest.raises(lt.LtError, match=r"UNKNOWN \(99\) for m=4 n=4 k=4"):
        run(engine, plan, x, x, out)
    stub.fail("")
    run(engine, plan, x, x, out)  # usable afterwards
    assert np.allclose(out, x @ x, atol=1e-5)


def test_an_address_that_is_missing_is_told(rng: Rng, engine: lt.Lt) -> None:
    x, bias, out = values(rng, 4, 4), values(rng, 4), np.empty((4, 4), "f4")
    plan = matmul_plan(x, x, out, epilogue="bias", bias=bias)
    with pytest.raises(ShapeError, match="got bias=0, aux=0 with epilogue='bias'"):
        run(engine, plan, x, x, out)


def test_a_tuned_algorithm_is_checked(rng: Rng, stub: Stub, engine: lt.Lt) -> None:
    x, out = values(rng, 4, 4), np.empty((4, 4), "f4")
    plan = matmul_plan(x, x, out)
    first, second = engine.algorithms(plan, workspace_bytes=4096)
    assert (first[0], second[0], len(first)) == (100, 102, 64)

    def used(algo: bytes, room: int) -> str:
        stub.clear()
        run(engine, plan, x, x, out, algo=algo, workspace_bytes=room)
        return stub.log("Matmul")[0].split()[2]

    assert used(second, 4096) == "102"
    assert used(second, 101) == "100", "it no longer fits the workspace"
    assert used(b"short", 4096) == "100"
    stub.fail("MatmulAlgoCheck", 7)
    assert used(second, 8192) == "100"


def test_a_product_that_the_library_lacks_has_no_algorithm(stub: Stub, engine: lt.Lt) -> None:
    x = np.zeros((4, 4), "f4")
    plan = matmul_plan(x, x, x)
    for status in (7, 15):
        stub.fail("MatmulAlgoGetHeuristic", status)
        assert engine.algorithms(plan) == []
        assert engine.candidates(plan, x.ctypes.data, x.ctypes.data, x.ctypes.data) == []
    stub.fail("MatmulAlgoGetHeuristic", 13)
    with pytest.raises(lt.LtError):
        engine.algorithms(plan)


def test_old_plans_are_forgotten(
    rng: Rng, stub: Stub, engine: lt.Lt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lt, "KEPT", 2)
    for n in range(1, 6):
        x, y, out = values(rng, 2, 3), values(rng, 3, n), np.empty((2, n), "f4")
        run(engine, matmul_plan(x, y, out), x, y, out)
        assert np.allclose(out, x @ y, atol=1e-5)
    assert stub.library.stub_alive() == 1 + 2 * 4  # the handle; two plans of four descriptors


def test_threads_do_not_mix_their_biases(rng: Rng, engine: lt.Lt) -> None:
    x, w = values(rng, 16, 16), values(rng, 16, 16)
    wrong: list[str] = []

    def work(seed: int) -> None:
        bias = np.full(16, seed, "f4")
        out = np.empty((16, 16), "f4")
        plan = matmul_plan(x, w, out, epilogue="bias", bias=bias)
        for _ in range(50):
            run(engine, plan, x, w, out, bias=int(bias.ctypes.data))
            if not np.allclose(out, x @ w + bias, atol=1e-4):
                wrong.append(f"thread {seed}")

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_finding_the_library(
    stub_path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TG_CUBLASLT", stub_path)
    assert lt.find().cublasLtGetVersion() == 130800
    monkeypatch.setenv("TG_CUBLASLT", str(tmp_path / "none.so"))
    with pytest.raises(DeviceError, match=r"none.so .*try pip install nvidia-cublas$"):
        lt.find(13)
    monkeypatch.delenv("TG_CUBLASLT")
    good, bad = (tmp_path / part / "nvidia" / "cublas" / "lib" for part in ("good", "bad"))
    for wheel in (good, bad):
        wheel.mkdir(parents=True)
    shutil.copy(stub_path, good / "libcublasLt.so.12")
    (bad / "libcublasLt.so.12").write_bytes(b"no library")
    monkeypatch.setattr(lt, "MAJORS", (12,))
    for name in ("CUDA_PATH", "CUDA_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    found = [where for where, _ in lt.places(12)]
    assert (found[0], found[-1]) == ("this process", "the loader's path")
    if _installed(12):
        return
    monkeypatch.setattr("sys.path", [str(tmp_path / "bad")])
    with pytest.raises(DeviceError, match=r"did not load: .*so.12 .*nvidia-cublas-cu12"):
        lt.find(12)
    monkeypatch.setattr("sys.path", [str(tmp_path / "bad"), str(tmp_path / "good")])
    assert lt.find(12).cublasLtGetVersion() == 130800


def _installed(major: int) -> bool:
    try:
        ctypes.CDLL(f"libcublasLt.so.{major}")
    except OSError:
        return any(
            os.path.exists(path) for where, path in lt.places(major) if where == "/usr/local/cuda"
        )
    return True


@pytest.fixture(scope="module")
def real() -> ctypes.CDLL:
    """The real cuBLASLt, wherever it is; its descriptors need no GPU."""
    try:
        return lt.find()
    except DeviceError as absent:
        pytest.skip(f"no cuBLASLt here: {absent}")


@pytest.mark.parametrize("dtype", list(lt.TYPES))
def test_descriptors_are_what_the_plan_says(real: ctypes.CDLL, rng: Rng, dtype: str) -> None:
    for epilogue, number in blas.EPILOGUES.items():
        bare = epilogue == "none" or dtype.startswith("complex")
        n, m = (8 * int(size) for size in rng.integers(1, 9, 2))
        ld = 128 if "relu" in epilogue else 2 * m
        shape = (m, n, 16, bool(rng.integers(2)), bool(rng.integers(2)), 80, 80, m)
        plan = Plan(
            *shape, dtype, dtype, "float64" if dtype in ("float64", "complex128") else "tf32"
        )
        if not bare:
            ld = ld if "aux" in epilogue or epilogue.startswith("d") else 0
            plan = Plan(*shape, dtype, dtype, plan.compute, epilogue=epilogue, aux_ld=ld)
        made = lt.Descriptors(real, plan, 16)
        wants = {
            lt.TRANSA: plan.trans_a,
            lt.TRANSB: plan.trans_b,
            lt.EPILOGUE: 1 if bare else number,
        }
        for key, want in wants.items():
            assert made.read(key, ctypes.c_int32) == want
        assert made.read(0, ctypes.c_int32) == lt.COMPUTE[plan.compute]
        if plan.aux_ld:
            assert made.read(lt.AUX_LD, ctypes.c_int64) == plan.aux_ld
            assert made.read(lt.AUX, ctypes.c_uint64) == 16
        if plan.bias_length:
            assert made.read(lt.BIAS_TYPE, ctypes.c_int32) == lt.TYPES[dtype]
            made.put(lt.BIAS, ctypes.c_uint64(4096))
            assert made.read(lt.BIAS, ctypes.c_uint64) == 4096
        made.close()


def test_matrices_are_what_the_plan_says(real: ctypes.CDLL, rng: Rng) -> None:
    x, y = values(rng, 3, 5, 4), values(rng, 3, 4, 6)
    plan = matmul_plan(x, y, np.empty((3, 5, 6), "f4"))
    made = lt.Descriptors(real, plan)
    for matrix, (rows, columns, ld, stride) in (
        (made.a, (6, 4, 6, 24)), (made.b, (4, 5, 4, 20)), (made.d, (6, 5, 6, 30)),
    ):  # fmt: skip
        wants = {2: (rows, 8), 3: (columns, 8), 4: (ld, 8), 5: (3, 4), 6: (stride, 8)}
        for key, (want, size) in wants.items():
            value = ctypes.c_int64()
            lt.call(real, "MatrixLayoutGetAttribute", matrix, key, ctypes.byref(value), size, None)
            assert value.value == want
    made.close()


def test_without_a_gpu_the_first_product_says_so(real: ctypes.CDLL) -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        v = np.empty((4, 4), "f4")
        with pytest.raises(lt.LtError, match=r"NOT_INITIALIZED .* try tensorgrad info"):
            run(lt.Lt(real), matmul_plan(v, v, v), v, v, v)
    else:
        pytest.skip("a driver is here")


def test_sizes_are_those_of_the_header(real: ctypes.CDLL) -> None:
    headers = [
        Path(path).parents[up] / "include" / "cublasLt.h"
        for _, path in lt.places()
        for up in (1,)
        if os.path.exists(path)
    ]
    texts = [path.read_text() for path in headers if path.exists()]
    if not texts or shutil.which("g++") is None:
        pytest.skip("no cublasLt.h beside the library, or no g++")
    text = texts[0]
    for name, want in {
        "MATMUL_DESC_TRANSA": lt.TRANSA, "MATMUL_DESC_TRANSB": lt.TRANSB,
        "MATMUL_DESC_EPILOGUE": lt.EPILOGUE, "MATMUL_DESC_BIAS_POINTER": lt.BIAS,
        "MATMUL_DESC_EPILOGUE_AUX_POINTER": lt.AUX, "MATMUL_DESC_EPILOGUE_AUX_LD": lt.AUX_LD,
        "MATMUL_DESC_BIAS_DATA_TYPE": lt.BIAS_TYPE, "MATRIX_LAYOUT_BATCH_COUNT": lt.BATCH,
        "MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": lt.BATCH_STRIDE,
        "MATMUL_PREF_MAX_WORKSPACE_BYTES": lt.MAX_WORKSPACE,
        "MATMUL_PREF_REDUCTION_SCHEME_MASK": lt.REDUCTIONS,
        "MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": lt.ALIGNMENTS[0],
        "MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": lt.ALIGNMENTS[3],
        "REDUCTION_SCHEME_COMPUTE_TYPE": lt.IN_COMPUTE_TYPE,
    }.items():  # fmt: skip
        assert re.search(rf"CUBLASLT_{name} = {want},", text), name
    algo = re.search(
        r"typedef struct \{\s*uint64_t data\[(\d+)\];\s*\} cublasLtMatmulAlgo_t;", text
    )
    assert algo is not None
    assert 8 * int(algo[1]) == ctypes.sizeof(lt.Algo) == 64
    result = re.search(r"typedef struct \{([^}]*)\} cublasLtMatmulHeuristicResult_t;", text)
    assert result is not None
    fields = re.findall(r"^ +(\w+) (\w+)(?:\[(\d+)\])?;", result[1], re.M)
    sizes = {"cublasLtMatmulAlgo_t": 64, "size_t": 8, "cublasStatus_t": 4, "float": 4, "int": 4}
    total = sum(sizes[kind] * int(count or 1) for kind, _, count in fields)
    assert total == ctypes.sizeof(lt.Heuristic) == 96
