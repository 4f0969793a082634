"""The floors of the house: no import points up, and each fence holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tensorgrad

ROOT = Path(tensorgrad.__file__).parent
FLOORS = {
    "_errors": 0, "_config": 0, "dtypes": 0, "shapes": 0,
    "expr": 1, "codegen": 2, "backend": 3, "core": 4, "ops": 5,
    "transforms": 6, "testing": 6, "io": 6, "cuda": 6, "nn": 7, "optim": 7, "data": 7, "models": 7,
    "emath": 6, "fft": 6, "interpolate": 6, "linalg": 6, "signal": 6, "special": 6, "stats": 6,
    "train": 8, "cli": 8, "examples": 8, "compat": 8, "__main__": 8,
}  # fmt: skip
FILES = sorted(p for p in ROOT.rglob("*.py") if "_kernels" not in p.parts)
LINES, STATEMENTS = 450, 40


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports at run time, with the line."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for name in node.names:
                yield node.lineno, f"{node.module}.{name.name}"


def rooms_of(module: str) -> list[str]:
    parts = module.split(".")
    return parts[1:2] if parts[0] == "tensorgrad" and len(parts) > 1 else []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} has no floor"
    for line, module in imports(path):
        for there in rooms_of(module):
            if there in FLOORS and there != here:
                assert FLOORS[there] <= FLOORS[here], f"{path}:{line} imports {module}, a floor up"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_fences(path: Path) -> None:
    here, inside = room(path), path.relative_to(ROOT)
    names = {module.split(".")[0] for _, module in imports(path)}
    if here == "expr" and inside.name != "evaluate.py":
        assert "numpy" not in names, "expr is numbers and nodes; only evaluate.py computes"
    if "cuda" not in inside.parts:
        assert "cupy" not in names, "only backend/cuda imports cupy"
    if here == "core":
        assert "numpy" not in names, "core talks to arrays through a backend"
        assert not any("codegen" in module for _, module in imports(path))


PRIVATE = {"core", "ops", "backend", "expr"}
BUCKETS = ROOT / "optim" / "memory.py"  # moves arrays, and so notes writes on the tape


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_networks_and_programs_use_public_names(path: Path) -> None:
    if room(path) in ("nn", "optim", "train", "cli", "examples") and path != BUCKETS:
        for line, module in imports(path):
            assert not PRIVATE & set(rooms_of(module)), f"{path}:{line} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_budgets(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES, "split the file along a line a newcomer would guess"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            length = body[-1].end_lineno - body[0].lineno + 1 if body else 0  # type: ignore[operator]
            assert length <= STATEMENTS, f"{node.name} has {length} lines"
