"""Whole derivatives: every element of a result by every element of an argument.

One run of the function serves many basis vectors: they are carried through its derivative as a
batch, by the batching rules of `vmap`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, NotDifferentiable, need
from tensorgrad.backend import base
from tensorgrad.core.backward import seed
from tensorgrad.core.levels import Batched, Dual
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.join import concatenate
from tensorgrad.transforms.forward import parts, still, unbatched
from tensorgrad.transforms.reverse import Argnums, Arguments, Call, aux_of, like, split, zeros
from tensorgrad.transforms.tree import flatten, map_leaves

ELEMENTS = 1 << 24
"""Elements of arguments and results that one batch of basis vectors may fill (128 MB)."""


def jacobian(
    f: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    mode: str | None = None,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that returns the derivative of f: arrays of shape result.shape + argument.shape.

    J[i, j] = ∂f(x)[i] / ∂x[j]. The structure is that of the result, in the place of each array the
    structure of the argument (a tuple of them where `argnums` is a sequence). `mode`: "forward"
    carries a tangent for every element of the arguments, "reverse" a cotangent for every element of
    the results; None takes the one with fewer, which may run f twice. `chunk_size`: how many at a
    time (None: as many as fill 128 MB). With `has_aux` f returns (result, aux), and (jacobian, aux)
    comes back.

    Of a holomorphic f it is f'. Raises `NotDifferentiable` for a function of complex numbers that
    is not holomorphic, `DTypeError` for arguments or results that are not floating point.

    >>> import numpy as np
    >>> jacobian(lambda x: x ** 2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    need(mode in ("forward", "reverse", None), "jacobian", mode=mode,
         want='"forward", "reverse" or None', fix="mode=None", error=ValueError)  # fmt: skip
    need(chunk_size is None or chunk_size > 0, "jacobian", chunk_size=chunk_size,
         want="a positive number or None", fix="chunk_size=1", error=ValueError)  # fmt: skip

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        chosen = Arguments(f, args, options, argnums, "jacobian")
        sizes = [math.prod(getattr(x, "shape", ())) for x in chosen.leaves]
        if mode != "forward" and (mode or sum(sizes) > 1):
            call = Call(f, args, options, argnums, "jacobian")
            result, aux = split(call.result, has_aux, "jacobian")
            leaves, shape = flatten(result)
            outputs = [_result(y) for y in leaves]
            if mode or sum(y.size for y in outputs) < sum(sizes):
                found = shape([call.shaped(_rows(call, y, chunk_size)) for y in outputs])
                return (found, map_leaves(lambda x: aux_of(x, call), aux)) if has_aux else found
        columns = _Columns(f, chosen, has_aux)
        blocks = [columns.of(i, chunk_size) for i in range(len(chosen.leaves))]
        found = columns.shape([chosen.shaped(list(row)) for row in zip(*blocks)])
        return (found, columns.aux) if has_aux else found

    return run


def _result(value: Any) -> Tensor:
    y = operand(value)
    need(dtypes.is_inexact(y.dtype), "jacobian", result=y, want="floating-point results",
         fix="has_aux=True for the others", error=DTypeError)  # fmt: skip
    return y


def _chunks(n: int, other: int, size: int | None) -> Iterator[tuple[int, int]]:
    """First and last of each batch of n basis vectors; `other`: elements on the other side."""
    step = size or max(1, ELEMENTS // max(1, n + other))
    return ((k, min(k + step, n)) for k in range(0, n, step))


def _basis(x: Tensor, first: int, last: int, level: int) -> Tensor:
    """Basis vectors of the space of x, hidden as a batch."""
    rows = np.eye(last - first, x.size, first, dtype=x.dtype).reshape(last - first, *x.shape)
    return make(Batched(level, make(base.of(x.value()).asarray(rows))), None, level)


def _joined(blocks: list[Tensor], shape: tuple[int, ...], dtype: Any, near: Tensor) -> Tensor:
    """The batches one after another, in the shape of a derivative."""
    if not blocks:
        return zeros(shape, dtype, near)
    whole: Any = blocks[0] if len(blocks) == 1 else concatenate(blocks)
    return whole if whole.shape == shape else whole.reshape(shape)  # type: ignore[no-any-return]


def _complex(x: Tensor) -> bool:
    return bool(x.dtype.kind == "c")


# -- reverse -----------------------------------------------------------------------------------


def _rows(call: Call, y: Tensor, chunk_size: int | None) -> list[Any]:
    """The derivatives of one result by every argument, by a cotangent per element of it."""
    twins = call.aliases
    if any(_complex(x) for x in twins):
        _check_holomorphic([y], twins, lambda ct: call.cotangents([y], [ct]), y)
    blocks: list[list[Tensor]] = [[] for _ in twins]
    if y.size == 1 and not _complex(y):
        blocks = [[g] for g in call.cotangents([y], [seed(y)])]
    else:
        for first, last in _chunks(y.size, sum(x.size for x in twins), chunk_size):
            with _config.fresh_level() as level:
                found = _pulled(call, y, _basis(y, first, last, level))
                for block, g in zip(blocks, found):
                    block.append(unbatched(g, level, last - first, 0))
    return [
        like(_joined(block, (*y.shape, *x.shape), x.dtype, x), source)
        for block, x, source in zip(blocks, twins, call.sources)
    ]


def _pulled(call: Call, y: Tensor, ct: Tensor) -> list[Tensor]:
    """Rows of the derivative: the adjoint of a complex row is its conjugate."""
    found = call.cotangents([y], [ct])
    if not _complex(y):
        return found
    turned: list[Any] = found
    if not all(_complex(x) for x in call.aliases):
        turned = call.cotangents([y], [ct * 1j])
    rows: list[Any] = [
        g.conj() if _complex(x) else g + 1j * t for g, t, x in zip(found, turned, call.aliases)
    ]
    return rows


# -- forward -----------------------------------------------------------------------------------


class _Columns:
    """The derivatives of every result by one argument, by a tangent per element of it."""

    def __init__(self, f: Callable[..., Any], chosen: Arguments, has_aux: bool) -> None:
        self.f, self.chosen, self.has_aux = f, chosen, has_aux
        self.inputs = [operand(x) for x in chosen.leaves]
        for x in self.inputs:
            need(dtypes.is_inexact(x.dtype), "jacobian", argument=x,
                 want="floating-point arguments", fix="x.astype(float)",
                 error=DTypeError)  # fmt: skip

    def of(self, i: int, chunk_size: int | None) -> list[Any]:
        """The derivatives by argument i."""
        x, source = self.inputs[i], self.chosen.leaves[i]
        blocks: list[list[Tensor]] = []
        for first, last in _chunks(x.size, x.size, chunk_size):
            with _config.fresh_level() as level:
                outs, moved = self.pushed(i, _basis(x, first, last, level))
                blocks.append([unbatched(t, level, last - first, 0) for t in moved])
        if not blocks:
            outs = self.pushed(i, zeros(x.shape, x.dtype, x))[0]
        if _complex(x):
            _check_holomorphic(outs, outs, lambda t: self.pushed(i, t)[1], x)
        return [like(_column([row[j] for row in blocks], y, x), source) for j, y in enumerate(outs)]

    def pushed(self, i: int, tangent: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Results and their tangents when argument i moves."""
        with _config.fresh_level() as level:
            values = list(self.inputs)
            values[i] = make(Dual(level, values[i], tangent), None, level)
            result = self.chosen.call(self.f, values)
            result, aux = split(result, self.has_aux, "jacobian")
            found, self.shape = flatten(result)
            pairs = [parts(_result(y), level) for y in found]
            self.aux = map_leaves(lambda y: still(y, level), aux) if self.has_aux else None
        return [y for y, _ in pairs], [t for _, t in pairs]


