"""User operations: `primitive` makes one of a NumPy function, `defvjp` and `defjvp` give its rules.

A call with a recorded argument becomes one node. Its rule is asked in the backward pass, with bare
arrays at first order and with tensors where the pass is recorded itself; cotangents are autograd's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad.compat.autograd.core import NoDerivativeError
from tensorgrad.compat.autograd.values import as_tensor, bare, conj, mapped, moving, split, tensors
from tensorgrad.compat.autograd.vspaces import VSpace, vspace
from tensorgrad.compat.autograd.wrap_util import get_name, wraps
from tensorgrad.core import tape
from tensorgrad.core.levels import interpret
from tensorgrad.core.primitive import Params, Primitive, Wanted, pick
from tensorgrad.core.tape import Node, next_seq, user_place
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.transforms.primitive import apart, recorded

Function = Callable[..., Any]


class Arguments:
    """The arguments of one call, with places for the tensors among them.

    places: of each tensor, which positional argument it is in, and which leaf of that
    rebuild: what puts leaves into the containers of the result, once that is known
    """

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.parts = [split(a) for a in args]
        self.kwargs = kwargs
        found = [(k, i, x) for k, (leaves, _) in enumerate(self.parts)
                 for i, x in enumerate(leaves) if isinstance(x, Tensor)]  # fmt: skip
        self.places = [(k, i) for k, i, _ in found]
        self.inputs = [x for *_, x in found]
        self.rebuild: Callable[[list[Any]], Any] = lambda leaves: leaves[0]

    def filled(self, values: Iterable[Any]) -> list[Any]:
        """The positional arguments with other values in the tensors' places."""
        leaves = [list(part) for part, _ in self.parts]
        for (k, i), value in zip(self.places, values):
            leaves[k][i] = value
        return [rebuild(part) for part, (_, rebuild) in zip(leaves, self.parts)]

    def numbers(self, wanted: Iterable[int]) -> tuple[int, ...]:
        """The positional arguments in which some of the tensors are."""
        return tuple(dict.fromkeys(self.places[w][0] for w in wanted))


