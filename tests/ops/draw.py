"""Sample inputs: the layouts that every operation of the registry is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Sample = tuple[tuple[Any, ...], dict[str, Any]]


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
        """Distinct numbers at least `gap` / 2 apart and away from 0, shuffled: no ties or kinks."""
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
