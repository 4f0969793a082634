"""Functions of one argument as functions of any: autograd's `argnum`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def wraps(
    fun: Any, namestr: str = "{fun}", docstr: str = "{doc}", **kwargs: Any
) -> Callable[[Any], Callable[..., Any]]:
    """A decorator that names a function after another one."""

    def named(f: Any) -> Callable[..., Any]:
        name, doc = get_name(fun), get_doc(fun)
        f.__name__ = namestr.format(fun=name, **kwargs)
        f.__doc__ = docstr.format(fun=name, doc=doc, **kwargs)
        return f  # type: ignore[no-any-return]

    return named


def get_name(f: Any) -> str:
    """The name of a function."""
    return getattr(f, "__name__", "[unknown name]")


def get_doc(f: Any) -> str:
    """The docstring of a function."""
    return getattr(f, "__doc__", None) or ""


def unary_to_nary(unary_operator: Callable[..., Any]) -> Callable[..., Any]:
    """An operator on functions of one argument as one on functions of several.

    op(f, argnum)(*args) is op(x -> f(..., x, ...))(args[argnum]), with a tuple of arguments where
    argnum is a tuple or a list. Raises `AssertionError` for any other argnum, `IndexError` for one
    beyond the positional arguments.
    """

    @functools.wraps(unary_operator)
    def nary_operator(fun: Any, argnum: Any = 0, *options: Any, **named: Any) -> Any:
        assert type(argnum) in (int, tuple, list), (
            f"{get_name(unary_operator)}: got argnum={argnum!r}, expected a position or a tuple "
            "of them; try argnum=0"
        )

        def nary_f(*args: Any, **kwargs: Any) -> Any:
            chosen = (argnum,) if isinstance(argnum, int) else tuple(argnum)
            for k in chosen:
                if not -len(args) <= k < len(args):
                    raise IndexError(
                        f"{get_name(unary_operator)}: got argnum={argnum} for {len(args)} "
                        "positional arguments, expected positions among them; try passing the "
                        "argument by position"
                    )

            @functools.wraps(fun)
            def unary_f(x: Any) -> Any:
                given = list(args)
                for k, value in zip(chosen, (x,) if isinstance(argnum, int) else x):
                    given[k] = value
                return fun(*given, **kwargs)

            x = args[argnum] if isinstance(argnum, int) else tuple([args[k] for k in chosen])
            return unary_operator(unary_f, x, *options, **named)

        op, f = get_name(unary_operator).lstrip("_"), get_name(fun)
        nary_f.__name__ = f"{op}_of_{f}_wrt_argnum_{argnum}"
        nary_f.__doc__ = f"{op} of {f} in its argument {argnum}; it takes the arguments of {f}."
        return nary_f

    return nary_operator
