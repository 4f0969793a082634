"""The CUDA backend on a GPU, or on the stand-in: there NumPy carries out cuBLASLt's plans."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fakecupy
import numpy as np
import place
import pytest
from fakecupy import streams
from place import here

import tensorgrad as tg

__all__ = ["gpus", "here", "launches", "there"]

OPS = str(Path(__file__).parent.parent / "ops")
if OPS not in sys.path:
    sys.path.append(OPS)


class ReferenceLt:
    """Stands for `Lt`: a product is work of the stream, computed by the plan's definition."""

    version = 0

    def candidates(self, *given: Any, **rest: Any) -> list[Any]:
        """It has no algorithms to choose from."""
        return []

    def execute(self, plan: Any, x: int, y: int, out: int, **rest: Any) -> None:
        from tensorgrad.backend.cuda.blas import reference

        assert rest["workspace"]
        assert rest["workspace_bytes"]
        machine = fakecupy.machine()
        for address in (x, y, out):
            block = machine.find(address)
            assert block is not None
            assert block.device == machine.device
        bias, aux = rest.get("bias", 0), rest.get("aux", 0)
        streams.submit(lambda: reference(plan, x, y, out, bias, aux), rest["stream"])


@contextmanager
def gpus(**hardware: Any) -> Iterator[Any]:
    """A machine with GPUs, for the length of a block: with `--backend cuda` this one, as it is."""
    if place.chosen == "cuda":
        if hardware.keys() - {"devices"}:
            pytest.skip(f"needs the stand-in, for {', '.join(sorted(hardware))}")
        yield importlib.import_module("cupy")
        return
    with fakecupy.install(**hardware) as machine:
        importlib.import_module("tensorgrad.backend.cuda.products").make_engine = ReferenceLt
        yield machine


def launches() -> Any:
    """The launch counter, by kernel."""
    return importlib.import_module("tensorgrad.backend.cuda.module").launches


def there(value: Any, device: str = "cuda:0") -> Any:
    """Arguments with their arrays as tensors on a GPU."""
    if isinstance(value, np.ndarray | np.generic):
        return tg.tensor(value, device=device)
    if isinstance(value, dict):
        return {name: there(v, device) for name, v in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(v, np.ndarray) for v in value):
        return type(value)(there(v, device) for v in value)
    return value
