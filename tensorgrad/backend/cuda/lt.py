"""cuBLASLt through ctypes: carries out plans on device addresses, also while a stream captures.

CuPy refuses cuBLAS inside a capture; cuBLASLt takes the stream as an argument, allocates nothing
and waits for nothing, so its calls can be captured like any kernel.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from ctypes import byref, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from tensorgrad._errors import DeviceError, ShapeError, TensorgradError
from tensorgrad.backend.cuda.plan import Plan, halves
from tensorgrad.backend.cuda.tuner import Candidate

MAJORS = (13, 12)
"""CUDA's major versions whose cuBLASLt is known, the newest first."""

WORKSPACE = 32 * 2**20
"""Bytes of scratch memory that Hopper's algorithms want; one such buffer for each stream."""

KEPT = 4096
"""Prepared products that one `Lt` remembers; beyond it the oldest are forgotten."""

TYPES = {
    "float32": 0,
    "float64": 1,
    "float16": 2,
    "complex64": 4,
    "complex128": 5,
    "bfloat16": 14,
}
COMPUTE = {"float32": 68, "float64": 70, "tf32": 77}

# attributes: of a product, of a matrix, of a preference
TRANSA, TRANSB, EPILOGUE, BIAS, AUX, AUX_LD, BIAS_TYPE = 3, 4, 7, 8, 11, 12, 26
BATCH, BATCH_STRIDE = 5, 6
MAX_WORKSPACE, REDUCTIONS, ALIGNMENTS = 1, 3, (5, 6, 7, 8)
IN_COMPUTE_TYPE = 2  # partial sums are added in float32, never rounded to the output first

STATUS = {
    1: ("NOT_INITIALIZED", "tensorgrad info, which tells whether driver and GPU are found"),
    3: ("ALLOC_FAILED", "freeing device memory"),
    7: ("INVALID_VALUE", "the arrays that the plan was made for"),
    8: ("ARCH_MISMATCH", "a GPU of compute capability 8.0 or later"),
    11: ("MAPPING_ERROR", "a fresh process: the device's state is lost"),
    13: ("EXECUTION_FAILED", "CUDA_LAUNCH_BLOCKING=1, an earlier kernel may be at fault"),
    14: ("INTERNAL_ERROR", "a newer driver or cuBLAS"),
    15: ("NOT_SUPPORTED", "the plan without its epilogue, or float32"),
    16: ("LICENSE_ERROR", "a complete installation of cuBLAS"),
}
NOT_SUPPORTED = 15
REFUSED = frozenset({7, NOT_SUPPORTED})
"""Statuses with which the search for algorithms tells that there is no such product."""


class LtError(TensorgradError, RuntimeError):
    """A call that cuBLASLt refused; `status` is its number."""

    def __init__(self, call: str, status: int, what: str = "") -> None:
        name, fix = STATUS.get(status, ("UNKNOWN", "another version of cuBLAS"))
        about = f" for {what}" if what else ""
        super().__init__(
            f"{call}: got CUBLAS_STATUS_{name} ({status}){about}, expected CUBLAS_STATUS_SUCCESS; "
            f"try {fix}"
        )
        self.status = status


class Algo(ctypes.Structure):
    """cublasLtMatmulAlgo_t: an algorithm with its settings."""

    _fields_ = (("data", c_uint64 * 8),)


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algo", Algo),
        ("workspace", c_size_t),
        ("state", c_int32),
        ("waves", ctypes.c_float),
        ("reserved", c_int32 * 4),
    )


def places(major: int | None = None) -> Iterator[tuple[str, str]]:
    """(where, path) of every cuBLASLt that may be there, the CUDA version asked for first."""
    chosen = os.environ.get("TG_CUBLASLT")
    if chosen:
        yield "TG_CUBLASLT", chosen
        return
    majors = sorted(MAJORS, key=lambda known: known != major)
    for name in [f"libcublasLt.so.{known}" for known in majors]:
        yield "this process", name
    wheels = [Path(entry, "nvidia") for entry in sys.path if entry]
    roots = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")] + ["/usr/local/cuda"]
    for known in majors:
        name = f"libcublasLt.so.{known}"
        for part in (f"cu{known}", "cublas"):
            for wheel in wheels:
                yield "the wheel of cuBLAS", str(wheel / part / "lib" / name)
        for root in roots:
            for part in ("lib64", "lib"):
                if root:
                    yield root, str(Path(root, part, name))
        yield "the loader's path", name


