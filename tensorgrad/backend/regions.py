"""The part of an array that view operations lead to: written, and cut out of a cotangent.

A part is named by steps, each an operation and its parameters. Where one of them has to copy in an
array of another layout, the elements are found by their numbers. Written once for both backends,
which give what differs: how an array is copied, numbered and assigned to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Array = Any
Steps = Sequence[tuple[Any, dict[str, Any]]]
HALVES = ("real", "imag")


class Maker(NamedTuple):
    """What a backend does its own way.

    copy: an array in new memory, in C order, or in `out`
    numbers: 0, 1, 2 ... of a shape
    assign: array[key] = value, cast and broadcast
    """

    copy: Callable[..., Array]
    numbers: Callable[[tuple[int, ...]], Array]
    assign: Callable[..., Any]


def stepped(array: Array, op: Any, params: dict[str, Any]) -> Array:
    """One view operation; one number chosen by integers is a view too, not a scalar."""
    if op.name == "index" and Ellipsis not in params["key"]:
        params = {"key": (*params["key"], Ellipsis)}
    return op.kernels[type(array)](array, **params)


def part(array: Array, steps: Steps) -> Array | None:
    """The part as a view; None where a step has to copy."""
    found, owner = array, array.base
    for op, params in steps:
        found = stepped(found, op, params)
        base = found.base
        if found is not array and base is not array and (owner is None or base is not owner):
            return None
    return found


def places(shape: tuple[int, ...], steps: Steps, maker: Maker) -> tuple[Array, str]:
    """The numbers in C order of the part's elements, and which half of them it is, if it is."""
    found, half = maker.numbers(shape), ""
    for op, params in steps:
        if op.name in HALVES:
            half = op.name
        else:
            found = stepped(found, op, params)
    return found, half


def write(array: Array, value: Any, steps: Steps, maker: Maker) -> None:
    """Write a value to the part of an array in C order that is nobody else's."""
    found = part(array, steps)
    if found is not None:
        maker.assign(found, value, key=Ellipsis)
        return
    numbers, half = places(array.shape, steps, maker)
    flat = array.reshape(-1)
    maker.assign(getattr(flat, half) if half else flat, value, key=numbers)


def read(array: Array, steps: Steps) -> Array:
    """The part's values."""
    found = array
    for op, params in steps:
        found = stepped(found, op, params)
    return found


def put(maker: Maker) -> Callable[..., Array]:
    """The kernel: a copy of x with another part."""

    def run(x: Array, value: Array, *, steps: Steps, out: Array | None = None) -> Array:
        found = maker.copy(x, None)
        write(found, value, steps, maker)
        return found if out is None else maker.copy(found, out)

    return run


def put_pull(maker: Maker, zero: Callable[[Any], Array]) -> Callable[..., Any]:
    """Its first-order VJP: the part for the value, zeros in its place for x.

    They are written into the cotangent itself where nobody else has it: a loop of writes to one
    array then costs backward what it wrote, not the array once a step.
    """

    def pull(
        ct: Array, wanted: Sequence[int], into: Any, saved: Any, node: Any
    ) -> list[tuple[int, Array]]:
        steps, found = node.params["steps"], []
        if 1 in wanted:
            found.append((1, maker.copy(read(ct, steps), None)))
        if 0 in wanted:
            rest = ct if into.spare(ct) and ct.flags.c_contiguous else maker.copy(ct, None)
            write(rest, zero(rest.dtype), steps, maker)
            found.append((0, into.keep(0, rest)))
        return found

    return pull
