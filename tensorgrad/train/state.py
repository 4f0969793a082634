"""The whole state of a run in one file, so that a resumed run goes on bit for bit."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.io import load_file, load_metadata, save_file
from tensorgrad.train.loop import Loop, Progress, weights
from tensorgrad.train.options import ConfigError

Array = np.ndarray[Any, Any]
_FORMAT = "1"


def save_state(path: str | os.PathLike[str], loop: Loop, fingerprint: str) -> None:
    """Write weights, best weights, optimizer, generator and progress, whole or not at all."""
    arrays = {f"net.{name}": value for name, value in weights(loop.net).items()}
    arrays |= {f"best.{name}": value for name, value in loop.best.items()}
    notes = {
        "progress": asdict(loop.progress),
        "optimizer": _pack(loop.optimizer.state_dict(), arrays),
        "generator": _pack(loop.generator.get_state(), arrays),
        "fingerprint": fingerprint,
        "format": _FORMAT,
    }
    save_file(arrays, path, {"run": json.dumps(notes)})


def load_state(path: str | os.PathLike[str], loop: Loop, fingerprint: str) -> None:
    """Put a saved state into a loop.

    Raises `ConfigError` when the file is no state of a run, or the data are other ones.
    """
    shown = os.fspath(path)
    if not Path(path).is_file():
        raise ConfigError(
            f"{shown}: got no such file, expected the state of a run that began; "
            "try starting it again with another --out"
        )
    arrays = load_file(path)
    try:
        notes = json.loads(load_metadata(path)["run"])
        progress = Progress(**notes["progress"])
    except (KeyError, TypeError, ValueError) as cause:
        raise ConfigError(
            f"{shown}: got a file of another kind or version, expected the state of a run; "
            "try starting it again with another --out"
        ) from cause
    if notes["fingerprint"] != fingerprint:
        raise ConfigError(
            f"{shown}: got data that changed since the run began, expected the same rows; "
            "try restoring them, or starting again with another --out"
        )
    loop.net.load_state_dict(_under("net.", arrays))
    loop.optimizer.load_state_dict(_unpack(notes["optimizer"], arrays))
    loop.generator.set_state(_unpack(notes["generator"], arrays))
    loop.best, loop.progress = _under("best.", arrays), progress


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name[len(prefix) :]: a for name, a in arrays.items() if name.startswith(prefix)}


def _pack(value: Any, arrays: dict[str, Array]) -> Any:
    """A nest of containers as JSON; its arrays go into `arrays`, a name in their place."""
    if isinstance(value, dict):
        return {"dict": [[_pack(k, arrays), _pack(v, arrays)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(one, arrays) for one in value]}
    if isinstance(value, (np.ndarray, np.generic, tg.Tensor)):
        name = f"packed.{len(arrays)}"
        found = value.detach().numpy() if isinstance(value, tg.Tensor) else value
        arrays[name] = np.array(found)
        return {"array": name}
    return value


def _unpack(packed: Any, arrays: dict[str, Array]) -> Any:
    """What `_pack` packed."""
    if not isinstance(packed, dict):
        return packed
    ((kind, held),) = packed.items()
    if kind == "array":
        return arrays[held]
    if kind == "dict":
        return {_unpack(k, arrays): _unpack(v, arrays) for k, v in held}
    found = [_unpack(one, arrays) for one in held]
    return tuple(found) if kind == "tuple" else found
