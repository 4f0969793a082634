"""Primitives that are formulas: their kernels and every derivative follow from the expression.

`Elementwise` is a formula over elements, broadcast as NumPy does. `Reduce` is a formula in the
staged form (map, reduce over columns, map) over a (row, column) view of an array: the axes that
are reduced are the columns. The derivative of either is a primitive of the same class, so that
gradients of every order run as kernels and stay on the tape.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, NotDifferentiable, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import (
    PRIMITIVES,
    Params,
    Primitive,
    Spec,
    Wanted,
    output,
    picker,
)
from tensorgrad.core.steps import Term, written_pull
from tensorgrad.core.tape import Array, Node
from tensorgrad.core.tensor import Tensor, rebuilt
from tensorgrad.expr import COLUMN, ELEMENT, ROW, Derivative, Formula
from tensorgrad.expr import input as variable
from tensorgrad.expr.traits import Traits, traits


@dataclass(slots=True)
class Derived:
    """A derivative ready to run: the primitive of its formula, and where its inputs come from.

    `sources` number the primal's inputs, then its outputs, then the cotangents (or tangents);
    `results` say which output of `primitive` (or which cotangent, as it is) each result is.
    """

    primitive: FormulaPrimitive | None
    sources: tuple[int, ...]
    results: tuple[tuple[str, int] | None, ...]

    def run(self, values: dict[int, Any], call: Callable[..., Any], first: int) -> list[Any]:
        """All results; `values` by source number, the cotangents from number `first` on."""
        outs: Any = ()
        if self.primitive is not None:
            outs = call(self.primitive, *[values[s] for s in self.sources])
            if self.primitive.nout == 1:
                outs = (outs,)
        return [
            None if r is None else outs[r[1]] if r[0] == "kernel" else values[first + r[1]]
            for r in self.results
        ]


@dataclass(slots=True)
class Route:
    """A VJP with its inputs located: `pick` takes them from the saved values and cotangents.

    `results` pair an input with an output of `primitive`, or with cotangent -1 - r as it is;
    `taken` are the places of what `pick` takes.
    """

    primitive: FormulaPrimitive | None
    taken: tuple[int, ...]
    pick: Callable[[Sequence[Any]], tuple[Any, ...]]
    results: list[tuple[int, int]]

    def run(
        self, call: Callable[..., Any] | None, pool: Sequence[Any], cts: list[Any], params: Params
    ) -> list[tuple[int, Any]]:
        """The cotangent of each input."""
        found: Any = () if call is None else call(*self.pick(pool), **params)
        if self.primitive is not None and self.primitive.nout == 1:
            found = (found,)
        return [(k, found[r] if r >= 0 else cts[-1 - r]) for k, r in self.results]


FIRST = (True,)  # the only output has a cotangent
NONE: Params = {}


def _complex(node: Node, wanted: Wanted) -> bool:
    """True if a wanted input is complex."""
    for k in wanted:  # noqa: SIM110  (any() costs a generator for every node of every backward)
        if node.parents[k].dtype.kind == "c":  # type: ignore[union-attr]
            return True
    return False


class FormulaPrimitive(Primitive):
    """What `Elementwise` and `Reduce` share: derivatives derived from the formula."""

    takes_params = False
    order = 0  # of derivative; one above 0 runs in backward or jvp, where warnings are off already

    def __init__(
        self,
        name: str,
        formula: Formula | Callable[[], Formula],
        nin: int | None = None,
        nout: int = 1,
        differentiable: bool = True,
    ) -> None:
        """A ready formula, or a function that traces it when it is first needed (with `nin`)."""
        if isinstance(formula, Formula):
            ready = formula
            nin, nout = len(ready.inputs), len(ready.outputs)
            self._make: Callable[[], Formula] = lambda: ready
        else:
            self._make = formula
        self._derived: dict[Any, Derived] = {}
        self._routes: dict[Any, Route] = {}
        self._pulls: dict[tuple[int, Wanted], Callable[..., Any]] = {}
        super().__init__(
            name,
            nin=nin or 0,
            nout=nout,
            spec=self.shape_rule,
            batch=self.batch_rule,
            vjp=() if differentiable else None,
            params=self.takes_params,
        )

    @cached_property
    def formula(self) -> Formula:
        """The formula, traced when it is first needed."""
        return self._make()

    @cached_property
    def traits(self) -> Traits:
        """Facts about the formula."""
        return traits(self.formula.inputs, self.formula.outputs)

    @cached_property
    def holomorphic(self) -> bool:
        """True if the formula may be differentiated at complex arguments."""
        return self.traits.holomorphic

    def shape_rule(self, *specs: Spec, **params: Any) -> Any:
        raise TypeError(f"{self.name}: a formula of no kind")

    def batch_rule(self, inputs: Any, batched: Any, **params: Any) -> Any:
        raise TypeError(f"{self.name}: a formula of no kind")

    def derivative(self, found: Derivative, label: str) -> Derived:
        """A derivative of the formula as a primitive of this class."""
        number = {"in": 0, "out": self.nin, "ct": self.nin + self.nout}
        sources = tuple(number[kind] + k for kind, k in found.sources)
        primitive = None
        if found.formula is not None:
            primitive = type(self)(f"{self.name}_{label}", found.formula)
            primitive.order = self.order + 1
            primitive.holomorphic = self.holomorphic
        return Derived(primitive, sources, found.results)

    def backward(self, wanted: tuple[int, ...], present: tuple[int, ...]) -> Derived:
        """The VJP of some inputs for cotangents of some outputs (the others are zero)."""
        key = ("vjp", wanted, present)
        if key not in self._derived:
            self._derived[key] = self.derivative(self.formula.vjp(wanted, present), "vjp")
        return self._derived[key]

    def forward(self, moving: tuple[int, ...]) -> Derived:
        """The JVP for tangents of some inputs (the others are zero)."""
        key = ("jvp", moving)
        if key not in self._derived:
            self._derived[key] = self.derivative(self.formula.jvp(moving), "jvp")
        return self._derived[key]

    def positions(self, mask: int) -> tuple[int, ...]:
        wanted = tuple(k for k in range(self.nin) if mask >> k & 1)
        real = tuple(k for k, o in enumerate(self.formula.outputs) if o.kind == "f")
        rule = self.backward(wanted, real)
        first = self.nin + self.nout
        return tuple(sorted({s for s in rule.sources if s < first}))

    def route(self, mask: int, wanted: Wanted, present: tuple[bool, ...]) -> Route:
        """The derivative to run for a node, with its inputs located among what was saved."""
        key = (mask, wanted, present)
        found = self._routes.get(key)
        if found is None:
            kept = self.kept(mask)
            rule = self.backward(tuple(wanted), tuple(k for k, p in enumerate(present) if p))
            first = self.nin + self.nout
            at = {s: k for k, s in enumerate(kept)}
            at |= {first + k: len(kept) + k for k in range(self.nout)}
            results = [
                (k, r[1] if r[0] == "kernel" else -1 - r[1])
                for k, r in zip(wanted, rule.results)
                if r is not None
            ]
            taken = tuple(at[s] for s in rule.sources)
            found = self._routes[key] = Route(rule.primitive, taken, picker(taken), results)
        return found

    def pull(
        self, node: Node, ct: Any, wanted: Wanted, into: Callable[[int], Any]
    ) -> Iterable[tuple[int, Array]]:
        if self.nout > 1:
            return self._pulled(node, ct, wanted)
        if ct.dtype.kind == "c" or (not self.holomorphic and _complex(node, wanted)):
            return self._pulled(node, [ct], wanted)
        run = self._pulls.get((node.mask, wanted)) or self._pull(node.mask, wanted)
        return run(node.saved, ct, node.params or NONE)  # type: ignore[no-any-return]

    def _pull(self, mask: int, wanted: Wanted) -> Callable[..., Any]:
        """`pull` for one mask and what is wanted of it: f(saved, ct, params)."""
        route = self.route(mask, wanted, FIRST)
        run = self._pulls[mask, wanted] = written_pull(
            route.primitive, route.taken, len(self.kept(mask)), route.results
        )
        return run

    def _pulled(self, node: Node, cts: list[Any], wanted: Wanted) -> list[tuple[int, Array]]:
        """`pull` of several outputs, or of complex values."""
        backend = base.of(next(ct for ct in cts if ct is not None))
        turn = self._turned(node, cts, wanted, backend.conj)
        cts = [None if ct is None else turn(ct) for ct in cts]
        route = self.route(node.mask, wanted, tuple([ct is not None for ct in cts]))
        pool = (*(node.saved or ()), *cts)
        call = None if route.primitive is None else route.primitive.kernels[backend.array_type]
        return [(k, turn(g)) for k, g in route.run(call, pool, cts, node.params or {})]

    def vjp(self, node: Node, ct: Any, wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        cts = [ct] if self.nout == 1 else ct
        turn = self._turned(node, cts, wanted, lambda t: t.conj())
        cts = [None if ct is None else turn(ct) for ct in cts]
        route = self.route(node.mask, wanted, tuple([ct is not None for ct in cts]))
        pool = (*self._rebuilt(node), *cts)
        call = None if route.primitive is None else route.primitive.bind
        return [(k, turn(g)) for k, g in route.run(call, pool, cts, node.params or {})]

    def _rebuilt(self, node: Node) -> list[Tensor]:
        """What a node saved as tensors: inputs around their nodes, outputs around this one."""
        return [
            rebuilt(data, node.parents[k])
            if k < self.nin
            else output(node, data, k - self.nin, self.nout)
            for k, data in zip(self.kept(node.mask), node.saved or ())
        ]

    def _turned(
        self, node: Node, cts: list[Any], wanted: Wanted, conj: Callable[[Any], Any]
    ) -> Callable[[Any], Any]:
        """How cotangents enter and leave: conjugated for complex values, else as they are.

        Under the inner product Re Σ conj(a)·b the adjoint of multiplying by f' multiplies by its
        conjugate: the real rule between two conjugations.
        """
        turning = any(ct is not None and ct.dtype.kind == "c" for ct in cts)
        if not turning and not _complex(node, wanted):
            return lambda value: value
        if not turning or not self.holomorphic:
            self._refuse_complex()
        return conj

    def _refuse_complex(self) -> None:
        raise NotDifferentiable(
            f"{self.name}: got a complex input that needs a gradient, expected a real one "
            "(the function is not holomorphic); try it on x.real and x.imag"
        )

    def terms(self, mask: int) -> tuple[Term, ...]:
        rule = self.forward(tuple([k for k in range(self.nin) if mask >> k & 1]))
        result = rule.results[0]
        if result is None:
            return ()
        if result[0] == "kernel":
            return ((rule.primitive, rule.sources),)
        return ((None, (self.nin + 1 + result[1],)),)

    def jvp(
        self,
        primals: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        out: Any,
        params: Params,
    ) -> Any:
        moving = tuple([k for k, t in enumerate(tangents) if t is not None])
        rule = self.forward(moving)
        outs = out if self.nout > 1 else (out,)
        first = self.nin + self.nout
        values = dict(enumerate((*primals, *outs)))
        for k in moving:
            if tangents[k].dtype.kind == "c" and not self.holomorphic:  # type: ignore[union-attr]
                self._refuse_complex()
            values[first + k] = tangents[k]
        found = rule.run(values, lambda op, *v: op.bind(*v, **params), first)
        full = [None if t is None else _fitted(t, o) for t, o in zip(found, outs)]
        return full[0] if self.nout == 1 else tuple(full)


def _fitted(tangent: Tensor, out: Tensor) -> Any:
    """A tangent in its output's shape and dtype: one that is an input's own has that one's."""
    moved: Any = tangent if tangent.shape == out.shape else tangent.broadcast_to(out.shape)
    return moved if moved.dtype == out.dtype else moved.astype(out.dtype)


