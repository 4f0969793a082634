"""Primitives and the path by which every call reaches a kernel and the tape.

A primitive is data: a name, a rule for shapes, derivative rules, a batching rule. The call path
is written once per arity and closed over the primitive's tables; the kernel runs first and checks
its inputs itself, `spec` is asked only to explain a failure. Budget of a recorded elementwise call
on 64 elements: 2 microseconds where `numpy.add` takes 0.45.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import NotDifferentiable, TensorgradError
from tensorgrad.backend import base
from tensorgrad.core.levels import interpret
from tensorgrad.core.tape import PICKS, ROOT, Array, Node, next_seq, user_place
from tensorgrad.core.tensor import Payload, Tensor, make, rebuilt
from tensorgrad.expr import Expr

Params = dict[str, Any]
Wanted = Sequence[int]
Keeper = Callable[[Sequence[Array]], tuple[Array, ...]]

PRIMITIVES: dict[str, Primitive] = {}


@dataclass(frozen=True, slots=True)
class Spec:
    """The shape and dtype of a value that need not exist."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Kernels(dict[type, base.Kernel]):
    """The kernel of one primitive by array type, found at the first call."""

    def __init__(self, find: Callable[[base.Backend], base.Kernel]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, array_type: type) -> base.Kernel:
        kernel = self[array_type] = self._find(base.of_type(array_type))
        return kernel


class Keepers(dict[int, Keeper]):
    """What to save, by the mask of inputs that need a gradient; worked out when first needed."""

    def __init__(self, find: Callable[[int], Keeper]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, mask: int) -> Keeper:
        keeper = self[mask] = self._find(mask)
        return keeper


