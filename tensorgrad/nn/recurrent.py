"""Recurrent layers over sequences, and their single steps."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import tensorgrad as tg
from tensorgrad.nn import functional, init
from tensorgrad.nn.linear import need_dtype
from tensorgrad.nn.module import Module
from tensorgrad.nn.packed import PackedSequence, packed_like, pad_packed_sequence
from tensorgrad.nn.parameter import Parameter

PLAIN = {"tanh": functional.rnn_tanh, "relu": functional.rnn_relu}
CELLS = {"tanh": functional.rnn_tanh_cell, "relu": functional.rnn_relu_cell}
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _known(name: str, nonlinearity: str) -> str:
    if nonlinearity not in PLAIN:
        raise ValueError(
            f"{name}: got nonlinearity={nonlinearity!r}, expected tanh or relu; "
            'try nonlinearity="tanh"'
        )
    return nonlinearity


def _shapes(gates: int, inside: int, units: int, bias: bool) -> dict[str, tuple[int, ...]]:
    """Of weights and biases, by name."""
    wide = gates * units
    shapes: list[tuple[int, ...]] = [(wide, inside), (wide, units), (wide,), (wide,)]
    return dict(zip(_NAMES[: 4 if bias else 2], shapes))


def _drawn(module: Module, units: int) -> None:
    bound = units**-0.5 if units else 0.0
    for p in module.parameters():
        init.uniform_(p, -bound, bound)


def _need_states(layer: Any, hx: Any) -> None:
    """Raise `TypeError` unless there is one array, or one for each of several states."""
    if layer.states == 1:
        want = None if hasattr(hx, "shape") else ("one array", "h_0")
    else:
        pair = isinstance(hx, tuple | list) and len(hx) == layer.states
        want = None if pair else ("the pair (h_0, c_0)", "(h_0, c_0)")
    if want is not None:
        raise TypeError(
            f"{type(layer).__name__}: got hx of type {type(hx).__name__}, expected {want[0]}; "
            f"try hx={want[1]}"
        )


def _misfit(layer: Module, hx: Any, shape: tuple[int, ...], want: str) -> tg.ShapeError:
    return tg.ShapeError(
        f"{type(layer).__name__}: got hx of shape {tuple(hx.shape)}, expected {shape} ({want}); "
        "try hx=None for zeros"
    )


class _Recurrent(Module):
    """What the layers share: parameters of each layer and direction, and the way through them."""

    gates: int
    states = 1
    weight_ih_l0: Parameter

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        name = type(self).__name__
        for what, size in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size < 1:
                raise ValueError(f"{name}: got {what}={size}, expected 1 or more; try {what}=1")
        if not 0 <= dropout <= 1:
            raise ValueError(
                f"{name}: got dropout={dropout}, expected 0 <= dropout <= 1; try dropout=0.5"
            )
        if dropout and num_layers == 1:
            warnings.warn(
                f"{name}: got dropout={dropout} and one layer, expected several, since it acts "
                "between layers; try num_layers=2",
                stacklevel=3,
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional = bidirectional
        dtype = dtype or tg.dtypes.default()
        for layer in range(num_layers):
            inside = self._size() * (1 + bidirectional) if layer else input_size
            for suffix in self._suffixes(layer):
                for what, shape in self._weights(inside).items():
                    values = tg.zeros(shape, dtype=dtype, device=device)
                    self.register_parameter(what + suffix, Parameter(values))
        self.reset_parameters()

    def _size(self) -> int:
        """How many numbers a layer hands on."""
        return self.hidden_size

    def _weights(self, inside: int) -> dict[str, tuple[int, ...]]:
        """The shapes of what one layer and direction has, by name."""
        return _shapes(self.gates, inside, self.hidden_size, self.bias)

    def _suffixes(self, layer: int) -> Iterator[str]:
        yield f"_l{layer}"
        if self.bidirectional:
            yield f"_l{layer}_reverse"

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform in ±1/√hidden_size."""
        _drawn(self, self.hidden_size)

    def _function(self) -> Any:
        """The operation of one layer and direction."""
        raise NotImplementedError(f"{type(self).__name__}: a layer of no kind")

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        suffixes = [one for layer in range(self.num_layers) for one in self._suffixes(layer)]
        return [[getattr(self, name + one) for name in self._weights(0)] for one in suffixes]

    def flatten_parameters(self) -> None:
        """Nothing: programs for PyTorch call it; no kernel here wants the weights in one block."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        """(output, final states); `input` may be a PackedSequence, and then the output is one."""
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        weight: tg.Tensor = self.weight_ih_l0
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        if input.ndim not in (2, 3):
            raise tg.ShapeError(
                f"{type(self).__name__}: got an input of shape {input.shape}, expected "
                "(steps, batch, features), (batch, steps, features) with batch_first=True, or "
                "(steps, features); try input[:, None]"
            )
        self._need_features(input)
        alone = input.ndim == 2
        turned = self.batch_first and not alone
        x = input[:, None] if alone else input.swapaxes(0, 1) if turned else input
        output, final = self._run(x, self._initial(hx, x.shape[1], alone), None)
        if alone:
            return output[:, 0], self._bundled([h[:, 0] for h in final])
        return (output.swapaxes(0, 1) if turned else output), self._bundled(final)

    def _need_features(self, input: Any) -> None:
        if input.shape[-1] != self.input_size:
            name, given = type(self).__name__, input.shape[-1]
            raise tg.ShapeError(
                f"{name}: got an input of shape {input.shape}, expected {self.input_size} features "
                f"(input_size) on its last axis; try {name}({given}, {self.hidden_size})"
            )

    def _packed(self, packed: PackedSequence, hx: Any) -> Any:
        need_dtype(self, packed.data, self.weight_ih_l0.dtype)
        self._need_features(packed.data)
        x, lengths = pad_packed_sequence(packed)
        output, final = self._run(x, self._initial(hx, x.shape[1], False), lengths)
        return packed_like(output, packed), self._bundled(final)

    def _bundled(self, states: list[Any]) -> Any:
        return states[0] if self.states == 1 else tuple(states)

    def _initial(self, hx: Any, rows: int, alone: bool) -> list[Any]:
        """Each initial state as (layers · directions, rows, units), or None: zeros."""
        if hx is None:
            return [None] * self.states
        _need_states(self, hx)
        if self.states == 1:
            hx = (hx,)
        lead = self.num_layers * (1 + self.bidirectional)
        for h, size in zip(hx, (self._size(), self.hidden_size)):
            shape = (lead, size) if alone else (lead, rows, size)
            if tuple(h.shape) != shape:
                axes = "num_layers * directions, " + ("" if alone else "batch, ") + "size"
                raise _misfit(self, h, shape, axes)
        return [h[:, None] if alone else h for h in hx]

    def _run(self, x: Any, initial: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """The output of the last layer, and each final state of all layers and directions."""
        function, final = self._function(), []
        for layer in range(self.num_layers):
            outputs = []
            for k, suffix in enumerate(self._suffixes(layer)):
                at = layer * (1 + self.bidirectional) + k
                held = [None if h is None else h[at] for h in initial]
                hx = None if held[0] is None else held[0] if self.states == 1 else tuple(held)
                weights = {n: getattr(self, n + suffix) for n in self._weights(0)}
                output, *last = function(x, hx, **weights, reverse=k == 1, lengths=lengths)
                outputs.append(output)
                final.append(last)
            x = tg.concatenate(outputs, axis=-1) if self.bidirectional else outputs[0]
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = tg.dropout(x, self.dropout)
        return x, [tg.stack(each) for each in zip(*final)]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        usual = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
                 "bidirectional": False}  # fmt: skip
        for name, value in usual.items():
            if getattr(self, name) != value:
                text += f", {name}={getattr(self, name)}"
        return text


class RNN(_Recurrent):
    """h ← tanh(W_ih x + b_ih + W_hh h + b_hh) over a sequence, in `num_layers` layers.

    input (steps, batch, input_size), or with batch_first (batch, steps, input_size), or one
    sequence (steps, input_size), or a PackedSequence; hx the initial states (num_layers ·
    directions, batch, hidden_size), None: zeros. Returns (output, h_n): the last layer's states
    (steps, batch, directions · hidden_size) and the final ones, shaped as hx. Weights
    `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0` ("..._reverse" of the way back) start
    uniform in ±1/√hidden_size. While training, `dropout` acts between layers. Elman 1990. Raises
    `ShapeError` for shapes that do not fit, `DTypeError` for another dtype than the weights'.

    >>> RNN(4, 8, 2, nonlinearity="relu")
    RNN(4, 8, num_layers=2)
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh",
        bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
        bidirectional: bool = False, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device, dtype,
        )  # fmt: skip
        self.nonlinearity = _known("RNN", nonlinearity)

    def _function(self) -> Any:
        return PLAIN[self.nonlinearity]


