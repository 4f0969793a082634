"""Matrix products on a GPU: their plans, what a plan means, and which way is the fastest."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DeviceError
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
from tensorgrad.codegen import cache

__all__ = ["EPILOGUES", "OUTPUTS", "Candidate", "Choice", "NeedsCopy", "Plan", "Tuner", "aux_ld",
           "gelu", "gelu_slope", "matmul_plan", "reference"]  # fmt: skip

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
                found[0] = _finish(plan, found[0], A[0], B[0], bias, aux)
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


def _columns(
    address: int, dtype: str, rows: int, columns: int, ld: int, batch: int = 1, stride: int = 0
) -> Array:
    """The column-major matrices at an address, as (batch, rows, columns)."""
    kind = dtypes.dtype(dtype)
    extent = ((batch - 1) * stride + (columns - 1) * ld + rows) * kind.itemsize
    memory = (ctypes.c_ubyte * extent).from_address(address)
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


class Candidate(NamedTuple):
    """One way to carry out a product: the library's algorithm, and a function that runs it."""

    algo: bytes
    run: Callable[[], object]


class Choice(NamedTuple):
    """The way that was fastest: with the epilogue in the product or after it; seconds a run."""

    fused: bool
    algo: bytes
    seconds: float


class Tuner:
    """The fastest way to carry out each plan on one kind of GPU, timed once, kept on disk.

    timer(run) gives the seconds of one run, on the device's clock. A choice belongs to the GPU's
    name and cuBLASLt's version, each pair a file of its own under `folder`. A file that is
    missing, damaged, or cannot be written costs the time of tuning again and nothing else.
    Other choices may round differently: a process tunes what it uses before it uses it.
    """

    def __init__(
        self,
        gpu: str,
        version: int,
        timer: Callable[[Callable[[], object]], float],
        folder: str | None = None,
    ) -> None:
        kernels = cache.folder()
        if folder is None and kernels is not None:
            folder = os.path.join(os.path.dirname(kernels), "cublaslt")
        slug = re.sub(r"[^A-Za-z0-9]+", "-", gpu).strip("-")
        self.mark = {"gpu": gpu, "cublasLt": version}
        self.path = None if folder is None else os.path.join(folder, f"{slug}-{version}.json")
        self._timer = timer
        self._lock = threading.Lock()
        self._known = self._read()

    def find(self, plan: Plan) -> Choice | None:
        """The choice for a plan, if it was ever tuned."""
        return self._known.get(plan.key)

    def tune(
        self,
        plan: Plan,
        fused: Sequence[Candidate],
        unfused: Sequence[Candidate] = (),
        rounds: int = 5,
    ) -> Choice:
        """Time the candidates, the minimum of several interleaved rounds, and keep the fastest.

        `fused` carry the plan out; `unfused` its `plain` product and then the epilogue by kernels.
        They write to buffers that nobody reads: with beta = 1 each run adds once more. Raises
        `DeviceError` where no candidate is given.
        """
        ways = [(True, one) for one in fused] + [(False, one) for one in unfused]
        if not ways:
            raise DeviceError(
                f"tune: got no candidate for {plan.key}, expected at least one; "
                "try the plan without its epilogue"
            )
        best = [float("inf")] * len(ways)
        for _ in range(rounds):
            for which, (_, candidate) in enumerate(ways):
                best[which] = min(best[which], float(self._timer(candidate.run)))
        which = best.index(min(best))
        choice = Choice(ways[which][0], ways[which][1].algo, best[which])
        with self._lock:
            self._known = {**self._read(), **self._known, plan.key: choice}
            self._write()
        return choice

    def _read(self) -> dict[str, Choice]:
        """What the file holds, as far as it makes sense."""
        try:
            with open(self.path or "", encoding="utf-8") as file:
                stored = json.load(file)
            if {name: stored[name] for name in self.mark} != self.mark:
                return {}
            rows = dict(stored["plans"]).items()
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        found = {}
        for key, row in rows:
            with contextlib.suppress(ValueError, TypeError):
                fused, algo, seconds = row
                found[key] = Choice(bool(fused), bytes.fromhex(algo), float(seconds))
        return found

    def _write(self) -> None:
        """Replace the file at once, or leave it."""
        if self.path is None:
            return
        plans = {key: (way.fused, way.algo.hex(), way.seconds) for key, way in self._known.items()}
        draft = f"{self.path}.{os.urandom(8).hex()}.part"
        try:
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            with open(draft, "x", encoding="utf-8") as file:
                json.dump({**self.mark, "plans": plans}, file, indent=0)
            os.replace(draft, self.path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)
