"""The tape: nodes as plain data, the order of creation, and the record of writes in place.

A `Node` says which primitive made a value, from which parents, and what its derivative reads.
It holds no closure and never its own output tensor, so a graph can be printed, walked and freed
without the garbage collector. A `Leaf` is the node of a tensor whose gradient was asked for.

Writes in place are known by *when* they happened: every node and every write draws a number from
one counter, so a saved array is stale exactly when its storage was written after its node was made.
That costs a recorded operation nothing.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
import weakref
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from types import CodeType
from typing import TYPE_CHECKING, Any

from tensorgrad._errors import InPlaceError

if TYPE_CHECKING:
    from tensorgrad.core.primitive import Primitive
    from tensorgrad.core.tensor import Tensor

Array = Any
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

next_seq: Callable[[], int] = itertools.count(1).__next__  # one atomic step in CPython


class Node:
    """One recorded operation: what made a value, of which shape and dtype, from which parents."""

    __slots__ = (
        "__weakref__",
        "code",
        "dtype",
        "mask",
        "offset",
        "params",
        "parents",
        "primitive",
        "saved",
        "seq",
        "shape",
    )

    primitive: Primitive | None
    params: dict[str, Any] | None
    saved: tuple[Array, ...] | None  # None once freed
    parents: tuple[Node | None, ...]
    mask: int  # which parents were recorded, a bit each
    seq: int
    shape: tuple[int, ...]
    dtype: Any
    code: CodeType | None
    offset: int

    def __repr__(self) -> str:
        name = self.primitive.name if self.primitive else "leaf"
        return f"Node({name} #{self.seq} {self.dtype}{self.shape})"

    @property
    def origin(self) -> str:
        """`file:line` of the user's code that recorded this node."""
        return place(self.code, self.offset)


class Leaf(Node):
    """The node of a tensor that requires a gradient; it refers to that tensor weakly.

    `grad` is what backward accumulated, `into` the view of a gradient buffer that backward writes
    to directly, `hooks` the functions that may replace the gradient before it is accumulated.
    """

    __slots__ = ("grad", "hooks", "into", "tensor")

    grad: Tensor | None
    into: Array | None
    hooks: dict[int, Callable[[Tensor], Tensor | None]] | None
    tensor: weakref.ref[Tensor] | None


class Pick:
    """The primitive of one output of an operation that has several; its parent is that node."""

    __slots__ = ("hooks", "index", "name")

    nout = 1

    def __init__(self, index: int) -> None:
        self.index = index
        self.hooks: dict[int, Any] | None = None  # of one value's own, see core/hooks.py
        self.name = f"pick{index}"


class Picks(dict[int, Pick]):
    """The primitive of every output by its number, made when first met."""

    def __missing__(self, index: int) -> Pick:
        found = self[index] = Pick(index)
        return found


PICKS = Picks()


def leaf(shape: tuple[int, ...], dtype: Any, tensor: Tensor | None = None) -> Leaf:
    """A new leaf for a value of this shape and dtype."""
    node = Leaf()
    node.primitive = node.params = node.grad = node.into = node.hooks = None
    node.saved = node.parents = ()
    node.mask = 0
    node.seq = next_seq()
    node.shape, node.dtype = shape, dtype
    node.code, node.offset = user_place()
    node.tensor = None if tensor is None else weakref.ref(tensor)
    return node


class Inside(dict[str, bool]):
    """Whether a source file is one of this package, by the name that its code objects share."""

    def __missing__(self, filename: str) -> bool:
        found = self[filename] = filename.startswith(ROOT)
        return found


INSIDE = Inside()


def user_place() -> tuple[CodeType | None, int]:
    """The code object and instruction offset of the nearest frame outside this package."""
    frame = sys._getframe(1)
    while INSIDE[frame.f_code.co_filename]:
        if frame.f_back is None:
            return None, 0
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def place(code: CodeType | None, offset: int) -> str:
    """`file:line` of an instruction."""
    if code is None:
        return "an unknown line"
    line = code.co_firstlineno
    for start, end, at in code.co_lines():
        if start <= offset < end and at is not None:
            line = at
    return f"{code.co_filename}:{line}"


# -- looking on --------------------------------------------------------------------------------

