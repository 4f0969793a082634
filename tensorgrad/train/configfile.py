"""The options of a run in a TOML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tensorgrad.io import atomic_write
from tensorgrad.train.config import OPTIONS, Config, check_each
from tensorgrad.train.options import ConfigError, nearest


def check_keys(names: Mapping[str, Any], place: str) -> None:
    """Refuse a key that is no option, with the option most like it."""
    for name in names:
        if name not in OPTIONS:
            near = nearest(name.replace("-", "_"), tuple(OPTIONS))
            fix = repr(near) if near else "tensorgrad train --help"
            raise ConfigError(
                f"{place}: got key {name!r}, expected the name of an option; try {fix}"
            )


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The options in a TOML file, checked; `ConfigError` naming the file and the key."""
    import tomllib

    shown = os.fspath(path)
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise ConfigError(
            f"{shown}: got {reason}, expected a readable TOML file; try another path"
        ) from cause
    except UnicodeDecodeError as cause:
        raise ConfigError(
            f"{shown}: got bytes that are no UTF-8, expected a TOML file; try saving it as UTF-8"
        ) from cause
    except tomllib.TOMLDecodeError as cause:
        raise ConfigError(
            f'{shown}: got broken TOML ({cause}), expected lines like lr = 0.001 or init = "auto"; '
            "try mending that line"
        ) from cause
    check_keys(found, shown)
    return check_each(found, lambda name: f"{shown}, key {name!r}")


def write_toml(config: Config, path: str | os.PathLike[str]) -> None:
    """Write every option that is set; `read_toml` gives them back."""
    import tomli_w

    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(config).items()
        if value is not None
    }
    with atomic_write(path) as file:
        file.write(tomli_w.dumps(values).encode())
