"""`fuse`: a user's elementwise function as one operation with derivatives of every order."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any

from tensorgrad.core.formula import Elementwise
from tensorgrad.expr import Expr, Formula
from tensorgrad.expr import input as variable
from tensorgrad.transforms.branches import traced

_NUMBERS = (int, float)
"""Types of defaults that may be replaced by arrays."""


def fuse(f: Callable[..., Any]) -> Callable[..., Any]:
    """One operation from a function of scalars: a decorator.

    `f` is written with operators and elementwise functions (NumPy's, tensorgrad's, other fused
    ones) and returns one value or a tuple of values. It is traced when it is decorated, on
    variables that stand for one element each: it runs once, its loops are unrolled, numbers that
    it finds outside are constants. The result takes arrays, tensors and numbers, broadcasts as
    NumPy does, and is differentiable to every order; the formula is one kernel, and so is each
    derivative. Beyond 2,000 nodes (a call of a function counts as 20) or 32 arrays it is cut into
    several kernels, run block by block; beyond 32,000 NumPy runs it.

    A parameter with a default may be left out, and then is that constant, or be given, by
    position or name, and then is an argument like the others. Defaults that are not numbers (a
    name, None) are options: the function is traced anew for each value of them.

    A Python branch on a variable, or its conversion to a number, raises TypeError and shows
    the line and its `np.where` form; an array from outside raises TypeError: make it an argument.
    Inside one formula the derivative of a select is a select of derivatives, so a fused
    `where(x > 0, sqrt(x), 0)` has gradient 0 at 0 where the same steps one by one have nan.

    >>> import numpy as np, tensorgrad as tg
    >>> @tg.fuse
    ... def swish(x, beta=1.0):
    ...     return x / (1 + np.exp(-beta * x))
    >>> swish(np.array([0.0, 2.0]))
    tensor([0.        , 1.76159416])
    >>> float(tg.grad(swish)(0.0))
    0.5
    >>> tg.fuse(lambda x: x if x > 0 else 0.0)
    Traceback (most recent call last):
    TypeError: fused: got `tg.fuse(lambda x: x if x > 0 else 0.0)`, expected no Python branch ...
    """
    name = getattr(f, "__name__", "fused")
    forms = _Forms(f, name if name.isidentifier() else "fused")
    plain = forms.find((), ())
    bind, count = plain.bind, plain.nin if forms.positional else -1

    def call(*args: Any, **named: Any) -> Any:
        if named or len(args) != count:
            op, given = forms.chosen(args, named)
            return op.bind(*given)
        return bind(*args)

    functools.update_wrapper(call, f)
    found: Any = call
    found.__name__, found.__qualname__ = forms.name, getattr(f, "__qualname__", forms.name)
    found.primitive = plain
    found.kernel = lambda *arrays, out=None: plain.kernels[type(arrays[0])](*arrays, out=out)
    return found  # type: ignore[no-any-return]


class _Forms:
    """The operations of one function: one for each choice of what is given beyond the arrays."""

    def __init__(self, f: Callable[..., Any], name: str) -> None:
        self.f, self.name = f, name
        self.signature = _signature(f, name)
        every = self.signature.parameters.values()
        self.arrays = [p.name for p in every if p.default is Parameter.empty]
        self.numbers = [p.name for p in every if type(p.default) in _NUMBERS]
        self.positional = all(p.kind is not p.KEYWORD_ONLY for p in every)
        self.known: dict[Any, Elementwise] = {}

    def chosen(
        self, args: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[Elementwise, tuple[Any, ...]]:
        """The operation of a call and its inputs; TypeError for a call that does not fit."""
        try:
            given = self.signature.bind(*args, **named).arguments
        except TypeError as error:
            names = "".join(f", {n}=" for n in named)
            raise TypeError(
                f"{self.name}: got {len(args)} arguments{names} ({error}), expected "
                f"{self.name}{self.signature}; try leaving out what has a default"
            ) from None
        inputs = [n for n in given if n in self.arrays or n in self.numbers]
        options = tuple([(n, v) for n, v in given.items() if n not in inputs])
        more = tuple([n for n in inputs if n not in self.arrays])
        return self.find(more, options), tuple([given[n] for n in inputs])

    def find(self, more: tuple[str, ...], options: tuple[tuple[str, Any], ...]) -> Elementwise:
        """The operation with these further inputs and options, traced when it is first met."""
        try:
            found = self.known.get((more, options))
        except TypeError:
            raise TypeError(
                f"{self.name}: got the option {options!r}, expected values that can be compared "
                "(names, numbers, None); try making an array an argument without a default"
            ) from None
        if found is None:
            found = self.known[more, options] = self._trace(more, options)
        return found

    def _trace(self, more: tuple[str, ...], options: tuple[tuple[str, Any], ...]) -> Elementwise:
        order = [n for n in self.signature.parameters if n in self.arrays or n in more]
        fixed = dict(options)
        straight = self.positional and order == list(self.signature.parameters)

        def run(*values: Any) -> Any:
            if straight:
                return self.f(*values)
            bound = self.signature.bind_partial()
            bound.arguments.update(zip(order, values), **fixed)
            return self.f(*bound.args, **bound.kwargs)

        def checked(*values: Any) -> Any:
            return _result(run(*values), self.name)

        formula = traced(
            self.name,
            lambda: Formula.trace(self.name, checked, [variable(n) for n in order]),
        )
        op = Elementwise(
            self.name, formula, differentiable=any(o.kind == "f" for o in formula.outputs)
        )
        op.fn, op.autocast = run, ""  # its name may be one of ours
        return op


def _signature(f: Callable[..., Any], name: str) -> inspect.Signature:
    """The parameters of a function that can be fused, without annotations."""
    try:
        found = inspect.signature(f)
    except (TypeError, ValueError):
        raise TypeError(
            f"fuse: got {f!r}, expected a Python function with named parameters; "
            f"try tg.fuse(lambda x: {name}(x))"
        ) from None
    bare = [p.replace(annotation=Parameter.empty) for p in found.parameters.values()]
    found = inspect.Signature(bare)
    starred = [p for p in bare if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if starred or all(p.default is not Parameter.empty for p in bare):
        got = f"the parameter {starred[0]}" if starred else f"{name}{found}"
        raise TypeError(
            f"fuse: got {got}, expected a fixed number of parameters, one at least without a "
            f"default; try def {name}(x, y): ..."
        )
    return found


def _result(value: Any, name: str) -> Any:
    """What a function returned, if it is a value or a tuple of values."""
    values = value if isinstance(value, tuple) else (value,)
    wrong = [v for v in values if not isinstance(v, (Expr, *_NUMBERS)) and not _is_number(v)]
    if wrong or not values:
        got = type(wrong[0]).__name__ if wrong else "an empty tuple"
        raise TypeError(
            f"{name}: got {got} as its result, expected one value per element or a tuple of "
            "them; try `return y` or `return y, z`"
        )
    return value


def _is_number(value: Any) -> bool:
    return getattr(value, "shape", None) == () and hasattr(value, "item")
