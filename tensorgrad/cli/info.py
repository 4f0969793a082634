"""`tensorgrad info`: versions, the library of matrix products, GPUs, and what is missing."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import click

from tensorgrad.cli import gpu

_NEEDED = ("numpy", "scipy", "ml_dtypes", "opt_einsum", "threadpoolctl", "safetensors", "optree")
_EXTRA = {
    "scikit-learn": ("the handwritten digits", "pip install 'tensorgrad[train]'"),
    "matplotlib": ("curves.svg and pictures", "pip install 'tensorgrad[train]'"),
    "tomli_w": ("config.toml", "pip install 'tensorgrad[train]'"),
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    import numpy as np  # noqa: F401  (loads the library that threadpoolctl finds)
    from threadpoolctl import threadpool_info

    found: list[dict[str, Any]] = [
        one for one in threadpool_info() if one.get("user_api") == "blas"
    ]
    if not found:
        return "unknown"
    one = found[0]
    return f"{one['internal_api']} {one.get('version') or ''}, {one['num_threads']} threads"


def _memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if os.name == "posix" else 0
    return f", {pages / 2**30:.0f} GiB" if pages else ""


def _lines() -> list[tuple[str, str]]:
    import tensorgrad as tg

    lines = [("tensorgrad", tg.__version__), ("python", platform.python_version())]
    lines += [(name, _version(name) or "missing; try pip install tensorgrad") for name in _NEEDED]
    for name, (use, command) in _EXTRA.items():
        lines.append((name, _version(name) or f"missing, needed for {use}; try {command}"))
    lines.append(("blas", _blas()))
    lines.append(("cpu", f"{platform.machine()}, {os.cpu_count()} cores{_memory()}"))
    return lines + gpu.lines()


@click.command()
def command() -> None:
    """Show versions, devices, and the command that mends what is missing."""
    for name, text in _lines():
        click.echo(f"{name:<15} {text}")
