"""Gradients that somebody wrote down, held element by element to central differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad._errors import DTypeError, ShapeError, need
from tensorgrad.core.tensor import Tensor

Array = np.ndarray[Any, Any]

STEP = float(np.finfo(np.float64).eps ** (1 / 3))
"""Relative step, where the difference's error h² f''' / 6 and its rounding eps f / h are equal."""


def numerical_gradient(f: Callable[..., Any], args: Sequence[Any]) -> tuple[Array | None, ...]:
    """The gradient of a real scalar function by central differences, one array per argument.

    df/dx_i = (f(x + h e_i) - f(x - h e_i)) / 2h with h = 6e-6 max(1, |x_i|), computed in float64:
    two evaluations of f an element. Complex arguments move along both axes, df/dRe + i df/dIm.
    Integers, booleans and what is no number get None. Raises `ShapeError` if f's value is not one
    real number.

    >>> numerical_gradient(lambda x, n: x**n, (3.0, 2))
    (array(6.), None)
    """
    points = [_point(a) for a in args]
    return tuple(
        _differences(f, points, k) if isinstance(p, np.ndarray) and p.dtype.kind in "fc" else None
        for k, p in enumerate(points)
    )


def check_gradient(
    f: Callable[..., Any],
    gradient: Callable[..., Any],
    args: Sequence[Any],
    names: Sequence[str] | None = None,
    *,
    tolerance: float = 1e-6,
) -> None:
    """Check a hand-written gradient of a real scalar function at `args`.

    `gradient(*args)` returns one array per argument, None for those it leaves out (for a lone
    argument the array itself will do). `names` are f's own parameter names unless given. An element
    passes if its error is at most `tolerance` times the largest element of its argument's gradient,
    plus the rounding error of the difference. Raises `AssertionError` that names every wrong
    argument, the size of the error and the worst element; `ShapeError` for a gradient of another
    shape, `DTypeError` for one of an argument that has none.

    >>> check_gradient(lambda x: x**3, lambda x: 3 * x, (2.0,))
    Traceback (most recent call last):
    AssertionError: check_gradient: got d/dx = 6, expected 12 (central difference) ...
    """
    names = list(names) if names is not None else parameter_names(f, len(args))
    claimed = gradient(*args)
    claimed = claimed if isinstance(claimed, tuple | list) else (claimed,)
    need(
        len(claimed) == len(args) == len(names),
        "check_gradient",
        gradients=len(claimed),
        arguments=len(args),
        names=len(names),
        want="one gradient and one name per argument",
        fix="None for an argument that has no gradient",
    )
    estimates = numerical_gradient(f, args)
    rounding = 32 * np.finfo(np.float64).eps * abs(_value(f, args)) / STEP
    wrong = []
    for name, mine, estimate in zip(names, claimed, estimates):
        if mine is not None:
            found = _compare(name, as_array(mine), estimate, tolerance, rounding)
            wrong += [found] if found else []
    if wrong:
        raise AssertionError(
            f"check_gradient: got {'; '.join(wrong)}; try the chain rule again at "
            f"{'that argument' if len(wrong) == 1 else 'what these arguments share'}"
        )


def _compare(
    name: str, mine: Array, estimate: Array | None, tolerance: float, rounding: float
) -> str | None:
    """What is wrong with the gradient of one argument, in words; None if nothing is."""
    if estimate is None:
        raise DTypeError(
            f"check_gradient: got a gradient of {name}, which is no floating-point number, "
            "expected None; try leaving it out"
        )
    if mine.shape != estimate.shape:
        raise ShapeError(
            f"check_gradient: got d/d{name} of shape {mine.shape}, expected {estimate.shape} as "
            f"{name} itself; try summing over the axes along which {name} was broadcast"
        )
    error = np.abs(mine - estimate)
    scale = float(np.max(np.abs(estimate), initial=0.0))
    bad = ~(error <= tolerance * scale + rounding)
    if not bad.any():
        return None
    worst = np.unravel_index(int(np.argmax(np.where(np.isnan(error), np.inf, error))), error.shape)
    place = f"[{', '.join(str(k) for k in worst)}]" if worst else ""
    return (
        f"d/d{name}{place} = {mine[worst]:.6g}, expected {estimate[worst]:.6g} (central "
        f"difference), error {error[worst]:.2g}, wrong in {int(bad.sum())} of {bad.size} elements"
    )


def _differences(f: Callable[..., Any], points: list[Any], k: int) -> Array:
    """The gradient with respect to argument k; the argument is moved in place, in a copy."""
    moved = points[k].copy()
    here = [moved if j == k else p for j, p in enumerate(points)]
    gradient = np.zeros_like(moved)
    axes = (1.0, 1j) if moved.dtype.kind == "c" else (1.0,)
    for place in np.ndindex(moved.shape):
        at = moved[place]
        h = STEP * max(1.0, abs(at))
        for axis in axes:
            moved[place] = above = at + h * axis
            up = _value(f, here)
            moved[place] = below = at - h * axis
            gradient[place] += axis * (up - _value(f, here)) / abs(above - below)
        moved[place] = at
    return np.asarray(gradient)


def _value(f: Callable[..., Any], args: Sequence[Any]) -> float:
    value = as_array(f(*args))
    need(
        value.size == 1 and value.dtype.kind in "fiu",
        "check_gradient",
        value=value,
        want="one real number from the function",
        fix="np.sum(...) of it",
    )
    return float(value.reshape(()))


def as_array(value: Any) -> Array:
    """A value off the tape as a NumPy array."""
    return np.asarray(value.detach().numpy() if isinstance(value, Tensor) else value)


def _point(argument: Any) -> Any:
    """A floating argument in double precision, anything else as it is."""
    if not isinstance(argument, Tensor | np.ndarray | np.generic | float | complex | list):
        return argument
    array = as_array(argument)
    if array.dtype.kind not in "fc":
        return argument
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def parameter_names(f: Callable[..., Any], count: int) -> list[str]:
    """f's own parameter names, positions where it has none."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [p.name for p in parameters if p.kind in kinds][:count]
    return named + [f"argument {k}" for k in range(len(named), count)]
