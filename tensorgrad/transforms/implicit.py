"""Implicit functions: solutions of equations, differentiated by the implicit function theorem.

For x(p) with r(x, p) = 0 and A = dr/dx: dx = -A^-1 (dr/dp) dp, and with w = A^-T ct the cotangent
of p is -(dr/dp)^T w. How x was found plays no part. The linear system is itself an equation for
w, whose solution is differentiated by the same rule: that gives every order, and forward mode.
Inside, x is a vector on the last axis; axes before it are independent systems (a batch of vmap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tensorgrad import _config
from tensorgrad._errors import GradientError
from tensorgrad.backend import base
from tensorgrad.core.backward import gradients
from tensorgrad.core.fused import alias, replay
from tensorgrad.core.levels import Batched, dual
from tensorgrad.core.primitive import Primitive, Wanted, output
from tensorgrad.core.tape import Node, captured, next_seq
from tensorgrad.core.tensor import Tensor, make, rebuilt
from tensorgrad.ops.axes import moveaxis
from tensorgrad.ops.join import stack
from tensorgrad.ops.shape import broadcast_to
from tensorgrad.transforms.node import recorded

Residual = Callable[[Tensor, list[Tensor]], Tensor]
"""r(x, inputs): unknowns (*batch, n) and what they depend on, to (*batch, n)."""
Linear = Callable[[Callable[[Any], Any], Any], Any]
"""solve(product, b): the vector w with product(w) = b, in NumPy arrays."""

DENSE = 256
"""The number of unknowns up to which the matrix is made and factored; above, GMRES."""


class Root(Primitive):
    """The solution of an equation; parents are its inputs, then the tensors it captured."""

    def __init__(self) -> None:
        rule: Any = self.vjp
        super().__init__("root", nin=-1, nout=-1, spec=rule, batch=rule, vjp=rule)

    def positions(self, mask: int) -> tuple[int, ...]:
        raise AssertionError("a root saves its inputs itself")

    def vjp(self, node: Node, cts: list[Any], wanted: Wanted) -> Iterable[tuple[int, Tensor]]:
        """Solve for the multiplier, and pull it back through the equation."""
        residual, linear, level = (node.params or {})["equation"]
        with _alive(level):
            return self._pulled(node, cts[0], wanted, residual, linear)

    def _pulled(
        self, node: Node, ct: Tensor, wanted: Wanted, residual: Residual, linear: Linear | None
    ) -> list[tuple[int, Tensor]]:
        *data, found = node.saved or ()
        inputs = [rebuilt(value, parent) for value, parent in zip(data, node.parents)]
        x = output(node, found, 0, self.nout)
        multiplier = solution(residual, x, inputs, ct, linear, transposed=True)
        extra: Any = node.parents[len(inputs) :]
        # x is among the targets, whose walk ends there: else it went on through x to its inputs
        pairs = replay(
            lambda twins: [residual(twins[0], twins[1:])],
            [x, *inputs],
            [-multiplier],
            (0, *[k + 1 for k in wanted]),
            extra,
        )
        return [(k - 1, g) for k, g in pairs if k]


ROOT = Root()


def implicit(residual: Residual, x: Tensor, inputs: list[Tensor], linear: Linear | None) -> Tensor:
    """The constant x, a solution of residual(x, inputs) = 0, as a function of the inputs.

    Tensors that `residual` captured are inputs too. `linear` solves the linear systems; None: by a
    dense matrix, or by GMRES above `DENSE` unknowns.
    """
    recording = _config.is_recording()
    if not recording and not _config.level.get():
        return x
    since = next_seq()
    twins = [alias(p) if recording and p.node is not None else p for p in inputs]
    rest = residual(x, twins)
    if rest.level:
        x = _lifted(residual, x, inputs, rest, linear)
    if not recording or rest.node is None or x.level != rest.level:
        return x
    own = [t.node for t, p in zip(twins, inputs) if t is not p and t.node is not None]
    extra = captured([rest.node], own, since)
    if not extra and all(p.node is None for p in inputs):
        return x
    params = {"equation": (residual, linear, _config.level.get())}
    return recorded(ROOT, inputs, extra, [x], params, [x.data])[0]


# -- one level lower -----------------------------------------------------------------------------


def _lifted(
    residual: Residual, x: Tensor, inputs: list[Tensor], rest: Tensor, linear: Linear | None
) -> Tensor:
    """The solution at the level of its residual, from the same equation one level lower."""
    level = rest.level
    if isinstance(rest.data, Batched):
        return _batched(residual, x, inputs, rest, linear)

    def lower(v: Tensor, given: list[Tensor]) -> Tensor:
        with _alive(level):
            return _still(residual(v, given), level)

    primals = [_inner(p, level) for p in inputs]
    x = implicit(lower, x, primals, linear)
    moved = residual(x, inputs)
    tangent = moved.data.tangent if moved.level == level else None
    if tangent is None:
        return x
    return dual(level, x, solution(lower, x, primals, -tangent, linear, transposed=False))


def _batched(
    residual: Residual, x: Tensor, inputs: list[Tensor], rest: Tensor, linear: Linear | None
) -> Tensor:
    level, shape = rest.level, rest.data.inner.shape
    hidden = [p.level == level for p in inputs]

    def lower(v: Tensor, given: list[Tensor]) -> Tensor:
        with _alive(level):
            full = [make(Batched(level, p), None, level) if h else p for h, p in zip(hidden, given)]
            found = residual(make(Batched(level, v), None, level), full)
            return _inner(found, level) if found.level == level else broadcast_to(found, v.shape)

    inner = x.data.inner if x.level == level else broadcast_to(x, shape)
    found = implicit(lower, inner, [_inner(p, level) for p in inputs], linear)
    return make(Batched(level, found), None, level)


def _alive(level: int) -> Any:
    """A block in which values of a level that has been left may be used again."""
    return _config.setting(_config.level, max(level, _config.level.get()))


def _inner(x: Tensor, level: int) -> Tensor:
    return x.data.inner if x.level == level else x


def _still(x: Tensor, level: int) -> Tensor:
    """x without the tangents of a level, also under those that the linear systems put above it."""
    if x.level <= level:
        return _inner(x, level)
    inner: Any = _still(x.data.inner, level)
    if isinstance(x.data, Batched):
        return make(Batched(x.level, inner), None, x.level)
    tangent = x.data.tangent
    return dual(x.level, inner, None if tangent is None else _still(tangent, level))


# -- the linear systems --------------------------------------------------------------------------


def solution(
    residual: Residual,
    x: Tensor,
    inputs: list[Tensor],
    b: Tensor,
    linear: Linear | None,
    *,
    transposed: bool,
) -> Tensor:
    """w with A w = b, or A^T w = b, for A = dr/dx at x; as a function of x, the inputs and b."""
    product = pulled if transposed else pushed

    def rest(w: Tensor, given: list[Tensor]) -> Tensor:
        return product(residual, w, given[0], given[1:-1]) - given[-1]

    with _config.no_grad():
        fixed = [p.detach() for p in inputs]
        w = values(residual, x.detach(), fixed, b.detach(), linear, transposed).detach()
    return implicit(rest, w, [x, *inputs, b], linear)


def pulled(residual: Residual, w: Tensor, x: Tensor, inputs: list[Tensor]) -> Tensor:
    """A^T w."""
    outer = _config.is_recording()
    with _config.enable_grad():
        twin = alias(x)
        return _pull(residual(twin, inputs), twin, w, outer, not outer)


def _pull(rest: Tensor, twin: Tensor, w: Tensor, record: bool, free: bool) -> Tensor:
    targets: Any = [twin.node]
    (found,) = gradients([rest], [w], targets, create_graph=record, free=free)
    return twin.detach() * 0.0 if found is None else found


def pushed(residual: Residual, w: Tensor, x: Tensor, inputs: list[Tensor]) -> Tensor:
    """A w."""
    with _config.fresh_level() as level:
        rest = residual(dual(level, x, w), inputs)
        tangent = rest.data.tangent if rest.level == level else None
    return w * 0.0 if tangent is None else tangent


def values(
    residual: Residual,
    x: Tensor,
    inputs: list[Tensor],
    b: Tensor,
    linear: Linear | None,
    transposed: bool,
) -> Tensor:
    """The solution of a linear system in constants."""
    levels = max(t.level for t in (x, b, *inputs))
    if linear is None and (x.shape[-1] <= DENSE or levels):
        from tensorgrad.ops.linalg.solve import solve  # late: for import time

        matrix = jacobian(residual, x, inputs)
        if transposed:
            matrix = matrix.swapaxes(-1, -2)
        try:
            return solve(matrix, b[..., None])[..., 0]  # type: ignore[no-any-return]
        except np.linalg.LinAlgError as error:
            raise GradientError(
                "root: got an equation whose Jacobian is singular at the solution, expected an "
                f"invertible one ({error}); try another starting point, or as many independent "
                "equations as unknowns"
            ) from None
    if levels:
        raise GradientError(
            f"root: got values of a vmap and the linear solver {linear!r}, expected arrays; "
            "try linear_solve=None under vmap"
        )
    return _on_host(residual, x, inputs, b, linear or gmres, transposed)


def _on_host(
    residual: Residual, x: Tensor, inputs: list[Tensor], b: Tensor, linear: Linear, transposed: bool
) -> Tensor:
    """A linear system for a solver of NumPy arrays, which sees one vector and the product by A."""
    home, shape = base.of(b.value()), b.shape
    product = pulled if transposed else pushed

    def times(w: Any) -> Any:
        v = make(home.asarray(np.asarray(w, b.dtype).reshape(shape)))
        return product(residual, v, x, inputs).detach().numpy().reshape(-1)

    found = linear(times, b.numpy().reshape(-1))
    return make(home.asarray(np.asarray(found, b.dtype).reshape(shape)))


def jacobian(residual: Residual, x: Tensor, inputs: list[Tensor]) -> Tensor:
    """A = dr/dx (*batch, n, n), its rows by one walk for all of them."""
    count = x.shape[-1]
    with _config.enable_grad(), _config.fresh_level() as level:
        twin = alias(x)
        rest = residual(twin, inputs)
        unit = np.eye(count, dtype=x.dtype).reshape(count, *[1] * (x.ndim - 1), count)
        rows = make(base.of(x.value()).asarray(unit))
        w = make(Batched(level, broadcast_to(rows, (count, *x.shape))), None, level)
        found = _pull(rest, twin, w, False, True)
    inner = found.data.inner if found.level == level else stack([found] * count)
    return moveaxis(inner, 0, -2).detach()  # type: ignore[no-any-return]


def gmres(product: Callable[[Any], Any], b: Any) -> Any:
    """The solution of a large linear system by SciPy's GMRES; raises `GradientError`."""
    import scipy.sparse.linalg as sparse  # late: for import time

    n, dtype = b.size, b.dtype
    operator = sparse.LinearOperator((n, n), matvec=product, dtype=dtype)
    rtol = float(np.finfo(dtype).eps ** 0.75)
    found, failed = sparse.gmres(operator, b, rtol=rtol, atol=0.0, restart=min(n, 100))
    if failed:
        raise GradientError(
            f"root: got a linear system of {n} unknowns on which GMRES did not converge in "
            f"{failed} steps, expected a well conditioned Jacobian; try linear_solve=, a solver "
            "with a preconditioner"
        )
    return found
