"""Pooling over windows of one to three spatial axes: maxima, means, norms.

>>> max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
tensor([[3., 2.]])
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.pool_windows import count
from tensorgrad.core.calls import Spec
from tensorgrad.core.primitive import operand
from tensorgrad.core.registry import operation
from tensorgrad.ops.activations import relu
from tensorgrad.ops.elementwise import absolute, sign
from tensorgrad.ops.nn import pool_cases as cases
from tensorgrad.ops.nn.pool_rules import avg_pool_p, max_pool_p, max_taps_p
from tensorgrad.ops.shape import astype

Shape = shapes.Shape
Entry = Callable[[Callable[..., Any]], Callable[..., Any]]

# -- arguments ---------------------------------------------------------------------------------


def numbers(op: str, name: str, given: Any, rank: int, least: int) -> Shape:
    """A number for each spatial axis out of one, or out of as many."""
    found = tuple(given) if isinstance(given, tuple | list) else (given,) * rank
    need(
        len(found) == rank and all(hasattr(n, "__index__") and n >= least for n in found),
        op,
        **{name: given},
        want=f"a whole number from {least} up, or {rank} of them",
        fix=f"{name}={max(least, 1)}",
    )
    return found


def images(op: str, rank: int, input: Any, real: bool = True) -> Any:
    """The input as a tensor; raises for what has no such spatial axes."""
    x, axes = operand(input), "C" + "DHW"[3 - rank :]
    need(x.ndim in (rank + 1, rank + 2), op, input=x, want=f"axes {axes}, or N{axes}",
         fix=f"another pooling than {rank}d, or input.reshape")  # fmt: skip
    known = dtypes.is_float(x.dtype) or (dtypes.is_inexact(x.dtype) and not real)
    need(known, op, input=x, want="floats", fix='input.astype("float32")', error=DTypeError)
    return x


@lru_cache(512)
def fitted(
    op: str, rank: int, x: Spec, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil: bool,
) -> dict[str, Any]:  # fmt: skip
    """The parameters of pooling what fits; raises for what does not."""
    kernel = numbers(op, "kernel_size", kernel_size, rank, 1)
    same = stride is None or (isinstance(stride, tuple) and not stride)
    steps = kernel if same else numbers(op, "stride", stride, rank, 1)
    pads = numbers(op, "padding", padding, rank, 0)
    wide = numbers(op, "dilation", dilation, rank, 1)
    need(all(2 * p <= d * (k - 1) + 1 for p, k, d in zip(pads, kernel, wide)), op,
         padding=pads, kernel_size=kernel, dilation=wide,
         want="at most half of the kernel as padding", fix="padding=kernel_size // 2",
         error=ValueError)  # fmt: skip
    each = zip(x.shape[x.ndim - rank :], kernel, steps, pads, wide)
    shape = tuple([count(*one, ceil) for one in each])
    need(all(n > 0 for n in shape), op, input=x, kernel_size=kernel, padding=pads,
         want="windows no longer than the padded input", fix="a smaller kernel_size")  # fmt: skip
    return {"kernel": kernel, "stride": steps, "padding": pads, "dilation": wide, "shape": shape}


def hashable(given: Any) -> Any:
    """Numbers as they are remembered with what they gave."""
    return tuple(given) if isinstance(given, list) else given


def _fitted(op: str, rank: int, x: Any, *options: Any) -> dict[str, Any]:
    return dict(fitted(op, rank, Spec(x.shape, x.dtype), *map(hashable, options)))


# -- maxima ------------------------------------------------------------------------------------


def largest(
    op: str, rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, return_indices: bool,
) -> Any:  # fmt: skip
    x = images(op, rank, input)
    p = _fitted(op, rank, x, kernel_size, stride, padding, dilation, ceil_mode)
    found = max_pool_p.bind(x, **p)
    return (found, _flat(x, found, p)) if return_indices else found


def _flat(x: Any, y: Any, p: dict[str, Any]) -> Any:
    """The number of each window's largest element among those of its image."""
    options = {name: value for name, value in p.items() if name != "shape"}
    tap = astype(max_taps_p.bind(x, y, **options), "int64")
    rank, found, inner, size = len(p["kernel"]), None, 1, 1
    for k in reversed(range(rank)):
        place = tap // inner % p["kernel"][k] * p["dilation"][k]
        start = [q * p["stride"][k] - p["padding"][k] for q in range(p["shape"][k])]
        along = operand(start, near=x).reshape((-1, *(1,) * (rank - 1 - k)))
        part = (place + along) * size
        found = part if found is None else found + part
        inner, size = inner * p["kernel"][k], size * x.shape[x.ndim - rank + k]
    return found


