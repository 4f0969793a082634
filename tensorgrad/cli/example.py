"""`tensorgrad example`: the textbook cases that print their numbers."""

from __future__ import annotations

import importlib
from pathlib import Path

import click


@click.command()
@click.argument("name", required=False)
@click.option("--out", metavar="FILE", help="where the picture goes, if the example draws one")
def command(name: str | None, out: str | None) -> None:
    """Run the example NAME; without a name, list them."""
    from tensorgrad.examples import EXAMPLES  # what --help need not import

    if name is None:
        for known, module in EXAMPLES.items():
            text = (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]
            click.echo(f"{known:<10} {text}")
        return
    if name not in EXAMPLES:
        raise click.UsageError(
            f"example: got {name!r}, expected one of {', '.join(EXAMPLES)}",
            click.get_current_context(),
        )
    importlib.import_module(EXAMPLES[name]).main(None if out is None else Path(out))
