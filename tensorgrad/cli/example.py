"""`tensorgrad example`: the textbook cases that print their numbers."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from tensorgrad.train.config import OPTIONS

DEVICE = OPTIONS["device"]


@click.command()
@click.argument("name", required=False)
@click.option("--out", metavar="FILE", help="where the picture goes, if the example draws one")
@click.option("--device", metavar=DEVICE.metavar, help="where to compute [$TG_DEVICE, or cpu]")
def command(name: str | None, out: str | None, device: str | None) -> None:
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
    from tensorgrad.train.place import computing

    asked = None if device is None else DEVICE.parse(device, "--device")
    with computing(asked) as where:
        importlib.import_module(EXAMPLES[name]).main(None if out is None else Path(out), where)