def _max_entry(rank: int) -> Entry:
    return operation(oracle=cases.max_oracle(rank), samples=cases.samples(rank, "max"),
                     namespace="nn")  # fmt: skip


@_max_entry(1)
def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, L) or (C, L). `padding` never is the largest; `dilation` spreads a window;
    `ceil_mode`: windows may end behind the input. `return_indices`: also the place of each maximum
    in its flat image, the first of equal ones, to which the gradient goes. A NaN is the largest.
    Raises `ShapeError` for a window longer than the input.

    >>> max_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    tensor([[3., 2.]])
    """
    return largest("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices)  # fmt: skip


@_max_entry(2)
def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, H, W) or (C, H, W). `padding` never is the largest; `dilation` spreads a window;
    `ceil_mode`: windows may end behind the input. `return_indices`: also the place of each maximum
    in its flat image, the first of equal ones, to which the gradient goes. A NaN is the largest.
    Raises `ShapeError` for a window longer than the input.

    >>> max_pool2d([[[1.0, 3.0], [2.0, 0.0]]], 2)
    tensor([[[3.]]])
    """
    return largest("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices)  # fmt: skip


@_max_entry(3)
def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """The largest element of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, D, H, W) or (C, D, H, W). `padding` never is the largest; `dilation` spreads a
    window; `ceil_mode`: windows may end behind the input. `return_indices`: also the place of each
    maximum in its flat image, the first of equal ones, to which the gradient goes. A NaN is the
    largest. Raises `ShapeError` for a window longer than the input.

    >>> max_pool3d([[[[1.0, 3.0]]]], (1, 1, 2))
    tensor([[[[3.]]]])
    """
    return largest("max_pool3d", 3, input, kernel_size, stride, padding, dilation, ceil_mode,
                    return_indices)  # fmt: skip


# -- means -------------------------------------------------------------------------------------


def _mean(
    op: str, rank: int, input: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> Any:  # fmt: skip
    x = images(op, rank, input)
    p = _fitted(op, rank, x, kernel_size, stride, padding, 1, ceil_mode)
    need(divisor_override is None or divisor_override != 0, op, divisor_override=divisor_override,
         want="a divisor", fix="divisor_override=None", error=ValueError)  # fmt: skip
    del p["dilation"]
    return avg_pool_p.bind(x, padded=bool(count_include_pad), divisor=divisor_override, **p)


def _avg_entry(rank: int) -> Entry:
    return operation(oracle=cases.avg_oracle(rank), samples=cases.samples(rank, "avg"),
                     namespace="nn")  # fmt: skip


@_avg_entry(1)
def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    """The mean of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, L) or (C, L); `padding` zeros stand around it, and are counted where
    `count_include_pad`; `ceil_mode`: windows may end behind the input. Raises `ShapeError` for a
    window longer than the input.

    >>> avg_pool1d([[1.0, 3.0, 2.0, 0.0]], 2)
    tensor([[2., 1.]])
    """
    return _mean("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode,
                 count_include_pad, None)  # fmt: skip


@_avg_entry(2)
def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, H, W) or (C, H, W); `padding` zeros stand around it, and are counted where
    `count_include_pad`; `ceil_mode`: windows may end behind the input; `divisor_override` stands
    for the count. Raises `ShapeError` for a window longer than the input.

    >>> avg_pool2d([[[1.0, 3.0], [2.0, 0.0]]], 2)
    tensor([[[1.5]]])
    """
    return _mean("avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode,
                 count_include_pad, divisor_override)  # fmt: skip


@_avg_entry(3)
def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """The mean of each window of `kernel_size`, `stride` (kernel_size) apart.

    input is (N, C, D, H, W) or (C, D, H, W); `padding` zeros stand around it, and are counted where
    `count_include_pad`; `ceil_mode`: windows may end behind the input; `divisor_override` stands
    for the count. Raises `ShapeError` for a window longer than the input.

    >>> avg_pool3d([[[[1.0, 3.0]]]], (1, 1, 2))
    tensor([[[[2.]]]])
    """
    return _mean("avg_pool3d", 3, input, kernel_size, stride, padding, ceil_mode,
                 count_include_pad, divisor_override)  # fmt: skip


# -- norms -------------------------------------------------------------------------------------


def _normed(
    op: str, rank: int, input: Any, norm_type: float, kernel_size: Any, stride: Any,
    ceil_mode: bool,
) -> Any:  # fmt: skip
    x = images(op, rank, input)
    p = _fitted(op, rank, x, kernel_size, stride, 0, 1, ceil_mode)
    del p["dilation"]
    mean = avg_pool_p.bind(x**norm_type, padded=True, divisor=None, **p)
    total = sign(mean) * relu(absolute(mean)) * shapes.size(p["kernel"])
    return total ** (1.0 / norm_type)


def _lp_oracle(rank: int) -> Any:
    mean = cases.avg_oracle(rank)

    def oracle(
        x: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> Any:
        found = mean(x**norm_type, kernel_size, stride, 0, ceil_mode)
        each = cases.each(kernel_size, rank)
        return (found * shapes.size(each)) ** (1 / norm_type)

    return oracle


def _lp_entry(rank: int) -> Entry:
    def samples(r: Any) -> Any:
        tail = (3,) * (rank - 1)
        for lead, n, power, kernel, stride, ceil in (
            ((2, 2), 6, 2.0, 2, None, False), ((3,), 5, 3.0, 3, 2, False),
            ((1, 2), 5, 1.5, 2, 1, False), ((2, 1), 6, 2.0, (2,) * rank, 3, True),
            ((1, 1), 5, 2.0, 2, None, True), ((0, 2), 4, 2.0, 2, None, False),
        ):  # fmt: skip
            x = r.uniform(0.5, 2, *lead, n, *tail)
            how = {"norm_type": power, "kernel_size": kernel}
            yield (x,), {**how, "stride": stride, "ceil_mode": ceil}
        x = r.uniform(0.5, 2, 1, 4, *tail, 2).swapaxes(1, -1)
        yield (x,), {"norm_type": 2.0, "kernel_size": 2}
        x = r.uniform(0.5, 2, 2, 4, *(6,) * rank)[:, ::2, ..., ::-2]
        yield (x,), {"norm_type": 1.0, "kernel_size": 2}

    return operation(oracle=_lp_oracle(rank), samples=samples, namespace="nn")


@_lp_entry(1)
def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(Σ xᵖ)^(1/p) over each window of `kernel_size`, with p = `norm_type`.

    input is (N, C, L) or (C, L). Raises `ShapeError` for a window longer than the input.

    >>> lp_pool1d([[3.0, 4.0]], 2.0, 2)
    tensor([[5.]])
    """
    return _normed("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@_lp_entry(2)
def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(Σ xᵖ)^(1/p) over each window of `kernel_size`, with p = `norm_type`.

    input is (N, C, H, W) or (C, H, W). Raises `ShapeError` for a window longer than the input.

    >>> lp_pool2d([[[3.0, 4.0]]], 2.0, (1, 2))
    tensor([[[5.]]])
    """
    return _normed("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


@_lp_entry(3)
def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Any:
    """(Σ xᵖ)^(1/p) over each window of `kernel_size`, with p = `norm_type`.

    input is (N, C, D, H, W) or (C, D, H, W). Raises `ShapeError` for a window longer than the
    input.

    >>> lp_pool3d([[[[3.0, 4.0]]]], 2.0, (1, 1, 2))
    tensor([[[[5.]]]])
    """
    return _normed("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)
