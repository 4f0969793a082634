"""New tensors from numbers: constants, unless `requires_grad` makes them leaves of the tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DeviceError, DTypeError, GradientError, need
from tensorgrad.backend import base
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor, make
from tensorgrad.core.watch import source
from tensorgrad.ops.shape import broadcast_to, whole

Shape = int | Sequence[int]


def extents(op: str, shape: Any) -> shapes.Shape:
    """A shape as a tuple of lengths, each checked."""
    found = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    lengths = tuple(whole(op, size) for size in found)
    need(all(k >= 0 for k in lengths), op, shape=shape, want="lengths >= 0", fix="shape=()")
    return lengths


def leaf(x: Tensor, requires_grad: bool) -> Tensor:
    """x itself, made a leaf of the tape if that is wanted."""
    if requires_grad:
        x.requires_grad = True
    return x


def _cases(*cases: Any) -> Any:
    """Samples given as they are: tuples of arguments, the options last where there is a dict."""
    split = [(c[:-1], c[-1]) if isinstance(c[-1], dict) else (c, {}) for c in cases]
    return lambda r: iter(split)


_SHAPES = _cases(
    (3,), ((),), ((3,),), ((2, 3),), ([2, 3],), ((0, 3),), ((2, 1, 3),), ((2, 3), {"dtype": "f4"}),
    ((2,), {"dtype": "i8"}),
)  # fmt: skip


# -- from values -------------------------------------------------------------------------------


def _value_samples(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x,), {}
    for value in (1, 2.5, True, 1j, [1, 2], [[1.0, 2.0], [3.0, 4.0]], r.bools(3), []):
        yield (value,), {}
    yield ([1, 2],), {"dtype": "float32"}


def _like_oracle(x: Any, dtype: Any = None) -> Any:
    return np.array(x, dtype)


@operation(oracle=_like_oracle, samples=_value_samples, orders=0)
def tensor(
    data: Any, dtype: Any = None, *, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A new tensor with a copy of `data`: numbers, nested lists of them, an array, a tensor.

    dtype None keeps that of the data (Python floats: float64). Raises `GradientError` for a tensor
    on the tape: a new tensor has no past, so its gradient would be cut silently.

    >>> tensor([1.0, 2.0])
    tensor([1., 2.])
    """
    if isinstance(data, Tensor) and data.node is not None:
        raise GradientError(
            "tensor: got a tensor on the tape, expected a value without a past; "
            "try x.detach() for a constant, or tg.asarray(x) to keep the gradient"
        )
    if device is not None and hasattr(data, "dtype"):
        found: Tensor = asarray(data, dtype).to(device)
    else:
        found = asarray(data, dtype, device=device)
    if found.level:
        return found
    given = data.data if isinstance(data, Tensor) else data
    fresh = isinstance(given, list | tuple | bool | int | float | complex)
    if not fresh:
        found = make(source("tensor", base.of(found.data).kernel("copied"))(found.data))
    return leaf(found, requires_grad)


