"""Attention by scaled products of queries and keys."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.philox import RandomError
from tensorgrad.core.autocast import CASTS, cast
from tensorgrad.core.calls import constant
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import fused, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.padding import pad
from tensorgrad.ops.random import Generator, dropout_p, mask_counter
from tensorgrad.ops.shape import astype
from tensorgrad.ops.softmax import softmax

INF = float("inf")

# -- the fused operations ----------------------------------------------------------------------


def _spec(q: Spec, k: Spec, v: Spec, *others: Spec, **params: Any) -> Spec:
    return Spec((*q.shape[:3], v.shape[3]), q.dtype)


def _scores(q: Any, k: Any, scale: float) -> Any:
    """scale q kᵀ with the query heads of one key head together: (B, H, L, S)."""
    batch, heads, length, size = q.shape
    groups, keys = k.shape[1:3]
    q = (q * scale).reshape((batch, groups, heads // max(groups, 1) * length, size))
    return (q @ k.swapaxes(-1, -2)).reshape((batch, heads, length, keys))


def _shared(share: Any, v: Any) -> Any:
    """share v, of the heads together that read one key head."""
    batch, heads, length, keys = share.shape
    groups, size = v.shape[1], v.shape[3]
    share = share.reshape((batch, groups, heads // max(groups, 1) * length, keys))
    return (share @ v).reshape((batch, heads, length, size))


def _reference(q: Any, k: Any, v: Any, *, scale: float, causal: bool) -> Any:
    return _masked(q, k, v, None, None, scale=scale, causal=causal, p=0.0, key=0)


def _masked(
    q: Any, k: Any, v: Any, mask: Any, counter: Any, *, scale: float, causal: bool, p: float,
    key: Any,
) -> Any:  # fmt: skip
    """What the kernels compute, by whole matrices of scores."""
    dtype, wide = q.dtype, dtypes.compute(q.dtype)
    q, k, v = (astype(x, wide, copy=False) for x in (q, k, v))
    s = _scores(q, k, scale)
    if mask is not None and mask.dtype.kind == "b":
        s = where(mask, s, -INF)
    elif mask is not None:
        s = s + astype(mask, wide, copy=False)
    if causal:
        s = where(constant(np.tri(*s.shape[2:], dtype=bool), s), s, -INF)
    share = _softmax_or_zero(s) if s.shape[3] else s
    if p:
        words = 4 * ceil(s.shape[3] / 4)
        drawn = (*s.shape[:3], words)
        filled = pad(share, [(0, 0)] * 3 + [(0, words - s.shape[3])])
        share = dropout_p.bind(filled, counter, p=p, key=key, shape=drawn)[..., : s.shape[3]]
    return astype(_shared(share, v), dtype, copy=False)


def _softmax_or_zero(s: Any) -> Any:
    """The softmax over the last axis; 0 in a row of -inf alone."""
    none = s.detach().max(axis=-1, keepdims=True) == -INF
    return where(none, 0.0, softmax(where(none, 0.0, s), axis=-1))


LARGEST = {"float64": 64}
"""The head sizes up to which a GPU has kernels, 128 where nothing is said; see `kernels/`."""


def _bound(primitive: Any, q: Tensor, k: Tensor, v: Tensor, *others: Any, **options: Any) -> Any:
    """The fused operation, or its reference where the device has no kernel of this head size."""
    if q.device != "cpu" and max(q.shape[3], v.shape[3]) > LARGEST.get(q.dtype.name, 128):
        return primitive.reference(q, k, v, *others, **options)
    return primitive.bind(q, k, v, *others, **options)


attention_p = fused("attention", _reference, nin=3, spec=_spec)
"""softmax(scale q kᵀ) v of (B, H, L, E), (B, G, S, E) and (B, G, S, V), G dividing H."""

attention_masked_p = fused("attention_masked", _masked, nin=5, spec=_spec)
"""The same with a mask, its four axes of one element or whole, and the counter of a dropout."""


# -- arguments ---------------------------------------------------------------------------------

_OP = "scaled_dot_product_attention"


def _checked(q: Any, k: Any, v: Any) -> None:
    for name, x in (("query", q), ("key", k), ("value", v)):
        need(x.ndim >= 2, _OP, **{name: x}, want="axes (..., length, size)",
             fix=f"{name}[None]")  # fmt: skip
        need(dtypes.is_float(x.dtype), _OP, **{name: x}, want="floats",
             fix=f'{name}.astype("float32")', error=DTypeError)  # fmt: skip
        need(x.dtype == q.dtype, _OP, **{"query": q, name: x}, want="one dtype",
             fix=f'{name}.astype("{q.dtype.name}")', error=DTypeError)  # fmt: skip
    need(q.shape[-1] == k.shape[-1] and q.shape[-1], _OP, query=q, key=k,
         want="query.shape[-1] == key.shape[-1] > 0", fix="key.swapaxes(-1, -2)")  # fmt: skip
    need(k.shape[-2] == v.shape[-2], _OP, key=k, value=v, want="a value for each key",
         fix="value.swapaxes(-1, -2)")  # fmt: skip


def _heads(q: Tensor, k: Tensor, v: Tensor, grouped: bool) -> tuple[int, int]:
    """The heads of the queries, and those of keys and values."""
    ours, keys, values = (x.shape[-3] if x.ndim > 2 else 1 for x in (q, k, v))
    if grouped:
        fits = keys == values and keys and ours % keys == 0
        want, fix = "key heads that divide the query heads", "enable_gqa=False"
    else:
        fits = len({ours, keys, values} - {1}) < 2
        want, fix = "as many heads of each, on axis -3", "enable_gqa=True"
    need(fits, _OP, query=q, key=k, value=v, enable_gqa=grouped, want=want, fix=fix)
    both = values if keys == 1 else keys
    return (both if ours == 1 else ours), both


def _four(x: Tensor, lead: shapes.Shape, heads: int) -> Tensor:
    """x as (batch, heads, length, size), where its other axes broadcast to `lead`."""
    shape = (*lead, heads, *x.shape[-2:])
    if x.shape != shape:
        x = x.broadcast_to(shape)
    return x if x.ndim == 4 else x.reshape((shapes.size(lead), *shape[-3:]))


def _mask(mask: Any, q: Tensor, lead: shapes.Shape, scores: shapes.Shape) -> Tensor:
    """A mask as four axes, each of one element or as long as the scores'."""
    mask = operand(mask, (), _OP, q)
    if CASTS:
        (mask,) = cast(attention_p, (mask,))
    need(mask.dtype.kind == "b" or mask.dtype == q.dtype, _OP, query=q, attn_mask=mask,
         want="a mask of bools, True for what takes part, or of query's dtype, which is added",
         fix=f'attn_mask.astype(bool), or attn_mask.astype("{q.dtype.name}")',
         error=DTypeError)  # fmt: skip
    whole = (*lead, *scores)
    ends = whole[len(whole) - mask.ndim :] if mask.ndim <= len(whole) else ()
    need(len(ends) == mask.ndim and all(n in (1, m) for n, m in zip(mask.shape, ends)), _OP,
         attn_mask=mask, want=f"a mask that broadcasts to the scores, {whole}",
         fix="a mask of shape (queries, keys)")  # fmt: skip
    full = (*(1,) * (len(whole) - mask.ndim), *mask.shape)
    outer = full[:-3]
    if outer != lead and any(n != 1 for n in outer):
        mask, outer = mask.broadcast_to((*lead, *full[-3:])), lead
    return mask.reshape((shapes.size(outer), *full[-3:]))  # type: ignore[no-any-return]


