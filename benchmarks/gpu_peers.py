"""PyTorch and JAX at each case: eager, compiled, jitted; None where the library is not there.

Arrays come as CuPy's and are shared with the peers, not copied, where that works. A pair is the
forward, recorded for backward where the library records, and the backward from a cotangent, by
itself. Without a GPU (on the stand-in) the peers run on the CPU: for their values, not their speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.gpu_bench import Bench, Maker
from benchmarks.gpu_time import Clock, Side, wall
from benchmarks.race import importable

Array = Any
Function = Callable[..., Any]
PRECISIONS = {False: ("highest", "float32"), True: ("high", "tensorfloat32")}
"""Without and with TF32: what PyTorch and what JAX call it."""


# -- PyTorch -------------------------------------------------------------------------------------


def torch() -> Any:
    """PyTorch, None where it is not installed."""
    if not importable("torch"):
        return None
    import torch as found

    return found


def torch_clock() -> Clock:
    t: Any = torch()
    if not t.cuda.is_available():
        return wall(lambda _: None)

    def clock(run: Callable[[], Any], calls: int) -> tuple[float, float]:
        import time

        first, last = (t.cuda.Event(enable_timing=True) for _ in range(2))
        t.cuda.synchronize()
        first.record()
        start = time.perf_counter()
        for _ in range(calls):
            kept = run()
        asked = time.perf_counter() - start
        last.record()
        last.synchronize()
        del kept
        return first.elapsed_time(last) / 1000, asked

    return clock


def torch_on_the_host() -> Clock:
    t: Any = torch()
    return wall(lambda _: t.cuda.synchronize() if t.cuda.is_available() else None)


def to_torch(a: Array) -> Any:
    """A CuPy array as PyTorch's."""
    t: Any = torch()
    if a.dtype.name == "bfloat16":
        return to_torch(a.view(np.int16)).view(t.bfloat16)
    return t.from_dlpack(a) if t.cuda.is_available() else t.from_numpy(a.get())


def compiled(bench: Bench, f: Function, mode: str | None) -> Function:
    """f under torch.compile; on the CPU only traced, since compiling takes long there."""
    t: Any = torch()
    import torch._functorch.config as functorch

    functorch.donated_buffer = False  # a graph is run backward many times here
    if not t.cuda.is_available():
        return t.compile(f, backend="aot_eager", dynamic=False)  # type: ignore[no-any-return]
    return t.compile(f, dynamic=False, mode=mode)  # type: ignore[no-any-return]


def torch_pair(
    bench: Bench,
    f: Function,
    arrays: Sequence[Array],
    ct: Array,
    mode: str | None = "eager",
    tf32: bool = False,
) -> Maker:
    """Forward and backward of a function of tensors; `mode`: eager, or torch.compile's (None)."""

    def make() -> list[Side] | None:
        t = torch()
        if t is None:
            return None
        t.set_float32_matmul_precision(PRECISIONS[tf32][0])
        xs = [to_torch(a).detach().requires_grad_() for a in arrays]
        seed = to_torch(ct)
        call = f if mode == "eager" else compiled(bench, f, mode)
        y = call(*xs)

        def forward() -> Any:
            return call(*xs)

        def backward() -> Any:
            return t.autograd.grad(y, xs, seed, retain_graph=True)

        clock = torch_clock()
        return [Side(forward, clock, lambda: [forward()]), Side(backward, clock, backward)]

    return make


def torch_product(bench: Bench, x: Array, y: Array, tf32: bool) -> Side | None:
    """x @ y by torch.mm, into memory that stands ready."""
    t = torch()
    if t is None:
        return None
    t.set_float32_matmul_precision(PRECISIONS[tf32][0])
    a, b = to_torch(x), to_torch(y)
    out = t.empty(a.shape[0], b.shape[1], dtype=a.dtype, device=a.device)

    def run() -> Any:
        return t.mm(a, b, out=out)

    return Side(run, torch_clock(), lambda: [run()])


def torch_matmul(x: Array, y: Array, tf32: bool) -> Maker:
    """x @ y into fresh memory, as a program writes it."""

    def make() -> Side | None:
        t = torch()
        if t is None:
            return None
        t.set_float32_matmul_precision(PRECISIONS[tf32][0])
        a, b = to_torch(x), to_torch(y)
        return Side(lambda: a @ b, torch_clock(), lambda: [a @ b])

    return make


# -- JAX -----------------------------------------------------------------------------------------


def jax() -> Any:
    """JAX, None where it is not installed."""
    if not importable("jax"):
        return None
    import jax as found

    return found


def jax_clock() -> Clock:
    return wall(jax().block_until_ready)


