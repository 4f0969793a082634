"""`tensorgrad train`: the options of `Config`, as flags."""

from __future__ import annotations

from typing import Any

import click

from tensorgrad.train.config import (
    DEFAULTS,
    OPTIONS,
    Config,
    check_each,
    check_together,
)
from tensorgrad.train.configfile import read_toml
from tensorgrad.train.options import ConfigError, Option, as_text

_WIDEST = 24  # characters of choices that stand beside a flag; longer ones go into its help
_PRESENTATION = ("config", "resume", "quiet", "json")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


class Flag(click.Option):
    """One option of `Config`; its value stays text, so that `Option` says what is wrong with it."""

    def __init__(self, name: str, rules: Option) -> None:
        self.group = rules.group
        default = DEFAULTS[name]
        shown = "" if default is None or rules.kind == "bool" else f" [{as_text(default)}]"
        if rules.kind == "bool":
            text = f"{_flag(name)}/--no-{_flag(name)[2:]}"
            super().__init__([text], help=rules.help, default=None)
        else:
            metavar, listed = rules.metavar, ""
            if len(metavar) > _WIDEST:
                metavar, listed = "NAME", f" ({', '.join(rules.choices)})"
            super().__init__([_flag(name)], help=rules.help + listed + shown, metavar=metavar)


class TrainCommand(click.Command):
    """A command whose help shows its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section a group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        for param in options:
            record = param.get_help_record(ctx)
            if record:
                groups.setdefault(getattr(param, "group", "Run"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def _train(data: str | None, **given: Any) -> int:
    presentation = {name: given.pop(name) for name in _PRESENTATION}
    changes = {name: value for name, value in given.items() if value is not None}
    if data is not None:
        changes["data"] = data
    values = _checked(changes)

    from tensorgrad.train import job  # NumPy's share of the start is not for --help
    from tensorgrad.train.report import reporter

    report = reporter(presentation["quiet"], presentation["json"])
    folder = presentation["resume"]
    if folder is None:
        found = job.run(_config(presentation["config"], values), report)
    else:
        if presentation["config"] is not None:
            raise ConfigError(
                f"--config: got {presentation['config']} beside --resume, expected one of them; "
                "try --resume alone, it has its own config.toml"
            )
        found = job.resume(folder, values, report)
    return 128 + found.signal if found.signal else 0


def _checked(texts: dict[str, Any]) -> dict[str, Any]:
    """The given flags in their types."""
    return {
        name: OPTIONS[name].parse(value, _place(name)) if isinstance(value, str) else value
        for name, value in texts.items()
    }


def _place(name: str) -> str:
    return "DATA" if name == "data" else _flag(name)


def _config(path: str | None, flags: dict[str, Any]) -> Config:
    """Defaults, then the file, then the flags."""
    in_file = {} if path is None else read_toml(path)
    values = {**in_file, **flags}
    if "data" not in values:
        raise click.UsageError(
            "DATA: got nothing to train on, expected digits, FILE.csv, FILE.npz or a folder of "
            "MNIST-format files; try tensorgrad train digits",
            click.get_current_context(),
        )

    def place(name: str) -> str:
        in_flags = name in flags or name not in in_file
        return _place(name) if in_flags else f"{path}, key {name!r}"

    check_together(check_each(values, place), place)
    return Config(**values)


command = TrainCommand(
    "train",
    help=(
        "Train a network on DATA: digits, a toy set (gauss, circle, xor, spiral, plane, "
        "multi-gauss), FILE.csv, FILE.npz or a folder of MNIST-format files.\n\n"
        "Writes a run folder with model.safetensors (best weights), config.toml, metrics.jsonl "
        "and curves.svg. Ctrl-C saves the run; --resume goes on with it."
    ),
    callback=_train,
    params=[
        click.Argument(["data"], required=False, metavar="DATA"),
        *(Flag(name, rules) for name, rules in OPTIONS.items() if name != "data"),
        click.Option(["--config"], metavar="FILE.toml", help="options from a file; flags win"),
        click.Option(["--resume"], metavar="RUN", help="go on with an interrupted run"),
        click.Option(["--quiet"], is_flag=True, help="only the result"),
        click.Option(["--json"], is_flag=True, help="JSON lines: one an epoch and the result"),
    ],
)
