"""Planted faults are caught, so that a clean run of the kernels means something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from host import SCHEDULES, KernelError, build
from host.sanitizers import Case, Shifted, environment, fixed_addresses, run

HERE = Path(__file__).parent
i32, f32 = np.int32, np.float32

SUM = """
extern "C" __global__ void sum(const float* x, float* y, int n) {
    CUDA_DYN_SHARED(float, row);
    __shared__ float part[8];
    for (int i = threadIdx.x; i < n; i += 256) row[i] = x[i];
    __syncthreads();  // A: the row is there
    float a = 0;
    for (int i = threadIdx.x; i < n; i += 256) a += row[n - 1 - i];
    for (int o = 16; o > 0; o >>= 1) a += __shfl_xor_sync(0xffffffffu, a, o);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = a;
    __syncthreads();  // B: the sums of the warps are there
    a = part[threadIdx.x % 8];
    for (int o = 4; o > 0; o >>= 1) a += __shfl_xor_sync(0xffffffffu, a, o);
    if (threadIdx.x == 0) y[blockIdx.x] = a;
}
"""
WARP = """
extern "C" __global__ void neighbours(float* y) {
    __shared__ float row[32];
    row[threadIdx.x] = threadIdx.x;
    __syncwarp();
    y[threadIdx.x] = row[31 - threadIdx.x] + __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}
