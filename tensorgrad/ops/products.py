"""Products of vectors, matrices and tensors.

>>> matmul([[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0])
tensor([17., 39.])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive, public
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.complex import conj
from tensorgrad.ops.einsum import contract_p

# -- matmul ------------------------------------------------------------------------------------


def _matmul_spec(x: Spec, y: Spec) -> Spec:
    need(
        x.ndim and y.ndim,
        "matmul",
        x=x,
        y=y,
        want="at least one axis each",
        fix="x * y for a scalar",
    )
    need(
        x.shape[-1] == y.shape[-2 if y.ndim > 1 else -1],
        "matmul",
        x=x,
        y=y,
        want=f"x.shape[-1] == y.shape[{-2 if y.ndim > 1 else -1}]",
        fix="x.mT or y.mT if one of them is transposed",
    )
    batch = shapes.broadcast(x.shape[:-2], y.shape[:-2], op="matmul")
    rows = x.shape[-2:-1] if x.ndim > 1 else ()
    columns = y.shape[-1:] if y.ndim > 1 else ()
    return Spec(batch + rows + columns, dtypes.result_type(x.dtype, y.dtype))


def _matmul_left(ct: Any, out: Any, x: Any, y: Any) -> Any:
    y = conj(y)
    if y.ndim == 1:
        if x.ndim == 2:
            return contract_p.bind(ct, y, left=(0,), right=(1,), result=(0, 1))
        return ct * y if x.ndim == 1 else ct.reshape((*ct.shape, 1)) * y
    if x.ndim == 1:
        column = matmul(y, ct.reshape((*ct.shape, 1)))
        return column.reshape(column.shape[:-1])
    return matmul(ct, turned(y))


def _matmul_right(ct: Any, out: Any, x: Any, y: Any) -> Any:
    x = conj(x)
    if x.ndim == 1:
        if y.ndim == 1:
            return ct * x
        if y.ndim == 2:
            return contract_p.bind(x, ct, left=(0,), right=(1,), result=(0, 1))
        return ct.reshape((*ct.shape[:-1], 1, ct.shape[-1])) * x.reshape((-1, 1))
    if y.ndim == 1:
        column = matmul(turned(x), ct.reshape((*ct.shape, 1)))
        return column.reshape(column.shape[:-1])
    if y.ndim == 2 and x.ndim > 2:
        x, ct = (t.reshape((shapes.size(t.shape[:-1]), t.shape[-1])) for t in (x, ct))
    return matmul(turned(x), ct)


def turned(x: Any) -> Any:
    """The last two axes exchanged."""
    return x.transpose((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def _matmul_batch(inputs: Sequence[Any], batched: Sequence[bool]) -> Any:
    x, y = inputs
    ranks = [t.ndim - b for t, b in zip(inputs, batched)]
    if batched[0] and not batched[1] and y.ndim <= 2 and (ranks[0] > 1 or y.ndim == 2):
        return matmul_p.bind(x, y)
    if batched == (False, True) and x.ndim == 2 and (ranks[1] == 1 or y.shape[2:] == (1,)):
        rows = matmul_p.bind(y.reshape(y.shape[:2]), turned(x))
        return rows.reshape((*rows.shape, *y.shape[2:]))
    lead = max(*ranks, 2) - 2
    x = _framed(x, ranks[0], batched[0], lead, column=False)
    y = _framed(y, ranks[1], batched[1], lead, column=True)
    out = matmul_p.bind(x, y)
    rows = out.shape[-2:-1] if ranks[0] > 1 else ()
    columns = out.shape[-1:] if ranks[1] > 1 else ()
    return out.reshape(out.shape[:-2] + rows + columns)


def _framed(x: Any, rank: int, batched: bool, lead: int, column: bool) -> Any:
    """x as matrices below `lead` axes, and below the batch where it has one."""
    core = x.shape[batched:]
    if rank == 1:
        core = (*core, 1) if column else (1, *core)
    missing = (1,) * (lead + 2 - len(core))
    return x.reshape((x.shape[:1] if batched else ()) + missing + core)


def _matmul_samples(r: Any) -> Any:
    for a, b in (
        ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 1)), ((2, 5, 2, 3), (3,)),
        ((3,), (2, 3, 4)), ((4, 1, 2, 3), (2, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3)),
        ((0,), (0,)),
    ):  # fmt: skip
        yield (r.normal(*a), r.normal(*b)), {}
    yield (r.normal(3, 4).T, r.normal(6, 4)[::2, ::-1]), {}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3), r.normal(3, 2) - 1j * r.normal(3, 2)), {}
    yield (r.normal(2, 3) + 1j * r.normal(2, 3), r.normal(3)), {}


matmul_p: Primitive = primitive(
    "matmul",
    nin=2,
    spec=_matmul_spec,
    vjp=(_matmul_left, _matmul_right),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=_matmul_batch,
    params=False,
)
matmul = public(
    matmul_p,
    """The matrix product: out[..., i, j] = Σ_k x[..., i, k] y[..., k, j].

    A vector is a row on the left and a column on the right; leading axes broadcast. Raises
    `ShapeError` unless x.shape[-1] == y.shape[-2].
    """,
    "xy",
)
operation(
    numpy="matmul linalg.matmul",
    methods="__matmul__",
    oracle=lambda x, y: np.matmul(x, y),
    samples=_matmul_samples,
    name="matmul",
)(matmul)


# -- products in other words -------------------------------------------------------------------


def _paired(op: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Both as tensors on one device; a Python number has a dtype of its own, as NumPy has it."""
    near = a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else None
    return operand(a, (), op, near), operand(b, (), op, near)


