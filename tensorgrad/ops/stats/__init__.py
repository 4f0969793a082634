"""Distributions: the objects of `tg.stats`, tables of functions made of public operations."""

from tensorgrad.ops import protocols

protocols.load("special")
protocols.load("linalg")

from tensorgrad.ops.stats import continuous, discrete, multivariate  # noqa: E402
from tensorgrad.ops.stats.distribution import Distribution  # noqa: E402

DISTRIBUTIONS = {
    name: found
    for family in (continuous, discrete, multivariate)
    for name, found in vars(family).items()
    if isinstance(found, Distribution | multivariate.MultivariateNormal | multivariate.Dirichlet)
}

__all__ = ["DISTRIBUTIONS", "continuous", "discrete", "multivariate"]
