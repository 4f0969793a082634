"""Hooks of a module: functions that see, and may replace, what passes through it.

Around `forward`, around backward, around saving and loading; names, order and arguments are
PyTorch's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import tensorgrad as tg

if TYPE_CHECKING:
    from tensorgrad.nn.module import Module

Hook = Callable[..., Any]
Gradients = tuple[Any, ...]
RemovableHandle = tg.RemovableHandle


class Forward(NamedTuple):
    """A hook around `forward`, and how it wants to be called."""

    hook: Hook
    with_kwargs: bool
    always_call: bool = False


class Hooks:
    """The hooks of one module, a table for each place where they are called."""

    def __init__(self) -> None:
        self.before: dict[int, Forward] = {}
        self.after: dict[int, Forward] = {}
        self.backward_before: dict[int, Hook] = {}
        self.backward: dict[int, Hook] = {}
        self.saving: dict[int, Hook] = {}
        self.saved: dict[int, Hook] = {}
        self.loading: dict[int, Hook] = {}
        self.loaded: dict[int, Hook] = {}

    def __bool__(self) -> bool:
        """Whether one of them sees calls."""
        return bool(self.before or self.after or self.backward_before or self.backward)


# -- around forward ------------------------------------------------------------------------------


class Call:
    """One call of a module that has hooks."""

    def __init__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module, self.args, self.kwargs = module, args, kwargs
        self.output: Any = None
        self.ran: set[int] = set()

    def run(self, hooks: Hooks) -> Any:
        """The output, after all hooks; an error runs those that are always called, then raises."""
        try:
            return self._through(hooks)
        except Exception:
            for number, after in list(hooks.after.items()):
                if after.always_call and number not in self.ran:
                    self._last(after)
            raise

    def _through(self, hooks: Hooks) -> Any:
        for before in list(hooks.before.values()):
            self._before(before)
        boundary = None
        if hooks.backward or hooks.backward_before:
            boundary = Boundary(self.module, hooks)
            self.args = boundary.enter(self.args)
        self.output = self.module.forward(*self.args, **self.kwargs)
        for number, after in list(hooks.after.items()):
            self.ran.add(number)
            self._after(after)
        return self.output if boundary is None else boundary.leave(self.output)

    def _before(self, before: Forward) -> None:
        if not before.with_kwargs:
            found = before.hook(self.module, self.args)
            if found is not None:
                self.args = found if isinstance(found, tuple) else (found,)
            return
        found = before.hook(self.module, self.args, self.kwargs)
        if found is not None:
            if not isinstance(found, tuple) or len(found) != 2:
                raise TypeError(
                    f"forward pre-hook: got {type(found).__name__}, expected None or a tuple "
                    "(args, kwargs); try `return args, kwargs`"
                )
            self.args, self.kwargs = found

    def _after(self, after: Forward) -> None:
        given = (self.args, self.kwargs) if after.with_kwargs else (self.args,)
        found = after.hook(self.module, *given, self.output)
        self.output = self.output if found is None else found

    def _last(self, after: Forward) -> None:
        try:
            self._after(after)
        except Exception as error:
            warnings.warn(
                f"forward hook: got {error!r} from one that is always called, while another error "
                "is raised, which goes on",
                stacklevel=2,
            )


# -- around backward -----------------------------------------------------------------------------


@tg.custom_vjp
def _passed(*tensors: Any) -> Any:
    """The same values behind one node."""
    return tensors


_passed.defvjp(lambda *tensors: (tensors, None), lambda _, cts: tuple(cts))


class Boundary:
    """Nodes before and behind one call of a module, at which backward calls its hooks."""

    def __init__(self, module: Module, hooks: Hooks) -> None:
        self.module = module
        self.before, self.hooks = (
            list(hooks.backward_before.values()),
            list(hooks.backward.values()),
        )
        self.inputs: list[int] | None = None  # which arguments have a node; None: no argument
        self.grad_output: Gradients | None = None
        self.count = 0
        self.blank: list[tuple[tuple[int, ...], Any, str]] = []  # of the tensors among them

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments behind a node, at which the gradients of all of them are known."""
        self.count = len(args)
        self.blank = [(x.shape, x.dtype, x.device) for x in args if _differentiable(x)]
        found, self.inputs = _behind(args, self._entered)
        return found

    def leave(self, output: Any) -> Any:
        """The output behind a node, at which its gradients are known."""
        outputs = output if isinstance(output, tuple) else (output,)
        places: list[int] = []

        def step(grads: Gradients, cts: Gradients) -> Gradients:
            return self._left(grads, _spread(cts, places, len(outputs)), places)

        found, reached = _behind(outputs, step)
        places += reached or []
        return found if isinstance(output, tuple) else found[0]

    def _left(self, grads: Gradients, given: Gradients, places: Sequence[int]) -> Gradients:
        for hook in self.before:
            given = _replaced("backward pre-hook", hook(self.module, given), given)
        self.grad_output = given
        if self.inputs is None:
            nothing = (None,) * self.count
            for hook in self.hooks:
                found = hook(self.module, nothing, given)
                if found is not None and any(g is not None for g in found):
                    raise tg.GradientError(
                        "backward hook: got gradients for a call none of whose inputs requires "
                        "one, expected None; try register_full_backward_pre_hook"
                    )
            self.grad_output = None
        return _picked(given, places, grads)

    def _entered(self, grads: Gradients, _: Gradients) -> Gradients:
        if self.grad_output is None:  # what came here did not pass the output
            return grads
        places = self.inputs or []
        every = [tg.zeros(b[0], dtype=b[1], device=b[2]) if g is None else g
                 for g, b in zip(grads, self.blank)]  # fmt: skip
        given = _spread(every, places, self.count)
        for hook in self.hooks:
            given = _replaced("backward hook", hook(self.module, given, self.grad_output), given)
        self.grad_output = None
        return _picked(given, places, grads)


