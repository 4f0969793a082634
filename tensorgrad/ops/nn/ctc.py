"""Connectionist temporal classification: sequences whose alignment to the input is not known.

>>> import numpy as np
>>> ctc_loss(np.log([[0.5, 0.5], [0.5, 0.5]]), [1], 2, 1, reduction="sum")
tensor(0.28768207)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.backend.ctc import NEVER, step
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import fused, known, operation
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.ops import loss_cases as cases
from tensorgrad.ops.along import take_along_axis
from tensorgrad.ops.elementwise import maximum, where
from tensorgrad.ops.index import concrete
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.losses import check_reduction, reduced
from tensorgrad.ops.reduce import logsumexp

_step = known(Elementwise.trace("ctc_step", step))


def _reference(x: Any, states: Any, info: Any, *, blank: int) -> Any:
    """The loss of every sequence, a step of all of them for each frame."""
    low = x.dtype
    x = x.astype(dtypes.compute(low))
    count, sequences, _ = x.shape
    length = states.shape[1]
    home: Any = base.of(x.value())
    never: Any = make(home.full((sequences, 2), NEVER, x.dtype))
    score = maximum(take_along_axis(x, states[None].broadcast_to((count, *states.shape)), 2), NEVER)
    bar = where(info[:, :length] != 0, 0.0, NEVER).astype(x.dtype)
    first: Any = make(home.full((sequences, length + 2), NEVER, x.dtype))
    rows = [first.at[:, 1].set(0.0)]
    for t in range(count):
        p = rows[-1]
        new = _step.bind(p[:, 2:], p[:, 1:-1], p[:, :-2], bar, score[t])
        rows.append(concatenate([never, new], axis=1))
    frames, labels = info[:, length], info[:, length + 1]
    last = take_along_axis(stack(rows), frames[None, :, None].broadcast_to(
        (1, sequences, length + 2)), 0)[0]  # fmt: skip
    ends = stack([2 * labels + 1, 2 * labels + 2], axis=1)
    total = logsumexp(take_along_axis(last, ends, 1), axis=1)
    return where(total > NEVER / 2, -total, float("inf")).astype(low)


ctc_p = fused(
    "ctc",
    _reference,
    nin=3,
    spec=lambda x, states, info, *, blank: Spec(x.shape[1:2], dtypes.inexact(x.dtype)),
)
"""-log p(target) of every sequence; see `backend/ctc.py` for what it takes."""


# -- arguments ---------------------------------------------------------------------------------


def _whole(name: str, given: Any, near: Tensor) -> Any:
    """Integers as an array of the host."""
    found = operand(np.asarray(given) if isinstance(given, tuple | list) else given, (), "ctc_loss")
    need(found.dtype.kind in "iu", "ctc_loss", **{name: found}, want="integers",
         fix=f"{name}.astype(int)", error=DTypeError)  # fmt: skip
    return base.to_numpy(concrete("ctc_loss", found)).astype(np.int64)


def _lengths(name: str, given: Any, x: Tensor, most: int | None) -> Any:
    """A length for each sequence, none above the most there can be."""
    found = np.atleast_1d(_whole(name, given, x))
    got: Any = {name: found}
    need(found.shape == x.shape[1:2], "ctc_loss", **got, log_probs=x,
         want=f"a length for each of {x.shape[1]} sequences",
         fix=f"{name} of shape (N,)")  # fmt: skip
    for k, n in enumerate(found):
        if n < 0 or (most is not None and n > most):
            raise ValueError(
                f"ctc_loss: got {name} {n} of sequence {k}, expected 0 to "
                f"{'the labels given' if most is None else most}; try {name}={max(0, most or 0)}"
            )
    return found


def _padded(targets: Any, lengths: Any) -> Any:
    """Labels (N, S): given so, or one sequence after the other."""
    if targets.ndim == 2:
        return targets[:, : max(lengths, default=0)]
    need(targets.size >= lengths.sum(), "ctc_loss", targets=targets,
         target_lengths=int(lengths.sum()), want="as many labels as target_lengths say",
         fix="targets of shape (N, S)")  # fmt: skip
    found = np.zeros((len(lengths), max(lengths, default=0)), np.int64)
    for row, n, end in zip(found, lengths, np.cumsum(lengths)):
        row[:n] = targets[end - n : end]
    return found


def _states(labels: Any, frames: Any, sizes: Any, blank: int, classes: int) -> tuple[Any, Any]:
    """The class of every state, and of every sequence where it may jump and its two lengths."""
    within = np.arange(labels.shape[1]) < sizes[:, None]
    wrong = within & ((labels < 0) | (labels >= classes) | (labels == blank))
    if wrong.any():
        n, k = np.argwhere(wrong)[0]
        raise IndexError(
            f"ctc_loss: got label {labels[n, k]} at ({n}, {k}), expected 0 to {classes - 1} other "
            f"than the blank, {blank}; try labels from {int(blank == 0)}"
        )
    states = np.full((len(labels), 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = np.where(within, labels, blank)
    info = np.zeros((len(labels), states.shape[1] + 2), np.int64)
    info[:, 2:-2] = (states[:, 2:] != states[:, :-2]) & (states[:, 2:] != blank)
    info[:, 1] = labels.shape[1] > 0  # a path begins with the blank or with the first label
    info[:, -2], info[:, -1] = frames, sizes
    return states, info


# -- the operation -----------------------------------------------------------------------------


def _oracle(
    x: Any, targets: Any, frames: Any, sizes: Any, blank: int = 0, reduction: str = "mean",
    zero_infinity: bool = False,
) -> Any:  # fmt: skip
    """Every path there is, for inputs of a few frames."""
    lead = x.ndim == 3
    x = x if lead else x[:, None]
    frames, sizes = np.atleast_1d(frames), np.atleast_1d(sizes)
    total, loss = np.cumsum(sizes), np.zeros(x.shape[1], x.dtype)
    for n, (length, size) in enumerate(zip(frames, sizes)):
        own = targets[n, :size] if targets.ndim == 2 else targets[total[n] - size : total[n]]
        p = 0.0
        for path in itertools.product(range(x.shape[2]), repeat=int(length)):
            said = [c for c, _ in itertools.groupby(path) if c != blank]
            if said == list(own):
                p += np.exp(sum(x[t, n, c] for t, c in enumerate(path)))
        with np.errstate(divide="ignore"):
            loss[n] = -np.log(p)
    if zero_infinity:
        loss = np.where(np.isinf(loss), 0, loss)
    if reduction == "mean":
        loss = loss / np.maximum(sizes, 1)
    return cases.reduced(loss if lead else loss[0], reduction)


def _samples(r: Any) -> Any:
    for k, (frames, sizes) in enumerate(
        (([4], [2]), ([3, 4], [1, 2]), ([4, 2, 3], [2, 1, 0]), ([4, 4], [2, 2]), ([1], [1]))
    ):
        x = r.normal(max(frames), len(frames), 3)
        x = x - np.log(np.exp(x).sum(-1, keepdims=True))
        labels = 1 + r.integers(0, 2, len(frames), max(sizes))
        if max(frames) == 4:
            labels = np.sort(labels, 1)  # 1 2, 1 1 or 2 2: a path of four frames for each
        given = (x, labels, np.array(frames), np.array(sizes))
        yield given, {"reduction": ("mean", "sum", "none")[k % 3]}
    yield (r.normal(3, 4), np.array([2, 0]), np.array(3), np.array(2)), {"blank": 3}
    yield (r.normal(3, 2, 4), np.array([2, 0, 1]), np.array([3, 2]), np.array([2, 1])), {"blank": 3}
    yield (r.normal(2, 2, 4)[::-1], np.array([[1, 1], [2, 3]]), np.array([2, 2]),
           np.array([2, 2])), {"zero_infinity": True}  # fmt: skip
    yield (r.normal(4, 2, 3).T, np.array([[1, 1]] * 2), np.array([3, 3]), np.array([2, 2])), {}


@operation(oracle=_oracle, samples=_samples, namespace="nn")
def ctc_loss(
    log_probs: Any,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log Σ of the probabilities of all paths that say the target, repeats and blanks left out.

    log_probs (T, N, C) or (T, C), as `log_softmax` gives them; targets (N, S), or one after the
    other; a length for each sequence. "mean" divides a loss by the length of its target. The loss
    of a target that no path says is inf, with gradient 0; 0 with `zero_infinity`. The gradient is
    that of the formula: PyTorch's log_probs get what only `log_softmax` turns into the same.

    Graves et al., "Connectionist temporal classification", 2006. Raises `ShapeError`, `ValueError`
    for a wrong length, and `IndexError` naming a label out of range.
    """
    op = "ctc_loss"
    check_reduction(op, reduction)
    x = operand(log_probs, (), op)
    need(x.ndim in (2, 3) and x.shape[0], op, log_probs=x, want="(T, N, C) or (T, C), T above 0",
         fix="log_probs.swapaxes(0, 1) where the batch is first")  # fmt: skip
    need(dtypes.is_float(x.dtype), op, log_probs=x, want="floats", fix='x.astype("float32")',
         error=DTypeError)  # fmt: skip
    need(0 <= blank < x.shape[-1], op, blank=blank, want=f"0 to {x.shape[-1] - 1}", fix="blank=0")
    single = x.ndim == 2
    x = x[:, None] if single else x
    found = _whole("targets", targets, x)
    found = found[None] if single and found.ndim == 1 else found
    need(found.ndim == 1 or found.shape[:-1] == x.shape[1:2], op, targets=found, log_probs=x,
         want="labels of shape (N, S), or (S,) of all sequences",
         fix="targets.reshape(-1)")  # fmt: skip
    frames = _lengths("input_lengths", input_lengths, x, x.shape[0])
    most = None if found.ndim == 1 else found.shape[1]
    sizes = _lengths("target_lengths", target_lengths, x, most)
    plan = _states(_padded(found, sizes), frames, sizes, blank, x.shape[2])
    home: Any = base.of(x.value())
    loss = ctc_p.bind(x, *[make(home.asarray(part)) for part in plan], blank=int(blank))
    if zero_infinity:
        loss = where(loss == float("inf"), 0.0, loss)
    if reduction == "mean":
        loss = loss / make(home.asarray(np.maximum(sizes, 1))).astype(loss.dtype)
    return reduced(loss[0] if single else loss, reduction)  # type: ignore[no-any-return]
