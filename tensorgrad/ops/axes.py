"""Operations that permute, reverse and shift axes."""

from __future__ import annotations

from typing import Any

from tensorgrad import shapes
from tensorgrad._errors import ShapeError, need
from tensorgrad.core.primitive import Primitive, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.order import transpose_p
from tensorgrad.ops.shape import Sizes, reshape, sizes

# -- permutations ------------------------------------------------------------------------------


def _permutations(r: Any) -> Any:
    for shape, axes in (
        ((), None), ((5,), None), ((3, 4), None), ((2, 3, 4), (1, 2, 0)), ((2, 3, 4), (-1, 0, 1)),
        ((0, 3), (1, 0)), ((1, 3, 1), (2, 0, 1)), ((3, 3), (0, 1)),
    ):  # fmt: skip
        yield (r.normal(*shape), axes), {}
    yield (r.normal(6, 4)[::2, ::-1], (1, 0)), {}


@operation(numpy="transpose", methods="transpose", oracle="transpose", samples=_permutations)
def transpose(a: Any, axes: Any = None, *more: int) -> Any:
    """The array with its axes in another order (without `axes`, reversed); a view.

    Raises `ShapeError` unless each axis is named once.

    >>> transpose([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 3.],
            [2., 4.]])
    """
    a = operand(a)
    if axes is None:
        order = tuple(range(a.ndim - 1, -1, -1))
    else:
        order = sizes((axes, *more) if more else axes)
        order = tuple([k + a.ndim if k < 0 else k for k in order])
    return transpose_p.bind(a, axes=order)


def matrices(r: Any) -> Any:
    for shape in ((3, 4), (2, 3, 4), (0, 3), (3, 0), (1, 1), (2, 1, 3, 2)):
        yield (r.normal(*shape),), {}
    yield (r.normal(4, 3).T,), {}
    yield (r.normal(6, 4)[::2, ::-1],), {}


def matrix(op: str, x: Any) -> None:
    need(x.ndim >= 2, op, x=x, want="two axes at least", fix="atleast_2d(x)")


@operation(
    numpy="matrix_transpose linalg.matrix_transpose",
    oracle=lambda x: x.swapaxes(-1, -2),
    samples=matrices,
)
def matrix_transpose(x: Any) -> Any:
    """The array with its last two axes exchanged; a view. Raises `ShapeError` below two axes."""
    x = operand(x)
    matrix("matrix_transpose", x)
    return swapaxes(x, -1, -2)


def _swaps(r: Any) -> Any:
    for shape, one, two in (
        ((5,), 0, 0), ((3, 4), 0, 1), ((2, 3, 4), 0, -1), ((2, 3, 4), 1, 1), ((0, 3), 0, 1),
        ((1, 3, 1), -1, -2), ((2, 3, 4), -3, 2),
    ):  # fmt: skip
        yield (r.normal(*shape), one, two), {}
    yield (r.normal(4, 3).T, 0, 1), {}


@operation(numpy="swapaxes", methods="swapaxes", oracle="swapaxes", samples=_swaps)
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """The array with two axes exchanged; a view."""
    a = operand(a)
    one = shapes.axis_index(axis1, a.ndim, "swapaxes")
    two = shapes.axis_index(axis2, a.ndim, "swapaxes")
    order = list(range(a.ndim))
    order[one], order[two] = two, one
    return transpose_p.bind(a, axes=tuple(order))


def _moves(r: Any) -> Any:
    for shape, source, destination in (
        ((5,), 0, 0), ((3, 4), 0, 1), ((2, 3, 4), 0, -1), ((2, 3, 4), (0, 1), (-1, 0)),
        ((0, 3), 1, 0), ((1, 3, 1), -1, 0), ((2, 3, 4), (2, 0), (0, 2)),
    ):  # fmt: skip
        yield (r.normal(*shape), source, destination), {}
    yield (r.normal(4, 3).T, 0, 1), {}


@operation(numpy="moveaxis", oracle="moveaxis", samples=_moves)
def moveaxis(a: Any, source: Sizes, destination: Sizes) -> Any:
    """The array with the axes `source` moved to the positions `destination`; a view."""
    a = operand(a)
    moved = [shapes.axis_index(k, a.ndim, "moveaxis") for k in sizes(source)]
    places = [shapes.axis_index(k, a.ndim, "moveaxis") for k in sizes(destination)]
    need(
        len(moved) == len(places) == len(set(moved)) == len(set(places)),
        "moveaxis",
        source=source,
        destination=destination,
        want="as many positions as axes, each once",
        fix="transpose",
    )
    order = [k for k in range(a.ndim) if k not in moved]
    for place, axis in sorted(zip(places, moved)):
        order.insert(place, axis)
    return transpose_p.bind(a, axes=tuple(order))


def _rolled_axes(r: Any) -> Any:
    for shape, axis, start in (
        ((5,), 0, 0), ((3, 4), 1, 0), ((2, 3, 4), 2, 0), ((2, 3, 4), 0, 3), ((2, 3, 4), -1, 1),
        ((0, 3), 1, 0), ((1, 3, 1), 0, -1), ((2, 3, 4), 1, 1), ((2, 3, 4), 1, 2),
    ):  # fmt: skip
        yield (r.normal(*shape), axis, start), {}
    yield (r.normal(4, 3).T, 1, 0), {}


