"""The weights of a network in a file, with what it shares between layers written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorgrad._errors import ShapeError
from tensorgrad.io.tensors import PathLike, load_file, save_file


def save_model(model: Any, filename: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's state to a `.safetensors` or `.npz` file, a tied weight once.

    The metadata gain, for each further name of a tied weight, the name under which it is. Raises
    as `save_file`.

    >>> import tempfile, tensorgrad as tg
    >>> net = tg.nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(net, f"{folder}/net.safetensors", {"epoch": "7"})
    ...     load_model(tg.nn.Linear(3, 2, dtype="float64"), f"{folder}/net.safetensors")
    ([], [])
    """
    state = model.state_dict()
    first = _first_names(state)
    kept = {name: value.to("cpu") for name, value in state.items() if first[name] == name}
    aliases = {name: other for name, other in first.items() if name != other}
    save_file(kept, filename, {**aliases, **(metadata or {})})


def load_model(model: Any, filename: PathLike, strict: bool = True) -> tuple[list[str], list[str]]:
    """Read a file of weights, also one that PyTorch wrote, into a network of the same names.

    The network keeps its device and dtype. A further name of a tied weight may be missing. Returns
    the missing and unexpected names; when `strict` they raise `ShapeError`, as shapes that do not
    fit always do: one error that lists them all and names the file, and nothing is written. Raises
    `DataError` for a file that is missing, truncated or damaged.
    """
    arrays: dict[str, Any] = load_file(filename)
    first = _first_names(model.state_dict())
    found = {first[name]: value for name, value in reversed(arrays.items()) if name in first}
    for name, other in first.items():
        if name not in arrays and other in found:
            arrays[name] = found[other]
    try:
        missing, unexpected = model.load_state_dict(arrays, strict)
    except ShapeError as error:
        raise ShapeError(f"load_model {filename}: {error}") from error
    return missing, unexpected


def _first_names(state: Mapping[str, Any]) -> dict[str, str]:
    """For each name the first one of the same memory."""
    firsts: dict[int, str] = {}
    return {name: firsts.setdefault(id(value.data), name) for name, value in state.items()}
