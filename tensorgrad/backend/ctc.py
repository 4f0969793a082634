"""The forward-backward recursion of connectionist temporal classification, in logarithms.

Graves et al., "Connectionist temporal classification", 2006. The states of a target are its labels
with a blank around each, s = 0 … 2U. A row of states has two more at the end that a path comes
from, which no path is in. Used by NumPy's and CuPy's kernels with the step as their own kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import dtypes
from tensorgrad.expr import Formula, call, stop, where
from tensorgrad.expr import input as variable

NEVER = -1e30
"""The logarithm of no probability: -inf would give NaN in a sum of several."""


def step(stay: Any, move: Any, jump: Any, bar: Any, score: Any) -> Any:
    """log(exp(stay) + exp(move) + exp(jump + bar)) + score; bar is 0 or NEVER."""
    far = jump + bar
    m = stop(call("maximum", call("maximum", stay, move), far))
    total = call("exp", stay - m) + call("exp", move - m) + call("exp", far - m)
    return m + call("log", total) + score


def _back(stay: Any, move: Any, jump: Any, bar: Any, score: Any, *ends: Any) -> Any:
    """The step from behind; at the last frame and after it the final states alone."""
    frame, last, final = ends
    return where(frame < last, step(stay, move, jump, bar, 0.0), final) + score


def formulas() -> tuple[Formula, Formula]:
    """The two steps as formulas."""
    names = "stay move jump bar score frame last final".split()
    inputs = [variable(name, "f") for name in names]
    return Formula.trace("ctc_step", step, inputs[:5]), Formula.trace("ctc_back", _back, inputs)


def bars(xp: Any, info: Any, states: int, dtype: Any) -> Any:
    """0 where a state may be reached past the one before it, else NEVER."""
    return xp.where(info[:, :states] != 0, 0.0, NEVER).astype(dtype)


def forward(xp: Any, run: Callable[..., Any], x: Any, states: Any, info: Any) -> Any:
    """The loss of every sequence, the forward scores (T + 1, N, L + 2) and the scores of states.

    x (T, N, C) in its compute dtype; states (N, L) class indices; info (N, L + 2): whether a state
    may be jumped to, the length of the input and that of the target.
    """
    count, sequences, _ = x.shape
    length = states.shape[1]
    rows = xp.arange(sequences)
    score = xp.maximum(x[:, rows[:, None], states], x.dtype.type(NEVER))
    bar = bars(xp, info, length, x.dtype)
    reached = xp.full((count + 1, sequences, length + 2), NEVER, x.dtype)
    reached[0, :, 1] = 0
    for t in range(count):
        p = reached[t]
        run(p[:, 2:], p[:, 1:-1], p[:, :-2], bar, score[t], out=reached[t + 1, :, 2:])
    frames, labels = info[:, length], info[:, length + 1]
    ends = [reached[frames, rows, 2 * labels + k] for k in (1, 2)]
    top = xp.maximum(*ends)
    total = top + xp.log(xp.exp(ends[0] - top) + xp.exp(ends[1] - top))
    loss = xp.where(total > NEVER / 2, -total, xp.inf).astype(x.dtype)
    return loss, reached, score


def backward(
    xp: Any, run: Callable[..., Any], ct: Any, shape: Any, states: Any, info: Any, blank: int,
    loss: Any, reached: Any, score: Any,
) -> Any:  # fmt: skip
    """The cotangent of the log-probabilities: -ct times the probability of being in a state."""
    count, sequences, length = score.shape
    wide = score.dtype
    rows, place = xp.arange(sequences), xp.arange(length)
    frames, labels = info[:, length], info[:, length + 1]
    final = xp.where((place == 2 * labels[:, None]) | (place == 2 * labels[:, None] - 1), 0, NEVER)
    bar = xp.full((sequences, length), NEVER, wide)
    bar[:, : max(length - 2, 0)] = bars(xp, info, length, wide)[:, 2:]
    ahead = xp.full((count + 1, sequences, length + 2), NEVER, wide)
    time, final = xp.arange(count).astype(wide), final.astype(wide)
    last = (frames - 1).astype(wide)[:, None]
    for t in range(count - 1, -1, -1):
        p, out = ahead[t + 1], ahead[t, :, :-2]
        run(p[:, :-2], p[:, 1:-1], p[:, 2:], bar, score[t], time[t : t + 1], last, final, out=out)
    known = xp.where(xp.isinf(loss), 0, loss)
    within = xp.arange(count)[:, None] < frames
    taken = reached[1:, :, 2:] + ahead[:-1, :, :-2] - score + known[:, None]
    share = xp.exp(xp.where(within[..., None], taken, NEVER)) * -ct[:, None]
    return _spread(xp, share, rows, states, shape, blank).astype(wide)


def _spread(xp: Any, share: Any, rows: Any, states: Any, shape: Any, blank: int) -> Any:
    """The shares of the states, added up for each class."""
    count, sequences, classes = shape
    line = xp.arange(count)[:, None] * sequences + rows
    places = line[..., None] * classes + states[:, 1::2]
    found = xp.bincount(places.ravel(), share[..., 1::2].ravel(), count * sequences * classes)
    found = found.astype(share.dtype).reshape(shape)
    found[..., blank] += share[..., ::2].sum(axis=-1)
    return found


def wide(x: Any) -> Any:
    """The dtype in which the recursion of scores runs."""
    return dtypes.compute(x.dtype)
