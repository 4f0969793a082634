"""Reverse mode: the tape walked once, newest node first.

One loop serves two kinds of cotangents: bare arrays (the fast first order, which can write
straight into a gradient buffer) and tensors (`create_graph`, or values of a level above 0), whose
arithmetic is recorded like any other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import GradientError, need
from tensorgrad.backend import base
from tensorgrad.core.autocast import swap
from tensorgrad.core.calls import beside
from tensorgrad.core.hooks import replaced
from tensorgrad.core.primitive import PRIMITIVES, operand
from tensorgrad.core.tape import (
    WRITES,
    Array,
    Leaf,
    Node,
    Pick,
    check_saved,
    reachable,
    stored,
)
from tensorgrad.core.tensor import Tensor, make, name_of
from tensorgrad.core.watch import pulled, seen

Deliver = Callable[[Node, Any], None]
Pending = dict[int, tuple[Any, Any]]
"""By number: a node, and its cotangent so far (a list for several outputs)."""


class _Mode:
    """A context without warnings and casts, in which arithmetic is recorded or not."""

    _record = False
    _quiet: Any

    def __enter__(self) -> None:
        self._token, self._casts = _config.recording.set(self._record), swap(None)
        self._quiet.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._quiet.__exit__(*exc)
        swap(self._casts)
        _config.recording.reset(self._token)


class Arrays(_Mode):
    """Cotangents as bare arrays of one backend; a context in which nothing is recorded."""

    def __init__(self, like: Array) -> None:
        backend = self.backend = base.of(like)
        self.kind: Any = type(like)
        self._quiet = backend.quiet()

    def add(self, a: Any, b: Any) -> Any:
        return self.backend.add(a, b) if type(a) is self.kind else self.home(a).add(a, b)

    def conform(self, ct: Any, node: Node) -> Any:
        return self.home(ct).conform(ct, node.shape, node.dtype)

    def home(self, array: Array) -> base.Backend:
        """The backend of a cotangent: another one's where a tensor was moved between devices."""
        return self.backend if type(array) is self.kind else base.known(type(array)) or self.backend


class Tensors(_Mode):
    """Cotangents as tensors; a context in which what is done with them is recorded if asked."""

    kind: Any = Tensor

    def __init__(self, like: Tensor, create_graph: bool) -> None:
        self._record = create_graph
        self._quiet = base.of(like.value()).quiet()

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def conform(self, ct: Any, node: Node) -> Any:
        ct = operand(ct)
        if dtypes.real(node.dtype) == node.dtype and dtypes.real(ct.dtype) != ct.dtype:
            ct = ct.real
        if ct.shape != node.shape:
            ct = ct.sum_to(node.shape)
        return ct if ct.dtype == node.dtype else ct.astype(node.dtype)


class Buffers:
    """Where an operation may write the cotangent of input k, if that is a leaf with a buffer."""

    __slots__ = ("free", "own", "parents", "pending", "used")

    def __init__(self, used: bool, pending: Pending) -> None:
        self.used, self.pending = used, pending
        self.parents: Sequence[Any] = ()
        self.own: dict[int, Any] = {}
        self.free: Any = None

    def __call__(self, k: int) -> Any:
        """The buffer, to be overwritten: None if it holds a part of the gradient already."""
        leaf = self.parents[k]
        fresh = self.used and type(leaf) is Leaf and leaf.grad is None and not leaf.hooks
        return leaf.into if fresh else None

    def onto(self, k: int) -> Any:
        """The buffer that holds a part of the gradient, to be added to; else None.

        What adds to it gives the buffer itself as the cotangent.
        """
        leaf = self.parents[k]
        full = self.used and type(leaf) is Leaf and leaf.grad is not None and not leaf.hooks
        return leaf.into if full and leaf.grad.data is leaf.into else None

    def part(self, k: int) -> Any:
        """The array of input k's cotangent so far, if nobody else has it; to be added to.

        What adds to it gives the array itself as the cotangent: many slices of one array then cost
        the array once, and not once each.
        """
        number = self.parents[k].seq
        waiting = self.pending.get(number)
        alone = waiting is not None and waiting[1] is self.own.get(number)
        return waiting[1] if alone else None  # type: ignore[index]

    def keep(self, k: int, ct: Any) -> Any:
        """Say that nobody else has this cotangent of input k; see `part`."""
        self.own[self.parents[k].seq] = ct
        return ct

    def spare(self, ct: Any) -> bool:
        """Whether nobody else has the cotangent of this node's output: it may be written over."""
        return ct is self.free

    def met(self, number: int, ct: Any, mode: Arrays | Tensors) -> Any:
        """What waits for a node and one more cotangent, which may have been added to it already."""
        before = self.pending[number][1]
        if before is not ct or self.own.get(number) is not ct:
            ct = self.own[number] = mode.add(before, ct)
        return ct


