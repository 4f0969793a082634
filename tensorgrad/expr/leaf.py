"""What a scalar function is to this package: one record of data, found by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Partials = tuple[Any, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Leaf:
    """A scalar function of `arity` arguments.

    numpy: dotted name of the function that defines it ("exp", "scipy.special.erf");
        a name without a dot is NumPy's.
    cuda: CUDA C text; {0}, {1}, {2} are argument *names* (read more than once), {T} the type.
    d: (args..., y) -> one partial derivative per argument, as expressions, numbers, or None
        where there is no dependence; `d` itself is None where the function is piecewise constant.
    kind: of the result: "f" (real, arguments too), "b", "i", or "same" as the arguments, where
        the function is exact on integers.
    domain: (low, high) per argument, for random tests away from singularities.
    special: argument tuples where mathematics leaves a choice, or IEEE 754 has a corner.
    body: an expression that defines the function for generated code, where one is known.
    """

    name: str
    arity: int
    numpy: str
    cuda: str
    d: Callable[..., Partials] | None
    domain: tuple[tuple[float, float], ...]
    kind: str = "f"
    special: tuple[tuple[float, ...], ...] = ()
    holomorphic: bool = False
    body: Any = None


LEAVES: dict[str, Leaf] = {}


def find_leaf(leaf: str | Leaf) -> Leaf:
    """The leaf of that name; raises KeyError with the nearest names."""
    if isinstance(leaf, Leaf):
        return leaf
    found = LEAVES.get(leaf)
    if found is None:
        from difflib import get_close_matches  # late: only for the error text

        near = ", ".join(get_close_matches(leaf, LEAVES)) or "tensorgrad.expr.LEAVES"
        raise KeyError(f"call: got leaf {leaf!r}, expected the name of a known leaf; try {near}")
    return found
