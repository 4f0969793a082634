"""`tensorgrad check`: the derivatives of a user's function, held to differences."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import click

LIMIT = 300


@click.command()
@click.argument("target", metavar="MODULE:FUNCTION")
@click.option("--input", "file", metavar="FILE.npz", required=True, help="its arguments, by name")
@click.option("--order", type=click.IntRange(1, 3), default=1, show_default=True,
              help="check derivatives up to this order")  # fmt: skip
@click.option("--elements", type=click.IntRange(1), default=LIMIT, show_default=True,
              help="random elements of each argument that are looked at")  # fmt: skip
@click.option("--full", is_flag=True, help="every element of the Jacobian, all elements")
@click.option("--seed", type=int, help="repeat a check [a fresh one, printed]")
def command(target: str, file: str, order: int, elements: int, full: bool, seed: int | None) -> int:
    """Check the derivatives of FUNCTION at the arrays in FILE.npz.

    MODULE is imported from here or from where Python finds it. An array goes to the parameter of
    its name; files of np.savez(file, x, y) go by position. Backward and forward mode are held to
    central differences in float64, one line an argument. The exit code is 1 if one is wrong.
    """
    import numpy as np  # what --help need not import

    from tensorgrad.testing.elements import compare
    from tensorgrad.testing.problem import FORWARD, REVERSE, Problem

    function = _function(target)
    names, arguments = _arguments(function, target, file)
    seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
    rng = np.random.default_rng(seed)
    problem = Problem(function, arguments, rng, names)
    if not problem.where:
        raise click.UsageError(
            f"--input: got no floating-point array in {file}, expected what is differentiated"
        )
    if not problem.weights:
        raise click.UsageError(
            f"MODULE:FUNCTION: got no floating-point result of {target}, expected one to "
            "differentiate"
        )
    limit = None if full else elements
    found = [
        one
        for k in range(1, order + 1)
        for mode in (REVERSE, FORWARD)
        for one in compare(problem, mode, k, full=full, limit=limit, rng=rng)
    ]
    _print(found)
    bad = sum(one.wrong > 0 for one in found)
    click.echo(f"{len(found) - bad} of {len(found)} agree; seed {seed}")
    return 1 if bad else 0


def _function(target: str) -> Callable[..., Any]:
    """The function that MODULE:FUNCTION names."""
    module, _, path = target.partition(":")
    if not module or not path:
        raise click.UsageError(
            f"MODULE:FUNCTION: got {target!r}, expected a module and a function in it, as in "
            "physics.waves:energy"
        )
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise click.UsageError(
            f"MODULE:FUNCTION: got {module!r}, expected a module that can be imported from here "
            f"({os.getcwd()})"
        ) from None
    finally:
        sys.path.remove(os.getcwd())
    for name in path.split("."):
        found = getattr(found, name, None)
    if not callable(found):
        raise click.UsageError(
            f"MODULE:FUNCTION: got {target!r}, expected a function; {module} has no function {path}"
        )
    return found  # type: ignore[no-any-return]


def _arguments(function: Callable[..., Any], target: str, file: str) -> tuple[list[str], list[Any]]:
    """The arrays of a file in the order of a function's parameters, floats in double precision."""
    arrays = _read(file)
    taken = inspect.signature(getattr(function, "forward", function)).parameters.values()
    plain = [p for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in plain]
    placed = [f"arr_{k}" for k in range(len(arrays))]
    if set(arrays) == set(placed) and not set(arrays) <= set(names):
        rest = next((p.name for p in taken if p.kind == p.VAR_POSITIONAL), None)
        if rest is not None:  # *xs: x[0], x[1] ... by position
            names += [f"{rest}[{k}]" for k in range(len(arrays) - len(names))]
        if len(arrays) <= len(names):
            arrays = dict(zip(names, (arrays[name] for name in placed)))
    missing = [p.name for p in plain if p.default is p.empty and p.name not in arrays]
    unknown = sorted(set(arrays) - set(names))
    used = [name for name in names if name in arrays]
    if missing or unknown or used != names[: len(used)]:
        raise click.UsageError(
            f"--input: got {', '.join(arrays) or 'no arrays'} in {file}, expected the first "
            f"parameters of {target}: {', '.join(names) or 'none by name'}"
        )
    return used, [arrays[name] for name in used]


def _read(file: str) -> dict[str, Any]:
    import numpy as np

    import tensorgrad as tg

    try:
        with np.load(file, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise tg.DataError(
            f"--input: got {file} ({error or type(error).__name__}), expected a file of "
            "np.savez; try np.savez(file, x=x)"
        ) from None
    wide = {"f": np.float64, "c": np.complex128}
    return {n: a.astype(wide[a.dtype.kind]) if a.dtype.kind in wide else a
            for n, a in found.items()}  # fmt: skip


def _print(found: list[Any]) -> None:
    """One line an argument, mode and order."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("argument", "shape", "order", "mode", "error", "worst element", ""):
        table.add_column(name, no_wrap=True)
    for one in found:
        place = f"[{', '.join(map(str, one.place))}]" if one.place else ""
        worst = f"{one.argument}{place}: {one.got:.6g}, expected {one.expected:.6g}"
        verdict = f"WRONG in {one.wrong} of {one.of}" if one.wrong else "ok"
        row = (one.argument, str(one.shape), str(one.order), one.mode, f"{one.error:.1e}", worst)
        table.add_row(*map(_plain, row), verdict, style="red" if one.wrong else None)
    Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)


def _plain(text: str) -> Any:
    """A cell without rich's markup: brackets are indices."""
    from rich.text import Text

    return Text(text)
