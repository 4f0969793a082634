"""The rules of custom functions: as the user wrote them, transposed, and over a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tensorgrad import _config, dtypes
from tensorgrad._errors import GradientError, need
from tensorgrad.core.autocast import current, restored
from tensorgrad.core.levels import Batched
from tensorgrad.core.primitive import Params, Primitive, operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.transforms.forward import unbatched
from tensorgrad.transforms.reverse import vjp, zeros
from tensorgrad.transforms.tree import Rebuild, flatten

Tensors = list[Tensor]


class CapturedError(GradientError):
    """A function met a value of a transform around it that is no argument of it."""


class Rules(Protocol):
    """A function of a flat list of tensors, with its two derivatives."""

    def run(self, xs: Tensors) -> Tensors:
        """The results."""

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        """The results, and what `pull` reads besides the arguments."""

    def pull(self, xs: Tensors, residuals: list[Any], cts: Tensors) -> list[Tensor | None]:
        """The cotangents of the arguments (None: zero)."""

    def push(self, xs: Tensors, tangents: Tensors) -> list[Tensor | None]:
        """The tangents of the results (None: zero)."""


class Written:
    """One call of a decorated function: what moves among its arguments, and what comes back."""

    def __init__(
        self, name: str, functions: Sequence[Callable[..., Any]], args: Any, options: Any
    ) -> None:
        self.name, self.functions, self.options = name, functions, options
        found = [flatten(a) for a in args]
        self.parts = [(len(leaves), rebuild) for leaves, rebuild in found]
        self.leaves = [x for leaves, _ in found for x in leaves]
        self.moving = [k for k, x in enumerate(self.leaves) if self.moves(x)]
        self.inputs = [operand(self.leaves[k]) for k in self.moving]
        first = (*self.leaves, None)[0]
        self.source = next((x for x in self.leaves if isinstance(x, Tensor)), first)
        for k in self.moving:
            self.leaves[k] = None
        self.shape: Rebuild | None = None
        self.casts = current()

    @staticmethod
    def moves(leaf: Any) -> bool:
        """True for what has a derivative: floating-point arrays, tensors and numbers."""
        if isinstance(leaf, bool | int):
            return False
        return isinstance(leaf, float | complex) or (
            hasattr(leaf, "shape") and hasattr(leaf, "dtype") and dtypes.is_inexact(leaf.dtype)
        )

    def args(self, values: Sequence[Any], still: bool = True) -> tuple[Any, ...]:
        """The arguments with these values where they move; None elsewhere unless `still`."""
        filled: list[Any] = list(self.leaves) if still else [None] * len(self.leaves)
        for k, x in zip(self.moving, values):
            filled[k] = x
        rest = iter(filled)
        return tuple([rebuild([next(rest) for _ in range(n)]) for n, rebuild in self.parts])

    def results(self, value: Any) -> Tensors:
        found, self.shape = flatten(value)
        return [operand(y) for y in found]

    def run(self, xs: Tensors) -> Tensors:
        with restored(self.casts):  # backward may run it again, where nothing is cast
            return self.results(self.functions[0](*self.args(xs), **self.options))

    def tangents(self, given: Any, outs: Tensors) -> list[Tensor | None]:
        """What a forward-mode rule returned, for the results that move."""
        moved = flatten(given)[0]
        need(len(moved) == len(outs), self.name, tangents=len(moved), want=(
             f"{len(outs)}, of the structure of the result"), fix="zeros for what does not move",
             error=GradientError)  # fmt: skip
        return [
            _like(t, y, self.name) if dtypes.is_inexact(y.dtype) else None
            for t, y in zip(moved, outs)
        ]


class WrittenVjp(Written):
    """Rules of `custom_vjp`."""

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        found = self.functions[1](*self.args(xs), **self.options)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"{self.name}: got {type(found).__name__} from the forward rule, expected "
                "(result, residuals); try `return y, (x, y)`"
            )
        residuals, self.residuals = flatten(found[1])
        return self.results(found[0]), residuals

    def pull(self, xs: Tensors, residuals: list[Any], cts: Tensors) -> list[Tensor | None]:
        shape: Any = self.shape
        return self.cotangents(self.functions[2](self.residuals(residuals), shape(cts)), xs)

    def cotangents(self, given: Any, xs: Tensors) -> list[Tensor | None]:
        """What a backward rule returned, for the arguments that move."""
        given = tuple(given) if isinstance(given, list) else given
        if not isinstance(given, tuple) or len(given) != len(self.parts):
            got = f"{len(given)} values" if isinstance(given, tuple) else type(given).__name__
            raise TypeError(
                f"{self.name}: got {got} from the backward rule, expected a tuple of "
                f"{len(self.parts)}, a cotangent (or None) per argument; try `return (ct_x,)`"
            )
        flat: list[Any] = []
        for (count, _), ct in zip(self.parts, given):
            found = [None] * count if ct is None else flatten(ct)[0]
            need(
                len(found) == count,
                self.name,
                cotangents=len(found),
                want=f"{count}, of the structure of the argument",
                fix="None for the whole of it",
                error=GradientError,
            )
            flat += found
        return [
            None if flat[k] is None else _like(flat[k], x, self.name)
            for k, x in zip(self.moving, xs)
        ]

    def push(self, xs: Tensors, tangents: Tensors) -> list[Tensor | None]:
        """By transposition: the adjoint of the map from cotangents."""
        outs, residuals = self.save(xs)
        where = [k for k, y in enumerate(outs) if dtypes.is_inexact(y.dtype)]
        still = [zeros(y.shape, y.dtype, y) for y in outs]

        def linear(*cts: Tensor) -> list[Tensor]:
            full = list(still)
            for k, ct in zip(where, cts):
                full[k] = ct
            found = self.pull(xs, residuals, full)
            return [zeros(x.shape, x.dtype, x) if g is None else g for g, x in zip(found, xs)]

        _, pull = vjp(linear, *[still[k] for k in where])
        moved = dict(zip(where, pull(tangents)))
        return [moved.get(k) for k in range(len(outs))]


class WrittenJvp(Written):
    """Rules of `custom_jvp`."""

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        return self.run(xs), []

    def push(self, xs: Tensors, tangents: Tensors) -> list[Tensor | None]:
        found = self.functions[1](self.args(xs), self.args(tangents, False), **self.options)
        if not isinstance(found, tuple) or len(found) != 2:
            raise TypeError(
                f"{self.name}: got {type(found).__name__} from the rule, expected (result, "
                "tangent); try `return y, ct_y`"
            )
        return self.tangents(found[1], self.results(found[0]))

    def pull(self, xs: Tensors, residuals: list[Any], cts: Tensors) -> list[Tensor | None]:
        """By transposition: the adjoint of the map from tangents."""
        still = [zeros(x.shape, x.dtype, x) for x in xs]
        found, pull = vjp(lambda *ts: [t for t in self.push(xs, list(ts)) if t is not None], *still)
        return list(pull([ct for ct in cts if dtypes.is_inexact(ct.dtype)][: len(found)]))


class Mapped:
    """Rules over a batch on axis 0 of some of the arguments."""

    def __init__(self, name: str, rules: Rules, batched: list[bool], forbidden: int) -> None:
        self.name, self.rules, self.batched, self.forbidden = name, rules, batched, forbidden

    def _hide(self, values: Sequence[Any], batched: Sequence[bool], level: int) -> list[Any]:
        return [
            make(Watched(level, x, self.forbidden, self.name), None, level) if b else x
            for x, b in zip(values, batched)
        ]

    def _show(self, found: Sequence[Any], level: int, size: int) -> list[Any]:
        refuse(
            any(0 < self.forbidden == x.level for x in found if isinstance(x, Tensor)), self.name
        )
        return [unbatched(x, level, size, 0) if isinstance(x, Tensor) else x for x in found]

    def _size(self, xs: Tensors) -> int:
        return next(x.shape[0] for x, b in zip(xs, self.batched) if b)

    def run(self, xs: Tensors) -> Tensors:
        with _config.fresh_level() as level:
            outs = self.rules.run(self._hide(xs, self.batched, level))
            return self._show(outs, level, self._size(xs))

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        with _config.fresh_level() as level:
            outs, residuals = self.rules.save(self._hide(xs, self.batched, level))
            found = [self._show(values, level, self._size(xs)) for values in (outs, residuals)]
        return found[0], found[1]

    def pull(self, xs: Tensors, residuals: list[Any], cts: Tensors) -> list[Tensor | None]:
        size = self._size(xs)
        with _config.fresh_level() as level:
            inner = self._hide(xs, self.batched, level)
            kept = self._hide(residuals, [isinstance(r, Tensor) for r in residuals], level)
            found = self.rules.pull(inner, kept, self._hide(cts, [True] * len(cts), level))
            whole = self._show(found, level, size)
        return [g if g is None or b else g.sum(axis=0) for g, b in zip(whole, self.batched)]

    def push(self, xs: Tensors, tangents: Tensors) -> list[Tensor | None]:
        with _config.fresh_level() as level:
            inner = self._hide(xs, self.batched, level)
            moved = self.rules.push(inner, self._hide(tangents, self.batched, level))
            return self._show(moved, level, self._size(xs))


class Watched(Batched):
    """A batch that refuses to meet values of the vmap whose batch it was."""

    __slots__ = ("forbidden", "name")

    def __init__(self, level: int, inner: Tensor, forbidden: int, name: str) -> None:
        super().__init__(level, inner)
        self.forbidden, self.name = forbidden, name

    def apply(  # type: ignore[override]
        self, op: Primitive, inputs: tuple[Tensor, ...], params: Params, level: int
    ) -> Any:
        """As a batch's, with the results watched too."""
        refuse(any(0 < self.forbidden == x.level for x in inputs), self.name)
        found = Batched.apply(op, inputs, params, level)
        if op.nout == 1:
            return self._again(found)
        return tuple([self._again(y) for y in found])

    def constant(self) -> Tensor:
        return self._again(super().constant())

    def _again(self, y: Tensor) -> Tensor:
        return make(Watched(y.level, y.data.inner, self.forbidden, self.name), None, y.level)


def _like(value: Any, x: Tensor, op: str) -> Tensor:
    """A derivative that a rule returned, of the shape and dtype of its value."""
    g = operand(value, (x,), op)
    need(g.shape == x.shape, op, returned=g, value=x, want="a derivative of the value's shape",
         fix="summing or broadcasting it to that shape", error=GradientError)  # fmt: skip
    return g if g.dtype == x.dtype else g.astype(x.dtype)


def refuse(captures: bool, name: str) -> None:
    """Raise if a function captured a value of a jvp or vmap around it."""
    if captures:
        raise CapturedError(
            f"{name}: got a value of the jvp or vmap around it that is no argument of it, "
            "expected it among the arguments, where its rules see it; try passing it"
        )
