"""Recurrent layers over whole sequences: formulas of a step, and one schedule for any arrays.

The gates of a layer lie apart, (gate, step, row, unit), so that all that a step reads and writes is
contiguous. The products with the input are made for all steps at once, and so are those that give
the weights' gradients; a step is one small product per gate (a stack of them where the library
takes one) and one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

from tensorgrad.expr import Formula, call, where
from tensorgrad.expr import input as variable

Array = Any
Wanted = Sequence[int]
Into = Callable[[int], Any]


class Tools(Protocol):
    """What the schedule asks of a kind of array."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array: ...

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array: ...

    def copy(self, target: Array, value: Array) -> None:
        """Write a value, which may broadcast."""

    def add(self, x: Array, y: Array, out: Array | None = None) -> Array: ...

    def product(self, x: Array, y: Array, out: Array, bias: Array | None = None) -> Array: ...

    def each(self, weights: Array, out: Array) -> Callable[[Array], None]:
        """f(x): out[k] = x @ weights[k], or x[k] @ weights[k] for as many matrices x."""

    def sum_rows(self, x: Array, out: Array) -> Array: ...

    def kernel(self, formula: Formula, order: int) -> Callable[..., Any]: ...


# -- formulas of one step ----------------------------------------------------------------------


def _formula(name: str, names: str, fn: Callable[..., Any]) -> Callable[[], Formula]:
    return cache(lambda: Formula.trace(name, fn, [variable(one) for one in names.split()]))


def _sigmoid(x: Any) -> Any:
    return call("sigmoid", x)


def _lstm(
    i: Any, f: Any, g: Any, o: Any, pi: Any, pf: Any, pg: Any, po: Any, c: Any
) -> tuple[Any, ...]:
    i, f, g, o = _sigmoid(i + pi), _sigmoid(f + pf), call("tanh", g + pg), _sigmoid(o + po)
    c = f * c + i * g
    return i, f, g, o, c, o * call("tanh", c)


def _lstm_pull(
    ct: Any, p0: Any, p1: Any, p2: Any, p3: Any, ct_c: Any, dc: Any,
    i: Any, f: Any, g: Any, o: Any, before: Any, c: Any,
) -> tuple[Any, ...]:  # fmt: skip
    dh, t = ct + ((p0 + p1) + (p2 + p3)), call("tanh", c)
    dc = dc + ct_c + dh * o * (1 - t * t)
    di, df, dg = dc * g * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - g * g)
    return di, df, dg, dh * t * o * (1 - o), dc * f


def _gru(n: Any, r: Any, z: Any, pr: Any, pz: Any, pn: Any, bias: Any, h: Any) -> tuple[Any, ...]:
    r, z, q = _sigmoid(r + pr), _sigmoid(z + pz), pn + bias
    n = call("tanh", n + r * q)
    return n, r, z, q, n + z * (h - n)


def _gru_pull(
    ct: Any, p0: Any, p1: Any, p2: Any, kept: Any, n: Any, r: Any, z: Any, q: Any, before: Any
) -> tuple[Any, ...]:
    dh = (ct + kept) + (p0 + p1 + p2)
    dn = dh * (1 - z) * (1 - n * n)
    return dn, dn * q * r * (1 - r), dh * (before - n) * z * (1 - z), dn * r, dh * z


LSTM = _formula("lstm_step", "i f g o pi pf pg po c", _lstm)
LSTM_PULL = _formula("lstm_step_vjp", "ct p0 p1 p2 p3 ct_c dc i f g o before c", _lstm_pull)
GRU = _formula("gru_step", "n r z pr pz pn bias h", _gru)
GRU_PULL = _formula("gru_step_vjp", "ct p0 p1 p2 kept n r z q before", _gru_pull)
TANH = _formula("rnn_tanh_step", "x p", lambda x, p: call("tanh", x + p))
TANH_PULL = _formula("rnn_tanh_step_vjp", "ct p y", lambda ct, p, y: (ct + p) * (1 - y * y))
RELU = _formula("rnn_relu_step", "x p", lambda x, p: call("relu", x + p))
RELU_PULL = _formula("rnn_relu_step_vjp", "ct p y", lambda ct, p, y: where(y > 0, ct + p, 0))


