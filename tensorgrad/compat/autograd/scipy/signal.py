"""`convolve` over any axes of two arrays, as autograd has it; all else is SciPy's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as _np
import scipy.signal as _theirs

import tensorgrad as _tg
from tensorgrad.compat.autograd.namespaces import joined as _joined

_signal: Any = _tg.signal
_OURS = {name: getattr(_signal, name) for name in _signal.__all__}
globals().update(_joined(_theirs, _OURS, "scipy.signal"))

Axes = Sequence[Sequence[int]]


def _kinds(ndim: int, conv: Sequence[int], dot: Sequence[int]) -> tuple[list[int], ...]:
    """The axes of one array: (neither convolved nor summed, summed, convolved)."""
    conv, dot = [k % ndim for k in conv], [k % ndim for k in dot]
    return [k for k in range(ndim) if k not in conv and k not in dot], dot, conv


def _padding(mode: str, width: int) -> tuple[int, int]:
    """How far the longer array is padded before and behind, for a window of `width`."""
    behind = (width - 1) // 2
    same = (width - 1 - behind, behind)
    return {"full": (width - 1, width - 1), "same": same, "valid": (0, 0)}[mode]


def convolve(
    A: Any, B: Any, axes: Axes | None = None, dot_axes: Axes = ((), ()), mode: str = "full"
) -> Any:
    """Σ_m A[.., k - m] B[.., m] over the pairs of `axes`, summed over the pairs of `dot_axes`.

    `mode` is "full", "same" (the size of A) or "valid". The result has the other axes of A, those
    of B, then the convolved ones. Raises `AssertionError` for another mode, `ValueError` for
    "valid" where neither array is the longer one along every convolved axis.
    """
    assert mode in ("valid", "full", "same"), (
        f'convolve: got mode={mode!r}, expected "full", "same" or "valid"; try mode="full"'
    )
    conv = axes if axes is not None else (range(_np.ndim(A)), range(_np.ndim(B)))
    free_a, dot_a, conv_a = _kinds(_np.ndim(A), conv[0], dot_axes[0])
    free_b, dot_b, conv_b = _kinds(_np.ndim(B), conv[1], dot_axes[1])
    longer = [_np.shape(A)[i] >= _np.shape(B)[j] for i, j in zip(conv_a, conv_b)]
    if mode == "valid" and not all(longer):
        if any(_np.shape(A)[i] > _np.shape(B)[j] for i, j in zip(conv_a, conv_b)):
            raise ValueError(
                f"convolve: got shapes {_np.shape(A)} and {_np.shape(B)}, expected one to be the "
                'longer along every convolved axis for mode="valid"; try mode="full"'
            )
        swapped = convolve(B, A, conv[::-1], dot_axes[::-1], mode)
        p, q = len(free_a), len(free_b)
        order = [*range(q, p + q), *range(q), *range(p + q, swapped.ndim)]
        return _np.transpose(swapped, order)
    a: Any = _np.transpose(A, [*free_a, *dot_a, *conv_a])
    b: Any = _np.transpose(B, [*free_b, *dot_b, *conv_b])
    n, widths = len(conv_a), b.shape[b.ndim - len(conv_b) :]
    pads = [(0, 0)] * (a.ndim - n) + [_padding(mode, w) for w in widths]
    views = _np.lib.stride_tricks.sliding_window_view(
        _np.pad(a, pads), widths, tuple(range(a.ndim - n, a.ndim))
    )
    b = _np.flip(b, tuple(range(b.ndim - n, b.ndim)))
    f, d, g = len(free_a), len(dot_a), len(free_b)
    over_a = [*range(f, f + d), *range(views.ndim - n, views.ndim)]
    found = _np.tensordot(views, b, (over_a, [*range(g, g + d), *range(b.ndim - n, b.ndim)]))
    return _np.transpose(found, [*range(f), *range(f + n, f + n + g), *range(f, f + n)])


def __getattr__(name: str) -> Any:
    return getattr(_theirs, name)
