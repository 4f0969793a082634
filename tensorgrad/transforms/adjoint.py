"""The adjoint equation of an ordinary differential equation: gradients without its steps.

For dy/dt = f(y, t, p) and cotangents c_i of y(t_i): da/dt = -(df/dy)^T a backward in time, with
a growing by c_i at every t_i; the cotangent of y(t_0) is a(t_0), of p the integral of (df/dp)^T a,
of t_i it is c_i f(y_i, t_i), and of t_0 it is -a(t_0) f(y_0, t_0), where c_0 does not count
(Pontryagin; Chen et al., 2018). The backward equation is solved by the same function, so it has an
adjoint of its own: that gives every order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.backward import gradients
from tensorgrad.core.fused import alias
from tensorgrad.core.primitive import Primitive, Wanted, output
from tensorgrad.core.tape import Node, captured, next_seq
from tensorgrad.core.tensor import Tensor, rebuilt
from tensorgrad.ops.create import zeros_like
from tensorgrad.ops.join import concatenate, stack
from tensorgrad.ops.shape import astype, reshape
from tensorgrad.transforms.node import recorded

Flow = Callable[[Tensor, Any, list[Tensor]], Tensor]
"""dy/dt of (y (n,), time, parameters)."""
Steps = Callable[[Callable[[Tensor, Any], Tensor], Tensor, Tensor], Tensor]
"""The states (m, n) of a flow of (y, time) from a start, at times (m,)."""


class Adjoint(Primitive):
    """The states of an equation; parents: start, times, parameters, then what it captured."""

    def __init__(self) -> None:
        rule: Any = self.vjp
        super().__init__("odeint", nin=-1, nout=-1, spec=rule, batch=rule, vjp=rule)

    def positions(self, mask: int) -> tuple[int, ...]:
        raise AssertionError("an equation saves its inputs itself")

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Solve the adjoint equation from the last time to the first."""
        flow, steps = (node.params or {})["equation"]
        *data, states = node.saved or ()
        inputs = [rebuilt(value, parent) for value, parent in zip(data, node.parents)]
        _, times, *given = inputs
        ys: Any = output(node, states, 0, self.nout)
        (ct,) = cts
        chosen = [k for k in wanted if k > 1]
        back = _Backward(flow, given, node.parents[len(inputs) :], [k - 2 for k in chosen])
        sums = [_zeros(p, ys) for p in back.sources]
        a, moved = ct[len(ct) - 1], [None] * len(ct)
        for k in range(len(ct) - 1, 0, -1):
            moved[k] = _along(ct[k], flow(ys[k], times[k], given), times)
            start = concatenate([ys[k], a, *sums])
            ends = stack([times[k], times[k - 1]])
            end: Any = solved(back, start, ends, given, steps)[1]
            _, a, *sums = back.split(end)
            if k > 1:
                a = a + ct[k - 1]
        if len(ct) > 1:
            moved[0] = -_along(a, flow(ys[0], times[0], given), times)
            a = a + ct[0]
        if 0 in wanted:
            yield 0, a
        if 1 in wanted:
            yield 1, stack([m if m is not None else times[0] * 0.0 for m in moved])
        for k, p, total in zip(chosen, back.sources, sums):
            yield k, reshape(total, p.shape)


def _along(a: Any, slope: Any, times: Tensor) -> Any:
    found = (a * slope).sum()
    return found if found.dtype == times.dtype else astype(found, times.dtype)


def _zeros(p: Node, like: Any) -> Tensor:
    size = 1
    for extent in p.shape:
        size *= extent
    return zeros_like(like, dtype=like.dtype, shape=(size,))  # type: ignore[no-any-return]


class _Backward:
    """The augmented equation: state, adjoint, and the integrals for the chosen parameters."""

    def __init__(
        self, flow: Flow, given: list[Tensor], extra: Sequence[Any], chosen: list[int]
    ) -> None:
        self.flow, self.extra, self.chosen = flow, extra, chosen
        parents: list[Any] = [*[p.node for p in given], *extra]
        self.sources: list[Node] = [parents[k] for k in chosen]

    def __call__(self, state: Tensor, time: Any, given: list[Tensor]) -> Tensor:
        y, a, *_ = self.split(state)
        record = _config.is_recording()
        with _config.enable_grad():
            twin = alias(y)
            twins = [alias(p) if dtypes.is_inexact(p.dtype) else p for p in given]
            slope = self.flow(twin, time, twins)
        nodes: list[Any] = [*[p.node for p in twins], *self.extra]
        targets = [twin.node, *[nodes[k] for k in self.chosen]]
        found = gradients([slope], [a], targets, create_graph=record, free=not record)
        parts = [slope if record else slope.detach()]
        for p, g in zip(targets, found):
            parts.append(_zeros(p, a) if g is None else -reshape(astype(g, a.dtype), (-1,)))
        return concatenate(parts)  # type: ignore[no-any-return]

    def split(self, state: Any) -> list[Any]:
        """(y, a, the integrals) of an augmented state."""
        sizes, total = [], state.shape[0]
        for p in self.sources:
            size = 1
            for extent in p.shape:
                size *= extent
            sizes.append(size)
        n = (total - sum(sizes)) // 2
        found, at = [], 0
        for size in (n, n, *sizes):
            found.append(state[at : at + size])
            at += size
        return found


ADJOINT = Adjoint()


def solved(flow: Flow, start: Tensor, times: Tensor, given: list[Tensor], steps: Steps) -> Tensor:
    """The states (m, n) at the times, as a function of start, times, parameters and captures."""
    if not _config.is_recording() or _config.level.get():
        return steps(lambda y, time: flow(y, time, given), start, times)
    since = next_seq()
    seen: dict[int, Node] = {}
    twins = [alias(p) if p.node is not None else p for p in given]
    own = [t.node for t, p in zip(twins, given) if t is not p and t.node is not None]

    def watched(y: Tensor, time: Any) -> Tensor:
        with _config.enable_grad():
            slope = flow(y, time, twins)
        for node in captured([slope.node], own, since):
            seen[node.seq] = node
        return slope.detach()

    with _config.no_grad():
        ys = steps(watched, start.detach(), times.detach())
    inputs, extra = [start, times, *given], [seen[seq] for seq in sorted(seen)]
    parents = [p for p in (*[x.node for x in inputs], *extra) if p is not None]
    for p in parents:
        need(
            dtypes.real(p.dtype) == p.dtype,
            "odeint",
            parameter=p,
            want="real parameters for gradient='adjoint'",
            fix="gradient='direct'",
            error=DTypeError,
        )
    if not parents:
        return ys
    return recorded(ADJOINT, inputs, extra, [ys], {"equation": (flow, steps)}, [ys.data])[0]
