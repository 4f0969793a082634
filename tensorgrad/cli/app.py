"""The group of commands; a command is imported when it is called."""

from __future__ import annotations

import importlib

import click

COMMANDS = {
    "train": "Train a network on a data set.",
    "predict": "Predict the rows of a file with a trained network.",
    "example": "Run one of the textbook examples.",
    "check": "Check the derivatives of a function against differences.",
    "info": "Show versions, devices and what is missing.",
}


class Lazy(click.Group):
    """Commands by name; each is `command` in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"tensorgrad.cli.{cmd_name}")
        found: click.Command = module.command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is refused with all that there are."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(
                f"tensorgrad: got command {args[0]!r}, expected one of {', '.join(COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List them without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        import tensorgrad as tg  # costs what --help need not pay

        click.echo(f"tensorgrad {tg.__version__}")
        ctx.exit()


@click.group(
    cls=Lazy,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version)
@click.pass_context
def app(ctx: click.Context) -> None:
    """Gradients for NumPy arrays: train networks, and see how they learn."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
