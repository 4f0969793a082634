"""Operations of networks alone: they stand in `tg.nn.functional`."""

from tensorgrad.ops.nn import conv

__all__ = ["conv"]
