"""CuPy's functions and methods: its parameters, NumPy's results, its guards of what must wait."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from . import creation, indexing, streams
from .array import ndarray, operand, produce, quiet, view
from .tables import FUNCTIONS, LINALG
from .ufuncs import UFUNC, clip_ufunc, where_ufunc

Function = Callable[..., Any]
BLAS = frozenset("dot matmul tensordot inner vdot einsum".split())
THRUST = frozenset(
    "sort argsort lexsort unique partition argpartition median nanmedian percentile "
    "quantile".split()
)
READS = frozenset(
    "nonzero flatnonzero argwhere compress extract bincount histogram isin average interp".split()
)
WIDE = frozenset(
    "sum prod mean std var cumsum cumprod nansum nanprod nanmean nanstd nanvar trace".split()
)
HOST = frozenset(  # answered without the device
    "broadcast_shapes can_cast iscomplexobj isdtype isfortran isrealobj isscalar issubdtype "
    "may_share_memory ndim result_type shape promote_types".split()
)
NUMPY = {"row_stack": "vstack"}


def rows(table: str) -> dict[str, str]:
    return dict(row.split(": ", 1) for row in table.strip().splitlines())


@cache
def signature(text: str) -> inspect.Signature:
    """The parameters of a row of the tables."""
    return inspect.signature(eval(f"lambda {text}: None"))


def _plain(value: Any) -> Any:
    """An argument for NumPy; an array of the host is refused."""
    if isinstance(value, ndarray):
        return operand(value)
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def _arrays(value: Any) -> list[ndarray]:
    if isinstance(value, ndarray):
        return [value]
    return [a for v in value for a in _arrays(v)] if isinstance(value, list | tuple) else []


def _guard(name: str) -> None:
    if name in BLAS:
        streams.no_library("cuBLAS")
    if name in THRUST:
        streams.unsupported()
    if name in READS:
        streams.no_sync("D2H transfers")


def _split(bound: inspect.BoundArguments, parameters: Any) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments for NumPy: those that were given and matter."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        parameter = parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            args += value
        elif parameter.kind is parameter.VAR_KEYWORD:
            kwargs |= value
        elif parameter.default is parameter.empty:
            args.append(value)
        elif value is not parameter.default:
            kwargs[name] = value
    return args, kwargs


def delegate(name: str, text: str, body: Function) -> Function:
    """A function with CuPy's parameters that NumPy's `body` computes."""
    parameters = signature(text).parameters

    def function(*args: Any, **kwargs: Any) -> Any:
        given, named = _split(signature(text).bind(*args, **kwargs), parameters)
        out = named.pop("out", None)
        _guard(name)
        plain = [_plain(v) for v in given]
        options = {k: _plain(v) for k, v in named.items()}
        compute = _computation(name, body, plain, options)
        if name in HOST:
            return compute()
        found = _found(compute, [*_arrays(given), *_arrays(list(named.values()))])
        return found if out is None else _stored(name, found, out)

    function.__name__ = name
    return function


def _computation(name: str, body: Function, args: list[Any], kwargs: Any) -> Function:
    """NumPy's call; the 16-bit floats are summed in float32."""
    first: Any = args[0] if args else None
    half = isinstance(first, np.ndarray) and first.dtype.name in ("float16", "bfloat16")
    if name not in WIDE or not half or "dtype" in kwargs:
        return lambda: body(*args, **kwargs)
    return lambda: np.asarray(body(first.astype("f"), *args[1:], **kwargs)).astype(first.dtype)


def _found(compute: Function, given: list[ndarray]) -> Any:
    """Views where NumPy gives views of an argument, else new arrays."""
    streams.ready()
    with quiet():
        first = compute()
    single = not isinstance(first, list | tuple)
    parts = [first] if single else list(first)
    views = [next((a for a in given if _shares(part, a)), None) for part in parts]
    if any(found is None for found in views):
        return produce(compute)
    results = [
        a if part is a._a else view(a, part) for part, a in zip(parts, views) if a is not None
    ]
    return results[0] if single else type(first)(results)


def _shares(part: Any, array: ndarray) -> bool:
    return isinstance(part, np.ndarray) and (
        part is array._a or bool(part.size and np.may_share_memory(part, array._a))
    )


