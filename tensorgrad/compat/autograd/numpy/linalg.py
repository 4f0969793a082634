"""Linear algebra: NumPy's functions, which dispatch on tensors, and here on lists of them."""

from __future__ import annotations

from typing import Any

import numpy as _np

from tensorgrad import Tensor as _Tensor
from tensorgrad.compat.autograd.namespaces import wrapped as _wrapped

globals().update(_wrapped(_np.linalg))


def symmetric(a: Any) -> Any:
    """The symmetric matrices of which `a` holds the lower triangles, with symmetric gradients.

    tensorgrad's gradient of a function that reads one triangle is in that triangle alone;
    autograd's is shared between both.
    """
    shared = 0.5 * (a + _np.swapaxes(a, -1, -2))
    fixed: Any = a.detach()
    held = _np.tril(fixed) + _np.swapaxes(_np.tril(fixed, -1), -1, -2)
    return shared + (held - shared.detach())


def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """`np.linalg.cholesky`, with a symmetric gradient for real matrices."""
    if isinstance(a, _Tensor) and not _np.iscomplexobj(a):
        a = symmetric(a)
    return _np.linalg.cholesky(a, upper=upper)


def __getattr__(name: str) -> Any:
    return getattr(_np.linalg, name)
