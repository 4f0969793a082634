"""Distributions of vectors: the multivariate normal and Dirichlet's."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad._errors import need
from tensorgrad.core.calls import operand, operands
from tensorgrad.ops.create import eye
from tensorgrad.ops.diagonal import diagonal
from tensorgrad.ops.elementary import exp, log
from tensorgrad.ops.elementwise import square
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.linalg.cholesky import cholesky
from tensorgrad.ops.linalg.triangular import solve_triangular
from tensorgrad.ops.reduce import sum
from tensorgrad.ops.special.formulas import xlogy
from tensorgrad.ops.special.gammas import digamma, gammaln


class MultivariateNormal:
    """The normal distribution of vectors, the last axis of x; as scipy.stats.multivariate_normal.

    log p = -(d log 2π + log det cov + (x - mean)ᵀ cov⁻¹ (x - mean)) / 2, by Cholesky's factor:
    `cov` (d, d) is positive definite; a number or a vector is a diagonal.
    """

    def __repr__(self) -> str:
        return "<distribution multivariate_normal(mean, cov)>"

    def logpdf(self, x: Any, mean: Any = 0.0, cov: Any = 1.0) -> Any:
        """The logarithm of the density: shape of x without the last axis."""
        x, mean, cov = operands((x, 0.0 if mean is None else mean, cov), "multivariate_normal")
        size = cov.shape[-1] if cov.ndim else mean.shape[-1] if mean.ndim else 1
        if x.ndim == 0:
            x = x.reshape((1,))
        elif x.shape[-1] != size and size == 1:
            x = x[..., None]
        need(x.shape[-1] == size, "multivariate_normal.logpdf", x=x, cov=cov,
             want=f"vectors of {size} elements along the last axis", fix="x.mT")  # fmt: skip
        root = _root(cov, size)
        centred = x - mean
        white = solve_triangular(root, centred.reshape((-1, size)).mT, lower=True)
        distance = sum(square(white), axis=0).reshape(centred.shape[:-1])
        scale = sum(log(diagonal(root)))
        return -0.5 * distance - scale - 0.5 * size * math.log(2 * math.pi)

    def pdf(self, x: Any, mean: Any = 0.0, cov: Any = 1.0) -> Any:
        """The density."""
        return exp(self.logpdf(x, mean, cov))

    def entropy(self, mean: Any = 0.0, cov: Any = 1.0) -> Any:
        """(d (1 + log 2π) + log det cov) / 2."""
        mean, cov = operands((0.0 if mean is None else mean, cov), "multivariate_normal")
        size = cov.shape[-1] if cov.ndim else mean.shape[-1] if mean.ndim else 1
        scale = sum(log(diagonal(_root(cov, size))))
        return scale + 0.5 * size * (1 + math.log(2 * math.pi))


def _root(cov: Any, size: int) -> Any:
    """Cholesky's factor of a covariance that may be a diagonal."""
    if cov.ndim < 2:
        cov = cov * eye(size, dtype=cov.dtype, device=cov.device)
    return cholesky(cov)


class Dirichlet:
    """Dirichlet's distribution of proportions, the first axis of x; as scipy.stats.dirichlet.

    log p = log Γ(Σ alpha) - Σ log Γ(alpha) + Σ (alpha - 1) log x.
    """

    def __repr__(self) -> str:
        return "<distribution dirichlet(alpha)>"

    def logpdf(self, x: Any, alpha: Any) -> Any:
        """The logarithm of the density at x (K, ...); the last of K proportions may be left out."""
        x, alpha = operands((x, alpha), "dirichlet")
        size = alpha.shape[0] if alpha.ndim else 1
        need(alpha.ndim == 1 and x.ndim >= 1 and x.shape[0] in (size, size - 1),
             "dirichlet.logpdf", x=x, alpha=alpha, want="proportions along the first axis of x",
             fix="x.mT")  # fmt: skip
        if x.shape[0] < size:
            x = concatenate([x, 1.0 - sum(x, axis=0, keepdims=True)], 0)
        powers = (alpha - 1.0).reshape((size, *(1,) * (x.ndim - 1)))
        norm = gammaln(sum(alpha)) - sum(gammaln(alpha))
        return sum(xlogy(powers, x), axis=0) + norm

    def pdf(self, x: Any, alpha: Any) -> Any:
        """The density."""
        return exp(self.logpdf(x, alpha))

    def entropy(self, alpha: Any) -> Any:
        """log B(alpha) + (Σ alpha - K) ψ(Σ alpha) - Σ (alpha - 1) ψ(alpha)."""
        alpha = operand(alpha, (), "dirichlet")
        total = sum(alpha)
        norm = sum(gammaln(alpha)) - gammaln(total)
        spread = (total - alpha.shape[0]) * digamma(total)
        return norm + spread - sum((alpha - 1.0) * digamma(alpha))


multivariate_normal = MultivariateNormal()
dirichlet = Dirichlet()
