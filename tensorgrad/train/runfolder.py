"""The folder of a run: model.safetensors, config.toml, metrics.jsonl, curves.svg and its state.

The state of a run is one file, so that a resumed run goes on bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad.io import WriteError, atomic_write, load_file, load_metadata, save_file
from tensorgrad.train.config import Config
from tensorgrad.train.configfile import read_toml, write_toml
from tensorgrad.train.loop import Callback, Loop, Progress, Record, load_weights, weights
from tensorgrad.train.model import Card, save_model
from tensorgrad.train.network import Architecture
from tensorgrad.train.options import ConfigError
from tensorgrad.train.place import on

Array = np.ndarray[Any, Any]
MODEL, CONFIG, METRICS = "model.safetensors", "config.toml", "metrics.jsonl"
CURVES, STATE = "curves.svg", "state.safetensors"
_FORMAT = "1"  # of the state
_SAVE_EVERY = 10.0  # seconds between two states on disk


class RunFolder:
    """The files of one run. Each is replaced whole; metrics.jsonl grows by whole lines."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._made: list[Path] = []

    def __str__(self) -> str:
        return str(self.path)

    def file(self, name: str) -> Path:
        """The path of one of the files."""
        return self.path / name

    # -- making it -----------------------------------------------------------------------------

    @classmethod
    def planned(cls, config: Config) -> RunFolder:
        """The folder that a new run will make: `config.out`, or runs/NAME-TIME.

        Raises `ConfigError` when it exists, or cannot be made, before any work is done.
        """
        if config.out is not None:
            folder = cls(config.out)
            if os.path.lexists(folder.path):
                raise _exists(folder.path)
        else:
            name = Path(config.data).resolve().stem if config.data else "run"
            stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
            count, folder = 1, cls(Path("runs", stem))
            while os.path.lexists(folder.path):
                count, folder = count + 1, cls(Path("runs", f"{stem}-{count + 1}"))
        _check_writable(folder.path)
        return folder

    def create(self, config: Config) -> None:
        """Make the folder and write config.toml; whatever fails, nothing is left behind."""
        missing = [one for one in (self.path, *self.path.parents) if not one.exists()]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir()
        except FileExistsError as cause:
            raise _exists(self.path) from cause
        except OSError as cause:
            raise _not_writable(self.path, cause.strerror or str(cause)) from cause
        self._made = missing
        try:
            write_toml(config, self.file(CONFIG))
            with atomic_write(self.file(METRICS)):
                pass
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take back a folder made by this object, with the files in it."""
        with contextlib.suppress(OSError):
            for name in (MODEL, CONFIG, METRICS, CURVES, STATE):
                if self._made:
                    self.file(name).unlink(missing_ok=True)
            for one in self._made:
                one.rmdir()

    @property
    def empty(self) -> bool:
        """True while the folder holds no result of training."""
        return not self.file(STATE).exists() and not self.file(MODEL).exists()

    # -- resuming ------------------------------------------------------------------------------

    def config(self) -> Config:
        """The configuration in the folder; `ConfigError` when it is the folder of no run."""
        if not self.file(CONFIG).is_file():
            raise ConfigError(
                f"{self.path}: got no {CONFIG} in it, expected the folder of a run; "
                "try one of runs/"
            )
        return Config(**read_toml(self.file(CONFIG)))

    def history(self, epochs: int) -> list[Record]:
        """The first `epochs` lines of metrics.jsonl; `ConfigError` when they are not there."""
        path = self.file(METRICS)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()[:epochs]
            records = [json.loads(line) for line in lines]
        except (OSError, ValueError) as cause:
            raise ConfigError(
                f"{path}: got {type(cause).__name__} while reading it, expected a line of JSON for "
                "each epoch; try restoring it, or starting again with another --out"
            ) from cause
        if len(records) < epochs:
            raise ConfigError(
                f"{path}: got {len(records)} lines, expected {epochs} as the run has epochs; "
                "try restoring it, or starting again with another --out"
            )
        return records

    def restore(self, loop: Loop, fingerprint: str) -> None:
        """Put state and history into a loop, and cut lines of epochs that will be trained again."""
        load_state(self.file(STATE), loop, fingerprint)
        loop.history = self.history(loop.progress.epoch)
        with atomic_write(self.file(METRICS)) as file:
            file.write("".join(map(_line, loop.history)).encode())

    # -- writing -------------------------------------------------------------------------------

    def append(self, record: Record) -> None:
        """Add one line to metrics.jsonl, the whole of it or none."""
        path = self.file(METRICS)
        size = path.stat().st_size if path.exists() else 0
        try:
            with open(path, "ab") as file:
                file.write(_line(record).encode())
        except OSError as cause:
            with contextlib.suppress(OSError):
                os.truncate(path, size)
            error = WriteError(
                f"write {path}: got {(cause.strerror or str(cause)).lower()}, expected room for "
                "another line; try freeing space, then --resume"
            )
            raise error from cause


class Keeper(Callback):
    """Writes a line an epoch, and now and then the state and the best weights."""

    def __init__(self, folder: RunFolder, plan: Architecture, card: Card, fingerprint: str) -> None:
        self.folder, self.plan, self.card = folder, plan, card
        self.fingerprint = fingerprint
        self._saved = time.monotonic()

    def on_epoch(self, loop: Loop, record: Record) -> None:
        """Append the line; save when the last save is long ago."""
        self.folder.append(record)
        if time.monotonic() - self._saved > _SAVE_EVERY:
            self.save(loop)

    def on_end(self, loop: Loop) -> None:
        """Save, unless an error ended the run."""
        if loop.reason:
            self.save(loop)

    def save(self, loop: Loop) -> None:
        """Write the state, then the best weights; raises `DivergedError` where `settle` does."""
        loop.settle()
        save_state(self.folder.file(STATE), loop, self.fingerprint)
        self.save_best(loop)
        self._saved = time.monotonic()

    def save_best(self, loop: Loop) -> None:
        """Write the best weights, if an epoch is done."""
        if loop.best:
            save_model(self.folder.file(MODEL), loop.best, self.plan, self.card)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _exists(path: Path) -> ConfigError:
    kind = "a file" if path.is_file() else "a folder"
    return ConfigError(
        f"out {path}: got {kind} that exists, expected a new one; "
        f"try another --out, or --resume {path} to go on with that run"
    )


def _check_writable(path: Path) -> None:
    """Refuse a folder that could not be made, without making it."""
    above = next(one for one in path.absolute().parents if one.exists())
    if not above.is_dir():
        raise _not_writable(path, f"{above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise _not_writable(path, f"no permission to write in {above}")


def _not_writable(path: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"out {path}: got {reason.lower() if reason[:1].isupper() else reason}, expected a folder "
        "that can be made; try another --out"
    )


# -- the state ---------------------------------------------------------------------------------


def save_state(path: str | os.PathLike[str], loop: Loop, fingerprint: str) -> None:
    """Write weights, best weights, optimizer, loss scale, generator and progress, whole or not."""
    arrays = {f"net.{name}": value for name, value in weights(loop.net).items()}
    arrays |= {f"best.{name}": value for name, value in loop.best.items()}
    notes = {
        "progress": asdict(loop.progress),
        "optimizer": _pack(loop.optimizer.state_dict(), arrays),
        "scaler": None if loop.scaler is None else loop.scaler.state_dict(),
        "generator": _pack(loop.generator.get_state(), arrays),
        "fingerprint": fingerprint,
        "format": _FORMAT,
    }
    save_file(arrays, path, {"run": json.dumps(notes)})


def load_state(path: str | os.PathLike[str], loop: Loop, fingerprint: str) -> None:
    """Put a saved state into a loop.

    Raises `DataError` when the file is damaged, `ConfigError` when it is no state of a run or
    belongs to another configuration, or the data are other ones.
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
    try:
        _put(loop, notes, arrays)
    except (KeyError, tg.ShapeError, ValueError) as cause:
        reason = " ".join(str(cause).partition("; try")[0].split())
        raise ConfigError(
            f"{shown}: got the state of another run than {CONFIG} beside it says ({reason}), "
            f"expected the one it was saved with; try restoring {CONFIG}, or a new run"
        ) from cause
    loop.best, loop.progress = _under("best.", arrays), progress


def _put(loop: Loop, notes: Mapping[str, Any], arrays: dict[str, Array]) -> None:
    load_weights(loop.net, _under("net.", arrays))
    held = {key: on(a, loop.device) for key, a in arrays.items() if key.startswith("packed.")}
    loop.optimizer.load_state_dict(_unpack(notes["optimizer"], held))
    if loop.scaler is not None:
        loop.scaler.load_state_dict(notes["scaler"] or {})
    loop.generator.set_state(_unpack(notes["generator"], arrays))


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


def _unpack(packed: Any, arrays: Mapping[str, Any]) -> Any:
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
