"""Activations as modules: one class each, named and parametrised as in PyTorch."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional as F  # noqa: N812  (the field's name)
from tensorgrad.nn import init
from tensorgrad.nn.linear import need_dtype
from tensorgrad.nn.module import Module
from tensorgrad.nn.parameter import Parameter


class InPlace(Module):
    """A layer that writes over its input if `inplace` is true, as PyTorch's do.

    The write is recorded: gradients are those of the layer, and where backward would need the value
    from before, it raises `InPlaceError`.
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Any) -> Any:
        if not self.inplace:
            return self.values(input)
        found = self.values(input.copy())
        input[...] = found
        return input if isinstance(input, tg.Tensor) else found

    def values(self, input: Any) -> Any:
        """The result, in an array of its own."""
        raise NotImplementedError

    def options(self) -> str:
        """What `repr` says beside `inplace`."""
        return ""

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [self.options(), "inplace=True" if self.inplace else ""]))


class Step(Module):
    """1 where x > 0, else 0; its derivative is 0, so nothing behind it learns (for teaching)."""

    def forward(self, input: Any) -> Any:
        return F.step(input)


class Sigmoid(Module):
    """1 / (1 + exp(-x))."""

    def forward(self, input: Any) -> Any:
        return F.sigmoid(input)


class LogSigmoid(Module):
    """log(1 / (1 + exp(-x)))."""

    def forward(self, input: Any) -> Any:
        return F.logsigmoid(input)


class Tanh(Module):
    """tanh(x)."""

    def forward(self, input: Any) -> Any:
        return F.tanh(input)


class ReLU(InPlace):
    """max(x, 0), with derivative 0 at 0."""

    def values(self, input: Any) -> Any:
        return F.relu(input)


class ReLU6(InPlace):
    """min(max(x, 0), 6)."""

    def values(self, input: Any) -> Any:
        return F.relu6(input)


class LeakyReLU(InPlace):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def values(self, input: Any) -> Any:
        return F.leaky_relu(input, self.negative_slope)

    def options(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x where x > 0, else w · x with a learned w: one, or one a channel (axis 1)."""

    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        dtype = dtype or tg.dtypes.default()
        self.weight = Parameter(tg.zeros((num_parameters,), dtype=dtype, device=device))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every slope to its initial value."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Any) -> Any:
        need_dtype(self, input, self.weight.dtype)
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(InPlace):
    """x where x > 0, else alpha (exp(x) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def values(self, input: Any) -> Any:
        return F.elu(input, self.alpha)

    def options(self) -> str:
        return f"alpha={self.alpha}"


class SELU(InPlace):
    """The scaled ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    def values(self, input: Any) -> Any:
        return F.selu(input)


class Softplus(Module):
    """log(1 + exp(beta x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Any) -> Any:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Any) -> Any:
        return F.softsign(input)


class GELU(Module):
    """x Φ(x), Φ the normal distribution function (`approximate="tanh"`: by tanh)."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Any) -> Any:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(InPlace):
    """x sigmoid(x)."""

    def values(self, input: Any) -> Any:
        return F.silu(input)


class Mish(InPlace):
    """x tanh(softplus(x))."""

    def values(self, input: Any) -> Any:
        return F.mish(input)


class Hardtanh(InPlace):
    """min(max(x, min_val), max_val)."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        if not min_val < max_val:
            raise ValueError(
                f"Hardtanh: got min_val={min_val}, max_val={max_val}, expected min_val < max_val; "
                "try Hardtanh(-1.0, 1.0)"
            )
        self.min_val, self.max_val = min_val, max_val

    def values(self, input: Any) -> Any:
        return F.hardtanh(input, self.min_val, self.max_val)

    def options(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class CELU(InPlace):
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def values(self, input: Any) -> Any:
        return F.celu(input, self.alpha)

    def options(self) -> str:
        return f"alpha={self.alpha}"


class RReLU(InPlace):
    """x where x > 0, else slope · x, each slope drawn on [lower, upper) while training.

    In evaluation the slope is (lower + upper) / 2. The numbers come from `generator`, or from tg's
    own (`tg.manual_seed`).
    """

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False,
        generator: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(inplace)
        self.lower, self.upper, self.generator = lower, upper, generator

    def values(self, input: Any) -> Any:
        return F.rrelu(input, self.lower, self.upper, self.training, generator=self.generator)

    def options(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"


class Hardsigmoid(InPlace):
    """min(max(x + 3, 0), 6) / 6."""

    def values(self, input: Any) -> Any:
        return F.hardsigmoid(input)


class Hardswish(InPlace):
    """x min(max(x + 3, 0), 6) / 6."""

    def values(self, input: Any) -> Any:
        return F.hardswish(input)


class Hardshrink(Module):
    """x where |x| > lambd, else 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Module):
    """x drawn towards 0 by lambd, and 0 where |x| <= lambd."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Any:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Any) -> Any:
        return F.tanhshrink(input)


class Threshold(InPlace):
    """x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold, self.value = threshold, value

    def values(self, input: Any) -> Any:
        return F.threshold(input, self.threshold, self.value)

    def options(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """a sigmoid(b), where a and b are the halves of the input along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(Module):
    """exp(x) / Σ exp(x) along the axis `dim`, which has to be given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmin(Module):
    """exp(-x) / Σ exp(-x) along the axis `dim`, which has to be given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.softmin(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of images (N, C, H, W) or (C, H, W), at every place."""

    def forward(self, input: Any) -> Any:
        if len(input.shape) not in (3, 4):
            raise tg.ShapeError(
                f"Softmax2d: got an input of shape {tuple(input.shape)}, expected (N, C, H, W) or "
                "(C, H, W); try Softmax(dim)"
            )
        return F.softmax(input, -3)


class LogSoftmax(Module):
    """x - log Σ exp(x) along the axis `dim`, which has to be given."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Any:
        return F.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Maxout(Module):
    """The largest of `pieces` neighbours along `dim` (Goodfellow et al. 2013).

    An axis of length pieces · n becomes n: a Linear in front of it has pieces · n outputs.
    """

    def __init__(self, pieces: int = 2, dim: int = -1) -> None:
        super().__init__()
        self.pieces, self.dim = pieces, dim

    def forward(self, input: Any) -> Any:
        return F.maxout(input, self.pieces, self.dim)

    def extra_repr(self) -> str:
        return f"pieces={self.pieces}, dim={self.dim}"
