"""Residual networks for images, under torchvision's names.

He et al., "Deep residual learning for image recognition", 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorgrad as tg
from tensorgrad import nn


def _conv3x3(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """relu(x + norm(conv3x3(relu(norm(conv3x3(x)))))), x through `downsample` if there is one."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv3x3(inplanes, planes, stride), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, input: Any) -> Any:
        kept = input if self.downsample is None else self.downsample(input)
        x = tg.relu(self.bn1(self.conv1(input)))
        return tg.relu(self.bn2(self.conv2(x)) + kept)


class Bottleneck(nn.Module):
    """As `BasicBlock`, of three convolutions: 1x1, 3x3 of fewer channels, 1x1; the 3x3 strides."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        wide = planes * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inplanes, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = _conv3x3(planes, planes, stride), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, wide, 1, bias=False), nn.BatchNorm2d(wide)
        self.downsample = downsample

    def forward(self, input: Any) -> Any:
        kept = input if self.downsample is None else self.downsample(input)
        x = tg.relu(self.bn1(self.conv1(input)))
        x = tg.relu(self.bn2(self.conv2(x)))
        return tg.relu(self.bn3(self.conv3(x)) + kept)


class ResNet(nn.Module):
    """A convolution, four stages of `layers` blocks each, an average and a linear layer.

    Images (N, in_channels, height, width) become logits (N, num_classes); a stage but the first
    halves height and width and doubles the channels, of which the first has `width`. Raises
    `ShapeError` for other than four counts of blocks.

    >>> net = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10, width=8)
    >>> net(tg.zeros((2, 3, 32, 32), dtype="float32")).shape
    (2, 10)
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        if len(layers) != 4 or min(layers) < 1:
            raise tg.ShapeError(
                f"ResNet: got layers={list(layers)}, expected four counts of 1 or more, the blocks "
                "of each stage; try [2, 2, 2, 2]"
            )
        self.inplanes = width
        self.conv1 = nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = self._stage(block, width, layers[0], 1)
        self.layer2 = self._stage(block, 2 * width, layers[1], 2)
        self.layer3 = self._stage(block, 4 * width, layers[2], 2)
        self.layer4 = self._stage(block, 8 * width, layers[3], 2)
        self.fc = nn.Linear(8 * width * block.expansion, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stage(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, count: int, stride: int
    ) -> nn.Sequential:
        wide = planes * block.expansion
        downsample: nn.Module | None = None
        if stride != 1 or self.inplanes != wide:
            convolution = nn.Conv2d(self.inplanes, wide, 1, stride, bias=False)
            downsample = nn.Sequential(convolution, nn.BatchNorm2d(wide))
        first = block(self.inplanes, planes, stride, downsample)
        self.inplanes = wide
        return nn.Sequential(first, *[block(wide, planes) for _ in range(count - 1)])

    def forward(self, input: Any) -> Any:
        x = self.maxpool(tg.relu(self.bn1(self.conv1(input))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(axis=(2, 3)))


def resnet18(num_classes: int = 1000) -> ResNet:
    """ResNet-18: 11.7 million parameters with 1000 classes."""
    return ResNet(BasicBlock, [2, 2, 2, 2], num_classes)


def resnet34(num_classes: int = 1000) -> ResNet:
    """ResNet-34: 21.8 million parameters with 1000 classes."""
    return ResNet(BasicBlock, [3, 4, 6, 3], num_classes)


def resnet50(num_classes: int = 1000) -> ResNet:
    """ResNet-50: 25.6 million parameters with 1000 classes."""
    return ResNet(Bottleneck, [3, 4, 6, 3], num_classes)
