"""`summary`: a network as a table of its layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import tensorgrad as tg
from tensorgrad.nn.module import Module

_PARTS = "parametrizations"


@dataclass
class Row:
    """One module: what it is, what it gave out, what it holds and costs.

    shape: of the output of its last call, None if it was not called; parameters: its own, without
    those of its parts; multiply_adds: of its own matrix products and convolutions in all calls,
    None where they are not known; bytes: of its new outputs in all calls.
    """

    name: str
    kind: str
    depth: int
    leaf: bool
    parameters: int
    shape: Any = None
    multiply_adds: int | None = 0
    bytes: int = 0
    calls: int = 0


class Summary:
    """Rows and totals; `str` is the table."""

    def __init__(self, rows: list[Row], parameters: list[tg.Tensor]) -> None:
        self.rows = rows
        self.parameters = sum(p.size for p in parameters)
        self.trainable = sum(p.size for p in parameters if p.requires_grad)
        self.parameter_bytes = sum(p.size * p.dtype.itemsize for p in parameters)
        self.multiply_adds = sum(row.multiply_adds or 0 for row in rows)
        self.activation_bytes = sum(row.bytes for row in rows if row.leaf)
        self.unknown = [row.name or row.kind for row in rows if row.multiply_adds is None]

    def __str__(self) -> str:
        head = ("layer", "output shape", "parameters", "multiply-adds", "activation bytes")
        cells = [head, *[_cells(row) for row in self.rows]]
        widths = [max(len(line[k]) for line in cells) for k in range(len(head))]
        lines = [
            "  ".join(
                text.ljust(width) if k < 2 else text.rjust(width)
                for k, (text, width) in enumerate(zip(line, widths))
            ).rstrip()
            for line in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _totals(self) -> Iterator[str]:
        fixed = self.parameters - self.trainable
        kept = f", {fixed:,} of them frozen" if fixed else ""
        yield f"parameters: {self.parameters:,} ({self.parameter_bytes:,} bytes){kept}"
        more = f", and those of {', '.join(self.unknown)}" if self.unknown else ""
        yield f"multiply-adds: {self.multiply_adds:,}{more}"
        yield f"activation bytes: {self.activation_bytes:,}"

    __repr__ = __str__


def _cells(row: Row) -> tuple[str, ...]:
    name = row.name.rpartition(".")[2]
    title = "  " * row.depth + (f"{name}: {row.kind}" if name else row.kind)
    products = "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"
    many = f" x {row.calls}" if row.calls > 1 else ""
    shown = f"{row.shape}{many}" if row.calls else "not called"
    return title, shown, f"{row.parameters:,}", products, f"{row.bytes:,}"


def summary(model: Module, input: Any) -> Summary:
    """A table of a network's layers for one input (or a tuple of arguments, or a dict by name).

    Output shapes, parameters, multiply-adds of matrix products and convolutions, and the bytes of
    what the layers give out. It runs the network once, off the tape and in `eval` mode. What
    `forward` computes outside of layers is not seen; a class of one's own with a weight of two or
    more axes counts "?". The total of bytes is that of the layers without parts.

    >>> from tensorgrad import nn
    >>> print(summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), tg.ones((2, 4), dtype="float32")))
    layer        output shape  parameters  multiply-adds  activation bytes
    ----------------------------------------------------------------------
    Sequential   (2, 8)                 0              0                64
      0: Linear  (2, 8)                40             64                64
      1: ReLU    (2, 8)                 0              0                64
    ----------------------------------------------------------------------
    parameters: 40 (160 bytes)
    multiply-adds: 64
    activation bytes: 128
    """
    rows: dict[int, Row] = {}
    with ExitStack() as stack:
        stack.enter_context(_evaluated(model))
        stack.enter_context(tg.no_grad())
        for name, module in model.named_modules():
            if _PARTS in name.split("."):
                continue  # they are counted with the layer that they belong to
            rows[id(module)] = _row(name, module)
            hook = _seen(rows[id(module)])
            stack.enter_context(module.register_forward_hook(hook, with_kwargs=True))
        if isinstance(input, tuple) and all(isinstance(n, int) for n in input):
            raise TypeError(
                f"summary: got input={input}, expected arrays, not a shape; try "
                f'tg.zeros({input}, dtype="float32")'
            )
        if isinstance(input, dict):
            model(**input)
        else:
            model(*(input if isinstance(input, tuple) else (input,)))
    return Summary(list(rows.values()), list(model.parameters()))


@contextmanager
def _evaluated(model: Module) -> Iterator[None]:
    """Every module in eval mode, and then as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _row(name: str, module: Module) -> Row:
    parts = dict(module.named_children())
    hidden = parts.pop(_PARTS, None)
    own = list(module.parameters(recurse=False))
    own += hidden.parameters() if hidden is not None else []
    depth = name.count(".") + 1 if name else 0
    kind = getattr(type(module), "_base", type(module)).__name__
    return Row(name, kind, depth, not parts, sum(p.size for p in own))


