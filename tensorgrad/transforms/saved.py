"""Saved-tensor hooks: what the tape keeps for backward, kept in another form until it is used."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import Token
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import GradientError, need
from tensorgrad.backend import base
from tensorgrad.core import tape
from tensorgrad.core.primitive import operand
from tensorgrad.core.tape import Array, Leaf, Node, next_seq, stored
from tensorgrad.core.tensor import Tensor, make, name_of

Pack = Callable[[Tensor], Any]
Unpack = Callable[[Any], Any]

_put = vars(Node)["saved"].__set__


class PackedNode(Node):
    """A node whose saved values are packed: reading `saved` unpacks them, every time."""

    __slots__ = ()

    @property
    def saved(self) -> tuple[Array, ...] | None:
        """The values as they were when they were packed; None once freed."""
        held = stored(self)
        if held is None:
            return None
        return tuple([x.opened(self) if type(x) is Item else x for x in held])

    @saved.setter
    def saved(self, value: tuple[Any, ...] | None) -> None:
        _put(self, value)


class Item:
    """One packed value, shared by all nodes that saved the same array."""

    __slots__ = ("__weakref__", "dtype", "original", "seq", "shape", "source", "unpack", "value")

    def __init__(self, array: Array, hooks: saved_tensors_hooks) -> None:
        self.shape, self.dtype, self.unpack = array.shape, array.dtype, hooks.unpack
        self.seq, self.source = next_seq(), weakref.ref(array)
        with _config.no_grad(), _config.setting(_config.packing, None):
            self.value = hooks.pack(make(array))
        held = self.value.data if isinstance(self.value, Tensor) else self.value
        self.original = array if held is array else None  # a write to it is one to what was saved

    def opened(self, node: Node) -> Array:
        """The array again."""
        with _config.no_grad(), _config.setting(_config.packing, None):
            found = operand(self.unpack(self.value))
        need(
            found.shape == self.shape and found.dtype == self.dtype and not found.level,
            "saved_tensors_hooks",
            unpacked=found,
            want=f"{self.dtype}{self.shape}, as {name_of(node)} at {node.origin} saved it",
            fix="an unpack that gives the shape and dtype that pack got",
            error=GradientError,
        )
        return found.data


class saved_tensors_hooks:  # noqa: N801  (PyTorch's name)
    """What operations inside save for backward goes through `pack`, and through `unpack` when used.

    `pack(tensor)` gets the value off the tape and returns anything; `unpack(packed)` returns a
    tensor or an array of the same shape and dtype, whenever backward reads it, inside the block or
    after it. An array that several operations save is packed once. Values of jvp and vmap stay as
    they are. The innermost block counts. A gradient is as good as what comes back: a lossy pack is
    a lossy gradient.

    Raises `GradientError` in backward for an unpacked value of another shape or dtype.

    >>> import tensorgrad as tg
    >>> x, sizes = tg.tensor([1.0, 2.0, 3.0]), []
    >>> x.requires_grad = True
    >>> with saved_tensors_hooks(lambda t: sizes.append(t.size) or t, lambda t: t):
    ...     y = (x * x).sum()
    >>> sizes
    [3]
    """

    parameters = True  # whether leaves are packed, which lie in memory anyway

    def __init__(self, pack: Pack, unpack: Unpack) -> None:
        self.pack, self.unpack = pack, unpack
        self._tokens: list[Token[Any]] = []
        self._known: weakref.WeakValueDictionary[int, Item] = weakref.WeakValueDictionary()

    def __enter__(self) -> None:
        _listen(+1)
        self._tokens.append(_config.packing.set(self))

    def __exit__(self, *exc: object) -> None:
        _config.packing.reset(self._tokens.pop())
        _listen(-1)

    def hold(self, array: Array) -> Item:
        """An array packed, or the same one's earlier packing if it was not written to since."""
        found = self._known.get(id(array))
        if found is None or found.source() is not array or tape.WRITES.latest > found.seq:
            found = self._known[id(array)] = Item(array, self)
        return found


class _ReadyMade(saved_tensors_hooks):
    parameters = False


_blocks = 0
_lock = threading.Lock()


def _listen(change: int) -> None:
    """Be told of recorded nodes while any block is open."""
    global _blocks
    with _lock:
        _blocks += change
        if not _blocks:
            tape.ON_RECORD.remove(_pack)
        elif _pack not in tape.ON_RECORD:
            tape.ON_RECORD.append(_pack)


def _pack(node: Node) -> None:
    """Pack what a node that was just recorded saved."""
    hooks = _config.packing.get()
    if hooks is None or type(node) is not Node or not node.saved:
        return
    kept = set() if hooks.parameters else _leaves(node)
    held = [
        hooks.hold(x) if base.known(type(x)) is not None and id(x) not in kept else x
        for x in node.saved
    ]
    if any(type(x) is Item for x in held):
        node.saved = tuple(held)
        node.__class__ = PackedNode


def _leaves(node: Node) -> set[int]:
    """The arrays of the leaves among a node's parents."""
    tensors = [p.tensor() for p in node.parents if type(p) is Leaf and p.tensor is not None]
    return {id(t.data) for t in tensors if t is not None}


def save_on_cpu() -> saved_tensors_hooks:
    """`with tg.save_on_cpu():` what operations on a GPU save waits in the host's memory.

    It returns when backward uses it: GPU memory for two transfers. Parameters stay where they are,
    and so does what is on the CPU already.
    """

    def pack(x: Tensor) -> Any:
        if x.device == "cpu":
            return x
        return x.device, x.to("cpu")

    def unpack(packed: Any) -> Any:
        return packed[1].to(packed[0]) if isinstance(packed, tuple) else packed

    return _ReadyMade(pack, unpack)


def pack_bfloat16() -> saved_tensors_hooks:
    """`with tg.pack_bfloat16():` saved float32 and float64 values wait as bfloat16.

    Half of the memory (a quarter of float64's); what backward reads is rounded to 8 bits, so
    gradients err by about 0.4 %. The forward results are untouched; parameters are not rounded,
    nor are integers and complex values.
    """

    def pack(x: Tensor) -> Any:
        if x.dtype.kind != "f" or x.dtype.itemsize < 4:
            return x
        return x.dtype, x.astype(dtypes.bfloat16())

    def unpack(packed: Any) -> Any:
        return packed[1].astype(packed[0]) if isinstance(packed, tuple) else packed

    return _ReadyMade(pack, unpack)