def _pairs(*cases: tuple[tuple[int, ...], tuple[int, ...]]) -> Any:
    """Samples of two arrays of these shapes, one pair complex, one not contiguous."""

    def samples(r: Any) -> Any:
        for a, b in cases:
            yield (r.normal(*a), r.normal(*b)), {}
        a, b = cases[0]
        yield (r.normal(*a) + 1j * r.normal(*a), r.normal(*b) - 1j * r.normal(*b)), {}
        yield (r.normal(*a[::-1]).T, r.normal(*b, 2)[..., 0]), {}

    return samples


@operation(
    numpy="dot",
    methods="dot",
    oracle="dot",
    samples=_pairs(
        ((3,), (3,)), ((), (3,)), ((3, 2), ()), ((2, 3), (3, 4)), ((2, 3), (3,)), ((3,), (3, 2)),
        ((2, 3), (4, 3, 2)), ((4, 2, 3), (2, 3, 2)), ((0,), (0,)),
    ),
)  # fmt: skip
def dot(a: Any, b: Any) -> Tensor:
    """Σ over the last axis of a and the last but one of b (its only one); a number multiplies."""
    a, b = _paired("dot", a, b)
    if not a.ndim or not b.ndim:
        return a * b  # type: ignore[no-any-return]
    if b.ndim <= 2:
        return matmul(a, b)  # type: ignore[no-any-return]
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))  # type: ignore[no-any-return]


@operation(
    numpy="inner",
    oracle="inner",
    samples=_pairs(
        ((3,), (3,)), ((), (3,)), ((3, 2), ()), ((2, 3), (4, 3)), ((2, 3), (3,)), ((3,), (2, 3)),
        ((2, 3), (4, 2, 3)), ((0, 3), (2, 3)),
    ),
)  # fmt: skip
def inner(a: Any, b: Any) -> Tensor:
    """Σ over the last axes of a and b; a number multiplies."""
    a, b = _paired("inner", a, b)
    if not a.ndim or not b.ndim:
        return a * b  # type: ignore[no-any-return]
    return tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 1,)))  # type: ignore[no-any-return]


@operation(
    numpy="vdot",
    oracle="vdot",
    samples=_pairs(
        ((3,), (3,)), ((), ()), ((2, 3), (2, 3)), ((2, 3), (3, 2)), ((6,), (2, 3)), ((0,), (0,)),
    ),
)  # fmt: skip
def vdot(a: Any, b: Any) -> Tensor:
    """Σ conj(a) b over all elements, in C order."""
    a, b = _paired("vdot", a, b)
    need(a.size == b.size, "vdot", a=a, b=b, want="as many elements", fix="vecdot to broadcast")
    return matmul(conj(a.reshape((a.size,))), b.reshape((b.size,)))  # type: ignore[no-any-return]


