"""Writes in place: `x[key] = v`, `x += v` and the other augmented operators.

Off the tape they write and are noted, so that backward refuses a saved value that was overwritten.
A write that would make a recorded value wrong raises `InPlaceError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import _config
from tensorgrad._errors import DTypeError, InPlaceError
from tensorgrad.backend import base
from tensorgrad.core.primitive import PRIMITIVES, operand
from tensorgrad.core.tape import WRITES
from tensorgrad.core.tensor import Tensor, make, name_of
from tensorgrad.ops import sorting
from tensorgrad.ops.index import plain_key

AUGMENTED = {
    "__iadd__": ("add", "+"),
    "__isub__": ("subtract", "-"),
    "__imul__": ("multiply", "*"),
    "__itruediv__": ("divide", "/"),
    "__ifloordiv__": ("floor_divide", "//"),
    "__imod__": ("remainder", "%"),
    "__ipow__": ("power", "**"),
    "__imatmul__": ("matmul", "@"),
    "__iand__": ("bitwise_and", "&"),
    "__ior__": ("bitwise_or", "|"),
    "__ixor__": ("bitwise_xor", "^"),
    "__ilshift__": ("left_shift", "<<"),
    "__irshift__": ("right_shift", ">>"),
}
"""Augmented operators: the primitive of each, and its sign for messages."""


def writable(x: Tensor, wrong: str, right: str) -> Any:
    """The array of `x`, if a write to it can harm no gradient; else `InPlaceError`."""
    if x.level:
        raise InPlaceError(
            f"{wrong}: got a tensor inside jvp or vmap, expected no write there; try {right}"
        )
    if not x.is_leaf:
        raise InPlaceError(
            f"{wrong}: got a tensor made by {name_of(x.node)}, whose gradient would be wrong, "
            f"expected a tensor off the tape; instead of `{wrong}` try `{right}`"
        )
    if x.node is not None and _config.is_recording():
        raise InPlaceError(
            f"{wrong}: got a leaf that requires a gradient, expected no write while recording; "
            f"instead of `{wrong}` try `{right}`, or `with tg.no_grad(): {wrong}`"
        )
    return x.data


def constant(value: Any, x: Tensor, wrong: str, right: str) -> Any:
    """What is written, as an array; a value whose gradient would be cut raises."""
    found = operand(value, (x,), "setitem")
    if found.level or (found.node is not None and _config.is_recording()):
        raise InPlaceError(
            f"{wrong}: got a recorded value, whose gradient would be cut by writing it into a "
            f"tensor off the tape, expected a constant; instead of `{wrong}` try `{right}`, "
            "or v.detach()"
        )
    return found.data


def _refused(op: str, x: Tensor, value: Any, error: Exception) -> Exception:
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


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """Write `value` to the elements x[key], broadcast and cast as NumPy does.

    Raises `InPlaceError` for a recorded tensor, for a leaf while recording, and for a recorded
    value; `IndexError` out of range.
    """
    wrong = "x[key] = v"
    array = writable(x, wrong, "x = tg.where(mask, v, x)")
    given = constant(value, x, wrong, "x = tg.where(mask, v, x)")
    try:
        part = base.of(array).kernel("assign")(array, given, key=plain_key(key, x))
    except (IndexError, TypeError, ValueError) as error:
        raise _refused("setitem", x, given, error) from None
    WRITES.note(array, base.bounds(part))


def _augmented(name: str, sign: str) -> Callable[[Tensor, Any], Tensor]:
    def write(x: Tensor, value: Any) -> Tensor:
        array = writable(x, f"x {sign}= v", f"x = x {sign} v")
        given = constant(value, x, f"x {sign}= v", f"x = x {sign} v")
        kernel = PRIMITIVES[name].kernels[type(array)]
        try:
            kernel(array, given, out=array)
        except (TypeError, ValueError) as error:
            raise _refused(f"x {sign}= v", x, given, error) from None
        WRITES.note(array, base.bounds(array))
        return x

    write.__doc__ = f"x {sign}= v, written into x; `InPlaceError` where a gradient would be wrong."
    return write


def fill(x: Tensor, value: Any) -> None:
    """Write one value to every element; `InPlaceError` where a gradient would be wrong."""
    setitem(x, Ellipsis, value)


def sort(x: Tensor, axis: int = -1, kind: str | None = None, *, stable: bool | None = None) -> None:
    """Sort the elements along an axis, in place; `InPlaceError` where a gradient would be wrong."""
    array = writable(x, "x.sort()", "x = np.sort(x)")
    setitem(x, Ellipsis, sorting.sort(make(array), axis, kind, stable=stable))


def partition(x: Tensor, kth: Any, axis: int = -1) -> None:
    """Bring element `kth` to its sorted place, the smaller ones before it, in place.

    Raises `InPlaceError` where a gradient would be wrong.
    """
    array = writable(x, "x.partition(kth)", "x = np.partition(x, kth)")
    setitem(x, Ellipsis, sorting.partition(make(array), kth, axis))


METHODS: dict[str, Callable[..., Any]] = {
    "__setitem__": setitem,
    "fill": fill,
    "partition": partition,
    "sort": sort,
    **{method: _augmented(*entry) for method, entry in AUGMENTED.items()},
}
"""What a Tensor's writing operators do, by method name."""
