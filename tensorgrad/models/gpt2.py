"""GPT-2, under the names of its published weights.

Radford et al., "Language models are unsupervised multitask learners", 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.models.sampling import prompt, sample
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)

_MASKS = (".attn.bias", ".attn.masked_bias")
"""Published files hold the causal mask of each layer under these names; it is no weight."""


def _differ(*weights: Any) -> bool:
    """Whether two arrays of one shape, of any library, hold other numbers."""
    bare = [w.detach() if hasattr(w, "detach") else w for w in weights]
    x, y = (a if isinstance(a, tg.Tensor) else tg.from_dlpack(a) for a in bare)
    return bool(x.shape == y.shape and not np.array_equal(x.numpy(), y.numpy()))


class Conv1D(nn.Module):
    """y = x W + b with a weight (in, out): a linear layer as GPT-2's files store it."""

    def __init__(self, nf: int, nx: int, std: float = 0.02) -> None:
        super().__init__()
        self.weight = nn.Parameter(tg.zeros((nx, nf), dtype=tg.dtypes.default()))
        self.bias = nn.Parameter(tg.zeros((nf,), dtype=tg.dtypes.default()))
        nn.init.normal_(self.weight, std=std)

    def forward(self, input: Any) -> Any:
        return tg.linear(input, self.weight.T, self.bias)

    def extra_repr(self) -> str:
        inside, outside = self.weight.shape
        return f"nf={outside}, nx={inside}"


class Memory(NamedTuple):
    """The keys and values (N, heads, n_positions, width) of one layer, of which some are filled."""

    keys: Any
    values: Any


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    def __init__(self, width: int, heads: int, dropout: float, std: float) -> None:
        super().__init__()
        self.c_attn, self.c_proj = Conv1D(3 * width, width), Conv1D(width, width, std)
        self.attn_dropout, self.resid_dropout = dropout, nn.Dropout(dropout)
        self.heads = heads

    def forward(self, input: Any, memory: Memory | None = None, past: int = 0) -> Any:
        n, length, width = input.shape
        qkv = self.c_attn(input).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = (qkv[:, :, part].swapaxes(1, 2) for part in range(3))
        if memory is not None:
            k, v = (_continued(m, new, past) for m, new in zip(memory, (k, v)))
        mask = np.tri(length, past + length, past, dtype=bool) if past and length > 1 else None
        dropped = self.attn_dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, mask, dropped, is_causal=not past)
        return self.resid_dropout(self.c_proj(y.swapaxes(1, 2).reshape(n, length, width)))


def _continued(memory: Any, new: Any, past: int) -> Any:
    """What is remembered of `past` places with the new ones behind it."""
    end = past + new.shape[2]
    memory[:, :, past:end] = new
    return memory[:, :, :end]


class FeedForward(nn.Module):
    """Two linear layers, four times as wide between them, with GELU."""

    def __init__(self, width: int, dropout: float, std: float) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Conv1D(4 * width, width), Conv1D(width, 4 * width, std)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Any) -> Any:
        return self.dropout(self.c_proj(F.gelu(self.c_fc(input), approximate="tanh")))


class Block(nn.Module):
    """x + attention(norm(x)), then the same with the feed-forward layers."""

    def __init__(self, width: int, heads: int, dropout: float, std: float) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(width), Attention(width, heads, dropout, std)
        self.ln_2, self.mlp = nn.LayerNorm(width), FeedForward(width, dropout, std)

    def forward(self, input: Any, memory: Memory | None = None, past: int = 0) -> Any:
        x = input + self.attn(self.ln_1(input), memory, past)
        return x + self.mlp(self.ln_2(x))


