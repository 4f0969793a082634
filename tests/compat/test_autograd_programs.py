"""The same five programs under autograd's import and under ours: they agree."""

from __future__ import annotations

import types
import warnings
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).with_name("programs.py").read_text()
NAMES = ("logistic_regression", "gaussian_process", "bayesian_network", "ode_fit", "mixture")


def loaded(package: str) -> types.ModuleType:
    """The programs with `autograd` imported from another package."""
    text = SOURCE.replace("import autograd", f"import {package}")
    text = text.replace("from autograd", f"from {package}")
    module = types.ModuleType(f"programs under {package}")
    exec(compile(text, module.__name__, "exec"), vars(module))
    return module


@pytest.fixture(scope="module")
def ours() -> types.ModuleType:
    return loaded("tensorgrad.compat.autograd")


@pytest.fixture(scope="module")
def theirs() -> types.ModuleType:
    pytest.importorskip("autograd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loaded("autograd")


@pytest.mark.parametrize("name", NAMES)
def test_programs_agree(
    name: str, seed: int, ours: types.ModuleType, theirs: types.ModuleType
) -> None:
    found = getattr(ours, name)(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = getattr(theirs, name)(seed)
    tolerance = 1e-5 if name in ("ode_fit", "gaussian_process", "mixture") else 1e-9
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        assert type(a) is type(b) or np.ndim(a) == 0
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
