"""Well-known networks, short enough to be read, under the names that their weights have.

>>> import tensorgrad as tg
>>> net = tg.models.MLP([64, 32, 10])
>>> list(net.state_dict())
['layers.0.weight', 'layers.0.bias', 'layers.2.weight', 'layers.2.bias']
"""

from tensorgrad.models.gpt2 import GPT2, Conv1D
from tensorgrad.models.language import LSTMLanguageModel
from tensorgrad.models.lenet import LeNet
from tensorgrad.models.mlp import MLP, Autoencoder
from tensorgrad.models.resnet import (
    BasicBlock,
    Bottleneck,
    ResNet,
    resnet18,
    resnet34,
    resnet50,
)
from tensorgrad.models.sampling import sample

__all__ = [
    "GPT2",
    "MLP",
    "Autoencoder",
    "BasicBlock",
    "Bottleneck",
    "Conv1D",
    "LSTMLanguageModel",
    "LeNet",
    "ResNet",
    "resnet18",
    "resnet34",
    "resnet50",
    "sample",
]
