"""Discrete Fourier transforms, and the transforms of real and of Hermitian arrays.

Three primitives, all linear: the complex transform F, the half spectrum R of a real array, and the
real array H of a half spectrum. Under Re Σ conj(a) b the adjoint of F is the inverse transform with
the norm's other name; that of R is H of the coefficients with the inner ones halved, as each stands
for two; that of H is R with the inner ones doubled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np  # oracles only

from tensorgrad import dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.ops.complex import conj
from tensorgrad.ops.join import pad_p
from tensorgrad.ops.shape import astype, whole

OTHER = {"backward": "forward", "forward": "backward", "ortho": "ortho"}
"""Where the factor 1/n stands in the adjoint."""


def _complex(dt: Any) -> Any:
    """The complex dtype of a transform: of 64 bits for the 16- and 32-bit floats, else of 128."""
    if dt.kind == "c":
        return dt
    small = dtypes.is_half(dt) or dt == dtypes.float32
    return dtypes.complex64 if small else dtypes.complex128


def _real(dt: Any) -> Any:
    return dtypes.real(_complex(dt))


def _resized(shape: shapes.Shape, axis: int, length: int) -> shapes.Shape:
    return (*shape[:axis], length, *shape[axis + 1 :])


# -- the primitives ----------------------------------------------------------------------------


def _turned_back(ct: Any, out: Any, x: Any, *, axes: shapes.Shape, norm: str, inverse: bool) -> Any:
    found = transform_p.bind(ct, axes=axes, norm=OTHER[norm], inverse=not inverse)
    return found if x.dtype.kind == "c" else found.real


transform_p: Primitive = primitive(
    "transform",
    nin=1,
    spec=lambda x, **_: Spec(x.shape, _complex(x.dtype)),
    vjp=(_turned_back,),
    linear=(0,),
    batch=lambda inputs, batched, *, axes, **rest: transform_p.bind(
        inputs[0], axes=tuple([k + 1 for k in axes]), **rest
    ),
)
real_transform_p: Primitive = primitive(
    "real_transform",
    nin=1,
    spec=lambda x, *, axis, norm, fold: Spec(
        _resized(x.shape, axis, x.shape[axis] // 2 + 1), _complex(x.dtype)
    ),
    vjp=(
        lambda ct, out, x, *, axis, norm, fold: real_inverse_p.bind(
            ct, axis=axis, length=x.shape[axis], norm=OTHER[norm], fold=fold / 2
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, **rest: real_transform_p.bind(
        inputs[0], axis=axis + 1, **rest
    ),
)
real_inverse_p: Primitive = primitive(
    "real_inverse",
    nin=1,
    spec=lambda x, *, axis, length, norm, fold: Spec(
        _resized(x.shape, axis, length), _real(x.dtype)
    ),
    vjp=(
        lambda ct, out, x, *, axis, length, norm, fold: real_transform_p.bind(
            ct, axis=axis, norm=OTHER[norm], fold=2 * fold
        ),
    ),
    linear=(0,),
    batch=lambda inputs, batched, *, axis, **rest: real_inverse_p.bind(
        inputs[0], axis=axis + 1, **rest
    ),
)


# -- arguments ---------------------------------------------------------------------------------


def _norm(op: str, norm: str | None) -> str:
    name = norm or "backward"
    need(name in OTHER, op, norm=norm, want="backward, ortho or forward", fix="norm=None",
         error=ValueError)  # fmt: skip
    return name


def _sized(op: str, a: Any, length: int | None, axis: int) -> Any:
    """`a` with an axis cut, or filled up with zeros at its end, to a length."""
    have = a.shape[axis]
    length = have if length is None else whole(op, length)
    need(length >= 1, op, a=a, n=length, want="at least one point", fix="n=8", error=ValueError)
    if length < have:
        return a[(*(slice(None),) * axis, slice(0, length))]
    if length == have:
        return a
    widths = tuple([(0, length - have if k == axis else 0) for k in range(a.ndim)])
    return pad_p.bind(a, widths=widths, values=((0, 0),) * a.ndim)


def _axes(op: str, a: Any, s: Any, axes: Any) -> tuple[list[int | None], tuple[int, ...]]:
    """The lengths and the axes that an n-dimensional transform is asked for."""
    for name, given in (("s", s), ("axes", axes)):
        need(given is None or not hasattr(given, "__index__"), op, **{name: given},
             want="a sequence", fix=f"{name}=({given},)", error=TypeError)  # fmt: skip
    if axes is None:
        count = a.ndim if s is None else len(s)
        need(count <= a.ndim, op, a=a, s=s, want="no more lengths than axes", fix="axes=")
        axes = range(a.ndim - count, a.ndim)
    found = tuple([shapes.axis_index(k, a.ndim, op) for k in axes])
    asked = (None,) * len(found) if s is None else s
    sizes = [n if n is None else whole(op, n) for n in asked]
    sizes = [a.shape[k] if n == -1 else n for n, k in zip(sizes, found)]
    need(len(sizes) == len(found), op, s=s, axes=axes, want="a length for each axis", fix="s=None")
    return sizes, found


def _some(op: str, a: Any, s: Any, axes: Any) -> tuple[list[int | None], tuple[int, ...]]:
    """`_axes`, of which there is one at least."""
    sizes, where = _axes(op, a, s, axes)
    need(bool(where), op, a=a, axes=axes, want="one axis at least", fix="axes=None")
    return sizes, where


def _many(op: str, a: Any, s: Any, axes: Any, norm: str | None, inverse: bool) -> Any:
    a, norm = operand(a), _norm(op, norm)
    sizes, where = _axes(op, a, s, axes)
    for n, axis in zip(sizes, where):
        a = _sized(op, a, n, axis)
    for axis in reversed([k for i, k in enumerate(where) if k in where[:i]]):  # as NumPy, in turn
        a = transform_p.bind(a, axes=(axis,), norm=norm, inverse=inverse)
    return transform_p.bind(a, axes=tuple(dict.fromkeys(where)), norm=norm, inverse=inverse)


def _one(op: str, a: Any, n: int | None, axis: int, norm: str | None, inverse: bool) -> Any:
    a, norm = operand(a), _norm(op, norm)
    axis = shapes.axis_index(axis, a.ndim, op)
    return transform_p.bind(_sized(op, a, n, axis), axes=(axis,), norm=norm, inverse=inverse)


def _half(op: str, a: Any, n: int | None, axis: int, norm: str) -> Any:
    """The half spectrum of a real array."""
    a = operand(a)
    need(a.dtype.kind != "c", op, a=a, want="a real array", fix="fft, or a.real", error=DTypeError)
    axis = shapes.axis_index(axis, a.ndim, op)
    return real_transform_p.bind(_sized(op, a, n, axis), axis=axis, norm=norm, fold=1)


def _whole(op: str, a: Any, n: int | None, axis: int, norm: str) -> Any:
    """The real array of a half spectrum."""
    a = operand(a)
    axis = shapes.axis_index(axis, a.ndim, op)
    length = 2 * (a.shape[axis] - 1) if n is None else whole(op, n)
    need(length >= 1, op, a=a, n=n, want="at least one point", fix="n=", error=ValueError)
    given, a = a.dtype, _sized(op, a, length // 2 + 1, axis)
    if given.kind != "c":
        a = astype(a, _complex(given))
    found = real_inverse_p.bind(a, axis=axis, length=length, norm=norm, fold=1)
    return astype(found, given) if dtypes.is_half(given) else found


# -- samples -----------------------------------------------------------------------------------


def _arrays(r: Any, real: bool) -> list[Any]:
    def draw(*shape: int) -> Any:
        return r.normal(*shape) if real else r.normal(*shape) + 1j * r.normal(*shape)

    plain = [draw(5), draw(3, 4), draw(2, 3, 5), draw(1, 3, 1), draw(4, 3).T, draw(1)]
    return [*plain, draw(6, 4)[::2, ::-1], np.broadcast_to(draw(3, 1), (3, 4))]


def _singles(real: bool, mixed: bool = False) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        for x in _arrays(r, real):
            yield (x,), {} if x.shape[-1] > 1 else {"n": 3}
        x = _arrays(r, real)[1]
        for n, axis, norm in (
            (3, 0, "ortho"),
            (5, 1, "forward"),
            (2, -1, "backward"),
            (6, -2, None),
        ):
            yield (x,), {"n": n, "axis": axis, "norm": norm}
        if mixed:
            yield (r.normal(5),), {}
            yield (r.integers(-3, 4, 5),), {"norm": "ortho"}

    return samples


def _pairs(real: bool) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        for x in _arrays(r, real):
            if x.ndim > 1:
                yield (x,), {} if x.shape[-1] > 1 else {"s": (2, 3)}
        x = _arrays(r, real)[2]
        yield (x,), {"axes": (0, 1), "norm": "ortho"}
        yield (x,), {"axes": (-1, 0), "norm": "forward"}
        yield (x,), {"s": (2, 4), "axes": (1, 2)}
        yield (x,), {"s": (4, 6), "axes": (2, 0)}

    return samples


def _several(real: bool) -> Callable[[Any], Any]:
    def samples(r: Any) -> Any:
        for (x,), options in _pairs(real)(r):
            yield (x,), {**options, "axes": options.get("axes", (-2, -1))}
        yield (_arrays(r, real)[2],), {}

    return samples


# -- the operations ----------------------------------------------------------------------------


def _named(name: str, samples: Callable[[Any], Any]) -> Callable[..., Any]:
    """The entry of a transform under NumPy's name."""
    return operation(numpy=f"fft.{name}", oracle=f"fft.{name}", samples=samples, namespace="fft")


