"""Anomaly mode: the first value or cotangent that is not finite raises, with its op and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ContextDecorator, ExitStack
from math import prod
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad._errors import GradientError
from tensorgrad.backend import base
from tensorgrad.core.primitive import PRIMITIVES, Primitive
from tensorgrad.core.tape import Array, Node, place, user_place
from tensorgrad.core.tensor import Tensor, name_of
from tensorgrad.core.watch import Pairs, Source, Watch, watching
from tensorgrad.transforms.checksums import checksums


class NonFiniteError(GradientError, FloatingPointError):
    """A value or a cotangent that is infinite or NaN, under `detect_anomaly`."""


class detect_anomaly(ContextDecorator):  # noqa: N801  (PyTorch's name)
    """The first value or cotangent inside that is not finite raises, naming op, file and line.

    Forward: an operation that gives a NaN, or an infinity from finite inputs (a mask of -inf may be
    given, added and selected). Backward: an operation that gives an input a cotangent that is not
    finite; the line is that of its forward. Every result is read, on a GPU too: for finding an
    error, not for training.

    What backward reads is also compared with a checksum from when it was saved: `InPlaceError`
    where somebody wrote to the NumPy array that a tensor shares memory with.

    The derivative of `where(x > 0, sqrt(x), 0)` at 0, op by op, is 0 * inf = NaN: the branch that
    was not taken has a cotangent of zero and an infinite derivative. Such a case is recognised and
    the error shows the form without it, `where(ok, sqrt(where(ok, x, 1)), 0)`.

    >>> import numpy as np, tensorgrad as tg
    >>> with detect_anomaly():
    ...     tg.grad(lambda x: np.sum(np.sqrt(x)))(np.array([4.0, 0.0]))
    Traceback (most recent call last):
    tensorgrad.transforms.anomaly.NonFiniteError: sqrt: got a cotangent of its input with inf ...
    """

    def __init__(self) -> None:
        self._open: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.enter_context(checksums())
        stack.enter_context(watching(_Anomaly()))
        self._open.append(stack)

    def __exit__(self, *exc: object) -> None:
        self._open.pop().close()


class _Anomaly(Watch):
    """Checks what kernels and rules give."""

    def __init__(self) -> None:
        self._backward = 0
        self._choices: dict[int, Node] = {}  # by number: the select that a value's cotangent is of

    def kernel(
        self, op: Primitive | Source, run: Callable[[], Any], arrays: Sequence[Array]
    ) -> Any:
        if not arrays:  # an array of given values: what they are is not this operation's doing
            return run()
        with base.of(arrays[0]).quiet():  # the error says more than NumPy's warning
            found = run()
        if not self._backward:
            for out in found if isinstance(found, tuple) else (found,):
                if _bad(out) and (_nan(out) or not any(map(_infinite, arrays))):
                    raise NonFiniteError(_forward_text(op, out, arrays))
        return found

    def pull(self, node: Node, ct: Any, run: Callable[[], Pairs]) -> Pairs:
        for one in ct if isinstance(ct, list) else (ct,):
            if _bad(one):
                name = name_of(node)
                raise NonFiniteError(
                    f"{name}: got a cotangent of its output with {_what(one)}, expected finite "
                    f"values ({name} at {node.origin}): the given cotangent is not finite, or the "
                    "sum of several is too large; try a smaller scale of the loss"
                )
        self._backward += 1
        try:
            found = run()
        finally:
            self._backward -= 1
        choice = node if name_of(node) == "where" else self._choices.pop(node.seq, None)
        for k, g in found:
            if _bad(g):
                raise NonFiniteError(_backward_text(node, ct, k, g, choice))
            parent = node.parents[k]
            if choice is not None and parent is not None:
                self._choices[parent.seq] = choice
        return found

    def leaf(self, node: Node, ct: Any) -> None:
        total = getattr(node, "grad", None)
        if total is not None and _bad(total):
            raise NonFiniteError(
                f"leaf: got a gradient with {_what(total)}, expected finite values ({node.dtype}"
                f"{node.shape} of {node.origin}): the sum of finite cotangents is too large; "
                "try a smaller scale of the loss"
            )


def _array(value: Any) -> Array | None:
    """The array under a tensor's levels, if it has floating-point elements."""
    array = value.value() if isinstance(value, Tensor) else value
    if isinstance(array, np.generic):  # what NumPy gives for no axes
        array = np.asarray(array)
    dtype = getattr(array, "dtype", None)
    return array if dtype is not None and dtypes.is_inexact(dtype) else None


