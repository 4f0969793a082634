"""NumPy's functions on tensors: `np.f(tensor)` is the operation that the registry maps f to.

A function that is mapped to nothing runs on the bare arrays if no argument is on the tape, or if
its result is a constant anyway; else it refuses by name. Never an object array, never a gradient
cut in silence.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tensorgrad import _config, dtypes, shapes
from tensorgrad._errors import DTypeError, InPlaceError, NotDifferentiable, ShapeError, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tape import WRITES as WRITTEN
from tensorgrad.core.tensor import Payload, Tensor, make
from tensorgrad.ops import writing
from tensorgrad.ops.at import fits
from tensorgrad.ops.create import asarray, full
from tensorgrad.ops.elementwise import where as select
from tensorgrad.ops.join import stack
from tensorgrad.ops.refusals import AS_TENSOR, CONSTANT, CREATION, REFUSED, WRITES, dotted, shown
from tensorgrad.ops.shape import astype, broadcast_to

NAMESPACES = ("emath", "fft", "interpolate", "linalg", "signal", "special", "stats")
"""Packages of operations that are loaded when they are first met, to keep the import light."""

UFUNCS: dict[Any, Callable[..., Any]] = {}
"""The operation that each of NumPy's ufuncs means."""

FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: shapes.size(
        tuple([a.shape[k] for k in shapes.axes(axis, a.ndim, "size")])
    ),
}
"""The operation that each of NumPy's functions means, and what reads a shape alone."""

INNER = {"_core.umath.clip": "clip"}
"""Ufuncs without a public name, which NumPy's own methods call, and the operations they mean."""

_LOADED: set[str] = set()
_BY_NAME: dict[str, Callable[..., Any]] = {}


def resolve(name: str) -> Any:
    """NumPy's function of a dotted name, None where this NumPy has none."""
    found: Any = np
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def build() -> None:
    """Fill the tables from the registry.

    SciPy's ufuncs are known by name, and numpy.polynomial is left alone until somebody has imported
    it: both can wait.
    """
    waiting = "numpy.polynomial" not in sys.modules
    for operation in OPERATIONS.values():
        for name in operation.numpy:
            if name.startswith("scipy."):
                _BY_NAME[name.rpartition(".")[2]] = operation.function
                continue
            if waiting and name.startswith("polynomial."):
                continue
            found = resolve(name)
            if isinstance(found, np.ufunc):
                UFUNCS[found] = operation.function
            elif found is not None:
                FUNCTIONS[found] = operation.function
    for name, called in INNER.items():
        UFUNCS[resolve(name)] = OPERATIONS[called].function


def load(namespace: str) -> None:
    """Fill the registry and the tables with the operations of a namespace."""
    if namespace not in _LOADED:
        _LOADED.add(namespace)
        importlib.import_module(f"tensorgrad.ops.{namespace}")
        build()


def _function(function: Any) -> Callable[..., Any] | None:
    """The operation that one of NumPy's functions means."""
    found = FUNCTIONS.get(function)
    if found is None:
        namespace = (getattr(function, "__module__", "") or "").removeprefix("numpy.")
        namespace = "emath" if namespace == "lib.scimath" else namespace
        if namespace in NAMESPACES and namespace not in _LOADED:
            load(namespace)
        elif namespace.startswith("polynomial."):
            build()
        found = FUNCTIONS.get(function)
    return found


def named(ufunc: Any) -> Callable[..., Any] | None:
    """The operation that a ufunc means; one of SciPy's is known by its name."""
    found = UFUNCS.get(ufunc)
    if found is None:
        name: str = ufunc.__name__
        special = sys.modules.get("scipy.special")  # whoever has its ufunc has imported it
        if getattr(special, name, None) is ufunc:
            load("special")
            found = _BY_NAME.get(name)
    return found


def into(name: str, result: Any, out: Any) -> Any:
    """A result written to `out=`, as an assignment in place is."""
    target = out[0] if isinstance(out, tuple) else out
    if not isinstance(target, Tensor):
        raise TypeError(
            f"{name}: got out={type(target).__name__} for a tensor's result, expected a tensor; "
            "try out=tg.asarray(array), which shares its memory"
        )
    if isinstance(result, Tensor):
        need(fits(result.dtype, target.dtype), name, result=result, out=target,
             want="an out= that its kind of number fits in", fix=f"x[...] = {name}(...)",
             error=DTypeError)  # fmt: skip
    kept = isinstance(result, Tensor) and not (result.node is None and target.node is None)
    if kept and result is not target and result.shape == target.shape:
        wrong, right = f"{name}(..., out=x)", f"x = {name}(...)"
        taken = writing.Target(target, (result,), wrong, right)
        if not taken.plain:
            taken.put(writing.WHOLE, result)
            return target
    target[...] = result
    return target


