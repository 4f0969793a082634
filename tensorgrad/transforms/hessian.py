"""Second derivatives as whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad.transforms.jacobian import jacobian
from tensorgrad.transforms.reverse import Argnums


def hessian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that returns the second derivatives of f, forward over reverse.

    H[i, j] = ∂²f(x) / ∂x[i] ∂x[j], of shape x.shape + x.shape; for an f of several values their
    shape stands before. The structure is that of the arguments, in the place of each array the
    structure of the arguments again. `argnums`, `has_aux`, `chunk_size` and errors as in
    `jacobian`.

    >>> import numpy as np
    >>> hessian(lambda x: np.sum(x ** 3))(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    first = jacobian(f, argnums, has_aux, mode="reverse", chunk_size=chunk_size)
    return jacobian(first, argnums, has_aux, mode="forward", chunk_size=chunk_size)
