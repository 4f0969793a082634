"""What the machine can do at least: the time that the bytes of a case take by themselves.

The rate of memory depends on how much is read and written, from where, and whether a store first
fetches its line. So the floor of a case is measured, in the same rounds, by loops that do nothing
but add what they read and store the sum: over as many arrays of the same size, in the same order.
Plain stores (which fetch their lines) and stores around the caches both run; the quicker counts.
Outputs are reused, so a case that takes fresh memory also shows what that costs.
"""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from benchmarks.race import Run
from tensorgrad.codegen.compiler import compiler

Array = np.ndarray[Any, Any]
VECTOR, UNROLL = 16, 8
BLOCK = VECTOR * UNROLL  # float32 numbers of one turn of the loop


class Floor(NamedTuple):
    """The two loops, of which the quicker counts, and the bytes that they read and write."""

    runs: tuple[Run, Run]
    moved: float

    @property
    def plain(self) -> Run:
        """The loop whose stores fetch their lines first, as those of most programs do."""
        return self.runs[0]


def floor(size: int, *passes: str) -> Floor:
    """The floor of passes over arrays of `size` float32 numbers, a multiple of 128.

    A pass names what it reads and writes, "x ct > dx": one name is one array in all passes.
    """
    sides = [[part.split() for part in text.split(">")] for text in passes]
    names = dict.fromkeys(chain.from_iterable(chain.from_iterable(sides)))
    arrays = {name: _array(size, k) for k, name in enumerate(names)}
    moved = 4 * size * sum(len(names) for side in sides for names in side)
    plain, streamed = (_run(size, sides, arrays, around) for around in (False, True))
    return Floor((plain, streamed), moved)


def _array(size: int, k: int) -> Array:
    """An aligned array; no two begin at one place of a page, where loads would wait for stores."""
    step = 576  # bytes
    raw = np.empty(4 * size + step * (k + 1) + 64, np.uint8)
    start = -raw.ctypes.data % 64 + step * k
    found = raw[start : start + 4 * size].view(np.float32)
    found[...] = 1.0
    return found


def _run(size: int, sides: Any, arrays: dict[str, Array], around: bool) -> Run:
    spare = _array(BLOCK, 0)  # what a pass that only reads sums up to
    calls = []
    for reads, writes in sides:
        used = [*[arrays[name] for name in (*reads, *writes)], *([] if writes else [spare])]
        table = (ctypes.c_void_p * len(used))(*[a.ctypes.data for a in used])
        calls.append((_loop(len(reads), len(writes), around), table))
    turns = size // BLOCK

    def run() -> Any:
        for loop, table in calls:
            loop(table, turns)
        return arrays, spare  # alive as long as the tables that point into them

    return run


@cache
def _loop(reads: int, writes: int, around: bool) -> Any:
    address = compiler().address(_text(reads, writes, around))
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)


def _text(reads: int, writes: int, around: bool) -> str:
    """The loop over `reads` inputs and `writes` outputs; without outputs it keeps running sums."""
    t, hint = f"<{VECTOR} x float>", ", !nontemporal !0" if around else ""
    count = reads + max(writes, 1)
    head = [f"; floor: {reads} read, {writes} written{', around the caches' if around else ''}"]
    head += ["define void @KERNEL(ptr %arrays, i64 %turns) {", "entry:"]
    for k in range(count):
        head.append(f"  %q{k} = getelementptr ptr, ptr %arrays, i64 {k}")
        head.append(f"  %p{k} = load ptr, ptr %q{k}")
    head += ["  br label %loop", "loop:", "  %k = phi i64 [0, %entry], [%next, %loop]"]
    sums = [f"  %a{u} = phi {t} [zeroinitializer, %entry], [%s{u}.{reads}, %loop]" for u in _TURN]
    head += [] if writes else sums
    head.append(f"  %start = mul i64 %k, {BLOCK}")
    body = list(chain.from_iterable(_step(u, reads, writes, t, hint) for u in _TURN))
    body += ["  %next = add i64 %k, 1", "  %more = icmp slt i64 %next, %turns"]
    body += ["  br i1 %more, label %loop, label %done", "done:"]
    if not writes:
        for u in _TURN:
            body.append(f"  %e{u} = getelementptr float, ptr %p{reads}, i64 {u * VECTOR}")
            body.append(f"  store {t} %s{u}.{reads}, ptr %e{u}, align 64")
    return "\n".join([*head, *body, "  ret void", "}", "!0 = !{i32 1}", ""])


_TURN = range(UNROLL)


def _step(u: int, reads: int, writes: int, t: str, hint: str) -> list[str]:
    """One vector of a turn: what is read is added up, the sum stored in every output."""
    lines = [f"  %i{u} = add i64 %start, {u * VECTOR}"]
    lines.append(
        f"  %s{u}.0 = fadd {t} {'zeroinitializer' if writes else f'%a{u}'}, zeroinitializer"
    )
    for k in range(reads):
        lines.append(f"  %g{u}.{k} = getelementptr float, ptr %p{k}, i64 %i{u}")
        lines.append(f"  %v{u}.{k} = load {t}, ptr %g{u}.{k}, align 64")
        lines.append(f"  %s{u}.{k + 1} = fadd {t} %s{u}.{k}, %v{u}.{k}")
    for k in range(reads, reads + writes):
        lines.append(f"  %g{u}.{k} = getelementptr float, ptr %p{k}, i64 %i{u}")
        lines.append(f"  store {t} %s{u}.{reads}, ptr %g{u}.{k}, align 64{hint}")
    return lines
