"""`odeint`: ordinary differential equations by Dormand and Prince, with derivatives of all orders.

Steps of order 5 with an error estimate of order 4 and an interpolant of order 4 between them
(Dormand and Prince 1980; Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I,
II.4 to II.6). Step sizes are constants of every derivative. The direct gradient is that of the
steps taken; the adjoint one solves the adjoint equation backward (Chen et al., 2018) and keeps
nothing but the states at the times asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad._errors import need
from tensorgrad.backend import base
from tensorgrad.core.primitive import operand
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import maximum
from tensorgrad.ops.join import stack
from tensorgrad.transforms.adjoint import solved
from tensorgrad.transforms.checkpoint import checkpoint
from tensorgrad.transforms.tree import flatten, map_leaves
from tensorgrad.transforms.vector import Layout, source_of

Flow = Callable[[Tensor, Any], Tensor]
"""dy/dt of the state as a vector (n,) at a time, a number or a recorded tensor."""

NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)
DENSE = (
    *(-12715105075 / 11282082432, 0.0, 87487479700 / 32700410799, -10690763975 / 1880347072),
    *(701980252875 / 199316789632, -1453857185 / 822651844, 69997945 / 29380423),
)
SAFETY, SMALLEST, LARGEST = 0.9, 0.2, 10.0
"""A step is 0.9 times what the error estimate allows, and 0.2 to 10 times the last one."""


def odeint(
    f: Callable[..., Any],
    y0: Any,
    t: Any,
    *args: Any,
    rtol: float | None = None,
    atol: float | None = None,
    method: str = "dopri5",
    gradient: str = "direct",
    max_steps: int = 100_000,
) -> Any:
    """y at the times t of dy/dt = f(y, t, *args), y(t[0]) = y0, times on a new first axis.

    y may be a nested container, f returns one like it. t (m,) increases or decreases; derivatives
    are in y0, t, args and what f captured. `gradient`: "direct" goes back through steps computed
    again in stretches (memory for O(sqrt n) states of n steps); "adjoint" solves the adjoint
    equation backward (memory for the m states), as exact as rtol; inside jvp and vmap it is direct.
    Under vmap all examples share their steps. rtol, atol: the error allowed per step, by default
    1.4e-8 in float64 and 1e-5 in float32. Raises RuntimeError if steps grow too small or too many.

    >>> import numpy as np, tensorgrad as tg
    >>> y = tg.odeint(lambda y, t, rate: -rate * y, 1.0, np.array([0.0, 1.0]), 2.0)
    >>> np.round(y, 7)
    array([1.       , 0.1353353])
    """
    _chosen("method", method, ("dopri5",))
    _chosen("gradient", gradient, ("direct", "adjoint"))
    layout = Layout(y0, "odeint")
    default = 1.4e-8 if layout.dtype.itemsize == 8 else 1e-5
    limits = default if rtol is None else rtol, default if atol is None else atol
    leaves, rebuild = flatten(args)
    inputs = [operand(x) for x in leaves]
    times = operand(t)
    _checked(times)

    def flow(y: Tensor, time: Any, given: list[Tensor]) -> Tensor:
        return layout.pack(f(layout.unpack(y), time, *rebuild(given)))

    def steps(flow: Flow, y: Tensor, times: Tensor) -> Tensor:
        return _direct(flow, y, times, limits, max_steps)

    start = layout.pack(y0)
    if gradient == "adjoint":
        ys = solved(flow, start, times, inputs, steps)
    else:
        ys = steps(lambda y, time: flow(y, time, inputs), start, times)
    rows = [layout.unpack(ys[k]) for k in range(len(times))]
    return _stacked(rows, layout, source_of([*layout.leaves, t, *leaves]))


def _chosen(name: str, value: str, known: tuple[str, ...]) -> None:
    words = " or ".join(map(repr, known))
    need(value in known, "odeint", **{name: value}, want=words, fix=repr(known[0]),
         error=ValueError)  # fmt: skip


def _checked(times: Tensor) -> None:
    need(times.ndim == 1 and times.size, "odeint", t=times, want="one axis of times, not empty",
         fix="np.array([t0, t1])")  # fmt: skip
    need(
        not times.detach().level,
        "odeint",
        t=times,
        want="the same times for every example of a vmap",
        fix="in_axes=None for t, and time rescaled inside f",
        error=ValueError,
    )
    moves = np.diff(base.of(times.value()).to_numpy(times.value()))
    need(
        (moves > 0).all() or (moves < 0).all(),
        "odeint",
        t=times.tolist(),
        want="times that all increase or all decrease",
        fix="np.unique(t)",
        error=ValueError,
    )


def _stacked(rows: list[Any], layout: Layout, source: Any) -> Any:
    """One container of (m, *shape) arrays from m containers."""
    columns = zip(*[flatten(row)[0] for row in rows])
    tree = layout.rebuild([stack(list(column)) for column in columns])
    if isinstance(source, Tensor):
        return tree
    return map_leaves(lambda y: y if y.node is not None or y.level else y.numpy(), tree)


# -- the direct method ---------------------------------------------------------------------------


def _direct(
    flow: Flow, y: Tensor, times: Tensor, limits: tuple[float, float], max_steps: int
) -> Tensor:
    """The states (m, n) at the times, by recorded steps."""
    moving = times.node is not None or times.level > 0
    if not moving:
        return _Solver(flow, times.tolist(), limits, max_steps).run(y)
    # Moving t[0] moves the whole solution; moving t[i] on top of that is a step of length zero in
    # value, whose derivatives are those of the solution up to the order of the step.
    still: Any = times.detach()
    move: Any = times - still
    shift = move[0]

    def shifted(y: Tensor, time: Any) -> Tensor:
        return flow(y, time + shift)

    ys: Any = _Solver(shifted, still.tolist(), limits, max_steps).run(y)
    stops = still.tolist()
    rows = [_short(shifted, ys[k], stops[k], move[k] - shift) for k in range(1, len(times))]
    return stack([ys[0], *rows])  # type: ignore[no-any-return]


def _short(flow: Flow, y: Any, time: float, h: Any) -> Tensor:
    """One classical step of order 4."""
    a = flow(y, time)
    b = flow(y + h / 2 * a, time + h / 2)
    c = flow(y + h / 2 * b, time + h / 2)
    d = flow(y + h * c, time + h)
    return y + h / 6 * (a + 2 * b + 2 * c + d)  # type: ignore[no-any-return]


At = tuple[float, float, int, int]
"""Where a solver stands: the time, the next step's size, the next output, the steps tried."""


