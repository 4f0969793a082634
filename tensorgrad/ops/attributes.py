"""What NumPy's arrays have beside operations: `x.flat`, `x.view(dtype)`, `x.nbytes`, `x.tobytes()`.

Each works here, or raises with what to use instead (`INSTEAD`). Bytes leave off the tape alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import NotDifferentiable, need
from tensorgrad.backend import base
from tensorgrad.core.family import link
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops import protocols, writing
from tensorgrad.ops.at import at_set
from tensorgrad.ops.complex import imag, real
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import astype, reshape

# -- x.flat ------------------------------------------------------------------------------------


class Flat:
    """The elements of a tensor in one axis, in C order: read with gradients, written through.

    `x.flat[3]`, `x.flat[2:5]`, `for v in x.flat`, `np.sum(x.flat)`, `x.flat[::2] = 0`.
    """

    __slots__ = ("index", "tensor")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.index = 0

    def _all(self) -> Any:
        return reshape(self.tensor, (self.tensor.size,))

    @property
    def base(self) -> Tensor:
        """The tensor whose elements these are."""
        return self.tensor

    @property
    def coords(self) -> tuple[int, ...]:
        """The indices of the element that `next` gives."""
        return tuple([int(k) for k in np.unravel_index(self.index, self.tensor.shape)])

    def __len__(self) -> int:
        return self.tensor.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all())

    def __next__(self) -> Any:
        if self.index >= len(self):
            raise StopIteration
        self.index += 1
        return self[self.index - 1]

    def __getitem__(self, key: Any) -> Any:
        found = self._all()[key]
        return found.copy() if isinstance(key, slice) else found  # as NumPy's

    def __setitem__(self, key: Any, value: Any) -> None:
        x, given = self.tensor, operand(value, (self.tensor,))

        def changed(old: Any) -> Any:
            return reshape(at_set(reshape(old, (x.size,)), key, given), x.shape)

        writing.replace(x, changed, (given,), "x.flat[key] = v", "x = tg.where(mask, v, x)")

    def copy(self) -> Any:
        """The elements in an array of their own."""
        return self._all().copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._all().__array__(dtype, copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return getattr(ufunc, method)(*map(_elements, inputs), **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*map(_elements, args), **kwargs)


def _elements(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)([_elements(one) for one in value])
    return value._all() if isinstance(value, Flat) else value


def _compared(name: str) -> Callable[[Flat, Any], Any]:
    compare = getattr(operator, name)
    return lambda self, other: compare(self._all(), _elements(other))


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Flat, f"__{_name}__", _compared(_name))


def flat(x: Tensor) -> Flat:
    """The elements in one axis, in C order; assigning to it, or to parts of it, writes to x."""
    return Flat(x)


def _set_flat(x: Tensor, value: Any) -> None:
    Flat(x)[:] = value


# -- memory ------------------------------------------------------------------------------------


def itemsize(x: Tensor) -> int:
    """The bytes of an element."""
    return int(x.dtype.itemsize)


def nbytes(x: Tensor) -> int:
    """The bytes of all elements."""
    return x.size * int(x.dtype.itemsize)


def strides(x: Tensor) -> tuple[int, ...]:
    """The bytes from an element to the next along each axis."""
    return tuple(_array(x, "strides").strides)


def flags(x: Tensor) -> Any:
    """How the elements lie in memory: `x.flags.c_contiguous`, `x.flags.writeable` ..."""
    return _array(x, "flags").flags


def _array(x: Tensor, name: str) -> Any:
    if x.level:
        raise AttributeError(
            f"{name}: got a tensor inside jvp or vmap, expected an array in memory; "
            f"try x.{name} outside"
        )
    return x.data


def view(x: Tensor, dtype: Any = None) -> Any:
    """The same memory as another dtype: the last axis grows or shrinks by the ratio of the sizes.

    On the tape between real and complex numbers of one precision alone, as a copy: (re, im) pairs
    along the last axis. Raises `NotDifferentiable` for any other on the tape.
    """
    if isinstance(dtype, int | tuple | list) and not isinstance(dtype, bool):
        raise TypeError(f"view: got {dtype!r}, expected a dtype; try x.reshape({dtype!r})")
    wanted = x.dtype if dtype is None else dtypes.dtype(dtype)
    if wanted == x.dtype:
        return x[...]
    if x.node is None and not x.level:
        found = make(x.data.view(wanted))
        link([found], x, None, {})
        return found
    if wanted == dtypes.real(x.dtype):
        need(x.ndim, "view", x=x, want="one axis at least", fix="x.reshape(1)")
        pairs = stack([real(x), imag(x)], -1)
        return reshape(pairs, (*x.shape[:-1], 2 * x.shape[-1]))
    if dtypes.real(wanted) == x.dtype:
        need(x.ndim and x.shape[-1] % 2 == 0, "view", x=x, want="a last axis of even length",
             fix="x[..., 0::2]")  # fmt: skip
        return astype(x[..., 0::2] + 1j * x[..., 1::2], wanted, copy=False)
    raise NotDifferentiable(
        f"view: got {x.dtype} on the tape as {wanted}, expected its real or complex twin; "
        f"try x.astype({wanted.name!r}) for the values, or x.detach() for the bytes"
    )


def _to_host(name: str, doc: str) -> Callable[..., Any]:
    """A method of NumPy's arrays on the values as they are on the host, off the tape."""

    def method(x: Tensor, *args: Any, **options: Any) -> Any:
        array = x._off_tape(name)
        return getattr(base.of(array).to_numpy(array), name)(*args, **options)

    method.__name__, method.__doc__ = name, doc
    return method


