"""Plans of matrix products on a GPU: plain data.

cuBLASLt counts in columns: D (m, n) = epilogue(alpha op(A) op(B) + beta D), all column-major. The
row-major product out = x @ y is the same memory read as outᵀ = yᵀ xᵀ, so A is y and B is x; a
column-major out needs no swap. Either way nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache, reduce
from itertools import product
from operator import or_

from tensorgrad import dtypes
from tensorgrad._errors import ShapeError

RELU, BIAS, DRELU, BGRAD, GELU, DGELU, AUX, BGRADA, BGRADB = (1 << k for k in range(1, 10))

EPILOGUES = {
    "none": 1,
    "relu": RELU,
    "relu_aux": RELU | AUX,
    "bias": BIAS,
    "relu_bias": RELU | BIAS,
    "relu_aux_bias": RELU | BIAS | AUX,
    "drelu": DRELU | AUX,
    "drelu_bgrad": DRELU | AUX | BGRAD,
    "gelu": GELU,
    "gelu_aux": GELU | AUX,
    "gelu_bias": GELU | BIAS,
    "gelu_aux_bias": GELU | BIAS | AUX,
    "dgelu": DGELU | AUX,
    "dgelu_bgrad": DGELU | AUX | BGRAD,
    "bgrada": BGRADA,
    "bgradb": BGRADB,
}
"""cuBLASLt's numbers of what a product does to its result: one bit for each step.

`aux` is what the forward product keeps for the backward one: GELU's argument, in out's dtype, or
ReLU's mask, one bit an element. GELU is the tanh form. What ReLU makes of a NaN is not documented
(it is taken to be 0 here), so layers keep NumPy's maximum, outside of the product.
"""

OUTPUTS = {
    "float16": ("float16", "float32"),
    "bfloat16": ("bfloat16", "float32"),
    "float32": ("float32",),
    "float64": ("float64",),
    "complex64": ("complex64",),
    "complex128": ("complex128",),
}
"""The dtypes of out for each dtype of x and y; 16-bit floats are multiplied and summed in float32.
"""


class NeedsCopy(ShapeError):  # noqa: N818  (what it says is the error)
    """A layout that no plan can read in place; `operand` is the name of the array to copy."""

    def __init__(self, operand: str, why: str) -> None:
        super().__init__(
            f"matmul: got {operand} {why}, expected rows or columns next to each other in memory; "
            f"try a contiguous copy of {operand}"
        )
        self.operand = operand


@dataclass(frozen=True, eq=True)
class Plan:
    """One matrix product in cuBLASLt's terms: sizes, layouts and strides in elements.

    `outer` holds (count, a, b, d), the batch axes that one stride cannot span: the product is
    called once for each of their indices, `calls` times. `swap`: A is y and B is x.
    """

    m: int
    n: int
    k: int
    trans_a: bool
    trans_b: bool
    lda: int
    ldb: int
    ldd: int
    dtype: str
    out_dtype: str
    compute: str
    swap: bool = True
    batch: int = 1
    stride_a: int = 0
    stride_b: int = 0
    stride_d: int = 0
    outer: tuple[tuple[int, int, int, int], ...] = ()
    epilogue: str = "none"
    aux_ld: int = 0
    alpha: float = 1.0
    beta: float = 0.0

    @cached_property
    def key(self) -> str:
        """The plan as a line of text: the same in every process."""
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, f.name) for f in fields(self)))

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def flags(self) -> int:
        """The steps of the epilogue, as bits."""
        return EPILOGUES[self.epilogue]

    @cached_property
    def bias_length(self) -> int:
        """Elements of the bias or the bias gradient; 0 without one."""
        if self.flags & BGRADB:
            return self.n
        return self.m if self.flags & (BIAS | BGRAD | BGRADA) else 0

    @property
    def plain(self) -> Plan:
        """The product alone, without its epilogue."""
        return replace(self, epilogue="none", aux_ld=0)

    @property
    def calls(self) -> int:
        """How many calls of the library it takes."""
        return len(self.offsets)

    @cached_property
    def spread(self) -> int:
        """All offsets or'ed: its lowest bit bounds how far the later calls are aligned."""
        return reduce(or_, (part for parts in self.offsets for part in parts), 0)

    @cached_property
    def offsets(self) -> list[tuple[int, int, int]]:
        """Bytes by which A, B and D start later, call by call."""
        sizes = [itemsize(name) for name in (self.dtype, self.dtype, self.out_dtype)]
        strides = [axis[1:] for axis in self.outer]
        found = []
        for index in product(*(range(axis[0]) for axis in self.outer)):
            a, b, d = (
                size * sum(i * stride[which] for i, stride in zip(index, strides))
                for which, size in enumerate(sizes)
            )
            found.append((a, b, d))
        return found


def halves(dtype: str) -> bool:
    """Whether a dtype is a 16-bit float."""
    return dtype in ("float16", "bfloat16")


@lru_cache(maxsize=64)
def itemsize(dtype: str) -> int:
    """Bytes of an element."""
    return int(dtypes.dtype(dtype).itemsize)


def aux_ld(columns: int, epilogue: str) -> int:
    """Elements from row to row of an epilogue's aux buffer: bits for ReLU's mask.

    >>> aux_ld(100, "gelu_aux_bias"), aux_ld(100, "relu_aux_bias")
    (104, 128)
    """
    unit = 128 if EPILOGUES[epilogue] & (RELU | DRELU) else 8
    return -(-columns // unit) * unit