class Primitive:
    """A base operation: one kernel per backend, and rules written in public operations.

    vjp, jvp: one rule per input (or one function for any number of inputs, `variadic`)
        vjp[k](ct, out, *inputs, **params) -> cotangent of input k
        jvp[k](tangent, out, *inputs, **params) -> tangent of the output
    linear: inputs in which the operation is linear while the others stay; they need no jvp rule.
    reads: per input, what its vjp rule reads: an input's position, or `nin + j` for output j.
        What is not read is handed to the rule as a bare `Spec`, so reading it fails loudly.
    batch: rule(inputs, batched, **params) -> output, the batch on axis 0 of every batched input
        and of the output.
    A rule for one that has several outputs receives tuples of cotangents (None: zero) and outputs.
    """

    differentiable = True

    def __init__(
        self,
        name: str,
        *,
        nin: int,
        nout: int = 1,
        spec: Callable[..., Any],
        batch: Callable[..., Any],
        vjp: Sequence[Callable[..., Any]] | Callable[..., Any] | None = None,
        jvp: Sequence[Callable[..., Any] | None] | Callable[..., Any] | None = None,
        linear: Sequence[int] = (),
        reads: Sequence[Sequence[int]] = (),
        params: bool = True,
    ) -> None:
        self.name, self.nin, self.nout = name, nin, nout
        self.spec, self.batch = spec, batch
        self.vjp_rules, self.jvp_rules, self.linear = vjp, jvp, frozenset(linear)
        self.reads = tuple(tuple(one) for one in reads)
        self.differentiable = vjp is not None
        self.kernels = Kernels(self.find_kernel)
        self.keepers = Keepers(self.keeper)
        self.bind = call_path(self, params)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def find_kernel(self, backend: base.Backend) -> base.Kernel:
        """The kernel of this primitive on a backend."""
        return backend.kernel(self.name)

    # -- what the tape keeps -------------------------------------------------------------------

    def positions(self, mask: int) -> tuple[int, ...]:
        """What must be saved when the inputs in `mask` need a gradient: inputs, then outputs."""
        return tuple(sorted({p for k, r in enumerate(self.reads) if mask >> k & 1 for p in r}))

    def keeper(self, mask: int) -> Keeper:
        """The function that picks the values to save out of all inputs and outputs."""
        return picker(self.positions(mask))

    def attach(self, inputs: tuple[Tensor, ...], outs: list[Tensor], params: Params) -> Any:
        """Put the outputs of a call on the tape, if it is on and an input is there."""
        if self.differentiable and _config.is_recording():
            for x in inputs:
                if x.node is not None:
                    self._record(inputs, outs, params)
                    break
        return outs[0] if self.nout == 1 else tuple(outs)

    def _record(self, inputs: tuple[Tensor, ...], outs: list[Tensor], params: Params) -> None:
        node = Node()
        node.primitive, node.params = self, params
        node.parents = tuple([x.node for x in inputs])
        keep = self.keepers[mask_of(node)]
        node.saved = keep([x.data for x in inputs] + [x.data for x in outs])
        node.seq = next_seq()
        first = outs[0].data
        node.shape, node.dtype = first.shape, first.dtype
        node.code, node.offset = user_place()
        for k, out in enumerate(outs):
            if out.node is None and dtypes.is_inexact(out.data.dtype):
                out.node = node if self.nout == 1 else pick(node, k, out)

    # -- derivatives ---------------------------------------------------------------------------

    def rule(self, rules: Any, k: int) -> Callable[..., Any]:
        """Rule `k` of a table of rules, or of one rule for any number of inputs."""
        if callable(rules):
            return lambda *a, **p: rules(k, *a, **p)
        return rules[k]  # type: ignore[no-any-return]

    def given(self, node: Node) -> tuple[Any, list[Any]]:
        """(output or outputs, inputs) as a vjp rule sees them: tensors where saved, else specs."""
        values: list[Any] = [None if p is None else Spec(p.shape, p.dtype) for p in node.parents]
        nin = len(values)
        values += [Spec(node.shape, node.dtype)] * self.nout
        for position, data in zip(self.positions(mask_of(node)), node.saved or ()):
            if position < nin:
                values[position] = rebuilt(data, node.parents[position])
            else:
                values[position] = output(node, data, position - nin, self.nout)
        return (values[nin] if self.nout == 1 else tuple(values[nin:])), values[:nin]

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Cotangents of the wanted inputs, as tensors; on the tape if it is on."""
        out, inputs = self.given(node)
        ct = cts[0] if self.nout == 1 else tuple(cts)
        for k in wanted:
            found = self.rule(self.vjp_rules, k)(ct, out, *inputs, **(node.params or {}))
            if found is not None:
                yield k, found

    def pull(
        self, node: Node, cts: list[Any], wanted: Wanted, into: Callable[[int], Any]
    ) -> Iterable[tuple[int, Array]]:
        """Cotangents of the wanted inputs, as bare arrays: the first-order path."""
        fast = base.of(next(ct for ct in cts if ct is not None)).pull(self.name)
        if fast is not None:
            saved = dict(zip(self.positions(mask_of(node)), node.saved or ()))
            yield from fast(cts, wanted, into, saved, node)
            return
        tensors = [None if ct is None else make(ct) for ct in cts]
        for k, found in self.vjp(node, tensors, wanted):
            yield k, found.data

    def jvp(
        self,
        primals: Sequence[Tensor],
        tangents: Sequence[Tensor | None],
        out: Any,
        params: Params,
    ) -> Any:
        """The tangent of the output (a tuple for several), None where it is zero."""
        total: Any = None
        for k, tangent in enumerate(tangents):
            if tangent is None or self.vjp_rules is None:
                continue
            if k in self.linear:
                swapped = [*primals[:k], tangent, *primals[k + 1 :]]
                term = self.bind(*swapped, **params)
            else:
                if self.jvp_rules is None:
                    raise NotDifferentiable(f"{self.name}: has no forward-mode rule")
                term = self.rule(self.jvp_rules, k)(tangent, out, *primals, **params)
            total = term if total is None else _plus(total, term)
        return total


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, tuple):
        return tuple(x if y is None else y if x is None else x + y for x, y in zip(a, b))
    return b if a is None else a if b is None else a + b


def mask_of(node: Node) -> int:
    """Which inputs of a node were recorded, as a bit set."""
    mask, bit = 0, 1
    for parent in node.parents:
        if parent is not None:
            mask |= bit
        bit += bit
    return mask


_PICKERS: dict[tuple[int, ...], Keeper] = {}


def picker(positions: tuple[int, ...]) -> Keeper:
    """A function that takes the values at `positions` out of a tuple, one shared by all."""
    if positions not in _PICKERS:
        items = "".join(f"v[{p}]," for p in positions)
        _PICKERS[positions] = eval(f"lambda v: ({items})")
    return _PICKERS[positions]


def output(node: Node, data: Array, index: int, nout: int) -> Tensor:
    """A saved output of `node` as a tensor on the tape."""
    return rebuilt(data, node if nout == 1 else pick(node, index, data))


def pick(node: Node, index: int, value: Any) -> Node:
    """The node of output `index` of an operation that has several."""
    child = Node()
    child.primitive = PICKS[index]  # type: ignore[assignment]
    child.params, child.saved, child.parents = None, (), (node,)
    child.seq = next_seq()
    data = value.data if isinstance(value, Tensor) else value
    child.shape, child.dtype = data.shape, data.dtype
    child.code, child.offset = node.code, node.offset
    return child


# -- operands ----------------------------------------------------------------------------------

_SCALARS: dict[Any, Tensor] = {}
_PLAIN = frozenset((bool, int, float, complex))


def operand(value: Any, others: Iterable[Any] = (), op: str = "tensor") -> Tensor:
    """A value as a tensor; a Python number takes the dtype that NumPy 2 gives it beside others."""
    if isinstance(value, Tensor):
        return value
    if type(value) in _PLAIN:
        strong = [x for x in others if isinstance(x, Tensor)]
        if strong:
            widest = dtypes.result_type(*(x.dtype for x in strong))
            return beside(value, next((x for x in strong if x.dtype == widest), strong[0]))
    elif value is None or isinstance(value, str | bytes | dict | set):
        raise TypeError(
            f"{op}: got {value!r}, expected a tensor, an array or a number; try tg.tensor(x)"
        )
    return make(base.asarray(value))


def operands(values: tuple[Any, ...], op: str) -> tuple[Tensor, ...]:
    """Values as tensors; Python numbers last, since they take their dtype from the others."""
    found = [
        x if isinstance(x, Tensor) else x if type(x) in _PLAIN else operand(x, (), op)
        for x in values
    ]
    strong = [x for x in found if isinstance(x, Tensor)]
    if len(strong) == len(found):
        return tuple(strong)
    if len(strong) == 1:
        other = strong[0]
        return tuple([x if isinstance(x, Tensor) else beside(x, other) for x in found])
    return tuple([operand(x, strong, op) for x in found])


def beside(value: Any, other: Tensor) -> Tensor:
    """A Python number as a constant of the dtype that NumPy 2 gives it beside a tensor.

    Constants are remembered, since a loop meets the same few.
    """
    kind = type(value)
    zero = kind is float and not value and math.copysign(1.0, value)  # -0.0 is an equal key
    key = (value, kind, zero, other.data.dtype, type(other.data))
    found = _SCALARS.get(key)
    if found is None:
        array = base.of(other.value()).asarray(value, dtypes.weak(value, other.dtype))
        array.flags.writeable = False
        if len(_SCALARS) > 4096:
            _SCALARS.clear()
        found = _SCALARS[key] = make(array)
    return found


def restore(value: Any, like: type) -> Array:
    """A NumPy scalar, which is what NumPy makes of results without axes, as an array again."""
    return base.of_type(like).asarray(value)


def explain(op: Primitive, inputs: Sequence[Tensor], params: Params, error: Exception) -> Exception:
    """The error to raise for a kernel that failed: the op's own rule says it best."""
    if isinstance(error, TensorgradError):
        return error
    try:
        op.spec(*(Spec(t.shape, t.dtype) for t in inputs), **params)
    except TensorgradError as better:
        return better
    except Exception:  # the rule could not read these inputs either: the kernel's word stands
        return error
    return error


