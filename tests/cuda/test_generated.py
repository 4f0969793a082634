"""Generated CUDA texts, drawn afresh, on the CPU: results, races, bounds, far addresses.

Every formula of the registry and its derivatives to the second order are drawn from; with --full
all of them run, in a random dtype, layout and shape each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import elementwise_tools as elements
import numpy as np
import pytest
import rows_cases
from elementwise_tools import FLOATS, copied
from host import SCHEDULES, KernelError, build, sanitizers
from rows_cases import moved
from sources import drawn, formula

from tensorgrad import dtypes
from tensorgrad.codegen import cuda, cuda_rows
from tensorgrad.codegen.cuda_views import View
from tensorgrad.expr import Formula, input

SAMPLE, BATCH, WATCHED = 60, 60, 5
Rng = np.random.Generator


@dataclass
class Drawn:
    """A text with the arrays for it."""

    label: str
    case: Any
    text: str

    @property
    def rows(self) -> bool:
        return isinstance(self.case, rows_cases.Case)

    def run(self, module: Any, schedule: str) -> list[Any]:
        """The outputs."""
        if self.rows:
            return list(self.case.run(module, schedule=schedule))
        for o in self.case.outs:
            o.view(np.uint8)[...] = 0xA5
        self.case.launch(module, schedule)
        return [np.array(o, order="C") for o in self.case.outs]

    def check(self, got: Sequence[Any]) -> None:
        """The outputs are the interpreter's."""
        if self.rows:
            near(self.case, got)
        else:
            elements.close(self.case, got)

    def watched(self, text: str) -> Iterator[sanitizers.Case]:
        """The launches under a sanitizer; every array is an allocation of its own."""
        case, source = self.case, self.case.source
        if self.rows:
            args, _, _ = case.arguments()
            given = tuple(within(a) if isinstance(a, np.ndarray) else a for a in args)
            for one in source.launches:
                label = f"{self.label} {one.name}"
                yield sanitizers.Case(
                    label, text, one.name, one.grid, one.block, given, one.shared, "random"
                )
            return
        outs = [np.empty(o.shape, o.dtype) for o in case.outs]
        args = case.view.arguments([*map(within, case.arrays), *outs])
        typed = tuple(a[()] if isinstance(a, np.ndarray) and a.dtype.names else a for a in args)
        grid, block = source.grid(case.view.size), (source.block,)
        yield sanitizers.Case(self.label, text, source.name, grid, block, typed, 0, "random")


def within(a: Any) -> Any:
    """An array as an address in the memory that it is a view of."""
    owner = a
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return sanitizers.Within(owner, a.ctypes.data - owner.ctypes.data)


def near(case: rows_cases.Case, got: Sequence[Any]) -> None:
    """Within four times the interpreter's own error, and what another order of sums makes."""
    exact, own = case.expected(np.float64), case.expected()
    # A sum may cancel: its error is that of as many terms as there are columns or rows.
    most = max(np.abs(w[np.isfinite(w)]).max(initial=0) for w in exact)
    for g, i, w in zip(got, own, exact, strict=True):
        if g.dtype.kind == "b":
            assert np.array_equal(g, i)
            continue
        half = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(g.dtype.name, 0)
        g, i = g.astype(np.float64), i.astype(np.float64)
        assert np.array_equal(np.isnan(g), np.isnan(i))
        fine = np.abs(w) < (6e4 if half == 2.0**-11 else 3e38)  # others may become infinite
        eps = 2.0**-52 if case.source.dtypes[0] == "float64" else 2.0**-23
        bound = 4 * np.abs(i[fine] - w[fine]).max(initial=0)
        bound += eps * most * (16 + np.prod(case.shape)) + 2 * half * np.abs(w[fine])
        bound += 2.0**-24 * (half == 2.0**-11)  # float16 has few numbers near 0
        error = np.abs(g[fine] - w[fine])
        assert np.all(error <= bound), np.max(error - bound)


# -- drawing -------------------------------------------------------------------------------------


def sample(rng: Rng, count: int | None) -> list[Drawn]:
    """Texts of formulas in random order: `count` of them, or one of every formula."""
    found: list[Drawn] = []
    for name, order in drawn(rng):
        f, kind = formula(name, order), str(rng.choice(FLOATS))
        if f is None or len(found) == count:
            continue
        names = [{"f": kind, "i": "int64", "b": "bool"}[e.kind] for e in f.inputs]
        label = f"{name} order {order} {kind}"
        if f.elementwise and cuda.supports(f, names):
            case = of_elements(f, dtypes.dtype(kind), rng)
            found.append(Drawn(f"{label} {case.view}", case, case.source.text))
        elif not f.elementwise and cuda_rows.supports(f, names):
            of = of_rows(f, dtypes.dtype(kind), rng)
            found.append(Drawn(f"{label} {of.shape} {of.inner}", of, of.source.text))
    return found