def _column(blocks: list[Tensor], y: Tensor, x: Tensor) -> Tensor:
    whole = _joined(blocks, (x.size, *y.shape), y.dtype, y)
    moved: Any = moveaxis(whole, 0, -1) if y.ndim else whole
    return moved.reshape((*y.shape, *x.shape))  # type: ignore[no-any-return]


# -- complex numbers ---------------------------------------------------------------------------


def _check_holomorphic(
    ys: list[Tensor],
    moved: list[Tensor],
    derivative: Callable[[Tensor], list[Tensor]],
    start: Tensor,
) -> None:
    """Refuse a function whose derivative, along one direction of `start`, is not complex-linear.

    `moved` are the values whose (co)tangents `derivative` gives.
    """
    fits = all(_complex(y) for y in ys)
    if fits and not any(hidden(z) for z in (start, *moved)):
        n = np.arange(start.size).reshape(start.shape)
        here = base.of(start.value()).asarray((np.cos(n) + 1j * np.sin(2 * n)).astype(start.dtype))
        ways = [derivative(make(way)) for way in (here, here * 1j)]
        close = np.finfo(start.dtype).eps ** 0.5
        for z, one, turned in zip(moved, *ways):
            a, b = (base.to_numpy(t.value()) for t in (one, turned))
            scale = float(np.max(np.abs(a), initial=0.0) + np.max(np.abs(b), initial=0.0))
            fits &= not _complex(z) or bool(np.all(np.abs(b - 1j * a) <= close * scale))
    if not fits:
        raise NotDifferentiable(
            "jacobian: got a function of complex numbers that is not holomorphic, expected one "
            "with a derivative f'; try it on x.real and x.imag"
        )


def hidden(x: Tensor) -> bool:
    """True if a batch is hidden in a value, so that its numbers cannot be compared."""
    return any(not payload.readable for payload in x._payloads())
