"""Questions that a GPU answers: what a launch costs, whether a captured product is the eager one,
whether an epilogue is worth it, and cuDNN beside PyTorch's use of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import gpu_peers as peers
from benchmarks.gpu_bench import Bench, Part, on_host, told
from benchmarks.gpu_cases import BEST, TOLERANCE, linear
from benchmarks.gpu_time import Side, error, ours, ours_on_the_host

Array = Any
NODES = (10, 210)
"""Nodes of the graphs whose difference tells what one costs."""

SHAPES = ((64, 784, 128), (4096, 1024, 4096), (32768, 768, 3072), (512, 3072, 12288))
"""(rows, in, out) of the layers whose epilogues are timed."""

EMPTY = """// does nothing, on one number
extern "C" __global__ void touch(float* x) { x[threadIdx.x] += 1.0f; }
"""


# -- what a launch costs -------------------------------------------------------------------------


def launching(bench: Bench) -> None:
    """One launch from the host, one operation, one recorded and differentiated."""
    import cupy

    import tensorgrad as tg
    from tensorgrad.backend.cuda.module import load

    kernel, word = load(EMPTY, ("touch",))["touch"], cupy.zeros(32, np.float32)
    x = tg.Tensor(bench.draw((64,), "float32", 0))
    y: Any = tg.Tensor(bench.draw((64,), "float32", 1), requires_grad=True)
    a, seed = x.data, tg.Tensor(bench.draw((64,), "float32", 2))

    def there_and_back() -> Any:
        y.grad = None
        (x * y).backward(seed)
        return y

    runs: dict[str, Callable[[], Any]] = {
        "one launch of a kernel": lambda: kernel((1,), (32,), word.data.ptr),
        "x * x on 64 numbers, CuPy": lambda: a * a,
        "x * x on 64 numbers": lambda: x * x,
        "x * y recorded, forward and backward": there_and_back,
    }
    for name, run in runs.items():
        times = bench.time(Side(run, ours_on_the_host(), list))
        bench.emit(Part(name), ours=times)
        bench.facts[f"seconds of {name}"] = times["median"]
    t = peers.torch()
    if t is not None:
        z = peers.to_torch(a)
        times = bench.time(Side(lambda: z * z, peers.torch_on_the_host(), list))
        bench.emit(Part("x * x on 64 numbers, PyTorch"), ours=times)


def replaying(bench: Bench) -> None:
    """Graphs of few and of many small kernels: what a replay costs, and each node more."""
    import cupy

    from tensorgrad.backend.cuda import graph
    from tensorgrad.backend.cuda.module import load

    kernel, word = load(EMPTY, ("touch",))["touch"], cupy.zeros(32, np.float32)
    seconds = []
    for nodes in NODES:

        def step(nodes: int = nodes) -> None:
            for _ in range(nodes):
                kernel((1,), (32,), word.data.ptr)

        captured = graph.capture(step)
        times = bench.time(Side(captured, ours_on_the_host(), list))
        bench.emit(Part(f"replay of {nodes} nodes"), ours=times)
        seconds.append(times["median"])
        captured.close()
    node = (seconds[1] - seconds[0]) / (NODES[1] - NODES[0])
    bench.facts["seconds of a replayed node"] = node
    bench.facts["seconds of a replay itself"] = seconds[0] - NODES[0] * node
    text = f"{node * 1e6:.3f} us a node, {(seconds[0] - NODES[0] * node) * 1e6:.2f} us the rest"
    bench.note(Part("replay, from the two"), text)


# -- captured products ---------------------------------------------------------------------------


def capture_safe(bench: Bench) -> None:
    """A linear layer's products through cuBLASLt, eager and replayed: the same bits?"""
    import tensorgrad as tg

    for dtype in ("float32", "bfloat16"):
        m, k, n = bench.size(512, 16), bench.size(768, 24), bench.size(1024, 32)
        weight, bias = bench.draw((n, k), dtype, 0, k**-0.5), bench.draw((n,), dtype, 1)
        layer, ct = linear(weight, bias), bench.draw((m, n), dtype, 2)
        wanted = [layer.weight, layer.bias]

        def step(x: Any, ct: Any, layer: Any = layer, wanted: Any = wanted) -> Any:
            for p in wanted:
                p.grad = None
            y = layer(x)
            y.backward(ct)
            return y, *[p.grad for p in wanted]

        first, second = (tg.Tensor(bench.draw((m, k), dtype, seed)) for seed in (3, 4))
        part = Part(f"captured products, {dtype}")
        try:
            replay = tg.cuda.capture(step, (first, tg.Tensor(ct)))
            same = True
            for x in (first, second, first):
                eager = [_bits(t) for t in step(x, tg.Tensor(ct))]
                found = [_bits(t) for t in replay(x, tg.Tensor(ct))]
                same &= all(np.array_equal(a, b) for a, b in zip(eager, found, strict=True))
            replay.close()
        except Exception as failure:
            bench.emit(part, error=told(failure), note="cuBLASLt is not captured")
            continue
        bench.facts[f"captured products are the eager ones, {dtype}"] = float(same)
        text = "the same bits as eager ones" if same else "other bits than eager ones"
        bench.note(part, f"captured and replayed: {text}", wrong=not same)


def _bits(t: Any) -> Array:
    data = t.detach().data
    return data.view(f"u{data.itemsize}").get()


# -- epilogues -----------------------------------------------------------------------------------


