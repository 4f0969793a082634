"""The pages that follow from the registry, made anew whenever the site is built.

A family of operations is a page of its own, a namespace (`tg.linalg` ...) one with a table per
family; what NumPy's functions do is one more. A new operation is on the site without being listed.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorgrad as tg
from tensorgrad import transforms
from tensorgrad.core import registry
from tensorgrad.core.registry import OPERATIONS, Operation
from tensorgrad.ops import methods as methods_of
from tensorgrad.ops.surface import Row, surface


def _home(name: str) -> str:
    """The module in which the tool that reads the sources finds a public class."""
    late = tg.LATE.get(name)
    return "tensorgrad" if late is None else f"tensorgrad.transforms.{late}"


REFERENCE = {
    "Transforms": tuple(f"tensorgrad.{name}" for name in transforms.__all__ if name in tg.__all__),
    "Modes and errors": (
        *("tensorgrad.device", "tensorgrad.no_grad", "tensorgrad.enable_grad"),
        *("tensorgrad.set_default_dtype", "tensorgrad.set_num_threads"),
        *(f"{_home(name)}.{name}" for name in tg.__all__ if name.endswith("Error")),
        "tensorgrad.NotDifferentiable",
    ),
    "Random numbers": tuple(
        f"tensorgrad.{name}"
        for name in "manual_seed Generator rand randn uniform normal integers permutation".split()
    ),
}
"""Pages of what is no operation, by their title."""

PACKAGES = ("nn", "nn.functional", "nn.init", "optim", "data", "io", "testing", "cuda")
"""Packages whose public names are a page each."""

FAMILIES = "families.md"
"""The page that lists the others."""

HOWS = {
    "differentiable": (
        "Differentiable",
        "The result is on the tape, and has derivatives of the orders given; tests check those.",
    ),
    "writes": (
        "Writes into its argument",
        "Into a tensor off the tape; what is recorded is not written over, it raises.",
    ),
    "constant": (
        "Constant",
        "The result does not depend on the values, or is piecewise constant in them: it is the "
        "same on the tape and off it, and nothing flows through it.",
    ),
    "refused": (
        "Refused",
        "Raises `NotDifferentiable` for a tensor that needs a gradient, and works for any other.",
    ),
}
"""What a function of NumPy can do: the heading, and what it means."""


# -- tables ------------------------------------------------------------------------------------


def cell(text: str) -> str:
    """A line of text for a cell of a table, outside of code."""
    for mark in "\\*_<|[]":
        text = text.replace(mark, f"\\{mark}" if mark != "<" else "&lt;")
    return text


def prose(text: str) -> str:
    """`cell`, with code between backticks left as it is."""
    parts = text.split("`")
    return "`".join(p.replace("|", "\\|") if k % 2 else cell(p) for k, p in enumerate(parts))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown, without the columns in which nothing stands."""
    names, cells = list(head), [list(row) for row in rows]
    kept = [k for k in range(len(names)) if any(row[k] for row in cells)]
    lines = [[line[k] for k in kept] for line in (names, ["---"] * len(names), *cells)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- families ----------------------------------------------------------------------------------


def home(operation: Operation) -> str:
    """The module that an operation stands in; of a formula, the one that has its samples."""
    module: str = operation.function.__module__
    return module if module in sys.modules and module != "tensorgrad" else _of_samples(operation)


def _of_samples(operation: Operation) -> str:
    return str(operation.samples.__module__)


def families() -> dict[str, list[str]]:
    """The names of the operations by their family's module, both in order.

    Those that stand in `tg.nn.functional` alone are on its page.
    """
    tg.ops.load()
    found: dict[str, list[str]] = {}
    for name, operation in OPERATIONS.items():
        if not name.startswith("nn."):
            found.setdefault(home(operation), []).append(name)
    return {module: sorted(names) for module, names in sorted(found.items())}


def page_of(module: str) -> str:
    """The page of a family: its own, or that of its namespace."""
    _, _, name, *_ = module.split(".")
    return f"operations/{name}.md"


def title(module: str) -> str:
    """The first sentence of a family's docstring, without its full stop."""
    text = importlib.import_module(module).__doc__ or module
    return text.strip().split("\n\n")[0].replace("\n", " ").rstrip(".")


def link(name: str, base: str = "") -> str:
    """An operation as a link to its description; `base` leads to the folder of operations."""
    page = page_of(home(OPERATIONS[name])).removeprefix("operations/")
    return f"[`tg.{name}`]({base}{page}#tensorgrad.{name})"


def operations_table(names: Iterable[str]) -> str:
    """Operations with NumPy's names for them, their methods, and their orders of derivative."""
    rows = []
    for name in names:
        operation = OPERATIONS[name]
        numpy = [n if n.startswith("scipy.") else f"np.{n}" for n in operation.numpy]
        rows.append((
            link(name),
            ", ".join(f"`{n}`" for n in numpy),
            ", ".join(f"`{n}`" for n in operation.methods),
            str(operation.orders) if operation.orders else "constant",
            prose(operation.doc),
        ))  # fmt: skip
    return table(("operation", "NumPy, SciPy", "methods", "orders", "what it is"), rows)


def described(names: Iterable[str], *options: str) -> str:
    """The directives that mkdocstrings turns into descriptions."""
    below = "".join(f"      {option}\n" for option in options)
    return "\n".join(f"::: {n}\n" + (f"    options:\n{below}" if below else "") for n in names)


def family_page(module: str, names: list[str]) -> str:
    """The page of one family of the package itself."""
    paths = (f"tensorgrad.{name}" for name in names)
    return f"# {prose(title(module))}\n\n{operations_table(names)}\n{described(paths)}"


def namespace_page(namespace: str, parts: dict[str, list[str]]) -> str:
    """The page of a namespace: a table for each family, then every operation."""
    package = importlib.import_module(f"tensorgrad.{namespace}")
    text = [f"# tg.{namespace}\n\n{prose((package.__doc__ or '').strip())}\n"]
    for module, names in parts.items():
        text.append(f"**{prose(title(module))}.**\n\n{operations_table(names)}")
    second = registry.SECOND.get(namespace, {})
    if second:
        rows = [(f"`tg.{namespace}.{name}`", link(of)) for name, of in sorted(second.items())]
        text.append("Under a second name:\n\n" + table(("here", "the same as"), rows))
    listed = [n for names in parts.values() for n in names]
    known = {n.removeprefix(f"{namespace}.") for n in listed} | set(second)
    objects = {n: getattr(package, n) for n in package.__all__ if n not in known}
    if objects:
        rows = [(f"`tg.{namespace}.{n}`", prose(first(v))) for n, v in objects.items()]
        text.append("Objects:\n\n" + table(("name", "what it is"), rows))
    kinds = {v if inspect.isclass(v) else type(v) for v in objects.values()}
    paths = [f"{kind.__module__}.{kind.__qualname__}" for kind in kinds]
    text.append(described(f"tensorgrad.{name}" for name in listed))
    text.append(described(sorted(paths), "merge_init_into_class: false"))
    return "\n".join(text)


def first(value: Any) -> str:
    """The first line of a docstring."""
    return (value.__doc__ or "").strip().split("\n")[0]


def operations_pages() -> dict[str, str]:
    """A page per family and namespace, and one that lists them."""
    found: dict[str, str] = {}
    spaces: dict[str, dict[str, list[str]]] = {n: {} for n in sorted(tg.ops.NAMESPACES)}
    rows = []
    for module, names in families().items():
        space = module.split(".")[2]
        if space in spaces:
            spaces[space][module] = names
        else:
            found[page_of(module)] = family_page(module, names)
            page = page_of(module).removeprefix("operations/")
            listed = ", ".join(link(name) for name in names)
            rows.append((f"[{prose(title(module))}]({page})", listed))
    for space, parts in spaces.items():
        found[f"operations/{space}.md"] = namespace_page(space, parts)
        package = importlib.import_module(f"tensorgrad.{space}")
        listed = ", ".join(link(name) for names in parts.values() for name in names)
        rows.append((f"[`tg.{space}`]({space}.md): {prose(first(package))}", listed))
    count = len(OPERATIONS)
    text = f"# Operations\n\n{count} operations, each with tests made from its own entry.\n\n"
    return {f"operations/{FAMILIES}": text + table(("family", "operations"), rows), **found}


# -- NumPy -------------------------------------------------------------------------------------


def numpy_page() -> str:
    """What every function of NumPy's own lists does with a tensor that needs a gradient."""
    import numpy as np

    rows = surface()
    text = [
        "# NumPy's functions\n\nEvery ufunc and array function that NumPy lets others override "
        f"(NumPy {np.__version__}, {len(rows)} functions), and what it does with a tensor that "
        "needs a gradient. None returns an object array, a bare array, or a tensor that is cut off "
        "its graph.\n"
    ]
    for how, (heading, meaning) in HOWS.items():
        chosen = [row for row in rows if row.how == how]
        text.append(f"## {heading}: {len(chosen)}\n\n{meaning}\n\n{_rows(how, chosen)}")
    return "\n".join(text)


def _rows(how: str, rows: list[Row]) -> str:
    if how == "differentiable":
        cells = [(f"`np.{r.name}`", link(r.operation, "operations/"), str(r.orders)) for r in rows]
        return table(("function", "operation", "orders"), cells)
    if how == "refused":
        reasons = [(f"`np.{r.name}`", prose(r.reason)) for r in rows]
        return table(("function", "why, and what instead"), reasons)
    return table(("function",), [(f"`np.{r.name}`",) for r in rows])


# -- the rest of the package -------------------------------------------------------------------


def reference_pages() -> dict[str, str]:
    """Tensor, the transforms, and the packages."""
    found = {
        f"reference/{heading.split()[0].lower()}.md": f"# {heading}\n\n{described(names)}"
        for heading, names in REFERENCE.items()
    }
    found["reference/tensor.md"] = tensor_page()
    for name in PACKAGES:
        package = importlib.import_module(f"tensorgrad.{name}")
        paths = (f"tensorgrad.{name}.{member}" for member in public(package))
        lead = prose(first(package))
        found[f"reference/{name}.md"] = f"# tg.{name}\n\n{lead}\n\n{described(paths)}"
    return found


def tensor_page() -> str:
    """Tensor: its methods that are operations, and the attributes and methods of its own."""
    known = {o.function: name for name, o in OPERATIONS.items()}
    own, methods = [], []
    for name, value in sorted(vars(tg.Tensor).items()):
        called = known.get(value) if inspect.isfunction(value) else methods_of.PROPERTIES.get(name)
        if called and not name.startswith("_"):
            linked = link(called, "../operations/")
            methods.append((f"`x.{name}`", linked, prose(OPERATIONS[called].doc)))
        elif not name.startswith("_") and inspect.isroutine(value) | isinstance(value, property):
            own.append((f"`x.{name}`", prose(first(value))))
    head = ("name", "what it is")
    return (
        f"# Tensor\n\n{prose(inspect.getdoc(tg.Tensor) or '')}\n\n"
        f"## Attributes and methods of its own\n\n{table(head, [r for r in own if r[1]])}\n"
        f"## Methods that are operations\n\n{table(('name', 'operation', head[1]), methods)}"
    )


def public(package: Any) -> list[str]:
    """The functions and classes that a package offers: what it lists, or else what is ours."""
    own = [
        n for n, v in vars(package).items() if str(getattr(v, "__module__", "")).startswith("tens")
    ]
    listed = getattr(package, "__all__", None) or [n for n in own if not n.startswith("_")]
    return sorted(n for n in listed if not inspect.ismodule(getattr(package, n)))


def pages() -> dict[str, str]:
    """Every page that is made, by its path."""
    return {**operations_pages(), "numpy.md": numpy_page(), **reference_pages()}


# -- what MkDocs calls -------------------------------------------------------------------------

PAGES: dict[str, str] = {}
FIGURES = "<!-- figures of the README -->"


def on_config(config: Any) -> Any:
    """Make the pages, and put them behind those written by hand."""
    PAGES.update(pages())
    for folder, heading in (("operations", "Operations"), ("reference", "Reference")):
        paths = [path for path in PAGES if path.startswith(f"{folder}/")]
        config.nav.append({heading: [{label(path): path} for path in paths]})
    config.nav.insert(-2, {"NumPy's functions": "numpy.md"})
    return config


def label(path: str) -> str:
    """What the navigation calls a page: the name of its file or package, or its heading."""
    name = path.split("/")[-1].removesuffix(".md")
    heading = PAGES[path].split("\n")[0].removeprefix("# ").replace("\\", "")
    short = heading if heading.startswith("tg.") or path.startswith("reference/") else name
    return "all families" if path.endswith(f"/{FAMILIES}") else short


def on_files(files: Any, config: Any) -> Any:
    """Hand the pages to MkDocs as files."""
    from mkdocs.structure.files import File  # here: the tests read these pages without MkDocs

    for path, text in PAGES.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the README's figures where a page asks for them."""
    if FIGURES not in markdown:
        return markdown
    text = (Path(__file__).parents[1] / "README.md").read_text()
    found = re.search(r"^## Figures\n.*?(?=^## )", text, re.M | re.S)
    if found is None:
        raise ValueError("README.md: got no section of figures, expected one; try `## Figures`")
    return markdown.replace(FIGURES, found[0])
