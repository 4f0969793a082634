"""Drawing the next token from a model's logits."""

from __future__ import annotations

from typing import Any

import tensorgrad as tg


def sample(
    logits: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: tg.Generator | None = None,
) -> Any:
    """One token of each row of logits (..., tokens), with probabilities softmax(logits / T).

    T is the temperature; at 0 it is the likeliest token. With `top_k` only that many of the
    likeliest are drawn from. Raises `ValueError` for a temperature below 0 or a top_k below 1.

    >>> sample([0.0, 5.0, 1.0], temperature=0)
    tensor(1)
    """
    if temperature < 0 or (top_k is not None and top_k < 1):
        raise ValueError(
            f"sample: got temperature={temperature}, top_k={top_k}, expected temperature >= 0, "
            "top_k >= 1 or None; try temperature=1.0"
        )
    with tg.no_grad():
        x = logits.detach() if isinstance(logits, tg.Tensor) else tg.asarray(logits)
        if not temperature:
            return tg.argmax(x, axis=-1)
        if top_k is not None and top_k < x.shape[-1]:
            least = tg.sort(x, axis=-1)[..., -top_k, None]
            x = tg.where(x < least, -tg.inf, x)
        # Gumbel's trick: the largest of logits with such noise has the softmax's probabilities.
        u = tg.uniform(size=x.shape, dtype="float64", device=x.device, generator=generator)
        noise = -tg.log(tg.maximum(-tg.log1p(-u), tg.finfo("float64").smallest_normal))
        return tg.argmax(x / temperature + noise, axis=-1)
