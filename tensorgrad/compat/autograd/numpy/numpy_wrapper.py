"""Functions of autograd's NumPy that are not NumPy's, or that NumPy does not hand to tensors."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from tensorgrad import Tensor
from tensorgrad.compat.autograd.namespaces import array, is_array, maker, wrapped
from tensorgrad.compat.autograd.values import tensors


def where(condition: Any, *args: Any, **kwargs: Any) -> Any:
    """`np.where`; among Python's values alone the result is Python's too, as autograd has it."""
    if not args and not kwargs:
        return np.where(condition)
    given = dict(zip(("x", "y"), args))
    given.update(kwargs)
    if given.keys() != {"x", "y"}:
        raise ValueError(
            f"where: got {sorted(given)}, expected both x and y, or neither; try "
            "np.where(condition, x, y)"
        )
    x, y = [array(v) if any(True for _ in tensors(v)) else v for v in (given["x"], given["y"])]
    found = np.where(condition, x, y)
    if is_array(condition) or is_array(x) or is_array(y):
        return found
    return found.tolist()


def full(shape: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """`np.full`, differentiable in the value."""
    if not isinstance(fill_value, Tensor):
        return np.full(shape, fill_value, dtype, **kwargs)
    value: Any = fill_value if dtype is None else fill_value.astype(dtype)
    return np.broadcast_to(value, shape)


def full_like(a: Any, fill_value: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """`np.full_like`, differentiable in the value."""
    if not isinstance(fill_value, Tensor):
        return np.full_like(a, fill_value, dtype, **kwargs)
    return full(np.shape(a), fill_value, np.result_type(a) if dtype is None else dtype)


def concatenate_args(axis: int, *args: Any) -> Any:
    """`np.concatenate(args, axis)`."""
    return np.concatenate(args, axis)


def make_diagonal(D: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Matrices with the last axis of D on their diagonals, over the last two axes.

    Raises `NotImplementedError` for anything but offset=0, axis1=-1, axis2=-2.
    """
    if (offset, axis1, axis2) != (0, -1, -2):
        raise NotImplementedError(
            f"make_diagonal: got offset={offset}, axis1={axis1}, axis2={axis2}, expected 0, -1, "
            "-2; try make_diagonal(D, offset=0, axis1=-1, axis2=-2)"
        )
    return np.expand_dims(D, -1) * np.eye(np.shape(D)[-1], dtype=D.dtype)


class Joined:
    """`np.r_` and `np.c_` for tensors: the pieces in brackets along one axis."""

    def __init__(self, theirs: Any, columns: bool) -> None:
        self._theirs, self._columns = theirs, columns

    def __getitem__(self, key: Any) -> Any:
        pieces = key if isinstance(key, tuple) else (key,)
        if not any(True for _ in tensors(pieces)):
            return self._theirs[key]
        if any(isinstance(p, str) for p in pieces):
            raise NotImplementedError(
                f"np.r_: got {next(p for p in pieces if isinstance(p, str))!r} beside tensors, "
                "expected arrays, numbers and slices; try np.concatenate"
            )
        made = [np.atleast_1d(np.r_[p] if isinstance(p, slice) else array(p)) for p in pieces]
        if self._columns:
            made = [p[:, None] if p.ndim == 1 else p for p in made]
        return np.concatenate(made, -1)


r_, c_ = Joined(np.r_, False), Joined(np.c_, True)

_MAKERS = ("asarray", "asanyarray", "ascontiguousarray", "asfortranarray", "require")
_OWN: dict[str, Any] = {
    "array": array,
    "c_": c_,
    "full": full,
    "full_like": full_like,
    "r_": r_,
    "where": where,
    **{name: maker(getattr(np, name)) for name in _MAKERS},
}


def wrap_namespace(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Put the names of a NumPy namespace into another one, its functions wrapped for tensors."""
    module = types.ModuleType("namespace")
    vars(module).update(old)
    new.update(wrapped(module))
