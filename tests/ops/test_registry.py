"""Every operation of the registry, tested from its own entry."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import numpy as np
import place
import pytest
from draw import Draw
from place import here

import tensorgrad as tg
from tensorgrad import dtypes
from tensorgrad.backend import base, numpy
from tensorgrad.backend.refused import REFUSED
from tensorgrad.core.backward import gradients
from tensorgrad.core.formula import Elementwise, Reduce
from tensorgrad.core.fused import Fused
from tensorgrad.core.primitive import PRIMITIVES, Primitive, Spec
from tensorgrad.core.registry import OPERATIONS, Operation
from tensorgrad.core.tensor import Tensor
from tensorgrad.testing import check_grad

Array = np.ndarray[Any, Any]
tg.ops.load()

UNBOUND = frozenset("lu_packed solve_factored inv_factored det_factored slogdet_factored".split())
"""Primitives that are never bound on a GPU, where no factors are kept."""

REFERENCES = frozenset("cdist pdist grid_sample".split())
"""Fused primitives without a kernel for GPUs, which run the reference itself."""

NAMES = [name for name in sorted(OPERATIONS) if place.chosen == "cpu" or name not in REFUSED]
SMOOTH = [name for name in NAMES if OPERATIONS[name].orders]
COUNT = 8


LACKING = {"erf": "CuPy has it for real numbers", "erfc": "CuPy has it for real numbers"}
"""Operations that refuse complex arrays on a GPU, and why."""


def samples(name: str, rng: np.random.Generator) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The samples of an operation, but for those that the backend refuses with a reason."""
    found = list(OPERATIONS[name].samples(Draw(rng)))
    if place.chosen == "cpu" or name not in LACKING:
        return found
    return [one for one in found if not any(np.iscomplexobj(a) for a in one[0])]


def oracle(operation: Operation) -> Callable[..., Any]:
    found = operation.oracle
    if not isinstance(found, str):
        return found
    module, _, attribute = found.rpartition(".")
    if module.startswith("scipy"):
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]
    value: Any = np
    for part in found.split("."):
        value = getattr(value, part)
    return value  # type: ignore[no-any-return]


