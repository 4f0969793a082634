"""Type stubs generated from the registry: `python tests/stubs.py --write` refreshes them."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import tensorgrad as tg
from tensorgrad.core import registry
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops import methods

ROOT = Path(tg.__file__).parent
HEADER = '"""Generated from the registry by tests/stubs.py; do not edit."""\n\n'
KNOWN = re.compile(r"(Any|Tensor|int|float|bool|str|None|tuple|list|dict|\.\.\.|[\[\], |])+")


def annotation(value: Any, default: str) -> str:
    """An annotation that the stub can hold: names of its own imports, else `default`."""
    if value is inspect.Signature.empty:
        return default
    text = value if isinstance(value, str) else getattr(value, "__name__", str(value))
    return text if KNOWN.fullmatch(text) else "Any"


def parameters(function: Callable[..., Any], method: bool) -> list[str]:
    """The parameters of a function as the stub writes them."""
    found: list[str] = []
    listed = list(inspect.signature(function).parameters.values())
    star = any(p.kind is p.VAR_POSITIONAL for p in listed)
    for number, p in enumerate(listed):
        if method and number == 0:
            found.append("self")
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            found.append("*")
            star = True
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = " = ..." if p.default is not p.empty else ""
        found.append(f"{mark}{p.name}: {annotation(p.annotation, 'Any')}{default}")
        last = number + 1 == len(listed) or listed[number + 1].kind is not p.POSITIONAL_ONLY
        if p.kind is p.POSITIONAL_ONLY and last:
            found.append("/")
    if method and "/" in found[1:2]:
        found.remove("/")
    return found


def define(name: str, function: Callable[..., Any], method: bool = False) -> str:
    """One `def` line."""
    given = inspect.signature(function).return_annotation
    result = annotation(given, "Any")
    known = {o.function for o in OPERATIONS.values()}
    if result == "Any" and function in known and given in ("Any", Any, inspect.Signature.empty):
        result = "Tensor"
    listed = ", ".join(parameters(function, method))
    return f"def {name}({listed}) -> {result}: ..."


def tensor_stub() -> str:
    """core/tensor.pyi: the class with every method, and the module's functions."""
    import tensorgrad.core.tensor as module

    lines = [
        HEADER + "from typing import Any\n\nfrom tensorgrad.core.tape import Node\n\nclass Tensor:",
        "    data: Any",
        "    node: Node | None",
        "    level: int",
        "    __array_priority__: int",
    ]
    for name, value in sorted(vars(Tensor).items()):
        if isinstance(value, property):
            source = OPERATIONS.get(methods.PROPERTIES.get(name, ""))
            kind = "Tensor" if source else annotation(
                inspect.signature(value.fget).return_annotation, "Any"
            )  # fmt: skip
            lines += ["    @property", f"    def {name}(self) -> {kind}: ..."]
            if value.fset is not None:
                lines += [f"    @{name}.setter", f"    def {name}(self, value: Any) -> None: ..."]
        elif inspect.isfunction(value):
            lines.append("    " + define(name, value, method=True))
    lines += ["", "class Payload:", "    readable: bool", "    inner: Tensor", "    level: int"]
    lines += ["    @property", "    def shape(self) -> tuple[int, ...]: ..."]
    lines += [
        "    @property",
        "    def dtype(self) -> Any: ...",
        "    def constant(self) -> Tensor: ...",
        "",
    ]
    for name in ("make", "rebuilt", "name_of"):
        if hasattr(module, name):
            lines.append(define(name, getattr(module, name)))
    return "\n".join(lines) + "\n"


def package_stub() -> str:
    """__init__.pyi: the public names, with the operations' signatures."""
    source = (ROOT / "__init__.py").read_text()
    imports = re.findall(r"^from (tensorgrad[\w.]*) import (?:\(([^)]*)\)|([^\n]*))", source, re.M)
    lines = [HEADER + "import builtins\nfrom typing import Any\n"]
    lines += [f"from tensorgrad import {package} as {package}" for package in tg.PACKAGES]
    lines += [
        f"from {module} import {name} as {name}"
        for module, many, few in imports
        for name in re.findall(r"\w+", many or few)
        if name in tg.__all__
    ]
    lines += ["", "__version__: str", "bfloat16: Any", ""]
    for name in sorted(tg.__all__):
        value = getattr(tg, name)
        if inspect.isfunction(value) and f" {name} as " not in "\n".join(lines):
            lines.append(
                re.sub(r"\bbool\b", "builtins.bool", define(name, value))
            )  # tg.bool is a dtype
    return "\n".join(lines) + "\n"


def namespace_stub(namespace: str) -> str:
    """linalg.pyi and its like: the operations of a namespace."""
    module = importlib.import_module(f"tensorgrad.{namespace}")
    names = registry.names_in(namespace)
    lines = [HEADER + "from typing import Any\n\nfrom tensorgrad.core.tensor import Tensor\n"]
    lines += [define(name, names[name]) for name in sorted(names)]
    lines += [f"{name}: Any" for name in sorted(set(module.__all__) - set(names))]
    return "\n".join(lines) + "\n"


STUBS = {
    ROOT / "core" / "tensor.pyi": tensor_stub,
    ROOT / "__init__.pyi": package_stub,
    **{ROOT / f"{n}.pyi": partial(namespace_stub, n) for n in tg.ops.NAMESPACES},
}


def formatted(text: str) -> str:
    """The text as the formatter leaves it."""
    import subprocess

    ruff = [sys.executable, "-m", "ruff"]
    config = ["--config", str(ROOT.parent / "pyproject.toml"), "--stdin-filename", "stub.pyi", "-"]
    for command in (["check", "--fix", "-q", "--select", "I,UP,F401"], ["format", "-q"]):
        text = subprocess.run(
            [*ruff, *command, *config], input=text, capture_output=True, text=True, check=False
        ).stdout
    return text


if __name__ == "__main__":
    for path, stub in STUBS.items():
        if "--write" in sys.argv:
            path.write_text(formatted(stub()))
        print(path.relative_to(ROOT.parent), "written" if "--write" in sys.argv else "")
