"""The operations for mkdocstrings: functions at their public paths, docstrings as Markdown.

Most operations are no `def` that reading the source could find: a formula becomes one when the
package is imported. So they come from the registry, with the signatures that callers see.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import griffe

import tensorgrad as tg
from tensorgrad.core import registry

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
        """Turn the docstring of an object found in the source into Markdown."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Put a function for every operation where users call it."""
        if pkg.path != "tensorgrad":
            return
        tg.ops.load()
        for name, operation in registry.OPERATIONS.items():
            if "." not in name:
                pkg.set_member(name, function(name, operation.function))
        for namespace in tg.ops.NAMESPACES:
            for name, operation in registry.names_in(namespace).items():
                pkg[namespace].set_member(name, function(name, operation))


def function(name: str, found: Any) -> griffe.Function:
    """What mkdocstrings shows of a function: its signature without annotations, its docstring."""
    listed = inspect.signature(found).parameters.values()
    return griffe.Function(
        name,
        parameters=griffe.Parameters(*[_parameter(p) for p in listed]),
        docstring=griffe.Docstring(markdown(inspect.getdoc(found) or "")),
    )


def _parameter(p: inspect.Parameter) -> griffe.Parameter:
    default = {p.VAR_POSITIONAL: "()", p.VAR_KEYWORD: "{}"}.get(p.kind)
    if p.default is not p.empty:
        default = getattr(p.default, "__name__", repr(p.default))
    return griffe.Parameter(p.name, kind=_KINDS[p.kind], default=default)


def markdown(text: str) -> str:
    """A docstring as Markdown: doctests fenced, `name: what it is` lines as a list, the rest plain.

    >>> print(markdown("a * b.\\n\\naxis: where\\n\\n>>> 1 + 1\\n2"))
    a \\* b.
    <BLANKLINE>
    - axis: where
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(text))
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>>"):
        return f"```pycon\n{inspect.cleandoc(text)}\n```"
    if text.startswith("    "):
        return text
    escaped = "`".join(
        part if inside % 2 else re.sub(r"([*<\[\]\\|])", r"\\\1", part)
        for inside, part in enumerate(text.split("`"))
    )
    return re.sub(_NAMED, r"- \1", escaped, flags=re.M) if re.match(_NAMED, escaped) else escaped
