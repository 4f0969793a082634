"""Every other function of the standard and its extensions, on every dtype, against the judge."""

from __future__ import annotations

from typing import Any

import array_api_strict as strict
import numpy as np
import pytest
from cases import FFT, FUNCTIONS, LINALG, Cases
from judge import DTYPES, Array, Inputs, asked, ours, same

import tensorgrad as tg

LOOSE = 256
"""The error of sums and products, in units in the last place of their largest value."""

DECOMPOSITIONS = ("eigh", "qr", "svd")


def compare(judge: Any, tested: Any, name: str, cases: Cases, draw: Inputs) -> None:
    found = 0
    for dtype in DTYPES:
        for args, options in cases(draw, dtype):
            accepted, want = asked(getattr(judge, name), *args, **options)
            found += accepted
            if accepted:
                same(ours(getattr(tested, name), *args, **options), want, LOOSE, scale=True)
    assert found


@pytest.mark.parametrize("name", FUNCTIONS)
def test_main_namespace(name: str, rng: np.random.Generator) -> None:
    if hasattr(strict, name):
        compare(strict, tg, name, FUNCTIONS[name], Inputs(rng))


@pytest.mark.parametrize("name", LINALG)
def test_linalg(name: str, rng: np.random.Generator) -> None:
    compare(strict.linalg, tg.linalg, name, LINALG[name], Inputs(rng))


@pytest.mark.parametrize("name", FFT)
def test_fft(name: str, rng: np.random.Generator) -> None:
    compare(strict.fft, tg.fft, name, FFT[name], Inputs(rng))


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_frequencies(name: str) -> None:
    for n in (1, 4, 7):
        for options in ({}, {"d": 0.3}, {"dtype": np.dtype("float32")}, {"device": None}):
            accepted, want = asked(getattr(strict.fft, name), n, **options)
            assert accepted
            same(ours(getattr(tg.fft, name), n, **options), want)


def together(name: str, parts: Any) -> Array:
    """The matrix that a decomposition is one of."""
    first, second, *rest = (np.asarray(p) for p in parts)
    if name == "eigh":
        return np.asarray((second * first[..., None, :]) @ np.conj(np.swapaxes(second, -1, -2)))
    k = second.shape[-1]
    return np.asarray(first[..., :k] * second[..., None, :] @ rest[0][..., :k, :] if rest else
                      first @ second)  # fmt: skip


@pytest.mark.parametrize("name", DECOMPOSITIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_decompositions(name: str, dtype: str, rng: np.random.Generator) -> None:
    draw = Inputs(rng)
    options: list[dict[str, Any]] = {
        "eigh": [{}], "qr": [{}, {"mode": "complete"}], "svd": [{}, {"full_matrices": False}],
    }[name]  # fmt: skip
    for shape in ((4, 4),) if name == "eigh" else ((4, 3), (2, 3, 4)):
        x = draw.plain(dtype, shape)
        x = x + np.conj(x.T) if name == "eigh" else x
        for one in options:
            want = asked(getattr(strict.linalg, name), x, **one)[1]
            got = ours(getattr(tg.linalg, name), x, **one)
            assert got._fields == want._fields
            for g, w in zip(got, want):
                assert (g.shape, g.dtype) == (w.shape, w.dtype._np_dtype)
            error = LOOSE * float(np.finfo(dtype).eps)
            np.testing.assert_allclose(together(name, got), x, rtol=error, atol=error)
