"""Orthogonal matrices as functions of matrices that are free."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.nn.module import Module


def _skew(x: Any) -> Any:
    """A square skew-symmetric matrix from the lower triangle of a tall one."""
    rows, columns = x.shape[-2:]
    lower = tg.tril(x)
    if rows != columns:
        blank = tg.zeros((*x.shape[:-1], rows - columns), dtype=x.dtype, device=x.device)
        lower = tg.concatenate([lower, blank], axis=-1)
    return lower - tg.matrix_transpose(lower)


def _exponential(x: Any) -> Any:
    """exp(A)."""
    return tg.linalg.expm(_skew(x))[..., : x.shape[-1]]


def _cayley(x: Any) -> Any:
    """(I - A/2)⁻¹ (I + A/2)."""
    half = 0.5 * _skew(x)
    one = tg.eye(x.shape[-2], dtype=x.dtype, device=x.device)
    return tg.linalg.solve(one - half, one + half)[..., : x.shape[-1]]


def _householder(x: Any) -> Any:
    """H₁ H₂ … Hₖ of the reflections whose vectors are the columns below the diagonal.

    As I - V T Vᵀ with one triangular system, T⁻¹ = the strict upper triangle of VᵀV plus half its
    diagonal (Joffrain et al., "Accumulating Householder transformations, revisited", 2006). The
    signs of x's diagonal multiply the columns and have no gradient.
    """
    rows, columns = x.shape[-2:]
    one = tg.eye(rows, columns, dtype=x.dtype, device=x.device)
    v = tg.tril(x, -1) + one
    gram = tg.matrix_transpose(v) @ v
    inverse = tg.triu(gram, 1) + 0.5 * gram * tg.eye(columns, dtype=x.dtype, device=x.device)
    top = tg.matrix_transpose(v[..., :columns, :])
    q = one - v @ tg.linalg.solve_triangular(inverse, top)
    signs = tg.trunc(tg.diagonal(x.detach(), axis1=-2, axis2=-1))
    return q * signs[..., None, :]


MAPS = {"matrix_exp": _exponential, "cayley": _cayley, "householder": _householder}


class Orthogonal(Module):
    """Q = base · map(X): Q of X's shape, with orthonormal columns, or rows where it is wide."""

    def __init__(self, weight: Any, orthogonal_map: str, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = tuple(weight.shape), orthogonal_map
        self.use_trivialization = use_trivialization
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        q = MAPS[self.orthogonal_map](tg.matrix_transpose(x) if wide else x)
        if self.use_trivialization:
            q = self.base @ q
        return tg.matrix_transpose(q) if wide else q

    def right_inverse(self, q: Any) -> Any:
        """The X of an orthogonal matrix; of another one, that of the nearest by QR."""
        if tuple(q.shape) != self.shape:
            raise tg.ShapeError(
                f"orthogonal: got a matrix of shape {tuple(q.shape)}, expected {self.shape} as the "
                "weight has; try reshape"
            )
        q = q.detach()
        wide = q.shape[-2] < q.shape[-1]
        tall = tg.matrix_transpose(q) if wide else q
        if self.use_trivialization:
            self.base = _completed(tall)
            rows, columns = self.shape[-2:]
            one = tg.eye(rows, columns, dtype=q.dtype, device=q.device)
            return tg.zeros_like(q) - one
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                f"orthogonal: got a value for {self.orthogonal_map} without a base, expected none; "
                "try use_trivialization=True"
            )
        found = _reflections(tall)
        return tg.matrix_transpose(found) if wide else found

    def extra_repr(self) -> str:
        return f"{self.orthogonal_map}"


def _completed(tall: Any) -> Any:
    """A square orthogonal matrix whose first columns are those of `tall`, made orthonormal."""
    rows, columns = tall.shape[-2:]
    if rows != columns:
        drawn = tg.randn(*tall.shape[:-1], rows - columns, dtype=tall.dtype, device=tall.device)
        tall = tg.concatenate([tall, drawn], axis=-1)
    q, r = tg.linalg.qr(tall)
    signs = tg.sign(tg.diagonal(r, axis1=-2, axis2=-1))
    return q * signs[..., None, :]


def _reflections(tall: Any) -> Any:
    """LAPACK's reflections of a QR decomposition, ±1 on the diagonal so that R's is positive."""
    array = np.array(tall.to("cpu").numpy())
    raw, tau = np.linalg.qr(array, mode="raw")
    found = np.array(np.swapaxes(raw, -2, -1), dtype=array.dtype)
    columns = np.arange(found.shape[-1])
    found[..., columns, columns] = np.sign(found[..., columns, columns]) * np.where(tau == 0, -1, 1)
    return tg.asarray(found).to(tall.device)
