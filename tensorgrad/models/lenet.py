"""LeNet-5, as it is trained today: rectifiers and maxima in place of tanh and averages."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad import nn
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)


class LeNet(nn.Module):
    """Two convolutions with pooling and three linear layers, for images (N, channels, 28, 28).

    The result are logits (N, num_classes). LeCun et al., "Gradient-based learning applied to
    document recognition", 1998.

    >>> LeNet()(tg.zeros((2, 1, 28, 28), dtype="float32")).shape
    (2, 10)
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, input: Any) -> Any:
        if len(input.shape) != 4 or tuple(input.shape[2:]) != (28, 28):
            raise tg.ShapeError(
                f"LeNet: got an input of shape {tuple(input.shape)}, expected (N, "
                f"{self.conv1.in_channels}, 28, 28); try tg.pad or tg.nn.functional.avg_pool2d"
            )
        x = F.max_pool2d(tg.relu(self.conv1(input)), 2)
        x = F.max_pool2d(tg.relu(self.conv2(x)), 2)
        x = tg.relu(self.fc1(x.reshape(-1, 16 * 5 * 5)))
        return self.fc3(tg.relu(self.fc2(x)))
