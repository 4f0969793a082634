"""The cases of the contest on a GPU: what each does with ours, what it moves, and what is wanted.

A forward reads x and writes y, its backward reads x and the cotangent and writes the gradient: they
are two lines. Goals: 85 % of the measured rate for the same mix of reads and writes and at most 3 %
slower than the best peer; products within 3 % of the best. A section's share of the time is its
weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from benchmarks import gpu_peers as peers
from benchmarks import gpu_rates as rates
from benchmarks.gpu_bench import Bench, Maker, Part
from benchmarks.gpu_time import Side, ours

Array = Any
SHARE, BEST, SMALL = 0.85, 0.97, 2**26
"""Wanted of the measured rate, wanted of the best peer, bytes that caches may hold."""

TOLERANCE = {"float32": 2e-5, "bfloat16": 2e-2, "TF32": 3e-3}
EPS = 1e-5


class Case(NamedTuple):
    """One case: its section, its name, and what runs it."""

    section: str
    name: str
    run: Callable[[Bench], None]


# -- ours ----------------------------------------------------------------------------------------


def pair(f: Callable[..., Any], arrays: Sequence[Array], ct: Array, extra: Any = ()) -> Maker:
    """Forward, recorded, and backward by itself; `extra` are parameters of f beside its arrays."""

    def make() -> list[Side]:
        import tensorgrad as tg

        xs: list[Any] = [tg.Tensor(a, requires_grad=True) for a in arrays]
        wanted, seed = [*xs, *extra], tg.Tensor(ct)
        y = f(*xs)

        def forward() -> Any:
            return f(*xs)

        def backward() -> Any:
            for x in wanted:
                x.grad = None
            y.backward(seed, retain_graph=True)
            return wanted

        return [
            Side(forward, ours(), lambda: [forward().detach().data]),
            Side(backward, ours(), lambda: [x.grad.data for x in backward()]),
        ]

    return make


def _parts(
    name: str, size: int, itemsize: int, dtype: str, mixes: Sequence[tuple[int, int]]
) -> list[Part]:
    """Forward and backward of a memory-bound case over arrays of `size` numbers."""
    small = size * itemsize < SMALL
    return [
        Part(
            f"{name}, {way}",
            size * itemsize * (reads + writes),
            "B",
            "" if small else rates.key(reads, writes),
            None if small else SHARE,
            BEST,
            None,
            TOLERANCE[dtype],
        )
        for way, (reads, writes) in zip(("forward", "backward"), mixes)
    ]


# -- elementwise ---------------------------------------------------------------------------------


def _pointwise(bench: Bench, name: str, dtype: str) -> None:
    import tensorgrad as tg
    from benchmarks.test_elementwise import chain

    functional = tg.nn.functional
    mine: dict[str, Any] = {
        "relu": functional.relu,
        "SiLU": functional.silu,
        "GELU, tanh": lambda x: functional.gelu(x, "tanh"),
        "GELU, erf": functional.gelu,
        "chain of 17": tg.fuse(chain(np)),
    }
    inputs = 2 if name == "chain of 17" else 1
    itemsize = 4 if dtype == "float32" else 2
    size = bench.size(256 * 2**20 // itemsize, 4099)
    arrays = [bench.draw((size,), dtype, k) for k in range(inputs)]
    ct = bench.draw((size,), dtype, 7)
    mixes = [(inputs, 1), (inputs + 1, inputs)]
    parts = _parts(f"{name}, {_short(dtype)}", size, itemsize, dtype, mixes)
    others = peers.peers_of(bench, peers.pointwise(name), arrays, ct)
    bench.contest(parts, pair(mine[name], arrays, ct), others)


def _short(dtype: str) -> str:
    return {"float32": "f32", "bfloat16": "bf16"}.get(dtype, dtype)


# -- norms ---------------------------------------------------------------------------------------


def _norm(bench: Bench, kind: str, dtype: str, rows: int, columns: int, tuned: bool) -> None:
    import tensorgrad as tg

    rows, columns = bench.size(rows, 6), bench.size(columns, columns // 32)
    x, ct = (bench.draw((rows, columns), dtype, k) for k in (0, 7))
    affine = [bench.draw((columns,), dtype, 3), bench.draw((columns,), dtype, 4)]
    if kind == "layer":
        arrays, functions = [x, *affine], peers.layer_norm(EPS)

        def mine(x: Any, weight: Any, bias: Any) -> Any:
            return tg.layer_norm(x, x.shape[1:], weight, bias, EPS)
    else:
        arrays, functions = [x, affine[0]], peers.rms_norm(EPS)

        def mine(x: Any, weight: Any) -> Any:  # type: ignore[misc]
            return tg.rms_norm(x, x.shape[1:], weight, EPS)

    name = f"{kind} norm {rows}x{columns}, {_short(dtype)}"
    parts = _parts(name, x.size, x.itemsize, dtype, [(1, 1), (2, 1)])
    others = peers.peers_of(bench, functions, arrays, ct, tuned=tuned)
    bench.contest(parts, pair(mine, arrays, ct), others)


# -- losses --------------------------------------------------------------------------------------


def _entropy(bench: Bench, rows: int, classes: int, dtype: str) -> None:
    """Loss and gradient of the logits; at best the logits are read once, their gradient written."""
    import tensorgrad as tg

    rows, classes = bench.size(_fitting(bench, rows, classes), 16), bench.size(classes, 1003)
    x, labels = bench.draw((rows, classes), dtype, 0), bench.labels(rows, classes)

    def mine() -> Side:
        logits: Any = tg.Tensor(x, requires_grad=True)
        target = tg.Tensor(labels)

        def run() -> Any:
            logits.grad = None
            loss = tg.cross_entropy(logits, target)
            loss.backward()
            return loss

        def values() -> list[Array]:
            return [run().detach().data, logits.grad.data]

        return Side(run, ours(), values)

    name = f"softmax cross-entropy {rows}x{classes}, {_short(dtype)}, f + b"
    part = _parts("", x.size, x.itemsize, dtype, [(1, 1)])[0]._replace(name=name)
    bench.contest(part, mine, peers.entropies(bench, x, labels))


def _fitting(bench: Bench, rows: int, classes: int) -> int:
    """Rows for which a peer that keeps float32 copies of everything still has room."""
    import tensorgrad as tg

    memory = tg.cuda.get_device_properties().memory
    return max(1, min(rows, int(0.5 * memory / (20 * classes))))


# -- optimizers ----------------------------------------------------------------------------------


def gpt2(tiny: bool) -> list[tuple[int, ...]]:
    """The shapes of GPT-2's 124M parameters, or of very few."""
    width, layers, words, length = (16, 2, 50, 8) if tiny else (768, 12, 50257, 1024)
    block = [(3 * width, width), (3 * width,), (width, width), (width,), (4 * width, width)]
    block += [(4 * width,), (width, 4 * width), *[(width,)] * 5]
    return [(words, width), (length, width), *block * layers, (width,), (width,)]


