"""What `test_numpy.py` measures: NumPy's functions, PyTorch's of the same meaning, and inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

SIZE = 1_000_000
SIDE = 1000
BATCH, ORDER = 8, 256
Function = Callable[..., Any]
Arrays = Callable[[np.random.Generator], list[Any]]


class Case(NamedTuple):
    """`f(lib, *arrays)` in NumPy's names, `torch(t, *arrays)` in PyTorch's, and what it is given.

    autograd: whether HIPS autograd has it; tolerance: of the comparison with the peers
    """

    f: Function
    torch: Function | None
    arrays: Arrays
    autograd: bool = True
    tolerance: float = 1e-6


# -- what the functions are given ----------------------------------------------------------------


def vectors(count: int = 1, low: float = -2.0, high: float = 2.0) -> Arrays:
    return lambda rng: [rng.uniform(low, high, SIZE) for _ in range(count)]


def squares(count: int = 1, low: float = -2.0, high: float = 2.0) -> Arrays:
    return lambda rng: [rng.uniform(low, high, (SIDE, SIDE)) for _ in range(count)]


def matrices(count: int = 1) -> Arrays:
    """Matrices far from singular, no two eigenvalues of which are near."""

    def draw(rng: np.random.Generator) -> list[Any]:
        spread = np.diag(np.linspace(1, 3, ORDER))
        return [rng.standard_normal((BATCH, ORDER, ORDER)) / 40 + spread for _ in range(count)]

    return draw


def symmetric(rng: np.random.Generator) -> list[Any]:
    (a,) = matrices()(rng)
    return [a @ np.swapaxes(a, -1, -2) / 2]


def system(rng: np.random.Generator) -> list[Any]:
    return [*matrices()(rng), rng.standard_normal((BATCH, ORDER, 4))]


def tall(rng: np.random.Generator) -> list[Any]:
    a = matrices()(rng)[0][0]
    return [a[:, :64], rng.standard_normal((ORDER, 4))]


def with_index(rng: np.random.Generator) -> list[Any]:
    return [rng.standard_normal((SIDE, SIDE)), rng.integers(0, SIDE, (SIDE, SIDE))]


def table(rng: np.random.Generator) -> list[Any]:
    return [rng.uniform(0, 99, SIZE), np.arange(100.0), rng.standard_normal(100)]


def signal(rng: np.random.Generator) -> list[Any]:
    return [rng.standard_normal(SIZE), rng.standard_normal(64)]


def convolved(t: Any, a: Any, v: Any) -> Any:
    pad = v.shape[0] - 1
    return t.nn.functional.conv1d(a[None, None], v.flip(0)[None, None], padding=pad)[0, 0]


def even(a: Any) -> Any:
    """The symmetric part, in whose gradient all libraries agree."""
    return (a + a.swapaxes(-1, -2)) / 2


def squared(pair: Any) -> Any:
    """Of values and vectors a number that does not depend on the vectors' signs."""
    values, found = pair
    return values[..., None, :] * found**2


# -- the cases -----------------------------------------------------------------------------------