# -- what the layers share ---------------------------------------------------------------------


def _rows(x: Array) -> Array:
    """(steps, rows, features) as a matrix."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def _order(steps: int, reverse: bool) -> list[int]:
    return list(range(steps))[:: -1 if reverse else 1]


def _gate(w: Array, k: int, units: int) -> Array:
    return w[k * units : (k + 1) * units]


def _turned(tools: Tools, w: Array, units: int) -> Array:
    """The weights of the state as one matrix (from, to) for each gate, one behind another."""
    found = tools.empty((len(w) // units, units, units), w.dtype)
    tools.copy(found, w.reshape(found.shape).swapaxes(1, 2))
    return found


def _project(
    tools: Tools, x: Array, w: Array, bias: Array, gates: Array, slots: Sequence[int]
) -> None:
    """gates[slots[k]] = x wₖᵀ + biasₖ for all steps."""
    flat, units = _rows(x), gates.shape[-1]
    for k, slot in enumerate(slots):
        wk = _gate(w, k, units).swapaxes(0, 1)
        tools.product(flat, wk, _rows(gates[slot]), _gate(bias, k, units))


def _steps(gates: Array) -> list[tuple[Array, ...]]:
    """The gates of each step."""
    return list(zip(*[list(one) for one in gates]))


def _before(tools: Tools, states: Array, first: Array, reverse: bool) -> Array:
    """For every step the state that it starts from."""
    found = tools.empty(states.shape, states.dtype)
    if reverse:
        tools.copy(found[-1], first)
        tools.copy(found[:-1], states[1:])
    else:
        tools.copy(found[0], first)
        tools.copy(found[1:], states[:-1])
    return found


class Problem(NamedTuple):
    """What the gradients of weights and input are made of, once every step is done.

    `ct` are the cotangents of the gates' arguments, (slot, step, row, unit); `ins` and `outs` say
    in which slot each gate's lies for the products with the input and with the state.
    """

    ct: Array
    ins: Sequence[int]
    outs: Sequence[int]
    x: Array
    before: Array
    first: int  # the position of weight_ih among the inputs


def _finished(
    tools: Tools, p: Problem, w_ih: Array, wanted: Wanted, into: Into
) -> Iterable[tuple[int, Array]]:
    """The cotangents of the input, the weights and the biases."""
    first, x = p.first, _rows(p.x)
    sums: dict[int, Array] = {}
    for k in wanted:
        if k == 0:
            yield k, _input(tools, p, w_ih)
        elif k == first:
            yield k, _weight(tools, p.ct, p.ins, x, into(k))
        elif k == first + 1:
            yield k, _weight(tools, p.ct, p.outs, _rows(p.before), into(k))
        elif k in (first + 2, first + 3):
            yield k, _bias(tools, p.ct, p.ins if k == first + 2 else p.outs, sums)


def _input(tools: Tools, p: Problem, w: Array) -> Array:
    """Σ over the gates of their cotangents times their weights."""
    units, found = p.ct.shape[-1], tools.empty(p.x.shape, p.x.dtype)
    flat, part = _rows(found), None
    for k, slot in enumerate(p.ins):
        ct, wk = _rows(p.ct[slot]), _gate(w, k, units)
        if not k:
            tools.product(ct, wk, flat)
            continue
        part = tools.empty(flat.shape, flat.dtype) if part is None else part
        tools.add(flat, tools.product(ct, wk, part), flat)
    return found


def _weight(tools: Tools, ct: Array, slots: Sequence[int], x: Array, out: Any) -> Array:
    units = ct.shape[-1]
    if out is None or out.dtype != ct.dtype:
        out = tools.empty((units * len(slots), x.shape[1]), ct.dtype)
    for k, slot in enumerate(slots):
        tools.product(_rows(ct[slot]).swapaxes(0, 1), x, _gate(out, k, units))
    return out


def _bias(tools: Tools, ct: Array, slots: Sequence[int], known: dict[int, Array]) -> Array:
    units = ct.shape[-1]
    found = tools.empty((units * len(slots),), ct.dtype)
    for k, slot in enumerate(slots):
        if slot not in known:
            known[slot] = tools.sum_rows(_rows(ct[slot]), _gate(found, k, units))
        else:
            tools.copy(_gate(found, k, units), known[slot])
    return found


def _total(tools: Tools, parts: Sequence[Array]) -> Array:
    found = parts[0]
    for one in parts[1:]:
        found = tools.add(found, one)
    return found


# -- LSTM --------------------------------------------------------------------------------------

LSTM_SLOTS = (0, 1, 2, 3)


def lstm(tools: Tools, inputs: Sequence[Array], reverse: bool) -> tuple[Array, Array]:
    """(h and c of every step, the four gates of every step)."""
    x, h, c, w_ih, w_hh, b_ih, b_hh = inputs
    (steps, rows, _), units = x.shape, h.shape[-1]
    out = tools.empty((2, steps, rows, units), x.dtype)
    gates = tools.empty((4, steps, rows, units), x.dtype)
    part = tools.empty((4, rows, units), x.dtype)
    _project(tools, x, w_ih, tools.add(b_ih, b_hh), gates, LSTM_SLOTS)
    multiply, parts = tools.each(_turned(tools, w_hh, units), part), tuple(part)
    run, each, (hs, cs) = tools.kernel(LSTM(), 0), _steps(gates), map(list, out)
    for t in _order(steps, reverse):
        multiply(h)
        run(*each[t], *parts, c, out=(*each[t], cs[t], hs[t]))
        h, c = hs[t], cs[t]
    return out, gates


def lstm_pull(
    tools: Tools, ct: Array, wanted: Wanted, into: Into, saved: Sequence[Array], reverse: bool
) -> Iterable[tuple[int, Array]]:
    x, h, c, w_ih, w_hh, _, _, out, gates = saved
    rows, units = h.shape
    moved = tools.empty(gates.shape, gates.dtype)
    part, dc = (tools.zeros(shape, x.dtype) for shape in ((4, rows, units), (rows, units)))
    multiply, parts = tools.each(w_hh.reshape(4, units, units), part), tuple(part)
    run, each, made = tools.kernel(LSTM_PULL(), 1), _steps(gates), _steps(moved)
    cts, slices, cs = list(zip(*ct)), moved.swapaxes(0, 1), list(out[1])
    order = _order(len(x), reverse)
    for t, before in zip(order[::-1], [*order[-2::-1], None]):
        old = c if before is None else cs[before]
        own, late = cts[t]
        run(own, *parts, late, dc, *each[t], old, cs[t], out=(*made[t], dc))
        if before is not None or 1 in wanted:
            multiply(slices[t])
    if 1 in wanted:
        yield 1, _total(tools, parts)
    if 2 in wanted:
        yield 2, dc
    before = _before(tools, out[0], h, reverse) if 4 in wanted else None
    p = Problem(moved, LSTM_SLOTS, LSTM_SLOTS, x, before, 3)
    yield from _finished(tools, p, w_ih, wanted, into)


# -- GRU ---------------------------------------------------------------------------------------

GRU_IN, GRU_OUT = (1, 2, 0), (1, 2, 3)
"""Where r, z and n lie among n, r, z and q = n's part of the state."""