def epilogues(bench: Bench) -> None:
    """A linear layer and its activation as one step, and as a product and kernels after it."""
    import tensorgrad as tg

    acts = {
        "bias": tg.nn.Identity(),
        "bias + GELU": tg.nn.GELU(approximate="tanh"),
        "bias + ReLU": tg.nn.ReLU(),
    }
    for shape in SHAPES[:1] if bench.tiny else SHAPES:
        m, k, n = (bench.size(s, 16) for s in shape)
        for dtype in ("bfloat16", "float32"):
            x = tg.Tensor(bench.draw((m, k), dtype, 0))
            weight = bench.draw((n, k), dtype, 1, k**-0.5)
            layer = linear(weight, bench.draw((n,), dtype, 2))
            for name, act in acts.items():
                one, apart = _ways(x, layer, act)
                part = Part(f"{name}, {m}x{k} -> {n}, {dtype}", 2.0 * m * k * n, "flop")
                _versus(bench, part._replace(tolerance=TOLERANCE["bfloat16"]), one, apart)


def _ways(x: Any, layer: Any, act: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The layer and its activation as the library joins them, and step by step."""
    import tensorgrad as tg

    both, weight, bias = tg.nn.Sequential(layer, act), layer.weight, layer.bias
    return lambda: both(x), lambda: act(x @ weight.T + bias)


def _versus(bench: Bench, part: Part, one: Callable[[], Any], apart: Callable[[], Any]) -> None:
    """Both ways of a layer without the tape, one of them in the peers' place."""
    import tensorgrad as tg

    def side(f: Callable[[], Any]) -> Side:
        def run() -> Any:
            with tg.no_grad():
                return f()

        return Side(run, ours(), lambda: [run().data])

    bench.contest(part, lambda: side(one), {"unfused": lambda: side(apart)})


# -- cuDNN ---------------------------------------------------------------------------------------


def _dnn() -> tuple[Any, str]:
    """The module that calls cuDNN, or why there is none."""
    try:
        found = importlib.import_module("tensorgrad.backend.cuda.dnn")
        return (found, "") if found.available() else (None, "cuDNN's frontend is not installed")
    except ImportError:
        return None, "not there yet: tensorgrad.backend.cuda.dnn"


def attention(bench: Bench) -> None:
    """Causal attention, 16 heads of 64 over 2048 positions, batch 8, bfloat16."""
    import cupy

    b, h, s, d = 8, 16, 2048, 64
    part = Part("cuDNN attention, forward", 2.0 * b * h * s * s * d, "flop", best=BEST)
    part = part._replace(tolerance=TOLERANCE["bfloat16"])
    dnn, reason = _dnn()
    if dnn is None or bench.stand_in:
        bench.note(part, reason or "not run on the stand-in")
        return
    q, k, v = (bench.draw((b, h, s, d), "bfloat16", seed) for seed in range(3))
    options = {"scale": d**-0.5, "causal": True}
    if not dnn.supports("sdpa", q, k, v, **options):
        bench.note(part, "cuDNN has no attention of this kind here")
        return

    def mine() -> Side:
        def run() -> Any:
            return dnn.sdpa(q, k, v, **options)

        return Side(run, ours(), lambda: [cupy.ascontiguousarray(run()[0])])

    def with_torch() -> Side | None:
        t = peers.torch()
        if t is None:
            return None
        f = t.nn.functional.scaled_dot_product_attention
        given = [peers.to_torch(a) for a in (q, k, v)]

        def run() -> Any:
            return f(*given, is_causal=True)

        return Side(run, peers.torch_clock(), lambda: [run().contiguous()])

    bench.contest(part, mine, {"torch": with_torch})


def convolution(bench: Bench) -> None:
    """3x3 over 64 images of 128 channels, 56x56, bfloat16."""
    import cupy

    n, c, size = 64, 128, 56
    work = 2.0 * n * c * c * 9 * size * size
    part = Part("cuDNN convolution, forward", work, "flop", best=BEST)
    part = part._replace(tolerance=TOLERANCE["bfloat16"])
    dnn, reason = _dnn()
    if dnn is None or bench.stand_in:
        bench.note(part, reason or "not run on the stand-in")
        return
    x = bench.draw((n, c, size, size), "bfloat16", 0)
    w = bench.draw((c, c, 3, 3), "bfloat16", 1, 0.03)
    options = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    if not dnn.supports("conv", x, w, **options):
        bench.note(part, "cuDNN has no convolution of this kind here")
        return

    def mine() -> Side:
        def run() -> Any:
            return dnn.conv(x, w, **options)

        return Side(run, ours(), lambda: [cupy.ascontiguousarray(run())])

    def with_torch() -> Side | None:
        t = peers.torch()
        if t is None:
            return None
        a, b = peers.to_torch(x), peers.to_torch(w)

        def run() -> Any:
            return t.nn.functional.conv2d(a, b, padding=1)

        return Side(run, peers.torch_clock(), lambda: [run().contiguous()])

    bench.contest(part, mine, {"torch": with_torch})


def reproducible(bench: Bench) -> None:
    """The same step from the same start, twice: the same bits?"""
    from benchmarks.gpu_mlp import our_step

    found = []
    for _ in range(2):
        step, batch = our_step(bench)
        losses = [step(*batch).detach().data.reshape(1) for _ in range(bench.size(50, 3))]
        found.append(on_host(losses))
    same = error(*found) == 0.0
    bench.facts["MLP losses repeat bit for bit"] = float(same)
    part = Part("MLP training, twice from one start")
    bench.note(part, "the same losses" if same else "other losses", wrong=not same)


CASES = {
    "launching": launching,
    "replaying": replaying,
    "captured products": capture_safe,
    "epilogues": epilogues,
    "attention": attention,
    "convolution": convolution,
    "reproducible": reproducible,
}