def _stored(name: str, found: Any, out: Any) -> Any:
    if not isinstance(out, ndarray):
        raise TypeError(
            "Argument 'out' has incorrect type (expected cupy._core.core._ndarray_base, got "
            f"{type(out).__name__})"
        )
    if out.shape != found.shape:
        raise ValueError(f"Output shape mismatch: {name} gives {found.shape}, got {out.shape}")
    creation.copyto(out, found, casting="unsafe" if name.startswith("arg") else "same_kind")
    return out


# -- where CuPy differs ----------------------------------------------------------------------------


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    if x is None and y is None:
        return condition.nonzero()
    if x is None or y is None:
        raise ValueError("Must provide both 'x' and 'y' or neither.")
    if isinstance(condition, ndarray) and condition.dtype != np.bool_:
        condition = UFUNC["not_equal"](condition, 0)
    elif not isinstance(condition, ndarray):
        raise TypeError(f"Unsupported type {type(condition)}")
    return where_ufunc(condition, x, y)


def clip(a: Any, a_min: Any, a_max: Any, out: Any = None) -> Any:
    if a_min is None and a_max is None:
        raise ValueError("array_clip: must set either max or min")
    if a_min is None or a_max is None:
        name, bound = ("minimum", a_max) if a_min is None else ("maximum", a_min)
        return UFUNC[name](a, bound, out=out) if out is not None else UFUNC[name](a, bound)
    return clip_ufunc(a, a_min, a_max, **({} if out is None else {"out": out}))


def _stable(body: Function) -> Function:
    def ordered(a: Any, axis: Any = -1, kind: Any = None) -> Any:
        if kind not in (None, "stable"):
            raise ValueError("kind can only be None or 'stable'")
        if a.dtype.name == "bfloat16":
            raise TypeError("sorting arrays with dtype 'bfloat16' is not supported")
        return body(a, axis=axis, kind="stable")

    return ordered


