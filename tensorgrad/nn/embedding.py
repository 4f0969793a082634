"""Embeddings as layers: of whole numbers, and of positions."""

from __future__ import annotations

from typing import Any, Self

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn import init
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter


def _table(name: str, embeddings: Any) -> tg.Tensor:
    given = embeddings if isinstance(embeddings, tg.Tensor) else tg.asarray(embeddings)
    if given.ndim != 2:
        raise tg.ShapeError(
            f"{name}.from_pretrained: got embeddings of shape {given.shape}, expected "
            "(rows, size); try embeddings[None]"
        )
    return given


def _draw(weight: Parameter, padding_idx: int | None) -> None:
    """Standard normal values, zeros for padding."""
    init.normal_(weight)
    if padding_idx is not None:
        with tg.no_grad():
            weight[padding_idx] = 0


class Embedding(Module):
    """The rows of `weight` (num_embeddings, embedding_dim) that the input, whole numbers, names.

    `weight` starts standard normal, its row `padding_idx` as zeros that no gradient changes. See
    `tg.nn.functional.embedding` for max_norm, norm_type and scale_grad_by_freq; gradients are
    dense. Raises `IndexError` for an index below 0 or past the rows.

    >>> Embedding(10, 3, padding_idx=0)
    Embedding(10, 3, padding_idx=0)
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if sparse:
            raise ValueError(
                "Embedding: got sparse=True, expected dense gradients; try sparse=False"
            )
        if padding_idx is not None:
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ValueError(
                    f"Embedding: got padding_idx={padding_idx}, num_embeddings={num_embeddings}, "
                    "expected one of the rows; try padding_idx=0"
                )
            padding_idx %= num_embeddings
        self.padding_idx, self.max_norm, self.norm_type = padding_idx, max_norm, norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        shape, dtype = (num_embeddings, embedding_dim), dtype or tg.dtypes.default()
        self.weight = Parameter(tg.zeros(shape, dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values: standard normal, zeros for padding."""
        _draw(self.weight, self.padding_idx)

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, padding_idx: int | None = None,
        max_norm: float | None = None, norm_type: float = 2.0, scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:  # fmt: skip
        """The layer of a table that is there, (rows, size); with `freeze` it gets no gradient."""
        given = _table("Embedding", embeddings)
        rows, size = given.shape
        found = cls(
            rows, size, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse,
            dtype=given.dtype,
        )  # fmt: skip
        found.weight = Parameter(given, requires_grad=not freeze)
        return found

    def forward(self, input: Any) -> Any:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        return f"{text}, scale_grad_by_freq=True" if self.scale_grad_by_freq else text


class EmbeddingBag(Module):
    """The sum, mean or largest of the rows of `weight` that each bag of indices names.

    Input: (bags, length), or (indices,) with `offsets`; see `tg.nn.functional.embedding_bag`.
    `weight` (num_embeddings, embedding_dim) starts standard normal, its row `padding_idx` as zeros
    that no gradient changes. Raises `IndexError` for an index below 0 or past the rows.

    >>> EmbeddingBag(10, 3, mode="sum")
    EmbeddingBag(10, 3, mode='sum')
    """

    weight: Parameter

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, include_last_offset: bool = False,
        padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        own = Embedding(num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
                        scale_grad_by_freq, sparse, device, dtype)  # fmt: skip
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx, self.max_norm, self.norm_type = own.padding_idx, max_norm, norm_type
        self.scale_grad_by_freq, self.include_last_offset = scale_grad_by_freq, include_last_offset
        if mode not in ("sum", "mean", "max"):
            raise ValueError(
                f'EmbeddingBag: got mode={mode!r}, expected one of sum, mean, max; try mode="mean"'
            )
        self.mode, self.weight = mode, own.weight

    def reset_parameters(self) -> None:
        """Draw new initial values: standard normal, zeros for padding."""
        _draw(self.weight, self.padding_idx)

    @classmethod
    def from_pretrained(
        cls, embeddings: Any, freeze: bool = True, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean",
        sparse: bool = False, include_last_offset: bool = False, padding_idx: int | None = None,
    ) -> Self:  # fmt: skip
        """The layer of a table that is there, (rows, size); with `freeze` it gets no gradient."""
        given = _table("EmbeddingBag", embeddings)
        rows, size = given.shape
        found = cls(
            rows, size, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
            include_last_offset, padding_idx, dtype=given.dtype,
        )  # fmt: skip
        found.weight = Parameter(given, requires_grad=not freeze)
        return found

    def forward(self, input: Any, offsets: Any = None, per_sample_weights: Any = None) -> Any:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq,
            self.mode, False, per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        if self.norm_type != 2:
            text += f", norm_type={self.norm_type}"
        text += ", scale_grad_by_freq=True" if self.scale_grad_by_freq else ""
        text += f", mode={self.mode!r}"
        return text if self.padding_idx is None else f"{text}, padding_idx={self.padding_idx}"


class RotaryEmbedding(Module):
    """Turns pairs of the last axis by their position; see `tg.nn.functional.rotary_embedding`.

    >>> RotaryEmbedding()([[1.0, 0.0]])
    tensor([[1., 0.]])
    """

    def __init__(self, base: float = 10000.0) -> None:
        super().__init__()
        self.base = base

    def forward(self, input: Any, positions: Any = None) -> Any:
        return F.rotary_embedding(input, self.base, positions)

    def extra_repr(self) -> str:
        return f"base={self.base}"
