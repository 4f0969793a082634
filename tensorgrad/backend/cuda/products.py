"""Products of matrices and tensors on CuPy arrays: cuBLASLt, and CuPy's own kernel for integers.

The 16-bit floats are multiplied and summed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial, reduce
from itertools import pairwise
from operator import or_
from typing import Any, NamedTuple

import cupy
import numpy as np

from tensorgrad import dtypes, shapes
from tensorgrad._config import get_float32_matmul_precision
from tensorgrad.backend import contraction
from tensorgrad.backend.contraction import Labels
from tensorgrad.backend.cuda import arena, device, launch
from tensorgrad.backend.cuda.formula import ElementwiseKernel, bounds, overlap
from tensorgrad.backend.cuda.kernels import cast, full, written
from tensorgrad.backend.cuda.layout import matmul_plan
from tensorgrad.backend.cuda.lt import REFUSED, WORKSPACE, Lt, LtError, alignment
from tensorgrad.backend.cuda.module import launches
from tensorgrad.backend.cuda.plan import BIAS, OUTPUTS, NeedsCopy, Plan
from tensorgrad.backend.cuda.plan import GELU as GELU_STEP
from tensorgrad.backend.cuda.plan import RELU as RELU_STEP
from tensorgrad.backend.cuda.tuner import Candidate, Choice, Tuner, Ways, tuning
from tensorgrad.expr import Formula
from tensorgrad.expr import input as variable

Array = Any

_X, _Y = variable("x"), variable("y")
ADD = ElementwiseKernel(Formula.trace("add", lambda x, y: x + y, [_X, _Y]))
MULTIPLY = ElementwiseKernel(Formula.trace("multiply", lambda x, y: x * y, [_X, _Y]))


WITH_BIAS = frozenset({"float16", "bfloat16", "float32"})
"""Dtypes in which cuBLASLt adds a bias, or sums one's gradient, within the product."""


# -- the door to cuBLASLt ----------------------------------------------------------------------

make_engine = Lt
"""What carries plans out on one device."""

_ENGINES: dict[int, Any] = {}
_WAYS: dict[int, Ways] = {}

Apart = Callable[[Array, Array, Array], object]
"""(out, bias, aux): the same as a product with an epilogue, by several launches."""


def engine(device: int) -> Any:
    """The engine of a device, made when its first product runs."""
    if device not in _ENGINES:
        _ENGINES[device] = make_engine()
    return _ENGINES[device]


def ways(number: int) -> Ways:
    """What is known of the products of a device."""
    if number not in _WAYS:
        _WAYS[number] = Ways(lambda: Tuner(*_machine(number)))
    return _WAYS[number]


def _machine(number: int) -> tuple[str, int, int]:
    """What choices belong to: the GPU's name, the versions of driver and cuBLASLt."""
    driver = int(cupy.cuda.runtime.driverGetVersion())
    return device.properties(number).name, driver, int(engine(number).version)


class Job(NamedTuple):
    """A plan and the arrays that it reads and writes."""

    plan: Plan
    x: Array
    y: Array
    out: Array
    bias: Array | None
    aux: Array | None

    def options(self) -> dict[str, int]:
        """The addresses beside those of x, y and out, the stream and room to work in."""
        # It goes back to its stream at the end, for the next product there; a graph keeps its own.
        scratch = cupy.empty(WORKSPACE, np.uint8)
        return {
            "bias": launch.address(self.bias),
            "aux": launch.address(self.aux),
            "stream": launch.stream(),
            "workspace": launch.address(scratch),
            "workspace_bytes": scratch.size,
        }

    def run(self, algo: bytes = b"") -> None:
        """Carry the plan out."""
        x, y, out = map(launch.address, (self.x, self.y, self.out))
        engine(self.x.data.device_id).execute(self.plan, x, y, out, algo=algo, **self.options())

    @property
    def aligned(self) -> int:
        """The power of two that divides every address."""
        given = [a for a in (self.x, self.y, self.out, self.bias, self.aux) if a is not None]
        return alignment(self.plan, reduce(or_, map(launch.address, given)))

    def twin(self) -> Job:
        """The same job into arrays that nobody reads."""
        bias, aux = self.bias, self.aux
        if bias is not None and not self.plan.flags & BIAS:
            bias = _twin(bias)
        if aux is not None and self.plan.flags & (RELU_STEP | GELU_STEP):
            aux = _twin(aux)
        return self._replace(out=_twin(self.out), bias=bias, aux=aux)


