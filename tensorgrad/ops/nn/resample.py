"""`interpolate`: images of another size, one axis after the other."""

from __future__ import annotations

import math
from typing import Any

from tensorgrad import dtypes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.resampling import Resampling
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.nn import adaptive_pool
from tensorgrad.ops.nn import resample_cases as cases


def _resampled(x: Spec, *, plan: Resampling, axis: int, adjoint: bool) -> Spec:
    size = plan.source if adjoint else plan.target
    return Spec((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype)


resample_p: Primitive = primitive(
    "resample",
    nin=1,
    spec=_resampled,
    vjp=(
        lambda ct, out, x, *, plan, axis, adjoint: resample_p.bind(
            ct, plan=plan, axis=axis, adjoint=not adjoint
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, plan, axis, adjoint: resample_p.bind(
        inputs[0], plan=plan, axis=axis + 1, adjoint=adjoint
    ),
)
"""Σ_t weight[t] x[index[t]] along an axis, or the adjoint; see backend/resampling.py."""

RANKS = {
    "nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
    "bilinear": (2,), "bicubic": (2,), "trilinear": (3,),
}  # fmt: skip
"""How many spatial axes each mode is for."""

_AXIS = {"linear": "linear", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}
_AREA = (
    adaptive_pool.adaptive_avg_pool1d,
    adaptive_pool.adaptive_avg_pool2d,
    adaptive_pool.adaptive_avg_pool3d,
)
_OP = "interpolate"


def _each(name: str, given: Any, rank: int) -> tuple[Any, ...]:
    found = tuple(given) if isinstance(given, tuple | list) else (given,) * rank
    need(len(found) == rank and all(n > 0 for n in found), _OP, **{name: given},
         want=f"a number above 0, or {rank} of them", fix=f"{name}=2")  # fmt: skip
    return found


def _sizes(
    x: Tensor, size: Any, scale_factor: Any, recompute: Any
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The spatial axes of the result, and how many elements of x lie between two of them."""
    rank = x.ndim - 2
    need((size is None) != (scale_factor is None), _OP, size=size, scale_factor=scale_factor,
         want="one of them", fix="scale_factor=2", error=ValueError)  # fmt: skip
    if size is not None:
        need(not recompute, _OP, size=size, recompute_scale_factor=recompute,
             want="a scale_factor with it", fix="recompute_scale_factor=None",
             error=ValueError)  # fmt: skip
        target = _each("size", size, rank)
        need(all(hasattr(n, "__index__") for n in target), _OP, size=size, want="whole numbers",
             fix="scale_factor=", error=ValueError)  # fmt: skip
        return target, tuple([n / m for n, m in zip(x.shape[2:], target)])
    factors = _each("scale_factor", scale_factor, rank)
    target = tuple([math.floor(n * f) for n, f in zip(x.shape[2:], factors)])
    need(all(m > 0 for m in target), _OP, input=x, scale_factor=scale_factor,
         want="a result with elements", fix="a larger scale_factor")  # fmt: skip
    if recompute:
        return target, tuple([n / m for n, m in zip(x.shape[2:], target)])
    return target, tuple([1 / f for f in factors])


def _checked(input: Any, mode: str, align_corners: Any, antialias: bool) -> Tensor:
    x = operand(input, (), _OP)
    need(mode in RANKS, _OP, mode=mode, want=f"one of {' '.join(RANKS)}", fix='mode="nearest"',
         error=ValueError)  # fmt: skip
    need(x.ndim - 2 in RANKS[mode], _OP, input=x, mode=mode,
         want=f"{' or '.join(str(n + 2) for n in RANKS[mode])} axes, batch and channels first",
         fix="input[None]" if x.ndim < 5 else 'mode="trilinear"')  # fmt: skip
    need(dtypes.is_float(x.dtype), _OP, input=x, want="floats", fix='input.astype("float32")',
         error=DTypeError)  # fmt: skip
    need(all(x.shape[2:]), _OP, input=x, want="elements on every spatial axis",
         fix="an image")  # fmt: skip
    need(align_corners is None or mode in _AXIS, _OP, mode=mode, align_corners=align_corners,
         want="align_corners with linear, bilinear, bicubic or trilinear",
         fix="align_corners=None", error=ValueError)  # fmt: skip
    need(not antialias or mode in ("bilinear", "bicubic"), _OP, mode=mode, antialias=antialias,
         want="antialias with bilinear or bicubic", fix='mode="bilinear"',
         error=ValueError)  # fmt: skip
    return x


@operation(oracle=cases.oracle, samples=cases.samples, namespace="nn")
def interpolate(
    input: Any, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:  # fmt: skip
    """An image (N, C, L), (N, C, H, W) or (N, C, D, H, W) at `size`, or `scale_factor` times it.

    mode "nearest", "nearest-exact", "area" for any of them, "linear", "bilinear", "bicubic" (Keys
    1981, a = -3/4), "trilinear" for theirs. align_corners: the corners' centres stay where they
    are, else the image's edges do. antialias: the kernel is as wide as the step, when it shrinks.
    The step is 1 / scale_factor, with recompute_scale_factor that of the sizes. Raises
    `ShapeError`, `DTypeError`, and `ValueError` for options that do not go together.

    >>> interpolate([[[1.0, 3.0]]], size=4, mode="linear")
    tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    x = _checked(input, mode, align_corners, antialias)
    target, steps = _sizes(x, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return _AREA[x.ndim - 3](x, target)  # type: ignore[no-any-return]
    corners, wide = bool(align_corners), x.dtype == dtypes.float64
    kind = mode if antialias else _AXIS.get(mode, mode)
    # The axis that shrinks most first, and of equals the last, whose elements cost most to pick.
    order = sorted(range(len(target)), key=lambda k: (target[k] / x.shape[k + 2], -k))
    for k in order:
        n, m, step = x.shape[k + 2], target[k], steps[k]
        if corners:
            step = (n - 1) / (m - 1) if m > 1 else 0.0
        plan = Resampling(kind, n, int(m), step, corners and not antialias, wide)
        if n != m or step != 1:
            x = resample_p.bind(x, plan=plan, axis=k + 2, adjoint=False)
    return x
