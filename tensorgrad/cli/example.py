"""`tensorgrad example`: the textbook cases that print their numbers."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import click

from tensorgrad.train.config import OPTIONS

DEVICE = OPTIONS["device"]


@click.command()
@click.argument("name", required=False)
@click.option("--out", metavar="FILE", help="where the picture goes, if the example draws one")
@click.option("--device", metavar=DEVICE.metavar, help="where to compute [$TG_DEVICE, or cpu]")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="repeat it from N seeds (cnn)")
def command(name: str | None, out: str | None, device: str | None, seeds: int | None) -> None:
    """Run the example NAME; without a name, list them."""
    from tensorgrad.examples import EXAMPLES  # what --help need not import

    if name is None:
        width = max(map(len, EXAMPLES))
        for known, module in EXAMPLES.items():
            text = (importlib.import_module(module).__doc__ or "").strip().splitlines()[0]
            click.echo(f"{known:<{width}} {text}")
        return
    if name not in EXAMPLES:
        raise click.UsageError(
            f"example: got {name!r}, expected one of {', '.join(EXAMPLES)}",
            click.get_current_context(),
        )
    main = importlib.import_module(EXAMPLES[name]).main
    options: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    if options and "seeds" not in inspect.signature(main).parameters:
        raise click.UsageError(
            f"example: got --seeds {seeds} for {name}, expected it for cnn alone; try without it",
            click.get_current_context(),
        )
    from tensorgrad.examples._show import target
    from tensorgrad.train.place import computing

    asked = None if device is None else DEVICE.parse(device, "--device")
    file = None if out is None else Path(out)
    if file is not None:
        target(name, file)  # what cannot be written is an error before minutes of training
    with computing(asked) as where:
        main(file, where, **options)
