"""Convolutions forwards and backwards (of input, weight and bias), in float32.

The floor is what the products of the three passes take NumPy, as bare matrices that lie ready:
every image's outputs at once. The goals are those of a library that packs tiles for BLAS.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tensorgrad as tg
from benchmarks.peers import raced
from benchmarks.race import Goal, Race, Run, ahead, importable


class Case(NamedTuple):
    """batch, channels in and out, size, kernel, stride, padding, groups."""

    batch: int
    inside: int
    outside: int
    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    goals: tuple[Goal, ...] = ()

    @property
    def places(self) -> int:
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1


def within(times: float) -> tuple[Goal, ...]:
    """At most so many times what PyTorch takes."""
    return (ahead(1 / times, "torch"),)


CASES = {
    "3x3 28": Case(32, 64, 64, 28, 3, padding=1, goals=within(1.6)),
    "3x3 56": Case(32, 64, 64, 56, 3, padding=1, goals=within(1.3)),
    "1x1 28": Case(32, 64, 64, 28, 1, goals=within(1.0)),
    "1x1 256": Case(32, 256, 64, 28, 1, goals=within(1.0)),
    "7x7 stride 2 112": Case(16, 3, 64, 112, 7, 2, 3, goals=within(1.6)),
    "3x3 512 at 7": Case(32, 512, 512, 7, 3, padding=1),
    "3x3 stride 2": Case(8, 64, 128, 16, 3, 2, 1),
    "depthwise 56": Case(8, 64, 64, 56, 3, padding=1, groups=64),
    "LeNet 5x5": Case(32, 6, 16, 14, 5),
    "tiny": Case(1, 3, 8, 16, 3, padding=1),
}


def with_torch(case: Case) -> Any:
    if not importable("torch"):
        return None
    import torch

    options = {"stride": case.stride, "padding": case.padding, "groups": case.groups}
    return lambda x, w, b: torch.nn.functional.conv2d(x, w, b, **options)


def with_jax(case: Case) -> Any:
    if not importable("jax"):
        return None
    import jax

    pads = [(case.padding, case.padding)] * 2
    return lambda x, w, b: (
        jax.lax.conv_general_dilated(
            x, w, (case.stride, case.stride), pads, feature_group_count=case.groups
        )
        + b[:, None, None]
    )


def products(case: Case, rng: np.random.Generator) -> Run | None:
    """The products of the three passes, image by image."""
    if case.groups > 1:
        return None
    terms, places = case.inside * case.kernel**2, case.places**2
    w, rows, ct = (
        rng.standard_normal(shape, dtype=np.float32)
        for shape in ((case.outside, terms), (terms, places), (case.outside, places))
    )

    def run() -> None:
        for _ in range(case.batch):
            np.matmul(w, rows)
            np.matmul(w.T, ct)
            np.matmul(ct, rows.T)

    return run


@pytest.mark.parametrize("name", CASES)
def test_conv(race: Race, name: str) -> None:
    case, rng = CASES[name], np.random.default_rng(0)
    shapes = (
        (case.batch, case.inside, case.size, case.size),
        (case.outside, case.inside // case.groups, case.kernel, case.kernel),
        (case.outside,),
        (case.batch, case.outside, case.places, case.places),
    )
    x, w, b, ct = (rng.standard_normal(s, dtype=np.float32) for s in shapes)

    def mine(x: Any, w: Any, b: Any) -> Any:
        return tg.nn.functional.conv2d(x, w, b, case.stride, case.padding, 1, case.groups)

    peers = (with_torch(case), with_jax(case))
    run, others = raced(mine, peers, (x, w, b), ct, tolerance=1e-4)
    flops = 6 * ct.size * w[0].size
    race(name, run, others, floor=products(case, rng), flops=flops, goal=case.goals)
