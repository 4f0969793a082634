"""What a write in place means: nothing to the tape, a new node, a new value of a level, an error.

A write to a tensor that was recorded, or of a recorded value, is recorded: the root of the tensor's
family becomes a copy of itself with another part (`put`, `scatter`), and its views follow. The
memory is written once. At a level above 0 (jvp, vmap) there is no memory to write, and the tensors
of the family are given the values instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad import _config
from tensorgrad._errors import DTypeError, InPlaceError
from tensorgrad.backend import base
from tensorgrad.backend.regions import stepped
from tensorgrad.core import family
from tensorgrad.core.primitive import PRIMITIVES, Kernels, Spec, operand
from tensorgrad.core.tape import WRITES, storage
from tensorgrad.core.tensor import Tensor, make, name_of
from tensorgrad.ops.at import chosen, fitted
from tensorgrad.ops.index import BASIC, Place, located, plain_key
from tensorgrad.ops.put import put_p, scatter_p
from tensorgrad.ops.shape import copy_p
from tensorgrad.ops.slicing import index_p

WHOLE = Place(None)
ASSIGN = Kernels(lambda backend: backend.kernel("assign"))
SCATTER = Kernels(lambda backend: backend.kernel("scatter_into"))


def refused(op: str, x: Any, value: Any, error: Exception) -> Exception:
    """NumPy's error about a write, in our words where it is one of the common ones."""
    if isinstance(error, IndexError):
        return error
    text = str(error)
    if "read-only" in text:
        return ValueError(
            f"{op}: got a read-only view (of a broadcast, or of a constant), expected memory of "
            "its own; try x = x.copy() first"
        )
    kind = DTypeError if isinstance(error, TypeError) else ValueError
    return kind(
        f"{op}: got {value.dtype}{value.shape} for {x.dtype}{x.shape}: {text}, expected a value "
        "that fits without changing shape or kind; try v.astype(x.dtype)"
    )


def touching(array: Any, other: Any) -> bool:
    """Whether two arrays may have memory in common."""
    if storage(array) is not storage(other):
        return False
    a, b = base.bounds(array), base.bounds(other)
    return a[0] < b[1] and b[0] < a[1]


def twin(x: Tensor) -> Tensor:
    """The same value, recorded in the same place, in memory of its own: for an operation to save.

    What it saves is then not what is written over.
    """
    return make(PRIMITIVES["copy"].kernels[type(x.data)](x.data), x.node)


def apart(values: Sequence[Any], x: Tensor) -> list[Any]:
    """The values, of which none has memory in common with x, which is written."""
    return [
        twin(v)
        if isinstance(v, Tensor) and not (v.level or x.level) and touching(v.data, x.data)
        else v
        for v in values
    ]


class Target:
    """A tensor that is to be written, and what that means; raises `InPlaceError` where it is wrong.

    wrong, right: the user's code, and what to write instead
    plain: nothing is recorded
    above: the tensor or a value is of a level above 0
    """

    def __init__(
        self, x: Tensor, values: Sequence[Tensor], wrong: str, right: str, key: Any = Ellipsis
    ) -> None:
        self.x, self.wrong, self.right = x, wrong, right
        self.line = family.line(x)
        self.root = self.line[-1]
        self.above = bool(x.level or self.root.level or any(v.level for v in values))
        recording = _config.is_recording()
        if recording:
            self._check_leaves(key)
        else:
            self._check_made()
        moving = recording and any(t.node is not None for t in (self.root, *values))
        self.plain = not (self.above or moving)
        if not self.plain:
            self._check_family()

    def _check_family(self) -> None:
        """What is recorded must reach every tensor that sees the memory."""
        if getattr(self.root, "source", self) is None:
            raise InPlaceError(
                f"{self.wrong}: got a tensor in the memory of another one that does not follow it "
                "(x.detach(), a view taken under no_grad, an argument of a transform), expected "
                "memory of its own; try x = x.copy() first"
            )
        self._check_views(self.line[:-1])

    def _check_views(self, views: Sequence[Any]) -> None:
        for view in views:
            if view.source[family.OP] is None:
                raise InPlaceError(
                    f"{self.wrong}: got memory that a view {view.dtype}{view.shape} sees, of which "
                    "nobody can say what a write does to it (of another dtype, or reshaped inside "
                    "jvp or vmap), expected none; try x.copy() instead of that view"
                )

    def _check_leaves(self, key: Any) -> None:
        """A leaf, and what shares memory with one, is not written while recording."""
        node = family.first_leaf(self.line)
        if node is None and family.LEAVES:
            near = [v for v in family.leaf_views() if not (v.level or self.x.level)]
            node = next((v.node for v in near if touching(v.data, _area(self.x.data, key))), None)
        if node is not None:
            of = "" if node is self.x.node else "view of a "
            raise InPlaceError(
                f"{self.wrong}: got a {of}leaf that requires a gradient, expected no write while "
                f"recording; instead of `{self.wrong}` try `{self.right}`, or "
                f"`with tg.no_grad(): {self.wrong}`"
            )

    def _check_made(self) -> None:
        """What was recorded is not written while nothing is recorded."""
        for t in (self.x, self.root):
            if not t.is_leaf:
                raise InPlaceError(
                    f"{self.wrong}: got a tensor made by {name_of(t.node)}, whose gradient would "
                    "not follow under no_grad, expected a write that is recorded; instead of "
                    f"`{self.wrong}` try it outside no_grad, or `{self.right}`"
                )

    # -- the new value of the family ----------------------------------------------------------

    def put(self, place: Place, value: Tensor) -> None:
        """Write a value to a place in x, cast and broadcast as NumPy does."""
        x = self.x
        if self.above:
            spec = chosen(Spec(x.shape, x.dtype), place)
            self._rebind(self._changed(place, fitted(self.wrong, value, spec), _bound))
            return
        part = x.data if place.basic is None else stepped(x.data, index_p, {"key": place.basic})
        if place.index is None and _same(part, value.data):  # the end of `x[key] += v`
            return
        bounds = base.bounds(part)
        spec = part if place.index is None else chosen(Spec(x.shape, x.dtype), place)
        value = fitted(self.wrong, value, spec)
        members = self._members(bounds)
        self._store(place, value.data)
        WRITES.note(part, bounds)
        self.root.node = self._changed(place, value, _recorded).node
        family.follow(members, _renode)

    def take(self, result: Tensor) -> None:
        """Give x the value of a result that nobody else has: its node becomes x's own."""
        x = self.x
        value = fitted(self.wrong, result, Spec(x.shape, x.dtype))
        if self.above or x is not self.root or value.node is None:
            self.put(WHOLE, value)
            return
        members = self._members(None)
        self._store(WHOLE, value.data)
        WRITES.note(x.data, base.bounds(x.data))
        x.node = value.node
        family.follow(members, _renode)

    def _store(self, place: Place, array: Any) -> None:
        """Write to the memory of x."""
        x = self.x
        part = x.data
        try:
            if place.basic is not None:
                part = stepped(part, index_p, {"key": place.basic})
            if place.index is None:
                ASSIGN[type(part)](part, array, key=Ellipsis)
            else:
                SCATTER[type(part)](part, place.index.data, array, axes=place.axes, at=place.at)
        except (IndexError, TypeError, ValueError) as error:
            raise refused(self.wrong, part, array, error) from None

    def _members(self, bounds: tuple[int, int] | None) -> list[Tensor]:
        """The views that follow; raises where one of them could not."""
        members = family.below(self.root, bounds)
        self._check_views(members)
        return members

    def _changed(self, place: Place, value: Tensor, call: Callable[..., Tensor]) -> Tensor:
        """The root with a value at a place in x, as an operation."""
        root, steps = self.root, family.steps(self.line)
        if place.basic is not None:
            steps = (*steps, (index_p, {"key": place.basic}))
        if place.index is not None:
            options = {"axes": place.axes, "at": place.at}
            if not steps:
                return call(scatter_p, (root, place.index, value), options)
            part = self.x
            if place.basic is not None:
                part = call(index_p, (part,), {"key": place.basic})
            value = call(scatter_p, (part, place.index, value), options)
        elif not steps and (value.node is not None or value.level):
            return call(copy_p, (value,), {})
        return call(put_p, (root, value), {"steps": steps})

    def _rebind(self, new: Tensor) -> None:
        """Give the family its new value, at the level of that."""
        members = self._members(None)
        _give(self.root, new)
        family.follow(members, lambda op, params, of, view: _give(view, op.bind(of, **params)))


