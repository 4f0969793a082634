"""Drawing the next token from a model's logits; the text that it goes on from."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorgrad as tg


def sample(
    logits: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
    generator: tg.Generator | None = None,
) -> Any:
    """One token of each row of logits (..., tokens), with probabilities softmax(logits / T).

    T is the temperature; at 0 it is the likeliest token. With `top_k` only that many of the
    likeliest are drawn from. Raises `ValueError` for a temperature below 0, a top_k below 1, and
    rows whose largest logit is NaN or infinite: nothing can be drawn by such probabilities.

    >>> sample([0.0, 5.0, 1.0], temperature=0)
    tensor(1)
    """
    whole = top_k is None or isinstance(top_k, int | np.integer)
    if temperature < 0 or not whole or (top_k is not None and top_k < 1):
        raise ValueError(
            f"sample: got temperature={temperature}, top_k={top_k}, expected temperature >= 0, "
            "top_k a whole number >= 1 or None; try temperature=1.0"
        )
    with tg.no_grad():
        x = _drawable(logits)
        if not temperature:
            return tg.argmax(x, axis=-1)
        if top_k is not None and top_k < x.shape[-1]:
            least = tg.sort(x, axis=-1)[..., -top_k, None]
            x = tg.where(x < least, -tg.inf, x)
        # Gumbel's trick: the largest of logits with such noise has the softmax's probabilities.
        u = tg.uniform(size=x.shape, dtype="float64", device=x.device, generator=generator)
        noise = -tg.log(tg.maximum(-tg.log1p(-u), tg.finfo("float64").smallest_normal))
        return tg.argmax(x / temperature + noise, axis=-1)


def _drawable(logits: Any) -> Any:
    """Logits off the tape, each row of which has a largest one."""
    x = logits.detach() if isinstance(logits, tg.Tensor) else tg.asarray(logits)
    if not x.ndim or not x.shape[-1]:
        raise tg.ShapeError(
            f"sample: got logits of shape {x.shape}, expected (..., tokens); try net(text)[:, -1]"
        )
    most = tg.max(x, axis=-1)
    if not tg.isfinite(most).all():
        raise ValueError(
            f"sample: got logits whose largest is {most.min().item()}, expected a finite number "
            "in every row; try tg.isfinite(p).all() for p in net.parameters()"
        )
    return x


def prompt(model: str, tokens: Any, max_new_tokens: int) -> Any:
    """Tokens (N, L) to go on from, as a tensor; raises where `generate` cannot begin or end."""
    known = tokens if isinstance(tokens, tg.Tensor) else tg.asarray(tokens)
    if known.ndim != 2 or not known.shape[1]:
        raise tg.ShapeError(
            f"{model}.generate: got tokens of shape {known.shape}, expected (N, L) with L of 1 or "
            "more; try [[token]]"
        )
    if not isinstance(max_new_tokens, int | np.integer) or max_new_tokens < 0:
        raise ValueError(
            f"{model}.generate: got max_new_tokens={max_new_tokens}, expected a whole number of 0 "
            "or more; try max_new_tokens=100"
        )
    return known
