"""What the GPU does at best: bytes read and written in some mix, and matrix products.

The rate of memory depends on how much is read and how much is written. So a case is held against
kernels that do nothing but add what they read and store the sum, over as many arrays, 16 bytes an
access, the quickest of several shapes of launch; for one array read and one written, the driver's
own copy runs too.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.gpu_bench import Bench, Part
from benchmarks.gpu_time import Side, ours

MIXES = ((1, 1), (2, 1), (1, 0), (0, 1), (3, 2), (4, 3))
BLOCKS, DEPTHS = (256, 512), (1, 2, 4)
HEAD = """// numbers read, added up and stored, 16 bytes an access
struct alignas(16) Four { float v[4]; };
"""


def text(mixes: Any = MIXES, depths: Any = DEPTHS) -> str:
    """A kernel for each mix and each number of accesses in flight."""
    return HEAD + "".join(_kernel(r, w, depth) for r, w in mixes for depth in depths)


def _kernel(reads: int, writes: int, depth: int) -> str:
    pointers = [f"const Four* a{k}" for k in range(reads)]
    pointers += [f"Four* o{k}" for k in range(max(writes, 1))]
    lines = [f'extern "C" __global__ void {name(reads, writes, depth)}(']
    lines += [f"    long long n, {', '.join(pointers)}) {{"]
    lines += [f"  const long long at = (long long)blockIdx.x * blockDim.x * {depth} + threadIdx.x;"]
    lines += [f"  Four x[{depth}][{max(reads, 1)}] = {{}};"] if reads else []
    for u in range(depth if reads else 0):
        lines.append(f"  if (at + {u} * blockDim.x < n) {{")
        lines += [f"    x[{u}][{k}] = a{k}[at + {u} * blockDim.x];" for k in range(reads)]
        lines.append("  }")
    for u in range(depth):
        lines += [f"  if (at + {u} * blockDim.x < n) {{", "    Four s;"]
        lines.append("    for (int k = 0; k < 4; ++k) {")
        sums = " + ".join(f"x[{u}][{k}].v[k]" for k in range(reads)) or "1.0f"
        lines.append(f"      s.v[k] = {sums};\n    }}")
        if writes:
            lines += [f"    o{k}[at + {u} * blockDim.x] = s;" for k in range(writes)]
        else:  # never true: what is read must not be left out
            lines.append("    if (s.v[0] + s.v[1] + s.v[2] + s.v[3] == 12345.678f) o0[0] = s;")
        lines.append("  }")
    return "\n".join([*lines, "}\n"])


def name(reads: int, writes: int, depth: int) -> str:
    return f"mix_{reads}_{writes}_{depth}"


def key(reads: int, writes: int) -> str:
    """How a mix is called."""
    return f"{reads}r{writes}w"


def memory(bench: Bench) -> None:
    """Bytes a second for each mix."""
    from tensorgrad.backend.cuda.module import load

    size = bench.size(64 * 2**20, 4 * 1031)  # float32 numbers of an array
    depths = DEPTHS[1:2] if bench.tiny else DEPTHS
    every = [name(r, w, depth) for r, w in MIXES for depth in depths]
    kernels = load(text(depths=depths), every)
    arrays = [bench.draw((size,), "float32", k) for k in range(7)]
    four = size // 4
    for reads, writes in MIXES:
        moved = 4 * size * (reads + writes)
        best: dict[str, Any] | None = None
        for depth in depths:
            for block in BLOCKS[:1] if bench.tiny else BLOCKS:
                run = _run(kernels[name(reads, writes, depth)], arrays, reads, four, block, depth)
                times = bench.time(Side(run, ours(), list))
                best = times if best is None or times["median"] < best["median"] else best
        if (reads, writes) == (1, 1):
            copied = bench.time(Side(_copy(arrays), ours(), list))
            best = copied if best is None or copied["median"] < best["median"] else best
        assert best is not None
        bench.facts[key(reads, writes)] = moved / best["median"]
        bench.emit(Part(f"{reads} read, {writes} written", moved, "B"), ours=best)
    _check(arrays, kernels, depths[0], four)


def _run(kernel: Any, arrays: Any, reads: int, four: int, block: int, depth: int) -> Any:
    # What is written is not what is read: three arrays for results, four to read from.
    inputs, outputs = arrays[:reads], arrays[4:]
    wanted = int(kernel.name.split("_")[2])
    pointers = [a.data.ptr for a in (*inputs, *outputs[: max(wanted, 1)])]
    grid = (-(-four // (block * depth)),)
    return lambda: kernel(grid, (block,), np.int64(four), *pointers)


def _copy(arrays: Any) -> Any:
    source, target = arrays[0], arrays[4]

    def run() -> None:
        target[...] = source

    return run


def _check(arrays: Any, kernels: Any, depth: int, four: int) -> None:
    """The kernels do what they are timed for: every number read is in the sum, at every place."""
    _run(kernels[name(4, 3, depth)], arrays, 4, four, 256, depth)()
    found = arrays[6].get()
    want = sum(a.get() for a in arrays[:4])
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-4)


def products(bench: Bench) -> None:
    """Flops a second of a large square product, by PyTorch where it is there, else by ours."""
    from benchmarks import gpu_peers as peers

    n = bench.size(8192, 24)
    flops = 2.0 * n**3
    for precision, dtype in (("float32", "float32"), ("TF32", "float32"), ("bf16", "bfloat16")):
        x, y = bench.draw((n, n), dtype, 0), bench.draw((n, n), dtype, 1)
        part = Part(f"{precision} product {n}x{n}x{n}", flops, "flop")
        side = peers.torch_product(bench, x, y, tf32=precision == "TF32")
        if side is None:
            side = _ours_product(x, y, precision)
        if side is None:
            bench.note(part, "no library here multiplies in TF32")
            continue
        times = bench.time(side)
        bench.facts[f"gemm {precision}"] = flops / times["median"]
        bench.emit(part, ours=times)


def _ours_product(x: Any, y: Any, precision: str) -> Side | None:
    if precision == "TF32":
        return None
    import tensorgrad as tg

    a, b = tg.Tensor(x), tg.Tensor(y)
    return Side(lambda: a @ b, ours(), list)
