"""What cuDNN is asked to compute, as plain data, and as a graph of NVIDIA's frontend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

TYPES = {"float16": "HALF", "bfloat16": "BFLOAT16", "float32": "FLOAT"}


class Spec(NamedTuple):
    """A tensor of a graph; strides in elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Problem(NamedTuple):
    """What a graph computes. Inputs have the uids 1, 2 ..., outputs those that follow.

    Options by kind: `sdpa` (scale, causal); `sdpa_backward` (scale, causal, deterministic);
    `conv`, `conv_data`, `conv_weight` (before, after, stride, dilation, deterministic, tf32), the
    first four a number per spatial axis, `before` and `after` the padding at its two ends.
    """

    kind: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    options: tuple[Any, ...]


def describe(cudnn: Any, problem: Problem, handle: Any = None) -> Any:
    """The graph of a problem, validated but not yet planned; that much needs no GPU."""
    types, owner = cudnn.data_type, {} if handle is None else {"handle": handle}
    graph = cudnn.pygraph(
        name=problem.kind,
        io_data_type=getattr(types, TYPES[problem.inputs[0].dtype]),
        intermediate_data_type=types.FLOAT,
        compute_data_type=types.FLOAT,
        **owner,
    )
    tensors = [
        graph.tensor(
            name=f"input{uid}",
            uid=uid,
            dim=list(spec.shape),
            stride=list(spec.strides),
            data_type=getattr(types, TYPES[spec.dtype]),
        )
        for uid, spec in enumerate(problem.inputs, 1)
    ]
    outputs = _NODES[problem.kind](graph, tensors, *problem.options)
    for uid, (tensor, spec) in enumerate(zip(outputs, problem.outputs), len(tensors) + 1):
        tensor.set_output(True)
        tensor.set_uid(uid)
        tensor.set_dim(list(spec.shape))
        tensor.set_stride(list(spec.strides))
        tensor.set_data_type(getattr(types, TYPES[spec.dtype]))
    graph.validate()
    return graph


def _sdpa(graph: Any, tensors: Sequence[Any], scale: float, causal: bool) -> Sequence[Any]:
    q, k, v = tensors
    return graph.sdpa(  # type: ignore[no-any-return]
        name="sdpa", q=q, k=k, v=v, generate_stats=True, attn_scale=scale, use_causal_mask=causal
    )


def _sdpa_backward(
    graph: Any, tensors: Sequence[Any], scale: float, causal: bool, deterministic: bool
) -> Sequence[Any]:
    grad, q, k, v, out, stats = tensors
    return graph.sdpa_backward(  # type: ignore[no-any-return]
        name="sdpa_backward",
        q=q,
        k=k,
        v=v,
        o=out,
        dO=grad,
        stats=stats,
        attn_scale=scale,
        use_causal_mask=causal,
        use_deterministic_algorithm=deterministic,
    )


def _conv(method: str, names: tuple[str, str]) -> Callable[..., Sequence[Any]]:
    """Adds the node of one kind of convolution."""

    def node(
        graph: Any, tensors: Sequence[Any], before: Any, after: Any, stride: Any, dilation: Any,
        deterministic: bool, tf32: bool,
    ) -> Sequence[Any]:  # fmt: skip
        found = getattr(graph, method)(
            **dict(zip(names, tensors)),
            pre_padding=list(before),
            post_padding=list(after),
            stride=list(stride),
            dilation=list(dilation),
        )
        return (found,)

    return node


_NODES: dict[str, Callable[..., Sequence[Any]]] = {
    "sdpa": _sdpa,
    "sdpa_backward": _sdpa_backward,
    "conv": _conv("conv_fprop", ("image", "weight")),
    "conv_data": _conv("conv_dgrad", ("loss", "filter")),
    "conv_weight": _conv("conv_wgrad", ("image", "loss")),
}


def barred(problem: Problem) -> list[str]:
    """The numerical notes of engines that a problem must not run on."""
    if not problem.kind.startswith("conv"):
        return []
    *_, deterministic, tf32 = problem.options
    names = ["REDUCED_PRECISION_REDUCTION"]
    if problem.inputs[0].dtype == "float32" and not tf32:
        names.append("DOWN_CONVERT_INPUTS")
    return [*names, "NONDETERMINISTIC"] if deterministic else names
