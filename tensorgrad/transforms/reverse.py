"""Reverse mode over functions: grad, value_and_grad, vjp.

A transform runs the function on fresh copies of its arguments (aliases: the value is shared) and
walks the tape back to those alone. Tensors that the function captured are parents like any other:
when one is met, or an argument was recorded itself, the walk is recorded too, so that an outer
transform or `backward` can go on through it.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, GradientError, need
from tensorgrad.backend import base
from tensorgrad.core import fused
from tensorgrad.core.backward import gradients, seed
from tensorgrad.core.primitive import operand
from tensorgrad.core.tape import Node, captured, next_seq, reachable, stored
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.transforms.tree import flatten, map_leaves


def alias(value: Any, op: str) -> Tensor:
    """A tensor of the same value with a node of its own, recorded if the value was."""
    x = operand(value)
    need(
        dtypes.is_inexact(x.dtype),
        op,
        argument=x if isinstance(value, Tensor) else value,
        want="floating-point arrays or numbers where a derivative is taken",
        fix="x.astype(float), or argnums without it",
        error=DTypeError,
    )
    return fused.alias(x)


def like(result: Tensor, source: Any) -> Any:
    """A result as the caller's kind of value: NumPy for NumPy, a number for a number.

    A result that is still on a tape or in a transform stays a tensor.
    """
    if source is None or isinstance(source, Tensor) or result.node is not None or result.level:
        return result
    if base.known(type(source)) is base.known(type(result.data)) and result.device != "cpu":
        return result.data
    array = result.numpy()
    if isinstance(source, float | int | complex) and not array.ndim:
        return array.item()
    return array if array.ndim else array[()]


def zeros(shape: tuple[int, ...], dtype: Any, near: Tensor) -> Tensor:
    """A constant of zeros where another tensor lives."""
    return make(base.of(near.value()).full(shape, 0, dtype))


def below(x: Tensor) -> list[Node]:
    """The nodes of what a value of a level above 0 is made of."""
    if not x.level:
        return []
    inside = [t for t in (x.data.inner, getattr(x.data, "tangent", None)) if t is not None]
    return [n for t in inside for n in (t.node, *below(t)) if n is not None]


Argnums = int | str | Sequence[int | str]
"""Which arguments a derivative is taken in: a position or a name, or several of them."""


class Arguments:
    """The arguments of a call, some of them chosen: as leaves, and back in their containers."""

    def __init__(
        self, f: Callable[..., Any], args: Sequence[Any], kwargs: Any, argnums: Argnums, op: str
    ) -> None:
        self.args, self.kwargs, self.single = args, kwargs, isinstance(argnums, int | str)
        numbers: Any = (argnums,) if self.single else tuple(argnums)  # type: ignore[arg-type]
        self.chosen = [self._place(f, k, op) for k in numbers]
        if len(set(self.chosen)) < len(numbers):
            raise GradientError(
                f"{op}: got argnums={argnums}, expected every argument once; try without the second"
            )
        found = [flatten(kwargs[k] if isinstance(k, str) else args[k]) for k in self.chosen]
        self.leaves = [x for leaves, _ in found for x in leaves]
        self.parts = [(len(leaves), rebuild) for leaves, rebuild in found]

    def _place(self, f: Callable[..., Any], k: int | str, op: str) -> int | str:
        """Where an argument is: its position, or its name among those given by name."""
        count = len(self.args)
        if isinstance(k, str):
            if k in self.kwargs:
                return k
            at = _position(f, k)
            if 0 <= at < count:
                return at
            raise GradientError(
                f"{op}: got argnums={k!r} in a call of {count} positional arguments and "
                f"{sorted(self.kwargs)}, expected an argument of that name; try passing it"
            )
        if not -count <= k < count:
            raise GradientError(
                f"{op}: got argnums={k} for {count} positional arguments, expected a position "
                "among them; try passing the argument by position, or argnums with its name"
            )
        return k % count

    def call(self, f: Callable[..., Any], values: list[Any]) -> Any:
        """f of all arguments, with these values for the leaves of the chosen ones."""
        args, kwargs = list(self.args), dict(self.kwargs)
        for k, value in zip(self.chosen, self._rebuilt(values)):
            if isinstance(k, str):
                kwargs[k] = value
            else:
                args[k] = value
        return f(*args, **kwargs)

    def shaped(self, flat: list[Any]) -> Any:
        """Flat results in the containers of the chosen; one alone if one number was asked."""
        results = self._rebuilt(flat)
        return results[0] if self.single else tuple(results)

    def _rebuilt(self, flat: list[Any]) -> list[Any]:
        results, at = [], 0
        for count, rebuild in self.parts:
            results.append(rebuild(flat[at : at + count]))
            at += count
        return results


def _position(f: Callable[..., Any], name: str) -> int:
    """The position of a parameter; -1 where it has none."""
    import inspect  # late: arguments are mostly named by position

    try:
        found = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):  # a function of C without a signature
        found = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return next((k for k, p in enumerate(found) if p.name == name and p.kind in kinds), -1)


class Call:
    """One call of a function on aliases of some of its arguments."""

    def __init__(
        self, f: Callable[..., Any], args: Sequence[Any], kwargs: Any, argnums: Argnums, op: str
    ) -> None:
        self.outer = _config.is_recording()
        arguments = Arguments(f, args, kwargs, argnums, op)
        self.sources, self.shaped = arguments.leaves, arguments.shaped
        self.since = next_seq()
        with _config.setting(_config.recording, True):
            self.aliases = [alias(x, op) for x in self.sources]
            self.result = arguments.call(f, self.aliases)

    @property
    def targets(self) -> list[Node]:
        return [t.node for t in self.aliases if t.node is not None]

    def cotangents(
        self, outputs: list[Tensor], cts: list[Tensor], free: bool = False
    ) -> list[Tensor]:
        """The cotangents of the aliases, zeros where nothing flows."""
        recorded = _config.is_recording() and (
            any(ct.node is not None or below(ct) for ct in cts)
            or bool(captured([n for y in outputs for n in below(y)], self.targets, self.since))
        )
        start = next_seq()
        found = gradients(
            outputs,
            cts,
            self.targets,
            create_graph=True if recorded else None if self.outer else False,
            free=free,
            since=self.since,
        )
        found = self._cut(found, start)
        return [zeros(t.shape, t.dtype, t) if g is None else g for g, t in zip(found, self.aliases)]

    def _cut(self, found: list[Tensor | None], start: int) -> list[Tensor | None]:
        """Recorded cotangents (nodes from `start` on) without what leads to own leaves alone.

        Nobody can ask for those leaves' gradients. A backward through the cotangents would compute
        them, and free what the next pull reads.
        """
        own = {id(node) for node in self.targets if not node.parents}
        ends = [g.node for g in found if g is not None]
        if not own or not any(ends):
            return found
        for node in reachable(ends, lambda n: n.seq < self.since):
            if node.seq > self.since and node.parents:
                kept = [None if id(p) in own else p for p in node.parents]
                if not any(kept):
                    own.add(id(node))
                elif node.seq > start:
                    _keep(node, kept)
        return [make(g.data, None, g.level) if g is not None and id(g.node) in own else g
                for g in found]  # fmt: skip

    def pull(self, outputs: list[Tensor], cts: list[Tensor], free: bool) -> list[Any]:
        """The cotangents of the aliases, as their sources' kind."""
        return [like(g, x) for g, x in zip(self.cotangents(outputs, cts, free), self.sources)]


