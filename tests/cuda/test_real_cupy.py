"""The stand-in for CuPy held against CuPy itself, where its wheel is installed; no GPU is needed.

CuPy runs in a process of its own, its arrays over memory of the host: that shows views, strides,
flags, dtypes, promotion, parameters and the errors that are raised before anything is launched.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakecupy
import ml_dtypes
import numpy as np
import pytest
from fakecupy import tables, ufuncs

HERE = Path(__file__).parent
SHAPE = (2, 3, 4)
VIEWS = """
c | c.T | c.mT | c[0] | c[0, 1, 2] | c[..., None] | c[None] | c[:, None, ::-1] | c[::2] | c[::-1]
c[1, ..., 2] | c[..., 0] | c[:, :, 1:3] | c[1.5] | c[np.int64(1)] | c[:, ::-1] | c.T[1:3]
c.reshape(6, 4) | c.reshape(2, -1) | c.reshape((24,)) | c.reshape(2, 3, 4, 1) | c.ravel()
c.T.ravel('F') | c.reshape(-1, 1, 4) | c[:, :1].reshape(2, 4) | c[:1].squeeze() | c.squeeze()
c[None].squeeze(0) | c.transpose(2, 0, 1) | c.transpose((0, 2, 1)) | c.transpose()
c.swapaxes(0, 2) | c.view('i4') | c.view('i8') | c.view('u1') | c.view('c8') | c.view('f2')
c.view('?') | c.diagonal() | c.diagonal(1, 1, 2) | cupy.diagonal(c, 0, 2, 0)
c[:, :3].diagonal(0, 0, 1) | cupy.broadcast_to(c[0], (5, 3, 4))
cupy.broadcast_to(c[:, :1], (2, 3, 4)) | cupy.flip(c, 1) | cupy.flip(c, (0, 2)) | cupy.fliplr(c)
cupy.flipud(c) | cupy.expand_dims(c, 1) | cupy.expand_dims(c, (0, 2)) | cupy.moveaxis(c, 0, -1)
cupy.moveaxis(c, (0, 1), (2, 0)) | cupy.rollaxis(c, 2) | cupy.rot90(c) | cupy.swapaxes(c, 0, 1)
cupy.permute_dims(c, (2, 0, 1)) | cupy.matrix_transpose(c) | cupy.transpose(c, (1, 0, 2))
windows(c) | cupy.reshape(c, (4, 6)) | cupy.real(c) | cupy.ascontiguousarray(c)
cupy.ascontiguousarray(c[0, 0, 0]) | cupy.squeeze(c[:1], 0) | b | b.T | b[0] | b.view('u2')
b.view('f2') | b[::2].T | b.reshape(4, 3) | b.real | d | d.T[0] | d.view('f4')
"""
ERRORS = """
c[5] | c[0, 0, 0, 0] | c[..., ...] | c['a'] | c.reshape(5) | c.reshape(-1, -1) | c.reshape(-1, 5)
c.T.reshape(24, copy=False) | c.transpose(2, 0) | c.transpose(0, 0, 1) | c.swapaxes(0, 5)
c.squeeze(1) | c.T.view('i8') | c.diagonal(0, 0, 5) | cupy.moveaxis(c, 5, 0)
cupy.expand_dims(c, 9) | cupy.broadcast_to(c, (2, 3)) | cupy.broadcast_to(c, (3, 3, 4))
len(c[0, 0, 0]) | iter(c[0, 0, 0]) | bool(c) | c.item() | c.item(0) | hash(c) | np.asarray(c)
np.array([c]) | range(c[0, 0, 0]) | c.flags.writeable | c.foo | c.setflags() | c.__index__()
setattr(c, 'foo', 1) | c.set([1]) | c.set(np.zeros((2, 3, 4), 'f8')) | c.fill(h) | c.fill([1])
c.astype('O') | c.__setitem__(9, 1) | c.__setitem__((0, 0), h[0, 0]) | c.__setitem__(0, [1, 2, 3])
c.astype('i4', casting='safe') | cupy.ndarray((3,), 'O') | cupy.ndarray((-1,))
cupy.take(c, [0], axis=5) | cupy.sum(c, axis=5) | cupy.argsort(c, kind='quicksort')
cupy.copyto(c, h) | cupy.broadcast_to(h, (2, 2, 3, 4)) | cupy.ascontiguousarray(h)
cupy.expand_dims(h, 0) | cupy.cumsum(h) | cupy.stack([c, h]) | cupy.matmul(c, h) | c @ h
cupy.add(c) | cupy.add(c, c, c, c) | cupy.add(c, c, foo=1) | cupy.sqrt(c, where=True)
cupy.multiply.at(c, 0, 1) | cupy.maximum.reduce(c) | cupy.subtract.accumulate(c)
cupy.take_along_axis(c, c, 0) | cupy.take_along_axis(c, i, 0) | cupy.put_along_axis(c, i, 1, 0)
cupy.count_nonzero(c, keepdims=True) | cupy.take(c, 0, mode='clip') | cupy.argsort(c, stable=True)
cupy.take_along_axis(c, i) | cupy.vecdot | cupy.emath | cupy.sum(c, where=True)
cupy.asarray(c, like=c) | cupyx.scatter_add(m, i, m[:2]) | cupyx.scatter_add(b, i, b[:2])
cupyx.scatter_add(z, i, z[:2]) | cupyx.scatter_max(e, i, e[:2]) | cupyx.scatter_max(b, i, b[:2])
c.sum(out=h) | cupy.any(c, where=m) | cupy.RawModule(code='', options=['-a']) | cupy.RawModule()
cupy.RawModule(code='', path='') | cupy.RawKernel('', 'f', ['-a']) | c.tostring()
cupy.nonexistent | cupy.cuda.nonexistent
"""
MESSAGES = re.compile(
    r"Implicit conversion|out of bounds|too many indices|Unsupported dtype|only support|"
    r"cannot reshape"
)
ARRAYS = {
    "c": "f4", "d": "c16", "i": "i8", "e": "f2", "m": "?", "z": "c8", "b": "bfloat16",
}  # fmt: skip


def windows(c: Any) -> Any:
    """A view by strides, which keeps whose memory it is."""
    found = c.view()
    found._set_shape_and_strides((2, 3, 3, 2), (48, 16, 4, 4), True, True)
    return found


def _lines(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split("|")]


def host_arrays() -> dict[str, Any]:
    """The arrays that the expressions name, by NumPy."""
    shapes = {"c": SHAPE, "d": (2, 3), "b": (3, 4)}
    found = {}
    for name, dtype in ARRAYS.items():
        kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        found[name] = np.zeros(shapes.get(name, (3,)), kind)
    found["i"] = np.zeros(2, np.int64)
    return found


def describe(expressions: list[str], scope: dict[str, Any], array: type) -> list[Any]:
    """Of every expression its layout, or its error."""
    found = []
    for text in expressions:
        try:
            value = eval(text, scope)
        except Exception as error:
            axis = type(error).__name__ == "AxisError"  # NumPy's names the argument too
            message = str(error) if MESSAGES.search(str(error)) and not axis else ""
            found.append([type(error).__name__, message])
            continue
        if not isinstance(value, array):
            found.append([repr(value)[:60]])
            continue
        root = value.base if value.base is not None else value
        flags = [value.flags.c_contiguous, value.flags.f_contiguous, value.flags.owndata]
        offset = value.data.ptr - root.data.ptr if value.size else 0
        names = [name for name in scope if scope[name] is root]
        dtype = value.dtype.name
        found.append([list(value.shape), list(value.strides), dtype, flags, offset, names])
    return found


def promotions() -> list[list[Any]]:
    """Pairs of dtype characters, and a Python number beside a dtype."""
    chars = "?bBhHiIlLefdFDE"
    numbers = [[a, w] for a in chars for w in ("int", "float", "complex")]
    return [[a, b] for a in chars for b in chars] + numbers


BINARY = """add true_divide power maximum arctan2 less equal floor_divide bitwise_and logaddexp
logical_and logical_xor ldexp float_power left_shift""".split()


def _signature(function: Any) -> str:
    found = inspect.signature(function)
    plain = [p.replace(annotation=p.empty) for p in found.parameters.values()]
    text = str(found.replace(parameters=plain, return_annotation=found.empty))[1:-1]
    return text.replace("<class 'float'>", "float").replace("<class 'int'>", "int")


# -- what the child process does: CuPy itself ------------------------------------------------------


def _real_loop(cupy: Any, name: str, a: str, b: str) -> str | None:
    """The loop that CuPy takes for two dtypes, or for one and a Python number."""
    numbers: dict[str, Any] = {"int": 0, "float": 0.0, "complex": 0j}
    scalar = cupy._core._scalar.CScalar
    pair = [scalar(numbers[t] if t in numbers else ufuncs.dtype_of(t).type(0)) for t in (a, b)]
    try:
        op = getattr(cupy, name)._ops.guess_routine(name, {}, pair, None, None)
    except TypeError:
        return None
    chars = [np.dtype(t).char for t in op.in_types], [np.dtype(t).char for t in op.out_types]
    return ">".join("".join(part) for part in chars)


def _over_host(cupy: Any, array: Any) -> Any:
    """CuPy's array over the memory of NumPy's."""
    memory = cupy.cuda.UnownedMemory(array.ctypes.data, max(array.nbytes, 1), array, 0)
    pointer = cupy.cuda.MemoryPointer(memory, 0)
    return cupy.ndarray(array.shape, array.dtype, pointer, array.strides)


def _names(cupy: Any, cupyx: Any) -> dict[str, list[str]]:
    """The names of every module that the stand-in plays."""
    parts = "runtime memory compiler driver nvrtc stream graph pinned_memory".split()
    found = {f"cupy.cuda.{part}": dir(getattr(cupy.cuda, part)) for part in parts}
    return found | {
        "cupy": dir(cupy),
        "cupy.cuda": dir(cupy.cuda),
        "cupy.random": [*dir(cupy.random), "Generator"],  # imported when asked for
        "cupy.linalg": dir(cupy.linalg),
        "cupy.fft": dir(cupy.fft),
        "cupyx": [*dir(cupyx), "scipy"],
        "cupyx.scipy.special": dir(cupyx.scipy.special),
    }


def truth() -> dict[str, Any]:
    """Everything that the tests compare, by CuPy."""
    import cupy
    import cupyx
    import cupyx.scipy.special as special

    arrays = host_arrays()
    scope = {name: _over_host(cupy, array) for name, array in arrays.items()}
    scope |= {"np": np, "cupy": cupy, "cupyx": cupyx, "h": arrays["c"], "windows": windows}
    methods = [n for n in dir(cupy.ndarray) if not n.startswith("__")]
    loops = {
        home: {n: getattr(o, n).types for n in dir(o) if isinstance(getattr(o, n), cupy.ufunc)}
        for home, o in (("cupy", cupy), ("special", special))
    }
    plain = {n: getattr(cupy, n) for n in dir(cupy)}
    return {
        "version": cupy.__version__,
        "views": describe(_lines(VIEWS), scope, cupy.ndarray),
        "errors": describe(_lines(ERRORS), scope, cupy.ndarray),
        "methods": methods,
        "loops": loops,
        "where": cupy._sorting.search._where_ufunc.types,
        "clip": cupy._core._routines_math._clip.types,
        "signatures": {n: _signature(f) for n, f in plain.items() if inspect.isfunction(f)},
        "names": _names(cupy, cupyx),
        "promotions": {
            name: [_real_loop(cupy, name, a, b) for a, b in promotions()] for name in BINARY
        },
        "out_of_memory": [
            str(cupy.cuda.memory.OutOfMemoryError(1000, 2000, limit)) for limit in (0, 3000)
        ],
        "runtime_errors": {
            str(s): str(cupy.cuda.runtime.CUDARuntimeError(s))
            for s in (1, 2, 35, 100, 101, 400, 600, 700, 900, 901, 904, 905, 906, 907)
        },
    }


# -- the comparison --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Any:
    """What CuPy says; TG_REAL_CUPY names an interpreter that has it, where this one has not."""
    python = os.environ.get("TG_REAL_CUPY")
    if python is None and importlib.util.find_spec("cupy") is None:
        pytest.skip("CuPy itself is not installed (pip install cupy-cuda13x; no GPU is needed)")
    script = (
        "import sys, json, warnings; warnings.simplefilter('ignore')\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "import test_real_cupy; print('TRUTH' + json.dumps(test_real_cupy.truth()))"
    )
    command = [python or sys.executable, "-c", script]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # its arrays lie in memory of the host
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=hidden)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.partition("TRUTH")[2])
    if not found["version"].startswith("14."):
        pytest.skip(f"the stand-in plays CuPy 14, this is {found['version']}")
    return found


@pytest.fixture
def scope() -> Iterator[dict[str, Any]]:
    """The stand-in, with the arrays that the expressions name."""
    with fakecupy.install():
        import cupy
        import cupyx
        import cupyx.scipy.special

        arrays = host_arrays()
        found = {name: cupy.asarray(array) for name, array in arrays.items()}
        named = {"np": np, "cupy": cupy, "cupyx": cupyx, "h": arrays["c"], "windows": windows}
        yield found | named


@pytest.mark.parametrize(("kind", "text"), [("views", VIEWS), ("errors", ERRORS)])
def test_layouts_and_errors_are_cupys(
    real: Any, scope: dict[str, Any], kind: str, text: str
) -> None:
    lines = _lines(text)
    ours = describe(lines, scope, scope["cupy"].ndarray)
    wrong = [row for row in zip(lines, ours, real[kind]) if row[1] != row[2]]
    assert not wrong, "\n".join(f"{line}: got {got}, CuPy {want}" for line, got, want in wrong)


def test_no_name_that_cupy_lacks(real: Any, scope: dict[str, Any]) -> None:
    for module, names in real["names"].items():
        ours = {n for n in vars(sys.modules[module]) if not n.startswith("__")} - {"__getattr__"}
        assert ours <= set(names), f"{module}: {sorted(ours - set(names))}"
    own = {n for n in dir(scope["cupy"].ndarray) if not n.startswith("__")} - {"_a"}
    assert own <= set(real["methods"])


def test_tables_are_cupys(real: Any) -> None:
    for name, text in fakecupy.functions.rows(tables.FUNCTIONS).items():
        assert text == real["signatures"][name], name
    for home, ours in (("cupy", tables.UFUNCS), ("special", tables.SPECIAL)):
        for name, loops in ours.items():
            assert [found.replace(">", "->") for found in loops] == real["loops"][home][name], name
    for name, ours in (("where", tables.WHERE), ("clip", tables.CLIP)):
        assert [found.replace(">", "->") for found in ours] == real[name]


@pytest.mark.parametrize("name", BINARY)
def test_loops_are_found_as_cupy_finds_them(real: Any, name: str) -> None:
    kinds: dict[str, Any] = {"int": int, "float": float, "complex": complex}
    for (a, b), want in zip(promotions(), real["promotions"][name]):
        types = [np.dtype(kinds[t]) if t in kinds else ufuncs.dtype_of(t) for t in (a, b)]
        got = ufuncs.loop(tables.UFUNCS[name], types, [False, kinds.get(b, False)])
        assert got == want, f"{name}({a}, {b}): got {got}, CuPy {want}"


def test_words_of_errors(real: Any) -> None:
    from fakecupy.machine import CUDARuntimeError
    from fakecupy.memory import OutOfMemoryError

    assert [str(OutOfMemoryError(1000, 2000, n)) for n in (0, 3000)] == real["out_of_memory"]
    for status, text in real["runtime_errors"].items():
        assert str(CUDARuntimeError(int(status))) == text
