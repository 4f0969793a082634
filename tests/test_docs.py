"""The documentation site: its examples run, its conventions hold, its pages miss no operation."""

from __future__ import annotations

import doctest
import importlib.util
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import place
import pytest

import tensorgrad as tg
from tensorgrad.core import registry
from tensorgrad.ops.surface import surface

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {path.stem: path.read_text() for path in sorted((DOCS / "pages").glob("*.md"))}
ROW = re.compile(r"^\| (.+) \| `(.+)` \| `(.+)` \|$", re.M)
BLOCK = re.compile(r"^```(python|pycon)\n(.*?)^```$", re.M | re.S)
MACHINES = {"gpu": place.machine}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def run_doctest(text: str, names: dict[str, Any], page: str) -> None:
    """Type in what follows the prompts, and hold every answer and error text to the page's."""
    test = doctest.DocTestParser().get_doctest(text, {}, page, f"{page}.md", 0)
    test.globs = names
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append, clear_globs=False)
    assert not said, "".join(said)


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_run_in_order(page: str) -> None:
    names: dict[str, Any] = {}
    with MACHINES.get(page, nullcontext)():
        for kind, text in BLOCK.findall(PAGES[page]):
            if kind == "pycon":
                run_doctest(text, names, page)
            else:
                exec(compile(text, f"{page}.md", "exec"), names)


@pytest.mark.parametrize(
    ("rule", "code", "value"), ROW.findall(PAGES["conventions"]), ids=lambda text: text[:30]
)
def test_a_convention_holds(rule: str, code: str, value: str) -> None:
    names = {"np": np, "tg": tg}
    got, want = eval(code, names), eval(value, names)
    if isinstance(want, np.dtype):
        assert got == want, rule
    else:
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=1e-14)


def test_the_conventions_are_a_row_each() -> None:
    tables = [line for line in PAGES["conventions"].splitlines() if line.startswith("| ")]
    heads = sum(line.startswith(("| rule", "| ---")) for line in tables)
    assert len(ROW.findall(PAGES["conventions"])) == len(tables) - heads > 25


# -- the pages that are made -------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The pages made from the registry, by their path."""
    spec = importlib.util.spec_from_file_location("docs_hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    found: dict[str, str] = hooks.pages()
    return found


def test_every_operation_is_described_once(made: dict[str, str]) -> None:
    tg.ops.load()
    text = "".join(text for path, text in made.items() if path.startswith("operations/"))
    described = re.findall(r"^::: tensorgrad\.(\S+)$", text, re.M)
    operations = [name for name in described if name in registry.OPERATIONS]
    page = made["reference/nn.functional.md"]
    layers = re.findall(r"^::: tensorgrad\.nn\.functional\.(\S+)$", page, re.M)
    operations += [f"nn.{name}" for name in layers if f"nn.{name}" in registry.OPERATIONS]
    assert sorted(operations) == sorted(registry.OPERATIONS)


def test_every_link_between_pages_leads_to_what_it_names(made: dict[str, str]) -> None:
    for path, text in made.items():
        for target, name in re.findall(r"\]\(([\w./]+\.md)#tensorgrad\.([\w.]+)\)", text):
            page = (Path("/") / path).parent / target
            listed = made[str(page.resolve().relative_to("/"))]
            assert f"::: tensorgrad.{name}\n" in listed, (path, target, name)


def test_the_table_has_every_function_of_numpys_lists(made: dict[str, str]) -> None:
    rows = re.findall(r"^\| `np\.(\S+)` \|", made["numpy.md"], re.M)
    assert sorted(rows) == sorted(row.name for row in surface())


def test_no_cell_of_a_table_is_empty_or_split(made: dict[str, str]) -> None:
    for path, text in made.items():
        tables = re.findall(r"^\| .+ \|\n\| --- .*\n(?:\|.*\n)*", text, re.M)
        for lines in (table.splitlines() for table in tables):
            columns = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
            assert len(columns) == 1, (path, lines[0])
            assert all(line.split("|")[1].strip() for line in lines), path
