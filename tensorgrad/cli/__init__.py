"""The command line: `tensorgrad train | predict | example | info`."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["main"]

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 2 for input that cannot be used, 130 for Ctrl-C.

    Input that cannot be used gives one line on standard error; an error in tensorgrad itself
    gives its traceback.
    """
    try:
        _run(args)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)


def _run(args: Sequence[str] | None) -> NoReturn:
    import click

    import tensorgrad as tg
    from tensorgrad.cli.app import app
    from tensorgrad.io import WriteError
    from tensorgrad.train.options import ConfigError

    bad_input = (tg.DataError, tg.DeviceError, WriteError, ConfigError)
    try:
        status = app.main(args, prog_name="tensorgrad", standalone_mode=False)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "tensorgrad"
        _fail(f"{error.format_message().rstrip('.')}; try {path} --help", BAD_INPUT)
    except bad_input as error:
        _fail(str(error), BAD_INPUT)
    except ArithmeticError as error:
        if not isinstance(error, tg.TensorgradError):
            raise
        _fail(str(error), FAILED)  # a run that diverged: nothing was wrong with the input
    except MemoryError as error:
        if isinstance(error, tg.TensorgradError):  # of a GPU, with the list of what lies there
            print("error:", error, file=sys.stderr, flush=True)
            sys.exit(FAILED)
        got = str(error) or "none left"
        _fail(f"memory: got {got}, expected room for it; try smaller --layers", FAILED)
    except click.Abort:
        _fail("interrupted", INTERRUPTED)
    except OSError as error:
        _output_failed(error)
    sys.exit(status or 0)


def _fail(text: str, status: int) -> NoReturn:
    print("error:", " ".join(text.split()), file=sys.stderr, flush=True)
    sys.exit(status)


def _output_failed(error: OSError) -> NoReturn:
    """Standard output is closed (EIO: a terminal that is gone) or full; else the error is ours."""
    if error.errno not in (errno.EPIPE, errno.EIO, errno.ENOSPC):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or its flush at exit fails
    if error.errno != errno.ENOSPC:
        sys.exit(FAILED)
    _fail("standard output: got no space left, expected room; try freeing space", BAD_INPUT)
