"""`tensorgrad info` on machines with and without a driver, GPUs, CuPy and CUDA's libraries."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from tensorgrad.cli import gpu

DRIVER = """
#include <stddef.h>
#include <stdio.h>
int cuDriverGetVersion(int *v) { *v = VERSION; return 0; }
int cuInit(unsigned flags) { return STATUS; }
int cuGetErrorName(int status, const char **text) { *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuDeviceGetCount(int *n) { *n = COUNT; return 0; }
int cuDeviceGet(int *device, int k) { *device = 10 + k; return 0; }
int cuDeviceGetName(char *name, int size, int device) {
    snprintf(name, size, "NVIDIA A%d", device);
    return 0;
}
int cuDeviceTotalMem_v2(size_t *size, int device) { *size = (size_t)device << 30; return 0; }
int cuDeviceGetAttribute(int *v, int what, int device) { *v = what == 75 ? 9 : 0; return 0; }
"""
LIBRARIES = {
    "libnvrtc": "int nvrtcVersion(int *a, int *b) { *a = 12; *b = 8; return 0; }",
    "libcublasLt": "unsigned long cublasLtGetVersion(void) { return 120905; }",
    "libcudart": "int cudaRuntimeGetVersion(int *v) { *v = 12080; return 0; }",
}
FOLDERS = {"libnvrtc": "cuda_nvrtc", "libcublasLt": "cublas", "libcudart": "cuda_runtime"}


def compiled(path: Path, text: str, **values: int) -> str:
    """A shared library of a C text; skips where nothing compiles it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    path.parent.mkdir(parents=True, exist_ok=True)
    defined = [f"-D{name}={value}" for name, value in values.items()]
    command = [compiler, "-shared", "-fPIC", *defined, "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=text, text=True, check=True)
    return str(path)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine with nothing of CUDA; `bare(version, count, status)` gives it a driver."""
    for name in ("TG_CUBLASLT", "CUDA_HOME", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gpu, "DRIVER", str(tmp_path / "none.so"))
    monkeypatch.setattr(gpu, "MANAGEMENT", str(tmp_path / "none.so"))
    monkeypatch.setattr(gpu, "_driver_version", lambda: "")
    monkeypatch.setattr(gpu, "_roots", list)
    monkeypatch.setattr(gpu, "packages", dict)
    monkeypatch.setattr(gpu, "_refusal", lambda: "")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    names = [one._replace(stem=f"{one.stem}-stand-in") for one in gpu.LIBRARIES]
    monkeypatch.setattr(gpu, "LIBRARIES", names)  # none of the loader's

    def driver(version: int, count: int = 1, status: int = 0) -> None:
        path = tmp_path / f"cuda{version}-{count}-{status}.so"
        made = compiled(path, DRIVER, VERSION=version, COUNT=count, STATUS=status)
        monkeypatch.setattr(gpu, "DRIVER", made)

    return driver


def found() -> dict[str, str]:
    return dict(gpu.lines())


def test_nothing(bare: Any) -> None:
    install = "try pip install 'tensorgrad[cuda13]' where there is a driver"
    folder = gpu.os.environ["XDG_CACHE_HOME"] + "/tensorgrad"
    assert gpu.lines()[:5] == [
        (
            "driver",
            "none found, the cpu is used; for a GPU try installing it from "
            "https://www.nvidia.com/drivers (in a container: docker run --gpus all)",
        ),
        ("cupy", f"missing; {install}"),
        ("nvrtc", f"missing, needed for compiling kernels; {install}"),
        ("cublaslt", f"missing, needed for matrix products; {install}"),
        ("cudart", f"missing, needed for CUDA's runtime; {install}"),
    ]
    lines = found()
    assert lines["cubins"] == f"0 files, 0 B in {folder}/kernels"
    assert lines["tuned products"] == f"0 files, 0 B in {folder}/cublaslt"


def test_a_driver_and_nothing_else(bare: Any) -> None:
    bare(12080, 2)
    lines = found()
    assert lines["driver"] == "for CUDA 12.8"
    assert lines["cuda:0"] == "NVIDIA A10, compute capability 9.0, 10.0 GiB"
    assert lines["cuda:1"] == "NVIDIA A11, compute capability 9.0, 11.0 GiB"
    for name in ("cupy", "nvrtc", "cublaslt", "cudart"):
        assert lines[name].endswith("; try pip install 'tensorgrad[cuda12]'"), name
    bare(13010)
    assert found()["cupy"] == "missing; try pip install 'tensorgrad[cuda13]'"


def test_drivers_that_do_not_do(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare(11080)
    assert found()["driver"] == "for CUDA 11.8, expected CUDA 12 or later; try driver 525"
    bare(13000, 0, 100)
    assert found()["gpu"] == "CUDA_ERROR_NO_DEVICE; try nvidia-smi, which should list one"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert found()["gpu"] == "CUDA_ERROR_NO_DEVICE under CUDA_VISIBLE_DEVICES='7'; try unsetting it"


def test_cupy(bare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bare(12080)
    have = {"cupy-cuda12x": "14.2.0"}
    monkeypatch.setattr(gpu, "packages", lambda: have)
    assert found()["cupy"] == "14.2.0 (cupy-cuda12x)"
    monkeypatch.setattr(gpu, "_refusal", lambda: "cuda: got this; try that")
    assert found()["cupy"] == "14.2.0 (cupy-cuda12x); cuda: got this; try that"
    bare(13000)
    assert found()["nvrtc"].endswith("try pip install 'tensorgrad[cuda12]'")  # CuPy's own
    have = {"cupy-cuda13x": "14.2.0"}
    bare(12080, 2)
    assert found()["cupy"] == (
        "14.2.0 (cupy-cuda13x), expected one for CUDA 12.8, the driver's; "
        "try pip uninstall -y cupy-cuda13x && pip install 'tensorgrad[cuda12]'"
    )
    have = {"cupy-cuda13x": "14.2.0", "cupy": "13.6.0"}
    bare(13000, 2)
    assert found()["cupy"] == (
        "14.2.0 (cupy-cuda13x), 13.6.0 (cupy), expected one of them; "
        "try pip uninstall -y cupy-cuda13x cupy && pip install 'tensorgrad[cuda13]'"
    )


def test_libraries_and_headers_of_the_wheels(
    bare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(12080)
    for stem, text in LIBRARIES.items():
        folder = tmp_path / "site" / "nvidia" / FOLDERS[stem]
        compiled(folder / "lib" / f"{stem}-stand-in.so.12", text)
        (folder / "include").mkdir()
    include = tmp_path / "site" / "nvidia" / "cuda_runtime" / "include"
    (include / "cuda_fp16.h").touch()
    lines = found()
    place = tmp_path / "site" / "nvidia"
    assert lines["nvrtc"] == f"12.8 ({place}/cuda_nvrtc/lib/libnvrtc-stand-in.so.12)"
    assert lines["cublaslt"] == f"12.9.5 ({place}/cublas/lib/libcublasLt-stand-in.so.12)"
    assert lines["cudart"] == f"12.8 ({place}/cuda_runtime/lib/libcudart-stand-in.so.12)"
    assert lines["cuda headers"] == str(include)


def test_a_library_that_does_not_load(
    bare: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(12080)
    broken = tmp_path / "site" / "nvidia" / "cublas" / "lib" / "libcublasLt-stand-in.so.12"
    broken.parent.mkdir(parents=True)
    broken.write_text("half a library")
    text = found()["cublaslt"]
    assert text.startswith(f"missing, needed for matrix products ({broken} does not load: ")
    assert text.endswith("; try pip install --force-reinstall 'tensorgrad[cuda12]'")
    other = compiled(tmp_path / "other.so", LIBRARIES["libcublasLt"])
    monkeypatch.setenv("TG_CUBLASLT", other)
    assert found()["cublaslt"] == f"12.9.5 ({other})"


def test_caches(bare: Any, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "tensorgrad" / "kernels"
    folder.mkdir(parents=True)
    for name, size in (("cuda-a.o", 2048), ("cuda-b.o", 1024), ("abc.o", 512)):
        (folder / name).write_bytes(bytes(size))
    lines = found()
    assert lines["cubins"] == f"2 files, 3.0 KiB in {folder}"
    assert lines["cpu kernels"] == f"1 file, 512 B in {folder}"


@pytest.mark.parametrize(
    "name", ["_driver_text", "_gpu_lines", "_cupy_text", "_library_text", "_cache_lines"]
)
def test_an_error_in_asking_is_a_line(
    bare: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("out of order")

    monkeypatch.setattr(gpu, name, broken)
    assert ("cuda", "unknown (RuntimeError: out of order)") in gpu.lines()


def test_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "cupy-cuda12x":
            raise metadata.PackageNotFoundError
        return "14.2.0"

    monkeypatch.setattr(metadata, "version", version)
    assert gpu.packages() == {"cupy-cuda12x": "14.2.0"}


def test_it_is_quick_and_needs_no_cupy() -> None:
    if importlib.util.find_spec("cupy") is not None:
        pytest.skip("CuPy is here")
    code = (
        "import sys, time\nfrom tensorgrad.cli.info import command\nstart = time.perf_counter()\n"
        "command(standalone_mode=False)\nprint(time.perf_counter() - start, file=sys.stderr)\n"
        "assert 'cupy' not in sys.modules\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        )
        seconds.append(float(done.stderr))
        if seconds[-1] < 1.0:
            return
        time.sleep(0.5)
    raise AssertionError(f"tensorgrad info took {seconds} seconds")
