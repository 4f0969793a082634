"""Where the boxes of a drawn graph go: layers, an order with few crossings, straight edges.

The layered method of Sugiyama, Tagawa and Toda (1981): every box gets a layer, an edge over several
layers a point in each of them, sweeps of barycentres an order within the layers; positions then
are, layer by layer, the least squares to the neighbours under the distances that boxes need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Edge = tuple[int, int]
GAP_X, GAP_Y, THIN = 22.0, 34.0, 10.0
SWEEPS = 12


@dataclass(slots=True)
class Placed:
    """Centres of the boxes, the points that each edge goes through, and the size of it all."""

    centre: list[tuple[float, float]]
    routes: list[list[tuple[float, float]]]
    width: float = 0.0
    height: float = 0.0


@dataclass(slots=True)
class _Graph:
    """Boxes and the points of long edges, by layer."""

    size: list[tuple[float, float]]
    up: list[list[int]] = field(default_factory=list)
    down: list[list[int]] = field(default_factory=list)
    layers: list[list[int]] = field(default_factory=list)
    x: list[float] = field(default_factory=list)


def layered(
    sizes: Sequence[tuple[float, float]], edges: Sequence[Edge], tops: Sequence[bool]
) -> Placed:
    """Positions of boxes of these (width, height), numbered so that every edge goes upwards.

    An edge (a, b) has a < b and leads down from a to b; a box in `tops` stands right above the
    highest that it leads to.
    """
    rank = _ranks(len(sizes), edges, tops)
    graph = _Graph(list(sizes), [[] for _ in sizes], [[] for _ in sizes])
    graph.layers = [[] for _ in range(max(rank, default=0) + 1)]
    for k, r in enumerate(rank):
        graph.layers[r].append(k)
    chains = [_chain(graph, a, b, rank) for a, b in edges]
    _order(graph)
    _spread(graph)
    return _finished(graph, len(sizes), chains)


def _ranks(count: int, edges: Sequence[Edge], tops: Sequence[bool]) -> list[int]:
    """The layer of every box: one below the lowest of those above it."""
    rank = [0 if tops[k] else 1 for k in range(count)]
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        if not tops[a]:
            rank[b] = max(rank[b], rank[a] + 1)
    below: dict[int, int] = {}
    for a, b in edges:
        below[a] = min(below.get(a, rank[b]), rank[b])
    found = [below.get(k, 1) - 1 if tops[k] else rank[k] for k in range(count)]
    first = min(found, default=0)
    return [r - first for r in found]


def _chain(graph: _Graph, a: int, b: int, rank: list[int]) -> list[int]:
    """An edge as a chain of neighbours, with a new point in every layer that it crosses."""
    chain = [a]
    for r in range(rank[a] + 1, rank[b]):
        point = len(graph.size)
        graph.size.append((THIN, 0.0))
        graph.up.append([])
        graph.down.append([])
        graph.layers[r].append(point)
        chain.append(point)
    chain.append(b)
    for upper, lower in pairwise(chain):
        graph.down[upper].append(lower)
        graph.up[lower].append(upper)
    return chain


def _order(graph: _Graph) -> None:
    """Sort every layer by the mean place of its neighbours, down and up, and keep the best."""
    best, fewest = [list(layer) for layer in graph.layers], _crossings(graph)
    for sweep in range(SWEEPS):
        if not fewest:
            break
        down = sweep % 2 == 0
        near = graph.up if down else graph.down
        for layer in graph.layers if down else graph.layers[::-1]:
            at = _places(graph)
            middle = {
                k: sum(at[n] for n in near[k]) / len(near[k]) if near[k] else at[k] for k in layer
            }
            layer.sort(key=middle.__getitem__)
        crossings = _crossings(graph)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in graph.layers], crossings
    graph.layers = best


def _places(graph: _Graph) -> dict[int, float]:
    """The place of every box in its layer, between 0 and 1."""
    return {k: (i + 0.5) / len(layer) for layer in graph.layers for i, k in enumerate(layer)}


def _crossings(graph: _Graph) -> int:
    """How many pairs of edges cross."""
    total = 0
    for upper, lower in pairwise(graph.layers):
        at = {k: i for i, k in enumerate(lower)}
        ends = [at[n] for k in upper for n in sorted(graph.down[k], key=at.__getitem__)]
        tree = [0] * (len(lower) + 1)
        for seen, end in enumerate(ends):  # inversions, by a Fenwick tree
            i, before = end + 1, 0
            while i:
                before += tree[i]
                i &= i - 1
            total += seen - before
            i = end + 1
            while i <= len(lower):
                tree[i] += 1
                i += i & -i
    return total


def _spread(graph: _Graph) -> None:
    """Positions along the layers: boxes as near to the mean of their neighbours as others allow."""
    graph.x = [0.0] * len(graph.size)
    for layer in graph.layers:
        _fit(graph, layer, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        near = graph.up if sweep % 2 == 0 else graph.down
        for layer in graph.layers if sweep % 2 == 0 else graph.layers[::-1]:
            goals = [
                sum(graph.x[n] for n in near[k]) / len(near[k]) if near[k] else graph.x[k]
                for k in layer
            ]
            _fit(graph, layer, goals)


def _fit(graph: _Graph, layer: list[int], goals: list[float]) -> None:
    """The least squares to `goals` under the distances needed: pooling of adjacent violators."""
    offset, offsets = 0.0, []
    for i, k in enumerate(layer):
        if i:
            offset += (graph.size[layer[i - 1]][0] + graph.size[k][0]) / 2 + GAP_X
        offsets.append(offset)
    blocks: list[list[float]] = []  # mean of (goal - offset), how many
    for goal, offset in zip(goals, offsets):
        blocks.append([goal - offset, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * count) / (last[1] + count)
            last[1] += count
    spread = [mean for mean, count in blocks for _ in range(int(count))]
    for k, mean, offset in zip(layer, spread, offsets):
        graph.x[k] = mean + offset


def _finished(graph: _Graph, count: int, chains: list[list[int]]) -> Placed:
    """Coordinates from 0: the layers one under the other, as high as their highest box."""
    left = min((x - w / 2 for x, (w, _) in zip(graph.x, graph.size)), default=0.0)
    right = max((x + w / 2 for x, (w, _) in zip(graph.x, graph.size)), default=0.0)
    y, deep, top = [0.0] * len(graph.size), [0.0] * len(graph.size), 0.0
    for layer in graph.layers:
        height = max((graph.size[k][1] for k in layer), default=0.0)
        for k in layer:
            y[k], deep[k] = top + height / 2, height / 2
        top += height + GAP_Y
    at = [(x - left, y[k]) for k, x in enumerate(graph.x)]
    routes = []
    for chain in chains:
        (ax, ay), (bx, by) = at[chain[0]], at[chain[-1]]
        start = ax, ay + graph.size[chain[0]][1] / 2
        stop = bx, by - graph.size[chain[-1]][1] / 2
        beside = [(at[k][0], at[k][1] + side * deep[k]) for k in chain[1:-1] for side in (-1, 1)]
        routes.append([start, *beside, stop])
    return Placed(at[:count], routes, right - left, top - GAP_Y)