def to_jax(bench: Bench, a: Array) -> Any:
    """A CuPy array as JAX's, by way of the host where it cannot be shared."""
    j: Any = jax()
    if a.dtype.name == "bfloat16":
        return j.lax.bitcast_convert_type(to_jax(bench, a.view(np.int16)), j.numpy.bfloat16)
    if not bench.stand_in and a.dtype.itemsize < 8:  # 64-bit integers it would not keep
        try:
            return j.dlpack.from_dlpack(a)
        except Exception:  # an older protocol on either side
            pass
    return j.numpy.asarray(a.get())


def jax_pair(
    bench: Bench, f: Function, arrays: Sequence[Array], ct: Array, tf32: bool = False
) -> Maker:
    """Forward and backward of a function of arrays, each jitted by itself."""

    def make() -> list[Side] | None:
        j = jax()
        if j is None:
            return None
        xs, seed = [to_jax(bench, a) for a in arrays], to_jax(bench, ct)
        first = j.jit(f)
        second = j.jit(lambda given, seed: j.vjp(f, *given)[1](seed))

        def forward() -> Any:
            return first(*xs)

        def backward() -> Any:
            return second(xs, seed)

        clock, wanted = jax_clock(), jax_precision(arrays[0], tf32)
        there, back = within(forward, wanted), within(backward, wanted)
        return [Side(there, clock, lambda: [there()]), Side(back, clock, back)]

    return make


def jax_precision(a: Array, tf32: bool = False) -> str:
    """How JAX multiplies arrays like a: by itself it takes TF32 for float32 on a GPU."""
    return PRECISIONS[tf32][1] if a.dtype.name == "float32" else "default"


def within(run: Callable[[], Any], wanted: str) -> Callable[[], Any]:
    """A call at a precision, which is part of what JAX remembers a trace by."""
    j: Any = jax()

    def call() -> Any:
        with j.default_matmul_precision(wanted):
            return run()

    return call


def jax_matmul(bench: Bench, x: Array, y: Array, tf32: bool) -> Maker:
    def make() -> Side | None:
        j = jax()
        if j is None:
            return None
        a, b = to_jax(bench, x), to_jax(bench, y)
        wanted = jax_precision(x, tf32)
        product = j.jit(lambda a, b: j.numpy.matmul(a, b, precision=wanted))
        return Side(lambda: product(a, b), jax_clock(), lambda: [product(a, b)])

    return make


# -- functions -----------------------------------------------------------------------------------


def pointwise(name: str) -> tuple[Function | None, Function | None]:
    """An elementwise function of PyTorch's and of JAX's, by the name that the cases give it."""
    from benchmarks.test_elementwise import chain

    t, j = torch(), jax()
    F: Any = t and t.nn.functional
    of_torch: dict[str, Any] = {
        "relu": lambda x: F.relu(x),
        "SiLU": lambda x: F.silu(x),
        "GELU, tanh": lambda x: F.gelu(x, approximate="tanh"),
        "GELU, erf": lambda x: F.gelu(x),
        "chain of 17": chain(t),
    }
    of_jax: dict[str, Any] = {
        "relu": lambda x: j.nn.relu(x),
        "SiLU": lambda x: j.nn.silu(x),
        "GELU, tanh": lambda x: j.nn.gelu(x, approximate=True),
        "GELU, erf": lambda x: j.nn.gelu(x, approximate=False),
        "chain of 17": chain(j and j.numpy),
    }
    return of_torch[name] if t else None, of_jax[name] if j else None


def layer_norm(eps: float) -> tuple[Function | None, Function | None]:
    t, j = torch(), jax()

    def with_torch(x: Any, weight: Any, bias: Any) -> Any:
        return t.nn.functional.layer_norm(x, x.shape[1:], weight, bias, eps)

    def with_jax(x: Any, weight: Any, bias: Any) -> Any:
        wide = x.astype(j.numpy.float32)
        d = wide - wide.mean(axis=1, keepdims=True)
        y = d * j.lax.rsqrt((d * d).mean(axis=1, keepdims=True) + eps)
        return (y * weight + bias).astype(x.dtype)

    return with_torch if t else None, with_jax if j else None


def rms_norm(eps: float) -> tuple[Function | None, Function | None]:
    t, j = torch(), jax()

    def with_torch(x: Any, weight: Any) -> Any:
        return t.nn.functional.rms_norm(x, x.shape[1:], weight, eps)

    def with_jax(x: Any, weight: Any) -> Any:
        wide = x.astype(j.numpy.float32)
        y = wide * j.lax.rsqrt((wide * wide).mean(axis=1, keepdims=True) + eps)
        return (y * weight).astype(x.dtype)

    return with_torch if t else None, with_jax if j else None


def linear_gelu() -> tuple[Function | None, Function | None]:
    """GELU by tanh of x Wᵀ + b."""
    t, j = torch(), jax()
    F: Any = t and t.nn.functional

    def with_torch(x: Any, weight: Any, bias: Any) -> Any:
        return F.gelu(F.linear(x, weight, bias), approximate="tanh")

    def with_jax(x: Any, weight: Any, bias: Any) -> Any:
        return j.nn.gelu(x @ weight.T + bias, approximate=True)

    return with_torch if t else None, with_jax if j else None