class Operation(Primitive):
    """A function of arrays as a primitive, whose rules are given after it is made."""

    def __init__(self, f: Function) -> None:
        name = f"primitive({get_name(f)})"
        super().__init__(name, nin=-1, nout=-1, spec=f, batch=self.each, vjp=f, jvp=f)
        self.f = f
        self.vjpmaker: Function | None = None
        self.jvpmaker: Function | None = None
        self.known: frozenset[int] | None = None
        self.bind = self.run

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function of these arguments: recorded where a derivative goes through one."""
        if any(map(moving, tensors(kwargs))):
            raise TypeError(
                f"{self.name}: got a recorded tensor as an option by name, expected it among the "
                "positional arguments, which alone have derivatives; try passing it by position"
            )
        given = Arguments(args, kwargs)
        if not any(map(moving, given.inputs)):
            return self.f(*given.filled(map(bare, given.inputs)), **kwargs)
        outs = list(self.run(*given.inputs, given=given))
        return given.rebuild(outs)

    def run(self, *inputs: Tensor, given: Arguments) -> Any:
        """The outputs as a tuple of tensors, whatever the containers of the result."""
        if any(x.level for x in inputs):
            return interpret(self, inputs, {"given": given})
        result = self.f(*given.filled(map(bare, inputs)), **given.kwargs)
        leaves, given.rebuild = split(result)
        if any(map(moving, tensors(leaves))):
            raise TypeError(
                f"{self.name}: got a result that depends on a recorded tensor which the function "
                "captured, expected one of its arguments alone; try passing it as an argument"
            )
        return self.attach(inputs, [make(as_tensor(y).data) for y in leaves], {"given": given})

    def attach(self, inputs: tuple[Tensor, ...], outs: list[Tensor], params: Params) -> Any:
        """Put the outputs on the tape, with all inputs and outputs saved."""
        parents = tuple([x.node for x in inputs])
        mask = sum(1 << k for k, p in enumerate(parents) if p is not None)
        if mask and _config.is_recording():
            self.require("VJP", self.vjpmaker, params["given"], mask)
            node = Node()
            node.primitive, node.params = self, {**params, "nout": len(outs)}
            node.parents, node.mask = parents, mask
            node.saved = tuple([x.data for x in (*inputs, *outs)])
            node.seq = next_seq()
            node.shape, node.dtype = outs[0].shape, outs[0].dtype
            node.code, node.offset = user_place()
            if tape.ON_RECORD:
                tape.recorded(node)
            for k, out in enumerate(outs):
                if out.node is None and dtypes.is_inexact(out.dtype):
                    out.node = pick(node, k, out)
        return tuple(outs)

    def require(self, kind: str, maker: Function | None, given: Arguments, mask: int) -> None:
        """Raise `NotImplementedError` where an argument that needs one has no rule."""
        numbers = given.numbers([k for k in range(len(given.places)) if mask >> k & 1])
        known = self.known if kind == "VJP" else None
        if maker is None or (known is not None and not known.issuperset(numbers)):
            raise NoDerivativeError(
                f"{self.name}: got recorded arguments {numbers}, expected a {kind} rule for each; "
                f"try def{kind.lower()}({get_name(self.f)}, ...)"
            )

    # -- rules ---------------------------------------------------------------------------------

    def vjp(self, node: Node, cts: Any, wanted: Wanted) -> Iterator[tuple[int, Tensor]]:
        """Cotangents by the user's rule, on tensors."""
        given, saved = node.params["given"], node.saved or ()  # type: ignore[index]
        count = len(given.places)
        inputs = [rebuilt(x, p) for x, p in zip(saved, node.parents)]
        outs = [
            rebuilt(y, pick(node, k, y) if dtypes.is_inexact(y.dtype) else None)
            for k, y in enumerate(saved[count:])
        ]

        def one(inputs: list[Any], outs: list[Any], cts: list[Any]) -> list[Any]:
            every = [x for x in (*inputs, *outs, *cts) if x is not None]
            if not recorded(every) and not any(x.level for x in every):
                inputs, outs, cts = ([bare(x) for x in part] for part in (inputs, outs, cts))
            pairs = dict(self.pulled(given, inputs, outs, cts, wanted))
            return [as_tensor(pairs[k]) if k in pairs else None for k in wanted]

        for k, found in zip(wanted, apart(one, inputs, outs, cts)):
            if found is not None:
                yield k, found

    def pull(
        self, node: Node, ct: Any, wanted: Wanted, into: Callable[[int], Any]
    ) -> Iterator[tuple[int, Any]]:
        """Cotangents by the user's rule, on bare arrays."""
        given, saved = node.params["given"], node.saved or ()  # type: ignore[index]
        count = len(given.places)
        values = [x if x.ndim else x[()] for x in saved]
        cts = [c if c is None or c.ndim else c[()] for c in ct]
        for k, found in self.pulled(given, values[:count], values[count:], cts, wanted):
            yield k, as_tensor(found).data

    def pulled(
        self, given: Arguments, inputs: list[Any], outs: list[Any], cts: Any, wanted: Wanted
    ) -> Iterator[tuple[int, Any]]:
        """The user's vjp in autograd's convention, its result taken apart."""
        numbers, args = given.numbers(wanted), given.filled(inputs)
        g = given.rebuild([np.zeros_like(y) if c is None else conj(c) for y, c in zip(outs, cts)])
        assert self.vjpmaker is not None
        vjp = self.vjpmaker(numbers, given.rebuild(outs), args, given.kwargs)
        found = dict(zip(numbers, vjp(g)))
        for w in wanted:
            k, i = given.places[w]
            if found[k] is not None:
                yield w, conj(split(_dense(found[k], args[k]))[0][i])

    def jvp(
        self,
        primals: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        out: Any,
        params: Params,
    ) -> Any:
        """The tangents of the outputs by the user's rule; on bare arrays if nothing is recorded."""
        given: Arguments = params["given"]
        wanted = [k for k, t in enumerate(tangents) if t is not None]
        self.require("JVP", self.jvpmaker, given, sum(1 << k for k in wanted))
        numbers = given.numbers(wanted)
        steps = [np.zeros_like(x) if t is None else t for x, t in zip(primals, tangents)]
        every: list[Any] = [*primals, *steps, *out]
        if not any(map(moving, tensors(every))):
            every = [bare(x) for x in every]
        n = len(primals)
        args, moves = given.filled(every[:n]), given.filled(every[n : 2 * n])
        ans = given.rebuild(every[2 * n :])
        assert self.jvpmaker is not None
        found = self.jvpmaker(numbers, [moves[k] for k in numbers], ans, args, given.kwargs)
        return tuple([as_tensor(t) for t in split(found)[0]])

    def each(self, values: tuple[Tensor, ...], batched: tuple[bool, ...], **params: Any) -> Any:
        """The batching rule: the function of every element of the batch, one by one."""
        size = next(len(v) for v, b in zip(values, batched) if b)
        rows = [
            self.bind(*[v[i] if b else v for v, b in zip(values, batched)], **params)
            for i in range(size)
        ]
        return tuple([np.stack(column) for column in zip(*rows)])


