"""Matrix products on a GPU: what a plan means."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad.backend.cuda.layout import matmul_plan
from tensorgrad.backend.cuda.plan import (
    AUX,
    BGRAD,
    BGRADA,
    BGRADB,
    BIAS,
    DGELU,
    DRELU,
    EPILOGUES,
    GELU,
    OUTPUTS,
    RELU,
    NeedsCopy,
    Plan,
    aux_ld,
)

__all__ = ["EPILOGUES", "OUTPUTS", "NeedsCopy", "Plan", "aux_ld", "gelu", "gelu_slope",
           "matmul_plan", "reference"]  # fmt: skip

Array = Any


def reference(
    plan: Plan, x: Array, y: Array, out: Array, bias: Array = None, aux: Array = None
) -> None:
    """Carry a plan out in NumPy: the definition, summed in float64 and rounded once.

    Each array is NumPy's, of which only the start is read, or an address in host memory.
    """
    addresses = [_address(v) for v in ((y, x, out) if plan.swap else (x, y, out))]
    wide = np.complex128 if plan.dtype.startswith("complex") else np.float64
    with np.errstate(all="ignore"):
        for offsets in plan.offsets:
            a, b, d = (address + later for address, later in zip(addresses, offsets))
            A = _operand(plan, a, plan.m, plan.k, plan.lda, plan.trans_a, plan.stride_a)
            B = _operand(plan, b, plan.k, plan.n, plan.ldb, plan.trans_b, plan.stride_b)
            A, B = A.astype(wide), B.astype(wide)
            D = _columns(d, plan.out_dtype, plan.m, plan.n, plan.ldd, plan.batch, plan.stride_d)
            found = plan.alpha * np.matmul(A, B)
            if plan.beta:
                found += plan.beta * D.astype(wide)
            if plan.epilogue != "none":
                for k in range(plan.batch):
                    found[k] = _finish(plan, found[k], A[k], B[k], bias, aux)
            D[...] = found.astype(D.dtype)


def _operand(
    plan: Plan, address: int, rows: int, columns: int, ld: int, turned: bool, stride: int
) -> Array:
    """op(A) or op(B)."""
    size = (columns, rows) if turned else (rows, columns)
    found = _columns(address, plan.dtype, *size, ld, plan.batch, stride)
    return found.swapaxes(1, 2) if turned else found


def _address(value: Any) -> int:
    return value if isinstance(value, int) else int(value.ctypes.data)


@cache
def _bytes(count: int) -> type[Any]:
    """The ctypes array of that many bytes; made anew each time it would be garbage of a cycle."""
    return ctypes.c_ubyte * count


def _columns(
    address: int, dtype: str, rows: int, columns: int, ld: int, batch: int = 1, stride: int = 0
) -> Array:
    """The column-major matrices at an address, as (batch, rows, columns)."""
    kind = dtypes.dtype(dtype)
    extent = ((batch - 1) * stride + (columns - 1) * ld + rows) * kind.itemsize
    memory = _bytes(extent).from_address(address)
    steps = (stride * kind.itemsize, kind.itemsize, ld * kind.itemsize)
    return np.ndarray((batch, rows, columns), kind, memory, 0, steps)


def _finish(plan: Plan, found: Array, A: Array, B: Array, bias: Array, aux: Array) -> Array:
    """What the epilogue makes of a product (m, n); what else it writes."""
    flags, sums = plan.flags, None
    if flags & BIAS:
        found = found + _vector(plan, bias)[:, None]
    if flags & AUX:
        kept = _kept(plan, aux, found)
    if flags & RELU:
        found = np.where(found > 0, found, 0)
    elif flags & GELU:
        found = gelu(found)
    elif flags & DRELU:
        found = np.where(kept, found, 0)
    elif flags & DGELU:
        found = found * gelu_slope(kept)
    if flags & BGRAD:
        sums = found.sum(1)
    elif flags & BGRADA:
        sums = A.sum(1)
    elif flags & BGRADB:
        sums = B.sum(0)
    if sums is not None:
        _vector(plan, bias)[...] = sums.astype(plan.out_dtype)
    return found


def _vector(plan: Plan, bias: Array) -> Array:
    return _columns(_address(bias), plan.out_dtype, plan.bias_length, 1, plan.bias_length)[0, :, 0]


def _kept(plan: Plan, aux: Array, found: Array) -> Array:
    """Write the aux buffer of a forward product; read that of a backward one."""
    if plan.flags & (GELU | DGELU):
        argument = _columns(_address(aux), plan.out_dtype, plan.m, plan.n, plan.aux_ld)[0]
        if plan.flags & GELU:
            argument[...] = found.astype(argument.dtype)
        return argument.astype(np.float64)
    used = -(-plan.m // 8)
    mask = _columns(_address(aux), "uint8", used, plan.n, plan.aux_ld // 8)[0]
    if plan.flags & RELU:
        mask[...] = np.packbits(found > 0, axis=0, bitorder="little")
    return np.unpackbits(mask, axis=0, count=plan.m, bitorder="little")


def gelu(x: Array) -> Array:
    """GELU in its tanh form: x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2."""
    return 0.5 * x * (1 + np.tanh(_ROOT * (x + _CUBIC * x**3)))


def gelu_slope(x: Array) -> Array:
    """The derivative of GELU in its tanh form."""
    t = np.tanh(_ROOT * (x + _CUBIC * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * _ROOT * (1 + 3 * _CUBIC * x * x)


_ROOT, _CUBIC = (2 / np.pi) ** 0.5, 0.044715