def gru(tools: Tools, inputs: Sequence[Array], reverse: bool) -> tuple[Array, Array]:
    """(h of every step, n, r, z and q of every step)."""
    x, h, w_ih, w_hh, b_ih, b_hh = inputs
    (steps, rows, _), units = x.shape, h.shape[-1]
    out = tools.empty((steps, rows, units), x.dtype)
    gates = tools.empty((4, steps, rows, units), x.dtype)
    part, late = (tools.empty(shape, x.dtype) for shape in ((3, rows, units), (rows, units)))
    bias = tools.empty(b_ih.shape, x.dtype)
    tools.copy(bias, b_ih)
    tools.add(bias[: 2 * units], b_hh[: 2 * units], bias[: 2 * units])
    tools.copy(late, b_hh[2 * units :])
    _project(tools, x, w_ih, bias, gates, GRU_IN)
    multiply, parts = tools.each(_turned(tools, w_hh, units), part), tuple(part)
    run, each, hs = tools.kernel(GRU(), 0), _steps(gates), list(out)
    for t in _order(steps, reverse):
        multiply(h)
        run(*each[t][:3], *parts, late, h, out=(*each[t], hs[t]))
        h = hs[t]
    return out, gates


def gru_pull(
    tools: Tools, ct: Array, wanted: Wanted, into: Into, saved: Sequence[Array], reverse: bool
) -> Iterable[tuple[int, Array]]:
    x, h, w_ih, w_hh, _, _, out, gates = saved
    rows, units = h.shape
    moved = tools.empty(gates.shape, gates.dtype)
    part, kept = (tools.zeros(shape, x.dtype) for shape in ((3, rows, units), (rows, units)))
    multiply, parts = tools.each(w_hh.reshape(3, units, units), part), tuple(part)
    run, each, made = tools.kernel(GRU_PULL(), 1), _steps(gates), _steps(moved)
    cts, slices, hs = list(ct), moved[1:].swapaxes(0, 1), list(out)
    order = _order(len(x), reverse)
    for t, before in zip(order[::-1], [*order[-2::-1], None]):
        old = h if before is None else hs[before]
        run(cts[t], *parts, kept, *each[t], old, out=(*made[t], kept))
        if before is not None or 1 in wanted:
            multiply(slices[t])
    if 1 in wanted:
        yield 1, _total(tools, (*parts, kept))
    before = _before(tools, out, h, reverse) if 3 in wanted else None
    p = Problem(moved, GRU_IN, GRU_OUT, x, before, 2)
    yield from _finished(tools, p, w_ih, wanted, into)


