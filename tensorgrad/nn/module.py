"""Module: a layer or a network, which is its attributes and a `forward`.

What is assigned to `self` is registered by its type: a `Parameter` is a weight, a `Module` a part.
A plain tensor is neither; `register_buffer` makes it part of the state. The value lives in the
instance's `__dict__` like any other attribute, so reading one costs what Python charges for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import tensorgrad as tg
from tensorgrad.nn import state, tree
from tensorgrad.nn.hookable import Hookable
from tensorgrad.nn.hooks import Call
from tensorgrad.nn.parameter import Parameter, drop_gradient

PARAMETER, BUFFER, MODULE = "parameter", "buffer", "module"
_TYPES: dict[str, type] = {PARAMETER: Parameter, BUFFER: tg.Tensor, MODULE: object}


class Module(Hookable):
    """Base of every layer and network: `__init__` makes the parts, `forward` uses them.

    >>> class Net(Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.scale = Parameter([2.0])
    ...     def forward(self, input):
    ...         return input * self.scale
    >>> [name for name, _ in Net().named_parameters()]
    ['scale']
    """

    training: bool
    _kinds: dict[str, str]  # the registered attributes, in the order of their assignment
    _transient: set[str]  # buffers that the state_dict leaves out

    def __init__(self) -> None:
        put = self.__dict__
        put["training"] = True
        put["_kinds"], put["_transient"] = {}, set()
        put["_hooks"] = None

    # -- calling -------------------------------------------------------------------------------

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        name = type(self).__name__
        raise TypeError(
            f"{name}: got a call, expected the class to define forward; "
            f"try `def forward(self, input): ...` in class {name}"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if kwargs or self._hooks:
            if self._hooks:
                return Call(self, args, kwargs).run(self._hooks)
            return self.forward(*args, **kwargs)
        return self.forward(*args)

    # -- registration --------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Parameter):
            self._enter(name, PARAMETER)
        elif isinstance(value, Module):
            self._enter(name, MODULE)
        elif value is not None and name in self.__dict__.get("_kinds", ()):
            self._check_replacement(name, value)
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        self._kinds.pop(name, None)
        self._transient.discard(name)

    def _enter(self, name: str, kind: str) -> None:
        kinds = self.__dict__.get("_kinds")
        if kinds is None:
            raise AttributeError(_uninitialised(type(self).__name__, name))
        if kinds.get(name) != kind:
            # A name that changes its kind goes to the end, as one that is new.
            kinds.pop(name, None)
            self._transient.discard(name)
            kinds[name] = kind

    def _check_replacement(self, name: str, value: Any) -> None:
        kind = self._kinds[name]
        if kind == BUFFER and isinstance(value, tg.Tensor):
            return
        wanted = {PARAMETER: "an nn.Parameter", BUFFER: "a tensor", MODULE: "an nn.Module"}[kind]
        fix = f"nn.Parameter(value), or `with tg.no_grad(): module.{name}[...] = value`"
        raise TypeError(
            f"{type(self).__name__}.{name}: got {type(value).__name__}, expected {wanted} or None "
            f"as what it was registered with; "
            f"try {fix if kind == PARAMETER else f'del module.{name} first'}"
        )

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Register a parameter under a name; None keeps the name, as a `bias` left out does."""
        self._register(name, param, PARAMETER, Parameter)

    def register_buffer(self, name: str, tensor: tg.Tensor | None, persistent: bool = True) -> None:
        """Register a tensor that is state but no parameter: saved unless not `persistent`."""
        self._register(name, tensor, BUFFER, tg.Tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Register a part under a name."""
        self._register(name, module, MODULE, Module)

    register_module = add_module

    def _register(self, name: str, value: Any, kind: str, wanted: type) -> None:
        what = f"register {kind} {name!r}"
        if not isinstance(name, str) or not name or "." in name:
            raise KeyError(f"{what}: got a name that is empty or has a dot; try another")
        if value is not None and not isinstance(value, wanted):
            raise TypeError(
                f"{what}: got {type(value).__name__}, expected {wanted.__name__} or None; "
                f"try {wanted.__name__}(...)"
            )
        taken = self.__dict__.get("_kinds", {}).get(name) not in (None, kind)
        if taken or (hasattr(self, name) and name not in self._kinds):
            raise KeyError(
                f"{what}: got a name that {type(self).__name__} already uses; try another"
            )
        self._enter(name, kind)
        object.__setattr__(self, name, value)

    # -- walking -------------------------------------------------------------------------------

    def _own(self, kind: str) -> Iterator[tuple[str, Any]]:
        """The registered attributes of one kind that are not None."""
        held = self.__dict__
        for name, found in self._kinds.items():
            if found == kind and held[name] is not None:
                yield name, held[name]

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The parts of this module alone, by name; a shared one once."""
        return _once(self._own(MODULE))

    def children(self) -> Iterator[Module]:
        """The parts of this module alone."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (named by the prefix) and every part of it, depth first, a shared one once.

        Without `remove_duplicate` a shared one comes under each of its names.
        """
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._own(MODULE):
            below = f"{prefix}.{name}" if prefix else name
            yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and every part of it, each once."""
        return (module for _, module in self.named_modules())

    def _named(
        self, kind: str, prefix: str, recurse: bool, once: bool
    ) -> Iterator[tuple[str, Any]]:
        walked = self.named_modules(None, prefix, once) if recurse else iter([(prefix, self)])
        found = (
            (f"{above}.{name}" if above else name, value)
            for above, module in walked
            for name, value in module._own(kind)
        )
        return _once(found) if once else found

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Every parameter with its dotted name; a tied one once, under its first name.

        `prefix` goes in front of all names; without `recurse` those of this module alone; without
        `remove_duplicate` a tied one under each of its names.
        """
        return self._named(PARAMETER, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Every parameter, a tied one once."""
        return (value for _, value in self.named_parameters("", recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, tg.Tensor]]:
        """Every buffer with its dotted name, as `named_parameters` has them."""
        return self._named(BUFFER, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[tg.Tensor]:
        """Every buffer, a shared one once."""
        return (value for _, value in self.named_buffers("", recurse))

    def get_submodule(self, target: str) -> Module:
        """The part of a dotted name, "" for the module itself; raises `AttributeError`."""
        return tree.part(self, target)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of a dotted name; raises `AttributeError`."""
        return tree.held(self, target, PARAMETER)  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> tg.Tensor:
        """The buffer of a dotted name; raises `AttributeError`."""
        return tree.held(self, target, BUFFER)  # type: ignore[no-any-return]

    def set_submodule(self, target: str, module: Module) -> None:
        """Put a module in the place of a dotted name, whose owner must be there."""
        above, _, name = target.rpartition(".")
        self.get_submodule(above).add_module(name, module)

    # -- modes ---------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set `training` of this module and its parts: dropout drops only while it is True."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """The same as `train(False)`."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set the gradient of every parameter to None, or else to zeros."""
        for param in self.parameters():
            if set_to_none:
                drop_gradient(param)
            elif param.grad is not None:
                param.grad = tg.zeros_like(param.grad.detach())

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or thaw (True) every parameter; a frozen one loses its gradient."""
        for param in self.parameters():
            param.requires_grad = requires_grad
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every part and last on the module itself, as an initialiser wants it."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def to(self, target: Any = None, dtype: Any = None, *, device: str | None = None) -> Self:
        """Move to a device and cast the floating parameters and buffers to a floating dtype.

        `target` is either: `net.to("float64")`, `net.to("cpu")`, `net.to("cpu", "float64")`. The
        parameters stay the same objects. Raises `DTypeError` for an integer dtype, `DeviceError`.
        """
        where, what = state.destination(target, device, dtype)
        for module in self.modules():
            for _, param in module._own(PARAMETER):
                state.move(param, where, what)
            for name, buffer in module._own(BUFFER):
                object.__setattr__(module, name, state.moved(buffer, where, what))
        return self

    def cpu(self) -> Self:
        """Move to the CPU."""
        return self.to("cpu")

    def cuda(self, device: int | str | None = None) -> Self:
        """Move to a GPU: the current one, or that of a number or a name."""
        return self.to("cuda" if device is None else f"cuda:{device}".replace("cuda:cuda", "cuda"))

    def float(self) -> Self:
        """Cast to float32 what is floating."""
        return self.to("float32")

    def double(self) -> Self:
        """Cast to float64 what is floating."""
        return self.to("float64")

    def half(self) -> Self:
        """Cast to float16 what is floating."""
        return self.to("float16")

    def bfloat16(self) -> Self:
        """Cast to bfloat16 what is floating."""
        return self.to("bfloat16")

    # -- state ---------------------------------------------------------------------------------

    def state_dict(
        self,
        *,
        destination: dict[str, tg.Tensor] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, tg.Tensor]:
        """Every parameter and persistent buffer by dotted name, off the tape unless `keep_vars`.

        They share memory with the module, so that saving costs no copy: copy what must not change
        with the next step. A tied parameter appears under each of its names. `destination` is a
        dict to add them to.
        """
        found: dict[str, tg.Tensor] = {} if destination is None else destination
        self._save(found, prefix, keep_vars)
        return found

    def _save(self, found: dict[str, tg.Tensor], prefix: str, keep_vars: bool) -> None:
        hooks = self._hooks
        for hook in list(hooks.saving.values()) if hooks is not None else ():
            hook(self, prefix, keep_vars)
        for name, value in self._state(prefix):
            found[name] = value if keep_vars else value.detach()
        for name, module in self._own(MODULE):
            module._save(found, f"{prefix}{name}.", keep_vars)
        for hook in list(hooks.saved.values()) if hooks is not None else ():
            if hook(self, found, prefix, {}) is not None:
                raise TypeError(
                    "state_dict post-hook: got a result, expected None; try changing the dict"
                )

    def _state(self, prefix: str) -> Iterator[tuple[str, tg.Tensor]]:
        """The module's own state, without that of its parts."""
        for name, value in (*self._own(PARAMETER), *self._own(BUFFER)):
            if name not in self._transient:
                yield prefix + name, value

    def _parts(self) -> Iterator[tuple[str, Module]]:
        return self._own(MODULE)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.Report:
        """Copy tensors or arrays into the parameters and buffers of the same names.

        They may be of another device or precision, and of any library with DLPack. Nothing is
        written unless all fits: a shape or kind of number that does not is an error, and, when
        `strict`, a name that is missing or unexpected; the error lists them together. (With a
        post-hook names are judged last, since it may settle them.) With `assign` what is given
        takes the place of what was there, with its dtype and device: make the optimizer after that.
        Returns the missing and unexpected names.
        """
        return state.load(self, state_dict, strict, assign)

    # -- text ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows between the parentheses: the layer's settings."""
        return ""

    def __repr__(self) -> str:
        return state.text(type(self).__name__, self.extra_repr(), list(self._own(MODULE)))


def _once(pairs: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _uninitialised(class_name: str, attribute: str) -> str:
    return f"""{class_name}.{attribute}: got an assignment before Module.__init__ ran, expected it \
after, since it registers what is assigned; try

    class {class_name}(nn.Module):
        def __init__(self):
            super().__init__()          # first
            self.{attribute} = ...
"""
