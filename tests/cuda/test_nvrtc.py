"""Every CUDA text as machine code for sm_80 and sm_90: no spills, few registers, wide accesses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nvrtc import ARCHITECTURES, OPTIONS, CompileError, Cubin, compile, version
from sources import SCALAR, Needs, Text, by_hand, generated, joined

from tensorgrad.backend.cuda.module import PRECOMPILES

SAMPLE, BATCH = 60, 20
LOAD, STORE = r"\bLDG\S*\.128", r"\bSTG\S*\.128"


def complaints(cubin: Cubin, texts: list[Text]) -> Iterator[str]:
    """What is wrong with the machine code, a line a fault."""
    for text in texts:
        for name, needs in text.needs.items():
            e = cubin[name]
            loads, stores = e.count(LOAD), e.count(STORE)
            if e.spills:
                yield f"{text.name}: {name} spills {e.spills} bytes of {e.registers} registers"
            if e.registers > needs.registers:
                yield f"{text.name}: {name} takes {e.registers} registers"
            if loads < needs.loads or stores < needs.stores:
                yield f"{text.name}: {name} has {loads} and {stores} wide, expected {needs}"


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("text", by_hand(), ids=lambda t: t.name)
def test_kernels(text: Text, arch: str) -> None:
    cubin = compile(text.text, arch)
    assert list(cubin) == list(text.needs)
    assert not list(complaints(cubin, [text]))


def test_every_exception_is_needed() -> None:
    names = [name for text in by_hand() for name in text.needs]
    for pattern in SCALAR:
        assert any(re.match(pattern, name) for name in names), pattern


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_generated_texts(
    arch: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """A fresh sample; with --full every formula and derivative, each in a dtype and layout."""
    count = None if request.config.getoption("--full") else SAMPLE
    texts = list(generated(rng, count))
    found = []
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        found += complaints(compile(joined(batch), arch, keep=False), batch)
    assert not found, "\n".join(found)


COPY = """
struct alignas(16) Four { float v[4]; };
extern "C" __global__ void one(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void four(const Four* x, Four* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void sum(const float* x, float* y) { y[0] = x[0] * x[1] + x[2]; }
template <class T> __global__ void twice(T* x) { x[threadIdx.x] *= 2; }
// export: twice_f64 = twice<double>
"""
SPILL = """
extern "C" __global__ void __launch_bounds__(1024, 2) many(const float* x, float* y) {
    float v[96];
    #pragma unroll
    for (int k = 0; k < 96; k++) v[k] = x[k * 1024 + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int k = 0; k < 96; k++) y[(95 - k) * 1024 + threadIdx.x] = v[k] * v[(k * 7) % 96];
}
"""


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_is_measured(arch: str) -> None:
    """Wide accesses, spills and contraction are seen where they are planted."""
    cubin = compile(COPY, arch)
    assert list(cubin) == ["one", "four", "sum", "twice_f64"]
    assert [cubin[n].count(LOAD) for n in ("one", "four")] == [0, 1]
    assert [cubin[n].count(STORE) for n in ("one", "four")] == [0, 1]
    assert cubin["sum"].count("FFMA") == 0
    assert cubin["sum"].count("FMUL") == cubin["sum"].count("FADD") == 1
    assert compile(COPY, arch, ["--std=c++17"])["sum"].count("FFMA") == 1
    assert cubin["twice_f64"].registers > 0
    spilled = Text("planted", SPILL, {"many": Needs(1, 0)})
    faults = list(complaints(compile(SPILL, arch), [spilled]))
    assert "spills" in faults[0]
    assert "expected Needs(loads=1" in faults[1]


def test_a_refused_text_shows_its_line() -> None:
    with pytest.raises(CompileError, match=r"kernel\.cu\(3\): error"):
        compile('\n\nextern "C" __global__ void f(float* x) { *x = y; }', "sm_90")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_parsed_headers_change_no_code(arch: str, tmp_path: Path) -> None:
    """With the headers of the 16-bit types kept parsed: the same registers and instructions."""
    if version() < PRECOMPILES:
        pytest.skip(f"NVRTC {version()} does not keep parsed headers")
    text = next(t.text for t in by_hand() if t.name.startswith("softmax_xent"))
    plain = compile(text, arch, keep=False)
    for _ in range(2):  # the first writes, the second reads
        kept = compile(text, arch, (*OPTIONS, "--pch", f"--pch-dir={tmp_path}"), keep=False)
        assert list(tmp_path.glob("*.pch"))
        for name in plain:
            assert kept[name].registers == plain[name].registers
            assert kept[name].sass == plain[name].sass