@operation(
    numpy="vecdot linalg.vecdot",
    oracle=lambda a, b, axis=-1: np.sum(np.conj(a) * b, axis=axis),
    samples=lambda r: [
        *_pairs(
            ((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((4, 1, 3), (2, 3)), ((0, 3), (3,)),
            ((2, 0), (2, 0)),
        )(r),
        ((r.normal(3, 2), r.normal(3, 2)), {"axis": 0}),
    ],
)  # fmt: skip
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """Σ conj(x1) x2 over one axis; the other axes broadcast."""
    x1, x2 = _paired("vecdot", x1, x2)
    shapes.axis_index(axis, min(x1.ndim, x2.ndim) or 1, "vecdot")
    need(
        x1.ndim and x2.ndim and x1.shape[axis] == x2.shape[axis],
        "vecdot",
        x1=x1,
        x2=x2,
        want=f"the same length on axis {axis}",
        fix="x1 * x2 for numbers",
    )
    found: Any = conj(x1) * x2
    kept = found.dtype if found.dtype.kind in "biu" else None  # sums of integers are wider
    return found.sum(axis=axis, dtype=kept)  # type: ignore[no-any-return]


@operation(
    numpy="outer",
    oracle="outer",
    samples=_pairs(
        ((3,), (2,)), ((), (3,)), ((2, 2), (3,)), ((3,), (2, 2)), ((0,), (3,)), ((1,), (1,)),
    ),
)  # fmt: skip
def outer(a: Any, b: Any) -> Tensor:
    """a[i] b[j] for all pairs of elements, flattened in C order.

    >>> outer([1.0, 2.0], [3.0, 4.0])
    tensor([[3., 4.],
            [6., 8.]])
    """
    a, b = _paired("outer", a, b)
    flat = a.reshape((a.size,)), b.reshape((b.size,))
    return contract_p.bind(*flat, left=(0,), right=(1,), result=(0, 1))  # type: ignore[no-any-return]


@operation(
    numpy="kron",
    oracle="kron",
    samples=_pairs(
        ((3,), (2,)), ((), (3,)), ((2, 2), (3,)), ((3,), (2, 2)), ((2, 3), (3, 2)),
        ((2, 1, 2), (3,)),
    ),
)  # fmt: skip
def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product: the blocks a[i, j] b."""
    a, b = _paired("kron", a, b)
    ndim = max(a.ndim, b.ndim)
    left = (1,) * (ndim - a.ndim) + a.shape
    right = (1,) * (ndim - b.ndim) + b.shape
    even, odd = tuple(range(0, 2 * ndim, 2)), tuple(range(1, 2 * ndim, 2))
    both = contract_p.bind(
        a.reshape(left), b.reshape(right), left=even, right=odd, result=tuple(range(2 * ndim))
    )
    shape = tuple(m * n for m, n in zip(left, right))
    return both.reshape(shape)  # type: ignore[no-any-return]


def _tensordot_samples(r: Any) -> Any:
    yield (r.normal(2, 3, 4), r.normal(3, 4, 2)), {}
    yield (r.normal(2, 3), r.normal(3, 4)), {"axes": 1}
    yield (r.normal(2, 3), r.normal(2)), {"axes": 0}
    yield (r.normal(2, 3, 4), r.normal(4, 3, 5)), {"axes": ([1, 2], [1, 0])}
    yield (r.normal(2, 3, 4), r.normal(3, 5)), {"axes": (1, 0)}
    yield (r.normal(2, 3), r.normal(5, 3)), {"axes": (-1, -1)}
    yield (r.normal(0, 3), r.normal(3, 2)), {"axes": 1}
    yield (r.normal(2, 0), r.normal(0, 2)), {"axes": 1}
    yield (r.normal(), r.normal(3)), {"axes": 0}
    yield (r.normal(3, 2).T, r.normal(6, 2)[::2, ::-1]), {"axes": 1}


@operation(
    numpy="tensordot linalg.tensordot",
    oracle="tensordot",
    samples=_tensordot_samples,
)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """Σ over pairs of axes: the last n of a with the first n of b, or (axes of a, axes of b).

    The result has a's other axes, then b's. Raises `ShapeError` where paired lengths differ.

    >>> tensordot([[1.0, 2.0]], [[3.0], [4.0]], axes=1)
    tensor([[11.]])
    """
    a, b = _paired("tensordot", a, b)
    of_a, of_b = _contracted(axes, a, b)
    need(
        [a.shape[k] for k in of_a] == [b.shape[k] for k in of_b],
        "tensordot",
        a=a,
        b=b,
        axes=axes,
        want="the same length on each pair of axes",
        fix="axes=([axes of a], [axes of b])",
    )
    free_a = [k for k in range(a.ndim) if k not in of_a]
    free_b = [k for k in range(b.ndim) if k not in of_b]
    shape = tuple(a.shape[k] for k in free_a) + tuple(b.shape[k] for k in free_b)
    inside = shapes.size(tuple(a.shape[k] for k in of_a))
    left = a.transpose((*free_a, *of_a)).reshape((-1 if inside else _count(a, free_a), inside))
    right = b.transpose((*of_b, *free_b)).reshape((inside, -1 if inside else _count(b, free_b)))
    return matmul(left, right).reshape(shape)  # type: ignore[no-any-return]


def _count(x: Any, axes: Sequence[int]) -> int:
    return shapes.size(tuple(x.shape[k] for k in axes))


def _contracted(axes: Any, a: Any, b: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of a and of b that are paired, in order."""
    if isinstance(axes, int):
        if axes > min(a.ndim, b.ndim) or axes < 0:
            raise ShapeError(
                f"tensordot: got axes={axes} for {a.ndim} and {b.ndim} axes, expected at most "
                "what both have; try axes=1"
            )
        return tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    pair = [(one,) if isinstance(one, int) else tuple(one) for one in axes]
    need(len(pair) == 2, "tensordot", axes=axes, want="a number or two lists", fix="axes=1")
    of_a = tuple(shapes.axis_index(k, a.ndim, "tensordot") for k in pair[0])
    of_b = tuple(shapes.axis_index(k, b.ndim, "tensordot") for k in pair[1])
    need(
        len(of_a) == len(of_b) and len(set(of_a)) == len(of_a) and len(set(of_b)) == len(of_b),
        "tensordot",
        axes=axes,
        want="as many axes of a as of b, each once",
        fix="axes=([0], [1])",
    )
    return of_a, of_b
