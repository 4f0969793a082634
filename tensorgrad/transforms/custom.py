"""Derivatives that the user writes: custom_vjp and custom_jvp.

A decorated function is a primitive whose rules are the user's. Each of the two modes follows from
the other by transposition: a tangent map is the adjoint of the (linear) map from cotangents, and a
cotangent map that of the map from tangents. Under `vmap` the function and its rules are batched and
called one level lower, so that what is differentiated there meets the user's rule as well.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from tensorgrad import _config
from tensorgrad._errors import GradientError
from tensorgrad.core.fused import replay
from tensorgrad.core.levels import Batched, Dual, dual
from tensorgrad.core.primitive import Params, Primitive, Wanted
from tensorgrad.core.tape import Node, captured, next_seq
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.transforms.forward import parts
from tensorgrad.transforms.node import recorded
from tensorgrad.transforms.reverse import like, zeros
from tensorgrad.transforms.rules import (
    Mapped,
    Rules,
    Tensors,
    WrittenJvp,
    WrittenVjp,
    refuse,
)


class Custom(Primitive):
    """A decorated function as a primitive: parents are its arguments, then what it captured.

    whole: it is one node even where no argument is recorded, only what it captured
    """

    whole = False

    def __init__(self, kind: str, f: Callable[..., Any]) -> None:
        name = f"{kind}({getattr(f, '__name__', 'f')})"
        super().__init__(name, nin=-1, nout=-1, spec=f, batch=f, vjp=f)

    def positions(self, mask: int) -> tuple[int, ...]:
        raise AssertionError("a custom function saves its values itself")

    def call(self, rules: Rules, inputs: Tensors) -> Tensors:
        """The results, on the tape of the inputs' level if it is on."""
        level = max((x.level for x in inputs), default=0)
        recording, since = _config.is_recording(), next_seq()
        residuals: list[Any] | None = None
        if level and (self.whole or _meets_rules_below(inputs, level)):
            dual = any(type(x.data) is Dual for x in inputs if x.level == level)
            outs, below = (self._pushed if dual else self._mapped)(rules, inputs, level)
            own = [n for x in inputs for n in _nodes([x], level)]
            extra = captured(_nodes(below, level), own, since) if recording else []
        elif recording and (self.whole or any(x.node is not None for x in inputs)):
            outs, residuals = rules.save([x.detach() for x in inputs])
            refuse(any(y.level > level for y in outs), self.name)
            extra = captured([y.node for y in outs], [], since)
        else:
            return rules.run([x.detach() for x in inputs])
        if not recording or not outs or not (extra or any(x.node is not None for x in inputs)):
            return outs
        kept = [r for r in residuals or () if isinstance(r, Tensor)]
        fixed = None if residuals is None else [_fixed(r) for r in residuals]
        shapes = [(y.shape, y.dtype) for y in outs]
        params = {"rules": rules, "fixed": fixed, "shapes": shapes, "count": len(inputs)}
        return recorded(self, inputs, extra, outs, params, [r.data for r in kept])

    def below(self, rules: Rules, inputs: Tensors, level: int) -> Tensors:
        """The results of a call on what is under a level, which have to be under it too."""
        outs = self.call(rules, inputs)
        refuse(any(y.level >= level for y in outs), self.name)
        return outs

    def _pushed(self, rules: Rules, inputs: Tensors, level: int) -> tuple[Tensors, Tensors]:
        """The call in forward mode: results of this level, and what they are made of."""
        at = [x.data.inner if x.level == level else x for x in inputs]
        along = [
            zeros(x.shape, x.dtype, x)
            if x.level != level or x.data.tangent is None
            else x.data.tangent
            for x in inputs
        ]
        outs: Tensors = []
        for y, found in zip(self.below(rules, at, level), rules.push(at, along)):
            value, moved = parts(y, level) if y.level == level else (y, None)
            if found is not None:
                step: Any = parts(found, level)[0]
                moved = step if moved is None else moved + step
            outs.append(dual(level, value, moved))
        return outs, outs

    def _mapped(self, rules: Rules, inputs: Tensors, level: int) -> tuple[Tensors, Tensors]:
        """The call over a batch: results of this level, and what they hide."""
        batched = [x.level == level for x in inputs]
        at = [x.data.inner if b else x for x, b in zip(inputs, batched)]
        mapped = Mapped(self.name, rules, batched, level)
        inner = self.below(mapped, at, level)
        mapped.forbidden = 0  # level numbers mean something else once this call has returned
        return [make(Batched(level, y), None, level) for y in inner], inner

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """The user's rule for the arguments; the function's own steps for what it captured."""
        params: Params = node.params or {}
        rules, count, fixed = params["rules"], params["count"], params["fixed"]
        saved: Any = node.saved
        inputs = [rebuilt(x, p) for x, p in zip(saved[:count], node.parents)]
        own = [k for k in wanted if k < count]
        if own:
            if fixed is None or _config.is_recording():
                residuals = rules.save(inputs)[1]
            else:
                rest = iter(saved[count:])
                residuals = [rebuilt(next(rest), None) if f is None else f[0] for f in fixed]
            full = [
                zeros(shape, dtype, inputs[0]) if ct is None else ct
                for ct, (shape, dtype) in zip(cts, params["shapes"])
            ]
            found = rules.pull(inputs, residuals, full)
            yield from ((k, found[k]) for k in own if found[k] is not None)
        if len(own) < len(wanted):
            others = [k for k in wanted if k >= count]
            extra: Any = node.parents[count:]
            yield from replay(rules.run, inputs, cts, others, extra)