def put(x: Tensor, indices: Any, values: Any, mode: str = "raise") -> None:
    """x.flat[indices] = values, in place; `InPlaceError` where a gradient would be wrong."""
    protocols.written("x.put", np.put, (x, indices, values, mode), {})


def choose(x: Tensor, choices: Any, out: Any = None, mode: str = "raise") -> Any:
    """choices[x[k]][k] at every k: the tensor holds the indices."""
    function: Any = np.choose
    return function(x, choices, out, mode)


def compress(x: Tensor, condition: Any, axis: int | None = None) -> Any:
    """The slices along an axis (the elements of the flat array) where the condition holds."""
    return np.compress(condition, x, axis)


def copied(x: Tensor) -> Any:
    """What `copy.copy` gives: memory of its own, on the tape where the tensor is."""
    return x.copy()


def contains(x: Tensor, value: Any) -> bool:
    """Whether an element equals a value."""
    return bool((x == value).any())


def delitem(x: Tensor, key: Any) -> None:
    """Raises `TypeError`: the number of elements is fixed."""
    raise TypeError(
        f"del x[key]: got a tensor of shape {x.shape}, expected no change of shape; "
        "try x = np.delete(x, key, axis)"
    )


INSTEAD = {
    "base": "np.shares_memory(x, y)",
    "byteswap": "x.detach().numpy().byteswap()",
    "ctypes": "x.detach().numpy().ctypes",
    "getfield": "x.view(dtype)",
    "resize": "x = np.resize(x, shape), or np.pad(x, width)",
    "setfield": "x.view(dtype)[...] = v",
    "setflags": "x.detach().numpy().setflags(write=False)",
}
"""Attributes that tensors have not, and what to use."""


def missing(name: str) -> property:
    """An attribute that raises `AttributeError` with what to use, so that `hasattr` is False."""

    def get(x: Tensor) -> Any:
        raise AttributeError(
            f"{name}: got a tensor, which has it not, expected another way; try {INSTEAD[name]}"
        )

    return property(get)


PROPERTIES: dict[str, property] = {
    "flags": property(flags),
    "flat": property(flat, _set_flat),
    "itemsize": property(itemsize),
    "nbytes": property(nbytes),
    "strides": property(strides),
    **{name: missing(name) for name in INSTEAD},
}

METHODS: dict[str, Callable[..., Any]] = {
    "__contains__": contains,
    "__copy__": copied,
    "__delitem__": delitem,
    "choose": choose,
    "compress": compress,
    "dump": _to_host("dump", "Pickle the values into a file, as a NumPy array."),
    "dumps": _to_host("dumps", "The values pickled, as a NumPy array."),
    "put": put,
    "tobytes": _to_host("tobytes", "The bytes of the elements, in C order."),
    "tofile": _to_host("tofile", "Write the elements to a file, as bytes or as text."),
    "view": view,
}
