"""Operations of networks alone: they stand in `tg.nn.functional`."""

from tensorgrad.ops.nn import attention, conv

__all__ = ["attention", "conv"]
