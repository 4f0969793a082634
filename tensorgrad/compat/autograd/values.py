"""Values as autograd has them: containers split into leaves, tensors in and out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tensorgrad as tg
from tensorgrad import Tensor
from tensorgrad.transforms.tree import flatten

CONTAINERS = (tuple, list, dict)


def split(value: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of a nested container, and what puts others in their places; see `flatten`.

    What is no tuple, list or dict is one leaf, whatever it is.
    """
    if isinstance(value, CONTAINERS):
        return flatten(value)
    return [value], lambda leaves: leaves[0]


def mapped(f: Callable[[Any], Any], value: Any) -> Any:
    """The same container with f of every leaf."""
    leaves, rebuild = split(value)
    return rebuild([f(x) for x in leaves])


def tensors(values: Any) -> Iterator[Tensor]:
    """The tensors in a value, however deep they are nested."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, tuple | list):
        for one in values:
            yield from tensors(one)
    elif isinstance(values, dict):
        yield from tensors(list(values.values()))


def moving(t: Tensor) -> bool:
    """Whether a derivative could be taken through a tensor."""
    return t.level > 0 or t.requires_grad


def bare(x: Any) -> Any:
    """A tensor's array, a NumPy scalar for one without axes; all else as it is."""
    if not isinstance(x, Tensor):
        return x
    array = x.value()
    return array if array.ndim else array[()]


def settled(x: Any) -> Any:
    """A tensor through which no derivative goes, or Python's number, as NumPy's value."""
    if isinstance(x, Tensor):
        return x if moving(x) or x.device != "cpu" else bare(x)
    return np.asarray(x)[()] if type(x) in (float, complex) else x


def is_complex(x: Any) -> bool:
    """Whether a number, array or tensor is complex."""
    dtype = getattr(x, "dtype", None)
    return isinstance(x, complex) if dtype is None else np.dtype(dtype).kind == "c"


def conj(x: Any) -> Any:
    """The conjugate of a complex value; a real one as it is."""
    return np.conj(x) if is_complex(x) else x


def argument(x: Any) -> Any:
    """A leaf that a derivative is taken in: a float as NumPy's, an integer array as float64.

    Raises `TypeError` for what autograd has no vector space for: Python integers, strings, None.
    """
    if isinstance(x, Tensor | np.ndarray | np.generic):
        kind = np.dtype(x.dtype).kind
        if kind in "iu" and isinstance(x, np.ndarray) and x.ndim:
            return x.astype(float)
        good = kind in "fcV"  # V: bfloat16
    elif hasattr(x, "__cuda_array_interface__"):
        return x
    else:
        good = isinstance(x, float | complex)
        x = np.asarray(x)[()] if good else x
    if not good:
        raise TypeError(
            f"grad: got {x!r} of type {type(x).__name__}, expected floating-point numbers or "
            f"arrays where a derivative is taken; try float({x!r})"
        )
    return x


def as_tensor(x: Any) -> Tensor:
    """A value as a tensor."""
    return x if isinstance(x, Tensor) else tg.asarray(x)