# -- the call paths ----------------------------------------------------------------------------


def call_path(op: Primitive, params: bool) -> Callable[..., Any]:
    """The function that calls a primitive, specialised for its arity."""
    if not params and op.nout == 1 and op.nin in (1, 2):
        return (unary if op.nin == 1 else binary)(op)
    return general(op)


def unary(op: Primitive) -> Callable[[Any], Any]:
    """The path of an operation of one input without parameters."""
    kernels, keepers, recording = op.kernels, op.keepers, _config.is_recording
    new, node_type, frame, root = object.__new__, Node, sys._getframe, ROOT
    differentiable = op.differentiable

    def call(x: Any, /) -> Any:
        if type(x) is not Tensor:
            if type(x) is Expr:
                return inline(op, x)
            x = operand(x, (), op.name)
        if x.level:
            return interpret(op, (x,), {})
        a = x.data
        kind = type(a)
        try:
            v = kernels[kind](a)
        except Exception as error:
            raise explain(op, (x,), {}, error) from None
        if type(v) is not kind:
            v = restore(v, kind)
        t = new(Tensor)
        t.data = v
        t.level = 0
        p = x.node
        if p is None or not differentiable or not recording():
            t.node = None
            return t
        n = new(node_type)
        n.primitive = op
        n.params = None
        n.saved = keepers[1]((a, v))
        n.parents = (p,)
        n.seq = next_seq()
        n.shape = v.shape
        n.dtype = v.dtype
        f: Any = frame(1)
        while f.f_code.co_filename.startswith(root):
            f = f.f_back
        n.code = f.f_code
        n.offset = f.f_lasti
        t.node = n
        return t

    return call


