"""Basic indexing: a view by integers, slices, new axes and an ellipsis, and its adjoint."""

from __future__ import annotations

from typing import Any

from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import primitive

Key = tuple[Any, ...]


def expanded(key: Key, ndim: int) -> list[Any]:
    """The key with its ellipsis written out, or put behind; raises `IndexError` if it is long."""
    used = sum(k is not None and k is not Ellipsis for k in key)
    dots = [n for n, k in enumerate(key) if k is Ellipsis]
    if len(dots) > 1 or used > ndim:
        raise IndexError(
            f"getitem: got {used} indices and {len(dots)} ellipses for {ndim} axes, expected at "
            "most one index an axis and one ellipsis; try fewer"
        )
    place = dots[0] if dots else len(key)
    return [*key[:place], *[slice(None)] * (ndim - used), *key[place + 1 :]]


def _index_spec(x: Spec, *, key: Key) -> Spec:
    shape: list[int] = []
    rest = iter(x.shape)
    for k in expanded(key, x.ndim):
        if k is None:
            shape.append(1)
        elif isinstance(k, slice):
            shape.append(len(range(*k.indices(next(rest)))))
        else:
            next(rest)
    return Spec(tuple(shape), x.dtype)


index_p: Primitive = primitive(
    "index",
    nin=1,
    spec=_index_spec,
    vjp=(lambda ct, out, x, *, key: unindex_p.bind(ct, key=key, shape=x.shape),),
    linear=(0,),
    batch=lambda inputs, batched, *, key: index_p.bind(inputs[0], key=(slice(None), *key)),
    view=True,
)

unindex_p: Primitive = primitive(
    "unindex",
    nin=1,
    spec=lambda ct, *, key, shape: Spec(shape, ct.dtype),
    vjp=(lambda ct, out, x, *, key, shape: index_p.bind(ct, key=key),),
    linear=(0,),
    batch=lambda inputs, batched, *, key, shape: unindex_p.bind(
        inputs[0], key=(slice(None), *key), shape=(inputs[0].shape[0], *shape)
    ),
)