def propagate(
    seeds: Sequence[tuple[Node, Any]],
    mode: Arrays | Tensors,
    deliver: Deliver,
    *,
    needed: Container[int] | None = None,
    targets: Container[int] = (),
    free: bool = True,
    at_once: bool = False,
) -> None:
    """Carry cotangents from `seeds` to the leaves, each node once, in reverse order of creation.

    Leaves, and nodes whose number is in `targets`, are delivered and end the walk there; `needed`
    (numbers too) limits it to the nodes on the way to what is asked for; `free` drops what a node
    saved as soon as it was used. With `at_once` leaves without hooks are handed every cotangent as
    it comes, the first one in their gradient's buffer if the operation can write there (`into(k)`),
    a later one added to it if the operation can do that (`into.onto(k)`).
    """
    pending, heap = _started(seeds, mode)
    push, pop, kind, bare = heapq.heappush, heapq.heappop, mode.kind, isinstance(mode, Arrays)
    into: Any = Buffers(at_once, pending)
    own, (watches, deliver) = into.own, seen(deliver)
    while heap:
        node, ct = pending.pop(seq := -pop(heap))
        into.free = own.pop(seq, None) if own else None
        primitive, parents = node.primitive, node.parents
        if primitive is None or seq in targets:
            deliver(node, ct)
            continue
        if type(primitive) is Pick:
            _picked(node, ct, pending, heap, mode)
            continue
        if not parents or WRITES.latest > seq:
            _check(node)
        wanted = WANTED[node.mask] if needed is None else _needed(node, needed)
        into.parents = parents
        if watches:
            pairs = pulled(watches, node, ct, wanted, into if bare else None)
        elif bare:
            pairs = primitive.pull(node, ct, wanted, into)
        else:
            pairs = primitive.vjp(node, ct, wanted)
        for k, g in pairs:
            parent = parents[k]
            if type(g) is not kind or g.shape != parent.shape or g.dtype is not parent.dtype:
                g = g if at_once and _placed(parent, g) else mode.conform(g, parent)
            number = parent.seq
            if at_once and type(parent) is Leaf and not parent.hooks and own.get(number) is not g:
                deliver(parent, g)
                continue
            if number in pending:
                g = into.met(number, g, mode)
            else:
                push(heap, -number)
            pending[number] = parent, g
        if free:
            node.saved, node.parents = None, ()


def _started(
    seeds: Sequence[tuple[Node, Any]], mode: Arrays | Tensors
) -> tuple[Pending, list[int]]:
    """What waits, and the numbers of it as a heap, before the first step."""
    pending: Pending = {}
    heap: list[int] = []
    for node, ct in seeds:
        _meet(node, ct, pending, heap, mode)
    return pending, heap


def _placed(node: Any, ct: Any) -> bool:
    """Whether a cotangent is its leaf's gradient buffer, which may be of a wider dtype."""
    return type(node) is Leaf and ct is node.into


class Masks(dict[int, tuple[int, ...]]):
    """The inputs that a mask of recorded ones names."""

    def __missing__(self, mask: int) -> tuple[int, ...]:
        found = self[mask] = tuple(k for k in range(mask.bit_length()) if mask >> k & 1)
        return found


WANTED = Masks()


