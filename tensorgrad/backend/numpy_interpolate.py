"""Tridiagonal systems of NumPy arrays, named as the primitive is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tensorgrad.backend.numpy_kernels import written

Array = np.ndarray[Any, Any]


def tridiagonal(d: Array, b: Array, out: Array | None = None) -> Any:
    """LAPACK's gtsv."""
    from scipy.linalg import solve_banded  # late: for import time

    n = d.shape[1]
    if n < 2 or not b.size:
        return written(b / d[1][:, None], out)
    bands = np.zeros_like(d)
    bands[0, 1:], bands[1], bands[2, :-1] = d[2, :-1], d[1], d[0, 1:]
    return written(solve_banded((1, 1), bands, b, check_finite=False), out)


def reduced(xp: Any, d: Any, b: Any) -> Any:
    """The same by parallel cyclic reduction (Hockney, 1965): log2(n) passes over all rows."""
    low, mid, high = (x[:, None].copy() for x in d)
    low[:1], high[-1:] = 0, 0
    step, n = 1, mid.shape[0]
    while step < n:
        up = xp.zeros_like(mid)
        down = xp.zeros_like(mid)
        up[step:] = -low[step:] / mid[:-step]
        down[:-step] = -high[:-step] / mid[step:]
        rows = (low, mid, high, b)
        above = [_shifted(xp, x, step) for x in rows]
        below = [_shifted(xp, x, -step) for x in rows]
        low, high = up * above[0], down * below[2]
        mid = mid + up * above[2] + down * below[0]
        b = b + up * above[3] + down * below[3]
        step *= 2
    return b / mid


def _shifted(xp: Any, x: Any, step: int) -> Any:
    """x[i - step], 0 outside."""
    found = xp.zeros_like(x)
    if step > 0:
        found[step:] = x[:-step]
    else:
        found[:step] = x[-step:]
    return found
