"""Recurrent layers row by row and step by step, and small samples: for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def _logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm_step(x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    i, f, g, o = np.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 4, axis=-1)
    c = _logistic(f) * c + _logistic(i) * np.tanh(g)
    return _logistic(o) * np.tanh(c), c


def gru_step(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    (xr, xz, xn), (hr, hz, hn) = (
        np.split(a, 3, axis=-1) for a in (x @ w_ih.T + b_ih, h @ w_hh.T + b_hh)
    )
    z = _logistic(xz + hz)
    return ((1 - z) * np.tanh(xn + _logistic(xr + hr) * hn) + z * h,)


def tanh_step(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    return (np.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh),)


def relu_step(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
    return (np.maximum(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, 0),)


def cell_oracle(step: Callable[..., Any], states: int) -> Callable[..., Any]:
    def run(x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = 0.0, b_hh: Any = 0.0) -> Any:
        state = _initial(hx, states, (len(x), w_hh.shape[1]), w_hh.shape[1])
        found = step(x, *state, w_ih, w_hh, 0.0 if b_ih is None else b_ih, b_hh)
        return found if states > 1 else found[0]

    return run


def _initial(hx: Any, states: int, shape: tuple[int, int], units: int) -> tuple[Any, ...]:
    if hx is None:
        return (np.zeros(shape), np.zeros((shape[0], units)))[:states]
    return tuple(hx) if states > 1 else (hx,)


def oracle(step: Callable[..., Any], states: int) -> Callable[..., Any]:
    """Row by row and step by step."""

    def run(
        x: Any, hx: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
        reverse: bool = False, lengths: Any = None, w_hr: Any = None,
    ) -> Any:  # fmt: skip
        steps, rows = x.shape[:2]
        units = w_hh.shape[1] if w_hr is None else w_hr.shape[1]
        first = _initial(hx, states, (rows, w_hh.shape[1]), units)
        biases = [0.0 if b is None else b for b in (b_ih, b_hh)]
        output, final = np.zeros((steps, rows, w_hh.shape[1])), [f.copy() for f in first]
        for k in range(rows):
            state = tuple([f[k] for f in first])
            own = range(steps if lengths is None else lengths[k])
            for t in own[::-1] if reverse else own:
                state = step(x[t, k], *state, w_ih, w_hh, *biases)
                if w_hr is not None:
                    state = w_hr @ state[0], state[1]
                output[t, k] = state[0]
            for f, s in zip(final, state):
                f[k] = s
        return (output, *final)

    return run


def samples(count: int, states: int, cell: bool = False) -> Callable[[Any], Any]:
    """Small sequences (or single steps) of positive values: no result loses its digits."""

    def some(r: Any, *shape: int) -> Any:
        return r.uniform(0.2, 0.9, *shape)

    def hx(r: Any, rows: int, units: int) -> Any:
        each = tuple([some(r, rows, units) for _ in range(states)])
        return each if states > 1 else each[0]

    def samples(r: Any) -> Any:
        sizes = ((2, 2, 3, 2), (1, 1, 1, 1), (2, 0, 2, 2), (3, 1, 2, 1))
        for steps, rows, features, units in sizes[: 3 if cell else 4]:
            x = some(r, rows, features) if cell else some(r, steps, rows, features)
            weights = some(r, count * units, features), some(r, count * units, units)
            biases = some(r, count * units), some(r, count * units)
            yield (x, hx(r, rows, units), *weights, *biases), {}
            yield (x, None, *weights), {} if cell else {"reverse": True}
        wide = some(r, 2, 3, 2).swapaxes(0, 1)[..., ::-1]
        x = wide[0] if cell else wide
        w = some(r, 2, count).T
        yield (x, hx(r, 2, 1), w[:, :2], w[:, :1], some(r, count)), {}
        yield (x[..., :1], hx(r, 2, 1), w[:, :1], w[:, 1:]), {}
        if not cell:
            for reverse in (False, True):
                yield (x, hx(r, 2, 1), w, w[:, :1]), {"reverse": reverse, "lengths": [3, 1]}
        if states > 1 and not cell:
            w, w_hr = some(r, 8, 2), some(r, 1, 2)
            h, c = some(r, 2, 1), some(r, 2, 2)
            for state, lengths in ((None, None), ((h, c), None), ((h, c), [1, 3])):
                bias, reverse = None if lengths else some(r, 8), bool(lengths)
                yield (x, state, w, w[:, :1], bias, None, reverse, lengths, w_hr), {}

    return samples
