"""`draw`: the graph of a recorded value as an SVG picture."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tensorgrad._errors import GradientError, need
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.fused import Fused
from tensorgrad.core.primitive import operand
from tensorgrad.core.tape import Leaf, Node, Pick, reachable, stored
from tensorgrad.core.tensor import Tensor, name_of
from tensorgrad.transforms.layout import Placed, layered
from tensorgrad.transforms.memory import BACKWARD, FORWARD, arrays_of, size_text
from tensorgrad.transforms.profile import latest, profile
from tensorgrad.transforms.tree import flatten

FEW = 60  # nodes up to which each has a box of its own
LOOP = 24  # rows of what is looked for as repeated
BOLD = ' font-weight="bold"'
COLUMN = 48  # rows of a box, before it goes on beside
CHAR, ROW, PAD, MARGIN, HEAD = 6.7, 15.0, 8.0, 16.0, 34.0
COLOURS: tuple[tuple[str, Any, str, str], ...] = (
    ("leaf", Leaf, "#e3f4e6", "#3f9a5a"),
    ("elementwise", Elementwise, "#e6eefc", "#4a76c9"),
    ("reduction", (Reduce, Fused), "#f3e8fb", "#9158bd"),
    ("other operation", object, "#fdf0dc", "#c98a2b"),
)
"""Families of nodes: what their class (or that of their primitive) is, the fill and the border."""


@dataclass(slots=True)
class Item:
    """One node of the graph: its operation, what it reads, what it says."""

    node: Node
    name: str
    parents: list[tuple[int, str]] = field(default_factory=list)  # items, and which output of them
    users: int = 0
    inline: list[Item] = field(default_factory=list)  # leaves that only this one uses
    time: dict[str, float] = field(default_factory=dict)

    @property
    def leaf(self) -> bool:
        return type(self.node) is Leaf

    @property
    def family(self) -> int:
        made: Any = self.node.primitive
        kind = self.node if self.leaf else getattr(made, "bare", made)  # without its hooks
        return next(k for k, (_, cls, _, _) in enumerate(COLOURS) if isinstance(kind, cls))

    @property
    def kind(self) -> str:
        return f"{self.node.dtype}[{', '.join(map(str, self.node.shape))}]"

    @property
    def bytes(self) -> int:
        return prod(self.node.shape) * int(self.node.dtype.itemsize)

    @property
    def line(self) -> str:
        return os.path.basename(self.node.origin)

    @property
    def milliseconds(self) -> str:
        return _times(self.time)

    def facts(self) -> str:
        """All that is known, for whoever points at it."""
        saved = sum(int(x.nbytes) for x in arrays_of(_stored(self.node)))
        told = [f"{self.name}  {self.kind}  {size_text(self.bytes)}", self.node.origin]
        told += [f"saved for backward: {size_text(saved)}"] if saved else []
        told += [f"{phase} {ms:.3f} ms" for phase, ms in self.time.items()]
        return "\n".join(told)


@dataclass(slots=True)
class Box:
    """A rectangle of the picture: one node with some lines, or a chain with a row each.

    A row is its text and the nodes that it stands for, several where a loop made them.
    """

    items: list[Item]
    rows: list[tuple[str, list[Item]]]
    wide: int  # characters of a row
    chain: bool

    @property
    def columns(self) -> int:
        return -(-len(self.rows) // COLUMN)

    @property
    def size(self) -> tuple[float, float]:
        deep = min(len(self.rows), COLUMN)
        return self.columns * (self.wide * CHAR + 2 * PAD), deep * ROW + PAD


class Drawing:
    """A picture as SVG text, shown by notebooks: `drawing.svg`, `drawing.save(path)`."""

    def __init__(self, svg: str) -> None:
        self.svg = svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the SVG text to a file."""
        Path(path).write_text(self.svg, encoding="utf-8")