def _bad(value: Any) -> bool:
    """Whether a value is not finite somewhere."""
    return (array := _array(value)) is not None and not _ask("isfinite", array).all()


def _nan(value: Any) -> bool:
    return bool(_ask("isnan", _array(value)).any())


def _infinite(value: Any) -> bool:
    return (array := _array(value)) is not None and bool(_ask("isinf", array).any())


def _ask(test: str, array: Array) -> Any:
    """A test of every element, as a NumPy array, unseen by any watch."""
    array = _array(array)
    with _config.setting(_config.watches, ()):
        found = PRIMITIVES[test].kernels[type(array)](array)
        return np.asarray(base.of(array).to_numpy(found))


def _what(value: Any) -> str:
    """Which value that is not finite, in how many elements, and where the first is."""
    array = _array(value)
    bad = ~_ask("isfinite", array)
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    kind = "NaN" if _nan(array) else "inf"
    at = f", the first at [{', '.join(map(str, first))}]" if bad.shape else ""
    return f"{kind} ({int(bad.sum())} of {prod(bad.shape)} elements not finite{at})"


def _forward_text(op: Primitive | Source, out: Array, arrays: Sequence[Array]) -> str:
    given = [k for k, x in enumerate(arrays) if _bad(x)]
    why = f"input {given[0]} already has {_what(arrays[given[0]])}" if given else _at(out, arrays)
    fix = (
        "tracing that input back"
        if given
        else f"inputs where {op.name} is finite; an element that a `where` leaves out needs "
        f"a safe input first: {_safe(op.name, len(arrays))}"
    )
    return (
        f"{op.name}: got {_what(out)} at {place(*user_place())}, expected finite values "
        f"({why}); try {fix}"
    )


def _safe(name: str, inputs: int) -> str:
    """The form in which an operation sees nothing that a `where` leaves out.

    >>> _safe("divide", 2)
    'where(ok, divide(where(ok, x, 1), where(ok, y, 1)), 0)'
    """
    made, _, kind = name.rpartition("_")
    if kind in ("jvp", "vjp") and made:
        name, inputs = made, 1  # of a derivative the function is what the program has
    given = [f"where(ok, {x}, 1)" for x in "xyz"[:inputs]] if inputs <= 3 else ["..."]
    return f"where(ok, {name}({', '.join(given)}), 0)"


def _at(out: Array, arrays: Sequence[Array]) -> str:
    """The inputs at the first element that is not finite, where they are element by element."""
    bad = ~_ask("isfinite", out)
    first = int(np.argmax(bad))
    values = []
    for k, x in enumerate(arrays):
        host = np.asarray(base.of(x).to_numpy(x))
        if host.shape == bad.shape or not host.shape:
            values.append(f"input {k} there: {host.ravel()[first if host.shape else 0]}")
    return ", ".join(values) or "from finite inputs"


def _backward_text(node: Node, ct: Any, k: int, g: Any, choice: Node | None) -> str:
    name, bad = name_of(node), ~_ask("isfinite", _array(g))
    own = None if isinstance(ct, list) else _array(ct)
    here = None if own is None else np.asarray(base.of(own).to_numpy(own))
    unchosen = here is not None and here.shape == bad.shape and not here[bad].any()
    fix = f"inputs where {name} has a finite derivative"
    why = ""
    if unchosen:
        by = f", as where at {choice.origin} left it" if choice is not None else ""
        why = f"; its output's cotangent is 0 there{by}, and 0 * inf is NaN"
        fix = f"{_safe(name, len(node.parents))}: a safe input for what is not chosen"
    part = "its input" if len(node.parents) == 1 else f"its input {k}"
    return (
        f"{name}: got a cotangent of {part} with {_what(g)} in backward, expected finite values "
        f"({name} at {node.origin}{why}); try {fix}"
    )
