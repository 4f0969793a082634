"""`pad`: every mode of NumPy, axis after axis, each with the borders of the axes before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend.borders import Widths
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Tensor
from tensorgrad.ops.elementwise import floor, rint
from tensorgrad.ops.extremes import max, min
from tensorgrad.ops.join import concatenate, pad_p
from tensorgrad.ops.quantile import median
from tensorgrad.ops.reduce import mean
from tensorgrad.ops.shape import astype, broadcast_to, copy, whole
from tensorgrad.ops.slicing import index_p
from tensorgrad.ops.splitting import piece

Pairs = tuple[tuple[Any, Any], ...]

# -- borders of the array's own elements -------------------------------------------------------


def _outer(shape: Any, widths: Widths) -> tuple[int, ...]:
    return tuple([low + size + high for size, (low, high) in zip(shape, widths)])


def _inner(shape: Any, widths: Widths) -> tuple[int, ...]:
    return tuple([size - low - high for size, (low, high) in zip(shape, widths)])


extend_p: Primitive = primitive(
    "extend",
    nin=1,
    spec=lambda x, *, widths, mode: Spec(_outer(x.shape, widths), x.dtype),
    vjp=(lambda ct, out, x, *, widths, mode: fold_p.bind(ct, widths=widths, mode=mode),),
    linear=(0,),
    batch=lambda inputs, batched, *, widths, mode: extend_p.bind(
        inputs[0], widths=((0, 0), *widths), mode=mode
    ),
)

fold_p: Primitive = primitive(
    "fold",
    nin=1,
    spec=lambda ct, *, widths, mode: Spec(_inner(ct.shape, widths), ct.dtype),
    vjp=(lambda ct, out, x, *, widths, mode: extend_p.bind(ct, widths=widths, mode=mode),),
    linear=(0,),
    batch=lambda inputs, batched, *, widths, mode: fold_p.bind(
        inputs[0], widths=((0, 0), *widths), mode=mode
    ),
)


def _odd(a: Any, axis: int, low: int, high: int, mode: str) -> Any:
    """Reflected about its ends: 2 end - reflection, as often as the border asks for it."""
    edge, period = int(mode == "symmetric"), a.shape[axis] - int(mode != "symmetric")
    if not period:
        return extend_p.bind(a, widths=_on_axis(a.ndim, axis, low, high), mode="edge")
    while low or high:
        size = a.shape[axis]
        most = (size - 1 + edge) // period * period
        before, after = (most if n > most else n for n in (low, high))
        first, last = _slice(a, axis, 0, 1), _slice(a, axis, size - 1, size)
        skip = 1 - edge
        left = _backwards(a, axis, skip, skip + before)
        right = _backwards(a, axis, size - skip - after, size - skip)
        parts = [2 * first - left] if before else []
        parts += [a, 2 * last - right] if after else [a]
        a, low, high = concatenate(parts, axis), low - before, high - after
    return a


def _slice(a: Any, axis: int, start: int, stop: int) -> Any:
    return index_p.bind(a, key=piece(axis, start, stop))


def _backwards(a: Any, axis: int, start: int, stop: int) -> Any:
    return index_p.bind(a, key=piece(axis, stop - 1, start - 1 if start else None, -1))


def _on_axis(ndim: int, axis: int, low: int, high: int) -> Widths:
    return tuple([(low, high) if k == axis else (0, 0) for k in range(ndim)])


# -- borders that are computed -----------------------------------------------------------------

Side = Callable[[Any, int, int, Any, bool], Any]
"""(array, axis, width, option of this side, whether it is the front) -> the border, which may have
length 1 on its axis: it is then repeated."""


def _constant(a: Any, axis: int, width: int, value: Any, front: bool) -> Any:
    value = astype(operand(value, (a,)), a.dtype, copy=False)
    return broadcast_to(value, tuple([1 if k == axis else n for k, n in enumerate(a.shape)]))


def _ramp(a: Any, axis: int, width: int, end: Any, front: bool) -> Any:
    """From the edge of the array, which is not repeated, to `end`, which is reached."""
    size = a.shape[axis]
    need(size, "pad", array=a, want="elements to start the ramp from", fix='mode="constant"')
    edge = _slice(a, axis, 0, 1) if front else _slice(a, axis, size - 1, size)
    real = dtypes.real(a.dtype) if dtypes.is_inexact(a.dtype) else dtypes.float64
    steps = [k / width for k in range(width)]
    line = astype(operand(steps if front else steps[::-1], near=a), real, copy=False)
    line = line.reshape([-1 if k == axis else 1 for k in range(a.ndim)])
    end = operand(end, (a,))
    found = end + line * (edge - end)
    return found if dtypes.is_inexact(a.dtype) else astype(floor(found), a.dtype)


def _statistic(of: Callable[..., Any]) -> Side:
    def side(a: Any, axis: int, width: int, length: Any, front: bool) -> Any:
        size = a.shape[axis]
        count = size if length is None or length > size else whole("pad", length)
        need(count > 0, "pad", array=a, stat_length=length, want="elements to take it of",
             fix="stat_length=None", error=ValueError)  # fmt: skip
        part = _slice(a, axis, 0, count) if front else _slice(a, axis, size - count, size)
        found = of(a if count == size else part, axis=axis, keepdims=True)
        exact = dtypes.is_inexact(a.dtype) or found.dtype == a.dtype
        return found if exact else astype(rint(found), a.dtype)

    return side


SIDES: dict[str, tuple[str, Side]] = {
    "constant": ("constant_values", _constant),
    "linear_ramp": ("end_values", _ramp),
    "maximum": ("stat_length", _statistic(max)),
    "mean": ("stat_length", _statistic(mean)),
    "median": ("stat_length", _statistic(median)),
    "minimum": ("stat_length", _statistic(min)),
}
"""By mode: the option that goes with it, and one side's border."""

