"""Optimizers, learning-rate schedules, clipping and weight constraints.

>>> import tensorgrad as tg
>>> w = tg.nn.Parameter([3.0])
>>> opt = tg.optim.SGD([w], lr=0.1)
>>> (w * w).sum().backward()
>>> opt.step()
>>> w.tolist()
[2.4000000953674316]
"""

from tensorgrad.optim.adam import Adam, AdamW
from tensorgrad.optim.clip import clip_grad_norm_, clip_grad_value_, grad_norm
from tensorgrad.optim.optimizer import Optimizer
from tensorgrad.optim.regularise import max_norm_, soft_threshold_
from tensorgrad.optim.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    Piecewise,
    Polynomial,
    Scheduler,
    Step,
    WarmUp,
)
from tensorgrad.optim.sgd import NAG, SGD, Momentum

__all__ = [
    "NAG",
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Exponential",
    "InverseTime",
    "Momentum",
    "Optimizer",
    "Piecewise",
    "Polynomial",
    "Scheduler",
    "Step",
    "WarmUp",
    "clip_grad_norm_",
    "clip_grad_value_",
    "grad_norm",
    "max_norm_",
    "soft_threshold_",
]