@operation(numpy="rollaxis", oracle="rollaxis", samples=_rolled_axes)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """The array with an axis moved in front of position `start`; a view."""
    a = operand(a)
    axis = shapes.axis_index(axis, a.ndim, "rollaxis")
    need(-a.ndim <= start <= a.ndim, "rollaxis", a=a, start=start,
         want=f"{-a.ndim} <= start <= {a.ndim}", fix="moveaxis")  # fmt: skip
    start += a.ndim if start < 0 else 0
    return moveaxis(a, axis, start - 1 if axis < start else start)


# -- reversing and shifting --------------------------------------------------------------------

flip_p: Primitive = primitive(
    "flip",
    nin=1,
    spec=lambda x, *, axis: x,
    vjp=(lambda ct, out, x, *, axis: flip_p.bind(ct, axis=axis),),
    linear=(0,),
    batch=lambda inputs, batched, *, axis: flip_p.bind(inputs[0], axis=tuple(k + 1 for k in axis)),
    view=True,
)


def _flips(r: Any) -> Any:
    yield from (((x,), {}) for x in r.layouts(r.normal))
    yield (r.normal(3, 4),), {"axis": -1}
    yield (r.normal(2, 3, 4),), {"axis": (0, -1)}


@operation(numpy="flip", oracle="flip", samples=_flips)
def flip(m: Any, axis: shapes.Axis = None) -> Any:
    """The elements in reverse order along axes (all of them without `axis`); a view.

    >>> flip([1.0, 2.0, 3.0])
    tensor([3., 2., 1.])
    """
    m = operand(m)
    return flip_p.bind(m, axis=shapes.axes(axis, m.ndim, "flip"))


@operation(numpy="flipud", oracle="flipud", samples=matrices)
def flipud(m: Any) -> Any:
    """The array upside down: axis 0 reversed; a view."""
    m = operand(m)
    need(m.ndim, "flipud", m=m, want="one axis at least", fix="flip(m)")
    return flip_p.bind(m, axis=(0,))


@operation(numpy="fliplr", oracle="fliplr", samples=matrices)
def fliplr(m: Any) -> Any:
    """The array with left and right exchanged: axis 1 reversed; a view."""
    m = operand(m)
    matrix("fliplr", m)
    return flip_p.bind(m, axis=(1,))


def _turns(r: Any) -> Any:
    for k, x in enumerate(matrices(r)):
        yield x[0], {"k": k - 2}
    yield (r.normal(2, 3, 4),), {"k": 1, "axes": (2, 0)}
    yield (r.normal(2, 3, 4),), {"k": 3, "axes": (-1, 1)}


@operation(numpy="rot90", oracle="rot90", samples=_turns)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """The array turned k times by 90 degrees in a plane, from its first axis to its second; a view.

    >>> rot90([[1.0, 2.0], [3.0, 4.0]])
    tensor([[2., 4.],
            [1., 3.]])
    """
    m, plane = operand(m), sizes(axes)
    need(len(plane) == 2, "rot90", axes=axes, want="two axes", fix="axes=(0, 1)")
    one, two = (shapes.axis_index(axis, m.ndim, "rot90") for axis in plane)
    need(one != two, "rot90", axes=axes, want="two different axes", fix="axes=(0, 1)")
    quarter = k % 4
    if quarter in (0, 2):
        return flip_p.bind(m, axis=(one, two) if quarter else ())
    if quarter == 1:
        return swapaxes(flip_p.bind(m, axis=(two,)), one, two)
    return flip_p.bind(swapaxes(m, one, two), axis=(two,))


roll_p: Primitive = primitive(
    "roll",
    nin=1,
    spec=lambda x, *, shift, axis: x,
    vjp=(
        lambda ct, out, x, *, shift, axis: roll_p.bind(
            ct, shift=tuple(-k for k in shift), axis=axis
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, shift, axis: roll_p.bind(
        inputs[0], shift=shift, axis=tuple(k + 1 for k in axis)
    ),
)


def _rolls(r: Any) -> Any:
    for shape, shift, axis in (
        ((), 1, None), ((5,), 2, None), ((3, 4), 1, None), ((3, 4), -1, 0), ((3, 4), 7, -1),
        ((2, 3, 4), (1, 2), (0, -1)), ((3, 4), 1, (0, 1)), ((3, 4), (1, 2), (1, 1)),
        ((0, 3), 1, 1), ((3, 4), (1, 2), 0),
    ):  # fmt: skip
        yield (r.normal(*shape), shift), {"axis": axis}
    yield (r.normal(4, 3).T, 1), {"axis": 0}


@operation(numpy="roll", oracle="roll", samples=_rolls)
def roll(a: Any, shift: Sizes, axis: Sizes | None = None) -> Any:
    """The elements shifted along axes, in at the front what falls out behind; flat without axis.

    Raises `ShapeError` for several shifts and another number of axes.

    >>> roll([1.0, 2.0, 3.0], 1)
    tensor([3., 1., 2.])
    """
    a = operand(a)
    if axis is None:
        flat = roll_p.bind(reshape(a, (a.size,)), shift=(sum(sizes(shift)),), axis=(0,))
        return reshape(flat, a.shape)
    steps, axes = sizes(shift), sizes(axis)
    if 1 not in (len(steps), len(axes)) and len(steps) != len(axes):
        raise ShapeError(
            f"roll: got {len(steps)} shifts and {len(axes)} axes, expected as many, or a single "
            "one of either; try a shift for each axis"
        )
    count = len(axes) if len(steps) == 1 else len(steps)
    steps = steps * count if len(steps) == 1 else steps
    axes = axes * count if len(axes) == 1 else axes
    axes = tuple([shapes.axis_index(k, a.ndim, "roll") for k in axes])
    return roll_p.bind(a, shift=steps, axis=axes)