def binary(op: Primitive) -> Callable[[Any, Any], Any]:
    """The path of an operation of two inputs without parameters."""
    kernels, keepers, recording = op.kernels, op.keepers, _config.is_recording
    new, node_type, frame, root = object.__new__, Node, sys._getframe, ROOT
    differentiable = op.differentiable

    def call(x: Any, y: Any, /) -> Any:
        if type(x) is not Tensor or type(y) is not Tensor:
            if type(x) is Expr or type(y) is Expr:
                return inline(op, x, y)
            x, y = operands((x, y), op.name)
        if x.level or y.level:
            return interpret(op, (x, y), {})
        a = x.data
        b = y.data
        kind = type(a)
        try:
            v = kernels[kind](a, b)
        except Exception as error:
            raise explain(op, (x, y), {}, error) from None
        if type(v) is not kind:
            v = restore(v, kind)
        t = new(Tensor)
        t.data = v
        t.level = 0
        p = x.node
        q = y.node
        if (p is None and q is None) or not differentiable or not recording():
            t.node = None
            return t
        n = new(node_type)
        n.primitive = op
        n.params = None
        n.saved = keepers[(p is not None) + 2 * (q is not None)]((a, b, v))
        n.parents = (p, q)
        n.seq = next_seq()
        n.shape = v.shape
        n.dtype = v.dtype
        f: Any = frame(1)
        while f.f_code.co_filename.startswith(root):
            f = f.f_back
        n.code = f.f_code
        n.offset = f.f_lasti
        t.node = n
        return t

    return call


def general(op: Primitive) -> Callable[..., Any]:
    """The path of every other operation: any number of inputs and outputs, parameters."""
    kernels = op.kernels

    def call(*inputs: Any, **params: Any) -> Any:
        tensors = inputs
        for x in inputs:
            if not isinstance(x, Tensor):
                if any(type(x) is Expr for x in inputs):
                    return inline(op, *inputs, **params)
                tensors = operands(inputs, op.name)
                break
        for x in tensors:
            if x.level:
                return interpret(op, tensors, params)
        kind = type(tensors[0].data)
        try:
            v: Any = kernels[kind](*[x.data for x in tensors], **params)
        except Exception as error:
            raise explain(op, tensors, params, error) from None
        outs = [
            make(x if type(x) is kind else restore(x, kind)) for x in (v if op.nout > 1 else (v,))
        ]
        return op.attach(tensors, outs, params)

    return call


def inline(op: Primitive, *inputs: Any, **params: Any) -> Any:
    """An operation on a formula's variables: its own formula, written into theirs."""
    if any(isinstance(x, Tensor) for x in inputs):
        raise TypeError(
            f"{op.name}: got a tensor beside a variable of an elementwise formula, expected "
            "variables and numbers; try making the tensor an argument of the fused function"
        )
    fn = getattr(op, "fn", None)
    if fn is None:
        raise TypeError(
            f"{op.name}: got a variable of an elementwise formula, expected an array; "
            "try it outside the fused function: it is not elementwise"
        )
    return fn(*inputs, **params)


__all__ = [
    "PRIMITIVES",
    "Kernels",
    "Params",
    "Payload",
    "Primitive",
    "Spec",
    "mask_of",
    "operand",
    "output",
    "pick",
    "picker",
]
