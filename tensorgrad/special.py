"""Special functions, named as in scipy.special, with derivatives in all arguments that have one."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("special")
globals().update(names_in("special"))
__all__ = sorted(names_in("special"))  # noqa: PLE0605