def inputs_of(fn: Callable[..., Any]) -> list[str]:
    """The names of a function's arguments; a plain one's without the cost of a signature."""
    code = getattr(fn, "__code__", None)
    if code is None or hasattr(fn, "__wrapped__"):
        return list(inspect.signature(fn).parameters)
    return list(code.co_varnames[: code.co_argcount])


class Elementwise(FormulaPrimitive):
    """A formula over elements: `fn` on numbers, arrays or formula variables is its definition."""

    fn: Callable[..., Any] | None = None

    @classmethod
    def trace(
        cls,
        name: str,
        fn: Callable[..., Any],
        kinds: str | None = None,
        differentiable: bool = True,
    ) -> Elementwise:
        """The primitive of a function; `kinds`: a letter per input, f real, i integer, b bool."""
        names = inputs_of(fn)
        kinds = kinds or "f" * len(names)
        self = cls(
            name,
            lambda: Formula.trace(name, fn, [variable(n, k) for n, k in zip(names, kinds)]),
            len(names),
            differentiable=differentiable,
        )
        self.fn = fn
        return self

    def find_kernel(self, backend: base.Backend) -> base.Kernel:
        return backend.elementwise(self.formula, self.order)

    def shape_rule(self, *specs: Spec, **params: Any) -> Spec:
        shape = shapes.broadcast(*(s.shape for s in specs), op=self.name)
        for spec, given in zip(specs, self.formula.inputs):
            need(
                given.kind != "i" or spec.dtype.kind in "biu",
                self.name,
                dtype=spec.dtype.name,
                want="integers or bools",
                fix="x.astype(int)",
                error=DTypeError,
            )
        if not self.differentiable:
            return Spec(shape, dtypes.bool_)
        return Spec(shape, dtypes.result_type(*(s.dtype for s in specs)))

    def batch_rule(self, inputs: Sequence[Tensor], batched: Sequence[bool], **params: Any) -> Any:
        ranks = [t.ndim - b for t, b in zip(inputs, batched)]
        top = max(ranks)
        aligned = [
            t.reshape((t.shape[0], *(1,) * (top - rank), *t.shape[1:])) if b and rank < top else t
            for t, b, rank in zip(inputs, batched, ranks)
        ]
        out = self.bind(*aligned)
        shape = shapes.broadcast(*(t.shape for t in aligned), op=self.name)
        if self.nout == 1:
            return out if out.shape == shape else out.broadcast_to(shape)
        return tuple(o if o.shape == shape else o.broadcast_to(shape) for o in out)