OWN = ("edge", "reflect", "symmetric", "wrap")
"""Modes whose border consists of elements of the array."""

MODES = (*SIDES, *OWN, "empty")


def _computed(a: Any, widths: Widths, side: Side, options: Pairs) -> Any:
    for axis, (pair, given) in enumerate(zip(widths, options)):
        borders: list[Any] = []
        whole_axis = given == (None, None)  # then both sides are the same
        found: Any = None
        for front, width, option in ((True, pair[0], given[0]), (False, pair[1], given[1])):
            if not width:
                continue
            if found is None or not whole_axis:
                found = side(a, axis, width, option, front)
            shape = tuple([width if k == axis else n for k, n in enumerate(a.shape)])
            borders.append(broadcast_to(found, shape))
        if borders:
            parts = [a, *borders] if not pair[0] else [borders[0], a, *borders[1:]]
            a = concatenate(parts, axis)
    return a


# -- the public function -----------------------------------------------------------------------


def _pairs(what: str, given: Any, ndim: int) -> Pairs:
    """One pair for each axis out of a number, a pair, or a pair for each axis."""
    if isinstance(given, Tensor) and given.ndim:
        given = [one if not one.ndim else list(one) for one in given]
    if not hasattr(given, "__iter__") or isinstance(given, Tensor):
        return ((given, given),) * ndim
    found = [
        tuple(one) if hasattr(one, "__iter__") and getattr(one, "shape", True) else one
        for one in given
    ]
    if not any(isinstance(one, tuple) for one in found):
        found = [tuple(found)]
    found = [one * 2 if len(one) == 1 else one for one in found]
    found = found * ndim if len(found) == 1 else found
    need(
        len(found) == ndim and all(len(one) == 2 for one in found),
        "pad",
        **{what: given},
        want=f"a number, a pair, or {ndim} pairs",
        fix="((before, after), ...)",
    )
    return tuple(found)


def _widths(given: Any, ndim: int) -> Widths:
    """The widths before and after each axis; a dict names the axes that have some."""
    pairs = given
    if isinstance(given, dict):
        named = {
            shapes.axis_index(k, ndim, "pad"): _pairs("pad_width", pair, 1)[0]
            for k, pair in given.items()
        }
        pairs = [named.get(k, (0, 0)) for k in range(ndim)]
    found = _pairs("pad_width", pairs, ndim)
    widths = tuple([(whole("pad", low), whole("pad", high)) for low, high in found])
    need(
        all(low >= 0 and high >= 0 for low, high in widths),
        "pad",
        pad_width=given,
        want="widths of 0 or more",
        fix="a slice, to take away",
    )
    return widths


def _only(mode: str, given: dict[str, Any], reflect_type: str) -> None:
    """Refuse the options of other modes."""
    mine = SIDES[mode][0] if mode in SIDES else None
    stray = {name: v for name, v in given.items() if name != mine and not _usual(v)}
    if mode not in ("reflect", "symmetric") and reflect_type != "even":
        stray["reflect_type"] = reflect_type
    names = " and ".join(stray)
    need(not stray, "pad", mode=mode, **stray, want="the options of that mode",
         fix=f"mode={mode!r} without {names}", error=ValueError)  # fmt: skip


