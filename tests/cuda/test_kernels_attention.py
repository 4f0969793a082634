"""The kernels of attention on the CPU, beside the NumPy backend's in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from kernel_tools import COMPUTE, DTYPES, array, launch, near, u64

from tensorgrad.backend import numpy_attention

CALL = np.dtype(
    [(name, np.int64) for name in "q_b q_h q_l k_b k_h k_l v_b v_h v_l m_b m_h m_l m_s".split()]
    + [(n, np.int32) for n in "heads group length keys size width kind causal".split()]
)  # fmt: skip
SHAPES = [  # batch, heads, groups, queries, keys, size, width
    (1, 1, 1, 1, 1, 1, 1),
    (1, 2, 1, 5, 33, 3, 7),
    (2, 2, 2, 40, 9, 8, 16),
    (1, 4, 2, 33, 65, 20, 5),
]
KINDS = ("plain", "causal", "bools", "added", "dropout")


def drawn(rng: np.random.Generator, shape: tuple[int, ...], name: str) -> Any:
    """Random values, guarded, whose rows lie as far apart as those of packed heads."""
    found = array((shape[0], shape[2], shape[1], shape[3]), DTYPES[name], int(rng.integers(3)))
    found[...] = rng.standard_normal(found.shape)
    return found


def called(q: Any, k: Any, v: Any, mask: Any, causal: bool) -> Any:
    """The struct of a call: strides in elements, sizes, what the mask is."""
    call = np.zeros((), CALL)
    for letter, x in zip("qkv", (q, k, v)):
        for axis, step in zip("bhl", x.strides):
            call[f"{letter}_{axis}"] = step // x.itemsize
    heads, length, size = q.shape[1:]
    sizes = (heads, heads // k.shape[1], length, k.shape[2], size, v.shape[3])
    for what, number in zip(("heads", "group", "length", "keys", "size", "width"), sizes):
        call[what] = number
    call["causal"] = causal
    if mask is not None:
        call["kind"] = 1 if mask.dtype == bool else 2
        for axis, n, step in zip("bhls", mask.shape, mask.strides):
            call[f"m_{axis}"] = step // mask.itemsize if n > 1 else 0
    return call


def problem(rng: np.random.Generator, name: str, kind: str) -> SimpleNamespace:
    """Inputs of a random shape, the mask and the counter of a kind, and a launch of a kernel."""
    batch, heads, groups, length, keys, size, width = SHAPES[int(rng.integers(len(SHAPES)))]
    sides = ((heads, length, size), (groups, keys, size), (groups, keys, width))
    packed = [drawn(rng, (batch, *s), name) for s in sides]
    q, k, v = (x.transpose(0, 2, 1, 3) for x in packed)
    mask, counter, p = None, None, 0.0
    if kind == "bools":
        mask = array((1, 1, length, keys), bool, 0, rng.random((length, keys)) < 0.7)
        mask[0, 0, 0] = False
    elif kind == "added":
        mask = array((1, heads, 1, keys), DTYPES[name], 0, rng.standard_normal((heads, 1, keys)))
    elif kind == "dropout":
        counter, p = np.array(7, np.uint64), 0.3
    c, call = COMPUTE[name], called(q, k, v, mask, kind == "causal")
    tile = int(rng.choice([64, 128])) if name != "f64" else 64
    shared = (4 * 32 * (tile + 4) + 2 * 32 * 33) * np.dtype(c).itemsize
    tail = (call, u64(3), u64(np.floor(p * 2**32)), c(1 / (1 - p)), c(0.3))

    def run(kernel: str, *args: Any) -> None:
        rows = keys if kernel.endswith("columns") else length
        pairs = batch * (groups if kernel.endswith("columns") else heads)
        launch("attention", f"{kernel}_{tile}_{name}", (pairs * -(-rows // 32),), 128, *packed,
               mask, counter, None, *args, *tail, shared=shared)  # fmt: skip

    options = {"scale": float(c(0.3)), "causal": kind == "causal"}
    return SimpleNamespace(q=q, k=k, v=v, mask=mask, counter=counter, p=p, run=run, options=options)


def log_sums(q: Any, k: Any, mask: Any, options: dict[str, Any]) -> Any:
    """log Σ exp of every query's scores, by the definition; -inf for one that sees no key."""
    scores = options["scale"] * q @ np.repeat(k, q.shape[1] // k.shape[1], 1).swapaxes(2, 3)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if options["causal"]:
        scores = np.where(np.tri(*scores.shape[2:], dtype=bool), scores, -np.inf)
    return np.logaddexp.reduce(scores, axis=3)


def reference(at: SimpleNamespace) -> tuple[list[Any], Any, Any]:
    """The NumPy backend's inputs in float64, its result and what it keeps for backward."""
    wide = [np.asarray(x, np.float64) for x in (at.q, at.k, at.v)]
    if at.mask is None and at.counter is None:
        found, _, kept = numpy_attention.attention(*wide, **at.options)
        return wide, found, kept
    mask = np.ones((1,) * 4, bool) if at.mask is None else at.mask
    mask = mask if mask.dtype == bool else mask.astype(np.float64)
    wide += [mask, np.array(0 if at.counter is None else at.counter)]
    at.options |= {"p": at.p, "key": 3}
    found, _, kept = numpy_attention.attention_masked(*wide, **at.options)
    return wide, found, kept


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DTYPES)
def test_attention(
    rng: np.random.Generator, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both take what backward needs from the rounded output then, not from shares that were kept.
    monkeypatch.setattr(numpy_attention, "TOGETHER", 0)
    at, c = problem(rng, name, kind), COMPUTE[name]
    (batch, heads, length, size), (groups, keys), width = at.q.shape, at.k.shape[1:3], at.v.shape[3]
    out, ct, dq = (array((batch, heads, length, n), DTYPES[name]) for n in (width, width, size))
    dk, dv = (array((batch, groups, keys, n), DTYPES[name]) for n in (size, width))
    logs, mean = (array((batch, heads, length), c) for _ in "ab")
    ds = array((batch, heads, length, keys), c) if kind == "added" else None
    ct[...] = rng.standard_normal(ct.shape)
    at.run("attention", out, logs)
    wide, found, kept = reference(at)
    known = log_sums(*wide[:2], at.mask, at.options)
    near(out, found, name, 16 + keys, 1 + np.abs(wide[2]).max())
    seen = np.isfinite(known)
    assert np.array_equal(seen, np.isfinite(logs))
    want = known[seen]  # a maximum and a logarithm, which may cancel
    near(logs[seen], want, "f64" if name == "f64" else "f32", 32, 1 + np.abs(want))
    at.run("attention_rows", out, logs, ct, dq, mean, ds)
    at.run("attention_columns", logs, mean, ct, dk, dv)
    saved = (*wide, out.astype(np.float64), kept)
    wanted = (0, 1, 2) if ds is None else (0, 1, 2, 3)
    back = numpy_attention.attention_pull(ct.astype(np.float64), wanted, saved, at.options)
    grads = [dq, dk, dv]
    if ds is not None:
        total = ds.astype(np.float64).sum(axis=(0, 2), keepdims=True)
        grads.append(total.astype(DTYPES[name]))
    for got, (_, want) in zip(grads, back):
        near(got, want, name, 64 + 4 * max(length, keys), 1 + np.abs(want).max())