class _Solver:
    """Steps of adapted size over a list of times."""

    def __init__(
        self, flow: Flow, times: list[float], limits: tuple[float, float], max_steps: int
    ) -> None:
        self.flow, self.times, self.max_steps = flow, times, max_steps
        self.rtol, self.atol = limits
        self.at: At = (times[0], 0.0, 1, 0)

    def run(self, y: Tensor) -> Tensor:
        found, count = [y], 1
        stretch = checkpoint(self.stretch)
        if len(self.times) > 1:
            k = self.flow(y, self.times[0])
            with _config.no_grad():
                self.at = (self.times[0], self.first(y.detach(), k.detach()), 1, 0)
        while self.at[2] < len(self.times):
            y, k, ys = stretch(y, k, at=self.at, count=count)
            found += ys
            count += 1
        return stack(found)  # type: ignore[no-any-return]

    def stretch(
        self, y: Tensor, k: Tensor, *, at: At, count: int
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """`count` accepted steps: the state and its slope after them, and the states asked for."""
        ys: list[Tensor] = []
        time, h, index, tried = at
        end = self.times[-1]
        while count and index < len(self.times):
            self.possible(time, h, tried)
            last = abs(h) >= abs(end - time)
            h = end - time if last else h
            slopes, after, size = self.attempt(y, k, time, h)
            tried += 1
            factor = min(LARGEST, max(SMALLEST, SAFETY * size**-0.2)) if size else LARGEST
            if not size <= 1.0:  # also where it is no number
                h *= min(factor, 1.0) if size < math.inf else SMALLEST
                continue
            now = end if last else time + h
            while index < len(self.times) and abs(self.times[index] - time) <= abs(now - time):
                theta = (self.times[index] - time) / (now - time)
                ys.append(after if theta == 1.0 else _between(y, after, slopes, h, theta))
                index += 1
            y, k, time, h = after, slopes[-1], now, h * factor
            count -= 1
        self.at = (time, h, index, tried)
        return y, k, ys

    def possible(self, time: float, h: float, tried: int) -> None:
        finest = 16 * math.ulp(max(abs(time), abs(self.times[-1])))
        need(
            abs(h) > finest and tried < self.max_steps,
            "odeint",
            time=time,
            step=h,
            tried=tried,
            want=f"steps above {finest:.1e}, at most {self.max_steps}",
            fix="a larger rtol and atol, or max_steps; a stiff equation needs an implicit method",
            error=RuntimeError,
        )

    def attempt(
        self, y: Any, k: Tensor, time: float, h: float
    ) -> tuple[list[Tensor], Tensor, float]:
        """(the seven slopes, the state after a step, its error over what is allowed)."""
        slopes = [k]
        for node, row in zip(NODES[1:], STAGES[1:]):
            after = y + _sum(row, slopes, h)
            slopes.append(self.flow(after, time + node * h))
        with _config.no_grad():
            error = _sum(ERROR, [s.detach() for s in slopes], h)
            size = self.norm(error, y.detach(), after.detach())
        return slopes, after, size

    def norm(self, x: Any, *states: Any) -> float:
        """The root mean square of x over what is allowed; the largest of a hidden batch."""
        largest = abs(states[0])
        for other in states[1:]:
            largest = maximum(largest, abs(other))
        found = (((x / (self.atol + self.rtol * largest)) ** 2).mean() ** 0.5).value()
        size = float(base.of(found).to_numpy(found).max(initial=0.0))
        return size if size == size else math.inf

    def first(self, y: Any, k: Any) -> float:
        """The size of the first step (Hairer, Nørsett and Wanner, II.4)."""
        start, span = self.times[0], self.times[-1] - self.times[0]
        sign = math.copysign(1.0, span)
        far, fast = self.norm(y, y), self.norm(k, y)
        h = 0.01 * far / fast if far > 1e-5 and 1e-5 < fast < math.inf else 1e-6
        h = min(h, abs(span))
        bend = self.norm(self.flow(y + sign * h * k, start + sign * h).detach() - k, y) / h
        most = max(fast, bend)
        guess = max(1e-6, 1e-3 * h) if most <= 1e-15 else (0.01 / most) ** 0.2
        return sign * min(100 * h, max(guess, 1e-3 * h), abs(span))


def _sum(weights: tuple[float, ...], slopes: list[Any], h: float) -> Any:
    terms = [h * w * s for w, s in zip(weights, slopes) if w]
    return sum(terms[1:], terms[0])


def _between(y: Any, after: Any, slopes: list[Any], h: float, theta: float) -> Tensor:
    """The state inside a step, by the interpolant of order 4."""
    rise = after - y
    start = h * slopes[0] - rise
    stop = rise - h * slopes[-1] - start
    rest = 1.0 - theta
    inside = start + theta * (stop + rest * _sum(DENSE, slopes, h))
    return y + theta * (rise + rest * inside)  # type: ignore[no-any-return]
