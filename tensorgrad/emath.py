"""Functions that are complex where a real result does not exist, named as in numpy.emath."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("emath")
globals().update(names_in("emath"))
__all__ = sorted(names_in("emath"))  # noqa: PLE0605
