"""The primitives of convolution: closed under differentiation and batching, each by the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tensorgrad import dtypes, shapes
from tensorgrad._errors import need
from tensorgrad.backend.conv_layout import extent
from tensorgrad.core.primitive import Primitive, Spec
from tensorgrad.core.registry import primitive
from tensorgrad.ops.complex import conj

Shape = shapes.Shape


def _places(op: str, x: Shape, w: Shape, p: dict[str, Any]) -> Shape:
    """The spatial axes of a convolution's result."""
    groups = p["groups"]
    need(
        len(x) == len(w) and x[1] == w[1] * groups and w[0] % groups == 0,
        op,
        x=x,
        w=w,
        groups=groups,
        want="x (N, C, ...) and w (O, C / groups, ...), with groups dividing O",
        fix="groups=1",
    )
    each = zip(x[2:], w[2:], p["stride"], p["padding"], p["dilation"])
    found = tuple([extent(*one) for one in each])
    need(all(n > 0 for n in found), op, x=x, w=w, **p, want="a kernel no longer than the padded x",
         fix="more padding")  # fmt: skip
    return found


def _dtype(*given: Spec) -> Any:
    return dtypes.result_type(*[one.dtype for one in given])


def _conv_spec(x: Spec, w: Spec, *bias: Spec, **p: Any) -> Spec:
    return Spec(
        (x.shape[0], w.shape[0], *_places("conv", x.shape, w.shape, p)), _dtype(x, w, *bias)
    )


def _input_spec(ct: Spec, w: Spec, *bias: Spec, shape: Shape, **p: Any) -> Spec:
    _same("conv_input", ct, (shape[0], w.shape[0], *_places("conv_input", shape, w.shape, p)))
    return Spec(shape, _dtype(ct, w, *bias))


def _weight_spec(x: Spec, ct: Spec, *, shape: Shape, **p: Any) -> Spec:
    _same("conv_weight", ct, (x.shape[0], shape[0], *_places("conv_weight", x.shape, shape, p)))
    return Spec(shape, _dtype(x, ct))


def _same(op: str, ct: Spec, shape: Shape) -> None:
    need(
        ct.shape == shape, op, ct=ct, want=f"the shape {shape} of the result", fix="conv's options"
    )


def _spread(bias: Any, ndim: int) -> Any:
    """A bias (channels,) or (batch, channels) that broadcasts against a result of `ndim` axes."""
    lead = (bias.shape[0], 1) if bias.ndim == 2 else ()
    return bias.reshape((*lead, bias.shape[-1], *(1,) * (ndim - 2)))


def _bias_rule(t: Any, out: Any, *inputs: Any, **p: Any) -> Any:
    return _spread(t, out.ndim).broadcast_to(out.shape)


def _bias_vjp(ct: Any, out: Any, *inputs: Any, **p: Any) -> Any:
    return ct.sum(axis=(0, *range(2, ct.ndim)))


def _split(x: Any, axis: int, *sizes: int) -> Any:
    return x.reshape((*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))


def _merged(x: Any, axis: int, count: int) -> Any:
    """`count` axes from `axis` on as one."""
    sizes = x.shape[axis : axis + count]
    return x.reshape((*x.shape[:axis], shapes.size(sizes), *x.shape[axis + count :]))


def _moved(x: Any, source: int, target: int) -> Any:
    order = [k for k in range(x.ndim) if k != source]
    order.insert(target, source)
    return x.transpose(tuple(order))