def outside(inputs: Any, out: Any) -> Any:
    """Inputs in memory of their own, where `out` is recorded over theirs."""
    targets = [t for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor)]
    if not _config.is_recording() or not any(
        isinstance(x, Tensor) and x.node is not None for x in (*inputs, *targets)
    ):
        return inputs
    for target in targets:
        inputs = writing.apart(inputs, target)
    return inputs


def array_function(self: Tensor, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """`np.sum(tensor)` and the like; see the NumPy protocol of that name."""
    mapped = _function(function)
    if mapped is None:
        return _unmapped(self, function, args, kwargs)
    out = None
    if len(args) != 1 or kwargs:
        args, kwargs, out = _translated(function, mapped, args, kwargs)
        args = args if out is None else outside(args, out)
    try:
        result = mapped(*args, **kwargs)
    except TypeError:
        _check_call(shown(function), mapped, args, kwargs)
        raise
    return result if out is None else into(shown(function), result, out)


# -- a call of NumPy's function as one of the operation ----------------------------------------


class Spelling(NamedTuple):
    """How a NumPy function's arguments are those of its operation.

    agree: so many positional arguments mean the same in both
    keywords: names that the operation takes, where it takes the rest by position
    theirs, ours: the two signatures, None where one has none
    """

    agree: int
    keywords: frozenset[str]
    theirs: inspect.Signature | None
    ours: inspect.Signature


_SPELLINGS: dict[Any, Spelling] = {}
_DROPPED = frozenset(("subok",))
"""Options that say nothing about a tensor."""
_NONE = np._NoValue  # what NumPy means by an option that is not given


def _spelling(function: Any, mapped: Callable[..., Any]) -> Spelling:
    found = _SPELLINGS.get(function)
    if found is None:
        found = _SPELLINGS[function] = _compared(function, mapped)
    return found


def _compared(function: Any, mapped: Callable[..., Any]) -> Spelling:
    """The signatures of a NumPy function and its operation, side by side."""
    ours = inspect.signature(mapped)
    mine = list(ours.parameters.values())
    keywords = frozenset([p.name for p in mine if p.kind in (p.KEYWORD_ONLY, _EITHER)])
    try:
        theirs = inspect.signature(function)
    except ValueError:
        return Spelling(64, keywords, None, ours)
    given = list(theirs.parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in given):
        return Spelling(64, keywords, None, ours)
    agree = 0
    for a, b in zip(given, mine):
        required = a.default is a.empty and b.default is b.empty
        if a.kind is a.KEYWORD_ONLY or b.kind not in (b.POSITIONAL_ONLY, _EITHER):
            break
        if not required and a.name != b.name:
            break
        agree += 1
    return Spelling(agree, keywords, theirs, ours)


_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD


def _translated(
    function: Any, mapped: Callable[..., Any], args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any], Any]:
    """The arguments as the operation names them, and `out`: NumPy's order is its own."""
    spelling = _spelling(function, mapped)
    out = kwargs.pop("out", None)
    plain = len(args) <= spelling.agree and kwargs.keys() <= spelling.keywords
    if spelling.theirs is None or (plain and all(v is not _NONE for v in kwargs.values())):
        return args, kwargs, out
    given = spelling.theirs.bind(*args, **kwargs).arguments
    out = given.pop("out", out)
    for name, p in spelling.theirs.parameters.items():
        if p.kind is p.VAR_KEYWORD and name in given:
            given.update(given.pop(name))
        elif name in given and (given[name] is _NONE or name in _DROPPED):
            del given[name]
    lead = []
    for name in list(spelling.theirs.parameters)[: spelling.agree]:
        if name not in given:
            break
        lead.append(given.pop(name))
    rest = {
        k: v for k, v in given.items() if k in spelling.keywords or not _default(spelling, k, v)
    }
    return lead, rest, out


def _default(spelling: Spelling, name: str, value: Any) -> bool:
    """Whether a value is what NumPy's function takes anyway."""
    p = spelling.theirs.parameters.get(name) if spelling.theirs else None
    return p is not None and p.default is not p.empty and value is p.default


