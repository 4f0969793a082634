"""A call for every primitive with a kernel of its own on the CUDA backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ops_tools import there

import tensorgrad as tg
from tensorgrad.core.primitive import PRIMITIVES


def calls(rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """What runs the kernel of each primitive that has one, as a call of an operation."""
    x, k = there(rng.standard_normal((6, 5)).astype("f4")), there(rng.integers(0, 5, 6))
    w = there(rng.standard_normal((4, 5)).astype("f4"))
    column, attention = tg.reshape(k, (6, 1)), tg.nn.functional.scaled_dot_product_attention
    return {
        "sum": lambda: x.sum(0), "sum_to": lambda: tg.sum_to(x, (5,)), "max": lambda: x.max(1),
        "nanmax": lambda: tg.nanmax(x, 1), "nanmin": lambda: tg.nanmin(x, 1),
        "cumprod": lambda: tg.cumprod(x, 1), "cummax": lambda: tg.cummax(x, 1),
        "cummin": lambda: tg.cummin(x, 1),
        "permute": lambda: PRIMITIVES["permute"].bind(x, tg.argsort(x, 1), axis=1),
        "min": lambda: x.min(1), "gather": lambda: x[k], "cumsum": lambda: tg.cumsum(x, 1),
        "tie_shares": lambda: PRIMITIVES["tie_shares"].bind(x, x.max(1, keepdims=True), axis=(1,)),
        "take_along_axis": lambda: tg.take_along_axis(x, column, 1),
        "one_hot": lambda: tg.one_hot(k, 5), "matmul": lambda: x @ w.T,
        "scatter_add": lambda: PRIMITIVES["scatter_add"].bind(
            x, k.reshape((1, 6)), axes=(0,), at=0, shape=(9, 5)),
        "add_along_axis": lambda: PRIMITIVES["add_along_axis"].bind(
            x[:, :1], column, axis=1, shape=(6, 5)),
        "contract": lambda: tg.einsum("ij,kj->ik", x, w), "linear": lambda: tg.linear(x, w),
        "linear_relu": lambda: tg.linear_relu(x, w, w[:, 0]),
        "linear_gelu": lambda: tg.linear_gelu(x, w, w[:, 0]), "dropout": lambda: tg.dropout(x),
        "softmax_xent": lambda: tg.cross_entropy(x, k),
        "attention": lambda: attention(x, x, x),
        "attention_masked": lambda: attention(x, x, x, dropout_p=0.5),
        "mean_counted": lambda: PRIMITIVES["mean_counted"].bind(
            x[:, 0], k, PRIMITIVES["max"].bind(k, axis=(0,), keepdims=False)),
        **windows(x.reshape((1, 2, 3, 5)), w.reshape((2, 2, 1, 5))),
    }  # fmt: skip


def windows(x: Any, w: Any) -> dict[str, Callable[[], Any]]:
    """Convolution and pooling, whose derivatives are primitives too."""

    def run(name: str, *given: Any, **params: Any) -> Any:
        return lambda: PRIMITIVES[name].bind(*given, **params)

    side: dict[str, Any] = {"kernel": (2, 2), "stride": (1, 1), "padding": (0, 0)}
    wide, mean = {**side, "dilation": (1, 1)}, {**side, "padded": True, "divisor": None}
    how = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    y = PRIMITIVES["max_pool"].bind(x, shape=(2, 4), **wide)
    tap, ct = PRIMITIVES["max_taps"].bind(x, y, **wide), x[..., :1]
    return {
        "conv": run("conv", x, w, **how),
        "conv_input": run("conv_input", ct, w, shape=x.shape, **how),
        "conv_weight": run("conv_weight", x, ct, shape=w.shape, **how),
        "max_pool": run("max_pool", x, shape=(2, 4), **wide),
        "max_taps": run("max_taps", x, y, **wide),
        "pool_pick": run("pool_pick", x, tap, shape=(2, 4), **wide),
        "pool_spread": run("pool_spread", y, tap, shape=(3, 5), **wide),
        "avg_pool": run("avg_pool", x, shape=(2, 4), **mean),
        "avg_spread": run("avg_spread", y, shape=(3, 5), **mean),
    }
