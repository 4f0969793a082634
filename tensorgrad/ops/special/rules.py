"""How a special function becomes an operation: a primitive over SciPy's, its partial derivatives.

A partial derivative is a function of what it reads, named as the arguments are (`out` the result):
`lambda x, out: out * digamma(x)`. Vjp, jvp, what is saved, broadcasting and batching follow.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import DTypeError, NotDifferentiable, need
from tensorgrad.backend.numpy_special import result
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import PRIMITIVES, Primitive, Spec
from tensorgrad.core.registry import known, operation, primitive, public
from tensorgrad.ops.complex import conj

Call = Callable[..., Any]
Partial = Call | str


def formula(name: str, fn: Callable[..., Any], kinds: str | None = None) -> Any:
    """The call of an elementwise formula that is no operation of its own."""
    return known(Elementwise.trace(f"special.{name}", fn, kinds)).bind


def special(
    name: str,
    doc: str,
    partials: dict[str, Partial],
    *,
    samples: Any,
    numpy: str | None = None,
    complex: bool = False,
    orders: int = 3,
    oracle: Any = None,
) -> Callable[..., Any]:
    """Define an operation that is SciPy's function `name` of the arguments that `partials` name.

    partials: the partial derivative in each, or a reason for which there is none
    complex: whether it takes complex numbers (and is holomorphic)
    """
    found = smooth(name, partials, complex=complex)
    function = public(found, doc, partials)
    function.__name__ = function.__qualname__ = name
    function.__module__ = f"{__package__}.{name}"
    enter = operation(
        oracle=oracle or f"scipy.special.{name}",
        samples=samples,
        numpy=f"scipy.special.{name}" if numpy is None else numpy,
        orders=orders,
        namespace="special",
    )
    return enter(function)


def smooth(
    name: str,
    partials: dict[str, Partial],
    *,
    complex: bool = False,
    dtype: Callable[[Any], Any] = lambda given: given,
) -> Primitive:
    """The primitive of a smooth function; see `special`. `dtype`: of its result, by the usual."""
    arguments = list(partials)
    places = {argument: k for k, argument in enumerate((*arguments, "out"))}
    rules = [Rule(name, argument, partials[argument], places) for argument in arguments]

    def spec(*specs: Spec, **params: Any) -> Spec:
        shape = shapes.broadcast(*(s.shape for s in specs), op=name)
        given = [s.dtype for s in specs]
        for one in given:
            need(complex or one.kind != "c", name, dtype=one.name, want="a real dtype",
                 fix="x.real", error=DTypeError)  # fmt: skip
        return Spec(shape, dtype(result(given)))

    return primitive(
        f"special.{name}",
        nin=len(arguments),
        spec=spec,
        vjp=[rule.vjp for rule in rules],
        jvp=[rule.jvp for rule in rules],
        reads=[rule.reads for rule in rules],
        batch=lambda inputs, batched, **params: _batched(
            f"special.{name}", inputs, batched, params
        ),
    )


class Rule:
    """The partial derivative of a function in one argument, as vjp and as jvp."""

    def __init__(self, name: str, argument: str, partial: Partial, places: dict[str, int]) -> None:
        self.name, self.argument, self.partial = name, argument, partial
        names = [] if isinstance(partial, str) else list(inspect.signature(partial).parameters)
        self.names = [n for n in names if n in places]
        self.params = [n for n in names if n not in places]
        self.reads = tuple(places[n] for n in self.names)

    def slope(self, out: Any, inputs: Sequence[Any], params: dict[str, Any]) -> Any:
        """The partial derivative at these values."""
        if isinstance(self.partial, str):
            raise NotDifferentiable(
                f"{self.name}: got {self.argument} that needs a gradient, expected a constant "
                f"({self.partial}); try {self.argument}.detach()"
            )
        values = (*inputs, out)
        options = {n: params[n] for n in self.params}
        return self.partial(*[values[k] for k in self.reads], **options)

    def vjp(self, ct: Any, out: Any, *inputs: Any, **params: Any) -> Any:
        slope = self.slope(out, inputs, params)
        return ct * (conj(slope) if slope.dtype.kind == "c" else slope)

    def jvp(self, tangent: Any, out: Any, *inputs: Any, **params: Any) -> Any:
        found = tangent * self.slope(out, inputs, params)
        return found if found.shape == out.shape else found.broadcast_to(out.shape)


def _batched(
    name: str, inputs: Sequence[Any], batched: Sequence[bool], params: dict[str, Any]
) -> Any:
    """The batch on axis 0: the ranks of the members are made equal behind it."""
    ranks = [t.ndim - b for t, b in zip(inputs, batched)]
    aligned = [
        t.reshape((t.shape[0], *(1,) * (max(ranks) - rank), *t.shape[1:])) if b else t
        for t, b, rank in zip(inputs, batched, ranks)
    ]
    return PRIMITIVES[name].bind(*aligned, **params)
