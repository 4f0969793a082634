"""Attention and 2-D convolution by cuDNN, for arrays of a GPU: optional, beside our own kernels.

Every function raises `Unsupported` where cuDNN has no engine for what it is given, before anything
is computed, and `DeviceError` where cuDNN is not installed: a caller that has another kernel asks
`supports`, or catches the one and runs the other. Inputs that cuDNN cannot read in place are copied
(attention: a last axis that is not dense, addresses or strides that are no multiples of 16 bytes;
convolution: neither dense nor dense with the channels last).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tensorgrad.backend.cuda import dnn_attention, dnn_conv
from tensorgrad.backend.cuda.dnn_attention import sdpa, sdpa_backward
from tensorgrad.backend.cuda.dnn_conv import conv, conv_data, conv_weight
from tensorgrad.backend.cuda.dnn_graph import Unsupported, available

__all__ = ["Unsupported", "available", "conv", "conv_data", "conv_weight", "sdpa", "sdpa_backward",
           "supports"]  # fmt: skip

_PREPARE: dict[str, Callable[..., object]] = {
    "sdpa": dnn_attention.prepare,
    "sdpa_backward": dnn_attention.prepare_backward,
    "conv": dnn_conv.prepare,
    "conv_data": dnn_conv.prepare_data,
    "conv_weight": dnn_conv.prepare_weight,
}


def supports(name: str, *arrays: Any, **options: Any) -> bool:
    """Whether the function of that name would run on these arguments; it plans, computes nothing.

    Arguments that do not fit together raise, as they would in the call.
    """
    if not available():
        return False
    try:
        _PREPARE[name](*arrays, **options)
    except Unsupported:
        return False
    return True