"""
COPY = """
struct alignas(16) Four { float v[4]; };
extern "C" __global__ void copy(const float* x, float* y, int n) {
    const int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) *reinterpret_cast<Four*>(y + i) = *reinterpret_cast<const Four*>(x + i);
}
"""
TOTAL = """
extern "C" __global__ void total(const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[0] += x[i];
}
extern "C" __global__ void counted(const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(y, x[i]);
}
"""
SHIFT = """
extern "C" __global__ void shift(int* y, int by) { y[threadIdx.x] = 1 << (by + threadIdx.x); }
"""
SYNC_A = "__syncthreads();  // A"
SYNC_B = "__syncthreads();  // B"


def case(name: str, text: str = SUM, n: int = 1000) -> Case:
    x, y = np.ones(1000, f32), np.zeros(3, f32)
    return Case(name, text, "sum", (3,), (256,), (x, y, i32(n)), shared=4000)


def simple(name: str, text: str, kernel: str, threads: int, *args: object) -> Case:
    return Case(name, text, kernel, (1,), (threads,), args)


def copied(offset: int, n: int = 1000) -> Case:
    x, y = np.ones(1000, f32), np.zeros(1000, f32)
    args = (Shifted(x, offset), y, i32(n))
    return Case(f"copy at {offset}, {n}", COPY, "copy", (1,), (256,), args)


def test_thread_sanitizer() -> None:
    """Races are found even where the order of the threads happens to give the right result."""
    x, y = np.ones(64, f32), np.zeros(32, f32)
    blocks = Case("blocks", TOTAL, "total", (2,), (32,), (x, y, i32(64)), unordered_blocks=True)
    atomic = Case("atomic", TOTAL, "counted", (2,), (32,), (x, y, i32(64)), unordered_blocks=True)
    bad = [
        case("no barrier A", SUM.replace(SYNC_A, "// A")),
        case("no barrier B", SUM.replace(SYNC_B, "// B")),
        simple("no syncwarp", WARP.replace("__syncwarp();", ""), "neighbours", 32, y),
        blocks,
    ]
    good = [case("sum"), simple("syncwarp", WARP, "neighbours", 32, y), atomic, case("again")]
    reports = run([*good[:2], *bad, *good[2:]], "thread")
    for b in bad:
        assert "ThreadSanitizer: data race" in reports[b.name], b.name
    assert "kernel.cu:8" in reports["no barrier A"]
    assert "kernel.cu:12" in reports["no barrier B"]
    for g in good:
        assert reports[g.name] == ""


def test_address_and_undefined_behaviour_sanitizers() -> None:
    over = Case("shared", SUM, "sum", (1,), (256,), case("").args, shared=3996)
    part = case("part", SUM.replace("threadIdx.x % 8]", "threadIdx.x % 9]"))
    reports = run(
        [
            case("sum"),
            case("one too many", n=1001),
            copied(4),
            copied(0),
            copied(16, 1001),
            over,
            part,
            simple("shift", SHIFT, "shift", 32, np.zeros(32, i32), i32(4)),
            case("divergent", SUM.replace(SYNC_A, "if (threadIdx.x < 100) " + SYNC_A)),
            case("again"),
        ],
        "address",
    )
    assert "heap-buffer-overflow" in reports["one too many"]
    assert "kernel.cu:5" in reports["one too many"]
    assert "misaligned address" in reports["copy at 4, 1000"]
    assert "heap-buffer-overflow" in reports["copy at 16, 1001"]
    assert "use-after-poison" in reports["shared"]
    assert "global-buffer-overflow" in reports["part"] or "out of bounds" in reports["part"]
    assert "shift exponent" in reports["shift"]
    assert "divergent barrier" in reports["divergent"]
    assert reports["sum"] == reports["again"] == reports["copy at 0, 1000"] == ""


DIVERGENT = {
    "in a branch": (
        "if (threadIdx.x < 100) __syncthreads();",
        r"100 threads \(first: 0\) wait at __syncthreads in kernel.cu:6, 28 .* a shuffle in .*:9",
    ),
    "at two places": (
        "if (threadIdx.x < 40) __syncthreads();\nelse __syncthreads();",
        r"40 threads \(first: 0\) .* kernel.cu:6, 216 threads \(first: 40\) .* kernel.cu:7",
    ),
    "with a shuffle": (
        "if (threadIdx.x % 32) __syncwarp(); else __syncthreads();",
        r"8 threads \(first: 0\) wait at __syncthreads .*, 248 threads .* wait at __syncwarp",
    ),
    "after a return": (
        "if (threadIdx.x >= 32) return; __syncthreads();",
        r"32 threads .* wait at __syncthreads in kernel.cu:6, 224 have exited",
    ),
    "left out of the mask": ("__syncwarp(0xfffffffeu);", "mask leaves it out"),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", DIVERGENT)
def test_divergent_barriers(kind: str, schedule: str) -> None:
    """A plain run finds them under every schedule, and names the places."""
    planted, message = DIVERGENT[kind]
    function = build(SUM.replace(SYNC_A + ": the row is there", planted)).get_function("sum")
    with pytest.raises(KernelError, match=message):
        function((3,), (256,), case("").args, 4000, schedule=schedule)


def test_a_misaligned_vector_does_not_end_the_process() -> None:
    x = np.zeros(1001, f32)
    odd = x[1:] if x.ctypes.data % 16 == 0 else x[:1000]
    with pytest.raises(KernelError, match=r"thread \(\d+,0,0\): SIGSEGV .* a misaligned access"):
        build(COPY).get_function("copy")((1,), (250,), (odd, np.empty(1000, f32), i32(1000)))


def test_what_a_race_gives_depends_on_the_schedule() -> None:
    function = build(SUM.replace(SYNC_A, "// A")).get_function("sum")
    x, y = np.arange(1000, dtype=f32), np.zeros(1, f32)
    found = set()
    for schedule in SCHEDULES:
        function((1,), (256,), (x, y, i32(1000)), 4000, schedule=schedule)
        found.add(y.tobytes())
    assert len(found) > 1 or np.isnan(y[0])


WHOLE = sorted(p.name for p in HERE.glob("test_*_text.py")) + sorted(
    p.name for p in HERE.glob("test_kernels_*.py")
)
PARTS = ("test_conv.py", "test_pool.py")
"""Files of which the tests of the kernels alone are run."""


def whole(file: Path, sanitize: str, *more: str) -> subprocess.CompletedProcess[str]:
    """A test file run in a process whose modules are instrumented."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-s", "-p", "no:cacheprovider"]
    return subprocess.run(
        fixed_addresses([*command, *more, str(file)]),
        env=environment(sanitize) | {"PYTHONPATH": str(HERE)},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


WHOLE_TEXT = f"""
import numpy as np
from host import build

def test_sum():
    x, y = np.ones(1000, np.float32), np.zeros(1, np.float32)
    f = build({SUM!r}).get_function("sum")
    f((1,), (256,), (x, y, np.int32(1000)), 4000)
"""


@pytest.mark.parametrize(
    ("sanitize", "planted", "report"),
    [
        ("thread", (SYNC_A, "// A"), "data race"),
        ("address", ("i < n;", "i <= n;"), "heap-buffer-overflow"),
    ],
)
def test_whole_files_are_instrumented(
    sanitize: str, planted: tuple[str, str], report: str, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """A fault that a plain run may let pass ends the run of a file, and nothing else does."""
    file = tmp_path / "test_planted.py"
    if request.config.getoption("--full"):
        file.write_text(WHOLE_TEXT)
        done = whole(file, sanitize)
        assert done.returncode == 0, done.stdout + done.stderr
    file.write_text(WHOLE_TEXT.replace(*planted))
    done = whole(file, sanitize)
    assert done.returncode == 66
    assert report in done.stderr


@pytest.mark.parametrize("sanitize", ["address", "thread"])
@pytest.mark.parametrize("file", [*WHOLE, *PARTS])
def test_kernels_under_sanitizers(
    file: str, sanitize: str, seed: int, request: pytest.FixtureRequest
) -> None:
    """The kernels' own tests."""
    if not request.config.getoption("--full"):
        pytest.skip("the kernels' tests under sanitizers: pytest --full")
    part = ("-k", "test_kernels") if file in PARTS else ()
    done = whole(HERE / file, sanitize, f"--seed={seed}", *part)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[:6000]}"
