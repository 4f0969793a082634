"""Orders of an expression graph; works on anything with `args`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorgrad.expr.ir import Expr


def topo(outputs: Iterable[Expr]) -> list[Expr]:
    """Every node that `outputs` reach, arguments before users, each once.

    The order depends on the content of the graph only, never on addresses.
    """
    order: list[Expr] = []
    seen: set[int] = set()
    stack = [(e, False) for e in reversed(tuple(outputs))]
    while stack:
        e, done = stack.pop()
        if done:
            order.append(e)
        elif id(e) not in seen:
            seen.add(id(e))
            stack.append((e, True))
            stack.extend((a, False) for a in reversed(e.args) if id(a) not in seen)
    return order