def _meet(node: Node, ct: Any, pending: Pending, heap: list[int], mode: Arrays | Tensors) -> None:
    """Add a cotangent to what waits for a node."""
    before = pending.get(node.seq)
    if before is None:
        heapq.heappush(heap, -node.seq)
    else:
        ct = mode.add(before[1], ct)
    pending[node.seq] = node, ct


def _picked(node: Node, ct: Any, pending: Pending, heap: list[int], mode: Arrays | Tensors) -> None:
    """Put the cotangent of one output, which a Pick node has, into the list that its node gets."""
    parent: Any = node.parents[0]
    primitive: Any = node.primitive
    if primitive.hooks:
        bare = isinstance(mode, Arrays)
        ct = replaced(primitive.hooks, make(ct) if bare else ct, node.shape)
        ct = ct.data if bare else ct
    waiting = pending.get(parent.seq)
    if waiting is None:
        waiting = pending[parent.seq] = parent, [None] * _outputs(parent)
        heapq.heappush(heap, -parent.seq)
    slots = waiting[1]
    before = slots[primitive.index]
    slots[primitive.index] = ct if before is None else mode.add(before, ct)


def _check(node: Node) -> None:
    """Raise if what a node saved is gone, or is not what it was."""
    if stored(node) is None:
        raise GradientError(
            f"backward: got a graph whose values were freed (at {name_of(node)}, recorded at "
            f"{node.origin}), expected one that was not walked before; "
            "try backward(retain_graph=True) the first time"
        )
    check_saved(node, base.bounds)


def _needed(node: Node, needed: Container[int]) -> tuple[int, ...]:
    """The recorded inputs on the way to what is asked for."""
    return tuple([k for k in WANTED[node.mask] if node.parents[k].seq in needed])  # type: ignore[union-attr]


def _outputs(node: Any) -> int:
    """How many outputs a node's operation has."""
    outputs = 1 if node.primitive is None else node.primitive.nout
    return outputs if outputs > 0 else node.params["nout"]


