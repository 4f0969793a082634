"""Gradient checkers and sample inputs.

`check_grad` compares an analytic gradient with central differences in a random direction, order by
order: order k is checked against differences of the analytic order k - 1, so no accuracy is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad.core.backward import gradients
from tensorgrad.core.tensor import Tensor, make

Array = np.ndarray[Any, Any]
Sample = tuple[tuple[Any, ...], dict[str, Any]]

STEPS = {1: 1e-6, 2: 1e-6, 3: 1e-6}
TOLERANCES = {1: 1e-7, 2: 1e-6, 3: 1e-5}
"""Per order: the relative step of the central difference, and the relative error allowed.

A central difference in float64 errs by h² f''' / 6 + eps |f| / h: about 1e-10 at h = 1e-6 for
values of order 1; an order more amplifies by the size of the derivatives, not by the step.
"""


class Draw:
    """Sample inputs from one generator: the layouts that every operation is tested on."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def normal(self, *shape: int) -> Array:
        """Standard normal float64 numbers."""
        return np.asarray(self.rng.standard_normal(shape))

    def uniform(self, low: float, high: float, *shape: int) -> Array:
        """Uniform float64 numbers."""
        return np.asarray(self.rng.uniform(low, high, shape))

    def apart(self, *shape: int, gap: float = 0.1) -> Array:
        """Distinct numbers at least `gap` / 2 apart and away from 0, shuffled: no ties, no kinks."""
        size = int(np.prod(shape))
        steps = np.arange(size) - size // 2 + 0.5
        jitter = self.rng.uniform(-0.2, 0.2, size)
        return np.asarray(self.rng.permutation((steps + jitter) * gap).reshape(shape))

    def integers(self, low: int, high: int, *shape: int) -> Array:
        """Integers from low to high - 1 (int64)."""
        return np.asarray(self.rng.integers(low, high, shape))

    def bools(self, *shape: int) -> Array:
        """Fair coins."""
        return np.asarray(self.rng.integers(0, 2, shape).astype(bool))

    def layouts(self, make: Callable[..., Array]) -> list[Array]:
        """Nine layouts of an array that `make(*shape)` draws."""
        return [
            make(),
            make(5),
            make(3, 4),
            make(2, 3, 4),
            make(0, 3),
            make(1, 3, 1),
            make(4, 3).T,
            make(6, 4)[::2, ::-1],
            np.broadcast_to(make(3, 1), (3, 4)),
        ]

    def singles(self, low: float, high: float, **options: Any) -> Iterator[Sample]:
        """One argument from low to high in every layout."""
        for x in self.layouts(lambda *s: self.uniform(low, high, *s)):
            yield (x,), options

    def pairs(
        self,
        first: tuple[float, float] = (-2, 2),
        second: tuple[float, float] = (-2, 2),
        **options: Any,
    ) -> Iterator[Sample]:
        """Two arguments in every layout, and broadcast against each other."""
        a = self.layouts(lambda *s: self.uniform(*first, *s))
        b = self.layouts(lambda *s: self.uniform(*second, *s))
        for x, y in zip(a, b):
            yield (x, y), options
        yield (self.uniform(*first, 3, 4), self.uniform(*second, 4)), options
        yield (self.uniform(*first, 3, 1), self.uniform(*second, 1, 4)), options
        yield (self.uniform(*first), self.uniform(*second, 2, 2)), options

    def reductions(
        self, make: Callable[..., Array] | None = None, empty: bool = True, **options: Any
    ) -> Iterator[Sample]:
        """One argument in many layouts with axes, negative axes, several axes and keepdims."""
        draw = make or self.normal
        cases: list[tuple[Array, dict[str, Any]]] = [
            (draw(), {}),
            (draw(5), {}),
            (draw(3, 4), {"axis": 0}),
            (draw(3, 4), {"axis": -1, "keepdims": True}),
            (draw(2, 3, 4), {"axis": 1}),
            (draw(4, 3).T, {"axis": 1}),
            (draw(6, 4)[::2, ::-1], {"axis": -2}),
            (np.broadcast_to(draw(3, 1), (3, 4)), {"axis": 0}),
            (draw(2, 3), {"keepdims": True}),
        ]
        if empty:
            cases.append((draw(0, 3), {"axis": 1}))
        for x, where in cases:
            yield (x,), {**where, **options}

    def several_axes(self, make: Callable[..., Array] | None = None) -> Iterator[Sample]:
        """`reductions`, and tuples of axes."""
        draw = make or self.normal
        yield from self.reductions(draw)
        yield (draw(2, 3, 4),), {"axis": (0, 2)}
        yield (draw(2, 3, 4),), {"axis": (-1, 1), "keepdims": True}


def _float_positions(arguments: Sequence[Any]) -> list[int]:
    return [
        k
        for k, a in enumerate(arguments)
        if isinstance(a, np.ndarray | Tensor) and dtypes.is_inexact(a.dtype)
    ]


def _contract(out: Any, weights: list[Array]) -> Tensor:
    outs = out if isinstance(out, tuple | list) else (out,)
    total: Any = None
    for o, w in zip([o for o in outs if dtypes.is_inexact(o.dtype)], weights):
        term = (Tensor(w.conj()) * o).sum()
        term = term.real if w.dtype.kind == "c" else term
        total = term if total is None else total + term
    return total  # type: ignore[no-any-return]


def check_grad(
    f: Callable[..., Any],
    arguments: Sequence[Any],
    *,
    order: int = 1,
    rng: np.random.Generator | None = None,
) -> None:
    """Check the derivatives of `f` at `arguments`, orders 1 to `order`, along random directions.

    Every floating argument (float64 or complex128) moves along its own random direction; the
    analytic derivative of order k must equal the central difference of the analytic order k - 1
    within `TOLERANCES[k]`, relative to the size of the values. Raises `AssertionError` that names
    the order, both numbers and the error.
    """
    rng = rng or np.random.default_rng()
    where = _float_positions(arguments)
    fixed = [np.asarray(a.data if isinstance(a, Tensor) else a) if k in where else a
             for k, a in enumerate(arguments)]  # fmt: skip
    directions = {k: _direction(rng, fixed[k]) for k in where}
    with _config.no_grad():
        outs = f(*[make(a) if k in where else a for k, a in enumerate(fixed)])
    outs = outs if isinstance(outs, tuple | list) else (outs,)
    weights = [_direction(rng, o.data) for o in outs if dtypes.is_inexact(o.dtype)]

    def at(step: float) -> list[Any]:
        return [
            np.asarray(a + step * directions[k]) if k in directions else a
            for k, a in enumerate(fixed)
        ]

    for k in range(1, order + 1):
        step = STEPS[k]
        exact = _derivative(f, at(0.0), where, directions, weights, k)
        above = _derivative(f, at(step), where, directions, weights, k - 1)
        below = _derivative(f, at(-step), where, directions, weights, k - 1)
        estimate = (above - below) / (2 * step)
        scale = max(abs(exact), abs(estimate), abs(above), 1.0)
        if not abs(exact - estimate) <= TOLERANCES[k] * scale:
            raise AssertionError(
                f"check_grad: order {k}: got {exact!r}, expected {estimate!r} (central difference "
                f"of order {k - 1}), error {abs(exact - estimate) / scale:.1e} over "
                f"{TOLERANCES[k]:.0e}; shapes {[np.shape(fixed[i]) for i in where]}"
            )


def _direction(rng: np.random.Generator, like: Array) -> Array:
    """A random direction; complex for complex values."""
    found = rng.standard_normal(like.shape)
    if like.dtype.kind == "c":
        return np.asarray(found + 1j * rng.standard_normal(like.shape))
    return np.asarray(found)


def _derivative(
    f: Callable[..., Any],
    arguments: list[Any],
    where: list[int],
    directions: dict[int, Array],
    weights: list[Array],
    order: int,
) -> float:
    """The derivative of order `order` of <weights, f> along `directions`, by the tape alone."""
    leaves = {k: Tensor(arguments[k], requires_grad=True) for k in where}
    value = _contract(f(*[leaves.get(k, a) for k, a in enumerate(arguments)]), weights)
    for _ in range(order):
        if value is None or value.node is None:
            return 0.0
        found = gradients(
            [value],
            [Tensor(np.ones(()))],
            [leaf.node for leaf in leaves.values() if leaf.node is not None],
            create_graph=True,
            free=False,
        )
        terms = [
            _contract(g, [directions[k]]) for k, g in zip(leaves, found) if g is not None
        ]
        value = sum(terms[1:], terms[0]) if terms else None  # type: ignore[assignment]
    return 0.0 if value is None else float(value.item())
