"""What `tg.debug()` holds a user's operation to: differences, and its own NumPy code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorgrad import _config, dtypes
from tensorgrad._errors import GradientError, TensorgradError
from tensorgrad.backend import base
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing.byhand import parameter_names
from tensorgrad.testing.elements import compare
from tensorgrad.testing.problem import FORWARD, REVERSE, Problem
from tensorgrad.transforms.custom import answer
from tensorgrad.transforms.tree import flatten, map_leaves

if TYPE_CHECKING:
    from tensorgrad.transforms.primitive import ArrayRules, Operation

LIMIT = 100  # elements of an argument that are moved
ROUNDING = 1e3  # units of rounding, of the largest element, by which two computations may differ


def check_rules(op: Operation, call: ArrayRules, arrays: Sequence[Any]) -> None:
    """Hold the rules of an operation to differences at these arguments, in double precision.

    Only arguments that are recorded in this call are moved; none: nothing is checked yet. Raises
    `GradientError` for a rule that is wrong.
    """
    moving = [
        k
        for k, x in enumerate(call.inputs)
        if (x.node is not None or x.level) and dtypes.is_inexact(x.dtype)
    ]
    if not moving:
        return
    op.checked = True
    host = [base.to_numpy(x) for x in arrays]

    def run(*moved: Any) -> tuple[Any, ...]:
        values: list[Any] = list(host)
        for k, x in zip(moving, moved):
            values[k] = x
        args = call.args(values)
        return tuple(flatten(answer(op, type(call)(op, args, call.options)))[0])

    with _config.setting(_config.recording, True), _config.setting(_config.debugging, False):
        problem = Problem(run, [_double(host[k]) for k in moving], np.random.default_rng(0))
        names = _names(op, call)
        problem.names = [names[call.moving[k]] for k in moving]
        modes = {REVERSE: (op.backward, "vjp"), FORWARD: (op.forward, "jvp")}
        for mode, (rule, kind) in modes.items():
            wrong = [c for c in compare(problem, mode, limit=LIMIT) if c.wrong] if rule else []
            if wrong:
                raise GradientError(
                    f"{op.name}: got a {kind} rule with {'; '.join(map(str, wrong))}, expected "
                    "the central difference of its function; try the rule again for "
                    f"{', '.join(c.argument for c in wrong)}"
                )


def _double(array: Any) -> Any:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _names(op: Operation, call: ArrayRules) -> list[str]:
    """The name of every leaf of the arguments."""
    names = parameter_names(op.f, len(call.parts))
    return [
        name if count == 1 else f"{name}, leaf {i},"
        for name, (count, _) in zip(names, call.parts)
        for i in range(count)
    ]


def hold_kernel(op: Operation, args: Any, options: dict[str, Any], found: Any) -> None:
    """Hold a kernel's results to those of the NumPy code; raises `TensorgradError`."""
    host = map_leaves(lambda x: x if base.known(type(x)) is None else base.to_numpy(x), args)
    _hold(op.name, "kernel", flatten(found)[0], flatten(op.f(*host, **options))[0])


def hold_formula(
    name: str, f: Callable[..., Any], args: Any, options: dict[str, Any], found: Any
) -> bool:
    """Hold a formula's results to those of the NumPy code; False where they cannot be read."""
    leaves, rebuild = flatten(args)
    if any(isinstance(x, Tensor) and x.level for x in leaves):
        return False
    host = [base.to_numpy(x.data) if isinstance(x, Tensor) else x for x in leaves]
    made = [y.data if isinstance(y, Tensor) else y for y in flatten(found)[0]]
    _hold(name, "formula", made, flatten(f(*rebuild(host), **options))[0])
    return True


def _hold(name: str, what: str, found: Sequence[Any], expected: Sequence[Any]) -> None:
    if len(found) != len(expected):
        raise TensorgradError(
            f"{name}: got {len(found)} results of its {what}, expected {len(expected)} as of its "
            "NumPy code; try the same results in the same order"
        )
    for k, (got, want) in enumerate(zip(found, expected)):
        a, b = base.to_numpy(got), np.asarray(want)
        if a.shape != b.shape:
            raise TensorgradError(
                f"{name}: got shape {a.shape} of its {what}, expected {b.shape} as of its NumPy "
                "code; try shape="
            )
        kind = a.dtype if dtypes.is_inexact(a.dtype) else np.dtype(float)
        allowed = ROUNDING * dtypes.eps(kind) * float(np.max(np.abs(b), initial=0.0))
        error = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        wrong = ~(error <= allowed)
        if wrong.any():
            worst = np.unravel_index(int(np.argmax(np.nan_to_num(error, nan=np.inf))), a.shape)
            place = f"[{', '.join(map(str, worst))}]" if worst else ""
            raise TensorgradError(
                f"{name}: got {what} result {k}{place} = {a[worst]:.6g}, expected {b[worst]:.6g} "
                f"as of its NumPy code, wrong in {int(wrong.sum())} of {a.size} elements; try the "
                f"{what} again"
            )