def backward(
    tensor: Tensor,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add d(tensor)/d(leaf) to `.grad` of every leaf that `tensor` was computed from.

    `gradient` is the cotangent, of the tensor's shape; it may be left out for one element (1).
    What the tape saved is freed on the way unless `retain_graph` (default: `create_graph`); with
    `create_graph` the gradients are on the tape themselves.

    Raises `GradientError` off the tape, for several elements without a cotangent, and on a graph
    that was freed; `InPlaceError` if a saved value was overwritten.
    """
    node = tensor.node
    if node is None:
        need(tensor.dtype.kind not in "biu", "backward", tensor=tensor,
             want="a floating dtype: what changes in steps has no gradient",
             fix="dropping the astype(int)", error=GradientError)  # fmt: skip
        raise GradientError(
            "backward: got a tensor that no recorded operation made, expected one computed from "
            "a tensor with requires_grad; try x.requires_grad = True before computing"
        )
    ct = seed(tensor, gradient)
    free = not (create_graph if retain_graph is None else retain_graph)
    arrays = not create_graph and not tensor.level and not ct.level
    given = id(ct.data)
    if not arrays:
        recorded = Tensors(ct, create_graph)
        with recorded:
            propagate([(node, ct)], recorded, accumulate_tensor, free=free)
        return
    mode, taken = Arrays(ct.data), {given}

    def accumulate(leaf: Any, value: Array) -> None:
        if value is leaf.into and not leaf.hooks:
            if leaf.grad is None:  # else the operation has added to it
                leaf.grad = make(value)
        else:
            accumulate_array(leaf, value, mode.home(value), taken)

    with mode:
        propagate([(node, ct.data)], mode, accumulate, free=free, at_once=True)


def seed(tensor: Tensor, gradient: Any = None) -> Tensor:
    """The cotangent that backward starts from."""
    if gradient is None:
        if tensor.shape:
            need(
                tensor.size == 1,
                "backward",
                tensor=tensor,
                want="one element, or a cotangent",
                fix="x.sum().backward(), or backward(gradient)",
                error=GradientError,
            )
            return make(base.of(tensor.value()).full(tensor.shape, 1, tensor.dtype))
        return beside(1, tensor)
    ct = operand(gradient, (tensor,), "backward")
    need(
        ct.shape == tensor.shape,
        "backward",
        gradient=ct,
        tensor=tensor,
        want="a cotangent of the tensor's shape",
        fix="tg.broadcast_to(gradient, tensor.shape)",
        error=GradientError,
    )
    if ct.dtype == tensor.dtype:
        return ct
    return ct.astype(tensor.dtype)


def accumulate_array(node: Node, value: Array, backend: base.Backend, taken: set[int]) -> None:
    """Add a cotangent to a leaf's gradient; it never shares memory with another one's."""
    leaf: Any = node
    if leaf.hooks:
        value = replaced(leaf.hooks, make(value), leaf.shape).data
    if leaf.grad is not None:
        total = backend.add(leaf.grad.data, value)
        if leaf.into is None:
            leaf.grad = make(total)
        else:
            backend.assign(leaf.into, total)
            leaf.grad = make(leaf.into)
    elif leaf.into is not None:
        if value is not leaf.into:
            backend.assign(leaf.into, value)
        leaf.grad = make(leaf.into)
    else:
        if value.base is not None or id(value) in taken:
            value = PRIMITIVES["copy"].kernels[type(value)](value)
        taken.add(id(value))
        leaf.grad = make(value)


def accumulate_tensor(node: Node, value: Tensor) -> None:
    """Add a cotangent to a leaf's gradient as an operation like any other."""
    leaf: Any = node
    if leaf.hooks:
        value = replaced(leaf.hooks, value, leaf.shape)
    leaf.grad = PRIMITIVES["copy"].bind(value) if leaf.grad is None else leaf.grad + value


def _whole(nodes: Sequence[Node], wanted: set[int]) -> None:
    """Raise at a freed node that may have led to one of the numbers, and not give a zero."""
    oldest = min(wanted, default=0)
    for node in nodes:
        freed = node.primitive is not None and not node.parents
        if freed and node.seq > oldest and node.seq not in wanted:
            _check(node)


def gradients(
    outputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    targets: Sequence[Node],
    *,
    create_graph: bool | None,
    free: bool,
    since: int = 0,
) -> list[Tensor | None]:
    """The cotangents of `targets` alone, None where nothing flows; only what leads there is walked.

    A target may be a leaf or a recorded value; nothing behind it is walked and no `.grad` changes.
    With `create_graph` None the walk is recorded if something else could be differentiated through
    it: a target that was computed itself, or a value recorded before number `since` was drawn.
    """
    wanted = {node.seq for node in targets}
    nodes = reachable((t.node for t in outputs), lambda n: n.seq in wanted)
    if create_graph is None:
        older = bool(nodes) and nodes[0].seq < since
        create_graph = older or any(n.parents for n in targets)
    needed: set[int] | None = None  # all of them, where nothing but targets is a source
    if not all(n.parents or n.seq in wanted for n in nodes):
        needed = set()
        _whole(nodes, wanted)
        for node in nodes:
            if node.seq in wanted or any(p is not None and p.seq in needed for p in node.parents):
                needed.add(node.seq)
    found: dict[int, Any] = {}
    seeds = [
        (t.node, ct)
        for t, ct in zip(outputs, cotangents)
        if t.node is not None and (needed is None or t.node.seq in needed)
    ]
    if not seeds:
        return [None] * len(targets)
    level = max(max(t.level, ct.level) for t, ct in zip(outputs, cotangents))

    def deliver(node: Node, ct: Any) -> None:
        found[node.seq] = ct

    limits: Any = {"needed": needed, "targets": wanted, "free": free and not create_graph}
    if create_graph or level:
        recorded = Tensors(seeds[0][1], create_graph)
        with recorded:
            propagate(seeds, recorded, deliver, **limits)
        return [found.get(node.seq) for node in targets]
    mode = Arrays(seeds[0][1].data)
    bare: Any = [(node, ct.data) for node, ct in seeds]
    with mode:
        propagate(bare, mode, deliver, **limits)
    return [make(found[n.seq]) if n.seq in found else None for n in targets]