def _conv_batch(inputs: Sequence[Any], batched: Sequence[bool], **p: Any) -> Any:
    x, w, *bias = inputs
    groups = p["groups"]
    if not batched[1]:
        plain = bias if not any(batched[2:]) else []
        if batched[0]:
            size = x.shape[:2]
            found = _split(conv_p.bind(_merged(x, 0, 2), w, *plain, **p), 0, *size)
        else:
            found = conv_p.bind(x, w, **p)
            found = found.reshape((1, *found.shape))
        return found if plain or not bias else found + _spread(bias[0], found.ndim - 1)
    size, outputs = w.shape[:2]
    if batched[0]:  # a group of its own for each
        x, w = _merged(_moved(x, 0, 1), 1, 2), _merged(w, 0, 2)
        found = _split(conv_p.bind(x, w, **{**p, "groups": groups * size}), 1, size, outputs)
        found = _moved(found, 1, 0)
    else:  # more outputs of each group
        w = _moved(_split(w, 1, groups, outputs // groups), 0, 1)
        found = conv_p.bind(x, _merged(w, 0, 3), **p)
        found = _moved(_split(found, 1, groups, size, outputs // groups), 2, 0)
        found = _merged(found, 2, 2)
    return found + _spread(bias[0], found.ndim - 1) if bias else found


def _input_batch(inputs: Sequence[Any], batched: Sequence[bool], *, shape: Shape, **p: Any) -> Any:
    ct, w, *bias = inputs
    groups, images, channels = p["groups"], *shape[:2]
    rest = shape[2:]
    if not batched[1]:
        plain = bias if not any(batched[2:]) else []
        if batched[0]:
            full = (ct.shape[0] * images, *shape[1:])
            found = conv_input_p.bind(_merged(ct, 0, 2), w, *plain, shape=full, **p)
            found = _split(found, 0, ct.shape[0], images)
        else:
            found = conv_input_p.bind(ct, w, shape=shape, **p)
            found = found.reshape((1, *found.shape))
        return found if plain or not bias else found + _spread(bias[0], found.ndim - 1)
    size = w.shape[0]
    full = (images, size * channels, *rest)
    if batched[0]:
        ct, w = _merged(_moved(ct, 0, 1), 1, 2), _merged(w, 0, 2)
        found = conv_input_p.bind(ct, w, shape=full, **{**p, "groups": groups * size})
        found = _moved(_split(found, 1, size, channels), 1, 0)
    else:
        found = conv_input_p.bind(ct, _merged(_moved(w, 0, 1), 1, 2), shape=full, **p)
        found = _moved(_split(found, 1, groups, size, channels // groups), 2, 0)
        found = _merged(found, 2, 2)
    return found + _spread(bias[0], found.ndim - 1) if bias else found


def _weight_batch(inputs: Sequence[Any], batched: Sequence[bool], *, shape: Shape, **p: Any) -> Any:
    x, ct = inputs
    groups, (outputs, channels, *rest) = p["groups"], shape
    size = (x if batched[0] else ct).shape[0]
    if all(batched):
        x, ct = (_merged(_moved(one, 0, 1), 1, 2) for one in (x, ct))
        full = (size * outputs, channels, *rest)
        found = conv_weight_p.bind(x, ct, shape=full, **{**p, "groups": groups * size})
        return _split(found, 0, size, outputs)
    if batched[0]:
        x = _merged(_moved(_split(x, 2, groups, channels), 0, 2), 1, 3)
        found = conv_weight_p.bind(x, ct, shape=(outputs, size * channels, *rest), **p)
        return _moved(_split(found, 1, size, channels), 1, 0)
    ct = _merged(_moved(_split(ct, 2, groups, outputs // groups), 0, 2), 1, 3)
    found = conv_weight_p.bind(x, ct, shape=(size * outputs, channels, *rest), **p)
    found = _moved(_split(found, 0, groups, size, outputs // groups), 1, 0)
    return _merged(found, 1, 2)


conv_p: Primitive = primitive(
    "conv",
    nin=3,
    spec=_conv_spec,
    vjp=(
        lambda ct, out, x, w, *bias, **p: conv_input_p.bind(ct, conj(w), shape=x.shape, **p),
        lambda ct, out, x, w, *bias, **p: conv_weight_p.bind(conj(x), ct, shape=w.shape, **p),
        _bias_vjp,
    ),
    jvp=(
        lambda t, out, x, w, *bias, **p: conv_p.bind(t, w, **p),
        lambda t, out, x, w, *bias, **p: conv_p.bind(x, t, **p),
        _bias_rule,
    ),
    reads=((1,), (0,), ()),
    batch=_conv_batch,
)
"""y[n, o, *q] = Σ x[n, c, *(q s + k d - low)] w[o, c, *k] + bias[o]; see backend/numpy_conv.py."""

conv_input_p: Primitive = primitive(
    "conv_input",
    nin=3,
    spec=_input_spec,
    vjp=(
        lambda g, out, ct, w, *bias, shape, **p: conv_p.bind(g, conj(w), **p),
        lambda g, out, ct, w, *bias, shape, **p: conv_weight_p.bind(
            g, conj(ct), shape=w.shape, **p
        ),
        _bias_vjp,
    ),
    jvp=(
        lambda t, out, ct, w, *bias, **p: conv_input_p.bind(t, w, **p),
        lambda t, out, ct, w, *bias, **p: conv_input_p.bind(ct, t, **p),
        _bias_rule,
    ),
    reads=((1,), (0,), ()),
    batch=_input_batch,
)
"""The adjoint of `conv` in x, of that shape, plus a bias."""

conv_weight_p: Primitive = primitive(
    "conv_weight",
    nin=2,
    spec=_weight_spec,
    vjp=(
        lambda g, out, x, ct, *, shape, **p: conv_input_p.bind(conj(ct), g, shape=x.shape, **p),
        lambda g, out, x, ct, *, shape, **p: conv_p.bind(conj(x), g, **p),
    ),
    linear=(0, 1),
    reads=((1,), (0,)),
    batch=_weight_batch,
)
"""The adjoint of `conv` in w, of that shape."""
