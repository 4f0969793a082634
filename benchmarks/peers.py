"""One function under each library: forward, or forward and backward from a cotangent, by its best.

A maker takes the function of that library's arrays, the arrays that want a gradient and the
cotangent of the result (None: the result is a number, its cotangent 1). PyTorch runs eagerly, its
gradients set to None before each backward. JAX runs one jitted function of value and gradients
which is waited for; it gets the arrays that it returned last as memory to write to, which is as
good as it gets: without, it takes fresh memory each time and is up to three times slower.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg
from benchmarks.race import Run, importable

Array = np.ndarray[Any, Any]
Function = Callable[..., Any]


class Side(NamedTuple):
    """What the clock sees, and the value and gradients that it makes, as arrays."""

    run: Run
    values: Callable[[], list[Array]]


def ours(f: Function, arrays: Sequence[Array], ct: Array | None, backward: bool = True) -> Side:
    inputs = [tg.Tensor(a, requires_grad=True) for a in arrays]
    return _taped(f, inputs, None if ct is None else tg.Tensor(ct), backward)


def with_torch(
    f: Function, arrays: Sequence[Array], ct: Array | None, backward: bool = True
) -> Side | None:
    if not importable("torch"):
        return None
    import torch

    torch.set_num_threads(1)
    inputs = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    return _taped(f, inputs, None if ct is None else torch.from_numpy(ct), backward)


def _taped(f: Function, inputs: list[Any], seed: Any, backward: bool) -> Side:
    """A library that records: its tensors hold their gradients."""

    def run() -> Any:
        for x in inputs:
            x.grad = None
        y = f(*inputs)
        if backward:
            y.backward(seed)
        return y

    def values() -> list[Array]:
        y = run().detach().numpy()
        return [y, *[x.grad.numpy() for x in inputs if backward]]

    return Side(run, values)


def with_jax(
    f: Function, arrays: Sequence[Array], ct: Array | None, backward: bool = True
) -> Side | None:
    if not importable("jax"):
        return None
    import jax
    import jax.numpy as jnp

    def whole(old: Any, seed: Any, *inputs: Any) -> Any:
        del old  # only its memory is wanted
        if not backward:
            return (f(*inputs),)
        y, pull = jax.vjp(f, *inputs)
        return (y, *pull(jnp.ones_like(y) if seed is None else seed))

    inputs = [jnp.asarray(a) for a in arrays]
    seed = None if ct is None else jnp.asarray(ct)
    shapes = jax.eval_shape(whole, None, seed, *inputs)
    jitted = jax.jit(whole, donate_argnums=0, keep_unused=True)
    state = [tuple(jnp.zeros(s.shape, s.dtype) for s in shapes)]

    def run() -> Any:
        state[0] = jax.block_until_ready(jitted(state[0], seed, *inputs))

    def values() -> list[Array]:
        run()
        # Copies: memory that NumPy looks into is not written to again.
        return [np.array(a) for a in state[0]]

    return Side(run, values)


def agree(mine: Side, theirs: Side | None, tolerance: float) -> None:
    """Value and gradients equal the other's, to `tolerance` of themselves and of their largest."""
    if theirs is None:
        return
    for a, b in zip(mine.values(), theirs.values(), strict=True):
        scale = float(np.abs(b).max()) if b.size else 0.0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def raced(
    mine: Function,
    peers: tuple[Function | None, Function | None],
    arrays: Sequence[Array],
    ct: Array | None = None,
    *,
    backward: bool = True,
    tolerance: float = 1e-6,
) -> tuple[Run, dict[str, Run | None]]:
    """Ours and the peers', PyTorch's and JAX's, of one function, after they were compared."""
    left = ours(mine, arrays, ct, backward)
    found: dict[str, Run | None] = {}
    for name, make, f in zip(("torch", "jax"), (with_torch, with_jax), peers):
        if f is not None:
            side = make(f, arrays, ct, backward)
            agree(left, side, tolerance)
            found[name] = side.run if side else None
    return left.run, found