class LSTM(_Recurrent):
    """Long short-term memory over a sequence, in `num_layers` layers; see `functional.lstm`.

    Arguments, weights (their first axis holds the gates i, f, g, o) and errors are as in `RNN`; hx
    and the final states are pairs (h, c). With `proj_size` h has that many numbers, W_hr h with
    `weight_hr_l0` (proj_size, hidden_size). Hochreiter, Schmidhuber 1997.

    >>> LSTM(4, 8, bidirectional=True)
    LSTM(4, 8, bidirectional=True)
    """

    gates, states = 4, 2

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False,
        proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if not 0 <= proj_size < max(hidden_size, 1):
            raise ValueError(
                f"LSTM: got proj_size={proj_size}, hidden_size={hidden_size}, expected less than "
                "hidden_size, and 0 for none; try proj_size=0"
            )
        self.proj_size = proj_size  # first: the shapes ask for it
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            device, dtype,
        )  # fmt: skip

    def _size(self) -> int:
        return self.proj_size or self.hidden_size

    def _weights(self, inside: int) -> dict[str, tuple[int, ...]]:
        found = super()._weights(inside)
        if self.proj_size:
            found["weight_hh"] = (4 * self.hidden_size, self.proj_size)
            found["weight_hr"] = (self.proj_size, self.hidden_size)
        return found

    def _function(self) -> Any:
        return functional.lstm

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if not self.proj_size:
            return text
        sizes = f"{self.input_size}, {self.hidden_size}"
        return f"{sizes}, proj_size={self.proj_size}{text.removeprefix(sizes)}"


