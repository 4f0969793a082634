"""16-bit parameters: the updates are added up in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorgrad as tg
from tensorgrad import nn, optim

KINDS = ("float16", "bfloat16")
KIND = [optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.Lion, optim.LAMB, optim.LARS]


def pair(rng: np.random.Generator, dtype: str) -> tuple[nn.Parameter, nn.Parameter]:
    """The same values as a 16-bit parameter and as a float32 one."""
    x = tg.tensor(rng.normal(size=70).astype("float32")).astype(dtype)
    return nn.Parameter(x), nn.Parameter(x.astype("float32"))


def step(opt: Any, param: Any, gradient: Any) -> None:
    param.grad = tg.tensor(gradient).astype(param.dtype)
    opt.step()
    opt.zero_grad()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("kind", KIND)
def test_the_same_steps_as_in_float32_rounded_at_the_end(
    dtype: str, kind: Any, rng: np.random.Generator
) -> None:
    low, high = pair(rng, dtype)
    a, b = kind([low], lr=1e-4), kind([high], lr=1e-4)
    for _ in range(50):  # each far below the distance of two 16-bit numbers
        gradient = tg.tensor(rng.normal(size=70)).astype(dtype).astype("float32")
        step(a, low, gradient)
        step(b, high, gradient)
    assert low.dtype == tg.dtypes.dtype(dtype)
    np.testing.assert_array_equal(
        low.detach().astype("float32").numpy(),
        high.detach().astype(dtype).astype("float32").numpy(),
    )


@pytest.mark.parametrize("dtype", KINDS)
def test_what_is_written_into_a_parameter_counts(dtype: str, rng: np.random.Generator) -> None:
    low, high = pair(rng, dtype)
    a, b = optim.SGD([low], lr=1e-4), optim.SGD([high], lr=1e-4)
    step(a, low, np.ones(70))
    step(b, high, np.ones(70))
    with tg.no_grad():
        low[:3] = 2.0
        high[:3] = 2.0
    step(a, low, np.ones(70))
    step(b, high, np.ones(70))
    # A value equal to the rounded one says nothing new, so one that no draw has come to.
    low.data, high.data = low.data * 0 + 8, high.data * 0 + 8
    for _ in range(20):
        step(a, low, np.ones(70))
        step(b, high, np.ones(70))
    found = a.state_dict()["state"][0]["master"]
    np.testing.assert_array_equal(found.numpy(), high.detach().numpy())


@pytest.mark.parametrize("dtype", KINDS)
def test_a_state_resumes_bit_for_bit(dtype: str, rng: np.random.Generator) -> None:
    low, _ = pair(rng, dtype)
    opt = optim.Adam([low], lr=1e-4)
    gradients = [rng.normal(size=70).astype("float32") for _ in range(6)]
    for g in gradients[:3]:
        step(opt, low, g)
    state, value = opt.state_dict(), low.data.copy()
    for g in gradients[3:]:
        step(opt, low, g)
    want = opt.state_dict()["state"][0]["master"].numpy()
    for value_first in (False, True):  # the order in which a run is restored does not matter
        twin = nn.Parameter(tg.zeros(70, dtype=dtype))
        again = optim.Adam([twin], lr=1e-4)
        if value_first:
            twin.data = value.copy()
        again.load_state_dict(state)
        if not value_first:
            twin.data = value.copy()
        for g in gradients[3:]:
            step(again, twin, g)
        np.testing.assert_array_equal(again.state_dict()["state"][0]["master"].numpy(), want)