def length(rng: Rng, most: int) -> int:
    """One, an odd number, a multiple of what is read at once, or any."""
    any_of = [1, 2 * int(rng.integers(most // 2)) + 1, 8 * int(rng.integers(1, most // 8 + 1))]
    return int(rng.choice([*any_of, int(rng.integers(1, most))]))


def of_elements(f: Formula, kind: Any, rng: Rng) -> elements.Case:
    """Arrays that lie flat, beside ones that repeat over rows or columns, or strided."""
    m, n = length(rng, 40), length(rng, 70)
    how = str(rng.choice(["flat", "rows", "strided"]))
    arrays = []
    for k, e in enumerate(f.inputs):
        shape = {"flat": (m * n,), "rows": (m, n), "strided": (2 * n, 2 * m)}[how]
        if k and how == "rows":
            shape = [(m, n), (n,), (m, 1), (1,)][rng.integers(4)]
        if e.kind == "f":
            a = rng.uniform(0.3, 1.9, shape).astype(kind)
        else:
            a = rng.integers(0, 4, shape).astype("i8" if e.kind == "i" else "?")
        a = copied(a, int(rng.integers(2)))
        arrays.append(a[::-2, ::2].T if how == "strided" else a)
    return elements.Case(f, arrays, shift=int(rng.integers(2)), wide=bool(rng.integers(2)))


def of_rows(f: Formula, kind: Any, rng: Rng) -> rows_cases.Case:
    """Rows one after the other, at any address, or some of them side by side."""
    m, n = length(rng, 40), length(rng, 300)
    if rng.random() < 0.2:
        m, n = int(rng.integers(1, 5)), length(rng, 3000)
    divisors = [k for k in range(1, m + 1) if m % k == 0]
    inner = int(rng.choice(divisors)) if rng.random() < 0.5 else 0
    case = rows_cases.case(f, (m, n), inner, kind, rng)
    if rng.random() < 0.5:
        case.arrays = [moved(a) for a in case.arrays]
    return case


def joined(found: Sequence[Drawn]) -> str:
    return "\n".join(["#define TG_HALF", *{d.case.source.name: d.text for d in found}.values()])


def count(request: pytest.FixtureRequest, usual: int) -> int | None:
    return None if request.config.getoption("--full") else usual


def batches(found: Sequence[Drawn], size: int) -> Iterator[Sequence[Drawn]]:
    for first in range(0, len(found), size):
        yield found[first : first + size]


# -- tests ---------------------------------------------------------------------------------------


def test_results_under_every_schedule(rng: Rng, request: pytest.FixtureRequest) -> None:
    found = sample(rng, count(request, SAMPLE))
    assert {d.rows for d in found} == {True, False}
    for batch in batches(found, BATCH):
        module = build(joined(batch))
        for d in batch:
            try:
                results = [d.run(module, schedule) for schedule in SCHEDULES[1:]]
                d.check(results[0])
                assert len({b"".join(o.tobytes() for o in r) for r in results}) == 1
            except BaseException as error:
                error.add_note(f"{d.label}\n{d.text[d.text.rindex('#endif') :]}")
                raise


@pytest.mark.parametrize("sanitize", ["thread", "address"])
def test_sanitizers_find_nothing(sanitize: str, rng: Rng, request: pytest.FixtureRequest) -> None:
    found = sample(rng, count(request, WATCHED))
    for batch in batches(found, 20):
        text = joined(batch)
        reports = sanitizers.run([c for d in batch for c in d.watched(text)], sanitize)
        assert not {name: r for name, r in reports.items() if r}


# -- planted faults ------------------------------------------------------------------------------


def softmax(shape: tuple[int, int], inner: int, rng: Rng) -> Drawn:
    f = formula("softmax", 0)
    assert f is not None
    case = rows_cases.case(f, shape, inner, np.float32, rng)
    return Drawn("softmax", case, case.source.text)


def bias_gradient(rng: Rng) -> Drawn:
    """A block adds up four rows at a time in shared memory."""
    f = formula("layer_norm", 1)
    assert f is not None
    case = rows_cases.case(f, (40, 96), 0, np.float32, rng)
    return Drawn("layer_norm", case, case.source.text)


def product(rng: Rng, shift: int = 0) -> Drawn:
    f = formula("multiply", 0)
    assert f is not None
    x = [copied(rng.standard_normal(1021).astype(np.float32), shift) for _ in range(2)]
    case = elements.Case(f, x, outs=[copied(x[0], shift)])
    return Drawn("multiply", case, case.source.text)


def reports(d: Drawn, before: str, after: str, sanitize: str) -> str:
    """What a sanitizer says of a text in which a fault was planted."""
    assert before in d.text
    head, _, tail = d.text.rpartition(before)
    return "".join(sanitizers.run(list(d.watched(head + after + tail)), sanitize).values())


def test_planted_races_are_found(rng: Rng) -> None:
    barrier = "__syncthreads();\n"
    assert "data race" in reports(bias_gradient(rng), barrier, "\n", "thread")
    beside = softmax((64, 40), 64, rng)
    inside = "        __syncthreads();\n        if (t < o)"
    assert "data race" in reports(beside, inside, "        if (t < o)", "thread")


def test_planted_accesses_are_found(rng: Rng) -> None:
    row = softmax((6, 333), 0, rng)
    assert "heap-buffer-overflow" in reports(row, "if (j < n)", "if (j <= n)", "address")
    flat = product(rng)
    assert "heap-buffer-overflow" in reports(flat, "i < count;", "i <= count;", "address")
    wide = softmax((6, 332), 0, rng)
    wide.case.arrays = [moved(a) for a in wide.case.arrays]
    aligned = wide.text[wide.text.rindex("const bool wide = ") :].split("\n")[0]
    assert "misaligned address" in reports(wide, aligned, "const bool wide = true;", "address")
    odd = product(rng, shift=1)
    aligned = "tg_aligned_by<4>(p0) && tg_aligned_by<4>(p1)"
    assert "misaligned address" in reports(odd, aligned, "true", "address")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_planted_barriers_in_a_branch_are_found(schedule: str, rng: Rng) -> None:
    d = bias_gradient(rng)
    head, barrier, tail = d.text.rpartition("__syncthreads();")
    planted = build(f"{head}if (lane < 7) {barrier}{tail}")
    with pytest.raises(KernelError, match="divergent barrier"):
        d.run(planted, schedule)


# -- far addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["flat", "rows", "strided"])
def test_positions_of_64_bits(layout: str, rng: Rng) -> None:
    """More than 2^31 elements, of which three blocks run; what nothing touches takes no memory."""
    f = Formula.trace("apart", lambda x, y: (x * y - x,), [input("x"), input("y")])
    m, n = 2**18 + int(rng.integers(1, 99)), 2**14 + 8 * int(rng.integers(9))
    with TemporaryFile() as file:
        x, out = np.memmap(file, np.float32, "w+", shape=(2, m, n))
        y = rng.standard_normal(n).astype(np.float32)
        if layout == "flat":
            x, y, out = x.reshape(-1), y[:1], out.reshape(-1)
        elif layout == "strided":
            x, y, out = x[:, ::-1], y[::-1], out
        case = elements.Case(f, [x, y], outs=[out])
        view, source = case.view, case.source
        assert (view.layout, view.wide) == (layout, True)
        (blocks,) = source.grid(view.size)
        chosen = np.array([0, blocks // 2, blocks - 1])
        at = touched(source, view, blocks, chosen)
        assert at.max() > 2**31
        values = rng.standard_normal(at.size).astype(np.float32)
        x[np.unravel_index(at, x.shape)] = values
        repeated = np.broadcast_to(y, x.shape)[np.unravel_index(at, x.shape)]
        args = view.arguments([x, y, out])
        typed = [a[()] if isinstance(a, np.ndarray) and a.dtype.names else a for a in args]
        kernel = build(source.text).get_function(source.name)
        kernel((blocks,), (source.block,), typed, blocks=chosen)
        found = out[np.unravel_index(at, out.shape)]
    assert np.array_equal(found, values * repeated - values)


def touched(source: cuda.Source, view: View, blocks: int, chosen: Any) -> Any:
    """The elements that these blocks compute before the tail."""
    first = (chosen[:, None] * source.block + np.arange(source.block)).ravel()
    vectors = first + blocks * source.block * np.arange(source.per_thread)[:, None]
    at = vectors.ravel()[:, None] * source.vector + np.arange(source.vector)
    return at[at < view.size // source.vector * source.vector]