@_named("fft", _singles(False, mixed=True))
def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """y_k = Σ_j a_j exp(-2πi jk / n) along an axis, cut or filled up with zeros to n points.

    `norm` says where 1/n stands: "backward" (in the inverse), "ortho" (its root in both) or
    "forward".

    >>> fft([1.0, 0.0, 0.0, 0.0]).real
    tensor([1., 1., 1., 1.])
    """
    return _one("fft.fft", a, n, axis, norm, inverse=False)


@_named("ifft", _singles(False, mixed=True))
def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `fft`: Σ_j a_j exp(2πi jk / n) / n."""
    return _one("fft.ifft", a, n, axis, norm, inverse=True)


@_named("rfft", _singles(True))
def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of a real array: the n // 2 + 1 coefficients that the others follow from."""
    return _half("fft.rfft", a, n, axis, _norm("fft.rfft", norm))


@_named("irfft", _singles(False))
def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `rfft`: n real points (2 (m - 1) of m coefficients, unless n is given)."""
    return _whole("fft.irfft", a, n, axis, _norm("fft.irfft", norm))


@_named("hfft", _singles(False))
def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """`fft` of the Hermitian array whose first half is `a`: n real coefficients."""
    return _whole("fft.hfft", conj(operand(a)), n, axis, OTHER[_norm("fft.hfft", norm)])


@_named("ihfft", _singles(True))
def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `hfft`: half of a Hermitian array, n // 2 + 1 coefficients."""
    return conj(_half("fft.ihfft", a, n, axis, OTHER[_norm("fft.ihfft", norm)]))