def _area(array: Any, key: Any) -> Any:
    """The elements that a basic key names; of any other key the whole array."""
    parts = key if type(key) is tuple else (key,)
    if any(type(k) not in BASIC for k in parts):
        return array
    return stepped(array, index_p, {"key": parts})


def _above(key: Any) -> bool:
    """Whether an index in a key is of a level above 0."""
    parts = key if type(key) is tuple else (key,)
    return any(isinstance(k, Tensor) and k.level for k in parts)


def _bound(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor:
    """An operation run as any other."""
    return op.bind(*inputs, **params)  # type: ignore[no-any-return]


def _recorded(op: Any, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Tensor:
    """An operation recorded without being run: the memory has its result already."""
    data = inputs[0].data
    out = make(stepped(data, op, params) if op is index_p else data)
    return op.attach(inputs, [out], params)  # type: ignore[no-any-return]


def _renode(op: Any, params: dict[str, Any], of: Tensor, view: Tensor) -> None:
    """A view's operation recorded on what it is a view of now."""
    out = make(view.data)
    if of.node is not None:
        op.attach((of,), [out], params)
    view.node = out.node


def _give(x: Tensor, new: Tensor) -> None:
    x.data, x.level, x.node = new.data, new.level, new.node


def _same(part: Any, array: Any) -> bool:
    """Whether two arrays are the same elements of one memory."""
    return (
        type(part) is type(array)
        and part.shape == array.shape
        and part.dtype == array.dtype
        and part.strides == array.strides
        and storage(part) is storage(array)
        and base.bounds(part)[0] == base.bounds(array)[0]
    )


# -- writing -----------------------------------------------------------------------------------


def store(x: Tensor, key: Any, value: Any, wrong: str, right: str) -> None:
    """x[key] = value."""
    given = value if isinstance(value, Tensor) else operand(value, (x,), "setitem")
    quiet = x.node is None and given.node is None and not (x.level or given.level or _above(key))
    if not quiet or family.LEAVES or getattr(x, "source", None) is not None:
        target = Target(x, (given,), wrong, right, key)
        target.above |= _above(key)
        if target.above or not target.plain:
            target.put(WHOLE if key is Ellipsis else located(x, key), given)
            return
    array, value = x.data, given.data
    try:
        part = ASSIGN[type(array)](array, value, key=plain_key(key, x))
    except (IndexError, TypeError, ValueError) as error:
        raise refused("setitem", x, value, error) from None
    WRITES.note(part, base.bounds(part))


def replace(
    x: Tensor, function: Callable[[Tensor], Any], values: Sequence[Any], wrong: str, right: str
) -> None:
    """Give x the value of function(x), in which `values` may be recorded."""
    given = [v for v in values if isinstance(v, Tensor)]
    target = Target(x, given, wrong, right)
    if target.plain:
        store(x, Ellipsis, function(make(x.data)), wrong, right)
    else:
        target.take(function(x if target.above else twin(x)))
