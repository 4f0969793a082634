"""Tensor: an array of a backend, and the node of the tape that made it.

The operations are attached by `ops/methods.py` from the registry; what stands here is what a
tensor *is*: its value, its place on the tape, its gradient, and the ways off the tape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, GradientError, need
from tensorgrad.backend import base
from tensorgrad.core import hooks
from tensorgrad.core.family import Views, made_leaf
from tensorgrad.core.hooks import RemovableHandle
from tensorgrad.core.tape import Array, Leaf, Node, leaf


class Tensor:
    """An array that can carry a gradient.

    `data` is the array (at `level` 0) or what an interpreter of that level made of it; `node` is
    the tape's record of how it was made, None for a constant. `source` and `views` are set only
    where memory is shared; see `core/family.py`.
    """

    __slots__ = ("__weakref__", "data", "level", "node", "source", "views")
    __array_priority__ = 1000
    __hash__ = object.__hash__

    data: Any
    node: Node | None
    level: int
    source: list[Any] | None
    views: Views

    def __init__(self, data: Any, dtype: Any = None, requires_grad: bool = False) -> None:
        self.data = base.asarray(
            data._off_tape("Tensor") if isinstance(data, Tensor) else data, dtype
        )
        self.level = 0
        self.node = None
        if requires_grad:
            self.requires_grad = True

    # -- what it is ----------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""
        return self.data.shape  # type: ignore[no-any-return]

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.data.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        count = 1
        for extent in self.data.shape:
            count *= extent
        return count

    @property
    def device(self) -> str:
        """Where the elements are: "cpu"."""
        return base.of(self.value()).device

    def __len__(self) -> int:
        if not self.data.shape:
            raise TypeError("len: got a tensor with no axes, expected at least 1; try x.size")
        return int(self.data.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        if not self.data.shape:
            raise TypeError("iter: got a tensor with no axes, expected at least 1; try x.item()")
        return (self[k] for k in range(len(self)))  # type: ignore[index]

    # -- the tape ------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """True if operations on this tensor are recorded; settable on a tensor off the tape."""
        return self.node is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if wanted and self.node is None:
            need(
                dtypes.is_inexact(self.dtype),
                "requires_grad",
                dtype=self.dtype.name,
                want="a floating dtype",
                fix="x.astype(float)",
                error=DTypeError,
            )
            self.node = leaf(self.shape, self.dtype, self)
            if getattr(self, "source", None) is not None:
                made_leaf(self)
        elif not wanted and self.node is not None:
            need(
                self.is_leaf,
                "requires_grad",
                tensor=self.node,
                want="a leaf (a tensor that no operation made)",
                fix="x.detach()",
                error=GradientError,
            )
            self.node = None

    @property
    def is_leaf(self) -> bool:
        """True for a tensor that no recorded operation made."""
        return self.node is None or type(self.node) is Leaf

    @property
    def grad(self) -> Tensor | None:
        """The gradient that `backward` accumulated; None before, and on what is not a leaf."""
        return self.node.grad if type(self.node) is Leaf else None

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        node = self.node
        if type(node) is not Leaf:
            if value is None:  # of a frozen parameter, say
                return
            raise GradientError(
                "grad: got a tensor that is no leaf with requires_grad, expected one; "
                "try x.requires_grad = True"
            )
        if value is not None and (value.shape != node.shape or value.dtype != node.dtype):
            raise GradientError(
                f"grad: got {value.dtype}{value.shape}, expected {node.dtype}{node.shape} as the "
                "tensor itself; try reshape and astype"
            )
        node.grad = value

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(gradient)` in backward; a tensor that it returns replaces the gradient.

        On a leaf before the gradient is accumulated, on a recorded value when its gradient is
        complete. Returns a handle whose `remove()` takes the hook out. Raises `GradientError`
        off the tape.
        """
        node = self._hookable("register_hook")
        if type(node) is not Leaf:
            return RemovableHandle(hooks.table(node, make), hook)
        if node.hooks is None:
            node.hooks = {}
        return RemovableHandle(node.hooks, hook)

    def register_node_hook(self, hook: hooks.StepHook) -> RemovableHandle:
        """Call `hook(input gradients, output gradients)` after backward's step through a value.

        Tuples with one tensor (or None) for each input and output of the operation that made this
        value; a tuple that the hook returns replaces the input gradients. Returns a handle
        with `remove()`. Raises `GradientError` for what no recorded operation made.
        """
        node = self._hookable("register_node_hook")
        if type(node) is Leaf:
            raise GradientError(
                "register_node_hook: got a leaf, expected a tensor that a recorded operation made; "
                "try register_hook"
            )
        return RemovableHandle(hooks.of_node(node, make).after, hook)

    def _hookable(self, op: str) -> Node:
        if self.node is None or self.level:
            raise GradientError(
                f"{op}: got a tensor that is not on the tape, expected a recorded one; "
                "try x.requires_grad = True"
            )
        return self.node

    def detach(self) -> Tensor:
        """The same value as a constant of every derivative; it shares memory."""
        if self.level:
            return self.data.constant()  # type: ignore[no-any-return]
        constant = make(self.data)
        constant.source = None
        return constant

    # -- ways off the tape ---------------------------------------------------------------------

    def value(self) -> Array:
        """The array under every level."""
        data = self.data
        while isinstance(data, Payload):
            data = data.inner.data
        return data

    def _off_tape(self, op: str) -> Array:
        """The bare array, or an error that names the two ways to get it."""
        if self.level:
            self._read(op)  # raises where a batch is hidden, which says more
        if self.node is not None or self.level:
            raise GradientError(
                f"{op}: got a tensor on the tape, where a gradient would be cut silently, "
                "expected one off it; try x.detach().numpy(), or x.item() for one number"
            )
        return self.data

    def numpy(self) -> Array:
        """The value as a NumPy array that shares memory; raises `GradientError` on the tape."""
        return base.of(self.value()).to_numpy(self._off_tape("numpy"))

    def item(self, *key: Any) -> Any:
        """An element as a Python number, without a key the only one.

        Allowed on the tape: it is a constant. One number as the key counts in C order.
        """
        if key:
            flat = len(key) == 1 and not isinstance(key[0], tuple)
            chosen: Any = self.flat[key[0]] if flat else self[key[0] if len(key) == 1 else key]  # type: ignore[index]
            return chosen.item()
        need(self.size == 1, "item", x=self, want="exactly one element", fix="x[0].item()")
        return _on_host(self._read("item")).item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        return _on_host(self._read("tolist")).tolist()

    def _read(self, op: str) -> Array:
        """The array under every level; raises `ValueError` where a batch is hidden in it."""
        if any(isinstance(data, Payload) and not data.readable for data in self._payloads()):
            raise ValueError(
                f"{op}: got a value with a batch hidden in it, expected one that can be read; "
                "try it outside vmap"
            )
        return self.value()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        # A sparse matrix tries what stands on its right as an array first; what is no array but one
        # object it leaves to `__rmatmul__`, as its own comment says.
        caller = sys._getframe(1)
        if caller.f_code.co_name == "_matmul_dispatch" and "sparse" in caller.f_globals["__name__"]:
            return base.opaque(self)
        if self.node is not None or self.level:
            raise GradientError(
                "__array__: got a tensor on the tape, where a gradient would be cut silently, "
                "expected one off it; try np.stack([t, u]) instead of np.array([t, u]), or "
                "x.detach().numpy() for a constant"
            )
        return base.to_numpy(self.data, dtype, copy)

    def __float__(self) -> float:
        return float(_on_host(self._off_tape("float")))

    def __int__(self) -> int:
        return int(_on_host(self._off_tape("int")))

    def __complex__(self) -> complex:
        return complex(_on_host(self._off_tape("complex")))

    def __index__(self) -> int:
        return int(_on_host(self._off_tape("index")).__index__())

    def __trunc__(self) -> int:
        return int(_on_host(self._off_tape("trunc")).item())

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        need(self.size == 1, "format", x=self, want=f"one element for the format {spec!r}",
             fix="np.array2string(x, precision=3)", error=TypeError)  # fmt: skip
        return format(self.item(), spec)

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool: got {self.dtype}{self.shape}, expected one element; "
                "try .any() or .all(), or where(c, a, b) instead of `if c`"
            )
        if any(isinstance(data, Payload) and not data.readable for data in self._payloads()):
            raise ValueError(
                "bool: got a value with a batch hidden in it, expected one number; "
                "try where(c, a, b) instead of `if c`"
            )
        return bool(_on_host(self.value()))

    def _payloads(self) -> Iterator[Any]:
        data = self.data
        while isinstance(data, Payload):
            yield data
            data = data.inner.data

    def __repr__(self) -> str:
        text = base.text(self.value())
        if self.level:
            return f"tensor({text}, level={self.level})"
        if self.node is None:
            return f"tensor({text})"
        made = "requires_grad=True" if self.is_leaf else f"made by {name_of(self.node)}"
        return f"tensor({text}, {made})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """A copy of the value; of a leaf, a leaf. Raises `GradientError` for a recorded result."""
        if not self.is_leaf:
            raise GradientError(
                f"deepcopy: got a tensor made by {name_of(self.node)}, expected a leaf or a "
                "constant; try x.detach() first"
            )
        twin = type(self).__new__(type(self))
        twin.data, twin.level, twin.node = self.data.copy(), self.level, None
        if self.node is not None:
            twin.requires_grad = True
        memo[id(self)] = twin
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise GradientError(
                f"pickle: got a tensor made by {name_of(self.node)}, expected a leaf or a "
                "constant; try x.detach() first"
            )
        return type(self), (self.data, None, self.node is not None)


def _on_host(array: Array) -> Any:
    """An array as NumPy's: the one door through which numbers leave a device."""
    return base.of(array).to_numpy(array)


class Payload:
    """What a tensor of a level above 0 holds instead of an array; see `core/levels.py`."""

    __slots__ = ("inner", "level")

    readable = True
    inner: Tensor
    level: int

    def constant(self) -> Tensor:
        """The value without derivatives."""
        return self.inner.detach()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.inner.shape

    @property
    def dtype(self) -> Any:
        return self.inner.dtype


def make(data: Any, node: Node | None = None, level: int = 0) -> Tensor:
    """A tensor around `data` as it is, without the conversions of `Tensor()`."""
    tensor = object.__new__(Tensor)
    tensor.data = data
    tensor.node = node
    tensor.level = level
    return tensor


def rebuilt(data: Any, node: Node | None) -> Tensor:
    """A saved value as a tensor on the tape again, at the level it was saved at."""
    return make(data, node, data.level if isinstance(data, Payload) else 0)


def name_of(node: Node | None) -> str:
    """The operation that made a value, for messages."""
    if node is None or node.primitive is None:
        return "leaf"
    first = node.parents[0] if node.parents else None
    if node.primitive.name.startswith("pick") and first is not None:
        return name_of(first)
    return node.primitive.name
