"""Elementwise formulas as CUDA C++: flat with 16-byte accesses, repeating over rows, or strided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from tensorgrad import dtypes
from tensorgrad.codegen.cuda_body import Body
from tensorgrad.codegen.cuda_head import HEAD
from tensorgrad.codegen.cuda_types import MEMORY, NAMES, Operands, operands
from tensorgrad.codegen.cuda_views import Layout, Read
from tensorgrad.expr.formula import Formula
from tensorgrad.expr.graph import topo
from tensorgrad.expr.ir import Expr
from tensorgrad.expr.show import show

OPTIONS = ("--std=c++17", "--fmad=false")
"""What NVRTC is given: a product and a sum are each rounded."""

MOST_INPUTS, MOST_OUTPUTS, MOST_WORK = 16, 8, 800
"""Bounds of a kernel: registers for a vector of every operand, and what compiles in a second."""

BLOCK = 256
WAVE = 1056
"""Blocks that some 130 processors run at once: with fewer, a thread takes one vector only."""

_BYTES = 16  # of the widest access
_IN_FLIGHT = 64  # bytes that a thread asks for before it waits
_UNROLLED = 1000  # work that is written out one after the other for the vectors of a thread
_AT_ONCE = 1600  # work on the elements of a vector, twice that of a float64
_LONG = 300  # work on a float64 that takes more registers than 256 threads have twice over
_CALL_WORK = 20

_NAME = "TG_NAME"
"""Stands for the kernel's name, the hash of its text. Texts may follow one another in a module,
with TG_HALF defined before the first if any has it."""


@dataclass(frozen=True, slots=True)
class Source:
    """An elementwise formula as the text of one kernel.

    `extern "C" __global__ void name(int n, inputs..., outputs..., view)`: n is `i64` where `wide`,
    `view` (none in the layout "flat") a struct by value; `View.arguments` has them all, typed.
    Addresses that are no multiple of 16 bytes are only slower. Outputs may lie exactly in the
    memory of inputs of as many bytes that are read as "each", and overlap no others.

    dtypes: of the operands, inputs first; a bool is a byte, true unless 0.
    vector: elements per access. per_thread: vectors (strided: elements) that a thread takes.
    """

    name: str
    text: str
    layout: Layout
    reads: tuple[Read, ...]
    wide: bool
    dtypes: tuple[str, ...]
    block: int
    vector: int
    per_thread: int

    def grid(self, n: int) -> tuple[int]:
        """The blocks for n elements; none for none, and then nothing may be launched."""
        vectors = -(-n // self.vector)
        least = -(-vectors // (self.block * self.per_thread))
        return (max(least, min(-(-vectors // self.block), WAVE)),)


def work(e: Expr) -> int:
    """The cost of a node, in additions."""
    return 1 + _CALL_WORK * (e.op == "call")


def supports(
    formula: Formula,
    given: Sequence[str],
    real: str | None = None,
    outs: Sequence[str] | None = None,
) -> bool:
    """Whether the formula has one CUDA kernel for inputs of these dtypes."""
    return _operands(formula, given, real, outs) is not None


def _operands(
    formula: Formula, given: Sequence[str], real: str | None, outs: Sequence[str] | None
) -> Operands | None:
    few = len(formula.inputs) <= MOST_INPUTS and len(formula.outputs) <= MOST_OUTPUTS
    if not few or sum(map(work, topo(formula.outputs))) > MOST_WORK:
        return None
    return operands(formula, given, real, outs)


def elementwise(
    formula: Formula,
    given: Sequence[str],
    layout: Layout = "flat",
    wide: bool = False,
    reads: Sequence[Read] = (),
    real: str | None = None,
    outs: Sequence[str] | None = None,
) -> Source:
    """The kernel of a formula for inputs of the dtypes `given`.

    Real values are computed in the dtype that the real inputs promote to (half and bfloat16 in
    float32) and stored in it once rounded; `real` overrides it, `outs` the dtypes of the outputs in
    memory. `layout`, `wide` and `reads` (by default "each" for every input) are as in `View`.

    Raises ValueError where `supports` is false, and for reads that the layout does not have.
    """
    found = tuple(reads) or ("each",) * (0 if layout == "strided" else len(formula.inputs))
    stored = None if outs is None else tuple(outs)
    return _elementwise(formula, tuple(given), layout, bool(wide), found, real, stored)


_LAYOUTS: dict[str, frozenset[str]] = {
    "flat": frozenset({"each", "one"}),
    "rows": frozenset({"each", "one", "row", "column"}),
    "strided": frozenset(),
}


@lru_cache(maxsize=4096)
def _elementwise(
    formula: Formula,
    given: tuple[str, ...],
    layout: Layout,
    wide: bool,
    reads: tuple[Read, ...],
    real: str | None,
    outs: tuple[str, ...] | None,
) -> Source:
    found = _operands(formula, given, real, outs)
    count = 0 if layout == "strided" else len(formula.inputs)
    fits = layout in _LAYOUTS and len(reads) == count and set(reads) <= _LAYOUTS[layout]
    if found is None or not fits:
        raise ValueError(
            f"{formula.name}: got {', '.join(given)}, layout {layout!r} and reads {reads}, "
            "expected a formula and dtypes that supports() accepts, and one read per input that "
            "the layout has; try the array library's own functions"
        )
    return _Kernel(formula, found, layout, wide, reads).source()


class _Kernel:
    """Writes one kernel: every load of a thread's vectors stands before its first store."""

    def __init__(
        self,
        formula: Formula,
        found: Operands,
        layout: Layout,
        wide: bool,
        reads: tuple[Read, ...],
    ) -> None:
        self.formula, self.found = formula, found
        self.layout, self.wide, self.reads = layout, wide, reads
        self.stored = (*found.inputs, *found.outputs)
        self.first = len(found.inputs)
        self.ins, self.outs = range(self.first), range(self.first, len(self.stored))
        cost = max(1, sum(map(work, topo(formula.outputs))))
        size = max(d.itemsize for d in self.stored)
        long = cost > _LONG and found.types.real == dtypes.float64
        self.vector = 1 if layout == "strided" or long else _BYTES // size
        while self.vector > 1 and self.vector * cost * max(1, size // 4) > _AT_ONCE:
            self.vector //= 2
        held = [k for k in self.ins if k not in self._read("one")]
        loaded = self.vector * sum(self.stored[k].itemsize for k in held)
        self.times = 4
        while self.times > 1 and (
            loaded * self.times > _IN_FLIGHT or self.vector * self.times * cost > _UNROLLED
        ):
            self.times //= 2
        self.index = "u64" if wide else "u32"
        self.block = 128 if long else BLOCK

    def source(self) -> Source:
        names = tuple(d.name for d in self.stored)
        comment = " ".join(show(self.formula).split()).encode("ascii", "backslashreplace").decode()
        text = self._text()
        name = f"tg_elements_{sha256(text.encode()).hexdigest()[:16]}"
        text = f"// {comment}  [{', '.join(names)}; {self.layout}]\n{text.replace(_NAME, name)}"
        sizes = self.block, self.vector, self.times
        return Source(name, text, self.layout, self.reads, self.wide, names, *sizes)

    def _text(self) -> str:
        half = any(dtypes.is_half(d) for d in self.stored)
        kernel = self._strided() if self.layout == "strided" else self._flat()
        bounds = f"__launch_bounds__({self.block}, 2)"  # 128 registers at most, 255 of 128 threads
        head = f'extern "C" __global__ void {bounds} {_NAME}('
        return "\n".join(
            [
                *(["#define TG_HALF"] if half else []),
                '#include "common.cuh"',
                HEAD.strip("\n"),
                *self._body(),
                f"{head}{', '.join(self._parameters())}) {{",
                *(f"    {line}" for line in kernel),
                "}",
                "",
            ]
        )

    def _read(self, how: Read) -> list[int]:
        """The inputs that are read so; in the layout "strided" none is read in a special way."""
        return [k for k, r in enumerate(self.reads) if r == how]

    def _memory(self, k: int) -> str:
        return MEMORY[self.stored[k].name]

    def _parameters(self) -> list[str]:
        count = "const i64 n" if self.wide else "const int n"
        pointers = [f"const {self._memory(k)}* p{k}" for k in self.ins]
        pointers += [f"{self._memory(k)}* p{k}" for k in self.outs]
        suffix = "_wide" if self.wide else ""
        view = {
            "flat": [],
            "rows": [f"const tg_divisor{suffix} columns"],
            "strided": [f"const tg_view{suffix}<{len(self.stored)}> view"],
        }
        return [count, *pointers, *view[self.layout]]

    def _body(self) -> list[str]:
        """The function of one element: from memory's types to memory's types."""
        body = Body(self.found.types, "i")
        results = body.write(self.formula, [f"x{k}" for k in self.ins])
        arguments = [f"const {self._memory(k)} a{k}" for k in self.ins]
        arguments += [f"{self._memory(k)}& y{k}" for k in self.outs]
        loads = []
        for e, k in zip(self.formula.inputs, self.ins, strict=True):
            target = NAMES[self.found.types.of[e].name]
            value = f"tg_load(a{k})"
            if self.stored[k].kind == "b" or target == "bool":
                value = f"{value} != 0"
            loads.append(f"const {target} x{k} = static_cast<{target}>({value});")
        stores = []
        for o, k in zip(results, self.outs, strict=True):
            target = self._memory(k)
            half = dtypes.is_half(self.stored[k])
            stores.append(
                f"y{k} = {f'tg_store<{target}>' if half else f'static_cast<{target}>'}({o});"
            )
        lines = [f"    {line}" for line in (*loads, *body.lines, *stores)]
        return [
            f"TG_FN void {_NAME}_one({', '.join(arguments)}, const {self.index} i) {{",
            *lines,
            "}",
        ]

    def _flat(self) -> list[str]:
        """Vectors, `times` of them a thread, a grid apart; then what is left, one by one."""
        n, index, rows = self.vector, self.index, self.layout == "rows"
        direct = [*self._read("each"), *self.outs]
        aligned = " && ".join(f"tg_aligned_by<{n}>(p{k})" for k in direct)
        lines = [
            f"const {index} count = n, step = static_cast<{index}>(gridDim.x) * {self.block};",
            f"const {index} first = static_cast<{index}>(blockIdx.x) * {self.block} + threadIdx.x;",
            f"const {index} vectors = {aligned} ? count / {n} : 0;",
        ]
        lines += [f"const {self._memory(k)} s{k} = *p{k};" for k in self._read("one")]
        if rows:
            lines += [f"const bool even = columns.by % {n} == 0;"]
            lines += [
                f"const bool even{k} = even && tg_aligned_by<{n}>(p{k});" for k in self._read("row")
            ]
        if self._read("column"):
            lines += [f"const {index} rows = tg_quotient(count, columns);"]
        lines += [
            f"Vec<{self._memory(k)}, {n}> v{k}[{self.times}];"
            for k in self.ins
            if self.reads[k] != "one"
        ]
        return lines + self._load_all() + self._compute_all() + self._rest()

    def _load_all(self) -> list[str]:
        n, index = self.vector, self.index
        lines = [f"v{k}[u] = tg_vec_load<{n}>(p{k} + j * {n});" for k in self._read("each")]
        if self.layout == "rows":
            lines += [
                f"const {index} row = tg_quotient(j * {n}, columns);",
                f"const {index} column = j * {n} - row * columns.by;",
            ]
        for k in self._read("row"):
            given = f"p{k}, column, static_cast<{index}>(columns.by), even{k}"
            lines.append(f"tg_repeat<{n}>(v{k}[u], {given});")
        for k in self._read("column"):
            given = f"p{k}, row, column, static_cast<{index}>(columns.by), rows, even"
            lines.append(f"tg_spread<{n}>(v{k}[u], {given});")
        return self._times("j", "vectors", lines)

    def _times(self, at: str, end: str, lines: Sequence[str]) -> list[str]:
        return [
            "#pragma unroll",
            f"for (int u = 0; u < {self.times}; u++) {{",
            f"    const {self.index} {at} = first + u * step;",
            f"    if ({at} < {end}) {{",
            *(f"        {line}" for line in lines),
            "    }",
            "}",
        ]

    def _compute_all(self) -> list[str]:
        n = self.vector
        values = [f"s{k}" if self.reads[k] == "one" else f"v{k}[u].v[k]" for k in self.ins]
        results = [f"r{k}.v[k]" for k in self.outs]
        return self._times(
            "j",
            "vectors",
            [
                *(f"Vec<{self._memory(k)}, {n}> r{k};" for k in self.outs),
                "#pragma unroll",
                f"for (int k = 0; k < {n}; k++)",
                f"    {_NAME}_one({', '.join([*values, *results])}, j * {n} + k);",
                *(f"tg_vec_store(p{k} + j * {n}, r{k});" for k in self.outs),
            ],
        )

    def _rest(self) -> list[str]:
        """The tail, and everything where an address is no multiple of the vectors' size."""
        where = {"each": "i", "row": "i - row * columns.by", "column": "row"}
        values = [
            f"s{k}" if self.reads[k] == "one" else f"p{k}[{where[self.reads[k]]}]" for k in self.ins
        ]
        lines = [f"{self._memory(k)} r{k};" for k in self.outs]
        if self.layout == "rows":
            lines.append(f"const {self.index} row = tg_quotient(i, columns);")
        given = [*values, *(f"r{k}" for k in self.outs), "i"]
        lines += [f"{_NAME}_one({', '.join(given)});", *(f"p{k}[i] = r{k};" for k in self.outs)]
        head = f"for ({self.index} i = vectors * {self.vector} + first; i < count; i += step) {{"
        return [head, *(f"    {line}" for line in lines), "}"]

    def _strided(self) -> list[str]:
        """Elements, `times` of them a thread, a grid apart, each operand at its own offset."""
        index, suffix = self.index, "_wide" if self.wide else ""
        count = len(self.stored)
        step = "i64" if self.wide else "int"
        head = [
            f"const {index} count = n, step = static_cast<{index}>(gridDim.x) * {self.block};",
            f"const {index} first = static_cast<{index}>(blockIdx.x) * {self.block} + threadIdx.x;",
            f"{step} at[{self.times}][{count}];",
            *(f"{self._memory(k)} v{k}[{self.times}];" for k in self.ins),
        ]
        loads = [
            f"tg_offsets<{count}, tg_view{suffix}<{count}>>(at[u], view, i);",
            *(f"v{k}[u] = p{k}[at[u][{k}]];" for k in self.ins),
        ]
        given = [*(f"v{k}[u]" for k in self.ins), *(f"r{k}" for k in self.outs), "i"]
        compute = [
            *(f"{self._memory(k)} r{k};" for k in self.outs),
            f"{_NAME}_one({', '.join(given)});",
            *(f"p{k}[at[u][{k}]] = r{k};" for k in self.outs),
        ]
        return [*head, *self._times("i", "count", loads), *self._times("i", "count", compute)]