# -- attention ---------------------------------------------------------------------------------


def _oracle(
    q: Any, k: Any, v: Any, attn_mask: Any = None, is_causal: bool = False, scale: Any = None,
    enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if enable_gqa:
        k, v = (np.repeat(x, q.shape[-3] // x.shape[-3], axis=-3) for x in (k, v))
    s = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = np.tri(*s.shape[-2:], dtype=bool)
    if attn_mask is not None:
        s = s + (np.where(attn_mask, 0, -INF) if attn_mask.dtype == bool else attn_mask)
    top = s.max(axis=-1, keepdims=True, initial=-INF)
    share = np.exp(s - np.where(np.isinf(top), 0, top))
    total = share.sum(axis=-1, keepdims=True)
    return share @ v / np.where(total == 0, 1, total)


def _samples(r: Any) -> Any:
    def three(*lead: int, queries: int = 3, keys: int = 4, heads: int = 0) -> Any:
        groups = (*lead[:-1], heads) if heads else lead
        sides = (*lead, queries, 2), (*groups, keys, 2), (*groups, keys, 3)
        # Values of one sign: no result is a difference that loses its digits.
        return r.normal(*sides[0]), r.normal(*sides[1]), r.uniform(0.5, 1.5, *sides[2])

    yield three(), {}
    yield three(2, queries=4), {"is_causal": True}
    yield three(2, 2), {"scale": 0.3}
    yield three(1, 4, heads=2), {"enable_gqa": True}
    yield (*three(2, 2), r.normal(3, 4)), {}
    yield (*three(1, 2, queries=5), r.normal(2, 1, 4)), {}
    q, k, v = three(2, 3, keys=3)
    yield (q.swapaxes(1, 2), *(x.swapaxes(1, 2)[:, :, ::-1] for x in (k, v))), {}
    mask = np.array([[True, False, True, True], [False] * 4, [True] * 4])
    yield three(2, 1, 2), {"attn_mask": mask}
    yield three(2, queries=5, keys=2), {"is_causal": True}
    yield three(2, queries=2, keys=0), {}
    yield three(0, 2), {}
    q, k, v = three(2, 1)
    yield (q, k[0], v[:1]), {"attn_mask": mask[:1]}


@operation(oracle=_oracle, samples=_samples, namespace="nn")
def scaled_dot_product_attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False, *,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """softmax(scale query keyᵀ + mask) value, over the last two axes; memory linear in length.

    query (..., heads, L, E), key (..., heads, S, E), value (..., heads, S, V), the result
    (..., heads, L, V); scale None is 1 / √E. A mask broadcasts to (..., heads, L, S): where a bool
    is True a key takes part, floats are added. `is_causal`: query i sees keys 0 to i. A query that
    sees no key gives 0. `enable_gqa`: query head h reads key head h // (heads / key heads).
    Shares are dropped with probability `dropout_p`, drawn from `generator`. Vaswani et al. 2017;
    Dao et al., "FlashAttention", 2022. Raises `ShapeError`, `DTypeError`, `RandomError`.

    >>> scaled_dot_product_attention([[1.0]], [[0.0], [0.0]], [[1.0], [3.0]])
    tensor([[2.]])
    """
    q = operand(query, (), _OP)
    k, v = (operand(x, (), _OP, q) for x in (key, value))
    if CASTS:
        q, k, v = cast(attention_p, (q, k, v))
    _checked(q, k, v)
    need(attn_mask is None or not is_causal, _OP, attn_mask=attn_mask, is_causal=is_causal,
         want="one of the two", fix="attn_mask & np.tri(L, S, dtype=bool)",
         error=ValueError)  # fmt: skip
    ours, heads = _heads(q, k, v, enable_gqa)
    lead = shapes.broadcast(*[x.shape[:-3] for x in (q, k, v)], op=_OP)
    rank = max(x.ndim for x in (q, k, v))
    q, k, v = _four(q, lead, ours), _four(k, lead, heads), _four(v, lead, heads)
    scale = q.shape[3] ** -0.5 if scale is None else float(scale)
    options = {"scale": scale, "causal": bool(is_causal)}
    if attn_mask is None and not dropout_p:
        found = _bound(attention_p, q, k, v, **options)
    else:
        scores = (ours, q.shape[2], k.shape[2])
        mask = _mask(True if attn_mask is None else attn_mask, q, lead, scores)
        drawn = _dropped(q, k, v, float(dropout_p), generator)
        found = _bound(attention_masked_p, q, k, v, mask, drawn[0], **options, **drawn[1])
    shape = (*lead, *found.shape[1:]) if rank > 2 else found.shape[2:]
    return found if rank == 4 else found.reshape(shape)  # type: ignore[no-any-return]


def _dropped(
    q: Tensor, k: Tensor, v: Tensor, p: float, generator: Generator | None
) -> tuple[Tensor, dict[str, Any]]:
    """The counter of a dropout of the scores, and its parameters."""
    if not p:
        return constant(np.zeros((), np.uint64), q), {"p": 0.0, "key": 0}
    need(0 <= p <= 1, _OP, dropout_p=p, want="0 <= dropout_p <= 1", fix="dropout_p=0.1",
         error=RandomError)  # fmt: skip
    size = shapes.size(q.shape[:3]) * 4 * ceil(k.shape[2] / 4)
    key, counter = mask_counter((q, k, v), size, generator)
    return counter, {"p": p, "key": key}
