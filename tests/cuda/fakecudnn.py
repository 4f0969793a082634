"""A stand-in for NVIDIA's cuDNN frontend on the stand-in for CuPy; NumPy computes.

    with ops_tools.gpus(), fakecudnn.install() as log:
        from tensorgrad.backend.cuda import dnn

It takes the calls in the frontend's order only, tensors with dims, strides and uids that make
sense, and nothing but ints as pointers, each in a live block of the current device. Its engines:
attention of 16-bit floats up to head size 128, convolutions up to 64 channels that are dense.
"""

from __future__ import annotations

import contextlib
import enum
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from fakecupy import streams
from fakecupy.machine import machine

Array = Any

data_type = enum.Enum("data_type", "FLOAT HALF BFLOAT16 DOUBLE")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
numerical_note = enum.Enum(
    "numerical_note",
    "TENSOR_CORE DOWN_CONVERT_INPUTS REDUCED_PRECISION_REDUCTION NONDETERMINISTIC WINOGRAD",
)
NUMPY = {
    data_type.FLOAT: np.dtype("f4"),
    data_type.HALF: np.dtype("f2"),
    data_type.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
ENGINES = ["sdpa_fwd_prefill_sm90[TILE_M=128]", "sdpa_bwd_sm100", "frost_conv"]
STEPS = ["described", "validated", "lowered", "planned", "supported", "built"]
WORKSPACE = 4096


class cudnnGraphNotSupportedError(Exception):  # noqa: N801  (the frontend's name)
    pass


@dataclass
class Log:
    """What happened: graphs by kind as they were built, runs and the addresses that each was given,
    handles, notes that were barred."""

    built: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    addresses: list[list[int]] = field(default_factory=list)
    handles: int = 0
    notes: list[set[str]] = field(default_factory=list)
    version: int = 92800


LOG = [Log()]


@dataclass(eq=False)
class Handle:
    device: int
    stream: int = 0


def backend_version() -> int:
    if not LOG[-1].version:
        raise RuntimeError("Unable to find symbol cudnnGetVersion")
    return LOG[-1].version


def create_handle() -> Handle:
    LOG[-1].handles += 1
    return Handle(machine().device)


def set_stream(handle: Handle, stream: int) -> None:
    assert type(handle) is Handle
    assert type(stream) is int
    handle.stream = stream


@dataclass(eq=False)
class Tensor:
    name: str = ""
    dim: list[int] = field(default_factory=list)
    stride: list[int] = field(default_factory=list)
    data_type: Any = None
    uid: int = -1
    is_output: bool = False

    def set_output(self, value: bool) -> Tensor:
        self.is_output = value
        return self

    def set_uid(self, uid: int) -> Tensor:
        self.uid = uid
        return self

    def set_dim(self, dim: list[int]) -> Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> Tensor:
        self.stride = stride
        return self

    def set_data_type(self, kind: Any) -> Tensor:
        self.data_type = kind
        return self

    def check(self) -> None:
        assert len(self.dim) == len(self.stride) == 4
        for n in (*self.dim, *self.stride, self.uid):
            assert type(n) is int
            assert n > 0
        assert self.data_type in NUMPY

    def at(self, address: Any) -> Array:
        """The tensor's elements, which must lie whole in a block of this device."""
        assert type(address) is int, f"{self.name}: got {type(address)}, only ints are pointers"
        assert address % 16 == 0
        block, kind = machine().find(address), NUMPY[self.data_type]
        extent = sum((n - 1) * step for n, step in zip(self.dim, self.stride)) + 1
        assert block is not None
        assert block.device == machine().device
        first = address - block.address
        assert first + extent * kind.itemsize <= block.size
        steps = [step * kind.itemsize for step in self.stride]
        return np.ndarray(self.dim, kind, block.data, first, steps)


class pygraph:  # noqa: N801  (the frontend's name)
    def __init__(self, *, name: str, io_data_type: Any, intermediate_data_type: Any,
                 compute_data_type: Any, handle: Handle | None = None) -> None:  # fmt: skip
        assert intermediate_data_type is compute_data_type is data_type.FLOAT
        assert handle is None or type(handle) is Handle
        self.name = name
        self._handle = handle
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._node: tuple[str, list[Tensor], dict[str, Any]] | None = None
        self._state = "described"
        self._notes: set[str] = set()
        self._engines: list[str] = []

    def tensor(self, *, name: str, uid: int, dim: Any, stride: Any, data_type: Any) -> Tensor:
        self._inputs.append(Tensor(name, dim, stride, data_type, uid))
        return self._inputs[-1]

    def _add(self, kind: str, count: int, inputs: Sequence[Tensor], **options: Any) -> list[Tensor]:
        assert self._node is None
        assert all(x in self._inputs for x in inputs)
        self._node = kind, list(inputs), options
        self._outputs = [Tensor(f"{kind}{k}") for k in range(count)]
        return self._outputs

    def sdpa(self, *, name: str, q: Tensor, k: Tensor, v: Tensor, generate_stats: bool,
             attn_scale: float, use_causal_mask: bool) -> list[Tensor]:  # fmt: skip
        assert generate_stats
        assert type(attn_scale) is float
        return self._add("sdpa", 2, (q, k, v), scale=attn_scale, causal=use_causal_mask)

    def sdpa_backward(self, *, name: str, q: Tensor, k: Tensor, v: Tensor, o: Tensor, dO: Tensor,
                      stats: Tensor, attn_scale: float, use_causal_mask: bool,
                      use_deterministic_algorithm: bool) -> list[Tensor]:  # fmt: skip
        inputs = (q, k, v, o, dO, stats)
        return self._add("sdpa_backward", 3, inputs, scale=attn_scale, causal=use_causal_mask)

    def conv_fprop(self, *, image: Tensor, weight: Tensor, **options: Any) -> Tensor:
        return self._add("conv_fprop", 1, (image, weight), **options)[0]

    def conv_dgrad(self, *, loss: Tensor, filter: Tensor, **options: Any) -> Tensor:
        return self._add("conv_dgrad", 1, (loss, filter), **options)[0]

    def conv_wgrad(self, *, image: Tensor, loss: Tensor, **options: Any) -> Tensor:
        return self._add("conv_wgrad", 1, (image, loss), **options)[0]

    def _step(self, to: str) -> None:
        assert STEPS.index(to) == STEPS.index(self._state) + 1, f"{to} after {self._state}"
        self._state = to

    def validate(self) -> None:
        self._step("validated")
        assert self._node is not None
        uids = [x.uid for x in (*self._inputs, *self._outputs)]
        assert len(set(uids)) == len(uids)
        for x in (*self._inputs, *self._outputs):
            x.check()
        assert all(x.is_output for x in self._outputs)
        if self.name.startswith("sdpa"):
            for x in (*self._inputs, *self._outputs):
                if x.stride[3] != 1 or (x.dim[3] != 1 and x.dim[3] % 8):
                    raise cudnnGraphNotSupportedError("hidden_dim should be multiple of 8")
                aligned = [s * NUMPY[x.data_type].itemsize % 16 for s in x.stride[:3]]
                assert x.data_type is data_type.FLOAT or not any(aligned)

    def build_operation_graph(self) -> None:
        assert self._handle is not None
        self._step("lowered")

    def create_execution_plans(self, modes: list[Any]) -> None:
        assert all(isinstance(mode, heur_mode) for mode in modes)
        self._engines = [*ENGINES, f"{self.name}_eng3_k2=1"]
        self._step("planned")

    def deselect_engines(self, names: list[str]) -> None:
        assert self._state == "planned"
        self._engines = [name for name in self._engines if not any(n in name for n in names)]

    def deselect_numeric_notes(self, notes: list[Any]) -> None:
        assert self._state == "planned"
        assert all(isinstance(note, numerical_note) for note in notes)
        self._notes = {note.name for note in notes}

    def check_support(self) -> None:
        self._step("supported")
        kinds = {x.data_type for x in self._inputs[:2]}
        if self.name.startswith("sdpa"):
            if data_type.FLOAT in kinds or max(x.dim[3] for x in self._inputs) > 128:
                raise cudnnGraphNotSupportedError("No valid engine configs for SDPA\nmore")
        elif self._inputs[0].dim[1] > 64:
            raise RuntimeError("[cudnn_frontend] Error: No execution plans support the graph.")

    def build_plans(self) -> None:
        assert not streams.capturing()
        assert self._engines == [f"{self.name}_eng3_k2=1"], "an engine that is compiled in Python"
        self._step("built")
        LOG[-1].built.append(self.name)
        LOG[-1].notes.append(self._notes)

    def get_workspace_size(self) -> int:
        assert self._state == "built"
        return 0 if self.name == "conv" else WORKSPACE

    def execute(self, pointers: dict[int, int], workspace: int, *, handle: Handle) -> None:
        assert self._state == "built"
        assert self._node is not None
        assert handle.device == machine().device
        tensors = {x.uid: x for x in (*self._inputs, *self._outputs)}
        assert set(pointers) == set(tensors)
        LOG[-1].runs.append(self.name)
        LOG[-1].addresses.append([pointers[uid] for uid in sorted(pointers)])
        size = self.get_workspace_size()
        assert type(workspace) is int
        if size:
            block = machine().find(workspace)
            assert block is not None
            assert workspace - block.address + size <= block.size
        kind, inputs, options = self._node

        def work() -> None:
            found = {uid: tensors[uid].at(address) for uid, address in pointers.items()}
            values = [found[x.uid].astype("f8") for x in inputs]
            if size:  # a workspace holds nothing that is needed afterwards
                block.data[workspace - block.address :][:size] = 0xA5
            shapes = [x.dim for x in self._outputs]
            for x, value in zip(self._outputs, COMPUTE[kind](values, shapes, **options)):
                found[x.uid][...] = value.astype(found[x.uid].dtype)

        streams.submit(work, handle.stream)


# -- what the graphs compute -------------------------------------------------------------------


def _scores(q: Array, k: Array, scale: float, causal: bool) -> tuple[Array, Array]:
    """Probabilities, and the logarithm of their denominators."""
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    s = scale * np.einsum("bhid,bhjd->bhij", q, k)
    if causal:
        s = np.where(np.tri(*s.shape[2:], dtype=bool), s, -np.inf)
    top = s.max(-1, keepdims=True)
    log = top + np.log(np.exp(s - top).sum(-1, keepdims=True))
    return np.exp(s - log), log


def _sdpa(values: list[Array], shapes: Any, scale: float, causal: bool) -> tuple[Array, ...]:
    q, k, v = values
    p, log = _scores(q, k, scale, causal)
    v = np.repeat(v, q.shape[1] // v.shape[1], axis=1)
    return np.einsum("bhij,bhjd->bhid", p, v), log


def _sdpa_backward(
    values: list[Array], shapes: Any, scale: float, causal: bool
) -> tuple[Array, ...]:
    """From the saved result and statistics, as cuDNN does: p = exp(s - stats)."""
    q, k, v, out, grad, stats = values
    groups = q.shape[1] // k.shape[1]
    wide, values_ = (np.repeat(x, groups, axis=1) for x in (k, v))
    s = scale * np.einsum("bhid,bhjd->bhij", q, wide)
    p = np.exp(s - stats)
    if causal:
        p = np.where(np.tri(*s.shape[2:], dtype=bool), p, 0)
    dp = np.einsum("bhid,bhjd->bhij", grad, values_)
    ds = p * (dp - (grad * out).sum(-1, keepdims=True))
    dq = scale * np.einsum("bhij,bhjd->bhid", ds, wide)
    dk = scale * np.einsum("bhij,bhid->bhjd", ds, q)
    dv = np.einsum("bhij,bhid->bhjd", p, grad)
    batch, heads = k.shape[:2]
    dk, dv = (x.reshape(batch, heads, groups, *x.shape[2:]).sum(2) for x in (dk, dv))
    return dq, dk, dv


def _taps(x: Array, w_shape: Any, y_shape: Any, pre_padding: Any, post_padding: Any, stride: Any,
          dilation: Any) -> Iterator[tuple[int, int, Array]]:  # fmt: skip
    """For each tap of the filter the part of the padded x (a view) that it meets."""
    for r in range(w_shape[2]):
        for c in range(w_shape[3]):
            i, j = r * dilation[0], c * dilation[1]
            rows = slice(i, i + (y_shape[2] - 1) * stride[0] + 1, stride[0])
            columns = slice(j, j + (y_shape[3] - 1) * stride[1] + 1, stride[1])
            yield r, c, x[:, :, rows, columns]


def _padded(shape: Any, pre_padding: Any, post_padding: Any) -> Array:
    sizes = [n + a + b for n, a, b in zip(shape[2:], pre_padding, post_padding)]
    return np.zeros((*shape[:2], *sizes))


def _inner(shape: Any, pre_padding: Any) -> tuple[slice, ...]:
    return (slice(None), slice(None), *(slice(a, a + n) for a, n in zip(pre_padding, shape[2:])))


def _grouped(x: Array, groups: int) -> Array:
    return x.reshape(x.shape[0], groups, -1, *x.shape[2:])


def _fprop(values: list[Array], shapes: Any, **options: Any) -> tuple[Array]:
    (x, w), (shape,) = values, shapes
    groups = x.shape[1] // w.shape[1]
    padded = _padded(x.shape, options["pre_padding"], options["post_padding"])
    padded[_inner(x.shape, options["pre_padding"])] = x
    filters = w.reshape(groups, -1, *w.shape[1:])
    found = np.zeros(shape)
    for r, c, part in _taps(padded, w.shape, shape, **options):
        term = np.einsum("ngcij,gkc->ngkij", _grouped(part, groups), filters[..., r, c])
        found += term.reshape(shape)
    return (found,)


def _dgrad(values: list[Array], shapes: Any, **options: Any) -> tuple[Array]:
    (y, w), (shape,) = values, shapes
    groups = shape[1] // w.shape[1]
    padded = _padded(shape, options["pre_padding"], options["post_padding"])
    filters = w.reshape(groups, -1, *w.shape[1:])
    for r, c, part in _taps(padded, w.shape, y.shape, **options):
        term = np.einsum("ngkij,gkc->ngcij", _grouped(y, groups), filters[..., r, c])
        part += term.reshape(part.shape)
    return (padded[_inner(shape, options["pre_padding"])],)


def _wgrad(values: list[Array], shapes: Any, **options: Any) -> tuple[Array]:
    (x, y), (shape,) = values, shapes
    groups = x.shape[1] // shape[1]
    padded = _padded(x.shape, options["pre_padding"], options["post_padding"])
    padded[_inner(x.shape, options["pre_padding"])] = x
    found = np.zeros(shape)
    for r, c, part in _taps(padded, shape, y.shape, **options):
        term = np.einsum("ngkij,ngcij->gkc", _grouped(y, groups), _grouped(part, groups))
        found[:, :, r, c] = term.reshape(shape[:2])
    return (found,)


COMPUTE = {
    "sdpa": _sdpa,
    "sdpa_backward": _sdpa_backward,
    "conv_fprop": _fprop,
    "conv_dgrad": _dgrad,
    "conv_wgrad": _wgrad,
}


@contextlib.contextmanager
def install(version: int = 92800) -> Iterator[Log]:
    """Put the stand-in in the place of `cudnn`; version 0 is a missing libcudnn."""
    names = """data_type heur_mode numerical_note cudnnGraphNotSupportedError pygraph
    backend_version create_handle set_stream""".split()
    found = types.ModuleType("cudnn")
    found.__dict__.update({name: globals()[name] for name in names})
    before = sys.modules.get("cudnn")
    LOG.append(Log(version=version))
    sys.modules["cudnn"] = found
    try:
        yield LOG[-1]
    finally:
        LOG.pop()
        del sys.modules["cudnn"]
        if before is not None:
            sys.modules["cudnn"] = before
