"""Nested data as one real vector, for solvers that know nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.complex import imag, real
from tensorgrad.ops.join import concatenate
from tensorgrad.ops.shape import astype, reshape
from tensorgrad.transforms.reverse import like
from tensorgrad.transforms.tree import flatten


def source_of(leaves: Iterable[Any]) -> Any:
    """The value whose kind the results get: a tensor if there is one, else the first."""
    found = list(leaves)
    return next((x for x in found if isinstance(x, Tensor)), found[0] if found else None)


class Layout:
    """How the arrays of a container lie in a vector; complex ones as real and imaginary parts."""

    def __init__(self, tree: Any, op: str) -> None:
        self.op = op
        self.leaves, self.rebuild = flatten(tree)
        found = [operand(x, (), op) for x in self.leaves]
        need(found, op, state=tree, want="at least one array", fix="an array", error=TypeError)
        for x in found:
            need(
                dtypes.is_inexact(x.dtype),
                op,
                state=x,
                want="floating-point arrays or numbers",
                fix="x.astype(float)",
                error=DTypeError,
            )
        self.shapes = [x.shape for x in found]
        self.dtypes = [x.dtype for x in found]
        self.dtype = dtypes.real(dtypes.result_type(*self.dtypes))

    def pack(self, tree: Any) -> Tensor:
        """The vector of a container of this layout; raises `ShapeError` for another one."""
        leaves, _ = flatten(tree)
        found = [operand(x, (), self.op) for x in leaves]
        shapes = [x.shape for x in found]
        need(
            shapes == self.shapes,
            self.op,
            result=shapes,
            want=f"the shapes {self.shapes} of the state",
            fix="returning one array per array of the state, of its shape",
        )
        parts: list[Any] = []
        for x, dtype in zip(found, self.dtypes):
            flat = reshape(x, (-1,))
            if dtypes.real(dtype) != dtype:
                parts += [real(flat), imag(flat)]
            else:
                need(
                    dtypes.real(x.dtype) == x.dtype,
                    self.op,
                    result=x,
                    want=f"{dtype.name} as in the state",
                    fix="a complex initial state",
                    error=DTypeError,
                )
                parts.append(flat)
        vector = parts[0] if len(parts) == 1 else concatenate(parts)
        return vector if vector.dtype == self.dtype else astype(vector, self.dtype)  # type: ignore[no-any-return]

    def unpack(self, vector: Any) -> Any:
        """The container whose vector this is."""
        found, at = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes):
            size = 1
            for extent in shape:
                size *= extent
            x = vector[at : at + size]
            at += size
            if dtypes.real(dtype) != dtype:
                x = x + 1j * vector[at : at + size]
                at += size
            x = reshape(x, shape)
            found.append(x if x.dtype == dtype else astype(x, dtype))
        return self.rebuild(found)

    def as_source(self, tree: Any, source: Any) -> Any:
        """The container with its tensors as the caller's kind of value."""
        leaves, rebuild = flatten(tree)
        if isinstance(source, Tensor):
            return rebuild(leaves)
        return rebuild([like(x, given) for x, given in zip(leaves, self.leaves)])