@_named("fft2", _pairs(False))
def fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """`fft` along two axes."""
    return _many("fft.fft2", a, s, axes, norm, inverse=False)


@_named("ifft2", _pairs(False))
def ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of `fft2`."""
    return _many("fft.ifft2", a, s, axes, norm, inverse=True)


@_named("rfft2", _pairs(True))
def rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """`fft2` of a real array: half of the coefficients along the last of the axes."""
    return rfftn(a, s, axes, norm)


@_named("irfft2", _pairs(False))
def irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of `rfft2`."""
    return irfftn(a, s, axes, norm)


@_named("fftn", _several(False))
def fftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """`fft` along several axes, all of them by default."""
    return _many("fft.fftn", a, s, axes, norm, inverse=False)


@_named("ifftn", _several(False))
def ifftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The inverse of `fftn`."""
    return _many("fft.ifftn", a, s, axes, norm, inverse=True)


@_named("rfftn", _several(True))
def rfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """`fftn` of a real array: half of the coefficients along the last of the axes."""
    a, way = operand(a), _norm("fft.rfftn", norm)
    sizes, where = _some("fft.rfftn", a, s, axes)
    sizes = [a.shape[k] if n is None else n for n, k in zip(sizes, where)]
    found = _half("fft.rfftn", a, sizes[-1], where[-1], way)
    return _many("fft.rfftn", found, sizes[:-1], where[:-1], way, inverse=False)


@_named("irfftn", _several(False))
def irfftn(a: Any, s: Any = None, axes: Any = None, norm: str | None = None) -> Any:
    """The inverse of `rfftn`."""
    a, way = operand(a), _norm("fft.irfftn", norm)
    sizes, where = _some("fft.irfftn", a, s, axes)
    found = _many("fft.irfftn", a, sizes[:-1], where[:-1], way, inverse=True)
    return _whole("fft.irfftn", found, sizes[-1], where[-1], way)