class GRU(_Recurrent):
    """Gated recurrent units over a sequence, in `num_layers` layers; see `functional.gru`.

    Arguments, weights (their first axis holds the gates r, z, n) and errors are as in `RNN`. Cho et
    al. 2014.

    >>> GRU(4, 8, batch_first=True)
    GRU(4, 8, batch_first=True)
    """

    gates = 3

    def _function(self) -> Any:
        return functional.gru


class _Cell(Module):
    """What the single steps share."""

    gates: int
    states = 1
    weight_ih: Parameter

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        dtype = dtype or tg.dtypes.default()
        shapes = _shapes(self.gates, input_size, hidden_size, bias)
        for name in _NAMES:
            shape = shapes.get(name)
            made = None if shape is None else tg.zeros(shape, dtype=dtype, device=device)
            self.register_parameter(name, None if made is None else Parameter(made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values, uniform in ±1/√hidden_size."""
        _drawn(self, self.hidden_size)

    def _function(self) -> Any:
        """The operation of one step."""
        raise NotImplementedError(f"{type(self).__name__}: a cell of no kind")

    def forward(self, input: Any, hx: Any = None) -> Any:
        weight: tg.Tensor = self.weight_ih
        if type(input) is not tg.Tensor or input.data.dtype is not weight.data.dtype:
            need_dtype(self, input, weight.dtype)
        alone = input.ndim == 1
        if alone:
            input = input[None]
        if hx is not None:
            _need_states(self, hx)
            if alone:
                hx = tuple([h[None] for h in hx]) if self.states > 1 else hx[None]
        weights = [getattr(self, name) for name in _NAMES]
        found = self._function()(input, hx, *weights)
        if not alone:
            return found
        return tuple([h[0] for h in found]) if self.states > 1 else found[0]

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        return text if self.bias else f"{text}, bias=False"


class RNNCell(_Cell):
    """One step of `RNN`: h of input (batch, input_size) and hx (batch, hidden_size), None: zeros.

    Both may lack the batch. Weights `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh` start uniform in
    ±1/√hidden_size.

    >>> RNNCell(4, 8)
    RNNCell(4, 8)
    """

    gates = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = _known("RNNCell", nonlinearity)

    def _function(self) -> Any:
        return CELLS[self.nonlinearity]

    def extra_repr(self) -> str:
        text = super().extra_repr()
        if self.nonlinearity == "tanh":
            return text
        return f"{text}, nonlinearity={self.nonlinearity}"


class LSTMCell(_Cell):
    """One step of `LSTM`: (h, c) of input and hx, the pair (h, c) or None; the rest as `RNNCell`.

    >>> LSTMCell(4, 8)
    LSTMCell(4, 8)
    """

    gates, states = 4, 2

    def _function(self) -> Any:
        return functional.lstm_cell


class GRUCell(_Cell):
    """One step of `GRU`; the rest as `RNNCell`.

    >>> GRUCell(4, 8)
    GRUCell(4, 8)
    """

    gates = 3

    def _function(self) -> Any:
        return functional.gru_cell
