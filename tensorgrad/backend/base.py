"""What a backend offers, and which backend an array belongs to.

Everything above talks to arrays through this page: the kernel of a primitive, of a formula and of
a reduce formula, conversion, and the few array operations that backward itself needs.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from tensorgrad import _config, dtypes
from tensorgrad._errors import DeviceError, DTypeError
from tensorgrad.expr import Formula

Array = Any
Kernel = Callable[..., Any]


class Backend(Protocol):
    """One kind of array and the kernels for it."""

    name: str
    device: str
    array_type: type

    def kernel(self, name: str) -> Kernel:
        """The function of a base primitive: `f(*arrays, out=None, **params)`."""
        ...

    def pull(self, name: str) -> Kernel | None:
        """Its first-order VJP on bare arrays, if it has one: `f(ct, wanted, into, saved, node)`.

        It gives (input, cotangent) pairs. `saved` are the saved values by position; the cotangent
        of input k may be written into the buffer `into(k)`, where that is not None, or added to
        what the buffer `into.onto(k)` holds, where there is one: that buffer is then what it gives.
        """
        ...

    def elementwise(self, formula: Formula, order: int) -> Kernel:
        """The kernel of an elementwise formula: `f(*arrays, out=None)`, a tuple if several.

        `order` is that of derivative. One above 0 is called inside `quiet`; one of 0 sees to it
        itself that a formula of several steps never warns.
        """
        ...

    def reduce(self, formula: Formula, order: int) -> Kernel:
        """The kernel of a reduce formula: `f(*arrays, axis, shape, out=None)`; `order` as above."""
        ...

    def near(self, array: Array) -> Backend:
        """The backend of the device that an array lives on."""
        ...

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        """A value as an array of this backend, not copied where it already is one."""
        ...

    def constant(self, value: Any, dtype: Any) -> Array:
        """A number as a 0-d array that nobody writes to."""
        ...

    def to_numpy(self, array: Array) -> Any:
        """The array as a NumPy array."""
        ...

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
        """A new array filled with one value."""
        ...

    def add(self, a: Array, b: Array) -> Array:
        """a + b, in a new array."""
        ...

    def conj(self, a: Array) -> Array:
        """The complex conjugate."""
        ...

    def conform(self, ct: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        """A cotangent summed over broadcast axes and cast to what it belongs to."""
        ...

    def assign(self, target: Array, value: Array) -> None:
        """Copy `value` into `target`."""
        ...

    def bounds(self, array: Array) -> tuple[int, int]:
        """The first byte of an array in memory, and the byte after its last."""
        ...

    def quiet(self) -> Any:
        """A context in which floating-point errors do not warn."""
        ...

    def quietly(self, kernel: Kernel, arrays: tuple[Array, ...], params: dict[str, Any]) -> Any:
        """What one kernel gives in that context."""
        ...


_BACKENDS: dict[type, Backend] = {}
_FOUND: dict[type, Backend | None] = {}
"""What was found for a type, which every result without axes asks for."""

LIFTS: dict[tuple[type, type], Callable[[Any], Array]] = {}
"""What makes an array of a scalar, by both types: of those that NumPy returns at every step."""


def register(backend: Backend, kind: type | None = None) -> None:
    """Make a backend known by the type of its arrays, or by another one that it understands."""
    _BACKENDS[kind or backend.array_type] = backend
    _FOUND.clear()


def of(array: Array) -> Backend:
    """The backend of an array; raises `DTypeError` for what is none."""
    return of_type(type(array)).near(array)


def of_type(array_type: type) -> Backend:
    """The backend of a type of arrays (or of one that the type derives from)."""
    found = known(array_type)
    if found is not None:
        return found
    raise DTypeError(
        f"tensorgrad: got {array_type.__name__}, expected a NumPy array, a number or a nested "
        "list of numbers; try numpy.asarray(x)"
    )


def known(array_type: type) -> Backend | None:
    """The backend of a type, if it has one; that of CuPy's arrays is loaded when one is met."""
    try:
        return _FOUND[array_type]
    except KeyError:
        found = _FOUND[array_type] = _search(array_type)
        return found


def _search(array_type: type) -> Backend | None:
    for kind in array_type.__mro__:
        if kind in _BACKENDS:
            return _BACKENDS[kind]
        if kind.__module__ == "cupy" and kind.__name__ == "ndarray":
            from tensorgrad.backend.cuda import backend  # late: for import time

            register(backend.ANY)
            return backend.ANY
    return None


def on(device: Any = None) -> Backend:
    """The backend of a device, or of the default one; raises `DeviceError` if there is none."""
    device = _config.default_device.get() if device is None else str(device)
    if device == "cpu":
        return next(iter(_BACKENDS.values()))
    if device.partition(":")[0] == "cuda":
        from tensorgrad.backend.cuda.device import index  # late: CuPy need not be there

        number = index(device)
        from tensorgrad.backend.cuda.backend import backend  # late: it imports CuPy

        return backend(number)
    raise DeviceError(f"device: got {device!r}, expected cpu, cuda or cuda:N; try device='cpu'")


LATER = """
attention calculus conv convolve ctc cumulative decompositions exchange fft gated group_norm
interpolate linalg nan pairs pool recurrent resample sampling select signal sorting spans sparse
special
""".split()
"""Families whose kernels (numpy_fft, cuda/fft ...) are imported when one of them is asked for."""


def later(lead: str, name: str) -> Kernel:
    """A kernel out of modules that are imported now: `lead` and the family are a module's name."""
    for family in LATER:
        if importlib.util.find_spec(lead + family) is not None:
            found = getattr(importlib.import_module(lead + family), name, None)
            if found is not None:
                return found  # type: ignore[no-any-return]
    raise LookupError(f"{name}: got no kernel of this name in {lead}*, expected one")


def asarray(value: Any, dtype: Any = None) -> Array:
    """A value as an array: of its own backend if it is an array, else of the CPU's."""
    found = known(type(value))
    return (on() if found is None else found.near(value)).asarray(value, dtype)


def to_numpy(array: Array, dtype: Any = None, copy: bool | None = None) -> Any:
    """The array as NumPy's `__array__` protocol wants it."""
    found = of(array).to_numpy(array)
    objects = getattr(dtype, "kind", dtype) in ("O", object)
    if dtype is not None and (objects or dtypes.dtype(dtype) != found.dtype):
        return found.astype(dtype)
    return found.copy() if copy else found


def opaque(value: Any) -> Any:
    """An array of NumPy without axes that holds one object."""
    import numpy as np  # late: this page is about no kind of array

    found = np.empty((), object)
    found[()] = value
    return found


def text(array: Array) -> str:
    """The array as a person reads it: its values, and the dtype where it is not float64."""
    shown = repr(of(array).to_numpy(array))
    return shown.removeprefix("array(").removesuffix(")")


def bounds(array: Array) -> tuple[int, int]:
    """The first byte of an array in memory, and the byte after its last."""
    return of(array).bounds(array)
