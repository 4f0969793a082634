"""Philox and its draws: known answers, exact specifications, moments, streams that never mix."""

from __future__ import annotations

import math
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tensorgrad._errors import DTypeError, ShapeError
from tensorgrad.backend import boxmuller, philox

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype("f2"), BFLOAT16, np.dtype("f4"), np.dtype("f8")]
INTEGERS = [np.dtype(kind + size) for kind in "iu" for size in "1248"]
LOW = 0xFFFFFFFF
# Larger than a chunk of 8192 blocks of four words, and not a multiple of it.
MANY = 4 * 8192 + 1237
SIGMAS = 6  # of some 70 means in a run: one in 10⁷ runs strays


def stream(rng: np.random.Generator) -> tuple[int, int]:
    """A fresh key and counter."""
    key, low, high = (int(v) for v in rng.integers(0, 1 << 63, 3, dtype=np.uint64))
    return 2 * key + 1, (high << 64) + low


def block_by_hand(counter: int, key: int) -> list[int]:
    """One block with Python's integers, as the paper writes it."""
    x0, x1, x2, x3 = (counter >> s & LOW for s in (0, 32, 64, 96))
    k0, k1 = key & LOW, key >> 32
    for _ in range(10):
        p, q = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = q >> 32 ^ x1 ^ k0, q & LOW, p >> 32 ^ x3 ^ k1, p & LOW
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return [x0, x1, x2, x3]


def words64(key: int, counter: int, n: int) -> list[int]:
    words = philox.philox4x32(counter, key, 2 * n).tolist()
    return [low + (high << 32) for low, high in zip(words[0::2], words[1::2])]


# The known answers published with Random123 (kat_vectors, "philox4x32 10"): counter words
# x0 .. x3, key words k0 k1, the block. The third input is the first digits of pi.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def number(words: str) -> int:
    return sum(int(word, 16) << 32 * i for i, word in enumerate(words.split()))


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN, ids=["zero", "ones", "pi"])
def test_known_answers(counter: str, key: str, block: str) -> None:
    words = philox.philox4x32(number(counter), number(key), 4)
    assert words.dtype == np.uint32
    assert " ".join(f"{word:08x}" for word in words) == block
    assert block_by_hand(number(counter), number(key)) == words.tolist()


