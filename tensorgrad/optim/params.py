"""What an optimizer takes as parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import tensorgrad as tg
from tensorgrad.optim.memory import extent

_BESIDE = (
    *("params", "param_names", "name", "initial_lr", "swa_lr"),
    *("foreach", "capturable", "differentiable", "fused"),  # PyTorch's, without a meaning here
)


def groups_of(op: str, params: Any) -> list[dict[str, Any]]:
    """Parameters, or dictionaries of groups, as groups; `ValueError` for none at all."""
    hint = "model.parameters()"
    if isinstance(params, tg.Tensor):
        raise TypeError(f"{op}: got one tensor, expected a list of them; try [param]")
    if hasattr(params, "parameters"):
        raise TypeError(f"{op}: got a module, expected its parameters; try {hint}")
    if isinstance(params, dict):
        raise TypeError(f"{op}: got one group, expected a list of them; try [group]")
    found = list(params)
    if not found:
        raise ValueError(f"{op}: got no parameters, expected at least one; try {hint}")
    return found if isinstance(found[0], dict) else [{"params": found}]


def members(group: Mapping[str, Any]) -> dict[str, Any]:
    """The "params" of a group as a list; of pairs (name, parameter) the names as "param_names"."""
    given = group.get("params", ())
    params = [given] if isinstance(given, tg.Tensor) else list(given)
    if not params or not all(isinstance(one, tuple) and len(one) == 2 for one in params):
        return {"params": params}
    return {
        "params": [param for _, param in params],
        "param_names": [name for name, _ in params],
    }


def pair(op: str, **value: Any) -> tuple[Any, Any]:
    """A setting of two numbers; `TypeError` for another."""
    ((name, given),) = value.items()
    found = tuple(given) if isinstance(given, tuple | list) else ()
    if len(found) != 2:
        raise TypeError(f"{op}: got {name}={given!r}, expected two numbers; try {name}=(a, b)")
    return found


def need_params(op: str, params: Sequence[Any], known: Sequence[Any]) -> None:
    """Raise unless these are floating leaves, each once, on memory of their own.

    `known` are the parameters of the other groups.
    """
    if not params:
        raise ValueError(f"{op}: got a group without params, expected some; try a list")
    others, seen = set(map(id, known)), set(map(id, known))
    for param in params:
        if not isinstance(param, tg.Tensor):
            raise TypeError(
                f"{op}: got {type(param).__name__}, expected parameters; try model.parameters()"
            )
        if not param.is_leaf or param.level or not tg.dtypes.is_inexact(param.dtype):
            raise tg.GradientError(
                f"{op}: got {param.dtype}{param.shape} that is no floating leaf, "
                f"expected a tensor that no operation made; try nn.Parameter(x.detach())"
            )
        if id(param) in seen:
            raise ValueError(
                f"{op}: got a parameter of shape {param.shape} twice, in "
                f"{'two groups' if id(param) in others else 'one group'}, expected each "
                f"once; try model.parameters(), which gives a tied one once"
            )
        seen.add(id(param))
    _need_own_memory(op, params)


def need_settings(op: str, settings: Mapping[str, Any], saved: Sequence[Mapping[str, Any]]) -> None:
    """Raise `ValueError` for saved groups that have other settings: those of another class."""
    for group in saved:
        missing = [name for name in settings if name not in group]
        others = [name for name in group if name not in (*_BESIDE, *settings)]
        if missing and others:
            raise ValueError(
                f"{op}: got a state with {', '.join(others)} but no {', '.join(missing)}, expected "
                f"{', '.join(settings)}; try the class that saved it"
            )


def _need_own_memory(op: str, params: Sequence[tg.Tensor]) -> None:
    """Refuse two parameters on the same memory: each would move to a place of its own."""
    dense = [p.data for p in params if p.size and _dense(p.data)]
    extents = sorted(extent(array) for array in dense)
    for (_, stop), (start, _) in pairwise(extents):
        if start < stop:
            raise ValueError(
                f"{op}: got two parameters that share memory, expected each its own; "
                f"try one nn.Parameter used in both places"
            )


def _dense(array: Any) -> bool:
    return bool(array.flags.c_contiguous or array.flags.f_contiguous)