def draw(
    y: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    names: Mapping[str, Tensor] | None = None,
    profile: profile | None = None,
) -> Drawing:
    """Draw the graph that y was recorded by, inputs above; write it to `path` if there is one.

    y is a tensor or a nested container of them. A box says the operation, its result's shape and
    bytes, the source line and, where a `tg.profile()` saw it (`profile`, or else the last one that
    was opened), its milliseconds forward + backward. `names` name the leaves:
    `dict(net.named_parameters())`. Above 60 nodes every chain of operations is one box with a row
    each, and a leaf with one user stands in its user's row. Draw before backward, or after
    `backward(retain_graph=True)`: else the graph is freed. Raises `GradientError` for what is not
    on the tape or was freed.

    >>> import tensorgrad as tg
    >>> x = tg.tensor([1.0, 2.0])
    >>> x.requires_grad = True
    >>> drawing = draw((x * x).sum(), names={"x": x})
    >>> "multiply" in drawing.svg and "float64[2]" in drawing.svg
    True
    """
    roots = [t.node for t in map(operand, flatten(y)[0]) if t.node is not None]
    need(roots, "draw", y=y, want="a tensor on the tape", fix="x.requires_grad = True before it",
         error=GradientError)  # fmt: skip
    items = _items(roots, names or {}, profile or latest())
    few = len(items) <= FEW
    boxes = [_box_of(x) for x in items] if few else [_chain_box(x) for x in _chains(items)]
    edges = _edges(boxes, items)
    tops = [box.items[0].leaf for box in boxes]
    placed = layered([box.size for box in boxes], list(edges), tops)
    drawing = Drawing("\n".join(_svg(boxes, edges, placed, items, {r.seq for r in roots})))
    if path is not None:
        drawing.save(path)
    return drawing


# -- the graph ---------------------------------------------------------------------------------


def _stored(node: Node) -> list[Any]:
    """What a node saved, packed values as they lie."""
    return [getattr(x, "value", x) for x in stored(node) or ()]


def _is_pick(node: Node) -> bool:
    """Whether a node is one output of an operation that has several."""
    kind: Any = node.primitive
    return type(kind) is Pick


def _items(roots: Sequence[Node], names: Mapping[str, Tensor], seen: profile | None) -> list[Item]:
    """The nodes behind some results in order of creation, without those of single outputs."""
    called = {id(tensor.node): name for name, tensor in names.items()}
    items: list[Item] = []
    number: dict[int, int] = {}
    for node in reachable(roots, lambda _: False):
        if _is_pick(node):
            continue
        if node.primitive is not None and not node.parents:
            raise GradientError(
                f"draw: got a graph that backward freed (at {name_of(node)} of {node.origin}), "
                "expected a whole one; try drawing before, or backward(retain_graph=True)"
            )
        item = Item(node, called.get(id(node), name_of(node)))
        item.time = seen.milliseconds(node) if seen is not None else {}
        for parent in node.parents:
            out = ""
            if parent is not None and _is_pick(parent):
                kind: Any = parent.primitive
                out, parent = f"output {kind.index}", parent.parents[0]
            if parent is not None:
                item.parents.append((number[parent.seq], out))
                items[number[parent.seq]].users += 1
        number[node.seq] = len(items)
        items.append(item)
    return items


def _chains(items: list[Item]) -> Iterator[list[Item]]:
    """Operations that only feed each other, one after another; leaves of one user go inside."""
    for item in items:
        own = [items[k] for k in {k for k, _ in item.parents}]
        item.inline = [one for one in own if one.leaf and one.users == 1]
    inside = {id(leaf) for item in items for leaf in item.inline}
    chains: dict[int, list[Item]] = {}  # by the last operation of it
    for item in items:
        if id(item) in inside:
            continue
        above = [k for k, _ in item.parents if id(items[k]) not in inside]
        only = items[above[0]] if len(above) == 1 else None
        if only is not None and not only.leaf and only.users == 1:
            chain = chains.pop(id(only))
        else:
            chain = []
        chain.append(item)
        chains[id(item)] = chain
    yield from sorted(chains.values(), key=lambda chain: chain[0].node.seq)


