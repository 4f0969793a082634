"""Schedules as objects that step beside an optimizer: PyTorch's names, PyTorch's numbers.

>>> import tensorgrad as tg
>>> opt = tg.optim.SGD([tg.nn.Parameter([1.0])], lr=1.0)
>>> scheduler = tg.optim.lr_scheduler.StepLR(opt, step_size=2, gamma=0.5)
>>> for _ in range(3):
...     opt.step()
...     scheduler.step()
>>> scheduler.get_last_lr()
[0.5]
"""

from tensorgrad.optim.lr_scheduler.base import LRScheduler
from tensorgrad.optim.lr_scheduler.composed import ChainedScheduler, SequentialLR
from tensorgrad.optim.lr_scheduler.cycles import CyclicLR, OneCycleLR
from tensorgrad.optim.lr_scheduler.plain import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from tensorgrad.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