def _keep(node: Node, parents: list[Node | None]) -> None:
    """Leave a node these parents, the others None, and of what it saved what their rules read.

    A node that says itself what it saves (a checkpoint, a custom rule) stays as it is, and so does
    one whose rule of fewer inputs reads something else.
    """
    op, mask = node.primitive, sum(1 << k for k, p in enumerate(parents) if p is not None)
    held = stored(node) or ()
    if op is None or mask == node.mask or op.nin < 0:
        return
    before, after = op.kept(node.mask), op.kept(mask)
    if len(before) == len(held) and set(after) <= set(before):
        node.saved = tuple([held[before.index(k)] for k in after])
        node.parents, node.mask = tuple(parents), mask


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns (f(x), df/dx) for a scalar f.

    `argnums` says which arguments: a position, or the name of one, which may then be passed by
    name; one gives one gradient, a sequence a tuple of them. Each may be a nested container. With
    `has_aux` f returns (value, aux), and so ((value, aux), gradient) comes back. NumPy arguments
    give NumPy results. The gradient of an argument that f ignores is zeros. Raises `GradientError`
    if f's value is not one element, `DTypeError` for arguments that are not floating point.

    >>> import numpy as np
    >>> value_and_grad(lambda x: np.sum(x ** 2))(np.array([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = Call(f, args, kwargs, argnums, "grad")
        value, aux = split(call.result, has_aux, "grad")
        y = _scalar(value)
        gradient = call.shaped(call.pull([y], [seed(y)], True))
        source = call.sources[0] if call.sources else None
        value = like(outer(y, call), source)
        if has_aux:
            return (value, map_leaves(lambda x: aux_of(x, call), aux)), gradient
        return value, gradient

    return run


def split(result: Any, has_aux: bool, op: str) -> tuple[Any, Any]:
    """(value, aux) of what a function returned."""
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{op}: got {type(result).__name__} from the function, expected (value, aux), as "
            "has_aux says; try `return value, aux`"
        )
    return result


def outer(y: Tensor, call: Call) -> Tensor:
    """A result without the tape of this call, at any level, unless it hangs on an outer one too."""
    if call.outer and any(node.parents for node in call.targets):
        return y
    node = y.node
    if node is not None and not (call.outer and captured([node], call.targets, call.since)):
        node = None
    data = y.data
    if y.level:
        data = copy.copy(data)
        data.inner = outer(data.inner, call)
        if getattr(data, "tangent", None) is not None:
            data.tangent = outer(data.tangent, call)
    return make(data, node, y.level)


def aux_of(value: Any, call: Call) -> Any:
    """An auxiliary result as its caller gets it: as it is, tensors without this call's tape."""
    return outer(value, call) if isinstance(value, Tensor) else value


def _scalar(value: Any) -> Tensor:
    y = operand(value, (), "grad")
    need(y.dtype.kind not in "biu", "grad", value=y,
         want="a floating dtype from the function: what changes in steps has no gradient",
         fix="dropping the astype(int)", error=GradientError)  # fmt: skip
    need(
        y.size == 1 and dtypes.is_float(y.dtype),
        "grad",
        value=y,
        want="one real number from the function",
        fix=".real or abs(...) of it" if y.size == 1 else "np.sum(...) of it, or tg.vjp",
        error=GradientError,
    )
    return y


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The gradient of a scalar function, as a function; see `value_and_grad`.

    With `has_aux` it returns (gradient, aux).

    >>> grad(lambda x: x ** 3)(2.0)
    12.0
    >>> grad(grad(lambda x: x ** 3))(2.0)
    12.0
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return run


def vjp(f: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(f(*primals), pull): pull(cotangent) gives every primal's cotangent, and may be called again.

    The cotangent has the structure and shapes of the result. Under the inner product
    Re Σ conj(a)·b pull is the adjoint of f's derivative. With `has_aux` f returns (result, aux),
    and (result, pull, aux) comes back. Raises `DTypeError` for primals that are not floating point,
    `GradientError` for a cotangent of another structure or shape.

    >>> y, pull = vjp(lambda x, w: x * w, 2.0, 3.0)
    >>> pull(1.0)
    (3.0, 2.0)
    """
    call = Call(f, primals, {}, range(len(primals)), "vjp")
    result, aux = split(call.result, has_aux, "vjp")
    leaves, rebuild = flatten(result)
    outputs = [operand(y) for y in leaves]

    def pull(cotangent: Any) -> tuple[Any, ...]:
        given, _ = flatten(cotangent)
        need(
            len(given) == len(outputs),
            "vjp",
            cotangents=len(given),
            want=f"{len(outputs)}, one per output",
            fix="a cotangent of the structure of the result",
            error=GradientError,
        )
        cts = [seed(y, ct) for y, ct in zip(outputs, given)]
        return call.shaped(call.pull(outputs, cts, False))  # type: ignore[no-any-return]

    source = call.sources[0] if call.sources else None
    value = rebuild([like(outer(y, call), source) for y in outputs])
    return (value, pull, map_leaves(lambda x: aux_of(x, call), aux)) if has_aux else (value, pull)