POINTWISE = {
    "sin": Case(lambda lib, x: lib.np.sin(x), lambda t, x: t.sin(x), vectors()),
    "tan": Case(
        lambda lib, x: lib.np.tan(x), lambda t, x: t.tan(x), vectors(1, -1, 1)
    ),
    "sin, far": Case(
        lambda lib, x: lib.np.sin(x), lambda t, x: t.sin(x), vectors(1, -1e12, 1e12)
    ),
    "exp": Case(lambda lib, x: lib.np.exp(x), lambda t, x: t.exp(x), vectors()),
    "tanh": Case(lambda lib, x: lib.np.tanh(x), lambda t, x: t.tanh(x), vectors()),
    "log1p": Case(lambda lib, x: lib.np.log1p(x), lambda t, x: t.log1p(x), vectors(1, 0, 3)),
    "sqrt": Case(lambda lib, x: lib.np.sqrt(x), lambda t, x: t.sqrt(x), vectors(1, 0.1, 3)),
    "arctan": Case(lambda lib, x: lib.np.arctan(x), lambda t, x: t.arctan(x), vectors()),
    "sinc": Case(lambda lib, x: lib.np.sinc(x), lambda t, x: t.sinc(x), vectors()),
    "power": Case(
        lambda lib, x, y: lib.np.power(x, y), lambda t, x, y: t.pow(x, y), vectors(2, 0.3, 2)
    ),
    "hypot": Case(
        lambda lib, x, y: lib.np.hypot(x, y), lambda t, x, y: t.hypot(x, y), vectors(2), False
    ),
    "logaddexp": Case(
        lambda lib, x, y: lib.np.logaddexp(x, y), lambda t, x, y: t.logaddexp(x, y), vectors(2)
    ),
    "maximum": Case(
        lambda lib, x, y: lib.np.maximum(x, y), lambda t, x, y: t.maximum(x, y), vectors(2)
    ),
    "clip": Case(lambda lib, x: lib.np.clip(x, -1, 1), lambda t, x: t.clip(x, -1, 1), vectors()),
    "where": Case(
        lambda lib, x, y: lib.np.where(x > 0, x, y),
        lambda t, x, y: t.where(x > 0, x, y),
        vectors(2),
    ),
    "nan_to_num": Case(
        lambda lib, x: lib.np.nan_to_num(x), lambda t, x: t.nan_to_num(x), vectors()
    ),
    "remainder": Case(
        lambda lib, x, y: lib.np.remainder(x, y),
        lambda t, x, y: t.remainder(x, y),
        vectors(2, 0.5, 2),
    ),
    "fmod": Case(
        lambda lib, x, y: lib.np.fmod(x, y), lambda t, x, y: t.fmod(x, y), vectors(2, 0.5, 2), False
    ),
    "cross": Case(
        lambda lib, x, y: lib.np.cross(x.reshape(-1, 3), y.reshape(-1, 3)),
        lambda t, x, y: t.linalg.cross(x.reshape(-1, 3), y.reshape(-1, 3)),
        lambda rng: [rng.standard_normal(999_999) for _ in range(2)],
    ),
}  # fmt: skip
REDUCED = {
    "sum, axis 0": Case(lambda lib, x: lib.np.sum(x, 0), lambda t, x: t.sum(x, 0), squares()),
    "mean": Case(lambda lib, x: lib.np.mean(x), lambda t, x: t.mean(x), vectors()),
    "var": Case(lambda lib, x: lib.np.var(x), lambda t, x: t.var(x, correction=0), vectors()),
    "std, axis 1": Case(
        lambda lib, x: lib.np.std(x, 1), lambda t, x: t.std(x, 1, correction=0), squares()
    ),
    "prod, axis 1": Case(
        lambda lib, x: lib.np.prod(x, 1), lambda t, x: t.prod(x, 1), squares(1, 0.999, 1.001)
    ),
    "max": Case(lambda lib, x: lib.np.max(x), lambda t, x: t.amax(x), vectors()),
    "min, axis 1": Case(lambda lib, x: lib.np.min(x, 1), lambda t, x: t.amin(x, 1), squares()),
    "nansum": Case(lambda lib, x: lib.np.nansum(x), lambda t, x: t.nansum(x), vectors(), False),
    "nanmean": Case(lambda lib, x: lib.np.nanmean(x), lambda t, x: t.nanmean(x), vectors(), False),
    "median, axis 1": Case(
        lambda lib, x: lib.np.median(x, 1), lambda t, x: t.quantile(x, 0.5, 1), squares(), False
    ),
    "quantile": Case(
        lambda lib, x: lib.np.quantile(x, 0.3), lambda t, x: t.quantile(x, 0.3), vectors(), False
    ),
    "average": Case(
        lambda lib, x, y: lib.np.average(x, weights=y),
        lambda t, x, y: (x * y).sum() / y.sum(), vectors(2, 0.5, 2), False,
    ),
    "cov": Case(lambda lib, x: lib.np.cov(x), lambda t, x: t.cov(x), squares(), False),
    "corrcoef": Case(
        lambda lib, x: lib.np.corrcoef(x), lambda t, x: t.corrcoef(x), squares(), False
    ),
    "logsumexp": Case(
        lambda lib, x: lib.logsumexp(x, 1), lambda t, x: t.logsumexp(x, 1), squares()
    ),
    "norm": Case(
        lambda lib, x: lib.np.linalg.norm(x), lambda t, x: t.linalg.norm(x), vectors()
    ),
}  # fmt: skip
RUNNING = {
    "cumsum": Case(lambda lib, x: lib.np.cumsum(x), lambda t, x: t.cumsum(x, 0), vectors()),
    "cumprod, axis 1": Case(
        lambda lib, x: lib.np.cumprod(x, 1), lambda t, x: t.cumprod(x, 1),
        squares(1, 0.999, 1.001), False,
    ),
    "maximum.accumulate": Case(
        lambda lib, x: lib.np.maximum.accumulate(x, 1), lambda t, x: t.cummax(x, 1)[0],
        squares(), False,
    ),
    "diff": Case(lambda lib, x: lib.np.diff(x), lambda t, x: t.diff(x), vectors()),
    "gradient": Case(
        lambda lib, x: lib.np.gradient(x), lambda t, x: t.gradient(x)[0], vectors()
    ),
    "trapezoid": Case(
        lambda lib, x: lib.np.trapezoid(x), lambda t, x: t.trapezoid(x), vectors(), False
    ),
    "convolve": Case(lambda lib, a, v: lib.np.convolve(a, v), convolved, signal, False),
    "correlate": Case(lambda lib, a, v: lib.np.correlate(a, v, "valid"), None, signal, False),
    "interp": Case(lambda lib, x, p, f: lib.np.interp(x, p, f), None, table, False),
    "polyval": Case(
        lambda lib, x, p: lib.np.polyval(p, x), None,
        lambda rng: [rng.uniform(-1, 1, SIZE), rng.standard_normal(6)], False,
    ),
    "unwrap": Case(lambda lib, x: lib.np.unwrap(x), None, vectors(1, -9, 9), False),
}  # fmt: skip
MOVED = {
    "sort, axis 1": Case(
        lambda lib, x: lib.np.sort(x, 1), lambda t, x: t.sort(x, 1)[0], squares(), False
    ),
    "take": Case(
        lambda lib, x, i: lib.np.take(x, i[0], axis=0), lambda t, x, i: x.index_select(0, i[0]),
        with_index, False,
    ),
    "take_along_axis": Case(
        lambda lib, x, i: lib.np.take_along_axis(x, i, 1),
        lambda t, x, i: t.take_along_dim(x, i, 1), with_index, False,
    ),
    "x[i]": Case(lambda lib, x, i: x[i[0]], lambda t, x, i: x[i[0]], with_index),
    "x[1:-1, ::2]": Case(
        lambda lib, x: x[1:-1, ::2], lambda t, x: x[1:-1, ::2], squares()
    ),
    "concatenate": Case(
        lambda lib, x, y: lib.np.concatenate((x, y)), lambda t, x, y: t.cat((x, y)), vectors(2)
    ),
    "stack, axis 1": Case(
        lambda lib, x, y: lib.np.stack((x, y), 1), lambda t, x, y: t.stack((x, y), 1), vectors(2)
    ),
    "pad": Case(
        lambda lib, x: lib.np.pad(x, 3, mode="constant"),
        lambda t, x: t.nn.functional.pad(x, (3, 3, 3, 3)), squares(),
    ),
    "pad, reflect": Case(
        lambda lib, x: lib.np.pad(x, 3, mode="reflect"),
        lambda t, x: t.nn.functional.pad(x[None], (3, 3, 3, 3), "reflect")[0], squares(), False,
    ),
    "roll": Case(
        lambda lib, x: lib.np.roll(x, 7, 1), lambda t, x: t.roll(x, 7, 1), squares()
    ),
    "repeat": Case(
        lambda lib, x: lib.np.repeat(x, 3, 1), lambda t, x: t.repeat_interleave(x, 3, 1), squares()
    ),
    "tile": Case(lambda lib, x: lib.np.tile(x, (2, 2)), lambda t, x: t.tile(x, (2, 2)), squares()),
    "tril": Case(lambda lib, x: lib.np.tril(x), lambda t, x: t.tril(x), squares()),
    "kron": Case(
        lambda lib, x, y: lib.np.kron(x, y), lambda t, x, y: t.kron(x, y),
        lambda rng: [rng.standard_normal((40, 25)), rng.standard_normal((25, 40))],
    ),
    "outer": Case(
        lambda lib, x, y: lib.np.outer(x, y), lambda t, x, y: t.outer(x, y),
        lambda rng: [rng.standard_normal(SIDE), rng.standard_normal(SIDE)],
    ),
}  # fmt: skip
TRANSFORMED = {
    "fft": Case(lambda lib, x: lib.np.fft.fft(x), lambda t, x: t.fft.fft(x), vectors()),
    "rfft": Case(lambda lib, x: lib.np.fft.rfft(x), lambda t, x: t.fft.rfft(x), vectors()),
    "rfft, irfft": Case(
        lambda lib, x: lib.np.fft.irfft(lib.np.fft.rfft(x)),
        lambda t, x: t.fft.irfft(t.fft.rfft(x)), vectors(),
    ),
    "fft2": Case(lambda lib, x: lib.np.fft.fft2(x), lambda t, x: t.fft.fft2(x), squares()),
    "einsum": Case(
        lambda lib, x, y: lib.np.einsum("bij,bkj->bik", x, y),
        lambda t, x, y: t.einsum("bij,bkj->bik", x, y), matrices(2),
    ),
}  # fmt: skip
LINALG = {
    "matvec": Case(
        lambda lib, a, x: lib.np.matmul(a, x), lambda t, a, x: t.matmul(a, x),
        lambda rng: [rng.standard_normal((SIDE, SIDE)), rng.standard_normal(SIDE)],
    ),
    "matmul": Case(lambda lib, x, y: lib.np.matmul(x, y), lambda t, x, y: x @ y, matrices(2)),
    "solve": Case(
        lambda lib, a, b: lib.np.linalg.solve(a, b), lambda t, a, b: t.linalg.solve(a, b), system
    ),
    "inv": Case(lambda lib, a: lib.np.linalg.inv(a), lambda t, a: t.linalg.inv(a), matrices()),
    "slogdet": Case(
        lambda lib, a: lib.np.linalg.slogdet(a)[1], lambda t, a: t.linalg.slogdet(a)[1], matrices()
    ),
    "det": Case(
        lambda lib, a: lib.np.linalg.det(a / 2), lambda t, a: t.linalg.det(a / 2), matrices()
    ),
    "cholesky": Case(
        lambda lib, a: lib.np.linalg.cholesky(even(a)), lambda t, a: t.linalg.cholesky(even(a)),
        symmetric, False,
    ),
    "qr": Case(
        lambda lib, a: lib.np.linalg.qr(a)[1], lambda t, a: t.linalg.qr(a)[1], matrices(), False
    ),
    "eigh": Case(
        lambda lib, a: squared(lib.np.linalg.eigh(even(a))),
        lambda t, a: squared(t.linalg.eigh(even(a))), symmetric, False, 1e-4,
    ),
    "eigvalsh": Case(
        lambda lib, a: lib.np.linalg.eigvalsh(even(a)), lambda t, a: t.linalg.eigvalsh(even(a)),
        symmetric, False,
    ),
    "svd, values": Case(
        lambda lib, a: lib.np.linalg.svd(a, compute_uv=False), lambda t, a: t.linalg.svdvals(a),
        matrices(), False,
    ),
    "pinv": Case(
        lambda lib, a: lib.np.linalg.pinv(a), lambda t, a: t.linalg.pinv(a), matrices()
    ),
    "matrix_power": Case(
        lambda lib, a: lib.np.linalg.matrix_power(a / 3, 5),
        lambda t, a: t.linalg.matrix_power(a / 3, 5), matrices(), False,
    ),
    "norm, nuclear": Case(
        lambda lib, a: lib.np.linalg.norm(a, "nuc", (-2, -1)),
        lambda t, a: t.linalg.matrix_norm(a, "nuc"), matrices(), False,
    ),
    "lstsq": Case(
        lambda lib, a, b: lib.np.linalg.lstsq(a, b, rcond=None)[0],
        lambda t, a, b: t.linalg.lstsq(a, b)[0], tall, False,
    ),
}  # fmt: skip
SPECIAL = {
    "gammaln": Case(
        lambda lib, x: lib.special.gammaln(x), lambda t, x: t.lgamma(x), vectors(1, 0.5, 9)
    ),
    "digamma": Case(
        lambda lib, x: lib.special.digamma(x), lambda t, x: t.digamma(x), vectors(1, 0.5, 9), True
    ),
    "erf": Case(lambda lib, x: lib.special.erf(x), lambda t, x: t.erf(x), vectors()),
    "erfinv": Case(
        lambda lib, x: lib.special.erfinv(x), lambda t, x: t.erfinv(x), vectors(1, -0.9, 0.9)
    ),
    "ndtr": Case(
        lambda lib, x: lib.special.ndtr(x), lambda t, x: t.special.ndtr(x), vectors(), False
    ),
    "log_ndtr": Case(
        lambda lib, x: lib.special.log_ndtr(x), lambda t, x: t.special.log_ndtr(x), vectors(), False
    ),
    "expit": Case(lambda lib, x: lib.special.expit(x), lambda t, x: t.sigmoid(x), vectors()),
    "xlogy": Case(
        lambda lib, x, y: lib.special.xlogy(x, y), lambda t, x, y: t.xlogy(x, y),
        vectors(2, 0.3, 2), False,
    ),
    "i0e": Case(
        lambda lib, x: lib.special.i0e(x), lambda t, x: t.special.i0e(x), vectors(), False
    ),
    "gammainc": Case(lambda lib, a, x: lib.special.gammainc(a, x), None, vectors(2, 1, 4), False),
}  # fmt: skip
CASES = {**POINTWISE, **REDUCED, **RUNNING, **MOVED, **TRANSFORMED, **LINALG, **SPECIAL}
