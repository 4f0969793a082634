"""Weight norm, spectral norm and orthogonal weights, with PyTorch's state_dict keys."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.nn.module import Module
from tensorgrad.nn.utils.orthogonal import MAPS, Orthogonal
from tensorgrad.nn.utils.parametrize import register_parametrization


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """w = g · v / ||v||, the norm over all axes but `dim` (over all for None or -1).

    The magnitude g is `original0`, the direction v `original1`. Salimans and Kingma, "Weight
    normalization", 2016.
    """
    return register_parametrization(module, name, WeightNorm(dim), unsafe=True)


class WeightNorm(Module):
    """g · v / ||v||."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def _norm(self, v: Any) -> Any:
        if self.dim == -1:
            return tg.norm(v)
        others = tuple(k for k in range(v.ndim) if k != self.dim)
        return tg.sqrt(tg.sum(v * v, axis=others, keepdims=True))

    def forward(self, g: Any, v: Any) -> Any:
        return v * (g / self._norm(v))

    def right_inverse(self, weight: Any) -> tuple[Any, Any]:
        """(g, v) of a weight."""
        return self._norm(weight), weight


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """w = v / σ(v), σ the largest singular value of v with `dim` as rows and the rest as columns.

    σ comes from power iterations, `n_power_iterations` for each value that is taken in training;
    its vectors are the buffers `_u` and `_v`. `dim` is 1 for transposed convolutions, else 0.
    Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    weight = _weight("spectral_norm", module, name).detach()
    part = SpectralNorm(weight, n_power_iterations, dim, eps)
    return register_parametrization(module, name, part)


def _weight(op: str, module: Module, name: str) -> Any:
    """A parameter or buffer of a module; `KeyError` where it has none of this name."""
    found = getattr(module, name, None)
    if not isinstance(found, tg.Tensor):
        raise KeyError(
            f"{op}: got {name!r}, expected a parameter of {type(module).__name__}; "
            "try a layer that has a weight"
        )
    return found


class SpectralNorm(Module):
    """v / σ(v)."""

    def __init__(
        self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise ValueError(
                f"spectral_norm: got n_power_iterations={n_power_iterations}, expected at least 1; "
                "try 1"
            )
        if not -weight.ndim <= dim < weight.ndim:
            raise tg.ShapeError(
                f"spectral_norm: got dim={dim} for a weight of shape {tuple(weight.shape)}, "
                "expected one of its axes; try dim=0"
            )
        self.dim, self.eps = dim % weight.ndim, eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            matrix = self._matrix(weight)
            drawn = [tg.randn(n, dtype=weight.dtype, device=weight.device) for n in matrix.shape]
            self.register_buffer("_u", self._unit(drawn[0]))
            self.register_buffer("_v", self._unit(drawn[1]))
            self._u, self._v = self._iterated(matrix, 15)

    def _matrix(self, weight: Any) -> Any:
        rows = tg.moveaxis(weight, self.dim, 0)
        return tg.reshape(rows, (rows.shape[0], -1))

    def _unit(self, x: Any) -> Any:
        return x / tg.maximum(tg.norm(x), self.eps)

    def _iterated(self, matrix: Any, count: int) -> tuple[Any, Any]:
        u, v = self._u, self._v
        with tg.no_grad():
            matrix = matrix.detach()
            for _ in range(count):
                u = self._unit(matrix @ v)
                v = self._unit(matrix.T @ u)
        return u, v

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return self._unit(weight)
        matrix, u, v = self._matrix(weight), self._u, self._v
        if self.training:
            u, v = self._iterated(matrix, self.n_power_iterations)
            if not (u.level or v.level):  # inside vmap and jvp the buffers stay
                self._u, self._v = u, v
        return weight / tg.vecdot(u, matrix @ v)

    def right_inverse(self, value: Any) -> Any:
        """The weight itself: σ does not come back."""
        return value


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """An orthogonal weight: WᵀW = I, or WWᵀ = I where it is wider than high.

    `orthogonal_map`: "matrix_exp", "cayley" or "householder"; None is the first for square weights,
    else the last. With `use_trivialization` the map starts from the buffer `base`, which assigning
    a value sets, else "matrix_exp" and "cayley" can be assigned none. Casado, "Trivializations for
    gradient-based optimization on manifolds", 2019. Raises `ShapeError` under two axes.
    """
    weight = _weight("orthogonal", module, name)
    if weight.ndim < 2:
        raise tg.ShapeError(
            f"orthogonal: got {name} of shape {tuple(weight.shape)}, expected at least two axes; "
            "try a weight"
        )
    square = weight.shape[-2] == weight.shape[-1]
    chosen = orthogonal_map or ("matrix_exp" if square else "householder")
    if chosen not in MAPS:
        raise ValueError(
            f"orthogonal: got orthogonal_map={chosen!r}, expected one of "
            f"{', '.join(MAPS)}; try None"
        )
    part = Orthogonal(weight.detach(), chosen, use_trivialization)
    return register_parametrization(module, name, part, unsafe=True)
