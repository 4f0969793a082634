"""Operations of networks alone: they stand in `tg.nn.functional`."""

from tensorgrad.ops.nn import (
    activations,
    adaptive_pool,
    attention,
    batch_norm,
    conv,
    ctc,
    distances,
    embedding,
    losses,
    norms,
    pool,
    recurrent,
)

__all__ = [
    "activations",
    "adaptive_pool",
    "attention",
    "batch_norm",
    "conv",
    "ctc",
    "distances",
    "embedding",
    "losses",
    "norms",
    "pool",
    "recurrent",
]