def find(major: int | None = None) -> ctypes.CDLL:
    """cuBLASLt: of `TG_CUBLASLT`, this process, a wheel, a CUDA root or the loader's path.

    Raises `DeviceError` that says where it was looked for and how to install it.
    """
    looked: list[str] = []
    for where, path in places(major):
        # An absent file is no failure; one that is there and does not load is worth its words.
        if os.path.isabs(path) and where != "TG_CUBLASLT" and not os.path.exists(path):
            continue
        mode = getattr(os, "RTLD_NOLOAD", 0) if where == "this process" else 0
        try:
            return load(path, mode)
        except (OSError, AttributeError) as cause:
            if os.path.isabs(path) or where == "TG_CUBLASLT":
                looked.append(f"{path} ({cause})")
    failed = f"; these did not load: {', '.join(looked)}" if looked else ""
    wheel = "nvidia-cublas-cu12" if major == 12 else "nvidia-cublas"
    raise DeviceError(
        "cuda: got no cuBLASLt in TG_CUBLASLT, NVIDIA's wheels, CUDA_PATH, /usr/local/cuda or the "
        f"loader's path{failed}, expected libcublasLt.so.{major or '13 or .12'}; "
        f"try pip install {wheel}"
    )


@lru_cache(maxsize=8)
def load(path: str, mode: int = 0) -> ctypes.CDLL:
    """The library at a path, with the types of the functions used here."""
    library = ctypes.CDLL(path, mode=mode)
    pointer, many = c_void_p, [c_void_p] * 6
    library.cublasLtGetVersion.restype = c_size_t
    library.cublasLtGetVersion.argtypes = []
    signatures = {
        "Create": [pointer],
        "Destroy": [pointer],
        "MatmulDescCreate": [pointer, c_int32, c_int32],
        "MatmulDescDestroy": [pointer],
        "MatmulDescSetAttribute": [pointer, c_int32, pointer, c_size_t],
        "MatmulDescGetAttribute": [pointer, c_int32, pointer, c_size_t, pointer],
        "MatrixLayoutCreate": [pointer, c_int32, c_uint64, c_uint64, c_int64],
        "MatrixLayoutDestroy": [pointer],
        "MatrixLayoutSetAttribute": [pointer, c_int32, pointer, c_size_t],
        "MatrixLayoutGetAttribute": [pointer, c_int32, pointer, c_size_t, pointer],
        "MatmulPreferenceCreate": [pointer],
        "MatmulPreferenceDestroy": [pointer],
        "MatmulPreferenceSetAttribute": [pointer, c_int32, pointer, c_size_t],
        "MatmulAlgoGetHeuristic": [*many, pointer, c_int32, pointer, pointer],
        "MatmulAlgoCheck": [*many, pointer, pointer],
        "Matmul": [*many, *many, pointer, pointer, c_size_t, pointer],
    }
    for name, types in signatures.items():
        function = getattr(library, f"cublasLt{name}")
        function.argtypes, function.restype = types, c_int32
    return library


class Descriptors:
    """A plan as the library knows it: a product, three matrices, and the numbers alpha and beta.

    Making and reading them needs no GPU.
    """

    def __init__(self, library: ctypes.CDLL, plan: Plan, aligned: int = 256) -> None:
        self._library = library
        self._made: list[tuple[str, c_void_p]] = []
        self.plan = plan
        try:
            self.product = self._product(plan, aligned)
            rows_a = (plan.k, plan.m) if plan.trans_a else (plan.m, plan.k)
            rows_b = (plan.n, plan.k) if plan.trans_b else (plan.k, plan.n)
            self.a = self._matrix(plan.dtype, *rows_a, plan.lda, plan.stride_a)
            self.b = self._matrix(plan.dtype, *rows_b, plan.ldb, plan.stride_b)
            self.d = self._matrix(plan.out_dtype, plan.m, plan.n, plan.ldd, plan.stride_d)
        except LtError:
            self.close()
            raise
        self.matrices = (self.product, self.a, self.b, self.d, self.d)
        real = ctypes.c_double if plan.compute == "float64" else ctypes.c_float
        self.alpha, self.beta = (real * 2)(plan.alpha), (real * 2)(plan.beta)

    def _product(self, plan: Plan, aligned: int) -> c_void_p:
        scale = plan.dtype if plan.dtype.startswith("complex") else plan.compute
        scale = "float32" if scale == "tf32" else scale
        found = self._make("MatmulDesc", COMPUTE[plan.compute], TYPES[scale])
        self.put(TRANSA, c_int32(plan.trans_a), found)
        self.put(TRANSB, c_int32(plan.trans_b), found)
        if plan.epilogue == "none":
            return found
        self.put(EPILOGUE, c_uint32(plan.flags), found)
        # The search for algorithms reads no memory, but how these addresses are aligned.
        if plan.aux_ld:
            self.put(AUX, c_uint64(aligned), found)
            self.put(AUX_LD, c_int64(plan.aux_ld), found)
        if plan.bias_length:
            self.put(BIAS, c_uint64(aligned), found)
            self.put(BIAS_TYPE, c_int32(TYPES[plan.out_dtype]), found)
        return found

    def _matrix(self, dtype: str, rows: int, columns: int, ld: int, stride: int) -> c_void_p:
        found = self._make("MatrixLayout", TYPES[dtype], rows, columns, ld)
        if self.plan.batch > 1:
            for key, value in ((BATCH, c_int32(self.plan.batch)), (BATCH_STRIDE, c_int64(stride))):
                call(
                    self._library, "MatrixLayoutSetAttribute", found, key, byref(value),
                    sizeof(value), plan=self.plan,
                )  # fmt: skip
        return found

    def _make(self, kind: str, *arguments: int) -> c_void_p:
        found = c_void_p()
        call(self._library, f"{kind}Create", byref(found), *arguments, plan=self.plan)
        self._made.append((f"{kind}Destroy", found))
        return found

    def put(self, key: int, value: Any, product: c_void_p | None = None) -> None:
        """Set an attribute of the product."""
        call(
            self._library, "MatmulDescSetAttribute", product or self.product, key, byref(value),
            sizeof(value), plan=self.plan,
        )  # fmt: skip

    def read(self, key: int, kind: Callable[[], Any]) -> int:
        """An attribute of the product, as the library has it."""
        value = kind()
        call(
            self._library, "MatmulDescGetAttribute", self.product, key, byref(value),
            sizeof(value), None, plan=self.plan,
        )  # fmt: skip
        return int(value.value)

    def close(self) -> None:
        """Give everything back."""
        while self._made:
            name, found = self._made.pop()
            getattr(self._library, f"cublasLt{name}")(found)


