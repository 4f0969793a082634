"""Counter-based random numbers on bare arrays: Philox 4x32-10 and the draws made of its words.

A draw is a function of (key, counter, shape, dtype) and of nothing else. Block i of a draw is
`philox(counter + i, key)` and gives the 32-bit words 4i .. 4i+3; two consecutive words, low one
first, make a 64-bit word. Every draw is written down as a sequence of integer operations and of
single IEEE roundings (no libm), so another machine that follows it gets the same bits.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tensorgrad._errors import DTypeError, TensorgradError, need

Array = np.ndarray[Any, Any]
DType = np.dtype[Any]
Shape = int | tuple[int, ...]

__all__ = [
    "RandomError",
    "bernoulli_keep",
    "blocks",
    "integers",
    "normal",
    "permutation",
    "philox4x32",
    "uniform",
]


class RandomError(TensorgradError, ValueError):
    """A key, counter, probability or range outside what the generator can take."""


_LOW, _M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10
# Below 4096 the 0.3 us of a NumPy call shows, above 16384 the temporaries leave the second cache.
_CHUNK = 8192


def _u64(value: int) -> Array:
    """A 0-d uint64: as an operand it costs half of what a NumPy scalar does."""
    return np.array(value, dtype=np.uint64)


_A0, _A1, _S32, _MASK = _u64(_M0), _u64(_M1), _u64(32), _u64(_LOW)


_INDEX = np.arange(_CHUNK, dtype=np.uint64)


class _Schedule(NamedTuple):
    """Round keys: the first two rounds' as integers, the others' in the high half of a uint64."""

    first: tuple[tuple[int, int], tuple[int, int]]
    later: tuple[tuple[Array, Array], ...]


@functools.lru_cache(maxsize=64)
def _schedule(key: int) -> _Schedule:
    """The ten round keys (k0, k1): each word grows by its Weyl constant modulo 2**32."""
    low, high = key & _LOW, key >> 32
    keys = [((low + r * _W0) & _LOW, (high + r * _W1) & _LOW) for r in range(_ROUNDS)]
    later = tuple((_u64(k0 << 32), _u64(k1 << 32)) for k0, k1 in keys[2:])
    return _Schedule((keys[0], keys[1]), later)


class _Core:
    """One draw's key schedule and scratch; `fill` writes the words of up to `_CHUNK` blocks.

    A state is two uint64 arrays, a = x1 | x0 << 32 and b = x3 | x2 << 32, so that a round needs
    no masks: x0 = a >> 32, and the new a is M1 * x2 ^ a << 32 ^ k0 << 32.
    """

    def __init__(self, key: int, size: int) -> None:
        self.keys = _schedule(key)
        self.scratch = np.empty((4, size), np.uint64)

    def fill(self, words: Array, block: int, count: int) -> None:
        """Write blocks block .. block + count - 1 (one value of counter >> 32) as uint64 pairs."""
        a, b, t, u = self.scratch[:, :count]
        self._first_two(a, b, u, block, count)
        for k0, k1 in self.keys.later:
            np.right_shift(a, _S32, t)
            np.multiply(t, _A0, t)
            np.right_shift(b, _S32, u)
            np.multiply(u, _A1, u)
            np.left_shift(a, _S32, a)
            np.bitwise_xor(a, u, a)
            np.bitwise_xor(a, k0, a)
            np.left_shift(b, _S32, b)
            np.bitwise_xor(b, t, b)
            np.bitwise_xor(b, k1, b)
        for half, state in enumerate((a, b)):
            np.right_shift(state, _S32, t)
            np.left_shift(state, _S32, state)
            np.bitwise_or(state, t, words[half::2])

    def _first_two(self, a: Array, b: Array, u: Array, block: int, count: int) -> None:
        """Rounds 1 and 2, in which x1, x2, x3 and then x0, x1 are still the same in every block."""
        x0, x1, x2, x3 = (block >> shift & _LOW for shift in (0, 32, 64, 96))
        (k0, k1), (j0, j1) = self.keys.first
        np.add(_INDEX[:count], _u64(x0), b)
        np.multiply(b, _A0, b)
        np.bitwise_xor(b, _u64((x3 ^ k1) << 32), b)
        product = _M1 * x2
        np.right_shift(b, _S32, u)
        np.multiply(u, _A1, u)
        np.bitwise_xor(u, _u64(((product & _LOW) ^ j0) << 32), a)
        np.left_shift(b, _S32, b)
        np.bitwise_xor(b, _u64(_M0 * (product >> 32 ^ x1 ^ k0) ^ j1 << 32), b)


def _filler(key: int, size: int) -> Callable[[Array, int, int], None]:
    """What writes the words of up to `size` blocks of a key: generated code, else NumPy."""
    from tensorgrad.codegen.philox import fill  # late: for import time

    run = fill()
    if run is None:
        return _Core(key, size).fill
    return lambda words, block, count: run(key, block & _M64, block >> 64, count, words)


def _stream(op: str, key: int, counter: int, n: int) -> Iterator[tuple[int, Array]]:
    """Yield (start, words): the first n words of the stream in pieces that fit the cache.

    A piece starts at a multiple of 4 and is scratch: the caller may overwrite it, and must be
    done with it before the next one. Raises when the counter's low 64 bits would wrap.
    """
    key, counter = _counter(op, key, counter, -(-n // 4))
    left = -(-n // 4)
    fill = _filler(key, min(left, _CHUNK))
    pairs = np.empty(2 * min(left, _CHUNK), np.uint64)
    start = 0
    while left:
        count = min(left, _CHUNK, _LOW + 1 - (counter & _LOW))
        fill(pairs[: 2 * count], counter, count)
        yield start, pairs.view(np.uint32)[: min(4 * count, n - start)]
        start, left, counter = start + 4 * count, left - count, counter + count


def _counter(op: str, key: int, counter: int, count: int) -> tuple[int, int]:
    """Key and counter as Python integers, with the checks that keep two streams apart."""
    key, counter = operator.index(key), operator.index(counter)
    need(
        0 <= key <= _M64,
        op,
        key=key,
        want="0 <= key < 2**64",
        fix="key % 2**64",
        error=RandomError,
    )
    need(
        0 <= counter < 1 << 128 and (counter & _M64) + count <= 1 << 64,
        op,
        counter=counter,
        blocks=count,
        want="0 <= counter < 2**128 whose low 64 bits do not wrap within the draw",
        fix="a new key",
        error=RandomError,
    )
    return key, counter


def philox4x32(counter0: int, key: int, n: int) -> Array:
    """The first n 32-bit words of the stream (key, counter0), uint32 of shape (n,).

    Block i is Philox 4x32-10 of the 128-bit counter `counter0 + i` (x0 is its low word) under the
    64-bit key (k0 is its low word); it gives words 4i .. 4i+3 in the order x0 x1 x2 x3. Raises if
    the low 64 bits of the counter would wrap.

    >>> [hex(word) for word in philox4x32(0, 0, 4)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    n = _size("philox4x32", n)
    out = np.empty(n, np.uint32)
    for start, words in _stream("philox4x32", key, counter0, n):
        out[start : start + words.size] = words
    return out


def uniform(key: int, counter: int, shape: Shape, dtype: Any, out: Array | None = None) -> Array:
    """Floats uniform on [0, 1): element i is `(word_i >> 8) * 2**-24`, of float64 the 53-bit form.

    float64 takes 64-bit words: `(word_i >> 11) * 2**-53`. float16 and bfloat16 are the float32
    value rounded toward zero, which keeps them below 1. Every value is exact: no rounding mode or
    library enters. Raises `DTypeError` for any other dtype, `ShapeError` for an unfit `out`.

    >>> uniform(0, 0, 2, "float32")
    array([0.39904642, 0.88052016], dtype=float32)
    """
    result, flat = _result("uniform", shape, dtype, out)
    wide = _compute(result.dtype)
    per = wide.itemsize // 4
    exact = np.empty(0 if flat.dtype == wide else min(flat.size, 4 * _CHUNK), wide)
    for start, words in _stream("uniform", key, counter, per * flat.size):
        part = flat[start // per : (start + words.size) // per]
        target = part if part.dtype == wide else exact[: part.size]
        _unit(words, target)
        if target is not part:
            bits = target.view(np.uint32)
            bits &= np.uint32(0xFFFFE000 if part.dtype == np.float16 else 0xFFFF0000)
            part[...] = target
    return _deliver(result, flat)


def _unit(words: Array, target: Array) -> None:
    """Write the words, which are spent, as floats on [0, 1) of float32 or float64."""
    from tensorgrad.backend.boxmuller import PRECISION  # late: for import time

    p = PRECISION[target.dtype.name]
    bits = words.view(p.unsigned)
    np.right_shift(bits, p.unsigned.type(8 * p.unsigned.itemsize - p.digits), bits)
    np.copyto(target, bits.view(p.signed), casting="same_kind")
    np.multiply(target, p.real.type(2.0**-p.digits), target)


def integers(key: int, counter: int, low: int, high: int, shape: Shape, dtype: Any) -> Array:
    """Integers uniform on low .. high - 1: element i is `low + (word_i * (high - low) >> b)`.

    Ranges up to 2**32 take 32-bit words and b = 32, wider ones 64-bit words and b = 64. The
    probability of a value differs from 1 / (high - low) by less than 2**-b. A draw of a 64-bit
    dtype reserves two words an element either way (`blocks`). Raises `DTypeError` for a dtype that
    is no integer, `RandomError` for an empty range or one that the dtype cannot hold.

    >>> integers(0, 0, 1, 7, 5, "int64")
    array([3, 6, 5, 4, 6])
    """
    low, high = operator.index(low), operator.index(high)
    dt, size = _dtype("integers", dtype, "iu"), _shape("integers", shape)
    info = np.iinfo(dt)
    need(
        info.min <= low < high <= info.max + 1,
        "integers",
        low=low,
        high=high,
        want=f"{info.min} <= low < high <= {info.max + 1} ({dt})",
        fix="another range or dtype",
        error=RandomError,
    )
    flat, span = np.empty(math.prod(size), dt), high - low
    per = 1 if span <= _LOW + 1 else 2
    for start, words in _stream("integers", key, counter, per * flat.size):
        part = flat[start // per : (start + words.size) // per]
        value = _below(words, span) if per == 1 else _below_wide(words.view(np.uint64), span)
        np.add(value, _u64(low & _M64), value)  # modulo 2**64, as the cast back to dt is
        part[...] = value
    return flat.reshape(size)


def _below(words: Array, span: int) -> Array:
    """floor(word * span / 2**32) as uint64, for 1 <= span <= 2**32."""
    value = words.astype(np.uint64)
    np.multiply(value, _u64(span), value)
    return np.right_shift(value, _S32, value)


def _below_wide(words: Array, span: int) -> Array:
    """floor(word * span / 2**64) for 64-bit words and 2**32 < span <= 2**64."""
    if span > _M64:
        return words.copy()
    upper, lower = _u64(span >> 32), _u64(span & _LOW)
    high, low = words >> _S32, words & _MASK
    middle = (low * lower >> _S32) + high * lower
    carry = (middle & _MASK) + low * upper
    result: Array = high * upper + (middle >> _S32) + (carry >> _S32)
    return result


def bernoulli_keep(key: int, counter: int, p: float, shape: Shape) -> Array:
    """Mask of the elements that dropout keeps: element i iff `word_i >= floor(p * 2**32)`.

    p is the probability of dropping; the result is bool of `shape`. Raises `RandomError` unless
    0 <= p <= 1.

    >>> bernoulli_keep(0, 0, 0.5, 4)
    array([False,  True,  True,  True])
    """
    p = float(p)
    need(
        0.0 <= p <= 1.0,
        "bernoulli_keep",
        p=p,
        want="0 <= p <= 1",
        fix="p=0.5",
        error=RandomError,
    )
    size = _shape("bernoulli_keep", shape)
    keep, threshold = np.empty(math.prod(size), np.bool_), math.floor(p * 2.0**32)
    for start, words in _stream("bernoulli_keep", key, counter, keep.size):
        part = keep[start : start + words.size]
        if threshold > _LOW:
            part[...] = False
        else:
            np.greater_equal(words, np.uint32(threshold), part)
    return keep.reshape(size)


def permutation(key: int, counter: int, n: int) -> Array:
    """A random order of 0 .. n-1, int64 of shape (n,): the stable argsort of n 64-bit words.

    >>> permutation(0, 0, 5)
    array([3, 4, 2, 1, 0])
    """
    n = _size("permutation", n)
    words = np.empty(n, np.uint64)
    for start, piece in _stream("permutation", key, counter, 2 * n):
        words[start // 2 : (start + piece.size) // 2] = piece.view(np.uint64)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def normal(key: int, counter: int, shape: Shape, dtype: Any, out: Array | None = None) -> Array:
    """Standard normal floats by Box and Muller: elements 2i and 2i+1 are r cos θ and r sin θ.

    With w and v words 2i and 2i+1 (of b = 32 bits; float64: b = 64):
    r = sqrt(-2 log u), u = fl(w >> 1 | 1) * 2**(1-b), in (0, 1];
    θ = π/2 * (q + y), q = v >> (b-2), y = fl((v mod 2**(b-2) | 1) - 2**(b-3)) * 2**(2-b).
    log, sin, cos are the polynomials of `boxmuller`, in single IEEE operations: a value is within
    4 ulp of the formula's. float16 and bfloat16 are the float32 value, rounded once. Raises
    `DTypeError` for any other dtype, `ShapeError` for an unfit `out`.

    >>> normal(0, 0, 3, "float64").round(6)
    array([-0.500676,  0.061711,  1.213436])
    """
    from tensorgrad.backend.boxmuller import PRECISION, Polar  # late: for import time

    result, flat = _result("normal", shape, dtype, out)
    p = PRECISION[_compute(result.dtype).name]
    per = p.real.itemsize // 4
    pairs = -(-flat.size // 2)
    polar = Polar(p, min(pairs, 2 * _CHUNK // per))
    exact = np.empty(0 if flat.dtype == p.real else min(flat.size, 4 * _CHUNK), p.real)
    for start, words in _stream("normal", key, counter, 2 * per * pairs):
        part = flat[start // per : (start + words.size) // per]
        target = part if part.dtype == p.real else exact[: part.size]
        polar.fill(words.view(p.unsigned), target)
        if target is not part:
            part[...] = target
    return _deliver(result, flat)


# Words an element takes: of a dtype below 8 bytes, and of 8 bytes.
_WORDS = {
    "uniform": (1, 2),
    "normal": (1, 2),
    "integers": (1, 2),
    "bernoulli_keep": (1, 1),
    "permutation": (2, 2),
}


def blocks(kind: str, n: int, dtype: Any = np.float32) -> int:
    """Counter blocks that a draw of n elements takes: `ceil(words * n / 4)`, n even for normals.

    kind is the function's name. A generator that adds this to its counter never reuses a word; the
    number depends on n and dtype alone, never on the range of the integers. The dtype of
    `bernoulli_keep` and `permutation` is ignored. Raises `RandomError` for an unknown kind.

    >>> blocks("normal", 5, "float64")
    3
    """
    need(
        kind in _WORDS,
        "blocks",
        kind=kind,
        want="one of " + " ".join(_WORDS),
        fix='"uniform"',
        error=RandomError,
    )
    n = _size("blocks", n)
    elements = n + n % 2 if kind == "normal" else n
    return -(-elements * _WORDS[kind][np.dtype(dtype).itemsize == 8] // 4)


def _size(op: str, n: int) -> int:
    """A number of elements as a Python integer."""
    n = operator.index(n)
    need(n >= 0, op, n=n, want="n >= 0", fix="n=0 for an empty draw")
    return n


def _shape(op: str, shape: Shape) -> tuple[int, ...]:
    """A shape as a tuple of Python integers, each checked."""
    axes = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(_size(op, axis) for axis in axes)


@functools.lru_cache(maxsize=64)
def _dtype(op: str, dtype: Any, kinds: str) -> DType:
    """The dtype meant, which must be of one of the kinds (bfloat16 counts as "f")."""
    try:
        found: DType = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    kind = "f" if found.name == "bfloat16" else found.kind
    need(
        kind in kinds and found.itemsize <= 8,
        op,
        dtype=dtype,
        want="float16, bfloat16, float32 or float64" if "f" in kinds else "an integer dtype",
        fix="float32" if "f" in kinds else "int64",
        error=DTypeError,
    )
    native: DType = found.newbyteorder("=")
    return native


def _compute(dtype: DType) -> DType:
    """The dtype of the arithmetic: float32 for the 16-bit floats."""
    return np.dtype(np.float64 if dtype.itemsize == 8 else np.float32)


def _result(op: str, shape: Shape, dtype: Any, out: Array | None) -> tuple[Array, Array]:
    """The array to return and the flat contiguous one to fill, in its memory if possible."""
    dt, size = _dtype(op, dtype, "f"), _shape(op, shape)
    result = np.empty(size, dt) if out is None else out
    if result.shape != size or result.dtype != dt:
        want = f"an out of shape {size} and dtype {dt}"
        need(False, op, out=result, want=want, fix=f"np.empty({size}, {dt.name!r})")
    direct = result.flags.c_contiguous and result.flags.aligned
    return result, result.reshape(-1) if direct else np.empty(result.size, dt)


def _deliver(result: Array, flat: Array) -> Array:
    """Copy the draw into the result unless it was written there."""
    if not np.shares_memory(result, flat):
        result[...] = flat.reshape(result.shape)
    return result
