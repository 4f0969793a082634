"""Writes in place: `x[key] = v`, `x += v` and the other augmented operators, `x.sort()`.

Off the tape they write, and the write is noted, so that backward refuses a saved value that was
overwritten. On the tape they are recorded too; see `ops/writing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core import family
from tensorgrad.core.primitive import PRIMITIVES, operand
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tape import WRITES
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import sorting, writing
from tensorgrad.ops.writing import Target, apart, refused, twin

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

SAVES_NOTHING = ("add", "subtract")
"""Operations whose derivative reads no input: these need not be copied before they are written."""

WHERE = "x = tg.where(mask, v, x)"


def setitem(x: Tensor, key: Any, value: Any) -> None:
    """Write `value` to the elements x[key], broadcast and cast as NumPy does.

    Recorded where x or the value is: views and what x is a view of follow. Of equal indices the
    last wins, and it alone gets the gradient. Raises `InPlaceError` for a leaf while recording;
    `IndexError` out of range.
    """
    writing.store(x, key, value, "x[key] = v", WHERE)


def _augmented(name: str, sign: str) -> Callable[[Tensor, Any], Tensor]:
    wrong, right = f"x {sign}= v", f"x = x {sign} v"

    def write(x: Tensor, value: Any) -> Tensor:
        given: Any = operand(value, (x,), name)
        quiet = x.node is None and given.node is None and not (x.level or given.level)
        if not quiet or family.LEAVES or getattr(x, "source", None) is not None:
            target = Target(x, (given,), wrong, right)
            if not target.plain:
                return _combined(target, name, given)
        array, number = x.data, given.data
        kernel = PRIMITIVES[name].kernels[type(array)]
        try:
            kernel(array, number, out=array)
        except (TypeError, ValueError) as error:
            raise refused(wrong, x, number, error) from None
        WRITES.note(array, base.bounds(array))
        return x

    write.__doc__ = f"x {sign}= v, written into x, and recorded where x or v is."
    return write


def _combined(target: Target, name: str, value: Tensor) -> Tensor:
    """x (sign)= value on the tape."""
    x = target.x
    old = x
    if not target.above:
        (value,) = apart((value,), x)
        old = x if name in SAVES_NOTHING else twin(x)
    result = OPERATIONS[name].function(old, value)
    need(result.shape == x.shape, target.wrong, x=x, v=value,
         want=f"a result of the shape of x, not {result.shape}", fix=f"`{target.right}`",
         error=ValueError)  # fmt: skip
    kind = "biufc".index
    need(kind(result.dtype.kind) <= kind(x.dtype.kind), target.wrong, x=x, v=value,
         want="a result that fits into x without changing kind", fix=f"`{target.right}`",
         error=DTypeError)  # fmt: skip
    target.take(result)
    return x


def fill(x: Tensor, value: Any) -> None:
    """Write one value to every element, recorded where x or the value is."""
    writing.store(x, Ellipsis, value, "x.fill(v)", "x = tg.full_like(x, v)")


def sort(x: Tensor, axis: int = -1, kind: str | None = None, *, stable: bool | None = None) -> None:
    """Sort the elements along an axis, in place, recorded where x is."""
    writing.replace(
        x, lambda a: sorting.sort(a, axis, kind, stable=stable), (), "x.sort()", "x = np.sort(x)"
    )


def partition(x: Tensor, kth: Any, axis: int = -1) -> None:
    """Bring element `kth` to its sorted place, the smaller ones before it; recorded where x is."""
    writing.replace(
        x, lambda a: sorting.partition(a, kth, axis), (), "x.partition(kth)",
        "x = np.partition(x, kth)",
    )  # fmt: skip


METHODS: dict[str, Callable[..., Any]] = {
    "__setitem__": setitem,
    "fill": fill,
    "partition": partition,
    "sort": sort,
    **{method: _augmented(*entry) for method, entry in AUGMENTED.items()},
}
"""What a Tensor's writing operators do, by method name."""
