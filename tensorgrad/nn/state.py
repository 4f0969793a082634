"""What `Module` does with its state: moving it, loading it with a full report, showing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import tensorgrad as tg
from tensorgrad.nn.hooks import Loading, loaded
from tensorgrad.nn.parameter import Parameter

if TYPE_CHECKING:
    from tensorgrad.nn.module import Module


class Report(NamedTuple):
    """The names that `load_state_dict` missed, and those it had no use for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Slot(NamedTuple):
    """One entry of a state: the attribute of a module, and what it holds."""

    owner: Module
    name: str
    value: tg.Tensor


def slots(module: Module, prefix: str = "") -> Iterator[tuple[str, Slot]]:
    """All state by dotted name, as no hook has seen it."""
    for name, value in module._state(""):
        yield prefix + name, Slot(module, name, value)
    for name, part in module._parts():
        yield from slots(part, f"{prefix}{name}.")


def load(module: Module, given: Mapping[str, Any], strict: bool, assign: bool) -> Report:
    """Put `given` into the state of a module, or raise one error that lists all that is wrong."""
    if not hasattr(given, "items"):
        raise TypeError(
            f"load_state_dict: got {type(given).__name__}, expected a mapping of names to arrays; "
            "try tg.io.load_file(path), or module.state_dict()"
        )
    for name, part in module.named_modules():
        if hasattr(part, "_fit_state"):
            part._fit_state(given, f"{name}." if name else "")
    held = dict(slots(module))
    hooked = [m._hooks for m in module.modules() if m._hooks is not None]
    hooks = Loading(strict)
    if any(h.loading for h in hooked):
        given = hooks.prepared(module, given, "")
    given = {name: _native(value) for name, value in given.items()}
    report = Report(
        [n for n in held if n not in given] + hooks.missing,
        [n for n in given if n not in held] + hooks.unexpected,
    )
    misfits = [
        f"{name} (got {_shown(given[name])}, expected {_shown(slot.value)})"
        for name, slot in held.items()
        if name in given and not _fits(given[name], slot.value)
    ]
    faults = {"misshapen": misfits, "refused": hooks.errors}
    owner, settled = type(module).__name__, any(h.loaded for h in hooked)
    _judge(owner, report, faults, strict and not settled)
    pairs = [(slot, given[name]) for name, slot in held.items() if name in given]
    (_assign if assign else _copy)(pairs)
    if settled:
        loaded(module, report)
        _judge(owner, report, {}, strict)
    return report


def _native(value: Any) -> Any:
    """A tensor or a NumPy array, sharing memory with an array of another library."""
    if isinstance(value, tg.Tensor | np.ndarray) or not hasattr(value, "__dlpack__"):
        return value
    return tg.from_dlpack(value.detach() if hasattr(value, "detach") else value)


def _copy(pairs: list[tuple[Slot, Any]]) -> None:
    with tg.no_grad():
        for slot, value in pairs:
            target = slot.value.detach()
            found = value.detach() if isinstance(value, tg.Tensor) else tg.asarray(value)
            target[...] = found if found.device == target.device else found.to(target.device)


def _assign(pairs: list[tuple[Slot, Any]]) -> None:
    """Put values in the places of those that are there; tied parameters stay tied."""
    new: dict[int, tg.Tensor] = {}
    for slot, value in pairs:
        tensor = tg.asarray(value)
        if isinstance(slot.value, Parameter):
            if not isinstance(tensor, Parameter):
                tensor = Parameter(tensor, slot.value.requires_grad)
            tensor = new.setdefault(id(slot.value), tensor)
        setattr(slot.owner, slot.name, tensor)


def _judge(owner: str, report: Report, faults: dict[str, list[str]], strict: bool) -> None:
    """Raise an error that lists all faults, if there are any."""
    listed = {"missing": report.missing_keys, "unexpected": report.unexpected_keys, **faults}
    found = listed if strict else faults
    lines = [f"  {fault}: {', '.join(names)}" for fault, names in found.items() if names]
    if lines:
        loose = strict and not any(faults.values())
        raise tg.ShapeError(
            f"load_state_dict: got a state that does not fit {owner}:\n" + "\n".join(lines) + "\n"
            f"expected the names and shapes of its state_dict(); try "
            f"{'strict=False to load what fits' if loose else 'the network it was saved from'}"
        )


def _fits(value: Any, target: tg.Tensor) -> bool:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None or tuple(shape) != target.shape:
        return False
    kinds = "biufc"  # each can be copied into those after it; among floats precision may change
    return kinds.index(_kind(dtype)) <= kinds.index(_kind(target.dtype))


def _kind(dtype: Any) -> str:
    return "f" if tg.dtypes.is_float(dtype) else dtype.kind


def _shown(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if shape is None else f"{dtype}{tuple(shape)}"


def destination(target: Any, device: str | None, dtype: Any) -> tuple[str | None, Any]:
    """(device, dtype) of the arguments of `Module.to`, each None where it stays."""
    if isinstance(target, str) and target not in tg.dtypes.NAMES:
        device, target = target, None
    if target is not None:
        dtype = target
    if dtype is None:
        return device, None
    found = tg.dtypes.dtype(dtype)
    if not tg.dtypes.is_inexact(found):
        raise tg.DTypeError(f'to: got {found}, expected a floating dtype; try "float32"')
    return device, found


def moved(tensor: tg.Tensor, device: str | None, dtype: Any) -> tg.Tensor:
    """The tensor on another device or of another floating dtype; itself where nothing changes."""
    if not tg.dtypes.is_inexact(tensor.dtype):
        dtype = None
    found: tg.Tensor = tensor.detach().to(dtype=dtype or tensor.dtype, device=device)
    return found


def move(param: tg.Tensor, device: str | None, dtype: Any) -> None:
    """Move a parameter in place, with its gradient; its leaf stays, and so do its hooks."""
    found = moved(param, device, dtype)
    if found.data is param.data:
        return
    leaf: Any = param.node
    gradient = param.grad
    param.data = found.data
    if leaf is not None:
        param.grad = None
        leaf.dtype, leaf.into = found.dtype, None
        param.grad = None if gradient is None else moved(gradient, device, dtype)


def text(name: str, extra: str, children: list[tuple[str, Any]]) -> str:
    """A module as PyTorch prints it: settings, then one part a line."""
    lines = extra.split("\n") if extra else []
    parts = [f"({key}): " + repr(child).replace("\n", "\n  ") for key, child in children]
    if len(lines) < 2 and not parts:
        return f"{name}({extra})"
    return f"{name}(\n  " + "\n  ".join(lines + parts) + "\n)"