def call(library: ctypes.CDLL, name: str, *arguments: Any, plan: Plan | None = None) -> None:
    """Call cublasLt<name>; raises `LtError` for what is not success."""
    status = getattr(library, f"cublasLt{name}")(*arguments)
    if status:
        raise LtError(f"cublasLt{name}", status, plan.key if plan else "")


class _Prepared:
    """Descriptors with the algorithm chosen for them, and the addresses last set in them."""

    __slots__ = ("_kept", "algo", "aux", "bias", "descriptors")

    def __init__(self, descriptors: Descriptors, chosen: Heuristic) -> None:
        self.descriptors = descriptors
        self._kept = Algo.from_buffer_copy(chosen.algo)
        self.algo = byref(self._kept)
        self.bias = self.aux = 0


class Lt:
    """cuBLASLt on one device: the one that is current when the first product runs.

    Every thread may call it. An `Lt` belongs to its device, a workspace to its stream.
    """

    def __init__(self, library: ctypes.CDLL | None = None) -> None:
        self.library = find() if library is None else library
        self.version = int(self.library.cublasLtGetVersion())
        self._handle: c_void_p | None = None
        self._prepared: dict[tuple[Plan, int, int, bytes], _Prepared] = {}
        self._lock = threading.RLock()

    def execute(
        self,
        plan: Plan,
        x: int,
        y: int,
        out: int,
        *,
        bias: int = 0,
        aux: int = 0,
        stream: int = 0,
        workspace: int = 0,
        workspace_bytes: int = 0,
        algo: bytes = b"",
    ) -> None:
        """Carry out a plan on device addresses, in stream order; returns before it is done.

        `algo` is a tuner's choice; where the library no longer takes it, its own first one runs.
        Run a plan once before a capture: the first call searches and loads. `out` must not overlap
        an input. Raises `LtError`, and `ShapeError` without an address that the epilogue needs.
        """
        if (plan.bias_length and not bias) or (plan.aux_ld and not aux):
            raise ShapeError(
                f"cublasLtMatmul: got bias={bias}, aux={aux} with epilogue={plan.epilogue!r}, "
                "expected the address of each that it reads or writes; try bias= and aux="
            )
        a, b = (y, x) if plan.swap else (x, y)
        aligned = alignment(plan, a | b | out | bias | aux)
        run = self.library.cublasLtMatmul
        with self._lock:
            found = self._find(plan, aligned, workspace_bytes, algo)
            known = found.descriptors
            # Setting an attribute costs half a product's call: only where the address is new.
            if bias != found.bias and plan.bias_length:
                known.put(BIAS, c_uint64(bias))
                found.bias = bias
            if aux != found.aux and plan.aux_ld:
                known.put(AUX, c_uint64(aux))
                found.aux = aux
            for to_a, to_b, to_d in plan.offsets:
                d = out + to_d
                status = run(
                    self._handle, known.product, known.alpha, a + to_a, known.a, b + to_b, known.b,
                    known.beta, d, known.d, d, known.d, found.algo, workspace, workspace_bytes,
                    stream,
                )  # fmt: skip
                if status:
                    raise LtError("cublasLtMatmul", status, plan.key)

    def algorithms(
        self, plan: Plan, *, count: int = 8, aligned: int = 256, workspace_bytes: int = WORKSPACE
    ) -> list[bytes]:
        """The library's algorithms for a plan, the best guess first; none if it has none."""
        with self._lock:
            descriptors = Descriptors(self.library, plan, aligned)
            try:
                found = self._search(descriptors, count, aligned, workspace_bytes)
            except LtError as refused:
                if refused.status not in REFUSED:
                    raise
                return []
            finally:
                descriptors.close()
        return [bytes(one.algo) for one in found]

    def candidates(
        self, plan: Plan, x: int, y: int, out: int, *, count: int = 8, **rest: int
    ) -> list[Candidate]:
        """What a tuner times: a plan's algorithms, each with a function that runs it."""
        addresses = [x, y, out, rest.get("bias", 0), rest.get("aux", 0)]
        low = 0
        for address in addresses:
            low |= address
        found = self.algorithms(
            plan,
            count=count,
            aligned=alignment(plan, low),
            workspace_bytes=rest.get("workspace_bytes", 0),
        )
        run = partial(self.execute, plan, x, y, out, **rest)  # type: ignore[arg-type]
        return [Candidate(algo, partial(run, algo=algo)) for algo in found]

    def close(self) -> None:
        """Give back every descriptor and the handle; nothing may still run."""
        with self._lock:
            while self._prepared:
                self._prepared.popitem()[1].descriptors.close()
            if self._handle is not None:
                call(self.library, "Destroy", self._handle)
                self._handle = None

    def _find(self, plan: Plan, aligned: int, workspace_bytes: int, algo: bytes) -> _Prepared:
        key = (plan, aligned, workspace_bytes, algo)
        found = self._prepared.get(key)
        if found is None:
            descriptors = Descriptors(self.library, plan, aligned)
            try:
                chosen = self._check(descriptors, algo, workspace_bytes)
                chosen = chosen or self._search(descriptors, 1, aligned, workspace_bytes)[0]
            except LtError:
                descriptors.close()
                raise
            if len(self._prepared) >= KEPT:
                self._prepared.pop(next(iter(self._prepared))).descriptors.close()
            found = self._prepared[key] = _Prepared(descriptors, chosen)
        return found

    def _opened(self) -> c_void_p:
        if self._handle is None:
            handle = c_void_p()
            call(self.library, "Create", byref(handle))
            self._handle = handle
        return self._handle

    def _check(self, descriptors: Descriptors, algo: bytes, workspace_bytes: int) -> Any:
        """A stored algorithm, if the library takes it for this plan and it fits the workspace."""
        if len(algo) != sizeof(Algo):
            return None
        found, stored = Heuristic(), Algo.from_buffer_copy(algo)
        status = self.library.cublasLtMatmulAlgoCheck(
            self._opened(), *descriptors.matrices, byref(stored), byref(found)
        )
        if status or found.state or found.workspace > workspace_bytes:
            return None
        found.algo = stored
        return found

    def _search(
        self, descriptors: Descriptors, count: int, aligned: int, workspace_bytes: int
    ) -> list[Any]:
        """The heuristic's results; raises `LtError` where there is none."""
        handle, plan = self._opened(), descriptors.plan
        wanted = c_void_p()
        call(self.library, "MatmulPreferenceCreate", byref(wanted))
        settings: list[tuple[int, Any]] = [(MAX_WORKSPACE, c_uint64(workspace_bytes))]
        settings += [(key, c_uint32(aligned)) for key in ALIGNMENTS]
        if halves(plan.out_dtype):
            settings.append((REDUCTIONS, c_uint32(IN_COMPUTE_TYPE)))
        results, found = (Heuristic * count)(), c_int32()
        try:
            for key, value in settings:
                call(
                    self.library, "MatmulPreferenceSetAttribute", wanted, key, byref(value),
                    sizeof(value),
                )  # fmt: skip
            call(
                self.library, "MatmulAlgoGetHeuristic", handle, *descriptors.matrices, wanted,
                count, results, byref(found), plan=plan,
            )  # fmt: skip
        finally:
            self.library.cublasLtMatmulPreferenceDestroy(wanted)
        usable = [one for one in results[: found.value] if one.state == 0]
        if not usable:
            raise LtError("cublasLtMatmulAlgoGetHeuristic", NOT_SUPPORTED, plan.key)
        return usable


def alignment(plan: Plan, addresses: int) -> int:
    """The power of two that divides every address and every later start, 256 at most."""
    low = addresses | plan.spread | 256
    return low & -low
