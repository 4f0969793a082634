"""Families: the tensors that see one memory through views, and what a write to one does to all.

A view refers to the tensor it was taken of (`source`), that one to its views weakly (`views`): the
family is a tree, and its root the tensor whose node says what the memory holds. A write gives the
root a new node, and every live view over the written bytes the node of its own operation on that.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from weakref import ref

from tensorgrad import _config
from tensorgrad.backend import base
from tensorgrad.core.tape import Array, Leaf, Node, storage

Tensor = Any  # with the two slots `source` and `views`, which users are not shown
Step = tuple[Any, dict[str, Any]]
"""A view operation and its parameters."""

X, OP, PARAMS, NUMBER, BOUNDS = range(5)
"""What a view's `source` lists: of which tensor, by which operation, which of its outputs, where.

The operation is None where nobody can say what a write does to the view. A `source` that is None
marks a tensor whose memory is another one's that does not follow it.
"""

FEW = 64
LEAVES: dict[int, ref[Any]] = {}
"""Views that were made leaves: what may not be written while operations are recorded."""

_pruning = threading.Lock()


class Views(list[Any]):
    """Weak references to the views of a tensor, at most twice as many as are alive."""

    __slots__ = ("limit",)

    def __init__(self) -> None:
        self.limit = FEW

    def prune(self) -> None:
        """Drop the references to views that are gone; other threads may add some meanwhile."""
        with _pruning:
            count = len(self)
            self[:count] = [view for view in self[:count] if view() is not None]
            self.limit = max(FEW, 2 * len(self))


def link(outs: Sequence[Tensor], x: Tensor, op: Any, params: Any) -> None:
    """Enter the views that an operation gave into the family of the tensor they were taken of.

    Those of a recorded tensor while nothing is recorded are constants, and marked.
    """
    if x.node is not None and not _config.is_recording():
        for out in outs:
            out.source = None
        return
    try:
        views = x.views
    except AttributeError:
        views = x.views = Views()
    for number, out in enumerate(outs):
        out.source = [x, op, params, number, None]
        views.append(ref(out))
    if len(views) > views.limit:
        views.prune()


def stranger(x: Tensor) -> None:
    """Mark a tensor in the memory of another one that does not follow what is written to it."""
    x.source = None


def link_above(outs: Sequence[Tensor], x: Tensor, op: Any, params: Any) -> None:
    """The same at a level above 0, where memory does not say what NumPy would make a view.

    A number that integers alone chose is a copy; a reshape that had to copy may be either.
    """
    out = outs[0] if outs else x
    if out is x or (not out.shape and op.name == "index" and Ellipsis not in params["key"]):
        return
    known = op.name != "reshape" or shares(out.value(), x.value())
    link(outs, x, op if known else None, params)


def shares(view: Array, array: Array) -> bool:
    """Whether an array is another one, a view of it, or of what that is a view of."""
    owner = view.base
    if owner is None or owner is array or owner is array.base:
        return owner is not None or view is array
    return storage(view) is storage(array)  # strides that NumPy was given lie under an object


def shared(x: Tensor) -> list[Any] | None:
    """The source of a view, if its memory is still that of the tensor it was taken of."""
    source = getattr(x, "source", None)
    if source is None:
        return None
    of = source[X]
    if x.level or of.level or shares(x.data, of.data):
        return source  # type: ignore[no-any-return]
    del x.source  # somebody gave one of the two another array
    return None


def line(x: Tensor) -> list[Tensor]:
    """A tensor and those it is a view of, up to the root of the family."""
    found = [x]
    while (source := shared(x)) is not None:
        x = source[X]
        found.append(x)
    return found


def steps(line: list[Tensor]) -> tuple[Step, ...]:
    """The operations that lead from the root of a family down to the first of a `line`."""
    return tuple([step(x.source) for x in reversed(line[:-1])])


def step(source: list[Any]) -> Step:
    """The operation of one view: of a cut into several the one that cuts this piece."""
    op, params = source[OP], source[PARAMS]
    return op.view(params, source[NUMBER]) if callable(op.view) else (op, params)


def views(x: Tensor) -> Iterator[Tensor]:
    """The live views that were taken of one tensor."""
    for known in tuple(getattr(x, "views", ())):
        view = known()
        if view is not None and shared(view) is not None:
            yield view


def below(x: Tensor, bounds: tuple[int, int] | None) -> list[Tensor]:
    """The views under a tensor, each after the one it is taken of; those over `bounds` alone."""
    found: list[Tensor] = []
    stack = [x]
    while stack:
        for view in views(stack.pop()):
            if bounds is None or over(view, bounds):
                found.append(view)
                stack.append(view)
    return found


def over(view: Tensor, bounds: tuple[int, int]) -> bool:
    """Whether a view may see some of these bytes."""
    source: Any = view.source
    own = source[BOUNDS]
    if own is None:
        own = source[BOUNDS] = base.bounds(view.data)
    return bool(own[0] < bounds[1] and bounds[0] < own[1])


def follow(
    members: list[Tensor], made: Callable[[Any, dict[str, Any], Tensor, Tensor], None]
) -> None:
    """Make every view anew from the tensor that it was taken of: `made(op, params, of, view)`."""
    for view in members:
        source: Any = view.source
        made(*step(source), source[X], view)


def made_leaf(view: Tensor) -> None:
    """Remember a view that was made a leaf."""
    number = id(view)
    LEAVES[number] = ref(view, lambda _: (LEAVES.pop(number, None), None)[1])


def leaf_views() -> list[Tensor]:
    """The views that are leaves now."""
    found = [known() for known in tuple(LEAVES.values())]
    return [view for view in found if view is not None and type(view.node) is Leaf]


def first_leaf(tensors: list[Tensor]) -> Node | None:
    """The node of the first that requires a gradient by itself."""
    return next((t.node for t in tensors if type(t.node) is Leaf), None)
