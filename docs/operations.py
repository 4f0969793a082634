"""The operations for mkdocstrings: functions at their public paths, docstrings as Markdown.

Most operations are no `def` that reading the source could find: a formula becomes one when the
package is imported. So they come from the registry, with the signatures that callers see.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe

import tensorgrad as tg

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: griffe.ParameterKind.positional_only,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.VAR_POSITIONAL: griffe.ParameterKind.var_positional,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
    inspect.Parameter.VAR_KEYWORD: griffe.ParameterKind.var_keyword,
}


_NAMED = r"^(\w+(?:, \w+)*: )"
"""How a line that explains a name begins."""


class Operations(griffe.Extension):
    """Enters the registry's operations into the package, and reads every docstring as Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn a docstring into Markdown; of the operations too, which are there before."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Put a function for every operation where users call it."""
        if pkg.path != "tensorgrad":
            return
        tg.ops.load()
        for path in ("", *tg.ops.NAMESPACES, "nn.functional"):
            module = importlib.import_module(".".join(["tensorgrad", *filter(None, [path])]))
            place = pkg[path] if path else pkg
            for name in public(module):
                if inspect.isfunction(getattr(module, name)):
                    place.set_member(name, function(name, getattr(module, name)))


def public(module: Any) -> list[str]:
    """The names that a module offers: what it lists, or else what is ours without an underscore."""
    own = [
        n for n, v in vars(module).items() if str(getattr(v, "__module__", "")).startswith("tens")
    ]
    return sorted(getattr(module, "__all__", None) or [n for n in own if not n.startswith("_")])


def function(name: str, found: Any) -> griffe.Function:
    """What mkdocstrings shows of a function: its signature without annotations, its docstring."""
    listed = inspect.signature(found).parameters.values()
    return griffe.Function(
        name,
        parameters=griffe.Parameters(*[_parameter(p) for p in listed]),
        docstring=griffe.Docstring(inspect.getdoc(found) or ""),
    )


def _parameter(p: inspect.Parameter) -> griffe.Parameter:
    default: str | None = None
    if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
        default = "()" if p.kind is p.VAR_POSITIONAL else "{}"
    elif p.default is not p.empty:
        default = getattr(p.default, "__name__", repr(p.default))
    return griffe.Parameter(p.name, kind=_KINDS[p.kind], default=default)


def markdown(text: str) -> str:
    """A docstring as Markdown: doctests fenced, `name: what it is` lines as a list, the rest plain.

    Indented paragraphs stay code; what would be a mark outside of backticks is escaped.
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{inspect.cleandoc(text)}\n```"
    if text.startswith("    "):
        return text
    escaped = "`".join(
        part if inside % 2 else re.sub(r"([*\[\]\\])", r"\\\1", part).replace("<", "&lt;")
        for inside, part in enumerate(text.split("`"))
    )
    return re.sub(_NAMED, r"- \1", escaped, flags=re.M) if re.match(_NAMED, escaped) else escaped