def _check_call(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """Raise `TypeError` that shows the signature where the arguments do not fit it."""
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        names = ", ".join(signature.parameters)
        raise TypeError(
            f"{name}: got arguments that tensors do not take ({error}), expected ({names}); "
            "try it without them, with np.where(mask, x, 0) for where="
        ) from None


# -- what is no operation ----------------------------------------------------------------------


def _unmapped(self: Tensor, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = dotted(function)
    if name in WRITES:
        return written(shown(function), function, args, kwargs)
    if name in AS_TENSOR:
        return _as_tensor(self, *args, **{"copy": name == "array", **kwargs})
    if name in CREATION:
        return _created(self, function, args, kwargs)
    return bare(shown(function), function, args, kwargs)


def bare(name: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """An unmapped function on the arrays behind the tensors: for constants alone."""
    out = kwargs.pop("out", None)
    found: list[Tensor] = []
    args, kwargs = _stripped(args, found), _stripped(kwargs, found)
    key = dotted(function)
    if key not in CONSTANT and any(map(_moving, found)):
        want, instead = REFUSED.get(key, _NO_RULE)
        raise NotDifferentiable(
            f"{name}: got a tensor that needs a gradient, expected {want}; try {instead}"
        )
    for t in found:
        if t.level and not _readable(t):
            raise ShapeError(
                f"{name}: got a value with a batch hidden in it, expected an array that can be "
                "read; try it outside vmap, or a loop over the batch"
            )
    result = _wrapped(function(*args, **kwargs))
    return result if out is None else into(name, result, out)


_NO_RULE = (
    "a function with a derivative",
    "tensorgrad's operations, or x.detach() where a constant is meant",
)


def _moving(t: Tensor) -> bool:
    """Whether a gradient or tangent of t would be cut."""
    return bool(t.level) or (t.node is not None and _config.is_recording())


def _readable(t: Tensor) -> bool:
    data = t.data
    while isinstance(data, Payload):
        if not data.readable:
            return False
        data = data.inner.data
    return True


def _stripped(value: Any, found: list[Tensor]) -> Any:
    """Arguments with the arrays of tensors in their place; the tensors are added to `found`."""
    if isinstance(value, Tensor):
        found.append(value)
        return value.value()
    if isinstance(value, list | tuple):
        parts = [_stripped(v, found) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {k: _stripped(v, found) for k, v in value.items()}
    return value


def _wrapped(value: Any) -> Any:
    """Arrays of numbers as tensors, also in tuples and lists; all else as it is."""
    if isinstance(value, list | tuple):
        parts = [_wrapped(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, np.generic) or base.known(type(value)):
        return make(base.asarray(value)) if value.dtype.name in dtypes.NAMES else value
    return value


def written(name: str, function: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """A function that writes into its first argument: recorded where that or a value is."""
    target, rest = (args[0], args[1:]) if args else (kwargs.pop(next(iter(kwargs))), ())
    found: list[Tensor] = []
    bare, options = _stripped(rest, found), _stripped(kwargs, found)
    wrong, right = f"{name}(x, ...)", "x = np.where(mask, v, x)"
    if not isinstance(target, Tensor):
        if any(map(_moving, found)):
            raise InPlaceError(
                f"{wrong}: got a recorded value, whose gradient would be cut by writing it into "
                f"{type(target).__name__}, expected a constant; instead of `{wrong}` try "
                f"`{right}`, or v.detach()"
            )
        function(target, *bare, **options)
        return
    taken = writing.Target(target, found, wrong, right)
    if taken.plain and isinstance(target.data, np.ndarray):
        function(target.data, *bare, **options)
        WRITTEN.note(target.data, base.bounds(target.data))
        return
    old = target if taken.above else writing.twin(target)
    if not taken.above:
        rest = writing.apart(rest, target)
    key = dotted(function)
    changed = _copied_to if key == "copyto" else OPERATIONS[key].function
    result = changed(old, *rest, **kwargs)
    if taken.plain:
        target[...] = result
    else:
        taken.take(result)


def _copied_to(old: Any, src: Any, casting: str = "same_kind", where: Any = True) -> Any:
    """What `np.copyto` leaves in its first argument."""
    value = astype(operand(src, (old,)), old.dtype, casting=casting, copy=False)
    value = broadcast_to(value, old.shape)
    return value if where is True else select(operand(where, near=old), value, old)


def _as_tensor(
    self: Tensor, a: Any, dtype: Any = None, requirements: Any = None, *, ndmin: int = 0,
    copy: bool | None = None, **options: Any,
) -> Any:  # fmt: skip
    """`np.array(a, like=tensor)`: tensors in nested lists are stacked, and stay on the tape."""
    if isinstance(a, list | tuple) and any(isinstance(t, Tensor) for t in _leaves(a)):
        found: Any = stack([_as_tensor(self, one) for one in a])
        found = asarray(found, dtype)
    elif isinstance(a, Tensor):
        found = asarray(a, dtype)
    else:
        found = make(base.of(self.value()).asarray(a, dtype))
    found = found.copy() if copy and found is a else found
    return found[(None,) * (ndmin - found.ndim)] if found.ndim < ndmin else found


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _created(self: Tensor, function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """`np.ones(3, like=tensor)`: made by NumPy, and sent to the tensor's device."""
    if function.__name__ == "full":
        given = {k: v for k, v in kwargs.items() if k == "dtype"}
        return full(*args, **given, device=self.device)
    found = function(*args, **kwargs)
    return found if isinstance(found, Tensor) else make(base.of(self.value()).asarray(found))
