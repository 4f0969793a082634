"""Generated loops that read images (N, C, pixels) at any positions (N, P, rank), and the adjoint.

    read   y[n, c, p] = Σ_t w_t v_t, v_t = x[n, c, place_t] where it is there, else 0
    pull   dx[n, c, place_t] += w_t ct[n, c, p] where it is there, position after position; and the
           cotangent of the position, out of Σ_c ct[n, c, p] v_t for each t

A vector is of positions; its places and weights, by formulas, serve all channels of an image.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tensorgrad.codegen.body import Body
from tensorgrad.codegen.compiler import compiler
from tensorgrad.codegen.kernels import KERNELS
from tensorgrad.codegen.native import loads
from tensorgrad.codegen.vectors import Text, Vectors
from tensorgrad.expr import Formula

BYTES = 64
"""Of the vectors, on every processor."""

_WORDS = (
    "x grid ct y dx dgrid constants N:i64 C:i64 P:i64 blocks:i64 image:i64 size0:i64 size1:i64 "
    "size2:i64"
)
_JOB = ctypes.c_int64 * len(_WORDS.split())
_CALL = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Run = Callable[..., None]


class _Lanes(Vectors):
    """Vectors of one register, so that gathered elements and sums stay in them."""

    def __init__(self, text: Text, double: bool) -> None:
        super().__init__(text, double)
        self.width = BYTES // (8 if double else 4)
        self.floats, self.ints = self.of(self.scalar), self.of(self.integer)
        self.bools = self.of("i1")


class _Writer:
    """A function in the making: `reading` gives places and weights, `moving` a grid's cotangent.

    what: "read", or of "pull" which cotangents: "x", "grid" or both
    """

    def __init__(
        self, reading: Formula, moving: Formula | None, rank: int, taps: int, double: bool
    ) -> None:
        self.reading, self.moving, self.rank, self.taps = reading, moving, rank, taps
        self.text = Text()
        self.v = _Lanes(self.text, double)
        self.size, self.lanes = (8 if double else 4), self.v.width
        self.combined = list(itertools.product(range(taps), repeat=rank))
        self.places32 = self.v.of("i32")

    # -- small parts ---------------------------------------------------------------------------

    def at(self, base: str, number: str, step: str) -> str:
        offset = self.text.value(f"mul i64 {number}, {step}")
        return self.text.value(f"getelementptr i8, ptr {base}, i64 {offset}")

    def splat(self, kind: str, value: str, lanes: int) -> str:
        one = self.text.value(f"insertelement <{lanes} x {kind}> poison, {kind} {value}, i64 0")
        return self.text.value(
            f"shufflevector <{lanes} x {kind}> {one}, <{lanes} x {kind}> poison, "
            f"<{lanes} x i32> zeroinitializer"
        )

    def below(self, count: str, lanes: int) -> str:
        """Which of so many lanes have a number below `count`."""
        iota = ", ".join(f"i64 {k}" for k in range(lanes))
        every = self.splat("i64", count, lanes)
        return self.text.value(f"icmp slt <{lanes} x i64> <{iota}>, {every}")

    def load(self, at: str, mask: str, lanes: int) -> str:
        kind, name = f"<{lanes} x {self.v.scalar}>", self._masked("load", lanes)
        self.text.declare(f"{kind} {name}(ptr, i32, <{lanes} x i1>, {kind})")
        return self.text.value(
            f"call {kind} {name}(ptr {at}, i32 {self.size}, <{lanes} x i1> {mask}, "
            f"{kind} zeroinitializer)"
        )

    def store(self, value: str, at: str, mask: str, lanes: int) -> None:
        kind, name = f"<{lanes} x {self.v.scalar}>", self._masked("store", lanes)
        self.text.declare(f"void {name}({kind}, ptr, i32, <{lanes} x i1>)")
        self.text.put(
            f"call void {name}({kind} {value}, ptr {at}, i32 {self.size}, <{lanes} x i1> {mask})"
        )

    def _masked(self, what: str, lanes: int) -> str:
        return f"@llvm.masked.{what}.v{lanes}f{8 * self.size}.p0"

    def gather(self, base: str, place: str, mask: str) -> str:
        v, n = self.v, self.lanes
        name = f"@llvm.masked.gather.v{n}f{8 * self.size}.v{n}p0"
        self.text.declare(f"{v.floats} {name}(<{n} x ptr>, i32, {v.bools}, {v.floats})")
        each = self.text.value(f"getelementptr {v.scalar}, ptr {base}, {self.places32} {place}")
        return self.text.value(
            f"call {v.floats} {name}(<{n} x ptr> {each}, i32 {self.size}, {v.bools} {mask}, "
            f"{v.floats} zeroinitializer)"
        )

    def shuffle(self, a: str, b: str, lanes: int, picked: Sequence[int]) -> str:
        kind = f"<{lanes} x {self.v.scalar}>"
        mask = ", ".join(f"i32 {k}" if k >= 0 else "i32 poison" for k in picked)
        return self.text.value(
            f"shufflevector {kind} {a}, {kind} {b}, <{len(picked)} x i32> <{mask}>"
        )

    def loop(self, name: str, count: str, carried: Sequence[tuple[str, str]] = ()) -> list[str]:
        """The head of a loop of at least one round; the values carried are (type, first one)."""
        t = self.text
        t.put(f"br label %{name}.in")
        t.label(f"{name}.in")
        t.put(f"br label %{name}")
        t.label(name)
        t.put(f"%{name}.i = phi i64 [0, %{name}.in], [%{name}.more, %{name}.end]")
        for k, (kind, first) in enumerate(carried):
            t.put(f"%{name}.{k} = phi {kind} [{first}, %{name}.in], [%{name}.{k}.n, %{name}.end]")
        return [f"%{name}.{k}" for k in range(len(carried))]

    def end(self, name: str, count: str, carried: Sequence[tuple[str, str]] = ()) -> list[str]:
        """Its end; what is carried on are (type, value). Gives the last ones."""
        t = self.text
        t.put(f"br label %{name}.end")
        t.label(f"{name}.end")
        for k, (kind, value) in enumerate(carried):
            t.put(f"%{name}.{k}.n = bitcast {kind} {value} to {kind}")
        t.put(f"%{name}.more = add i64 %{name}.i, 1")
        t.put(f"%{name}.again = icmp slt i64 %{name}.more, {count}")
        t.put(f"br i1 %{name}.again, label %{name}, label %{name}.out")
        t.label(f"{name}.out")
        return [f"%{name}.{k}.n" for k in range(len(carried))]

    # -- positions -----------------------------------------------------------------------------

    def positions(self, at: str, mask: str) -> list[str]:
        """A vector of each coordinate, out of what lies coordinate after coordinate."""
        wide = self.lanes * self.rank
        given = self.load(at, mask, wide)
        return [
            self.shuffle(given, "poison", wide, [p * self.rank + k for p in range(self.lanes)])
            for k in range(self.rank)
        ]

    def interleaved(self, parts: Sequence[str]) -> str:
        n = self.lanes
        if len(parts) == 2:
            turns = [p + k * n for p in range(n) for k in range(2)]
            return self.shuffle(parts[0], parts[1], n, turns)
        both = self.shuffle(parts[0], parts[1], n, list(range(2 * n)))
        third = self.shuffle(parts[2], "poison", n, [k if k < n else -1 for k in range(2 * n)])
        return self.shuffle(both, third, 2 * n, [p + k * n for p in range(n) for k in range(3)])

    def read_places(self, known: dict[str, str]) -> tuple[list[str], list[str], list[str]]:
        """Of each combination its places, whether they are there, and its weights."""
        t, count = self.text, len(self.combined)
        found = Body(self.v).values(self.reading, [known[e.value] for e in self.reading.inputs])
        axes = self.taps * self.rank
        whole = [t.value(f"fptosi {self.v.floats} {x} to {self.places32}") for x in found[:axes]]
        there, weights = found[axes : axes + count], found[axes + count :]
        places = []
        for taps in self.combined:
            place = whole[taps[0]]
            for k in range(1, self.rank):
                scaled = t.value(f"mul {self.places32} {place}, %extent{k}")
                own = whole[k * self.taps + taps[k]]
                place = t.value(f"add {self.places32} {scaled}, {own}")
            places.append(place)
        return places, there, weights

    # -- the functions -------------------------------------------------------------------------

    def begin(self) -> dict[str, str]:
        """The words, the constants in every lane, and the loops over images and blocks."""
        t, v, n = self.text, self.v, self.lanes
        t.label("entry")
        t.lines.append(loads("job", _WORDS))
        known = {}
        names = [e.value for e in self.reading.inputs][self.rank :]
        for k, name in enumerate(names):
            at = t.value(f"getelementptr {v.scalar}, ptr %constants, i64 {k}")
            known[name] = self.splat(v.scalar, t.value(f"load {v.scalar}, ptr {at}"), n)
        for k in range(1, self.rank):
            extent = t.value(f"trunc i64 %size{k} to i32")
            one = t.value(f"insertelement {self.places32} poison, i32 {extent}, i64 0")
            t.put(
                f"%extent{k} = shufflevector {self.places32} {one}, {self.places32} poison, "
                f"<{n} x i32> zeroinitializer"
            )
        return known

    def block(self) -> tuple[str, str, str, str]:
        """In a block: its masks of positions and of coordinates, where both begin."""
        t = self.text
        done = t.value(f"mul i64 %b.i, {self.lanes}")
        left = t.value(f"sub i64 %P, {done}")
        mask = self.below(left, self.lanes)
        words = t.value(f"mul i64 {left}, {self.rank}")
        wide = self.below(words, self.lanes * self.rank)
        all_before = t.value("mul i64 %n.i, %P")
        before = t.value(f"add i64 {all_before}, {done}")
        return mask, wide, done, t.value(f"mul i64 {before}, {self.rank * self.size}")

    def channel(self, done: str) -> tuple[str, str]:
        """In a channel: the bytes before its image, and before this block of its positions."""
        t = self.text
        before = t.value("mul i64 %n.i, %C")
        number = t.value(f"add i64 {before}, %c.i")
        image = t.value(f"mul i64 {number}, %image")
        first = t.value(f"mul i64 {number}, %P")
        place = t.value(f"add i64 {first}, {done}")
        return image, t.value(f"mul i64 {place}, {self.size}")

    def read(self) -> str:
        t, v = self.text, self.v
        known = self.begin()
        self.loop("n", "%N")
        self.loop("b", "%blocks")
        mask, wide, done, offset = self.block()
        at = t.value(f"getelementptr i8, ptr %grid, i64 {offset}")
        known |= {f"g{k}": g for k, g in enumerate(self.positions(at, wide))}
        places, there, weights = self.read_places(known)
        self.loop("c", "%C")
        image, row = self.channel(done)
        base = t.value(f"getelementptr i8, ptr %x, i64 {image}")
        total = ""
        for k, place in enumerate(places):
            found = self.gather(base, place, there[k])
            found = v.mul(found, weights[k]) if weights else found
            total = v.add(total, found) if total else found
        self.store(total, t.value(f"getelementptr i8, ptr %y, i64 {row}"), mask, self.lanes)
        self.end("c", "%C")
        return self.finish()

    def finish(self) -> str:
        self.end("b", "%blocks")
        self.end("n", "%N")
        self.text.put("ret void")
        body = "\n".join(self.text.lines)
        below = "\n".join(self.text.below())
        return f"; {self.reading.name}\ndefine void @KERNEL(ptr %job) {{\n{body}\n}}\n{below}\n"

    def pull(self, image_too: bool) -> str:
        t, v, count = self.text, self.v, len(self.combined)
        known = self.begin()
        if image_too:
            t.put(f"%kept = alloca [{count * self.lanes} x i32], align 64")
            t.put(f"%parts = alloca [{count * self.lanes} x {v.scalar}], align 64")
        self.loop("n", "%N")
        self.loop("b", "%blocks")
        mask, wide, done, offset = self.block()
        at = t.value(f"getelementptr i8, ptr %grid, i64 {offset}")
        known |= {f"g{k}": g for k, g in enumerate(self.positions(at, wide))}
        places, there, weights = self.read_places(known)
        if image_too:
            self._keep("%kept", self.places32, places)
        sums = [(v.floats, "zeroinitializer")] * (count if self.moving else 0)
        totals = self.loop("c", "%C", sums)
        image, row = self.channel(done)
        cts = self.load(t.value(f"getelementptr i8, ptr %ct, i64 {row}"), mask, self.lanes)
        later = []
        if self.moving:
            base = t.value(f"getelementptr i8, ptr %x, i64 {image}")
            for k, total in enumerate(totals):
                found = self.gather(base, places[k], there[k])
                later.append(v.add(total, v.mul(cts, found)))
        if image_too:
            target = t.value(f"getelementptr i8, ptr %dx, i64 {image}")
            parts = [v.mul(cts, w) for w in weights] or [cts] * count
            zero = "zeroinitializer"
            self._keep("%parts", v.floats, [v.select(o, p, zero) for o, p in zip(there, parts)])
            self._spread(target)
        last = self.end("c", "%C", [(v.floats, x) for x in later])
        if self.moving:
            known |= {f"d{k}": x for k, x in enumerate(last)}
            known["ct0"] = v.const(1.0)
            given = [known[e.value] for e in self.moving.inputs]
            found = self.interleaved(Body(v).values(self.moving, given))
            to = t.value(f"getelementptr i8, ptr %dgrid, i64 {offset}")
            self.store(found, to, wide, self.lanes * self.rank)
        return self.finish()

    def _keep(self, base: str, kind: str, values: Sequence[str]) -> None:
        for k, value in enumerate(values):
            at = self.text.value(f"getelementptr {kind}, ptr {base}, i64 {k}")
            self.text.put(f"store {kind} {value}, ptr {at}, align 64")

    def _spread(self, target: str) -> None:
        """What was kept, added where it belongs; four elements a round."""
        t, kind, step = self.text, self.v.scalar, 4
        rounds = str(len(self.combined) * self.lanes // step)
        self.loop("e", rounds)
        first = t.value(f"mul i64 %e.i, {step}")
        for k in range(step):
            number = t.value(f"add i64 {first}, {k}")
            kept = t.value(f"getelementptr i32, ptr %kept, i64 {number}")
            part = t.value(f"getelementptr {kind}, ptr %parts, i64 {number}")
            place = t.value(f"load i32, ptr {kept}")
            wide = t.value(f"zext i32 {place} to i64")
            to = t.value(f"getelementptr {kind}, ptr {target}, i64 {wide}")
            added = t.value(f"load {kind}, ptr {part}")
            before = t.value(f"load {kind}, ptr {to}")
            after = t.value(f"fadd {kind} {before}, {added}")
            t.put(f"store {kind} {after}, ptr {to}")
        self.end("e", rounds)


def sampler(
    reading: Formula, moving: Formula | None, rank: int, taps: int, what: str, dtype: np.dtype[Any]
) -> Run | None:
    """run(job) for float32 or float64, the job being `_WORDS`; None where nothing can be generated.

    what: "read"; "x", "grid" or "both" of their cotangents. All arrays are contiguous, `image` is
    in bytes, and an image has less than 2^31 elements.
    """
    if dtype.char not in "fd":
        return None
    mark = ("sampling", reading, what, rank, taps, dtype)

    def build() -> Run:
        writer = _Writer(
            reading, moving if what in ("grid", "both") else None, rank, taps, dtype.itemsize == 8
        )
        text = writer.read() if what == "read" else writer.pull(what != "grid")
        code = _CALL(compiler().address(text))

        def run(words: Any) -> None:
            code(_JOB(*words))

        return run

    return KERNELS.find(mark, build)  # type: ignore[no-any-return]


def lanes(dtype: Any) -> int:
    """Positions of a vector."""
    return BYTES // int(dtype.itemsize)