# -- the plain layer ---------------------------------------------------------------------------


def rnn(tools: Tools, formula: Formula, inputs: Sequence[Array], reverse: bool) -> Array:
    """h of every step."""
    x, h, w_ih, w_hh, b_ih, b_hh = inputs
    (steps, rows, _), units = x.shape, h.shape[-1]
    out = tools.empty((steps, rows, units), x.dtype)
    part = tools.empty((1, rows, units), x.dtype)
    _project(tools, x, w_ih, tools.add(b_ih, b_hh), out[None], (0,))
    multiply = tools.each(_turned(tools, w_hh, units), part)
    run, hs, p = tools.kernel(formula, 0), list(out), part[0]
    for t in _order(steps, reverse):
        multiply(h)
        h = hs[t]
        run(h, p, out=h)
    return out


def rnn_pull(
    tools: Tools, formula: Formula, ct: Array, wanted: Wanted, into: Into, saved: Sequence[Array],
    reverse: bool,
) -> Iterable[tuple[int, Array]]:  # fmt: skip
    x, h, w_ih, w_hh, _, _, out = saved
    moved = tools.empty((1, *out.shape), out.dtype)
    part = tools.zeros((1, *h.shape), x.dtype)
    multiply, p = tools.each(w_hh[None], part), part[0]
    run, cts, hs, made = tools.kernel(formula, 1), list(ct), list(out), list(moved[0])
    order = _order(len(x), not reverse)
    for t in order:
        run(cts[t], p, hs[t], out=made[t])
        if t != order[-1] or 1 in wanted:
            multiply(made[t])
    if 1 in wanted:
        yield 1, p
    before = _before(tools, out, h, reverse) if 3 in wanted else None
    problem = Problem(moved, (0,), (0,), x, before, 2)
    yield from _finished(tools, problem, w_ih, wanted, into)


# -- backward of any ---------------------------------------------------------------------------

_PLAIN = {"rnn_tanh": TANH_PULL, "rnn_relu": RELU_PULL}


def _nowhere(k: int) -> None:
    """For weights that are met twice in one layer: neither may write where the other does."""


def pull(
    tools: Tools, node: Any, ct: Array, wanted: Wanted, into: Into, saved: Sequence[Array]
) -> Iterable[tuple[int, Array]]:
    """The cotangents of a node's inputs, as its backend's `pull` gives them."""
    name, reverse, parents = node.primitive.name, node.params["reverse"], node.parents
    if parents[-4] is parents[-3]:
        into = _nowhere
    if name == "lstm":
        return lstm_pull(tools, ct, wanted, into, saved, reverse)
    if name == "gru":
        return gru_pull(tools, ct, wanted, into, saved, reverse)
    return rnn_pull(tools, _PLAIN[name](), ct, wanted, into, saved, reverse)
