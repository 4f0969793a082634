"""The CUDA backend: CuPy arrays, formulas as generated kernels, products by cuBLASLt.

Imported when a GPU is first asked for. CuPy arranges arrays; what computes is generated, stands in
`kernels/`, or is NVIDIA's; the rest goes through CuPy's own functions.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import cupy
import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError
from tensorgrad.backend import base
from tensorgrad.backend.cuda import (
    arena,
    assign,
    complex,
    copies,
    create,
    device,
    gradients,
    index,
    kernels,
    launch,
    layers,
    losses,
    norm,
    numbers,
    products,
    pulls,
    put,
    random,
    reduce,
)
from tensorgrad.backend.cuda.faults import faults
from tensorgrad.backend.cuda.formula import ElementwiseKernel, bounds
from tensorgrad.backend.cuda.launch import READ_ONLY
from tensorgrad.expr import Formula

Array = Any
KERNEL_MODULES = (
    kernels,
    reduce,
    index,
    assign,
    put,
    products,
    layers,
    losses,
    complex,
    random,
    create,
    numbers,
    gradients,
    copies,
)


def _is_power(formula: Formula) -> bool:
    """Whether a formula, of whatever name, is x ** y of its two inputs."""
    first, *more = formula.outputs
    return not more and first.value == "pow" and first.args == formula.inputs


VIEWS = {
    **dict.fromkeys("broadcast_to diagonal windows".split(), True),
    **dict.fromkeys("reshape transpose flip index real imag split unstack".split(), False),
}
"""Primitives that only look at their array otherwise, and whether nobody may write there."""

_current: Callable[[], int] = cupy.cuda.runtime.getDevice


class CudaBackend:
    """Arrays of CuPy in the memory of GPU number `number`, or of the current one (None)."""

    name = "cuda"
    array_type: type = cupy.ndarray

    def __init__(self, number: int | None = None) -> None:
        self._number = number
        self.device = "cuda" if number is None else device.name_of(number)

    def near(self, array: Array) -> CudaBackend:
        """The backend of the GPU that an array lives on."""
        number = array.data.device_id
        return self if number == self._number else backend(number)

    def kernel(self, name: str) -> Callable[..., Any]:
        of = (getattr(module, name, None) for module in KERNEL_MODULES)
        found = next((one for one in of if one is not None), None)
        if found is None:
            found = base.later("tensorgrad.backend.cuda.", name)
        if name in VIEWS:
            found = launch.viewing(found, VIEWS[name])
        return self._placed(name, found)

    def pull(self, name: str) -> Callable[..., Any] | None:
        found = getattr(pulls, name, None)
        # A list: a generator would run on another device, once that is the current one again.
        return None if found is None else self._placed(name, lambda *given: list(found(*given)))

    def elementwise(self, formula: Formula, order: int) -> Callable[..., Any]:
        kernel: Any = ElementwiseKernel(formula)
        if _is_power(formula):
            kernel = index.with_whole_powers(kernel)
        return self._placed(formula.name, kernel)

    def reduce(self, formula: Formula, order: int) -> Callable[..., Any]:
        return self._placed(formula.name, norm.kernel(formula))

    def _placed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function run on the GPU of its arrays; one without arrays on this backend's own."""
        poll, own = faults().poll, self._number

        def run(*given: Any, **params: Any) -> Any:
            poll()
            if READ_ONLY and params.get("out") is not None:
                outs = params["out"]
                for one in outs if type(outs) is tuple else (outs,):
                    launch.writable(one)
            number = own
            arrays = 0
            for x in given:
                if type(x) is cupy.ndarray:
                    if not arrays:
                        number = x.data.device_id
                    elif x.data.device_id != number:
                        raise _mixed(name, given)
                    arrays += 1
                elif type(x) is np.ndarray:
                    raise _mixed(name, given)
            if number is None or number == _current():
                return function(*given, **params)
            with device.using(number):
                return function(*given, **params)

        return run

    def asarray(self, value: Any, dtype: Any = None) -> Array:
        wanted = None if dtype is None else dtypes.dtype(dtype)
        if isinstance(value, cupy.ndarray):
            return value if wanted is None or value.dtype == wanted else kernels.cast(value, wanted)
        host = base.on("cpu").asarray(value, wanted)
        with self._here():
            return create.upload(host)

    def constant(self, value: Any, dtype: Any) -> Array:
        """A number as a 0-d array, made by a kernel: nothing is copied from the host."""
        dtype = dtypes.dtype(dtype)
        np.asarray(value, dtype)  # raises `OverflowError` for a number that the dtype cannot hold
        with self._here():
            return create.constant(value, dtype)

    def to_numpy(self, array: Array) -> Any:
        """A copy on the host, of values that nothing was wrong with."""
        with device.using(array.data.device_id):
            found = kernels.bits(array).get()
            faults().poll()
        return found.view(array.dtype)

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any) -> Array:
        with self._here():
            return kernels.full(shape, value, dtypes.dtype(dtype))

    def add(self, a: Array, b: Array) -> Array:
        return _ADD(*[x.value() if type(x) is layers.Product else x for x in (a, b)])

    def conj(self, a: Array) -> Array:
        with device.using(a.data.device_id):
            return cupy.conjugate(a)

    def conform(self, ct: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        if type(ct) is layers.Product:
            return ct  # it fits
        with device.using(ct.data.device_id):
            if ct.dtype.kind == "c" and np.dtype(dtype).kind != "c":
                ct = ct.real
            if ct.shape != shape:
                ct = reduce.sum_to(ct, shape=shape)
            return ct if ct.dtype == dtype else kernels.cast(ct, dtype)

    def assign(self, target: Array, value: Array) -> None:
        with device.using(target.data.device_id):
            create.stored(target, value)

    def bounds(self, array: Array) -> tuple[int, int]:
        return bounds(array)

    def quiet(self) -> Any:
        return nullcontext()

    def quietly(self, kernel: Any, arrays: Any, params: Any) -> Any:
        return kernel(*arrays, **params)

    def _here(self) -> Any:
        return nullcontext() if self._number is None else device.using(self._number)


def _mixed(name: str, given: tuple[Any, ...]) -> DeviceError:
    """The error for arrays of several devices."""
    devices = [
        device.name_of(x.data.device_id) if type(x) is cupy.ndarray else "cpu"
        for x in given
        if type(x) in (cupy.ndarray, np.ndarray)
    ]
    return DeviceError(
        f"{name}: got arrays on {', '.join(devices)}, expected all on one device; "
        f"try x.to({devices[0]!r})"
    )


@cache
def backend(number: int) -> CudaBackend:
    """The backend of GPU number `number`."""
    return CudaBackend(number)


arena.install()
ANY = CudaBackend()
_ADD = ANY._placed("add", products.ADD)
base.register(ANY)
base.register(ANY, layers.Product)