def _box_of(item: Item) -> Box:
    """A box of one node."""
    lines = [item.name, f"{item.kind}  {size_text(item.bytes)}", item.line, item.milliseconds]
    rows = [(line, [item]) for line in lines if line]
    return Box([item], rows, max(len(line) for line, _ in rows), False)


def _chain_box(chain: list[Item]) -> Box:
    """A box of operations one after another, what a loop repeats written once."""
    cells: list[tuple[str, ...]] = []
    groups = list(_repeated(chain))
    for group in groups:
        first, last = group[0], group[-1]
        name = first.name if len(group) == 1 else f"{first.name} x {len(group)}"
        for a, b in zip(first.inline, last.inline):
            name += f"  {a.name}{'' if a is b else ' ... ' + b.name} {a.kind}"
        time = {p: sum(x.time.get(p, 0.0) for x in group) for x in group for p in x.time}
        cells.append((name, first.kind, size_text(first.bytes), first.line, _times(time)))
    wide = [max(len(row[k]) for row in cells) for k in range(5)]
    texts = ["  ".join(text.ljust(w) for text, w in zip(row, wide)).rstrip() for row in cells]
    return Box(chain, list(zip(texts, groups)), max(map(len, texts)), True)


def _repeated(chain: list[Item]) -> Iterator[list[Item]]:
    """The rows of a chain: a stretch that comes three times or more gives its rows once."""
    keys = [(x.name, x.kind, x.node.origin, *(y.kind for y in x.inline)) for x in chain]
    k = 0
    while k < len(chain):
        period, times = 1, 1
        for p in range(1, min(LOOP, (len(chain) - k) // 3) + 1):
            n = 1
            while keys[k : k + p] == keys[k + n * p : k + (n + 1) * p]:
                n += 1
            if n >= 3 and n * p > times * period:
                period, times = p, n
        for row in range(period):
            yield chain[k + row : k + period * times : period]
        k += period * times


def _times(time: Mapping[str, float]) -> str:
    """What a profile saw, forward + backward."""
    parts = [f"{time[phase]:.3f}" for phase in (FORWARD, BACKWARD) if phase in time]
    return " + ".join(parts) + " ms" if parts else ""


def _edges(boxes: list[Box], items: list[Item]) -> dict[tuple[int, int], str]:
    """From box to box, with what is to be said about it: several outputs, several uses."""
    home = {id(item): k for k, box in enumerate(boxes) for item in box.items}
    uses: Counter[tuple[int, int]] = Counter()
    said: dict[tuple[int, int], set[str]] = {}
    for k, box in enumerate(boxes):
        for item in box.items:
            for parent, out in item.parents:
                above = home.get(id(items[parent]), k)
                if above != k:
                    uses[above, k] += 1
                    said.setdefault((above, k), set()).update([out] if out else [])
    return {
        edge: ", ".join(sorted(said[edge])) or ("" if count == 1 else f"{count} times")
        for edge, count in uses.items()
    }


# -- the picture -------------------------------------------------------------------------------


def _svg(
    boxes: list[Box],
    edges: Mapping[tuple[int, int], str],
    placed: Placed,
    items: list[Item],
    roots: set[int],
) -> Iterator[str]:
    """The lines of the file."""
    head = _head(items)
    key = sum(len(name) * CHAR + 3 * PAD for name, _, _, _ in COLOURS)
    width = max(placed.width, len(head) * CHAR, key) + 2 * MARGIN
    height = placed.height + 2 * MARGIN + HEAD
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-size="11" '
        'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace">'
    )
    yield f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    yield f'<text x="{MARGIN}" y="16" fill="#333">{escape(head)}</text>'
    at = MARGIN
    for name, _, fill, line in COLOURS:
        yield f'<rect x="{at:.1f}" y="24" width="9" height="9" fill="{fill}" stroke="{line}"/>'
        yield f'<text x="{at + 13:.1f}" y="32.5" fill="#666">{name}</text>'
        at += len(name) * CHAR + 3 * PAD
    shift = (width - placed.width) / 2
    yield f'<g transform="translate({shift:.1f} {MARGIN + HEAD:.1f})">'
    for (edge, label), route in zip(edges.items(), placed.routes):
        yield from _edge(route, label, edge)
    slowest = max((sum(item.time.values()) for item in items), default=0.0)
    for box, centre in zip(boxes, placed.centre):
        yield from _box(box, centre, slowest, roots)
    yield "</g></svg>"


def _head(items: list[Item]) -> str:
    """The graph in one line."""
    leaves = sum(item.leaf for item in items)
    saved = {id(x): int(x.nbytes) for i in items for x in arrays_of(_stored(i.node))}
    text = (
        f"{len(items) - leaves} operations, {leaves} leaves, {size_text(sum(saved.values()))} saved"
    )
    for phase in (FORWARD, BACKWARD):
        times = [item.time[phase] for item in items if phase in item.time]
        text += f", {phase} {sum(times):.3f} ms" if times else ""
    return text


def _edge(route: list[tuple[float, float]], label: str, edge: tuple[int, int]) -> Iterator[str]:
    """A smooth line down through the points, an arrow at its end."""
    (x, y), *rest = route
    path = [f"M{x:.1f} {y:.1f}"]
    for x2, y2 in rest:
        half = (y2 - y) / 2
        path.append(f"C{x:.1f} {y + half:.1f} {x2:.1f} {y2 - half:.1f} {x2:.1f} {y2:.1f}")
        x, y = x2, y2
    yield f'<path d="{"".join(path)}" fill="none" stroke="#8a93a0" stroke-width="1.2"/>'
    yield f'<path d="M{x - 3.5:.1f} {y - 7:.1f}l3.5 7l3.5 -7z" fill="#8a93a0"/>'
    if label:
        (x1, y1), (x2, y2) = route[-2:]
        yield (
            f'<text x="{(x1 + x2) / 2 + 4:.1f}" y="{(y1 + y2) / 2 + 4:.1f}" font-size="9" '
            f'fill="#667">{escape(label)}</text>'
        )


def _box(box: Box, centre: tuple[float, float], slowest: float, roots: set[int]) -> Iterator[str]:
    """A rectangle with its rows; redder at the left the longer it took."""
    width, height = box.size
    left, top = centre[0] - width / 2, centre[1] - height / 2
    _, _, fill, line = COLOURS[box.items[-1].family]
    result = any(item.node.seq in roots for item in box.items)
    round_ = min(height / 2.4, 14) if box.items[0].leaf else 4
    yield (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{round_:.1f}" fill="{fill}" stroke="{line}" stroke-width="{2.4 if result else 1}"/>'
    )
    for k, (row, group) in enumerate(box.rows):
        column, deep = divmod(k, COLUMN)
        x = left + column * (box.wide * CHAR + 2 * PAD) + PAD
        y = top + PAD / 2 + deep * ROW
        time = sum(ms for item in group for ms in item.time.values())
        if slowest and (box.chain or row == group[0].milliseconds):
            yield (
                f'<rect x="{x - 5:.1f}" y="{y + 1:.1f}" width="3" height="{ROW - 2:.1f}" '
                f'fill="#d33" fill-opacity="{min(time / slowest, 1):.2f}"/>'
            )
        title = not box.chain and not k
        yield (
            f'<text x="{x:.1f}" y="{y + 11:.1f}" fill="{"#111" if box.chain or title else "#555"}"'
            f'{BOLD if title else ""} xml:space="preserve">'
            f"<title>{escape(group[0].facts())}</title>{escape(row)}</text>"
        )