def _usual(value: Any) -> bool:
    """Whether an option says nothing."""
    return value is None or (type(value) is int and value == 0)


def _own(a: Any, widths: Widths, mode: str, reflect_type: str) -> Any:
    need(reflect_type in ("even", "odd"), "pad", reflect_type=reflect_type, want="even or odd",
         fix="reflect_type='even'", error=ValueError)  # fmt: skip
    fits = all(n or pair == (0, 0) for n, pair in zip(a.shape, widths))
    need(fits, "pad", array=a, pad_width=widths, mode=mode, want="elements to repeat on every axis",
         fix='mode="constant"')  # fmt: skip
    if reflect_type == "even" or mode in ("edge", "wrap"):
        return extend_p.bind(a, widths=widths, mode=mode)
    found = a
    for axis, (low, high) in enumerate(widths):
        found = _odd(found, axis, low, high, mode)
    return copy(a) if found is a else found


def _pads(r: Any) -> Any:
    for shape, widths in (
        ((), 0), ((5,), 1), ((5,), (0, 2)), ((3, 4), ((1, 2), (0, 3))), ((3, 4), ((1, 2),)),
        ((0, 3), 1), ((1, 3, 1), ((0, 0), (1, 0), (2, 2))), ((2, 3, 4), 1),
    ):  # fmt: skip
        yield (r.normal(*shape), widths), {}
    yield (r.normal(4, 3).T, 2), {"constant_values": 1.5}
    yield (r.normal(3, 4), ((1, 2), (2, 0))), {"constant_values": ((1, 2), (3, 4))}
    for mode in ("edge", "reflect", "symmetric", "wrap", "mean", "maximum", "minimum"):
        yield (r.apart(3, 4), ((1, 2), (2, 0))), {"mode": mode}
    for mode in ("reflect", "symmetric"):
        yield (r.normal(3, 2), ((7, 4), (1, 3))), {"mode": mode}
        yield (r.normal(3, 2), ((7, 4), (1, 3))), {"mode": mode, "reflect_type": "odd"}
    yield (r.normal(4, 3).T, ((5, 7), (1, 0))), {"mode": "wrap"}
    yield (r.normal(3, 4), 2), {"mode": "linear_ramp", "end_values": ((1, 2), (3, -4))}
    yield (r.normal(3, 4), 2), {"mode": "mean", "stat_length": ((1, 2), (2, 9))}


@operation(numpy="pad", oracle="pad", samples=_pads)
def pad(
    array: Any,
    pad_width: Any,
    mode: str = "constant",
    *,
    constant_values: Any = 0,
    end_values: Any = 0,
    stat_length: Any = None,
    reflect_type: str = "even",
) -> Any:
    """The array with so many elements before and after it on each axis, as `mode` says.

    "constant": `constant_values`, which may be tensors; "linear_ramp": from the edge to
    `end_values`; "maximum", "mean", "median", "minimum": of `stat_length` elements at that edge
    (None: all); "edge", "reflect", "symmetric", "wrap": the array's own elements, with
    reflect_type="odd" 2 edge - x; "empty": anything. Raises `ShapeError` for other modes.

    >>> pad([1.0, 2.0], (1, 2))
    tensor([0., 1., 2., 0., 0.])
    """
    need(not callable(mode), "pad", mode=mode, want="a mode by name: a function would write in "
         "place, behind the tape's back", fix="np.concatenate", error=DTypeError)  # fmt: skip
    need(mode in MODES, "pad", mode=mode, want=f"one of {' '.join(MODES)}", fix='"constant"')
    a = operand(array)
    given = {"constant_values": constant_values, "end_values": end_values,
             "stat_length": stat_length}  # fmt: skip
    _only(mode, given, reflect_type)
    widths = _widths(pad_width, a.ndim)
    if mode in OWN:
        return _own(a, widths, mode, reflect_type)
    if mode == "empty":
        return pad_p.bind(a, widths=widths, values=((0, 0),) * a.ndim)
    what, side = SIDES[mode]
    options = _pairs(what, given[what], a.ndim)
    plain = not any(isinstance(value, Tensor) for pair in options for value in pair)
    if mode == "constant" and plain:
        return pad_p.bind(a, widths=widths, values=options)
    found = _computed(a, widths, side, options)
    return copy(a) if found is a else found
