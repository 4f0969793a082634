"""What errors say: the op, what it got, what it expected, what to try.

The texts of the common mistakes stand on the pages `docs/pages/pitfalls.md` and `gpu.md`, whose
test compares every word; here are the others, and the form of every operation's refusals.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import place
import pytest
from test_registry import samples

import tensorgrad as tg
from tensorgrad.core.registry import OPERATIONS
from tensorgrad.core.tensor import Tensor

FORM = re.compile(r"^[\w.]+: got .+, expected .+; try .+", re.S)
Call = Callable[[], Any]


def leaf(*shape: int) -> Tensor:
    return Tensor(np.arange(1.0, 1 + np.prod(shape)).reshape(shape), requires_grad=True)


def after_free() -> None:
    x = leaf(3)
    y = np.exp(x)
    (y * y).sum().backward()
    y.sum().backward()


X, M = leaf(3), leaf(2, 3)
FIT = "expected sizes that are equal or 1 on every axis, counted from the right"
BROADCAST = f"{FIT}; try reshape or expand_dims on the one that does not fit"
FLOATING = "expected floating-point arrays or numbers"
TEXTS: dict[str, tuple[Call, type[Exception], str]] = {
    # shapes
    "where": (
        lambda: np.where(M > 0, M, leaf(4)), tg.ShapeError,
        f"where: got shapes (2, 3), (2, 3), (4,), {BROADCAST}"),
    "broadcast_to": (
        lambda: np.broadcast_to(M, (3, 2)), tg.ShapeError,
        f"broadcast_to: got shapes (2, 3), (3, 2), {BROADCAST}"),
    "reshape": (
        lambda: M.reshape(4), tg.ShapeError,
        "reshape: got x=float64(2, 3), shape=(4,), expected a shape of 6 elements, one length may "
        "be -1; try -1 for the length that follows from the others"),
    "concatenate": (
        lambda: np.concatenate([M, leaf(2, 2)]), tg.ShapeError,
        "concatenate: got first=float64(2, 3), number=1, array=float64(2, 2), expected equal "
        "shapes but for axis 0; try stack, for a new axis"),
    "stack": (
        lambda: np.stack([M, X]), tg.ShapeError,
        "stack: got first=float64(2, 3), number=1, array=float64(3,), expected equal shapes; try "
        "concatenate, along an axis that they have"),
    "squeeze": (
        lambda: np.squeeze(M, 0), tg.ShapeError,
        "squeeze: got a=float64(2, 3), axis=0, expected axes of length 1; try reshape"),
    "split": (
        lambda: np.split(M, 2, axis=1), tg.ShapeError,
        "split: got ary=float64(2, 3), sections=2, expected sections that divide the 3 elements "
        "of axis 1; try array_split"),
    "einsum": (
        lambda: np.einsum("ij,jk", M, M), tg.ShapeError,
        "einsum: got lengths 3 and 2 for index 'j', expected one length; try another letter for "
        "one of the axes"),
    "inv": (
        lambda: np.linalg.inv(M), tg.ShapeError,
        "inv: got a=float64(2, 3), expected square matrices; try a.mT @ a"),
    "a singular matrix": (
        lambda: np.linalg.inv(0.0 * leaf(2, 2)), np.linalg.LinAlgError,
        "inv: got a singular matrix, expected one of full rank; try tg.linalg.pinv or lstsq"),
    "item": (
        lambda: X.item(), tg.ShapeError,
        "item: got x=float64(3,), expected exactly one element; try x[0].item()"),
    "jvp": (
        lambda: tg.jvp(np.sin, (np.ones(3),), (np.ones(2),)), tg.ShapeError,
        "jvp: got primal=float64(3,), tangent=float64(2,), expected equal shapes; try reshape"),
    # axes and indices
    "a negative axis": (
        lambda: np.mean(M, axis=-3), tg.ShapeError,
        "mean: got axis=-3, ndim=2, expected -2 <= axis < 2; try an axis that the array has"),
    "an axis twice": (
        lambda: np.sum(M, axis=(0, 0)), tg.ShapeError,
        "sum: got axis=(0, 0), expected each axis once; try drop the second"),
    "half an axis": (
        lambda: np.sum(M, axis=1.0), tg.DTypeError,  # type: ignore[call-overload]
        "sum: got axis=1.0, expected whole numbers; try int(axis)"),
    "an index": (
        lambda: X[5], IndexError,
        "getitem: got an index into float64(3,): index 5 is out of bounds for axis 0 with size 3, "
        "expected one inside the array; try -size <= index < size on every axis"),
    "an index of many": (
        lambda: M[np.array([0, 1]), np.array([[0, 2], [1, 7]])], IndexError,
        "take: got an index into float64(2, 3): index 7 at (1, 1) is out of bounds for axis 1 with "
        "size 3, expected one inside the array; try -size <= index < size on every axis"),
    "an index of many rows": (
        lambda: tg.take(M, np.array([[0], [5]], np.uint8), 0), IndexError,
        "take: got an index into float64(2, 3): index 5 at (1, 0) is out of bounds for axis 0 with "
        "size 2, expected one inside the array; try -size <= index < size on every axis"),
    "an axis of transforms": (
        lambda: np.fft.fftn(M, axes=99), TypeError,
        "fft.fftn: got axes=99, expected a sequence; try axes=(99,)"),
    "no axis of transforms": (
        lambda: np.fft.rfftn(M, axes=()), tg.ShapeError,
        "fft.rfftn: got a=float64(2, 3), axes=(), expected one axis at least; try axes=None"),
    "half a point": (
        lambda: np.fft.fft(X, 2.5), tg.DTypeError,  # type: ignore[call-overload]
        "fft.fft: got 2.5, expected an integer; try int(2.5)"),
    "several axes of one": (
        lambda: np.cumsum(M, axis=(0, 1)), tg.DTypeError,  # type: ignore[call-overload]
        "cumsum: got axis=(0, 1), expected whole numbers; try int(axis)"),
    "all of a slice NaN": (
        lambda: np.nanargmax(M * np.nan, axis=1), ValueError,
        "nanargmax: got a=float64(2, 3), axis=1, expected a number in every slice (All-NaN slice "
        "encountered); try nan_to_num(a, nan=...) with what is to stand for NaN"),
    # dtypes
    "a complex floor": (
        lambda: np.floor(X * 1j), tg.DTypeError,
        "floor: got complex128(3,), expected real numbers; try x.real"),
    "bools subtracted": (
        lambda: (X > 1) - (X > 2), tg.DTypeError,
        "subtract: got bool(3,), bool(3,), expected numbers; try x.astype(int)"),
    "a variance in whole numbers": (
        lambda: np.var(X, dtype=int), tg.DTypeError,  # type: ignore[call-overload]
        "var: got dtype=<class 'int'>, expected a floating dtype; try dtype=None"),
    "degrees of freedom twice": (
        lambda: np.std(X, ddof=1, correction=1), ValueError,  # type: ignore[call-overload]
        "var: got ddof=1, correction=1, expected one of them; try ddof, which is NumPy's older "
        "name"),
    "a reduction that NumPy has not": (
        lambda: np.bitwise_and.reduce(X), tg.DTypeError,
        "np.bitwise_and.reduce: got float64(3,), expected a dtype of which two give one of the "
        "same (ufunc 'bitwise_and' not supported for the input types, and the inputs could not be "
        "safely coerced to any supported types according to the casting rule ''safe''); try "
        "x.astype(...)"),
    "half of a complex number": (
        lambda: np.add(X, 1j, out=tg.zeros(3)), tg.DTypeError,
        "np.add: got result=complex128(3,), out=float64(3,), expected an out= that its kind of "
        "number fits in; try x[...] = np.add(...)"),
    "a dtype of the result": (
        lambda: np.add(X * 1j, 1.0, dtype="float64"), tg.DTypeError,
        "np.add: got complex128(3,), complex128(), dtype='float64', expected a dtype that the "
        "result can be computed in (Cannot cast ufunc 'add' input 0 from dtype('complex128') to "
        "dtype('float64') with casting rule 'same_kind'); try x.astype('float64')"),
    "a first value too large": (
        lambda: np.max(X.astype("int8"), initial=300), OverflowError,
        "max: got initial=300, expected a number that int8 holds; try x.astype('int64')"),
    "complex places": (
        lambda: np.interp(X * 1j, [0.0, 1.0], [0.0, 1.0]), tg.DTypeError,  # type: ignore[arg-type]
        "interp: got x=complex128(3,), xp=float64(2,), expected real positions; try x.real"),
    "an option of another mode": (
        lambda: np.pad(X, 1, "edge", constant_values=1), ValueError,  # type: ignore[call-overload]
        "pad: got mode='edge', constant_values=1, expected the options of that mode; try "
        "mode='edge' without constant_values"),
    "points of a plane": (
        lambda: np.histogram2d(M, M), ValueError,
        "histogram2d: got x=float64(2, 3), y=float64(2, 3), expected two vectors alike; try "
        "x.reshape(-1), y.reshape(-1)"),
    "bits of floats": (
        lambda: X << 1, tg.DTypeError,
        "left_shift: got dtype='float64', expected integers or bools; try x.astype(int)"),
    "a string": (
        lambda: X + "a", TypeError,
        "add: got 'a', expected a tensor, an array or a number; try tg.tensor(x)"),
    "nothing": (
        lambda: X * None, TypeError,
        "multiply: got None, expected a tensor, an array or a number; try tg.tensor(x)"),
    "an integer array": (
        lambda: tg.grad(np.sum)(np.arange(3)), tg.DTypeError,
        f"grad: got argument=int64(3,), {FLOATING} where a derivative is taken; "
        "try x.astype(float), or argnums without it"),
    "an integer's tangent": (
        lambda: tg.jvp(np.sin, (3,), (1,)), tg.DTypeError,
        f"jvp: got primal=int64(), {FLOATING}; try x.astype(float)"),
    # the tape
    "several numbers": (
        lambda: tg.grad(lambda v: v * 2)(np.ones(3)), tg.GradientError,
        "grad: got value=float64(3,), expected one real number from the function; "
        "try np.sum(...) of it, or tg.vjp"),
    "a cotangent": (
        lambda: (X * 2).backward(np.ones(2)), tg.GradientError,
        "backward: got gradient=float64(2,), tensor=float64(3,), expected a cotangent of the "
        "tensor's shape; try tg.broadcast_to(gradient, tensor.shape)"),
    "off the tape": (
        lambda: tg.tensor(1.0).backward(), tg.GradientError,
        "backward: got a tensor that no recorded operation made, expected one computed from a "
        "tensor with requires_grad; try x.requires_grad = True before computing"),
    "use after free": (
        after_free, tg.GradientError,
        "backward: got a graph whose values were freed (at exp, recorded at "
        f"{__file__}:{after_free.__code__.co_firstlineno + 2}), expected one that was not walked "
        "before; try backward(retain_graph=True) the first time"),
    "a gradient's shape": (
        lambda: setattr(leaf(3), "grad", tg.ones(2)), tg.GradientError,
        "grad: got float64(2,), expected float64(3,) as the tensor itself; try reshape and astype"),
    "backward from whole numbers": (
        lambda: X.astype(int).sum().backward(), tg.GradientError,
        "backward: got tensor=int64(), expected a floating dtype: what changes in steps has no "
        "gradient; try dropping the astype(int)"),
    "the gradient of whole numbers": (
        lambda: tg.grad(lambda v: np.sum(v.astype(int)))(np.ones(2)), tg.GradientError,
        "grad: got value=int64(), expected a floating dtype from the function: what changes in "
        "steps has no gradient; try dropping the astype(int)"),
    "a missing derivative": (
        lambda: np.frompyfunc(abs, 1, 1)(X), tg.NotDifferentiable,
        "abs (vectorized): got a tensor that needs a gradient, expected a function with a "
        "derivative; try tensorgrad's operations, or x.detach() where a constant is meant"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TEXTS)
def test_an_error_says_what_was_got_expected_and_to_try(mistake: str) -> None:
    call, kind, text = TEXTS[mistake]
    with pytest.raises(kind) as caught:
        call()
    assert (type(caught.value), str(caught.value)) == (kind, text)


def test_tensors_of_two_devices_are_refused_by_name() -> None:
    with place.machine():
        x, y = tg.ones(3), tg.ones(3, device="cuda")
        for call, text in (
            (lambda: x + y, "add: got tensors on cpu, cuda:0, expected all on one device; "
             "try x.to('cpu')"),
            (lambda: np.concatenate([x, y]), "concat: got tensors on cpu, cuda:0, expected all on "
             "one device; try x.to('cpu')"),
        ):  # fmt: skip
            with pytest.raises(tg.DeviceError) as caught:
                call()
            assert str(caught.value) == text


# -- every operation ---------------------------------------------------------------------------

tg.ops.load()
ANY_SHAPES = frozenset(
    """
    append compress extract fill_diagonal intersect1d isin kron linalg.outer outer polygrid2d
    polyval searchsorted setdiff1d setxor1d signal.sosfilt union1d
    """.split()
)
"""What takes two arrays of any shapes, or of those that `wrong_calls` tries."""


def tensors(args: tuple[Any, ...]) -> list[Any]:
    floats = [isinstance(a, np.ndarray) and a.dtype.kind in "fc" for a in args]
    return [Tensor(a, requires_grad=True) if f else a for a, f in zip(args, floats)]


def wrong_calls(name: str, rng: np.random.Generator) -> Iterator[Call]:
    """Calls of an operation that are wrong in one argument: no array, a shape, an axis."""
    function = OPERATIONS[name].function
    fit = (c for c in samples(name, rng) if c[0] and getattr(c[0][0], "ndim", 0) and c[0][0].size)
    found = next(fit, None)
    if found is None:  # of containers, or of numbers
        return
    args, options = tensors(found[0]), found[1]
    for nonsense in ("abc", None, np.array([object()])):
        if nonsense is None and name == "broadcast_arrays":  # NumPy and matplotlib pass it
            continue
        yield partial(function, nonsense, *args[1:], **options)
    both = len(args) > 1 and isinstance(args[0], Tensor) and isinstance(args[1], Tensor)
    if both and name not in ANY_SHAPES:
        yield partial(function, args[0], leaf(7, 11, 13), *args[2:], **options)
    given = list(inspect.signature(function).parameters)[len(args) :]
    for axis, value in (("axis", 99), ("axes", (99,)), ("dim", 99)):
        if axis in given:
            yield partial(function, *args, **{**options, axis: value})


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_refuses_in_the_same_form(name: str, rng: np.random.Generator) -> None:
    for call in wrong_calls(name, rng):
        with pytest.raises(Exception, match=FORM), np.errstate(all="ignore"):
            call()
