"""Recurrent layers on CuPy arrays: per step one stack of products and one generated kernel.

Forward a step of an LSTM or a GRU is two launches (the products of all gates with the state, the
gates), backward two (the gates, the products of their cotangents); nothing is read back, so a graph
may capture it. A fused kernel returns (output, values kept for backward ...).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import cupy

from tensorgrad.backend import recurrent
from tensorgrad.backend.cuda import products
from tensorgrad.backend.cuda.create import stored
from tensorgrad.backend.cuda.formula import ElementwiseKernel
from tensorgrad.backend.cuda.kernels import full, written
from tensorgrad.backend.cuda.layers import sum_rows
from tensorgrad.expr import Formula

Array = Any


@cache
def _kernel(formula: Formula) -> ElementwiseKernel:
    return ElementwiseKernel(formula)


class _Tools:
    """What the schedule asks for, see `recurrent.Tools`."""

    empty: Any = staticmethod(cupy.empty)
    copy: Any = staticmethod(stored)
    sum_rows: Any = staticmethod(sum_rows)
    product: Any = staticmethod(products.multiply)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return full(shape, 0, dtype)

    def add(self, x: Array, y: Array, out: Array | None = None) -> Array:
        return products.ADD(x, y, out=out)

    def each(self, weights: Array, out: Array) -> Callable[[Array], None]:
        def run(x: Array) -> None:
            products.multiply(x, weights, out)

        return run

    def kernel(self, formula: Formula, order: int) -> Callable[..., Any]:
        return _kernel(formula)


TOOLS = _Tools()


def lstm(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    found, gates = recurrent.lstm(TOOLS, inputs, reverse)
    return written(found, out), found, gates


def gru(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    found, gates = recurrent.gru(TOOLS, inputs, reverse)
    return written(found, out), found, gates


def rnn_tanh(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    found = recurrent.rnn(TOOLS, recurrent.TANH(), inputs, reverse)
    return written(found, out), found


def rnn_relu(*inputs: Array, reverse: bool, out: Array | None = None) -> Any:
    found = recurrent.rnn(TOOLS, recurrent.RELU(), inputs, reverse)
    return written(found, out), found


def pull(ct: Array, wanted: Any, into: Any, saved: Any, node: Any) -> Iterable[tuple[int, Array]]:
    """The cotangents of the inputs of any of the layers."""
    return recurrent.pull(TOOLS, node, ct, wanted, into, saved)
