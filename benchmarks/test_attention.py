"""Attention and embeddings forwards and backwards, in float32.

The floor of attention is what its seven products take NumPy, a block of queries at a time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.peers import raced
from benchmarks.race import Race, Run, ahead, importable


class Case(NamedTuple):
    """Batch, heads, length, head size, and whether a query sees the keys before it alone."""

    batch: int
    heads: int
    length: int
    size: int
    causal: bool = False


CASES = {
    "8 heads of 64 at 512": Case(1, 8, 512, 64),
    "4 times": Case(4, 8, 512, 64),
    "causal": Case(4, 8, 512, 64, True),
    "long": Case(1, 2, 4096, 64, True),
    "short": Case(8, 4, 64, 32, True),
}


def with_torch(case: Case) -> Any:
    if not importable("torch"):
        return None
    import torch

    function = torch.nn.functional.scaled_dot_product_attention
    return lambda q, k, v: function(q, k, v, is_causal=case.causal)


def with_jax(case: Case) -> Any:
    if not importable("jax"):
        return None
    import jax

    def run(q: Any, k: Any, v: Any) -> Any:
        moved = (x.swapaxes(1, 2) for x in (q, k, v))
        return jax.nn.dot_product_attention(*moved, is_causal=case.causal).swapaxes(1, 2)

    return run


def products(case: Case, rng: np.random.Generator) -> Run:
    """Two products forwards and five backwards, of every block of 256 queries."""
    rows = min(256, case.length)
    x, k = (rng.standard_normal((n, case.size), dtype=np.float32) for n in (rows, case.length))
    s = np.empty((rows, case.length), np.float32)
    few = case.batch * case.heads * (case.length // rows)

    def run() -> None:
        for _ in range(few):
            for _ in range(3):
                np.matmul(x, k.T, out=s)
            for _ in range(2):
                s @ k
                s.T @ x

    return run


@pytest.mark.parametrize("name", CASES)
def test_attention(name: str, race: Race) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    shape = (case.batch, case.heads, case.length, case.size)
    q, k, v, ct = (rng.standard_normal(shape, dtype=np.float32) for _ in range(4))

    def mine(q: Any, k: Any, v: Any) -> Any:
        return tg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=case.causal)

    peers = (with_torch(case), with_jax(case))
    run, others = raced(mine, peers, (q, k, v), ct, tolerance=1e-4)
    flops = 14 * ct.size * case.length // (2 if case.causal else 1)
    goal = (ahead(1, "torch"),)
    race(name, run, others, floor=products(case, rng), flops=flops, goal=goal)


@pytest.mark.parametrize("rows", [5000, 50_000])
def test_embedding(rows: int, race: Race) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((rows, 128), dtype=np.float32)
    index = rng.integers(0, rows, (32, 128))
    ct = rng.standard_normal((*index.shape, 128), dtype=np.float32)
    theirs = None
    if importable("torch"):
        import torch

        places = torch.tensor(index)
        theirs = lambda w: torch.nn.functional.embedding(places, w)  # noqa: E731
    run, others = raced(
        lambda w: tg.nn.functional.embedding(index, w), (theirs, None), (weight,), ct,
        tolerance=1e-4,
    )  # fmt: skip
    race(f"{rows} rows", run, others, moved=4 * (4 * ct.size + weight.size),
         goal=(ahead(1, "torch"),))  # fmt: skip