def _behind(values: tuple[Any, ...], step: Hook) -> tuple[tuple[Any, ...], list[int] | None]:
    """Values with a node behind the tensors among them, whose step backward calls `step`.

    None where none of them is recorded, or a transform (jvp, vmap) hides them.
    """
    places = [k for k, x in enumerate(values) if _differentiable(x)]
    found = [values[k] for k in places]
    if any(x.level for x in found) or not any(x.requires_grad for x in found):
        return values, None
    behind = _passed(*found)
    if not behind[0].requires_grad:  # nothing is recorded here
        return values, None
    behind[0].register_node_hook(step)
    whole = list(values)
    for k, x in zip(places, behind):
        whole[k] = x
    return tuple(whole), places


def _differentiable(x: Any) -> bool:
    return isinstance(x, tg.Tensor) and tg.dtypes.is_inexact(x.dtype)


def _spread(grads: Sequence[Any], places: Sequence[int], count: int) -> Gradients:
    """Gradients in the places of their values, None for the others."""
    found: list[Any] = [None] * count
    for k, g in zip(places, grads):
        found[k] = g
    return tuple(found)


def _picked(given: Gradients, places: Sequence[int], grads: Gradients) -> Gradients:
    """The gradients that go on, zeros where a hook returned None for one that was there."""
    return tuple([
        None if old is None else tg.zeros_like(old) if given[k] is None else given[k]
        for k, old in zip(places, grads)
    ])  # fmt: skip


def _replaced(name: str, found: Any, given: Gradients) -> Gradients:
    """What a hook returned in place of gradients; as they were for None."""
    if found is None:
        return given
    found = found if isinstance(found, tuple | list) else (found,)
    if len(found) != len(given):
        raise tg.GradientError(
            f"{name}: got {len(found)} gradients, expected {len(given)} as it was given, or None; "
            "try a tuple of as many"
        )
    return tuple(found)


# -- around loading ------------------------------------------------------------------------------


class Loading:
    """What hooks may add to while a state is loaded."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []

    def prepared(self, module: Module, given: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        """The state after the hooks of a module and its parts; each sees what is under its name."""
        own = {name: value for name, value in given.items() if name.startswith(prefix)}
        for hook in list(module._hooks.loading.values()) if module._hooks is not None else ():
            hook(module, own, prefix, {}, self.strict, self.missing, self.unexpected, self.errors)
        for name, child in module._parts():
            part = self.prepared(child, own, f"{prefix}{name}.")
            own = {n: v for n, v in own.items() if not n.startswith(f"{prefix}{name}.")} | part
        return own


def loaded(module: Module, report: Any) -> None:
    """Call the hooks of a module and its parts after their state was loaded, parts first."""
    for _, child in module._parts():
        loaded(child, report)
    for hook in list(module._hooks.loaded.values()) if module._hooks is not None else ():
        if hook(module, report) is not None:
            raise TypeError(
                "load_state_dict post-hook: got a result, expected None; try changing the lists "
                "of incompatible_keys in place"
            )