def primitive(f_raw: Function) -> Any:
    """A function of NumPy arrays as one operation, whose derivative `defvjp` and `defjvp` say.

    The function sees arrays, never tensors. It may return an array or containers of arrays.

    >>> cube = primitive(lambda x: x**3)
    >>> defvjp(cube, lambda ans, x: lambda g: 3 * x**2 * g)
    >>> import tensorgrad.compat.autograd as ag
    >>> ag.grad(cube)(2.0)
    np.float64(12.0)
    """
    operation = Operation(f_raw)

    @wraps(f_raw)
    def f_wrapped(*args: Any, **kwargs: Any) -> Any:
        return operation.call(args, kwargs)

    made: Any = f_wrapped
    made.fun, made.operation, made._is_autograd_primitive = f_raw, operation, True
    return made


def notrace_primitive(f_raw: Function) -> Function:
    """A function that sees the values of tensors, and whose result is a constant."""

    @wraps(f_raw)
    def f_wrapped(*args: Any, **kwargs: Any) -> Any:
        return f_raw(*[mapped(bare, a) for a in args], **kwargs)

    return f_wrapped


class VJPNode:
    """The backward pass, for `register_notrace`."""


class JVPNode:
    """The forward pass, for `register_notrace`."""


def register_notrace(trace_type: type, primitive_fun: Any) -> None:
    """Say that a primitive is a constant of the backward (VJPNode) or forward (JVPNode) pass."""
    if trace_type is VJPNode:
        defvjp_argnums(primitive_fun, lambda argnums, *_: lambda g: [None] * len(argnums))
    else:
        defjvp_argnums(primitive_fun, lambda argnums, gs, ans, *_: mapped(np.zeros_like, ans))


class SparseObject:
    """A cotangent that is zero in most places: `mut_add(x)` adds it to x and returns the sum."""

    def __init__(self, vs: Any, mut_add: Function) -> None:
        self.vs, self.mut_add = vs, mut_add


VSpace.register(SparseObject, lambda x: x.vs)


def _dense(ct: Any, argument: Any) -> Any:
    """A cotangent with all its zeros; made of tensors where the pass is recorded itself."""
    if not isinstance(ct, SparseObject):
        return ct
    zeros = ct.vs.zeros()
    return ct.mut_add(mapped(as_tensor, zeros) if any(True for _ in tensors(argument)) else zeros)


def _operation(op: str, fun: Any) -> Operation:
    found = getattr(fun, "operation", None)
    if not isinstance(found, Operation):
        raise TypeError(
            f"{op}: got {get_name(fun)}, expected what `primitive` returned; try "
            f"{get_name(fun)} = primitive({get_name(fun)}) before"
        )
    return found