ON_RECORD: list[Callable[[Node], None]] = []
"""Told of every node that is recorded, once it is complete; empty unless somebody asked."""

stored: Callable[[Node], tuple[Any, ...] | None] = vars(Node)["saved"].__get__
"""What a node holds in its slot: of one whose values are packed, those as they lie there."""


def recorded(node: Node) -> None:
    """Tell who asked that a node was recorded."""
    for tell in tuple(ON_RECORD):
        tell(node)


# -- writes in place ---------------------------------------------------------------------------

Write = tuple[int, int, int, CodeType | None, int]  # first byte, last byte, when, where
Comb = tuple[int, int]
"""How bytes lie between a first and a last: in blocks of a width, a multiple of a step apart."""

MOST = 1 << 16  # places of a storage that are remembered one by one; beyond it all are one


class Stretch:
    """The newest write of every place of a line, as intervals in order that do not overlap."""

    __slots__ = ("starts", "writes")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.writes: list[Write] = []

    def put(self, write: Write) -> None:
        """Enter a write: it takes the place of what was written there before.

        It becomes one with its neighbours if these are the write just before it: no node can have
        saved anything in between. So a loop of writes off the tape is one interval.
        """
        start, stop, seq = write[:3]
        starts, writes = self.starts, self.writes
        first = bisect_right(starts, start)
        if first and writes[first - 1][1] >= start:
            first -= 1
            if writes[first][:2] == (start, stop):
                writes[first] = write
                return
        last = bisect_right(starts, stop, first)
        rest: list[Write] = []
        for old in writes[first:last]:
            if old[2] == seq - 1:
                start, stop = min(start, old[0]), max(stop, old[1])
                continue
            if old[0] < start:
                rest.append((old[0], min(old[1], start), *old[2:]))
            if old[1] > stop:
                rest.append((max(old[0], stop), old[1], *old[2:]))
        found = sorted([*rest, (start, stop, *write[2:])])
        writes[first:last] = found
        starts[first:last] = [one[0] for one in found]
        if len(starts) > MOST:
            writes[:] = [(starts[0], writes[-1][1], *write[2:])]
            starts[:] = starts[:1]

    def over(self, start: int, stop: int) -> list[Write]:
        """The writes that may have touched the places from `start` to `stop`."""
        first = max(bisect_right(self.starts, start) - 1, 0)
        return self.writes[first : bisect_left(self.starts, stop, first)]


class Ranges:
    """The newest writes to one storage: solid ones by byte, combs of a kind by their shift.

    combs: by step, number of the first row of that many bytes, and rows
    """

    __slots__ = ("combs", "solid")

    def __init__(self) -> None:
        self.solid = Stretch()
        self.combs: dict[tuple[int, int, int], Stretch] = {}

    def put(self, write: Write, comb: Comb) -> None:
        """Enter a write, whose bytes lie between its first and its last as `comb` says."""
        step, width = comb
        if not step or len(self.combs) >= MOST:
            self.solid.put(write)
            return
        row, place = divmod(write[0], step)
        rows = (write[1] - write[0] - width) // step
        strip = self.combs.setdefault((step, row, rows), Stretch())
        strip.put((place, place + width, *write[2:]))

    def hits(self, array: Array, bounds: tuple[int, int], seq: int) -> list[Write]:
        """The writes after `seq` that touched an array."""
        start, stop = bounds
        own = comb_of(array, bounds)
        found = [
            w
            for w in self.solid.over(start, stop)
            if w[2] > seq and _meet(w[0], w[1], (0, w[1] - w[0]), start, stop, own)
        ]
        for (step, row, rows), strip in self.combs.items():
            place = start - row * step
            near = strip.writes
            if own[0] == step:
                place %= step
                near = [w for k in (-step, 0, step)
                        for w in strip.over(place + k, place + k + own[1])]  # fmt: skip
            for w in near:
                first, width = row * step + w[0], w[1] - w[0]
                last = first + rows * step + width
                if w[2] > seq and _meet(first, last, (step, width), start, stop, own):
                    found.append(w)
        return found


def _meet(first: int, last: int, comb: Comb, start: int, stop: int, own: Comb) -> bool:
    """Whether two combs, one from `first` to `last`, one from `start` to `stop`, touch."""
    return first < stop and start < last and not apart(start - first, own, comb)


