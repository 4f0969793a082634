"""Modules as functions of their parameters, for `grad`, `vmap`, `jvp` and the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import tensorgrad as tg
from tensorgrad.nn.module import MODULE, Module

State = dict[str, Any]


def functional_call(
    module: Module,
    parameter_and_buffer_dicts: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with other parameters and buffers, by dotted name.

    What is not named keeps its value; `strict` wants every name. A value for one name of a tied
    weight is used for all of them, unless not `tie_weights`. A buffer that the call replaces is
    replaced in the dict that was given, not in the module. The module is changed for the length of
    the call: not from two threads at once. Raises `KeyError` for names that are not there,
    `ShapeError` for tied names with two values.

    >>> import numpy as np
    >>> from tensorgrad.nn import Linear
    >>> layer, x = Linear(2, 1), tg.ones((2,), dtype="float32")
    >>> f = lambda p: functional_call(layer, p, x).sum()
    >>> tg.grad(f)({"weight": np.ones((1, 2), "f4"), "bias": np.zeros(1, "f4")})["weight"].tolist()
    [[1.0, 1.0]]
    """
    dicts = parameter_and_buffer_dicts
    given = [dicts] if isinstance(dicts, Mapping) else list(dicts)
    args = args if isinstance(args, tuple) else (args,)
    with _swapped(module, given, tie_weights, strict):
        return module(*args, **(kwargs or {}))


@contextmanager
def _swapped(
    module: Module, given: list[Mapping[str, Any]], tie: bool, strict: bool
) -> Iterator[None]:
    places = {
        name: (owner, attribute)
        for prefix, owner in module.named_modules(remove_duplicate=False)
        for attribute, kind in owner._kinds.items()
        if kind != MODULE
        for name in [f"{prefix}.{attribute}" if prefix else attribute]
    }
    _check(places, given, strict)
    new = _tied(places, given) if tie else {n: v for values in given for n, v in values.items()}
    new = {name: _tensor(value) for name, value in new.items()}
    before = {name: owner.__dict__[attribute] for name, (owner, attribute) in places.items()}
    try:
        for name, value in new.items():
            owner, attribute = places[name]
            owner.__dict__[attribute] = value
        yield
    finally:
        for name, (owner, attribute) in places.items():
            left = owner.__dict__[attribute]
            owner.__dict__[attribute] = before[name]
            if name in new and left is not new[name]:
                _note(given, name, left)


def _tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, tg.Tensor) else tg.asarray(value)


def _note(given: list[Mapping[str, Any]], name: str, value: Any) -> None:
    """A replaced buffer, in the dict that it came from."""
    for values in given:
        if name in values and isinstance(values, dict):
            values[name] = value


def _check(places: Mapping[str, Any], given: list[Mapping[str, Any]], strict: bool) -> None:
    names = [name for values in given for name in values]
    unknown = [name for name in names if name not in places]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = [
        name
        for name, (owner, attribute) in places.items()
        if strict and name not in names and owner.__dict__[attribute] is not None
    ]
    for fault, found in (("unknown", unknown), ("given twice", twice), ("missing", missing)):
        if found:
            raise KeyError(
                f"functional_call: got names that are {fault}: {', '.join(found)}, expected those "
                "of named_parameters() and named_buffers(), each once; try dict(net.named_...())"
            )


def _tied(places: Mapping[str, Any], given: list[Mapping[str, Any]]) -> State:
    """The values with those of tied names added."""
    found = {name: value for values in given for name, value in values.items()}
    groups: dict[int, list[str]] = {}
    for name, (owner, attribute) in places.items():
        if owner.__dict__[attribute] is not None:
            groups.setdefault(id(owner.__dict__[attribute]), []).append(name)
    for names in groups.values():
        own = [name for name in names if name in found]
        if len({id(found[name]) for name in own}) > 1:
            raise tg.ShapeError(
                f"functional_call: got different values for one tied weight ({', '.join(own)}), "
                "expected one; try tie_weights=False"
            )
        for name in names if own else ():
            found[name] = found[own[0]]
    return found


def stack_module_state(models: Sequence[Module]) -> tuple[State, State]:
    """The parameters and the buffers of modules of one make, each stacked along a new first axis.

    For an ensemble: `tg.vmap(lambda p, b, x: functional_call(models[0], (p, b), x), (0, 0, None))`.
    Raises `ShapeError` for no modules, other classes or other training modes.
    """
    modules = list(models)
    kinds = {type(module).__name__ for module in modules}
    names = {tuple(name for name, _ in module.named_parameters()) for module in modules}
    if len(kinds) != 1 or len({module.training for module in modules}) != 1 or len(names) != 1:
        raise tg.ShapeError(
            f"stack_module_state: got {len(modules)} modules of {len(kinds)} classes, expected "
            "one or more of one class, with the same names, all in train() or all in eval()"
        )
    params = {
        name: _stacked([module.get_parameter(name) for module in modules], first.requires_grad)
        for name, first in modules[0].named_parameters()
    }
    buffers = {
        name: _stacked([module.get_buffer(name) for module in modules], False)
        for name, _ in modules[0].named_buffers()
    }
    return params, buffers


def _stacked(values: list[Any], requires_grad: bool) -> Any:
    stacked = tg.stack([value.detach() for value in values])
    stacked.requires_grad = requires_grad
    return stacked
