"""Devices, asked for by name, in a block or by the environment."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import tensorgrad as tg


def test_moving_to_where_it_is_gives_the_tensor_itself(device: str) -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    assert x.device == device
    assert x.to(device) is x
    assert x.to(tg.device(device)) is x
    assert x.to(dtype="float64") is x


def test_to_casts_on_the_tape() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = x.to("float32")
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float64


@pytest.mark.parametrize("make", [
    lambda: tg.tensor([1.0], device="mars"),
    lambda: tg.zeros((2,), device="mars"),
    lambda: tg.ones((2,)).to("mars"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(tg.DeviceError) as caught:
        make()
    assert str(caught.value) == (
        "device: got 'mars', expected cpu, cuda or cuda:N; try device='cpu'"
    )


def test_a_block_and_the_environment_set_the_default(device: str) -> None:
    with tg.device("nowhere"), pytest.raises(tg.DeviceError, match="got 'nowhere'"):
        tg.zeros((1,))
    assert tg.zeros((1,)).device == device
    code = "import tensorgrad as tg; tg.zeros((1,))"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TG_DEVICE": "mars"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert "device: got 'mars', expected cpu, cuda or cuda:N" in found.stderr
