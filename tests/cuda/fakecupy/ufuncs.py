"""CuPy's ufuncs: loops found as CuPy finds them, NumPy's functions inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from . import streams
from .array import ndarray, operand, quiet
from .tables import CLIP, SPECIAL, UFUNCS, WHERE

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BITWISE = frozenset("nextafter frexp signbit copysign ldexp".split())  # not by way of float32
NUMPY = {"abs": "absolute", "conj": "conjugate", "mod": "remainder"}
REDUCED = {"add": "sum", "multiply": "prod"}
ACCUMULATED = {"add": "cumsum", "multiply": "cumprod"}
SCATTERED = {
    "add": np.add,
    "subtract": np.subtract,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor,
}


def dtype_of(char: str) -> Any:
    return BFLOAT16 if char == "E" else np.dtype(char)


def _score(kind: Any) -> int:
    ranks: Any = (np.bool_, (np.integer, int), (np.inexact, float, complex))
    for score, kinds in enumerate(ranks):
        if issubclass(kind, kinds):
            return score
    return 3


def loop(loops: Sequence[str], types: Sequence[Any], weak: Sequence[Any]) -> str | None:
    """The first loop that takes operands of these dtypes.

    `weak` holds the Python type of each operand that is a Python number, else False. Those give
    way to the arrays unless they are of a higher kind.
    """
    if ">?" in loops[0] and len(types) == 2 and int in weak and "qQ>?" in loops:
        types, weak = _compared(types, weak)
    scalars = [_score(w) for w in weak if w]
    arrays = [_score(t.type) for t, w in zip(types, weak) if not w]
    if not scalars or not arrays or max(arrays) < max(scalars):
        weak = [False] * len(types)
    for found in loops:
        if all(_takes(dtype_of(c), t, w) for c, t, w in zip(found, types, weak)):
            return found
    return None


def _compared(types: Sequence[Any], weak: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """An integer is compared with integers by value: it counts as int64."""
    if any(_score(t.type) > 1 for t in types):
        return types, weak
    return [np.dtype(np.int64) if w is int else t for t, w in zip(types, weak)], (False, False)


def _takes(wanted: Any, given: Any, weak: Any) -> bool:
    if np.can_cast(given, wanted):
        return True
    try:
        return bool(weak) and np.result_type(weak(0), wanted) == wanted
    except TypeError:
        return False


def _power(base: Any, exponent: Any) -> Any:
    """Integers to negative powers are 0, or +-1 for +-1."""
    if base.dtype.kind not in "iu" or not (exponent < 0).any():
        return np.power(base, exponent)
    plain = np.power(base, np.where(exponent < 0, 0, exponent))
    odd = np.where(exponent & 1, base, 1)
    return np.where(exponent < 0, np.where(abs(base) == 1, odd, 0), plain)


def _body(name: str) -> Callable[..., Any]:
    own: dict[str, Any] = {"power": _power, "pow": _power, "_where": np.where, "_clip": np.clip}
    if name in own:
        return own[name]  # type: ignore[no-any-return]
    if name in UFUNCS:
        return getattr(np, NUMPY.get(name, name))  # type: ignore[no-any-return]
    import scipy.special

    return getattr(scipy.special, name)  # type: ignore[no-any-return]


class ufunc:  # noqa: N801
    """One function of CuPy's elementwise kind."""

    def __init__(self, name: str, loops: Sequence[str]) -> None:
        inputs, outputs = loops[0].split(">")
        self.name = f"cupy_{name}"
        self.__name__ = name
        self.nin, self.nout = len(inputs), len(outputs)
        self.nargs = self.nin + self.nout
        self.types = [found.replace(">", "->") for found in loops]
        self._loops = loops

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        out, dtype = kwargs.pop("out", None), kwargs.pop("dtype", None)
        casting = kwargs.pop("casting", "same_kind")
        where = kwargs.pop("where") if isinstance(kwargs.get("where"), ndarray) else None
        if kwargs:
            raise TypeError(f"Wrong arguments {kwargs}")
        if len(args) not in (self.nin, self.nargs):
            raise TypeError(
                f"Wrong number of arguments for '{self.name}'. It must be either {self.nin} or "
                f"{self.nargs} (with outputs), but given {len(args)}."
            )
        outs = args[self.nin :] or (out if isinstance(out, tuple) else (out,) * (out is not None))
        if len(outs) not in (0, self.nout):
            raise ValueError(f"The 'out' parameter of {self.name} must have {self.nout} arrays")
        values = [operand(a) for a in args[: self.nin]]
        return self._run(values, outs, dtype, where, casting)

    def _run(self, values: Any, outs: Any, dtype: Any, where: Any, casting: Any) -> Any:
        found = self._loop(values, dtype)
        inputs, outputs = found.split(">")
        arrays = [
            v if isinstance(v, np.ndarray) else _scalar(v, dtype_of(c))
            for v, c in zip(values, inputs)
        ]
        mask = None if where is None else operand(where)
        shape = np.broadcast_shapes(
            *(a.shape for a in arrays), *([] if mask is None else [mask.shape])
        )
        types = [dtype_of(c) for c in outputs]
        outs = self._outs(outs, shape, types, casting)
        targets = [out._a for out in outs]
        keep = True if mask is None else mask

        def work() -> None:
            with quiet():
                results = self._compute(arrays, inputs)
                for target, result in zip(targets, results):
                    np.copyto(target, result, casting="unsafe", where=keep)

        streams.submit(work)
        return outs[0] if self.nout == 1 else tuple(outs)

    def _loop(self, values: Any, dtype: Any) -> str:
        if dtype is not None:
            wanted = [f for f in self._loops if all(dtype_of(c) == dtype for c in f.split(">")[1])]
            if not wanted:
                raise TypeError(f"Wrong type ({np.dtype(dtype)}) of arguments for {self.name}")
            return wanted[0]
        types = [np.dtype(type(v)) if not hasattr(v, "dtype") else v.dtype for v in values]
        weak = [type(v) if type(v) in (int, float, complex) else False for v in values]
        found = loop(self._loops, types, weak)
        if found is None:
            names = tuple(t.type for t in types)
            raise TypeError(f"Wrong type ({names}) of arguments for {self.name}")
        if found[0] == "?" and self.__name__ in ("negative", "positive", "subtract"):
            raise TypeError(f"the cupy boolean {self.__name__} is not supported")
        return found

    def _compute(self, arrays: Any, inputs: str) -> Any:
        wide = [
            a.astype("f" if c in "eE" and self.__name__ not in BITWISE else dtype_of(c))
            for a, c in zip(arrays, inputs)
        ]
        results = _body(self.__name__)(*wide)
        return results if self.nout > 1 else (results,)

    def _outs(self, outs: Any, shape: Any, types: Any, casting: Any) -> list[ndarray]:
        if not outs:
            return [ndarray(shape, t) for t in types]
        for out, dtype in zip(outs, types):
            if not isinstance(out, ndarray):
                raise TypeError("Output arguments type must be cupy.ndarray")
            if out.shape != shape:
                raise ValueError("Out shape is mismatched")
            if not np.can_cast(dtype, out.dtype, casting):
                raise TypeError(
                    f"output (typecode '{dtype.char}') could not be coerced to provided output "
                    f"parameter (typecode '{out.dtype.char}') according to the casting rule "
                    f'"{casting}"'
                )
            operand(out)
        return list(outs)

    # -- methods: those that CuPy has --------------------------------------------------------------

    def reduce(
        self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        if self.__name__ not in REDUCED:
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return getattr(array, REDUCED[self.__name__])(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        if self.__name__ not in ACCUMULATED:
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return getattr(array, ACCUMULATED[self.__name__])(axis, dtype, out)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        from .indexing import scatter

        if self.__name__ not in SCATTERED:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        scatter(a, indices, b, SCATTERED[self.__name__], self.__name__)

    def outer(self, A: Any, B: Any, **kwargs: Any) -> Any:
        return self(A.reshape(A.shape + (1,) * B.ndim), B, **kwargs)


def _scalar(value: Any, dtype: Any) -> Any:
    """A number in the type of its loop; an integer that does not fit raises OverflowError."""
    if type(value) is int and dtype.kind in "iu":
        return np.asarray(dtype.type(value))
    return np.asarray(value).astype(dtype)


UFUNC = {name: ufunc(name, loops) for name, loops in UFUNCS.items()}
SPECIAL_UFUNC = {name: ufunc(name, loops) for name, loops in SPECIAL.items()}
where_ufunc = ufunc("_where", WHERE)
clip_ufunc = ufunc("_clip", CLIP)
