"""The functions of a distribution: SciPy's methods on NumPy's values, tensorgrad's on tensors."""

from __future__ import annotations

from typing import Any

import scipy.stats

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.compat.autograd.namespaces import either
from tensorgrad.compat.autograd.numpy.linalg import symmetric

_normal: Any = tg.stats.multivariate_normal


class Symmetric:
    """The multivariate normal with a gradient that is symmetric in the covariance, as autograd's.

    tensorgrad reads the covariance's lower triangle, and so has its gradient there alone.
    """

    def logpdf(self, x: Any, mean: Any, cov: Any) -> Any:
        """The logarithm of the density."""
        return _normal.logpdf(x, mean, _even(cov))

    def pdf(self, x: Any, mean: Any, cov: Any) -> Any:
        """The density."""
        return _normal.pdf(x, mean, _even(cov))

    def entropy(self, mean: Any, cov: Any) -> Any:
        """The differential entropy."""
        return _normal.entropy(mean, _even(cov))


def _even(cov: Any) -> Any:
    return symmetric(cov) if isinstance(cov, Tensor) and cov.ndim > 1 else cov


def methods(name: str) -> dict[str, Any]:
    """The methods of scipy.stats.NAME as functions."""
    theirs, ours = getattr(scipy.stats, name), getattr(tg.stats, name)
    if name == "multivariate_normal":
        ours = Symmetric()
    names = [n for n in dir(theirs) if not n.startswith("_") and callable(getattr(theirs, n))]
    return {
        n: either(getattr(theirs, n), getattr(ours, n, None), f"scipy.stats.{name}.{n}")
        for n in names
    }
