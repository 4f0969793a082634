"""Optimizers, learning-rate schedules, clipping and weight constraints.

>>> import tensorgrad as tg
>>> w = tg.nn.Parameter([3.0])
>>> opt = tg.optim.SGD([w], lr=0.1)
>>> (w * w).sum().backward()
>>> opt.step()
>>> w.tolist()
[2.4000000953674316]
"""

from tensorgrad.optim.adafactor import Adafactor
from tensorgrad.optim.adagrad import Adadelta, Adagrad, RMSprop
from tensorgrad.optim.adam import Adam, AdamW
from tensorgrad.optim.adam_family import Adamax, NAdam, RAdam
from tensorgrad.optim.by_tensor import ByTensor
from tensorgrad.optim.clip import clip_grad_norm_, clip_grad_value_, grad_norm
from tensorgrad.optim.groups import decay_groups
from tensorgrad.optim.lbfgs import LBFGS
from tensorgrad.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from tensorgrad.optim.muon import Muon
from tensorgrad.optim.optimizer import Optimizer
from tensorgrad.optim.rates import RateTest, find_rate
from tensorgrad.optim.regularise import (
    elastic_,
    elastic_penalty,
    max_norm_,
    soft_threshold_,
)
from tensorgrad.optim.scaler import GradScaler
from tensorgrad.optim.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    OneCycle,
    Piecewise,
    Polynomial,
    Scheduler,
    Step,
    WarmUp,
)
from tensorgrad.optim.sgd import ASGD, NAG, SGD, Momentum
from tensorgrad.optim.sign import Lion, Rprop
from tensorgrad.optim.swa_utils import (
    SWALR,
    AveragedModel,
    get_ema_avg_fn,
    get_ema_multi_avg_fn,
    get_swa_avg_fn,
    get_swa_multi_avg_fn,
    update_bn,
)
from tensorgrad.optim.trust import LAMB, LARS

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "NAG",
    "SGD",
    "SWALR",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AveragedModel",
    "ByTensor",
    "ChainedScheduler",
    "Constant",
    "ConstantLR",
    "Cosine",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "Exponential",
    "ExponentialLR",
    "GradScaler",
    "InverseTime",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "Lion",
    "Momentum",
    "MultiStepLR",
    "MultiplicativeLR",
    "Muon",
    "NAdam",
    "OneCycle",
    "OneCycleLR",
    "Optimizer",
    "Piecewise",
    "Polynomial",
    "PolynomialLR",
    "RAdam",
    "RMSprop",
    "RateTest",
    "ReduceLROnPlateau",
    "Rprop",
    "Scheduler",
    "SequentialLR",
    "Step",
    "StepLR",
    "WarmUp",
    "clip_grad_norm_",
    "clip_grad_value_",
    "decay_groups",
    "elastic_",
    "elastic_penalty",
    "find_rate",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "grad_norm",
    "max_norm_",
    "soft_threshold_",
    "update_bn",
]
