"""`peak_memory`: what was alive when a function and its backward took the most memory."""

from __future__ import annotations

import itertools
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core import fused
from tensorgrad.core.backward import gradients
from tensorgrad.core.primitive import Primitive, operand
from tensorgrad.core.tape import Array, Leaf, Node, place, reachable, storage, user_place
from tensorgrad.core.tensor import Tensor, make, name_of
from tensorgrad.core.watch import Pairs, Source, Watch, watching
from tensorgrad.transforms.tree import flatten

Maker = tuple[str, str, Any, int]  # an operation, its phase, and the instruction that called it
FORWARD, BACKWARD = "forward", "backward"


def size_text(size: float) -> str:
    """Bytes as a person reads them.

    >>> size_text(3_500_000)
    '3.3 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def arrays_of(values: Iterable[Any]) -> list[Array]:
    """The arrays among outputs, cotangents and saved values, from under tensors and levels."""
    bare = [x.value() if isinstance(x, Tensor) else x for x in values]
    return [x for x in bare if base.known(type(x)) is not None]


def fresh(outs: Iterable[Any], given: Iterable[Any]) -> dict[int, Array]:
    """By identity: the storages of `outs` that are none of those of `given`."""
    old = {id(storage(x)) for x in arrays_of(given)}
    owners = [storage(x) for x in arrays_of(outs)]
    return {id(x): x for x in owners if id(x) not in old}


def several(value: Any) -> Sequence[Any]:
    """One output as a sequence, several as they are."""
    return value if isinstance(value, tuple | list) else (value,)


class Live(Watch):
    """A record of every array that an operation made, and of when it was dropped."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int, Maker | None]] = []  # bytes, array's number, its maker
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._numbers = itertools.count()
        self._within: list[Node] = []

    def kernel(
        self, op: Primitive | Source, run: Callable[[], Any], arrays: Sequence[Array]
    ) -> Any:
        found = run()
        maker: Maker = (op.name, FORWARD, *user_place())
        if self._within:
            node = self._within[-1]
            maker = name_of(node), BACKWARD, node.code, node.offset
        self._note(fresh(several(found), arrays), maker)
        return found

    def pull(self, node: Node, ct: Any, run: Callable[[], Pairs]) -> Pairs:
        maker = name_of(node), BACKWARD, node.code, node.offset
        self._within.append(node)
        try:
            found = run()
        finally:
            self._within.pop()
        buffers = [getattr(parent, "into", None) for parent in node.parents]
        self._note(fresh([g for _, g in found], [*several(ct), *buffers]), maker)
        return found

    def _note(self, owners: dict[int, Array], maker: Maker) -> None:
        for key, owner in owners.items():
            if key in self._alive and self._alive[key]() is owner:
                continue
            size, number = int(owner.nbytes), next(self._numbers)
            self.steps.append((size, number, maker))

            def gone(_: Any, key: int = key, size: int = size, number: int = number) -> None:
                self._alive.pop(key, None)
                self.steps.append((-size, number, None))

            self._alive[key] = weakref.ref(owner, gone)

    def held(self) -> int:
        """Bytes alive now."""
        return sum(size for size, _, _ in self.steps)

    def peak(self) -> tuple[int, Counter[Maker]]:
        """The most bytes that were alive at once, and those bytes by what made them."""
        sizes = [0, *itertools.accumulate(size for size, _, _ in self.steps)]
        most = max(sizes)
        alive: dict[int, tuple[int, Maker]] = {}
        for size, number, maker in self.steps[: sizes.index(most)]:
            if maker is None:
                del alive[number]
            else:
                alive[number] = size, maker
        rows: Counter[Maker] = Counter()
        for size, maker in alive.values():
            rows[maker] += size
        return most, rows


@dataclass(frozen=True, slots=True)
class Row:
    """Bytes that one operation on one line had alive at the peak."""

    op: str
    phase: str
    line: str
    bytes: int


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """The peak of a function and its backward, in bytes of arrays that its operations made.

    peak: the most that was alive at once; held: what backward found alive when it began, without
        a backward None; arguments: the bytes of f's arguments, which are not in the others
    rows: what was alive at the peak, by operation and line, the largest first
    """

    peak: int
    held: int | None
    arguments: int
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        lines = [f"peak {size_text(self.peak)}, beside {size_text(self.arguments)} of arguments"]
        if self.held is not None:
            lines[0] += f"; {size_text(self.held)} alive when backward began"
        wide = max((len(f"{r.op}, {r.phase}") for r in self.rows), default=0)
        for row in self.rows:
            share = 100 * row.bytes / self.peak
            made = f"{row.op}, {row.phase}"
            lines.append(f"{size_text(row.bytes):>10} {share:4.0f} %  {made:<{wide}}  {row.line}")
        return "\n".join(lines)


def peak_memory(f: Callable[..., Any], *args: Any, **kwargs: Any) -> MemoryReport:
    """Run f and its backward; report the peak of live arrays, by operation and line.

    Backward starts from ones and goes to every floating-point argument and to every leaf that f
    captured; no `.grad` changes. Counted is each array that an operation (or backward) made inside,
    until it is dropped, on the CPU and on GPUs alike; not counted: the arguments, what existed
    before, and scratch memory inside a kernel.

    >>> import numpy as np
    >>> peak_memory(lambda x: np.sum(np.tanh(x)), np.ones(1000)).peak
    16008
    """
    live = Live()
    given = list(itertools.chain.from_iterable(flatten(a)[0] for a in (args, kwargs)))
    with _config.setting(_config.recording, True), watching(live):
        (args, kwargs), twins = _recorded((args, kwargs))
        outs = [operand(y) for y in flatten(f(*args, **kwargs))[0]]
        moved = [y for y in outs if y.node is not None and not y.level]
        held = live.held() if moved else None
        need(moved or not twins, "peak_memory", results=len(outs), fix="a floating-point result",
             want="a result computed from f's arguments", error=TypeError)  # fmt: skip
        found = _walk(moved)
        most, rows = live.peak()
    del found
    ordered = [Row(op, phase, place(code, offset), size)
               for (op, phase, code, offset), size in rows.most_common()]  # fmt: skip
    arguments = sum(int(x.nbytes) for x in {id(a): a for a in arrays_of(given)}.values())
    return MemoryReport(most, held, arguments, tuple(ordered))


def _recorded(tree: Any) -> tuple[Any, list[Tensor]]:
    """The arguments with those of floating point on the tape; and these alone."""
    leaves, rebuild = flatten(tree)
    twins = [operand(x) if base.known(type(x)) or isinstance(x, Tensor) else x for x in leaves]
    put = [
        fused.alias(t) if isinstance(t, Tensor) and dtypes.is_inexact(t.dtype) else x
        for x, t in zip(leaves, twins)
    ]
    return rebuild(put), [t for t in put if isinstance(t, Tensor)]


def _walk(outs: list[Tensor]) -> list[Tensor | None]:
    """The gradients of all leaves behind some results."""
    leaves = [n for n in reachable((y.node for y in outs), lambda _: False) if type(n) is Leaf]
    ones = [make(base.of(y.value()).full(y.shape, 1, y.dtype)) for y in outs]
    return gradients(outs, ones, leaves, create_graph=False, free=True)