def leaves(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [leaf for part in result for leaf in leaves(part)]
    return [result]


def moving(args: tuple[Any, ...]) -> list[int]:
    """Positions of floating arrays among the arguments; of lists of them, their own wrapper."""
    return [
        k for k, a in enumerate(args) if isinstance(a, np.ndarray) and dtypes.is_inexact(a.dtype)
    ]


def unpacked(
    function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Callable[..., Any], list[Any]]:
    """A function of arrays alone, also where an argument is a list of arrays."""
    flat: list[Any] = []
    shape: list[int | None] = []
    for a in args:
        if isinstance(a, list | tuple) and a and all(isinstance(x, np.ndarray) for x in a):
            flat += list(a)
            shape.append(len(a))
        else:
            flat.append(a)
            shape.append(None)

    def call(*values: Any) -> Any:
        rest = iter(values)
        packed = [next(rest) if n is None else list(itertools.islice(rest, n)) for n in shape]
        return function(*packed, **options)

    return call, flat


@pytest.mark.parametrize("name", NAMES)
def test_samples_cover_layouts(name: str, rng: np.random.Generator) -> None:
    assert len(samples(name, rng)) >= COUNT


@pytest.mark.parametrize("name", NAMES)
def test_forward_equals_oracle(name: str, rng: np.random.Generator) -> None:
    operation = OPERATIONS[name]
    for args, options in samples(name, rng):
        with np.errstate(all="ignore"):
            want = leaves(oracle(operation)(*args, **options))
            got = leaves(operation.function(*args, **options))
        assert len(got) == len(want)
        for g, w in zip(got, want):
            w = np.asarray(w)
            assert isinstance(g, Tensor)
            assert g.shape == w.shape
            assert g.dtype == w.dtype
            np.testing.assert_allclose(here(g), w, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_to_order_three(
    name: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--full")
    for number, (args, options) in enumerate(samples(name, rng)):
        call, flat = unpacked(OPERATIONS[name].function, args, options)
        where = moving(tuple(flat))
        if not where or any(a.size == 0 for a in flat if isinstance(a, np.ndarray)):
            continue

        def varied(*moved: Any, f: Any = call, flat: Any = flat, where: Any = where) -> Any:
            given = dict(zip(where, moved))
            return tuple(leaves(f(*[given.get(k, a) for k, a in enumerate(flat)])))

        order = OPERATIONS[name].orders if full or number % 3 == 1 else 1
        check_grad(varied, [flat[k] for k in where], order=order, rng=rng)


@pytest.mark.parametrize("name", SMOOTH)
def test_empty_arrays_have_empty_gradients(name: str, rng: np.random.Generator) -> None:
    for args, options in samples(name, rng):
        call, flat = unpacked(OPERATIONS[name].function, args, options)
        where = moving(tuple(flat))
        if not any(flat[k].size == 0 for k in where):
            continue
        found = tg.grad(lambda *a, f=call: total(f(*a)), argnums=where)(*flat)
        for k, g in zip(where, found):
            assert np.shape(g) == flat[k].shape


def total(result: Any) -> Any:
    """A smooth real number that depends on every output."""
    parts = [tg.sum(y * y.conj()).real for y in leaves(result) if dtypes.is_inexact(y.dtype)]
    return sum(parts[1:], parts[0])


@pytest.mark.parametrize("name", SMOOTH)
def test_forward_mode_is_the_transpose_of_reverse_mode(name: str, rng: np.random.Generator) -> None:
    for args, options in samples(name, rng):
        call, flat = unpacked(OPERATIONS[name].function, args, options)
        where = moving(tuple(flat))
        if not where:
            continue

        def f(*moved: Any, call: Any = call, flat: Any = flat, where: Any = where) -> Any:
            found = leaves(call(*put(flat, where, moved)))
            return tuple(y for y in found if dtypes.is_inexact(y.dtype))

        primals = tuple(flat[k] for k in where)
        tangents = tuple(direction(rng, x) for x in primals)
        out, pull = tg.vjp(f, *primals)
        cts = tuple(direction(rng, np.asarray(y)) for y in out)
        same, moves = tg.jvp(f, primals, tangents)
        for a, b in zip(out, same):  # a fused kernel may round otherwise than its reference
            allowed = 8 * np.finfo(np.float64).eps
            size = np.max(np.abs(b), initial=1.0)  # an element may be a sum that cancels
            np.testing.assert_allclose(a, b, rtol=allowed, atol=allowed * size)
        left = sum(np.vdot(ct, t).real for ct, t in zip(cts, moves))
        right = sum(np.vdot(g, t).real for g, t in zip(pull(cts), tangents))
        scale = sum(np.abs(np.conj(ct) * t).sum() for ct, t in zip(cts, moves))
        assert abs(left - right) <= 1e-11 * max(scale, 1.0)


def put(values: list[Any], where: list[int], moved: tuple[Any, ...]) -> list[Any]:
    """The values with those at `where` replaced."""
    found = list(values)
    for k, x in zip(where, moved):
        found[k] = x
    return found


def direction(rng: np.random.Generator, like: Array) -> Array:
    found = rng.standard_normal(like.shape)
    if like.dtype.kind == "c":
        found = found + 1j * rng.standard_normal(like.shape)
    return np.asarray(found)


@pytest.mark.parametrize("name", NAMES)
def test_batching_rule_equals_a_loop(name: str, rng: np.random.Generator) -> None:
    if name in DRAWS | RAGGED:
        return
    for args, options in samples(name, rng):
        call, flat = unpacked(OPERATIONS[name].function, args, options)
        arrays = moving(tuple(flat))
        if not arrays:
            continue
        for chosen in {tuple(arrays), tuple(arrays[:1]), tuple(arrays[-1:])}:
            stacked = [
                np.stack([a, another(name, a)]) if k in chosen else a for k, a in enumerate(flat)
            ]
            axes = tuple(0 if k in chosen else None for k in range(len(flat)))
            with np.errstate(all="ignore"):
                got = leaves(tg.vmap(call, in_axes=axes)(*stacked))
                rows = [
                    leaves(call(*[a[i] if k in chosen else a for k, a in enumerate(stacked)]))
                    for i in range(2)
                ]
            for g, *want in zip(got, *rows):
                want = np.stack([here(w) for w in want])
                value = here(g)
                assert value.dtype == want.dtype
                np.testing.assert_allclose(value, want, rtol=1e-12, atol=1e-13)


def another(name: str, a: Array) -> Array:
    """Other values in the place of a sample's."""
    return 2 * a if name in DEFINITE else np.sort(a, axis=None).reshape(a.shape)


DEFINITE = frozenset({f"linalg.{name}" for name in ("cholesky", "cho_factor", "logm", "sqrtm")})
"""Operations on matrices of positive eigenvalues, which sorting would spoil."""

DRAWS = frozenset({"dropout"})
"""Operations that draw numbers under vmap, tested on their own."""

WIDE = frozenset(
    """
    cov corrcoef bincount histogram histogram2d histogramdd
    interpolate.interpn interpolate.cubic_spline
    float_power geomspace interp poly polyder polyfit polyint signal.stft vander
    """.split()
)
"""Operations that give float64 at least, as NumPy's do."""

RAGGED = frozenset(
    """
    intersect1d setdiff1d setxor1d union1d unique unique_all unique_counts unique_inverse
    unique_values
    """.split()
)
"""Operations whose shape depends on the values of floats: they refuse a hidden batch."""


WANDERING = frozenset(["logm"])
"""SciPy's functions whose last bit depends on where their memory lies: one call in some 2,000."""


def need_one_of_each_name(lead: str, modules: Sequence[Any]) -> None:
    """A helper that is imported under a primitive's name would be taken for its kernel.

    `lead`: how the modules of families that are loaded late begin; `modules`: the others.
    """
    late = [importlib.import_module(lead + f) for f in base.LATER if find_spec(lead + f)]
    for name, primitive in PRIMITIVES.items():
        if not isinstance(primitive, Elementwise | Reduce):
            having = [m for m in (*modules, *late) if hasattr(m, name)]
            assert len({id(getattr(m, name)) for m in having}) < 2, (name, having)


def test_the_kernel_of_a_primitive_is_the_only_thing_of_its_name() -> None:
    need_one_of_each_name("tensorgrad.backend.numpy_", numpy.KERNEL_MODULES)


class Spy:
    """Watches every kernel call of every primitive: `out=`, and `spec` against what came out."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def around(self, primitive: Primitive, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arrays: Array, **params: Any) -> Any:
            result = kernel(*arrays, **params)
            outs = result if isinstance(result, tuple) else (result,)
            if isinstance(primitive, Fused):  # what follows the output is kept for backward
                outs = outs[:1]
            self.seen.add(primitive.name)
            if not any(base.known(type(p)) for p in params.values()):
                self.check_out(primitive, kernel, arrays, params, outs)
            self.check_spec(primitive, arrays, params, outs)
            return result

        return run

    def check_out(
        self, primitive: Any, kernel: Any, arrays: Any, params: Any, outs: tuple[Any, ...]
    ) -> None:
        targets = tuple(base.asarray(np.empty(o.shape, o.dtype)) for o in outs)
        kernel(*arrays, **params, out=targets if len(targets) > 1 else targets[0])
        for target, out in zip(targets, outs):
            few = 8 * np.finfo(np.float64).eps if primitive.name in WANDERING else 0
            np.testing.assert_allclose(here(target), here(out), few, few, err_msg=primitive.name)

    def check_spec(self, primitive: Any, arrays: Any, params: Any, outs: tuple[Any, ...]) -> None:
        found = primitive.spec(*(Spec(a.shape, a.dtype) for a in arrays), **params)
        for s, out in zip(found if isinstance(found, tuple) else (found,), outs):
            assert tuple(s.shape) == out.shape, primitive.name
            if not isinstance(primitive, Elementwise):
                assert s.dtype == out.dtype, primitive.name


@pytest.fixture
def spy(device: str) -> Iterator[Spy]:
    watcher = Spy()
    with watching(watcher, device):
        yield watcher


@contextmanager
def watching(watcher: Any, device: str) -> Iterator[None]:
    """Every kernel of the primitives on a device is called through `watcher.around`."""
    kind, kept = base.on(device).array_type, {}
    for primitive in PRIMITIVES.values():
        with suppress(LookupError):  # of a primitive without a kernel, `tests/cuda` complains
            kept[primitive] = primitive.kernels[kind]
    for primitive, kernel in kept.items():
        primitive.kernels[kind] = watcher.around(primitive, kernel)
    try:
        yield
    finally:
        for primitive, kernel in kept.items():
            primitive.kernels[kind] = kernel


def test_every_primitive_writes_into_out_and_knows_its_shapes(
    spy: Spy, rng: np.random.Generator
) -> None:
    run_all(NAMES, rng)
    left = {name for name in PRIMITIVES if name not in spy.seen and "_vjp" not in name}
    if place.chosen != "cpu":
        left -= (
            UNBOUND | REFERENCES | {name.rpartition(".")[2] for name in REFUSED} | REFUSED.keys()
        )
    assert not left


def run_all(names: list[str], rng: np.random.Generator) -> None:
    """Call operations on their samples, forwards, backwards and in forward mode; one to order 2."""
    for name in names:
        for number, (args, options) in enumerate(samples(name, rng)):
            call, flat = unpacked(OPERATIONS[name].function, args, options)
            where = moving(tuple(flat))
            with np.errstate(all="ignore"):
                call(*flat)
                if OPERATIONS[name].orders and where:
                    slope = tg.grad(lambda *a, f=call: total(f(*a)), argnums=where)
                    slope(*flat)
                    moved = tuple(flat[k] for k in where)
                    tg.jvp(lambda *a, f=call, x=flat, at=where: f(*put(x, at, a)), moved, moved)
                    if number == 1 and OPERATIONS[name].orders > 1:
                        tg.jvp(
                            lambda *a, g=slope, x=flat, at=where: g(*put(x, at, a)), moved, moved
                        )


@pytest.mark.parametrize("name", SMOOTH)
def test_first_order_path_equals_the_recorded_one(name: str, rng: np.random.Generator) -> None:
    for args, options in samples(name, rng):
        call, flat = unpacked(OPERATIONS[name].function, args, options)
        where = moving(tuple(flat))
        if not where:
            continue
        results = []
        for create_graph in (False, True):
            xs = [Tensor(a, requires_grad=k in where) for k, a in enumerate(flat)
                  if isinstance(a, np.ndarray)]  # fmt: skip
            tensors = iter(xs)
            y = total(call(*[next(tensors) if isinstance(a, np.ndarray) else a for a in flat]))
            if y.node is None:
                break
            targets = [x.node for x in xs if x.node is not None]
            results.append(
                gradients([y], [Tensor(np.ones(()))], targets, create_graph=create_graph, free=True)
            )
        for fast, slow in zip(*results) if results else ():
            assert (fast is None) == (slow is None)
            if fast is not None:
                assert fast.dtype == slow.dtype
                np.testing.assert_allclose(here(fast), here(slow), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_low_precision_errs_no_more_than_twice_the_reference(
    name: str, dtype: str, rng: np.random.Generator
) -> None:
    operation, low = OPERATIONS[name], dtypes.dtype(dtype)
    for args, options in samples(name, rng):
        _, flat = unpacked(operation.function, args, options)
        where = moving(tuple(flat))
        if not where or any(flat[k].dtype.kind == "c" for k in where) or "dtype" in options:
            continue
        if name == "astype" or name in WIDE:
            continue
        if name == "rms_norm":  # its default eps is the dtype's own, and so another function
            args, options = args[:3], {**options, "eps": 1e-5}
        others = [
            np.asarray(a).dtype
            for k, a in enumerate(flat)
            if isinstance(a, list | np.ndarray) and k not in where
        ]
        mixed = dtypes.result_type(low, *others)
        rounded, kept = cast((args, options), low)
        exact, same = cast((rounded, kept), np.float64)
        with np.errstate(all="ignore"):
            want = leaves(operation.function(*exact, **same))
            try:
                got = leaves(operation.function(*rounded, **kept))
            except tg.DTypeError:  # LAPACK has no 16-bit floats, and NumPy refuses them too
                assert dtypes.is_half(low)
                given, named = cast((args, options), np.float16)
                with pytest.raises(TypeError):
                    oracle(operation)(*given, **named)
                return
        for g, w in zip(got, want):
            if not dtypes.is_float(w.dtype):
                continue
            assert g.dtype in (low, mixed), (g.dtype, low)
            a, b = here(g), here(w)
            if name == "polydiv":  # zeros in front of a remainder are dropped, here of rounding
                a = np.pad(a, (b.size - a.size, 0))
            error = np.abs(a.astype(np.float64) - b)
            allowed = budget(b, dtype, name, max(flat[k].size for k in where))
            assert np.all((error <= allowed) | ~np.isfinite(b) | (a == b))


def cast(value: Any, dtype: Any) -> Any:
    """Arguments with their floating arrays in another dtype."""
    if isinstance(value, np.ndarray) and dtypes.is_float(value.dtype):
        return value.astype(dtype)
    if isinstance(value, dict):
        return {k: cast(v, dtype) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(cast(v, dtype) for v in value)
    return value


def budget(exact: Array, dtype: str, name: str, count: int) -> Array:
    """The error allowed in a dtype: a few roundings of values of their own size, of `count` inputs.

    Functions of matrices are accurate to the size of the matrix, not of each element, as is a long
    division; unwrapped phases to that of the jumps; in a picture the error of a position, eps times
    the width, meets the slope there.
    """
    eps = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    size = np.abs(exact)
    if name.startswith(("linalg.", "polydiv")) and exact.size:
        size = size.max()
    if name in ("nn.grid_sample", "unwrap"):
        size = size + 4
    scale = np.maximum(size, 1.0)
    return np.asarray(8 * eps * scale * max(1.0, np.sqrt(max(exact.size, count))))
