"""What an option is: its type, limits, choices and help, and how a text or a value is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorgrad as tg

Place = Callable[[str], str]


class ConfigError(tg.TensorgradError, ValueError):
    """An option, a key or a folder of a training run that cannot be used."""


@dataclass(frozen=True)
class Option:
    """The rules of one option; `kind` names its type, `example` is what a message suggests.

    choices: the texts that are allowed; cuda:N and MODULE:FUNCTION stand for all of their form
    low, high: closed bounds of a number; over, under: open ones
    only: (name of another option, its values): the option means nothing beside other values
    """

    kind: str
    help: str
    example: Any
    group: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    over: float = -math.inf
    under: float = math.inf
    only: tuple[str, tuple[str, ...]] | None = None

    @property
    def metavar(self) -> str:
        """How the value is shown in the help."""
        return "|".join(self.choices) if self.choices else _KINDS[self.kind].metavar

    @property
    def rule(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        bounds = [
            f"{sign} {bound:g}"
            for sign, bound in (
                (">=", self.low),
                (">", self.over),
                ("<=", self.high),
                ("<", self.under),
            )
            if math.isfinite(bound)
        ]
        return " ".join([_KINDS[self.kind].rule, " and ".join(bounds)]).strip()

    def parse(self, text: str, place: str) -> Any:
        """The value that a text on the command line means."""
        try:
            return self.check(_KINDS[self.kind].parse(text), place, shown=text)
        except ValueError as cause:
            if isinstance(cause, ConfigError):
                raise
            raise self.refusal(text, place) from cause

    def check(self, value: Any, place: str, shown: Any = None) -> Any:
        """The value in its own type, or a `ConfigError` that names the place."""
        shown = value if shown is None else shown
        kind = _KINDS[self.kind]
        if not kind.fits(value):
            raise self.refusal(shown, place)
        value = kind.cast(value)
        if self.choices and not any(_stands_for(one, value) for one in self.choices):
            raise self.refusal(shown, place)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, (int, float)) and not isinstance(number, bool):
                inside = self.low <= number <= self.high and self.over < number < self.under
                if not (inside and math.isfinite(number)):
                    raise self.refusal(shown, place)
        return value

    def refusal(self, shown: Any, place: str) -> ConfigError:
        """The error for a value that breaks the rule."""
        text = str(shown)
        alike = [one for one in self.choices if (":" in one) == (":" in text)]
        near = nearest(text, alike or self.choices) or (alike[0] if ":" in text and alike else None)
        near = _FORMS[near].example if near in _FORMS else near or self.example
        return ConfigError(f"{place}: got {_text(shown)}, expected {self.rule}; try {_text(near)}")


def option(default: Any, kind: str, help: str, example: Any = None, **rules: Any) -> Any:
    """A dataclass field with an `Option` in its metadata."""
    shown = default if example is None else example
    return field(default=default, metadata={"option": Option(kind, help, shown, **rules)})


@dataclass(frozen=True)
class _Form:
    """A choice that stands for every text of a form."""

    pattern: str
    example: str


_FORMS = {
    "cuda:N": _Form(r"cuda:\d+", "cuda:0"),
    "MODULE:FUNCTION": _Form(r"[^\W\d][\w.]*:[^\W\d]\w*", "mine:loss"),
}


def _stands_for(choice: str, value: str) -> bool:
    if choice in _FORMS:
        return re.fullmatch(_FORMS[choice].pattern, value) is not None
    return choice == value


def nearest(name: str, names: Sequence[str]) -> str | None:
    """The name most like `name`, or None."""
    import difflib  # costs 3 ms, and only an error needs it

    found = difflib.get_close_matches(name, names, n=1)
    return found[0] if found else None


def as_text(value: Any) -> str:
    """A value as the command line takes it: (128, 64) as "128-64", the rest as `str`."""
    if not isinstance(value, tuple):
        return str(value)
    separator = "-" if all(isinstance(one, int) for one in value) else ","
    return separator.join(str(one) for one in value) or "none"


def _text(value: Any) -> str:
    return as_text(value) if isinstance(value, (tuple, int, float)) else repr(value)


@dataclass(frozen=True)
class _Kind:
    rule: str
    metavar: str
    parse: Callable[[str], Any]
    fits: Callable[[Any], bool]
    cast: Callable[[Any], Any]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _each(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(fits(one) for one in value)


def _integers(text: str) -> tuple[int, ...]:
    bare = text.strip()
    if bare.lower() in ("none", ""):
        return ()
    return tuple(int(part) for part in re.split(r"\s*[-,\s]\s*", bare))


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in re.split(r"\s*[/,\s]\s*", text.strip()))


_KINDS = {
    "int": _Kind("a whole number", "N", int, _whole, int),
    "float": _Kind("a number", "X", float, _real, float),
    "text": _Kind("a text", "TEXT", str, lambda value: isinstance(value, str), str),
    "bool": _Kind(
        "true or false",
        "",
        lambda text: {"true": True, "false": False}.get(text, text),
        lambda value: isinstance(value, bool),
        bool,
    ),
    "ints": _Kind("whole numbers", "N-N-...", _integers, _each(_whole), tuple),
    "floats": _Kind(
        "numbers", "X,X,...", _floats, _each(_real), lambda value: tuple(map(float, value))
    ),
}
