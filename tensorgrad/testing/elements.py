"""Derivatives held to differences element by element: which argument, by how much, where worst."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing.byhand import STEP, Array, as_array
from tensorgrad.testing.problem import REVERSE, Point, Problem, floats
from tensorgrad.transforms.forward import jvp

TOLERANCE = 1e-6
"""Error allowed, relative to an argument's largest element; the difference's rounding is added."""
EXACT = 1e-11
"""The same for complex steps, whose error is that of the function itself."""
TINY = 1e-30
"""The complex step: f(x + ih) = f(x) + ih f'(x), without a difference (Squire and Trapp, 1998)."""

Rows = Callable[[Point], Array]  # results at a point, flat: real parts, then imaginary parts


@dataclass(frozen=True, slots=True)
class Compared:
    """One argument's derivative against the estimate.

    error: the largest, relative to the largest element; got, expected, place: where it is largest,
        `place` counting the results first where there are several; wrong, of: elements over the
        tolerance, and elements looked at
    """

    argument: str
    shape: tuple[int, ...]
    mode: str
    order: int
    error: float
    got: complex
    expected: complex
    place: tuple[int, ...]
    wrong: int
    of: int

    def __str__(self) -> str:
        place = f"[{', '.join(map(str, self.place))}]" if self.place else ""
        return (
            f"d/d{self.argument}{place} = {self.got:.6g}, expected {self.expected:.6g}, error "
            f"{self.error:.1e}, wrong in {self.wrong} of {self.of} elements"
        )


def compare(
    problem: Problem,
    mode: str,
    order: int = 1,
    *,
    full: bool = False,
    method: str = "difference",
    limit: int | None = None,
    rng: np.random.Generator | None = None,
) -> list[Compared]:
    """The derivative of every argument that moves against its estimate, element by element.

    Of <weights, f>, its directional derivative of order - 1 for orders above 1; with `full` (and
    order 1) of every element of every result. At most `limit` random elements of an argument.
    """
    rng = rng or np.random.default_rng()
    many = full and order == 1
    rows = _results(problem) if many else _scalar(problem, mode, order - 1)
    chosen = {
        k: np.arange(problem.fixed[k].size)
        if limit is None or problem.fixed[k].size <= limit
        else np.sort(rng.choice(problem.fixed[k].size, limit, replace=False))
        for k in problem.homes
    }
    by_tape = _by_reverse if mode == REVERSE else _by_forward
    claimed = by_tape(problem, order, many, chosen)
    size = float(np.max(np.abs(rows(problem.fixed)), initial=0.0))
    rounding = 0.0 if method == "complex" else 32 * np.finfo(np.float64).eps * size / STEP
    estimate = _by_complex_step if method == "complex" else _by_differences
    return [
        _compared(problem, k, mode, order, claimed[k], estimate(problem, rows, k, at),
                  at, many, rounding, EXACT if method == "complex" else TOLERANCE)
        for k, at in chosen.items()
    ]  # fmt: skip


def _compared(
    problem: Problem, k: int, mode: str, order: int, mine: Array, estimate: Array,
    at: Array, many: bool, rounding: float, tolerance: float,
) -> Compared:  # fmt: skip
    """The worst of two tables of (results, elements)."""
    shape = problem.fixed[k].shape
    error = np.nan_to_num(np.abs(mine - estimate), nan=np.inf)
    largest = float(np.max(np.abs(estimate), initial=0.0))
    wrong = int(np.count_nonzero(~(error <= tolerance * largest + rounding)))
    name, of = problem.names[k], error.size
    if not of:
        return Compared(name, shape, mode, order, 0.0, 0.0, 0.0, (), 0, 0)
    row, column = divmod(int(np.argmax(error)), error.shape[1])
    place = tuple(int(i) for i in np.unravel_index(at[column], shape))
    place = (row, *place) if many and len(mine) > 1 else place
    got, expected = (mine[row, column] + 0.0).item(), (estimate[row, column] + 0.0).item()
    relative = float(error[row, column]) / max(largest, rounding, np.finfo(float).tiny)
    return Compared(name, shape, mode, order, relative, got, expected, place, wrong, of)


# -- what is differentiated ----------------------------------------------------------------------


def _flat(outs: list[Any]) -> Array:
    """Results as one row of real numbers: real parts, then imaginary parts; complex if moved so."""
    arrays = [as_array(o) for o in outs]
    return np.concatenate([a.ravel() for a in arrays]) if arrays else np.zeros(0)


