"""What `Module` does with its state: moving it, loading it with a full report, showing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorgrad as tg
from tensorgrad.nn.hooks import Loading, loaded

if TYPE_CHECKING:
    from tensorgrad.nn.module import Module


class Report(NamedTuple):
    """The names that `load_state_dict` missed, and those it had no use for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(module: Module, given: Mapping[str, Any], strict: bool) -> Report:
    """Copy `given` into the state of a module, or raise one error that lists all that is wrong."""
    held, hooked = (
        dict(module._held()),
        [m._hooks for m in module.modules() if m._hooks is not None],
    )
    hooks = Loading(strict)
    if any(h.loading for h in hooked):
        given = hooks.prepared(module, given, "")
    report = Report(
        [n for n in held if n not in given] + hooks.missing,
        [n for n in given if n not in held] + hooks.unexpected,
    )
    misfits = [
        f"{name} (got {_shown(given[name])}, expected {_shown(target)})"
        for name, target in held.items()
        if name in given and not _fits(given[name], target)
    ]
    faults = {"misshapen": misfits, "refused": hooks.errors}
    owner, settled = type(module).__name__, any(h.loaded for h in hooked)
    _judge(owner, report, faults, strict and not settled)
    with tg.no_grad():
        for name, target in held.items():
            if name in given:
                target[...] = given[name]
    if settled:
        loaded(module, report)
        _judge(owner, report, {}, strict)
    return report


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