# -- rules for the backward pass ---------------------------------------------------------------


def defvjp_argnums(fun: Any, vjpmaker: Function) -> None:
    """vjpmaker(argnums, ans, args, kwargs) -> (g -> the cotangents of those arguments)."""
    operation = _operation("defvjp_argnums", fun)
    operation.vjpmaker, operation.known = vjpmaker, None


def defvjp_argnum(fun: Any, vjpmaker: Function) -> None:
    """vjpmaker(argnum, ans, args, kwargs) -> (g -> the cotangent of that argument)."""

    def maker(argnums: Sequence[int], *given: Any) -> Function:
        rules = [vjpmaker(k, *given) for k in argnums]
        return lambda g: [rule(g) for rule in rules]

    defvjp_argnums(fun, maker)


def defvjp(fun: Any, *vjpmakers: Function | None, argnums: Iterable[int] | None = None) -> None:
    """One vjpmaker(ans, *args, **kwargs) -> (g -> cotangent) per argument, None where it is zero.

    Without `argnums` they are for the arguments 0, 1 and so on.
    """
    for rule in vjpmakers:
        if rule is not None and not callable(rule):
            raise TypeError(f"defvjp: got the rule {rule!r}, expected a function; try None for 0")
    rules = dict(zip(range(len(vjpmakers)) if argnums is None else argnums, vjpmakers))

    def maker(argnums: Sequence[int], ans: Any, args: Any, kwargs: Any) -> Function:
        pulls = [rule and rule(ans, *args, **kwargs) for rule in map(rules.get, argnums)]
        return lambda g: [None if pull is None else pull(g) for pull in pulls]

    defvjp_argnums(fun, maker)
    _operation("defvjp", fun).known = frozenset(rules)


# -- rules for forward mode --------------------------------------------------------------------


def defjvp_argnums(fun: Any, jvpmaker: Function) -> None:
    """jvpmaker(argnums, gs, ans, args, kwargs) -> the tangent of the result."""
    _operation("defjvp_argnums", fun).jvpmaker = jvpmaker


def defjvp_argnum(fun: Any, jvpmaker: Function) -> None:
    """jvpmaker(argnum, g, ans, args, kwargs) -> that argument's part of the tangent."""

    def maker(argnums: Sequence[int], gs: Sequence[Any], *given: Any) -> Any:
        total: Any = None
        for k, g in zip(argnums, gs):
            term = jvpmaker(k, g, *given)
            total = term if total is None else vspace(total).add(total, term)
        return total

    defjvp_argnums(fun, maker)


def defjvp(fun: Any, *jvpfuns: Any, argnums: Iterable[int] | None = None) -> None:
    """One jvpfun(g, ans, *args, **kwargs) per argument; None: zero, "same": linear in it."""
    rules = dict(zip(range(len(jvpfuns)) if argnums is None else argnums, jvpfuns))
    for rule in jvpfuns:
        if rule is not None and rule != "same" and not callable(rule):
            raise TypeError(f'defjvp: got the rule {rule!r}, expected a function; try "same"')

    def maker(k: int, g: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        if k not in rules:
            raise NoDerivativeError(
                f"{get_name(fun)}: got a tangent of argument {k}, expected a JVP rule for it; "
                f"try defjvp({get_name(fun)}, ..., argnums=({k},))"
            )
        if rules[k] is None:
            return vspace(ans).zeros()
        if rules[k] == "same":
            return fun(*[*args[:k], g, *args[k + 1 :]], **kwargs)
        return rules[k](g, ans, *args, **kwargs)

    defjvp_argnum(fun, maker)


def def_linear(fun: Any) -> None:
    """Say that a primitive is linear in every argument: its tangents are itself of theirs."""

    def maker(k: int, g: Any, ans: Any, args: Any, kwargs: Any) -> Any:
        return fun(*[*args[:k], g, *args[k + 1 :]], **kwargs)

    defjvp_argnum(fun, maker)
