"""Layers that learn the number of their input features or channels from the first input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import tensorgrad as tg
from tensorgrad.nn import conv, linear, norm
from tensorgrad.nn.module import Module

_OF_MODULES = ("training", "_kinds", "_transient", "_hooks")


class _Lazy(Module):
    """What the layers share: built for no features, then the layer `becomes` with as many as come.

    Parameters stay the same objects; the optimizer has to be made after the first call, or after
    `load_state_dict`, whose state says the number too.
    """

    becomes: ClassVar[Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.becomes.__init__(self, 0, *args, **options)
        self._built = args, options

    def forward(self, input: Any, *args: Any) -> Any:
        self._become(self._found(tuple(input.shape)))
        return self.forward(input, *args)  # by now that of the other class

    def _found(self, shape: tuple[int, ...]) -> int:
        """The number that an input of this shape has."""
        raise NotImplementedError(f"{type(self).__name__}: a layer of no kind")

    def _saved(self, shape: tuple[int, ...]) -> int:
        """The number of a layer whose first saved parameter or buffer has this shape."""
        return shape[0]

    def _fit_state(self, given: Mapping[str, Any], prefix: str) -> None:
        """Become the layer that a state is of, if it says."""
        names = [prefix + name for name in ("weight", "running_mean")]
        known = [name for name in names if len(getattr(given.get(name), "shape", ()))]
        if known:
            self._become(self._saved(tuple(given[known[0]].shape)))

    def _become(self, size: int) -> None:
        args, options = self._built
        made = self.becomes(size, *args, **options)
        for name in made._kinds:
            old, new = self.__dict__[name], made.__dict__[name]
            if old is None or not old.ndim:
                continue
            old.data = new.detach().to(dtype=old.dtype, device=old.device).data
            if old.node is not None:
                old.node.shape, old.node.into = old.shape, None
        for name, value in vars(made).items():
            if name not in made._kinds and name not in _OF_MODULES:
                object.__setattr__(self, name, value)
        del self._built
        self.__class__ = self.becomes


class _LazyNorm(_Lazy):
    # As in PyTorch weights and running statistics are on, also for instances.
    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _found(self, shape: tuple[int, ...]) -> int:
        layouts: tuple[str, ...] = self.becomes.layouts
        axis = next((one.index("C") for one in layouts if len(one) == len(shape)), None)
        return _need(self, shape, axis, layouts)


class _LazyConv(_Lazy):
    def _found(self, shape: tuple[int, ...]) -> int:
        rank: int = self.becomes.rank
        axes = "C" + "DHW"[3 - rank :]
        axis = len(shape) - rank - 1
        return _need(self, shape, axis if axis in (0, 1) else None, (axes, "N" + axes))


class _LazyForward(_LazyConv):
    def _saved(self, shape: tuple[int, ...]) -> int:
        groups: int = vars(self)["groups"]
        return shape[1] * groups


def _need(layer: Module, shape: tuple[int, ...], axis: int | None, layouts: tuple[str, ...]) -> int:
    if axis is None:
        axes = " or ".join(f"({', '.join(one)})" for one in layouts)
        raise tg.ShapeError(
            f"{type(layer).__name__}: got an input of shape {shape}, expected {axes}; "
            "try input[None]"
        )
    return shape[axis]


class LazyLinear(_Lazy, linear.Linear):
    """`Linear` whose in_features are the last axis of the first input.

    Takes its arguments but the first. Until then weights have no elements: make the optimizer
    after it.

    >>> layer = LazyLinear(2)
    >>> layer(tg.ones((1, 3), dtype="float32")).shape, layer
    ((1, 2), Linear(in_features=3, out_features=2, bias=True))
    """

    becomes = linear.Linear

    def _found(self, shape: tuple[int, ...]) -> int:
        return _need(self, shape, len(shape) - 1 if shape else None, ("..., in_features",))

    def _saved(self, shape: tuple[int, ...]) -> int:
        return shape[-1]


class LazyConv1d(_LazyForward, conv.Conv1d):
    """`Conv1d` whose in_channels are those of the first input; takes its arguments but the first.

    >>> LazyConv1d(4, 3)
    LazyConv1d(0, 4, kernel_size=(3,), stride=(1,))
    """

    becomes = conv.Conv1d


class LazyConv2d(_LazyForward, conv.Conv2d):
    """`Conv2d` whose in_channels are those of the first input."""

    becomes = conv.Conv2d


class LazyConv3d(_LazyForward, conv.Conv3d):
    """`Conv3d` whose in_channels are those of the first input."""

    becomes = conv.Conv3d


class LazyConvTranspose1d(_LazyConv, conv.ConvTranspose1d):
    """`ConvTranspose1d` whose in_channels are those of the first input."""

    becomes = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyConv, conv.ConvTranspose2d):
    """`ConvTranspose2d` whose in_channels are those of the first input."""

    becomes = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyConv, conv.ConvTranspose3d):
    """`ConvTranspose3d` whose in_channels are those of the first input."""

    becomes = conv.ConvTranspose3d


class LazyBatchNorm1d(_LazyNorm, norm.BatchNorm1d):
    """`BatchNorm1d` whose num_features are the channels of the first input.

    >>> layer = LazyBatchNorm1d()
    >>> _ = layer(tg.ones((2, 3), dtype="float32"))
    >>> layer.num_features
    3
    """

    becomes = norm.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, norm.BatchNorm2d):
    """`BatchNorm2d` whose num_features are the channels of the first input."""

    becomes = norm.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, norm.BatchNorm3d):
    """`BatchNorm3d` whose num_features are the channels of the first input."""

    becomes = norm.BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, norm.InstanceNorm1d):
    """`InstanceNorm1d` with `affine` and running statistics, of the channels of the first input."""

    becomes = norm.InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, norm.InstanceNorm2d):
    """`InstanceNorm2d` with `affine` and running statistics, of the channels of the first input."""

    becomes = norm.InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, norm.InstanceNorm3d):
    """`InstanceNorm3d` with `affine` and running statistics, of the channels of the first input."""

    becomes = norm.InstanceNorm3d
