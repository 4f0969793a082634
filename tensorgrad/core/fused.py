"""Fused primitives: a kernel for speed, and a reference in public operations for everything else.

With the tape off the reference is the oracle; on the tape it is every derivative beyond the fused
first one, and what interpreters (forward mode, batching) run. A fused primitive therefore needs no
rule: a kernel that may hand over values for its own backward, and a pull on bare arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tensorgrad import _config, dtypes
from tensorgrad.core.backward import gradients
from tensorgrad.core.calls import specialised
from tensorgrad.core.family import stranger
from tensorgrad.core.formula import Elementwise
from tensorgrad.core.primitive import Primitive, Wanted
from tensorgrad.core.tape import Array, Node, leaf, next_seq
from tensorgrad.core.tensor import Tensor, make, rebuilt


class Fused(Primitive):
    """One output, at most three inputs; `kernel(*arrays, **params)` -> (output, what it keeps)."""

    def __init__(self, name: str, reference: Callable[..., Any], *, nin: int, spec: Any) -> None:
        super().__init__(name, nin=nin, spec=spec, batch=reference, vjp=reference)
        self.reference = reference
        self.bind = specialised(self, fused=True)

    def pull(
        self, node: Node, ct: Any, wanted: Wanted, into: Callable[[int], Any]
    ) -> Iterable[tuple[int, Array]]:
        return self.pulls[type(ct)](ct, wanted, into, node.saved, node)  # type: ignore[no-any-return]

    def vjp(self, node: Node, ct: Any, wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """The derivative of the reference, on the tape if it is on."""
        inputs = [rebuilt(x, p) for x, p in zip(node.saved or (), node.parents)]
        params = node.params or {}
        return replay(lambda twins: [self.reference(*twins, **params)], inputs, [ct], wanted)


_alias = Elementwise.trace("alias", lambda x: x)


def alias(x: Tensor) -> Tensor:
    """A tensor of the same value with a node of its own, recorded if x was."""
    twin = make(x.data, None, x.level)
    stranger(twin)
    if x.node is None:
        twin.node = leaf(x.shape, x.dtype)
    else:
        _alias.attach((x,), [twin], {})
    return twin


def _twin(x: Tensor, moving: bool) -> Tensor:
    """What a function that is run again gets for an input; a constant for one that stands still."""
    if not dtypes.is_inexact(x.dtype):
        return x
    return alias(x) if moving else make(x.data, None, x.level)


def replay(
    run: Callable[[list[Tensor]], list[Tensor]],
    inputs: Sequence[Tensor],
    cts: Sequence[Tensor | None],
    wanted: Wanted,
    captured: Sequence[Node] = (),
) -> list[tuple[int, Tensor]]:
    """The cotangents of a function's inputs, and then of what it captured, by running it again.

    The walk is on the tape if the tape is on, so that it can be differentiated in turn.
    """
    outer, since = _config.is_recording(), next_seq()
    with _config.setting(_config.recording, True):
        twins = [_twin(x, outer or k in wanted) for k, x in enumerate(inputs)]
        outs = run(twins)
    moved = [(y, ct) for y, ct in zip(outs, cts) if ct is not None]
    nodes = [*(t.node for t in twins), *captured]
    asked = [nodes[k] for k in wanted]
    # The walk ends at the twins, wanted or not: behind them lies what the inputs were made from,
    # and a captured tensor among that gets its part by the inputs' own cotangents.
    ends = [n for n in nodes[: len(twins)] if n is not None and n.parents and n not in asked]
    found = gradients(
        [y for y, _ in moved],
        [ct for _, ct in moved],
        [*asked, *ends],  # type: ignore[list-item]
        create_graph=outer,
        free=not outer,
        since=since,
    )
    return [(k, g) for k, g in zip(wanted, found) if g is not None]
