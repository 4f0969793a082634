"""Random tensors from counter-based generators, and dropout.

A draw depends on a key and a counter alone and moves the counter by a number known beforehand, so
a run resumes bit for bit from (key, counter), and integers and uniforms are the same on every
backend. Results are constants, off the tape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np  # oracles only

from tensorgrad import _config, dtypes, shapes
from tensorgrad._errors import DTypeError, need
from tensorgrad.backend import base
from tensorgrad.backend.philox import RandomError, blocks
from tensorgrad.core import replay, watch
from tensorgrad.core.levels import Batched
from tensorgrad.core.primitive import Primitive, Spec, operand
from tensorgrad.core.registry import operation, primitive
from tensorgrad.core.tensor import Payload, Tensor, make
from tensorgrad.ops.create import extents, leaf
from tensorgrad.ops.shape import whole

__all__ = [
    "Generator",
    "bernoulli",
    "default_generator",
    "dropout",
    "integers",
    "manual_seed",
    "normal",
    "permutation",
    "rand",
    "randint",
    "randn",
    "uniform",
]

State = tuple[int, int]


class Generator:
    """A stream of random numbers: a key, and a counter that every draw moves forward.

    The key is the seed itself, 0 <= seed < 2**64, so different seeds are different streams; without
    a seed it comes from the operating system. The counter starts at 0 and counts blocks of four
    32-bit words (Philox 4x32-10). Draws of several threads never overlap.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.manual_seed(int.from_bytes(os.urandom(8)) if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of `seed` from its beginning; raises `RandomError` outside 64 bits."""
        key = _word("manual_seed", seed)
        with self._lock:
            self._key, self._counter = key, 0
        return self

    @property
    def seed(self) -> int:
        """The seed of this stream."""
        return self._key

    def get_state(self) -> State:
        """(key, counter): all there is to know; two integers below 2**64."""
        with self._lock:
            return self._key, self._counter

    def set_state(self, state: State) -> None:
        """Continue where `get_state` was; raises `RandomError` for what is no state."""
        key, counter = (_word("set_state", number) for number in state)
        with self._lock:
            self._key, self._counter = key, counter

    def take(self, kind: str, count: int, dtype: Any = "float32", times: int = 1) -> State:
        """Reserve `times` draws of `count` elements: (key, counter of the first), atomically."""
        step = blocks(kind, count, dtype) * times
        with self._lock:
            first = self._counter
            self._counter += step
            return self._key, first

    def __reduce__(self) -> tuple[Any, ...]:
        return _continued, (self.get_state(),)

    def __repr__(self) -> str:
        key, counter = self.get_state()
        return f"Generator(seed={key}, counter={counter})"


def _continued(state: State) -> Generator:
    """A generator that goes on from a state, as a copy does."""
    found = Generator(0)
    found.set_state(state)
    return found


def _word(op: str, value: int) -> int:
    """A number that fits 64 bits, as a Python integer."""
    n = whole(op, value)
    need(0 <= n < 1 << 64, op, n=n, want="0 <= n < 2**64", fix="n % 2**64", error=RandomError)
    return n


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Start the default generator's stream of `seed`; returns the generator.

    The default generator starts with seed 0: an unseeded program draws the same numbers every time.
    """
    return default_generator.manual_seed(seed)


def _drawn(
    kind: str,
    shape: Any,
    dtype: Any,
    device: str | None,
    generator: Generator | None,
    *options: Any,
) -> Tensor:
    """A draw of the backend's kernel `kind`; options stand before the shape."""
    size = extents(kind, shape)
    dt = dtypes.dtype(dtype)
    source = default_generator if generator is None else generator
    home = base.on(device)
    key, counter = _taken(source, home, kind, shapes.size(size), dt)
    return make(watch.source(kind, home.kernel(kind))(key, counter, *options, size, dt))


def _taken(
    source: Generator, home: Any, kind: str, count: int, dtype: Any = "float32", times: int = 1
) -> tuple[Any, Any]:
    """(key, counter) of draws on a backend; of the first run in a function that runs again."""
    draws = _config.draws.get()
    if draws is None:
        return _fresh(source, home, kind, count, dtype, times)
    return draws.take(lambda: _fresh(source, home, kind, count, dtype, times))  # type: ignore[no-any-return]


class Draws:
    """The random numbers that a function took, which it takes again when it is run again.

    taken: the key and counter of each draw so far, in order.
    """

    def __init__(self, taken: list[tuple[Any, Any]]) -> None:
        self.taken, self.at = taken, 0
        self.around = _config.draws.get()

    def take(self, fresh: Callable[[], tuple[Any, Any]]) -> tuple[Any, Any]:
        """The next draw: as it was, or `fresh` in the first run."""
        if self.at == len(self.taken):
            self.taken.append(fresh() if self.around is None else self.around.take(fresh))
        self.at += 1
        return self.taken[self.at - 1]


def _fresh(
    source: Generator, home: Any, kind: str, count: int, dtype: Any, times: int
) -> tuple[Any, Any]:
    """(key, counter) of new draws; 0-d arrays on a GPU while a step is recorded there.

    Then nothing is taken now: each replay takes what the step would.
    """
    recording = replay.current.get()
    if recording is None or home.device == "cpu":
        return source.take(kind, count, dtype, times)
    key, counter = recording.numbers(
        lambda: source.take(kind, count, dtype, times), ("uint64", "uint64")
    )
    return key, counter


def _size(size: Any, *parameters: Any) -> Any:
    """The shape of a draw: as told, else that of its parameters."""
    if size is not None:
        return size
    return shapes.broadcast(*(operand(p).shape for p in parameters), op="random")


def _floating(op: str, dtype: Any) -> Any:
    dt = dtypes.dtype("float64" if dtype is None else dtype)
    if not dtypes.is_float(dt):
        want, fix = "a real floating dtype", "'float32'"
        need(False, op, dtype=dt.name, want=want, fix=fix, error=DTypeError)
    return dt


# -- draws -------------------------------------------------------------------------------------


def uniform(
    low: Any = 0.0,
    high: Any = 1.0,
    size: Any = None,
    dtype: Any = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers uniform on [low, high): low + (high - low) u. float64 unless `dtype` says otherwise.

    size None is the shape of low and high. u is `rand`'s; the sum may round up to `high`.

    >>> uniform(size=2, generator=Generator(0))
    tensor([0.8805202 , 0.60548185])
    """
    u: Any = _drawn(
        "uniform", _size(size, low, high), _floating("uniform", dtype), device, generator
    )
    if not _standard(low, high):
        bottom = _as(low, u)
        u = u * (_as(high, u) - bottom) + bottom
    return leaf(u, requires_grad)


def _standard(location: Any, end: Any) -> bool:
    """True for the plain numbers 0 and 1, which leave a draw as it is."""
    return {type(location), type(end)} <= {int, float} and (location, end) == (0, 1)


def _as(value: Any, like: Tensor) -> Any:
    """A parameter off the tape in the dtype of the draw."""
    return _constant(operand(value, (like,))).astype(like.dtype)


def _constant(x: Tensor) -> Any:
    """The value without tape and tangents; a hidden batch stays."""
    data = x.data
    if isinstance(data, Batched):
        return make(Batched(data.level, _constant(data.inner)), None, data.level)
    return _constant(data.inner) if isinstance(data, Payload) else make(data)


def normal(
    loc: Any = 0.0,
    scale: Any = 1.0,
    size: Any = None,
    dtype: Any = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers of mean `loc` and standard deviation `scale`; float64 by default.

    size None is the shape of loc and scale. By Box and Muller, within 4 ulp on every backend.
    """
    z: Any = _drawn(
        "normal", _size(size, loc, scale), _floating("normal", dtype), device, generator
    )
    if not _standard(loc, scale):
        z = z * _as(scale, z) + _as(loc, z)
    return leaf(z, requires_grad)


def rand(*shape: Any, **options: Any) -> Tensor:
    """Numbers uniform on [0, 1): rand(2, 3) or rand((2, 3)); options as in `uniform`."""
    return uniform(0.0, 1.0, _spread(shape), **options)


def randn(*shape: Any, **options: Any) -> Tensor:
    """Standard normal numbers: randn(2, 3) or randn((2, 3)); options as in `normal`."""
    return normal(0.0, 1.0, _spread(shape), **options)


def _spread(shape: tuple[Any, ...]) -> Any:
    return shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape


def integers(
    low: int,
    high: int | None = None,
    size: Any = (),
    dtype: Any = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers uniform on low .. high - 1; integers(n) is 0 .. n - 1. int64 by default.

    Raises `RandomError` for an empty range or one that the dtype cannot hold.
    """
    if high is None:
        low, high = 0, low
    chosen = "int64" if dtype is None else dtype
    bounds = whole("integers", low), whole("integers", high)
    return _drawn("integers", size, chosen, device, generator, *bounds)


randint = integers


def permutation(x: Any, *, device: str | None = None, generator: Generator | None = None) -> Tensor:
    """0 .. x - 1 in random order (int64); of an array, its rows in random order.

    The rows of a tensor on the tape stay on it: their order is random, not their values.
    """
    number = isinstance(x, int) or (hasattr(x, "__index__") and not getattr(x, "shape", ()))
    array: Any = None if number else operand(x, (), "permutation")
    need(
        number or array.ndim, "permutation", x=array, want="an integer, or an array with rows",
        fix="permutation(n)",
    )  # fmt: skip
    count = int(x.__index__()) if number else len(array)
    source = default_generator if generator is None else generator
    home = base.on(device) if array is None else base.of(array.value())
    key, counter = _taken(source, home, "permutation", count)
    order = make(watch.source("permutation", home.kernel("permutation"))(key, counter, count))
    return order if array is None else array[order]


def bernoulli(
    p: Any = 0.5,
    size: Any = None,
    dtype: Any = None,
    *,
    device: str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """True with probability p, a number or an array of them; bool unless `dtype` says otherwise.

    size None is p's shape. Raises `RandomError` for a number p outside [0, 1].
    """
    if isinstance(p, int | float):
        need(0 <= p <= 1, "bernoulli", p=p, want="0 <= p <= 1", fix="p=0.5", error=RandomError)
    u: Any = _drawn("uniform", _size(size, p), dtypes.float64, device, generator)
    found: Any = u < _constant(operand(p, (u,)))
    return found if dtype is None else found.astype(dtypes.dtype(dtype))  # type: ignore[no-any-return]


# -- dropout -----------------------------------------------------------------------------------


def _dropout_batch(inputs: Sequence[Any], batched: Sequence[bool], **params: Any) -> Any:
    """A batch of x alone shares its masks, a batch of counters has a mask per member."""
    x, counter = inputs
    if not batched[1]:
        counter = counter.reshape((1, *counter.shape))
    elif not batched[0]:
        x = x.broadcast_to((counter.shape[0], *x.shape))
    return dropout_p.bind(x, counter, **params)


dropout_p: Primitive = primitive(
    "dropout",
    nin=2,
    spec=lambda x, counter, *, p, key, shape: Spec(x.shape, x.dtype),
    vjp=(
        lambda ct, out, x, counter, *, p, key, shape: dropout_p.bind(
            ct, counter, p=p, key=key, shape=shape
        ),
        lambda ct, out, *inputs, **params: None,
    ),
    linear=(0,),
    reads=((1,), ()),
    batch=_dropout_batch,
)
"""x (*lead, *shape) and counters (*lead); the mask is drawn again in backward, never stored."""


def _samples(r: Any) -> Any:
    for x in r.layouts(r.normal):
        yield (x, 0.0), {}
        yield (x, 1.0), {}
        yield (x, 0.4), {"training": False}


@operation(
    oracle=lambda x, p, training=True: np.zeros_like(x) if p == 1 and training else x,
    samples=_samples,
)
def dropout(
    x: Any, p: float = 0.5, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """x / (1 - p) with each element set to 0 with probability p, so that E[result] = x.

    The mask is drawn from the generator's key and counter, in backward again: no mask is stored.
    Inside vmap every member of a batch of x has its own mask; what is not batched has one. Off
    training it is x itself. Srivastava et al., "Dropout", 2014. Raises `RandomError` unless
    0 <= p <= 1.
    """
    x = operand(x, (), "dropout")
    need(0 <= p <= 1, "dropout", p=p, want="0 <= p <= 1", fix="p=0.5", error=RandomError)
    if not training or p == 0:
        return x  # type: ignore[no-any-return]
    need(
        dtypes.is_inexact(x.dtype), "dropout", x=x, want="a floating dtype", fix="x.astype(float)",
        error=DTypeError,
    )  # fmt: skip
    key, counter = mask_counter((x,), x.size, generator)
    return dropout_p.bind(x, counter, p=float(p), key=key, shape=x.shape)  # type: ignore[no-any-return]


def mask_counter(
    near: Sequence[Tensor], size: int, generator: Generator | None = None
) -> tuple[Any, Tensor]:
    """The key and the counter of a fresh mask of `size` elements, beside the tensors `near`.

    There is a counter for each member of every batch that one of them is in.
    """
    found = {batch.level: batch for x in near for batch in _batches(x)}
    batches = [found[level] for level in sorted(found)]
    lead = tuple(batch.inner.shape[0] for batch in batches)
    source = default_generator if generator is None else generator
    home = base.of(near[0].value())
    key, first = _taken(source, home, "bernoulli_keep", size, times=shapes.size(lead))
    counter = make(home.kernel("counters")(first, blocks("bernoulli_keep", size), lead))
    for batch in batches:
        counter = make(Batched(batch.level, counter), None, batch.level)
    return key, counter


def _batches(x: Tensor) -> list[Batched]:
    """The batches hidden in x, the outermost axis of the array first."""
    found: list[Batched] = []
    data = x.data
    while isinstance(data, Payload):
        if isinstance(data, Batched):
            found.insert(0, data)
        data = data.inner.data
    return found
