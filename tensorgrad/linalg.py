"""Linear algebra on stacks of matrices, named as in numpy.linalg and scipy.linalg."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("linalg")
globals().update(names_in("linalg"))
__all__ = sorted(names_in("linalg"))  # noqa: PLE0605