def _adamw(bench: Bench) -> None:
    import tensorgrad as tg

    shapes = gpt2(bench.tiny)
    values = [bench.draw(s, "float32", k, 0.02) for k, s in enumerate(shapes)]
    grads = [bench.draw(s, "float32", 1000 + k, 0.01) for k, s in enumerate(shapes)]
    count = sum(math.prod(s) for s in shapes)

    def mine() -> Side:
        params = [tg.nn.Parameter(tg.Tensor(v.copy())) for v in values]
        optimizer = tg.optim.AdamW(params, lr=1e-3, weight_decay=0.01)
        for p, g in zip(params, grads):
            p.grad = tg.Tensor(g)
        optimizer.step()  # which takes the gradients into its bucket
        for p in params:
            leaf: Any = p.node
            p.grad = tg.Tensor(leaf.into)  # as backward leaves them
        return Side(optimizer.step, ours(), lambda: [p.detach().data for p in params[:8]])

    name = f"AdamW, {count / 1e6:.1f}M parameters, {len(shapes)} tensors"
    tolerance = TOLERANCE["float32"]
    part = Part(name, 28.0 * count, "B", rates.key(4, 3), SHARE, BEST, None, tolerance)
    bench.contest(part, mine, peers.adamw(bench, values, grads))


# -- products ------------------------------------------------------------------------------------

PRODUCTS = ((8192, 8192, 8192), (4096, 4096, 4096), (32768, 768, 3072), (512, 3072, 12288))
"""(rows, inner, columns)"""


def precise(precision: str) -> str | None:
    """Set float32 products to TF32 or to full precision; why that cannot be done, or None."""
    import tensorgrad as tg

    choose = getattr(tg, "set_float32_matmul_precision", None)
    if choose is None:
        return "not there yet: tg.set_float32_matmul_precision" if precision == "TF32" else None
    choose("high" if precision == "TF32" else "highest")
    return None


