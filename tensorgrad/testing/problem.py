"""A function at a point, as every check sees it: its values, and its derivatives by the tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError
from tensorgrad.core.backward import gradients, seed
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing.byhand import Array, as_array, parameter_names
from tensorgrad.transforms.forward import jvp
from tensorgrad.transforms.tree import flatten, paths

Point = list[Any]
REVERSE, FORWARD = "reverse", "forward"


class Problem:
    """f at `arguments`: which of them move, along which directions, and weights of the results.

    Arguments and results may be nested containers; below, an argument is one leaf of them. What
    moves are arrays, tensors and numbers of floating point. The scalar that is differentiated is
    <weights, f> = Re sum conj(w) f over all results of floating point; its derivatives are along
    `directions` of all floating arguments together.
    """

    def __init__(
        self,
        f: Callable[..., Any],
        arguments: Sequence[Any],
        rng: np.random.Generator,
        names: Sequence[str] | None = None,
    ) -> None:
        names = parameter_names(f, len(arguments)) if names is None else names
        self.f, arguments, self.names = _opened(f, arguments, names)
        self.where = [k for k, a in enumerate(arguments) if _moves(a)]
        self.homes = {
            k: (a if isinstance(a, Tensor) else Tensor(a)).device
            for k, a in enumerate(arguments)
            if k in self.where
        }
        self.fixed = [as_array(a) if k in self.where else a for k, a in enumerate(arguments)]
        self.directions = {k: _direction(rng, self.fixed[k]) for k in self.where}
        self.weights = [_direction(rng, o.data) for o in self.values(self.fixed)]

    def need(self, op: str) -> None:
        """Raise `DTypeError` where there is nothing to check."""
        for what, found in (("argument", self.where), ("result", self.weights)):
            if not found:
                raise DTypeError(
                    f"{op}: got a function without {what}s of floating point, of which there is "
                    f"no derivative, expected at least one; try x.astype(float)"
                )

    def at(self, step: complex) -> Point:
        """The arguments, moved along their directions."""
        return [
            np.asarray(a + step * self.directions[k]) if k in self.directions else a
            for k, a in enumerate(self.fixed)
        ]

    def values(self, point: Point) -> list[Tensor]:
        """The results of floating point, off the tape."""
        with _config.no_grad():
            return floats(self.f(*self._put(point)))

    def scalar(self, point: Point) -> Any:
        """<weights, f> as a tensor; complex where a complex step is taken."""
        return _contract(floats(self.f(*point)), self.weights)

    def _put(self, point: Point) -> Point:
        return [Tensor(a).to(self.homes[k]) if k in self.homes else a for k, a in enumerate(point)]

    def leaves(self, point: Point) -> Point:
        """The point as tensors, what moves on the tape."""
        put = self._put(point)
        for k in self.homes:
            put[k].requires_grad = True
        return put

    # -- derivatives along the directions ------------------------------------------------------

    def derivative(self, point: Point, order: int, mode: str) -> float:
        """The derivative of an order of <weights, f> along the directions, by one mode alone."""
        found = self.graph(self.leaves(point), order, mode)
        return 0.0 if found is None else float(found.real.item())

    def graph(self, put: Point, order: int, mode: str) -> Any:
        """The same as a tensor on the tape of the point's tensors; None if it is constant."""
        if mode == FORWARD:
            return self._forward(put, order)
        value = self.scalar(put)
        for _ in range(order):
            if value is None or value.node is None:
                return None
            found = _gradients(value, [put[k] for k in self.homes])
            terms = [
                _contract([g], [self.directions[k]])
                for k, g in zip(self.homes, found)
                if g is not None
            ]
            value = sum(terms[1:], terms[0]) if terms else None
        return value

    def _forward(self, put: Point, order: int) -> Any:
        moving = [put[k] for k in self.homes]
        tangents = [Tensor(self.directions[k]).to(home) for k, home in self.homes.items()]

        def whole(*moved: Any) -> Any:
            return self.scalar(self.replaced(put, moved))

        g: Callable[..., Any] = whole
        for _ in range(order if moving else 0):
            g = _along(g, tangents)
        return g(*moving)

    def replaced(self, put: Point, moved: Sequence[Any]) -> Point:
        """The point with other values for what moves."""
        fresh = dict(zip(self.homes, moved))
        return [fresh.get(k, a) for k, a in enumerate(put)]

    def pulled(self, value: Any, put: Point) -> dict[int, Array]:
        """The gradient of one number with respect to each argument that moves, zeros where none."""
        found = _gradients(value, [put[k] for k in self.homes])
        return {
            k: np.zeros_like(self.fixed[k]) if g is None else as_array(g)
            for k, g in zip(self.homes, found)
        }


def _along(g: Callable[..., Any], tangents: list[Tensor]) -> Callable[..., Any]:
    return lambda *xs: jvp(g, xs, tangents)[1]


def _gradients(value: Any, leaves: list[Tensor]) -> list[Tensor | None]:
    if value is None or value.node is None:
        return [None] * len(leaves)
    nodes: Any = [leaf.node for leaf in leaves]
    return gradients([value], [seed(value)], nodes, create_graph=True, free=False)


def floats(out: Any) -> list[Tensor]:
    """The results of floating point among all leaves of what a function returned."""
    made = [o if isinstance(o, Tensor) else Tensor(o) for o in flatten(out)[0]]
    return [o for o in made if dtypes.is_inexact(o.dtype)]


def _moves(a: Any) -> bool:
    """Whether a derivative is taken in an argument."""
    if isinstance(a, np.ndarray | np.generic | Tensor):
        return dtypes.is_inexact(a.dtype)
    return isinstance(a, float | complex)


def _opened(
    f: Callable[..., Any], arguments: Sequence[Any], names: Sequence[str]
) -> tuple[Callable[..., Any], list[Any], list[str]]:
    """f as a function of the leaves of its arguments; these, and their names: `x`, `p['w'][0]`."""
    parts = [flatten(a) for a in arguments]
    if all(len(leaves) == 1 and leaves[0] is a for (leaves, _), a in zip(parts, arguments)):
        return f, list(arguments), list(names)

    def opened(*given: Any) -> Any:
        rest = iter(given)
        return f(*[rebuild([next(rest) for _ in leaves]) for leaves, rebuild in parts])

    leaves = [x for found, _ in parts for x in found]
    return opened, leaves, [n for a, name in zip(arguments, names) for n in paths(a, name)]


def _contract(outs: list[Tensor], weights: list[Array]) -> Any:
    total: Any = None
    for o, w in zip(outs, weights):
        term: Any = (Tensor(w.conj()).to(o.device) * o).sum()
        term = term.real if w.dtype.kind == "c" else term
        total = term if total is None else total + term
    return total


def _direction(rng: np.random.Generator, like: Array) -> Array:
    """A random direction; complex for complex values."""
    found = rng.standard_normal(like.shape)
    if like.dtype.kind == "c":
        return np.asarray(found + 1j * rng.standard_normal(like.shape))
    return np.asarray(found)