@operation(oracle=_like_oracle, samples=_value_samples)
def asarray(
    a: Any,
    dtype: Any = None,
    *,
    device: str | None = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`a` as a tensor, sharing memory with an array of that dtype; a copy of a list.

    A tensor is returned as it is, or cast, with its place on the tape. copy True is always a copy,
    False never: `ValueError` where it takes one. Raises `DeviceError` for an array of another
    device.
    """
    given = a
    if isinstance(a, list | tuple):
        device = _home(a) if device is None else device
        a = _nested(a)
    if isinstance(a, Tensor):
        found: Any = a if dtype is None else a.astype(dtype, copy=False)
    elif device is None or hasattr(a, "dtype"):
        found = make(base.asarray(a, dtype))
    else:
        found = make(base.on(device).asarray(a, dtype))
    need(
        device is None or found.device == base.on(device).device,
        "asarray",
        device=found.device,
        want=f"an array on {device}",
        fix=f"x.to({str(device)!r})",
        error=DeviceError,
    )
    return leaf(found if copy is None else _owned(given, found, copy), requires_grad)


def _owned(given: Any, found: Any, copy: bool) -> Any:
    """`found` as `copy` wants it: in memory of its own, or in that of `given`."""
    same = found is given or _shares(given, found)
    need(copy or same, "asarray", a=given, copy=copy, want="an array of that dtype",
         fix="copy=None", error=ValueError)  # fmt: skip
    return found.copy() if copy and same else found


def _shares(given: Any, found: Any) -> bool:
    """Whether a tensor lies in the memory of the array or buffer that it was made from."""
    if isinstance(given, Tensor):
        return False
    if base.known(type(given)) is not None:
        return base.bounds(given) == base.bounds(found.data)
    try:
        return bool(memoryview(given).nbytes == found.nbytes)
    except TypeError:
        return False


def _nested(value: Any) -> Any:
    """Nested lists with their tensors as NumPy arrays."""
    if isinstance(value, list | tuple):
        return [_nested(one) for one in value]
    return base.to_numpy(value._off_tape("tensor")) if isinstance(value, Tensor) else value


def _home(value: Any) -> str | None:
    """The device of the first tensor in nested lists; None where there is none."""
    if isinstance(value, list | tuple):
        return next((found for found in map(_home, value) if found is not None), None)
    return value.device if isinstance(value, Tensor) else None


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array; raises `DTypeError` for anything else."""
    need(
        type(array) is base.on("cpu").array_type,
        "from_numpy",
        array=array,
        want="a NumPy array",
        fix="tg.tensor(x)",
        error=DTypeError,
    )
    return make(base.asarray(array))


# -- filled ------------------------------------------------------------------------------------


@operation(oracle=lambda s, dtype=None: np.zeros(s, dtype), samples=_SHAPES, orders=0)
def zeros(
    shape: Shape,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of a shape; float64 unless `dtype` says otherwise.

    >>> zeros(3)
    tensor([0., 0., 0.])
    """
    dt = dtypes.dtype(dtype or "float64")
    made = source("zeros", base.on(device).kernel("zeroed"))(extents("zeros", shape), dt)
    return leaf(make(made), requires_grad)


@operation(oracle=lambda s, dtype=None: np.ones(s, dtype), samples=_SHAPES, orders=0)
def ones(
    shape: Shape,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of a shape; float64 unless `dtype` says otherwise."""
    return full(shape, 1, dtype or "float64", device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


@operation(
    oracle="full",
    samples=_cases(
        (3, 1.5), ((), 2), ((2, 3), True), ((0, 3), 1), ((2, 1, 3), 1j), ([2, 3], 7), ((4,), -0.5),
        ((2, 3), 2, {"dtype": "f4"}),
    ),
    orders=0,
)  # fmt: skip
def full(
    shape: Shape,
    fill_value: Any,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A shape filled with one value, a number or 0-d array; of the value's dtype by default."""
    value = asarray(fill_value, dtype)
    need(not value.ndim, "full", fill_value=value, want="one number", fix="tg.broadcast_to(x, s)")
    if value.node is not None or value.level:  # keeps its gradient
        return leaf(broadcast_to(value, extents("full", shape)).copy(), requires_grad)
    fill = source("full", base.on(device).full)
    array = fill(extents("full", shape), value.item(), value.dtype)
    return leaf(make(array), requires_grad)


@operation(oracle=lambda s, dtype=None: np.zeros(s, dtype), samples=_SHAPES, orders=0)
def empty(
    shape: Shape,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written to, of a shape; its values are unspecified. float64 by default."""
    return zeros(shape, dtype, device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


def _like(x: Any, dtype: Any, shape: Any, device: Any) -> tuple[Any, Any, str]:
    x = operand(x)
    chosen = x.dtype if dtype is None else dtypes.dtype(dtype)
    return x.shape if shape is None else shape, chosen, x.device if device is None else device


_LIKE = {"samples": lambda r: r.singles(-2, 2), "orders": 0}


@operation(numpy="zeros_like", oracle="zeros_like", **_LIKE)  # type: ignore[arg-type]
def zeros_like(
    a: Any,
    dtype: Any = None,
    *,
    shape: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Zeros of the shape, dtype and device of another, where they are not given."""
    size, chosen, device = _like(a, dtype, shape, device)
    return full(size, 0, chosen, device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


@operation(numpy="ones_like", oracle="ones_like", **_LIKE)  # type: ignore[arg-type]
def ones_like(
    a: Any,
    dtype: Any = None,
    *,
    shape: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones of the shape, dtype and device of another, where they are not given."""
    size, chosen, device = _like(a, dtype, shape, device)
    return full(size, 1, chosen, device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


@operation(
    numpy="full_like",
    oracle="full_like",
    samples=lambda r: [((x, r.normal()), {}) for x in r.layouts(r.normal)],
)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    *,
    shape: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """One value in the shape, dtype and on the device of another."""
    size, chosen, device = _like(a, dtype, shape, device)
    return full(size, fill_value, chosen, device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


@operation(numpy="empty_like", oracle="zeros_like", **_LIKE)  # type: ignore[arg-type]
def empty_like(
    a: Any,
    dtype: Any = None,
    *,
    shape: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor to be written to, of the shape, dtype and device of another."""
    size, chosen, device = _like(a, dtype, shape, device)
    return empty(size, chosen, device=device, requires_grad=requires_grad)  # type: ignore[no-any-return]


# -- sequences and matrices --------------------------------------------------------------------


@operation(
    oracle="arange",
    samples=_cases(
        (5,), (0,), (2, 7), (2, 7, 2), (7, 2, -2), (0.0, 1.0, 0.25), (5.0,), (3, 3),
        (5, {"dtype": "float32"}),
    ),
    orders=0,
)  # fmt: skip
def arange(
    start: Any,
    stop: Any = None,
    step: Any = 1,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step ... below stop; arange(stop) starts at 0. int64 for integers.

    >>> arange(2, 8, 2)
    tensor([2, 4, 6])
    """
    if stop is None:
        start, stop = 0, start
    need(step, "arange", step=step, want="a step that is not 0", fix="step=1")
    chosen = None if dtype is None else dtypes.dtype(dtype)
    made = source("arange", base.on(device).kernel("arange"))(start, stop, step, chosen)
    return leaf(make(made), requires_grad)


_MATRICES = _cases(
    (3,), (0,), (2, 3), (3, 2), (3, 3, 1), (3, 4, -1), (1, 1), (2, 3, {"dtype": "float32"}),
    (2, 5, 9),
)  # fmt: skip


@operation(oracle="eye", samples=_MATRICES, orders=0)
def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The N x M matrix with ones on its k-th diagonal; float64 by default."""
    n, m = extents("eye", (N, N if M is None else M))
    made = source("eye", base.on(device).kernel("eye"))(n, m, k, dtypes.dtype(dtype or "float64"))
    return leaf(make(made), requires_grad)


@operation(oracle="tri", samples=_MATRICES, orders=0)
def tri(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = None,
    *,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The N x M matrix with ones on and below its k-th diagonal; float64 by default."""
    n, m = extents("tri", (N, N if M is None else M))
    made = source("tri", base.on(device).kernel("tri"))(n, m, k, dtypes.dtype(dtype or "float64"))
    return leaf(make(made), requires_grad)


# -- one-hot -----------------------------------------------------------------------------------

one_hot_p: Primitive = primitive(
    "one_hot",
    nin=1,
    spec=lambda x, *, classes, dtype: Spec((*x.shape, classes), dtype),
    batch=lambda inputs, batched, **params: one_hot_p.bind(*inputs, **params),
)


def _labels(r: Any) -> Any:
    for labels in (
        r.integers(0, 4), r.integers(0, 4, 5), r.integers(0, 4, 2, 3), r.integers(0, 4, 0),
        r.integers(0, 4, 2, 1, 3), r.integers(0, 4, 6)[::2], r.integers(0, 4, 2, 3).T,
    ):  # fmt: skip
        yield (labels, 4), {}
    yield (r.integers(0, 3, 4), 3), {"dtype": "float32"}


@operation(oracle=lambda x, n, dtype="int64": np.eye(n, dtype=dtype)[x], samples=_labels, orders=0)
def one_hot(labels: Any, num_classes: int = -1, dtype: Any = None) -> Tensor:
    """1 at each label and 0 elsewhere, the classes on a new last axis; int64 unless told.

    num_classes -1 is the largest label + 1. Raises `ShapeError` that names a label out of range.

    >>> one_hot([0, 2], 3)
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    x: Any = operand(labels, (), "one_hot")
    need(
        x.dtype.kind in "iu",
        "one_hot",
        labels=x,
        want="integer labels",
        fix="labels.astype(int)",
        error=DTypeError,
    )
    if num_classes < 0:
        need(x.size, "one_hot", labels=x, want="num_classes", fix="one_hot(labels, 10)")
        num_classes = int(x.max().item()) + 1
    return one_hot_p.bind(x, classes=num_classes, dtype=dtypes.dtype(dtype or "int64"))  # type: ignore[no-any-return]
