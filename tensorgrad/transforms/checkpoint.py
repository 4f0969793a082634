"""`checkpoint`: a function recorded as one node, computed again in backward (Chen et al., 2016)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad.core.fused import replay
from tensorgrad.core.levels import Dual, dual
from tensorgrad.core.primitive import Params, Wanted
from tensorgrad.core.tape import Node
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.ops.random import Draws
from tensorgrad.transforms.custom import Custom, answer
from tensorgrad.transforms.forward import parts
from tensorgrad.transforms.rules import CapturedError, Tensors, Written


class Segment(Custom):
    """A function as a primitive: parents are its arguments, then the tensors it captured."""

    whole = True

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Run the function again on the tape, and walk that; a recorded walk is a segment too."""
        params: Params = node.params or {}
        count, saved, run = params["count"], node.saved or (), params["rules"].run
        inputs = [rebuilt(x, p) for x, p in zip(saved[:count], node.parents)]
        extra: Any = node.parents[count:]
        if _config.is_recording():
            pulled: Any = _Pulled(run, wanted, extra, count, [ct is not None for ct in cts])
            try:
                found = self.call(pulled, [*inputs, *[ct for ct in cts if ct is not None]])
                return zip(pulled.present, found)
            except CapturedError:
                pass
        return replay(run, inputs, cts, wanted, extra)

    def _pushed(self, rules: Any, inputs: Tensors, level: int) -> tuple[Tensors, Tensors]:
        """In forward mode values and tangents are the results of one function, run once."""
        at = [x.data.inner if x.level == level else x for x in inputs]
        along: list[Any] = [x.data.tangent if x.level == level else None for x in inputs]
        moving = [k for k, t in enumerate(along) if t is not None]
        pushed: Any = _Pushed(rules, moving, len(inputs))
        found = self.below(pushed, [*at, *[along[k] for k in moving]], level)
        values = found[: pushed.count]
        tangents = dict(zip(pushed.moved, found[pushed.count :]))
        return [dual(level, y, tangents.get(k)) for k, y in enumerate(values)], found


class _Again(Written):
    """One call of a function that is run again, on the same random numbers."""

    def __init__(self, name: str, f: Callable[..., Any], args: Any, options: Any) -> None:
        super().__init__(name, (f,), args, options)
        self._taken: list[Any] = []

    @staticmethod
    def moves(leaf: Any) -> bool:
        """True for tensors of every kind, so that a batch of integers is an argument too."""
        return isinstance(leaf, Tensor) or Written.moves(leaf)

    def run(self, xs: Tensors) -> Tensors:
        with _config.setting(_config.draws, Draws(self._taken)):
            return super().run(xs)

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        return self.run(xs), []


class _Pushed:
    """A function with its tangents: of values, then of the tangents of those that move."""

    def __init__(self, rules: Any, moving: list[int], inputs: int) -> None:
        self.rules, self.moving, self.inputs = rules, moving, inputs
        self.count = 0
        self.moved: list[int] = []

    def run(self, xs: Tensors) -> Tensors:
        with _config.fresh_level() as level:
            values = list(xs[: self.inputs])
            for k, t in zip(self.moving, xs[self.inputs :]):
                values[k] = make(Dual(level, values[k], t), None, level)
            pairs = [parts(y, level) for y in self.rules.run(values)]
        self.count = len(pairs)
        self.moved = [k for k, (y, _) in enumerate(pairs) if dtypes.is_inexact(y.dtype)]
        return [*(y for y, _ in pairs), *(pairs[k][1] for k in self.moved)]

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        return self.run(xs), []


class _Pulled:
    """The cotangents of a function's inputs, as a function of those and of its results' ones."""

    def __init__(
        self, run: Any, wanted: Wanted, extra: Sequence[Node], count: int, given: list[bool]
    ) -> None:
        self._run, self.wanted, self.extra, self.count = run, wanted, extra, count
        self.given = given
        self.present: list[int] = []

    def run(self, xs: Tensors) -> Tensors:
        rest = iter(xs[self.count :])
        cts = [next(rest) if given else None for given in self.given]
        found = replay(self._run, xs[: self.count], cts, self.wanted, self.extra)
        self.present = [k for k, _ in found]
        return [g for _, g in found]

    def save(self, xs: Tensors) -> tuple[Tensors, list[Any]]:
        return self.run(xs), []


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """f with nothing saved but its arguments: backward runs it once more (time for memory).

    Arguments may be nested containers; tensors that f captured keep their gradients. Random numbers
    of tensorgrad's generators are the same in the second run; else f must give the same result when
    it is run again. Under `vmap` and `jvp` values are saved as little, unless f captured a value of
    theirs instead of taking it as an argument: then f is run as it is.

    >>> import numpy as np, tensorgrad as tg
    >>> tg.grad(lambda x: tg.checkpoint(lambda y: np.sin(y) ** 2)(x))(0.5)
    0.8414709848078965
    """
    segment = Segment("checkpoint", f)

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        call: Any = _Again(segment.name, f, args, options)
        try:
            return answer(segment, call)
        except CapturedError:
            return f(*args, **options)

    return run
