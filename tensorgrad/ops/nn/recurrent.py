"""Recurrent layers over sequences, one layer and direction in one operation, and their cells.

>>> lstm([[[0.0]]], None, [[1.0]] * 4, [[1.0]] * 4, [0.0, 0.0, 0.5, 0.0])[0]
tensor([[[0.1135163]]])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np  # the order of steps of ragged sequences

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.core.autocast import CASTS, cast
from tensorgrad.core.calls import constant, operands
from tensorgrad.core.primitive import Spec, operand
from tensorgrad.core.registry import fused, operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.activations import relu, sigmoid
from tensorgrad.ops.create import zeros
from tensorgrad.ops.dense import linear
from tensorgrad.ops.elementary import tanh
from tensorgrad.ops.elementwise import where
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.nn import recurrent_cases as cases
from tensorgrad.ops.products import matmul, turned
from tensorgrad.ops.splitting import split, unstack

# -- the fused operations ----------------------------------------------------------------------


def _spec(x: Spec, h: Spec, *others: Spec, reverse: bool) -> Spec:
    return Spec((*x.shape[:2], h.shape[1]), x.dtype)


def _lstm_spec(x: Spec, h: Spec, *others: Spec, reverse: bool) -> Spec:
    return Spec((2, *x.shape[:2], h.shape[1]), x.dtype)


def _ordered(steps: Sequence[Any], reverse: bool) -> Sequence[Any]:
    return steps[::-1] if reverse else steps


def _projected(x: Any, w: Any, bias: Any, reverse: bool) -> Sequence[Any]:
    """x Wᵀ + b of each step, in the order in which they are taken."""
    return _ordered(unstack(linear(x, w, bias)), reverse)


def _lstm(
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, *, reverse: bool
) -> Any:
    hs, cs = [], []
    for one in _projected(x, w_ih, b_ih + b_hh, reverse):
        i, f, g, o = split(one + matmul(h, turned(w_hh)), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        hs.append(h)
        cs.append(c)
    return stack([stack(_ordered(each, reverse)) for each in (hs, cs)])


def _gru(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, *, reverse: bool) -> Any:
    hs = []
    for one in _projected(x, w_ih, b_ih, reverse):
        (xr, xz, xn), (hr, hz, hn) = (split(a, 3, axis=-1) for a in (one, linear(h, w_hh, b_hh)))
        n = tanh(xn + sigmoid(xr + hr) * hn)
        h = n + sigmoid(xz + hz) * (h - n)
        hs.append(h)
    return stack(_ordered(hs, reverse))


def _rnn(act: Callable[[Any], Any]) -> Callable[..., Any]:
    def run(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, *, reverse: bool) -> Any:
        hs = []
        for one in _projected(x, w_ih, b_ih + b_hh, reverse):
            h = act(one + matmul(h, turned(w_hh)))
            hs.append(h)
        return stack(_ordered(hs, reverse))

    return run


lstm_p = fused("lstm", _lstm, nin=7, spec=_lstm_spec)
"""h and c of every step (2, steps, rows, units), of x, h, c, the two weights and biases."""

gru_p = fused("gru", _gru, nin=6, spec=_spec)
"""h of every step (steps, rows, units), of x, h, the two weights and biases."""

rnn_tanh_p = fused("rnn_tanh", _rnn(tanh), nin=6, spec=_spec)
rnn_relu_p = fused("rnn_relu", _rnn(relu), nin=6, spec=_spec)


# -- arguments ---------------------------------------------------------------------------------

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

_SHAPES = {
    "input": ("(steps, rows, features), one step at least", "input[:, None] for one sequence"),
    "weight_ih": ("({n} units, features)", "weight_ih.T, or an input of other features"),
    "weight_hh": ("({n} units, units)", "weight_hh.T"),
    "bias_ih": ("({n} units,)", "bias_ih.reshape(-1)"),
    "bias_hh": ("({n} units,)", "bias_hh.reshape(-1)"),
    "hx": ("(rows, units)", "None for zeros"),
}
"""What shape each argument has, and what to try."""


def _given(
    op: str, count: int, states: int, input: Any, hx: Any, weights: Sequence[Any]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """(input, initial states, weights and biases) as tensors that fit each other.

    `count` gates; what is None is zero.
    """
    held = [w for w in weights if w is not None]
    if hx is not None:
        held += _pair(op, hx) if states > 1 else [hx]
    x, *initial = operands((input, *held), op)
    if CASTS:
        x, *initial = cast(lstm_p, (x, *initial))
    found = {n: initial.pop(0) for n, w in zip(_NAMES, weights) if w is not None}
    for name, one in (*found.items(), *[("hx", h) for h in initial], ("input", x)):
        if one.dtype != x.dtype or not dtypes.is_float(x.dtype):
            _refuse_dtype(op, name, one, x)
    units = _units(op, count, x, found)
    shape, wide = (x.shape[1], units), (count * units,)
    for h in initial:
        if h.shape != shape:
            _refuse(op, "hx", h, count, shape, input=x, weight_hh=found["weight_hh"])
    if hx is None:
        initial = [_zeros(shape, x) for _ in range(states)]
    return x, initial, [found[n] if n in found else _zeros(wide, x) for n in _NAMES]


def _pair(op: str, hx: Any) -> list[Any]:
    if not isinstance(hx, tuple | list) or len(hx) != 2:
        need(False, op, hx=type(hx).__name__, want="the pair (h, c)", fix="(h, c)",
             error=TypeError)  # fmt: skip
    return list(hx)


def _zeros(shape: tuple[int, ...], x: Tensor) -> Tensor:
    return zeros(shape, x.dtype, device=x.device)  # type: ignore[no-any-return]


def _units(op: str, count: int, x: Tensor, found: dict[str, Tensor]) -> int:
    """How many units the layer has; raises for weights that do not fit the input."""
    if x.ndim != 3 or not x.shape[0]:
        _refuse(op, "input", x, count)
    w_hh = found["weight_hh"]
    units: int = w_hh.shape[-1] if w_hh.ndim else 0
    wide = (count * units,)
    wanted = {"weight_hh": (*wide, units), "weight_ih": (*wide, x.shape[2])}
    for name, shape in (*wanted.items(), ("bias_ih", wide), ("bias_hh", wide)):
        if name in found and found[name].shape != shape:
            beside = {"input": x} if name == "weight_ih" else {}
            if name != "weight_hh":
                beside["weight_hh"] = w_hh
            _refuse(op, name, found[name], count, shape, **beside)
    return units


def _refuse(
    op: str, name: str, value: Tensor, count: int, shape: Any = None, **others: Tensor
) -> None:
    want, fix = _SHAPES[name]
    want = want.format(n=count)
    got: dict[str, Any] = {name: value, **others}
    need(False, op, **got, want=want if shape is None else f"{shape}: {want}", fix=fix)


def _refuse_dtype(op: str, name: str, one: Tensor, x: Tensor) -> None:
    need(dtypes.is_float(x.dtype), op, input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    need(False, op, **{name: one, "input": x}, want="one dtype",
         fix=f'{name}.astype("{x.dtype.name}")', error=DTypeError)  # fmt: skip


class _Ragged:
    """Sequences of different lengths in one array (steps, rows, ...), 0 behind their ends."""

    def __init__(self, op: str, x: Tensor, lengths: Any) -> None:
        steps, rows = x.shape[:2]
        given = operand(lengths, (), op)
        found = base.to_numpy(given.value())
        whole = found.dtype.kind in "iu" and found.shape == (rows,)
        need(whole and bool(((found > 0) & (found <= steps)).all()), op, lengths=found.tolist(),
             input=x, want=f"{rows} whole numbers from 1 to {steps}",
             fix="input[:, lengths > 0]", error=ValueError)  # fmt: skip
        step = np.arange(steps)[:, None]
        self.rows, self.last = np.arange(rows), found.astype(np.int64) - 1
        self.inside = (step <= self.last)[:, :, None]
        self.mirror = np.where(step <= self.last, self.last - step, step)

    def turned(self, x: Any) -> Any:
        """Each sequence from its end to its beginning."""
        return x[constant(self.mirror, x), constant(self.rows, x)]

    def final(self, x: Any) -> Any:
        """The last step of each sequence."""
        return x[constant(self.last, x), constant(self.rows, x)]

    def cut(self, x: Any) -> Any:
        """0 behind the ends."""
        return where(constant(self.inside, x), x, 0.0)


def _sequence(
    op: str, primitive: Any, count: int, states: int, input: Any, hx: Any, weights: Any,
    reverse: bool, lengths: Any,
) -> Iterator[Any]:  # fmt: skip
    """The output, then the final states."""
    x, initial, rest = _given(op, count, states, input, hx, weights)
    if lengths is None:
        found = primitive.bind(x, *initial, *rest, reverse=bool(reverse))
        each = unstack(found) if states > 1 else (found,)
        return iter((each[0], *[one[0 if reverse else -1] for one in each]))
    ragged = _Ragged(op, x, lengths)
    x = ragged.turned(x) if reverse else x
    found = primitive.bind(x, *initial, *rest, reverse=False)
    each = unstack(found) if states > 1 else (found,)
    output = ragged.cut(ragged.turned(each[0]) if reverse else each[0])
    return iter((output, *[ragged.final(one) for one in each]))


# -- entries -----------------------------------------------------------------------------------


Entry = Callable[[Callable[..., Any]], Callable[..., Any]]


def _entry(count: int, states: int, step: Callable[..., Any]) -> Entry:
    samples = cases.samples(count, states)
    return operation(oracle=cases.oracle(step, states), samples=samples, namespace="nn")


def _cell_entry(count: int, states: int, step: Callable[..., Any]) -> Entry:
    samples = cases.samples(count, states, cell=True)
    return operation(oracle=cases.cell_oracle(step, states), samples=samples, namespace="nn")


# -- sequences ---------------------------------------------------------------------------------


def _first(x: Tensor, reverse: bool, lengths: Any) -> Any:
    """Where a row's first step is, in the order in which they are taken: (steps, rows, 1)."""
    steps = len(x)
    at = 0 if not reverse else steps - 1 if lengths is None else _Ragged("lstm", x, lengths).last
    return constant(np.arange(steps)[:, None, None] == np.reshape(at, (-1, 1)), x)


