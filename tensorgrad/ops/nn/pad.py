"""Padding as networks do: the widths of the last axis first, in PyTorch's names of the modes."""

from __future__ import annotations

from typing import Any

import numpy as np  # oracles only

from tensorgrad._errors import need
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import padding

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""What NumPy's pad calls PyTorch's modes."""


def _widths(op: str, given: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """The widths of every axis, out of those of the last ones from behind."""
    whole = isinstance(given, tuple | list) and all(hasattr(n, "__index__") for n in given)
    need(whole and len(given) % 2 == 0 and len(given) <= 2 * ndim, op, pad=given,
         want=f"two whole numbers for each of up to {ndim} axes, the last axis first",
         fix="pad=(left, right)")  # fmt: skip
    pairs = [(int(given[k]), int(given[k + 1])) for k in range(0, len(given), 2)]
    return ((0, 0),) * (ndim - len(pairs)) + tuple(pairs[::-1])


def _fitting(op: str, x: Tensor, mode: str, widths: Any) -> None:
    """Refuse a border that would need more elements than the axis has."""
    spare = {"reflect": 1, "circular": 0}.get(mode)
    each = [(n, max(pair)) for n, pair in zip(x.shape, widths) if max(pair) > 0]
    if spare is not None:
        need(all(most <= n - spare for n, most in each), op, input=x, pad=widths, mode=mode,
             want="a border " + ("shorter" if spare else "no longer") + " than the axis",
             fix='mode="replicate"')  # fmt: skip


def _cut(x: Tensor, cut: Any) -> Tensor:
    """x without its ends."""
    if not any(pair != (0, 0) for pair in cut):
        return x
    return x[tuple([slice(low, n - high) for n, (low, high) in zip(x.shape, cut)])]


def _bordered(x: Tensor, widths: Any, mode: str, value: Any) -> Tensor:
    _fitting("pad", x, mode, widths)
    if mode == "constant":
        return padding.pad(x, widths, constant_values=value or 0)  # type: ignore[no-any-return]
    return padding.pad(x, widths, mode=MODES[mode])  # type: ignore[no-any-return]


def _oracle(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    pairs = [(0, 0)] * (x.ndim - len(pad) // 2) + list(zip(pad[::2], pad[1::2]))[::-1]
    ends = [slice(max(-low, 0), min(high, 0) or None) for low, high in pairs]
    x = x[tuple(ends)] if mode == "circular" else x
    pairs = [(max(low, 0), max(high, 0)) for low, high in pairs]
    more = {"constant_values": value or 0} if mode == "constant" else {}
    found = np.pad(x, pairs, MODES[mode], **more)  # type: ignore[call-overload]
    return found if mode == "circular" else found[tuple(ends)]


def _samples(r: Any) -> Any:
    for shape, pad in (
        ((4,), (1, 2)), ((3, 4), (2, 0)), ((3, 4), (1, 1, 2, 0)), ((2, 3, 4), (1, 2)),
        ((3, 4), ()), ((0, 3), (1, 1)), ((2, 4), (-1, 2)), ((4, 4), (1, -2, -1, -1)),
    ):  # fmt: skip
        yield (r.normal(*shape), pad), {}
    yield (r.normal(4, 3).T, (1, 1)), {"value": 2.5}
    for mode in ("reflect", "replicate", "circular"):
        yield (r.normal(2, 3, 4), (1, 2)), {"mode": mode}
        yield (r.normal(1, 2, 3, 4), (1, 0, 2, 1)), {"mode": mode}
        yield (r.normal(6, 5)[::2, ::-1], (-1, 2)), {"mode": mode}
    yield (r.normal(2, 2), (1, -1)), {"mode": "reflect"}


@operation(oracle=_oracle, samples=_samples, namespace="nn")
def pad(input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    """`input` with a border: pad is (left, right) of the last axis, then of the one before, ...

    mode "constant" fills with `value` (0), "reflect" mirrors without the edge, "replicate" repeats
    the edge, "circular" wraps around. A negative width takes elements away. Raises `ShapeError`
    for widths that do not fit, `ValueError` for another mode or a value that it does not use.

    >>> pad([1.0, 2.0, 3.0], (2, 1), mode="reflect")
    tensor([3., 2., 1., 2., 3., 2.])
    """
    op = "pad"
    need(mode in MODES, op, mode=mode, want=f"one of {' '.join(MODES)}", fix='mode="constant"',
         error=ValueError)  # fmt: skip
    need(mode == "constant" or not value, op, mode=mode, value=value,
         want="a value with constant alone", fix="value=None", error=ValueError)  # fmt: skip
    x = operand(input, (), op)
    widths = _widths(op, pad, x.ndim)
    cut = [(max(-low, 0), max(-high, 0)) for low, high in widths]
    need(all(n + low + high >= 0 for n, (low, high) in zip(x.shape, widths)), op, input=x, pad=pad,
         want="no more taken away than there is", fix="pad=(0, 0)")  # fmt: skip
    more = tuple([(max(low, 0), max(high, 0)) for low, high in widths])
    if mode == "circular":  # what is taken away is not there to come round
        return _bordered(_cut(x, cut), more, mode, value)
    return _cut(_bordered(x, more, mode, value), cut)
