"""Log-densities and cumulative functions of the common distributions."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("stats")
globals().update(names_in("stats"))
__all__ = sorted(names_in("stats"))  # noqa: PLE0605
