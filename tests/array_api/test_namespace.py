"""The namespace itself: its names, signatures, creation functions, dtypes, inspection, methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from judge import DTYPES, Inputs, asked, ours, same, tensors

import tensorgrad as tg

JUDGES_OWN = frozenset(
    """
    ArrayAPIStrictFlags Device get_array_api_strict_flags reset_array_api_strict_flags
    set_array_api_strict_flags
    """.split()
)
SPACES = {"": (strict, tg), "linalg": (strict.linalg, tg.linalg), "fft": (strict.fft, tg.fft)}
FLOATS = "float32 float64 complex64 complex128".split()
INTEGERS = [d for d in DTYPES if np.dtype(d).kind in "iu"]


def listed(space: str) -> list[str]:
    return [n for n in SPACES[space][0].__all__ if n not in JUDGES_OWN]


@pytest.mark.parametrize("space", SPACES)
def test_every_name_is_there(space: str) -> None:
    assert [n for n in listed(space) if not hasattr(SPACES[space][1], n)] == []


def signatures() -> list[tuple[str, Callable[..., Any], Callable[..., Any]]]:
    found = []
    for space, (judge, tested) in SPACES.items():
        for name in listed(space):
            wanted = getattr(judge, name)
            if inspect.isfunction(wanted):
                found.append((f"{space}.{name}".lstrip("."), wanted, getattr(tested, name)))
    return found


@pytest.mark.parametrize(
    ("name", "wanted", "given"), [pytest.param(*row, id=row[0]) for row in signatures()]
)
def test_signatures(name: str, wanted: Callable[..., Any], given: Callable[..., Any]) -> None:
    """What may be given by position may be so here, what by name by the same name."""
    ours_ = list(inspect.signature(given).parameters.values())
    names = {p.name for p in ours_ if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    star = any(p.kind is p.VAR_POSITIONAL for p in ours_)
    for k, p in enumerate(inspect.signature(wanted).parameters.values()):
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            by_position = k < len(ours_) and ours_[k].kind is not p.KEYWORD_ONLY
            assert star or by_position, f"{name}: {p.name} by position"
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            assert p.name in names, f"{name}: {p.name}="


# -- dtypes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_their_kinds(dtype: str) -> None:
    found, wanted = getattr(tg, dtype), getattr(strict, dtype)
    assert found == np.dtype(dtype)
    kinds = ("bool", "signed integer", "unsigned integer", "integral", "real floating",
             "complex floating", "numeric")  # fmt: skip
    for kind in (*kinds, ("bool", "integral"), ()):
        assert tg.isdtype(found, kind) is strict.isdtype(wanted, kind)
    for other in DTYPES:
        assert tg.isdtype(found, getattr(tg, other)) is (dtype == other)
        x = tg.zeros(2, dtype=getattr(tg, other))
        # NumPy lets a bool become a number, which the standard does not.
        assert tg.can_cast(x, found) is np.can_cast(other, dtype)
        assert tg.can_cast(x, found) or not strict.can_cast(getattr(strict, other), wanted)
        try:
            common = strict.result_type(wanted, getattr(strict, other))
        except TypeError:
            continue
        assert tg.result_type(found, x) == common._np_dtype


@pytest.mark.parametrize("dtype", FLOATS)
def test_limits_of_floats(dtype: str) -> None:
    wanted = strict.finfo(getattr(strict, dtype))
    for given in (getattr(tg, dtype), tg.ones(2, dtype=getattr(tg, dtype))):
        found = tg.finfo(given)
        for name in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(found, name) == getattr(wanted, name)
            assert type(getattr(found, name)) in (int, float)
        assert found.dtype == wanted.dtype._np_dtype


@pytest.mark.parametrize("dtype", INTEGERS)
def test_limits_of_integers(dtype: str) -> None:
    wanted = strict.iinfo(getattr(strict, dtype))
    found = tg.iinfo(tg.ones(2, dtype=getattr(tg, dtype)))
    assert (found.bits, found.max, found.min) == (wanted.bits, wanted.max, wanted.min)
    assert found.dtype == dtype


def test_bfloat16_is_a_floating_dtype() -> None:
    found = tg.finfo(tg.bfloat16)
    assert (found.bits, found.eps) == (16, 2.0**-7)
    assert tg.isdtype(tg.bfloat16, "real floating")
    assert not tg.isdtype(tg.bfloat16, tg.float16)
    assert tg.result_type(tg.bfloat16, 1.5) == tg.bfloat16
    assert tg.can_cast(tg.bfloat16, tg.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: tg.finfo(tg.int8),
            tg.DTypeError,
            "finfo: got dtype='int8', expected a floating dtype; try tg.finfo(tg.float64)",
        ),
        (
            lambda: tg.iinfo(tg.float32),
            tg.DTypeError,
            "iinfo: got dtype='float32', expected an integer dtype; try tg.iinfo(tg.int64)",
        ),
        (
            lambda: tg.isdtype(tg.int8, "whole"),
            ValueError,
            "isdtype: got kind='whole', expected a dtype or one of bool, signed integer, unsigned "
            'integer, integral, real floating, complex floating, numeric; try "numeric"',
        ),
        (
            lambda: tg.can_cast(1, tg.int8),
            TypeError,
            "can_cast: got from_=1, expected a dtype or an array; "
            "try result_type(dtype, number) == dtype",
        ),
        (
            lambda: tg.zeros(1).__array_namespace__(api_version="2099.12"),
            ValueError,
            "__array_namespace__: got api_version='2099.12', expected 2024.12 or older; "
            'try api_version="2024.12"',
        ),
        (
            lambda: tg.zeros(1).to_device("cpu", stream=1),
            ValueError,
            "to_device: got stream=1, expected stream=None; try with stream: ...",
        ),
    ],
)
def test_errors(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == message


# -- inspection and methods --------------------------------------------------------------------


def test_the_namespace_is_the_package() -> None:
    x = tg.zeros(3)
    for version in (None, "2024.12", "2022.12"):
        assert x.__array_namespace__(api_version=version) is tg
    assert tg.__array_api_version__ == "2024.12"
    assert (tg.e, tg.pi, tg.inf, tg.newaxis) == (np.e, np.pi, np.inf, None)
    assert np.isnan(tg.nan)


def test_inspection() -> None:
    info, wanted = tg.__array_namespace_info__(), strict.__array_namespace_info__()
    assert info.capabilities().keys() == wanted.capabilities().keys()
    assert info.default_device() in info.devices()
    defaults = info.default_dtypes()
    assert {k: d.name for k, d in defaults.items()} == {
        k: d._np_dtype.name for k, d in wanted.default_dtypes().items()
    }
    assert tg.zeros(1).dtype == defaults["real floating"]
    assert tg.asarray(1).dtype == defaults["integral"]
    assert tg.argsort(tg.zeros(1)).dtype == defaults["indexing"]
    for kind in (None, "bool", "integral", "numeric", ("real floating", "bool")):
        assert set(info.dtypes(kind=kind)) == set(wanted.dtypes(kind=kind))
    assert info.dtypes()["float32"] == tg.float32


def test_attributes_and_conversions(rng: np.random.Generator) -> None:
    x = tg.asarray(rng.standard_normal((2, 3)))
    assert x.device == "cpu"
    assert x.to_device(x.device) is x
    assert (x.shape, x.ndim, x.size) == ((2, 3), 2, 6)
    np.testing.assert_array_equal(x.mT.numpy(), x.numpy().T)
    np.testing.assert_array_equal(x.T.numpy(), x.numpy().T)
    one = tg.asarray(3)
    assert (int(one), float(one), complex(one), bool(one)) == (3, 3.0, 3 + 0j, True)
    assert [10, 20, 30, 40][one] == 40


KEYS: list[Any] = [
    0, -1, (1, 2), slice(None, None, -1), (slice(1), 0), ..., (..., None), (0, ..., slice(1, 3)),
    (None, 1, slice(None, None, 2), 0),
]  # fmt: skip


def test_indexing(rng: np.random.Generator) -> None:
    draw = Inputs(rng)
    for dtype in DTYPES:
        x, mask = draw.plain(dtype, (2, 3, 4)), draw.plain("bool", (2, 3, 4))
        for key in KEYS:
            want = asked(lambda a, k=key: a[k], x)[1]
            if want is not None:
                same(ours(lambda a, k=key: a[k], x), want)
        same(ours(lambda a, m: a[m], x, mask), asked(lambda a, m: a[m], x, mask)[1])
        for key, value in (((0, 1, 2), 1), ((..., 0), draw.plain(dtype, (2, 3)))):
            got, want = tg.asarray(x, copy=True), strict.asarray(x, copy=True)
            got[key] = tensors(value)
            want[key] = strict.asarray(value, dtype=want.dtype)
            same(got, want)


# -- creation ----------------------------------------------------------------------------------

CREATED: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("arange", (5,), {}), ("arange", (2, 7), {"step": 2}), ("arange", (7, 2, -2), {}),
    ("arange", (0.0, 1.0, 0.25), {}), ("arange", (5,), {"dtype": np.dtype("float32")}),
    ("empty", ((0, 3),), {}), ("eye", (3,), {}), ("eye", (3, 4), {"k": -1}),
    ("eye", (2,), {"dtype": np.dtype("int8")}), ("full", ((2, 3), 7), {}),
    ("full", ((), True), {}), ("full", (4, 1.5), {}), ("full", ((2,), 1j), {}),
    ("full", ((2,), 3), {"dtype": np.dtype("complex64")}), ("linspace", (0, 1, 5), {}),
    ("linspace", (0.0, 3.0, 4), {"endpoint": False}), ("linspace", (2, 3, 1), {}),
    ("linspace", (0, 1, 3), {"dtype": np.dtype("float32")}), ("linspace", (0, 1j, 3), {}),
    ("linspace", (0, 1, 0), {}), ("ones", (3,), {}), ("ones", ((2, 0),), {}),
    ("ones", ((2, 3),), {"dtype": np.dtype("bool")}), ("zeros", ((),), {}),
    ("zeros", ((2, 3),), {"dtype": np.dtype("uint8")}), ("zeros", (2,), {"device": None}),
    ("asarray", (1,), {}), ("asarray", (True,), {}), ("asarray", (2.5,), {}),
    ("asarray", (1j,), {}), ("asarray", ([[1, 2], [3, 4]],), {}), ("asarray", ([],), {}),
    ("asarray", ([1, 2],), {"dtype": np.dtype("float32"), "copy": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args", "options"), CREATED, ids=str)
def test_creation(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    accepted, want = asked(getattr(strict, name), *args, **options)
    assert accepted
    same(ours(getattr(tg, name), *args, **options), want)


@pytest.mark.parametrize("name", ["zeros_like", "ones_like", "empty_like"])
def test_creation_like_another(name: str) -> None:
    for dtype in DTYPES:
        found = getattr(tg, name)(tg.ones((2, 3), dtype=dtype), device="cpu")
        assert (found.shape, found.dtype) == ((2, 3), dtype)
        assert getattr(tg, name)(found, dtype=tg.int8).dtype == tg.int8


def test_astype_of_every_pair(rng: np.random.Generator) -> None:
    draw = Inputs(rng)
    for dtype in DTYPES:
        x = np.abs(draw.plain(dtype, (5,))).astype(dtype)
        for other in DTYPES:
            accepted, want = asked(strict.astype, x, np.dtype(other))
            if accepted:
                same(ours(tg.astype, x, np.dtype(other)), want)
        t = tg.asarray(x)
        assert tg.astype(t, t.dtype, copy=False) is t
        assert not np.shares_memory(tg.astype(t, t.dtype), t)
