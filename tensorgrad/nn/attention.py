"""Attention of several heads as a layer."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn import init
from tensorgrad.nn.linear import Linear, need_dtype
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter

INF = float("inf")


class MultiheadAttention(Module):
    """out_proj of the heads' softmax(q kᵀ / √d) v side by side, d = embed_dim / num_heads.

    q, k and v are the inputs times the rows of `in_proj_weight` (3 embed_dim, embed_dim), in this
    order, plus `in_proj_bias`; where kdim or vdim differs from embed_dim, `q_proj_weight`,
    `k_proj_weight` and `v_proj_weight`. Inputs are (length, batch, size), with `batch_first`
    (batch, length, size), or (length, size). `add_bias_kv` adds a learned key and value,
    `add_zero_attn` a key and value of 0. Vaswani et al. 2017. Raises `ShapeError`, `DTypeError`.
    """

    out_proj: Linear
    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True,
        add_bias_kv: bool = False, add_zero_attn: bool = False, kdim: int | None = None,
        vdim: int | None = None, batch_first: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise tg.ShapeError(
                f"MultiheadAttention: got embed_dim={embed_dim}, num_heads={num_heads}, expected "
                "heads that divide embed_dim; try num_heads=1"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(
                f"MultiheadAttention: got dropout={dropout}, expected 0 to 1; try dropout=0.1"
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.head_dim, self.batch_first = embed_dim // num_heads, batch_first
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.add_zero_attn = add_zero_attn
        dtype = dtype or tg.dtypes.default()

        def weight(rows: int, columns: int) -> Parameter:
            # In memory as (in, out), as Linear has it.
            return Parameter(tg.zeros((columns, rows), dtype=dtype, device=device).T)

        def vector(*shape: int) -> Parameter:
            return Parameter(tg.zeros(shape, dtype=dtype, device=device))

        one = self.kdim == self.vdim == embed_dim
        self.register_parameter("in_proj_weight", weight(3 * embed_dim, embed_dim) if one else None)
        for name, size in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            found = None if one else weight(embed_dim, size)
            self.register_parameter(f"{name}_proj_weight", found)
        self.register_parameter("in_proj_bias", vector(3 * embed_dim) if bias else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype=dtype)
        if device is not None:
            self.out_proj.to(device)
        for name in ("bias_k", "bias_v"):
            self.register_parameter(name, vector(1, 1, embed_dim) if add_bias_kv else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: Glorot uniform weights, biases of 0."""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight,
                       self.v_proj_weight):  # fmt: skip
            if weight is not None:
                init.xavier_uniform_(weight)
        self.out_proj.reset_parameters()
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for bias in (self.bias_k, self.bias_v):
            if bias is not None:
                init.xavier_normal_(bias)

    # -- parts of forward ------------------------------------------------------------------------

    def _checked(self, query: Any, key: Any, value: Any) -> None:
        for given in {id(x): x for x in (query, key, value)}.values():
            need_dtype(self, given, self.out_proj.weight.dtype)
        sizes = (self.embed_dim, self.kdim, self.vdim)
        ranks = {x.ndim for x in (query, key, value)}
        fits = ranks in ({2}, {3}) and key.shape[:-1] == value.shape[:-1]
        fits = fits and tuple(x.shape[-1] for x in (query, key, value)) == sizes
        if ranks == {3}:
            batch = 0 if self.batch_first else 1
            fits = fits and query.shape[batch] == key.shape[batch]
        if not fits:
            axes = "(batch, length, size)" if self.batch_first else "(length, batch, size)"
            raise tg.ShapeError(
                f"MultiheadAttention: got query {query.shape}, key {key.shape}, value "
                f"{value.shape}, expected {axes} or (length, size) of sizes {sizes}, a value for "
                "each key; try batch_first=True where the batch is in front"
            )

    def _projected(self, query: Any, key: Any, value: Any) -> Any:
        """The three inputs by their weights, one product where they are one tensor."""
        packed, bias = self.in_proj_weight, self.in_proj_bias
        weights: Any
        if packed is not None and query is key and key is value:
            return tg.split(tg.linear(query, packed, bias), 3, axis=-1)
        if packed is not None:
            weights = tg.split(packed, 3, axis=0)
        else:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        biases = (None,) * 3 if bias is None else tg.split(bias, 3, axis=0)
        return [tg.linear(*one) for one in zip((query, key, value), weights, biases)]

    def _with_more(self, k: Any, v: Any) -> tuple[Any, Any, int]:
        """Keys and values (length, batch, size) with those that the layer adds, and how many."""
        more: list[tuple[Any, Any]] = []
        if self.bias_k is not None:
            more.append((self.bias_k, self.bias_v))
        if self.add_zero_attn:
            zero = tg.zeros((1, 1, self.embed_dim), dtype=k.dtype, device=k.device)
            more.append((zero, zero))
        shape = (1, k.shape[1], self.embed_dim)
        for pair in more:
            k, v = (
                tg.concatenate((x, tg.broadcast_to(one, shape))) for x, one in zip((k, v), pair)
            )
        return k, v, len(more)

    def _heads(self, x: Any) -> Any:
        """(length, batch, size) as (batch, heads, length, size / heads), a view."""
        shape = (*x.shape[:2], self.num_heads, self.head_dim)
        return tg.transpose(tg.reshape(x, shape), (1, 2, 0, 3))

    def _masked(
        self, attn_mask: Any, padding: Any, causal: bool, sizes: tuple[int, int, int], more: int,
        like: Any,
    ) -> Any:  # fmt: skip
        """Both masks as one of scores: bools of what takes part, or floats to be added."""
        batch, queries, keys = sizes
        found = []
        if attn_mask is not None:
            mask = _as_mask("attn_mask", attn_mask, like)
            shapes = ((queries, keys), (batch * self.num_heads, queries, keys))
            _need_shape("attn_mask", mask, shapes)
            if mask.ndim == 3:
                mask = tg.reshape(mask, (batch, self.num_heads, queries, keys))
            found.append(mask)
        elif causal:
            rows = tg.arange(queries, device=like.device)[:, None]
            found.append(tg.arange(keys, device=like.device) > rows)
        if padding is not None:
            mask = _as_mask("key_padding_mask", padding, like)
            _need_shape("key_padding_mask", mask, ((batch, keys),))
            found.append(tg.reshape(mask, (batch, 1, 1, keys)))
        if not found:
            return None
        if more:
            found = [tg.pad(m, [(0, 0)] * (m.ndim - 1) + [(0, more)]) for m in found]
        if all(m.dtype == bool for m in found):
            hidden = found[0] if len(found) == 1 else found[0] | found[1]
            return ~hidden
        zero = tg.zeros((), dtype=like.dtype, device=like.device)
        added = [tg.where(m, zero - INF, zero) if m.dtype == bool else m for m in found]
        return added[0] if len(added) == 1 else added[0] + added[1]

    def _weighed(self, q: Any, k: Any, v: Any, mask: Any, dropout: float) -> tuple[Any, Any]:
        """The heads' results, and what each key counted for, as a whole matrix."""
        scores = (q * self.head_dim**-0.5) @ tg.swapaxes(k, -1, -2)
        if mask is not None:
            scores = tg.where(mask, scores, -INF) if mask.dtype == bool else scores + mask
            none = tg.max(scores.detach(), axis=-1, keepdims=True) == -INF
            weights = tg.where(none, 0.0, tg.softmax(tg.where(none, 0.0, scores), axis=-1))
        else:
            weights = tg.softmax(scores, axis=-1)
        weights = tg.dropout(weights, dropout)
        return weights @ v, weights

    def forward(
        self, query: Any, key: Any, value: Any, key_padding_mask: Any = None,
        need_weights: bool = True, attn_mask: Any = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:  # fmt: skip
        """(the result, in query's shape; the weights, or None without `need_weights`).

        Masks are bools, True for what does not take part, or floats that are added:
        `key_padding_mask` (batch, keys) and `attn_mask` (queries, keys) or (batch · heads, queries,
        keys). `is_causal` without a mask leaves later keys out; with one it is what the mask says.
        The weights are (batch, queries, keys), or of each head unless averaged; without them
        memory is linear in length. A query that sees no key gives out_proj.bias.
        """
        self._checked(query, key, value)
        q, k, v = self._projected(query, key, value)
        flat = q.ndim == 2
        if flat:
            q, k, v = (x[:, None] for x in (q, k, v))
            if key_padding_mask is not None:
                key_padding_mask = tg.asarray(key_padding_mask)[None]
        elif self.batch_first:
            q, k, v = (tg.swapaxes(x, 0, 1) for x in (q, k, v))
        sizes = (q.shape[1], q.shape[0], k.shape[0])
        k, v, more = self._with_more(k, v)
        whole = is_causal and attn_mask is None and key_padding_mask is None
        whole = whole and not (need_weights or more)
        causal = is_causal and not whole
        mask = self._masked(attn_mask, key_padding_mask, causal, sizes, more, q)
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        dropout, weights = self.dropout if self.training else 0.0, None
        if need_weights:
            found, weights = self._weighed(q, k, v, mask, dropout)
            weights = tg.mean(weights, axis=1) if average_attn_weights else weights
        else:
            found = F.scaled_dot_product_attention(q, k, v, mask, dropout, whole)
        order = (0, 2, 1, 3) if self.batch_first and not flat else (2, 0, 1, 3)
        found = self.out_proj(tg.reshape(tg.transpose(found, order), query.shape))
        return found, weights[0] if flat and weights is not None else weights


def _as_mask(name: str, mask: Any, like: Any) -> Any:
    mask = mask if isinstance(mask, tg.Tensor) else tg.asarray(mask, device=like.device)
    if mask.dtype != bool and mask.dtype != like.dtype:
        raise tg.DTypeError(
            f"MultiheadAttention: got {name} of {mask.dtype.name}, expected bools, True for what "
            f"is left out, or {like.dtype.name}; try {name}.astype(bool)"
        )
    return mask


def _need_shape(name: str, mask: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    if mask.shape not in shapes:
        raise tg.ShapeError(
            f"MultiheadAttention: got {name} of shape {mask.shape}, expected "
            f"{' or '.join(map(str, shapes))}; try a mask of shape {shapes[0]}"
        )