def _product(bench: Bench, shape: tuple[int, int, int], precision: str) -> None:
    import tensorgrad as tg

    m, k, n = (bench.size(s, 8 + s // 1024) for s in shape)
    dtype = "bfloat16" if precision == "bfloat16" else "float32"
    label = {"float32": "f32"}.get(precision, _short(precision))
    name = f"matmul {m}x{k} @ {k}x{n}, {label}"
    wide = {"bfloat16": "bf16"}.get(precision, precision)
    tolerance = TOLERANCE[precision]
    part = Part(name, 2.0 * m * k * n, "flop", f"gemm {wide}", None, BEST, None, tolerance)
    reason = precise(precision)
    if reason is not None:
        bench.note(part, reason)
        return
    x, y = bench.draw((m, k), dtype, 0), bench.draw((k, n), dtype, 1)
    tf32 = precision == "TF32"

    def mine() -> Side:
        a, b = tg.Tensor(x), tg.Tensor(y)
        return Side(lambda: a @ b, ours(), lambda: [(a @ b).data])

    others = {
        "torch": peers.torch_matmul(x, y, tf32),
        "jax": peers.jax_matmul(bench, x, y, tf32),
    }
    try:
        bench.contest(part, mine, others)
        _tuned(bench, [part], mine, others)
    finally:
        precise("float32")


def _tuned(bench: Bench, parts: Sequence[Part], mine: Maker, others: Mapping[str, Maker]) -> None:
    """The same once more with the library's algorithms timed: a product keeps what was best."""
    from tensorgrad.backend.cuda.tuner import tune

    def make() -> Sequence[Side] | Side | None:
        made = mine()
        with tune():
            for side in [made] if isinstance(made, Side) else made or ():
                side.run()
        return made

    named = [part._replace(name=f"{part.name}, tuned") for part in parts]
    bench.contest(named, make, {k: v for k, v in others.items() if k != "max-autotune"})


def _linear_gelu(bench: Bench, shape: tuple[int, int, int], dtype: str, tuned: bool) -> None:
    """GELU by tanh of a linear layer: forward, and the three gradients."""
    import tensorgrad as tg

    m, k, n = (bench.size(s, 16 + s // 1024 // 8 * 8) for s in shape)
    x, ct = bench.draw((m, k), dtype, 0), bench.draw((m, n), dtype, 7)
    weight, bias = bench.draw((n, k), dtype, 1, k**-0.5), bench.draw((n,), dtype, 2)
    peak = f"gemm {'float32' if dtype == 'float32' else 'bf16'}"
    name = f"linear + GELU {m}x{k} -> {n}, {_short(dtype)}"
    parts = [
        Part(f"{name}, {way}", work, "flop", peak, None, BEST, None, TOLERANCE[dtype])
        for way, work in (("forward", 2.0 * m * k * n), ("backward", 4.0 * m * k * n))
    ]

    def mine() -> Sequence[Side] | Side | None:
        layer, act = linear(weight, bias), tg.nn.GELU(approximate="tanh")
        extra = [layer.weight, layer.bias]
        return pair(tg.nn.Sequential(layer, act), [x], ct, extra)()

    arrays = [x, weight, bias]
    others = peers.peers_of(bench, peers.linear_gelu(), arrays, ct, tuned=tuned)
    bench.contest(parts, mine, others)
    _tuned(bench, parts, mine, others)


def linear(weight: Array, bias: Array) -> Any:
    """A linear layer on the GPU with these parameters."""
    import tensorgrad as tg

    with tg.device("cuda"):
        layer = tg.nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = tg.nn.Parameter(tg.Tensor(weight))
    layer.bias = tg.nn.Parameter(tg.Tensor(bias))
    return layer


# -- all of them ---------------------------------------------------------------------------------


def cases() -> list[Case]:
    """Every case, in the order in which they run."""
    from benchmarks import gpu_mlp as mlp
    from benchmarks import gpu_questions as questions

    found = [Case("rates", "memory", rates.memory), Case("rates", "products", rates.products)]
    found += [Case("MLP", name, run) for name, run in mlp.CASES.items()]
    found += [Case("questions", name, run) for name, run in questions.CASES.items()]
    for rows, classes, dtype in ((32768, 50304, "bfloat16"), (4096, 128256, "float32")):
        run = partial(_entropy, rows=rows, classes=classes, dtype=dtype)
        found.append(Case("losses", f"cross-entropy {rows}x{classes}", run))
    found.append(Case("optimizers", "AdamW", _adamw))
    for name in ("GELU, tanh", "relu", "chain of 17", "SiLU", "GELU, erf"):
        for dtype in ("bfloat16", "float32"):
            run = partial(_pointwise, name=name, dtype=dtype)
            found.append(Case("elementwise", f"{name} {dtype}", run))
    for kind, dtype, rows, columns in NORMS:
        tuned = (kind, dtype, columns) == ("layer", "float32", 4096)
        run = partial(_norm, kind=kind, dtype=dtype, rows=rows, columns=columns, tuned=tuned)
        found.append(Case("norms", f"{kind} {dtype} {rows}x{columns}", run))
    for precision in ("bfloat16", "float32", "TF32"):
        for shape in PRODUCTS:
            run = partial(_product, shape=shape, precision=precision)
            found.append(Case("products", f"matmul {_by(shape)} {precision}", run))
    for shape, dtype, tuned in LINEARS:
        run = partial(_linear_gelu, shape=shape, dtype=dtype, tuned=tuned)
        found.append(Case("products", f"linear + GELU {_by(shape)} {dtype}", run))
    return found


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


NORMS = (
    ("layer", "bfloat16", 32768, 768),
    ("layer", "float32", 32768, 4096),
    ("RMS", "bfloat16", 32768, 4096),
    ("layer", "float32", 4096, 16384),
    ("RMS", "float32", 4096, 16384),
    ("layer", "float32", 4096, 768),
)
LINEARS = (
    ((32768, 768, 3072), "bfloat16", False),
    ((4096, 4096, 4096), "float32", False),
    ((4096, 4096, 16384), "bfloat16", True),  # last: its tuning takes longest of all
)
WEIGHTS = {
    "rates": 25, "MLP": 45, "questions": 40, "losses": 35, "optimizers": 35, "elementwise": 85,
    "norms": 75, "products": 85,
}  # fmt: skip
"""A section's share of the time, in seconds of a full run; what one leaves goes to the next."""