def _lstm_projected(
    input: Any, hx: Any, weights: Sequence[Any], weight_hr: Any, reverse: bool, lengths: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """`lstm` with its states projected: an LSTM whose weights of the state are W_hh W_hr.

    What W_hh makes of the initial state enters as further features of the first step.
    """
    w_ih, w_hh, *biases = weights
    x, w_ih, w_hh, w_hr = operands((input, w_ih, w_hh, weight_hr), "lstm")
    fits = w_hh.ndim == w_hr.ndim == 2 and w_hr.shape == (w_hh.shape[1], w_hh.shape[0] // 4)
    need(fits, "lstm", weight_hr=w_hr, weight_hh=w_hh, fix="weight_hr.T",
         want="weight_hr (size, units) and weight_hh (4 units, size)")  # fmt: skip
    state = None
    if hx is not None:
        h, c = (operand(one, (x,), "lstm") for one in _pair("lstm", hx))
        need(x.ndim == 3 and h.shape == (x.shape[1], len(w_hr)), "lstm", h=h, weight_hr=w_hr,
             want="h of shape (rows, size)", fix="hx=None for zeros")  # fmt: skip
        x = concatenate([x, where(_first(x, reverse, lengths), h, 0.0)], axis=-1)
        w_ih, state = concatenate([w_ih, w_hh], axis=1), (_zeros(c.shape, c), c)
    full = (w_ih, matmul(w_hh, w_hr), *biases)
    output, last, cell = _sequence("lstm", lstm_p, 4, 2, x, state, full, reverse, lengths)
    return matmul(output, turned(w_hr)), matmul(last, turned(w_hr)), cell


@_entry(4, 2, cases.lstm_step)
def lstm(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    reverse: bool = False, lengths: Any = None, weight_hr: Any = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(output, h, c) of c ← σ(f) c + σ(i) tanh(g), h ← σ(o) tanh(c), step after step.

    (i, f, g, o) = W_ih x + b_ih + W_hh h + b_hh. input (steps, rows, features), hx the pair of
    initial states (rows, units) or None: zeros; weight_ih (4 units, features), weight_hh
    (4 units, units), biases (4 units,). output holds h of every step (steps, rows, units).
    `reverse`: from the last step to the first. `lengths`: of each row's sequence; behind its end
    the output is 0. weight_hr (size, units): h ← W_hr (σ(o) tanh(c)), and weight_hh is
    (4 units, size). Hochreiter, Schmidhuber, "Long short-term memory", 1997. Raises `ShapeError`,
    `DTypeError`, and `ValueError` for lengths out of range.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    if weight_hr is not None:
        return _lstm_projected(input, hx, weights, weight_hr, reverse, lengths)
    output, h, c = _sequence("lstm", lstm_p, 4, 2, input, hx, weights, reverse, lengths)
    return output, h, c


@_entry(3, 1, cases.gru_step)
def gru(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    reverse: bool = False, lengths: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(output, h) of h ← (1 - z) n + z h, step after step.

    (x_r, x_z, x_n) = W_ih x + b_ih, (h_r, h_z, h_n) = W_hh h + b_hh, r = σ(x_r + h_r),
    z = σ(x_z + h_z), n = tanh(x_n + r h_n). hx (rows, units) or None: zeros; the weights' first
    axis and the biases are 3 units long; the rest is as `lstm` has it. Cho et al., "Learning phrase
    representations using RNN encoder-decoder", 2014, with PyTorch's place of r.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    output, h = _sequence("gru", gru_p, 3, 1, input, hx, weights, reverse, lengths)
    return output, h


@_entry(1, 1, cases.tanh_step)
def rnn_tanh(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    reverse: bool = False, lengths: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(output, h) of h ← tanh(W_ih x + b_ih + W_hh h + b_hh), step after step.

    hx (rows, units) or None: zeros; the weights' first axis and the biases are `units` long; the
    rest is as `lstm` has it. Elman, "Finding structure in time", 1990.
    """
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    output, h = _sequence("rnn_tanh", rnn_tanh_p, 1, 1, input, hx, weights, reverse, lengths)
    return output, h


@_entry(1, 1, cases.relu_step)
def rnn_relu(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None,
    reverse: bool = False, lengths: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(output, h) of h ← max(0, W_ih x + b_ih + W_hh h + b_hh), step after step; see `rnn_tanh`."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    output, h = _sequence("rnn_relu", rnn_relu_p, 1, 1, input, hx, weights, reverse, lengths)
    return output, h


# -- cells -------------------------------------------------------------------------------------


def _one(op: str, input: Any) -> Tensor:
    """The input of a cell as a sequence of one step."""
    x = operand(input, (), op)
    need(x.ndim == 2, op, input=x, want="(rows, features)", fix="input[None]")
    return x[None]


@_cell_entry(4, 2, cases.lstm_step)
def lstm_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> tuple[Tensor, Tensor]:
    """(h, c) after one step of `lstm`; input (rows, features), hx the pair (h, c) or None."""
    weights = (weight_ih, weight_hh, bias_ih, bias_hh)
    x = _one("lstm_cell", input)
    _, h, c = _sequence("lstm_cell", lstm_p, 4, 2, x, hx, weights, False, None)
    return h, c


def _next(op: str, primitive: Any, count: int, input: Any, hx: Any, *weights: Any) -> Tensor:
    _, h = _sequence(op, primitive, count, 1, _one(op, input), hx, weights, False, None)
    return h  # type: ignore[no-any-return]


@_cell_entry(3, 1, cases.gru_step)
def gru_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> Tensor:
    """h after one step of `gru`; input (rows, features), hx (rows, units) or None: zeros."""
    return _next("gru_cell", gru_p, 3, input, hx, weight_ih, weight_hh, bias_ih, bias_hh)


@_cell_entry(1, 1, cases.tanh_step)
def rnn_tanh_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> Tensor:
    """h after one step of `rnn_tanh`; input (rows, features), hx (rows, units) or None: zeros."""
    return _next("rnn_tanh_cell", rnn_tanh_p, 1, input, hx, weight_ih, weight_hh, bias_ih, bias_hh)


@_cell_entry(1, 1, cases.relu_step)
def rnn_relu_cell(
    input: Any, hx: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any = None, bias_hh: Any = None
) -> Tensor:
    """h after one step of `rnn_relu`; input (rows, features), hx (rows, units) or None: zeros."""
    return _next("rnn_relu_cell", rnn_relu_p, 1, input, hx, weight_ih, weight_hh, bias_ih, bias_hh)
