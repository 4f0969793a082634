"""The 2-norm of many gradients in one reading pass, and update rules that scale by it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import tensorgrad as tg
from tensorgrad.optim.memory import kernel, on_device, quiet

Array = Any
BLOCK = 4096  # elements: shorter than what a BLAS hands to threads, few enough to lose no digits
FEW = 8  # blocks up to which a call each is quicker than one for all
_TINY = {4: 1e-31, 8: 1e-292}  # by itemsize: mean squares below it lose digits to underflow


class Limit(NamedTuple):
    """The norm of some gradients, what they are multiplied by, and whether they are no numbers.

    On a GPU nothing of it has been seen by the host: the norm is a 0-d array, and so are the factor
    and the flag (1 or 0), which there are once for each dtype that an update computes in, by name.
    """

    norm: Any
    factor: Any
    skip: Any


def limited(parts: Sequence[Array], most: Any, inverse: Any = None) -> Limit:
    """What brings the norm of these gradients times `inverse` (1 without it) to at most `most`.

    The factor is inverse · min(1, most / (norm + 1e-6)); the flag says that the norm is not finite.
    Arrays of one GPU are not waited for, and there `most` and `inverse` may be 0-d float64 arrays.
    """
    there = bool(parts) and on_device(parts[0])
    if there and len({tg.Tensor(part).device for part in parts}) == 1:
        return Limit(*kernel(parts[0], "limited")(*parts, most=most, inverse=inverse))
    norm, scale = joint_norm(parts), 1.0
    if inverse is not None:
        scale = float(inverse)
        norm *= scale
    return Limit(norm, scale * limit(most, norm), 0.0 if math.isfinite(norm) else 1.0)


def joint_norm(parts: Iterable[Array]) -> float:
    """(Σ |g|²)^½ over all elements of these contiguous arrays.

    Squares are added in the dtype of the part over blocks of 4096, the blocks in float64. Where
    the squares would overflow or underflow, the part is scaled first. On a GPU they are added in
    float64, and this waits for it.
    """
    found = list(parts)
    if not found:
        return 0.0
    with quiet(found[0]):
        norms = [_norm(part) for part in found]
    return math.nan if any(map(math.isnan, norms)) else math.hypot(*norms)


def _norm(part: Array) -> float:
    if on_device(part):
        return float(tg.Tensor(kernel(part, "limited")(part)[0]).item())
    flat = _plain(part)
    size = flat.size
    squares = _squares(flat)
    if size * _TINY[flat.dtype.itemsize] <= squares < math.inf:
        return math.sqrt(squares)
    largest = float(abs(flat).max())
    if not 0 < largest < math.inf:
        return largest
    return largest * math.sqrt(_squares(flat.astype("float64") / largest))


def _plain(array: Array) -> Array:
    """The elements in the order of memory, in float32 or float64, complex ones as pairs."""
    flat = array.ravel(order="K")
    if flat.dtype.kind == "c":
        flat = flat.view(tg.dtypes.real(flat.dtype))
    return flat.astype("float32") if flat.dtype.itemsize < 4 else flat


def _squares(flat: Array) -> float:
    size, total = flat.size, 0.0
    whole = size - size % BLOCK if size > FEW * BLOCK else 0
    if whole:  # products of rows by columns, a call for all
        rows = flat[:whole].reshape(-1, 1, BLOCK)
        total = float((rows @ rows.swapaxes(1, 2)).sum(dtype="float64"))
    for start in range(whole, size, BLOCK):
        part = flat[start : start + BLOCK]
        total += float(part.dot(part))
    return total


def limit(max_norm: float, norm: float) -> float:
    """What gradients of this norm are multiplied by: min(1, max_norm / (norm + 1e-6)), or NaN."""
    scale = max_norm / (norm + 1e-6)
    return 1.0 if scale > 1 else scale


@cache
def negated(rule: Any) -> Any:
    """A fused update rule for ascent: the gradient taken with the other sign."""

    def upward(param: Any, grad: Any, *rest: Any) -> Any:
        return rule(param, -grad, *rest)

    return _fused(upward, inputs(rule))


def inputs(rule: Any) -> int:
    """How many arguments a fused update rule has."""
    return len(rule.primitive.formula.inputs)


@cache
def scaled(rule: Any, count: int) -> Any:
    """A fused update rule of `count` arguments with one more, a factor of the gradient."""

    def clipped(param: Any, grad: Any, *rest: Any) -> Any:
        return rule(param, grad * rest[-1], *rest[:-1])

    return _fused(clipped, count, "scale")


@cache
def copied(rule: Any) -> Any:
    """A fused update rule that gives the new parameter once more, as its last output."""

    def twice(param: Any, grad: Any, *rest: Any) -> Any:
        found = rule(param, grad, *rest)
        found = found if isinstance(found, tuple) else (found,)
        return (*found, found[0])

    return _fused(twice, inputs(rule))


@cache
def guarded(rule: Any, count: int, states: int) -> Any:
    """As `scaled`, with a flag behind the factor: where it is not 0 nothing changes.

    `states` is how many arrays the rule keeps beside the parameter.
    """

    def unless(param: Any, grad: Any, *rest: Any) -> Any:
        found = rule(param, grad * rest[-2], *rest[:-2])
        found = found if isinstance(found, tuple) else (found,)
        before = (param, *rest[:states])
        kept = [tg.where(rest[-1] == 0, new, old) for new, old in zip(found, before)]
        return tuple(kept) if states else kept[0]

    return _fused(unless, count, "scale", "skip")


def _fused(rule: Any, count: int, *more: str) -> Any:
    kind = inspect.Parameter.POSITIONAL_ONLY
    names = ["param", "grad", *[f"x{k}" for k in range(2, count)], *more]
    rule.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return tg.fuse(rule)