def comb_of(array: Array, bounds: tuple[int, int]) -> Comb:
    """How the elements of an array lie between its bounds; step 0 where they leave nothing out."""
    if array.nbytes >= bounds[1] - bounds[0]:
        return 0, bounds[1] - bounds[0]
    step, width = 0, int(array.dtype.itemsize)
    for stride, size in sorted((abs(s), n) for s, n in zip(array.strides, array.shape) if n > 1):
        if not step and stride <= width:
            width += stride * (size - 1)
        else:
            step = math.gcd(step, stride)
    return (step, width) if width < step else (0, bounds[1] - bounds[0])


def apart(ahead: int, a: Comb, b: Comb) -> bool:
    """Whether two combs, the first `ahead` bytes behind the second, have no byte in common."""
    step = math.gcd(a[0], b[0])
    return bool(step) and (place := ahead % step) >= b[1] and place + a[1] <= step


class Writes:
    """When which bytes of which storage were last written, for storages that are still alive."""

    def __init__(self) -> None:
        self.latest = 0  # the number of the newest write: backward's one comparison
        self._by_storage: dict[int, Ranges] = {}
        self._lock = threading.Lock()

    def note(self, array: Array, bounds: tuple[int, int]) -> None:
        """Record that `array`, which covers the bytes `bounds`, is being written now."""
        owner = storage(array)
        ranges = self._by_storage.get(id(owner))
        if ranges is None:
            ranges = self._by_storage[id(owner)] = Ranges()
            weakref.finalize(owner, self._by_storage.pop, id(owner), None).atexit = False
        solid = array.nbytes >= bounds[1] - bounds[0]
        with self._lock:
            self.latest = next_seq()
            write = (*bounds, self.latest, *user_place())
            if solid:
                ranges.solid.put(write)
            else:
                ranges.put(write, comb_of(array, bounds))

    def since(self, array: Array, seq: int, bounds: tuple[int, int]) -> Write | None:
        """The newest write that touched `array` after `seq`, if there was one."""
        ranges = self._by_storage.get(id(storage(array)))
        if ranges is None:
            return None
        with self._lock:
            hits = ranges.hits(array, bounds, seq)
        return max(hits, key=lambda write: write[2], default=None)


WRITES = Writes()


def storage(array: Array) -> Array:
    """The array that owns the memory which `array` is a view of."""
    while hasattr(array.base, "base"):  # what is no array (a file, a buffer) has none
        array = array.base
    return array


def check_saved(node: Node, bounds: Callable[[Array], tuple[int, int]]) -> None:
    """Raise `InPlaceError` if a value that `node` saved was overwritten since."""
    for value in stored(node) or ():
        array = getattr(value, "original", value)
        if hasattr(array, "base"):
            write = WRITES.since(array, node.seq, bounds(array))
            if write is not None:
                name = node.primitive.name if node.primitive else "leaf"
                raise InPlaceError(
                    f"{name}: got a saved value that was overwritten at {place(*write[3:])}, "
                    f"expected it as it was when {node.origin} recorded {name}; "
                    f"try writing to a copy, or write after backward()"
                )


# -- walking -----------------------------------------------------------------------------------


def reachable(roots: Iterable[Node | None], stop: Callable[[Node], bool]) -> list[Node]:
    """Every node that `roots` depend on, oldest first; the parents of a `stop` node are not."""
    seen: dict[int, Node] = {}
    stack = [root for root in roots if root is not None]
    while stack:
        node = stack.pop()
        if node.seq in seen:
            continue
        seen[node.seq] = node
        if not stop(node):
            for parent in node.parents:
                if parent is not None and parent.seq not in seen:
                    stack.append(parent)  # noqa: PERF401  (a generator for every node)
    return [seen[seq] for seq in sorted(seen)]


def captured(outputs: Iterable[Node | None], inputs: Sequence[Node], since: int) -> list[Node]:
    """The recorded values that a function read without taking them as arguments.

    `outputs` are what it returned, `inputs` the nodes of its arguments, `since` the number drawn
    just before it ran. A transform that records a function as one node makes these parents too.
    """
    own = {id(node) for node in inputs}
    nodes = reachable(outputs, lambda node: id(node) in own or node.seq < since)
    return [node for node in nodes if node.seq < since and id(node) not in own]
