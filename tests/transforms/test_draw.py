"""The drawn graph: well-formed SVG that says what the tape knows, boxes that do not overlap."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad.core.tensor import Tensor
from tensorgrad.transforms.layout import layered

SVG = "{http://www.w3.org/2000/svg}"


def leaf(rng: np.random.Generator, *shape: int) -> Tensor:
    return Tensor(rng.standard_normal(shape), requires_grad=True)


def texts(svg: str) -> list[str]:
    return ["".join(t.itertext()) for t in ET.fromstring(svg).iter(f"{SVG}text")]


def boxes(svg: str) -> list[tuple[float, ...]]:
    found = [r for r in ET.fromstring(svg).iter(f"{SVG}rect") if r.get("rx")]
    return [tuple(float(r.get(a, "0")) for a in ("x", "y", "width", "height")) for r in found]


def apart(found: list[tuple[float, ...]]) -> bool:
    return all(
        a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
        for a, b in itertools.combinations(found, 2)
    )


def test_a_small_graph_says_all_it_knows(rng: np.random.Generator, tmp_path: Path) -> None:
    x, w = leaf(rng, 3, 4), leaf(rng, 4, 5)
    with tg.profile() as prof:
        h = np.tanh(x @ w)
        y = (h * h).sum()
        y.backward(retain_graph=True)
    drawing = tg.draw(y, tmp_path / "graph.svg", names={"x": x, "<w>": w})
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8") == drawing.svg == str(drawing)
    assert drawing._repr_svg_() == drawing.svg
    said = "\n".join(texts(drawing.svg))
    for word in ("matmul", "tanh", "multiply", "sum", "<w>", "float64[3, 5]", "120 B", "2 times"):
        assert word in said
    assert said.count("test_draw.py:") >= 6
    ms = prof.milliseconds(y.node)
    assert f"{ms['forward']:.3f} + {ms['backward']:.3f} ms" in said
    assert re.search(r"4 operations, 2 leaves, .* saved, forward .* ms, backward .* ms", said)
    assert len(boxes(drawing.svg)) == 6
    assert apart(boxes(drawing.svg))


def test_several_outputs_containers_and_no_profile(rng: np.random.Generator) -> None:
    x = leaf(rng, 6)
    a, b = tg.split(x * 2.0, 2)
    svg = tg.draw({"a": a, "b": [b * a]}, profile=tg.profile()).svg
    assert "output 0, output 1" in "\n".join(texts(svg))
    assert "pick" not in svg
    assert " ms" not in svg


def test_a_loop_is_written_once(rng: np.random.Generator) -> None:
    x = leaf(rng, 4)
    y = x
    for _ in range(250):
        y = np.sin(y) * 1.01
    svg = tg.draw(y.sum(), profile=tg.profile()).svg
    assert len(boxes(svg)) == 1
    assert "x 249" in svg
    assert len(texts(svg)) < 20


def test_five_hundred_nodes_stay_apart_and_on_the_page(rng: np.random.Generator) -> None:
    h, names = leaf(rng, 8, 8), {}
    for k in range(60):
        w, b = leaf(rng, 8, 8), leaf(rng, 8)
        names |= {f"layers.{k}.weight": w, f"layers.{k}.bias": b}
        left, right = tg.split(np.tanh(h @ w + b), 2, axis=1)
        h = h + np.concatenate([left * right, right], axis=1) * 0.5
    svg = tg.draw(h.sum(), names=names).svg
    found, root = boxes(svg), ET.fromstring(svg)
    assert 100 < len(found) < 400
    assert apart(found)
    _, _, width, height = map(float, root.get("viewBox", "").split())
    assert width < 2500
    assert all(x >= 0 and x + w <= width and y + h <= height for x, y, w, h in found)
    assert "layers.59.bias" in svg


def test_what_cannot_be_drawn_says_why(rng: np.random.Generator) -> None:
    x = leaf(rng, 3)
    with pytest.raises(tg.GradientError, match=r"draw: got y=float64\(3,\), expected a tensor on"):
        tg.draw(x.detach())
    y = (x * x).sum()
    y.backward()
    with pytest.raises(tg.GradientError, match="draw: got a graph that backward freed"):
        tg.draw(y)


def test_layers_go_down_and_keep_their_distance(rng: np.random.Generator) -> None:
    count = 80
    edges = sorted({(int(rng.integers(0, b)), b) for b in range(1, count) for _ in range(2)})
    sizes = [(float(w), float(h)) for w, h in rng.uniform(20, 90, (count, 2))]
    placed = layered(sizes, edges, [False] * count)
    corners = [(x - w / 2, y - h / 2, w, h) for (x, y), (w, h) in zip(placed.centre, sizes)]
    assert apart(corners)
    assert all(placed.centre[a][1] < placed.centre[b][1] for a, b in edges)
    for (a, b), route in zip(edges, placed.routes):
        steps: list[Any] = [y for _, y in route]
        assert steps == sorted(steps)
        assert route[0][0] == placed.centre[a][0]
        assert route[-1][0] == placed.centre[b][0]
    assert layered([], [], []).centre == []


def test_a_profile_without_a_name_is_found(rng: np.random.Generator) -> None:
    x = leaf(rng, 3)
    with tg.profile():
        y = np.tanh(x).sum()
    assert re.search(r"forward \d+\.\d+ ms", tg.draw(y).svg)
