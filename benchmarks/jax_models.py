"""The networks of `tensorgrad.models` as functions of their state_dict, for JAX, in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Arrays = dict[str, Any]
Forward = Callable[[Arrays, Arrays, Any], tuple[Any, Arrays]]
"""Of parameters, buffers and inputs: the logits, and what becomes of the buffers."""


def linear(p: Arrays, name: str, x: Any) -> Any:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def conv(p: Arrays, name: str, x: Any, stride: int = 1, padding: int = 0) -> Any:
    sides = [(padding, padding)] * 2
    y = jax.lax.conv_general_dilated(x, p[f"{name}.weight"], (stride, stride), sides)
    bias = p.get(f"{name}.bias")
    return y if bias is None else y + bias[:, None, None]


def max_pool(x: Any, size: int, stride: int, padding: int = 0) -> Any:
    sides = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    window, strides = (1, 1, size, size), (1, 1, stride, stride)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, sides)


def lenet(p: Arrays, buffers: Arrays, x: Any) -> tuple[Any, Arrays]:
    x = max_pool(jax.nn.relu(conv(p, "conv1", x, 1, 2)), 2, 2)
    x = max_pool(jax.nn.relu(conv(p, "conv2", x)), 2, 2).reshape(len(x), -1)
    x = jax.nn.relu(linear(p, "fc2", jax.nn.relu(linear(p, "fc1", x))))
    return linear(p, "fc3", x), buffers


def batch_norm(p: Arrays, old: Arrays, new: Arrays, name: str, x: Any) -> Any:
    count = x.size / x.shape[1]
    mean = x.mean((0, 2, 3))
    centred = x - mean[:, None, None]
    var = (centred * centred).mean((0, 2, 3))
    for key, value in (("mean", mean), ("var", var * count / (count - 1))):
        key = f"{name}.running_{key}"
        new[key] = 0.9 * old[key] + 0.1 * value
    scale = p[f"{name}.weight"] * jax.lax.rsqrt(var + 1e-5)
    return centred * scale[:, None, None] + p[f"{name}.bias"][:, None, None]


def resnet18(p: Arrays, buffers: Arrays, x: Any) -> tuple[Any, Arrays]:
    new = dict(buffers)

    def normed(name: str, norm: str, x: Any, *geometry: int) -> Any:
        return batch_norm(p, buffers, new, norm, conv(p, name, x, *geometry))

    x = max_pool(jax.nn.relu(normed("conv1", "bn1", x, 2, 3)), 3, 2, 1)
    for stage in range(1, 5):
        for k in range(2):
            at, stride = f"layer{stage}.{k}", 2 if stage > 1 and not k else 1
            kept, down = x, f"{at}.downsample"
            if stride > 1:
                kept = normed(f"{down}.0", f"{down}.1", x, stride, 0)
            x = jax.nn.relu(normed(f"{at}.conv1", f"{at}.bn1", x, stride, 1))
            x = jax.nn.relu(normed(f"{at}.conv2", f"{at}.bn2", x, 1, 1) + kept)
    return linear(p, "fc", x.mean((2, 3))), new


def layer_norm(p: Arrays, name: str, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * p[f"{name}.weight"] + p[f"{name}.bias"]


def gpt2(layers: int, heads: int) -> Forward:
    def conv1d(p: Arrays, name: str, x: Any) -> Any:
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def forward(p: Arrays, buffers: Arrays, tokens: Any) -> tuple[Any, Arrays]:
        n, length = tokens.shape
        table = p["transformer.wte.weight"]
        x = table[tokens] + p["transformer.wpe.weight"][:length]
        for k in range(layers):
            at = f"transformer.h.{k}"
            qkv = conv1d(p, f"{at}.attn.c_attn", layer_norm(p, f"{at}.ln_1", x))
            q, key, v = jnp.moveaxis(qkv.reshape(n, length, 3, heads, -1), 2, 0)
            y = jax.nn.dot_product_attention(q, key, v, is_causal=True).reshape(n, length, -1)
            x = x + conv1d(p, f"{at}.attn.c_proj", y)
            y = conv1d(p, f"{at}.mlp.c_fc", layer_norm(p, f"{at}.ln_2", x))
            x = x + conv1d(p, f"{at}.mlp.c_proj", jax.nn.gelu(y, approximate=True))
        return layer_norm(p, "transformer.ln_f", x) @ table.T, buffers

    return forward


def lstm(layers: int) -> Forward:
    def forward(p: Arrays, buffers: Arrays, tokens: Any) -> tuple[Any, Arrays]:
        x = p["encoder.weight"][tokens.T]  # steps in front
        for k in range(layers):
            inner = p[f"rnn.weight_hh_l{k}"].T
            gates = x @ p[f"rnn.weight_ih_l{k}"].T + p[f"rnn.bias_ih_l{k}"] + p[f"rnn.bias_hh_l{k}"]
            zero = jnp.zeros((x.shape[1], inner.shape[0]), x.dtype)

            def step(carry: Any, a: Any, inner: Any = inner) -> Any:
                h, c = carry
                i, f, g, o = jnp.split(a + h @ inner, 4, -1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            _, x = jax.lax.scan(step, (zero, zero), gates)
        return linear(p, "decoder", jnp.swapaxes(x, 0, 1)), buffers

    return forward
