"""Calls of the standard's functions that are not elementwise: arguments for one dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from judge import Array, Inputs

Call = tuple[tuple[Any, ...], dict[str, Any]]
Cases = Callable[[Inputs, str], Iterator[Call]]

SHAPES = ((), (5,), (3, 4), (2, 3, 4), (0, 3))


def reduce(draw: Inputs, dtype: str, **more: Any) -> Iterator[Call]:
    for shape in SHAPES[:4]:
        yield (draw.plain(dtype, shape),), more
    x = draw.plain(dtype, (2, 3, 4))
    for axis in (0, -1, (0, 2), (-1, 1), ()):
        yield (x,), {"axis": axis, **more}
    yield (x,), {"axis": 1, "keepdims": True, **more}
    yield (draw.plain(dtype, (2, 0)),), {"axis": 0, **more}


def totals(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield from reduce(draw, dtype)
    yield (draw.plain(dtype, (0, 3)),), {"axis": 0}
    for other in ("float32", "float64", "int16", "int64", "complex128"):
        if np.can_cast(dtype, other, "same_kind"):
            yield (draw.plain(dtype, (3, 4)),), {"dtype": np.dtype(other), "axis": 0}


def extremes(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield from reduce(draw, dtype)
    yield (draw.mixed(dtype, (3, 4)),), {"axis": 0}


def spreads(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield from reduce(draw, dtype)
    for axis in (None, 0, (1, -1)):
        yield (draw.plain(dtype, (2, 3, 4)),), {"axis": axis, "correction": 1.0}


def places(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 4))
    for options in ({}, {"axis": 0}, {"axis": -1, "keepdims": True}, {"keepdims": True}):
        yield (x,), options


def running(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (5,)),), {}
    yield (draw.plain(dtype, (5,)),), {"include_initial": True}
    for axis in (0, -1):
        yield (draw.plain(dtype, (3, 4)),), {"axis": axis}
    yield (draw.plain(dtype, (0, 3)),), {"axis": 0, "include_initial": True}
    if np.can_cast(dtype, "float64", "same_kind"):
        yield (draw.plain(dtype, (4,)),), {"dtype": np.dtype("float64")}


def sorts(draw: Inputs, dtype: str) -> Iterator[Call]:
    for shape, options in (
        ((7,), {}), ((3, 4), {"axis": 0}), ((3, 4), {"descending": True}), ((0,), {}),
        ((7,), {"stable": False, "descending": True}), ((2, 5), {"axis": -2, "stable": True}),
    ):  # fmt: skip
        yield (draw.plain(dtype, shape),), options


def orders(draw: Inputs, dtype: str) -> Iterator[Call]:
    for args, options in sorts(draw, dtype):
        if options.get("stable", True):
            yield args, options


def found(draw: Inputs, dtype: str) -> Iterator[Call]:
    a = np.sort(draw.plain(dtype, (6,)))
    for v in (draw.plain(dtype, (3, 2)), draw.plain(dtype, ())):
        yield (a, v), {}
        yield (a, v), {"side": "right"}
    x = draw.plain(dtype, (6,))
    yield (x, draw.plain(dtype, (4,))), {"sorter": np.argsort(x)}


def differences(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 5))
    for options in ({}, {"axis": 0}, {"n": 2}, {"n": 0}):
        yield (x,), options
    yield (x,), {"prepend": draw.plain(dtype, (3, 1)), "append": draw.plain(dtype, (3, 2))}


def counted(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.mixed(dtype, (3, 4))
    for options in ({}, {"axis": 0}, {"axis": (0, 1), "keepdims": True}):
        yield (x,), options


def bare(draw: Inputs, dtype: str) -> Iterator[Call]:
    for shape in SHAPES[1:]:
        yield (draw.plain(dtype, shape),), {}


def matrices(draw: Inputs, dtype: str) -> Iterator[Call]:
    for shape in ((3, 4), (2, 3, 4), (0, 3)):
        yield (draw.plain(dtype, shape),), {}


def triangles(draw: Inputs, dtype: str) -> Iterator[Call]:
    for args, _ in matrices(draw, dtype):
        for k in (0, 1, -2):
            yield args, {"k": k}


def shaped(*options: dict[str, Any], shape: tuple[int, ...] = (2, 3, 4)) -> Cases:
    def cases(draw: Inputs, dtype: str) -> Iterator[Call]:
        for one in options:
            yield (draw.plain(dtype, shape),), dict(one)

    return cases


def placed(*rest: tuple[Any, ...], shape: tuple[int, ...] = (2, 3, 4)) -> Cases:
    """An array, then these arguments by position."""

    def cases(draw: Inputs, dtype: str) -> Iterator[Call]:
        for one in rest:
            yield (draw.plain(dtype, shape), *one), {}

    return cases


def squeezes(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (1, 3, 1)), 0), {}
    yield (draw.plain(dtype, (1, 3, 1)), (0, -1)), {}


def lists(draw: Inputs, dtype: str) -> Iterator[Call]:
    x, y = draw.plain(dtype, (2, 3)), draw.plain(dtype, (2, 3))
    for options in ({}, {"axis": 1}, {"axis": -1}):
        yield ([x, y],), options


def joined(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield from lists(draw, dtype)
    yield ((draw.plain(dtype, (2, 3)), draw.plain(dtype, (4,))),), {"axis": None}


def together(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (3, 1)), draw.plain(dtype, (4,))), {}
    yield (draw.plain(dtype, ()), draw.plain(dtype, (2, 2))), {}


def vectors(draw: Inputs, dtype: str) -> Iterator[Call]:
    x, y = draw.plain(dtype, (3,)), draw.plain(dtype, (4,))
    for options in ({}, {"indexing": "ij"}):
        yield (x, y), options


def picks(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 4))
    yield (x, draw.rng.integers(0, 3, 5)), {"axis": 0}
    yield (x, draw.rng.integers(-4, 4, 2)), {"axis": -1}
    yield (draw.plain(dtype, (5,)), draw.rng.integers(0, 5, 3)), {}


def along(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 4))
    yield (x, draw.rng.integers(0, 4, (3, 2))), {}
    yield (x, draw.rng.integers(0, 3, (2, 4))), {"axis": 0}


def products(draw: Inputs, dtype: str) -> Iterator[Call]:
    for one, other in (
        ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((3, 4), (4, 2)), ((2, 3, 4), (4, 2)),
        ((2, 1, 3, 4), (3, 4, 2)), ((3, 0), (0, 2)),
    ):  # fmt: skip
        yield (draw.plain(dtype, one), draw.plain(dtype, other)), {}


def contracted(draw: Inputs, dtype: str) -> Iterator[Call]:
    x, y = draw.plain(dtype, (2, 3, 4)), draw.plain(dtype, (3, 4, 2))
    yield (x, y), {}
    yield (x, y), {"axes": ((1, 2), (0, 1))}
    yield (x, y), {"axes": 0}


def dotted(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (2, 3)), draw.plain(dtype, (3,))), {}
    yield (draw.plain(dtype, (3, 2)), draw.plain(dtype, (3, 2))), {"axis": -2}


def repeats(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 2))
    yield (x, 2), {}
    yield (x, 2), {"axis": 0}
    yield (x, np.asarray([1, 0, 2])), {"axis": 0}


FUNCTIONS: dict[str, Cases] = {
    "all": counted, "any": counted, "argmax": places, "argmin": places, "argsort": orders,
    "broadcast_arrays": together, "concat": joined, "count_nonzero": counted,
    "cumulative_prod": running, "cumulative_sum": running, "diff": differences,
    "expand_dims": shaped({"axis": 0}, {"axis": -1}, {"axis": 1}),
    "flip": shaped({}, {"axis": 0}, {"axis": (-1, 1)}),
    "broadcast_to": placed(((3, 2, 4),), ((2, 4),), shape=(2, 1)),
    "matmul": products, "matrix_transpose": matrices, "max": extremes, "mean": reduce,
    "meshgrid": vectors, "min": extremes,
    "moveaxis": placed((0, 2), ((0, 1), (-1, 0))), "nonzero": bare,
    "permute_dims": placed(((2, 0, 1),)), "prod": totals, "repeat": repeats,
    "reshape": placed(((6, 4),), ((-1,),), ((2, -1, 2),)),
    "roll": placed((1,), ((1, -2), (0, 1)), (5, -1)),
    "searchsorted": found, "sort": sorts, "squeeze": squeezes, "stack": lists, "std": spreads,
    "sum": totals, "take": picks, "take_along_axis": along, "tensordot": contracted,
    "tile": placed(((2,),), ((2, 1, 3, 1),)), "tril": triangles, "triu": triangles,
    "unique_all": bare, "unique_counts": bare, "unique_inverse": bare, "unique_values": bare,
    "unstack": shaped({}, {"axis": 1}), "var": spreads, "vecdot": dotted,
    "zeros_like": bare, "ones_like": bare, "full_like": placed((1,), (True,)),
}  # fmt: skip
"""The functions of the main namespace; creation from numbers stands in `test_namespace.py`."""


def _regular(draw: Inputs, dtype: str, *shape: int) -> Array:
    """Well-conditioned square matrices."""
    return np.asarray(draw.plain(dtype, shape) + 8 * np.eye(shape[-1]), dtype)


def squares(draw: Inputs, dtype: str) -> Iterator[Call]:
    for shape in ((3, 3), (2, 4, 4), (0, 2, 2)):
        yield (_regular(draw, dtype, *shape),), {}


def hermitian(draw: Inputs, dtype: str) -> Iterator[Call]:
    for (x,), _ in squares(draw, dtype):
        yield (np.asarray((x + np.conj(np.swapaxes(x, -1, -2))) / 2, dtype),), {}


def definite(draw: Inputs, dtype: str) -> Iterator[Call]:
    for args, _ in hermitian(draw, dtype):
        yield args, {}
        yield args, {"upper": True}


def systems(draw: Inputs, dtype: str) -> Iterator[Call]:
    a = _regular(draw, dtype, 2, 3, 3)
    yield (a[0], draw.plain(dtype, (3,))), {}
    yield (a, draw.plain(dtype, (2, 3, 2))), {}


def powers(draw: Inputs, dtype: str) -> Iterator[Call]:
    for (x,), _ in squares(draw, dtype):
        for n in (0, 1, 3, -2):
            yield (x, n), {}


def diagonals(draw: Inputs, dtype: str) -> Iterator[Call]:
    for (x,), _ in matrices(draw, dtype):
        for k in (0, 1, -1):
            yield (x,), {"offset": k}


def traces(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield from diagonals(draw, dtype)
    if np.can_cast(dtype, "float64", "same_kind"):
        yield (draw.plain(dtype, (3, 3)),), {"dtype": np.dtype("float64")}


def pairs(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (3,)), draw.plain(dtype, (4,))), {}


def crossed(draw: Inputs, dtype: str) -> Iterator[Call]:
    yield (draw.plain(dtype, (4, 3)), draw.plain(dtype, (3,))), {}
    yield (draw.plain(dtype, (3, 4)), draw.plain(dtype, (3, 4))), {"axis": -2}


def vector_norms(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (2, 3, 4))
    for one in (0, 1, 2, 3, 0.5, -1, np.inf, -np.inf):
        yield (x,), {"ord": one, "axis": 1}
    yield (x,), {}
    yield (x,), {"axis": (0, 2), "keepdims": True}


def matrix_norms(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (2, 3, 4))
    for one in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        yield (x,), {"ord": one}
    yield (x,), {"keepdims": True}


LINALG: dict[str, Cases] = {
    "cholesky": definite, "cross": crossed, "det": squares, "diagonal": diagonals,
    "eigvalsh": hermitian, "inv": squares, "matmul": products, "matrix_norm": matrix_norms,
    "matrix_power": powers, "matrix_rank": squares, "matrix_transpose": matrices, "outer": pairs,
    "pinv": matrices, "slogdet": squares, "solve": systems, "svdvals": matrices,
    "tensordot": contracted, "trace": traces, "vecdot": dotted, "vector_norm": vector_norms,
}  # fmt: skip
"""The functions of the `linalg` extension; decompositions, not unique, are put together again."""


def spectra(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (3, 6))
    for options in ({}, {"n": 4}, {"n": 8, "axis": 0}, {"norm": "ortho"}, {"norm": "forward"}):
        yield (x,), options


def grids(draw: Inputs, dtype: str) -> Iterator[Call]:
    x = draw.plain(dtype, (2, 4, 6))
    for options in (
        {}, {"axes": (0, 1)}, {"s": (3, 5), "axes": (-2, -1)}, {"norm": "ortho"},
        {"norm": "forward", "axes": (1, 2)},
    ):  # fmt: skip
        yield (x,), options


def shifts(draw: Inputs, dtype: str) -> Iterator[Call]:
    for options in ({}, {"axes": 0}, {"axes": (0, 1)}):
        yield (draw.plain(dtype, (3, 4)),), options


FFT: dict[str, Cases] = {
    **dict.fromkeys("fft ifft rfft irfft hfft ihfft".split(), spectra),
    **dict.fromkeys("fftn ifftn rfftn irfftn".split(), grids),
    **dict.fromkeys("fftshift ifftshift".split(), shifts),
}
"""The functions of the `fft` extension, without `fftfreq` and `rfftfreq`."""