def _twin(x: Array) -> Array:
    """New memory that lies as an array does."""
    low, high = bounds(x)
    before = low % 256
    memory = cupy.empty(before + high - low, np.uint8)
    start = memory.data + (before + launch.address(x) - low)
    return cupy.ndarray(x.shape, x.dtype, start, x.strides)


def _choice(job: Job, known: Ways, apart: Apart | None) -> Choice | None:
    """What was chosen for a job; where tuning is on and no graph is captured, chosen now."""
    wanted = tuning.get()
    if not wanted and not known.chosen:
        return None
    number = job.x.data.device_id
    found = known.chosen.get((job.plan, job.aligned))
    if found is not None or not wanted or arena.arena(number).capturing:
        return found

    def candidates() -> tuple[list[Candidate], list[Candidate]]:
        twin = job.twin()
        addresses = map(launch.address, (twin.x, twin.y, twin.out))
        options = twin.options()
        fused = [
            Candidate(one.algo, partial(twin.run, one.algo))
            for one in engine(number).candidates(job.plan, *addresses, **options)
        ]
        if apart is None:
            return fused, []
        return fused, [Candidate(b"", partial(apart, twin.out, twin.bias, twin.aux))]

    return known.choose(job.plan, job.aligned, candidates)


def execute(
    x: Array, y: Array, out: Array, *, epilogue: str = "none", bias: Array | None = None,
    aux: Array | None = None, beta: float = 0.0, apart: Apart | None = None,
) -> None:  # fmt: skip
    """out = epilogue(x @ y + beta out); operands that no plan reads in place are copied.

    `apart` does the same by several launches: it runs where cuBLASLt has no such product, and
    where that was found to be faster.
    """
    options: dict[str, Any] = {"epilogue": epilogue, "bias": bias, "aux": aux, "beta": beta}
    options["tf32"] = get_float32_matmul_precision() == "high"
    target = out
    while True:
        try:
            plan = matmul_plan(x, y, target, **options)
            break
        except NeedsCopy as needs:
            if needs.operand == "x":
                x = launch.contiguous(x)
            elif needs.operand == "y":
                y = launch.contiguous(y)
            else:
                target = launch.contiguous(out) if beta else cupy.empty(out.shape, out.dtype)
    _run(Job(plan, x, y, target, bias, aux), apart)
    if target is not out:
        written(target, out)


def _run(job: Job, apart: Apart | None) -> None:
    """Carry a job out the way that was chosen, else as the library proposes."""
    known = ways(job.x.data.device_id)
    refused = job.plan in known.refused
    choice = None if refused else _choice(job, known, apart)
    if not refused and (choice is None or choice.fused):
        epilogue = job.plan.epilogue
        try:
            job.run(b"" if choice is None else choice.algo)
            launches["matmul" if epilogue == "none" else f"matmul_{epilogue}"] += 1
            return
        except LtError as error:
            if apart is None or error.status not in REFUSED:
                raise
            known.refused.add(job.plan)
    apart(job.out, job.bias, job.aux)  # type: ignore[misc]


def _product_shape(x: Array, y: Array) -> shapes.Shape:
    """The shape of x @ y; raises ValueError where the two do not fit, as NumPy does."""
    if not x.ndim or not y.ndim:
        raise ValueError(f"matmul: got shapes {x.shape} and {y.shape}, expected an axis in each")
    inner = y.shape[-2] if y.ndim > 1 else y.shape[0]
    if x.shape[-1] != inner:
        raise ValueError(f"matmul: got shapes {x.shape} @ {y.shape}, expected equal inner sizes")
    lead = shapes.broadcast(x.shape[:-2], y.shape[:-2], op="matmul")
    return (*lead, *x.shape[-2:-1], *(y.shape[-1:] if y.ndim > 1 else ()))


def matmul(x: Array, y: Array, out: Array | None = None) -> Any:
    return multiply(x, y, out)