def _seen(row: Row) -> Callable[..., None]:
    """The hook that fills a row."""

    def hook(module: Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        inputs, outputs = _tensors((args, kwargs)), _tensors(output)
        shapes = [tuple(x.shape) for x in outputs]
        row.shape = shapes[0] if len(shapes) == 1 else tuple(shapes)
        taken = {_place(x) for x in inputs}
        row.bytes += sum(x.size * x.dtype.itemsize for x in outputs if _place(x) not in taken)
        row.calls += 1
        products = _products(module, inputs, outputs)
        known = row.multiply_adds is not None and products is not None
        row.multiply_adds = row.multiply_adds + products if known else None  # type: ignore[operator]

    return hook


def _tensors(value: Any) -> list[tg.Tensor]:
    if isinstance(value, tg.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [x for v in value for x in _tensors(v)] if isinstance(value, tuple | list) else []


def _place(x: tg.Tensor) -> Any:
    """Where the elements begin: a view of an input is no new memory."""
    array = x.data
    found = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return x.device, found["data"][0]


# -- multiply-adds ---------------------------------------------------------------------------------


def _by_output(module: Any, inputs: Any, outputs: Any) -> int:
    """The weight once for each output position."""
    return int(outputs[0].size // module.weight.shape[0] * module.weight.size)


def _by_input(module: Any, inputs: Any, outputs: Any) -> int:
    """The weight once for each input position."""
    return int(inputs[0].size // module.weight.shape[0] * module.weight.size)


def _by_step(module: Any, inputs: Any, outputs: Any) -> int:
    """Every matrix once for each step of each sequence."""
    matrices = [p.size for p in module.parameters() if p.ndim == 2]
    return int(inputs[0].size // inputs[0].shape[-1] * sum(matrices))


def _attention(module: Any, inputs: Any, outputs: Any) -> int:
    """Projections of queries, keys and values, and the two products between them."""
    query, key = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
    width = module.embed_dim
    rows, others = query.size // width, key.size // key.shape[-1]
    batch = 1 if query.ndim == 2 else query.shape[0 if module.batch_first else 1]
    kdim, vdim = (getattr(module, name, None) or width for name in ("kdim", "vdim"))
    projections = width * (rows * width + others * (kdim + vdim))
    return int(projections + 2 * rows * (others // batch) * width)


_RECURRENT = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
_COUNTED: dict[str, Callable[[Any, Any, Any], int]] = {
    "Linear": _by_output,
    "Bilinear": _by_output,
    **{f"Conv{rank}d": _by_output for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": _by_input for rank in (1, 2, 3)},
    **dict.fromkeys(_RECURRENT, _by_step),
    "Conv1D": _by_input,
    "MultiheadAttention": _attention,
}
"""How the layers of `tg.nn` that multiply matrices count, by class."""


def _products(module: Module, inputs: list[Any], outputs: list[Any]) -> int | None:
    """The multiply-adds of one call, by the first class that is ours."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("tensorgrad.") and kind is not Module:
            count = _COUNTED.get(kind.__name__)
            if count is not None:
                return count(module, inputs, outputs)
    ours = type(module).__module__.startswith("tensorgrad.")
    return 0 if ours or all(p.ndim < 2 for p in module.parameters(recurse=False)) else None