class Reduce(FormulaPrimitive):
    """A formula over a (row, column) view of an array: `axis` are the columns, the rest rows.

    Called as `bind(*inputs, axis=(...), shape=(...))`: `axis` ascending, `shape` that of the whole
    array. An input or output that has only rows has the shape without the axes, one that has
    only columns the shape of the axes, a scalar none.
    """

    takes_params = True

    @classmethod
    def trace(
        cls,
        name: str,
        fn: Callable[..., Any],
        inputs: dict[str, tuple[str, int]],
        nout: int = 1,
        inner: Callable[..., Any] | None = None,
    ) -> Reduce:
        """The primitive of a staged function; `inputs` give each variable's kind and index set.

        `inner` as in `Formula.trace`.
        """
        variables = [variable(n, kind, index) for n, (kind, index) in inputs.items()]
        return cls(name, lambda: Formula.trace(name, fn, variables, inner), len(variables), nout)

    def find_kernel(self, backend: base.Backend) -> base.Kernel:
        return backend.reduce(self.formula, self.order)

    def shape_rule(self, *specs: Spec, **params: Any) -> Any:
        axis, shape = params["axis"], params["shape"]
        floats = [s.dtype for s, v in zip(specs, self.formula.inputs) if v.kind == "f"]
        dtype = dtypes.inexact(dtypes.result_type(*floats))
        outs = tuple(Spec(view_shape(o.index, axis, shape), dtype) for o in self.formula.outputs)
        return outs[0] if self.nout == 1 else outs

    def batch_rule(
        self,
        inputs: Sequence[Tensor],
        batched: Sequence[bool],
        **params: Any,
    ) -> Any:
        axis, shape = params["axis"], params["shape"]
        size = next(t.shape[0] for t, b in zip(inputs, batched) if b)
        sided = [b and not v.index & ROW for b, v in zip(batched, self.formula.inputs)]
        if any(sided) or self.traits.sums_rows:
            return self._looped(inputs, batched, size, {"axis": axis, "shape": shape})
        whole, moved = (size, *shape), tuple(k + 1 for k in axis)
        full = [
            t if b or not v.index & ROW else t.broadcast_to((size, *t.shape))
            for t, b, v in zip(inputs, batched, self.formula.inputs)
        ]
        return self.bind(*full, axis=moved, shape=whole)

    def _looped(
        self, inputs: Sequence[Tensor], batched: Sequence[bool], size: int, params: Params
    ) -> Any:
        """One call per member of the batch: sums over rows must not mix members."""
        rows = [
            self.bind(*[t[k] if b else t for t, b in zip(inputs, batched)], **params)
            for k in range(size)
        ]
        stack = PRIMITIVES["stack"].bind
        if self.nout == 1:
            return stack(*rows, axis=0)
        return tuple(stack(*column, axis=0) for column in zip(*rows))


def view_shape(index: int, axis: shapes.Shape, shape: shapes.Shape) -> shapes.Shape:
    """The shape of a value with this index set: all of it, its rows, its columns, or none."""
    if index == ELEMENT:
        return shape
    if index == ROW:
        return tuple(size for k, size in enumerate(shape) if k not in axis)
    return tuple(shape[k] for k in axis) if index == COLUMN else ()
