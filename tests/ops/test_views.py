"""Views alias as NumPy's do: what shares memory with its argument there shares it here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from place import shares

import tensorgrad as tg

pytestmark = pytest.mark.cpu_only("NumPy tells what shares memory")

SAME: dict[str, Callable[[Any], Any]] = {
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "real": lambda x: x.real,
    "imag": lambda x: x.imag,
    "flat": lambda x: x.flat[1:3],
    "reshape": lambda x: x.reshape(-1),
    "reshape_of_T": lambda x: x.T.reshape(-1),
    "reshape_in_fortran_order": lambda x: x.T.reshape(-1, order="F"),
    "ravel": lambda x: x.ravel(),
    "ravel_of_T": lambda x: x.T.ravel(),
    "ravel_as_it_lies": lambda x: x.T.ravel(order="K"),
    "flatten": lambda x: x.flatten(),
    "copy": lambda x: x.copy(),
    "transpose": lambda x: x.transpose(),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "squeeze": lambda x: x[None].squeeze(),
    "diagonal": lambda x: x.diagonal(),
    "view": lambda x: x.view(x.dtype),
    "astype": lambda x: x.astype(x.dtype),
    "astype_without_copy": lambda x: x.astype(x.dtype, copy=False),
    "conj": lambda x: x.conj(),
    "take": lambda x: x.take([0, 1]),
    "repeat": lambda x: x.repeat(1),
    "row": lambda x: x[1],
    "slice": lambda x: x[1:, ::-1],
    "new_axis": lambda x: x[:, None],
    "ellipsis": lambda x: x[...],
    "list": lambda x: x[[0, 1]],
    "mask": lambda x: x[x == x],
}
"""Methods and attributes, of a tensor and of an array alike."""

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "array_split": lambda x: np.array_split(x, 2)[1],
    "asarray": lambda x: tg.asarray(x) if isinstance(x, tg.Tensor) else np.asarray(x),
    "atleast_1d": np.atleast_1d,
    "atleast_3d": np.atleast_3d,
    "block": lambda x: np.block([x]),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, np.ones((2, 1, 1)))[0],
    "broadcast_to": lambda x: np.broadcast_to(x, (2, *x.shape)),
    "concatenate": lambda x: np.concatenate((x,)),
    "diag": np.diag,
    "diagflat": np.diagflat,
    "diagonal": lambda x: np.diagonal(x, 1),
    "dsplit": lambda x: np.dsplit(x[None], 2)[0],
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "flip": lambda x: np.flip(x, 0),
    "fliplr": np.fliplr,
    "flipud": np.flipud,
    "hsplit": lambda x: np.hsplit(x, 2)[0],
    "imag": np.imag,
    "linalg.diagonal": np.linalg.diagonal,
    "linalg.matrix_transpose": np.linalg.matrix_transpose,
    "matrix_transpose": np.matrix_transpose,
    "meshgrid": lambda x: np.meshgrid(x[0], x[1])[0],
    "meshgrid_of_views": lambda x: np.meshgrid(x[0], x[1], copy=False)[0],
    "moveaxis": lambda x: np.moveaxis(x, 0, 1),
    "nan_to_num": np.nan_to_num,
    "permute_dims": lambda x: np.permute_dims(x, (1, 0)),
    "ravel": np.ravel,
    "real": np.real,
    "reshape": lambda x: np.reshape(x, (-1, 2)),
    "resize": lambda x: np.resize(x, x.shape),
    "roll": lambda x: np.roll(x, 0),
    "rollaxis": lambda x: np.rollaxis(x, 1),
    "rot90": lambda x: np.rot90(x, 2),
    "split": lambda x: np.split(x, 2)[1],
    "squeeze": lambda x: np.squeeze(x[None]),
    "stack": lambda x: np.stack((x,)),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1),
    "tile": lambda x: np.tile(x, 1),
    "transpose": np.transpose,
    "tril": np.tril,
    "unstack": lambda x: np.unstack(x)[1],
    "vsplit": lambda x: np.vsplit(x, 2)[0],
}
"""NumPy's functions."""


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("name", [*SAME, *(f"np.{n}" for n in FUNCTIONS)])
def test_views_are_where_numpy_has_them(name: str, dtype: str, rng: np.random.Generator) -> None:
    call = SAME[name] if name in SAME else FUNCTIONS[name.removeprefix("np.")]
    for x in layouts(rng, dtype):
        t = tg.asarray(x)
        assert np.shares_memory(t, x)
        want = call(x)
        got = call(t)
        np.testing.assert_array_equal(got, want)
        assert np.shares_memory(got, x) == np.shares_memory(want, x), x.flags


def layouts(rng: np.random.Generator, dtype: str) -> list[Any]:
    """A matrix in C order, in Fortran order, and with gaps."""
    x = rng.standard_normal((4, 4)).astype(dtype)
    return [x, x.T.copy().T, rng.standard_normal((8, 8)).astype(dtype)[::2, ::2]]


@pytest.mark.parametrize("name", SAME)
def test_views_of_a_tensor_on_the_tape(name: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 4))
    t = tg.Tensor(x, requires_grad=True)
    assert shares(SAME[name](t), t) == np.shares_memory(SAME[name](x), x)


def write(x: Any) -> None:
    """Writes through views of views."""
    x.T[0] = 1.0
    x[1:, ::2].reshape(3, 2)[0] = 2.0
    np.swapaxes(x, 0, 1)[3] += 1.0
    np.split(x, 2)[1][0] = 3.0
    x.ravel()[:2] = 4.0


def test_a_write_to_a_view_is_seen_by_its_base(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 4))
    t = tg.tensor(x)
    write(x)
    write(t)
    np.testing.assert_array_equal(t, x)
