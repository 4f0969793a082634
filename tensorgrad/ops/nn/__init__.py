"""Operations of networks alone: they stand in `tg.nn.functional`."""

from tensorgrad.ops.nn import activations, attention, conv, losses

__all__ = ["activations", "attention", "conv", "losses"]