def _argument(body: Function) -> Function:
    def places(a: Any, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Any:
        found = body(a, axis, keepdims=keepdims)
        return np.asarray(found).astype(np.int64 if dtype is None else dtype)

    return places


def _array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    return np.asarray(np.array_equal(a1, a2, equal_nan))


def reshape(a: ndarray, newshape: Any, order: str = "C", *, copy: Any = None) -> ndarray:
    order = "C" if order == "A" and not a.flags.fnc else "F" if order == "A" else order
    shape = tuple(newshape) if isinstance(newshape, list | tuple) else (newshape,)
    if shape.count(-1) > 1:
        raise ValueError("can only specify one unknown dimension")
    source = operand(a)
    try:
        found = source.reshape(shape, order=order)
    except ValueError:
        raise ValueError(f"cannot reshape array of size {a.size} into shape {shape}") from None
    if not copy and (np.may_share_memory(found, source) or not a.size):
        return view(a, found)
    if copy is False:
        raise ValueError("Unable to avoid creating a copy while reshaping.")
    return produce(lambda: source.reshape(shape, order=order))  # type: ignore[no-any-return]


def _result_type(*args: Any) -> Any:
    return np.result_type(*(a.dtype if isinstance(a, np.ndarray) else a for a in args))


def _repeat(a: Any, repeats: Any, axis: Any = None) -> Any:
    if isinstance(repeats, np.ndarray):
        streams.no_sync("D2H transfers")
    return np.repeat(a, repeats, axis)


BODIES: dict[str, Function] = {
    "sort": _stable(np.sort),
    "argsort": _stable(np.argsort),
    "argmax": _argument(np.argmax),
    "argmin": _argument(np.argmin),
    "nanargmax": _argument(np.nanargmax),
    "nanargmin": _argument(np.nanargmin),
    "array_equal": _array_equal,
    "result_type": _result_type,
    "repeat": _repeat,
    "swapaxes": np.swapaxes,
    "broadcast_arrays": lambda *args: list(np.broadcast_arrays(*args)),
}
OWN: dict[str, Any] = {
    "where": _where,
    "clip": clip,
    "reshape": reshape,
    "take": indexing.take,
    "take_along_axis": indexing.take_along_axis,
    "put_along_axis": indexing.put_along_axis,
    "put": indexing.put,
    "size": lambda a, axis=None: a.size if axis is None else a.shape[axis],
} | {
    name: getattr(creation, name)
    for name in (
        "empty full zeros ones empty_like full_like zeros_like ones_like copyto array asarray "
        "ascontiguousarray asfortranarray asnumpy arange eye from_dlpack identity tri"
    ).split()
}
LEFT_OUT = frozenset("asanyarray fill_diagonal place putmask require get_array_module".split())


def functions() -> dict[str, Function]:
    """The functions of `cupy` by name."""
    found = dict(OWN)
    for name, text in rows(FUNCTIONS).items():
        if name not in found and name not in LEFT_OUT:
            body = BODIES.get(name) or getattr(np, NUMPY.get(name, name), None)
            if body is not None:
                found[name] = delegate(name, text, body)
    found["matmul"] = delegate("matmul", "a, b, out=None", np.matmul)
    found["promote_types"] = np.promote_types
    found["asanyarray"] = creation.asarray
    return found | UFUNC


def linalg() -> dict[str, Function]:
    """The functions of `cupy.linalg`: cuSOLVER and cuBLAS, so none while a stream captures."""

    bodies = {"eig": _complex(np.linalg.eig), "eigvals": _complex(np.linalg.eigvals)}
    bodies |= {"solve": _solve, "inv": _inverse}

    def guarded(name: str, text: str) -> Function:
        inner = delegate(name, text, bodies.get(name) or getattr(np.linalg, name))

        def function(*args: Any, **kwargs: Any) -> Any:
            if name != "norm":
                streams.no_library("cuSOLVER")
            return inner(*args, **kwargs)

        return function

    return {name: guarded(name, text) for name, text in rows(LINALG).items()}


def _complex(body: Function) -> Function:
    """NumPy's function with results that are complex for every matrix."""

    def function(a: Any) -> Any:
        found = body(a)
        kind = np.result_type(a, np.complex64)
        return (
            tuple(x.astype(kind) for x in found) if isinstance(found, tuple) else found.astype(kind)
        )

    return function


def _solve(a: Any, b: Any) -> Any:
    """NumPy's, for right-hand sides with the matrices' own leading axes alone."""
    if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (..., M, K)")
    return np.linalg.solve(a, b)


def _inverse(a: Any) -> Any:
    """NumPy's, but for a singular matrix NaNs: nothing is read back to see that it is one."""
    found = np.full(a.shape, np.nan, a.dtype)
    for place in np.ndindex(a.shape[:-2]):
        try:
            found[place] = np.linalg.inv(a[place])
        except np.linalg.LinAlgError:
            continue
    return found


def scipy_linalg() -> dict[str, Function]:
    """The functions of `cupyx.scipy.linalg` in use: cuBLAS, for one matrix at a time."""
    import scipy.linalg

    def guarded(name: str, text: str) -> Function:
        inner = delegate(name, text, getattr(scipy.linalg, name))

        def function(a: Any, *args: Any, **kwargs: Any) -> Any:
            streams.no_library("cuBLAS")
            matrix = a[0] if isinstance(a, tuple) else a
            if matrix.ndim != 2:
                raise ValueError(f"{name}: got {matrix.ndim} axes, expected a square matrix")
            return inner(a, *args, **kwargs)

        return function

    text = "a, b, trans=0, lower=False, unit_diagonal=False, overwrite_b=False, check_finite=False"
    rest = "overwrite_b=False, check_finite=True"
    return {
        "solve_triangular": guarded("solve_triangular", text),
        "lu_factor": guarded("lu_factor", "a, overwrite_a=False, check_finite=True"),
        "lu_solve": guarded("lu_solve", f"lu_and_piv, b, trans=0, {rest}"),
    }


def scipy_signal() -> dict[str, Function]:
    """The functions of `cupyx.scipy.signal` in use; its states of a filter are not SciPy's."""
    import scipy.signal

    inner = delegate("lfilter", "b, a, x, axis=-1", scipy.signal.lfilter)

    def lfilter(b: Any, a: Any, x: Any, axis: int = -1, zi: Any = None) -> Any:
        if zi is not None:
            raise ValueError("lfilter: the stand-in has no states before the signal")
        if not all(isinstance(v, ndarray) for v in (b, a, x)):
            raise TypeError("lfilter: arrays of CuPy alone")
        return inner(b, a, x, axis)

    return {"lfilter": lfilter}


def fft() -> dict[str, Function]:
    """The functions of `cupy.fft`."""
    names = "fft ifft rfft irfft hfft ihfft fft2 ifft2 rfft2 irfft2 fftn ifftn rfftn irfftn"
    found = {n: delegate(n, "a, *args, **kwargs", getattr(np.fft, n)) for n in names.split()}
    for name in ("fftshift", "ifftshift"):
        found[name] = delegate(name, "x, axes=None", getattr(np.fft, name))
    for name in ("fftfreq", "rfftfreq"):
        found[name] = delegate(name, "n, d=1.0", getattr(np.fft, name))
    return found
