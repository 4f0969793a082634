"""Kernels from their texts: compiled, kept on disk, launched, counted; and what goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakecupy
import numpy as np
import pytest

from tensorgrad._errors import DeviceError, DTypeError

TEXT = """// y = a x
#include "common.cuh"
template <class T, int BLOCK> __global__ void scale(const T* x, T* y, T a, int n) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i < n) y[i] = a * x[i];
}
// export: scale_f32 = scale<float, 64>
// export: scale_f64 = scale<double, 32>
struct Sizes { int rows, columns; };
extern "C" __global__ void add_one(float* x, Sizes sizes) {
    if (threadIdx.x < sizes.rows * sizes.columns) x[threadIdx.x] += 1.0f;
}
extern "C" __global__ void shared_sum(float* x, int n) {
    CUDA_DYN_SHARED(float, held);
    held[n - 1] = 2.0f;
    x[0] = held[n - 1];
}
"""
SIZES = np.dtype([("rows", np.int32), ("columns", np.int32)])


@pytest.fixture
def cupy(tmp_path: Path, monkeypatch: Any) -> Iterator[Any]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with fakecupy.install(devices=2):
        import cupy as found

        yield found


@pytest.fixture
def compiled(cupy: Any, monkeypatch: Any) -> list[Any]:
    """The expressions of each call of the compiler."""
    calls = []
    plain = cupy.cuda.compiler.compile_using_nvrtc

    def counted(source: str, options: Any, arch: Any, name: str, names: Any) -> Any:
        calls.append(names)
        return plain(source, options, arch, name, names)

    monkeypatch.setattr(cupy.cuda.compiler, "compile_using_nvrtc", counted)
    return calls


def scaled(cupy: Any, rng: Any, module: Any, kind: str = "float32") -> None:
    """One launch, against NumPy."""
    name = f"scale_f{np.dtype(kind).itemsize * 8}"
    block = 64 if kind == "float32" else 32
    x = rng.standard_normal(500).astype(kind)
    there, y = cupy.asarray(x), cupy.empty(500, kind)
    a = np.dtype(kind).type(1.5)
    launcher = module.load(TEXT, [name])[name]
    launcher((-(-500 // block),), (block,), there.data.ptr, y.data.ptr, a, np.int32(500))
    np.testing.assert_array_equal(y.get(), x * a)


def test_launches(cupy: Any, rng: Any, compiled: list[Any]) -> None:
    from tensorgrad.backend.cuda import module

    module.launches.clear()
    for _ in range(3):
        scaled(cupy, rng, module)
    scaled(cupy, rng, module, "float64")
    x = cupy.zeros(16, "float32")
    add = module.load(TEXT, ["add_one"])["add_one"]
    add((1,), (32,), x.data.ptr, np.array((4, 3), SIZES))
    assert x.get().tolist() == [1] * 12 + [0] * 4
    assert module.launches == {"scale_f32": 3, "scale_f64": 1, "add_one": 1}
    assert compiled == [("scale<float, 64>",), ("scale<double, 32>",), None]


def test_one_text_serves_every_device(cupy: Any, rng: Any, compiled: list[Any]) -> None:
    from tensorgrad.backend.cuda import module

    scaled(cupy, rng, module)
    with cupy.cuda.Device(1):
        scaled(cupy, rng, module)
    assert len(compiled) == 1


def test_several_kernels_of_one_text(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    found = module.load(TEXT, ("scale_f64", "add_one", "scale_f32"))
    assert list(found) == ["scale_f64", "add_one", "scale_f32"]
    assert found["scale_f32"].symbol == "scale<float, 64>"
    assert found["add_one"].symbol == "add_one"
    assert module.exports(TEXT) == {"scale_f32": "scale<float, 64>",
                                    "scale_f64": "scale<double, 32>"}  # fmt: skip


@pytest.mark.parametrize("wrong", [1.5, True, None, np.zeros(3, np.float32), 1j, "x"])
def test_arguments_are_typed(cupy: Any, wrong: Any) -> None:
    from tensorgrad.backend.cuda import module

    x = cupy.zeros(4, "float32")
    launcher = module.load(TEXT, ["scale_f32"])["scale_f32"]
    with pytest.raises(DTypeError) as caught:
        launcher((1,), (64,), x.data.ptr, x.data.ptr, wrong, np.int32(4))
    assert str(caught.value) == (
        f"scale_f32: got {type(wrong).__name__} for argument 2, expected an address (int), "
        "a NumPy scalar or a struct; try numpy.float32(x)"
    )
    launcher((1,), (64,), x.data.ptr, x.data.ptr, np.float32(2), np.int32(4))


def test_shared_memory_beyond_48_kib(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    x = cupy.zeros(1, "float32")
    launcher = module.load(TEXT, ["shared_sum"])["shared_sum"]
    for size in (1024, 100 * 1024, 60 * 1024, 227 * 1024):
        launcher((1,), (1,), x.data.ptr, np.int32(size // 4), shared=size)
        assert x.get().tolist() == [2]
    with pytest.raises(DeviceError, match="got 262144 bytes of shared memory, expected at most"):
        launcher((1,), (1,), x.data.ptr, np.int32(5), shared=256 * 1024)


def test_a_text_that_does_not_compile(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module
    from tensorgrad.backend.cuda.errors import CompileError

    text = '// z = f(x)\nextern "C" __global__ void f(float* x) {\n    x[0] = missing;\n}\n'
    with pytest.raises(CompileError) as caught:
        module.load(text, ["f"])["f"]((1,), (1,), 0)
    shown = str(caught.value)
    assert shown.startswith("compile: got an error of NVRTC in 'z = f(x)', expected machine code; ")
    assert "missing" in caught.value.log
    assert caught.value.log.strip() in shown
    assert "   3      x[0] = missing;\n   4  }" in shown
    with pytest.raises(CompileError):  # nothing of the failure is kept
        module.load(text, ["f"])["f"]((1,), (1,), 0)


def test_a_long_text_is_shown_where_it_fails(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    text = "\n".join(f"// line {k}" for k in range(1, 1001))
    found = module._failure(text, "kernel.cu(500): error: it is wrong")
    assert "\n 492  // line 492\n" in str(found)
    assert "\n 508  // line 508\n(983 more lines)" in str(found)
    assert " 491  " not in str(found)
    assert "1000  // line 1000" in found.source
    headers = module._failure("//\n", 'kernel.cu(1): error: cannot open "cuda_fp16.h"')
    assert "try pip install 'tensorgrad[cuda13]', which has CUDA's headers" in str(headers)


def test_no_compiler(cupy: Any, monkeypatch: Any) -> None:
    from tensorgrad.backend.cuda import module

    def missing() -> Any:
        raise RuntimeError("CuPy failed to load libnvrtc.so.13: OSError: no such file\nmore")

    monkeypatch.setattr(cupy.cuda.nvrtc, "getVersion", missing)
    with pytest.raises(DeviceError) as caught:
        module.load(TEXT, ["add_one"])["add_one"]((1,), (1,), 0, np.array((0, 0), SIZES))
    assert str(caught.value) == (
        "cuda: got no NVRTC (CuPy failed to load libnvrtc.so.13: OSError: no such file), expected "
        "CUDA's compiler beside CuPy; try pip install 'tensorgrad[cuda13]'"
    )


# -- on disk -------------------------------------------------------------------------------------


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "tensorgrad" / "kernels").glob("cuda-*.o"))


def forget(module: Any) -> None:
    """As a new process begins."""
    module._MODULES.clear()


def test_machine_code_is_kept(cupy: Any, rng: Any, compiled: list[Any], tmp_path: Path) -> None:
    from tensorgrad.backend.cuda import module

    for _ in range(3):
        forget(module)
        scaled(cupy, rng, module)
    assert len(compiled) == len(entries(tmp_path)) == 1
    scaled(cupy, rng, module, "float64")  # another instantiation of the same text
    assert len(compiled) == len(entries(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["half", "empty", "flipped", "folder"])
def test_a_damaged_entry_is_not_used(
    cupy: Any, rng: Any, compiled: list[Any], tmp_path: Path, damage: str
) -> None:
    from tensorgrad.backend.cuda import module

    scaled(cupy, rng, module)
    [entry] = entries(tmp_path)
    whole = entry.read_bytes()
    if damage == "half":
        entry.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        entry.write_bytes(b"")
    elif damage == "flipped":
        entry.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        entry.unlink()
        entry.mkdir()
    forget(module)
    scaled(cupy, rng, module)
    assert len(compiled) == 2
    forget(module)
    scaled(cupy, rng, module)
    assert len(compiled) == (3 if damage == "folder" else 2)


def test_a_process_that_is_killed_while_it_writes(
    cupy: Any, rng: Any, compiled: list[Any], tmp_path: Path
) -> None:
    from tensorgrad.backend.cuda import module

    scaled(cupy, rng, module)
    [entry] = entries(tmp_path)
    code = (
        "import os, signal\nfrom tensorgrad.codegen import cache\n"
        "os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"cache.write({entry.stem!r}, b'half')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)
    assert done.returncode == -9
    forget(module)
    scaled(cupy, rng, module)
    assert len(compiled) == 1


def test_a_change_of_what_a_text_includes_is_seen(
    cupy: Any, compiled: list[Any], tmp_path: Path, monkeypatch: Any
) -> None:
    from tensorgrad.backend.cuda import module

    header = tmp_path / "common.cuh"
    text = '#include "common.cuh"\nextern "C" __global__ void f(float* x) { x[0] = VALUE; }\n'
    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    x = cupy.zeros(1, "float32")
    for value in (1, 2):
        header.write_text(f"#define VALUE {value}.0f\n")
        module._headers.cache_clear()
        forget(module)
        module.load(text, ["f"])["f"]((1,), (1,), x.data.ptr)
        assert x.get().tolist() == [value]
    assert len(compiled) == 2


def test_options_and_architecture_are_part_of_the_key(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    plain = module.Module(TEXT, (), module.OPTIONS)
    keys = {
        plain._key("90"),
        plain._key("80"),
        module.Module(TEXT, (), (*module.OPTIONS, "-DX"))._key("90"),
        module.Module(TEXT, ("scale<float, 64>",), module.OPTIONS)._key("90"),
        module.Module(TEXT + " ", (), module.OPTIONS)._key("90"),
    }
    assert len(keys) == 5
    assert not any("fast" in option or "ftz" in option for option in module.OPTIONS)


def test_the_texts_of_the_package(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    assert (module.folder() / "common.cuh").exists()
    for path in module.folder().glob("*.cu"):
        text = module.source(path.stem)
        assert text.startswith("//")
        assert module.exports(text)


def test_no_texts_of_the_package(cupy: Any, monkeypatch: Any, tmp_path: Path) -> None:
    from tensorgrad.backend.cuda import module

    monkeypatch.setattr(module, "__file__", str(tmp_path / "a" / "b" / "c" / "module.py"))
    with pytest.raises(FileNotFoundError, match=r"got no common\.cuh under"):
        module.folder()


def test_entries_are_names_and_machine_code(cupy: Any) -> None:
    from tensorgrad.backend.cuda import module

    names = {"f<float>": "_Z1f"}
    entry = json.dumps(names).encode() + b"\n" + b"\x7fELF\n\n"
    assert module._unpacked(entry) == (names, b"\x7fELF\n\n")
    assert module._unpacked(None) is None
