"""Matrix functions and solvers: SciPy's on NumPy's values, tensorgrad's on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as _np
import scipy.linalg as _theirs

import tensorgrad as _tg
from tensorgrad.compat.autograd.namespaces import joined as _joined
from tensorgrad.compat.autograd.primitives import defvjp as _defvjp
from tensorgrad.compat.autograd.primitives import primitive as _primitive

_SAME = """
    block_diag cho_factor cho_solve det expm inv logm lu lu_factor lu_solve solve_sylvester
    solve_toeplitz solve_triangular sqrtm toeplitz
"""
"""Functions of SciPy that mean the same in tensorgrad, with the same leading arguments."""

_FREE = ("overwrite_a", "overwrite_b", "check_finite", "debug", "disp")
"""SciPy's options that say nothing about the result."""


_linalg: Any = _tg.linalg


def _taking(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **{k: v for k, v in kwargs.items() if k not in _FREE})

    return call


def _cholesky(a: Any, lower: bool = False) -> Any:
    return _linalg.cholesky(a, upper=not lower)


_OURS = {name: _taking(getattr(_linalg, name)) for name in _SAME.split()}
_OURS |= {"cholesky": _taking(_cholesky), "solve": _taking(_linalg.solve)}
globals().update(_joined(_theirs, _OURS, "scipy.linalg"))


# -- band matrices: row u + i - j of the bands holds element (i, j) in column j -----------------


@_primitive
def _solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any) -> Any:
    return _theirs.solve_banded(l_and_u, ab, b)


def _places(lower: int, upper: int, n: int) -> tuple[Any, Any, Any]:
    """(row i, column j, whether the matrix has it) for every place in the bands."""
    column = _np.broadcast_to(_np.arange(n), (lower + upper + 1, n))
    row = column + _np.arange(lower + upper + 1)[:, None] - upper
    inside = (row >= 0) & (row < n)
    return _np.where(inside, row, 0), column, inside


def _transposed(lower: int, upper: int, ab: Any) -> Any:
    """The bands of the transposed matrix."""
    row, column, inside = _places(upper, lower, ab.shape[1])
    return _np.where(inside, ab[_np.where(inside, upper + column - row, 0), row], 0.0)


def _bands_vjp(x: Any, l_and_u: tuple[int, int], ab: Any, b: Any) -> Callable[[Any], Any]:
    lower, upper = l_and_u
    row, column, inside = _places(lower, upper, ab.shape[1])

    def pull(g: Any) -> Any:
        v = _solve_banded((upper, lower), _transposed(lower, upper, ab), g)
        products = v[row] * x[column]
        summed = products if products.ndim == 2 else _np.sum(products, -1)
        return _np.where(inside, -summed, 0.0)

    return pull


def _right_vjp(x: Any, l_and_u: tuple[int, int], ab: Any, b: Any) -> Callable[[Any], Any]:
    lower, upper = l_and_u
    return lambda g: _solve_banded((upper, lower), _transposed(lower, upper, ab), g)


_defvjp(_solve_banded, _bands_vjp, _right_vjp, argnums=(1, 2))


def solve_banded(l_and_u: tuple[int, int], ab: Any, b: Any, **options: Any) -> Any:
    """The x with A x = b for the matrix A whose diagonals are the rows of `ab`.

    ab: (l + u + 1, n), element (i, j) of A at [u + i - j, j]; b: (n,) or (n, k).
    """
    return _solve_banded(tuple(int(k) for k in l_and_u), ab, b)


def __getattr__(name: str) -> Any:
    return getattr(_theirs, name)
