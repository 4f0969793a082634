"""Log-densities and cumulative functions of the common distributions: `norm.logpdf(x, loc=m)`."""

from tensorgrad.core.registry import names_in
from tensorgrad.ops import protocols

protocols.load("stats")

from tensorgrad.ops.stats import DISTRIBUTIONS  # noqa: E402

globals().update({**names_in("stats"), **DISTRIBUTIONS})
__all__ = sorted({**names_in("stats"), **DISTRIBUTIONS})  # noqa: PLE0605
