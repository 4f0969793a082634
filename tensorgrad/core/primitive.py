"""Primitives: an operation as data, with rules for shapes, derivatives and batching."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import NotDifferentiable
from tensorgrad.backend import base
from tensorgrad.core.autocast import POLICY
from tensorgrad.core.calls import Params, Spec, call_path, operand
from tensorgrad.core.steps import Steps, Term
from tensorgrad.core.tape import ON_RECORD, PICKS, Array, Node, next_seq, recorded, user_place
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.core.watch import EVERY, watched

Wanted = Sequence[int]
View = bool | Callable[[Params, int], tuple["Primitive", Params]]
Keeper = Callable[[Sequence[Array]], tuple[Array, ...]]

PRIMITIVES: dict[str, Primitive] = {}
POSITIONS = tuple(range(64))


class Kernels(dict[type, Any]):
    """The kernel of one primitive by array type, found at the first call."""

    def __init__(self, find: Callable[[base.Backend], Any]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, array_type: type) -> Any:
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
    view: whether the results may be views of the input, the only one; for several outputs a
        function (params, k) -> (operation, params) that gives output k alone.
    autocast: "low", "high" or nothing, by name: what mixed precision casts the inputs to.
    A rule for one that has several outputs receives tuples of cotangents (None: zero) and outputs.
    """

    differentiable = True
    view: View = False

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
        view: View = False,
    ) -> None:
        self.name, self.nin, self.nout = name, nin, nout
        self.spec, self.batch = spec, batch
        self.vjp_rules, self.jvp_rules, self.linear = vjp, jvp, frozenset(linear)
        self.reads = tuple(tuple(one) for one in reads)
        self.differentiable = vjp is not None
        self.view = view
        self.autocast = POLICY.get(name, "")
        self.kernels = Kernels(lambda backend: watched(self, self.find_kernel(backend)))
        self.pulls = Kernels(lambda backend: backend.pull(name))
        self.keepers = Keepers(self.keeper)
        self.steps = Steps(self)
        self._kept: dict[int, tuple[int, ...]] = {}
        self.bind = call_path(self, params)
        EVERY.add(self)

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"

    def find_kernel(self, backend: base.Backend) -> base.Kernel:
        """The kernel of this primitive on a backend."""
        return backend.kernel(self.name)

    @cached_property
    def quiet(self) -> Kernels:
        """What runs a kernel without warnings, by array type."""
        return Kernels(lambda backend: backend.quietly)

    @cached_property
    def plus(self) -> Kernels:
        """The sum of two cotangents or tangents, by array type."""
        return Kernels(lambda backend: backend.add)

    # -- what the tape keeps -------------------------------------------------------------------

    def positions(self, mask: int) -> tuple[int, ...]:
        """What must be saved when the inputs in `mask` need a gradient: inputs, then outputs."""
        return tuple(sorted({p for k, r in enumerate(self.reads) if mask >> k & 1 for p in r}))

    def kept(self, mask: int) -> tuple[int, ...]:
        """`positions`, remembered."""
        found = self._kept.get(mask)
        if found is None:
            found = self._kept[mask] = self.positions(mask)
        return found

    def keeper(self, mask: int) -> Keeper:
        """The function that picks the values to save out of all inputs and outputs."""
        return picker(self.kept(mask))

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
        node.parents = parents = tuple([x.node for x in inputs])
        mask, bit = 0, 1
        for parent in parents:
            if parent is not None:
                mask |= bit
            bit += bit
        node.mask = mask
        keep = self.keepers[mask]
        node.saved = keep([x.data for x in inputs] + [x.data for x in outs])
        node.seq = next_seq()
        first = outs[0].data
        node.shape, node.dtype = first.shape, first.dtype
        node.code, node.offset = user_place()
        if ON_RECORD:
            recorded(node)
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
        for position, data in zip(self.kept(node.mask), node.saved or ()):
            if position < nin:
                values[position] = rebuilt(data, node.parents[position])
            else:
                values[position] = output(node, data, position - nin, self.nout)
        return (values[nin] if self.nout == 1 else tuple(values[nin:])), values[:nin]

    def vjp(self, node: Node, ct: Any, wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Cotangents of the wanted inputs, as tensors; on the tape if it is on.

        `ct` is the output's cotangent; for several outputs a list, None where it is zero.
        """
        out, inputs = self.given(node)
        for k in wanted:
            found = self.rule(self.vjp_rules, k)(ct, out, *inputs, **(node.params or {}))
            if found is not None:
                yield k, found

    def pull(
        self, node: Node, ct: Any, wanted: Wanted, into: Callable[[int], Any]
    ) -> Iterable[tuple[int, Array]]:
        """Cotangents of the wanted inputs, as bare arrays: the first-order path.

        A result may be written into the buffer `into(k)`, where that is not None.
        """
        one = ct if self.nout == 1 else next(c for c in ct if c is not None)
        fast = self.pulls[type(one)]
        if fast is not None:
            kept, saved = self.kept(node.mask), node.saved
            if kept != POSITIONS[: len(kept)]:
                saved = dict(zip(kept, saved or ()))  # type: ignore[assignment]
            return fast(ct, wanted, into, saved, node)  # type: ignore[no-any-return]
        wrapped = make(ct) if self.nout == 1 else [None if c is None else make(c) for c in ct]
        return [(k, found.data) for k, found in self.vjp(node, wrapped, wanted)]

    def terms(self, mask: int) -> tuple[Term, ...]:
        """The kernels whose sum is the tangent when the inputs in `mask` move; see core/steps.py.

        None of them where only `jvp` knows it.
        """
        moving, after = [k for k in range(self.nin) if mask >> k & 1], self.nin + 1
        if type(self).jvp is not Primitive.jvp or not self.linear.issuperset(moving):
            return ()
        each = range(self.nin)
        return tuple([(self, tuple([after + j if j == k else j for j in each])) for k in moving])

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
    child.params, child.saved, child.parents, child.mask = None, (), (node,), 1
    child.seq = next_seq()
    data = value.data if isinstance(value, Tensor) else value
    child.shape, child.dtype = data.shape, data.dtype
    child.code, child.offset = node.code, node.offset
    return child


__all__ = [
    "PRIMITIVES",
    "Kernels",
    "Params",
    "Primitive",
    "Spec",
    "operand",
    "output",
    "pick",
    "picker",
]