def test_blocks_follow_the_counter(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    words = philox.philox4x32(counter, key, MANY)
    for i in [0, 1, 8191, 8192, *rng.integers(0, MANY // 4, 20).tolist()]:
        assert words[4 * i : 4 * i + 4].tolist() == block_by_hand(counter + i, key)
    assert words[-1] == block_by_hand(counter + MANY // 4, key)[0]


def test_carry_into_the_second_counter_word(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    counter = counter & ~LOW | LOW - 4
    words = philox.philox4x32(counter, key, 40).reshape(10, 4)
    assert words.tolist() == [block_by_hand(counter + i, key) for i in range(10)]


def draws() -> list[Any]:
    """(name, draw(key, counter, n), words of an element) for every kind, dtype and range."""
    found: list[Any] = [("keep", lambda k, c, n: philox.bernoulli_keep(k, c, 0.3, n), 1)]
    for dt in FLOATS:
        per = 2 if dt.itemsize == 8 else 1
        found += [
            (f"uniform {dt}", lambda k, c, n, dt=dt: philox.uniform(k, c, n, dt), per),
            (f"normal {dt}", lambda k, c, n, dt=dt: philox.normal(k, c, n, dt), per),
        ]
    for dt in INTEGERS:
        draw = lambda k, c, n, dt=dt: philox.integers(k, c, 3, 100, n, dt)  # noqa: E731
        found.append((f"integers {dt}", draw, 1))
    wide = lambda k, c, n: philox.integers(k, c, -7, 1 << 40, n, "i8")  # noqa: E731
    return [*found, ("integers wide", wide, 2)]


@pytest.mark.parametrize(("name", "draw", "per"), draws(), ids=[d[0] for d in draws()])
def test_one_stream_however_it_is_cut(
    rng: np.random.Generator, name: str, draw: Any, per: int
) -> None:
    key, counter = stream(rng)
    whole = draw(key, counter, MANY)
    assert whole.shape == (MANY,)
    cut = 4 * int(rng.integers(1, MANY // 4))
    again = np.concatenate(
        [draw(key, counter, cut), draw(key, counter + per * cut // 4, MANY - cut)]
    )
    assert np.array_equal(whole, again)
    for n in (0, 1, 2, 3, 5):
        assert np.array_equal(draw(key, counter, n), whole[:n])
    assert not np.array_equal(draw(key + 1, counter, MANY), whole)
    assert draw(key, counter, ()).shape == ()
    assert draw(key, counter, ())[()] == whole[0]
    assert draw(key, counter, (2, 0, 3)).shape == (2, 0, 3)
    assert np.array_equal(draw(key, counter, (3, 5)).reshape(-1), whole[:15])
    assert np.array_equal(draw(np.array(key, np.uint64), counter, 5), whole[:5])


@pytest.mark.parametrize("kind", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_out(rng: np.random.Generator, kind: str, dtype: Any) -> None:
    key, counter = stream(rng)
    draw = getattr(philox, kind)
    want = draw(key, counter, (7, 9), dtype)
    assert want.dtype == dtype
    for out in (
        np.zeros((7, 9), dtype),
        np.zeros((9, 7), dtype).T,
        np.zeros((14, 18), dtype)[::2, ::2],
    ):
        assert draw(key, counter, (7, 9), dtype, out=out) is out
        assert np.array_equal(out, want)
    scalar = np.zeros((), dtype)
    assert draw(key, counter, (), dtype, out=scalar) is scalar
    assert scalar == want[0, 0]
    with pytest.raises(
        ShapeError, match=rf"^{kind}: got out=.*, expected an out of shape \(7, 9\)"
    ):
        draw(key, counter, (7, 9), dtype, out=np.zeros((9, 7), dtype))


def test_blocks_cover_a_draw(rng: np.random.Generator) -> None:
    for n in [0, 1, 2, 3, 4, 5, *rng.integers(6, 10**6, 5).tolist()]:
        for dt in FLOATS:
            per = 2 if dt.itemsize == 8 else 1
            assert philox.blocks("uniform", n, dt) == math.ceil(per * n / 4)
            assert philox.blocks("normal", n, dt) == math.ceil(per * (n + n % 2) / 4)
        assert philox.blocks("bernoulli_keep", n) == math.ceil(n / 4)
        assert philox.blocks("permutation", n) == math.ceil(n / 2)
        for dt in INTEGERS:
            assert philox.blocks("integers", n, dt) == math.ceil(n * (1 + (dt.itemsize == 8)) / 4)


def test_counters_do_not_overlap(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    n = int(rng.integers(3, 1000))
    step = philox.blocks("normal", n, "f8")
    first = philox.normal(key, counter, n, "f8")
    second = philox.normal(key, counter + step, n, "f8")
    assert not np.isin(first, second).any()
    words = philox.philox4x32(counter, key, 8 * step)
    assert np.array_equal(words[4 * step :], philox.philox4x32(counter + step, key, 4 * step))


def test_uniform_bits(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    n = MANY
    words = philox.philox4x32(counter, key, n)
    single = (words >> 8) / np.float64(2**24)
    assert np.array_equal(philox.uniform(key, counter, n, "f4"), single)
    double = [word >> 11 for word in words64(key, counter, n)]
    assert (philox.uniform(key, counter, n, "f8") * 2.0**53).tolist() == double
    for dt, digits in ((np.dtype("f2"), 11), (BFLOAT16, 8)):
        half = philox.uniform(key, counter, n, dt).astype(np.float64)
        assert half.max() < 1.0
        _, exponent = np.frexp(single)
        least = -24 if digits == 11 else -200
        step = np.ldexp(1.0, np.maximum(exponent - digits, least))
        assert np.array_equal(half, np.floor(single / step) * step)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform_moments(rng: np.random.Generator, dtype: Any) -> None:
    n = 200_000
    x = philox.uniform(*stream(rng), n, dtype).astype(np.float64)
    assert x.min() >= 0.0
    assert x.max() < 1.0
    # Rounding toward zero moves the mean by half a step: 2**-8 / 3 on average for bfloat16.
    slack = {"float16": 2.0**-12, "bfloat16": 2.0**-9}.get(np.dtype(dtype).name, 0.0)
    for k in (1, 2, 3, 4):
        deviation = math.sqrt((1 / (2 * k + 1) - 1 / (k + 1) ** 2) / n)
        assert abs((x**k).mean() - 1 / (k + 1)) < SIGMAS * deviation + k * slack
    assert abs(np.mean((x[1:] - 0.5) * (x[:-1] - 0.5)) * 12) < SIGMAS / math.sqrt(n) + slack


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_normal_moments(rng: np.random.Generator, dtype: Any) -> None:
    n = 200_000
    x = philox.normal(*stream(rng), n, dtype).astype(np.float64)
    for k, mean, square in ((1, 0, 1), (2, 1, 3), (3, 0, 15), (4, 3, 105)):
        assert abs((x**k).mean() - mean) < SIGMAS * math.sqrt((square - mean**2) / n)
    for shift in (1, 2):
        assert abs(np.mean(x[shift:] * x[:-shift])) < SIGMAS / math.sqrt(n)
    for edge in (-2.0, -1.0, 0.5, 3.0):
        share = math.erfc(-edge / math.sqrt(2)) / 2
        # A value rounded to 8 digits crosses the edge if it is within half a step of it.
        slack = {"bfloat16": 1e-3, "float16": 2e-4}.get(np.dtype(dtype).name, 0.0)
        assert abs((x < edge).mean() - share) < SIGMAS * math.sqrt(share * (1 - share) / n) + slack


def polar_by_hand(words: Any, bits: int, real: Any) -> Any:
    """The documented formula of `normal` from exact u and y, in the widest type there is."""
    unsigned = np.dtype(f"u{bits // 8}")
    w, v = words[0::2], words[1::2]
    one = unsigned.type(1)
    signed = np.dtype(f"i{bits // 8}")
    u = (w >> one | one).view(signed).astype(real) * real.type(2.0 ** (1 - bits))
    d = (v & unsigned.type(2 ** (bits - 2) - 1) | one).view(signed) - signed.type(2 ** (bits - 3))
    y = d.astype(real) * real.type(2.0 ** (2 - bits))
    q = (v >> unsigned.type(bits - 2)).astype(np.int64)
    wide = np.longdouble
    pi = wide(math.pi) + wide(1.2246467991473532e-16)
    r = np.sqrt(-2 * np.log(u.astype(wide)))
    angle = pi / 2 * y.astype(wide)
    c, s = np.cos(angle), np.sin(angle)
    cosine = np.choose(q, [c, -s, -c, s])
    sine = np.choose(q, [s, c, -s, -c])
    return np.stack([r * cosine, r * sine], -1).reshape(-1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normal_is_its_formula_within_4_ulp(rng: np.random.Generator, dtype: str) -> None:
    real = np.dtype(dtype)
    if np.finfo(np.longdouble).eps >= np.finfo(real).eps / 100:
        pytest.skip("no wider type here")
    key, counter = stream(rng)
    n = 400_000
    got = philox.normal(key, counter, n, real)
    words = philox.philox4x32(counter, key, n * real.itemsize // 4).view(f"u{real.itemsize}")
    want = polar_by_hand(words, 8 * real.itemsize, real)
    ulp = np.abs(got - want) / np.spacing(np.abs(want).astype(real))
    assert ulp.max() <= 4.0
    assert np.all(np.isfinite(got))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_normal_at_the_ends_of_its_words(dtype: str) -> None:
    real = np.dtype(dtype)
    p, bits = boxmuller.PRECISION[real.name], 8 * real.itemsize
    top = 2**bits
    edges = [
        0,
        1,
        2,
        top // 4 - 1,
        top // 4,
        top // 2 - 1,
        top // 2,
        3 * top // 4,
        top - 2,
        top - 1,
    ]
    words = np.array([[w, v] for w in edges for v in edges], p.unsigned).reshape(-1)
    got = np.empty(words.size, real)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        boxmuller.Polar(p, words.size // 2).fill(words, got)
    # The radius of word 0, u = 2**(1 - bits), is the largest; u rounds to 1 for the last words.
    assert np.abs(got).max() <= math.sqrt(2 * (bits - 1) * math.log(2)) * (1 + 1e-6)
    assert np.all(got[-20:] == 0.0)
    if np.finfo(np.longdouble).eps < np.finfo(real).eps / 100:
        want = polar_by_hand(words, bits, real)
        assert np.all(np.abs(got - want) <= 4 * np.spacing(np.abs(want).astype(real)))


def test_normal_bits_are_the_same_on_every_machine() -> None:
    """Recorded once: single IEEE operations leave a machine no choice."""
    single = [value.hex() for value in philox.normal(1, 2, 4, "f4").tolist()]
    double = [value.hex() for value in philox.normal(1, 2, 4, "f8").tolist()]
    assert single == [
        "-0x1.84d9800000000p+0",
        "0x1.650aee0000000p-1",
        "0x1.e5f56c0000000p-3",
        "-0x1.931c360000000p-1",
    ]
    assert double == [
        "0x1.3fe9fb0e52746p-2",
        "-0x1.095fa18bf4e18p+0",
        "0x1.28f1d37a01180p+1",
        "-0x1.1caefa469612cp+0",
    ]


def test_half_normals_are_rounded_singles(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    single = philox.normal(key, counter, MANY, "f4")
    for dt in (np.dtype("f2"), BFLOAT16):
        assert np.array_equal(philox.normal(key, counter, MANY, dt), single.astype(dt))


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_are_multiply_high(rng: np.random.Generator, dtype: Any) -> None:
    key, counter = stream(rng)
    info = np.iinfo(dtype)
    middle = int(rng.integers(1, info.max, dtype=dtype))
    for low, high in ((0, 1), (info.min, info.max + 1), (info.min, middle), (3, 100)):
        span, n = high - low, 500
        bits = 32 if span <= 2**32 else 64
        words = (
            philox.philox4x32(counter, key, n).tolist() if bits == 32 else words64(key, counter, n)
        )
        got = philox.integers(key, counter, low, high, n, dtype)
        assert got.dtype == dtype
        assert got.tolist() == [low + (word * span >> bits) for word in words]


def test_integers_just_beside_32_bits(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    for span in (2**32 - 1, 2**32, 2**32 + 1):
        bits = 32 if span <= 2**32 else 64
        words = philox.philox4x32(counter, key, 50).tolist()
        words = words if bits == 32 else words64(key, counter, 50)
        got = philox.integers(key, counter, -5, span - 5, 50, "i8").tolist()
        assert got == [(word * span >> bits) - 5 for word in words]


def test_integers_are_uniform(rng: np.random.Generator) -> None:
    n, faces = 120_000, 6
    counts = np.bincount(philox.integers(*stream(rng), 0, faces, n, "i8"), minlength=faces)
    assert counts.size == faces
    assert np.all(np.abs(counts - n / faces) < 5 * math.sqrt(n / faces * (1 - 1 / faces)))


def test_bernoulli_keep(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    words = philox.philox4x32(counter, key, MANY)
    for p in (0.0, 2.0**-33, 0.1, 0.5, float(rng.random()), 1 - 2.0**-33, 1.0):
        keep = philox.bernoulli_keep(key, counter, p, MANY)
        assert keep.dtype == np.bool_
        assert np.array_equal(keep, words >= math.floor(p * 2**32))
        assert abs(keep.mean() - (1 - p)) <= 5 * math.sqrt(p * (1 - p) / MANY) + 1e-9
    assert philox.bernoulli_keep(key, counter, 0.0, MANY).all()
    assert not philox.bernoulli_keep(key, counter, 1.0, MANY).any()


def test_permutation(rng: np.random.Generator) -> None:
    key, counter = stream(rng)
    for n in (0, 1, 2, int(rng.integers(3, 1000)), 20_000):
        order = philox.permutation(key, counter, n)
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(n))
        words = words64(key, counter, n)
        assert order.tolist() == sorted(range(n), key=words.__getitem__)
    orders = [philox.permutation(key, counter + 2 * i, 3).tolist() for i in range(6000)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert counts.size == 6
    assert np.all(np.abs(counts - 1000) < 5 * math.sqrt(1000 * 5 / 6))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: philox.philox4x32(0, -1, 1), philox.RandomError,
         "philox4x32: got key=-1, expected 0 <= key < 2**64; try key % 2**64"),
        (lambda: philox.uniform(0, 2**64 - 1, 5, "f4"), philox.RandomError,
         "uniform: got counter=18446744073709551615, blocks=2, expected 0 <= counter < 2**128 "
         "whose low 64 bits do not wrap within the draw; try a new key"),
        (lambda: philox.uniform(0, 2**128, 0, "f4"), philox.RandomError,
         "uniform: got counter=340282366920938463463374607431768211456, blocks=0, expected 0 <= "
         "counter < 2**128 whose low 64 bits do not wrap within the draw; try a new key"),
        (lambda: philox.normal(0, 0, 3, "i4"), DTypeError,
         "normal: got dtype='i4', expected float16, bfloat16, float32 or float64; try float32"),
        (lambda: philox.uniform(0, 0, 3, "g"), DTypeError,
         "uniform: got dtype='g', expected float16, bfloat16, float32 or float64; try float32"),
        (lambda: philox.integers(0, 0, 0, 3, 3, "f4"), DTypeError,
         "integers: got dtype='f4', expected an integer dtype; try int64"),
        (lambda: philox.integers(0, 0, 3, 3, 3, "i1"), philox.RandomError,
         "integers: got low=3, high=3, expected -128 <= low < high <= 128 (int8); "
         "try another range or dtype"),
        (lambda: philox.integers(0, 0, 0, 129, 3, "i1"), philox.RandomError,
         "integers: got low=0, high=129, expected -128 <= low < high <= 128 (int8); "
         "try another range or dtype"),
        (lambda: philox.bernoulli_keep(0, 0, math.nan, 3), philox.RandomError,
         "bernoulli_keep: got p=nan, expected 0 <= p <= 1; try p=0.5"),
        (lambda: philox.permutation(0, 0, -2), ShapeError,
         "permutation: got n=-2, expected n >= 0; try n=0 for an empty draw"),
        (lambda: philox.blocks("gamma", 3), philox.RandomError,
         "blocks: got kind='gamma', expected one of uniform normal integers bernoulli_keep "
         "permutation; try \"uniform\""),
    ],
)  # fmt: skip
def test_errors(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


def test_generated_words_are_numpys(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in (1, 3, 4, 63, 64, 65, 700, 40_000):
        key, counter = int(rng.integers(0, 2**63)), int(rng.integers(0, 2**62)) << 50
        counter += 2**32 - 5  # the low word wraps inside the draw
        ours = philox.philox4x32(counter, key, n)
        monkeypatch.setenv("TG_KERNELS", "0")
        assert np.array_equal(ours, philox.philox4x32(counter, key, n))
        monkeypatch.setenv("TG_KERNELS", "1")
