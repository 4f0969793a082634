"""`tensorgrad predict`: predictions for the rows of a file, as CSV."""

from __future__ import annotations

import click

from tensorgrad.train.config import OPTIONS

DEVICE = OPTIONS["device"]


@click.command()
@click.argument("run")
@click.argument("file")
@click.option("--out", metavar="FILE.csv", help="where to write; must not exist [standard output]")
@click.option("--device", metavar=DEVICE.metavar, help="where to compute [$TG_DEVICE, or cpu]")
@click.option(
    "--layer",
    type=int,
    metavar="N",
    help="write the activations of hidden layer N, as features, instead of predictions",
)
def command(run: str, file: str, out: str | None, device: str | None, layer: int | None) -> None:
    """Predict the rows of FILE with the network of the folder RUN.

    Writes a label and the probability of each class, or the value of a regression, one line a
    row. FILE is read as for training; its target column is not needed and not read.
    """
    from tensorgrad.train.predictions import predict_file, write_csv  # NumPy is not for --help

    where = None if device is None else DEVICE.parse(device, "--device")
    write_csv(predict_file(run, file, layer, where), out)
