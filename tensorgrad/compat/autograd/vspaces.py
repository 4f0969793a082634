"""Vector spaces: what zeros, sums and inner products mean for a value, nested or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from tensorgrad import Tensor
from tensorgrad.compat.autograd.values import CONTAINERS, conj, is_complex, split


class VSpace:
    """The vector space of a value; `register` says which one a type of values has."""

    mappings: ClassVar[dict[type, Callable[[Any], Any]]] = {}
    iscomplex = False

    @classmethod
    def register(cls, value_type: type, vspace_maker: Callable[[Any], Any] | None = None) -> None:
        """Values of this type have this space, or the one that `vspace_maker(value)` returns."""
        VSpace.mappings[value_type] = vspace_maker or cls

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return x + y

    def scalar_mul(self, x: Any, a: Any) -> Any:
        """a x."""
        return x * a

    def covector(self, x: Any) -> Any:
        """The conjugate of x."""
        return conj(x)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({vars(self)})"


class ArrayVSpace(VSpace):
    """Real arrays of one shape and dtype."""

    def __init__(self, value: Any) -> None:
        self.shape: tuple[int, ...] = np.shape(value)
        self.dtype = np.result_type(value)

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of real dimensions."""
        return int(np.prod(self.shape))

    def zeros(self) -> Any:
        """The zero."""
        return np.zeros(self.shape, self.dtype)

    def ones(self) -> Any:
        """1 in every dimension."""
        return np.ones(self.shape, self.dtype)

    def randn(self) -> Any:
        """Normal numbers from NumPy's global generator."""
        return np.array(np.random.randn(*self.shape)).astype(self.dtype)

    def standard_basis(self) -> Iterator[Any]:
        """Every unit vector, in C order."""
        for index in np.ndindex(*self.shape):
            for unit in self._units():
                found = np.zeros(self.shape, self.dtype)
                found[index] = unit
                yield found

    def _units(self) -> tuple[complex, ...]:
        return (1.0,)

    def inner_prod(self, x: Any, y: Any) -> Any:
        """Re Σ conj(x)·y."""
        return np.dot(np.ravel(x), np.ravel(y))


class ComplexArrayVSpace(ArrayVSpace):
    """Complex arrays of one shape and dtype, as a space over the reals."""

    iscomplex = True

    @property
    def size(self) -> int:
        """The number of real dimensions."""
        return 2 * super().size

    def ones(self) -> Any:
        """1 in every dimension, which is 1 + i in every element."""
        return super().ones() * (1 + 1j)

    def randn(self) -> Any:
        """Normal numbers in both parts."""
        return super().randn() + 1j * super().randn()

    def _units(self) -> tuple[complex, ...]:
        return 1.0, 1j

    def inner_prod(self, x: Any, y: Any) -> Any:
        """Re Σ conj(x)·y."""
        return np.real(np.dot(np.conj(np.ravel(x)), np.ravel(y)))


class ContainerVSpace(VSpace):
    """Nested tuples, lists and dicts: `shape` is the same container of their leaves' spaces."""

    def __init__(self, value: Any) -> None:
        leaves, self._rebuild = split(value)
        self._spaces = [vspace(x) for x in leaves]
        self.shape = self._rebuild(self._spaces)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ContainerVSpace) and bool(self.shape == other.shape)

    def __repr__(self) -> str:
        return f"ContainerVSpace({self.shape})"

    __hash__ = None

    @property
    def size(self) -> int:
        """The number of real dimensions."""
        return sum(s.size for s in self._spaces)

    def _each(self, f: Callable[..., Any], *values: Any) -> Any:
        leaves = [split(v)[0] for v in values]
        return self._rebuild([f(s, *parts) for s, *parts in zip(self._spaces, *leaves)])

    def zeros(self) -> Any:
        """The zero."""
        return self._each(lambda s: s.zeros())

    def ones(self) -> Any:
        """1 in every dimension."""
        return self._each(lambda s: s.ones())

    def randn(self) -> Any:
        """Normal numbers from NumPy's global generator."""
        return self._each(lambda s: s.randn())

    def standard_basis(self) -> Iterator[Any]:
        """Every unit vector, leaf by leaf."""
        for k, space in enumerate(self._spaces):
            for unit in space.standard_basis():
                zeros = [s.zeros() for s in self._spaces]
                yield self._rebuild([*zeros[:k], unit, *zeros[k + 1 :]])

    def add(self, x: Any, y: Any) -> Any:
        """x + y."""
        return self._each(lambda s, a, b: s.add(a, b), x, y)

    def scalar_mul(self, x: Any, a: Any) -> Any:
        """a x."""
        return self._each(lambda s, one: s.scalar_mul(one, a), x)

    def covector(self, x: Any) -> Any:
        """The conjugate of x."""
        return self._each(lambda s, one: s.covector(one), x)

    def inner_prod(self, x: Any, y: Any) -> Any:
        """The sum of the leaves' inner products."""
        pairs = zip(self._spaces, split(x)[0], split(y)[0])
        return sum(s.inner_prod(a, b) for s, a, b in pairs)


def vspace(value: Any) -> Any:
    """The vector space of a value; `TypeError` for one that has none (an integer, a string)."""
    maker = VSpace.mappings.get(type(value))
    if maker is not None:
        return maker(value)
    if isinstance(value, CONTAINERS):
        return ContainerVSpace(value)
    array = isinstance(value, Tensor | np.ndarray)
    if not array and not isinstance(value, float | complex | np.inexact):
        raise TypeError(
            f"vspace: got {value!r} of type {type(value).__name__}, expected floating-point "
            "numbers, arrays, or containers of them; try float(x)"
        )
    return ComplexArrayVSpace(value) if is_complex(value) else ArrayVSpace(value)
