"""First-order VJPs that are the same on both kinds of arrays, over what a backend has for them.

Of `xp`, the functions of NumPy or of CuPy, and of a backend's own the `pulls` page of each makes
its functions, which it says the conventions of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

Array = Any
Pull = Callable[..., Any]


def sums(xp: Any) -> Pull:
    """That of `sum`: the cotangent, broadcast."""

    def pull(
        ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
    ) -> Iterator[tuple[int, Array]]:
        if not node.params["keepdims"] and ct.ndim:
            ct = xp.expand_dims(ct, node.params["axis"])
        yield 0, xp.broadcast_to(ct, node.parents[0].shape)

    return pull


def extremes(shared: Callable[..., Array]) -> Pull:
    """That of `max` and `min`: the cotangent, shared by the elements that are the extreme."""

    def pull(
        ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
    ) -> list[tuple[int, Array]]:
        return [(0, shared(ct, saved[0], saved[1], node.params["axis"]))]

    return pull


def slices(
    empty: Callable[..., Array], unindex: Callable[..., Array], add: Callable[..., Any]
) -> Pull:
    """That of `index`: added to the slices that came before it, if these have their own array.

    add: `add(held, key, ct)` adds to the elements held[key].
    """

    def pull(
        ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
    ) -> list[tuple[int, Array]]:
        key, shape = node.params["key"], node.parents[0].shape
        held = into.onto(0)
        if held is None:
            held = into.part(0)
        if held is not None:
            add(held, key, ct)
            return [(0, held)]
        found = into(0)
        if found is None:
            found = into.keep(0, empty(shape, ct.dtype))
        return [(0, unindex(ct, key=key, shape=shape, out=found))]

    return pull