def _results(problem: Problem) -> Rows:
    """Every element of every result, imaginary parts after real ones where results are complex."""
    complexes = [w.dtype.kind == "c" for w in problem.weights]

    def rows(point: Point) -> Array:
        outs = problem.values(point)
        parts: list[Any] = []
        for out, c in zip(outs, complexes):
            parts += [out.real, out.imag] if c else [out]
        return _flat(parts)

    return rows


def _scalar(problem: Problem, mode: str, order: int) -> Rows:
    """The one number <weights, f>, or its derivative along the directions."""

    def rows(point: Point) -> Array:
        if not order:
            with _config.no_grad():
                return _flat([problem.scalar(problem.leaves(point))])
        return np.array([problem.derivative(point, order, mode)])

    return rows


# -- by the tape ---------------------------------------------------------------------------------


def _by_reverse(
    problem: Problem, order: int, many: bool, chosen: dict[int, Array]
) -> dict[int, Array]:
    put = problem.leaves(problem.fixed)
    if many:
        outs: list[Any] = []
        found = problem.f(*put)
        for out, w in zip(floats(found), problem.weights):
            flat = out.reshape((-1,))
            outs += [*flat.real, *flat.imag] if w.dtype.kind == "c" else list(flat)
    else:
        outs = [problem.graph(put, order - 1, REVERSE)]
    tables = [problem.pulled(y, put) for y in outs]
    return {
        k: np.array([table[k].ravel()[at] for table in tables]).reshape(len(tables), len(at))
        for k, at in chosen.items()
    }


def _by_forward(
    problem: Problem, order: int, many: bool, chosen: dict[int, Array]
) -> dict[int, Array]:
    put = problem.leaves(problem.fixed)
    moving = [put[k] for k in problem.homes]

    def whole(*moved: Any) -> Any:
        point = problem.replaced(put, moved)
        if not many:
            return problem.graph(point, order - 1, "forward")
        return floats(problem.f(*point))

    def along(k: int, i: int, axis: complex) -> Array:
        tangents = []
        for j, home in problem.homes.items():
            move = np.zeros_like(problem.fixed[j])
            if j == k:
                move.reshape(-1)[i] = axis
            tangents.append(Tensor(move).to(home))
        moved = jvp(whole, moving, tangents)[1]
        parts: list[Any] = []
        for t, w in zip(moved if many else [moved], problem.weights):
            host = as_array(t)
            parts += [host.real, host.imag] if many and w.dtype.kind == "c" else [host.real]
        return np.concatenate([np.ravel(p) for p in parts])

    return {k: _table(problem, k, at, along) for k, at in chosen.items()}


def _table(
    problem: Problem, k: int, at: Array, along: Callable[[int, int, complex], Array]
) -> Array:
    """One column an element: the derivative along it, and along its imaginary axis as i times."""
    turned = problem.fixed[k].dtype.kind == "c"
    columns = [along(k, int(i), 1.0) + (1j * along(k, int(i), 1j) if turned else 0.0) for i in at]
    return np.stack(columns, axis=1) if columns else np.zeros((1, 0))


# -- by steps ------------------------------------------------------------------------------------


def _by_differences(problem: Problem, rows: Rows, k: int, at: Array) -> Array:
    def along(k: int, i: int, axis: complex) -> Array:
        value = problem.fixed[k].ravel()[i]
        h = STEP * max(1.0, abs(value))
        up, down = value + h * axis, value - h * axis
        difference = rows(_moved(problem, k, i, up)) - rows(_moved(problem, k, i, down))
        return np.asarray(difference / abs(up - down))

    return _table(problem, k, at, along)


def _by_complex_step(problem: Problem, rows: Rows, k: int, at: Array) -> Array:
    def along(k: int, i: int, axis: complex) -> Array:
        point = _moved(problem, k, i, problem.fixed[k].ravel()[i] + 1j * TINY)
        return np.asarray(rows(point).imag / TINY)

    return _table(problem, k, at, along)


def _moved(problem: Problem, k: int, i: int, value: complex) -> Point:
    """The arguments with one element of one of them set."""
    moved = np.array(problem.fixed[k], dtype=np.result_type(problem.fixed[k], type(value)))
    moved.reshape(-1)[i] = value
    return [moved if j == k else a for j, a in enumerate(problem.fixed)]