def _fixed(residual: Any) -> Any:
    """A residual that is no tensor, in a tuple; None for one that is, which the node saves."""
    return None if isinstance(residual, Tensor) else (residual,)


def _meets_rules_below(inputs: Tensors, level: int) -> bool:
    """True if something below this level is differentiated, and must meet the user's rules."""
    for x in inputs:
        if x.level == level:
            if type(x.data) is Dual or x.data.inner.node is not None:
                return True
            if x.data.inner.level and _meets_rules_below([x.data.inner], x.data.inner.level):
                return True
        elif x.node is not None or (x.level and _meets_rules_below([x], x.level)):
            return True
    return False


def _nodes(values: Tensors, level: int) -> list[Node]:
    """The nodes of values of lower levels; of one of this level, those of its parts."""
    found: list[Node] = []
    for x in values:
        if x.level == level:
            tangent = x.data.tangent if type(x.data) is Dual else None
            found += _nodes([x.data.inner] if tangent is None else [x.data.inner, tangent], level)
        elif x.node is not None:
            found.append(x.node)
    return found


def answer(op: Custom, call: WrittenVjp | WrittenJvp) -> Any:
    """The results of a call in their containers, as the caller's kind of value."""
    outs = op.call(call, call.inputs)
    source, shape = call.source, call.shape
    call.inputs, call.source = [], None  # a node has the call; it must not hold what backward frees
    return shape([like(y, source) for y in outs])  # type: ignore[misc]


def _decorated(
    f: Callable[..., Any], kind: str, wanted: str, rules: type[WrittenVjp] | type[WrittenJvp]
) -> tuple[Any, Callable[..., None]]:
    """A function that looks up its rules when it is called, and what sets them."""
    op = Custom(kind, f)
    written: list[Callable[..., Any]] = []

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        if not written:
            raise GradientError(
                f"{op.name}: got a call before its rule was given, expected one; try f.{wanted}"
            )
        return answer(op, rules(op.name, (f, *written), args, options))

    def define(*functions: Callable[..., Any]) -> None:
        written[:] = functions

    return run, define


def custom_vjp(f: Callable[..., Any]) -> Any:
    """f with a backward rule of your own: a decorator; `f.defvjp(forward, backward)` gives it.

    `forward(*args)` returns (f(*args), residuals), any container; `backward(residuals, ct)` returns
    a tuple with the cotangent of each positional argument, of its structure, or None for zero; `ct`
    has the structure of the result. Keyword arguments are handed to f and `forward` as they are, as
    are arguments without a derivative (integers, names). The rules are written with differentiable
    operations: higher orders, forward mode and batches follow from them. What f captured from
    around it has the derivative of f's own steps.

    >>> @custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, ct: (ct.clip(-1.0, 1.0),))
    >>> from tensorgrad import grad
    >>> grad(lambda x: clipped(x) * 5.0)(2.0)
    1.0
    """
    run, define = _decorated(f, "custom_vjp", "defvjp(forward, backward)", WrittenVjp)

    def defvjp(forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Set the rule: forward(*args) -> (result, residuals), backward(residuals, ct) -> tuple."""
        define(forward, backward)

    run.defvjp = defvjp
    return run


def custom_jvp(f: Callable[..., Any]) -> Any:
    """f with a forward-mode rule of your own: a decorator; `f.defjvp(rule)` gives it.

    `rule(primals, tangents)` returns (f(*primals), its tangent), linear in the tangents; both are
    tuples with one entry per positional argument, of its structure, None for the tangent of what
    has no derivative (integers, names). Keyword arguments are handed to f and the rule as they are.
    The rule is written with differentiable operations: reverse mode, which is its transpose, higher
    orders and batches follow from it. What f captured from around it has the derivative of f's own
    steps.

    >>> import numpy as np
    >>> @custom_jvp
    ... def log1pexp(x):
    ...     return np.log1p(np.exp(x))
    >>> log1pexp.defjvp(lambda x, t: (log1pexp(*x), t[0] / (1 + np.exp(-x[0]))))
    >>> from tensorgrad import grad
    >>> grad(log1pexp)(100.0)
    1.0
    """
    run, define = _decorated(f, "custom_jvp", "defjvp(rule)", WrittenJvp)

    def defjvp(rule: Callable[..., Any]) -> None:
        """Set the rule: rule(primals, tangents) -> (result, tangent)."""
        define(rule)

    run.defjvp = defjvp
    return run