def multiply(x: Array, y: Array, out: Array | None = None, bias: Array | None = None) -> Any:
    """x @ y (+ bias) in the dtype to which they promote."""
    shape = _product_shape(x, y)
    result = x.dtype if x.dtype == y.dtype else dtypes.result_type(x.dtype, y.dtype)
    if result.name not in OUTPUTS:  # integers and bools: CuPy's own kernel, exact
        return _whole(x, y, out, bias, result)
    x, y = (a if a.dtype == result else cast(a, result) for a in (x, y))
    fits = (
        out is not None
        and out.shape == shape
        and (out.dtype == result or (bias is None and out.dtype.name in OUTPUTS[result.name]))
    )
    alone = fits and not (overlap(x, out) or overlap(y, out))
    found = out if alone else cupy.empty(shape, result)
    within = bias is not None and result.name in WITH_BIAS and bias.dtype == result
    if not x.size or not y.size:
        found.fill(0)  # type: ignore[union-attr]
        within = False
    elif within:
        with_bias(x, y, found, launch.contiguous(bias))
    else:
        execute(x, y, found)
    if bias is not None and not within:
        found = ADD(found, bias, out=found if bias.dtype == result else None)
    return found if found is out else written(found, out)


def with_bias(x: Array, y: Array, out: Array, bias: Array) -> None:
    def apart(out: Array, bias: Array, aux: Any) -> None:
        execute(x, y, out)
        ADD(out, bias, out=out)

    execute(x, y, out, epilogue="bias", bias=bias, apart=apart)


def holds(target: Array, x: Array, y: Array) -> bool:
    """Whether cuBLASLt can write x @ y to an array, which may be float32 for 16-bit factors."""
    return (
        x.dtype == y.dtype
        and target.dtype.name in OUTPUTS.get(x.dtype.name, ())
        and target.shape == _product_shape(x, y)
        and not (overlap(x, target) or overlap(y, target))
    )


def accumulate(x: Array, y: Array, target: Array) -> Array:
    """target ← target + x @ y, added before it is rounded; the two must fit (`holds`)."""
    if x.size and y.size:
        execute(x, y, target, beta=1.0)
    return target


def _whole(x: Array, y: Array, out: Array | None, bias: Array | None, result: Any) -> Any:
    found = cupy.matmul(x.astype(result), y.astype(result))
    return written(found if bias is None else ADD(found, bias), out)


def scale(x: Array, factor: float) -> None:
    """x ← factor x."""
    MULTIPLY(x, full((), factor, x.dtype), out=x)


# -- tensors -----------------------------------------------------------------------------------


def contract(
    x: Array, y: Array, *, left: Labels, right: Labels, result: Labels, out: Array | None = None
) -> Any:
    """Σ over the labels that `result` lacks of x y; each label is in two of the three at least."""
    labels = (left, right, result)

    def product(a: Array, b: Array) -> Array:
        kind = a.dtype if a.dtype == b.dtype else dtypes.result_type(a.dtype, b.dtype)
        home = _home(labels, x.shape, y.shape) if kind.name in OUTPUTS else None
        if home is None:
            return multiply(a, b)
        whole = cupy.empty(home[0], kind)
        return multiply(a, b, whole.transpose(home[1]).reshape(_product_shape(a, b)))

    return written(contraction.contract(x, y, labels, MULTIPLY, product), out)


@lru_cache(maxsize=1024)
def _home(
    labels: tuple[Labels, Labels, Labels], x: shapes.Shape, y: shapes.Shape
) -> tuple[shapes.Shape, shapes.Shape] | None:
    """The result's shape, and how its axes are turned to be those of the product of matrices.

    So a result whose axes come in another order is written where it belongs. None where the order
    is the same, or no view of the result is a stack of matrices.
    """
    left, right, result = labels
    sizes = dict(zip(left, x)) | dict(zip(right, y))
    batch = [k for k in left if k in right and k in result]
    sides = [k for k in left if k not in right], [k for k in right if k not in left]
    made = batch + sides[0] + sides[1]
    if list(result) == made or not all(sizes.values()):
        return None
    rest = [tuple(sizes[j] for j in result[at + 1 :]) for at in range(len(result))]
    steps = {k: shapes.size(later) for k, later in zip(result, rest)}
    long = [[k for k in side if sizes[k] > 1] for side in sides]
    if not any(side and steps[side[-1]] == 1 for side in long):
        return None
    for side in long:
        if any(steps[a] != sizes[b] * steps[b] for a, b in pairwise(side)):
            return None
    return tuple(sizes[k] for k in result), tuple(result.index(k) for k in made)