def peers_of(
    bench: Bench,
    functions: tuple[Function | None, Function | None],
    arrays: Sequence[Array],
    ct: Array,
    *,
    tuned: bool = False,
    tf32: bool = False,
) -> dict[str, Maker]:
    """Every peer of a forward and a backward, the slowest to build last."""
    with_torch, with_jax = functions
    found: dict[str, Maker] = dict.fromkeys(("torch", "compile", "jax"), _missing)
    if with_torch is not None:
        found["torch"] = torch_pair(bench, with_torch, arrays, ct, "eager", tf32)
        found["compile"] = torch_pair(bench, with_torch, arrays, ct, None, tf32)
    if with_jax is not None:
        found["jax"] = jax_pair(bench, with_jax, arrays, ct, tf32)
    if tuned and with_torch is not None:
        tuning = "max-autotune-no-cudagraphs"
        found["max-autotune"] = torch_pair(bench, with_torch, arrays, ct, tuning, tf32)
    return found


def _missing() -> None:
    return None


# -- losses and optimizers -----------------------------------------------------------------------


def entropies(bench: Bench, x: Array, labels: Array) -> dict[str, Maker]:
    """Softmax cross-entropy: the mean loss and the gradient of the logits."""

    def with_torch(mode: str | None) -> Maker:
        def make() -> Side | None:
            t = torch()
            if t is None:
                return None
            logits, target = to_torch(x).detach().requires_grad_(), to_torch(labels)

            def loss_of(logits: Any) -> Any:
                return t.nn.functional.cross_entropy(logits, target)

            call = loss_of if mode == "eager" else compiled(bench, loss_of, mode)

            def run() -> Any:
                logits.grad = None
                loss = call(logits)
                loss.backward()
                return loss

            return Side(run, torch_clock(), lambda: [run(), logits.grad])

        return make

    def with_jax() -> Side | None:
        j = jax()
        if j is None:
            return None
        logits, target = to_jax(bench, x), to_jax(bench, labels.astype(np.int32))

        def loss_of(logits: Any) -> Any:
            wide = logits.astype(j.numpy.float32)
            picked = j.numpy.take_along_axis(wide, target[:, None], axis=1)[:, 0]
            return (j.nn.logsumexp(wide, axis=1) - picked).mean()

        both = j.jit(j.value_and_grad(loss_of))
        return Side(lambda: both(logits), jax_clock(), lambda: both(logits))

    return {"torch": with_torch("eager"), "compile": with_torch(None), "jax": with_jax}


def adamw(bench: Bench, values: Sequence[Array], grads: Sequence[Array]) -> dict[str, Maker]:
    """One AdamW update: PyTorch's fused one, the same compiled, and one jitted function."""

    def with_torch(mode: str | None) -> Maker:
        def make() -> Side | None:
            t = torch()
            if t is None:
                return None
            params = [to_torch(v).clone().requires_grad_() for v in values]
            for p, g in zip(params, grads):
                p.grad = to_torch(g).clone()
            kind = {"fused": True} if mode == "eager" else {"foreach": True}
            optimizer = t.optim.AdamW(params, lr=1e-3, weight_decay=0.01, **kind)
            step = optimizer.step if mode == "eager" else compiled(bench, optimizer.step, mode)
            step()
            return Side(step, torch_clock(), lambda: params[:8])

        return make

    others = {"torch": with_torch("eager"), "jax": _adamw_with_jax(bench, values, grads)}
    if not bench.stand_in:  # without a GPU it would only be traced, for half a minute
        others["compile"] = with_torch(None)
    return others


def _adamw_with_jax(bench: Bench, values: Sequence[Array], grads: Sequence[Array]) -> Maker:
    def make() -> Side | None:
        j = jax()
        if j is None:
            return None
        jnp, placed = j.numpy, [to_jax(bench, g) for g in grads]

        def update(state: Any, grads: Any, step: Any) -> Any:
            c1, c2 = 1 - 0.9**step, 1 - 0.999**step
            new = []
            for (p, m, v), g in zip(state, grads):
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                p = p * (1 - 1e-3 * 0.01)
                new.append((p - 1e-3 * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), m, v))
            return new

        jitted = j.jit(update, donate_argnums=0)
        state = [[(jnp.array(to_jax(bench, p)), *_zeros(jnp, p.shape)) for p in values]]
        count = [0]

        def run() -> Any:
            count[0] += 1
            state[0] = jitted(state[0], placed, np.float32(count[0]))
            return state[0]

        run()
        return Side(run, jax_clock(), lambda: [p for p, _, _ in state[0][:8]])

    return make


def _zeros(jnp: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return jnp.zeros(shape), jnp.zeros(shape)
