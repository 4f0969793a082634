"""The registry: every public operation as one entry, from which all else follows.

Names, NumPy mapping, Tensor methods, type stubs, documentation rows and tests are read from here.
An entry that lacks what the tests need is refused when it is made.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tensorgrad.core.formula import Elementwise, inputs_of
from tensorgrad.core.fused import Fused
from tensorgrad.core.primitive import PRIMITIVES, Primitive

Samples = Callable[[Any], Iterable[tuple[tuple[Any, ...], dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One public operation.

    function: what users call; arrays first, then axes and options, named as NumPy names them
    name: dotted where it is not of the package itself ("linalg.solve": tg.linalg.solve)
    numpy: dotted names of the NumPy functions that mean it ("sum", "linalg.norm"), and of SciPy's
        ufuncs ("scipy.special.gammaln")
    methods: names under which a Tensor has it
    oracle: the same on NumPy arrays, by other means; for tests only
    samples: samples(draw) yields (arguments, options) for tests, at least eight layouts
    orders: the orders of derivative that exist (0 where the result is constant)
    """

    name: str
    function: Callable[..., Any]
    numpy: tuple[str, ...]
    methods: tuple[str, ...]
    oracle: Callable[..., Any] | str
    samples: Samples
    orders: int
    family: str

    @property
    def doc(self) -> str:
        """The first line of its docstring."""
        return (self.function.__doc__ or "").strip().split("\n")[0]


OPERATIONS: dict[str, Operation] = {}
SECOND: dict[str, dict[str, str]] = {}
"""Further names in a namespace, of operations that stand elsewhere: {"special": {"expit": ...}}."""


def also(namespace: str, **names: str) -> None:
    """Give operations that stand elsewhere a name in a namespace: `also("special", expit=...)`."""
    SECOND.setdefault(namespace, {}).update(names)


def names_in(namespace: str) -> dict[str, Callable[..., Any]]:
    """The operations of a namespace by their names in it."""
    lead = f"{namespace}."
    found = {n.removeprefix(lead): o.function for n, o in OPERATIONS.items() if n.startswith(lead)}
    second = {name: OPERATIONS[of].function for name, of in SECOND.get(namespace, {}).items()}
    return {**second, **found}


def primitive(name: str, **rules: Any) -> Primitive:
    """Define a base primitive; see `Primitive` for the rules."""
    return known(Primitive(name, **rules))  # type: ignore[no-any-return]


def fused(name: str, reference: Callable[..., Any], *, nin: int, spec: Any) -> Fused:
    """Define a fused primitive: its meaning in public operations, its kernel in the backends."""
    return known(Fused(name, reference, nin=nin, spec=spec))  # type: ignore[no-any-return]


def known(found: Any) -> Any:
    """Enter a primitive into the table of primitives; a name can be taken once."""
    if found.name in PRIMITIVES:
        raise ValueError(f"primitive: got {found.name!r} twice, expected a new name; try another")
    PRIMITIVES[found.name] = found
    return found


def operation(
    *,
    oracle: Callable[..., Any] | str,
    samples: Samples,
    numpy: str = "",
    methods: str = "",
    orders: int = 3,
    name: str | None = None,
    namespace: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function a public operation (a decorator); `numpy` and `methods` are words.

    `namespace="linalg"`: it is `tg.linalg.NAME`, and stands as "linalg.NAME" in the registry.
    """

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        called = dotted(namespace, name or function.__name__)
        family = function.__module__.rsplit(".", 1)[-1]
        _enter(called, function, numpy, methods, oracle, samples, orders, family)
        return function

    return enter


def elementwise(
    name: str,
    fn: Callable[..., Any],
    *,
    doc: str,
    oracle: Callable[..., Any] | str,
    samples: Samples,
    numpy: str = "",
    methods: str = "",
    kinds: str | None = None,
    orders: int = 3,
    family: str = "elementwise",
    namespace: str = "",
) -> Callable[..., Any]:
    """Define an elementwise operation by its formula: kernels, derivatives and tests follow."""
    found = known(Elementwise.trace(name, fn, kinds, differentiable=orders > 0))
    function = public(found, doc, inputs_of(fn))
    _enter(dotted(namespace, name), function, numpy, methods, oracle, samples, orders, family)
    return function


def dotted(namespace: str, name: str) -> str:
    """The name under which an operation stands in the registry."""
    return f"{namespace}.{name}" if namespace else name


def public(found: Primitive, doc: str, names: Iterable[str]) -> Callable[..., Any]:
    """The call path of a primitive as the public function of its name, with its inputs' names."""
    function: Any = found.bind
    function.__name__ = function.__qualname__ = found.name
    function.__doc__ = doc
    function.__module__ = "tensorgrad"
    inputs = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in names]
    function.__signature__ = inspect.Signature(inputs)
    return function  # type: ignore[no-any-return]


def _enter(
    name: str,
    function: Callable[..., Any],
    numpy: str,
    methods: str,
    oracle: Callable[..., Any] | str,
    samples: Samples,
    orders: int,
    family: str,
) -> None:
    if name in OPERATIONS:
        raise ValueError(f"operation: got {name!r} twice, expected a new name; try another")
    if not (function.__doc__ or "").strip():
        raise ValueError(
            f"{name}: got no docstring, expected one; try one sentence and the formula"
        )
    OPERATIONS[name] = Operation(
        name,
        function,
        tuple(numpy.split()),
        tuple(methods.split()),
        oracle,
        samples,
        orders,
        family,
    )