class _Transformer(nn.Module):
    def __init__(
        self, vocab_size: int, places: int, width: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, width), nn.Embedding(places, width)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)
        self.drop = nn.Dropout(dropout)
        # The sum of all layers' outputs keeps its size: each adds the square root of 2 · layers.
        std = 0.02 / (2 * max(layers, 1)) ** 0.5
        self.h = nn.ModuleList([Block(width, heads, dropout, std) for _ in range(layers)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: Any, memory: list[Memory] | None = None, past: int = 0) -> Any:
        places = tg.arange(past, past + tokens.shape[1], device=tokens.device)
        x = self.drop(self.wte(tokens) + self.wpe(places))
        for k, block in enumerate(self.h):
            x = block(x, memory[k] if memory else None, past)
        return self.ln_f(x)


class GPT2(nn.Module):
    """Blocks of causal attention over tokens (N, L): the logits (N, L, vocab_size) of the next.

    The defaults are those of the smallest published model, 124 million parameters. The table of
    tokens is also the last layer's weight. Raises `ShapeError` for more than `n_positions` tokens
    or heads that do not divide `n_embd`.

    >>> net = GPT2(vocab_size=11, n_positions=8, n_embd=16, n_layer=2, n_head=4)
    >>> net(tg.zeros((2, 5), dtype="int64")).shape
    (2, 5, 11)
    """

    def __init__(
        self, vocab_size: int = 50257, n_positions: int = 1024, n_embd: int = 768,
        n_layer: int = 12, n_head: int = 12, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        if n_head < 1 or n_embd % n_head:
            raise tg.ShapeError(
                f"GPT2: got n_embd={n_embd}, n_head={n_head}, expected heads that divide n_embd; "
                "try n_head=n_embd // 64"
            )
        self.n_positions = n_positions
        self.transformer = _Transformer(vocab_size, n_positions, n_embd, n_layer, n_head, dropout)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight

    def forward(self, tokens: Any) -> Any:
        given = tokens if isinstance(tokens, tg.Tensor) else tg.asarray(tokens)
        if given.ndim != 2 or given.shape[1] > self.n_positions:
            raise tg.ShapeError(
                f"GPT2: got tokens of shape {given.shape}, expected (N, L) with L up to "
                f"n_positions={self.n_positions}; try tokens[:, -{self.n_positions}:]"
            )
        return self.lm_head(self.transformer(given))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """As every module's, also of weights as they are published.

        The names may lack their `transformer.`, the weight of the last layer may be missing, since
        it is the table of tokens, and masks that lie among the weights are passed over. Raises
        `ValueError` for a last layer that is another than the table, where this one is the table.
        """
        if not isinstance(state_dict, Mapping):
            return super().load_state_dict(state_dict, strict, assign)  # it says what is wrong
        found = {name: value for name, value in state_dict.items() if not name.endswith(_MASKS)}
        if "wte.weight" in found:
            found = {
                name if name.startswith("lm_head.") else f"transformer.{name}": value
                for name, value in found.items()
            }
        table = found.get("transformer.wte.weight")
        if table is not None and self.lm_head.weight is self.transformer.wte.weight:
            last = found.setdefault("lm_head.weight", table)
            if last is not table and _differ(last, table):
                raise ValueError(
                    "GPT2.load_state_dict: got lm_head.weight unlike transformer.wte.weight, "
                    "expected the same numbers, as this network holds them once; try "
                    "net.lm_head = nn.Linear(n_embd, vocab_size, bias=False) first"
                )
        return super().load_state_dict(found, strict, assign)

    def generate(
        self,
        tokens: Any,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: tg.Generator | None = None,
    ) -> Any:
        """The tokens (N, L) and so many more, each drawn by `sample` from the logits before it.

        Keys and values of earlier tokens are kept, so that a new token costs one place. Where
        `n_positions` are full, the later half of them is read anew and the others are forgotten.
        """
        training, known = self.training, prompt("GPT2", tokens, max_new_tokens)
        window, past = known[:, -self.n_positions :], 0
        self.eval()
        try:
            with tg.no_grad():
                memory = self._memory(known.shape[0], known.shape[1] + max_new_tokens)
                for _ in range(max_new_tokens):
                    if past + window.shape[1] > self.n_positions:
                        window, past = known[:, -max(self.n_positions // 2, 1) :], 0
                    x = self.transformer(window, memory, past)[:, -1]
                    past += window.shape[1]
                    drawn = sample(self.lm_head(x), temperature, top_k, generator)
                    window = drawn[:, None].astype(known.dtype)
                    known = tg.concatenate([known, window], axis=1)
        finally:
            self.train(training)
        return known

    def _memory(self, rows: int, length: int) -> list[Memory]:
        """Room for the keys and values of so many places in every layer."""
        weight = self.transformer.wte.weight
        heads = self.transformer.h[0].attn.heads if len(self.transformer.h) else 1
        shape = (rows, heads, min(length, self.n_positions), weight.shape[1] // heads)
        options = {"dtype": weight.dtype, "device": weight.device}
        return [
            Memory(tg.zeros(shape, **options), tg.zeros(shape, **options))
            for _ in self.transformer.h
        ]
