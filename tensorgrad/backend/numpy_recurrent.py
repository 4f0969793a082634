"""Recurrent layers on NumPy arrays; the 16-bit floats are computed in float32.

A fused kernel returns (output, values kept for backward ...); `pull` is the layers' first-order
VJP on bare arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from tensorgrad.backend import memory, recurrent
from tensorgrad.backend.blas import DOOR
from tensorgrad.backend.numpy_formula import ElementwiseKernel
from tensorgrad.backend.numpy_kernels import written
from tensorgrad.backend.numpy_pulls import sum_rows
from tensorgrad.expr import Formula

Array = np.ndarray[Any, Any]


class _Tools:
    """What the schedule asks for, see `recurrent.Tools`."""

    empty: Any = staticmethod(memory.empty)
    zeros: Any = staticmethod(np.zeros)
    copy: Any = staticmethod(np.copyto)
    add: Any = staticmethod(np.add)
    sum_rows: Any = staticmethod(sum_rows)
    kernel: Any = staticmethod(cache(ElementwiseKernel))

    def product(self, x: Array, y: Array, out: Array, bias: Array | None = None) -> Array:
        return DOOR.multiply(x, y, out, bias)  # type: ignore[no-any-return]

    def each(self, weights: Array, out: Array) -> Callable[[Array], None]:
        """One product after the other: BLAS takes no stack, and small ones it needs not pack."""
        pairs, multiply = list(zip(weights, out)), DOOR.multiply

        def run(x: Array) -> None:
            if x.ndim == 2:
                for w, o in pairs:
                    multiply(x, w, o)
            else:
                for one, (w, o) in zip(x, pairs):
                    multiply(one, w, o)

        return run


TOOLS = _Tools()


def _wide(arrays: Sequence[Array]) -> list[Array]:
    """The 16-bit floats in float32, in which they are computed."""
    return [a.astype(np.float32) if a.itemsize == 2 else a for a in arrays]


def _run(layer: Callable[..., Any], inputs: Sequence[Array], reverse: bool, out: Any) -> Any:
    found, gates = layer(TOOLS, _wide(inputs), reverse)
    narrow = found.astype(inputs[0].dtype, copy=False)
    return written(narrow, out), found, gates


def lstm(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    return _run(recurrent.lstm, inputs, reverse, out)


def gru(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    return _run(recurrent.gru, inputs, reverse, out)


def _plain(formula: Callable[[], Formula], inputs: Any, reverse: bool, out: Any) -> Any:
    found = recurrent.rnn(TOOLS, formula(), _wide(inputs), reverse)
    return written(found.astype(inputs[0].dtype, copy=False), out), found


def rnn_tanh(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    return _plain(recurrent.TANH, inputs, reverse, out)


def rnn_relu(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    return _plain(recurrent.RELU, inputs, reverse, out)


def pull(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Iterable[tuple[int, Array]]:
    """The cotangents of the inputs of any of the layers."""
    return recurrent.pull(TOOLS, node, _wide([ct])[0], wanted, into, _wide(saved))
